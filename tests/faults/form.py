"""What a cell hands back, and what it says of itself."""

from __future__ import annotations

from tests.faults.fault import Fault, cell
from tests.faults.isolation import CONFORMS, FAILS, UNLOADABLE, in_backward, in_run

LIKE = ("class Cell:\n", 'class Cell:\n    like = "{}"\n')
RETURN = '        return {"W": dW, "U": dU}, dxs, {"h": dh}\n'
HEAD = "class Cell:\n"


def returning(line: str) -> tuple[str, str]:
    return RETURN, f"        {line}\n"


def with_attribute(line: str) -> tuple[str, str]:
    return HEAD, HEAD + f"    {line}\n\n"


FORM: tuple[Fault, ...] = (
    cell(
        "nan-gradient",
        "gives NaN as dL/dW: not finite, and no second call that differs",
        FAILS,
        1,
        "finite",
        returning('return {"W": dW * np.nan, "U": dU}, dxs, {"h": dh}'),
        quick=True,
    ),
    cell(
        "infinite-gradient", "gives infinity in dL/dxs", FAILS, 1, "finite", returning('return {"W": dW, "U": dU}, dxs + np.inf, {"h": dh}')
    ),
    cell(
        "gives-one-gradient",
        "gives dL/dW alone: the run says that nothing is known of dL/dU",
        CONFORMS,
        0,
        "no dL/dU",
        returning('return {"W": dW}, None, {}'),
        checks=("CON180",),
    ),
    cell(
        "masked-gradient",
        "masks an entry of dL/dW",
        FAILS,
        1,
        "masked",
        returning('dW = np.ma.masked_equal(dW, dW.flat[0])\n        return {"W": dW, "U": dU}, dxs, {"h": dh}'),
    ),
    cell("nan-zero-state", "starts from NaN", FAILS, 1, "zero_state", ("np.zeros((batch_size", "np.nan * np.zeros((batch_size")),
    cell(
        "kept-zero-state",
        "hands out the same zero state each time and writes into it",
        FAILS,
        1,
        "state",
        (
            'return {"h": np.zeros((batch_size, len(params["U"])))}',
            'self.h = getattr(self, "h", {})\n        fresh = np.zeros((batch_size, len(params["U"])))\n'
            '        return {"h": self.h.setdefault(fresh.shape, fresh)}',
        ),
        in_run('state["h"] += 1e-3'),
    ),
    cell("changes-a-parameter", "changes a parameter in backward", FAILS, 1, "CON165", in_backward('params["W"] *= 1.01')),
    cell("changes-its-input", "changes xs in run", FAILS, 1, "xs", in_run("xs *= 1.01")),
    cell(
        "unknown-final-state",
        "gives a final state that its zero state does not have",
        FAILS,
        1,
        "final",
        ('return np.array(hs[1:]), {"h": hs[-1]}', 'return np.array(hs[1:]), {"h": hs[-1], "c": hs[-1]}'),
    ),
    cell(
        "text-output",
        "gives its outputs as strings",
        UNLOADABLE,
        2,
        "dtype",
        ('return np.array(hs[1:]), {"h"', 'return np.array(hs[1:]).astype(str), {"h"'),
    ),
    cell("list-output", "gives its outputs as a list", UNLOADABLE, 2, "array", ('return np.array(hs[1:]), {"h"', 'return hs[1:], {"h"')),
    cell(
        "one-number-output",
        "gives an array without axes as its outputs",
        UNLOADABLE,
        2,
        "shape",
        ('return np.array(hs[1:]), {"h"', 'return np.array(1.0), {"h"'),
    ),
    cell("wrong-shape-gradient", "gives dL/dW transposed", FAILS, 1, "shape", returning('return {"W": dW.T, "U": dU}, dxs, {"h": dh}')),
    cell("none-from-backward", "gives nothing back from backward", FAILS, 1, "None", returning("pass")),
    cell(
        "early-exit",
        "leaves its loop where the cotangent is zero, which is right in no cell with a state",
        FAILS,
        1,
        "",
        ("            da = (dh + dys[t])", "            if not dys[t].any():\n                break\n            da = (dh + dys[t])"),
        quick=True,
    ),
    cell(
        "right-early-exit",
        "leaves its loop where nothing more can come",
        CONFORMS,
        0,
        "",
        (
            "            da = (dh + dys[t])",
            "            if not dys[: t + 1].any() and not dh.any():\n                break\n            da = (dh + dys[t])",
        ),
    ),
    cell(
        "number-as-parameter",
        "has a parameter without axes, and is right",
        CONFORMS,
        0,
        "",
        ('return {"W": 0.4', 'return {"a": np.array(0.9), "W": 0.4'),
        ('hs[-1] @ params["U"]))', 'params["a"] * (hs[-1] @ params["U"])))'),
        ("        for t in reversed", '        dp = np.zeros_like(params["a"])\n        for t in reversed'),
        ("dU += hs[t].T @ da", 'dU += params["a"] * (hs[t].T @ da)\n            dp += (da * (hs[t] @ params["U"])).sum()'),
        ('dh = da @ params["U"].T', 'dh = params["a"] * (da @ params["U"].T)'),
        ('return {"W": dW, "U": dU}', 'return {"a": dp, "W": dW, "U": dU}'),
        quick=True,
    ),
    cell("unknown-like", "says that it is like something that nobody knows", UNLOADABLE, 2, "lsmt", with_attribute('like = "lsmt"')),
    cell("false-like", "says that it is an LSTM, and is an Elman cell", FAILS, 1, "PAR100", with_attribute('like = "lstm"'), quick=True),
    cell(
        "declared-truncation",
        "says that it stops after 2 steps, and goes all the way back",
        FAILS,
        1,
        "PAR130",
        with_attribute("truncation = 2"),
        checks=("CON110", "PAR130"),
        options=("--level", "standard"),
    ),
)
