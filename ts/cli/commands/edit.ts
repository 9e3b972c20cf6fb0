/*
 * `styleclip edit`: moves latents along a text direction, or by a mapper, at one or more strengths and renders what comes
 * out.
 */
import { basename } from 'node:path';
import { Option, type Command } from 'commander';
import { EditBatch } from '../../edit.js';
import { StyleClipError } from '../../errors.js';
import { Latents } from '../../latents.js';
import { Mapper } from '../../mapper.js';
import { strengthVideo } from '../../video.js';
import { readLatents } from '../latents.js';
import { loadEncoder, loadGenerator, loadSystem, modelOptions } from '../models.js';
import type { Outcome } from '../output.js';
import * as parse from '../parse.js';
import type { Session, Start } from '../session.js';
import { picturePath, pictureTarget, videoTarget, type PictureTarget } from '../target.js';
import { addDirectionOptions, directionSummary, findDirection, type DirectionFlags } from './direction-options.js';

interface Flags extends DirectionFlags {
  alpha?: number[];
  strength?: number[];
  mapper?: string;
  count: number;
  truncationPsi: number;
  grid?: true;
  video?: string;
}

/** Frames of a video from its lowest to its highest strength. */
const FRAMES = 40;
/** Pictures side by side in a video, at most, and the width of each in pixels, at least. */
const VIDEO_PICTURES = 6;
const VIDEO_WIDTH = 192;

export function editCommand(command: Command, start: Start): Command {
  command
    .name('edit')
    .description('edit pictures by text: latents from files, or drawn from --seed when none are given')
    .argument('[files...]', 'latents (.safetensors, .npy, .npz, .pt) or pictures; - reads standard input')
    .addOption(
      new Option('--alpha <list>', 'strengths, for example -3,0,3 (default: 3; by a mapper: 1)').argParser(
        parse.numberList,
      ),
    )
    .addOption(new Option('--strength <list>', 'the same').argParser(parse.numberList).conflicts('alpha'))
    .addOption(
      new Option('--mapper <file>', 'edit by a mapper instead of texts (`styleclip import mapper`)').conflicts([
        ...['target', 'neutral', 'relevance', 'beta', 'channels', 'templates', 'not', 'video'],
      ]),
    )
    .addOption(new Option('--count <n>', 'how many are drawn').argParser(parse.integerWithin(1, 10_000)).default(4))
    .addOption(
      new Option('--truncation-psi <psi>', 'truncation of what is drawn')
        .argParser(parse.numberWithin(-2, 2))
        .default(0.7),
    )
    .option('--grid', 'one contact sheet instead of one file a picture')
    .option('--video <file>', 'also an animation (.webp, .gif) from the lowest to the highest strength');
  return addDirectionOptions(command, 'optional').action(async (files: string[], flags: Flags) =>
    start('edit', flags, (session) => edit(session, files, flags)),
  );
}

async function edit(session: Session, files: readonly string[], flags: Flags): Promise<Outcome> {
  for (const name of ['target', 'neutral'] as const) {
    if (flags.mapper !== undefined || flags[name] !== undefined) continue;
    throw new StyleClipError('ARGUMENT', `edit needs --${name} <text>, or --mapper <file>`, {
      remedy: 'For example --target "a cute cat" --neutral "a cat".',
    });
  }
  const force = flags.force === true;
  const video = flags.video === undefined ? undefined : await videoTarget(flags.video, force);
  const { grid = false } = flags;
  const alpha = flags.alpha ?? flags.strength ?? (flags.mapper === undefined ? [3] : [1]);
  const single = alpha.length === 1 && (files.length === 0 ? flags.count : files.length) === 1;
  const target = await pictureTarget(flags.out ?? (grid ? 'edited.png' : 'edited'), grid || single, force);
  if (flags.mapper !== undefined)
    return editByMapper(session, files, { ...flags, mapper: flags.mapper }, alpha, target);

  await using system = await loadSystem(session);
  const { generator } = system;
  const direction = await findDirection(session, flags, system);
  const latents = await readLatents(session, files, flags, system);
  checkRoom(target, grid, latents.length * alpha.length);
  const { run } = session;
  const images: { latent?: number; alpha: number | readonly number[]; file: string }[] = [];
  if (grid) {
    const file = picturePath(target, 'grid.png');
    const batch = await generator.edit(latents, direction, { alpha, ...run });
    await batch.contactSheet(file, { title: `“${flags.neutral}” → “${flags.target}”` });
    images.push({ alpha, file });
  } else {
    for await (const one of generator.editEach(latents, direction, { alpha, ...run })) {
      const file = picturePath(target, `${String(one.latent).padStart(4, '0')}_alpha${one.alpha}.png`);
      await one.image.png(file);
      images.push({ latent: one.latent, alpha: one.alpha, file });
    }
  }
  if (video !== undefined) {
    const range = { from: Math.min(0, ...alpha), to: Math.max(0, ...alpha), frames: FRAMES, width: VIDEO_WIDTH };
    await strengthVideo(generator, latents.slice(0, VIDEO_PICTURES), direction, { ...range, ...run, file: video });
  }
  return {
    text: [...images.map(({ file }) => file), ...(video === undefined ? [] : [video])],
    result: { images, direction: directionSummary(direction), ...(video === undefined ? {} : { video }) },
  };
}

/** Several pictures do not fit into one file. */
function checkRoom(target: PictureTarget, grid: boolean, pictures: number): void {
  if (grid || !('file' in target) || pictures <= 1) return;
  throw new StyleClipError('ARGUMENT', `${pictures} pictures do not fit into one file, ${target.file}`, {
    remedy: 'Add --grid for one contact sheet, or name a folder with --out.',
  });
}

/** latents + 0.1 · α · M(latents): needs a generator and a mapper, and no CLIP. */
async function editByMapper(
  session: Session,
  files: readonly string[],
  flags: Flags & { mapper: string },
  alpha: readonly number[],
  target: PictureTarget,
): Promise<Outcome> {
  await using generator = await loadGenerator(session);
  await using mapper = await Mapper.load(await session.input.file(flags.mapper), modelOptions(session));
  await using encoder = await loadEncoder(session);
  const given = await readLatents(session, files, flags, { generator, encoder });
  checkRoom(target, flags.grid === true, given.length * alpha.length);
  const latents = mapper.info.space === 's' ? await generator.styles(given, session.run) : given;
  const moved: Latents[] = [];
  for (const strength of alpha) moved.push(await mapper.apply(latents, { strength, signal: session.signal }));
  const images: { latent?: number; alpha: number | readonly number[]; file: string }[] = [];
  if (flags.grid === true) {
    const all = Latents.concat(Array.from({ length: given.length }, (_, i) => moved.map((m) => m.at(i))).flat());
    const codes = await generator.styles(all, { signal: session.signal });
    const file = picturePath(target, 'grid.png');
    const batch = new EditBatch(await generator.synthesize(codes, session.run), codes, alpha);
    await batch.contactSheet(file, { title: basename(flags.mapper) });
    images.push({ alpha, file });
  } else {
    for (let latent = 0; latent < given.length; latent++) {
      const some = Latents.concat(moved.map((m) => m.at(latent)));
      const pictures = await generator.synthesize(some, { signal: session.signal });
      for (const [k, strength] of alpha.entries()) {
        const file = picturePath(target, `${String(latent).padStart(4, '0')}_alpha${strength}.png`);
        await pictures.at(k).png(file);
        images.push({ latent, alpha: strength, file });
      }
    }
  }
  const { space, levels, file } = mapper.info;
  return { text: images.map((one) => one.file), result: { images, mapper: { file, space, levels } } };
}
