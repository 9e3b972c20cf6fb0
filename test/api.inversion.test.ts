/*
 * Training an encoder and inverting pictures from the public functions, on tiny random models.
 */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import test from 'ava';
import { Encoder, Generator, NoiseMaps, saveDifference, StyleClipError, type InvertOptions } from '../dist/index.js';
import { testFolder, TINY, tinyStyleClip } from './helpers/public-models.js';

const folder = await testFolder();
const tiny = await tinyStyleClip(folder.path);
const w = await tiny.generator.sample({ count: 2, seed: 1, truncationPsi: 1 });
const images = await tiny.generator.synthesize(w);
const NETWORK = { imageSize: 32, channels: [8, 8, 16, 16], reduction: 4, headWidth: 6 };
const TRAINING = { network: NETWORK, steps: 12, batch: 4, warmUp: 2, validation: 8, validateEvery: 4 } as const;
test.after.always(async () => {
  await tiny.close();
  await folder.remove();
});

const error = (name: string): { instanceOf: typeof StyleClipError; code: string } => ({
  instanceOf: StyleClipError,
  code: `ERR_STYLECLIP_${name}`,
});

test('an aborted training goes on to the same weights, and its encoder loads', async (t) => {
  const whole = await tiny.trainEncoder({ ...TRAINING, directory: join(folder.path, 'whole') });
  t.is(whole.step, 12);
  t.deepEqual(
    whole.history.map((h) => h.step),
    [0, 4, 8, 12],
  );
  const directory = join(folder.path, 'part');
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
    await readFile(join(folder.path, 'whole', 'training.safetensors')),
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
  const file = join(folder.path, 'noise.safetensors');
  await done.noise!.save(file);
  const again = await tiny.generator.synthesize(done.latents, { as: 'float32', noiseMaps: await NoiseMaps.load(file) });
  t.deepEqual(again.data, done.images.data);
  for (const { mse, stopped, loss } of done.pictures) {
    t.is(stopped, 'steps');
    t.true(loss!.pixel.some((value) => Math.abs(value - mse) < 1e-4));
  }
});

test('pivotal tuning: the difference loads with the generator', async (t) => {
  const done = await tiny.invert(images, { method: 'pti', steps: 4, tuneSteps: 10, tuneRate: 3e-3, feature: 'none' });
  t.is(done.tuning!.total.length, 10);
  t.true(done.tuning!.pixel.at(-1)! < done.tuning!.pixel[0]!);
  const difference = join(folder.path, 'difference.safetensors');
  await saveDifference(difference, done.difference!);
  await using tuned = await Generator.load(tiny.generator.info.file, { device: 'cpu', difference });
  const again = await tuned.synthesize(done.latents, { as: 'float32', noiseMaps: done.noise! });
  let far = 0;
  again.data.forEach((v, i) => (far = Math.max(far, Math.abs(v - done.images.data[i]!))));
  t.true(far < 1e-3, `${far}`);
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
});
