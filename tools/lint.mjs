/*
 * `npm run lint [-- NAME] [--all]` and `npm run format` (--fix): types of everything that is TypeScript or has JSDoc types, floating promises
 * and other mistakes, formatting, the package's manifest, and clang-format and clang-tidy on C++. The two clang tools are
 * PyPI wheels of a pinned version, so that everybody's machine formats alike. clang-tidy looks at changed files only, at
 * most the latest 20 of them, or, with --all, at every one, which takes many minutes.
 */
import { mkdir, readdir, rename, rm } from 'node:fs/promises';
import { availableParallelism } from 'node:os';
import { extname, join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { existsSync } from 'node:fs';
import { Pip } from './libtorch/pip.mjs';
import { cacheDirectory } from './libtorch/places.mjs';
import { discoverLibtorch } from './libtorch/discover.mjs';
import { ROOT, setUp } from './setup/checkout.mjs';
import { reportFailure } from './setup/failure.mjs';
import { changedFiles, trackedFiles } from './setup/git.mjs';
import { run } from './setup/processes.mjs';
import { seconds, Voice } from './setup/say.mjs';

const CLANG_TOOLS = { 'clang-format': '19.1.7', 'clang-tidy': '23.1.4' };
const CPP = new Set(['.cpp', '.h', '.cu']);
const CPP_FOLDERS = /^(cpp\/(src|include)|binding|cuda|test\/(cpp|cuda-host|fuzz)|bench)\//;
/** clang-tidy takes some ten seconds for a file that includes libtorch. */
const MOST_TIDIED = 20;

/**
 * Runs every check; the names of those that failed.
 * @param {Voice} voice
 * @param {{ fix?: boolean, only?: string, all?: boolean }} [options]
 * @returns {Promise<string[]>}
 */
export async function lint(voice, options = {}) {
  const fix = options.fix ?? false;
  const bin = (/** @type {string} */ file) => join(ROOT, 'node_modules', file);
  const cpp = (await trackedFiles(ROOT)).filter(
    (file) => CPP_FOLDERS.test(file) && CPP.has(extname(file)) && !file.includes('third_party'),
  );
  const clang = await clangTools(voice);
  /** @type {{ name: string, run: () => Promise<void> }[]} */
  const checks = [
    ...['tsconfig.json', 'tsconfig.test.json', 'tsconfig.tools.json'].map((config) => ({
      name: `tsc ${config}`,
      run: () => node(bin('typescript/bin/tsc'), ['-p', config, '--noEmit']),
    })),
    { name: 'oxlint', run: () => node(bin('oxlint/bin/oxlint'), ['--deny-warnings', ...(fix ? ['--fix'] : [])]) },
    {
      name: 'prettier',
      run: () => node(bin('prettier/bin/prettier.cjs'), [fix ? '--write' : '--check', '--log-level', 'warn', '.']),
    },
    { name: 'publint', run: () => node(bin('publint/src/cli.js'), ['run', '.', '--strict']) },
    { name: 'clang-format', run: () => program(clang.format, [...(fix ? ['-i'] : ['--dry-run', '--Werror']), ...cpp]) },
    { name: 'clang-tidy', run: () => tidy(voice, clang.tidy, cpp, options.all ?? false) },
  ];
  const failed = [];
  for (const check of checks) {
    if (options.only && !check.name.startsWith(options.only)) continue;
    const begun = Date.now();
    try {
      await check.run();
      voice.say(`lint: ${check.name} (${seconds(Date.now() - begun)})`);
    } catch (error) {
      failed.push(check.name);
      voice.say(`lint: ${check.name} FAILED\n${/** @type {Error} */ (error).message}`);
    }
  }
  return failed;
}

/**
 * @param {string} script
 * @param {string[]} args
 */
function node(script, args) {
  return program(process.execPath, [script, ...args]);
}

/**
 * @param {string} command
 * @param {string[]} args
 */
async function program(command, args) {
  const name = (args[0] ?? command).split('/').at(-1);
  await run(command, args, { cwd: ROOT, log: join(ROOT, 'build', 'setup', `lint-${name}.log`) });
}

/**
 * Those of `sources` that changed, or whose header of the same name did, in the order of `changed`.
 * @param {string[]} changed
 * @param {string[]} sources
 */
export function sourcesOf(changed, sources) {
  const stem = (/** @type {string} */ file) => file.slice(0, file.length - extname(file).length);
  const byStem = new Map(sources.map((file) => [stem(file), file]));
  const found = changed.filter((file) => CPP.has(extname(file))).map((file) => byStem.get(stem(file)));
  return [...new Set(found)].filter((file) => file !== undefined);
}

/**
 * clang-tidy on files that changed since the last commit of others, or on all. It reads the compile commands of a build
 * folder without precompiled headers, which are GCC's and mean nothing to clang.
 * @param {Voice} voice
 * @param {string} tool
 * @param {string[]} cpp
 * @param {boolean} all
 */
async function tidy(voice, tool, cpp, all) {
  // cuda/register*.cpp are compiled with CUDA's headers only, which this configuration has not.
  const sources = cpp.filter(
    (file) => extname(file) === '.cpp' && !/^(test|bench)\//.test(file) && !file.startsWith('cuda/register'),
  );
  const files = all ? sources : sourcesOf(await changedFiles(ROOT), sources);
  const some = all ? files : files.slice(0, MOST_TIDIED);
  if (files.length > some.length) {
    voice.say(`lint: clang-tidy takes the ${some.length} latest of ${files.length} changed files`);
    voice.say(
      `lint: clang-tidy leaves out ${files.slice(some.length).join(' ')} (\`npm run lint -- clang-tidy --all\`)`,
    );
  }
  if (some.length === 0) return;
  const { found } = discoverLibtorch({ needHeaders: true });
  if (!found) throw new Error('libtorch is not set up: run `npm run build` first');
  const build = join(ROOT, 'build', 'tidy');
  const cmakeJs = join(ROOT, 'node_modules/cmake-js/bin/cmake-js');
  const each = ['--CDSTYLECLIP_PCH=OFF', '--CDSTYLECLIP_UNITY=OFF'];
  await node(cmakeJs, ['configure', '-O', build, `--CDSTYLECLIP_LIBTORCH=${found.directory}`, ...each]);
  // Two at a time: each holds a libtorch translation unit in memory.
  const queue = some.values();
  const args = ['-p', build, '--quiet', '--extra-arg=-fno-openmp', '--extra-arg=-Wno-unknown-warning-option'];
  /** @type {string[]} */
  const failed = [];
  await Promise.all(
    Array.from({ length: Math.min(2, availableParallelism()) }, async (_, worker) => {
      for (const file of queue) {
        voice.tick(`lint: clang-tidy ${file}`);
        const log = join(ROOT, 'build', 'setup', `lint-clang-tidy-${worker}.log`);
        await run(tool, [...args, file], { cwd: ROOT, log }).catch((error) => failed.push(error.message));
      }
    }),
  );
  if (failed.length > 0) throw new Error(failed.join('\n'));
}

/**
 * The two clang programs, installed once into the user's cache.
 * @param {Voice} voice
 * @returns {Promise<{ format: string, tidy: string }>}
 */
async function clangTools(voice) {
  const versions = Object.entries(CLANG_TOOLS).map(([name, version]) => `${name}==${version}`);
  const place = join(cacheDirectory(), `lint-${Object.values(CLANG_TOOLS).join('-')}`);
  if (!existsSync(place)) {
    voice.say(`lint: installing ${versions.join(' and ')}`);
    const pip = await Pip.find();
    const part = `${place}.part-${process.pid}`;
    await mkdir(part, { recursive: true });
    const flags = ['--quiet', '--no-deps', '--only-binary=:all:', '--no-cache-dir', '--target', part];
    await program(pip.python, ['-m', 'pip', 'install', ...flags, ...versions]);
    await rename(part, place).catch(async (error) => {
      await rm(part, { recursive: true, force: true });
      if (!existsSync(place)) throw error;
    });
  }
  const names = await readdir(place);
  const find = (/** @type {string} */ tool) => {
    const folder = names.find((name) => name === tool.replace('-', '_'));
    if (folder === undefined) throw new Error(`${tool} is missing in ${place}; delete that folder and try again`);
    return join(place, folder, 'data', 'bin', tool);
  };
  return { format: find('clang-format'), tidy: find('clang-tidy') };
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) {
  try {
    const voice = new Voice();
    const args = process.argv.slice(2);
    await setUp({ what: 'npm run lint', parts: ['npm', 'typescript'], tests: true, voice });
    const only = args.find((arg) => !arg.startsWith('--'));
    const failed = await lint(voice, {
      fix: args.includes('--fix'),
      all: args.includes('--all'),
      ...(only ? { only } : {}),
    });
    process.exitCode = failed.length > 0 ? 1 : 0;
  } catch (error) {
    reportFailure(error);
  }
}
