"""Handwritten digits, read pixel by pixel, by an IRNN and by a tanh RNN of the same budget.

scikit-learn ships 1,797 images of 8 x 8 pixels (Alpaydin and Kaynak 1998, UCI): 64 steps of one number from 0 to 1, then one of ten
classes.
A fifth of the images is kept for the test, the same ones in every seed.  Adam, gradients clipped by their global norm at 1.

    IRNN    relu, W = 1, b = 0, W_x from N(0, .3^2)            tanh    all from (-1/sqrt(H), 1/sqrt(H)), as torch draws it

Chance, with no pixel read, is to say the class that is most frequent; the number of right answers of the test is binomial then.  Each start
is judged against that.  Which of the two is ahead is shown and not judged: that tanh stays behind is published for 784 steps, MNIST, and at
64 steps it does not.

Source    Le, Jaitly and Hinton 2015, arXiv:1504.00941, section 4.2.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from importlib.util import find_spec
from typing import Any

import numpy as np

from bptt.harness.experiments.engine.definition import Definition, Point, Settings, Values, claim
from bptt.harness.experiments.engine.estimates import mean, sigmas
from bptt.harness.experiments.engine.reading import real, reals, text, whole
from bptt.harness.experiments.engine.replicas import of_each
from bptt.harness.subject import Array
from bptt.reports.records import Claim, Experiment, Interval, Series, Table

SOURCE = "Le, Jaitly and Hinton 2015, arXiv:1504.00941"
INSTALL = "scikit-learn is not installed: pip install 'bptt[digits]'"
STARTS = ("IRNN", "tanh")
CLASSES = 10
#: Every so many images one is kept for the test.
KEPT = 5


def point(settings: Settings) -> Values:
    if find_spec("sklearn") is None:
        return {"why": INSTALL}
    xs, ks = images()
    test = np.arange(len(ks)) % KEPT == 0
    chance = float(np.max(np.bincount(ks[test])) / test.sum())
    shares = trained(settings, xs[:, ~test], ks[~test], xs[:, test], ks[test])
    return {"right": shares, "chance": chance, "images": int(test.sum())}


def images() -> tuple[Array, Array]:
    """xs (64, n, 1), float32 from 0 to 1, row by row;   classes (n,)"""
    from sklearn.datasets import load_digits  # type: ignore[import-not-found, import-untyped, unused-ignore]  # an extra

    found = load_digits()
    return (found.data / 16).astype(np.float32).T[:, :, None], np.asarray(found.target)


def trained(settings: Settings, xs: Array, ks: Array, test_xs: Array, test_ks: Array) -> list[float]:
    """The share of right answers of the test after each epoch."""
    import torch

    rng, N = np.random.default_rng([17, whole(settings, "seed")]), whole(settings, "N")
    recurrent, out = network(text(settings, "start"), whole(settings, "H"), rng)
    params = [*recurrent.parameters(), *out.parameters()]
    adam = torch.optim.Adam(params, lr=real(settings, "lr"))
    shares = []
    for _ in range(whole(settings, "epochs")):
        for some in np.array_split(rng.permutation(len(ks)), len(ks) // N):
            scores = out(recurrent(torch.from_numpy(xs[:, some]))[0][-1])
            adam.zero_grad()
            torch.nn.functional.cross_entropy(scores, torch.from_numpy(ks[some])).backward()  # type: ignore[no-untyped-call]  # torch's
            torch.nn.utils.clip_grad_norm_(params, 1.0)
            adam.step()
        with torch.no_grad():
            said = out(recurrent(torch.from_numpy(test_xs))[0][-1]).argmax(1).numpy()
        shares.append(float(np.mean(said == test_ks)))
    return shares


def network(start: str, H: int, rng: np.random.Generator) -> tuple[Any, Any]:
    """A torch.nn.RNN and the affine map of its last state."""
    import torch

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int(rng.integers(2**31)))
        recurrent: Any = torch.nn.RNN(1, H, nonlinearity="relu" if start == "IRNN" else "tanh")
        out: Any = torch.nn.Linear(H, CLASSES)
        if start == "IRNN":
            with torch.no_grad():
                recurrent.weight_hh_l0.copy_(torch.eye(H))
                recurrent.weight_ih_l0.normal_(0, 0.3)
                for b in (recurrent.bias_ih_l0, recurrent.bias_hh_l0, out.bias):
                    b.zero_()
    return recurrent, out


def gather(points: Sequence[Point]) -> Experiment:
    known = [p for p in points if "right" in p.values]
    if not known:
        return Experiment("digits", None, (), words=INSTALL, unanswered=INSTALL)
    groups = {str(start): some for start, some in of_each(known, "start").items()}
    last = {start: [reals(p.values, "right")[-1] for p in some] for start, some in groups.items()}
    chance, n = real(known[0].values, "chance"), whole(known[0].values, "images")
    return Experiment(
        "digits",
        None,
        tuple(_curve(start, some, chance) for start, some in groups.items()),
        words=f"Right answers of {n} images: " + ", ".join(f"{start} {np.mean(shares):.0%}" for start, shares in last.items()),
        claims=tuple(_claims(last, chance, n)),
        tables=(_table(groups, last, chance),),
    )


def _claims(last: dict[str, list[float]], chance: float, n: int) -> list[Claim]:
    """Each is above chance by more than chance itself makes, in its worst seed."""
    found = []
    for start, shares in last.items():
        over = chance + sigmas(sum(map(len, last.values()))) * math.sqrt(chance * (1 - chance) / n)
        name, words = f"{start}: share that is right, least of {len(shares)} seeds", f"chance {chance:.3f}, and what it makes of {n} images"
        found.append(claim(name, min(shares), over, comparison="at least", source=SOURCE, words=words))
    if last.keys() >= {"IRNN", "tanh"}:
        ahead, words = (
            float(np.mean(last["IRNN"]) - np.mean(last["tanh"])),
            "published for 784 steps, where tanh stays behind; these are 64",
        )
        found.append(Claim("IRNN less tanh: mean share that is right", ahead, source=SOURCE, words=words))
    return found


def _curve(start: str, points: Sequence[Point], chance: float) -> Series:
    y = np.mean([reals(p.values, "right") for p in points], axis=0)
    x = tuple(float(k + 1) for k in range(len(y)))
    return Series(start, "epoch", "right answers (share)", x, tuple(map(float, y)), (chance,) * len(x), source="the most frequent class")


def _table(groups: dict[str, list[Point]], last: dict[str, list[float]], chance: float) -> Table:
    rows: list[tuple[str | float | Interval, ...]] = []
    for start, shares in last.items():
        rows.append((start, mean(shares).interval if len(shares) > 1 else shares[0], min(shares), max(shares)))
    s = next(iter(groups.values()))[0].settings
    note = ", ".join(f"{key} = {s[key]}" for key in ("H", "N", "lr", "epochs")) + f"; chance {chance:.3f}; intervals of 95 % over seeds"
    return Table("Digits, pixel by pixel", ("start", "right", "least", "most"), tuple(rows), note)


DEFINITION = Definition(
    name="digits",
    question="Do an RNN that starts as the identity and a tanh RNN learn digits from their pixels, one by one?",
    source=SOURCE,
    settings={"start": STARTS, "H": 64, "N": 32, "lr": 3e-3, "epochs": 8, "seed": (0, 1)},
    point=point,
    gather=gather,
    quick={"epochs": 4, "seed": (0, 1)},
    full={"H": 100, "lr": 1e-3, "epochs": 100, "seed": (0, 1, 2, 3, 4)},
)
