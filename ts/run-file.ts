// The state of a run on the disk, whatever run it is: one .safetensors file of a named format, with the settings that it
// belongs to. Latent optimisation, inversion and both trainings go on from such files.

import { createHash } from 'node:crypto';
import { stat } from 'node:fs/promises';
import { fail } from './check.js';
import { readSafetensors, type Safetensors } from './files/safetensors.js';
import type { NativeState } from './native.js';

/** What makes a run the same run: its settings by name, and digests of what is too long to show. */
export type RunIdentity = Readonly<Record<string, unknown>>;

/** Digest of numbers, for a {@link RunIdentity}. */
export function digest(data: Float32Array | Uint8Array): string {
  return createHash('sha256')
    .update(new Uint8Array(data.buffer, data.byteOffset, data.byteLength))
    .digest('hex');
}

/** What a run writes beside its tensors. */
export function runMetadata(format: string, run: RunIdentity): Record<string, string> {
  return { format, version: '1', run: JSON.stringify(run) };
}

/** Refuses a run's file for what it lacks. */
export function damagedRun(file: string, why: string): never {
  return fail('FILE_DAMAGED', `${file} ${why}`, 'Remove it to start anew.');
}

/**
 * A run's file, or undefined where there is none.
 *
 * @param what of a file of this format, for messages: `'state of an optimization'`
 * @throws StyleClipError `RESUME_MISMATCH` naming the setting in which its run differs; `FILE_DAMAGED`, `FORMAT_VERSION`
 */
export async function readRunFile(
  file: string,
  format: string,
  what: string,
  run: RunIdentity,
): Promise<Safetensors | undefined> {
  if ((await stat(file).catch(() => undefined)) === undefined) return undefined;
  const read = await readSafetensors(file);
  const { metadata } = read;
  if (metadata['format'] !== format) damagedRun(file, `is no ${what}`);
  if (metadata['version'] !== '1') {
    fail('FORMAT_VERSION', `${file} has version ${metadata['version']}`, 'Read it with the styleclip that wrote it.');
  }
  const there = parsedObject(metadata['run']) ?? damagedRun(file, 'does not say what it belongs to');
  for (const key of new Set([...Object.keys(run), ...Object.keys(there)])) {
    const [here, before] = [JSON.stringify(run[key]), JSON.stringify(there[key])];
    if (here === before) continue;
    fail(
      'RESUME_MISMATCH',
      `${file} is of a run with ${key} ${before ?? 'unset'}, not ${here ?? 'unset'}`,
      'Repeat the call that began it, name another directory, or remove the file to start anew.',
    );
  }
  return read;
}

/** All tensors of a run's file, by name. */
export function savedTensors({ tensors }: Safetensors, file: string): NativeState {
  const state: NativeState = {};
  for (const [name, { dtype, shape, bytes }] of tensors) {
    const { buffer } = new Uint8Array(bytes);
    const data =
      dtype === 'F32'
        ? new Float32Array(buffer)
        : dtype === 'F64'
          ? new Float64Array(buffer)
          : dtype === 'I64'
            ? new BigInt64Array(buffer)
            : damagedRun(file, `has a tensor '${name}' of ${dtype}`);
    state[name] = { data, shape: [...shape] };
  }
  return state;
}

/** The object that a text is the JSON of, or undefined. */
export function parsedObject(text: string | undefined): Record<string, unknown> | undefined {
  try {
    const value: unknown = JSON.parse(text ?? '');
    return typeof value === 'object' && value !== null ? (value as Record<string, unknown>) : undefined;
  } catch {
    return undefined;
  }
}
