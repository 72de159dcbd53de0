"""Stacks of layers, in one direction and in both, are known by their outputs; what is none of them is not guessed at."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest

from bptt.harness.call.cell import Gradients, run
from bptt.harness.call.drawing import draw
from bptt.harness.cases import Case, cotangents
from bptt.harness.diagnosis.explain import WrongGradient, explain
from bptt.harness.diagnosis.lengths import causes_with_lengths
from bptt.harness.diagnosis.replay import Candidate, Reference
from bptt.harness.errors import UsageError
from bptt.harness.identify.forward_bug import backward_is_that_of_the_right_cell, forward_bug
from bptt.harness.identify.published_cell import identify, identify_layers, nothing_found_reason
from bptt.harness.known import STACKS
from bptt.harness.known.stacks.backward import BUGS as BACKWARD
from bptt.harness.known.subjects import PlantedStack
from bptt.harness.subject import Array, Arrays, Subject
from bptt.harness.weights.map import regions
from bptt.harness.weights.mirror import mirror
from bptt.harness.weights.transfer import carry
from tests.harness.known.stacking import identified, subject

TORCH: list[tuple[str, dict[str, Any], str, str]] = [
    ("RNN", {"num_layers": 2}, "elman", "a stack of 2 Elman (tanh) layers, weights as rows (H, D), two biases"),
    ("RNN", {"nonlinearity": "relu", "bidirectional": True}, "elman_relu", "a bidirectional Elman (relu) layer, outputs [forward"),
    ("LSTM", {"num_layers": 3}, "lstm", "a stack of 3 LSTM layers, blocks i f g o, weights as rows (4H, D), two biases"),
    ("LSTM", {"num_layers": 2, "bidirectional": True}, "lstm", "a stack of 2 bidirectional LSTM layers, outputs [forward, reverse]"),
    ("LSTM", {"num_layers": 2, "proj_size": 2}, "lstm_projected", "output projected to P values"),
    ("GRU", {"bidirectional": True}, "gru_reset_after", "a bidirectional GRU layer, outputs [forward, reverse] side by side, reset after"),
    ("GRU", {"num_layers": 2, "bias": False, "batch_first": True}, "gru_reset_after", "no bias"),
]


@pytest.mark.thorough
@pytest.mark.parametrize(("name", "args", "cell", "words"), TORCH)
def test_torchs_layers_are_known(name: str, args: dict[str, Any], cell: str, words: str) -> None:
    pytest.importorskip("torch")
    from bptt.harness.targets import load

    tested = load(f"torch.nn:{name}", args)[0]
    found = identify_layers(tested)
    assert found is not None, nothing_found_reason(tested)
    assert found.cell == cell
    assert words in found.convention
    assert found.max_error < 1e-12
    stack = found.mapping.stack
    assert (len(stack.cells), stack.bidirectional) == (args.get("num_layers", 1), args.get("bidirectional", False))
    beside = mirror(tested, found)
    data = draw(tested, Case(T=6, N=3, D=2, H=4))
    ys, final = run(tested, data)
    again, again_final = run(beside, data)
    np.testing.assert_allclose(ys, again, rtol=0, atol=1e-12)
    assert all(np.allclose(final[s], again_final[s], rtol=0, atol=1e-12) for s in final)


@pytest.mark.parametrize(
    ("names", "both", "cell"),
    [
        (("lstm", "gru_reset_after"), True, "lstm+gru_reset_after"),
        (("elman_sigmoid", "elman"), False, "elman_sigmoid+elman"),
        (("lstm_peephole",), True, "lstm_peephole"),
        (("gru_reset_before",) * 3, False, "gru_reset_before"),
    ],
)
def test_the_references_stacks_are_known(names: tuple[str, ...], both: bool, cell: str) -> None:
    found = identified(names, both)
    assert (found.cell, found.max_error) == (cell, 0)
    assert found.mapping.state == {name: name for name in found.mapping.state}


@dataclass(frozen=True)
class Disguised:
    """A stack with weights as rows, under names that say nothing, in an order that says nothing, and states upside down."""

    inner: PlantedStack

    def init(self, rng: np.random.Generator, input_size: int, hidden_size: int) -> dict[str, Array]:
        made = self.inner.init(rng, input_size, hidden_size)
        return {f"p{k}": made[name].T.copy() for k, name in enumerate(sorted(made, key=lambda name: name[::-1]))}

    def zero_state(self, params: Arrays, batch_size: int) -> dict[str, Array]:
        made = self.inner.zero_state(self._own(params), batch_size)
        return {f"s{k}": made[name] for k, name in enumerate(reversed(list(made)))}

    def run(self, params: Arrays, xs: Array, state: Arrays) -> tuple[Array, dict[str, Array]]:
        own = self._own(params)
        names = list(reversed(list(self.inner.zero_state(own, 1))))
        ys, final = self.inner.run(own, xs, {name: state[f"s{k}"] for k, name in enumerate(names)})
        return ys, {f"s{k}": final[name] for k, name in enumerate(names)}

    def _own(self, params: Arrays) -> dict[str, Array]:
        names = sorted(self.inner.init(np.random.default_rng(0), 1, 1), key=lambda name: name[::-1])
        return {name: params[f"p{k}"].T for k, name in enumerate(names)}


def plain(implementation: object, **fields: Any) -> Subject:
    return Subject("Unknown", "Unknown", "numpy", "cell", implementation, **fields)


def test_names_say_nothing() -> None:
    tested = plain(Disguised(PlantedStack(("lstm", "lstm"), True)))
    found = identify_layers(tested)
    assert found is not None, nothing_found_reason(tested)
    assert found.convention.startswith("a stack of 2 bidirectional LSTM layers")
    assert "weights as rows" in found.convention
    places = {(region.layer, region.direction) for region in regions(found.mapping)}
    assert places == {(0, "forward"), (0, "reverse"), (1, "forward"), (1, "reverse")}


BOTH = PlantedStack(("elman",), True)


@dataclass(frozen=True)
class Changed:
    """A bidirectional layer whose outputs are made otherwise."""

    way: str
    inner: PlantedStack = BOTH

    def init(self, rng: np.random.Generator, input_size: int, hidden_size: int) -> dict[str, Array]:
        return self.inner.init(rng, input_size, hidden_size)

    def zero_state(self, params: Arrays, batch_size: int) -> dict[str, Array]:
        return self.inner.zero_state(params, batch_size)

    def run(self, params: Arrays, xs: Array, state: Arrays) -> tuple[Array, dict[str, Array]]:
        ys, final = self.inner.run(params, xs, state)
        one, two = np.split(ys, 2, axis=2)
        made = {"sum": one + two, "twice": 2 * ys, "reverse first": np.concatenate([two, one], axis=2)}
        return made[self.way], final


@pytest.mark.parametrize(
    ("way", "words"),
    [
        ("sum", "its outputs are the sum of both directions"),
        ("twice", "something stands in between"),
        ("reverse first", "its outputs are [reverse, forward] side by side"),
    ],
)
def test_outputs_that_are_put_together_otherwise_are_not_guessed_at(way: str, words: str) -> None:
    tested = plain(Changed(way), bidirectional=True)
    assert identify_layers(tested) is None
    assert words in nothing_found_reason(tested)


AHEAD = [bug for bug in STACKS if bug.kind == "forward" and set(bug.needs) <= {"directions", "layers"}]


@pytest.mark.every(4)
@pytest.mark.parametrize("bug", AHEAD, ids=lambda bug: bug.name)
def test_a_stack_with_a_mistake_in_its_forward_pass_is_no_stack(bug: Any) -> None:
    assert identify_layers(subject(("elman", "elman"), "directions" in bug.needs, bug)) is None


@pytest.mark.thorough
def test_a_known_difference_is_named() -> None:
    named = {bug.name: forward_bug(subject(("elman", "elman"), "directions" in bug.needs, bug)) for bug in AHEAD}
    assert all(found is None or found.mistake.name == name for name, found in named.items())
    # where every final state is the top layer's, nothing is left by which the bottom layer could be known
    assert [name for name, found in named.items() if found is None] == ["final-state-of-top-for-all"]


def test_a_backward_of_the_right_stack_is_known_as_that() -> None:
    bug = next(bug for bug in AHEAD if bug.name == "reverse-starts-from-zero")
    tested = subject(("elman", "elman"), True, bug)
    found = forward_bug(tested)
    assert found is not None
    assert backward_is_that_of_the_right_cell(tested, found)


def test_a_stack_is_no_single_cell() -> None:
    tested = subject(("elman", "elman"), True)
    assert identify(tested) is None
    assert "several layers or both directions: a stack of 2 bidirectional Elman (tanh) layers" in nothing_found_reason(tested)


@pytest.mark.thorough
def test_carried_from_one_convention_to_the_other() -> None:
    disguised = identify_layers(plain(Disguised(PlantedStack(("lstm", "lstm"), True))))
    assert disguised is not None
    ours = identified(("lstm", "lstm"), True)
    params = PlantedStack(("lstm", "lstm"), True).init(np.random.default_rng(1), 3, 4)
    there = carry(params, ours.mapping, disguised.mapping)
    back = carry(there.params, disguised.mapping, ours.mapping)
    assert all(np.array_equal(back.params[name], value) for name, value in params.items())
    with pytest.raises(UsageError, match=r"2 layers \(lstm, lstm\) in both directions"):
        carry(params, ours.mapping, identified(("gru_reset_before",) * 3, False).mapping)


@pytest.mark.thorough
def test_a_mistake_is_named_in_the_subjects_own_tensors() -> None:
    """torch's names and layout, with the numbers that the mistake would give there."""
    pytest.importorskip("torch")
    from bptt.harness.targets import load

    tested = load("torch.nn:GRU", {"num_layers": 2, "bidirectional": True})[0]
    found = identify_layers(tested)
    assert found is not None
    case = Case(T=3, N=2, D=3, H=4)
    data = draw(tested, case)
    vs = tuple(cotangents(tested, case, *run(tested, data)))
    nothing = WrongGradient(tested, found, (), case, data, vs, (), ())
    bug = next(bug for bug in BACKWARD if bug.name == "dxs-of-reverse-lost")
    blank = replace(nothing, yours=(Gradients({}, None, {}),) * len(vs))
    yours = tuple(Reference(found, blank).gradients(Candidate((bug,)), j) for j in range(len(vs)))
    assert [cause.code for cause in explain(replace(nothing, yours=yours, exact=yours))] == [bug.name]
    assert causes_with_lengths(tested, found) == ()
