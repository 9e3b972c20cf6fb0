// The encoder (e4e, pSp): finds latents of a picture in one pass.

import { checkOptions } from './check.js';
import { imageTensor } from './clip.js';
import type { ImagesLike } from './images.js';
import { Latents } from './latents.js';
import { callModel, describedSize, loadModel, Model, modelInfo } from './model.js';
import type { NativeModel } from './native.js';
import type { ModelInfo, ModelOptions, RunOptions } from './types.js';

/** What an encoder tells of itself. */
export interface EncoderInfo extends ModelInfo {
  /** Pixels of the picture it looks at; others are resized. */
  readonly imageSize: number;
  /** Of the generator whose latents it gives; undefined where the archive does not say. */
  readonly generatorSha256: string | undefined;
}

/** An encoder from pictures to w_plus. Owns native memory: close it, or load it with `await using`. */
export class Encoder extends Model {
  readonly #info: EncoderInfo;

  private constructor(handle: NativeModel) {
    super(handle);
    const info = modelInfo(handle);
    const sha256 = info.description['generator_sha256'];
    const generatorSha256 = typeof sha256 === 'string' ? sha256 : undefined;
    this.#info = Object.freeze({ ...info, imageSize: describedSize(info, 'image_size'), generatorSha256 });
  }

  /** Loads an archive of kind `encoder`. Errors as {@link Generator.load}. */
  static async load(file: string | URL, options?: ModelOptions): Promise<Encoder> {
    return new Encoder(await loadModel('encoder', file, options, 'Encoder.load'));
  }

  get info(): EncoderInfo {
    return this.#info;
  }

  /** Pictures of any size → w_plus [n, rows, w]. They carry the generator's sha256 if the archive names it. */
  async encode(images: ImagesLike, options?: RunOptions): Promise<Latents> {
    const o = checkOptions(options, ['signal', 'onProgress'], 'encode');
    const input = imageTensor(images);
    const { data, shape } = await callModel(this, o, (addon, handle, run) => addon.encode(handle, input, run));
    const { generatorSha256 } = this.#info;
    const meta = generatorSha256 === undefined ? {} : { generatorSha256 };
    return Latents.from(data, shape, 'w_plus', meta);
  }
}
