"""What a CLIP knows about cats: the right one of 32 complete captions, and per factor the zero-shot AUC.

The AUC of a factor is that of cos(picture, asked) - cos(picture, opposite), both texts averaged over four templates,
on pictures that plainly show one or the other.  For colours it is the mean over the colours: cos(picture, that colour)
less the best of the other colours, on pictures of that colour against pictures of any other.
"""

from __future__ import annotations

import random

import torch
import torch.nn.functional as F

import captions
import factors as fx
from clip_model import CLIP
from tokenizer import Tokenizer

TEMPLATES = ("{}", "a photo of {}.", "a drawing of {}.", "a cartoon of {}.")
#: factor -> (high text, low text), asked where the factor is above or below the thresholds
PROMPTS: dict[str, tuple[str, str]] = {
    "shade": ("a cat with light fur", "a cat with dark fur"),
    "stripes": ("a striped cat", "a plain cat"),
    "eye_size": ("a cat with big eyes", "a cat with small eyes"),
    "eye_open": ("a cat with wide open eyes", "a sleepy cat"),
    "pupil": ("a cat with round pupils", "a cat with slit pupils"),
    "mouth": ("a happy cat", "a grumpy cat"),
    "tongue": ("a cat with its tongue out", "a cat without a tongue"),
    "ear_size": ("a cat with big ears", "a cat with small ears"),
    "face_width": ("a fat cat", "a slim cat"),
    "muzzle": ("a cat with a big muzzle", "a cat with a small muzzle"),
    "tilt": ("a cat leaning right", "a cat leaning left"),
    "glasses": ("a cat with glasses", "a cat without glasses"),
    "hat": ("a cat with a hat", "a cat without a hat"),
    "bow_tie": ("a cat with a bow tie", "a cat without a bow tie"),
}
COLOURS = {
    "fur": (fx.FUR_NAMES, "a {} cat"), "eye_colour": (fx.EYE_NAMES, "a cat with {} eyes"),
    "background": (fx.BACKGROUND_NAMES, "a cat on a {} background"),
}


def encode_texts(model: CLIP, tokenizer: Tokenizer, texts: list[str]) -> torch.Tensor:
    rows = [tokenizer.encode(t, model.config.context_length) for t in texts]
    ids = torch.zeros(len(rows), max(map(len, rows)), dtype=torch.long)
    for i, row in enumerate(rows):
        ids[i, : len(row)] = torch.tensor(row)
    return F.normalize(torch.cat([model.encode_text(part) for part in ids.split(128)]).float(), dim=1)


def encode_pictures(model: CLIP, pictures: torch.Tensor) -> torch.Tensor:
    return F.normalize(torch.cat([model.encode_image(part) for part in pictures.split(128)]).float(), dim=1)


def area(score: torch.Tensor, positive: torch.Tensor, negative: torch.Tensor) -> float:
    """Area under the ROC curve; nan where one side is empty."""
    p, n = score[positive], score[negative]
    if len(p) == 0 or len(n) == 0:
        return float("nan")
    wins = (p[:, None] > n[None]).double() + 0.5 * (p[:, None] == n[None]).double()
    return wins.mean().item()


def prompt(model: CLIP, tokenizer: Tokenizer, text: str) -> torch.Tensor:
    return F.normalize(encode_texts(model, tokenizer, [t.format(text) for t in TEMPLATES]).mean(0), dim=0)


@torch.no_grad()
def evaluate(model: CLIP, tokenizer: Tokenizer, pictures: torch.Tensor, f: torch.Tensor, seed: int = 3) -> dict:
    """pictures in [-1, 1] with their factors -> {"of_32": ..., "auc": {factor: ...}}."""
    was = model.training
    model.eval()
    rng = random.Random(seed)
    images = encode_pictures(model, pictures)
    texts = encode_texts(model, tokenizer, [captions.complete_caption(row, rng) for row in f.tolist()])
    n = len(f) // 32 * 32
    logits = torch.einsum("gid,gjd->gij", images[:n].view(-1, 32, images.shape[1]),
                          texts[:n].view(-1, 32, texts.shape[1]))
    right = (logits.argmax(2) == torch.arange(32)).float().mean().item()
    auc: dict[str, float] = {}
    for name, (high, low) in PROMPTS.items():
        score = images @ (prompt(model, tokenizer, high) - prompt(model, tokenizer, low))
        column = f[:, fx.INDEX[name]]
        a, b = (0.48, 0.52) if name in fx.PRESENCE else (0.3, 0.7)
        seen = torch.ones_like(column, dtype=torch.bool)
        if name == "pupil":  # an almost closed eye shows no pupil
            seen = f[:, fx.INDEX["eye_open"]] > 0.25
        auc[name] = area(score, (column > b) & seen, (column < a) & seen)
    for name, (names, pattern) in COLOURS.items():
        column = f[:, fx.INDEX[name]] * (len(names) - 1)
        nearest, clear = column.round(), (column - column.round()).abs() < 0.35
        if name == "eye_colour":
            clear &= f[:, fx.INDEX["eye_open"]] > 0.25
        all_texts = torch.stack([prompt(model, tokenizer, pattern.format(c)) for c in names])
        each = images @ all_texts.T
        rivals = each[:, None].expand(-1, len(names), -1).masked_fill(torch.eye(len(names), dtype=torch.bool), -2)
        scores = each - rivals.amax(2)
        parts = [area(scores[:, k], (nearest == k) & clear, (nearest != k) & clear) for k in range(len(names))]
        auc[name] = sum(parts) / len(parts)
    model.train(was)
    return {"of_32": right, "auc": {name: auc[name] for name in fx.FACTORS}}
