"""A small CLIP-type byte-pair tokenizer: trained here, written as the usual tokenizer.json.

Same byte table, same word pattern, same `</w>` end of word, same order of ids as CLIP's (256 bytes, 256 bytes ending a
word, the merges, then the start and end tokens last), only with some thousand merges fewer.  Any text encodes: what was
never seen falls back to bytes.

The word pattern is CLIP's; Python's `re` has no \\p{L}, so letters are spelt [^\\W\\d_] here: the same for all texts
this folder makes.
"""

from __future__ import annotations

import collections
import json
import re
from pathlib import Path

START, END = "<|startoftext|>", "<|endoftext|>"
CLIP_PATTERN = r"""<\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"""
PATTERN = re.compile(r"<\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d|[^\W\d_]+|\d|(?:_|[^\s\w])+",
                     re.IGNORECASE)


def byte_table() -> dict[int, str]:
    kept = [*range(33, 127), *range(161, 173), *range(174, 256)]
    rest = [b for b in range(256) if b not in kept]
    return {**{b: chr(b) for b in kept}, **{b: chr(256 + i) for i, b in enumerate(rest)}}


BYTES = byte_table()


def words_of(text: str) -> list[str]:
    return PATTERN.findall(" ".join(text.split()).lower())


def symbols(word: str) -> tuple[str, ...]:
    mapped = [BYTES[b] for b in word.encode("utf-8")]
    return (*mapped[:-1], mapped[-1] + "</w>")


def merge(word: tuple[str, ...], pair: tuple[str, str]) -> tuple[str, ...]:
    out, i = [], 0
    while i < len(word):
        if i + 1 < len(word) and (word[i], word[i + 1]) == pair:
            out.append(word[i] + word[i + 1])
            i += 2
        else:
            out.append(word[i])
            i += 1
    return tuple(out)


def train(texts: list[str], vocabulary: int) -> dict:
    """Byte-pair merges by count (ties by name), as a tokenizer.json value."""
    counts = collections.Counter(w for text in texts for w in words_of(text))
    words = {symbols(w): c for w, c in counts.items()}
    merges: list[tuple[str, str]] = []
    while 512 + len(merges) + 2 < vocabulary:
        pairs: collections.Counter[tuple[str, str]] = collections.Counter()
        for word, count in words.items():
            for pair in zip(word, word[1:]):
                pairs[pair] += count
        if not pairs:
            break
        best = max(pairs, key=lambda p: (pairs[p], p))
        merges.append(best)
        merged: collections.Counter[tuple[str, ...]] = collections.Counter()
        for word, count in words.items():
            merged[merge(word, best)] += count
        words = dict(merged)
    singles = list(BYTES.values())
    entries = singles + [s + "</w>" for s in singles] + ["".join(m) for m in merges] + [START, END]
    # Two merges may spell the same string: ids stay unique, the first one counts.
    entries = list(dict.fromkeys(entries))
    vocab = {e: i for i, e in enumerate(entries)}
    special = [{"id": vocab[t], "content": t, "single_word": False, "lstrip": False, "rstrip": False,
                "normalized": False, "special": True} for t in (START, END)]
    return {
        "version": "1.0", "truncation": None, "padding": None, "added_tokens": special,
        "normalizer": {"type": "Sequence", "normalizers": [
            {"type": "NFC"}, {"type": "Replace", "pattern": {"Regex": r"\s+"}, "content": " "},
            {"type": "Lowercase"}]},
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": [
            {"type": "Split", "pattern": {"Regex": CLIP_PATTERN}, "behavior": "Removed", "invert": True},
            {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True}]},
        "post_processor": {"type": "RobertaProcessing", "sep": [END, vocab[END]], "cls": [START, vocab[START]],
                           "trim_offsets": False, "add_prefix_space": False},
        "decoder": {"type": "ByteLevel"},
        "model": {"type": "BPE", "dropout": None, "unk_token": END, "continuing_subword_prefix": "",
                  "end_of_word_suffix": "</w>", "fuse_unk": False, "vocab": vocab,
                  "merges": [" ".join(m) for m in merges]},
    }


def save(value: dict, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")


class Tokenizer:
    def __init__(self, path: Path) -> None:
        model = json.loads(path.read_text(encoding="utf-8"))["model"]
        self.vocab: dict[str, int] = model["vocab"]
        self.ranks = {tuple(m.split(" ")): i for i, m in enumerate(model["merges"])}
        self.start, self.end = self.vocab[START], self.vocab[END]
        self.cache: dict[str, list[int]] = {}

    def __len__(self) -> int:
        return len(self.vocab)

    def word(self, word: str) -> list[int]:
        if word not in self.cache:
            parts = symbols(word)
            while len(parts) > 1:
                best = min(zip(parts, parts[1:]), key=lambda p: self.ranks.get(p, 1 << 30))
                if best not in self.ranks:
                    break
                parts = merge(parts, best)
            self.cache[word] = [self.vocab[p] for p in parts]
        return self.cache[word]

    def encode(self, text: str, length: int | None = None) -> list[int]:
        ids = [self.start, *(i for w in words_of(text) for i in self.word(w)), self.end]
        if length is not None and len(ids) > length:
            ids = [*ids[: length - 1], self.end]
        return ids
