/*
 * The data classes without a model: Latents, Images, Relevance, directions, templates, presets. Cloned, saved, loaded,
 * damaged, and given wrong.
 */
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { Worker } from 'node:worker_threads';
import sharp from 'sharp';
import test from 'ava';
import {
  GlobalDirection,
  Images,
  IMAGENET_TEMPLATES,
  Latents,
  PRESETS,
  Relevance,
  StyleClipError,
  TextDirection,
  type DirectionMeta,
  type LatentsLike,
  type RelevanceLike,
  type Space,
  type StyleLayer,
} from '../dist/index.js';
import { readNpy, writeNpy } from '../dist/files/npy.js';
import { writeSafetensors } from '../dist/files/safetensors.js';
import { fillTemplate } from '../dist/templates.js';
import { testFolder } from './helpers/public-models.js';

const folder = await testFolder();
test.after.always(folder.remove);
const inFolder = (name: string): string => join(folder.path, name);

const error = (name: string): { instanceOf: typeof StyleClipError; code: string } => ({
  instanceOf: StyleClipError,
  code: `ERR_STYLECLIP_${name}`,
});

const numbers = (n: number): Float32Array => Float32Array.from({ length: n }, (_, i) => Math.sin(i + 1));

test('Latents: one latent, some, all', (t) => {
  const w = Latents.from(numbers(24), [4, 3, 2], 'w_plus', { generatorSha256: 'abc' });
  t.is(w.length, 4);
  t.deepEqual(w.at(-1).data, numbers(24).slice(18));
  t.deepEqual(w.at(1).shape, [1, 3, 2]);
  t.deepEqual(w.slice(1, -1).shape, [2, 3, 2]);
  t.is(w.slice(1).meta.generatorSha256, 'abc');
  t.deepEqual(Latents.concat([w.slice(0, 1), w.slice(1)]).data, w.data);
  t.throws(() => w.at(4), error('RANGE'));
  t.throws(() => w.slice(2, 2), error('RANGE'));
  t.throws(() => Latents.concat([]), error('ARGUMENT'));
  t.throws(() => Latents.concat([w, Latents.from(numbers(6), [1, 6], 'w')]), error('SHAPE'));
  t.throws(() => Latents.concat([w, Latents.from(numbers(6), [1, 3, 2], 'w_plus')]), error('MODEL_MISMATCH'));
});

test('Latents: what is not a batch of its space is refused, with the way out', (t) => {
  const one = t.throws(() => Latents.from(numbers(36), [18, 2], 'w_plus'), error('SHAPE'));
  t.regex(one?.remedy ?? '', /\[1, 18, 2\]/);
  const flat = t.throws(() => Latents.from(numbers(2), [2], 'w'), error('SHAPE'));
  t.regex(flat?.remedy ?? '', /\[1, 2\]/);
  t.throws(() => Latents.from(numbers(4), [1, 2, 2], 'w'), error('SHAPE'));
  t.throws(() => Latents.from(numbers(5), [2, 2], 'w'), error('SHAPE'));
  t.throws(() => Latents.from(numbers(0), [0, 2], 'w'), error('SHAPE'));
  t.throws(() => Latents.from(numbers(4), [-2, -2], 'w'), error('SHAPE'));
  t.throws(() => Latents.from(numbers(4), [2, 2], 'x' as Space), error('ARGUMENT'));
  t.throws(() => Latents.from([1, 2] as unknown as Float32Array, [1, 2], 'w'), error('ARGUMENT'));
  t.throws(() => Latents.from(null as unknown as LatentsLike), error('ARGUMENT'));
  t.throws(() => Latents.from(new Float32Array(new SharedArrayBuffer(8)), [1, 2], 'w'), error('ARGUMENT'));
  const bad = numbers(6);
  bad[4] = NaN;
  const nan = t.throws(() => Latents.from(bad, [3, 2], 'z'), error('NOT_FINITE'));
  t.regex(nan?.message ?? '', /\[2, 0\]/);
});

test('Latents: saved and loaded', async (t) => {
  const s = Latents.from(numbers(8), [2, 4], 's', { generatorSha256: 'f00d', note: 'ä' });
  await s.save(inFolder('s.safetensors'));
  t.deepEqual(await Latents.load(inFolder('s.safetensors')), s);
  await s.save(inFolder('s.npy'));
  t.deepEqual((await Latents.load(inFolder('s.npy'), { space: 's' })).data, s.data);
  await t.throwsAsync(Latents.load(inFolder('s.npy')), error('ARGUMENT'));
  await writeNpy(inFolder('w_plus.npy'), Float64Array.from(numbers(12)), [2, 3, 2]);
  const w = await Latents.load(inFolder('w_plus.npy'));
  t.is(w.space, 'w_plus');
  t.deepEqual(w.data, numbers(12));
  await writeNpy(inFolder('one.npy'), numbers(36), [18, 2]);
  await t.throwsAsync(Latents.load(inFolder('one.npy'), { space: 'w_plus' }), error('SHAPE'));
  await t.throwsAsync(s.save(inFolder('s.pt')), error('FORMAT_UNKNOWN'));
  await t.throwsAsync(Latents.load(inFolder('latents.pt')), error('FILE_NOT_FOUND'));
  await t.throwsAsync(Latents.load(inFolder('none.npy')), error('FILE_NOT_FOUND'));
  await writeFile(inFolder('bad.safetensors'), 'not a tensor');
  await t.throwsAsync(Latents.load(inFolder('bad.safetensors')), error('FILE_DAMAGED'));
  await t.throwsAsync(Latents.load(inFolder('s.npy'), { spice: 's' } as object), error('ARGUMENT'));
});

/** What a worker makes of data that it was sent. */
async function throughWorker(value: unknown): Promise<unknown> {
  const source = `require('node:worker_threads').parentPort.once('message', (m) => require('node:worker_threads').parentPort.postMessage(m));`;
  const worker = new Worker(source, { eval: true });
  try {
    return await new Promise((resolve, reject) => {
      worker.once('message', resolve).once('error', reject);
      worker.postMessage(value);
    });
  } finally {
    await worker.terminate();
  }
}

test('everything goes to a worker and back', async (t) => {
  const latents = Latents.from(numbers(4), [2, 2], 'z', { generatorSha256: 'x' });
  t.deepEqual(Latents.from((await throughWorker(latents)) as LatentsLike), latents);
  const images = Images.from({ data: Uint8Array.from({ length: 24 }, (_, i) => i), count: 2, width: 2, height: 2 });
  t.deepEqual(Images.from((await throughWorker(images)) as Images), images);
  const relevance = Relevance.from(RELEVANCE);
  t.deepEqual(Relevance.from((await throughWorker(relevance)) as RelevanceLike), relevance);
  const direction = GlobalDirection.from(DIRECTION);
  t.deepEqual(GlobalDirection.from((await throughWorker(direction)) as GlobalDirection), direction);
  t.deepEqual(TextDirection.from((await throughWorker(TEXT)) as TextDirection), TextDirection.from(TEXT));
});

test('Images: 8-bit and float, and the rule of the released generators between them', (t) => {
  const data = Float32Array.of(-1, 1, 2, -2, 0, 0.5, -0.004, 1 / 255, 0.999, 0, 0, 0);
  const images = Images.from({ data, count: 1, width: 2, height: 2 });
  const bytes = images.toUint8();
  const expected = Array.from(data, (x) => Math.floor(Math.min(255, Math.max(0, x * 127.5 + 128))));
  // NCHW to NHWC: pixel p, channel c comes from plane c.
  t.deepEqual(
    [...bytes.data],
    Array.from({ length: 12 }, (_, i) => expected[(i % 3) * 4 + Math.floor(i / 3)]!),
  );
  t.true(bytes.toUint8() === bytes);
  const all = Images.from({
    data: Uint8Array.from({ length: 768 }, (_, i) => i % 256),
    count: 1,
    width: 16,
    height: 16,
  });
  t.deepEqual(all.toFloat32().toUint8(), all, 'every 8-bit value survives the way through floats');
});

test('Images: PNG out and in, one by one', async (t) => {
  const data = Uint8Array.from({ length: 2 * 3 * 2 * 3 }, (_, i) => (i * 37) % 256);
  const images = Images.from({ data, count: 2, width: 3, height: 2 });
  const files = ['out/a.png', 'out/b.png'].map(inFolder);
  for (const [i, image] of [...images].entries()) t.deepEqual(await image.png(files[i]), await images.at(i).png());
  t.deepEqual(await Images.read(files), images);
  t.deepEqual((await Images.read(await readFile(files[0]!))).data, images.at(0).data);
  await t.throwsAsync(images.png(), error('SHAPE'));
  await t.throwsAsync(images.at(0).png(inFolder('out/a.png/below.png')), error('DISK'));
});

test('Images: EXIF is applied, alpha lies on white, grey becomes RGB, sizes are made equal', async (t) => {
  const raw = { width: 2, height: 1, channels: 3 as const };
  const turned = await sharp(Uint8Array.of(255, 0, 0, 0, 0, 255), { raw })
    .withMetadata({ orientation: 6 })
    .png()
    .toBuffer();
  const upright = await Images.read(turned);
  t.deepEqual([upright.width, upright.height], [1, 2]);
  t.deepEqual([...upright.data], [255, 0, 0, 0, 0, 255]);
  const clear = await sharp({
    create: { width: 1, height: 1, channels: 4, background: { r: 0, g: 0, b: 0, alpha: 0 } },
  })
    .png()
    .toBuffer();
  t.deepEqual([...(await Images.read(clear)).data], [255, 255, 255]);
  const grey = await sharp(Uint8Array.of(90), { raw: { width: 1, height: 1, channels: 1 } })
    .png()
    .toBuffer();
  t.deepEqual([...(await Images.read(grey)).data], [90, 90, 90]);
  await t.throwsAsync(Images.read([turned, grey]), error('SHAPE'));
  const same = await Images.read([turned, grey], { size: 4 });
  t.deepEqual([same.count, same.width, same.height], [2, 4, 4]);
});

test('Images: what is no picture', async (t) => {
  await writeFile(inFolder('no.png'), 'no picture');
  await t.throwsAsync(Images.read(inFolder('no.png')), error('FILE_DAMAGED'));
  const half = (await Images.from({ data: new Uint8Array(3072), count: 1, width: 32, height: 32 }).png()).slice(0, 60);
  await t.throwsAsync(Images.read(half), error('FILE_DAMAGED'));
  await t.throwsAsync(Images.read(inFolder('none.png')), error('FILE_NOT_FOUND'));
  await t.throwsAsync(Images.read([]), error('ARGUMENT'));
  await t.throwsAsync(Images.read(5 as unknown as string), error('ARGUMENT'));
  await t.throwsAsync(Images.read(inFolder('no.png'), { size: 0 }), error('RANGE'));
  t.throws(() => Images.from({ data: new Uint8Array(5), count: 1, width: 1, height: 2 }), error('SHAPE'));
  t.throws(() => Images.from({ data: [1], count: 1, width: 1, height: 1 } as unknown as Images), error('ARGUMENT'));
  t.throws(() => Images.concat([]), error('ARGUMENT'));
});

test('Images: contact sheet, resizing, joining', async (t) => {
  const images = Images.from({ data: new Uint8Array(5 * 12).fill(40), count: 5, width: 2, height: 2 });
  const sheet = await sharp(await images.contactSheet(inFolder('sheet.png'), { columns: 2, cell: 20 })).metadata();
  t.true(sheet.height > sheet.width, 'three rows of two');
  const large = await images.resize({ width: 6, height: 4 }, { fit: 'fill' });
  t.deepEqual([large.count, large.width, large.height], [5, 6, 4]);
  t.true(large.data.every((v) => v === 40));
  t.is(Images.concat([images, images.at(0)]).count, 6);
  t.throws(() => Images.concat([images, large]), error('SHAPE'));
});

const LAYERS: StyleLayer[] = [
  { name: 'b4.conv1', resolution: 4, channels: 3, toRgb: false, wRow: 0, offset: 0 },
  { name: 'b4.torgb', resolution: 4, channels: 3, toRgb: true, wRow: 1, offset: 3 },
  { name: 'b8.conv0', resolution: 8, channels: 3, toRgb: false, wRow: 1, offset: 6 },
];

/** Rows of channels 0, 2, 4 (toRGB) and 7 in two dimensions. */
const RELEVANCE: RelevanceLike = {
  rows: Float32Array.of(1, 0, 0, 1, Math.SQRT1_2, Math.SQRT1_2, 0, 0),
  dim: 2,
  channels: Int32Array.of(0, 2, 4, 7),
  counts: Int32Array.of(5, 5, 5, 0),
  magnitude: Float32Array.of(0.5, 0.25, 0.125, 0),
  concentration: Float32Array.of(1, 0.5, 0.25, 0),
  mean: numbers(9),
  sigma: numbers(9).map(Math.abs),
  layers: LAYERS,
  meta: {
    method: 'exact',
    implementation: 'reference',
    precision: 'float32',
    images: 5,
    sigmas: 5,
    perturb: 'absolute',
    layers: ['all'],
    preprocess: 'float',
    noise: 'const',
    seed: '18446744073709551615',
    truncationPsi: 0.7,
    truncationCutoff: -1,
    statisticsSamples: 1000,
    generatorSha256: 'aa',
    clipSha256: 'bb',
    rendered: 40,
    seconds: 1.5,
    version: '0.1.0',
  },
};

test('Relevance: saved and loaded whole', async (t) => {
  const relevance = Relevance.from(RELEVANCE);
  await relevance.save(inFolder('r.safetensors'));
  t.deepEqual(await Relevance.load(inFolder('r.safetensors')), relevance);
  t.deepEqual(relevance.channelAt(3), { name: 'b8.conv0.1', layer: 'b8.conv0', channel: 1, index: 7 });
  t.throws(() => relevance.channelAt(4), error('RANGE'));
  await t.throwsAsync(relevance.save(inFolder('r.npy')), error('FORMAT_UNKNOWN'));
});

test('Relevance: fs3.npy has the conv channels in synthesis order, zeros where nothing was swept', async (t) => {
  await Relevance.from(RELEVANCE).exportNpy(inFolder('fs3.npy'));
  const { data, shape, descr } = await readNpy(inFolder('fs3.npy'));
  t.deepEqual(shape, [6, 2]);
  t.is(descr, '<f4');
  // conv channels are 0, 1, 2 and 6, 7, 8; swept were 0, 2 and 7 (which is zero itself).
  t.deepEqual([...data], [1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0]);
});

test('Relevance: parts that do not fit each other', (t) => {
  const wrong: [Partial<RelevanceLike>, string][] = [
    [{ rows: numbers(7) }, 'SHAPE'],
    [{ counts: Int32Array.of(1) }, 'SHAPE'],
    [{ sigma: numbers(8) }, 'SHAPE'],
    [{ channels: Int32Array.of(0, 2, 4, 9) }, 'SHAPE'],
    [{ channels: Int32Array.of(0, 2, 2, 7) }, 'SHAPE'],
    [{ channels: Int32Array.of(-1, 2, 4, 7) }, 'SHAPE'],
    [{ rows: numbers(8).fill(NaN, 3, 4) }, 'NOT_FINITE'],
    [{ rows: [1] as unknown as Float32Array }, 'ARGUMENT'],
  ];
  for (const [part, code] of wrong) t.throws(() => Relevance.from({ ...RELEVANCE, ...part }), error(code));
});

test('Relevance: files of other kinds, newer ones, damaged ones', async (t) => {
  const file = inFolder('other.safetensors');
  const x = { x: { data: numbers(2), shape: [2] } };
  await writeSafetensors(file, x, {});
  await t.throwsAsync(Relevance.load(file), error('FORMAT_UNKNOWN'));
  await writeSafetensors(file, x, { format: 'styleclip.relevance', version: '2' });
  await t.throwsAsync(Relevance.load(file), error('FORMAT_VERSION'));
  await writeSafetensors(file, x, { format: 'styleclip.relevance', version: '1' });
  await t.throwsAsync(Relevance.load(file), error('FILE_DAMAGED'));
  await t.throwsAsync(Relevance.load(inFolder('none.safetensors')), error('FILE_NOT_FOUND'));
  await Relevance.from(RELEVANCE).save(inFolder('whole.safetensors'));
  const whole = await readFile(inFolder('whole.safetensors'));
  await writeFile(inFolder('cut.safetensors'), whole.subarray(0, -1));
  await t.throwsAsync(Relevance.load(inFolder('cut.safetensors')), error('FILE_DAMAGED'));
});

const META: DirectionMeta = {
  generatorSha256: 'aa',
  clipSha256: 'bb',
  target: 'a cute cat',
  neutral: 'a cat',
  not: ['glasses'],
  measure: 'cosine',
  scaleBySigma: true,
  normaliseLargest: true,
};
const DIRECTION = GlobalDirection.from({
  selected: [
    { name: 'b8.conv0.1', layer: 'b8.conv0', channel: 1, index: 7, relevance: -0.5, delta: -2 },
    { name: 'b4.conv1.0', layer: 'b4.conv1', channel: 0, index: 0, relevance: 0.25, delta: 1 },
  ],
  delta: Float32Array.of(1, 0, 0, 0, 0, 0, 0, -2, 0),
  beta: 0.2,
  largest: 0.5,
  meta: META,
});
const TEXT = {
  direction: Float32Array.of(1, 0),
  length: 0.4,
  targetEmbedding: Float32Array.of(1, 0),
  neutralEmbedding: Float32Array.of(0, 1),
  target: 'a cute cat',
  neutral: 'a cat',
  templates: ['{}'],
  unknownWords: [],
  clipSha256: 'bb',
};

test('GlobalDirection: top, scale, combine', (t) => {
  t.is(DIRECTION.channels, 2);
  t.deepEqual(DIRECTION.top(1), [{ name: 'b8.conv0.1', layer: 'b8.conv0', channel: 1, relevance: -0.5, delta: -2 }]);
  t.throws(() => DIRECTION.top(0), error('RANGE'));
  t.deepEqual([...DIRECTION.scale(-2).delta], [-2, -0, -0, -0, -0, -0, -0, 4, -0]);
  t.is(DIRECTION.scale(3).selected[0]!.delta, -6);
  const sum = GlobalDirection.combine([DIRECTION, DIRECTION.scale(-1)], [1, 0.5]);
  t.is(sum.delta[7], -1);
  t.is(sum.selected[0]!.delta, -1);
  t.is(sum.selected[0]!.relevance, -0.75);
  t.throws(() => GlobalDirection.combine([]), error('ARGUMENT'));
  t.throws(() => GlobalDirection.combine([DIRECTION], [1, 2]), error('SHAPE'));
  const other = GlobalDirection.from({ ...DIRECTION, meta: { ...META, generatorSha256: 'cc' } });
  t.throws(() => GlobalDirection.combine([DIRECTION, other]), error('MODEL_MISMATCH'));
  t.throws(() => DIRECTION.scale(NaN), error('RANGE'));
  t.throws(() => GlobalDirection.from({ ...DIRECTION, delta: Float32Array.of(NaN) }), error('NOT_FINITE'));
});

test('GlobalDirection: saved and loaded', async (t) => {
  await DIRECTION.save(inFolder('d.safetensors'));
  t.deepEqual(await GlobalDirection.load(inFolder('d.safetensors')), DIRECTION);
  await Relevance.from(RELEVANCE).save(inFolder('not-d.safetensors'));
  await t.throwsAsync(GlobalDirection.load(inFolder('not-d.safetensors')), error('FORMAT_UNKNOWN'));
});

test('79 templates, each once, each with its place', (t) => {
  t.is(IMAGENET_TEMPLATES.length, 79);
  t.is(new Set(IMAGENET_TEMPLATES).size, 79);
  t.true(IMAGENET_TEMPLATES.every((template) => template.split('{}').length === 2));
  t.false(IMAGENET_TEMPLATES.includes('a photo of many {}.'));
  t.is(fillTemplate('a {}.', '$& {}'), 'a $& {}.');
});

test('presets are settings that can be used', (t) => {
  t.is(PRESETS.notebook.beta, 0.15);
  t.is(PRESETS.notebook.alpha, 4.1);
  t.deepEqual([PRESETS.faces.channels, PRESETS.faces.alpha], [20, 3]);
  t.deepEqual([PRESETS.cars.channels, PRESETS.cars.alpha], [100, 3]);
  t.deepEqual([PRESETS.cats.channels, PRESETS.cats.alpha], [100, 7]);
  for (const [name, preset] of Object.entries(PRESETS)) {
    t.not('beta' in preset, 'channels' in preset, `${name} has β or a count, not both`);
    t.truthy(preset.source);
  }
});
