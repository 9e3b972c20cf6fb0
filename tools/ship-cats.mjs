/*
 * For maintainers: turns the checkpoints that tools/world exported into the archives that the package ships.
 *
 *     node tools/ship-cats.mjs EXPORT_FOLDER
 *     node tools/ship-cats.mjs --check    writes nothing: do the archives that are there belong together?
 *
 *     models/cats/   generator.pt, clip.pt, identity.pt: what the methods use
 *     models/judge/  clip.pt, factors.pt: what only measures them; no method ever sees these
 *
 * Weights are stored in half precision; every archive is loaded once and compared with the test vectors of the export.
 */
import { existsSync } from 'node:fs';
import { copyFile, mkdir, readdir, readFile, stat } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Encoder, Generator, Latents, makeArchive, Module } from 'styleclip';
import { readNpz } from '../dist/files/npz.js';
import { readSafetensors } from '../dist/files/safetensors.js';

const LICENCE = 'MIT (drawn cats, trained for this package by tools/world)';
const LIMIT = 16e6; // bytes of all archives together
/** Of the encoder's pictures, mean square error on the scale [-1, 1]: four times what the first one has. */
const ENCODER_LIMIT = 0.02;

const [, , folder = ''] = process.argv;
if (folder === '') throw new Error('usage: node tools/ship-cats.mjs EXPORT_FOLDER | --check');
const models = fileURLToPath(new URL('../models/', import.meta.url));

/** Sizes of the generator, read off its tensors. @param {string} weights */
async function generatorConfig(weights) {
  const { tensors } = await readSafetensors(weights);
  /** @param {string} name */
  const shape = (name) => {
    const found = tensors.get(name)?.shape;
    if (found === undefined) throw new Error(`${weights} has no ${name}`);
    return found;
  };
  const channels = [shape('conv1.conv.weight')[1]];
  while (tensors.has(`convs.${2 * (channels.length - 1)}.conv.weight`)) {
    channels.push(shape(`convs.${2 * (channels.length - 1)}.conv.weight`)[1]);
  }
  let mappingLayers = 0;
  while (tensors.has(`style.${mappingLayers + 1}.weight`)) mappingLayers++;
  const [styleWidth, zWidth] = shape('style.1.weight');
  return { imageSize: 4 * 2 ** (channels.length - 1), channels, zWidth, styleWidth, mappingLayers };
}

/** The exporter's names for a CLIP's sizes in ours. @param {Record<string, any>} c */
const clipConfig = (c) => ({
  vision: c.vision_type,
  imageSize: c.image_size,
  embedding: c.embed_dim,
  visionLayers: [c.vision_layers].flat(),
  visionWidth: c.vision_width,
  visionHeads: c.vision_heads,
  ...(c.patch_size === null ? {} : { patch: c.patch_size }),
  textWidth: c.text_width,
  textLayers: c.text_layers,
  textHeads: c.text_heads,
  contextLength: c.context_length,
  vocabulary: c.vocab_size,
  activation: c.activation,
  mean: c.mean,
  std: c.std,
});

/** @param {Record<string, any>} c */
const identityConfig = (c) => ({
  imageSize: c.image_size,
  channels: c.widths,
  blocks: c.blocks,
  reduction: c.se_reduction,
  embedding: c.embed_dim,
  preprocessing: 'resize',
});

/** @param {string} name */
const json = async (name) => JSON.parse(await readFile(join(folder, `${name}.json`), 'utf8'));

/** A tensor of the export's test vectors. @param {string} name @param {string} array */
async function vector(name, array) {
  const found = (await readNpz(join(folder, `${name}-vectors.npz`))).get(array);
  if (found === undefined) throw new Error(`${name}-vectors.npz has no ${array}`);
  return found;
}

/** @param {import('styleclip').Tensor} tensor */
const numbers = (tensor) => Array.from(/** @type {ArrayLike<number | bigint>} */ (tensor.data), Number);

/**
 * Compares results with a test vector: the largest difference, relative to the largest value, is printed; above one part in
 * a hundred something else than half precision is at work, and nothing may be shipped.
 *
 * @param {string} what
 * @param {import('styleclip').Tensor | undefined} got
 * @param {import('styleclip').Tensor} wanted
 */
function compare(what, got, wanted) {
  if (got === undefined || got.data.length !== wanted.data.length)
    throw new Error(`${what}: another shape than the test vector`);
  const [values, truth] = [numbers(got), numbers(wanted)];
  const largest = Math.max(...truth.map(Math.abs));
  const relative = Math.max(...truth.map((value, i) => Math.abs(value - (values[i] ?? Number.NaN)))) / largest;
  console.log(`  ${what}: ${relative.toExponential(1)} from the test vector`);
  if (!(relative < 0.01)) throw new Error(`${what} does not reproduce its test vector`);
}

/** @param {string} file @param {string} vectors */
async function checkGenerator(file, vectors) {
  const generator = await Generator.load(file, { device: 'cpu' });
  const z = await vector(vectors, 'z');
  const latents = Latents.from(Float32Array.from(numbers(z)), z.shape, 'z');
  const w = await generator.mapping(latents);
  compare('mapping', w, await vector(vectors, 'w'));
  const images = await generator.synthesize(await generator.truncate(w, { truncationPsi: 1 }), { as: 'float32' });
  compare('synthesis', { data: images.data, shape: [] }, await vector(vectors, 'images'));
  await generator.close();
}

/** @param {string} file @param {string} vectors @param {[method: string, input: string, output: string][]} methods */
async function checkMethods(file, vectors, methods) {
  const module = await Module.load(file, { device: 'cpu', trust: true });
  for (const [method, input, output] of methods) {
    const [got] = await module.run(method, [await vector(vectors, input)]);
    compare(method, got, await vector(vectors, output));
  }
  await module.close();
}

/**
 * Makes one archive.
 *
 * @param {string} file below models/
 * @param {import('styleclip').MakeOptions['kind']} kind
 * @param {string} name of the export's files
 * @param {Record<string, unknown>} config
 */
async function ship(file, kind, name, config) {
  const tokenizer = kind === 'clip' ? await readFile(join(folder, 'tokenizer.json'), 'utf8') : undefined;
  const weights = join(folder, `${name}.safetensors`);
  const out = join(models, file);
  await mkdir(dirname(out), { recursive: true });
  const made = await makeArchive(out, { kind, config, weights, tokenizer, storageDtype: 'float16', licence: LICENCE });
  console.log(`${file}: ${made.parameters.toLocaleString('en')} parameters, ${made.bytes.toLocaleString('en')} bytes`);
  return out;
}

const CLIP_METHODS = /** @type {[string, string, string][]} */ ([
  ['encode_image', 'pixel_values', 'image_features'],
  ['encode_text', 'ids', 'text_features'],
]);

/** Makes and checks all archives of the export. */
async function shipAll() {
  await checkGenerator(
    await ship(
      'cats/generator.pt',
      'stylegan2',
      'generator',
      await generatorConfig(join(folder, 'generator.safetensors')),
    ),
    'generator',
  );
  await checkMethods(await ship('cats/clip.pt', 'clip', 'clip', clipConfig(await json('clip'))), 'clip', CLIP_METHODS);
  const identity = await ship('cats/identity.pt', 'ir-se', 'identity', identityConfig(await json('identity')));
  await checkMethods(identity, 'identity', [['embed', 'images', 'embedding']]);

  if (existsSync(join(folder, 'clip-judge.safetensors'))) {
    const clip = await ship('judge/clip.pt', 'clip', 'clip-judge', clipConfig(await json('clip-judge')));
    await checkMethods(clip, 'clip-judge', CLIP_METHODS);
  }
  if (existsSync(join(folder, 'judge.pt'))) {
    const judge = join(models, 'judge', 'factors.pt');
    await mkdir(dirname(judge), { recursive: true });
    await copyFile(join(folder, 'judge.pt'), judge);
    console.log('judge/factors.pt: copied');
    await checkMethods(judge, 'judge', [['factors', 'images', 'factors']]);
  }
  // The encoder is trained on the shipped generator by the package itself (`styleclip encoder train`, tools/world/encoder.md).
  if (existsSync(join(folder, 'encoder.pt')))
    await copyFile(join(folder, 'encoder.pt'), join(models, 'cats/encoder.pt'));
  for (const name of ['MODEL_CARD.md', 'quality.json', 'factors.json']) {
    if (existsSync(join(folder, name))) await copyFile(join(folder, name), join(models, 'cats', name));
  }
}

/** That the encoder is this generator's: its archive says so, and it finds the generator's own pictures again. */
async function checkEncoder() {
  const encoder = await Encoder.load(join(models, 'cats/encoder.pt'), { device: 'cpu' });
  const generator = await Generator.load(join(models, 'cats/generator.pt'), { device: 'cpu' });
  if (encoder.info.description['generator_sha256'] !== generator.info.sha256) {
    throw new Error('cats/encoder.pt was trained for another generator: train it again');
  }
  const images = await generator.synthesize(await generator.sample({ count: 64, seed: 555_001, truncationPsi: 1 }));
  const again = await generator.synthesize(await encoder.encode(images), { as: 'float32' });
  const truth = images.toFloat32().data;
  let sum = 0;
  for (const [i, value] of truth.entries()) sum += (value - (again.data[i] ?? 0)) ** 2;
  const error = sum / truth.length;
  console.log(`cats/encoder.pt: mean square error ${error.toFixed(5)} on 64 pictures of the generator`);
  if (!(error < ENCODER_LIMIT)) throw new Error(`cats/encoder.pt is worse than ${ENCODER_LIMIT}`);
  await encoder.close();
  await generator.close();
}

/** That the folder may be published. */
async function checkSize() {
  let total = 0;
  for (const file of await readdir(models, { recursive: true })) {
    if (file.endsWith('.pt')) total += (await stat(join(models, file))).size;
  }
  console.log(`together ${(total / 1e6).toFixed(1)} MB`);
  if (total > LIMIT) throw new Error(`the archives are larger than ${LIMIT / 1e6} MB together`);
}

if (folder !== '--check') await shipAll();
if (existsSync(join(models, 'cats/encoder.pt'))) await checkEncoder();
await checkSize();
