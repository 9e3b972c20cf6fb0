/*
 * What the tests of long runs share: a tiny StyleClip in a folder of its own, two latents and their pictures, and an encoder
 * that is trained in a second. All of it goes when the file's tests are through.
 */
import test from 'ava';
import type { Images, Latents, SampleOptions, StyleClip } from '../../dist/index.js';
import { testFolder, tinyStyleClip } from './public-models.js';

const NETWORK = { imageSize: 32, channels: [8, 8, 16, 16], reduction: 4, headWidth: 6 };
export const TRAINING = { network: NETWORK, steps: 12, batch: 4, warmUp: 2, validation: 8, validateEvery: 4 } as const;

export interface TinyRuns {
  /** Of the folder, which holds generator.pt and clip.pt. */
  path: string;
  tiny: StyleClip;
  w: Latents;
  /** Of `w`. */
  images: Images;
}

export async function tinyRuns(sampling: Pick<SampleOptions, 'truncationPsi'> = {}): Promise<TinyRuns> {
  const folder = await testFolder();
  const tiny = await tinyStyleClip(folder.path);
  const w = await tiny.generator.sample({ count: 2, seed: 1, ...sampling });
  const images = await tiny.generator.synthesize(w);
  // The last thing: once a hook is declared, AVA waits for no promise before the tests have to be.
  test.after.always(async () => {
    await tiny.close();
    await folder.remove();
  });
  return { path: folder.path, tiny, w, images };
}
