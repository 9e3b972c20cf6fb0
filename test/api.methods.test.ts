/*
 * The methods beside exact and reference from the public functions: named channels, gradients, and the screening of one
 * text's channels, on tiny random models.
 */
import { join } from 'node:path';
import test from 'ava';
import { Relevance, StyleClipError } from '../dist/index.js';
import { testFolder, TINY, tinyStyleClip } from './helpers/public-models.js';

const folder = await testFolder();
const tiny = await tinyStyleClip(folder.path);
const SWEEP = { images: 6, layers: 'all', statisticsSamples: 300 } as const;
const exact = await tiny.sweep(SWEEP);
const text = await tiny.clip.direction({ neutral: 'a cat', target: 'a fat cat' });
test.after.always(async () => {
  await tiny.close();
  await folder.remove();
});

const error = (name: string): { instanceOf: typeof StyleClipError; code: string } => ({
  instanceOf: StyleClipError,
  code: `ERR_STYLECLIP_${name}`,
});

test('named channels are the rows of the whole table', async (t) => {
  const channels = [0, 5, 30, TINY.total - 1];
  const some = await tiny.sweep({ ...SWEEP, channels });
  t.deepEqual([...some.channels], channels);
  const { cosine, magnitude, channels: compared } = some.agreement(exact);
  t.is(compared, 4);
  t.true(cosine.min > 0.99999, `${cosine.min}`);
  t.true(magnitude.max < 1e-3, `${magnitude.max}`);
  await t.throwsAsync(tiny.sweep({ ...SWEEP, channels: [TINY.total] }), error('ARGUMENT'));
});

// What a central difference of size h is off its limit by falls as h² where all is smooth. Where it meets the kinks of many
// leaky ReLUs, as many of them as h is long, of either sign, it falls as √h at least, and 1 − cosine as h: a quarter of the
// step is at most a quarter as far, here allowed to be half. A wrong slope stays as far as it is.
test('gradient: the slope is what small perturbations tend to', async (t) => {
  const relative = { ...SWEEP, perturb: 'relative' } as const;
  const slopes = await tiny.sweep({ ...relative, sigmas: 1, method: 'gradient' });
  t.like(slopes.meta, { method: 'gradient', implementation: 'gradient' });
  const apart = async (sigmas: number): Promise<number> => {
    const { cosine } = slopes.agreement(await tiny.sweep({ ...relative, sigmas }));
    return 1 - cosine.median;
  };
  const [near, far] = [await apart(0.1), await apart(0.4)];
  t.true(far > 1e-6, `${far}`); // above the rounding of rows in float32
  t.true(near < far / 2, `${near} ${far}`);
});

test('screen: exact rows of fewer channels, for its own text only', async (t) => {
  const screened = await tiny.screen(text, { ...SWEEP, channels: 5, margin: 4 });
  t.is(screened.length, 20);
  t.like(screened.meta, { method: 'screened', implementation: exact.meta.implementation });
  t.deepEqual(screened.meta.screened, {
    target: text.target,
    neutral: text.neutral,
    of: TINY.total,
    candidates: 20,
    margin: 4,
    probes: TINY.embedding,
    confidence: 0.99,
  });
  t.true(screened.agreement(exact).cosine.min > 0.99999);

  t.is(screened.direction(text, { channels: 5 }).channels, 5);
  const other = await tiny.clip.direction({ neutral: 'a cat', target: 'a red cat' });
  t.throws(() => screened.direction(other), error('ARGUMENT'));
  t.throws(() => screened.direction(text, { channels: 5, not: other }), error('ARGUMENT'));
  t.notThrows(() => screened.direction(other, { channels: 1, force: true }));

  await screened.save(join(folder.path, 'screened.safetensors'));
  t.deepEqual(await Relevance.load(join(folder.path, 'screened.safetensors')), screened);
  await t.throwsAsync(screened.exportNpy(join(folder.path, 'screened.npy')), error('ARGUMENT'));
});

test('screen: with every channel in question it is the exact sweep', async (t) => {
  const all = await tiny.screen(text, { ...SWEEP, beta: 0 });
  t.is(all.length, TINY.total);
  const { directions } = all.agreement(exact, { directions: text, beta: 0.1 });
  t.is(directions[0]!.recall, 1);
});

test('screen: settings that make no sense', async (t) => {
  await t.throwsAsync(
    tiny.screen(text, { ...SWEEP, beta: 1, margin: 1, probes: TINY.embedding }),
    error('EMPTY_SELECTION'),
  );
  await t.throwsAsync(tiny.screen(text, { ...SWEEP, confidence: 1 }), error('RANGE'));
  await t.throwsAsync(tiny.screen(text, { ...SWEEP, probes: 0 }), error('RANGE'));
  await t.throwsAsync(tiny.screen(text, { ...SWEEP, beta: 1.5 }), error('RANGE'));
  await t.throwsAsync(tiny.screen(text, { ...SWEEP, beta: 0.1, channels: 3 }), error('ARGUMENT'));
  await t.throwsAsync(tiny.screen(text, { ...SWEEP, margin: 0.5 }), error('RANGE'));
  await t.throwsAsync(tiny.screen(text, { ...SWEEP, method: 'exact' } as never), error('ARGUMENT'));
});

test('sweep by the method screened: as screen()', async (t) => {
  const screened = await tiny.sweep({ ...SWEEP, method: 'screened', text });
  t.is(screened.length, Math.min(60, TINY.total)); // six pictures are too few to give any candidate up
  t.deepEqual(
    { ...screened.meta, seconds: 0 },
    { ...(await tiny.screen(text, { ...SWEEP, channels: 20, margin: 3 })).meta, seconds: 0 },
  );
  await t.throwsAsync(tiny.sweep({ ...SWEEP, method: 'screened' }), error('ARGUMENT'));
  await t.throwsAsync(tiny.sweep({ ...SWEEP, text }), error('ARGUMENT'));
});

test('screen: with as many probes as the embedding has numbers the ranking is the gradient’s own', async (t) => {
  const slopes = await tiny.sweep({ ...SWEEP, method: 'gradient', check: 0 });
  const r = Array.from(slopes.channels, (_, i) =>
    Math.abs(
      slopes.rows.subarray(i * slopes.dim, (i + 1) * slopes.dim).reduce((s, x, k) => s + x * text.direction[k]!, 0),
    ),
  );
  const best = [...r.keys()].sort((a, b) => r[b]! - r[a]!).slice(0, 7);
  const screened = await tiny.screen(text, { ...SWEEP, channels: 7, margin: 1, probes: slopes.dim });
  t.deepEqual(
    [...screened.channels],
    best.map((i) => slopes.channels[i]!).sort((a, b) => a - b),
  );
});

test('screen: with the automatic β, every channel that it keeps by the gradient', async (t) => {
  const slopes = await tiny.sweep({ ...SWEEP, method: 'gradient', check: 0 });
  const { beta, selected } = slopes.direction(text, { beta: 'auto' });
  t.true(beta > 0.1 && selected.length > 20, `${beta} ${selected.length}`); // the rule decides, not its floor
  const screened = await tiny.screen(text, { ...SWEEP, beta: 'auto', margin: 1, probes: slopes.dim });
  t.deepEqual(
    [...screened.channels],
    selected.map((one) => one.index).sort((a, b) => a - b),
  );
});

test('stop-at and adaptive: what they did stands in the result, in its file, and in shards', async (t) => {
  const adaptive = await tiny.sweep({ ...SWEEP, images: 30, method: 'adaptive', cosine: 0.9, confidence: 0.9 });
  t.like(adaptive.meta, { method: 'adaptive', cosine: 0.9, confidence: 0.9 });
  t.true(adaptive.meta.rendered < 2 * 30 * TINY.total, `${adaptive.meta.rendered}`);
  const stopped = await tiny.sweep({ ...SWEEP, method: 'stop-at', stopAt: 8 });
  t.like(stopped.meta, { method: 'stop-at', implementation: 'stop-at', stopAt: 8 });
  await stopped.save(join(folder.path, 'stopped.safetensors'));
  t.deepEqual(await Relevance.load(join(folder.path, 'stopped.safetensors')), stopped);
  const sharded = await tiny.sweep({ ...SWEEP, method: 'stop-at', directory: join(folder.path, 'shards') });
  t.deepEqual({ ...sharded.meta, agreement: 0 }, { ...stopped.meta, seconds: 0, agreement: 0 });
});

test('what is not exact/float32 is compared with it on some channels', async (t) => {
  t.is(exact.meta.agreement, undefined);
  const stopped = await tiny.sweep({ ...SWEEP, method: 'stop-at', check: TINY.total });
  const { cosine, magnitude, channels } = stopped.agreement(exact);
  const measured = stopped.meta.agreement!;
  t.is(measured.channels, channels);
  t.true(Math.abs(measured.cosineMedian - cosine.median) < 1e-4);
  t.true(Math.abs(measured.cosineMin - cosine.min) < 1e-4);
  t.true(Math.abs(measured.magnitude - magnitude.median) < 1e-4);
  t.is((await tiny.sweep({ ...SWEEP, precision: 'bfloat16' })).meta.agreement!.channels, 16);
  t.is((await tiny.sweep({ ...SWEEP, precision: 'bfloat16', check: 0 })).meta.agreement, undefined);
});
