"""Trains a CLIP on cats and captions: `--kind methods` (ResNet) or `--kind judge` (ViT, another seed and shape).

Contrastive, with the truth known: every caption carries the ranges of the factors it speaks of, so a cat of which
another's caption happens to be true is no wrong answer to it, but one more right one.  Two linear read-outs, of the
factors from the picture's embedding and of the ranges from the text's, are thrown away after training.  Contrast alone
is content with colours, hats and backgrounds for a long while, so `--words-first` minutes train nothing but the text's
read-out and the next `--read-first` minutes nothing but the picture's: two towers that know stripes and moods before
they have to match them.  `--generated` mixes in the generator's own pictures, plain
and perturbed (see generated.py).  Resumable; `--start-from` begins a fine-tuning from another checkpoint.

    python train_clip.py --kind methods --pool build/world/pool --checkpoint build/world/ckpt/clip.pt --minutes 20
"""

from __future__ import annotations

import argparse
import random
from pathlib import Path

import torch
import torch.nn.functional as F

import captions
import clip_model
import common
import factors as fx
import render
import zero_shot
from augment import augment
from tokenizer import Tokenizer

HELD_OUT_SEED = 424_242


def pad_ids(rows: list[list[int]]) -> torch.Tensor:
    ids = torch.zeros(len(rows), -(-max(map(len, rows)) // 4) * 4, dtype=torch.long)
    for i, row in enumerate(rows):
        ids[i, : len(row)] = torch.tensor(row)
    return ids


def encode_by_length(model: clip_model.CLIP, rows: list[list[int]], chunks: int = 4) -> torch.Tensor:
    """Text embeddings in the rows' order; short texts do not pay for the padding of long ones."""
    order = sorted(range(len(rows)), key=lambda i: len(rows[i]))
    size = -(-len(rows) // chunks)
    parts = [order[i:i + size] for i in range(0, len(order), size)]
    made = torch.cat([model.encode_text(pad_ids([rows[i] for i in part])) for part in parts])
    back = torch.empty(len(rows), dtype=torch.long)
    back[torch.tensor(order)] = torch.arange(len(rows))
    return made[back]


def contrast(logits: torch.Tensor, true: torch.Tensor) -> torch.Tensor:
    """Each true entry of a row against all the row's false ones, a row's own (the diagonal) counting double."""
    false_mass = torch.logsumexp(logits.masked_fill(true, -1e4), dim=1, keepdim=True)
    each = F.softplus(false_mass - logits) * true
    return 0.5 * each.diagonal().mean() + 0.5 * (each.sum(1) / true.sum(1).clamp(min=1)).mean()


def contrastive_loss(images: torch.Tensor, texts: torch.Tensor, scale: torch.Tensor, true: torch.Tensor) -> torch.Tensor:
    logits = scale * F.normalize(images, dim=1) @ F.normalize(texts, dim=1).T
    return 0.5 * (contrast(logits, true) + contrast(logits.T, true.T))


def main() -> None:
    arg = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    arg.add_argument("--kind", choices=("methods", "judge"), default="methods")
    arg.add_argument("--pool", type=Path, default=Path("build/world/pool"))
    arg.add_argument("--generated", type=Path, help="pool of the generator's pictures, used for half of each batch")
    arg.add_argument("--tokenizer", type=Path, default=Path("build/world/export/tokenizer.json"))
    arg.add_argument("--checkpoint", type=Path, required=True)
    arg.add_argument("--start-from", type=Path)
    arg.add_argument("--minutes", type=float, default=20)
    arg.add_argument("--batch", type=int, default=160, help="pictures")
    arg.add_argument("--captions", type=int, default=64, help="of the batch's first pictures; the truth is known of all")
    arg.add_argument("--rate", type=float, default=2e-3)
    arg.add_argument("--words-first", type=float, default=0.0, help="minutes of the text's read-out alone, before all")
    arg.add_argument("--read-first", type=float, default=0.0, help="minutes of the picture's read-out alone")
    arg.add_argument("--seed", type=int)
    arg.add_argument("--compile", action="store_true")
    opt = arg.parse_args()
    seed = opt.seed if opt.seed is not None else {"methods": 21, "judge": 31}[opt.kind]
    common.setup(seed)
    rng = random.Random(seed)

    tokenizer = Tokenizer(opt.tokenizer)
    make = clip_model.resnet_config if opt.kind == "methods" else clip_model.vit_config
    model = clip_model.CLIP(make(len(tokenizer)))
    model.visual.to(memory_format=torch.channels_last)
    width = model.config.embed_dim
    read_out = torch.nn.ModuleDict({"picture": torch.nn.Linear(width, fx.DESCRIBED),
                                    "text": torch.nn.Linear(width, 2 * fx.COUNT)})
    decayed = [p for p in model.parameters() if p.ndim > 1]
    rest = [p for p in model.parameters() if p.ndim <= 1] + list(read_out.parameters())
    adam = torch.optim.AdamW([{"params": decayed, "weight_decay": 0.03}, {"params": rest, "weight_decay": 0.0}],
                             lr=opt.rate, betas=(0.9, 0.98), eps=1e-6, fused=True)
    step, elapsed = 0, 0.0
    saved = common.load(opt.checkpoint)
    if saved is None and opt.start_from:
        saved = common.load(opt.start_from)
        saved.pop("adam")
        saved.update(step=0, elapsed=0.0)
    if saved:
        model.load_state_dict(saved["model"])
        same = {k: v for k, v in saved["read_out"].items() if read_out.state_dict()[k].shape == v.shape}
        read_out.load_state_dict(same, strict=False)
        step, elapsed = saved["step"], saved["elapsed"]
        if "adam" in saved:
            adam.load_state_dict(saved["adam"])
    average = common.Average(model, 0.985)
    if saved and "average" in saved:
        average.state = saved["average"]
        average.updates = 1000

    pools = [render.load_pool(opt.pool)]
    if opt.generated:
        pools.append(render.load_pool(opt.generated))
    held_f = fx.from_z(fx.sample_z(1024, HELD_OUT_SEED))
    held = render.render(held_f[:512])
    held = torch.cat([held, render.render(held_f[512:])])
    visual = torch.compile(model.visual, dynamic=False) if opt.compile else model.visual
    clock, save_now, print_now = common.Clock(opt.minutes, elapsed), common.Every(180), common.Every(30)
    running = 0.0

    def save() -> None:
        common.save_atomic({
            "model": model.state_dict(), "read_out": read_out.state_dict(), "adam": adam.state_dict(),
            "average": average.state, "step": step, "elapsed": clock.elapsed, "config": model.config.as_json(),
        }, opt.checkpoint)
        shown = clip_model.CLIP(model.config)
        shown.load_state_dict(average.state)
        found = zero_shot.evaluate(shown.eval(), tokenizer, held, held_f)
        low = {k: round(v, 3) for k, v in found["auc"].items() if v < 0.97}
        print(f"saved: step {step} minutes {clock.elapsed / 60:.1f} of 32: {found['of_32']:.3f} "
              f"mean auc {sum(found['auc'].values()) / fx.COUNT:.4f} below .97: {low}", flush=True)

    while clock.progress < 1:
        for group in adam.param_groups:
            group["lr"] = clock.rate(opt.rate, step, warm=100, floor=0.01)
        parts = []
        for pool in pools:
            pick = torch.randint(len(pool["pictures"]), (opt.batch // len(pools),))
            parts.append((pool["pictures"][pick], pool["factors"][pick]))
        pictures, f = (torch.cat(column) for column in zip(*parts))
        if len(pools) > 1:
            order = torch.randperm(len(f))
            pictures, f = pictures[order], f[order]
        words_only = clock.elapsed < 60 * opt.words_first
        pictures_only = not words_only and clock.elapsed < 60 * (opt.words_first + opt.read_first)
        known = read = loss = torch.zeros(())
        if not words_only:
            x = augment(common.to_float(pictures), 0.6)
            x = model.normalise(x).contiguous(memory_format=torch.channels_last)
            with torch.autocast("cpu", torch.bfloat16):
                images = visual(x)
            # The read-outs see embeddings of unit variance: a fresh tower's are tiny, and a read-out slow to follow.
            images = images.float()
            known = (read_out["picture"](F.layer_norm(images, (width,))) - fx.described(f)).square().mean()
            loss = loss + 20.0 * known
        if not pictures_only:
            told_of = f if words_only else f[: opt.captions]
            said = [captions.caption(row, rng) for row in told_of.tolist()]
            low, high = (torch.tensor([getattr(c, k) for c in said]) for k in ("low", "high"))
            with torch.autocast("cpu", torch.bfloat16):
                texts = encode_by_length(model, [tokenizer.encode(c.text, model.config.context_length) for c in said])
            texts = texts.float()
            meant = torch.cat([low + high - 1, 1 - (high - low)], 1)  # which way, and how narrowly
            read = (read_out["text"](F.layer_norm(texts, (width,))) - meant).square().mean()
            loss = loss + 20.0 * read
            if not words_only:
                true = captions.true_of(low, high, f)
                true.fill_diagonal_(True)
                loss = loss + contrastive_loss(images, texts, model.logit_scale.exp(), true)
        adam.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        adam.step()
        with torch.no_grad():
            model.logit_scale.clamp_(0, 4.6)
        step += 1
        if step % 4 == 0:
            average.update(model)
        running = 0.98 * running + 0.02 * loss.item() if step > 1 else loss.item()
        if print_now():
            print(f"step {step} minutes {clock.elapsed / 60:.1f} loss {running:.3f} read-outs {known.item():.3f} "
                  f"{read.item():.4f} "
                  f"scale {model.logit_scale.exp().item():.1f}", flush=True)
        if save_now():
            save()
    save()


if __name__ == "__main__":
    main()
