from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest

import bptt
from bptt.harness.call.network import as_cell
from bptt.harness.cases import Case, admissible
from bptt.harness.checks.context import CheckContext
from bptt.harness.diagnosis import network as diagnosis
from bptt.harness.diagnosis.network import causes, lay_over
from bptt.harness.known import NETWORKS
from bptt.harness.known.mistake import KnownMistake
from bptt.harness.known.network import loss_and_gradients, truncated
from bptt.harness.known.plant import plant
from bptt.harness.subject import Array, Arrays, Subject
from bptt.harness.targets import load
from bptt.reports.records import Cause


def planted(bug: KnownMistake) -> Any:
    return plant(bug).function("harness.known.network.loss_and_gradients")


ALL = (*NETWORKS, truncated(0), truncated(2))


@dataclass
class Network:
    """The tutorial's network with a bug or none.   columns: weights the other way round and biases (n, 1), as texts have them"""

    bug: KnownMistake | None = None
    columns: bool = False
    biases: bool = True
    act: str = "tanh"
    scale: str = "sum"
    names: dict[str, str] = field(default_factory=lambda: {"Wx": "U", "Wh": "W", "Wy": "V", "bh": "b", "by": "c"})

    def init(self, rng: np.random.Generator, input_size: int, hidden_size: int) -> dict[str, Array]:
        C, H = input_size, hidden_size
        shapes = {"Wx": (C, H), "Wh": (H, H), "Wy": (H, C)} | ({"bh": (H,), "by": (C,)} if self.biases else {})
        return self._own({name: rng.normal(scale=0.5, size=shape) for name, shape in shapes.items()})

    def zero_state(self, params: Arrays, batch_size: int) -> dict[str, Array]:
        return {"h": np.zeros((batch_size, len(params["W"])))}

    def batch(self, rng: np.random.Generator, params: Arrays, T: int, N: int) -> tuple[Array, Array]:
        C = params["U"].shape[1 if self.columns else 0]
        words = rng.integers(C, size=(T + 1, N))
        return words[:-1], words[1:]

    def loss(self, params: Arrays, inputs: Array, targets: Array, state: Arrays) -> tuple[float, dict[str, Array]]:
        p = {key: (params[n].reshape(-1) if key[0] == "b" else self._turned(params[n])) for key, n in self.names.items() if n in params}
        C, H = len(p["Wx"]), p["Wx"].size // len(p["Wx"])
        whole = {"bh": np.zeros(H, p["Wx"].dtype), "by": np.zeros(C, p["Wx"].dtype)} | p
        run = loss_and_gradients if self.bug is None else planted(self.bug)
        loss, g = run(whole, inputs, targets, state["h"], self.act)
        factor = {"sum": 1.0, "mean": 1 / inputs.size}[self.scale]
        return factor * loss, {name: factor * d for name, d in self._own({key: g[key] for key in p}).items()}

    def _own(self, p: Arrays) -> dict[str, Array]:
        def column(value: Array) -> Array:
            return value.reshape(-1, 1) if self.columns else value

        return {self.names[key]: column(v) if v.ndim == 1 else self._turned(v) for key, v in p.items()}

    def _turned(self, value: Array) -> Array:
        return value.T.copy() if self.columns else value


def examined(network: Network, case: Case) -> tuple[Subject, tuple[Cause, ...]]:
    subject = load(network)[0]
    case = admissible(subject, case)
    e = CheckContext(subject).examine(case, ("params",), 2)
    return subject, causes(as_cell(subject, case).implementation, e.data, e.cotangents, e.gradients)


@pytest.mark.every(5)
@pytest.mark.parametrize("columns", [False, True], ids=["rows", "columns"])
@pytest.mark.parametrize("bug", ALL, ids=lambda bug: bug.name)
def test_each_mistake_is_named(bug: KnownMistake, columns: bool) -> None:
    found = examined(Network(bug, columns), Case(T=6, N=3, D=4, H=5))[1]
    assert bug.name in [cause.code for cause in found]
    assert found[0].score == 1.0
    assert "W_hh" not in found[0].hypothesis + found[0].fix  # in the network's own names


@pytest.mark.parametrize("bug", ALL, ids=lambda bug: bug.name)
def test_each_mistake_changes_the_tensors_that_it_says(bug: KnownMistake) -> None:
    rng = np.random.default_rng(0)
    p = Network().init(rng, 4, 5)
    p = {"Wx": p["U"], "Wh": p["W"], "Wy": p["V"], "bh": p["b"], "by": p["c"]}
    words = rng.integers(4, size=(7, 3))
    right = loss_and_gradients(p, words[:-1], words[1:], np.zeros((3, 5)), "tanh")[1]
    wrong = planted(bug)(p, words[:-1], words[1:], np.zeros((3, 5)), "tanh")[1]
    changed = {name for name in right if not np.allclose(right[name], wrong[name])}
    assert changed and (not bug.where.tensors or changed == set(bug.where.tensors.split()))


RIGHT = (Network(), Network(columns=True), Network(biases=False), Network(act="sigmoid"), Network(scale="mean"))


@pytest.mark.parametrize("network", RIGHT)
def test_a_right_network_is_laid_over_and_has_no_mistake(network: Network) -> None:
    subject, found = examined(network, Case(T=4))
    assert found == ()
    case = admissible(subject, Case(T=4))
    layout = lay_over(as_cell(subject, case).implementation, CheckContext(subject).examine(case, ("params",), 1).data)
    assert layout is not None
    assert (layout.act, round(1 / layout.factor)) == (network.act, 1 if network.scale == "sum" else 8)


def test_another_network_gets_no_name() -> None:
    from bptt.refimpl.models import regressor
    from bptt.refimpl.models.language_model import LanguageModel

    for model in (LanguageModel(("lstm",)), LanguageModel(("elman", "elman")), regressor):
        subject = load(model)[0]
        case = admissible(subject, Case())
        e = CheckContext(subject).examine(case, ("params",), 1)
        assert diagnosis.lay_over(as_cell(subject, case).implementation, e.data) is None


@pytest.mark.thorough
def test_the_finding_has_the_cause() -> None:
    bug = next(bug for bug in NETWORKS if bug.name == "dwh-of-new-h")
    run = bptt.check(Network(bug, columns=True), isolate=False).run
    (failed,) = [result for result in run.results if result.status == "failed"]
    assert failed.finding is not None and failed.finding.where.tensor == "W"
    assert failed.finding.causes[0].hypothesis == "dW is built with h_t and not with h_(t-1)"
