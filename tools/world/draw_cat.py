"""One drawn cat as a PNG: what examples/my-cat.png was made with. Or a litter of held-out ones, in rows of eight.

    python draw_cat.py FILE.png [--size 256] [factor=value …]
    python draw_cat.py FILE.png --size 64 --litter 32 --seed 555002

Factors that are not given are 0.5, those that are something to wear or a tongue are 0. The example:

    python draw_cat.py ../../examples/my-cat.png fur=0.5 shade=0.62 stripes=0.85 eye_colour=0.66 eye_size=0.45 \\
        mouth=0.55 face_width=0.6 background=0.3

The litter of `npm run bench -- inversion` is the second command's. No training has seen that seed.
"""

from __future__ import annotations

import argparse

import torch
from factors import FACTORS, INDEX, PRESENCE, from_z, sample_z
from PIL import Image
from render import grid, render, to_uint8


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("file")
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--litter", type=int, default=0, help="so many random cats")
    parser.add_argument("--seed", type=int, default=555_002)
    parser.add_argument("values", nargs="*")
    args = parser.parse_args()
    if args.litter:
        cats = render(from_z(sample_z(args.litter, args.seed)), args.size)
        Image.fromarray(grid(cats, columns=8, scale=1)).save(args.file, optimize=True)
        return
    factors = torch.full((1, len(FACTORS)), 0.5)
    for name in PRESENCE:
        factors[0, INDEX[name]] = 0
    for pair in args.values:
        name, value = pair.split("=")
        factors[0, INDEX[name]] = float(value)
    Image.fromarray(to_uint8(render(factors, args.size))[0].transpose(1, 2, 0)).save(args.file, optimize=True)


if __name__ == "__main__":
    main()
