/*
 * The benchmarks' own arithmetic, and that the documents say what the results say.
 */
import { readFile } from 'node:fs/promises';
import test from 'ava';
import { median, medianInterval } from '../bench/sweep/numbers.mjs';
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
