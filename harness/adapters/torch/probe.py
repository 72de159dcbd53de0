"""Find out by calling it how an unknown module wants to be called: cell or layer, its state, its axes, what it returns.

All sizes of a probe differ, so that a shape says which axis is which; where shapes can't tell, one input entry is moved and
the outputs that follow it are looked at.
"""

from __future__ import annotations

import inspect
import itertools
import re
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import torch

from bptt.harness.adapters.torch.build import USUAL_N, USUAL_T, one_line
from bptt.harness.adapters.torch.form import Form, Returns, Slot, Tree, Width, describe, flattened, opened, pack, slots, state_names
from bptt.harness.subject import Detection

#: Attributes that say how many heads a matrix state has.
_HEADS = ("heads", "num_heads", "n_heads", "nheads", "nhead", "n_head")
WANTED = "wanted a cell module(x (N, D), state) or a layer module(xs (T, N, D) or (N, T, D), state)"


class ProbeError(Exception):
    """No way of calling the module gave outputs and states that fit.  The text says what was called and what came of it.

    of_dtype   whether something that it raised speaks of a dtype: then it may run in another one
    """

    def __init__(self, message: str, of_dtype: bool = False) -> None:
        super().__init__(message)
        self.of_dtype = of_dtype


@dataclass(frozen=True)
class Probed:
    form: Form
    D: int
    H: int
    detected: tuple[Detection, ...]
    complex_states: bool = False


@dataclass(frozen=True)
class _Given:
    """A state to be tried: its tree, and how it is passed.  None: the call without a state."""

    tree: Tree | None
    passing: Literal["none", "one", "spread"]


@dataclass(frozen=True)
class _Axes:
    """Sizes of a layer's first two axes in order, and whether the first is the batch."""

    shape: tuple[int, int]
    batch_first: bool

    @property
    def batch(self) -> int:
        return self.shape[0 if self.batch_first else 1]


#: After so many calls that raised the same, whatever state of however many axes was handed over, it is not the state that is wrong.
_IN_VAIN = 160

#: What may be of a dtype: TorchScript says what it was in further lines.
_OF_DTYPE = re.compile(r"dtype|float|double|scalar type|TorchScript", re.I)

#: Methods that make the state with which a sequence begins.
_MAKES_STATE = re.compile(
    r"^_?(init|initial|zero|make|create|get|new)_?(the_|initial_|init_|zero_)?(hidden|states?|hidden_states?|hiddens|hx|hc)(_?states?)?$"
)


@contextmanager
def _as_it_was(module: torch.nn.Module) -> Iterator[None]:
    """What a call leaves in attributes is gone after it: a state of a wrong form, kept by the module, would spoil the calls that follow.

    TorchScript keeps more: called with None for a tensor it is specialised to None, and fails for tensors from then on.
    """
    kept = [(each, dict(vars(each))) for each in module.modules()]
    scripted = isinstance(module, torch.jit.ScriptModule)
    try:
        with torch.jit.optimized_execution(False) if scripted else nullcontext():  # type: ignore[attr-defined]  # it is there
            yield
    finally:
        for each, attributes in kept:
            for name in vars(each).keys() - attributes.keys():
                del vars(each)[name]
            vars(each).update(attributes)


class Prober:
    """Calls one module, again and again.  `module` is a private copy in evaluation mode, of dtype `dtype`."""

    def __init__(self, module: torch.nn.Module, dtype: torch.dtype, taken: set[int], complex_states: bool = False) -> None:
        self.module, self.dtype, self.complex_states = module, dtype, complex_states
        free = (n for n in (USUAL_T, USUAL_N, 5, 17, 19, 23) if n not in taken)
        self.T, self.N = next(free), next(free)
        self.least, self.most = _arguments(module)
        self.directions = 2 if getattr(module, "bidirectional", False) is True else 1
        self.trouble: dict[str, str] = {}
        self.raised: dict[tuple[str, tuple[int, ...], str], Counter[frozenset[int]]] = {}
        self.rng = np.random.default_rng(0)

    def random(self, *shape: int) -> torch.Tensor:
        return torch.from_numpy(0.5 * self.rng.normal(size=shape)).to(self.dtype)

    def call(self, kind: str, x: torch.Tensor, given: _Given, N: int, D: int, H: int) -> Any:
        """What the module returns, None where it raises: probing is trial and error, and each first error is kept to be told."""
        arguments: tuple[Any, ...] = ()
        if given.tree is not None:
            state = {name: self._start(slot.part(N, D, H)) for slot in slots(given.tree) for name in slot.names}
            packed = pack(given.tree, state)
            arguments = tuple(packed) if given.passing == "spread" else (packed,)
        alike = [many for (of, shape, _), many in self.raised.items() if (of, shape) == (kind, tuple(x.shape))]
        if any(many.total() >= _IN_VAIN and len(many) > 1 for many in alike):
            return None
        text = ", ".join(["x " + str(tuple(x.shape)), *(f"state {describe(a)}" for a in arguments)])
        try:
            with torch.no_grad(), _as_it_was(self.module):
                result = self.module(x, *arguments)
        except Exception as error:  # whatever a user's forward raises: see docstring
            self.trouble.setdefault(kind, f"module({text}) raised {one_line(error)}")
            axes = frozenset(t.ndim for t in flattened(arguments))
            self.raised.setdefault((kind, tuple(x.shape), one_line(error)), Counter())[axes] += 1
            return None
        last_only = kind.startswith("layer") and isinstance(result, torch.Tensor) and result.ndim == 2 and len(result) in x.shape[:2]
        only = ", one output a sequence where one a step is wanted" if last_only else ""
        self.trouble.setdefault(kind, f"module({text}) returned {describe(result)}{only}")
        return opened(result)

    # cells

    def cell(self, D: int, widths: Sequence[int], H: int) -> Form | None:
        if self.most < 2:
            return None
        x = self.random(self.N, D)
        learnt: list[int] = []
        if self.least < 2:
            free = self.call("cell without a state", x, _Given(None, "none"), self.N, D, H)
            learnt = [t.shape[1] for t in flattened(free) if t.ndim == 2 and t.shape[0] == self.N]
        told = self._own_states(x, D, H)
        for given in (*told, *self._cell_states(list(dict.fromkeys([*learnt, *widths])), D, H)):
            returns_output = self._cell_returns(self.call("cell", x, given, self.N, D, H), given, D, H)
            if returns_output is None:
                continue
            returns, output = returns_output
            form = Form("cell", given.tree, given.passing, returns, Width.of(output, D, H))
            try:
                form.unroll(self.module, self.random(2, self.N, D), self._state(form, self.N, D, H))
            except Exception as error:  # as in `call`: what cannot be given back is no state
                self.trouble["cell"] = f"module(x {tuple(x.shape)}, its own new state) raised {one_line(error)}"
                continue
            self._refuse_last_state_only(form, D, H)
            return form
        return None

    def _own_states(self, x: torch.Tensor, D: int, H: int) -> list[_Given]:
        """States of the form that the module itself makes: where it is handed None, or by a method such as init_hidden(N)."""
        if self.least < 2 or type(self.module).__module__.startswith("torch.nn."):
            return []
        found: list[Any] = []
        N = self.N
        with torch.no_grad(), _as_it_was(self.module):
            for name in (n for n in dir(type(self.module)) if _MAKES_STATE.match(n)):
                for given in ((N,), ()):
                    try:
                        made = getattr(self.module, name)(*given)
                        found.append([made] if isinstance(made, torch.Tensor) else made)
                        break
                    except Exception:  # as in `call`
                        continue
            try:
                result = self.module(x, *(None,) * (self.least - 1))
                found += [result, *(result if isinstance(result, tuple | list) else ())]
            except Exception:  # as in `call`
                pass
        trees = [tree for value in found if isinstance(value, tuple | list) and (tree := self._tree_of(value, N, D, H)) is not None]
        trees = [tree[0] if isinstance(tree, list) and len(tree) == 1 and isinstance(tree[0], Slot) else tree for tree in trees]
        return [given for tree in trees for given in (_Given(tree, "one"), *((_Given(tree, "spread"),) if self.least > 2 else ()))]

    def _cell_states(self, widths: list[int], D: int, H: int) -> Iterator[_Given]:
        def slot(name: str, width: int) -> Slot:
            return Slot((name,), Width.of(width, D, H))

        pairs = [(w, w) for w in widths] + list(itertools.permutations(widths[:4], 2))
        if self.least > 3:
            for w in widths[:4]:
                yield _Given(tuple(slot(name, w) for name in ("h", "c", "n", "m")[: self.least - 1]), "spread")
        if self.least < 3:
            for w in widths:
                yield _Given(slot("h", w), "one")
                yield _Given((slot("h", w), slot("c", w)), "one")
        if self.least <= 3 <= self.most:
            for h, c in pairs:
                yield _Given((slot("h", h), slot("c", c)), "spread")
        if self.least < 3:
            for h, c in pairs[len(widths) :]:
                yield _Given((slot("h", h), slot("c", c)), "one")
            for h, c in pairs:
                yield _Given([slot("h", h), slot("c", c)], "one")
            for w in widths[:4]:
                yield _Given((slot("h", w), slot("c", w), slot("n", w)), "one")
                yield _Given((slot("h", w), slot("c", w), slot("n", w), slot("m", w)), "one")
                yield _Given(((slot("h", w), slot("c", w)), (slot("n", w), slot("m", w))), "one")
            yield from self._deep_cell_states(widths, D, H)
        yield from self._matrix_states(widths[:3], D, H)

    def _matrix_states(self, widths: list[int], D: int, H: int) -> Iterator[_Given]:
        """A matrix a sequence, or a head of it, alone or with what normalises it and its stabiliser."""
        said = [getattr(self.module, name, None) for name in _HEADS]
        heads = [(), *((n,) for n in dict.fromkeys([n for n in said if isinstance(n, int) and n > 0]))]
        for front, (k, v) in itertools.product(heads, [(w, w) for w in widths] + list(itertools.permutations(widths, 2))):
            inner = tuple(Width(n, "") for n in front)
            matrix = Slot(("S",), Width.of(v, D, H), inner=(*inner, Width.of(k, D, H)))
            norm = Slot(("n",), Width.of(k, D, H), inner=inner)
            if self.least < 3:
                yield _Given(matrix, "one")
                yield _Given((matrix, norm), "one")
                yield _Given((matrix, norm, Slot(("m",), Width(front[-1] if front else 1, ""))), "one")
            if self.most >= 3:
                yield _Given((matrix, norm), "spread")

    def _deep_cell_states(self, widths: list[int], D: int, H: int) -> Iterator[_Given]:
        """Of a cell of several layers: the layers' states in one tensor, layers first, in the middle or last."""
        layers = getattr(self.module, "num_layers", None)
        if not isinstance(layers, int):
            return
        orders: tuple[Literal["KNW", "NKW", "NWK"], ...] = ("KNW", "NKW", "NWK")
        for w, axes in itertools.product(widths, orders):
            h, c = (Slot(state_names(letter, layers, 1), Width.of(w, D, H), axes) for letter in "hc")
            yield _Given((h, c), "one")
            yield _Given(h, "one")

    def _cell_returns(self, result: Any, given: _Given, D: int, H: int) -> tuple[Returns, int] | None:
        """The return form in which every state comes back in its own shape, and the output's width."""
        tree = given.tree
        assert tree is not None
        want = [_shape(slot, self.N, D, H) for slot in slots(tree)]
        width = next(slots(tree)).width.at(D, H)

        def is_state(value: Any) -> bool:
            nested = isinstance(value, tuple | list)
            if nested is isinstance(tree, Slot) and not (nested and len(value) == 1):
                return False
            return [tuple(t.shape) for t in flattened(value)] == want and all(
                t.is_complex() is self.complex_states for t in flattened(value)
            )

        def is_output(value: Any) -> bool:
            return isinstance(value, torch.Tensor) and value.ndim == 2 and value.shape[0] == self.N

        if isinstance(tree, Slot) and isinstance(result, torch.Tensor):
            return ("h", width) if is_state(result) and not tree.inner else None
        if not isinstance(result, tuple | list):
            return None
        if not isinstance(tree, Slot) and is_state(result) and not any(slot.inner for slot in slots(tree)):
            return "state", width
        if len(result) == 2 and is_output(result[0]) and is_state(result[1]):
            return "(y, state)", result[0].shape[1]
        if len(result) == 2 and is_output(result[1]) and is_state(result[0]):
            return "(state, y)", result[1].shape[1]
        if not isinstance(tree, Slot) and len(result) >= 3 and is_output(result[0]) and is_state(tuple(result[1:])):
            return "(y, *state)", result[0].shape[1]
        return None

    def _refuse_last_state_only(self, form: Form, D: int, H: int) -> None:
        """A layer that returns its last state only looks like a cell whose rows mix; it gives no outputs to be checked."""
        rows = self._moved(lambda x: form.call(self.module, x, self._state(form, self.N, D, H))[0][:, None], (self.N, 1, D))
        if rows is None or not rows[0]:
            return
        last = self.call("layer", self.random(self.T, self.N, D), _Given(form.tree, form.passing), self.N, D, H)
        if [tuple(t.shape) for t in flattened(last)] == [_shape(slot, self.N, D, H) for slot in slots(form.tree)]:
            called = f"module(xs {(self.T, self.N, D)}, state)"
            raise ProbeError(f"{called} returned {describe(last)}, its last state only, wanted (ys, state)")

    # layers

    def layer(self, D: int, widths: Sequence[int], H: int) -> tuple[Form, str] | None:
        """The form, and why the time axis is where it is."""
        said = getattr(self.module, "batch_first", None)
        orders = [_Axes((self.T, self.N), False), _Axes((self.N, self.T), True)]
        if said is True:
            orders.reverse()
        found: list[tuple[Form, tuple[bool, bool] | None]] = []
        for axes in orders:
            form = self._layer_in(axes, D, widths, H)
            if form is not None:
                found.append((form, self._mixing(form, axes, D, H)))
        for form, mixing in found:
            if mixing is not None and mixing == (not form.batch_first, form.batch_first):
                axis = "second" if form.batch_first else "first"
                return form, f"a moved input reaches other outputs along the {axis} axis only"
        # one that gives no state back must show a recurrence: a cell may take three axes, too, and treat them all alike
        found = [(form, mixing) for form, mixing in found if form.returns != "ys" or (mixing is not None and any(mixing))]
        for form, _ in found:
            if said is form.batch_first:
                return form, f"batch_first={said}"
        found = [(form, mixing) for form, mixing in found if mixing != (form.batch_first, not form.batch_first)]  # it runs along the other
        for form, _ in found:
            if len(found) == 1 and form.tree is not None:
                return form, "the state fits no other order"
            return form, "not told apart by outputs, taken as " + ("batch first" if form.batch_first else "time major")
        self.trouble.setdefault("layer", "outputs do not depend on earlier inputs")
        return self._last_only(D, H) if self.least < 2 else None

    def _last_only(self, D: int, H: int) -> tuple[Form, str] | None:
        """A layer that gives one output a sequence, where that depends on the first step and on no other row of the batch."""
        for axes in (_Axes((self.N, self.T), True), _Axes((self.T, self.N), False)):
            result = self.call("layer with one output a sequence", self.random(*axes.shape, D), _Given(None, "none"), axes.batch, D, H)
            y = result[0] if isinstance(result, tuple | list) and result else result
            if not isinstance(y, torch.Tensor) or y.ndim not in (2, 3) or y.shape[0] != axes.batch:
                continue
            if y.ndim == 3 and (self.T in y.shape[1:] or not self._as_long(y, axes, D, H)):
                continue  # some steps ahead of the last one are as good as one
            form = Form("layer", None, "none", "ys", Width.of(y[0].numel(), D, H), axes.batch_first, last=True)
            if self._mixing(form, axes, D, H) == (not axes.batch_first, axes.batch_first):
                return form, "its one output has a row for each sequence; the output of step t is that of the first t + 1 steps"
        return None

    def _as_long(self, y: torch.Tensor, axes: _Axes, D: int, H: int) -> bool:
        """Whether one step of inputs gives as many outputs as all of them."""
        x = self.random(*axes.shape, D).narrow(1 if axes.batch_first else 0, 0, 1)
        one = self.call("layer with one output a sequence", x, _Given(None, "none"), axes.batch, D, H)
        one = one[0] if isinstance(one, tuple | list) and one else one
        return isinstance(one, torch.Tensor) and one.shape == y.shape

    def _layer_in(self, axes: _Axes, D: int, widths: Sequence[int], H: int) -> Form | None:
        x = self.random(*axes.shape, D)
        if self.least < 2:
            free = self.call("layer without a state" if self.most > 1 else "layer", x, _Given(None, "none"), axes.batch, D, H)
            split = _split_layer(_stacked(free, axes), axes.shape)
            if split is not None:
                ys, state, _ = split
                listed, flat = _how(free, axes)
                tree = None if state is None else self._tree_of(state, axes.batch, D, H)
                alone = Form("layer", None, "none", "ys", Width.of(ys.shape[-1], D, H), axes.batch_first, listed, flat)
                if tree is None or self.most < 2:
                    return alone
                tries = [_Given(tree, "one"), _Given(tree, "spread"), _Given(_retyped(tree), "one")]
                fitting = self._first_fitting(axes, tries, D, H) or self._first_fitting(axes, self._layer_states(widths, D, H), D, H)
                if fitting is not None and _is_finite(ys) and not self._runs_from(fitting, axes, D, H):
                    return alone  # it takes states of its own kind alone, such as positive ones
                return fitting or alone  # it gives a state and takes none
        if self.most < 2:
            return None
        states = [*self._own_states(x, D, H), *self._layer_states(widths, D, H)]
        return self._first_fitting(axes, states, D, H) or self._first_fitting(axes, states, D, H, gives_back=False)

    def _runs_from(self, form: Form, axes: _Axes, D: int, H: int) -> bool:
        """Whether a layer gives numbers from states of either sign: one that takes their logarithm gives none."""
        with torch.no_grad():
            return _is_finite(form.call(self.module, self.random(*axes.shape, D), self._state(form, axes.batch, D, H))[0])

    def _layer_states(self, widths: Sequence[int], D: int, H: int) -> Iterator[_Given]:
        said = getattr(self.module, "num_layers", None)
        layers = said if isinstance(said, int) else 1
        arrangements: tuple[tuple[Literal["NW", "KNW", "NKW"], int], ...] = (
            ("KNW", layers), ("NW", 1), ("KNW", 2), ("NKW", layers), ("KNW", 3),
        )  # fmt: skip
        for w in widths:
            width = Width.of(w, D, H)
            for axes, count in arrangements:
                names = [("h",), ("c",)] if axes == "NW" else [state_names(letter, count, self.directions) for letter in "hc"]
                h, c = (Slot(each, width, axes) for each in names)
                yield _Given(h, "one")
                yield _Given((h, c), "one")
                if self.most > 2:
                    yield _Given((h, c), "spread")
                yield _Given([h, c], "one")
                if axes == "NW":
                    yield _Given([h], "one")

    def _first_fitting(self, axes: _Axes, candidates: Iterable[_Given], D: int, H: int, gives_back: bool = True) -> Form | None:
        """The first state with which the layer runs and that comes back in its own shape; not `gives_back`: of which
        the outputs are the first one's, and the others come back after them, each over time or at its end."""
        x = self.random(*axes.shape, D)
        for given in candidates:
            if given.passing == "spread" and isinstance(given.tree, Slot):
                continue
            result = self.call("layer", x, given, axes.batch, D, H)
            split = _split_layer(_stacked(result, axes), axes.shape)
            if split is None:
                continue
            ys, state, returns = split
            want = [_shape(slot, axes.batch, D, H) for slot in slots(given.tree)]
            if state is not None and any(t.is_complex() is not self.complex_states for t in flattened(state)):
                continue
            width, (listed, flat) = Width.of(ys.shape[-1], D, H), _how(result, axes)
            if state is None or [tuple(t.shape) for t in flattened(state)] == want:
                return Form("layer", given.tree, given.passing, returns, width, axes.batch_first, listed, flat)
            if not gives_back and ys.shape[-1] == next(slots(given.tree)).width.at(D, H):
                form = Form("layer", given.tree, given.passing, "(hs, *state)", width, axes.batch_first, listed, flat)
                if self._goes_on(form, axes, D, H):
                    return form
        return None

    def _goes_on(self, form: Form, axes: _Axes, D: int, H: int) -> bool:
        """Whether a sequence that is cut in two, its second part started from what the first ended with, gives the outputs of the whole."""
        at = 1 if form.batch_first else 0
        x, state = self.random(*axes.shape, D), self._state(form, axes.batch, D, H)
        try:
            with torch.no_grad():
                whole, _ = form.call(self.module, x, state)
                first, now = form.call(self.module, x.narrow(at, 0, 2), state)
                second, _ = form.call(self.module, x.narrow(at, 2, self.T - 2), now)
        except Exception:  # as in `call`
            return False
        close = 1e-9 if self.dtype == torch.float64 else 1e-4
        return whole.shape == (*axes.shape, whole.shape[-1]) and bool(torch.allclose(torch.cat([first, second], at), whole, close, close))

    def _tree_of(self, value: Any, N: int, D: int, H: int) -> Tree | None:
        """The tree of a state that the module returned; None where a tensor in it has no axis of size N."""
        leaves = flattened(value)
        nested = isinstance(value, tuple | list) and any(isinstance(inner, tuple | list) for inner in value)
        in_layers = isinstance(value, list) and getattr(self.module, "num_layers", None) == len(leaves)

        def name(at: int) -> str:
            if nested:  # a state (h, c) for each layer
                each = max(1, len(leaves) // len(value))
                return f"{'hc'[at % each] if each <= 2 else f's{at % each}'}_l{at // each}"
            if len(leaves) > 2 or in_layers:
                return f"h_l{at}"
            return "hc"[at]

        built: list[Slot] = []
        for at, leaf in enumerate(leaves):
            slot = self._slot(leaf, name(at), N, D, H)
            if slot is None:
                return None
            built.append(slot)
        return _regrow(value, iter(built)) if built else None

    def _slot(self, leaf: torch.Tensor, letter: str, N: int, D: int, H: int) -> Slot | None:
        width = Width.of(leaf.shape[-1], D, H) if leaf.ndim else None
        if width is None or N not in leaf.shape[:-1]:
            return None
        if leaf.ndim == 2:
            return Slot((letter,), width)
        if leaf.ndim != 3:
            return None
        axes: Literal["KNW", "NKW"] = "KNW" if leaf.shape[1] == N else "NKW"
        K = leaf.shape[axes.index("K")]
        directions = self.directions if K % self.directions == 0 else 1
        return Slot(state_names(letter, K // directions, directions), width, axes)

    # which outputs follow an input

    def _mixing(self, form: Form, axes: _Axes, D: int, H: int) -> tuple[bool, bool] | None:
        state = self._state(form, axes.batch, D, H)
        return self._moved(lambda x: form.call(self.module, x, state)[0], (*axes.shape, D))

    def _moved(self, f: Callable[[torch.Tensor], torch.Tensor], shape: tuple[int, ...]) -> tuple[bool, bool] | None:
        """Whether moving one entry of x reaches other outputs along the first, the second axis; None where it reaches none."""
        x = self.random(*shape)
        at = (1, min(1, shape[1] - 1))
        y = x.clone()
        y[at] += 1.0 + self.random(shape[-1])  # by another amount each: a norm over the inputs knows of no shift of all
        squeeze = shape[1] == 1
        before, after = (f(v[:, 0] if squeeze else v) for v in (x, y))
        with torch.no_grad():
            change = (after - before).abs().amax(-1)
        most = float(change.max())
        if not most > 0:
            return None
        seen = change > most * (1e-9 if self.dtype == torch.float64 else 1e-5)
        other_rows, other_columns = seen[:, at[1]].clone(), seen[at[0]].clone()
        other_rows[at[0]] = other_columns[at[1]] = False
        return bool(other_rows.any()), bool(other_columns.any())

    def _state(self, form: Form, N: int, D: int, H: int) -> dict[str, torch.Tensor]:
        return {name: self._start(slot.part(N, D, H)) for slot in slots(form.tree) for name in slot.names}

    def _start(self, shape: tuple[int, ...]) -> torch.Tensor:
        part = self.random(*shape)
        return torch.complex(part, self.random(*shape)) if self.complex_states else part


def probe(
    module: torch.nn.Module, dtype: torch.dtype, inputs: Sequence[int], widths: Sequence[int], H: int | None, complex_states: bool = False
) -> Probed:
    """How `module` is called, at the first of the `inputs` sizes and state `widths` that work.

    H    the hidden size where it is known; else the width of the first state found
    Raises ProbeError with what was tried and what came of it.
    """
    moved = _jittered(module)
    if beside := _beside_the_state(module):
        raise ProbeError(f"{beside}; {WANTED}")
    trouble: dict[str, str] = {}
    of_dtype = False
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # a trial call's warnings are not news
        said = isinstance(getattr(module, "batch_first", None), bool)  # only a layer says so
        for kind, D in itertools.product(("layer",) if said else ("cell", "layer"), inputs):
            prober, unit = Prober(moved, dtype, {D, *widths}, complex_states), H or widths[0]
            if kind == "cell":
                form, why_axis = prober.cell(D, widths, unit), ""
            else:
                form, why_axis = prober.layer(D, widths, unit) or (None, "")
            if form is not None:
                return _probed(form, prober, D, unit if H else _hidden(module, form, D, unit), unit, why_axis)
            for tried, text in prober.trouble.items():
                trouble.setdefault(tried, text)
            of_dtype = of_dtype or any(_OF_DTYPE.search(error) for _, _, error in prober.raised)
    raise ProbeError("; ".join(f"as a {kind}, {text}" for kind, text in trouble.items()) + f"; {WANTED}", of_dtype)


def _is_finite(value: torch.Tensor) -> bool:
    return bool(value.isfinite().all())


def _hidden(module: torch.nn.Module, form: Form, D: int, unit: int) -> int:
    """H of an instance: its attribute hidden_size, else the width of its (last) state, else of its output."""
    said = getattr(module, "hidden_size", None)
    if isinstance(said, int):
        return said
    widths = [slot.width.at(D, unit) for slot in slots(form.tree)]
    return widths[-1] if widths else form.output.at(D, unit)


def _probed(form: Form, prober: Prober, D: int, H: int, unit: int, why_axis: str) -> Probed:
    if unit != H:
        form = _in_units(form, D, unit, H)
    called = f"module(x, {_shapes(form.tree, D, H)})" if form.tree is not None else "module(x)"
    detected = [
        Detection(form.kind, f"{called} with {'x (N, D)' if form.kind == 'cell' else 'a whole sequence'} gave shapes that fit"),
        Detection(f"returns {form.returns}", f"output of width {form.output.at(D, H)} at D={D}, H={H}"),
    ]
    if form.tree is None:
        detected.append(Detection("no state", "it takes none" if prober.most < 2 else "the final state is not returned"))
    else:
        names = ", ".join(name for slot in slots(form.tree) for name in slot.names)
        why = "a call without one raises" if prober.least > 1 else "the argument has a default"
        container = "tensor" if isinstance(form.tree, Slot) else type(form.tree).__name__
        passed = "arguments of their own" if form.passing == "spread" else f"a {container}"
        detected.append(Detection(f"state {names}, {passed}", f"named by position; shapes {_shapes(form.tree, D, H)}"))
        detected.append(Detection("state required" if prober.least > 1 else "state optional", why))
    if form.flat:
        detected.append(Detection("outputs flat", "one row for each step of each sequence"))
    if form.listed:
        detected.append(Detection("outputs as a list", "one tensor (N, W) a step"))
    if form.kind == "layer":
        detected.append(Detection("batch first" if form.batch_first else "time major", why_axis))
        if prober.directions == 2:
            detected.append(Detection("bidirectional", "bidirectional=True"))
    return Probed(form, D, H, tuple(detected))


def _shapes(tree: Tree | None, D: int, H: int) -> str:
    if isinstance(tree, Slot):
        if tree.inner:
            return f"(N, {', '.join(str(size) for size in tree.part(1, D, H)[1:])})"
        words = {"N": "N", "K": str(len(tree.names)), "W": str(tree.width.at(D, H))}
        return f"({', '.join(words[axis] for axis in tree.axes)})"
    return "(" + ", ".join(_shapes(branch, D, H) for branch in tree or ()) + ")"


def _in_units(form: Form, D: int, old: int, new: int) -> Form:
    def width(w: Width) -> Width:
        return Width.of(w.at(D, old), D, new)

    def tree(t: Any) -> Any:
        if isinstance(t, Slot):
            return replace(t, width=width(t.width), inner=tuple(width(w) for w in t.inner))
        return type(t)(tree(branch) for branch in t)

    return replace(form, tree=None if form.tree is None else tree(form.tree), output=width(form.output))


def _jittered(module: torch.nn.Module) -> torch.nn.Module:
    """`module` with every parameter moved a little: one that starts from zeros would hide what depends on what."""
    rng = np.random.default_rng(1)
    with torch.no_grad():
        for p in module.parameters():
            if p.is_floating_point():
                p.add_(torch.from_numpy(np.asarray(0.1 * rng.normal(size=tuple(p.shape)))).to(p.dtype))
    return module


def _arguments(module: torch.nn.Module) -> tuple[int, int]:
    """How many positional arguments `forward` needs at least and takes at most (3 where it takes any number)."""
    try:
        parameters = list(inspect.signature(module.forward).parameters.values())
    except (AttributeError, TypeError, ValueError):  # TorchScript has a schema, or several
        return _by_schema(module)
    positional = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    least = sum(p.default is p.empty for p in positional)
    any_number = any(p.kind is p.VAR_POSITIONAL for p in parameters)
    return least, max(3, len(positional)) if any_number else len(positional)


#: What a state is called as an argument.
_STATE = re.compile(r"^((h|c|s|hc)(x|s|0|_.*)?|.*(hidden|state)s?(_.*)?|(init|prev|last)(ial|ious)?_?.*|carry|mem(ory)?)$", re.I)


def _beside_the_state(module: torch.nn.Module) -> str:
    """That a forward needs something besides its input, and its state has a default: what stands in the second place is none.  '' else."""
    try:
        parameters = list(inspect.signature(module.forward).parameters.values())
    except (AttributeError, TypeError, ValueError):
        return ""
    needed = [p.name for p in parameters if p.default is p.empty and p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    state = next((p.name for p in parameters if p.default is None and _STATE.match(p.name)), None)
    if len(needed) != 2 or state is None or _STATE.match(needed[1]):
        return ""
    return f"its forward needs {needed[1]} besides {needed[0]} and the state {state}, and nothing is known of {needed[1]}"


def _by_schema(module: torch.nn.Module) -> tuple[int, int]:
    schema = getattr(getattr(module, "forward", None), "schema", None)
    if schema is None:
        return 1, 2
    arguments = [a for a in schema.arguments if a.name != "self"]
    return sum(not a.has_default_value() for a in arguments), len(arguments)


def _shape(slot: Slot, N: int, D: int, H: int) -> tuple[int, ...]:
    if slot.inner:
        return slot.part(N, D, H)
    return tuple({"N": N, "K": len(slot.names), "W": slot.width.at(D, H)}[axis] for axis in slot.axes)


def _how(result: Any, axes: _Axes) -> tuple[bool, bool]:
    """Whether outputs come as a list of T tensors, and whether as one tensor (T * N, W)."""
    changed = _stacked(result, axes) is not result
    flat = _is_flat(result[0] if isinstance(result, tuple | list) else result, axes)
    return changed and not flat, changed and flat


def _is_flat(value: Any, axes: _Axes) -> bool:
    return isinstance(value, torch.Tensor) and value.ndim == 2 and len(value) == axes.shape[0] * axes.shape[1]


def _stacked(result: Any, axes: _Axes) -> Any:
    """`result` with outputs that are a list of T tensors (N, W), or one (T * N, W), as one tensor; `result` itself where they are not."""
    T, N = reversed(axes.shape) if axes.batch_first else axes.shape

    def is_list(value: Any) -> bool:
        if not isinstance(value, tuple | list) or len(value) != T:
            return False
        return all(isinstance(t, torch.Tensor) and t.ndim == 2 and len(t) == N and t.shape == value[0].shape for t in value)

    def stacked(value: Any) -> torch.Tensor:
        return torch.stack(list(value), 1 if axes.batch_first else 0)

    if _is_flat(result, axes):
        return result.reshape(*axes.shape, -1)
    if isinstance(result, tuple | list) and len(result) >= 2 and _is_flat(result[0], axes):
        return (result[0].reshape(*axes.shape, -1), *result[1:])
    if is_list(result):
        return stacked(result)
    if isinstance(result, tuple | list) and len(result) >= 2 and is_list(result[0]):
        return (stacked(result[0]), *result[1:])
    return result


def _split_layer(result: Any, shape: tuple[int, int]) -> tuple[torch.Tensor, Any, Returns] | None:
    """ys, the state (None where there is none) and the return form; None where nothing has the first two axes of xs."""

    def is_ys(value: Any) -> bool:
        return isinstance(value, torch.Tensor) and value.ndim == 3 and tuple(value.shape[:2]) == shape

    if is_ys(result):
        return result, None, "ys"
    if not isinstance(result, tuple | list) or len(result) < 2:
        return None
    if is_ys(result[0]) and not all(flattened(inner) for inner in result[1:]):
        return result[0], None, "ys"
    if is_ys(result[0]):
        return (result[0], result[1], "(y, state)") if len(result) == 2 else (result[0], tuple(result[1:]), "(y, *state)")
    return (result[1], result[0], "(state, y)") if len(result) == 2 and is_ys(result[1]) else None


def _retyped(tree: Tree) -> Tree:
    """The other container: a list for a tuple and the reverse."""
    if isinstance(tree, Slot):
        return tree
    return list(tree) if isinstance(tree, tuple) else tuple(tree)


def _regrow(value: Any, built: Iterator[Slot]) -> Tree:
    if isinstance(value, torch.Tensor):
        return next(built)
    kind = list if isinstance(value, list) else tuple
    return kind(_regrow(inner, built) for inner in value)
