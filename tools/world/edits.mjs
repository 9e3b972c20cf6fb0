/*
 * The edits of the model card, made by the package itself: sweep, direction, edit, at each edit's setting, on cats that the
 * settings were not searched on, read by the judge (a network that no method sees) and by the judging CLIP (another
 * architecture, another seed). edits.py found the settings in plain torch before the package was there.
 *
 *     node tools/world/edits.mjs [--search NAME,NAME]
 *
 * writes the `edits` of models/cats/quality.json and the table of MODEL_CARD.md. --search looks for settings of some edits
 * first, on other cats than any figure is of: of those that the judging CLIP agrees with, and that reach the bar of
 * `npm run bench -- quality` in ENOUGH of the cats, the one that moves the others least; if none does, the one that reaches it
 * in most.
 */
import { readFile, writeFile } from 'node:fs/promises';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { Clip, configure, Images, Latents, Module, Relevance, StyleClip } from 'styleclip';

const MODELS = fileURLToPath(new URL('../../models/', import.meta.url));
/** The bar of one cat: so many σ of the asked factor, at this identity similarity. */
export const BAR = { sigma: 1, identity: 0.8 };
/**
 * Share of the cats that a searched setting brings over the bar: the bench's 0.9, and two standard errors of the difference
 * between two shares of a hundred cats, 2 · √(2 · 0.9 · 0.1 / 100), since other cats differ and the best of many was lucky.
 */
const ENOUGH = 0.985;
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
  /** @type {Promise<Record<'all' | 'conv', Relevance>> | undefined} */
  #relevances;

  /** @param {StyleClip} cats @param {Clip} other @param {Module} judge @param {number} sweepCats @param {string[]} factors */
  constructor(cats, other, judge, sweepCats, factors) {
    this.cats = cats;
    this.other = other;
    this.judge = judge;
    this.sweepCats = sweepCats;
    this.factors = factors;
  }

  /** @param {number} sweepCats how many the sweep takes, which is made for the first edit by a direction */
  static async open(sweepCats) {
    const cats = await StyleClip.load('cats');
    const other = await Clip.load(`${MODELS}judge/clip.pt`);
    const judge = await Module.load(`${MODELS}judge/factors.pt`, { trust: true });
    return new EditBench(cats, other, judge, sweepCats, (await json('cats/factors.json')).factors);
  }

  /** The sweep, made once. */
  async relevances() {
    this.#relevances ??= this.#sweep();
    return this.#relevances;
  }

  async #sweep() {
    const how = /** @type {const} */ ({
      layers: 'all',
      perturb: 'relative',
      truncationPsi: 1,
      statisticsSamples: 4000,
    });
    const all = await this.cats.sweep({ ...how, images: this.sweepCats, seed: 62 });
    return { all, conv: convOnly(all) };
  }

  async close() {
    await Promise.all([this.cats.close(), this.other.close(), this.judge.close()]);
  }

  /**
   * Cats to edit, what the judge says of them, and where the judging CLIP has them.
   * @param {number} count
   * @param {number} seed
   * @returns {Promise<import('./edits.mjs').Litter>}
   */
  async litter(count, seed) {
    const latents = await this.cats.generator.sample({ count, seed, truncationPsi: 1 });
    const images = await this.cats.generator.synthesize(latents);
    const [told, embedded, faces] = [await this.#read(images), await this.#embed(images), await this.#faces(images)];
    const spread = this.factors.map((_, f) => deviation(told.map((row) => row[f] ?? NaN)));
    return { latents, told, embedded, faces, spread };
  }

  /**
   * Those of a litter that an edit has room to move, by the judge: more than half of the scale away from its goal (a fifth,
   * where the goal is no end of it). σ stays the whole litter's.
   * @param {string} name
   * @param {{ factor: string }} edit
   * @param {import('./edits.mjs').Litter} litter
   * @param {number} [most] of them
   * @returns {import('./edits.mjs').Litter}
   */
  withRoom(name, { factor }, litter, most = Infinity) {
    const { latents, told, embedded, faces, spread } = litter;
    const [goal, k] = [GOALS[name] ?? 1, this.factors.indexOf(factor)];
    const reach = goal === 0 || goal === 1 ? 0.5 : 0.2;
    const room = [...told.keys()].filter((i) => Math.abs((told[i]?.[k] ?? NaN) - goal) > reach).slice(0, most);
    /** @type {<T>(all: T[]) => T[]} */
    const kept = (all) => all.filter((_, i) => room.includes(i));
    return {
      ...{ latents: Latents.concat(room.map((i) => latents.at(i))), spread },
      ...{ told: kept(told), embedded: kept(embedded), faces: kept(faces) },
    };
  }

  /**
   * A global direction's pictures, one a cat.
   * @param {import('./edits.mjs').Setting & { target: string, neutral: string }} edit
   * @param {import('styleclip').Latents} latents
   */
  async edited({ target, neutral, from = neutral, layers, measure, channels, strength }, latents) {
    const text = await this.cats.clip.direction({ neutral: from, target });
    const direction = (await this.relevances())[layers].direction(text, { channels, measure });
    const edited = await this.cats.generator.edit(latents, direction, { alpha: strength });
    return Images.concat(edited.images.flat());
  }

  /**
   * Makes an edit and says how far it moved its factor, over the cats with room to move.
   * @param {string} name
   * @param {import('./edits.mjs').Setting & { target: string, neutral: string, factor: string }} edit
   * @param {import('./edits.mjs').Litter} litter
   * @returns {Promise<import('./edits.mjs').Measured>}
   */
  async measure(name, edit, litter) {
    const cats = this.withRoom(name, edit, litter);
    return (await this.judged(name, edit, cats, await this.edited(edit, cats.latents))).card;
  }

  /**
   * What the readers say of edited pictures, one a cat: the card's figures, and, of each cat, how much nearer its factor
   * came, how alike the identity network finds both, and how far the other factors moved, either way, in the mean.
   * @param {string} name
   * @param {{ target: string, neutral: string, factor: string }} edit
   * @param {import('./edits.mjs').Litter} litter of {@link withRoom}
   * @param {Images} images
   * @returns {Promise<import('./edits.mjs').Judged>}
   */
  async judged(name, { target, neutral, factor }, litter, images) {
    const { told: was, spread } = litter;
    const now = await this.#read(images);
    const goal = GOALS[name] ?? 1;
    const k = this.factors.indexOf(factor);
    /** @param {number[][]} told @param {number} i @param {number} f */
    const at = (told, i, f) => told[i]?.[f] ?? NaN;
    const each = [...was.keys()];
    const nearer = each.map(
      (i) => (Math.abs(at(was, i, k) - goal) - Math.abs(at(now, i, k) - goal)) / (spread[k] ?? 1),
    );
    const by = (/** @type {number} */ i, /** @type {number} */ f) => (at(now, i, f) - at(was, i, f)) / (spread[f] ?? 1);
    const moved = this.factors.map((_, f) => mean(each.map((i) => by(i, f))));
    const rest = [...this.factors.keys()].filter((f) => f !== k);
    const elsewhere = each.map((i) => mean(rest.map((f) => Math.abs(by(i, f)))));
    const others = this.factors
      .map((other, f) => ({ other, by: moved[f] ?? 0 }))
      .filter(({ other }) => other !== factor);
    const most = others.reduce((a, b) => (Math.abs(b.by) > Math.abs(a.by) ? b : a));
    const leaning = await this.#leaning(target, neutral);
    const [before, after] = [litter.embedded.map(leaning), (await this.#embed(images)).map(leaning)];
    const [faces, nowFaces] = [litter.faces, await this.#faces(images)];
    const alike = each.map((i) => dot(faces[i] ?? new Float32Array(), nowFaces[i] ?? new Float32Array()));
    const card = {
      moved_sigma: rounded(mean(nearer), 2),
      share_right_way: rounded(mean(nearer.map((more) => Number(more > 0))), 2),
      others_mean_sigma: rounded(mean(others.map(({ by }) => Math.abs(by))), 3),
      most_moved_other: { [most.other]: rounded(most.by, 2) },
      judging_clip_agrees: rounded(mean(each.map((i) => Number((after[i] ?? 0) > (before[i] ?? 0)))), 2),
    };
    return { card, nearer, alike, elsewhere };
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
 * All that are searched.
 * @param {readonly string[]} starts
 * @returns {Generator<import('./edits.mjs').Setting>}
 */
function* settings(starts) {
  for (const from of starts) {
    for (const layers of /** @type {const} */ (['conv', 'all'])) {
      for (const measure of /** @type {const} */ (['cosine', 'projection'])) {
        for (const channels of [5, 10, 20, 40, 80]) {
          for (const strength of [3, 4.5, 6, 9]) yield { from, layers, measure, channels, strength };
        }
      }
    }
  }
}

/**
 * The neutral text, and what other edits of the same factor ask for: the scale's other end may be farther away.
 * @param {Record<string, import('./edits.mjs').CardEdit>} edits
 * @param {import('./edits.mjs').CardEdit} edit
 */
function startsOf(edits, edit) {
  const same = Object.values(edits).filter(({ factor, target }) => factor === edit.factor && target !== edit.target);
  return [...new Set([edit.neutral, ...same.map(({ target }) => target)])];
}

/**
 * @param {EditBench} bench
 * @param {string} name
 * @param {import('./edits.mjs').CardEdit} edit
 * @param {readonly string[]} starts  texts that the direction may start from
 */
export async function search(bench, name, edit, starts) {
  const litter = bench.withRoom(name, edit, await bench.litter(200, 63));
  /** @type {{ setting: import('./edits.mjs').Setting, found: import('./edits.mjs').Measured, share: number }[]} */
  const tried = [];
  for (const setting of settings(starts)) {
    const images = await bench.edited({ ...edit, ...setting }, litter.latents);
    const { card: found, nearer, alike } = await bench.judged(name, edit, litter, images);
    const share = mean(nearer.map((by, i) => Number(by >= BAR.sigma && (alike[i] ?? 0) >= BAR.identity)));
    tried.push({ setting, found, share });
  }
  const agreed = tried.filter(({ found }) => found.judging_clip_agrees >= AGREES);
  const good = agreed.filter(({ share }) => share >= ENOUGH);
  const least = (/** @type {typeof tried} */ some) =>
    some.reduce((a, b) => (b.found.others_mean_sigma < a.found.others_mean_sigma ? b : a));
  const most = (/** @type {typeof tried} */ some) => some.reduce((a, b) => (b.share > a.share ? b : a));
  const best = good.length > 0 ? least(good) : most(agreed.length > 0 ? agreed : tried);
  console.error(`${name}: ${JSON.stringify(best.setting)}, over the bar in ${(100 * best.share).toFixed(0)} %`);
  return best.setting;
}

/** @param {import('./edits.mjs').CardEdit} e */
function row(e) {
  const percent = (/** @type {number} */ share) => `${Math.round(100 * share)}%`;
  const [other, by] = Object.entries(e.most_moved_other)[0] ?? ['', 0];
  const cells = [
    `${e.target} / ${e.from ?? e.neutral}`,
    e.factor,
    e.layers,
    e.measure,
    e.channels,
    e.strength.toFixed(1),
  ];
  cells.push(e.moved_sigma.toFixed(2), percent(e.share_right_way), percent(e.judging_clip_agrees));
  cells.push(e.others_mean_sigma.toFixed(2), `${other} ${by < 0 ? '' : '+'}${by.toFixed(2)}`);
  return `| ${cells.join(' | ')} |`;
}

async function main() {
  const names = process.argv[2] === '--search' ? (process.argv[3] ?? '').split(',') : [];
  configure({ threads: 1 });
  const quality = await json('cats/quality.json');
  const { sweep_cats: sweepCats, cats, edits } = quality.edits;
  const bench = await EditBench.open(sweepCats);
  for (const name of names)
    Object.assign(edits[name], await search(bench, name, edits[name], startsOf(edits, edits[name])));
  const litter = await bench.litter(cats, 64);
  for (const [name, edit] of Object.entries(edits)) {
    // The figures of edits that were not searched stand: nothing about them is new.
    if (names.length > 0 && !names.includes(name)) continue;
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
