/*
 * The addon's raw interface in a test, with its internal test hooks (binding/test_hooks.cpp).
 */
import { loadNative } from '../../dist/load.js';
import type { NativeAddon, NativeRun } from '../../dist/native.js';

export interface TestAddon extends NativeAddon {
  /** Convolutions with backward passes; resolves to the norm of the last gradient. */
  testJob(options: { iterations: number; size: number }, run: NativeRun): Promise<number>;
  /** Throws an exception of that kind on the device thread. */
  testFailure(kind: 'c10' | 'std' | 'memory' | 'foreign' | 'error', run: NativeRun): Promise<never>;
}

export function testAddon(): TestAddon {
  process.env['STYLECLIP_TEST_HOOKS'] = '1';
  const addon = loadNative() as TestAddon;
  addon.configure({ threads: 1 });
  return addon;
}

/** What a rejected native call carries. */
export interface NativeError extends Error {
  code: string;
  remedy: string;
  causeText: string;
}

/** The error that a promise rejects with. */
export async function rejection(promise: Promise<unknown>): Promise<NativeError> {
  const outcome = await promise.then(
    (value) => ({ value }),
    (error: unknown) => ({ error }),
  );
  if ('error' in outcome) return outcome.error as NativeError;
  throw new Error('the call did not reject', { cause: outcome.value });
}
