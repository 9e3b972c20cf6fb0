/*
 * The benchmarks' own arithmetic, and that the documents say what the results say.
 */
import { readFile } from 'node:fs/promises';
import test from 'ava';
import { median, medianInterval } from '../bench/sweep/numbers.mjs';
import { RATIOS, ratiosOf } from '../bench/sweep/ratios.mjs';
import { DOCUMENTS, readResult, render } from '../bench/tables.mjs';

test('the documents have the tables that the results give', async (t) => {
  t.true(DOCUMENTS.length >= 2);
  for (const document of DOCUMENTS) {
    const text = await readFile(document, 'utf8');
    t.true(text.includes('<!-- table '), document);
    t.is(render(text, readResult), text, 'run `node bench/tables.mjs`');
  }
});

test('a table is made from its result, and an unknown one refused', (t) => {
  const result = { node: { medianRatio: 1.0123, interval95: [0.99, 1.02], pairs: [1, 2, 3] } };
  const text = 'a\n<!-- table node x.json -->\nold\n<!-- end -->\nb';
  const made = render(text, (file) => (t.is(file, 'x.json'), result));
  t.true(made.includes('| 3 | 1.012 | 0.990 … 1.020 | 1.03 |'), made);
  t.true(made.startsWith('a\n') && made.endsWith('\nb') && !made.includes('old'));
  t.is(
    render(made, () => result),
    made,
  );
  t.true(render(text, () => undefined).includes('No results are kept yet'));
  t.throws(() => render('<!-- table nothing x.json -->\n<!-- end -->', () => result), { message: /no table nothing/ });
});

test('the median, and its interval', (t) => {
  t.is(median([3, 1, 2]), 2);
  t.is(median([4, 1, 2, 3]), 2.5);
  const noisy = Array.from({ length: 40 }, (_, i) => 1 + (i % 8) / 100);
  const [low, high] = medianInterval(noisy);
  t.true(low <= median(noisy) && median(noisy) <= high);
  t.true(high - low > 0 && high - low < 0.04, `${low} … ${high}`);
  t.deepEqual(medianInterval(noisy), [low, high]);
  t.deepEqual(medianInterval([2, 2, 2]), [2, 2]);
});

test('a ratio is the median over turns, and a null one has its reason', (t) => {
  const rates = { exact: [10, 30, 20], reference: [5, 10, 10] };
  const { ratios, reasons } = ratiosOf(rates, { 'exact/bfloat16': 'no bfloat16 here' });
  t.is(ratios['exactFloat32VsReference'], 2);
  t.is(ratios['exactFloat32VsTorchLoop'], null);
  t.is(ratios['exactBfloat16VsTorchLoop'], null);
  t.deepEqual(reasons, {
    exactFloat32VsTorchLoop: 'torchLoop did not take part',
    exactBfloat16VsTorchLoop: 'no bfloat16 here; torchLoop did not take part',
  });
  const none = ratiosOf({}, {});
  t.deepEqual(Object.keys(none.ratios), Object.keys(RATIOS));
  t.deepEqual(Object.keys(none.reasons), Object.keys(RATIOS));
  t.deepEqual(ratiosOf({ ...rates, torchLoop: [1, 1, 1], 'exact/bfloat16': [4, 4, 4] }, {}).reasons, {});
});

/** What `npm run bench -- sweep --json` prints, as far as others rely on it. */
interface SweepResult {
  machine: Record<string, unknown>;
  ratios: Record<string, number | null>;
  reasons: Record<string, string>;
  shareOfMatmul: Record<string, number | null>;
  stages: Record<string, unknown>[];
}

test("a kept sweep result has the object's promised keys, and a reason for every null", (t) => {
  const result = readResult('sweep-intel-xeon-2-cores.json') as SweepResult;
  t.is(typeof result.machine['cpu'], 'string');
  t.deepEqual(Object.keys(result.ratios).sort(), [...Object.keys(RATIOS), 'screenedVsExact'].sort());
  t.deepEqual(Object.keys(result.shareOfMatmul), ['sameSize', 'transposed', 'suffix']);
  const nulls = [
    ...Object.entries(result.ratios),
    ...Object.entries(result.shareOfMatmul).map(([name, share]) => [`shareOfMatmul.${name}`, share] as const),
  ].filter(([, value]) => !(typeof value === 'number' && value > 0));
  for (const [name] of nulls) t.truthy(result.reasons[name], name);
  t.true(result.stages.length > 0);
  for (const stage of result.stages) {
    t.is(typeof stage['precision'], 'string');
    t.is(typeof stage['kind'], 'string');
    for (const name of ['secondsPerPicture', 'shareOfSweep', 'gflops', 'gigabytesPerSecond', 'shareOfMatmul']) {
      t.is(typeof stage[name], 'number', `${String(stage['name'])}: ${name}`);
    }
    // null: nothing to compute and nothing to move
    t.true(stage['timesFloor'] === null || Number(stage['timesFloor']) > 0);
  }
});
