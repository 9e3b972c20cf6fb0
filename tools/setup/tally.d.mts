/** Reads what a runner prints, a line at a time. */
export interface Reader {
  line(line: string): void;
  /** With the runner's exit status. */
  end(status: number): void;
}

/** Cases passed and failed, over several runners. */
export class Tally {
  passed: number;
  skipped: number;
  failed: number;
  failures: string[];
  fail(name: string, count?: number): void;
  line(): string;
  ctest(say: (line: string) => void): Reader;
  ava(say: (line: string) => void): Reader;
}
