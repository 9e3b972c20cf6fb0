/*
 * Counts test cases over several runners by what they print, and passes on what a reader wants to see: one line a test,
 * and everything that a failed one said.
 */

/** Cases passed and failed so far. */
export class Tally {
  constructor() {
    this.passed = 0;
    this.skipped = 0;
    /** @type {string[]} */
    this.failures = [];
    this.failed = 0;
  }

  /**
   * @param {string} name
   * @param {number} [count]
   */
  fail(name, count = 1) {
    this.failed += count;
    this.failures.push(name);
  }

  /** The line that closes a run. */
  line() {
    return `${this.passed} passed, ${this.failed} failed${this.skipped > 0 ? `, ${this.skipped} skipped` : ''}`;
  }

  /** @param {(line: string) => void} say */
  ctest(say) {
    return new CtestReader(this, say);
  }

  /** @param {(line: string) => void} say */
  ava(say) {
    return new AvaReader(this, say);
  }
}

/** Reads `ctest --verbose`: each line of a test's output has its number in front. */
class CtestReader {
  /**
   * @param {Tally} tally
   * @param {(line: string) => void} say
   */
  constructor(tally, say) {
    this.tally = tally;
    this.say = say;
    /** @type {Map<string, string[]>} */
    this.output = new Map();
    this.failures = 0;
  }

  /** @param {string} line */
  line(line) {
    const said = /^(\d+): (.*)$/.exec(line);
    if (said) {
      const [, id = '', text = ''] = said;
      this.output.set(id, [...(this.output.get(id) ?? []), text]);
      return;
    }
    const result = /^ *\d+\/\d+ +Test +#(\d+): (\S+) \.+ *(?:\*\*\*)?(.+?) +([\d.]+) sec/.exec(line);
    if (!result) return;
    const [, id = '', name = '', outcome = '', time = ''] = result;
    const output = this.output.get(id) ?? [];
    this.output.delete(id);
    this.#count(name, outcome, output, time);
  }

  /**
   * @param {string} name
   * @param {string} outcome
   * @param {string[]} output
   * @param {string} time
   */
  #count(name, outcome, output, time) {
    const cases = output
      .map((line) => /^\[doctest\] test cases: *(\d+) *\| *(\d+) passed *\| *(\d+) failed/.exec(line))
      .find(Boolean);
    const passed = cases ? Number(cases[2]) : outcome === 'Passed' ? 1 : 0;
    const failed = cases ? Number(cases[3]) : outcome === 'Passed' ? 0 : 1;
    this.tally.passed += passed;
    if (outcome === 'Passed') {
      this.say(`  ok    ${name}: ${passed} passed (${time} s)`);
      return;
    }
    // A crash after the summary, or none at all, is a failure too.
    this.tally.fail(name, Math.max(1, failed));
    this.failures += 1;
    this.say(`  FAIL  ${name}: ${outcome} (${time} s)\n${output.map((line) => `        ${line}`).join('\n')}`);
  }

  /** @param {number} status */
  end(status) {
    if (status !== 0 && this.failures === 0) this.tally.fail(`ctest ended with status ${status}`);
  }
}

/** Reads AVA's default report, which ends with its totals. */
class AvaReader {
  /**
   * @param {Tally} tally
   * @param {(line: string) => void} say
   */
  constructor(tally, say) {
    this.tally = tally;
    this.say = say;
    this.failed = 0;
  }

  /** @param {string} line */
  line(line) {
    this.say(`  ${line}`);
    const total =
      /^ {2}(\d+) (tests? passed|tests? failed|hooks? failed|tests? skipped|known failures?|tests? todo|uncaught exceptions?|unhandled rejections?|tests? remained pending.*|test files? .*)$/.exec(
        line,
      );
    if (!total) return;
    const count = Number(total[1]);
    const what = total[2] ?? '';
    if (what.endsWith('passed')) this.tally.passed += count;
    else if (/skipped|todo|known/.test(what)) this.tally.skipped += count;
    else this.failed += count;
  }

  /** @param {number} status */
  end(status) {
    if (this.failed > 0 || status !== 0)
      this.tally.fail(`AVA: ${this.failed || `ended with status ${status}`}`, Math.max(1, this.failed));
  }
}
