// numpy.savez's .npz format: a zip archive of .npy files. Read through the central directory at its end; entries stored
// or deflated, as numpy.savez and numpy.savez_compressed write them; zip64 (archives above 4 GiB) is not read.

import { inflateRawSync } from 'node:zlib';
import { StyleClipError } from '../errors.js';
import { readFileChecked } from './atomic.js';
import { parseNpy, type NpyArray } from './npy.js';

// Signatures and offsets: PKWARE's APPNOTE.TXT, sections 4.3.7 (local header), 4.3.12 (central directory), 4.3.16 (end).
const LOCAL_HEADER = 0x04034b50;
const CENTRAL_HEADER = 0x02014b50;
const END_RECORD = 0x06054b50;
const END_SIZE = 22;
const LONGEST_COMMENT = 0xffff;
// As the native reader's (docs/models.md): numbers hardly compress, and bombs do.
const MOST_RATIO = 100;
const ALWAYS_UNPACKED = 64 * 2 ** 20;

/** Reads the arrays of a file, by name (without `.npy`), in the file's order. */
export async function readNpz(file: string): Promise<Map<string, NpyArray>> {
  return parseNpz(await readFileChecked(file), file);
}

/** {@link readNpz} on bytes; `file` only names them in errors. */
export function parseNpz(bytes: Uint8Array, file = 'the file'): Map<string, NpyArray> {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const arrays = new Map<string, NpyArray>();
  try {
    const end = findEnd(view);
    const count = view.getUint16(end + 10, true);
    const places: number[] = [];
    let left = Math.max(ALWAYS_UNPACKED, MOST_RATIO * bytes.length);
    let at = view.getUint32(end + 16, true);
    for (let i = 0; i < count; i++) {
      if (view.getUint32(at, true) !== CENTRAL_HEADER) throw new RangeError('an entry of its directory is missing');
      places.push(at);
      left -= view.getUint32(at + 24, true);
      at += 46 + view.getUint16(at + 28, true) + view.getUint16(at + 30, true) + view.getUint16(at + 32, true);
    }
    if (left < 0) {
      throw new StyleClipError(
        'FORMAT_UNKNOWN',
        `the entries of ${file} unpack to far more than it has (a zip bomb?)`,
        {
          remedy: 'Get the file from whoever made it, written with numpy.savez.',
        },
      );
    }
    for (const place of places) {
      const nameLength = view.getUint16(place + 28, true);
      const name = new TextDecoder().decode(bytes.subarray(place + 46, place + 46 + nameLength)).replace(/\.npy$/, '');
      arrays.set(name, parseNpy(entry(bytes, view, place), `${name} in ${file}`));
    }
  } catch (cause) {
    if (StyleClipError.is(cause)) throw cause;
    throw new StyleClipError('FILE_DAMAGED', `${file} is not a whole .npz file`, {
      remedy: 'Write it again with numpy.savez.',
      cause,
    });
  }
  return arrays;
}

/** Place of the end record; it stands last, followed by a comment of any length. */
function findEnd(view: DataView): number {
  const lowest = Math.max(0, view.byteLength - END_SIZE - LONGEST_COMMENT);
  for (let at = view.byteLength - END_SIZE; at >= lowest; at--) {
    if (view.getUint32(at, true) === END_RECORD) return at;
  }
  throw new RangeError('its directory is missing');
}

/** The bytes of the entry whose central header stands at `at`. */
function entry(bytes: Uint8Array, view: DataView, at: number): Uint8Array {
  const method = view.getUint16(at + 10, true);
  const packed = view.getUint32(at + 20, true);
  const size = view.getUint32(at + 24, true);
  const local = view.getUint32(at + 42, true);
  if (view.getUint32(local, true) !== LOCAL_HEADER) throw new RangeError('an entry is missing');
  const start = local + 30 + view.getUint16(local + 26, true) + view.getUint16(local + 28, true);
  if (start + packed > bytes.length) throw new RangeError('an entry is cut off');
  const content = bytes.subarray(start, start + packed);
  const plain = method === 0 ? content : method === 8 ? inflateRawSync(content, { maxOutputLength: size }) : undefined;
  if (plain === undefined) throw new RangeError(`an entry is packed by method ${method}`);
  if (plain.length !== size) throw new RangeError('an entry has not the length that the directory says');
  return plain;
}
