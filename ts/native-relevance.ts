// What the native interface passes for relevance: sweeps, screens, shards and directions. Types only.

import type {
  NativeLayout,
  NativeNoise,
  NativeSampleSettings,
  NativeStatistics,
  NativeTensor,
} from './native-types.js';

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
  /** Memory that the sweep takes with its smallest batches; 0: not known. */
  leastBytes: number;
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
