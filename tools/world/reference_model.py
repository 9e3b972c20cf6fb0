"""A plain StyleGAN2 forward that reads a rosinality checkpoint: the slow, obvious version, to test others against.

Every number is spelt out as in the rosinality code: per-sample modulated weights, transposed convolution followed by
the 4x4 blur, noise strength times the stored noise maps, a mapping multiplier of 0.01.

    python reference_model.py build/world/export/generator.pt --vectors build/world/export/generator-vectors.npz
"""

from __future__ import annotations

import argparse
import math
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

State = dict[str, torch.Tensor]


def upfirdn(x: torch.Tensor, kernel: torch.Tensor, up: int, pad: tuple[int, int]) -> torch.Tensor:
    b, c, h, w = x.shape
    if up > 1:
        wide = x.new_zeros(b, c, h, up, w, up)
        wide[:, :, :, 0, :, 0] = x
        x = wide.view(b, c, h * up, w * up)
    x = F.pad(x, (pad[0], pad[1], pad[0], pad[1]))
    k = kernel.flip(0, 1)[None, None].repeat(c, 1, 1, 1)
    return F.conv2d(x, k, groups=c)


def linear(s: State, name: str, x: torch.Tensor, lr_mul: float = 1.0) -> torch.Tensor:
    weight = s[f"{name}.weight"]
    return F.linear(x, weight * (lr_mul / math.sqrt(weight.shape[1])), s[f"{name}.bias"] * lr_mul)


def mapping(s: State, z: torch.Tensor) -> torch.Tensor:
    w = z * torch.rsqrt(z.square().mean(1, keepdim=True) + 1e-8)
    i = 1
    while f"style.{i}.weight" in s:
        w = F.leaky_relu(linear(s, f"style.{i}", w, 0.01), 0.2) * math.sqrt(2)
        i += 1
    return w


def modulated(s: State, name: str, x: torch.Tensor, w: torch.Tensor, demodulate: bool) -> torch.Tensor:
    weight = s[f"{name}.weight"]
    _, o, i, k, _ = weight.shape
    style = linear(s, f"{name}.modulation", w)
    weight = weight / math.sqrt(i * k * k) * style[:, None, :, None, None]
    if demodulate:
        weight = weight * torch.rsqrt(weight.square().sum((2, 3, 4), keepdim=True) + 1e-8)
    b = x.shape[0]
    x = x.reshape(1, b * i, *x.shape[2:])
    if f"{name}.blur.kernel" in s:
        weight = weight.transpose(1, 2).reshape(b * i, o, k, k)
        y = F.conv_transpose2d(x, weight, stride=2, groups=b)
        y = y.view(b, o, *y.shape[2:])
        return upfirdn(y, s[f"{name}.blur.kernel"], 1, (1, 1))
    y = F.conv2d(x, weight.reshape(b * o, i, k, k), padding=k // 2, groups=b)
    return y.view(b, o, *y.shape[2:])


def styled(s: State, name: str, x: torch.Tensor, w: torch.Tensor, noise: torch.Tensor) -> torch.Tensor:
    y = modulated(s, f"{name}.conv", x, w, True) + s[f"{name}.noise.weight"] * noise
    return F.leaky_relu(y + s[f"{name}.activate.bias"][None, :, None, None], 0.2) * math.sqrt(2)


def to_rgb(s: State, name: str, x: torch.Tensor, w: torch.Tensor, skip: torch.Tensor | None) -> torch.Tensor:
    rgb = modulated(s, f"{name}.conv", x, w, False) + s[f"{name}.bias"]
    if skip is not None:
        rgb = rgb + upfirdn(skip, s[f"{name}.upsample.kernel"], 2, (2, 1))
    return rgb


def synthesis(s: State, w: torch.Tensor) -> torch.Tensor:
    """One w [n, 128] for all layers -> pictures [n, 3, 64, 64]."""
    x = styled(s, "conv1", s["input.input"].repeat(w.shape[0], 1, 1, 1), w, s["noises.noise_0"])
    rgb = to_rgb(s, "to_rgb1", x, w, None)
    k = 0
    while f"to_rgbs.{k}.bias" in s:
        x = styled(s, f"convs.{2 * k}", x, w, s[f"noises.noise_{2 * k + 1}"])
        x = styled(s, f"convs.{2 * k + 1}", x, w, s[f"noises.noise_{2 * k + 2}"])
        rgb = to_rgb(s, f"to_rgbs.{k}", x, w, rgb)
        k += 1
    return rgb


def write_vectors(checkpoint: Path, out: Path, n: int = 4, seed: int = 77) -> None:
    s = torch.load(checkpoint, map_location="cpu", weights_only=True)["g_ema"]
    z = torch.randn(n, s["style.1.weight"].shape[1], generator=torch.Generator().manual_seed(seed))
    w = mapping(s, z)
    np.savez(out, z=z.numpy(), w=w.numpy(), images=synthesis(s, w).numpy())


def main() -> None:
    arg = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    arg.add_argument("checkpoint", type=Path)
    arg.add_argument("--vectors", type=Path, required=True)
    opt = arg.parse_args()
    write_vectors(opt.checkpoint, opt.vectors)


if __name__ == "__main__":
    main()
