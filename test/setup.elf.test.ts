// The reader of shared libraries, against the linker's own idea of what it wrote.

import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import test from 'ava';
import { readElf } from '../tools/libtorch/elf.mjs';
import { makeLibrary, scratch } from './helpers/fake-libtorch.js';

test('name, needs and run path are read', async (t) => {
  const root = await scratch(t);
  const needed = join(root, 'libneeded.so.7');
  await makeLibrary(needed);
  const file = join(root, 'libsubject.so');
  await makeLibrary(file, { needs: [needed], rpath: '$ORIGIN/../x:$ORIGIN' });
  const elf = readElf(file);
  t.is(elf.arch, process.arch);
  t.is(elf.soname, 'libsubject.so');
  t.is(elf.needed[0], 'libneeded.so.7');
  t.deepEqual(elf.searchPath, ['$ORIGIN/../x', '$ORIGIN']);
});

test('Node itself is read', (t) => {
  t.true(readElf(process.execPath).needed.some((name) => name.startsWith('libc.')));
});

test('what is no library, or cut short, throws and names the file', async (t) => {
  const root = await scratch(t);
  const whole = join(root, 'libwhole.so');
  await makeLibrary(whole);
  const bytes = await readFile(whole);
  for (const length of [0, 10, 64, 200, Math.floor(bytes.length / 2)]) {
    const file = join(root, `cut-${length}.so`);
    await writeFile(file, bytes.subarray(0, length));
    t.throws(() => readElf(file), { message: new RegExp(`cut-${length}\\.so`) }, `${length} bytes`);
  }
  t.throws(() => readElf(join(root, 'absent.so')), { code: 'ENOENT' });
});
