// The models together: what a text-driven edit needs, loaded and closed as one, and the relevance sweep over them.

import { join } from 'node:path';
import { checkInteger, checkOptions, fail } from './check.js';
import { Clip } from './clip.js';
import { log } from './configure.js';
import './dispose.js';
import { TextDirection } from './direction.js';
import { Encoder } from './encoder.js';
import { trainEncoder, type EncoderTrainingResult } from './encoder-training.js';
import type { EncoderTrainingOptions } from './encoder-settings.js';
import { Generator, STATISTICS_SAMPLES } from './generator.js';
import { Identity } from './identity.js';
import type { ImagesLike, ImageSource } from './images.js';
import { invertPictures, type InvertResult } from './inversion.js';
import type { InvertOptions } from './inversion-settings.js';
import type { LatentsLike } from './latents.js';
import type { Mapper } from './mapper.js';
import type { TrainMapperOptions } from './mapper-settings.js';
import { trainMapper } from './mapper-training.js';
import { handleOf } from './model.js';
import { filesIn, isFile, modelFolder, type ModelFiles } from './model-folder.js';
import { checkMatch } from './model-match.js';
import type { GeneratorDifference } from './noise-maps.js';
import { Relevance } from './relevance.js';
import { optimizeLatents, type OptimizeResult } from './optimize.js';
import type { OptimizeOptions } from './optimize-settings.js';
import { native } from './runtime.js';
import { SCREEN_KEYS, screenSettings, type ScreenOptions } from './screening.js';
import { checkRun, runNative } from './signals.js';
import { SWEEP_KEYS, sweepSettings } from './sweep-settings.js';
import { planIn, requireNoPlan, sweepPlace, type SweepShard } from './sweep-shards.js';
import { relevanceOf, runSweep, withAgreement } from './sweeping.js';
import type { Closeable, Device, Dtype, StyleStatistics, SweepOptions } from './types.js';

/** Files of {@link StyleClip.load}; `generator` and `clip` are needed, or neither for the embedded cats. */
export interface LoadOptions {
  /** StyleGAN2 archive. */
  generator?: string | URL | undefined;
  /** CLIP archive. */
  clip?: string | URL | undefined;
  /** Identity archive. */
  identity?: string | URL | undefined;
  /** Encoder archive. */
  encoder?: string | URL | undefined;
  /** What a pivotal tuning added to the generator's weights; see {@link Generator.load}. */
  difference?: string | URL | GeneratorDifference | undefined;
  /** Of all of them. Default: `configure({ device })`, else `STYLECLIP_DEVICE`, else `'auto'`. */
  device?: Device | undefined;
  /** Of all of them. Default `'float32'`. */
  dtype?: Dtype | undefined;
  /** Loads archives with foreign code, which runs. Default false. */
  trust?: boolean | undefined;
  signal?: AbortSignal | undefined;
}

type CommonOptions = Pick<LoadOptions, 'difference' | 'device' | 'dtype' | 'trust' | 'signal'>;

const RELEVANCE_FILE = 'relevance.safetensors';
const COMMON_KEYS = ['difference', 'device', 'dtype', 'trust', 'signal'];
const LOAD_KEYS = ['generator', 'clip', 'identity', 'encoder', ...COMMON_KEYS];

/** A generator, a CLIP model, and what else was given. `await using` it, or call close(). */
export class StyleClip implements Closeable {
  readonly generator: Generator;
  readonly clip: Clip;
  readonly identity: Identity | undefined;
  readonly encoder: Encoder | undefined;
  /** The folder they were loaded from; undefined when the files were named one by one. */
  readonly directory: string | undefined;
  readonly #statistics = new Map<string, StyleStatistics>();
  #closed = false;

  private constructor(models: Models, directory: string | undefined) {
    this.generator = models.generator;
    this.clip = models.clip;
    this.identity = models.identity;
    this.encoder = models.encoder;
    this.directory = directory;
  }

  /**
   * Loads models.
   *
   * @param model `'cats'` (default): the embedded ones; a folder with `generator.pt`, `clip.pt` and perhaps
   *   `identity.pt`, `encoder.pt`; or the files one by one
   * @param options difference, device, dtype, trust, signal (may also stand beside the files)
   * @throws StyleClipError as {@link Generator.load}; models that were already loaded are closed again
   */
  static async load(model: string | URL | LoadOptions = 'cats', options?: CommonOptions): Promise<StyleClip> {
    const named = typeof model === 'string' || model instanceof URL;
    const given = { ...checkOptions(named ? undefined : model, LOAD_KEYS, 'StyleClip.load') };
    const { difference, ...common } = {
      ...pick(given),
      ...checkOptions(options, COMMON_KEYS, 'StyleClip.load'),
    };
    const some = given.generator ?? given.clip ?? given.identity ?? given.encoder;
    const folder = named ? modelFolder(model) : some === undefined ? modelFolder('cats') : undefined;
    const files: Partial<ModelFiles<string | URL>> = folder === undefined ? given : await filesIn(folder);
    if (files.generator === undefined || files.clip === undefined) {
      fail(
        'ARGUMENT',
        `StyleClip.load: no ${files.generator === undefined ? 'generator' : 'clip'} given`,
        'Give both files, { generator, clip }, or none of them for the embedded cats.',
      );
    }
    const loaded: Closeable[] = [];
    const keep = <T extends Closeable>(one: T): T => {
      loaded.push(one);
      return one;
    };
    try {
      const models: Models = {
        generator: keep(await Generator.load(files.generator, { ...common, difference })),
        clip: keep(await Clip.load(files.clip, common)),
        identity: files.identity === undefined ? undefined : keep(await Identity.load(files.identity, common)),
        encoder: files.encoder === undefined ? undefined : keep(await Encoder.load(files.encoder, common)),
      };
      return new StyleClip(models, folder);
    } catch (e) {
      await Promise.allSettled(loaded.map(async (one) => one.close()));
      throw e;
    }
  }

  get closed(): boolean {
    return this.#closed;
  }

  /** Closes all its models. Calling it again does nothing. */
  async close(): Promise<void> {
    this.#closed = true;
    const models = [this.generator, this.clip, this.identity, this.encoder].filter((m) => m !== undefined);
    await Promise.all(models.map(async (m) => m.close()));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  /** The relevance that comes with the models' folder (`relevance.safetensors`), or undefined when there is none. */
  async relevance(): Promise<Relevance | undefined> {
    if (this.directory === undefined) return undefined;
    const file = join(this.directory, RELEVANCE_FILE);
    if (!(await isFile(file))) return undefined;
    const relevance = await Relevance.load(file);
    checkMatch(
      `${file} (generator)`,
      relevance.meta.generatorSha256,
      this.generator.info.sha256,
      this.generator.info.file,
      false,
    );
    checkMatch(`${file} (CLIP)`, relevance.meta.clipSha256, this.clip.info.sha256, this.clip.info.file, false);
    return relevance;
  }

  /**
   * How every style channel moves the CLIP embedding (StyleCLIP section 6.1; released code SingleChannel.py): each channel
   * of each sample picture is set to mean ± kσ, rendered and embedded. The statistics come first, as a phase of their own.
   *
   * With `directory` it runs in shards and can be resumed: {@link sweepShards} and then {@link Relevance.merge}. With
   * `shard` it runs one share of them; it resolves to the relevance when all shards of the directory are there at the end,
   * and to undefined when other shares are missing.
   *
   * @throws StyleClipError `CLOSED`; `ARGUMENT`, `RANGE` for options; `NOT_FINITE` naming layer and channel when a model
   *   gives NaN; `OUT_OF_MEMORY`; with `directory` as {@link sweepShards}
   */
  async sweep(options?: SweepOptions & { shard?: undefined }): Promise<Relevance>;
  async sweep(options: SweepOptions): Promise<Relevance | undefined>;
  async sweep(options?: SweepOptions): Promise<Relevance | undefined> {
    const o = checkOptions(options, SWEEP_KEYS, 'sweep');
    const { generator, clip } = this;
    if (o.method === 'screened') {
      const { method: _, text, channels, ...rest } = o;
      if (channels !== undefined) {
        fail(
          'ARGUMENT',
          "channels is given for the method 'screened'",
          'It finds the channels; screen() takes their number.',
        );
      }
      if (text === undefined) {
        fail('ARGUMENT', "the method 'screened' needs a text", 'Pass { text }, a direction of clip.direction().');
      }
      return this.screen(text, rest);
    }
    const settings = sweepSettings(o, generator);
    const place = sweepPlace(o);
    if (place !== undefined) {
      for await (const shard of this.sweepShards(o)) void shard;
      const plan = place.parts > 1 ? await planIn(place.directory) : undefined;
      if (plan !== undefined && plan.present < plan.shards) return undefined;
      const merged = await Relevance.merge(place.directory, { signal: o.signal, onProgress: o.onProgress });
      return withAgreement(this, merged, o, settings, async () => this.#statisticsFor(o));
    }
    checkRun(o);
    handleOf(clip);
    const statistics = await this.#statisticsFor(o);
    const result = await runSweep(this, o, settings, statistics);
    return withAgreement(this, relevanceOf(this, result, settings, statistics), o, settings, async () => statistics);
  }

  /**
   * The channels of one text, without a sweep of all: the gradient in every sample picture ranks the channels, those that come
   * into question are swept exactly, and most of them for a few pictures only, until it is clear that they are not wanted. The
   * result has the rows of the others, over all pictures, and {@link Relevance.direction} takes no other text with it.
   *
   * @throws StyleClipError `EMPTY_SELECTION` when nothing comes into question; as {@link sweep}
   */
  async screen(text: TextDirection, options?: ScreenOptions): Promise<Relevance> {
    const o = checkOptions(options, SCREEN_KEYS, 'screen');
    const { beta: _b, channels: _c, margin: _m, probes: _p, confidence: _f, ...sweep } = o;
    const direction = TextDirection.from(text);
    checkMatch('the text direction', direction.clipSha256, this.clip.info.sha256, this.clip.info.file, false);
    const screen = screenSettings(o);
    const settings = sweepSettings({ ...sweep, method: 'exact' }, this.generator);
    checkRun(o);
    const statistics = await this.#statisticsFor(sweep);
    const { mean, sigma, samples } = statistics;
    const [generator, clip, addon] = [handleOf(this.generator), handleOf(this.clip), native()];
    const found = await runNative(
      sweep,
      () => addon.createCancel(),
      async (run) =>
        addon.screen(
          generator,
          clip,
          { mean, sigma, samples },
          settings,
          { ...screen, text: direction.direction },
          run,
        ),
    );
    const relevance = relevanceOf(this, found, settings, statistics);
    const { of, candidates, probes } = found;
    const { margin, confidence } = screen;
    const { target, neutral } = direction;
    const screened = { target, neutral, of, candidates, margin, probes, confidence };
    return Relevance.from({ ...relevance, meta: { ...relevance.meta, method: 'screened', screened } });
  }

  /**
   * Latent optimisation (StyleCLIP section 4): Adam on D_CLIP(G(w), text) + λ_L2 |w − w_s|² + λ_ID (1 − cosine of
   * identities), for every latent and every target at once.
   *
   * @param latents where each begins; undefined with `mode: 'free'`: at the mean latent
   * @throws StyleClipError `ARGUMENT`, `RANGE`, `SHAPE`, `MODEL_MISMATCH` for what is given; `RESUME_MISMATCH` for a
   *   directory of another run; `DISK`. A loss that is no number ends its problem, not the call: see `problems`
   */
  async optimize(latents: LatentsLike | undefined, options: OptimizeOptions): Promise<OptimizeResult> {
    return optimizeLatents(this, latents, options);
  }

  /**
   * Latents, and where wanted noise maps or a tuned generator, that give pictures. Many at once, each a problem of its own.
   *
   * @param images files of any format and size (EXIF orientation is applied), buffers, or pictures
   * @throws StyleClipError `ARGUMENT`, `RANGE`, `SHAPE`; `TRUST` for an LPIPS module without `trust`; `MODEL_MISMATCH` for
   *   an encoder or latents of another generator; `NOT_FINITE` when tuning diverges. A loss of one picture that is no
   *   number ends its problem, not the call: see `pictures`
   */
  async invert(
    images: ImageSource | ImagesLike | readonly ImageSource[],
    options?: InvertOptions,
  ): Promise<InvertResult> {
    return invertPictures(this, images, options);
  }

  /**
   * Trains an encoder on nothing but the generator: pairs (G(w), w) without end. It may begin with a network of its own or
   * with an archive; the best by held-out pictures is in the directory at any time, and the same call goes on where a run
   * ended, however it ended, to the same weights.
   *
   * @throws StyleClipError `ARGUMENT`, `RANGE`; `MODEL_MISMATCH` for an encoder of another generator, or whose rows or width
   *   are not the generator's; `RESUME_MISMATCH` for a directory of another run; `NOT_FINITE` when a loss explodes or is no
   *   number (the best weights before are kept); `DISK`
   */
  async trainEncoder(options: EncoderTrainingOptions): Promise<EncoderTrainingResult> {
    return trainEncoder(this, options);
  }

  /**
   * Trains a latent mapper (StyleCLIP section 5) for one text: w + 0.1 M(w), over given latents or over newly drawn ones.
   * The result is the best by validation, loaded from `mapper.pt` of the directory. The same call goes on with a run that
   * was stopped, however it was, and ends at the same weights.
   *
   * @throws StyleClipError `ARGUMENT`, `RANGE`, `SHAPE`, `MODEL_MISMATCH` for what is given; `RESUME_MISMATCH` for a
   *   directory of another run; `NOT_FINITE` naming the step at which the loss was no number or exploded, with the best
   *   before it in `mapper.pt`; `DISK`
   */
  async trainMapper(options: TrainMapperOptions): Promise<Mapper> {
    return trainMapper(this, options);
  }

  /**
   * The same as a stream of finished shards, each one already on the disk: blocks of channels × sample pictures, those that
   * were there before included. Leaving the loop ends the work; an abort ends it within one batch and leaves whole shards
   * only. Any number of processes may work in one directory. On machines without a common directory, copy `plan.json` to
   * all of them first, and all shards together afterwards.
   *
   * @param options `directory` is needed
   * @throws StyleClipError `RESUME_MISMATCH` naming the setting in which the directory's sweep differs, or a file that
   *   belongs to another sweep; `FILE_DAMAGED`, `FORMAT_VERSION` for a plan that cannot be read; `DISK`; as {@link sweep}.
   *   A damaged shard is no error: it is computed again, and named in `warning` and to the logger.
   */
  async *sweepShards(options: SweepOptions): AsyncGenerator<SweepShard, void, undefined> {
    const o = checkOptions(options, SWEEP_KEYS, 'sweepShards');
    const { generator, clip } = this;
    const settings = sweepSettings(o, generator);
    const { directory, part, parts } =
      sweepPlace(o) ?? fail('ARGUMENT', 'sweepShards needs a directory', 'Pass { directory }: shards are files in it.');
    checkRun(o);
    handleOf(clip);
    if (o.resume === false) await requireNoPlan(directory);
    const plan = await planIn(directory);
    const { mean, sigma, samples } =
      plan === undefined || o.statistics !== undefined
        ? await this.#statisticsFor(o)
        : { ...plan.statistics, samples: this.#statisticsSamples(o) };
    const addon = native();
    const { handle } = await runNative(
      o,
      () => addon.createCancel(),
      async (run) =>
        addon.openSweep(
          handleOf(generator),
          handleOf(clip),
          { mean, sigma, samples },
          { ...settings, directory, part, parts },
          run,
        ),
    );
    try {
      for (;;) {
        const shard = await runNative(
          o,
          () => addon.createCancel(),
          async (run) => addon.nextShard(handle, run),
        );
        if (shard === undefined) return;
        const { warning, firstImage, images: count, ...same } = shard;
        if (warning !== '') log('warn', warning);
        yield { ...same, images: { first: firstImage, count }, ...(warning === '' ? {} : { warning }) };
      }
    } finally {
      await addon.closeSweep(handle).catch(() => undefined);
    }
  }

  #statisticsSamples(o: SweepOptions): number {
    return checkInteger(o.statisticsSamples ?? STATISTICS_SAMPLES, 'statisticsSamples', 2, 100_000_000);
  }

  /** The statistics given, checked, or those of this truncation, computed once. */
  async #statisticsFor(o: SweepOptions): Promise<StyleStatistics> {
    const { generator } = this;
    const { total } = generator.layout.styleChannels;
    if (o.statistics !== undefined) {
      const { mean, sigma, generatorSha256 } = o.statistics;
      if (
        !(mean instanceof Float32Array) ||
        !(sigma instanceof Float32Array) ||
        mean.length !== total ||
        sigma.length !== total
      ) {
        fail(
          'SHAPE',
          `statistics need a mean and a sigma of ${total} style channels`,
          'Make them with generator.statistics().',
        );
      }
      checkMatch('the statistics', generatorSha256, generator.info.sha256, generator.info.file, false);
      return o.statistics;
    }
    const samples = this.#statisticsSamples(o);
    const { truncationPsi, truncationCutoff, signal, onProgress } = o;
    const key = JSON.stringify([samples, truncationPsi, truncationCutoff]);
    const known = this.#statistics.get(key);
    if (known !== undefined) return known;
    const statistics = await generator.statistics({
      samples,
      seed: 0,
      truncationPsi,
      truncationCutoff,
      signal,
      onProgress,
    });
    this.#statistics.set(key, statistics);
    return statistics;
  }
}

interface Models {
  generator: Generator;
  clip: Clip;
  identity: Identity | undefined;
  encoder: Encoder | undefined;
}

function pick(o: LoadOptions): CommonOptions {
  const { difference, device, dtype, trust, signal } = o;
  return { difference, device, dtype, trust, signal };
}
