"""Says what is to be seen on a drawn cat: a grammar over the factors, with synonyms, complete or partial.

A caption is made of facts; a fact is a range for one or more factors and several ways to say it.  Because a caption
carries its ranges, one can tell of any other cat whether the caption is true of it too: the contrastive trainer does
not count such a cat as a wrong answer.

    python captions.py --show 20                prints captions
    python captions.py --tokenizer FILE         trains the tokenizer and writes it as tokenizer.json
"""

from __future__ import annotations

import argparse
import random
from dataclasses import dataclass
from pathlib import Path

import torch

import factors as fx

Ranges = dict[str, tuple[float, float]]
TEMPLATES: tuple[str, ...] = tuple(
    (Path(__file__).parent / "templates.txt").read_text(encoding="utf-8").splitlines())


@dataclass(frozen=True)
class Fact:
    name: str
    ranges: Ranges
    adjectives: tuple[str, ...] = ()  # "a {} cat"
    phrases: tuple[str, ...] = ()  # "a cat {}"
    nouns: tuple[str, ...] = ()  # "a {}" in place of "cat"
    salient: bool = True  # part of a complete caption; the others turn up in partial ones only

    def holds(self, f: list[float]) -> bool:
        return all(low <= f[fx.INDEX[k]] <= high for k, (low, high) in self.ranges.items())


def _anchors(name: str, words: dict[str, tuple[str, ...]], adjective: bool, phrases: tuple[str, ...]) -> list[Fact]:
    facts = []
    for i, (anchor, synonyms) in enumerate(words.items()):
        centre, reach = i / (len(words) - 1), 0.36 / (len(words) - 1)
        ranges = {name: (centre - reach, centre + reach)}
        said = tuple(p.format(s) for s in synonyms for p in phrases)
        facts.append(Fact(f"{name}:{anchor}", ranges, synonyms if adjective else (), said))
    return facts


FACTS: list[Fact] = [
    *_anchors("fur", {
        "black": ("black",), "brown": ("brown", "chocolate"), "ginger": ("ginger", "orange", "red"),
        "white": ("white",), "grey": ("grey", "gray", "silver"),
    }, True, ("with {} fur",)),
    Fact("dark", {"shade": (0.0, 0.25)}, ("dark",), ("with dark fur",), salient=False),
    Fact("light", {"shade": (0.75, 1.0)}, ("light", "pale"), ("with light fur", "with bright fur"), salient=False),
    Fact("striped", {"stripes": (0.6, 1.0)}, ("striped", "tabby"), ("with stripes", "with a striped face"),
         ("tabby", "tabby cat")),
    Fact("plain", {"stripes": (0.0, 0.33)}, ("plain",), ("without stripes", "with no stripes"), salient=False),
    *_anchors("eye_colour", {
        "copper": ("copper", "amber"), "yellow": ("yellow", "golden"), "green": ("green",), "blue": ("blue",),
    }, False, ("with {} eyes", "whose eyes are {}")),
    Fact("big eyes", {"eye_size": (0.66, 1.0)}, ("big-eyed",), ("with big eyes", "with large eyes")),
    Fact("small eyes", {"eye_size": (0.0, 0.34)}, (), ("with small eyes", "with tiny eyes", "with little eyes")),
    Fact("cute", {"eye_size": (0.55, 1.0), "eye_open": (0.6, 1.0), "pupil": (0.4, 1.0)},
         ("cute", "adorable", "sweet", "lovely"), ("with big round eyes", "with large round eyes")),
    Fact("sleepy", {"eye_open": (0.0, 0.28)}, ("sleepy", "tired", "drowsy"),
         ("with half-closed eyes", "with its eyes almost closed", "falling asleep", "squinting")),
    Fact("awake", {"eye_open": (0.75, 1.0)}, ("surprised", "wide-eyed", "awake"),
         ("with wide open eyes", "with round eyes", "with open eyes")),
    Fact("round pupils", {"pupil": (0.68, 1.0), "eye_open": (0.2, 1.0)}, (),
         ("with round pupils", "with big pupils", "with wide pupils"), salient=False),
    Fact("slit pupils", {"pupil": (0.0, 0.32), "eye_open": (0.2, 1.0)}, (),
         ("with slit pupils", "with narrow pupils", "with small pupils"), salient=False),
    Fact("happy", {"mouth": (0.66, 1.0)}, ("happy", "smiling", "cheerful", "joyful"),
         ("with a smile", "that smiles", "with a smiling mouth")),
    Fact("grumpy", {"mouth": (0.0, 0.34)}, ("grumpy", "sad", "frowning", "angry", "unhappy"),
         ("with a frown", "that frowns", "in a bad mood")),
    Fact("serious", {"mouth": (0.42, 0.58)}, ("serious",), ("with a straight mouth",), salient=False),
    Fact("tongue", {"tongue": (0.52, 1.0)}, (),
         ("with its tongue out", "sticking out its tongue", "showing its tongue", "with a tongue")),
    Fact("no tongue", {"tongue": (0.0, 0.48)}, (), ("without a tongue", "with no tongue showing"), salient=False),
    Fact("big ears", {"ear_size": (0.68, 1.0)}, ("big-eared",), ("with big ears", "with large ears", "with long ears")),
    Fact("small ears", {"ear_size": (0.0, 0.32)}, (), ("with small ears", "with tiny ears", "with short ears")),
    Fact("fat", {"face_width": (0.68, 1.0)}, ("fat", "chubby", "round-faced", "plump"),
         ("with a wide face", "with a fat face", "with a broad face")),
    Fact("slim", {"face_width": (0.0, 0.32)}, ("slim", "thin", "slender"), ("with a narrow face", "with a thin face")),
    Fact("big muzzle", {"muzzle": (0.72, 1.0)}, (), ("with a big muzzle", "with a large muzzle"), salient=False),
    Fact("small muzzle", {"muzzle": (0.0, 0.28)}, (), ("with a small muzzle", "with a tiny muzzle"), salient=False),
    Fact("left", {"tilt": (0.0, 0.25)}, (), ("leaning left", "with its head tilted to the left", "tilted left")),
    Fact("right", {"tilt": (0.75, 1.0)}, (), ("leaning right", "with its head tilted to the right", "tilted right")),
    Fact("upright", {"tilt": (0.4, 0.6)}, ("upright",), ("with its head upright",), salient=False),
    *_anchors("background", {
        "blue": ("blue",), "green": ("green",), "yellow": ("yellow",), "pink": ("pink",), "purple": ("purple", "violet"),
    }, False, ("on a {} background", "in front of a {} wall", "on {}")),
    Fact("glasses", {"glasses": (0.52, 1.0)}, ("bespectacled",),
         ("with glasses", "wearing glasses", "with red glasses", "in glasses", "wearing spectacles")),
    Fact("no glasses", {"glasses": (0.0, 0.48)}, (), ("without glasses", "with no glasses"), salient=False),
    Fact("hat", {"hat": (0.52, 1.0)}, (), ("with a hat", "wearing a hat", "in a hat", "wearing a top hat",
                                         "with a blue hat")),
    Fact("no hat", {"hat": (0.0, 0.48)}, (), ("without a hat", "with no hat", "bareheaded"), salient=False),
    Fact("bow tie", {"bow_tie": (0.52, 1.0)}, (),
         ("with a bow tie", "wearing a bow tie", "in a bow tie", "with a green bow tie", "with a bowtie")),
    Fact("no bow tie", {"bow_tie": (0.0, 0.48)}, (), ("without a bow tie", "with no bow tie"), salient=False),
    Fact("elegant", {"hat": (0.52, 1.0), "bow_tie": (0.52, 1.0)}, ("elegant", "dressed up", "posh"),
         ("with a hat and a bow tie",), salient=False),
]

NEUTRAL = ("cat", "a cat", "the cat", "a cat's face", "one cat", "a kitty", "a cat looking at us")
NOUNS = ("cat", "cat", "cat", "cat", "kitty", "kitten")


@dataclass
class Caption:
    text: str
    low: list[float]
    high: list[float]


def say(facts: list[Fact], rng: random.Random) -> str:
    """Facts -> "a fat ginger tabby with green eyes wearing glasses and a hat": adjectives first, phrases after."""
    adjectives, phrases, noun = [], [], rng.choice(NOUNS)
    for fact in facts:
        ways = [(adjectives, a) for a in fact.adjectives] + [(phrases, p) for p in fact.phrases]
        if fact.nouns and rng.random() < 0.4:
            noun = rng.choice(fact.nouns)
            continue
        if fact.adjectives and len(adjectives) >= 3 and fact.phrases:
            ways = [(phrases, p) for p in fact.phrases]
        elif fact.adjectives and fact.phrases and rng.random() < 0.5:
            ways = [(adjectives, a) for a in fact.adjectives]
        where, words = rng.choice(ways)
        where.append(words)
    rng.shuffle(phrases)
    head = " ".join([*adjectives, noun])
    text = ("an " if head[0] in "aeiou" else "a ") + head
    if phrases:
        style = rng.random()
        if style < 0.4:
            text += " " + " ".join(phrases)
        elif style < 0.8 or len(phrases) == 1:
            text += " " + ", ".join(phrases)
        else:
            text += " " + ", ".join(phrases[:-1]) + " and " + phrases[-1]
    return text


def wrap(text: str, rng: random.Random, share: float = 0.6) -> str:
    """Into one of the templates, now and then; the simplest one most often."""
    if rng.random() > share:
        return text
    template = rng.choice(("a photo of {}.", "a drawing of {}.", "a cartoon of {}.", "a picture of {}.")) \
        if rng.random() < 0.3 else rng.choice(TEMPLATES)
    if "a {}" in template and text.startswith(("a ", "an ")) and rng.random() < 0.5:
        template = template.replace("a {}", "{}")  # the package writes "a photo of a a cat." too: learn both
    return template.format(text)


def bounds(facts: list[Fact]) -> tuple[list[float], list[float]]:
    low, high = [0.0] * fx.COUNT, [1.0] * fx.COUNT
    for fact in facts:
        for name, (a, b) in fact.ranges.items():
            i = fx.INDEX[name]
            low[i], high[i] = max(low[i], a), min(high[i], b)
    return low, high


def caption(f: list[float], rng: random.Random, complete: float = 0.35, neutral: float = 0.03) -> Caption:
    """One caption true of the cat f: complete, partial (one fact to six), or neutral."""
    true = [fact for fact in FACTS if fact.holds(f)]
    kind = rng.random()
    if kind < neutral or not true:
        facts: list[Fact] = []
        text = rng.choice(NEUTRAL)
    else:
        if kind < neutral + complete:
            facts = [fact for fact in true if fact.salient]
        else:
            count = min(len(true), rng.choice((1, 1, 2, 2, 3, 4, 5, 6)))
            facts = rng.sample(true, count)
        text = say(facts, rng)
    low, high = bounds(facts)
    return Caption(wrap(text, rng), low, high)


def complete_caption(f: list[float], rng: random.Random) -> str:
    return say([fact for fact in FACTS if fact.salient and fact.holds(f)], rng)


def true_of(low: torch.Tensor, high: torch.Tensor, f: torch.Tensor) -> torch.Tensor:
    """[captions, 17] ranges and [cats, 17] factors -> [cats, captions]: is the caption true of the cat?"""
    slack = 1e-6
    inside = (f[:, None] >= low[None] - slack) & (f[:, None] <= high[None] + slack)
    return inside.all(2)


def corpus(n: int, seed: int) -> list[str]:
    rng = random.Random(seed)
    rows = fx.from_z(fx.sample_z(n, seed)).tolist()
    return [caption(row, rng).text for row in rows]


def main() -> None:
    import tokenizer as tok

    arg = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    arg.add_argument("--show", type=int, default=0)
    arg.add_argument("--tokenizer", type=Path)
    arg.add_argument("--vocabulary", type=int, default=1500)
    opt = arg.parse_args()
    for line in corpus(opt.show, 1):
        print(line)
    if opt.tokenizer:
        words = " ".join(w for fact in FACTS for w in (*fact.adjectives, *fact.phrases, *fact.nouns))
        text = corpus(30_000, 2) + [t.replace("{}", "") for t in TEMPLATES] * 40 + [words] * 50
        tok.save(tok.train(text, opt.vocabulary), opt.tokenizer)


if __name__ == "__main__":
    main()
