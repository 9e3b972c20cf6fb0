"""The relevance sweep as a plain PyTorch loop, to compare with: the structure of the released code and of the StyleGAN2
that it is mostly used with, one picture at a time.

Per-sample modulated weights through grouped convolutions, the FIR filter as an up/down-sampling convolution, noise, bias
and leaky ReLU one by one; for every channel and sample picture two forward passes of batch 1, then one of CLIP over the
pair (SingleChannel.py does the same through files of 8-bit pictures; those costs are left out). Written from the formulas
(arXiv 1912.04958, section 2 and appendix B; arXiv 2103.17249, section 6). CLIP is the archive's own module on both sides.

    python torch_loop.py GENERATOR.pt CLIP.pt THREADS

answers requests from stdin, a JSON object a line, like `styleclip_bench turns`:

    {"do": "pictures", "file": FILE, ...its answer to "pictures"}  loads what to render; {"distance": rms of how far our
                                                                   differences of unit embeddings are from its own}
    {"do": "sweep", "channels": n}                                 every n-th channel that was loaded: {"seconds", "images"}
"""

from __future__ import annotations

import json
import math
import sys
import time

import torch
import torch.nn.functional as F
from torch import nn

Description = dict


def archive(path: str) -> tuple[torch.jit.ScriptModule, Description]:
    extra = {"styleclip.json": ""}
    module = torch.jit.load(path, map_location="cpu", _extra_files=extra).float().eval()
    return module, json.loads(extra["styleclip.json"])


def upfirdn2d(x: torch.Tensor, kernel: torch.Tensor, up: int, pad: tuple[int, int]) -> torch.Tensor:
    """Zero insertion, padding, and the filter as a convolution of single planes."""
    n, channels, height, width = x.shape
    x = x.reshape(n * channels, height, 1, width, 1)
    x = F.pad(x, (0, up - 1, 0, 0, 0, up - 1)).reshape(n * channels, 1, height * up, width * up)
    x = F.pad(x, (pad[0], pad[1], pad[0], pad[1]))
    y = F.conv2d(x, torch.flip(kernel, [0, 1])[None, None])
    return y.view(n, channels, y.shape[2], y.shape[3])


class ModulatedConv2d(nn.Module):
    def __init__(self, state: dict[str, torch.Tensor], name: str, demodulate: bool) -> None:
        super().__init__()
        self.weight = nn.Parameter(state[f"{name}.weight"])
        _, self.outputs, self.inputs, self.size, _ = self.weight.shape
        self.scale = 1 / math.sqrt(self.inputs * self.size**2)
        self.demodulate = demodulate
        self.blur = state.get(f"{name}.blur.kernel")

    def forward(self, x: torch.Tensor, style: torch.Tensor) -> torch.Tensor:
        n, _, height, width = x.shape
        weight = self.scale * self.weight * style.view(n, 1, self.inputs, 1, 1)
        if self.demodulate:
            weight = weight * torch.rsqrt(weight.pow(2).sum([2, 3, 4]) + 1e-8).view(n, self.outputs, 1, 1, 1)
        x = x.view(1, n * self.inputs, height, width)
        if self.blur is not None:
            weight = weight.transpose(1, 2).reshape(n * self.inputs, self.outputs, self.size, self.size)
            y = F.conv_transpose2d(x, weight, padding=0, stride=2, groups=n)
            return upfirdn2d(y.view(n, self.outputs, y.shape[2], y.shape[3]), self.blur, 1, (1, 1))
        weight = weight.view(n * self.outputs, self.inputs, self.size, self.size)
        return F.conv2d(x, weight, padding=self.size // 2, groups=n).view(n, self.outputs, height, width)


class StyledConv(nn.Module):
    def __init__(self, state: dict[str, torch.Tensor], name: str, noise: torch.Tensor) -> None:
        super().__init__()
        self.conv = ModulatedConv2d(state, f"{name}.conv", True)
        self.strength = nn.Parameter(state[f"{name}.noise.weight"])
        self.bias = nn.Parameter(state[f"{name}.activate.bias"])
        self.noise = noise

    def forward(self, x: torch.Tensor, style: torch.Tensor) -> torch.Tensor:
        y = self.conv(x, style)
        y = y + self.strength * self.noise
        return F.leaky_relu(y + self.bias.view(1, -1, 1, 1), 0.2) * math.sqrt(2)


class ToRGB(nn.Module):
    def __init__(self, state: dict[str, torch.Tensor], name: str) -> None:
        super().__init__()
        self.conv = ModulatedConv2d(state, f"{name}.conv", False)
        self.bias = nn.Parameter(state[f"{name}.bias"])
        self.kernel = state.get(f"{name}.upsample.kernel")

    def forward(self, x: torch.Tensor, style: torch.Tensor, skip: torch.Tensor | None) -> torch.Tensor:
        y = self.conv(x, style) + self.bias
        return y if skip is None else y + upfirdn2d(skip, self.kernel, 2, (2, 1))


class Synthesis(nn.Module):
    """Styles, a list in the order of synthesis, to a picture."""

    def __init__(self, state: dict[str, torch.Tensor]) -> None:
        super().__init__()
        self.input = nn.Parameter(state["input.input"])
        self.conv1 = StyledConv(state, "conv1", state["noises.noise_0"])
        self.to_rgb1 = ToRGB(state, "to_rgb1")
        blocks = sum(name.startswith("to_rgbs.") and name.endswith(".conv.weight") for name in state)
        self.convs = nn.ModuleList(
            StyledConv(state, f"convs.{i}", state[f"noises.noise_{i + 1}"]) for i in range(2 * blocks)
        )
        self.to_rgbs = nn.ModuleList(ToRGB(state, f"to_rgbs.{i}") for i in range(blocks))

    def forward(self, styles: list[torch.Tensor]) -> torch.Tensor:
        x = self.conv1(self.input.repeat(styles[0].shape[0], 1, 1, 1), styles[0])
        picture = self.to_rgb1(x, styles[1], None)
        for i, to_rgb in enumerate(self.to_rgbs):
            x = self.convs[2 * i](x, styles[3 * i + 2])
            x = self.convs[2 * i + 1](x, styles[3 * i + 3])
            picture = to_rgb(x, styles[3 * i + 4], picture)
        return picture


class Loop:
    def __init__(self, generator: str, clip: str) -> None:
        module, description = archive(generator)
        config = description["config"]
        if description["architecture"] != "stylegan2" or config.get("conv_clamp") or config.get("label_width"):
            raise ValueError("the loop renders plain StyleGAN2 only")
        if config.get("demodulation", "scaled") != "scaled":
            raise ValueError("the loop knows rosinality's demodulation only")
        state = dict(module.named_parameters()) | dict(module.named_buffers())
        self.synthesis = Synthesis({name: tensor.detach() for name, tensor in state.items()})
        self.clip, about = archive(clip)
        self.size = about["image_size"]
        self.mean = torch.tensor(about["mean"]).view(1, 3, 1, 1)
        self.deviation = torch.tensor(about["std"]).view(1, 3, 1, 1)

    def load(self, request: dict) -> dict:
        with open(request["file"], "rb") as file:
            numbers = torch.frombuffer(bytearray(file.read()), dtype=torch.float32)
        self.channels = request["channels"]
        images, count = request["images"], len(self.channels)
        shapes = [(images, request["total"]), (count, images), (count, images), (count, images, request["dim"])]
        parts = torch.split(numbers, [math.prod(shape) for shape in shapes])
        self.base, self.plus, self.minus, wanted = (part.view(shape) for part, shape in zip(parts, shapes))
        self.offsets = [layer["offset"] for layer in request["layers"]] + [request["total"]]
        got = torch.stack([torch.stack([self.difference(c, m) for m in range(images)]) for c in range(count)])
        return {"distance": (got - wanted).square().sum(-1).mean().sqrt().item()}

    def render(self, channel: int, picture: int, value: torch.Tensor) -> torch.Tensor:
        s = self.base[picture : picture + 1].clone()
        s[0, self.channels[channel]] = value
        return self.synthesis([s[:, a:b] for a, b in zip(self.offsets, self.offsets[1:])])

    def preprocess(self, pictures: torch.Tensor) -> torch.Tensor:
        if pictures.shape[-1] != self.size:
            pictures = F.interpolate(pictures, (self.size, self.size), mode="bicubic", antialias=True)
        return ((pictures + 1) / 2 - self.mean) / self.deviation

    def difference(self, channel: int, picture: int) -> torch.Tensor:
        pair = [self.render(channel, picture, values[channel, picture]) for values in (self.plus, self.minus)]
        f = self.clip.encode_image(self.preprocess(torch.cat(pair)))
        f = f / f.norm(dim=1, keepdim=True)
        return f[0] - f[1]

    def sweep(self, request: dict) -> dict:
        start = time.perf_counter()
        images = self.base.shape[0]
        channels = range(0, len(self.channels), request.get("channels", 1))
        for channel in channels:
            d = torch.stack([self.difference(channel, picture) for picture in range(images)])
            row = (d / d.norm(dim=1, keepdim=True)).mean(0)
            row = row / row.norm()
        return {"seconds": time.perf_counter() - start, "images": 2 * images * len(channels)}


def main() -> None:
    generator, clip, threads = sys.argv[1:4]
    if int(threads) > 0:
        torch.set_num_threads(int(threads))
    torch._C._jit_set_profiling_mode(False)  # CLIP's module: no recompilation, as the package does
    with torch.inference_mode():
        loop = Loop(generator, clip)
        print(json.dumps({"torch": torch.__version__, "threads": torch.get_num_threads()}), flush=True)
        for line in sys.stdin:
            request = json.loads(line)
            try:
                answer = loop.load(request) if request["do"] == "pictures" else loop.sweep(request)
            except (ValueError, KeyError, RuntimeError) as error:
                answer = {"error": str(error)}
            print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
