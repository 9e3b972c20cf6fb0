// Files appear whole or not at all: written under a temporary name beside the target, flushed, then renamed over it.

import { randomBytes } from 'node:crypto';
import { mkdir, open, readFile, rename, rm } from 'node:fs/promises';
import { basename, dirname, join, resolve } from 'node:path';
import { StyleClipError } from '../errors.js';

/**
 * Writes a file through a temporary name and a rename. Missing parent folders are made.
 *
 * @param parts bytes, or several pieces to be written one after another
 * @throws StyleClipError `DISK` when it cannot be written; nothing is left behind, an older file stays as it was
 */
export async function writeFileAtomic(file: string, parts: Uint8Array | string | readonly Uint8Array[]): Promise<void> {
  const target = resolve(file);
  const temporary = join(dirname(target), `.${basename(target)}.${process.pid}.${randomBytes(4).toString('hex')}.tmp`);
  try {
    await mkdir(dirname(target), { recursive: true });
    const handle = await open(temporary, 'wx');
    try {
      const pieces = Array.isArray(parts) ? (parts as readonly Uint8Array[]) : [parts as Uint8Array | string];
      // appendFile on a handle writes all of a piece, in as many system calls as it takes.
      for (const piece of pieces) await handle.appendFile(piece);
      await handle.sync();
    } finally {
      await handle.close();
    }
    await rename(temporary, target);
  } catch (e) {
    await rm(temporary, { force: true }).catch(() => undefined);
    throw diskError(e, file);
  }
}

/** Reads a file whole; `FILE_NOT_FOUND` when it is missing, a folder, or may not be read. */
export async function readFileChecked(file: string): Promise<Buffer> {
  try {
    return await readFile(file);
  } catch (e) {
    throw readError(e, file);
  }
}

/** A failed read as a StyleClipError. */
export function readError(e: unknown, file: string): StyleClipError {
  const code = systemCode(e);
  const why =
    code === 'ENOENT' || code === 'ENOTDIR'
      ? 'does not exist'
      : code === 'EISDIR'
        ? 'is a folder'
        : code === 'EACCES' || code === 'EPERM'
          ? 'may not be read'
          : `cannot be read (${code})`;
  return new StyleClipError('FILE_NOT_FOUND', `${file} ${why}`, {
    remedy: 'Check the path and its permissions.',
    cause: e,
  });
}

function diskError(e: unknown, file: string): StyleClipError {
  const code = systemCode(e);
  const reasons: Record<string, [string, string]> = {
    ENOSPC: ['the disk is full', 'Free some space, or write to another disk.'],
    EDQUOT: ['the disk quota is used up', 'Free some space, or write to another disk.'],
    EFBIG: ['a file-size limit was reached', 'Raise the limit (ulimit -f), or write to another disk.'],
    EROFS: ['the disk is read-only', 'Write to another folder.'],
    EACCES: ['permission was denied', 'Check the permissions of the folder, or write to another one.'],
    EPERM: ['permission was denied', 'Check the permissions of the folder, or write to another one.'],
    EISDIR: ['a folder is in its place', 'Choose another name.'],
    ENOTDIR: ['a part of its path is a file, not a folder', 'Choose another path.'],
    EEXIST: ['a part of its path is a file, not a folder', 'Choose another path.'],
  };
  const [why, remedy] = reasons[code] ?? [code, 'Check the path and the disk.'];
  return new StyleClipError('DISK', `${file} could not be written: ${why}`, { remedy, cause: e });
}

function systemCode(e: unknown): string {
  return e instanceof Error && 'code' in e && typeof e.code === 'string' ? e.code : 'unknown failure';
}
