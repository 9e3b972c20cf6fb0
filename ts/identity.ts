// The identity network (ArcFace on IR-SE): tells whether two pictures show the same face, or cat.

import { checkOptions } from './check.js';
import { embeddings, imageTensor, type Embeddings } from './clip.js';
import type { ImagesLike } from './images.js';
import { callModel, describedSize, loadModel, Model, modelInfo } from './model.js';
import type { NativeModel } from './native.js';
import type { ModelInfo, ModelOptions, RunOptions } from './types.js';

/** What an identity network tells of itself. */
export interface IdentityInfo extends ModelInfo {
  /** Pixels of the picture it looks at; others are cropped and resized as the archive says. */
  readonly imageSize: number;
  readonly embeddingDim: number;
}

/** An identity network. Owns native memory: close it, or load it with `await using`. */
export class Identity extends Model {
  readonly #info: IdentityInfo;

  private constructor(handle: NativeModel) {
    super(handle);
    const info = modelInfo(handle);
    this.#info = Object.freeze({
      ...info,
      imageSize: describedSize(info, 'image_size'),
      embeddingDim: describedSize(info, 'embedding'),
    });
  }

  /** Loads an archive of kind `identity`. Errors as {@link Generator.load}. */
  static async load(file: string | URL, options?: ModelOptions): Promise<Identity> {
    return new Identity(await loadModel('identity', file, options, 'Identity.load'));
  }

  get info(): IdentityInfo {
    return this.#info;
  }

  /** Pictures of any size → unit embeddings [n, dim]; their dot product is the cosine similarity of two identities. */
  async embed(images: ImagesLike, options?: RunOptions): Promise<Embeddings> {
    const o = checkOptions(options, ['signal', 'onProgress'], 'embed');
    const input = imageTensor(images);
    return embeddings(await callModel(this, o, (addon, handle, run) => addon.embed(handle, input, run)), false);
  }
}
