// Reads and writes a `tokenizer.json` (Hugging Face's form, as openai/clip-vit-base-patch32 has it): BPE with an
// end-of-word suffix. What the form allows beyond CLIP's own use is refused rather than ignored.

import { fail } from '../check.js';
import { isObject, parseJsonObject } from '../files/json.js';
import { BYTE_CHARACTERS } from './bytes.js';

/** What a tokenizer is made of. */
export interface TokenizerParts {
  /** Symbol → id. */
  readonly vocabulary: ReadonlyMap<string, number>;
  readonly merges: readonly (readonly [string, string])[];
  /** '</w>' */
  readonly suffix: string;
  /** Texts that are tokens of their own, such as '<|endoftext|>', with their ids. */
  readonly specials: ReadonlyMap<string, number>;
  readonly start: number;
  readonly end: number;
}

export const START = '<|startoftext|>';
export const END = '<|endoftext|>';

/** How CLIP cuts a cleaned text into words (openai/CLIP: simple_tokenizer.py): digits one by one. */
const WORDS = "<\\|startoftext\\|>|<\\|endoftext\\|>|'s|'t|'re|'ve|'m|'ll|'d|[\\p{L}]+|[\\p{N}]|[^\\s\\p{L}\\p{N}]+";

/** @throws StyleClipError `FILE_DAMAGED` or `FORMAT_UNKNOWN` */
export function parseTokenizer(text: string, file: string): TokenizerParts {
  const remedy = 'A BPE tokenizer.json with vocab, merges and end_of_word_suffix is needed, as CLIP’s own.';
  const json = parseJsonObject({ text }) ?? fail('FILE_DAMAGED', `the tokenizer of ${file} is no JSON object`, remedy);
  const model = json['model'];
  if (!isObject(model) || (model['type'] !== undefined && model['type'] !== 'BPE')) {
    return fail('FORMAT_UNKNOWN', `the tokenizer of ${file} is no BPE model`, remedy);
  }
  const vocab = model['vocab'];
  if (!isObject(vocab)) return fail('FORMAT_UNKNOWN', `the tokenizer of ${file} has no vocabulary`, remedy);
  const vocabulary = new Map<string, number>();
  for (const [symbol, id] of Object.entries(vocab)) {
    if (!isId(id)) fail('FILE_DAMAGED', `the tokenizer of ${file} gives '${symbol}' the id ${String(id)}`, remedy);
    vocabulary.set(symbol, id);
  }
  const list = model['merges'];
  if (!Array.isArray(list)) return fail('FORMAT_UNKNOWN', `the tokenizer of ${file} has no merges`, remedy);
  const merges = list.map((item: unknown, i): readonly [string, string] => {
    const pair: unknown = typeof item === 'string' ? item.split(' ') : item;
    if (Array.isArray(pair) && pair.length === 2 && pair.every((s) => typeof s === 'string' && s !== '')) {
      return pair as [string, string];
    }
    return fail('FILE_DAMAGED', `merge ${i} of the tokenizer of ${file} is no pair`, remedy);
  });
  const specials = new Map<string, number>();
  for (const token of Array.isArray(json['added_tokens']) ? (json['added_tokens'] as unknown[]) : []) {
    if (!isObject(token) || typeof token['content'] !== 'string' || !isId(token['id'])) continue;
    // Some files name the padding, '!', a token of its own; in a text it is a character like others.
    if (!BYTE_CHARACTERS.includes(token['content'])) specials.set(token['content'], token['id']);
  }
  for (const name of [START, END]) {
    const id = vocabulary.get(name);
    if (id !== undefined && !specials.has(name)) specials.set(name, id);
  }
  const [start, end] = [specials.get(START), specials.get(END)];
  if (start === undefined || end === undefined) {
    return fail('FORMAT_UNKNOWN', `the tokenizer of ${file} has no ${START} or ${END}`, remedy);
  }
  const suffix = model['end_of_word_suffix'];
  return { vocabulary, merges, suffix: typeof suffix === 'string' ? suffix : '', specials, start, end };
}

/**
 * The text of a `tokenizer.json`, the same for the same parts wherever they come from. Python's tokenizers read it too;
 * their texts should go through ftfy first.
 */
export function tokenizerJson(parts: TokenizerParts): string {
  const byId = (entries: ReadonlyMap<string, number>): [string, number][] =>
    [...entries].sort(([a, i], [b, j]) => i - j || (a < b ? -1 : 1));
  const token = (content: string, id: number) => ({
    id,
    content,
    single_word: false,
    lstrip: false,
    rstrip: false,
    normalized: false,
    special: true,
  });
  return JSON.stringify({
    version: '1.0',
    truncation: null,
    padding: null,
    added_tokens: byId(parts.specials).map(([content, id]) => token(content, id)),
    normalizer: {
      type: 'Sequence',
      normalizers: [
        { type: 'NFC' },
        { type: 'Replace', pattern: { Regex: '\\s+' }, content: ' ' },
        { type: 'Lowercase' },
      ],
    },
    pre_tokenizer: {
      type: 'Sequence',
      pretokenizers: [
        { type: 'Split', pattern: { Regex: WORDS }, behavior: 'Removed', invert: true },
        { type: 'ByteLevel', add_prefix_space: false, trim_offsets: true, use_regex: false },
      ],
    },
    post_processor: {
      type: 'RobertaProcessing',
      sep: [END, parts.end],
      cls: [START, parts.start],
      trim_offsets: false,
      add_prefix_space: false,
    },
    decoder: { type: 'ByteLevel', add_prefix_space: true, trim_offsets: true, use_regex: true },
    model: {
      type: 'BPE',
      dropout: null,
      unk_token: END,
      continuing_subword_prefix: '',
      end_of_word_suffix: parts.suffix,
      fuse_unk: false,
      vocab: Object.fromEntries(byId(parts.vocabulary)),
      merges: parts.merges.map((pair) => pair.join(' ')),
    },
  });
}

/** Whether a value can be a token's number. */
export function isId(value: unknown): value is number {
  return Number.isSafeInteger(value) && (value as number) >= 0 && (value as number) < 2 ** 31;
}
