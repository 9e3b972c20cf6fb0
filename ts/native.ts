// The one door to the native addon: its raw interface, typed by hand. Nothing outside the package sees these types; the
// public classes are built on them. Every asynchronous function copies its inputs before it returns, runs on the device
// thread, and rejects with a plain Error that carries `code`, `remedy` and `causeText`; errors.ts turns that into a
// StyleClipError. A cancelled call rejects with code 'ABORTED' (signals.ts rejects with signal.reason instead).

import type {
  NativeDirectionOptions,
  NativeGlobalDirection,
  NativePlan,
  NativeRelevance,
  NativeScreenOptions,
  NativeShard,
  NativeSweepOptions,
} from './native-relevance.js';
import type {
  NativeEncoderProgress,
  NativeEncoderTraining,
  NativeInversionStep,
  NativeInverterOptions,
  NativeInverterResult,
  NativeMapperOptions,
  NativeMapperSituation,
  NativeMapperState,
  NativeOptimizerOptions,
  NativeOptimizerState,
  NativeState,
  NativeTunerOptions,
} from './native-runs.js';
import type {
  NativeCancel,
  NativeFound,
  NativeLeaf,
  NativeModel,
  NativeNoise,
  NativePart,
  NativeRun,
  NativeSampleSettings,
  NativeSource,
  NativeStatistics,
  NativeTensor,
} from './native-types.js';

export type * from './native-relevance.js';
export type * from './native-runs.js';
export type * from './native-types.js';

export interface NativeAddon {
  readonly versions: { styleclip: string; torch: string; builtTorch: string; napi: number };

  /** Before the first model; 0 keeps the default. Process-wide, the first call wins over later ones of other environments. */
  configure(options: { threads: number }): void;
  /** Devices usable now: ['cpu'] or ['cpu', 'cuda:0', …]; cudaLibrary is the path of styleclip_cuda.so, '' for none. */
  devices(cudaLibrary: string): Promise<string[]>;
  createCancel(): NativeCancel;
  /**
   * Drops this environment's queued calls, stops its running one, waits for it (one batch at most), frees its models; from
   * then on calls are refused. Idempotent. The addon runs it by itself on 'exit' and when its environment is torn down.
   */
  drain(): void;
  /** Calls pending in this environment. */
  pending(): number;

  /** Reads an archive's description without loading it. */
  describe(file: string): Promise<{ kind: string; description: string; bytes: number; sha256: string }>;
  make(
    request: {
      kind: 'stylegan2' | 'clip' | 'ir-se' | 'e4e' | 'mapper';
      config: string;
      /** A .safetensors file with weights under the field's names; '' draws random ones. */
      weights: string;
      seed: bigint;
      storageDtype: 'float32' | 'float16' | 'bfloat16';
      licence: string;
      tokenizer: string;
      file: string;
    },
    run: NativeRun,
  ): Promise<{ description: string; parameters: number; bytes: number; sha256: string }>;

  /** What a checkpoint is; nothing of it is run. */
  inspectCheckpoint(
    file: string,
    run: NativeRun,
  ): Promise<NativeSource & { parts: NativePart[]; /** What it holds, in words. */ outline: string }>;
  /** The first half of an import. '' for configPath and activation: not given. */
  findModel(
    file: string,
    options: { kind: NativePart['kind'] | 'auto'; configPath: string; activation: string },
    run: NativeRun,
  ): Promise<NativeFound>;
  /** The second half: writes the archive, atomically. Takes a found model's handle, once. */
  writeModel(
    handle: unknown,
    options: {
      storageDtype: 'source' | 'float32' | 'float16' | 'bfloat16';
      licence: string;
      tokenizer: string;
      file: string;
    },
    run: NativeRun,
  ): Promise<{ layers: number; parameters: number; bytes: number; sha256: string; description: string }>;
  /** Numbers, texts and tensors of a data file, whatever its container. */
  readData(file: string, run: NativeRun): Promise<NativeSource & { leaves: NativeLeaf[] }>;

  load(
    file: string,
    options: { kind: NativeModel['kind']; device: string; dtype: string; trust: boolean },
    run: NativeRun,
  ): Promise<NativeModel>;
  runMethod(model: NativeModel, method: string, inputs: NativeTensor[], run: NativeRun): Promise<NativeTensor[]>;

  // Generator. z [n,z], w [n,w], w_plus [n,rows,w], s [n,total], all float32.
  sample(
    model: NativeModel,
    options: NativeSampleSettings & {
      count: number;
      first: number;
      space: 'z' | 'w' | 'w_plus' | 's';
      /** [1 or count, label width], for a conditional generator. */
      labels?: NativeTensor<Float32Array> | undefined;
    },
    run: NativeRun,
  ): Promise<NativeTensor<Float32Array>>;
  mapping(
    model: NativeModel,
    z: NativeTensor<Float32Array>,
    options: { labels?: NativeTensor<Float32Array> | undefined },
    run: NativeRun,
  ): Promise<NativeTensor<Float32Array>>;
  truncate(
    model: NativeModel,
    w: NativeTensor<Float32Array>,
    options: { truncationPsi: number; truncationCutoff: number },
    run: NativeRun,
  ): Promise<NativeTensor<Float32Array>>;
  styles(model: NativeModel, wPlus: NativeTensor<Float32Array>, run: NativeRun): Promise<NativeTensor<Float32Array>>;
  /** as 'uint8': [n,h,w,3]; 'float32': [n,3,h,w]. */
  synthesize(
    model: NativeModel,
    s: NativeTensor<Float32Array>,
    options: { noise: NativeNoise; noiseSeed: bigint; batch: number; as: 'uint8' | 'float32' },
    run: NativeRun,
  ): Promise<NativeTensor<Uint8Array | Float32Array>>;
  statistics(
    model: NativeModel,
    options: NativeSampleSettings & { samples: number },
    run: NativeRun,
  ): Promise<NativeStatistics>;
  edit(
    model: NativeModel,
    s: NativeTensor<Float32Array>,
    delta: Float32Array,
    options: { alpha: Float64Array; batch: number; noise: NativeNoise; as: 'uint8' | 'float32' },
    run: NativeRun,
  ): Promise<{ images: NativeTensor<Uint8Array | Float32Array>; s: NativeTensor<Float32Array> }>;

  // CLIP. tokens int32 [n, context]; images uint8 [n,h,w,3] or float32 [n,3,h,w] in [-1,1]; embeddings not normalised.
  encodeText(model: NativeModel, tokens: NativeTensor<Int32Array>, run: NativeRun): Promise<NativeTensor<Float32Array>>;
  encodeImage(
    model: NativeModel,
    images: NativeTensor<Uint8Array | Float32Array>,
    options: { preprocess: 'float' | 'reference8'; batch: number },
    run: NativeRun,
  ): Promise<NativeTensor<Float32Array>>;
  textDirection(
    model: NativeModel,
    target: NativeTensor<Int32Array>,
    neutral: NativeTensor<Int32Array>,
    run: NativeRun,
  ): Promise<{ direction: Float32Array; length: number; target: Float32Array; neutral: Float32Array }>;

  // Identity [n,d] unit embeddings; encoder [n,rows,w].
  embed(
    model: NativeModel,
    images: NativeTensor<Uint8Array | Float32Array>,
    run: NativeRun,
  ): Promise<NativeTensor<Float32Array>>;
  encode(
    model: NativeModel,
    images: NativeTensor<Uint8Array | Float32Array>,
    run: NativeRun,
  ): Promise<NativeTensor<Float32Array>>;

  /** [n]: distances of two batches of one size. */
  perceptualDistance(
    model: NativeModel,
    images: NativeTensor<Uint8Array | Float32Array>,
    others: NativeTensor<Uint8Array | Float32Array>,
    run: NativeRun,
  ): Promise<NativeTensor<Float32Array>>;

  /** Mapper. latents + 0.1 · strength · M(latents): w_plus [n,rows,w] or s [n,total]. */
  map(
    model: NativeModel,
    latents: NativeTensor<Float32Array>,
    options: { strength: number },
    run: NativeRun,
  ): Promise<NativeTensor<Float32Array>>;

  sweep(
    generator: NativeModel,
    clip: NativeModel,
    statistics: NativeStatistics,
    options: NativeSweepOptions,
    run: NativeRun,
  ): Promise<NativeRelevance>;

  screen(
    generator: NativeModel,
    clip: NativeModel,
    statistics: NativeStatistics,
    options: NativeSweepOptions,
    screen: NativeScreenOptions,
    run: NativeRun,
  ): Promise<NativeRelevance & { of: number; candidates: number; probes: number }>;

  /** Goes on with the sweep in a directory, or plans one. `shards`: of this share. */
  openSweep(
    generator: NativeModel,
    clip: NativeModel,
    statistics: NativeStatistics,
    options: NativeSweepOptions & { directory: string; part: number; parts: number },
    run: NativeRun,
  ): Promise<{ handle: unknown; shards: number }>;
  /** The next shard, on the disk; undefined after the last one. After a rejection the same one is next again. */
  nextShard(handle: unknown, run: NativeRun): Promise<NativeShard | undefined>;
  /** Frees what the sweep holds. Idempotent. */
  closeSweep(handle: unknown): Promise<void>;
  sweepPlan(directory: string): Promise<NativePlan | undefined>;
  mergeSweep(
    directory: string,
    run: NativeRun,
  ): Promise<{ plan: NativePlan; relevance: NativeRelevance; /** Kinds, one or more. */ machines: string[] }>;

  /** latents [n, …] of the space, texts [1 or n, texts, dim]; gives a handle. */
  openOptimizer(
    generator: NativeModel,
    clip: NativeModel,
    identity: NativeModel | undefined,
    latents: NativeTensor<Float32Array>,
    texts: NativeTensor<Float32Array>,
    options: NativeOptimizerOptions,
    run: NativeRun,
  ): Promise<unknown>;
  /** Up to `steps` updates. `best`: lowest total of each row so far. */
  advanceOptimizer(
    handle: unknown,
    steps: number,
    run: NativeRun,
  ): Promise<{ running: boolean; step: number; best: Float64Array }>;
  optimizerState(handle: unknown): Promise<NativeOptimizerState>;
  restoreOptimizer(handle: unknown, state: NativeOptimizerState): Promise<void>;
  /** [rows, …]: where the rows are, or where their totals were lowest. */
  optimizerLatents(handle: unknown, best: boolean): Promise<NativeTensor<Float32Array>>;
  /** Frees what the run holds. Idempotent. */
  closeOptimizer(handle: unknown): Promise<void>;

  /** Gives a handle. The models stay open as long as it is used. */
  openEncoderTraining(
    generator: NativeModel,
    encoder: NativeModel,
    clip: NativeModel | undefined,
    identity: NativeModel | undefined,
    options: NativeEncoderTraining,
    run: NativeRun,
  ): Promise<unknown>;
  /** Up to `steps` updates; their mean loss. */
  advanceEncoderTraining(handle: unknown, steps: number, run: NativeRun): Promise<NativeEncoderProgress>;
  /** Held-out losses; keeps the weights where they are the best so far. */
  validateEncoder(handle: unknown, run: NativeRun): Promise<NativeEncoderProgress>;
  encoderTrainingState(handle: unknown): Promise<NativeState>;
  restoreEncoderTraining(handle: unknown, state: NativeState): Promise<void>;
  writeTrainedEncoder(
    handle: unknown,
    options: { file: string; best: boolean; storageDtype: string; licence: string },
    run: NativeRun,
  ): Promise<{ bytes: number; sha256: string; parameters: number }>;
  /** Frees what the training holds. Idempotent. */
  closeEncoderTraining(handle: unknown): Promise<void>;

  /** Pictures of the generator's size; `start` of the space, or the mean w. Gives a handle. */
  openInverter(
    generator: NativeModel,
    network: NativeModel | undefined,
    images: NativeTensor<Uint8Array | Float32Array>,
    start: NativeTensor<Float32Array> | undefined,
    options: NativeInverterOptions,
    run: NativeRun,
  ): Promise<unknown>;
  advanceInverter(handle: unknown, steps: number, run: NativeRun): Promise<NativeInversionStep>;
  /** Where the loss was lowest, or where it is now. */
  inverterResult(handle: unknown, best: boolean): Promise<NativeInverterResult>;
  inverterState(handle: unknown): Promise<NativeState>;
  restoreInverter(handle: unknown, state: NativeState): Promise<void>;
  closeInverter(handle: unknown): Promise<void>;
  /** `generator` is changed. */
  openTuner(
    generator: NativeModel,
    network: NativeModel | undefined,
    images: NativeTensor<Uint8Array | Float32Array>,
    wPlus: NativeTensor<Float32Array>,
    noise: NativeTensor<Float32Array>[] | undefined,
    options: NativeTunerOptions,
    run: NativeRun,
  ): Promise<unknown>;
  advanceTuner(handle: unknown, steps: number, run: NativeRun): Promise<NativeInversionStep>;
  /** Of the present weights, or those of the lowest total. `curve`: [evaluations, total pixel feature locality]. */
  tunerResult(
    handle: unknown,
    best: boolean,
  ): Promise<{
    difference: Record<string, NativeTensor<Float32Array>>;
    curve: NativeTensor<Float64Array>;
  }>;
  tunerState(handle: unknown): Promise<NativeState>;
  restoreTuner(handle: unknown, state: NativeState): Promise<void>;
  closeTuner(handle: unknown): Promise<void>;
  /** Adds to the generator's weights. */
  applyDifference(generator: NativeModel, difference: Record<string, NativeTensor<Float32Array>>): Promise<void>;
  /** float32 pictures; maps [1 or n, 1, r, r]. */
  synthesizeNoise(
    generator: NativeModel,
    s: NativeTensor<Float32Array>,
    noise: NativeTensor<Float32Array>[],
    run: NativeRun,
  ): Promise<NativeTensor<Float32Array>>;
  /** Trains the mapper's own weights. texts [texts, dim], latents and validation [n, …]; gives a handle. */
  openMapperTraining(
    generator: NativeModel,
    clip: NativeModel,
    identity: NativeModel | undefined,
    mapper: NativeModel,
    texts: NativeTensor<Float32Array>,
    latents: NativeTensor<Float32Array> | undefined,
    validation: NativeTensor<Float32Array>,
    options: NativeMapperOptions,
    run: NativeRun,
  ): Promise<unknown>;
  /** Up to `steps` updates. A loss that is no number ends the run, not the call. */
  advanceMapperTraining(handle: unknown, steps: number, run: NativeRun): Promise<NativeMapperSituation>;
  mapperTrainingState(handle: unknown): Promise<NativeMapperState & { situation: NativeMapperSituation }>;
  restoreMapperTraining(handle: unknown, state: NativeMapperState): Promise<void>;
  /** The archive of the best weights; `training` is JSON. */
  writeTrainedMapper(handle: unknown, options: { file: string; licence: string; training: string }): Promise<void>;
  /** Frees what the run holds. Idempotent. */
  closeMapperTraining(handle: unknown): Promise<void>;

  /** Synchronous, no libtorch: a matrix-vector product and a sort. Throws like the others reject. */
  globalDirection(
    relevance: {
      rows: NativeTensor<Float32Array>;
      channels: Int32Array;
      concentration: Float32Array;
      sigma: Float32Array;
    },
    text: Float32Array,
    options: NativeDirectionOptions,
  ): NativeGlobalDirection;
}
