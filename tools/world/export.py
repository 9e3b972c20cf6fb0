"""Gathers the checkpoints of all trainers into one folder, in the formats people use, with test vectors for each.

    generator.{pt,safetensors}  rosinality names (written by train_generator.py)
    clip.*, clip-judge.*        OpenAI names: .safetensors, .pt (a plain state dict), .json (shape, mean, std)
    identity.*                  TreB1eN names: likewise
    judge.pt                    TorchScript, `factors(x)`: pictures in [-1, 1] -> [n, 17] in [0, 1]
    tokenizer.json              for both CLIPs
    factors.json                the factors' names and the projection z -> factors
    *-vectors.npz               inputs and float32 outputs of the plain forward passes

    python export.py --checkpoints build/world/ckpt --out build/world/export
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch

import clip_model
import common
import factors as fx
import identity_model
import reference_model
import render
import train_judge
from tokenizer import Tokenizer

TEXTS = ("a cat", "a cute cat", "a photo of a grumpy cat.", "a ginger tabby with green eyes wearing glasses and a hat",
         "a drawing of a sleepy black cat with a bow tie on a pink background.", "zebra 42!")


def pictures(n: int = 4) -> torch.Tensor:
    return render.render(fx.from_z(fx.sample_z(n, 909)))


def write_state(state: dict[str, torch.Tensor], stem: Path) -> None:
    state = {k: v.detach().clone().contiguous() for k, v in state.items()}
    common.save_atomic(state, stem.with_suffix(".pt"))
    common.save_tensors(state, stem.with_suffix(".safetensors"))


def load_clip(checkpoint: Path) -> clip_model.CLIP | None:
    saved = common.load(checkpoint)
    if saved is None:
        return None
    known = {k: v for k, v in saved["config"].items() if k in clip_model.Config.__dataclass_fields__}
    model = clip_model.CLIP(clip_model.Config(**known))
    model.load_state_dict(saved["average"])
    return model.eval()


def load_identity(checkpoint: Path) -> identity_model.Backbone | None:
    saved = common.load(checkpoint)
    if saved is None:
        return None
    known = {k: v for k, v in saved["config"].items() if k in identity_model.Config.__dataclass_fields__}
    model = identity_model.Backbone(identity_model.Config(**known))
    model.load_state_dict(saved["average"])
    return model.eval()


def load_judge(checkpoint: Path) -> train_judge.Judge | None:
    saved = common.load(checkpoint)
    if saved is None:
        return None
    model = train_judge.Judge()
    model.load_state_dict(saved["average"])
    return model.eval()


def export_clip(checkpoint: Path, out: Path, name: str) -> None:
    model = load_clip(checkpoint)
    if model is None:
        return
    write_state(model.state_dict(), out / name)
    common.save_json({**model.config.as_json(), "logit_scale_exp": model.logit_scale.exp().item()},
                     out / f"{name}.json")
    tokenizer = Tokenizer(out / "tokenizer.json")
    ids = torch.zeros(len(TEXTS), model.config.context_length, dtype=torch.long)
    for i, text in enumerate(TEXTS):
        row = tokenizer.encode(text, model.config.context_length)
        ids[i, : len(row)] = torch.tensor(row)
    x = pictures()
    np.savez(out / f"{name}-vectors.npz", images=x.numpy(), pixel_values=model.normalise(x).numpy(),
             image_features=model.encode_image(x).numpy(), ids=ids.numpy(),
             text_features=model.encode_text(ids).numpy())


@torch.no_grad()
def main() -> None:
    arg = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    arg.add_argument("--checkpoints", type=Path, default=Path("build/world/ckpt"))
    arg.add_argument("--out", type=Path, default=Path("build/world/export"))
    opt = arg.parse_args()
    torch.set_num_threads(1)
    if (opt.out / "generator.pt").exists():
        reference_model.write_vectors(opt.out / "generator.pt", opt.out / "generator-vectors.npz")
    export_clip(opt.checkpoints / "clip.pt", opt.out, "clip")
    export_clip(opt.checkpoints / "clip-judge.pt", opt.out, "clip-judge")
    x = pictures()
    if identity := load_identity(opt.checkpoints / "identity.pt"):
        write_state(identity.state_dict(), opt.out / "identity")
        common.save_json(identity.config.as_json(), opt.out / "identity.json")
        np.savez(opt.out / "identity-vectors.npz", images=x.numpy(), embedding=identity(x).numpy())
    if judge := load_judge(opt.checkpoints / "judge.pt"):
        scripted = torch.jit.script(judge)
        scripted.save(str(opt.out / "judge.pt"))
        np.savez(opt.out / "judge-vectors.npz", images=x.numpy(), factors=judge(x).numpy())
    common.save_json({"factors": list(fx.FACTORS), "identity": list(fx.IDENTITY), "presence": list(fx.PRESENCE),
                      "presence_band": list(fx.PRESENCE_BAND), "correlated": {"pair": list(fx.CORRELATED_PAIR),
                                                                              "rho": fx.CORRELATION},
                      "names": {"fur": fx.FUR_NAMES, "eye_colour": fx.EYE_NAMES, "background": fx.BACKGROUND_NAMES},
                      "projection": fx.projection().tolist()}, opt.out / "factors.json")
    for path in sorted(opt.out.iterdir()):
        print(f"{path.stat().st_size:>10} {path.name}")


if __name__ == "__main__":
    main()
