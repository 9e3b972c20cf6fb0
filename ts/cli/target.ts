/*
 * Files that a command writes. What is there already stays unless --force is given, and that is found out before any
 * long work starts. A file appears under its name only when it is complete.
 */
import { mkdir, readdir, stat } from 'node:fs/promises';
import { dirname, extname, join } from 'node:path';
import { StyleClipError } from '../errors.js';

function exists(path: string): StyleClipError {
  return new StyleClipError('FILE_EXISTS', `${path} is there already`, {
    remedy: 'Name another path with --out, or overwrite it with --force.',
  });
}

async function makeFolder(folder: string): Promise<void> {
  try {
    await mkdir(folder, { recursive: true });
  } catch (cause) {
    throw new StyleClipError('DISK', `the folder ${folder} cannot be made`, {
      remedy: 'Check the path and your rights there, or name another one with --out.',
      cause,
    });
  }
}

async function kindOf(path: string): Promise<'file' | 'folder' | 'nothing'> {
  try {
    return (await stat(path)).isDirectory() ? 'folder' : 'file';
  } catch {
    return 'nothing';
  }
}

/** Whether anything has this name. */
export async function isThere(path: string): Promise<boolean> {
  return (await kindOf(path)) !== 'nothing';
}

/** Makes sure that `path` may be written as a file, and that its folder is there. */
export async function targetFile(path: string, force: boolean): Promise<string> {
  const kind = await kindOf(path);
  if (kind === 'folder') {
    throw new StyleClipError('FILE_EXISTS', `${path} is a folder`, { remedy: 'Name a file with --out.' });
  }
  if (kind === 'file' && !force) throw exists(path);
  await makeFolder(dirname(path));
  return path;
}

/** Makes sure that `path` may be written as a folder: it is new, or empty, or --force was given. */
export async function targetFolder(path: string, force: boolean): Promise<string> {
  const kind = await kindOf(path);
  if (kind === 'file') {
    throw new StyleClipError('FILE_EXISTS', `${path} is a file, and several files are to be written`, {
      remedy: 'Name a folder with --out.',
    });
  }
  if (kind === 'folder' && !force && (await readdir(path)).length > 0) throw exists(path);
  await makeFolder(path);
  return path;
}

/** Where pictures go: one file, or a folder of files with names. */
export type PictureTarget = { readonly file: string } | { readonly folder: string };

const OTHER_PICTURES = ['.jpg', '.jpeg', '.webp', '.gif', '.avif', '.tif', '.tiff', '.bmp'];

/**
 * Where the pictures of a command go: `--out x.png` is one file, any other name a folder.
 *
 * @param single whether there will be one picture only; several do not fit into one file
 */
export async function pictureTarget(path: string, single: boolean, force: boolean): Promise<PictureTarget> {
  const suffix = extname(path).toLowerCase();
  if (OTHER_PICTURES.includes(suffix)) {
    throw new StyleClipError('ARGUMENT', `pictures are written as PNG, and ${path} is named otherwise`, {
      remedy: `Name it ${withSuffix(path, '.png')}.`,
    });
  }
  if (suffix !== '.png') return { folder: await targetFolder(path, force) };
  if (!single) {
    throw new StyleClipError('ARGUMENT', `several pictures do not fit into one file, ${path}`, {
      remedy: 'Add --grid for one contact sheet, or name a folder with --out.',
    });
  }
  return { file: await targetFile(path, force) };
}

/** Makes sure that an animation may be written as this file. */
export async function videoTarget(path: string, force: boolean): Promise<string> {
  if (!['.webp', '.gif'].includes(extname(path).toLowerCase())) {
    throw new StyleClipError('ARGUMENT', `${path}: a video is written as .webp or .gif`, { remedy: 'Name it so.' });
  }
  return targetFile(path, force);
}

/** The path of one picture within a target. */
export function picturePath(target: PictureTarget, name: string): string {
  return 'file' in target ? target.file : join(target.folder, name);
}

/** `path` with another suffix: where latents go that belong to a picture. */
export function withSuffix(path: string, suffix: string): string {
  return path.slice(0, path.length - extname(path).length) + suffix;
}
