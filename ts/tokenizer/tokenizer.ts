// CLIP's tokenizer (openai/CLIP: simple_tokenizer.py): a text becomes the ids that the text tower was trained on. The
// vocabulary comes with the model's archive; the rules are the same for CLIP's 49,408 tokens and for a small one.

import { fail, show } from '../check.js';
import { BytePairs } from './bpe.js';
import { byteText } from './bytes.js';
import { cleanText, SPACE } from './clean.js';
import { parseTokenizer, type TokenizerParts } from './file.js';

/** Below this size a vocabulary was made for a closed world: a word of several tokens is one it was never taught. */
const SMALL_VOCABULARY = 8192;

/** The text's tokens without and with what the model needs around them. */
export interface TokenizedText {
  /** Start token, the text, end token. */
  readonly ids: number[];
  /** Words, as cleaned, that the vocabulary does not hold. */
  readonly unknownWords: string[];
}

/** A batch of tokenized texts. */
export interface Tokens {
  /** [n, context], padded with 0 after the end token. */
  readonly data: Int32Array;
  /** [n, context] */
  readonly shape: readonly [number, number];
  /** Each once, in order of appearance. */
  readonly unknownWords: readonly string[];
}

export class Tokenizer {
  readonly #parts: TokenizerParts;
  readonly #pairs: BytePairs;
  readonly #words: RegExp;

  private constructor(parts: TokenizerParts) {
    this.#parts = parts;
    this.#pairs = new BytePairs(parts.merges);
    const specials = [...parts.specials.keys()].map((s) => s.replace(/[.*+?^${}()|[\]\\]/g, '\\$&'));
    // One digit at a time, as CLIP does. Without regard to case, although the text is in lower case: 'ſ is 's.
    this.#words = new RegExp(
      `${specials.join('|')}|'s|'t|'re|'ve|'m|'ll|'d|\\p{L}+|\\p{N}|[^${SPACE}\\p{L}\\p{N}]+`,
      'giu',
    );
  }

  /**
   * A tokenizer from the text of a `tokenizer.json`.
   *
   * @param file names the source in errors
   * @throws StyleClipError `FILE_DAMAGED`, `FORMAT_UNKNOWN`
   */
  static parse(json: string, file = 'tokenizer.json'): Tokenizer {
    return new Tokenizer(parseTokenizer(json, file));
  }

  /** Tokens that it knows, specials included. */
  get size(): number {
    return new Set([...this.#parts.vocabulary.values(), ...this.#parts.specials.values()]).size;
  }

  /** The id before every text: 49406 in CLIP. */
  get start(): number {
    return this.#parts.start;
  }

  /** The id behind every text, where its embedding is read: 49407 in CLIP. */
  get end(): number {
    return this.#parts.end;
  }

  /** One text's ids, start and end token included, of any length. */
  encode(text: string): TokenizedText {
    const { vocabulary, specials, suffix, start, end } = this.#parts;
    const ids = [start];
    const unknownWords: string[] = [];
    for (const [word] of cleanText(text).matchAll(this.#words)) {
      const special = specials.get(word);
      if (special !== undefined) {
        ids.push(special);
        continue;
      }
      const symbols = this.#pairs.split(byteText(word), suffix);
      // A symbol outside of the vocabulary has no id; CLIP's own unknown token is the end token, which would cut the text.
      const known = symbols.map((s) => vocabulary.get(s)).filter((id) => id !== undefined);
      ids.push(...known);
      const small = vocabulary.size < SMALL_VOCABULARY && symbols.length > 1 && /\p{L}/u.test(word);
      if ((known.length < symbols.length || small) && !unknownWords.includes(word)) unknownWords.push(word);
    }
    ids.push(end);
    return { ids, unknownWords };
  }

  /**
   * Texts as the text tower takes them: [n, context], zeros behind the end token.
   *
   * @param truncate cuts longer texts, the end token kept; otherwise they are a `RANGE` error
   */
  encodeBatch(texts: readonly string[], context: number, truncate: boolean): Tokens {
    const data = new Int32Array(texts.length * context);
    const unknown = new Set<string>();
    for (const [row, text] of texts.entries()) {
      const { ids, unknownWords } = this.encode(text);
      for (const word of unknownWords) unknown.add(word);
      if (ids.length > context) {
        if (!truncate) {
          fail(
            'RANGE',
            `the text ${show(text)} has ${ids.length} tokens; the model takes ${context}`,
            'Shorten it, or pass { truncate: true } to cut it.',
          );
        }
        ids.length = context;
        ids[context - 1] = this.end;
      }
      data.set(ids, row * context);
    }
    return { data, shape: [texts.length, context], unknownWords: [...unknown] };
  }
}
