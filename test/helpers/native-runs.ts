/*
 * The raw interface's runs under way, behind handles, and its calls of many parts: each with arguments that work, on the
 * models of native-models.ts.
 */
import { join } from 'node:path';
import type { NativeAddon, NativeModel, NativeTensor } from '../../dist/native.js';
import { type NativeKind, ramp, tensor } from './native-models.js';

type Name = keyof NativeAddon;

/** A run: how it is opened, and what is asked of its handle. */
export interface NativeRunKind {
  open: Name;
  advance: Name;
  state: Name;
  restore: Name;
  close: Name;
  /** What else takes the handle. */
  others: Name[];
}

export const RUNS: Record<string, NativeRunKind> = {
  optimizer: {
    ...{ open: 'openOptimizer', advance: 'advanceOptimizer', close: 'closeOptimizer' },
    ...{ state: 'optimizerState', restore: 'restoreOptimizer', others: ['optimizerLatents'] },
  },
  inverter: {
    ...{ open: 'openInverter', advance: 'advanceInverter', close: 'closeInverter' },
    ...{ state: 'inverterState', restore: 'restoreInverter', others: ['inverterResult'] },
  },
  tuner: {
    ...{ open: 'openTuner', advance: 'advanceTuner', close: 'closeTuner' },
    ...{ state: 'tunerState', restore: 'restoreTuner', others: ['tunerResult'] },
  },
  encoderTraining: {
    ...{ open: 'openEncoderTraining', advance: 'advanceEncoderTraining', close: 'closeEncoderTraining' },
    ...{ state: 'encoderTrainingState', restore: 'restoreEncoderTraining' },
    others: ['validateEncoder', 'writeTrainedEncoder'],
  },
  mapperTraining: {
    ...{ open: 'openMapperTraining', advance: 'advanceMapperTraining', close: 'closeMapperTraining' },
    ...{ state: 'mapperTrainingState', restore: 'restoreMapperTraining', others: ['writeTrainedMapper'] },
  },
};

/** Calls without a handle. */
export const CALLS: Name[] = ['perceptualDistance', 'applyDifference', 'synthesizeNoise', 'screen'];
export const RUN_NAMES: Name[] = [
  ...CALLS,
  ...Object.values(RUNS).flatMap(({ open, advance, state, restore, close, others }) => [
    ...[open, advance, state, restore, close],
    ...others,
  ]),
];

export type RunModels = Record<NativeKind | 'perceptual', NativeModel>;

function pictures(): NativeTensor<Uint8Array> {
  const data = Uint8Array.from({ length: 768 }, (_, i) => i % 256);
  return tensor(data, 1, 16, 16, 3);
}

const maps = (): NativeTensor<Float32Array>[] => [4, 8, 8, 16, 16].map((size) => ramp(1, 1, size, size));

/** Arguments that open each run, and that the calls without a handle take. */
export function openingCalls(models: RunModels): Record<string, unknown[]> {
  const { generator, clip, identity, encoder, mapper, perceptual } = models;
  const { total } = generator.layout!;
  const w = ramp(1, 6, 16);
  const texts = (...shape: number[]): unknown => ({ data: new Float32Array(12).fill(0.3), shape });
  const objective = { lambdaClip: 1, lambdaL2: 0.01, lambdaId: 0.1, shift: 1, clipInput: 'normalised', noise: 'const' };
  const statistics = { mean: new Float32Array(total).fill(1), sigma: new Float32Array(total).fill(0.1), samples: 10 };
  return {
    openOptimizer: [
      ...[generator, clip, identity, w, texts(1, 1, 12)],
      {
        ...{ ...objective, space: 'w_plus', layers: [], l2Mean: true, steps: 4, learningRate: 0.1, inSigmas: true },
        ...{ idleFirstStep: false, patience: 0, tolerance: 0, restarts: 1, spread: 0, seed: 1n, batch: 0 },
      },
      {},
    ],
    openInverter: [
      ...[generator, clip, pictures(), w],
      {
        ...{ wPlus: true, steps: 4, learningRate: 0.1, rateInSigmas: true, ramp: true, latentNoise: 0.05 },
        ...{ noiseMaps: true, lambdaNoise: 1, lambdaPixel: 1, lambdaPooled: 1, lambdaFeature: 1, lambdaStart: 0.1 },
        ...{ seed: 1n, batch: 0, feature: 'clip' },
      },
      {},
    ],
    openTuner: [
      ...[generator, identity, pictures(), w, maps()],
      {
        ...{ steps: 4, learningRate: 1e-4, lambdaPixel: 1, lambdaFeature: 1, enough: 0, lambdaLocality: 0.1 },
        ...{ localityDistance: 1, seed: 1n, batch: 0, feature: 'identity' },
      },
      {},
    ],
    openEncoderTraining: [
      ...[generator, encoder, clip, identity],
      {
        ...{ steps: 4, batch: 2, imageBatch: 0, optimizer: 'ranger', learningRate: 1e-3, warmUp: 0, lambdaLatent: 1 },
        ...{ lambdaImage: 1, lambdaId: 0.1, lambdaClip: 0.1, lambdaDelta: 0.1, truncationPsi: 0.7, mixing: 0.5 },
        ...{ augmentation: 0.5, clipGradient: 1, bfloat16: false, validation: 2, seed: 1n },
      },
      {},
    ],
    openMapperTraining: [
      ...[generator, clip, identity, mapper, texts(1, 12), ramp(2, 6, 16), ramp(1, 6, 16)],
      {
        ...{ ...objective, optimizer: 'ranger', learningRate: 1e-3, steps: 4, batch: 1, seed: 1n, truncationPsi: 0.7 },
        validateEvery: 2,
      },
      {},
    ],
    perceptualDistance: [perceptual, pictures(), pictures(), {}],
    applyDifference: [generator, {}],
    synthesizeNoise: [generator, ramp(2, total), maps(), {}],
    screen: [
      ...[generator, clip, statistics],
      {
        ...{ seed: 1n, truncationPsi: 0.7, truncationCutoff: -1, images: 2, sigmas: 5, perturb: 'absolute' },
        ...{ layers: ['b4.conv1'], preprocess: 'float', noise: 'const', batch: 4, memoryBytes: 0 },
      },
      {
        ...{ text: new Float32Array(12).fill(0.3), channels: 2, automatic: false, beta: 0.1, margin: 1.5, probes: 0 },
        confidence: 0.95,
      },
      {},
    ],
  };
}

/** Arguments for everything that takes a run's handle but its opening; `state` is one of that run's own. */
export function handleCalls(kind: NativeRunKind, handle: unknown, state: unknown, folder: string): [Name, unknown[]][] {
  const own: Partial<Record<Name, unknown[]>> = {
    optimizerLatents: [handle, true],
    inverterResult: [handle, true],
    tunerResult: [handle, true],
    validateEncoder: [handle, {}],
    writeTrainedEncoder: [
      handle,
      { file: join(folder, 'trained.pt'), best: true, storageDtype: 'float32', licence: 'CC0-1.0' },
      {},
    ],
    writeTrainedMapper: [handle, { file: join(folder, 'mapped.pt'), licence: 'CC0-1.0', training: '{}' }],
  };
  return [
    [kind.advance, [handle, 1, {}]],
    [kind.state, [handle]],
    ...kind.others.map((name): [Name, unknown[]] => [name, own[name]!]),
    [kind.restore, [handle, state]],
  ];
}
