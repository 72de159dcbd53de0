"""A lockstep as a record: an experiment a model, with the differences of each step as curves."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from bptt.harness.lockstep.compare import Gap, largest
from bptt.harness.lockstep.runs import Leg
from bptt.harness.lockstep.words import TOLERANCE, fall_text, leg_lines, parting_text
from bptt.harness.run.environment import environment
from bptt.reports.records import Claim, ClaimVerdict, Experiment, Run, Series

QUESTION = "Does it stay with the NumPy reference, from the same weights on the same batches?"


def record(legs: Sequence[Leg], seed: int, command: str, exit_code: int) -> Run:
    models = dict.fromkeys(leg.model.name for leg in legs)
    experiments = tuple(_experiment([leg for leg in legs if leg.model.name == name], seed) for name in models)
    return Run(command, seed, environment(), experiments=experiments, exit_code=exit_code, duration_s=sum(leg.duration_s for leg in legs))


def _experiment(legs: Sequence[Leg], seed: int) -> Experiment:
    first = legs[0]
    named = first.model
    parted = [leg for leg in legs if leg.held.parting]
    words = "; ".join(" ".join(leg_lines(leg)[0].split()[1:]) for leg in parted) or "every loss and every parameter, to rounding"
    settings = {"model": named.words, "steps": first.steps, "T": named.T, "N": named.N, "H": named.H, "seed": seed}
    rates = {f"learning rate of {leg.optimizer}": leg.learning_rate for leg in legs}
    return Experiment(
        name=f"lockstep {named.name}",
        target=first.mine,
        question=QUESTION,
        words=words,
        settings=settings | rates | {"clip": named.clip, "tolerance": TOLERANCE},
        series=tuple(s for leg in legs for s in _series(leg)),
        claims=tuple(c for leg in legs for c in _claims(leg)),
        duration_s=sum(leg.duration_s for leg in legs),
    )


def _series(leg: Leg) -> Iterable[Series]:
    held, by = leg.held, leg.optimizer
    x = tuple(float(k) for k in range(1, len(held.losses) + 1))
    for what, gaps in (("loss", held.loss_gaps), ("parameters", held.gaps)):
        label = f"|{what} difference|, relative"
        yield Series(f"|{what} difference|, {by}", "step", label, x, tuple(gap.relative for gap in gaps), log_y=True)
        yield Series(f"tolerance of it, {by}", "step", label, x, tuple(gap.tolerance for gap in gaps), log_y=True)
    yield Series(f"loss, {by}", "step", "loss", x, held.losses, expected=held.reference, source="the NumPy reference")


def _claims(leg: Leg) -> Iterable[Claim]:
    held, by = leg.held, leg.optimizer
    if held.parting is not None:
        yield _claim(f"{by}: parts at step {held.parting.step}", held.parting.gap, leg, parting_text(held.parting, leg.mine))
    elif held.losses:
        yield _claim(f"{by}: largest difference of the losses", largest(held.loss_gaps), leg)
        yield _claim(f"{by}: largest difference of the parameters", largest(held.gaps), leg)
        yield Claim(f"{by}: loss in the end", held.losses[-1], words=f"loss {fall_text(leg)}")
        if leg.gradients is not None:
            yield _claim(f"{by}: largest difference of the first gradients", leg.gradients, leg)


def _claim(name: str, gap: Gap, leg: Leg, words: str | None = None) -> Claim:
    """At most what rounding explains."""
    verdict: ClaimVerdict = "differs" if gap.excess > 1 else "agrees"
    source = f"rounding of {leg.eps:.1e}, measured"
    return Claim(name, gap.relative, gap.tolerance, comparison="at most", source=source, verdict=verdict, words=words)
