// The channels of one text in seconds: gradients say which channels come into question, exact pictures which of those are
// wanted, and only these are painted in full.

import { checkInteger, checkNumber, fail } from './check.js';
import type { NativeScreenOptions } from './native.js';
import { SWEEP_KEYS } from './sweep-settings.js';
import type { SweepOptions } from './types.js';

/** Options of {@link StyleClip.screen}: those of a sweep, and how channels are chosen. Give `beta` or `channels`, not both. */
export interface ScreenOptions extends Omit<
  SweepOptions,
  'method' | 'text' | 'channels' | 'directory' | 'shard' | 'resume' | 'stopAt' | 'cosine' | 'preprocess' | 'check'
> {
  /**
   * The threshold that the direction will use, 0..1: wanted are the channels with |r| ≥ β. `'auto'`: those that the automatic
   * β of a direction keeps ({@link DirectionOptions}). Where many channels answer to a text, painting them takes as long.
   */
  beta?: number | 'auto' | undefined;
  /** How many channels the direction will keep: wanted are those of largest |r|. Default 20. */
  channels?: number | undefined;
  /**
   * Candidates after the gradient: `margin` times `channels`, or, with a β, those whose gradient says |r| ≥ β / `margin`, and
   * with `'auto'` at least `margin` times 20. At least 1. Default 3.
   */
  margin?: number | undefined;
  /**
   * Backward passes a picture beside the text's own, 1 or more. They estimate how long a channel's gradient is, to about
   * 1/√(2 probes) in a picture; as many as the embedding has numbers make it exact. Default 5, or 500 / `images` where there
   * are fewer than 100.
   */
  probes?: number | undefined;
  /**
   * Probability with which a candidate that gets no more pictures is not wanted, each time it is looked at: after 8, 9, 10, 11, …
   * pictures, ever farther apart. Above 0.5, below 1. Default 0.99.
   */
  confidence?: number | undefined;
}

/** What a screened relevance says of itself. */
export interface Screening {
  /** The text it is for. */
  readonly target: string;
  readonly neutral: string;
  /** Channels whose gradient was looked at, and those of them that exact pictures were painted of. */
  readonly of: number;
  readonly candidates: number;
  readonly margin: number;
  /** Backward passes a picture beside the text's own. */
  readonly probes: number;
  readonly confidence: number;
}

const DEFAULT_CHANNELS = 20;

/** Options of a sweep that a screening has no use for. */
const NOT_SCREENED = [
  ...['method', 'text', 'directory', 'shard', 'resume', 'stopAt', 'cosine', 'preprocess', 'channels', 'check'],
];
/** Keys of {@link ScreenOptions}. */
export const SCREEN_KEYS = [
  ...SWEEP_KEYS.filter((key) => !NOT_SCREENED.includes(key)),
  ...['beta', 'channels', 'margin', 'probes'],
];

/** The screening's own options, checked, as the core takes them. */
export function screenSettings(o: ScreenOptions): Omit<NativeScreenOptions, 'text'> {
  const { beta, channels } = o;
  if (beta !== undefined && channels !== undefined) {
    fail('ARGUMENT', 'beta and channels are both given', 'Give one of them: a threshold, or how many channels.');
  }
  const confidence = checkNumber(o.confidence ?? 0.99, 'confidence', 0.5, 1);
  if (confidence === 0.5 || confidence === 1) {
    fail('RANGE', `confidence is ${confidence}`, 'Between 0.5 and 1, both excluded.');
  }
  return {
    channels: checkInteger(channels ?? DEFAULT_CHANNELS, 'channels', 1, 2 ** 31 - 1),
    automatic: beta === 'auto',
    ...(beta === undefined || beta === 'auto' ? {} : { beta: checkNumber(beta, 'beta', 0, 1) }),
    margin: checkNumber(o.margin ?? 3, 'margin', 1, 1000),
    probes: o.probes === undefined ? 0 : checkInteger(o.probes, 'probes', 1, 100_000),
    confidence,
  };
}
