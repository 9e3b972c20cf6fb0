// Directions as plain data: Δt, where a text points in CLIP's space, and ΔS, where it points in StyleSpace.

import { checkFinite, checkInteger, checkNumber, checkPath, fail, show } from './check.js';
import { readSafetensors, safetensorsFloat32, safetensorsInt32, writeSafetensors } from './files/safetensors.js';
import { parseJsonObject } from './files/json.js';

/** What {@link TextDirection.from} takes back: a structured clone, or the same fields. */
export interface TextDirectionLike {
  readonly direction: Float32Array;
  readonly length: number;
  readonly targetEmbedding: Float32Array;
  readonly neutralEmbedding: Float32Array;
  readonly target: string;
  readonly neutral: string;
  readonly templates: readonly string[];
  readonly unknownWords: readonly string[];
  readonly clipSha256: string;
}

/**
 * Δt = unit(t̂_target − t̂_neutral), t̂ = unit(mean over templates of unit(CLIP(text))): StyleCLIP section 6.1, released code
 * MapTS.GetDt. Made by {@link Clip.direction}. Plain data.
 */
export class TextDirection implements TextDirectionLike {
  /** Δt, [d], unit length. */
  readonly direction: Float32Array;
  /** |t̂_target − t̂_neutral|, 0..2: how far apart the texts are. 0.37 for "face with eyes" → "face with blue eyes". */
  readonly length: number;
  /** t̂_target, [d], unit length. */
  readonly targetEmbedding: Float32Array;
  /** t̂_neutral, [d], unit length. */
  readonly neutralEmbedding: Float32Array;
  readonly target: string;
  readonly neutral: string;
  /** With `{}` where the text goes; `['{}']` for none. */
  readonly templates: readonly string[];
  /** Words of both texts that the CLIP model's tokenizer does not know as words. */
  readonly unknownWords: readonly string[];
  readonly clipSha256: string;

  private constructor(fields: TextDirectionLike) {
    this.direction = fields.direction;
    this.length = fields.length;
    this.targetEmbedding = fields.targetEmbedding;
    this.neutralEmbedding = fields.neutralEmbedding;
    this.target = fields.target;
    this.neutral = fields.neutral;
    this.templates = fields.templates;
    this.unknownWords = fields.unknownWords;
    this.clipSha256 = fields.clipSha256;
  }

  /** A text direction from its structured clone. */
  static from(fields: TextDirectionLike): TextDirection {
    if (fields instanceof TextDirection) return fields;
    if (fields === null || typeof fields !== 'object' || !(fields.direction instanceof Float32Array)) {
      fail(
        'ARGUMENT',
        `a text direction is needed, not ${show(fields)}`,
        'Make one with clip.direction({ neutral, target }).',
      );
    }
    checkFinite(fields.direction, 'direction', [fields.direction.length]);
    return new TextDirection(fields);
  }
}

/** One style channel of a {@link GlobalDirection}. */
export interface DirectionChannel {
  /** `'b16.conv1.45'`: layer and channel. */
  readonly name: string;
  /** `'b16.conv1'` */
  readonly layer: string;
  /** Channel within its layer. */
  readonly channel: number;
  /** Channel in a flat S vector. */
  readonly index: number;
  /** r_c, -1..1: cosine (or mean projection) of the channel's effect with Δt. */
  readonly relevance: number;
  /** ΔS_c at α = 1. */
  readonly delta: number;
}

/** How a {@link GlobalDirection} came about. */
export interface DirectionMeta {
  readonly generatorSha256: string;
  readonly clipSha256: string;
  readonly target: string;
  readonly neutral: string;
  /** Texts whose channels were left out. */
  readonly not: readonly string[];
  readonly measure: 'cosine' | 'projection';
  readonly scaleBySigma: boolean;
  readonly normaliseLargest: boolean;
}

/** What {@link GlobalDirection.from} takes back: a structured clone, or the same fields. */
export interface GlobalDirectionLike {
  readonly selected: readonly DirectionChannel[];
  readonly delta: Float32Array;
  readonly beta: number;
  readonly largest: number;
  readonly meta: DirectionMeta;
}

/**
 * A direction of StyleSpace that serves every picture: S' = S + α ΔS (StyleCLIP section 6, released code
 * MapTS.GetBoundary). Made by {@link Relevance.direction}. Plain data.
 */
export class GlobalDirection implements GlobalDirectionLike {
  /** The channels that it moves, the largest |relevance| first. */
  readonly selected: readonly DirectionChannel[];
  /** ΔS at α = 1, [channels of S]; 0 where a channel is not selected. */
  readonly delta: Float32Array;
  /** The threshold used: every selected channel has |relevance| ≥ beta. */
  readonly beta: number;
  /** Largest |relevance| over all channels looked at. */
  readonly largest: number;
  readonly meta: DirectionMeta;

  private constructor(fields: GlobalDirectionLike) {
    this.selected = fields.selected;
    this.delta = fields.delta;
    this.beta = fields.beta;
    this.largest = fields.largest;
    this.meta = fields.meta;
  }

  /** A direction from its structured clone. `NOT_FINITE` when ΔS holds NaN or infinities. */
  static from(fields: GlobalDirectionLike): GlobalDirection {
    if (fields instanceof GlobalDirection) return fields;
    const known = fields !== null && typeof fields === 'object';
    if (
      !known ||
      !(fields.delta instanceof Float32Array) ||
      !Array.isArray(fields.selected) ||
      typeof fields.meta !== 'object'
    ) {
      fail('ARGUMENT', `a global direction is needed, not ${show(fields)}`, 'Make one with relevance.direction(text).');
    }
    checkFinite(fields.delta, 'delta', [fields.delta.length]);
    return new GlobalDirection(fields);
  }

  /**
   * Several directions at once: ΔS = Σ weight · ΔS_i, for edits that are made together.
   *
   * @param weights one a direction, of either sign; default: all 1
   */
  static combine(directions: readonly GlobalDirection[], weights?: readonly number[]): GlobalDirection {
    if (!Array.isArray(directions) || directions.length === 0) {
      fail('ARGUMENT', 'combine() needs at least one direction', 'Pass an array of directions.');
    }
    if (weights !== undefined && weights.length !== directions.length) {
      fail('SHAPE', `${weights.length} weights for ${directions.length} directions`, 'Pass one weight a direction.');
    }
    const parts = directions.map((d) => GlobalDirection.from(d));
    const first = parts[0]!;
    const delta = new Float32Array(first.delta.length);
    const channels = new Map<number, DirectionChannel>();
    for (const [i, part] of parts.entries()) {
      if (part.delta.length !== delta.length || part.meta.generatorSha256 !== first.meta.generatorSha256) {
        fail('MODEL_MISMATCH', 'the directions belong to different generators', 'Combine directions of one generator.');
      }
      const weight = checkNumber(weights?.[i] ?? 1, `weights[${i}]`);
      for (const channel of part.selected) {
        delta[channel.index]! += weight * channel.delta;
        const before = channels.get(channel.index)?.relevance ?? 0;
        channels.set(channel.index, { ...channel, relevance: before + weight * channel.relevance });
      }
    }
    const selected = [...channels.values()]
      .map((c) => ({ ...c, delta: delta[c.index]! }))
      .toSorted((a, b) => Math.abs(b.relevance) - Math.abs(a.relevance));
    return new GlobalDirection({
      selected,
      delta,
      beta: Math.min(...parts.map((p) => p.beta)),
      largest: Math.max(...parts.map((p) => p.largest)),
      meta: {
        ...first.meta,
        target: parts.map((p) => p.meta.target).join(' + '),
        neutral: parts.map((p) => p.meta.neutral).join(' + '),
        not: parts.flatMap((p) => p.meta.not),
      },
    });
  }

  /** Number of channels that it moves. */
  get channels(): number {
    return this.selected.length;
  }

  /** The n channels of largest |relevance|, as rows for `console.table`. */
  top(n = 10): { name: string; layer: string; channel: number; relevance: number; delta: number }[] {
    return this.selected
      .slice(0, checkInteger(n, 'n', 1))
      .map(({ name, layer, channel, relevance, delta }) => ({ name, layer, channel, relevance, delta }));
  }

  /** The same direction, ΔS times a factor; a negative one turns it round. */
  scale(factor: number): GlobalDirection {
    const by = checkNumber(factor, 'factor');
    return new GlobalDirection({
      ...this,
      selected: this.selected.map((c) => ({ ...c, delta: c.delta * by })),
      delta: this.delta.map((d) => d * by),
    });
  }

  /** Writes `.safetensors`: `delta`, `index`, `relevance`, and how it came about in the metadata. Atomic. */
  async save(file: string | URL): Promise<void> {
    await writeSafetensors(
      checkPath(file),
      {
        delta: { data: this.delta, shape: [this.delta.length] },
        index: { data: Int32Array.from(this.selected, (c) => c.index), shape: [this.channels] },
        relevance: { data: Float32Array.from(this.selected, (c) => c.relevance), shape: [this.channels] },
      },
      {
        format: FORMAT,
        version: '1',
        generator_sha256: this.meta.generatorSha256,
        clip_sha256: this.meta.clipSha256,
        target: this.meta.target,
        neutral: this.meta.neutral,
        not: JSON.stringify(this.meta.not),
        measure: this.meta.measure,
        scale_by_sigma: String(this.meta.scaleBySigma),
        normalise_largest: String(this.meta.normaliseLargest),
        beta: String(this.beta),
        largest: String(this.largest),
        channels: JSON.stringify(this.selected.map(({ layer, channel }) => [layer, channel])),
      },
    );
  }

  /** Reads what {@link save} wrote. `FILE_NOT_FOUND`, `FILE_DAMAGED`, `FORMAT_UNKNOWN`, `FORMAT_VERSION`. */
  static async load(file: string | URL): Promise<GlobalDirection> {
    const path = checkPath(file);
    const { tensors, metadata } = await readSafetensors(path);
    if (metadata['format'] !== FORMAT) {
      fail('FORMAT_UNKNOWN', `${path} holds no direction`, 'Directions are written by direction.save().');
    }
    if (metadata['version'] !== '1') {
      fail('FORMAT_VERSION', `${path} has version ${metadata['version']}; this package reads 1`, 'Update the package.');
    }
    const [delta, index, relevance] = ['delta', 'index', 'relevance'].map((name) => tensors.get(name));
    const indices = index === undefined ? undefined : safetensorsInt32(index);
    const names = parseJsonObject({ text: `{"list":${metadata['channels'] ?? 'null'}}` })?.['list'];
    if (delta === undefined || relevance === undefined || indices === undefined || !Array.isArray(names)) {
      return fail('FILE_DAMAGED', `${path} lacks a part of a direction`, 'Write it again.');
    }
    const deltas = safetensorsFloat32(delta);
    const relevances = safetensorsFloat32(relevance);
    const fits = indices.length === relevances.length && indices.length === names.length;
    if (!fits || indices.some((i) => i < 0 || i >= deltas.length)) {
      fail('FILE_DAMAGED', `${path}: the parts of the direction do not fit each other`, 'Write it again.');
    }
    const selected = Array.from(indices, (at, i): DirectionChannel => {
      const [layer, channel] = names[i] as [string, number];
      return {
        name: channelName(layer, channel),
        layer,
        channel,
        index: at,
        relevance: relevances[i]!,
        delta: deltas[at]!,
      };
    });
    const not: unknown = JSON.parse(metadata['not'] ?? '[]');
    return GlobalDirection.from({
      selected,
      delta: deltas,
      beta: Number(metadata['beta']),
      largest: Number(metadata['largest']),
      meta: {
        generatorSha256: metadata['generator_sha256'] ?? '',
        clipSha256: metadata['clip_sha256'] ?? '',
        target: metadata['target'] ?? '',
        neutral: metadata['neutral'] ?? '',
        not: Array.isArray(not) ? not.map(String) : [],
        measure: metadata['measure'] === 'projection' ? 'projection' : 'cosine',
        scaleBySigma: metadata['scale_by_sigma'] !== 'false',
        normaliseLargest: metadata['normalise_largest'] !== 'false',
      },
    });
  }
}

const FORMAT = 'styleclip.direction';

/** `'b16.conv1.45'` */
export function channelName(layer: string, channel: number): string {
  return `${layer}.${channel}`;
}
