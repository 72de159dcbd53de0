"""[tool.bptt] of a pyproject.toml."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from bptt.harness.config import Config, TargetEntry, parse, read
from bptt.harness.errors import UsageError


def test_a_section_with_everything(tmp_path: Path) -> None:
    path = tmp_path / "pyproject.toml"
    path.write_text("""
        [tool.bptt]
        level = "full"
        targets = ["pkg.gru:GRU", {target = "torch.nn:LSTM", args = {num_layers = 2}, like = "lstm"}]
        [tool.bptt.expect.GRD110]
        code = "PRECISION_LOSS"
        reason = "sums are kept in float32"
        expires = 2027-01-31
    """)
    assert read(path) == Config(
        targets=(TargetEntry("pkg.gru:GRU"), TargetEntry("torch.nn:LSTM", {"num_layers": 2}, "lstm")),
        level="full",
        expect={"GRD110": {"code": "PRECISION_LOSS", "reason": "sums are kept in float32", "expires": "2027-01-31"}},
    )


def test_no_file_and_no_section_ask_for_nothing(tmp_path: Path) -> None:
    assert read(tmp_path / "pyproject.toml") == Config()
    (tmp_path / "pyproject.toml").write_text("[project]\nname = 'x'\n")
    assert read(tmp_path / "pyproject.toml") == Config()


@pytest.mark.parametrize(
    ("section", "words"),
    [
        ({"target": []}, "unknown key 'target', did you mean 'targets'?"),
        ({"targets": "a:B"}, "targets is a str, wanted a list"),
        ({"targets": [3]}, r"targets\[0\]: got a int, wanted a string or a table"),
        ({"targets": [{"args": {}}]}, r"targets\[0\]: target is missing"),
        ({"targets": [{"target": "a:B", "arg": {}}]}, "unknown key 'arg', did you mean 'args'?"),
        ({"targets": [{"target": "a:B", "args": 2}]}, "args: got a int, wanted a table"),
        ({"targets": [{"target": "a:B", "like": 2}]}, "like is a int, wanted the name"),
        ({"level": "standart"}, "got level 'standart', did you mean 'standard'?"),
        ({"expect": {"GRD110": {"code": "BUG"}}}, r"expect\.GRD110: reason is missing"),
        ({"expect": {"GRD110": {"code": "BUG", "reason": "x", "expires": "soon"}}}, "got expires 'soon', wanted a date"),
        ({"expect": {"GRD110": {"code": "BUGS", "reason": "x"}}}, r"expect\.GRD110: got code 'BUGS', did you mean 'BUG'\?"),
        ("x", "got a str, wanted a table"),
    ],
)
def test_a_mistake_is_named_in_one_line(section: object, words: str) -> None:
    with pytest.raises(UsageError, match=words) as caught:
        parse(section, "pyproject.toml [tool.bptt]")
    assert str(caught.value).startswith("pyproject.toml [tool.bptt]")
    assert "\n" not in str(caught.value)


def test_a_time_of_day_is_a_date_too() -> None:
    entry = {"code": "BUG", "reason": "x", "expires": datetime(2099, 1, 1, 12, tzinfo=UTC)}
    assert parse({"expect": {"GRD110": entry}}, "").expect["GRD110"]["expires"] == "2099-01-01"


def test_a_file_that_is_not_toml_is_named(tmp_path: Path) -> None:
    path = tmp_path / "pyproject.toml"
    path.write_text("[tool.bptt")
    with pytest.raises(UsageError, match=r"pyproject\.toml: not readable as TOML"):
        read(path)


def test_the_targets_of_this_repository_are_well_formed() -> None:
    root = Path(__file__).parents[2]
    config = read(root / "pyproject.toml")
    assert len(config.targets) > 10
    for entry in config.targets:
        place, _, name = entry.target.partition(":")
        assert name or place == "refimpl"
        assert not place.endswith(".py") or (root / place).is_file()
