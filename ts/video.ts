// An edit as a moving picture: the strength goes from one value to another and back.

import { checkBoolean, checkInteger, checkNumber, checkOneOf, checkOptions, checkPath, fail } from './check.js';
import type { GlobalDirectionLike } from './direction.js';
import { writeFileAtomic } from './files/atomic.js';
import type { Generator } from './generator.js';
import type { LatentsLike } from './latents.js';
import { animation, sideBySide } from './report/video.js';
import type { Picture } from './report/sheet.js';
import type { RunOptions } from './types.js';

/** Options of {@link strengthVideo}. */
export interface VideoOptions extends RunOptions {
  /** Strength of the first frame. Default 0. */
  from?: number | undefined;
  /** Strength of the last frame. */
  to: number;
  /** Frames from the first to the last, 2..1000. Default 24. */
  frames?: number | undefined;
  /** Time of a frame in milliseconds, 20..10,000. Default 60. */
  delay?: number | undefined;
  /** Plays back to the first frame. Default true. */
  bounce?: boolean | undefined;
  /** Smallest width of a picture in pixels; smaller ones are enlarged. Default 256. */
  width?: number | undefined;
  /** Default: by the file's ending, else `'webp'`. */
  format?: 'webp' | 'gif' | undefined;
  /** Also written here (atomically) when given. */
  file?: string | URL | undefined;
  /** As in {@link Generator.edit}. */
  force?: boolean | undefined;
}

/**
 * Renders latents at evenly spaced strengths, side by side, as an animated WebP or GIF that repeats for ever.
 *
 * @returns the file's bytes
 * @throws StyleClipError as {@link Generator.edit}; `FORMAT_UNKNOWN` for another file ending; `DISK`
 */
export async function strengthVideo(
  generator: Generator,
  latents: LatentsLike,
  direction: GlobalDirectionLike,
  options: VideoOptions,
): Promise<Uint8Array> {
  const keys = ['signal', 'onProgress', 'from', 'to', 'frames', 'delay', 'bounce', 'width', 'format', 'file', 'force'];
  const o = checkOptions(options, keys, 'strengthVideo');
  const from = checkNumber(o.from ?? 0, 'from');
  const to = checkNumber(o.to, 'to');
  const frames = checkInteger(o.frames ?? 24, 'frames', 2, 1000);
  const delay = checkInteger(o.delay ?? 60, 'delay', 20, 10_000);
  const bounce = checkBoolean(o.bounce ?? true, 'bounce');
  const width = checkInteger(o.width ?? 256, 'width', 1, 4096);
  const file = o.file === undefined ? undefined : checkPath(o.file);
  const format = o.format === undefined ? formatOf(file) : checkOneOf(o.format, 'format', ['webp', 'gif']);
  const alpha = Array.from({ length: frames }, (_, i) => from + ((to - from) * i) / (frames - 1));

  const columns: Picture[][] = alpha.map(() => []);
  const { signal, onProgress, force } = o;
  let index = 0;
  for await (const { image } of generator.editEach(latents, direction, { alpha, signal, onProgress, force })) {
    columns[index++ % frames]!.push({ data: image.data as Uint8Array, width: image.width, height: image.height });
  }
  const across = columns[0]!.length;
  const bytes = await animation(
    columns.map((pictures) => sideBySide(pictures)),
    { format, delay, bounce, width: width * across },
  );
  if (file !== undefined) await writeFileAtomic(file, bytes);
  return new Uint8Array(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

function formatOf(file: string | undefined): 'webp' | 'gif' {
  if (file === undefined) return 'webp';
  const ending = /\.(webp|gif)$/i.exec(file)?.[1]?.toLowerCase();
  if (ending === undefined) fail('FORMAT_UNKNOWN', `${file} is neither .webp nor .gif`, 'Choose one of these endings.');
  return ending as 'webp' | 'gif';
}
