"""Ways to make an object of a textbook class at given sizes D and H."""

from __future__ import annotations

import inspect
import itertools
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from bptt.harness.adapters.objects import is_factory, raised_at
from bptt.harness.adapters.reading.weights import seeded
from bptt.harness.subject import Array

INPUT = re.compile(
    r"^(input|in|inp|n_?in|d_?in|x)(_?(size|dim|dims|features|units|channels|shape|d|width|len|length))?$|^(D|n_?x|nx|idim|dim_?(in|d|x|input)|(n|num|size)_?inputs?|(num|n)_?features|embed(ding)?_?(size|dim)|(vec|wordvec|word_?vec)_?size|vocab_?size|input_?n|(units|dims?|size|features|channels|width|neurons)_?in(put)?s?)$",
    re.I,
)
HIDDEN = re.compile(
    r"^(hidden|state|cell|h|rnn|lstm|gru)(_?(size|dim|dims|units|features|state_size|n|nodes|layer_size|width))?$|^(H|units|n_?h|nh|n_?a|(n|num|size)_?(hidden|units|cells|hiddens|neurons|state)(_?units)?|dim_?(h|hidden|state|out)|out_?(dim|size|features|put_size|put_dim)?|n_?out|output_?(size|dim)|mem_cell_ct|d_?(h|hidden|model|out)|hdim|(units|dims?|size|features|width|neurons)_?(out|hidden|state|h))$",
    re.I,
)
BATCH = re.compile(r"^(N|batch|batch_?size|n_?batch|bs|minibatch_?size)$", re.I)
ONE_SIZE = re.compile(r"^(n|d|k|dim|dims|size|width|features|channels|d_model|n_?units|model_?(size|dim))$", re.I)
KERNEL = re.compile(r"^_?(W|U|V|w|u|kernel|weights?|theta|R|r)(_|[xhizrfocgnuas]|[A-Z]|\d|$).*|.*(kernel|weights?|_W)$")
BIAS = re.compile(r"^_?(b|B|bias|biases)(_?[a-zA-Z]{0,3}\d?)?$|.*_?bias(_.*)?$")
FROM_STATE = re.compile(r"(hh|h$|h_?[zrfiocgn]$|[zrfiocgn]h$|rec|hid|_h|^U|^R|h2h|_hh)", re.I)
MULTIPLES = (1, 3, 4, 2)
PROBE_BATCH = 2
PROBE_D, PROBE_H = 3, 5


class CannotBuildError(Exception):
    """No way to make the object was found; the message says why."""


@dataclass(frozen=True)
class Construction:
    """One way to make the object.

    make(rng, D, H) -> object, arrays      arrays: what the constructor was given, by argument name
    input_size, hidden_size    the only sizes possible, None for any, 0 for 'one only, to be found from its arrays'
    batch_size                 the only batch size, None for any
    unlikely                   tried only while nothing else ran
    square                     one size for both: D == H
    """

    words: str
    make: Callable[[np.random.Generator, int, int], tuple[Any, dict[str, Array]]]
    input_size: int | None = None
    hidden_size: int | None = None
    batch_size: int | None = None
    unlikely: bool = False
    square: bool = False


def constructions(obj: Any, args: Mapping[str, object] | None) -> Iterator[Construction]:
    """Every way worth trying, the likeliest first.  Raises CannotBuildError where an argument's meaning cannot be told."""
    if not isinstance(obj, type) and not is_factory(obj):
        yield from _of_instance(obj)
        return
    given = dict(args or {})
    try:
        signature = inspect.signature(obj)
    except (TypeError, ValueError) as error:
        raise CannotBuildError(f"its constructor's arguments cannot be read ({error})") from error
    parameters = [p for p in signature.parameters.values() if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]
    takes_any = any(p.kind is p.VAR_KEYWORD for p in signature.parameters.values())
    unknown = [name for name in given if not takes_any and name not in signature.parameters]
    if unknown:
        raise CannotBuildError(
            f"--args names {', '.join(unknown)}, but its constructor takes {', '.join(p.name for p in parameters) or 'nothing'}"
        )
    open_ = [p for p in parameters if p.name not in given]
    needed = [p for p in open_ if p.default is p.empty]
    extra = dict(given)
    # a layer that keeps its state from call to call is driven so only where that state can be set: else what it keeps is its own affair
    settable = any(callable(getattr(obj, n, None)) for n in ("set_state", "set_states", "set_hidden", "set_hidden_state", "init_state"))
    for name, value in (("stateful", True), ("return_sequences", True)):
        if any(p.name == name for p in open_) and (name != "stateful" or settable):
            extra[name] = value
    for p in needed:
        if p.name in ("seed", "rng", "random_state"):
            extra[p.name] = 0 if p.name == "seed" else np.random.default_rng(0)
    sizes = {p.name: role for p in open_ if (role := _size_role(p.name, {q.name for q in parameters}))}
    rest = [p.name for p in needed if p.name not in sizes and p.name not in extra]
    if not rest:
        yield _by_sizes(obj, extra, {n: r for n, r in sizes.items() if r != "batch" or n in {p.name for p in needed}}, given)
    elif all(KERNEL.match(n) or BIAS.match(n) for n in rest):
        yield from _by_arrays(obj, extra, rest, {n: r for n, r in sizes.items() if n in {p.name for p in needed}})
        if len(needed) == 2:  # names that sound like weights may be sizes still
            yield _by_sizes(obj, extra, {needed[0].name: "input", needed[1].name: "hidden"}, given)
    elif len(needed) == 2 and not any(KERNEL.match(n) or BIAS.match(n) for n in rest):
        yield _by_sizes(obj, extra, {needed[0].name: "input", needed[1].name: "hidden"}, given)
    elif len(needed) == 1 and ONE_SIZE.match(rest[0]):
        yield replace(_by_sizes(obj, extra, {rest[0]: "hidden"}, given), input_size=None, square=True)
    else:
        unclear = [n for n in rest if not (KERNEL.match(n) or BIAS.match(n))]
        raise CannotBuildError(f"its constructor wants {', '.join(unclear)}, neither a size nor a weight by name (give it with --args)")


def _size_role(name: str, names: set[str]) -> str | None:
    if INPUT.match(name):
        return "input"
    if HIDDEN.match(name):
        names_hidden = [n for n in names if HIDDEN.match(n)]
        output_like = re.match(r"^(n_?)?out", name, re.I)
        return None if output_like and len(names_hidden) > 1 else "hidden"
    return "batch" if BATCH.match(name) else None


def _by_sizes(obj: Any, extra: dict[str, object], roles: Mapping[str, str], given: Mapping[str, object]) -> Construction:
    fixed = {role: value for name, value in given.items() if (role := _size_role(name, set(given))) and isinstance(value, int)}

    def make(rng: np.random.Generator, D: int, H: int) -> tuple[Any, dict[str, Array]]:
        sizes = {"input": D, "hidden": H, "batch": PROBE_BATCH}
        return seeded(rng, lambda: obj(**extra, **{name: sizes[role] for name, role in roles.items()})), {}

    has = set(roles.values())
    arguments = [*(f"{n}={_LETTER[r]}" for n, r in roles.items()), *(f"{n}={v!r}" for n, v in extra.items())]
    words = f"constructed as {getattr(obj, '__name__', 'factory')}({', '.join(arguments)})"
    return Construction(
        words,
        make,
        fixed.get("input") or (None if "input" in has else 0),
        fixed.get("hidden") or (None if "hidden" in has else 0),
        PROBE_BATCH if "batch" in has else fixed.get("batch"),
    )


_LETTER = {"input": "D", "hidden": "H", "batch": "N"}


def _of_instance(obj: Any) -> Iterator[Construction]:
    import copy

    yield Construction("an object made already", lambda rng, D, H: (copy.deepcopy(obj), {}), 0, 0)


def _by_arrays(obj: Any, extra: dict[str, object], names: list[str], sizes: Mapping[str, str]) -> Iterator[Construction]:
    """A constructor that takes the arrays themselves: shapes are guessed, uniform multiples of H first."""
    biases = [n for n in names if BIAS.match(n) and not re.match(r"^_?[WU]", n)]
    kernels = [n for n in names if n not in biases]
    fused_only = len(kernels) == 1
    from_state = {n for n in kernels if FROM_STATE.search(n.removeprefix("W").removeprefix("w") or n)}
    if len(kernels) > 1 and (not from_state or len(from_state) == len(kernels)):
        from_state = set(kernels[1::2]) if len(kernels) % 2 == 0 else set(kernels[1:])
    roles = [{n: ("both" if fused_only else "state" if n in from_state else "input") for n in kernels}]
    if not fused_only:
        roles.append({n: {"state": "input", "input": "state"}[r] for n, r in roles[0].items()})
        roles.append(dict.fromkeys(kernels, "both"))
    for role, k, columns, bias_form in itertools.product(roles, MULTIPLES, (True, False), ("vector", "row", "column")):
        yield _array_form(obj, extra, names, role, biases, dict.fromkeys(names, k), columns, bias_form, sizes)
    if len(names) <= 5:
        for role in roles[:1]:
            for ks in itertools.product((1, 2, 3, 4), repeat=len(names)):
                if len(set(ks)) > 1:
                    form = _array_form(obj, extra, names, role, biases, dict(zip(names, ks, strict=True)), True, "vector", sizes)
                    yield replace(form, unlikely=True)


def _array_form(
    obj: Any,
    extra: dict[str, object],
    names: list[str],
    role: Mapping[str, str],
    biases: list[str],
    k: Mapping[str, int],
    columns: bool,
    bias_form: str,
    sizes: Mapping[str, str],
) -> Construction:
    def shape(name: str, D: int, H: int) -> tuple[int, ...]:
        out = k[name] * H
        if name in biases:
            return {"vector": (out,), "row": (1, out), "column": (out, 1)}[bias_form]
        fan_in = {"input": D, "state": H, "both": D + H}[role[name]]
        return (fan_in, out) if columns else (out, fan_in)

    def make(rng: np.random.Generator, D: int, H: int) -> tuple[Any, dict[str, Array]]:
        arrays = {name: rng.uniform(-1, 1, shape(name, D, H)) / np.sqrt(H) for name in names}
        numbers = {name: {"input": D, "hidden": H, "batch": PROBE_BATCH}[r] for name, r in sizes.items()}
        return seeded(rng, lambda: obj(**arrays, **numbers, **extra)), arrays

    def letters(name: str) -> str:
        out = f"{k[name]}H" if k[name] > 1 else "H"
        if name in biases:
            return {"vector": f"({out},)", "row": f"(1, {out})", "column": f"({out}, 1)"}[bias_form]
        fan_in = {"input": "D", "state": "H", "both": "D+H"}[role[name]]
        return f"({fan_in}, {out})" if columns else f"({out}, {fan_in})"

    words = "constructed from arrays " + ", ".join(f"{name} {letters(name)}" for name in names)
    return Construction(words, make, batch_size=PROBE_BATCH if "batch" in sizes.values() else None)


def instance_sizes(obj: Any, arrays: list[Array]) -> Iterator[tuple[int, int]]:
    """Pairs (D, H) that the arrays of a finished object admit: its attributes first, then its shapes."""
    named: dict[str, set[int]] = {"input": set(), "hidden": set()}
    for name, value in getattr(obj, "__dict__", {}).items():
        role = _size_role(name, set())
        if role in named and isinstance(value, int | np.integer) and not isinstance(value, bool) and value > 0:
            named[role].add(int(value))
    sizes = sorted({n for a in arrays for n in a.shape})
    divided = sorted({n // k for n in sizes for k in (1, 2, 3, 4) if n % k == 0})
    hidden = [*sorted(named["hidden"]), *(n for n in divided if n not in named["hidden"])]
    for H in hidden:
        inputs = sorted(named["input"]) or sorted({*sizes, *(n - H for n in sizes if n > H)}, key=lambda n: (n == H, n))
        for D in inputs:
            yield D, H


def probe_sizes(way: Construction) -> tuple[int, int]:
    """D and H at which a way is tried first."""
    H = way.hidden_size or PROBE_H
    return way.input_size or (H if way.square else PROBE_D), H


def first_failure(tried: Mapping[str, BaseException]) -> str:
    """One way that was tried and what came of it, and how many more there were.

    A way in which forward ran, so that we found fault with its result, says more than a wrong guess that raised inside it.
    """
    words, error = next(((w, e) for w, e in tried.items() if not raised_at(e).endswith(")")), next(iter(tried.items())))
    more = f" (and {len(tried) - 1} other ways)" if len(tried) > 1 else ""
    return f"{words}: {raised_at(error)}{more}"
