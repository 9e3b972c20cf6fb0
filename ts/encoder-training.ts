// Training an encoder on nothing but the generator. The core makes the steps; here is what surrounds them: the network that
// it begins with, validation, the best weights as an archive, the run on the disk, and its end.

import { appendFile, mkdir, stat, truncate } from 'node:fs/promises';
import { join } from 'node:path';
import { makeArchive } from './archive.js';
import { log } from './configure.js';
import { Encoder } from './encoder.js';
import { encoderTrainingSettings, type EncoderTrainingOptions } from './encoder-settings.js';
import { readFileChecked, writeFileAtomic } from './files/atomic.js';
import { writeSafetensors } from './files/safetensors.js';
import { handleOf } from './model.js';
import { checkMatch } from './model-match.js';
import type { NativeEncoderLoss, NativeEncoderProgress, NativeState } from './native.js';
import { damagedRun, parsedObject, readRunFile, runMetadata, savedTensors } from './run-file.js';
import { native } from './runtime.js';
import { runNative } from './signals.js';
import type { StyleClip } from './styleclip.js';
import type { Device, RunOptions } from './types.js';

/** Means over pictures, not weighted. */
export type EncoderLoss = Readonly<NativeEncoderLoss>;

/** One validation. */
export interface EncoderValidation {
  readonly step: number;
  /** Mean loss of the steps since the one before, on disturbed pictures; undefined before the first step. */
  readonly training: EncoderLoss | undefined;
  /** On held-out pictures, stored statistics. */
  readonly validation: EncoderLoss;
  /** Seconds since this call began. */
  readonly seconds: number;
}

/** What {@link StyleClip.trainEncoder} gives. Plain data. */
export interface EncoderTrainingResult {
  /** The best encoder, an archive. */
  readonly file: string;
  readonly sha256: string;
  readonly bytes: number;
  readonly parameters: number;
  readonly step: number;
  /** Updates before the lowest held-out error, and that error: mean square of the pictures, scale [-1, 1]. */
  readonly best: { readonly step: number; readonly error: number };
  /** Of this call. */
  readonly history: readonly EncoderValidation[];
}

export const ENCODER_STATE = 'training.safetensors';
const FORMAT = 'styleclip.encoder-training';
const CALL_MS = 500;
const SAVE_MS = 60_000;

/** See {@link StyleClip.trainEncoder}. */
export async function trainEncoder(
  system: Pick<StyleClip, 'generator' | 'clip' | 'identity'>,
  options: EncoderTrainingOptions,
): Promise<EncoderTrainingResult> {
  const { generator, clip, identity } = system;
  const { o, settings } = encoderTrainingSettings(
    options,
    { imageSize: generator.info.imageSize, rows: generator.layout.rows, wDim: generator.info.wDim },
    { clip: true, identity: identity !== undefined },
  );
  const { directory, native: wanted } = settings;
  const silent: RunOptions = { signal: o.signal };
  const files = {
    ...{ start: join(directory, 'start.pt'), state: join(directory, ENCODER_STATE) },
    ...{ log: join(directory, 'log.jsonl'), encoder: join(directory, 'encoder.pt') },
  };
  const { seed, ...numbers } = wanted;
  const usesClip = wanted.lambdaClip > 0,
    usesIdentity = wanted.lambdaId > 0;
  // The network is in the state itself: weights of other sizes do not fit.
  const run = {
    ...{ ...numbers, seed: seed.toString(), generator: generator.info.sha256 },
    ...(usesClip ? { clip: clip.info.sha256 } : {}),
    ...(usesIdentity ? { identity: identity?.info.sha256 } : {}),
  };
  const before = await loadTraining(files.state, run);
  let start = settings.encoder;
  if (start === undefined) {
    start = files.start;
    await mkdir(directory, { recursive: true });
    if (before === undefined || !(await isFile(start))) {
      await makeArchive(start, { ...silent, kind: 'e4e', config: settings.network, seed });
    }
  }
  const { device } = generator.info;
  await using encoder = await Encoder.load(start, { device: device as Device, signal: o.signal });
  const { generatorSha256, file } = encoder.info;
  checkMatch(file, generatorSha256, generator.info.sha256, generator.info.file, o.force === true);
  // For people.
  const told = { ...run, network: settings.encoder === undefined ? settings.network : { file: settings.encoder } };
  await writeFileAtomic(join(directory, 'settings.json'), `${JSON.stringify(told, undefined, 2)}\n`);
  const addon = native();
  const handle = await inRun(silent, async (at) =>
    addon.openEncoderTraining(
      handleOf(generator),
      handleOf(encoder),
      usesClip ? handleOf(clip) : undefined,
      usesIdentity && identity !== undefined ? handleOf(identity) : undefined,
      wanted,
      at,
    ),
  );
  const save = async (): Promise<void> => {
    const state = await addon.encoderTrainingState(handle);
    await writeSafetensors(files.state, state, runMetadata(FORMAT, run));
  };
  const { storageDtype, licence } = settings;
  const write = async (): Promise<{ bytes: number; sha256: string; parameters: number }> =>
    inRun({}, async (at) =>
      addon.writeTrainedEncoder(handle, { file: files.encoder, best: true, storageDtype, licence }, at),
    );
  try {
    let step = 0;
    if (before !== undefined) {
      await addon.restoreEncoderTraining(handle, before);
      step = before['numbers']!.data[0] as number;
      await cutLog(files.log, step);
    }
    const history: EncoderValidation[] = [];
    const [begun, started] = [step, performance.now()];
    let [saved, pace] = [started, 1];
    const sums: [EncoderLoss, number][] = [];
    const validate = async (): Promise<NativeEncoderProgress> => {
      const checked = await inRun(silent, async (at) => addon.validateEncoder(handle, at));
      const entry = {
        ...{ step: checked.step, training: meanLoss(sums.splice(0)), validation: checked.loss },
        seconds: (performance.now() - started) / 1000,
      };
      history.push(entry);
      await save();
      await appendFile(files.log, `${JSON.stringify(entry)}\n`);
      if (checked.bestStep === checked.step) await write();
      saved = performance.now();
      return checked;
    };
    let checked = await (before === undefined ? validate() : undefined);
    while (step < wanted.steps) {
      const call = performance.now();
      const asked = Math.min(pace, wanted.steps - step, settings.validateEvery - (step % settings.validateEvery));
      const done = await inRun(silent, async (at) => addon.advanceEncoderTraining(handle, asked, at));
      const now = performance.now();
      pace = Math.max(1, Math.min(1000, Math.round((asked * CALL_MS) / Math.max(1, now - call))));
      sums.push([done.loss, done.step - step]);
      step = done.step;
      if (step % settings.validateEvery === 0 || step === wanted.steps) checked = await validate();
      else if (now - saved > SAVE_MS) {
        await save();
        saved = now;
      }
      const rate = (step - begun) / Math.max(1e-6, (performance.now() - started) / 1000);
      o.onProgress?.({
        ...{ phase: 'train encoder', done: step, total: wanted.steps, unit: 'steps', rate },
        secondsLeft: (wanted.steps - step) / rate,
        detail: { loss: done.loss.total, image: done.loss.image, latent: done.loss.latent },
      });
    }
    checked ??= await validate();
    const { bytes, sha256, parameters } = await write();
    const best = { step: checked.bestStep, error: checked.best };
    return { file: files.encoder, bytes, sha256, parameters, step, best, history };
  } catch (e) {
    // Whatever ended the run, what it has reached is kept; a failure of that does not hide the first one.
    await save()
      .then(write)
      .catch((second: unknown) => log('warn', `the training could not be saved: ${String(second)}`));
    throw e;
  } finally {
    await addon.closeEncoderTraining(handle).catch(() => undefined);
  }
}

async function inRun<T>(options: RunOptions, work: Parameters<typeof runNative<T>>[2]): Promise<T> {
  const addon = native();
  return runNative(options, () => addon.createCancel(), work);
}

/** The mean of losses, each of so many steps. */
function meanLoss(parts: readonly [EncoderLoss, number][]): EncoderLoss | undefined {
  const steps = parts.reduce((sum, [, count]) => sum + count, 0);
  if (steps === 0) return undefined;
  const mean = (key: keyof EncoderLoss): number =>
    parts.reduce((sum, [loss, count]) => sum + loss[key] * count, 0) / steps;
  return {
    ...{ total: mean('total'), latent: mean('latent'), image: mean('image') },
    ...{ id: mean('id'), clip: mean('clip'), delta: mean('delta') },
  };
}

/**
 * The tensors of a training in a file, or undefined where there is none.
 *
 * @throws StyleClipError `RESUME_MISMATCH` naming the setting in which its run differs; `FILE_DAMAGED`, `FORMAT_VERSION`
 */
async function loadTraining(file: string, run: Readonly<Record<string, unknown>>): Promise<NativeState | undefined> {
  const read = await readRunFile(file, FORMAT, "state of an encoder's training", run);
  if (read === undefined) return undefined;
  const state = savedTensors(read, file);
  if (state['numbers']?.data.length !== 3) damagedRun(file, 'lacks its step');
  return state;
}

/** Takes the lines off a log that are of later steps than the state: they will be written again. */
async function cutLog(file: string, step: number): Promise<void> {
  if (!(await isFile(file))) return;
  const text = (await readFileChecked(file)).toString('utf8');
  let length = 0;
  for (const line of text.split('\n').slice(0, -1)) {
    const at = parsedObject(line)?.['step'];
    if (!(typeof at === 'number' && at <= step)) break;
    length += Buffer.byteLength(line) + 1;
  }
  await truncate(file, length);
}

async function isFile(path: string): Promise<boolean> {
  return (await stat(path).catch(() => undefined))?.isFile() === true;
}
