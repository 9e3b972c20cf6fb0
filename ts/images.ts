// Pictures as plain data: batches of 8-bit RGB in the layout that sharp takes, or of floats as the networks have them.
// Reading and writing files is sharp's work.

import sharp, { type Sharp } from 'sharp';
import { checkBuffer, checkInteger, checkOneOf, checkOptions, checkPath, fail, show } from './check.js';
import { StyleClipError } from './errors.js';
import { readFileChecked, writeFileAtomic } from './files/atomic.js';
import { contactSheet, type SheetOptions } from './report/sheet.js';

/** What {@link Images.from} takes back: pictures after structured cloning, or anything of that form. */
export interface ImagesLike {
  readonly data: Uint8Array | Float32Array;
  readonly count: number;
  readonly width: number;
  readonly height: number;
}

/** A picture to read: a path, a file: URL, or the bytes of a picture file. */
export type ImageSource = string | URL | Uint8Array;

/** Options of {@link Images.contactSheet}. */
export interface ContactSheetOptions extends SheetOptions {
  /** Pictures in a row. Default: the square root of the count, rounded up. */
  columns?: number | undefined;
}

/**
 * A batch of RGB pictures of one size. `Uint8Array`: NHWC, 0..255; `Float32Array`: NCHW, nominally -1..1, as generators
 * make them and CLIP takes them. Plain data: can be cloned and posted to a worker; `Images.from(clone)` revives it.
 */
export class Images implements ImagesLike {
  readonly data: Uint8Array | Float32Array;
  readonly count: number;
  readonly width: number;
  readonly height: number;

  private constructor(data: Uint8Array | Float32Array, count: number, width: number, height: number) {
    this.data = data;
    this.count = count;
    this.width = width;
    this.height = height;
  }

  /** Pictures from numbers, which are not copied. `SHAPE` when their number is not count × 3 × height × width. */
  static from(images: ImagesLike): Images {
    if (images instanceof Images) return images;
    if (
      images === null ||
      typeof images !== 'object' ||
      !(images.data instanceof Uint8Array || images.data instanceof Float32Array)
    ) {
      fail(
        'ARGUMENT',
        `pictures must be { data, count, width, height } with a Uint8Array or Float32Array, not ${show(images)}`,
        'Read files with Images.read(), or pass such an object.',
      );
    }
    const count = checkInteger(images.count, 'count', 1);
    const width = checkInteger(images.width, 'width', 1);
    const height = checkInteger(images.height, 'height', 1);
    checkBuffer(images.data, 'data');
    if (images.data.length !== count * width * height * 3) {
      fail(
        'SHAPE',
        `${count} RGB pictures of ${width} x ${height} are ${count * width * height * 3} numbers; the data has ${images.data.length}`,
        'uint8 pictures are [count, height, width, 3], float32 ones [count, 3, height, width].',
      );
    }
    return new Images(images.data, count, width, height);
  }

  /**
   * Reads picture files of any format that sharp knows, as 8-bit RGB. EXIF orientation is applied, transparency is laid
   * on white, other colour spaces become sRGB.
   *
   * @param options `size`: scales the shorter side to this many pixels (cubic) and crops the middle, as CLIP does;
   *   without it all pictures must have one size
   * @throws StyleClipError `FILE_NOT_FOUND`, `FILE_DAMAGED`, `SHAPE` for pictures of different sizes
   */
  static async read(
    files: ImageSource | readonly ImageSource[],
    options?: { size?: number | undefined },
  ): Promise<Images> {
    const { size } = checkOptions(options, ['size'], 'Images.read');
    if (size !== undefined) checkInteger(size, 'size', 1, 16384);
    const list: readonly ImageSource[] = Array.isArray(files) ? files : [files as ImageSource];
    if (list.length === 0) fail('ARGUMENT', 'no picture given', 'Pass at least one path, URL or buffer.');
    const pictures: { data: Buffer; width: number; height: number }[] = [];
    // A few at a time: sharp has its own threads, and a thousand open files are too many.
    for (let i = 0; i < list.length; i += 8) {
      pictures.push(
        ...(await Promise.all(list.slice(i, i + 8).map(async (file, k) => readPicture(file, i + k, size)))),
      );
    }
    const first = pictures[0]!;
    const odd = pictures.findIndex((p) => p.width !== first.width || p.height !== first.height);
    if (odd > 0) {
      const other = pictures[odd]!;
      fail(
        'SHAPE',
        `picture 0 has ${first.width} x ${first.height} pixels, picture ${odd} ${other.width} x ${other.height}`,
        'Pass { size } to bring them to one size.',
      );
    }
    const data = new Uint8Array(pictures.length * first.data.length);
    for (const [i, picture] of pictures.entries()) data.set(picture.data, i * first.data.length);
    return new Images(data, pictures.length, first.width, first.height);
  }

  /** Puts batches of one size and type behind one another. */
  static concat(parts: readonly Images[]): Images {
    const first = Array.isArray(parts) ? parts[0] : undefined;
    if (!(first instanceof Images)) fail('ARGUMENT', 'concat() needs at least one Images', 'Pass an array of Images.');
    const float = first.data instanceof Float32Array;
    const length = parts.reduce((sum, p) => sum + p.data.length, 0);
    const data = float ? new Float32Array(length) : new Uint8Array(length);
    let offset = 0;
    for (const part of parts) {
      if (part.width !== first.width || part.height !== first.height || part.data instanceof Float32Array !== float) {
        fail(
          'SHAPE',
          'the parts differ in size or type',
          'All parts need one size and one type; see resize() and toUint8().',
        );
      }
      data.set(part.data, offset);
      offset += part.data.length;
    }
    return new Images(
      data,
      parts.reduce((sum, p) => sum + p.count, 0),
      first.width,
      first.height,
    );
  }

  /** Number of pictures. */
  get length(): number {
    return this.count;
  }

  /** Picture i alone; negative i counts from the end. A copy. */
  at(i: number): Images {
    const given = checkInteger(i, 'index', -this.count, this.count - 1);
    const index = given < 0 ? given + this.count : given;
    const each = this.width * this.height * 3;
    return new Images(this.data.slice(index * each, (index + 1) * each), 1, this.width, this.height);
  }

  /** The pictures one after another, as copies. A single picture yields itself, so that walking down ends in a cycle. */
  *[Symbol.iterator](): Iterator<Images> {
    if (this.count === 1) yield this;
    else for (let i = 0; i < this.count; i++) yield this.at(i);
  }

  /** As 8-bit NHWC: clamp(x · 127.5 + 128, 0, 255), truncated, the released generators' rule. Itself if it is already. */
  toUint8(): Images {
    const { data, count, width, height } = this;
    if (data instanceof Uint8Array) return this;
    const area = width * height;
    const out = new Uint8Array(data.length);
    for (let n = 0; n < count; n++) {
      for (let c = 0; c < 3; c++) {
        const plane = (n * 3 + c) * area;
        for (let p = 0; p < area; p++) {
          out[(n * area + p) * 3 + c] = Math.min(255, Math.max(0, data[plane + p]! * 127.5 + 128));
        }
      }
    }
    return new Images(out, count, width, height);
  }

  /** As float NCHW: x / 127.5 − 1. Itself if it is already. */
  toFloat32(): Images {
    const { data, count, width, height } = this;
    if (data instanceof Float32Array) return this;
    const area = width * height;
    const out = new Float32Array(data.length);
    for (let n = 0; n < count; n++) {
      for (let c = 0; c < 3; c++) {
        const plane = (n * 3 + c) * area;
        for (let p = 0; p < area; p++) out[plane + p] = data[(n * area + p) * 3 + c]! / 127.5 - 1;
      }
    }
    return new Images(out, count, width, height);
  }

  /**
   * 8-bit pictures scaled to `size` x `size`, or to `{ width, height }`.
   *
   * @param options `fit`: `'cover'` (default) keeps the aspect and crops the middle, `'fill'` stretches
   */
  async resize(
    size: number | { width: number; height: number },
    options?: { fit?: 'cover' | 'fill' | undefined },
  ): Promise<Images> {
    const box = typeof size === 'object' && size !== null ? size : { width: size, height: size };
    const width = checkInteger(box.width, 'width', 1, 16384);
    const height = checkInteger(box.height, 'height', 1, 16384);
    const fit = checkOneOf(checkOptions(options, ['fit'], 'resize').fit ?? 'cover', 'fit', ['cover', 'fill']);
    const parts: Images[] = [];
    for (const image of this.toUint8()) {
      const data = await image.#sharp().resize(width, height, { fit, kernel: 'cubic' }).raw().toBuffer();
      parts.push(new Images(new Uint8Array(data), 1, width, height));
    }
    return Images.concat(parts);
  }

  /**
   * One picture as PNG; also written to `file` (atomically, missing folders are made) when one is given.
   *
   * @throws StyleClipError `SHAPE` for a batch of several pictures; `DISK` when the file cannot be written
   */
  async png(file?: string | URL): Promise<Uint8Array> {
    if (this.count !== 1) {
      fail(
        'SHAPE',
        `png() writes one picture; this batch has ${this.count}`,
        'Use at(i).png(file), or contactSheet(file).',
      );
    }
    const path = file === undefined ? undefined : checkPath(file);
    const bytes = await this.toUint8().#sharp().png({ compressionLevel: 9 }).toBuffer();
    if (path !== undefined) await writeFileAtomic(path, bytes);
    return new Uint8Array(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  }

  /** All pictures in one PNG; also written to `file` when one is given. */
  async contactSheet(file?: string | URL, options: ContactSheetOptions = {}): Promise<Uint8Array> {
    const { columns = Math.ceil(Math.sqrt(this.count)), ...sheet } = options;
    checkInteger(columns, 'columns', 1);
    const path = file === undefined ? undefined : checkPath(file);
    const pictures = [...this.toUint8()] as (Images & { data: Uint8Array })[];
    const rows: (Images & { data: Uint8Array })[][] = [];
    for (let i = 0; i < pictures.length; i += columns) rows.push(pictures.slice(i, i + columns));
    const bytes = await contactSheet(rows, sheet);
    if (path !== undefined) await writeFileAtomic(path, bytes);
    return new Uint8Array(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  }

  /** sharp on the first picture, which must be 8-bit. */
  #sharp(): Sharp {
    return sharp(this.data as Uint8Array, { raw: { width: this.width, height: this.height, channels: 3 } });
  }
}

async function readPicture(
  source: ImageSource,
  index: number,
  size: number | undefined,
): Promise<{ data: Buffer; width: number; height: number }> {
  const path = source instanceof Uint8Array ? undefined : checkPath(source, `picture ${index}`);
  const bytes = path === undefined ? (source as Uint8Array) : await readFileChecked(path);
  try {
    let image = sharp(bytes, { failOn: 'error' })
      .autoOrient()
      .flatten({ background: '#ffffff' })
      .toColourspace('srgb')
      .removeAlpha();
    if (size !== undefined) image = image.resize(size, size, { fit: 'cover', kernel: 'cubic' });
    const { data, info } = await image.raw({ depth: 'uchar' }).toBuffer({ resolveWithObject: true });
    if (info.channels === 3) return { data, width: info.width, height: info.height };
    throw new Error(`${info.channels} channels`);
  } catch (e) {
    throw new StyleClipError('FILE_DAMAGED', `${path ?? `picture ${index}`} is not a picture that can be read`, {
      remedy: 'PNG, JPEG, WebP, TIFF, GIF and AVIF are read; write the file again.',
      cause: e,
    });
  }
}
