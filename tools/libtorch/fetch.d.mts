/** What would be fetched, for the question that is asked first. */
export interface Plan {
  title: string;
  wheels: { file: string; bytes: number | undefined; licence: string }[];
  /** Of all downloads, as far as known. */
  bytes: number;
  destination: string;
}

export interface FetchProgress {
  phase: string;
  /** Bytes so far, and in all where that is known. */
  done: number;
  total: number | undefined;
}

export interface FetchOptions {
  /** Of torch; the pinned one by default. */
  version?: string;
  /** Bring libtorch_cuda, the libraries it needs, and the CUDA compiler. */
  cuda?: boolean;
  /** A wheel, a libtorch archive, or a directory of wheels; nothing is downloaded. */
  from?: string;
  env?: NodeJS.ProcessEnv;
  /** Asked before anything is downloaded; false stops. */
  confirm?: (plan: Plan) => Promise<boolean> | boolean;
  onProgress?: (progress: FetchProgress) => void;
  log?: (line: string) => void;
  /** For tests: bytes free in a directory. */
  freeBytes?: (directory: string) => Promise<number>;
}

export interface Installed {
  /** The directory with lib/ and include/. */
  path: string;
  version: string;
  variant: string;
  /** Of the torch wheel. */
  sha256: string;
  /** Unpacked. */
  bytes: number;
}

export function fetchLibtorch(options?: FetchOptions): Promise<Installed>;

/** Returns the directory with bin/nvcc. */
export function fetchCudaCompiler(version: string, options?: FetchOptions): Promise<string>;
