"""Global directions in plain torch, one edit per factor, read by the judge: are these models good for editing at all?

A sweep moves every style channel of the 3x3 convolutions by +-5 of its own deviations on a few cats and keeps the mean
change of CLIP's embedding, of unit length; the channels that agree most with the change of a text are then moved.  Each
edit goes from a factor's low text to its high one (a colour: from "a cat" to that colour).  Counted are the cats with
room to move, read below the middle by the judge; for colours, the change is towards the colour asked for.

    python edits.py --checkpoints build/world/ckpt --export build/world/export --sheet build/edits.png
"""

from __future__ import annotations

import argparse
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

#: edit -> (asked, neutral, factor, where the factor should go)
EXTRA = {"cute": ("a cute cat", "a cat", "eye_size", 1.0),
         "blue eyes": ("a cat with blue eyes", "a cat with eyes", "eye_colour", 1.0),
         "ginger": ("a ginger cat", "a cat", "fur", 0.5), "black": ("a black cat", "a cat", "fur", 0.0),
         "pink background": ("a cat on a pink background", "a cat", "background", 0.75)}


class Styles:
    """Adds `offset` [640] to the styles of the 3x3 convolutions."""

    def __init__(self, model: stylegan.Generator) -> None:
        self.offset: torch.Tensor | None = None
        layers = [model.conv1, *model.convs]
        w = model.mapping(fx.sample_z(4000, 61))
        self.spread = torch.cat([layer.conv.modulation(w).std(0) for layer in layers])
        at = 0
        for layer in layers:
            affine = layer.conv.modulation
            affine.register_forward_hook(lambda _m, _i, out, at=at: self.move(out, at))
            at += affine.bias.numel()
        self.count = at

    def move(self, style: torch.Tensor, at: int) -> torch.Tensor | None:
        return None if self.offset is None else style + self.offset[..., at:at + style.shape[1]]


@torch.no_grad()
def sweep(model: stylegan.Generator, styles: Styles, clip: CLIP, cats: int, seed: int) -> torch.Tensor:
    """[channels, embedding], rows of unit length."""
    w = model.mapping(fx.sample_z(cats, seed))
    rows = []
    for c in range(styles.count):
        offset = torch.zeros(2 * cats, styles.count)
        offset[:cats, c], offset[cats:, c] = 5 * styles.spread[c], -5 * styles.spread[c]
        styles.offset = offset
        e = F.normalize(clip.encode_image(model.synthesis(w.repeat(2, 1)).clamp(-1, 1)), dim=1)
        rows.append((e[:cats] - e[cats:]).mean(0))
    styles.offset = None
    return F.normalize(torch.stack(rows), dim=1)


def main() -> None:
    arg = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    arg.add_argument("--checkpoints", type=Path, default=Path("build/world/ckpt"))
    arg.add_argument("--export", type=Path, default=Path("build/world/export"))
    arg.add_argument("--sheet", type=Path, default=Path("build/edits.png"))
    arg.add_argument("--sweep-cats", type=int, default=8)
    arg.add_argument("--cats", type=int, default=100)
    arg.add_argument("--channels", type=int, default=20)
    arg.add_argument("--strength", type=float, default=5.0)
    opt = arg.parse_args()
    torch.set_num_threads(1)
    model = stylegan.from_rosinality(torch.load(opt.export / "generator.pt", weights_only=True)["g_ema"],
                                     torch.bfloat16)
    clip = export.load_clip(opt.checkpoints / "clip.pt")
    judge = export.load_judge(opt.checkpoints / "judge.pt")
    tokenizer = Tokenizer(opt.export / "tokenizer.json")
    styles = Styles(model)
    relevance = sweep(model, styles, clip, opt.sweep_cats, 62)
    w = model.mapping(fx.sample_z(opt.cats, 63))
    with torch.no_grad():
        before = model.synthesis(w).clamp(-1, 1)
        told = judge(before)
        spread = told.std(0)
        asked = {**{name: (high, low, name, 1.0) for name, (high, low) in zero_shot.PROMPTS.items()}, **EXTRA}
        rows, report = [before[:10]], {}
        for edit, (high, low, factor, goal) in asked.items():
            text = F.normalize(zero_shot.prompt(clip, tokenizer, high) - zero_shot.prompt(clip, tokenizer, low), dim=0)
            r = relevance @ text
            r = r * (r.abs() >= r.abs().topk(opt.channels).values[-1])
            styles.offset = opt.strength * styles.spread * r / r.abs().max()
            after = model.synthesis(w).clamp(-1, 1)
            styles.offset = None
            i = fx.INDEX[factor]
            now = judge(after)
            room = (told[:, i] - goal).abs() > 0.5 if goal in (0.0, 1.0) else (told[:, i] - goal).abs() > 0.2
            nearer = (((told[:, i] - goal).abs() - (now[:, i] - goal).abs()) / spread[i])[room]
            moved = ((now - told) / spread)[room]
            others = {name: round(moved[:, k].mean().item(), 2) for name, k in fx.INDEX.items() if k != i}
            most = max(others, key=lambda name: abs(others[name]))
            report[edit] = {"factor": factor, "moved_sigma": round(nearer.mean().item(), 2),
                            "share_right_way": round((nearer > 0).float().mean().item(), 2),
                            "most_moved_other": {most: others[most]}}
            print(edit, report[edit], flush=True)
            rows.append(after[:10])
    Image.fromarray(render.grid(torch.cat(rows), 10, 2)).save(opt.sheet)
    common.save_json({"channels": opt.channels, "strength": opt.strength, "edits": report}, opt.export / "edits.json")


if __name__ == "__main__":
    main()
