/*
 * Models for the tests of the raw interface: the smallest of each kind, random weights, made by the addon itself.
 */
import { join } from 'node:path';
import type { NativeAddon, NativeArray, NativeModel, NativeTensor } from '../../dist/native.js';

/** Configurations of the smallest models, in the names of docs/models.md. */
export const CONFIGS = {
  generator: {
    kind: 'stylegan2',
    config: { image_size: 16, channels: [12, 10, 8], z_width: 16, style_width: 16, mapping_layers: 2 },
  },
  clip: {
    kind: 'clip',
    config: {
      vision: 'vit',
      image_size: 16,
      patch: 8,
      embedding: 12,
      vision_width: 16,
      vision_layers: [1],
      vision_heads: 2,
      text_width: 16,
      text_layers: 1,
      text_heads: 2,
      context_length: 8,
      vocabulary: 32,
    },
  },
  identity: {
    kind: 'ir-se',
    config: {
      image_size: 16,
      blocks: [1, 1, 1, 1],
      channels: [8, 8, 8, 8],
      reduction: 4,
      embedding: 8,
      preprocessing: 'resize',
    },
  },
  encoder: {
    kind: 'e4e',
    config: { image_size: 32, rows: 6, style_width: 16, blocks: [1, 1, 1, 1], channels: [8, 8, 8, 8], reduction: 4 },
  },
  mapper: { kind: 'mapper', config: { space: 'w_plus', rows: 6, style_width: 16, levels: ['all'] } },
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
