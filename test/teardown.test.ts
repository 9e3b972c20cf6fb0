/*
 * Going away while native work runs: every way that a process or a worker can end, with a convolution and its backward
 * pass running on the device thread and a second job queued behind it. What is asked each time: the expected exit code and
 * never a signal, nothing unresolved, and no longer than about one batch.
 *
 * Each way is tried several times, since such crashes are races: 5 times here, 20 in `npm run test:soak`, which sets
 * STYLECLIP_SOAK=1. One child at a time: several would only wait for each other's cores.
 */
import { spawn } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import test from 'ava';

const CHILD = fileURLToPath(new URL('../test/fixtures/teardown-process.mjs', import.meta.url));
const RUNS = process.env['STYLECLIP_SOAK'] === '1' ? 20 : 5;
/** The work left takes a quarter of an hour; one batch takes 10 ms, the rest is the process itself on a busy machine. */
const LEAVES_WITHIN_MS = 10_000;
/** A process that does not end at all. */
const HANGS_AFTER_MS = 60_000;

/** How each way ends: an exit code, or the signal that the process sent itself with nobody listening. */
const WAYS: Record<string, number | string> = {
  natural: 0,
  pending: 0,
  exit: 7,
  'exit in a callback': 7,
  throw: 1,
  SIGINT: 'SIGINT',
  'SIGINT handled': 130,
  'worker terminated': 0,
  'worker exits': 0,
  'worker exits in a callback': 0,
  'worker throws': 0,
  'workers only': 0,
  'workers only, terminated': 0,
  'workers only, exit': 7,
};

interface Ended {
  outcome: number | string | null;
  stderr: string;
  /** From the moment it began to leave; NaN when it never said so. */
  leftAfter: number;
}

async function leave(way: string): Promise<Ended> {
  const child = spawn(process.execPath, [CHILD, way], {
    env: { ...process.env, STYLECLIP_TEST_HOOKS: '1' },
    stdio: ['ignore', 'pipe', 'pipe'],
    timeout: HANGS_AFTER_MS,
    killSignal: 'SIGKILL',
  });
  let stdout = '';
  let stderr = '';
  child.stdout.setEncoding('utf8').on('data', (text: string) => (stdout += text));
  child.stderr.setEncoding('utf8').on('data', (text: string) => (stderr += text));
  return new Promise((resolve, reject) => {
    child.on('error', reject);
    child.on('close', (code, signal) => {
      const began = Number.parseInt(stdout.trim().split('\n').at(-1) ?? '', 10);
      resolve({ outcome: signal ?? code, stderr, leftAfter: Date.now() - began });
    });
  });
}

for (const [way, expected] of Object.entries(WAYS)) {
  test.serial(`native work running: ${way}`, async (t) => {
    let slowest = 0;
    for (let run = 0; run < RUNS; run += 1) {
      const { outcome, stderr, leftAfter } = await leave(way);
      t.is(outcome, expected, `run ${run}: ${stderr}`);
      t.true(leftAfter < LEAVES_WITHIN_MS, `run ${run} took ${leftAfter} ms to leave`);
      slowest = Math.max(slowest, leftAfter);
    }
    t.log(`${RUNS} runs, left within ${slowest} ms`);
  });
}
