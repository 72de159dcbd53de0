"""Sequences that end early: each is as if it were alone, and padding is neither read nor given a gradient."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bptt.refimpl import CELLS, lengths, unroll
from bptt.refimpl.cells.cell import Cell
from bptt.refimpl.lengths import Packed, Whole, layout
from bptt.refimpl.types import Array
from tests.refimpl.proof import Case, random_case

every_cell = pytest.mark.parametrize("cell", CELLS.values(), ids=CELLS)
quick = settings(max_examples=15, deadline=None, derandomize=True)
D, H = 3, 4


@st.composite
def batches(draw: st.DrawFn) -> tuple[int, int, Array, int]:
    """T, N, lengths and a seed."""
    T, N = draw(st.integers(0, 5)), draw(st.integers(0, 4))
    each = draw(st.lists(st.integers(0, T), min_size=N, max_size=N))
    return T, N, np.array(each, int), draw(st.integers(0, 2**32 - 1))


def run(cell: Cell, case: Case, each: Array | None) -> dict[str, Array]:
    """Everything that the two passes through a layout give, by name."""
    T, N = case.xs.shape[:2]
    steps = layout(each, T, N)
    xs = steps.pack(case.xs)
    ys, final, tapes = steps.forward_projected(cell, case.params, cell.project_inputs(case.params, xs), case.state)
    daxs, dparams, dstate = steps.backward_projected(cell, case.params, tapes, steps.pack(case.dys), case.dfinal)
    share, dxs = cell.project_inputs_backward(case.params, xs, daxs)
    assert "W_x" not in dparams
    results = {"ys": steps.unpack(ys), "dxs": steps.unpack(dxs)}
    for prefix, group in (("final ", final), ("d", unroll.summed(share, dparams)), ("d0 ", dstate)):
        results |= {prefix + name: a for name, a in group.items()}
    return results


def alone(case: Case, n: int, length: int) -> Case:
    """Sequence n without the others and without padding."""
    one = slice(n, n + 1)
    state, dfinal = ({name: s[one] for name, s in d.items()} for d in (case.state, case.dfinal))
    return Case(case.params, case.xs[:length, one], state, case.dys[:length, one], dfinal)


def close(got: Array, expected: Array, what: str) -> None:
    assert got.shape == expected.shape, what
    np.testing.assert_allclose(got, expected, rtol=1e-12, atol=1e-12, err_msg=what)


@every_cell
@quick
@given(batch=batches())
def test_each_sequence_is_as_if_it_were_alone(cell: Cell, batch: tuple[int, int, Array, int]) -> None:
    T, N, each, seed = batch
    case = random_case(cell, np.random.default_rng(seed), T, N, D, H)
    together = run(cell, case, each)
    dparams = {name: np.zeros_like(p) for name, p in case.params.items()}
    for n, length in enumerate(each):
        one = alone(case, n, length)
        ys, final, tapes = unroll.forward(cell, one.params, one.xs, one.state)
        share, dxs, dstate = unroll.backward(cell, one.params, one.xs, tapes, one.dys, one.dfinal)
        close(together["ys"][:length, n : n + 1], ys, "ys")
        close(together["dxs"][:length, n : n + 1], dxs, "dxs")
        for name in final:
            close(together["final " + name][n : n + 1], final[name], name)
            close(together["d0 " + name][n : n + 1], dstate[name], name)
        dparams = unroll.summed(dparams, share)
        assert not together["ys"][length:, n].any()
        assert not together["dxs"][length:, n].any()
    for name, d in dparams.items():
        close(together["d" + name], d, f"d{name}")


@every_cell
@quick
@given(batch=batches(), rubbish=st.sampled_from([0.0, 1e300, np.inf, np.nan]))
def test_padding_is_not_read(cell: Cell, batch: tuple[int, int, Array, int], rubbish: float) -> None:
    T, N, each, seed = batch
    case = random_case(cell, np.random.default_rng(seed), T, N, D, H)
    before = run(cell, case, each)
    padding = ~lengths.valid_steps(each, T, N)
    case.xs[padding] = rubbish
    case.dys[padding] = rubbish
    for name, a in run(cell, case, each).items():
        np.testing.assert_array_equal(a, before[name], err_msg=name)


@every_cell
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_full_lengths_are_no_lengths_to_the_last_bit(cell: Cell, dtype: type) -> None:
    for T, N in [(5, 3), (1, 1), (7, 20), (0, 2), (2, 0)]:
        case = random_case(cell, np.random.default_rng(T), T, N, D=17, H=24).map(lambda a: a.astype(dtype))
        whole, packed = run(cell, case, None), run(cell, case, np.full(N, T))
        assert whole.keys() == packed.keys()
        for name, a in packed.items():
            np.testing.assert_array_equal(a, whole[name], err_msg=name)
            assert (a.dtype, a.shape) == (dtype, whole[name].shape)


@quick
@given(batch=batches(), unsigned=st.booleans())
def test_packing_keeps_the_valid_steps_and_reversing_turns_them_around(batch: tuple[int, int, Array, int], unsigned: bool) -> None:
    T, N, each, _ = batch
    xs = 1.0 + np.arange(T * N * 2).reshape(T, N, 2)
    steps = layout(each.astype(np.uint64) if unsigned else each, T, N)
    valid = lengths.valid_steps(each, T, N)
    packed = steps.pack(xs)
    assert packed.shape == (1, each.sum(), 2)
    np.testing.assert_array_equal(steps.unpack(packed), np.where(valid[..., None], xs, 0))
    np.testing.assert_array_equal(steps.reverse(steps.reverse(packed)), packed)
    turned = steps.unpack(steps.reverse(packed))
    for n, length in enumerate(each):
        np.testing.assert_array_equal(turned[:length, n], xs[:length, n][::-1])


def test_the_example_of_the_docstring() -> None:
    steps = layout(np.array([1, 3]), T=3, N=2)
    assert isinstance(steps, Packed)
    assert list(zip(steps.t.tolist(), steps.n.tolist(), strict=True)) == [(0, 1), (0, 0), (1, 1), (2, 1)]
    assert steps.counts == (2, 1, 1)
    whole = layout(None, 3, 2)
    assert whole == Whole(3, 2)
    np.testing.assert_array_equal(whole.reverse(np.arange(6).reshape(3, 2)), [[4, 5], [2, 3], [0, 1]])


@every_cell
@quick
@given(seed=st.integers(0, 2**32 - 1), T=st.integers(0, 4), N=st.integers(0, 3))
def test_a_projection_and_the_projected_loop_are_the_loop(cell: Cell, seed: int, T: int, N: int) -> None:
    case = random_case(cell, np.random.default_rng(seed), T, N, D, H)
    ys, final, tapes = unroll.forward(cell, case.params, case.xs, case.state)
    expected = unroll.backward(cell, case.params, case.xs, tapes, case.dys, case.dfinal)
    results = run(cell, case, None)
    np.testing.assert_array_equal(results["ys"], ys)
    close(results["dxs"], expected[1], "dxs")
    for name in final:
        np.testing.assert_array_equal(results["final " + name], final[name])
        np.testing.assert_array_equal(results["d0 " + name], expected[2][name])
    for name, d in expected[0].items():
        np.testing.assert_array_equal(results["d" + name], d)


@pytest.mark.parametrize(
    ("each", "words"),
    [
        (np.array([3, 4]), r"lengths\[1\] is 4, but should be from 0 to T = 3"),
        (np.array([-1, 2]), r"lengths\[0\] is -1, but should be from 0 to T = 3"),
        (np.array([1, 2, 3]), r"lengths have shape \(3,\), but should have \(2,\), one for each sequence of the batch"),
        (np.array([[1, 2]]), r"lengths have shape \(1, 2\), but should have \(2,\)"),
        (np.array([1.0, 2.0]), "lengths are float64, but should be integers from 0 to T = 3"),
    ],
)
def test_lengths_that_fit_no_batch_are_refused(each: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        layout(each, T=3, N=2)
