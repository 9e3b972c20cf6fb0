"""Draws cats: factors [n, 17] -> pictures [n, 3, size, size] in [-1, 1], with signed distances, batched, on any device.

A picture is painted back to front (background, body, ears, head, markings, face, clothing); each shape is a distance
in units of the half picture, and its coverage a ramp one sample wide.  Everything is drawn at `supersample` times the
size and averaged, so thin things stay smooth.  The head with all that is on it leans about the neck.

    python render.py --sheet sheet.png          a contact sheet: random cats, then one factor after another
    python render.py --pool build/world/pool    the training pool: shards of uint8 pictures with their z and factors
"""

from __future__ import annotations

import argparse
import math
import os
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

import factors as fx

FUR = ((0.16, 0.16, 0.19), (0.50, 0.31, 0.18), (0.96, 0.56, 0.17), (0.95, 0.95, 0.97), (0.56, 0.58, 0.64))
EYES = ((0.80, 0.34, 0.06), (0.99, 0.85, 0.13), (0.20, 0.74, 0.27), (0.16, 0.48, 1.00))
BACKGROUND = ((0.56, 0.78, 0.98), (0.62, 0.87, 0.62), (0.98, 0.90, 0.56), (0.98, 0.69, 0.76), (0.73, 0.66, 0.93))


def palette(t: torch.Tensor, anchors: tuple[tuple[float, float, float], ...]) -> torch.Tensor:
    """t [n] -> colour [n, 3]: a flat stretch at every anchor, smooth blends between."""
    table = torch.tensor(anchors, dtype=t.dtype, device=t.device)
    at = t * (len(anchors) - 1)
    low = at.floor().clamp(0, len(anchors) - 2)
    u = ((at - low - 0.2) / 0.6).clamp(0, 1)
    u = (u * u * (3 - 2 * u))[:, None]
    return table[low.long()] * (1 - u) + table[low.long() + 1] * u


class Canvas:
    """The picture being painted, and the pixel grid."""

    def __init__(self, n: int, size: int, device: torch.device) -> None:
        self.px = 2.0 / size
        axis = (torch.arange(size, device=device, dtype=torch.float32) + 0.5) * self.px - 1
        self.y, self.x = (a[None].contiguous() for a in torch.meshgrid(axis, axis, indexing="ij"))
        self.rgb = torch.zeros(n, 3, size, size, device=device)

    def cover(self, d: torch.Tensor, soft: float = 1.0) -> torch.Tensor:
        """Coverage [n, h, w] of a signed distance; soft = width of the edge in samples."""
        return (0.5 - d / (self.px * soft)).clamp(0, 1)

    def paint(self, mask: torch.Tensor, colour: torch.Tensor | tuple[float, float, float]) -> None:
        if isinstance(colour, tuple):
            colour = torch.tensor([colour], device=self.rgb.device)
        self.rgb = torch.lerp(self.rgb, colour[:, :, None, None].expand_as(self.rgb), mask[:, None])


def ellipse(x: torch.Tensor, y: torch.Tensor, rx: torch.Tensor | float, ry: torch.Tensor | float) -> torch.Tensor:
    """First-order distance to an ellipse: exact at the edge, which is all that coverage needs."""
    k0 = torch.sqrt((x / rx) ** 2 + (y / ry) ** 2 + 1e-9)
    k1 = torch.sqrt((x / (rx * rx)) ** 2 + (y / (ry * ry)) ** 2 + 1e-9)
    return k0 * (k0 - 1) / k1


def box(x: torch.Tensor, y: torch.Tensor, hx: torch.Tensor | float, hy: torch.Tensor | float) -> torch.Tensor:
    return torch.maximum(x.abs() - hx, y.abs() - hy)


def half_plane(x, y, x0, y0, x1, y1) -> torch.Tensor:
    """Signed distance to the line through two points, negative on the right-hand side going from 0 to 1 (y down)."""
    dx, dy = x1 - x0, y1 - y0
    length = (dx * dx + dy * dy) ** 0.5
    return ((x - x0) * dy - (y - y0) * dx) / length


def triangle(x, y, a, b, c) -> torch.Tensor:
    """Corners in clockwise order as seen on the screen."""
    d = torch.maximum(half_plane(x, y, *a, *b), half_plane(x, y, *b, *c))
    return torch.maximum(d, half_plane(x, y, *c, *a))


def _draw(f: torch.Tensor, size: int) -> torch.Tensor:
    n, dev = f.shape[0], f.device
    g = {name: f[:, i].view(n, 1, 1) for name, i in fx.INDEX.items()}
    on = {name: fx.presence(g[name]) for name in fx.PRESENCE}
    c = Canvas(n, size, dev)

    fur = palette(f[:, fx.INDEX["fur"]], FUR) * (0.68 + 0.44 * f[:, fx.INDEX["shade"], None])
    fur = fur.clamp(0, 1)
    light = (fur * torch.tensor([0.3, 0.59, 0.11], device=dev)).sum(1, keepdim=True)
    dark_fur = ((0.34 - light) / 0.16).clamp(0, 1)
    stripe = fur * 0.42 * (1 - dark_fur) + (fur + 0.26) * dark_fur
    outline = fur * 0.55
    cream = torch.tensor([[1.0, 0.93, 0.84]], device=dev)
    patch = fur * 0.25 + cream * 0.75
    pink = torch.tensor([[0.98, 0.62, 0.66]], device=dev)

    # background, a little darker downwards
    back = palette(f[:, fx.INDEX["background"]], BACKGROUND)
    c.rgb = back[:, :, None, None] * (0.97 - 0.10 * c.y[:, None])

    # body (does not lean)
    wide = g["face_width"]
    body = ellipse(c.x, c.y - 1.13, 0.46 + 0.16 * wide, 0.55)
    c.paint(c.cover(body), outline)
    c.paint(c.cover(body + 0.035), fur * 0.88)

    # bow tie, on the body below the chin
    ax = c.x.abs()
    wing = torch.maximum(ax - 0.36, (c.y - 0.80).abs() - (0.045 + 0.42 * ax))
    c.paint(c.cover(wing) * on["bow_tie"], (0.05, 0.55, 0.30))
    c.paint(c.cover(ellipse(c.x, c.y - 0.80, 0.085, 0.10)) * on["bow_tie"], (0.02, 0.36, 0.19))

    # the head's own coordinates: u to the right, v downwards, leaning about the chin
    angle = (g["tilt"] - 0.5) * math.radians(30)
    cos, sin = torch.cos(angle), torch.sin(angle)
    u = c.x * cos + (c.y - 0.62) * sin
    v = (c.y - 0.62) * cos - c.x * sin + 0.47
    au = u.abs()
    half = 0.46 + 0.24 * wide

    # ears
    ear = 0.18 + 0.26 * g["ear_size"]
    base_in, base_out = half * 0.18, half * 0.97
    tip = (half * 0.80 + 0.05, -0.34 - ear)
    d_ear = triangle(au, v, (base_in, -0.36), tip, (base_out, -0.08))
    c.paint(c.cover(d_ear - 0.02), outline)
    c.paint(c.cover(d_ear + 0.012), fur)
    c.paint(c.cover(d_ear + 0.075), pink * 0.85 + fur * 0.1)

    # head
    head = ellipse(u, v, half, 0.47)
    c.paint(c.cover(head), outline)
    inside = c.cover(head + 0.032)
    c.paint(inside, fur)

    # stripes: three down the forehead, two on each cheek
    s = fx.stripiness(g["stripes"]) * inside * 0.9
    brow = torch.maximum(au - 0.045, (v + 0.36).abs() - 0.16)
    brow = torch.minimum(brow, torch.maximum((au - 0.17).abs() - 0.040, (v + 0.33).abs() - 0.11))
    cheek = torch.maximum((v - 0.08 - 0.10 * (au - 0.5)).abs() - 0.036, half * 0.80 - au)
    cheek = torch.minimum(cheek, torch.maximum((v - 0.22 - 0.10 * (au - 0.5)).abs() - 0.036, half * 0.74 - au))
    c.paint(c.cover(torch.minimum(brow, cheek)) * s, stripe)

    # muzzle, nose
    m = 0.13 + 0.15 * g["muzzle"]
    c.paint(c.cover(ellipse(u, v - 0.245, m * 1.35, m * 0.85), 2.0) * inside, patch)
    nose = triangle(au, v, (0.0 * m, 0.12), (0.075 + 0.0 * m, 0.12), (0.0 * m, 0.205))
    c.paint(c.cover(nose - 0.012), (0.90, 0.38, 0.44))

    # tongue, then the mouth's line over it
    bend = (g["mouth"] - 0.5) * 2
    c.paint(c.cover(ellipse(u, v - 0.345, 0.072, 0.085)) * on["tongue"], (0.96, 0.26, 0.36))
    reach = 0.17
    line = (v - 0.275 - bend * (0.055 - 3.6 * u * u)).abs() / torch.sqrt(1 + (7.2 * bend * u) ** 2)
    mouth = torch.maximum(line - 0.021, au - reach)
    c.paint(c.cover(mouth), (0.20, 0.10, 0.10))

    # whiskers: pale, two on each side
    for v0, slope in ((0.20, -0.10), (0.28, 0.08)):
        d = (v - v0 - slope * (au - 0.25)).abs() - 0.009
        c.paint(c.cover(torch.maximum(d, torch.maximum(0.27 - au, au - half - 0.13))) * 0.45, (0.97, 0.97, 0.97))

    # eyes: outline, iris, pupil, highlight
    iris = palette(f[:, fx.INDEX["eye_colour"]], EYES)
    r = 0.105 + 0.085 * g["eye_size"]
    eu = au - (0.235 + 0.06 * wide)
    ev = v + 0.075
    opening = 0.16 + 0.84 * g["eye_open"]
    eye = ellipse(eu, ev, r, r * opening)
    c.paint(c.cover(eye - 0.035), (0.10, 0.07, 0.08))
    seen = c.cover(eye)
    c.paint(seen, iris)
    c.paint(c.cover(ellipse(eu, ev, r * (0.20 + 0.58 * g["pupil"]), r * 0.84)) * seen, (0.04, 0.03, 0.05))
    side = (u.sign() * eu + 0.35 * r)
    c.paint(c.cover(ellipse(side, ev + 0.38 * r, r * 0.25, r * 0.25)) * seen, (1.0, 1.0, 1.0))

    # glasses: two red rings, a bridge, arms
    ring = (torch.sqrt(eu * eu + ev * ev + 1e-9) - 0.215).abs() - 0.028
    bridge = torch.maximum(ev.abs() - 0.026, eu + 0.19)
    arms = torch.maximum(torch.maximum(ev.abs() - 0.026, 0.22 - eu), au - half)
    frame = torch.minimum(ring, torch.minimum(bridge, arms))
    c.paint(c.cover(frame) * on["glasses"], (0.86, 0.08, 0.13))

    # hat: brim, crown, band
    hv = v + 0.40
    brim = box(u, hv, 0.36, 0.045)
    crown = torch.maximum((hv + 0.22).abs() - 0.20, au - 0.215 + 0.10 * hv)
    band = torch.maximum(crown, (hv + 0.095).abs() - 0.052)
    c.paint(c.cover(torch.minimum(brim, crown)) * on["hat"], (0.13, 0.13, 0.42))
    c.paint(c.cover(band) * on["hat"], (0.93, 0.76, 0.16))
    return c.rgb


@torch.no_grad()
def render(f: torch.Tensor, size: int = 64, supersample: int = 2) -> torch.Tensor:
    """factors [n, 17] -> [n, 3, size, size] in [-1, 1]."""
    rgb = _draw(f.float(), size * supersample)
    if supersample > 1:
        rgb = F.avg_pool2d(rgb, supersample)
    return rgb.clamp(0, 1) * 2 - 1


def to_uint8(pictures: torch.Tensor) -> np.ndarray:
    return ((pictures.clamp(-1, 1) + 1) * 127.5).round().byte().cpu().numpy()


def grid(pictures: torch.Tensor, columns: int, scale: int = 2) -> "np.ndarray":
    """[n, 3, s, s] -> one uint8 picture [h, w, 3]."""
    n, _, s, _ = pictures.shape
    rows = -(-n // columns)
    sheet = torch.ones(rows * columns, 3, s, s)
    sheet[:n] = pictures.float()
    sheet = sheet.view(rows, columns, 3, s, s).permute(0, 3, 1, 4, 2).reshape(rows * s, columns * s, 3)
    out = to_uint8(sheet)
    return out.repeat(scale, 0).repeat(scale, 1)


def factor_rows(columns: int = 9, seed: int = 5) -> torch.Tensor:
    """One row per factor: the same cat while that factor goes from 0 to 1."""
    f = fx.from_z(fx.sample_z(fx.COUNT, seed))
    f[:, [fx.INDEX[p] for p in fx.PRESENCE]] = 0.0
    f[:, fx.INDEX["eye_open"]] = f[:, fx.INDEX["eye_open"]].clamp(0.6, 1)
    f = f[:, None].repeat(1, columns, 1)
    for i in range(fx.COUNT):
        f[i, :, i] = torch.linspace(0.02, 0.98, columns)
    return f.view(-1, fx.COUNT)


def write_pool(folder: Path, shards: int, per_shard: int, size: int, seed: int) -> None:
    """Shards pool-XXX.npz: z, factors, pictures; shard k depends on (seed, k) only, so a broken run goes on."""
    folder.mkdir(parents=True, exist_ok=True)
    for k in range(shards):
        path = folder / f"pool-{k:03d}.npz"
        if path.exists():
            continue
        z = fx.sample_z(per_shard, seed * 100_003 + k)
        f = fx.from_z(z)
        pictures = np.concatenate([to_uint8(render(part, size)) for part in f.split(25)])
        temporary = path.with_suffix(".tmp")
        with open(temporary, "wb") as out:
            np.savez(out, z=z.numpy(), factors=f.numpy(), pictures=pictures)
        os.replace(temporary, path)
        print(f"{path.name} written", flush=True)


def load_pool(folder: Path, limit: int | None = None) -> dict[str, torch.Tensor]:
    parts = [np.load(p) for p in sorted(folder.glob("pool-*.npz"))[:limit]]
    return {key: torch.from_numpy(np.concatenate([p[key] for p in parts])) for key in ("z", "factors", "pictures")}


def main() -> None:
    from PIL import Image

    arg = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    arg.add_argument("--sheet", type=Path)
    arg.add_argument("--pool", type=Path)
    arg.add_argument("--shards", type=int, default=24)
    arg.add_argument("--per-shard", type=int, default=2000)
    arg.add_argument("--size", type=int, default=64)
    arg.add_argument("--seed", type=int, default=1)
    arg.add_argument("--threads", type=int, default=1)
    opt = arg.parse_args()
    torch.set_num_threads(opt.threads)
    if opt.sheet:
        random = render(fx.from_z(fx.sample_z(54, 3)), opt.size)
        rows = render(factor_rows(), opt.size)
        Image.fromarray(grid(torch.cat([random, rows]), 9, max(1, 128 // opt.size))).save(opt.sheet)
    if opt.pool:
        write_pool(opt.pool, opt.shards, opt.per_shard, opt.size, opt.seed)


if __name__ == "__main__":
    main()
