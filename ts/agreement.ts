// How far two relevances of the same models agree: what a faster method, or another precision, is worth beside the exact one.
// The core has the same for C++ (styleclip/agreement.h); test/data/agreement.json holds the two together.

import { checkNumber, checkOptions, fail } from './check.js';
import { TextDirection } from './direction.js';
import { checkMatch } from './model-match.js';
import type { Relevance } from './relevance.js';

/** Options of {@link Relevance.agreement}. */
export interface AgreementOptions {
  /** Texts for which relevances and selected channels are compared. Default: none. */
  directions?: TextDirection | readonly TextDirection[] | undefined;
  /** Threshold of the selection, 0..1. Default `'auto'`: for each text what the other table's automatic β is. */
  beta?: number | 'auto' | undefined;
  /**
   * Noise ε of a unit embedding: how far two orders of summation differ, measured by two batch sizes of one method. A row is
   * resolved where the other table's mean |d| is at least 300 ε. Default 0: every row is.
   */
  epsilon?: number | undefined;
}

/** What {@link Relevance.agreement} tells. */
export interface Agreement {
  /** Channels that both tables have. */
  readonly channels: number;
  /** Of them, those that move the embedding in neither table; they are not compared. */
  readonly still: number;
  /** Cosine of the rows of a channel, -1..1. A channel that moves in one table only counts as 0. */
  readonly cosine: {
    readonly min: number;
    readonly p01: number;
    readonly p10: number;
    readonly median: number;
    readonly mean: number;
  };
  /** |magnitude − other| / other, over the channels that move in both. */
  readonly magnitude: { readonly median: number; readonly max: number };
  readonly resolved: {
    readonly channels: number;
    /** Lowest cosine of a resolved row; NaN where there is none. */
    readonly min: number;
  };
  /** Places in S of the channels that are not resolved. */
  readonly unresolved: readonly number[];
  readonly directions: readonly DirectionAgreement[];
}

/** Of one text. */
export interface DirectionAgreement {
  readonly target: string;
  readonly neutral: string;
  readonly beta: number;
  /** Correlation of the relevances r_c of all compared channels; NaN where they do not vary. */
  readonly pearson: number;
  /** The same of their ranks. */
  readonly spearman: number;
  /** Channels with |r_c| ≥ β in the other table, and in this one. */
  readonly expected: number;
  readonly selected: number;
  /** Share of the expected ones that this table selects too; 1 where none is expected. */
  readonly recall: number;
}

export function agreementOf(own: Relevance, truth: Relevance, options?: AgreementOptions): Agreement {
  const o = checkOptions(options, ['directions', 'beta', 'epsilon'], 'agreement');
  const epsilon = checkNumber(o.epsilon ?? 0, 'epsilon', 0, 1);
  const beta = o.beta === undefined || o.beta === 'auto' ? undefined : checkNumber(o.beta, 'beta', 0, 1);
  checkMatch('the other relevance', truth.meta.generatorSha256, own.meta.generatorSha256, 'this one', false);
  checkMatch('the other relevance (CLIP)', truth.meta.clipSha256, own.meta.clipSha256, 'this one', false);
  if (own.dim !== truth.dim) {
    fail('SHAPE', `the rows have ${own.dim} and ${truth.dim} numbers`, 'Compare sweeps with one CLIP model.');
  }
  const placeOf = new Map([...truth.channels].map((channel, row) => [channel, row]));
  const pairs: { a: number; b: number }[] = [];
  let common = 0;
  for (const [a, channel] of own.channels.entries()) {
    const b = placeOf.get(channel);
    if (b === undefined) continue;
    common++;
    if (own.counts[a]! > 0 || truth.counts[b]! > 0) pairs.push({ a, b });
  }
  if (pairs.length === 0) {
    fail(
      'ARGUMENT',
      'there is no channel that both relevances have and that moves',
      'Compare sweeps of the same layers.',
    );
  }

  const cosines = pairs.map(({ a, b }) => dot(row(own, a), row(truth, b)));
  const errors = pairs
    .filter(({ a, b }) => own.counts[a]! > 0 && truth.counts[b]! > 0)
    .map(({ a, b }) => Math.abs(own.magnitude[a]! - truth.magnitude[b]!) / truth.magnitude[b]!);
  const isResolved = pairs.map(({ b }) => truth.magnitude[b]! >= 300 * epsilon);
  const resolved = cosines.filter((_, i) => isResolved[i]);
  const sorted = [...cosines].sort((x, y) => x - y);
  const sortedErrors = errors.sort((x, y) => x - y);
  const given = o.directions ?? [];
  const directions = Array.isArray(given) ? (given as readonly TextDirection[]) : [given as TextDirection];
  return {
    channels: common,
    still: common - pairs.length,
    cosine: {
      min: sorted[0]!,
      p01: quantile(sorted, 0.01),
      p10: quantile(sorted, 0.1),
      median: quantile(sorted, 0.5),
      mean: mean(cosines),
    },
    magnitude: { median: quantile(sortedErrors, 0.5), max: sortedErrors.at(-1) ?? NaN },
    resolved: { channels: resolved.length, min: resolved.length === 0 ? NaN : Math.min(...resolved) },
    unresolved: pairs.filter((_, i) => !isResolved[i]).map(({ a }) => own.channels[a]!),
    directions: directions.map((text) => ofText(own, truth, pairs, TextDirection.from(text), beta)),
  };
}

function ofText(
  own: Relevance,
  truth: Relevance,
  pairs: readonly { a: number; b: number }[],
  text: TextDirection,
  given: number | undefined,
): DirectionAgreement {
  checkMatch('the text direction', text.clipSha256, truth.meta.clipSha256, 'the relevance’s CLIP', false);
  const beta = given ?? truth.direction(text).beta;
  const length = Math.sqrt(dot(text.direction, text.direction)); // 1 but for the roundings of float32
  const mine = pairs.map(({ a }) => dot(row(own, a), text.direction) / length);
  const theirs = pairs.map(({ b }) => dot(row(truth, b), text.direction) / length);
  const passes = (r: number): boolean => Math.abs(r) >= beta;
  const expected = theirs.filter(passes).length;
  const both = theirs.filter((r, i) => passes(r) && passes(mine[i]!)).length;
  return {
    target: text.target,
    neutral: text.neutral,
    beta,
    pearson: pearson(mine, theirs),
    spearman: pearson(ranks(mine), ranks(theirs)),
    expected,
    selected: mine.filter(passes).length,
    recall: expected === 0 ? 1 : both / expected,
  };
}

function row(of: Relevance, i: number): Float32Array {
  return of.rows.subarray(i * of.dim, (i + 1) * of.dim);
}

function dot(a: Float32Array, b: Float32Array): number {
  let sum = 0;
  for (let i = 0; i < a.length; i++) sum += a[i]! * b[i]!;
  return sum;
}

function mean(x: readonly number[]): number {
  return x.reduce((sum, v) => sum + v, 0) / x.length;
}

/** Of ascending numbers, between neighbours in proportion; NaN of none. */
function quantile(sorted: readonly number[], q: number): number {
  if (sorted.length === 0) return NaN;
  const place = q * (sorted.length - 1);
  const low = Math.floor(place);
  const high = Math.min(low + 1, sorted.length - 1);
  return sorted[low]! + (place - low) * (sorted[high]! - sorted[low]!);
}

function pearson(x: readonly number[], y: readonly number[]): number {
  const [mx, my] = [mean(x), mean(y)];
  let [xy, xx, yy] = [0, 0, 0];
  for (let i = 0; i < x.length; i++) {
    const [dx, dy] = [x[i]! - mx, y[i]! - my];
    xy += dx * dy;
    xx += dx * dx;
    yy += dy * dy;
  }
  return xy / Math.sqrt(xx * yy);
}

/** 0, 1, …; equal numbers share the mean of their places. */
function ranks(x: readonly number[]): number[] {
  const order = [...x.keys()].sort((i, k) => x[i]! - x[k]!);
  const result = new Array<number>(x.length);
  for (let first = 0; first < order.length;) {
    let end = first + 1;
    while (end < order.length && x[order[end]!] === x[order[first]!]) end++;
    for (let i = first; i < end; i++) result[order[i]!] = (first + end - 1) / 2;
    first = end;
  }
  return result;
}
