"""How often what rounding does in bfloat16 and float16 is called a mistake: right recurrences of torch, composed at random, in the
short type throughout or in float32 inside.

    python -m tests.scores.short [--cases 100] [--first 0]

Prints each case that is called wrong, and last a line of totals; exit code 1 where there was one.
"""

from __future__ import annotations

import argparse
import inspect
import sys
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from bptt.harness.adapters.functions.adapt import adapt
from bptt.harness.cases import Case, admissible
from bptt.harness.checks.operators.kept import shortened_at_each_step
from bptt.harness.checks.operators.short import wrong_in
from bptt.harness.errors import BpttError

#: What gates a state, and what is written into it.
GATES: dict[str, Callable[[Any], Any]] = {
    "sigmoid": torch.sigmoid,
    "exp of minus softplus": lambda x: torch.exp(-torch.nn.functional.softplus(x)),
    "half of one plus tanh": lambda x: 0.5 * (1 + torch.tanh(x)),
    "none": lambda x: torch.full_like(x, 0.9),
}
WRITTEN: dict[str, Callable[[Any], Any]] = {
    "as it is": lambda x: x,
    "tanh": torch.tanh,
    "silu": torch.nn.functional.silu,
    "gelu": torch.nn.functional.gelu,
}


def vector_recurrence(gate: Callable[[Any], Any], write: Callable[[Any], Any], tied: bool, out: Callable[[Any], Any]) -> Callable[..., Any]:
    def recurrence(f: torch.Tensor, i: torch.Tensor, z: torch.Tensor, h0: torch.Tensor) -> Any:
        h, hs = h0, []
        for t in range(f.shape[1]):
            F = gate(f[:, t])
            h = F * h + ((1 - F) if tied else gate(i[:, t])) * write(z[:, t])
            hs.append(out(h))
        return torch.stack(hs, 1) + 0 * i, h

    return recurrence


def tanh_recurrence(long: Callable[[Any], Any]) -> Callable[..., Any]:
    """The state is the output, and what is multiplied is short; `long` is where the activation is computed."""

    def recurrence(z: torch.Tensor, u: torch.Tensor, h0: torch.Tensor) -> Any:
        h, hs = h0, []
        for t in range(z.shape[1]):
            h = torch.tanh(long(z[:, t] + u[:, t] * h)).to(z.dtype)
            hs.append(h)
        return torch.stack(hs, 1), h

    return recurrence


def inside_long(recurrence: Callable[..., Any]) -> Callable[..., Any]:
    """The same, computed in float32 (or longer) and shortened where it is returned."""
    arguments = inspect.signature(recurrence)

    def lengthened(*given: Any, **named: Any) -> Any:
        bound = arguments.bind(*given, **named).arguments
        short = next(iter(bound.values())).dtype
        return tuple(r.to(short) for r in recurrence(**{k: v.float() for k, v in bound.items()}))

    lengthened.__signature__ = arguments  # type: ignore[attr-defined]  # what inspect reads
    return lengthened


def matrix_recurrence(gate: Callable[[Any], Any], write: Callable[[Any], Any], delta: bool) -> Callable[..., Any]:
    def recurrence(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, g: torch.Tensor, S0: torch.Tensor) -> Any:
        S, ys = S0, []
        for t in range(q.shape[1]):
            S = gate(g[:, t])[..., None, None] * S
            new = write(v[:, t])
            if delta:
                new = 0.5 * (new - (S * k[:, t, :, :, None]).sum(-2))
            S = S + k[:, t, :, :, None] * new[..., None, :]
            ys.append((S * q[:, t, :, :, None]).sum(-2))
        return torch.stack(ys, 1), S

    return recurrence


def composed(rng: np.random.Generator) -> tuple[Callable[..., Any], str]:
    gate, write, out = (str(rng.choice(list(names))) for names in (GATES, WRITTEN, WRITTEN))
    if rng.random() < 0.6:
        tied = bool(rng.random() < 0.5)
        return vector_recurrence(
            GATES[gate], WRITTEN[write], tied, WRITTEN[out]
        ), f"vector, gate {gate}, written {write}, tied {tied}, out {out}"
    if rng.random() < 0.3:
        return tanh_recurrence([lambda x: x, lambda x: x.float()][int(rng.random() < 0.5)]), "tanh"
    delta = bool(rng.random() < 0.5)
    return matrix_recurrence(GATES[gate], WRITTEN[write], delta), f"matrix, gate {gate}, written {write}, delta {delta}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", type=int, default=100)
    parser.add_argument("--first", type=int, default=0)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    wrong = tried = 0
    for seed in range(asked.first, asked.first + asked.cases):
        rng = np.random.default_rng([seed, 300])
        function, said = composed(rng)
        if rng.random() < 0.4:
            function, said = inside_long(function), f"{said}, computed in float32"
        try:
            subject = adapt(function, said, None)
            assert subject is not None
            T, N = int(rng.integers(1, 40)), int(rng.integers(1, 4))
            case = admissible(subject, Case(T=T, N=N, seed=seed, pick=seed % 2))
            dtype = str(rng.choice(["bfloat16", "float16"]))
            tried += 1
            found = wrong_in(subject, case, dtype) or shortened_at_each_step(subject, replace(case, T=9), dtype)
            if found is not None:
                wrong += 1
                print(f"called wrong: seed {seed}, {said}, T={T} N={N}, {dtype}: {found}", flush=True)
        except BpttError as error:
            print(f"not driven: seed {seed}, {said}: {error}", flush=True)
    print(f"{wrong} of {tried} called wrong")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
