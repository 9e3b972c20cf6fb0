/* Who is how many times as fast as whom, and why that cannot be said: a null has its reason. */
import { median } from './numbers.mjs';

/** @type {Record<string, [string, string]>} times as fast: the first as the second */
export const RATIOS = {
  exactFloat32VsTorchLoop: ['exact', 'torchLoop'],
  exactFloat32VsReference: ['exact', 'reference'],
  exactBfloat16VsTorchLoop: ['exact/bfloat16', 'torchLoop'],
};

/**
 * Medians over turns of the ratio within a turn.
 * @param {Readonly<Record<string, readonly number[]>>} rates of each contender, turn by turn
 * @param {Readonly<Record<string, string>>} absent why a contender did not take part
 */
export function ratiosOf(rates, absent) {
  /** @type {Record<string, number | null>} */
  const ratios = {};
  /** @type {Record<string, string>} */
  const reasons = {};
  for (const [name, pair] of Object.entries(RATIOS)) {
    const [x, y] = pair.map((one) => rates[one]);
    ratios[name] = x && y ? median(x.map((rate, i) => rate / (y[i] ?? Number.NaN))) : null;
    if (ratios[name] !== null) continue;
    const missing = pair.filter((one) => rates[one] === undefined);
    reasons[name] = missing.map((one) => absent[one] ?? `${one} did not take part`).join('; ');
  }
  return { ratios, reasons };
}
