"""Sample runs: what the harness would have found, written down by hand."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import pairwise
from typing import Any

from bptt.reports.records import (
    Bench,
    CatalogueEntry,
    Cause,
    Claim,
    Experiment,
    Finding,
    Grid,
    Histogram,
    Identified,
    Interval,
    Remark,
    Repro,
    Result,
    Run,
    Series,
    SmallestCase,
    Source,
    Table,
    Target,
    Text,
    Where,
)

CATALOGUE = tuple(
    CatalogueEntry(id=id_, family=family, property=text, description=text + ", in every regime")
    for id_, family, text in (
        ("CON100", "contract", "outputs and states have the promised shapes"),
        ("CON110", "contract", "outputs and states are finite"),
        ("CON120", "contract", "inputs are left alone"),
        ("CON130", "contract", "a run is repeatable"),
        ("LIN100", "linearity", "the backward is linear in its cotangents"),
        ("LIN110", "linearity", "zero cotangents give zero gradients"),
        ("GRD100", "gradient", "the gradient along a random direction is the exact derivative"),
        ("GRD110", "gradient", "one-step parameter gradients match the exact derivative"),
        ("GRD120", "gradient", "gradients over time match the exact derivative at every lag"),
        ("GRD130", "gradient", "gradients of the initial state match the exact derivative"),
        ("PAR100", "parity", "outputs equal those of the published cell"),
        ("PAR110", "parity", "gradients equal those of the published cell"),
        ("TIM100", "time", "a split sequence gives what the whole one gives"),
        ("TIM110", "time", "later inputs do not reach earlier outputs"),
        ("BAT100", "batch", "batch rows do not mix"),
        ("NUM100", "numerics", "rounding errors shrink with the precision"),
        ("LEN100", "lengths", "padding does not matter"),
    )
)

GATES = ("r", "z", "n")
LADDER = (("float32", 6e-08, 0.45), ("float64", 1.1e-16, 0.45), ("longdouble", 5.4e-20, 0.45))


def heatmap(H: int = 7, wrong: str = "n", error: float = -3.2e-1) -> dict[str, Any]:
    columns = tuple(f"{gate}{j}" for gate in GATES for j in range(H))
    rows = tuple(f"h{i}" for i in range(H))
    values = tuple(
        tuple(
            error * math.cos(0.7 * i + 1.3 * j) if column.startswith(wrong) else 1e-16 * math.sin(3 * i + j)
            for j, column in enumerate(columns)
        )
        for i in range(len(rows))
    )
    title = "dL/dW_h, signed relative error"
    return {
        "title": title,
        "row_label": "from",
        "column_label": "gate and unit",
        "rows": rows,
        "columns": columns,
        "values": values,
    }


def bug(target: str = "MyGRU") -> Finding:
    file = "examples/gru_wrong.py"
    return Finding(
        code="BUG",
        headline="dL/dW_h is wrong in gate n: the reset gate is missing from the carry",
        where=Where(tensor="W_h", gate="n", index=(1, 15), step=0, lag=1),
        observed=-1.731e-02,
        expected=-4.159e-03,
        relative_error=3.162,
        noise=2.1e-16,
        bad=49,
        total=147,
        smallest_case=SmallestCase(T=2, N=1, D=3, H=4, regime="ordinary", dtype="float64", seed=0),
        causes=(
            Cause(
                "GRU_N_NO_RESET",
                "the recurrent part of n is not multiplied by r",
                "reproduces 49 of 49 entries to 3e-16",
                1.0,
                "dm = da_n * r",
            ),
            Cause("CONST_RATIO", "a constant factor", "ratio varies from 1.2 to 9.1", 0.1, "look for a missing factor in da_n"),
        ),
        repro=Repro(
            command=f"bptt check {file}:{target} --select GRD110 --case T2-N1-D3-H4 --seed 0",
            python=f'import bptt\nbptt.check("{file}:{target}", select=["GRD110"], seed=0)',
        ),
        source=Source(file, 41),
    )


def norms(decay: float, lags: int = 40) -> tuple[float, ...]:
    return tuple(decay**k for k in range(lags))


def flow(target: str, decay: float = 0.71) -> Experiment:
    lags = tuple(float(k) for k in range(40))
    words = f"vanishing {decay} a step, half-life {math.log(0.5) / math.log(decay):.1f} steps" if decay < 1 else f"exploding {decay} a step"
    y = tuple(v * (1 + 0.2 * math.sin(k)) for k, v in enumerate(norms(decay)))
    series = Series("|dL/dh|", "lag", "norm of dh_T/dh_(T-lag)", lags, y, norms(decay), 0.3, "spectral radius", "as expected", words, True)
    return Experiment("gradient_norm_over_lag", target, (series,), words)


def passed(target: str, checks: tuple[CatalogueEntry, ...] = CATALOGUE) -> tuple[Result, ...]:
    return tuple(
        Result(target, c.id, "not_applicable", reason="no lengths")
        if c.family == "lengths"
        else Result(target, c.id, "passed", cases=8, duration_s=0.05, metrics={"sensitivity": 2e-12, "miss_probability": 1e-12})
        for c in checks
    )


def target(name: str = "MyGRU", convention: str = "a GRU, reset after, blocks r z n, two biases") -> Target:
    return Target(
        name=name,
        spec=f"examples/gru_wrong.py:{name}",
        framework="numpy",
        like="gru_reset_after",
        identified=Identified("gru_reset_after", convention, 3.1e-16),
        capabilities=("backward", "complex"),
        id=name,
        planned=tuple(c.id for c in CATALOGUE),
    )


def failing(name: str = "MyGRU") -> tuple[Result, ...]:
    """A wrong gate: one failure, three checks blocked by it, one loss of precision."""
    finding = bug(name)
    scope = "gate n only, in W_h and b_h (56 of 168 entries); gates r z agree to 3e-16; dxs, dh0 also wrong"
    changes: dict[str, dict[str, Any]] = {
        "GRD110": {
            "status": "failed",
            "finding": finding,
            "metrics": {"heatmap": heatmap(), "scope": scope, "sensitivity": 2e-12, "ladder": LADDER},
        },
        "GRD120": {"status": "blocked", "blocked_by": "GRD110", "metrics": {}},
        "GRD130": {"status": "blocked", "blocked_by": "GRD110", "metrics": {}},
        "PAR110": {"status": "blocked", "blocked_by": "GRD110", "metrics": {}},
        "NUM100": {
            "status": "failed",
            "severity": "warning",
            "finding": Finding(
                "PRECISION_LOSS",
                "a_z loses six digits where |a_z| > 18",
                Where(tensor="b_x", gate="z"),
                observed=1.0000021,
                expected=1.0,
                relative_error=2.1e-6,
                bad=3,
                total=21,
                causes=(Cause("SIGMOID_TAIL", "1 - sigmoid(a) cancels", "", 0.8, "use sigmoid(-a)"),),
            ),
        },
    }
    return tuple(replace(r, **changes.get(r.check, {})) for r in passed(name))


ENV = {
    "level": "standard",
    "python": "3.11.9",
    "numpy": "2.4.0",
    "torch": "2.13.0",
    "blas": "OpenBLAS 0.3.30",
    "cpu": "x86_64, 2 cores",
    "threads": 1,
}


def failing_run() -> Run:
    return Run(
        command="bptt check examples/gru_wrong.py:MyGRU --report build/x.html",
        seed=0,
        env=ENV,
        targets=(target(),),
        catalogue=CATALOGUE,
        results=failing(),
        experiments=(flow("MyGRU"),),
        exit_code=1,
        duration_s=3.1,
    )


def passing_run() -> Run:
    return replace(
        failing_run(),
        targets=(replace(target("nn.GRU"), spec="torch.nn:GRU", framework="torch"),),
        results=passed("nn.GRU"),
        experiments=(flow("nn.GRU"),),
        command="bptt check torch.nn:GRU",
        exit_code=0,
    )


def benches() -> tuple[Bench, ...]:
    sizes = ("10-2-4-8", "35-20-64-64", "35-32-256-256", "35-20-650-650")
    return tuple(
        Bench(
            f"test_forward_backward[{cell}-{size}-{dtype}]",
            f"{cell} forward + backward",
            f"T-N-D-H {size}",
            dtype,
            ratio,
            ratio * 0.9,
            ratio * 1.15,
            ratio * 1e-3,
            1e-3,
            budget=1.0 if dtype == "float64" else 1.3,
        )
        for cell in ("lstm", "gru")
        for i, size in enumerate(sizes)
        for dtype in ("float64", "float32")
        for ratio in (0.45 + 0.17 * i + (0.35 if dtype == "float32" else 0) + (0.1 if cell == "gru" else 0),)
    )


def many_run(count: int = 20) -> Run:
    """Twenty targets, a few of them wrong, each status somewhere, a heatmap or a curve for each."""
    names = tuple(f"Cell{i:02}" for i in range(count))
    odd: dict[str, dict[str, Any]] = {
        "TIM100": {"status": "timeout", "reason": "no answer after 60 s"},
        "BAT100": {"status": "crashed", "reason": "the process ended with signal 11 (segmentation fault)"},
        "CON130": {"status": "xfailed", "reason": "dropout is on (expires 2030-01-01)"},
        "CON120": {"status": "xpassed", "reason": "expected MUTATION, but it passed"},
        "PAR100": {"status": "error", "reason": "ValueError: matmul: dimension mismatch, 7 and 5"},
        "LIN110": {"status": "skipped", "reason": "--ignore LIN110"},
        "CON110": {"status": "changed", "reason": "expected KINK, found BUG", "finding": bug()},
    }

    def results(i: int, name: str) -> tuple[Result, ...]:
        if i == 5:
            return tuple(replace(r, **odd.get(r.check, {})) for r in passed(name))
        return failing(name) if i % 7 == 3 else passed(name)

    return Run(
        command="bptt check",
        seed=0,
        env=ENV,
        targets=tuple(target(n) for n in names),
        catalogue=CATALOGUE,
        results=tuple(r for i, n in enumerate(names) for r in results(i, n)),
        experiments=tuple(flow(n, 0.5 + 0.03 * i) for i, n in enumerate(names)),
        benches=benches(),
        exit_code=1,
        duration_s=71.5,
    )


def nasty_experiment(bad: str) -> Experiment:
    return Experiment(
        bad,
        bad,
        (Series(bad, bad, bad, (0.0, 1.0), (1.0, math.nan), (1.0, 1.0), 0.5, bad, words=bad),),
        bad,
        bad,
        {bad: bad},
        (Claim(bad, math.nan, 1.0, 0.1, source=bad, verdict="differs", words=bad), Claim(bad, 1.0, words=bad)),
        (Grid(bad, bad, bad, bad, (0.0, 1.0), (0.0, 1.0), ((-math.inf, 1.0), (math.inf, 2.0)), (0.5,)),),
        (Histogram(bad, bad, (0.0, 1.0), (1.0,), (0.5,), (1.0,), bad),),
        (Table(bad, (bad, bad), ((bad, Interval(0.5, 0.4, math.inf)), ("NaN", 2.5)), bad),),
        (Text(bad, bad),),
    )


def nasty_run() -> Run:
    """Every string that a user can give is an attempt to break out of the page."""
    bad = "<script>alert('x')</script>&\"'`\x1b[31m\x00"
    run = failing_run()
    finding = bug()
    finding = replace(
        finding,
        headline=bad,
        where=Where(tensor=bad, gate=bad),
        causes=(Cause(bad, bad, bad, 1.0, bad),),
        repro=Repro(bad, bad),
        source=Source(bad, 1),
    )
    table = {**heatmap(), "title": bad, "row_label": bad, "column_label": bad, "rows": (bad,) * 7}
    results = tuple(
        replace(
            r,
            target="<script>",
            reason=bad,
            params={bad: bad},
            finding=finding if r.finding else None,
            metrics={"heatmap": table, "scope": bad} if r.finding else r.metrics,
        )
        for r in run.results
    )
    series = tuple(replace(s, name=bad, x_label=bad, y_label=bad, words=bad, source=bad) for s in run.experiments[0].series)
    return replace(
        run,
        command=bad,
        env={bad: bad, "nested": {bad: (bad,)}},
        targets=(
            Target(
                "<script>",
                bad,
                bad,
                bad,
                Identified(bad, bad, 0.0),
                (bad,),
                args={bad: bad},
                planned=tuple(c.id for c in CATALOGUE),
                remarks=(Remark(bad, bad), Remark(bad, bad, "error")),
                sources={bad: bad},
            ),
        ),
        catalogue=tuple(
            replace(c, family=bad if c.family == "gradient" else c.family, property=bad, description=bad) for c in run.catalogue
        ),
        results=results,
        experiments=(Experiment(bad, "<script>", series, bad), nasty_experiment(bad)),
        benches=(Bench(bad, bad, bad, bad, 1.2, 1.0, 1.5, budget=1.0),),
    )


def gain_by_lag() -> Experiment:
    """A heatmap with its contour, curves with a band, claims of every verdict."""
    gains = tuple(0.5 + 2.5 * k / 19 for k in range(20))
    lags = tuple(float(t) for t in range(0, 101, 2))
    theory = tuple(0.25 * math.log(g / 1.55) for g in gains)
    measured = tuple(v + 0.004 * math.sin(7 * k) for k, v in enumerate(theory))
    norms = tuple(tuple(le * lag / math.log(10) + 0.3 * math.sin(lag) for lag in lags) for le in measured)
    axes = ("gain g", "Lyapunov exponent")
    return Experiment(
        "gain_by_lag",
        "refimpl:elman",
        (
            Series("H = 64", *axes, gains, measured, theory, 0.02, "Molgedey et al. 1992", words="crosses zero at g = 1.55"),
            Series("H = 256", *axes, gains, tuple(v + 0.002 for v in theory)),
        ),
        words="The norm at lag 100 crosses 1 at gain 1.555; above it gradients explode.",
        question="For which gains can a gradient travel a hundred steps?",
        settings={"gain": gains, "lag": 100, "H": 64, "seed": (0, 1, 2)},
        claims=(
            Claim("gain at which the exponent is zero", 1.5548, 1.5497, 0.01, "within", "Molgedey et al. 1992", "agrees"),
            Claim("norm over its bound", 0.707, 1.0, None, "at most", "Pascanu et al. 2013", "agrees"),
            Claim("width of the trainable band, in log-gain", 0.31, 0.93, 0.1, "at least", "Chen et al. 2018", "differs"),
            Claim(
                "exponent at g = 1.5", 0.0453, 0.0652, 0.006, "within", "Sompolinsky 1988", "explained", "at H = 256 one seed is 0.02 off"
            ),
            Claim("share of norms in [1e-3, 1e3]", 0.1, words="held against no theory: one seed"),
        ),
        grids=(Grid("log10 norm by gain and lag", "lag", "gain g", "log10 of the norm", lags, gains, norms, (0.0,)),),
    )


def spectrum() -> Experiment:
    """A histogram beside its law, estimates with intervals, text."""
    edges = tuple(-2 + k / 10 for k in range(41))

    def law(x: float) -> float:
        return math.sqrt(4 - x * x) / (2 * math.pi)

    middles = tuple((a + b) / 2 for a, b in pairwise(edges))
    rates = (("tanh", 100.0, 0.02, 0.0, 0.11), ("GRU", 100.0, 0.93, 0.83, 0.98), ("LSTM", 100.0, 0.6, 0.46, 0.72))
    return Experiment(
        "spectrum",
        None,
        (),
        words="The eigenvalues fall as the semicircle says.",
        question="How are the eigenvalues of a random matrix distributed?",
        settings={"H": 512},
        claims=(Claim("second moment", 1.0008, 1.0, 0.01, source="Wigner 1955", verdict="agrees"),),
        histograms=(
            Histogram(
                "eigenvalues, H = 512",
                "eigenvalue",
                edges,
                tuple(law(x) * (1 + 0.1 * math.sin(9 * x)) for x in middles),
                tuple(middles),
                tuple(map(law, middles)),
                "semicircle law",
            ),
        ),
        tables=(
            Table(
                "Runs that solved the task",
                ("cell", "T", "share solved"),
                tuple((cell, T, Interval(*rest)) for cell, T, *rest in rates),
                "95 % Wilson intervals, 50 seeds",
            ),
        ),
        texts=(Text("asked: the sea", "the sea is <b>blue</b>\nand the night is long"),),
    )


def experiments_run() -> Run:
    return Run("bptt experiment --grid gain=0.5:3:20", 0, env=ENV, experiments=(gain_by_lag(), spectrum()), exit_code=1)


def empty_run() -> Run:
    return Run(command="bptt check", seed=0, exit_code=4)
