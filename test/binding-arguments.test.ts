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
import { type NativeError, rejection, testAddon } from './helpers/addon.js';
import { loadNativeModel, makeNative, type NativeKind, ramp, tensor } from './helpers/native-models.js';

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

type Loose = (...args: unknown[]) => unknown;

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

function transferred(): Float32Array {
  const array = new Float32Array(32);
  structuredClone(array, { transfer: [array.buffer] });
  return array;
}

/** Values that are wrong nearly everywhere. A fresh list each time: some are used up. */
function wrongValues(models: Record<NativeKind, NativeModel>): unknown[] {
  const thrower = {
    get data(): never {
      throw new RangeError('from a getter');
    },
    shape: [1],
  };
  return [
    undefined,
    null,
    true,
    NaN,
    -1,
    0.5,
    1e300,
    -Infinity,
    2 ** 53,
    '',
    'nonsense',
    'a\0b',
    '\ud800',
    -1n,
    2n ** 64n,
    Symbol('s'),
    () => 1,
    {},
    Object.create(null),
    thrower,
    new Proxy({}, { get: () => ({}) }),
    [],
    [1, 2],
    ['nonsense'],
    [null],
    new Array(2 ** 32 - 1),
    new Float32Array(0),
    new Float32Array(3),
    new Float64Array(3).fill(NaN),
    new BigUint64Array(2),
    new Uint8ClampedArray(4),
    new DataView(new ArrayBuffer(8)),
    new ArrayBuffer(8),
    new Float32Array(new SharedArrayBuffer(128)),
    transferred(),
    tensor(new Float32Array(4), 2, 3),
    tensor(new Float32Array(0), 0, 5),
    tensor(new Float32Array(4), -2, -2),
    tensor(new Float32Array(4), 2 ** 32, 2 ** 32),
    tensor(new Float32Array(4), NaN),
    tensor(new Float32Array(6).fill(NaN), 2, 3),
    tensor(new Float32Array(1), ...new Array<number>(40).fill(1)),
    tensor(transferred(), 32),
    tensor(new Float32Array(new SharedArrayBuffer(128)), 32),
    tensor(new BigInt64Array(16), 1, 16),
    tensor(new Uint16Array(32), 2, 16),
    tensor(new Uint8Array(768), 1, 16, 16, 3),
    tensor(Int32Array.from([30, -7, 1e9, 0, 0, 0, 0, 0]), 1, 8),
    { data: new Float32Array(1), shape: { length: 1 } },
    addon.createCancel(),
    Object.create(addon.createCancel()),
    ...Object.values(models),
    Object.create(models.generator),
  ];
}

/** Codes that are no answer to wrong arguments: they say that libtorch was reached with them. */
const BUGS = new Set(['ERR_STYLECLIP_INTERNAL']);

/** undefined when the call worked or failed as it should, else what is wrong with it. */
async function complaint(call: Loose, args: unknown[]): Promise<string | undefined> {
  let error: NativeError;
  try {
    const result: unknown = await call(...args);
    // A load that worked after all must not stay loaded.
    if (result !== null && typeof result === 'object' && 'close' in result) await (result as NativeModel).close();
    return undefined;
  } catch (e) {
    error = e as NativeError;
  }
  if (error instanceof RangeError && error.message === 'from a getter') return undefined;
  if (error.code === 'ABORTED') return undefined;
  if (typeof error.code !== 'string' || !error.code.startsWith('ERR_STYLECLIP_')) return `no code: ${error.stack}`;
  if (BUGS.has(error.code)) return `${error.code}: ${error.message}: ${error.causeText.split('\n')[0]}`;
  if (typeof error.remedy !== 'string' || error.remedy === '') return `no remedy: ${error.message}`;
  return undefined;
}

/** The argument lists that differ from a valid one in one argument or one property of an argument. */
function* mutations(valid: unknown[], { folder, models }: Context): Generator<[string, unknown[]]> {
  for (let count = 0; count < valid.length; count += 1) yield [`${count} arguments`, valid.slice(0, count)];
  for (let position = 0; position < valid.length; position += 1) {
    for (const [i, value] of wrongValues(models).entries())
      yield [`argument ${position}, value ${i}`, valid.with(position, value)];
    const argument = valid[position];
    if (Array.isArray(argument)) {
      for (const [i, value] of wrongValues(models).entries()) {
        yield [`argument ${position}[0], value ${i}`, valid.with(position, [value])];
      }
    }
    if (typeof argument !== 'object' || argument === null || Object.getPrototypeOf(argument) !== Object.prototype)
      continue;
    for (const key of Object.keys(argument)) {
      for (const [i, wrong] of wrongValues(models).entries()) {
        // `make` may well write a file of that name, and `openSweep` make a directory: not into the working directory.
        const value = ['file', 'directory'].includes(key) && typeof wrong === 'string' ? join(folder, wrong) : wrong;
        yield [`argument ${position}.${key}, value ${i}`, valid.with(position, { ...argument, [key]: value })];
      }
    }
  }
}

/** `writeModel` takes what `findModel` found, once: a test of its own. */
const APART = ['versions', 'drain', 'writeModel', 'testJob', 'testFailure'];
/** Runs under way, behind handles, and calls of many parts: the public functions' tests give them their options. */
const RUNS = [
  ...['Optimizer', 'Inverter', 'Tuner', 'EncoderTraining', 'MapperTraining'].flatMap((run) => [
    ...[`open${run}`, `advance${run}`, `close${run}`],
  ]),
  ...['optimizerState', 'restoreOptimizer', 'optimizerLatents', 'inverterResult', 'tunerResult', 'validateEncoder'],
  ...['inverterState', 'restoreInverter', 'tunerState', 'restoreTuner', 'perceptualDistance'],
  ...['encoderTrainingState', 'restoreEncoderTraining', 'writeTrainedEncoder', 'mapperTrainingState'],
  ...['restoreMapperTraining', 'writeTrainedMapper', 'applyDifference', 'synthesizeNoise', 'screen'],
];
const NAMES = Object.keys(addon).filter((name) => !APART.includes(name) && !RUNS.includes(name));

test('runs under way refuse what is no handle and no model', async (t) => {
  const { generator } = t.context.models;
  for (const name of RUNS) {
    const call = addon[name as keyof NativeAddon] as Loose;
    t.is(typeof call, 'function', name);
    // An object or list without differences changes nothing, rightly.
    const objects = name === 'applyDifference' ? [] : [{}, [], addon.createCancel(), () => 0];
    for (const wrong of [undefined, null, 7, 'x', ...objects]) {
      for (const args of [
        [],
        Array.from({ length: 7 }, () => wrong),
        [generator, ...Array.from({ length: 6 }, () => wrong)],
      ]) {
        const { code = 'resolved' } = await Promise.resolve(call(...args)).then(
          () => ({}) as { code?: string },
          (e: unknown) => e as { code?: string },
        );
        t.regex(code, /^ERR_STYLECLIP_(ARGUMENT|SHAPE|RANGE|MODEL_KIND)$/, `${name}: ${code}`);
      }
    }
  }
});

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
    for (const [what, args] of mutations(valid, t.context)) {
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
  for (const [what, args] of mutations([await find(), options, {}], t.context)) {
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
