"""What all the trainers share: the wall-clock schedule, resumable checkpoints, the log, safetensors."""

from __future__ import annotations

import json
import math
import os
import time
from pathlib import Path

import torch


def setup(seed: int, threads: int = 1) -> None:
    torch.manual_seed(seed)
    torch.set_num_threads(threads)


class Clock:
    """Progress by training time, so that a slow or interrupted machine still ends its cosine at the right place."""

    def __init__(self, minutes: float, elapsed: float = 0.0) -> None:
        self.total, self.before, self.start = minutes * 60, elapsed, time.monotonic()

    @property
    def elapsed(self) -> float:
        return self.before + time.monotonic() - self.start

    @property
    def progress(self) -> float:
        return min(1.0, self.elapsed / self.total)

    def rate(self, peak: float, step: int, warm: int = 200, floor: float = 0.0) -> float:
        cosine = 0.5 * (1 + math.cos(math.pi * self.progress))
        return peak * min(1.0, (step + 1) / warm) * (floor + (1 - floor) * cosine)


class Every:
    """True at most once per so many seconds."""

    def __init__(self, seconds: float) -> None:
        self.seconds, self.last = seconds, time.monotonic()

    def __call__(self) -> bool:
        if time.monotonic() - self.last < self.seconds:
            return False
        self.last = time.monotonic()
        return True


def save_atomic(value: object, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(path.name + ".tmp")
    torch.save(value, temporary)
    os.replace(temporary, path)


def load(path: Path) -> dict | None:
    return torch.load(path, map_location="cpu", weights_only=True) if path.exists() else None


def save_tensors(state: dict[str, torch.Tensor], path: Path) -> None:
    from safetensors.torch import save_file

    temporary = path.with_name(path.name + ".tmp")
    save_file({k: v.contiguous() for k, v in state.items()}, temporary)
    os.replace(temporary, path)


def save_json(value: object, path: Path) -> None:
    temporary = path.with_name(path.name + ".tmp")
    temporary.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    os.replace(temporary, path)


def to_float(pictures: torch.Tensor) -> torch.Tensor:
    """uint8 pictures -> [-1, 1]."""
    return pictures.float() / 127.5 - 1


class Average:
    """Exponential moving average of a module's parameters and float buffers."""

    def __init__(self, model: torch.nn.Module, decay: float) -> None:
        self.decay, self.updates = decay, 0
        self.state = {k: v.detach().clone() for k, v in model.state_dict().items()}

    @torch.no_grad()
    def update(self, model: torch.nn.Module) -> None:
        self.updates += 1
        decay = min(self.decay, (1 + self.updates) / (10 + self.updates))
        for k, v in model.state_dict().items():
            if v.is_floating_point():
                self.state[k].lerp_(v.detach(), 1 - decay)
            else:
                self.state[k].copy_(v)
