// Noise maps of pictures, and differences of a generator's weights: what an inversion finds beside latents.

import { checkPath, fail, product, shapeText } from './check.js';
import { readSafetensors, safetensorsFloat32, writeSafetensors } from './files/safetensors.js';
import type { NativeTensor } from './native.js';

/** One map of every picture: [n, 1, r, r]. */
export interface NoiseMap {
  readonly data: Float32Array;
  readonly shape: readonly number[];
}

const NOISE_FORMAT = 'styleclip.noise';
const DIFFERENCE_FORMAT = 'styleclip.generator-difference';

/**
 * The noise inputs of pictures, one map [n, 1, r, r] for each convolution, in order of the layers. Plain data. In a file:
 * .safetensors with float32 tensors `noise_0`, `noise_1`, … and metadata `format: styleclip.noise`, `generator_sha256`.
 */
export class NoiseMaps {
  readonly maps: readonly NoiseMap[];
  readonly generatorSha256: string | undefined;

  private constructor(maps: readonly NoiseMap[], generatorSha256: string | undefined) {
    this.maps = maps;
    this.generatorSha256 = generatorSha256;
  }

  /** `SHAPE` when they are not [n, 1, r, r] of one n. */
  static from(maps: readonly NoiseMap[], generatorSha256?: string): NoiseMaps {
    const first = Array.isArray(maps) ? (maps[0] as NoiseMap | undefined) : undefined;
    if (first === undefined) fail('ARGUMENT', 'there are no noise maps', 'Pass one for each convolution.');
    for (const [i, { data, shape }] of maps.entries()) {
      const [n, one, height, width] = shape;
      const square = shape.length === 4 && one === 1 && height === width && n === first.shape[0];
      if (!(data instanceof Float32Array) || !square || product(shape) !== data.length) {
        fail('SHAPE', `noise map ${i} has shape ${shapeText(shape)}`, 'Pass float32 maps [n, 1, r, r] of one n.');
      }
    }
    return new NoiseMaps([...maps], generatorSha256);
  }

  static async load(file: string | URL): Promise<NoiseMaps> {
    const path = checkPath(file);
    const { tensors, metadata } = await readSafetensors(path);
    if (metadata['format'] !== NOISE_FORMAT) {
      fail('FORMAT_UNKNOWN', `${path} holds no noise maps`, 'Name a file that `styleclip invert` wrote.');
    }
    const maps: NoiseMap[] = [];
    for (let i = 0; ; i++) {
      const tensor = tensors.get(`noise_${i}`);
      if (tensor === undefined) break;
      maps.push({ data: safetensorsFloat32(tensor), shape: [...tensor.shape] });
    }
    return NoiseMaps.from(maps, metadata['generator_sha256']);
  }

  /** Atomically. */
  async save(file: string | URL): Promise<void> {
    const tensors = Object.fromEntries(
      this.maps.map(({ data, shape }, i) => [`noise_${i}`, { data, shape: [...shape] }]),
    );
    const sha256 = this.generatorSha256;
    const metadata = { format: NOISE_FORMAT, ...(sha256 === undefined ? {} : { generator_sha256: sha256 }) };
    await writeSafetensors(checkPath(file), tensors, metadata);
  }

  /** Number of pictures; 1 may serve any number. */
  get length(): number {
    return this.maps[0]!.shape[0]!;
  }

  /** Those of picture i alone. A copy. */
  at(i: number): NoiseMaps {
    if (!(Number.isSafeInteger(i) && i >= 0 && i < this.length)) {
      fail('RANGE', `there is no picture ${i} among ${this.length}`, 'Pass 0 … length - 1.');
    }
    const maps = this.maps.map(({ data, shape }) => {
      const each = data.length / this.length;
      return { data: data.slice(i * each, (i + 1) * each), shape: [1, ...shape.slice(1)] };
    });
    return new NoiseMaps(maps, this.generatorSha256);
  }
}

/** What pivotal tuning adds to a generator's weights, by name. Plain data. */
export interface GeneratorDifference {
  readonly tensors: Readonly<Record<string, NativeTensor<Float32Array>>>;
  readonly generatorSha256: string;
}

/** As .safetensors, metadata `format: styleclip.generator-difference`, `generator_sha256`. Atomically. */
export async function saveDifference(file: string | URL, difference: GeneratorDifference): Promise<void> {
  const metadata = { format: DIFFERENCE_FORMAT, generator_sha256: difference.generatorSha256 };
  await writeSafetensors(checkPath(file), difference.tensors, metadata);
}

/** @throws StyleClipError `FORMAT_UNKNOWN` for another file; those of reading */
export async function loadDifference(file: string | URL): Promise<GeneratorDifference> {
  const path = checkPath(file);
  const { tensors, metadata } = await readSafetensors(path);
  if (metadata['format'] !== DIFFERENCE_FORMAT) {
    fail('FORMAT_UNKNOWN', `${path} is no difference of a generator`, 'Name a file that a pivotal tuning wrote.');
  }
  const all: Record<string, NativeTensor<Float32Array>> = {};
  for (const [name, tensor] of tensors) all[name] = { data: safetensorsFloat32(tensor), shape: [...tensor.shape] };
  return { tensors: all, generatorSha256: metadata['generator_sha256'] ?? '' };
}
