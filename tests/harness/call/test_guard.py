from __future__ import annotations

from collections.abc import Callable
from types import FunctionType

import pytest

from bptt.harness.call import guard


def defined(text: str, file: str, **known: object) -> FunctionType:
    """The function f that `text` defines, as if it stood in `file`."""
    names = dict(known)
    exec(compile(text, file, "exec"), names)
    found = names["f"]
    assert isinstance(found, FunctionType)
    return found


OURS = f"{guard.__file__}.py"
USERS = defined("def f(): 1 / 0", "/home/user/cell.py")
HELPER = defined("def f(): 1 / 0", "/home/third/helper.py")


def through_bptt(function: Callable[[], None]) -> FunctionType:
    return defined("def f(): g()", OURS, g=function)


@pytest.mark.parametrize(
    ("check", "place"),
    {
        "ours": (defined("def f(): g()", OURS, g=USERS), "/home/user/cell.py:1"),
        "ours, its own fault": (defined("def f(): 1 / 0", OURS), ""),
        "theirs, its own fault": (defined("def f(): 1 / 0", "/home/third/check.py"), ""),
        "theirs, its helper's fault": (defined("def f(): g()", "/home/third/check.py", g=HELPER), ""),
        "theirs, bptt's fault": (defined("def f(): g()", "/home/third/check.py", g=defined("def f(): 1 / 0", OURS)), ""),
        "theirs, the subject's fault": (defined("def f(): g()", "/home/third/check.py", g=through_bptt(USERS)), "/home/user/cell.py:1"),
        "theirs, by way of a helper": (
            defined("def f(): g()", "/home/third/check.py", g=defined("def f(): g()", "/home/third/helper.py", g=through_bptt(USERS))),
            "/home/user/cell.py:1",
        ),
        "theirs, called back by bptt": (
            defined("def f(): g(lambda: 1 / 0)", "/home/third/check.py", g=defined("def f(h): h()", OURS)),
            "",
        ),
    }.values(),
)
def test_what_a_check_raises_is_the_subjects_where_it_comes_from_beneath_bptt(check: FunctionType, place: str) -> None:
    with pytest.raises(ZeroDivisionError) as caught:
        check()
    assert guard.place_in_subject(caught.value) == place


def test_what_is_said_of_an_object_has_no_address() -> None:
    assert guard.said(ValueError(f"got {object()!r}, wanted a number")) == "ValueError: got <object object>, wanted a number"


def test_a_first_line_that_only_says_where_is_followed_by_the_last() -> None:
    text = "at 95:16:\n    p_dh0 = dh0 + i\n            ^\nIncompatibleTypeError('dh0 is None')"
    assert guard.first_line(ValueError(text)) == "at 95:16: IncompatibleTypeError('dh0 is None')"
    assert guard.first_line(ValueError("wanted 3 rows\n  got 4")) == "wanted 3 rows"
