// The options of an inversion, checked. Four methods are settings of one loop, and a tuning after it.

import {
  checkBoolean,
  checkInteger,
  checkNumber,
  checkOneOf,
  checkOptions,
  checkPath,
  checkSeed,
  fail,
} from './check.js';
import type { LatentsLike } from './latents.js';
import type { NativeInverterOptions, NativeTunerOptions } from './native.js';
import type { RunOptions } from './types.js';

/** How a picture becomes latents. */
export type InversionMethod = 'encoder' | 'projector' | 'image2stylegan' | 'pti';

/** Options of {@link StyleClip.invert}. */
export interface InvertOptions extends RunOptions {
  /**
   * `'encoder'`: one pass, then `refineSteps` of Adam from its codes. `'projector'`: StyleGAN2's, from the mean w, with
   * noise maps. `'image2stylegan'`: w_plus and pixels, no noise. `'pti'`: a projection to w, then the generator's weights
   * are tuned. Default: the encoder where there is one, else the projector.
   */
  method?: InversionMethod | undefined;
  /** Default `'w_plus'`; of the projector and of `'pti'` `'w'`. */
  space?: 'w' | 'w_plus' | undefined;
  /** Updates of the latents, 1..1,000,000. Default 1000; of `'pti'`'s pivot 450. Not for the encoder: see `refineSteps`. */
  steps?: number | undefined;
  /** Updates after the encoder's pass, 0..1,000,000. Default 0. */
  refineSteps?: number | undefined;
  /** Updates of the generator by `'pti'`, 1..1,000,000. Default 350. */
  tuneSteps?: number | undefined;
  /**
   * Adam's, 1e-9..1e6, in w's own unit. Default: projector 0.1, image2stylegan and pti's pivot 0.01; refinement 0.1, of w's
   * standard deviation.
   */
  learningRate?: number | undefined;
  /** Of pti's tuning, 1e-9..1. Default 0.0003. */
  tuneRate?: number | undefined;
  /**
   * Noise maps are optimised, and returned. Default: projector. Of pti by default for the pivot only: tuning is with the
   * generator's own, as in the released code, so that the tuned generator needs no others.
   */
  noiseMaps?: boolean | undefined;
  /** What compares beyond pixels, where there is no `lpips`. Default `'clip'`. */
  feature?: 'clip' | 'identity' | 'none' | undefined;
  /** A TorchScript module that compares; see {@link Perceptual}. Needs `trust: true`: its code runs. */
  lpips?: string | URL | undefined;
  /** Lets the code of `lpips` run. Default false. */
  trust?: boolean | undefined;
  /**
   * Weight of the pictures' mean square error, scale [-1, 1]. As all weights here 0..1e12. Default 1; projector and pti's pivot
   * 0.
   */
  lambdaPixel?: number | undefined;
  /** Weight of that of both pooled by 4. Default 0; projector and pti's pivot without `lpips` 1. */
  lambdaPooled?: number | undefined;
  /** Weight of the feature distance. Default 1; refinement 0.1. 0 where `feature` is `'none'`. */
  lambdaFeature?: number | undefined;
  /** Weight of the noise maps' correlation with themselves. Default 100,000. */
  lambdaNoise?: number | undefined;
  /** Weight of the mean square of (w − start)/σ. Default 0; refinement 0.001. */
  lambdaStart?: number | undefined;
  /**
   * Of pti's tuning: weight of how far the tuned generator is from the original one (square error and feature distance)
   * at a random latent near a pivot, one an update (their locality regularisation). Default 0, none, as in the released
   * code, whose weight for it is 0.1.
   */
  lambdaLocality?: number | undefined;
  /** How far that latent is from the pivot, above 0: the length over all rows, in w's own unit. Default 30, the released code's. */
  localityDistance?: number | undefined;
  /**
   * Where the run lives: `invert.safetensors` and, of pti, `tune.safetensors` (what it goes on from), `latents.safetensors`,
   * `noise.safetensors`, `difference.safetensors` (the best so far). Made when it is not there; the same call goes on with
   * it. Default: nothing is written.
   */
  directory?: string | URL | undefined;
  /** Latents of the space to begin at, one a picture. Not for the encoder. Default: the mean w. */
  start?: LatentsLike | undefined;
  /** Of noise. Default 0. */
  seed?: number | bigint | undefined;
  /** Pictures in one pass, 1..4096. Default: by memory. */
  batch?: number | undefined;
  /** Pictures of the way every so many steps, 1..1,000,000. Default: none. */
  snapshots?: number | undefined;
  /** `'resize'` (default): scaled to the generator's size, the middle of what is not square. `false`: refused unless they fit. */
  align?: 'resize' | false | undefined;
  /** Take latents of another generator to begin at. Default false. */
  force?: boolean | undefined;
}

const KEYS = [
  ...['signal', 'onProgress', 'method', 'space', 'steps', 'refineSteps', 'tuneSteps', 'learningRate', 'tuneRate'],
  ...['noiseMaps', 'feature', 'lpips', 'trust', 'lambdaPixel', 'lambdaPooled', 'lambdaFeature', 'lambdaNoise'],
  ...['lambdaStart', 'lambdaLocality', 'localityDistance', 'directory', 'start', 'seed', 'batch', 'snapshots', 'align'],
  'force',
];

/** What an inversion is made of, checked. */
export interface InversionSettings {
  readonly method: InversionMethod;
  readonly native: NativeInverterOptions;
  readonly tuner: NativeTunerOptions;
  readonly lpips: string | undefined;
  readonly trust: boolean;
  /** 0: none. */
  readonly snapshots: number;
  readonly align: 'resize' | false;
  readonly directory: string | undefined;
  /** Optimised noise maps are part of the result, and of the tuning. */
  readonly keepsNoise: boolean;
}

/** What the methods have of their own. */
const METHODS = {
  // Adam on the encoder's codes.
  encoder: { steps: 0, rate: 0.1, ramp: true, noise: false, shake: 0, pixel: 1, feature: 0.1, start: 1e-3 },
  // NVlabs/stylegan2-ada-pytorch, projector.py
  projector: { steps: 1000, rate: 0.1, ramp: true, noise: true, shake: 0.05, pixel: 0, feature: 1, start: 0 },
  image2stylegan: { steps: 1000, rate: 0.01, ramp: false, noise: false, shake: 0, pixel: 1, feature: 1, start: 0 },
  // danielroich/PTI, training/projectors/w_projector.py
  pti: { steps: 450, rate: 0.01, ramp: true, noise: true, shake: 0.05, pixel: 0, feature: 1, start: 0 },
} as const;

export function inversionSettings(
  options: InvertOptions | undefined,
  has: { encoder: boolean; identity: boolean },
): { o: InvertOptions; settings: InversionSettings } {
  const o = checkOptions(options, KEYS, 'invert');
  const names = ['encoder', 'projector', 'image2stylegan', 'pti'] as const;
  const method = checkOneOf(o.method ?? (has.encoder ? 'encoder' : 'projector'), 'method', names);
  const own = METHODS[method];
  if (method === 'encoder' && !has.encoder) {
    fail('ARGUMENT', "the method is 'encoder', and no encoder is loaded", "Load one, or use method 'projector'.");
  }
  const refuse = (name: string, only: string): never =>
    fail('ARGUMENT', `${name} is given for the method '${method}'`, `It belongs to ${only}.`);
  if (method === 'encoder' && o.steps !== undefined)
    refuse('steps', "the other methods; the encoder has 'refineSteps'");
  if (method === 'encoder' && o.start !== undefined) refuse('start', 'the other methods');
  if (method !== 'encoder' && o.refineSteps !== undefined) refuse('refineSteps', "the method 'encoder'");
  for (const name of ['tuneSteps', 'tuneRate', 'lambdaLocality', 'localityDistance'] as const) {
    if (method !== 'pti' && o[name] !== undefined) refuse(name, "the method 'pti'");
  }
  const space = checkOneOf(o.space ?? (own.noise ? 'w' : 'w_plus'), 'space', ['w', 'w_plus']);
  if (space === 'w' && (method === 'encoder' || method === 'image2stylegan')) {
    fail('ARGUMENT', `the method '${method}' gives w_plus`, "Leave space out, or use method 'projector'.");
  }
  const lpips = o.lpips === undefined ? undefined : checkPath(o.lpips, 'lpips');
  if (lpips !== undefined && o.feature !== undefined) {
    fail('ARGUMENT', 'both lpips and feature are given', 'Only one of them compares the pictures.');
  }
  const feature =
    lpips === undefined ? checkOneOf(o.feature ?? 'clip', 'feature', ['clip', 'identity', 'none']) : 'perceptual';
  if (feature === 'identity' && !has.identity) {
    fail('ARGUMENT', "feature is 'identity', and no identity model is loaded", "Load one, or use 'clip'.");
  }
  const weight = (value: unknown, name: string): number => checkNumber(value, name, 0, 1e12);
  const pooled = own.pixel === 0 && lpips === undefined ? 1 : 0;
  const lambdaFeature = feature === 'none' ? 0 : weight(o.lambdaFeature ?? own.feature, 'lambdaFeature');
  const batch = o.batch === undefined ? 0 : checkInteger(o.batch, 'batch', 1, 4096);
  const steps = method === 'encoder' ? (o.refineSteps ?? 0) : (o.steps ?? own.steps);
  const native: NativeInverterOptions = {
    wPlus: space === 'w_plus',
    steps: checkInteger(steps, method === 'encoder' ? 'refineSteps' : 'steps', method === 'encoder' ? 0 : 1, 1_000_000),
    learningRate: checkNumber(o.learningRate ?? own.rate, 'learningRate', 1e-9, 1e6),
    rateInSigmas: method === 'encoder',
    ramp: own.ramp,
    latentNoise: own.shake,
    noiseMaps: checkBoolean(o.noiseMaps ?? own.noise, 'noiseMaps'),
    lambdaNoise: weight(o.lambdaNoise ?? 1e5, 'lambdaNoise'),
    lambdaPixel: weight(o.lambdaPixel ?? own.pixel, 'lambdaPixel'),
    lambdaPooled: weight(o.lambdaPooled ?? pooled, 'lambdaPooled'),
    lambdaFeature,
    lambdaStart: weight(o.lambdaStart ?? own.start, 'lambdaStart'),
    seed: checkSeed(o.seed ?? 0),
    batch,
    feature: lambdaFeature === 0 ? 'none' : feature,
  };
  const tuner: NativeTunerOptions = {
    steps: checkInteger(o.tuneSteps ?? 350, 'tuneSteps', 1, 1_000_000),
    learningRate: checkNumber(o.tuneRate ?? 3e-4, 'tuneRate', 1e-9, 1),
    lambdaPixel: weight(o.lambdaPixel ?? 1, 'lambdaPixel'),
    lambdaFeature,
    // PTI's, for LPIPS only.
    enough: lpips === undefined ? 0 : 0.06,
    lambdaLocality: weight(o.lambdaLocality ?? 0, 'lambdaLocality'),
    localityDistance: checkNumber(o.localityDistance ?? 30, 'localityDistance', 1e-9, 1e9),
    seed: native.seed,
    batch,
    feature: native.feature,
  };
  const settings: InversionSettings = {
    ...{ method, native, tuner, lpips, trust: checkBoolean(o.trust ?? false, 'trust') },
    snapshots: o.snapshots === undefined ? 0 : checkInteger(o.snapshots, 'snapshots', 1, 1_000_000),
    align: o.align === false ? false : checkOneOf(o.align ?? 'resize', 'align', ['resize']),
    keepsNoise: method !== 'pti' || o.noiseMaps === true,
    directory: o.directory === undefined ? undefined : checkPath(o.directory, 'directory'),
  };
  return { o, settings };
}
