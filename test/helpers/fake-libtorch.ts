// Small stand-ins for libtorch, so that finding, refusing and unpacking it is tested without the real one: shared
// libraries of a few KB with the right names, and wheels made of them.

import { execFile } from 'node:child_process';
import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join, relative, sep } from 'node:path';
import { promisify } from 'node:util';
import { crc32, deflateRawSync } from 'node:zlib';
import type { ExecutionContext } from 'ava';

const execute = promisify(execFile);

/** A folder that goes away with the test. */
export async function scratch(t: ExecutionContext): Promise<string> {
  const directory = await mkdtemp(join(tmpdir(), 'styleclip-test-'));
  t.teardown(() => rm(directory, { recursive: true, force: true }));
  return directory;
}

export interface LibraryOptions {
  /** C source. */
  source?: string;
  /** Libraries it needs, as paths. */
  needs?: string[];
  /** Its RPATH. */
  rpath?: string;
}

/** Compiles a shared library whose soname is its file name. */
export async function makeLibrary(file: string, options: LibraryOptions = {}): Promise<void> {
  await mkdir(dirname(file), { recursive: true });
  const source = `${file}.c`;
  await writeFile(source, options.source ?? 'int styleclip_fake;\n');
  const rpath = options.rpath === undefined ? [] : ['-Wl,--disable-new-dtags', `-Wl,-rpath,${options.rpath}`];
  const needs = ['-Wl,--no-as-needed', ...(options.needs ?? [])];
  const soname = `-Wl,-soname,${file.split('/').at(-1)}`;
  await execute('cc', [
    '-shared',
    '-fPIC',
    soname,
    ...rpath,
    '-o',
    file,
    source,
    ...needs,
    '-Wl,--allow-shlib-undefined',
  ]);
  await rm(source);
}

export interface FakeOptions {
  /** What version.py says. */
  version?: string;
  /** Its line about CUDA. */
  cuda?: string;
  headers?: boolean;
  /** Source of libtorch_cpu.so. */
  source?: string;
  /** A library that libtorch_cpu needs, by soname; looked for in ../../nvidia/cu13/lib. */
  needs?: string;
}

/** Makes `<root>/torch` in a wheel's layout; its path. */
export async function makeLibtorch(root: string, options: FakeOptions = {}): Promise<string> {
  const directory = join(root, 'torch');
  const lib = join(directory, 'lib');
  await makeLibrary(join(lib, 'libc10.so'));
  const needs = [join(lib, 'libc10.so')];
  if (options.needs !== undefined) {
    const elsewhere = join(root, 'unshipped', options.needs);
    await makeLibrary(elsewhere);
    needs.push(elsewhere);
  }
  await makeLibrary(join(lib, 'libtorch_cpu.so'), {
    needs,
    rpath: '$ORIGIN/../../nvidia/cu13/lib:$ORIGIN',
    ...(options.source === undefined ? {} : { source: options.source }),
  });
  await rm(join(root, 'unshipped'), { recursive: true, force: true });
  const cuda = options.cuda === undefined ? 'None' : `'${options.cuda}'`;
  await writeFile(
    join(directory, 'version.py'),
    `__version__ = '${options.version ?? '2.13.0+cpu'}'\ncuda: Optional[str] = ${cuda}\n`,
  );
  if (options.headers ?? true) {
    await mkdir(join(directory, 'include/ATen/core'), { recursive: true });
    await writeFile(join(directory, 'include/ATen/core/Tensor.h'), '// a header\n');
  }
  return directory;
}

interface Member {
  name: string;
  data: Buffer;
}

/** Packs a folder, and further files, into a zip archive. */
export async function makeWheel(file: string, folder: string, extra: Record<string, string> = {}): Promise<void> {
  const entries = await readdir(folder, { withFileTypes: true, recursive: true });
  const members: Member[] = [];
  for (const entry of entries.filter((e) => e.isFile())) {
    const path = join(entry.parentPath, entry.name);
    members.push({ name: relative(folder, path).split(sep).join('/'), data: await readFile(path) });
  }
  for (const [name, text] of Object.entries(extra)) members.push({ name, data: Buffer.from(text) });
  await writeFile(file, zip(members));
}

/** A zip archive; every second member deflated, the others stored. */
export function zip(members: readonly Member[]): Buffer {
  const parts: Buffer[] = [];
  const directory: Buffer[] = [];
  let offset = 0;
  for (const [i, { name, data }] of members.entries()) {
    const deflated = i % 2 === 0;
    const packed = deflated ? deflateRawSync(data) : data;
    const fields = Buffer.alloc(26);
    fields.writeUInt16LE(20, 0);
    fields.writeUInt16LE(deflated ? 8 : 0, 4);
    fields.writeUInt32LE(crc32(data), 10);
    fields.writeUInt32LE(packed.length, 14);
    fields.writeUInt32LE(data.length, 18);
    fields.writeUInt16LE(Buffer.byteLength(name), 22);
    const local = Buffer.concat([Buffer.from('PK\x03\x04', 'latin1'), fields, Buffer.from(name), packed]);
    const tail = Buffer.alloc(14);
    tail.writeUInt32LE(0o100644 * 0x10000, 6);
    tail.writeUInt32LE(offset, 10);
    directory.push(Buffer.from('PK\x01\x02\x14\x03', 'latin1'), fields, tail, Buffer.from(name));
    parts.push(local);
    offset += local.length;
  }
  const central = Buffer.concat(directory);
  const end = Buffer.alloc(22);
  end.write('PK\x05\x06', 'latin1');
  end.writeUInt16LE(members.length, 8);
  end.writeUInt16LE(members.length, 10);
  end.writeUInt32LE(central.length, 12);
  end.writeUInt32LE(offset, 16);
  return Buffer.concat([...parts, central, end]);
}
