// What texts are to a loss: one vector each, which a picture's embedding is brought towards. Latent optimisation and the
// mapper's training share it.

import { checkString, fail } from './check.js';
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
