"""What the README shows is what happens.   `python tests/test_readme.py` writes its first example anew."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(after: str, language: str) -> list[str]:
    """The fenced blocks of a language that follow a marker, up to the next heading."""
    part = README.split(f"<!-- {after} -->", 1)[1].split("\n## ", 1)[0]
    return re.findall(rf"```{language}\n(.*?)```", part, re.S)


def stable(text: str) -> list[str]:
    """Lines without what differs between runs and machines: times, spacing, where the repository lies, last digits."""
    text = text.replace(f"{ROOT}/", "")
    text = re.sub(r"\d+(\.\d+)? m?s\b", "TIME", text)
    text = re.sub(r"\d(\.\d)?e-1\d", "TINY", text)
    return [" ".join(line.split()) for line in text.splitlines() if line.strip()]


def run(line: str) -> subprocess.CompletedProcess[str]:
    """`$ bptt ...`, run in the repository."""
    command = [sys.executable, "-m", "bptt.harness.cli.main", *line.split()[2:]]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, encoding="utf-8", check=False)


def test_the_first_example_is_what_bptt_says() -> None:
    (shown,) = blocks("wrong", "text")
    line, _, said = shown.partition("\n")
    assert line == "$ bptt check examples/numpy_gru_wrong.py:GRU"
    done = run(line)
    assert done.returncode == 1
    assert done.stderr == ""
    assert stable(said) == stable(done.stdout)


def test_the_two_commands_do_their_own_set_up() -> None:
    report, tests = (block.strip().split(" && ") for block in blocks("commands", "sh"))
    assert report[:-1] == tests[:-1] == ["python3 -m venv .venv", ".venv/bin/pip install -c constraints.txt -e '.[test]'"]
    assert (report[-1], tests[-1]) == (".venv/bin/bptt check", ".venv/bin/pytest -n auto")


def test_the_configuration_it_shows_is_read() -> None:
    from bptt.harness.config import parse

    (shown,) = re.findall(r"```toml\n(.*?)```", README, re.S)
    config = parse(tomllib.loads(shown)["tool"]["bptt"], "README")
    assert len(config.targets) == 2
    assert config.expect


def test_its_numbers_are_those_of_the_code() -> None:
    import bptt
    from bptt.harness.known import BACKWARD, FORWARD, NETWORKS, STACKS
    from bptt.harness.training.mistakes import VARIANTS
    from bptt.refimpl.cells import CELLS

    mistakes = {each.name for group in (BACKWARD, FORWARD, NETWORKS, STACKS, *VARIANTS.values()) for each in group}
    said = re.search(r"each of the (\d+) reference cells, (\d+) checks and (\d+) known mistakes", " ".join(README.split()))
    assert said and [int(n) for n in said.groups()] == [len(CELLS), len(bptt.catalogue()), len(mistakes)]
    assert re.findall(r"(\d+) conventions", README) == [str(len(bptt.conventions()))]


def test_what_stands_before_its_reference_is_short_and_has_three_pictures() -> None:
    first = README.partition("\n# Reference\n")[0]
    assert len(re.sub(r"```.*?```", "", first, flags=re.DOTALL).split()) <= 450
    pictures = re.findall(r"!\[[^\]]+\]\(([^)]+)\)", first)
    assert len(pictures) == 3
    assert all((ROOT / picture).is_file() for picture in pictures)


if __name__ == "__main__":
    (old,) = blocks("wrong", "text")
    first = old.partition("\n")[0]
    new = f"{first}\n{run(first).stdout.replace(f'{ROOT}/', '').rstrip()}\n"
    (ROOT / "README.md").write_text(README.replace(old, new), encoding="utf-8")
