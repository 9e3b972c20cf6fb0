// The option and result types that several public classes share. Classes keep the types that only they use.

import type { NoiseMaps } from './noise-maps.js';
import type { TextDirection } from './direction.js';

/**
 * Where a model runs. `'auto'` (the default) is `'cuda'` if a CUDA device is usable, else `'cpu'`; which one it became is
 * said in `info.device`. `'cuda'` is the first CUDA device and never falls back.
 */
export type Device = 'auto' | 'cpu' | 'cuda' | `cuda:${number}`;

/** Number type that a model computes in. */
export type Dtype = 'float32' | 'float16' | 'bfloat16';

/**
 * A latent space of StyleGAN2. `z`: the normal noise; `w`: the mapping network's output; `w_plus`: one w for each style
 * input; `s`: StyleSpace, every style channel of every layer in synthesis order (arXiv 2011.12799).
 */
export type Space = 'z' | 'w' | 'w_plus' | 's';

/** Style layers: `'conv'` (6048 channels at 1024 px), `'all'` (toRGB too), or layer names such as `'b16.conv1'`. */
export type LayerSet = 'conv' | 'all' | readonly string[];

/** How the relevance of the channels is computed. `exact` has no approximation in real arithmetic. */
export type SweepMethod = 'exact' | 'reference' | 'stop-at' | 'gradient' | 'screened' | 'adaptive';

/** Noise inputs of the synthesis network: its stored maps, fresh ones from a seed, or none. */
export type NoiseMode = 'const' | 'random' | 'none';

/** `uint8`: NHWC RGB, 0..255; `float32`: NCHW RGB, nominally -1..1, not clamped. */
export type ImageType = 'uint8' | 'float32';

/** Resize to CLIP's input: on floats (antialiased bicubic), or with the released code's three 8-bit roundings. */
export type Preprocess = 'float' | 'reference8';

/** How far a long call is. Reports are coalesced: the newest wins. */
export interface Progress {
  /** What is being done: `'statistics'`, `'sweep'`, `'edit'`, … */
  phase: string;
  /** Units finished in this phase. */
  done: number;
  /** Units of this phase in all. */
  total: number;
  /** `'channels'`, `'images'`, `'samples'`, … */
  unit: string;
  /** Units a second since the phase began. */
  rate: number;
  /** Absent while it cannot be told. */
  secondsLeft?: number;
  /** Further figures of a phase, by name. */
  detail?: Record<string, number>;
}

/** What every long call takes. */
export interface RunOptions {
  /**
   * Stops the call within one batch; its promise then rejects with `signal.reason` itself, which is not a
   * {@link StyleClipError}.
   */
  signal?: AbortSignal | undefined;
  /** Called on the thread of the caller, at most about twenty times a second. If it throws, the call stops and rejects with that. */
  onProgress?: ((progress: Progress) => void) | undefined;
}

/** Anything that owns native memory. `await using x = await X.load(…)` closes it at the end of the block. */
export interface Closeable extends AsyncDisposable {
  /** Frees the native memory after the running call. Calling it again does nothing. */
  close(): Promise<void>;
  readonly closed: boolean;
}

/** How one model is loaded. */
export interface ModelOptions {
  /** Default: `configure({ device })`, else `STYLECLIP_DEVICE`, else `'auto'`. */
  device?: Device | undefined;
  /** Default `'float32'`. */
  dtype?: Dtype | undefined;
  /** An archive not written by this package holds foreign code that runs when it is loaded. Default false: refused. */
  trust?: boolean | undefined;
  signal?: AbortSignal | undefined;
}

/** What every loaded model tells of itself. */
export interface ModelInfo {
  /** The archive, as an absolute path. */
  readonly file: string;
  /** Sha256 of the archive, lower-case hexadecimal. */
  readonly sha256: string;
  /** Where it runs: `'cpu'`, `'cuda:0'`. */
  readonly device: string;
  readonly dtype: string;
  /** Parameters and buffers. */
  readonly memoryBytes: number;
  /** Licence of the weights, `'unknown'` where the archive does not say. */
  readonly licence: string;
  /** The archive's `styleclip.json`, parsed. */
  readonly description: Readonly<Record<string, unknown>>;
}

/** One layer of StyleSpace. */
export interface StyleLayer {
  /** `'b4.conv1'`, `'b4.torgb'`, `'b8.conv0'`, … */
  readonly name: string;
  /** Of the layer's output, pixels. */
  readonly resolution: number;
  /** Length of its style: the input channels of the convolution. */
  readonly channels: number;
  readonly toRgb: boolean;
  /** Row of w_plus that feeds it. */
  readonly wRow: number;
  /** Of its first channel in a flat S vector. */
  readonly offset: number;
}

/** StyleSpace of a generator: layers in synthesis order, the 4 px block [conv1, torgb], later ones [conv0, conv1, torgb]. */
export interface StyleLayout {
  readonly layers: readonly StyleLayer[];
  /** Rows of w_plus: 18 at 1024 px. */
  readonly rows: number;
  /** At 1024 px (config-f): 6048 conv, 3040 toRGB, 9088 in all. */
  readonly styleChannels: { readonly conv: number; readonly torgb: number; readonly total: number };
}

/**
 * How latents are drawn. Two conventions of the field: StyleCLIP's TensorFlow code truncates every row, its PyTorch port
 * only rows below 8 (`truncationCutoff: 8`).
 */
export interface TruncationOptions {
  /** w' = w_avg + ψ (w − w_avg), -2..2. Default 0.7 wherever latents are drawn (StyleCLIP's value); 1 truncates nothing. */
  truncationPsi?: number | undefined;
  /** How many of the first rows of w_plus are truncated. Default: all. */
  truncationCutoff?: number | undefined;
}

/**
 * What a conditional generator draws (`info.labelDim` > 0): the number of a class, from 0, or the label itself, `labelDim`
 * numbers, for mixtures and labels that are no classes.
 */
export type Label = number | readonly number[] | Float32Array;

/** Options of {@link Generator.sample}. */
export interface SampleOptions extends TruncationOptions, RunOptions {
  /** How many, at least 1. */
  count: number;
  /** 0 … 2^64 − 1. The same seed gives the same latents on every device and machine. */
  seed: number | bigint;
  /** Default `'w_plus'`. */
  space?: Space | undefined;
  /** Index of the first sample: sample i depends on (seed, i) alone, so ranges can be drawn apart. Default 0. */
  first?: number | undefined;
  /** Of a conditional generator, which needs one: see {@link Label}. */
  label?: Label | undefined;
}

/** How pictures are rendered. */
export interface RenderOptions extends RunOptions {
  /** Default `'uint8'`. */
  as?: ImageType | undefined;
  /** Noise inputs. Default `'const'`, the maps stored in the archive (as StyleCLIP's). */
  noise?: NoiseMode | undefined;
  /** Pictures in one forward pass, 1..4096. Default: by picture size, 64 at 64 px, 4 at 1024 px. */
  batch?: number | undefined;
  /** Take latents or directions of another generator too. Default false: `ERR_STYLECLIP_MODEL_MISMATCH`. */
  force?: boolean | undefined;
}

/** Options of {@link Generator.synthesize}. */
export interface SynthesizeOptions extends RenderOptions {
  /** Seed of `noise: 'random'`. Default 0. */
  noiseSeed?: number | bigint | undefined;
  /** Noise maps of the pictures, in the place of `noise`: of an inversion, or of one picture for all. */
  noiseMaps?: NoiseMaps | undefined;
}

/** Options of {@link Generator.edit} and {@link Generator.editEach}. */
export interface EditOptions extends RenderOptions {
  /** Strengths α, of either sign: S' = S + α ΔS. The field uses -15..25; 3..7 are moderate. */
  alpha: number | readonly number[];
}

/** Options of {@link Generator.statistics}. */
export interface StatisticsOptions extends TruncationOptions, RunOptions {
  /** Latents drawn, at least 2. Default 100,000, the released code's. */
  samples?: number | undefined;
  /** Default 0. */
  seed?: number | bigint | undefined;
}

/** Mean and standard deviation (ddof 0) of every style channel. Plain data. */
export interface StyleStatistics {
  /** [total]: one number a style channel. */
  readonly mean: Float32Array;
  /** [total] */
  readonly sigma: Float32Array;
  readonly samples: number;
  /** As a decimal string: a seed may be above 2^53. */
  readonly seed: string;
  readonly truncationPsi: number;
  /** -1: all rows. */
  readonly truncationCutoff: number;
  readonly generatorSha256: string;
}

/** Options of {@link StyleClip.sweep}. */
export interface SweepOptions extends TruncationOptions, RunOptions {
  /** Sample pictures a channel, 1..100,000. Default 100 (released code). */
  images?: number | undefined;
  /** Size of the perturbation in standard deviations. Default 5 (released code, faces); 10 is used for other domains. */
  sigmas?: number | undefined;
  /** `'absolute'` (default, released code): s_c := mean_c ± kσ_c; `'relative'` (paper): s_c ± kσ_c about the picture's own. */
  perturb?: 'absolute' | 'relative' | undefined;
  /** Of the sample pictures. Default 0. */
  seed?: number | bigint | undefined;
  /** Default `'conv'`. */
  layers?: LayerSet | undefined;
  /** Only these channels of `layers`, by their place in S (`index` of {@link Relevance.channelAt}), ascending. Default: all. */
  channels?: Int32Array | readonly number[] | undefined;
  /**
   * Default `'exact'`: the fast method, which changes nothing but the order of sums; it takes StyleGAN2 archives
   * apart, and sends any other generator through `'reference'`, the permanent readable implementation. The
   * result's metadata says which of them computed it. `'stop-at'` runs a changed channel's layers up to the resolution
   * `stopAt` only; `'adaptive'` paints fewer pictures of channels whose row is known early (`cosine`, `confidence`).
   * `'gradient'` is the first-order method: the slope of the embedding at each sample picture, times the two values'
   * distance; a few pictures take seconds, and it knows nothing of what lies beyond the slope. `'screened'` is for one text:
   * {@link StyleClip.screen} of `text`.
   */
  method?: SweepMethod | undefined;
  /**
   * Number type of the exact sweep's activations and of CLIP; sums stay in float32 and float64. Default: what the generator
   * was loaded in. `'float32'` is the ground truth; `'bfloat16'` is for processors that have it; `'tf32'` is CUDA's
   * (`ARGUMENT` on a CPU). The reference takes the models' own only.
   */
  precision?: 'float32' | 'tf32' | 'float16' | 'bfloat16' | undefined;
  /**
   * Bound on what the sweep takes beside the loaded models, libtorch's own code and buffers included: bytes, at least 2²⁰, or
   * `'4GiB'`. Batches are chosen by it, and halved where memory runs out all the same. It must hold the tables of the result
   * (some 12 bytes a number of the rows) and one smallest batch on every thread; where it does not, batches are the smallest
   * ones, the logger is told, and the result's `meta.leastMemory` says what they take. Not heeded where `batch` is given.
   * Default: a quarter of what is free.
   */
  memory?: number | `${number}GiB` | undefined;
  /** Default `'float'`. */
  preprocess?: Preprocess | undefined;
  /** Default `'const'`. */
  noise?: NoiseMode | undefined;
  /** Pictures in one forward pass. Default: by picture size and `memory`. */
  batch?: number | undefined;
  /** Statistics to use; default: of `statisticsSamples` latents with the same truncation, seed 0. */
  statistics?: StyleStatistics | undefined;
  /** Default 100,000 (released code). */
  statisticsSamples?: number | undefined;
  /**
   * Runs in shards: blocks of channels × sample pictures, each written here as a file when it is done. A sweep that was
   * stopped, by whatever, goes on when the same call is made again, and its result is the same bytes as if it had not
   * been. Made when it is not there. Settings of a plan that is there hold for `batch` and `statistics` where these are
   * left out; any other difference is refused: `ERR_STYLECLIP_RESUME_MISMATCH`.
   */
  directory?: string | URL | undefined;
  /** `'2/4'`: of four shares the second, every fourth shard. For many machines or processes; needs `directory`. */
  shard?: `${number}/${number}` | undefined;
  /** False: a directory that holds a sweep already is refused, `ERR_STYLECLIP_FILE_EXISTS`. Default true. */
  resume?: boolean | undefined;
  /**
   * Of the method `'stop-at'`: resolution after which a changed picture is finished as the unchanged one is, so that layers
   * above it, where a picture costs most, are not run again. Channels of layers above it run in full. One of the generator's
   * resolutions. Default 256, or half of the picture where that is smaller.
   */
  stopAt?: number | undefined;
  /**
   * Of the method `'adaptive'`: a channel gets no more pictures when its row's cosine to the row of all `images` pictures is
   * at least this, above 0, below 1. Default 0.99.
   */
  cosine?: number | undefined;
  /**
   * Channels on which a method or precision that is not exact/float32 is compared with it afterwards, evenly spread; what
   * comes out stands in the result's `meta.agreement`. Default 16; 0: none. Of {@link StyleClip.sweep} only.
   */
  check?: number | undefined;
  /** Of the method `'screened'`: the text whose channels are wanted. */
  text?: TextDirection | undefined;
  /**
   * Of the method `'adaptive'`: probability with which that holds for a channel, above 0, below 1. Default 0.95. Of
   * `'screened'`: {@link ScreenOptions}.
   */
  confidence?: number | undefined;
}
