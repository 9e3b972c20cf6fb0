// Inversion: pictures to latents. Here are pictures of any kind, the encoder's pass, and what came of it in numbers;
// inversion-run.ts has the descent and the tuning.

import { join } from 'node:path';
import { checkFinite, fail } from './check.js';
import { log } from './configure.js';
import { Images, type ImagesLike, type ImageSource } from './images.js';
import { descend, INVERSION_FILES, tune, type Inversion } from './inversion-run.js';
import { inversionSettings, type InvertOptions } from './inversion-settings.js';
import { Latents } from './latents.js';
import { checkMatch } from './model-match.js';
import type { NativeInverterResult } from './native.js';
import { saveDifference, type GeneratorDifference, type NoiseMaps } from './noise-maps.js';
import { Perceptual } from './perceptual.js';
import { digest } from './run-file.js';
import type { StyleClip } from './styleclip.js';
import type { Device, RunOptions } from './types.js';

/** Loss after 0, 1, … updates; the parts are not weighted. */
export interface InversionCurves {
  /** The weighted sum of the others, which are not weighted. */
  readonly total: Float64Array;
  /** Mean square error, scale [-1, 1]. */
  readonly pixel: Float64Array;
  /** The same of both pooled by 4. */
  readonly pooled: Float64Array;
  /** Squared distance of unit embeddings, or what the LPIPS module says; 0 without either. */
  readonly feature: Float64Array;
  /** Correlation of the noise maps with themselves; 0 where they are not optimised. */
  readonly noise: Float64Array;
  /** Mean square of (w − start)/σ. */
  readonly start: Float64Array;
}

/** How the inversion of one picture went. */
export interface InvertedPicture {
  /** Mean square error of the picture at the end, scale [-1, 1], not rounded. */
  readonly mse: number;
  /** What the LPIPS module says of it, where one is given. */
  readonly lpips: number | undefined;
  /** Updates before the lowest loss, and why it ended. A loss that is no number, or exploded, leaves the best before. */
  readonly bestStep: number;
  readonly stopped: 'steps' | 'not-finite' | 'exploded';
  /** Undefined where there was nothing but the encoder's pass. */
  readonly loss: InversionCurves | undefined;
}

/** Losses of the tuning of a generator, means over the pictures; the parts are not weighted. */
export interface TuningCurves {
  readonly total: Float64Array;
  /** Mean square error, scale [-1, 1]. */
  readonly pixel: Float64Array;
  /** As in {@link InversionCurves}. */
  readonly feature: Float64Array;
  /** How far it left the original generator beside the pivots; 0 without `lambdaLocality`. */
  readonly locality: Float64Array;
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
  /** Of `'pti'`: losses before each update of the generator. */
  readonly tuning: TuningCurves | undefined;
  /** Pictures of the way, where they were asked for. */
  readonly snapshots: readonly { readonly step: number; readonly images: Images }[];
  /** Of the whole. */
  readonly seconds: number;
}

const PARTS = ['total', 'pixel', 'pooled', 'feature', 'noise', 'start'] as const;
const ENDS = ['steps', 'steps', 'not-finite', 'exploded'] as const;

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
    const network = { ...{ clip: system.clip, identity: system.identity, perceptual, none: undefined } }[
      settings.native.feature
    ];
    if (settings.method === 'pti' && generator.tuned) {
      fail('ARGUMENT', 'the generator was tuned before', 'Load it without its difference, and tune that.');
    }
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
    const { batch: _batch, seed, ...kept } = settings.native;
    const inversion: Inversion = {
      ...{ generator, network, targets, settings, signal: o.signal, onProgress: o.onProgress },
      run: {
        ...{ ...kept, method: settings.method, seed: seed.toString(), targets: digest(targets.data) },
        ...{ generator: sha256, network: network?.info.sha256 },
        start: settings.method === 'encoder' ? encoder!.info.sha256 : start && digest(start.data),
      },
    };
    const way: { step: number; images: Images }[] = [];
    const found = settings.native.steps === 0 ? undefined : await descend(inversion, start, way);
    const latents = found?.latents ?? Latents.from(start!.data, start!.shape, 'w_plus', { generatorSha256: sha256 });
    const noise = settings.keepsNoise ? found?.noise : undefined;
    if (settings.directory !== undefined) await latents.save(join(settings.directory, INVERSION_FILES.latents));
    const tuned = settings.method === 'pti' ? await tune(inversion, latents, noise) : undefined;
    if (settings.directory !== undefined && tuned !== undefined)
      await saveDifference(join(settings.directory, INVERSION_FILES.difference), tuned.difference);
    const images =
      tuned?.images ??
      (await generator.synthesize(latents, {
        ...silent,
        as: 'float32',
        ...(noise === undefined ? {} : { noiseMaps: noise }),
      }));
    const lpips = await perceptual?.compare(images, targets, silent);
    return {
      ...{ latents, images, targets, noise, snapshots: way },
      ...{ difference: tuned?.difference, tuning: tuned?.curve },
      pictures: report(found?.native, images, targets, lpips),
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
  const isPictures = typeof given === 'object' && given !== null && 'count' in given;
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

function report(
  found: NativeInverterResult | undefined,
  images: Images,
  targets: Images,
  distances: Float32Array | undefined,
): InvertedPicture[] {
  const errors = meanSquareErrors(images, targets);
  return Array.from(errors, (mse, i) => {
    const lpips = distances?.[i];
    if (found === undefined) return { mse, lpips, bestStep: 0, stopped: 'steps', loss: undefined };
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
    return { mse, lpips, bestStep: Number(found.bestStep.data[i]), stopped, loss: loss as unknown as InversionCurves };
  });
}
