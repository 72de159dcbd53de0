"""Flax cells and layers, of linen and of nnx, as users call them.  Without Flax nothing here runs."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import numpy as np
import pytest

import bptt
from bptt.harness.adapters.jax.flax import adapt
from bptt.harness.errors import UsageError
from bptt.harness.identify.published_cell import identify
from bptt.harness.subject import Subject
from tests.harness.adapters.frameworks import dot_error, drawn

pytest.importorskip("flax", reason="flax is not installed")
import jax
import jax.numpy as jnp
from flax import linen, nnx


@jax.custom_vjp
def forgetful(f: Any, c: Any) -> Any:
    return f * c


#: dL/df lacks c.
forgetful.defvjp(lambda f, c: (f * c, (f, c)), lambda saved, d: (d, d * saved[0]))


class WrongLSTM(linen.RNNCellBase):  # type: ignore[misc]  # a base class that is found at run time
    features: int

    @linen.compact
    def __call__(self, carry: Any, x: Any) -> Any:
        c, h = carry
        a = linen.Dense(4 * self.features, name="x")(x) + linen.Dense(4 * self.features, use_bias=False, name="h")(h)
        i, f, g, o = jnp.split(a, 4, axis=-1)
        c = forgetful(linen.sigmoid(f), c) + linen.sigmoid(i) * jnp.tanh(g)
        h = linen.sigmoid(o) * jnp.tanh(c)
        return (c, h), h

    def initialize_carry(self, rng: Any, input_shape: tuple[int, ...]) -> Any:
        zeros = jnp.zeros((*input_shape[:-1], self.features))
        return zeros, zeros

    @property
    def num_feature_axes(self) -> int:
        return 1


CELLS: list[tuple[Any, str, str]] = [
    (linen.LSTMCell, "lstm", "one tensor a gate"),
    (linen.OptimizedLSTMCell, "lstm", "one tensor a gate"),
    (linen.GRUCell, "gru_reset_after", "one bias and a second one for n on h"),
    (linen.SimpleCell, "elman", "one bias"),
    (nnx.LSTMCell, "lstm", "one tensor a gate"),
    (nnx.OptimizedLSTMCell, "lstm", "blocks i f g o"),
    (nnx.GRUCell, "gru_reset_after", "blocks r z n"),
    (nnx.SimpleCell, "elman", "one bias"),
]


def subject_of(obj: object, args: dict[str, object] | None = None) -> Subject:
    subject = adapt(obj, "x", args)
    assert subject is not None
    return subject


def label(value: Any) -> str | None:
    return f"{value.__module__.split('.')[1]}.{value.__name__}" if isinstance(value, type) else None


@pytest.mark.parametrize(("obj", "cell", "words"), CELLS, ids=label)
def test_every_cell_is_named_in_its_convention(obj: Any, cell: str, words: str) -> None:
    subject = subject_of(obj)
    assert subject.dtype == "float64"
    found = identify(subject)
    assert found is not None and found.cell == cell and words in found.convention
    assert ("state (c, h)" in found.convention) is (cell == "lstm")


@pytest.mark.parametrize(("obj", "args"), [(linen.LSTMCell, None), (nnx.GRUCell, None), (linen.RNN, {"cell": "GRUCell"})], ids=str)
def test_right_cells_and_layers_conform(obj: Any, args: dict[str, object] | None) -> None:
    run = bptt.check(obj, args=args, level="smoke", isolate=False)
    assert run.ok, run.text()


def test_a_wrong_custom_vjp_is_found_and_its_gate_is_named() -> None:
    run = bptt.check(WrongLSTM, isolate=False, level="smoke", select=["contract", "GRD110"])
    finding = run["GRD110"].finding
    assert finding is not None and finding.code == "BUG"
    assert finding.where.gate == "f"


@pytest.mark.parametrize("library", [linen, nnx], ids=["linen", "nnx"])
def test_a_layer_gives_what_its_cell_gives(library: Any) -> None:
    cell, layer = subject_of(library.GRUCell), subject_of(library.RNN, {"cell": "GRUCell"})
    data = drawn(cell)
    wrapped = {f"cell/{name}": value for name, value in data.params.items()}
    assert drawn(layer).params.keys() == wrapped.keys()
    (ys, final), (layer_ys, layer_final) = (
        cell.implementation.run(data.params, data.xs, data.state),
        layer.implementation.run(wrapped, data.xs, data.state),
    )
    np.testing.assert_allclose(layer_ys, ys, rtol=1e-13, atol=1e-15)
    np.testing.assert_allclose(layer_final["h"], final["h"], rtol=1e-13, atol=1e-15)
    short, short_final = layer.implementation.run(wrapped, data.xs, data.state, lengths=np.array([4, 2]))
    np.testing.assert_allclose(short[:2], ys[:2], rtol=1e-13, atol=1e-15)
    np.testing.assert_allclose(short_final["h"][1], ys[1, 1], rtol=1e-13, atol=1e-15)


def test_outputs_are_those_of_the_module() -> None:
    subject = subject_of(linen.LSTMCell)
    data = drawn(subject)
    params: dict[str, dict[str, Any]] = {}
    for name, value in data.params.items():
        dense, _, kind = name.partition("/")
        params.setdefault(dense, {})[kind] = value
    with jax.enable_x64(True):
        carry = (data.state["c"], data.state["h"])
        for x in data.xs:
            carry, y = linen.LSTMCell(5).apply({"params": params}, carry, x)
    ys, final = subject.implementation.run(data.params, data.xs, data.state)
    np.testing.assert_allclose(ys[-1], y, rtol=1e-13, atol=1e-15)
    np.testing.assert_allclose(final["c"], carry[0], rtol=1e-13, atol=1e-15)


@pytest.mark.parametrize(("obj", "args"), [(linen.OptimizedLSTMCell, None), (nnx.SimpleCell, None), (nnx.RNN, {"reverse": True})], ids=str)
def test_both_modes_agree(obj: Any, args: dict[str, object] | None) -> None:
    subject = subject_of(obj, args)
    assert subject.bidirectional is (args is not None)
    assert dot_error(subject, drawn(subject)) < 1e-12


def test_jax_is_left_as_it_was_and_init_follows_the_generator() -> None:
    before = jax.config.jax_enable_x64, jnp.ones(1).dtype
    subject = subject_of(nnx.GRUCell)
    first, again, other = (subject.implementation.init(np.random.default_rng(seed), 3, 5) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first["dense_i/kernel"], again["dense_i/kernel"])
    assert not np.array_equal(first["dense_i/kernel"], other["dense_i/kernel"])
    assert (jax.config.jax_enable_x64, jnp.ones(1).dtype) == before


def test_instances_args_and_factories_fix_sizes() -> None:
    subject = subject_of(nnx.GRUCell(3, 4, rngs=nnx.Rngs(0)))
    assert (subject.input_sizes, subject.hidden_sizes) == ((3,), (4,))
    assert subject_of(linen.GRUCell(4)).hidden_sizes == (4,)
    assert subject_of(linen.SimpleCell, {"features": 6}).hidden_sizes == (6,)
    assert subject_of(lambda: linen.RNN(linen.SimpleCell(7))).hidden_sizes == (7,)


@pytest.mark.parametrize(
    ("obj", "args", "words"),
    [
        (linen.Dense, None, "Dense called with a sequence: no output depends on another step's input"),
        (linen.GRUCell, {"feature": 3}, "GRUCell.* raised"),
        (linen.RNN, {"cell": "Dense"}, "cell is 'Dense', wanted a cell class of flax"),
    ],
    ids=str,
)
def test_what_cannot_be_taken_is_one_clear_line(obj: Any, args: dict[str, object] | None, words: str) -> None:
    with pytest.raises(UsageError, match=words) as told:
        adapt(obj, "x", args)
    assert "\n" not in str(told.value)


@pytest.mark.parametrize(("obj", "args"), [(linen.RNN, {"cell": "GRUCell"}), (nnx.RNN, {"cell": "SimpleCell"})], ids=str)
def test_steps_of_a_scan_taken_three_at_a_time_give_what_one_at_a_time_give(obj: Any, args: dict[str, object]) -> None:
    result = bptt.check(obj, args=args, level="full", select=["OPT300"], isolate=False)["OPT300"]
    assert result.status == "passed", result.finding


@pytest.mark.parametrize("obj", [3, dict, np.tanh, lambda a: {}], ids=str)
def test_other_things_are_not_mine(obj: object) -> None:
    assert adapt(obj, "x") is None


def test_nothing_is_imported_for_other_things() -> None:
    code = "import sys; from bptt.harness.adapters.jax.flax import adapt; assert adapt(dict, 'x') is None; assert 'jax' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


class TurnsPaddingToo(nnx.RNN):  # type: ignore[misc]  # flax has no types
    """With lengths and from the end, it begins with what stands behind the sequences."""

    def __call__(self, inputs: Any, **options: Any) -> Any:
        return super().__call__(inputs, **(options | ({"seq_lengths": None} if options.get("reverse") else {})))


@pytest.mark.slow
def test_each_combination_of_what_an_rnn_is_called_with_is_its_own_plain_calls() -> None:
    def asked(rnn: Any, **options: Any) -> Any:
        made = lambda rngs: rnn(nnx.SimpleCell(3, 4, rngs=rngs), **options)  # noqa: E731  # a factory as users hand it over
        return bptt.check(made, level="full", select=("OPT310",), isolate=False, block=False)["OPT310"]

    assert (asked(nnx.RNN).status, asked(nnx.RNN).finding) == ("passed", None)
    wrong = asked(TurnsPaddingToo)
    assert (wrong.status, wrong.finding.code) == ("passed", "BUG")
    assert "with reverse=True, seq_lengths differ from what its cell gives step by step" in wrong.finding.headline


@pytest.mark.slow
def test_both_directions_begin_with_the_valid_part_of_each_sequence() -> None:
    def asked(rnn: Any) -> Any:
        def made(rngs: Any) -> Any:
            return nnx.Bidirectional(*(each(nnx.SimpleCell(3, 4, rngs=rngs), rngs=rngs) for each in (nnx.RNN, rnn)), rngs=rngs)

        return bptt.check(made, level="full", select=("OPT310",), isolate=False, block=False)["OPT310"]

    assert (asked(nnx.RNN).status, asked(nnx.RNN).finding) == ("passed", None)
    wrong = asked(TurnsPaddingToo)
    assert (wrong.status, wrong.finding.code) == ("failed", "BUG")
    assert "with no option, seq_lengths differ from what its cell gives step by step" in wrong.finding.headline


@pytest.mark.parametrize("made", [lambda: linen.GRUCell(5, dtype=jnp.bfloat16), lambda: linen.RNN(linen.LSTMCell(5, dtype=jnp.bfloat16))])
def test_what_is_made_to_compute_in_a_short_dtype_has_the_digits_of_it(made: Any) -> None:
    result = bptt.check(made(), level="smoke", select=["CON110", "NUM150"], isolate=False)["NUM150"]
    assert (result.status, result.metrics["dtype"], result.finding) == ("passed", "bfloat16", None), result.finding
