/*
 * One run of one command: its flags, its output, its abort signal, and the files it reads and writes. Commands get a
 * session and return an outcome; they neither print nor exit.
 */
import type { RunOptions } from '../types.js';
import { InputFiles } from './input.js';
import type { Outcome, Output } from './output.js';
import type { CommonFlags, SettingSource } from './settings.js';

/** What a command works with. */
export class Session implements AsyncDisposable {
  readonly input: InputFiles;

  readonly flags: CommonFlags;
  readonly settings: readonly SettingSource[];
  readonly output: Output;
  readonly signal: AbortSignal;

  constructor(flags: CommonFlags, settings: readonly SettingSource[], output: Output, signal: AbortSignal) {
    this.flags = flags;
    this.settings = settings;
    this.output = output;
    this.signal = signal;
    this.input = new InputFiles(signal);
  }

  /** What every long call takes: the signal of Ctrl-C, and the progress display. */
  get run(): RunOptions {
    return { signal: this.signal, onProgress: (progress) => this.output.report(progress) };
  }

  /** Removes what was kept only for this run. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.input.remove();
  }
}

/** Runs the work of a command within a session; what `main.ts` hands to every command. */
export type Start = (
  command: string,
  flags: CommonFlags,
  work: (session: Session) => Promise<Outcome>,
) => Promise<void>;
