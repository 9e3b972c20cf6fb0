// Opening libtorch and the addon, each time in a process of its own, with wrong libtorches standing in the way.

import { execFile } from 'node:child_process';
import { copyFile, mkdir, symlink, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Worker } from 'node:worker_threads';
import test, { type ExecutionContext } from 'ava';
import { requireLibtorch } from '../tools/libtorch/discover.mjs';
import { addonFilesIn, addonFolders, type AddonFiles } from '../dist/load.js';
import { makeLibrary, makeLibtorch, scratch } from './helpers/fake-libtorch.js';

const PROGRAM = fileURLToPath(new URL('../test/fixtures/load-native.mjs', import.meta.url));
const LOAD = new URL('../dist/load.js', import.meta.url).href;
/** A library that ends the process that opens it. */
const DEADLY = '#include <stdlib.h>\n__attribute__((constructor)) static void die(void) { abort(); }\n';

interface Outcome {
  signal: string | null;
  versions?: { torch: string; builtTorch: string; napi: number };
  error?: { code: string; message: string; remedy: string; cause?: string };
  mapped: string[];
}

/** Runs fixtures/load-native.mjs. */
function load(request: object = {}, env: NodeJS.ProcessEnv = {}): Promise<Outcome> {
  return new Promise((resolve, reject) => {
    const options = { env: { ...process.env, ...env } };
    execFile(process.execPath, [PROGRAM, JSON.stringify(request)], options, (error, stdout) => {
      const signal = error?.signal ?? null;
      if (stdout === '' && signal === null) reject(new Error('the program printed nothing', { cause: error }));
      else resolve({ signal, ...(stdout === '' ? { mapped: [] } : (JSON.parse(stdout) as Omit<Outcome, 'signal'>)) });
    });
  });
}

/** The build under test. */
function built(): AddonFiles {
  const files = addonFolders()
    .map(addonFilesIn)
    .find((f) => typeof f !== 'string');
  if (files === undefined) throw new Error('the addon is not built');
  return files;
}

/** A package folder with a copy of the addon, said to be built with another libtorch. */
async function packageWith(t: ExecutionContext, record: string): Promise<string> {
  const root = await scratch(t);
  const folder = join(root, 'build', 'Release');
  await mkdir(folder, { recursive: true });
  const { addon, preload } = built();
  await symlink(addon, join(folder, 'styleclip.node'));
  await symlink(preload, join(folder, 'styleclip_preload.so'));
  await writeFile(join(folder, 'styleclip.build.json'), record);
  return root;
}

test('the real one opens, from the place that was found and no other', async (t) => {
  const { versions, mapped, error } = await load();
  t.is(error, undefined);
  t.is(versions?.builtTorch, built().builtWith);
  t.is(versions?.napi, 9);
  const { directory } = requireLibtorch({ builtWith: built().builtWith });
  t.deepEqual(mapped.toSorted(), [join(directory, 'lib/libc10.so'), join(directory, 'lib/libtorch_cpu.so')]);
});

test('a decoy libtorch in the search path of the linker is never opened', async (t) => {
  const root = await scratch(t);
  await makeLibrary(join(root, 'libtorch_cpu.so'), { source: DEADLY });
  await makeLibrary(join(root, 'libc10.so'), { source: DEADLY });
  const decoy = { LD_LIBRARY_PATH: root };
  // Without the preload the linker takes it. (It gets as far as the missing symbols, since the addon is linked -z now.)
  t.regex((await load({ addonOnly: built().addon }, decoy)).error?.message ?? '', /undefined symbol/);
  const { signal, error, mapped, versions } = await load({}, decoy);
  t.is(signal, null);
  t.is(error, undefined);
  t.truthy(versions);
  t.false(mapped.some((file) => file.startsWith(root)));
});

test('without libtorch the addon alone does not open, and says so', async (t) => {
  const { error } = await load({ addonOnly: built().addon });
  t.is(error?.code, 'ERR_DLOPEN_FAILED');
});

test('another version is refused before anything of it is opened', async (t) => {
  const root = await scratch(t);
  const libtorch = await makeLibtorch(root, { version: '2.12.0', source: DEADLY });
  const { signal, error, mapped } = await load({ libtorch });
  t.is(signal, null);
  t.is(error?.code, 'ERR_STYLECLIP_LIBTORCH_VERSION');
  t.regex(error?.remedy ?? '', /styleclip setup/);
  t.deepEqual(mapped, []);
});

test('an addon built with another libtorch than the one here is refused too', async (t) => {
  const root = await packageWith(t, '{ "torch": "2.99.0" }');
  const { error, mapped } = await load({ root });
  t.is(error?.code, 'ERR_STYLECLIP_LIBTORCH_VERSION');
  t.regex(error?.message ?? '', /needs 2\.99/);
  t.deepEqual(mapped, []);
});

test('a libtorch that another addon has opened is found out', async (t) => {
  const root = await scratch(t);
  const other = await makeLibtorch(root, { version: '2.13.0' });
  const first = [join(other, 'lib', 'libc10.so')];
  const { error, mapped } = await load({ preload: built().preload, first });
  t.is(error?.code, 'ERR_STYLECLIP_LIBTORCH_VERSION');
  t.true(error?.message.includes(first[0]!));
  t.true(error?.remedy.includes(other));
  t.deepEqual(mapped, first);
});

test('a libtorch of the right version that lacks a library names it', async (t) => {
  const root = await scratch(t);
  const libtorch = await makeLibtorch(root, { version: built().builtWith, needs: 'libcudart.so.99' });
  const { error } = await load({ libtorch });
  t.is(error?.code, 'ERR_STYLECLIP_LIBTORCH_NOT_FOUND');
  t.regex(error?.message ?? '', /needs libcudart\.so\.99/);
  t.regex(error?.cause ?? '', /cannot open shared object file/);
});

test('a libtorch of the right version that is not libtorch fails to open, and the process lives', async (t) => {
  const root = await scratch(t);
  const libtorch = await makeLibtorch(root, { version: built().builtWith });
  const { signal, error } = await load({ libtorch });
  t.is(signal, null);
  t.is(error?.code, 'ERR_STYLECLIP_ADDON_NOT_FOUND');
  t.regex(error?.message ?? '', /undefined symbol/);
});

test('without an addon the error lists both folders and the repair', async (t) => {
  const root = await scratch(t);
  const { error } = await load({ root });
  t.is(error?.code, 'ERR_STYLECLIP_ADDON_NOT_FOUND');
  for (const folder of addonFolders(root)) t.true(error?.message.includes(`${folder}: no styleclip.node`));
  t.regex(error?.remedy ?? '', /npm run build/);
});

test("one's own build comes before the prebuilt one, and a broken one is passed over", async (t) => {
  const root = await scratch(t);
  const [own, prebuilt] = addonFolders(root) as [string, string];
  const { addon, preload, builtWith } = built();
  for (const folder of [own, prebuilt]) {
    await mkdir(folder, { recursive: true });
    await copyFile(preload, join(folder, 'styleclip_preload.so'));
    await writeFile(join(folder, 'styleclip.build.json'), JSON.stringify({ torch: builtWith }));
  }
  await writeFile(join(own, 'styleclip.node'), 'not a library');
  await copyFile(addon, join(prebuilt, 'styleclip.node'));
  const { versions, error } = await load({ root });
  t.is(error, undefined);
  t.truthy(versions);
  await writeFile(join(prebuilt, 'styleclip.node'), 'not a library');
  const broken = await load({ root });
  t.is(broken.error?.code, 'ERR_STYLECLIP_ADDON_NOT_FOUND');
  t.regex(broken.error?.message ?? '', /invalid ELF header|file too short/);
});

test('a record that cannot be read counts as no build', async (t) => {
  for (const record of ['{}', 'nonsense', '{ "torch": 2 }']) {
    const root = await packageWith(t, record);
    const files = addonFilesIn(addonFolders(root)[0]!);
    t.regex(typeof files === 'string' ? files : 'taken', /styleclip\.build\.json/, record);
  }
});

test('several worker threads open it at the same time', async (t) => {
  const source = `
    const { parentPort } = require('node:worker_threads');
    import(${JSON.stringify(LOAD)}).then(({ loadNative }) => parentPort.postMessage(loadNative().versions.builtTorch));
  `;
  const answers = Array.from({ length: 4 }, async () => {
    const worker = new Worker(source, { eval: true });
    const answer = await new Promise((resolve, reject) => worker.once('message', resolve).once('error', reject));
    await worker.terminate();
    return answer;
  });
  t.deepEqual(
    await Promise.all(answers),
    Array.from({ length: 4 }, () => built().builtWith),
  );
});

test('the preload library refuses what is no absolute path', (t) => {
  const module = { exports: {} as { open: (this: void, libraries: unknown) => void } };
  process.dlopen(module, built().preload);
  const { open } = module.exports;
  for (const bad of [undefined, 'x', ['libm.so.6'], [''], [3], [null]])
    t.throws(() => open(bad), { instanceOf: TypeError });
  t.throws(() => open([join(dirname(PROGRAM), 'absent.so')]), { message: /absent\.so.*cannot open/ });
  t.notThrows(() => open([]));
});
