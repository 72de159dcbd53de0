"""Any pure function over sequences as a Subject: whole models, Haiku's transforms, functions over a tree of parameters."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from bptt.harness.adapters.frameworks import one_line
from bptt.harness.adapters.jax.as_made import as_made
from bptt.harness.adapters.jax.run import Built, Carry, JaxModule, Whole, abilities, wide
from bptt.harness.errors import UsageError
from bptt.harness.subject import Detection, Subject

#: Few sizes: each other shape is compiled anew.
FEW_INPUTS, FEW_HIDDEN = (1, 3), (7,)
_N, _T = 5, 9
NO_CARRY = Carry(jax.tree_util.tree_structure(()), (), ())


@dataclass(frozen=True)
class Pure:
    """A function taken apart.   draw(seed) -> its parameters by name;   call(params, xs in its own order) -> ys, or a tuple with them"""

    draw: Callable[[int], Mapping[str, Any]]
    call: Callable[[Mapping[str, Any], Any], Any]


def model_subject(
    pure: Callable[[int, int], Pure],
    label: str,
    spec: str,
    framework: str,
    D: Iterable[int],
    H: int,
    *,
    hidden_sizes: tuple[int, ...],
    replaced: tuple[str, ...] = (),
    narrow: Callable[[int, int], Pure] | None = None,
    source: tuple[str, int] | None = None,
    undriven: tuple[str, ...] = (),
    detected: tuple[Detection, ...] = (),
) -> Subject:
    """A model (params, xs) -> ys that starts from a state of its own, as a Subject.

    D, H     candidates for the input's width, the likelier ones first, and the size at which it is looked at
    narrow   the same with the object's own dtypes, where `pure` has taken them off
    Raises UsageError, with the first failure, where no order of axes and no width gives outputs at every step.
    """
    D, asked = tuple(D), "float64"
    try:
        order, width = _order(pure, D, H, spec, label, asked)
    except UsageError:
        asked = "float32"  # an inner carry of float32, say, is not taken with parameters of float64
        order, width = _order(narrow or pure, D, H, spec, label, asked)
        pure = narrow or pure

    def built(of: Callable[[int, int], Pure]) -> Callable[[int, int], Built]:
        def build(D: int, H: int) -> Built:
            made = of(D, H)

            def layer(params: Any, xs: Any, first: Any, lengths: Any) -> tuple[Any, Any]:
                ys = _first(made.call(params, jnp.swapaxes(xs, 0, 1) if order else xs))
                return (jnp.swapaxes(ys, 0, 1) if order else ys), ()

            return Built(made.draw, NO_CARRY, Whole(layer))

        return build

    implementation = JaxModule(label, built(pure))
    try:
        able = abilities(implementation, width, H, asked)
    except Exception as error:  # a first run is the user's code
        raise UsageError(f"{spec}: a first run of {label} raised {one_line(error)}, wanted a model over sequences") from error
    return Subject(
        name=label,
        spec=spec,
        framework=framework,
        kind="cell",
        implementation=implementation,
        capabilities=frozenset({"backward", "forward_ad"} if able.forward_ad and asked == "float64" else {"backward"}),
        detected=(
            *detected,
            Detection("model over sequences", "it takes no state: it starts from its own"),
            Detection("batch first" if order else "time major", "a moved input reaches other outputs along that axis"),
            *able.detected,
        ),
        input_sizes=(width,),
        hidden_sizes=hidden_sizes,
        bidirectional=_reads_ahead(implementation, width, H),
        dtype=able.dtype,
        source=source,
        as_made=as_made(implementation, built(narrow or pure), width, H, replaced),
        undriven=undriven,
    )


def _first(returned: Any) -> Any:
    """The outputs: an array, or the first array with three axes of a tuple."""
    if isinstance(returned, tuple | list):
        return next((each for each in returned if getattr(each, "ndim", 0) == 3), returned[0])
    return returned


def _order(pure: Callable[[int, int], Pure], widths: Iterable[int], H: int, spec: str, label: str, asked: str) -> tuple[bool, int]:
    """Whether it is batch first, and the width of its input, found by calling it."""
    trouble = ""
    with wide():
        for D in dict.fromkeys(widths):
            try:
                made = pure(D, H)
                params = {name: jnp.asarray(value, asked) for name, value in made.draw(0).items()}
                rng = np.random.default_rng(0)
                params = {name: value + 0.1 * rng.normal(size=value.shape) for name, value in params.items()}
                params = {name: value.astype(asked) for name, value in params.items()}
                xs = rng.normal(size=(_N, _T, D)).astype(asked)
                moved = xs.copy()
                moved[1, 2] += 1.0
                before, after = (_first(made.call(params, jnp.asarray(x))) for x in (xs, moved))
            except Exception as error:  # trial and error: the first failure is told
                trouble = trouble or one_line(error)
                continue
            if getattr(before, "ndim", 0) != 3 or before.shape[:2] != (_N, _T):
                trouble = trouble or f"it gave {getattr(before, 'shape', type(before).__name__)} for xs {xs.shape}"
                continue
            change = np.abs(np.asarray(after - before)).max(-1) > (1e-9 if asked == "float64" else 1e-5)
            others = change.copy()
            others[1, 2] = False
            along_first, along_second = bool(others[:, 2].any()), bool(others[1].any())
            if along_first != along_second:
                return along_second, D
            trouble = trouble or ("it mixes both axes" if along_first else "no output depends on another step's input")
    raise UsageError(f"{spec}: {label} called with a sequence: {trouble}, wanted one output a step, ys for xs (N, T, D) or (T, N, D)")


def _reads_ahead(implementation: JaxModule, D: int, H: int) -> bool:
    """Whether an output depends on a later input."""
    rng = np.random.default_rng(0)
    params = implementation.init(rng, D, H)
    xs = rng.normal(size=(4, 2, D)).astype(implementation.params_dtype)
    moved = xs.copy()
    moved[-1] += 1.0
    before, after = (implementation.run(params, x, {})[0] for x in (xs, moved))
    return bool(np.abs(after - before)[:-1].max() > 1e-6)
