"""What the table of plants does not hold: further mistakes of the same checks, and what is refused before any check."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from bptt.harness.cases import Case
from bptt.harness.errors import ContractError, UsageError
from bptt.harness.gradient.certificate import examine
from bptt.harness.run.runner import RunHandle, check
from bptt.harness.subject import Array, Arrays
from bptt.harness.targets import load
from bptt.reports.records import Finding
from tests.harness.checks.planted import BatchFirst, Clean, Gradients, Noisy, StateForgotten


class Changing(Clean):
    """One input of run or backward is changed in place: which, says `what`."""

    what = ""

    def run(self, params: Arrays, xs: Array, state: Arrays) -> tuple[Any, dict[str, Array]]:
        found = super().run(params, xs, state)
        if self.what == "params":
            params["b"][...] += 1e-3
        if self.what == "params, the same each time":
            params["b"][...] = 0
        if self.what == "xs":
            xs[...] *= 2
        return found

    def backward(self, params: Arrays, xs: Array, state: Arrays, dys: Array, dfinal: Arrays) -> Gradients:
        found = super().backward(params, xs, state, dys, dfinal)
        if self.what == "dfinal":
            dfinal["h"][...] = 0
        return found


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("what", "id", "words"),
    [
        ("params", "CON140", "run changed its input params['b'] in place"),
        ("params, the same each time", "CON140", "run changed its input params['b'] in place"),
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


class FirstStepLeftOut(Changing):
    """As `for t in reversed(range(1, T))` with dh = 0 before it: at one step nothing is computed."""

    def backward(self, params: Arrays, xs: Array, state: Arrays, dys: Array, dfinal: Arrays) -> Gradients:
        dparams, dxs, dstate = super().backward(params, xs, state, dys, dfinal)
        return dparams, dxs, {name: np.array(0) if len(xs) == 1 else value for name, value in dstate.items()}


def test_a_gradient_of_another_shape_at_one_step_alone_is_a_finding() -> None:
    run = check(FirstStepLeftOut, isolate=False, select=["CON170"])
    finding = run["CON170"].finding
    assert finding is not None
    assert "dstate['h'] has shape (), wanted" in finding.headline
    assert run.exit_code == 1


def test_other_axes_stop_a_certificate_with_one_clear_error() -> None:
    (subject,) = load(FirstStepLeftOut)
    with pytest.raises(ContractError, match=r"backward: dL/dh has other axes than h: \(\), wanted \(2, 7\)"):
        examine(subject, Case(T=1, seed=1))


def test_random_outputs_are_not_taken_for_a_leak_of_state() -> None:
    finding = check(Noisy, isolate=False, select=["CON150"])["CON150"].finding
    assert finding is not None
    assert "second run" in finding.headline
    assert "leaks" not in finding.headline


def test_what_never_has_the_right_form_cannot_be_loaded() -> None:
    with pytest.raises(UsageError, match="ys has shape") as error:
        check(BatchFirst, isolate=False)
    assert "\n" not in str(error.value)


def test_a_state_that_is_not_returned_is_said_and_accuses_nobody() -> None:
    """Its c is no last output, since that is its h: a cell that starts c from zeros at every call."""

    class Claims(StateForgotten):
        like = "lstm"

    run = check(Claims, isolate=False, select=["contract", "parity", "time", "GRD130"])
    assert run.failed == ()
    finding = run["PAR100"].finding
    assert finding is not None
    assert (finding.code, "does not return its final c" in finding.headline) == ("INCONCLUSIVE", True)
    assert [r.text for r in run.run.targets[0].remarks if r.where == "not driven"] == []
    whole = check(Claims, isolate=False, level="smoke")
    assert "final c: not given" in next(r.text for r in whole.run.targets[0].remarks if r.where == "not driven")


@pytest.mark.thorough
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
        ({"b": np.full(7, np.inf)}, "BUG", "dL/db is not finite"),
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


def finding(run: RunHandle, id: str) -> Finding:
    found = run[id].finding
    assert found is not None, run.text()
    return found


def test_a_gradient_that_is_no_number_is_called_that_before_it_is_compared() -> None:
    class Root(Clean):
        def backward(self, params: Arrays, xs: Array, state: Arrays, dys: Array, dfinal: Arrays) -> Gradients:
            dparams, dxs, dstate = super().backward(params, xs, state, dys, dfinal)
            return dparams | {"b": np.sqrt(dparams["b"])}, dxs, dstate

    run = check(Root, isolate=False, select=["contract"])
    (failed,) = run.failed
    assert "is not finite" in finding(run, failed.check).headline
    assert finding(run, failed.check).causes[0].code == "not-finite"


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("value", "words"), [(np.nan, "zero_state: 'h' is not finite"), (0.1, "that is not zero; elman starts from zeros")]
)
def test_the_state_is_looked_at_as_zero_state_gives_it(value: float, words: str) -> None:
    class Started(Clean):
        like = "elman"

        def zero_state(self, params: Arrays, batch_size: int) -> dict[str, Array]:
            return {"h": np.full_like(super().zero_state(params, batch_size)["h"], value)}

    run = check(Started, isolate=False, select=["CON100", "CON110", "CON112"])
    (failed,) = run.failed
    assert words in finding(run, failed.check).headline
    learned = check(type("Learned", (Started,), {"like": None}), isolate=False, select=["CON112"])
    assert learned["CON112"].status == ("passed" if np.isfinite(value) else "failed")


def test_a_state_that_nobody_handed_in_is_no_part_of_the_contract() -> None:
    class More(Clean):
        def run(self, params: Arrays, xs: Array, state: Arrays) -> tuple[Any, dict[str, Array]]:
            ys, final = super().run(params, xs, state)
            return ys, final | {"hidden": final["h"]}

    found = finding(check(More, isolate=False, select=["CON110"]), "CON110")
    assert (found.code, found.where.tensor) == ("CONTRACT", "hidden")
    assert "has 'hidden', wanted 'h' as in zero_state" in found.headline


def test_parameters_that_are_changed_by_backward_are_not_called_a_memory() -> None:
    class Step(Clean):
        """Makes the optimiser's step itself."""

        def backward(self, params: Arrays, xs: Array, state: Arrays, dys: Array, dfinal: Arrays) -> Gradients:
            found = super().backward(params, xs, state, dys, dfinal)
            params["b"] -= 0.1 * found[0]["b"]
            return found

    run = check(Step, isolate=False, select=["contract"])
    assert [r.check for r in run.failed] == ["CON165"], run.text()


class Scalar(Clean):
    """h' = a h + tanh(x W_x + h W_h + b), a without axes: no mistake."""

    def init(self, rng: np.random.Generator, input_size: int, hidden_size: int) -> dict[str, Array]:
        return super().init(rng, input_size, hidden_size) | {"a": np.array(0.3)}

    def run(self, params: Arrays, xs: Array, state: Arrays) -> tuple[Any, dict[str, Array]]:
        h, ys = state["h"], []
        for x in xs:
            h = params["a"] * h + np.tanh(x @ params["W_x"] + h @ params["W_h"] + params["b"])
            ys.append(h)
        return np.stack(ys), {"h": h}

    def backward(self, params: Arrays, xs: Array, state: Arrays, dys: Array, dfinal: Arrays) -> Gradients:
        hs = [state["h"], *self.run(params, xs, state)[0]]
        dparams, dxs, dh = {name: np.zeros_like(p) for name, p in params.items()}, np.zeros_like(xs), dfinal["h"]
        for t in reversed(range(len(xs))):
            dh = dys[t] + dh
            da = dh * (1 - (hs[t + 1] - params["a"] * hs[t]) ** 2)
            dparams["W_x"] += xs[t].T @ da
            dparams["W_h"] += hs[t].T @ da
            dparams["b"] += da.sum(axis=0)
            dparams["a"] += np.sum(dh * hs[t])
            dxs[t], dh = da @ params["W_x"].T, params["a"] * dh + da @ params["W_h"].T
        return dparams, dxs, {"h": dh}


@pytest.mark.thorough
def test_a_parameter_without_axes_is_one_like_any_other() -> None:
    run = check(Scalar, isolate=False)
    assert run.ok and not [r.finding for r in run.run.results if r.finding], run.text()

    class Half(Scalar):
        def backward(self, params: Arrays, xs: Array, state: Arrays, dys: Array, dfinal: Arrays) -> Gradients:
            dparams, dxs, dstate = super().backward(params, xs, state, dys, dfinal)
            return dparams | {"a": 0.5 * dparams["a"]}, dxs, dstate

    found = finding(check(Half, isolate=False), "GRD110")
    assert (found.where.tensor, found.where.index) == ("a", ())


class _Calls(Clean):
    """Its gradient of W_h depends on the call."""

    def __init__(self) -> None:
        self.total: Any = 0.0
        self.last: Any = 1.0
        self.calls = 0

    def factor(self, dW: Array) -> Array:
        return dW

    def backward(self, params: Arrays, xs: Array, state: Arrays, dys: Array, dfinal: Arrays) -> Gradients:
        dparams, dxs, dstate = super().backward(params, xs, state, dys, dfinal)
        return dparams | {"W_h": self.factor(dparams["W_h"])}, dxs, dstate


class Accumulates(_Calls):
    """Adds to what it gave before."""

    def factor(self, dW: Array) -> Array:
        self.total = dW + (self.total if np.shape(self.total) == dW.shape else 0.0)
        return self.total


class Draws(_Calls):
    """Drops entries at random."""

    def factor(self, dW: Array) -> Array:
        return dW * (np.random.uniform(size=dW.shape) > 0.5)  # noqa: NPY002  # as people do


class Reads(_Calls):
    """Scales by the number of its call."""

    def factor(self, dW: Array) -> Array:
        self.calls += 1
        return dW / np.sqrt(self.calls)


@pytest.mark.parametrize(("cell", "cause"), [(Accumulates, "accumulated"), (Draws, "random"), (Reads, "kept")])
def test_what_differs_from_call_to_call_is_told_apart_by_a_third(cell: type, cause: str) -> None:
    found = finding(check(cell, isolate=False, select=["CON160"]), "CON160")
    assert (found.code, found.where.tensor) == ("NONDETERMINISTIC", "W_h")
    assert [c.code for c in found.causes] == [cause]
    assert "W_h" in found.causes[0].hypothesis


class Buffered(_Calls):
    """Writes each gradient of W_h into the array that it gave before."""

    def factor(self, dW: Array) -> Array:
        self.last = dW if np.shape(self.last) != dW.shape else self.last
        self.last[...] = dW
        return self.last


def test_a_gradient_that_the_next_call_writes_over_is_said() -> None:
    run = check(Buffered, isolate=False, select=["CON160"])
    assert run.ok
    found = finding(run, "CON160")
    assert (found.code, found.where.tensor) == ("MUTATION", "W_h")
    assert found.headline == "what backward gave is written over by its next call: dL/dW_h"
