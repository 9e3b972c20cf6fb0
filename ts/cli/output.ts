/*
 * What a command prints: results on stdout, everything else on stderr. Three forms of stdout: text for people, one JSON
 * object (--json), one JSON event a line (--json-lines); with --quiet none at all.
 */
import { inspect } from 'node:util';
import { describeError, type ErrorReport } from './exit.js';
import { ProgressDisplay, type ProgressReport } from './progress.js';

/** The form of what goes to stdout. */
export type OutputForm = 'text' | 'json' | 'json-lines';

/** What a command hands back when it is done. */
export interface Outcome {
  /** Lines for people. */
  readonly text: readonly string[];
  /** The `result` of --json. */
  readonly result: Readonly<Record<string, unknown>>;
  /** A command that ran to its end but found something wrong (doctor) says so here; it decides the exit code. */
  readonly failure?: unknown;
}

/** Where output goes; `process.stdout` and `process.stderr` are such streams. */
export interface OutputStream {
  write(text: string): unknown;
  readonly isTTY?: boolean;
  readonly columns?: number;
}

/** Whether a stream gets colours: a terminal, and neither NO_COLOR (any text, no-color.org) nor TERM=dumb is set. */
export function usesColour(stream: OutputStream, env: NodeJS.ProcessEnv): boolean {
  return stream.isTTY === true && (env['NO_COLOR'] ?? '') === '' && env['TERM'] !== 'dumb';
}

const COLOURS = { red: 31, green: 32, yellow: 33, dim: 2 } as const;

/** BigInts (seeds) as strings: JSON has no whole numbers beyond 2^53. */
const toJson = (value: unknown): string =>
  JSON.stringify(value, (_key, item: unknown) => (typeof item === 'bigint' ? item.toString() : item));

/** The two output streams of one command. */
export class Output {
  readonly form: OutputForm;
  readonly #quiet: boolean;
  readonly #verbose: boolean;
  readonly #version: string;
  readonly #stdout: OutputStream = process.stdout;
  readonly #stderr: OutputStream = process.stderr;
  readonly #progress: ProgressDisplay;

  constructor(how: { form: OutputForm; quiet: boolean; verbose: boolean; version: string }) {
    this.form = how.form;
    this.#quiet = how.quiet;
    this.#verbose = how.verbose;
    this.#version = how.version;
    this.#progress = new ProgressDisplay(this.#stderr, !how.quiet);
  }

  /** Something worth knowing that is no result, on stderr. */
  note(message: string): void {
    if (this.#quiet) return;
    this.#progress.clear();
    this.#stderr.write(`${message}\n`);
  }

  /** Something that may spoil the result, on stderr. */
  warn(message: string): void {
    this.note(`${this.paint('yellow', 'warning:')} ${message}`);
  }

  /** A progress report: drawn on stderr, and an event of --json-lines. */
  report(report: ProgressReport): void {
    this.#progress.update(report);
    this.event('progress', { ...report });
  }

  /** An event of --json-lines; nothing in the other forms. */
  event(event: string, fields: Readonly<Record<string, unknown>>): void {
    if (this.form === 'json-lines' && !this.#quiet) this.#stdout.write(`${toJson({ event, ...fields })}\n`);
  }

  /** The end of a command that did what it was asked. */
  outcome(command: string, outcome: Outcome): void {
    this.#progress.clear();
    if (this.#quiet) return;
    const failed = 'failure' in outcome;
    const object = {
      ok: !failed,
      command,
      version: this.#version,
      result: outcome.result,
      ...(failed ? { error: describeError(outcome.failure) } : {}),
    };
    if (this.form === 'json') this.#stdout.write(`${toJson(object)}\n`);
    else if (this.form === 'json-lines') this.event('result', object);
    else if (outcome.text.length > 0) this.#stdout.write(`${outcome.text.join('\n')}\n`);
  }

  /** The end of a command that failed. People read it on stderr, programs on stdout. */
  failure(error: unknown): void {
    this.#progress.clear();
    const report: ErrorReport = describeError(error);
    if (this.form !== 'text' && !this.#quiet) {
      const object = { ok: false, error: report };
      this.#stdout.write(`${toJson(this.form === 'json' ? object : { event: 'error', ...object })}\n`);
    } else {
      this.#stderr.write(`${this.paint('red', 'error:')} ${report.message}\n`);
      if (report.remedy !== '') this.#stderr.write(`${this.paint('dim', 'remedy:')} ${report.remedy}\n`);
      this.#stderr.write(`${this.paint('dim', 'code:')} ${report.code}\n`);
    }
    if (this.#verbose) this.#stderr.write(`${stackOf(error)}\n`);
  }

  /** `text` in colour where stderr shows colours. */
  paint(colour: keyof typeof COLOURS, text: string): string {
    return usesColour(this.#stderr, process.env) ? `\x1b[${COLOURS[colour]}m${text}\x1b[0m` : text;
  }

  /** `text` in colour where stdout shows colours. */
  paintResult(colour: keyof typeof COLOURS, text: string): string {
    return usesColour(this.#stdout, process.env) ? `\x1b[${COLOURS[colour]}m${text}\x1b[0m` : text;
  }
}

/** The stack of an error and of everything underneath it. */
function stackOf(error: unknown): string {
  const lines: string[] = [];
  for (let e = error, depth = 0; e !== undefined && depth < 8; depth++) {
    lines.push(e instanceof Error ? (e.stack ?? e.message) : inspect(e));
    e = e instanceof Error ? e.cause : undefined;
  }
  return lines.join('\ncaused by: ');
}
