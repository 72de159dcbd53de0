"""Two directions that share a buffer: the first one's dx lies where the second one still reads its part of dy.

Of a layer that reads a sequence both ways the outputs are [forward | backward], so with the cotangent v = [v_f | v_b]

    dL/dW_f = J_f' v_f      dL/dW_b = J_b' v_b      dx = dx_f + dx_b

A backward that writes dx_f into the array of v before it reads v_b gives J_b' v'_b, where v'_b is v_b with columns of dx_f in it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from bptt.harness.call.cell import Gradients, backward
from bptt.harness.cases import Cotangent
from bptt.harness.diagnosis.wrong import WrongGradient, tensors
from bptt.harness.gradient.derivatives.distance import relative_distance
from bptt.harness.gradient.exact_backward import with_exact_backward
from bptt.harness.known.tolerances import gradients
from bptt.harness.subject import Array
from bptt.reports.records import Cause


def dy_overwritten(wrong: WrongGradient) -> tuple[Cause, ...]:
    """The cause, where the exact gradients of an overwritten cotangent are the subject's own numbers; () where they are not."""
    v, yours = max(zip(wrong.cotangents, wrong.yours, strict=True), key=lambda pair: np.count_nonzero(pair[0].dys))
    if not wrong.subject.bidirectional or v.dys.ndim != 3 or v.dys.shape[2] % 2:
        return ()
    close = gradients(wrong.subject.dtype).close
    exact = with_exact_backward(wrong.subject)
    H = v.dys.shape[2] // 2
    for first, second, words in ((slice(0, H), slice(H, None), "forward"), (slice(H, None), slice(0, H), "backward")):
        dx = backward(exact, wrong.data, Cotangent("one direction", _only(v.dys, first), {})).xs
        for dys in () if dx is None else _overwritten(v.dys, dx, second):
            g = backward(exact, wrong.data, replace(v, dys=dys))
            compared = _pairs(yours, g)
            if compared and all(relative_distance(*pair) <= close for pair in compared):
                return (_cause(words, len(compared)),)
    return ()


def _only(dys: Array, part: slice) -> Array:
    kept = np.zeros_like(dys)
    kept[..., part] = dys[..., part]
    return kept


def _overwritten(dys: Array, dx: Array, part: slice) -> Iterator[Array]:
    """dys with dx over its first or its last columns, or those of `part`, where that changes what the direction of `part` reads."""
    width, D = dys.shape[2], dx.shape[2]
    k, k_part = min(D, width), min(D, width // 2)
    start = part.start or 0
    for place in (slice(width - k, width), slice(0, k), slice(start, start + k_part)):
        written, kept = dys.copy(), dys.copy()
        written[..., place] = dx[..., : place.stop - place.start]
        kept[..., part] = written[..., part]  # the first direction has read its own columns before
        if not np.array_equal(kept, dys):
            yield kept


def _pairs(yours: Gradients, exact: Gradients) -> list[tuple[Array, Array]]:
    right = dict(tensors(exact))
    return [(value, right[name]) for name, value in tensors(yours) if name in right]


def _cause(words: str, compared: int) -> Cause:
    other = {"forward": "backward", "backward": "forward"}[words]
    return Cause(
        "dy-overwritten",
        f"dx of the {words} direction has overwritten dy before the {other} direction reads its part of it",
        f"with dx of the {words} direction in the place of those columns of dy the exact gradients are yours in all {compared} tensors",
        1.0,
        f"write dx of the {words} direction to an array of its own, and add that of the {other} direction to it",
    )
