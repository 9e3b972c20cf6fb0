/*
 * How near does each inversion come to a picture, and how long does it take? On cats that no training has seen: the
 * generator's own, with random noise maps and 8-bit pixels, and drawn ones (drawn-cats.png, by tools/world/draw_cat.py),
 * which the generator never drew. The cats go through in groups, and every method has its turn at each group. Judged by the
 * mean square error, and by two networks that no loss here contains: the judging CLIP and the identity network.
 *
 *     --cats 8       of each kind, at most 32 drawn ones
 *     --together 8   pictures of a group, inverted in one call
 *     --alone 2      cats of each kind that pti gets, each in a call of its own, since a call shares one generator
 *     --steps 1000   of the projections; pti's have 450 and 350 in proportion
 *     --refine 50    updates after the encoder's pass
 *     --seed 77      of the generator's cats
 *     --methods encoder,encoder+refine,projector-w,image2stylegan,pti
 */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import sharp from 'sharp';
import { Clip, Images, StyleClip } from '../../dist/index.js';
import { median } from '../sweep/numbers.mjs';

export const describe = 'inversions of held-out cats: error, likeness and time, the encoder beside the projectors';

const JUDGE = join(import.meta.dirname, '..', '..', 'models', 'judge', 'clip.pt');
const DRAWN = join(import.meta.dirname, 'drawn-cats.png');
/** Bars of `encoder+refine` against `projector-w`: a lower error, in this share of its time. */
const SHARE = 0.1;
/** Two renderings of one picture, alone and in a batch. */
const SAME_PICTURE = 1e-4;

/** @typedef {import('../../dist/index.js').InvertOptions} InvertOptions */
/** @typedef {{ mse: number, judge: number, identity: number }} Likeness */
/** @typedef {{ label: string, options: InvertOptions, alone: boolean }} Method */

/** @param {readonly number[]} values */
const mean = (values) => values.reduce((sum, v) => sum + v, 0) / values.length;

/** @param {number} steps @param {number} refine @returns {Record<string, Method>} */
function methodsOf(steps, refine) {
  const of = (/** @type {number} */ share) => Math.max(1, Math.round(steps * share));
  return {
    encoder: { label: 'encoder, one pass', options: { method: 'encoder' }, alone: false },
    'encoder+refine': {
      ...{ label: `encoder + ${refine} steps`, alone: false },
      options: { method: 'encoder', refineSteps: refine },
    },
    'projector-w': {
      ...{ label: `projector, W, ${steps} steps`, alone: false },
      options: { method: 'projector', space: 'w', steps },
    },
    image2stylegan: {
      ...{ label: `Image2StyleGAN, W+, ${steps} steps`, alone: false },
      options: { method: 'image2stylegan', steps },
    },
    pti: {
      ...{ label: `PTI, ${of(0.45)} + ${of(0.35)} steps`, alone: true },
      options: { method: 'pti', steps: of(0.45), tuneSteps: of(0.35) },
    },
  };
}

/** The drawn cats: a sheet of squares, in rows. @param {number} count @param {number} size */
async function drawnCats(count, size) {
  const { data, info } = await sharp(await readFile(DRAWN))
    .removeAlpha()
    .raw()
    .toBuffer({ resolveWithObject: true });
  const across = info.width / size;
  if (count > across * (info.height / size)) throw new Error(`${DRAWN} has fewer than ${count} cats`);
  const pixels = new Uint8Array(count * size * size * 3);
  for (let i = 0; i < count; i++) {
    const [x, y] = [(i % across) * size, Math.floor(i / across) * size];
    for (let row = 0; row < size; row++) {
      const from = ((y + row) * info.width + x) * 3;
      pixels.set(data.subarray(from, from + size * 3), (i * size + row) * size * 3);
    }
  }
  return Images.from({ data: pixels, count, width: size, height: size });
}

/** Rows of unit embeddings that belong together. @param {Float32Array} a @param {Float32Array} b @param {number} count */
function cosines(a, b, count) {
  const dim = a.length / count;
  return Array.from({ length: count }, (_, i) => {
    let sum = 0;
    for (let k = i * dim; k < (i + 1) * dim; k++) sum += (a[k] ?? 0) * (b[k] ?? 0);
    return sum;
  });
}

/** What judges: neither network is in a loss of the methods at their defaults, nor in the training of the cats' encoder. */
class Judges {
  /** @param {StyleClip} cats @param {Clip} clip */
  constructor(cats, clip) {
    this.cats = cats;
    this.clip = clip;
  }

  /** @param {Images} made float32 @param {Images} given 8-bit @returns {Promise<Likeness[]>} */
  async likeness(made, given) {
    const { count, width, height } = given;
    const identity = this.cats.identity;
    if (identity === undefined) throw new Error('the cats have lost their identity network');
    const [a, b] = [await identity.embed(made), await identity.embed(given)];
    const [c, d] = [
      await this.clip.encodeImages(made, { normalize: true }),
      await this.clip.encodeImages(given, { normalize: true }),
    ];
    const [same, near] = [cosines(a.data, b.data, count), cosines(c.data, d.data, count)];
    const truth = given.toFloat32().data;
    const each = 3 * width * height;
    return Array.from({ length: count }, (_, i) => {
      let sum = 0;
      for (let k = i * each; k < (i + 1) * each; k++) sum += ((made.data[k] ?? 0) - (truth[k] ?? 0)) ** 2;
      return { mse: sum / each, judge: 1 - (near[i] ?? 0), identity: same[i] ?? 0 };
    });
  }
}

/** One method's turn. @param {StyleClip} cats @param {Method} method @param {Images} group */
async function turn(cats, { options, alone }, group) {
  const calls = alone ? [...group] : [group];
  const made = [];
  const started = performance.now();
  for (const images of calls) made.push((await cats.invert(images, options)).images);
  return { seconds: (performance.now() - started) / 1000, images: Images.concat(made) };
}

/** That what an inversion reports is what its latents give, before anything is timed. @param {StyleClip} cats @param {Images} image */
async function check(cats, image) {
  for (const options of /** @type {InvertOptions[]} */ ([{ refineSteps: 2 }, { method: 'projector', steps: 2 }])) {
    const { latents, images, noise } = await cats.invert(image, options);
    const again = await cats.generator.synthesize(latents, { as: 'float32', noiseMaps: noise });
    let apart = 0;
    for (const [i, value] of again.data.entries()) apart = Math.max(apart, Math.abs(value - (images.data[i] ?? 0)));
    if (!(apart < SAME_PICTURE)) throw new Error(`latents give a picture that is ${apart} from the one reported`);
  }
}

/** @param {Record<string, string>} options */
export async function run(options) {
  const known = {
    ...{ cats: '8', together: '8', alone: '2', steps: '1000', refine: '50', seed: '77' },
    methods: 'encoder,encoder+refine,projector-w,image2stylegan,pti',
  };
  for (const name of Object.keys(options)) {
    if (!(name in known)) throw new Error(`there is no option --${name} of inversion`);
  }
  const all = { ...known, ...options };
  const [count, together] = [Number(all.cats), Number(all.together)];
  const methods = methodsOf(Number(all.steps), Number(all.refine));
  const names = all.methods.split(',');
  const wrong = names.find((name) => methods[name] === undefined);
  if (wrong !== undefined) throw new Error(`there is no method ${wrong}: ${Object.keys(methods).join(', ')}`);
  const cats = await StyleClip.load('cats');
  const clip = await Clip.load(JUDGE);
  try {
    const judges = new Judges(cats, clip);
    const own = await cats.generator.sample({ count, seed: Number(all.seed), truncationPsi: 1 });
    const given = {
      generated: await cats.generator.synthesize(own, { noise: 'random', noiseSeed: Number(all.seed) }),
      drawn: await drawnCats(count, cats.generator.info.imageSize),
    };
    await check(cats, given.drawn.at(0));
    // Their own latents without that noise: what no inversion in w need beat.
    const floor = await judges.likeness(await cats.generator.synthesize(own, { as: 'float32' }), given.generated);
    const rows = [];
    for (const [set, images] of Object.entries(given)) {
      /** @type {Record<string, { seconds: number[], found: Likeness[] }>} */
      const results = Object.fromEntries(names.map((name) => [name, { seconds: [], found: [] }]));
      for (let from = 0; from < count; from += together) {
        for (const name of names) {
          const method = /** @type {Method} */ (methods[name]);
          const until = Math.min(from + together, method.alone ? Number(all.alone) : count);
          if (until <= from) continue;
          const group = Images.concat([...images].slice(from, until));
          const made = await turn(cats, method, group);
          results[name]?.seconds.push(made.seconds / group.count);
          results[name]?.found.push(...(await judges.likeness(made.images, group)));
        }
      }
      for (const name of names) {
        const { seconds, found } = results[name] ?? { seconds: [], found: [] };
        rows.push({
          ...{ set, method: name, label: methods[name]?.label, cats: found.length },
          ...{ mse: mean(found.map((f) => f.mse)), mseMedian: median(found.map((f) => f.mse)) },
          ...{ judge: mean(found.map((f) => f.judge)), identity: mean(found.map((f) => f.identity)) },
          ...{ secondsPerCat: median(seconds), allSeconds: seconds, allErrors: found.map((f) => f.mse) },
        });
        process.stderr.write(`${line(rows.at(-1))}\n`);
      }
    }
    return { settings: all, floor: { mse: mean(floor.map((f) => f.mse)) }, inversion: rows, goal: goalOf(rows) };
  } finally {
    await Promise.all([cats.close(), clip.close()]);
  }
}

/** Encoder and refinement against the projector in W, by kind of cat; of those that were run. @param {any[]} rows */
function goalOf(rows) {
  /** @type {Record<string, { error: number, time: number, better: number, met: boolean }>} */
  const goal = {};
  for (const set of new Set(rows.map((r) => r.set))) {
    const of = (/** @type {string} */ name) => rows.find((r) => r.set === set && r.method === name);
    const [ours, theirs] = [of('encoder+refine'), of('projector-w')];
    if (ours === undefined || theirs === undefined) continue;
    const [error, time] = [ours.mse / theirs.mse, ours.secondsPerCat / theirs.secondsPerCat];
    const better = mean(
      ours.allErrors.map((/** @type {number} */ e, /** @type {number} */ i) => Number(e < theirs.allErrors[i])),
    );
    goal[set] = { error, time, better, met: error < 1 && time <= SHARE };
  }
  return goal;
}

/** @param {any} r */
function line(r) {
  return (
    `${r.set.padEnd(9)} ${r.label.padEnd(32)} ${String(r.cats).padStart(2)} cats: mse ${r.mse.toFixed(5)} (median ${r.mseMedian.toFixed(5)}), judging CLIP ` +
    `${r.judge.toFixed(4)}, identity ${r.identity.toFixed(3)}; ${r.secondsPerCat.toFixed(2)} s a cat`
  );
}

/** @param {Awaited<ReturnType<typeof run>>} result */
export function show({ inversion, goal, floor }) {
  const goals = Object.entries(goal).map(
    ([set, g]) =>
      `${set}: refined encoder has ${g.error.toFixed(2)} of the projector's error (lower in ${(100 * g.better).toFixed(0)} % ` +
      `of the cats) in ${g.time.toFixed(3)} of its time: ${g.met ? 'goal met' : 'goal missed'}`,
  );
  const head = `the generated cats' own latents, without their noise: mse ${floor.mse.toFixed(5)}`;
  return `${[head, ...inversion.map(line), ...goals].join('\n')}\n`;
}
