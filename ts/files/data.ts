// Data files of other tools: whatever torch.save, pickle.dump, numpy.save and safetensors wrote, as a flat list of numbers,
// texts and arrays. Pickles are read by the core's restricted unpickler: nothing of them is ever called.

import { resolve } from 'node:path';
import { product } from '../check.js';
import { StyleClipError } from '../errors.js';
import type { NativeTensor } from '../native.js';
import { native } from '../runtime.js';
import { nativeError } from '../signals.js';
import { readError } from './atomic.js';
import { fromBfloat16, fromFloat16 } from './half.js';
import { stat } from 'node:fs/promises';

/** An array of a data file, as float32. */
export interface DataArray {
  readonly data: Float32Array;
  readonly shape: readonly number[];
}

/** One value, with the keys of dictionaries and the places in lists that lead to it. */
export interface DataLeaf {
  readonly path: readonly string[];
  readonly value: DataArray | string | number;
}

/**
 * Every array, text and number of a file, in its order.
 *
 * @throws StyleClipError `FILE_NOT_FOUND`, `FILE_DAMAGED`, `FORMAT_UNKNOWN`; `RANGE` for what is no data file by its size
 */
export async function readData(file: string): Promise<DataLeaf[]> {
  const path = resolve(file);
  await stat(path).catch((e: unknown) => {
    throw readError(e, path);
  });
  try {
    const { leaves } = await native().readData(path, {});
    return leaves.map(({ path: way, tensor, number, text }): DataLeaf => {
      if (tensor !== undefined) return { path: way, value: { data: tensorFloat32(tensor), shape: tensor.shape } };
      return { path: way, value: number ?? text ?? '' };
    });
  } catch (e) {
    throw nativeError(e);
  }
}

/** A tensor's numbers as float32. */
function tensorFloat32({ data, dtype }: NativeTensor): Float32Array {
  if (data instanceof Float32Array) return data;
  if (data instanceof Uint16Array) return dtype === 'bfloat16' ? fromBfloat16(data) : fromFloat16(data);
  return data instanceof BigInt64Array ? Float32Array.from(data, Number) : Float32Array.from(data);
}

/** Whether a leaf is an array. */
export function isArrayLeaf(leaf: DataLeaf): leaf is DataLeaf & { readonly value: DataArray } {
  return typeof leaf.value === 'object';
}

/** The arrays of a list of leaves. */
export function arraysOf(leaves: readonly DataLeaf[]): (DataLeaf & { readonly value: DataArray })[] {
  return leaves.filter(isArrayLeaf);
}

/** An array under another shape of as many numbers. */
export function reshaped(array: DataArray, shape: readonly number[]): DataArray {
  if (product(shape) !== array.data.length) {
    throw new StyleClipError('INTERNAL', `${array.data.length} numbers do not fit ${JSON.stringify(shape)}`, {
      remedy: 'Report this as a bug.',
    });
  }
  return { data: array.data, shape };
}
