/*
 * Runs the built command line as a child process, in a folder of its own.
 */
import { spawn, type ChildProcess } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const MAIN = fileURLToPath(new URL('../../dist/cli/main.js', import.meta.url));

/** How a command ended. */
export interface Ended {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly stdout: string;
  readonly stderr: string;
}

export interface RunSettings {
  readonly cwd: string;
  readonly env?: Record<string, string>;
  /** Bytes for standard input; without them it is closed. */
  readonly input?: Uint8Array;
  /** Sees the process and every piece of its stdout. */
  readonly watch?: (child: ChildProcess, stdout: string) => void;
  /** Sees the process when it has been started. */
  readonly started?: (child: ChildProcess) => void;
}

/** Two processes at a time: AVA starts all tests of a file together, and a machine may have two cores. */
const AT_ONCE = 2;
let running = 0;
const waiting: (() => void)[] = [];

/** Runs `styleclip` with arguments; never rejects because of how it ends. */
export async function styleclip(args: readonly string[], settings: RunSettings): Promise<Ended> {
  while (running >= AT_ONCE) await new Promise<void>((resolve) => waiting.push(resolve));
  running++;
  try {
    return await start(args, settings);
  } finally {
    running--;
    waiting.shift()?.();
  }
}

async function start(args: readonly string[], settings: RunSettings): Promise<Ended> {
  const inherited = Object.entries(process.env).filter(
    ([name]) => !/^(STYLECLIP_DEVICE|STYLECLIP_THREADS|STYLECLIP_LOG|NO_COLOR|NODE_V8_COVERAGE)$/.test(name),
  );
  const child = spawn(process.execPath, [MAIN, ...args], {
    cwd: settings.cwd,
    env: { ...Object.fromEntries(inherited), ...settings.env },
    stdio: 'pipe',
  });
  settings.started?.(child);
  let stdout = '';
  let stderr = '';
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    stdout += text;
    settings.watch?.(child, stdout);
  });
  child.stderr.setEncoding('utf8').on('data', (text: string) => (stderr += text));
  // A command that does not read its input may be gone before all of it is written.
  child.stdin.on('error', () => undefined).end(settings.input ?? new Uint8Array());
  return new Promise((resolve, reject) => {
    child.on('error', reject);
    child.on('close', (code, signal) => resolve({ code, signal, stdout, stderr }));
  });
}

/** A new folder; `remove` takes it away. */
export async function temporaryFolder(): Promise<{ path: string; remove: () => Promise<void> }> {
  const path = await mkdtemp(join(tmpdir(), 'styleclip-test-'));
  return { path, remove: async () => rm(path, { recursive: true, force: true }) };
}
