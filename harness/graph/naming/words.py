"""A cause in one sentence, in the user's own names, with the line of his forward and the line of his backward."""

from __future__ import annotations

import ast
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from bptt.harness.graph.naming.edits import Edit, Sequence_, summed
from bptt.harness.graph.naming.mending import Mended
from bptt.harness.graph.naming.point import Point
from bptt.harness.graph.naming.units import Edge, EdgeClass, Model, UnitKey
from bptt.harness.graph.tracing import statements
from bptt.harness.graph.tracing.node import Frame
from bptt.reports.records import Cause, Source

_FACTOR = {
    "-1": "has the wrong sign",
    "2": "is taken twice",
    "1/2": "is taken half",
    "N": "is N times too large (N sequences in the batch)",
    "1/N": "is divided by N, the size of the batch",
    "T": "is T times too large (T steps)",
    "1/T": "is divided by T, the number of steps",
    "H": "is H times too large (H units)",
    "1/H": "is divided by H, the number of units",
    "H/H-1": "is divided by H - 1 in place of H, the number of units",
    "N/N-1": "is divided by N - 1 in place of N, the size of the batch",
    "T*N": "is T N times too large (T steps, N sequences)",
    "1/T*N": "is divided by T N, the number of outputs of a unit",
    "T*N*H": "is T N H times too large",
    "1/T*N*H": "is divided by T N H, the number of all outputs: a mean in place of the sum",
    "N*H": "is N H times too large",
    "1/N*H": "is divided by N H: a mean in place of the sum",
    "D": "is D times too large (D inputs)",
    "1/D": "is divided by D, the number of inputs",
}
#: What to do where every gradient has one factor too many.
_ONCE = {
    "-1": "turn the sign of what backward begins with, or of what it gives",
    "2": "look for what makes it twice: a factor 2 too many in a derivative, or a share that is added twice",
    "1/2": "look for the half: a factor 1/2 too many, or a derivative that lacks its 2",
    "1/N": "add up over the batch, without / N: a mean belongs to the loss",
    "1/T": "add up over the steps, without / T: a mean belongs to the loss",
    "N": "add up over the batch once, without * N",
    "T": "add it once, not once a step",
}
_ONCE_ELSE = "differentiate the sum, once"
_INSIDE = {
    "0": "is left out",
    "-1": "has the wrong sign",
    "2": "is taken twice",
    "1/2": "is taken half",
    "1/3": "lacks its factor 3",
    "one": "is passed on as it is",
}
_WHEN = {
    "inner": " (though the initial state does)",
    "cut": ", which your forward pass takes out of autograd",
    "odd": " at every second step",
    "even": " at every second step",
    "all": "",
    "not first": " at every step but the first",
    "first": " at the first step",
    "last": " at the last step",
    "not last": " at every step but the last",
}


#: Mistakes that are another variable in the place of the right one: where the line's own text tells which, it tells best.
_OTHER = frozenset(
    ("factor-wrong", "operand-wrong", "other-gradient", "derivative-of-other", "derivative-wrong", "exchanged", "other-step")
)


def cause(point: Point, edit: Edit, line: Frame | None, score: float, evidence: str, how: Mended | None = None) -> Cause:
    """The sentence, and the line to change: of the backward, or of the forward pass where nobody wrote a backward; None: not known.

    how   what should stand in the line
    """
    where = point.model.by_key[edit.target]
    edge = where.edges[-1]
    y, p = value_name(point.model, edge.y), operand_name(point.model, where, edge)
    said, code, mend = _said(point, edit, where, edge, y, p)
    frame = where.frame
    forward = f" ({statements.source_line(frame)}, line {statements.first_line(frame)})" if frame is not None and _known(frame) else ""
    if how is not None:
        mend, said = how.text, _difference(how) if (code in _OTHER and how.before) or edit.act == "inside" else said
    head = f"line {line.line}: " if line is not None else ""
    if line is not None and line is not frame and _known(line):
        evidence = f"{evidence}; {Path(line.file).name}:{line.line} has {statements.source_line(line)!r}"
    source = None if line is None else Source(line.file, line.line)
    return Cause(code, f"{head}{said}{forward}", evidence, score, mend, source, "" if how is None else how.text)


def needless(frame: Frame) -> Cause:
    """An operation of the backward that has no counterpart in the forward pass."""
    line, text = frame.line, statements.text_of(statements.expression(frame)) or statements.source_line(frame)
    said = f"line {line}: {text} changes the gradient, and nothing in your forward pass does so"
    evidence = "without it your own backward gives every gradient right, at two sizes"
    return Cause("operation-too-many", said, evidence, 1.0, f"take it out of {statements.source_line(frame)!r}", Source(frame.file, line))


def added(term: Frame, to: Frame) -> Cause:
    """A term of a sum of the backward that has no counterpart in the forward pass.   to: the sum"""
    line, text = term.line, statements.text_of(statements.expression(term)) or statements.source_line(term)
    said = f"line {line}: {text} is added to the gradient (line {to.line}), and nothing in your forward pass does so"
    evidence = "without it your own backward gives every gradient right, at two sizes"
    return Cause("term-too-many", said, evidence, 1.0, f"leave {text} out", Source(term.file, line))


def rewritten(frame: Frame, how: Mended) -> Cause:
    """A line that is right once a part of it is another one."""
    what = _difference(how)
    evidence = "with this line every gradient of your own backward is right, at two sizes"
    return Cause("line-wrong", f"line {frame.line}: {what}", evidence, 1.0, how.text, Source(frame.file, frame.line), how.text)


def unknown(edits: int, texts: int) -> Cause:
    """That nothing was found, and what was tried."""
    evidence = (
        f"{edits} changes of the derivative of your own forward pass (a term left out, doubled, turned, of another value or step) and "
        f"{texts} changes of the text of your backward were tried; none gives your numbers at two sizes"
    )
    return Cause("unknown", "not known why: the place and the numbers are all that can be said", evidence, 0.0, "")


def _difference(how: Mended) -> str:
    """What is another one in a line."""
    if how.before:
        return f"{how.before} stands where {how.after} belongs"
    return f"{how.after.strip()} is missing" if how.after.strip() else f"it should read {how.text}"


def with_its_mend(cause: Cause, frame: Frame, how: Mended) -> Cause:
    """A cause with what should stand in its line; where nothing else is known of the mistake, that is the cause."""
    if cause.code == "line-wrong":
        return replace(rewritten(frame, how), hypothesis=f"{cause.hypothesis}: {rewritten(frame, how).hypothesis.partition(': ')[2]}")
    if _changes_nothing(how.text):
        return replace(cause, fix=f"leave line {frame.line} out")
    return replace(cause, mended=how.text, fix=how.text)


def _changes_nothing(text: str) -> bool:
    """Whether a line assigns to something what it is."""
    try:
        tree = ast.parse(text.strip())
    except SyntaxError:  # the head of a loop
        return False
    match tree.body:
        case [ast.Assign(targets=[target], value=value)]:
            return ast.unparse(target) == ast.unparse(value)
    return False


def located(point: Point, frame: Frame, wanted: tuple[str, UnitKey, int], kept: bool) -> Cause:
    """The line that is wrong, where nothing more is known of the mistake."""
    line, name = frame.line, statements.written(frame, False) or statements.source_line(frame)
    where = point.model.by_key[wanted[1], wanted[2]]
    node = where.edges[-1].y if wanted[0] == "y" else where.edges[-1].p
    node = node if wanted[0] == "share" else summed(point.model, node)
    meant = value_name(point.model, node)
    place = where.frame
    forward = f" ({statements.source_line(place)}, line {statements.first_line(place)})" if place is not None and _known(place) else ""
    if kept:
        said = f"line {line}: {name} is not the {meant} of your forward pass{forward}"
        evidence = f"with {meant} in its place your own backward gives every gradient right, at two sizes"
        return Cause("other-value-kept", said, evidence, 1.0, f"keep {meant} there", Source(frame.file, line))
    what = f"its share of dL/d({meant})" if wanted[0] == "share" else f"dL/d({meant})"
    said = f"line {line}: {name} is not {what}{forward}"
    evidence = f"with {what} in its place your own backward gives every gradient right, at two sizes; why it is another one is not known"
    filled = statements.filled_for(frame)
    else_ = f", or what fills {filled[0]} (line {filled[1]}), which it reads" if filled else ""
    return Cause("line-wrong", said, evidence, 0.9, f"derive this line anew: {what}{else_}", Source(frame.file, line))


def _said(point: Point, edit: Edit, where: EdgeClass, edge: Edge, y: str, p: str) -> tuple[str, str, str]:
    """The sentence, its code, and the mend."""
    when = _WHEN.get(edit.when, f" at every step {edit.when}")
    term = right_share(point.model, where, edge, y, p)
    dy = gradient_of(point.model, edge.y)
    dp = d(p) if plain_name(p) and edge.p not in point.model.called else gradient_of(point.model, edge.p)
    y = from_where(point.model, edge.y, y)
    if edit.act == "derivative":
        other = name_of(point, edit.other) if edit.other else "another value"
        right = derivative_text(point.model, edge, y)
        fix = f"{dp} = {dy} * {right}" if right else f"take the derivative of {y} at {p}"
        return f"the derivative of {y} is taken at {other} in place of at {p}{when}", "derivative-of-other", fix
    if edit.act == "unsummed":
        fix = f"sum the share of {y} over the axes along which {p} is spread"
        return f"{dp} is not summed over the axes along which {p} is spread to {y}", "sum-missing", fix
    if edit.act == "leaf":
        p = _input_name(name) if (name := point.model.graph.nodes[where.edges[0].p].name) is not None else p
        dp = d(p)
    if edit.act == "leaf" and edit.other is None:
        return f"{dp} is nothing at all: no gradient is handed back for it", "state-not-given", f"{dp} += {term}"
    if edit.act == "skipped":
        return _skipped(edit, p)
    if edit.act == "delivered":
        step = "later" if edit.shift > 0 else "earlier"
        return f"the share of {y} goes to the state one step {step} than {p}", "other-step", f"add {term} to the gradient of {p} itself"
    if edit.act == "mirrored":
        said = f"{dp} is added up in the order in which the loop reads {p}, which is not turned round: its steps are exchanged"
        return said, "not-turned-round", f"turn the gradient of {p} round before it is added"
    if edit.act == "to" and edit.other is not None:
        other = gradient_of(point.model, _node_of(point, edit.other))
        return f"the share of {y} in {dp} goes to {other} instead: {term}", "other-place", f"{dp} += {term}"
    if edit.act == "swapped" and edit.other is not None:
        other = gradient_of(point.model, _node_of(point, edit.other))
        return f"{dy} and {other} stand in each other's place", "exchanged", f"put {dy} and {other} in the order of the forward pass"
    if edit.act == "exchanged" and edit.other is not None:
        other = gradient_of(point.model, _node_of(point, edit.other))
        dp = gradient_of(point.model, edge.p)
        return (
            f"the gradients of two states stand in each other's place: {dp} and {other}",
            "exchanged",
            "hand each back under its own name",
        )
    if edit.act == "turned":
        return f"{dp} is in the opposite order of the steps", "not-turned-round", f"turn {dy} round before it is added"
    if edit.act == "only":
        which = dp if not edit.more else "every parameter's gradient" if _all_parameters(point, edit) else f"that of {_whose(point, edit)}"
        mend = "add it up over all steps and all rows of the batch"
        if "but the first" in edit.form:  # of what is multiplied by the state before
            mend = "add up the first step's share too, with the state that was handed in; without it a sequence has to begin at zero"
        return f"{which} is added up over {edit.form} only", "in-part", mend
    if edit.act == "unmoved":
        said = f"{dp} gets {dy} in the order of {y}: what your forward pass reorders is not put back"
        return said, "not-moved-back", f"put {dy} back into the order of {p}"
    if edit.act == "through" and edit.other is not None:
        z, to = name_of(point, edit.other), gradient_of(point.model, _node_of(point, edit.other))
        form = edit.form.format(q=z if not edit.transposed else p)
        if edit.form == "1":
            said = f"all that lies between {p} and {z} is left out: {to} goes to {dp} as it is"
            return said, "derivative-missing", f"{dp} takes what goes from {z} to {p}"
        said = f"{dp} is {to} * {form}, entry by entry, but entries of {z} depend on other entries of {p} too"
        return said, "entries-taken-alone", f"{dp} takes what goes through the other entries of {z} as well"
    if edit.act == "inside":
        inner = _inner_term(point.model, edge, edit.shift)
        wrong = _INSIDE.get(edit.factor, f"is multiplied by {edit.factor}")
        return (
            f"in the derivative of {y}, what goes through {inner} {wrong}",
            "derivative-wrong",
            f"differentiate {y} with respect to {p} anew",
        )
    if edit.act == "leaf":
        other = gradient_of(point.model, _node_of(point, edit.other)) if edit.other else "another gradient"
        return f"{dp} is {other} itself: it is not taken back through the first step", "state-not-taken-back", f"{dp} += {term}"
    if edit.act == "assigned":
        said = f"{d(p)} keeps one share only of a row that is read more than once: the rows are assigned, not added up"
        return said, "rows-assigned", "np.add.at(gradient, index, share) in place of gradient[index] += share"
    if edit.act == "times":
        if edit.factor == "0" and is_parameter(point, edit):
            said = "no parameter gets a gradient" if _all_parameters(point, edit) else f"{_whose(point, edit)} get no gradient"
            return said, "edge-missing", f"{dp} += {term}"
        if edit.factor == "0":
            if where.kind == "activation":
                return f"{dp} gets nothing from {y}{when}", "edge-missing", f"{dp} += {term}"
            return f"{dp} takes no share from {y}{when}: the term {term} is missing", "edge-missing", f"{dp} += {term}"
        if edit.more and edit.target[0][1].startswith("output"):
            return f"every gradient {_FACTOR.get(edit.factor, edit.factor)}", "all-scaled", _ONCE.get(edit.factor, _ONCE_ELSE)
        if is_parameter(point, edit):
            what = f"is {edit.factor} times what it should be" if _is_number(edit.factor) else edit.factor
            who = "every parameter's gradient" if _all_parameters(point, edit) else f"the gradient of each of {_whose(point, edit)}"
            return f"{who} {_FACTOR.get(edit.factor, what)}", "all-scaled", _ONCE.get(edit.factor, _ONCE_ELSE)
        words = _FACTOR.get(edit.factor, f"is {float(edit.factor):.6g} times what it should be" if _is_number(edit.factor) else "")
        share = f"the share of {y} in {dp}" if dp not in (y, dy) else dp
        return f"{share} {words}{when}", "edge-scaled", f"{dp} += {term}"
    if edit.act == "value" and where.kind == "activation":
        wrong = _form(point, edit, y)
        right = derivative_text(point.model, edge, y)
        fix = f"{dp} = {dy} * {right}" if right else f"multiply {dy} by the derivative of {y} at {p}"
        if edit.form == "1":
            return f"the derivative of {y} is left out: {dy} goes to {dp} as it is{when}", "derivative-missing", fix
        instead = f", {right}" if right else ""
        return f"the derivative of {y} is taken as {wrong} in place of what it is{instead}{when}", "derivative-wrong", fix
    if edit.act == "value":
        wrong = _form(point, edit, y)
        if edit.form == "1":
            return (
                f"{dp}: {dy} is not multiplied by {_other_operand(point.model, where, edge)}{when}",
                "factor-missing",
                f"{dp} += {term}",
            )
        text = f"{dp} is built with {wrong} in place of {_other_operand(point.model, where, edge)}{when}"
        return text, "factor-wrong", f"{dp} += {term}"
    if edit.act == "operand":
        right = _other_operand(point.model, where, edge)
        wrong = right if edit.other is None else name_of(point, edit.other)
        if edit.axes is not None:
            said = f"{dp} is built with axes {edit.axes[0]} and {edit.axes[1]} of {_argument(point.model, edge, edit.arg)} exchanged{when}"
            return said, "transposed", "sum over the axes that the forward pass sums over"
        if edit.transposed and edit.other is None:
            return f"{dp} is built with {right} transposed the wrong way{when}", "transposed", f"{dp} += {term}"
        if wrong == right:  # two arrays under one name: a sequence as it came, and reversed
            said = f"{dp} is built with another {right} than the one that went through the forward pass{when}"
            return said, "operand-wrong", f"build {dp} with the {right} that the forward pass was given, turned as it was turned there"
        return (
            f"{dp} is built with {wrong} in place of {right}{when}",
            "factor-wrong" if where.kind == "multiply" else "operand-wrong",
            f"{dp} += {term}",
        )
    if edit.act == "transposed share":
        return f"the share of {y} in {dp} is transposed{when}", "transposed", f"{dp} += {term}"
    if edit.act == "short" and edit.other is not None:
        way = from_where(point.model, at := _node_of(point, ("y", *edit.other[1:])), value_name(point.model, at))
        return f"{dp} is built from a {dy} that lacks what comes through {way}{when}", "other-gradient", f"{dp} += {term}"
    if edit.act == "bar" and edit.other is not None and edit.other[0] == "value":
        other = value_name(point.model, point.model.by_key[edit.other[1:]].edges[-1].y)
        return f"{dp} is built with {other} itself in place of {dy}{when}", "value-for-gradient", f"{dp} += {term}"
    if edit.act == "bar" and edit.other is not None and edit.other[0] == "share":
        at = point.model.by_key[edit.other[1:]].edges[-1].y
        other = gradient_of(point.model, at)
        return f"{dp} is built from {other} in place of {dy}{when}", "other-gradient", f"{dp} += {term}"
    if edit.act == "neighbour":
        return f"{dp} takes its share from {y} of the step {'after' if edit.shift > 0 else 'before'}", "other-step", f"{dp} += {term}"
    other = gradient_of(point.model, _node_of(point, edit.other)) if edit.other else "another gradient"
    return f"{dp} is built from {other} in place of {dy}{when}", "other-gradient", f"{dp} += {term}"


def _parameters(point: Point, edit: Edit) -> list[str]:
    names = (point.model.graph.nodes[e.p].name for t in (edit.target, *edit.more) for e in point.model.by_key[t].edges)
    return list(dict.fromkeys(name[1] for name in names if name is not None and name[0] == "params"))


def _all_parameters(point: Point, edit: Edit) -> bool:
    """Whether it is made at every parameter whose gradient is given."""
    return set(_parameters(point, edit)) >= {name[1] for name in point.parts if name[0] == "params"}


def _whose(point: Point, edit: Edit) -> str:
    return joined(_parameters(point, edit))


def is_parameter(point: Point, edit: Edit) -> bool:
    """Whether it is made at the parameters, at several of them."""
    nodes = point.model.graph.nodes
    names = {nodes[e.p].name for t in (edit.target, *edit.more) for e in point.model.by_key[t].edges}
    return len(names) > 1 and all(name is not None and name[0] == "params" for name in names)


def _argument(model: Model, edge: Edge, k: int) -> str:
    """What the user calls one of several arguments of an einsum."""
    frame = model.graph.nodes[edge.y].place[-1]
    call = statements.expression(frame)
    given = call.args if isinstance(call, ast.Call) else []
    first = 1 if given and isinstance(given[0], ast.Constant) else 0
    text = statements.short(given[first + k]) if first + k < len(given) else None
    return text or value_name(model, model.graph.nodes[edge.y].args[k])


def _skipped(edit: Edit, p: str) -> tuple[str, str, str]:
    if edit.when in ("first", "last"):
        said = f"the loop of your backward leaves out the {edit.when} step"
    else:
        k = int(edit.when.removeprefix("but the last "))
        said = f"the loop of your backward ends after the last {'step' if k == 1 else f'{k} steps'}: earlier ones add nothing"
    return said, "steps-left-out", f"go through all steps, from the last to the first, on the way back to {p}"


def _inner_term(model: Model, edge: Edge, term: int) -> str:
    n, k = model.inside(edge.y)[term]
    frame = model.graph.nodes[n].place[-1] if model.graph.nodes[n].place else None
    text = statements.short(statements.operand(frame, k)) if frame is not None else None
    return text or f"one of its terms ({model.graph.nodes[n].op})"


def d(name: str) -> str:
    """The gradient of a name: dh of h, dW_z of p["W_z"], d(x @ W) of an expression."""
    plain = plain_name(name)
    return f"d{plain}" if plain else f"d({name})"


def gradient_of(model: Model, node: int) -> str:
    """The name under which a person has dL/d(node): that of the sum that it is a plain term of, da_z for what goes into z."""
    if node in model.called:
        return model.called[node]
    at = node
    while True:
        above = model.into.get(at, [])
        if len(above) != 1:
            break
        edge = above[0]
        op = model.graph.nodes[edge.y].op
        if edge.y in model.derivative:
            named = value_name(model, edge.y)
            return f"da_{plain_name(named)}" if plain_name(named) and op != "subtract" else d(value_name(model, node))
        if op == "output":
            settings = str(model.graph.nodes[edge.y].settings)
            return "dys[t]" if settings == "ys" else f"dfinal[{settings.removeprefix('final ')!r}]"
        plain = op == "add" or (op == "subtract" and edge.arg == 0)
        if op in ("gather", "scatter") and _ends(model, edge.y):
            at = edge.y
            continue
        if not plain or model.values[edge.y].shape != model.values[at].shape or _assigned(model, at):
            break
        at = edge.y
    return d(value_name(model, at))


def _ends(model: Model, node: int) -> bool:
    """Whether nothing but entries being moved lies between a node and an output."""
    while True:
        op = model.graph.nodes[node].op
        if op == "output":
            return True
        above = model.into.get(node, [])
        if op not in ("gather", "scatter") or len(above) != 1:
            return False
        node = above[0].y


def _assigned(model: Model, node: int) -> bool:
    frame = model.frames.get(node) or (model.graph.nodes[node].place[-1] if model.graph.nodes[node].place else None)
    return frame is not None and statements.written(frame) is not None


def plain_name(text: str) -> str | None:
    """The identifier in a name, an attribute, a key: h, W_z; None for an expression."""
    try:
        node: ast.AST = ast.parse(text, mode="eval").body
    except SyntaxError:
        return None
    while True:
        match node:
            case ast.Name(id=name):
                return name
            case ast.Attribute(attr="T" | "mT" | "data", value=inner):
                node = inner
            case ast.Attribute(attr=name):
                return name
            case ast.Subscript(slice=ast.Constant(value=str(key))):
                return key if key.isidentifier() else None
            case ast.Subscript(value=inner):
                node = inner
            case _:
                return None


def value_name(model: Model, node: int) -> str:
    """What the user calls the value of a node."""
    it = model.graph.nodes[node]
    if it.name is not None:
        return _input_name(it.name)
    frame = model.frames.get(node) or (it.place[-1] if it.place else None)
    if frame is None:
        return "a value"
    which = it.settings.part if it.op == "gather" else it.part
    if which >= 0 and (part := statements.written_part(frame, which)):
        return part
    if name := statements.written(frame) or statements.short(statements.expression(frame)):
        return name
    whole = statements.written(frame, False)
    return f"the {_PART_OF.get(it.op, 'value')} inside of {whole}" if whole else "a value"


#: What a part of a statement is, that has no name and is too long to be written out.
_PART_OF = {"add": "sum", "subtract": "difference", "multiply": "product", "matmul": "product", "divide": "quotient"}


def _input_name(name: tuple[str, str]) -> str:
    return {"xs": "xs", "state": f"{name[1]}0"}.get(name[0], name[1])


def operand_name(model: Model, where: EdgeClass, edge: Edge) -> str:
    """What the user calls the argument of an edge, where it is read."""
    frame = where.frame
    text = statements.short(statements.operand(frame, edge.slot)) if frame is not None else None
    if text is not None and plain_name(text):
        return text
    named = value_name(model, edge.p)
    return named if named != "a value" and (plain_name(named) or text is None) else text or named


def from_where(model: Model, node: int, name: str) -> str:
    """A term of a person's sum: the expression, or the output that it comes from."""
    if not _ends(model, node):
        return name
    gradient = gradient_of(model, node)
    return f"the outputs ({gradient})" if gradient.startswith("dys") else f"the final state ({gradient})"


def _node_of(point: Point, sequence: Sequence_) -> int:
    edge = point.model.by_key[sequence[1], sequence[2]].edges[-1]
    return edge.y if sequence[0] == "y" else edge.p


def name_of(point: Point, sequence: Sequence_) -> str:
    where = point.model.by_key[sequence[1], sequence[2]]
    edge = where.edges[-1]
    return value_name(point.model, edge.y) if sequence[0] == "y" else operand_name(point.model, where, edge)


def _other_operand(model: Model, where: EdgeClass, edge: Edge) -> str:
    frame = where.frame
    text = statements.short(statements.operand(frame, 1 - edge.slot)) if frame is not None else None
    if text:
        return text
    args = model.graph.nodes[edge.y].args
    return value_name(model, args[1 - edge.slot]) if len(args) == 2 else "its factor"


def right_share(model: Model, where: EdgeClass, edge: Edge, y: str, p: str) -> str:
    """The term that the edge adds to dp, as code."""
    if (beyond := _beyond_view(model, edge)) is not None:
        term = right_share(model, model.by_key[beyond.key, beyond.slot], beyond, value_name(model, beyond.y), y)
        value, view = model.values[edge.p], model.values[edge.y]
        return term if np.array_equal(value, view) else f"({term}).T" if np.array_equal(value.T, view) else f"{term}, laid as {p}"
    g = gradient_of(model, edge.y)
    q = _other_operand(model, where, edge)
    op = model.graph.nodes[edge.y].op
    q = q if plain_name(q) or re.fullmatch(r"\(.*\)|[\w.\[\]'\"]+(\(.*\))?", q) else f"({q})"
    if where.kind == "activation":
        right = derivative_text(model, edge, y)
        return f"{g} * {right}" if right else f"{g} * f'({p})"
    if op == "multiply":
        return f"{g} * {q}"
    if op == "divide":
        return f"{g} / {q}" if edge.slot == 0 else f"-{g} * {y} / {q}"
    if op == "matmul" or (op == "einsum" and model.graph.nodes[edge.y].settings.call == "dot"):
        turned = q.removesuffix(".T") if q.endswith(".T") else f"{q}.T"
        return f"{g} @ {turned}" if edge.slot == 0 else f"{turned} @ {g}"
    if op == "einsum" and len(model.graph.nodes[edge.y].args) == 2:
        into, out = model.graph.nodes[edge.y].settings.subscripts.split("->")
        mine, other = into.split(",")[edge.arg], into.split(",")[1 - edge.arg]
        return f'np.einsum("{out},{other}->{mine}", {g}, {q})'
    if op == "subtract" and edge.slot == 1:
        return f"-{g}"
    axes = model.values[edge.y].ndim - model.values[edge.p].ndim
    return f"{g}.sum(axis=0)" if op in ("add", "subtract") and axes == 1 else g


def _beyond_view(model: Model, edge: Edge) -> Edge | None:
    """The one edge that reads what is only another view of p, all of it: nobody computes the gradient of a view."""
    node, above = model.graph.nodes[edge.y], model.into.get(edge.y, [])
    view = node.op == "gather" and len(node.args) == 1 and model.values[edge.y].size == model.values[edge.p].size
    return above[0] if view and len(above) == 1 and not _ends(model, edge.y) and not statements.written(node.place[-1]) else None


def derivative_text(model: Model, edge: Edge, y: str) -> str | None:
    """f'(a) as code in y, where it is one of the usual ones."""
    value, right = model.values[edge.y], model.derivative.get(edge.y)
    if right is None:
        return None
    q = y if plain_name(y) else f"({y})"
    a = model.values[edge.p]
    forms = ((f"{q} * (1 - {q})", value * (1 - value)), (f"(1 - {q}**2)", 1 - value * value), (f"({q} > 0)", (value > 0) * 1.0), (q, value))
    for text, form in forms:
        if np.allclose(right, form, rtol=1e-9, atol=1e-12) and (text != q or not np.allclose(value, 1)):
            return text
    with np.errstate(all="ignore"):
        for text, form in (("-1", -np.ones_like(a)), ("1", np.ones_like(a))):
            if np.allclose(right, form, rtol=1e-12):
                return text
        constant = float(right.reshape(-1)[0])
        if np.allclose(right, constant, rtol=1e-12):
            return f"{constant:g}"
    return None


def _form(point: Point, edit: Edit, y: str) -> str:
    name = y if edit.other is None else name_of(point, edit.other)
    name = name if plain_name(name) or name.isidentifier() else f"({name})"
    return edit.form.format(q=name).strip()


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _known(frame: Frame) -> bool:
    return bool(statements.source_line(frame))


def joined(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
