"""A lockstep as a record: an experiment a model, with the differences of each step as curves."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from bptt.harness.lockstep.compare import Gap, largest
from bptt.harness.lockstep.runs import LockstepRun
from bptt.harness.lockstep.words import TOLERANCE, fall_text, parting_text, run_lines
from bptt.harness.run.environment import environment
from bptt.reports.records import Claim, ClaimVerdict, Experiment, Run, Series

QUESTION = "Does it stay with the NumPy reference, from the same weights on the same batches?"


def record(runs: Sequence[LockstepRun], seed: int, command: str, exit_code: int) -> Run:
    models = dict.fromkeys(one.model.name for one in runs)
    experiments = tuple(_experiment([one for one in runs if one.model.name == name], seed) for name in models)
    return Run(command, seed, environment(), experiments=experiments, exit_code=exit_code, duration_s=sum(one.duration_s for one in runs))


def _experiment(runs: Sequence[LockstepRun], seed: int) -> Experiment:
    first = runs[0]
    named = first.model
    parted = [one for one in runs if one.held.parting]
    words = "; ".join(" ".join(run_lines(one)[0].split()[1:]) for one in parted) or "every loss and every parameter, to rounding"
    settings = {"model": named.words, "steps": first.steps, "T": named.T, "N": named.N, "H": named.H, "seed": seed}
    rates = {f"learning rate of {one.optimizer}": one.learning_rate for one in runs}
    return Experiment(
        name=f"lockstep {named.name}",
        target=first.mine,
        question=QUESTION,
        words=words,
        settings=settings | rates | {"clip": named.clip, "tolerance": TOLERANCE},
        series=tuple(s for one in runs for s in _series(one)),
        claims=tuple(c for one in runs for c in _claims(one)),
        duration_s=sum(one.duration_s for one in runs),
    )


def _series(one: LockstepRun) -> Iterable[Series]:
    held, by = one.held, one.optimizer
    x = tuple(float(k) for k in range(1, len(held.losses) + 1))
    for what, gaps in (("loss", held.loss_gaps), ("parameters", held.gaps)):
        label = f"|{what} difference|, relative"
        yield Series(f"|{what} difference|, {by}", "step", label, x, tuple(gap.relative for gap in gaps), log_y=True)
        yield Series(f"tolerance of it, {by}", "step", label, x, tuple(gap.tolerance for gap in gaps), log_y=True)
    yield Series(f"loss, {by}", "step", "loss", x, held.losses, expected=held.reference, source="the NumPy reference")


def _claims(one: LockstepRun) -> Iterable[Claim]:
    held, by = one.held, one.optimizer
    if held.parting is not None:
        yield _claim(f"{by}: parts at step {held.parting.step}", held.parting.gap, one, parting_text(held.parting, one.mine))
    elif held.losses:
        yield _claim(f"{by}: largest difference of the losses", largest(held.loss_gaps), one)
        yield _claim(f"{by}: largest difference of the parameters", largest(held.gaps), one)
        yield Claim(f"{by}: loss in the end", held.losses[-1], words=f"loss {fall_text(one)}")
        if one.gradients is not None:
            yield _claim(f"{by}: largest difference of the first gradients", one.gradients, one)


def _claim(name: str, gap: Gap, one: LockstepRun, words: str | None = None) -> Claim:
    """At most what rounding explains."""
    verdict: ClaimVerdict = "differs" if gap.excess > 1 else "agrees"
    source = f"rounding of {one.eps:.1e}, measured"
    return Claim(name, gap.relative, gap.tolerance, comparison="at most", source=source, verdict=verdict, words=words)
