"""Global directions in plain torch, one edit per factor, read by the judge: are these models good for editing at all?

A sweep moves every style channel by +-5 of its own deviations on a few cats: a channel's relevance is the mean, over
the cats, of the unit change of CLIP's embedding; its length, the concentration, tells how much the cats agree.  The
channels whose relevance agrees most with the change of a text are then moved (StyleCLIP, arXiv 2103.17249, section 6).

How many channels and how strongly is a matter of the edit, in the paper too: colours live in the toRGB layers, a hat in
many channels.  So each edit's setting is searched on one set of cats (`--search`) and measured on another (`--cats`):
of the settings that move the factor by ENOUGH, the one that moves the other factors least.  Counted are the cats with
room to move, read away from the goal by the judge.  The judging CLIP, where there is one, is asked too: for how many of
these cats does the edit bring the picture nearer to the target's text than to the neutral one's?  A picture that only
fools the judge, outside of what it was trained on, does not pass both.

    python edits.py --checkpoints build/world/ckpt --export build/world/export --sheet build/edits.png
"""

from __future__ import annotations

import argparse
import itertools
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from PIL import Image

import common
import export
import factors as fx
import render
import stylegan
import zero_shot
from clip_model import CLIP
from tokenizer import Tokenizer

#: edit -> (target, neutral, factor, where the factor should go)
EXTRA = {
    "dark fur": ("a cat with dark fur", "a cat with light fur", "shade", 0.0),
    "cute": ("a cute cat", "a cat", "eye_size", 1.0),
    "blue eyes": ("a cat with blue eyes", "a cat with eyes", "eye_colour", 1.0),
    "copper eyes": ("a cat with copper eyes", "a cat with blue eyes", "eye_colour", 0.0),
    "black": ("a black cat", "a white cat", "fur", 0.0),
    "ginger": ("a ginger cat", "a grey cat", "fur", 0.5),
    "white": ("a white cat", "a black cat", "fur", 0.75),
    "blue background": ("a cat on a blue background", "a cat on a pink background", "background", 0.0),
    "pink background": ("a cat on a pink background", "a cat on a blue background", "background", 0.75),
    "purple background": ("a cat on a purple background", "a cat on a blue background", "background", 1.0),
}
ENOUGH = 1.5  # sigma


@dataclass(frozen=True)
class Setting:
    layers: str  # "conv" or "all": the 3x3 convolutions, or toRGB as well
    measure: str  # relevance of a channel to a text: "cosine", or "projection" = cosine x concentration
    channels: int
    strength: float


SETTINGS = [Setting(*each) for each in itertools.product(
    ("conv", "all"), ("cosine", "projection"), (10, 20, 40, 80), (3.0, 4.5, 6.0, 9.0))]


class Styles:
    """Adds `offset` [channels] to the styles: the 3x3 convolutions' first, then the toRGB layers'."""

    def __init__(self, model: stylegan.Generator) -> None:
        self.offset: torch.Tensor | None = None
        convs, to_rgbs = [model.conv1, *model.convs], [model.to_rgb1, *model.to_rgbs]
        w = model.mapping(fx.sample_z(4000, 61))
        self.spread = torch.cat([layer.conv.modulation(w).std(0) for layer in (*convs, *to_rgbs)])
        at = 0
        for layer in (*convs, *to_rgbs):
            affine = layer.conv.modulation
            affine.register_forward_hook(lambda _m, _i, out, at=at: self.move(out, at))
            at += affine.bias.numel()
        self.count = {"conv": sum(layer.conv.modulation.bias.numel() for layer in convs), "all": at}

    def move(self, style: torch.Tensor, at: int) -> torch.Tensor | None:
        return None if self.offset is None else style + self.offset[..., at:at + style.shape[1]]


@torch.no_grad()
def sweep(model: stylegan.Generator, styles: Styles, clip: CLIP, cats: int, seed: int) -> torch.Tensor:
    """[channels, embedding]: rows of length at most 1, their length the concentration."""
    w = model.mapping(fx.sample_z(cats, seed))
    rows = []
    for c in range(styles.count["all"]):
        offset = torch.zeros(2 * cats, styles.count["all"])
        offset[:cats, c], offset[cats:, c] = 5 * styles.spread[c], -5 * styles.spread[c]
        styles.offset = offset
        e = F.normalize(clip.encode_image(model.synthesis(w.repeat(2, 1)).clamp(-1, 1)), dim=1)
        rows.append(F.normalize(e[:cats] - e[cats:], dim=1).mean(0))
    styles.offset = None
    return torch.stack(rows)


class Bench:
    """Cats to edit, and what the judge says of them before and after."""

    def __init__(self, model: stylegan.Generator, styles: Styles, judge: torch.nn.Module, cats: int, seed: int) -> None:
        self.model, self.styles, self.judge = model, styles, judge
        self.w = model.mapping(fx.sample_z(cats, seed))
        self.pictures, self.told = self.look()

    def look(self) -> tuple[torch.Tensor, torch.Tensor]:
        pictures = torch.cat([self.model.synthesis(part) for part in self.w.split(100)]).clamp(-1, 1)
        return pictures, self.judge(pictures)

    def edit(self, relevance: torch.Tensor, text: torch.Tensor, s: Setting) -> tuple[torch.Tensor, torch.Tensor]:
        rows = relevance[:self.styles.count[s.layers]]
        r = (rows if s.measure == "projection" else F.normalize(rows, dim=1)) @ text
        r = r * (r.abs() >= r.abs().topk(s.channels).values[-1])
        offset = torch.zeros(self.styles.count["all"])
        offset[:len(r)] = s.strength * self.styles.spread[:len(r)] * r / r.abs().max()
        self.styles.offset = offset
        pictures, now = self.look()
        self.styles.offset = None
        return pictures, now

    def room(self, factor: str, goal: float) -> torch.Tensor:
        return (self.told[:, fx.INDEX[factor]] - goal).abs() > (0.5 if goal in (0.0, 1.0) else 0.2)

    def count(self, now: torch.Tensor, factor: str, goal: float) -> dict:
        i, spread = fx.INDEX[factor], self.told.std(0)
        was, room = (self.told[:, i] - goal).abs(), self.room(factor, goal)
        nearer = ((was - (now[:, i] - goal).abs()) / spread[i])[room]
        moved = ((now - self.told) / spread)[room].mean(0)
        others = {name: round(moved[k].item(), 2) for name, k in fx.INDEX.items() if k != i}
        most = max(others, key=lambda name: abs(others[name]))
        return {"moved_sigma": round(nearer.mean().item(), 2),
                "share_right_way": round((nearer > 0).float().mean().item(), 2),
                "others_mean_sigma": round(sum(map(abs, others.values())) / len(others), 3),
                "most_moved_other": {most: others[most]}}


def change(clip: CLIP, tokenizer: Tokenizer, target: str, neutral: str) -> torch.Tensor:
    return F.normalize(zero_shot.prompt(clip, tokenizer, target) - zero_shot.prompt(clip, tokenizer, neutral), dim=0)


def best(found: list[tuple[Setting, dict]]) -> Setting:
    enough = [(s, r) for s, r in found if r["moved_sigma"] >= ENOUGH]
    if enough:
        return min(enough, key=lambda each: each[1]["others_mean_sigma"])[0]
    return max(found, key=lambda each: each[1]["moved_sigma"])[0]


def main() -> None:
    arg = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    arg.add_argument("--checkpoints", type=Path, default=Path("build/world/ckpt"))
    arg.add_argument("--export", type=Path, default=Path("build/world/export"))
    arg.add_argument("--sheet", type=Path, default=Path("build/edits.png"))
    arg.add_argument("--sweep-cats", type=int, default=16)
    arg.add_argument("--search", type=int, default=48, help="cats that the settings are searched on")
    arg.add_argument("--cats", type=int, default=200, help="cats that the chosen settings are measured on")
    opt = arg.parse_args()
    torch.set_num_threads(1)
    torch.set_grad_enabled(False)
    model = stylegan.from_rosinality(torch.load(opt.export / "generator.pt", weights_only=True)["g_ema"],
                                     torch.bfloat16)
    clip = export.load_clip(opt.checkpoints / "clip.pt")
    other = export.load_clip(opt.checkpoints / "clip-judge.pt")
    judge = export.load_judge(opt.checkpoints / "judge.pt")
    tokenizer = Tokenizer(opt.export / "tokenizer.json")
    styles = Styles(model)
    relevance = sweep(model, styles, clip, opt.sweep_cats, 62)
    search, bench = Bench(model, styles, judge, opt.search, 63), Bench(model, styles, judge, opt.cats, 64)
    asked = {**{name: (high, low, name, 1.0) for name, (high, low) in zero_shot.PROMPTS.items()}, **EXTRA}
    rows, report = [bench.pictures[:10]], {}
    before = zero_shot.encode_pictures(other, bench.pictures) if other else None
    for edit, (target, neutral, factor, goal) in asked.items():
        text = change(clip, tokenizer, target, neutral)
        chosen = best([(s, search.count(search.edit(relevance, text, s)[1], factor, goal)) for s in SETTINGS])
        pictures, now = bench.edit(relevance, text, chosen)
        report[edit] = {"target": target, "neutral": neutral, "factor": factor, **chosen.__dict__,
                        **bench.count(now, factor, goal)}
        if other:
            asked_of, room = change(other, tokenizer, target, neutral), bench.room(factor, goal)
            rise = (zero_shot.encode_pictures(other, pictures) - before) @ asked_of
            report[edit]["judging_clip_agrees"] = round((rise[room] > 0).float().mean().item(), 2)
        print(edit, report[edit], flush=True)
        rows.append(pictures[:10])
    Image.fromarray(render.grid(torch.cat(rows), 10, 2)).save(opt.sheet)
    common.save_json({"sweep_cats": opt.sweep_cats, "cats": opt.cats, "edits": report}, opt.export / "edits.json")


if __name__ == "__main__":
    main()
