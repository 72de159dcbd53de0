"""What runs a recurrent ONNX node: the reference evaluator in float64 where it does all that the node asks for, else onnxruntime.

The evaluator passes over clip, input_forget, activations and sequence_lens without a word; onnxruntime has float32 only.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper

from bptt.harness.errors import UsageError
from bptt.harness.subject import Array

_OUTPUTS = {"LSTM": ("Y", "Y_h", "Y_c"), "GRU": ("Y", "Y_h"), "RNN": ("Y", "Y_h")}
_ORDER = ("X", "W", "R", "B", "sequence_lens", "initial_h", "initial_c", "P")
#: Axes of each input: K directions, N batch, U units, the rest by its own letter.
_SHAPES = {"X": "TND", "W": "KUD", "R": "KUH", "B": "KB", "sequence_lens": "N", "initial_h": "KNH", "initial_c": "KNH", "P": "KP"}
_DEFAULT_ACTIVATIONS = {"LSTM": ("Sigmoid", "Tanh", "Tanh"), "GRU": ("Sigmoid", "Tanh"), "RNN": ("Tanh",)}
_TYPES = {"float32": TensorProto.FLOAT, "float64": TensorProto.DOUBLE}
#: The newest that onnxruntime is sure to know for these operators: their last change but a widening of types.
_OPSET = 14


@dataclass
class Runner:
    """name; dtype in which it runs best; dtypes that it takes; run(feed) -> the node's outputs."""

    name: str
    op: str
    attributes: Mapping[str, Any]
    weights: tuple[str, ...]
    states: int
    dtype: str
    dtypes: tuple[np.dtype[Any], ...]
    takes_lengths: bool
    _sessions: dict[tuple[str, bool], Any] = field(default_factory=dict, repr=False)

    def run(self, feed: Mapping[str, Array]) -> list[Array]:
        key = str(feed["X"].dtype), "sequence_lens" in feed
        if key not in self._sessions:
            self._sessions[key] = self._session(model_of(self.op, self.attributes, tuple(feed), key[0]))
        with np.errstate(over="ignore"):  # the evaluator's sigmoid is 1 / (1 + exp(-a))
            return [np.asarray(value) for value in self._sessions[key].run(None, dict(feed))]

    def _session(self, model: Any) -> Any:
        if self.name == "onnxruntime":
            import onnxruntime

            options = onnxruntime.SessionOptions()
            options.intra_op_num_threads = options.inter_op_num_threads = 1
            options.log_severity_level = 3
            return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
        from onnx.reference import ReferenceEvaluator

        return ReferenceEvaluator(model)


def runner(op: str, attributes: Mapping[str, Any], weights: tuple[str, ...], states: int, opset: int, spec: str) -> tuple[Runner, str]:
    """What runs the node, and why.  Raises UsageError where only onnxruntime could and it is not installed."""
    asked = _not_in_the_evaluator(op, attributes)
    kept = {name: value for name, value in attributes.items() if name != "layout"}  # it says in which order axes come, no more
    if not asked:
        both = tuple(map(np.dtype, ("float32", "float64")))
        return Runner("the reference evaluator of onnx", op, kept, weights, states, "float64", both, False), "it computes in float64"
    if find_spec("onnxruntime") is None:
        raise UsageError(f"{spec}: {', '.join(asked)} of {op} needs onnxruntime, which is not installed, wanted pip install 'bptt[onnx]'")
    why = f"the reference evaluator passes over {', '.join(asked)}"
    return Runner("onnxruntime", op, kept, weights, states, "float32", (np.dtype("float32"),), True), why


def _not_in_the_evaluator(op: str, attributes: Mapping[str, Any]) -> list[str]:
    asked = [name for name in ("clip", "input_forget") if attributes.get(name)]
    activations = tuple(each.decode() for each in attributes.get("activations", ()))
    default = _DEFAULT_ACTIVATIONS[op]
    if activations and activations not in (default, default * 2):
        asked.append("activations")
    return asked


def model_of(op: str, attributes: Mapping[str, Any], inputs: tuple[str, ...], dtype: str) -> Any:
    """A model of this node alone, everything that it takes being an input."""
    kind = _TYPES[dtype]
    infos = [
        helper.make_tensor_value_info(name, TensorProto.INT32 if name == "sequence_lens" else kind, list(_symbols(name)))
        for name in _ORDER
        if name in inputs
    ]
    last = max(_ORDER.index(name) for name in inputs)
    node = helper.make_node(op, [name if name in inputs else "" for name in _ORDER[: last + 1]], list(_OUTPUTS[op]), **attributes)
    outputs = [helper.make_tensor_value_info(name, kind, ["T", "K", "N", "H"] if name == "Y" else ["K", "N", "H"]) for name in _OUTPUTS[op]]
    graph = helper.make_graph([node], "one recurrent node", infos, outputs)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", _OPSET)], ir_version=8)
    onnx.checker.check_model(model)
    return model


def _symbols(name: str) -> tuple[str, ...]:
    return tuple(f"{letter}_{name}" if letter in "UBP" else letter for letter in _SHAPES[name])
