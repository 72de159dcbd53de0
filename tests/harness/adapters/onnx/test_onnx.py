"""ONNX models with recurrent nodes.  Without onnx nothing here runs, without onnxruntime only what needs it is skipped."""

from __future__ import annotations

import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import bptt
from bptt.harness.adapters.onnx.adapt import adapt
from bptt.harness.errors import UsageError
from bptt.harness.identify.published_cell import identify
from bptt.harness.subject import Array, Subject

onnx = pytest.importorskip("onnx", reason="onnx is not installed")
from onnx import TensorProto, helper, numpy_helper  # noqa: E402

from bptt.harness.adapters.onnx.combinations import combinations  # noqa: E402
from bptt.harness.adapters.onnx.runtime import session_of  # noqa: E402

GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}
needs_runtime = pytest.mark.skipif(find_spec("onnxruntime") is None, reason="onnxruntime is not installed")


def model(op: str, D: int = 3, H: int = 5, peepholes: bool = False, seed: int = 0, constants: bool = False, **attributes: Any) -> Any:
    rng = np.random.default_rng(seed)
    K = 2 if attributes.get("direction") == "bidirectional" else 1
    units = GATES[op] * H
    shapes = {"W": (K, units, D), "R": (K, units, H), "B": (K, 2 * units)}
    weights: dict[str, Array] = {name: rng.normal(size=shape) for name, shape in shapes.items()}
    inputs = ["X", "W", "R", "B"]
    if peepholes:
        weights["P"] = rng.normal(size=(K, 3 * H))
        inputs += ["", "", "", "P"]
    tensors = [numpy_helper.from_array(value.astype(np.float32), name) for name, value in weights.items()]
    nodes = [helper.make_node(op, inputs, ["Y"], hidden_size=H, **attributes)]
    if constants:
        nodes = [*(helper.make_node("Constant", [], [t.name], value=t) for t in tensors), *nodes, helper.make_node("Neg", ["Y"], ["Z"])]
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in (("X", ["T", "N", D]), ("Y", None))]
    graph = helper.make_graph(nodes, "g", ends[:1], ends[1:], [] if constants else tensors)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 22)])


def subject_of(obj: object) -> Subject:
    subject = adapt(obj, "m.onnx")
    assert subject is not None
    return subject


@pytest.mark.parametrize(
    ("made", "cell", "words"),
    [
        (model("LSTM"), "lstm", "blocks i o f g, weights as rows (1, 4H, D), two biases"),
        (model("LSTM", peepholes=True), "lstm_peephole", "blocks i o f g"),
        (model("GRU"), "gru_reset_before", "z keeps the old state, blocks z r n"),
        (model("GRU", linear_before_reset=1), "gru_reset_after", "blocks z r n"),
        (model("GRU", layout=1, constants=True), "gru_reset_before", "blocks z r n"),
        (model("RNN"), "elman", "two biases"),
    ],
    ids=["LSTM", "peepholes", "GRU", "GRU after", "GRU layout 1", "RNN"],
)
def test_right_models_conform_and_are_known_in_float64(made: Any, cell: str, words: str) -> None:
    run = bptt.check(made, isolate=False, level="standard" if cell == "lstm" else "smoke")
    assert run.ok, run.text()
    identified = run.run.targets[0].identified
    assert identified is not None and identified.cell == cell and words in identified.convention
    assert identified.max_error < 1e-12


@pytest.mark.parametrize(
    ("made", "cell"),
    [(model("RNN", activations=["Relu"]), "elman_relu"), (model("LSTM", clip=0.5), None), (model("LSTM", input_forget=1), None)],
    ids=["relu", "clip", "input_forget"],
)
def test_what_the_evaluator_of_onnx_passes_over_is_evaluated(made: Any, cell: str | None) -> None:
    found = identify(subject_of(made))
    assert (None if found is None else found.cell) == cell
    run = bptt.check(runnable(made), isolate=False, level="smoke")
    assert run.ok, run.text()


def runnable(made: Any) -> Any:
    """With versions that onnxruntime is sure to know."""
    made.ir_version, made.opset_import[0].version = 8, 14
    return made


def after(made: Any, op: str, *more: str) -> Any:
    """The model with one more node behind its output."""
    made.graph.node.append(helper.make_node(op, ["Y", *more], ["Z"]))
    made.graph.output[0].name = "Z"
    return made


@needs_runtime
@pytest.mark.parametrize(
    "made",
    [
        model("LSTM", clip=0.3),
        model("LSTM", input_forget=1, direction="bidirectional"),
        model("LSTM", peepholes=True, direction="reverse"),
        model("LSTM", activations=["HardSigmoid", "Softsign", "Relu"]),
        model("GRU", activations=["HardSigmoid", "Elu"], activation_alpha=[0.3, 0.7], activation_beta=[0.4]),
        model("GRU", linear_before_reset=1, direction="bidirectional"),
        model("RNN", activations=["Affine"], activation_alpha=[0.5], activation_beta=[0.1]),
    ],
    ids=["clip", "input_forget both", "peepholes reverse", "activations", "alphas", "after both", "affine"],
)
def test_the_standard_is_what_onnxruntime_computes(made: Any) -> None:
    run = bptt.check(runnable(made), isolate=False, level="smoke", select=["contract", "NUM150"])
    assert run["NUM150"].status == "passed" and run["NUM150"].finding is None, run.text()
    assert run["NUM150"].metrics["as_made_error"] < 1e-5


@needs_runtime
def test_what_stands_after_the_node_is_part_of_the_verdict() -> None:
    made = runnable(after(model("LSTM"), "Neg"))
    run = bptt.check(made, isolate=False, level="smoke")
    assert run.ok and run.run.targets[0].identified is None, run.text()
    assert run["NUM150"].metrics["dtype"] == "float32"
    assert "inside: LSTM_0 (LSTM): an LSTM, blocks i o f g" in run.text()


@needs_runtime
@pytest.mark.parametrize(
    ("made", "said"),
    [
        (model("GRU", direction="bidirectional", linear_before_reset=1), "GRU_0 (GRU): a bidirectional GRU layer"),
        (model("LSTM", direction="reverse"), "LSTM_0 (LSTM, from the end): an LSTM"),
    ],
)
def test_a_node_of_another_direction_is_known_inside_of_a_model(made: Any, said: str) -> None:
    run = bptt.check(runnable(after(made, "Neg")), isolate=False, level="smoke", select=["contract", "PAR150"])
    assert run["PAR150"].finding is None, run.text()
    assert f"inside: {said}" in " ".join(run.text().split())


@needs_runtime
def test_a_model_that_onnxruntime_refuses_is_told_so_with_its_words() -> None:
    run = bptt.check(runnable(model("GRU", layout=1)), isolate=False, level="smoke")
    finding = run["NUM150"].finding
    assert run.ok and finding is not None and "onnxruntime refuses it" in finding.headline and "layout == 1" in finding.headline


@needs_runtime
def test_several_nodes_initial_states_and_lengths_are_read() -> None:
    made = two_layers()
    subject = subject_of(made)
    assert subject.lengths and list(subject.implementation.zero_state(subject.implementation.init(np.random.default_rng(0), 3, 5), 2)) == [
        "h_l0", "h_l1",
    ]  # fmt: skip
    assert [part.name for part in subject.inner] == ["GRU_0 (GRU)", "GRU_1 (GRU)"]
    run = bptt.check(made, isolate=False, level="smoke")
    assert run.ok and run["NUM150"].metrics["as_made_error"] < 1e-5, run.text()


def two_layers() -> Any:
    """Two GRU nodes in a row, lengths and the first one's initial state as inputs, and a Relu behind."""
    first, second = model("GRU", D=3, H=5), model("GRU", D=5, H=5, seed=1)
    for tensor in second.graph.initializer:
        tensor.name += "_1"
    axes = numpy_helper.from_array(np.array([1], np.int64), "axes")
    nodes = [
        helper.make_node("GRU", ["X", "W", "R", "B", "lengths", "h0"], ["Y0"], hidden_size=5),
        helper.make_node("Squeeze", ["Y0", "axes"], ["S"]),
        helper.make_node("GRU", ["S", "W_1", "R_1", "B_1", "lengths"], ["Y1", "hn"], hidden_size=5),
        helper.make_node("Relu", ["Y1"], ["Z"]),
    ]
    f, i = TensorProto.FLOAT, TensorProto.INT32
    ends = [("X", f, ["T", "N", 3]), ("lengths", i, ["N"]), ("h0", f, [1, "N", 5])]
    inputs = [helper.make_tensor_value_info(*each) for each in ends]
    outputs = [helper.make_tensor_value_info("Z", f, None), helper.make_tensor_value_info("hn", f, None)]
    tensors = [*first.graph.initializer, *second.graph.initializer, axes]
    graph = helper.make_graph(nodes, "two", inputs, outputs, tensors)
    return runnable(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 14)]))


def test_both_directions_and_the_reverse_one() -> None:
    both, back = subject_of(model("LSTM", direction="bidirectional")), subject_of(model("GRU", direction="reverse"))
    assert both.bidirectional and back.bidirectional
    params = both.implementation.init(np.random.default_rng(0), 3, 5)
    state = both.implementation.zero_state(params, 2)
    assert list(state) == ["h_l0", "h_l0_reverse", "c_l0", "c_l0_reverse"]
    ys, final = both.implementation.run(params, np.ones((4, 2, 3)), state)
    assert ys.shape == (4, 2, 10)
    np.testing.assert_array_equal(ys[-1, :, :5], final["h_l0"])
    np.testing.assert_array_equal(ys[0, :, 5:], final["h_l0_reverse"])
    covered = {name: np.zeros(value.shape) for name, value in params.items()}
    for region in both.implementation.regions(params):
        covered[region.tensor][region.index] += 1
    assert all(np.all(count == 1) for count in covered.values())
    assert bptt.check(model("LSTM", direction="bidirectional"), isolate=False, level="smoke").ok


@needs_runtime
def test_onnxruntime_gives_what_the_evaluator_gives() -> None:
    import onnxruntime

    made = model("GRU", linear_before_reset=1)
    subject = subject_of(made)
    params = subject.implementation.init(np.random.default_rng(0), 3, 5)
    xs = np.random.default_rng(1).normal(size=(4, 2, 3)).astype(np.float32)
    made.ir_version = 8
    made.opset_import[0].version = 14
    session = onnxruntime.InferenceSession(made.SerializeToString(), providers=["CPUExecutionProvider"])
    ys, _ = subject.implementation.run(params, xs, subject.implementation.zero_state(params, 2))
    np.testing.assert_allclose(session.run(None, {"X": xs})[0][:, 0], ys, atol=1e-6)


def test_a_file_is_read(tmp_path: Path) -> None:
    onnx.save(model("LSTM"), str(tmp_path / "m.onnx"))
    assert subject_of(tmp_path / "m.onnx").name == "onnx.LSTM"
    with pytest.raises(UsageError, match=r"no such file, did you mean 'm\.onnx'\?"):
        adapt(tmp_path / "mm.onnx", "mm.onnx")
    (tmp_path / "text.onnx").write_text("no model")
    with pytest.raises(UsageError, match="onnx cannot read it"):
        adapt(tmp_path / "text.onnx", "text.onnx")


def test_what_cannot_be_taken_is_one_clear_line() -> None:
    without = model("LSTM")
    without.graph.node[0].op_type = "Relu"
    with pytest.raises(UsageError, match="it has no LSTM, GRU or RNN node, wanted one"):
        adapt(without, "x")
    tokens = model("LSTM")
    tokens.graph.input.append(helper.make_tensor_value_info("ids", TensorProto.INT64, ["T", "N"]))
    with pytest.raises(UsageError, match=r"its inputs are X \(float32\), ids \(no floating numbers\), wanted one sequence of numbers"):
        adapt(tokens, "x")
    with pytest.raises(UsageError, match=r"got args \['H'\] for a model"):
        adapt(model("RNN"), "x", {"H": 3})


def exported(module: Any) -> Any:
    """An LSTM of torch as a file would have it: gates i o f c, and a Squeeze that gives its outputs in torch's shape."""
    order = [0, 3, 1, 2]

    def rows(value: Any) -> Array:
        blocks = np.split(value.detach().numpy(), 4)
        return np.concatenate([blocks[k] for k in order])

    H = module.hidden_size
    weights = {"W": rows(module.weight_ih_l0)[None], "R": rows(module.weight_hh_l0)[None]}
    weights["B"] = np.concatenate([rows(module.bias_ih_l0), rows(module.bias_hh_l0)])[None]
    tensors = [numpy_helper.from_array(value, name) for name, value in weights.items()]
    tensors.append(numpy_helper.from_array(np.array([1], np.int64), "axes"))
    nodes = [helper.make_node("LSTM", ["X", "W", "R", "B"], ["Y0"], hidden_size=H), helper.make_node("Squeeze", ["Y0", "axes"], ["Y"])]
    ends = [helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in (("X", ["T", "N", module.input_size]), ("Y", None))]
    graph = helper.make_graph(nodes, "exported", ends[:1], ends[1:], tensors)
    return runnable(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 14)]))


def test_a_module_and_its_file_are_compared_with_the_weights_that_each_has() -> None:
    torch = pytest.importorskip("torch")
    torch.manual_seed(0)
    module = torch.nn.LSTM(3, 5)
    made = exported(module)
    right = bptt.compare(module, made)
    assert right.ok and "nothing was carried over" in right.carried
    with torch.no_grad():
        module.bias_hh_l0[7] += 0.01
    wrong = bptt.compare(module, made)
    assert not wrong.ok and wrong.differences[0].relative > 1e-4


class Changed:
    """onnxruntime, with something else in what it is given or in what it gives."""

    def __init__(self, made: Any, mistake: str) -> None:
        self.session, self.mistake = session_of(made)[0], mistake
        self.backwards = any(a.s == b"reverse" for node in made.graph.node for a in node.attribute)

    def run(self, names: Any, feed: dict[str, Array]) -> list[Array]:
        lengths = next((name for name, value in feed.items() if value.dtype.kind == "i"), None)
        if lengths is not None and (self.mistake == "no lengths" or (self.mistake == "none in reverse" and self.backwards)):
            feed = feed | {lengths: np.full_like(feed[lengths], 5)}
        values: list[Array] = self.session.run(names, feed)
        return [value[:, ::-1] for value in values] if self.mistake == "rows" and names is None else values


@needs_runtime
@pytest.mark.parametrize(
    ("mistake", "where"),
    [
        ("no lengths", "the file, initial states, sequence_lens"),
        ("none in reverse", "GRU direction='reverse', sequence_lens"),
        ("rows", "GRU initial states"),
    ],
)
def test_what_a_runtime_makes_of_other_attributes_is_held_against_single_steps(mistake: str, where: str) -> None:
    def wrong(sessions: Any) -> list[Any]:
        subject = subject_of(made)
        nodes = tuple(inner.implementation.weights for inner in subject.inner)
        pairs = combinations(made, subject.implementation, nodes, sessions)
        assert pairs is not None
        found = list(pairs(np.random.default_rng(0)))
        assert len(found) > 100 and any(pair.own for pair in found)
        return [
            pair
            for pair in found
            if pair.raised or pair.got.shape != pair.expected.shape or not np.allclose(pair.got, pair.expected, atol=1e-4)
        ]

    made = two_layers()
    assert not wrong(session_of)
    assert any(where in pair.words for pair in wrong(lambda each: (Changed(each, mistake), "")))


@needs_runtime
def test_a_file_is_held_against_its_sequences_alone_at_level_full() -> None:
    result = bptt.check(two_layers(), isolate=False, level="full", select=["OPT310"])["OPT310"]
    assert (result.status, result.finding) == ("passed", None) and result.metrics["combinations"] > 100


@pytest.mark.parametrize("obj", [3, dict, np.tanh, "m.onnx", Path("m.py")], ids=str)
def test_other_things_are_not_mine(obj: object) -> None:
    assert adapt(obj, "x") is None


def test_nothing_is_imported_for_other_things() -> None:
    code = "import sys; from bptt.harness.adapters.onnx.adapt import adapt; "
    code += "assert adapt(dict, 'x') is None; assert 'onnx' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
