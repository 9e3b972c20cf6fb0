// The one door to the native addon: its raw interface, typed by hand. Nothing outside the package sees these types; the
// public classes are built on them. Every asynchronous function copies its inputs before it returns, runs on the device
// thread, and rejects with a plain Error that carries `code`, `remedy` and `causeText`; errors.ts turns that into a
// StyleClipError. A cancelled call rejects with code 'ABORTED' (signals.ts rejects with signal.reason instead).

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

export interface NativeSweepOptions extends NativeSampleSettings {
  /** A name of the core's `sweep_methods()`. Default 'reference'. */
  method?: string;
  images: number;
  sigmas: number;
  perturb: 'absolute' | 'relative';
  layers: string[];
  /** Flat S indices of `layers`, ascending; left out or empty: all of them. */
  channels?: Int32Array;
  preprocess: 'float' | 'reference8';
  noise: NativeNoise;
  /** Of the exact sweep's activations. Default 'float32'; the reference uses the models' own. */
  precision?: 'float32' | 'tf32' | 'float16' | 'bfloat16';
  /** Of the method 'stop-at'. */
  stopAt?: number | undefined;
  /** Of the method 'adaptive'. */
  cosine?: number | undefined;
  confidence?: number | undefined;
  batch: number;
  memoryBytes: number;
}

/** Wanted: `beta` where it is there, the automatic one's where `automatic`, else `channels`. */
export interface NativeScreenOptions {
  text: Float32Array;
  channels: number;
  automatic: boolean;
  beta?: number;
  margin: number;
  /** 0: chosen. */
  probes: number;
  confidence: number;
}

export interface NativeRelevance {
  channels: Int32Array;
  rows: NativeTensor<Float32Array>;
  concentration: Float32Array;
  magnitude: Float32Array;
  counts: Int32Array;
  images: number;
  /** What computed it: one of `sweep_methods()`. */
  implementation: string;
  seconds: number;
}

/** What plan.json of a directory says. */
export interface NativePlan {
  /** Its settings, JSON in snake case. */
  settings: string;
  layout: NativeLayout;
  statistics: NativeStatistics;
  /** Shards in all, and those that are there by name. */
  shards: number;
  present: number;
}

export interface NativeShard {
  id: string;
  file: string;
  channels: Int32Array;
  firstImage: number;
  images: number;
  resumed: boolean;
  batch: number;
  rendered: number;
  done: number;
  total: number;
  /** '' when there is nothing to say. */
  warning: string;
}

export interface NativeDirectionOptions {
  /** < 0: automatic. */
  beta: number;
  /** 0: by beta. */
  channels: number;
  automaticChannels: number;
  measure: 'cosine' | 'projection';
  scaleBySigma: boolean;
  normaliseLargest: boolean;
}

export interface NativeGlobalDirection {
  selected: { row: number; channel: number; relevance: number; delta: number }[];
  delta: Float32Array;
  beta: number;
  largest: number;
}

export interface NativeOptimizerOptions {
  space: 'w' | 'w_plus' | 's';
  layers: string[];
  lambdaClip: number;
  lambdaL2: number;
  lambdaId: number;
  l2Mean: boolean;
  clipInput: 'normalised' | 'raw';
  noise: NativeNoise;
  steps: number;
  learningRate: number;
  inSigmas: boolean;
  idleFirstStep: boolean;
  /** 0: none. */
  patience: number;
  tolerance: number;
  restarts: number;
  spread: number;
  seed: bigint;
  /** 0: by memory. */
  batch: number;
}

/** Of a run: rows are problems × restarts. */
export interface NativeOptimizerState {
  point: NativeTensor<Float32Array>;
  firstMoment: NativeTensor<Float32Array>;
  secondMoment: NativeTensor<Float32Array>;
  best: NativeTensor<Float32Array>;
  bestTotal: NativeTensor<Float64Array>;
  bestStep: NativeTensor<BigInt64Array>;
  /** [rows, total clip l2 id, steps + 1] */
  curves: NativeTensor<Float64Array>;
  /** 0 running, 1 all steps, 2 plateau, 3 not finite, 4 exploded. */
  reason: NativeTensor<BigInt64Array>;
  mark: NativeTensor<Float64Array>;
  step: number;
}

export interface NativeEncoderTraining {
  steps: number;
  batch: number;
  /** 0: all. */
  imageBatch: number;
  optimizer: 'adam' | 'ranger';
  learningRate: number;
  warmUp: number;
  lambdaLatent: number;
  lambdaImage: number;
  lambdaId: number;
  lambdaClip: number;
  lambdaDelta: number;
  truncationPsi: number;
  mixing: number;
  augmentation: number;
  clipGradient: number;
  bfloat16: boolean;
  validation: number;
  seed: bigint;
}

export interface NativeEncoderLoss {
  total: number;
  latent: number;
  /** Mean square, scale [-1, 1]. */
  image: number;
  id: number;
  clip: number;
  delta: number;
}

export interface NativeEncoderProgress {
  loss: NativeEncoderLoss;
  step: number;
  bestStep: number;
  /** Lowest held-out error so far; Infinity before the first validation. */
  best: number;
}

export type NativeFeature = 'none' | 'clip' | 'identity' | 'perceptual';

export interface NativeInverterOptions {
  wPlus: boolean;
  steps: number;
  learningRate: number;
  rateInSigmas: boolean;
  ramp: boolean;
  latentNoise: number;
  noiseMaps: boolean;
  lambdaNoise: number;
  lambdaPixel: number;
  lambdaPooled: number;
  lambdaFeature: number;
  lambdaStart: number;
  seed: bigint;
  /** 0: by memory. */
  batch: number;
  feature: NativeFeature;
}

export interface NativeInverterResult {
  latents: NativeTensor<Float32Array>;
  noise: NativeTensor<Float32Array>[];
  /** [n, total pixel pooled feature noise start, steps + 1]; NaN where not reached. */
  curves: NativeTensor<Float64Array>;
  bestStep: NativeTensor<BigInt64Array>;
  /** 0 running, 1 all steps, 2 not finite, 3 exploded. */
  end: NativeTensor<BigInt64Array>;
}

export interface NativeTunerOptions {
  steps: number;
  learningRate: number;
  lambdaPixel: number;
  lambdaFeature: number;
  /** 0: never. */
  enough: number;
  /** 0: none. */
  lambdaLocality: number;
  localityDistance: number;
  /** Of the latents that locality is asked at. */
  seed: bigint;
  batch: number;
  feature: NativeFeature;
}

/** What a run goes on from, by the core's names. */
export type NativeState = Record<string, NativeTensor<Float32Array | Float64Array | BigInt64Array>>;

export interface NativeInversionStep {
  running: boolean;
  step: number;
  /** Mean of the last totals; NaN before the first. */
  loss: number;
}

export interface NativeMapperOptions {
  lambdaClip: number;
  lambdaL2: number;
  lambdaId: number;
  clipInput: 'normalised' | 'raw';
  noise: NativeNoise;
  /** 0: the texts are the aims. */
  shift: number;
  optimizer: 'ranger' | 'adam';
  learningRate: number;
  steps: number;
  batch: number;
  seed: bigint;
  truncationPsi: number;
  validateEvery: number;
}

export interface NativeMapperLogEntry {
  /** Of a validation: the updates before it. */
  step: number;
  validation: boolean;
  best: boolean;
  total: number;
  clip: number;
  l2: number;
  id: number;
}

/** Where a training is; its log tells of what happened since it was last read. */
export interface NativeMapperSituation {
  running: boolean;
  end: 'running' | 'steps' | 'not-finite' | 'exploded';
  step: number;
  bestStep: number;
  best: number;
  log: NativeMapperLogEntry[];
}

export interface NativeMapperState {
  tensors: Record<string, NativeTensor<Float32Array>>;
  step: number;
  /** -1: no validation yet. */
  bestStep: number;
  validated: number;
  best: number;
  first: number;
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
