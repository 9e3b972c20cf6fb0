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

/** The native handle of a model; throws `CLOSED` after close(). For calls that take two models. */
export function handleOf(model: Model): NativeModel {
  return model.openHandle();
}

/** A model that owns native memory. It belongs to the thread that loaded it; its calls run one after another. */
export abstract class Model implements Closeable {
  readonly #handle: NativeModel;
  readonly #description: Record<string, unknown>;
  #closing: Promise<void> | undefined;

  /** @internal */
  protected constructor(handle: NativeModel) {
    this.#handle = handle;
    this.#description = parseJsonObject({ text: handle.description }) ?? {};
  }

  /** Frees the native memory after the running call; later calls reject with `ERR_STYLECLIP_CLOSED`. */
  async close(): Promise<void> {
    this.#closing ??= this.#handle.close();
    try {
      await this.#closing;
    } catch (e) {
      throw nativeError(e);
    }
  }

  get closed(): boolean {
    return this.#closing !== undefined || this.#handle.closed;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  /** @internal */
  openHandle(): NativeModel {
    if (this.closed) {
      fail('CLOSED', `the ${this.#handle.kind} ${this.#handle.file} is closed`, 'Load it again, or close it later.');
    }
    return this.#handle;
  }

  /** What every model tells of itself. @internal */
  protected commonInfo(): ModelInfo {
    const { file, sha256, device, dtype, memoryBytes } = this.#handle;
    const licence = this.#description['licence'];
    return {
      file,
      sha256,
      device,
      dtype,
      memoryBytes,
      licence: typeof licence === 'string' ? licence : 'unknown',
      description: this.#description,
    };
  }

  /** A whole number of the description; 0 where a foreign archive does not say. @internal */
  protected size(name: string): number {
    const value = this.#description[name];
    return Number.isSafeInteger(value) ? (value as number) : 0;
  }

  /** A text or list of the description, as it stands there. @internal */
  protected described(name: string): unknown {
    return this.#description[name];
  }

  /** One call on this model. @internal */
  protected async call<T>(
    options: RunOptions,
    make: (addon: NativeAddon, handle: NativeModel, run: NativeRun) => Promise<T>,
  ): Promise<T> {
    const handle = this.openHandle();
    const addon = native();
    return runNative(
      options,
      () => addon.createCancel(),
      async (run) => make(addon, handle, run),
    );
  }
}
