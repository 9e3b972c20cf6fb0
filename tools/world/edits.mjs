/*
 * The edits of the model card, made by the package itself: sweep, direction, edit, at each edit's setting, on cats that the
 * settings were not searched on, read by the judge (a network that no method sees) and by the judging CLIP (another
 * architecture, another seed). edits.py found the settings in plain torch before the package was there.
 *
 *     node tools/world/edits.mjs [--search NAME,NAME]
 *
 * writes the `edits` of models/cats/quality.json and the table of MODEL_CARD.md. --search looks for settings of some edits
 * first: of those that move the factor by ENOUGH, and that the judging CLIP agrees with, the one that moves the others least.
 */
import { readFile, writeFile } from 'node:fs/promises';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { Clip, configure, Images, Module, Relevance, StyleClip } from 'styleclip';

const MODELS = fileURLToPath(new URL('../../models/', import.meta.url));
const ENOUGH = 1.5; // σ
const AGREES = 0.9;

/** Where an edit's factor should go, where that is not 1. */
const GOALS = /** @type {Record<string, number>} */ ({
  'dark fur': 0,
  'copper eyes': 0,
  black: 0,
  ginger: 0.5,
  white: 0.75,
  'blue background': 0,
  'pink background': 0.75,
});

/** @param {readonly number[]} values */
const mean = (values) => values.reduce((sum, v) => sum + v, 0) / values.length;

/** @param {readonly number[]} values */
function deviation(values) {
  const middle = mean(values);
  return Math.sqrt(mean(values.map((v) => (v - middle) ** 2)));
}

/** @param {Float32Array} a @param {Float32Array} b */
const dot = (a, b) => a.reduce((sum, v, i) => sum + v * (b[i] ?? 0), 0);

/** @param {number} value @param {number} digits */
const rounded = (value, digits) => Number(value.toFixed(digits));

/** @param {string} file */
const json = async (file) => JSON.parse(await readFile(`${MODELS}${file}`, 'utf8'));

/** @returns {Promise<Record<string, import('./edits.mjs').CardEdit>>} */
export const cardEdits = async () => (await json('cats/quality.json')).edits.edits;

/**
 * The rows of the conv layers alone.
 * @param {Relevance} all
 */
function convOnly(all) {
  const toRgb = (/** @type {number} */ at) =>
    all.layers.some((layer) => layer.toRgb && at >= layer.offset && at < layer.offset + layer.channels);
  const keep = new Set([...all.channels.keys()].filter((row) => !toRgb(all.channels[row] ?? 0)));
  return Relevance.from({
    ...all,
    rows: all.rows.filter((_, i) => keep.has(Math.floor(i / all.dim))),
    channels: all.channels.filter((_, i) => keep.has(i)),
    counts: all.counts.filter((_, i) => keep.has(i)),
    magnitude: all.magnitude.filter((_, i) => keep.has(i)),
    concentration: all.concentration.filter((_, i) => keep.has(i)),
    meta: { ...all.meta, layers: ['conv'] },
  });
}

/** The models, a sweep over some cats, and the networks that read what came of it. */
export class EditBench {
  /** @param {StyleClip} cats @param {Clip} other @param {Module} judge @param {Relevance} all @param {string[]} factors */
  constructor(cats, other, judge, all, factors) {
    this.cats = cats;
    this.other = other;
    this.judge = judge;
    this.relevances = { all, conv: convOnly(all) };
    this.factors = factors;
  }

  /** @param {number} sweepCats how many the sweep takes */
  static async open(sweepCats) {
    const cats = await StyleClip.load('cats');
    const other = await Clip.load(`${MODELS}judge/clip.pt`);
    const judge = await Module.load(`${MODELS}judge/factors.pt`, { trust: true });
    const how = /** @type {const} */ ({
      layers: 'all',
      perturb: 'relative',
      truncationPsi: 1,
      statisticsSamples: 4000,
    });
    const all = await cats.sweep({ ...how, images: sweepCats, seed: 62 });
    return new EditBench(cats, other, judge, all, (await json('cats/factors.json')).factors);
  }

  async close() {
    await Promise.all([this.cats.close(), this.other.close(), this.judge.close()]);
  }

  /**
   * Cats to edit, what the judge says of them, and where the judging CLIP has them.
   * @param {number} count
   * @param {number} seed
   */
  async litter(count, seed) {
    const latents = await this.cats.generator.sample({ count, seed, truncationPsi: 1 });
    const images = await this.cats.generator.synthesize(latents);
    const [told, embedded, faces] = [await this.#read(images), await this.#embed(images), await this.#faces(images)];
    return { latents, told, embedded, faces };
  }

  /**
   * A global direction's pictures, one a cat.
   * @param {import('./edits.mjs').Setting & { target: string, neutral: string }} edit
   * @param {import('styleclip').Latents} latents
   */
  async edited({ target, neutral, layers, measure, channels, strength }, latents) {
    const text = await this.cats.clip.direction({ neutral, target });
    const direction = this.relevances[layers].direction(text, { channels, measure });
    const edited = await this.cats.generator.edit(latents, direction, { alpha: strength });
    return Images.concat(edited.images.flat());
  }

  /**
   * Makes an edit and says how far it moved its factor, over the cats with room to move.
   * @param {string} name
   * @param {import('./edits.mjs').Setting & { target: string, neutral: string, factor: string }} edit
   * @param {Awaited<ReturnType<EditBench['litter']>>} litter
   * @returns {Promise<import('./edits.mjs').Measured>}
   */
  async measure(name, edit, litter) {
    return (await this.judged(name, edit, litter, await this.edited(edit, litter.latents))).card;
  }

  /**
   * What the readers say of edited pictures, one a cat: the card's figures, and, of each cat with room to move, how much
   * nearer its factor came and how alike the identity network finds both.
   * @param {string} name
   * @param {{ target: string, neutral: string, factor: string }} edit
   * @param {Awaited<ReturnType<EditBench['litter']>>} litter
   * @param {Images} images
   * @returns {Promise<{ card: import('./edits.mjs').Measured, nearer: number[], alike: number[] }>}
   */
  async judged(name, { target, neutral, factor }, litter, images) {
    const [was, now] = [litter.told, await this.#read(images)];

    const goal = GOALS[name] ?? 1;
    const k = this.factors.indexOf(factor);
    /** @param {number[][]} told @param {number} i @param {number} f */
    const at = (told, i, f) => told[i]?.[f] ?? NaN;
    const spread = this.factors.map((_, f) => deviation(was.map((row) => row[f] ?? NaN)));
    const reach = goal === 0 || goal === 1 ? 0.5 : 0.2;
    const room = [...was.keys()].filter((i) => Math.abs(at(was, i, k) - goal) > reach);
    const nearer = room.map(
      (i) => (Math.abs(at(was, i, k) - goal) - Math.abs(at(now, i, k) - goal)) / (spread[k] ?? 1),
    );
    const moved = this.factors.map((_, f) => mean(room.map((i) => (at(now, i, f) - at(was, i, f)) / (spread[f] ?? 1))));
    const others = this.factors
      .map((other, f) => ({ other, by: moved[f] ?? 0 }))
      .filter(({ other }) => other !== factor);
    const most = others.reduce((a, b) => (Math.abs(b.by) > Math.abs(a.by) ? b : a));
    const leaning = await this.#leaning(target, neutral);
    const [before, after] = [litter.embedded.map(leaning), (await this.#embed(images)).map(leaning)];
    const [faces, nowFaces] = [litter.faces, await this.#faces(images)];
    const alike = room.map((i) => dot(faces[i] ?? new Float32Array(), nowFaces[i] ?? new Float32Array()));
    const card = {
      moved_sigma: rounded(mean(nearer), 2),
      share_right_way: rounded(mean(nearer.map((by) => Number(by > 0))), 2),
      others_mean_sigma: rounded(mean(others.map(({ by }) => Math.abs(by))), 3),
      most_moved_other: { [most.other]: rounded(most.by, 2) },
      judging_clip_agrees: rounded(mean(room.map((i) => Number((after[i] ?? 0) > (before[i] ?? 0)))), 2),
    };
    return { card, nearer, alike };
  }

  /**
   * The judge's reading, [pictures][factors].
   * @param {Images} images
   */
  async #read({ data, count, width, height }) {
    const plane = width * height;
    const x = new Float32Array(count * 3 * plane);
    for (let i = 0; i < count * plane; i++) {
      const image = Math.floor(i / plane);
      for (let c = 0; c < 3; c++) x[(image * 3 + c) * plane + (i % plane)] = (data[3 * i + c] ?? 0) / 127.5 - 1;
    }
    const [told] = await this.judge.run('factors', [{ data: x, shape: [count, 3, height, width] }]);
    const rows = /** @type {Float32Array} */ (told?.data);
    const wide = this.factors.length;
    return Array.from({ length: count }, (_, i) => [...rows.subarray(i * wide, (i + 1) * wide)]);
  }

  /**
   * Unit embeddings by the judging CLIP, one a picture.
   * @param {Images} images
   */
  async #embed(images) {
    const { data, shape } = await this.other.encodeImages(images, { normalize: true });
    const wide = shape[1] ?? 0;
    return Array.from({ length: images.count }, (_, i) => data.subarray(i * wide, (i + 1) * wide));
  }

  /**
   * Unit identities, one a picture.
   * @param {Images} images
   */
  async #faces(images) {
    if (this.cats.identity === undefined) throw new Error('the cats have an identity network');
    const { data, shape } = await this.cats.identity.embed(images);
    const wide = shape[1];
    return Array.from({ length: images.count }, (_, i) => data.subarray(i * wide, (i + 1) * wide));
  }

  /**
   * How much an embedding leans to the target.
   * @param {string} target
   * @param {string} neutral
   */
  async #leaning(target, neutral) {
    const text = (await this.other.direction({ neutral, target })).direction;
    return (/** @type {Float32Array} */ embedded) => embedded.reduce((sum, v, c) => sum + v * (text[c] ?? 0), 0);
  }
}

/**
 * @param {EditBench} bench
 * @param {string} name
 * @param {import('./edits.mjs').CardEdit} edit
 */
async function search(bench, name, edit) {
  const litter = await bench.litter(48, 63);
  /** @type {{ setting: import('./edits.mjs').Setting, found: import('./edits.mjs').Measured }[]} */
  const tried = [];
  for (const layers of /** @type {const} */ (['conv', 'all'])) {
    for (const measure of /** @type {const} */ (['cosine', 'projection'])) {
      for (const channels of [5, 10, 20, 40, 80]) {
        for (const strength of [3, 4.5, 6, 9]) {
          const setting = { layers, measure, channels, strength };
          tried.push({ setting, found: await bench.measure(name, { ...edit, ...setting }, litter) });
        }
      }
    }
  }
  const agreed = tried.filter(({ found }) => found.judging_clip_agrees >= AGREES);
  const good = agreed.filter(({ found }) => found.moved_sigma >= ENOUGH);
  const least = (/** @type {typeof tried} */ some) =>
    some.reduce((a, b) => (b.found.others_mean_sigma < a.found.others_mean_sigma ? b : a));
  const most = (/** @type {typeof tried} */ some) =>
    some.reduce((a, b) => (b.found.moved_sigma > a.found.moved_sigma ? b : a));
  return (good.length > 0 ? least(good) : most(agreed.length > 0 ? agreed : tried)).setting;
}

/** @param {import('./edits.mjs').CardEdit} e */
function row(e) {
  const percent = (/** @type {number} */ share) => `${Math.round(100 * share)}%`;
  const [other, by] = Object.entries(e.most_moved_other)[0] ?? ['', 0];
  const cells = [`${e.target} / ${e.neutral}`, e.factor, e.layers, e.measure, e.channels, e.strength.toFixed(1)];
  cells.push(e.moved_sigma.toFixed(2), percent(e.share_right_way), percent(e.judging_clip_agrees));
  cells.push(e.others_mean_sigma.toFixed(2), `${other} ${by < 0 ? '' : '+'}${by.toFixed(2)}`);
  return `| ${cells.join(' | ')} |`;
}

async function main() {
  const names = process.argv[2] === '--search' ? (process.argv[3] ?? '').split(',') : [];
  configure({ threads: 2 });
  const quality = await json('cats/quality.json');
  const { sweep_cats: sweepCats, cats, edits } = quality.edits;
  const bench = await EditBench.open(sweepCats);
  for (const name of names) Object.assign(edits[name], await search(bench, name, edits[name]));
  const litter = await bench.litter(cats, 64);
  for (const [name, edit] of Object.entries(edits)) {
    Object.assign(edit, await bench.measure(name, edit, litter));
    console.log(row(edit));
  }
  await bench.close();
  await writeFile(`${MODELS}cats/quality.json`, `${JSON.stringify(quality, null, 2)}\n`);
  const card = await readFile(`${MODELS}cats/MODEL_CARD.md`, 'utf8');
  const rows = Object.values(edits).map(row).join('\n');
  await writeFile(
    `${MODELS}cats/MODEL_CARD.md`,
    card.replace(/(\| edit \(target \/ neutral\)[^\n]*\n\|[-|]+\n)[\s\S]*?\n\n/, `$1${rows}\n\n`),
  );
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) await main();
