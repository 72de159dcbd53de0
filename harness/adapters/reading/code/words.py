"""What a name suggests.  Names rank readings; what runs decides."""

from __future__ import annotations

import ast
import builtins
import dis
import functools
import inspect
import itertools
import re
import sys
import textwrap
import types
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeGuard

_WORDS: dict[str, str] = {
    "params": r"^(parameters?|params?|prm|p|theta|weights?|ws|model|net|state_dict)$",
    "targets": (
        r"^(y|ys|y_?true|y_?labels?|y_?train|y_?idx|labels?|targets?|(target|label)_?(seq|idx|ids|index|indices)?|t|ts|ground_?truth|"
        r"gt|d|Y|expected|desired|actual|tgt|(train|test|batch|mini_?batch)_?[yYtT]|"
        r"(true|actual|expected|desired|correct|real|gold)_?(y|labels?|targets?|outputs?|values?|answers?)|"
        r"(y|labels?|targets?|outputs?)_?(true|actual|expected|real|batch|gt))$"
    ),
    "rate": r"^(lr|learn(ing)?_?rate|eta|alpha|rate|step_?size)$",
    "c": (
        r"^_?((c|cell|memory)_?(prev|0|t|tm1|t_1|in|input|init|state|old|last|start|prevs)*|(prev|last|old|init|initial)_?(c|cell|memory)(_state)?|"
        r"s_prev|C_?prev|ct_?1)$"
    ),
    "h": (
        r"^_?((h|a|s|hidden|hid|state)_?(prev|0|t|tm1|t_1|in|input|init|state|states|old|last|start|prevs|h)*|(prev|last|old|init|initial)_?(h|a|s|hidden|state|hs|activation)s?(_state)?|"
        r"h_?prev_?t?)$"
    ),
    "x": (
        r"^_?(features?|x|xs|xt|x_?t|x_?in(put)?|X|X_?t|inputs?|input_?(seq|sequence|data|ids|idx|t|x|layer|vectors?)?|data|batch|seq|sequence|"
        r"sentence|words?|tokens?|ids|X_?(batch|embedded|train|seq)|emb(eddings?)?|inp|(train|test|batch|mini_?batch)_?[xX]|(h|a)_?prev_?(l|layer))$"
    ),
    "H": (
        r"^(hidden_?(size|dim|dims|units|nodes|n|neurons|layer_?size|state_?size)?|H|n_?h|n_?[acs]|h_?(size|dim)|"
        r"hid_?(size|dim)|hidden_?(node|unit|neuron|cell)s?|(n|no|nb|num|number_?of)_?(hidden|hid|hiddens|units|neurons|nodes|cells|state)(_?(units|neurons|nodes|cells))?|units|state_?(size|dim)|"
        r"hdim|rnn_?(size|units)|lstm_?(size|units)|mem_?cell_?ct|cell_?(size|dim))$"
    ),
    "D": (
        r"^(input_?(size|dim|dims|units|features|channels?|nodes|n|shape|d)?|D|n_?x|x_?(dim|size)|in_?(size|dim|features|channels)|"
        r"num_?(inputs?|features)|n_?(inputs?|inp|features|in)|embed(ding)?_?(size|dim)|emb_?(size|dim)|features|"
        r"word_?dim|word_?vec_?(size|dim)|vocab_?(size|dim)|vocabulary_?size|V|len_?vocab|d_?in|idim|char_?(size|dim)|"
        r"vec_?(size|dim))$"
    ),
    "O": (
        r"^(output_?(size|dim|dims|units|features|channels?|nodes|n|d)?|O|n_?y|y_?(dim|size)|out_?(size|dim|features|channels)|"
        r"num_?(outputs?|classes)|n_?(outputs?|classes|out)|classes|odim|target_?(size|dim))$"
    ),
    "N": r"^(N|B|batch_?size|(n|nb|num)_?batch|bs|m|minibatch_?size)$",
    "T": (
        r"^(T|T_?x|T_?steps?|seq(uence)?_?(len|length|size)s?|sequence_?length|(n_?|num_?)?time_?steps?|(n|nb)_?seq|n_?steps|num_?steps|steps|"
        r"max_?(seq_?)?len(gth)?|window(_?(size|len))?|bptt_?steps|unroll(_?(len|length|steps))?|input_?len(gth)?|sentence_?len(gth)?)$"
    ),
    "Z": r"^(z_?(size|dim)|concat_?(size|dim)|x_?h_?(size|dim))$",
    "truncation": r"^(bptt_?(trunc(ate)?|truncate|k)|trunc(ate|ation)?|k1|k2)$",
    "flag": r"^(train_?flg|training|is_?train(ing)?|train|mode)$",
    "mask": r"^((pad(ding)?|seq(uence)?|loss|target|valid|token|time)_?)?masks?(_seq|_t)?$",
    "seed": r"^(seed|rng|random_?state|generator)$",
}
_COMPILED = {role: re.compile(pattern) for role, pattern in _WORDS.items()}
_LOWER = {role: re.compile(pattern, re.I) for role, pattern in _WORDS.items()}

KERNEL = re.compile(r"^_?(W|U|V|w|u|E|kernel|weights?|theta|R|emb)(_|[xhyizrfocgnuasv]|[A-Z]|\d|$).*|.*(kernel|weights?|_W)$")
BIAS = re.compile(r"^_?(b|B|bias|biases)(_?[a-zA-Z]{0,3}\d?)?$|^_?(gain|gamma|peep\w*|p_?[ifo])$|.*_?bias(_.*)?$")
CACHE = re.compile(r"(cache|tape|mem(ory)?$|ctx|context|saved|stored|history|intermediates?)", re.I)
COTANGENT = re.compile(
    r"^(?!.*_?(thr(esh(old)?)?|clip(ping)?|norm|limit|bound|max(imum)?)$)"  # grad_clip is no gradient
    r"(d_?|grad_?|delta_?|error|err|accum_grad|upstream|up_?grad|dL_?d?|out_?grad|loss_?grad)|_(grads?|gradients?)$",
    re.I,
)
_OF_AN_OUTPUT = re.compile(
    r"(d|d_|grad_?|delta_?|g_?|dL_?d?)(y|ys|h|hs|c|cs|s|z|o|out|outs|outputs?|next|new|states?|hidden|loss|up)(_?(next|new|t|out|last|\d))?"
    r"|delta|grads?_(out|output)s?|(out|output|y|h|hs|upstream)_?grads?|upstream\w*|cotangents?|\w+_bar",
    re.I,
)
FORWARD = re.compile(
    r"^_*(forward|(.*_)?(rnn|lstm|gru|elman)_?(cell_?)?step|forward_?(prop(agation)?|pass|step|seq(uence)?|cell)?|fwd|fprop|feed_?forward|call|run_forward|step|step_forward|cell_forward|.*_forward(_pass|_prop)?|.*_(fwd|fprop)|forward_.*|predict_proba|compute_outputs?)_*$",
    re.I,
)
BACKWARD = re.compile(
    r"^_*(back|backwards?|backward_?(prop(agation)?|pass|step|seq|cell)?|bwd|bprop|bptt|bppt|.*_(backwards?|bptt|back_?prop)(_pass|_prop)?|.*_(bwd|bprop)|(backward|bptt)_.*|bac+k?_?prop.*|(calc(ulate)?|compute|get)_grad(ient)?s?|grad(ient)?s?)_*$",
    re.I,
)
LOSS = re.compile(
    r"^_*(loss|(calc(ulate)?|compute|get|total|cross_entropy|ce)_?(total_?)?(loss|cost|error).*|cost|.*_loss|"
    r"loss_?(fun|func|function|fn)|lossfun|cross_?entropy)_*$",
    re.I,
)
#: Methods that give an object its state, or have it forget the one it has.
SETTER = re.compile(r"^(set_?(hidden_?)?states?|set_hidden|init_state)$")
#: Methods that make an object's weights.
BUILD = re.compile(
    r"^_?(build|connect(_to)?|set_?up|init(iali[sz]e)?(_?(weights?|params?|parameters|model|layers?|network))?|reset_parameters)$", re.I
)
RESET = re.compile(r"^(flush|clear(_cache)?|reset(_?(states?|hidden))?)$")


@functools.lru_cache(maxsize=4096)
def roles(name: str) -> tuple[str, ...]:
    """What an argument of a forward pass may be by its name, the likeliest first; () where the name says nothing."""
    exact = tuple(role for role, pattern in _COMPILED.items() if pattern.match(name))
    return exact or tuple(role for role, pattern in _LOWER.items() if pattern.match(name)) or _size_in_words(name)


_MEASURES = frozenset(
    ("size", "sizes", "dim", "dims", "dimension", "dimensions", "n", "num", "no", "nb", "number", "of", "total", "count", "width", "units",
     "nodes", "neurons", "channels")
)  # fmt: skip
#: What is counted, the surest words first.
_MEASURED = (
    ("O", frozenset(("output", "outputs", "out", "y", "class", "classes", "label", "labels", "target", "targets", "tag", "tags"))),
    ("D", frozenset(("input", "inputs", "in"))),
    ("H", frozenset(("hidden", "hid", "hiddens", "rnn", "lstm", "gru", "recurrent", "state", "states", "cell", "cells", "memory"))),
    ("D", frozenset(
        ("x", "feature", "features", "feat", "vocab", "vocabulary", "embed", "embedding", "emb", "word", "words", "char", "chars", "token",
         "tokens")
    )),
    ("H", frozenset(("units", "neurons"))),
)  # fmt: skip


def _size_in_words(name: str) -> tuple[str, ...]:
    """The letter of a size whose name is made of what it counts and of words for a size: ``total_features``, ``out_vocab_size``."""
    parts = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower().strip("_").split("_")
    counted = [letter for letter, of in _MEASURED if of.intersection(parts)]
    known = _MEASURES.union(("layer",), *(of for _, of in _MEASURED))
    return tuple(counted[:1]) if len(parts) > 1 and _MEASURES.intersection(parts) and known.issuperset(parts) else ()


def is_weight(name: str) -> bool:
    return bool(KERNEL.match(name) or BIAS.match(name))


def arguments(function: Callable[..., Any]) -> tuple[list[str], dict[str, Any]]:
    """Names that a call must give, and those that it may, with their defaults.  ([], {}) where Python cannot tell."""
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return [], {}
    named = [p for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]
    if isinstance(function, type) and any(p.kind is p.VAR_KEYWORD for p in parameters):
        named += [p for p in _handed_on(function) if p.name not in {q.name for q in named}]
    return [p.name for p in named if p.default is p.empty], {p.name: p.default for p in named if p.default is not p.empty}


def _handed_on(cls: type) -> list[inspect.Parameter]:
    """What the constructors of its bases take by keyword, where its own hands on what it does not know."""
    own = next((c for c in cls.__mro__ if "__init__" in vars(c)), object)
    bases = [c for c in own.__mro__[1:] if c is not object and inspect.isfunction(vars(c).get("__init__"))]
    found = [p for c in bases[:1] for p in list(inspect.signature(vars(c)["__init__"]).parameters.values())[1:]]
    return [p for p in found if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]


def unbound(function: Any) -> list[str]:
    """Names of globals that a function reads and that only its script's loop gives a value: they are arguments in all but form."""
    function = getattr(function, "__func__", function)
    if not isinstance(function, types.FunctionType):
        return []
    known = function.__globals__
    loop = known.get("__bptt_left_out__", ())
    return [n for n in _globals_of(function.__code__) if n not in known and n in loop and not hasattr(builtins, n)]


@functools.lru_cache(maxsize=1024)
def _globals_of(code: types.CodeType) -> tuple[str, ...]:
    return tuple(dict.fromkeys(i.argval for i in dis.get_instructions(code) if i.opname == "LOAD_GLOBAL"))


def tree_of(function: Any) -> ast.AST | None:
    """The tree of a function's source; None where it has none that can be read."""
    code = getattr(getattr(function, "__func__", function), "__code__", None)
    return _tree_of(function) if code is None else _tree_of_code(code)


@functools.lru_cache(maxsize=256)
def _tree_of_code(code: types.CodeType) -> ast.AST | None:
    return _tree_of(code)


def _tree_of(function: Any) -> ast.AST | None:
    try:
        return ast.parse(textwrap.dedent(inspect.getsource(function)))
    except (OSError, TypeError, SyntaxError, ValueError):
        return None


@functools.lru_cache(maxsize=64)
def text_of(module: str) -> str:
    """The text of a module, "" where it has none."""
    try:
        return inspect.getsource(sys.modules[module])
    except (KeyError, OSError, TypeError):
        return ""


def speaks_of(word: str, module: str) -> bool:
    """Whether the text of a module has a word in it."""
    return word in text_of(module).lower()


def returned(function: Any) -> list[str]:
    """The names in ``return a, b, self.c[k]`` at the end of a function, 'a' 'b' 'c'; '' for what has none."""
    tree = tree_of(function)
    values = [n.value for n in ast.walk(tree) if isinstance(n, ast.Return) and n.value is not None] if tree else []
    if not values:
        return []
    last = values[-1]
    return [_word(e) for e in (last.elts if isinstance(last, ast.Tuple | ast.List) else [last])]


def names_given(function: Any) -> list[str]:
    """As `returned`, with the names in a tuple that was packed before, and may have been handed through a cut: ``grads = dW, db``."""
    packed = {name: names_packed(function, name) for name in returned(function) if name.isidentifier()}
    return [",".join(packed[name]) if name in packed and packed[name] and all(packed[name]) else name for name in returned(function)]


def _word(node: ast.expr) -> str:
    """The name of a thing; of a tuple in a tuple, the names of its parts with commas."""
    if isinstance(node, ast.Tuple | ast.List):
        return ",".join(map(_word, node.elts))
    last = isinstance(node, ast.Subscript) and ast.unparse(node.slice) == "-1"
    while isinstance(node, ast.Subscript):
        node = node.value
    if last and isinstance(node, ast.Name | ast.Attribute):  # the last of 'hs' is an 'h'
        name = node.id if isinstance(node, ast.Name) else node.attr
        return name[:-1] if name.endswith("s") and len(name) > 1 else name
    if isinstance(node, ast.BinOp | ast.Call) and not _is_another(node):  # 'dW' of 'dW + decay * W' and of 'dW.copy()'
        inner = {n.id for n in ast.walk(node) if isinstance(n, ast.Name) and stem(n.id) != n.id}
        return inner.pop() if len(inner) == 1 else ""
    return node.id if isinstance(node, ast.Name) else node.attr if isinstance(node, ast.Attribute) else ""


_KEEPS = frozenset({"copy", "clip", "array", "asarray", "reshape", "astype", "squeeze", "T"})


def _is_another(node: ast.expr) -> bool:
    """Whether an expression is another thing than the names in it: 'da @ W.T' and 'da.sum(0)' are no 'da'."""
    parts = list(ast.walk(node))
    calls = [n.func.attr if isinstance(n.func, ast.Attribute) else getattr(n.func, "id", "") for n in parts if isinstance(n, ast.Call)]
    return any(isinstance(n, ast.BinOp) and isinstance(n.op, ast.MatMult) for n in parts) or not _KEEPS.issuperset(calls)


def is_squashed(function: Any, name: str) -> bool:
    """Whether a function has 1 - name ** 2, 1 - name * name or name * (1 - name): the derivative at an output, in the author's words."""
    tree = tree_of(function)
    plain = [ast.unparse(n).replace("1.0", "1") for n in ast.walk(tree) if isinstance(n, ast.BinOp)] if tree else []
    forms = {f"1 - {name} ** 2", f"1 - {name} * {name}", f"1 - np.square({name})", f"{name} * (1 - {name})"}
    return any(p in forms for p in plain)


def assigned(function: Any) -> set[str]:
    """Names, attributes and keys that a function assigns to: 'W' of ``self.W -= ...``, 'in' of ``self.weights["in"] -= ...``."""
    tree = tree_of(function)
    nodes = list(ast.walk(tree)) if tree else []
    targets: list[ast.expr] = [n.target for n in nodes if isinstance(n, ast.AugAssign)]
    targets += [t for n in nodes if isinstance(n, ast.Assign) for t in n.targets]
    inner = [n for t in targets for n in ast.walk(t)]
    found = {n.id for n in inner if isinstance(n, ast.Name)} | {n.attr for n in inner if isinstance(n, ast.Attribute)}
    return found | {str(n.value) for n in inner if isinstance(n, ast.Constant)}


def attributes_read(functions: Iterable[Any]) -> list[str]:
    """The attributes of self that methods read."""
    trees = [tree for function in functions if (tree := tree_of(function)) is not None]
    found = (n for tree in trees for n in ast.walk(tree) if isinstance(n, ast.Attribute) and isinstance(n.ctx, ast.Load))
    return list(dict.fromkeys(n.attr for n in found if isinstance(n.value, ast.Name) and n.value.id == "self"))


def keys_read(functions: list[Any], argument: str) -> list[Any]:
    """Keys that functions read of the dict called `argument`: ``argument["W"]``, ``argument.get("W")``, and ``argument[k]`` or
    ``argument["W" + gate]`` where the name in it goes through constants that stand there."""
    found: dict[Any, None] = {}
    for function in functions:
        tree = tree_of(function)
        nodes = list(ast.walk(tree)) if tree else []
        through = _constants_gone_through(nodes)
        for node in nodes:
            if isinstance(node, ast.Subscript) and _word(node.value) == argument:
                found |= dict.fromkeys(_values_of(node.slice, through))
            elif _is_get(node, argument):
                found |= dict.fromkeys(_values_of(node.args[0], through))
    return list(found)


def _is_get(node: ast.AST, argument: str) -> TypeGuard[ast.Call]:
    return (
        isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr == "get"
        and _word(node.func.value) == argument
        and bool(node.args)
    )


def _constants_gone_through(nodes: list[ast.AST]) -> dict[str, list[Any]]:
    """Loops and comprehensions over constants: name -> values, in ``for k in ("W", "U")`` and ``for gate in "ifog"``."""
    found: dict[str, list[Any]] = {}
    for node in nodes:
        if isinstance(node, ast.For | ast.comprehension) and isinstance(node.target, ast.Name):
            try:
                values = ast.literal_eval(node.iter)
            except ValueError:
                continue
            if isinstance(values, str | tuple | list):
                found.setdefault(node.target.id, []).extend(values)
    return found


def _values_of(key: ast.expr, through: Mapping[str, list[Any]]) -> list[Any]:
    """What the expression of a key is, for each value of a name in it; [] where it is made in another way."""
    match key:
        case ast.Constant():
            return [key.value]
        case ast.Name():
            return through.get(key.id, [])
        case ast.FormattedValue(conversion=-1, format_spec=None):
            return [str(v) for v in _values_of(key.value, through)]
        case ast.BinOp(op=ast.Add()):
            return _joined([key.left, key.right], through)
        case ast.JoinedStr():
            return _joined(key.values, through)
    return []


def _joined(parts: Sequence[ast.expr], through: Mapping[str, list[Any]]) -> list[str]:
    texts = itertools.product(*(_values_of(part, through) for part in parts))
    return ["".join(text) for text in texts if all(isinstance(part, str) for part in text)]


def names_unpacked(function: Any, argument: str) -> list[str]:
    """The names in ``W, U, b = argument`` (a list of weights), or ``W = argument[0]`` and so on; [] where there are no such lines."""
    tree = tree_of(function)
    taken: dict[int, str] = {}
    for node in ast.walk(tree) if tree else ():
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Name) and node.value.id == argument:
            target = node.targets[0]
            if isinstance(target, ast.Tuple | ast.List) and all(isinstance(e, ast.Name | ast.Attribute) for e in target.elts):
                return [_word(e) for e in target.elts]
        for name, value in _single_assignments(node):
            match value:
                case ast.Subscript(ast.Name(id), ast.Constant(int(k))) if id == argument:
                    taken[k] = _word(name)
    return [taken[k] for k in range(len(taken))] if sorted(taken) == list(range(len(taken))) else []


def _single_assignments(node: ast.AST) -> list[tuple[ast.expr, ast.expr]]:
    """Names and values of ``a = b`` and of ``a, b = c, d``."""
    match node:
        case ast.Assign(targets=[ast.Tuple(names)], value=ast.Tuple(values)) if len(names) == len(values):
            return list(zip(names, values, strict=True))
        case ast.Assign(targets=[name], value=value):
            return [(name, value)]
    return []


def names_packed(function: Any, name: str) -> list[str]:
    """The names in ``name = (z, r, n)``, the last of such lines; [] where there is none."""
    tree = tree_of(function)
    found: list[str] = []
    for node in ast.walk(tree) if tree and name else ():
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Tuple | ast.List) and [_word(t) for t in node.targets] == [name]:
            found = [_word(e) for e in node.value.elts]
    return found


_HALF = re.compile(r"^(forwards?|fwd|backwards?|bwd|(back)?prop(agation)?|back|pass)$")


def is_cotangent(argument: str) -> bool:
    """Whether an argument is called as the gradient of an output is: dh, grad_output, delta."""
    return _OF_AN_OUTPUT.fullmatch(argument) is not None


def half_of(forward: str, backs: Sequence[str], fronts: Sequence[str]) -> str | None:
    """The backward function that is called as `forward` is but for the way it goes: ``LSTM_forward`` and ``lstm_backwards``; else the one
    that is called so but for a word for a cell, and is no other's: ``lstm_cell_step`` and ``lstm_step_backward``."""
    exact = {back: [front for front in fronts if _parts_of(front) == _parts_of(back) != []] for back in backs}
    own = next((back for back, of in exact.items() if forward in of), None)
    return own or next((b for b, of in exact.items() if not of and _parts_of(forward, True) == _parts_of(b, True) != []), None)


def _parts_of(name: str, of_a_cell: bool = False) -> list[str]:
    parts = [p for p in name.lower().strip("_").split("_") if not _HALF.match(p)]
    return sorted(p for p in parts if not (of_a_cell and p in ("cell", "block", "unit")))


def handed_from(functions: Mapping[str, Any], method: str) -> dict[str, str]:
    """Arguments of a method that the author's other methods hand over from an attribute: ``self.backward(dy, self.inputs)``."""
    needed, optional = arguments(functions[method])
    names = [n for n in (*needed, *optional) if n not in ("self", "cls")]
    found: dict[str, str] = {}
    for name, function in functions.items():
        tree = tree_of(function) if name != method else None
        for node in ast.walk(tree) if tree else ():
            match node:
                case ast.Call(func=ast.Attribute(value=ast.Name("self"), attr=called)) if called == method:
                    given = [*zip(names, node.args, strict=False), *((k.arg, k.value) for k in node.keywords)]
                    found |= {str(n): v.attr for n, v in given if isinstance(v, ast.Attribute) and ast.unparse(v.value) == "self"}
    return found


def stem(name: str) -> str:
    """What a gradient is of, by its name: 'da_next' -> 'a_next', 'grad_W' -> 'W', 'dLdh' -> 'h', 'W_f_d' -> 'W_f'; 'W_d' is left."""
    of = r"^_?(d(L|J|E|loss|cost|err)_?((by|over|wrt)_?)?d_?|d(L|J|E)_?|grad(ient)?s?_?((wrt|of)_)?|delta_?|diff_|d_?|g_)(?=.)"
    return re.sub(of, "", re.sub(r"_?(grads?|gradient)$|(?<=_[A-Za-z])_d$", "", name))


def same(a: str, b: str) -> bool:
    """Whether two names name the same thing: 'next_h' and 'h_next', 'hs' and 'h', 'W_xh' and 'Wxh'."""
    return bool(a) and bool(b) and _bare(a) == _bare(b)


def _bare(name: str) -> str:
    """Without its order, its plural and what says 'at t': 'next_h' and 'h_next', 'z_s' and 'z' are alike."""
    plain = re.sub(r"(?<=[a-zA-Z])(_s|_t|s)$", "", name.strip("_")) or name
    parts = sorted(p for p in re.split(r"_+", plain) if p)
    return "".join(parts) if len(plain) > 3 else plain


_WHEN = re.compile(r"(_|^)(prev|previous|next|last|final|end|new|old|cur|current|out|init|start|state|tm1|tp1|t|n|0|1)(?=_|$)", re.I)
_STATES = {"h": re.compile(r"^_?(h|a|s|hs|hidden|hid)_?[tTnN0]?$"), "c": re.compile(r"^_?(c|cs|cell|memory)_?[tTnN0]?$", re.I)}


def state_of(name: str) -> str:
    """Which of an LSTM's two states a name is of, whenever it is: 'c' of 'c_next' and of 'cT', '' of 'probs'."""
    bare = _WHEN.sub("", name).strip("_")
    return next((state for state, pattern in _STATES.items() if pattern.match(bare)), "")


def is_previous(name: str) -> bool:
    """Whether a name says that it is of the step before: 'h_prev_t', 'last_c', 'h_tm1'."""
    return bool(re.search(r"(_|^)(prev|previous|last|old|before|tm1)|prev$", name, re.I))
