// The long part of an inversion: the latents' descent, and the tuning of a generator's copy. Steps in calls that are short
// enough to be stopped and told of, pictures of the way, and both runs on the disk, where they go on from.

import { join } from 'node:path';
import { log } from './configure.js';
import { writeSafetensors } from './files/safetensors.js';
import { Generator } from './generator.js';
import type { Images } from './images.js';
import type { TuningCurves } from './inversion.js';
import type { InversionSettings } from './inversion-settings.js';
import { Latents } from './latents.js';
import { handleOf, type Model } from './model.js';
import type { NativeInversionStep, NativeInverterResult, NativeRun, NativeState, NativeTensor } from './native.js';
import { NoiseMaps, saveDifference, type GeneratorDifference } from './noise-maps.js';
import { readRunFile, runMetadata, savedTensors, type RunIdentity } from './run-file.js';
import { native } from './runtime.js';
import { runNative } from './signals.js';
import type { Device, ModelInfo, RunOptions } from './types.js';

/** What is inverted, by what, and what makes a run on the disk the same run. */
export interface Inversion extends RunOptions {
  readonly generator: Generator;
  readonly network: (Model & { readonly info: ModelInfo }) | undefined;
  readonly targets: Images;
  readonly settings: InversionSettings;
  readonly run: RunIdentity;
}

/** Files in an inversion's directory: the runs under way, and what they have found. */
export const INVERSION_STATE = 'invert.safetensors';
export const TUNING_STATE = 'tune.safetensors';
export const INVERSION_FILES = {
  latents: 'latents.safetensors',
  noise: 'noise.safetensors',
  difference: 'difference.safetensors',
} as const;
const FORMATS = { invert: 'styleclip.inversion', tune: 'styleclip.tuning' } as const;

/** A native call lasts about this long, so that progress is told of and the run is saved in time. */
const CALL_MS = 300;
/** The latents are small; a tuning's state is five times the generator. */
const SAVE_MS = { invert: 10_000, tune: 60_000 } as const;

/** The latents' descent. Pictures of the way are put behind those of `way`. */
export async function descend(
  inversion: Inversion,
  start: Latents | undefined,
  way: { step: number; images: Images }[],
): Promise<{ native: NativeInverterResult; latents: Latents; noise: NoiseMaps | undefined }> {
  const { generator, network, targets, settings, run } = inversion;
  const { directory, snapshots } = settings;
  const { steps } = settings.native;
  const addon = native();
  const silent: RunOptions = { signal: inversion.signal };
  const before = await stateIn(directory, INVERSION_STATE, FORMATS.invert, 'state of an inversion', run);
  const handle = await inRun(silent, async (at) =>
    addon.openInverter(
      handleOf(generator),
      network && handleOf(network),
      pixels(targets),
      start && { data: start.data, shape: [...start.shape] },
      settings.native,
      at,
    ),
  );
  const read = async (best: boolean) => {
    const found = await addon.inverterResult(handle, best);
    const { data, shape } = found.latents;
    const generatorSha256 = generator.info.sha256;
    return {
      native: found,
      latents: Latents.from(data, shape, settings.native.wPlus ? 'w_plus' : 'w', { generatorSha256 }),
      noise: found.noise.length === 0 ? undefined : NoiseMaps.from(found.noise, generatorSha256),
    };
  };
  const snapshot = async (step: number, best: boolean): Promise<void> => {
    const { latents, noise } = await read(best);
    way.push({ step, images: await generator.synthesize(latents, { ...silent, as: 'float32', noiseMaps: noise }) });
  };
  const save = async (): Promise<void> => {
    if (directory === undefined) return;
    const state = await addon.inverterState(handle);
    await writeSafetensors(join(directory, INVERSION_STATE), state, runMetadata(FORMATS.invert, run));
    const { latents, noise } = await read(true);
    await latents.save(join(directory, INVERSION_FILES.latents));
    if (settings.keepsNoise) await noise?.save(join(directory, INVERSION_FILES.noise));
  };
  try {
    if (before !== undefined) await addon.restoreInverter(handle, before);
    const begun = Number(before?.['step']?.data[0] ?? 0);
    const made = await makeSteps({
      ...{ inversion, phase: 'invert', steps, begun, save },
      advance: async (count, at) => addon.advanceInverter(handle, count, at),
      pause: async (step) => {
        if (snapshots === 0) return steps;
        if (step % snapshots === 0 && step < steps) await snapshot(step, false);
        return snapshots - (step % snapshots);
      },
    });
    if (snapshots > 0) await snapshot(made, true);
    return await read(true);
  } finally {
    await addon.closeInverter(handle).catch(() => undefined);
  }
}

/** Pivotal tuning of a copy of the generator. */
export async function tune(
  inversion: Inversion,
  pivots: Latents,
  noise: NoiseMaps | undefined,
): Promise<{ difference: GeneratorDifference; curve: TuningCurves; images: Images }> {
  const { generator, network, targets, settings } = inversion;
  const { directory } = settings;
  const { batch: _batch, seed: _seed, steps, learningRate, ...rest } = settings.tuner;
  const run = {
    ...{ ...inversion.run, tuneSteps: steps, tuneRate: learningRate, lambdaLocality: rest.lambdaLocality },
    ...{
      localityDistance: rest.localityDistance,
      tuneLambdaPixel: rest.lambdaPixel,
      enough: rest.enough,
      keepsNoise: settings.keepsNoise,
    },
  };
  const addon = native();
  const silent: RunOptions = { signal: inversion.signal };
  const wPlus = pivots.space === 'w' ? await generator.truncate(pivots, { ...silent, truncationPsi: 1 }) : pivots;
  const before = await stateIn(directory, TUNING_STATE, FORMATS.tune, "state of a generator's tuning", run);
  const { file, device, sha256 } = generator.info;
  await using copy = await Generator.load(file, { device: device as Device, trust: true, signal: inversion.signal });
  const handle = await inRun(silent, async (at) =>
    addon.openTuner(
      handleOf(copy),
      network && handleOf(network),
      pixels(targets),
      { data: wPlus.data, shape: [...wPlus.shape] },
      noise?.maps.map(({ data, shape }) => ({ data, shape: [...shape] })),
      settings.tuner,
      at,
    ),
  );
  const read = async (best: boolean) => {
    const { difference, curve } = await addon.tunerResult(handle, best);
    return { curve, difference: { tensors: difference, generatorSha256: sha256 } };
  };
  const save = async (): Promise<void> => {
    if (directory === undefined) return;
    const state = await addon.tunerState(handle);
    await writeSafetensors(join(directory, TUNING_STATE), state, runMetadata(FORMATS.tune, run));
    await saveDifference(join(directory, INVERSION_FILES.difference), (await read(true)).difference);
  };
  try {
    if (before !== undefined) await addon.restoreTuner(handle, before);
    const begun = Number(before?.['numbers']?.data[0] ?? 0);
    await makeSteps({
      ...{ inversion, phase: 'tune', steps, begun, save },
      advance: async (count, at) => addon.advanceTuner(handle, count, at),
      pause: async () => steps,
    });
    const { difference, curve } = await read(false);
    const [length, width] = curve.shape as [number, number];
    const column = (i: number): Float64Array => Float64Array.from({ length }, (_, row) => curve.data[row * width + i]!);
    return {
      difference,
      curve: { total: column(0), pixel: column(1), feature: column(2), locality: column(3) },
      images: await copy.synthesize(wPlus, { ...silent, as: 'float32', noiseMaps: noise }),
    };
  } finally {
    await addon.closeTuner(handle).catch(() => undefined);
  }
}

/** The steps of a descent or a tuning. */
interface Steps {
  readonly inversion: Inversion;
  readonly phase: keyof typeof SAVE_MS;
  readonly steps: number;
  /** Updates made before this call. */
  readonly begun: number;
  /** Called between steps; tells how many may be made until it is called again. */
  pause: (step: number) => Promise<number>;
  advance: (steps: number, run: NativeRun) => Promise<NativeInversionStep>;
  save: () => Promise<void>;
}

/** @returns updates made in all */
async function makeSteps({ inversion, phase, steps, begun, pause, advance, save }: Steps): Promise<number> {
  const silent: RunOptions = { signal: inversion.signal };
  const started = performance.now();
  // The first call, a step, is saved at once: from then on there is something to go on from.
  let [step, running, pace, saved] = [begun, true, 1, Number.NEGATIVE_INFINITY];
  try {
    while (running) {
      const wanted = Math.min(pace, await pause(step));
      const call = performance.now();
      const done = await inRun(silent, async (run) => advance(wanted, run));
      const now = performance.now();
      pace = Math.max(1, Math.min(1000, Math.round((wanted * CALL_MS) / Math.max(1, now - call))));
      ({ step, running } = done);
      const rate = (step - begun) / Math.max(1e-6, (now - started) / 1000);
      inversion.onProgress?.({
        ...{ phase, done: step, total: steps, unit: 'steps', rate },
        ...(rate > 0 ? { secondsLeft: (steps - step) / rate } : {}),
        ...(Number.isFinite(done.loss) ? { detail: { loss: done.loss } } : {}),
      });
      if (running && now - saved > SAVE_MS[phase]) {
        await save();
        saved = performance.now();
      }
    }
    await save();
    return step;
  } catch (e) {
    // Whatever ended the run, what it has reached is kept; a failure of that does not hide the first one.
    await save().catch((second: unknown) => log('warn', `the inversion could not be saved: ${String(second)}`));
    throw e;
  }
}

async function stateIn(
  directory: string | undefined,
  name: string,
  format: string,
  what: string,
  run: RunIdentity,
): Promise<NativeState | undefined> {
  if (directory === undefined) return undefined;
  const file = join(directory, name);
  const read = await readRunFile(file, format, what, run);
  return read && savedTensors(read, file);
}

async function inRun<T>(options: RunOptions, work: Parameters<typeof runNative<T>>[2]): Promise<T> {
  const addon = native();
  return runNative(options, () => addon.createCancel(), work);
}

function pixels({ data, count, width, height }: Images): NativeTensor<Uint8Array | Float32Array> {
  return { data, shape: data instanceof Uint8Array ? [count, height, width, 3] : [count, 3, height, width] };
}
