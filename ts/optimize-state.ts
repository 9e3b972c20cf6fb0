// A latent optimisation on the disk: everything that it goes on from, in one .safetensors file, with the settings that it
// belongs to.

import { createHash } from 'node:crypto';
import { stat } from 'node:fs/promises';
import { fail } from './check.js';
import { readSafetensors, writeSafetensors, type SafetensorsTensor } from './files/safetensors.js';
import type { NativeOptimizerState, NativeTensor } from './native.js';

const FORMAT = 'styleclip.optimization';
const FLOATS = ['point', 'firstMoment', 'secondMoment', 'best'] as const;
const DOUBLES = ['bestTotal', 'curves', 'mark'] as const;
const INTEGERS = ['bestStep', 'reason'] as const;

/** What makes a run the same run: its settings by name, and digests of what is too long to show. */
export type RunIdentity = Readonly<Record<string, unknown>>;

/** Digest of numbers, for a {@link RunIdentity}. */
export function digest(data: Float32Array): string {
  return createHash('sha256')
    .update(new Uint8Array(data.buffer, data.byteOffset, data.byteLength))
    .digest('hex');
}

export async function saveState(file: string, state: NativeOptimizerState, run: RunIdentity): Promise<void> {
  const { step, ...tensors } = state;
  const metadata = { format: FORMAT, version: '1', step: String(step), run: JSON.stringify(run) };
  await writeSafetensors(file, tensors, metadata);
}

/**
 * The state in a file, or undefined where there is none.
 *
 * @throws StyleClipError `RESUME_MISMATCH` naming the setting in which its run differs; `FILE_DAMAGED`, `FORMAT_VERSION`
 */
export async function loadState(file: string, run: RunIdentity): Promise<NativeOptimizerState | undefined> {
  if ((await stat(file).catch(() => undefined)) === undefined) return undefined;
  const { tensors, metadata } = await readSafetensors(file);
  const damaged = (why: string): never => fail('FILE_DAMAGED', `${file} ${why}`, 'Remove it to start anew.');
  if (metadata['format'] !== FORMAT) damaged('is no state of an optimization');
  if (metadata['version'] !== '1') {
    fail('FORMAT_VERSION', `${file} has version ${metadata['version']}`, 'Read it with the styleclip that wrote it.');
  }
  const there = parseRun(metadata['run']) ?? damaged('does not say what it belongs to');
  for (const key of new Set([...Object.keys(run), ...Object.keys(there)])) {
    const [here, before] = [JSON.stringify(run[key]), JSON.stringify(there[key])];
    if (here === before) continue;
    fail(
      'RESUME_MISMATCH',
      `${file} is of a run with ${key} ${before ?? 'unset'}, not ${here ?? 'unset'}`,
      'Repeat the call that began it, name another directory, or remove the file to start anew.',
    );
  }
  const take = <T>(name: string, dtype: string, make: (buffer: ArrayBuffer) => T): { data: T; shape: number[] } => {
    const tensor: SafetensorsTensor | undefined = tensors.get(name);
    if (tensor === undefined || tensor.dtype !== dtype) return damaged(`has no ${dtype} tensor '${name}'`);
    return { data: make(new Uint8Array(tensor.bytes).buffer), shape: [...tensor.shape] };
  };
  const step = Number(metadata['step']);
  if (!Number.isSafeInteger(step) || step < 0) damaged('does not say its step');
  const each = <K extends string, T>(
    names: readonly K[],
    dtype: string,
    make: (b: ArrayBuffer) => T,
  ): Record<K, { data: T; shape: number[] }> =>
    Object.fromEntries(names.map((name) => [name, take(name, dtype, make)])) as Record<K, { data: T; shape: number[] }>;
  return {
    ...each(FLOATS, 'F32', (b) => new Float32Array(b)),
    ...each(DOUBLES, 'F64', (b) => new Float64Array(b)),
    ...each(INTEGERS, 'I64', (b) => new BigInt64Array(b)),
    step,
  } satisfies Record<string, NativeTensor | number>;
}

function parseRun(text: string | undefined): Record<string, unknown> | undefined {
  try {
    const value: unknown = JSON.parse(text ?? '');
    return typeof value === 'object' && value !== null ? (value as Record<string, unknown>) : undefined;
  } catch {
    return undefined;
  }
}
