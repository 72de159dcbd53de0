"""Equinox cells as users call them.  Without Equinox nothing here runs."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import numpy as np
import pytest

import bptt
from bptt.harness.adapters.jax.equinox import adapt
from bptt.harness.errors import UsageError
from bptt.harness.subject import Subject
from tests.harness.adapters.frameworks import dot_error, drawn

eqx = pytest.importorskip("equinox", reason="equinox is not installed")
import jax  # noqa: E402
import jax.numpy as jnp  # noqa: E402


class Elman(eqx.Module):  # type: ignore[misc]  # a base class that is found at run time
    """A cell of one's own, whose state comes back with its output."""

    W: jax.Array
    U: jax.Array
    b: jax.Array

    def __init__(self, input_size: int, hidden_size: int, *, key: Any) -> None:
        keys = jax.random.split(key)
        self.W = jax.random.normal(keys[0], (hidden_size, input_size)) / 3
        self.U = jax.random.normal(keys[1], (hidden_size, hidden_size)) / 3
        self.b = jnp.zeros(hidden_size)

    def __call__(self, x: Any, h: Any) -> Any:
        h = jnp.tanh(self.W @ x + self.U @ h + self.b)
        return h, h


@jax.custom_vjp
def tanh_without_square(a: Any) -> Any:
    return jnp.tanh(a)


tanh_without_square.defvjp(lambda a: (jnp.tanh(a), jnp.tanh(a)), lambda y, dy: (dy * (1 - y),))


class WrongBackward(Elman):
    def __call__(self, x: Any, h: Any) -> Any:
        h = tanh_without_square(self.W @ x + self.U @ h + self.b)
        return h, h


def subject_of(obj: object, args: dict[str, object] | None = None) -> Subject:
    subject = adapt(obj, "x", args)
    assert subject is not None
    return subject


@pytest.mark.parametrize(
    ("obj", "cell", "words"),
    [
        (eqx.nn.LSTMCell, "lstm", "blocks i f g o, weights as rows (4H, D), one bias"),
        (eqx.nn.GRUCell, "gru_reset_after", "blocks r z n, weights as rows (3H, D), one bias and a second one for n on h"),
        (Elman, "elman", "an Elman cell (tanh)"),
    ],
)
def test_right_cells_conform_and_are_known(obj: Any, cell: str, words: str) -> None:
    run = bptt.check(obj, level="smoke", isolate=False)
    assert run.ok, run.text()
    identified = run.run.targets[0].identified
    assert identified is not None and identified.cell == cell and words in identified.convention


def test_a_wrong_custom_vjp_is_found_named_and_located() -> None:
    run = bptt.check(WrongBackward, isolate=False, level="smoke", select=["contract", "GRD110"])
    finding = run["GRD110"].finding
    assert finding is not None and finding.code == "BUG"
    assert "derivative of the tanh is 1 - h" in finding.causes[0].hypothesis


def test_outputs_and_gradients_are_those_of_the_module() -> None:
    subject = subject_of(eqx.nn.LSTMCell)
    data = drawn(subject)
    with jax.enable_x64(True):
        cell = eqx.nn.LSTMCell(3, 5, key=jax.random.PRNGKey(0))
        cell = eqx.tree_at(lambda c: (c.weight_ih, c.weight_hh, c.bias), cell, tuple(jnp.asarray(v) for v in data.params.values()))

        def loss(cell: Any) -> Any:
            state, total = (data.state["h"], data.state["c"]), 0.0
            for x in data.xs:
                state = jax.vmap(cell)(x, state)
                total += jnp.sum(jnp.sin(state[0]))
            return total

        wanted = eqx.filter_grad(loss)(cell)
    ys, final = subject.implementation.run(data.params, data.xs, data.state)
    dparams, _, _ = subject.implementation.backward(
        data.params, data.xs, data.state, np.cos(ys), {name: np.zeros_like(v) for name, v in final.items()}
    )
    for name, value in dparams.items():
        np.testing.assert_allclose(value, getattr(wanted, name), rtol=1e-11, atol=1e-13)


@pytest.mark.parametrize("dtype", ["float32", "float64", "complex128"])
def test_results_have_the_dtype_of_the_params_and_jax_is_left_as_it_was(dtype: str) -> None:
    before = jax.config.jax_enable_x64, jnp.ones(1).dtype
    subject = subject_of(eqx.nn.GRUCell)
    data = drawn(subject)
    params, state = ({k: v.astype(dtype) for k, v in values.items()} for values in (data.params, data.state))
    ys, final = subject.implementation.run(params, data.xs.astype(dtype), state)
    assert {ys.dtype, final["h"].dtype} == {np.dtype(dtype)}
    assert (jax.config.jax_enable_x64, jnp.ones(1).dtype) == before


def test_both_modes_agree() -> None:
    subject = subject_of(eqx.nn.GRUCell)
    assert "forward_ad" in subject.capabilities and "forward_ad" not in subject_of(WrongBackward).capabilities
    assert dot_error(subject, drawn(subject)) < 1e-12


def test_an_instance_has_its_sizes_and_values() -> None:
    cell = eqx.nn.LSTMCell(3, 4, key=jax.random.PRNGKey(0))
    subject = subject_of(cell)
    assert (subject.input_sizes, subject.hidden_sizes) == ((3,), (4,))
    params = subject.implementation.init(np.random.default_rng(0), 3, 4)
    np.testing.assert_array_equal(params["weight_hh"], np.asarray(cell.weight_hh, float))
    with pytest.raises(UsageError, match=r"got args \['use_bias'\] for an instance"):
        adapt(cell, "x", {"use_bias": False})


def test_what_is_no_cell_is_one_clear_line() -> None:
    with pytest.raises(UsageError, match=r"^x: Linear .*wanted") as told:
        adapt(eqx.nn.Linear, "x")
    assert "\n" not in str(told.value)


@pytest.mark.parametrize("obj", [3, dict, np.tanh, lambda a: {}], ids=str)
def test_other_things_are_not_mine(obj: object) -> None:
    assert adapt(obj, "x") is None


def test_nothing_is_imported_for_other_things() -> None:
    code = "import sys; from bptt.harness.adapters.jax.equinox import adapt; "
    code += "assert adapt(dict, 'x') is None; assert 'jax' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


class Whole(eqx.Module):  # type: ignore[misc]  # as above
    """A model over one sequence that says no sizes; `cut` takes its state out of the gradient between steps."""

    cell: Any
    out: Any
    cut: bool = eqx.field(static=True)

    def __init__(self, key: Any, cut: bool = False) -> None:
        self.cell, self.out, self.cut = eqx.nn.GRUCell(3, 4, key=key), eqx.nn.Linear(4, 2, key=key), cut

    def __call__(self, xs: Any) -> Any:
        def step(h: Any, x: Any) -> Any:
            h = self.cell(x, h)
            return (jax.lax.stop_gradient(h) if self.cut else h), self.out(h)

        return jax.lax.scan(step, jnp.zeros(4), xs)[1]


def test_an_instance_that_says_no_sizes_has_those_of_what_is_inside() -> None:
    subject = adapt(Whole(jax.random.key(0)), "m")
    assert subject is not None and subject.input_sizes == (3,)
    assert bptt.check(Whole(jax.random.key(0)), isolate=False, level="smoke").ok


@pytest.mark.slow
def test_a_state_that_is_cut_between_steps_is_no_matter_of_forward_mode() -> None:
    """jax.jvp sees as little of it as jax.vjp does, and over one step nobody sees it."""
    run = bptt.check(Whole(jax.random.key(0), cut=True), isolate=False, level="smoke")
    assert [r.check for r in run.failed][:1] == ["GRD130"], run.text()
