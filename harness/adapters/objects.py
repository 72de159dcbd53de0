"""What several adapters need to know about a user's object: its names, its methods, where it stands, how it is built."""

from __future__ import annotations

import ast
import functools
import inspect
import re
import sys
import sysconfig
import textwrap
import traceback
import types
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from bptt.harness.errors import UsageError
from bptt.harness.subject import EXEMPTIONS, PARTS
from bptt.harness.words import near_miss


def text_of(error: BaseException) -> str:
    """What an error says; of an assertion that says nothing the line that it is."""
    if text := str(error).strip():
        return text
    frames = traceback.extract_tb(error.__traceback__) if isinstance(error, AssertionError) else []
    return str(frames[-1].line or "") if frames else ""


def known_cell(name: object, where: str) -> str:
    """`name`, if it is one of the published cells, or of the parts of a training loop.  Raises UsageError."""
    from bptt.refimpl import CELLS

    if not isinstance(name, str):
        raise UsageError(f"{where}: like is {name!r}, wanted the name of a published cell, such as 'lstm'")
    if name not in CELLS and name not in PARTS:
        hint = near_miss(name, [*CELLS, *PARTS]) or ","
        raise UsageError(f"{where}: like is {name!r}{hint} wanted one of {', '.join([*sorted(CELLS), *PARTS])}")
    return name


def known_recurrence(name: str, where: str) -> str:
    """`name`, if it is one of the reference recurrences.  Raises UsageError."""
    from bptt.refimpl.scans import SCANS

    if name not in SCANS:
        raise UsageError(f"{where}: like is {name!r}{near_miss(name, SCANS) or ','} wanted one of {', '.join(sorted(SCANS))}")
    return name


def short_name(obj: object) -> str:
    """A name for ids, never with an address in it."""
    if isinstance(obj, types.ModuleType):
        return obj.__name__.rpartition(".")[2]
    if isinstance(obj, functools.partial):
        return short_name(obj.func)
    named = obj if isinstance(obj, type | types.FunctionType) else type(obj)
    return named.__name__.strip("<>")


def is_factory(obj: object) -> bool:
    """A function, or a partial one, that makes the object: not itself the implementation."""
    return isinstance(obj, types.FunctionType | types.MethodType | functools.partial)


def is_torch(obj: object) -> bool:
    """Whether a class of torch's stands among the object's classes, told without importing torch."""
    classes = obj.__mro__ if isinstance(obj, type) else type(obj).__mro__
    return any(str(c.__module__).partition(".")[0] == "torch" for c in classes)


def attribute(obj: object, name: str, default: Any = None) -> Any:
    """`obj.name`, `default` where there is none or where asking raises: properties of frameworks raise whatever they like."""
    try:
        return getattr(obj, name, default)
    except Exception:  # a foreign property
        return default


def has(obj: object, method: str) -> bool:
    return callable(attribute(obj, method))


def source_of(obj: object, *methods: str) -> tuple[str, int] | None:
    """File and line of the first of `methods` that has Python source, else of the object's class."""
    owner = obj if isinstance(obj, type | types.ModuleType | types.FunctionType) else type(obj)
    for candidate in (*(attribute(owner, method) for method in methods), owner):
        try:
            file, (_, line) = inspect.getsourcefile(candidate), inspect.getsourcelines(candidate)
        except (TypeError, OSError):
            continue
        if file:
            return file, max(line, 1)
    return None


#: Where Python's own modules stand, and those that were installed: what is raised in one of them is told at the line that calls it.
_LIBRARY = re.compile(r"[/\\](site|dist)-packages[/\\]|^" + re.escape(sysconfig.get_paths()["stdlib"]))


def is_users(frame: types.FrameType) -> bool:
    """Whether a frame is of code of the user's: it stands in no installed package, and is none of Python's, nor ours."""
    file, module = frame.f_code.co_filename, str(frame.f_globals.get("__name__", ""))
    return not file.startswith("<") and _LIBRARY.search(file) is None and module.partition(".")[0] not in {"bptt", "importlib"}


def raised_at(error: BaseException) -> str:
    """'TypeError: message (cells.py:12)', the place being the innermost one in the user's own code."""
    places: list[tuple[bool, str]] = []
    traceback = error.__traceback__
    while traceback is not None:
        file = traceback.tb_frame.f_code.co_filename
        module = str(traceback.tb_frame.f_globals.get("__name__", ""))
        if not file.startswith("<") and module.partition(".")[0] not in {"bptt", "importlib"}:
            places.append((_LIBRARY.search(file) is not None, f" ({file}:{traceback.tb_lineno})"))
        traceback = traceback.tb_next
    place = next((at for installed, at in reversed(places) if not installed), places[-1][1] if places else "")
    message = " ".join(str(error).split())
    if isinstance(error, SyntaxError):
        message, place = error.msg, "" if error.lineno is None else f" ({error.filename}:{error.lineno})"
    return f"{type(error).__name__}{': ' if message else ''}{message[:200]}{place}"


def construct(obj: Any, spec: str, args: Mapping[str, object] | None) -> Any:
    """`obj(**args)`.  Raises UsageError in one line where that fails."""
    try:
        return obj(**(args or {}))
    except Exception as error:  # whatever the user's constructor raises is reported as it is
        given = f"{short_name(obj)}({', '.join(f'{k}={v!r}' for k, v in (args or {}).items())})"
        raise UsageError(f"{spec}: {given} failed with {raised_at(error)}, wanted an object") from error


def given_size(value: object, name: str, spec: str) -> int:
    """A size among the user's arguments.  Raises UsageError where it is no positive whole number."""
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise UsageError(f"{spec}: got {name} = {value!r}, wanted a whole number of at least 1")
    return value


def reasons(value: object, where: str, name: str) -> dict[str, str]:
    """What code says it need not be, and why; UsageError for what is no property, or has no reason."""
    if not isinstance(value, Mapping) or not all(isinstance(each, str) for pair in value.items() for each in pair):
        raise UsageError(f"{where}.{name} is {value!r}, wanted a reason for each property: {{'rows': 'batch norm'}}")
    for each in value:
        if each not in EXEMPTIONS and not each.startswith("gradient of "):
            wanted = f"wanted one of {', '.join(EXEMPTIONS)}, or 'gradient of' an input"
            raise UsageError(f"{where}.{name} says {each!r}{near_miss(each, EXEMPTIONS)}; {wanted}")
    return dict(value)


def required(function: Any) -> list[str] | None:
    """Names of the arguments that a call must give, None where Python cannot tell."""
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return None
    return [p.name for p in parameters if p.default is p.empty and p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]


def words_for(cls: object, name: str) -> list[str]:
    """The words that a class's own code holds an argument of its constructor against: `kind == "gru"`, `mode in self.modes`."""
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(cls)))  # type: ignore[arg-type]  # TypeError where it has no source
    except (OSError, TypeError, SyntaxError):
        return []
    found: list[object] = []

    def is_it(node: ast.expr) -> bool:
        while isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and not node.args:  # kind.lower()
            node = node.func.value
        return isinstance(node, ast.Name | ast.Attribute) and ast.unparse(node) in (name, f"self.{name}", f"self._{name}")

    def words_in(node: ast.expr) -> Iterator[object]:
        if isinstance(node, ast.Constant):
            yield node.value
        elif isinstance(node, ast.Tuple | ast.List | ast.Set):
            yield from (v for element in node.elts for v in words_in(element))
        elif isinstance(node, ast.Dict):
            yield from (v for key in node.keys if key is not None for v in words_in(key))
        elif isinstance(node, ast.Attribute | ast.Name):
            last = node.attr if isinstance(node, ast.Attribute) else node.id
            held = getattr(cls, last, vars(sys.modules.get(str(getattr(cls, "__module__", "")), ast)).get(last))
            yield from held if isinstance(held, list | tuple | set | frozenset | dict) else ()

    for node in ast.walk(tree):
        if isinstance(node, ast.Compare) and len(node.ops) == 1:
            sides = (node.left, node.comparators[0])
            found += [v for one, other in (sides, sides[::-1]) if is_it(one) for v in words_in(other)]
        elif isinstance(node, ast.Subscript) and is_it(node.slice):
            found += words_in(node.value)
        elif isinstance(node, ast.Match) and is_it(node.subject):
            found += [v for case in node.cases for n in ast.walk(case.pattern) if isinstance(n, ast.MatchValue) for v in words_in(n.value)]
    return list(dict.fromkeys(v for v in found if isinstance(v, str)))


def parts_read(cls: object, name: str) -> tuple[list[str], bool]:
    """What a class reads of an argument of its constructor, `config.hidden_size` or `config["hidden_size"]`, and whether these are keys.

    Classes of its file that it names may be handed the argument on.  ([], False) where it reads nothing of it, or calls it.
    """
    beside = vars(sys.modules.get(str(getattr(cls, "__module__", "")), types.ModuleType("")))
    seen: dict[str, ast.AST] = {}
    pending = [cls]
    while pending:
        one = pending.pop()
        try:
            tree = ast.parse(textwrap.dedent(inspect.getsource(one)))  # type: ignore[arg-type]  # TypeError where it has no source
        except (OSError, TypeError, SyntaxError):
            continue
        seen[getattr(one, "__name__", "")] = tree
        named = {n.id for n in ast.walk(tree) if isinstance(n, ast.Name)} - seen.keys()
        pending += [c for n in named if isinstance(c := beside.get(n), type) and c.__module__ == getattr(cls, "__module__", "")]
    nodes = [n for tree in seen.values() for n in ast.walk(tree)]
    of = (name, f"self.{name}")
    if any(isinstance(n, ast.Call) and ast.unparse(n.func) in of for n in nodes):
        return [], False
    inside = [n for n in nodes if isinstance(n, ast.Attribute | ast.Subscript) and ast.unparse(n.value) in of]
    attributes = dict.fromkeys(n.attr for n in inside if isinstance(n, ast.Attribute))
    keys = dict.fromkeys(n.slice.value for n in inside if isinstance(n, ast.Subscript) and isinstance(n.slice, ast.Constant))
    texts = [str(k) for k in keys if isinstance(k, str)]
    return (texts, True) if texts and set(attributes) <= {"get", "keys", "items", "copy"} else (list(attributes), False)


def repeats_itself(implementation: Any, D: int, H: int, N: int, dtype: str) -> bool:
    """Whether two runs without a state give the same: no random start, and nothing kept from call to call.  Raises what `run` raises."""
    rng = np.random.default_rng(0)
    params = implementation.init(rng, D, H)
    xs = rng.normal(size=(2, N, D)).astype(dtype)
    first, second = (np.array(implementation.run(params, xs, {})[0]) for _ in range(2))
    return np.array_equal(first, second)


class WithoutCompiler:
    """What watches torch's operations, beside torch's own class for it, and is never compiled.

    torch would import its compiler for the first operation, which takes seconds; where somebody has imported it, it is told to keep off.
    """

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return "torch._dynamo" in sys.modules
