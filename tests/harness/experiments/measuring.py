"""What the tests of single experiments share: run one at small settings, and look at its claims."""

from __future__ import annotations

from itertools import product

from bptt.harness.experiments.engine.definition import Definition, Point, Scalar
from bptt.reports.records import Claim, Experiment


def run(d: Definition, **replaced: Scalar | tuple[Scalar, ...]) -> Experiment:
    """The record of `d` with these settings in place of its own."""
    settings = {**d.settings, **replaced}
    axes = [value if isinstance(value, tuple) else (value,) for value in settings.values()]
    points = [dict(zip(settings, values, strict=True)) for values in product(*axes)]
    return d.gather([Point(s, d.point(s)) for s in points])


def wrong(e: Experiment) -> list[str]:
    """Names of the claims that do not hold."""
    return [c.name for c in e.claims if c.verdict != "agrees"]


def named(e: Experiment, words: str) -> Claim:
    """The first claim with `words` in its name."""
    return next(c for c in e.claims if words in c.name)


def is_sound(d: Definition) -> None:
    """quick and full replace settings that there are, by values of the same kind; one setting is swept, or more."""
    for replaced in (d.quick, d.full):
        assert replaced.keys() <= d.settings.keys()
        for name, value in replaced.items():
            kinds = {type(v) for v in (value if isinstance(value, tuple) else (value,))}
            now = d.settings[name]
            assert kinds == {type(v) for v in (now if isinstance(now, tuple) else (now,))}, name
    assert any(isinstance(v, tuple) for v in d.settings.values())
    assert d.question.endswith("?")
