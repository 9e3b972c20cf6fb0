// StyleCLIP's latent mapper: an edit by text as a function of the latent (StyleCLIP section 5), trained here
// (mapper-training.ts), or imported from a published checkpoint.

import { checkNumber, checkOptions, fail, shapeText } from './check.js';
import { Latents, type LatentsLike } from './latents.js';
import { callModel, describedSize, loadModel, Model, modelInfo } from './model.js';
import { checkMatch } from './model-match.js';
import type { NativeModel } from './native.js';
import type { ModelInfo, ModelOptions, RunOptions } from './types.js';

/** What a mapper tells of itself. */
export interface MapperInfo extends ModelInfo {
  /** The latents that it takes. */
  readonly space: 'w_plus' | 's';
  /** Of one latent: [rows, w] in w_plus, [channels] in s. */
  readonly shape: readonly number[];
  /** Which rows of w_plus have a mapper: `'coarse'` 0–3, `'medium'` 4–7, `'fine'` from 8; or `['all']`. Empty in s. */
  readonly levels: readonly string[];
  /** Of the generator that it was trained with, where the archive says so. */
  readonly generatorSha256?: string;
  /** What an archive made by {@link StyleClip.trainMapper} says of its training: texts, weights, best step. */
  readonly training?: Readonly<Record<string, unknown>>;
}

/** Options of {@link Mapper.apply}. */
export interface MapOptions extends RunOptions {
  /** Factor of the step, any finite number. Default 1, what the mapper was trained for; 0 changes nothing, negative ones turn it round. */
  strength?: number | undefined;
  /** Take latents of another generator. Default false. */
  force?: boolean | undefined;
}

/** A mapper. Owns native memory: close it, or load it with `await using`. */
export class Mapper extends Model {
  readonly #info: MapperInfo;

  private constructor(handle: NativeModel) {
    super(handle);
    const info = modelInfo(handle);
    const { space, total } = info.description;
    const training = trainingOf(info);
    const generatorSha256 = training?.['generator_sha256'];
    const inS = space === 's';
    this.#info = Object.freeze({
      ...info,
      space: inS ? 's' : 'w_plus',
      shape: Object.freeze(inS ? [Number(total)] : [describedSize(info, 'rows'), describedSize(info, 'style_width')]),
      levels: Object.freeze(levelsOf(info)),
      ...(training === undefined ? {} : { training }),
      ...(typeof generatorSha256 === 'string' ? { generatorSha256 } : {}),
    });
  }

  /** Loads an archive of kind `mapper`. Errors as {@link Generator.load}. */
  static async load(file: string | URL, options?: ModelOptions): Promise<Mapper> {
    return new Mapper(await loadModel('mapper', file, options, 'Mapper.load'));
  }

  get info(): MapperInfo {
    return this.#info;
  }

  /**
   * latents + 0.1 · strength · M(latents), in the mapper's own space (released code: mapper/styleclip_mapper.py; the paper
   * has w + M(w)). Latents of another space are brought there first: `generator.styles(w)` for an s mapper.
   *
   * @throws StyleClipError `MODEL_MISMATCH` for latents of another space or shape, or of another generator than it was trained with
   */
  async apply(latents: LatentsLike, options?: MapOptions): Promise<Latents> {
    const o = checkOptions(options, ['signal', 'onProgress', 'strength', 'force'], 'apply');
    const strength = checkNumber(o.strength ?? 1, 'strength');
    const input = Latents.from(latents);
    const { space, shape, file } = this.#info;
    const wanted = [input.length, ...shape];
    if (input.space !== space || shapeText(input.shape) !== shapeText(wanted)) {
      fail(
        'MODEL_MISMATCH',
        `${input.space} latents of shape ${shapeText(input.shape)} given; the mapper ${file} takes ${space} ${shapeText(wanted)}`,
        space === 's' ? 'Pass generator.styles(latents) of its generator.' : 'Pass w_plus latents of its generator.',
      );
    }
    const own = this.#info.generatorSha256;
    if (own !== undefined) checkMatch(file, own, input.meta.generatorSha256 ?? own, 'the latents', o.force === true);
    const tensor = { data: input.data, shape: [...input.shape] };
    const result = await callModel(this, o, (addon, handle, run) => addon.map(handle, tensor, { strength }, run));
    return Latents.from(result.data, result.shape, space, input.meta);
  }
}

function trainingOf(info: ModelInfo): Readonly<Record<string, unknown>> | undefined {
  const training = info.description['training'];
  return typeof training === 'object' && training !== null ? { ...training } : undefined;
}

function levelsOf(info: ModelInfo): string[] {
  const config = info.description['config'];
  const levels: unknown = typeof config === 'object' && config !== null && 'levels' in config ? config.levels : [];
  return Array.isArray(levels) ? levels.map(String) : [];
}
