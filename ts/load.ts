/*
 * Opens the native part. In this order, because a wrong libtorch does not fail, it ends the process: find libtorch by its
 * files, compare its version with the one the addon was built with, open it by absolute path (binding/preload), look that
 * nothing else of that name is mapped, and only then open the addon, whose own needs the linker then finds already there.
 */
import { existsSync, readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { basename, dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { requireLibtorch } from '../tools/libtorch/discover.mjs';
import { readElf } from '../tools/libtorch/elf.mjs';
import { librariesToOpen } from '../tools/libtorch/inspect.mjs';
import { StyleClipError } from './errors.js';
import type { NativeAddon } from './native.js';

/** Node-API version that the addon is built for. */
const NAPI = 9;
const ADDON = 'styleclip.node';
const PRELOAD = 'styleclip_preload.so';
/** Written beside the addon by its build. */
const RECORD = 'styleclip.build.json';

/** The package's folder. */
const PACKAGE = dirname(dirname(fileURLToPath(import.meta.url)));

export interface LoadNativeOptions {
  /** Directory of libtorch; before the environment variables and the cache. */
  libtorch?: string;
  /** The package's folder; for tests. */
  root?: string;
}

/** A native build found on disk. */
export interface AddonFiles {
  addon: string;
  preload: string;
  /** The CUDA plug-in, where it was built. */
  cuda: string | undefined;
  /** Version of libtorch that it was compiled against. */
  builtWith: string;
}

/** The folders that may hold the addon: one's own build first, then the one that came with the package. */
export function addonFolders(root: string = PACKAGE): string[] {
  return [join(root, 'build', 'Release'), join(root, 'prebuilds', `${process.platform}-${process.arch}`)];
}

/** Looks at a folder; the reason as a string when it does not hold a complete native build. */
export function addonFilesIn(folder: string): AddonFiles | string {
  const addon = join(folder, ADDON);
  const preload = join(folder, PRELOAD);
  for (const file of [addon, preload]) if (!existsSync(file)) return `no ${basename(file)}`;
  const cuda = join(folder, 'styleclip_cuda.so');
  try {
    const { torch } = JSON.parse(readFileSync(join(folder, RECORD), 'utf8')) as { torch?: unknown };
    if (typeof torch !== 'string') return `${RECORD} does not name a libtorch version`;
    return { addon, preload, cuda: existsSync(cuda) ? cuda : undefined, builtWith: torch };
  } catch {
    return `no readable ${RECORD}`;
  }
}

/** The CUDA plug-in beside the addon, or undefined when there is none. */
export function cudaLibrary(root: string = PACKAGE): string | undefined {
  for (const folder of addonFolders(root)) {
    const files = addonFilesIn(folder);
    if (typeof files !== 'string') return files.cuda;
  }
  return undefined;
}

/**
 * Opens libtorch and the addon.
 *
 * Throws `PLATFORM`, `LIBTORCH_NOT_FOUND`, `LIBTORCH_VERSION`, `ADDON_NOT_FOUND`, or `ALREADY_LOADED`.
 */
export function loadNative(options: LoadNativeOptions = {}): NativeAddon {
  checkPlatform();
  const failures: { folder: string; reason: string; error?: unknown }[] = [];
  for (const folder of addonFolders(options.root)) {
    const files = addonFilesIn(folder);
    if (typeof files === 'string') {
      failures.push({ folder, reason: files });
      continue;
    }
    openLibtorch(files, options.libtorch);
    try {
      return createRequire(import.meta.url)(files.addon) as NativeAddon;
    } catch (error) {
      if (StyleClipError.is(error)) throw StyleClipError.from(error, 'ADDON_NOT_FOUND', '', '');
      failures.push({ folder, reason: firstLine(error), error });
    }
  }
  const list = failures.map(({ folder, reason }) => `  ${folder}: ${reason}`).join('\n');
  const cause = failures.find(({ error }) => error !== undefined)?.error;
  throw new StyleClipError('ADDON_NOT_FOUND', `The native part of styleclip cannot be opened. Tried:\n${list}`, {
    remedy:
      'Install the package again; on a platform without a built one, clone the repository and run `npm run build`. ' +
      '`npx styleclip doctor` shows more.',
    ...(cause === undefined ? {} : { cause }),
  });
}

/** Throws `PLATFORM` where the native part cannot run. */
export function checkPlatform(): void {
  const { platform, arch } = process;
  const remedy = 'styleclip runs on Linux x64 with glibc, with Node.js 20.19 or newer (arm64 builds are not tested).';
  if (platform !== 'linux' || (arch !== 'x64' && arch !== 'arm64')) {
    throw new StyleClipError('PLATFORM', `There is no styleclip for ${platform}-${arch}.`, { remedy });
  }
  const napi = Number(process.versions.napi);
  if (!(napi >= NAPI)) {
    const message = `Node.js ${process.versions.node} offers Node-API ${napi}; ${NAPI} is needed.`;
    throw new StyleClipError('PLATFORM', message, { remedy });
  }
  if (readElf(process.execPath).needed.some((name) => name.startsWith('libc.musl'))) {
    throw new StyleClipError('PLATFORM', 'libtorch needs glibc; this Node.js is built on musl.', { remedy });
  }
}

/** Finds libtorch, opens it, and makes sure that it is the only one in the process. */
function openLibtorch(files: AddonFiles, libtorch: string | undefined): void {
  let found;
  try {
    found = requireLibtorch({ builtWith: files.builtWith, ...(libtorch === undefined ? {} : { libtorch }) });
  } catch (error) {
    throw StyleClipError.from(error, 'LIBTORCH_NOT_FOUND', firstLine(error), 'Run `npx styleclip setup`.');
  }
  const { files: libraries, missing } = librariesToOpen(found.directory);
  const ours = libraries.filter(isTorchLibrary);
  refuseForeign(ours);
  try {
    preload(files.preload).open(libraries);
  } catch (error) {
    const lacks = missing.length > 0 ? ` It needs ${missing.join(', ')}, not found beside it.` : '';
    throw new StyleClipError('LIBTORCH_NOT_FOUND', `libtorch at ${found.directory} cannot be opened.${lacks}`, {
      remedy: 'Run `npx styleclip setup` to fetch a complete one.',
      cause: error,
    });
  }
  refuseForeign(ours);
}

function preload(file: string): { open(libraries: string[]): void } {
  const module = { exports: {} as { open(libraries: string[]): void } };
  process.dlopen(module, file);
  return module.exports;
}

/** Throws when a libtorch from elsewhere is mapped: the addon would be bound to it, whatever its version. */
function refuseForeign(ours: string[]): void {
  const foreign = mappedLibraries().find((file) => isTorchLibrary(file) && !ours.includes(file));
  if (foreign === undefined) return;
  throw new StyleClipError(
    'LIBTORCH_VERSION',
    `Another libtorch is open in this process: ${foreign}; this package needs ${ours.join(' and ')}.`,
    {
      remedy:
        'Load only one package that brings libtorch, or let both use the same one: ' +
        `set STYLECLIP_LIBTORCH to ${dirname(dirname(foreign))} if its version fits.`,
    },
  );
}

function isTorchLibrary(file: string): boolean {
  return /^lib(torch_cpu|c10)\.so/.test(basename(file));
}

/** Files mapped into this process. */
function mappedLibraries(): string[] {
  const lines = readFileSync('/proc/self/maps', 'utf8').split('\n');
  const files = lines.map((line) => line.slice(line.indexOf('/')).replace(/ \(deleted\)$/, ''));
  return [...new Set(files)].filter((file) => file.startsWith('/'));
}

function firstLine(error: unknown): string {
  return (error instanceof Error ? error.message : String(error)).split('\n')[0] ?? '';
}
