// The options of a latent optimisation, checked. λ values mean something only together with the conventions that they were
// found with, so both come from one preset.

import {
  checkBoolean,
  checkInteger,
  checkNumber,
  checkOneOf,
  checkOptions,
  checkSeed,
  checkTexts,
  fail,
} from './check.js';
import type { NativeOptimizerOptions } from './native.js';
import { shiftOf } from './text-aims.js';
import type { LayerSet, NoiseMode, RunOptions } from './types.js';

/** Options of {@link StyleClip.optimize}. */
export interface OptimizeOptions extends RunOptions {
  /** What the pictures shall show, no empty text; several: each latent is edited towards each of them. */
  target: string | readonly string[];
  /**
   * What they show now. Given, the loss is the distance to Δt, the direction from this text to the target, instead of the
   * distance to the target alone: what both texts share, and what sets texts off from pictures, drops out of it.
   */
  neutral?: string | undefined;
  /**
   * With `neutral`: each picture's aim is its own embedding, moved by so many lengths of Δt, unit(CLIP(G(x_s)) + shift · Δt),
   * so that whatever else the embedding tells of a picture is held. 0..1000; 0: the aim is Δt alone. Default
   * 1; 0 without `neutral`, in the mode `'free'`, with raw CLIP input, and in the reference.
   */
  shift?: number | undefined;
  /** As in {@link TextDirectionOptions}. Default `'none'`: the texts alone, as in the released code. */
  templates?: 'imagenet' | 'none' | readonly string[] | undefined;
  /**
   * Where defaults come from. `'default'`: coordinates in standard deviations, mean of squares, CLIP's own preprocessing, best
   * latent kept. `'reference'`: the released code as it is (SC:optimization/run_optimization.py): the latent's own numbers,
   * the sum of squares, pictures of [-1, 1] without CLIP's normalisation, an idle first step, the last latent.
   */
  preset?: 'default' | 'reference' | undefined;
  /** The released code's `edit` (default), or `free_generation`: from the mean latent, by the CLIP term alone. */
  mode?: 'edit' | 'free' | undefined;
  /** What moves. Default `'w_plus'`. Latents of another space are brought there. */
  space?: 'w' | 'w_plus' | 's' | undefined;
  /** In s: which layers' channels move. Default `'conv'`, as in the released code. */
  layers?: LayerSet | undefined;
  /** Updates, 1..1,000,000. Default 40; reference 300. */
  steps?: number | undefined;
  /**
   * Adam's, after the ramp of the first 5 % of the steps and before the fall over the last 25 %. Default 0.2: of a standard
   * deviation a step; reference 0.1, of the latent's own unit. 1e-9..1e6.
   */
  learningRate?: number | undefined;
  /** Weight of the change's squares, ≥ 0. Default 0.3 (of their mean); reference 0.008 (of their sum); mode `'free'` 0. */
  lambdaL2?: number | undefined;
  /**
   * Weight of 1 − cosine of identities, ≥ 0. Default 0.1 where there is an identity model, else 0; reference and mode
   * `'free'` 0.
   */
  lambdaId?: number | undefined;
  /** Weight of the CLIP distance, ≥ 0. Default 1. */
  lambdaClip?: number | undefined;
  /** `'mean'` or `'sum'` of squares. Default `'mean'`; reference `'sum'`. */
  l2?: 'mean' | 'sum' | undefined;
  /**
   * Whether steps, spread and L2 are in standard deviations of each number, `'sigma'` (default), or in the latent's own unit,
   * `'latent'` (reference).
   */
  units?: 'sigma' | 'latent' | undefined;
  /** How pictures get to CLIP: `'normalised'` (default), or `'raw'`, the released code's (sizes of a multiple of 32). */
  clipInput?: 'normalised' | 'raw' | undefined;
  /** The released code's schedule, whose first step has the rate 0. Default false; reference true. */
  idleFirstStep?: boolean | undefined;
  /** Which latent is the result: `'best'`, the one of the lowest loss (default), or the last one (reference). */
  keep?: 'best' | 'last' | undefined;
  /** Starts of each problem, the first at the latent itself; the best one is kept. 1..1000. Default 4; reference 1. */
  restarts?: number | undefined;
  /** How far away the others start, in standard deviations, ≥ 0. Default 1. */
  spread?: number | undefined;
  /** Of the restarts. Default 0. */
  seed?: number | bigint | undefined;
  /** A problem ends when this many steps, 1..1,000,000, brought less than `tolerance`. Default: never. */
  patience?: number | undefined;
  /** Of the loss, ≥ 0. Default 0.001. */
  tolerance?: number | undefined;
  /** Pictures of the way every so many steps, 1..1,000,000. Default: none. */
  snapshots?: number | undefined;
  /** Problems in one forward pass, 1..4096. Default: by memory. */
  batch?: number | undefined;
  /** The generator's noise: its stored maps, `'const'` (default), or `'none'`. */
  noise?: Exclude<NoiseMode, 'random'> | undefined;
  /**
   * Keeps the run in `optimize.safetensors` there, and its best latents in `latents.safetensors`, every few seconds and
   * when it ends, however it ends; the same call goes on with it. Made when it is not there.
   */
  directory?: string | URL | undefined;
  /** Take latents of another generator. Default false. */
  force?: boolean | undefined;
}

const KEYS = [
  ...['signal', 'onProgress', 'target', 'neutral', 'shift', 'templates', 'preset', 'mode', 'space', 'layers', 'steps'],
  ...['learningRate', 'lambdaL2', 'lambdaId', 'lambdaClip', 'l2', 'units', 'clipInput', 'idleFirstStep', 'keep'],
  ...['restarts', 'spread', 'seed', 'patience', 'tolerance', 'snapshots', 'batch', 'noise', 'directory', 'force'],
];

/** The two sets of defaults. `lambdaId` of the default one holds where there is an identity model. */
export const OPTIMIZE_PRESETS = {
  default: {
    ...{ steps: 40, learningRate: 0.2, restarts: 4, lambdaL2: 0.3, lambdaId: 0.1, shift: 1 },
    ...{ l2: 'mean', units: 'sigma', clipInput: 'normalised', idleFirstStep: false, keep: 'best' },
  },
  reference: {
    ...{ steps: 300, learningRate: 0.1, restarts: 1, lambdaL2: 0.008, lambdaId: 0, shift: 0 },
    ...{ l2: 'sum', units: 'latent', clipInput: 'raw', idleFirstStep: true, keep: 'last' },
  },
} as const;

/** What a run is made of, checked. */
export interface OptimizeSettings {
  readonly native: NativeOptimizerOptions;
  readonly targets: readonly string[];
  readonly neutral: string | undefined;
  /** 0: aims are the same for every picture. */
  readonly shift: number;
  readonly keep: 'best' | 'last';
  readonly mode: 'edit' | 'free';
  /** 0: none. */
  readonly snapshots: number;
}

export function optimizeSettings(
  options: OptimizeOptions,
  hasIdentity: boolean,
  layerNames: (value: unknown) => string[],
): { o: OptimizeOptions; settings: OptimizeSettings } {
  const o = checkOptions(options, KEYS, 'optimize');
  const preset = OPTIMIZE_PRESETS[checkOneOf(o.preset ?? 'default', 'preset', ['default', 'reference'])];
  const mode = checkOneOf(o.mode ?? 'edit', 'mode', ['edit', 'free']);
  const targets = checkTexts(o.target, 'target');
  const { neutral } = o;
  for (const text of neutral === undefined ? targets : [...targets, ...checkTexts(neutral, 'neutral')]) {
    if (text.trim() === '') fail('ARGUMENT', 'a text is empty', "Describe the picture, for example 'a grumpy cat'.");
  }
  const space = checkOneOf(o.space ?? 'w_plus', 'space', ['w', 'w_plus', 's']);
  if (o.layers !== undefined && space !== 's') {
    fail('ARGUMENT', `layers are given for the space '${space}'`, "They belong to the space 's'.");
  }
  const weight = (value: unknown, name: string): number => checkNumber(value, name, 0, 1e9);
  const lambdaId = weight(o.lambdaId ?? (mode === 'free' || !hasIdentity ? 0 : preset.lambdaId), 'lambdaId');
  if (lambdaId > 0 && !hasIdentity) {
    fail('ARGUMENT', 'lambdaId is given, and no identity model is loaded', 'Load one, or leave lambdaId out.');
  }
  const clipInput = checkOneOf(o.clipInput ?? preset.clipInput, 'clipInput', ['normalised', 'raw']);
  const unfit = mode === 'free' ? "in the mode 'free'" : clipInput === 'raw' ? "with clipInput 'raw'" : undefined;
  const shift = shiftOf(o.shift, preset.shift, neutral, unfit);
  const native: NativeOptimizerOptions = {
    space,
    layers: space === 's' ? layerNames(o.layers ?? 'conv') : ['conv'],
    lambdaClip: weight(o.lambdaClip ?? 1, 'lambdaClip'),
    lambdaL2: weight(o.lambdaL2 ?? (mode === 'free' ? 0 : preset.lambdaL2), 'lambdaL2'),
    lambdaId,
    l2Mean: checkOneOf(o.l2 ?? preset.l2, 'l2', ['mean', 'sum']) === 'mean',
    clipInput,
    noise: checkOneOf(o.noise ?? 'const', 'noise', ['const', 'none']),
    steps: checkInteger(o.steps ?? preset.steps, 'steps', 1, 1_000_000),
    learningRate: checkNumber(o.learningRate ?? preset.learningRate, 'learningRate', 1e-9, 1e6),
    inSigmas: checkOneOf(o.units ?? preset.units, 'units', ['sigma', 'latent']) === 'sigma',
    idleFirstStep: checkBoolean(o.idleFirstStep ?? preset.idleFirstStep, 'idleFirstStep'),
    patience: o.patience === undefined ? 0 : checkInteger(o.patience, 'patience', 1, 1_000_000),
    tolerance: weight(o.tolerance ?? 1e-3, 'tolerance'),
    restarts: checkInteger(o.restarts ?? preset.restarts, 'restarts', 1, 1000),
    spread: weight(o.spread ?? 1, 'spread'),
    seed: checkSeed(o.seed ?? 0),
    batch: o.batch === undefined ? 0 : checkInteger(o.batch, 'batch', 1, 4096),
  };
  const settings: OptimizeSettings = {
    native,
    targets,
    neutral,
    shift,
    mode,
    keep: checkOneOf(o.keep ?? preset.keep, 'keep', ['best', 'last']),
    snapshots: o.snapshots === undefined ? 0 : checkInteger(o.snapshots, 'snapshots', 1, 1_000_000),
  };
  return { o, settings };
}
