// Byte-pair encoding (Sennrich et al., arXiv 1508.07909): the pair of neighbouring symbols that was merged first in
// training is merged first, until no known pair is left.

/** Joins two symbols in a key; no symbol holds a space, since the byte table has none. */
const SEPARATOR = ' ';

export class BytePairs {
  readonly #ranks = new Map<string, number>();
  readonly #cache = new Map<string, readonly string[]>();

  /** @param merges pairs in the order of training */
  constructor(merges: readonly (readonly [string, string])[]) {
    for (const [rank, [a, b]] of merges.entries()) {
      const key = a + SEPARATOR + b;
      if (!this.#ranks.has(key)) this.#ranks.set(key, rank);
    }
  }

  /**
   * The symbols of one word.
   *
   * @param word characters of the byte table, not empty
   * @param suffix marks the end of a word: it is part of the last symbol ('</w>')
   */
  split(word: string, suffix: string): readonly string[] {
    const cached = this.#cache.get(word);
    if (cached !== undefined) return cached;
    let symbols = [...word];
    symbols.push(symbols.pop()! + suffix);
    while (symbols.length > 1) {
      const best = this.#best(symbols);
      if (best === undefined) break;
      symbols = merge(symbols, best[0], best[1]);
    }
    // Prompts repeat their words; a cache without bound would grow with whatever people type.
    if (this.#cache.size >= 10_000) this.#cache.clear();
    this.#cache.set(word, symbols);
    return symbols;
  }

  #best(symbols: readonly string[]): readonly [string, string] | undefined {
    let best: readonly [string, string] | undefined;
    let least = Infinity;
    for (let i = 0; i + 1 < symbols.length; i++) {
      const rank = this.#ranks.get(symbols[i]! + SEPARATOR + symbols[i + 1]!);
      if (rank !== undefined && rank < least) [best, least] = [[symbols[i]!, symbols[i + 1]!], rank];
    }
    return best;
  }
}

/** Every neighbouring a, b becomes ab, from the left. */
function merge(symbols: readonly string[], a: string, b: string): string[] {
  const merged: string[] = [];
  for (let i = 0; i < symbols.length; i++) {
    if (symbols[i] === a && symbols[i + 1] === b) {
      merged.push(a + b);
      i++;
    } else {
      merged.push(symbols[i]!);
    }
  }
  return merged;
}
