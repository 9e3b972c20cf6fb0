/*
 * How the binding makes calls: errors translated, progress coalesced, abort, order, turns between threads. One test at a
 * time, since they share the queue; endless jobs are stopped in a teardown, or they would hold up every other file.
 */
import { once } from 'node:events';
import { Worker } from 'node:worker_threads';
import test from 'ava';
import type { NativeProgress } from '../dist/native.js';
import { runNative } from '../dist/signals.js';
import { rejection, testAddon } from './helpers/addon.js';

const addon = testAddon();
/** A job that is stopped before it ends: a quarter of an hour. */
const ENDLESS = { iterations: 100_000, size: 32 };
/** About 10 ms. */
const SHORT = { iterations: 1, size: 32 };

/** Resolves when a job that was given the listener runs. */
function whenRunning(): { onProgress: () => void; running: Promise<void> } {
  let onProgress = (): void => undefined;
  const running = new Promise<void>((resolve) => (onProgress = resolve));
  return { onProgress: () => onProgress(), running };
}

test.serial('versions are those of the package and of libtorch', (t) => {
  t.regex(addon.versions.styleclip, /^\d+\.\d+\.\d+/);
  t.is(addon.versions.torch, addon.versions.builtTorch);
  t.true(addon.versions.napi >= 9);
});

test.serial('every kind of native exception becomes a plain error with code, remedy and cause', async (t) => {
  const expected = {
    c10: ['ERR_STYLECLIP_INTERNAL', /a failure of libtorch/],
    std: ['ERR_STYLECLIP_INTERNAL', /a failure of the standard library/],
    memory: ['ERR_STYLECLIP_OUT_OF_MEMORY', /bad_alloc/],
    foreign: ['ERR_STYLECLIP_INTERNAL', /^$/],
    error: ['ERR_STYLECLIP_RANGE', /^$/],
  } as const;
  for (const kind of ['c10', 'std', 'memory', 'foreign', 'error'] as const) {
    const error = await rejection(addon.testFailure(kind, {}));
    const [code, cause] = expected[kind];
    t.is(error.code, code);
    t.regex(error.causeText, cause);
    t.true(error.message.length > 0 && !error.message.includes('\n'), error.message);
    t.notRegex(error.message, /Exception raised from|frame #/);
    t.true(error.remedy.length > 0);
  }
});

test.serial(
  'progress is coalesced, in order, ends at the total, and never comes after the promise settled',
  async (t) => {
    const iterations = 60;
    const seen: NativeProgress[] = [];
    let settled = false;
    let late = false;
    await addon.testJob(
      { iterations, size: 32 },
      {
        onProgress: (progress) => {
          late ||= settled;
          seen.push(progress);
          if (seen.length > 1) return;
          // Many reports fall into this pause; the newest one is kept.
          const until = performance.now() + 300;
          while (performance.now() < until);
        },
      },
    );
    settled = true;
    await new Promise((resolve) => setTimeout(resolve, 100));
    t.false(late);
    const done = seen.map((progress) => progress.done);
    t.deepEqual(
      done,
      [...done].sort((a, b) => a - b),
    );
    t.is(done.at(-1), iterations);
    t.true(done[1]! - done[0]! > 2, `the first reports were ${done[0]} and ${done[1]}`);
    for (const progress of seen) {
      t.is(progress.total, iterations);
      t.is(progress.unit, 'iterations');
      t.true(progress.rate > 0);
    }
  },
);

test.serial('what onProgress throws stops the call, which rejects with it', async (t) => {
  for (const thrown of [new Error('mine'), 'a string', undefined]) {
    const listener = (): never => {
      throw thrown;
    };
    const outcome = await addon.testJob(ENDLESS, { onProgress: listener }).then(
      () => 'resolved',
      (e: unknown) => ({ thrown: e }),
    );
    t.deepEqual(outcome, { thrown });
  }
});

test.serial('abort stops the running call within a batch, and the queued ones at once', async (t) => {
  const cancel = addon.createCancel();
  t.teardown(() => cancel.abort());
  const { onProgress, running } = whenRunning();
  const first = rejection(addon.testJob(ENDLESS, { cancel, onProgress }));
  const queued = Array.from({ length: 200 }, async () => rejection(addon.testJob(ENDLESS, { cancel })));
  const other = addon.testJob(SHORT, {});
  await running;
  t.is(addon.pending(), 202);
  const began = performance.now();
  cancel.abort();
  t.is(addon.pending(), 2);
  for (const error of await Promise.all(queued)) t.is(error.code, 'ABORTED');
  t.is((await first).code, 'ABORTED');
  t.true(performance.now() - began < 5000);
  t.true((await other) > 0);
  cancel.abort();
  t.is((await rejection(addon.testJob(SHORT, { cancel }))).code, 'ABORTED');
  t.is(addon.pending(), 0);
});

test.serial('calls settle in the order in which they were made, also beyond the places of the queue', async (t) => {
  const order: number[] = [];
  const calls = Array.from({ length: 150 }, async (_, i) =>
    addon.testJob({ iterations: 1, size: 2 }, {}).then(() => order.push(i)),
  );
  await Promise.all(calls);
  t.deepEqual(
    order,
    Array.from({ length: 150 }, (_, i) => i),
  );
});

test.serial('another thread gets its turn after one call, however many are queued here', async (t) => {
  const worker = new Worker(new URL('../test/fixtures/binding-worker.mjs', import.meta.url), { workerData: SHORT });
  await once(worker, 'message');
  const cancel = addon.createCancel();
  t.teardown(() => cancel.abort());
  let settled = 0;
  const calls = Array.from({ length: 300 }, async () =>
    addon.testJob({ iterations: 10, size: 32 }, { cancel }).then(
      () => (settled += 1),
      () => undefined,
    ),
  );
  worker.postMessage('go');
  const [norm] = (await once(worker, 'message')) as [number];
  const behind = settled;
  cancel.abort();
  await Promise.all(calls);
  await worker.terminate();
  t.true(norm > 0);
  t.true(behind < 30, `${behind} calls of this thread came first`);
});

test.serial('one signal over 1000 calls: no listener warning, no listener left, its own reason', async (t) => {
  const warnings: Error[] = [];
  const onWarning = (warning: Error): void => void warnings.push(warning);
  process.on('warning', onWarning);
  const controller = new AbortController();
  const { signal } = controller;
  const call = async (options: { iterations: number; size: number }): Promise<number> =>
    runNative(
      { signal },
      () => addon.createCancel(),
      async (run) => addon.testJob(options, run),
    );
  await Promise.all(Array.from({ length: 1000 }, async () => call({ iterations: 1, size: 2 })));

  const endless = Array.from({ length: 1000 }, async () => rejection(call(ENDLESS)));
  const reason = new Error('enough');
  setTimeout(() => controller.abort(reason), 50);
  for (const error of await Promise.all(endless)) t.is(error as Error, reason);
  await new Promise((resolve) => setImmediate(resolve));
  process.off('warning', onWarning);
  t.deepEqual(
    warnings.map((warning) => warning.message),
    [],
  );
});
