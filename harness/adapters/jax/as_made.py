"""An object in JAX as its user makes it: JAX's own default numbers (no 64-bit ones), the object's own dtypes, no default replaced."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from bptt.harness.adapters.jax.run import Built, JaxModule
from bptt.harness.subject import Array, Arrays, AsMade

_DTYPES = ("float16", "bfloat16", "float32", "float64")
Named = tuple[dict[str, Array], dict[str, str]]


@contextmanager
def narrow() -> Iterator[None]:
    """JAX as it is where nobody has asked for 64-bit numbers, on the processor."""
    with jax.enable_x64(False), jax.default_device(jax.devices("cpu")[0]):
        yield


def as_made(
    implementation: JaxModule, build: Callable[[int, int], Built], D: int, H: int, replaced: tuple[str, ...] = (), computes: str = ""
) -> AsMade | None:
    """The objects of `build`, which fills in no dtype; None where their parameters have none that float64 holds.

    computes   the dtype in which it is made to compute, where that is shorter than its parameters': its inputs come in it, too
    """
    made = _Made(implementation, build)
    with narrow():
        drawn = made.built(D, H)[1]
    dtypes = [str(value.dtype) for value in drawn.values() if jnp.issubdtype(value.dtype, jnp.floating)]
    if not dtypes or dtypes[0] not in _DTYPES:
        return None
    made.dtype = computes if computes in _DTYPES and _DTYPES.index(computes) < _DTYPES.index(dtypes[0]) else dtypes[0]
    return AsMade(made.dtype, made.run, made.backward, replaced=replaced)


@dataclass
class _Made:
    implementation: JaxModule
    build: Callable[[int, int], Built]
    dtype: str = "float32"
    _built: dict[tuple[int, int], tuple[Built, Mapping[str, Any]]] = field(default_factory=dict, repr=False)

    def built(self, D: int, H: int) -> tuple[Built, Mapping[str, Any]]:
        """The object of these sizes, and parameters that tell each one's dtype."""
        if (D, H) not in self._built:
            of = self.build(D, H)
            self._built[D, H] = of, jax.eval_shape(lambda: of.draw(0))  # their dtypes are asked for, not their numbers
        return self._built[D, H]

    def run(self, params: Arrays, xs: Array, state: Arrays) -> Named:
        with narrow():
            built, given = self._given(params, xs, state)
            ys, final = built.way.run(*given, None)
            named = {"ys": ys, **{f"final {name}": value for name, value in built.carry.unpack(final).items()}}
            return _arrays(named)

    def backward(self, params: Arrays, xs: Array, state: Arrays, dys: Array, dfinal: Arrays) -> Named:
        with narrow():
            built, given = self._given(params, xs, state)
            ys, final = built.way.run(*given, None)
            d = {
                name: jnp.asarray(dfinal.get(name, np.zeros(value.shape)), value.dtype) for name, value in built.carry.unpack(final).items()
            }
            dparams, dxs, dcarry = built.way.backward(*given, np.asarray(dys).astype(ys.dtype), built.carry.pack(d), None)
            named = {f"dL/d{name}": value for name, value in dparams.items()} | {"dL/dxs": dxs}
            found, dtypes = _arrays(named | {f"dL/d{name}0": value for name, value in built.carry.unpack(dcarry).items()})
            own = {f"dL/d{name}" for name, value in dparams.items() if value.dtype == given[0][name].dtype}
            return found, dtypes | dict.fromkeys(own, self.dtype)  # parameters may be longer than what is computed in

    def _given(self, params: Arrays, xs: Array, state: Arrays) -> tuple[Built, tuple[Any, Any, Any]]:
        D, H = self.implementation.sizes_of(params)
        built, drawn = self.built(D, H)
        own = {name: np.asarray(value).astype(drawn[name].dtype) for name, value in params.items()}
        first = {name: np.asarray(value).astype(jnp.dtype(self.dtype)) for name, value in state.items()}
        return built, (own, np.asarray(xs).astype(jnp.dtype(self.dtype)), built.carry.pack(first))


def _arrays(values: Mapping[str, Any]) -> Named:
    return {k: np.asarray(v).astype(np.float64) for k, v in values.items()}, {k: str(v.dtype) for k, v in values.items()}
