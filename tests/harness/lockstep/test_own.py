"""A user's own loop: what it is given, in which forms it may answer, and one clear line for each bad answer."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bptt.harness.errors import SubjectError, UsageError
from bptt.harness.lockstep.compare import MARGIN
from bptt.harness.lockstep.lockstep import Lockstep, lockstep
from tests.harness.lockstep.ownloops import Own, small

RNN = small("rnn")
Change = Callable[[int, float, dict[str, Any]], Any]


def held(change: Change, steps: int = 4, optimizer: str = "sgd") -> Lockstep:
    """With a right loop whose answers are changed."""

    def mine(params: Any, batches: Any, settings: Any) -> Any:
        for number, (loss, own) in enumerate(Own(RNN)(params, batches, settings), 1):
            yield change(number, loss, own)

    return lockstep(mine, RNN, steps=steps, optimizer=optimizer)


def without(params: dict[str, Any], name: str, **more: Any) -> dict[str, Any]:
    return {key: p for key, p in params.items() if key != name} | more


BAD: list[tuple[Change, str]] = [
    (lambda t, loss, p: p, r"mine: step 1: yielded a value of type dict, wanted \(loss, params\)"),
    (lambda t, loss, p: None, r"mine: step 1: yielded None, wanted \(loss, params\)"),
    (lambda t, loss, p: (loss, p, t), r"mine: step 1: yielded a tuple of 3, wanted \(loss, params\)"),
    (lambda t, loss, p: (p, loss), "mine: step 1: the loss is a value of type dict, wanted a number"),
    (lambda t, loss, p: (np.ones(3), p), r"mine: step 1: the loss is an array \(3,\) of float64, wanted a number"),
    (lambda t, loss, p: ("low", p), "mine: step 1: the loss is a value of type str, wanted a number"),
    (lambda t, loss, p: (loss, list(p.values())), "mine: step 1: the parameters are a list of 5, wanted a dict with W_x_l0, W_h_l0"),
    (lambda t, loss, p: (loss, without(p, "W_h_l0", W_hh_l0=p["W_h_l0"])), "no parameter 'W_h_l0', is it 'W_hh_l0'?"),
    (lambda t, loss, p: (loss, {}), "mine: step 1: no parameter 'W_x_l0', it has none, wanted W_x_l0, W_h_l0, b_l0, W_y, b_y"),
    (lambda t, loss, p: (loss, p if t < 3 else without(p, "b_y")), "mine: step 3: no parameter 'b_y'"),
    (lambda t, loss, p: (loss, {**p, "W_x_l0": p["W_x_l0"].T}), r"has shape \(8, \d+\), which is its transpose, wanted \(\d+, 8\)"),
    (lambda t, loss, p: (loss, {**p, "b_y": p["b_y"][:, None]}), r"parameter 'b_y' has shape \(\d+, 1\), wanted \(\d+,\)"),
    (lambda t, loss, p: (loss, {**p, "b_y": "none"}), r"parameter 'b_y' is a value of type str, wanted an array of floats \(\d+,\)"),
    (lambda t, loss, p: (loss, {**p, "b_y": p["b_y"].astype(int)}), r"'b_y' is an array \(\d+,\) of int64, wanted an array of"),
]


@pytest.mark.parametrize(("change", "words"), BAD)
def test_a_bad_answer_is_refused_in_one_line(change: Change, words: str) -> None:
    with pytest.raises(UsageError, match=words) as refused:
        held(change)
    assert "\n" not in str(refused.value)


def test_too_few_steps_are_refused() -> None:
    with pytest.raises(UsageError, match="mine: ended after 3 steps, wanted 4, one for each batch"):
        lockstep(cut(3), RNN, steps=4)
    with pytest.raises(UsageError, match="mine: ended after 0 steps"):
        lockstep(cut(0), RNN, steps=4)


def cut(count: int) -> Any:
    def mine(params: Any, batches: Any, settings: Any) -> Any:
        yield from Own(RNN)(params, batches[:count], settings)

    return mine


def test_a_function_that_does_not_yield_is_refused() -> None:
    def mine(params: Any, batches: Any, settings: Any) -> Any:
        """Forgets to yield."""

    with pytest.raises(UsageError, match=r"mine: returned None, wanted a generator function \(params, batches, settings\)"):
        lockstep(mine, RNN, steps=2)
    with pytest.raises(UsageError, match="is a value of type int, wanted a generator function"):
        lockstep(3, RNN, steps=2)  # type: ignore[arg-type]  # the mistake under test


def test_what_a_loop_raises_is_told_with_its_step_and_line() -> None:
    def mine(params: Any, batches: Any, settings: Any) -> Any:
        yield from cut(1)(params, batches, settings)
        raise KeyError("W_hh")

    with pytest.raises(SubjectError, match=r"mine: step 2: KeyError: 'W_hh' \(.*test_own.py:\d+\)"):
        lockstep(mine, RNN, steps=3)
    with pytest.raises(SubjectError, match=r"lambda: TypeError: .* positional argument"):
        lockstep(lambda params: params, RNN, steps=3)  # type: ignore[arg-type, misc]  # the mistake under test


def test_a_loop_may_answer_with_a_list_with_tensors_and_with_more_than_was_asked_for() -> None:
    torch = pytest.importorskip("torch", reason="needs torch")

    def tensors(t: int, loss: float, params: dict[str, Any]) -> Any:
        own = {name: torch.tensor(p, requires_grad=True) for name, p in params.items()}
        return [torch.tensor(loss, requires_grad=True, dtype=torch.float64), own | {"more": None}]

    assert held(tensors).ok
    assert lockstep(lambda *given: [(loss, dict(p)) for loss, p in copied(*given)], RNN, steps=3).ok  # type: ignore[arg-type, return-value]


def copied(*given: Any) -> Any:
    for loss, params in Own(RNN)(*given):
        yield loss, {name: p.copy() for name, p in params.items()}


def test_what_a_loop_does_to_what_it_was_given_does_not_reach_the_reference() -> None:
    def spoils(params: Any, batches: Any, settings: Any) -> Any:
        for t, step in enumerate(Own(RNN)(params, batches, settings)):
            yield step
            batches[t].inputs[:] = 0
            batches[t].targets[:] = 0

    assert lockstep(spoils, RNN, steps=4).ok


def test_a_loop_in_float32_is_judged_by_the_rounding_of_float32() -> None:
    def rounded(params: Any, batches: Any, settings: Any) -> Any:
        own = Own(RNN)
        return own({name: p.astype(np.float32) for name, p in params.items()}, batches, settings)

    one = lockstep(rounded, RNN, steps=10, optimizer="sgd").runs[0]
    assert one.exit_code == 0
    assert one.eps == np.finfo(np.float32).eps
    assert max(gap.relative for gap in one.held.gaps) > 1e-8
    assert max(gap.tolerance for gap in one.held.gaps) > 1.5 * MARGIN * one.eps, "the shadow rounds as float32 does"
    off = held(lambda t, loss, p: (loss, {name: (v * (1 + 1e-4 * (t > 2))).astype(np.float32) for name, v in p.items()}))
    parting = off.runs[0].held.parting
    assert parting is not None
    assert parting.step == 3


def test_a_loss_in_float32_is_judged_so_and_the_parameters_are_not() -> None:
    assert held(lambda t, loss, p: (np.float32(loss), p)).ok
    assert held(lambda t, loss, p: (np.float32(loss * (1 + 1e-4)), p)).runs[0].held.parting is not None
    parting = held(lambda t, loss, p: (np.float32(loss), {name: v * (1 + 1e-9) for name, v in p.items()})).runs[0].held.parting
    assert parting is not None
    assert parting.tensor != "loss"


def test_a_loop_whose_precision_leaves_nothing_to_judge_is_not_called_right() -> None:
    found = held(lambda t, loss, p: (loss, {name: v.astype(np.float16) for name, v in p.items()}))
    assert found.exit_code == 4
    assert "not judged: at step 1 rounding alone may part two runs by 0.001; in float64 it could be" in found.text()


def test_a_loop_is_found_in_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mine.py").write_text("size = 3\ndef train(params, batches, settings):\n    yield 1.0, params\n")
    monkeypatch.chdir(tmp_path)
    one = lockstep("mine.py:train", RNN, steps=1, optimizer="sgd").runs[0]
    assert one.mine == "mine.py:train"
    assert one.held.parting is not None
    for target, words in {
        "mine.py:trian": "no 'trian' in mine.py, did you mean 'train",
        "mine.py": "no function is named, wanted path/file.py:loop",
        "mime.py:train": "no such file, did you mean 'mine.py",
        "mine.py:size": "mine.py:size: is a value of type int, wanted a generator function",
    }.items():
        with pytest.raises(UsageError, match=words):
            lockstep(target, RNN, steps=1)
