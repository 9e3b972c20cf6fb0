/*
 * How well does each method edit the cats? Cats that nothing was tuned on are edited towards prompts by every method at its
 * defaults (global directions: at the settings of the model card), and read by a judge that no method sees: how far the
 * asked factor moved, how far the others did, and whether it is still the same cat.
 *
 *     --cats 200            drawn for each prompt of the bar; those with room to move are edited
 *     --identity-cats 40    drawn for each prompt that asks for another cat, or that is not judged
 *     --optimize-most 0     of them that are optimised, the first so many; 0: all
 *     --seed 77             of the cats
 *     --methods global,mapper,optimize
 *     --prompts LIST        names of edits of models/cats/quality.json; all of both groups
 *     --mapper-steps 1000   of each mapper's training
 *     --threads 1
 *     --folder DIR          build/quality-bench: the rows that are done and the trained mappers
 *     --resume yes          go on with the rows of that folder, which must be of the same settings and models; no: anew
 */
import { appendFile, mkdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { configure } from '../../dist/index.js';
import { BAR, cardEdits, EditBench } from '../../tools/world/edits.mjs';
import { groupsOf } from './prompts.mjs';

export const describe = 'every method at editing cats, read by a judge: factors, identity, time';

/** Sample pictures of the sweep behind global directions, as for the model card. */
const SWEEP_CATS = 16;
const ROOT = join(import.meta.dirname, '..', '..');
const KNOWN = {
  'optimize-most': '0',
  ...{ cats: '200', 'identity-cats': '40', seed: '77', methods: 'global,mapper,optimize', prompts: '' },
  ...{ 'mapper-steps': '1000', threads: '1', folder: join(ROOT, 'build', 'quality-bench'), resume: 'no' },
};
/** Options that say which rows are made, or where, and not what a row is. */
const FREE = ['methods', 'prompts', 'folder', 'resume'];

/** @typedef {import('../../tools/world/edits.mjs').CardEdit} CardEdit */
/** @typedef {import('../../dist/index.js').Latents} Latents */
/** @typedef {import('../../dist/index.js').Images} Images */
/** @typedef {{ images: Images, seconds: number, trainingSeconds?: number }} Made */
/** @typedef {(name: string, edit: CardEdit, latents: Latents) => Promise<Made>} Method */

/** @param {readonly number[]} values */
const mean = (values) => values.reduce((sum, v) => sum + v, 0) / values.length;

/**
 * @template T
 * @param {() => Promise<T>} work
 * @returns {Promise<[T, number]>} seconds
 */
async function timed(work) {
  const start = performance.now();
  return [await work(), (performance.now() - start) / 1000];
}

/**
 * @param {EditBench} bench
 * @param {Record<string, string>} all
 * @returns {Record<string, Method>}
 */
function methodsOf(bench, all) {
  const { cats } = bench;
  return {
    global: async (_, edit, latents) => {
      await bench.relevances();
      const [images, seconds] = await timed(async () => bench.edited(edit, latents));
      return { images, seconds };
    },
    mapper: async (name, { target, neutral }, latents) => {
      const directory = join(all['folder'] ?? '', 'mappers', name.replaceAll(' ', '-'));
      const steps = Number(all['mapper-steps']);
      // The cats that are edited are drawn without truncation: so are those that it learns on.
      const [mapper, trained] = await timed(async () =>
        cats.trainMapper({ target, neutral, directory, steps, truncationPsi: 1 }),
      );
      try {
        // A training that went on from an earlier run of this bench took the time of both.
        const clock = join(directory, 'seconds.txt');
        const trainingSeconds = trained + Number(await readFile(clock, 'utf8').catch(() => '0'));
        await writeFile(clock, `${trainingSeconds}`);
        const [images, seconds] = await timed(async () => cats.generator.synthesize(await mapper.apply(latents)));
        return { images, seconds, trainingSeconds };
      } finally {
        await mapper.close();
      }
    },
    optimize: async (_, { target, neutral }, latents) => {
      const [{ images }, seconds] = await timed(async () => cats.optimize(latents, { target, neutral }));
      return { images, seconds };
    },
  };
}

/** The rows that are done, on the disk as they come: a line of JSON each, the first one the run that they belong to. */
class Rows {
  /** @type {any[]} */
  done = [];

  /** @param {string} file @param {string} run */
  constructor(file, run) {
    this.file = file;
    this.run = run;
  }

  /**
   * @param {boolean} resume
   * @param {(row: any) => boolean} holds whether a row would be made the same way
   */
  async begin(resume, holds) {
    const text = resume ? await readFile(this.file, 'utf8').catch(() => '') : '';
    const [run, ...rows] = text.split('\n').filter((line) => line !== '');
    if (run !== undefined && run !== this.run) {
      throw new Error(`${this.file} is of another run: ${run}, not ${this.run}; leave --resume out to start anew`);
    }
    this.done = rows.map((row) => JSON.parse(row)).filter(holds);
    await writeFile(
      this.file,
      [this.run, ...this.done.map((row) => JSON.stringify(row))].map((one) => `${one}\n`).join(''),
    );
  }

  /** @param {any} row */
  async add(row) {
    this.done.push(row);
    await appendFile(this.file, `${JSON.stringify(row)}\n`);
  }
}

/** @param {Record<string, string>} options */
export async function run(options) {
  for (const name of Object.keys(options)) {
    if (!(name in KNOWN)) throw new Error(`there is no option --${name} of quality`);
  }
  /** @type {Record<string, string>} */
  const all = { ...KNOWN, ...options };
  configure({ threads: Number(all['threads']) });
  const edits = await cardEdits();
  const asked = all['prompts'] === '' ? undefined : all['prompts']?.split(',');
  const groups = groupsOf(edits, asked);
  const folder = all['folder'] ?? '';
  await mkdir(folder, { recursive: true });
  const names = (all['methods'] ?? '').split(',');
  const bench = await EditBench.open(SWEEP_CATS);
  try {
    const methods = methodsOf(bench, all);
    for (const name of names) {
      if (!(name in methods)) throw new Error(`there is no method ${name}: ${Object.keys(methods).join(', ')}`);
    }
    const settings = Object.fromEntries(Object.entries(all).filter(([name]) => !FREE.includes(name)));
    const { generator, clip, identity } = bench.cats;
    const models = [generator, clip, identity].map((model) => model?.info.sha256);
    const rows = new Rows(join(folder, 'rows.jsonl'), JSON.stringify({ settings, models }));
    const resume = all['resume'] === 'yes';
    if (!resume) await rm(join(folder, 'mappers'), { recursive: true, force: true });
    await rows.begin(resume, ({ method, prompt, made }) => made === howMade(method, edits[prompt]));
    for (const { group, prompts, count } of groups) {
      const litter = await bench.litter(Number(all[count]), Number(all['seed']));
      for (const method of names) {
        for (const prompt of prompts) {
          if (rows.done.some((row) => row.method === method && row.prompt === prompt)) continue;
          const edit = /** @type {CardEdit} */ (edits[prompt]);
          const most =
            method === 'optimize' && Number(all['optimize-most']) > 0 ? Number(all['optimize-most']) : Infinity;
          const cats = bench.withRoom(prompt, edit, litter, most);
          const made = await /** @type {Method} */ (methods[method])(prompt, edit, cats.latents);
          await rows.add({
            method,
            group,
            prompt,
            made: howMade(method, edit),
            ...(await judged(bench, prompt, edit, cats, made)),
          });
          process.stderr.write(`${line(rows.done.at(-1))}\n`);
        }
      }
    }
    return { settings, bar: { ...BAR, share: 0.9 }, rows: rows.done };
  } finally {
    await bench.close();
  }
}

/**
 * What a row is of, beside the run's settings.
 * @param {string} method
 * @param {CardEdit | undefined} edit
 */
function howMade(method, edit) {
  if (edit === undefined) return '';
  const { target, neutral, from = neutral, factor, layers, measure, channels, strength } = edit;
  return (
    method === 'global' ? [target, from, factor, layers, measure, channels, strength] : [target, neutral, factor]
  ).join(', ');
}

/**
 * @param {EditBench} bench
 * @param {string} prompt
 * @param {CardEdit} edit
 * @param {import('../../tools/world/edits.mjs').Litter} cats
 * @param {Made} made
 */
async function judged(bench, prompt, edit, cats, { images, seconds, trainingSeconds }) {
  const { card, nearer, alike, elsewhere } = await bench.judged(prompt, edit, cats, images);
  const share = (/** @type {(i: number) => boolean} */ holds) => mean([...nearer.keys()].map((i) => Number(holds(i))));
  const moves = (/** @type {number} */ i) => (nearer[i] ?? 0) >= BAR.sigma;
  const same = (/** @type {number} */ i) => (alike[i] ?? 0) >= BAR.identity;
  return {
    ...{ target: edit.target, neutral: edit.neutral, factor: edit.factor },
    ...{ cats: nearer.length, seconds, ...(trainingSeconds === undefined ? {} : { trainingSeconds }) },
    ...{ movedSigma: card.moved_sigma, shareMoved: share(moves) },
    ...{ identity: mean(alike), shareSame: share(same), shareBoth: share((i) => moves(i) && same(i)) },
    ...{ othersSigma: card.others_mean_sigma, othersEachSigma: mean(elsewhere) },
    ...{ mostMovedOther: card.most_moved_other, judgingClipAgrees: card.judging_clip_agrees },
  };
}

/** @param {any} r */
function line(r) {
  const percent = (/** @type {number} */ share) => `${(100 * share).toFixed(0)} %`.padStart(5);
  const training = r.trainingSeconds === undefined ? '' : `, training ${r.trainingSeconds.toFixed(0)} s`;
  return (
    `${r.method.padEnd(9)} ${r.prompt.padEnd(15)} moved ${r.movedSigma.toFixed(2)} σ, by 1 σ in ${percent(r.shareMoved)}, ` +
    `same cat in ${percent(r.shareSame)} (${r.identity.toFixed(3)}), both ${percent(r.shareBoth)} of ${r.cats}; ` +
    `others ${r.othersSigma.toFixed(2)} σ, in each ${r.othersEachSigma.toFixed(2)} σ; ${r.seconds.toFixed(0)} s${training}`
  );
}

/** @param {{ rows: any[] }} result */
export function show({ rows }) {
  return `${rows.map(line).join('\n')}\n`;
}
