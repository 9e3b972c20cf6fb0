"""Latent optimisation as a plain PyTorch loop, to compare with: the structure of the released code (SC:optimization/
run_optimization.py) over the StyleGAN2 of the sweep's loop (bench/sweep/torch_loop.py). Written from the formulas of
arXiv 2103.17249, section 4. CLIP and identity are the archives' own modules on both sides.

    python torch_optimize.py GENERATOR.pt CLIP.pt IDENTITY.pt LATENTS.f32 TEXT.f32 STEPS THREADS

prints {"seconds", "all", "peakBytes", "losses"}: of a step, memory above the loaded models, mean total before each step.
"""

from __future__ import annotations

import json
import math
import pathlib
import statistics
import sys
import time

import torch
import torch.nn.functional as F

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "sweep"))
from torch_loop import Synthesis, archive  # noqa: E402


def resident(key: str) -> int:
    for line in pathlib.Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{key}:"):
            return int(line.split()[1]) * 1024
    raise RuntimeError(f"no {key}")


def floats(path: str, *shape: int) -> torch.Tensor:
    return torch.frombuffer(bytearray(pathlib.Path(path).read_bytes()), dtype=torch.float32).view(-1, *shape)


def face(x: torch.Tensor, about: dict) -> torch.Tensor:
    if about["preprocessing"] == "face-crop":
        if x.shape[2] != 256:
            x = F.adaptive_avg_pool2d(x, (256, 256))
        x = x[:, :, 35:223, 32:220]
    return F.adaptive_avg_pool2d(x, (about["image_size"],) * 2)


def main() -> None:
    generator, clip_file, identity_file, latents_file, text_file, steps, threads = sys.argv[1:8]
    if int(threads) > 0:
        torch.set_num_threads(int(threads))
    torch._C._jit_set_profiling_mode(False)  # the archives' modules: no recompilation, as the package does
    module, description = archive(generator)
    state = {name: t.detach() for name, t in (dict(module.named_parameters()) | dict(module.named_buffers())).items()}
    synthesis = Synthesis(state).requires_grad_(False)
    clip, about_clip = archive(clip_file)
    identity, about_identity = archive(identity_file)
    for other in (clip, identity, module):
        for parameter in other.parameters():
            parameter.requires_grad_(False)
    w = floats(latents_file, description["rows"], description["style_width"])
    text = floats(text_file, about_clip["embedding"])
    size = description["image_size"]
    times, window = about_clip["image_size"] // 32, size // 32

    def look(code: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        picture = synthesis(module.styles(code))
        shown = F.avg_pool2d(F.interpolate(picture, scale_factor=times, mode="nearest"), window)
        return clip.encode_image(shown), identity.embed(face(picture, about_identity))

    with torch.no_grad():
        source = look(w)[1]
    code = w.clone().requires_grad_(True)
    adam = torch.optim.Adam([code], lr=0.1)
    pathlib.Path("/proc/self/clear_refs").write_text("5")
    before = resident("VmRSS")
    seconds, losses = [], []
    for i in range(int(steps)):
        start = time.perf_counter()
        t = i / int(steps)
        ramp = (0.5 - 0.5 * math.cos(math.pi * min(1, (1 - t) / 0.25))) * min(1, t / 0.05)
        adam.param_groups[0]["lr"] = 0.1 * ramp
        f, face_now = look(code)
        loss = 1 - F.cosine_similarity(f, text)
        loss = loss + 0.008 * (code - w).square().sum((1, 2))
        loss = loss + 0.005 * (1 - (face_now * source).sum(1))
        adam.zero_grad()
        loss.sum().backward()
        adam.step()
        losses.append(loss.mean().item())
        seconds.append(time.perf_counter() - start)
    print(json.dumps({"torch": torch.__version__, "seconds": statistics.median(seconds[1:]), "all": seconds[1:],
                      "peakBytes": resident("VmHWM") - before, "losses": losses}))


if __name__ == "__main__":
    main()
