// Latent codes: numbers with a shape and the name of their space. A bare Float32Array cannot tell [18, 512] from
// [1, 18, 512], which upstream took for 18 pictures (StyleCLIP issues 11 and 25).

import {
  checkBuffer,
  checkFinite,
  checkOneOf,
  checkOptions,
  checkPath,
  checkShape,
  fail,
  product,
  shapeText,
  show,
} from './check.js';
import { checkInteger, checkNumber } from './check.js';
import { readData } from './files/data.js';
import { npyFloat32, readNpy, writeNpy } from './files/npy.js';
import { readNpz } from './files/npz.js';
import { readSafetensors, safetensorsFloat32, writeSafetensors } from './files/safetensors.js';
import type { LatentDirection } from './latent-directions.js';
import { latentsIn, npzLatents } from './latents-file.js';
import type { Space, StyleLayout } from './types.js';

/** The spaces, by name. */
export const SPACES = ['z', 'w', 'w_plus', 's'] as const;

const FORMAT = 'styleclip.latents';

/** Where latents come from. Any further keys are kept, and written to .safetensors files if they are JSON. */
export interface LatentsMeta {
  /** Sha256 of the generator's archive; absent: fits any generator of the same shape. */
  readonly generatorSha256?: string;
  readonly [key: string]: unknown;
}

/** Options of {@link Latents.load}. */
export interface LatentsLoadOptions {
  /** Where the file does not tell. */
  space?: Space | undefined;
  /** Of the generator that an S file is for. */
  layout?: Pick<StyleLayout, 'layers'> | undefined;
}

/** Options of {@link Latents.move}. */
export interface MoveOptions {
  /** Of w_plus: the first row that moves, and the one after the last. Default: all rows. */
  rows?: readonly [number, number] | undefined;
}

/** What {@link Latents.from} takes back: latents after structured cloning, or anything of that form. */
export interface LatentsLike {
  readonly data: Float32Array;
  readonly shape: readonly number[];
  readonly space: Space;
  readonly meta?: LatentsMeta | undefined;
}

/**
 * A batch of latent codes: z [n, z], w [n, w], w_plus [n, rows, w] or s [n, channels], float32. Plain data: owns no
 * native memory, needs no closing, can be cloned and posted to a worker; `Latents.from(clone)` makes it a `Latents` again.
 */
export class Latents implements LatentsLike {
  /** All numbers, the last index fastest. */
  readonly data: Float32Array;
  /** [n, …] */
  readonly shape: readonly number[];
  readonly space: Space;
  readonly meta: LatentsMeta;

  private constructor(data: Float32Array, shape: readonly number[], space: Space, meta: LatentsMeta) {
    this.data = data;
    this.shape = shape;
    this.space = space;
    this.meta = meta;
  }

  /**
   * Latents from numbers, which are not copied.
   *
   * @throws StyleClipError `SHAPE` when shape, space and length do not fit each other; `NOT_FINITE` for NaN or infinity
   */
  static from(data: Float32Array, shape: readonly number[], space: Space, meta?: LatentsMeta): Latents;
  /** Latents from a structured clone of latents. */
  static from(clone: LatentsLike): Latents;
  static from(
    first: Float32Array | LatentsLike,
    shape?: readonly number[],
    space?: Space,
    meta?: LatentsMeta,
  ): Latents {
    if (first instanceof Latents) return first;
    if (first instanceof Float32Array) return Latents.#checked(first, shape, space, meta);
    if (first !== null && typeof first === 'object' && first.data instanceof Float32Array) {
      return Latents.#checked(first.data, first.shape, first.space, first.meta);
    }
    return fail(
      'ARGUMENT',
      `latents must be a Float32Array with shape and space, or a clone of Latents, not ${show(first)}`,
      "For example Latents.from(data, [1, 18, 512], 'w_plus').",
    );
  }

  static #checked(data: Float32Array, shape: unknown, space: unknown, meta: unknown): Latents {
    const sizes = checkShape(shape, 'shape');
    const known = checkOneOf(space, 'space', SPACES);
    if (meta !== undefined && (meta === null || typeof meta !== 'object' || Array.isArray(meta))) {
      fail('ARGUMENT', `meta must be an object, not ${show(meta)}`, 'Pass { generatorSha256 } or leave it out.');
    }
    checkBuffer(data, 'data');
    const rank = known === 'w_plus' ? 3 : 2;
    if (sizes.length === rank - 1) {
      fail(
        'SHAPE',
        `${shapeText(sizes)} given for a batch in space '${known}'`,
        `Wrap it as ${shapeText([1, ...sizes])}.`,
      );
    }
    if (sizes.length !== rank) {
      fail('SHAPE', `space '${known}' needs ${rank} dimensions, not ${shapeText(sizes)}`, SHAPES[known]);
    }
    if (sizes.includes(0)) fail('SHAPE', `${shapeText(sizes)} holds no latents`, 'Pass at least one.');
    if (product(sizes) !== data.length) {
      fail(
        'SHAPE',
        `shape ${shapeText(sizes)} needs ${product(sizes)} numbers; the data has ${data.length}`,
        SHAPES[known],
      );
    }
    checkFinite(data, 'latents', sizes);
    return new Latents(data, Object.freeze(sizes), known, Object.freeze({ ...(meta as LatentsMeta | undefined) }));
  }

  /** Puts batches of one space and shape behind one another. */
  static concat(parts: readonly Latents[]): Latents {
    const first = Array.isArray(parts) ? parts[0] : undefined;
    if (!(first instanceof Latents))
      fail('ARGUMENT', 'concat() needs at least one Latents', 'Pass an array of Latents.');
    for (const part of parts) {
      if (part.space !== first.space || shapeText(part.shape.slice(1)) !== shapeText(first.shape.slice(1))) {
        fail(
          'SHAPE',
          `${part.space} ${shapeText(part.shape)} cannot follow ${first.space} ${shapeText(first.shape)}`,
          'All parts need one space and one shape but for the first size.',
        );
      }
      if (part.meta.generatorSha256 !== first.meta.generatorSha256) {
        fail('MODEL_MISMATCH', 'the parts belong to different generators', 'Concatenate latents of one generator.');
      }
    }
    const data = new Float32Array(parts.reduce((sum, part) => sum + part.data.length, 0));
    let offset = 0;
    for (const part of parts) {
      data.set(part.data, offset);
      offset += part.data.length;
    }
    const count = parts.reduce((sum, part) => sum + part.length, 0);
    return Latents.from(data, [count, ...first.shape.slice(1)], first.space, first.meta);
  }

  /**
   * Reads `.safetensors` (written by {@link save}, or with one float tensor), `.npy`, `.npz`, or, by the importer, what
   * `torch.save` and `pickle` wrote: e4e's `latents.pt`, StyleCLIP's `train_faces.pt` and `S`, lists and dictionaries of
   * latents (the keys become `meta.names`), a tensor [n, 1, channels, 1, 1] a layer of S. Pickles are read as data: nothing
   * of them is run.
   *
   * @param options `space`: for files that do not name it: 3 dimensions are taken for w_plus, 2 need it; `layout`: a
   *   generator's, which the layers of an S file have to fit
   * @throws StyleClipError `FILE_NOT_FOUND`, `FILE_DAMAGED`, `FORMAT_UNKNOWN`, `SHAPE`, `NOT_FINITE`
   */
  static async load(file: string | URL, options?: LatentsLoadOptions): Promise<Latents> {
    const path = checkPath(file);
    const { space: given, layout } = checkOptions(options, ['space', 'layout'], 'Latents.load');
    if (given !== undefined) checkOneOf(given, 'space', SPACES);
    if (/\.npy$/i.test(path)) {
      const array = await readNpy(path);
      const space = given ?? (array.shape.length === 3 ? 'w_plus' : undefined);
      if (space === undefined) {
        fail(
          'ARGUMENT',
          `${path} does not say which space its ${shapeText(array.shape)} numbers are in`,
          "Pass { space: 'z', 'w' or 's' }.",
        );
      }
      return Latents.from(npyFloat32(array), array.shape, space);
    }
    if (/\.safetensors$/i.test(path)) return Latents.#fromSafetensors(path, given);
    const hints = { space: given, layout };
    const read = /\.npz$/i.test(path)
      ? npzLatents(await readNpz(path), path, hints)
      : latentsIn(await readData(path), path, hints);
    const { data, shape, space, names } = read;
    return Latents.from(data, shape, space, names === undefined ? undefined : { names });
  }

  static async #fromSafetensors(path: string, given: Space | undefined): Promise<Latents> {
    const { tensors, metadata } = await readSafetensors(path);
    const tensor = tensors.get('latents') ?? (tensors.size === 1 ? [...tensors.values()][0] : undefined);
    if (tensor === undefined) {
      fail(
        'FORMAT_UNKNOWN',
        `${path} has no tensor 'latents'`,
        `It holds ${[...tensors.keys()].join(', ') || 'nothing'}.`,
      );
    }
    const space = given ?? metadata['space'] ?? (tensor.shape.length === 3 ? 'w_plus' : undefined);
    if (space === undefined) {
      fail(
        'ARGUMENT',
        `${path} does not say which space its ${shapeText(tensor.shape)} numbers are in`,
        "Pass { space: 'z', 'w' or 's' }.",
      );
    }
    const sha256 = metadata['generator_sha256'];
    const meta = { ...parseMeta(metadata['meta']), ...(sha256 === undefined ? {} : { generatorSha256: sha256 }) };
    return Latents.from(safetensorsFloat32(tensor), tensor.shape, checkOneOf(space, `space in ${path}`, SPACES), meta);
  }

  /** Writes `.safetensors` (with space, generator and metadata) or `.npy` (the numbers alone), atomically. */
  async save(file: string | URL): Promise<void> {
    const path = checkPath(file);
    if (/\.npy$/i.test(path)) return writeNpy(path, this.data, this.shape);
    if (!/\.safetensors$/i.test(path)) {
      fail('FORMAT_UNKNOWN', `${path}: latents are written as .safetensors or .npy`, 'Choose one of these endings.');
    }
    const { generatorSha256, ...rest } = this.meta;
    return writeSafetensors(
      path,
      { latents: { data: this.data, shape: this.shape } },
      {
        format: FORMAT,
        version: '1',
        space: this.space,
        ...(generatorSha256 === undefined ? {} : { generator_sha256: generatorSha256 }),
        ...(Object.keys(rest).length === 0 ? {} : { meta: JSON.stringify(rest) }),
      },
    );
  }

  /**
   * latent + strength · vector: a step along a direction of z or w (an InterFaceGAN boundary, a GANSpace component), of
   * w_plus in some or all of its rows.
   *
   * @throws StyleClipError `SHAPE` for a direction of another length, `ARGUMENT` for one of another space
   */
  move(direction: LatentDirection, strength: number, options?: MoveOptions): Latents {
    const o = checkOptions(options, ['rows'], 'move');
    const by = checkNumber(strength, 'strength');
    const { space, vector } = direction;
    const rows = this.shape.length === 3 ? this.shape[1]! : 1;
    const width = this.shape.at(-1)!;
    if (space !== (this.space === 'w_plus' ? 'w' : this.space)) {
      fail('ARGUMENT', `a direction of ${space} cannot move ${this.space} latents`, 'Use a direction of their space.');
    }
    if (vector.length !== width) {
      fail('SHAPE', `the direction has ${vector.length} numbers, the latents ${width}`, 'Use one of this generator.');
    }
    if (o.rows !== undefined && this.space !== 'w_plus') {
      fail('ARGUMENT', `${this.space} latents have no rows`, 'Leave `rows` out.');
    }
    const [from, to] = o.rows ?? [0, rows];
    checkInteger(from, 'rows[0]', 0, rows - 1);
    checkInteger(to, 'rows[1]', from + 1, rows);
    const data = this.data.slice();
    for (let i = 0; i < data.length; i++) {
      const row = Math.floor(i / width) % rows;
      if (row >= from && row < to) data[i]! += by * vector[i % width]!;
    }
    return Latents.from(data, this.shape, this.space, this.meta);
  }

  /** Number of latents. */
  get length(): number {
    return this.shape[0]!;
  }

  /** Latent i alone, as a batch of one; negative i counts from the end. A copy. */
  at(i: number): Latents {
    const index = checkInteger(i, 'index', -this.length, this.length - 1);
    const start = index < 0 ? index + this.length : index;
    return this.slice(start, start + 1);
  }

  /** Latents start … end − 1, like Array.slice, but never empty. A copy. */
  slice(start = 0, end = this.length): Latents {
    const place = (n: number): number => Math.min(this.length, n < 0 ? Math.max(0, this.length + n) : n);
    const from = place(checkInteger(start, 'start', -Number.MAX_SAFE_INTEGER));
    const to = place(checkInteger(end, 'end', -Number.MAX_SAFE_INTEGER));
    if (to <= from)
      fail(
        'RANGE',
        `slice(${start}, ${end}) of ${this.length} latents is empty`,
        'Choose a range with at least one latent.',
      );
    const each = this.data.length / this.length;
    return new Latents(
      this.data.slice(from * each, to * each),
      Object.freeze([to - from, ...this.shape.slice(1)]),
      this.space,
      this.meta,
    );
  }
}

const SHAPES: Record<Space, string> = {
  z: 'z is [n, z], for example [8, 512].',
  w: 'w is [n, w], for example [8, 512].',
  w_plus: 'w_plus is [n, rows, w], for example [8, 18, 512].',
  s: 's is [n, style channels], for example [8, 9088] at 1024 px.',
};

function parseMeta(text: string | undefined): Record<string, unknown> {
  if (text === undefined) return {};
  try {
    const value: unknown = JSON.parse(text);
    return typeof value === 'object' && value !== null && !Array.isArray(value)
      ? (value as Record<string, unknown>)
      : {};
  } catch {
    return {};
  }
}
