/*
 * `npm test`: sets the checkout up with its tests and the CUDA plug-in, lints in CI, runs the C++ tests through ctest and
 * the rest through AVA. The last line says how many cases passed and failed, over all of them.
 *
 * Options: --soak (the long ones too), --no-cuda, --only=lint|core|ava, and after -- whatever AVA should get.
 */
import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import { lint } from './lint.mjs';
import { ROOT, setUp } from './setup/checkout.mjs';
import { Tally } from './setup/tally.mjs';
import { reportFailure } from './setup/failure.mjs';
import { isCi } from './setup/native.mjs';
import { run } from './setup/processes.mjs';
import { seconds, Voice } from './setup/say.mjs';

const argv = process.argv.slice(2);
const split = argv.indexOf('--');
const own = split < 0 ? argv : argv.slice(0, split);
const avaArgs = split < 0 ? [] : argv.slice(split + 1);
const only = own.find((arg) => arg.startsWith('--only='))?.slice('--only='.length);
const voice = new Voice();
const tally = new Tally();

/** @param {string} part */
const wanted = (part) => only === undefined || only === part;

try {
  await setUp({ what: 'npm test', tests: true, cuda: !own.includes('--no-cuda'), voice });
  if (only === 'lint' || (only === undefined && isCi())) {
    for (const name of await lint(voice)) tally.fail(`lint: ${name}`);
  }
  if (wanted('core')) await runCtest();
  if (wanted('ava')) await runAva();
  for (const name of tally.failures) voice.say(`failed: ${name}`);
  if (tally.passed === 0 && only !== 'lint') tally.fail('no test was run');
  process.exitCode = tally.failed > 0 ? 1 : 0;
} catch (error) {
  reportFailure(error);
  tally.fail('npm test');
}
process.stdout.write(`${tally.line()}\n`);

/** The C++ tests. A doctest binary counts by its cases, any other test of ctest's as one. */
async function runCtest() {
  const begun = Date.now();
  const log = join(ROOT, 'build', 'setup', 'ctest.log');
  const reader = tally.ctest((line) => voice.say(line));
  // Most tests are marked as taking two processors; the sanitizers' and the fuzzers' take one.
  const flags = ['--parallel', String(availableParallelism()), '--verbose', '--no-tests=error'];
  const status = await run('ctest', ['--test-dir', join(ROOT, 'build'), ...flags], {
    cwd: ROOT,
    env: { ...process.env, ...(own.includes('--soak') ? { STYLECLIP_SOAK: '1' } : {}) },
    log,
    onLine: (line) => reader.line(line),
    mayFail: true,
  });
  reader.end(status);
  voice.say(`C++ tests: ${seconds(Date.now() - begun)}`);
}

/** The tests over the public API, the command line and the scripts. */
async function runAva() {
  const begun = Date.now();
  const reader = tally.ava((line) => voice.say(line));
  const status = await run(process.execPath, [join(ROOT, 'node_modules/ava/entrypoints/cli.mjs'), ...avaArgs], {
    cwd: ROOT,
    // Passive waiting: on a busy machine OpenMP's spinning threads take the cores from those they wait for.
    env: {
      OMP_WAIT_POLICY: 'passive',
      ...process.env,
      FORCE_COLOR: '0',
      ...(own.includes('--soak') ? { STYLECLIP_SOAK: '1' } : {}),
    },
    log: join(ROOT, 'build', 'setup', 'ava.log'),
    onLine: (line) => reader.line(line),
    mayFail: true,
  });
  reader.end(status);
  voice.say(`AVA: ${seconds(Date.now() - begun)}`);
}
