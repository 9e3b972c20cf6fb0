/*
 * The public classes on tiny random models: latents, styles, pictures, embeddings, closing, and what every call says to
 * wrong arguments.
 */
import { readFile, stat, writeFile } from 'node:fs/promises';
import { getEventListeners } from 'node:events';
import { join } from 'node:path';
import test from 'ava';
import {
  Clip,
  configure,
  describeArchive,
  devices,
  Encoder,
  Generator,
  Identity,
  Images,
  Latents,
  makeArchive,
  Module,
  StyleClip,
  StyleClipError,
  versions,
  type GlobalDirection,
  type Logger,
  type Space,
} from '../dist/index.js';
import { makeTiny, testFolder, TINY, tinyStyleClip } from './helpers/public-models.js';

const folder = await testFolder();
const tiny = await tinyStyleClip(folder.path);
const { generator, clip } = tiny;
const some = await generator.sample({ count: 2, seed: 1 });
test.after.always(async () => {
  await tiny.close();
  await folder.remove();
});

const { total, rows, zDim, wDim, size, embedding } = TINY;
const options = { instanceOf: StyleClipError };
const throwsAs = (name: string): { instanceOf: typeof StyleClipError; code: string } => ({
  ...options,
  code: `ERR_STYLECLIP_${name}`,
});

/** Largest difference of two arrays of one length. */
function difference(a: ArrayLike<number>, b: ArrayLike<number>): number {
  if (a.length !== b.length) return Infinity;
  return Math.max(...Array.from(a, (v, i) => Math.abs(v - b[i]!)));
}

test('info and layout', async (t) => {
  t.like(generator.info, { imageSize: size, zDim, wDim, device: 'cpu', dtype: 'float32', licence: 'CC0-1.0' });
  t.like(clip.info, { imageSize: 16, embeddingDim: embedding, contextLength: 40, vocabularySize: 514 });
  t.deepEqual(generator.layout.styleChannels, { conv: TINY.conv, torgb: TINY.torgb, total });
  t.is(generator.layout.rows, rows);
  t.deepEqual(
    generator.layout.layers.map((l) => l.name),
    ['b4.conv1', 'b4.torgb', 'b8.conv0', 'b8.conv1', 'b8.torgb', 'b16.conv0', 'b16.conv1', 'b16.torgb'],
  );
  t.is((await stat(generator.info.file)).isFile(), true);
  t.true(generator.info.memoryBytes > 4 * 1000);
  t.regex(generator.info.sha256, /^[0-9a-f]{64}$/);
  t.is(
    versions().styleclip,
    (JSON.parse(await readFile(new URL('../package.json', import.meta.url), 'utf8')) as { version: string }).version,
  );
  t.is((await devices())[0], 'cpu');
});

test('samples depend on seed and index alone', async (t) => {
  const eight = await generator.sample({ count: 8, seed: 5 });
  t.deepEqual(eight.shape, [8, rows, wDim]);
  t.is(eight.meta.generatorSha256, generator.info.sha256);
  const last = await generator.sample({ count: 3, seed: 5, first: 5 });
  t.true(difference(eight.slice(5).data, last.data) < 1e-6);
  const other = await generator.sample({ count: 8, seed: 6n });
  t.true(difference(eight.data, other.data) > 0.01);
  const shapes: [Space, number[]][] = [
    ['z', [2, zDim]],
    ['w', [2, wDim]],
    ['w_plus', [2, rows, wDim]],
    ['s', [2, total]],
  ];
  for (const [space, shape] of shapes) t.deepEqual((await generator.sample({ count: 2, seed: 1, space })).shape, shape);
});

test('z → w → w_plus → s, step by step and at once', async (t) => {
  const z = await generator.sample({ count: 3, seed: 2, space: 'z' });
  const w = await generator.mapping(z);
  t.is(w.space, 'w');
  const plus = await generator.truncate(w, { truncationPsi: 1 });
  // Without truncation every row is w itself.
  for (let row = 0; row < rows; row++) {
    t.true(difference(plus.data.slice(row * wDim, (row + 1) * wDim), w.data.slice(0, wDim)) < 1e-6);
  }
  const s = await generator.styles(plus);
  for (const start of [z, w]) t.true(difference((await generator.styles(start)).data, s.data) < 1e-5);
  t.is(await generator.styles(s), s);
  const drawn = await generator.sample({ count: 3, seed: 2, space: 's', truncationPsi: 0.7 });
  const truncated = await generator.styles(await generator.truncate(w));
  t.true(difference(drawn.data, truncated.data) < 1e-5);
});

test('truncation: ψ 0 is one latent for all; a cutoff leaves the later rows', async (t) => {
  const none = await generator.sample({ count: 2, seed: 3, truncationPsi: 0 });
  t.true(difference(none.at(0).data, none.at(1).data) < 1e-6);
  const full = await generator.sample({ count: 1, seed: 3, truncationPsi: 1 });
  const part = await generator.sample({ count: 1, seed: 3, truncationPsi: 0, truncationCutoff: 2 });
  t.true(difference(part.data.slice(0, 2 * wDim), none.at(0).data.slice(0, 2 * wDim)) < 1e-6);
  t.true(difference(part.data.slice(2 * wDim), full.data.slice(2 * wDim)) < 1e-6);
});

test('pictures: 8-bit is the float picture rounded by the rule; batches change nothing', async (t) => {
  const w = await generator.sample({ count: 5, seed: 4 });
  const floats = await generator.synthesize(w, { as: 'float32' });
  t.deepEqual([floats.count, floats.width, floats.height], [5, size, size]);
  const bytes = await generator.synthesize(w);
  t.true(bytes.data instanceof Uint8Array);
  t.true(difference(bytes.data, floats.toUint8().data) <= 1);
  for (const batch of [1, 2]) {
    t.true(difference((await generator.synthesize(w, { as: 'float32', batch })).data, floats.data) < 1e-4);
  }
  const random = await generator.synthesize(w, { as: 'float32', noise: 'random', noiseSeed: 9 });
  t.deepEqual((await generator.synthesize(w, { as: 'float32', noise: 'random', noiseSeed: 9 })).data, random.data);
});

test('statistics: mean and σ of the styles of the same samples', async (t) => {
  const samples = 500;
  const { mean, sigma, ...rest } = await generator.statistics({ samples, seed: 7, truncationPsi: 0.5 });
  const { sha256 } = generator.info;
  t.deepEqual(rest, { samples, seed: '7', truncationPsi: 0.5, truncationCutoff: -1, generatorSha256: sha256 });
  const s = await generator.sample({ count: samples, seed: 7, space: 's', truncationPsi: 0.5 });
  for (const c of [0, 17, total - 1]) {
    const column = Array.from({ length: samples }, (_, i) => s.data[i * total + c]!);
    const average = column.reduce((a, b) => a + b, 0) / samples;
    const deviation = Math.sqrt(column.reduce((a, b) => a + (b - average) ** 2, 0) / samples);
    t.true(Math.abs(mean[c]! - average) < 1e-5);
    t.true(Math.abs(sigma[c]! - deviation) < 1e-5 * Math.max(1, deviation));
  }
});

test('CLIP: texts and pictures become embeddings', async (t) => {
  const text = await clip.encodeText(['a cat', 'a dog'], { normalize: true });
  t.deepEqual(text.shape, [2, embedding]);
  for (const row of [0, 1]) {
    const numbers = text.data.slice(row * embedding, (row + 1) * embedding);
    t.true(Math.abs(Math.hypot(...numbers) - 1) < 1e-6);
  }
  const raw = await clip.encodeText('a cat');
  const length = Math.hypot(...raw.data);
  t.true(
    difference(
      raw.data.map((v) => v / length),
      text.data.slice(0, embedding),
    ) < 1e-6,
  );
  const images = await generator.synthesize(await generator.sample({ count: 3, seed: 1 }));
  t.deepEqual((await clip.encodeImages(images)).shape, [3, embedding]);
  const large = await images.resize(40);
  t.deepEqual((await clip.encodeImages(large, { preprocess: 'reference8', batch: 2 })).shape, [3, embedding]);
});

test('CLIP: a direction is the difference of two mean embeddings', async (t) => {
  const templates = ['a {}.', 'the {}'];
  const d = await clip.direction({ neutral: 'cat', target: 'fat cat', templates });
  const mean = async (text: string): Promise<Float32Array> => {
    const { data } = await clip.encodeText(
      templates.map((one) => one.replace('{}', text)),
      { normalize: true },
    );
    const sum = Float32Array.from({ length: embedding }, (_, i) => data[i]! + data[embedding + i]!);
    const length = Math.hypot(...sum);
    return sum.map((v) => v / length);
  };
  const [target, neutral] = [await mean('fat cat'), await mean('cat')];
  const delta = target.map((v, i) => v - neutral[i]!);
  t.true(Math.abs(d.length - Math.hypot(...delta)) < 1e-5);
  t.true(
    difference(
      d.direction,
      delta.map((v) => v / d.length),
    ) < 1e-3,
  );
  t.is(d.clipSha256, clip.info.sha256);
  t.deepEqual(d.templates, templates);
  await t.throwsAsync(clip.direction({ neutral: 'cat', target: 'cat' }), throwsAs('EMPTY_SELECTION'));
});

test.serial('CLIP: unknown words are told to the logger, once a call, and returned', async (t) => {
  const said: string[] = [];
  const logger: Logger = {
    debug: () => undefined,
    info: () => undefined,
    warn: (m) => said.push(m),
    error: () => undefined,
  };
  configure({ logger });
  t.teardown(() => configure({ logger: { ...logger, warn: () => undefined } }));
  // The tiny vocabulary has no word of more than one letter.
  const { unknownWords } = await clip.direction({ neutral: 'a', target: 'a zebra', templates: ['x {}', 'y {}'] });
  t.deepEqual(unknownWords, ['zebra']);
  t.is(said.length, 1);
  t.regex(said[0]!, /"zebra"/);
});

test('identity and encoder', async (t) => {
  await using identity = await Identity.load(await makeTiny(folder.path, 'identity'), { device: 'cpu' });
  await using encoder = await Encoder.load(await makeTiny(folder.path, 'encoder'), { device: 'cpu' });
  const images = await generator.synthesize(await generator.sample({ count: 2, seed: 1 }));
  const faces = await identity.embed(images);
  t.deepEqual(faces.shape, [2, 8]);
  t.true(Math.abs(Math.hypot(...faces.data.slice(0, 8)) - 1) < 1e-5);
  const w = await encoder.encode(images);
  t.deepEqual([w.space, w.shape], ['w_plus', [2, rows, wDim]]);
  t.is((await generator.synthesize(w)).count, 2);
});

test('archives: described, run method by method', async (t) => {
  const { file, sha256 } = generator.info;
  t.like(await describeArchive(file), { kind: 'generator', file, sha256 });
  await using module = await Module.load(file, { device: 'cpu' });
  const z = await generator.sample({ count: 2, seed: 1, space: 'z' });
  const [w] = await module.run('mapping', [z]);
  t.true(difference(w!.data as Float32Array, (await generator.mapping(z)).data) < 1e-6);
  await t.throwsAsync(module.run('nothing', [z]), options);
  await t.throwsAsync(module.run('mapping', [{ data: z.data, shape: [3, zDim] }]), throwsAs('SHAPE'));
});

test('1000 calls on one signal: no listener is left, no warning', async (t) => {
  const warnings: Error[] = [];
  const collect = (w: Error): void => void warnings.push(w);
  process.on('warning', collect);
  t.teardown(() => process.off('warning', collect));
  const { signal } = new AbortController();
  const z = await generator.sample({ count: 1, seed: 1, space: 'z' });
  const results = await Promise.all(Array.from({ length: 1000 }, async () => generator.mapping(z, { signal })));
  t.is(results.length, 1000);
  t.is(getEventListeners(signal, 'abort').length, 0);
  t.deepEqual(warnings, []);
});

test('closing: twice is once; later calls are told; other models live on', async (t) => {
  const one = await Generator.load(generator.info.file, { device: 'cpu' });
  const w = await one.sample({ count: 1, seed: 1 });
  const running = one.synthesize(w);
  await Promise.all([one.close(), one.close()]);
  t.true(one.closed);
  await running.catch((e: unknown) => t.true(StyleClipError.is(e)));
  await t.throwsAsync(one.sample({ count: 1, seed: 1 }), throwsAs('CLOSED'));
  await t.throwsAsync(one.synthesize(w), throwsAs('CLOSED'));
  t.is((await generator.synthesize(w)).count, 1);
  await using both = await tinyStyleClip(folder.path);
  await both.close();
  t.true(both.closed && both.clip.closed);
  await t.throwsAsync(both.sweep({ images: 1 }), throwsAs('CLOSED'));
});

test('loading: what is no model', async (t) => {
  const junk = join(folder.path, 'junk.pt');
  await writeFile(junk, 'PK nothing');
  const cut = join(folder.path, 'cut.pt');
  await writeFile(cut, (await readFile(generator.info.file)).subarray(0, 5000));
  await t.throwsAsync(Generator.load(join(folder.path, 'none.pt')), throwsAs('FILE_NOT_FOUND'));
  await t.throwsAsync(Generator.load(folder.path), throwsAs('FILE_NOT_FOUND'));
  await t.throwsAsync(Generator.load(junk, { device: 'cpu' }), options);
  await t.throwsAsync(Generator.load(cut, { device: 'cpu' }), throwsAs('FILE_DAMAGED'));
  await t.throwsAsync(Generator.load(clip.info.file, { device: 'cpu' }), throwsAs('MODEL_KIND'));
  await t.throwsAsync(Clip.load(generator.info.file, { device: 'cpu' }), throwsAs('MODEL_KIND'));
  await t.throwsAsync(Generator.load(generator.info.file, { device: 'gpu' as 'cpu' }), throwsAs('DEVICE'));
  await t.throwsAsync(Generator.load(generator.info.file, { dtype: 'int8' as 'float32' }), throwsAs('ARGUMENT'));
  if (!(await devices()).some((d) => d.startsWith('cuda'))) {
    await t.throwsAsync(Generator.load(generator.info.file, { device: 'cuda' }), throwsAs('DEVICE'));
  }
  await t.throwsAsync(StyleClip.load({ generator: generator.info.file }), throwsAs('ARGUMENT'));
  await t.throwsAsync(StyleClip.load(join(folder.path, 'nowhere')), throwsAs('FILE_NOT_FOUND'));
  const e = await t.throwsAsync(StyleClip.load({ generator: generator.info.file, clip: junk, device: 'cpu' }), options);
  t.truthy(e?.remedy);
  const aborted = await t.throwsAsync(Generator.load(generator.info.file, { signal: AbortSignal.abort(7) }), {
    any: true,
  });
  t.is(aborted as unknown, 7);
});

const nothing = null as never;
const direction = {
  selected: [],
  delta: new Float32Array(total),
  beta: 0,
  largest: 0,
  meta: { generatorSha256: '' },
} as unknown as GlobalDirection;
const wrongCalls: [string, () => Promise<unknown>, string][] = [
  ['sample()', async () => generator.sample(undefined as never), 'ARGUMENT'],
  ['sample(null)', async () => generator.sample(nothing), 'ARGUMENT'],
  ['count 0', async () => generator.sample({ count: 0, seed: 1 }), 'RANGE'],
  ['count 1.5', async () => generator.sample({ count: 1.5, seed: 1 }), 'RANGE'],
  ['count NaN', async () => generator.sample({ count: NaN, seed: 1 }), 'RANGE'],
  ['count text', async () => generator.sample({ count: '1' as never, seed: 1 }), 'ARGUMENT'],
  ['no seed', async () => generator.sample({ count: 1 } as never), 'ARGUMENT'],
  ['seed -1', async () => generator.sample({ count: 1, seed: -1 }), 'RANGE'],
  ['seed 2^64', async () => generator.sample({ count: 1, seed: 2n ** 64n }), 'RANGE'],
  ['space', async () => generator.sample({ count: 1, seed: 1, space: 'w+' as Space }), 'ARGUMENT'],
  ['ψ', async () => generator.sample({ count: 1, seed: 1, truncationPsi: NaN }), 'RANGE'],
  ['cutoff', async () => generator.sample({ count: 1, seed: 1, truncationCutoff: rows + 1 }), 'RANGE'],
  ['unknown option', async () => generator.sample({ count: 1, seed: 1, sed: 1 } as never), 'ARGUMENT'],
  ['signal', async () => generator.sample({ count: 1, seed: 1, signal: {} as AbortSignal }), 'ARGUMENT'],
  [
    'mapping of w',
    async () => generator.mapping(await generator.sample({ count: 1, seed: 1, space: 'w' })),
    'ARGUMENT',
  ],
  ['bare array', async () => generator.synthesize(new Float32Array(wDim) as never), 'ARGUMENT'],
  ['no latents', async () => generator.synthesize(nothing), 'ARGUMENT'],
  ['width of w', async () => generator.synthesize(Latents.from(new Float32Array(8), [1, 8], 'w')), 'SHAPE'],
  [
    'rows of w_plus',
    async () => generator.synthesize(Latents.from(new Float32Array(wDim), [1, 1, wDim], 'w_plus')),
    'SHAPE',
  ],
  [
    'foreign latents',
    async () => generator.synthesize(Latents.from(some.data, some.shape, 'w_plus', { generatorSha256: 'x' })),
    'MODEL_MISMATCH',
  ],
  ['as', async () => generator.synthesize(some, { as: 'jpeg' as 'uint8' }), 'ARGUMENT'],
  ['batch', async () => generator.synthesize(some, { batch: 0 }), 'RANGE'],
  ['noise', async () => generator.synthesize(some, { noise: 'loud' as 'none' }), 'ARGUMENT'],
  ['samples', async () => generator.statistics({ samples: 1 }), 'RANGE'],
  ['no α', async () => generator.edit(some, direction, {} as never), 'ARGUMENT'],
  ['α []', async () => generator.edit(some, direction, { alpha: [] }), 'ARGUMENT'],
  ['α NaN', async () => generator.edit(some, direction, { alpha: [1, NaN] }), 'RANGE'],
  ['no direction', async () => generator.edit(some, nothing, { alpha: 1 }), 'ARGUMENT'],
  [
    'short direction',
    async () => generator.edit(some, { ...direction, delta: new Float32Array(3) } as never, { alpha: 1 }),
    'SHAPE',
  ],
  [
    'foreign direction',
    async () => generator.edit(some, { ...direction, meta: { generatorSha256: 'x' } } as never, { alpha: 1 }),
    'MODEL_MISMATCH',
  ],
  ['editEach', async () => generator.editEach(some, nothing, { alpha: 1 }).next(), 'ARGUMENT'],
  ['editEach noise', async () => generator.editEach(some, direction, { alpha: 1, noise: 'random' }).next(), 'ARGUMENT'],
  ['text 5', async () => clip.encodeText(5 as never), 'ARGUMENT'],
  ['text []', async () => clip.encodeText([]), 'ARGUMENT'],
  ['long text', async () => clip.encodeText('x'.repeat(100)), 'RANGE'],
  ['pictures', async () => clip.encodeImages({} as Images), 'ARGUMENT'],
  [
    'preprocess',
    async () =>
      clip.encodeImages(Images.from({ data: new Uint8Array(3), count: 1, width: 1, height: 1 }), {
        preprocess: 'x' as 'float',
      }),
    'ARGUMENT',
  ],
  ['no target', async () => clip.direction({ neutral: 'a cat' } as never), 'ARGUMENT'],
  ['empty target', async () => clip.direction({ neutral: 'a cat', target: ' ' }), 'ARGUMENT'],
  ['templates', async () => clip.direction({ neutral: 'a', target: 'b', templates: 'many' as 'none' }), 'ARGUMENT'],
  ['template', async () => clip.direction({ neutral: 'a', target: 'b', templates: ['x'] }), 'ARGUMENT'],
  ['sweep images', async () => tiny.sweep({ images: 0 }), 'RANGE'],
  ['sweep σ', async () => tiny.sweep({ sigmas: -5 }), 'RANGE'],
  ['sweep layer', async () => tiny.sweep({ layers: ['b8.conv2'] }), 'ARGUMENT'],
  [
    'sweep precision of the reference',
    async () => tiny.sweep({ method: 'reference', precision: 'float16' }),
    'ARGUMENT',
  ],
  ['sweep precision of another device', async () => tiny.sweep({ precision: 'tf32' }), 'ARGUMENT'],
  ['sweep channels', async () => tiny.sweep({ channels: [] }), 'ARGUMENT'],
  ['sweep channels in order', async () => tiny.sweep({ channels: [2, 1] }), 'ARGUMENT'],
  ['gradient of 8 bits', async () => tiny.sweep({ method: 'gradient', preprocess: 'reference8' }), 'ARGUMENT'],
  ['sweep method', async () => tiny.sweep({ method: 'fastest' as never }), 'ARGUMENT'],
  ['stopAt of another method', async () => tiny.sweep({ stopAt: 8 }), 'ARGUMENT'],
  ['stopAt that is no resolution', async () => tiny.sweep({ method: 'stop-at', stopAt: 5 }), 'RANGE'],
  ['cosine of another method', async () => tiny.sweep({ cosine: 0.9 }), 'ARGUMENT'],
  ['cosine', async () => tiny.sweep({ method: 'adaptive', cosine: 1 }), 'RANGE'],
  ['confidence', async () => tiny.sweep({ method: 'adaptive', confidence: 0 }), 'RANGE'],
  ['sweep directory', async () => tiny.sweep({ directory: '' }), 'ARGUMENT'],
  ['sweep memory', async () => tiny.sweep({ memory: '4GB' as '4GiB' }), 'ARGUMENT'],
  ['sweep statistics', async () => tiny.sweep({ statistics: { mean: new Float32Array(1) } as never }), 'SHAPE'],
  ['kind', async () => makeArchive(join(folder.path, 'x.pt'), { kind: 'gan' as 'clip' }), 'ARGUMENT'],
  [
    'config',
    async () => makeArchive(join(folder.path, 'x.pt'), { kind: 'clip', config: { imageSize: 20000 } }),
    'RANGE',
  ],
  [
    'no weights',
    async () => makeArchive(join(folder.path, 'x.pt'), { kind: 'clip', weights: 'none.safetensors' }),
    'FILE_NOT_FOUND',
  ],
  ['describe', async () => describeArchive(join(folder.path, 'none.pt')), 'FILE_NOT_FOUND'],
  ['device', async () => configure({ device: 'tpu' as 'cpu' }), 'DEVICE'],
  ['threads', async () => configure({ threads: 0 }), 'RANGE'],
  ['threads, late', async () => configure({ threads: 7 }), 'ARGUMENT'],
  ['logger', async () => configure({ logger: {} as Logger }), 'ARGUMENT'],
];

for (const [name, call, code] of wrongCalls) {
  test(`refused: ${name}`, async (t) => {
    const e = await t.throwsAsync(call(), throwsAs(code));
    t.truthy(e?.remedy, 'it says what to do');
    t.true((e?.message.length ?? 0) > 10);
  });
}
