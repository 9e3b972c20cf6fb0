/*
 * Programs that take turns: each answers a JSON object on a line of stdin with one on a line of stdout, so that models stay
 * loaded and a busy moment of the machine falls on all of them.
 */
import { spawn } from 'node:child_process';
import { createInterface } from 'node:readline';

/** @typedef {Record<string, any>} Message */

export class Turns {
  #child;
  #lines;
  #errors = '';

  /**
   * @param {string} program
   * @param {string[]} args
   * @param {NodeJS.ProcessEnv} env
   */
  constructor(program, args, env) {
    this.#child = spawn(program, args, { env, stdio: ['pipe', 'pipe', 'pipe'] });
    this.#child.stderr.on('data', (text) => (this.#errors = `${this.#errors}${text}`.slice(-4000)));
    this.#child.stdin.on('error', () => undefined); // its end shows in the answer that does not come
    this.#child.on('error', (error) => (this.#errors += error.message));
    this.#lines = createInterface({ input: this.#child.stdout })[Symbol.asyncIterator]();
  }

  /** The next line: the first one says that it is ready. */
  async read() {
    for (;;) {
      const { value, done } = await this.#lines.next();
      if (done) throw new Error(`${this.#child.spawnfile} ended: ${this.#errors.trim()}`);
      // libraries may say things of their own there
      if (value.startsWith('{')) return /** @type {Message} */ (JSON.parse(value));
    }
  }

  /**
   * @param {Message} request
   * @returns {Promise<Message>}
   */
  async ask(request) {
    this.#child.stdin.write(`${JSON.stringify(request)}\n`);
    const answer = await this.read();
    if (answer['error'] !== undefined) throw new Error(`${request['do']}: ${answer['error']}`);
    return answer;
  }

  /** Ends the program. */
  async close() {
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) return;
    const ended = new Promise((resolve) => this.#child.once('exit', resolve));
    this.#child.stdin.end();
    await ended;
  }
}
