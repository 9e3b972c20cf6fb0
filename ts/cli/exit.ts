/*
 * Exit codes: what a shell script learns about how a command ended. They follow the error's code, so that a script that
 * reads only the number and a program that reads the JSON agree.
 */
import { CommanderError } from 'commander';
import { StyleClipError, type ErrorName } from '../errors.js';

/** Every code that this command line ends with (5, "some items of a batch failed", comes with `batch`). */
export const EXIT = {
  done: 0,
  /** A bug: something that this package should have caught. */
  unexpected: 1,
  usage: 2,
  input: 3,
  environment: 4,
  interrupted: 130,
  terminated: 143,
} as const;

/** The reason that running calls are aborted with when the process is asked to stop. */
export class Interrupted extends Error {
  override readonly name = 'AbortError';
  readonly code = 'ABORT_ERR';
  readonly remedy = 'Run the same command again; what was finished and written stays.';

  readonly signal: 'SIGINT' | 'SIGTERM';

  constructor(signal: 'SIGINT' | 'SIGTERM') {
    super(`interrupted by ${signal}`);
    this.signal = signal;
  }
}

const CODES: Record<ErrorName, number> = {
  ARGUMENT: EXIT.usage,
  RANGE: EXIT.usage,
  SHAPE: EXIT.input,
  TRUST: EXIT.input,
  FILE_NOT_FOUND: EXIT.input,
  FILE_EXISTS: EXIT.input,
  FILE_DAMAGED: EXIT.input,
  FORMAT_UNKNOWN: EXIT.input,
  FORMAT_VERSION: EXIT.input,
  MODEL_KIND: EXIT.input,
  MODEL_MISMATCH: EXIT.input,
  EMPTY_SELECTION: EXIT.input,
  NOT_FINITE: EXIT.input,
  RESUME_MISMATCH: EXIT.input,
  PLATFORM: EXIT.environment,
  ALREADY_LOADED: EXIT.environment,
  LIBTORCH_NOT_FOUND: EXIT.environment,
  LIBTORCH_VERSION: EXIT.environment,
  ADDON_NOT_FOUND: EXIT.environment,
  DEVICE: EXIT.environment,
  OUT_OF_MEMORY: EXIT.environment,
  DISK: EXIT.environment,
  CLOSED: EXIT.unexpected,
  INTERNAL: EXIT.unexpected,
};

/** The exit code that belongs to an error. */
export function exitCodeOf(error: unknown): number {
  if (error instanceof Interrupted) return error.signal === 'SIGINT' ? EXIT.interrupted : EXIT.terminated;
  if (error instanceof CommanderError) return error.exitCode === 0 ? EXIT.done : EXIT.usage;
  if (!StyleClipError.is(error)) return EXIT.unexpected;
  const name = error.code.slice('ERR_STYLECLIP_'.length);
  return name in CODES ? CODES[name as ErrorName] : EXIT.unexpected;
}

/** An error as `--json` prints it. */
export interface ErrorReport {
  code: string;
  message: string;
  remedy: string;
}

/** What a user is told of an error. */
export function describeError(error: unknown): ErrorReport {
  if (error instanceof Interrupted || StyleClipError.is(error)) {
    return { code: error.code, message: error.message, remedy: error.remedy };
  }
  if (error instanceof CommanderError) {
    return {
      code: 'ERR_STYLECLIP_ARGUMENT',
      message: error.message.replace(/^error: /, ''),
      remedy: 'See `styleclip help` and `styleclip <command> --help`.',
    };
  }
  return {
    code: 'ERR_STYLECLIP_INTERNAL',
    message: error instanceof Error ? error.message : String(error),
    remedy: 'This is a bug: run again with --verbose and report what it prints.',
  };
}
