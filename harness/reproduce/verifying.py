"""Whether a script fails, and for the right reason: its two numbers are those of the adapter on the same arrays."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from bptt.harness.adapters.reading.code.weights import seeded
from bptt.harness.call.cell import backward, run
from bptt.harness.cases import Cotangent, Data
from bptt.harness.errors import BpttError
from bptt.harness.reproduce.writing import Body, Difference, Drawn
from bptt.harness.subject import Array, Subject

#: The two numbers may differ from the adapter's by this part of what the assert allows, so that right code passes it.
_MARGIN = 0.2


def fails(subject: Subject, body: Body, user: Mapping[str, Any], tensor: str, index: tuple[int, ...], how: Difference) -> bool:
    """Runs the lines in a namespace of their own in which the user's class is loaded already, so that no module runs again."""
    said: list[str] = []
    names: dict[str, Any] = {"np": np, "print": lambda text: said.append(text), **user}
    program = compile("\n".join(body.lines), "<script>", "exec")
    try:
        seeded(np.random.default_rng(0), lambda: exec(program, names))
    except AssertionError:
        return len(said) == 1 and _for_the_right_reason(subject, body, names, tensor, index, how)
    except Exception:  # the user's code may raise anything
        return False
    return False


def _for_the_right_reason(
    subject: Subject, body: Body, names: Mapping[str, Any], tensor: str, index: tuple[int, ...], how: Difference
) -> bool:
    """Whether `yours` is what the adapter's backward gives, and `exact` the difference of its run, with room to spare."""
    try:
        drawn = body.drawn(names)
        target = drawn.subject or subject
        data = _before(drawn, tensor, index, float(np.real(names["w"])))
        cotangent = Cotangent("drawn", _real(drawn.dys), {k: _real(v) for k, v in drawn.dfinal.items()})
        gave = backward(target, data, cotangent)
        given = Data(gave.params, np.empty(0) if gave.xs is None else gave.xs, gave.state)
        yours = float(_array(given, tensor)[index])

        def loss(e: float) -> float:
            ys, final = run(target, _changed(data, tensor, index, e))
            return float(np.sum(cotangent.dys * ys) + sum(np.sum(v * final[k]) for k, v in cotangent.dfinal.items() if k in final))

        coarse, fine = ((loss(h) - loss(-h)) / (2 * h) for h in (how.step, how.step / 2))
    except (BpttError, KeyError, IndexError, ValueError):
        return False
    exact = float(names["exact"])
    same = np.isclose(float(names["yours"]), yours, rtol=_MARGIN * how.rtol, atol=_MARGIN * how.atol, equal_nan=True)
    if how.complex_step:  # a difference cannot tell more of it than this
        return bool(same and np.isclose(coarse, exact, rtol=1e-5, atol=1e-7))
    near = _MARGIN * (how.atol + how.rtol * abs(exact))
    return bool(same and abs(coarse - exact) <= near and abs(fine - exact) <= near)


def _real(a: Array) -> Array:
    return np.array(np.real(a))


def _before(drawn: Drawn, tensor: str, index: tuple[int, ...], value: float) -> Data:
    """The arrays as they were before the entry was changed."""
    data = Data({k: _real(v) for k, v in drawn.params.items()}, _real(drawn.xs), {k: _real(v) for k, v in drawn.state.items()})
    _array(data, tensor)[index] = value
    return data


def _changed(data: Data, tensor: str, index: tuple[int, ...], e: float) -> Data:
    other = Data({k: v.copy() for k, v in data.params.items()}, data.xs.copy(), {k: v.copy() for k, v in data.state.items()})
    _array(other, tensor)[index] += e
    return other


def _array(data: Data, tensor: str) -> Array:
    """The array that is called `tensor`."""
    if tensor in data.params:
        return data.params[tensor]
    return data.xs if tensor == "xs" else data.state[tensor[:-1]]
