/*
 * The step runner. A step names its inputs and outputs; when all inputs hash to what they did at its last success and the
 * outputs are there, it is skipped. One set-up runs at a time in a checkout: a second command waits, then finds it done.
 */
import { createHash } from 'node:crypto';
import { existsSync } from 'node:fs';
import { mkdir, readdir, readFile, rename, writeFile } from 'node:fs/promises';
import { join, relative, sep } from 'node:path';
import { withLock } from '../libtorch/lock.mjs';
import { seconds } from './say.mjs';

/**
 * @typedef {object} Step
 * @property {string} name of its stamp
 * @property {string} title what it does, said when it begins
 * @property {() => unknown} [inputs] anything JSON can hold; file contents through {@link hashFiles}
 * @property {() => boolean} [isDone] instead of inputs: for a step that looks for itself, and needs no stamp
 * @property {string[]} outputs paths that have to exist, relative to the checkout
 * @property {() => Promise<void>} run
 */

/**
 * Runs those steps, in order, that are not done. Later steps may depend on what earlier ones did, so each one's inputs are
 * read when its turn comes.
 * @param {string} root
 * @param {string} what the command, said to a second one that waits
 * @param {Step[]} steps
 * @param {import('./say.mjs').Voice} voice
 * @returns {Promise<string[]>} names of the steps that ran
 */
export async function runSteps(root, what, steps, voice) {
  const stamps = join(root, 'build', 'setup');
  await mkdir(stamps, { recursive: true });
  return withLock(
    join(stamps, 'lock'),
    what,
    async () => {
      /** @type {string[]} */
      const ran = [];
      for (const [i, step] of steps.entries()) {
        const stamp = join(stamps, `${step.name}.json`);
        const hash = digest((await step.inputs?.()) ?? null);
        const done = step.isDone ? step.isDone() : (await readStamp(stamp)) === hash;
        if (done && step.outputs.every((path) => existsSync(join(root, path)))) continue;
        const begun = Date.now();
        voice.say(`[${i + 1}/${steps.length}] ${step.title}`);
        await step.run();
        // The hash from before the run: a file that was saved meanwhile counts as changed next time.
        if (!step.isDone) await writeStamp(stamp, hash, Date.now() - begun);
        voice.say(`[${i + 1}/${steps.length}] ${step.name}: done in ${seconds(Date.now() - begun)}`);
        ran.push(step.name);
      }
      return ran;
    },
    (line) => voice.say(line),
  );
}

/** @param {string} file */
async function readStamp(file) {
  try {
    return JSON.parse(await readFile(file, 'utf8')).hash;
  } catch {
    return undefined;
  }
}

/**
 * @param {string} file
 * @param {string} hash
 * @param {number} ms
 */
async function writeStamp(file, hash, ms) {
  const temporary = `${file}.${process.pid}`;
  await writeFile(temporary, `${JSON.stringify({ hash, finished: new Date().toISOString(), seconds: ms / 1000 })}\n`);
  await rename(temporary, file);
}

/** @param {unknown} value */
function digest(value) {
  return createHash('sha256').update(JSON.stringify(value)).digest('hex');
}

/**
 * A hash over names and contents of all files below the given paths (files or directories, relative to `root`).
 * @param {string} root
 * @param {string[]} paths
 * @param {(path: string) => boolean} [keep] by path relative to `root`, with /
 * @returns {Promise<string>}
 */
export async function hashFiles(root, paths, keep = () => true) {
  const hash = createHash('sha256');
  for (const file of await listFiles(root, paths, keep)) {
    const content = await readFile(join(root, file)).catch(() => undefined);
    hash.update(`${file}\0${content === undefined ? 'absent' : content.length}\0`);
    if (content !== undefined) hash.update(content);
  }
  return hash.digest('hex');
}

/**
 * @param {string} root
 * @param {string[]} paths
 * @param {(path: string) => boolean} keep
 */
async function listFiles(root, paths, keep) {
  /** @type {string[]} */
  const files = [];
  for (const path of paths) {
    const entries = await readdir(join(root, path), { withFileTypes: true, recursive: true }).catch(() => undefined);
    if (entries === undefined) files.push(path);
    else {
      for (const entry of entries) {
        if (entry.isFile()) files.push(relative(root, join(entry.parentPath, entry.name)).split(sep).join('/'));
      }
    }
  }
  return files.filter(keep).sort();
}
