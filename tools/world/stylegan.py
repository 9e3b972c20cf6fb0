"""The cats' StyleGAN2, written for fast training on a CPU; `reference_model.py` is the plain version of the same net.

Names and numbers are those of the rosinality code (see B.1 of the reference notes), so `state_dict()` is what a reader
of rosinality checkpoints expects, but for the mapping network's multiplier: here it is 1, every reader assumes 0.01, so
`checkpoint()` stores its weights and biases times 100.

What makes it fast: shared weights with scaled inputs and outputs instead of grouped convolutions; channels_last;
bfloat16 activations over float32 weights; toRGB as a batched matmul, the skip's up-sampling as two small ones.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import nn

CHANNELS: dict[int, int] = {4: 96, 8: 96, 16: 64, 32: 48, 64: 32}
STYLE = 128
MAPPING_LAYERS = 4
SIZE = 64
READER_LR_MUL = 0.01
SQRT2 = math.sqrt(2)


def blur_kernel(gain: float = 4.0) -> torch.Tensor:
    k = torch.tensor([1.0, 3.0, 3.0, 1.0])
    k = k[:, None] * k[None, :]
    return k / k.sum() * gain


def up_matrix(size: int) -> torch.Tensor:
    """[2*size, size]: upfirdn2d(up=2, pad=(2,1)) of one axis, gain 2."""
    m = torch.zeros(2 * size, size)
    k = torch.tensor([1.0, 3.0, 3.0, 1.0]) / 4
    for out in range(2 * size):
        for tap in range(4):
            at = out + tap - 2
            if at % 2 == 0 and 0 <= at // 2 < size:
                m[out, at // 2] = k[tap]
    return m


class EqualLinear(nn.Module):
    def __init__(self, inputs: int, outputs: int, bias_init: float = 0.0) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(outputs, inputs))
        self.bias = nn.Parameter(torch.full((outputs,), bias_init))
        self.scale = 1 / math.sqrt(inputs)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.linear(x, self.weight * self.scale, self.bias)


class Blur(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("kernel", blur_kernel())


class ModulatedConv(nn.Module):
    def __init__(self, inputs: int, outputs: int, kernel: int, up: bool) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(1, outputs, inputs, kernel, kernel))
        self.modulation = EqualLinear(STYLE, inputs, 1.0)
        self.scale = 1 / math.sqrt(inputs * kernel * kernel)
        if up:
            self.blur = Blur()


class NoiseInjection(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        # Fixed: enough for a reader's noise path to matter, too little to be seen.
        self.register_buffer("weight", torch.full((1,), 0.01))


class Bias(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(channels))


class StyledConv(nn.Module):
    def __init__(self, inputs: int, outputs: int, up: bool = False) -> None:
        super().__init__()
        self.up = up
        self.conv = ModulatedConv(inputs, outputs, 3, up)
        self.noise = NoiseInjection()
        self.activate = Bias(outputs)

    def forward(self, x: torch.Tensor, w: torch.Tensor, noise: torch.Tensor) -> torch.Tensor:
        conv = self.conv
        weight = conv.weight[0] * conv.scale
        style = conv.modulation(w)
        power = weight.square().sum((2, 3))
        demod = torch.rsqrt(style.square() @ power.T + 1e-8)
        x = x * style[:, :, None, None].to(x.dtype)
        if self.up:
            flipped = weight.transpose(0, 1).to(x.dtype).contiguous(memory_format=torch.channels_last)
            y = F.conv_transpose2d(x, flipped, stride=2)
            kernel = conv.blur.kernel.to(x.dtype).expand(weight.shape[0], 1, 4, 4)
            y = F.conv2d(y, kernel, padding=1, groups=weight.shape[0])  # the kernel is symmetric
        else:
            y = F.conv2d(x, weight.to(x.dtype).contiguous(memory_format=torch.channels_last), padding=1)
        gain = (demod * SQRT2).to(x.dtype)[:, :, None, None]
        offset = ((self.noise.weight * noise + self.activate.bias[None, :, None, None]) * SQRT2).to(x.dtype)
        return F.leaky_relu(y * gain + offset, 0.2)


class Upsample(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("kernel", blur_kernel())


class ToRGB(nn.Module):
    def __init__(self, inputs: int, size: int) -> None:
        super().__init__()
        self.conv = ModulatedConv(inputs, 3, 1, False)
        self.bias = nn.Parameter(torch.zeros(1, 3, 1, 1))
        if size > 4:
            self.upsample = Upsample()
            self.register_buffer("matrix", up_matrix(size // 2), persistent=False)

    def forward(self, x: torch.Tensor, w: torch.Tensor, skip: torch.Tensor | None) -> torch.Tensor:
        style = self.conv.modulation(w)
        weight = self.conv.weight[0, :, :, 0, 0] * self.conv.scale * style[:, None, :]  # [b, 3, inputs]
        b, c, h, width = x.shape
        flat = x.permute(0, 2, 3, 1).reshape(b, h * width, c)
        rgb = torch.bmm(flat, weight.transpose(1, 2).to(x.dtype)).float()
        rgb = rgb.view(b, h, width, 3).permute(0, 3, 1, 2) + self.bias
        if skip is not None:
            rgb = rgb + self.matrix @ skip @ self.matrix.T
        return rgb


class ConstantInput(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.input = nn.Parameter(torch.randn(1, CHANNELS[4], 4, 4))


class Generator(nn.Module):
    def __init__(self, dtype: torch.dtype = torch.bfloat16) -> None:
        super().__init__()
        self.dtype = dtype
        self.style = nn.ModuleDict({str(i + 1): EqualLinear(STYLE, STYLE) for i in range(MAPPING_LAYERS)})
        self.input = ConstantInput()
        self.conv1 = StyledConv(CHANNELS[4], CHANNELS[4])
        self.to_rgb1 = ToRGB(CHANNELS[4], 4)
        self.convs, self.to_rgbs, self.noises = nn.ModuleList(), nn.ModuleList(), nn.Module()
        self.noises.register_buffer("noise_0", torch.randn(1, 1, 4, 4))
        size = 8
        while size <= SIZE:
            self.convs.append(StyledConv(CHANNELS[size // 2], CHANNELS[size], up=True))
            self.convs.append(StyledConv(CHANNELS[size], CHANNELS[size]))
            self.to_rgbs.append(ToRGB(CHANNELS[size], size))
            for i in (2 * len(self.to_rgbs) - 1, 2 * len(self.to_rgbs)):
                self.noises.register_buffer(f"noise_{i}", torch.randn(1, 1, size, size))
            size *= 2

    def mapping(self, z: torch.Tensor) -> torch.Tensor:
        w = z * torch.rsqrt(z.square().mean(1, keepdim=True) + 1e-8)
        for layer in self.style.values():
            w = F.leaky_relu(layer(w), 0.2) * SQRT2
        return w

    def noise(self, i: int, fresh: bool) -> torch.Tensor:
        stored = getattr(self.noises, f"noise_{i}")
        return torch.randn_like(stored) if fresh else stored

    def synthesis(self, w: torch.Tensor, size: int = SIZE, fresh_noise: bool = False) -> torch.Tensor:
        x = self.input.input.to(self.dtype).expand(w.shape[0], -1, -1, -1)
        x = x.contiguous(memory_format=torch.channels_last)
        x = self.conv1(x, w, self.noise(0, fresh_noise))
        rgb = self.to_rgb1(x, w, None)
        for k, to_rgb in enumerate(self.to_rgbs):
            if 8 << k > size:
                break
            x = self.convs[2 * k](x, w, self.noise(2 * k + 1, fresh_noise))
            x = self.convs[2 * k + 1](x, w, self.noise(2 * k + 2, fresh_noise))
            rgb = to_rgb(x, w, rgb)
        return rgb

    def forward(self, z: torch.Tensor, size: int = SIZE, fresh_noise: bool = False) -> torch.Tensor:
        return self.synthesis(self.mapping(z), size, fresh_noise)

    def know_factors(self, p: torch.Tensor) -> None:
        """Start the mapping's first layer inside the span of the factors' projection: the rest of z is no news."""
        first = self.style["1"]
        with torch.no_grad():
            q, _ = torch.linalg.qr(p.T)  # [z, 17]
            first.weight.copy_(torch.randn(STYLE, p.shape[0]) @ q.T * math.sqrt(STYLE / p.shape[0]))


def rosinality_state(model: Generator) -> dict[str, torch.Tensor]:
    state = {k: v.detach().float().contiguous().clone() for k, v in model.state_dict().items()}
    for key in state:
        if key.startswith("style."):
            state[key] /= READER_LR_MUL
    return state


def from_rosinality(state: dict[str, torch.Tensor], dtype: torch.dtype = torch.float32) -> Generator:
    model = Generator(dtype)
    state = {k: v * READER_LR_MUL if k.startswith("style.") else v for k, v in state.items() if k != "latent_avg"}
    model.load_state_dict(state)
    return model.eval().requires_grad_(False)
