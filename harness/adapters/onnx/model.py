"""An ONNX model taken apart: its recurrent nodes, its parameters, and how its inputs and outputs are read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from bptt.harness.adapters.frameworks import one_line
from bptt.harness.adapters.onnx.operators import GATES, evaluator_class
from bptt.harness.errors import UsageError
from bptt.harness.subject import Array
from bptt.harness.words import near_miss

#: Inputs of the operators by place; GRU and RNN end before initial_c.
INPUTS = ("X", "W", "R", "B", "sequence_lens", "initial_h", "initial_c", "P")
WEIGHTS = ("W", "R", "B", "P")
FLOATS = {TensorProto.FLOAT: "float32", TensorProto.DOUBLE: "float64", TensorProto.FLOAT16: "float16", TensorProto.BFLOAT16: "bfloat16"}


@dataclass(frozen=True)
class Node:
    """A recurrent node.

    name        its own name, else its operator and place
    attributes  as in the model
    given       name of the tensor at each of its inputs ("X", "W", ..., "initial_c"), where there is one
    h, c        names of Y_h and Y_c, of an LSTM
    """

    name: str
    op: str
    attributes: Mapping[str, Any]
    given: Mapping[str, str]
    h: str
    c: str | None

    @property
    def backwards(self) -> bool:
        return direction_of(self.attributes) != "forward"

    @property
    def batch_first(self) -> bool:
        return self.attributes.get("layout") == 1


@dataclass(frozen=True)
class Output:
    """An output of the graph, and its axes of time and batch; time None for one a sequence, which is asked for after every step."""

    name: str
    time: int | None
    batch: int


def direction_of(attributes: Mapping[str, Any]) -> str:
    value = attributes.get("direction", b"forward")
    return value.decode() if isinstance(value, bytes) else str(value)


@dataclass(frozen=True)
class Opened:
    """A copy of a model for the evaluator: constants that are weights are initializers, and every node gives its final states.

    started   the initial states that no node was given, or that were zeros: inputs of the copy
    floats    the float32 copy of its numbers, {name: array}: what may be varied
    """

    proto: Any
    nodes: tuple[Node, ...]
    floats: Mapping[str, Array]
    started: tuple[str, ...]


def load(path: Path, spec: str) -> Any:
    """Raises UsageError where there is no such file, or none that onnx can read."""
    if not path.is_file():
        near = near_miss(path.name, [p.name for p in path.parent.glob("*.onnx")]) if path.parent.is_dir() else ""
        raise UsageError(f"{spec}: no such file{near or ','} looked in {path.parent.resolve()}")
    try:
        return onnx.load(str(path))
    except Exception as error:  # protobuf raises what it likes on a file of another kind
        raise UsageError(f"{spec}: onnx cannot read it ({one_line(error)}), wanted an ONNX model") from error


def opened(model: Any, spec: str) -> Opened:
    """Raises UsageError where the model has no recurrent node."""
    proto = onnx.ModelProto()
    proto.CopyFrom(model)
    graph = proto.graph
    found = [each for each in graph.node if each.op_type in GATES and each.domain in ("", "ai.onnx")]
    if not found:
        inner = sorted({each.op_type for each in graph.node})
        raise UsageError(f"{spec}: it has no LSTM, GRU or RNN node, wanted one (its nodes are {', '.join(inner)[:120] or 'none'})")
    _constants_to_initializers(graph, found)
    zeros = _zero_tensors(graph)
    nodes, started = [], []
    for k, each in enumerate(found):
        name = each.name or f"{each.op_type}_{k}"
        letters = ("initial_h", "initial_c") if each.op_type == "LSTM" else ("initial_h",)
        last = INPUTS.index(letters[-1])
        each.input.extend([""] * (last + 1 - len(each.input)))
        for letter in letters:
            at = INPUTS.index(letter)
            if not each.input[at] or each.input[at] in zeros:
                each.input[at] = f"{name}/{letter}"
                started.append(each.input[at])
        each.output.extend([""] * (1 + len(letters) - len(each.output)))
        for at, letter in enumerate(("Y", "Y_h", "Y_c")[: 1 + len(letters)]):
            each.output[at] = each.output[at] or f"{name}/{letter}"
        attributes = {a.name: helper.get_attribute_value(a) for a in each.attribute}
        given = {place: tensor for place, tensor in zip(INPUTS, each.input, strict=False) if tensor}
        nodes.append(Node(name, each.op_type, attributes, given, each.output[1], each.output[2] if len(letters) == 2 else None))
    graph.input.extend(helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in started)
    floats = {t.name: np.asarray(numpy_helper.to_array(t), np.float64) for t in graph.initializer if t.data_type in FLOATS}
    return Opened(proto, tuple(nodes), {name: value for name, value in floats.items() if value.ndim}, tuple(started))


def _constants_to_initializers(graph: Any, nodes: list[Any]) -> None:
    """Constant nodes that are weights of a recurrent node become initializers: those can be varied."""
    wanted = {tensor for node in nodes for place, tensor in zip(INPUTS, node.input, strict=False) if place in WEIGHTS}
    kept = []
    for node in graph.node:
        value = next((a.t for a in node.attribute if a.name == "value"), None)
        if node.op_type == "Constant" and node.output[0] in wanted and value is not None:
            tensor = TensorProto()
            tensor.CopyFrom(value)
            tensor.name = node.output[0]
            graph.initializer.append(tensor)
        else:
            kept.append(node)
    if len(kept) == len(graph.node):
        return
    copies = [onnx.NodeProto.FromString(node.SerializeToString()) for node in kept]
    recurrent = {tuple(node.output) for node in nodes}
    del graph.node[:]
    graph.node.extend(copies)
    nodes[:] = [node for node in graph.node if tuple(node.output) in recurrent]


def _zero_tensors(graph: Any) -> set[str]:
    """Names of tensors that are zeros whatever the inputs: initializers of zeros, ConstantOfShape, and what only reshapes those."""
    zeros = {t.name for t in graph.initializer if t.data_type in FLOATS and not np.any(numpy_helper.to_array(t))}
    for node in graph.node:
        value = next((a.t for a in node.attribute if a.name == "value"), None)
        if node.op_type == "ConstantOfShape":
            same = value is None or not np.any(numpy_helper.to_array(value))
        elif node.op_type == "Constant":
            same = value is not None and value.data_type in FLOATS and not np.any(numpy_helper.to_array(value))
        else:
            same = node.op_type in ("Expand", "Unsqueeze", "Squeeze", "Identity", "Slice", "Tile", "Reshape", "Cast", "Transpose") and (
                bool(node.input) and node.input[0] in zeros
            )
        if same:
            zeros.update(node.output)
    return zeros


def in_double(proto: Any) -> Any:
    """A copy whose floating constants and casts are float64, for an evaluation in that dtype."""
    wide = onnx.ModelProto()
    wide.CopyFrom(proto)
    for tensor in wide.graph.initializer:
        _widen(tensor)
    for node in wide.graph.node:
        for attribute in node.attribute:
            if attribute.HasField("t"):
                _widen(attribute.t)
            if node.op_type == "Cast" and attribute.name == "to" and attribute.i in FLOATS:
                attribute.i = TensorProto.DOUBLE
            if node.op_type == "Constant" and attribute.name in ("value_float", "value_floats"):
                numbers = attribute.f if attribute.name == "value_float" else list(attribute.floats)
                tensor = numpy_helper.from_array(np.asarray(numbers, np.float64))
                attribute.CopyFrom(helper.make_attribute("value", tensor))
    return wide


def _widen(tensor: Any) -> None:
    if tensor.data_type in FLOATS:
        name = tensor.name
        tensor.CopyFrom(numpy_helper.from_array(np.asarray(numpy_helper.to_array(tensor), np.float64), name))


class Evaluation:
    """Evaluates an opened model, in float64 and in the dtype of the file, with recurrent nodes as the standard defines them."""

    def __init__(self, model: Opened) -> None:
        self.model = model
        self._made: dict[str, Any] = {}

    def __call__(self, names: list[str], feed: Mapping[str, Any], dtype: str) -> list[Any]:
        """The tensors of these names.   feed: inputs, and initializers that are to have other values."""
        if dtype not in self._made:
            from onnx.reference import ReferenceEvaluator

            proto = in_double(self.model.proto) if dtype == "float64" else self.model.proto
            self._made[dtype] = ReferenceEvaluator(proto, new_ops=[evaluator_class(op) for op in GATES])
        with np.errstate(all="ignore"):
            return list(self._made[dtype].run(names, dict(feed)))


def inputs_of(model: Any) -> Iterator[tuple[str, int, tuple[int | None, ...] | None]]:
    """Name, element type and shape (None for an axis of any size) of each input of the graph that is no initializer."""
    own = {t.name for t in model.graph.initializer}
    for each in model.graph.input:
        if each.name in own:
            continue
        kind = each.type.tensor_type
        shape = tuple(d.dim_value or None for d in kind.shape.dim) if kind.HasField("shape") else None
        yield each.name, kind.elem_type, shape


def reached_by(model: Any, target: str) -> set[str]:
    """Names of all tensors from which a path leads to `target`, itself included."""
    makers = {output: node for node in model.graph.node for output in node.output}
    seen, waiting = set(), [target]
    while waiting:
        name = waiting.pop()
        if name in seen or not name:
            continue
        seen.add(name)
        if name in makers:
            waiting.extend(makers[name].input)
    return seen
