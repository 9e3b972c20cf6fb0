/*
 * The raw interface's runs under wrong arguments: every argument and property replaced in turn, tensors of wrong sizes and
 * types, buffers that are gone, handles that are closed or another run's, models closed under a run, and states whose
 * numbers no run has written.
 */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import anyTest, { type TestFn } from 'ava';
import type { NativeAddon, NativeTensor } from '../dist/native.js';
import { rejection, testAddon } from './helpers/addon.js';
import { CONFIGS, loadNativeModel, makeNative, type NativeKind, ramp } from './helpers/native-models.js';
import {
  CALLS,
  handleCalls,
  type NativeRunKind,
  openingCalls,
  type RunModels,
  RUN_NAMES,
  RUNS,
} from './helpers/native-runs.js';
import {
  complaint,
  hostileStates,
  type Loose,
  mutations,
  type Surroundings,
  tensorMutations,
} from './helpers/wrong-arguments.js';

interface Context {
  around: Surroundings;
  models: RunModels;
}
const test = anyTest as TestFn<Context>;
const addon = testAddon();
const LPIPS = fileURLToPath(new URL('../test/data/models/perceptual.pt', import.meta.url));

const call = (name: keyof NativeAddon): Loose => addon[name] as Loose;

async function loadAll(folder: string): Promise<RunModels> {
  const models: Partial<RunModels> = {};
  for (const kind of Object.keys(CONFIGS) as NativeKind[]) {
    models[kind] = await loadNativeModel(addon, join(folder, `${kind}.pt`), kind);
  }
  const trusted = { kind: 'perceptual', device: 'cpu', dtype: 'float32', trust: true } as const;
  models.perceptual = await addon.load(LPIPS, trusted, {});
  return models as RunModels;
}

test.before(async (t) => {
  const folder = await mkdtemp(join(tmpdir(), 'styleclip-runs-'));
  for (const kind of Object.keys(CONFIGS) as NativeKind[]) await makeNative(addon, folder, kind);
  const models = await loadAll(folder);
  t.context = { models, around: { addon, models, folder } };
});

test.after.always(async (t) => {
  if (!t.context.around) return;
  for (const model of Object.values(t.context.models)) await model.close();
  await rm(t.context.around.folder, { recursive: true, force: true });
});

/** A run of a kind, two steps in, and its state then. */
async function begun(kind: NativeRunKind, models: RunModels): Promise<{ handle: unknown; state: object }> {
  const handle = await call(kind.open)(...openingCalls(models)[kind.open]!);
  await call(kind.advance)(handle, 2, {});
  return { handle, state: (await call(kind.state)(handle)) as object };
}

/** Tries every wrong list of arguments; a list of what was wrong with the answers. */
async function complaints(name: Loose, valid: unknown[], around: Surroundings): Promise<[number, string[]]> {
  let tried = 0;
  const found: string[] = [];
  for (const wrongs of [mutations(valid, around), tensorMutations(valid)]) {
    for (const [what, args] of wrongs) {
      const wrong = await complaint(name, args);
      if (wrong !== undefined) found.push(`${what}: ${wrong}`);
      tried += 1;
    }
  }
  return [tried, found];
}

test('noise maps are one for all pictures or one for each', async (t) => {
  const { generator } = t.context.models;
  const s = ramp(3, generator.layout!.total);
  const maps = (n: number): NativeTensor<Float32Array>[] => [4, 8, 8, 16, 16].map((size) => ramp(n, 1, size, size));
  for (const n of [1, 3]) t.is((await addon.synthesizeNoise(generator, s, maps(n), {})).shape[0], 3);
  for (const n of [2, 4]) {
    t.is((await rejection(addon.synthesizeNoise(generator, s, maps(n), {}))).code, 'ERR_STYLECLIP_SHAPE');
  }
  t.is((await rejection(addon.synthesizeNoise(generator, s, maps(1).slice(1), {}))).code, 'ERR_STYLECLIP_SHAPE');
});

for (const name of [...Object.values(RUNS).map(({ open }) => open), ...CALLS]) {
  test.serial(`wrong arguments: ${name}`, async (t) => {
    const { models, around } = t.context;
    const kind = Object.values(RUNS).find(({ open }) => open === name);
    const made: Loose = async (...args) => {
      const result = await call(name)(...args);
      if (kind) await call(kind.close)(result);
    };
    const valid = openingCalls(models)[name]!;
    await t.notThrowsAsync(async () => made(...valid), 'the valid call');
    const [tried, found] = await complaints(made, valid, around);
    t.deepEqual(found, []);
    t.log(`${tried} calls`);
  });
}

/** Whether a hostile state's step, of a run of four, is one that no such run can be at. */
function noStep(what: string): boolean {
  const [, value] = /^(?:step|step\[0\]|numbers\[0\]) = (\S+)$/.exec(what) ?? [];
  return value !== undefined && !['0', '1', '2', '3', '4'].includes(value);
}

for (const [label, kind] of Object.entries(RUNS)) {
  test.serial(`wrong arguments behind a handle: ${label}`, async (t) => {
    const { models, around } = t.context;
    const { handle, state } = await begun(kind, models);
    const other = Object.values(RUNS).find((one) => one !== kind)!;
    const { handle: foreign } = await begun(other, models);
    const calls = [
      ...handleCalls(kind, handle, state, around.folder),
      [kind.close, [handle]] as [keyof NativeAddon, unknown[]],
    ];
    for (const [name, valid] of calls) {
      if (name !== kind.close) await t.notThrowsAsync(async () => call(name)(...valid), `${name}: the valid call`);
      const [tried, found] = await complaints(call(name), valid, around);
      t.deepEqual(found, [], name);
      const { code } = await rejection(call(name)(foreign, ...valid.slice(1)) as Promise<unknown>);
      t.is(code, 'ERR_STYLECLIP_ARGUMENT', `${name} of another run's handle`);
      t.log(`${name}: ${tried} calls`);
    }
    // The wrong calls did the run no harm.
    await t.notThrowsAsync(async () => call(kind.restore)(handle, state));
    t.deepEqual(await call(kind.state)(handle), state);
    await call(other.close)(foreign);
    await call(kind.close)(handle);
    for (const [name, valid] of calls) {
      if (name === kind.close) await t.notThrowsAsync(async () => call(name)(handle), 'closed twice');
      else t.is((await rejection(call(name)(...valid) as Promise<unknown>)).code, 'ERR_STYLECLIP_CLOSED', name);
    }
  });

  test.serial(`states that no run wrote: ${label}`, async (t) => {
    const { models, around } = t.context;
    const { handle, state } = await begun(kind, models);
    let taken = 0;
    let refused = 0;
    const found: string[] = [];
    for (const [what, hostile] of hostileStates(state)) {
      const code = await (call(kind.restore)(handle, hostile) as Promise<void>).then(
        () => '',
        (error: unknown) => String((error as { code?: string }).code),
      );
      if (code === '') taken += 1;
      else refused += 1;
      if (code === '' && noStep(what)) found.push(`${what}: taken`);
      if (!/^(|ERR_STYLECLIP_(SHAPE|RANGE|ARGUMENT))$/.test(code)) found.push(`${what}: restored: ${code}`);
      if (code !== '') continue;
      // What was taken can be gone on from, asked and left again.
      for (const [name, args] of handleCalls(kind, handle, state, around.folder)) {
        const wrong = await complaint(call(name), args);
        if (wrong !== undefined) found.push(`${what}: ${name}: ${wrong}`);
      }
    }
    t.deepEqual(found, []);
    t.log(`${taken} taken, ${refused} refused`);
    await call(kind.restore)(handle, state);
    t.deepEqual(await call(kind.state)(handle), state);
    await call(kind.close)(handle);
  });

  test.serial(`models closed under a run: ${label}`, async (t) => {
    const { folder } = t.context.around;
    const models = await loadAll(folder);
    const { handle, state } = await begun(kind, models);
    for (const model of Object.values(models)) await model.close();
    const opening = openingCalls(t.context.models)[kind.open]!.map((argument) => {
      const at = Object.values(t.context.models).indexOf(argument as never);
      return at < 0 ? argument : Object.values(models)[at];
    });
    t.is((await rejection(call(kind.open)(...opening) as Promise<unknown>)).code, 'ERR_STYLECLIP_CLOSED');
    for (const name of [kind.advance, kind.restore]) {
      const args = name === kind.advance ? [handle, 1, {}] : [handle, state];
      t.is((await rejection(call(name)(...args) as Promise<unknown>)).code, 'ERR_STYLECLIP_CLOSED', name);
    }
    // What is in the run's own memory may still be had: the best so far is not lost.
    for (const [name, args] of handleCalls(kind, handle, state, folder)) {
      t.is(await complaint(call(name), args), undefined, name);
    }
    await t.notThrowsAsync(async () => call(kind.close)(handle));
  });
}

test('the tables cover every call of the runs', (t) => {
  const known = new Set<string>(RUN_NAMES);
  const runs = /Optimizer|Inverter|Tuner|Training|Trained|^inverter|^optimizer|^tuner/;
  t.deepEqual(
    Object.keys(addon).filter((name) => runs.test(name) && !known.has(name)),
    [],
  );
  for (const name of RUN_NAMES) t.is(typeof addon[name], 'function', name);
});
