// The lock between processes: one at a time, a message for those who wait, and no waiting for the dead.

import { execFile, spawn } from 'node:child_process';
import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { hostname, tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import test from 'ava';
import { withLock } from '../tools/libtorch/lock.mjs';
import { scratch } from './helpers/fake-libtorch.js';

const LOCK = new URL('../tools/libtorch/lock.mjs', import.meta.url).href;

/** Adds one to the number in a file, slowly, under the lock; without it, additions get lost. */
const ADD = `
  import { readFileSync, writeFileSync } from 'node:fs';
  import { setTimeout as sleep } from 'node:timers/promises';
  import { withLock } from ${JSON.stringify(LOCK)};
  const [file, counter] = process.argv.slice(1);
  await withLock(file, 'adding', async () => {
    const value = Number(readFileSync(counter, 'utf8'));
    await sleep(20);
    writeFileSync(counter, String(value + 1));
  }, (line) => console.log(line));
`;

const add = (file: string, counter: string) =>
  promisify(execFile)(process.execPath, ['--input-type=module', '-e', ADD, file, counter]);

test('of two commands started together the second waits, and says for whom', async (t) => {
  const root = await scratch(t);
  const file = join(root, 'deep', 'lock');
  const said: string[] = [];
  const order: string[] = [];
  let release = () => {};
  const first = withLock(file, 'npm start', () => {
    order.push('first begins');
    return new Promise<void>((resolve) => {
      release = () => {
        order.push('first ends');
        resolve();
      };
    });
  });
  while (order.length === 0) await new Promise((resolve) => setTimeout(resolve, 5));
  const second = withLock(
    file,
    'npm test',
    () => {
      order.push('second');
      return Promise.resolve(7);
    },
    (line) => {
      said.push(line);
      release();
    },
  );
  await first;
  t.is(await second, 7);
  t.deepEqual(order, ['first begins', 'first ends', 'second']);
  t.deepEqual(said, [`waiting for "npm start" (process ${process.pid}) to finish`]);
  t.deepEqual(await readdir(join(root, 'deep')), []);
});

test("eight processes lose no addition, even when they start on a dead one's lock", async (t) => {
  const root = await scratch(t);
  const file = join(root, 'lock');
  const counter = join(root, 'counter');
  await writeFile(counter, '0');
  await writeFile(
    file,
    JSON.stringify({ pid: await deadPid(), started: '1', host: hostname(), token: 'x', what: 'y' }),
  );
  await Promise.all(Array.from({ length: 8 }, () => add(file, counter)));
  t.is(await readFile(counter, 'utf8'), '8');
  t.deepEqual(await readdir(root), ['counter']);
});

test('the lock of a process that was killed is taken over', async (t) => {
  const root = await scratch(t);
  const file = join(root, 'lock');
  const hold = `import { withLock } from ${JSON.stringify(LOCK)};
    await withLock(process.argv[1], 'holding', () => new Promise(() => setInterval(() => console.log('held'), 20)));`;
  const child = spawn(process.execPath, ['--input-type=module', '-e', hold, file], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  await new Promise((resolve) => child.stdout.once('data', resolve));
  child.kill('SIGKILL');
  await new Promise((resolve) => child.once('close', resolve));
  t.is(await withLock(file, 'next', () => Promise.resolve('mine')), 'mine');
});

test('a process number that was given to another process since does not hold the lock', async (t) => {
  const root = await scratch(t);
  const file = join(root, 'lock');
  const owner = { pid: process.pid, started: '1', host: hostname(), token: 'x', what: 'an earlier process' };
  await writeFile(file, JSON.stringify(owner));
  t.is(await withLock(file, 'next', () => Promise.resolve('mine')), 'mine');
});

test('a failing action frees the lock and passes its error on', async (t) => {
  const root = await scratch(t);
  const file = join(root, 'lock');
  await t.throwsAsync(
    withLock(file, 'a', () => Promise.reject(new Error('no'))),
    { message: 'no' },
  );
  t.is(await withLock(file, 'b', () => Promise.resolve(1)), 1);
});

test('a directory that cannot be written to is an error, not a wait', async (t) => {
  const directory = await mkdtemp(join(tmpdir(), 'styleclip-test-'));
  await writeFile(join(directory, 'file'), '');
  await t.throwsAsync(withLock(join(directory, 'file', 'lock'), 'a', () => Promise.resolve()));
  await rm(directory, { recursive: true });
});

/** The number of a process that has ended. */
async function deadPid(): Promise<number> {
  const child = spawn(process.execPath, ['-e', '']);
  await new Promise((resolve) => child.once('close', resolve));
  return child.pid ?? 0;
}
