// The options of a mapper's training, checked. As in latent optimisation, λ values belong to the conventions of a preset.

import {
  checkInteger,
  checkNumber,
  checkOneOf,
  checkOptions,
  checkSeed,
  checkString,
  checkTexts,
  fail,
} from './check.js';
import type { LatentsLike } from './latents.js';
import type { NativeMapperOptions } from './native.js';
import { shiftOf } from './text-aims.js';
import type { NoiseMode, RunOptions } from './types.js';

export type MapperLevel = 'coarse' | 'medium' | 'fine' | 'all';

/** Options of {@link StyleClip.trainMapper}. */
export interface TrainMapperOptions extends RunOptions {
  /** What the pictures shall show, no empty text. Several: the distance is the mean over them. */
  target: string | readonly string[];
  /** What they show now: then the distance is to the direction between the texts, as in {@link OptimizeOptions}. */
  neutral?: string | undefined;
  /**
   * With `neutral`: as in {@link OptimizeOptions}, each latent's aim is the embedding of its own picture, moved by so many
   * lengths of the direction. 0..1000; 0: the aim is the direction alone. Default 1.5: one network for all latents stops short
   * of the aims of some. 0 without `neutral`, with raw CLIP input, and in the reference.
   */
  shift?: number | undefined;
  /** As in {@link TextDirectionOptions}. Default `'none'`: the texts alone, as in the released code. */
  templates?: 'imagenet' | 'none' | readonly string[] | undefined;
  /**
   * A folder of the run: `mapper.pt`, the best mapper by validation so far; `training.safetensors`, from which the same call
   * goes on; `log.jsonl`, the losses. Made when it is not there.
   */
  directory: string | URL;
  /**
   * Where defaults come from. `'default'`: CLIP's own preprocessing, Adam, 1000 steps of 4 latents. `'reference'`: the
   * released code (SC:mapper/options/train_options.py): pictures of [-1, 1] without CLIP's normalisation, Ranger, 50,000 steps
   * of 2 latents.
   */
  preset?: 'default' | 'reference' | undefined;
  /** What the mapper takes: `'w_plus'` (default), or `'s'`: one network a layer. */
  space?: 'w_plus' | 's' | undefined;
  /**
   * In w_plus: which rows are mapped. `'coarse'` is rows 0–3, `'medium'` 4–7, `'fine'` from 8 on; rows that are not mapped
   * stay as they are. `['all']` is one network over all rows. Default: all three, or, for a generator of fewer than 9 rows,
   * which has no fine ones, `['all']`.
   */
  levels?: readonly MapperLevel[] | undefined;
  /** In s: the convolutions (default, as in the released code), or `'all'`: toRGB too. */
  layers?: 'conv' | 'all' | undefined;
  /** A mapper archive (`styleclip import`, or an earlier training's) to start from; its space and levels hold. */
  from?: string | URL | undefined;
  /** What is trained on, of the mapper's space (w_plus is brought to s). Default: drawn anew at every step, from `seed`. */
  latents?: LatentsLike | undefined;
  /** What is validated on, or how many are drawn for it. Default 16, drawn from `seed` + 1. */
  validation?: LatentsLike | number | undefined;
  /** Updates, 1..1,000,000,000. Default 1000; reference 50,000. A run of fewer goes on to more. */
  steps?: number | undefined;
  /** Latents a step, 1..65,536. Default 4; reference 2. */
  batch?: number | undefined;
  /** `'adam'` (default), or `'ranger'`, as in the reference. */
  optimizer?: 'ranger' | 'adam' | undefined;
  /** 1e-9..1e6. Default 0.5. Weights are stored times 100, so that this is no large one. */
  learningRate?: number | undefined;
  /** Weight of the CLIP distance, ≥ 0. Default 1. */
  lambdaClip?: number | undefined;
  /** Weight of the mean of squares of what is added to a latent (in s: the sum of the layers' means), ≥ 0. Default 0.8. */
  lambdaL2?: number | undefined;
  /** Weight of 1 − cosine of identities, ≥ 0. Default 0.1 where there is an identity model, else 0. */
  lambdaId?: number | undefined;
  /** How pictures get to CLIP: `'normalised'` (default), or `'raw'`, the released code's (sizes of a multiple of 32; reference). */
  clipInput?: 'normalised' | 'raw' | undefined;
  /** Of the first weights, of what is drawn, and of the order of given latents. Default 0. */
  seed?: number | bigint | undefined;
  /** Of what is drawn, -2..2. Default 0.7. */
  truncationPsi?: number | undefined;
  /** The validation's loss is looked at every so many steps, 1..1,000,000,000. Default 100; reference 2000. */
  validateEvery?: number | undefined;
  /** The generator's noise: its stored maps, `'const'` (default), or `'none'`. */
  noise?: Exclude<NoiseMode, 'random'> | undefined;
  /** Said in the archive. Default `'unknown'`. */
  licence?: string | undefined;
  /** Take latents, or a mapper, of another generator. Default false. */
  force?: boolean | undefined;
}

const KEYS = [
  ...[
    'signal',
    'onProgress',
    'target',
    'neutral',
    'shift',
    'templates',
    'directory',
    'preset',
    'space',
    'levels',
    'layers',
  ],
  ...['from', 'latents', 'validation', 'steps', 'batch', 'optimizer', 'learningRate', 'lambdaClip', 'lambdaL2'],
  ...['lambdaId', 'clipInput', 'seed', 'truncationPsi', 'validateEvery', 'noise', 'licence', 'force'],
];
const LEVELS = ['coarse', 'medium', 'fine', 'all'] as const;
/** Rows that a generator needs for the third level to have one. */
const LEVEL_ROWS = 9;

const MAPPER_PRESETS = {
  default: { steps: 1000, clipInput: 'normalised', validateEvery: 100, optimizer: 'adam', batch: 4, shift: 1.5 },
  reference: { steps: 50_000, clipInput: 'raw', validateEvery: 2000, optimizer: 'ranger', batch: 2, shift: 0 },
} as const;
const LEARNING_RATE = 0.5; // SC:mapper/options/train_options.py, as the next two
const LAMBDA_L2 = 0.8;
const LAMBDA_ID = 0.1;

/** What a training is made of, checked. */
export interface MapperSettings {
  readonly native: NativeMapperOptions;
  readonly targets: readonly string[];
  readonly neutral: string | undefined;
  readonly space: 'w_plus' | 's';
  /** Empty in s. */
  readonly levels: readonly MapperLevel[];
  readonly layers: 'conv' | 'all';
  readonly licence: string;
}

export function mapperSettings(
  options: TrainMapperOptions,
  hasIdentity: boolean,
  rows: number,
): { o: TrainMapperOptions; settings: MapperSettings } {
  const o = checkOptions(options, KEYS, 'trainMapper');
  const preset = MAPPER_PRESETS[checkOneOf(o.preset ?? 'default', 'preset', ['default', 'reference'])];
  const targets = checkTexts(o.target, 'target');
  for (const text of o.neutral === undefined ? targets : [...targets, ...checkTexts(o.neutral, 'neutral')]) {
    if (text.trim() === '') fail('ARGUMENT', 'a text is empty', "Describe the picture, for example 'a sleepy cat'.");
  }
  const weight = (value: unknown, name: string): number => checkNumber(value, name, 0, 1e9);
  const lambdaId = weight(o.lambdaId ?? (hasIdentity ? LAMBDA_ID : 0), 'lambdaId');
  if (lambdaId > 0 && !hasIdentity) {
    fail('ARGUMENT', 'lambdaId is given, and no identity model is loaded', 'Load one, or leave lambdaId out.');
  }
  if (o.from !== undefined && (o.space ?? o.levels ?? o.layers) !== undefined) {
    fail('ARGUMENT', 'space, levels or layers are given beside from', 'The mapper that it starts from has its own.');
  }
  const space = checkOneOf(o.space ?? 'w_plus', 'space', ['w_plus', 's']);
  if (o.levels !== undefined && space === 's') {
    fail('ARGUMENT', "levels are given for the space 's'", 'They are rows of w_plus; in s there are `layers`.');
  }
  if (o.layers !== undefined && space !== 's') {
    fail('ARGUMENT', `layers are given for the space '${space}'`, "They belong to the space 's'.");
  }
  const clipInput = checkOneOf(o.clipInput ?? preset.clipInput, 'clipInput', ['normalised', 'raw']);
  const native: NativeMapperOptions = {
    lambdaClip: weight(o.lambdaClip ?? 1, 'lambdaClip'),
    lambdaL2: weight(o.lambdaL2 ?? LAMBDA_L2, 'lambdaL2'),
    lambdaId,
    clipInput,
    shift: shiftOf(o.shift, preset.shift, o.neutral, clipInput === 'raw' ? "with clipInput 'raw'" : undefined),
    noise: checkOneOf(o.noise ?? 'const', 'noise', ['const', 'none']),
    optimizer: checkOneOf(o.optimizer ?? preset.optimizer, 'optimizer', ['ranger', 'adam']),
    learningRate: checkNumber(o.learningRate ?? LEARNING_RATE, 'learningRate', 1e-9, 1e6),
    steps: checkInteger(o.steps ?? preset.steps, 'steps', 1, 1_000_000_000),
    batch: checkInteger(o.batch ?? preset.batch, 'batch', 1, 65_536),
    seed: checkSeed(o.seed ?? 0),
    truncationPsi: checkNumber(o.truncationPsi ?? 0.7, 'truncationPsi', -2, 2),
    validateEvery: checkInteger(o.validateEvery ?? preset.validateEvery, 'validateEvery', 1, 1_000_000_000),
  };
  const settings: MapperSettings = {
    native,
    targets,
    neutral: o.neutral,
    space,
    levels: space === 's' ? [] : levelsOf(o.levels, rows),
    layers: checkOneOf(o.layers ?? 'conv', 'layers', ['conv', 'all']),
    licence: checkString(o.licence ?? 'unknown', 'licence'),
  };
  return { o, settings };
}

function levelsOf(given: unknown, rows: number): MapperLevel[] {
  if (given === undefined) return rows < LEVEL_ROWS ? ['all'] : ['coarse', 'medium', 'fine'];
  if (!Array.isArray(given) || given.length === 0) {
    fail(
      'ARGUMENT',
      'levels must be an array of at least one',
      `Some of ${LEVELS.slice(0, 3).join(', ')}, or ['all'].`,
    );
  }
  const levels = given.map((one) => checkOneOf(one, 'levels', LEVELS));
  if (levels.includes('all') ? levels.length > 1 : new Set(levels).size < levels.length) {
    fail('ARGUMENT', `levels [${levels.join(', ')}] name rows twice`, "Name each once; 'all' stands alone.");
  }
  if (!levels.includes('all') && rows < LEVEL_ROWS) {
    fail(
      'ARGUMENT',
      `the generator has ${rows} rows of w_plus; levels need at least ${LEVEL_ROWS}`,
      "Pass levels: ['all'], one network over all rows.",
    );
  }
  return levels;
}
