/*
 * Reads what a shared library says of itself: which machine it is for, its name, the libraries it needs and where it looks
 * for them. Set-up and the loader decide by this before anything is opened, because opening a wrong libtorch can end the
 * process. Only the headers and the strings asked for are read, never the whole file (libtorch_cpu.so has 430 MB).
 */
import { closeSync, openSync, readSync } from 'node:fs';

const PT_LOAD = 1;
const PT_DYNAMIC = 2;
const DT_NULL = 0;
const DT_NEEDED = 1;
const DT_STRTAB = 5;
const DT_SONAME = 14;
const DT_RPATH = 15;
const DT_RUNPATH = 29;
const LONGEST_STRING = 4096;

/** ELF machine numbers by Node's name of the architecture. */
const MACHINES = new Map([
  [62, 'x64'],
  [183, 'arm64'],
]);

/**
 * @typedef {object} ElfInfo
 * @property {string} arch Node's name of the architecture, or `machine-N`
 * @property {string | undefined} soname
 * @property {string[]} needed names of the libraries it needs, in order
 * @property {string[]} searchPath its RPATH or RUNPATH, split, with `$ORIGIN` left in
 */

/**
 * Reads the dynamic section of a 64-bit little-endian ELF file.
 * @param {string} file
 * @returns {ElfInfo}
 * @throws {Error} when the file cannot be read or is no such file
 */
export function readElf(file) {
  const fd = openSync(file, 'r');
  try {
    return parse((length, position) => read(fd, length, position), file);
  } finally {
    closeSync(fd);
  }
}

/**
 * @param {number} fd
 * @param {number} length
 * @param {number} position
 */
function read(fd, length, position) {
  const bytes = Buffer.alloc(length);
  let done = 0;
  while (done < length) {
    const count = readSync(fd, bytes, done, length - done, position + done);
    if (count === 0) break;
    done += count;
  }
  return bytes.subarray(0, done);
}

/**
 * @param {(length: number, position: number) => Buffer} at reads up to `length` bytes
 * @param {string} file
 * @returns {ElfInfo}
 */
function parse(at, file) {
  /** @param {number} length @param {number} position */
  const exactly = (length, position) => {
    const bytes = at(length, position);
    if (bytes.length < length) throw new Error(`${file} is cut short`);
    return bytes;
  };
  const header = at(64, 0);
  if (header.length < 64 || header.readUInt32BE(0) !== 0x7f454c46 || header[4] !== 2 || header[5] !== 1) {
    throw new Error(`${file} is not a 64-bit little-endian shared library`);
  }
  const machine = header.readUInt16LE(18);
  const count = header.readUInt16LE(56);
  const size = header.readUInt16LE(54);
  const table = exactly(size * count, Number(header.readBigUInt64LE(32)));

  /** @type {{ offset: number, address: number, length: number }[]} */
  const loads = [];
  /** @type {Buffer} */
  let dynamic = Buffer.alloc(0);
  for (let i = 0; i < count; i++) {
    const entry = table.subarray(i * size, (i + 1) * size);
    const type = entry.readUInt32LE(0);
    const offset = Number(entry.readBigUInt64LE(8));
    const length = Number(entry.readBigUInt64LE(32));
    if (type === PT_LOAD) loads.push({ offset, address: Number(entry.readBigUInt64LE(16)), length });
    if (type === PT_DYNAMIC) dynamic = exactly(length, offset);
  }

  /** @type {{ tag: number, value: number }[]} */
  const tags = [];
  for (let i = 0; i + 16 <= dynamic.length; i += 16) {
    const tag = Number(dynamic.readBigInt64LE(i));
    if (tag === DT_NULL) break;
    tags.push({ tag, value: Number(dynamic.readBigUInt64LE(i + 8)) });
  }
  const address = tags.find(({ tag }) => tag === DT_STRTAB)?.value;
  const load = loads.find((l) => address !== undefined && address >= l.address && address < l.address + l.length);
  /** @param {number} position */
  const text = (position) => {
    if (address === undefined || load === undefined) throw new Error(`${file} has no string table`);
    const bytes = at(LONGEST_STRING, address - load.address + load.offset + position);
    const end = bytes.indexOf(0);
    if (end < 0) throw new Error(`${file} is cut short`);
    return bytes.toString('utf8', 0, end);
  };
  /** @param {number} wanted */
  const texts = (wanted) => tags.filter(({ tag }) => tag === wanted).map(({ value }) => text(value));

  const runpath = texts(DT_RUNPATH);
  return {
    arch: MACHINES.get(machine) ?? `machine-${machine}`,
    soname: texts(DT_SONAME)[0],
    needed: texts(DT_NEEDED),
    searchPath: (runpath.length > 0 ? runpath : texts(DT_RPATH)).flatMap((p) => p.split(':')).filter((p) => p !== ''),
  };
}
