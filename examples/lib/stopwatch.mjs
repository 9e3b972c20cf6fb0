/*
 * Tells what is being done and how long it took: a line that is redrawn on a terminal, a line a step anywhere else.
 */
const { stderr } = process;

export class Stopwatch {
  /** Seconds of every step, in order. @type {[string, number][]} */
  steps = [];
  #begin = performance.now();
  #step = '';
  #drawn = 0;

  /** Seconds since the beginning. */
  get total() {
    return (performance.now() - this.#begin) / 1000;
  }

  /**
   * Waits for a piece of work and notes its time.
   *
   * @template T
   * @param {string} name
   * @param {() => Promise<T>} work
   * @returns {Promise<T>}
   */
  async step(name, work) {
    const begin = performance.now();
    this.#step = name;
    const result = await work();
    const seconds = (performance.now() - begin) / 1000;
    this.steps.push([name, seconds]);
    if (stderr.isTTY) stderr.write('\r\x1b[2K');
    stderr.write(`${name}: ${seconds.toFixed(1)} s\n`);
    return result;
  }

  /** For `onProgress`. @param {{ phase: string, done: number, total: number, unit: string, secondsLeft?: number }} p */
  progress = ({ phase, done, total, unit, secondsLeft }) => {
    const every = stderr.isTTY ? 200 : 10_000;
    if (performance.now() - this.#drawn < every) return;
    this.#drawn = performance.now();
    const left = secondsLeft === undefined ? '' : `, ${Math.ceil(secondsLeft)} s left`;
    const line = `${this.#step}: ${phase} ${done}/${total} ${unit}${left}`;
    stderr.write(stderr.isTTY ? `\r\x1b[2K${line}` : `${line}\n`);
  };
}
