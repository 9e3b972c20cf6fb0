// Settings of the process: which device models go to when they name none, how many threads, where log lines go, which
// libtorch. Set once, before the first model; the environment variables serve where code cannot.

import { checkInteger, checkOptions, checkPath, checkString, fail, show } from './check.js';
import type { Device } from './types.js';

/** What {@link configure} takes as a logger: `console` and pino fit. */
export interface Logger {
  debug(message: string): void;
  info(message: string): void;
  warn(message: string): void;
  error(message: string): void;
}

/** Options of {@link configure}. */
export interface ConfigureOptions {
  /** For models loaded without one. Default: `STYLECLIP_DEVICE`, else `'auto'`. */
  device?: Device | undefined;
  /**
   * Threads of libtorch on the CPU, 1..1024, for the whole process: the first thread to load the native part decides.
   * Default: `STYLECLIP_THREADS`, else libtorch's own choice (the number of physical cores).
   */
  threads?: number | undefined;
  /** Takes warnings and remarks of this thread's calls. Default: nothing is logged anywhere. */
  logger?: Logger | undefined;
  /** Folder of libtorch (the one that has `lib/`). Default: `STYLECLIP_LIBTORCH`, `LIBTORCH`, then the user's cache. */
  libtorch?: string | undefined;
}

/** What is in force, and whether the native part has already been loaded with it. */
interface Settings {
  device: Device | undefined;
  threads: number | undefined;
  logger: Logger | undefined;
  libtorch: string | undefined;
  inUse: boolean;
}

const settings: Settings = {
  device: undefined,
  threads: undefined,
  logger: undefined,
  libtorch: undefined,
  inUse: false,
};

/**
 * Sets this thread's defaults; call it before the first model is loaded. `logger` may be changed at any time.
 *
 * @throws StyleClipError `ARGUMENT` or `RANGE` for a bad option; `ARGUMENT` when the native part is already loaded and
 *   `device`, `threads` or `libtorch` would change.
 */
export function configure(options: ConfigureOptions): void {
  const given = checkOptions(options, ['device', 'threads', 'logger', 'libtorch'], 'configure');
  const device = given.device === undefined ? undefined : checkDevice(given.device);
  const threads = given.threads === undefined ? undefined : checkInteger(given.threads, 'threads', 1, 1024);
  const libtorch = given.libtorch === undefined ? undefined : checkPath(given.libtorch, 'libtorch');
  const logger = given.logger === undefined ? undefined : checkLogger(given.logger);
  if (settings.inUse) {
    const changed = [
      device !== undefined && device !== settings.device && 'device',
      threads !== undefined && threads !== settings.threads && 'threads',
      libtorch !== undefined && libtorch !== settings.libtorch && 'libtorch',
    ].filter((name) => name !== false);
    if (changed.length > 0) {
      fail(
        'ARGUMENT',
        `configure(): ${changed.join(', ')} cannot be changed after the first use of the package`,
        'Call configure() before the first model is loaded.',
      );
    }
  }
  settings.device = device ?? settings.device;
  settings.threads = threads ?? settings.threads;
  settings.libtorch = libtorch ?? settings.libtorch;
  settings.logger = logger ?? settings.logger;
}

/** `'cpu'`, `'auto'`, `'cuda'`, `'cuda:0'` …; anything else is an ARGUMENT error. */
export function checkDevice(value: unknown, name = 'device'): Device {
  const text = checkString(value, name);
  if (!/^(auto|cpu|cuda(:\d{1,3})?)$/.test(text)) {
    fail('DEVICE', `${name} is ${show(text)}`, "Use 'auto', 'cpu', 'cuda' or 'cuda:0', 'cuda:1', …");
  }
  return text as Device;
}

function checkLogger(value: unknown): Logger {
  const methods = ['debug', 'info', 'warn', 'error'] as const;
  const logger = value as Partial<Record<string, unknown>> | null;
  if (logger === null || typeof logger !== 'object' || methods.some((m) => typeof logger[m] !== 'function')) {
    fail(
      'ARGUMENT',
      `logger must have debug, info, warn and error, not ${show(value)}`,
      'Pass console, or a pino logger.',
    );
  }
  return value as Logger;
}

/** The device of models that name none. */
export function defaultDevice(): Device {
  if (settings.device !== undefined) return settings.device;
  const text = process.env['STYLECLIP_DEVICE'];
  return text === undefined || text === '' ? 'auto' : checkDevice(text, 'STYLECLIP_DEVICE');
}

/** Threads for libtorch; 0: its own choice. */
export function defaultThreads(): number {
  if (settings.threads !== undefined) return settings.threads;
  const text = process.env['STYLECLIP_THREADS'];
  return text === undefined || text === '' ? 0 : checkInteger(Number(text), 'STYLECLIP_THREADS', 1, 1024);
}

/** The folder given to {@link configure}. */
export function libtorchOption(): string | undefined {
  return settings.libtorch;
}

/** Marks the settings as used by the native part. */
export function settingsUsed(): void {
  settings.inUse = true;
}

/** Tells the logger, if there is one; a logger that throws is the caller's matter and never breaks a call. */
export function log(level: keyof Logger, message: string): void {
  try {
    settings.logger?.[level](message);
  } catch {
    // A broken logger must not fail the work that it reports on.
  }
}
