"""How far back a truncated network looks, and what a language model is told to predict."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from bptt.harness.run.runner import RunHandle, check
from bptt.harness.subject import Array, Arrays
from bptt.refimpl.models.language_model import LanguageModel
from bptt.refimpl.models.word_rnn import WordRNN
from bptt.refimpl.unroll import forward, truncated_backward
from tests.harness.checks.planted import CleanTruncated, CleanTruncatedStateless
from tests.harness.checks.planted_parts import CleanWindow, CleanWords


def ran(network: type, id: str) -> RunHandle:
    return check(network, isolate=False, select=[id])


def causes(run: RunHandle, id: str) -> list[str]:
    found = run[id].finding
    return [] if found is None else [cause.code for cause in found.causes]


class Mean(CleanWindow):
    """The loss is a mean over steps and rows."""

    def loss(self, params: Arrays, inputs: Array, targets: Array, state: Arrays) -> Any:
        loss, dparams, final = super().loss(params, inputs, targets, state)
        return loss / inputs.size, {name: g / inputs.size for name, g in dparams.items()}, final


class BatchFirst(CleanWindow):
    """Words (N, T)."""

    def batch(self, rng: np.random.Generator, params: Arrays, T: int, N: int) -> Any:
        return tuple(words.T for words in super().batch(rng, params, T, N))

    def loss(self, params: Arrays, inputs: Array, targets: Array, state: Arrays) -> Any:
        return super().loss(params, inputs.T, targets.T, state)


class LongWindow(CleanWindow):
    """A window longer than the sequences of the checks."""

    truncation = 20
    model = WordRNN(truncation=20)


@pytest.mark.parametrize("network", [CleanWindow, Mean, BatchFirst, LongWindow])
def test_a_right_window_is_right(network: type) -> None:
    result = ran(network, "GRD250")["GRD250"]
    assert result.status == "passed", result
    assert result.cases == 2


class Pieces(CleanWindow):
    """Cut into pieces of three steps."""

    def loss(self, params: Arrays, inputs: Array, targets: Array, state: Arrays) -> Any:
        total: Any = 0.0
        dparams = {name: np.zeros_like(p) for name, p in params.items()}
        for t in range(0, len(inputs), 3):
            loss, share, state = WordRNN().loss(params, inputs[t : t + 3], targets[t : t + 3], state)
            total += loss
            dparams = {name: dparams[name] + share[name] for name in dparams}
        return total, dparams, state


class NotTruncated(CleanWindow):
    """The window is not used."""

    model = WordRNN()


class OneMore(CleanWindow):
    """One step too many."""

    model = WordRNN(truncation=3)


class MeanOfFour(Mean):
    """The window of four, in a mean."""

    model = WordRNN(truncation=4)


@pytest.mark.parametrize(
    ("network", "cause"), [(Pieces, "pieces-3"), (NotTruncated, "window-none"), (OneMore, "window-3"), (MeanOfFour, "window-4")]
)
def test_another_window_is_named(network: type, cause: str) -> None:
    run = ran(network, "GRD250")
    assert not run.ok
    assert causes(run, "GRD250") == [cause]


@pytest.mark.thorough
def test_a_shorter_window_is_seen_within_the_window() -> None:
    class Short(CleanWindow):
        """A window of 4, where 7 is said."""

        truncation = 7
        model = WordRNN(truncation=4)

    run = check(Short, isolate=False, select=["CON200", "CON210", "GRD210", "GRD220", "GRD250"])
    assert {r.check for r in run.failed} == {"GRD220"} and run["GRD250"].status == "blocked"
    assert run["GRD220"].finding is not None and run["GRD220"].finding.where.lag == 5


class NoLastState(CleanWindow):
    """The loss gives no last state."""

    def loss(self, params: Arrays, inputs: Array, targets: Array, state: Arrays) -> Any:
        return super().loss(params, inputs, targets, state)[:2]


class Penalised(CleanWindow):
    """A penalty on the weights in the loss."""

    def loss(self, params: Arrays, inputs: Array, targets: Array, state: Arrays) -> Any:
        loss, dparams, final = super().loss(params, inputs, targets, state)
        return loss + sum(np.sum(p * p) for p in params.values()), {k: g + 2 * params[k] for k, g in dparams.items()}, final


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("network", "words"),
    [
        (NoLastState, "wanted loss, dparams, final_state"),
        (Penalised, "neither the sum nor the mean"),
    ],
)
def test_a_window_that_is_declared_and_cannot_be_examined_is_no_pass(network: type, words: str) -> None:
    result = ran(network, "GRD250")["GRD250"]
    assert result.finding is not None
    assert (result.severity, result.finding.code) == ("warning", "INCONCLUSIVE")
    assert "truncation = 2 is declared and was not examined" in result.finding.headline and words in result.finding.headline


def test_where_nothing_is_declared_nothing_is_said() -> None:
    result = ran(CleanWords, "GRD250")["GRD250"]
    assert result.status == "not_applicable" and "its backward is not truncated" in str(result.reason)


class Cell(CleanTruncated):
    """A cell that is no published one: the reference, its outputs doubled, its window `lag`, where 3 is said."""

    lag = 3

    def run(self, params: Arrays, xs: Array, state: Arrays) -> Any:
        ys, final = super().run(params, xs, state)
        return 2 * ys, final

    def backward(self, params: Arrays, xs: Array, state: Arrays, dys: Array, dfinal: Arrays) -> Any:
        _, _, tapes = forward(self.cell, params, xs, state)
        return truncated_backward(self.cell, params, xs, tapes, 2 * dys, dfinal, self.lag)


class StatelessCell(CleanTruncatedStateless):
    """The same, always from zeros."""

    def run(self, params: Arrays, xs: Array, state: Arrays) -> Any:
        return 2 * super().run(params, xs, state)[0], {}

    def backward(self, params: Arrays, xs: Array, state: Arrays, dys: Array, dfinal: Arrays) -> Any:
        return super().backward(params, xs, state, 2 * dys, dfinal)


@pytest.mark.parametrize(("lag", "cause"), [(3, None), (4, "window-4"), (6, "window-6"), (99, "window-none")])
def test_the_window_of_a_cell_is_found_from_its_own_numbers(lag: int, cause: str | None) -> None:
    run = check(type("Windowed", (Cell,), {"lag": lag}), isolate=False, select=["GRD145", "PAR130"])
    assert [r.check for r in run.failed] == ([] if cause is None else ["GRD145"]), run.text()
    if cause is not None:
        assert causes(run, "GRD145") == [cause]
        found = run["GRD145"].finding
        assert found is not None and "declared is truncation = 3, lags 0 to 3" in found.causes[0].hypothesis


@pytest.mark.thorough
def test_a_shorter_window_of_a_cell_is_seen_within_what_it_says() -> None:
    assert not check(type("Windowed", (Cell,), {"lag": 1}), isolate=False, select=["GRD130", "GRD145"]).ok


def test_a_window_of_no_step_is_each_step_alone() -> None:
    alone = type("Alone", (Cell,), {"lag": 0, "truncation": 0})
    assert check(alone, isolate=False, select=["GRD110", "GRD130", "GRD145"]).ok
    assert not check(type("One", (Cell,), {"lag": 1, "truncation": 0}), isolate=False, select=["GRD145"]).ok


def test_the_window_of_a_cell_that_cannot_be_cut_is_not_examined() -> None:
    result = check(StatelessCell, isolate=False, select=["GRD145"])["GRD145"]
    assert result.finding is not None and result.severity == "warning"
    assert "so a sequence cannot be cut" in result.finding.headline


class Told(CleanWords):
    """Targets made of the inputs."""

    def told(self, x: Array, y: Array) -> Array:
        return y

    def batch(self, rng: np.random.Generator, params: Arrays, T: int, N: int) -> Any:
        x, y = super().batch(rng, params, T, N)
        return x, np.ascontiguousarray(self.told(x, y))


class OfTheInputs(Told):
    """The same words."""

    def told(self, x: Array, y: Array) -> Array:
        return x


class OfTheStepBefore(Told):
    """The wrong way."""

    def told(self, x: Array, y: Array) -> Array:
        return np.roll(x, 1, axis=0)


class OfTheRowBeside(Told):
    """The wrong axis."""

    def told(self, x: Array, y: Array) -> Array:
        return np.roll(x, -1, axis=1)


class OfTwoLater(Told):
    """One too many."""

    def told(self, x: Array, y: Array) -> Array:
        return np.concatenate([y[1:], x[:1]])


class OneForAll(Told):
    """One target a sequence."""

    def told(self, x: Array, y: Array) -> Array:
        return np.broadcast_to((x[0] + 1) % 3, x.shape)


class Labels(Told):
    """Labels of their own."""

    def told(self, x: Array, y: Array) -> Array:
        return (x + np.arange(len(x))[:, None]) % 3


@pytest.mark.parametrize(
    ("network", "cause", "ok"),
    [
        (OfTheInputs, "targets-are-inputs", True),
        (OfTheStepBefore, "targets-shifted-back", True),
        (OfTwoLater, "targets-two-ahead", True),
        (OneForAll, "targets-one-a-sequence", True),
        (OfTheRowBeside, "targets-shifted-along-batch", False),
    ],
)
def test_what_the_targets_are_is_named(network: type, cause: str, ok: bool) -> None:
    run = ran(network, "TIM210")
    assert run.ok == ok, run.text()
    assert causes(run, "TIM210") == [cause]


def test_labels_of_their_own_are_no_language_model() -> None:
    assert ran(Labels, "TIM210")["TIM210"].status == "not_applicable"


@pytest.mark.parametrize("network", [CleanWords, BatchFirst])
def test_the_next_word_is_right_in_either_layout(network: type) -> None:
    assert ran(network, "TIM210")["TIM210"].status == "passed"


# ------------------------------------------------------------------------------------------- what the sources' own code does wrong


class Windowed(CleanWords):
    """A word-level model whose window of 4 is written into the loop, whatever it is made with."""

    model = WordRNN(truncation=4)

    def __init__(self, truncation: int = 4) -> None:
        self.truncation = truncation  # type: ignore[assignment]  # others have it on the class, and as None


@pytest.mark.thorough
@pytest.mark.parametrize(("k", "conforms"), [(4, True), (2, False), (6, False)])
def test_a_window_that_is_hard_wired_is_right_for_one_number_only(k: int, conforms: bool) -> None:
    run = check(Windowed, args={"truncation": k}, isolate=False)
    assert run.ok == conforms, run.text()
    said = " ".join(c.hypothesis for r in run.failed if r.finding for c in r.finding.causes)
    assert conforms or "4 steps" in said or k == 6


class MaskOfNobody(CleanWords):
    """The dropout layer's backward multiplies by a mask that evaluation does not have."""

    model = LanguageModel(("elman",), embedding=True, dropout=0.4)  # type: ignore[assignment]  # another model with the same methods

    def __init__(self) -> None:
        self.mask: Any = None

    def masks(self, rng: np.random.Generator, params: Arrays, T: int, N: int) -> Any:
        return self.model.masks(rng, params, T, N)

    def loss(self, params: Arrays, inputs: Array, targets: Array, state: Arrays, masks: Any = None) -> Any:
        if masks is not None:
            self.mask = masks[0]
        loss, dparams, final = self.model.loss(params, inputs, targets, state, masks)
        return loss, {**dparams, "E": dparams["E"] * self.mask.mean()}, final


def test_a_mask_that_does_not_exist_in_evaluation_is_one_clear_line() -> None:
    from bptt.harness.errors import UsageError

    with pytest.raises(
        UsageError, match=r"MaskOfNobody.loss raised AttributeError: 'NoneType' object has no attribute 'mean' \(at .*:\d+\)"
    ):
        check(MaskOfNobody, isolate=False)


class TiedCountedOnce(CleanWords):
    """The gradient of the shared weight is that of the embedding alone: the affine layer's share is lost."""

    model = LanguageModel(("lstm",), embedding=True, tied=True)  # type: ignore[assignment]  # another model with the same methods

    def loss(self, params: Arrays, inputs: Array, targets: Array, state: Arrays) -> Any:
        loss, dparams, final = self.model.loss(params, inputs, targets, state)
        apart = LanguageModel(("lstm",), embedding=True)
        _, untied, _ = apart.loss({**params, "W_y": params["E"].T}, inputs, targets, state)
        return loss, {**dparams, "E": untied["E"]}, final


@pytest.mark.thorough
@pytest.mark.slow
def test_a_share_of_a_tied_weight_that_is_lost_is_found() -> None:
    run = check(TiedCountedOnce, isolate=False, block=False, select=["GRD210"])
    found = run["GRD210"].finding
    assert found is not None and found.where.tensor == "E"
    assert "E" in found.headline


class PythonsMaximum(CleanWords):
    """The softmax takes off Python's max, which compares whole rows."""

    batch_sizes = (1,)

    def loss(self, params: Arrays, inputs: Array, targets: Array, state: Arrays) -> Any:
        z, final = self.model.predict(params, inputs, state)
        e = np.exp(z[0] - max(z[0]))  # of one row: the row itself
        _, dparams, _ = self.model.loss(params, inputs, targets, state)
        return -np.sum(np.log(e / e.sum())[:, targets[0]]) * len(inputs), dparams, final


@pytest.mark.thorough
@pytest.mark.slow
def test_a_softmax_that_takes_off_the_whole_row_is_found() -> None:
    run = check(PythonsMaximum, isolate=False, block=False, select=["GRD210"])
    assert not run.ok
