// Folders of models: which archives one has, and the package's own.

import { stat } from 'node:fs/promises';
import { join } from 'node:path';
import { checkPath, fail } from './check.js';
import { packageFile } from './runtime.js';

/** Names of the archives in a model folder. */
const FILES = { generator: 'generator.pt', clip: 'clip.pt', identity: 'identity.pt', encoder: 'encoder.pt' } as const;

/** An archive of each kind, or undefined where there is none. */
export type ModelFiles<T> = Record<keyof typeof FILES, T | undefined>;

/** `cats` is the package's own folder, unless there is one of that name here; anything else is a path. */
export function modelFolder(model: string | URL): string {
  return model === 'cats' ? packageFile('models/cats') : checkPath(model, 'model');
}

export async function filesIn(folder: string): Promise<ModelFiles<string>> {
  const found = await stat(folder).catch(() => undefined);
  if (found?.isDirectory() !== true) {
    fail(
      'FILE_NOT_FOUND',
      `there is no model folder ${folder}`,
      "Pass 'cats', a folder with generator.pt and clip.pt, or { generator, clip }.",
    );
  }
  const has = async (name: string): Promise<string | undefined> =>
    (await isFile(join(folder, name))) ? join(folder, name) : undefined;
  return {
    generator: join(folder, FILES.generator),
    clip: join(folder, FILES.clip),
    identity: await has(FILES.identity),
    encoder: await has(FILES.encoder),
  };
}

export async function isFile(path: string): Promise<boolean> {
  return (await stat(path).catch(() => undefined))?.isFile() === true;
}
