"""Copying over T blanks with an orthogonal or a unitary recurrent matrix: it comes below the loss without memory, where an LSTM and a tanh
RNN do not.

    h_t = modReLU(x_t W_x + h_{t-1} W)     modReLU(a) = a / |a| max(|a| + b, 0)     W W^H = 1 at every step of the training

W is made of rotations at first, by angles from (-pi, pi): blocks of two over H real units, exp(i angle) over H / 2 complex ones, whose real
and imaginary parts are read.  It stays orthogonal, or unitary, by Cayley's map of what is trained (torch's parametrization); its rate is a
fifth of the others'.  A gradient keeps its norm through W, and modReLU, with b = 0 at first, is the
identity: what was seen T steps ago is there.  The best loss without memory is 10 ln 8 / (T + 20) a step (training/sequence_tasks.py);
solved: half of it.  All cells: Adam, gradients clipped by their global norm at 1, new sequences in every batch, in float32 of torch.

Sources   Arjovsky, Shah and Bengio 2016, arXiv:1511.06464 (the task; unitary matrices; modReLU); Henaff, Szlam and LeCun 2016,
          arXiv:1602.06662 (rotations as a start); Lezcano-Casado and Martinez-Rubio 2019, arXiv:1901.08428 (orthogonal by a map, a smaller
          rate for it).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from bptt.harness.experiments.engine.definition import Definition, Point, Settings, Values, claim
from bptt.harness.experiments.engine.outcomes import iterations, share, solved_at
from bptt.harness.experiments.engine.reading import real, reals, text, whole
from bptt.harness.experiments.engine.replicas import of_each
from bptt.harness.experiments.training.sequence_tasks import SYMBOLS, copying, copying_baseline
from bptt.reports.records import Claim, Experiment, Series, Table

SOURCE = "Arjovsky, Shah and Bengio 2016, arXiv:1511.06464, section 5.1"
KEEPING = ("orthogonal", "unitary")
CELLS = (*KEEPING, "LSTM", "tanh")
#: Of a cell's rate, the share for W; and the share of `lr` for each cell: at more of it tanh saturates, and its loss goes up.
SLOWER, RATES = 0.2, {"orthogonal": 0.5, "unitary": 0.5, "LSTM": 1.0, "tanh": 0.3}
#: Solved: at most this share of the loss without memory.  Nothing is remembered while it is above all but a tenth of it: each of the ten
#: symbols that is known takes a tenth away.
SOLVED, ONE_SYMBOL = 0.5, 0.1


def point(settings: Settings) -> Values:
    import torch

    cell, T, N, every = text(settings, "cell_name"), whole(settings, "T"), whole(settings, "N"), whole(settings, "every")
    rng, lr = np.random.default_rng([16, whole(settings, "seed")]), RATES[cell] * real(settings, "lr")
    net = network(cell, whole(settings, "H"), rng)
    slow = [p for name, p in net.named_parameters() if name.startswith("W.")]
    rest = [p for name, p in net.named_parameters() if not name.startswith("W.")]
    adam = torch.optim.Adam([{"params": rest, "lr": lr}, *([{"params": slow, "lr": SLOWER * lr}] if slow else [])])
    losses, some, solved = list[float](), list[float](), None
    for k in range(1, whole(settings, "cap") + 1):
        batch = copying(rng, T, N)
        scores = net(torch.from_numpy(batch.inputs.astype(np.float32)))
        loss = torch.nn.functional.cross_entropy(scores.flatten(0, 1), torch.from_numpy(batch.targets).flatten())
        adam.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]  # torch's
        torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        adam.step()
        some.append(loss.item())
        if k % every == 0:
            losses.append(float(np.mean(some)))
            some.clear()
            if losses[-1] <= SOLVED * copying_baseline(T):
                solved = k
                break
    return {"losses": losses, "solved": solved, "isometry": isometry(net) if cell in KEEPING else 0.0}


def isometry(net: Any) -> float:
    """The largest entry of |W W^H - 1|."""
    import torch

    with torch.no_grad():
        W = net.W.weight.to(torch.complex128)
        return float((W @ W.mH - torch.eye(len(W))).abs().max())


def network(cell: str, H: int, rng: np.random.Generator) -> Any:
    """A torch module, (T, N, 10) -> scores (T, N, 9), drawn from `rng`."""
    import torch

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int(rng.integers(2**31)))
        return _norm_preserving(H, cell == "unitary") if cell in KEEPING else _of_torch(cell, H)


def _of_torch(cell: str, H: int) -> Any:
    import torch

    class Net(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.cell = (torch.nn.LSTM if cell == "LSTM" else torch.nn.RNN)(SYMBOLS + 2, H)
            self.out = torch.nn.Linear(H, SYMBOLS + 1)

        def forward(self, x: Any) -> Any:
            return self.out(self.cell(x)[0])

    return Net()


def _norm_preserving(H: int, unitary: bool) -> Any:
    """W orthogonal over H real units, or unitary over H / 2 complex ones, whose real and imaginary parts are read."""
    import torch

    units, dtype = (H // 2, torch.complex64) if unitary else (H, torch.float32)

    class Net(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.W_x = torch.nn.Linear(SYMBOLS + 2, units, bias=False, dtype=dtype)
            torch.nn.init.kaiming_normal_(self.W_x.weight)
            self.W = torch.nn.Linear(units, units, bias=False, dtype=dtype)
            angles = (torch.rand(H // 2) * 2 - 1) * math.pi
            with torch.no_grad():
                self.W.weight.copy_(torch.diag(torch.polar(torch.ones_like(angles), angles)) if unitary else rotations(angles))
            torch.nn.utils.parametrizations.orthogonal(self.W, orthogonal_map="cayley")
            self.b = torch.nn.Parameter(torch.zeros(units))
            self.out = torch.nn.Linear(H, SYMBOLS + 1)

        def forward(self, x: Any) -> Any:
            x = x.to(dtype)
            W, h, hs = self.W.weight, x.new_zeros(x.shape[1], units), []
            for a in self.W_x(x):
                h = modrelu(a + h @ W, self.b)
                hs.append(h)
            read = torch.view_as_real(torch.stack(hs)).flatten(-2) if unitary else torch.stack(hs)
            return self.out(read)

    return Net()


def rotations(angles: Any) -> Any:
    """A block for each angle: cos, sin; -sin, cos.   (n,) -> (2n, 2n)"""
    import torch

    blocks = (torch.stack([torch.stack([a.cos(), a.sin()]), torch.stack([-a.sin(), a.cos()])]) for a in angles)
    return torch.block_diag(*blocks)  # type: ignore[no-untyped-call]  # torch's


def modrelu(a: Any, b: Any) -> Any:
    """sgn(a) max(|a| + b, 0), sgn(a) = a / |a|"""
    import torch

    return torch.sgn(a) * torch.relu(a.abs() + b)


def gather(points: Sequence[Point]) -> Experiment:
    groups = {str(name): some for name, some in of_each(points, "cell_name").items()}
    T = whole(points[0].settings, "T")
    baseline = copying_baseline(T)
    return Experiment(
        "orthogonal_copying",
        None,
        tuple(_curve(name, some, baseline) for name, some in groups.items()),
        words=_words(groups, T),
        claims=tuple(c for name, some in groups.items() for c in _claims(name, some, baseline)),
        tables=(_table(groups, baseline),),
    )


def _claims(name: str, points: Sequence[Point], baseline: float) -> list[Claim]:
    lowest = [min(reals(p.values, "losses")) / baseline for p in points]
    if name not in KEEPING:
        at = f"{name}: lowest loss over that without memory, least of {len(points)} seeds"
        return [claim(at, min(lowest), 1.0, ONE_SYMBOL, comparison="at least", source=SOURCE)]
    of_seeds = f"{name}: loss over that without memory at the end, largest of {len(points)} seeds"
    worst = max(reals(p.values, "losses")[-1] / baseline for p in points)
    off = max(real(p.values, "isometry") for p in points)
    H = whole(points[0].settings, "H")
    return [
        claim(of_seeds, worst, SOLVED, comparison="at most", source=SOURCE),
        claim(f"{name}: |W W^H - 1| after the training", off, 0.0, H * float(np.finfo(np.float32).eps), source="rounding in float32"),
    ]


def _curve(name: str, points: Sequence[Point], baseline: float) -> Series:
    """The loss of training, mean over seeds; one that has ended stays at its last."""
    longest = max(len(reals(p.values, "losses")) for p in points)
    each = [reals(p.values, "losses") for p in points]
    y = np.mean([[*losses, *[losses[-1]] * (longest - len(losses))] for losses in each], axis=0)
    x = tuple(float(whole(points[0].settings, "every") * (k + 1)) for k in range(longest))
    return Series(name, "iteration", "loss", x, tuple(map(float, y)), (baseline,) * longest, source="10 ln 8 / (T + 20)", log_y=True)


def _table(groups: dict[str, list[Point]], baseline: float) -> Table:
    rows = []
    for name, some in groups.items():
        solved = solved_at(some)
        count = sum(k is not None for k in solved)
        last = float(np.mean([reals(p.values, "losses")[-1] for p in some]))
        of = (f"{count} of {len(some)}", share(count, len(some)), iterations(solved, whole(some[0].settings, "cap")))
        rows.append((name, *of, last, last / baseline))
    s = next(iter(groups.values()))[0].settings
    note = ", ".join(f"{key} = {s[key]}" for key in ("T", "H", "N", "lr", "cap")) + "; intervals of 95 %"
    columns = ("cell", "half of it reached", "share", "iterations of those", "loss at the end", "over that without memory")
    return Table(f"Copying: without memory {baseline:.5f}", columns, tuple(rows), note)


def _words(groups: dict[str, list[Point]], T: int) -> str:
    said = []
    for name, some in groups.items():
        solved = [k for k in solved_at(some) if k is not None]
        last = float(np.mean([reals(p.values, "losses")[-1] for p in some])) / copying_baseline(T)
        at = f"after {np.exp(np.mean(np.log(solved))):.0f} iterations" if len(solved) == len(some) else "at the end"
        said.append(f"{name} is at {last:.2f} of the loss without memory {at}")
    return f"Copying over {T} blanks: " + "; ".join(said)


DEFINITION = Definition(
    name="orthogonal_copying",
    question="Do orthogonal and unitary matrices carry ten symbols over a hundred blanks, where an LSTM and a tanh RNN remember nothing?",
    source=f"{SOURCE}; Henaff et al. 2016; Lezcano-Casado and Martinez-Rubio 2019",
    settings={"cell_name": CELLS, "T": 100, "H": 64, "N": 10, "lr": 1e-2, "cap": 350, "every": 10, "seed": (0,)},
    point=point,
    gather=gather,
    quick={"T": 30, "H": 48, "cap": 250, "seed": (0, 1)},
    full={"T": 200, "H": 128, "cap": 2000, "seed": (0, 1, 2, 3, 4)},
)
