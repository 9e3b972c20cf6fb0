/*
 * Models for the tests of the raw interface: the smallest of each kind, random weights, made by the addon itself.
 */
import { join } from 'node:path';
import type { NativeAddon, NativeArray, NativeModel, NativeTensor } from '../../dist/native.js';

/** Configurations, in the names of docs/models.md. */
const CONFIGS = {
  generator: {
    kind: 'stylegan2',
    config: { imageSize: 16, channels: [12, 10, 8], zWidth: 16, styleWidth: 16, mappingLayers: 2 },
  },
  clip: {
    kind: 'clip',
    config: {
      vision: 'vit',
      imageSize: 16,
      patch: 8,
      embedding: 12,
      visionWidth: 16,
      visionLayers: [1],
      visionHeads: 2,
      textWidth: 16,
      textLayers: 1,
      textHeads: 2,
      contextLength: 8,
      vocabulary: 32,
    },
  },
  identity: {
    kind: 'ir-se',
    config: {
      imageSize: 16,
      blocks: [1, 1, 1, 1],
      channels: [8, 8, 8, 8],
      reduction: 4,
      embedding: 8,
      preprocessing: 'resize',
    },
  },
  encoder: {
    kind: 'e4e',
    config: { imageSize: 32, rows: 6, styleWidth: 16, blocks: [1, 1, 1, 1], channels: [8, 8, 8, 8], reduction: 4 },
  },
} as const;

export type NativeKind = keyof typeof CONFIGS;

/** Writes an archive of a kind into `folder`; `more` replaces fields of its configuration. */
export async function makeNative(
  addon: NativeAddon,
  folder: string,
  kind: NativeKind,
  more: Record<string, unknown> = {},
): Promise<string> {
  const file = join(folder, `${kind}.pt`);
  const { kind: architecture, config } = CONFIGS[kind];
  await addon.make(
    {
      kind: architecture,
      config: JSON.stringify({ ...config, ...more }),
      weights: '',
      seed: 1n,
      storageDtype: 'float32',
      licence: 'CC0-1.0',
      tokenizer: '',
      file,
    },
    {},
  );
  return file;
}

export async function loadNativeModel(addon: NativeAddon, file: string, kind: NativeKind): Promise<NativeModel> {
  return addon.load(file, { kind, device: 'cpu', dtype: 'float32', trust: false }, {});
}

/** A tensor of numbers 0, 0.01, 0.02, … */
export function ramp(...shape: number[]): NativeTensor<Float32Array> {
  const count = shape.reduce((product, size) => product * size, 1);
  return { data: Float32Array.from({ length: count }, (_, i) => i / 100), shape };
}

/** A tensor of any data. */
export function tensor<T extends NativeArray>(data: T, ...shape: number[]): NativeTensor<T> {
  return { data, shape };
}
