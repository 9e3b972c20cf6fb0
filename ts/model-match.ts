// Data carry the sha256 of the model they were made with. Using them with another one gives pictures that look like
// a bug of the method, so it is refused unless asked for.

import { fail } from './check.js';

/** `ERR_STYLECLIP_MODEL_MISMATCH` when both hashes are known and differ, unless `force`. */
export function checkMatch(what: string, of: string | undefined, model: string, file: string, force: boolean): void {
  if (force || of === undefined || of === '' || of === model) return;
  fail(
    'MODEL_MISMATCH',
    `${what} belongs to the model with sha256 ${of.slice(0, 12)}…, not to ${file} (${model.slice(0, 12)}…)`,
    'Make it with this model, load the model it was made with, or pass { force: true } if you know that they fit.',
  );
}
