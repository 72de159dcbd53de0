from __future__ import annotations

import types
from pathlib import Path
from typing import Any

import pytest

from bptt.harness.adapters.contract import adapt
from bptt.harness.errors import UsageError
from bptt.harness.run.runner import check
from tests.harness.checks.planted import Clean


class Cell:
    def init(self, rng: Any, input_size: int, hidden_size: int) -> Any: ...
    def zero_state(self, params: Any, batch_size: int) -> Any: ...
    def run(self, params: Any, xs: Any, state: Any) -> Any: ...
    def backward(self, params: Any, xs: Any, state: Any, dys: Any, dfinal_state: Any) -> Any: ...


class Network:
    def init(self, rng: Any, input_size: int, hidden_size: int) -> Any: ...
    def zero_state(self, params: Any, batch_size: int) -> Any: ...
    def batch(self, rng: Any, params: Any, T: int, N: int) -> Any: ...
    def loss(self, params: Any, inputs: Any, targets: Any, state: Any) -> Any: ...


def without(base: type, *names: str, **more: Any) -> type:
    methods = {k: v for k, v in vars(base).items() if not k.startswith("__") and k not in names}
    return type("Made", (), methods | more)


def test_a_class_an_instance_a_factory_and_a_module_are_taken() -> None:
    module = types.ModuleType("my.cells")
    for name in ("init", "zero_state", "run"):
        setattr(module, name, vars(Cell)[name])

    def factory() -> Cell:
        return Cell()

    for target, name, gradients in (
        (Cell, "Cell", True),
        (Cell(), "Cell", True),
        (factory, "factory", True),
        (module, "cells", False),
    ):
        subject = adapt(target, "t", None)
        assert subject is not None and subject.kind == "cell" and subject.name == name
        assert ("backward" in subject.capabilities) is gradients


def test_a_network_has_gradients() -> None:
    subject = adapt(Network, "t", None)
    assert subject is not None
    assert subject.kind == "network" and "backward" in subject.capabilities


def test_source_is_the_line_of_backward() -> None:
    subject = adapt(Cell, "t", None)
    assert subject is not None and subject.source is not None
    file, line = subject.source
    assert file == __file__ and "def backward" in Path(file).read_text().splitlines()[line - 1]


def test_optional_attributes_are_taken_over() -> None:
    options: dict[str, Any] = {
        "batch_sizes": (1,),
        "square": True,
        "dtype": "float32",
        "dys_scale": 0.1,
        "truncation": 4,
        "lengths": True,
        "bidirectional": True,
    }
    subject = adapt(without(Cell, **options), "t", None)
    assert subject is not None
    assert {name: getattr(subject, name) for name in options} == options


@pytest.mark.parametrize(
    ("target", "words"),
    [
        (without(Cell, "zero_state"), "no zero_state wanted zero_state\\(params, batch_size\\) -> state"),
        (without(Cell, "run", forwrd=1), "no run"),
        (without(Cell, "backward", backwards=Cell.backward), "has backwards but no backward, did you mean backward\\?"),
        (without(Cell, "zero_state", zero_states=Cell.zero_state), "it has zero_states: did you mean zero_state\\?"),
        (without(Network, "batch"), "no batch wanted batch\\(rng, params, T, N\\)"),
        (without(Cell, batch_sizes=1), "batch_sizes is 1, wanted a tuple of sizes"),
        (without(Cell, square=1), "square is 1, wanted True or False"),
        (without(Cell, dtype="float16"), "dtype is 'float16', wanted one of float32"),
        (without(Cell, dys_scale=-1), "dys_scale is -1, wanted a positive number"),
        (without(Cell, dys_scale=1e-300), "dys_scale is 1e-300, wanted a number from 1e-30 to 1e30"),
        (without(Cell, truncation=-1), "truncation is -1, wanted the largest lag as a whole number"),
        (without(Cell, like="lstn"), "like is 'lstn', did you mean 'lstm"),
        (without(Cell, __init__=lambda self, size: None), "Made\\(\\) failed with TypeError"),
    ],
)
def test_a_near_miss_is_one_clear_line(target: Any, words: str) -> None:
    with pytest.raises(UsageError, match=words) as error:
        adapt(target, "cells.py:Made", None)
    assert str(error.value).startswith("cells.py:Made") and "\n" not in str(error.value)


def test_constructor_arguments() -> None:
    class Sized(Cell):
        def __init__(self, window: int) -> None:
            self.truncation = window

    subject = adapt(Sized, "t", {"window": 3})
    assert subject is not None and subject.truncation == 3
    with pytest.raises(UsageError, match="made already"):
        adapt(Cell(), "t", {"window": 3})


@pytest.mark.parametrize("other", [3, "text", dict, types.ModuleType("empty"), without(Cell, "zero_state", "run")])
def test_other_things_are_not_mine(other: Any) -> None:
    assert adapt(other, "t", None) is None


def test_a_method_that_is_called_as_a_claim_is_none() -> None:
    subject = adapt(without(Cell, clip=lambda self, gradients: gradients, lengths=lambda self: 3), "t", None)
    assert subject is not None and subject.clip is None and not subject.lengths


def test_a_cell_says_what_it_need_not_be_and_why() -> None:
    class Mixing(Clean):
        exempt = {"rows": "batch norm"}  # noqa: RUF012  # as a user writes it

        def run(self, params: Any, xs: Any, state: Any) -> Any:
            return super().run(params, xs - 0.1 * xs.mean(1, keepdims=True), state)

    run = check(Mixing, isolate=False, select=["BAT100"], level="smoke")
    assert run["BAT100"].reason == "exempt from 'rows': batch norm"
    Mixing.exempt = {"rows": 1}  # type: ignore[dict-item]  # a mistake
    with pytest.raises(UsageError, match=r"exempt is \{'rows': 1\}, wanted a reason for each property"):
        adapt(Mixing(), "t", None)
    Mixing.exempt = {"row": "batch norm"}
    with pytest.raises(UsageError, match=r"exempt says 'row', did you mean 'rows'\?; wanted one of causal, rows, split"):
        adapt(Mixing(), "t", None)
