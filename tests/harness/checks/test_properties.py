"""Linearity, numerics, parity, time and batch: what the table of plants does not hold."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
import pytest

from bptt.harness.cases import Case
from bptt.harness.checks.as_made import rounded
from bptt.harness.checks.cells import numerics
from bptt.harness.checks.context import CheckContext
from bptt.harness.run.runner import RunHandle, check
from bptt.harness.subject import Array, Arrays
from bptt.harness.targets import load
from bptt.refimpl import CELLS
from bptt.refimpl.cells.lstm import init as lstm_init
from tests.harness.checks.planted import (
    Clean,
    CleanBothWays,
    CleanGRU,
    CleanLSTM,
    CleanStateless,
    Clipped,
    Gradients,
    LooksAhead,
    OtherWayBack,
)
from tests.harness.checks.right import Float32Only


def finding(run: RunHandle, id: str) -> Any:
    found = run[id].finding
    assert found is not None, run.text()
    return found


@pytest.mark.thorough
def test_weight_decay_in_the_gradient_is_not_linear() -> None:
    class Decay(Clean):
        def backward(self, params: Arrays, xs: Array, state: Arrays, dys: Array, dfinal: Arrays) -> Gradients:
            dparams, dxs, dstate = super().backward(params, xs, state, dys, dfinal)
            return dparams | {"W_h": dparams["W_h"] + 1e-4 * params["W_h"]}, dxs, dstate

    run = check(Decay, isolate=False, select=["linearity"])
    assert [r.check for r in run.failed] == ["LIN100", "LIN110"]
    assert finding(run, "LIN100").where.tensor == finding(run, "LIN110").where.tensor == "W_h"


def test_a_clip_that_is_declared_is_not_reached() -> None:
    assert check(type("Declared", (Clipped,), {"dys_scale": 1e-3}), isolate=False, select=["linearity", "GRD110", "GRD130"]).ok
    assert not check(Clipped, isolate=False, select=["linearity"]).ok


def test_a_kink_beside_the_data_is_no_cast() -> None:
    class KinkAtTheData(CleanStateless):
        kink = 0.0

        def run(self, params: Arrays, xs: Array, state: Arrays) -> tuple[Array, dict[str, Array]]:
            ys, final = super().run(params, xs, state)
            return ys + np.maximum(xs[:1, :1, :1] - self.kink, 0), final

    made = KinkAtTheData()
    (subject,) = load(made)
    context = CheckContext(subject)
    data = context.data(Case())
    made.kink = float(data.xs[0, 0, 0]) + 3e-7
    at_the_kink = [context.run(replace(data, xs=data.xs + e))[0] for e in (0, 1e-6)]
    assert not np.array_equal(at_the_kink[1] - at_the_kink[0], np.zeros_like(at_the_kink[0]))
    assert all(e.holds for e in numerics.the_forward_pass_works_in_the_precision_of_its_inputs(context, Case()))


def test_a_loose_cast_and_a_narrow_dtype_are_told_apart() -> None:
    assert check(Float32Only, isolate=False, select=["NUM100"]).ok

    class Half(Clean):
        def run(self, params: Arrays, xs: Array, state: Arrays) -> tuple[Any, dict[str, Array]]:
            ys, final = super().run(params, xs, state)
            return (ys.astype(np.float16).astype(ys.dtype) if ys.dtype.kind == "f" else ys), final

    assert "a lower precision" in finding(check(Half, isolate=False, select=["NUM100"]), "NUM100").headline

    class HalfInFloat32(Half, Float32Only):
        pass

    assert "a lower precision" in finding(check(HalfInFloat32, isolate=False, select=["NUM100"]), "NUM100").headline

    class ShorterWhereFloat32(Clean):
        def run(self, params: Arrays, xs: Array, state: Arrays) -> tuple[Any, dict[str, Array]]:
            params = {k: rounded(v, "bfloat16") if v.dtype == np.float32 else v for k, v in params.items()}
            return super().run(params, rounded(xs, "bfloat16") if xs.dtype == np.float32 else xs, state)

    told = finding(check(ShorterWhereFloat32, isolate=False, select=["NUM130"]), "NUM130")
    assert told.code == "PRECISION_LOSS" and "rounded on the way" in told.headline


def test_a_cell_that_is_nothing_published_says_how_far_it_is_off() -> None:
    class Leaky(CleanGRU):
        like = "gru_reset_before"

        def run(self, params: Arrays, xs: Array, state: Arrays) -> tuple[Any, dict[str, Array]]:
            ys, final = super().run(params, xs, state)
            return 0.9 * ys, final

        def backward(self, params: Arrays, xs: Array, state: Arrays, dys: Array, dfinal: Arrays) -> Gradients:
            return super().backward(params, xs, state, 0.9 * dys, dfinal)

    run = check(Leaky, isolate=False, select=["parity"])
    found = finding(run, "PAR100")
    assert "not those of gru_reset_before under any arrangement" in found.headline
    assert {r.status for r in run.run.results} - {"not_applicable"} == {"failed", "blocked"}


def test_weights_carried_by_to_reference_are_taken() -> None:
    class Own(CleanLSTM):
        like = "lstm"

        def init(self, rng: np.random.Generator, input_size: int, hidden_size: int) -> dict[str, Array]:
            return {"all": np.concatenate([p.ravel() for p in lstm_init(rng, input_size, hidden_size).values()])}

        def to_reference(self, params: Arrays) -> dict[str, Array]:
            n = 2 * 4 * 3 + 3 * 4 * 3  # D = 2, H = 3
            flat = params["all"]
            return {"W_x": flat[:24].reshape(2, 12), "W_h": flat[24:n].reshape(3, 12), "b": flat[n:]}

        input_sizes, hidden_sizes = (2,), (3,)

        def zero_state(self, params: Arrays, batch_size: int) -> dict[str, Array]:
            return super().zero_state(self.to_reference(params), batch_size)

        def run(self, params: Arrays, xs: Array, state: Arrays) -> tuple[Any, dict[str, Array]]:
            return super().run(self.to_reference(params), xs, state)

        def backward(self, params: Arrays, xs: Array, state: Arrays, dys: Array, dfinal: Arrays) -> Gradients:
            dparams, dxs, dstate = super().backward(self.to_reference(params), xs, state, dys, dfinal)
            return {"all": np.concatenate([dparams[k].ravel() for k in ("W_x", "W_h", "b")])}, dxs, dstate

    assert check(Own, isolate=False, select=["PAR100"]).run.results[0].status == "passed"
    swapped = type("Swapped", (Own,), {"to_reference": lambda self, p: {k: v[::-1] for k, v in Own.to_reference(self, p).items()}})
    carried = type("Carried", (Own,), {"run": Own.run, "wrong": True})
    assert check(carried, isolate=False, select=["PAR100"]).ok
    run = check(swapped, isolate=False, select=["PAR100"])
    assert run.ok  # run and to_reference agree: another cell of the same kind, and so the same function

    class Wrong(Own):
        def run(self, params: Arrays, xs: Array, state: Arrays) -> tuple[Any, dict[str, Array]]:
            return CleanLSTM.run(self, Own.to_reference(self, params), xs, state)

        def to_reference(self, params: Arrays) -> dict[str, Array]:
            return {k: 1.01 * v for k, v in super().to_reference(params).items()}

    assert "with the weights of to_reference" in finding(check(Wrong, isolate=False, select=["PAR100"]), "PAR100").headline


def test_what_is_bidirectional_may_look_ahead() -> None:
    both = type("Both", (LooksAhead,), {"bidirectional": True})
    run = check(both, isolate=False, select=["TIM100", "TIM110", "TIM120"])
    assert {r.check: r.status for r in run.run.results} == dict.fromkeys(("TIM100", "TIM110", "TIM120"), "not_applicable")
    assert "bidirectional" in str(run["TIM110"].reason)


@pytest.mark.thorough
def test_directions_that_are_added_up_or_said_by_a_name_may_look_ahead_where_the_reverse_one_is_turned_back() -> None:
    class Sum(CleanStateless):
        turned = True

        def run(self, params: Arrays, xs: Array, state: Arrays) -> tuple[Any, dict[str, Array]]:
            ahead, back = super().run(params, xs, state)[0], super().run(params, -xs[::-1], state)[0]
            return ahead + (back[::-1] if self.turned else back), {}

    class BiElman(Sum):
        def run(self, params: Arrays, xs: Array, state: Arrays) -> tuple[Any, dict[str, Array]]:
            ys, final = super().run(params, xs, state)
            return np.tanh(ys), final

    def status(subject: type) -> str:
        return check(subject, isolate=False, select=["TIM110"])["TIM110"].status

    assert {status(Sum), status(BiElman)} == {"not_applicable"}
    assert {status(type(c.__name__, (c,), {"turned": False})) for c in (Sum, BiElman)} == {"failed"}
    assert {status(type(name, (BiElman,), {})) for name in ("MyBiGRU", "bi_lstm", "Bidirectional")} == {"not_applicable"}
    assert {status(type(name, (BiElman,), {})) for name in ("Other", "BiasedRNN", "GabirnnCell")} == {"failed"}


@pytest.mark.thorough
def test_a_leak_from_a_later_step_is_seen_at_that_step() -> None:
    class Peeks(CleanStateless):
        def run(self, params: Arrays, xs: Array, state: Arrays) -> tuple[Any, dict[str, Array]]:
            ys, final = super().run(params, xs, state)
            if len(xs) > 3:
                ys = ys.copy()
                ys[2] += 1e-3 * xs[3].sum()
            return ys, final

    found = finding(check(Peeks, isolate=False, select=["TIM110"]), "TIM110")
    assert (found.where.step, found.where.index[0]) == (3, 2)


def test_rows_that_mix_in_a_fixed_batch_are_seen_too() -> None:
    class Mixed(Clean):
        def run(self, params: Arrays, xs: Array, state: Arrays) -> tuple[Any, dict[str, Array]]:
            return super().run(params, xs + 1e-3 * np.roll(xs, 1, axis=1), state)

    for fixed in (None, (2,)):
        run = check(type("Mixed", (Mixed,), {"batch_sizes": fixed}), isolate=False, select=["BAT100"])
        assert [r.check for r in run.failed] == ["BAT100"]
    alone = check(type("Alone", (Clean,), {"batch_sizes": (1,)}), isolate=False, select=["batch"])
    assert {r.status for r in alone.run.results} == {"not_applicable"}


@pytest.mark.thorough
@pytest.mark.parametrize("name", ["c", "h"])
def test_each_state_on_its_own_matters(name: str) -> None:
    class Ignores(CleanLSTM):
        def run(self, params: Arrays, xs: Array, state: Arrays) -> tuple[Any, dict[str, Array]]:
            return super().run(params, xs, {**state, name: 0 * state[name]})

    assert finding(check(Ignores, isolate=False, select=["TIM120"]), "TIM120").where.tensor == f"{name}0"


@pytest.mark.parametrize("name", ["qrnn", "sru"])
def test_a_state_that_no_step_reads_is_not_ignored(name: str) -> None:
    """Their h is their output; the memory is c."""
    run = check(f"refimpl:{name}", isolate=False, select=["TIM120"])
    assert run["TIM120"].status == "passed"


def test_an_examination_is_made_once() -> None:
    (subject,) = load(Clean)
    context = CheckContext(subject)
    from bptt.harness.cases import Case

    assert context.examine(Case(), ("params",)) is context.examine(Case(), ("params",))
    assert context.examine(Case(), ("params",), 2).draws == 2
    assert context.mirror is None
    assert context.regions(subject.implementation.init(np.random.default_rng(0), 3, 7)) == ()


class BothWays(CleanStateless):
    """Its outputs beside those of the reversed sequence, as a bidirectional layer gives them; nothing in it says so."""

    def run(self, params: Arrays, xs: Array, state: Arrays) -> tuple[Any, dict[str, Array]]:
        ys, _ = super().run(params, xs, state)
        back, _ = super().run(params, xs[::-1], state)
        return np.concatenate([ys, back[::-1]], axis=2), {}

    backward = None  # type: ignore[assignment]  # the forward pass is what is asked about


def test_a_layer_of_both_directions_is_no_leak_and_one_unit_that_reads_ahead_is() -> None:
    result = check(BothWays, isolate=False, select=["TIM110"])["TIM110"]
    assert (result.status, "bidirectional" in str(result.reason)) == ("not_applicable", True)

    class OneReadsAhead(BothWays):
        def run(self, params: Arrays, xs: Array, state: Arrays) -> tuple[Any, dict[str, Array]]:
            ys, final = super().run(params, xs, state)
            ys = ys.copy()
            ys[:-1, :, 0] += 1e-3 * xs[1:, :, 0]
            return ys, final

    assert finding(check(OneReadsAhead, isolate=False, select=["TIM110"]), "TIM110").where.step == 1


def test_what_carries_on_both_ways_is_not_cut_in_two() -> None:
    """Nothing of it says that it is bidirectional but what its outputs read."""
    run = check(CleanBothWays, isolate=False, select=["TIM100", "TIM110", "TIM140"])
    assert {r.check: r.status for r in run.run.results} == {"TIM100": "not_applicable", "TIM110": "not_applicable", "TIM140": "passed"}
    assert "bidirectional" in str(run["TIM100"].reason)


def test_directions_that_are_two_functions_are_wrong_where_a_name_says_that_they_are_one_cell() -> None:
    class BiRNN(OtherWayBack):
        pass

    class Meant(BiRNN):
        exempt: ClassVar = {"directions": "the second one inhibits"}

    class BiRNNAhead(CleanBothWays):
        """Its reverse direction gives each step the state of the step behind it, as language models read both ways do."""

        def run(self, params: Arrays, xs: Array, state: Arrays) -> tuple[Any, dict[str, Array]]:
            ys, final = super().run(params, xs, state)
            H = ys.shape[2] // 2
            return np.concatenate([ys[..., :H], np.concatenate([ys[1:, :, H:], np.zeros_like(ys[:1, :, H:])])], axis=2), final

        backward = None  # type: ignore[assignment]  # the forward pass is what is asked about

    assert {each: check(each, isolate=False, select=["TIM140"])["TIM140"].status for each in (BiRNN, Meant, BiRNNAhead, OtherWayBack)} == {
        BiRNN: "failed", Meant: "not_applicable", BiRNNAhead: "not_applicable", OtherWayBack: "passed",
    }  # fmt: skip


def test_the_final_state_of_one_direction_for_both_is_wrong() -> None:
    class BiRNN(CleanBothWays):
        def run(self, params: Arrays, xs: Array, state: Arrays) -> tuple[Any, dict[str, Array]]:
            ys, final = super().run(params, xs, state)
            return ys, {"h": final["h"], "h_back": final["h"]}

        backward = None  # type: ignore[assignment]  # the forward pass is what is asked about

    found = finding(check(BiRNN, isolate=False, select=["TIM140"]), "TIM140")
    assert found.where.tensor in ("final h", "final h_back")


def test_a_reverse_direction_that_is_not_turned_back_is_named() -> None:
    class NotTurned(BothWays):
        def run(self, params: Arrays, xs: Array, state: Arrays) -> tuple[Any, dict[str, Array]]:
            ys, _ = super().run(params, xs, state)
            return np.concatenate([ys[..., :7], ys[::-1, :, 7:]], axis=2) if ys.shape[2] == 14 else ys, {}

    found = finding(check(NotTurned, isolate=False, select=["TIM110"], case="T5-N2-D3-H7"), "TIM110")
    assert found.causes[0].hypothesis == "the outputs of the reverse direction are in reverse order"


def test_rows_taken_for_steps_are_one_failure() -> None:
    class Viewed(CleanStateless):
        """xs is read as if its first axis were the batch, by a view: rows and steps mix."""

        def run(self, params: Arrays, xs: Array, state: Arrays) -> tuple[Any, dict[str, Array]]:
            T, N, D = xs.shape
            return super().run(params, xs.reshape(N, T, D).swapaxes(0, 1), state)

        backward = None  # type: ignore[assignment]  # the forward pass is what is asked about

    run = check(Viewed, isolate=False, select=["time", "batch"])
    assert [r.check for r in run.failed] == ["TIM110"], run.text()
    assert (run["BAT100"].status, run["BAT100"].blocked_by) == ("blocked", "TIM110")


class CoupledLSTM(CleanLSTM):
    """f = 1 - i, and a sum in the place of i * g: an LSTM by its name only."""

    def init(self, rng: np.random.Generator, input_size: int, hidden_size: int) -> dict[str, Array]:
        return {k: p[..., : 3 * hidden_size] for k, p in super().init(rng, input_size, hidden_size).items()}

    def zero_state(self, params: Arrays, batch_size: int) -> dict[str, Array]:
        return {s: np.zeros((batch_size, len(params["b"]) // 3)) for s in "hc"}

    def run(self, params: Arrays, xs: Array, state: Arrays) -> tuple[Any, dict[str, Array]]:
        h, c, ys = state["h"], state["c"], []
        for x in xs:
            i, g, o = np.split(x @ params["W_x"] + h @ params["W_h"] + params["b"], 3, axis=1)
            i, o = 0.5 * (1 + np.tanh(i / 2)), 0.5 * (1 + np.tanh(o / 2))
            c = (1 - i) * c + (i + np.tanh(g))
            h = o * np.tanh(c)
            ys.append(h)
        return np.stack(ys), {"h": h, "c": c}

    backward = None  # type: ignore[assignment]  # the forward pass is what is asked about


class SquashedForget(CleanLSTM):
    """f multiplies tanh(c): a known mistake."""

    def run(self, params: Arrays, xs: Array, state: Arrays) -> tuple[Any, dict[str, Array]]:
        ys, c, h = [], state["c"], state["h"]
        for x in xs:
            step, final = super().run(params, x[None], {"h": h, "c": np.tanh(c)})
            h, c = final["h"], final["c"]
            ys.append(step[0])
        return np.stack(ys), {"h": h, "c": c}

    backward = None  # type: ignore[assignment]  # the forward pass is what is asked about


@pytest.mark.thorough
@pytest.mark.parametrize("name", ["LSTM", "MyLSTMCell", "lstm_layer"])
def test_what_a_name_alone_claims_is_a_warning_unless_a_known_mistake_reproduces_it(name: str) -> None:
    coupled = check(type(name, (CoupledLSTM,), {}), isolate=False, select=["PAR100"])
    assert coupled.ok and coupled["PAR100"].severity == "warning"
    assert f"it is called {name}; its outputs are those of no LSTM that is known" in finding(coupled, "PAR100").headline
    squashed = check(type(name, (SquashedForget,), {}), isolate=False, select=["PAR100"])
    assert not squashed.ok and finding(squashed, "PAR100").code == "BUG", squashed.text()
    right = check(type(name, (CleanLSTM,), {}), isolate=False, select=["PAR100"])
    assert right["PAR100"].status == "not_applicable"


def test_a_published_variant_is_told_by_its_own_name_whatever_it_is_called() -> None:
    found = check(type("LSTM", (Clean,), {"of": "lstm_coupled"}), isolate=False, select=["PAR100"])
    assert found.ok and found["PAR100"].severity == "warning"
    assert "an LSTM with coupled gates, f = 1 - i (CIFG)" in finding(found, "PAR100").headline
    assert finding(found, "PAR100").headline.endswith("though it is called LSTM")


class SumForProduct(CleanLSTM):
    """c' = f c + (sigmoid(a_i) + tanh(a_g))."""

    def run(self, params: Arrays, xs: Array, state: Arrays) -> tuple[Any, dict[str, Array]]:
        h, c, ys = state["h"], state["c"], []
        for x in xs:
            i, f, g, o = np.split(x @ params["W_x"] + h @ params["W_h"] + params["b"], 4, axis=1)
            i, f, o = (0.5 * (1 + np.tanh(a / 2)) for a in (i, f, o))
            c = f * c + (i + np.tanh(g))
            h = o * np.tanh(c)
            ys.append(h)
        return np.stack(ys), {"h": h, "c": c}

    backward = None  # type: ignore[assignment]  # the forward pass is what is asked about


@pytest.mark.thorough
def test_a_sum_in_the_place_of_a_product_is_named() -> None:
    found = check(type("LSTMCell", (SumForProduct,), {}), isolate=False, select=["PAR100"])
    assert [r.check for r in found.failed] == ["PAR100"], found.text()
    assert finding(found, "PAR100").headline.startswith("it is called LSTMCell")
    assert "a sum in the place of a product" in finding(found, "PAR100").headline


@pytest.mark.parametrize("name", ["ConvLSTM", "Model", "PeepholeLSTMWithReadOut"])
def test_a_name_that_claims_nothing_is_not_held_to_it(name: str) -> None:
    assert check(type(name, (CoupledLSTM,), {}), isolate=False, select=["PAR100"])["PAR100"].status == "not_applicable"


def test_what_is_declared_is_a_claim() -> None:
    claimed = check(type("Thing", (CoupledLSTM,), {"like": "lstm"}), isolate=False, select=["PAR100"])
    assert [r.check for r in claimed.failed] == ["PAR100"]


class BothWaysFromZeros(BothWays):
    """Two right directions of Elman's network that keep no state: the search has nothing to tell them apart by."""

    like, bidirectional = "elman", True


def test_a_claim_that_nobody_can_examine_is_no_pass_and_no_failure() -> None:
    run = check(BothWaysFromZeros, isolate=False, select=["PAR100"])
    assert run.ok and finding(run, "PAR100").code == "INCONCLUSIVE", run.text()
    assert "was not examined: it reads the sequence in both directions" in finding(run, "PAR100").headline


def test_a_reference_cell_that_no_search_knows_is_held_against_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    new = replace(CELLS["elman"], name="brand_new", parameters=())
    monkeypatch.setitem(CELLS, "brand_new", new)
    assert check(type("New", (Clean,), {"like": "brand_new"}), isolate=False, select=["PAR100"])["PAR100"].status == "passed"

    class Louder(Clean):
        like = "brand_new"

        def run(self, params: Arrays, xs: Array, state: Arrays) -> tuple[Any, dict[str, Array]]:
            ys, final = super().run(params, xs, state)
            return 1.01 * ys, final

    assert [r.check for r in check(Louder, isolate=False, select=["PAR100"]).failed] == ["PAR100"]

    class Renamed(Clean):
        like = "brand_new"

        def init(self, rng: np.random.Generator, input_size: int, hidden_size: int) -> dict[str, Array]:
            return {f"my_{k}": p for k, p in super().init(rng, input_size, hidden_size).items()}

        def zero_state(self, params: Arrays, batch_size: int) -> dict[str, Array]:
            return {"h": np.zeros((batch_size, len(params["my_b"])))}

        def run(self, params: Arrays, xs: Array, state: Arrays) -> tuple[Any, dict[str, Array]]:
            return super().run({k.removeprefix("my_"): p for k, p in params.items()}, xs, state)

        backward = None  # type: ignore[assignment]  # the forward pass is what is asked about

    found = check(Renamed, isolate=False, select=["PAR100"])
    assert found.ok and "was not examined" in finding(found, "PAR100").headline


def test_columns_of_one_input_are_told_from_biases() -> None:
    class OneInput:
        """An LSTM of one input, columns: its weights U and its biases b have one shape; always from zeros: no mistake."""

        like, input_sizes = "lstm", (1,)

        def init(self, rng: np.random.Generator, D: int, H: int) -> dict[str, Array]:
            shapes = {"U": (H, D), "W": (H, H), "b": (H, 1)}
            return {name + gate: 0.5 * rng.normal(size=shape) for gate in "figo" for name, shape in shapes.items()}

        def zero_state(self, params: Arrays, N: int) -> dict[str, Array]:
            return {}

        def run(self, p: Arrays, xs: Array, state: Arrays) -> tuple[Any, dict[str, Array]]:
            h = c = np.zeros((len(p["bf"]), xs.shape[1]))
            hs = []
            for x in xs:
                a = {k: p["U" + k] @ x.T + p["W" + k] @ h + p["b" + k] for k in "figo"}
                f, i, o = (0.5 * (1 + np.tanh(a[k] / 2)) for k in "fio")
                c = f * c + i * np.tanh(a["g"])
                h = o * np.tanh(c)
                hs.append(h.T)
            return np.stack(hs), {}

    run = check(OneInput, isolate=False, select=["PAR100", "PAR110"])
    assert [r.status for r in run.run.results] == ["passed", "passed"], run.text()
