// LPIPS as a TorchScript module, given by its file. Not shipped: its weights are others' work.

import { checkOptions } from './check.js';
import { imageTensor } from './clip.js';
import type { ImagesLike } from './images.js';
import { callModel, loadModel, Model, modelInfo } from './model.js';
import type { NativeModel } from './native.js';
import type { ModelInfo, ModelOptions, RunOptions } from './types.js';

/**
 * A TorchScript module that compares pictures: `forward(a, b)` gives distances of pictures in [-1, 1] (LPIPS), or
 * `forward(x)` features whose squared distance counts (the projector's VGG16, known by its argument `return_lpips`, which
 * takes 0..255). Foreign code: it needs `trust: true`.
 */
export class Perceptual extends Model {
  readonly #info: ModelInfo;

  private constructor(handle: NativeModel) {
    super(handle);
    this.#info = Object.freeze(modelInfo(handle));
  }

  static async load(file: string | URL, options?: ModelOptions): Promise<Perceptual> {
    return new Perceptual(await loadModel('perceptual', file, options, 'Perceptual.load'));
  }

  get info(): ModelInfo {
    return this.#info;
  }

  /** How far pictures are from others of the same size, one by one: [n]. `SHAPE` when number or size differ. */
  async compare(images: ImagesLike, others: ImagesLike, options?: RunOptions): Promise<Float32Array> {
    const o = checkOptions(options, ['signal', 'onProgress'], 'compare');
    const [a, b] = [imageTensor(images), imageTensor(others)];
    return (await callModel(this, o, (addon, handle, run) => addon.perceptualDistance(handle, a, b, run))).data;
  }
}
