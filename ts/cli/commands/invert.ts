/*
 * `styleclip invert IMAGE…`: pictures to latents, in a folder with the latents, what they give, the losses, a table, and the
 * state from which the same command goes on after a Ctrl-C.
 */
import { rm } from 'node:fs/promises';
import { extname, join } from 'node:path';
import { Option, type Command } from 'commander';
import { StyleClipError } from '../../errors.js';
import { writeFileAtomic } from '../../files/atomic.js';
import { Images } from '../../images.js';
import { INVERSION_FILES, INVERSION_STATE, TUNING_STATE } from '../../inversion-run.js';
import type { InversionMethod } from '../../inversion-settings.js';
import type { InvertedPicture, InvertResult } from '../../inversion.js';
import { contactSheet } from '../../report/sheet.js';
import { warnOfCropping } from '../latents.js';
import { loadSystem } from '../models.js';
import type { Outcome } from '../output.js';
import * as parse from '../parse.js';
import { formatSeconds } from '../progress.js';
import type { Session, Start } from '../session.js';
import type { CommonFlags } from '../settings.js';
import { isThere, targetFolder } from '../target.js';

interface Flags extends CommonFlags {
  method?: InversionMethod;
  space?: 'w' | 'w_plus';
  steps?: number;
  refineSteps?: number;
  tuneSteps?: number;
  tuneRate?: number;
  lambdaLocality?: number;
  localityDistance?: number;
  learningRate?: number;
  feature?: 'clip' | 'identity' | 'none';
  lpips?: string;
  noiseMaps?: boolean;
  every?: number;
}

export function invertCommand(command: Command, start: Start): Command {
  const count = parse.integerWithin(1, 1_000_000);
  return command
    .name('invert')
    .description('find the latents of pictures')
    .argument('<images...>', 'picture files of any size, aligned as the generator makes them; - reads standard input')
    .addOption(
      new Option(
        '--method <name>',
        'encoder, projector, image2stylegan or pti (default: encoder where there is one, else projector)',
      ).argParser(parse.oneOf('encoder', 'projector', 'image2stylegan', 'pti')),
    )
    .addOption(
      new Option('--space <name>', 'w or w_plus (default: w_plus; of projector and pti w)').argParser(
        parse.oneOf('w', 'w_plus'),
      ),
    )
    .addOption(new Option('--steps <n>', 'updates of the latents (default: 1000; pti 450)').argParser(count))
    .addOption(
      new Option('--refine-steps <n>', "updates after the encoder's pass (default: 0)").argParser(
        parse.integerWithin(0, 1_000_000),
      ),
    )
    .addOption(new Option('--tune-steps <n>', 'updates of the generator by pti (default: 350)').argParser(count))
    .addOption(
      new Option('--tune-rate <rate>', "Adam's, of pti's tuning (default: 0.0003)").argParser(
        parse.numberWithin(1e-9, 1),
      ),
    )
    .addOption(
      new Option(
        '--lambda-locality <weight>',
        'of how far pti leaves the original generator beside the pivots (default: 0; released: 0.1)',
      ).argParser(parse.numberWithin(0, 1e9)),
    )
    .addOption(
      new Option('--locality-distance <d>', 'how far beside (default: 30)').argParser(parse.numberWithin(1e-9, 1e9)),
    )
    .addOption(new Option('--learning-rate <rate>', "Adam's").argParser(parse.numberWithin(1e-9, 1e6)))
    .addOption(
      new Option('--feature <name>', 'what compares beyond pixels: clip, identity or none (default: clip)').argParser(
        parse.oneOf('clip', 'identity', 'none'),
      ),
    )
    .option('--lpips <file>', 'a TorchScript module that compares instead; needs --trust, for its code runs')
    .option('--noise-maps', 'optimise noise maps, and keep them (default: projector; of pti for the pivot only)')
    .option('--no-noise-maps', 'leave the noise maps as they are')
    .addOption(new Option('--every <n>', 'pictures of the way every n steps').argParser(count))
    .action(async (files: string[], flags: Flags) =>
      start('invert', flags, (session) => invert(session, files, flags)),
    );
}

async function invert(session: Session, files: readonly string[], flags: Flags): Promise<Outcome> {
  const folder = flags.out ?? 'inverted';
  if (extname(folder) !== '') {
    throw new StyleClipError('ARGUMENT', `invert writes a folder, and ${folder} is named like a file`, {
      remedy: 'Name a folder with --out.',
    });
  }
  const paths: string[] = [];
  for (const file of files) paths.push(await session.input.file(file));
  for (const [i, path] of paths.entries()) await warnOfCropping(session, files[i]!, path);
  const states = [join(folder, INVERSION_STATE), join(folder, TUNING_STATE)];
  // A run that was stopped goes on in its folder; --force begins anew.
  if (flags.force === true || !(await isThere(states[0]!))) {
    await targetFolder(folder, flags.force === true);
    for (const state of states) await rm(state, { force: true });
  }

  await using system = await loadSystem(session);
  // Files are read whole before anything else: a bad one is found at once.
  const images = await Images.read(paths, { size: system.generator.info.imageSize });
  const { method, space, steps, refineSteps, tuneSteps, tuneRate, lambdaLocality, localityDistance } = flags;
  const { learningRate, feature, lpips, noiseMaps, seed, trust } = flags;
  const done = await system.invert(images, {
    ...{ method, space, steps, refineSteps, tuneSteps, tuneRate, lambdaLocality, localityDistance },
    ...{ learningRate, feature, noiseMaps, seed, trust, snapshots: flags.every, directory: folder },
    lpips: lpips === undefined ? undefined : await session.input.file(lpips),
    ...session.run,
  });
  const { latents } = INVERSION_FILES;
  const written: Record<string, string> = { latents: join(folder, latents) };
  if (done.noise !== undefined) written['noise'] = join(folder, INVERSION_FILES.noise);
  if (done.difference !== undefined) written['difference'] = join(folder, INVERSION_FILES.difference);
  const pictures: (Omit<InvertedPicture, 'loss'> & { image: string; file: string })[] = [];
  for (const [i, { mse, lpips: distance, bestStep, stopped }] of done.pictures.entries()) {
    const file = join(folder, `${String(i).padStart(4, '0')}.png`);
    await done.images.at(i).toUint8().png(file);
    pictures.push({ image: files[i]!, file, mse, lpips: distance, bestStep, stopped });
  }
  written['sheet'] = join(folder, 'sheet.png');
  await writeFileAtomic(written['sheet'], await sheet(done));
  written['report'] = join(folder, 'report.json');
  const loss = done.pictures.map((p) => p.loss && curves(p.loss));
  const { seconds } = done;
  const tuning = done.tuning && curves(done.tuning);
  await writeFileAtomic(written['report'], `${JSON.stringify({ seconds, pictures, loss, tuning })}\n`);
  const mean = pictures.reduce((sum, { mse }) => sum + mse, 0) / pictures.length;
  return {
    text: [
      ...pictures.map(
        (p) =>
          `${p.file}  mse ${p.mse.toFixed(5)}${p.lpips === undefined ? '' : `, lpips ${p.lpips.toFixed(4)}`}` +
          (p.stopped === 'steps' ? '' : `  (${p.stopped})`),
      ),
      `mean mse ${mean.toFixed(5)}, ${formatSeconds(seconds)}`,
      written['latents']!,
    ],
    result: { ...written, images: pictures, mse: mean, seconds },
  };
}

/** Curves as JSON takes them; what is no number becomes null. */
function curves(of: object): Record<string, number[]> {
  return Object.fromEntries(Object.entries(of).map(([name, values]) => [name, Array.from(values as Float64Array)]));
}

/** A row for each picture: given, found, and what was on the way. */
async function sheet(done: InvertResult): Promise<Uint8Array> {
  const plain = (images: Images, i: number): Images & { data: Uint8Array } =>
    images.at(i).toUint8() as Images & { data: Uint8Array };
  const rows = done.pictures.map((_, i) => [
    plain(done.targets, i),
    ...done.snapshots.map(({ images }) => plain(images, i)),
    plain(done.images, i),
  ]);
  const columnLabels = ['given', ...done.snapshots.map(({ step }) => `step ${step}`), 'found'];
  return contactSheet(rows, { columnLabels });
}
