"""A mutant inside a function that is loaded already: its code is put in the place of the old one, so nothing is imported anew."""

from __future__ import annotations

import ast
import gc
from collections.abc import Iterable, Iterator
from types import CodeType, FunctionType

from tests.mutants.operators import mutated


def functions_of(files: Iterable[str]) -> dict[str, list[FunctionType]]:
    """The functions of each file as they stand in this process, wherever they are referred to from."""
    found: dict[str, list[FunctionType]] = {file: [] for file in files}
    for thing in gc.get_objects():
        if type(thing) is FunctionType and thing.__code__.co_filename in found:
            found[thing.__code__.co_filename].append(thing)
    return found


def put_in(functions: Iterable[FunctionType], source: str, file: str, index: int) -> int:
    """Give every function of a file the code that it has with the `index`-th mutant; how many changed.

    Raises ValueError where a function closes over other names than before: such a mutant is to be imported.
    """
    tree = ast.parse(source)
    mutated(tree, index)
    new = {(code.co_qualname, code.co_firstlineno): code for code in _codes(compile(ast.fix_missing_locations(tree), file, "exec"))}
    changed = 0
    for function in functions:
        code = new.get((function.__code__.co_qualname, function.__code__.co_firstlineno))
        if code is not None and code != function.__code__:
            function.__code__ = code
            changed += 1
    return changed


def _codes(code: CodeType) -> Iterator[CodeType]:
    for inner in code.co_consts:
        if isinstance(inner, CodeType):
            yield inner
            yield from _codes(inner)
