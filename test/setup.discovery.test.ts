// Finding libtorch by its files: the order of places, what is refused and with which words. Nothing is opened here.

import { mkdir, rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import test from 'ava';
import { discoverLibtorch, requireLibtorch } from '../tools/libtorch/discover.mjs';
import { inspectLibtorch, librariesToOpen, NotLibtorch } from '../tools/libtorch/inspect.mjs';
import { cacheDirectory, isSupportedTorch } from '../tools/libtorch/places.mjs';
import { StyleClipError } from '../dist/errors.js';
import { makeLibrary, makeLibtorch, scratch } from './helpers/fake-libtorch.js';

test('the order is: option, STYLECLIP_LIBTORCH, LIBTORCH, cache, a Python that was named', async (t) => {
  const root = await scratch(t);
  const place = async (name: string) => makeLibtorch(join(root, name));
  const option = await place('option');
  const own = await place('own');
  const general = await place('general');
  const cached = await place('cache/libtorch-2.13.0+cpu');
  const python = join(root, 'python');
  const pythons = await place('site');
  await writeFile(python, `#!/bin/sh\necho ${pythons}\n`, { mode: 0o755 });

  const env: NodeJS.ProcessEnv = {
    STYLECLIP_LIBTORCH: own,
    LIBTORCH: general,
    STYLECLIP_CACHE: join(root, 'cache'),
    STYLECLIP_PYTHON: python,
    PATH: process.env['PATH'],
  };
  const found = () => discoverLibtorch({ env }).found;
  t.is(discoverLibtorch({ env, libtorch: option }).found?.directory, option);
  t.like(found(), { directory: own, source: 'STYLECLIP_LIBTORCH' });
  delete env['STYLECLIP_LIBTORCH'];
  t.like(found(), { directory: general, source: 'LIBTORCH' });
  delete env['LIBTORCH'];
  t.like(found(), { directory: cached, source: 'the cache' });
  await rm(join(root, 'cache'), { recursive: true });
  t.like(found(), { directory: pythons, source: 'STYLECLIP_PYTHON' });
  delete env['STYLECLIP_PYTHON'];
  t.is(found(), undefined);
});

test('an express wish that does not fit is an error, and nothing else is tried', async (t) => {
  const root = await scratch(t);
  const good = await makeLibtorch(join(root, 'good'));
  const env = { LIBTORCH: good, STYLECLIP_CACHE: join(root, 'cache') };
  t.is(discoverLibtorch({ env, libtorch: join(root, 'nowhere') }).found, undefined);
  const wished = discoverLibtorch({ env: { ...env, STYLECLIP_LIBTORCH: join(root, 'nowhere') } });
  t.is(wished.found, undefined);
  t.deepEqual(
    wished.attempts.map((a) => a.reason),
    ['no such directory'],
  );
  // LIBTORCH belongs to other programs too: one that does not fit is passed over.
  const cached = await makeLibtorch(join(root, 'cache', 'libtorch-2.13.0'));
  t.is(discoverLibtorch({ env: { ...env, LIBTORCH: join(root, 'nowhere') } }).found?.directory, cached);
});

test('the version is read from version.py, build-version, or the headers', async (t) => {
  const root = await scratch(t);
  const directory = await makeLibtorch(root, { version: '2.13.1+cu130', cuda: '13.0' });
  t.like(inspectLibtorch(directory), { version: '2.13.1+cu130', variant: 'cu130', headers: true });
  await writeFile(join(directory, 'version.py'), `__version__ = '2.13.1'\ncuda: Optional[str] = '12.8'\n`);
  t.like(inspectLibtorch(directory), { version: '2.13.1', variant: 'cu128' });
  await writeFile(join(directory, 'build-version'), '2.12.0+cpu\n');
  await rm(join(directory, 'version.py'));
  t.like(inspectLibtorch(directory), { version: '2.12.0+cpu', variant: 'cpu' });
  await rm(join(directory, 'build-version'));
  t.throws(() => inspectLibtorch(directory), { instanceOf: NotLibtorch, message: /does not say its version/ });
  await mkdir(join(directory, 'include/torch/headeronly'), { recursive: true });
  await writeFile(join(directory, 'include/torch/headeronly/version.h'), '#define TORCH_VERSION \\\n  "2.14.2"\n');
  t.like(inspectLibtorch(directory), { version: '2.14.2', variant: 'cpu' });
});

test('the folder with lib/, its parent, and lib/ itself are all accepted', async (t) => {
  const root = await scratch(t);
  const directory = await makeLibtorch(root);
  for (const place of [directory, root, join(directory, 'lib')]) t.is(inspectLibtorch(place).directory, directory);
  await rename(directory, join(root, 'libtorch'));
  t.is(inspectLibtorch(root).directory, join(root, 'libtorch'));
  t.throws(() => inspectLibtorch(join(root, 'libtorch', 'include')), { message: /has no lib\/libtorch_cpu.so/ });
});

test('2.11 to 2.15 build from source; another minor version than the addon was built with is refused', async (t) => {
  const supported = ['2.11.0', '2.15.3+cpu', '2.13'];
  const refused = ['2.10.9', '2.16.0', '1.13.1', '3.12.0', '', 'nonsense'];
  t.deepEqual(supported.filter(isSupportedTorch), supported);
  t.deepEqual(refused.filter(isSupportedTorch), []);

  const root = await scratch(t);
  const env = { STYLECLIP_CACHE: join(root, 'none') };
  const libtorch = await makeLibtorch(root, { version: '2.12.1+cpu' });
  t.is(requireLibtorch({ env, libtorch, builtWith: '2.12.0' }).version, '2.12.1+cpu');
  const error = t.throws(() => requireLibtorch({ env, libtorch, builtWith: '2.13.0' }));
  t.true(StyleClipError.is(error));
  t.like(error, { code: 'ERR_STYLECLIP_LIBTORCH_VERSION' });
  t.regex(error.message, /is libtorch 2\.12\.1\+cpu; the addon was built with 2\.13\.0 and needs 2\.13/);
  await writeFile(join(libtorch, 'version.py'), "__version__ = '2.10.0'\n");
  t.throws(() => requireLibtorch({ env, libtorch }), { message: /2\.11 to 2\.15 are supported/ });
});

test('building from source needs the headers, running does not', async (t) => {
  const root = await scratch(t);
  const libtorch = await makeLibtorch(root, { headers: false });
  t.truthy(discoverLibtorch({ libtorch }).found);
  t.regex(discoverLibtorch({ libtorch, needHeaders: true }).attempts[0]?.reason ?? '', /no include\//);
});

test('a libtorch for another machine, or a damaged one, is refused by its first bytes', async (t) => {
  const root = await scratch(t);
  const directory = await makeLibtorch(root);
  const library = join(directory, 'lib', 'libtorch_cpu.so');
  const header = Buffer.alloc(64);
  header.write('\x7fELF\x02\x01', 'latin1');
  header.writeUInt16LE(process.arch === 'x64' ? 183 : 62, 18);
  header.writeUInt16LE(56, 54);
  await writeFile(library, header);
  t.throws(() => inspectLibtorch(directory), { message: /is for (arm64|x64), this is/ });
  await writeFile(library, 'not a library');
  t.throws(() => inspectLibtorch(directory), { message: /libtorch_cpu.so is damaged/ });
});

test('the error lists every place with its reason, and the command that repairs it', async (t) => {
  const root = await scratch(t);
  const env = { LIBTORCH: join(root, 'gone'), STYLECLIP_CACHE: join(root, 'cache'), STYLECLIP_PYTHON: '/no/python' };
  const error = t.throws(() => requireLibtorch({ env, builtWith: '2.13.0' }));
  t.like(error, { code: 'ERR_STYLECLIP_LIBTORCH_NOT_FOUND' });
  for (const part of [
    'STYLECLIP_LIBTORCH: not set',
    `LIBTORCH (${join(root, 'gone')}): no such directory`,
    '/no/python',
  ]) {
    t.true(error.message.includes(part), part);
  }
  t.true(error.message.includes(`nothing in ${join(root, 'cache')}`));
  t.regex((error as unknown as StyleClipError).remedy, /npx styleclip setup/);
});

test('libraries are opened after what they need, from beside libtorch or its run path', async (t) => {
  const root = await scratch(t);
  const directory = await makeLibtorch(root, { needs: 'libcudart.so.13' });
  t.deepEqual(librariesToOpen(directory).missing, ['libcudart.so.13']);
  const cudart = join(root, 'nvidia/cu13/lib/libcudart.so.13');
  await makeLibrary(cudart);
  const lib = join(directory, 'lib');
  t.deepEqual(librariesToOpen(directory), {
    files: [join(lib, 'libc10.so'), cudart, join(lib, 'libtorch_cpu.so')],
    missing: [],
  });
});

test('the cache is STYLECLIP_CACHE, else below XDG_CACHE_HOME when that is absolute', (t) => {
  t.is(cacheDirectory({ STYLECLIP_CACHE: '/a/b', XDG_CACHE_HOME: '/x' }), '/a/b');
  t.is(cacheDirectory({ XDG_CACHE_HOME: '/x' }), '/x/styleclip');
  t.regex(cacheDirectory({ XDG_CACHE_HOME: 'x' }), /\.cache\/styleclip$/);
});

test('half-made folders in the cache are not taken', async (t) => {
  const root = await scratch(t);
  await makeLibtorch(join(root, 'libtorch-2.13.0.part-1'));
  await makeLibtorch(join(root, 'libtorch.part-2'));
  t.is(discoverLibtorch({ env: { STYLECLIP_CACHE: root } }).found, undefined);
});
