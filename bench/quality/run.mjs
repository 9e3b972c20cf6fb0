/*
 * How well does each method edit the cats? Cats that nothing was tuned on are edited towards prompts by every method at its
 * defaults (global directions: at the settings of the model card), and read by a judge that no method sees: how far the
 * asked factor moved, how far the others did, and whether it is still the same cat.
 *
 *     --cats 200        edited with each prompt
 *     --seed 77         of the cats
 *     --methods global,optimize
 *     --prompts glasses,hat,mouth,…      names of edits of models/cats/quality.json
 */
import { cardEdits, EditBench } from '../../tools/world/edits.mjs';

export const describe = 'every method at editing cats, read by a judge: factors, identity, time';

/** Sample pictures of the sweep behind global directions, as for the model card. */
const SWEEP_CATS = 16;
const PROMPTS = ['glasses', 'hat', 'mouth', 'eye_size', 'ear_size', 'face_width', 'stripes', 'blue eyes'];
/** The bar: so many σ of the asked factor, at this identity similarity, in this share of the cats. */
const BAR = { sigma: 1, identity: 0.8, share: 0.9 };

/** @typedef {import('../../tools/world/edits.mjs').CardEdit} CardEdit */
/** @typedef {import('../../dist/index.js').Latents} Latents */
/** @typedef {import('../../dist/index.js').Images} Images */
/** @typedef {(edit: CardEdit, latents: Latents) => Promise<Images>} Method */

/** @param {readonly number[]} values */
const mean = (values) => values.reduce((sum, v) => sum + v, 0) / values.length;

/**
 * @param {EditBench} bench
 * @returns {Record<string, Method>}
 */
function methodsOf(bench) {
  const { cats } = bench;
  return {
    global: async (edit, latents) => bench.edited(edit, latents),
    optimize: async ({ target, neutral }, latents) => (await cats.optimize(latents, { target, neutral })).images,
  };
}

/** @param {Record<string, string>} options */
export async function run(options) {
  const known = {
    ...{ cats: '200', seed: '77', methods: 'global,optimize', prompts: PROMPTS.join() },
  };
  for (const name of Object.keys(options)) {
    if (!(name in known)) throw new Error(`there is no option --${name} of quality`);
  }
  const all = { ...known, ...options };
  const edits = await cardEdits();
  const bench = await EditBench.open(SWEEP_CATS);
  try {
    const litter = await bench.litter(Number(all.cats), Number(all.seed));
    const methods = methodsOf(bench);
    const rows = [];
    for (const name of all.methods.split(',')) {
      const method = methods[name];
      if (method === undefined) throw new Error(`there is no method ${name}: ${Object.keys(methods).join(', ')}`);
      for (const prompt of all.prompts.split(',')) {
        const edit = edits[prompt];
        if (edit === undefined) throw new Error(`there is no edit ${prompt}: ${Object.keys(edits).join(', ')}`);
        const start = performance.now();
        const images = await method(edit, litter.latents);
        const seconds = (performance.now() - start) / 1000;
        const { card, nearer, alike } = await bench.judged(prompt, edit, litter, images);
        const share = (/** @type {(i: number) => boolean} */ holds) =>
          mean([...nearer.keys()].map((i) => Number(holds(i))));
        const moves = (/** @type {number} */ i) => (nearer[i] ?? 0) >= BAR.sigma;
        const same = (/** @type {number} */ i) => (alike[i] ?? 0) >= BAR.identity;
        rows.push({
          ...{ method: name, prompt, target: edit.target, neutral: edit.neutral, factor: edit.factor, seconds },
          ...{ cats: nearer.length, movedSigma: card.moved_sigma, shareMoved: share(moves) },
          ...{ identity: mean(alike), shareSame: share(same), shareBoth: share((i) => moves(i) && same(i)) },
          ...{ othersSigma: card.others_mean_sigma, mostMovedOther: card.most_moved_other },
          judgingClipAgrees: card.judging_clip_agrees,
        });
        process.stderr.write(`${line(rows.at(-1))}\n`);
      }
    }
    return { settings: all, bar: BAR, rows };
  } finally {
    await bench.close();
  }
}

/** @param {any} r */
function line(r) {
  const percent = (/** @type {number} */ share) => `${(100 * share).toFixed(0)} %`.padStart(5);
  return (
    `${r.method.padEnd(9)} ${r.prompt.padEnd(11)} moved ${r.movedSigma.toFixed(2)} σ, by 1 σ in ${percent(r.shareMoved)}, ` +
    `same cat in ${percent(r.shareSame)} (${r.identity.toFixed(3)}), both ${percent(r.shareBoth)}; ` +
    `others ${r.othersSigma.toFixed(2)} σ; ${r.seconds.toFixed(0)} s`
  );
}

/** @param {{ rows: any[] }} result */
export function show({ rows }) {
  return `${rows.map(line).join('\n')}\n`;
}
