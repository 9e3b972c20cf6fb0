"""The seventeen factors of the cats' world, and how a latent z decides them.

Everything else in this folder (renderer, captions, trainers, quality report) speaks of a cat as one row of
seventeen numbers in [0, 1].  The order below is the order of the columns everywhere, in files too.

A generator's z becomes factors through a fixed projection: f = Phi(P @ normalise(z)), Phi the normal CDF, so each
factor is uniform and, P's rows being orthonormal, independent of the others: all but one pair.  `bow_tie` is
correlated with `hat` on purpose (CORRELATION, before Phi), to see which methods tell the two apart.
"""

from __future__ import annotations

import math

import torch

FACTORS: tuple[str, ...] = (
    "fur",  # black, brown, ginger, white, grey: blending from each to the next
    "shade",  # dark to light
    "stripes",  # plain to tabby
    "eye_colour",  # copper, yellow, green, blue
    "eye_size",
    "eye_open",  # sleepy to wide open
    "pupil",  # slit to round
    "mouth",  # frown to smile
    "tongue",  # presence
    "ear_size",
    "face_width",
    "muzzle",  # size of the light patch
    "tilt",  # leaning left to leaning right
    "background",  # blue, green, yellow, pink, purple: no wrap-around
    "glasses",  # presence
    "hat",  # presence
    "bow_tie",  # presence
)
INDEX: dict[str, int] = {name: i for i, name in enumerate(FACTORS)}
COUNT = len(FACTORS)

#: What belongs to the cat itself; the rest is mood, pose, clothing and background.
IDENTITY: tuple[str, ...] = ("fur", "shade", "stripes", "eye_colour", "ear_size", "face_width", "muzzle")
PRESENCE: tuple[str, ...] = ("tongue", "glasses", "hat", "bow_tie")
#: A presence factor fades in between these two values.
PRESENCE_BAND = (0.47, 0.53)

CORRELATED_PAIR = ("hat", "bow_tie")
CORRELATION = 0.6

FUR_NAMES = ("black", "brown", "ginger", "white", "grey")
EYE_NAMES = ("copper", "yellow", "green", "blue")
BACKGROUND_NAMES = ("blue", "green", "yellow", "pink", "purple")

Z_DIM = 128
PROJECTION_SEED = 20211


def projection(z_dim: int = Z_DIM, seed: int = PROJECTION_SEED) -> torch.Tensor:
    """P [17, z_dim]: orthonormal rows, but for the one correlated pair (unit rows all the same)."""
    gen = torch.Generator().manual_seed(seed)
    q, _ = torch.linalg.qr(torch.randn(z_dim, COUNT, generator=gen, dtype=torch.float64))
    p = q.T.contiguous()
    first, second = (INDEX[name] for name in CORRELATED_PAIR)
    p[second] = CORRELATION * p[first] + math.sqrt(1 - CORRELATION**2) * p[second]
    return p.float()


def normalise_z(z: torch.Tensor) -> torch.Tensor:
    return z * torch.rsqrt(z.square().mean(dim=1, keepdim=True) + 1e-8)


def from_z(z: torch.Tensor, p: torch.Tensor | None = None) -> torch.Tensor:
    """z [n, 128] -> factors [n, 17] in [0, 1]."""
    p = projection(z.shape[1]) if p is None else p
    return 0.5 * (1 + torch.erf(normalise_z(z) @ p.T / math.sqrt(2)))


def presence(f: torch.Tensor) -> torch.Tensor:
    """How much of a presence factor's thing is drawn: 0, 1, or a little between inside the band."""
    low, high = PRESENCE_BAND
    t = ((f - low) / (high - low)).clamp(0, 1)
    return t * t * (3 - 2 * t)


def stripiness(f: torch.Tensor) -> torch.Tensor:
    """How strongly the stripes are drawn: not at all up to 0.25, fully from 0.75 on."""
    return ((f - 0.25) / 0.5).clamp(0, 1)


def seen(f: torch.Tensor) -> torch.Tensor:
    """The factors with every presence factor, and stripes, replaced by how much is drawn: all that a picture shows."""
    f = f.clone()
    f[:, INDEX["stripes"]] = stripiness(f[:, INDEX["stripes"]])
    for name in PRESENCE:
        f[:, INDEX[name]] = presence(f[:, INDEX[name]])
    return f


PALETTES: dict[str, tuple[str, ...]] = {"fur": FUR_NAMES, "eye_colour": EYE_NAMES, "background": BACKGROUND_NAMES}


def described(f: torch.Tensor) -> torch.Tensor:
    """What a picture shows, colours apart: `seen` with each colour factor replaced by how near it is to each of its
    named colours (1 at the colour, 0 from the next one on).  A colour between two others is then no mean of them."""
    shown = seen(f)
    parts = [shown[:, [i for name, i in INDEX.items() if name not in PALETTES]]]
    for name, names in PALETTES.items():
        at = f[:, INDEX[name], None] * (len(names) - 1)
        parts.append((1 - (at - torch.arange(len(names))).abs()).clamp(min=0))
    return torch.cat(parts, 1)


DESCRIBED = COUNT - len(PALETTES) + sum(map(len, PALETTES.values()))


def sample_z(n: int, seed: int) -> torch.Tensor:
    return torch.randn(n, Z_DIM, generator=torch.Generator().manual_seed(seed))


def to_z(f: torch.Tensor, seed: int = 0, p: torch.Tensor | None = None) -> torch.Tensor:
    """Some z [n, 128] whose factors are f (as long as f is not too extreme to fit on the sphere)."""
    p = projection() if p is None else p
    c = math.sqrt(2) * torch.erfinv(f.clamp(0.003, 0.997) * 2 - 1)
    inside = c @ torch.linalg.pinv(p).T
    return inside + beside(sample_z(f.shape[0], seed), inside, p)


def beside(noise: torch.Tensor, inside: torch.Tensor, p: torch.Tensor) -> torch.Tensor:
    """The noise's part outside P's span, scaled so that inside + it has the normalised length sqrt(128)."""
    q, _ = torch.linalg.qr(p.T)
    out = noise - (noise @ q) @ q.T
    room = (p.shape[1] - inside.square().sum(1, keepdim=True)).clamp(min=0.1)
    return out * (room / out.square().sum(1, keepdim=True)).sqrt()
