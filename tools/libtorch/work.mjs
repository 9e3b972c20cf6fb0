/*
 * One run of the download: its own directories below the cache, what it asks pip for, the checks of space and checksum, and
 * the unpacking of chosen files. Leaves nothing behind but what fetch.mjs renames into place.
 */
import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { mkdir, readdir, rm, stat, statfs } from 'node:fs/promises';
import { basename, join, resolve } from 'node:path';
import { SetupError } from './errors.mjs';
import { librariesToOpen } from './inspect.mjs';
import { Pip } from './pip.mjs';
import { libtorchRoot } from './places.mjs';
import { cudaRequirements, entriesNamed, licenceOf, wheelsAt } from './wheels.mjs';
import { DamagedZip, listZip, unpackZip } from './zip.mjs';

/** @typedef {import('./fetch.mjs').FetchOptions} FetchOptions */

/** Unpacked bytes for each byte of a wheel, at most, for the first look at the free space. */
const UNPACK_FACTOR = 2.2;

/** A run's own directories: one for downloads, one for the tree being made. Both go when it ends. */
export class Work {
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
      // pip copies what it has downloaded from its temporary folder: for a moment a wheel is there twice.
      const file = await pip.download(wheel, this.downloads, (now) =>
        this.options.onProgress?.({
          phase: `downloading ${title}`,
          done: Math.min(Math.max(done, now), bytes || Infinity),
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
    try {
      const entries = (await listZip(file)).filter((entry) => where(entry.name) !== undefined);
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
    } catch (error) {
      if (!(error instanceof DamagedZip)) throw error;
      throw new SetupError('FILE_DAMAGED', `${error.message}.`, 'Fetch the file again.', error);
    }
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

/**
 * Whether a file of a wheel is its licence, which has to come along with whatever is taken from it.
 * @param {string} name
 */
export function isLicence(name) {
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

/**
 * @param {string} file
 * @returns {Promise<string>} in hexadecimal
 */
export async function sha256Of(file) {
  const hash = createHash('sha256');
  for await (const chunk of createReadStream(file, { highWaterMark: 1 << 20 })) hash.update(chunk);
  return hash.digest('hex');
}
