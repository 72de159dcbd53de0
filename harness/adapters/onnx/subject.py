"""An ONNX model as a Subject: the whole of it, every node, and the recurrent nodes inside as subjects of their own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from bptt.harness.adapters.frameworks import one_line, published_regions
from bptt.harness.adapters.onnx.combinations import combinations
from bptt.harness.adapters.onnx.model import FLOATS, WEIGHTS, Evaluation, Node, Output, direction_of, inputs_of, opened, reached_by
from bptt.harness.adapters.onnx.operators import GATES, Given, recurrent
from bptt.harness.adapters.onnx.runtime import as_made
from bptt.harness.errors import ContractError, UsageError
from bptt.harness.subject import Array, Arrays, AsMade, Detection, Region, Subject

#: T and N at which a model is first looked at: like nothing else in it.
_LOOKED = (11, 13)


@dataclass(frozen=True)
class State:
    """Parts of the state in one tensor: its input, the nodes' outputs where they end, and whether the batch comes before the directions."""

    names: tuple[str, ...]
    start: str
    ends: tuple[str, ...]
    batch_first: bool
    width: int

    @property
    def axis(self) -> int:
        return 1 if self.batch_first else 0

    def packed(self, state: Arrays, dtype: np.dtype[Any]) -> Array:
        parts = [np.asarray(state[name], dtype) for name in self.names]
        return np.stack(parts, self.axis)

    def parts(self, values: list[Array]) -> dict[str, Array]:
        value = np.concatenate(values, self.axis)
        return {name: np.array(np.take(value, k, self.axis)) for k, name in enumerate(self.names)}


@dataclass(frozen=True)
class Reading:
    """How the model is fed and what it gives.   time_first: of xs"""

    xs: str
    input_size: int
    time_first: bool
    states: tuple[State, ...]
    lengths: str | None
    outputs: tuple[Output, ...]
    #: the file's own name of each parameter
    names: Mapping[str, str]


@dataclass
class OnnxModel:
    """The implementation object of an ONNX subject: every node of the model, its floating initializers being the parameters."""

    evaluation: Evaluation
    reading: Reading

    def init(self, rng: np.random.Generator, input_size: int, hidden_size: int) -> dict[str, Array]:
        """The model's own numbers; `rng` draws nothing."""
        floats = self.evaluation.model.floats
        return {name: np.array(floats[own]) for name, own in self.reading.names.items()}

    def zero_state(self, params: Arrays, batch_size: int) -> dict[str, Array]:
        dtype = np.result_type(*params.values())
        return {name: np.zeros((batch_size, state.width), dtype) for state in self.reading.states for name in state.names}

    def run(self, params: Arrays, xs: Array, state: Arrays, lengths: Array | None = None) -> tuple[Array, dict[str, Array]]:
        """ys (T, N, all outputs side by side) and the final state.   Raises TypeError for a dtype that is no real one."""
        dtype = np.result_type(xs, *params.values(), *state.values())
        if dtype.name not in ("float32", "float64"):
            raise TypeError(f"got {dtype}, wanted float32 or float64: the operators of ONNX have no other")
        reading = self.reading
        steps = range(1, len(xs) + 1) if all(o.time is None for o in reading.outputs) else (len(xs),)
        names = [o.name for o in reading.outputs]
        ends = [end for s in reading.states for end in s.ends]
        found: list[list[Array]] = []
        for stop in steps:
            found.append(self.evaluation(names + ends, self.feed(params, xs[:stop], state, lengths, dtype), dtype.name))
        ys = [_placed(o, [each[k] for each in found], xs.shape) for k, o in enumerate(reading.outputs)]
        final: dict[str, Array] = {}
        last = dict(zip(ends, found[-1][len(names) :], strict=True))
        for s in reading.states:
            final |= s.parts([np.asarray(last[end], dtype) for end in s.ends])
        return np.array(np.concatenate(ys, -1), dtype), final

    def feed(self, params: Arrays, xs: Array, state: Arrays, lengths: Array | None, dtype: np.dtype[Any]) -> dict[str, Any]:
        """What the evaluation is given, by the model's own names."""
        reading = self.reading
        given: dict[str, Any] = {own: np.asarray(params[name], dtype) for name, own in reading.names.items()}
        given[reading.xs] = np.asarray(xs if reading.time_first else np.swapaxes(xs, 0, 1), dtype)
        given |= {s.start: s.packed(state, dtype) for s in reading.states}
        if reading.lengths is not None:
            given[reading.lengths] = np.full(xs.shape[1], len(xs), np.int32) if lengths is None else np.asarray(lengths, np.int32)
        return given

    def regions(self, params: Arrays) -> tuple[Region, ...]:
        """The gates' blocks of each direction, of a model with one node and nothing else."""
        nodes = self.evaluation.model.nodes
        return node_regions(nodes[0], params) if len(nodes) == 1 and {"W", "R"} <= set(params) else ()


def _placed(output: Output, values: list[Array], shape: tuple[int, ...]) -> Array:
    """(T, N, width) of one output, of values at the end or, without an axis of time, after each step."""
    T, N = shape[:2]
    if output.time is not None:
        return np.moveaxis(values[0], (output.time, output.batch), (0, 1)).reshape(T, N, -1)
    rows = [np.moveaxis(value, output.batch, 0).reshape(N, -1) for value in values]
    return np.stack(rows) if len(rows) == T else np.broadcast_to(rows[-1], (T, *rows[-1].shape))


@dataclass
class OnnxNode:
    """The implementation object of one recurrent node alone: ONNX's definition with the weights that the node is given.

    Of two directions each has its own: W_l0, W_l0_reverse.
    """

    node: Node
    weights: Arrays

    @property
    def ends(self) -> tuple[str, ...]:
        return ("",) if self.weights["R"].shape[0] == 1 else ("_l0", "_l0_reverse")

    def init(self, rng: np.random.Generator, input_size: int, hidden_size: int) -> dict[str, Array]:
        parts = ((name, d, end) for name in self.weights for d, end in enumerate(self.ends))
        return {name + end: np.array(self.weights[name][d : d + 1], np.float64) for name, d, end in parts}

    def zero_state(self, params: Arrays, batch_size: int) -> dict[str, Array]:
        R = params["R" + self.ends[0]]
        return {name: np.zeros((batch_size, R.shape[2]), R.dtype) for name in _state_names(self.node, len(self.ends))}

    def run(self, params: Arrays, xs: Array, state: Arrays) -> tuple[Array, dict[str, Array]]:
        K = len(self.ends)
        names = _state_names(self.node, K)
        h, c = (np.stack([state[name] for name in part]) if part else None for part in (names[:K], names[K:]))
        W = {name: np.concatenate([params[name + end] for end in self.ends]) for name in self.weights}
        given = Given(xs, W["W"], W["R"], W.get("B"), None, h, c, W.get("P"))
        Y, Y_h, Y_c = recurrent(self.node.op, self.node.attributes, given)
        final = [*Y_h, *(() if Y_c is None else Y_c)]
        return np.moveaxis(Y, 1, 2).reshape(*xs.shape[:2], -1), {name: np.array(v) for name, v in zip(names, final, strict=True)}

    def regions(self, params: Arrays) -> tuple[Region, ...]:
        found = []
        for end, direction in zip(self.ends, ("forward", "reverse"), strict=False):
            own = {name: params[name + end] for name in self.weights}
            place = (0, direction) if end else (None, None)
            found += [replace(r, tensor=r.tensor + end) for r in published_regions(_convention(self.node), own, "", *place)]
        return tuple(found)


def _convention(node: Node) -> str:
    return f"onnx.{node.op}" + ("(linear_before_reset=1)" if node.attributes.get("linear_before_reset") else "")


def _state_names(node: Node, K: int) -> tuple[str, ...]:
    """h, c, with layer and direction where there are two directions."""
    letters = ("h", "c") if node.op == "LSTM" else ("h",)
    return tuple(letter + suffix for letter in letters for suffix in (("",) if K == 1 else ("_l0", "_l0_reverse")))


def node_regions(node: Node, params: Arrays) -> tuple[Region, ...]:
    """The gates' blocks of W, R, B, P of one node, direction by direction."""
    name = _convention(node)
    weights = {letter: params[letter] for letter in WEIGHTS if letter in params}
    K = weights["R"].shape[0]
    found = []
    for d in range(K):
        direction = None if K == 1 else ("forward", "reverse")[d]
        layer = None if direction is None else 0
        one = published_regions(name, {n: value[d : d + 1] for n, value in weights.items()}, "", layer, direction)
        found += [replace(r, index=(slice(d, d + 1), *r.index[1:])) for r in one]
    return tuple(found)


def subject_of(model: Any, spec: str) -> Subject:
    """The whole of `model` as a Subject.  Raises UsageError where it cannot be read as a recurrent model over sequences."""
    copy = opened(model, spec)
    evaluation = Evaluation(copy)
    reading, seen = _read(model, evaluation, spec)
    implementation = OnnxModel(evaluation, reading)
    nodes = copy.nodes
    made, refused = as_made(model, implementation, spec)
    only = len(nodes) == 1 and _shape_nodes_only(model)
    H = int(seen[nodes[-1].given["R"]].shape[2])
    backwards = any(node.backwards for node in nodes)
    inner = () if only else tuple(_node_subject(node, seen, spec) for node in nodes)
    return Subject(
        name=_name(nodes, model, only),
        spec=spec,
        framework="onnx",
        kind="cell",
        implementation=implementation,
        detected=(*_detected(model, nodes, reading, only), *_told(made, refused)),
        input_sizes=(reading.input_size,),
        hidden_sizes=(H,),
        batch_sizes=_fixed_batch(model, reading),
        bidirectional=backwards,
        dtype="float64",
        lengths=reading.lengths is not None,
        regions=implementation.regions,
        as_made=made if made is not None else AsMade("float32", _refused(refused), refused=refused),
        undriven=_undriven(model, reading),
        combinations=combinations(model, implementation, tuple(_weights_of(node, seen) for node in nodes)),
        inner=inner,
    )


def _refused(why: str) -> Any:
    def run(params: Arrays, xs: Array, state: Arrays) -> tuple[dict[str, Array], dict[str, str]]:
        raise ContractError(why)

    return run


def _read(model: Any, evaluation: Evaluation, spec: str) -> tuple[Reading, dict[str, Array]]:
    """How the model is read, found by one evaluation, and the values of all weights of its nodes in it."""
    nodes = evaluation.model.nodes
    given = list(inputs_of(model))
    xs, lengths, starts = _roles(model, evaluation, given, spec)
    T, N = _LOOKED
    shape = next(each for name, _, each in given if name == xs)
    first = min(nodes, key=lambda node: len(reached_by(evaluation.model.proto, node.given["X"])))
    sizes = [] if shape is None or shape[-1] is None else [int(shape[-1])]
    W = evaluation.model.floats.get(first.given["W"])
    sizes += [int(W.shape[2])] if W is not None and W.ndim == 3 else []
    if not sizes:
        raise UsageError(f"{spec}: the size of its input {xs!r} is not said, wanted a number as the last axis of its shape")
    D, first_error = sizes[0], ""
    for time_first in (True, False):
        rng = np.random.default_rng(0)
        feed: dict[str, Any] = {xs: rng.normal(size=(T, N, D) if time_first else (N, T, D))}
        if lengths is not None:
            feed[lengths] = np.full(N, T, np.int32)
        wanted = [*(o.name for o in model.graph.output), *dict.fromkeys(t for node in nodes for t in _looked_at(node))]
        try:
            feed |= {start.tensor: rng.normal(size=start.shape(N)) for start in starts}
            values = dict(zip(wanted, evaluation(wanted, feed, "float64"), strict=True))
        except Exception as error:  # an operator refuses shapes in its own words
            first_error = first_error or one_line(error)
            continue
        x = values[first.given["X"]]
        if x.shape[1 if first.batch_first else 0] == T and x.shape[0 if first.batch_first else 1] == N:
            break
    else:
        raise UsageError(f"{spec}: it cannot be evaluated ({first_error or 'no axis of time'}), wanted a model over (T, N, D) or (N, T, D)")
    outputs = _outputs(model, evaluation, values, T, N, nodes, spec)
    states = tuple(start.state(nodes) for start in starts)
    return Reading(xs, D, time_first, states, lengths, outputs, _names(evaluation, nodes)), values


def _looked_at(node: Node) -> list[str]:
    return [tensor for place, tensor in node.given.items() if place != "sequence_lens"] + [node.h] + ([node.c] if node.c else [])


@dataclass(frozen=True)
class Start:
    """An input in which the states `letter` (h or c) of some nodes begin, nodes by their place."""

    tensor: str
    letter: str
    places: tuple[int, ...]
    counts: tuple[int, ...]
    width: int
    batch_first: bool

    def shape(self, N: int) -> tuple[int, ...]:
        K = sum(self.counts)
        return (N, K, self.width) if self.batch_first else (K, N, self.width)

    def state(self, nodes: tuple[Node, ...]) -> State:
        names = [_part_name(self.letter, place, d, count, len(nodes)) for place, count in zip(self.places, self.counts, strict=True)
                 for d in range(count)]  # fmt: skip
        ends = tuple(str(nodes[place].h if self.letter == "h" else nodes[place].c) for place in self.places)
        return State(tuple(names), self.tensor, ends, self.batch_first, self.width)


def _part_name(letter: str, place: int, d: int, count: int, nodes: int) -> str:
    """h, or h_l0, h_l0_reverse, h_l1, ... where there are several nodes or directions."""
    return letter if nodes * count == 1 else f"{letter}_l{place}{'_reverse' if d else ''}"


def _roles(model: Any, evaluation: Evaluation, given: list[Any], spec: str) -> tuple[str, str | None, list[Start]]:
    """The input that is the sequence, the one of lengths, and the inputs at which states start."""
    copy, nodes = evaluation.model, evaluation.model.nodes
    floats = [name for name, kind, _ in given if kind in FLOATS]
    at_lengths = {n for node in nodes if "sequence_lens" in node.given for n in reached_by(model, node.given["sequence_lens"])}
    lengths = next((name for name, kind, _ in given if kind not in FLOATS and name in at_lengths), None)
    at_start: dict[tuple[str, str], list[int]] = {}
    for letter in ("h", "c"):
        for k, node in enumerate(nodes):
            before = reached_by(copy.proto, node.given.get(f"initial_{letter}", ""))
            for name in (*copy.started, *floats):
                if name in before and not (name in floats and _is_sequence(copy.proto, nodes, name)):
                    at_start.setdefault((name, letter), []).append(k)
    starts = []
    for (name, letter), places in at_start.items():
        counts = tuple(_directions(nodes[k]) for k in places)
        starts.append(Start(name, letter, tuple(places), counts, _hidden(evaluation, nodes[places[0]]), nodes[places[0]].batch_first))
    starts.sort(key=lambda start: (start.letter == "c", start.places))
    taken = {start.tensor for start in starts}
    left = [name for name in floats if name not in taken]
    others = [name for name, kind, _ in given if kind not in FLOATS and name != lengths]
    sequences = [name for name in left if _is_sequence(copy.proto, nodes, name)]
    if len(sequences) != 1 or len(left) != 1 or others:
        got = ", ".join(f"{name} ({FLOATS.get(kind, 'no floating numbers')})" for name, kind, _ in given)
        raise UsageError(f"{spec}: its inputs are {got}, wanted one sequence of numbers, initial states, and lengths of sequences")
    return sequences[0], lengths, starts


def _is_sequence(proto: Any, nodes: tuple[Node, ...], name: str) -> bool:
    """Whether an input is what the first recurrent node reads at each step."""
    return name in reached_by(proto, nodes[0].given["X"])


def _directions(node: Node) -> int:
    return 2 if direction_of(node.attributes) == "bidirectional" else 1


def _hidden(evaluation: Evaluation, node: Node) -> int:
    R = evaluation.model.floats.get(node.given["R"])
    return int(node.attributes["hidden_size"]) if R is None or "hidden_size" in node.attributes else int(R.shape[2])


def _outputs(
    model: Any, evaluation: Evaluation, values: Mapping[str, Any], T: int, N: int, nodes: tuple[Node, ...], spec: str
) -> tuple[Output, ...]:
    sequences, single = [], []
    ends = {name for node in nodes for name in (node.h, node.c) if name}
    for each in model.graph.output:
        shape = np.shape(values[each.name])
        if shape.count(T) == 1 and N in shape:
            sequences.append(Output(each.name, shape.index(T), shape.index(N)))
        elif N in shape and each.name not in ends:
            single.append(Output(each.name, None, shape.index(N)))
    if not sequences and not single:
        last = next((name for name in (o.name for o in model.graph.output) if name in ends), None)
        if last is None:
            shapes = ", ".join(f"{o.name} {np.shape(values[o.name])}" for o in model.graph.output)
            raise UsageError(f"{spec}: its outputs are {shapes} for {T} steps of {N} sequences, wanted one with an axis of each")
        single.append(Output(last, None, np.shape(values[last]).index(N)))
    return tuple(sequences or single)


def _names(evaluation: Evaluation, nodes: tuple[Node, ...]) -> dict[str, str]:
    """A parameter's name -> the file's: W, R, B, P of a single node, else the file's own."""
    floats = evaluation.model.floats
    proto = evaluation.model.proto
    used = {name for node in proto.graph.node for name in node.input} | {name for node in nodes for name in node.given.values()}
    names = {name: name for name in floats if name in used and floats[name].size}
    if len(nodes) == 1:
        letters = {nodes[0].given[place]: place for place in WEIGHTS if place in nodes[0].given}
        if {"W", "R"} <= {letter for own, letter in letters.items() if own in floats}:
            others = {name: own for name, own in names.items() if own not in letters}
            return {letters[own]: own for own in letters if own in floats} | others
    return names


_SHAPES_ONLY = frozenset({"Squeeze", "Transpose", "Reshape", "Identity", "Unsqueeze", "Constant", "Shape", "Gather", "Expand",
                          "ConstantOfShape", "Concat", "Slice", "Cast", "Split"})  # fmt: skip


def _shape_nodes_only(model: Any) -> bool:
    """Whether all other nodes move numbers about and compute none."""
    return all(each.op_type in _SHAPES_ONLY or each.op_type in GATES for each in model.graph.node)


def _weights_of(node: Node, values: Mapping[str, Array]) -> dict[str, Array]:
    return {place: np.asarray(values[node.given[place]]) for place in WEIGHTS if place in node.given}


def _node_subject(node: Node, values: Mapping[str, Array], spec: str) -> Subject:
    weights, how = _weights_of(node, values), ""
    if direction_of(node.attributes) == "reverse":  # the same cell, asked over the sequence turned around
        node, how = replace(node, attributes={**node.attributes, "direction": "forward"}), ", from the end"
    implementation = OnnxNode(node, weights)
    return Subject(
        name=f"{node.name} ({node.op}{how})",
        spec=f"{spec}#{node.name}",
        framework="onnx",
        kind="cell",
        implementation=implementation,
        input_sizes=(int(weights["W"].shape[2]),),
        hidden_sizes=(int(weights["R"].shape[2]),),
        bidirectional=node.backwards,
        regions=implementation.regions,
    )


def _name(nodes: tuple[Node, ...], model: Any, only: bool) -> str:
    ops = " + ".join(node.op for node in nodes)
    direction = direction_of(nodes[0].attributes)
    if only:
        return f"onnx.{ops}" + ("" if direction == "forward" else f"[{direction}]")
    return f"onnx model with {ops}"


def _detected(model: Any, nodes: tuple[Node, ...], reading: Reading, only: bool) -> tuple[Detection, ...]:
    opset = next((each.version for each in model.opset_import if each.domain in ("", "ai.onnx")), 0)
    found = [Detection(f"onnx {node.op}", f"node {node.name}{_attributes_said(node)}, opset {opset}") for node in nodes]
    others = [each.op_type for each in model.graph.node if each.op_type not in GATES and each.op_type != "Constant"]
    if others:
        more = ", ".join(dict.fromkeys(others))
        found.append(Detection("the whole model", f"also its {more}" + (", which only move numbers" if only else "")))
    order = "(T, N, D)" if reading.time_first else "(N, T, D)"
    found.append(Detection(f"input {reading.xs} {order}", f"D = {reading.input_size}"))
    for o in reading.outputs:
        words = "one a step" if o.time is not None else "one a sequence: asked for after every step"
        found.append(Detection(f"output {o.name}", words))
    found.append(Detection("evaluated in float64", "by onnx's reference evaluator, with recurrent nodes as the standard defines them"))
    found.append(Detection("forward pass only", "ONNX has no gradients"))
    return tuple(found)


def _attributes_said(node: Node) -> str:
    said = [f"{name}={_text(value)}" for name, value in sorted(node.attributes.items()) if name != "hidden_size"]
    return f", {', '.join(said)}" if said else ""


def _told(made: AsMade | None, refused: str) -> tuple[Detection, ...]:
    if made is not None:
        return (Detection("run by onnxruntime", f"the file as it is, in {made.dtype}"),)
    return (Detection("not run by onnxruntime", refused),)


def _fixed_batch(model: Any, reading: Reading) -> tuple[int, ...] | None:
    shape = next(shape for name, _, shape in inputs_of(model) if name == reading.xs)
    size = None if shape is None or len(shape) != 3 else shape[1 if reading.time_first else 0]
    return None if size is None else (size,)


def _undriven(model: Any, reading: Reading) -> tuple[str, ...]:
    ends = {end for s in reading.states for end in s.ends} | {o.name for o in reading.outputs}
    left = [o.name for o in model.graph.output if o.name not in ends]
    return (f"outputs: {', '.join(left)} (held only against onnxruntime)",) if left else ()


def _text(value: Any) -> str:
    if isinstance(value, bytes):
        return value.decode()
    return "/".join(map(_text, value)) if isinstance(value, list) else str(value)
