// Steps and their stamps: what is done is skipped, what changed is done again, what failed was not done.

import { mkdir, readdir, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import test, { type ExecutionContext } from 'ava';
import { cleanEnvironment, npmCommand } from '../tools/setup/npm.mjs';
import { Voice } from '../tools/setup/say.mjs';
import { hashFiles, runSteps, type Step } from '../tools/setup/steps.mjs';
import { Tally } from '../tools/setup/tally.mjs';
import { scratch } from './helpers/fake-libtorch.js';

/** A checkout with one step, which copies its input to its output and counts how often. */
async function checkout(t: ExecutionContext) {
  const root = await scratch(t);
  await mkdir(join(root, 'src'));
  await writeFile(join(root, 'src/a'), 'one');
  const said: string[] = [];
  const voice = new Voice({ write: (text: string) => said.push(text) > 0, isTTY: false, columns: 80 });
  let runs = 0;
  const during = { now: async () => {} };
  const step: Step = {
    name: 'copy',
    title: 'copying',
    inputs: () => hashFiles(root, ['src']),
    outputs: ['out'],
    run: async () => {
      runs += 1;
      await during.now();
      await writeFile(join(root, 'out'), 'done');
    },
  };
  return { root, said, step, during, runs: () => runs, run: () => runSteps(root, 'a test', [step], voice) };
}

test('a second run skips what is done', async (t) => {
  const { run, runs, said } = await checkout(t);
  t.deepEqual(await run(), ['copy']);
  t.deepEqual(await run(), []);
  t.is(runs(), 1);
  t.regex(said.join(''), /\[1\/1\] copying\n\[1\/1\] copy: done in/);
});

test('changed, new, renamed and deleted inputs redo it, and so does a missing output', async (t) => {
  const { root, run } = await checkout(t);
  await run();
  for (const change of [
    () => writeFile(join(root, 'src/a'), 'two'),
    () => writeFile(join(root, 'src/b'), ''),
    () => rm(join(root, 'src/b')),
    () => rm(join(root, 'out')),
  ]) {
    await change();
    t.deepEqual(await run(), ['copy'], String(change));
    t.deepEqual(await run(), [], String(change));
  }
});

test('a failed step has no stamp, and its error comes through', async (t) => {
  const { run, runs, during } = await checkout(t);
  during.now = () => Promise.reject(new Error('no luck'));
  await t.throwsAsync(run, { message: 'no luck' });
  during.now = async () => {};
  t.deepEqual(await run(), ['copy']);
  t.is(runs(), 2);
});

test('a file saved while the step runs counts as changed afterwards', async (t) => {
  const { root, run, during } = await checkout(t);
  during.now = () => writeFile(join(root, 'src/a'), 'saved meanwhile');
  await run();
  t.deepEqual(await run(), ['copy']);
  t.deepEqual(await run(), []);
});

test('a step that looks for itself is asked each time, and leaves no stamp', async (t) => {
  const { root, step, run, runs } = await checkout(t);
  delete step.inputs;
  step.isDone = () => runs() > 1;
  t.deepEqual([await run(), await run(), await run()], [['copy'], ['copy'], []]);
  t.deepEqual(await readdir(join(root, 'build/setup')), []);
});

test('two runs at the same time do the work once', async (t) => {
  const { run, runs, during, root } = await checkout(t);
  during.now = () => new Promise((resolve) => setTimeout(resolve, 300));
  const done = await Promise.all([run(), run()]);
  t.deepEqual(done.flat(), ['copy']);
  t.is(runs(), 1);
  t.deepEqual(await readdir(join(root, 'build/setup')), ['copy.json']);
});

test('file hashes see names and contents, and where one ends', async (t) => {
  const root = await scratch(t);
  const hashes = new Set<string>();
  for (const files of [{ a: 'xy', b: '' }, { a: 'x', b: 'y' }, { a: '', b: 'xy' }, { ab: 'xy' }, {}]) {
    await rm(join(root, 'd'), { recursive: true, force: true });
    await mkdir(join(root, 'd'));
    for (const [name, text] of Object.entries(files)) await writeFile(join(root, 'd', name), text);
    hashes.add(await hashFiles(root, ['d', 'absent']));
  }
  t.is(hashes.size, 5);
});

test('npm is the one that started us, and its settings stay outside', (t) => {
  t.is(npmCommand({ npm_execpath: '/opt/yarn.js' }).at(-1)?.includes('yarn'), false);
  t.true(npmCommand().length <= 2);
  const env = {
    npm_config_prefix: '/elsewhere',
    npm_config_omit: 'dev',
    NPM_CONFIG_PRODUCTION: 'true',
    npm_config_registry: 'kept',
    npm_config_ignore_scripts: 'true',
    PATH: '/bin',
  };
  t.deepEqual(cleanEnvironment(env), { npm_config_registry: 'kept', npm_config_ignore_scripts: 'true', PATH: '/bin' });
});

test('progress is a line every ten seconds where there is no terminal, and rewritten in place where there is', (t) => {
  const plain: string[] = [];
  const quiet = new Voice({ write: (text: string) => plain.push(text) > 0, isTTY: false, columns: 80 });
  quiet.tick('1 of 3');
  quiet.tick('2 of 3');
  t.deepEqual(plain, []);
  const terminal: string[] = [];
  const voice = new Voice({ write: (text: string) => terminal.push(text) > 0, isTTY: true, columns: 10 });
  voice.tick('a long line that has to be cut');
  voice.say('done');
  t.deepEqual(terminal, ['a long li', '\r\u001b[K', 'done\n']);
});

test('the closing count adds doctest cases, other ctest tests, and AVA', (t) => {
  const tally = new Tally();
  const said: string[] = [];
  const ctest = tally.ctest((line) => said.push(line));
  for (const line of [
    'test 1',
    '    Start 1: core.layout',
    '1: [doctest] test cases:  4 |  3 passed | 1 failed | 2 skipped',
    '1/3 Test #1: core.layout ......................***Failed    0.31 sec',
    '2: [doctest] test cases: 12 | 12 passed | 0 failed | 0 skipped',
    '2/3 Test #2: core.sweep .......................   Passed    1.20 sec',
    '3/3 Test #3: cuda.links .......................   Passed    0.10 sec',
  ]) {
    ctest.line(line);
  }
  ctest.end(8);
  t.is(tally.line(), '16 passed, 1 failed');
  const ava = tally.ava(() => {});
  for (const line of ['  ✔ a › 5 tests passed', '  20 tests passed', '  1 test failed', '  1 test skipped'])
    ava.line(line);
  ava.end(1);
  t.is(tally.line(), '36 passed, 2 failed, 1 skipped');
  t.regex(said.join('\n'), /FAIL {2}core\.layout/);
});

test('a runner that ends badly without saying why is a failure', (t) => {
  const crashed = new Tally();
  const ctest = crashed.ctest(() => {});
  ctest.line('1: [doctest] test cases: 3 | 3 passed | 0 failed | 0 skipped');
  ctest.line('1/1 Test #1: core.crash .......................***Exception: SegFault  0.31 sec');
  ctest.end(8);
  t.is(crashed.failed, 1);
  const silent = new Tally();
  silent.ctest(() => {}).end(1);
  silent.ava(() => {}).end(1);
  t.is(silent.line(), '0 passed, 2 failed');
});
