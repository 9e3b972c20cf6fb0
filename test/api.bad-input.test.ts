/*
 * What optimization, a mapper's training, inversion and an encoder's training do with what cannot go well: losses that
 * explode or are no number, latents of wrong rows, texts that say nothing, weights below 0, pictures that are none, and
 * models of another generator.
 */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import test, { type ExecutionContext } from 'ava';
import {
  Encoder,
  type EncoderTrainingOptions,
  Images,
  type InvertOptions,
  Latents,
  loadDifference,
  type OptimizeOptions,
  StyleClip,
  StyleClipError,
  type TrainMapperOptions,
} from '../dist/index.js';
import { makeTiny, TINY } from './helpers/public-models.js';
import { TRAINING, tinyRuns } from './helpers/tiny-runs.js';

const { path, tiny, w, images } = await tinyRuns();
const RUN = { target: 'a fat cat', steps: 8 } as const;
const NOT_CLIP = [-1, NaN, -Infinity, Infinity, -1e-9];

let runs = 0;
const directory = (): string => join(path, `run${runs++}`);
const mapping = (more: Partial<TrainMapperOptions>): TrainMapperOptions => ({
  ...{ ...RUN, validateEvery: 4, validation: 2, directory: directory() },
  ...more,
});
const training = (more: Partial<EncoderTrainingOptions>): EncoderTrainingOptions => ({
  ...{ ...TRAINING, warmUp: 0, directory: directory() },
  ...more,
});

async function refused(t: ExecutionContext, name: string, call: Promise<unknown>, note = ''): Promise<string> {
  const { message } = await t.throwsAsync(
    call,
    { instanceOf: StyleClipError, code: `ERR_STYLECLIP_${name}` },
    `${name} ${note}`,
  );
  return message;
}

const finite = (data: Float32Array): boolean => data.every((value) => Number.isFinite(value));

for (const keep of ['best', 'last'] as const) {
  test(`an optimization that explodes stops, tells its step and keeps its best: keep ${keep}`, async (t) => {
    const where = directory();
    const { problems, latents, stoppedEarly } = await tiny.optimize(w, {
      ...{ ...RUN, steps: 20, learningRate: 1e5, lambdaL2: 1, keep, directory: where },
    });
    t.true(stoppedEarly);
    for (const { stopped, steps, bestStep, loss } of problems) {
      t.true(stopped === 'exploded' || stopped === 'not-finite', stopped);
      t.true(steps > 0 && steps < 20 && bestStep < steps, `${steps} ${bestStep}`);
      t.is(loss.total[bestStep], Math.min(...loss.total.slice(0, -1)));
    }
    t.true(finite(latents.data));
    // The first step is the far one: the best is where it began.
    t.deepEqual(latents.data, w.data);
    t.deepEqual((await Latents.load(join(where, 'latents.safetensors'))).data, latents.data);
  });
}

test('an inversion that explodes stops, tells its step and keeps its best, on the disk too', async (t) => {
  const where = directory();
  const { pictures, latents } = await tiny.invert(images, {
    ...{ steps: 20, learningRate: 1e6, lambdaStart: 1, directory: where },
  });
  for (const { stopped, bestStep, loss } of pictures) {
    t.not(stopped, 'steps');
    t.true(loss!.total.length < 21 && bestStep < loss!.total.length);
  }
  t.true(finite(latents.data));
  t.deepEqual((await Latents.load(join(where, 'latents.safetensors'))).data, latents.data);
});

test('a tuning that explodes names its step and leaves its best difference', async (t) => {
  const where = directory();
  const options = { method: 'pti', steps: 2, tuneSteps: 30, tuneRate: 1, feature: 'none', directory: where } as const;
  t.regex(await refused(t, 'NOT_FINITE', tiny.invert(images, options)), /(exploded|no number) at step \d+/);
  const { tensors } = await loadDifference(join(where, 'difference.safetensors'));
  for (const [name, { data }] of Object.entries(tensors)) {
    // Nothing that steps of 1 led to was better than the weights themselves.
    t.true(
      data.every((value) => value === 0),
      name,
    );
  }
});

test("an encoder's training that explodes names its step and leaves its best encoder", async (t) => {
  const where = directory();
  const run = tiny.trainEncoder(training({ learningRate: 1, clipGradient: 1e6, optimizer: 'adam', directory: where }));
  t.regex(await refused(t, 'NOT_FINITE', run), /(exploded|no number) at step \d+/);
  await using encoder = await Encoder.load(join(where, 'encoder.pt'), { device: 'cpu' });
  t.true(finite((await encoder.encode(images)).data));
  const log = (await readFile(join(where, 'log.jsonl'), 'utf8')).trim().split('\n');
  t.is((JSON.parse(log[0]!) as { step: number }).step, 0);
});

test('texts that say nothing', async (t) => {
  for (const target of ['', ' \t', [], ['a fat cat', ''], [' ']] as (string | string[])[]) {
    await refused(t, 'ARGUMENT', tiny.optimize(w, { target }), JSON.stringify(target));
    await refused(t, 'ARGUMENT', tiny.trainMapper(mapping({ target })), JSON.stringify(target));
  }
  for (const neutral of ['', '  ']) {
    await refused(t, 'ARGUMENT', tiny.optimize(w, { ...RUN, neutral }), 'neutral');
    await refused(t, 'ARGUMENT', tiny.trainMapper(mapping({ neutral })), 'neutral');
  }
});

test('weights below 0, or no numbers', async (t) => {
  for (const value of NOT_CLIP) {
    for (const key of ['lambdaClip', 'lambdaL2', 'lambdaId'] as const) {
      const options: OptimizeOptions = { ...RUN, [key]: value };
      await refused(t, 'RANGE', tiny.optimize(w, options), `${key} ${value}`);
      await refused(t, 'RANGE', tiny.trainMapper(mapping({ [key]: value })), `${key} ${value}`);
    }
    for (const key of ['lambdaPixel', 'lambdaPooled', 'lambdaFeature', 'lambdaNoise', 'lambdaStart'] as const) {
      const options: InvertOptions = { steps: 1, noiseMaps: true, [key]: value };
      await refused(t, 'RANGE', tiny.invert(images, options), `${key} ${value}`);
    }
    for (const key of ['lambdaLatent', 'lambdaImage', 'lambdaId', 'lambdaClip', 'lambdaDelta'] as const) {
      await refused(t, 'RANGE', tiny.trainEncoder(training({ [key]: value })), `${key} ${value}`);
    }
  }
});

test('latents of wrong rows', async (t) => {
  const rows = new Float32Array(TINY.rows * TINY.wDim);
  const noBatch = { data: rows, shape: [TINY.rows, TINY.wDim], space: 'w_plus' as const };
  const calls = (latents: unknown): Promise<unknown>[] => [
    tiny.optimize(latents as Latents, RUN),
    tiny.trainMapper(mapping({ latents: latents as Latents })),
    tiny.trainMapper(mapping({ validation: latents as Latents })),
    tiny.invert(images, { start: latents as Latents, space: 'w_plus', steps: 1 }),
  ];
  for (const call of calls(noBatch)) t.regex(await refused(t, 'SHAPE', call), /batch|\[n, /);
  const five = Latents.from(new Float32Array(2 * 5 * TINY.wDim), [2, 5, TINY.wDim], 'w_plus');
  for (const call of calls(five)) t.regex(await refused(t, 'SHAPE', call), /5|rows/);
  const broken = w.data.slice();
  broken[7] = NaN;
  t.throws(() => Latents.from(broken, w.shape, 'w_plus'), {
    instanceOf: StyleClipError,
    message: /NaN at \[0, 0, 7\]/,
  });
  for (const call of calls({ data: broken, shape: w.shape, space: 'w_plus' })) await refused(t, 'NOT_FINITE', call);
});

test('pictures that are none', async (t) => {
  const nothing = new Float32Array(3 * 16 * 16);
  const picture = { count: 1, width: 16, height: 16 };
  const none = { instanceOf: StyleClipError, code: 'ERR_STYLECLIP_SHAPE' };
  t.throws(() => Images.from({ ...picture, data: new Float32Array(767) }), none);
  nothing[5] = NaN;
  const broken = Images.from({ ...picture, data: nothing });
  await refused(t, 'NOT_FINITE', tiny.invert(broken, { steps: 1 }));
  for (const wrong of [undefined, null, 'x.png', 7, {}, [], new Float32Array(768)]) {
    await t.throwsAsync(tiny.invert(wrong as never, { steps: 1 }), { instanceOf: StyleClipError });
  }
});

test('models and latents of another generator', async (t) => {
  const other = await makeTiny(path, 'generator', 'other', 2);
  await using foreign = await StyleClip.load({ generator: other, clip: join(path, 'clip.pt'), device: 'cpu' });
  const trained = await foreign.trainEncoder(training({ steps: 1 }));
  await refused(t, 'MODEL_MISMATCH', tiny.trainEncoder(training({ network: undefined, encoder: trained.file })));
  const { generator, clip } = { generator: tiny.generator.info.file, clip: tiny.clip.info.file };
  await using system = await StyleClip.load({ generator, clip, encoder: trained.file, device: 'cpu' });
  await refused(t, 'MODEL_MISMATCH', system.invert(images, { method: 'encoder' }));
  const { latents } = await foreign.invert(images, { steps: 1, space: 'w_plus' });
  await refused(t, 'MODEL_MISMATCH', tiny.invert(images, { start: latents, space: 'w_plus', steps: 1 }));
  await refused(t, 'MODEL_MISMATCH', tiny.optimize(latents, RUN));
  await refused(t, 'MODEL_MISMATCH', tiny.trainMapper(mapping({ latents })));
  const where = directory();
  await (await foreign.trainMapper(mapping({ steps: 1, directory: where }))).close();
  await refused(t, 'MODEL_MISMATCH', tiny.trainMapper(mapping({ from: join(where, 'mapper.pt') })));
  // A run's directory too.
  await refused(t, 'RESUME_MISMATCH', tiny.trainMapper(mapping({ steps: 1, directory: where })));
});
