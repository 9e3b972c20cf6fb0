// What texts are to a loss: one vector each, which a picture's embedding is brought towards. Latent optimisation and the
// mapper's training share it.

import { checkNumber, checkString, fail } from './check.js';
import type { Clip } from './clip.js';
import { fillTemplate, IMAGENET_TEMPLATES } from './templates.js';
import type { RunOptions } from './types.js';

/**
 * [texts × dim], unit rows: unit(mean over templates of unit(CLIP(text))), or, with a neutral text, Δt of both
 * ({@link Clip.direction}).
 *
 * @throws StyleClipError as {@link Clip.direction} and {@link Clip.encodeText}
 */
export async function textAims(
  clip: Clip,
  targets: readonly string[],
  neutral: string | undefined,
  templates: 'imagenet' | 'none' | readonly string[],
  options: RunOptions,
): Promise<Float32Array> {
  const rows: Float32Array[] = [];
  for (const target of targets) {
    if (neutral !== undefined) {
      rows.push(
        (await clip.direction({ target, neutral: checkString(neutral, 'neutral'), templates, ...options })).direction,
      );
      continue;
    }
    const list = templates === 'imagenet' ? IMAGENET_TEMPLATES : templates === 'none' ? ['{}'] : templates;
    const bad = list.find((template) => !template.includes('{}'));
    if (bad !== undefined) fail('ARGUMENT', `the template "${bad}" has no {}`, 'Put {} where the text goes.');
    const texts = list.map((template) => fillTemplate(template, target));
    const { data, shape } = await clip.encodeText(texts, { normalize: true, ...options });
    const dim = shape[1];
    const mean = new Float32Array(dim);
    data.forEach((value, i) => (mean[i % dim]! += value / list.length));
    const length = Math.hypot(...mean);
    if (!(length > 0)) fail('NOT_FINITE', `the text "${target}" has no embedding`, 'Check the CLIP model.');
    rows.push(mean.map((value) => value / length));
  }
  const dim = rows[0]!.length;
  const all = new Float32Array(rows.length * dim);
  rows.forEach((row, i) => all.set(row, i * dim));
  return all;
}

/**
 * How far along the direction from a neutral text a picture's aim lies; 0 where there is no such aim.
 *
 * @param given the option, or undefined: then the preset's, where there can be one
 * @param unfit why the run can have none, but for a neutral text that is missing
 */
export function shiftOf(given: unknown, preset: number, neutral: unknown, unfit: string | undefined): number {
  const without = neutral === undefined ? 'without neutral' : unfit;
  const shift = checkNumber(given ?? (without === undefined ? preset : 0), 'shift', 0, 1000);
  if (shift > 0 && without !== undefined) {
    fail(
      'ARGUMENT',
      `shift is given ${without}`,
      'It is how far a picture, as CLIP was trained to see it, goes from neutral to target: leave it out.',
    );
  }
  return shift;
}

/**
 * [pictures × texts, dim], picture-major, unit rows: unit(e + shift · t), e a picture's unit embedding, t an aim of
 * {@link textAims}.
 */
export function shiftedAims(aims: Float32Array, dim: number, pictures: Float32Array, shift: number): Float32Array {
  const texts = aims.length / dim;
  const all = new Float32Array((pictures.length / dim) * aims.length);
  for (let row = 0; row < all.length / dim; row++) {
    const [picture, text] = [Math.floor(row / texts) * dim, (row % texts) * dim];
    const aim = Float64Array.from({ length: dim }, (_, c) => pictures[picture + c]! + shift * aims[text + c]!);
    const length = Math.hypot(...aim);
    if (!(length > 0)) {
      fail('NOT_FINITE', 'a picture has no aim: Δt cancels its embedding', 'Pass another shift.');
    }
    all.set(
      aim.map((value) => value / length),
      row * dim,
    );
  }
  return all;
}
