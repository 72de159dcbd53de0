"""`bptt.convert`: a dict of weights from one published convention into another."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

import numpy as np

from bptt.harness.errors import UsageError
from bptt.harness.subject import Array
from bptt.harness.weights.convention_map import mapping
from bptt.harness.weights.conventions import CONVENTIONS, Convention, convention
from bptt.harness.weights.handed import of_convention
from bptt.harness.weights.transfer import carry

_SUFFIX = re.compile(r"(?P<name>.+?)_l(?P<layer>\d+)(?P<reverse>_reverse)?")
Place = tuple[int, bool]


def convert(params: object, source: str, target: str, within: str = "") -> dict[str, Array]:
    """The weights that make `target` compute what `source` computes with `params`.

    `params` as the framework hands them out: a dict of arrays under the convention's names, or with those of a model's parts before them, a
    torch module or its state_dict, a Keras layer or its weights, variables of Flax or Haiku, an nnx or Equinox module, the path of a .npz,
    .safetensors, .pt or .onnx file.   within: which part of a model, where several hold such tensors: "decoder.rnn"

    `source` and `target` are names such as "torch.nn.LSTM", "keras.layers.GRU", "onnx.LSTM", "haiku.GRU", "tf1.LSTMCell(forget_bias=0)"
    or a published cell of ours ("lstm", "gru_reset_after"); `conventions()` has them all.  torch's names end in _l0, _l1, _l0_reverse,
    and ours may; ONNX has both directions in one tensor; every other convention holds one layer in one direction.  Where blocks are only
    moved, converting back gives the same bits.

    Raises UsageError for an unknown name, a tensor that is missing, too many, not finite or of another shape than the convention says, and
    where the target has no place for something that is not zero.
    """
    ours, theirs = convention(source), convention(target)
    _refuse_other_clips(ours, theirs)
    layers = _split(of_convention(params, ours, within), ours)
    carried = {}
    for place, weights in layers.items():
        _refuse_half_a_bias(weights, ours, place)
        wanted = _tensors_for(theirs, weights, ours)
        of = mapping(ours, set(weights))
        carried[place] = carry(weights, of, mapping(theirs, wanted), (source, target)).params
    return _joined(carried, theirs)


def conventions() -> tuple[str, ...]:
    """The names that `convert` knows."""
    return tuple(CONVENTIONS)


def _refuse_other_clips(ours: Convention, theirs: Convention) -> None:
    for name in ("cell_clip", "proj_clip"):
        a, b = ours.options.get(name, 0.0), theirs.options.get(name, 0.0)
        if a != b:
            raise UsageError(f"{ours.name} has {name} {a:g} and {theirs.name} has {b:g} (0: none); no weights make up for that")


def _refuse_half_a_bias(weights: Mapping[str, Array], of: Convention, place: Place) -> None:
    """Biases that may be left out come together: the half of them is a loss."""
    optional = [name for name, tensor in of.tensors.items() if not tensor.needed and tensor.holds.startswith("b")]
    lost = [name for name in optional if name not in weights]
    if lost and len(lost) < len(optional):
        got = ", ".join(name for name in optional if name in weights)
        at = f" in {_words([place])}" if of.layered else ""
        raise UsageError(f"weights of {of.name}: {got} without {', '.join(lost)}{at}, wanted all of them or none")


def _split(arrays: dict[str, Array], of: Convention) -> dict[Place, dict[str, Array]]:
    """The weights of each layer and direction, under names without a suffix."""
    if of.name.startswith("onnx."):
        return _split_onnx(arrays, of)
    layers: dict[Place, dict[str, Array]] = {}
    for name, value in arrays.items():
        match = _SUFFIX.fullmatch(name) if of.layered else None
        place = (int(match["layer"]), bool(match["reverse"])) if match else (0, False)
        layers.setdefault(place, {})[match["name"] if match else name] = value
    if not layers:
        raise UsageError(f"no weights given, wanted those of {of.name}: {', '.join(of.tensors)}")
    return dict(sorted(layers.items()))


def _split_onnx(arrays: dict[str, Array], of: Convention) -> dict[Place, dict[str, Array]]:
    directions = {len(value) for value in arrays.values() if value.ndim}
    if directions not in ({1}, {2}):
        found = ", ".join(f"{name} {value.shape}" for name, value in arrays.items()) or "nothing"
        raise UsageError(f"weights of {of.name}: wanted 1 or 2 directions as the first axis of every tensor, got {found}")
    return {(0, bool(d)): {name: value[d : d + 1] for name, value in arrays.items()} for d in range(directions.pop())}


def _tensors_for(theirs: Convention, weights: Mapping[str, Array], ours: Convention) -> set[str]:
    """The target's tensors: the ones it always has, and of the others those that the source has something for."""
    held = {kind for name in weights if name in ours.tensors for kind in ours.tensors[name].holds.split("+")}
    held |= {"b", "b_x", "b_h"}  # every convention with biases can do with zeros there
    return {n for n, tensor in theirs.tensors.items() if tensor.needed or set(tensor.holds.split("+")) & held}


def _joined(layers: Mapping[Place, dict[str, Array]], of: Convention) -> dict[str, Array]:
    if of.name.startswith("onnx.") and list(layers) == [(0, False), (0, True)]:
        both = zip(layers[0, False].items(), layers[0, True].values(), strict=True)
        return {name: np.concatenate([forward, reverse]) for (name, forward), reverse in both}
    if len(layers) == 1 and (not of.layered or (list(layers) == [(0, False)] and not of.name.startswith("torch."))):
        return next(iter(layers.values()))
    if not of.layered:
        example = _suffix(list(layers)[-1])
        each = f"hand over one after the other, such as the tensors whose names end in {example}"
        raise UsageError(f"{of.name} holds one layer in one direction, got {_words(layers)}; {each}")
    suffixed = of.layered
    return {f"{name}{_suffix(place) if suffixed else ''}": value for place, weights in layers.items() for name, value in weights.items()}


def _suffix(place: Place) -> str:
    return f"_l{place[0]}{'_reverse' if place[1] else ''}"


def _words(places: Iterable[Place]) -> str:
    return ", ".join(f"layer {layer}{' reverse' if reverse else ''}" for layer, reverse in places)
