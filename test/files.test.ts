/*
 * .npy and .safetensors against files written by NumPy and by the safetensors package, and damaged files.
 */
import { createHash } from 'node:crypto';
import { mkdir, readdir, readFile, symlink, writeFile } from 'node:fs/promises';
import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import test from 'ava';
import { StyleClipError } from '../dist/index.js';
import { writeFileAtomic } from '../dist/files/atomic.js';
import { formatNpy, npyFloat32, parseNpy, readNpy, writeNpy } from '../dist/files/npy.js';
import {
  formatSafetensors,
  parseSafetensors,
  readSafetensors,
  safetensorsFloat32,
  safetensorsInt32,
  writeSafetensors,
} from '../dist/files/safetensors.js';
import { testFolder } from './helpers/public-models.js';

interface Arrays {
  npy: { name: string; shape: number[]; values: number[]; base64: string }[];
  safetensors: string;
}
const arrays = JSON.parse(await readFile(new URL('../test/data/arrays.json', import.meta.url), 'utf8')) as Arrays;

const folder = await testFolder();
test.after.always(folder.remove);

/** A .npy file with a header of our own and a body of zeros. */
function npyOf(dictionary: string, body = 16): Buffer {
  const text = `${dictionary}\n`;
  const start = Buffer.from([0x93, ...Buffer.from('NUMPY'), 1, 0, text.length, 0]);
  return Buffer.concat([start, Buffer.from(text), Buffer.alloc(body)]);
}

const code = (e: StyleClipError | null | undefined): string | undefined => e?.code.replace('ERR_STYLECLIP_', '');
const damages = { instanceOf: StyleClipError, code: 'ERR_STYLECLIP_FILE_DAMAGED' };

for (const { name, shape, values, base64 } of arrays.npy) {
  test(`.npy of NumPy: ${name}`, (t) => {
    const array = parseNpy(Buffer.from(base64, 'base64'));
    t.deepEqual(array.shape, shape);
    t.deepEqual(Array.from(array.data as Float64Array, Number), values);
    t.deepEqual([...npyFloat32(array)], values);
  });
}

test('.npy: what is written is byte for byte what numpy.save writes', (t) => {
  const written = arrays.npy.find((a) => a.name === '<f4')!;
  const { data, shape } = parseNpy(Buffer.from(written.base64, 'base64'));
  t.is(Buffer.concat(formatNpy(data, shape)).toString('base64'), written.base64);
});

test('.npy: every type comes back as it was', async (t) => {
  const file = join(folder.path, 'types.npy');
  const types = [
    Float32Array.of(1.5, -2, 3e-30, 0),
    Float64Array.of(Math.PI, -0, 1e300, 5),
    Int32Array.of(-(2 ** 31), 2 ** 31 - 1, 0, 7),
    BigInt64Array.of(-(2n ** 63n), 2n ** 63n - 1n, 0n, 1n),
    Uint8Array.of(0, 1, 128, 255),
  ];
  for (const data of types) {
    await writeNpy(file, data, [2, 2]);
    const back = await readNpy(file);
    t.deepEqual(back.data, data);
    t.deepEqual(back.shape, [2, 2]);
  }
});

test('.npy: objects, complex numbers, texts and records are refused, not read', (t) => {
  for (const descr of ["'|O'", "'<c16'", "'<U4'", "'<f1'", "[('a', '<f4'), ('b', '<f4')]"]) {
    const header = `{'descr': ${descr}, 'fortran_order': False, 'shape': (1,), }`;
    const e = t.throws(() => parseNpy(npyOf(header)), { instanceOf: StyleClipError });
    t.is(code(e), 'FORMAT_UNKNOWN', descr);
  }
});

test('.npy: every shorter file is damaged', (t) => {
  const whole = Buffer.from(arrays.npy.find((a) => a.name === '>f2')!.base64, 'base64');
  for (let length = 0; length < whole.length; length++) t.throws(() => parseNpy(whole.subarray(0, length)), damages);
  t.throws(() => parseNpy(Buffer.concat([whole, Buffer.alloc(1)])), damages);
});

test('.npy: headers that lie', (t) => {
  const bytes = npyOf;
  const good = "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 2), }";
  t.deepEqual(parseNpy(bytes(good)).shape, [2, 2]);
  for (const bad of [
    good.replace('(2, 2)', '(2, -2)'),
    good.replace('(2, 2)', '(9007199254740993, 2)'),
    good.replace('(2, 2)', '[2, 2]'),
    good.replace('False', '0'),
    good.replace("'descr'", "'descriptor'"),
    good.replace(', }', ", 'shape': (4,), }"),
    '',
    '{}',
    '__import__("os")',
  ]) {
    t.throws(() => parseNpy(bytes(bad)), damages, bad);
  }
  const newer = bytes(good);
  newer[6] = 9;
  t.is(code(t.throws(() => parseNpy(newer), { instanceOf: StyleClipError })), 'FORMAT_VERSION');
});

test('.safetensors of the safetensors package', (t) => {
  const { tensors, metadata } = parseSafetensors(Buffer.from(arrays.safetensors, 'base64'));
  t.deepEqual(metadata, { space: 'w', note: 'é' });
  const numbers = (name: string): number[] => [...safetensorsFloat32(tensors.get(name)!)];
  t.deepEqual(numbers('a'), [0.5, -1.5, 2.5]);
  t.deepEqual(numbers('b'), [1, 2, 3, 4]);
  t.deepEqual(numbers('h'), [1.5, -2]);
  t.deepEqual(numbers('u'), [1, 2, 3]);
  t.deepEqual(numbers('w'), [2 ** 40]);
  t.deepEqual(tensors.get('b')!.shape, [2, 2]);
  t.deepEqual([...safetensorsInt32(tensors.get('b')!)!], [1, 2, 3, 4]);
  t.is(safetensorsInt32(tensors.get('w')!), undefined, '2^40 is no int32');
});

test('.safetensors: round trip with metadata', async (t) => {
  const file = join(folder.path, 'round.safetensors');
  const rows = Float32Array.from({ length: 6 }, (_, i) => Math.sin(i));
  await writeSafetensors(
    file,
    { flags: { data: Uint8Array.of(7, 8, 9), shape: [3] }, rows: { data: rows, shape: [2, 3] } },
    { 'key "quoted"': 'värde' },
  );
  const { tensors, metadata } = await readSafetensors(file);
  t.deepEqual(metadata, { 'key "quoted"': 'värde' });
  t.deepEqual(safetensorsFloat32(tensors.get('rows')!), rows);
  t.deepEqual([...tensors.get('flags')!.bytes], [7, 8, 9]);
});

test('.safetensors: bfloat16, by hand', (t) => {
  const header = Buffer.from(JSON.stringify({ x: { dtype: 'BF16', shape: [3], data_offsets: [0, 6] } }));
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(header.length));
  // 1.0 = 0x3f80, -2.5 = 0xc020, infinity = 0x7f80
  const body = Buffer.from(Uint16Array.of(0x3f80, 0xc020, 0x7f80).buffer);
  const { tensors } = parseSafetensors(Buffer.concat([length, header, body]));
  t.deepEqual([...safetensorsFloat32(tensors.get('x')!)], [1, -2.5, Infinity]);
});

test('.safetensors: every shorter or longer file is damaged', (t) => {
  const whole = Buffer.concat(formatSafetensors({ x: { data: Float32Array.of(1, 2), shape: [2] } }, { a: 'b' }));
  for (let size = 0; size < whole.length; size++) t.throws(() => parseSafetensors(whole.subarray(0, size)), damages);
  t.throws(() => parseSafetensors(Buffer.concat([whole, Buffer.alloc(4)])), damages);
});

test('.safetensors: headers that lie', (t) => {
  const bytes = (header: unknown, body = 8): Buffer => {
    const text = Buffer.from(typeof header === 'string' ? header : JSON.stringify(header));
    const length = Buffer.alloc(8);
    length.writeBigUInt64LE(BigInt(text.length));
    return Buffer.concat([length, text, Buffer.alloc(body)]);
  };
  const x = { dtype: 'F32', shape: [2], data_offsets: [0, 8] };
  t.is(parseSafetensors(bytes({ x })).tensors.size, 1);
  for (const bad of [
    '[]',
    '{',
    { x: { ...x, dtype: 'F31' } },
    { x: { ...x, dtype: 'constructor' } },
    { x: { ...x, shape: [3] } },
    { x: { ...x, shape: [-2] } },
    { x: { ...x, shape: [0.5] } },
    { x: { ...x, data_offsets: [4, 12] } },
    { x: { ...x, data_offsets: [8, 0] } },
    { x, y: x },
    { __metadata__: { a: 1 }, x },
    { x: null },
  ]) {
    t.throws(() => parseSafetensors(bytes(bad)), damages, JSON.stringify(bad));
  }
  const huge = Buffer.alloc(16, 0xff);
  t.throws(() => parseSafetensors(huge), damages);
});

test('a file that cannot be read', async (t) => {
  for (const name of ['no.npy', 'files.test.js/no.npy', '.']) {
    const e = await t.throwsAsync(readNpy(join(folder.path, name)), { instanceOf: StyleClipError });
    t.is(code(e), 'FILE_NOT_FOUND');
    t.truthy(e?.remedy);
  }
});

test('a file that cannot be written leaves the old one and nothing else', async (t) => {
  const inside = join(folder.path, 'atomic');
  await mkdir(join(inside, 'taken'), { recursive: true });
  await writeFile(join(inside, 'file'), 'old');
  await writeFile(join(inside, 'taken', 'x'), '');
  const e = await t.throwsAsync(writeFileAtomic(join(inside, 'taken'), 'new'), { instanceOf: StyleClipError });
  t.is(code(e), 'DISK');
  const below = await t.throwsAsync(writeFileAtomic(join(inside, 'file', 'below'), 'x'), {
    instanceOf: StyleClipError,
  });
  t.is(code(below), 'DISK');
  await symlink('/dev/full', join(inside, 'full'));
  await writeFileAtomic(join(inside, 'full'), 'replaces the link, does not write through it');
  t.deepEqual((await readdir(inside)).toSorted(), ['file', 'full', 'taken']);
  t.is(await readFile(join(inside, 'file'), 'utf8'), 'old');
});

test('missing folders are made; pieces are joined', async (t) => {
  const file = join(folder.path, 'a', 'b', 'c.bin');
  await writeFileAtomic(file, [Buffer.from('ab'), Buffer.from('c')]);
  t.is(await readFile(file, 'utf8'), 'abc');
});

test('a file-size limit gives DISK, and the older file stays', async (t) => {
  const file = join(folder.path, 'limited.npy');
  await writeFile(file, 'older');
  const module = fileURLToPath(new URL('../dist/files/npy.js', import.meta.url));
  const program = `
    const { writeNpy } = await import(${JSON.stringify(module)});
    await writeNpy(${JSON.stringify(file)}, new Float32Array(1e6), [1e6]).then(
      () => console.log('written'),
      (e) => console.log(e.code, e.message.includes('limit')),
    );`;
  const run = promisify(execFile);
  const command = 'ulimit -f 64; exec "$0" --input-type=module -e "$1"';
  const { stdout } = await run('bash', ['-c', command, process.execPath, program]);
  t.is(stdout.trim(), 'ERR_STYLECLIP_DISK true');
  t.is(
    createHash('md5')
      .update(await readFile(file))
      .digest('hex'),
    createHash('md5').update('older').digest('hex'),
  );
  t.deepEqual(
    (await readdir(folder.path)).filter((name) => name.includes('.tmp')),
    [],
  );
});
