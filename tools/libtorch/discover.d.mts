import type { Libtorch } from './inspect.mjs';

/** A libtorch, and which of the places it was found in. */
export interface FoundLibtorch extends Libtorch {
  source: string;
}

/** A place that did not serve, and why. `code` is the part after `ERR_STYLECLIP_`. */
export interface Attempt {
  source: string;
  /** The path looked at; empty when there was none to look at. */
  place: string;
  reason: string;
  code: string;
}

export interface DiscoverOptions {
  /** The caller's own choice; nothing else is tried when it does not fit. */
  libtorch?: string;
  /** The version that the addon was built with: major and minor must match. Without it any supported version fits. */
  builtWith?: string;
  /** Whether include/ has to be there, for building from source. */
  needHeaders?: boolean;
  env?: NodeJS.ProcessEnv;
}

/** Looks in every place, in order; `attempts` are those that did not serve. */
export function discoverLibtorch(options?: DiscoverOptions): { found: FoundLibtorch | undefined; attempts: Attempt[] };

/** As `discoverLibtorch`, but throws one error that lists every place when there is none. */
export function requireLibtorch(options?: DiscoverOptions): FoundLibtorch;
