"""The door: a class, a function or a whole module, read and driven."""

from __future__ import annotations

import ast
import contextlib
import difflib
import inspect
import re
import sys
import types
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from bptt.harness.adapters.frameworks import rules_of_jax
from bptt.harness.adapters.objects import has, is_factory, is_torch, raised_at, short_name
from bptt.harness.adapters.reading.as_subject import NotUnderstoodError, subject
from bptt.harness.adapters.reading.choice import AmbiguousError, choose, common_factor, right_in_another_order
from bptt.harness.adapters.reading.code import words
from bptt.harness.adapters.reading.code.making import CannotMakeError, methods_of, of_class
from bptt.harness.adapters.reading.code.owners import HandedOwner, Owner, of_arguments, of_globals, of_methods
from bptt.harness.adapters.reading.code.walk import walked
from bptt.harness.adapters.reading.drive import main_leaf
from bptt.harness.adapters.reading.passes import backward
from bptt.harness.adapters.reading.passes import forward as forwards
from bptt.harness.adapters.reading.passes.form import Failures, Forward, quiet
from bptt.harness.adapters.reading.passes.losses import without_its_guard
from bptt.harness.adapters.reading.passes.running import Reading
from bptt.harness.errors import UsageError
from bptt.harness.subject import Subject


def adapt(obj: object, spec: str, args: Mapping[str, object] | None) -> Subject | None:
    """A class, a function that makes an object, or an object made already, with a forward pass and usually a backward pass.

    None where it has no forward pass.  Raises UsageError where it was not understood, with the reading that came furthest.
    """
    if is_torch(obj) or (has(obj, "run") and has(obj, "zero_state")) or isinstance(obj, types.ModuleType | str | bytes):
        return None
    methods: Mapping[str, Any] = {} if is_factory(obj) else methods_of(obj if isinstance(obj, type) else type(obj))
    if not is_factory(obj) and not any(words.FORWARD.match(n) for n in methods) and not list(_pairs(methods, lambda n: True)):
        return None
    failures = Failures()
    if isinstance(obj, type) and (static := _read_static(obj, list(_pairs(methods, lambda n: True)), spec)) is not None:
        return static
    try:
        with quiet():
            owners = list(of_class(obj, args))
    except CannotMakeError as error:
        raise UsageError(f"{spec}: {short_name(obj)}: {error}, {_WANTED}") from error
    if not owners:
        raise UsageError(f"{spec}: {short_name(obj)} could not be made at any sizes, {_WANTED}")
    methods = owners[0].methods
    pairs = list(_pairs(methods, lambda n: True))
    if not pairs:
        return _forward_alone(obj, spec, owners, failures)
    tries = [(h, f, b) for o in owners for f, b in pairs for h in of_methods(o, f, b)] + [(o, f, b) for o in owners for f, b in pairs]
    try:
        return _subject_of(obj, spec, tries, failures)
    except NotUnderstoodError as refused:
        if all(_is_other_direction(owners, f, b, failures) for f, b in pairs):
            undriven = tuple(f"{b}({', '.join(_named(methods[b]))}), a step of the other direction" for _, b in pairs if b)
            alone = _best_alone(obj, spec, owners, list(dict.fromkeys(f for f, _ in pairs)), failures)
            return replace(alone, undriven=(*alone.undriven, *undriven))
        steps = [(walk, f, b) for o, f, b in tries if (walk := walked(o, f, b)) is not None]
        if not steps or (refused.forward is not None and "causal" in refused.forward.evidence):
            raise
        try:
            return _subject_of(obj, spec, steps, failures)
        except NotUnderstoodError as error:
            raise (error if refused.forward is None else refused) from error


def _is_other_direction(owners: Sequence[Owner], front: str, back: str | None, failures: Failures) -> bool:
    """Whether what is called backward is the step of a cell that reads the sequence from its end."""
    steps = [f for o in owners for f in forwards.readings(o, front, failures) if f.is_step and f.finals]
    return back is not None and any(forwards.is_a_step_too(step, back) for step in steps)


def _forward_alone(obj: object, spec: str, owners: Sequence[Owner], failures: Failures) -> Subject:
    """What has no backward pass is checked as a forward pass.  Raises UsageError where it has one that is called almost so."""
    methods = owners[0].methods
    if (name := _almost_backward(methods)) is not None:
        raise UsageError(
            f"{spec}: {short_name(obj)} has {name}({', '.join(_named(methods[name]))}) but no backward: did you mean backward? Got nothing "
            f"that is driven as its backward pass, wanted backward(dh[, dc]); to check the forward pass alone, call it otherwise, such as "
            f"_{name}"
        )
    fronts = [n for n in methods if words.FORWARD.match(n)]
    try:
        return _best_alone(obj, spec, owners, fronts, failures)
    except NotUnderstoodError:
        for front in fronts:
            steps = [walk for o in owners if (walk := walked(o, front, None)) is not None]
            with contextlib.suppress(NotUnderstoodError):
                return _best_alone(obj, spec, steps, [front], failures)
        raise


def _best_alone(obj: object, spec: str, owners: Sequence[Owner], fronts: Sequence[str], failures: Failures) -> Subject:
    ran: list[Forward] = []
    for owner in owners:
        ran += [f for n in fronts for f in forwards.readings(owner, n, failures) if _runs_alone(f)]
        if isinstance(owner, HandedOwner) and any({"causal", "reads the state"}.intersection(f.evidence) for f in ran):
            break  # other shapes of the same weights
    if not ran:
        raise _not_understood(obj, spec, failures, alone=True)
    best = max(ran, key=lambda f: (len(f.evidence), -f.owner.unlikely, -f.rank))
    if forwards.gives_a_function(best):
        raise UsageError(
            f"{spec}: {short_name(obj)}: {best.method} gives a function beside its outputs, which may be its backward pass: nothing of it "
            "would be judged, wanted a backward pass that can be called apart from it, or the contract's init, zero_state, run, backward"
        )
    judged = best.finals["h"] if best.is_step else main_leaf(best)
    return subject(obj, spec, Reading(backward.with_effect_on(best, judged)))


_WANTED = "wanted forward and backward over a step or a sequence, or the contract's init, zero_state, run, backward"


def _named(function: Any) -> list[str]:
    return [n for names in words.arguments(function) for n in names if n != "self"]


def _almost_backward(methods: Mapping[str, Any]) -> str | None:
    """A method that is called almost as a backward pass is: never is it left out in silence."""
    near = difflib.get_close_matches("backward", [n.lower() for n in methods], n=3, cutoff=0.7)
    almost = (
        n
        for n in methods
        if n.lower() in near or re.match(r"^(back|bakw|bwd|bptt|grad(ient)?s?$)", n, re.I) or _hands_back_gradients(methods[n])
    )
    return next((n for n in almost if not words.FORWARD.match(n) and _named(methods[n])), None)


def _hands_back_gradients(method: Any) -> bool:
    """Whether a method is handed a gradient and returns several things that are gradients by their names: `find_grads(x, up_grad)`."""
    given = [n for n in words.returned(method) if words.stem(n) != n]
    return len(given) > 1 and any(words.COTANGENT.match(n) or "grad" in n.lower() for n in _named(method))


def _is_static(cls: type, name: str) -> bool:
    return isinstance(inspect.getattr_static(cls, name, None), staticmethod)


def _read_static(cls: type, pairs: list[tuple[str, str | None]], spec: str) -> Subject | None:
    """A class of static methods is a name for functions: they are read as those of a module.  None where it is none."""
    module = sys.modules.get(cls.__module__)
    if module is None or not pairs or not all(_is_static(cls, n) for pair in pairs for n in pair if n):
        return None
    inside = {n: getattr(cls, n) for n in dir(cls) if _is_static(cls, n)}
    beside = types.ModuleType(module.__name__)
    vars(beside).update(vars(module) | inside)
    functions = {n: v for n, v in vars(beside).items() if isinstance(v, types.FunctionType)}
    return _read_pairs(beside, functions, pairs, spec)


def read_functions(module: types.ModuleType, name: str, spec: str) -> Subject | None:
    """A function of a module with the one that is its other half, or a loss with its gradients in one; None where it is neither."""
    functions = {n: v for n, v in vars(module).items() if isinstance(v, types.FunctionType)}
    pairs = [(f, b) for f, b in _pairs(functions, lambda n: True, together=True) if name in (f, b)]
    if not pairs:
        return None
    return _read_pairs(module, functions, pairs, spec)


def half_beside(module: types.ModuleType, name: str) -> str | None:
    """The backward function of a module that is called as this forward function is; None where it has none."""
    functions = _functions(module)
    return next((b for f, b in _pairs(functions, lambda n: True, together=True) if f == name and b is not None), None)


def _alone(functions: Mapping[str, types.FunctionType]) -> list[str]:
    """Forward functions beside which nothing can be their backward half, whatever it is called."""
    fronts = [
        n for n in functions if words.FORWARD.match(n) or re.match(r"_*((simple|vanilla|elman)_?)?(rnn|lstm|gru)(_?(step|cell|unit))?$", n)
    ]
    halves = {f.replace(x, y) for f in fronts for x, y in _HALVES if x in f}
    if _almost_backward({n: f for n, f in functions.items() if n not in halves}) is not None:
        return []
    paired = {f for f, _ in _pairs(functions, lambda n: True, together=True)}
    return [n for n in fronts if n not in paired]


def read_alone(module: types.ModuleType, name: str, spec: str) -> Subject | None:
    """A forward function without a backward half, as a forward pass; None where it is another thing.

    Raises UsageError where it was not understood.
    """
    functions = {n: v for n, v in vars(module).items() if isinstance(v, types.FunctionType)}
    if name not in _alone(functions):
        return None
    with quiet():
        owners = [*of_arguments(module, functions, name), *of_globals(module, {name: functions[name]}, functions)]
    return _best_alone(functions[name], spec, owners, [name], Failures())


def read_pair(module: types.ModuleType, forward: str, back: str, spec: str) -> Subject | None:
    """Two functions of a module that are said to be the halves of one another, whatever they are called.  Raises UsageError."""
    functions = {n: v for n, v in vars(module).items() if isinstance(v, types.FunctionType)}
    return _read_pairs(module, functions, [(forward, back)], spec)


def _read_pairs(
    module: types.ModuleType, functions: Mapping[str, types.FunctionType], pairs: list[tuple[str, str | None]], spec: str
) -> Subject | None:
    failures = Failures()
    tries: list[tuple[Owner, str, str | None]] = []
    with quiet():
        for forward, back in pairs:
            chosen = {n: functions[n] for n in functions}
            tries += [(o, forward, back) for o in of_arguments(module, chosen, forward, back)]
            named = {forward: functions[forward]} | ({back: functions[back]} if back else {})
            tries += [(o, forward, back) for o in of_globals(module, named, chosen)]
    return _subject_of(functions[pairs[0][0]], spec, tries, failures)


def function_names(module: types.ModuleType) -> list[str]:
    """Forward halves of pairs, and losses with gradients in one, that a module itself defines and that may recur; where it has none of
    these, forward functions alone."""
    functions = _functions(module)
    names = dict.fromkeys(f for f, _ in _pairs(functions, lambda n: True, together=True))
    return [n for n in names or _alone(functions) if _may_recur(functions, n)]


def _functions(module: types.ModuleType) -> dict[str, types.FunctionType]:
    """Those that a module defines, but for those that are rules of one of JAX's functions."""
    rules = rules_of_jax(module)
    return {
        n: v for n, v in vars(module).items() if isinstance(v, types.FunctionType) and v.__module__ == module.__name__ and n not in rules
    }


def _may_recur(functions: Mapping[str, types.FunctionType], name: str) -> bool:
    """Whether a function takes a state, or loops, itself or in a function of its module that it calls: an affine layer does neither."""
    needed, optional = words.arguments(functions[name])
    if any(set(words.roles(a)) & {"h", "c"} and not words.is_weight(a) for a in (*needed, *optional)):
        return True
    reached = [name, *(n for n in functions[name].__code__.co_names if n in functions)]
    return any(isinstance(node, ast.For | ast.While) for n in reached if (tree := words.tree_of(functions[n])) for node in ast.walk(tree))


_HALVES = (
    ("forward", "backward"),
    ("Forward", "Backward"),
    ("forwardprop", "backprop"),
    ("fwd", "bwd"),
    ("forward_propagation", "bptt"),
    ("fprop", "bprop"),
)


def _pairs(names: Mapping[str, Any], fits: Any, together: bool = False) -> Iterator[tuple[str, str | None]]:
    """Forward names with their backward halves, by their names; where these say nothing, by what they take."""
    by_name = list(_pairs_by_name(names, fits, together))
    yield from by_name or _pairs_by_arguments(names, fits)


def _pairs_by_arguments(names: Mapping[str, Any], fits: Any) -> Iterator[tuple[str, str]]:
    """What takes inputs, or a state, with what takes a gradient of its outputs, whatever they are called: none is left out in silence."""
    takes = {n: [a for a in words.arguments(names[n])[0] if a not in ("self", "cls")] for n in names if fits(n)}
    backs = [n for n, needed in takes.items() if any(words.is_cotangent(a) for a in needed)]
    rest = {n: {r for a in takes[n] for r in words.roles(a)} for n in takes if n not in backs}
    fronts = [n for n, roles in rest.items() if words.FORWARD.match(n) and roles] or [n for n, roles in rest.items() if "x" in roles]
    near = {f: [b for b in backs if b.startswith(f) or f in b.split("_")] for f in fronts}
    yield from ((f, b) for f in fronts for b in near[f] or backs)


def _pairs_by_name(names: Mapping[str, Any], fits: Any, together: bool) -> Iterator[tuple[str, str | None]]:
    """Those of the same name first; then a loss that gives its gradients itself."""
    fronts = [n for n in names if words.FORWARD.match(n) and fits(n) and not words.BACKWARD.match(n)]
    backs = [n for n in names if words.BACKWARD.match(n) and fits(n) and not words.FORWARD.match(n)]
    for front in fronts:
        exact = [b for a, b in ((front.replace(x, y), y) for x, y in _HALVES if x in front) for b in [a] if b in names and b != front]
        exact = exact or [b for b in [words.half_of(front, backs, fronts)] if b is not None]
        if exact:
            yield front, exact[0]
        else:
            rest = [
                b
                for b in backs
                if not together
                or (
                    not any((b.replace(y, x) in names and b.replace(y, x) != b) for x, y in _HALVES if y in b)
                    and not any(words.half_of(f, backs, fronts) == b for f in fronts)
                )
            ]
            yield from ((front, b) for b in sorted(rest, key=lambda b: b.startswith("_")))
    losses = [n for n in names if words.LOSS.match(n) and fits(n)]
    yield from ((n, b) for n in losses for b in backs if not together and words.arguments(names[n])[0] == words.arguments(names[b])[0])
    yield from ((n, None) for n in names if fits(n) and _gives_gradients(n, names[n]))


def _gives_gradients(name: str, function: Any) -> bool:
    """Whether a function may be a loss with its gradients in one: by its name, or since several things in it are called d..."""
    arguments = [a for names in words.arguments(function) for a in names]
    trains = re.match(r"_*(fit|train|run|main|learn|sample|predict|generate)", name) and not re.search(r"step|batch|once", name)
    if any(words.COTANGENT.match(a) or re.match(r"(n_?|num_?)?(epochs?|iter(ation)?s?)$", a) for a in arguments):
        return False
    code = getattr(function, "__code__", None)
    handed_back = {n for n in words.returned(function) if words.stem(n) != n}
    one_pass = any(set(words.roles(n)) & {"h", "c"} for n in arguments) or _sums_once(function)  # it is handed the state to begin with
    if trains and len(handed_back) < 2 and not one_pass:
        return False
    named = [n for n in (*handed_back, *(code.co_varnames if code else ())) if words.stem(n) != n]
    inputs = [a for a in arguments if a not in ("self", "cls")]
    goes_both_ways = bool(words.LOSS.match(name)) or re.search(r"(forward|fwd)_?(and_?)?(back|bwd)", name, re.I) is not None
    return goes_both_ways or (len(set(named)) >= 2 and bool(inputs) and (not words.BACKWARD.match(name) or "forward" in name))


def _sums_once(function: Any) -> bool:
    """Whether a function begins its gradients once, in no loop: then it trains on what it is handed, and goes through no epochs."""
    tree = words.tree_of(function)
    body = tree.body[0].body if isinstance(tree, ast.Module) and isinstance(tree.body[0], ast.FunctionDef) else []
    begun = {n.id for s in body if isinstance(s, ast.Assign) for t in s.targets for n in ast.walk(t) if isinstance(n, ast.Name)}
    return len([n for n in begun if words.stem(n) != n]) >= 2


def _subject_of(obj: Any, spec: str, tries: list[tuple[Owner, str, str | None]], failures: Failures) -> Subject | None:
    found: list[Reading] = []
    done: set[tuple[str, str | None]] = set()
    for owner, method, back in tries:
        if ((method, back) in done and owner.unlikely > 0) or (back is None and found):
            continue
        ran = forwards.readings(owner, method, failures)
        failures.ran = failures.ran or next(iter(ran), None)
        for forward in ran:
            if back is None:
                whole = backward.in_one(forward, failures)
                found += [whole] if whole else []
            else:
                found += backward.readings(forward, back, failures)
        if any(r.forward.method == method and r.backward in (back, method) for r in found):
            done.add((method, back))
            if back is not None and not spec.endswith(":*"):
                break
    if not found:
        if failures.furthest is None:
            return None
        raise _not_understood(obj, spec, failures)
    try:
        reading = choose([without_its_guard(r) for r in found])
    except AmbiguousError as error:
        raise NotUnderstoodError(
            f"{spec}: {short_name(obj)}: {error}; say which with the contract's init, zero_state, run, backward", found[0].forward
        ) from error
    if turned := right_in_another_order(reading):
        raise NotUnderstoodError(
            f"{spec}: {short_name(obj)}: the gradients of {', '.join(turned)} come back without names: in the order of the arguments they "
            f"are wrong, in another one every gradient is right; name them (dW, dU) where they are returned, or use the contract",
            reading.forward,
        )
    left = [p.name for p in reading.forward.parameters if f"p:{p.name}" not in reading.gradients]
    if reading.gradients and not reading.forward.owner.tables and (tables := forwards.tables_of(reading.forward, left)):
        return _subject_of(
            obj, spec, [(replace(reading.forward.owner, tables=tables), reading.forward.method, reading.backward)], Failures()
        )
    if reading.loss is not None and (factor := common_factor(reading)) is not None:
        raise NotUnderstoodError(
            f"{spec}: {short_name(obj)}: every gradient of {reading.backward} is {factor:.4g} times that of the loss "
            f"({'.'.join(str(part) for part in reading.loss[:2])}): it is another loss that was differentiated, or a sum in the place "
            "of a mean; hand over the one that is meant",
            reading.forward,
        )
    return subject(obj, spec, reading)


def _not_understood(obj: Any, spec: str, failures: Failures, alone: bool = False) -> NotUnderstoodError:
    if failures.furthest is None:
        return NotUnderstoodError(
            f"{spec}: {short_name(obj)} was not understood: nothing is known of its forward pass's arguments; {_WANTED}", None, alone
        )
    if failures.missing is not None:
        said, error = failures.missing
        return NotUnderstoodError(
            f"{spec}: {short_name(obj)} was not understood; {said}, stopped with {raised_at(error)}; wanted it installed",
            failures.ran,
            alone,
        )
    _, said, error = failures.furthest
    return NotUnderstoodError(
        f"{spec}: {short_name(obj)} was not understood; the reading that came furthest, {said}, stopped with {raised_at(error)}; {_WANTED}",
        failures.ran,
        alone,
    )


def _runs_alone(forward: Forward) -> bool:
    """Whether a forward pass can be judged without a backward pass: over a sequence, one output a step or one in all, or a step whose next
    state came back."""
    if forward.counts or "targets" in forward.roles.values():
        return False
    if forward.is_step:
        return bool(forward.finals)
    return any(map(forward.is_over_time, forward.leaves)) or forwards.tells_its_steps_apart(forward)
