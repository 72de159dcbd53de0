"""Every known mistake in a part of a training loop is seen, and named."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import pytest

from bptt.harness.cases import parse_case
from bptt.harness.checks.registry import load
from bptt.harness.known.mistake import KnownMistake, of_part
from bptt.harness.run.events import Found, Options, Task
from bptt.harness.run.judging import judge
from bptt.harness.subject import PARTS, Answer, Subject
from bptt.harness.training.mistakes import VARIANTS, variants_of
from bptt.reports.records import Result

CHECKS = load()
HYPER = {"lr": 0.07, "momentum": 0.8, "beta1": 0.85, "beta2": 0.97, "eps": 3e-5}
#: Mistakes that give the same numbers as another one do, whatever is asked.
TWINS = {
    "plain-for-nesterov": {"old-velocity"},
    "old-velocity": {"plain-for-nesterov"},
    "minus-forgotten": {"wrong-sign"},
    "wrong-sign": {"minus-forgotten"},
    **{f"weight-decay-{d}": {f"decoupled-decay-{d}"} for d in ("0.1", "0.01", "0.001", "0.0005", "0.0001", "1e-05")},
    **{f"decoupled-decay-{d}": {f"weight-decay-{d}"} for d in ("0.1", "0.01", "0.001", "0.0005", "0.0001", "1e-05")},
}
EVERY = [(like, variant) for like, variants in VARIANTS.items() for variant in variants]
#: The same mistake with another number.
MORE_OF_THE_SAME = ("decay-0.1", "decay-0.001", "decay-0.0005", "decay-1e-05")


@dataclass(frozen=True)
class Played:
    """A part that makes a mistake."""

    variant: KnownMistake
    hyper: Mapping[str, float] = field(default_factory=lambda: HYPER)
    in_place: bool = False
    container: str = "dict"
    rate_can_change: bool = True
    form: str = "losses and counts"

    def answer(self, *args: object) -> Answer:
        return self.variant.answer(self.hyper, *args)


def played(like: str, variant: KnownMistake) -> list[Result]:
    """Results of all checks on a part that makes this mistake, at one case."""
    hyper = {name: value for name, value in HYPER.items() if name != "eps"} if _of_unsaid_eps(variant) else HYPER
    subject = Subject(variant.name, variant.name, "numpy", "part", Played(variant, hyper), like)
    options = Options(case=parse_case("T6-N1-D2-H3"), block=False)
    return [event.result for event in judge(subject, Task(subject), CHECKS, options) if isinstance(event, Found)]


def _of_unsaid_eps(variant: KnownMistake) -> bool:
    return variant.name.startswith("eps-") and variant.published in ("Keras", "another epsilon")


@pytest.mark.every(8)
@pytest.mark.parametrize(
    ("like", "variant"), [e for e in EVERY if not e[1].name.endswith(MORE_OF_THE_SAME)], ids=lambda x: x if isinstance(x, str) else x.name
)
def test_a_mistake_is_seen_and_named(like: str, variant: KnownMistake) -> None:
    results = played(like, variant)
    assert not [r for r in results if r.status == "error"], results
    findings = [r.finding for r in results if r.finding is not None and r.check >= "TRN200"]
    assert findings, results
    first = findings[0]
    names = {cause.code for cause in first.causes}
    assert variant.name in names, first
    assert names - {variant.name} <= TWINS.get(variant.name, set())
    assert all(cause.score == 1 and cause.hypothesis and cause.fix for cause in first.causes)
    failed = [r for r in results if r.status == "failed"]
    assert bool(failed) != bool(variant.form_of), failed
    if variant.form_of:
        assert len(findings) == 1 and first.code == "CONVENTION"


def test_the_library_has_something_on_every_part() -> None:
    assert VARIANTS.keys() == PARTS.keys()
    assert len(EVERY) >= 150
    for variants in VARIANTS.values():
        assert len({v.name for v in variants}) == len(variants)
        assert all(v.sentence and v.fix and "\n" not in v.fix for v in variants)
    assert variants_of("lstm") == variants_of(None) == ()


def test_what_is_no_known_mistake_is_not_named() -> None:
    def halved(hyper: object, grads: dict, theta: float) -> Answer:  # type: ignore[type-arg]  # of arrays
        return {(name, None): g * (0.37 if name == "W_h" else 0.61) for name, g in grads.items()}

    failed = [r for r in played("clip_global_norm", of_part("nobody-knows", halved, "", "")) if r.status == "failed"]
    assert {r.check for r in failed} == {"TRN200", "TRN210", "TRN220"}
    assert all(r.finding is not None and r.finding.causes == () for r in failed)
