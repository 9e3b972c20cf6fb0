"""Measures the exported models on held-out cats and writes quality.json and the model card.

Everything is measured on drawn cats and on the generator's own pictures, none of them used in training.  The figures
say something about cats drawn by render.py, nothing about photographs.

    python quality.py --checkpoints build/world/ckpt --export build/world/export
    python quality.py --card ../../models/cats          # the card alone, where encoder.md or history.md has changed
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import torch

import common
import export
import factors as fx
import render
import stylegan
import train_identity
import train_judge
import zero_shot
from tokenizer import Tokenizer

SEED = 555_001
MACHINE = "2 cores with AVX-512 and bfloat16 instructions (no AMX), no GPU, shared with other work all the time"


# How the encoder was trained, and how good it is: the package's own commands tell, so quality.py only quotes.
ENCODER = (Path(__file__).parent / "encoder.md").read_text(encoding="utf-8")
ENCODER_TRAINING, ENCODER_RESULTS = (part.strip().splitlines() for part in ENCODER.split("\n---\n"))
HISTORY = (Path(__file__).parent / "history.md").read_text(encoding="utf-8").splitlines()


def picture_errors(made: torch.Tensor, truth: torch.Tensor) -> dict[str, float]:
    return {"mean_absolute_error": (made - truth).abs().mean().item(),
            "root_mean_square_error": (made - truth).square().mean().sqrt().item()}


def minutes(checkpoint: Path) -> dict[str, float] | None:
    saved = common.load(checkpoint)
    return saved and {"steps": saved["step"], "minutes": round(saved["elapsed"] / 60, 1)}


@torch.no_grad()
def measure(checkpoints: Path, folder: Path, n: int) -> dict:
    f = fx.from_z(z := fx.sample_z(n, SEED))
    truth = torch.cat([render.render(part) for part in f.split(64)])
    generator = stylegan.from_rosinality(torch.load(folder / "generator.pt", weights_only=True)["g_ema"])
    made = torch.cat([generator(part) for part in z.split(32)])
    result: dict = {"machine": MACHINE, "held_out": n, "generator": picture_errors(made, truth)}
    tokenizer = Tokenizer(folder / "tokenizer.json")
    for name in ("clip", "clip-judge"):
        if model := export.load_clip(checkpoints / f"{name}.pt"):
            result[name] = {"drawn": zero_shot.evaluate(model, tokenizer, truth, f),
                            "generated": zero_shot.evaluate(model, tokenizer, made, f),
                            "parameters": sum(p.numel() for p in model.parameters())}
    if identity := export.load_identity(checkpoints / "identity.pt"):
        cats, rows = train_identity.litter(150, 6, train_identity.HELD_OUT_SEED + 1)
        again = torch.cat([generator(part) for part in fx.to_z(rows, 12).split(60)])
        again = torch.from_numpy(render.to_uint8(again))
        result["identity"] = {"auc_drawn": train_identity.evaluate(identity, cats, 6),
                              "auc_generated": train_identity.evaluate(identity, again, 6)}
    if judge := export.load_judge(checkpoints / "judge.pt"):
        result["judge"] = {"r2_drawn": train_judge.r_squared(judge, truth, f),
                           "r2_generated": train_judge.r_squared(judge, made, f)}
    result["training"] = {p.stem: minutes(p) for p in sorted(checkpoints.glob("*.pt"))}
    return result


def table(result: dict) -> list[str]:
    columns: list[tuple[str, dict[str, float]]] = []
    if "judge" in result:
        columns += [("judge R², drawn", result["judge"]["r2_drawn"]),
                    ("judge R², generated", result["judge"]["r2_generated"])]
    for name in ("clip", "clip-judge"):
        if name in result:
            columns += [(f"{name} AUC, drawn", result[name]["drawn"]["auc"]),
                        (f"{name} AUC, generated", result[name]["generated"]["auc"])]
    lines = ["| factor | " + " | ".join(title for title, _ in columns) + " |", "|---" * (len(columns) + 1) + "|"]
    for name in fx.FACTORS:
        lines.append(f"| {name} | " + " | ".join(f"{values[name]:.3f}" for _, values in columns) + " |")
    return lines


def weak(result: dict, kind: str) -> str:
    low = [f"{k} {v:.2f}" for k, v in result["judge"][kind].items() if v < 0.9]
    return "below 0.9 are " + ", ".join(low) if low else "every factor at least 0.9"


def edits(result: dict) -> list[str]:
    """The edits at the settings that edits.py found; edits.mjs writes the package's own figures over its."""
    if "edits" not in result:
        return []
    e = result["edits"]
    lines = ["", "## Edits", "",
             "Global directions, each at a setting that a search on other cats found (`edits.py`, and `edits.mjs` for fur: enough"
             " of the", "factor, least of the others). The figures are the package's own (`node tools/world/edits.mjs`: a sweep over"
             f" {e['sweep_cats']} cats, the", f"ImageNet templates), read by the judge on {e['cats']} generated cats, those with room "
             "to move. Bar: one edit per factor moves it by", "at least 1 σ; `npm test` holds every factor to it.", "",
             "| edit (target / neutral) | factor | layers | relevance | channels | strength | moved (σ) | right way "
             "| judging CLIP agrees | others, mean (σ) | most moved other |", "|---" * 11 + "|"]
    for name, r in e["edits"].items():
        other, by = next(iter(r["most_moved_other"].items()))
        lines.append(f"| {r['target']} / {r.get('from', r['neutral'])} | {r['factor']} | {r['layers']} | {r['measure']} | {r['channels']} "
                     f"| {r['strength']:.1f} | {r['moved_sigma']:.2f} | {r['share_right_way']:.0%} "
                     f"| {r.get('judging_clip_agrees', float('nan')):.0%} "
                     f"| {r['others_mean_sigma']:.2f} | {other} {by:+.2f} |")
    return lines


def card(result: dict) -> str:
    g = result["generator"]
    lines = [
        "# Model card: the cats", "",
        "Small models of real architectures, trained on drawn cats whose seventeen factors are known. They are for the",
        "package's default demonstration, its tests and small benchmarks; they say nothing about photographs.", "",
        f"- **Machine**: {result['machine']}.",
        "- **Data**: 48,000 drawn cats of 64 px (`render.py`, seed 1), captions from a grammar (`captions.py`), 21,000",
        "  pictures of 1,500 cats for identity (seed 41), and the generator's own pictures, plain and perturbed",
        "  (`generated.py`, seed 71), for the last part of CLIP's and the judge's training. No photograph, no other model.",
        "- **Seeds**: generator 11, CLIP 21 (judging CLIP 31), identity 41, judge 51. Training is by wall-clock time, so a",
        "  repetition gives models as good, not the same numbers.",
        f"- **Measured** on {result['held_out']} held-out cats (seed {SEED}), drawn and generated.", "",
        "## Training", "", *HISTORY, "", "| checkpoint | steps | minutes |", "|---|---|---|",
        *(f"| {k} | {v['steps']} | {v['minutes']:.1f} |" for k, v in result["training"].items() if v), "",
        *ENCODER_TRAINING, "", "## Results", "", *ENCODER_RESULTS, "",
        f"- Generator against the renderer, scale [-1, 1]: mean absolute error {g['mean_absolute_error']:.4f}"
        f" (bar 0.03), root mean square {g['root_mean_square_error']:.4f}.",
    ]
    for name, what in (("clip", "CLIP (the methods')"), ("clip-judge", "CLIP (judging)")):
        if name in result:
            r = result[name]
            means = [sum(r[k]["auc"].values()) / fx.COUNT for k in ("drawn", "generated")]
            lines.append(f"- {what}: right one of 32 complete captions {r['drawn']['of_32']:.1%} drawn, "
                         f"{r['generated']['of_32']:.1%} generated (bar 90 %); mean zero-shot AUC {means[0]:.3f} drawn, "
                         f"{means[1]:.3f} generated (bar 0.95 per factor).")
    if "identity" in result:
        i = result["identity"]
        lines.append(f"- Identity, same cat against another: AUC {i['auc_drawn']:.4f} drawn, "
                     f"{i['auc_generated']:.4f} generated (bar 0.98).")
    if "judge" in result:
        lines.append("- Judge, R² against the factors a picture was drawn from: " + weak(result, "r2_drawn") + " on drawn "
                     "pictures, " + weak(result, "r2_generated") + " on the generator's (whose own faults count here).")
    lines += ["", *table(result), *edits(result), "", "## Limits", "",
              "- Fine lines (whiskers, slit pupils in small eyes) are softer in generated pictures than in drawn ones.",
              f"- `{fx.CORRELATED_PAIR[0]}` and `{fx.CORRELATED_PAIR[1]}` are correlated on purpose"
              f" (ρ = {fx.CORRELATION} before the normal CDF): asking for one may bring the other.",
              "- With almost closed eyes neither eye colour nor pupil can be seen; those cats are left out of both factors'",
              "  figures.",
              "- Presence factors (tongue, glasses, hat, bow tie) fade in between 0.47 and 0.53, stripes between 0.25 and 0.75;",
              "  the judge is taught, and measured by, what is drawn of them.",
              "- Colours live in the toRGB layers: without them (`layers: 'conv'`) they hardly move. Light fur brings the whole",
              "  picture along, and ginger, in the middle of its scale, moves least of all edits.",
              "- The CLIPs know the words of the grammar and the templates; another word is read as bytes and means little.",
              ""]
    return "\n".join(lines)


def main() -> None:
    arg = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    arg.add_argument("--checkpoints", type=Path, default=Path("build/world/ckpt"))
    arg.add_argument("--export", type=Path, default=Path("build/world/export"))
    arg.add_argument("--n", type=int, default=1024)
    arg.add_argument("--card", type=Path, help="write only MODEL_CARD.md anew, of this folder's quality.json")
    opt = arg.parse_args()
    if opt.card:
        known = json.loads((opt.card / "quality.json").read_text(encoding="utf-8"))
        (opt.card / "MODEL_CARD.md").write_text(card(known), encoding="utf-8")
        return
    torch.set_num_threads(1)
    result = measure(opt.checkpoints, opt.export, opt.n)
    if (found := opt.export / "edits.json").exists():
        result["edits"] = json.loads(found.read_text(encoding="utf-8"))
    common.save_json(result, opt.export / "quality.json")
    (opt.export / "MODEL_CARD.md").write_text(card(result), encoding="utf-8")
    print(card(result))


if __name__ == "__main__":
    main()
