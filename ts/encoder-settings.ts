// The options of an encoder's training, checked.

import {
  checkInteger,
  checkNumber,
  checkOneOf,
  checkOptions,
  checkPath,
  checkSeed,
  checkString,
  fail,
} from './check.js';
import type { NativeEncoderTraining } from './native.js';
import type { RunOptions } from './types.js';

/** Options of {@link StyleClip.trainEncoder}. */
export interface EncoderTrainingOptions extends RunOptions {
  /**
   * Where the training lives: `encoder.pt` (the best so far), `training.safetensors` (what it goes on from),
   * `log.jsonl`, `settings.json`, `start.pt` (the untrained network). Made when it is not there; the same call goes on with it.
   */
  directory: string | URL;
  /**
   * An e4e archive to begin from. Default: a new one of the sizes `network`. One that says that it is of another generator is
   * refused (`MODEL_MISMATCH`).
   */
  encoder?: string | URL | undefined;
  /** Begins from an encoder of another generator all the same. Default false. */
  force?: boolean | undefined;
  /**
   * Sizes of a new network (docs/models.md, e4e, in camel case). Default: a narrow one for the generator's rows and width:
   * channels 16, 32, 64, 96, one block a stage, heads of 48 channels, pictures of the generator's size up to 256.
   */
  network?: Readonly<Record<string, unknown>> | undefined;
  /** Updates, 1..10,000,000. Default 20,000. */
  steps?: number | undefined;
  /** Pairs an update, 2..4096. Default 16. */
  batch?: number | undefined;
  /**
   * How many of these are rendered again from ŵ for the terms of pictures, which costs most. Default: all.
   */
  imageBatch?: number | undefined;
  /** `'adam'` (default), or `'ranger'` (docs/training.md): what e4e and pSp are trained with. */
  optimizer?: 'adam' | 'ranger' | undefined;
  /** After the warm-up; falls to 0 as a cosine over the steps. Default 0.002; e4e's with Ranger is 0.0001. */
  learningRate?: number | undefined;
  /** Updates over which the rate rises. Default 200. */
  warmUp?: number | undefined;
  /** Weight of the mean square of (w − ŵ)/σ. Default 0.1. */
  lambdaLatent?: number | undefined;
  /** Weight of the pictures' mean square error, plus the mean error of both pooled by 4. Default 1. */
  lambdaImage?: number | undefined;
  /** Weight of 1 − cosine of identities. Default 0.05 where there is an identity model, else 0. */
  lambdaId?: number | undefined;
  /** Weight of 1 − cosine of CLIP embeddings. Default 0. */
  lambdaClip?: number | undefined;
  /** Weight of the lengths of the rows' offsets from row 0 (e4e). Default 0.0002. */
  lambdaDelta?: number | undefined;
  /** Of the latents that are drawn. Default 1. */
  truncationPsi?: number | undefined;
  /** Share of pictures whose later rows are another sample's, 0..1. Default 0.25. */
  mixing?: number | undefined;
  /** How much the encoder's pictures are disturbed; 0: only rounded to 8 bits. Default 1. */
  augmentation?: number | undefined;
  /** Longest gradient. Default 1. */
  clipGradient?: number | undefined;
  /** Of the encoder's activations. Default `'float32'`. */
  precision?: 'float32' | 'bfloat16' | undefined;
  /** Held-out pictures of a validation. Default 256. */
  validation?: number | undefined;
  /** Updates between validations. Default 500. */
  validateEvery?: number | undefined;
  /** Of samples, disturbances and a new network. Default 0. */
  seed?: number | bigint | undefined;
  /** How `encoder.pt` stores its weights. Default `'float16'`. */
  storageDtype?: 'float32' | 'float16' | 'bfloat16' | undefined;
  /** Of `encoder.pt`. Default `'unknown'`. */
  licence?: string | undefined;
}

const KEYS = [
  ...[
    'signal',
    'onProgress',
    'directory',
    'encoder',
    'force',
    'network',
    'steps',
    'batch',
    'imageBatch',
    'optimizer',
    'learningRate',
    'warmUp',
  ],
  ...['lambdaLatent', 'lambdaImage', 'lambdaId', 'lambdaClip', 'lambdaDelta', 'truncationPsi', 'mixing'],
  ...['augmentation', 'clipGradient', 'precision', 'validation', 'validateEvery', 'seed', 'storageDtype', 'licence'],
];

/** What a training is made of, checked. */
export interface EncoderTrainingSettings {
  readonly native: NativeEncoderTraining;
  readonly directory: string;
  readonly encoder: string | undefined;
  readonly network: Readonly<Record<string, unknown>>;
  readonly validateEvery: number;
  readonly storageDtype: 'float32' | 'float16' | 'bfloat16';
  readonly licence: string;
}

/** @param generator its sizes, for the network's defaults */
export function encoderTrainingSettings(
  options: EncoderTrainingOptions,
  generator: { imageSize: number; rows: number; wDim: number },
  has: { clip: boolean; identity: boolean },
): { o: EncoderTrainingOptions; settings: EncoderTrainingSettings } {
  const o = checkOptions(options, KEYS, 'trainEncoder');
  if (o.directory === undefined) {
    fail('ARGUMENT', 'trainEncoder needs a directory', 'Pass { directory }: a training is files in it.');
  }
  if (o.encoder !== undefined && o.network !== undefined) {
    fail('ARGUMENT', 'both encoder and network are given', 'An archive to begin from has its own sizes.');
  }
  const weight = (value: unknown, name: string): number => checkNumber(value, name, 0, 1e9);
  const native: NativeEncoderTraining = {
    steps: checkInteger(o.steps ?? 20_000, 'steps', 1, 10_000_000),
    batch: checkInteger(o.batch ?? 16, 'batch', 2, 4096),
    imageBatch: o.imageBatch === undefined ? 0 : checkInteger(o.imageBatch, 'imageBatch', 1, o.batch ?? 16),
    optimizer: checkOneOf(o.optimizer ?? 'adam', 'optimizer', ['adam', 'ranger']),
    learningRate: checkNumber(o.learningRate ?? 2e-3, 'learningRate', 1e-9, 1),
    warmUp: checkInteger(o.warmUp ?? 200, 'warmUp', 0, 10_000_000),
    lambdaLatent: weight(o.lambdaLatent ?? 0.1, 'lambdaLatent'),
    lambdaImage: weight(o.lambdaImage ?? 1, 'lambdaImage'),
    lambdaId: weight(o.lambdaId ?? (has.identity ? 0.05 : 0), 'lambdaId'),
    lambdaClip: weight(o.lambdaClip ?? 0, 'lambdaClip'),
    lambdaDelta: weight(o.lambdaDelta ?? 2e-4, 'lambdaDelta'),
    truncationPsi: checkNumber(o.truncationPsi ?? 1, 'truncationPsi', -2, 2),
    mixing: checkNumber(o.mixing ?? 0.25, 'mixing', 0, 1),
    augmentation: weight(o.augmentation ?? 1, 'augmentation'),
    clipGradient: checkNumber(o.clipGradient ?? 1, 'clipGradient', 1e-9, 1e9),
    bfloat16: checkOneOf(o.precision ?? 'float32', 'precision', ['float32', 'bfloat16']) === 'bfloat16',
    validation: checkInteger(o.validation ?? 256, 'validation', 1, 1_000_000),
    seed: checkSeed(o.seed ?? 0),
  };
  if (native.lambdaId > 0 && !has.identity) {
    fail('ARGUMENT', 'lambdaId is given, and no identity model is loaded', 'Load one, or leave lambdaId out.');
  }
  if (native.lambdaClip > 0 && !has.clip) {
    fail('ARGUMENT', 'lambdaClip is given, and no CLIP model is loaded', 'Load one, or leave lambdaClip out.');
  }
  const { imageSize, rows, wDim } = generator;
  const settings: EncoderTrainingSettings = {
    native,
    directory: checkPath(o.directory, 'directory'),
    encoder: o.encoder === undefined ? undefined : checkPath(o.encoder, 'encoder'),
    network: {
      ...{ imageSize: Math.min(256, Math.max(32, imageSize)), rows, styleWidth: wDim },
      ...{ blocks: [1, 1, 1, 1], channels: [16, 32, 64, 96], reduction: 4, headWidth: 48 },
      ...checkOptions(o.network, Object.keys(o.network ?? {}), 'network'),
    },
    validateEvery: checkInteger(o.validateEvery ?? 500, 'validateEvery', 1, 10_000_000),
    storageDtype: checkOneOf(o.storageDtype ?? 'float16', 'storageDtype', ['float32', 'float16', 'bfloat16']),
    licence: checkString(o.licence ?? 'unknown', 'licence'),
  };
  return { o, settings };
}
