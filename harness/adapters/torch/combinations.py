"""A recurrent torch layer under every combination of its options and ways of calling it, beside its own single steps or rows.

torch's own layers, and classes of them that keep `forward`, are held against one layer of one direction, one step at a time:

    z^(0) = x      z^(l) = [steps of layer l over z^(l-1), steps of its reverse over z^(l-1) turned around in its valid part]

with zeros between the layers where dropout=1 is trained.  What has a forward of its own, or hooks, is held against itself: its rows
alone, zeros for a state that is left out, its two directions exchanged over the sequence turned around.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence

from bptt.harness.adapters.torch.build import one_line
from bptt.harness.adapters.torch.copies import own_copy
from bptt.harness.adapters.torch.form import own_form
from bptt.harness.subject import Array, Pair

_T, _N = 5, 3
_Options = dict[str, Any]
_Results = dict[str, torch.Tensor]


@dataclass(frozen=True)
class _Way:
    """How a layer is called.   lengths: packed;   alone: its first row without an axis of a batch;   state: one is handed in"""

    words: str
    lengths: tuple[int, ...] | None = None
    enforce_sorted: bool = False
    alone: bool = False
    state: bool = True


_WAYS = (
    _Way("a batch"),
    _Way("no state", state=False),
    _Way("one sequence without a batch", alone=True),
    _Way("one sequence without a batch, no state", alone=True, state=False),
    _Way("packed, enforce_sorted=True", (5, 3, 1), enforce_sorted=True),
    _Way("packed, enforce_sorted=False", (1, 5, 3)),
    _Way("packed, enforce_sorted=False, no state", (3, 1, 5), state=False),
)
_PADDED = _WAYS[0]


def combinations(module: torch.nn.Module) -> Callable[[np.random.Generator], Iterator[Pair]] | None:
    """None for what is no recurrent layer of torch's."""
    if not isinstance(module, torch.nn.RNNBase) or isinstance(module, torch.jit.ScriptModule):
        return None

    def pairs(rng: np.random.Generator) -> Iterator[Pair]:
        with torch.random.fork_rng(devices=[]), torch.enable_grad():
            torch.manual_seed(int(rng.integers(2**31)))
            for options in _every(module):
                own = options == _options(module)
                layer = own_copy(module) if own else _other(module, options)
                if isinstance(layer, torch.nn.RNNBase):
                    yield from _of_one(layer.double().eval(), _said(options), own)

    return pairs


def varied(module: torch.nn.Module) -> frozenset[str]:
    """The options of its constructor that its combinations vary: those with which its class can be made."""
    if not isinstance(module, torch.nn.RNNBase) or isinstance(module, torch.jit.ScriptModule):
        return frozenset()
    own, found = _options(module), set()
    for options in _every(module):
        others = {name for name in own if options[name] != own[name]}
        if len(others) == 1 and _other(module, options) is not None:
            found |= others
    return frozenset(found | {"dropout"} if "num_layers" in found else found)


def _of_one(layer: torch.nn.RNNBase, said: str, own: bool) -> Iterator[Pair]:
    """Of one combination of the constructor's options, which `said` are."""
    for p in layer.parameters():
        torch.nn.init.uniform_(p, -0.6, 0.6)
    xs, state = torch.randn(_T, _N, layer.input_size, dtype=torch.float64, requires_grad=True), _state(layer)
    plain = _plain(layer)
    for way in _WAYS:
        try:
            got = _called(layer, xs, state, way)
        except Exception as error:  # whatever a layer raises; what has a forward of its own need not take every form of a call
            if plain is not None:
                yield Pair(f"{said}, {way.words}", "", np.zeros(0), np.zeros(0), own, one_line(error))
            continue
        if got is not None:
            expected = _by_rows(layer, xs, state, way) if plain is None else _stepped(layer, plain, xs, state, way)
            mine = own and not (plain is None and way.alone)
            than = "what its rows give alone" if plain is None else Pair.than
            yield from _compared(f"{said}, {way.words}", _leaves(layer, xs, state), got, expected, mine, than)
    for words, got, expected, than in _more(layer, plain, xs, state):
        yield from _compared(f"{said}, {words}", _leaves(layer, xs, state), got, expected, own, than)


def _more(
    layer: torch.nn.RNNBase, plain: torch.nn.RNNBase | None, xs: torch.Tensor, state: _Results
) -> Iterator[tuple[str, _Results | None, _Results | None, str]]:
    """Dropout between layers, and of a forward of its own both directions: (words, what it gives, what it should, what that is)."""
    before = _tried(layer, xs, state)
    if before is None:
        return
    if layer.num_layers > 1:
        kept, layer.dropout = layer.dropout, 0.5
        yield "dropout=0.5, eval()", _tried(layer, xs, state), before, "those without dropout"
        if plain is not None:
            layer.train().dropout = 1.0
            yield "dropout=1, train()", _tried(layer, xs, state), _stepped(layer, plain, xs, state, _PADDED, kept=0.0), Pair.than
            layer.eval()
        layer.dropout = kept
    if plain is None and layer.bidirectional and (weights := _exchanged(layer)) is not None:
        there = {name: _directions_exchanged(layer, value) for name, value in state.items()}
        other = _tried(layer, xs.flip(0), there, weights)
        if other is not None:
            ys = other["ys"].flip(0)
            both = ys.shape[-1] == 2 * _width(layer)  # side by side; else they are added up, or the like
            back = {"ys": torch.cat(ys.chunk(2, -1)[::-1], -1) if both else ys}
            back |= {name: _directions_exchanged(layer, value) for name, value in other.items() if name != "ys"}
            yield "both directions", before, back, "those of its directions exchanged, over the sequence turned around"


# what it is made of


def _options(layer: torch.nn.RNNBase) -> _Options:
    own: Any = layer
    options = {name: getattr(own, name) for name in ("num_layers", "bidirectional", "batch_first", "bias")}
    if isinstance(layer, torch.nn.LSTM):
        options["proj_size"] = layer.proj_size
    if isinstance(layer, torch.nn.RNN):
        options["nonlinearity"] = own.nonlinearity
    return options


def _every(layer: torch.nn.RNNBase) -> Iterator[_Options]:
    """Its own options first."""
    own = _options(layer)
    values: dict[str, tuple[Any, ...]] = {
        "num_layers": (1, 2),
        "bidirectional": (False, True),
        "batch_first": (False, True),
        "bias": (True, False),
        "proj_size": (0, layer.hidden_size - 1),
        "nonlinearity": ("tanh", "relu"),
    }
    several = [dict.fromkeys((own[name], *values[name])) for name in own]
    return (dict(zip(own, chosen, strict=True)) for chosen in itertools.product(*several))


def _said(options: _Options) -> str:
    usual = {"num_layers": 1, "bidirectional": False, "batch_first": False, "bias": True, "proj_size": 0, "nonlinearity": "tanh"}
    return ", ".join(f"{name}={value!r}" for name, value in options.items() if value != usual[name]) or "no option"


def _other(layer: torch.nn.RNNBase, options: _Options) -> torch.nn.RNNBase | None:
    """One of its class with these options; None where its class makes none such."""
    cls: Any = getattr(type(layer), "bptt_user_class", type(layer))
    if hasattr(layer, "parametrizations") or layer._forward_hooks or layer._forward_pre_hooks:
        return None
    try:
        made = cls(layer.input_size, layer.hidden_size, **options)
    except Exception:  # a class of the user's own need not take them
        return None
    same = isinstance(made, torch.nn.RNNBase) and (made.input_size, made.hidden_size) == (layer.input_size, layer.hidden_size)
    return made if same and _options(made) == options else None


def _plain(layer: torch.nn.RNNBase) -> torch.nn.RNNBase | None:
    """One layer of one direction of torch's own, for single steps with the weights of `layer`; None where that is more than torch's own."""
    names = {name for each in layer._all_weights for name in each}
    more = layer._forward_hooks or layer._forward_pre_hooks or {name for name, _ in layer.named_parameters()} != names
    several: tuple[Any, ...] = (torch.nn.RNN, torch.nn.LSTM, torch.nn.GRU)
    cls = next((each for each in several if isinstance(layer, each)), None)
    if cls is None or more or own_form(layer) is None:
        return None
    options = {name: value for name, value in _options(layer).items() if name in ("bias", "proj_size", "nonlinearity")}
    made: torch.nn.RNNBase = cls(layer.input_size, layer.hidden_size, **options).double()
    return made


def _width(layer: torch.nn.RNNBase) -> int:
    return layer.proj_size or layer.hidden_size


def _state(layer: torch.nn.RNNBase) -> _Results:
    """h, and c of an LSTM: (layers * directions, N, its width)."""
    K = layer.num_layers * (2 if layer.bidirectional else 1)
    sizes = {"h": _width(layer)} | ({"c": layer.hidden_size} if isinstance(layer, torch.nn.LSTM) else {})
    return {name: (0.5 * torch.randn(K, _N, size, dtype=torch.float64)).requires_grad_() for name, size in sizes.items()}


def _exchanged(layer: torch.nn.RNNBase) -> dict[str, torch.Tensor] | None:
    """Its weights with those of both directions in each other's place; None where some have no counterpart."""
    own = dict(layer.named_parameters())
    if set(own) != {name for each in layer._all_weights for name in each}:
        return None

    def of(name: str) -> torch.Tensor:
        there = own[name.removesuffix("_reverse") if name.endswith("_reverse") else f"{name}_reverse"]
        above = name.startswith("weight_ih") and "_l0" not in name  # it reads both directions of the layer below
        return torch.cat(there.chunk(2, 1)[::-1], 1) if above else there

    return {name: of(name) for name in own}


def _directions_exchanged(layer: torch.nn.RNNBase, value: torch.Tensor) -> torch.Tensor:
    """(layers * 2, N, ...) with each two directions in the other order."""
    return value.reshape(layer.num_layers, 2, *value.shape[1:]).flip(1).reshape(value.shape)


# what it gives


def _tried(
    layer: torch.nn.RNNBase, xs: torch.Tensor, state: _Results, weights: Mapping[str, torch.Tensor] | None = None
) -> _Results | None:
    """None where it raises: that has been told where it is called first."""
    try:
        return _called(layer, xs, state, _PADDED, weights)
    except Exception:  # whatever a layer raises
        return None


def _called(
    layer: torch.nn.RNNBase, xs: torch.Tensor, state: _Results, way: _Way, weights: Mapping[str, torch.Tensor] | None = None
) -> _Results | None:
    """ys (T, N, ...), h, c by the layer's own call; None where what it returns is no pair of outputs and states.   N = 1 of one alone"""
    given = xs[:, 0] if way.alone else xs.transpose(0, 1) if layer.batch_first else xs
    held = tuple((value[:, 0] if way.alone else value).contiguous() for value in state.values())
    sequences: Any = given.contiguous()
    if way.lengths is not None:
        sequences = pack_padded_sequence(sequences, torch.tensor(way.lengths), layer.batch_first, way.enforce_sorted)
    arguments = (sequences, held if len(held) > 1 else held[0]) if way.state else (sequences,)
    result = layer(*arguments) if weights is None else torch.func.functional_call(layer, dict(weights), arguments)
    if not (isinstance(result, tuple) and len(result) == 2):
        return None
    ys, final = result
    finals = dict(zip(state, final if isinstance(final, tuple) else (final,), strict=False))
    alike = all(isinstance(v, torch.Tensor) and v.shape == h.shape for v, h in zip(finals.values(), held, strict=False))
    if not alike or len(finals) < len(held) or isinstance(ys, PackedSequence) is not (way.lengths is not None):
        return None
    if way.lengths is not None:
        ys = pad_packed_sequence(ys, layer.batch_first, total_length=_T)[0]
    ys = ys[:, None] if way.alone else ys.transpose(0, 1) if layer.batch_first else ys
    return {"ys": ys} | {name: value[:, None] if way.alone else value for name, value in finals.items()}


def _by_rows(layer: torch.nn.RNNBase, xs: torch.Tensor, state: _Results, way: _Way) -> _Results | None:
    """Each row in a batch of its own, its valid part alone, with zeros for a state that is not handed in."""
    found = []
    for n in range(1 if way.alone else _N):
        L = _T if way.lengths is None else way.lengths[n]
        row = {name: (value if way.state else torch.zeros_like(value))[:, n : n + 1] for name, value in state.items()}
        one = _tried(layer, xs[:L, n : n + 1], row)
        if one is None:
            return None
        found.append(one | {"ys": torch.cat([one["ys"], one["ys"].new_zeros(_T - L, *one["ys"].shape[1:])])})
    return {name: torch.cat([each[name] for each in found], 1) for name in found[0]}


def _stepped(layer: torch.nn.RNNBase, plain: torch.nn.RNNBase, xs: torch.Tensor, state: _Results, way: _Way, kept: float = 1.0) -> _Results:
    """By single steps of `plain` with the weights of each layer and direction.   kept: of what goes from layer to layer"""
    N = 1 if way.alone else _N
    lengths = torch.tensor(way.lengths or (_T,) * N)
    below, finals = xs[:, :N], []
    weights = dict(layer.named_parameters())
    for k in range(layer.num_layers):
        outs = []
        for d, suffix in enumerate(("", "_reverse")[: 2 if layer.bidirectional else 1]):
            end = f"_l{k}{suffix}"
            own = {name.removesuffix(end) + "_l0": p for name, p in weights.items() if name.endswith(end)}
            place = k * (2 if layer.bidirectional else 1) + d
            now = {name: (v if way.state else torch.zeros_like(v))[place, :N] for name, v in state.items()}
            ys, now = _one_way(plain, own, below, now, lengths, bool(d))
            outs.append(ys)
            finals.append(now)
        top = torch.cat(outs, -1)
        below = kept * top
    return {"ys": top} | {name: torch.stack([each[name] for each in finals]) for name in state}


def _one_way(
    plain: torch.nn.RNNBase, weights: Mapping[str, torch.Tensor], xs: torch.Tensor, now: _Results, lengths: torch.Tensor, backwards: bool
) -> tuple[torch.Tensor, _Results]:
    rows, plain.input_size = torch.arange(xs.shape[1]), xs.shape[-1]  # which torch asks for
    ys = list(xs.new_zeros(*xs.shape[:2], _width(plain)).unbind(0))
    for step in range(len(xs)):
        live = step < lengths
        t = torch.where(live, lengths - 1 - step if backwards else torch.full_like(lengths, step), 0)
        held = tuple(value[None] for value in now.values())
        y, final = torch.func.functional_call(plain, dict(weights), (xs[t, rows][None], held if len(held) > 1 else held[0]))
        m = live[:, None]
        now = {name: torch.where(m, new[0], now[name]) for name, new in zip(now, final if len(held) > 1 else (final,), strict=True)}
        for at in set(t[live].tolist()):
            ys[at] = torch.where((live & (t == at))[:, None], y[0], ys[at])
    return torch.stack(ys), now


# side by side


def _leaves(layer: torch.nn.RNNBase, xs: torch.Tensor, state: _Results) -> _Results:
    return dict(layer.named_parameters()) | {"xs": xs} | {f"{name}0": value for name, value in state.items()}


def _compared(words: str, leaves: _Results, got: _Results | None, expected: _Results | None, own: bool, than: str) -> Iterator[Pair]:
    """Outputs, final states, and with one cotangent for each of them the gradients of all `leaves`."""
    if got is None or expected is None:
        return
    for name in got:
        yield Pair(words, "ys" if name == "ys" else f"final {name}", _array(got[name]), _array(expected[name]), own, than=than)
    if any(got[name].shape != expected[name].shape for name in got):
        return
    cotangents = {name: torch.randn_like(value) for name, value in got.items()}
    for name, mine, theirs in zip(leaves, *(_gradients(each, cotangents, list(leaves.values())) for each in (got, expected)), strict=True):
        yield Pair(words, f"dL/d{name}", mine, theirs, own, than=than)


def _gradients(of: _Results, cotangents: _Results, leaves: list[torch.Tensor]) -> list[Array]:
    """Zero where no path leads."""
    outs = {name: value for name, value in of.items() if value.requires_grad}
    given = [cotangents[name] for name in outs]
    found = torch.autograd.grad(list(outs.values()), leaves, given, allow_unused=True, retain_graph=True) if outs else [None] * len(leaves)
    return [np.zeros(tuple(leaf.shape)) if g is None else _array(g) for leaf, g in zip(leaves, found, strict=True)]


def _array(value: torch.Tensor) -> Array:
    return np.array(value.detach().numpy())
