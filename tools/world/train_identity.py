"""Trains the identity network: the same cat in another mood, pose, dress or room should embed alike.

Identities are rows of the seven identity factors; each is drawn several times with everything else at random.  ArcFace
loss against centres that are the mean of an identity's other views in the batch (centres that are parameters, one of
1,500 identities each, need more passes than a CPU has time for); held out are identities never seen: AUC of the cosine, same cat against another.  A
linear read-out of the seven factors (thrown away afterwards) goes before, for `--read-first` minutes, and along.

    python train_identity.py --checkpoint build/world/ckpt/identity.pt --minutes 12
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
import torch.nn.functional as F

import common
import factors as fx
import render
from augment import augment
from identity_model import Backbone, Config
from zero_shot import area

HELD_OUT_SEED = 636_363


def litter(identities: int, views: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """uint8 pictures [identities * views, ...] and factors; rows of one identity lie together."""
    gen = torch.Generator().manual_seed(seed)
    f = torch.rand(identities, 1, fx.COUNT, generator=gen).repeat(1, views, 1)
    mood = [i for name, i in fx.INDEX.items() if name not in fx.IDENTITY]
    f[:, :, mood] = torch.rand(identities, views, len(mood), generator=gen)
    f = f.view(-1, fx.COUNT)
    pictures = torch.cat([torch.from_numpy(render.to_uint8(render.render(part))) for part in f.split(25)])
    return pictures, f


@torch.no_grad()
def evaluate(model: Backbone, pictures: torch.Tensor, views: int, seed: int = 8) -> float:
    """AUC over all same-cat pairs against as many pairs of different cats."""
    was = model.training
    model.eval()
    e = torch.cat([model(common.to_float(part)) for part in pictures.split(100)])
    model.train(was)
    e = e.view(-1, views, e.shape[1])
    same = torch.einsum("ivd,iwd->ivw", e, e)[:, *torch.triu_indices(views, views, 1)].flatten()
    gen = torch.Generator().manual_seed(seed)
    n = len(e)
    a = torch.randint(n, (len(same),), generator=gen)
    b = (a + torch.randint(1, n, (len(same),), generator=gen)) % n
    other = (e[a, 0] * e[b, 1]).sum(1)
    score = torch.cat([same, other])
    is_same = torch.arange(len(score)) < len(same)
    return area(score, is_same, ~is_same)


def arcface(embedding: torch.Tensor, views: int, margin: float, scale: float) -> torch.Tensor:
    """Rows of one identity lie together, `views` of each; a row's own centre leaves the row itself out."""
    n = len(embedding) // views
    groups = embedding.view(n, views, -1)
    total = groups.sum(1)
    own_centre = F.normalize(total[:, None] - groups, dim=2).flatten(0, 1)
    cos = embedding @ F.normalize(total, dim=1).T
    own = (embedding * own_centre).sum(1, keepdim=True).clamp(-0.9999, 0.9999)
    label = torch.arange(n).repeat_interleave(views)
    with_margin = torch.cos(torch.acos(own) + margin)
    return F.cross_entropy(scale * cos.scatter(1, label[:, None], with_margin), label)


def main() -> None:
    arg = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    arg.add_argument("--litter", type=Path, default=Path("build/world/litter.pt"), help="cache of the drawn cats")
    arg.add_argument("--checkpoint", type=Path, default=Path("build/world/ckpt/identity.pt"))
    arg.add_argument("--minutes", type=float, default=12)
    arg.add_argument("--read-first", type=float, default=3, help="minutes of the read-out alone")
    arg.add_argument("--identities", type=int, default=1500)
    arg.add_argument("--views", type=int, default=14)
    arg.add_argument("--batch", type=int, default=128)
    arg.add_argument("--of-each", type=int, default=4, help="views of an identity in a batch")
    arg.add_argument("--rate", type=float, default=3e-3)
    arg.add_argument("--seed", type=int, default=41)
    opt = arg.parse_args()
    common.setup(opt.seed)
    if not opt.litter.exists():
        pictures, f = litter(opt.identities, opt.views, opt.seed)
        common.save_atomic({"pictures": pictures, "factors": f}, opt.litter)
    cats = common.load(opt.litter)
    pictures, traits = cats["pictures"], fx.seen(cats["factors"])[:, [fx.INDEX[name] for name in fx.IDENTITY]]
    held, _ = litter(100, 6, HELD_OUT_SEED)

    model = Backbone(Config()).to(memory_format=torch.channels_last)
    read_out = torch.nn.Linear(model.config.embed_dim, len(fx.IDENTITY))
    adam = torch.optim.AdamW([*model.parameters(), *read_out.parameters()], lr=opt.rate, betas=(0.9, 0.99), weight_decay=0.01,
                             fused=True)
    run = common.Run(opt.checkpoint, model, adam, opt.minutes, opt.rate,
                     lambda shown: f"held-out AUC {evaluate(shown, held, 6):.4f}",
                     {"read_out": read_out}, {"config": model.config.as_json()})
    while run.going():
        some = torch.randperm(opt.identities)[: opt.batch // opt.of_each]
        pick = torch.stack([torch.randperm(opt.views)[: opt.of_each] for _ in some]) + some[:, None] * opt.views
        pick = pick.flatten()
        x = augment(common.to_float(pictures[pick]), 0.7)
        with torch.autocast("cpu", torch.bfloat16):
            embedding = model(x)
        embedding = embedding.float()
        told = read_out(F.layer_norm(embedding, embedding.shape[1:]))
        loss = known = 20 * (told - traits[pick]).square().mean()
        if run.clock.elapsed >= 60 * opt.read_first:
            # The margin grows slowly: cats differ less than people do.
            loss = loss + arcface(embedding, opt.of_each, 0.2 * run.clock.progress, 24.0)
        run.step(loss, f"read-out {known.item():.3f}")
    run.save()


if __name__ == "__main__":
    main()
