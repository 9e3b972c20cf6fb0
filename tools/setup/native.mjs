/*
 * The native build: cmake-js configures (it knows Node-API's headers) and builds; libtorch and the CUDA compiler are given
 * by directory. Settings stay in CMake's cache, so `npm start` after `npm test` turns nothing off and compiles nothing again.
 */
import { existsSync, readFileSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { availableParallelism, freemem } from 'node:os';
import { join } from 'node:path';
import { SetupError } from '../libtorch/errors.mjs';
import { firstLine, run } from './processes.mjs';
import { hashFiles } from './steps.mjs';

/** A file that includes libtorch takes up to this much of the compiler's memory. */
const BYTES_PER_JOB = 2 * 2 ** 30;

/**
 * @param {string} root
 * @param {import('./say.mjs').Voice} voice
 * @param {{ tests: boolean, native: import('./checkout.mjs').NativeInputs }} options
 * @returns {import('./steps.mjs').Step}
 */
export function nativeStep(root, voice, { tests, native }) {
  const sources = ['CMakeLists.txt', 'cmake', 'cpp', 'binding', 'package.json'];
  if (tests) sources.push('test/cpp', 'bench/program');
  if (native.cuda) sources.push('cuda', 'test/cuda-host');
  const werror = isCi();
  return {
    name: tests ? 'native-tests' : 'native',
    title: 'native build: C++ with cmake-js (minutes the first time)',
    inputs: async () => [
      await hashFiles(root, sources),
      native.libtorch?.directory,
      native.libtorch?.version,
      native.nvcc,
      werror,
    ],
    outputs: ['build/Release/styleclip.node', 'build/Release/styleclip_preload.so'],
    run: async () => {
      await requireTools();
      const libtorch = native.libtorch;
      if (!libtorch) throw new Error('the native build was started before libtorch was found');
      await dropForeignCache(root);
      const settings = { STYLECLIP_LIBTORCH: libtorch.directory };
      if (werror) Object.assign(settings, { STYLECLIP_WERROR: 'ON' });
      if (tests) Object.assign(settings, { STYLECLIP_TESTS: 'ON' });
      if (native.nvcc) Object.assign(settings, { STYLECLIP_CUDA: 'ON', STYLECLIP_NVCC: native.nvcc });
      const defines = Object.entries(settings).map(([key, value]) => `--CD${key}=${value}`);
      await cmakeJs(root, voice, 'configure', ['configure', ...defines]);
      const target = tests ? [] : ['--target', 'styleclip_node'];
      await cmakeJs(root, voice, 'build', ['build', ...target, '--parallel', String(jobs())]);
    },
  };
}

/** Whether this is a CI run, where warnings are errors and lint is part of the tests. */
export function isCi() {
  return Boolean(process.env.CI) && process.env.CI !== 'false' && process.env.CI !== '0';
}

/** Compilers at a time: as many as there are cores and memory for. */
export function jobs() {
  return Math.max(1, Math.min(availableParallelism(), Math.floor(freemem() / BYTES_PER_JOB)));
}

/**
 * @param {string} root
 * @param {import('./say.mjs').Voice} voice
 * @param {string} name of the log
 * @param {string[]} args
 */
async function cmakeJs(root, voice, name, args) {
  await run(process.execPath, [join(root, 'node_modules/cmake-js/bin/cmake-js'), ...args], {
    cwd: root,
    log: join(root, 'build', 'setup', `native-${name}.log`),
    onLine: (line) => {
      // Ninja says "[3/40] Building …", make says "[ 7%] Building …".
      if (/^\[\s*\d+(\/\d+|%)\]/.test(line)) voice.tick(`      ${line}`);
    },
  });
}

async function requireTools() {
  const cmake = /(\d+)\.(\d+)/.exec((await firstLine('cmake', ['--version'])) ?? '');
  if (!cmake || Number(cmake[1]) * 100 + Number(cmake[2]) < 322) {
    throw new SetupError(
      'PLATFORM',
      cmake ? `cmake ${cmake[0]} is too old.` : 'cmake was not found.',
      'Install cmake 3.22 or newer (on Debian: apt install cmake).',
    );
  }
  if (!(await firstLine(process.env.CXX ?? 'c++', ['--version']))) {
    throw new SetupError(
      'PLATFORM',
      'No C++ compiler was found.',
      'Install one that knows C++20 (on Debian: apt install g++).',
    );
  }
}

/**
 * CMake refuses a cache that was made for a checkout at another path.
 * @param {string} root
 */
async function dropForeignCache(root) {
  const cache = join(root, 'build', 'CMakeCache.txt');
  if (!existsSync(cache)) return;
  const home = /^CMAKE_HOME_DIRECTORY:INTERNAL=(.*)$/m.exec(readFileSync(cache, 'utf8'))?.[1];
  if (home === root) return;
  await rm(cache, { force: true });
  await rm(join(root, 'build', 'CMakeFiles'), { recursive: true, force: true });
}
