// Training a latent mapper (StyleCLIP section 5). The core makes the steps; here is what surrounds them: texts, the network
// that it starts from, the folder of the run, and its end.

import { mkdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { makeArchive } from './archive.js';
import { checkInteger, checkPath, fail } from './check.js';
import { log } from './configure.js';
import { Latents, type LatentsLike } from './latents.js';
import { Mapper } from './mapper.js';
import { mapperSettings, type MapperSettings, type TrainMapperOptions } from './mapper-settings.js';
import { loadTraining, saveTraining, TrainingLog, type MapperLogLine } from './mapper-state.js';
import { handleOf } from './model.js';
import { checkMatch } from './model-match.js';
import type { NativeMapperLogEntry, NativeMapperSituation, NativeTensor } from './native.js';
import { digest, type RunIdentity } from './run-file.js';
import { native } from './runtime.js';
import { checkRun, runNative } from './signals.js';
import type { StyleClip } from './styleclip.js';
import { textAims } from './text-aims.js';
import type { RunOptions } from './types.js';

export const MAPPER_FILE = 'mapper.pt';
export const TRAINING_STATE = 'training.safetensors';
export const TRAINING_LOG = 'log.jsonl';
const VALIDATION = 16;
/** A native call lasts about this long, so that progress is told of and the run is saved in time. */
const CALL_MS = 300;
const SAVE_MS = 10_000;

/** See {@link StyleClip.trainMapper}. */
export async function trainMapper(system: StyleClip, options: TrainMapperOptions): Promise<Mapper> {
  const { generator, clip, identity } = system;
  const { o, settings } = mapperSettings(options, identity !== undefined, generator.layout.rows);
  checkRun(o);
  const silent: RunOptions = { signal: o.signal };
  const directory = checkPath(o.directory, 'directory');
  const texts = await textAims(clip, settings.targets, settings.neutral, o.templates ?? 'none', silent);
  await mkdir(directory, { recursive: true }).catch((cause: unknown) =>
    fail('DISK', `the folder ${directory} cannot be made`, 'Name another one.', cause),
  );
  await using mapper = await networkFor(system, o, settings, directory);
  const { space } = mapper.info;
  const latents = o.latents === undefined ? undefined : await broughtTo(space, system, o.latents, o);
  const validation = await validationOf(space, system, o, settings);

  const addon = native();
  // A training of more steps begins as one of fewer: their number is no part of what it is.
  const { seed, steps, ...kept } = settings.native;
  const run: RunIdentity = {
    ...{ ...kept, seed: seed.toString(), targets: settings.targets, neutral: settings.neutral },
    // A difference is told by the first key that differs: the models come before what is made with them.
    ...{ generator: generator.info.sha256, clip: clip.info.sha256 },
    ...(settings.native.lambdaId > 0 ? { identity: identity?.info.sha256 } : {}),
    ...{ mapper: mapper.info.description['config'], start: o.from === undefined ? 'random' : mapper.info.sha256 },
    ...{ texts: digest(texts), validation: digest(validation.data) },
    ...(latents === undefined ? {} : { latents: digest(latents.data) }),
  };
  const files = {
    state: join(directory, TRAINING_STATE),
    mapper: join(directory, MAPPER_FILE),
    log: new TrainingLog(join(directory, TRAINING_LOG)),
  };
  const before = await loadTraining(files.state, run);
  if (before !== undefined && before.step > steps) {
    fail(
      'RESUME_MISMATCH',
      `${files.state} is of a run that has made ${before.step} steps, more than ${steps}`,
      'Ask for as many or more, name another directory, or remove the file to start anew.',
    );
  }
  await files.log.begin(before);
  const handle = await runNative(
    silent,
    () => addon.createCancel(),
    async (call) =>
      addon.openMapperTraining(
        handleOf(generator),
        handleOf(clip),
        identity === undefined ? undefined : handleOf(identity),
        handleOf(mapper),
        { data: texts, shape: [settings.targets.length, texts.length / settings.targets.length] },
        latents === undefined ? undefined : tensorOf(latents),
        tensorOf(validation),
        settings.native,
        call,
      ),
  );
  let written = -1;
  const save = async (): Promise<void> => {
    const { situation, ...state } = await addon.mapperTrainingState(handle);
    files.log.add(situation.log.map(logLine));
    await files.log.flush();
    if (state.bestStep < 0) return;
    if (state.bestStep !== written) {
      const { best, bestStep } = state;
      const training = { ...describe(run, steps), best, best_step: bestStep };
      const { licence } = settings;
      await addon.writeTrainedMapper(handle, { file: files.mapper, licence, training: JSON.stringify(training) });
      written = bestStep;
    }
    await saveTraining(files.state, state, run);
  };
  let failed = false;
  try {
    if (before !== undefined) await addon.restoreMapperTraining(handle, before);
    const last = await advanceAll(handle, before?.step ?? 0, o, settings, files.log, save);
    await save();
    if (last.end === 'not-finite' || last.end === 'exploded') {
      const what = last.end === 'exploded' ? 'the loss exploded' : 'the loss or a gradient was no number';
      const kept =
        written < 0 ? 'nothing was reached before' : `${files.mapper} has the best before, of step ${written}`;
      fail(
        'NOT_FINITE',
        `trainMapper: ${what} at step ${last.step + 1}; ${kept}`,
        'Lower learningRate or the λs, and start anew in another directory.',
      );
    }
  } catch (e) {
    failed = true;
    // Whatever ended the run, what it has reached is kept; a failure of that does not hide the first one.
    await save().catch((second: unknown) => log('warn', `the training could not be saved: ${String(second)}`));
    throw e;
  } finally {
    await addon.closeMapperTraining(handle).catch((e: unknown) => {
      if (!failed) log('warn', `the training could not be closed: ${String(e)}`);
    });
  }
  return Mapper.load(files.mapper, { device: generator.info.device as 'cpu', signal: o.signal });
}

/** Calls until the end, told of and saved now and then. */
async function advanceAll(
  handle: unknown,
  begun: number,
  o: TrainMapperOptions,
  settings: MapperSettings,
  lines: TrainingLog,
  save: () => Promise<void>,
): Promise<NativeMapperSituation> {
  const addon = native();
  const total = settings.native.steps;
  const started = performance.now();
  let [pace, saved] = [1, started];
  for (;;) {
    const call = performance.now();
    const now: NativeMapperSituation = await runNative(
      { signal: o.signal },
      () => addon.createCancel(),
      async (run) => addon.advanceMapperTraining(handle, pace, run),
    );
    const time = performance.now();
    lines.add(now.log.map(logLine));
    const rate = (now.step - begun) / Math.max(1e-6, (time - started) / 1000);
    const loss = now.log.findLast((entry) => !entry.validation)?.total;
    o.onProgress?.({
      ...{ phase: 'train', done: now.step, total, unit: 'steps', rate },
      ...(rate > 0 ? { secondsLeft: (total - now.step) / rate } : {}),
      detail: { ...(loss === undefined ? {} : { loss }), best: now.best },
    });
    o.signal?.throwIfAborted();
    if (!now.running) return now;
    pace = Math.max(1, Math.min(1000, Math.round((pace * CALL_MS) / Math.max(1, time - call))));
    if (saved === started || time - saved > SAVE_MS) {
      await save();
      saved = performance.now();
    }
  }
}

/** The network that is trained: newly drawn, or a copy of another one. */
async function networkFor(
  system: StyleClip,
  o: TrainMapperOptions,
  settings: MapperSettings,
  directory: string,
): Promise<Mapper> {
  const { generator } = system;
  const where = { device: generator.info.device as 'cpu', dtype: 'float32' as const, signal: o.signal };
  if (o.from !== undefined) {
    const mapper = await Mapper.load(o.from, where);
    const { generatorSha256, file } = mapper.info;
    try {
      checkMatch(file, generatorSha256, generator.info.sha256, generator.info.file, o.force === true);
    } catch (e) {
      await mapper.close();
      throw e;
    }
    return mapper;
  }
  const { layers, rows } = generator.layout;
  const config =
    settings.space === 's'
      ? { space: 's', channels: layers.map((layer) => layer.channels), layers: settings.layers }
      : { space: 'w_plus', rows, styleWidth: generator.info.wDim, levels: settings.levels };
  const file = join(directory, `start-${process.pid}.pt`);
  try {
    await makeArchive(file, { kind: 'mapper', config, seed: settings.native.seed, signal: o.signal });
    return await Mapper.load(file, where);
  } finally {
    await rm(file, { force: true });
  }
}

async function validationOf(
  space: 'w_plus' | 's',
  system: StyleClip,
  o: TrainMapperOptions,
  settings: MapperSettings,
): Promise<Latents> {
  const given = o.validation ?? VALIDATION;
  if (typeof given !== 'number') return broughtTo(space, system, given, o);
  const { seed, truncationPsi } = settings.native;
  return system.generator.sample({
    ...{ count: checkInteger(given, 'validation', 1, 1_000_000), seed: BigInt.asUintN(64, seed + 1n) },
    ...{ truncationPsi, space, signal: o.signal },
  });
}

/** Latents in the mapper's space. */
async function broughtTo(
  space: 'w_plus' | 's',
  system: StyleClip,
  given: LatentsLike,
  o: TrainMapperOptions,
): Promise<Latents> {
  const { generator } = system;
  const options = { signal: o.signal, force: o.force ?? false };
  const from = Latents.from(given);
  if (space === 's') return generator.styles(from, options);
  if (from.space !== 'w_plus') {
    fail('ARGUMENT', `latents of ${from.space} are given; the mapper takes w_plus`, 'Pass w_plus latents.');
  }
  // Rendering nothing, but checked as if.
  await generator.styles(from.at(0), options);
  return from;
}

/** What the archive says of its training. */
function describe(run: RunIdentity, steps: number): Record<string, unknown> {
  const { targets, neutral, lambdaClip, lambdaL2, lambdaId, clipInput, shift, optimizer, learningRate, batch } = run;
  return {
    ...{
      targets,
      neutral,
      shift,
      lambda_clip: lambdaClip,
      lambda_l2: lambdaL2,
      lambda_id: lambdaId,
      clip_input: clipInput,
    },
    ...{ optimizer, learning_rate: learningRate, steps, batch, seed: run['seed'], start: run['start'] },
    ...{ generator_sha256: run['generator'], clip_sha256: run['clip'], identity_sha256: run['identity'] },
  };
}

function logLine(entry: NativeMapperLogEntry): MapperLogLine {
  const { validation, best, step, total, clip, l2, id } = entry;
  const loss = { step, total, clip, l2, id };
  return validation ? { event: 'validation', ...loss, best } : { event: 'step', ...loss };
}

function tensorOf(latents: Latents): NativeTensor<Float32Array> {
  return { data: latents.data, shape: [...latents.shape] };
}
