from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

import bptt
from bptt.harness.api.compare import compare, lines
from bptt.harness.cli.main import bptt as command
from bptt.harness.errors import UsageError

EXAMPLES = Path(__file__).parents[3] / "examples"
RIGHT, WRONG = f"{EXAMPLES / 'numpy_gru.py'}:GRU", f"{EXAMPLES / 'numpy_gru_wrong.py'}:GRU"
FUSED = f"{EXAMPLES / 'textbook_lstm.py'}:TimeLSTM"


def test_two_arrangements_of_one_cell_are_the_same_to_rounding() -> None:
    found = compare("refimpl:lstm", FUSED)
    assert found.ok
    assert {d.quantity for d in found.differences} >= {"outputs ys", "final state c", "dL/dW_x", "dL/dxs", "dL/d(initial h)"}
    assert max(d.relative for d in found.differences) < 1e-12
    assert "blocks f g i o" in found.conventions[1]


def test_a_wrong_gradient_parts_and_the_outputs_do_not() -> None:
    found = compare(RIGHT, WRONG)
    assert not found.ok
    parted = {d.quantity for d in found.differences if not d.agrees}
    assert "outputs ys" not in parted
    assert any(quantity.startswith("dL/d") for quantity in parted)
    assert any(line.startswith("  ✗ dL/d") for line in lines(found))


def test_two_cells_are_called_two_cells() -> None:
    found = compare("refimpl:gru_reset_after", "refimpl:gru_reset_before")
    assert not found.ok
    assert found.differences == ()
    assert "no weights of the one make it the other" in found.carried
    assert lines(found)[0] == "gru_reset_after and gru_reset_before: two different cells"


class Leaky:
    """h' = 0.9 h + 0.1 tanh(x W + h U); a forward pass only, and no published cell."""

    def init(self, rng, input_size, hidden_size):  # type: ignore[no-untyped-def]
        return {"W": rng.normal(size=(input_size, hidden_size)), "U": rng.normal(size=(hidden_size, hidden_size))}

    def zero_state(self, params, batch_size):  # type: ignore[no-untyped-def]
        return {"h": np.zeros((batch_size, len(params["U"])))}

    def run(self, params, xs, state):  # type: ignore[no-untyped-def]
        hs = [state["h"]]
        for x in xs:
            hs.append(0.9 * hs[-1] + 0.1 * np.tanh(x @ params["W"] + hs[-1] @ params["U"]))
        return np.stack(hs[1:]), {"h": hs[-1]}


def test_an_unknown_cell_is_carried_by_name() -> None:
    found = compare(Leaky, Leaky)
    assert found.ok
    assert "by name" in found.carried


def test_an_unknown_cell_beside_another_is_refused() -> None:
    with pytest.raises(UsageError, match=r"Leaky is none of the published cells .* so no weights can be carried"):
        compare(Leaky, "refimpl:gru_reset_after")


def test_an_output_that_differs_says_from_which_step_on() -> None:
    class Plain:
        """The reference through the contract; a forward pass only."""

        like = "elman"

        def __init__(self) -> None:
            from bptt.refimpl import elman

            self.cell = elman

        def init(self, rng, input_size, hidden_size):  # type: ignore[no-untyped-def]
            return self.cell.init(rng, input_size, hidden_size)

        def zero_state(self, params, batch_size):  # type: ignore[no-untyped-def]
            return self.cell.zero_state(params, batch_size)

        def run(self, params, xs, state):  # type: ignore[no-untyped-def]
            from bptt.refimpl.unroll import forward

            ys, final, _ = forward(self.cell, params, xs, state)
            return ys, final

    halved = type("Halved", (Plain,), {"run": lambda self, p, xs, s: _halved_from(3, *Plain.run(self, p, xs, s))})
    (difference,) = [d for d in compare(Plain(), halved()).differences if d.quantity == "outputs ys"]
    assert not difference.agrees
    assert difference.step == 3


def _halved_from(step, ys, final):  # type: ignore[no-untyped-def]
    ys[step:] /= 2
    return ys, final


def test_the_command_ends_with_0_1_or_2() -> None:
    run = CliRunner().invoke
    assert run(command, ["compare", "refimpl:lstm", FUSED], standalone_mode=False).return_value == 0
    assert run(command, ["compare", RIGHT, WRONG], standalone_mode=False).return_value == 1
    with pytest.raises(UsageError, match="did you mean"):
        run(command, ["compare", "refimpl:lstn", FUSED], standalone_mode=False, catch_exceptions=False)


def test_torch_beside_the_reference() -> None:
    pytest.importorskip("torch")
    assert compare("torch.nn:GRU", "refimpl:gru_reset_after").ok
    assert bptt.compare is compare
