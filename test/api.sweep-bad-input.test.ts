/*
 * What the sweep does with what cannot go well, every method, through the public functions: channels that do not move, models
 * that break, subsets that do not exist, no pictures, directories of other sweeps, and an abort.
 */
import { readFile, readdir } from 'node:fs/promises';
import { join } from 'node:path';
import test, { type ExecutionContext } from 'ava';
import {
  type Progress,
  type Relevance,
  StyleClip,
  StyleClipError,
  type SweepMethod,
  type SweepOptions,
} from '../dist/index.js';
import { makeBroken, testFolder, TINY, tinyStyleClip } from './helpers/public-models.js';

const folder = await testFolder();
const tiny = await tinyStyleClip(folder.path);
const text = await tiny.clip.direction({ neutral: 'a cat', target: 'a fat cat' });
const statistics = await tiny.generator.statistics({ samples: 300 });
type Options = Omit<SweepOptions, 'shard'>;

const SWEEP = { images: 4, layers: 'all', statistics } as const;
const METHODS: readonly SweepMethod[] = ['exact', 'reference', 'stop-at', 'adaptive', 'gradient', 'screened'];
const IN_SHARDS = METHODS.filter((method) => method !== 'screened');
test.after.always(async () => {
  await tiny.close();
  await folder.remove();
});

let made = 0;
const directory = (): string => join(folder.path, `sweep${made++}`);

async function sweep(method: SweepMethod, options: Options = {}, models = tiny): Promise<Relevance> {
  return models.sweep({ ...SWEEP, method, ...(method === 'screened' ? { text } : {}), ...options });
}

async function refused(t: ExecutionContext, name: string, call: Promise<unknown>, note: string): Promise<string> {
  const expected = { instanceOf: StyleClipError, code: `ERR_STYLECLIP_${name}` };
  const error = await t.throwsAsync<StyleClipError>(call, expected, note);
  t.truthy(error.remedy, note);
  return error.message;
}

const withSigma = (sigma: number, ...channels: number[]) => ({
  ...statistics,
  sigma: statistics.sigma.map((own, i) => (channels.includes(i) ? sigma : own)),
});

for (const method of METHODS) {
  test(`${method}: channels of σ = 0 have zero rows, or none`, async (t) => {
    const still = [0, 20, TINY.total - 1];
    const found = await sweep(method, { statistics: withSigma(0, ...still) });
    for (const [i, channel] of found.channels.entries()) {
      const row = found.rows.subarray(i * found.dim, (i + 1) * found.dim);
      t.is(found.counts[i] === 0, still.includes(channel), `${channel}`);
      t.is(
        row.every((x) => x === 0),
        still.includes(channel),
        `${channel}`,
      );
      if (still.includes(channel)) t.deepEqual([found.magnitude[i], found.concentration[i]], [0, 0]);
    }
    if (method === 'screened') t.false(still.some((channel) => found.channels.includes(channel)));
    else t.is(found.length, TINY.total);

    const nothing = sweep(method, { statistics: withSigma(0, ...Array.from({ length: TINY.total }, (_, i) => i)) });
    if (method === 'screened') {
      await refused(t, 'EMPTY_SELECTION', nothing, 'no channel moves');
      return;
    }
    const zeros = await nothing;
    t.true(zeros.rows.every((x) => x === 0) && zeros.counts.every((x) => x === 0));
    t.throws(() => zeros.direction(text), { instanceOf: StyleClipError, code: 'ERR_STYLECLIP_EMPTY_SELECTION' });
  });

  test(`${method}: what breaks is named by layer and channel`, async (t) => {
    await using broken = await brokenStyleClip();
    const said = await refused(
      t,
      'NOT_FINITE',
      sweep(method, { statistics: undefined, statisticsSamples: 100 }, broken),
      'the generator',
    );
    t.regex(said, /^Sample picture 0 .* no style channel .* the output of b8\.conv1 is not finite in channel 0\./);
    const far = await refused(t, 'NOT_FINITE', sweep(method, { statistics: withSigma(6e37, 14) }), 'one channel');
    const layer = tiny.generator.layout.layers.findLast(({ offset }) => offset <= 14)!;
    t.true(far.includes(`${layer.name} channel ${14 - layer.offset} at `), far);
  });

  test(`${method}: no pictures, and subsets that do not exist`, async (t) => {
    for (const images of [0, -1, 1.5, NaN, Infinity, '3']) {
      const name = typeof images === 'number' && Number.isInteger(images) ? 'RANGE' : '(RANGE|ARGUMENT)';
      const error = await t.throwsAsync<StyleClipError>(sweep(method, { images: images as number }));
      t.regex(error.code, new RegExp(`^ERR_STYLECLIP_${name}$`), `${images}`);
      t.regex(error.message, /images/);
    }
    for (const layers of [[], '', 'b4', ['b4.conv1', 'b4.conv9'], ['b4.conv1', 5], {}]) {
      await refused(t, 'ARGUMENT', sweep(method, { layers: layers as never }), JSON.stringify(layers));
    }
    if (method === 'screened') return; // a screening of given channels is none
    for (const channels of [[], [TINY.total], [2 ** 31 - 1], [3, 2], [3, 3], 'all', {}]) {
      await refused(t, 'ARGUMENT', sweep(method, { channels: channels as never }), JSON.stringify(channels));
    }
    for (const channels of [[-1], [1.5], [NaN], ['1']]) {
      await t.throwsAsync(sweep(method, { channels: channels as never }), { instanceOf: StyleClipError });
    }
    await refused(t, 'ARGUMENT', sweep(method, { layers: ['b16.conv1'], channels: [0] }), 'of another layer');
  });

  test(`${method}: an abort rejects with its reason, and nothing is told after it`, async (t) => {
    const controller = new AbortController();
    const reason = new Error('enough');
    let after = 0;
    const onProgress = (progress: Progress): void => {
      if (controller.signal.aborted) after++;
      if (progress.phase !== 'statistics' && progress.done < progress.total) controller.abort(reason);
    };
    const options = {
      images: 3000,
      signal: controller.signal,
      onProgress,
      ...(method === 'screened' ? {} : { check: 0 }),
    };
    t.is(await t.throwsAsync(sweep(method, options), { any: true }), reason);
    t.is(after, 0);
    t.is(await t.throwsAsync(sweep(method, { ...options, signal: AbortSignal.abort(reason) }), { any: true }), reason);
    t.is((await sweep(method, { images: 2, layers: ['b4.conv1'] })).dim, TINY.embedding); // it goes on working
  });
}

const CHANGES: readonly (readonly [SweepMethod, Options, RegExp])[] = [
  ...IN_SHARDS.flatMap((method) => [
    [method, { images: 5 }, /images is 4 there and 5 here/] as const,
    [method, { sigmas: 4 }, /sigmas is 5\.0 there and 4\.0 here/] as const,
    [method, { channels: [1, 2] }, /channels_sha256/] as const,
    [
      method,
      { method: method === 'exact' ? 'reference' : 'exact' },
      new RegExp(`method is "${method}" there`),
    ] as const,
  ]),
  ['exact', { precision: 'bfloat16' }, /precision is "float32" there and "bfloat16" here/],
  ['stop-at', { precision: 'bfloat16' }, /precision is/],
  ['adaptive', { precision: 'bfloat16' }, /precision is/],
  ['stop-at', { stopAt: 4 }, /stop_at is 8 there and 4 here/],
  ['adaptive', { cosine: 0.5 }, /cosine is 0\.99 there and 0\.5 here/],
  ['adaptive', { confidence: 0.5 }, /confidence is 0\.95 there and 0\.5 here/],
];

for (const method of IN_SHARDS) {
  test(`${method}: a directory of another sweep is refused by what differs, and stays as it was`, async (t) => {
    const where = directory();
    const files = async (): Promise<Buffer[]> =>
      Promise.all((await readdir(where)).toSorted().map(async (name) => readFile(join(where, name))));
    await sweep(method, { directory: where, check: 0 });
    const before = await files();
    for (const [own, change, said] of CHANGES) {
      if (own !== method) continue;
      const call = sweep(method, { directory: where, check: 0, ...change });
      t.regex(await refused(t, 'RESUME_MISMATCH', call, JSON.stringify(change)), said);
    }
    t.deepEqual(await files(), before);
  });

  test(`${method}: a model that breaks leaves no shard`, async (t) => {
    await using broken = await brokenStyleClip();
    const where = directory();
    const options = { statistics: undefined, statisticsSamples: 100, directory: where };
    await refused(t, 'NOT_FINITE', sweep(method, options, broken), 'broken');
    t.deepEqual(await readdir(where), ['plan.json']);
  });
}

test('screened: it has no directory to go on in, and no channels of its own', async (t) => {
  await refused(t, 'ARGUMENT', sweep('screened', { directory: directory() }), 'directory');
  await refused(t, 'ARGUMENT', sweep('screened', { channels: [1] }), 'channels');
});

test('pictures of a broken model are refused as bytes, which have no NaN', async (t) => {
  await using broken = await brokenStyleClip();
  const { generator } = broken;
  const w = await generator.sample({ count: 2, seed: 1 });
  const said = await refused(t, 'NOT_FINITE', generator.synthesize(w), 'bytes');
  t.regex(said, /^Picture 0 holds NaN/);
  t.true((await generator.synthesize(w, { as: 'float32' })).data.some(Number.isNaN));
});

async function brokenStyleClip(): Promise<StyleClip> {
  const generator = await makeBroken(folder.path, `broken${made++}`);
  return StyleClip.load({ generator, clip: join(folder.path, 'clip.pt'), device: 'cpu' });
}
