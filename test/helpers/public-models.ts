/*
 * The smallest models of each kind, random weights, made and loaded through the public functions. Every test file gets a
 * folder of its own.
 */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { configure, makeArchive, StyleClip, type MakeOptions } from '../../dist/index.js';
import { byteTokenizer } from './tiny-models.js';

const CONFIGS = {
  generator: {
    kind: 'stylegan2',
    config: { imageSize: 16, channels: [12, 10, 8], zWidth: 14, styleWidth: 16, mappingLayers: 2 },
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
      contextLength: 40,
      vocabulary: 514,
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

/** Style channels of the tiny generator: conv 12 + 12 + 10 + 10 + 8, toRGB 12 + 10 + 8. */
export const TINY = { conv: 52, torgb: 30, total: 82, rows: 6, zDim: 14, wDim: 16, size: 16, embedding: 12 } as const;

export type TinyKind = keyof typeof CONFIGS;

/** A folder for the tests of one file; `remove` takes it away. */
export async function testFolder(): Promise<{ path: string; remove: () => Promise<void> }> {
  const path = await mkdtemp(join(tmpdir(), 'styleclip-test-'));
  return { path, remove: async () => rm(path, { recursive: true, force: true }) };
}

/** Writes a tiny archive; the same seed gives the same file. */
export async function makeTiny(folder: string, kind: TinyKind, name: string = kind, seed = 1): Promise<string> {
  const file = join(folder, `${name}.pt`);
  const { kind: architecture, config } = CONFIGS[kind];
  const options: MakeOptions = { kind: architecture, config, seed, licence: 'CC0-1.0' };
  await makeArchive(file, kind === 'clip' ? { ...options, tokenizer: byteTokenizer() } : options);
  return file;
}

/** A tiny generator and a tiny CLIP, on one thread of the CPU. */
export async function tinyStyleClip(folder: string): Promise<StyleClip> {
  configure({ threads: 1 });
  const [generator, clip] = [await makeTiny(folder, 'generator'), await makeTiny(folder, 'clip')];
  return StyleClip.load({ generator, clip, device: 'cpu' });
}
