// StyleCLIP's own statistics of StyleSpace, S_mean_std (global_directions/GetCode.py): a pickle of [means, deviations], each
// a list with one array [channels] a layer, toRGB layers included, over 100,000 latents of seed 5 truncated by 0.7.

import { endianness } from 'node:os';
import { checkFinite, checkOptions, checkPath, fail, shapeText } from './check.js';
import { writeFileAtomic } from './files/atomic.js';
import { arraysOf, readData, type DataArray } from './files/data.js';
import { formatPickle } from './files/pickle.js';
import type { StyleLayout, StyleStatistics } from './types.js';

/** Options of {@link readStyleStatistics}: what the file does not tell. */
export interface ReadStatisticsOptions {
  /** Default 100,000, the released code's. */
  samples?: number | undefined;
  /** Default 0.7, of all rows. */
  truncationPsi?: number | undefined;
  /** Sha256 of the generator's archive, if it is known: the statistics are then checked against it. */
  generatorSha256?: string | undefined;
}

/**
 * Reads an `S_mean_std`, for sweeps and imports with the figures of the released code.
 *
 * @param layout of the generator that it was made with: `generator.layout`
 * @throws StyleClipError `FILE_NOT_FOUND`, `FILE_DAMAGED`, `FORMAT_UNKNOWN`, `SHAPE` when the layers do not fit,
 *   `NOT_FINITE`
 */
export async function readStyleStatistics(
  file: string | URL,
  layout: Pick<StyleLayout, 'layers'>,
  options?: ReadStatisticsOptions,
): Promise<StyleStatistics> {
  const path = checkPath(file);
  const o = checkOptions(options, ['samples', 'truncationPsi', 'generatorSha256'], 'readStyleStatistics');
  const arrays = arraysOf(await readData(path));
  const half = (index: string): DataArray[] =>
    arrays.filter((a) => a.path.length === 2 && a.path[0] === index).map((a) => a.value);
  const [means, deviations] = [half('0'), half('1')];
  if (means.length === 0 || means.length + deviations.length !== arrays.length) {
    fail(
      'FORMAT_UNKNOWN',
      `${path} is no S_mean_std`,
      'It is a pickle of [means, deviations], one array a layer each.',
    );
  }
  return {
    mean: joined(means, layout, `${path}, means`),
    sigma: joined(deviations, layout, `${path}, deviations`),
    samples: o.samples ?? 100_000,
    seed: '5',
    truncationPsi: o.truncationPsi ?? 0.7,
    truncationCutoff: -1,
    generatorSha256: o.generatorSha256 ?? '',
  };
}

/** Writes statistics as an `S_mean_std` for the released code, which reads it with `pickle.load`. Atomic. */
export async function writeStyleStatistics(
  file: string | URL,
  statistics: Pick<StyleStatistics, 'mean' | 'sigma'>,
  layout: Pick<StyleLayout, 'layers'>,
): Promise<void> {
  const path = checkPath(file);
  if (endianness() !== 'LE') fail('PLATFORM', 'this machine is big-endian', 'Use a little-endian machine.');
  const total = layout.layers.reduce((sum, l) => sum + l.channels, 0);
  const parts = (all: Float32Array): DataArray[] => {
    if (all.length !== total) {
      fail('SHAPE', `${all.length} statistics for ${total} style channels`, 'Use the generator they were made with.');
    }
    return layout.layers.map(({ offset, channels }) => ({
      data: all.subarray(offset, offset + channels),
      shape: [channels],
    }));
  };
  await writeFileAtomic(path, formatPickle([parts(statistics.mean), parts(statistics.sigma)]));
}

/** One flat array of all layers. */
function joined(parts: readonly DataArray[], layout: Pick<StyleLayout, 'layers'>, what: string): Float32Array {
  const widths = parts.map((p) => p.data.length);
  const wanted = layout.layers.map((l) => l.channels);
  if (shapeText(widths) !== shapeText(wanted)) {
    fail(
      'SHAPE',
      `${what}: layers of ${shapeText(widths)} channels; the generator has ${shapeText(wanted)}`,
      'Use the generator that the file was made with.',
    );
  }
  const all = new Float32Array(wanted.reduce((a, b) => a + b, 0));
  let offset = 0;
  for (const { data } of parts) {
    all.set(data, offset);
    offset += data.length;
  }
  checkFinite(all, what, [all.length]);
  return all;
}
