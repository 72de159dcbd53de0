"""The recurrent node of an ONNX model, its weights, and what it is as a Subject."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from bptt.harness.adapters.frameworks import one_line, published_regions
from bptt.harness.adapters.onnx.run import Runner, runner
from bptt.harness.errors import UsageError
from bptt.harness.subject import Array, Arrays, Detection, Region, Subject
from bptt.harness.words import near_miss

_GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}
#: Inputs of the operators by place; GRU and RNN end before initial_c.
_INPUTS = ("X", "W", "R", "B", "sequence_lens", "initial_h", "initial_c", "P")
_WEIGHTS = ("W", "R", "B", "P")


@dataclass(frozen=True)
class Node:
    """op  LSTM, GRU or RNN;  attributes as in the model;  weights W (K, G*H, D), R (K, G*H, H), B (K, 2*G*H), P (K, 3*H), K directions"""

    op: str
    attributes: Mapping[str, Any]
    weights: Mapping[str, Array]
    opset: int

    @property
    def directions(self) -> int:
        return int(self.weights["W"].shape[0])

    @property
    def input_size(self) -> int:
        return int(self.weights["W"].shape[2])

    @property
    def hidden_size(self) -> int:
        return int(self.weights["R"].shape[2])

    @property
    def states(self) -> tuple[str, ...]:
        """The parts of the state: h, c, with layer and direction where there are two directions."""
        letters = ("h", "c") if self.op == "LSTM" else ("h",)
        suffixes = ("",) if self.directions == 1 else ("_l0", "_l0_reverse")
        return tuple(letter + suffix for letter in letters for suffix in suffixes)


@dataclass
class OnnxNode:
    """The implementation object of an ONNX subject: the node alone, with parameters and states of our choice."""

    node: Node
    runner: Runner

    def init(self, rng: np.random.Generator, input_size: int, hidden_size: int) -> dict[str, Array]:
        """The model's own weights; `rng` draws nothing."""
        return {name: np.array(value, self.runner.dtype) for name, value in self.node.weights.items()}

    def zero_state(self, params: Arrays, batch_size: int) -> dict[str, Array]:
        return {name: np.zeros((batch_size, self.node.hidden_size), params["R"].dtype) for name in self.node.states}

    def run(self, params: Arrays, xs: Array, state: Arrays, lengths: Array | None = None) -> tuple[Array, dict[str, Array]]:
        """ys (T, N, K*H), both directions side by side, and the final state.   Raises TypeError for a dtype that nothing here runs."""
        dtype = np.result_type(xs, *params.values(), *state.values())
        if dtype not in self.runner.dtypes:
            raise TypeError(f"got {dtype}, wanted {' or '.join(map(str, self.runner.dtypes))}: {self.runner.name} takes no other")
        K = self.node.directions
        given = {"X": xs, **params}
        for k, name in enumerate(("initial_h", "initial_c")[: len(self.node.states) // K]):
            given[name] = np.stack([state[each] for each in self.node.states[k * K : (k + 1) * K]])
        feed = {name: np.ascontiguousarray(value, dtype) for name, value in given.items()}
        if lengths is not None:
            feed["sequence_lens"] = np.asarray(lengths, np.int32)
        ys, *final = self.runner.run(feed)
        parts = [part for value in final for part in value]
        T, _, N, H = ys.shape
        out = np.array(np.moveaxis(ys, 1, 2)).reshape(T, N, K * H)
        return out, {name: np.array(part) for name, part in zip(self.node.states, parts, strict=True)}

    def regions(self, params: Arrays) -> tuple[Region, ...]:
        """The gates' blocks of each direction."""
        name = f"onnx.{self.node.op}" + ("(linear_before_reset=1)" if self.node.attributes.get("linear_before_reset") else "")
        found = []
        for d in range(self.node.directions):
            direction = None if self.node.directions == 1 else ("forward", "reverse")[d]
            layer = None if direction is None else 0
            one = published_regions(name, {n: value[d : d + 1] for n, value in params.items()}, "", layer, direction)
            found += [replace(r, index=(slice(d, d + 1), *r.index[1:])) for r in one]
        return tuple(found)


def load(path: Path, spec: str) -> Any:
    """Raises UsageError where there is no such file, or none that onnx can read."""
    if not path.is_file():
        near = near_miss(path.name, [p.name for p in path.parent.glob("*.onnx")]) if path.parent.is_dir() else ""
        raise UsageError(f"{spec}: no such file{near or ','} looked in {path.parent.resolve()}")
    try:
        return onnx.load(str(path))
    except Exception as error:  # protobuf raises what it likes on a file of another kind
        raise UsageError(f"{spec}: onnx cannot read it ({one_line(error)}), wanted an ONNX model") from error


def subject_of(model: Any, spec: str) -> Subject:
    """The one recurrent node of `model` as a Subject.  Raises UsageError."""
    node = _node(model, spec)
    chosen, why = runner(node.op, node.attributes, tuple(node.weights), len(node.states), node.opset, spec)
    implementation = OnnxNode(node, chosen)
    said = [f"{name}={_text(value)}" for name, value in sorted(node.attributes.items()) if name != "hidden_size"]
    direction = _text(node.attributes.get("direction", "forward"))
    more = "" if direction == "forward" else f"[{direction}]"
    others = sum(1 for each in model.graph.node if each.op_type != "Constant") - 1
    detected = [
        Detection(f"onnx {node.op}", f"the model's one recurrent node{', ' + ', '.join(said) if said else ''}, opset {node.opset}"),
        Detection(f"run by {chosen.name}", why),
        Detection(f"D = {node.input_size}, H = {node.hidden_size}", "from the shapes of W and R"),
        Detection("forward pass only", "ONNX has no gradients"),
    ]
    if others:
        detected.append(Detection("the node alone", f"the other {others} nodes of the model are not run"))
    return Subject(
        name=f"onnx.{node.op}{more}",
        spec=spec,
        framework="onnx",
        kind="cell",
        implementation=implementation,
        detected=tuple(detected),
        input_sizes=(node.input_size,),
        hidden_sizes=(node.hidden_size,),
        bidirectional=direction != "forward",
        dtype=chosen.dtype,
        lengths=chosen.takes_lengths,
        regions=implementation.regions,
    )


def _node(model: Any, spec: str) -> Node:
    found = [each for each in model.graph.node if each.op_type in _GATES and each.domain in ("", "ai.onnx")]
    if len(found) != 1:
        what = ", ".join(each.op_type for each in found) or "none"
        raise UsageError(f"{spec}: its recurrent nodes are {what}, wanted one LSTM, GRU or RNN node")
    node = found[0]
    attributes = {each.name: onnx.helper.get_attribute_value(each) for each in node.attribute}
    names = dict(zip(_INPUTS, node.input, strict=False))
    constants = {each.name: each for each in model.graph.initializer}
    constants |= {each.output[0]: attribute.t for each in model.graph.node if each.op_type == "Constant" for attribute in each.attribute}
    weights = {}
    for name in _WEIGHTS:
        if not names.get(name):
            continue
        if names[name] not in constants:
            raise UsageError(f"{spec}: {name} of {node.op_type} ({names[name]!r}) is computed, wanted an initializer or a constant")
        weights[name] = np.asarray(onnx.numpy_helper.to_array(constants[names[name]]), np.float64)
    opset = next((each.version for each in model.opset_import if each.domain in ("", "ai.onnx")), 14)
    made = Node(node.op_type, attributes, weights, opset)
    _refuse_other_shapes(made, spec)
    return made


def _refuse_other_shapes(node: Node, spec: str) -> None:
    for name in ("W", "R"):
        if node.weights.get(name, np.zeros(0)).ndim != 3:
            got = node.weights[name].shape if name in node.weights else "nothing"
            raise UsageError(f"{spec}: {name} of {node.op} has shape {got}, wanted (directions, {_GATES[node.op]}H, ...)")
    K, units, H = node.weights["R"].shape
    wanted = _GATES[node.op] * H
    if units != wanted or node.weights["W"].shape[:2] != (K, wanted):
        shapes = ", ".join(f"{name} {node.weights[name].shape}" for name in ("W", "R"))
        raise UsageError(f"{spec}: {node.op} has {shapes}, wanted W (K, {_GATES[node.op]}H, D) and R (K, {_GATES[node.op]}H, H)")


def _text(value: Any) -> str:
    if isinstance(value, bytes):
        return value.decode()
    return "/".join(map(_text, value)) if isinstance(value, list) else str(value)
