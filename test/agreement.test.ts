/*
 * Agreement of two relevances, on planted rows whose cosines, correlations and recall are known in closed form.
 */
import { readFileSync } from 'node:fs';
import test from 'ava';
import { Relevance, StyleClipError, TextDirection, type Agreement, type RelevanceLike } from '../dist/index.js';

const degrees = (angle: number): [number, number] => [
  Math.cos((angle * Math.PI) / 180),
  Math.sin((angle * Math.PI) / 180),
];

/** Rows at these angles, of channels 0, 1, … or those named. */
function planted(angles: readonly number[], changes: Partial<RelevanceLike> = {}): Relevance {
  const n = angles.length;
  return Relevance.from({
    rows: Float32Array.from(angles.flatMap(degrees)),
    dim: 2,
    channels: Int32Array.from({ length: n }, (_, i) => i),
    counts: new Int32Array(n).fill(5),
    magnitude: new Float32Array(n).fill(1),
    concentration: new Float32Array(n).fill(1),
    mean: new Float32Array(9),
    sigma: new Float32Array(9).fill(1),
    layers: [{ name: 'b4.conv1', resolution: 4, channels: 9, toRgb: false, wRow: 0, offset: 0 }],
    meta: {
      method: 'exact',
      implementation: 'exact',
      precision: 'float32',
      images: 5,
      sigmas: 5,
      perturb: 'absolute',
      layers: ['conv'],
      preprocess: 'float',
      noise: 'const',
      seed: '0',
      truncationPsi: 0.7,
      truncationCutoff: -1,
      statisticsSamples: 100,
      generatorSha256: 'aa',
      clipSha256: 'bb',
      rendered: 90,
      seconds: 1,
      version: '0.1.0',
    },
    ...changes,
  });
}

function textAlong(direction: Float32Array, clipSha256 = 'bb'): TextDirection {
  const texts = { target: 't', neutral: 'n', templates: ['{}'], unknownWords: [], clipSha256 };
  const ends = { targetEmbedding: direction, neutralEmbedding: direction };
  return TextDirection.from({ ...texts, direction, length: 1, ...ends });
}

const alongFirstAxis = (clipSha256?: string): TextDirection => textAlong(Float32Array.of(1, 0), clipSha256);

const code = (name: string) => ({ instanceOf: StyleClipError, code: `ERR_STYLECLIP_${name}` });
const near = (actual: number, expected: number): boolean => Math.abs(actual - expected) < 1e-6;

interface Table {
  channels: number[];
  rows: number[];
  magnitude: number[];
  counts: number[];
}

test('the numbers that NumPy gives, which the core is held to as well', (t) => {
  const file = JSON.parse(readFileSync(new URL('../test/data/agreement.json', import.meta.url), 'utf8')) as {
    dim: number;
    own: Table;
    truth: Table;
    texts: number[][];
    cases: { beta: number | null; epsilon: number; expected: Agreement }[];
  };
  const table = (of: Table): Relevance =>
    planted([], {
      dim: file.dim,
      rows: Float32Array.from(of.rows),
      channels: Int32Array.from(of.channels),
      counts: Int32Array.from(of.counts),
      magnitude: Float32Array.from(of.magnitude),
      concentration: new Float32Array(of.channels.length).fill(1),
      mean: new Float32Array(80),
      sigma: new Float32Array(80).fill(1),
      layers: [{ name: 'b4.conv1', resolution: 4, channels: 80, toRgb: false, wRow: 0, offset: 0 }],
    });
  const directions = file.texts.map((numbers) => textAlong(Float32Array.from(numbers)));
  for (const { beta, epsilon, expected } of file.cases) {
    const found = table(file.own).agreement(table(file.truth), { directions, beta: beta ?? 'auto', epsilon });
    const compare = (actual: unknown, wanted: unknown, path: string): void => {
      if (typeof wanted === 'number')
        t.true(Math.abs((actual as number) - wanted) <= 1e-13, `${path}: ${String(actual)}, ${wanted}`);
      else {
        for (const [key, value] of Object.entries(wanted as object)) {
          compare((actual as Record<string, unknown>)[key], value, `${path}.${key}`);
        }
      }
    };
    t.is(found.unresolved.length, expected.unresolved.length);
    compare(found, expected, `beta ${beta}`);
  }
});

test('cosines, magnitudes, resolved rows, correlations and recall of planted rows', (t) => {
  const truth = planted([0, 90, 180, 45], { magnitude: Float32Array.of(0.1, 0.2, 0.4, 0.001) });
  // Turned by 0, 60, 60 and 90 degrees: r = 1, -√3/2, -1/2, -√½ where the truth has 1, 0, -1, √½.
  const own = planted([0, 150, 240, 135], { magnitude: Float32Array.of(0.11, 0.2, 0.3, 0.001) });
  const found = own.agreement(truth, { directions: alongFirstAxis(), beta: 0.75, epsilon: 1e-5 });
  t.is(found.channels, 4);
  t.is(found.still, 0);
  const { min, p01, p10, median, mean } = found.cosine;
  for (const [actual, expected] of [
    [min, 0],
    [p01, 0.015],
    [p10, 0.15],
    [median, 0.5],
    [mean, 0.5],
    [found.magnitude.median, 0.05],
    [found.magnitude.max, 0.25],
    [found.resolved.min, 0.5],
  ] as const) {
    t.true(near(actual, expected), `${actual} ${expected}`);
  }
  t.is(found.resolved.channels, 3);
  t.deepEqual(found.unresolved, [3]);
  const [text] = found.directions;
  t.like(text, { target: 't', neutral: 'n', beta: 0.75, expected: 2, selected: 2, recall: 0.5 });
  t.true(near(text!.pearson, 0.5190453756756469));
  t.true(near(text!.spearman, 0.4));
});

test('a table agrees with itself; equal relevances share a rank', (t) => {
  const one = planted([0, 0, 60, 90]);
  const found = one.agreement(one, { directions: [alongFirstAxis()], beta: 0.4 });
  t.true(near(found.cosine.min, 1));
  t.is(found.magnitude.max, 0);
  t.deepEqual(found.unresolved, []);
  const [same] = found.directions;
  t.true(near(same!.pearson, 1) && near(same!.spearman, 1));
  t.like(same, { expected: 3, selected: 3, recall: 1 });

  // Ranks 2½, 2½, 1, 0 beside 3, 2, 1, 0: Σxy = 4.5, Σx² = 4.5, Σy² = 5 about the mean of 1½.
  const [other] = one.agreement(planted([0, 10, 60, 90]), { directions: alongFirstAxis(), beta: 0.4 }).directions;
  t.true(near(other!.spearman, 4.5 / Math.sqrt(4.5 * 5)));
});

test('channels that move in one table only count as 0, those that move in none are left out, others are not compared', (t) => {
  const zero = (rows: Float32Array, ...which: number[]): Float32Array => {
    for (const row of which) rows.fill(0, 2 * row, 2 * row + 2);
    return rows;
  };
  const rows = Float32Array.from([0, 30, 60].flatMap(degrees));
  const own = planted([0, 30, 60], { rows: zero(rows.slice(), 1, 2), counts: Int32Array.of(5, 0, 0) });
  const truth = planted([0, 30, 60], { rows: zero(rows.slice(), 2), counts: Int32Array.of(5, 5, 0) });
  const found = own.agreement(truth);
  t.like(found, { channels: 3, still: 1, directions: [] });
  t.true(near(found.cosine.min, 0) && near(found.cosine.mean, 0.5));

  const shifted = planted([30, 60, 90], { channels: Int32Array.of(1, 2, 3) });
  const overlap = planted([0, 30, 60]).agreement(shifted);
  t.is(overlap.channels, 2);
  t.true(near(overlap.cosine.min, 1));
});

test('nothing expected is recalled in full', (t) => {
  const [text] = planted([90]).agreement(planted([90]), { directions: alongFirstAxis(), beta: 0.5 }).directions;
  t.like(text, { expected: 0, selected: 0, recall: 1 });
  t.true(Number.isNaN(text!.pearson));
});

test('tables and texts that do not belong together are refused', (t) => {
  const one = planted([0, 90]);
  const { meta } = one;
  const agree = (other: Relevance, options?: object) => () => one.agreement(other, options);
  t.throws(agree(planted([0], { meta: { ...meta, generatorSha256: 'cc' } })), code('MODEL_MISMATCH'));
  t.throws(agree(planted([0], { meta: { ...meta, clipSha256: 'cc' } })), code('MODEL_MISMATCH'));
  t.throws(agree(planted([0], { channels: Int32Array.of(7) })), code('ARGUMENT'));
  t.throws(agree(planted([0], { dim: 1, rows: Float32Array.of(1) })), code('SHAPE'));
  t.throws(agree(one, { directions: alongFirstAxis('cc'), beta: 0.5 }), code('MODEL_MISMATCH'));
  t.throws(agree(one, { beta: 1.5 }), code('RANGE'));
  t.throws(agree(one, { epsilon: -1 }), code('RANGE'));
  t.throws(agree(one, { wrong: 1 }), code('ARGUMENT'));
});
