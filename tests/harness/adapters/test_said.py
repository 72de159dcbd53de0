"""What a contract object says of itself is kept to: right cells pass, and the same mistake is found in each form."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from bptt.harness.adapters.contract import adapt
from bptt.harness.errors import UsageError
from bptt.harness.run.runner import check


class Elman:
    """h_t = tanh(x_t W + h_(t-1) U + b), time first."""

    factor = 1.0

    def init(self, rng: Any, input_size: int, hidden_size: int) -> Any:
        D, H = input_size, hidden_size
        return {"W": rng.normal(size=(D, H)) / 2, "U": rng.normal(size=(H, H)) / 2, "b": rng.normal(size=H) / 2}

    def zero_state(self, params: Any, batch_size: int) -> Any:
        return {"h": np.zeros((batch_size, len(params["b"])))}

    def run(self, params: Any, xs: Any, state: Any) -> Any:
        hs = [state["h"]]
        for x in xs:
            hs.append(np.tanh(x @ params["W"] + hs[-1] @ params["U"] + params["b"]))
        return np.array(hs[1:]), {"h": hs[-1]}

    def backward(self, params: Any, xs: Any, state: Any, dys: Any, dfinal: Any) -> Any:
        hs = [state["h"], *Elman.run(self, params, xs, state)[0]]
        d, dxs, dh = {k: np.zeros_like(v) for k, v in params.items()}, np.zeros_like(xs), dfinal["h"]
        for t in reversed(range(len(xs))):
            da = (dys[t] + dh) * (1 - hs[t + 1] ** 2)
            d["W"] += xs[t].T @ da
            d["U"] += self.factor * hs[t].T @ da
            d["b"] += da.sum(0)
            dxs[t], dh = da @ params["W"].T, da @ params["U"].T
        return d, dxs, {"h": dh}


class Cut(Elman):
    clip = 0.5

    def backward(self, *given: Any) -> Any:
        d, dxs, dstate = super().backward(*given)
        return {k: np.clip(v, -0.5, 0.5) for k, v in d.items()}, dxs, dstate


class CutNorm(Elman):
    clip_norm = 1.0

    def backward(self, *given: Any) -> Any:
        d, dxs, dstate = super().backward(*given)
        norm = np.sqrt(sum((v**2).sum() for v in d.values()))
        return {k: v / max(norm, 1.0) for k, v in d.items()}, dxs, dstate


class BatchFirst(Elman):
    batch_first = True

    def run(self, params: Any, xs: Any, state: Any) -> Any:
        ys, final = super().run(params, xs.swapaxes(0, 1), state)
        return ys.swapaxes(0, 1), final

    def backward(self, params: Any, xs: Any, state: Any, dys: Any, dfinal: Any) -> Any:
        d, dxs, dstate = super().backward(params, xs.swapaxes(0, 1), state, dys.swapaxes(0, 1), dfinal)
        return d, dxs.swapaxes(0, 1), dstate


class NoFinal(Elman):
    def run(self, params: Any, xs: Any, state: Any) -> Any:
        return super().run(params, xs, state)[0], None


class SomeLengths(Elman):
    lengths_of_sequence = (4, 8)

    def run(self, params: Any, xs: Any, state: Any) -> Any:
        assert len(xs) in (4, 8)
        return super().run(params, xs, state)


class OwnNames(Elman):
    """Parameters called h0 and x: a learned start, and a shift of the inputs."""

    def init(self, rng: Any, input_size: int, hidden_size: int) -> Any:
        own = {"h0": rng.normal(size=hidden_size), "x": rng.normal(size=input_size)}
        return super().init(rng, input_size, hidden_size) | own

    def zero_state(self, params: Any, batch_size: int) -> Any:
        return {}

    def start(self, params: Any, xs: Any) -> Any:
        return {"h": np.tile(params["h0"], (xs.shape[1], 1))}

    def run(self, params: Any, xs: Any, state: Any) -> Any:
        return super().run(params, xs + params["x"], self.start(params, xs))[0], {}

    def backward(self, params: Any, xs: Any, state: Any, dys: Any, dfinal: Any) -> Any:
        start = self.start(params, xs)
        d, dxs, dstart = super().backward(params, xs + params["x"], start, dys, {"h": np.zeros_like(start["h"])})
        return d | {"h0": dstart["h"].sum(0), "x": dxs.sum((0, 1))}, dxs, {}


class Complex:
    """s_t = lam s_(t-1) + x_t B with complex numbers, handed out as they are.   `carry` makes of lam what the state goes back with."""

    carry: Any = staticmethod(np.conj)
    sense: Any = staticmethod(lambda d: d)

    def init(self, rng: Any, input_size: int, hidden_size: int) -> Any:
        def drawn(*shape: int) -> Any:
            return 0.5 * (rng.normal(size=shape) + 1j * rng.normal(size=shape))

        return {"lam": drawn(hidden_size), "B": drawn(input_size, hidden_size)}

    def zero_state(self, params: Any, batch_size: int) -> Any:
        return {"s": np.zeros((batch_size, len(params["lam"])), params["lam"].dtype)}

    def run(self, params: Any, xs: Any, state: Any) -> Any:
        states = [state["s"]]
        for x in xs:
            states.append(params["lam"] * states[-1] + x @ params["B"])
        return np.array(states[1:]), {"s": states[-1]}

    def backward(self, params: Any, xs: Any, state: Any, dys: Any, dfinal: Any) -> Any:
        states = [state["s"], *Complex.run(self, params, xs, state)[0]]
        d, ds, dxs = {k: np.zeros_like(v) for k, v in params.items()}, self.sense(dfinal["s"]), np.zeros_like(xs)
        for t in reversed(range(len(xs))):
            ds = ds + self.sense(dys[t])
            d["lam"] += (ds * states[t].conj()).sum(0)
            d["B"] += xs[t].T @ ds
            dxs[t] = (ds @ params["B"].conj().T).real
            ds = ds * self.carry(params["lam"])
        return {k: self.sense(v) for k, v in d.items()}, dxs, {"s": self.sense(ds)}


class ComplexInside(Complex):
    """Its outputs are the real parts of its states."""

    def run(self, params: Any, xs: Any, state: Any) -> Any:
        ys, final = super().run(params, xs, state)
        return ys.real, final


class Conjugates(Complex):
    """Its gradients are dL/dRe - i dL/dIm, and it says so."""

    complex_gradient = "conjugate"
    sense = staticmethod(np.conj)


@pytest.mark.parametrize("form", [Complex, ComplexInside, Conjugates])
def test_complex_numbers_are_judged_by_their_parts_and_a_lost_conjugate_is_found(form: type) -> None:
    run = check(form, isolate=False)
    assert run.exit_code == 0 and not [r for r in run.run.results if r.finding is not None], run.text()
    run = check(type("Lost", (form,), {"carry": staticmethod(lambda lam: lam)}), isolate=False, select=["CON170", "GRD110", "GRD120"])
    assert [r.check for r in run.failed] == ["GRD120"]
    assert run["GRD120"].finding is not None and run["GRD120"].finding.where.tensor in ("s.re0", "s.im0")


def test_a_convention_of_complex_gradients_that_is_not_said_is_found() -> None:
    assert check(type("Unsaid", (Conjugates,), {"complex_gradient": None}), isolate=False, select=["gradient"]).exit_code == 1
    with pytest.raises(UsageError, match="wanted 'conjugate'"):
        adapt(type("Odd", (Conjugates,), {"complex_gradient": "other"}), "odd", None)


def test_a_complex_gradient_of_real_numbers_is_still_of_the_wrong_kind() -> None:
    class Unreal(Elman):
        def backward(self, *given: Any) -> Any:
            d, dxs, dstate = super().backward(*given)
            return {k: v + 0j for k, v in d.items()}, dxs, dstate

    finding = check(Unreal, isolate=False, select=["CON170"])["CON170"].finding
    assert finding is not None and "has dtype complex128, wanted float64" in finding.headline


class Clockwork(Elman):
    """Every second unit moves at even times alone; the time is a state, a whole number for each row."""

    rest = 1.0

    def zero_state(self, params: Any, batch_size: int) -> Any:
        return super().zero_state(params, batch_size) | {"clock": np.zeros(batch_size, np.int64)}

    def run(self, params: Any, xs: Any, state: Any) -> Any:
        tape = self.tape(params, xs, state)
        return np.array([h for *_, h in tape]), {"h": tape[-1][-1], "clock": state["clock"] + len(xs)}

    def tape(self, params: Any, xs: Any, state: Any) -> Any:
        found, h, clock = [], state["h"], state["clock"]
        assert clock.dtype.kind == "i"
        for x in xs:
            moves = (clock[:, None] % (1 + np.arange(h.shape[1]) % 2) == 0).astype(float)
            new = np.tanh(x @ params["W"] + h @ params["U"] + params["b"])
            found.append((x, h, moves, new, moves * new + (1 - moves) * h))
            h, clock = found[-1][-1], clock + 1
        return found

    def backward(self, params: Any, xs: Any, state: Any, dys: Any, dfinal: Any) -> Any:
        d, dxs, dh = {k: np.zeros_like(v) for k, v in params.items()}, np.zeros_like(xs), dfinal["h"]
        for t, (x, h, moves, new, _) in reversed(list(enumerate(self.tape(params, xs, state)))):
            dh = dh + dys[t]
            da = dh * moves * (1 - new**2)
            d["W"], d["U"], d["b"] = d["W"] + x.T @ da, d["U"] + h.T @ da, d["b"] + da.sum(0)
            dxs[t], dh = da @ params["W"].T, da @ params["U"].T + self.rest * (1 - moves) * dh
        return d, dxs, {"h": dh}


def test_a_state_of_whole_numbers_is_handed_in_as_it_is_and_never_moved() -> None:
    run = check(Clockwork, isolate=False)
    assert run.exit_code == 0 and not [r for r in run.run.results if r.finding is not None], run.text()
    finding = check(type("Lost", (Clockwork,), {"rest": 0.0}), isolate=False, select=["GRD110", "GRD120", "GRD130"])["GRD130"].finding
    assert finding is not None and finding.causes[0].fix is not None and "dh" in finding.causes[0].fix


class ComplexNetwork(Complex):
    """The sum of squares of the real part of its last state."""

    run: Any = None

    def batch(self, rng: Any, params: Any, T: int, N: int) -> Any:
        return rng.normal(size=(T, N, len(params["B"]))), np.zeros(N)

    def loss(self, params: Any, inputs: Any, targets: Any, state: Any) -> Any:
        ys, final = Complex.run(self, params, inputs, state)
        dparams, _, _ = super().backward(params, inputs, state, np.zeros_like(ys), {"s": final["s"].real + 0j})
        return 0.5 * (final["s"].real ** 2).sum(), dparams


def test_a_network_with_complex_weights_is_judged_by_their_parts() -> None:
    assert check(ComplexNetwork, isolate=False).exit_code == 0
    wrong = type("Lost", (ComplexNetwork,), {"carry": staticmethod(lambda lam: lam)})
    run = check(wrong, isolate=False, select=["gradient"])
    assert [r.check for r in run.failed] == ["GRD220"]


FORMS = [Cut, CutNorm, BatchFirst, NoFinal, SomeLengths, OwnNames]


@pytest.mark.thorough
@pytest.mark.parametrize("form", FORMS)
def test_each_form_is_judged_right_and_a_mistake_in_it_is_found(form: type) -> None:
    assert check(form, isolate=False).exit_code == 0
    wrong = type(f"Wrong{form.__name__}", (form,), {"factor": 0.9})
    run = check(wrong, isolate=False, select=["LIN110", "LIN120", "GRD110"])
    assert [r.check for r in run.failed] == ["GRD110"]
    finding = run["GRD110"].finding
    assert finding is not None and finding.where.tensor == "U"


def test_a_clip_that_is_never_reached_is_a_warning() -> None:
    run = check(type("Never", (Elman,), {"clip": 0.5}), isolate=False, select=["LIN120"])
    finding = run["LIN120"].finding
    assert finding is not None and "cuts none at 5" in finding.headline
    assert run["LIN120"].severity == "warning" and run.exit_code == 0


class Network(Elman):
    """The sum of squares of the last state, whose gradient is cut."""

    cut: Any = staticmethod(lambda d: {k: np.clip(v, -0.01, 0.01) for k, v in d.items()})
    clip: Any = 0.01
    run: Any = None

    def batch(self, rng: Any, params: Any, T: int, N: int) -> Any:
        return rng.normal(size=(T, N, len(params["W"]))), np.zeros(N)

    def loss(self, params: Any, inputs: Any, targets: Any, state: Any) -> Any:
        ys, final = Elman.run(self, params, inputs, state)
        dparams, _, _ = super().backward(params, inputs, state, np.zeros_like(ys), {"h": final["h"]})
        return 0.5 * (final["h"] ** 2).sum(), type(self).cut(dparams)


def _norm(d: Any) -> Any:
    norm = np.sqrt(sum((v**2).sum() for v in d.values()))
    return {k: v * min(1.0, 0.01 / norm) for k, v in d.items()}


@pytest.mark.thorough
@pytest.mark.every(2)
@pytest.mark.parametrize("said", [{}, {"clip": None, "clip_norm": 0.01, "cut": staticmethod(_norm)}])
def test_a_network_that_cuts_its_gradients_is_judged_without_the_cut(said: Any) -> None:
    assert check(type("Net", (Network,), said), isolate=False).exit_code == 0
    wrong = check(type("Wrong", (Network,), {**said, "factor": 0.5}), isolate=False, select=["GRD210"])
    assert [r.check for r in wrong.failed] == ["GRD210"]


def test_two_clips_are_one_too_many() -> None:
    with pytest.raises(UsageError, match="says clip and clip_norm"):
        adapt(type("Both", (Elman,), {"clip": 1.0, "clip_norm": 1.0}), "t", None)
