/*
 * A lock between processes, for steps that must not run twice at a time: two commands started together, in one checkout or
 * on one cache. The lock is a file that names its owner; a lock whose owner has died is taken over.
 */
import { randomUUID } from 'node:crypto';
import { link, mkdir, open, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { hostname } from 'node:os';
import { dirname } from 'node:path';
import { readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';

const POLL_MS = 200;
/** Taking a dead owner's lock over lasts milliseconds; a take-over older than this belongs to a process that died in it. */
const TAKE_OVER_LIMIT_MS = 10_000;

/**
 * @typedef {{ pid: number, started: string, host: string, token: string, what: string }} Owner
 */

/**
 * Runs `action` while holding the lock `file`.
 * @template T
 * @param {string} file
 * @param {string} what said to those who wait, for example `npm start`
 * @param {() => Promise<T>} action
 * @param {(line: string) => void} [say]
 * @returns {Promise<T>}
 */
export async function withLock(file, what, action, say = () => {}) {
  const owner = {
    pid: process.pid,
    started: startOf(process.pid) ?? '',
    host: hostname(),
    token: randomUUID(),
    what,
  };
  await mkdir(dirname(file), { recursive: true });
  let told = '';
  while (!(await claim(file, owner))) {
    const other = await readOwner(file);
    if (other && isDead(other)) {
      await takeOver(file, other.token);
    } else {
      if (other && other.token !== told) say(`waiting for "${other.what}" (process ${other.pid}) to finish`);
      told = other?.token ?? told;
      await sleep(POLL_MS);
    }
  }
  try {
    return await action();
  } finally {
    if ((await readOwner(file))?.token === owner.token) await rm(file, { force: true });
  }
}

/**
 * Creates the lock with its whole text in one step: a hard link either appears complete or fails.
 * @param {string} file
 * @param {Owner} owner
 */
async function claim(file, owner) {
  const mine = `${file}.${owner.token}`;
  await writeFile(mine, JSON.stringify(owner));
  try {
    await link(mine, file);
    return true;
  } catch (error) {
    if (/** @type {NodeJS.ErrnoException} */ (error).code === 'EEXIST') return false;
    throw error;
  } finally {
    await rm(mine, { force: true });
  }
}

/**
 * @param {string} file
 * @returns {Promise<Owner | undefined>}
 */
async function readOwner(file) {
  try {
    return JSON.parse(await readFile(file, 'utf8'));
  } catch {
    return undefined;
  }
}

/** @param {Owner} owner */
function isDead(owner) {
  if (owner.host !== hostname()) return false;
  try {
    process.kill(owner.pid, 0);
  } catch (error) {
    return /** @type {NodeJS.ErrnoException} */ (error).code === 'ESRCH';
  }
  // The number may have been given to another process since.
  const started = startOf(owner.pid);
  return owner.started !== '' && started !== undefined && started !== owner.started;
}

/**
 * When a process started, in clock ticks since boot; undefined where /proc does not say.
 * @param {number} pid
 */
function startOf(pid) {
  try {
    const text = readFileSync(`/proc/${pid}/stat`, 'utf8');
    // The command name is in brackets and may hold anything; field 22 is the 20th after it.
    return text.slice(text.lastIndexOf(')') + 2).split(' ')[19];
  } catch {
    return undefined;
  }
}

/**
 * Removes a dead owner's lock. One process at a time may do so, after looking again: otherwise the slower of two would
 * remove the lock that the faster one has just taken.
 * @param {string} file
 * @param {string} token of the dead owner
 */
async function takeOver(file, token) {
  const guard = `${file}.take-over`;
  let handle;
  try {
    handle = await open(guard, 'wx');
  } catch {
    const age = await stat(guard).then(
      (s) => Date.now() - s.mtimeMs,
      () => 0,
    );
    if (age > TAKE_OVER_LIMIT_MS) await rm(guard, { force: true });
    await sleep(POLL_MS);
    return;
  }
  try {
    if ((await readOwner(file))?.token === token) await rm(file, { force: true });
  } finally {
    await handle.close();
    await rm(guard, { force: true });
  }
}
