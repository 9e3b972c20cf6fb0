// A relevance on disk: one .safetensors file with its arrays, and what it came from as metadata in snake case.

import { fail } from './check.js';
import { isObject, parseJsonObject, snakeCase } from './files/json.js';
import { readSafetensors, safetensorsFloat32, safetensorsInt32, writeSafetensors } from './files/safetensors.js';
import type { MeasuredAgreement, RelevanceLike, RelevanceMeta } from './relevance-meta.js';
import type { Screening } from './screening.js';
import type { StyleLayer } from './types.js';

const FORMAT = 'styleclip.relevance';
const VERSION = '1';

/** Keys of the metadata that are numbers; all others are strings, apart from `layers`. */
const NUMBERS = [
  'images',
  'sigmas',
  'truncationPsi',
  'truncationCutoff',
  'statisticsSamples',
  'rendered',
  'seconds',
] as const;
/** Numbers that some have. */
const OPTIONAL_NUMBERS = ['stopAt', 'cosine', 'confidence', 'leastMemory'] as const;
const STRINGS = [
  'method',
  'implementation',
  'precision',
  'perturb',
  'preprocess',
  'noise',
  'seed',
  'generatorSha256',
  'clipSha256',
  'version',
] as const;

export async function writeRelevance(file: string, relevance: RelevanceLike): Promise<void> {
  const { rows, dim, channels, counts, magnitude, concentration, mean, sigma, layers, meta } = relevance;
  if (!/\.safetensors$/i.test(file)) {
    fail(
      'FORMAT_UNKNOWN',
      `${file}: a relevance is written as .safetensors`,
      'Choose this ending; exportNpy() writes fs3.npy.',
    );
  }
  const n = channels.length;
  const total = mean.length;
  const metadata: Record<string, string> = { format: FORMAT, version: VERSION };
  for (const key of NUMBERS) metadata[snakeCase(key)] = String(meta[key]);
  for (const key of OPTIONAL_NUMBERS) if (meta[key] !== undefined) metadata[snakeCase(key)] = String(meta[key]);
  for (const key of STRINGS) metadata[key === 'version' ? 'package_version' : snakeCase(key)] = meta[key];
  if (meta.screened !== undefined) metadata['screened'] = JSON.stringify(meta.screened);
  if (meta.agreement !== undefined) {
    const { channels: checked, cosineMedian, cosineMin, magnitude: error } = meta.agreement;
    const text = { channels: checked, cosine_median: cosineMedian, cosine_min: cosineMin, magnitude: error };
    metadata['agreement'] = JSON.stringify(text);
  }
  metadata['layers'] = JSON.stringify(meta.layers);
  metadata['style_layers'] = JSON.stringify(
    layers.map((l) => ({
      name: l.name,
      resolution: l.resolution,
      channels: l.channels,
      torgb: l.toRgb,
      w_row: l.wRow,
      offset: l.offset,
    })),
  );
  await writeSafetensors(
    file,
    {
      rows: { data: rows, shape: [n, dim] },
      concentration: { data: concentration, shape: [n] },
      magnitude: { data: magnitude, shape: [n] },
      mean: { data: mean, shape: [total] },
      sigma: { data: sigma, shape: [total] },
      channels: { data: channels, shape: [n] },
      counts: { data: counts, shape: [n] },
    },
    metadata,
  );
}

export async function readRelevance(file: string): Promise<RelevanceLike> {
  const { tensors, metadata } = await readSafetensors(file);
  if (metadata['format'] !== FORMAT) {
    fail(
      'FORMAT_UNKNOWN',
      `${file} holds no relevance`,
      'Write one with relevance.save(), or read an fs3.npy with Relevance.importNpy().',
    );
  }
  if (metadata['version'] !== VERSION) {
    fail(
      'FORMAT_VERSION',
      `${file} has version ${metadata['version']}; this package reads ${VERSION}`,
      'Update the package.',
    );
  }
  const damaged = (what: string): never => fail('FILE_DAMAGED', `${file}: ${what}`, 'Write it again, or sweep again.');
  const float = (name: string): Float32Array => {
    const tensor = tensors.get(name);
    return tensor === undefined ? damaged(`there is no tensor '${name}'`) : safetensorsFloat32(tensor);
  };
  const int = (name: string): Int32Array => {
    const tensor = tensors.get(name);
    return (tensor && safetensorsInt32(tensor)) ?? damaged(`there is no integer tensor '${name}'`);
  };
  const shape = tensors.get('rows')?.shape ?? damaged("there is no tensor 'rows'");
  if (shape.length !== 2) damaged("'rows' is no matrix");

  const meta: Record<string, unknown> = {};
  for (const key of [...NUMBERS, ...OPTIONAL_NUMBERS.filter((name) => snakeCase(name) in metadata)]) {
    const value = Number(metadata[snakeCase(key)] ?? NaN);
    meta[key] = Number.isFinite(value) ? value : damaged(`the metadata '${snakeCase(key)}' is no number`);
  }
  for (const key of STRINGS) {
    const name = key === 'version' ? 'package_version' : snakeCase(key);
    meta[key] = metadata[name] ?? damaged(`the metadata '${name}' is missing`);
  }
  const names = parseJsonObject({ text: `{"list":${metadata['layers'] ?? 'null'}}` })?.['list'];
  meta['layers'] = Array.isArray(names) ? names.map(String) : damaged('the metadata `layers` is no list');
  if (metadata['screened'] !== undefined) {
    meta['screened'] = screening(metadata['screened']) ?? damaged('the metadata `screened` is no screening');
  }
  if (metadata['agreement'] !== undefined) {
    meta['agreement'] =
      measuredAgreement(metadata['agreement']) ?? damaged('the metadata `agreement` is no measured agreement');
  }
  return {
    rows: float('rows'),
    dim: shape[1]!,
    channels: int('channels'),
    counts: int('counts'),
    magnitude: float('magnitude'),
    concentration: float('concentration'),
    mean: float('mean'),
    sigma: float('sigma'),
    layers: styleLayers(metadata['style_layers']) ?? damaged('the metadata `style_layers` is no list of layers'),
    meta: meta as unknown as RelevanceMeta,
  };
}

function measuredAgreement(text: string): MeasuredAgreement | undefined {
  const value = parseJsonObject({ text }) ?? {};
  const numbers = ['channels', 'cosine_median', 'cosine_min', 'magnitude'].map((key) => value[key]);
  if (!numbers.every((number) => typeof number === 'number')) return undefined;
  const [channels, cosineMedian, cosineMin, magnitude] = numbers as [number, number, number, number];
  return { channels, cosineMedian, cosineMin, magnitude };
}

function screening(text: string): Screening | undefined {
  const value = parseJsonObject({ text });
  const { target, neutral, of, candidates, margin, probes, confidence } = value ?? {};
  if (typeof target !== 'string' || typeof neutral !== 'string') return undefined;
  if (typeof of !== 'number' || typeof candidates !== 'number' || typeof margin !== 'number') return undefined;
  if (typeof probes !== 'number' || typeof confidence !== 'number') return undefined;
  return { target, neutral, of, candidates, margin, probes, confidence };
}

function styleLayers(text: string | undefined): StyleLayer[] | undefined {
  const list = parseJsonObject({ text: `{"list":${text ?? 'null'}}` })?.['list'];
  if (!Array.isArray(list) || list.length === 0) return undefined;
  const layers: StyleLayer[] = [];
  let offset = 0;
  for (const item of list as unknown[]) {
    if (!isObject(item) || typeof item['name'] !== 'string' || item['offset'] !== offset) return undefined;
    const [resolution, channels, wRow] = [item['resolution'], item['channels'], item['w_row']].map(Number);
    if (![resolution, channels, wRow].every((n) => Number.isSafeInteger(n) && n! >= 0)) return undefined;
    layers.push({
      name: item['name'],
      resolution: resolution!,
      channels: channels!,
      toRgb: item['torgb'] === true,
      wRow: wRow!,
      offset,
    });
    offset += channels!;
  }
  return layers;
}
