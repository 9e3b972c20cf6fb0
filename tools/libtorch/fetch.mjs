/*
 * Brings libtorch onto the machine: asks what it would take, says so, downloads through pip, checks, unpacks only what is
 * needed in the wheel's own layout, and puts the finished directory in place with one rename. Whoever sees
 * `<cache>/libtorch-<version>` sees a whole one.
 */
import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { mkdir, readdir, readFile, rename, rm, stat, statfs, writeFile } from 'node:fs/promises';
import { basename, join, resolve } from 'node:path';
import { asDiskError, SetupError } from './errors.mjs';
import { inspectLibtorch, librariesToOpen } from './inspect.mjs';
import { withLock } from './lock.mjs';
import { Pip } from './pip.mjs';
import { cacheDirectory, cudaCompilerRoot, isSupportedTorch, libtorchRoot, PINNED_TORCH } from './places.mjs';
import {
  compilerRequirements,
  cudaRequirements,
  entriesNamed,
  licenceOf,
  wantedTorchFile,
  wheelsAt,
} from './wheels.mjs';
import { listZip, unpackZip } from './zip.mjs';

/** Unpacked bytes for each byte of a wheel, at most, for the first look at the free space. */
const UNPACK_FACTOR = 2.2;

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
    const directory = join(root, 'nvidia', `cu${version.split('.')[0]}`);
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

/** A run's own directories: one for downloads, one for the tree being made. Both go when it ends. */
class Work {
  /**
   * @param {string} cache
   * @param {FetchOptions} options
   */
  constructor(cache, options) {
    this.cache = cache;
    this.options = options;
    this.downloads = join(cache, `download.part-${process.pid}`);
    this.part = join(cache, `libtorch.part-${process.pid}`);
    this.bytes = 0;
  }

  /** Removes what this run, or an earlier one that was killed, left half-made. The cache's lock is held. */
  async clean() {
    const left = (await readdir(this.cache)).filter((name) => name.includes('.part-'));
    for (const name of left) await rm(join(this.cache, name), { recursive: true, force: true });
  }

  /** @param {string} from */
  async local(from) {
    const path = resolve(from);
    const info = await stat(path).catch((error) => {
      throw new SetupError('FILE_NOT_FOUND', `${path} cannot be read.`, 'Check the path given to --from.', error);
    });
    return wheelsAt(path, info.isDirectory());
  }

  /**
   * @param {string} version
   * @param {boolean} cuda
   */
  async download(version, cuda) {
    const pip = await Pip.find(this.options.env);
    this.options.log?.(`asking pip for torch ${version}`);
    const [torch] = await pip.resolve([`torch==${version}`]);
    if (torch === undefined) throw new Error(`pip reported nothing for torch ${version}`);
    const requirements = cudaRequirements(torch.requires, cuda);
    const others = requirements.length > 0 ? await pip.resolve(requirements, { dependencies: true }) : [];
    const wheels = [torch, ...others.filter((wheel) => wheel.name.startsWith('nvidia-'))];
    const [file, ...rest] = await this.fetch(
      pip,
      wheels,
      `libtorch ${torch.version}`,
      libtorchRoot(this.cache, torch.version),
    );
    return { torch: /** @type {string} */ (file), others: rest };
  }

  /**
   * Says what will be fetched, asks, checks the space, downloads, and compares the checksums.
   * @param {Pip} pip
   * @param {import('./pip.mjs').Wheel[]} wheels
   * @param {string} title
   * @param {string} destination
   */
  async fetch(pip, wheels, title, destination) {
    const bytes = wheels.reduce((sum, wheel) => sum + (wheel.bytes ?? 0), 0);
    const list = wheels.map((wheel) => ({ file: wheel.file, bytes: wheel.bytes, licence: licenceOf(wheel) }));
    if ((await this.options.confirm?.({ title, wheels: list, bytes, destination })) === false) {
      throw new SetupError(
        'LIBTORCH_NOT_FOUND',
        `${title} was not fetched: the answer was no.`,
        'Run it again with --yes.',
      );
    }
    await this.needSpace(bytes * (1 + UNPACK_FACTOR), title);
    await mkdir(this.downloads, { recursive: true });
    const files = [];
    let done = 0;
    for (const wheel of wheels) {
      const file = await pip.download(wheel, this.downloads, (now) =>
        this.options.onProgress?.({
          phase: `downloading ${title}`,
          done: Math.max(done, now),
          total: bytes || undefined,
        }),
      );
      await this.verify(file, wheel.sha256);
      done += (await stat(file)).size;
      files.push(file);
    }
    return files;
  }

  /**
   * @param {string} file
   * @param {string | undefined} expected
   */
  async verify(file, expected) {
    if (expected === undefined) return;
    const actual = await sha256Of(file);
    if (actual === expected) return;
    await rm(file, { force: true });
    throw new SetupError(
      'FILE_DAMAGED',
      `${basename(file)} has the sha256 ${actual}; ${expected} was announced. It was deleted.`,
      'Run the command again; if it happens twice, the index or a proxy in between serves a wrong file.',
    );
  }

  /**
   * @param {number} bytes
   * @param {string} what
   */
  async needSpace(bytes, what) {
    const free = await (this.options.freeBytes ?? freeBytes)(this.cache);
    if (free >= bytes) return;
    throw new SetupError(
      'DISK',
      `${what} needs about ${gib(bytes)} while it is set up; ${this.cache} has ${gib(free)} free.`,
      'Free some space, or set STYLECLIP_CACHE to a directory on another disk, and run the command again.',
    );
  }

  /**
   * Unpacks the files of an archive that `where` gives a place.
   * @param {string} file
   * @param {(name: string) => string | undefined} where
   */
  async unpack(file, where) {
    const entries = (
      await listZip(file).catch((error) => {
        throw new SetupError('FILE_DAMAGED', error.message, 'Fetch the file again.', error);
      })
    ).filter((entry) => where(entry.name) !== undefined);
    const total = entries.reduce((sum, entry) => sum + entry.size, 0);
    await this.needSpace(total, `Unpacking ${basename(file)}`);
    let done = 0;
    await unpackZip(file, entries, this.part, {
      place: (entry) => ({ path: /** @type {string} */ (where(entry.name)), mode: modeOf(entry) }),
      onBytes: (bytes) => {
        done += bytes;
        this.options.onProgress?.({ phase: `unpacking ${basename(file)}`, done, total });
      },
    });
    this.bytes += total;
  }

  /**
   * Unpacks the libraries that are still missing, and again what those need in turn.
   * @param {string} file
   * @param {string} directory
   * @param {string[]} libraries
   * @param {boolean} everything all of the archive's libraries: some are opened by name at run time, which shows nowhere
   */
  async unpackMissing(file, directory, libraries, everything) {
    if (everything) {
      await this.unpack(file, (name) => (/\/lib\/[^/]*\.so/.test(name) || isLicence(name) ? name : undefined));
      return;
    }
    for (;;) {
      const missing = new Set(librariesToOpen(directory, libraries).missing);
      const found = new Set(
        entriesNamed(missing.size > 0 ? await listZip(file) : [], missing).map((entry) => entry.name),
      );
      if (found.size === 0) return;
      await this.unpack(file, (name) =>
        found.has(name) || isLicence(name) ? name.replace(/^libtorch\//, 'torch/') : undefined,
      );
    }
  }
}

/** @param {string} name */
function isLicence(name) {
  return /^[^/]*\.dist-info\/(licenses\/)?licen[cs]e[^/]*$/i.test(name);
}

/** @param {import('./zip.mjs').ZipEntry} entry */
function modeOf(entry) {
  return entry.executable || /(^|\/)bin\//.test(entry.name) ? 0o755 : 0o644;
}

/** @param {string} directory */
async function freeBytes(directory) {
  const { bavail, bsize } = await statfs(directory);
  return bavail * bsize;
}

/** @param {number} bytes */
function gib(bytes) {
  return `${(bytes / 2 ** 30).toFixed(1)} GiB`;
}

/** @param {string} path */
function exists(path) {
  return stat(path).then(
    () => true,
    () => false,
  );
}

/**
 * @param {string} file
 * @returns {Promise<string>} in hexadecimal
 */
export async function sha256Of(file) {
  const hash = createHash('sha256');
  for await (const chunk of createReadStream(file, { highWaterMark: 1 << 20 })) hash.update(chunk);
  return hash.digest('hex');
}
