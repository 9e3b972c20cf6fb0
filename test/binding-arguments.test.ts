/*
 * The raw interface under wrong arguments. Nothing that JavaScript can pass may crash the process: every function, every
 * argument and every property is replaced in turn by values of wrong types, ranges and shapes, and each time the call has
 * to fail with one of the package's codes or to work.
 */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import anyTest, { type TestFn } from 'ava';
import type { NativeAddon, NativeModel, NativeStatistics } from '../dist/native.js';
import { rejection, testAddon } from './helpers/addon.js';
import { loadNativeModel, makeNative, type NativeKind, ramp, tensor } from './helpers/native-models.js';
import { RUN_NAMES } from './helpers/native-runs.js';
import { complaint, type Loose, mutations } from './helpers/wrong-arguments.js';

const KINDS: readonly NativeKind[] = ['generator', 'clip', 'identity', 'encoder', 'mapper'];
interface Context {
  folder: string;
  models: Record<NativeKind, NativeModel>;
  /** A whole sweep's directory, and two handles on it. */
  shards: { directory: string; next: unknown; close: unknown };
}
const test = anyTest as TestFn<Context>;
const addon = testAddon();
/** A checkpoint that torch.save wrote: rosinality's, 1.8 thousand weights. */
const CHECKPOINT = fileURLToPath(new URL('../test/data/import/rosinality.pt', import.meta.url));

const SAMPLING = { seed: 1n, truncationPsi: 0.7, truncationCutoff: -1 };
const SWEEPING = {
  ...SAMPLING,
  images: 1,
  sigmas: 5,
  perturb: 'absolute',
  layers: ['b4.conv1'],
  preprocess: 'float',
  noise: 'const',
  batch: 4,
  memoryBytes: 0,
} as const;

function statisticsFor(generator: NativeModel): NativeStatistics {
  const { total } = generator.layout!;
  return { mean: new Float32Array(total).fill(1), sigma: new Float32Array(total).fill(0.1), samples: 10 };
}

test.before(async (t) => {
  const folder = await mkdtemp(join(tmpdir(), 'styleclip-binding-'));
  const models: Partial<Record<NativeKind, NativeModel>> = {};
  for (const kind of KINDS) models[kind] = await loadNativeModel(addon, await makeNative(addon, folder, kind), kind);
  const directory = join(folder, 'sweep');
  const { generator, clip } = models as Record<NativeKind, NativeModel>;
  const open = async (): Promise<unknown> => {
    const options = { ...SWEEPING, layers: [...SWEEPING.layers], directory, part: 1, parts: 1 };
    const { handle, shards } = await addon.openSweep(generator, clip, statisticsFor(generator), options, {});
    for (let i = 0; i < shards; i++) await addon.nextShard(handle, {});
    return handle;
  };
  const shards = { directory, next: await open(), close: await open() };
  t.context = { folder, models: models as Record<NativeKind, NativeModel>, shards };
});

test.after.always(async (t) => {
  if (!t.context.folder) return;
  for (const model of Object.values(t.context.models)) await model.close();
  await rm(t.context.folder, { recursive: true, force: true });
});

/** A call that works, for every function of the interface but `drain`, which ends the environment's calls for good. */
function validCalls({ folder, models, shards }: Context): Partial<Record<keyof NativeAddon, unknown[]>> {
  const { generator, clip, identity, encoder, mapper } = models;
  const { total } = generator.layout!;
  const run = { cancel: addon.createCancel(), onProgress: () => undefined };
  const tokens = (first: number): unknown => tensor(Int32Array.from([30, first, 31, 0, 0, 0, 0, 0]), 1, 8);
  const pictures = tensor(
    Uint8Array.from({ length: 768 }, (_, i) => i % 256),
    1,
    16,
    16,
    3,
  );
  const statistics = statisticsFor(generator);
  return {
    configure: [{ threads: 1 }],
    devices: [''],
    createCancel: [],
    pending: [],
    describe: [generator.file],
    make: [
      {
        kind: 'stylegan2',
        config: JSON.stringify({ image_size: 8, channels: [4, 4], z_width: 4, style_width: 4, mapping_layers: 1 }),
        weights: '',
        seed: 1n,
        storageDtype: 'float32',
        licence: 'CC0-1.0',
        tokenizer: '',
        file: join(folder, 'made.pt'),
      },
      run,
    ],
    inspectCheckpoint: [CHECKPOINT, run],
    findModel: [CHECKPOINT, { kind: 'auto', configPath: '', activation: '' }, run],
    readData: [CHECKPOINT, run],
    load: [generator.file, { kind: 'generator', device: 'cpu', dtype: 'float32', trust: false }, run],
    runMethod: [generator, 'mapping', [ramp(2, 16)], run],
    sample: [generator, { ...SAMPLING, count: 2, first: 0, space: 's', labels: undefined }, run],
    mapping: [generator, ramp(2, 16), { labels: undefined }, run],
    truncate: [generator, ramp(2, 16), { truncationPsi: 0.5, truncationCutoff: 2 }, run],
    styles: [generator, ramp(1, generator.layout!.rows, 16), run],
    synthesize: [generator, ramp(2, total), { noise: 'const', noiseSeed: 0n, batch: 1, as: 'uint8' }, run],
    statistics: [generator, { ...SAMPLING, samples: 8 }, run],
    edit: [
      generator,
      ramp(1, total),
      new Float32Array(total),
      { alpha: Float64Array.of(0, 1), batch: 1, noise: 'const', as: 'float32' },
      run,
    ],
    encodeText: [clip, tokens(3), run],
    encodeImage: [clip, pictures, { preprocess: 'float', batch: 1 }, run],
    textDirection: [clip, tokens(3), tokens(5), run],
    embed: [identity, pictures, run],
    encode: [encoder, pictures, run],
    map: [mapper, ramp(2, 6, 16), { strength: 1 }, run],
    sweep: [generator, clip, statistics, SWEEPING, run],
    openSweep: [generator, clip, statistics, { ...SWEEPING, directory: shards.directory, part: 1, parts: 1 }, run],
    nextShard: [shards.next, run],
    closeSweep: [shards.close],
    sweepPlan: [shards.directory],
    mergeSweep: [shards.directory, run],
    globalDirection: [
      {
        rows: tensor(Float32Array.of(1, 0, 0, 1), 2, 2),
        channels: Int32Array.of(0, 1),
        concentration: Float32Array.of(1, 1),
        sigma: Float32Array.of(1, 1),
      },
      Float32Array.of(0.6, 0.8),
      {
        beta: 0.1,
        channels: 0,
        automaticChannels: 20,
        measure: 'cosine',
        scaleBySigma: true,
        normaliseLargest: true,
      },
    ],
  };
}

/** `writeModel` takes what `findModel` found, once: a test of its own. */
const APART = ['versions', 'drain', 'writeModel', 'testJob', 'testFailure'];
/** Those of runs under way are binding-runs.test.ts's. */
const NAMES = Object.keys(addon).filter((name) => ![...APART, ...(RUN_NAMES as string[])].includes(name));

test('the table below covers the whole interface', (t) => {
  t.deepEqual(Object.keys(validCalls(t.context)).sort(), [...NAMES].sort());
});

for (const name of NAMES as (keyof NativeAddon)[]) {
  test.serial(`wrong arguments: ${name}`, async (t) => {
    const call = addon[name] as Loose;
    const valid = validCalls(t.context)[name]!;
    t.is(await complaint(async (...args) => call(...args), valid), undefined, 'the valid call');
    await t.notThrowsAsync(async () => call(...valid), 'the valid call');
    let tried = 0;
    const complaints: string[] = [];
    for (const [what, args] of mutations(valid, { addon, ...t.context })) {
      const found = await complaint(call, args);
      if (found !== undefined) complaints.push(`${what}: ${found}`);
      tried += 1;
    }
    t.deepEqual(complaints, []);
    t.log(`${tried} calls`);
  });
}

test.serial('wrong arguments: writeModel', async (t) => {
  const { folder } = t.context;
  const call = (addon as unknown as { writeModel: Loose }).writeModel;
  const options = { storageDtype: 'source', licence: 'unknown', tokenizer: '', file: join(folder, 'written.pt') };
  const find = async (): Promise<unknown> =>
    (await addon.findModel(CHECKPOINT, { kind: 'auto', configPath: '', activation: '' }, {})).handle;
  const handle = await find();
  await t.notThrowsAsync(async () => call(handle, options, {}), 'the valid call');
  t.is((await rejection(call(handle, options, {}) as Promise<unknown>)).code, 'ERR_STYLECLIP_ARGUMENT', 'used twice');
  const complaints: string[] = [];
  for (const [what, args] of mutations([await find(), options, {}], { addon, ...t.context })) {
    // A handle that a call took is not to hide what is wrong with the next call's options.
    const found = await complaint(
      call,
      args.length > 0 && what.includes('argument 1') ? [await find(), ...args.slice(1)] : args,
    );
    if (found !== undefined) complaints.push(`${what}: ${found}`);
  }
  t.deepEqual(complaints, []);
});

test('methods and constructors of the native classes refuse foreign objects', async (t) => {
  const { generator } = t.context.models;
  const cancel = addon.createCancel();
  const Model = (generator as unknown as { constructor: new (...args: unknown[]) => unknown }).constructor;
  t.throws(() => new Model());
  t.throws(() => new Model({}));
  const close = Object.getPrototypeOf(generator) as { close: () => Promise<void> };
  t.throws(() => close.close.call({} as NativeModel));
  t.throws(() => close.close.call(cancel as unknown as NativeModel));
  t.throws(() => cancel.abort.call(generator as never));
  for (const property of ['kind', 'file', 'closed', 'memoryBytes', 'layout']) {
    for (const receiver of [{}, cancel, Object.create(generator) as object]) {
      t.throws(() => Reflect.get(close, property, receiver) as unknown, { code: 'ERR_STYLECLIP_ARGUMENT' });
    }
  }
  t.is(
    (await rejection(addon.mapping(cancel as unknown as NativeModel, ramp(1, 16), {}, {}))).code,
    'ERR_STYLECLIP_ARGUMENT',
  );
  t.is((await rejection(addon.mapping(t.context.models.clip, ramp(1, 16), {}, {}))).code, 'ERR_STYLECLIP_MODEL_KIND');
});

test('views are read at their own offset, and inputs are copied before a call returns', async (t) => {
  const { generator } = t.context.models;
  const z = ramp(2, 16);
  const expected = await addon.mapping(generator, z, {}, {});
  const wide = new Float32Array(7 + 32 + 9).fill(1e6);
  wide.set(z.data, 7);
  const view = wide.subarray(7, 39);
  const call = addon.mapping(generator, { data: view, shape: [2, 16] }, {}, {});
  view.fill(NaN);
  t.deepEqual(await call, expected);
});

test('results are owned copies of the right type', async (t) => {
  const { generator } = t.context.models;
  const [w] = await addon.runMethod(generator, 'mapping', [ramp(2, 16)], {});
  t.deepEqual(w, await addon.mapping(generator, ramp(2, 16), {}, {}));
  t.true(w!.data.buffer instanceof ArrayBuffer);
  t.is(w!.data.byteOffset, 0);
  const again = structuredClone(w!.data, { transfer: [w!.data.buffer as ArrayBuffer] });
  t.is(again.length, 2 * 16);
});
