/*
 * Checkpoints of the field through the public functions: found out, imported, loaded, and run against what an independent
 * evaluation gave (test/data/import/expected, tools/fixtures/make_import_fixtures.py); and what is refused.
 */
import { readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import test from 'ava';
import {
  Clip,
  configure,
  Encoder,
  Generator,
  Identity,
  Images,
  importCheckpoint,
  inspectCheckpoint,
  Latents,
  makeArchive,
  Mapper,
  Module,
  StyleClipError,
  type CheckpointKind,
  type ImportedModel,
} from '../dist/index.js';
import { readSafetensors, safetensorsFloat32 } from '../dist/files/safetensors.js';
import { testFolder } from './helpers/public-models.js';

const DATA = fileURLToPath(new URL('../test/data/import/', import.meta.url));
const CONTAINERS = fileURLToPath(new URL('../test/data/checkpoints/', import.meta.url));
/** Promised, relative to the largest number, in single precision. */
const TOLERANCE = 1e-4;

let folder: { path: string; remove: () => Promise<void> };

test.before(async () => {
  configure({ threads: 1 });
  folder = await testFolder();
});
test.after.always(async () => folder.remove());

const code = (name: string) => ({ instanceOf: StyleClipError, code: `ERR_STYLECLIP_${name}` });

interface Array2 {
  readonly data: Float32Array;
  readonly shape: readonly number[];
}

/** The inputs and outputs that belong to a fixture. */
async function expected(name: string): Promise<(part: string) => Array2> {
  const { tensors } = await readSafetensors(join(DATA, 'expected', `${name}.safetensors`));
  return (part) => {
    const tensor = tensors.get(part);
    if (tensor === undefined) throw new Error(`${name} has no ${part}`);
    return { data: safetensorsFloat32(tensor), shape: tensor.shape };
  };
}

/** Largest difference, relative to the largest expected number. */
function distance(got: ArrayLike<number>, wanted: Float32Array): number {
  if (got.length !== wanted.length) return Infinity;
  let [most, largest] = [0, 0];
  for (const [i, value] of wanted.entries()) {
    most = Math.max(most, Math.abs(got[i]! - value));
    largest = Math.max(largest, Math.abs(value));
  }
  return most / largest;
}

let files = 0;

async function imported(file: string, kind?: CheckpointKind): Promise<ImportedModel> {
  return importCheckpoint(join(DATA, file), { out: join(folder.path, `${files++}.pt`), kind, licence: 'CC0-1.0' });
}

function latents({ data, shape }: Array2, space: 'z' | 'w' | 'w_plus' | 's'): Latents {
  return Latents.from(data, shape, space);
}

for (const name of ['rosinality.pt', 'rosinality-bare.pt', 'nvidia-ada.pkl', 'nvidia-tensorflow.pkl']) {
  test(`generator: ${name}`, async (t) => {
    const made = await imported(name);
    t.is(made.kind, 'generator');
    const of = await expected(name.replace(/\.\w+$/, ''));
    await using generator = await Generator.load(made.file, { device: 'cpu' });
    t.is(generator.info.sha256, made.sha256);
    t.is(generator.layout.layers.length, made.layers);
    const source = generator.info.description['source'] as { sha256: string; format: string };
    t.deepEqual([source.sha256, source.format], [made.source.sha256, made.source.format]);
    t.is(generator.info.licence, 'CC0-1.0');
    const w = await generator.mapping(latents(of('z'), 'z'));
    t.true(distance(w.data, of('w').data) < TOLERANCE, 'w');
    t.true(distance((await generator.styles(w)).data, of('s').data) < TOLERANCE, 's');
    const images = await generator.synthesize(latents(of('s'), 's'), { as: 'float32' });
    t.true(distance(images.data, of('image').data) < TOLERANCE, 'image');
    await t.throwsAsync(generator.mapping(latents(of('z'), 'z'), { label: 0 }), code('ARGUMENT'));
  });
}

test('a conditional generator: by class, by label, and not without', async (t) => {
  const made = await imported('nvidia-ada-conditional.pkl');
  const of = await expected('nvidia-ada-conditional');
  await using generator = await Generator.load(made.file, { device: 'cpu' });
  const labelDim = of('labels').shape[1]!;
  t.is(generator.info.labelDim, labelDim);
  const z = latents(of('z'), 'z');
  const width = generator.info.wDim;
  for (let i = 0; i < z.length; i++) {
    const label = of('labels').data.slice(i * labelDim, (i + 1) * labelDim);
    const w = await generator.mapping(z.at(i), { label });
    t.true(distance(w.data, of('w').data.slice(i * width, (i + 1) * width)) < TOLERANCE, `sample ${i}`);
  }
  const oneHot = Float32Array.from({ length: labelDim }, (_, i) => (i === 1 ? 1 : 0));
  t.deepEqual(await generator.mapping(z, { label: 1 }), await generator.mapping(z, { label: oneHot }));
  const drawn = { count: 2, seed: 3, space: 'w', truncationPsi: 1 } as const;
  const drawnZ = await generator.sample({ ...drawn, space: 'z' });
  const direct = await generator.mapping(drawnZ, { label: 1 });
  t.true(distance((await generator.sample({ ...drawn, label: 1 })).data, direct.data) < 1e-6);
  await t.throwsAsync(generator.mapping(z), code('ARGUMENT'));
  await t.throwsAsync(generator.sample(drawn), code('ARGUMENT'));
  await t.throwsAsync(generator.mapping(z, { label: labelDim }), code('RANGE'));
  await t.throwsAsync(generator.mapping(z, { label: [1] }), code('SHAPE'));
});

test('an e4e checkpoint is an encoder and carries a generator', async (t) => {
  const encoder = await imported('e4e.pt');
  t.is(encoder.kind, 'encoder');
  t.deepEqual(
    encoder.others.map((p) => p.kind),
    ['generator'],
  );
  const of = await expected('e4e');
  const [count, , height, width] = of('images').shape as [number, number, number, number];
  await using loaded = await Encoder.load(encoder.file, { device: 'cpu' });
  const codes = await loaded.encode(Images.from({ data: of('images').data, count, height, width }));
  t.true(distance(codes.data, of('w_plus').data) < TOLERANCE);
  const generator = await imported('e4e.pt', 'generator');
  t.deepEqual([generator.kind, generator.others.map((p) => p.kind)], ['generator', ['encoder']]);
  await using decoder = await Generator.load(generator.file, { device: 'cpu' });
  t.true(distance((await decoder.mapping(latents(of('z'), 'z'))).data, of('w').data) < TOLERANCE);
});

test('identity: a legacy file', async (t) => {
  const made = await imported('ir-se.pth');
  t.deepEqual([made.kind, made.source.container], ['identity', 'legacy torch']);
  const of = await expected('ir-se');
  // The network itself: Identity.embed crops the face first.
  await using network = await Module.load(made.file, { device: 'cpu' });
  const [embedding] = await network.run('embed', [of('images')]);
  t.true(distance(embedding!.data as Float32Array, of('embedding').data) < TOLERANCE);
  await using identity = await Identity.load(made.file, { device: 'cpu' });
  t.is(identity.info.imageSize, of('images').shape[2]!);
});

for (const name of ['mapper', 'mapper-no-fine', 'mapper-single', 'mapper-s', 'mapper-s-full']) {
  test(`mapper: ${name}`, async (t) => {
    const made = await imported(`${name}.pt`);
    t.is(made.kind, 'mapper');
    const of = await expected(name);
    const inS = name.startsWith('mapper-s') && name !== 'mapper-single';
    const input = inS ? latents(of('s'), 's') : latents(of('w_plus'), 'w_plus');
    await using mapper = await Mapper.load(made.file, { device: 'cpu' });
    t.deepEqual([mapper.info.space, [...mapper.info.shape]], [input.space, input.shape.slice(1)]);
    for (const strength of [1, -2.5, 0]) {
      const moved = await mapper.apply(input, { strength });
      const wanted = input.data.map((v, i) => v + 0.1 * strength * of('delta').data[i]!);
      t.true(distance(moved.data, wanted) < TOLERANCE, `strength ${strength}`);
      t.is(moved.space, input.space);
    }
    const shape = [1, ...input.shape.slice(1).map((n) => n + 1)];
    const other = Latents.from(new Float32Array(shape.reduce((a, b) => a * b)), shape, input.space);
    await t.throwsAsync(mapper.apply(other), code('MODEL_MISMATCH'));
    await t.throwsAsync(mapper.apply(Latents.from(new Float32Array(4), [1, 4], 'w')), code('MODEL_MISMATCH'));
    await t.throwsAsync(mapper.apply(input, { strength: NaN }), code('RANGE'));
  });
}

test('mapper: levels are read from the keys', async (t) => {
  const made = await imported('mapper-no-fine.pt');
  await using mapper = await Mapper.load(made.file, { device: 'cpu' });
  t.deepEqual(mapper.info.levels, ['coarse', 'medium']);
});

test('CLIP: a tokenizer has to fit; none is invented', async (t) => {
  const out = join(folder.path, 'clip.pt');
  const file = join(DATA, 'clip-openai-vit.pt');
  const missing = await t.throwsAsync(importCheckpoint(file, { out }), { instanceOf: StyleClipError });
  t.regex(missing.code, /FILE_NOT_FOUND|MODEL_MISMATCH/);
  const tokenizer = join(DATA, 'rosinality.pt');
  await t.throwsAsync(importCheckpoint(file, { out, tokenizer }), { instanceOf: StyleClipError });
  const generator = join(DATA, 'rosinality.pt');
  await t.throwsAsync(importCheckpoint(generator, { out, tokenizer }), code('ARGUMENT'));
  await t.throwsAsync(importCheckpoint(generator, { out, activation: 'gelu' }), code('ARGUMENT'));
  t.false((await readdir(folder.path)).includes('clip.pt'));
});

test("CLIP: a vocabulary of the usual size gets CLIP's own tokenizer, and the archive carries it", async (t) => {
  // A TorchScript archive under OpenAI's names, like theirs but for its widths.
  const file = join(folder.path, 'usual.pt');
  const text = { text_width: 8, text_layers: 1, text_heads: 1 };
  const vision = { image_size: 16, patch: 8, vision_width: 8, vision_layers: [1], vision_heads: 1 };
  const config = { vision: 'vit', embedding: 4, context_length: 77, vocabulary: 49_408, ...text, ...vision };
  await makeArchive(file, { kind: 'clip', config, seed: 1 });
  const out = join(folder.path, 'with-tokenizer.pt');
  const made = await importCheckpoint(file, { out });
  t.true(
    made.notes.some((note) => note.startsWith('The tokenizer is ')),
    made.notes.join(' '),
  );
  await using clip = await Clip.load(out, { device: 'cpu' });
  t.deepEqual(clip.tokenizer.encode('a person with purple hair').ids, [49406, 320, 2533, 593, 5496, 2225, 49407]);
  const embedded = await clip.encodeText(['a person with purple hair']);
  t.is(embedded.data.length, 4);
});

test('weights keep their type, or take the one that is asked for', async (t) => {
  const half = await imported('rosinality-bare.pt');
  t.is(half.dtype, 'float16');
  const out = join(folder.path, 'single.pt');
  const single = await importCheckpoint(join(DATA, 'rosinality-bare.pt'), { out, dtype: 'float32' });
  t.is(single.dtype, 'float32');
  t.true(single.bytes > half.bytes);
  t.is(single.parameters, half.parameters);
});

test('inspect: container, parts, and what else a file holds', async (t) => {
  const info = await inspectCheckpoint(join(DATA, 'rosinality.pt'));
  t.deepEqual([info.container, info.parts], ['torch zip', [{ kind: 'generator', format: 'rosinality' }]]);
  t.regex(info.outline, /^a dictionary with .*'g_ema'/);
  t.is(info.bytes, (await readFile(join(DATA, 'rosinality.pt'))).length);
  const none = await inspectCheckpoint(join(CONTAINERS, 'one-tensor.pt'));
  t.deepEqual([none.parts, none.outline], [[], 'one tensor']);
});

test('refused, by name, with nothing left behind', async (t) => {
  const empty = await testFolder();
  t.teardown(empty.remove);
  const out = join(empty.path, 'out.pt');
  const refuse = async (file: string, name: string, message: RegExp, kind?: CheckpointKind): Promise<void> => {
    const error = await t.throwsAsync(importCheckpoint(file, { out, kind }), code(name), file);
    t.regex(error.message, message);
    t.not(error.remedy, '');
  };
  await refuse(join(empty.path, 'none.pt'), 'FILE_NOT_FOUND', /does not exist/);
  await refuse(join(DATA, 'rosinality.pt'), 'MODEL_KIND', /a generator \(rosinality\), not a clip/, 'clip');
  await refuse(join(DATA, 'nvidia-stylegan3.pkl'), 'MODEL_MISMATCH', /StyleGAN3/);
  await refuse(join(CONTAINERS, 'one-tensor.pt'), 'FORMAT_UNKNOWN', /one tensor/);
  await refuse(join(CONTAINERS, 'hostile-exec.pkl'), 'FORMAT_UNKNOWN', /exec/);
  const cut = join(folder.path, 'cut.pt');
  const whole = await readFile(join(DATA, 'rosinality.pt'));
  await writeFile(cut, whole.subarray(0, 20_000));
  await refuse(cut, 'FILE_DAMAGED', /cut\.pt/);
  const here = join(DATA, 'rosinality.pt');
  await t.throwsAsync(importCheckpoint(here, { out: here }), code('ARGUMENT'));
  t.deepEqual(await readFile(here), whole);
  await t.throwsAsync(importCheckpoint(here, { out: join(empty.path, 'no', 'folder.pt') }), code('DISK'));
  await t.throwsAsync(importCheckpoint(here, { out, kind: 'gan' as CheckpointKind }), code('ARGUMENT'));
  const reason = new Error('enough');
  await t.throwsAsync(importCheckpoint(here, { out, signal: AbortSignal.abort(reason) }), { is: reason });
  const controller = new AbortController();
  const stopped = importCheckpoint(here, { out, signal: controller.signal });
  controller.abort(reason);
  await t.throwsAsync(stopped, { is: reason });
  t.deepEqual(await readdir(empty.path), []);
});
