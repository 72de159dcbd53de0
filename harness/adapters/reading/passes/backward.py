"""Backward passes that run beside a forward pass.

Which argument is what is told by the author's own words and by what runs; no value of a gradient is compared with anything here.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from bptt.harness.adapters.reading.code import words
from bptt.harness.adapters.reading.code.owners import HandedOwner
from bptt.harness.adapters.reading.code.weights import gradients_before, has_effect, read
from bptt.harness.adapters.reading.passes import assumed
from bptt.harness.adapters.reading.passes.clips import clip_of
from bptt.harness.adapters.reading.passes.form import BACKWARD_TRIED, FORWARD_RAN, MOST_TRIES, Failures, Forward, Path, Values, depth, quiet
from bptt.harness.adapters.reading.passes.gradients import gradient_values, idle_with_a_gradient, local_places, places_of
from bptt.harness.adapters.reading.passes.handing import call, fresh
from bptt.harness.adapters.reading.passes.losses import loss_method, loss_of
from bptt.harness.adapters.reading.passes.results import outputs, with_last_steps
from bptt.harness.adapters.reading.passes.running import RATE, Pass, Place, Reading, drawn_cotangents, parts_of, probe, run, said
from bptt.harness.adapters.reading.passes.sources import sources_of
from bptt.harness.subject import Array, Arrays


def readings(forward: Forward, method: str, failures: Failures) -> list[Reading]:
    """Backward passes that ran and gave a gradient, those with more evidence first; where none did, those of a last output alone."""
    found = _readings(forward, method, failures)
    return found if found or forward.is_step else _readings(with_last_steps(forward), method, failures)


def _readings(forward: Forward, method: str, failures: Failures) -> list[Reading]:
    found: list[Reading] = []
    seen: set[str] = set()
    clip = clip_of(forward.owner.methods[method], forward.owner.methods)
    for sources, target, agree in sources_of(forward, method):
        key = f"{sources}{target}"
        outside = any(part[0] == "cotangent" for v in sources.values() for part in parts_of(v))
        if any(agree < r.words_agree and len(r.given) == len(r.forward.parameters) for r in found):
            break  # by the author's words less likely than what gave every gradient
        if key in seen or (outside and target):  # a loss inside and a gradient from outside: of which the loss is, is not to be told
            continue
        seen.add(key)
        failures.tries += 5
        if failures.tries > MOST_TRIES:
            break
        guess = Reading(forward, method, sources, target=target, words_agree=agree, clip=clip)
        try:
            with quiet():
                found.append(tried_out(guess))
        except Exception as error:  # a guess at the arguments may raise anything: the one that came furthest is told
            failures.add(BACKWARD_TRIED + depth(error), f"{method}({said(guess)})", error)
    found.sort(key=lambda r: -score_of(r))
    return [r for r in found if score_of(r) == score_of(found[0])]


def score_of(reading: Reading) -> int:
    return 100 * len(reading.gradients) + 10 * reading.words_agree + len(reading.evidence)


def in_one(forward: Forward, failures: Failures) -> Reading | None:
    """A function that returns a loss and its gradients in one call; None where it does not."""
    reading = Reading(forward, forward.method, clip=clip_of(forward.owner.methods[forward.method], forward.owner.methods))
    try:
        with quiet():
            found = tried_out(reading)
    except Exception as error:  # as above
        failures.add(FORWARD_RAN + 1, f"{forward.method} as loss and gradients in one", error)
        return None
    return found if found.loss is not None else None


def tried_out(guess: Reading) -> Reading:
    """`guess` with its gradients, loss and evidence.  Raises what the user's code raises, ValueError where no gradient came out."""
    forward = guess.forward
    params, values = probe(guess)
    bare = run(replace(guess, backward=None), params, values, {})
    rng = np.random.default_rng(3)
    cotangents = drawn_cotangents(guess, rng, bare)
    done = run(guess, params, values, cotangents, watch=True)
    if forward.door and not forward.setter and _begins_anew(forward, done.root):
        seen = tuple(e for e in forward.evidence if e != "reads the state")
        finals = {s: p for s, p in forward.finals.items() if p[0] != "held"}
        return tried_out(replace(guess, forward=replace(forward, door={}, finals=finals, evidence=seen)))
    keeps = not isinstance(forward.owner, HandedOwner)  # functions keep nothing
    before = gradients_before(fresh(forward, params), forward.parameters) if keeps else {}
    if idle := idle_with_a_gradient(forward, done, words.names_given(forward.owner.methods[guess.backward or forward.method])):
        return tried_out(replace(guess, forward=replace(forward, parameters=(*forward.parameters, *idle), idle=())))
    gradients = places_of(guess, done, params, before)
    raw = gradient_values(replace(guess, gradients=gradients), done, params, values)
    each_step = {k for k, v in raw.items() if k.startswith("p:") and v.shape == (forward.sizes.T, *np.shape(params[k[2:]]))}
    gradients = {k: replace(p, each_step=k in each_step) for k, p in gradients.items()}
    given = {k: p for k, p in gradients.items() if k.startswith("p:")}
    if all(p.kind == "kept" and p.path in before and np.array_equal(before[p.path], read(done.root, p.path)) for p in given.values()):
        raise ValueError(f"no gradient of a weight was found in what {guess.backward} returned, kept, or left on the object")
    gradients, changes = _settled(replace(guess, gradients=gradients), done, params, values, cotangents)
    forward = _with_effect(forward, guess.cotangents, gradients, params, values)
    reading = guess = replace(guess, gradients=gradients, forward=forward)
    evidence = ["weights change by the learning rate times it"] if changes else []
    if not guess.cotangents:
        loss = loss_of(reading, done)
        if loss is None and guess.backward != forward.method:
            loss = loss_method(reading, params, values)
        if loss is None and guess.backward not in (None, forward.method):
            handed = {s[1] for s in reading.sources.values() if s[0] in ("leaf", "item")}
            second = forward.owner.methods[str(guess.backward)]
            loss = assumed.loss_of(
                forward, second, reading.target or forward.target, handed, bare.root, bare.result
            )  # before backward wrote into it
        if loss is None:
            raise ValueError(f"{guess.backward} takes no gradient from outside, and no loss was found beside it")
        reading = replace(reading, loss=loss)
        if said_of_targets := _targets_lie(forward, reading.target or forward.target):
            evidence.append(said_of_targets)
        if (reading.target or forward.target) in forward.leaves.values():
            evidence.append("targets have the shape of the output")
    else:
        twice = run(reading, params, values, {p: 2 * v for p, v in cotangents.items()})
        one, two = gradient_values(reading, done, params, values), gradient_values(reading, twice, params, values)
        if all(np.allclose(two[k], 2 * one[k], rtol=1e-9, atol=1e-12) for k in one if k in two):
            evidence.append("linear in what it is given")
        elif not all(words.COTANGENT.match(a) for a, v in guess.sources.items() if v[0] in ("cotangent", "tuple")):
            raise ValueError(f"{guess.backward} is not linear in what was taken for a gradient from outside")
        if any(np.any(v) for v in one.values()):
            evidence.append("not zero")
        apart = "rows do not mix" in forward.evidence  # where they mix on the way there, steps were taken for rows
        if apart and _rows_apart(reading, params, values, cotangents, one):
            evidence.append("rows do not mix")
    return replace(reading, evidence=tuple(evidence))


def _begins_anew(forward: Forward, root: Any) -> bool:
    """Whether backward has put the attributes that hold the state back to zero: each sequence of the author's begins there."""
    return all(held is None or not np.any(held) for held in (getattr(root, name, 0.0) for name in forward.door.values()))


def _rows_apart(reading: Reading, params: Arrays, values: Values, cotangents: Mapping[Path, Array], given: Arrays) -> bool:
    """Whether the gradients of x and of the states of the other rows stay as they are when the cotangents of the first row change: two rows
    that are taken for those of h and c mix."""
    forward = reading.forward
    by_row = [r for r in ("x", *forward.states) if r in given and np.ndim(given[r]) > 1]
    if forward.sizes.N == 1 or not by_row:
        return False

    def turned(path: Path, value: Array) -> Array:
        axes = [a for a in "TN" if a in forward.layout(path).replace("S", "T")]
        other = np.array(value)
        if "N" in axes:
            other.swapaxes(0, axes.index("N"))[0] *= -1
        return other

    moved = run(reading, params, values, {p: turned(p, v) for p, v in cotangents.items()})
    again = gradient_values(reading, moved, params, values)
    return all(np.array_equal(given[r][..., 1:, :], again[r][..., 1:, :]) for r in by_row)


def _settled(guess: Reading, done: Pass, params: Arrays, values: Values, cotangents: Mapping[Path, Array]) -> tuple[dict[str, Place], bool]:
    """The places of gradients, where changes of a weight are taken only if they go with the learning rate, else the variable beside it.

    Raises ValueError where a weight is changed by something else (an optimiser with a memory) and no variable holds its gradient.
    """
    changes = {k: p for k, p in guess.gradients.items() if p.kind in ("change", "updated")}
    if not changes:
        return dict(guess.gradients), False
    other = run(guess, params, values, cotangents, rate=2 * RATE)
    one, two = gradient_values(guess, done, params, values), gradient_values(guess, other, params, values, 2 * RATE)
    rated = set() if _with_memory(guess) else {k for k in changes if _alike_values(one[k], two[k])}
    if rated:
        # beside weights that change by the rate times a gradient, one that stays as it is has its own left out
        still = {k: Place("change", (k[2:],)) for k, p in guess.gradients.items() if p.kind == "local" and k.startswith("p:")}
        left = changes.keys() - rated
        variables = local_places(guess.forward, done, [k[2:] for k in left])
        own_rate = {k: p for k, p in variables.items() if _goes_with(one[k], done.locals[p.path[0]])}
        return dict(guess.gradients) | still | own_rate, True
    variables = local_places(guess.forward, done, [k[2:] for k in changes])
    if len(variables) < len(changes):
        missing = ", ".join(k[2:] for k in changes if k not in variables)
        raise ValueError(
            f"{guess.backward} changes {missing}, but not by the learning rate times a gradient, and none of its variables is that gradient"
        )
    return dict(guess.gradients) | variables, False


def _alike_values(one: Array, two: Array) -> bool:
    return np.shape(one) == np.shape(two) and np.allclose(one, two, rtol=1e-6, atol=1e-9)


def _goes_with(change: Array, variable: Array) -> bool:
    """Whether a change is a positive multiple of a variable: another rate, in the author's own numbers."""
    a, b = np.ravel(change), np.ravel(variable)
    return a.shape == b.shape and bool(np.dot(a, b) > (1 - 1e-9) * np.linalg.norm(a) * np.linalg.norm(b) > 0)


def _with_memory(guess: Reading) -> bool:
    """Whether the function that changes the weights is an optimiser with a memory or a scale of its own, by its own words."""
    function = guess.forward.owner.methods[guess.backward or guess.forward.method]
    tree = words.tree_of(function)
    said = (
        {n.attr if isinstance(n, ast.Attribute) else n.id for n in ast.walk(tree) if isinstance(n, ast.Attribute | ast.Name)}
        if tree
        else ()
    )
    return any(_MEMORY.search(n) for n in said)


_MEMORY = re.compile(r"^sqrt$|adam|adagrad|rms_?prop|momentum|velocit|^beta_?\d?$|^m(d)?[WUVb](_|\b|[a-z])", re.I)


def _targets_lie(forward: Forward, target: str) -> str:
    """What speaks for a layout of targets, "" where nothing does: one a step beside outputs of each step, one beside an output alone."""
    given = [w for p, w in forward.leaves.items() if "O" in w or (forward.counts and "D" in w)]
    over_time = [any(a in w for a in "TS") for w in given]
    if given and any(over_time) != any(a in target for a in "Ttk"):
        return ""
    if given and not any(over_time):
        return "targets lie as the output does"
    rows = [[a for a in word.upper() if a in "TN"] for word in (forward.x, target)]  # whole numbers in the order of x: (N, T) and (N, T, D)
    alike = forward.x.replace("D", "O") == target.replace("D", "O") or (target.islower() and len(rows[1]) == 2 and rows[0] == rows[1])
    return "targets lie as the inputs do" if alike else ""


def with_effect_on(forward: Forward, path: Path) -> Forward:
    """`forward` without the weights on which the result at `path` does not depend: a read-out beside the recurrence."""
    return _with_effect(forward, [path], {}, *probe(Reading(forward)))


def _with_effect(forward: Forward, judged: Sequence[Path], gradients: Mapping[str, Place], params: Arrays, values: Values) -> Forward:
    """Without the weights that what is judged does not depend on, and of which no gradient came: a read-out beside the recurrence."""
    if not judged:
        return forward

    def output(obj: Any) -> Array:
        result = call(forward, obj, values)
        return np.concatenate([np.ravel(outputs(forward, obj, result, p)) for p in judged])

    effects = has_effect(forward.template, forward.parameters, params, output, np.random.default_rng(4))
    return replace(forward, parameters=tuple(p for p in forward.parameters if effects[p.name] or f"p:{p.name}" in gradients))
