/*
 * The smallest models of each kind, random weights, made and loaded through the public functions. Every test file gets a
 * folder of its own.
 */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import {
  readSafetensors,
  safetensorsFloat32,
  type SafetensorsInput,
  writeSafetensors,
} from '../../dist/files/safetensors.js';
import { configure, makeArchive, StyleClip, type MakeOptions } from '../../dist/index.js';
import { CONFIGS } from './native-models.js';
import { byteTokenizer } from './tiny-models.js';

/** test/data, from the folder of the compiled tests. */
const DATA = new URL('../../test/data/', import.meta.url);

/** As for the raw interface, but z is no wider than it need be, and CLIP reads whole sentences, byte by byte. */
const TINY_CONFIGS = {
  ...CONFIGS,
  generator: { ...CONFIGS.generator, config: { ...CONFIGS.generator.config, z_width: 14 } },
  clip: { ...CONFIGS.clip, config: { ...CONFIGS.clip.config, context_length: 40, vocabulary: 514 } },
};

/** Style channels of the tiny generator: conv 12 + 12 + 10 + 10 + 8, toRGB 12 + 10 + 8. */
export const TINY = { conv: 52, torgb: 30, total: 82, rows: 6, zDim: 14, wDim: 16, size: 16, embedding: 12 } as const;

export type TinyKind = keyof typeof TINY_CONFIGS;

/** A folder for the tests of one file; `remove` takes it away. */
export async function testFolder(): Promise<{ path: string; remove: () => Promise<void> }> {
  const path = await mkdtemp(join(tmpdir(), 'styleclip-test-'));
  return { path, remove: async () => rm(path, { recursive: true, force: true }) };
}

/** Writes a tiny archive; the same seed gives the same file. */
export async function makeTiny(folder: string, kind: TinyKind, name: string = kind, seed = 1): Promise<string> {
  const file = join(folder, `${name}.pt`);
  const { kind: architecture, config } = TINY_CONFIGS[kind];
  const options: MakeOptions = { kind: architecture, config, seed, licence: 'CC0-1.0' };
  await makeArchive(file, kind === 'clip' ? { ...options, tokenizer: byteTokenizer() } : options);
  return file;
}

/**
 * Writes a generator of finite weights that gives NaN from the output of b8.conv1 on: its noise is 3e38 times a map of standard
 * normal numbers.
 */
export async function makeBroken(folder: string, name = 'broken'): Promise<string> {
  const { tensors } = await readSafetensors(fileURLToPath(new URL('models/generator.safetensors', DATA)));
  const weights: Record<string, SafetensorsInput> = {};
  for (const [path, tensor] of tensors) {
    const [kind, ...own] = path.split('.');
    if (kind === 'weights') weights[own.join('.')] = { shape: tensor.shape, data: safetensorsFloat32(tensor) };
  }
  weights['convs.1.noise.weight'] = { shape: [1], data: Float32Array.of(3e38) };
  const [file, from] = ['pt', 'safetensors'].map((ending) => join(folder, `${name}.${ending}`)) as [string, string];
  await writeSafetensors(from, weights);
  const config = { imageSize: 16, channels: [6, 5, 4], zWidth: 5, styleWidth: 7, mappingLayers: 3 };
  await makeArchive(file, { kind: 'stylegan2', config, weights: from, licence: 'CC0-1.0' });
  return file;
}

/** A tiny generator and a tiny CLIP, on one thread of the CPU. */
export async function tinyStyleClip(folder: string): Promise<StyleClip> {
  configure({ threads: 1 });
  const [generator, clip] = [await makeTiny(folder, 'generator'), await makeTiny(folder, 'clip')];
  return StyleClip.load({ generator, clip, device: 'cpu' });
}
