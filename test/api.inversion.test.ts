/*
 * Training an encoder and inverting pictures from the public functions, on tiny random models.
 */
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import test, { type ExecutionContext } from 'ava';
import { readSafetensors } from '../dist/files/safetensors.js';
import {
  Encoder,
  Generator,
  Images,
  Latents,
  loadDifference,
  NoiseMaps,
  Perceptual,
  saveDifference,
  StyleClip,
  StyleClipError,
  type InvertOptions,
} from '../dist/index.js';
import { TINY } from './helpers/public-models.js';
import { TRAINING, tinyRuns } from './helpers/tiny-runs.js';

const { path, tiny, w, images } = await tinyRuns({ truncationPsi: 1 });
/** forward(a, b): the mean absolute difference. */
const LPIPS = fileURLToPath(new URL('../test/data/models/perceptual.pt', import.meta.url));

/** Largest difference of two batches of pictures. */
function farthest(a: Images, b: Images): number {
  let far = 0;
  a.data.forEach((value, i) => (far = Math.max(far, Math.abs(value - b.data[i]!))));
  return far;
}

const error = (name: string): { instanceOf: typeof StyleClipError; code: string } => ({
  instanceOf: StyleClipError,
  code: `ERR_STYLECLIP_${name}`,
});

test('an aborted training goes on to the same weights, and its encoder loads', async (t) => {
  const whole = await tiny.trainEncoder({ ...TRAINING, directory: join(path, 'whole') });
  t.is(whole.step, 12);
  t.deepEqual(
    whole.history.map((h) => h.step),
    [0, 4, 8, 12],
  );
  const directory = join(path, 'part');
  const controller = new AbortController();
  const reason = new Error('enough');
  const stopped = tiny.trainEncoder({
    ...{ ...TRAINING, directory, signal: controller.signal },
    onProgress: ({ done }) => {
      if (done >= 5) controller.abort(reason);
    },
  });
  t.is(await t.throwsAsync(stopped), reason);
  const resumed = await tiny.trainEncoder({ ...TRAINING, directory });
  t.true(resumed.history[0]!.step > 4);
  t.deepEqual(
    await readFile(join(directory, 'training.safetensors')),
    await readFile(join(path, 'whole', 'training.safetensors')),
  );
  const log = (await readFile(join(directory, 'log.jsonl'), 'utf8')).trim().split('\n');
  t.deepEqual(
    log.map((line) => (JSON.parse(line) as { step: number }).step),
    [0, 4, 8, 12],
  );
  await using encoder = await Encoder.load(resumed.file, { device: 'cpu' });
  const codes = await encoder.encode(images);
  t.deepEqual(codes.shape, [2, TINY.rows, TINY.wDim]);
  t.is(codes.meta.generatorSha256, tiny.generator.info.sha256);
  const mismatch = await t.throwsAsync(
    tiny.trainEncoder({ ...TRAINING, directory, mixing: 0.5 }),
    error('RESUME_MISMATCH'),
  );
  t.regex(mismatch.message, /mixing/);
});

test('the projector: latents and noise maps give the picture that is reported', async (t) => {
  const done = await tiny.invert(images, { steps: 12, snapshots: 6 });
  t.deepEqual(done.latents.shape, [2, TINY.wDim]);
  t.deepEqual(
    done.snapshots.map((s) => s.step),
    [0, 6, 12],
  );
  const file = join(path, 'noise.safetensors');
  await done.noise!.save(file);
  const again = await tiny.generator.synthesize(done.latents, { as: 'float32', noiseMaps: await NoiseMaps.load(file) });
  t.deepEqual(again.data, done.images.data);
  for (const { mse, stopped, loss } of done.pictures) {
    t.is(stopped, 'steps');
    t.true(loss!.pixel.some((value) => Math.abs(value - mse) < 1e-4));
  }
});

const PTI = { method: 'pti', steps: 4, tuneSteps: 10, tuneRate: 3e-3, feature: 'none' } as const;

test('pivotal tuning: the difference loads with the generator', async (t) => {
  const done = await tiny.invert(images, PTI);
  t.is(done.tuning!.total.length, 10);
  t.true(done.tuning!.pixel.at(-1)! < done.tuning!.pixel[0]!);
  t.deepEqual(done.tuning!.locality, new Float64Array(10));
  t.is(done.noise, undefined, "tuned with the generator's own maps");
  const difference = join(path, 'difference.safetensors');
  await saveDifference(difference, done.difference!);
  const { file } = tiny.generator.info;
  await using tuned = await Generator.load(file, { device: 'cpu', difference });
  t.true(tuned.tuned);
  t.false(tiny.generator.tuned);
  t.true(farthest(await tuned.synthesize(done.latents, { as: 'float32' }), done.images) < 1e-3);

  const clip = tiny.clip.info.file;
  await using system = await StyleClip.load({ generator: file, clip, difference: done.difference!, device: 'cpu' });
  t.true(farthest(await system.generator.synthesize(done.latents, { as: 'float32' }), done.images) < 1e-3);
  await t.throwsAsync(system.invert(images, PTI), { ...error('ARGUMENT'), message: /tuned before/ });

  const kept = await tiny.invert(images, { ...PTI, noiseMaps: true });
  const { noise: noiseMaps } = kept;
  await using other = await Generator.load(file, { device: 'cpu', difference: kept.difference! });
  t.true(farthest(await other.synthesize(kept.latents, { as: 'float32', noiseMaps: noiseMaps! }), kept.images) < 1e-3);
  t.true(farthest(await other.synthesize(kept.latents, { as: 'float32' }), kept.images) > 1e-2);
});

test('pivotal tuning with locality', async (t) => {
  const done = await tiny.invert(images, { ...PTI, lambdaLocality: 0.1, localityDistance: 2 });
  const { total, pixel, locality } = done.tuning!;
  t.is(locality[0], 0, 'nothing is tuned yet');
  t.true(locality.at(-1)! > 0);
  t.true(Math.abs(total[9]! - pixel[9]! - 0.1 * locality[9]!) < 1e-6);
});

/** A run of an inversion in a directory that is stopped in a phase and then goes on, beside one that is not. */
async function stoppedAndWhole(t: ExecutionContext, name: string, options: InvertOptions, phase: string) {
  const whole = await tiny.invert(images, { ...options, directory: join(path, `${name}-whole`) });
  const directory = join(path, name);
  const controller = new AbortController();
  const reason = new Error('enough');
  let losses = 0;
  const stopped = tiny.invert(images, {
    ...{ ...options, directory, signal: controller.signal },
    onProgress: (report) => {
      if (report.detail?.['loss'] !== undefined) losses++;
      if (report.phase === phase && report.done >= 3) controller.abort(reason);
    },
  });
  t.is(await t.throwsAsync(stopped), reason);
  t.true(losses > 0);
  return { whole, directory, again: async () => tiny.invert(images, { ...options, directory }) };
}

test('a descent that was stopped has left its best, and goes on to the same latents', async (t) => {
  const options = { steps: 40, batch: 1 };
  const { whole, directory, again } = await stoppedAndWhole(t, 'descent', options, 'invert');
  const best = await Latents.load(join(directory, 'latents.safetensors'));
  t.deepEqual(best.shape, whole.latents.shape);
  t.is((await NoiseMaps.load(join(directory, 'noise.safetensors'))).length, 2);
  const state = await readSafetensors(join(directory, 'invert.safetensors'));
  const step = Buffer.from(state.tensors.get('step')!.bytes).readBigInt64LE();
  t.true(step >= 3n && step < 40n, `${step}`);
  const resumed = await again();
  t.deepEqual(resumed.latents.data, whole.latents.data);
  t.deepEqual(resumed.noise!.maps, whole.noise!.maps);
  t.deepEqual(resumed.pictures, whole.pictures);
  t.deepEqual((await again()).latents.data, whole.latents.data, 'a finished run is read again');
  const other = await t.throwsAsync(
    tiny.invert(images, { ...options, directory, lambdaNoise: 3 }),
    error('RESUME_MISMATCH'),
  );
  t.regex(other.message, /lambdaNoise/);
  const darker = Images.from({ ...images, data: images.data.map((v) => Math.max(0, v - 1)) });
  t.regex(
    (await t.throwsAsync(tiny.invert(darker, { ...options, directory }), error('RESUME_MISMATCH'))).message,
    /targets/,
  );
  await writeFile(join(directory, 'invert.safetensors'), 'no state');
  await t.throwsAsync(again(), error('FILE_DAMAGED'));
});

test('a tuning that was stopped has left its best, and goes on to the same generator', async (t) => {
  const options = { ...PTI, tuneSteps: 40, lambdaLocality: 0.1, localityDistance: 2 };
  const { whole, directory, again } = await stoppedAndWhole(t, 'tuning', options, 'tune');
  const left = await loadDifference(join(directory, 'difference.safetensors'));
  t.deepEqual(Object.keys(left.tensors).toSorted(), Object.keys(whole.difference!.tensors).toSorted());
  const resumed = await again();
  t.deepEqual(resumed.tuning, whole.tuning);
  t.deepEqual(resumed.difference, whole.difference);
  t.deepEqual(await loadDifference(join(directory, 'difference.safetensors')), whole.difference);
  const other = await t.throwsAsync(
    tiny.invert(images, { ...options, directory, lambdaLocality: 0.2 }),
    error('RESUME_MISMATCH'),
  );
  t.regex(other.message, /lambdaLocality/);
});

test('a module that compares: what it says is told of the pictures that came out', async (t) => {
  const done = await tiny.invert(images, { steps: 6, lpips: LPIPS, trust: true });
  await using lpips = await Perceptual.load(LPIPS, { device: 'cpu', trust: true });
  const distances = await lpips.compare(done.images, images);
  const [a, b] = [done.images.data, images.toFloat32().data];
  for (const [i, picture] of done.pictures.entries()) {
    const each = a.length / 2;
    let sum = 0;
    for (let k = i * each; k < (i + 1) * each; k++) sum += Math.abs(a[k]! - b[k]!);
    t.true(Math.abs(picture.lpips! - sum / each) < 1e-5);
    t.is(picture.lpips, distances[i]);
    t.true(picture.loss!.feature.some((value) => Math.abs(value - picture.lpips!) < 1e-5));
  }
  await t.throwsAsync(lpips.compare(done.images, images.at(0)), error('SHAPE'));
  t.is((await tiny.invert(images, { steps: 1 })).pictures[0]!.lpips, undefined);
});

test("Ranger trains an encoder too, and is part of the run's identity", async (t) => {
  const directory = join(path, 'ranger');
  const done = await tiny.trainEncoder({ ...TRAINING, optimizer: 'ranger', directory });
  t.is(done.step, 12);
  const state = await readSafetensors(join(directory, 'training.safetensors'));
  t.true([...state.tensors.keys()].some((name) => name.startsWith('slow.')));
  const other = await t.throwsAsync(tiny.trainEncoder({ ...TRAINING, directory }), error('RESUME_MISMATCH'));
  t.regex(other.message, /optimizer/);
});

test('what it refuses', async (t) => {
  const refused = async (options: InvertOptions, name: string): Promise<unknown> =>
    t.throwsAsync(tiny.invert(images, options), error(name));
  await refused({ method: 'encoder' }, 'ARGUMENT');
  await refused({ method: 'image2stylegan', space: 'w' }, 'ARGUMENT');
  await refused({ refineSteps: 3 }, 'ARGUMENT');
  await refused({ feature: 'identity' }, 'ARGUMENT');
  await refused({ steps: 0 }, 'RANGE');
  await refused({ lambdaPixel: -1 }, 'RANGE');
  await refused({ start: w, steps: 1 }, 'SHAPE');
  await refused({ lambdaLocality: 0.1 }, 'ARGUMENT');
  await refused({ method: 'pti', lambdaLocality: -0.1 }, 'RANGE');
  await refused({ method: 'pti', localityDistance: 0 }, 'RANGE');
  await refused({ lpips: LPIPS }, 'TRUST');
  await refused({ lpips: LPIPS, feature: 'clip', trust: true }, 'ARGUMENT');
});
