/*
 * Finds libtorch. The order, first match wins: the caller's option, STYLECLIP_LIBTORCH, LIBTORCH, the user's cache, and,
 * only when STYLECLIP_PYTHON names an interpreter, that Python's torch. Never the dynamic linker's own directories.
 *
 * The first two are an express wish: when one of them is set and does not fit, that is an error and nothing else is tried.
 * Every place that was looked at is reported with the reason why it did not serve.
 */
import { spawnSync } from 'node:child_process';
import { readdirSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { SetupError, setupCommand } from './errors.mjs';
import { inspectLibtorch, NotLibtorch } from './inspect.mjs';
import { cacheDirectory, isSupportedTorch, majorMinor, SUPPORTED_TORCH } from './places.mjs';

/**
 * @typedef {import('./inspect.mjs').Libtorch & { source: string }} FoundLibtorch
 * @typedef {{ source: string, place: string, reason: string, code: string }} Attempt
 * @typedef {object} DiscoverOptions
 * @property {string} [libtorch] the caller's own choice
 * @property {string} [builtWith] version the addon was built with: major and minor must match; without it any supported
 * @property {boolean} [needHeaders] for building from source
 * @property {NodeJS.ProcessEnv} [env]
 */

/**
 * @param {DiscoverOptions} [options]
 * @returns {{ found: FoundLibtorch | undefined, attempts: Attempt[] }} attempts: the places that did not serve
 */
export function discoverLibtorch(options = {}) {
  const env = options.env ?? process.env;
  /** @type {Attempt[]} */
  const attempts = [];
  for (const { source, place, final, reason } of candidates(options, env)) {
    if (place !== undefined) {
      try {
        const libtorch = inspectLibtorch(resolve(place));
        refuse(libtorch, options);
        return { found: { ...libtorch, source }, attempts };
      } catch (error) {
        if (!(error instanceof NotLibtorch)) throw error;
        attempts.push({ source, place, reason: error.message, code: error.code });
        if (final) break;
      }
    } else {
      attempts.push({ source, place: '', reason: reason ?? 'not set', code: 'LIBTORCH_NOT_FOUND' });
    }
  }
  return { found: undefined, attempts };
}

/**
 * As {@link discoverLibtorch}, but throws one error that lists every place when there is none.
 * @param {DiscoverOptions} [options]
 * @returns {FoundLibtorch}
 */
export function requireLibtorch(options = {}) {
  const { found, attempts } = discoverLibtorch(options);
  if (found) return found;
  const wrongVersion = attempts.find((a) => a.code === 'LIBTORCH_VERSION');
  const list = attempts.map((a) => `  ${a.source}${a.place ? ` (${a.place})` : ''}: ${a.reason}`).join('\n');
  const wanted = options.builtWith ? `libtorch ${minorOf(options.builtWith)}` : 'libtorch';
  throw new SetupError(
    wrongVersion ? 'LIBTORCH_VERSION' : 'LIBTORCH_NOT_FOUND',
    `${wrongVersion ? `No fitting ${wanted}` : `No ${wanted}`} was found. Tried:\n${list}`,
    `Run \`${setupCommand()}\` to fetch it, or set STYLECLIP_LIBTORCH to the directory of ${wanted}.`,
  );
}

/**
 * @param {DiscoverOptions} options
 * @param {NodeJS.ProcessEnv} env
 * @returns {Generator<{ source: string, place?: string, final?: boolean, reason?: string }>}
 */
function* candidates(options, env) {
  if (options.libtorch) yield { source: 'the option libtorch', place: options.libtorch, final: true };
  if (env.STYLECLIP_LIBTORCH) yield { source: 'STYLECLIP_LIBTORCH', place: env.STYLECLIP_LIBTORCH, final: true };
  else yield { source: 'STYLECLIP_LIBTORCH' };
  yield env.LIBTORCH ? { source: 'LIBTORCH', place: env.LIBTORCH } : { source: 'LIBTORCH' };

  const cache = cacheDirectory(env);
  const cached = cachedVersions(cache);
  for (const name of cached) yield { source: 'the cache', place: join(cache, name) };
  if (cached.length === 0) yield { source: 'the cache', reason: `nothing in ${cache}` };

  if (env.STYLECLIP_PYTHON) yield pythonTorch(env.STYLECLIP_PYTHON, env);
}

/**
 * Complete libtorch directories in the cache, newest version first.
 * @param {string} cache
 */
function cachedVersions(cache) {
  /** @type {string[]} */
  let names = [];
  try {
    names = readdirSync(cache);
  } catch {
    // No cache yet.
  }
  return names
    .filter((name) => /^libtorch-\d+\.\d+/.test(name) && !name.includes('.part-'))
    .sort((a, b) => b.localeCompare(a, 'en', { numeric: true }));
}

/**
 * @param {string} python
 * @param {NodeJS.ProcessEnv} env
 */
function pythonTorch(python, env) {
  const source = 'STYLECLIP_PYTHON';
  // find_spec does not import the package, so nothing of torch runs.
  const code = 'import importlib.util as u; s = u.find_spec("torch"); print(list(s.submodule_search_locations)[0])';
  const result = spawnSync(python, ['-c', code], { encoding: 'utf8', env, timeout: 30_000 });
  if (result.error) return { source, reason: `${python} cannot be run: ${result.error.message}` };
  if (result.status !== 0) return { source, reason: `${python} has no torch` };
  return { source, place: result.stdout.trim() };
}

/**
 * @param {import('./inspect.mjs').Libtorch} libtorch
 * @param {DiscoverOptions} options
 */
function refuse(libtorch, options) {
  const { version } = libtorch;
  if (options.builtWith) {
    if (minorOf(version) !== minorOf(options.builtWith)) {
      throw new NotLibtorch(
        'LIBTORCH_VERSION',
        `is libtorch ${version}; the addon was built with ${options.builtWith} and needs ${minorOf(options.builtWith)}`,
      );
    }
  } else if (!isSupportedTorch(version)) {
    const range = `${SUPPORTED_TORCH.first.join('.')} to ${SUPPORTED_TORCH.last.join('.')}`;
    throw new NotLibtorch('LIBTORCH_VERSION', `is libtorch ${version}; ${range} are supported`);
  }
  if (options.needHeaders && !libtorch.headers) {
    throw new NotLibtorch('LIBTORCH_NOT_FOUND', 'has no include/, which building from source needs');
  }
}

/** @param {string} version */
function minorOf(version) {
  return majorMinor(version)?.join('.') ?? version;
}
