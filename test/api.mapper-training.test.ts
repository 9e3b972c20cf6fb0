/*
 * StyleClip.trainMapper on tiny models: what a run leaves on the disk, how it ends, and that one that was stopped or killed
 * ends at the same weights.
 */
import { existsSync } from 'node:fs';
import { readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import test from 'ava';
import { Latents, Mapper, StyleClip, type MapperLogLine, type TrainMapperOptions } from '../dist/index.js';
import { readSafetensors } from '../dist/files/safetensors.js';
import { makeTiny, testFolder, tinyStyleClip } from './helpers/public-models.js';

const folder = await testFolder();
const tiny = await tinyStyleClip(folder.path);
const w = await tiny.generator.sample({ count: 5, seed: 1 });
let runs = 0;
const options = (more: Partial<TrainMapperOptions> = {}): TrainMapperOptions & { directory: string } => ({
  ...{ target: 'a fat cat', steps: 12, validateEvery: 4, validation: 3 },
  ...more,
  directory: join(folder.path, `run${runs++}`),
});
const error = (name: string) => ({ name: 'StyleClipError', code: `ERR_STYLECLIP_${name}` });
const lines = async (directory: string): Promise<MapperLogLine[]> =>
  (await readFile(join(directory, 'log.jsonl'), 'utf8'))
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line) as MapperLogLine);
const weights = async (file: string): Promise<string> => {
  await using mapper = await Mapper.load(file, { device: 'cpu' });
  const { data } = await mapper.apply(w);
  return Buffer.from(data.buffer).toString('base64');
};

test.after.always(async () => {
  await tiny.close();
  await folder.remove();
});

test('a run leaves its best mapper, a log and a state; losses fall; progress carries them', async (t) => {
  const o = options({ steps: 40, optimizer: 'adam' });
  const details: Record<string, number>[] = [];
  await using mapper = await tiny.trainMapper({ ...o, onProgress: ({ detail }) => void details.push({ ...detail }) });
  t.deepEqual(mapper.info.levels, ['all'], 'six rows have no levels');
  t.is(mapper.info.generatorSha256, tiny.generator.info.sha256);
  const log = await lines(o.directory);
  const validations = log.filter((line) => line.event === 'validation');
  t.deepEqual(
    log.filter((line) => line.event === 'step').map((line) => line.step),
    Array.from({ length: 40 }, (_, i) => i + 1),
  );
  t.deepEqual(
    validations.map((line) => line.step),
    Array.from({ length: 11 }, (_, i) => i * 4),
  );
  const best = Math.min(...validations.map((line) => line.total));
  t.true(best < validations[0]!.total - 1e-3);
  t.is(mapper.info.training?.['best'], best);
  t.is(mapper.info.training?.['best_step'], validations.findLast((line) => line.best === true)!.step);
  t.true(Number.isFinite(details.at(-1)!['loss']) && details.at(-1)!['best'] === best);
  t.false(existsSync(join(o.directory, `start-${process.pid}.pt`)));
  const moved = await mapper.apply(w);
  t.deepEqual(moved.shape, w.shape);
  t.notDeepEqual(moved.data, w.data);
  const foreign = Latents.from(w.data, w.shape, 'w_plus', { generatorSha256: '0'.repeat(64) });
  await t.throwsAsync(mapper.apply(foreign), error('MODEL_MISMATCH'));
  t.deepEqual((await mapper.apply(foreign, { force: true })).data, moved.data);
});

test('an aborted run goes on to the same bits, on drawn and on given latents', async (t) => {
  for (const given of [undefined, w]) {
    const whole = options({ steps: 40, ...(given === undefined ? {} : { latents: given }) });
    await (await tiny.trainMapper(whole)).close();
    const part = { ...whole, directory: join(folder.path, `run${runs++}`) };
    const controller = new AbortController();
    const reason = new Error('enough');
    const stopped = tiny.trainMapper({
      ...part,
      signal: controller.signal,
      onProgress: ({ done }) => {
        if (done >= 3) controller.abort(reason);
      },
    });
    t.is(await t.throwsAsync(stopped), reason);
    t.true(existsSync(join(part.directory, 'mapper.pt')));
    const dones: number[] = [];
    await (await tiny.trainMapper({ ...part, onProgress: ({ done }) => void dones.push(done) })).close();
    t.true(dones[0]! > 3);
    t.is(await weights(join(part.directory, 'mapper.pt')), await weights(join(whole.directory, 'mapper.pt')));
    t.deepEqual(await lines(part.directory), await lines(whole.directory));
    const [a, b] = [
      await readSafetensors(join(part.directory, 'training.safetensors')),
      await readSafetensors(join(whole.directory, 'training.safetensors')),
    ];
    t.deepEqual(a.tensors, b.tensors);
  }
});

test('a run goes on with more steps, to the weights of one that had them from the start', async (t) => {
  for (const optimizer of ['adam', 'ranger'] as const) {
    const whole = options({ steps: 14, optimizer });
    await (await tiny.trainMapper(whole)).close();
    const part = { ...whole, directory: join(folder.path, `run${runs++}`) };
    await (await tiny.trainMapper({ ...part, steps: 6 })).close();
    await using mapper = await tiny.trainMapper(part);
    t.is(mapper.info.training?.['steps'], 14);
    const state = async ({ directory }: { directory: string }) =>
      (await readSafetensors(join(directory, 'training.safetensors'))).tensors;
    const [a, b] = [await state(part), await state(whole)];
    const names = [...b.keys()].filter((name) => !name.startsWith('best/'));
    t.true(names.some((name) => name.startsWith('weight/')) && names.some((name) => name.startsWith('second/')));
    for (const name of names) t.deepEqual(a.get(name), b.get(name), name);
    // Its end at 6 was validated, which a run of 14 is not there.
    const [log, longer] = [await lines(part.directory), await lines(whole.directory)];
    t.true(log.some(({ event, step }) => event === 'validation' && step === 6));
    const told = (all: MapperLogLine[]) =>
      all
        .filter(({ event, step }) => event === 'step' || step !== 6)
        .map(({ event, step, total, clip, l2, id }) => ({ event, step, total, clip, l2, id }));
    t.deepEqual(told(log), told(longer));
    const thrown = await t.throwsAsync(tiny.trainMapper({ ...part, steps: 13 }), error('RESUME_MISMATCH'));
    t.regex(thrown.message, /has made 14 steps, more than 13/);
  }
});

test('a folder of another run, and a damaged one, are refused', async (t) => {
  const o = options({ steps: 4 });
  await (await tiny.trainMapper(o)).close();
  t.regex((await t.throwsAsync(tiny.trainMapper({ ...o, lambdaL2: 3 }), error('RESUME_MISMATCH'))).message, /lambdaL2/);
  await t.throwsAsync(tiny.trainMapper({ ...o, latents: w }), error('RESUME_MISMATCH'));
  const state = join(o.directory, 'training.safetensors');
  await writeFile(state, (await readFile(state)).subarray(0, -5));
  await t.throwsAsync(tiny.trainMapper(o), error('FILE_DAMAGED'));
  await rm(state);
  await (await tiny.trainMapper(o)).close();
  t.is((await lines(o.directory)).length, 4 + 2, 'the log began anew');
});

test('a run that explodes names its step, and leaves the best before', async (t) => {
  const o = options({ learningRate: 1e6, validateEvery: 100 });
  const thrown = await t.throwsAsync(tiny.trainMapper(o), error('NOT_FINITE'));
  t.regex(thrown.message, /at step \d+;.*mapper\.pt has the best before, of step 0$/);
  await using mapper = await Mapper.load(join(o.directory, 'mapper.pt'));
  t.is(mapper.info.training?.['best_step'], 0);
});

test('with a neutral text each latent has its own aim: its embedding, moved along the direction of the texts', async (t) => {
  const embeddings = async (latents: Latents): Promise<{ data: Float32Array; dim: number }> => {
    const pictures = await tiny.generator.synthesize(latents, { as: 'float32' });
    const { data, shape } = await tiny.clip.encodeImages(pictures, { normalize: true });
    return { data, dim: shape[1] };
  };
  const texts = { target: 'a fat cat', neutral: 'a cat' };
  const { direction: delta } = await tiny.clip.direction({ ...texts, templates: 'none' });
  for (const space of ['w_plus', 's'] as const) {
    const validation = space === 's' ? await tiny.generator.styles(w) : w;
    const { data: sources, dim } = await embeddings(validation);
    for (const [given, shift] of [
      [undefined, 1.5],
      [2.5, 2.5],
      [0, 0],
    ] as const) {
      const o = options({ ...texts, space, validation, shift: given });
      await using mapper = await tiny.trainMapper(o);
      const { data: now } = await embeddings(await mapper.apply(validation));
      let distance = 0;
      for (let i = 0; i < w.length; i++) {
        const aim = Array.from({ length: dim }, (_, c) =>
          shift > 0 ? sources[i * dim + c]! + shift * delta[c]! : delta[c]!,
        );
        const cosine = aim.reduce((sum, v, c) => sum + v * now[i * dim + c]!, 0) / Math.hypot(...aim);
        distance += (1 - cosine) / w.length;
      }
      const best = (await lines(o.directory)).findLast((line) => line.best === true)!;
      t.true(Math.abs(distance - best.clip) < 1e-4, `${space} ${shift}: ${distance} ${best.clip}`);
      t.is(mapper.info.training?.['shift'], shift);
    }
  }
});

test('in s: convolutions, or all layers; and from another mapper', async (t) => {
  const styles = await tiny.generator.styles(w);
  const { layers } = tiny.generator.layout;
  for (const set of ['conv', 'all'] as const) {
    await using mapper = await tiny.trainMapper(options({ space: 's', layers: set, latents: w }));
    const moved = await mapper.apply(styles);
    const total = styles.shape[1]!;
    for (const layer of layers) {
      const changed = moved.data.some((v, i) => {
        const channel = (i % total) - layer.offset;
        return channel >= 0 && channel < layer.channels && v !== styles.data[i];
      });
      t.is(changed, set === 'all' || !layer.toRgb, layer.name);
    }
  }
  const first = options({ steps: 4 });
  await (await tiny.trainMapper(first)).close();
  const second = options({ steps: 4, from: join(first.directory, 'mapper.pt') });
  await using more = await tiny.trainMapper(second);
  const start = (await lines(second.directory)).find((line) => line.event === 'validation')!;
  const end = (await lines(first.directory)).filter((line) => line.event === 'validation');
  t.is(start.total, Math.min(...end.map((line) => line.total)));
  t.deepEqual(more.info.levels, ['all']);
});

test('the identity holds the mapper back', async (t) => {
  const identity = await makeTiny(folder.path, 'identity');
  const { generator, clip } = tiny;
  await using system = await StyleClip.load({ generator: generator.info.file, clip: clip.info.file, identity });
  const last = async (lambdaId: number): Promise<MapperLogLine> => {
    const o = options({ steps: 40, lambdaId });
    await (await system.trainMapper(o)).close();
    return (await lines(o.directory)).findLast((line) => line.event === 'validation')!;
  };
  const [free, held] = [await last(0), await last(50)];
  t.is(free.id, 0, 'not looked at');
  t.true(held.id > 0 && held.l2 < free.l2, `${held.l2} ${free.l2}`);
});

test('what it refuses', async (t) => {
  const refused = async (name: string, more: Partial<TrainMapperOptions>): Promise<void> => {
    const o = options(more);
    await t.throwsAsync(tiny.trainMapper(o), error(name), JSON.stringify(Object.keys(more)));
    t.false(existsSync(join(o.directory, 'mapper.pt')));
  };
  await refused('ARGUMENT', { target: ' ' });
  await refused('ARGUMENT', { levels: ['coarse'] });
  await refused('ARGUMENT', { levels: ['all', 'fine'] });
  await refused('ARGUMENT', { levels: [] });
  await refused('ARGUMENT', { lambdaId: 1 });
  await refused('ARGUMENT', { layers: 'all' });
  await refused('ARGUMENT', { space: 's', levels: ['all'] });
  await refused('ARGUMENT', { from: 'x.pt', levels: ['all'] });
  await refused('FILE_NOT_FOUND', { from: 'x.pt' });
  await refused('ARGUMENT', { shift: 1 });
  await refused('ARGUMENT', { shift: 1, neutral: 'a cat', clipInput: 'raw' });
  await refused('RANGE', { shift: -1, neutral: 'a cat' });
  await refused('RANGE', { steps: 0 });
  await refused('RANGE', { lambdaL2: -1 });
  await refused('RANGE', { validation: 0 });
  await refused('ARGUMENT', { latents: await tiny.generator.sample({ count: 1, seed: 0, space: 'w' }) });
  const foreign = Latents.from(w.data, w.shape, 'w_plus', { generatorSha256: '0'.repeat(64) });
  await refused('MODEL_MISMATCH', { latents: foreign });
  await refused('MODEL_MISMATCH', { validation: foreign });
});
