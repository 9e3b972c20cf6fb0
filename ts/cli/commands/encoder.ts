/*
 * `styleclip encoder train`: an encoder for a generator, learned from nothing but that generator, in a folder that the same
 * command goes on with.
 */
import { Argument, Option, type Command } from 'commander';
import { trainEncoder } from '../../encoder-training.js';
import { loadSystem } from '../models.js';
import type { Outcome } from '../output.js';
import * as parse from '../parse.js';
import { formatSeconds } from '../progress.js';
import type { Session, Start } from '../session.js';
import type { CommonFlags } from '../settings.js';

interface Flags extends CommonFlags {
  dir?: string;
  from?: string;
  steps: number;
  batch: number;
  imageBatch?: number;
  optimizer: 'adam' | 'ranger';
  learningRate: number;
  lambdaLatent: number;
  lambdaImage: number;
  lambdaId?: number;
  lambdaClip: number;
  mixing: number;
  augmentation: number;
  precision: 'float32' | 'bfloat16';
  imageSize?: number;
  channels?: number[];
  blocks?: number[];
  headWidth?: number;
  validation: number;
  validateEvery: number;
  storageDtype: 'float32' | 'float16' | 'bfloat16';
  licence: string;
}

export function encoderCommand(command: Command, start: Start): Command {
  const weight = parse.numberWithin(0, 1e9);
  const count = parse.integerWithin(1, 10_000_000);
  return command
    .name('encoder')
    .description('train an encoder, from pictures to latents, on nothing but the generator')
    .addArgument(new Argument('<action>', 'train').choices(['train']))
    .option('--dir <folder>', 'where the training lives; a run that ended goes on there (default: --out, or encoder)')
    .option('--from <file>', 'an e4e archive to begin from; without it a new, narrow network')
    .addOption(new Option('--steps <n>', 'updates').argParser(count).default(20_000))
    .addOption(new Option('--batch <n>', 'pairs an update').argParser(parse.integerWithin(2, 4096)).default(16))
    .addOption(
      new Option(
        '--image-batch <n>',
        'of these, how many are rendered again for the terms of pictures (default: all)',
      ).argParser(parse.integerWithin(1, 4096)),
    )
    .addOption(
      new Option('--optimizer <name>', "adam, or ranger: e4e's")
        .argParser(parse.oneOf('adam', 'ranger'))
        .default('adam'),
    )
    .addOption(
      new Option('--learning-rate <rate>', "the optimizer's").argParser(parse.numberWithin(1e-9, 1)).default(2e-3),
    )
    .addOption(new Option('--lambda-latent <weight>', "of the latents' error").argParser(weight).default(0.1))
    .addOption(new Option('--lambda-image <weight>', "of the pictures' error").argParser(weight).default(1))
    .addOption(
      new Option('--lambda-id <weight>', 'of the identity (default: 0.05 where there is an identity model)').argParser(
        weight,
      ),
    )
    .addOption(new Option('--lambda-clip <weight>', "of CLIP's embedding").argParser(weight).default(0))
    .addOption(
      new Option('--mixing <share>', "of pictures whose later rows are another sample's")
        .argParser(parse.numberWithin(0, 1))
        .default(0.25),
    )
    .addOption(new Option('--augmentation <strength>', 'how much pictures are disturbed').argParser(weight).default(1))
    .addOption(
      new Option('--precision <name>', "of the encoder's activations: float32 or bfloat16")
        .argParser(parse.oneOf('float32', 'bfloat16'))
        .default('float32'),
    )
    .addOption(
      new Option(
        '--image-size <n>',
        "pixels that the new network looks at (default: the generator's, at most 256)",
      ).argParser(parse.integerWithin(32, 4096)),
    )
    .addOption(
      new Option('--channels <list>', "of the new network's four stages (default: 16,32,64,96)").argParser(
        parse.integerList(1, 8192),
      ),
    )
    .addOption(
      new Option('--blocks <list>', 'residual blocks a stage (default: 1,1,1,1)').argParser(parse.integerList(1, 200)),
    )
    .addOption(
      new Option('--head-width <n>', 'channels inside the heads (default: 48)').argParser(parse.integerWithin(1, 8192)),
    )
    .addOption(new Option('--validation <n>', 'held-out pictures').argParser(count).default(256))
    .addOption(new Option('--validate-every <n>', 'updates between validations').argParser(count).default(500))
    .addOption(
      new Option('--storage-dtype <type>', 'how the encoder is stored: float32, float16 or bfloat16')
        .argParser(parse.oneOf('float32', 'float16', 'bfloat16'))
        .default('float16'),
    )
    .option('--licence <text>', 'licence of the encoder', 'unknown')
    .action(async (_action: string, flags: Flags) => start('encoder train', flags, (session) => train(session, flags)));
}

async function train(session: Session, flags: Flags): Promise<Outcome> {
  await using system = await loadSystem(session);
  const { imageSize, channels, blocks, headWidth, seed, from } = flags;
  const sizes = Object.entries({ imageSize, channels, blocks, headWidth }).filter(([, value]) => value !== undefined);
  const {
    steps,
    batch,
    imageBatch,
    optimizer,
    learningRate,
    lambdaLatent,
    lambdaImage,
    lambdaId,
    lambdaClip,
    mixing,
    augmentation,
  } = flags;
  const { precision, validation, validateEvery, storageDtype, licence } = flags;
  const started = performance.now();
  const done = await trainEncoder(system, {
    ...{
      steps,
      batch,
      imageBatch,
      optimizer,
      learningRate,
      lambdaLatent,
      lambdaImage,
      lambdaId,
      lambdaClip,
      mixing,
      augmentation,
    },
    ...{ precision, validation, validateEvery, storageDtype, licence, seed },
    directory: flags.dir ?? flags.out ?? 'encoder',
    encoder: from,
    network: sizes.length > 0 ? Object.fromEntries(sizes) : undefined,
    ...session.run,
  });
  const seconds = (performance.now() - started) / 1000;
  return {
    text: [
      done.file,
      `${done.parameters} parameters, ${done.bytes} bytes; step ${done.step} in ${formatSeconds(seconds)}`,
      `held-out error ${done.best.error.toFixed(5)} at step ${done.best.step}`,
    ],
    result: { ...done, seconds },
  };
}
