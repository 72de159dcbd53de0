"""Switches a mutant on: from then on the import system hands out the changed module.  Its file stays as it is.

As `sitecustomize` on PYTHONPATH it does so in every Python that a test starts, by the word of BPTT_MUTANT, "file|index".
"""

from __future__ import annotations

import ast
import importlib.util
import os
import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any

VARIABLE = "BPTT_MUTANT"


def _operators() -> Any:
    """tests/mutants/operators.py by its path: `tests` is not importable from everywhere."""
    name = "bptt_mutant_operators"
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, Path(__file__).parents[1] / "operators.py")
        assert spec is not None and spec.loader is not None
        sys.modules[name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[name])
    return sys.modules[name]


class _Loader(SourceFileLoader):
    def __init__(self, name: str, file: str, index: int) -> None:
        super().__init__(name, file)
        self.index = index

    def get_code(self, fullname: str) -> CodeType:
        tree = ast.parse(self.get_data(self.path))
        _operators().mutated(tree, self.index)
        return compile(ast.fix_missing_locations(tree), self.path, "exec", dont_inherit=True)

    def exec_module(self, module: ModuleType) -> None:
        module.__dict__["__mutant__"] = self.index
        super().exec_module(module)


class _Finder:
    """Asked before all others, for one file only."""

    def __init__(self, file: str, index: int) -> None:
        self.file, self.index = file, index

    def find_spec(self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None) -> ModuleSpec | None:
        if path is None or name.rpartition(".")[2] != Path(self.file).stem:
            return None
        spec = PathFinder.find_spec(name, path, target)
        if spec is None or spec.origin is None or os.path.realpath(spec.origin) != self.file:
            return None
        return importlib.util.spec_from_file_location(name, self.file, loader=_Loader(name, self.file, self.index))


def install(file: str, index: int) -> None:
    """In this process, and in those that it starts."""
    real = os.path.realpath(file)
    sys.meta_path.insert(0, _Finder(real, index))
    os.environ[VARIABLE] = f"{real}|{index}"
    here = str(Path(__file__).parent)
    others = [path for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path and path != here]
    os.environ["PYTHONPATH"] = os.pathsep.join([here, *others])


if VARIABLE in os.environ and __name__ == "sitecustomize":
    _file, _, _index = os.environ[VARIABLE].rpartition("|")
    install(_file, int(_index))
