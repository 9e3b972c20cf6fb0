/*
 * `styleclip optimize`: latent optimisation. Everything goes into one folder: the latents, the pictures, the losses, and the
 * state from which the same command goes on after a Ctrl-C.
 */
import { extname, join } from 'node:path';
import { Option, type Command } from 'commander';
import { StyleClipError } from '../../errors.js';
import { writeFileAtomic } from '../../files/atomic.js';
import { OPTIMIZE_STATE, type OptimizeResult } from '../../optimize.js';
import { OPTIMIZE_PRESETS } from '../../optimize-settings.js';
import { contactSheet } from '../../report/sheet.js';
import { animation, sideBySide } from '../../report/video.js';
import { readLatents } from '../latents.js';
import { loadSystem } from '../models.js';
import type { Outcome } from '../output.js';
import * as parse from '../parse.js';
import type { Session, Start } from '../session.js';
import type { CommonFlags } from '../settings.js';
import { isThere, targetFolder, videoTarget } from '../target.js';

interface Flags extends CommonFlags {
  target: string[];
  neutral?: string;
  shift?: number;
  preset: 'default' | 'reference';
  mode: 'edit' | 'free';
  space: 'w' | 'w_plus' | 's';
  layers?: string[];
  steps?: number;
  learningRate?: number;
  lambdaL2?: number;
  lambdaId?: number;
  restarts?: number;
  patience?: number;
  every?: number;
  video?: string;
  count: number;
  truncationPsi: number;
}

/** Frames of a video, about. */
const FRAMES = 40;
/** Pictures side by side in a video, at most, and the width of each in pixels, at least. */
const VIDEO_PICTURES = 6;
const VIDEO_WIDTH = 192;

export function optimizeCommand(command: Command, start: Start): Command {
  const weight = parse.numberWithin(0, 1e9);
  return command
    .name('optimize')
    .description('edit pictures by text, each by an optimisation of its latent (minutes; no preparation)')
    .argument('[files...]', 'latents (.safetensors, .npy, .npz, .pt) or pictures; - reads standard input')
    .addOption(new Option('--target <text...>', 'what the pictures should become').makeOptionMandatory())
    .option('--neutral <text>', 'what they are now: then the direction between the texts counts')
    .addOption(
      new Option(
        '--shift <lengths>',
        'how far along that direction each picture goes; 0: by the direction alone (default: 1)',
      ).argParser(parse.numberWithin(0, 1000)),
    )
    .addOption(
      new Option('--preset <name>', 'where defaults come from: default, or reference (the released code)')
        .argParser(parse.oneOf('default', 'reference'))
        .default('default'),
    )
    .addOption(
      new Option('--mode <name>', 'edit, or free: from the mean latent, by the text alone')
        .argParser(parse.oneOf('edit', 'free'))
        .default('edit'),
    )
    .addOption(
      new Option('--space <name>', 'what moves: w, w_plus or s')
        .argParser(parse.oneOf('w', 'w_plus', 's'))
        .default('w_plus'),
    )
    .addOption(
      new Option('--layers <names>', 'in s: conv, torgb, all, or layers by name, separated by commas').argParser(
        parse.nameList,
      ),
    )
    .addOption(
      new Option('--steps <n>', 'updates (default: 40; reference: 300)').argParser(parse.integerWithin(1, 1_000_000)),
    )
    .addOption(
      new Option('--learning-rate <rate>', "Adam's (default: 0.2; reference: 0.1)").argParser(
        parse.numberWithin(1e-9, 1e6),
      ),
    )
    .addOption(new Option('--lambda-l2 <weight>', 'of how far the latent moves').argParser(weight))
    .addOption(new Option('--lambda-id <weight>', 'of how far the identity moves').argParser(weight))
    .addOption(
      new Option('--restarts <n>', 'starts of each, the best is kept (default: 4; reference: 1)').argParser(
        parse.integerWithin(1, 1000),
      ),
    )
    .addOption(
      new Option('--patience <n>', 'end when so many steps brought next to nothing').argParser(
        parse.integerWithin(1, 1_000_000),
      ),
    )
    .addOption(
      new Option('--every <n>', 'pictures of the way every n steps').argParser(parse.integerWithin(1, 1_000_000)),
    )
    .option('--video <file>', 'also an animation of the way (.webp, .gif)')
    .addOption(
      new Option('--count <n>', 'how many are drawn, where no files are given')
        .argParser(parse.integerWithin(1, 10_000))
        .default(4),
    )
    .addOption(
      new Option('--truncation-psi <psi>', 'truncation of what is drawn')
        .argParser(parse.numberWithin(-2, 2))
        .default(0.7),
    )
    .action(async (files: string[], flags: Flags) =>
      start('optimize', flags, (session) => optimize(session, files, flags)),
    );
}

async function optimize(session: Session, files: readonly string[], flags: Flags): Promise<Outcome> {
  const force = flags.force === true;
  const video = flags.video === undefined ? undefined : await videoTarget(flags.video, force);
  const folder = flags.out ?? 'optimized';
  if (extname(folder) !== '' && !(await isThere(folder))) {
    throw new StyleClipError('ARGUMENT', `optimize writes a folder, and ${folder} is named like a file`, {
      remedy: 'Name a folder with --out.',
    });
  }
  // A run that was stopped goes on in its folder.
  if (!(await isThere(join(folder, OPTIMIZE_STATE)))) await targetFolder(folder, force);

  await using system = await loadSystem(session);
  const free = flags.mode === 'free' && files.length === 0;
  const latents = free ? undefined : await readLatents(session, files, flags, system);
  const { target, neutral, shift, preset, mode, space, layers, steps, learningRate, lambdaL2, lambdaId } = flags;
  const { restarts, patience, seed } = flags;
  const snapshots =
    flags.every ?? (video === undefined ? undefined : Math.ceil((steps ?? OPTIMIZE_PRESETS[preset].steps) / FRAMES));
  const done = await system.optimize(latents, {
    ...{ target, neutral, shift, preset, mode, space, layers, steps, learningRate, lambdaL2, lambdaId },
    ...{ restarts, patience, seed, snapshots, directory: folder, ...session.run },
  });
  const images: { latent: number; target: string; file: string; loss: number; stopped: string }[] = [];
  for (const [i, problem] of done.problems.entries()) {
    const of = target.length === 1 ? '' : `_target${i % target.length}`;
    const file = join(folder, `${String(problem.latent).padStart(4, '0')}${of}.png`);
    await done.images.at(i).png(file);
    const loss = problem.loss.total[problem.bestStep]!;
    images.push({ latent: problem.latent, target: problem.target, file, loss, stopped: problem.stopped });
  }
  const curves = Object.fromEntries(Object.entries(done.loss).map(([name, values]) => [name, Array.from(values)]));
  await writeFileAtomic(
    join(folder, 'loss.json'),
    `${JSON.stringify({ steps: done.loss.total.length - 1, ...curves })}\n`,
  );
  if (flags.every !== undefined) await writeWay(done, folder);
  if (video !== undefined) await writeFileAtomic(video, await wayVideo(done, video));
  const file = join(folder, 'latents.safetensors');
  const last = (name: keyof OptimizeResult['loss']): string => done.loss[name].at(-1)!.toFixed(4);
  return {
    text: [
      `loss ${done.loss.total[0]!.toFixed(4)} -> ${last('total')} (clip ${last('clip')}, l2 ${last('l2')}, id ${last('id')})`,
      ...images.map((one) => one.file),
      ...(video === undefined ? [] : [video]),
    ],
    result: {
      latents: file,
      images,
      loss: { first: done.loss.total[0], last: done.loss.total.at(-1), curves: join(folder, 'loss.json') },
      stoppedEarly: done.stoppedEarly,
      ...(video === undefined ? {} : { video }),
    },
  };
}

/** A row for each latent, a column for each step that was looked at. */
async function writeWay(done: OptimizeResult, folder: string): Promise<void> {
  const first = done.snapshots[0]?.images;
  if (first === undefined) return;
  const rows = Array.from({ length: first.count }, (_, i) => done.snapshots.map(({ images }) => pixels(images.at(i))));
  const bytes = await contactSheet(rows, { columnLabels: done.snapshots.map(({ step }) => `step ${step}`) });
  await writeFileAtomic(join(folder, 'way.png'), bytes);
}

async function wayVideo(done: OptimizeResult, file: string): Promise<Uint8Array> {
  const across = Math.min(VIDEO_PICTURES, done.images.count);
  const frames = done.snapshots.map(({ images }) =>
    sideBySide(Array.from({ length: across }, (_, i) => pixels(images.at(i)))),
  );
  const format = extname(file).toLowerCase() === '.gif' ? 'gif' : 'webp';
  return animation(frames, { format, width: VIDEO_WIDTH * across, delay: 80 });
}

function pixels(image: OptimizeResult['images']): { data: Uint8Array; width: number; height: number } {
  const { data, width, height } = image.toUint8();
  return { data: data as Uint8Array, width, height };
}
