"""Which reading stands.

Readings are compared by what was seen to run, by the shapes that came out, by linearity and by the author's own words. Where several
are equal in all of that, it must not matter which: each is held against a difference quotient, and where some would be called right
and others wrong, none is chosen.
"""

from __future__ import annotations

import inspect
import itertools
import re
from collections.abc import Sequence, Set
from dataclasses import replace

import numpy as np

from bptt.harness.adapters.reading.code import words
from bptt.harness.adapters.reading.code.weights import read
from bptt.harness.adapters.reading.passes.backward import score_of
from bptt.harness.adapters.reading.passes.form import Path, Values, quiet
from bptt.harness.adapters.reading.passes.form import said as forward_said
from bptt.harness.adapters.reading.passes.gradients import gradient_values
from bptt.harness.adapters.reading.passes.losses import loss_value
from bptt.harness.adapters.reading.passes.results import is_number, outputs
from bptt.harness.adapters.reading.passes.running import Reading, drawn_cotangents, moves, probe, run, said
from bptt.harness.adapters.reading.through import is_said, is_said_apart, is_said_uphill, through_activation, up_the_error, ways_of_weights
from bptt.harness.subject import Array, Arrays

#: A difference quotient with step 1e-5 has this many digits; a mistake that is smaller is left to the checks.
_STEP, _CLOSE = 1e-5, 1e-5


class AmbiguousError(Exception):
    """Several readings are equally consistent, and their verdicts disagree; the message has both."""


def choose(found: Sequence[Reading]) -> Reading:
    """The reading that stands.  Raises AmbiguousError."""

    def key(reading: Reading) -> tuple[int, int]:
        mixing = reading.forward.sizes.N > 1 and not {"rows do not mix", "rows add up"}.intersection(reading.forward.evidence)
        return (score_of(reading), len(reading.forward.evidence) - mixing)

    found = [_of_the_mean(reading) for reading in found]
    best = max(map(key, found))
    equal = sorted((r for r in found if key(r) == best), key=lambda r: (r.forward.owner.unlikely, r.forward.rank))
    likely = [r for r in equal if r.forward.owner.unlikely == equal[0].forward.owner.unlikely]
    if (meant := _one_row_at_a_time(likely[0], found)) is not likely[0]:
        return _settled(meant)
    likely = [r for r in likely if reads_all(r) and tells_steps_apart(r)] or likely if len(likely) > 1 else likely
    if len(likely) == 1:
        return _settled(likely[0])
    verdicts = [(r, is_right(r)) for r in likely]
    right, wrong = ([r for r, v in verdicts if v is told] for told in (True, False))
    if not (right and wrong):  # one that does not run at other values says nothing
        return _settled((right or wrong or likely)[0])
    one, other = right[0], wrong[0]
    raise AmbiguousError(
        f"two readings run equally well and disagree: with ({forward_said(one.forward)}) and ({said(one)}) its gradients are right, "
        f"with ({forward_said(other.forward)}) and ({said(other)}) they are wrong"
    )


def _of_the_mean(reading: Reading) -> Reading:
    """`reading`; where its loss is summed up in a variable, and its mean over the steps is returned, of whichever its gradients are."""
    if reading.loss is None or reading.loss[0] != "local" or is_right(reading) is not False:
        return reading
    params, values = probe(reading, seed=11)
    with quiet():
        result = run(replace(reading, backward=None), params, values, {}).result
    items = list(result) if isinstance(result, tuple | list) else [result]
    means = [
        replace(reading, loss=("forward", *((k,) if isinstance(result, tuple | list) else ()))) for k, v in enumerate(items) if is_number(v)
    ]
    return next((r for r in means if is_right(r)), reading)


def reads_all(reading: Reading) -> bool:
    """Whether some gradient depends on every step and every unit of what is handed over.

    What takes a gradient of the last state for one of all states may run all the same, and reads some of its entries alone.
    """
    params, values = probe(reading, seed=11)
    rng = np.random.default_rng(13)
    try:
        with quiet():
            bare = run(replace(reading, backward=None), params, values, {})
            nothing = {p: np.zeros_like(v) for p, v in drawn_cotangents(reading, rng, bare).items()}
            for path, full in nothing.items():
                for axis in {0, full.ndim - 1} if full.ndim else ():
                    for k in range(full.shape[axis]):
                        part = np.array(full)
                        np.moveaxis(part, axis, 0)[k] = 1.0 + rng.random(np.moveaxis(part, axis, 0)[k].shape)
                        given = gradient_values(reading, run(reading, params, values, nothing | {path: part}), params, values)
                        if not any(np.any(v) for v in given.values()):
                            return False
    except Exception:  # as in `_along`
        return False
    return True


def tells_steps_apart(reading: Reading) -> bool:
    """Whether targets that are taken for one a step are: in another order over time they give another loss.

    One label a row, indexed as ``p[np.arange(N), y]``, runs with labels a step too: all of them are then those of the last output.
    """
    layout = reading.target or reading.forward.target
    if reading.loss is None or "t" not in layout.lower():
        return True
    params, values = probe(reading, seed=11)
    watched = reading if reading.loss[0] == "backward" else replace(reading, backward=None)
    try:
        with quiet():
            here, there = (
                float(loss_value(reading, run(watched, params, v, {}), v))
                for v in (values, replace(values, targets=np.roll(values.targets, 1, axis=0)))
            )
    except Exception:  # as in `_along`
        return True
    return abs(here - there) > 1e-9 * max(abs(here), 1e-9)


def _settled(reading: Reading) -> Reading:
    return _of_outputs_and_states(_before_its_activation(reading))


def _of_outputs_and_states(reading: Reading) -> Reading:
    """`reading`, the outputs first, where backward is handed gradients of them and of the states that they are made of.

    Raises AmbiguousError where it hands nothing of the one on to the other, and all else is right: what it is handed of the states may hold
    that share already.  Where something else is wrong, the states come first, of which that share is no part.
    """
    forward = reading.forward
    beside = [p for p in reading.cotangents if forward.is_step or forward.is_over_time(p)]
    wide = [p for p in beside if "O" in forward.leaves.get(p, "")]
    if len(wide) != 1 or len(beside) < 2 or reading.loss is not None:
        return reading
    outputs_first, states_first = (_first(reading, p) for p in (wide[0], next(p for p in beside if p != wide[0])))
    of_outputs = _moved_by(reading, {*reading.cotangents} - {*wide})
    if is_right(reading) is not False or not of_outputs or of_outputs & _moved_by(reading, {*wide}):
        return outputs_first
    if _is_along(reading, reading.given, {*wide}) is False:
        return states_first
    readings = [r for r in (reading, through_activation(reading)) if r is not None]
    if is_said_apart(reading) or not any(_is_along(r, tuple(of_outputs), {*reading.cotangents} - {*wide}) for r in readings):
        return outputs_first
    raise AmbiguousError(
        f"with ({said(reading)}) its gradients are wrong, as nothing of the gradient of the outputs goes on to the states, and they are "
        "right where what is handed over of the states holds that share already"
    )


def _first(reading: Reading, path: Path) -> Reading:
    """`reading` with one of its cotangents before the others: that of what is put out."""
    return replace(reading, sources=dict(sorted(reading.sources.items(), key=lambda item: item[1][:2] != ("cotangent", path))))


def _before_its_activation(reading: Reading) -> Reading:
    """`reading`, or with what is handed over as target - output, or as the gradient before the last softmax or sigmoid, as the author says.

    Raises AmbiguousError where no word does, and the one would be called right and the other wrong.
    """
    other = up_the_error(reading)
    if other is not None and not is_said_uphill(reading):
        if is_right(reading) is False and is_right(other):
            raise AmbiguousError(f"with ({said(reading)}) its gradients are wrong, and they are right where that is target - output")
    elif other is not None:
        # Where weights go up along what comes back, what is handed over and what comes back are both minus a gradient.
        ways = ways_of_weights(reading)
        if moves(reading):
            return _as_said(reading, other, "where it is target - output, as the author's words say, they are wrong")
        if ways == {"down"} or (ways != {"up"} and not is_right(reading)):
            return other
    other = through_activation(reading)
    if other is None:
        return reading
    if is_said(reading):
        return _as_said(reading, other, "as what comes before the activation, as the author's words say, they are wrong")
    if is_right(reading) is False and is_right(other):
        [kind] = other.forward.through.values()
        raise AmbiguousError(
            f"with ({said(reading)}) its gradients are wrong, and they are right where that is the gradient before the last {kind}, "
            "as it is of the cross entropy"
        )
    return reading


def _as_said(reading: Reading, other: Reading, why: str) -> Reading:
    """`other`, which the author's words speak for.  Raises AmbiguousError where `reading` is right all the same, and `other` is not."""
    if is_right(reading) and is_right(other) is False:
        raise AmbiguousError(f"with ({said(reading)}) its gradients are right, and {why}")
    return other


def _one_row_at_a_time(best: Reading, found: Sequence[Reading]) -> Reading:
    """`best`; where its gradients have other shapes than their weights over a batch, and are right over one row, that of one row, if the
    author's own sequences begin with a state of one column.

    Else the code may be meant for one row at a time, or may have forgotten a sum over the batch: raises AmbiguousError.
    """
    if best.forward.sizes.N == 1 or not (torn := _of_other_shapes(best)):
        return best
    for reading in found:
        same = reading.forward.method == best.forward.method and reading.backward == best.backward
        if same and reading.forward.sizes.N == 1 and not _of_other_shapes(reading):
            if _begins_with_one_column(reading):
                return reading
            if is_right(reading):
                raise AmbiguousError(
                    f"over one row, with ({forward_said(reading.forward)}), its gradients are right; over a batch, with "
                    f"({forward_said(best.forward)}), those of {', '.join(torn)} have other shapes than their weights"
                )
    return best


_ONE_COLUMN = re.compile(
    r"^[ \t]*(self\.)?(h|hs|a|h_?prev|hprev|a_?prev|hidden(_state)?|state|memory|h0|a0|prev_h)(\[-1\])? *= *"
    r"np\.zeros\(\([^()]*, *1 *\)\)",
    re.M,
)


def _begins_with_one_column(reading: Reading) -> bool:
    """Whether states of one column are where the author's sequences begin, or inputs of one are what forward says it takes, and no batch is
    spoken of."""
    forward = reading.forward.owner.methods[reading.forward.method]
    module = getattr(forward, "__module__", "")
    said = any("D" in words.roles(name) for name in _SAID_COLUMN.findall(inspect.getdoc(forward) or ""))
    return (said or bool(_ONE_COLUMN.search(words.text_of(module)))) and not words.speaks_of("batch", module)


_SAID_COLUMN = re.compile(r"shape:? *\( *(\w+) *, *1 *\)")


def _of_other_shapes(reading: Reading) -> list[str]:
    params, values = probe(reading, seed=11)
    try:
        with quiet():
            bare = run(replace(reading, backward=None), params, values, {})
            cotangents = drawn_cotangents(reading, np.random.default_rng(12), bare)
            given = gradient_values(reading, run(reading, params, values, cotangents), params, values)
    except Exception:  # as in `_along`
        return []
    return [n for n in reading.given if np.shape(given[f"p:{n}"]) != np.shape(params[n])]


def common_factor(reading: Reading) -> float | None:
    """The number k != 1 where every gradient is k times that of the loss: then it is another loss that was differentiated."""
    ratios = [r for seed in (12, 13) for name in reading.given if (r := _ratio(reading, (name,), seed)) is not None]
    if len(ratios) < 2 or abs(ratios[0] - 1) < _CLOSE or not all(abs(r - ratios[0]) < 1e-4 * abs(ratios[0]) for r in ratios):
        return None
    return ratios[0]


def _ratio(reading: Reading, names: tuple[str, ...], seed: int) -> float | None:
    """Given over exact along one random direction in the parameters `names`; None where it does not run, or the exact one is zero."""
    found = _along(reading, names, seed)
    return None if found is None or abs(found[1]) < 1e-6 else found[0] / found[1]


def is_right(reading: Reading) -> bool | None:
    """Whether the given gradients are those of a difference quotient along one random direction; None where it does not run."""
    return _is_along(reading, reading.given, frozenset())


#: Orders of gradients without a name that are tried.
_MOST_ORDERS = 120


def right_in_another_order(reading: Reading) -> tuple[str, ...]:
    """The weights whose gradients, of one shape and returned without a name, are right in another order than that of the arguments; ()
    where they are right as they are, or in no order."""
    forward = reading.forward
    names = words.names_given(forward.owner.methods[reading.backward or forward.method])
    places = {
        r: p
        for r, p in reading.gradients.items()
        if r.startswith("p:") and p.kind == "result" and len(p.path) == 1 and isinstance(p.path[0], int)
    }
    bare = {r: p for r, p in places.items() if p.path[0] >= len(names) or words.stem(names[p.path[0]]) == names[p.path[0]]}
    groups: dict[tuple[int, ...], list[str]] = {}
    for r in bare:
        slot = next(p.slot for p in forward.parameters if f"p:{p.name}" == r)
        groups.setdefault(np.shape(read(forward.template, slot)), []).append(r)
    alike = [group for group in groups.values() if len(group) > 1]
    if not alike or is_right(reading) is not False:
        return ()
    for orders in itertools.islice(itertools.product(*(itertools.permutations(group) for group in alike)), 1, _MOST_ORDERS):
        turned = {a: bare[b] for group, order in zip(alike, orders, strict=True) for a, b in zip(group, order, strict=True)}
        if is_right(replace(reading, gradients={**reading.gradients, **turned})):
            return tuple(a[2:] for a, p in turned.items() if p is not bare[a])
    return ()


def _is_along(reading: Reading, names: tuple[str, ...], without: Set[Path]) -> bool | None:
    found = _along(reading, names, 12, without)
    return None if found is None else abs(found[0] - found[1]) < _CLOSE * found[2]


def _moved_by(reading: Reading, without: Set[Path]) -> set[str]:
    """Parameters whose gradient is not zero where some cotangents are."""
    params, values = probe(reading, seed=11)
    try:
        with quiet():
            given = _given(reading, params, values, np.random.default_rng(12), without)[1]
    except Exception:  # as in `_along`
        return set()
    return {k[2:] for k, v in given.items() if k.startswith("p:") and np.any(v)}


def _given(
    reading: Reading, params: Arrays, values: Values, rng: np.random.Generator, without: Set[Path]
) -> tuple[dict[Path, Array], Arrays]:
    """Cotangents, those in `without` zero, and the gradients under them."""
    drawn = drawn_cotangents(reading, rng, run(replace(reading, backward=None), params, values, {}))
    cotangents = {p: 0 * c if p in without else c for p, c in drawn.items()}
    return cotangents, gradient_values(reading, run(reading, params, values, cotangents), params, values)


def _along(reading: Reading, names: tuple[str, ...], seed: int, without: Set[Path] = frozenset()) -> tuple[float, float, float] | None:
    """Given and exact derivative along one random direction, and the size of the gradients."""
    params, values = probe(reading, seed=11)
    rng = np.random.default_rng(seed)
    forward = reading.forward
    try:
        with quiet():
            cotangents, given = _given(reading, params, values, rng, without)
            direction: Arrays = {n: np.asarray(rng.normal(size=v.shape)) for n, v in params.items() if n in names}

            def loss(e: float) -> float:
                moved: Arrays = {n: v + e * direction[n] if n in direction else v for n, v in params.items()}
                if reading.loss is not None:
                    done = run(reading if reading.loss[0] == "backward" else replace(reading, backward=None), moved, values, {})
                    return float(loss_value(reading, done, values))
                done = run(replace(reading, backward=None), moved, values, {})
                return float(sum(np.sum(c * outputs(forward, done.root, done.result, p)) for p, c in cotangents.items()))

            exact = (loss(_STEP) - loss(-_STEP)) / (2 * _STEP)
            got = float(sum(np.sum(given[f"p:{n}"] * u) for n, u in direction.items() if given[f"p:{n}"].shape == u.shape))
            size = max(abs(exact), max((float(np.abs(v).max()) for k, v in given.items() if k.startswith("p:")), default=0.0), 1e-8)
            return got, exact, size
    except Exception:  # the user's code, at values of ours, may raise anything: then this reading has no verdict
        return None
