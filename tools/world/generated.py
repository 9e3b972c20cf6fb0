"""A pool of the generator's own pictures, plain and perturbed, to fine-tune CLIP and the judge on.

An optimiser moves style channels, so the networks that guide it must know what such pictures look like, or it finds
pictures that please only them.  A perturbed picture has a random handful of its style channels moved by a normal amount
times that channel's own spread; it keeps its factors as label, so the amounts are small.

    python generated.py --generator build/world/export/generator.pt --pool build/world/generated
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

import numpy as np
import torch

import common
import factors as fx
import render
import stylegan


class Perturber:
    """Adds to the styles of every modulated 3x3 convolution while `amount` > 0."""

    def __init__(self, model: stylegan.Generator, seed: int) -> None:
        self.gen = torch.Generator().manual_seed(seed)
        self.amount, self.share = 0.0, 0.0
        w = model.mapping(fx.sample_z(2000, 6))
        for layer in (model.conv1, *model.convs):
            affine = layer.conv.modulation
            spread = affine(w).std(0)
            affine.register_forward_hook(lambda _m, _i, out, spread=spread: self.move(out, spread))

    def move(self, style: torch.Tensor, spread: torch.Tensor) -> torch.Tensor | None:
        if self.amount == 0:
            return None
        chosen = torch.rand(style.shape, generator=self.gen) < self.share
        return style + self.amount * spread * chosen * torch.randn(style.shape, generator=self.gen)


@torch.no_grad()
def main() -> None:
    arg = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    arg.add_argument("--generator", type=Path, default=Path("build/world/export/generator.pt"))
    arg.add_argument("--pool", type=Path, default=Path("build/world/generated"))
    arg.add_argument("--shards", type=int, default=8)
    arg.add_argument("--per-shard", type=int, default=2000)
    arg.add_argument("--seed", type=int, default=71)
    opt = arg.parse_args()
    common.setup(opt.seed)
    model = stylegan.from_rosinality(torch.load(opt.generator, weights_only=True)["g_ema"], torch.bfloat16)
    perturber = Perturber(model, opt.seed)
    opt.pool.mkdir(parents=True, exist_ok=True)
    for k in range(opt.shards):
        z = fx.sample_z(opt.per_shard, opt.seed * 100_003 + k)
        made = []
        for i, part in enumerate(z.split(50)):
            # Half plain; the other half with few channels moved far, or many moved a little.
            kind = i % 4
            perturber.amount, perturber.share = ((0.0, 0.0), (2.5, 0.02), (0.0, 0.0), (0.6, 0.3))[kind]
            made.append(render.to_uint8(model(part, fresh_noise=kind == 2)))
        path = opt.pool / f"pool-{k:03d}.npz"
        temporary = path.with_suffix(".tmp")
        with open(temporary, "wb") as out:
            np.savez(out, z=z.numpy(), factors=fx.from_z(z).numpy(), pictures=np.concatenate(made))
        os.replace(temporary, path)
        print(f"{path.name} written", flush=True)


if __name__ == "__main__":
    main()
