/*
 * Progress on stderr: a bar that redraws itself on a terminal, a line every ten seconds anywhere else (a log file, a CI
 * job), nothing with --quiet.
 */

/** What a long call reports; the same shape as the public `Progress`. */
export interface ProgressReport {
  readonly phase: string;
  readonly done: number;
  readonly total: number;
  readonly unit: string;
  /** Units a second. */
  readonly rate: number;
  readonly secondsLeft?: number;
  /** Further figures, by name. */
  readonly detail?: Readonly<Record<string, number>>;
}

/** The part of a writable stream that is used here; `process.stderr` is one. */
export interface ProgressStream {
  write(text: string): unknown;
  readonly isTTY?: boolean;
  readonly columns?: number;
}

const BAR_WIDTH = 24;
const REDRAW_MS = 100;
const LINE_MS = 10_000;
const ERASE_LINE = '\r\x1b[2K';

/** Seconds as people say them: "8 s", "3 min 20 s", "2 h 5 min". */
export function formatSeconds(seconds: number): string {
  if (seconds < 10) return `${Number(seconds.toFixed(1))} s`;
  const whole = Math.round(seconds);
  if (whole < 60) return `${whole} s`;
  if (whole < 3600) return `${Math.floor(whole / 60)} min ${whole % 60} s`;
  return `${Math.floor(whole / 3600)} h ${Math.round((whole % 3600) / 60)} min`;
}

/** One report as text, without the bar. */
export function progressText(report: ProgressReport): string {
  const percent = report.total > 0 ? Math.floor((100 * report.done) / report.total) : 0;
  const parts = [`${report.phase} ${percent} %`, `${report.done}/${report.total} ${report.unit}`];
  if (Number.isFinite(report.rate) && report.rate > 0)
    parts.push(`${Number(report.rate.toPrecision(3))} ${report.unit}/s`);
  if (report.secondsLeft !== undefined && Number.isFinite(report.secondsLeft)) {
    parts.push(`${formatSeconds(report.secondsLeft)} left`);
  }
  for (const [name, value] of Object.entries(report.detail ?? {}))
    parts.push(`${name} ${Number(value.toPrecision(4))}`);
  return parts.join(', ');
}

function bar(report: ProgressReport): string {
  const filled = report.total > 0 ? Math.round((BAR_WIDTH * Math.min(report.done, report.total)) / report.total) : 0;
  return `[${'#'.repeat(filled)}${'.'.repeat(BAR_WIDTH - filled)}]`;
}

/** Draws the progress of one command. */
export class ProgressDisplay {
  readonly #stream: ProgressStream;
  readonly #enabled: boolean;
  readonly #now: () => number;
  #drawn = false;
  #last: number;

  constructor(stream: ProgressStream, enabled: boolean, now: () => number = Date.now) {
    this.#stream = stream;
    this.#enabled = enabled;
    this.#now = now;
    // On a terminal the first report is drawn at once; elsewhere a command of less than ten seconds stays silent.
    this.#last = stream.isTTY === true ? Number.NEGATIVE_INFINITY : now();
  }

  /** Takes a report; draws it when it is time to. */
  update(report: ProgressReport): void {
    if (!this.#enabled) return;
    const terminal = this.#stream.isTTY === true;
    const elapsed = this.#now() - this.#last;
    if (elapsed < (terminal ? REDRAW_MS : LINE_MS)) return;
    this.#last = this.#now();
    if (!terminal) {
      this.#stream.write(`${progressText(report)}\n`);
      return;
    }
    const width = this.#stream.columns ?? 80;
    this.#stream.write(ERASE_LINE + `${bar(report)} ${progressText(report)}`.slice(0, width - 1));
    this.#drawn = true;
  }

  /** Takes the bar away, before something else is written. */
  clear(): void {
    if (!this.#drawn) return;
    this.#stream.write(ERASE_LINE);
    this.#drawn = false;
    this.#last = Number.NEGATIVE_INFINITY;
  }
}
