/*
 * The story of one picture: a drawn cat that the generator never saw becomes latents, which every method edits by the same
 * prompt; then what each did, in numbers.
 */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Images, Module } from 'styleclip';

/** A network that reads the factors of a drawn cat off a picture. No method sees it. */
const JUDGE = new URL('../../models/judge/factors.pt', import.meta.url);
/** Factors of a cat that are shown beside the asked one: the most moved. */
const SHOWN = 3;

/**
 * @typedef {object} Story
 * @property {Uint8Array} sheet PNG
 * @property {{ columns: string[], rows: (string | number)[][] }} table
 */

/** @param {Float32Array} a @param {Float32Array} b */
const dot = (a, b) => a.reduce((sum, v, i) => sum + v * (b[i] ?? 0), 0);

/** @param {number} value */
const signed = (value) => `${value < 0 ? '−' : '+'}${Math.abs(value).toFixed(2)}`;

/**
 * @param {object} given
 * @param {import('styleclip').StyleClip} given.cats
 * @param {import('styleclip').Relevance} given.relevance
 * @param {string} given.picture a file
 * @param {{ neutral: string, target: string, channels: number }} given.prompt
 * @param {readonly string[]} given.factors the names of what the judge reads
 * @param {{ alpha: number, refineSteps: number, steps: number, mapperSteps: number }} given.settings
 * @param {import('./stopwatch.mjs').Stopwatch} given.time
 * @param {import('styleclip').RunOptions} given.run
 * @returns {Promise<Story>}
 */
export async function onePicture({ cats, relevance, picture, prompt, factors, settings, time, run }) {
  const { generator, clip } = cats;
  const { neutral, target, channels } = prompt;
  const { alpha, refineSteps, steps, mapperSteps } = settings;
  const encoded = await time.step('encode a picture', () => cats.invert(picture, { method: 'encoder', ...run }));
  const refined = await time.step('refine it', () => cats.invert(picture, { method: 'encoder', refineSteps, ...run }));
  const { latents } = refined;

  const text = await clip.direction({ neutral, target, ...run });
  const byDirection = async () => {
    const direction = relevance.direction(text, { channels });
    return Images.concat((await generator.edit(latents, direction, { alpha, ...run })).images.flat());
  };
  const byOptimization = async () => (await cats.optimize(latents, { target, neutral, steps, ...run })).images;
  const byMapper = async () => {
    const directory = await mkdtemp(join(tmpdir(), 'styleclip-mapper-'));
    try {
      const short = /** @type {const} */ ({
        steps: mapperSteps,
        batch: 4,
        optimizer: 'adam',
        validateEvery: mapperSteps,
      });
      const mapper = await cats.trainMapper({ target, neutral, ...short, directory, ...run });
      const mapped = await mapper.apply(latents, run);
      await mapper.close();
      return await generator.synthesize(mapped, run);
    } finally {
      await rm(directory, { recursive: true, force: true });
    }
  };
  const before = await generator.synthesize(latents, run);
  const edits = [
    { name: 'global direction', images: await time.step('edit by a direction', byDirection) },
    { name: 'latent optimisation', images: await time.step('edit by optimisation', byOptimization) },
    { name: `latent mapper, ${mapperSteps} steps`, images: await time.step('edit by a mapper', byMapper) },
  ];

  const all = Images.concat([before, ...edits.map(({ images }) => images)]);
  const { data: seen, shape } = await clip.encodeImages(all, { normalize: true, ...run });
  const faces = await cats.identity?.embed(all, run);
  const judge = await Module.load(JUDGE, { trust: true });
  const floats = generatorFloats(all);
  const [told] = await judge.run('factors', [{ data: floats, shape: [all.count, 3, all.height, all.width] }]);
  await judge.close();
  const row = (/** @type {Float32Array} */ data, /** @type {number} */ i, /** @type {number} */ wide) =>
    data.subarray(i * wide, (i + 1) * wide);
  const gain = (/** @type {number} */ i) =>
    dot(row(seen, i, shape[1]), text.direction) - dot(row(seen, 0, shape[1]), text.direction);
  const same = (/** @type {number} */ i) =>
    faces === undefined ? Number.NaN : dot(row(faces.data, i, faces.shape[1]), row(faces.data, 0, faces.shape[1]));
  const moved = (/** @type {number} */ i) => {
    const read = /** @type {Float32Array} */ (told?.data);
    const [was, now] = [row(read, 0, factors.length), row(read, i, factors.length)];
    const by = factors.map((name, k) => ({ name, by: (now[k] ?? 0) - (was[k] ?? 0) }));
    const most = by.sort((a, b) => Math.abs(b.by) - Math.abs(a.by)).slice(0, SHOWN);
    return most.map((one) => `${one.name} ${signed(one.by)}`).join(', ');
  };

  const pictures = [refined.targets, encoded.images, refined.images, ...edits.map(({ images }) => images)];
  const sheet = await Images.concat(pictures.map((images) => images.toUint8())).contactSheet(undefined, {
    ...{ columns: pictures.length, title: `“${neutral}” → “${target}”` },
    columnLabels: ['drawn', 'encoder', `+ ${refineSteps} steps`, 'direction', 'optimised', 'mapper'],
  });
  const columns = ['', 'CLIP gain', 'identity', `what the judge reads, of 0 to 1: the ${SHOWN} largest changes`];
  return {
    sheet,
    table: { columns, rows: edits.map(({ name }, i) => [name, gain(i + 1), same(i + 1), moved(i + 1)]) },
  };
}

/**
 * Pictures as networks take them: float32 in [-1, 1], channels first.
 * @param {Images} images
 */
function generatorFloats(images) {
  const { data, count, width, height } = images.toUint8();
  const plane = width * height;
  const floats = new Float32Array(count * 3 * plane);
  for (let i = 0; i < count * plane; i++) {
    const image = Math.floor(i / plane);
    for (let c = 0; c < 3; c++) floats[(image * 3 + c) * plane + (i % plane)] = (data[3 * i + c] ?? 0) / 127.5 - 1;
  }
  return floats;
}
