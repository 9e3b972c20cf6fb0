/*
 * Sweeps in shards through the public functions, on tiny random models: the stream of shards, resuming, aborting, shares,
 * merging, and everything that a directory is refused for. A shard of the tiny models has all channels and ten pictures.
 */
import { copyFile, cp, mkdir, readdir, readFile, rm, stat, truncate, writeFile } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { pathToFileURL } from 'node:url';
import test from 'ava';
import {
  configure,
  Relevance,
  StyleClipError,
  type Progress,
  type SweepOptions,
  type SweepShard,
} from '../dist/index.js';
import { testFolder, TINY, tinyStyleClip } from './helpers/public-models.js';

const folder = await testFolder();
const warnings: string[] = [];
const quiet = (): void => undefined;
configure({ logger: { debug: quiet, info: quiet, warn: (text: string) => warnings.push(text), error: quiet } });
const tiny = await tinyStyleClip(folder.path);
const { generator, clip } = tiny;
const SETTINGS = { images: 25, statisticsSamples: 300 } as const satisfies SweepOptions;
/** A new directory's name. */
let made = 0;
const fresh = (): string => join(folder.path, `sweep-${made++}`);

const error = (name: string, message?: RegExp): object => ({
  instanceOf: StyleClipError,
  code: `ERR_STYLECLIP_${name}`,
  ...(message && { message }),
});

async function shardsOf(options: SweepOptions): Promise<SweepShard[]> {
  const shards: SweepShard[] = [];
  for await (const shard of tiny.sweepShards(options)) shards.push(shard);
  return shards;
}

/** Name -> bytes of every file of a directory. */
async function filesOf(directory: string): Promise<Record<string, string>> {
  const names = (await readdir(directory)).toSorted();
  const bytes = await Promise.all(names.map(async (name) => readFile(join(directory, name), 'latin1')));
  return Object.fromEntries(names.map((name, i) => [name, bytes[i]!]));
}

/** A directory of a whole sweep, and its relevance; never changed. */
const whole = fresh();
const relevance = await tiny.sweep({ ...SETTINGS, directory: whole });
test.after.always(async () => {
  await tiny.close();
  await folder.remove();
});
const copy = async (): Promise<string> => {
  const to = fresh();
  await cp(whole, to, { recursive: true });
  return to;
};

test('sweep in a directory: the relevance of a sweep in one piece, and where it came from', async (t) => {
  const piece = await tiny.sweep(SETTINGS);
  t.deepEqual(relevance.channels, piece.channels);
  t.deepEqual(relevance.counts, piece.counts);
  // The same pictures in other batches: the embeddings' rounding.
  const furthest = Math.max(...relevance.rows.map((x, i) => Math.abs(x - piece.rows[i]!)));
  t.true(furthest < 1e-3, `${furthest}`);
  t.deepEqual({ ...relevance.meta }, { ...piece.meta, seconds: 0 });
  t.deepEqual(relevance.mean, piece.mean);
  t.deepEqual(relevance.sigma, piece.sigma);
  t.deepEqual(relevance.layers, piece.layers);
});

test('again, merged, from a file: URL: the same bytes', async (t) => {
  const save = async (r: Relevance): Promise<Buffer> => {
    const file = `${fresh()}.safetensors`;
    await r.save(file);
    return readFile(file);
  };
  const bytes = await save(relevance);
  t.deepEqual(await save(await tiny.sweep({ ...SETTINGS, directory: whole })), bytes);
  t.deepEqual(await save(await Relevance.merge(whole)), bytes);
  const url = pathToFileURL(fresh());
  t.deepEqual(await save(await tiny.sweep({ ...SETTINGS, directory: url })), bytes);
  t.deepEqual(await save(await Relevance.merge(url)), bytes);
});

test('sweepShards: every shard is on the disk when it comes', async (t) => {
  const directory = fresh();
  const shards: SweepShard[] = [];
  for await (const shard of tiny.sweepShards({ ...SETTINGS, directory })) {
    t.true((await stat(shard.file)).isFile());
    t.is(basename(shard.file), `${shard.id}.safetensors`);
    t.deepEqual([...shard.channels], [...relevance.channels]);
    t.false(shard.resumed);
    t.false('warning' in shard);
    shards.push(shard);
  }
  t.deepEqual(
    shards.map(({ images, done, total }) => [images.first, images.count, done, total]),
    [
      [0, 10, 1, 3],
      [10, 10, 2, 3],
      [20, 5, 3, 3],
    ],
  );
  t.deepEqual(await filesOf(directory), await filesOf(whole));
  t.true((await shardsOf({ ...SETTINGS, directory })).every((shard) => shard.resumed));
});

test('leaving the loop ends the work; it goes on later', async (t) => {
  const directory = fresh();
  for await (const shard of tiny.sweepShards({ ...SETTINGS, directory })) {
    t.is(shard.done, 1);
    break;
  }
  t.is((await readdir(directory)).length, 2, 'the plan and one shard');
  const shards = await shardsOf({ ...SETTINGS, directory });
  t.deepEqual(
    shards.map((shard) => shard.resumed),
    [true, false, false],
  );
  t.deepEqual(await filesOf(directory), await filesOf(whole));
});

test('abort in the middle of a shard: the reason, whole shards, and the same result later', async (t) => {
  const directory = fresh();
  const controller = new AbortController();
  const reason = new Error('enough');
  const sweep = tiny.sweep({
    ...SETTINGS,
    directory,
    signal: controller.signal,
    onProgress: (p) => p.phase === 'sweep' && p.done > 10 * 2 * TINY.conv && controller.abort(reason),
  });
  t.is(await t.throwsAsync(sweep, { any: true }), reason);
  const left = await filesOf(directory);
  const all = await filesOf(whole);
  t.true(Object.keys(left).length < Object.keys(all).length);
  for (const [name, bytes] of Object.entries(left)) t.is(bytes, all[name]!, name);
  await tiny.sweep({ ...SETTINGS, directory });
  t.deepEqual(await filesOf(directory), all);
  const before = AbortSignal.abort(reason);
  t.is(await t.throwsAsync(tiny.sweep({ ...SETTINGS, directory: fresh(), signal: before }), { any: true }), reason);
  t.is(await t.throwsAsync(Relevance.merge(whole, { signal: before }), { any: true }), reason);
});

test('shares in any order; the last one has the relevance', async (t) => {
  const directory = fresh();
  t.is(await tiny.sweep({ ...SETTINGS, directory, shard: '2/2' }), undefined);
  await t.throwsAsync(Relevance.merge(directory), error('FILE_NOT_FOUND', /2 of the 3 shards/));
  const last = await tiny.sweep({ ...SETTINGS, directory, shard: '1/2' });
  t.deepEqual(last?.rows, relevance.rows);
  t.deepEqual(await filesOf(directory), await filesOf(whole));
  t.deepEqual(await shardsOf({ ...SETTINGS, directory, shard: '5/5' }), []);
});

test('two sweeps at once in one directory', async (t) => {
  const directory = fresh();
  const both = await Promise.all([1, 2].map(async () => tiny.sweep({ ...SETTINGS, directory })));
  for (const one of both) t.deepEqual(one.rows, relevance.rows);
  t.deepEqual(await filesOf(directory), await filesOf(whole));
});

test('progress counts what is there, to the end of the sweep', async (t) => {
  const directory = await copy();
  const [gone] = (await readdir(directory)).filter((name) => name.startsWith('shard-00001'));
  await rm(join(directory, gone!));
  const seen: Progress[] = [];
  await tiny.sweep({ ...SETTINGS, directory, onProgress: (p) => seen.push(p) });
  const sweep = seen.filter((p) => p.phase === 'sweep');
  const total = 2 * 25 * TINY.conv;
  t.true(sweep.every((p) => p.total === total && p.unit === 'images'));
  t.is(sweep[0]!.done >= 15 * 2 * TINY.conv, true, 'two of three shards are there');
  t.is(sweep.at(-1)!.done, total);
  t.false(
    seen.some((p) => p.phase === 'statistics'),
    'the plan has them',
  );
  t.is(seen.at(-1)!.phase, 'merge');
});

test.serial('a damaged shard: computed again and named; refused when merging', async (t) => {
  const directory = await copy();
  const name = (await readdir(directory)).find((n) => n.startsWith('shard-00002'))!;
  const file = join(directory, name);
  await truncate(file, 1000);
  await t.throwsAsync(Relevance.merge(directory), error('FILE_DAMAGED', new RegExp(name)));
  warnings.length = 0;
  const shards = await shardsOf({ ...SETTINGS, directory });
  t.deepEqual(
    shards.map((shard) => shard.resumed),
    [true, true, false],
  );
  t.true(shards[2]!.warning?.includes(name));
  t.true(warnings.some((text) => text.includes(name)));
  t.deepEqual(await filesOf(directory), await filesOf(whole));
});

test('a shard of another sweep: refused by name', async (t) => {
  const other = fresh();
  await tiny.sweep({ ...SETTINGS, images: 3, seed: 5, directory: other });
  const name = (await readdir(other)).find((n) => n.startsWith('shard-'))!;
  const directory = await copy();
  await copyFile(join(other, name), join(directory, name));
  const refusal = error('RESUME_MISMATCH', new RegExp(name));
  await t.throwsAsync(Relevance.merge(directory), refusal);
  await t.throwsAsync(tiny.sweep({ ...SETTINGS, directory }), refusal);
});

for (const [name, change] of Object.entries<SweepOptions>({
  images: { images: 26 },
  sigmas: { sigmas: 4 },
  seed: { seed: 1 },
  perturb: { perturb: 'relative' },
  layers: { layers: 'all' },
  method: { method: 'reference' },
  preprocess: { preprocess: 'reference8' },
  noise: { noise: 'none' },
  truncation_psi: { truncationPsi: 0.6 },
  truncation_cutoff: { truncationCutoff: 2 },
  statistics_samples: { statisticsSamples: 301 },
  batch: { batch: 5 },
})) {
  test(`another ${name} than the directory's: refused by name`, async (t) => {
    const before = await filesOf(whole);
    const attempt = tiny.sweep({ ...SETTINGS, ...change, directory: whole });
    await t.throwsAsync(attempt, error('RESUME_MISMATCH', new RegExp(`\\b${name} is .* there and .* here`)));
    t.deepEqual(await filesOf(whole), before);
  });
}

test('statistics of one’s own are part of the plan', async (t) => {
  const directory = fresh();
  const own = await generator.statistics({ samples: 200, seed: 3 });
  await tiny.sweep({ images: 2, statistics: own, directory });
  const merged = await Relevance.merge(directory);
  t.deepEqual(merged.sigma, own.sigma);
  t.is(merged.meta.statisticsSamples, 200);
  const other = { ...own, sigma: own.sigma.map((x) => x * 1.01) };
  await t.throwsAsync(
    tiny.sweep({ images: 2, statistics: other, directory }),
    error('RESUME_MISMATCH', /statistics_sha256/),
  );
});

test('what a directory or a share cannot be', async (t) => {
  const file = join(folder.path, 'a-file');
  await writeFile(file, 'no directory');
  await t.throwsAsync(tiny.sweep({ ...SETTINGS, directory: file }), error('DISK'));
  await t.throwsAsync(tiny.sweep({ ...SETTINGS, directory: join(file, 'below') }), error('DISK'));
  await t.throwsAsync(tiny.sweep({ ...SETTINGS, directory: 5 as never }), error('ARGUMENT'));
  await t.throwsAsync(tiny.sweep({ ...SETTINGS, shard: '1/2' }), error('ARGUMENT', /without a directory/));
  await t.throwsAsync(tiny.sweep({ ...SETTINGS, resume: true }), error('ARGUMENT', /without a directory/));
  const directory = fresh();
  for (const shard of ['1', '1/', 'a/b', '1/2/3', 7]) {
    await t.throwsAsync(shardsOf({ ...SETTINGS, directory, shard: shard as '1/1' }), error('ARGUMENT'));
  }
  for (const shard of ['0/2', '3/2', '1/0'] as const) {
    await t.throwsAsync(shardsOf({ ...SETTINGS, directory, shard }), error('RANGE'));
  }
  await t.throwsAsync(shardsOf(SETTINGS), error('ARGUMENT', /needs a directory/));
  await t.throwsAsync(shardsOf({ ...SETTINGS, images: 0, directory }), error('RANGE'));
  await t.throwsAsync(shardsOf({ ...SETTINGS, layers: ['b4.conv9'], directory }), error('ARGUMENT', /b4\.conv9/));
  await t.throwsAsync(Relevance.merge(directory), error('FILE_NOT_FOUND', /no sweep/));
  await t.throwsAsync(Relevance.merge('' as never), error('ARGUMENT'));
  await t.throwsAsync(stat(directory), { code: 'ENOENT' }, 'nothing was made');
});

test('resume: false takes a directory without a sweep only', async (t) => {
  const directory = fresh();
  await mkdir(directory);
  await tiny.sweep({ ...SETTINGS, images: 2, directory, resume: false });
  await t.throwsAsync(tiny.sweep({ ...SETTINGS, images: 2, directory, resume: false }), error('FILE_EXISTS'));
});

test('a model closed between two shards', async (t) => {
  const one = await tinyStyleClip(await mkdir(fresh(), { recursive: true }).then((path) => path!));
  const shards = one.sweepShards({ ...SETTINGS, directory: fresh() });
  t.is((await shards.next()).done, false);
  await one.close();
  await t.throwsAsync(shards.next(), error('CLOSED'));
  t.is(clip.closed, false);
});

test('memory for no more than the smallest batches: it runs with these, and says so', async (t) => {
  const few = { ...SETTINGS, images: 2 };
  const small = await tiny.sweep({ ...few, memory: 2 ** 20 });
  const least = small.meta.leastMemory ?? 0;
  t.true(least > 2 ** 20);
  const said = new RegExp(
    `memory is 1 MiB; the sweep ran with its smallest batches, which take up to ${Math.ceil(least / 2 ** 20)} MiB`,
  );
  t.true(warnings.some((text) => said.test(text)));
  const file = join(folder.path, 'small.safetensors');
  await small.save(file);
  t.is((await Relevance.load(file)).meta.leastMemory, least);
  t.is((await tiny.sweep({ ...few, memory: '1GiB' })).meta.leastMemory, undefined);

  const shards = await shardsOf({ ...SETTINGS, memory: 2 ** 20, directory: fresh() });
  t.deepEqual(
    shards.map(({ batch }) => batch),
    shards.map(() => 2),
  );
  t.regex(shards[0]?.warning ?? '', /^memory is 1 MiB; the sweep runs with its smallest batches/);
  t.is(shards[1]?.warning, undefined);
});
