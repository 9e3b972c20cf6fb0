"""What all the trainers share: the wall-clock schedule, resumable checkpoints, the log, safetensors."""

from __future__ import annotations

import copy
import json
import math
import os
import time
from collections.abc import Callable
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


class Run:
    """A training by wall-clock time: goes on from its checkpoint, averages the weights, saves and reports as it goes."""

    def __init__(self, checkpoint: Path, model: torch.nn.Module, adam: torch.optim.Optimizer, minutes: float, rate: float,
                 report: Callable[[torch.nn.Module], str], kept: dict[str, torch.nn.Module] | None = None,
                 facts: dict | None = None) -> None:
        """`report` says how good a model is (it gets one of averaged weights); `kept` modules are saved with the model,
        `facts` as they are."""
        self.checkpoint, self.model, self.adam, self.peak = checkpoint, model, adam, rate
        self.report, self.kept, self.facts = report, kept or {}, facts or {}
        self.average = Average(model, 0.995)
        self.count, elapsed, self.running = 0, 0.0, 0.0
        if saved := load(checkpoint):
            for name, module in {"model": model, **self.kept}.items():
                module.load_state_dict(saved[name])
            if "adam" in saved:
                adam.load_state_dict(saved["adam"])
            self.average.state, self.average.updates = saved["average"], 1000
            self.count, elapsed = saved["step"], saved["elapsed"]
        self.clock, self.save_now, self.print_now = Clock(minutes, elapsed), Every(120), Every(30)

    def going(self) -> bool:
        """Whether there is time for another step; sets its learning rate."""
        for group in self.adam.param_groups:
            group["lr"] = self.clock.rate(self.peak, self.count, warm=100, floor=0.01)
        return self.clock.progress < 1

    def step(self, loss: torch.Tensor, note: str = "") -> None:
        self.adam.zero_grad(set_to_none=True)
        loss.backward()
        self.adam.step()
        self.count += 1
        if self.count % 2 == 0:
            self.average.update(self.model)
        self.running = 0.98 * self.running + 0.02 * loss.item() if self.running else loss.item()
        if self.print_now():
            print(f"step {self.count} minutes {self.clock.elapsed / 60:.1f} loss {self.running:.5f} {note}", flush=True)
        if self.save_now():
            self.save()

    def save(self) -> None:
        save_atomic({"model": self.model.state_dict(), "adam": self.adam.state_dict(), "average": self.average.state,
                     "step": self.count, "elapsed": self.clock.elapsed, **self.facts,
                     **{name: module.state_dict() for name, module in self.kept.items()}}, self.checkpoint)
        shown = copy.deepcopy(self.model)
        shown.load_state_dict(self.average.state)
        print(f"saved: step {self.count} minutes {self.clock.elapsed / 60:.1f} {self.report(shown)}", flush=True)
