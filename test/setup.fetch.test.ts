// Fetching libtorch: from wheels on disk, and through a pip that is a script of ours. No network.

import { mkdir, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import test, { type ExecutionContext } from 'ava';
import { fetchLibtorch, type FetchOptions, type Plan } from '../tools/libtorch/fetch.mjs';
import { discoverLibtorch } from '../tools/libtorch/discover.mjs';
import { cudaRequirements, wantedTorchFile } from '../tools/libtorch/wheels.mjs';
import { listZip, unpackZip } from '../tools/libtorch/zip.mjs';
import { StyleClipError } from '../dist/errors.js';
import { makeLibrary, makeLibtorch, makeWheel, scratch, zip, type FakeOptions } from './helpers/fake-libtorch.js';

const PYTHON = fileURLToPath(new URL('../test/fixtures/fake-python.mjs', import.meta.url));
const TORCH = 'torch-2.13.0-cp312-cp312-linux.whl';

/** A folder with a torch wheel and, for a CUDA build, NVIDIA's; an empty cache; an environment that leads to both. */
async function prepare(t: ExecutionContext, options: FakeOptions = {}) {
  const root = await scratch(t);
  const wheels = join(root, 'wheels');
  const cache = join(root, 'cache');
  await mkdir(wheels);
  await makeLibtorch(join(root, 'tree'), options);
  await makeLibrary(join(root, 'tree/torch/lib/libtorch_python.so'));
  const metadata = { 'torch-2.13.0.dist-info/METADATA': 'Name: torch\n', 'torch/nn/functional.py': 'unwanted\n' };
  await makeWheel(join(wheels, TORCH), join(root, 'tree'), metadata);
  if (options.needs !== undefined) {
    const tree = join(root, 'nvidia-tree');
    await makeLibrary(join(tree, 'nvidia/cu13/lib', options.needs));
    await makeLibrary(join(tree, 'nvidia/cu13/lib/libunwanted.so'));
    await makeWheel(join(wheels, 'nvidia_cuda_runtime-13.0.96-py3-none-linux.whl'), tree);
  }
  const log = join(root, 'pip.log');
  await writeFile(log, '');
  const env: NodeJS.ProcessEnv = {
    PATH: process.env['PATH'],
    STYLECLIP_CACHE: cache,
    STYLECLIP_PYTHON: PYTHON,
    FAKE_WHEELS: wheels,
    FAKE_LOG: log,
    ...(options.needs === undefined ? {} : { FAKE_CUDA: '1' }),
  };
  const asked = async () => (await readFile(log, 'utf8')).split('\n').filter((line) => line !== '');
  return { root, wheels, cache, env, asked };
}

async function failure(options: FetchOptions): Promise<StyleClipError> {
  const error: unknown = await fetchLibtorch(options).catch((e: unknown) => e);
  if (!StyleClipError.is(error)) throw new Error(`no StyleClipError came, but ${String(error)}`);
  return error;
}

test("through pip: resolved, announced, downloaded, checked, unpacked in the wheel's layout", async (t) => {
  const { cache, env, wheels, asked } = await prepare(t, { version: '2.13.0+cpu' });
  const plans: Plan[] = [];
  const phases = new Set<string>();
  const made = await fetchLibtorch({
    env,
    confirm: (plan) => plans.push(plan) > 0,
    onProgress: ({ phase }) => phases.add(phase.split(' ')[0] ?? ''),
  });
  t.is(made.path, join(cache, 'libtorch-2.13.0+cpu', 'torch'));
  t.like(made, { version: '2.13.0+cpu', variant: 'cpu' });
  t.is(made.sha256.length, 64);
  t.is(plans.length, 1);
  t.is(plans[0]?.bytes, (await stat(join(wheels, TORCH))).size);
  t.regex(plans[0]?.wheels[0]?.licence ?? '', /BSD-3-Clause/);
  t.true(phases.has('unpacking'));
  t.deepEqual((await readdir(join(made.path, 'lib'))).toSorted(), ['libc10.so', 'libtorch_cpu.so']);
  t.deepEqual(await readdir(cache), ['libtorch-2.13.0+cpu']);
  t.is(discoverLibtorch({ env: { STYLECLIP_CACHE: cache }, needHeaders: true }).found?.directory, made.path);
  t.deepEqual(await asked(), ['resolve', 'download']);

  t.deepEqual(await fetchLibtorch({ env }), made);
  t.deepEqual(await asked(), ['resolve', 'download']);
});

test('a CUDA build brings the libraries that libtorch_cpu needs, where its run path looks, and no others', async (t) => {
  const needs = 'libcudart.so.13';
  const { env, cache } = await prepare(t, { version: '2.13.0+cu130', cuda: '13.0', needs });
  const { variant } = await fetchLibtorch({ env });
  t.is(variant, 'cu130');
  t.deepEqual(await readdir(join(cache, 'libtorch-2.13.0+cu130', 'nvidia/cu13/lib')), [needs]);
});

test('offline, from a wheel and from a folder of wheels', async (t) => {
  const { env, wheels, cache, asked } = await prepare(t, { version: '2.13.0+cu130', needs: 'libcudart.so.13' });
  for (const from of [join(wheels, TORCH), wheels]) {
    const { path } = await fetchLibtorch({ env, from });
    t.is(path, join(cache, 'libtorch-2.13.0+cu130', 'torch'));
  }
  t.deepEqual(await asked(), []);
  await rm(join(wheels, 'nvidia_cuda_runtime-13.0.96-py3-none-linux.whl'));
  const error = await failure({ env, from: wheels });
  t.is(error.code, 'ERR_STYLECLIP_LIBTORCH_NOT_FOUND');
  t.regex(error.message, /needs libcudart\.so\.13/);
  t.regex(error.remedy, /nvidia_cuda_runtime/);
  t.is((await failure({ env, from: join(wheels, 'gone.whl') })).code, 'ERR_STYLECLIP_FILE_NOT_FOUND');
  t.is((await failure({ env, from: cache })).code, 'ERR_STYLECLIP_LIBTORCH_NOT_FOUND');
  // What failed left nothing, and what was there stays.
  t.deepEqual(await readdir(cache), ['libtorch-2.13.0+cu130']);
});

test('a broken download is tried again, three times at most', async (t) => {
  const { env, asked, cache } = await prepare(t);
  await fetchLibtorch({ env: { ...env, FAKE_FAILURES: '2' } });
  t.deepEqual(await asked(), ['resolve', 'download', 'download', 'download']);

  const other = await prepare(t);
  const error = await failure({ env: { ...other.env, FAKE_FAILURES: '9' } });
  t.is(error.code, 'ERR_STYLECLIP_LIBTORCH_NOT_FOUND');
  t.regex(error.message, /the connection broke/);
  t.is((await other.asked()).length, 4);
  t.deepEqual(await readdir(other.cache), []);
  t.true((await readdir(cache)).length > 0);
});

test('a wrong checksum deletes the file and stops', async (t) => {
  const { env, cache } = await prepare(t);
  const error = await failure({ env: { ...env, FAKE_LIES: '1' } });
  t.is(error.code, 'ERR_STYLECLIP_FILE_DAMAGED');
  t.regex(error.message, /sha256 [0-9a-f]{64}; 0{64} was announced/);
  t.deepEqual(await readdir(cache), []);
});

test('too little space is said before anything is downloaded', async (t) => {
  const { env, cache, asked } = await prepare(t);
  const error = await failure({ env, freeBytes: () => Promise.resolve(1000) });
  t.is(error.code, 'ERR_STYLECLIP_DISK');
  t.regex(error.message, /needs about .* GiB/);
  t.deepEqual(await asked(), ['resolve']);
  t.deepEqual(await readdir(cache), []);
});

test('the answer no, an unknown version, and a pip that finds nothing', async (t) => {
  const { env, asked, wheels } = await prepare(t);
  t.regex((await failure({ env, confirm: () => false })).message, /the answer was no/);
  t.deepEqual(await asked(), ['resolve']);
  t.is((await failure({ env, version: '1.13.1' })).code, 'ERR_STYLECLIP_ARGUMENT');
  await rm(join(wheels, TORCH));
  const error = await failure({ env });
  t.regex(error.message, /No matching distribution found for torch==/);
  t.regex(error.remedy, /--from/);
});

test('a damaged wheel leaves nothing behind', async (t) => {
  const { env, wheels, cache } = await prepare(t);
  const file = join(wheels, TORCH);
  const bytes = await readFile(file);
  for (const length of [0, 100, bytes.length - 30]) {
    await writeFile(file, bytes.subarray(0, length));
    t.is((await failure({ env, from: file })).code, 'ERR_STYLECLIP_FILE_DAMAGED', `${length} bytes`);
  }
  const { offset } = (await listZipOf(t, bytes)).find((entry) => entry.name === 'torch/lib/libtorch_cpu.so')!;
  bytes[offset + 200]! ^= 0xff;
  await writeFile(file, bytes);
  t.is((await failure({ env, from: file })).code, 'ERR_STYLECLIP_FILE_DAMAGED');
  t.deepEqual(await readdir(cache), []);
});

async function listZipOf(t: ExecutionContext, bytes: Buffer) {
  const file = join(await scratch(t), 'archive.zip');
  await writeFile(file, bytes);
  return listZip(file);
}

test('an archive cannot write outside of its folder', async (t) => {
  const root = await scratch(t);
  const file = join(root, 'evil.zip');
  for (const name of ['../outside', '/absolute', 'a/../../outside']) {
    await writeFile(file, zip([{ name, data: Buffer.from('x') }]));
    await t.throwsAsync(
      unpackZip(file, await listZip(file), join(root, 'inside')),
      { message: /not a whole zip/ },
      name,
    );
  }
  t.deepEqual(await readdir(root), ['evil.zip']);
});

test('large files are streamed, and come out as they went in', async (t) => {
  const root = await scratch(t);
  const data = Buffer.alloc(9_000_000, 'the quick brown fox ');
  const file = join(root, 'large.zip');
  await writeFile(
    file,
    zip([
      { name: 'deflated', data },
      { name: 'stored', data },
      { name: 'empty', data: Buffer.alloc(0) },
    ]),
  );
  let counted = 0;
  await unpackZip(file, await listZip(file), join(root, 'out'), { onBytes: (bytes) => (counted += bytes) });
  for (const name of ['deflated', 'stored']) t.true(data.equals(await readFile(join(root, 'out', name))), name);
  t.is((await stat(join(root, 'out/empty'))).size, 0);
  t.is(counted, 2 * data.length);
});

test("the requirements of CUDA libraries come from the wheel's own metadata", (t) => {
  const now = [
    'filelock',
    'cuda-toolkit[cublas,cudart,cupti]==13.0.3; platform_system == "Linux"',
    'nvidia-cudnn-cu13==9.20',
  ];
  t.deepEqual(cudaRequirements(now, false), ['cuda-toolkit[cudart,cupti]==13.0.3']);
  t.deepEqual(cudaRequirements(now, true), ['cuda-toolkit[cublas,cudart,cupti]==13.0.3', 'nvidia-cudnn-cu13==9.20']);
  const before = [
    'nvidia-cuda-runtime-cu12==12.8.90; x',
    'nvidia-cuda-cupti-cu12==12.8.90',
    'nvidia-cublas-cu12==12.8.4',
  ];
  t.deepEqual(cudaRequirements(before, false), [
    'nvidia-cuda-runtime-cu12==12.8.90',
    'nvidia-cuda-cupti-cu12==12.8.90',
  ]);
  t.deepEqual(cudaRequirements(['filelock', 'sympy'], false), []);
});

test('of the torch wheel only libraries, headers, version and licence are wanted', (t) => {
  const yes = [
    'torch/lib/libtorch_cpu.so',
    'torch/lib/libgomp.so.1',
    'torch/lib/libgomp-24e2ab19.so.1',
    'torch/include/c10/x.h',
  ];
  for (const name of yes) t.is(wantedTorchFile(name, false), name);
  t.is(wantedTorchFile('libtorch/lib/libc10.so', false), 'torch/lib/libc10.so');
  for (const name of [
    'torch/lib/libtorch_python.so',
    'torch/nn/functional.py',
    'torch/lib/libtorch_cuda.so',
    'torch/bin/protoc',
  ]) {
    t.is(wantedTorchFile(name, false), undefined, name);
  }
  t.is(wantedTorchFile('torch/lib/libtorch_cuda.so', true), 'torch/lib/libtorch_cuda.so');
  t.is(wantedTorchFile('torch/lib/libtorch_python.so', true), undefined);
});
