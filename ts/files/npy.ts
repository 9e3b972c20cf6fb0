// NumPy's .npy format (numpy/lib/format.py, versions 1.0 to 3.0): magic, version, header length, a Python dictionary
// {'descr', 'fortran_order', 'shape'}, then the elements. Read: floats of 2, 4 and 8 bytes, integers of 1 to 8, booleans,
// either byte order, C or Fortran order. Object arrays (pickles, which run code) are refused. Written: version 1.0.

import { endianness } from 'node:os';
import { StyleClipError } from '../errors.js';
import { readFileChecked, writeFileAtomic } from './atomic.js';
import { fromFloat16 } from './half.js';

export type NpyData = Float32Array | Float64Array | Int32Array | BigInt64Array | Uint8Array;

/** An array of a .npy file, in C order. float16 is given as float32; integers below 8 bytes as int32 or uint8. */
export interface NpyArray<T extends NpyData = NpyData> {
  readonly data: T;
  readonly shape: readonly number[];
  /** As the file has it: `'<f2'`, `'<f4'`, `'>i8'`, … */
  readonly descr: string;
}

const MAGIC = [0x93, 0x4e, 0x55, 0x4d, 0x50, 0x59];

/** Reads a file; `FILE_NOT_FOUND`, `FILE_DAMAGED`, or `FORMAT_UNKNOWN` for element types that are not numbers. */
export async function readNpy(file: string): Promise<NpyArray> {
  return parseNpy(await readFileChecked(file), file);
}

/** {@link readNpy} on bytes; `file` only names them in errors. */
export function parseNpy(bytes: Uint8Array, file = 'the file'): NpyArray {
  const damaged = (why: string): StyleClipError =>
    new StyleClipError('FILE_DAMAGED', `${file} is not a whole .npy file: ${why}`, {
      remedy: 'Write it again with numpy.save.',
    });
  if (bytes.length < 10 || MAGIC.some((b, i) => bytes[i] !== b)) throw damaged('it does not begin with NumPy’s magic');
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const major = bytes[6]!;
  if (major < 1 || major > 3) {
    throw new StyleClipError('FORMAT_VERSION', `${file} has .npy version ${major}.${bytes[7]}`, {
      remedy: 'Versions 1.0 to 3.0 are read; write it again with numpy.save.',
    });
  }
  const prefix = major === 1 ? 10 : 12;
  if (bytes.length < prefix) throw damaged('its header is cut off');
  const length = major === 1 ? view.getUint16(8, true) : view.getUint32(8, true);
  const start = prefix + length;
  if (start > bytes.length) throw damaged('its header is cut off');
  const text = new TextDecoder(major === 3 ? 'utf-8' : 'latin1').decode(bytes.subarray(prefix, start));
  const header = parseHeader(text);
  if (header === undefined) throw damaged('its header cannot be read');

  const match = /^([<>|=])([fiub])([1248])$/.exec(header.descr);
  const [kind, size] = [match?.[2], Number(match?.[3])];
  const known = kind === 'f' ? size > 1 : kind === 'b' ? size === 1 : kind !== undefined;
  if (match === null || !known) {
    throw new StyleClipError('FORMAT_UNKNOWN', `${file} holds elements of type ${header.descr}`, {
      remedy: 'Only real numbers are read: convert with array.astype("float32") before numpy.save.',
    });
  }
  const count = header.shape.reduce((a, b) => a * b, 1);
  if (bytes.length - start !== count * size) {
    throw damaged(
      `it holds ${bytes.length - start} bytes where shape ${JSON.stringify(header.shape)} needs ${count * size}`,
    );
  }
  // A copy of its own: slice() of a Buffer would share the memory of other buffers.
  const body = new Uint8Array(bytes.subarray(start));
  const order = match[1] === '=' ? endianness() === 'LE' : match[1] !== '>';
  if (size > 1 && order !== (endianness() === 'LE')) swapBytes(body, size);
  const data = elements(kind as string, size, body.buffer as ArrayBuffer);
  return {
    data: header.fortran ? fromFortran(data, header.shape) : data,
    shape: header.shape,
    descr: header.descr,
  };
}

/** The array's numbers as float32. */
export function npyFloat32(array: NpyArray): Float32Array {
  const { data } = array;
  if (data instanceof Float32Array) return data;
  return data instanceof BigInt64Array ? Float32Array.from(data, Number) : Float32Array.from(data);
}

/** Writes an array as numpy.save would (version 1.0, C order), atomically. */
export async function writeNpy(file: string, data: NpyData, shape: readonly number[]): Promise<void> {
  await writeFileAtomic(file, formatNpy(data, shape));
}

/** {@link writeNpy} into memory: the pieces of the file in order. */
export function formatNpy(data: NpyData, shape: readonly number[]): Uint8Array[] {
  const mark = endianness() === 'LE' ? '<' : '>';
  const descr =
    data instanceof Float32Array
      ? `${mark}f4`
      : data instanceof Float64Array
        ? `${mark}f8`
        : data instanceof Int32Array
          ? `${mark}i4`
          : data instanceof BigInt64Array
            ? `${mark}i8`
            : '|u1';
  const tuple = shape.length === 1 ? `(${shape[0]},)` : `(${shape.join(', ')})`;
  const text = `{'descr': '${descr}', 'fortran_order': False, 'shape': ${tuple}, }`;
  // The elements begin at a multiple of 64; the header ends in a newline.
  const total = Math.ceil((10 + text.length + 1) / 64) * 64;
  const header = Buffer.alloc(total, 0x20);
  header.set([...MAGIC, 1, 0]);
  header.writeUInt16LE(total - 10, 8);
  header.write(text, 10, 'latin1');
  header[total - 1] = 0x0a;
  return [header, new Uint8Array(data.buffer, data.byteOffset, data.byteLength)];
}

/** The dictionary of the header: only the three keys that the format allows, each once. */
function parseHeader(text: string): { descr: string; fortran: boolean; shape: number[] } | undefined {
  const body = /^\s*\{(.*?),?\s*\}\s*$/s.exec(text)?.[1];
  if (body === undefined) return undefined;
  const pair = /\s*(['"])(\w+)\1\s*:\s*(?:(['"])([^'"]*)\3|(True|False)|\(([\d\sL,]*)\)|(\[.*\]))\s*(?:,|$)/sy;
  let descr: string | undefined;
  let fortran: boolean | undefined;
  let shape: number[] | undefined;
  while (pair.lastIndex < body.length) {
    const found = pair.exec(body);
    if (found === null) return undefined;
    const [, , key, , string, truth, tuple, list] = found;
    if (key === 'descr' && descr === undefined) descr = string ?? list;
    else if (key === 'fortran_order' && fortran === undefined && truth !== undefined) fortran = truth === 'True';
    else if (key === 'shape' && shape === undefined && tuple !== undefined) {
      const sizes = tuple.split(',').map((s) => s.trim().replace(/L$/, ''));
      if (sizes.at(-1) === '') sizes.pop();
      if (!sizes.every((s) => /^\d{1,15}$/.test(s))) return undefined;
      shape = sizes.map(Number);
    } else return undefined;
  }
  return descr === undefined || fortran === undefined || shape === undefined ? undefined : { descr, fortran, shape };
}

function swapBytes(bytes: Uint8Array, size: number): void {
  for (let i = 0; i < bytes.length; i += size) bytes.subarray(i, i + size).reverse();
}

function elements(kind: string, size: number, buffer: ArrayBuffer): NpyData {
  if (kind === 'f') {
    return size === 2
      ? fromFloat16(new Uint16Array(buffer))
      : size === 4
        ? new Float32Array(buffer)
        : new Float64Array(buffer);
  }
  const signed = kind === 'i';
  switch (size) {
    case 1:
      return signed ? Int32Array.from(new Int8Array(buffer)) : new Uint8Array(buffer);
    case 2:
      return Int32Array.from(signed ? new Int16Array(buffer) : new Uint16Array(buffer));
    case 4:
      return signed ? new Int32Array(buffer) : Float64Array.from(new Uint32Array(buffer));
    default:
      return signed ? new BigInt64Array(buffer) : Float64Array.from(new BigUint64Array(buffer), Number);
  }
}

/** Fortran order (first index fastest) to C order (last index fastest). */
function fromFortran(data: NpyData, shape: readonly number[]): NpyData {
  const result = data.slice();
  const index = shape.map(() => 0);
  const strides = shape.map((_, d) => shape.slice(0, d).reduce((a, b) => a * b, 1));
  for (let i = 0; i < data.length; i++) {
    const from = index.reduce((sum, n, d) => sum + n * strides[d]!, 0);
    result[i] = data[from]!;
    for (let d = shape.length - 1; d >= 0; d--) {
      index[d]!++;
      if (index[d]! < shape[d]!) break;
      index[d] = 0;
    }
  }
  return result;
}
