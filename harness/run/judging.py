"""All checks on one subject, in this process: what each yields becomes a result."""

from __future__ import annotations

import datetime
import time
import traceback
import warnings
from collections.abc import Generator, Iterator, Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from bptt.harness.adapters.equations.adapt import Beside
from bptt.harness.adapters.triton import COMPILED, INTERPRETED, is_slow
from bptt.harness.call import operator
from bptt.harness.call.cell import run
from bptt.harness.call.drawing import draw
from bptt.harness.call.network import as_cell
from bptt.harness.cases import Case, admissible, drawn
from bptt.harness.checks.context import CheckContext
from bptt.harness.checks.evidence import Evidence, NotApplicable, NotGiven
from bptt.harness.checks.forward_first import with_needs
from bptt.harness.checks.operators.plan import small as small_cases
from bptt.harness.checks.registry import Check
from bptt.harness.errors import BpttError, ContractError, SubjectError
from bptt.harness.identify.forward_bug import ForwardBug, forward_bug
from bptt.harness.identify.published_cell import Outcome, closest, searched
from bptt.harness.levels import LEVELS
from bptt.harness.run.budget import LAUNCHED, STANDARD, Budget
from bptt.harness.run.events import Checking, Event, Explaining, Found, Measured, Options, Outside, Recognised, Remarked, Task
from bptt.harness.run.findings import finding_of, unexplained
from bptt.harness.run.gradient_over_lag import gradient_over_lag
from bptt.harness.run.record.sources import sources_of
from bptt.harness.run.shrinking import evidence_at
from bptt.harness.subject import AsMade, Subject
from bptt.harness.training.mistakes import variants_of
from bptt.harness.weights.map import Identification
from bptt.harness.weights.mirror import mirror
from bptt.reports.records import Identified, Remark, Result, Target

_DRAWS = {"smoke": 4, "standard": 8, "full": 8, "exhaustive": 8}


def planned(checks: tuple[Check, ...], subject: Subject, options: Options) -> list[Check]:
    """The checks that run on this subject, in order."""
    rank = LEVELS.index(options.level)

    def chosen(c: Check) -> bool:
        wanted = not options.select or bool(c.names & set(options.select))
        asked_by_name = c.id in options.select
        refused = bool(c.names & set(options.ignore))
        for_it = subject.kind in c.kinds or subject.like in c.kinds
        return wanted and not refused and for_it and (asked_by_name or LEVELS.index(c.level) <= rank)

    return [c for c in checks if chosen(c)]


#: What an adapter says of the place where the target runs, and the verdict with it.
SAID = (INTERPRETED, COMPILED, "device")


def admit(subject: Subject) -> None:
    """One small run, before any verdict: what cannot even be run is a target that cannot be loaded.

    Raises SubjectError where init, zero_state, run or loss raise, ContractError where they return something of another form.
    """
    if subject.kind == "part":
        return  # its adapter has called it
    case = admissible(subject, Case(T=3))
    if subject.kind == "operator":
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            trouble: SubjectError | None = None
            for length in small_cases(subject)[:3]:
                try:
                    operator.run(subject, operator.draw(subject, admissible(subject, length)))
                    return  # its first check asks for the form of what it gives, and a length at which it raises is a finding
                except SubjectError as error:
                    trouble = trouble or error
            assert trouble is not None
            raise trouble
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        runnable = subject if subject.kind == "cell" else as_cell(subject, case)
        data = draw(runnable, case)
        ys, final = run(runnable, data)
    if subject.kind == "cell":
        if ys.ndim != 3 or ys.shape[:2] != (case.T, case.N):
            raise ContractError(f"{subject.name}.run: ys has shape {ys.shape}, wanted (T, N, width) = ({case.T}, {case.N}, ...)")
        for name, value in data.state.items():
            if name not in final or final[name].shape != value.shape:
                got = f"shape {final[name].shape}" if name in final else f"no {name!r}"
                raise ContractError(
                    f"{subject.name}.run: the final state has {got}, wanted {name!r} of shape {value.shape} as in zero_state"
                )


def begun(subject: Subject, task: Task, checks: tuple[Check, ...], options: Options) -> Target:
    """The subject as a record, with the plan for it."""
    plan = tuple(c.id for c in planned(checks, subject, options))
    full = planned(checks, subject, replace(options, select=(), ignore=()))
    return Target(
        subject.name,
        subject.spec,
        subject.framework,
        None if subject.like is None else "".join(subject.like),
        capabilities=tuple(sorted(subject.capabilities)),
        id=task.id_of(subject.spec),
        args=dict(task.args or {}),
        planned=plan,
        left_out=tuple(c.id for c in full if c.id not in plan),
        asked=task.id,
        case=None if options.case is None else str(options.case),
        sources=sources_of(subject),
    )


def judge(subject: Subject, task: Task, checks: tuple[Check, ...], options: Options) -> Iterator[Event]:
    """Events of all checks on one subject, in the order of the catalogue."""
    plan = planned(checks, subject, options)
    target_id = task.id_of(subject.spec)
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        search, varied, beside = _NOT_SEARCHED, None, None
        if (target_id, "identification") not in options.skip:
            yield Outside(target_id, "identification")
            search = _identified(subject)
            found = search.outcome.identification
            varied = forward_bug(subject, subject.like) if found is None and subject.kind in ("cell", "network") else None
            equal = subject.other if subject.other is not None and isinstance(subject.other.implementation, Beside) else None
            beside = equal if found is None else mirror(subject, found)
        found = search.outcome.identification
        context = CheckContext(
            subject,
            found,
            _DRAWS[options.level],
            search.closest,
            reason=search.outcome.reason,
            refuted=search.outcome.refuted,
            mirror=beside,
            forward_bug=varied,
            variants=variants_of(subject.like),
        )
        if (identified := _known(found, varied)) is not None:
            yield Recognised(target_id, identified)
        roots = {check: check for name, check in options.failed if name == target_id}
        in_order = with_needs(plan, context)
        asked, slow = options.budget is not None, is_slow(subject)
        own = LAUNCHED if slow else STANDARD if options.level == "standard" else None
        budget = Budget(options.budget or own, [c.family for c, _ in in_order], given=asked, saves=asked or slow)
        for c, needs in in_order:
            if (target_id, c.id) in options.skip:
                continue
            yield Checking(target_id, c.id)
            result = _with_expectation((yield from _judged(context, c, needs, task, roots, options, budget)), options)
            if result.status in ("failed", "blocked", "error", "xfailed", "changed"):
                roots[c.id] = roots.get(result.blocked_by or "", result.blocked_by or c.id)
            yield Found(replace(result, target=target_id))
        for each in subject.detected:
            if each.what in SAID:
                yield Remarked(target_id, Remark(each.what, each.why, "info"))
        left = subject.not_driven(LEVELS.index(options.level) >= LEVELS.index("full"))
        if left and not options.select:
            yield Remarked(target_id, Remark("not driven", left, "info"))
        if budget.words:
            yield Remarked(target_id, Remark("budget", budget.words, "info"))
        wanted = not options.select and options.case is None
        if wanted and (target_id, "gradient over lag") not in options.skip:
            yield Outside(target_id, "gradient over lag")
            experiment = gradient_over_lag(context)
            if experiment is not None:
                yield Measured(target_id, replace(experiment, target=target_id))


def _beside(subject: Subject, tally: _Tally) -> Iterator[Remark]:
    """What a check says of the target beside its verdict."""
    if subject.as_made is not None and tally.as_made is not None:
        yield Remark("as it is", _as_it_is(subject, subject.as_made, tally.as_made), "info")
    if tally.parts:
        yield Remark("inside", tally.parts, "info")


def _as_it_is(subject: Subject, made: AsMade, known: float) -> str:
    """In which dtype the user's own object was held against the formula on which the other checks run, and how closely."""
    formula = "the same object" if subject.dtype == made.dtype and not made.replaced else f"its formula in {subject.dtype}"
    options = f", with {', '.join(made.replaced)}" if made.replaced else ""
    told = f", {made.told}" if made.told else ""
    return f"{made.dtype}{told}, sensitivity {known:.0e}; the other checks run on {formula}{options}"


def _known(found: Identification | None, varied: ForwardBug | None) -> Identified | None:
    """What the record says of what the subject is."""
    known = found or (varied.identification if varied is not None else None)
    return None if known is None else Identified(known.cell, (found or varied or known).convention, known.max_error)


@dataclass(frozen=True)
class _Search:
    """What the search for a published cell came to.   closest: how near it comes to what it claims to be, where it is not that"""

    outcome: Outcome
    closest: Identification | None = None


_NOT_SEARCHED = _Search(Outcome(None, ""))


def _identified(subject: Subject) -> _Search:
    if subject.kind != "cell":
        return _NOT_SEARCHED
    try:
        outcome = searched(subject, subject.like)
        if outcome.identification is None and subject.like:
            other = searched(subject)
            outcome = other if other.identification is not None else outcome
        found = outcome.identification
        if subject.like and (found is None or found.cell != subject.like):
            return _Search(outcome, closest(subject, subject.like))
        return _Search(outcome)
    except BpttError:  # a subject that cannot be run is no known cell; the contract checks say what is wrong with it
        return _NOT_SEARCHED


@dataclass
class _Tally:
    """What one check's evidence adds up to so far."""

    cases: int = 0
    compared: int = 0
    first: tuple[Evidence, Case] | None = None
    warning: tuple[Evidence, Case] | None = None
    metrics: dict[str, object] = field(default_factory=dict)
    sensitivity: float | None = None
    as_made: float | None = None
    parts: str = ""

    @property
    def recorded(self) -> dict[str, object]:
        return self.metrics | ({} if self.sensitivity is None else {"sensitivity": self.sensitivity})


def _judged(
    context: CheckContext, c: Check, needs: tuple[str, ...], task: Task, roots: Mapping[str, str], options: Options, budget: Budget
) -> Generator[Event, None, Result]:
    began = time.perf_counter()
    name, target_id = context.subject.name, task.id_of(context.subject.spec)
    if options.block:
        for need in needs:
            if need in roots:
                root = roots[need]
                return Result(name, c.id, "blocked", blocked_by=root, reason=f"{root} failed, without which this says nothing")
    tally = _Tally()
    try:
        for case in budget.cases(c.id, cases_of(context.subject, c, options)):
            tally.cases += 1
            _add(tally, context, c, case)
            if tally.first is not None:
                break
    except NotApplicable as reason:
        if isinstance(reason, NotGiven) and reason.of_weights:
            words = f"no {', '.join(f'dL/d{name}' for name in reason.of_weights)}: whether it is right is not known"
            yield Remarked(target_id, Remark("not given", words, "warning"))
        if tally.first is None and not tally.compared:
            return Result(name, c.id, "not_applicable", "info", reason=str(reason), duration_s=time.perf_counter() - began)
    except Exception as error:  # the harness's own mistake: it is reported as such, and the other checks go on
        where = traceback.extract_tb(error.__traceback__)[-1]
        said = f"the harness failed: {type(error).__name__}: {error} (at {where.filename}:{where.lineno})"
        return Result(name, c.id, "error", reason=said, cases=tally.cases, duration_s=time.perf_counter() - began)
    if tally.first is None and not tally.compared:
        return Result(name, c.id, "error", reason="the check compared nothing", cases=tally.cases, duration_s=time.perf_counter() - began)
    for remark in _beside(context.subject, tally):
        yield Remarked(target_id, remark)
    chosen = tally.first or tally.warning
    metrics = tally.recorded
    if chosen is None:
        return Result(name, c.id, "passed", cases=tally.cases, duration_s=time.perf_counter() - began, metrics=metrics)
    evidence, case = chosen
    status = "failed" if tally.first else "passed"
    result = Result(
        target_id,
        c.id,
        status,  # type: ignore[arg-type]  # one of two literals
        "error" if tally.first else "warning",
        cases=tally.cases,
        duration_s=time.perf_counter() - began,
        finding=unexplained(evidence, case),
        metrics=metrics | evidence.recorded,
    )
    yield Explaining(_with_expectation(result, options))
    finding = finding_of(context, c, task, evidence, case, options)
    return replace(result, duration_s=time.perf_counter() - began, finding=finding)


def cases_of(subject: Subject, c: Check, options: Options) -> list[Case]:
    if options.case is not None:
        return [admissible(subject, options.case)]
    every = c.cases if c.cases_for is None else c.cases_for(subject)
    declared = every[:1] if options.level == "smoke" else every
    repeats = 5 if options.level in ("full", "exhaustive") else 1
    spread = [replace(case, seed=case.seed + 1000 * (options.seed + k)) for k in range(repeats) for case in declared]
    if c.drawn and options.level != "smoke":
        spread += drawn(subject, c.drawn * repeats, 1000 * options.seed)
    return list(dict.fromkeys(admissible(subject, case) for case in spread))


def _add(tally: _Tally, context: CheckContext, c: Check, case: Case) -> None:
    for evidence in evidence_at(context, c, case):
        tally.compared += 1
        if evidence.as_made is not None:
            tally.as_made = max(evidence.as_made, tally.as_made or 0.0)
        tally.parts = evidence.parts or tally.parts
        if not evidence.holds and evidence.severity == "error":
            tally.first = (evidence, case)
            return
        if not evidence.holds and tally.warning is None:
            tally.warning = (evidence, case)
        _merge(tally, evidence)


def _merge(tally: _Tally, evidence: Evidence) -> None:
    """Largest error, best sensitivity and weakest certificate of all cases; the rest as it came last."""
    seen = replace(evidence, sensitivity=None).recorded
    if evidence.relative_error is not None:
        seen.setdefault("max_relative_error", evidence.relative_error)
    for key, value in seen.items():
        old = tally.metrics.get(key)
        tally.metrics[key] = max(old, value) if isinstance(old, int | float) and isinstance(value, int | float) else value
    if evidence.sensitivity is not None:  # an error is caught where it is caught best
        tally.sensitivity = evidence.sensitivity if tally.sensitivity is None else min(evidence.sensitivity, tally.sensitivity)


def _with_expectation(result: Result, options: Options) -> Result:
    """A known failure is expected, one with another code is news, and so is a pass."""
    known = options.expect.get(result.check)
    if known is None or result.status not in ("failed", "passed"):
        return result
    expires = known.get("expires")
    if expires and datetime.date.fromisoformat(str(expires)) < datetime.date.today():
        return replace(result, reason=f"the expectation of this failure expired on {expires}")
    if result.status == "passed":
        return replace(
            result,
            status="xpassed",
            reason=f"expected to fail ({known.get('reason', 'no reason given')}), it passes: remove the entry",
        )
    if result.finding is not None and known.get("code") not in (None, result.finding.code):
        return replace(result, status="changed", reason=f"expected to fail with {known['code']}, it fails with {result.finding.code}")
    return replace(result, status="xfailed", reason=str(known.get("reason", "expected to fail")))
