"""Small changes of an expression's text: what a person could have meant to write there, in his own names.

A change is a stretch of the text and what should stand in its place.  Names are exchanged for others of the same shape only, which is
known where the expression was seen at work (`mending.seen`).
"""

from __future__ import annotations

import ast
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations

import numpy as np

from bptt.harness.subject import Array

#: A text's value among those of a line that is being run; None where it has none, or none that is an array of numbers.
ValueOf = Callable[[str], Array | None]
#: (start, end, what should stand there), counted from the start of the block.
Change = tuple[int, int, str]

_FACTORS: Mapping[str, Callable[[Array], Array]] = {
    "{q}": lambda q: q,
    "{q} * (1 - {q})": lambda q: q * (1 - q),
    "(1 - {q})": lambda q: 1 - q,
    "(1 - {q}**2)": lambda q: 1 - q * q,
    "{q}**2": lambda q: q * q,
    "({q} > 0)": lambda q: (q > 0) * 1.0,
    "1 / {q}": lambda q: 1 / q,
}
#: Of a single number: where it is larger than zero says nothing.
_OF_NUMBERS = frozenset(("{q}", "(1 - {q})", "1 / {q}"))
_FORMS = ("-{q}", "(1 - {q})", "(1 - {q}**2)", "{q} * (1 - {q})", "{q}**2", "2 * {q}", "0.5 * {q}", "np.tanh({q})", "np.cos({q})")
_OPERATORS: Mapping[type, tuple[str, ...]] = {
    ast.Add: ("-",), ast.Sub: ("+",), ast.Mult: ("/", "@"), ast.Div: ("*",), ast.MatMult: ("*",),
}  # fmt: skip
#: What changes the object that it is asked of.
_ACTS = frozenset(("pop", "popleft", "append", "extend", "insert", "remove", "next", "setdefault", "update", "backward", "forward"))
#: What makes one array of a list of them.
_OF_LISTS = frozenset(("stack", "array", "asarray", "concatenate", "vstack", "cat"))
#: Of two changes at once at most so many of each are combined.
_MOST_PAIRED = 90


@dataclass(frozen=True)
class Block:
    """The lines of one statement.   first: the number of the first of them"""

    text: str
    first: int

    @cached_property
    def starts(self) -> list[int]:
        found = [0]
        for line in self.text.splitlines(keepends=True):
            found.append(found[-1] + len(line))
        return found

    def span(self, node: ast.expr) -> tuple[int, int]:
        starts = self.starts
        return (
            starts[node.lineno - self.first] + node.col_offset,
            starts[(node.end_lineno or node.lineno) - self.first] + (node.end_col_offset or 0),
        )

    def of(self, node: ast.expr) -> str:
        start, end = self.span(node)
        return self.text[start:end]

    def with_(self, changes: Sequence[Change]) -> str:
        text = self.text
        for start, end, new in sorted(changes, reverse=True):
            text = text[:start] + new + text[end:]
        return text


def changes(block: Block, root: ast.expr, names: Sequence[str], value_of: ValueOf) -> Iterator[tuple[float, tuple[Change, ...]]]:
    """Changes of the expression `root`, each with what it costs, the likeliest first.   value_of: of a text, where it has one there"""
    nodes = [n for n in ast.walk(root) if isinstance(n, ast.expr)]
    called = {id(c.func) for c in nodes if isinstance(c, ast.Call)}
    inner = {id(n.value) for n in nodes if isinstance(n, ast.Attribute | ast.Subscript)}
    values = {text: v for text in names if (v := value_of(text)) is not None}
    atoms: list[ast.expr] = [n for n in nodes if isinstance(n, ast.Name | ast.Attribute | ast.Subscript) and id(n) not in called]
    atoms = [n for n in atoms if id(n) not in inner and value_of(block.of(n)) is not None]
    atoms += [bare for n in atoms if (bare := _innermost(block, n, value_of)) is not n]
    atoms += [n for n in nodes if (isinstance(n, ast.Constant) and type(n.value) is float) or is_zeros(n)]
    places = {id(inside) for n in nodes if isinstance(n, ast.Subscript) for inside in ast.walk(n.slice)}
    small = list(slips(block, nodes, called, places))
    yield from ((1.0, (c,)) for c in small)
    forms = list(_forms(block, nodes, called | places))
    yield from ((cost, (c,)) for cost, c in forms if cost < 2)
    other = list(_others(block, atoms, values, value_of))
    yield from ((1.2, (c,)) for c in other)
    yield from ((1.3, made) for made in _everywhere(block, other))
    yield from ((cost, (c,)) for cost, c in forms if cost >= 2)
    yield from ((2.0, (c,)) for c in _more(block, root, nodes, called | places, values, value_of))
    small += [c for cost, c in forms if cost < 2]
    singles = [*small[:_MOST_PAIRED], *other[:_MOST_PAIRED]]
    yield from ((3.0, (a, b)) for a, b in combinations(singles, 2) if a[1] <= b[0] or b[1] <= a[0])


def _innermost(block: Block, n: ast.expr, value_of: ValueOf) -> ast.expr:
    """The array of which a part is taken, or which is turned: W of ``W[:, :H].T``."""
    while isinstance(n, ast.Attribute | ast.Subscript) and value_of(block.of(n.value)) is not None:
        n = n.value
    return n


def is_zeros(n: ast.expr) -> bool:
    return isinstance(n, ast.Call) and isinstance(n.func, ast.Attribute) and n.func.attr in ("zeros", "zeros_like")


def slips(block: Block, nodes: Sequence[ast.expr], called: set[int], places: set[int]) -> Iterator[Change]:
    """What is left out, doubled, turned: without any other name.   places: what stands in brackets behind an array"""
    for n in nodes:
        start, end = block.span(n)
        text = block.of(n)
        if isinstance(n, ast.Attribute) and n.attr == "T":
            yield start, end, block.of(n.value)
        if isinstance(n, ast.Attribute) and n.attr in ("mean", "sum"):
            yield start, end, f"{block.of(n.value)}.{'sum' if n.attr == 'mean' else 'mean'}"
        if isinstance(n, ast.Call) and n.args and len(n.args) + len(n.keywords) > 1 and not _spread(n):
            yield start, end, block.of(n.args[0])
        if isinstance(n, ast.Call) and n.args and isinstance(n.func, ast.Attribute) and n.func.attr in _OF_LISTS:
            yield (*(at := block.span(n.args[0])), f"{block.text[slice(*at)]}[::-1]")
        if isinstance(n, ast.Subscript) and ast.unparse(n.slice) == "::-1":
            yield start, end, block.of(n.value)
        if isinstance(n, ast.BinOp):
            left, right = block.span(n.left), block.span(n.right)
            yield _bare(block, start, end, block.of(n.left))
            yield _bare(block, start, end, block.of(n.right))
            between = block.text[left[1] : right[0]]
            for sign in _OPERATORS.get(type(n.op), ()):
                mine = {ast.Add: "+", ast.Sub: "-", ast.Mult: "*", ast.Div: "/", ast.MatMult: "@"}[type(n.op)]
                here = left[1] + between.index(mine)
                yield here, here + len(mine), sign
            if isinstance(n.op, ast.Pow) and isinstance(n.left, ast.BinOp):  # (1 - h) ** 2 for 1 - h ** 2
                raised = f"{_alone(block, n.left.right)} ** {block.of(n.right)}"
                yield (
                    start,
                    end,
                    f"({block.text[slice(*block.span(n.left))][: block.span(n.left.right)[0] - block.span(n.left)[0]]}{raised})",
                )
            if isinstance(n.op, ast.Add | ast.Sub):
                turned = f"{block.of(n.right)}{between if isinstance(n.op, ast.Sub) else ' - '}{block.of(n.left)}"
                yield start, end, turned if block.text[start - 1 : start] + block.text[end : end + 1] == "()" else f"({turned})"
        if isinstance(n, ast.Constant) and isinstance(n.value, str) and "->" in n.value:
            yield from ((start, end, f"{text[0]}{other}{text[-1]}") for other in _axes_exchanged(n.value))
        if isinstance(n, ast.UnaryOp) and isinstance(n.op, ast.USub):
            yield start, end, block.of(n.operand)
            if id(n) in places:
                yield start, end, "0"
        if isinstance(n, ast.Constant) and isinstance(n.value, int) and not isinstance(n.value, bool):
            yield from ((start, end, str(k)) for k in (n.value + 1, n.value - 1) if k >= 0 or id(n) in places)
        if isinstance(n, ast.Name) and id(n) in places:
            yield from ((start, end, f"{text} {sign} 1") for sign in "-+")
        if (
            isinstance(n, ast.Name | ast.Attribute | ast.Subscript)
            and id(n) not in called
            and not (isinstance(n, ast.Attribute) and n.attr == "T")
        ):
            yield start, end, f"{text}.T"


def gathered(block: Block, statement: ast.AugAssign) -> Iterator[Change]:
    """``g[words] += d`` as ``np.add.at(g, words, d)``: where a word comes twice in `words` only one of its shares is added."""
    target = statement.target
    if isinstance(statement.op, ast.Add) and isinstance(target, ast.Subscript) and not isinstance(target.slice, ast.Slice | ast.Constant):
        parts = ", ".join(block.of(part) for part in (target.value, target.slice, statement.value))
        yield block.span(target)[0], block.span(statement.value)[1], f"np.add.at({parts})"


def _bare(block: Block, start: int, end: int, new: str) -> Change:
    """The change, and without the brackets around a single name that it would leave."""
    text = block.text
    alone = text[start - 1 : start] + text[end : end + 1] == "()" and not (text[start - 2 : start - 1] or " ").isidentifier()
    return (
        (start - 1, end + 1, new)
        if alone and new.replace(".", "").isidentifier() and text[start - 2 : start - 1] not in ")]"
        else (start, end, new)
    )


def _axes_exchanged(subscripts: str) -> Iterator[str]:
    """The subscripts of an einsum with two axes of one operand in each other's place."""
    operands, _, output = subscripts.partition("->")
    parts = operands.split(",")
    for k, letters in enumerate(parts):
        for a, b in combinations([c for c in letters if c.isalpha()], 2):
            other = letters.translate(str.maketrans(a + b, b + a))
            yield f"{','.join([*parts[:k], other, *parts[k + 1 :]])}->{output}"


def other_axes(block: Block, root: ast.AST) -> Iterator[Change]:
    """Sums, means and the like over another axis."""
    for call in (n for n in ast.walk(root) if isinstance(n, ast.Call) and isinstance(n.func, ast.Attribute)):
        given = [k.value for k in call.keywords if k.arg in ("axis", "dim")]
        given += call.args[:1] if ast.unparse(call.func).rpartition(".")[2] in ("sum", "mean", "max", "prod", "cumsum") else []
        for n in given:
            known = n.operand if isinstance(n, ast.UnaryOp) else n
            if isinstance(known, ast.Constant) and type(known.value) is int:
                text = block.of(n)
                yield from ((*block.span(n), other) for other in ("0", "1", "-1", "2") if other != text)


def places_changed(block: Block, target: ast.expr) -> Iterator[Change]:
    """Other places of an array that is written into: the step before, the step after."""
    inside = [n for s in ast.walk(target) if isinstance(s, ast.Subscript) for n in ast.walk(s.slice) if isinstance(n, ast.expr)]
    yield from slips(block, inside, set(), {id(n) for n in inside})


def _forms(block: Block, nodes: Sequence[ast.expr], but: set[int]) -> Iterator[tuple[float, Change]]:
    """The usual functions of a part of the expression."""
    for n in nodes:
        if isinstance(n, ast.Name | ast.Attribute | ast.Subscript | ast.BinOp) and id(n) not in but:
            cost = 2.1 if isinstance(n, ast.BinOp) else 1.1  # of those that cost the same the shorter text: twice before half
            start, end = block.span(n)
            bare = block.text[start - 1 : start] + block.text[end : end + 1] == "()"  # stands in brackets of its own already
            texts = (form.format(q=_alone(block, n)) for form in _FORMS)
            for text in texts:
                call = text.startswith("np.")  # what has a name already is likelier than computing it once more
                yield cost + 0.2 * call, (start, end, text if bare or call or text.startswith("(1 - ") else f"({text})")


def _spread(n: ast.Call) -> bool:
    return any(isinstance(a, ast.Starred) for a in n.args)


def _alone(block: Block, n: ast.expr) -> str:
    text = block.of(n)
    return f"({text})" if isinstance(n, ast.BinOp | ast.UnaryOp | ast.Compare) else text


def _others(block: Block, atoms: Sequence[ast.expr], values: Mapping[str, Array], value_of: ValueOf) -> Iterator[Change]:
    """Another name of the same shape, or turned."""
    for n in atoms:
        mine, own = block.of(n), value_of(block.of(n))
        for name, value in values.items():
            if own is None or name == mine:
                continue
            if value.shape == own.shape:
                yield (*block.span(n), name)
            if value.ndim == 2 and value.shape[::-1] == own.shape:
                yield (*block.span(n), name.removesuffix(".T") if name.endswith(".T") else f"{name}.T")


def _everywhere(block: Block, other: Sequence[Change]) -> Iterator[tuple[Change, ...]]:
    """Another name for one that stands there more than once, at every place."""
    places: dict[tuple[str, str], list[Change]] = defaultdict(list)
    for start, end, new in other:
        places[block.text[start:end], new].append((start, end, new))
    yield from (tuple(several) for several in places.values() if len(several) > 1)


def _more(
    block: Block, root: ast.expr, nodes: Sequence[ast.expr], but: set[int], values: Mapping[str, Array], value_of: ValueOf
) -> Iterator[Change]:
    """A factor or a term more at a part of the expression."""
    for n in nodes:
        if n is root or id(n) in but or not isinstance(n, ast.Name | ast.Attribute | ast.Subscript | ast.BinOp | ast.Call):
            continue
        own = value_of(block.of(n))
        if own is None or own.size < 2:
            continue
        for name, value in values.items():
            if (value.size > 1 or (value.ndim == 0 and value not in (0, 1))) and _fits(value, own.shape):
                yield _inside(block, n, f"{_alone(block, n)} * {name}")
                if value.ndim == 0:
                    yield _inside(block, n, f"{_alone(block, n)} / {name}")
                if value.shape == own.shape or (value.ndim and value.ndim == own.ndim - 1):  # a bias has no batch
                    # what takes itself away is nothing, which is right wherever a gradient is
                    yield from ((*block.span(n), f"({block.of(n)} {sign} {name})") for sign in "+-" if sign == "+" or name != block.of(n))


def _inside(block: Block, n: ast.expr, product: str) -> Change:
    """A product in the place of a part, in brackets where what stands around would take it apart."""
    start, end = block.span(n)
    before, behind = block.text[:start].rstrip()[-1:], block.text[end:].lstrip()
    return start, end, f"({product})" if before in ("/", "@") or behind[:1] in (".", "[") or behind.startswith("**") else product


def is_pure(root: ast.expr) -> bool:
    """Whether it can be evaluated once more without anything being another thing afterwards, as far as its words tell."""
    called = [n.func for n in ast.walk(root) if isinstance(n, ast.Call)]
    words = {f.attr if isinstance(f, ast.Attribute) else getattr(f, "id", "") for f in called}
    return not words & _ACTS and not any("random" in ast.unparse(f) for f in called)


def completed(
    block: Block, root: ast.expr, names: Sequence[str], value_of: ValueOf, wanted: Sequence[Array], given: Array | None = None
) -> Iterator[tuple[float, tuple[Change, ...]]]:
    """The expression with a factor or a term more, with which it is one of the values that are wanted; found by the numbers alone.

    given   what it gives, where it cannot be evaluated once more
    """
    values = distinct({text: v for text in names if (v := value_of(text)) is not None and v.size})
    given = value_of(block.of(root)) if given is None else given
    plain = not isinstance(root, ast.BinOp | ast.UnaryOp) or isinstance(root.op, ast.Mult | ast.Div | ast.MatMult)
    start, end = block.span(root)
    if given is None:
        return
    arrays = {text: v for text, v in values.items() if v.size > 1 or (v.ndim == 0 and v not in (0, 1))}
    texts, rows = _table(arrays, given.shape)
    for one in wanted:
        target = one.reshape(given.shape)
        if not np.any(target):
            continue  # nearly everything times something is that
        for k in _equal_at(rows * given.reshape(-1), target.reshape(-1)):
            factor = f"* {texts[k]}".replace("* 1 /", "/")
            yield 2.0, ((end, end, f" {factor}"),) if plain else ((start, end, f"({block.of(root)}) {factor}"),)
        missing = target - given
        if given.ndim == 0 or not np.any(missing):
            continue
        for sign, term in (("+", missing), ("-", -missing)):
            yield from ((2.0, ((end, end, f" {sign} {text}"),)) for text in products(values, term))


def distinct(values: Mapping[str, Array]) -> dict[str, Array]:
    """The first name of each value."""
    found: dict[tuple[object, bytes], str] = {}
    for text, v in values.items():
        found.setdefault((v.shape, v.tobytes()), text)
    return {text: values[text] for text in found.values()}


def products(values: Mapping[str, Array], wanted: Array) -> Iterator[str]:
    """Names, and products of two, that have this value."""
    if not wanted.size:
        return
    n, largest = wanted.size, int(np.argmax(np.abs(wanted)))
    size = float(np.abs(wanted).reshape(-1)[largest])
    yield from (name for name, v in values.items() if v.size == n and same(v, wanted))
    some = {name: v for name, v in values.items() if v.ndim == 2} if wanted.ndim == 2 else {}
    for p, x in some.items():
        for q, y in some.items():
            for form, a, b in (("{p} @ {q}.T", x, y.T), ("{p}.T @ {q}", x.T, y), ("{p} @ {q}", x, y)):
                if a.shape[1] == b.shape[0] and (a.shape[0], b.shape[1]) == wanted.shape:
                    i, j = divmod(largest, wanted.shape[1])
                    if abs(float(a[i] @ b[:, j]) - wanted[i, j]) <= 1e-7 * size and same(a @ b, wanted):
                        yield form.format(p=p, q=q)
    alike = [(p, x.reshape(-1)) for p, x in values.items() if x.shape == wanted.shape and x.ndim]
    texts, rows = _table(values, wanted.shape) if alike else ([], np.zeros((0, n)))
    for p, x in alike:
        yield from (f"{p} * {texts[k]}".replace("* 1 /", "/") for k in _equal_at(rows * x, wanted.reshape(-1)))


def _table(values: Mapping[str, Array], shape: tuple[int, ...]) -> tuple[list[str], Array]:
    """The usual functions of all values that can be multiplied into an array of this shape: their texts, and a row for each."""
    texts, rows = [], []
    with np.errstate(all="ignore"):
        for name, value in values.items():
            if _fits(value, shape):
                for form, of in _factors(value):
                    texts.append(form.format(q=name))
                    rows.append(np.broadcast_to(np.asarray(of(value), np.float64), shape).reshape(-1))
    return texts, np.array(rows).reshape(len(rows), int(np.prod(shape, dtype=int)))


def _equal_at(rows: Array, wanted: Array) -> Iterator[int]:
    """The rows that are these numbers."""
    with np.errstate(all="ignore"):
        right = np.all(np.abs(rows - wanted) <= 1e-7 * np.max(np.abs(wanted), initial=0.0) + 1e-300, axis=1)
    yield from (int(k) for k in np.flatnonzero(right))


def _factors(value: Array) -> Iterator[tuple[str, Callable[[Array], Array]]]:
    """The usual functions of a value, but for those that are one everywhere."""
    with np.errstate(all="ignore"):
        for form, of in _FACTORS.items():
            if (value.ndim or form in _OF_NUMBERS) and not np.all(of(value) == 1):
                yield form, of


def same(a: Array | None, b: Array) -> bool:
    """Whether two arrays are the same to rounding, but for axes of length one."""
    if a is None or a.size != b.size or np.squeeze(a).shape != np.squeeze(b).shape:
        return False
    return bool(np.all(np.abs(a.reshape(b.shape) - b) <= 1e-7 * np.max(np.abs(b), initial=0.0) + 1e-300))


def _fits(value: Array, shape: tuple[int, ...]) -> bool:
    """Whether it can be multiplied into an array of this shape, and leaves it that."""
    try:
        return bool(np.broadcast_shapes(value.shape, shape) == shape)
    except ValueError:
        return False
