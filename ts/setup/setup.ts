/*
 * `styleclip setup`: brings libtorch onto the machine. The work is done by the same scripts that set up a checkout
 * (tools/libtorch), so that both take the same files from the same places.
 */
import { fetchCudaCompiler, fetchLibtorch, type FetchProgress, type Plan } from '../../tools/libtorch/fetch.mjs';
import { StyleClipError } from '../errors.js';
import type { Progress } from '../types.js';

/** What would be fetched, for the question that is asked first. */
export type SetupPlan = Plan;

/** Options of {@link runSetup}. */
export interface SetupOptions {
  /** Version of torch, 2.11 to 2.15. Default: the one that the package was built with. */
  torch?: string | undefined;
  /** Bring what a GPU needs too: libtorch_cuda, NVIDIA's libraries, and the CUDA compiler. */
  cuda?: boolean | undefined;
  /** A torch wheel, a libtorch archive, or a folder of wheels; nothing is downloaded then. */
  from?: string | undefined;
  /** Asked before anything is downloaded; false stops. Default: yes. */
  confirm?: ((plan: SetupPlan) => Promise<boolean> | boolean) | undefined;
  onProgress?: ((progress: Progress) => void) | undefined;
  /** Takes a line at each stage. */
  log?: ((line: string) => void) | undefined;
}

/** What {@link runSetup} resolves to. */
export interface SetupResult {
  libtorch: {
    /** The folder with lib/ and include/. */
    path: string;
    version: string;
    /** `cpu`, `cu130`, … */
    variant: string;
    /** Of the torch wheel. */
    sha256: string;
    /** Unpacked. */
    bytes: number;
  };
}

const MEGABYTE = 1e6;

/**
 * Fetches libtorch into the user's cache, unless it is there.
 *
 * @throws StyleClipError `LIBTORCH_NOT_FOUND` when pip is missing or finds nothing, `FILE_DAMAGED` when a checksum does not
 *   match, `DISK` when there is too little space, `ARGUMENT` for a version that is not supported, `FILE_NOT_FOUND`.
 */
export async function runSetup(options: SetupOptions = {}): Promise<SetupResult> {
  const common = {
    ...(options.confirm === undefined ? {} : { confirm: options.confirm }),
    ...(options.log === undefined ? {} : { log: options.log }),
    ...(options.onProgress === undefined ? {} : { onProgress: inMegabytes(options.onProgress) }),
  };
  try {
    const { path, version, variant, sha256, bytes } = await fetchLibtorch({
      ...common,
      cuda: options.cuda ?? false,
      ...(options.torch === undefined ? {} : { version: options.torch }),
      ...(options.from === undefined ? {} : { from: options.from }),
    });
    const cuda = /^cu(\d\d)(\d)$/.exec(variant);
    if (options.cuda && options.from === undefined && cuda) await fetchCudaCompiler(`${cuda[1]}.${cuda[2]}`, common);
    return { libtorch: { path, version, variant, sha256, bytes } };
  } catch (error) {
    const remedy = 'Run `npx styleclip doctor` and report this with what it prints.';
    throw StyleClipError.from(error, 'LIBTORCH_NOT_FOUND', 'Setting libtorch up failed.', remedy);
  }
}

/** Turns counts of bytes into the package's progress reports, a phase at a time. */
function inMegabytes(report: (progress: Progress) => void): (progress: FetchProgress) => void {
  let phase = '';
  let begun = 0;
  return (now) => {
    if (now.phase !== phase) {
      phase = now.phase;
      begun = performance.now();
    }
    const seconds = (performance.now() - begun) / 1000;
    const rate = seconds > 0 ? now.done / seconds : 0;
    report({
      phase,
      done: Math.round(now.done / MEGABYTE),
      total: Math.round((now.total ?? 0) / MEGABYTE),
      unit: 'MB',
      rate: rate / MEGABYTE,
      ...(now.total !== undefined && rate > 0 ? { secondsLeft: Math.max(0, now.total - now.done) / rate } : {}),
    });
  };
}
