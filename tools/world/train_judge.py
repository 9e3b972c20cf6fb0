"""Trains the judge: a small CNN from a picture to the seventeen factors.  No editing method ever sees it.

Trained on drawn cats with noise, blur, shifts and tints, and with `--generated` on the generator's pictures too, whose
factors are known from their z.  Held-out R² per factor is reported; factors below 0.9 should not be judged.

    python train_judge.py --pool build/world/pool --checkpoint build/world/ckpt/judge.pt --minutes 12
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from torch import nn

import common
import factors as fx
import render
from augment import augment

HELD_OUT_SEED = 737_373


class Judge(nn.Module):
    """x [n, 3, 64, 64] in [-1, 1] -> [n, 17] in [0, 1], by `forward` or, the same, `factors`."""

    def __init__(self, width: int = 24) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        inputs = 3
        for outputs, stride in ((width, 2), (width, 1), (2 * width, 2), (2 * width, 1), (4 * width, 2), (4 * width, 1)):
            layers += [nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU()]
            inputs = outputs
        self.body = nn.Sequential(*layers)
        self.reduce = nn.Sequential(nn.Conv2d(inputs, 32, 1, bias=False), nn.BatchNorm2d(32), nn.ReLU())
        self.head = nn.Sequential(nn.Flatten(), nn.Linear(32 * 64, 192), nn.ReLU(), nn.Linear(192, fx.COUNT))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.sigmoid(self.head(self.reduce(self.body(x))))

    @torch.jit.export
    def factors(self, x: torch.Tensor) -> torch.Tensor:
        return self.forward(x)


@torch.no_grad()
def r_squared(model: nn.Module, pictures: torch.Tensor, f: torch.Tensor) -> dict[str, float]:
    """Per factor; a presence factor, and stripes, count as what is drawn (nothing, the thing, a bit between), which
    is all there is to see of them; pupil and eye colour only where the eyes are not almost closed."""
    was = model.training
    model.eval()
    told = torch.cat([model(part) for part in pictures.split(128)])
    model.train(was)
    truth = fx.seen(f)
    out = {}
    for name, i in fx.INDEX.items():
        rows = f[:, fx.INDEX["eye_open"]] > 0.25 if name in ("pupil", "eye_colour") else slice(None)
        t, e = truth[rows, i], (told[rows, i] - truth[rows, i])
        out[name] = 1 - (e.square().mean() / t.var(unbiased=False)).item()
    return out


def main() -> None:
    arg = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    arg.add_argument("--pool", type=Path, default=Path("build/world/pool"))
    arg.add_argument("--generated", type=Path)
    arg.add_argument("--checkpoint", type=Path, default=Path("build/world/ckpt/judge.pt"))
    arg.add_argument("--minutes", type=float, default=12)
    arg.add_argument("--batch", type=int, default=96)
    arg.add_argument("--rate", type=float, default=2e-3)
    arg.add_argument("--seed", type=int, default=51)
    opt = arg.parse_args()
    common.setup(opt.seed)
    pools = [render.load_pool(opt.pool)]
    if opt.generated:
        pools.append(render.load_pool(opt.generated))
    held_f = fx.from_z(fx.sample_z(512, HELD_OUT_SEED))
    held = render.render(held_f)

    model = Judge().to(memory_format=torch.channels_last)
    adam = torch.optim.AdamW(model.parameters(), lr=opt.rate, betas=(0.9, 0.99), weight_decay=0.01, fused=True)
    run = common.Run(opt.checkpoint, model, adam, opt.minutes, opt.rate,
                     lambda shown: f"R2 { {k: round(v, 3) for k, v in r_squared(shown, held, held_f).items()} }")
    while run.going():
        parts = []
        for k, pool in enumerate(pools):
            share = opt.batch if len(pools) == 1 else opt.batch // 4 if k else opt.batch - opt.batch // 4
            pick = torch.randint(len(pool["pictures"]), (share,))
            parts.append((pool["pictures"][pick], pool["factors"][pick]))
        pictures, f = (torch.cat(column) for column in zip(*parts))
        # Hardly any shift: tilt and sizes are read from where things are.
        x = augment(common.to_float(pictures), 0.16 if run.count % 3 else 0.4).contiguous(memory_format=torch.channels_last)
        with torch.autocast("cpu", torch.bfloat16):
            told = model(x)
        run.step((told.float() - fx.seen(f)).square().mean())
    run.save()


if __name__ == "__main__":
    main()
