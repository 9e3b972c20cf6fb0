// The generator: StyleGAN2 as a self-describing archive, with its latent spaces, its StyleSpace, and edits in it.

import {
  checkBoolean,
  checkFinite,
  checkInteger,
  checkNumber,
  checkNumbers,
  checkOneOf,
  checkOptions,
  checkSeed,
  fail,
  shapeText,
  show,
} from './check.js';
import { GlobalDirection, type GlobalDirectionLike } from './direction.js';
import { EditBatch, type EditedImage } from './edit.js';
import { Images } from './images.js';
import { Latents, SPACES, type LatentsLike } from './latents.js';
import { callModel, describedSize, loadModel, Model, modelInfo } from './model.js';
import { loadDifference, NoiseMaps, type GeneratorDifference } from './noise-maps.js';
import { checkMatch } from './model-match.js';
import type { NativeModel, NativeSampleSettings, NativeTensor } from './native.js';
import type {
  EditOptions,
  Label,
  ModelInfo,
  ModelOptions,
  RenderOptions,
  RunOptions,
  SampleOptions,
  Space,
  StatisticsOptions,
  StyleLayout,
  StyleStatistics,
  SynthesizeOptions,
  TruncationOptions,
} from './types.js';

/** What a generator tells of itself. */
export interface GeneratorInfo extends ModelInfo {
  /** Pixels, square. */
  readonly imageSize: number;
  /** Numbers of a z. */
  readonly zDim: number;
  /** Numbers of a w, and of each row of w_plus. */
  readonly wDim: number;
  /** Numbers of a label; 0 when the generator is not conditional. */
  readonly labelDim: number;
}

const RUN_KEYS = ['signal', 'onProgress'];
const TRUNCATION_KEYS = ['truncationPsi', 'truncationCutoff'];
const SAMPLE_KEYS = [...RUN_KEYS, ...TRUNCATION_KEYS, 'count', 'seed', 'space', 'first', 'label'];
const RENDER_KEYS = [...RUN_KEYS, 'as', 'noise', 'batch', 'force'];
/** StyleCLIP's own value, wherever it draws latents (global_directions/GetCode.py). */
const TRUNCATION_PSI = 0.7;
/** Latents of the released statistics (GetCode.py, S_mean_std). */
export const STATISTICS_SAMPLES = 100_000;

/** A StyleGAN2 generator. Owns native memory: close it, or load it with `await using`. */
export class Generator extends Model {
  readonly #layout: StyleLayout;
  readonly #info: GeneratorInfo;
  #tuned = false;

  private constructor(handle: NativeModel) {
    super(handle);
    const info = modelInfo(handle);
    const native = handle.layout ?? fail('MODEL_KIND', `${handle.file} has no style layout`, 'Load a generator.');
    const { layers, rows, total, convChannels: conv, torgbChannels: torgb } = native;
    this.#layout = Object.freeze({
      layers: Object.freeze(layers.map((l) => Object.freeze({ ...l }))),
      rows,
      styleChannels: Object.freeze({ conv, torgb, total }),
    });
    this.#info = Object.freeze({
      ...info,
      imageSize: layers.at(-1)!.resolution,
      zDim: describedSize(info, 'z_width'),
      wDim: describedSize(info, 'style_width'),
      labelDim: describedSize(info, 'label_width'),
    });
  }

  /**
   * Loads an archive of kind `generator`. With `difference`, what a pivotal tuning added to its weights is added to them.
   *
   * @throws StyleClipError `FILE_NOT_FOUND`, `FILE_DAMAGED`, `MODEL_KIND`, `FORMAT_VERSION`, `TRUST`, `DEVICE`,
   *   `OUT_OF_MEMORY`, and what loading the native part can throw: `LIBTORCH_NOT_FOUND`, `ADDON_NOT_FOUND`, …
   */
  static async load(
    file: string | URL,
    options?: ModelOptions & { difference?: string | URL | GeneratorDifference | undefined },
  ): Promise<Generator> {
    const { difference: given, ...rest } = options ?? {};
    const difference = typeof given === 'string' || given instanceof URL ? await loadDifference(given) : given;
    const generator = new Generator(await loadModel('generator', file, options && rest, 'Generator.load'));
    if (difference === undefined) return generator;
    try {
      const { sha256, file: path } = generator.info;
      checkMatch('the difference', difference.generatorSha256, sha256, path, false);
      await callModel(generator, {}, async (addon, handle) => addon.applyDifference(handle, { ...difference.tensors }));
      generator.#tuned = true;
      return generator;
    } catch (e) {
      await generator.close();
      throw e;
    }
  }

  get info(): GeneratorInfo {
    return this.#info;
  }

  /** Whether it was loaded with a `difference`. `info.sha256` is the archive's all the same. */
  get tuned(): boolean {
    return this.#tuned;
  }

  /** Its style layers in synthesis order. */
  get layout(): StyleLayout {
    return this.#layout;
  }

  /**
   * Draws latents. z is N(0,1) from a counter-based generator on the CPU, so a seed means the same everywhere; w is
   * mapped from it and truncated; w_plus repeats w; s are the styles of w_plus. z is never truncated.
   */
  async sample(options: SampleOptions): Promise<Latents> {
    const o = checkOptions(options, SAMPLE_KEYS, 'sample');
    const count = checkInteger(o.count, 'count', 1, 1_000_000);
    const first = checkInteger(o.first ?? 0, 'first', 0);
    const space = checkOneOf(o.space ?? 'w_plus', 'space', SPACES);
    const settings = this.#sampleSettings(o, checkSeed(o.seed));
    const labels = space === 'z' && o.label === undefined ? undefined : this.#labels(o.label);
    const result = await callModel(this, o, (addon, handle, run) =>
      addon.sample(handle, { ...settings, count, first, space, labels }, run),
    );
    return this.#latents(result, space);
  }

  /** z [n, z] → w [n, w], not truncated. A conditional generator needs a `label`. */
  async mapping(z: LatentsLike, options?: RunOptions & { force?: boolean; label?: Label }): Promise<Latents> {
    const o = checkOptions(options, [...RUN_KEYS, 'force', 'label'], 'mapping');
    const input = this.#input(z, ['z'], o.force);
    const labels = this.#labels(o.label);
    return this.#latents(
      await callModel(this, o, (addon, handle, run) => addon.mapping(handle, tensor(input), { labels }, run)),
      'w',
    );
  }

  /** w [n, w] → w_plus [n, rows, w], its rows truncated towards the mean w. Defaults: ψ 0.7, all rows. */
  async truncate(w: LatentsLike, options?: TruncationOptions & RunOptions & { force?: boolean }): Promise<Latents> {
    const o = checkOptions(options, [...RUN_KEYS, ...TRUNCATION_KEYS, 'force'], 'truncate');
    const input = this.#input(w, ['w'], o.force);
    const { truncationPsi, truncationCutoff } = this.#truncation(o);
    return this.#latents(
      await callModel(this, o, (addon, handle, run) =>
        addon.truncate(handle, tensor(input), { truncationPsi, truncationCutoff }, run),
      ),
      'w_plus',
    );
  }

  /**
   * Latents of any space → s [n, channels], the flat StyleSpace code. z and w go through the mapping network and to all
   * rows without truncation; s comes back as it is.
   */
  async styles(latents: LatentsLike, options?: RunOptions & { force?: boolean }): Promise<Latents> {
    const o = checkOptions(options, [...RUN_KEYS, 'force'], 'styles');
    let input = this.#input(latents, SPACES, o.force);
    const silent: RunOptions = { signal: o.signal };
    if (input.space === 'z') input = await this.mapping(input, { ...silent, force: true });
    if (input.space === 'w') input = await this.truncate(input, { ...silent, truncationPsi: 1, force: true });
    if (input.space === 's') return input;
    return this.#latents(
      await callModel(this, o, (addon, handle, run) => addon.styles(handle, tensor(input), run)),
      's',
    );
  }

  /** Latents of any space → one picture each. */
  async synthesize(latents: LatentsLike, options?: SynthesizeOptions): Promise<Images> {
    const o = checkOptions(options, [...RENDER_KEYS, 'noiseSeed', 'noiseMaps'], 'synthesize');
    const render = this.#render(o);
    const noiseSeed = checkSeed(o.noiseSeed ?? 0, 'noiseSeed');
    const s = await this.styles(latents, { signal: o.signal, force: render.force });
    const { as, noise, batch } = render;
    if (o.noiseMaps !== undefined) return this.#withMaps(s, o.noiseMaps, o, render);
    const result = await callModel(this, o, (addon, handle, run) =>
      addon.synthesize(handle, tensor(s), { as, noise, batch, noiseSeed }, run),
    );
    return this.#images(result);
  }

  /** Mean and standard deviation (ddof 0) of every style channel over many latents. The default count is 1.4 TFLOP at 1024 px. */
  async statistics(options?: StatisticsOptions): Promise<StyleStatistics> {
    const o = checkOptions(options, [...RUN_KEYS, ...TRUNCATION_KEYS, 'samples', 'seed'], 'statistics');
    const samples = checkInteger(o.samples ?? STATISTICS_SAMPLES, 'samples', 2, 100_000_000);
    const settings = this.#sampleSettings(o, checkSeed(o.seed ?? 0));
    const result = await callModel(this, o, (addon, handle, run) =>
      addon.statistics(handle, { ...settings, samples }, run),
    );
    return {
      mean: result.mean,
      sigma: result.sigma,
      samples: result.samples,
      seed: settings.seed.toString(),
      truncationPsi: settings.truncationPsi,
      truncationCutoff: settings.truncationCutoff,
      generatorSha256: this.#info.sha256,
    };
  }

  /**
   * S' = S + α ΔS for every latent and every strength, rendered.
   *
   * @returns all pictures; for a grid that does not fit into memory see {@link editEach}
   */
  async edit(latents: LatentsLike, direction: GlobalDirectionLike, options: EditOptions): Promise<EditBatch> {
    const { s, delta, alphas, render, run } = await this.#prepareEdit(latents, direction, options, 'edit');
    const { images, codes } = await this.#editNative(s, delta, alphas, render, run);
    return new EditBatch(images, codes, [...alphas]);
  }

  /**
   * The same, one picture after another, latent 0 with all strengths first. Only `batch` pictures are in memory at a
   * time; leaving the loop ends the work. Noise is `'const'` or `'none'`: random noise goes by a picture's number among all
   * of a call, so a series cut in pieces would not be the pictures that {@link edit} makes.
   */
  async *editEach(
    latents: LatentsLike,
    direction: GlobalDirectionLike,
    options: EditOptions,
  ): AsyncGenerator<EditedImage, void, undefined> {
    const { s, delta, alphas, render, run } = await this.#prepareEdit(latents, direction, options, 'editEach');
    if (render.noise === 'random') {
      fail('ARGUMENT', "editEach() cannot render with noise 'random'", "Use edit(), or noise 'const'.");
    }
    const started = performance.now();
    const total = s.length * alphas.length;
    let done = 0;
    // A chunk is a block of latents × strengths of at most `batch` pictures: some strengths of one latent, or all of several.
    const width = Math.min(alphas.length, render.batch);
    const height = Math.max(1, Math.floor(render.batch / alphas.length));
    for (let first = 0; first < s.length; first += height) {
      const block = s.slice(first, first + height);
      for (let from = 0; from < alphas.length; from += width) {
        const some = alphas.slice(from, from + width);
        const { images, codes } = await this.#editNative(block, delta, some, render, { signal: run.signal });
        done += images.count;
        const rate = done / Math.max(1e-6, (performance.now() - started) / 1000);
        run.onProgress?.({ phase: 'edit', done, total, unit: 'images', rate, secondsLeft: (total - done) / rate });
        for (let i = 0; i < images.count; i++) {
          const latent = first + Math.floor(i / some.length);
          yield { latent, alpha: some[i % some.length]!, image: images.at(i), latents: codes.at(i) };
        }
      }
    }
  }

  async #prepareEdit(latents: LatentsLike, direction: GlobalDirectionLike, options: EditOptions, where: string) {
    const o = checkOptions(options, [...RENDER_KEYS, 'alpha'], where);
    const alphas = checkNumbers(o.alpha, 'alpha');
    const render = this.#render(o);
    const { delta, meta } = GlobalDirection.from(direction);
    const { sha256, file } = this.#info;
    checkMatch('the direction', meta.generatorSha256, sha256, file, render.force);
    const { total } = this.#layout.styleChannels;
    if (delta.length !== total) {
      fail(
        'SHAPE',
        `the direction has ${delta.length} style channels, ${file} ${total}`,
        'Use the generator of the sweep.',
      );
    }
    const s = await this.styles(latents, { signal: o.signal, force: render.force });
    return { s, delta, alphas, render, run: { signal: o.signal, onProgress: o.onProgress } satisfies RunOptions };
  }

  async #editNative(s: Latents, delta: Float32Array, alpha: Float64Array, render: Render, run: RunOptions) {
    const { as, noise, batch } = render;
    const result = await callModel(this, run, (addon, handle, native) =>
      addon.edit(handle, tensor(s), delta, { alpha, batch, noise, as }, native),
    );
    return { images: this.#images(result.images), codes: this.#latents(result.s, 's') };
  }

  /** The label as the core takes it, [1, labelDim]; undefined for a generator that is not conditional. */
  #labels(label: Label | undefined): NativeTensor<Float32Array> | undefined {
    const { labelDim, file } = this.#info;
    if (labelDim === 0) {
      if (label !== undefined) fail('ARGUMENT', `${file} is not conditional`, 'Leave the label out.');
      return undefined;
    }
    if (label === undefined) {
      fail('ARGUMENT', `${file} is conditional: it needs a label`, `Pass { label: 0 } … { label: ${labelDim - 1} }.`);
    }
    const data = new Float32Array(labelDim);
    if (typeof label === 'number') {
      data[checkInteger(label, 'label', 0, labelDim - 1)] = 1;
    } else {
      const numbers = label instanceof Float32Array ? label : checkNumbers(label, 'label');
      if (numbers.length !== labelDim) {
        fail('SHAPE', `the label has ${numbers.length} numbers; ${file} needs ${labelDim}`, 'Pass one for each class.');
      }
      data.set(numbers);
      checkFinite(data, 'label', [labelDim]);
    }
    return { data, shape: [1, labelDim] };
  }

  #render(o: RenderOptions): Render {
    return {
      as: checkOneOf(o.as ?? 'uint8', 'as', ['uint8', 'float32']),
      noise: checkOneOf(o.noise ?? 'const', 'noise', ['const', 'random', 'none']),
      batch: checkInteger(o.batch ?? defaultBatch(this.#info.imageSize), 'batch', 1, 4096),
      force: checkBoolean(o.force ?? false, 'force'),
    };
  }

  /** Pictures with noise maps of their own. */
  async #withMaps(s: Latents, maps: NoiseMaps, o: SynthesizeOptions, { as, force }: Render): Promise<Images> {
    if (!(maps instanceof NoiseMaps)) fail('ARGUMENT', `noiseMaps is ${show(maps)}`, 'Pass NoiseMaps.');
    if (o.noise !== undefined) fail('ARGUMENT', 'both noise and noiseMaps are given', 'Leave one of them out.');
    checkMatch('the noise maps', maps.generatorSha256, this.#info.sha256, this.#info.file, force);
    if (maps.length !== 1 && maps.length !== s.length) {
      fail('SHAPE', `noise maps of ${maps.length} pictures for ${s.length} latents`, 'Pass those of each, or of one.');
    }
    const list = maps.maps.map(({ data, shape }) => ({ data, shape: [...shape] }));
    const result = await callModel(this, o, (addon, handle, run) =>
      addon.synthesizeNoise(handle, tensor(s), list, run),
    );
    const images = this.#images(result);
    return as === 'float32' ? images : images.toUint8();
  }

  #truncation(o: TruncationOptions): { truncationPsi: number; truncationCutoff: number } {
    return {
      truncationPsi: checkNumber(o.truncationPsi ?? TRUNCATION_PSI, 'truncationPsi', -2, 2),
      truncationCutoff:
        o.truncationCutoff === undefined
          ? -1
          : checkInteger(o.truncationCutoff, 'truncationCutoff', 0, this.#layout.rows),
    };
  }

  #sampleSettings(o: TruncationOptions, seed: bigint): NativeSampleSettings {
    return { seed, ...this.#truncation(o) };
  }

  /** Latents of this generator's shape and, unless forced, of this generator. */
  #input(value: LatentsLike, spaces: readonly Space[], force: unknown): Latents {
    if (value instanceof Float32Array) {
      fail(
        'ARGUMENT',
        `latents must be Latents, not ${show(value)}`,
        "Wrap them: Latents.from(data, [1, 18, 512], 'w_plus').",
      );
    }
    const latents = Latents.from(value);
    if (!spaces.includes(latents.space)) {
      fail(
        'ARGUMENT',
        `latents of space '${latents.space}' given where ${spaces.map((s) => `'${s}'`).join(', ')} is needed`,
        'See styles() and mapping().',
      );
    }
    const { sha256, file, zDim, wDim } = this.#info;
    checkMatch('the latents', latents.meta.generatorSha256, sha256, file, checkBoolean(force ?? false, 'force'));
    const { rows, styleChannels } = this.#layout;
    const wanted = { z: [zDim], w: [wDim], w_plus: [rows, wDim], s: [styleChannels.total] }[latents.space];
    const given = latents.shape.slice(1);
    if (given.length !== wanted.length || given.some((n, i) => n !== wanted[i] && wanted[i] !== 0)) {
      fail(
        'SHAPE',
        `${latents.space} latents of shape ${shapeText(latents.shape)} given; this generator needs ${shapeText([latents.length, ...wanted])}`,
        'Use latents of this generator’s size.',
      );
    }
    return latents;
  }

  #latents(result: NativeTensor<Float32Array>, space: Space): Latents {
    return Latents.from(result.data, result.shape, space, { generatorSha256: this.#info.sha256 });
  }

  #images(result: NativeTensor<Uint8Array | Float32Array>): Images {
    const [count, a, b, c] = result.shape as [number, number, number, number];
    const [height, width] = result.data instanceof Uint8Array ? [a, b] : [b, c];
    return Images.from({ data: result.data, count, width, height });
  }
}

interface Render {
  as: 'uint8' | 'float32';
  noise: 'const' | 'random' | 'none';
  batch: number;
  force: boolean;
}

/** Pictures a forward pass: the same number of pixels' width, 64 at 64 px and below, 4 at 1024 px. */
function defaultBatch(imageSize: number): number {
  return Math.max(1, Math.min(64, Math.floor(4096 / imageSize)));
}

function tensor(latents: Latents): NativeTensor<Float32Array> {
  return { data: latents.data, shape: [...latents.shape] };
}
