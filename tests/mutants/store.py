"""What is known of each mutant, a line as it is known, so that a run that is stopped goes on where it was."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from tests.mutants.operators import Mutant
from tests.mutants.session import top_level

CLOSES_OVER = "free vars"


class Store:
    """again: verdicts that are asked once more; a later line of a mutant takes the place of an earlier one."""

    def __init__(self, path: Path, again: Sequence[str]) -> None:
        self.path, self.again = path, tuple(again)
        self.found: dict[str, dict[str, Any]] = {}
        self.plants: dict[str, dict[str, Any]] = {}
        self.tests: dict[str, bool] = {}
        self.fresh: set[str] = set()
        for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else []:
            self._take(json.loads(line))
        self.fresh.clear()

    def _take(self, line: dict[str, Any]) -> None:
        if "test" in line:
            self.tests[line["test"]] = line["sound"]
        elif line["planted"]:
            self.plants[line["planted"]] = line["said"]
        else:
            self.found[line["key"]] = line["said"] | {"file": line["file"]}
            self.fresh.add(line["key"])

    def _append(self, line: dict[str, Any]) -> None:
        self._take(line)
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")

    def add(self, name: str, mutant: Mutant, said: dict[str, Any]) -> None:
        line = {
            "key": _key(mutant),
            "planted": name,
            "file": mutant.file,
            "line": mutant.line,
            "mutant": f"{mutant.before} -> {mutant.after}",
        }
        self._append({**line, "said": said})

    def sound(self, test: str, is_sound: bool) -> None:
        self._append({"test": test, "sound": is_sound})

    def is_sound(self, test: str) -> bool:
        """Whether the test was seen to pass without a mutant."""
        return self.tests.get(test, False)

    def is_open(self, mutant: Mutant) -> bool:
        said = self.found.get(_key(mutant))
        return said is None or _closes_over(said) or (said["verdict"] in self.again and _key(mutant) not in self.fresh)

    def of(self, mutant: Mutant) -> dict[str, Any] | None:
        """The fields of `Judged` but the mutant; a kill by a test that fails without a mutant too is none."""
        said = self.found.get(_key(mutant))
        if said is None:
            return None
        said = {name: value for name, value in said.items() if name != "file"}
        if said["verdict"] == "killed" and self.tests.get(said["by"]) is False:
            return {**said, "verdict": "error", "by": f"{said['by']} fails without a mutant too"}
        return said

    def named(self, planted: str) -> dict[str, Any] | None:
        return self.plants.get(planted)

    def killed(self, file: str | None = None) -> Iterator[dict[str, Any]]:
        return (said for said in self.found.values() if said["verdict"] == "killed" and file in (None, said["file"]))

    def to_be_imported(self, planted: str, mutant: Mutant) -> bool:
        if planted:
            return "imported" in planted
        said = self.found.get(_key(mutant))
        return (said is not None and _closes_over(said)) or mutant.line in top_level(mutant.file)


def _closes_over(said: dict[str, Any]) -> bool:
    return said["verdict"] == "error" and CLOSES_OVER in str(said["by"])


@cache
def _source(file: str) -> str:
    return hashlib.sha256(Path(file).read_bytes()).hexdigest()[:16]


def _key(mutant: Mutant) -> str:
    return f"{Path(mutant.file).parent.name}/{Path(mutant.file).name}|{_source(mutant.file)}|{mutant.index}"
