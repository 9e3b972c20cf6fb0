"""One drawn cat as a PNG: what examples/my-cat.png was made with.

    python draw_cat.py FILE.png [--size 256] [factor=value …]

Factors that are not given are 0.5, those that are something to wear or a tongue are 0. The example:

    python draw_cat.py ../../examples/my-cat.png fur=0.5 shade=0.62 stripes=0.85 eye_colour=0.66 eye_size=0.45 \\
        mouth=0.55 face_width=0.6 background=0.3
"""

from __future__ import annotations

import argparse

import torch
from factors import FACTORS, INDEX, PRESENCE
from PIL import Image
from render import render, to_uint8


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("file")
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("values", nargs="*")
    args = parser.parse_args()
    factors = torch.full((1, len(FACTORS)), 0.5)
    for name in PRESENCE:
        factors[0, INDEX[name]] = 0
    for pair in args.values:
        name, value = pair.split("=")
        factors[0, INDEX[name]] = float(value)
    Image.fromarray(to_uint8(render(factors, args.size))[0].transpose(1, 2, 0)).save(args.file, optimize=True)


if __name__ == "__main__":
    main()
