"""What a failure becomes: the smallest case, the place, the causes, the line that is wrong, and what to paste to see it again."""

from __future__ import annotations

import json
import shlex
import traceback
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from bptt.harness.call.cell import Gradients
from bptt.harness.call.network import as_cell
from bptt.harness.cases import Case, admissible
from bptt.harness.checks.context import CheckContext
from bptt.harness.checks.evidence import Evidence, NotLinear, NotOfItsShape
from bptt.harness.checks.registry import Check
from bptt.harness.diagnosis import explain as diagnosis
from bptt.harness.diagnosis.advice import causes_of
from bptt.harness.diagnosis.excerpts import excerpt
from bptt.harness.diagnosis.fixes import without_code_of_others
from bptt.harness.diagnosis.lengths import causes_with_lengths
from bptt.harness.diagnosis.lines import if_never_read, line_of, with_the_line_of
from bptt.harness.diagnosis.network import causes as causes_of_network
from bptt.harness.diagnosis.steps import step_on_the_way
from bptt.harness.gradient.certificate import Examination
from bptt.harness.gradient.locate import Located, locate
from bptt.harness.graph.explain import Failure, explanation, explanation_at, explanation_of_shapes
from bptt.harness.reproduce import script
from bptt.harness.run.events import Options, Task, from_here
from bptt.harness.run.shrinking import same_failure_at, shrunk
from bptt.harness.subject import Subject
from bptt.harness.training.oracle import Named
from bptt.reports.records import Cause, Finding, Repro, SmallestCase, Source

X = TypeVar("X")


_UNKNOWN: tuple[Cause, ...] = ()


def finding_of(context: CheckContext, c: Check, task: Task, evidence: Evidence, case: Case, options: Options) -> Finding:
    """The finding of one check from evidence against the subject, or a warning about it, at `case`.

    A mistake that was found survives whatever happens while it is shrunk, named and written down: each of these is asked apart.
    """
    faults: list[Cause] = []
    smallest, worst = case, evidence
    if evidence.severity == "error" and options.case is None:
        smallest, worst = _apart(lambda: _smallest(context, c, evidence, case), (case, evidence), "its smallest case", faults)
    where = replace(evidence.where, tensor=worst.where.tensor, gate=worst.where.gate, index=worst.where.index)
    if context.subject.kind == "operator":
        where = worst.where
    elif c.of_gradients and where.lag is None and where.step is None and evidence.code == "BUG":
        where = replace(where, lag=smallest.T - 1)
    elif where.step is not None and c.of_gradients:
        where = replace(where, lag=smallest.T - 1 if where.lag is None else where.lag)
    causes = _apart(lambda: _causes(context, c, evidence, case, faults, smallest.T), _UNKNOWN, "its cause", faults)
    if c.of_gradients and evidence.code == "BUG" and not any(cause.score for cause in causes):
        step = _apart(lambda: step_on_the_way(context.subject, smallest), None, "a step on its way", faults)
        causes = causes if step is None else (step, *causes)
    source = _apart(lambda: _source(context.subject, c, causes), None, "its line", faults)
    around = _apart(lambda: None if source is None else excerpt(source, causes), None, "the text around its line", faults)
    seen_at = case if worst is evidence else smallest
    repro = _apart(lambda: _repro(c, task, context.subject, smallest, worst, seen_at), None, "a script for it", faults)
    found = unexplained(worst, smallest)
    return replace(found, code=evidence.code, where=where, causes=(*causes, *faults), repro=repro, source=source, excerpt=around)


def unexplained(evidence: Evidence, case: Case) -> Finding:
    """The finding as it stands before its smallest case, its cause and its line are known."""
    return Finding(
        code=evidence.code,
        headline=evidence.headline,
        where=evidence.where,
        observed=evidence.observed,
        expected=evidence.expected,
        relative_error=evidence.relative_error,
        noise=evidence.noise,
        bad=evidence.bad,
        total=evidence.total,
        smallest_case=_recorded(case),
    )


def _recorded(case: Case) -> SmallestCase:
    return SmallestCase(case.T, case.N, case.D, case.H, case.regime, case.dtype, case.seed, dict(case.sizes))


def _apart(said: Callable[[], X], otherwise: X, what: str, faults: list[Cause]) -> X:
    """What `said` gives; where it fails `otherwise`, and a sentence about it in `faults`."""
    try:
        return said()
    except Exception as fault:  # a fault of ours, or of numbers that nobody foresaw: what was found is true without its explanation
        at = traceback.extract_tb(fault.__traceback__)[-1]
        said_of_it = f"{what} is not known: bptt failed while looking for it, and the finding stands without it"
        evidence = f"{type(fault).__name__}: {fault} (at {Path(at.filename).name}:{at.lineno})"
        faults.append(Cause("not-explained", said_of_it, evidence, 0.0, ""))
        return otherwise


def _smallest(context: CheckContext, c: Check, evidence: Evidence, case: Case) -> tuple[Case, Evidence]:
    """The smallest case that fails in the same way, and how it fails there."""
    smallest = shrunk(context, c, evidence, case)
    worst = same_failure_at(context, c, evidence, smallest) if smallest != case else evidence
    return (case, evidence) if worst is None else (smallest, worst)


def _source(subject: Subject, c: Check, causes: tuple[Cause, ...]) -> Source | None:
    """The line that is wrong, where it is known; never the head of the function or class that it is in."""
    if causes and causes[0].source is not None:
        return Source(from_here(causes[0].source.file), causes[0].source.line)
    line = line_of(subject.source, causes) if subject.source is not None and c.of_gradients else None
    return None if line is None or subject.source is None else Source(from_here(subject.source[0]), line)


def _causes(context: CheckContext, c: Check, evidence: Evidence, case: Case, faults: list[Cause], shortest: int) -> tuple[Cause, ...]:
    """Why, as far as the diagnosis can tell from the wrong numbers, or the check's own words."""
    sought = _sought(context, c, evidence, case, faults, shortest)
    if sought is not None:
        return tuple(map(without_code_of_others, sought))
    return evidence.detail.causes if isinstance(evidence.detail, Named) else causes_of(c.id, evidence.code)


def _sought(
    context: CheckContext, c: Check, evidence: Evidence, case: Case, faults: list[Cause], shortest: int
) -> tuple[Cause, ...] | None:
    """The causes that known mistakes and the graph give; None where nothing is sought, or nothing found of a form or a sum."""
    detail = evidence.detail
    if c.of_lengths and (named := causes_with_lengths(context.subject, context.identification)):
        return named
    if isinstance(detail, Named):
        return None
    if isinstance(detail, NotLinear):
        found = diagnosis.explain(
            diagnosis.WrongGradient(
                subject=context.subject,
                identification=context.identification,
                regions=context.regions(detail.data.params),
                case=detail.case,
                data=detail.data,
                cotangents=(detail.cotangent,),
                yours=(detail.yours,),
                exact=(detail.expected,),
            )
        )
        if not any(cause.score == 1 for cause in found):
            graph = _apart(lambda: explanation_at(context.subject, detail.case).causes, _UNKNOWN, "its cause in the graph", faults)
            found = _all_of_it(graph, found)
        return found or None
    if isinstance(detail, NotOfItsShape):
        shaped = _apart(lambda: explanation_of_shapes(context.subject, case).causes, _UNKNOWN, "its shape", faults)
        return shaped or None
    if detail is None and context.subject.kind == "operator" and c.of_gradients and evidence.code == "BUG":
        graph = _apart(lambda: explanation_at(context.subject, case).causes, _UNKNOWN, "its cause in the graph", faults)
        return tuple(cause for cause in graph if cause.score) or None
    if detail is None:
        return None
    examination, located = detail.examination, detail.located
    network = context.subject.kind == "network"
    if network and (named := _apart(lambda: _tutorial(context, examination), _UNKNOWN, "its cause among known mistakes", faults)):
        graph = _apart(lambda: _from_the_graph(context.subject, examination, located), _UNKNOWN, "its cause in the graph", faults)
        return with_the_line_of(named, graph)
    known: tuple[Cause, ...] = ()
    if located.exact is not None or context.identification is not None:
        wrong = _wrong_gradient(context, examination, located)
        explained = lambda: diagnosis.explain(wrong, lambda case: _again(context, case), shortest)  # noqa: E731 - asked apart
        known = _apart(explained, (), "its cause among known mistakes", faults)
    is_known, place = any(cause.score == 1 for cause in known), context.subject.source
    if is_known and place is not None:
        known = if_never_read(place, known)
    if is_known and place is None:
        return known
    graph = _apart(lambda: _from_the_graph(context.subject, examination, located), _UNKNOWN, "its cause in the graph", faults)
    if is_known:
        return with_the_line_of(known, graph)
    return _all_of_it(graph, known)


def _all_of_it(graph: tuple[Cause, ...], known: tuple[Cause, ...]) -> tuple[Cause, ...]:
    """What the graph says, and beside it, where that does not explain every number, what the numbers say; of two that know nothing one."""
    if any(cause.score == 1 for cause in graph):
        return graph
    said = tuple(cause for cause in (*graph, *known) if cause.code != "unknown")
    nothing = [cause for cause in (*known, *graph) if cause.code == "unknown"]
    if not nothing or any(cause.score for cause in said):
        return said
    return (replace(nothing[0], evidence="; ".join(cause.evidence for cause in nothing)), *said)


def _tutorial(context: CheckContext, e: Examination) -> tuple[Cause, ...]:
    """The known mistakes of a tutorial's language model that give the numbers, over more steps too."""

    def named(at: Examination) -> tuple[Cause, ...]:
        network = as_cell(context.subject, at.case).implementation
        return causes_of_network(network, at.data, at.cotangents, at.gradients)

    found = named(e)
    if not found:
        return ()
    longer = context.examine(admissible(context.subject, replace(e.case, T=e.case.T + 3, seed=e.case.seed + 1)), ("params", "xs", "state"))
    codes = {cause.code for cause in named(longer)}
    return tuple(cause for cause in found if cause.code in codes) if longer.wrong else found


def _from_the_graph(subject: Subject, e: Examination, located: Located) -> tuple[Cause, ...]:
    """Why, from the graph of the subject's own forward pass."""
    found = explanation(subject, Failure(e.case, e.data, e.cotangents, located.exact or ()))
    if found.refusal:
        said = f"why it is wrong was not looked for in your forward pass: {found.refusal}"
        return (Cause("not-traced", said, "", 0.0, ""),)
    return found.causes


def _again(context: CheckContext, case: Case) -> diagnosis.WrongGradient:
    """The same question at another case, to tell candidates apart that agree on the first one."""
    examination = context.examine(admissible(context.subject, case), ("params", "xs", "state"))
    located = locate(examination) if examination.wrong else None
    exact = located.exact if located is not None else examination.gradients  # where nothing is wrong, they are exact
    return _wrong_gradient(context, examination, None, exact)


def _wrong_gradient(
    context: CheckContext, e: Examination, located: Located | None, exact: tuple[Gradients, ...] | None = None
) -> diagnosis.WrongGradient:
    truth = located.exact if located is not None else exact
    return diagnosis.WrongGradient(
        subject=context.subject,
        identification=context.identification,
        regions=context.regions(e.data.params),
        case=e.case,
        data=e.data,
        cotangents=e.cotangents,
        yours=e.gradients,
        exact=truth or tuple(Gradients({}, None, {}) for _ in e.cotangents),
    )


def _repro(c: Check, task: Task, subject: Subject, case: Case, worst: Evidence, seen_at: Case) -> Repro:
    """Lines for the shell, and a script that needs NumPy alone, or, where there is none that fails by itself, lines that call us.

    seen_at    the case at which `worst` is the entry
    """
    spec = task.paste or subject.spec
    command = ["bptt", "check", spec, "--select", c.id, "--case", str(case), "--seed", str(case.seed)]
    call = [repr(spec)]
    if task.args:
        command += ["--args", json.dumps(dict(task.args), sort_keys=True)]
        call.append(f"args={dict(task.args)!r}")
    if task.like:
        command += ["--like", task.like]
        call.append(f"like={task.like!r}")
    call += [f"select=[{c.id!r}]", f"case={str(case)!r}", f"seed={case.seed}"]
    python = f"import bptt\nbptt.check({', '.join(call)}).raise_for_failures()"
    if c.of_gradients and worst.code == "BUG" and subject.kind != "operator":
        python = script(subject, spec, task.args, seen_at, worst.where, worst.relative_error, worst.oracle) or python
    return Repro(shlex.join(command), python)
