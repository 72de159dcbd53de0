"""Which arguments of a function are arrays, initial states, flags and options, and how many axes the source says that they have.

Names and sources rank what is tried; running decides.
"""

from __future__ import annotations

import ast
import inspect
import re
import textwrap
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from bptt.harness.adapters.functions import documented

_STATE = re.compile(r"init|(^|_)(state|carry|memory|hx|prev|last)s?($|_)|^(h|c|s|S|n|m|x)_?0$|^h_?prev|^past|^hidden$|(?-i:^[hsS]$)", re.I)
#: Names of states that sequences have as well.
_EITHER = re.compile(r"^[hsS]$|^hidden$")
_FINAL = re.compile(r"(output|return|want|keep).*(final|last|state)|(final|last)_states?$", re.I)
_NOT_AN_ARRAY = re.compile(
    r"len|offset|mask|indices|cu_|dtype|device|mode|backend|^ctx$|^self$|autotune|activation|head_first|layout", re.I
)
_NUMBER = re.compile(
    r"chunk|block|window|(?-i:^(BT|BC|BS|BL)$)|scale|eps|norm|^n_|^num_|_size$|_dim$|^dim|reverse|direction|softcap|layers", re.I
)
_ARRAY = re.compile(r"^(q|k|v|g|gk|gv|w|a|b|u|x|z|i|f|o|beta|alpha|gamma|gates?|bias|dt|delta|A|B|C|D|dt_bias|delta_bias)$")
#: Values of numbers without a default, by what their names say.
_GIVEN = (
    (re.compile(r"chunk|block|window|(?-i:^(BT|BC|BS|BL)$)", re.I), 16),
    (re.compile(r"eps", re.I), 1e-6),
    (re.compile(r"scale|softcap", re.I), 0.5),
    (re.compile(r"reverse|norm", re.I), False),
)

Kind = Literal["array", "optional array", "state", "optional state", "flag", "option"]


@dataclass(frozen=True)
class Argument:
    """One argument.

    value   what a flag or an option is given
    rank    how many axes the source says that it has, None where it says nothing
    said    their names, where they are written: "k, v: (B, T, C)"
    truth   it is true or false at each place
    fixed   its author calls it a constant
    given   its value is one that the user has said
    """

    name: str
    kind: Kind
    value: object = None
    rank: int | None = None
    said: tuple[str, ...] = ()
    truth: bool = False
    fixed: bool = False
    given: bool = False

    @property
    def is_array(self) -> bool:
        return self.kind not in ("flag", "option")


def arguments(
    function: Callable[..., Any], skip: int = 0, given: Mapping[str, object] | None = None, owner: object = None
) -> tuple[Argument, ...]:
    """What each argument of a function is; the first `skip` of them (ctx) are left out.

    given    values said by the user        owner    the class whose forward pass it is
    """
    given = given or {}
    every = list(inspect.signature(function).parameters.values())[skip:]
    parameters = [p for p in every if p.kind not in (p.VAR_KEYWORD, p.VAR_POSITIONAL)]
    names, texts = [p.name for p in parameters], documented.texts_of(function, owner)
    truth = documented.truth_values(function, names, texts)
    found = [
        Argument(p.name, "option", given[p.name], given=True) if p.name in given else _argument(p, p.name in truth) for p in parameters
    ]
    fixed = documented.constants(names, texts)
    said = {**_in_unpackings(function, names), **documented.axes_of(function, names, texts)}
    found = [replace(a, fixed=a.name in fixed) for a in found]
    return tuple(replace(a, rank=len(said[a.name]), said=said[a.name]) if a.is_array and a.name in said else a for a in found)


def with_sequences(found: tuple[Argument, ...]) -> tuple[Argument, ...]:
    """The same with sequences in the place of what its name alone calls a state."""
    kinds: dict[str, Kind] = {"state": "array", "optional state": "optional array"}
    return tuple(replace(a, kind=kinds.get(a.kind, a.kind)) if _EITHER.search(a.name) else a for a in found)


def _argument(p: inspect.Parameter, truth: bool) -> Argument:
    if truth and (p.default is p.empty or p.default is None):
        return Argument(p.name, "array" if p.default is p.empty else "optional array", truth=True)
    said = "" if p.annotation is p.empty else str(p.annotation)
    tensor = "Tensor" in said or "ndarray" in said or "Array" in said
    number = not tensor and bool(re.search(r"\b(int|float|bool|str)\b", said))
    has_default = p.default is not p.empty
    if has_default and p.default is not None:
        if isinstance(p.default, bool) and _FINAL.search(p.name):
            return Argument(p.name, "flag", True)
        return Argument(p.name, "option", p.default)
    if number or (_NUMBER.search(p.name) and not tensor):
        if has_default:
            return Argument(p.name, "option", None)
        if _FINAL.search(p.name):
            return Argument(p.name, "flag", True)
        return Argument(p.name, "option", next((value for pattern, value in _GIVEN if pattern.search(p.name)), 1))
    if _FINAL.search(p.name) and not tensor and "bool" in said:
        return Argument(p.name, "flag", True)
    if _NOT_AN_ARRAY.search(p.name):
        return Argument(p.name, "option", None)
    if _STATE.search(p.name):
        return Argument(p.name, "optional state" if has_default else "state")
    if not has_default:
        return Argument(p.name, "array")
    return Argument(p.name, "optional array") if tensor or _ARRAY.match(p.name) else Argument(p.name, "option", None)


def _in_unpackings(function: Callable[..., Any], names: list[str]) -> dict[str, tuple[str, ...]]:
    """`B, T, H, K = q.shape`, also of what it hands its arguments to; "" for an axis without a name."""
    found: dict[str, tuple[str, ...]] = {}
    for tree, own in _bodies(function, {name: name for name in names}):
        for node in ast.walk(tree):
            if not isinstance(node, ast.Assign) or len(node.targets) != 1 or not isinstance(node.targets[0], ast.Tuple):
                continue
            targets = [each.id if isinstance(each, ast.Name) else "" for each in node.targets[0].elts]
            parts = node.value.elts if isinstance(node.value, ast.Tuple) else [ast.Starred(node.value)]
            stars = [part for part in parts if isinstance(part, ast.Starred)]
            name = _shaped(stars[0].value) if len(stars) == 1 else None
            if name is not None and name in own and own[name] not in found:
                rank = len(targets) - (len(parts) - 1)
                at = parts.index(stars[0])
                found[own[name]] = tuple("" if word == "_" else word for word in targets[at : at + rank])
    return found


def _shaped(node: ast.expr) -> str | None:
    """The name whose `.shape` or `.size()` this is."""
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "size" and not node.args:
        node = ast.Attribute(node.func.value, "shape")
    if isinstance(node, ast.Attribute) and node.attr == "shape" and isinstance(node.value, ast.Name):
        return node.value.id
    return None


def _bodies(function: Callable[..., Any], own: Mapping[str, str], depth: int = 3) -> Iterator[tuple[ast.AST, Mapping[str, str]]]:
    """The source of a function and of the functions that it hands its arguments to: (tree, names there -> names of its own)."""
    plain = inspect.unwrap(function)
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(plain)))
    except (OSError, TypeError, SyntaxError):
        return
    yield tree, own
    if not depth:
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and (called := _named(node.func, getattr(plain, "__globals__", {}))) is not None:
            inner, skip = called
            try:
                names = list(inspect.signature(inner).parameters)[skip:]
            except (TypeError, ValueError):
                continue
            handed = {n: own[a.id] for n, a in zip(names, node.args, strict=False) if isinstance(a, ast.Name) and a.id in own}
            handed |= {k.arg: own[k.value.id] for k in node.keywords if k.arg and isinstance(k.value, ast.Name) and k.value.id in own}
            if handed and inner is not plain:
                yield from _bodies(inner, handed, depth - 1)


def _named(node: ast.expr, there: Mapping[str, Any]) -> tuple[Callable[..., Any], int] | None:
    """The Python function that a call names, `forward` for `SomeFunction.apply`, and how many of its arguments are not the caller's."""
    if isinstance(node, ast.Attribute) and node.attr == "apply" and isinstance(node.value, ast.Name):
        owner = there.get(node.value.id)
        forward = getattr(owner, "forward", None)
        return (forward, skipped(owner)) if inspect.isfunction(forward) else None
    if isinstance(node, ast.Name) and inspect.isfunction(there.get(node.id)):
        return there[node.id], 0
    return None


def skipped(function_class: Any) -> int:
    """1 where `forward` of an autograd.Function takes ctx first, 0 where it has a `setup_context` of its own."""
    own = "setup_context" in vars(function_class)
    return 0 if own else 1
