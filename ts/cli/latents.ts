/*
 * The latents that a command works on: from files, from pictures by the encoder, or newly drawn ones.
 */
import { extname } from 'node:path';
import sharp from 'sharp';
import { StyleClipError } from '../errors.js';
import { Images } from '../images.js';
import { Latents } from '../latents.js';
import type { StyleClip } from '../styleclip.js';
import type { Session } from './session.js';

/** Flags that say what is drawn. */
export interface DrawFlags {
  count: number;
  seed: bigint;
  truncationPsi: number;
}

const PICTURE_SUFFIXES = ['.png', '.jpg', '.jpeg', '.webp', '.gif', '.avif', '.tif', '.tiff'];

/** What latents and pictures are read for. */
export type Editable = Pick<StyleClip, 'generator' | 'encoder'>;

/** What is edited: the latents of all files behind one another (pictures inverted), or newly drawn ones. */
export async function readLatents(
  session: Session,
  files: readonly string[],
  flags: DrawFlags,
  system: Editable,
): Promise<Latents> {
  if (files.length === 0) {
    const { count, seed, truncationPsi } = flags;
    return system.generator.sample({ count, seed, truncationPsi, ...session.run });
  }
  const parts: Latents[] = [];
  for (const given of files) {
    const file = await session.input.file(given);
    const picture = PICTURE_SUFFIXES.includes(extname(file).toLowerCase());
    const { layout } = system.generator;
    parts.push(picture ? await invert(session, given, file, system) : await Latents.load(file, { layout }));
  }
  return Latents.concat(parts);
}

/** Generators know faces, or cats, in one place: a picture that is not square was hardly aligned. */
export async function warnOfCropping(session: Session, name: string, path: string): Promise<void> {
  const found = (
    await sharp(path)
      .metadata()
      .catch(() => undefined)
  )?.autoOrient;
  if (found === undefined || found.width === found.height) return;
  session.output.warn(
    `${name} is ${found.width} x ${found.height}, not square: its middle is taken. ` +
      'Pictures have to be aligned as those that the generator was trained on, or the inversion will be poor.',
  );
}

/** A picture as latents. */
async function invert(session: Session, given: string, file: string, system: Editable): Promise<Latents> {
  if (system.encoder === undefined) {
    throw new StyleClipError('MODEL_KIND', `${given} is a picture, and there is no encoder to turn it into latents`, {
      remedy:
        'Name one with --encoder (`styleclip encoder train` makes one), or edit latents (.safetensors, .npy), ' +
        'or leave the file out to edit generated pictures.',
    });
  }
  await warnOfCropping(session, given, file);
  return system.encoder.encode(await Images.read(file, { size: system.generator.info.imageSize }), session.run);
}
