"""How a process ended, in words: the signal, the limit, the line of the user's that it was at, the end of what it printed."""

from __future__ import annotations

import contextlib
import re
import signal

from bptt.harness.call.guard import is_users
from bptt.harness.run.isolation.keeper import End
from bptt.harness.run.isolation.limits import Limits, spelled
from bptt.harness.run.isolation.worker import CUT_OFF
from bptt.reports.serial import Json

_FRAME = re.compile(r'^  File "(?P<file>[^"]+)", line (?P<line>\d+) in ', re.M)
_LONGEST = 200


def account_of(end: End, last: Json, limits: Limits) -> str:
    """One line, for the result of the check that was at work, or in place of it."""
    if "raised" in last:
        return f"its code raised {last['raised']}"
    place = f", at {found}" if (found := users_place(end.trace)) else ""
    match end.how:
        case "cpu":
            return f"ended after {limits.cpu_s:g} s of processor time (--timeout){place}"
        case "clock":
            return f"ended after {limits.clock_s:g} s by the clock, five times as long as of the processor (--timeout){place}"
        case "memory":
            return f"out of memory: more than {spelled(limits.memory)} resident (--memory){place}"
        case "lost":
            return "the process was lost, and nobody saw how"
    words = "" if place else _said(end.printed)
    if end.how == "signal":
        name = str(end.number)
        with contextlib.suppress(ValueError):
            name = signal.Signals(end.number).name
        hint = " (where the machine runs out of memory, the system does that)" if name == "SIGKILL" else ""
        return f"the process died: killed by {name}{hint}{place}{words}"
    if end.number == CUT_OFF and words:
        return f"the process died{words}"
    return f"the process died: exit code {end.number}{place}{words}"


def users_place(trace: str) -> str:
    """'FILE:LINE' of the innermost line of the user's own code in a trace of faulthandler's; "" where there is none."""
    return next((f"{frame['file']}:{frame['line']}" for frame in _FRAME.finditer(trace) if is_users(frame["file"])), "")


def _said(printed: str) -> str:
    lines = [line for line in printed.splitlines() if line.strip()]
    return f"; its last words: {' '.join(lines[-1].split())[-_LONGEST:]}" if lines else ""
