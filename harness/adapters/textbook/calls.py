"""What the arguments and results of a textbook class's forward and backward mean: by name, order and shape."""

from __future__ import annotations

import ast
import difflib
import inspect
import itertools
import re
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from bptt.harness.adapters.reading.weights import _gradient_names
from bptt.harness.errors import UsageError
from bptt.harness.subject import Array

FORWARD = ("forward", "step", "forward_step", "forward_pass", "step_forward", "fprop", "call", "__call__")
BACKWARD = (
    "backward",
    "backprop",
    "step_backward",
    "backward_step",
    "backward_pass",
    "bprop",
    "bptt",
    "back_prop",
    "backpropagate",
)
X = re.compile(r"^(x|X)(_?(t|s|in|cur|seq|batch|data|step))?$|^(inp|input|data|seq|sequence|embed|features|u_t|A|dataset).*$", re.I)
C = re.compile(
    r"^(c|ct)(_?(t|prev|old|last|next|0|in|tm1|t_1|n|state|init|initial))?$|^(prev|previous|last|init|old|initial)_?(c|cell|memory)(_?state)?$|cell|memory|^mem",
    re.I,
)
H = re.compile(
    r"^(h|ht|s|a)(_?(t|prev|old|last|next|0|in|tm1|t_1|n|state|init|initial))?$|^(prev|previous|last|init|old|initial)_?(h|a|s|hidden|state|activation)(_?state)?$|hidden|state|activ|^hx$|h_?prev|prev_?h",
    re.I,
)
CACHE = re.compile(r"cache|tape|^ctx$|context$|saved|intermediate|residual", re.I)
DC = re.compile(
    r"^(d|grad|delta|g|dl_?d|dj_?d|de_?d|grad_wrt|d_|grad_|delta_|dnext_|next_d|prev_d)_?(c|ct|cell|memory)(_?(t|prev|next|n|last|0|state|out|s|in|tm1|final))*$|dnext_?c|dc_|_dc$|c_?grad|grad_?c|cell",
    re.I,
)
DH = re.compile(
    r"^(d|grad|delta|g|dl_?d|dj_?d|de_?d|grad_wrt)_?(h|ht|a|s|hidden|state)(_?(t|prev|next|n|last|0|state|out|in|tm1|final))*$|dnext_?h|dh|_dh$|h_?grad|grad_?h|hidden",
    re.I,
)
DX = re.compile(r"^(d|grad|delta|g|dl_?d|dj_?d|de_?d|grad_wrt)_?(x|xs|xt|input|inputs|in|inp)(_?(t|s|seq|data))*$", re.I)
FINAL = re.compile(r"(next|last|final|_n$|_T$|dh$|dc$|_t$|dht|dct)", re.I)


def own_method(obj: Any, names: Sequence[str]) -> str | None:
    """The first of `names` that the object's class defines itself (not what every class has)."""
    owner = obj if isinstance(obj, type) else type(obj)
    for name in names:
        if any(callable(vars(c).get(name)) or isinstance(vars(c).get(name), staticmethod) for c in owner.__mro__ if c is not object):
            return name
        if not isinstance(obj, type) and callable(getattr(obj, "__dict__", {}).get(name)):
            return name
    return None


def arguments(obj: Any, method: str) -> tuple[list[str], list[str]]:
    """Names of a bound method's arguments: those that must be given, and those that may."""
    function = getattr(obj, method)
    try:
        parameters = list(inspect.signature(function).parameters.values())
    except (TypeError, ValueError):
        return ["x", "h"], []
    parameters = [p for p in parameters if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]
    if isinstance(obj, type) and parameters and not isinstance(inspect.getattr_static(obj, method), staticmethod | classmethod):
        parameters = parameters[1:]
    return [p.name for p in parameters if p.default is p.empty], [p.name for p in parameters if p.default is not p.empty]


def forward_roles(needed: Sequence[str], optional: Sequence[str]) -> list[dict[str, str]]:
    """Ways to read forward's arguments, the likeliest first: {argument: 'x' | 'h' | 'c' | 'state'}; state = (h, c)."""
    states = [n for n in optional if (H.search(n) or C.search(n)) and not X.match(n)]
    names = [*needed, *states]
    x = next((n for n in names if X.match(n)), None) or next(
        (n for n in names if not (H.search(n) or C.search(n))), names[0] if names else None
    )
    rest = [n for n in names if n != x]
    if x is None:
        return []
    if not rest:
        return [{x: "x"}]
    if len(rest) == 1:
        return [{x: "x", rest[0]: "h"}, {x: "x", rest[0]: "state"}]
    if len(rest) == 2:
        c = next((n for n in rest if C.search(n) and not (H.search(n) and not re.match(r"^_?c", n, re.I))), rest[1])
        h = rest[0] if c == rest[1] else rest[1]
        return [{n: {x: "x", h: "h", c: "c"}[n] for n in names}]
    return []


def backward_roles(
    needed: Sequence[str], optional: Sequence[str], has_c: bool, forward: Mapping[str, str] | None = None, returned: Sequence[str] = ()
) -> list[dict[str, str]]:
    """Ways to read backward's arguments, the likeliest first; [] where one of them is not understood.

    {argument: 'dh' | 'dc' | 'dstate' | 'dy' | 'cache' | 'x' | 'h' | 'c' | 'h_out' | 'c_out'}, the last two for forward's own results.
    `forward` are the roles of forward's arguments and `returned` the names that it returns: an argument of the same name is the same thing.
    """
    saved: dict[str, tuple[str, ...]] = {}
    for name in needed:
        meanings = ("cache",) if CACHE.search(name) else _saved(name, forward or {}, returned)
        if meanings:
            saved[name] = meanings
    if {("h", "h_out"), ("h",)} <= set(saved.values()):  # beside an h_prev, h_t is what forward returned
        saved = {n: ("h_out",) if m == ("h", "h_out") else m for n, m in saved.items()}
    if {("c", "c_out"), ("c",)} <= set(saved.values()):
        saved = {n: ("c_out",) if m == ("c", "c_out") else m for n, m in saved.items()}
    incoming = _incoming([n for n in needed if n not in saved], optional, has_c)
    readings = [dict(zip(saved, chosen, strict=True)) for chosen in itertools.product(*saved.values()) if _apart(chosen)]
    order = [*needed, *optional]
    return [{n: r for n in order if (r := (reading | new).get(n))} for reading in readings for new in incoming]


def _apart(roles: Sequence[str]) -> bool:
    """Whether no two arguments share a role; a cache may come in parts."""
    once = [r for r in roles if r != "cache"]
    return len(set(once)) == len(once)


_PREVIOUS = r"(prev|previous|old|last|tm1|t_1|0|init|in)"
_OUTPUT = r"(next|new|out|cur|current)"


def _saved(name: str, forward: Mapping[str, str], returned: Sequence[str]) -> tuple[str, ...]:
    """What backward's argument `name` may be where it is no gradient: something of forward's, handed back to it; () if a gradient."""
    if forward.get(name) in ("x", "h", "c"):
        return (forward[name],)
    if re.match(r"^(d(?!ata)|grad|delta|g(?!ate))", name, re.I):
        return ()
    if re.match(rf"^(h|a)_?{_PREVIOUS}_?(l|layer)$", name, re.I):
        return ("x",)
    for state, word in (("h", r"(h|a|s|hidden|state|hidden_state)"), ("c", r"(c|cell|cell_state)")):
        if re.match(rf"^({word}_?{_PREVIOUS}(_?t)?|{_PREVIOUS}_?{word}(_?t)?)$", name, re.I):
            return (state,)
        if re.match(rf"^({word}_?{_OUTPUT}|{_OUTPUT}_?{word})$", name, re.I):
            return (f"{state}_out",)
        if re.match(rf"^{word}(_?t)?$", name, re.I):
            return (f"{state}_out",) if name in returned else (state, f"{state}_out")
    if re.match(r"^(y|out|output)(_?t)?$", name, re.I) and name in returned:
        return ("h_out",)
    return ("x",) if is_input(name) else ()


def is_squashed(function: Any, name: str) -> bool:
    """Whether a function has 1 - name ** 2, 1 - name * name or name * (1 - name): the derivative at an output, in the author's words."""
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(function)))
    except (OSError, TypeError, SyntaxError):
        return False
    plain = [ast.unparse(n).replace("1.0", "1") for n in ast.walk(tree) if isinstance(n, ast.BinOp)]
    forms = {f"1 - {name} ** 2", f"1 - {name} * {name}", f"1 - np.square({name})", f"{name} * (1 - {name})"}
    return any(p in forms for p in plain)


def is_input(name: str) -> bool:
    """Whether an argument of backward's is forward's x, handed back to it."""
    return (bool(X.match(name)) and not re.match(r"^[da]", name, re.I)) or name in ("data", "data_t")


def _incoming(needed: Sequence[str], optional: Sequence[str], has_c: bool) -> list[dict[str, str]]:
    """Ways to read the gradients that come in; [] where there are none, or too many."""
    extra = [n for n in optional if DH.search(n) or DC.search(n)]
    rest = [*needed, *extra]
    if not rest:
        return []
    as_c = [n for n in rest if DC.search(n) and not (DH.search(n) and re.match(r"^dh", n, re.I))] if has_c else []
    as_h = [n for n in rest if n not in as_c]
    if has_c and not as_c and len(as_h) >= 2:
        as_c, as_h = [as_h[-1]], as_h[:-1]
    if has_c and not as_c and len(rest) == 1:
        return [{rest[0]: "dstate"}, {rest[0]: "dh"}]
    if len(as_h) == 2:
        return [{as_h[0]: "dy", as_h[1]: "dh"} | dict.fromkeys(as_c, "dc")]
    return [dict.fromkeys(as_h, "dh") | dict.fromkeys(as_c[:1], "dc")] if len(as_h) == 1 else []


def refuse_near_backward(obj: Any, where: str) -> None:
    """Raises UsageError where `obj` has no backward but a method that is called almost so: never is it left out in silence."""
    owner = obj if isinstance(obj, type) else type(obj)
    own = [n for c in owner.__mro__ if c is not object for n, v in vars(c).items() if not n.startswith("_") and callable(v)]
    known = [*difflib.get_close_matches("backward", [n.lower() for n in own], n=3, cutoff=0.7)]
    for name in own:
        if name.lower() in known or re.match(r"^(back|bakw|bwd|bptt|grad(ient)?s?$|(compute|calc|calculate|get)_grad)", name, re.I):
            needed, optional = arguments(owner, name)
            if not needed and not optional:
                continue  # a getter
            raise UsageError(
                f"{where} has {name}({', '.join((*needed, *optional))}) but no backward: did you mean backward? Got nothing that is driven "
                f"as its backward pass, wanted backward(dh[, dc]); to check the forward pass alone, call it otherwise, such as _{name}"
            )


def not_understood(obj: Any, where: str, name: str, tried: str, wanted: str) -> UsageError:
    """The error for a backward that is there but cannot be driven."""
    needed, optional = arguments(obj, name)
    return UsageError(
        f"{where}.{name}({', '.join((*needed, *optional))}) is not understood, tried {tried}, wanted {wanted}; "
        f"to check the forward pass alone, call it otherwise, such as _{name}, or offer the contract's init, zero_state, run"
    )


def returned_names(function: Any) -> list[str]:
    """The names in ``return a, b, c`` at the end of a function; [] where it returns something else."""
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(function)))
    except (OSError, TypeError, SyntaxError):
        return []
    returns = [node.value for node in ast.walk(tree) if isinstance(node, ast.Return) and node.value is not None]
    if not returns:
        return []
    value = returns[-1]
    elements = value.elts if isinstance(value, ast.Tuple | ast.List) else [value]
    return [_word(e) for e in elements]


def _word(node: ast.expr) -> str:
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        return node.attr
    return ""


def items_of(result: Any) -> list[Any]:
    """What a call returned, as a list."""
    return list(result) if isinstance(result, tuple | list) else [result]


def find_states(
    result: Any, shape: tuple[int, ...], names: Sequence[str], count: int, order: Sequence[str]
) -> dict[str, tuple[int, ...]] | None:
    """Where h (and c) stand in what forward returned: {'h': path, 'c': path}; None where they are not there.

    `names` are the returned names if known, `order` the order of the states among forward's arguments.
    """
    paths = [((k,), item) for k, item in enumerate(items_of(result))]
    nested = [
        ((k, j), part) for (k,), item in paths if isinstance(item, tuple | list) and len(item) == count for j, part in enumerate(item)
    ]
    top = [(path, np.asarray(a)) for path, a in paths if isinstance(a, np.ndarray) and a.shape == shape]
    if count == 1:
        by_name = [p for p, _ in top if p[0] < len(names) and H.search(names[p[0]])]
        return {"h": (by_name or [p for p, _ in top])[0]} if top else None
    inner = [(path, a) for path, a in nested if isinstance(a, np.ndarray) and a.shape == shape]
    if len(top) < 2 and len(inner) >= 2:
        return _h_and_c(inner[0], inner[1], (), order)
    if len(top) >= 3 and np.array_equal(top[0][1], top[1][1]):
        top = top[1:]
    return _h_and_c(top[0], top[1], names, order) if len(top) >= 2 else None


def _h_and_c(first: Any, second: Any, names: Sequence[str], order: Sequence[str]) -> dict[str, tuple[int, ...]]:
    (p, a), (q, b) = first, second
    named = [names[r[0]] if r[0] < len(names) else "" for r in (p, q)]
    is_c = [bool(re.match(r"^_?(c|C|cell|mem)", n)) for n in named]
    if is_c[0] != is_c[1]:
        return {"h": q, "c": p} if is_c[0] else {"h": p, "c": q}
    a_gates_b, b_gates_a = _bounded(a, b), _bounded(b, a)
    if a_gates_b != b_gates_a:
        return {"h": p, "c": q} if a_gates_b else {"h": q, "c": p}
    return {"h": p, "c": q} if list(order)[:1] != ["c"] else {"h": q, "c": p}


def _bounded(h: Array, c: Array) -> bool:
    """h = o tanh(c) with o in (0, 1): |h| is never above |tanh c|, and the signs agree."""
    return bool(np.all(np.abs(h) <= np.abs(np.tanh(c))) and np.all(np.sign(h) == np.sign(c)))


def shape_of(value: Any) -> tuple[int, ...] | None:
    """The shape of an array, or of a list of arrays that are alike; None of anything else."""
    if isinstance(value, list) and value and all(isinstance(v, np.ndarray) and v.shape == np.shape(value[0]) for v in value):
        return (len(value), *value[0].shape)
    return value.shape if isinstance(value, np.ndarray) else None


def shapes_in(result: Any) -> str:
    """The shapes that a call returned, for a message."""
    return ", ".join(str(shape_of(item) or type(item).__name__) for item in items_of(result))


def at(result: Any, path: tuple[int, ...]) -> Any:
    """The value at `path` in what a call returned; (0,) of something that is no tuple is the thing itself."""
    if path == (0,) and not isinstance(result, tuple | list):
        return result
    for k in path:
        result = result[k]
    return result


def read_gradients(
    result: Any,
    names: Sequence[str],
    shapes: Mapping[str, tuple[int, ...]],
    x_shape: tuple[int, ...],
    h_shape: tuple[int, ...],
    states: Sequence[str],
    wanted: Sequence[str],
) -> dict[str, tuple[Any, ...]]:
    """Where each gradient stands in what backward returned: {'dx' | 'dh' | 'dc' | 'd:' + parameter: path}.

    `states` are "dh" and "dc" in the order in which unnamed ones are taken.  `shapes` are those of the
    parameters; `wanted` names the ones whose gradients the object does not keep itself.  Names decide before shapes.
    """
    has_c = "dc" in states
    if isinstance(result, Mapping):
        return _by_keys(result, wanted, has_c)
    found: dict[str, tuple[Any, ...]] = {}
    leaves: list[tuple[tuple[Any, ...], Any, str]] = []
    for k, item in enumerate(items_of(result)):
        word = names[k] if k < len(names) and len(names) == len(items_of(result)) else ""
        if isinstance(item, Mapping):
            found |= {role: (k, *path) for role, path in _by_keys(item, wanted, has_c).items()}
        elif isinstance(item, tuple | list):
            leaves += [((k, j), part, "") for j, part in enumerate(item)]
        else:
            leaves.append(((k,), item, word))
    leaves = [(p, a, w) for p, a, w in leaves if isinstance(a, np.ndarray)]
    open_ = []
    for path, value, word in leaves:
        role = _role_by_name(word, wanted, has_c)
        if role and role not in found:
            found[role] = path
        else:
            open_.append((path, value))
    for path, value in open_:
        role = next((r for r in _roles_by_shape(value, shapes, x_shape, h_shape, states, wanted) if r not in found), None)
        if role:
            found[role] = path
    return found


def _by_keys(values: Mapping[Any, Any], wanted: Sequence[str], has_c: bool) -> dict[str, tuple[Any, ...]]:
    found: dict[str, tuple[Any, ...]] = {}
    for key in values:
        role = _role_by_name(str(key), wanted, has_c) or (f"d:{key}" if key in wanted else None)
        if role and role not in found:
            found[role] = (key,)
    return found


def _role_by_name(word: str, wanted: Sequence[str], has_c: bool) -> str | None:
    if not word:
        return None
    for name in wanted:
        if word in _gradient_names(name) or word in _gradient_names(name.rpartition(".")[2]):
            return f"d:{name}"
    if DX.match(word):
        return "dx"
    if has_c and DC.search(word) and not re.match(r"^dh", word, re.I):
        return "dc"
    return "dh" if DH.search(word) else None


def _roles_by_shape(
    value: Array,
    shapes: Mapping[str, tuple[int, ...]],
    x_shape: tuple[int, ...],
    h_shape: tuple[int, ...],
    states: Sequence[str],
    wanted: Sequence[str],
) -> list[str]:
    def fits(shape: tuple[int, ...]) -> bool:
        return value.shape == shape or tuple(n for n in value.shape if n > 1) == tuple(n for n in shape if n > 1)

    roles = ["dx"] * fits(x_shape) + [*states] * fits(h_shape)
    return roles + [f"d:{name}" for name in wanted if fits(shapes[name])]


def at_key(result: Any, path: tuple[Any, ...]) -> Any:
    """As `at`, through dicts too."""
    if path == (0,) and not isinstance(result, tuple | list | Mapping):
        return result
    for key in path:
        result = result[key]
    return result
