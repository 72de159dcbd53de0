"""`bptt.describe` and `bptt.identify`: questions about a target, answered without checking it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bptt.harness import targets
from bptt.harness.errors import UsageError
from bptt.harness.identify.forward_bug import forward_bug
from bptt.harness.identify.published_cell import identify_layers as _identify
from bptt.harness.identify.published_cell import nothing_found_reason
from bptt.harness.subject import Subject
from bptt.harness.weights.map import Identification

Args = Mapping[str, Any] | None


def describe(target: object, like: str | None = None, args: Args = None) -> str:
    """What was detected of `target` (a target string, class, instance or factory), and why, as lines of text.

    Raises UsageError where it cannot be loaded.
    """
    return "\n\n".join(_description(subject) for subject in targets.load(target, args, like))


def identify(target: object, like: str | None = None, args: Args = None, seed: int = 0) -> Identification | None:
    """Which published cell `target` is, and in which convention; None where it is none that we know.

    Raises UsageError where it cannot be loaded or names several subjects.
    """
    answers = identify_each(target, like, args, seed)
    if len(answers) != 1:
        names = ", ".join(subject.name for subject, _ in answers)
        raise UsageError(f"identify: {target!r} names {len(answers)} subjects ({names}), wanted one")
    return answers[0][1]


def identify_each(target: object, like: str | None = None, args: Args = None, seed: int = 0) -> list[tuple[Subject, Identification | None]]:
    """As `identify`, for every subject that `target` names."""
    return [(subject, _identify(subject, like=like, seed=seed)) for subject in targets.load(target, args, like)]


def identification_lines(subject: Subject, found: Identification | None, seed: int = 0) -> list[str]:
    """The answer in words.  The error is relative to the largest output of the reference with the weights carried over."""
    if found is None:
        if (varied := forward_bug(subject, subject.like, seed)) is not None:
            return [
                f"{subject.name}  {subject.framework} · {varied.convention}",
                f"  cell    none; nearest {varied.identification.cell}",
                f"  error   {varied.identification.max_error:.2g} of the largest output, against the reference with that difference",
            ]
        reason = nothing_found_reason(subject, seed)
        return [
            f"{subject.name}  {subject.framework} · none of the published cells in any convention that we know",
            f"  because {reason}",
        ]
    return [
        f"{subject.name}  {subject.framework} · {found.convention}",
        f"  cell    {found.cell}",
        f"  error   {found.max_error:.2g} of the largest output, against the reference with the weights carried over",
        f"  tried   {found.tried} candidates",
    ]


def _description(subject: Subject) -> str:
    capabilities = ", ".join(sorted(subject.capabilities)) or "forward pass only"
    facts = [
        ("target", subject.spec),
        ("kind", f"{subject.kind}, {capabilities}"),
        ("like", subject.like or "not claimed (bptt identify)"),
    ]
    facts += [(name, value) for name, value in _limits(subject) if value]
    if subject.source:
        facts.append(("source", f"{subject.source[0]}:{subject.source[1]}"))
    facts += [(found.what, found.why) for found in subject.detected]
    width = max(len(name) for name, _ in facts)
    return "\n".join([f"{subject.name}  {subject.framework}", *(f"  {name:<{width}}  {value}" for name, value in facts)])


def _limits(subject: Subject) -> list[tuple[str, str]]:
    def sizes(allowed: tuple[int, ...] | None) -> str:
        return ", ".join(map(str, allowed or ()))

    return [
        ("N only", sizes(subject.batch_sizes)),
        ("D only", sizes(subject.input_sizes)),
        ("H only", sizes(subject.hidden_sizes)),
        ("square", "D == H" if subject.square else ""),
        ("directions", "both" if subject.bidirectional else ""),
        ("dtype", subject.dtype if subject.dtype != "float64" else ""),
        ("dys scale", f"{subject.dys_scale:g} (it clips its gradients)" if subject.dys_scale is not None else ""),
        ("truncation", f"BPTT stops after {subject.truncation} steps" if subject.truncation is not None else ""),
    ]
