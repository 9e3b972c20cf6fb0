// The native addon, loaded at the first use and never before: importing the package costs nothing and cannot fail.

import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { defaultThreads, libtorchOption, log, settingsUsed } from './configure.js';
import { StyleClipError } from './errors.js';
import { cudaLibrary, loadNative } from './load.js';
import type { NativeAddon } from './native.js';
import { nativeError } from './signals.js';

let addon: NativeAddon | undefined;
let found: Promise<string[]> | undefined;

/** The addon. Throws `LIBTORCH_NOT_FOUND`, `LIBTORCH_VERSION`, `ADDON_NOT_FOUND`, `PLATFORM` or `ALREADY_LOADED`. */
export function native(): NativeAddon {
  if (addon !== undefined) return addon;
  const threads = defaultThreads();
  const libtorch = libtorchOption();
  const loaded = loadNative(libtorch === undefined ? {} : { libtorch });
  try {
    loaded.configure({ threads });
  } catch (e) {
    throw nativeError(e);
  }
  settingsUsed();
  addon = loaded;
  return addon;
}

/** A file that comes with the package, by its path from the package's folder. */
export function packageFile(path: string): string {
  return fileURLToPath(new URL(`../${path}`, import.meta.url));
}

/** Versions of the package, of the libtorch in use and the one compiled against, and of Node-API. Loads the native part. */
export function versions(): NativeAddon['versions'] {
  return { ...native().versions };
}

/**
 * Devices usable now: `['cpu']`, or `['cpu', 'cuda:0', …]`. Loads the native part, and opens the CUDA plug-in where it was
 * built; where that cannot be opened (libtorch's CUDA half is not installed, say) there is the CPU, and the logger is told
 * why (a warning where there is an NVIDIA driver, else a note for debugging). Loading a model on `'cuda'` rejects with the reason (`DEVICE`).
 */
export async function devices(): Promise<string[]> {
  try {
    return await openCuda();
  } catch (e) {
    if (!StyleClipError.is(e) || e.code !== 'ERR_STYLECLIP_DEVICE') throw e;
    // News only where there is a GPU to be had.
    log(hasNvidiaDriver() ? 'warn' : 'debug', `CUDA is not used: ${e.message}`);
  }
  try {
    return await native().devices('');
  } catch (e) {
    throw nativeError(e);
  }
}

/** Whether NVIDIA's kernel driver is loaded, or handed into this container. */
function hasNvidiaDriver(): boolean {
  return ['/dev/nvidiactl', '/proc/driver/nvidia/version', '/dev/dxg'].some((path) => existsSync(path));
}

/** Opens the CUDA plug-in, where there is one, before a model is loaded that may go to a GPU. */
export async function openDevices(device: string): Promise<void> {
  if (device === 'cpu' || cudaLibrary() === undefined) return;
  if (device === 'auto') await devices();
  else await openCuda();
}

/** The devices with the plug-in open; `DEVICE` when it is there and cannot be opened. */
async function openCuda(): Promise<string[]> {
  const loaded = native();
  found ??= loaded.devices(cudaLibrary() ?? '');
  try {
    return [...(await found)];
  } catch (e) {
    found = undefined;
    throw nativeError(e);
  }
}
