// What the native interface passes for runs of many steps: latent optimisation, encoder and mapper training, inversion and
// tuning. Types only.

import type { NativeNoise, NativeTensor } from './native-types.js';

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
