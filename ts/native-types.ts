// What every part of the native interface passes: arrays, runs, models and their settings, and what an import finds. Types
// only; native.ts is where the interface stands.

/** An array with its shape; the border between JavaScript and the core. Owned copies both ways. */
export interface NativeTensor<T extends NativeArray = NativeArray> {
  data: T;
  shape: number[];
  /** Of a Uint16Array: which bits it holds. Always there on results; 'float16' where an input leaves it out. */
  dtype?: 'float16' | 'bfloat16';
}
export type NativeArray =
  | Float32Array
  | Float64Array
  | Uint8Array
  | Int32Array
  | BigInt64Array
  /** float16 and bfloat16 bits; which one is said in `dtype` where it matters. */
  | Uint16Array;

export interface NativeProgress {
  phase: string;
  done: number;
  total: number;
  unit: string;
  rate: number;
  /** NaN while unknown. */
  secondsLeft: number;
  detail: Record<string, number>;
}

/** Stops the calls that were given it, within one batch. */
export interface NativeCancel {
  abort(): void;
}

export interface NativeRun {
  cancel?: NativeCancel;
  /** Coalesced: the newest report wins; never called after the promise settled. */
  onProgress?: (progress: NativeProgress) => void;
}

/** A loaded model. Owned by the environment that loaded it. */
export interface NativeModel {
  readonly kind: 'generator' | 'clip' | 'identity' | 'encoder' | 'mapper' | 'perceptual' | 'module';
  /** The archive's styleclip.json. */
  readonly description: string;
  /** tokenizer.json of a clip archive, else ''. */
  readonly tokenizer: string;
  readonly file: string;
  readonly sha256: string;
  readonly device: string;
  readonly dtype: string;
  readonly memoryBytes: number;
  readonly closed: boolean;
  /** Frees the native memory after the running call; later calls reject with CLOSED. Idempotent. */
  close(): Promise<void>;
  /** Generators only. */
  readonly layout?: NativeLayout;
}

export interface NativeLayout {
  layers: { name: string; resolution: number; channels: number; toRgb: boolean; wRow: number; offset: number }[];
  rows: number;
  total: number;
  convChannels: number;
  torgbChannels: number;
}

export type NativeNoise = 'const' | 'random' | 'none';

export interface NativeStatistics {
  mean: Float32Array;
  sigma: Float32Array;
  samples: number;
}

export interface NativeSampleSettings {
  seed: bigint;
  truncationPsi: number;
  /** < 0: all rows. */
  truncationCutoff: number;
}

/** A checkpoint file, as every function that reads one tells of it. */
export interface NativeSource {
  /** 'torch zip', 'pickle', … */
  container: string;
  sha256: string;
  bytes: number;
}

/** A model inside a checkpoint. */
export interface NativePart {
  kind: 'generator' | 'clip' | 'identity' | 'encoder' | 'mapper';
  /** 'rosinality', 'OpenAI CLIP (TorchScript)', … */
  format: string;
}

/** A model that was found in a checkpoint, for writeModel: once. */
export interface NativeFound extends NativeSource, NativePart {
  /** The archive's configuration, JSON. */
  config: string;
  ignored: string[];
  notes: string[];
  others: NativePart[];
  handle: unknown;
}

/** One value of a data file; `path` has the keys of dictionaries and the places in lists that lead to it. */
export interface NativeLeaf {
  path: string[];
  tensor?: NativeTensor;
  number?: number;
  text?: string;
}
