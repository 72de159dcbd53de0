"""What the table of plants does not hold: further mistakes of the same checks, and what is refused before any check."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from bptt.harness.errors import UsageError
from bptt.harness.run.runner import check
from bptt.harness.subject import Array, Arrays
from tests.harness.checks.planted import BatchFirst, Clean, Gradients, Noisy, StateForgotten


class Changing(Clean):
    """One input of run or backward is changed in place: which, says `what`."""

    what = ""

    def run(self, params: Arrays, xs: Array, state: Arrays) -> tuple[Any, dict[str, Array]]:
        found = super().run(params, xs, state)
        if self.what == "params":
            params["b"][...] += 1e-3
        if self.what == "xs":
            xs[...] *= 2
        return found

    def backward(self, params: Arrays, xs: Array, state: Arrays, dys: Array, dfinal: Arrays) -> Gradients:
        found = super().backward(params, xs, state, dys, dfinal)
        if self.what == "dfinal":
            dfinal["h"][...] = 0
        return found


@pytest.mark.parametrize(
    ("what", "id", "words"),
    [
        ("params", "CON140", "run changed its input params['b'] in place"),
        ("xs", "CON140", "run changed its input xs in place"),
        ("dfinal", "CON165", "backward changed its input dfinal['h'] in place"),
    ],
)
def test_whatever_is_changed_in_place_is_named(what: str, id: str, words: str) -> None:
    changing = type("Changing", (Changing,), {"what": what})
    run = check(changing, isolate=False, select=["contract"])
    finding = run[id].finding
    assert [r.check for r in run.failed] == [id]
    assert finding is not None
    assert (finding.code, words in finding.headline) == ("MUTATION", True)
    assert finding.observed != finding.expected
    assert check(type("Clean", (Changing,), {}), isolate=False, select=["contract"]).ok


def test_random_outputs_are_not_taken_for_a_leak_of_state() -> None:
    finding = check(Noisy, isolate=False, select=["CON150"])["CON150"].finding
    assert finding is not None
    assert "second run" in finding.headline
    assert "leaks" not in finding.headline


@pytest.mark.parametrize(("cell", "words"), [(BatchFirst, "ys has shape"), (StateForgotten, "wanted 'c'")])
def test_what_never_has_the_right_form_cannot_be_loaded(cell: type, words: str) -> None:
    with pytest.raises(UsageError, match=words) as error:
        check(cell, isolate=False)
    assert "\n" not in str(error.value)


def test_gradients_of_unknown_names_of_integers_and_of_nans() -> None:
    def returning(**extra: Any) -> type:
        class Wrong(Clean):
            def backward(self, params: Arrays, xs: Array, state: Arrays, dys: Array, dfinal: Arrays) -> Gradients:
                dparams, dxs, dstate = super().backward(params, xs, state, dys, dfinal)
                return dparams | extra, dxs, dstate

        return Wrong

    for extra, code, words in (
        ({"W_hh": np.zeros(3)}, "CONTRACT", "dparams has 'W_hh', wanted names among W_x, W_h, b"),
        ({"b": np.zeros(7, int)}, "CONTRACT", "dparams['b'] has"),
        ({"b": np.full(7, np.nan)}, "BUG", "dL/db is not finite"),
    ):
        run = check(returning(**extra), isolate=False, select=["CON170"], case="T5-N2-D3-H7")
        finding = run["CON170"].finding
        assert finding is not None
        assert finding.code == code
        assert words in finding.headline
    assert check(returning(), isolate=False, select=["CON170"]).ok


def test_code_that_raises_at_some_sizes_is_evidence_with_its_line() -> None:
    class Raising(Clean):
        def run(self, params: Arrays, xs: Array, state: Arrays) -> tuple[Any, dict[str, Array]]:
            if xs.shape[1] == 1:
                raise IndexError("too many indices")
            return super().run(params, xs, state)

    result = check(Raising, isolate=False, select=["CON110"])["CON110"]
    assert result.status == "failed"
    assert result.finding is not None
    assert result.finding.code == "CONTRACT"
    assert "Raising.run raised IndexError: too many indices (at " in result.finding.headline
    assert result.finding.smallest_case is not None
    assert result.finding.smallest_case.N == 1


def test_outputs_that_are_no_numbers_are_called_that_and_nothing_else() -> None:
    class LogOfAnything(Clean):
        def run(self, params: Arrays, xs: Array, state: Arrays) -> tuple[Array, dict[str, Array]]:
            ys, final = super().run(params, xs, state)
            return np.log(ys), final

    run = check(LogOfAnything, isolate=False)
    assert [r.check for r in run.failed] == ["CON130"], run.text()
    assert run["CON150"].blocked_by == "CON130"
