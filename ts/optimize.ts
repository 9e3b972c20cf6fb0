// Latent optimisation (StyleCLIP section 4): gradient descent on latents towards texts, many problems at once. The core makes
// the steps; here is what surrounds them: texts, spaces, pictures of the way, the run on the disk, and its end.

import { join } from 'node:path';
import { checkPath, fail } from './check.js';
import { log } from './configure.js';
import type { Generator } from './generator.js';
import type { Images } from './images.js';
import { Latents, type LatentsLike } from './latents.js';
import { handleOf } from './model.js';
import type { NativeOptimizerState, NativeTensor } from './native.js';
import { optimizeSettings, type OptimizeOptions, type OptimizeSettings } from './optimize-settings.js';
import { loadState, saveState } from './optimize-state.js';
import { digest, type RunIdentity } from './run-file.js';
import { native } from './runtime.js';
import { runNative } from './signals.js';
import type { StyleClip } from './styleclip.js';
import { layerNames } from './sweep-settings.js';
import { shiftedAims, textAims } from './text-aims.js';
import type { RunOptions } from './types.js';

/** Loss after 0, 1, … updates. The parts are not weighted. */
export interface LossCurves {
  /** λ_clip · clip + λ_L2 · l2 + λ_ID · id */
  readonly total: Float64Array;
  /** 1 − cosine of picture and text, 0..2. */
  readonly clip: Float64Array;
  /** Mean or sum of the change's squares, in the units of the run. */
  readonly l2: Float64Array;
  /** 1 − cosine of identities; 0 where λ_ID is 0. */
  readonly id: Float64Array;
}

/** How one latent's way towards one text went. */
export interface OptimizedProblem {
  /** Which of the latents. */
  readonly latent: number;
  readonly target: string;
  /** Which of its starts was the best. */
  readonly restart: number;
  /**
   * Why it ended: all steps done, a plateau, a loss or gradient that is no number, a loss that exploded. The latter two
   * leave the best latent before.
   */
  readonly stopped: 'steps' | 'plateau' | 'not-finite' | 'exploded';
  /** Updates made. */
  readonly steps: number;
  /** Updates before the lowest loss. */
  readonly bestStep: number;
  readonly loss: LossCurves;
}

/** What {@link StyleClip.optimize} gives. Plain data. */
export interface OptimizeResult {
  /** Of the run's space, latent-major: all targets of latent 0 first. */
  readonly latents: Latents;
  /** What they give. */
  readonly images: Images;
  /** Updates before the lowest loss, one a problem. */
  readonly best: Int32Array;
  /** Whether any problem ended before its last step. */
  readonly stoppedEarly: boolean;
  /** Mean over the problems; one that ended stays at its last value. */
  readonly loss: LossCurves;
  readonly problems: readonly OptimizedProblem[];
  /** Pictures of the way, with those of step 0 and the last step. */
  readonly snapshots: readonly { readonly step: number; readonly images: Images }[];
}

export const OPTIMIZE_STATE = 'optimize.safetensors';
const REASONS = ['steps', 'steps', 'plateau', 'not-finite', 'exploded'] as const;
/** A native call lasts about this long, so that progress is told of and the run is saved in time. */
const CALL_MS = 300;
const SAVE_MS = 10_000;

/** The way of all problems; see {@link StyleClip.optimize}. */
export async function optimizeLatents(
  system: StyleClip,
  given: LatentsLike | undefined,
  options: OptimizeOptions,
): Promise<OptimizeResult> {
  const { generator, clip, identity } = system;
  const { o, settings } = optimizeSettings(options, identity !== undefined, (value) => layerNames(value, generator));
  const silent: RunOptions = { signal: o.signal };
  const { targets, neutral } = settings;
  const aims = await textAims(clip, targets, neutral, o.templates ?? 'none', silent);
  const sources = await sourcesOf(generator, given, o, settings);
  const problems = sources.length * targets.length;
  const latents = Latents.concat(
    Array.from({ length: problems }, (_, i) => sources.at(Math.floor(i / targets.length))),
  );
  const dim = aims.length / targets.length;
  const texts =
    settings.shift > 0
      ? shiftedAims(aims, dim, await embeddingsOf(system, sources, o), settings.shift)
      : Float32Array.from({ length: problems * dim }, (_, i) => aims[i % aims.length]!);

  const addon = native();
  const { seed, batch: _batch, ...kept } = settings.native;
  const run: RunIdentity = {
    ...{ ...kept, seed: seed.toString(), targets, neutral, mode: settings.mode },
    // A difference is told by the first key that differs: the models come before what is made with them.
    ...{ generator: generator.info.sha256, clip: clip.info.sha256 },
    ...(settings.native.lambdaId > 0 ? { identity: identity?.info.sha256 } : {}),
    ...{ sources: digest(sources.data), texts: digest(texts) },
  };
  const directory = o.directory === undefined ? undefined : checkPath(o.directory, 'directory');
  const file = directory === undefined ? undefined : join(directory, OPTIMIZE_STATE);
  const before = file === undefined ? undefined : await loadState(file, run);
  const handle = await runNative(
    silent,
    () => addon.createCancel(),
    async (native) =>
      addon.openOptimizer(
        handleOf(generator),
        handleOf(clip),
        identity === undefined ? undefined : handleOf(identity),
        tensorOf(latents),
        { data: texts, shape: [problems, 1, dim] },
        settings.native,
        native,
      ),
  );
  const { restarts, steps, space } = settings.native;
  const rowsAt = async (best: boolean): Promise<Latents> => {
    const { data, shape } = await addon.optimizerLatents(handle, best);
    return Latents.from(data, shape, space, { generatorSha256: generator.info.sha256 });
  };
  const current = async (totals: Float64Array): Promise<Latents> => {
    const rows = await rowsAt(false);
    return Latents.concat(Array.from({ length: problems }, (_, i) => rows.at(bestRow(totals, i, restarts))));
  };
  /** As `keep` says; but the last point of a problem that broke is what broke it, and its best is taken. */
  const outcome = async (state: NativeOptimizerState): Promise<Latents> => {
    const [best, last] = [await rowsAt(true), settings.keep === 'best' ? undefined : await rowsAt(false)];
    const of = (row: number): Latents => (last === undefined || isBroken(state, row) ? best : last).at(row);
    return Latents.concat(Array.from({ length: problems }, (_, i) => of(bestRow(state.bestTotal.data, i, restarts))));
  };
  const save = async (): Promise<void> => {
    if (file === undefined || directory === undefined) return;
    const state = await addon.optimizerState(handle);
    await saveState(file, state, run);
    await (await outcome(state)).save(join(directory, 'latents.safetensors'));
  };
  try {
    if (before === undefined) await save();
    else await addon.restoreOptimizer(handle, before);
    const snapshots: { step: number; images: Images }[] = [];
    const begun = before?.step ?? 0;
    const started = performance.now();
    let [step, running, saved] = [begun, true, started];
    let totals = before?.bestTotal.data ?? new Float64Array(problems * restarts);
    let pace = 1;
    while (running) {
      if (settings.snapshots > 0 && step % settings.snapshots === 0) {
        const images = await generator.synthesize(await current(totals), { ...silent, noise: o.noise });
        snapshots.push({ step, images });
      }
      const next = settings.snapshots > 0 ? settings.snapshots - (step % settings.snapshots) : steps;
      const call = performance.now();
      const wanted = Math.min(pace, next);
      const done = await advance(handle, wanted, silent);
      const now = performance.now();
      pace = Math.max(1, Math.min(1000, Math.round((wanted * CALL_MS) / Math.max(1, now - call))));
      ({ step, running } = done);
      totals = done.best;
      const rate = (step - begun) / Math.max(1e-6, (now - started) / 1000);
      o.onProgress?.({
        ...{ phase: 'optimize', done: step, total: steps, unit: 'steps', rate, secondsLeft: (steps - step) / rate },
        detail: { loss: meanBest(totals, restarts) },
      });
      if (running && now - saved > SAVE_MS) {
        await save();
        saved = performance.now();
      }
    }
    const state = await addon.optimizerState(handle);
    const result = await outcome(state);
    await save();
    const images = await generator.synthesize(result, { ...silent, noise: o.noise });
    if (settings.snapshots > 0) snapshots.push({ step, images });
    return { ...report(state, settings, targets), latents: result, images, snapshots };
  } catch (e) {
    // Whatever ended the run, what it has reached is kept; a failure of that does not hide the first one.
    await save().catch((second: unknown) => log('warn', `the optimization could not be saved: ${String(second)}`));
    throw e;
  } finally {
    await addon.closeOptimizer(handle).catch(() => undefined);
  }
}

async function advance(handle: unknown, steps: number, options: RunOptions) {
  const addon = native();
  return runNative(
    options,
    () => addon.createCancel(),
    async (run) => addon.advanceOptimizer(handle, steps, run),
  );
}

/** Where the way begins, in the run's space. */
async function sourcesOf(
  generator: Generator,
  given: LatentsLike | undefined,
  o: OptimizeOptions,
  settings: OptimizeSettings,
): Promise<Latents> {
  const silent = { signal: o.signal, force: o.force ?? false };
  if (given === undefined && settings.mode === 'edit') {
    fail('ARGUMENT', 'no latents are given', "Pass latents, or { mode: 'free' } to begin at the mean latent.");
  }
  const { space } = settings.native;
  // ψ = 0 is the mean latent.
  const latents =
    given ?? (await generator.sample({ count: 1, seed: 0, truncationPsi: 0, signal: o.signal, space: 'w' }));
  let from = Latents.from(latents);
  if (space === 's') return generator.styles(from, silent);
  if (from.space === 's' || (from.space === 'w_plus' && space === 'w')) {
    fail(
      'ARGUMENT',
      `latents of ${from.space} cannot be brought to ${space}`,
      `Pass latents of ${space}, or optimize in '${from.space}'.`,
    );
  }
  if (from.space === 'z') from = await generator.mapping(from, silent);
  if (space === 'w_plus' && from.space === 'w') return generator.truncate(from, { ...silent, truncationPsi: 1 });
  // Rendering nothing, but checked as if.
  await generator.styles(from.at(0), silent);
  return from;
}

/** [latents × dim], unit rows: what CLIP sees in each latent's picture. */
async function embeddingsOf({ generator, clip }: StyleClip, latents: Latents, o: OptimizeOptions) {
  const how = { as: 'float32', signal: o.signal, noise: o.noise, force: o.force ?? false } as const;
  const images = await generator.synthesize(latents, how);
  return (await clip.encodeImages(images, { normalize: true, signal: o.signal })).data;
}

function tensorOf(latents: Latents): NativeTensor<Float32Array> {
  return { data: latents.data, shape: [...latents.shape] };
}

/** The row of a problem's best restart. */
function bestRow(totals: Float64Array, problem: number, restarts: number): number {
  let row = problem * restarts;
  for (let i = row + 1; i < (problem + 1) * restarts; i++) if (totals[i]! < totals[row]!) row = i;
  return row;
}

function meanBest(totals: Float64Array, restarts: number): number {
  const problems = totals.length / restarts;
  let sum = 0;
  for (let i = 0; i < problems; i++) sum += totals[bestRow(totals, i, restarts)]!;
  return sum / problems;
}

function report(state: NativeOptimizerState, settings: OptimizeSettings, targets: readonly string[]) {
  const { restarts } = settings.native;
  const [rows, , width] = state.curves.shape as [number, number, number];
  const curve = (row: number, part: number, length: number): Float64Array =>
    state.curves.data.slice((row * 4 + part) * width, (row * 4 + part) * width + length);
  const curvesOf = (row: number, length: number): LossCurves => ({
    total: curve(row, 0, length),
    clip: curve(row, 1, length),
    l2: curve(row, 2, length),
    id: curve(row, 3, length),
  });
  const problems: OptimizedProblem[] = [];
  for (let i = 0; i < rows / restarts; i++) {
    const row = bestRow(state.bestTotal.data, i, restarts);
    const stopped = REASONS[Number(state.reason.data[row])] ?? 'steps';
    // Evaluations made: of a row that ended early the rest of its curve was never written.
    let length = width;
    while (length > 1 && !written(state, row, length - 1, width)) length--;
    problems.push({
      ...{ latent: Math.floor(i / targets.length), target: targets[i % targets.length]!, restart: row - i * restarts },
      ...{ stopped, steps: length - 1, bestStep: Number(state.bestStep.data[row]), loss: curvesOf(row, length) },
    });
    if (isBroken(state, row)) {
      const what = stopped === 'exploded' ? 'the loss exploded' : 'the loss or its gradient was no number';
      log(
        'warn',
        `optimize: ${what} at step ${length - 1} of latent ${Math.floor(i / targets.length)}; its best before is kept`,
      );
    }
  }
  return {
    best: Int32Array.from(problems, (p) => p.bestStep),
    stoppedEarly: problems.some((p) => p.stopped !== 'steps'),
    loss: meanCurves(problems),
    problems,
  };
}

function isBroken(state: NativeOptimizerState, row: number): boolean {
  const reason = REASONS[Number(state.reason.data[row])];
  return reason === 'not-finite' || reason === 'exploded';
}

/** Whether a row was evaluated after so many updates. A total that is no number ended the row: its parts tell. */
function written(state: NativeOptimizerState, row: number, step: number, width: number): boolean {
  return [0, 1, 2, 3].some((part) => !Number.isNaN(state.curves.data[(row * 4 + part) * width + step]!));
}

function meanCurves(problems: readonly OptimizedProblem[]): LossCurves {
  const length = Math.max(...problems.map((p) => p.loss.total.length));
  const mean = (part: keyof LossCurves): Float64Array =>
    Float64Array.from({ length }, (_, k) => {
      const values = problems.map((p) => p.loss[part][Math.min(k, p.loss[part].length - 1)]!);
      return values.reduce((a, b) => a + b, 0) / values.length;
    });
  return { total: mean('total'), clip: mean('clip'), l2: mean('l2'), id: mean('id') };
}
