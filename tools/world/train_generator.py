"""Trains the cats' generator by regression: z -> factors -> the drawn picture is a known function, so learn it.

Small pictures first (16, 32, then 64 px); the loss is L1 + L2 + L1 of the 4x-pooled picture + L1 of the picture's
differences (thin things: whiskers, rims, pupils), the face weighing more than the background, + 0.2 times a linear
read-out of the factors from w that is thrown away.  The part of z that no factor depends on is drawn afresh at every
step.  Resumable: run the same command again.

    python train_generator.py --pool build/world/pool --checkpoint build/world/ckpt/generator.pt \
        --out build/world/export --minutes 82 --compile
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
import torch.nn.functional as F
from PIL import Image

import common
import factors as fx
import render
import stylegan

STAGES = ((0.04, 16), (0.14, 32), (1.0, 64))  # (until this share of the time, picture size)
HELD_OUT_SEED = 987_654


def stage(progress: float) -> int:
    return next(size for until, size in STAGES if progress <= until)


def face_weight(size: int) -> torch.Tensor:
    axis = (torch.arange(size) + 0.5) * 2 / size - 1
    y, x = torch.meshgrid(axis, axis, indexing="ij")
    return 1 + 1.0 * torch.exp(-(((x / 0.55) ** 2 + ((y - 0.15) / 0.42) ** 2) ** 2))


def picture_loss(made: torch.Tensor, target: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    d = made - target
    pooled = F.avg_pool2d(d, 4).abs().mean()
    edges = (d[..., 1:] - d[..., :-1]).abs().mean() + (d[..., 1:, :] - d[..., :-1, :]).abs().mean()
    return (d.abs() * weight).mean() + (d.square() * weight).mean() + pooled + 0.4 * edges


@torch.no_grad()
def held_out(model: stylegan.Generator, n: int = 256) -> tuple[float, torch.Tensor, torch.Tensor]:
    z = fx.sample_z(n, HELD_OUT_SEED)
    truth = render.render(fx.from_z(z))
    made = torch.cat([model(part) for part in z.split(32)])
    return (made - truth).abs().mean().item(), made, truth


@torch.no_grad()
def report(state: dict[str, torch.Tensor], out: Path, sheet: Path) -> float:
    """Writes generator.pt, generator.safetensors and a contact sheet; returns the held-out error."""
    model = stylegan.Generator(torch.float32)
    model.load_state_dict(state)
    error, made, truth = held_out(model)
    rows = fx.to_z(render.factor_rows(), 5)
    rows = torch.cat([model(part) for part in rows.split(51)])
    pairs = torch.cat([t for k in range(3) for t in (truth[9 * k:9 * k + 9], made[9 * k:9 * k + 9])])
    Image.fromarray(render.grid(torch.cat([pairs, rows]), 9, 2)).save(sheet)
    names = stylegan.rosinality_state(model)
    w = model.mapping(fx.sample_z(10_000, 4)).mean(0)
    out.mkdir(parents=True, exist_ok=True)
    common.save_atomic({"g_ema": names, "latent_avg": w}, out / "generator.pt")
    common.save_tensors({**names, "latent_avg": w}, out / "generator.safetensors")
    return error


def main() -> None:
    arg = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    arg.add_argument("--pool", type=Path, default=Path("build/world/pool"))
    arg.add_argument("--checkpoint", type=Path, default=Path("build/world/ckpt/generator.pt"))
    arg.add_argument("--out", type=Path, default=Path("build/world/export"))
    arg.add_argument("--minutes", type=float, default=82)
    arg.add_argument("--batch", type=int, default=16)
    arg.add_argument("--rate", type=float, default=1e-2)
    arg.add_argument("--seed", type=int, default=11)
    arg.add_argument("--compile", action="store_true")
    opt = arg.parse_args()
    common.setup(opt.seed)

    pool = render.load_pool(opt.pool)
    pictures = pool["pictures"]
    p = fx.projection()
    q, _ = torch.linalg.qr(p.T)
    inside = (fx.normalise_z(pool["z"]) @ q) @ q.T

    model = stylegan.Generator()
    model.know_factors(p)
    read_out = torch.nn.Linear(stylegan.STYLE, fx.COUNT)
    parameters = list(model.parameters()) + list(read_out.parameters())
    adam = torch.optim.Adam(parameters, lr=opt.rate, betas=(0.9, 0.99), fused=True)
    average = common.Average(model, 0.9975)
    step, elapsed = 0, 0.0
    if saved := common.load(opt.checkpoint):
        model.load_state_dict(saved["model"])
        read_out.load_state_dict(saved["read_out"])
        adam.load_state_dict(saved["adam"])
        average.state, average.updates = saved["average"], saved["updates"]
        step, elapsed = saved["step"], saved["elapsed"]
    run = torch.compile(model, dynamic=False) if opt.compile else model
    clock, save_now, print_now = common.Clock(opt.minutes, elapsed), common.Every(240), common.Every(30)
    weights = {size: face_weight(size) for _, size in STAGES}
    running = 0.0

    def save() -> None:
        common.save_atomic({
            "model": model.state_dict(), "read_out": read_out.state_dict(), "adam": adam.state_dict(),
            "average": average.state, "updates": average.updates, "step": step, "elapsed": clock.elapsed,
        }, opt.checkpoint)
        error = report(average.state, opt.out, opt.checkpoint.with_suffix(".png"))
        print(f"saved: step {step} minutes {clock.elapsed / 60:.1f} held-out {error:.4f}", flush=True)

    while clock.progress < 1:
        size = stage(clock.progress)
        for group in adam.param_groups:
            group["lr"] = clock.rate(opt.rate, step)
        pick = torch.randint(len(pictures), (opt.batch,))
        target = common.to_float(pictures[pick])
        if size < stylegan.SIZE:
            target = F.avg_pool2d(target, stylegan.SIZE // size)
        part = inside[pick]
        z = part + fx.beside(torch.randn_like(part), part, p)
        w = model.mapping(z)
        made = run(z, size, True)
        known = (read_out(w) - pool["factors"][pick]).abs().mean()
        loss = picture_loss(made, target, weights[size]) + 0.2 * known
        adam.zero_grad(set_to_none=True)
        loss.backward()
        adam.step()
        step += 1
        if step % 4 == 0:
            average.update(model)
        running = 0.98 * running + 0.02 * (made.detach() - target).abs().mean().item() if step > 1 else 1.0
        if print_now():
            print(f"step {step} minutes {clock.elapsed / 60:.1f} size {size} error {running:.4f} "
                  f"read-out {known.item():.4f}", flush=True)
        if save_now():
            save()
    save()


if __name__ == "__main__":
    main()
