"""What a contract object says of itself that is put into the form the checks know: other axes, no final state, a clip that is meant."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from bptt.harness.adapters.reading.passes.clips import clip_lifted
from bptt.harness.subject import Array, Arrays

Backward = Callable[[Arrays, Array, Arrays, Array, Arrays], tuple[Arrays, Array | None, Arrays | None]]


class Wrapped:
    """The author's object; what is not said otherwise is its own."""

    def __init__(self, inner: Any) -> None:
        self.inner = inner

    def __getattr__(self, name: str) -> Any:
        if name == "inner" or name.startswith("__"):  # while a copy is made there is no object yet
            raise AttributeError(name)
        return getattr(self.inner, name)


class BatchFirst(Wrapped):
    """(N, T, ...) of the author's as (T, N, ...)."""

    def run(self, params: Arrays, xs: Array, state: Arrays) -> tuple[Any, Any]:
        ys, final = self.inner.run(params, _turned(xs), state)
        return _turned(ys), final

    def backward(self, params: Arrays, xs: Array, state: Arrays, dys: Array, dfinal: Arrays) -> tuple[Any, Any, Any]:
        dparams, dxs, dstate = self.inner.backward(params, _turned(xs), state, _turned(dys), dfinal)
        return dparams, None if dxs is None else _turned(dxs), dstate

    def batch(self, rng: np.random.Generator, params: Arrays, T: int, N: int) -> tuple[Any, Any]:
        inputs, targets = self.inner.batch(rng, params, T, N)
        return _turned(inputs), _turned(targets)

    def loss(self, params: Arrays, inputs: Array, targets: Array, state: Arrays, **more: Any) -> Any:
        return self.inner.loss(params, _turned(inputs), _turned(targets), state, **more)


def _turned(value: Any) -> Any:
    """With its first two axes exchanged, where it has two."""
    return np.ascontiguousarray(np.swapaxes(value, 0, 1)) if isinstance(value, np.ndarray) and value.ndim > 1 else value


RE, IM = ".re", ".im"


class Parts(Wrapped):
    """Of an object with complex arrays: each is a pair of real ones, "B.re" and "B.im"; of outputs the two stand side by side.

    A complex gradient is dL/dRe + i dL/dIm, so its parts are those of the pair; `conjugate` where the author says dL/dRe - i dL/dIm.
    """

    def __init__(self, inner: Any, complex_outputs: bool, conjugate: bool) -> None:
        super().__init__(inner)
        self._complex_outputs, self._conjugate = complex_outputs, conjugate

    def init(self, rng: np.random.Generator, input_size: int, hidden_size: int) -> Any:
        return _split(self.inner.init(rng, input_size, hidden_size))

    def zero_state(self, params: Arrays, batch_size: int) -> Any:
        return _split(self.inner.zero_state(_whole(params), batch_size))

    def run(self, params: Arrays, xs: Array, state: Arrays, **more: Any) -> tuple[Any, Any]:
        ys, final = self.inner.run(_whole(params), xs, _whole(state), **more)
        return np.concatenate([ys.real, ys.imag], axis=-1) if self._complex_outputs else ys, _split(final)

    def backward(self, params: Arrays, xs: Array, state: Arrays, dys: Array, dfinal: Arrays, **more: Any) -> tuple[Any, Any, Any]:
        H = dys.shape[-1] // 2
        dys = dys[..., :H] + 1j * dys[..., H:] if self._complex_outputs else dys
        given = self._in_its_sense(dys), {name: self._in_its_sense(value) for name, value in _whole(dfinal).items()}
        dparams, dxs, dstate = self.inner.backward(_whole(params), xs, _whole(state), *given, **more)
        return self._gradients(dparams, params), dxs, self._gradients(dstate, state)

    def loss(self, params: Arrays, inputs: Any, targets: Any, state: Arrays, **more: Any) -> tuple[Any, Any]:
        value, dparams, *rest = self.inner.loss(_whole(params), inputs, targets, _whole(state), **more)
        return value, self._gradients(dparams, params), *rest

    def batch(self, rng: np.random.Generator, params: Arrays, T: int, N: int) -> Any:
        return self.inner.batch(rng, _whole(params), T, N)

    @property
    def masks(self) -> Any:
        made = self.inner.masks
        return lambda rng, params, T, N: made(rng, _whole(params), T, N)

    def _in_its_sense(self, value: Array) -> Array:
        return np.conj(value) if self._conjugate and np.iscomplexobj(value) else value

    def _gradients(self, given: Any, of: Arrays) -> Any:
        """Those of complex arrays as pairs, also where a real one was given; all else as it came."""
        if not isinstance(given, Mapping):
            return given
        found: dict[str, Any] = {}
        for name, value in given.items():
            if name + RE not in of or value is None:
                found[name] = value
            else:
                own = self._in_its_sense(np.asarray(value))
                found |= {name + RE: np.array(own.real), name + IM: np.array(own.imag)}
        return found


def _split(arrays: Any) -> Any:
    if not isinstance(arrays, Mapping):
        return arrays
    found: dict[str, Any] = {}
    for name, value in arrays.items():
        if np.iscomplexobj(value):
            found |= {name + RE: np.array(np.real(value)), name + IM: np.array(np.imag(value))}
        else:
            found[name] = value
    return found


def _whole(parts: Arrays) -> dict[str, Array]:
    """Arrays by their own names.  Raises TypeError where a part is complex itself: complex steps are for real numbers."""
    found: dict[str, Array] = {}
    for name, value in parts.items():
        if name.endswith(RE):
            imaginary = parts[name.removesuffix(RE) + IM]
            if np.iscomplexobj(value) or np.iscomplexobj(imaginary):
                raise TypeError("its own numbers are complex: they are judged by their parts")
            found[name.removesuffix(RE)] = np.asarray(value + 1j * imaginary)
        elif not name.endswith(IM):
            found[name] = value
    return found


class NoFinal(Wrapped):
    """Of a cell that does not return all of its final state, or counts in it.

    The last output stands for a state of its shape (`inferred`); what is `kept` to itself, and a state of whole numbers, a clock or a
    mask, starts as its zero_state has it, and is no state here.
    """

    def __init__(self, inner: Any, inferred: tuple[str, ...], kept: tuple[str, ...]) -> None:
        super().__init__(inner)
        self._inferred, self._kept = inferred, kept

    def zero_state(self, params: Arrays, batch_size: int) -> dict[str, Array]:
        return {s: v for s, v in self.inner.zero_state(params, batch_size).items() if s not in self._kept}

    def _state(self, params: Arrays, state: Arrays, N: int) -> dict[str, Array]:
        dtype = next(iter(params.values())).dtype
        start = {s: np.asarray(v) for s, v in self.inner.zero_state(params, N).items()}
        zeros = {s: v if v.dtype.kind in "iub" else np.zeros(v.shape, dtype) for s, v in start.items()}
        return {s: np.asarray(state[s]) if s in state else v for s, v in zeros.items()}

    def run(self, params: Arrays, xs: Array, state: Arrays, **more: Any) -> tuple[Any, dict[str, Any]]:
        ys, final = self.inner.run(params, xs, self._state(params, state, xs.shape[1]), **more)
        given = dict(final or {})
        return ys, {s: given[s] if s in given else np.array(ys[-1]) for s in state}

    def backward(self, params: Arrays, xs: Array, state: Arrays, dys: Array, dfinal: Arrays, **more: Any) -> tuple[Any, Any, Any]:
        """What would be the gradient of the final state is added to that of the last output."""
        dys = np.array(dys)
        for s in self._inferred:
            dys[-1] += dfinal[s]
        whole = self._state(params, state, xs.shape[1])
        handed = {s: np.zeros_like(v) if s in (*self._inferred, *self._kept) else dfinal[s] for s, v in whole.items()}
        dparams, dxs, dstate = self.inner.backward(params, xs, whole, dys, handed, **more)
        return dparams, dxs, {s: v for s, v in (dstate or {}).items() if s not in self._kept}


class Uncut(Wrapped):
    """Of a cell that cuts its gradients and means to: backward is a linear map below the cut, B(v) = B(s v) / s for a small s."""

    def backward(self, params: Arrays, xs: Array, state: Arrays, dys: Array, dfinal: Arrays) -> tuple[Any, Any, Any]:
        s = np.asarray(2.0 ** (-60 if np.asarray(dys).dtype.itemsize > 4 else -30), np.asarray(dys).dtype)
        dparams, dxs, dstate = self.inner.backward(params, xs, state, dys * s, {k: v * s for k, v in dfinal.items()})

        def times(gradients: Any) -> Any:
            return {k: v if v is None else v / s for k, v in gradients.items()} if isinstance(gradients, Mapping) else gradients

        return times(dparams), None if dxs is None else dxs / s, times(dstate)


class UncutLoss(Wrapped):
    """Of a network that cuts the gradients of its loss: ``np.clip`` at that threshold is lifted, a cut of the norm is undone.

    A norm that stands at the threshold was cut: dL/dparams = |dL/dparams| u, where u = g / |g| and |dL/dparams| is the derivative of
    the loss along u.
    """

    def __init__(self, inner: Any, clip: float, of_norm: bool) -> None:
        super().__init__(inner)
        self._clip, self._of_norm = clip, of_norm

    def loss(self, params: Arrays, inputs: Array, targets: Array, state: Arrays, **more: Any) -> tuple[Any, Any]:
        with clip_lifted(getattr(self.inner.loss, "__func__", self.inner.loss), float("inf") if self._of_norm else self._clip):
            value, dparams = self.inner.loss(params, inputs, targets, state, **more)
            norm = np.sqrt(sum(float(np.sum(np.abs(g) ** 2)) for g in dparams.values() if g is not None))
            if not self._of_norm or abs(norm - self._clip) > 1e-6 * self._clip:
                return value, dparams
            unit = {k: g / norm for k, g in dparams.items() if g is not None}
            size = self._slope(params, unit, lambda p: self.inner.loss(p, inputs, targets, state, **more)[0])
        return value, {k: size * u for k, u in unit.items()}

    @staticmethod
    def _slope(params: Arrays, unit: Arrays, loss: Callable[[Arrays], Any]) -> float:
        def moved(e: complex) -> Any:
            return loss({k: v + e * unit[k] if k in unit else v for k, v in params.items()})

        try:
            if abs(slope := np.imag(moved(1e-30j)) / 1e-30) > 0:
                return float(slope)
        except Exception:  # code that takes no complex numbers may raise anything
            pass
        return float(np.real(moved(1e-5) - moved(-1e-5))) / 2e-5


@dataclass(frozen=True)
class Tried:
    """What an object gives at small sizes.   ys, final are None for a network"""

    params: Arrays
    state: Arrays
    ys: Any = None
    final: Any = None

    @property
    def complex_names(self) -> tuple[str, ...]:
        """Parameters and states that are complex."""
        return tuple(name for name, value in (*self.params.items(), *self.state.items()) if np.iscomplexobj(value))


def tried(inner: Any, options: Mapping[str, Any], network: bool) -> Tried | None:
    """One run at small sizes, of a network what it is made of alone; None where that fails, which the first check will say."""
    rng = np.random.default_rng(0)

    def size(name: str, usual: int) -> int:
        return int((options.get(name) or (usual,))[0])

    N, H = size("batch_sizes", 2), size("hidden_sizes", 5)
    D, T = H if options.get("square") else size("input_sizes", 3), size("lengths_of_sequence", 2)
    try:
        with np.errstate(all="ignore"):
            params = inner.init(rng, D, H)
            state = inner.zero_state(params, N)
            ys, final = (None, None) if network else inner.run(params, rng.normal(size=(T, N, D)), state)
        return Tried(dict(params), dict(state), ys, final)
    except Exception:  # the user's code, at sizes of ours, may raise anything
        return None


def whole_numbers(at: Tried) -> tuple[str, ...]:
    """States that count: they are never moved, and have no gradient."""
    return tuple(name for name, value in at.state.items() if np.asarray(value).dtype.kind in "iub")


def without_final(at: Tried) -> tuple[tuple[str, ...], tuple[str, ...]] | None:
    """The states whose final value the last output stands for, and those that the cell keeps to itself; None where it returns them all."""
    try:
        final = at.final or {}
        missing = [s for s in at.state if s not in final]
        if not missing:
            return None
        there = any(np.array_equal(final[s], at.ys[-1]) for s in at.state if s in final)  # then no other stands for the output
        alike = [] if there else [s for s in missing if np.shape(at.state[s]) == np.shape(at.ys[-1])]
    except Exception:  # it may give anything
        return None
    inferred = tuple(s for s in alike if not (len(alike) > 1 and s != _hidden(alike)))
    return inferred, tuple(s for s in missing if s not in inferred)


def _hidden(names: list[str]) -> str:
    """The state that is the output, of several of one shape: that called h, else the first."""
    return next((s for s in names if s.lower().startswith("h")), names[0])
