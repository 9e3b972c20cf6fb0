// The channels of one text in seconds: gradients at a few pictures say which channels come into question, and only those are
// swept exactly.

import { checkInteger, checkNumber, fail } from './check.js';
import { TextDirection } from './direction.js';
import { checkMatch } from './model-match.js';
import { Relevance } from './relevance.js';
import type { StyleClip } from './styleclip.js';
import type { SweepOptions } from './types.js';

/** Options of {@link StyleClip.screen}: those of a sweep, and how channels are chosen. Give `beta` or `channels`, not both. */
export interface ScreenOptions extends Omit<
  SweepOptions,
  'method' | 'text' | 'channels' | 'directory' | 'shard' | 'resume' | 'stopAt' | 'cosine' | 'confidence' | 'preprocess'
> {
  /**
   * The threshold that the direction will use, 0..1: channels whose gradient says |r| ≥ β / `margin` are swept. `'auto'`: the
   * automatic β of the gradient's own relevances ({@link DirectionOptions}), and at least as many channels as without a β.
   * Where that β keeps many channels, as for a text that most channels answer to, the sweep of them takes as long.
   */
  beta?: number | 'auto' | undefined;
  /** How many channels the direction will keep: `margin` times as many are swept. Default 20. */
  channels?: number | undefined;
  /** At least 1. Default 3. */
  margin?: number | undefined;
  /** Pictures at which the gradient is taken, of the sweep's own. Default: 50, or all where there are fewer. */
  screenImages?: number | undefined;
  /**
   * Backward passes a picture beside the text's own, 1 or more. They estimate how long a channel's gradient is, to about
   * 1/√(2 probes). Default 16; as many as the embedding has numbers make it exact.
   */
  probes?: number | undefined;
}

/** What a screened relevance says of itself. */
export interface Screening {
  /** The text it is for. */
  readonly target: string;
  readonly neutral: string;
  /** Channels that were looked at. */
  readonly of: number;
  /** Pictures of the gradient. */
  readonly images: number;
  readonly margin: number;
  /** Backward passes a picture beside the text's own. */
  readonly probes: number;
}

const DEFAULT_CHANNELS = 20;

/** Automatic β of relevances in descending order: the largest of 0.10, 0.11 … 0.29 that keeps more than 20, else 0.1. */
function automaticBeta(descending: readonly number[]): number {
  for (let hundredths = 29; hundredths > 10; hundredths--) {
    if ((descending[DEFAULT_CHANNELS] ?? 0) >= hundredths / 100) return hundredths / 100;
  }
  return 0.1;
}

/** What the gradient says of each channel: its place in S, an estimate of |r|, and what that took. */
export interface Slopes {
  readonly channels: Int32Array;
  readonly relevance: Float64Array;
  readonly rendered: number;
  readonly seconds: number;
}

/** Takes the gradient of `text` at `images` pictures. */
export type TakeSlopes = (text: TextDirection, images: number, probes: number) => Promise<Slopes>;

export async function screenChannels(
  system: StyleClip,
  text: TextDirection,
  o: ScreenOptions,
  takeSlopes: TakeSlopes,
): Promise<Relevance> {
  const { beta, channels, margin: wide = 3, screenImages = 50, probes = 16, ...sweep } = o;
  const direction = TextDirection.from(text);
  checkMatch('the text direction', direction.clipSha256, system.clip.info.sha256, system.clip.info.file, false);
  if (beta !== undefined && channels !== undefined) {
    fail('ARGUMENT', 'beta and channels are both given', 'Give one of them: a threshold, or how many channels.');
  }
  const margin = checkNumber(wide, 'margin', 1, 1000);
  const images = Math.min(checkInteger(screenImages, 'screenImages', 1, 100_000), sweep.images ?? 100);
  const fixed = beta === undefined || beta === 'auto' ? undefined : checkNumber(beta, 'beta', 0, 1) / margin;
  const wanted = Math.ceil(checkInteger(channels ?? DEFAULT_CHANNELS, 'channels', 1) * margin);

  const slopes = await takeSlopes(direction, images, checkInteger(probes, 'probes', 1, 100_000));
  const r = slopes.relevance;
  const order = [...r.keys()].filter((i) => r[i]! > 0).sort((i, k) => r[k]! - r[i]! || i - k);
  const threshold = beta === 'auto' ? automaticBeta(order.map((i) => r[i]!)) / margin : fixed;
  const passing = threshold === undefined ? [] : order.filter((i) => r[i]! >= threshold);
  const survivors = fixed === undefined && passing.length < wanted ? order.slice(0, wanted) : passing;
  if (survivors.length === 0) {
    const largest = order.length === 0 ? 0 : r[order[0]!]!;
    fail(
      'EMPTY_SELECTION',
      `no style channel's gradient reaches ${threshold?.toPrecision(3)}: the largest is ${largest.toPrecision(3)}`,
      'Give a lower beta, a larger margin, or a number of channels.',
    );
  }
  const chosen = Int32Array.from(survivors, (i) => slopes.channels[i]!).sort();
  const exact = await system.sweep({ ...sweep, method: 'exact', channels: chosen });
  return Relevance.from({
    ...exact,
    meta: {
      ...exact.meta,
      method: 'screened',
      rendered: slopes.rendered + exact.meta.rendered,
      seconds: slopes.seconds + exact.meta.seconds,
      screened: { target: direction.target, neutral: direction.neutral, of: r.length, images, margin, probes },
    },
  });
}
