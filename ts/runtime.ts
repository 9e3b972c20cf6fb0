// The native addon, loaded at the first use and never before: importing the package costs nothing and cannot fail.

import { fileURLToPath } from 'node:url';
import { existsSync } from 'node:fs';
import { defaultThreads, libtorchOption, settingsUsed } from './configure.js';
import { loadNative } from './load.js';
import type { NativeAddon } from './native.js';
import { nativeError } from './signals.js';

let addon: NativeAddon | undefined;

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

/** Devices usable now: `['cpu']`, or `['cpu', 'cuda:0', …]`. Loads the native part. */
export async function devices(): Promise<string[]> {
  const cuda = packageFile('build/Release/styleclip_cuda.so');
  try {
    return await native().devices(existsSync(cuda) ? cuda : '');
  } catch (e) {
    throw nativeError(e);
  }
}
