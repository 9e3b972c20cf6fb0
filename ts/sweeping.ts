// A sweep in one piece: the core's call, what its result says of itself, and how far an approximate one is from the exact.

import { checkInteger } from './check.js';
import type { Clip } from './clip.js';
import { log } from './configure.js';
import type { Generator } from './generator.js';
import { handleOf } from './model.js';
import type { NativeRelevance, NativeSweepOptions } from './native.js';
import { Relevance } from './relevance.js';
import { native } from './runtime.js';
import { runNative } from './signals.js';
import type { sweepSettings } from './sweep-settings.js';
import type { RunOptions, StyleStatistics, SweepOptions } from './types.js';

/** Channels that an approximate sweep is compared on: 0.3 % of the work of config-f's 6048. */
const CHECKED_CHANNELS = 16;

/** The models that a sweep is of. */
export interface SweptModels {
  readonly generator: Generator;
  readonly clip: Clip;
}

/** A sweep in one piece. */
export async function runSweep(
  models: SweptModels,
  o: RunOptions,
  settings: NativeSweepOptions,
  statistics: StyleStatistics,
): Promise<NativeRelevance> {
  const { mean, sigma, samples } = statistics;
  const [generator, clip, addon] = [handleOf(models.generator), handleOf(models.clip), native()];
  return runNative(
    o,
    () => addon.createCancel(),
    async (run) => addon.sweep(generator, clip, { mean, sigma, samples }, settings, run),
  );
}

/** What the core found, with what it was found by. */
export function relevanceOf(
  models: SweptModels,
  result: NativeRelevance,
  settings: ReturnType<typeof sweepSettings>,
  statistics: StyleStatistics,
): Relevance {
  const { seed, batch: _batch, memoryBytes: asked, channels: _channels, ...kept } = settings;
  const tooLittle = asked > 0 && result.leastBytes > asked;
  if (tooLittle) {
    const [wanted, least] = [asked, result.leastBytes].map((bytes) => `${Math.ceil(bytes / 2 ** 20)} MiB`);
    log('warn', `memory is ${wanted}; the sweep ran with its smallest batches, which take up to ${least}`);
  }
  const { mean, sigma, samples } = statistics;
  return Relevance.from({
    rows: result.rows.data,
    dim: result.rows.shape[1]!,
    channels: result.channels,
    counts: result.counts,
    magnitude: result.magnitude,
    concentration: result.concentration,
    mean,
    sigma,
    layers: models.generator.layout.layers,
    meta: {
      implementation: result.implementation,
      ...kept,
      seed: seed.toString(),
      statisticsSamples: samples,
      generatorSha256: models.generator.info.sha256,
      clipSha256: models.clip.info.sha256,
      rendered: result.images,
      seconds: result.seconds,
      ...(tooLittle ? { leastMemory: result.leastBytes } : {}),
      version: native().versions.styleclip,
    },
  });
}

/** What is not exact/float32 says how far it is from it, measured on some of its channels. */
export async function withAgreement(
  models: SweptModels,
  relevance: Relevance,
  o: SweepOptions,
  settings: NativeSweepOptions,
  samples: () => Promise<StyleStatistics>,
): Promise<Relevance> {
  const { method, precision } = relevance.meta;
  const wanted = checkInteger(o.check ?? CHECKED_CHANNELS, 'check', 0, 1_000_000);
  if (wanted === 0 || (['exact', 'reference'].includes(method) && precision === 'float32')) return relevance;
  const moving = relevance.channels.filter((_, i) => relevance.counts[i]! > 0);
  const count = Math.min(wanted, moving.length);
  if (count === 0) return relevance;
  const channels = Int32Array.from(
    { length: count },
    (_, i) => moving[Math.floor(((i + 0.5) * moving.length) / count)]!,
  );
  const { mean, sigma } = relevance;
  const statistics = { ...(await samples()), mean, sigma };
  const { stopAt: _s, cosine: _c, confidence: _p, ...same } = settings;
  const truth = await runSweep(models, o, { ...same, method: 'exact', precision: 'float32', channels }, statistics);
  const { cosine, magnitude } = relevance.agreement(
    Relevance.from({
      ...relevance,
      ...{ rows: truth.rows.data, channels: truth.channels, counts: truth.counts },
      ...{ magnitude: truth.magnitude, concentration: truth.concentration },
    }),
  );
  const agreement = {
    channels: count,
    cosineMedian: cosine.median,
    cosineMin: cosine.min,
    magnitude: magnitude.median,
  };
  return Relevance.from({ ...relevance, meta: { ...relevance.meta, agreement } });
}
