/*
 * Results in a folder that may hold other people's files too. A manifest lists what was written; the next run replaces
 * those files, removes the ones that it no longer makes, and refuses to touch any other.
 */
import { mkdir, readFile, rename, rm, stat, writeFile } from 'node:fs/promises';
import { basename, join } from 'node:path';

const MANIFEST = '.styleclip-main-job.json';

export class OwnFiles {
  /** @type {Map<string, Uint8Array | string>} */
  #written = new Map();

  /**
   * @param {string} folder
   * @param {readonly string[]} before names that the last run wrote
   */
  constructor(folder, before) {
    this.folder = folder;
    this.before = before;
  }

  /**
   * Opens a folder; it need not exist. Refuses one that holds a file of these names that is not ours.
   *
   * @param {string} folder
   * @param {readonly string[]} names of the files to be written
   */
  static async open(folder, names) {
    const before = await readManifest(folder);
    for (const name of names.filter((each) => !before.includes(each))) {
      const there = await stat(join(folder, name)).catch(() => undefined);
      if (there === undefined) continue;
      throw new Error(`${join(folder, name)} was not written by this job: move it away, or name another folder`);
    }
    return new OwnFiles(folder, before);
  }

  /** Keeps a file for {@link commit}. @param {string} name @param {Uint8Array | string} content */
  add(name, content) {
    this.#written.set(name, content);
  }

  /** Where a file is. @param {string} name */
  path(name) {
    return join(this.folder, name);
  }

  /** Writes everything at once, the manifest first, so that what is there is always known to be ours. */
  async commit() {
    const names = [...this.#written.keys()];
    await mkdir(this.folder, { recursive: true });
    await this.#write(MANIFEST, JSON.stringify({ files: [...new Set([...this.before, ...names])] }, null, 2));
    for (const [name, content] of this.#written) await this.#write(name, content);
    for (const name of this.before) {
      if (!this.#written.has(name)) await rm(this.path(name), { force: true });
    }
    await this.#write(MANIFEST, JSON.stringify({ files: names }, null, 2));
  }

  /** @param {string} name @param {Uint8Array | string} content */
  async #write(name, content) {
    const temporary = join(this.folder, `.${name.replace(/^\./, '')}.${process.pid}.tmp`);
    await writeFile(temporary, content);
    await rename(temporary, this.path(name));
  }
}

/** Names of the files that the last run wrote; plain names only, whatever the manifest says. @param {string} folder */
async function readManifest(folder) {
  try {
    const { files } = JSON.parse(await readFile(join(folder, MANIFEST), 'utf8'));
    return files.map(String).filter((/** @type {string} */ name) => basename(name) === name);
  } catch {
    return [];
  }
}
