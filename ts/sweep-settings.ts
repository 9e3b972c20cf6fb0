// The options of a sweep, checked: what the core is given, and what the result's metadata keeps.

import { checkInteger, checkNumber, checkOneOf, checkSeed, checkTexts, fail, nearest, show } from './check.js';
import type { Generator } from './generator.js';
import type { RelevanceMeta } from './relevance-meta.js';
import type { SweepOptions } from './types.js';

/** Methods that the core runs by name. */
const METHODS = ['exact', 'reference', 'stop-at', 'adaptive', 'gradient'] as const;
/** Those that compute in the models' own number type. */
const OF_THE_MODELS: readonly string[] = ['reference', 'gradient'];

/** Keys of {@link SweepOptions}. */
export const SWEEP_KEYS: readonly string[] = [
  ...['signal', 'onProgress', 'truncationPsi', 'truncationCutoff', 'images', 'sigmas', 'perturb', 'seed', 'layers'],
  ...['channels', 'method', 'precision', 'memory', 'preprocess', 'noise', 'batch', 'statistics', 'statisticsSamples'],
  ...['directory', 'shard', 'resume', 'stopAt', 'cosine', 'confidence', 'text', 'check'],
];

/** The options of a sweep, checked, as the core takes them. */
export function sweepSettings(o: SweepOptions, generator: Generator) {
  const method = checkOneOf(o.method ?? 'exact', 'method', METHODS);
  return {
    method,
    ...methodSettings(method, o, generator.info.imageSize),
    precision: precisionOf(method, o.precision, generator),
    images: checkInteger(o.images ?? 100, 'images', 1, 100_000),
    sigmas: checkNumber(o.sigmas ?? 5, 'sigmas', 0.001, 1000),
    perturb: checkOneOf(o.perturb ?? 'absolute', 'perturb', ['absolute', 'relative']),
    layers: layerNames(o.layers ?? 'conv', generator),
    ...(o.channels === undefined ? {} : { channels: channelList(o.channels) }),
    preprocess: checkOneOf(o.preprocess ?? 'float', 'preprocess', ['float', 'reference8']),
    noise: checkOneOf(o.noise ?? 'const', 'noise', ['const', 'random', 'none']),
    batch: o.batch === undefined ? 0 : checkInteger(o.batch, 'batch', 1, 65_536),
    memoryBytes: o.memory === undefined ? 0 : memoryBytes(o.memory),
    seed: checkSeed(o.seed ?? 0),
    truncationPsi: checkNumber(o.truncationPsi ?? 0.7, 'truncationPsi', -2, 2),
    truncationCutoff:
      o.truncationCutoff === undefined
        ? -1
        : checkInteger(o.truncationCutoff, 'truncationCutoff', 0, generator.layout.rows),
  };
}

function precisionOf(method: string, wanted: unknown, generator: Generator): NonNullable<SweepOptions['precision']> {
  const loaded = checkOneOf(generator.info.dtype, 'dtype', ['float32', 'float16', 'bfloat16']);
  if (wanted === undefined) return loaded;
  const precision = checkOneOf(wanted, 'precision', ['float32', 'tf32', 'float16', 'bfloat16']);
  if (OF_THE_MODELS.includes(method) && precision !== loaded) {
    fail(
      'ARGUMENT',
      `precision '${precision}' asked of the method '${method}' with models loaded in ${loaded}`,
      "It computes as the models do: load them with that dtype, or use method 'exact'.",
    );
  }
  return precision;
}

export function layerNames(value: unknown, generator: Generator): string[] {
  const names = checkTexts(value, 'layers');
  const known = ['conv', 'torgb', 'all', ...generator.layout.layers.map((l) => l.name)];
  for (const name of names) {
    if (known.includes(name)) continue;
    const near = nearest(name, known);
    fail(
      'ARGUMENT',
      `the generator has no layer ${show(name)}`,
      near ? `Did you mean '${near}'?` : `Layers: ${known.join(', ')}.`,
    );
  }
  return [...names];
}

/** Settings that only one method has; given for another one they are refused. */
function methodSettings(
  method: string,
  o: SweepOptions,
  imageSize: number,
): Pick<RelevanceMeta, 'stopAt' | 'cosine' | 'confidence'> {
  const owners = { stopAt: 'stop-at', cosine: 'adaptive', confidence: 'adaptive', text: 'screened' } as const;
  for (const key of ['stopAt', 'cosine', 'confidence', 'text'] as const) {
    if (o[key] === undefined || owners[key] === method) continue;
    fail('ARGUMENT', `${key} is given for the method '${method}'`, `It belongs to the method '${owners[key]}'.`);
  }
  if (method === 'stop-at') {
    return { stopAt: checkInteger(o.stopAt ?? Math.min(256, imageSize / 2), 'stopAt', 4, imageSize) };
  }
  if (method !== 'adaptive') return {};
  const share = (value: unknown, name: string): number => {
    const number = checkNumber(value, name, 0, 1);
    return number > 0 && number < 1 ? number : fail('RANGE', `${name} is ${number}`, 'Between 0 and 1, both excluded.');
  };
  return { cosine: share(o.cosine ?? 0.99, 'cosine'), confidence: share(o.confidence ?? 0.95, 'confidence') };
}

/** The core checks that they are swept, and in order. */
function channelList(given: unknown): Int32Array {
  const list = given instanceof Int32Array || Array.isArray(given) ? Array.from(given as ArrayLike<unknown>) : [];
  if (list.length === 0) fail('ARGUMENT', `channels is ${show(given)}`, 'Pass places in S, at least one.');
  return Int32Array.from(list, (channel, i) => checkInteger(channel, `channels[${i}]`, 0, 2 ** 31 - 1));
}

function memoryBytes(value: unknown): number {
  const text = typeof value === 'string' ? /^(\d+(?:\.\d+)?)GiB$/.exec(value)?.[1] : undefined;
  if (typeof value === 'string' && text === undefined) {
    fail('ARGUMENT', `memory is ${show(value)}`, "Pass bytes, or a string such as '4GiB'.");
  }
  const bytes = text === undefined ? value : Math.round(Number(text) * 2 ** 30);
  return checkInteger(bytes, 'memory', 2 ** 20);
}
