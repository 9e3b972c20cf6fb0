/*
 * The steps that turn a fresh clone into something that runs: npm's packages, libtorch, the native build, TypeScript.
 * Plain scripts on Node's built-ins, so that they run before anything is installed.
 */
import { existsSync } from 'node:fs';
import { chmod, readFile, rename, rm } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { discoverLibtorch } from '../libtorch/discover.mjs';
import { fetchCudaCompiler, fetchLibtorch } from '../libtorch/fetch.mjs';
import { cacheDirectory, cudaCompilerIn, cudaCompilerRoot } from '../libtorch/places.mjs';
import { nativeStep } from './native.mjs';
import { npmStep } from './npm.mjs';
import { run } from './processes.mjs';
import { megabytes, seconds, Voice } from './say.mjs';
import { hashFiles, runSteps } from './steps.mjs';

/** The top of the checkout, wherever the command was started. */
export const ROOT = dirname(dirname(dirname(fileURLToPath(import.meta.url))));

/**
 * @typedef {object} CheckoutOptions
 * @property {string} what the command, said to a second one that waits
 * @property {('npm' | 'native' | 'typescript')[]} [parts]
 * @property {boolean} [tests] build the C++ and TypeScript tests too
 * @property {boolean} [cuda] compile and link the CUDA plug-in too
 * @property {Voice} [voice]
 *
 * @typedef {{ directory: string, version: string, variant: string }} Libtorch
 */

/**
 * Brings the checkout up to date.
 * @param {CheckoutOptions} options
 * @returns {Promise<{ ran: string[], ms: number }>}
 */
export async function setUp(options) {
  const voice = options.voice ?? new Voice();
  const begun = Date.now();
  const parts = options.parts ?? ['npm', 'native', 'typescript'];
  const native = new NativeInputs(voice, options.cuda ?? false);
  const steps = [];
  if (parts.includes('npm')) steps.push(npmStep(ROOT, voice));
  if (parts.includes('native')) {
    steps.push(libtorchStep(native), nativeStep(ROOT, voice, { tests: options.tests ?? false, native }));
  }
  if (parts.includes('typescript')) {
    steps.push(typescriptStep('typescript', 'tsconfig.json', ['ts', 'tools/libtorch'], 'dist', voice));
    if (options.tests) {
      steps.push(typescriptStep('typescript-tests', 'tsconfig.test.json', ['test', 'ts'], 'dist-test', voice));
    }
  }
  const ran = await runSteps(ROOT, options.what, steps, voice);
  const ms = Date.now() - begun;
  voice.say(ran.length > 0 ? `set-up: ${seconds(ms)} (${ran.join(', ')})` : `set-up: nothing to do (${seconds(ms)})`);
  return { ran, ms };
}

/** What the native build is made from besides its sources; found or fetched by the libtorch step. */
export class NativeInputs {
  /**
   * @param {Voice} voice
   * @param {boolean} cuda
   */
  constructor(voice, cuda) {
    this.voice = voice;
    this.cuda = cuda;
    /** @type {Libtorch | undefined} */
    this.libtorch = undefined;
    /** @type {string | undefined} */
    this.nvcc = undefined;
  }

  /** Looks for both, without fetching; whether all is there. */
  find() {
    this.libtorch ??= discoverLibtorch({ needHeaders: true }).found;
    const version = this.cudaVersion();
    if (!this.cuda || version === undefined) return this.libtorch !== undefined;
    if (this.nvcc === undefined) {
      const root = cudaCompilerRoot(cacheDirectory(), version);
      this.nvcc = process.env.STYLECLIP_NVCC ?? (existsSync(root) ? cudaCompilerIn(root, version) : undefined);
    }
    return this.nvcc !== undefined;
  }

  /** Fetches what is missing. */
  async fetch() {
    const options = {
      log: (/** @type {string} */ line) => this.voice.say(`      ${line}`),
      onProgress: (/** @type {{ phase: string, done: number, total: number | undefined }} */ p) =>
        this.voice.tick(`      ${p.phase}: ${megabytes(p.done)}${p.total ? ` of ${megabytes(p.total)}` : ''}`),
      confirm: (/** @type {import('../libtorch/fetch.mjs').Plan} */ plan) => this.#announce(plan),
    };
    this.find();
    if (!this.libtorch) {
      const { path, version, variant } = await fetchLibtorch(options);
      this.libtorch = { directory: path, version, variant };
    }
    const cudaVersion = this.cudaVersion();
    if (this.cuda && cudaVersion) this.nvcc ??= await fetchCudaCompiler(cudaVersion, options);
  }

  /** CUDA's major.minor that libtorch was built for; undefined when it has no CUDA, or one that needs another compiler. */
  cudaVersion() {
    const match = /^cu(\d\d)(\d)$/.exec(this.libtorch?.variant ?? '');
    return match && Number(match[1]) >= 13 ? `${match[1]}.${match[2]}` : undefined;
  }

  /** @param {import('../libtorch/fetch.mjs').Plan} plan */
  #announce(plan) {
    this.voice.say(`      ${plan.title}: ${megabytes(plan.bytes)} through pip, to ${dirname(plan.destination)}`);
    for (const wheel of plan.wheels) {
      this.voice.say(`        ${wheel.file}${wheel.bytes ? ` (${megabytes(wheel.bytes)})` : ''}: ${wheel.licence}`);
    }
    return true;
  }
}

/**
 * @param {NativeInputs} native
 * @returns {import('./steps.mjs').Step}
 */
function libtorchStep(native) {
  return {
    name: 'libtorch',
    title: 'libtorch: fetching what is missing through pip',
    isDone: () => native.find(),
    outputs: [],
    run: () => native.fetch(),
  };
}

/**
 * @param {string} name
 * @param {string} config
 * @param {string[]} sources
 * @param {string} output
 * @param {Voice} voice
 * @returns {import('./steps.mjs').Step}
 */
function typescriptStep(name, config, sources, output, voice) {
  return {
    name,
    title: `TypeScript: ${config} to ${output}/`,
    inputs: async () => [
      await hashFiles(ROOT, ['tsconfig.json', config, 'package.json', ...sources], (path) => !path.endsWith('.cpp')),
      await readFile(join(ROOT, 'node_modules/typescript/package.json'), 'utf8').then(
        (text) => JSON.parse(text).version,
      ),
    ],
    outputs: [output],
    run: async () => {
      // Compiled beside the old output and put in its place: whoever is running keeps a whole one.
      const fresh = join(ROOT, `${output}.new`);
      const old = join(ROOT, `${output}.old`);
      await rm(fresh, { recursive: true, force: true });
      const tsc = join(ROOT, 'node_modules/typescript/bin/tsc');
      await run(process.execPath, [tsc, '-p', config, '--outDir', fresh], {
        cwd: ROOT,
        log: join(ROOT, 'build', 'setup', `${name}.log`),
        onLine: (line) => voice.tick(`      ${line}`),
      });
      const program = join(fresh, 'cli', 'main.js');
      if (existsSync(program)) await chmod(program, 0o755);
      await rm(old, { recursive: true, force: true });
      if (existsSync(join(ROOT, output))) await rename(join(ROOT, output), old);
      await rename(fresh, join(ROOT, output));
      await rm(old, { recursive: true, force: true });
    },
  };
}
