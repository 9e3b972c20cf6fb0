/*
 * `styleclip sweep`: measures how every style channel moves CLIP's embedding, once for each pair of generator and CLIP; in
 * one piece, or in shards in a directory. `styleclip sweep merge` adds up the shards of a directory.
 */
import { readdir, rm } from 'node:fs/promises';
import { extname, join } from 'node:path';
import { Argument, InvalidArgumentError, Option, type Command } from 'commander';
import { StyleClipError } from '../../errors.js';
import { Relevance } from '../../relevance.js';
import type { StyleClip } from '../../styleclip.js';
import type { LayerSet, SweepMethod, SweepOptions } from '../../types.js';
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
  stopAt?: number;
  cosine?: number;
  confidence?: number;
  check: number;
  target?: string;
  neutral?: string;
  beta?: number | 'auto';
  channels?: number;
  margin?: number;
  memory?: `${number}GiB`;
  statisticsSamples: number;
  batch?: number;
  dir?: string;
  shard?: `${number}/${number}`;
  resume: boolean;
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

/** `2/4`: the second of four shares. */
function share(text: string): `${number}/${number}` {
  const match = /^(\d{1,6})\/(\d{1,6})$/.exec(text);
  const [part, parts] = [Number(match?.[1]), Number(match?.[2])];
  if (!(part >= 1 && part <= parts)) throw new InvalidArgumentError('It is no share: 1/4, 2/4, 3/4 or 4/4.');
  return `${part}/${parts}`;
}

/** The exact sweep converts what it needs; the reference computes in the models' own type. */
function modelType(flags: Flags): 'float32' | 'float16' | 'bfloat16' | undefined {
  return flags.method === 'reference' && flags.precision !== 'tf32' ? flags.precision : undefined;
}

export function sweepCommand(command: Command, start: Start): Command {
  return command
    .name('sweep')
    .description('measure the relevance of every style channel; directions are made from it')
    .addArgument(new Argument('[action]', 'merge: add up the shards in DIR, without models').choices(['merge']))
    .argument('[dir]', 'the directory to merge')
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
      new Option('--precision <type>', 'number type of the activations (of the models, for the reference)').argParser(
        parse.oneOf('float32', 'tf32', 'float16', 'bfloat16'),
      ),
    )
    .addOption(
      new Option(
        '--stop-at <size>',
        'of the method stop-at: last resolution that runs (default: 256, or half the picture)',
      ).argParser(parse.integerWithin(4, 1024)),
    )
    .addOption(
      new Option(
        '--cosine <c>',
        'of the method adaptive: cosine to the row of all pictures that is enough (default: 0.99)',
      ).argParser(parse.numberWithin(0, 1)),
    )
    .addOption(
      new Option(
        '--confidence <p>',
        'of the methods adaptive: probability of that (default: 0.95); screened: that a channel is given up rightly (default: 0.99)',
      ).argParser(parse.numberWithin(0, 1)),
    )
    .addOption(
      new Option('--check <n>', 'channels that a method or precision other than exact/float32 is compared with it on')
        .argParser(parse.integerWithin(0, 1_000_000))
        .default(16),
    )
    .option('--target <text>', 'of the method screened: what a picture should become')
    .option('--neutral <text>', 'of the method screened: what it is now')
    .addOption(
      new Option('--beta <threshold>', 'of the method screened: the β that the direction will use')
        .argParser(parse.beta)
        .conflicts('channels'),
    )
    .addOption(
      new Option('--channels <n>', 'of the method screened: how many channels it will keep (default: 20)').argParser(
        parse.integerWithin(1, 1_000_000),
      ),
    )
    .addOption(
      new Option(
        '--margin <m>',
        'of the method screened: so many times as many are looked at exactly (default: 3)',
      ).argParser(parse.numberWithin(1, 1000)),
    )
    .addOption(
      new Option('--memory <size>', 'bound on what the sweep takes beside the models, for example 4GiB').argParser(
        memory,
      ),
    )
    .addOption(
      new Option('--statistics-samples <n>', 'latents for mean and σ of the channels')
        .argParser(parse.integerWithin(2, 100_000_000))
        .default(100_000),
    )
    .addOption(
      new Option('--batch <n>', 'pictures in one forward pass (default: by their size and memory)').argParser(
        parse.integerWithin(1, 65_536),
      ),
    )
    .option('--dir <dir>', 'run in shards in this directory: stopped, it goes on when the command is run again')
    .addOption(new Option('--shard <i/n>', 'only every n-th shard, from the i-th on; needs --dir').argParser(share))
    .addOption(new Option('--resume', 'go on with the sweep in --dir').default(true))
    .option('--no-resume', 'refuse a --dir that holds a sweep; with --force, remove that sweep')
    .addOption(new Option('--json-lines', 'print one JSON event a line on stdout').conflicts('json'))
    .action(async (action: 'merge' | undefined, dir: string | undefined, flags: Flags) =>
      action === undefined
        ? start('sweep', flags, (session) => sweep(session, flags))
        : start('sweep merge', flags, (session) => merge(session, dir, flags)),
    );
}

async function sweep(session: Session, flags: Flags): Promise<Outcome> {
  const { dir } = flags;
  if (flags.method === 'screened') return screened(session, flags);
  for (const name of ['target', 'neutral', 'beta', 'channels', 'margin'] as const) {
    if (flags[name] !== undefined) usage(`--${name} belongs to the method screened`, 'Add --method screened.');
  }
  if (flags.shard !== undefined && dir === undefined) usage('--shard needs --dir', 'Name the directory of the shards.');
  if (!flags.resume && dir === undefined) usage('--no-resume needs --dir', 'Name the directory of the shards.');
  if (dir !== undefined && flags.shard !== undefined) return shardsOnly(session, dir, flags);
  const file = await relevanceFile(flags);
  await using system = await loadSystem(session, modelType(flags));
  const options = sweepOptions(session, flags);
  if (dir === undefined) return finish(file, await system.sweep(options));
  const shards = await runShards(session, system, { ...options, directory: dir }, flags);
  const relevance = await Relevance.merge(dir, session.run);
  return finish(file, relevance, { directory: dir, ...shards });
}

/** The channels of one text. */
async function screened(session: Session, flags: Flags): Promise<Outcome> {
  const { target, neutral, beta, channels, margin, dir } = flags;
  if (target === undefined || neutral === undefined) {
    usage('the method screened needs a text', 'Give --target and --neutral, or sweep all channels by another method.');
  }
  if (dir !== undefined) usage('the method screened has no --dir', 'It takes seconds; leave --dir out.');
  const file = await relevanceFile(flags);
  await using system = await loadSystem(session, modelType(flags));
  const text = await system.clip.direction({ target, neutral, ...session.run });
  const { method: _, check: _c, preprocess, ...options } = sweepOptions(session, flags);
  if (preprocess === 'reference8') usage('8-bit roundings have no gradient', 'Leave --preprocess out.');
  return finish(
    file,
    await system.screen(text, {
      ...options,
      ...(beta === undefined ? {} : { beta }),
      ...(channels === undefined ? {} : { channels }),
      ...(margin === undefined ? {} : { margin }),
    }),
  );
}

/** A share of a sweep: its shards and no relevance. */
async function shardsOnly(session: Session, directory: string, flags: Flags): Promise<Outcome> {
  if (flags.out !== undefined) {
    usage('a share of a sweep writes no --out', 'Run every share, then `styleclip sweep merge DIR --out FILE`.');
  }
  await using system = await loadSystem(session, modelType(flags));
  const shards = await runShards(session, system, { ...sweepOptions(session, flags), directory }, flags);
  return {
    text: [
      `share ${flags.shard}: ${shards.shards} shards in ${directory}, ${shards.resumed} of them there before`,
      `when all shares are done: styleclip sweep merge ${directory}`,
    ],
    result: { directory, shard: flags.shard, ...shards },
  };
}

/** What shards came to: `rendered` pictures of this run, in `seconds`, without the statistics. */
interface Shards {
  readonly shards: number;
  readonly resumed: number;
  readonly rendered: number;
  readonly seconds: number;
}

async function runShards(session: Session, system: StyleClip, options: SweepOptions, flags: Flags): Promise<Shards> {
  const directory = String(options.directory);
  if (!flags.resume && flags.force === true) await removeSweep(directory);
  const [counted, since] = [{ shards: 0, resumed: 0, rendered: 0 }, { begun: performance.now() }];
  const onProgress: SweepOptions['onProgress'] = (progress) => {
    if (progress.phase !== 'sweep') since.begun = performance.now();
    session.output.report(progress);
  };
  const { shard } = flags;
  for await (const one of system.sweepShards({
    ...options,
    onProgress,
    resume: flags.resume,
    ...(shard && { shard }),
  })) {
    const { channels, images, ...fields } = one;
    counted.shards++;
    if (one.resumed) counted.resumed++;
    else counted.rendered += one.rendered;
    session.output.event('shard', { ...fields, images, channels: channels.length });
  }
  return { ...counted, seconds: (performance.now() - since.begun) / 1000 };
}

/** The sweep in a directory goes, shards first: what is left if this is interrupted is a sweep with fewer shards. */
async function removeSweep(directory: string): Promise<void> {
  const names = await readdir(directory).catch((): string[] => []);
  for (const name of names.filter((n) => /^shard-\d+-[0-9a-f]{16}\.safetensors$/.test(n))) {
    await rm(join(directory, name), { force: true });
  }
  await rm(join(directory, 'plan.json'), { force: true });
}

async function merge(session: Session, directory: string | undefined, flags: Flags): Promise<Outcome> {
  if (directory === undefined) {
    usage('sweep merge needs a directory', 'styleclip sweep merge DIR --out FILE');
  }
  const file = await relevanceFile(flags);
  const begun = performance.now();
  let shards = 0;
  const relevance = await Relevance.merge(directory, {
    ...session.run,
    onProgress: (progress) => {
      if (progress.phase === 'merge') shards = progress.total;
      session.output.report(progress);
    },
  });
  const seconds = (performance.now() - begun) / 1000;
  return finish(file, relevance, { directory, shards, seconds });
}

function usage(message: string, remedy: string): never {
  throw new StyleClipError('ARGUMENT', message, { remedy });
}

async function relevanceFile(flags: Flags): Promise<string> {
  return targetFile(flags.out ?? `${flags.model}.relevance.safetensors`, flags.force === true);
}

/** The settings of a sweep as the flags have them. */
function sweepOptions(session: Session, flags: Flags): Omit<SweepOptions, 'shard' | 'channels'> {
  const { images, sigmas, perturb, layers, method, preprocess, seed, statisticsSamples } = flags;
  return {
    images,
    sigmas,
    perturb,
    layers,
    method,
    preprocess,
    seed,
    statisticsSamples,
    check: flags.check,
    ...(flags.precision === undefined ? {} : { precision: flags.precision }),
    ...(flags.memory === undefined ? {} : { memory: flags.memory }),
    ...(flags.batch === undefined ? {} : { batch: flags.batch }),
    ...(flags.stopAt === undefined ? {} : { stopAt: flags.stopAt }),
    ...(flags.cosine === undefined ? {} : { cosine: flags.cosine }),
    ...(flags.confidence === undefined ? {} : { confidence: flags.confidence }),
    ...session.run,
  };
}

/** Writes the relevance. `more` are fields of a sweep in shards, whose time and pictures are those of this run. */
async function finish(
  file: string,
  relevance: Relevance,
  more: { directory?: string; shards?: number; resumed?: number; rendered?: number; seconds?: number } = {},
): Promise<Outcome> {
  if (extname(file).toLowerCase() === '.npy') await relevance.exportNpy(file);
  else await relevance.save(file);
  const { method, precision, implementation, images, agreement } = relevance.meta;
  const { directory, shards, resumed } = more;
  const seconds = more.seconds ?? relevance.meta.seconds;
  const rendered = more.rendered ?? relevance.meta.rendered;
  const merged = directory !== undefined && more.rendered === undefined;
  const imagesPerSecond = seconds > 0 && !merged ? rendered / seconds : 0;
  const channels = relevance.length;
  const rate = merged ? '' : `, ${imagesPerSecond.toFixed(0)} pictures/s`;
  return {
    text: [
      `${channels} channels, ${images} images each, ${formatSeconds(seconds)}${rate}`,
      `method ${method}/${precision}, computed by the ${implementation} implementation`,
      ...(agreement === undefined
        ? []
        : [
            `beside exact/float32 on ${agreement.channels} channels: cosine ${agreement.cosineMedian.toFixed(4)} in the median, ${agreement.cosineMin.toFixed(4)} at least`,
          ]),
      ...(shards === undefined
        ? []
        : [`${shards} shards in ${directory}${resumed === undefined ? '' : `, ${resumed} of them there before`}`]),
      file,
    ],
    result: {
      ...{ file, method, implementation, precision, channels, images, rendered, seconds, imagesPerSecond },
      ...(agreement === undefined ? {} : { agreement }),
      ...(directory === undefined ? {} : { directory, shards }),
      ...(resumed === undefined ? {} : { resumed }),
    },
  };
}
