"""What onnxruntime makes of a file and of its recurrent nodes, under every combination of attributes and inputs, beside their steps.

The file itself is run with lengths and states of its inputs, and held against each sequence alone.  Its nodes are then run alone, with
their own weights, under each combination of direction, layout, clip, activations, input_forget or linear_before_reset, with and without
biases, peepholes, sequence_lens and initial states, and held against single steps as the standard defines them: of each direction
alone, of each sequence's valid part alone, turned around where it is read from its end.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from onnx import TensorProto, helper, numpy_helper

from bptt.harness.adapters.frameworks import one_line
from bptt.harness.adapters.onnx.model import FLOATS, Node, Output, direction_of, inputs_of
from bptt.harness.adapters.onnx.operators import Given, recurrent
from bptt.harness.adapters.onnx.runtime import session_of
from bptt.harness.subject import Array, Pair

if TYPE_CHECKING:
    from bptt.harness.adapters.onnx.subject import OnnxModel

#: model -> a session with run(names, feed), or None and why there is none
Sessions = Callable[[Any], tuple[Any, str]]
_LENGTHS = (5, 3, 1)
_STEPS = "what its steps give, each sequence and direction alone"
_ACTIVATIONS = {"LSTM": ["HardSigmoid", "Softsign", "Tanh"], "GRU": ["HardSigmoid", "Softsign"], "RNN": ["Relu"]}


def combinations(
    model: Any, implementation: OnnxModel, weights: tuple[Mapping[str, Array], ...], sessions: Sessions = session_of
) -> Callable[[np.random.Generator], Iterator[Pair]] | None:
    """None where onnxruntime does not run the file: that is told elsewhere.   weights: of each of its nodes, by their place"""
    whole, _ = sessions(model)
    if whole is None:
        return None

    def pairs(rng: np.random.Generator) -> Iterator[Pair]:
        yield from _file(model, whole, implementation, rng)
        for node, own in zip(implementation.evaluation.model.nodes, weights, strict=True):
            yield from _node(node, own, sessions, rng)

    return pairs


def _file(model: Any, session: Any, implementation: OnnxModel, rng: np.random.Generator) -> Iterator[Pair]:
    """The file with lengths and initial states, where it has inputs of them, beside each of its sequences alone."""
    reading, dtype = implementation.reading, np.dtype("float32")
    kinds = {name: kind for name, kind, _ in inputs_of(model)}
    starts = [state for state in reading.states if state.start in kinds]
    outputs = _outputs(model, implementation)
    if not outputs or (reading.lengths is None and not starts) or FLOATS[kinds[reading.xs]] != "float32":
        return
    params = implementation.init(rng, 0, 0)
    T, N = max(_LENGTHS), len(_LENGTHS)
    xs = rng.normal(size=(T, N, reading.input_size)).astype(dtype)
    state = {name: np.zeros((N, each.width), dtype) for each in reading.states for name in each.names}
    state |= {name: (0.5 * rng.normal(size=(N, each.width))).astype(dtype) for each in starts for name in each.names}
    for lengths in (None, _LENGTHS) if reading.lengths is not None else (None,):
        words = ", ".join([*(["initial states"] if starts else []), *(["sequence_lens"] if lengths else [])]) or "its own inputs"
        feed = implementation.feed(params, xs, state, None if lengths is None else np.array(lengths), dtype)
        try:
            rows = [_alone(implementation, outputs, params, xs, state, n, (lengths or (T,) * N)[n]) for n in range(N)]
        except Exception:  # a file of fixed sizes takes no sequence alone
            return
        try:
            values = session.run([o.name for o in outputs], {name: np.ascontiguousarray(feed[name]) for name in kinds})
        except Exception as error:  # whatever onnxruntime says of these inputs
            yield Pair(f"the file with {words}", "", np.zeros(0), np.zeros(0), True, one_line(error))
            continue
        for k, (output, value) in enumerate(zip(outputs, values, strict=True)):
            for n, found in enumerate(rows):
                got = _of_row(np.asarray(value, np.float64), output, n, len(found[k]))
                yield Pair(f"the file, {words}", output.name, got, found[k], True, than="those of each sequence alone")


def _outputs(model: Any, implementation: OnnxModel) -> list[Output]:
    """Outputs over time, and final states that the file gives."""
    reading, given = implementation.reading, {each.name for each in model.graph.output}
    ends = [(end, 0 if state.batch_first else 1) for state in reading.states for end in state.ends if end in given]
    return [*(each for each in reading.outputs if each.time is not None), *(Output(name, None, axis) for name, axis in ends)]


def _of_row(value: Array, output: Output, n: int, L: int) -> Array:
    """(L, ...) of a sequence of L steps; a final state as it is."""
    if output.time is None:
        return np.asarray(np.moveaxis(value, output.batch, 0)[n])
    return np.asarray(np.moveaxis(value, (output.time, output.batch), (0, 1))[:L, n])


def _alone(
    implementation: OnnxModel, outputs: list[Output], params: Mapping[str, Array], xs: Array, state: Mapping[str, Array], n: int, L: int
) -> list[Array]:
    """The same of one sequence in a batch of its own, by the judged formula in float64."""
    wide = np.dtype("float64")
    row = {name: np.asarray(value[n : n + 1], wide) for name, value in state.items()}
    feed = implementation.feed(params, np.asarray(xs[:L, n : n + 1], wide), row, None, wide)
    values = implementation.evaluation([o.name for o in outputs], feed, "float64")
    return [_of_row(value, output, 0, L) for output, value in zip(outputs, values, strict=True)]


# a node alone


@dataclass(frozen=True)
class _Asked:
    """A node with these attributes, and which of its inputs it is given beside X, W and R."""

    attributes: dict[str, Any]
    given: frozenset[str]

    @property
    def words(self) -> str:
        attributes = [f"{name}={value!r}" for name, value in self.attributes.items() if value not in ("forward", 0, None)]
        left = [f"without {name}" for name in ("B",) if name not in self.given]
        return ", ".join([*attributes, *left, *sorted(self.given - {"B"})]) or "no option"


def _every(node: Node, weights: Mapping[str, Array]) -> Iterator[_Asked]:
    own = node.attributes
    clip = float(own.get("clip") or 0.3)
    values: dict[str, tuple[Any, ...]] = {
        "direction": ("forward", "reverse", "bidirectional"),
        "layout": (0, 1),
        "clip": (None, clip),
        "activations": (None, _ACTIVATIONS[node.op]),
    }
    if node.op != "RNN":
        values["input_forget" if node.op == "LSTM" else "linear_before_reset"] = (0, 1)
    inputs = ("sequence_lens", "initial states", *(["P"] if "P" in weights else []))
    for chosen in itertools.product(*values.values()):
        attributes = dict(zip(values, chosen, strict=True))
        if attributes["layout"] and any(value not in ("forward", 0, None) for name, value in attributes.items() if name != "layout"):
            continue  # with every other attribute as it is
        for flags in itertools.product((False, True), repeat=len(inputs)):
            yield _Asked(attributes, frozenset({"B"} | {name for name, on in zip(inputs, flags, strict=True) if on}))
    yield _Asked({name: several[0] for name, several in values.items()}, frozenset())


def _node(node: Node, weights: Mapping[str, Array], sessions: Sessions, rng: np.random.Generator) -> Iterator[Pair]:
    usual = {"direction": "forward", "layout": 0, "clip": None, "activations": None, "input_forget": 0, "linear_before_reset": 0}
    mine: dict[str, Any] = (
        usual | {name: value for name, value in node.attributes.items() if name in usual} | {"direction": direction_of(node.attributes)}
    )
    mine["activations"] = mine["activations"] and [_text(each) for each in mine["activations"]]
    kinds = {"B", "P", "sequence_lens"}
    inputs = {name for name in node.given if name in kinds}
    for asked in _every(node, weights):
        own = all(mine[name] == value for name, value in asked.attributes.items()) and (asked.given - {"initial states"}) == inputs
        words = f"{node.op} {asked.words}"
        K = 2 if asked.attributes["direction"] == "bidirectional" else 1
        arrays = _arrays(node, weights, asked, K, rng)
        attributes = {name: value for name, value in asked.attributes.items() if value is not None}
        session, _ = sessions(_model(node.op, attributes, arrays))
        if session is None:  # refused aloud, as layout=1 is: the file has other attributes, or it would not run
            continue
        try:
            values = session.run(None, {name: arrays[name] for name in _INPUTS if name in arrays})
        except Exception as error:  # whatever onnxruntime says of it
            yield Pair(words, "", np.zeros(0), np.zeros(0), own, one_line(error))
            continue
        for (name, expected), value in zip(_stepped(node.op, attributes, arrays).items(), values, strict=True):
            yield Pair(words, name, np.asarray(value, np.float64), expected, own, than=_STEPS)


_PLACES = ("X", "W", "R", "B", "sequence_lens", "initial_h", "initial_c", "P")
_INPUTS = ("X", "sequence_lens", "initial_h", "initial_c")


def _arrays(node: Node, weights: Mapping[str, Array], asked: _Asked, K: int, rng: np.random.Generator) -> dict[str, Array]:
    """What it is given, by the names of its inputs; of one direction too few, the other has its weights in another order of units."""
    N, T = len(_LENGTHS), max(_LENGTHS)
    taken = {"W", "R"} | (asked.given & {"B", "P"})
    arrays = {name: _directions(np.asarray(value, np.float32), K) for name, value in weights.items() if name in taken}
    D, H = arrays["W"].shape[2], arrays["R"].shape[2]
    arrays["X"] = rng.normal(size=(T, N, D)).astype(np.float32)
    if "sequence_lens" in asked.given:
        arrays["sequence_lens"] = np.array(_LENGTHS, np.int32)
    if "initial states" in asked.given:
        for name in ("initial_h", "initial_c")[: 2 if node.op == "LSTM" else 1]:
            arrays[name] = (0.5 * rng.normal(size=(K, N, H))).astype(np.float32)
    if asked.attributes["layout"]:
        arrays |= {name: np.ascontiguousarray(arrays[name].swapaxes(0, 1)) for name in ("X", "initial_h", "initial_c") if name in arrays}
    return arrays


def _directions(value: Array, K: int) -> Array:
    return value[:K] if len(value) >= K else np.concatenate([value, 0.9 * value[..., ::-1]]).astype(np.float32)


def _model(op: str, attributes: Mapping[str, Any], arrays: Mapping[str, Array]) -> Any:
    names = [name if name in arrays else "" for name in _PLACES]
    while not names[-1]:
        names.pop()
    outputs = ("Y", "Y_h", "Y_c")[: 3 if op == "LSTM" else 2]
    own = dict(attributes)
    if own.get("direction") == "bidirectional" and own.get("activations"):
        own["activations"] = own["activations"] * 2
    node = helper.make_node(op, names, list(outputs), hidden_size=arrays["R"].shape[2], **own)
    kind = {name: TensorProto.INT32 if name == "sequence_lens" else TensorProto.FLOAT for name in _INPUTS}
    given = [helper.make_tensor_value_info(name, kind[name], None) for name in _INPUTS if name in arrays]
    tensors = [numpy_helper.from_array(value, name) for name, value in arrays.items() if name not in _INPUTS]
    graph = helper.make_graph(
        [node], "node", given, [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs], tensors
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 14)])
    made.ir_version = 8
    return made


def _stepped(op: str, attributes: Mapping[str, Any], arrays: Mapping[str, Array]) -> dict[str, Array]:
    """Y, Y_h, Y_c in float64: each direction and sequence alone, forward, one step at a time."""
    wide = {name: np.asarray(value, np.float64) for name, value in arrays.items()}
    layout = attributes.get("layout") == 1
    xs, *starts = (wide.get(name) for name in ("X", "initial_h", "initial_c"))
    assert xs is not None
    if layout:
        xs, *starts = (None if value is None else value.swapaxes(0, 1) for value in (xs, *starts))
        assert xs is not None
    (T, N, _), (K, _, H) = xs.shape, wide["R"].shape
    lengths = np.asarray(arrays.get("sequence_lens", np.full(N, T)), int)
    alone = {name: value for name, value in attributes.items() if name not in ("direction", "layout")}
    Y, ends = np.zeros((T, K, N, H)), np.zeros((2, K, N, H))
    for k, n in itertools.product(range(K), range(N)):
        order = range(lengths[n])
        backwards = attributes["direction"] == "reverse" or k == 1
        h, c = (np.zeros((1, 1, H)) if value is None else value[k : k + 1, n : n + 1] for value in starts)
        of = {name: wide[name][k : k + 1] for name in ("W", "R", "B", "P") if name in wide}
        for t in reversed(order) if backwards else order:
            given = Given(xs[t : t + 1, n : n + 1], of["W"], of["R"], of.get("B"), None, h, c, of.get("P"))
            _, h, new_c = recurrent(op, alone, given)
            c = c if new_c is None else new_c
            Y[t, k, n] = h[0, 0]
        ends[:, k, n] = h[0, 0], c[0, 0]
    found = {"Y": np.moveaxis(Y, 2, 0) if layout else Y}
    named = dict(zip(("Y_h", "Y_c")[: 2 if op == "LSTM" else 1], ends, strict=False))
    return found | {name: value.swapaxes(0, 1) if layout else value for name, value in named.items()}


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)
