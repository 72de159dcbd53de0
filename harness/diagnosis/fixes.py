"""Fixes in the words of the user's own framework, with no code in them that was not run in the user's own file."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

from bptt.harness.subject import Subject
from bptt.reports.records import Cause

DETACHED = "a value on the way is detached: look for .detach(), .data, torch.no_grad(), .item() or a new tensor made from numbers"
_IN_FUNCTION = "in the backward of your torch.autograd.Function"
#: Codes and sentences of causes that are a path that the gradient does not take.
_LOST_CODES = frozenset({"zero-gradient", "zero-gate", "zero-rows", "gradient-cut-at-lag", "carry-wrong"})
_LOST = re.compile(
    r"lacks the shares? |lacks dc_next|gets? no gradient|(is|are|stays) zero|(is|are) (lost|ignored)|no further|is cut at"
    r"|gradient stops|direct path z|nothing goes back"
)
#: A line of NumPy that adds up or hands on a gradient; autograd writes these itself.
_BY_HAND = re.compile(r"\bd\w+(\[\w+\])? \+?= ")

#: A statement: da_r = dr * r, dW += ..., dh_next, dc_next = dh_prev, dc_prev.
_CODE = re.compile(r"(?<![\w.])([A-Za-z_][\w.]*)(\[[^\]]*\])?(, \w+)* [-+*/@]?= ")
#: What is declared of a subject is no variable of its code.
_DECLARED = frozenset(("truncation", "clip", "clip_norm", "like", "dys_scale", "lengths", "deterministic"))


def without_code_of_others(cause: Cause) -> Cause:
    """`cause` with a fix of words alone, where it is not the line that was run in the user's file and made everything right.

    A known mistake is written in the names of the reference, an edge of the graph in names that are made of the forward pass's own: a line
    of either need not mean anything in the user's backward.
    """
    if cause.fix == cause.mended:
        return cause
    said = [part for part in cause.fix.split("; ") if all(m[1] in _DECLARED for m in _CODE.finditer(part))]
    return replace(cause, fix="; ".join(said).removeprefix("or "))


def in_words_of(subject: Subject, cause: Cause) -> Cause:
    """`cause` with a fix that a user of the subject's framework can follow.

    With torch's autograd nobody writes `dW += ...`: what has no gradient was detached, and what has a wrong one comes from a
    backward of one's own.
    """
    if subject.framework != "torch":
        return cause
    if cause.code in _LOST_CODES or _LOST.search(cause.hypothesis):
        condition = cause.fix.partition("; ")[0] + "; " if cause.hypothesis.startswith("only ") else ""
        first = f"{_IN_FUNCTION}: {cause.fix}; or " if _writes_a_backward(subject) else ""
        return replace(cause, fix=f"{condition}{first}{DETACHED}")
    if _BY_HAND.search(cause.fix):
        return replace(cause, fix=f"{_IN_FUNCTION}: {cause.fix}")
    return cause


def _writes_a_backward(subject: Subject) -> bool:
    """Whether the file of a torch module has an autograd.Function of its own."""
    try:
        return subject.source is not None and "autograd.Function" in Path(subject.source[0]).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return False
