// The .safetensors format (huggingface/safetensors, README "Format"): an 8-byte little-endian header length, a JSON
// header {name: {dtype, shape, data_offsets}, __metadata__: {string: string}}, then the tensors' bytes without gaps.
// Everything in the header is checked before a tensor is made: a file may come from anywhere.

import { endianness } from 'node:os';
import { StyleClipError } from '../errors.js';
import { readFileChecked, writeFileAtomic } from './atomic.js';
import { fromBfloat16, fromFloat16 } from './half.js';

/** Bytes an element, by the format's dtype names. */
const SIZES = {
  F64: 8,
  F32: 4,
  F16: 2,
  BF16: 2,
  I64: 8,
  U64: 8,
  I32: 4,
  U32: 4,
  I16: 2,
  U16: 2,
  I8: 1,
  U8: 1,
  BOOL: 1,
};
export type SafetensorsType = keyof typeof SIZES;

/** One tensor: its bytes (a copy, little-endian) with type and shape. */
export interface SafetensorsTensor {
  readonly dtype: SafetensorsType;
  readonly shape: readonly number[];
  readonly bytes: Uint8Array;
}

export interface Safetensors {
  readonly tensors: ReadonlyMap<string, SafetensorsTensor>;
  /** The `__metadata__` entry; empty when there is none. */
  readonly metadata: Readonly<Record<string, string>>;
}

/** What {@link writeSafetensors} takes for one tensor. */
export interface SafetensorsInput {
  readonly data: Float32Array | Float64Array | Int32Array | BigInt64Array | Uint8Array;
  readonly shape: readonly number[];
}

/** The reference implementation's own limit of the header. */
const MAX_HEADER = 100_000_000;

/** Reads a file; `FILE_NOT_FOUND`, or `FILE_DAMAGED` for anything that breaks the format. */
export async function readSafetensors(file: string): Promise<Safetensors> {
  return parseSafetensors(await readFileChecked(file), file);
}

/** {@link readSafetensors} on bytes; `file` only names them in errors. */
export function parseSafetensors(bytes: Uint8Array, file = 'the file'): Safetensors {
  const damaged = (why: string, cause?: unknown): StyleClipError =>
    new StyleClipError('FILE_DAMAGED', `${file} is not a whole .safetensors file: ${why}`, {
      remedy: 'Write or fetch the file again.',
      ...(cause === undefined ? {} : { cause }),
    });
  if (bytes.length < 8) throw damaged('it is shorter than 8 bytes');
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const length = view.getBigUint64(0, true);
  if (length > BigInt(MAX_HEADER) || Number(length) > bytes.length - 8) throw damaged(`its header length is ${length}`);
  const start = 8 + Number(length);
  let header: unknown;
  try {
    header = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(bytes.subarray(8, start)));
  } catch (e) {
    throw damaged('its header is not JSON', e);
  }
  if (!isRecord(header)) throw damaged('its header is not an object');

  const metadata: Record<string, string> = {};
  const tensors = new Map<string, SafetensorsTensor>();
  const spans: { from: number; to: number; name: string }[] = [];
  for (const [name, entry] of Object.entries(header)) {
    if (!isRecord(entry)) throw damaged(`the entry '${name}' is not an object`);
    if (name === '__metadata__') {
      for (const [key, value] of Object.entries(entry)) {
        if (typeof value !== 'string') throw damaged(`the metadata '${key}' is not a string`);
        metadata[key] = value;
      }
      continue;
    }
    const { dtype, shape, data_offsets: offsets } = entry;
    if (typeof dtype !== 'string' || !Object.hasOwn(SIZES, dtype))
      throw damaged(`'${name}' has the type ${String(dtype)}`);
    if (!isSizes(shape)) throw damaged(`'${name}' has no valid shape`);
    if (!isSizes(offsets) || offsets.length !== 2) throw damaged(`'${name}' has no valid offsets`);
    const [from, to] = offsets as [number, number];
    const wanted = shape.reduce((a, b) => a * b, 1) * SIZES[dtype as SafetensorsType];
    if (to - from !== wanted) throw damaged(`'${name}' has ${to - from} bytes where its shape needs ${wanted}`);
    if (start + to > bytes.length) throw damaged(`'${name}' ends after the end of the file`);
    spans.push({ from, to, name });
    tensors.set(name, { dtype: dtype as SafetensorsType, shape, bytes: bytes.slice(start + from, start + to) });
  }
  let end = 0;
  for (const span of spans.toSorted((a, b) => a.from - b.from || a.to - b.to)) {
    if (span.from !== end) throw damaged(`'${span.name}' overlaps another tensor or leaves a gap before it`);
    end = span.to;
  }
  if (start + end !== bytes.length) throw damaged(`${bytes.length - start - end} bytes follow the last tensor`);
  return { tensors, metadata };
}

/** A tensor's numbers as float32, whatever floating type or integer it was stored in. */
export function safetensorsFloat32(tensor: SafetensorsTensor): Float32Array {
  const { bytes, dtype } = tensor;
  const buffer = aligned(bytes);
  switch (dtype) {
    case 'F32':
      return new Float32Array(buffer);
    case 'F64':
      return Float32Array.from(new Float64Array(buffer));
    case 'F16':
      return fromFloat16(new Uint16Array(buffer));
    case 'BF16':
      return fromBfloat16(new Uint16Array(buffer));
    case 'I64':
      return Float32Array.from(new BigInt64Array(buffer), Number);
    case 'U64':
      return Float32Array.from(new BigUint64Array(buffer), Number);
    case 'I32':
      return Float32Array.from(new Int32Array(buffer));
    case 'U32':
      return Float32Array.from(new Uint32Array(buffer));
    case 'I16':
      return Float32Array.from(new Int16Array(buffer));
    case 'U16':
      return Float32Array.from(new Uint16Array(buffer));
    case 'I8':
      return Float32Array.from(new Int8Array(buffer));
    case 'U8':
    case 'BOOL':
      return Float32Array.from(bytes);
  }
}

/** A tensor's numbers as int32; only for tensors stored as I32 or I64 (values that fit). */
export function safetensorsInt32(tensor: SafetensorsTensor): Int32Array | undefined {
  if (tensor.dtype === 'I32') return new Int32Array(aligned(tensor.bytes));
  if (tensor.dtype !== 'I64') return undefined;
  const wide = new BigInt64Array(aligned(tensor.bytes));
  return wide.every((v) => BigInt.asIntN(32, v) === v) ? Int32Array.from(wide, Number) : undefined;
}

/** Writes tensors and metadata, atomically. Names keep the order of the record; the largest elements come first. */
export async function writeSafetensors(
  file: string,
  tensors: Readonly<Record<string, SafetensorsInput>>,
  metadata: Readonly<Record<string, string>> = {},
): Promise<void> {
  await writeFileAtomic(file, formatSafetensors(tensors, metadata));
}

/** {@link writeSafetensors} into memory: the pieces of the file in order. */
export function formatSafetensors(
  tensors: Readonly<Record<string, SafetensorsInput>>,
  metadata: Readonly<Record<string, string>> = {},
): Uint8Array[] {
  if (endianness() !== 'LE') {
    throw new StyleClipError('PLATFORM', 'this machine is big-endian', { remedy: 'Use a little-endian machine.' });
  }
  const header: Record<string, unknown> = {};
  if (Object.keys(metadata).length > 0) header['__metadata__'] = metadata;
  const pieces: Uint8Array[] = [];
  let offset = 0;
  // Wider elements first keeps every tensor aligned to its element size, as the reference implementation does.
  const entries = Object.entries(tensors).toSorted(
    ([, a], [, b]) => b.data.BYTES_PER_ELEMENT - a.data.BYTES_PER_ELEMENT,
  );
  for (const [name, { data, shape }] of entries) {
    header[name] = { dtype: typeName(data), shape, data_offsets: [offset, offset + data.byteLength] };
    pieces.push(new Uint8Array(data.buffer, data.byteOffset, data.byteLength));
    offset += data.byteLength;
  }
  const text = new TextEncoder().encode(JSON.stringify(header));
  const padded = new Uint8Array(8 + Math.ceil(text.length / 8) * 8).fill(0x20);
  padded.set(text, 8);
  new DataView(padded.buffer).setBigUint64(0, BigInt(padded.length - 8), true);
  return [padded, ...pieces];
}

function typeName(data: SafetensorsInput['data']): SafetensorsType {
  if (data instanceof Float32Array) return 'F32';
  if (data instanceof Float64Array) return 'F64';
  if (data instanceof Int32Array) return 'I32';
  if (data instanceof BigInt64Array) return 'I64';
  return 'U8';
}

/** The bytes in a buffer of their own, so that typed arrays of any width fit on them. */
function aligned(bytes: Uint8Array): ArrayBuffer {
  return new Uint8Array(bytes).buffer;
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function isSizes(value: unknown): value is number[] {
  return Array.isArray(value) && value.every((n) => Number.isSafeInteger(n) && (n as number) >= 0);
}
