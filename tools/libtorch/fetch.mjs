/*
 * Brings libtorch onto the machine: asks what it would take, says so, downloads through pip, checks, unpacks only what is
 * needed in the wheel's own layout, and puts the finished directory in place with one rename. Whoever sees
 * `<cache>/libtorch-<version>` sees a whole one.
 */
import { mkdir, readdir, readFile, rename, rm, stat, writeFile } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { asDiskError, SetupError } from './errors.mjs';
import { inspectLibtorch, librariesToOpen } from './inspect.mjs';
import { withLock } from './lock.mjs';
import { Pip } from './pip.mjs';
import {
  cacheDirectory,
  cudaCompilerIn,
  cudaCompilerRoot,
  isSupportedTorch,
  libtorchRoot,
  PINNED_TORCH,
} from './places.mjs';
import { compilerRequirements, wantedTorchFile } from './wheels.mjs';
import { isLicence, sha256Of, Work } from './work.mjs';

/**
 * @typedef {object} Plan what would be fetched, for the question that is asked first
 * @property {string} title
 * @property {{ file: string, bytes: number | undefined, licence: string }[]} wheels
 * @property {number} bytes of all downloads, as far as known
 * @property {string} destination
 *
 * @typedef {object} FetchOptions
 * @property {string} [version] of torch
 * @property {boolean} [cuda] bring libtorch_cuda, the libraries it needs and the CUDA compiler
 * @property {string} [from] a wheel, a libtorch archive, or a directory of wheels; nothing is downloaded
 * @property {NodeJS.ProcessEnv} [env]
 * @property {(plan: Plan) => Promise<boolean> | boolean} [confirm] asked before anything is downloaded
 * @property {(progress: { phase: string, done: number, total: number | undefined }) => void} [onProgress] in bytes
 * @property {(line: string) => void} [log]
 * @property {(directory: string) => Promise<number>} [freeBytes] for tests
 *
 * @typedef {{ path: string, version: string, variant: string, sha256: string, bytes: number }} Installed
 */

/**
 * Fetches libtorch into the cache, unless a fitting one is there already.
 * @param {FetchOptions} [options]
 * @returns {Promise<Installed>}
 */
export async function fetchLibtorch(options = {}) {
  const version = options.version ?? PINNED_TORCH;
  if (!options.from && !isSupportedTorch(version)) {
    throw new SetupError(
      'ARGUMENT',
      `libtorch ${version} is not supported.`,
      'Ask for 2.11 to 2.15, or leave --torch out.',
    );
  }
  return inCache(options, 'styleclip setup', async (cache) => {
    const there = options.from ? undefined : await installedAt(cache, version, options.cuda ?? false);
    if (there) return there;
    const work = new Work(cache, options);
    try {
      const source = options.from
        ? await work.local(options.from)
        : await work.download(version, options.cuda ?? false);
      return await install(work, source, options);
    } finally {
      await work.clean();
    }
  });
}

/**
 * Fetches the CUDA compiler (nvcc and what it needs) into the cache, unless it is there.
 * @param {string} version major.minor, for example `13.0`
 * @param {FetchOptions} [options]
 * @returns {Promise<string>} the directory with bin/nvcc
 */
export async function fetchCudaCompiler(version, options = {}) {
  return inCache(options, 'the CUDA compiler set-up', async (cache) => {
    const root = cudaCompilerRoot(cache, version);
    const directory = cudaCompilerIn(root, version);
    if (await exists(root)) return directory;
    const work = new Work(cache, options);
    try {
      const pip = await Pip.find(options.env);
      const wheels = await pip.resolve(compilerRequirements(version), { dependencies: true });
      const files = await work.fetch(pip, wheels, `the CUDA ${version} compiler`, root);
      for (const file of files)
        await work.unpack(file, (name) => (name.startsWith('nvidia/') || isLicence(name) ? name : undefined));
      await rename(work.part, root);
      return directory;
    } finally {
      await work.clean();
    }
  });
}

/**
 * @template T
 * @param {FetchOptions} options
 * @param {string} what
 * @param {(cache: string) => Promise<T>} action
 * @returns {Promise<T>}
 */
async function inCache(options, what, action) {
  const cache = cacheDirectory(options.env);
  try {
    await mkdir(cache, { recursive: true });
    return await withLock(join(cache, 'setup.lock'), what, () => action(cache), options.log);
  } catch (error) {
    throw asDiskError(error, cache);
  }
}

/**
 * @param {string} cache
 * @param {string} version
 * @param {boolean} cuda
 * @returns {Promise<Installed | undefined>}
 */
async function installedAt(cache, version, cuda) {
  for (const name of await readdir(cache)) {
    if (name !== `libtorch-${version}` && !name.startsWith(`libtorch-${version}+`)) continue;
    try {
      const record = JSON.parse(await readFile(join(cache, name, 'styleclip-libtorch.json'), 'utf8'));
      if (cuda && !record.cuda) continue;
      const { version: found, variant, sha256, bytes } = record;
      return { path: join(cache, name, 'torch'), version: found, variant, sha256, bytes };
    } catch {
      // No record: not one that we made.
    }
  }
  return undefined;
}

/**
 * Unpacks libtorch and the libraries it needs, checks that nothing is missing, and renames it into place.
 * @param {Work} work
 * @param {{ torch: string, others: string[] }} source
 * @param {FetchOptions} options
 * @returns {Promise<Installed>}
 */
async function install(work, source, options) {
  const cuda = options.cuda ?? false;
  options.log?.(`unpacking ${basename(source.torch)}`);
  const sha256 = await sha256Of(source.torch);
  await work.unpack(source.torch, (name) => wantedTorchFile(name, cuda));
  const directory = join(work.part, 'torch');
  const libraries = ['libc10.so', 'libtorch_cpu.so', ...(cuda ? ['libtorch_cuda.so'] : [])];
  for (const file of [source.torch, ...source.others]) {
    await work.unpackMissing(file, directory, libraries, cuda && file !== source.torch);
  }
  const { missing } = librariesToOpen(directory, libraries);
  if (missing.length > 0) {
    throw new SetupError(
      'LIBTORCH_NOT_FOUND',
      `${basename(source.torch)} needs ${missing.join(', ')}, which none of the wheels holds.`,
      options.from
        ? "Put NVIDIA's wheels that its metadata names (nvidia_cuda_runtime-*.whl, nvidia_cuda_cupti-*.whl) beside it."
        : 'Report this with the output of `styleclip doctor`; another version can be had with --torch.',
    );
  }
  const { version, variant } = inspectLibtorch(directory);
  const root = libtorchRoot(work.cache, version);
  const record = { version, variant, sha256, bytes: work.bytes, cuda };
  await writeFile(join(work.part, 'styleclip-libtorch.json'), `${JSON.stringify(record)}\n`);
  await rm(root, { recursive: true, force: true });
  await rename(work.part, root);
  return { path: join(root, 'torch'), version, variant, sha256, bytes: work.bytes };
}

/** @param {string} path */
function exists(path) {
  return stat(path).then(
    () => true,
    () => false,
  );
}
