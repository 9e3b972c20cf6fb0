"""Small damage to pictures in [-1, 1], so that a network learns cats and not pixels: noise, blur, shifts, colour."""

from __future__ import annotations

import torch
import torch.nn.functional as F

_BANK: dict[tuple[int, ...], torch.Tensor] = {}


def noise_like(x: torch.Tensor, stock: int = 64) -> torch.Tensor:
    """Normal noise from a small stock of noise pictures: drawing it afresh costs more than the network it is for."""
    shape = tuple(x.shape[1:])
    if shape not in _BANK:
        _BANK[shape] = torch.randn(stock, *shape)
    return _BANK[shape][torch.randint(stock, (len(x),))].roll(torch.randint(64, (1,)).item(), 3)


def augment(x: torch.Tensor, strength: float = 1.0) -> torch.Tensor:
    """Shift by up to 3 px, blur a third of the pictures, tint and noise all of them a little."""
    n, _, h, w = x.shape
    reach = round(3 * strength)
    if reach:
        dy, dx = torch.randint(0, 2 * reach + 1, (2,)).tolist()
        x = F.pad(x, (reach,) * 4, mode="replicate")[:, :, dy:dy + h, dx:dx + w]
    x = x.contiguous()
    some = torch.randperm(n)[: n // 3]
    part = x[some]
    soft = F.avg_pool2d(F.pad(part, (1, 1, 1, 1), mode="replicate"), 3, stride=1)
    x[some] = torch.lerp(part, soft, (torch.rand(len(some), 1, 1, 1) * strength).clamp(max=1))
    x.mul_(1 + 0.06 * strength * torch.randn(n, 3, 1, 1)).add_(0.05 * strength * torch.randn(n, 3, 1, 1))
    return x.addcmul_(noise_like(x), 0.06 * strength * torch.rand(n, 1, 1, 1))
