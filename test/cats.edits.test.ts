/*
 * What the embedded cats are for: a text moves the factor that it names. Every edit of the model card is made by the
 * package itself (sweep, direction, edit), at the card's setting, on cats that the settings were not searched on, and read
 * by the judge, a network that no method sees. The bar is the card's: one edit for each of the seventeen factors moves its
 * factor by at least one σ. The judging CLIP, of another architecture and seed, has to agree, so that a picture that only
 * fools one reader does not pass.
 *
 * The card's figures come from a sweep over 16 cats and 200 edited ones, and so do those of `npm run test:soak`; otherwise a
 * quarter of both is taken, and a factor's other edits are left out once one has reached the bar.
 */
import { readFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import test from 'ava';
import { Clip, configure, Images, Module, Relevance, StyleClip } from '../dist/index.js';

const MODELS = fileURLToPath(new URL('../models', import.meta.url));
const SOAK = process.env['STYLECLIP_SOAK'] === '1';
const SWEEP_CATS = SOAK ? 16 : 4;
const CATS = SOAK ? 200 : 50;

/** An edit of models/cats/quality.json. */
interface CardEdit {
  target: string;
  neutral: string;
  factor: string;
  layers: 'conv' | 'all';
  measure: 'cosine' | 'projection';
  channels: number;
  strength: number;
}

/** Where an edit's factor should go, where that is not 1; as in tools/world/edits.py. */
const GOALS: Record<string, number> = {
  'dark fur': 0,
  'copper eyes': 0,
  black: 0,
  ginger: 0.5,
  white: 0.75,
  'blue background': 0,
  'pink background': 0.75,
};

async function json<T>(file: string): Promise<T> {
  return JSON.parse(await readFile(`${MODELS}/${file}`, 'utf8')) as T;
}

const { edits } = (await json<{ edits: { edits: Record<string, CardEdit> } }>('cats/quality.json')).edits;
const { factors } = await json<{ factors: string[] }>('cats/factors.json');

configure({ threads: 1 });
const cats = await StyleClip.load();
const other = await Clip.load(`${MODELS}/judge/clip.pt`);
const judge = await Module.load(`${MODELS}/judge/factors.pt`, { trust: true });
test.after.always(async () => Promise.all([cats.close(), other.close(), judge.close()]));

/** The judge's reading, [pictures][factors]. */
async function read(images: Images): Promise<number[][]> {
  const { data, count, width, height } = images;
  const plane = width * height;
  const x = new Float32Array(count * 3 * plane);
  for (let i = 0; i < count * plane; i++) {
    const [image, pixel] = [Math.floor(i / plane), i % plane];
    for (let c = 0; c < 3; c++) x[(image * 3 + c) * plane + pixel] = data[3 * i + c]! / 127.5 - 1;
  }
  const [told] = await judge.run('factors', [{ data: x, shape: [count, 3, height, width] }]);
  const rows = told!.data as Float32Array;
  return Array.from({ length: count }, (_, i) => [...rows.subarray(i * factors.length, (i + 1) * factors.length)]);
}

/** How much each picture leans to the text direction, by the judging CLIP. */
async function leaning(images: Images, edit: CardEdit): Promise<number[]> {
  const text = await other.direction({ neutral: edit.neutral, target: edit.target });
  const seen = await other.encodeImages(images, { normalize: true });
  const d = text.direction.length;
  return Array.from({ length: images.count }, (_, i) =>
    seen.data.subarray(i * d, (i + 1) * d).reduce((sum, v, k) => sum + v * text.direction[k]!, 0),
  );
}

/** The rows of the conv layers alone. */
function convOnly(all: Relevance): Relevance {
  const toRgb = (at: number): boolean =>
    all.layers.some((layer) => layer.toRgb && at >= layer.offset && at < layer.offset + layer.channels);
  const keep = new Set([...all.channels.keys()].filter((row) => !toRgb(all.channels[row]!)));
  const pick = <T extends Float32Array | Int32Array>(from: T): T => from.filter((_, i) => keep.has(i)) as T;
  return Relevance.from({
    ...all,
    rows: all.rows.filter((_, i) => keep.has(Math.floor(i / all.dim))),
    channels: pick(all.channels),
    counts: pick(all.counts),
    magnitude: pick(all.magnitude),
    concentration: pick(all.concentration),
    meta: { ...all.meta, layers: ['conv'] },
  });
}

const mean = (values: readonly number[]): number => values.reduce((sum, v) => sum + v, 0) / values.length;
const deviation = (values: readonly number[]): number => {
  const middle = mean(values);
  return Math.sqrt(mean(values.map((v) => (v - middle) ** 2)));
};

test('for every factor a text that moves it by one σ and more', async (t) => {
  const all = await cats.sweep({
    images: SWEEP_CATS,
    layers: 'all',
    perturb: 'relative',
    truncationPsi: 1,
    statisticsSamples: 4000,
    seed: 62,
  });
  const relevances = { all, conv: convOnly(all) };
  const latents = await cats.generator.sample({ count: CATS, seed: 64, truncationPsi: 1 });
  const before = await cats.generator.synthesize(latents);
  const was = await read(before);

  const most = new Map<string, number>();
  for (const [name, edit] of Object.entries(edits)) {
    if (!SOAK && (most.get(edit.factor) ?? 0) >= 1) continue;
    const { target, neutral, layers, measure, channels, strength } = edit;
    const text = await cats.clip.direction({ neutral, target });
    const direction = relevances[layers].direction(text, { channels, measure });
    const edited = await cats.generator.edit(latents, direction, { alpha: strength });
    const after = Images.concat(edited.images.map(([image]) => image!));
    const now = await read(after);

    const k = factors.indexOf(edit.factor);
    const goal = GOALS[name] ?? 1;
    const spread = deviation(was.map((row) => row[k]!));
    const reach = goal === 0 || goal === 1 ? 0.5 : 0.2;
    const room = [...was.keys()].filter((i) => Math.abs(was[i]![k]! - goal) > reach);
    const nearer = room.map((i) => (Math.abs(was[i]![k]! - goal) - Math.abs(now[i]![k]! - goal)) / spread);
    const [leant, leans] = [await leaning(before, edit), await leaning(after, edit)];
    const agrees = mean(room.map((i) => (leans[i]! > leant[i]! ? 1 : 0)));
    const moved = mean(nearer);
    t.log(`${edit.factor}, ${target}: ${moved.toFixed(2)} σ, judging CLIP agrees ${(100 * agrees).toFixed(0)} %`);
    if (agrees >= 0.9) most.set(edit.factor, Math.max(moved, most.get(edit.factor) ?? -Infinity));
  }
  for (const factor of factors) t.true((most.get(factor) ?? 0) >= 1, `${factor}: ${most.get(factor)?.toFixed(2)} σ`);
});
