/*
 * Animated pictures: frames of equal size, stacked on top of each other as libvips wants them, written as an endless
 * WebP or GIF. Played there and back, a strength interpolation shows an edit coming and going.
 */
import sharp from 'sharp';
import type { Picture } from './sheet.js';

/** How an animation is written. */
export interface AnimationOptions {
  /** `webp` (true colour, smaller) or `gif` (256 colours, shown everywhere). */
  format: 'webp' | 'gif';
  /** Time of one frame in milliseconds (20 to 10000); default 60. */
  delay?: number;
  /** Plays the frames backwards after the last one; default true. */
  bounce?: boolean;
  /** Enlarges every frame to at least this width in pixels; default 256. */
  width?: number;
}

/**
 * Joins frames to an animation that repeats for ever.
 *
 * @param frames at least one picture; all of the first one's size
 * @returns the file's bytes
 * @throws RangeError when there are no frames or their sizes differ
 */
export async function animation(frames: readonly Picture[], options: AnimationOptions): Promise<Buffer> {
  const first = frames[0];
  if (first === undefined) throw new RangeError('an animation needs at least one frame');
  if (frames.some((frame) => frame.width !== first.width || frame.height !== first.height)) {
    throw new RangeError('the frames of an animation have one size');
  }
  const width = Math.max(first.width, options.width ?? 256);
  const height = Math.round((width * first.height) / first.width);
  const sequence = options.bounce === false ? frames : [...frames, ...frames.slice(1, -1).toReversed()];
  const enlarged = await Promise.all(
    sequence.map(async (frame) =>
      sharp(frame.data, { raw: { width: frame.width, height: frame.height, channels: 3 } })
        .resize(width, height, { fit: 'fill', kernel: 'cubic' })
        .raw()
        .toBuffer(),
    ),
  );
  const image = sharp(Buffer.concat(enlarged), {
    raw: { width, height: height * sequence.length, channels: 3, pageHeight: height },
  });
  const timing = { loop: 0, delay: sequence.map(() => options.delay ?? 60) };
  return options.format === 'webp'
    ? image.webp({ ...timing, quality: 90 }).toBuffer()
    : image.gif({ ...timing, dither: 0.5 }).toBuffer();
}

/** Pictures side by side in one frame: a row of several cats edited at the same strength. */
export function sideBySide(pictures: readonly Picture[]): Picture {
  const first = pictures[0];
  if (first === undefined) throw new RangeError('a row needs at least one picture');
  const { width, height } = first;
  if (pictures.some((p) => p.width !== width || p.height !== height))
    throw new RangeError('pictures of a row have one size');
  const data = new Uint8Array(width * height * 3 * pictures.length);
  for (const [column, picture] of pictures.entries()) {
    for (let y = 0; y < height; y++) {
      data.set(picture.data.subarray(y * width * 3, (y + 1) * width * 3), (y * pictures.length + column) * width * 3);
    }
  }
  return { data, width: width * pictures.length, height };
}
