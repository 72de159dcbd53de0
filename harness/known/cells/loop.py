"""Mistakes in the loop over time, the same for every cell: what is carried, what is added up, over what is averaged."""

from __future__ import annotations

from functools import lru_cache

from bptt.harness.known.mistake import KnownMistake, Place, of_cell

ELMAN = ("elman", "elman_relu", "elman_sigmoid", "elman_linear")
GRU = ("gru_reset_after", "gru_reset_before")
LSTM = ("lstm", "lstm_peephole", "lstm_tf1", "lstm_projected")
#: Whatever the cell: the loop is the same.
ALL: tuple[str, ...] = ()
#: The cells in which each of those is proven to show, with every parameter that it speaks of.
SHOWN_IN = (*ELMAN, *GRU, *LSTM)

_START = "dtype = np.result_type(xs, dys, *params.values(), *dfinal.values())"
_FINAL = "dstate = _cast(dfinal, dtype)"
_STEP = "dax, dstate, share = cell.step_backward(params, tapes[t], dys[t], dstate)"
_END = "return _gather(cell, params, xs, daxs[::-1], shares[::-1], dstate)"
_RIGHT = "dparams, dxs, dstate0 = _gather(cell, params, xs, daxs[::-1], shares[::-1], dstate)"
_RETURN = "return dparams, dxs, dstate0"


def _start(name: str, cells: tuple[str, ...], after: str, sentence: str, fix: str, where: Place, found_by: str) -> KnownMistake:
    return of_cell(name, cells, "backward", _FINAL, f"{_FINAL}\n{after}", sentence, fix, where, found_by)


def _step(
    name: str,
    cells: tuple[str, ...],
    after: str,
    sentence: str,
    fix: str,
    where: Place,
    found_by: str = "GRD130",
    scale: float = 1.0,
) -> KnownMistake:
    return of_cell(name, cells, "backward", _STEP, after, sentence, fix, where, found_by, scale=scale)


def _end(
    name: str, after: str, sentence: str, fix: str, where: Place, found_by: str, cells: tuple[str, ...] = ALL, scale: float = 1.0
) -> KnownMistake:
    return of_cell(name, cells, "backward", _END, f"{_RIGHT}\n{after}\n{_RETURN}", sentence, fix, where, found_by, scale=scale)


_EARLIER = Place(lag=1)

CARRIED = (
    _step(
        "dh-next-dropped",
        ALL,
        f'{_STEP}\ndstate = dstate | {{"h": dstate["h"] if t == 0 else 0 * dstate["h"]}}',
        "dh_next is lost: no step gets the gradient of h from the step after it",
        "dh_next = dh_prev at the end of each step",
        _EARLIER,
    ),
    _step(
        "dh-next-never-updated",
        ALL,
        f'{_STEP}\ndstate = dstate | {{"h": dstate["h"] if t == 0 else dfinal["h"].astype(dtype)}}',
        "dh_next is never updated: every step gets that of the last one",
        "dh_next = dh_prev at the end of each step",
        _EARLIER,
    ),
    _step(
        "dc-next-dropped",
        LSTM,
        f'{_STEP}\ndstate = dstate | {{"c": dstate["c"] if t == 0 else 0 * dstate["c"]}}',
        "dc_next is lost: no step gets the gradient of c from the step after it",
        "dc_next = dc_prev at the end of each step",
        _EARLIER,
    ),
    _step(
        "dc-next-never-updated",
        LSTM,
        f'{_STEP}\ndstate = dstate | {{"c": dstate["c"] if t == 0 else dfinal["c"].astype(dtype)}}',
        "dc_next is never updated: every step gets that of the last one",
        "dc_next = dc_prev at the end of each step",
        _EARLIER,
    ),
    _step(
        "dh-next-dc-next-dropped",
        LSTM,
        f"{_STEP}\nif t > 0:\n    dstate = {{name: 0 * d for name, d in dstate.items()}}",
        "dh_next and dc_next are lost: no step gets a gradient from the step after it",
        "dh_next, dc_next = dh_prev, dc_prev at the end of each step",
        _EARLIER,
    ),
    _step(
        "dh-next-dc-next-never-updated",
        LSTM,
        f"{_STEP}\nif t > 0:\n    dstate = _cast(dfinal, dtype)",
        "dh_next and dc_next are never updated: every step gets those of the last one",
        "dh_next, dc_next = dh_prev, dc_prev at the end of each step",
        _EARLIER,
    ),
    _step(
        "dh-next-replaces-dy",
        ALL,
        "dax, dstate, share = cell.step_backward(params, tapes[t], dys[t] if t == len(tapes) - 1 else 0 * dys[t], dstate)",
        "only the last output's gradient is used: dy of the earlier steps is not added to dh",
        "dh = dys[t] + dh_next in every step",
        _EARLIER,
    ),
    _step(
        "dy-in-wrong-order",
        ALL,
        "dax, dstate, share = cell.step_backward(params, tapes[t], dys[len(tapes) - 1 - t], dstate)",
        "the gradients of the outputs are taken in the wrong order of time",
        "dh = dys[t] + dh_next",
        Place(),
    ),
    *(
        _step(
            "stale-h_0",
            cells,
            "dax, dstate, share = cell.step_backward(params, (tapes[0][0], *tapes[t][1:]), dys[t], dstate)",
            "every step is given h_0 in the place of h_(t-1)",
            "h_prev = hs[t - 1], and h_0 at t = 0",
            where,
        )
        for cells, where in (((*ELMAN, *LSTM), Place("W_h", lag=None)), (GRU, Place()))
    ),
    _start(
        "dfinal-h-ignored",
        ALL,
        'dstate["h"] = 0 * dstate["h"]',
        "the gradient of the final state h is ignored",
        'dh_next = dfinal["h"] before the loop',
        Place(),
        "GRD110",
    ),
    _start(
        "dfinal-c-ignored",
        LSTM,
        'dstate["c"] = 0 * dstate["c"]',
        "the gradient of the final state c is ignored",
        'dc_next = dfinal["c"] before the loop',
        Place(gates="ifg"),
        "GRD110",
    ),
    _start(
        "dfinal-ignored",
        LSTM,
        "dstate = {name: 0 * d for name, d in dstate.items()}",
        "the gradients of the final states h and c are ignored",
        'dh_next, dc_next = dfinal["h"], dfinal["c"] before the loop',
        Place(),
        "GRD110",
    ),
    _step(
        "dh-rounded-to-float32",
        ALL,
        f'{_STEP}\ndstate = dstate | {{"h": dstate["h"].astype(np.float32).astype(dtype)}}',
        "dh is rounded to float32 between the steps",
        "keep dh_next in the dtype of the parameters",
        _EARLIER,
        "LIN110",
    ),
    *(
        _step(
            f"dh-clipped-to-{bound}",
            ALL,
            f'{_STEP}\ndstate = dstate | {{"h": np.clip(dstate["h"], -{bound}, {bound})}}',
            f"dh is clipped to [-{bound}, {bound}] between the steps",
            "clip the parameters' gradients after the whole backward pass, outside of it",
            _EARLIER,
            "LIN110",
            300.0,
        )
        for bound in (1, 5)
    ),
    of_cell(
        "dh0-one-step-short",
        ALL,
        "backward",
        _STEP,
        f"earlier = dstate\n{_STEP}",
        "dL/dh_0 is that of h_1: one step short",
        "dh0 = dh_prev of step 0",
        Place("h0 c0", lag=None),
        "GRD120",
        also=((_END, "return _gather(cell, params, xs, daxs[::-1], shares[::-1], earlier if tapes else dstate)"),),
    ),
)


def _of(names: str) -> str:
    """Python for "this parameter is one of them"."""
    return {"W_x": 'name == "W_x"', "W_h": 'name == "W_h"', "b": 'name.startswith("b")', "all": "True"}[names]


_WORDS = {"W_x": "dL/dW_x", "W_h": "dL/dW_h", "b": "dL/db", "all": "every parameter's gradient"}
_WHICH = {"W_x": "W_x", "W_h": "W_h", "b": "b b_x b_h", "all": "W_x W_h b b_x b_h p W_p"}
_SUM = {"W_x": "dW_x += x.T @ da", "W_h": "dW_h += h_prev.T @ da", "b": "db += da.sum(axis=0)", "all": "dW += ... in every step"}


def _replaced_by(names: str, other: str) -> str:
    return f"other = {other}\ndparams = {{name: other[name] if {_of(names)} else g for name, g in dparams.items()}}"


def _rows(which: str) -> str:
    """The parameters' gradients of some rows of the batch alone."""
    return (
        f"unedited.backward(cell, params, xs[:, {which}], [tuple(a[{which}] for a in tape) for tape in tapes], dys[:, {which}], "
        f"{{name: d[{which}] for name, d in dfinal.items()}})[0]"
    )


_FIRST = "_gather(cell, params, xs[:1], daxs[-1:], shares[-1:], dstate)[0]"
_LAST = "_gather(cell, params, xs[-1:], daxs[:1], shares[:1], dstate)[0]"
_NOTHING = "{k: 0 * g for k, g in dparams.items()}"
_NOT_FIRST = f"_gather(cell, params, xs[1:], daxs[-2::-1], shares[-2::-1], dstate)[0] if len(xs) > 1 else {_NOTHING}"
_NOT_LAST = f"_gather(cell, params, xs[:-1], daxs[:0:-1], shares[:0:-1], dstate)[0] if len(xs) > 1 else {_NOTHING}"

ADDED_UP = tuple(
    _end(
        f"{tensor}-{name}",
        _replaced_by(tensor, other),
        f"{_WORDS[tensor]} {sentence}",
        _SUM[tensor],
        Place(_WHICH[tensor], lag=None),
        found_by,
    )
    for tensor in ("all", "W_x", "W_h", "b")
    for name, other, sentence, found_by in (
        (
            "only-first-step",
            _FIRST,
            "is overwritten in each step instead of added up: only the first step's share is left",
            "GRD130",
        ),
        ("only-last-step", _LAST, "has only the last step's share", "GRD130"),
        ("without-first-step", _NOT_FIRST, "lacks the share of step 0", "GRD110"),
        ("without-last-step", _NOT_LAST, "lacks the last step's share", "GRD110"),
        ("only-first-row", _rows(":1"), "has only the first row of the batch", "GRD110"),
        ("only-last-row", _rows("-1:"), "has only the last row of the batch", "GRD110"),
    )
)

SCALED = tuple(
    _end(
        f"{tensor}-{name}",
        f"dparams = {{name: g * {factor} if {_of(tensor)} else g for name, g in dparams.items()}}",
        f"{_WORDS[tensor]} {sentence}",
        fix,
        Place(_WHICH[tensor], lag=None),
        found_by,
    )
    for tensor in ("all", "W_x", "W_h", "b")
    for name, factor, sentence, fix, found_by in (
        (
            "mean-over-batch",
            "(1 / xs.shape[1])",
            "is the mean over the batch instead of the sum",
            "db = da.sum(axis=0), without / N",
            "GRD110",
        ),
        ("mean-over-time", "(1 / len(xs))", "is the mean over time instead of the sum", "without / T", "GRD130"),
        (
            "mean-over-batch-and-time",
            "(1 / (xs.shape[1] * len(xs)))",
            "is the mean over batch and time instead of the sum",
            "without / (N * T)",
            "GRD110",
        ),
        ("doubled", "2", "is twice what it should be: its share is added twice", _SUM[tensor], "GRD110"),
        ("sign", "(-1)", "has the wrong sign", _SUM[tensor], "GRD110"),
        ("zero", "0", "is never added up: it stays zero", _SUM[tensor], "GRD110"),
    )
)

_EVERYTHING = tuple(
    _end(
        f"everything-{name}",
        f"dparams = {{name: g * {factor} for name, g in dparams.items()}}\ndxs = dxs * {factor}\n"
        f"dstate0 = {{name: d * {factor} for name, d in dstate0.items()}}",
        f"every gradient {sentence}",
        fix,
        Place(),
        found_by,
    )
    for name, factor, sentence, fix, found_by in (
        (
            "mean-over-batch",
            "(1 / xs.shape[1])",
            "is divided by the batch size: the loss is a mean, but the gradients given are those of a sum",
            "without / N",
            "GRD110",
        ),
        ("mean-over-time", "(1 / len(xs))", "is divided by the number of steps", "without / T", "GRD130"),
        (
            "mean-over-batch-and-time",
            "(1 / (xs.shape[1] * len(xs)))",
            "is divided by batch size and number of steps",
            "without / (N * T)",
            "GRD110",
        ),
        ("sign", "(-1)", "has the wrong sign", "-1 times that", "GRD110"),
    )
)

WEIGHTS = (
    _end(
        "dW_x-with-x-before",
        "earlier = np.concatenate([0 * xs[:1], xs[:-1]])\n"
        'dparams["W_x"] = _gather(cell, params, earlier, daxs[::-1], shares[::-1], dstate)[0]["W_x"]',
        "dL/dW_x is built with x_(t-1) instead of x_t",
        "dW_x += x[t].T @ da",
        Place("W_x", lag=None),
        "GRD110",
    ),
    _end(
        "dW_x-in-wrong-order",
        'dparams["W_x"] = _gather(cell, params, xs[::-1], daxs[::-1], shares[::-1], dstate)[0]["W_x"]',
        "dL/dW_x pairs inputs and gradients in opposite orders of time",
        "dW_x += x[t].T @ da",
        Place("W_x", lag=None),
        "GRD130",
    ),
    _end(
        "gradients-clipped-to-5",
        "dparams = {name: np.clip(g, -5, 5) for name, g in dparams.items()}",
        "the parameters' gradients are clipped to [-5, 5]",
        "clip outside of the backward pass (or say clip = c where it is meant, to be judged without it)",
        Place(_WHICH["all"], lag=None),
        "LIN110",
        scale=300.0,
    ),
    _end(
        "gradients-clipped-to-1",
        "dparams = {name: np.clip(g, -1, 1) for name, g in dparams.items()}",
        "the parameters' gradients are clipped to [-1, 1]",
        "clip outside of the backward pass (or say clip = c where it is meant, to be judged without it)",
        Place(_WHICH["all"], lag=None),
        "LIN110",
        scale=300.0,
    ),
    _end(
        "gradients-rounded-to-float32",
        "dparams = {name: g.astype(np.float32).astype(dtype) for name, g in dparams.items()}",
        "the parameters' gradients are rounded to float32",
        "allocate the gradients in the dtype of the parameters",
        Place(_WHICH["all"], lag=None),
        "LIN110",
    ),
    _end(
        "one-entry-of-W_h",
        'dparams["W_h"].flat[np.abs(dparams["W_h"]).argmax()] *= 1 + 1e-4',
        "the largest entry of dL/dW_h is wrong by 1e-4 of its value",
        "dW_h += h_prev.T @ da without a special case for an entry",
        Place("W_h", lag=None),
        "GRD110",
    ),
)

INPUTS = (
    _end(
        "dh0-zero",
        'dstate0["h"] = 0 * dstate0["h"]',
        "dL/dh_0 is zero",
        "dh0 = dh_prev of step 0",
        Place("h0", lag=None),
        "GRD120",
    ),
    _end(
        "dc0-zero",
        'dstate0["c"] = 0 * dstate0["c"]',
        "dL/dc_0 is zero",
        "dc0 = dc_prev of step 0",
        Place("c0", lag=None),
        "GRD120",
        LSTM,
    ),
    _end(
        "dh0-dc0-zero",
        "dstate0 = {name: 0 * d for name, d in dstate0.items()}",
        "dL/dh_0 and dL/dc_0 are zero",
        "dh0, dc0 = dh_prev, dc_prev of step 0",
        Place("h0 c0", lag=None),
        "GRD120",
        LSTM,
    ),
    _end(
        "dh0-dc0-swapped",
        'if dstate0["h"].shape == dstate0["c"].shape:\n    dstate0 = {"h": dstate0["c"], "c": dstate0["h"]}',
        "dL/dh_0 and dL/dc_0 stand in each other's place",
        "dh0, dc0 = dh_prev, dc_prev of step 0",
        Place("h0 c0", lag=None),
        "GRD120",
        ("lstm", "lstm_peephole", "lstm_tf1"),
    ),
    _end(
        "dx-in-wrong-order",
        "dxs = dxs[::-1].copy()",
        "dL/dx comes in the wrong order of time: the list is not reversed",
        "dxs = dxs[::-1]",
        Place("xs"),
        "GRD130",
    ),
    _end(
        "dx-only-last-step",
        "dxs[:-1] = 0",
        "dL/dx is given for the last step only",
        "dxs[t] = da @ W_x.T in every step",
        Place("xs", lag=1),
        "GRD130",
    ),
    _end("dx-zero", "dxs = 0 * dxs", "dL/dx is zero", "dxs[t] = da @ W_x.T", Place("xs"), "GRD120"),
)

BUGS = (*CARRIED, *ADDED_UP, *SCALED, *_EVERYTHING, *WEIGHTS, *INPUTS)


@lru_cache(maxsize=64)
def truncations(T: int) -> tuple[KnownMistake, ...]:
    """A gradient that goes back only k steps, or is cut every k steps, for each k at which that shows in T steps.

    The cut of period k is at the steps k, 2k, ... counted from the first one; that of 'the last k steps' once.
    """
    fix = "carry dh_next through all T steps (or say truncation = k)"
    found = []
    for k in _windows(T - 2):
        found.append(
            of_cell(
                f"truncation-after-{k}",
                ALL,
                "backward",
                _START,
                f"if len(tapes) > {k + 1}:\n    return truncated_backward(cell, params, xs, tapes, dys, dfinal, {k})\n{_START}",
                f"each output's gradient goes back {k} step{'s' * (k != 1)} and no further",
                fix,
                Place(lag=k + 1),
                "GRD130" if k < 4 else "GRD150",
                case=f"T{max(k + 2, 5)}-N2-D3-H7",
            )
        )
    for k in _windows(T - 1)[1:]:
        for name, cut, sentence in (
            (f"detached-every-{k}", f"t % {k} == 0", f"the gradient is cut every {k} steps, where dh_next starts from zero"),
            (
                f"detached-{k}-from-the-end",
                f"t == len(tapes) - {k}",
                f"the gradient stops {k} steps before the end of the sequence",
            ),
        ):
            first = T % k or k if name.startswith("detached-every") else k
            found.append(
                of_cell(
                    name,
                    ALL,
                    "backward",
                    _STEP,
                    f"{_STEP}\nif t > 0 and {cut}:\n    dstate = {{name: 0 * d for name, d in dstate.items()}}",
                    sentence,
                    "carry dh_next through all T steps; or hand over one piece at a time, with the state of the one before",
                    Place(lag=first),
                    "GRD130" if k < 5 else "GRD150",
                    case=f"T{T}-N2-D3-H7",
                )
            )
    return tuple(found)


def _windows(most: int) -> list[int]:
    """Every k up to 12, then those that people choose, none above `most`."""
    return [k for k in (*range(1, 13), 15, 16, 20, 24, 25, 30, 32, 35, 40, 48, 50) if k <= most]
