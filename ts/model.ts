// What all loaded models share: the native handle, what they tell of themselves, closing, and making calls on them.

import { stat } from 'node:fs/promises';
import { resolve } from 'node:path';
import { checkBoolean, checkOneOf, checkOptions, checkPath, fail } from './check.js';
import { checkDevice, defaultDevice } from './configure.js';
import './dispose.js';
import { readError } from './files/atomic.js';
import { parseJsonObject } from './files/json.js';
import type { NativeAddon, NativeModel, NativeRun } from './native.js';
import { native, openDevices } from './runtime.js';
import { checkRun, nativeError, runNative } from './signals.js';
import type { Closeable, ModelInfo, ModelOptions, RunOptions } from './types.js';

const MODEL_KEYS = ['device', 'dtype', 'trust', 'signal'];
const DTYPES = ['float32', 'float16', 'bfloat16'] as const;

/** Opens an archive of a kind. Used by every `load`. */
export async function loadModel(
  kind: NativeModel['kind'],
  file: string | URL,
  options: ModelOptions | undefined,
  where: string,
): Promise<NativeModel> {
  const path = resolve(checkPath(file));
  const given = checkOptions(options, MODEL_KEYS, where);
  const device = given.device === undefined ? defaultDevice() : checkDevice(given.device);
  const dtype = checkOneOf(given.dtype ?? 'float32', 'dtype', DTYPES);
  const trust = checkBoolean(given.trust ?? false, 'trust');
  checkRun(given);
  await checkReadable(path);
  const addon = native();
  await openDevices(device);
  return runNative(
    given,
    () => addon.createCancel(),
    async (run) => addon.load(path, { kind, device, dtype, trust }, run),
  );
}

/** `FILE_NOT_FOUND` unless there is a file. */
export async function checkReadable(path: string): Promise<void> {
  const found = await stat(path).catch((e: unknown) => {
    throw readError(e, path);
  });
  if (!found.isFile()) fail('FILE_NOT_FOUND', `${path} is not a file`, 'Name a file.');
}

/** The native part of every model. Here rather than in the class, so that no raw interface shows in public types. */
const handles = new WeakMap<Model, NativeModel>();

/** A model that owns native memory. It belongs to the thread that loaded it; its calls run one after another. */
export abstract class Model implements Closeable {
  #closing: Promise<void> | undefined;

  protected constructor(handle: NativeModel) {
    handles.set(this, handle);
  }

  /** Frees the native memory after the running call; later calls reject with `ERR_STYLECLIP_CLOSED`. */
  async close(): Promise<void> {
    this.#closing ??= handles.get(this)!.close();
    try {
      await this.#closing;
    } catch (e) {
      throw nativeError(e);
    }
  }

  get closed(): boolean {
    return this.#closing !== undefined || handles.get(this)!.closed;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }
}

/** The native part of an open model; throws `CLOSED` after close(). */
export function handleOf(model: Model): NativeModel {
  const handle = handles.get(model)!;
  if (model.closed) fail('CLOSED', `the ${handle.kind} ${handle.file} is closed`, 'Load it again, or close it later.');
  return handle;
}

/** One call on a model, under the caller's signal and progress callback. */
export async function callModel<T>(
  model: Model,
  options: RunOptions,
  make: (addon: NativeAddon, handle: NativeModel, run: NativeRun) => Promise<T>,
): Promise<T> {
  const handle = handleOf(model);
  const addon = native();
  return runNative(
    options,
    () => addon.createCancel(),
    async (run) => make(addon, handle, run),
  );
}

/** What every model tells of itself, from its native part. */
export function modelInfo(handle: NativeModel): ModelInfo {
  const { file, sha256, device, dtype, memoryBytes } = handle;
  const description = parseJsonObject({ text: handle.description }) ?? {};
  const licence = description['licence'];
  return {
    file,
    sha256,
    device,
    dtype,
    memoryBytes,
    licence: typeof licence === 'string' ? licence : 'unknown',
    description,
  };
}

/** A whole number of a model's description; 0 where a foreign archive does not say. */
export function describedSize(info: ModelInfo, name: string): number {
  const value = info.description[name];
  return Number.isSafeInteger(value) ? (value as number) : 0;
}
