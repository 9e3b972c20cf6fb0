// The other two forms in which CLIP's vocabulary is passed around: OpenAI's list of merges (bpe_simple_vocab_16e6.txt,
// from which the vocabulary follows), and Hugging Face's vocab.json with merges.txt.

import { fail } from '../check.js';
import { isObject, parseJsonObject } from '../files/json.js';
import { BYTE_CHARACTERS } from './bytes.js';
import { END, isId, START, type TokenizerParts } from './file.js';

const SUFFIX = '</w>';

/** Of OpenAI's 262,145 lines CLIP uses this many merges: 49,152 symbols less 256 bytes and 2 (simple_tokenizer.py). */
const CLIP_MERGES = 48_894;

/**
 * From a list of merges, one a line, below a line for the version; at most CLIP's 48,894 are taken. Ids: the 256 bytes in
 * the byte table's order, the same at the end of a word, one for each merge, start, end.
 *
 * @throws StyleClipError `FORMAT_UNKNOWN`, `FILE_DAMAGED`
 */
export function partsFromMerges(text: string, file: string): TokenizerParts {
  const merges = parseMerges(text, file).slice(0, CLIP_MERGES);
  // In the table's order: first the bytes that stand for themselves, then the others, which is the order of characters.
  const bytes = [...BYTE_CHARACTERS].sort((a, b) => a.codePointAt(0)! - b.codePointAt(0)!);
  const symbols = [...bytes, ...bytes.map((b) => b + SUFFIX), ...merges.map(([a, b]) => a + b), START, END];
  return withSpecials(new Map(symbols.map((symbol, id) => [symbol, id])), merges, file);
}

/**
 * From a `vocab.json` (symbol → id) and its `merges.txt`.
 *
 * @throws StyleClipError `FORMAT_UNKNOWN`, `FILE_DAMAGED`; `MODEL_MISMATCH` when the files do not belong together
 */
export function partsFromVocabulary(
  vocab: { readonly text: string; readonly file: string },
  list: { readonly text: string; readonly file: string },
): TokenizerParts {
  const remedy = 'A vocab.json is one JSON object that gives every symbol its number.';
  const json = parseJsonObject({ text: vocab.text }) ?? fail('FILE_DAMAGED', `${vocab.file} is no JSON object`, remedy);
  if (isObject(json['model'])) {
    fail('FORMAT_UNKNOWN', `${vocab.file} is a whole tokenizer.json`, `Give it alone, without ${list.file}.`);
  }
  const vocabulary = new Map<string, number>();
  for (const [symbol, id] of Object.entries(json)) {
    if (!isId(id)) fail('FILE_DAMAGED', `${vocab.file} gives '${symbol}' the number ${String(id)}`, remedy);
    vocabulary.set(symbol, id);
  }
  const merges = parseMerges(list.text, list.file);
  const stray = merges.find(([a, b]) => !vocabulary.has(a + b));
  if (stray !== undefined) {
    const symbol = stray.join('');
    fail(
      'MODEL_MISMATCH',
      `${list.file} makes '${symbol}', which ${vocab.file} lacks`,
      'Give the two files of one model.',
    );
  }
  return withSpecials(vocabulary, merges, vocab.file);
}

function parseMerges(text: string, file: string): (readonly [string, string])[] {
  const lines = text.split(/\r?\n/);
  const remedy = 'The first line is a version; every other one holds two symbols with a space between.';
  if (!lines[0]!.includes('#version')) fail('FORMAT_UNKNOWN', `${file} is no list of merges`, remedy);
  const merges: (readonly [string, string])[] = [];
  for (let i = 1; i < lines.length; i++) {
    if (lines[i] === '' && i === lines.length - 1) break;
    const [a, b, ...rest] = lines[i]!.split(' ');
    if (!a || !b || rest.length > 0)
      return fail('FILE_DAMAGED', `line ${i + 1} of ${file} holds no two symbols`, remedy);
    merges.push([a, b]);
  }
  if (merges.length === 0) fail('FILE_DAMAGED', `${file} holds no merges`, remedy);
  return merges;
}

function withSpecials(
  vocabulary: ReadonlyMap<string, number>,
  merges: readonly (readonly [string, string])[],
  file: string,
): TokenizerParts {
  const [start, end] = [vocabulary.get(START), vocabulary.get(END)];
  if (start === undefined || end === undefined) {
    return fail('FORMAT_UNKNOWN', `${file} has no ${START} or ${END}`, 'Give the vocabulary of a CLIP model.');
  }
  const specials = new Map([
    [START, start],
    [END, end],
  ]);
  return { vocabulary, merges, suffix: SUFFIX, specials, start, end };
}
