/*
 * The paper's questions to a latent mapper (StyleCLIP, section 5), asked of the cats after a short training: how alike are its
 * steps for different cats (Table 2: mean cosine over pairs), what do three levels bring over one network, what does the
 * identity loss cost, and what the released code's optimiser does in so few steps. Pictures are drawn from a seed that no training has seen.
 *
 *     --steps 400      of each training
 *     --count 50       cats that it is asked about
 *     --prompts LIST   separated by semicolons
 *     --threads 1
 */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

const SEED = 1000;
const PROMPTS = ['a sleepy cat', 'a fat cat', 'a cat with a hat'];

export const describe =
  'steps of trained mappers on the cats: alike or not, one level or three, with and without identity';

/** @typedef {{ prompt: string, variant: string, seconds: number, steps: number, best: number, bestStep: number, similarity: number, length: number, gain: number, identity: number | null }} Row */

/** @param {ArrayLike<number>} a @param {ArrayLike<number>} b @param {number} n @param {number} i @param {number} j */
function cosine(a, b, n, i = 0, j = 0) {
  let [ab, aa, bb] = [0, 0, 0];
  for (let k = 0; k < n; k++) {
    const [x, y] = [a[i * n + k] ?? 0, b[j * n + k] ?? 0];
    ab += x * y;
    aa += x * x;
    bb += y * y;
  }
  return ab / Math.sqrt(aa * bb);
}

/** @param {number[]} values */
const mean = (values) => values.reduce((a, b) => a + b, 0) / values.length;

/** @param {Record<string, string>} options */
export async function run(options) {
  for (const name of Object.keys(options)) {
    if (!['steps', 'count', 'prompts', 'threads'].includes(name))
      throw new Error(`there is no option --${name} of mapper`);
  }
  const steps = Number(options['steps'] ?? 400);
  const count = Number(options['count'] ?? 50);
  const prompts = options['prompts']?.split(';').map((text) => text.trim()) ?? PROMPTS;
  const { configure, StyleClip } = await import('../../dist/index.js');
  configure({ threads: Number(options['threads'] ?? 1) });
  const cats = await StyleClip.load();
  const folder = await mkdtemp(join(tmpdir(), 'styleclip-mapper-'));
  try {
    const { generator, clip, identity } = cats;
    const latents = await generator.sample({ count, seed: SEED });
    const before = await generator.synthesize(latents);
    const sources = await clip.encodeImages(before);
    const persons = await identity?.embed(before);
    const texts = (await clip.encodeText(prompts, { normalize: true })).data;
    const dim = sources.shape[1] ?? 0;
    /** @type {{ name: string, options: Partial<import('../../dist/index.js').TrainMapperOptions> }[]} */
    const variants = [
      { name: 'three levels', options: {} },
      { name: 'one network', options: { levels: ['all'] } },
      ...(identity === undefined ? [] : [{ name: 'three levels, no identity loss', options: { lambdaId: 0 } }]),
      { name: 'three levels, Ranger', options: { optimizer: 'ranger' } },
    ];
    /** @type {Row[]} */
    const rows = [];
    for (const [p, prompt] of prompts.entries()) {
      for (const variant of variants) {
        const directory = join(folder, `${rows.length}`);
        const begun = performance.now();
        const mapper = await cats.trainMapper({ target: prompt, steps, directory, ...variant.options });
        const seconds = (performance.now() - begun) / 1000;
        const moved = await mapper.apply(latents);
        const { training } = mapper.info;
        await mapper.close();
        const each = latents.data.length / count;
        const change = moved.data.map((value, i) => value - (latents.data[i] ?? 0));
        const similarities = [];
        for (let i = 0; i < count; i++) {
          for (let j = 0; j < i; j++) similarities.push(cosine(change, change, each, i, j));
        }
        const after = await generator.synthesize(moved);
        const edited = await clip.encodeImages(after);
        const persons2 = await identity?.embed(after);
        const all = Array.from({ length: count }, (_, i) => i);
        rows.push({
          ...{ prompt, variant: variant.name, seconds, steps },
          ...{ best: Number(training?.['best']), bestStep: Number(training?.['best_step']) },
          similarity: mean(similarities),
          length: Math.sqrt(mean(Array.from(change, (value) => value * value))),
          gain: mean(all.map((i) => cosine(edited.data, texts, dim, i, p) - cosine(sources.data, texts, dim, i, p))),
          identity:
            persons === undefined || persons2 === undefined
              ? null
              : mean(all.map((i) => cosine(persons.data, persons2.data, persons.shape[1] ?? 0, i, i))),
        });
        process.stderr.write(`${line(/** @type {Row} */ (rows.at(-1)))}\n`);
      }
    }
    return { count, steps, rows };
  } finally {
    await cats.close();
    await rm(folder, { recursive: true, force: true });
  }
}

/** @param {Row} row */
function line(row) {
  return (
    `${row.prompt.padEnd(20)} ${row.variant.padEnd(32)} similarity ${row.similarity.toFixed(3)}, CLIP gain ` +
    `${row.gain.toFixed(4)}, rms step ${row.length.toFixed(3)}` +
    `${row.identity === null ? '' : `, identity ${row.identity.toFixed(3)}`}, ${row.seconds.toFixed(0)} s`
  );
}

/** @param {{ count: number, rows: Row[] }} result */
export function show({ count, rows }) {
  return `${count} cats, ${rows[0]?.steps} steps a training\n${rows.map(line).join('\n')}\n`;
}
