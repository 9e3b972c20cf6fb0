/*
 * `styleclip stats`: mean and standard deviation of every style channel, which a sweep perturbs by.
 */
import { Option, type Command } from 'commander';
import { textTable } from '../../report/table.js';
import type { StyleLayer } from '../../types.js';
import { loadGenerator } from '../models.js';
import type { Outcome } from '../output.js';
import * as parse from '../parse.js';
import type { Session, Start } from '../session.js';
import type { CommonFlags } from '../settings.js';
import { targetFile } from '../target.js';
import { writeSafetensors } from '../../files/safetensors.js';

interface Flags extends CommonFlags {
  samples: number;
  truncationPsi: number;
}

export function statsCommand(command: Command, start: Start): Command {
  return command
    .name('stats')
    .description('mean and standard deviation of every style channel')
    .addOption(
      new Option('--samples <n>', 'latents drawn').argParser(parse.integerWithin(2, 100_000_000)).default(100_000),
    )
    .addOption(
      new Option('--truncation-psi <psi>', 'truncation of the latents')
        .argParser(parse.numberWithin(-2, 2))
        .default(0.7),
    )
    .action(async (flags: Flags) => start('stats', flags, (session) => stats(session, flags)));
}

const mean = (values: Float32Array): number => values.reduce((sum, value) => sum + value, 0) / values.length;

function median(values: Float32Array): number {
  const sorted = values.toSorted();
  const middle = sorted.length >> 1;
  const upper = sorted[middle] ?? Number.NaN;
  return sorted.length % 2 === 1 ? upper : ((sorted[middle - 1] ?? Number.NaN) + upper) / 2;
}

/** One layer of the statistics in five numbers. */
function summary(layer: StyleLayer, means: Float32Array, sigmas: Float32Array): Record<string, string | number> {
  const end = layer.offset + layer.channels;
  const [m, s] = [means.subarray(layer.offset, end), sigmas.subarray(layer.offset, end)];
  return {
    name: layer.name,
    channels: layer.channels,
    mean: mean(m),
    sigmaMedian: median(s),
    sigmaMin: Math.min(...s),
    sigmaMax: Math.max(...s),
  };
}

async function stats(session: Session, flags: Flags): Promise<Outcome> {
  const file = await targetFile(flags.out ?? `${flags.model}.statistics.safetensors`, flags.force === true);
  await using generator = await loadGenerator(session);
  const { samples, seed, truncationPsi } = flags;
  const statistics = await generator.statistics({ samples, seed, truncationPsi, ...session.run });
  const layers = generator.layout.layers.map((layer) => summary(layer, statistics.mean, statistics.sigma));
  const shape = [statistics.mean.length];
  await writeSafetensors(
    file,
    { mean: { data: statistics.mean, shape }, sigma: { data: statistics.sigma, shape } },
    {
      format: 'styleclip.statistics',
      version: '1',
      samples: String(samples),
      seed: String(seed),
      truncation_psi: String(truncationPsi),
      generator_sha256: statistics.generatorSha256,
    },
  );
  const columns = ['layer', 'channels', 'mean', 'sigma median', 'sigma min', 'sigma max'];
  const rows = layers.map((layer) => Object.values(layer));
  return { text: [textTable({ columns, rows }), file], result: { file, samples, layers } };
}
