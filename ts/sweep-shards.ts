// Sweeps in shards: what a finished shard is, and how the shards of a directory become a relevance. The files are the
// core's (cpp/include/styleclip/shards.h says what is in them); here they only get their public names.

import { stat } from 'node:fs/promises';
import { join } from 'node:path';
import { checkBoolean, checkInteger, checkPath, fail, show } from './check.js';
import { log } from './configure.js';
import { parseJsonObject } from './files/json.js';
import type { NativePlan } from './native.js';
import type { RelevanceLike, RelevanceMeta } from './relevance-meta.js';
import { native } from './runtime.js';
import { nativeError, runNative } from './signals.js';
import type { RunOptions, SweepOptions } from './types.js';

/** A finished shard of a sweep: a block of channels × sample pictures whose sums are on the disk. */
export interface SweepShard {
  /** `'shard-00007-93b885adfe0da089'`: its number, and a hash of the plan and the block. */
  readonly id: string;
  /** Flat S indices of its channels. */
  readonly channels: Int32Array;
  /** Its sample pictures: `count` of them from number `first` on. */
  readonly images: { readonly first: number; readonly count: number };
  /** The file with its sums. */
  readonly file: string;
  /** It was on the disk already, and whole. */
  readonly resumed: boolean;
  /** Pictures in one forward pass: fewer than the plan's where memory ran out. */
  readonly batch: number;
  /** Pictures that were rendered for it, in this run or before. */
  readonly rendered: number;
  /** Shards finished, of this share. */
  readonly done: number;
  /** Shards of this share. */
  readonly total: number;
  /** Names a file that was damaged and computed again, or says that `memory` is too little for any but the smallest batches. */
  readonly warning?: string;
}

/** Where a sweep in shards goes and which share of it is done. */
export interface SweepPlace {
  readonly directory: string;
  readonly part: number;
  readonly parts: number;
}

/** `directory`, `shard` and `resume` of a sweep, checked; undefined for a sweep in one piece. */
export function sweepPlace(o: SweepOptions): SweepPlace | undefined {
  if (o.directory === undefined) {
    if (o.shard !== undefined || o.resume !== undefined) {
      const key = o.shard === undefined ? 'resume' : 'shard';
      fail('ARGUMENT', `${key} is given without a directory`, 'Give { directory }: shards are files in it.');
    }
    return undefined;
  }
  if (o.resume !== undefined) checkBoolean(o.resume, 'resume');
  const directory = checkPath(o.directory, 'directory');
  if (o.shard === undefined) return { directory, part: 1, parts: 1 };
  const remedy = "Pass '1/4' for the first of four shares, up to '4/4'.";
  const match = typeof o.shard === 'string' ? /^(\d+)\/(\d+)$/.exec(o.shard) : null;
  if (match === null) fail('ARGUMENT', `shard is ${show(o.shard)}`, remedy);
  const parts = checkInteger(Number(match[2]), 'shard', 1, 1_000_000);
  const part = Number(match[1]);
  if (part < 1 || part > parts) fail('RANGE', `shard is ${show(o.shard)}`, remedy);
  return { directory, part, parts };
}

/** The plan in a directory; undefined when there is none. */
export async function planIn(directory: string): Promise<NativePlan | undefined> {
  const addon = native();
  try {
    return await addon.sweepPlan(directory);
  } catch (e) {
    throw nativeError(e);
  }
}

/** For `resume: false`: refuses a directory that holds a sweep. */
export async function requireNoPlan(directory: string): Promise<void> {
  const file = join(directory, 'plan.json');
  if ((await stat(file).catch(() => undefined)) === undefined) return;
  fail(
    'FILE_EXISTS',
    `${directory} holds a sweep already`,
    'Leave out `resume: false` to go on with it, or remove it.',
  );
}

/** Adds up the shards of a directory. */
export async function mergeDirectory(directory: string, options: RunOptions): Promise<RelevanceLike> {
  const addon = native();
  const { plan, relevance, machines } = await runNative(
    options,
    () => addon.createCancel(),
    async (run) => addon.mergeSweep(directory, run),
  );
  if (machines.length > 1) {
    log(
      'warn',
      `the shards in ${directory} come from ${machines.length} kinds of machine, which may differ in the last bits: ${machines.join('; ')}`,
    );
  }
  return {
    rows: relevance.rows.data,
    dim: relevance.rows.shape[1]!,
    channels: relevance.channels,
    counts: relevance.counts,
    magnitude: relevance.magnitude,
    concentration: relevance.concentration,
    mean: plan.statistics.mean,
    sigma: plan.statistics.sigma,
    layers: plan.layout.layers,
    meta: metaOf(plan, relevance.images),
  };
}

/** A plan's settings (plan.json, in snake case) as the metadata of its relevance. */
function metaOf(plan: NativePlan, rendered: number): RelevanceMeta {
  const settings = parseJsonObject({ text: plan.settings }) ?? {};
  const text = (key: string): string => String(settings[key]);
  const number = (key: string): number => Number(settings[key]);
  const own = (key: string): number | undefined => (key in settings ? number(key) : undefined);
  const [stopAt, cosine, confidence] = ['stop_at', 'cosine', 'confidence'].map(own);
  const layers = settings['layers'];
  return {
    method: text('method'),
    implementation: text('implementation'),
    precision: text('precision'),
    ...(stopAt === undefined ? {} : { stopAt }),
    ...(cosine === undefined ? {} : { cosine, confidence }),
    images: number('images'),
    sigmas: number('sigmas'),
    perturb: text('perturb') === 'relative' ? 'relative' : 'absolute',
    layers: Array.isArray(layers) ? layers.map(String) : [],
    preprocess: text('preprocess') === 'reference8' ? 'reference8' : 'float',
    noise: text('noise') as RelevanceMeta['noise'],
    seed: text('seed'),
    truncationPsi: number('truncation_psi'),
    truncationCutoff: number('truncation_cutoff'),
    statisticsSamples: number('statistics_samples'),
    generatorSha256: text('generator_sha256'),
    clipSha256: text('clip_sha256'),
    rendered,
    seconds: 0,
    version: text('package_version'),
  };
}
