// A mapper's training on the disk: what it goes on from, in one .safetensors file with the settings that it belongs to, and
// its log, a line an event.

import { appendFile, readFile } from 'node:fs/promises';
import { StyleClipError } from './errors.js';
import { writeFileAtomic } from './files/atomic.js';
import { safetensorsFloat32, writeSafetensors } from './files/safetensors.js';
import type { NativeMapperState, NativeTensor } from './native.js';
import { damagedRun, parsedObject, readRunFile, runMetadata, type RunIdentity } from './run-file.js';

const FORMAT = 'styleclip.mapper-training';

/** A line of `log.jsonl`. Losses are means over a batch or over the validation's latents, the parts without weights. */
export interface MapperLogLine {
  /** `'step'`: of a step's batch, before its update; `'validation'`: after so many updates. */
  readonly event: 'step' | 'validation';
  /** Counted from 1; of a validation, the updates before it. */
  readonly step: number;
  readonly total: number;
  readonly clip: number;
  readonly l2: number;
  readonly id: number;
  /** Of a validation: whether it was the lowest so far. */
  readonly best?: boolean;
}

export async function saveTraining(file: string, state: NativeMapperState, run: RunIdentity): Promise<void> {
  const { tensors, ...numbers } = state;
  const metadata = { ...runMetadata(FORMAT, run), numbers: JSON.stringify(numbers) };
  await writeSafetensors(file, tensors, metadata);
}

/**
 * The state in a file, or undefined where there is none.
 *
 * @throws StyleClipError `RESUME_MISMATCH` naming the setting in which its run differs; `FILE_DAMAGED`, `FORMAT_VERSION`
 */
export async function loadTraining(file: string, run: RunIdentity): Promise<NativeMapperState | undefined> {
  const read = await readRunFile(file, FORMAT, "state of a mapper's training", run);
  if (read === undefined) return undefined;
  const { tensors, metadata } = read;
  const damaged = (why: string): never => damagedRun(file, why);
  const numbers = parsedObject(metadata['numbers']) ?? damaged('does not say its step');
  const number = (name: string): number => {
    const value = numbers[name];
    return typeof value === 'number' && Number.isFinite(value) ? value : damaged(`does not say its ${name}`);
  };
  const all: Record<string, NativeTensor<Float32Array>> = {};
  for (const [name, tensor] of tensors) {
    if (tensor.dtype !== 'F32') damaged(`has a tensor '${name}' of ${tensor.dtype}`);
    all[name] = { data: safetensorsFloat32(tensor), shape: [...tensor.shape] };
  }
  return {
    tensors: all,
    step: number('step'),
    bestStep: number('bestStep'),
    validated: number('validated'),
    best: number('best'),
    first: number('first'),
  };
}

/** The log of one run. Lines are appended before the state that they lead to is written, never after. */
export class TrainingLog {
  readonly #file: string;
  #pending: MapperLogLine[] = [];

  constructor(file: string) {
    this.#file = file;
  }

  add(lines: readonly MapperLogLine[]): void {
    this.#pending.push(...lines);
  }

  async flush(): Promise<void> {
    if (this.#pending.length === 0) return;
    const text = this.#pending.map((line) => `${JSON.stringify(line)}\n`).join('');
    this.#pending = [];
    await appendFile(this.#file, text).catch((cause: unknown) => {
      throw new StyleClipError('DISK', `${this.#file} cannot be written`, { remedy: 'Look at the disk.', cause });
    });
  }

  /** Leaves the lines that led to a state; none where there is no state. What a killed run wrote after it goes. */
  async begin(state: { step: number; validated: number } | undefined): Promise<void> {
    const text = await readFile(this.#file, 'utf8').catch(() => '');
    const kept = text.split('\n').filter((line) => {
      const entry = parsedObject(line);
      if (entry === undefined || state === undefined) return false;
      return Number(entry['step']) <= (entry['event'] === 'validation' ? state.validated : state.step);
    });
    await writeFileAtomic(this.#file, kept.map((line) => `${line}\n`).join(''));
  }
}
