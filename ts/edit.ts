// What an edit gives back: pictures by latent and strength, and the S codes they were rendered from, so edits compose.

import { checkInteger, checkOptions, checkPath, fail } from './check.js';
import { writeFileAtomic } from './files/atomic.js';
import type { Images } from './images.js';
import type { Latents } from './latents.js';
import { alphaLabel, contactSheet, type SheetOptions } from './report/sheet.js';

/** One edited picture. */
export interface EditedImage {
  /** Index of the latent that was edited. */
  readonly latent: number;
  /** Strength. */
  readonly alpha: number;
  /** One picture. */
  readonly image: Images;
  /** Its S code, [1, channels]: edit it further, or render it again. */
  readonly latents: Latents;
}

/** All pictures of an edit. Plain data. */
export class EditBatch implements Iterable<EditedImage> {
  /** `images[latent][alpha]`, one picture each. */
  readonly images: readonly (readonly Images[])[];
  /** The strengths, in the order asked for. */
  readonly alphas: readonly number[];
  /** S codes of all pictures, latent-major: [latents × alphas, channels]. */
  readonly latents: Latents;

  /** @internal */
  constructor(all: Images, latents: Latents, alphas: readonly number[]) {
    const rows: Images[][] = [];
    for (let i = 0; i < all.count; i += alphas.length) rows.push(alphas.map((_, k) => all.at(i + k)));
    this.images = rows;
    this.alphas = alphas;
    this.latents = latents;
  }

  /** Number of pictures. */
  get length(): number {
    return this.images.length * this.alphas.length;
  }

  /**
   * One picture.
   *
   * @param latent index of the latent
   * @param alpha index of the strength, not the strength itself
   */
  at(latent: number, alpha: number): EditedImage {
    const i = checkInteger(latent, 'latent', 0, this.images.length - 1);
    const k = checkInteger(alpha, 'alpha', 0, this.alphas.length - 1);
    return {
      latent: i,
      alpha: this.alphas[k]!,
      image: this.images[i]![k]!,
      latents: this.latents.at(i * this.alphas.length + k),
    };
  }

  /** All pictures, latent 0 with all strengths first. */
  *[Symbol.iterator](): Iterator<EditedImage> {
    for (let i = 0; i < this.images.length; i++) {
      for (let k = 0; k < this.alphas.length; k++) yield this.at(i, k);
    }
  }

  /** One picture, a row for each latent and a column for each strength, as PNG; also written to `file` when given. */
  async contactSheet(file?: string | URL, options?: SheetOptions): Promise<Uint8Array> {
    const keys = ['title', 'columnLabels', 'rowLabels', 'cell'];
    const given = checkOptions(options, keys, 'contactSheet');
    const path = file === undefined ? undefined : checkPath(file);
    const rows = this.images.map((row) =>
      row.map((image) => {
        const { data, width, height } = image.toUint8();
        return data instanceof Uint8Array
          ? { data, width, height }
          : fail('SHAPE', 'no 8-bit picture', 'Report this as a bug.');
      }),
    );
    const bytes = await contactSheet(rows, { columnLabels: this.alphas.map(alphaLabel), ...given });
    if (path !== undefined) await writeFileAtomic(path, bytes);
    return new Uint8Array(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  }
}
