// Writes a pickle (protocol 3) of nested lists of float32 arrays: the form of StyleCLIP's S_mean_std. Opcodes: CPython's
// Lib/pickletools.py. Arrays as NumPy pickles them: numpy.core.multiarray._reconstruct(ndarray, (0,), b'b'), then the state
// (1, shape, dtype, fortran, bytes); dtype is numpy.dtype('f4', False, True) with the state (3, '<', None…).

import { StyleClipError } from '../errors.js';
import type { DataArray } from './data.js';

/** Lists of lists of arrays. */
export type PickleTree = DataArray | readonly PickleTree[];

const encoder = new TextEncoder();

/** The bytes of the pickle, in pieces. */
export function formatPickle(tree: PickleTree): Uint8Array[] {
  return [Uint8Array.of(0x80, 3), ...value(tree), encoder.encode('.')];
}

function value(tree: PickleTree): Uint8Array[] {
  if (!isList(tree)) return array(tree);
  return [encoder.encode(']('), ...tree.flatMap(value), encoder.encode('e')];
}

function isList(tree: PickleTree): tree is readonly PickleTree[] {
  return Array.isArray(tree);
}

function array({ data, shape }: DataArray): Uint8Array[] {
  const bytes = new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
  const pieces = [
    text('cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\n'),
    ...[integer(0), text('\x85'), shortBytes('b'), text('\x87R')], // (ndarray, (0,), b'b'), called
    ...[text('('), integer(1), text('('), ...shape.map(integer), text('t')],
    ...[text('cnumpy\ndtype\n'), unicode('f4'), text('\x89\x88\x87R')], // dtype('f4', False, True)
    ...[text('('), integer(3), unicode('<'), text('NNN'), integer(-1), integer(-1), integer(0), text('tb')],
    ...[text('\x89'), length('B', bytes.length), bytes, text('tb')], // not Fortran, the numbers; BUILD
  ];
  return pieces;
}

/** Opcodes and names: one byte a character. */
function text(characters: string): Uint8Array {
  return Uint8Array.from(characters, (c) => c.charCodeAt(0));
}

/** BININT: four bytes, little-endian. */
function integer(n: number): Uint8Array {
  if (!Number.isInteger(n) || Math.abs(n) > 0x7fffffff) {
    throw new StyleClipError('RANGE', `${n} does not fit into the pickle`, { remedy: 'Write fewer numbers.' });
  }
  return Uint8Array.of(0x4a, n & 255, (n >> 8) & 255, (n >> 16) & 255, (n >> 24) & 255);
}

/** An opcode with a length of four bytes behind it: BINBYTES, BINUNICODE. */
function length(opcode: string, n: number): Uint8Array {
  const bytes = integer(n);
  bytes[0] = opcode.charCodeAt(0);
  return bytes;
}

function shortBytes(content: string): Uint8Array {
  return Uint8Array.of(0x43, content.length, ...text(content));
}

function unicode(content: string): Uint8Array {
  return Uint8Array.of(...length('X', content.length), ...text(content));
}
