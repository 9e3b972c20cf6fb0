/*
 * Latent optimisation from the public functions, on tiny random models: what comes back, how a run ends, and how it goes on.
 */
import { readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import test from 'ava';
import { Identity, Latents, StyleClip, StyleClipError, type OptimizeOptions } from '../dist/index.js';
import { makeTiny, testFolder, TINY, tinyStyleClip } from './helpers/public-models.js';

const folder = await testFolder();
const tiny = await tinyStyleClip(folder.path);
const w = await tiny.generator.sample({ count: 2, seed: 1 });
const RUN = { target: 'a fat cat', steps: 8 } as const;
test.after.always(async () => {
  await tiny.close();
  await folder.remove();
});

const error = (name: string): { instanceOf: typeof StyleClipError; code: string } => ({
  instanceOf: StyleClipError,
  code: `ERR_STYLECLIP_${name}`,
});

const largest = (a: Float32Array, b: Float32Array): number =>
  a.reduce((m, v, i) => Math.max(m, Math.abs(v - b[i]!)), 0);

test('every latent is edited towards every target, and the loss falls', async (t) => {
  const reports: number[] = [];
  const result = await tiny.optimize(w, {
    ...RUN,
    target: ['a fat cat', 'a red cat'],
    onProgress: ({ done, total, unit, detail }) => {
      t.deepEqual([total, unit], [8, 'steps']);
      t.true(Number.isFinite(detail?.['loss']));
      reports.push(done);
    },
  });
  t.is(reports.at(-1), 8);
  t.deepEqual(result.latents.shape, [4, TINY.rows, TINY.wDim]);
  t.is(result.latents.space, 'w_plus');
  t.is(result.latents.meta.generatorSha256, tiny.generator.info.sha256);
  t.is(result.images.count, 4);
  t.deepEqual(
    result.problems.map((p) => [p.latent, p.target, p.stopped, p.steps, p.loss.total.length]),
    [0, 1].flatMap((i) => ['a fat cat', 'a red cat'].map((text) => [i, text, 'steps', 8, 9])),
  );
  t.false(result.stoppedEarly);
  t.is(result.loss.total.length, 9);
  for (const p of result.problems) {
    const lowest = Math.min(...p.loss.total);
    t.is(p.loss.total[p.bestStep], lowest);
    t.true(lowest < p.loss.total[0]!);
    p.loss.total.forEach((total, k) => t.true(Math.abs(total - p.loss.clip[k]! - 0.3 * p.loss.l2[k]!) < 1e-5));
  }
  // What is reported is what the latents give: the CLIP distance of the pictures, computed from outside.
  const pictures = await tiny.generator.synthesize(result.latents, { as: 'float32' });
  const { data } = await tiny.clip.encodeImages(pictures, { normalize: true });
  const { data: texts } = await tiny.clip.encodeText(['a fat cat', 'a red cat'], { normalize: true });
  result.problems.forEach((p, i) => {
    let cosine = 0;
    for (let k = 0; k < TINY.embedding; k++)
      cosine += data[i * TINY.embedding + k]! * texts[(i % 2) * TINY.embedding + k]!;
    t.true(Math.abs(1 - cosine - p.loss.clip[p.bestStep]!) < 1e-4);
  });
});

test('spaces, free generation, and a neutral text', async (t) => {
  const s = await tiny.optimize(w, { ...RUN, space: 's', layers: ['b8.conv0'] });
  t.deepEqual(s.latents.shape, [2, TINY.total]);
  const before = await tiny.generator.styles(w);
  const { layers } = tiny.generator.layout;
  const layer = layers.find((l) => l.name === 'b8.conv0')!;
  const moved = [...s.latents.data.keys()]
    .filter((i) => s.latents.data[i] !== before.data[i])
    .map((i) => i % TINY.total);
  t.deepEqual(
    [...new Set(moved)].toSorted((a, b) => a - b),
    Array.from({ length: layer.channels }, (_, i) => layer.offset + i),
  );
  const z = await tiny.generator.sample({ count: 1, seed: 1, space: 'z' });
  t.deepEqual((await tiny.optimize(z, { ...RUN, space: 'w' })).latents.shape, [1, TINY.wDim]);
  const free = await tiny.optimize(undefined, { ...RUN, mode: 'free', restarts: 2 });
  t.is(free.latents.length, 1);
  t.true(free.problems[0]!.restart < 2);
  const against = await tiny.optimize(w, { ...RUN, neutral: 'a cat' });
  t.true(largest(against.latents.data, (await tiny.optimize(w, RUN)).latents.data) > 1e-3);
});

test('with a neutral text each picture has its own aim: its embedding, moved along the direction of the texts', async (t) => {
  const dim = TINY.embedding;
  const embeddings = async (latents: Latents): Promise<Float32Array> => {
    const pictures = await tiny.generator.synthesize(latents, { as: 'float32' });
    return (await tiny.clip.encodeImages(pictures, { normalize: true })).data;
  };
  const targets = ['a fat cat', 'a red cat'];
  const deltas = await Promise.all(
    targets.map(
      async (target) => (await tiny.clip.direction({ target, neutral: 'a cat', templates: 'none' })).direction,
    ),
  );
  const sources = await embeddings(w);
  for (const [given, shift] of [
    [undefined, 1],
    [2.5, 2.5],
    [0, 0],
  ] as const) {
    const result = await tiny.optimize(w, { ...RUN, target: targets, neutral: 'a cat', shift: given, restarts: 1 });
    const now = await embeddings(result.latents);
    result.problems.forEach((p, i) => {
      const delta = deltas[i % 2]!;
      const source = sources.subarray(p.latent * dim, (p.latent + 1) * dim);
      const aim = Array.from(
        { length: dim },
        (_, c) => (shift > 0 ? source[c]! : 0) + (shift > 0 ? shift : 1) * delta[c]!,
      );
      const length = Math.hypot(...aim);
      const distance = (e: Float32Array): number => 1 - e.reduce((sum, v, c) => sum + v * aim[c]!, 0) / length;
      t.true(Math.abs(distance(source) - p.loss.clip[0]!) < 1e-4, `${distance(source)} ${p.loss.clip[0]}`);
      t.true(Math.abs(distance(now.subarray(i * dim, (i + 1) * dim)) - p.loss.clip[p.bestStep]!) < 1e-4);
      t.true(p.loss.total[p.bestStep]! < p.loss.total[0]!);
    });
  }
  for (const more of [{}, { neutral: 'a cat', mode: 'free' }, { neutral: 'a cat', clipInput: 'raw' }] as const) {
    await t.throwsAsync(tiny.optimize(w, { ...RUN, ...more, shift: 1 }), error('ARGUMENT'));
  }
  await t.throwsAsync(tiny.optimize(w, { ...RUN, neutral: 'a cat', shift: -1 }), error('RANGE'));
});

test('snapshots are pictures of the way', async (t) => {
  const { snapshots, images } = await tiny.optimize(w, { ...RUN, snapshots: 3 });
  t.deepEqual(
    snapshots.map((s) => s.step),
    [0, 3, 6, 8],
  );
  t.deepEqual(snapshots[0]!.images, await tiny.generator.synthesize(w));
  t.is(images.count, 2);
});

test('identity: its share is reported, and keeps the latent nearer', async (t) => {
  const identity = await makeTiny(folder.path, 'identity');
  const { generator, clip } = tiny;
  await using system = await StyleClip.load({ generator: generator.info.file, clip: clip.info.file, identity });
  t.true(system.identity instanceof Identity);
  const strong = await system.optimize(w, { ...RUN, lambdaId: 20 });
  const none = await system.optimize(w, { ...RUN, lambdaId: 0 });
  t.true(Math.abs(strong.problems[0]!.loss.id[0]!) < 1e-5);
  const distance = async (latents: Latents): Promise<number> => {
    const [a, b] = [
      await generator.synthesize(latents, { as: 'float32' }),
      await generator.synthesize(w, { as: 'float32' }),
    ];
    const [x, y] = [await system.identity!.embed(a), await system.identity!.embed(b)];
    return 1 - x.data.reduce((sum, v, i) => sum + v * y.data[i]!, 0) / 2;
  };
  t.true((await distance(strong.latents)) < (await distance(none.latents)));
});

test('the reference preset: sum of squares, raw pictures, an idle first step, the last latent', async (t) => {
  // Its resampling is for pictures of a multiple of 32 pixels; these have 16.
  await t.throwsAsync(tiny.optimize(w, { ...RUN, preset: 'reference' }), error('RANGE'));
  const result = await tiny.optimize(w, { ...RUN, preset: 'reference', clipInput: 'normalised' });
  const { loss } = result.problems[0]!;
  t.is(loss.total[0], loss.total[1], 'the first step moves nothing');
  let sum = 0;
  const each = w.data.length / w.length;
  for (let i = 0; i < each; i++) sum += (result.latents.data[i]! - w.data[i]!) ** 2;
  t.true(Math.abs(loss.l2.at(-1)! - sum) < 1e-4 * sum);
});

test('an aborted run leaves its best on the disk, and the same call goes on to the same latents', async (t) => {
  const whole = await tiny.optimize(w, { ...RUN, steps: 30 });
  const directory = join(folder.path, 'run');
  const options: OptimizeOptions = { ...RUN, steps: 30, directory };
  const controller = new AbortController();
  const reason = new Error('enough');
  const stopped = tiny.optimize(w, {
    ...options,
    signal: controller.signal,
    onProgress: ({ done }) => {
      if (done >= 5) controller.abort(reason);
    },
  });
  t.is(await t.throwsAsync(stopped), reason);
  t.deepEqual((await Latents.load(join(directory, 'latents.safetensors'))).shape, w.shape);
  const dones: number[] = [];
  const resumed = await tiny.optimize(w, { ...options, onProgress: ({ done }) => void dones.push(done) });
  t.true(dones[0]! > 5, `${dones[0]}`);
  t.deepEqual(resumed.latents.data, whole.latents.data);
  t.deepEqual(resumed.problems, whole.problems);
  const again = await tiny.optimize(w, options);
  t.deepEqual(again.latents.data, whole.latents.data, 'a finished run is read, not run');

  const mismatch = await t.throwsAsync(tiny.optimize(w, { ...options, lambdaL2: 1 }), error('RESUME_MISMATCH'));
  t.regex(mismatch.message, /lambdaL2/);
  await t.throwsAsync(tiny.optimize(w.at(0), options), error('RESUME_MISMATCH'));
  const file = join(directory, 'optimize.safetensors');
  await writeFile(file, (await readFile(file)).subarray(0, -7));
  await t.throwsAsync(tiny.optimize(w, options), error('FILE_DAMAGED'));
  await rm(file);
  t.deepEqual((await tiny.optimize(w, options)).latents.data, whole.latents.data);
});

test('a plateau ends a problem', async (t) => {
  const result = await tiny.optimize(w, { ...RUN, steps: 50, patience: 3, tolerance: 10 });
  t.true(result.stoppedEarly);
  t.deepEqual(
    result.problems.map((p) => [p.stopped, p.steps]),
    [
      ['plateau', 3],
      ['plateau', 3],
    ],
  );
  t.is(result.loss.total.length, 4);
});

test('what it refuses', async (t) => {
  const refused = async (options: OptimizeOptions, name: string, latents: Latents | undefined = w): Promise<string> =>
    (await t.throwsAsync(tiny.optimize(latents, options), error(name))).message;
  await refused({ target: ' ' }, 'ARGUMENT');
  await refused({ target: [] }, 'ARGUMENT');
  await refused({ ...RUN, lambdaL2: -1 }, 'RANGE');
  await refused({ ...RUN, steps: 0 }, 'RANGE');
  await refused({ ...RUN, lambdaId: 0.1 }, 'ARGUMENT');
  await refused({ ...RUN, layers: 'conv' }, 'ARGUMENT');
  await refused({ ...RUN, space: 's', layers: ['b8.conv9'] }, 'ARGUMENT');
  await refused({ ...RUN, preset: 'fast' as 'default' }, 'ARGUMENT');
  t.regex(await refused({ ...RUN, stepps: 3 } as OptimizeOptions, 'ARGUMENT'), /stepps/);
  await t.throwsAsync(tiny.optimize(undefined, RUN), error('ARGUMENT'));
  await refused({ ...RUN, space: 'w_plus' }, 'ARGUMENT', await tiny.generator.styles(w));
  const foreign = Latents.from(w.data, w.shape, 'w_plus', { generatorSha256: 'f'.repeat(64) });
  await refused(RUN, 'MODEL_MISMATCH', foreign);
  await refused(RUN, 'SHAPE', Latents.from(new Float32Array(2 * 3 * 16), [2, 3, 16], 'w_plus'));
  t.throws(() => Latents.from(w.data.slice(0, 96), [6, 16], 'w_plus'), error('SHAPE'), 'no batch');
});
