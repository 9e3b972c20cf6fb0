"""TreB1eN's IR-SE backbone, narrower: the same blocks, strides and names, for 64 px cats instead of 112 px faces."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field

import torch
import torch.nn.functional as F
from torch import nn


@dataclass
class Config:
    image_size: int = 64
    widths: list[int] = field(default_factory=lambda: [16, 32, 64, 128])
    blocks: list[int] = field(default_factory=lambda: [1, 2, 2, 1])
    stem_width: int = 16
    se_reduction: int = 16
    embed_dim: int = 128

    def as_json(self) -> dict:
        return {**asdict(self), "type": "ir_se", "grid": self.image_size // 16, "mean": [0.5] * 3, "std": [0.5] * 3,
                "normalised_output": True}


class SEModule(nn.Module):
    def __init__(self, channels: int, reduction: int) -> None:
        super().__init__()
        hidden = max(1, channels // reduction)
        self.fc1 = nn.Conv2d(channels, hidden, 1, bias=False)
        self.fc2 = nn.Conv2d(hidden, channels, 1, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * torch.sigmoid(self.fc2(F.relu(self.fc1(x.mean((2, 3), keepdim=True)))))


class BottleneckIRSE(nn.Module):
    def __init__(self, inputs: int, depth: int, stride: int, reduction: int) -> None:
        super().__init__()
        if inputs == depth:
            self.shortcut_layer: nn.Module = nn.MaxPool2d(1, stride)
        else:
            self.shortcut_layer = nn.Sequential(nn.Conv2d(inputs, depth, 1, stride, bias=False), nn.BatchNorm2d(depth))
        self.res_layer = nn.Sequential(
            nn.BatchNorm2d(inputs), nn.Conv2d(inputs, depth, 3, 1, 1, bias=False), nn.PReLU(depth),
            nn.Conv2d(depth, depth, 3, stride, 1, bias=False), nn.BatchNorm2d(depth), SEModule(depth, reduction))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.res_layer(x) + self.shortcut_layer(x)


class Backbone(nn.Module):
    """Pictures in [-1, 1] -> unit embeddings."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config
        self.input_layer = nn.Sequential(
            nn.Conv2d(3, config.stem_width, 3, 1, 1, bias=False), nn.BatchNorm2d(config.stem_width),
            nn.PReLU(config.stem_width))
        body, inputs = [], config.stem_width
        for width, count in zip(config.widths, config.blocks):
            for i in range(count):
                body.append(BottleneckIRSE(inputs, width, 2 if i == 0 else 1, config.se_reduction))
                inputs = width
        self.body = nn.Sequential(*body)
        grid = config.image_size // 16
        self.output_layer = nn.Sequential(
            nn.BatchNorm2d(inputs), nn.Dropout(0.2), nn.Flatten(),
            nn.Linear(inputs * grid * grid, config.embed_dim), nn.BatchNorm1d(config.embed_dim))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.input_layer(x.contiguous(memory_format=torch.channels_last))
        return F.normalize(self.output_layer(self.body(x)).float(), dim=1)
