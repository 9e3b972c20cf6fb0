/*
 * What the two commands say while they work: a line when a step begins and ends, and in between, where a step takes long,
 * how far it is: rewritten in place on a terminal, else one line every ten seconds. All on stderr.
 */

const EVERY_MS = 10_000;

/** One process has one voice. */
export class Voice {
  /** @param {Pick<NodeJS.WriteStream, "write" | "isTTY" | "columns">} [stream] */
  constructor(stream = process.stderr) {
    this.stream = stream;
    this.last = Date.now();
    this.ticking = false;
    this.step = '';
  }

  /** @param {string} line */
  say(line) {
    this.#wipe();
    this.stream.write(`${line}\n`);
    this.last = Date.now();
  }

  /**
   * How far the present step is.
   * @param {string} text
   */
  tick(text) {
    if (this.stream.isTTY) {
      this.#wipe();
      this.stream.write(text.slice(0, (this.stream.columns ?? 80) - 1));
      this.ticking = true;
    } else if (Date.now() - this.last >= EVERY_MS) {
      this.say(text);
    }
  }

  #wipe() {
    if (this.ticking) this.stream.write('\r\x1b[K');
    this.ticking = false;
  }
}

/** @param {number} ms */
export function seconds(ms) {
  return ms < 60_000
    ? `${(ms / 1000).toFixed(1)} s`
    : `${Math.floor(ms / 60_000)} min ${Math.round((ms % 60_000) / 1000)} s`;
}

/** @param {number} bytes */
export function megabytes(bytes) {
  return `${(bytes / 1e6).toFixed(bytes < 1e7 ? 1 : 0)} MB`;
}
