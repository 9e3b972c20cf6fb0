/*
 * `styleclip sweep`: measures how every style channel moves CLIP's embedding, once for each pair of generator and CLIP.
 */
import { extname } from 'node:path';
import { Option, type Command } from 'commander';
import type { LayerSet, SweepMethod } from '../../types.js';
import { loadSystem } from '../models.js';
import type { Outcome } from '../output.js';
import * as parse from '../parse.js';
import { formatSeconds } from '../progress.js';
import type { Session, Start } from '../session.js';
import type { CommonFlags } from '../settings.js';
import { targetFile } from '../target.js';

type Precision = 'float32' | 'tf32' | 'float16' | 'bfloat16';

interface Flags extends CommonFlags {
  images: number;
  sigmas: number;
  perturb: 'absolute' | 'relative';
  layers: LayerSet;
  method: SweepMethod;
  preprocess: 'float' | 'reference8';
  precision?: Precision;
  memory?: `${number}GiB`;
  statisticsSamples: number;
  jsonLines?: true;
}

/** `conv`, `all`, or names of layers separated by commas. */
function layerSet(text: string): LayerSet {
  return text === 'conv' || text === 'all' ? text : parse.nameList(text);
}

/** `4GiB`, or a number of GiB. */
function memory(text: string): `${number}GiB` {
  return `${parse.numberWithin(0.01, 100_000)(text.replace(/\s*GiB$/i, ''))}GiB`;
}

export function sweepCommand(command: Command, start: Start): Command {
  return command
    .name('sweep')
    .description('measure the relevance of every style channel; directions are made from it')
    .addOption(
      new Option('--images <n>', 'sample pictures a channel').argParser(parse.integerWithin(1, 100_000)).default(100),
    )
    .addOption(
      new Option('--sigmas <k>', 'perturbation in standard deviations')
        .argParser(parse.numberWithin(0.001, 100))
        .default(5),
    )
    .addOption(
      new Option(
        '--perturb <how>',
        'about the mean (absolute, released code) or the picture’s own value (relative, paper)',
      )
        .argParser(parse.oneOf('absolute', 'relative'))
        .default('absolute'),
    )
    .addOption(
      new Option('--layers <set>', 'conv, all (toRGB too), or layer names separated by commas')
        .argParser(layerSet)
        .default('conv'),
    )
    .addOption(
      new Option('--method <name>', 'how it is computed')
        .argParser(parse.oneOf('exact', 'reference', 'stop-at', 'gradient', 'screened', 'adaptive'))
        .default('exact'),
    )
    .addOption(
      new Option(
        '--preprocess <how>',
        'CLIP’s input on floats, or with the released code’s 8-bit roundings (reference8)',
      )
        .argParser(parse.oneOf('float', 'reference8'))
        .default('float'),
    )
    .addOption(
      new Option('--precision <type>', 'number type of the models').argParser(
        parse.oneOf('float32', 'tf32', 'float16', 'bfloat16'),
      ),
    )
    .addOption(new Option('--memory <size>', 'bound on working memory, for example 4GiB').argParser(memory))
    .addOption(
      new Option('--statistics-samples <n>', 'latents for mean and σ of the channels')
        .argParser(parse.integerWithin(2, 100_000_000))
        .default(100_000),
    )
    .addOption(new Option('--json-lines', 'print one JSON event a line on stdout').conflicts('json'))
    .action(async (flags: Flags) => start('sweep', flags, (session) => sweep(session, flags)));
}

async function sweep(session: Session, flags: Flags): Promise<Outcome> {
  const file = await targetFile(flags.out ?? `${flags.model}.relevance.safetensors`, flags.force === true);
  await using system = await loadSystem(session, flags.precision === 'tf32' ? 'float32' : flags.precision);
  const { images, sigmas, perturb, layers, method, preprocess, seed, statisticsSamples } = flags;
  const relevance = await system.sweep({
    images,
    sigmas,
    perturb,
    layers,
    method,
    preprocess,
    seed,
    statisticsSamples,
    ...(flags.precision === undefined ? {} : { precision: flags.precision }),
    ...(flags.memory === undefined ? {} : { memory: flags.memory }),
    ...session.run,
  });
  if (extname(file).toLowerCase() === '.npy') await relevance.exportNpy(file);
  else await relevance.save(file);
  const { seconds, rendered, precision, implementation } = relevance.meta;
  const imagesPerSecond = seconds > 0 ? rendered / seconds : 0;
  const channels = relevance.length;
  return {
    text: [
      `${channels} channels, ${images} images each, ${formatSeconds(seconds)}, ${imagesPerSecond.toFixed(0)} pictures/s`,
      `method ${method}/${precision}, computed by the ${implementation} implementation`,
      file,
    ],
    result: { file, method, implementation, precision, channels, images, rendered, seconds, imagesPerSecond },
  };
}
