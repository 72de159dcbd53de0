"""A fault: what somebody's file does, and what a run must say of it."""

from __future__ import annotations

from dataclasses import dataclass, field

#: A right Elman cell in the plug-in contract.  A row replaces one of its lines, or puts lines in front or behind.
RIGHT = """\
import numpy as np


class Cell:
    def init(self, rng, input_size, hidden_size):
        return {"W": 0.4 * rng.normal(size=(input_size, hidden_size)), "U": 0.4 * rng.normal(size=(hidden_size, hidden_size))}

    def zero_state(self, params, batch_size):
        return {"h": np.zeros((batch_size, len(params["U"])))}

    def run(self, params, xs, state):
        hs = self.states(params, xs, state)
        return np.array(hs[1:]), {"h": hs[-1]}

    def states(self, params, xs, state):
        hs = [state["h"]]
        for x in xs:
            hs.append(np.tanh(x @ params["W"] + hs[-1] @ params["U"]))
        return hs

    def backward(self, params, xs, state, dys, dfinal):
        hs = self.states(params, xs, state)
        dW, dU, dxs, dh = np.zeros_like(params["W"]), np.zeros_like(params["U"]), np.zeros_like(xs), dfinal["h"]
        for t in reversed(range(len(xs))):
            da = (dh + dys[t]) * (1 - hs[t + 1] ** 2)
            dW += xs[t].T @ da
            dU += hs[t].T @ da
            dxs[t] = da @ params["W"].T
            dh = da @ params["U"].T
        return {"W": dW, "U": dU}, dxs, {"h": dh}
"""
#: The same cell with 10 % too much of dL/dU.
WRONG = RIGHT.replace("dU += hs[t].T @ da", "dU += 1.1 * hs[t].T @ da")


@dataclass(frozen=True)
class Fault:
    """One row.

    name       of the row: letters and dashes
    what       what the file does, a sentence's worth
    files      path -> text, beside those of the right and the wrong cell
    target     what is checked
    verdict    of that target: "conforms", "does not conform", "not decided" or "cannot be loaded"
    exit_code  of a run of that target alone
    says       a piece of the line that a person reads
    options    of the command, for this row
    checks     to run beside the usual ones, where those do not show it
    quick      whether it is one of the rows in the README's test command
    """

    name: str
    what: str
    files: dict[str, str]
    target: str
    verdict: str
    exit_code: int
    says: str = ""
    options: tuple[str, ...] = ()
    checks: tuple[str, ...] = ()
    quick: bool = field(default=False)


def edited(*changes: tuple[str, str], front: str = "", behind: str = "") -> str:
    """The right cell with lines replaced: each must be there, so that no row plants nothing."""
    text = RIGHT
    for old, new in changes:
        assert old in text, f"nothing to replace: {old!r}"
        text = text.replace(old, new)
    return front + text + behind


def cell(name: str, what: str, verdict: str, exit_code: int, says: str, *changes: tuple[str, str], **more: object) -> Fault:
    """A row whose file is the right cell, edited."""
    front, behind = str(more.pop("front", "")), str(more.pop("behind", ""))
    file = name.replace("-", "_") + ".py"
    return Fault(name, what, {file: edited(*changes, front=front, behind=behind)}, f"{file}:Cell", verdict, exit_code, says, **more)  # type: ignore[arg-type]  # fields of Fault
