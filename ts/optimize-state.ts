// A latent optimisation on the disk: everything that it goes on from, in one .safetensors file, with the settings that it
// belongs to.

import { writeSafetensors, type SafetensorsTensor } from './files/safetensors.js';
import type { NativeOptimizerState, NativeTensor } from './native.js';
import { damagedRun, readRunFile, runMetadata, type RunIdentity } from './run-file.js';

const FORMAT = 'styleclip.optimization';
const FLOATS = ['point', 'firstMoment', 'secondMoment', 'best'] as const;
const DOUBLES = ['bestTotal', 'curves', 'mark'] as const;
const INTEGERS = ['bestStep', 'reason'] as const;

export async function saveState(file: string, state: NativeOptimizerState, run: RunIdentity): Promise<void> {
  const { step, ...tensors } = state;
  const metadata = { ...runMetadata(FORMAT, run), step: String(step) };
  await writeSafetensors(file, tensors, metadata);
}

/**
 * The state in a file, or undefined where there is none.
 *
 * @throws StyleClipError `RESUME_MISMATCH` naming the setting in which its run differs; `FILE_DAMAGED`, `FORMAT_VERSION`
 */
export async function loadState(file: string, run: RunIdentity): Promise<NativeOptimizerState | undefined> {
  const read = await readRunFile(file, FORMAT, 'state of an optimization', run);
  if (read === undefined) return undefined;
  const { tensors, metadata } = read;
  const damaged = (why: string): never => damagedRun(file, why);
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
