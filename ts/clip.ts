// CLIP: pictures and texts as points of one space, and text directions in it.

import { checkBoolean, checkInteger, checkOneOf, checkOptions, checkString, checkTexts, fail } from './check.js';
import { log } from './configure.js';
import { TextDirection } from './direction.js';
import { Images, type ImagesLike } from './images.js';
import { callModel, describedSize, loadModel, Model, modelInfo } from './model.js';
import type { NativeModel, NativeTensor } from './native.js';
import { fillTemplate, IMAGENET_TEMPLATES } from './templates.js';
import { Tokenizer, type Tokens } from './tokenizer/tokenizer.js';
import type { ModelInfo, ModelOptions, Preprocess, RunOptions } from './types.js';

/** What a CLIP model tells of itself. */
export interface ClipInfo extends ModelInfo {
  /** Pixels of the picture it looks at; others are resized. */
  readonly imageSize: number;
  readonly embeddingDim: number;
  /** Longest text in tokens, start and end included: 77 in CLIP. */
  readonly contextLength: number;
  readonly vocabularySize: number;
}

/** Rows of numbers, one a text or picture. Plain data. */
export interface Embeddings {
  /** [n, dim] */
  readonly data: Float32Array;
  readonly shape: readonly [number, number];
}

/** Options of {@link Clip.tokenize}. */
export interface TokenizeOptions {
  /** Cuts texts that are longer than the context, instead of refusing them. Default false. */
  truncate?: boolean | undefined;
}

/** Options of {@link Clip.encodeText}. */
export interface EncodeTextOptions extends TokenizeOptions, RunOptions {
  /** Brings every embedding to unit length. Default false. */
  normalize?: boolean | undefined;
}

/** Options of {@link Clip.encodeImages}. */
export interface EncodeImagesOptions extends RunOptions {
  /** Brings every embedding to unit length. Default false. */
  normalize?: boolean | undefined;
  /** Default `'float'`. */
  preprocess?: Preprocess | undefined;
  /** Pictures in one forward pass. Default 64. */
  batch?: number | undefined;
}

/** Options of {@link Clip.direction}. */
export interface TextDirectionOptions extends TokenizeOptions, RunOptions {
  /** What the pictures show now: `'a face'`, `'a cat'`. */
  neutral: string;
  /** What they shall show: `'a smiling face'`. */
  target: string;
  /** `'imagenet'` (default): 79 templates; `'none'`: the texts alone; or your own, with `{}` where the text goes. */
  templates?: 'imagenet' | 'none' | readonly string[] | undefined;
}

const RUN_KEYS = ['signal', 'onProgress'];

/** A CLIP model with its tokenizer. Owns native memory: close it, or load it with `await using`. */
export class Clip extends Model {
  readonly #info: ClipInfo;
  readonly #tokenizer: Tokenizer | undefined;

  private constructor(handle: NativeModel) {
    super(handle);
    const info = modelInfo(handle);
    this.#tokenizer = handle.tokenizer === '' ? undefined : Tokenizer.parse(handle.tokenizer, handle.file);
    this.#info = Object.freeze({
      ...info,
      imageSize: describedSize(info, 'image_size'),
      embeddingDim: describedSize(info, 'embedding'),
      contextLength: describedSize(info, 'context_length'),
      vocabularySize: describedSize(info, 'vocabulary'),
    });
  }

  /** Loads an archive of kind `clip`. Errors as {@link Generator.load}, and those of its tokenizer. */
  static async load(file: string | URL, options?: ModelOptions): Promise<Clip> {
    const handle = await loadModel('clip', file, options, 'Clip.load');
    try {
      return new Clip(handle);
    } catch (e) {
      await handle.close();
      throw e;
    }
  }

  get info(): ClipInfo {
    return this.#info;
  }

  /** Its tokenizer; `ARGUMENT` for an archive that carries none. */
  get tokenizer(): Tokenizer {
    return (
      this.#tokenizer ??
      fail('ARGUMENT', `${this.#info.file} carries no tokenizer`, 'Make the archive again with its tokenizer.json.')
    );
  }

  /**
   * Texts → tokens, [n, context]. Unknown words are returned, and named in one warning to the logger.
   *
   * @throws StyleClipError `RANGE` for a text that is too long, unless `truncate`
   */
  tokenize(texts: string | readonly string[], options?: TokenizeOptions): Tokens {
    const o = checkOptions(options, ['truncate'], 'tokenize');
    const tokens = this.#tokenize(checkTexts(texts, 'texts'), o);
    this.#warn(tokens.unknownWords);
    return tokens;
  }

  /** Texts → embeddings [n, dim]. Errors as {@link tokenize}. */
  async encodeText(texts: string | readonly string[], options?: EncodeTextOptions): Promise<Embeddings> {
    const o = checkOptions(options, [...RUN_KEYS, 'truncate', 'normalize'], 'encodeText');
    const normalize = checkBoolean(o.normalize ?? false, 'normalize');
    const tokens = this.#tokenize(checkTexts(texts, 'texts'), o);
    this.#warn(tokens.unknownWords);
    const result = await callModel(this, o, (addon, handle, run) => addon.encodeText(handle, tensor(tokens), run));
    return embeddings(result, normalize);
  }

  /** Pictures of any size → embeddings [n, dim]. */
  async encodeImages(images: ImagesLike, options?: EncodeImagesOptions): Promise<Embeddings> {
    const o = checkOptions(options, [...RUN_KEYS, 'normalize', 'preprocess', 'batch'], 'encodeImages');
    const normalize = checkBoolean(o.normalize ?? false, 'normalize');
    const preprocess = checkOneOf(o.preprocess ?? 'float', 'preprocess', ['float', 'reference8']);
    const batch = checkInteger(o.batch ?? 64, 'batch', 1, 4096);
    const input = imageTensor(images);
    const result = await callModel(this, o, (addon, handle, run) =>
      addon.encodeImage(handle, input, { preprocess, batch }, run),
    );
    return embeddings(result, normalize);
  }

  /**
   * The text direction Δt from `neutral` to `target`, averaged over templates.
   *
   * @throws StyleClipError `EMPTY_SELECTION` when both texts embed alike; `ARGUMENT` for a template without `{}`
   */
  async direction(options: TextDirectionOptions): Promise<TextDirection> {
    const o = checkOptions(options, [...RUN_KEYS, 'neutral', 'target', 'templates', 'truncate'], 'direction');
    const neutral = checkText(o.neutral, 'neutral');
    const target = checkText(o.target, 'target');
    const templates = checkTemplates(o.templates ?? 'imagenet');
    const unknownWords = [...new Set([target, neutral].flatMap((text) => this.tokenizer.encode(text).unknownWords))];
    this.#warn(unknownWords);
    const [targets, neutrals] = [target, neutral].map((text) =>
      this.#tokenize(
        templates.map((template) => fillTemplate(template, text)),
        o,
      ),
    ) as [Tokens, Tokens];
    const result = await callModel(this, o, (addon, handle, run) =>
      addon.textDirection(handle, tensor(targets), tensor(neutrals), run),
    );
    return TextDirection.from({
      direction: result.direction,
      length: result.length,
      targetEmbedding: result.target,
      neutralEmbedding: result.neutral,
      target,
      neutral,
      templates,
      unknownWords,
      clipSha256: this.#info.sha256,
    });
  }

  #tokenize(texts: readonly string[], o: TokenizeOptions): Tokens {
    return this.tokenizer.encodeBatch(texts, this.#info.contextLength, checkBoolean(o.truncate ?? false, 'truncate'));
  }

  #warn(words: readonly string[]): void {
    if (words.length === 0) return;
    log(
      'warn',
      `${this.#info.file} does not know ${words.map((w) => `"${w}"`).join(', ')}: what it makes of it means little`,
    );
  }
}

/** Pictures as the addon takes them. */
export function imageTensor(images: ImagesLike): NativeTensor<Uint8Array | Float32Array> {
  const { data, count, width, height } = Images.from(images);
  return { data, shape: data instanceof Uint8Array ? [count, height, width, 3] : [count, 3, height, width] };
}

/** The addon's rows, brought to unit length if wanted; a row of zeros stays one. */
export function embeddings(result: NativeTensor<Float32Array>, normalize: boolean): Embeddings {
  const [n, dim] = result.shape as [number, number];
  if (normalize) {
    for (let i = 0; i < n; i++) {
      const row = result.data.subarray(i * dim, (i + 1) * dim);
      const length = Math.sqrt(row.reduce((sum, v) => sum + v * v, 0));
      if (length > 0) row.forEach((v, k) => (row[k] = v / length));
    }
  }
  return { data: result.data, shape: [n, dim] };
}

function tensor(tokens: Tokens): NativeTensor<Int32Array> {
  return { data: tokens.data, shape: [...tokens.shape] };
}

function checkText(value: unknown, name: string): string {
  const text = checkString(value, name);
  if (text.trim() === '') fail('ARGUMENT', `${name} is empty`, `Describe it, for example 'a smiling face'.`);
  return text;
}

function checkTemplates(value: unknown): readonly string[] {
  if (value === 'imagenet') return IMAGENET_TEMPLATES;
  if (value === 'none') return ['{}'];
  if (typeof value === 'string') {
    fail(
      'ARGUMENT',
      `there are no templates '${value}'`,
      "Pass 'imagenet', 'none', or an array such as ['a drawing of a {}.'].",
    );
  }
  const list = checkTexts(value, 'templates');
  const bad = list.find((t) => !t.includes('{}'));
  if (bad !== undefined) fail('ARGUMENT', `the template "${bad}" has no {}`, 'Put {} where the text goes.');
  return [...list];
}
