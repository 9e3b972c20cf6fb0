/*
 * `styleclip mapper train`: trains a latent mapper for a text, in a folder from which the same command goes on after a
 * Ctrl-C. `styleclip mapper apply`: moves latents by a mapper, and renders them.
 */
import { join } from 'node:path';
import { Argument, Option, type Command } from 'commander';
import { StyleClipError } from '../../errors.js';
import { Latents } from '../../latents.js';
import { Mapper } from '../../mapper.js';
import { MAPPER_FILE, TRAINING_LOG } from '../../mapper-training.js';
import type { MapperLevel } from '../../mapper-settings.js';
import { readLatents } from '../latents.js';
import { loadEncoder, loadGenerator, loadSystem, modelOptions } from '../models.js';
import type { Outcome } from '../output.js';
import * as parse from '../parse.js';
import type { Session, Start } from '../session.js';
import type { CommonFlags } from '../settings.js';
import { picturePath, pictureTarget, targetFile, withSuffix } from '../target.js';

interface Flags extends CommonFlags {
  target?: string[];
  neutral?: string;
  shift?: number;
  preset: 'default' | 'reference';
  space?: 'w_plus' | 's';
  levels?: MapperLevel[];
  layers?: 'conv' | 'all';
  from?: string;
  latents?: string;
  validation?: string;
  steps?: number;
  batch?: number;
  optimizer?: 'ranger' | 'adam';
  learningRate?: number;
  lambdaL2?: number;
  lambdaId?: number;
  validateEvery?: number;
  licence?: string;
  dir: string;
  mapper?: string;
  strength: number;
  count: number;
  truncationPsi: number;
  grid?: true;
}

/** Of `mapper apply`, or of `mapper train`, alone. */
const TRAIN_ONLY = [
  ...['target', 'neutral', 'shift', 'space', 'levels', 'layers', 'from', 'latents', 'validation', 'steps', 'batch'],
  ...['optimizer', 'learningRate', 'lambdaL2', 'lambdaId', 'validateEvery', 'licence'],
] as const;
const APPLY_ONLY = ['mapper', 'grid'] as const;

const level = parse.oneOf('coarse', 'medium', 'fine', 'all');

export function mapperCommand(command: Command, start: Start): Command {
  const weight = parse.numberWithin(0, 1e9);
  return command
    .name('mapper')
    .description('train a network that edits any picture towards one text (train), or use one (apply)')
    .addArgument(new Argument('<action>', 'train, or apply').choices(['train', 'apply']))
    .argument('[files...]', 'of apply: latents (.safetensors, .npy, .npz, .pt) or pictures; none: drawn ones')
    .option('--target <text...>', 'train: what the pictures should become')
    .option('--neutral <text>', 'train: what they are now: then the direction between the texts counts')
    .addOption(
      new Option(
        '--shift <lengths>',
        'train: how far along that direction each picture goes; 0: by the direction alone (default: 1.5)',
      ).argParser(parse.numberWithin(0, 1000)),
    )
    .addOption(
      new Option('--preset <name>', 'train: where defaults come from: default, or reference (the released code)')
        .argParser(parse.oneOf('default', 'reference'))
        .default('default'),
    )
    .addOption(
      new Option('--space <name>', 'train: what the mapper takes: w_plus (default) or s').argParser(
        parse.oneOf('w_plus', 's'),
      ),
    )
    .addOption(
      new Option(
        '--levels <list>',
        'train: some of coarse (rows 0-3), medium (4-7), fine (8 on), or all: one network (default: the three)',
      ).argParser((text) => parse.nameList(text).map((name) => level(name))),
    )
    .addOption(
      new Option('--layers <set>', 'train, in s: conv (default), or all: toRGB too').argParser(
        parse.oneOf('conv', 'all'),
      ),
    )
    .option('--from <file>', 'train: start from this mapper')
    .option('--latents <file>', 'train: on these latents (default: drawn anew at every step)')
    .option('--validation <file>', 'train: validate on these latents (default: 16 drawn ones)')
    .addOption(
      new Option('--steps <n>', 'train: updates (default: 1000; reference: 50000)').argParser(
        parse.integerWithin(1, 1_000_000_000),
      ),
    )
    .addOption(
      new Option('--batch <n>', 'train: latents a step (default: 4; reference: 2)').argParser(
        parse.integerWithin(1, 65_536),
      ),
    )
    .addOption(
      new Option('--optimizer <name>', 'train: adam (default), or ranger (reference)').argParser(
        parse.oneOf('ranger', 'adam'),
      ),
    )
    .addOption(new Option('--learning-rate <rate>', 'train: (default: 0.5)').argParser(parse.numberWithin(1e-9, 1e6)))
    .addOption(
      new Option('--lambda-l2 <weight>', 'train: of how far the latent moves (default: 0.8)').argParser(weight),
    )
    .addOption(
      new Option(
        '--lambda-id <weight>',
        'train: of how far the identity moves (default: 0.1 with an identity model)',
      ).argParser(weight),
    )
    .addOption(
      new Option('--validate-every <n>', 'train: steps between validations (default: 100; reference: 2000)').argParser(
        parse.integerWithin(1, 1_000_000_000),
      ),
    )
    .option('--licence <text>', 'train: said in the archive (default: unknown)')
    .option('--dir <dir>', 'train: the folder of the run; stopped, it goes on when the command is run again', 'mapper')
    .option('--mapper <file>', 'apply: the mapper')
    .addOption(
      new Option('--strength <s>', 'apply: factor of the step').argParser(parse.numberWithin(-1000, 1000)).default(1),
    )
    .addOption(
      new Option('--count <n>', 'apply: how many are drawn, where no files are given')
        .argParser(parse.integerWithin(1, 10_000))
        .default(4),
    )
    .addOption(
      new Option('--truncation-psi <psi>', 'truncation of what is drawn')
        .argParser(parse.numberWithin(-2, 2))
        .default(0.7),
    )
    .option('--grid', 'apply: one contact sheet instead of one file a picture')
    .action(async (action: 'train' | 'apply', files: string[], flags: Flags) =>
      start(`mapper ${action}`, flags, (session) =>
        action === 'train' ? train(session, files, flags) : apply(session, files, flags),
      ),
    );
}

/** Commander knows one set of options for both actions. */
function refuseForeign(flags: Flags, names: readonly (keyof Flags)[], action: string): void {
  const found = names.find((name) => flags[name] !== undefined);
  if (found === undefined) return;
  const flag = found.replaceAll(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`);
  throw new StyleClipError('ARGUMENT', `--${flag} means nothing for mapper ${action}`, { remedy: 'Leave it out.' });
}

async function train(session: Session, files: readonly string[], flags: Flags): Promise<Outcome> {
  refuseForeign(flags, APPLY_ONLY, 'train');
  if (files.length > 0) {
    throw new StyleClipError('ARGUMENT', `mapper train takes no files, and ${files.join(', ')} is given`, {
      remedy: 'Name latents to train on with --latents.',
    });
  }
  if (flags.target === undefined) {
    throw new StyleClipError('ARGUMENT', 'mapper train needs a --target', {
      remedy: 'Say what pictures shall become.',
    });
  }
  await using system = await loadSystem(session);
  const { layout } = system.generator;
  const read = async (file: string | undefined): Promise<Latents | undefined> =>
    file === undefined ? undefined : Latents.load(await session.input.file(file), { layout });
  const { target, neutral, shift, preset, space, levels, layers, steps, batch, optimizer, learningRate } = flags;
  const { lambdaL2, lambdaId, validateEvery, licence, seed, truncationPsi } = flags;
  await using mapper = await system.trainMapper({
    ...{ target, neutral, shift, preset, space, levels, layers, steps, batch, optimizer, learningRate },
    ...{ lambdaL2, lambdaId, validateEvery, licence, seed, truncationPsi, directory: flags.dir },
    from: flags.from === undefined ? undefined : await session.input.file(flags.from),
    latents: await read(flags.latents),
    validation: await read(flags.validation),
    ...session.run,
  });
  const [best, step] = [Number(mapper.info.training?.['best']), Number(mapper.info.training?.['best_step'])];
  const file = join(flags.dir, MAPPER_FILE);
  return {
    text: [file, `best validation ${best.toFixed(4)}, after ${step} steps`],
    result: { file, best, step, log: join(flags.dir, TRAINING_LOG) },
  };
}

async function apply(session: Session, files: readonly string[], flags: Flags): Promise<Outcome> {
  refuseForeign(flags, TRAIN_ONLY, 'apply');
  if (flags.mapper === undefined) {
    throw new StyleClipError('ARGUMENT', 'mapper apply needs a --mapper', { remedy: 'Name the archive of one.' });
  }
  await using mapper = await Mapper.load(await session.input.file(flags.mapper), modelOptions(session));
  await using generator = await loadGenerator(session);
  await using encoder = files.length === 0 ? undefined : await loadEncoder(session);
  const read = await readLatents(session, files, flags, { generator, encoder });
  const force = flags.force === true;
  const out = flags.out ?? (flags.grid === true ? 'mapped.png' : 'mapped');
  const target = await pictureTarget(out, flags.grid === true || read.length === 1, force);
  const latentsFile =
    'file' in target ? withSuffix(target.file, '.safetensors') : join(target.folder, 'latents.safetensors');
  await targetFile(latentsFile, force);
  const from = mapper.info.space === 's' ? await generator.styles(read, { signal: session.signal }) : read;
  const latents = await mapper.apply(from, { strength: flags.strength, ...session.run });
  const pictures = await generator.synthesize(latents, session.run);
  const images: string[] = [];
  if (flags.grid === true) {
    const file = picturePath(target, 'grid.png');
    await pictures.contactSheet(file);
    images.push(file);
  } else {
    for (const [i, picture] of [...pictures].entries()) {
      session.signal.throwIfAborted();
      const file = picturePath(target, `${String(i).padStart(4, '0')}.png`);
      await picture.png(file);
      images.push(file);
    }
  }
  await latents.save(latentsFile);
  session.output.note(`latents: ${latentsFile}`);
  return { text: images, result: { latents: latentsFile, images } };
}
