import type { Voice } from './say.mjs';

export interface Step {
  /** Of its stamp. */
  name: string;
  /** What it does, said when it begins. */
  title: string;
  /** Anything JSON can hold; file contents through `hashFiles`. */
  inputs?: () => unknown;
  /** Instead of inputs: for a step that looks for itself, and needs no stamp. */
  isDone?: () => boolean;
  /** Paths that have to exist, relative to the checkout. */
  outputs: string[];
  run: () => Promise<void>;
}

/** Runs those steps that are not done; their names. */
export function runSteps(root: string, what: string, steps: Step[], voice: Voice): Promise<string[]>;
export function hashFiles(root: string, paths: string[], keep?: (path: string) => boolean): Promise<string>;
