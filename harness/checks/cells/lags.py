"""The map of lags: every gradient from an output at one step to an input at another, however small it is."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from bptt.harness.cases import Case
from bptt.harness.checks.context import CheckContext
from bptt.harness.checks.evidence import Evidence, NotApplicable
from bptt.harness.checks.registry import check
from bptt.harness.gradient.derivatives.step_jacobians import NoChain
from bptt.harness.gradient.lags import Lags, Part, lag_map
from bptt.reports.records import Where

_MOST_CELLS = 40


@check(
    "GRD180",
    family="gradient",
    level="full",
    cases=(Case(T=60, seed=18), Case(T=300, N=1, H=5, regime="closed", seed=19), Case(T=1000, N=1, D=2, H=3, seed=20)),
    needs=("GRD150",),
)
def every_lag_is_exact_to_ten_digits(context: CheckContext, case: Case) -> Iterator[Evidence]:
    """dL_t/dx_s and dL_t/dh_0 against the product of the steps' Jacobians for every t and s, T up to 1000, each block by its own size."""
    yield lags_evidence(context, case)


def lags_evidence(context: CheckContext, case: Case) -> Evidence:
    """What the map of one case says.  Raises NotApplicable with the reason where there is no map."""
    context.needs_backward()
    if context.subject.truncation is not None:
        raise NotApplicable(f"its backward is meant to stop after lag {context.subject.truncation} (truncation)")
    try:
        found = lag_map(context.subject, case, context.mirror)
    except NoChain as reason:
        raise NotApplicable(f"no map of its lags: {reason}") from reason
    metrics = _metrics(found)
    wrong = [name for name, part in found.parts.items() if part.wrong.any()]
    if not wrong:
        return Evidence(True, oracle=found.oracle.name, metrics=metrics, total=sum(p.wrong.size for p in found.parts.values()))
    name = wrong[0]
    part, band = found.parts[name], bands(found)
    place = _shown(part)
    inner = tuple(int(i) for i in np.unravel_index(int(part.index[place]), found.shape[name]))
    of_inputs = name == "xs"
    expected, observed = float(part.exact[place]), float(part.yours[place])
    return Evidence(
        False,
        f"dL/d{_tensor(name)} is wrong {band[name].words}",
        where=Where(
            tensor=_tensor(name),
            index=(place[1], *inner) if of_inputs else inner,
            step=place[1] if of_inputs else None,
            lag=place[0] - place[1] if of_inputs else place[0] + 1,
        ),
        observed=observed,
        expected=expected,
        relative_error=float(part.relative[place]),
        bad=int(part.wrong.sum()),
        total=int(np.count_nonzero(part.sizes)),
        oracle=found.oracle.name,
        metrics=metrics | {"scope": _scope(found, band), "cotangent": f"output {place[0]} only"},
        fails_at=lambda smaller: _same_bands(context, smaller, band),
    )


@dataclass(frozen=True)
class Band:
    """Which lags are wrong.   starts and ends in turn; open: up to the longest lag there is"""

    runs: tuple[tuple[int, int], ...]
    longest: int

    @property
    def key(self) -> tuple[tuple[int, int | None], ...]:
        """The same for the same band at another length."""
        return tuple((a, None if b == self.longest else b) for a, b in self.runs)

    @property
    def words(self) -> str:
        if len(self.runs) > 4:
            return f"at {sum(b - a + 1 for a, b in self.runs)} of {self.longest + 1} lags, first at lag {self.runs[0][0]}"
        if self.runs == ((0, self.longest),):
            return "at every lag"
        parts = [str(a) if a == b else f"{a} and beyond" if b == self.longest else f"{a} to {b}" for a, b in self.runs]
        one = len(self.runs) == 1 and self.runs[0][0] == self.runs[0][1]
        return f"at lag{'' if one else 's'} {', '.join(parts)} and at no other"


def bands(found: Lags) -> dict[str, Band]:
    """The wrong lags of each tensor; an initial state is one step before the first input."""
    result = {}
    for name, part in found.parts.items():
        places = np.argwhere(part.wrong)
        lags = np.unique(places[:, 0] - places[:, 1] + (name != "xs"))
        lags = lags[lags >= 0]
        cuts = np.flatnonzero(np.diff(lags) > 1) + 1
        runs = tuple((int(r[0]), int(r[-1])) for r in np.split(lags, cuts) if len(r))
        if len(places):
            result[name] = Band(runs or ((0, 0),), found.case.T - (name == "xs"))
    return result


def _same_bands(context: CheckContext, case: Case, band: dict[str, Band]) -> bool:
    """Whether the same lags are wrong at another case: a band must not be shrunk away."""
    try:
        there = bands(lag_map(context.subject, case, context.mirror))
    except NoChain:
        return False
    return {k: b.key for k, b in there.items()} == {k: b.key for k, b in band.items()}


def _shown(part: Part) -> tuple[int, int]:
    """The block to show: at the smallest wrong lag, the one that is furthest off."""
    places = np.argwhere(part.wrong)
    lags = places[:, 0] - places[:, 1]
    first = places[lags == lags[lags >= 0].min()] if np.any(lags >= 0) else places
    t, column = max((tuple(int(i) for i in p) for p in first), key=lambda p: float(np.nan_to_num(part.relative[p], posinf=np.inf)))
    return t, column


def _metrics(found: Lags) -> dict[str, object]:
    seen = {n: p.sizes > found.smallest for n, p in found.parts.items()}
    sizes = np.concatenate([p.sizes[seen[n]] for n, p in found.parts.items()])
    right = [np.where(seen[n] & ~p.wrong, p.relative, 0.0) for n, p in found.parts.items()]
    return {
        "max_relative_error": max(float(np.max(r, initial=0.0)) for r in right),
        "blocks": int(sizes.size),
        "decades": float(np.round(-np.log10(sizes.min()), 1)) if sizes.size else 0.0,
        "heatmap": heatmap(found),
    }


def heatmap(found: Lags) -> dict[str, object]:
    """Signed relative error, loss step by input step, the initial states first; neighbours are pooled to their worst."""
    columns = [(f"{_tensor(n)}", _signed(found, n)) for n in found.parts if n != "xs"]
    T = found.case.T
    table = np.concatenate([c for _, c in columns] + ([_signed(found, "xs")] if "xs" in found.parts else []), axis=1)
    labels = [n for n, _ in columns] + ([str(s) for s in range(T)] if "xs" in found.parts else [])
    down, across = (-(-n // _MOST_CELLS) for n in (T, T))
    K = len(columns)
    groups = [[k] for k in range(K)] + [list(range(k, min(k + across, len(labels)))) for k in range(K, len(labels), across)]
    rows = [list(range(t, min(t + down, T))) for t in range(0, T, down)]
    return {
        "title": f"gradient from a loss at one step to an input at another: (yours - exact) / largest exact of the pair, at {found.case}",
        "row_label": "step of the loss",
        "column_label": "step of the input",
        "rows": [str(r[0]) for r in rows],
        "columns": [labels[g[0]] for g in groups],
        "values": [[_worst(table[np.ix_(r, g)]) for g in groups] for r in rows],
    }


def _signed(found: Lags, name: str) -> np.ndarray[tuple[int, int], np.dtype[np.float64]]:
    part = found.parts[name]
    with np.errstate(all="ignore"):
        shown = np.where((part.sizes > found.smallest) | part.wrong, part.relative, 0.0)
        return np.asarray(np.where(part.yours < part.exact, -shown, shown))


def _worst(cells: np.ndarray[tuple[int, int], np.dtype[np.float64]]) -> float:
    flat = cells.ravel()
    return float(f"{flat[int(np.argmax(np.abs(flat)))]:.2e}")


def _scope(found: Lags, band: dict[str, Band]) -> str:
    right = [f"dL/d{_tensor(n)}" for n in found.parts if n not in band]
    parts = [f"dL/d{_tensor(n)} {b.words}" for n, b in band.items()]
    return "; ".join([*parts, *([f"{', '.join(right)} right"] if right else [])])


def _tensor(name: str) -> str:
    return name if name == "xs" else f"{name}0"
