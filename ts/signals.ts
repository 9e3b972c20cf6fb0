// How every asynchronous native call is made: abort and progress wired up, errors translated, nothing left behind.
//
// A signal may be shared by thousands of calls, so there is one listener a signal, not one a call: a registry (weak, by
// signal) holds the cancel handles of the calls now running under it, and the listener goes when the last one ends.

import { StyleClipError, type ErrorCode } from './errors.js';
import { fail, show } from './check.js';
import type { NativeCancel, NativeProgress, NativeRun } from './native.js';
import type { Progress, RunOptions } from './types.js';

interface Watch {
  readonly cancels: Set<NativeCancel>;
  readonly listener: () => void;
}

const watches = new WeakMap<AbortSignal, Watch>();

/** Calls `cancel.abort()` when the signal aborts, until the returned function is called. */
export function watchSignal(signal: AbortSignal, cancel: NativeCancel): () => void {
  let watch = watches.get(signal);
  if (watch === undefined) {
    const cancels = new Set<NativeCancel>();
    const listener = (): void => {
      for (const each of cancels) each.abort();
    };
    watch = { cancels, listener };
    watches.set(signal, watch);
    signal.addEventListener('abort', listener, { once: true });
  }
  const { cancels, listener } = watch;
  cancels.add(cancel);
  return () => {
    cancels.delete(cancel);
    if (cancels.size > 0 || watches.get(signal)?.cancels !== cancels) return;
    watches.delete(signal);
    signal.removeEventListener('abort', listener);
  };
}

/** Checks `signal` and `onProgress`; throws `signal.reason` when it is already aborted. */
export function checkRun(options: RunOptions): void {
  const { signal, onProgress } = options;
  if (onProgress !== undefined && typeof onProgress !== 'function') {
    fail('ARGUMENT', `onProgress must be a function, not ${show(onProgress)}`, 'Pass a function, or leave it out.');
  }
  if (signal === undefined) return;
  if (!(signal instanceof AbortSignal)) {
    fail(
      'ARGUMENT',
      `signal must be an AbortSignal, not ${show(signal)}`,
      'Pass controller.signal of an AbortController.',
    );
  }
  signal.throwIfAborted();
}

/**
 * Makes one native call under the caller's signal and progress callback.
 *
 * @param createCancel the addon's `createCancel`
 * @param call starts the work; gets what the addon takes as `run`
 * @returns what the call resolves to; rejects with `signal.reason` after an abort, with what `onProgress` threw if it
 *   did (the work is stopped then), else with a StyleClipError
 */
export async function runNative<T>(
  options: RunOptions,
  createCancel: () => NativeCancel,
  call: (run: NativeRun) => Promise<T>,
): Promise<T> {
  checkRun(options);
  const { signal, onProgress } = options;
  if (signal === undefined && onProgress === undefined) {
    try {
      return await call({});
    } catch (e) {
      throw nativeError(e);
    }
  }
  const cancel = createCancel();
  const unwatch = signal === undefined ? undefined : watchSignal(signal, cancel);
  const thrown: unknown[] = [];
  const run: NativeRun = { cancel };
  if (onProgress !== undefined) {
    run.onProgress = (report) => {
      if (thrown.length > 0 || signal?.aborted === true) return;
      try {
        onProgress(publicProgress(report));
      } catch (e) {
        thrown.push(e);
        cancel.abort();
      }
    };
  }
  try {
    const result = await call(run);
    if (thrown.length > 0) throw thrown[0];
    return result;
  } catch (e) {
    if (thrown.length > 0) throw thrown[0];
    if (signal?.aborted === true && isAborted(e)) throw signal.reason;
    throw nativeError(e);
  } finally {
    unwatch?.();
  }
}

function publicProgress(report: NativeProgress): Progress {
  const { phase, done, total, unit, rate, secondsLeft, detail } = report;
  const progress: Progress = { phase, done, total, unit, rate };
  if (Number.isFinite(secondsLeft)) progress.secondsLeft = secondsLeft;
  if (Object.keys(detail).length > 0) progress.detail = { ...detail };
  return progress;
}

function isAborted(e: unknown): boolean {
  return e instanceof Error && 'code' in e && e.code === 'ABORTED';
}

/** What the addon threw or rejected with, as a StyleClipError. */
export function nativeError(e: unknown): StyleClipError {
  if (e instanceof StyleClipError) return e;
  if (StyleClipError.is(e)) {
    const { code, message, remedy, cause } = e as StyleClipError;
    const text = (e as { causeText?: unknown }).causeText;
    const below = typeof text === 'string' && text !== '' ? new Error(text) : cause;
    return new StyleClipError(code as ErrorCode, message, below === undefined ? { remedy } : { remedy, cause: below });
  }
  const message = e instanceof Error ? e.message : String(e);
  return new StyleClipError('INTERNAL', `the native part failed: ${message}`, {
    remedy: 'Please report this as a bug, with the text in `cause`.',
    cause: e,
  });
}
