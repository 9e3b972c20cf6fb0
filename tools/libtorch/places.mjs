/*
 * Where things are kept on the user's machine. One cache directory, shared by all copies of the package; inside it a
 * directory per libtorch version in the wheel's own layout (torch/lib beside nvidia/cu13/lib), since that is where the
 * libraries' run paths look.
 */
import { homedir } from 'node:os';
import { isAbsolute, join, resolve } from 'node:path';

/** The libtorch version that set-up fetches. */
export const PINNED_TORCH = '2.13.0';

/** Versions this package builds against, as [major, minor]: the first and the last. */
export const SUPPORTED_TORCH = Object.freeze({
  first: /** @type {const} */ ([2, 11]),
  last: /** @type {const} */ ([2, 15]),
});

/**
 * The cache directory: `STYLECLIP_CACHE`, else `$XDG_CACHE_HOME/styleclip`, else `~/.cache/styleclip`.
 * @param {NodeJS.ProcessEnv} [env]
 * @returns {string}
 */
export function cacheDirectory(env = process.env) {
  if (env.STYLECLIP_CACHE) return resolve(env.STYLECLIP_CACHE);
  const base = env.XDG_CACHE_HOME;
  // The XDG specification has relative paths ignored.
  return join(base !== undefined && isAbsolute(base) ? base : join(homedir(), '.cache'), 'styleclip');
}

/**
 * The directory of one fetched libtorch; its `torch` folder holds lib/ and include/.
 * @param {string} cache
 * @param {string} version with its local part, for example `2.13.0+cu130`
 */
export function libtorchRoot(cache, version) {
  return join(cache, `libtorch-${version}`);
}

/**
 * The directory that set-up unpacks the CUDA compiler into.
 * @param {string} cache
 * @param {string} version major.minor, for example `13.0`
 */
export function cudaCompilerRoot(cache, version) {
  return join(cache, `cuda-compiler-${version}`);
}

/**
 * The directory with bin/nvcc below a {@link cudaCompilerRoot}.
 * @param {string} root
 * @param {string} version
 */
export function cudaCompilerIn(root, version) {
  return join(root, 'nvidia', `cu${version.split('.')[0]}`);
}

/**
 * Major and minor of a version, or undefined when the text is no version.
 * @param {string} version
 * @returns {[number, number] | undefined}
 */
export function majorMinor(version) {
  const match = /^(\d+)\.(\d+)(?:\D|$)/.exec(version);
  return match ? [Number(match[1]), Number(match[2])] : undefined;
}

/**
 * Whether sources build against this libtorch version.
 * @param {string} version
 */
export function isSupportedTorch(version) {
  const parts = majorMinor(version);
  if (!parts) return false;
  const [first, last] = [SUPPORTED_TORCH.first, SUPPORTED_TORCH.last];
  return parts[0] === first[0] && parts[1] >= first[1] && parts[1] <= last[1];
}
