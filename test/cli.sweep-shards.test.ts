/*
 * `styleclip sweep --dir` and `styleclip sweep merge`: what happens to a sweep in mid-work, by kill -9, Ctrl-C or a disk
 * that takes no more, and that its result is the same bytes afterwards.
 */
import { spawn } from 'node:child_process';
import { cp, readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import test, { type ExecutionContext } from 'ava';
import { styleclip, temporaryFolder, type Ended, type RunSettings } from './helpers/cli.js';
import { makeTinyModels, type TinyModels } from './helpers/tiny-models.js';

const MAIN = fileURLToPath(new URL('../dist/cli/main.js', import.meta.url));
/** Ten shards, each of all 52 channels and ten pictures. */
const SWEEP = ['--images', '100', '--statistics-samples', '200'];
const SHARDS = 10;

let folder: { path: string; remove: () => Promise<void> };
let models: TinyModels;
/** The relevance of a sweep that nothing happened to. */
let expected: Buffer;

const run = async (args: readonly string[], settings: Partial<RunSettings> = {}): Promise<Ended> =>
  styleclip(args, { cwd: folder.path, env: { STYLECLIP_THREADS: '1' }, ...settings });
const sweep = async (dir: string, more: readonly string[], settings: Partial<RunSettings> = {}): Promise<Ended> =>
  run(['sweep', ...SWEEP, ...models.flags, '--dir', dir, ...more], settings);
const bytesOf = async (file: string): Promise<Buffer> => readFile(join(folder.path, file));
const listing = async (dir: string): Promise<string[]> => (await readdir(join(folder.path, dir))).toSorted();

interface Event {
  event: string;
  ok?: boolean;
  resumed?: boolean;
  result?: Record<string, unknown>;
  error?: { code: string; message: string };
}
const events = ({ stdout }: Ended): Event[] =>
  stdout
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line) as Event);

/** Sends a signal once a few shards are done. */
const after = (shards: number, signal: NodeJS.Signals): Partial<RunSettings> => {
  let sent = false;
  return {
    watch: (child, stdout) => {
      if (!sent && stdout.split('"event":"shard"').length > shards) sent = child.kill(signal);
    },
  };
};

/** Runs the same sweep to its end: what is left to do is done, and the relevance is the expected one. */
async function finish(t: ExecutionContext, dir: string): Promise<void> {
  const shards = (await listing(dir)).filter((name) => /^shard-\d{5}-[0-9a-f]{16}\.safetensors$/.test(name)).length;
  t.true(shards > 0 && shards < SHARDS, `${shards} shards were there`);
  const ended = await sweep(dir, ['--json', '--out', `${dir}.safetensors`]);
  t.is(ended.code, 0, ended.stdout + ended.stderr);
  const { result } = JSON.parse(ended.stdout) as { result: Record<string, unknown> };
  t.like(result, { shards: SHARDS, resumed: shards, rendered: 2 * 52 * 10 * (SHARDS - shards) });
  t.deepEqual(await bytesOf(`${dir}.safetensors`), expected);
  t.is((await listing(dir)).filter((name) => name.startsWith('shard-') && !name.includes('.tmp-')).length, SHARDS);
}

test.before(async () => {
  folder = await temporaryFolder();
  models = await makeTinyModels(folder.path);
  const swept = await sweep('whole', ['--out', 'whole.safetensors']);
  if (swept.code !== 0) throw new Error(swept.stderr);
  expected = await bytesOf('whole.safetensors');
});

test.after.always(async () => folder.remove());

test('kill -9 in mid-sweep: it goes on, and the result is byte for byte the same', async (t) => {
  const killed = await sweep('killed', ['--json-lines', '--out', 'no.safetensors'], after(3, 'SIGKILL'));
  t.is(killed.signal, 'SIGKILL');
  await finish(t, 'killed');
});

for (const [signal, code] of [
  ['SIGINT', 130],
  ['SIGTERM', 143],
] as const) {
  test(`${signal}: exit code ${code}, whole shards only, and it goes on`, async (t) => {
    const dir = `stopped-${signal}`;
    const stopped = await sweep(dir, ['--json-lines', '--out', 'no.safetensors'], after(2, signal));
    t.is(stopped.code, code, stopped.stderr);
    t.like(events(stopped).at(-1), { event: 'error', ok: false, error: { code: 'ABORT_ERR' } });
    t.true((await listing(dir)).every((name) => name === 'plan.json' || /^shard-.*\.safetensors$/.test(name)));
    await finish(t, dir);
  });
}

test('a disk that takes no more: exit code 4, no partial file, and it goes on', async (t) => {
  const first = await sweep('full', ['--shard', '1/4']);
  t.is(first.code, 0, first.stderr);
  const before = await listing('full');
  const args = ['sweep', ...SWEEP, ...models.flags, '--dir', 'full', '--json', '--out', 'no.safetensors'];
  const limited = spawn('sh', ['-c', 'ulimit -f 2; exec "$0" "$@"', process.execPath, MAIN, ...args], {
    cwd: folder.path,
    env: { ...process.env, STYLECLIP_THREADS: '1' },
    stdio: ['ignore', 'pipe', 'ignore'],
  });
  let stdout = '';
  limited.stdout.setEncoding('utf8').on('data', (text: string) => (stdout += text));
  const code = await new Promise((resolve) => limited.on('close', resolve));
  t.is(code, 4, stdout);
  t.like(JSON.parse(stdout), { ok: false, error: { code: 'ERR_STYLECLIP_DISK' } });
  t.deepEqual(await listing('full'), before);
  await finish(t, 'full');
});

test('shares in any order, then merge: events, result, the same bytes; a share writes no relevance', async (t) => {
  for (const share of ['2/3', '3/3', '1/3']) {
    const ended = await sweep('shared', ['--shard', share, '--json-lines']);
    t.is(ended.code, 0, ended.stderr);
    const done = events(ended).filter(({ event }) => event === 'shard');
    t.is(done.length, share === '1/3' ? 4 : 3);
    t.true(done.every(({ resumed }) => resumed === false));
    t.like(events(ended).at(-1), { event: 'result', ok: true });
    t.like(events(ended).at(-1)!.result!, { directory: 'shared', shard: share, shards: done.length, resumed: 0 });
  }
  const merged = await run(['sweep', 'merge', 'shared', '--out', 'shared.safetensors', '--json']);
  t.is(merged.code, 0, merged.stdout);
  const object = JSON.parse(merged.stdout) as { command: string; result: Record<string, unknown> };
  t.is(object.command, 'sweep merge');
  t.like(object.result, { file: 'shared.safetensors', shards: SHARDS, channels: 52, images: 100, method: 'exact' });
  t.deepEqual(await bytesOf('shared.safetensors'), expected);
  const npy = await run(['sweep', 'merge', 'shared', '--out', 'shared.npy']);
  t.is(npy.code, 0, npy.stderr);
  t.regex((await bytesOf('shared.npy')).toString('latin1', 0, 128), /'shape': \(52, 16\)/);
  const refused = await sweep('shared', ['--shard', '1/3', '--out', 'x.safetensors']);
  t.is(refused.code, 2, refused.stderr);
});

test('two processes at once in one directory: both end well, with the same bytes', async (t) => {
  const both = await Promise.all([1, 2].map(async (i) => sweep('both', ['--out', `both${i}.safetensors`])));
  for (const [i, ended] of both.entries()) {
    t.is(ended.code, 0, ended.stderr);
    t.deepEqual(await bytesOf(`both${i + 1}.safetensors`), expected);
  }
  t.deepEqual(await listing('both'), await listing('whole'));
});

test('other settings, damaged and missing shards: exit code 3, and the reason by name', async (t) => {
  const refusal = async (args: readonly string[]): Promise<[number | null, string, string]> => {
    const ended = await run([...args, '--json']);
    const { error } = JSON.parse(ended.stdout) as { error: { code: string; message: string } };
    return [ended.code, error.code, error.message];
  };
  const changed = ['sweep', ...SWEEP, ...models.flags, '--dir', 'whole', '--sigmas', '4', '--out', 'n.safetensors'];
  const [code, name, message] = await refusal(changed);
  t.deepEqual([code, name], [3, 'ERR_STYLECLIP_RESUME_MISMATCH']);
  t.regex(message, /sigmas is 5\.0 there and 4\.0 here/);

  await cp(join(folder.path, 'whole'), join(folder.path, 'broken'), { recursive: true });
  const shard = (await listing('broken')).find((n) => n.startsWith('shard-00004'))!;
  const bytes = await bytesOf(join('broken', shard));
  bytes[bytes.length - 9]! ^= 1;
  await writeFile(join(folder.path, 'broken', shard), bytes);
  const merge = ['sweep', 'merge', 'broken', '--out', 'n.safetensors'];
  const damaged = await refusal(merge);
  t.deepEqual(damaged.slice(0, 2), [3, 'ERR_STYLECLIP_FILE_DAMAGED']);
  t.true(damaged[2].includes(shard));
  const repaired = await sweep('broken', ['--out', 'repaired.safetensors']);
  t.is(repaired.code, 0, repaired.stderr);
  t.regex(repaired.stderr, new RegExp(`warning: .*${shard}`));
  t.deepEqual(await bytesOf('repaired.safetensors'), expected);

  t.is((await refusal(['sweep', 'merge', 'nowhere', '--out', 'n.safetensors']))[1], 'ERR_STYLECLIP_FILE_NOT_FOUND');
  t.is((await refusal(['sweep', 'merge', '--out', 'n.safetensors']))[0], 2);
  t.is((await refusal(['sweep', '--shard', '1/2', '--out', 'n.safetensors']))[0], 2);
  t.is((await refusal(['sweep', '--dir', 'd', '--shard', '3/2']))[0], 2);
  t.is((await refusal(['sweep', '--no-resume', '--out', 'n.safetensors']))[0], 2);
});

test('--no-resume: a directory with a sweep is refused; with --force that sweep goes', async (t) => {
  await cp(join(folder.path, 'whole'), join(folder.path, 'anew'), { recursive: true });
  const refused = await sweep('anew', ['--no-resume', '--json', '--out', 'anew.safetensors']);
  t.is(refused.code, 3);
  t.like(JSON.parse(refused.stdout), { error: { code: 'ERR_STYLECLIP_FILE_EXISTS' } });
  const anew = await sweep('anew', ['--no-resume', '--force', '--json', '--out', 'anew.safetensors']);
  t.is(anew.code, 0, anew.stdout);
  t.like((JSON.parse(anew.stdout) as { result: object }).result, { shards: SHARDS, resumed: 0 });
  t.deepEqual(await bytesOf('anew.safetensors'), expected);
  const kept = await sweep('anew', ['--resume', '--force', '--json', '--out', 'anew.safetensors']);
  t.like((JSON.parse(kept.stdout) as { result: object }).result, { resumed: SHARDS, rendered: 0 });
});
