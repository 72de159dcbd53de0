"""Deep and bidirectional stacks: proven at 50 digits, equal to torch's, and each property that says what they are."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, cast

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bptt.refimpl import CELLS, layers, stack, unroll
from bptt.refimpl.cells import elman
from bptt.refimpl.cells.cell import RowSum
from bptt.refimpl.stack import Stack
from bptt.refimpl.types import Array, Params, State, Tape
from tests.refimpl.multiprecision import exact
from tests.refimpl.proof import one_random_direction, worst_along

Arrays = dict[str, Array]
quick = settings(max_examples=15, deadline=None, derandomize=True)
every_direction = pytest.mark.parametrize("bidirectional", [False, True], ids=["forward", "both"])
every_cell = pytest.mark.parametrize("name", CELLS)


def stack_of(names: str, bidirectional: bool = False) -> Stack:
    return Stack(tuple(CELLS[name] for name in names.split()), bidirectional)


@dataclass(frozen=True)
class Case:
    """A stack, its inputs (parameters, "xs" and initial state by name), and the cotangents of what it gives ("ys", final state)."""

    stack: Stack
    inputs: Arrays
    cotangents: Arrays
    state_names: tuple[str, ...]
    lengths: Array | None
    masks: tuple[Array, ...] | None

    def of(self, inputs: Mapping[str, Array]) -> tuple[Arrays, Array, Arrays]:
        """params, xs, state"""
        state = {name: inputs[name] for name in self.state_names}
        return {name: a for name, a in inputs.items() if name != "xs" and name not in state}, inputs["xs"], state

    def run(self, inputs: Mapping[str, Array] | None = None) -> Arrays:
        """ys and the final state."""
        ys, final, _ = stack.forward(self.stack, *self.of(inputs or self.inputs), self.lengths, self.masks)
        return {"ys": ys, **final}

    def loss(self, inputs: Mapping[str, Array]) -> Any:
        return sum((self.cotangents[name] * a).sum() for name, a in self.run(inputs).items())

    def gradients(self) -> Arrays:
        params, xs, state = self.of(self.inputs)
        _, _, tape = stack.forward(self.stack, params, xs, state, self.lengths, self.masks)
        dfinal = {name: self.cotangents[name] for name in state}
        dparams, dxs, dstate = stack.backward(self.stack, params, tape, self.cotangents["ys"], dfinal)
        assert list(dparams) == list(params)
        assert list(dstate) == list(state)
        return {**dparams, "xs": dxs, **dstate}

    def map(self, f: Callable[[Array], Array]) -> Case:
        inputs, cotangents = ({name: f(a) for name, a in d.items()} for d in (self.inputs, self.cotangents))
        masks = None if self.masks is None else tuple(f(mask) for mask in self.masks)
        return replace(self, inputs=inputs, cotangents=cotangents, masks=masks)


def case_of(
    which: Stack, rng: np.random.Generator, T: int, N: int, D: int, H: int, lengths: Array | None = None, p: float | None = None
) -> Case:
    """Everything random and nothing zero, but for the masks' zeros; no masks where p is None."""
    params = stack.init(which, rng, D, H)
    state = {name: np.asarray(rng.normal(size=s.shape)) for name, s in stack.zero_state(which, params, N).items()}
    widths = [sum(state["h" + suffix].shape[1] for suffix in which.suffixes(k)) for k in range(len(which.cells))]
    masks = None if p is None else tuple(layers.dropout_mask(rng, (T, N, width), p) for width in widths[:-1])
    cotangents = {"ys": rng.normal(size=(T, N, widths[-1])), **{name: np.asarray(rng.normal(size=s.shape)) for name, s in state.items()}}
    return Case(which, {**params, "xs": rng.normal(size=(T, N, D)), **state}, cotangents, tuple(state), lengths, masks)


def agree(got: Mapping[str, Array], expected: Mapping[str, Array], tolerance: float = 1e-12) -> None:
    assert got.keys() == expected.keys()
    for name, a in expected.items():
        assert got[name].shape == a.shape, name
        np.testing.assert_allclose(got[name], a, rtol=0, atol=tolerance * max(1, np.abs(a).max(initial=0)), err_msg=name)


# The derivation

RAGGED = np.array([2, 3])
PROVEN = [
    ("lstm", False, None, None),
    ("lstm", True, RAGGED, None),
    ("lstm lstm", False, RAGGED, 0.4),
    ("lstm lstm", True, None, 0.4),
    ("gru_reset_after gru_reset_after", True, RAGGED, None),
    ("elman elman elman", True, RAGGED, 0.4),
    ("elman lstm", False, None, 0.4),
    ("elman gru_reset_before lstm", False, RAGGED, 0.4),
    ("lstm_projected gru_reset_after", True, RAGGED, 0.4),
    ("lstm_peephole lstm_projected", True, np.array([3, 0]), None),
]


def error_at_50_digits(case: Case) -> tuple[float, str]:
    case = case.map(exact)
    directions = one_random_direction(case.inputs, np.random.default_rng(9))
    return worst_along(directions, case.loss, case.inputs, case.gradients())


@pytest.mark.parametrize(("names", "bidirectional", "lengths", "p"), PROVEN)
def test_backward_equals_the_difference_quotient_at_50_digits(
    names: str, bidirectional: bool, lengths: Array | None, p: float | None
) -> None:
    case = case_of(stack_of(names, bidirectional), np.random.default_rng(21), T=3, N=2, D=2, H=2, lengths=lengths, p=p)
    if case.masks is not None:
        assert all((mask == 0).any() and (mask != 0).any() for mask in case.masks)
    error, where = error_at_50_digits(case)
    assert error < 1e-35, f"{where}: relative error {error:.1e}"


class SlightlyOff(Case):
    def gradients(self) -> Arrays:
        right = super().gradients()
        wrong = right["W_h_l1"].copy()
        wrong[0, 1] *= 1 + 1e-8
        return {**right, "W_h_l1": wrong}


def test_the_proof_finds_one_wrong_entry() -> None:
    case = case_of(stack_of("elman elman"), np.random.default_rng(21), T=3, N=2, D=2, H=2)
    error, where = error_at_50_digits(SlightlyOff(**vars(case)))
    assert error > 1e-12
    assert where == "dL/dW_h_l1"


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.longdouble, np.complex128, object])
@every_direction
def test_results_have_the_dtype_of_the_inputs(bidirectional: bool, dtype: type) -> None:
    case = case_of(stack_of("lstm gru_reset_after", bidirectional), np.random.default_rng(1), 3, 2, 2, 3, RAGGED, 0.4)
    case = case.map(exact) if dtype is object else case.map(lambda a: a.astype(dtype))
    for each in (case, replace(case, lengths=None)):
        results = {**each.run(), **{f"d{name}": d for name, d in each.gradients().items()}}
        assert {name: a.dtype for name, a in results.items() if a.dtype != dtype} == {}


@every_direction
def test_one_complex_input_makes_everything_complex_and_a_complex_step_is_the_gradient(bidirectional: bool) -> None:
    rng = np.random.default_rng(2)
    case = case_of(stack_of("gru_reset_after lstm", bidirectional), rng, T=4, N=3, D=2, H=5, lengths=np.array([4, 1, 3]), p=0.4)
    hand = case.gradients()
    for name, a in case.inputs.items():
        v = rng.normal(size=a.shape)
        results = case.run({**case.inputs, name: a + 1e-30j * v})
        assert all(np.iscomplexobj(z) for z in results.values())
        step = sum((case.cotangents[key] * z).sum() for key, z in results.items()).imag / 1e-30
        assert step == pytest.approx((hand[name] * v).sum(), rel=1e-12, abs=1e-13), name


def step_with_bias(params: Params, ax: Array, state: State) -> Any:
    return elman.step(params, ax + params["b"], state)


def step_with_bias_backward(params: Params, tape: Tape, dy: Array, dstate: State) -> Any:
    da, dstate_prev, dparams = elman.step_backward(params, tape, dy, dstate)
    return da, dstate_prev, {**dparams, "b": RowSum(da)}


@every_direction
def test_a_parameter_that_is_read_in_the_projection_and_in_the_loop_gets_both_gradients(bidirectional: bool) -> None:
    """Elman with its bias added in both places."""
    cell = replace(elman.CELL, step=step_with_bias, step_backward=step_with_bias_backward)
    error, where = error_at_50_digits(case_of(Stack((cell, cell), bidirectional), np.random.default_rng(21), 3, 2, 2, 2, RAGGED))
    assert error < 1e-35, f"{where}: relative error {error:.1e}"


# What a stack is


@every_cell
@quick
@given(seed=st.integers(0, 2**32 - 1), T=st.integers(0, 5), N=st.integers(0, 3), H=st.integers(1, 6))
def test_a_stack_of_one_is_the_cell(name: str, seed: int, T: int, N: int, H: int) -> None:
    case = case_of(stack_of(name), np.random.default_rng(seed), T, N, 3, H)
    given = ({key.removesuffix("_l0"): a for key, a in d.items()} if isinstance(d, dict) else d for d in case.of(case.inputs))
    params, xs, state = cast(tuple[Arrays, Array, Arrays], tuple(given))
    cotangents = {key.removesuffix("_l0"): a for key, a in case.cotangents.items()}
    dys = cotangents.pop("ys")
    ys, final, tapes = unroll.forward(CELLS[name], params, xs, state)
    dparams, dxs, dstate = unroll.backward(CELLS[name], params, xs, tapes, dys, cotangents)
    results, gradients = case.run(), case.gradients()
    np.testing.assert_array_equal(results.pop("ys"), ys)
    np.testing.assert_allclose(gradients.pop("xs"), dxs, rtol=0, atol=1e-13 * np.abs(dxs).max(initial=1))
    for key, a in final.items():
        np.testing.assert_array_equal(results[f"{key}_l0"], a)
    for key, d in {**dparams, **dstate}.items():
        np.testing.assert_array_equal(gradients[f"{key}_l0"], d)


@quick
@given(seed=st.integers(0, 2**32 - 1), p=st.sampled_from([None, 0.5]))
def test_a_layer_reads_what_the_one_below_gives_times_its_mask(seed: int, p: float | None) -> None:
    case = case_of(stack_of("lstm elman gru_reset_after"), np.random.default_rng(seed), 4, 3, 2, 5, p=p)
    params, ys, state = case.of(case.inputs)
    results = case.run()
    for k, cell in enumerate(case.stack.cells):
        own, start = ({key.removesuffix(f"_l{k}"): a for key, a in d.items() if key.endswith(f"_l{k}")} for d in (params, state))
        ys, final, _ = unroll.forward(cell, own, ys, start)
        for key, s in final.items():
            np.testing.assert_array_equal(results[f"{key}_l{k}"], s)
        if k < 2 and case.masks is not None:
            ys = ys * case.masks[k]
    np.testing.assert_array_equal(results["ys"], ys)


def swapped(arrays: Mapping[str, Array]) -> Arrays:
    """Each direction's arrays under the names of the other one."""
    return {name.removesuffix("_reverse") if name.endswith("_reverse") else f"{name}_reverse": a for name, a in arrays.items()}


def halves_swapped(a: Array, axis: int) -> Array:
    return np.concatenate(np.split(a, 2, axis)[::-1], axis)


@every_cell
@quick
@given(seed=st.integers(0, 2**32 - 1), T=st.integers(1, 5), ragged=st.booleans())
def test_time_turned_around_swaps_the_directions(name: str, seed: int, T: int, ragged: bool) -> None:
    """Two layers over turned inputs, each direction with the other's parameters and states: ys turned, halves swapped."""
    rng, N = np.random.default_rng(seed), 3
    lengths = rng.integers(0, T + 1, N) if ragged else None
    case = case_of(stack_of(f"{name} {name}", True), rng, T, N, 2, 4, lengths, p=0.3)
    t = np.arange(T)[:, None]
    each = np.full(N, T) if lengths is None else lengths
    mirror = np.where(t < each, each - 1 - t, t), np.arange(N)

    def turned(arrays: Mapping[str, Array]) -> Arrays:
        out = {key: a for key, a in arrays.items() if key not in ("xs", "ys")}
        out = {key: halves_swapped(a, 0) if key.startswith("W_x_l1") else a for key, a in swapped(out).items()}
        if "xs" in arrays:
            out["xs"] = arrays["xs"][mirror]
        if "ys" in arrays:
            out["ys"] = halves_swapped(arrays["ys"][mirror], 2)
        return out

    assert case.masks is not None
    masks = tuple(halves_swapped(mask[mirror], 2) for mask in case.masks)
    inputs = {key: turned(case.inputs)[key] for key in case.inputs}
    other = replace(case, inputs=inputs, cotangents=turned(case.cotangents), masks=masks)
    agree(other.run(), turned(case.run()))
    agree(other.gradients(), turned(case.gradients()))


@st.composite
def ragged_cases(draw: st.DrawFn) -> Case:
    names = draw(st.sampled_from(["lstm", "gru_reset_after elman", "lstm lstm_projected", "elman elman elman"]))
    T, N = draw(st.integers(0, 5)), draw(st.integers(0, 4))
    lengths = np.array(draw(st.lists(st.integers(0, T), min_size=N, max_size=N)), int)
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    return case_of(stack_of(names, draw(st.booleans())), rng, T, N, 3, 4, lengths, draw(st.sampled_from([None, 0.3])))


@settings(quick, max_examples=40)
@given(case=ragged_cases(), rubbish=st.sampled_from([0.0, 1e300, np.inf, np.nan]))
def test_padding_changes_nothing_and_has_no_gradient(case: Case, rubbish: float) -> None:
    assert case.lengths is not None
    padding = np.arange(len(case.inputs["xs"]))[:, None] >= case.lengths
    results, gradients = case.run(), case.gradients()
    assert not results["ys"][padding].any()
    assert not gradients["xs"][padding].any()
    case = case.map(np.copy)
    for a in (case.inputs["xs"], case.cotangents["ys"], *(case.masks or ())):
        a[padding] = rubbish
    for name, a in case.run().items():
        np.testing.assert_array_equal(a, results[name], err_msg=name)
    for name, d in case.gradients().items():
        np.testing.assert_array_equal(d, gradients[name], err_msg=name)


@settings(quick, max_examples=40)
@given(case=ragged_cases())
def test_each_sequence_is_as_if_it_were_alone(case: Case) -> None:
    assert case.lengths is not None
    results, gradients = case.run(), case.gradients()
    total = {name: np.zeros_like(d) for name, d in case.of(gradients)[0].items()}
    for n, length in enumerate(case.lengths):

        def one(a: Array, n: int = n, length: int = length) -> Array:
            """Sequence n of what has a batch."""
            return a[:length, n : n + 1] if a.ndim == 3 else a[n : n + 1]

        params, xs, state = case.of(case.inputs)
        inputs = {**params, "xs": one(xs), **{name: one(s) for name, s in state.items()}}
        masks = None if case.masks is None else tuple(one(mask) for mask in case.masks)
        alone = replace(case, inputs=inputs, cotangents={k: one(d) for k, d in case.cotangents.items()}, lengths=None, masks=masks)
        agree(alone.run(), {name: one(a) for name, a in results.items()})
        dparams, dxs, dstate = case.of(alone.gradients())
        agree({"xs": dxs, **dstate}, {name: one(gradients[name]) for name in ("xs", *state)})
        total = unroll.summed(total, dparams)
    agree(total, case.of(gradients)[0])


@every_direction
@pytest.mark.parametrize("names", ["lstm", "gru_reset_after elman lstm_projected"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_full_lengths_are_no_lengths_to_the_last_bit(names: str, bidirectional: bool, dtype: type) -> None:
    for T, N in [(5, 3), (7, 20), (1, 1), (0, 2), (2, 0)]:
        case = case_of(stack_of(names, bidirectional), np.random.default_rng(T), T, N, 17, 24, p=0.5).map(lambda a: a.astype(dtype))
        full = replace(case, lengths=np.full(N, T))
        for a, b in ((case.run(), full.run()), (case.gradients(), full.gradients())):
            assert a.keys() == b.keys()
            for name in a:
                np.testing.assert_array_equal(a[name], b[name], err_msg=name)


@every_direction
@pytest.mark.parametrize("lengths", [None, np.array([3, 0, 4])])
def test_projected_inputs_give_the_same_as_one_hot_inputs(bidirectional: bool, lengths: Array | None) -> None:
    rng, (T, N, V) = np.random.default_rng(6), (4, 3, 5)
    case = case_of(stack_of("lstm gru_reset_before", bidirectional), rng, T, N, V, 4, lengths, p=0.3)
    ids = rng.integers(V, size=(T, N))
    case = replace(case, inputs={**case.inputs, "xs": np.eye(V)[ids]})
    params, _, state = case.of(case.inputs)
    suffixes, cell = case.stack.suffixes(0), case.stack.cells[0]
    bottom = {s: {name.removesuffix(s): p for name, p in params.items() if name.endswith(s)} for s in suffixes}
    axs0 = tuple(layers.project_indices(cell, bottom[s], ids) for s in suffixes)
    given = axs0 if bidirectional else axs0[0]
    ys, final, tape = stack.forward_projected(case.stack, params, given, state, lengths, case.masks)
    agree({"ys": ys, **final}, case.run(), 0)
    dfinal = {name: case.cotangents[name] for name in state}
    dparams, daxs0, dstate = stack.backward_projected(case.stack, params, tape, case.cotangents["ys"], dfinal)
    for s, daxs in zip(suffixes, daxs0 if isinstance(daxs0, tuple) else (daxs0,), strict=True):
        assert daxs.shape == axs0[0].shape
        if lengths is not None:
            assert not daxs[np.arange(T)[:, None] >= lengths].any()
        share = layers.project_indices_backward(cell, bottom[s], ids, daxs)
        dparams = unroll.summed({name + s: d for name, d in share.items()}, dparams)
    expected = case.gradients()
    del expected["xs"]
    agree({**dparams, **dstate}, expected)


@every_direction
def test_inputs_are_left_alone_and_results_are_new(bidirectional: bool) -> None:
    for T in (0, 4):
        for lengths in (None, np.array([T, T // 2])):
            case = case_of(stack_of("lstm gru_reset_after", bidirectional), np.random.default_rng(1), T, 2, 3, 4, lengths, p=0.3)
            before = case.map(np.copy)
            params, xs, state = case.of(case.inputs)
            dys, dfinal = case.cotangents["ys"], {name: case.cotangents[name] for name in state}
            ys, final, tape = stack.forward(case.stack, params, xs, state, lengths, case.masks)
            first = stack.backward(case.stack, params, tape, dys, dfinal)
            kept = [a.copy() for a in (*first[0].values(), first[1], *first[2].values())]
            for a in (ys, *final.values(), *first[0].values(), first[1], *first[2].values()):
                a += 1
            again = stack.backward(case.stack, params, tape, dys, dfinal)
            for a, b in zip(kept, (*again[0].values(), again[1], *again[2].values()), strict=True):
                np.testing.assert_array_equal(a, b)
            for name, a in before.inputs.items():
                np.testing.assert_array_equal(case.inputs[name], a, err_msg=name)
            for name, a in before.cotangents.items():
                np.testing.assert_array_equal(case.cotangents[name], a, err_msg=name)


def test_names_and_shapes() -> None:
    params = stack.init(stack_of("lstm gru_reset_after", True), np.random.default_rng(0), input_size=3, hidden_size=4)
    assert {name: p.shape for name, p in params.items()} == {
        **{f"{name}_l0{d}": shape for d in ("", "_reverse") for name, shape in (("W_x", (3, 16)), ("W_h", (4, 16)), ("b", (16,)))},
        **{
            f"{name}_l1{d}": shape
            for d in ("", "_reverse")
            for name, shape in (("W_x", (8, 12)), ("W_h", (4, 12)), ("b_x", (12,)), ("b_h", (12,)))
        },
    }
    state = stack.zero_state(stack_of("lstm gru_reset_after", True), params, 2)
    assert list(state) == ["h_l0", "c_l0", "h_l0_reverse", "c_l0_reverse", "h_l1", "h_l1_reverse"]
    assert all(s.shape == (2, 4) and not s.any() for s in state.values())


def test_parameters_of_others_are_no_matter() -> None:
    case = case_of(stack_of("elman"), np.random.default_rng(0), 3, 2, 2, 3)
    params, xs, state = case.of(case.inputs)
    more = {**params, "W_y": np.ones((3, 9), complex), "W_x_l1": np.ones(1)}
    ys, final, tape = stack.forward(case.stack, more, xs, state)
    agree({"ys": ys, **final}, case.run(), 0)
    assert ys.dtype == np.float64
    assert list(stack.backward(case.stack, more, tape, ys, final)[0]) == list(params)


# Wrong use


def test_a_stack_needs_a_cell() -> None:
    with pytest.raises(ValueError, match="cells is \\(\\), but should have at least one cell"):
        Stack(())


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"masks": ()}, r"masks are 0, but should be 1, one for each layer but the top one"),
        ({"masks": (None, None)}, r"masks are 2, but should be 1"),
        ({"masks": (np.ones((3, 2, 4)),)}, r"masks\[0\] has shape \(3, 2, 4\), but should have \(3, 2, 8\), that of layer 0's outputs"),
        ({"masks": (np.ones((1, 2, 8)),)}, r"masks\[0\] has shape \(1, 2, 8\), but should have \(3, 2, 8\)"),
        ({"lengths": np.array([1, 4])}, r"lengths\[1\] is 4, but should be from 0 to T = 3"),
        ({"lengths": np.array([1])}, r"lengths have shape \(1,\), but should have \(2,\)"),
        ({"state": {"h_l0": np.ones((1, 4))}}, r"state\['h_l0'\] has shape \(1, 4\), but should have \(2, 4\)"),
        ({"state": {"c_l0_reverse": None}}, "state has no c_l0_reverse, but should have h_l0, c_l0, h_l0_reverse, c_l0_reverse, h_l1"),
        ({"params": ("_l1_reverse",)}, "params have no name that ends with _l1_reverse, but should have those of elman in layer 1"),
    ],
)
def test_wrong_inputs_are_refused(change: dict[str, Any], words: str) -> None:
    case = case_of(stack_of("lstm elman", True), np.random.default_rng(0), 3, 2, 3, 4)
    params, xs, state = case.of(case.inputs)
    state = {name: s for name, s in (state | change.get("state", {})).items() if s is not None}
    params = {name: p for name, p in params.items() if not name.endswith(change.get("params", ("?",)))}
    with pytest.raises(ValueError, match=words):
        stack.forward(case.stack, params, xs, state, change.get("lengths"), change.get("masks"))


def test_wrong_cotangents_and_tapes_are_refused() -> None:
    case = case_of(stack_of("lstm elman", True), np.random.default_rng(0), 3, 2, 3, 4)
    params, xs, state = case.of(case.inputs)
    _, final, tape = stack.forward(case.stack, params, xs, state)
    with pytest.raises(ValueError, match=r"dys has shape \(3, 2, 4\), but should have \(3, 2, 8\), that of the outputs"):
        stack.backward(case.stack, params, tape, np.ones((3, 2, 4)), final)
    with pytest.raises(ValueError, match="dfinal has no h_l0, but should have h_l0, c_l0"):
        stack.backward(case.stack, params, tape, np.ones((3, 2, 8)), {})
    axs = np.ones((3, 2, 16))
    with pytest.raises(ValueError, match="axs0 has 1 arrays, but should have 2, one for each direction"):
        stack.forward_projected(case.stack, params, axs, state)
    _, _, tape = stack.forward_projected(case.stack, params, (axs, axs), state)
    with pytest.raises(ValueError, match="the tape is one of forward_projected and has no inputs"):
        stack.backward(case.stack, params, tape, np.ones((3, 2, 8)), final)


# torch has the same

LIKE = {"lstm": ("LSTM", {}), "lstm_projected": ("LSTM", {"proj_size": 3}), "gru_reset_after": ("GRU", {}), "elman": ("RNN", {})}


@pytest.mark.parametrize("name", LIKE)
@pytest.mark.parametrize("num_layers", [1, 2, 3])
@every_direction
@pytest.mark.parametrize("lengths", [None, np.array([2, 5, 1, 4])], ids=["whole", "packed"])
def test_outputs_and_gradients_agree_with_torch(name: str, num_layers: int, bidirectional: bool, lengths: Array | None) -> None:
    torch = pytest.importorskip("torch", reason="needs torch")
    T, N, D, H = 5, 4, 3, 6
    kind, options = LIKE[name]
    case = case_of(stack_of(" ".join([name] * num_layers), bidirectional), np.random.default_rng(8), T, N, D, H, lengths)
    params, _, state = case.of(case.inputs)
    layer = getattr(torch.nn, kind)(D, H, num_layers=num_layers, bidirectional=bidirectional, **options).double()
    suffixes = [suffix for k in range(num_layers) for suffix in case.stack.suffixes(k)]
    tensors = fill(torch, layer, params, suffixes)
    xs = torch.tensor(case.inputs["xs"], requires_grad=True)
    kinds = ("h", "c") if kind == "LSTM" else ("h",)
    start = {k: torch.tensor(np.stack([state[k + suffix] for suffix in suffixes]), requires_grad=True) for k in kinds}
    packed = xs if lengths is None else torch.nn.utils.rnn.pack_padded_sequence(xs, torch.tensor(lengths), enforce_sorted=False)
    ys, last = layer(packed, (start["h"], start["c"]) if kind == "LSTM" else start["h"])
    ys = ys if lengths is None else torch.nn.utils.rnn.pad_packed_sequence(ys, total_length=T)[0]
    final = dict(zip(kinds, last if kind == "LSTM" else (last,), strict=True))
    expected = {"ys": ys} | {k + suffix: final[k][i] for k in kinds for i, suffix in enumerate(suffixes)}
    sum((a * torch.tensor(case.cotangents[key])).sum() for key, a in expected.items()).backward()
    grads = {key: p.grad.numpy().T for key, p in tensors.items()} | {"xs": xs.grad.numpy()}
    grads |= {k + suffix: start[k].grad[i].numpy() for k in kinds for i, suffix in enumerate(suffixes)}
    agree_relative(case.run(), {key: a.detach().numpy() for key, a in expected.items()})
    agree_relative(case.gradients(), grads)


def fill(torch: Any, layer: Any, params: Arrays, suffixes: list[str]) -> dict[str, Any]:
    """Copies our parameters into the layer, and returns its tensor for each of ours (theirs are transposed).

    Where a cell has one bias, each of torch's two is half of it, and both have its gradient.
    """
    theirs = dict(layer.named_parameters())
    tensors = {}
    for suffix in suffixes:
        own = {name.removesuffix(suffix): p for name, p in params.items() if name.endswith(suffix)}
        half = own.get("b", np.zeros(1)) / 2
        values = {"weight_ih": own["W_x"].T, "weight_hh": own["W_h"].T}
        values |= {"weight_hr": own["W_p"].T} if "W_p" in own else {}
        values |= {"bias_ih": own.get("b_x", half), "bias_hh": own.get("b_h", half)}
        with torch.no_grad():
            for name, value in values.items():
                theirs[name + suffix].copy_(torch.tensor(value))
        names = {"W_x": "weight_ih", "W_h": "weight_hh", "W_p": "weight_hr", "b": "bias_ih", "b_x": "bias_ih", "b_h": "bias_hh"}
        tensors |= {name + suffix: theirs[names[name] + suffix] for name in own}
    return tensors


def agree_relative(got: Arrays, expected: Arrays) -> None:
    """To 1e-12 of the largest entry of each array."""
    assert got.keys() == expected.keys()
    for name, a in expected.items():
        np.testing.assert_allclose(got[name], a, rtol=0, atol=1e-12 * np.abs(a).max(), err_msg=name)
