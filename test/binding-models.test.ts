/*
 * Models as JavaScript owns them: close(), memory over many loads, models that nobody closes, two copies of the addon.
 */
import { execFile } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import anyTest, { type TestFn } from 'ava';
import { rejection, testAddon } from './helpers/addon.js';
import { loadNativeModel, makeNative, ramp } from './helpers/native-models.js';

const test = anyTest as TestFn<{ folder: string; generator: string }>;
const addon = testAddon();
const run = promisify(execFile);

test.before(async (t) => {
  const folder = await mkdtemp(join(tmpdir(), 'styleclip-models-'));
  t.context = { folder, generator: await makeNative(addon, folder, 'generator') };
});
test.after.always(async (t) => {
  if (t.context.folder) await rm(t.context.folder, { recursive: true, force: true });
});

async function child(name: string, args: string[]): Promise<string> {
  const file = fileURLToPath(new URL(`../test/fixtures/${name}`, import.meta.url));
  const { stdout } = await run(process.execPath, [file, ...args], { timeout: 300_000 });
  return stdout;
}

/** Least-squares slope of a series. */
function slope(series: readonly number[]): number {
  const middle = (series.length - 1) / 2;
  const mean = series.reduce((sum, value) => sum + value, 0) / series.length;
  let above = 0;
  let below = 0;
  for (const [i, value] of series.entries()) {
    above += (i - middle) * (value - mean);
    below += (i - middle) ** 2;
  }
  return above / below;
}

test.serial('close() runs after the calls made before it; later calls are refused; it is idempotent', async (t) => {
  const model = await loadNativeModel(addon, t.context.generator, 'generator');
  t.false(model.closed);
  t.true(model.memoryBytes > 0);
  const before = addon.mapping(model, ramp(1, 16), {}, {});
  const [first, second] = [model.close(), model.close()];
  t.true(model.closed);
  t.is((await rejection(addon.mapping(model, ramp(1, 16), {}, {}))).code, 'ERR_STYLECLIP_CLOSED');
  t.deepEqual((await before).shape, [1, 16]);
  await Promise.all([first, second]);
  await model.close();
  t.is(model.memoryBytes, 0);
  // What was read at load stays readable.
  t.is(model.kind, 'generator');
  t.is(model.file, t.context.generator);
});

/*
 * A leak of the model would be a slope of all its bytes; closing has to leave none, up to the noise of the allocators. A
 * forgotten model goes when V8 collects it, which it does in time only because it is told of the memory: the curve is a
 * saw, and the same leak would show as ten times the bound.
 */
for (const { how, loads, bound } of [
  { how: 'close', loads: 200, bound: 0.01 },
  { how: 'forget', loads: 100, bound: 0.1 },
]) {
  test.serial(`memory stays on a plateau over ${loads} loads: ${how}`, async (t) => {
    const folder = await mkdtemp(join(t.context.folder, 'cycles-'));
    const file = await makeNative(addon, folder, 'generator', { mapping_layers: 8, z_width: 512, style_width: 512 });
    const model = await loadNativeModel(addon, file, 'generator');
    const { memoryBytes } = model;
    await model.close();
    t.true(memoryBytes > 8e6);
    const resident = (await child('binding-memory.mjs', [file, how, String(loads)])).trim().split('\n').map(Number);
    t.is(resident.length, loads);
    const perCycle = slope(resident.slice(30)); // the first loads fill the allocators' pools
    t.log(`${(memoryBytes / 1e6).toFixed(1)} MB a model, slope ${(perCycle / 1e3).toFixed(1)} kB a load`);
    t.true(perCycle < bound * memoryBytes, `${perCycle} bytes a load`);
  });
}

test.serial('an idle model that nobody closed keeps neither a process nor a worker alive', async (t) => {
  t.is((await child('binding-idle.mjs', [t.context.generator])).trim(), '0');
});

test.serial('a second copy of the addon in the process is refused by name, and the first goes on', async (t) => {
  const report = JSON.parse(await child('binding-two-copies.mjs', [t.context.generator])) as {
    addon: string;
    copy: string;
    works: boolean;
    error?: { code: string; message: string; remedy: string };
  };
  t.is(report.error?.code, 'ERR_STYLECLIP_ALREADY_LOADED');
  t.true(report.error?.message.includes(report.addon), report.error?.message);
  t.true(report.error?.message.includes(report.copy), report.error?.message);
  t.true(report.works);
});
