/*
 * Takes chosen files out of a wheel (a zip archive) without unpacking the rest: of the 530 MB of torch's wheel about a
 * third is wanted. Streams, so memory stays small; checks each file's length and CRC; follows ZIP64.
 */
import { createReadStream, createWriteStream } from 'node:fs';
import { mkdir, open, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { Transform } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { crc32, createInflateRaw, inflateRawSync } from 'node:zlib';

const END_RECORD = 0x06054b50;
const END_RECORD_64 = 0x06064b50;
const CENTRAL_ENTRY = 0x02014b50;
const LOCAL_ENTRY = 0x04034b50;
const LONGEST_END = 22 + 0xffff;
const STORED = 0;
const DEFLATED = 8;
/** Files up to this size are unpacked in memory. */
const SMALL = 1 << 22;

/**
 * @typedef {object} ZipEntry
 * @property {string} name path inside the archive, with /
 * @property {number} size unpacked bytes
 * @property {number} compressed
 * @property {number} crc
 * @property {number} method
 * @property {boolean} executable whether the archive says so
 * @property {number} offset of the entry's local header
 */

/** The archive is cut short, or its content does not match its checksums. */
export class DamagedZip extends Error {}

/** @param {string} file @param {string} why */
function damaged(file, why) {
  return new DamagedZip(`${file} is not a whole zip archive: ${why}`);
}

/**
 * Lists the files of an archive.
 * @param {string} file
 * @returns {Promise<ZipEntry[]>}
 */
export async function listZip(file) {
  const handle = await open(file, 'r');
  try {
    const { size } = await handle.stat();
    /** @param {number} length @param {number} position */
    const read = async (length, position) => {
      const { buffer, bytesRead } = await handle.read(Buffer.alloc(length), 0, length, position);
      if (bytesRead < length) throw damaged(file, 'it is cut short');
      return buffer;
    };
    const tail = await read(Math.min(size, LONGEST_END), Math.max(0, size - LONGEST_END));
    let end = tail.length - 22;
    while (end >= 0 && tail.readUInt32LE(end) !== END_RECORD) end--;
    if (end < 0) throw damaged(file, 'it has no directory');
    let count = tail.readUInt16LE(end + 10);
    let length = tail.readUInt32LE(end + 12);
    let position = tail.readUInt32LE(end + 16);
    if (count === 0xffff || length === 0xffffffff || position === 0xffffffff) {
      if (end < 20) throw damaged(file, 'it has no 64-bit directory');
      const record = await read(56, Number(tail.readBigUInt64LE(end - 20 + 8)));
      if (record.readUInt32LE(0) !== END_RECORD_64) throw damaged(file, 'it has no 64-bit directory');
      count = Number(record.readBigUInt64LE(32));
      length = Number(record.readBigUInt64LE(40));
      position = Number(record.readBigUInt64LE(48));
    }
    return parseDirectory(await read(length, position), count, file);
  } finally {
    await handle.close();
  }
}

/**
 * @param {Buffer} directory
 * @param {number} count
 * @param {string} file
 */
function parseDirectory(directory, count, file) {
  /** @type {ZipEntry[]} */
  const entries = [];
  let at = 0;
  for (let i = 0; i < count; i++) {
    if (at + 46 > directory.length || directory.readUInt32LE(at) !== CENTRAL_ENTRY) throw damaged(file, `entry ${i}`);
    const nameLength = directory.readUInt16LE(at + 28);
    const extraLength = directory.readUInt16LE(at + 30);
    const entry = {
      name: directory.toString('utf8', at + 46, at + 46 + nameLength),
      method: directory.readUInt16LE(at + 10),
      crc: directory.readUInt32LE(at + 16),
      compressed: directory.readUInt32LE(at + 20),
      size: directory.readUInt32LE(at + 24),
      offset: directory.readUInt32LE(at + 42),
      // The upper half of the attributes holds Unix permissions.
      executable: ((directory.readUInt32LE(at + 38) >>> 16) & 0o111) !== 0,
    };
    widen(entry, directory.subarray(at + 46 + nameLength, at + 46 + nameLength + extraLength));
    if (!entry.name.endsWith('/')) entries.push(entry);
    at += 46 + nameLength + extraLength + directory.readUInt16LE(at + 32);
  }
  return entries;
}

/**
 * Reads the 64-bit sizes where the 32-bit ones are full.
 * @param {ZipEntry} entry
 * @param {Buffer} extra
 */
function widen(entry, extra) {
  for (let at = 0; at + 4 <= extra.length; at += 4 + extra.readUInt16LE(at + 2)) {
    if (extra.readUInt16LE(at) !== 1) continue;
    let field = at + 4;
    const next = () => Number(extra.readBigUInt64LE((field += 8) - 8));
    if (entry.size === 0xffffffff) entry.size = next();
    if (entry.compressed === 0xffffffff) entry.compressed = next();
    if (entry.offset === 0xffffffff) entry.offset = next();
  }
}

/**
 * Unpacks `entries` below `directory`.
 * @param {string} file
 * @param {ZipEntry[]} entries
 * @param {string} directory
 * @param {object} [options]
 * @param {(entry: ZipEntry) => { path: string, mode: number }} [options.place] where a file goes, and its permissions
 * @param {(bytes: number) => void} [options.onBytes] bytes unpacked since the last call
 */
export async function unpackZip(file, entries, directory, options = {}) {
  const place = options.place ?? ((entry) => ({ path: entry.name, mode: entry.executable ? 0o755 : 0o644 }));
  const onBytes = options.onBytes ?? (() => {});
  const handle = await open(file, 'r');
  /** @type {Set<string>} */
  const made = new Set();
  try {
    for (const entry of entries) {
      const { path, mode } = place(entry);
      if (path.startsWith('/') || path.split('/').includes('..')) throw damaged(file, `it holds ${path}`);
      if (entry.method !== STORED && entry.method !== DEFLATED) throw damaged(file, `${entry.name} is packed oddly`);
      const header = Buffer.alloc(30);
      await handle.read(header, 0, 30, entry.offset);
      if (header.readUInt32LE(0) !== LOCAL_ENTRY) throw damaged(file, entry.name);
      const start = entry.offset + 30 + header.readUInt16LE(26) + header.readUInt16LE(28);
      const target = join(directory, path);
      const parent = dirname(target);
      if (!made.has(parent)) await mkdir(parent, { recursive: true });
      made.add(parent);
      if (entry.size <= SMALL && entry.compressed <= SMALL) {
        const packed = Buffer.alloc(entry.compressed);
        const { bytesRead } = await handle.read(packed, 0, entry.compressed, start);
        await writeFile(target, inflate(file, entry, packed.subarray(0, bytesRead)), { mode });
        onBytes(entry.size);
      } else {
        await unpackLarge(file, entry, start, createWriteStream(target, { mode, flush: true }), onBytes);
      }
    }
  } finally {
    await handle.close();
  }
}

/**
 * Most files are headers of a few KB: at once, without streams.
 * @param {string} file
 * @param {ZipEntry} entry
 * @param {Buffer} packed
 */
function inflate(file, entry, packed) {
  let bytes = packed;
  if (entry.method === DEFLATED) {
    try {
      bytes = inflateRawSync(packed, { maxOutputLength: SMALL + 1 });
    } catch {
      throw damaged(file, `${entry.name} cannot be unpacked`);
    }
  }
  if (bytes.length !== entry.size || crc32(bytes) !== entry.crc) throw mismatch(file, entry);
  return bytes;
}

/**
 * @param {string} file
 * @param {ZipEntry} entry
 * @param {number} start
 * @param {import('node:fs').WriteStream} output
 * @param {(bytes: number) => void} onBytes
 */
async function unpackLarge(file, entry, start, output, onBytes) {
  let crc = 0;
  let size = 0;
  const check = new Transform({
    transform(chunk, _encoding, done) {
      crc = crc32(chunk, crc);
      size += chunk.length;
      onBytes(chunk.length);
      done(null, chunk);
    },
    flush(done) {
      done(size === entry.size && crc === entry.crc ? null : mismatch(file, entry));
    },
  });
  const packed = createReadStream(file, { start, end: start + entry.compressed - 1, highWaterMark: 1 << 20 });
  if (entry.method === DEFLATED) await pipeline(packed, createInflateRaw({ chunkSize: 1 << 18 }), check, output);
  else await pipeline(packed, check, output);
}

/**
 * @param {string} file
 * @param {ZipEntry} entry
 */
function mismatch(file, entry) {
  return damaged(file, `${entry.name} does not match its checksum`);
}
