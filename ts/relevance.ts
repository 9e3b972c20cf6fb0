// The result of a sweep: for every style channel, which way it moves the CLIP embedding of a picture. Plain data; a text
// direction turns it into a direction of StyleSpace in milliseconds.

import { agreementOf, type Agreement, type AgreementOptions } from './agreement.js';
import {
  checkBoolean,
  checkFinite,
  checkInteger,
  checkNumber,
  checkOneOf,
  checkOptions,
  checkPath,
  fail,
  show,
} from './check.js';
import { channelName, GlobalDirection, TextDirection, type DirectionChannel } from './direction.js';
import { StyleClipError } from './errors.js';
import { npyFloat32, readNpy, writeNpy } from './files/npy.js';
import type { Generator } from './generator.js';
import { checkMatch } from './model-match.js';
import type { NativeDirectionOptions, NativeGlobalDirection } from './native.js';
import { readRelevance, writeRelevance } from './relevance-file.js';
import type { RelevanceLike, RelevanceMeta } from './relevance-meta.js';
import { native } from './runtime.js';
import { checkRun, nativeError } from './signals.js';
import { mergeDirectory } from './sweep-shards.js';
import type { RunOptions, StyleLayer, StyleLayout, StyleStatistics } from './types.js';

/** Options of {@link Relevance.direction}. Give `beta` or `channels`, not both. */
export interface DirectionOptions {
  /**
   * Keeps the channels with |r_c| ≥ β, 0..1. A higher β keeps fewer. `'auto'` (default): the largest of 0.10, 0.11 … 0.29
   * that keeps more than `automaticChannels`, else 0.1 (released GUI).
   */
  beta?: number | 'auto' | undefined;
  /** Keeps this many channels of largest |r_c| instead. 10–20 for colours, 100–200 for shapes. */
  channels?: number | undefined;
  /** For automatic β. Default 20 (faces); the released GUI takes 100 for other domains. */
  automaticChannels?: number | undefined;
  /** `'cosine'` (default, released code): r_c = Δi_c · Δt; `'projection'` (paper): times the channel's concentration. */
  measure?: 'cosine' | 'projection' | undefined;
  /** ΔS_c is r_c · σ_c (released code) instead of r_c (paper). Default true. */
  scaleBySigma?: boolean | undefined;
  /** Divides by the largest |r_c| (released code). Default true. */
  normaliseLargest?: boolean | undefined;
  /**
   * Leaves out every channel that these texts would use with the same settings (conditional direction of the released
   * code): `{ not: glasses }` ages a face without putting glasses on it.
   */
  not?: TextDirection | readonly TextDirection[] | undefined;
  /** Takes a text direction of another CLIP model. Default false. */
  force?: boolean | undefined;
}

/** What {@link Relevance.importNpy} takes for a generator that is not loaded: its layout, and its sha256 if it is known. */
export interface RelevanceTarget {
  readonly layout: Pick<StyleLayout, 'layers'>;
  readonly generatorSha256?: string | undefined;
}

/** Options of {@link Relevance.importNpy}. */
export interface ImportOptions extends RunOptions {
  /**
   * Of the generator; default: computed from 100,000 latents. Needed where only a layout is given; the released code's are
   * in `S_mean_std` ({@link readStyleStatistics}).
   */
  statistics?: StyleStatistics | undefined;
  /** Sha256 of the CLIP archive that it was made with, if known: directions are then checked against it. */
  clipSha256?: string | undefined;
}

/** Unit rows Δi_c, one a style channel, with what else the sweep saw of it. Plain data: cloneable, nothing to close. */
export class Relevance implements RelevanceLike {
  /** [channels, dim]: unit mean direction in CLIP's space; a row of zeros where `counts` is 0. */
  readonly rows: Float32Array;
  /** Length of a row: CLIP's embedding. */
  readonly dim: number;
  /** Flat S index of every row, in synthesis order. */
  readonly channels: Int32Array;
  /** Pictures in which the channel changed the embedding at all. */
  readonly counts: Int32Array;
  /** Mean |f̂₊ − f̂₋|, 0..2: how much the channel changes the embedding. */
  readonly magnitude: Float32Array;
  /** Length of the mean of the unit differences, 0..1: 1 when it does the same in every picture. */
  readonly concentration: Float32Array;
  /** Mean of every style channel of the generator, [total]. */
  readonly mean: Float32Array;
  /** Standard deviation (ddof 0) of every style channel, [total]. */
  readonly sigma: Float32Array;
  /** The generator's style layers. */
  readonly layers: readonly StyleLayer[];
  readonly meta: RelevanceMeta;

  private constructor(fields: RelevanceLike) {
    this.rows = fields.rows;
    this.dim = fields.dim;
    this.channels = fields.channels;
    this.counts = fields.counts;
    this.magnitude = fields.magnitude;
    this.concentration = fields.concentration;
    this.mean = fields.mean;
    this.sigma = fields.sigma;
    this.layers = fields.layers;
    this.meta = fields.meta;
  }

  /** A relevance from its structured clone. `SHAPE` when the parts do not fit each other, `NOT_FINITE` for NaN. */
  static from(fields: RelevanceLike): Relevance {
    if (fields instanceof Relevance) return fields;
    if (
      fields === null ||
      typeof fields !== 'object' ||
      !(fields.rows instanceof Float32Array) ||
      !Array.isArray(fields.layers)
    ) {
      fail(
        'ARGUMENT',
        `a relevance is needed, not ${show(fields)}`,
        'Make one with styleclip.sweep() or Relevance.load(file).',
      );
    }
    const n = fields.channels.length;
    const dim = checkInteger(fields.dim, 'dim', 1);
    const total = fields.layers.reduce((sum, l) => sum + l.channels, 0);
    const lengths = [fields.counts, fields.magnitude, fields.concentration].every((a) => a.length === n);
    if (
      n === 0 ||
      !lengths ||
      fields.rows.length !== n * dim ||
      fields.mean.length !== total ||
      fields.sigma.length !== total
    ) {
      fail('SHAPE', 'the parts of the relevance do not fit each other', 'Load it again from its file, or sweep again.');
    }
    if (fields.channels.some((c, i) => c < 0 || c >= total || (i > 0 && c <= fields.channels[i - 1]!))) {
      fail('SHAPE', 'the channels of the relevance are not ascending style channels', 'Load it again from its file.');
    }
    checkFinite(fields.rows, 'rows', [n, dim]);
    checkFinite(fields.sigma, 'sigma', [total]);
    return new Relevance(fields);
  }

  /** Number of rows. */
  get length(): number {
    return this.channels.length;
  }

  /** Layer and channel of row i: `{ name: 'b16.conv1.45', layer: 'b16.conv1', channel: 45, index }`. */
  channelAt(i: number): { name: string; layer: string; channel: number; index: number } {
    const index = this.channels[checkInteger(i, 'row', 0, this.length - 1)]!;
    const layer = this.layers.find((l) => index < l.offset + l.channels)!;
    const channel = index - layer.offset;
    return { name: channelName(layer.name, channel), layer: layer.name, channel, index };
  }

  /**
   * The direction of StyleSpace that a text asks for: r_c = Δi_c · Δt, kept where |r_c| ≥ β,
   * ΔS_c = σ_c · r_c / max|r| (StyleCLIP section 6.2; released code MapTS.GetBoundary). Synchronous, milliseconds.
   *
   * @throws StyleClipError `EMPTY_SELECTION` (with the largest |r|) when nothing passes; `MODEL_MISMATCH` for a text of
   *   another CLIP; `ARGUMENT`, also for another text than a screened relevance was made for; `RANGE`
   */
  direction(text: TextDirection, options?: DirectionOptions): GlobalDirection {
    const given = checkOptions(options, DIRECTION_KEYS, 'direction');
    const settings = this.#settings(given);
    const force = checkBoolean(given.force ?? false, 'force');
    const target = this.#text(text, force);
    const conditions =
      given.not === undefined ? [] : ((Array.isArray(given.not) ? given.not : [given.not]) as TextDirection[]);
    this.#checkScreened(target, conditions.length > 0 && typeof given.beta !== 'number', force);
    const out = new Set<number>();
    for (const condition of conditions) {
      for (const row of this.#conditionRows(this.#text(condition, force), settings)) out.add(row);
    }
    const kept = out.size === 0 ? undefined : Int32Array.from(this.channels.keys()).filter((row) => !out.has(row));
    if (kept?.length === 0) {
      fail('EMPTY_SELECTION', 'the texts of `not` use every channel', 'Give a higher beta or fewer channels.');
    }
    const result = this.#global(target, settings, kept);
    const selected = result.selected.map(({ row, relevance, delta }): DirectionChannel => {
      const place = this.channelAt(kept === undefined ? row : kept[row]!);
      return { ...place, relevance, delta };
    });
    return GlobalDirection.from({
      selected,
      delta: result.delta,
      beta: result.beta,
      largest: result.largest,
      meta: {
        generatorSha256: this.meta.generatorSha256,
        clipSha256: this.meta.clipSha256 || target.clipSha256,
        target: target.target,
        neutral: target.neutral,
        not: conditions.map((c) => c.target),
        measure: settings.measure,
        scaleBySigma: settings.scaleBySigma,
        normaliseLargest: settings.normaliseLargest,
      },
    });
  }

  /** A screened relevance has the rows that its own text may select, and no others. */
  #checkScreened(text: TextDirection, ranksOthers: boolean, force: boolean): void {
    const { screened } = this.meta;
    if (screened === undefined || force) return;
    if (screened.target !== text.target || screened.neutral !== text.neutral) {
      fail(
        'ARGUMENT',
        `this relevance holds the channels of “${screened.neutral}” → “${screened.target}” only, not those of “${text.neutral}” → “${text.target}”`,
        'Screen this text too, or sweep all channels once.',
      );
    }
    if (ranksOthers) {
      fail(
        'ARGUMENT',
        '`not` with a screened relevance needs a beta: the most relevant channels of another text are not in it',
        'Give a number for beta, or sweep all channels once.',
      );
    }
  }

  /**
   * How far this table agrees with another one of the same models, the truth: cosine of the rows, relevances and selected
   * channels of texts. Over the channels that both have.
   *
   * @throws StyleClipError `MODEL_MISMATCH`; `SHAPE`; `ARGUMENT` when no channel of both moves; `RANGE`
   */
  agreement(truth: Relevance, options?: AgreementOptions): Agreement {
    return agreementOf(this, Relevance.from(truth), options);
  }

  #text(text: TextDirection, force: boolean): TextDirection {
    const direction = TextDirection.from(text);
    checkMatch(
      'the text direction',
      this.meta.clipSha256 === '' ? '' : direction.clipSha256,
      this.meta.clipSha256,
      'the relevance’s CLIP',
      force,
    );
    if (direction.direction.length !== this.dim) {
      fail(
        'SHAPE',
        `the text direction has ${direction.direction.length} numbers, the relevance ${this.dim}`,
        'Use the CLIP model of the sweep.',
      );
    }
    return direction;
  }

  #settings(o: DirectionOptions): NativeDirectionOptions {
    if (o.beta !== undefined && o.channels !== undefined) {
      fail('ARGUMENT', 'beta and channels are both given', 'Give one of them: a threshold, or how many channels.');
    }
    const measure = checkOneOf(o.measure ?? 'cosine', 'measure', ['cosine', 'projection']);
    if (measure === 'projection' && this.meta.method === 'imported') {
      fail(
        'ARGUMENT',
        "an imported relevance has no concentration, which measure 'projection' needs",
        "Use 'cosine', or sweep again.",
      );
    }
    const beta = o.beta ?? 'auto';
    return {
      beta: beta === 'auto' ? -1 : checkNumber(beta, 'beta', 0, 1),
      channels: o.channels === undefined ? 0 : checkInteger(o.channels, 'channels', 1, this.length),
      automaticChannels: checkInteger(o.automaticChannels ?? 20, 'automaticChannels', 0),
      measure,
      scaleBySigma: checkBoolean(o.scaleBySigma ?? true, 'scaleBySigma'),
      normaliseLargest: checkBoolean(o.normaliseLargest ?? true, 'normaliseLargest'),
    };
  }

  /** Rows that a condition would use; none when nothing of it passes. */
  #conditionRows(text: TextDirection, settings: NativeDirectionOptions): number[] {
    try {
      return this.#global(text, settings, undefined).selected.map((s) => s.row);
    } catch (e) {
      if (e instanceof StyleClipError && e.code === 'ERR_STYLECLIP_EMPTY_SELECTION') return [];
      throw e;
    }
  }

  /** The core's formula on all rows, or on some of them. */
  #global(text: TextDirection, settings: NativeDirectionOptions, some: Int32Array | undefined): NativeGlobalDirection {
    let { rows, channels, concentration } = this;
    if (some !== undefined) {
      const { dim } = this;
      rows = new Float32Array(some.length * dim);
      for (const [i, row] of some.entries()) rows.set(this.rows.subarray(row * dim, (row + 1) * dim), i * dim);
      channels = some.map((row) => this.channels[row]!);
      concentration = Float32Array.from(some, (row) => this.concentration[row]!);
    }
    const options = { ...settings, channels: Math.min(settings.channels, channels.length) };
    try {
      const tensor = { data: rows, shape: [channels.length, this.dim] };
      return native().globalDirection(
        { rows: tensor, channels, concentration, sigma: this.sigma },
        text.direction,
        options,
      );
    } catch (e) {
      throw nativeError(e);
    }
  }

  /** Writes `.safetensors` with everything, atomically. */
  async save(file: string | URL): Promise<void> {
    await writeRelevance(checkPath(file), this);
  }

  /** Reads what {@link save} wrote. `FILE_NOT_FOUND`, `FILE_DAMAGED`, `FORMAT_UNKNOWN`, `FORMAT_VERSION`. */
  static async load(file: string | URL): Promise<Relevance> {
    return Relevance.from(await readRelevance(checkPath(file)));
  }

  /**
   * Adds up the shards of a directory that a sweep was run in, in this process or in others: bit for bit what
   * {@link StyleClip.sweep} with this directory resolves to. No model is needed. `meta.seconds` is 0: nothing in a merged
   * relevance depends on how or where its shards came about.
   *
   * @throws StyleClipError `FILE_NOT_FOUND` when there is no sweep, or shards are missing; `FILE_DAMAGED` naming the file;
   *   `RESUME_MISMATCH` naming a file that belongs to another sweep
   */
  static async merge(directory: string | URL, options?: RunOptions): Promise<Relevance> {
    const path = checkPath(directory, 'directory');
    const given = checkOptions(options, ['signal', 'onProgress'], 'Relevance.merge');
    checkRun(given);
    return Relevance.from(await mergeDirectory(path, given));
  }

  /**
   * Writes the `fs3.npy` of the released code: float32 [conv channels, dim], unit rows, conv layers in synthesis order
   * (6048 rows at 1024 px). Channels that were not swept get zeros, which no direction selects; toRGB is left out.
   */
  async exportNpy(file: string | URL): Promise<void> {
    const path = checkPath(file);
    if (this.meta.screened !== undefined) {
      fail('ARGUMENT', 'a screened relevance holds the channels of one text only', 'Sweep all channels, then export.');
    }
    const places = convPlaces(this.layers);
    const count = places.filter((p) => p >= 0).length;
    const rows = new Float32Array(count * this.dim);
    for (const [row, index] of this.channels.entries()) {
      const place = places[index]!;
      if (place >= 0) rows.set(this.rows.subarray(row * this.dim, (row + 1) * this.dim), place * this.dim);
    }
    await writeNpy(path, rows, [count, this.dim]);
  }

  /**
   * Reads an `fs3.npy` of another tool: [rows, dim] in any float type; rows beyond the file's end count as not swept (the
   * released sweep stops at 128 px: 5376 rows at 1024 px). Rows are brought to unit length.
   */
  static async importNpy(
    file: string | URL,
    generator: Generator | RelevanceTarget,
    options?: ImportOptions,
  ): Promise<Relevance> {
    const path = checkPath(file);
    const given = checkOptions(options, ['statistics', 'clipSha256', 'signal', 'onProgress'], 'importNpy');
    const array = await readNpy(path);
    const { layers } = generator.layout;
    const [n = 0, dim = 0] = array.shape;
    const conv = layers.reduce((sum, l) => sum + (l.toRgb ? 0 : l.channels), 0);
    if (array.shape.length !== 2 || n === 0 || dim === 0 || n > conv) {
      fail(
        'SHAPE',
        `${path} has shape ${show(array.shape)}; at most [${conv}, d] fits the generator`,
        'Use the generator that it was made with.',
      );
    }
    const rows = npyFloat32(array).slice();
    checkFinite(rows, path, array.shape);
    const counts = new Int32Array(n);
    for (let i = 0; i < n; i++) {
      const row = rows.subarray(i * dim, (i + 1) * dim);
      const length = Math.hypot(...row);
      counts[i] = length > 0 ? 1 : 0;
      if (length > 0) row.forEach((v, k) => (row[k] = v / length));
    }
    const statistics = given.statistics ?? (await statisticsOf(generator, given));
    const places = convPlaces(layers);
    return Relevance.from({
      rows,
      dim,
      channels: Int32Array.from([...places.keys()].filter((index) => places[index]! >= 0 && places[index]! < n)),
      counts,
      magnitude: new Float32Array(n),
      concentration: Float32Array.from(counts),
      mean: statistics.mean,
      sigma: statistics.sigma,
      layers,
      meta: {
        method: 'imported',
        implementation: 'unknown',
        precision: array.descr,
        images: 0,
        sigmas: 0,
        perturb: 'absolute',
        layers: ['conv'],
        preprocess: 'reference8',
        noise: 'const',
        seed: '0',
        truncationPsi: statistics.truncationPsi,
        truncationCutoff: statistics.truncationCutoff,
        statisticsSamples: statistics.samples,
        generatorSha256: 'info' in generator ? generator.info.sha256 : (generator.generatorSha256 ?? ''),
        clipSha256: given.clipSha256 ?? '',
        rendered: 0,
        seconds: 0,
        version: native().versions.styleclip,
      },
    });
  }
}

const DIRECTION_KEYS = [
  'beta',
  'channels',
  'automaticChannels',
  'measure',
  'scaleBySigma',
  'normaliseLargest',
  'not',
  'force',
];

/** Of a loaded generator; a layout alone has none. */
async function statisticsOf(generator: Generator | RelevanceTarget, run: RunOptions): Promise<StyleStatistics> {
  if ('statistics' in generator) {
    return generator.statistics({ signal: run.signal, onProgress: run.onProgress });
  }
  return fail(
    'ARGUMENT',
    'a layout alone has no statistics',
    'Pass { statistics: await readStyleStatistics("S_mean_std", layout) }, or a loaded generator.',
  );
}

/** For every flat style channel its place among the conv channels, -1 for toRGB. */
function convPlaces(layers: readonly StyleLayer[]): Int32Array {
  const places = new Int32Array(layers.reduce((sum, l) => sum + l.channels, 0)).fill(-1);
  let next = 0;
  for (const layer of layers) {
    if (layer.toRgb) continue;
    for (let c = 0; c < layer.channels; c++) places[layer.offset + c] = next++;
  }
  return places;
}
