// What a relevance says of itself: how it was computed, and the fields that it is made of.

import type { Screening } from './screening.js';
import type { StyleLayer } from './types.js';

/** How a relevance was computed. */
export interface RelevanceMeta {
  /**
   * As asked for: `'exact'`, `'reference'`, `'stop-at'`, `'adaptive'`, `'gradient'`, `'screened'`, or `'imported'` for a file
   * of another tool.
   */
  readonly method: string;
  /** What painted the pictures: `'exact'`, `'stop-at'`, or `'reference'`, the permanent readable implementation. */
  readonly implementation: string;
  /** Number type of the models: `'float32'` is the ground truth. */
  readonly precision: string;
  /** Of the method `'stop-at'`: the last resolution that ran for every channel. */
  readonly stopAt?: number | undefined;
  /** Of the method `'adaptive'`: the cosine to the row of all pictures, and the probability of it, that ended a channel. */
  readonly cosine?: number | undefined;
  readonly confidence?: number | undefined;
  /** Sample pictures a channel; for the method `'adaptive'` at most. */
  readonly images: number;
  readonly sigmas: number;
  readonly perturb: 'absolute' | 'relative';
  /** As asked for: `['conv']`, `['all']` or names. */
  readonly layers: readonly string[];
  readonly preprocess: 'float' | 'reference8';
  readonly noise: 'const' | 'random' | 'none';
  /** Decimal: a seed may be above 2^53. */
  readonly seed: string;
  readonly truncationPsi: number;
  /** -1: all rows. */
  readonly truncationCutoff: number;
  readonly statisticsSamples: number;
  readonly generatorSha256: string;
  /** '' when it is not known. */
  readonly clipSha256: string;
  /** Pictures rendered. */
  readonly rendered: number;
  /** Of the sweep alone, without the statistics; 0 where it was merged from shards. */
  readonly seconds: number;
  /**
   * Where the `memory` asked for was below what the sweep takes with its smallest batches: that, in bytes, an upper
   * estimate. It ran with these.
   */
  readonly leastMemory?: number | undefined;
  /** How near its rows are to exact/float32's, measured on some channels; absent where it is exact/float32. */
  readonly agreement?: MeasuredAgreement | undefined;
  /** Package that wrote it. */
  readonly version: string;
  /** Where it holds the channels of one text only: {@link StyleClip.screen}. */
  readonly screened?: Screening | undefined;
}

/** A sweep's own comparison with exact/float32 over the same pictures. */
export interface MeasuredAgreement {
  /** How many, evenly spread over the swept ones. */
  readonly channels: number;
  /** Of the cosines of their rows. */
  readonly cosineMedian: number;
  readonly cosineMin: number;
  /** Median relative error of mean |d|. */
  readonly magnitude: number;
}

/** What {@link Relevance.from} takes back: a structured clone, or the same fields. */
export interface RelevanceLike {
  readonly rows: Float32Array;
  readonly dim: number;
  readonly channels: Int32Array;
  readonly counts: Int32Array;
  readonly magnitude: Float32Array;
  readonly concentration: Float32Array;
  readonly mean: Float32Array;
  readonly sigma: Float32Array;
  readonly layers: readonly StyleLayer[];
  readonly meta: RelevanceMeta;
}
