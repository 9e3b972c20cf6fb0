/*
 * Looks at a directory that may be a libtorch: which version it is, whether it is for this machine, and which files have to
 * be opened, in which order. Everything is read from files; nothing is opened by the dynamic linker.
 */
import { existsSync, readFileSync, realpathSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { readElf } from './elf.mjs';

/**
 * @typedef {object} Libtorch
 * @property {string} directory the directory with lib/ (and include/, when `headers`)
 * @property {string} version as written in it, for example `2.13.0+cu130`
 * @property {string} variant `cpu`, `cu130`, …
 * @property {boolean} headers whether include/ is there, so that sources can be built against it
 */

/** Why a directory is not a usable libtorch; `code` is the part after `ERR_STYLECLIP_`. */
export class NotLibtorch extends Error {
  /**
   * @param {'LIBTORCH_NOT_FOUND' | 'LIBTORCH_VERSION'} code
   * @param {string} reason
   */
  constructor(code, reason) {
    super(reason);
    this.code = code;
  }
}

/**
 * Accepts the directory with lib/ itself, its parent in a wheel's layout (torch/lib), or the lib directory.
 * @param {string} place
 * @returns {string | undefined} the directory that holds lib/
 */
export function libtorchDirectory(place) {
  const candidates = [place, join(place, 'torch'), join(place, 'libtorch'), dirname(place)];
  return candidates.find(
    (directory, i) => (i < 3 || basename(place) === 'lib') && existsSync(join(directory, 'lib', 'libtorch_cpu.so')),
  );
}

/**
 * @param {string} place
 * @returns {Libtorch}
 * @throws {NotLibtorch}
 */
export function inspectLibtorch(place) {
  if (!existsSync(place)) throw new NotLibtorch('LIBTORCH_NOT_FOUND', 'no such directory');
  const directory = libtorchDirectory(place);
  if (directory === undefined) throw new NotLibtorch('LIBTORCH_NOT_FOUND', 'has no lib/libtorch_cpu.so');
  const library = join(directory, 'lib', 'libtorch_cpu.so');
  let elf;
  try {
    elf = readElf(library);
  } catch (error) {
    throw new NotLibtorch('LIBTORCH_NOT_FOUND', `libtorch_cpu.so is damaged: ${/** @type {Error} */ (error).message}`);
  }
  if (elf.arch !== process.arch) {
    throw new NotLibtorch('LIBTORCH_NOT_FOUND', `is for ${elf.arch}, this is ${process.arch}`);
  }
  const { version, variant } = readVersion(directory);
  return { directory, version, variant, headers: existsSync(join(directory, 'include', 'ATen', 'core', 'Tensor.h')) };
}

/**
 * Reads version.py (a wheel), build-version (a libtorch archive), or the headers.
 * @param {string} directory
 * @returns {{ version: string, variant: string }}
 */
function readVersion(directory) {
  const python = readText(join(directory, 'version.py'));
  const plain = readText(join(directory, 'build-version'));
  const header =
    readText(join(directory, 'include/torch/headeronly/version.h')) ??
    readText(join(directory, 'include/torch/csrc/api/include/torch/version.h'));
  const version =
    /^__version__ *= *['"]([^'"]+)['"]/m.exec(python ?? '')?.[1] ??
    (plain?.trim() || undefined) ??
    /#define TORCH_VERSION\s*\\?\s*"([^"]+)"/.exec(header ?? '')?.[1];
  if (version === undefined) {
    throw new NotLibtorch('LIBTORCH_VERSION', 'does not say its version (no version.py, build-version or version.h)');
  }
  const local = /\+(\w+)/.exec(version)?.[1];
  const cuda = /^cuda\b[^=]*= *['"]([\d.]+)['"]/m.exec(python ?? '')?.[1];
  return { version, variant: local ?? (cuda ? `cu${cuda.replaceAll('.', '')}` : 'cpu') };
}

/**
 * @param {string} file
 * @returns {string | undefined}
 */
function readText(file) {
  try {
    return readFileSync(file, 'utf8');
  } catch {
    return undefined;
  }
}

/**
 * The files to open for `names` (libraries of `<directory>/lib`), each after everything it needs: what stands beside
 * libtorch or in its run path, by absolute path. Libraries of the system are left to the dynamic linker.
 * @param {string} directory
 * @param {string[]} [names]
 * @returns {{ files: string[], missing: string[] }} `missing`: names of libtorch's own kind that were found nowhere
 */
export function librariesToOpen(directory, names = ['libc10.so', 'libtorch_cpu.so']) {
  /** @type {string[]} */
  const files = [];
  /** @type {Set<string>} */
  const seen = new Set();
  /** @type {Set<string>} */
  const missing = new Set();

  /** @param {string} file @param {string[]} inherited */
  const visit = (file, inherited) => {
    const real = realpathSync(file);
    if (seen.has(real)) return;
    seen.add(real);
    const elf = readElf(real);
    const path = [...elf.searchPath.map((p) => p.replace(/\$\{?ORIGIN\}?/g, dirname(real))), ...inherited];
    for (const name of elf.needed) {
      const at = path.find((p) => existsSync(join(p, name)));
      if (at !== undefined) visit(join(at, name), path);
      else if (!isSystemLibrary(name)) missing.add(name);
    }
    files.push(real);
  };
  for (const name of names) {
    const file = join(directory, 'lib', name);
    if (existsSync(file)) visit(file, [join(directory, 'lib')]);
    else missing.add(name);
  }
  return { files, missing: [...missing] };
}

/**
 * Whether a library belongs to the system (glibc, the compiler's run time) and need not come with libtorch.
 * @param {string} name
 */
export function isSystemLibrary(name) {
  return /^(ld-linux[\w-]*|lib(c|m|dl|rt|pthread|util|resolv|gcc_s|stdc\+\+|gomp|numa|z|cuda))\.so/.test(name);
}
