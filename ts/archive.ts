// Archives as files: what one says of itself, making one, and running any of its methods on tensors.

import { resolve } from 'node:path';
import {
  checkBuffer,
  checkOneOf,
  checkOptions,
  checkPath,
  checkSeed,
  checkShape,
  checkString,
  fail,
  product,
  shapeText,
  show,
} from './check.js';
import { parseJsonObject, snakeCase } from './files/json.js';
import { callModel, checkReadable, loadModel, Model, modelInfo } from './model.js';
import type { NativeModel, NativeTensor } from './native.js';
import { native } from './runtime.js';
import { nativeError, runNative } from './signals.js';
import { parseTokenizer } from './tokenizer/file.js';
import type { ModelInfo, ModelOptions, RunOptions } from './types.js';

const KINDS = ['generator', 'clip', 'identity', 'encoder', 'mapper', 'module'] as const;

/** What an archive says of itself. */
export interface ArchiveInfo {
  /** `'module'` is a TorchScript archive that this package did not write. */
  readonly kind: 'generator' | 'clip' | 'identity' | 'encoder' | 'mapper' | 'module';
  /** Absolute path. */
  readonly file: string;
  readonly bytes: number;
  readonly sha256: string;
  /** Its `styleclip.json`; empty for a foreign module. */
  readonly description: Readonly<Record<string, unknown>>;
}

/** Reads an archive's description. Nothing of the archive is compiled or run. */
export async function describeArchive(file: string | URL): Promise<ArchiveInfo> {
  const path = resolve(checkPath(file));
  await checkReadable(path);
  try {
    const { kind, description, bytes, sha256 } = await native().describe(path);
    const known = checkOneOf(kind, `kind of ${path}`, KINDS);
    return { kind: known, file: path, bytes, sha256, description: parseJsonObject({ text: description }) ?? {} };
  } catch (e) {
    throw nativeError(e);
  }
}

/** Options of {@link makeArchive}. */
export interface MakeOptions extends RunOptions {
  /** Architecture. */
  kind: 'stylegan2' | 'clip' | 'ir-se' | 'e4e' | 'mapper';
  /** Its sizes: the names of docs/models.md in camel case (`imageSize`, …); what is left out has the paper's value. */
  config?: Readonly<Record<string, unknown>> | undefined;
  /** A .safetensors file with weights under the field's names. Default: random ones, as the papers say. */
  weights?: string | URL | undefined;
  /** Of random weights. Default 0. */
  seed?: number | bigint | undefined;
  /** How the weights are stored. Default `'float32'`. */
  storageDtype?: 'float32' | 'float16' | 'bfloat16' | undefined;
  /** Default `'unknown'`. */
  licence?: string | undefined;
  /** Text of a `tokenizer.json`, for `clip`. */
  tokenizer?: string | undefined;
}

/** What was made. */
export interface MadeArchive {
  readonly file: string;
  readonly parameters: number;
  readonly bytes: number;
  readonly sha256: string;
  readonly description: Readonly<Record<string, unknown>>;
}

/**
 * Builds a model archive and writes it to `file`, atomically.
 *
 * @throws StyleClipError `ARGUMENT` for a configuration that makes no model; `DISK`; errors of the weights' file
 */
export async function makeArchive(file: string | URL, options: MakeOptions): Promise<MadeArchive> {
  const path = resolve(checkPath(file));
  const keys = ['signal', 'onProgress', 'kind', 'config', 'weights', 'seed', 'storageDtype', 'licence', 'tokenizer'];
  const o = checkOptions(options, keys, 'makeArchive');
  const kind = checkOneOf(o.kind, 'kind', ['stylegan2', 'clip', 'ir-se', 'e4e', 'mapper']);
  const sizes = Object.entries(checkOptions(o.config, Object.keys(o.config ?? {}), 'config'));
  const config = JSON.stringify(Object.fromEntries(sizes.map(([name, value]) => [snakeCase(name), value])));
  const weights = o.weights === undefined ? '' : resolve(checkPath(o.weights, 'weights'));
  if (weights !== '') await checkReadable(weights);
  const tokenizer = o.tokenizer === undefined ? '' : checkString(o.tokenizer, 'tokenizer');
  if (tokenizer !== '') parseTokenizer(tokenizer, 'the new archive');
  const request = {
    kind,
    config,
    weights,
    seed: checkSeed(o.seed ?? 0),
    storageDtype: checkOneOf(o.storageDtype ?? 'float32', 'storageDtype', ['float32', 'float16', 'bfloat16']),
    licence: checkString(o.licence ?? 'unknown', 'licence'),
    tokenizer,
    file: path,
  };
  const addon = native();
  const made = await runNative(
    o,
    () => addon.createCancel(),
    async (run) => addon.make(request, run),
  );
  return {
    file: path,
    parameters: made.parameters,
    bytes: made.bytes,
    sha256: made.sha256,
    description: parseJsonObject({ text: made.description }) ?? {},
  };
}

/** A tensor of numbers with its shape: what {@link Module.run} takes and gives. */
export interface Tensor {
  readonly data: Float32Array | Float64Array | Int32Array | BigInt64Array | Uint8Array;
  readonly shape: readonly number[];
}

/** Any archive, for running its methods on tensors: checks, pipes, other tools. */
export class Module extends Model {
  readonly #info: ModelInfo;

  private constructor(handle: NativeModel) {
    super(handle);
    this.#info = Object.freeze(modelInfo(handle));
  }

  /** Loads an archive of whatever kind. Errors as {@link Generator.load}. */
  static async load(file: string | URL, options?: ModelOptions): Promise<Module> {
    return new Module(await loadModel('module', file, options, 'Module.load'));
  }

  get info(): ModelInfo {
    return this.#info;
  }

  /**
   * Runs a method of the archive: `synthesis`, `mapping`, `styles`, `encode_image`, `encode_text`, `embed`, `encode`, or
   * one of a foreign module's own.
   *
   * @returns its tensors; a list or tuple is flattened; half-precision results come as float32
   */
  async run(method: string, inputs: readonly Tensor[], options?: RunOptions): Promise<Tensor[]> {
    const name = checkString(method, 'method');
    const o = checkOptions(options, ['signal', 'onProgress'], 'run');
    if (!Array.isArray(inputs))
      fail('ARGUMENT', `inputs must be an array of tensors, not ${show(inputs)}`, 'Pass [{ data, shape }].');
    const tensors = inputs.map((input: Tensor, i): NativeTensor => {
      const shape = checkShape(input?.shape, `shape of input ${i}`);
      if (!ArrayBuffer.isView(input.data)) fail('ARGUMENT', `input ${i} has no data`, 'Pass [{ data, shape }].');
      checkBuffer(input.data, `input ${i}`);
      if (product(shape) !== input.data.length) {
        fail(
          'SHAPE',
          `input ${i} has ${input.data.length} numbers; its shape ${shapeText(shape)} needs ${product(shape)}`,
          'Give the right shape.',
        );
      }
      return { data: input.data, shape };
    });
    const results = await callModel(this, o, (addon, handle, run) => addon.runMethod(handle, name, tensors, run));
    return results.map(({ data, shape }) => {
      if (data instanceof Uint16Array)
        return fail('INTERNAL', `${name} gave half-precision numbers`, 'Report this as a bug.');
      return { data, shape };
    });
  }
}
