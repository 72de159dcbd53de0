from __future__ import annotations

from importlib.metadata import EntryPoint

import numpy as np
import pytest

from bptt.harness.adapters import GROUP, OURS, adapt, adapters
from bptt.harness.adapters.objects import raised_at
from bptt.harness.errors import UsageError


def point(name: str, value: str = "somewhere:adapt") -> EntryPoint:
    return EntryPoint(name, value, GROUP)


def test_third_parties_are_asked_first_and_ours_in_order() -> None:
    names = [p.name for p in adapters([point("zeta"), point("middle"), point("alpha")])]
    assert names == ["alpha", "middle", "zeta", *OURS]


def test_a_third_partys_adapter_has_a_name_of_its_own() -> None:
    with pytest.raises(UsageError, match="somewhere:adapt is called 'contract' as one of bptt's own adapters is"):
        adapters([point("contract")])


def test_two_adapters_of_one_name_are_an_error() -> None:
    with pytest.raises(UsageError, match="two adapters are called 'mine': a:adapt and b:adapt"):
        adapters([point("mine", "a:adapt"), point("mine", "b:adapt")])


def test_what_nobody_takes_is_an_error() -> None:
    with pytest.raises(UsageError, match="no adapter takes an object of type int"):
        adapt(3, "three")


class Predictor:
    """It has no pass that is known, and names what it has."""

    def fit(self, xs: object, ys: object) -> None: ...

    def predict(self, xs: object) -> None: ...


def test_a_class_that_nobody_takes_is_told_with_its_methods() -> None:
    with pytest.raises(UsageError, match=r"no adapter takes the class Predictor with fit\(xs, ys\), predict\(xs\), wanted"):
        adapt(Predictor, "t")


def test_what_a_library_raises_is_told_at_the_line_that_calls_it() -> None:
    try:
        np.not_there  # type: ignore[attr-defined]  # noqa: B018 - it raises
    except AttributeError as error:
        assert raised_at(error).endswith(f"({__file__}:{error.__traceback__.tb_lineno})" if error.__traceback__ else "")
