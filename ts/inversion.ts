// Inversion: pictures to latents. The core makes the steps; here is what surrounds them: pictures of any kind, the encoder's
// pass, pictures of the way, the tuning of a generator's copy, and what came of it in numbers.

import { checkFinite, fail } from './check.js';
import { log } from './configure.js';
import { Generator } from './generator.js';
import { Images, type ImagesLike, type ImageSource } from './images.js';
import { inversionSettings, type InvertOptions, type InversionSettings } from './inversion-settings.js';
import { Latents } from './latents.js';
import { handleOf, type Model } from './model.js';
import { checkMatch } from './model-match.js';
import type { NativeInverterResult, NativeTensor } from './native.js';
import { NoiseMaps, type GeneratorDifference } from './noise-maps.js';
import { Perceptual } from './perceptual.js';
import { native } from './runtime.js';
import { runNative } from './signals.js';
import type { StyleClip } from './styleclip.js';
import type { Device, RunOptions } from './types.js';

/** Loss after 0, 1, … updates; the parts are not weighted. */
export interface InversionCurves {
  readonly total: Float64Array;
  /** Mean square error, scale [-1, 1]. */
  readonly pixel: Float64Array;
  /** The same of both pooled by 4. */
  readonly pooled: Float64Array;
  readonly feature: Float64Array;
  readonly noise: Float64Array;
  /** Mean square of (w − start)/σ. */
  readonly start: Float64Array;
}

/** How the inversion of one picture went. */
export interface InvertedPicture {
  /** Mean square error of the picture at the end, scale [-1, 1], not rounded. */
  readonly mse: number;
  /** Updates before the lowest loss, and why it ended. A loss that is no number, or exploded, leaves the best before. */
  readonly bestStep: number;
  readonly stopped: 'steps' | 'not-finite' | 'exploded';
  /** Undefined where there was nothing but the encoder's pass. */
  readonly loss: InversionCurves | undefined;
}

/** What {@link StyleClip.invert} gives. Plain data. */
export interface InvertResult {
  /** Of the run's space. */
  readonly latents: Latents;
  /** What they give, with the noise maps and the tuned generator where there are such. float32. */
  readonly images: Images;
  /** The pictures that were inverted, at the generator's size. */
  readonly targets: Images;
  readonly pictures: readonly InvertedPicture[];
  /** Optimised noise maps; for `generator.synthesize(latents, { noiseMaps })`. */
  readonly noise: NoiseMaps | undefined;
  /** Of `'pti'`: what tuning added to the generator; for `Generator.load(file, { difference })`. */
  readonly difference: GeneratorDifference | undefined;
  /** Of `'pti'`: total, pixel and feature before each update of the generator. */
  readonly tuning:
    { readonly total: Float64Array; readonly pixel: Float64Array; readonly feature: Float64Array } | undefined;
  readonly snapshots: readonly { readonly step: number; readonly images: Images }[];
  /** Of the whole. */
  readonly seconds: number;
}

const PARTS = ['total', 'pixel', 'pooled', 'feature', 'noise', 'start'] as const;
const ENDS = ['steps', 'steps', 'not-finite', 'exploded'] as const;
const CALL_MS = 300;

type System = Pick<StyleClip, 'generator' | 'clip' | 'identity' | 'encoder'>;

/** See {@link StyleClip.invert}. */
export async function invertPictures(
  system: System,
  given: ImageSource | ImagesLike | readonly ImageSource[],
  options: InvertOptions | undefined,
): Promise<InvertResult> {
  const { generator, encoder } = system;
  const { o, settings } = inversionSettings(options, {
    encoder: encoder !== undefined,
    identity: system.identity !== undefined,
  });
  const started = performance.now();
  const silent: RunOptions = { signal: o.signal };
  const targets = await readTargets(given, generator.info.imageSize, settings.align);
  const { device, sha256, file } = generator.info;
  const perceptual =
    settings.lpips === undefined
      ? undefined
      : await Perceptual.load(settings.lpips, { device: device as Device, trust: settings.trust, signal: o.signal });
  try {
    const network: Model | undefined = {
      ...{ clip: system.clip, identity: system.identity, perceptual, none: undefined },
    }[settings.native.feature];
    let start: Latents | undefined;
    if (settings.method === 'encoder') {
      start = await encoder!.encode(targets, silent);
      checkMatch('the encoder', start.meta.generatorSha256, sha256, file, o.force ?? false);
    } else if (o.start !== undefined) {
      start = Latents.from(o.start);
      const wanted = settings.native.wPlus ? 'w_plus' : 'w';
      if (start.space !== wanted || start.length !== targets.count) {
        fail('SHAPE', `start is ${start.length} latents of ${start.space}`, `Pass ${targets.count} of ${wanted}.`);
      }
      // Rendering nothing, but checked as if.
      await generator.styles(start, { ...silent, force: o.force ?? false });
    }
    const way: { step: number; images: Images }[] = [];
    const found =
      settings.native.steps === 0 ? undefined : await descend(generator, network, targets, start, settings, o, way);
    const latents =
      found === undefined
        ? Latents.from(start!.data, start!.shape, 'w_plus', { generatorSha256: sha256 })
        : latentsOf(found, settings, sha256);
    const noise = found === undefined || found.noise.length === 0 ? undefined : NoiseMaps.from(found.noise, sha256);
    const tuned =
      settings.method === 'pti' ? await tune(generator, network, targets, latents, noise, settings, o) : undefined;
    const images =
      tuned?.images ??
      (await generator.synthesize(latents, {
        ...silent,
        as: 'float32',
        ...(noise === undefined ? {} : { noiseMaps: noise }),
      }));
    return {
      ...{ latents, images, targets, noise, snapshots: way },
      ...{ difference: tuned?.difference, tuning: tuned?.curve },
      pictures: report(found, images, targets),
      seconds: (performance.now() - started) / 1000,
    };
  } finally {
    await perceptual?.close();
  }
}

/** Pictures of the generator's size, as they come from files or are given. */
export async function readTargets(
  given: ImageSource | ImagesLike | readonly ImageSource[],
  size: number,
  align: 'resize' | false,
): Promise<Images> {
  const isPictures = typeof given === 'object' && 'count' in given;
  const images = isPictures ? Images.from(given) : await Images.read(given, align === 'resize' ? { size } : {});
  if (images.data instanceof Float32Array)
    checkFinite(images.data, 'pictures', [images.count, 3, images.height, images.width]);
  if (images.width === size && images.height === size) return images;
  if (align === false) {
    fail(
      'SHAPE',
      `the pictures have ${images.width} x ${images.height} pixels, and the generator makes ${size} x ${size}`,
      "Align them, or pass { align: 'resize' }.",
    );
  }
  return images.resize(size);
}

/** The latents' descent. */
async function descend(
  generator: Generator,
  network: Model | undefined,
  targets: Images,
  start: Latents | undefined,
  settings: InversionSettings,
  o: InvertOptions,
  way: { step: number; images: Images }[],
): Promise<NativeInverterResult> {
  const addon = native();
  const silent: RunOptions = { signal: o.signal };
  const { steps } = settings.native;
  const handle = await inRun(silent, async (run) =>
    addon.openInverter(
      handleOf(generator),
      network === undefined ? undefined : handleOf(network),
      pixels(targets),
      start === undefined ? undefined : { data: start.data, shape: [...start.shape] },
      settings.native,
      run,
    ),
  );
  const snapshot = async (step: number, best: boolean): Promise<void> => {
    const now = await addon.inverterResult(handle, best);
    const noiseMaps = now.noise.length === 0 ? undefined : NoiseMaps.from(now.noise);
    const latents = latentsOf(now, settings, generator.info.sha256);
    way.push({ step, images: await generator.synthesize(latents, { ...silent, as: 'float32', noiseMaps }) });
  };
  try {
    const started = performance.now();
    let [step, running, pace] = [0, true, 1];
    while (running) {
      if (settings.snapshots > 0 && step % settings.snapshots === 0) await snapshot(step, false);
      const next = settings.snapshots > 0 ? settings.snapshots - (step % settings.snapshots) : steps;
      const wanted = Math.min(pace, next);
      const call = performance.now();
      ({ step, running } = await inRun(silent, async (run) => addon.advanceInverter(handle, wanted, run)));
      const now = performance.now();
      pace = Math.max(1, Math.min(1000, Math.round((wanted * CALL_MS) / Math.max(1, now - call))));
      const rate = step / Math.max(1e-6, (now - started) / 1000);
      o.onProgress?.({
        ...{ phase: 'invert', done: step, total: steps, unit: 'steps', rate, secondsLeft: (steps - step) / rate },
      });
    }
    if (settings.snapshots > 0) await snapshot(step, true);
    return await addon.inverterResult(handle, true);
  } finally {
    await addon.closeInverter(handle).catch(() => undefined);
  }
}

/** Pivotal tuning of a copy of the generator. */
async function tune(
  generator: Generator,
  network: Model | undefined,
  targets: Images,
  pivots: Latents,
  noise: NoiseMaps | undefined,
  settings: InversionSettings,
  o: InvertOptions,
) {
  const addon = native();
  const silent: RunOptions = { signal: o.signal };
  const wPlus = pivots.space === 'w' ? await generator.truncate(pivots, { ...silent, truncationPsi: 1 }) : pivots;
  const { file, device, sha256 } = generator.info;
  await using copy = await Generator.load(file, { device: device as Device, trust: true, signal: o.signal });
  const handle = await inRun(silent, async (run) =>
    addon.openTuner(
      handleOf(copy),
      network === undefined ? undefined : handleOf(network),
      pixels(targets),
      { data: wPlus.data, shape: [...wPlus.shape] },
      noise?.maps.map(({ data, shape }) => ({ data, shape: [...shape] })),
      settings.tuner,
      run,
    ),
  );
  try {
    const { steps } = settings.tuner;
    const started = performance.now();
    let [step, running, pace] = [0, true, 1];
    while (running) {
      const call = performance.now();
      const wanted = pace;
      ({ step, running } = await inRun(silent, async (run) => addon.advanceTuner(handle, wanted, run)));
      const now = performance.now();
      pace = Math.max(1, Math.min(1000, Math.round((wanted * CALL_MS) / Math.max(1, now - call))));
      const rate = step / Math.max(1e-6, (now - started) / 1000);
      o.onProgress?.({
        ...{ phase: 'tune', done: step, total: steps, unit: 'steps', rate, secondsLeft: (steps - step) / rate },
      });
    }
    const { difference, curve } = await addon.tunerResult(handle);
    const column = (i: number): Float64Array =>
      Float64Array.from({ length: curve.shape[0]! }, (_, row) => curve.data[row * 3 + i]!);
    return {
      difference: { tensors: difference, generatorSha256: sha256 },
      curve: { total: column(0), pixel: column(1), feature: column(2) },
      images: await copy.synthesize(wPlus, { ...silent, as: 'float32', noiseMaps: noise }),
    };
  } finally {
    await addon.closeTuner(handle).catch(() => undefined);
  }
}

async function inRun<T>(options: RunOptions, work: Parameters<typeof runNative<T>>[2]): Promise<T> {
  const addon = native();
  return runNative(options, () => addon.createCancel(), work);
}

function pixels({ data, count, width, height }: Images): NativeTensor<Uint8Array | Float32Array> {
  return { data, shape: data instanceof Uint8Array ? [count, height, width, 3] : [count, 3, height, width] };
}

function latentsOf(found: NativeInverterResult, settings: InversionSettings, generatorSha256: string): Latents {
  const { data, shape } = found.latents;
  return Latents.from(data, shape, settings.native.wPlus ? 'w_plus' : 'w', { generatorSha256 });
}

/** Mean square error of each picture, scale [-1, 1]. */
export function meanSquareErrors(images: Images, targets: Images): Float64Array {
  const { data, count, width, height } = images;
  const area = width * height;
  const value =
    targets.data instanceof Float32Array
      ? (n: number, c: number, p: number): number => targets.data[(n * 3 + c) * area + p]!
      : (n: number, c: number, p: number): number => targets.data[(n * area + p) * 3 + c]! / 127.5 - 1;
  return Float64Array.from({ length: count }, (_, n) => {
    let sum = 0;
    for (let c = 0; c < 3; c++) {
      for (let p = 0; p < area; p++) sum += (data[(n * 3 + c) * area + p]! - value(n, c, p)) ** 2;
    }
    return sum / (3 * area);
  });
}

function report(found: NativeInverterResult | undefined, images: Images, targets: Images): InvertedPicture[] {
  const errors = meanSquareErrors(images, targets);
  return Array.from(errors, (mse, i) => {
    if (found === undefined) return { mse, bestStep: 0, stopped: 'steps', loss: undefined };
    const width = found.curves.shape[2]!;
    const row = (part: number): Float64Array =>
      found.curves.data.slice((i * PARTS.length + part) * width, (i * PARTS.length + part + 1) * width);
    const pixel = row(1);
    let length = width;
    while (length > 1 && Number.isNaN(pixel[length - 1])) length--;
    const loss = Object.fromEntries(PARTS.map((name, part) => [name, row(part).subarray(0, length)]));
    const stopped = ENDS[Number(found.end.data[i])] ?? 'steps';
    if (stopped !== 'steps') {
      log(
        'warn',
        `invert: the loss of picture ${i} ${stopped === 'exploded' ? 'exploded' : 'was no number'} at step ${length - 1}; its best before is kept`,
      );
    }
    return { mse, bestStep: Number(found.bestStep.data[i]), stopped, loss: loss as unknown as InversionCurves };
  });
}
