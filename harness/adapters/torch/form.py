"""How a torch module is called, and what it gives back: a `Form`, and the loop over time that needs nothing else.

A state is a tree: a `Slot` (one tensor), or a tuple or list of trees, exactly as the module takes it.  Its tensors are named
"h" and "c" by position; a tensor that holds several layers or directions gives one name each: "h_l0", "h_l0_reverse", "h_l1", ...
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from bptt.harness.errors import ContractError

Tensors = Mapping[str, torch.Tensor]
Returns = Literal["h", "state", "ys", "(y, state)", "(state, y)", "(y, *state)", "(hs, *state)"]


@dataclass(frozen=True)
class Width:
    """The last axis of a tensor: `factor` times D or H, or a constant (unit "")."""

    factor: int
    unit: Literal["D", "H", ""]

    def at(self, D: int, H: int) -> int:
        return self.factor * {"D": D, "H": H, "": 1}[self.unit]

    @staticmethod
    def of(size: int, D: int, H: int) -> Width:
        """`size` as a multiple of H where it is one, else as D, else as a constant."""
        if size % H == 0:
            return Width(size // H, "H")
        return Width(1, "D") if size == D else Width(size, "")


@dataclass(frozen=True)
class Slot:
    """One tensor of the state.

    names       its parts, one a layer and direction
    width       of each part
    axes        "NW" for (N, W), "KNW" for (K, N, W), "NKW" for (N, K, W), "NWK" for (N, W, K), with K = len(names)
    inner       axes of a matrix state between N and W: heads, keys
    """

    names: tuple[str, ...]
    width: Width
    axes: Literal["NW", "KNW", "NKW", "NWK"] = "NW"
    inner: tuple[Width, ...] = ()

    def part(self, N: int, D: int, H: int) -> tuple[int, ...]:
        """The shape of each part: (N, W), of a matrix state (N, ..., W)."""
        return (N, *(w.at(D, H) for w in self.inner), self.width.at(D, H))

    def pack(self, state: Tensors) -> torch.Tensor:
        """The tensor from its parts.  Raises ContractError where one is missing."""
        for name in self.names:
            if name not in state:
                raise ContractError(f"state: got {sorted(state)}, wanted {name!r} too")
        if self.axes == "NW":
            return state[self.names[0]]
        axis = self.axes.index("K")
        if len(self.names) == 1:
            return state[self.names[0]].unsqueeze(axis)
        return torch.stack([state[name] for name in self.names], axis)

    def unpack(self, value: torch.Tensor) -> dict[str, torch.Tensor]:
        if self.axes == "NW":
            return {self.names[0]: value}
        return dict(zip(self.names, value.unbind(self.axes.index("K")), strict=True))


Tree = Slot | tuple[Any, ...] | list[Any]


def slots(tree: Tree | None) -> Iterator[Slot]:
    if isinstance(tree, Slot):
        yield tree
    elif tree is not None:
        for branch in tree:
            yield from slots(branch)


def pack(tree: Tree, state: Tensors) -> Any:
    """The state as the module takes it."""
    if isinstance(tree, Slot):
        return tree.pack(state)
    return type(tree)(pack(branch, state) for branch in tree)


def unpack(tree: Tree, value: Any) -> dict[str, torch.Tensor]:
    """The named parts of a state that the module returned.  Raises ValueError or TypeError where its structure is another."""
    if isinstance(tree, Slot):
        if not isinstance(value, torch.Tensor):
            raise TypeError(f"{describe(value)} in place of a tensor")
        return tree.unpack(value)
    if not isinstance(value, tuple | list):
        raise TypeError(f"{describe(value)} in place of {len(tree)} tensors")
    parts: dict[str, torch.Tensor] = {}
    for branch, inner in zip(tree, value, strict=True):
        parts |= unpack(branch, inner)
    return parts


@dataclass(frozen=True)
class Form:
    """How a module is called.

    kind         "cell": module(x (N, D), state); "layer": module(xs, state)
    batch_first  a layer's xs and ys are (N, T, ...)
    tree         the state, None where the module takes none
    passing      "none", "one" (a single argument) or "spread" (an argument for each tensor)
    returns      what comes back; "ys" (alone, or first of several): no final state; "(hs, *state)": the outputs of a layer are the
                 first state's, the others come back after them, each over time or as it ends
    output       width of y
    listed       a layer's ys come as a list of T tensors (N, O)
    flat         a layer's ys come as one tensor (T * N, O) or (N * T, O), as its xs lie
    last         a layer gives the last output only, (N, O), or some that follow it, (N, K, O): y_t is that of the first t + 1 steps
    """

    kind: Literal["cell", "layer"]
    tree: Tree | None
    passing: Literal["none", "one", "spread"]
    returns: Returns
    output: Width
    batch_first: bool = False
    listed: bool = False
    flat: bool = False
    last: bool = False

    @property
    def carried(self) -> str:
        """The state of a layer that returns it as its outputs alone, as wide as it: the last of them stands for it. '' else."""
        if self.returns == "(hs, *state)":
            return next(slots(self.tree)).names[0]
        one = isinstance(self.tree, Slot) and len(self.tree.names) == 1 and self.tree.axes == "NW" and not self.tree.inner
        if self.returns != "ys" or self.kind != "layer" or self.last or self.flat or not one:
            return ""
        assert isinstance(self.tree, Slot)
        return self.tree.names[0] if self.tree.width == self.output else ""

    def call(self, module: torch.nn.Module, x: torch.Tensor, state: Tensors) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        """y and the new state of one call.  Raises ContractError where the module returns something of another structure."""
        if self.last:
            axis = 1 if self.batch_first else 0
            parts = [self.split(module(x.narrow(axis, 0, t + 1), *self.given(state)))[0].flatten(1) for t in range(x.shape[axis])]
            return torch.stack(parts, axis) if parts else x.new_zeros(*x.shape[:2], 0), {}
        y, final = self.split(module(x, *self.given(state)))
        return (y.reshape(*x.shape[:2], -1) if self.flat else y), final

    def given(self, state: Tensors) -> tuple[Any, ...]:
        """The arguments that the state is."""
        if self.tree is None or self.passing == "none":
            return ()
        packed = pack(self.tree, state)
        return tuple(packed) if self.passing == "spread" else (packed,)

    def split(self, result: Any) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        try:
            y, final = self._parts(opened(result))
            if self.listed and not isinstance(y, torch.Tensor):
                y = torch.stack(list(y), 1 if self.batch_first else 0)
        except (TypeError, ValueError, IndexError) as error:
            raise ContractError(f"the module returned {describe(result)}, wanted {self.returns} as before ({error})") from error
        if not isinstance(y, torch.Tensor):
            raise ContractError(f"the module returned {describe(y)} as its output, wanted a tensor")
        return y, final

    def beside(self, result: Any) -> list[torch.Tensor]:
        """What a layer that returns no state gives beside its outputs: the last of them, its attention, a sum."""
        if self.kind != "layer" or self.returns != "ys" or self.listed or self.last:
            return []
        return flattened(opened(result))[1:]

    def _parts(self, result: Any) -> tuple[Any, dict[str, torch.Tensor]]:
        if self.returns == "ys":
            listed = self.listed and all(isinstance(y, torch.Tensor) for y in result)
            ys = result if listed or not isinstance(result, tuple | list) else result[0]
            last = ys[-1] if listed or not self.batch_first else ys[:, -1]
            return ys, {self.carried: last} if self.carried else {}
        assert self.tree is not None  # every other form returns a state
        if self.returns == "(hs, *state)":
            ended = [value if value.ndim == 2 else value[:, -1] if self.batch_first else value[-1] for value in flattened(result)]
            return flattened(result)[0], {slot.names[0]: value for slot, value in zip(slots(self.tree), ended, strict=True)}
        if self.returns in ("h", "state"):
            final = unpack(self.tree, result)
            return final[next(slots(self.tree)).names[-1]], final  # of several layers the top one's h
        if self.returns == "(y, *state)":
            return result[0], unpack(self.tree, tuple(result[1:]))
        at = 1 if self.returns == "(y, state)" else 0
        return result[1 - at], unpack(self.tree, result[at])

    def unroll(self, module: torch.nn.Module, xs: torch.Tensor, state: Tensors) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        """ys (T, N, O) and the final state of time-major xs (T, N, D)."""
        ys, final = self.unroll_native(module, self.native(xs), state)
        return self.time_major(ys), final

    def unroll_native(self, module: torch.nn.Module, xs: torch.Tensor, state: Tensors) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        """The same with xs and ys in the module's own order of axes: (N, T, ...) where it is batch first.

        A module that says `view` of inputs that lie otherwise refuses them aloud, and is given contiguous ones: its numbers
        cannot be wrong by it.
        """
        try:
            return self._unroll_native(module, xs, state)
        except RuntimeError as error:
            if "view size is not compatible" not in str(error) or all(t.is_contiguous() for t in (xs, *state.values())):
                raise
        return self._unroll_native(module, xs.contiguous(), {name: value.contiguous() for name, value in state.items()})

    def unroll_packed(
        self, module: torch.nn.Module, xs: torch.Tensor, state: Tensors, lengths: torch.Tensor
    ) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        """`unroll_native` of one of torch's own layers for sequences of these lengths (N,), packed.   ys are zero in the padding."""
        assert self.tree is not None  # torch's own layers have a state
        steps = xs.shape[1 if self.batch_first else 0]
        packed = pack_padded_sequence(xs, lengths, batch_first=self.batch_first, enforce_sorted=False)
        ys, final = module(packed, pack(self.tree, state))
        return pad_packed_sequence(ys, batch_first=self.batch_first, total_length=steps)[0], unpack(self.tree, final)

    def _unroll_native(self, module: torch.nn.Module, xs: torch.Tensor, state: Tensors) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        if self.kind == "layer":
            return self.call(module, xs, state)
        outputs, now = [], dict(state)
        for x in xs.unbind(0):
            y, now = self.call(module, x, now)
            outputs.append(y)
        return torch.stack(outputs), now

    def native(self, value: torch.Tensor) -> torch.Tensor:
        """Time-major xs or dys in the module's own order; contiguous ones stay contiguous, as a caller of the module has them."""
        if not self.batch_first:
            return value
        swapped = value.transpose(0, 1)
        return swapped.contiguous() if value.is_contiguous() else swapped

    def time_major(self, value: torch.Tensor) -> torch.Tensor:
        """The inverse of `native`."""
        return value.transpose(0, 1) if self.batch_first else value


def opened(result: Any) -> Any:
    """A dict or a dataclass of results as the tuple of them, None left out of these and of a tuple; one of them alone is that one."""
    values: list[Any]
    if isinstance(result, Mapping):
        values = list(result.values())
    elif dataclasses.is_dataclass(result) and not isinstance(result, type):
        values = [getattr(result, field.name) for field in dataclasses.fields(result)]
    elif type(result) is tuple and None in [each for each in result if not isinstance(each, torch.Tensor)]:
        values = list(result)
    else:
        return result
    values = [value for value in values if value is not None]
    return values[0] if len(values) == 1 else tuple(values)


def own_form(module: torch.nn.Module) -> Form | None:
    """The form of torch's own nn.RNN, nn.LSTM, nn.GRU and their cells, known without probing; None for any other module."""
    if isinstance(module, torch.nn.RNNBase) and _keeps_forward(module, torch.nn.RNN, torch.nn.LSTM, torch.nn.GRU):
        has_c = isinstance(module, torch.nn.LSTM)
        D, H, P = module.input_size, module.hidden_size, module.proj_size or module.hidden_size
        directions = 2 if module.bidirectional else 1
        h = Slot(state_names("h", module.num_layers, directions), Width.of(P, D, H), "KNW")
        c = Slot(state_names("c", module.num_layers, directions), Width(1, "H"), "KNW")
        return Form("layer", (h, c) if has_c else h, "one", "(y, state)", _times(h.width, directions), module.batch_first)
    if isinstance(module, torch.nn.RNNCellBase) and _keeps_forward(module, torch.nn.RNNCell, torch.nn.LSTMCell, torch.nn.GRUCell):
        h, c = Slot(("h",), Width(1, "H")), Slot(("c",), Width(1, "H"))
        if isinstance(module, torch.nn.LSTMCell):
            return Form("cell", (h, c), "one", "state", h.width)
        return Form("cell", h, "one", "h", h.width)
    return None


def _keeps_forward(module: torch.nn.Module, *classes: type[torch.nn.Module]) -> bool:
    return any(isinstance(module, cls) and type(module).forward is cls.forward for cls in classes)


def _times(width: Width, factor: int) -> Width:
    return Width(width.factor * factor, width.unit)


def state_names(letter: str, layers: int, directions: int) -> tuple[str, ...]:
    """torch's order and suffixes: h_l0, h_l0_reverse, h_l1, ...; only the letter for one layer and direction."""
    if layers * directions == 1:
        return (letter,)
    return tuple(f"{letter}_l{layer}{suffix}" for layer in range(layers) for suffix in ("", "_reverse")[:directions])


def flattened(value: Any) -> list[torch.Tensor]:
    """The tensors of a nested tuple or list, in order."""
    if isinstance(value, torch.Tensor):
        return [value]
    return [t for inner in value for t in flattened(inner)] if isinstance(value, tuple | list) else []


def describe(value: Any) -> str:
    """What a module returned, for one line of an error: ``(tensor (6, 7), None)``."""
    if isinstance(value, torch.Tensor):
        return f"tensor {tuple(value.shape)}"
    if isinstance(value, tuple | list):
        left, right = "()" if isinstance(value, tuple) else "[]"
        return left + ", ".join(describe(inner) for inner in value) + right
    return "None" if value is None else type(value).__name__
