"""What every view says of an experiment in the same words: its verdict, its claims, its numbers."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from bptt.reports.records import Claim, ClaimVerdict, Experiment, Interval, Run
from bptt.reports.view import Look, one_line, plural

#: Gravest first: an experiment's verdict is the first of these that a claim has.
LOOKS: Mapping[ClaimVerdict, Look] = {
    "differs": Look("✗", "F", "differs", "bold red"),
    "explained": Look("≈", "~", "differs, explained", "cyan"),
    "agrees": Look("✓", ".", "agrees", "green"),
    "not judged": Look("–", "-", "not judged", "dim"),
}
_COUNTED: Mapping[ClaimVerdict, tuple[str, str]] = {
    "differs": ("differs", "differ"),
    "explained": ("explained", "explained"),
    "agrees": ("agrees", "agree"),
    "not judged": ("not judged", "not judged"),
}
#: What the verdicts' kinds are called where results of checks are shown beside them (style sheet, badges).
KINDS: Mapping[ClaimVerdict, str] = {
    "differs": "failed",
    "explained": "xfailed",
    "agrees": "passed",
    "not judged": "not_applicable",
}


def experiments_of(run: Run) -> tuple[Experiment, ...]:
    """Those that answer a question.  Curves that a check leaves beside its verdict are none."""
    return tuple(e for e in run.experiments if e.question or e.claims)


def verdict(experiment: Experiment) -> ClaimVerdict:
    """That of its gravest claim; claims that agree say nothing where the question was not answered."""
    found = {c.verdict for c in experiment.claims}
    gravest: ClaimVerdict = next((v for v in LOOKS if v in found), "not judged")
    return "not judged" if gravest == "agrees" and experiment.unanswered else gravest


def differing(experiments: Iterable[Experiment]) -> tuple[Experiment, ...]:
    return tuple(e for e in experiments if verdict(e) == "differs")


def counts_text(claims: Sequence[Claim]) -> str:
    """ "1 differs · 2 explained · 40 agree" """
    counted = Counter(c.verdict for c in claims)
    return " · ".join(f"{counted[v]} {_COUNTED[v][counted[v] > 1]}" for v in LOOKS if counted[v]) or "nothing claimed"


def headline(experiments: Sequence[Experiment]) -> str:
    """ "All 12 experiments agree with theory", "2 of 12 experiments differ from it: a, b" """
    wrong = differing(experiments)
    if not experiments:
        return "Nothing was measured"
    if not wrong:
        judged = [e for e in experiments if verdict(e) != "not judged"]
        if not judged:
            return f"{plural(len(experiments), 'experiment')}, none of them judged"
        if len(judged) < len(experiments):
            return f"{plural(len(experiments), 'experiment')}, as theory says ({len(experiments) - len(judged)} not judged)"
        return f"{plural(len(judged), 'experiment')}, as theory says" if len(judged) > 1 else f"{label(judged[0])} is as theory says"
    if len(experiments) == 1:
        return f"{label(wrong[0])} differs from theory"
    return f"{len(wrong)} of {len(experiments)} experiments {'differs' if len(wrong) == 1 else 'differ'} from theory"


def label(experiment: Experiment) -> str:
    """ "book", "gain x lag (mypkg:MyGRU)" """
    return one_line(experiment.name) + (f" ({one_line(experiment.target)})" if experiment.target else "")


def measured_text(c: Claim) -> str:
    return number(c.measured, digits_of(c))


def expected_text(c: Claim) -> str:
    """ "1.2552 ± 1e-04", "at most 1", "" """
    if c.expected is None:
        return ""
    sign = {"within": "", "at most": "at most ", "at least": "at least "}[c.comparison]
    slack = f" ± {number(c.tolerance, 2)}" if c.tolerance and c.comparison == "within" else ""
    slack = f" + {number(c.tolerance, 2)}" if c.tolerance and c.comparison == "at most" else slack
    slack = f" - {number(c.tolerance, 2)}" if c.tolerance and c.comparison == "at least" else slack
    return f"{sign}{number(c.expected, digits_of(c))}{slack}"


def digits_of(c: Claim) -> int:
    """Enough digits to see what decides the claim: the tolerance, and the difference where there is one."""
    known = [abs(v) for v in (c.measured, c.expected) if v is not None and math.isfinite(v) and v]
    if not known or c.expected is None:
        return 4
    decides = [abs(v) for v in (c.tolerance,) if v and math.isfinite(v)]
    if c.verdict != "agrees" and math.isfinite(c.measured - c.expected) and c.measured != c.expected:
        decides.append(abs(c.measured - c.expected))
    if not decides:
        return 4
    digits = math.ceil(math.log10(max(known))) - math.floor(math.log10(min(decides))) + 2
    return max(4, min(digits, 17))


def number(value: float, digits: int = 4) -> str:
    """As short as it is read best: 1.255, 0.0002379, 2.6e-05, 300."""
    return f"{value:.{digits}g}" if math.isfinite(value) else str(value)


def cell_text(cell: str | float | Interval) -> str:
    """A table's cell: "0.93 (0.85 to 0.97)"."""
    if isinstance(cell, Interval):
        return f"{number(cell.value, 3)} ({number(cell.low, 3)} to {number(cell.high, 3)})"
    if isinstance(cell, str):
        return cell
    return str(int(cell)) if math.isfinite(cell) and cell == int(cell) and abs(cell) < 1e9 else number(cell)
