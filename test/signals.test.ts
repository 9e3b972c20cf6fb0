/*
 * Abort and progress, on calls that are stand-ins for the addon's: one listener a signal whatever the number of calls,
 * nothing left behind, the reason itself as the rejection.
 */
import { getEventListeners } from 'node:events';
import { setImmediate } from 'node:timers/promises';
import test from 'ava';
import { StyleClipError, type Progress } from '../dist/index.js';
import type { NativeCancel, NativeProgress, NativeRun } from '../dist/native.js';
import { nativeError, runNative } from '../dist/signals.js';

/** A call that ends when it is told to, or rejects like the addon once it is cancelled. */
class Job {
  readonly cancel: NativeCancel = {
    abort: () => this.#reject(Object.assign(new Error('stopped'), { code: 'ABORTED', remedy: '' })),
  };
  aborts = 0;
  run: NativeRun = {};
  #resolve: (value: string) => void = () => undefined;
  #reject: (error: Error) => void = () => undefined;

  create = (): NativeCancel => ({
    abort: () => {
      this.aborts++;
      this.cancel.abort();
    },
  });

  call = async (run: NativeRun): Promise<string> => {
    this.run = run;
    return new Promise((resolve, reject) => {
      this.#resolve = resolve;
      this.#reject = reject;
    });
  };

  finish(): void {
    this.#resolve('done');
  }

  fail(error: Error): void {
    this.#reject(error);
  }
}

const REPORT: NativeProgress = {
  phase: 'sweep',
  done: 1,
  total: 2,
  unit: 'channels',
  rate: 3,
  secondsLeft: NaN,
  detail: {},
};

test('1000 calls on one signal: one listener, none at the end, no warning', async (t) => {
  const warnings: Error[] = [];
  const collect = (w: Error): void => void warnings.push(w);
  process.on('warning', collect);
  t.teardown(() => process.off('warning', collect));
  const { signal } = new AbortController();
  const jobs = Array.from({ length: 1000 }, () => new Job());
  const running = jobs.map(async (job) => runNative({ signal }, job.create, job.call));
  t.is(getEventListeners(signal, 'abort').length, 1);
  for (const job of jobs) job.finish();
  t.is((await Promise.all(running)).filter((r) => r === 'done').length, 1000);
  t.is(getEventListeners(signal, 'abort').length, 0);
  for (let i = 0; i < 1000; i++) {
    const job = new Job();
    const one = runNative({ signal }, job.create, job.call);
    job.finish();
    await one;
  }
  t.is(getEventListeners(signal, 'abort').length, 0);
  await setImmediate();
  t.deepEqual(warnings, []);
});

test('an abort stops every call of the signal, and only those', async (t) => {
  const controller = new AbortController();
  const [first, second, other] = [new Job(), new Job(), new Job()];
  const running = [first, second].map(async (job) => runNative({ signal: controller.signal }, job.create, job.call));
  const apart = runNative({ signal: new AbortController().signal }, other.create, other.call);
  const reason = new TypeError('enough');
  controller.abort(reason);
  for (const one of running) t.is(await t.throwsAsync(one, { any: true }), reason);
  t.deepEqual([first.aborts, second.aborts, other.aborts], [1, 1, 0]);
  other.finish();
  t.is(await apart, 'done');
  t.is(getEventListeners(controller.signal, 'abort').length, 0);
});

test('without a reason it rejects with an AbortError', async (t) => {
  const controller = new AbortController();
  const job = new Job();
  const running = runNative({ signal: controller.signal }, job.create, job.call);
  controller.abort();
  const e = await t.throwsAsync(running, { any: true });
  t.is((e as Error).name, 'AbortError');
  t.false(StyleClipError.is(e));
});

test('a signal that is aborted already: the call is never made', async (t) => {
  const job = new Job();
  let made = 0;
  const call = async (run: NativeRun): Promise<string> => {
    made++;
    return job.call(run);
  };
  const e = await t.throwsAsync(runNative({ signal: AbortSignal.abort('early') }, job.create, call), { any: true });
  t.is(e as unknown, 'early');
  t.is(made, 0);
});

test('a call that ended before the abort reached it keeps its result', async (t) => {
  const controller = new AbortController();
  const job = new Job();
  const running = runNative({ signal: controller.signal }, job.create, job.call);
  job.finish();
  controller.abort();
  t.is(await running, 'done');
});

test('a failure during an abort is still a failure', async (t) => {
  const controller = new AbortController();
  const job = new Job();
  const running = runNative({ signal: controller.signal }, () => ({ abort: () => undefined }), job.call);
  controller.abort();
  job.fail(
    Object.assign(new Error('no memory'), {
      code: 'ERR_STYLECLIP_OUT_OF_MEMORY',
      remedy: 'less',
      causeText: 'bad_alloc',
    }),
  );
  const e = await t.throwsAsync(running, { instanceOf: StyleClipError });
  t.is(e?.code, 'ERR_STYLECLIP_OUT_OF_MEMORY');
  t.is((e.cause as Error).message, 'bad_alloc');
});

test('progress is handed on; what is not known yet is absent', async (t) => {
  const seen: Progress[] = [];
  const job = new Job();
  const running = runNative({ onProgress: (p) => seen.push(p) }, job.create, job.call);
  job.run.onProgress?.(REPORT);
  job.run.onProgress?.({ ...REPORT, secondsLeft: 4, detail: { loss: 0.5 } });
  job.finish();
  await running;
  t.deepEqual(seen, [
    { phase: 'sweep', done: 1, total: 2, unit: 'channels', rate: 3 },
    { phase: 'sweep', done: 1, total: 2, unit: 'channels', rate: 3, secondsLeft: 4, detail: { loss: 0.5 } },
  ]);
});

test('an exception of onProgress stops the call, which rejects with it', async (t) => {
  const job = new Job();
  const mine = new RangeError('mine');
  let calls = 0;
  const onProgress = (): never => {
    calls++;
    throw mine;
  };
  const running = runNative({ onProgress }, job.create, job.call);
  job.run.onProgress?.(REPORT);
  job.run.onProgress?.(REPORT);
  t.is(await t.throwsAsync(running, { any: true }), mine);
  t.is(calls, 1);
  t.is(job.aborts, 1);
});

test('signal and onProgress of the wrong type', async (t) => {
  const job = new Job();
  for (const options of [{ signal: {} }, { signal: null }, { onProgress: 1 }] as object[]) {
    const e = await t.throwsAsync(runNative(options, job.create, job.call), { instanceOf: StyleClipError });
    t.is(e?.code, 'ERR_STYLECLIP_ARGUMENT');
  }
});

test('what is no error of ours is a bug of ours', (t) => {
  const e = nativeError(new TypeError('x is not a function'));
  t.is(e.code, 'ERR_STYLECLIP_INTERNAL');
  t.true(e.cause instanceof TypeError);
  const known = new StyleClipError('SHAPE', 'm', { remedy: 'r' });
  t.is(nativeError(known), known);
});
