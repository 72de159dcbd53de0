"""Forward passes that run: which argument is what, how axes lie, and what each result is."""

from __future__ import annotations

import contextlib
import copy
import io
import itertools
import types
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from bptt.harness.adapters.reading import words
from bptt.harness.adapters.reading.layout import Sizes, at, canonical, formed, layout_of, unsqueezed
from bptt.harness.adapters.reading.owners import Handed, HandedOwner, Namespace, Owner, follow
from bptt.harness.adapters.reading.weights import Parameter, changed_states, draw, find_parameters, read, substitute
from bptt.harness.subject import Array, Arrays

#: Layouts of x and of a state that go together: a whole sequence, then a single step. In small letters: whole numbers.
SEQUENCES = (
    ("TND", "NH"), ("NTD", "NH"), ("DNT", "HN"), ("T:ND", "NH"), ("T:DN", "HN"), ("TDN", "HN"),
    ("t", "H1"), ("t", "H"), ("t", "1H"), ("k", "H1"), ("nt", "HN"), ("tn", "NH"), ("nt", "NH"), ("tn", "HN"),
    ("T:D1", "H1"), ("TD1", "H1"), ("TD", "H"), ("TD", "H1"), ("TD", "1H"), ("T:D", "H"), ("T:D", "H1"),
    ("T:1D", "1H"), ("DT", "H1"), ("DT", "H"),
)  # fmt: skip
#: One number a step, for what has no size of inputs: sequences alone, D is 1.
SCALARS = (("TD", "H1"), ("TD", "H"), ("T:D1", "H1"))
STEPS = (("ND", "NH"), ("DN", "HN"), ("D", "H"), ("D1", "H1"), ("1D", "1H"), ("D", "H1"), ("i", "H1"), ("i", "H"))
#: Layouts of targets beside those of x: the same kind of numbers, a float for each output, one target for the whole sequence.
_TARGETS = {
    "many": ("tn", "nt", "TNO", "NTO", "ONT", "T:NO", "T:ON", "n", "NO", "ON", "TND", "NTD", "DNT"),
    "one": ("t", "k", "T:O1", "TO", "T:O", "T:1O", "OT", "i", "O1", "O", "1O", "TO1", "T:D1", "TD", "T:D", "TD1", "D1"),
}

Path = tuple[Any, ...]

#: How far a try came, beside the line of the user's code on which it stopped.
FORWARD_RAN, BACKWARD_TRIED = 100_000, 200_000

#: A person waits for the answer; what is not understood by then is refused, with the reading that came furthest.
#: A try that stops at the first call costs 1, any other 5.
MOST_TRIES = 8_000


@dataclass(frozen=True)
class Values:
    """One random set of what is handed over.   x (T, N, D) or whole numbers (T, N)   state (N, H)   targets (T, N, O) or whole"""

    x: Array
    state: Arrays
    targets: Array
    rate: float = 0.125


@dataclass(frozen=True)
class Forward:
    """A forward pass that ran.

    roles     argument -> 'x' 'h' 'c' 'state' 'targets', a letter for a size, 'rate' 'flag' 'seed', or 'weights' where it is handed some
    x, state, target   layouts                 leaves   what came back, ('result', ...) or ('held', attribute) -> its layout
    names     what the author calls each leaf  evidence what was seen: rows apart, causal, reads x, reads the state
    through   leaves that are taken before their 'softmax' or 'sigmoid' (see `through`)
    idle      arrays that change nothing that came back: no weights, unless backward gives a gradient of them
    door      how a first state that is no argument gets in: state -> attribute, or, with a `setter`, its position there
    finals    where a state stands after the call: the next one of a step, or an attribute
    dtype     "float32" where outputs are that for float64 inputs
    """

    owner: Owner
    method: str
    roles: Mapping[str, str]
    x: str
    state: str
    target: str
    sizes: Sizes
    parameters: tuple[Parameter, ...]
    template: Any
    leaves: Mapping[Path, str] = field(default_factory=dict)
    names: Mapping[Path, str] = field(default_factory=dict)
    evidence: tuple[str, ...] = ()
    rank: int = 0
    through: Mapping[Path, str] = field(default_factory=dict)
    idle: tuple[Parameter, ...] = ()
    door: Mapping[str, str] = field(default_factory=dict)
    setter: str = ""
    finals: Mapping[str, Path] = field(default_factory=dict)
    dtype: str = "float64"

    @property
    def is_step(self) -> bool:
        return (self.x, self.state) in STEPS

    @property
    def counts(self) -> bool:
        """Whether x is whole numbers."""
        return self.x.islower()

    def layout(self, path: Path) -> str:
        """The layout of a leaf, or of a state that is held."""
        return self.leaves.get(path, self.state)

    def is_over_time(self, path: Path) -> bool:
        return "T" in self.layout(path).replace("S", "T")

    @property
    def states(self) -> tuple[str, ...]:
        held = set(self.roles.values()) | self.door.keys()
        return tuple(s for s in "hc" if s in held or "state" in held)


@dataclass
class Failures:
    """What became of the ways that were tried; the one that came furthest is told, and the best forward pass that ran kept."""

    furthest: tuple[int, str, BaseException] | None = None
    tries: int = 0
    ran: Forward | None = None

    def add(self, stage: int, said: str, error: BaseException) -> None:
        if self.furthest is None or stage > self.furthest[0]:
            self.furthest = (stage, said, error)


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """What a user's code prints while it is tried is not shown; its warnings are not either."""
    said = io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said), warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        yield


def values_at(rng: np.random.Generator, sizes: Sizes, counts: bool, target: str, states: Sequence[str] = "hc") -> Values:
    z, target_counts = sizes, target.islower()
    x = rng.integers(0, z.D, size=(z.T, z.N)) if counts else rng.normal(size=(z.T, z.N, z.D))
    outputs = z.D if counts else z.O
    classes = outputs if target_counts else z.D if "D" in target else z.O
    chosen = rng.integers(0, classes, size=(z.T, z.N))
    targets = chosen if target_counts else one_hot(chosen, classes)
    return Values(x, {s: 0.5 * rng.normal(size=(z.N, z.H)) for s in states}, targets)


def one_hot(chosen: Array, classes: int) -> Array:
    """Targets as a network with a softmax wants them; a loss of any other kind takes them too."""
    return np.eye(classes)[chosen]


def assignments(owner: Owner, method: str) -> Iterator[dict[str, str]]:
    """Ways to read a forward pass's arguments, the likeliest first; no two arguments have the same role."""
    needed, optional = words.arguments(owner.methods[method])
    needed = [n for n in (*needed, *words.unbound(owner.methods[method])) if n not in ("self", "cls")]
    states = [n for n in optional if n not in owner.handed and set(words.roles(n)) & {"h", "c"} and not words.is_weight(n)]
    sizes = [n for n in optional if isinstance(optional[n], int) and not isinstance(optional[n], bool) and set(words.roles(n)) & set("DHO")]
    for names in dict.fromkeys(((*needed, *states, *sizes), (*needed, *states), tuple(needed))):
        yield from _assign(owner, names)


def _says_all(owner: Owner, roles: Mapping[str, str]) -> bool:
    """Whether the author's names say what each argument is: then one way to read them that runs is enough."""
    open_ = {n: r for n, r in roles.items() if r != "weights"}
    return len(open_) == 1 or all(r in words.roles(n) or (r == "state" and words.roles(n)) for n, r in open_.items())


_ONCE = ("x", "h", "c", "state", "targets")


def _assign(owner: Owner, names: Sequence[str]) -> Iterator[dict[str, str]]:
    fixed = {n: "weights" for n in names if n in owner.handed}
    open_ = [n for n in names if n not in fixed]
    choices: list[tuple[str, ...]] = []
    for k, name in enumerate(open_):
        suggested = [r for r in words.roles(name) if r not in ("params", "Z", "truncation")]
        if len(open_) == 1 or (not suggested and k == 0):
            suggested = ["x", *suggested]
        if "h" in suggested:
            suggested = [*suggested, "state"]
        if "x" in suggested and "targets" in suggested:
            suggested = ["x", "targets"] if k == 0 else ["targets", "x"]
        others = [] if suggested else ["h", "targets", "c", "x"]
        choices.append(tuple(dict.fromkeys([*suggested, *others])))
    for chosen in itertools.islice(itertools.product(*choices), 200):
        once = [r for r in chosen if r in _ONCE]
        if (
            len(set(once)) == len(once)
            and "x" in chosen
            and ("state" not in chosen or not {"h", "c"} & set(chosen))
            and ("c" not in chosen or "h" in chosen)
        ):
            yield fixed | dict(zip(open_, chosen, strict=True))


def readings(owner: Owner, method: str, failures: Failures, limit: int = 12) -> list[Forward]:
    """Forward passes of `method` that run, those with more evidence first."""
    found: list[Forward] = []
    template_of: dict[Sizes, tuple[Any, tuple[Parameter, ...], Any]] = {}
    for rank, roles in enumerate(assignments(owner, method)):
        states = any(r in ("h", "c", "state") for r in roles.values())
        bundles = [*SEQUENCES, *STEPS] if states else list(dict.fromkeys((x, "") for x, _ in SEQUENCES))
        scalars = [(x, s if states else "") for x, s in SCALARS] if not states else []
        bundles += scalars
        for order, (x, state) in enumerate(bundles):
            one = "N" not in x and "n" not in x
            scalar = order >= len(bundles) - len(scalars)
            if scalar and found and has_input_size(owner):
                break
            usual = Sizes().beside(owner.fixed, owner.extents)
            sizes = replace(usual, N=1 if one else usual.N, D=1 if scalar else usual.H if owner.square else usual.D)
            targets: tuple[str, ...] = ("",)
            if "targets" in roles.values():
                targets = _TARGETS["one" if one else "many"]
                targets = tuple(t for t in targets if t in (x, "i", "n") or not (x.islower() or t == "k"))
            try:
                if sizes not in template_of:
                    with quiet():
                        made = owner.make(np.random.default_rng(0), sizes)
                        scratch = owner.make(np.random.default_rng(0), sizes)
                    template_of[sizes] = made, weights_in(owner, made), scratch
                template, parameters, scratch = template_of[sizes]
                blank = _attributes(scratch)
            except Exception as error:  # the user's constructor, at sizes of ours, may raise anything
                failures.add(0, owner.words, error)
                return found
            for third, target in enumerate(targets):
                failures.tries += 1
                if failures.tries > MOST_TRIES:
                    return _best(found, limit)
                guess = Forward(owner, method, roles, x, state, target, sizes, parameters, template, rank=1000 * rank + 20 * order + third)
                ran = False
                try:
                    with quiet():
                        values = values_at(np.random.default_rng(1), sizes, guess.counts, target)
                        call(guess, scratch, values)  # most guesses stop here, before anything is copied
                        ran = True
                        failures.tries += 4
                        found.append(_tried(guess, values))
                except Exception as error:  # a guess at the layout may raise anything: the one that came furthest is told
                    failures.add(FORWARD_RAN * ran + depth(error), f"{method}({said(guess)}), {owner.words}", error)
                if _attributes(scratch) != blank:  # a state that is kept has the shapes of this guess
                    scratch = copy.deepcopy(template)
                    template_of[sizes] = template, parameters, scratch
                    blank = _attributes(scratch)
        if found and (rank >= 8 or (_says_all(owner, roles) and any(f.sizes.N == 1 or "rows do not mix" in f.evidence for f in found))):
            break  # two rows taken for h and c mix
    return _best(found, limit)


def _attributes(root: Any) -> dict[str, int]:
    """What an object holds, by identity."""
    return {} if isinstance(root, Handed | Namespace) else {n: id(v) for n, v in getattr(root, "__dict__", {}).items()}


def weights_in(owner: Owner, root: Any) -> tuple[Parameter, ...]:
    """What may be a weight in a root; those that are called as states are, too: `_tried` drops those that a call changes."""
    kept = [p for p in find_parameters(root, {}, named_as_states=True) if p.slot[-1].key not in owner.unseen]
    kept = [replace(p, name=owner.called.get(p.slot, p.name)) for p in kept]
    return tuple(p for p in kept if owner.among is None or str(p.slot[0].key) in owner.among)


def _best(found: list[Forward], limit: int) -> list[Forward]:
    found.sort(key=lambda f: (-len(f.evidence), f.rank))
    return found[:limit]


def has_input_size(owner: Owner) -> bool:
    """Whether the number of inputs can be chosen."""
    return not owner.words.startswith("constructed") or "=D" in owner.words


def said(forward: Forward) -> str:
    """The arguments with their layouts: 'inputs: t, hprev: h (H, 1)'."""
    return ", ".join(f"{a}: {_layout_words(forward, r)}" for a, r in forward.roles.items() if r != "weights")


def _layout_words(forward: Forward, role: str) -> str:
    layout = {"x": forward.x, "targets": forward.target}.get(role, forward.state if role in ("h", "c", "state") else "")
    return f"{role} {shape_words(layout)}" if layout else role


def shape_words(layout: str) -> str:
    """'T:D1' -> 'a list of T arrays (D, 1)', 'DNT' -> '(D, N, T)', 't' -> 'T whole numbers'."""
    if layout in ("i", "k"):
        return "one whole number" if layout == "i" else "T symbols"
    if layout.islower():
        return f"whole numbers ({', '.join(layout.upper())})"
    outer, colon, inner = layout.partition(":")
    shape = f"({', '.join(inner or outer)}{',' if len(inner or outer) == 1 else ''})"
    return f"a list of {'T' if outer == 'T' else 'T + 1'} arrays {shape}" if colon else shape


def depth(error: BaseException) -> int:
    """How far a try came: the line of the method that was called, in the user's code, on which it stopped."""
    traceback = error.__traceback__
    while traceback is not None:
        if str(traceback.tb_frame.f_globals.get("__name__", "")).partition(".")[0] not in ("bptt", "numpy", "contextlib"):
            return 1000 + traceback.tb_lineno
        traceback = traceback.tb_next
    return 1


def fresh(forward: Forward, params: Arrays) -> Any:
    """A root that holds copies of `params`: a backward pass that updates its weights changes its own."""
    return substitute(forward.template, forward.parameters, {n: np.array(v) for n, v in params.items()})


def hand(forward: Forward, role: str, values: Values, root: Any, argument: str) -> Any:
    """What an argument in this role is given."""
    if role == "weights":
        return root.argument(argument)
    if role == "x":
        return symbols(forward, root, values.x) if forward.x == "k" else handed_x(forward, values.x)
    if role in ("h", "c"):
        return formed(np.array(values.state[role]), "NH", forward.state)
    if role == "state":
        return tuple(formed(values.state[s], "NH", forward.state) for s in "hc")
    if role == "targets":
        return targets_for(forward, forward.target, root, values.targets)
    if role == "rate":
        return values.rate
    if role in ("T", "N", "D", "H", "O"):
        # a vocabulary is the size of inputs and outputs alike
        return values.x.shape[0] if role == "T" else values.x.shape[1] if role == "N" else getattr(forward.sizes, role)
    return {"flag": True, "seed": 0}[role]


def handed_x(forward: Forward, x: Array) -> Any:
    if forward.counts:
        return _whole(x, forward.x)
    return formed(x[0], "ND", forward.x) if forward.is_step else formed(x, "TND", forward.x)


def targets_for(forward: Forward, layout: str, root: Any, targets: Array) -> Any:
    return symbols(forward, root, targets) if layout == "k" else handed_targets(layout, targets)


def symbols(forward: Forward, root: Any, numbers: Array) -> list[str]:
    """Numbers as what stands for them in the author's own table {symbol: number}.  Raises ValueError where there is none."""
    spaces = (getattr(root, "__dict__", {}), forward.owner.space(root, forward.method))
    tables = (v for space in spaces for v in space.values() if isinstance(v, dict) and v and all(isinstance(k, str) for k in v))
    for table in tables:
        if len(table) == forward.sizes.D and sorted(v for v in table.values() if isinstance(v, int)) == list(range(len(table))):
            back = {number: symbol for symbol, number in table.items()}
            return [back[int(n)] for n in numbers[:, 0]]
    raise ValueError("there is no table {symbol: number}")


def handed_targets(layout: str, targets: Array) -> Any:
    if layout.islower():
        return _whole(targets, layout)
    layout = layout.replace("D", "O")
    if "T" in layout:
        return formed(targets, "TNO", layout)
    return formed(targets[-1], "NO", layout)


def _whole(numbers: Array, layout: str) -> Any:
    if layout == "i":
        return int(numbers[-1, 0])
    if layout == "n":
        return numbers[-1].copy()
    if layout == "t":
        return [int(v) for v in numbers[:, 0]]
    return np.ascontiguousarray(numbers if layout == "tn" else numbers.T)


def call(forward: Forward, root: Any, values: Values) -> Any:
    prepare(forward, root, values)
    _hand_over(forward, root, values)
    handed = {a: hand(forward, r, values, root, a) for a, r in forward.roles.items()}
    return forward.owner.call(root, forward.method, handed)


def prepare(forward: Forward, root: Any, values: Values) -> None:
    """The author's own numbers for the length of a sequence, the size of a batch and of a step, as this call has them."""
    T, N = values.x.shape[:2]
    follow(root.functions if isinstance(root, Handed) else root, T, N, values.rate)


def _tried(guess: Forward, values: Values) -> Forward:
    """`guess` with its parameters, leaves and evidence.  Raises what the user's code raises, ValueError where nothing of use came back."""
    rng = np.random.default_rng(6)
    template = guess.template
    parameters = guess.parameters
    if not parameters:
        template = _warm(guess, values)
        parameters = _weights_of_warm(guess, template, values, rng)
        guess = replace(guess, template=template)
    if not parameters:
        raise ValueError("it holds no weights")
    params = draw(template, parameters, rng, guess.sizes.H)
    trial = replace(guess, parameters=parameters)
    root = fresh(trial, params)
    result = call(trial, root, values)
    if states := [*changed_states(root, parameters, params), *_in_a_list_that_grew(template, root, parameters)]:
        trial = replace(trial, parameters=tuple(p for p in parameters if p not in states))
        params = {p.name: params[p.name] for p in trial.parameters}
        root = fresh(trial, params)
        result = call(trial, root, values)
    if not trial.parameters:
        raise ValueError("it holds no weights")
    leaves = leaves_of(trial, root, result)
    if (
        not trial.is_step
        and not trial.counts
        and "targets" not in trial.roles.values()
        and (width := _own_width(trial, result)) is not None
    ):
        trial = guess = replace(trial, sizes=replace(trial.sizes, O=width))
        leaves = leaves_of(trial, root, result)
    leaves = {p: w for p, w in leaves.items() if guess.counts or not _is_x(value_at(root, result, p), w, values.x)}
    if not leaves:
        raise ValueError(f"{guess.method} returned nothing whose axes can be told: {_shapes(result)}")
    trial = replace(trial, leaves=leaves, names=_names(trial, result, leaves))
    trial = _used(_seen(trial, params, values, rng), params, values, rng)
    if trial.is_step:
        return replace(trial, finals=_next_states(trial, root, result))
    trial = replace(trial, finals=_last_states(trial, root, result))
    plain = not trial.counts and "targets" not in trial.roles.values()
    return _with_door(trial, params, values) if plain and keeps(trial.owner, trial.template) else trial


def _in_a_list_that_grew(before: Any, after: Any, parameters: Sequence[Parameter]) -> list[Parameter]:
    """Arrays in a list that the forward pass appended to: the state before the first step, in a list of states."""

    def lengths(p: Parameter) -> tuple[int, int]:
        held = read(before, p.slot[:-1]), read(after, p.slot[:-1])
        return tuple(len(h) if isinstance(h, list) else 0 for h in held)  # type: ignore[return-value]  # two of them

    return [p for p in parameters if len(p.slot) > 1 and lengths(p)[1] > lengths(p)[0] > 0]


def _warm(guess: Forward, values: Values) -> Any:
    root = guess.owner.make(np.random.default_rng(0), guess.sizes)
    call(guess, root, values)
    return root


def keeps(owner: Owner, root: Any) -> bool:
    """Whether the root is an object of the user's: what it holds stays from call to call."""
    return not isinstance(owner, HandedOwner) and not isinstance(root, Namespace)


def _hand_over(forward: Forward, root: Any, values: Values) -> None:
    """The first state, where it is no argument of the forward pass."""
    states = {s: formed(np.array(values.state[s]), "NH", forward.state) for s in forward.door}
    if forward.setter:
        getattr(root, forward.setter)(*states.values())
    else:
        for s, attribute in forward.door.items():
            setattr(root, attribute, states[s])


def _with_door(forward: Forward, params: Arrays, values: Values) -> Forward:
    """`forward` with the way in which the object takes its first state where no argument does: the first that changes an output."""
    used = fresh(forward, params)
    call(forward, used, values)
    layouts = STATES["one" if forward.sizes.N == 1 else "many"]
    weights = {str(p.slot[0].key) for p in forward.parameters}
    arrays = {n: v for n, v in getattr(used, "__dict__", {}).items() if isinstance(v, np.ndarray) and n not in weights}
    held = {n: w for n, v in arrays.items() if (w := layout_of(v, forward.sizes)) in layouts}
    named = {s: next((n for n in held if s in words.roles(n)), None) for s in "hc"}
    if not forward.states:
        for door, setter, layout in _doors(forward, named, held, layouts):
            guess = replace(forward, door=door, setter=setter, state=layout)
            try:
                ran = [(root := fresh(guess, params), call(guess, root, replace(values, state=z))) for z in _two(values.state)]
            except Exception:  # a guess at what a method or an attribute is for
                continue
            one, two = ([np.array(outputs(guess, root, result, p)) for p in guess.leaves] for root, result in ran)
            if not all(map(np.array_equal, one, two)):
                forward = replace(guess, evidence=(*guess.evidence, "reads the state"))
                break
    kept = {s: ("held", n) for s, n in named.items() if n is not None and s in forward.states}
    return replace(forward, finals={**kept, **forward.finals})


def _last_states(forward: Forward, root: Any, result: Any) -> dict[str, Path]:
    """Where the last h of a sequence stands beside outputs that are another thing, or without a name: as its values tell."""
    over_time = [p for p, w in forward.leaves.items() if "T" in w.replace("S", "T") and w.endswith("H")]
    flat = [p for p, w in forward.leaves.items() if w == forward.state and len(p) < 3]
    if "h" not in forward.states or not flat or "h" in words.roles(forward.names.get(flat[0], "")):
        return {}
    if len(flat) == 1 and not over_time:
        return {"h": flat[0]}
    lasts = [outputs(forward, root, result, p)[-1] for p in over_time]
    same = [p for p in flat if any(np.array_equal(np.squeeze(outputs(forward, root, result, p)), np.squeeze(last)) for last in lasts)]
    return {"h": same[0]} if same else {"h": flat[0]} if len(flat) == len(forward.states) else {}


#: Layouts in which an object may hold its state.
STATES = {"many": ("NH", "HN"), "one": ("H", "1H", "H1")}


def _two(state: Arrays) -> tuple[Arrays, Arrays]:
    return {s: np.zeros_like(v) for s, v in state.items()}, state


def _doors(
    forward: Forward, named: Mapping[str, str | None], held: Mapping[str, str], layouts: Sequence[str]
) -> Iterator[tuple[dict[str, str], str, str]]:
    """(state -> attribute or position, setter, layout) to try, the likeliest first."""
    known = [held[n] for n in named.values() if n is not None]
    for setter in (n for n in forward.owner.methods if words.SETTER.match(n)):
        needed, optional = words.arguments(forward.owner.methods[setter])
        places = [n for n in (*needed, *optional) if n != "self"]
        if len(places) in (1, 2):
            yield from ((dict(zip("hc", "01", strict=True)) if len(places) == 2 else {"h": "0"}, setter, w) for w in known or layouts)
    if named["h"] is not None:
        yield {s: n for s, n in named.items() if n is not None}, "", held[named["h"]]


def _next_states(forward: Forward, root: Any, result: Any) -> dict[str, Path]:
    """Where the next h (and c) stand in what a step returns; {} where one of them is not there.

    By the author's names; where these say nothing, h is the one that is o tanh(c) of the other, as its values admit; else they stand in
    the order of the arguments.
    """
    fitting = sorted((p for p, w in forward.leaves.items() if w == forward.state), key=len)
    wanted = (
        sorted(forward.states, key=[r for r in forward.roles.values() if r in "hc"].index)
        if "state" not in forward.roles.values()
        else "hc"
    )
    found = {s: path for s in wanted if (path := next((p for p in fitting if s in words.roles(forward.names.get(p, ""))), None))}
    if len(found) == 2 and found["h"] == found["c"]:
        found = {}
    left = [p for p in fitting if p not in found.values()]
    if len(wanted) == 2 and not found and len(left) >= 2:
        a, b = (np.asarray(value_at(root, result, p)) for p in left[:2])
        if _gates(a, b) != _gates(b, a):
            return dict(zip("hc", left if _gates(a, b) else left[1::-1], strict=False))
    for s in wanted:
        if s not in found and left:
            found[s] = left.pop(0)
    return found if len(found) == len(wanted) else {}


def _gates(h: Array, c: Array) -> bool:
    """h = o tanh(c) with o in (0, 1): |h| is never above |tanh c|, and the signs agree."""
    return bool(np.all(np.abs(h) <= np.abs(np.tanh(c))) and np.all(np.sign(h) == np.sign(c)))


def _weights_of_warm(guess: Forward, root: Any, values: Values, rng: np.random.Generator) -> tuple[Parameter, ...]:
    """Arrays that the first forward made and a second one, over other inputs, left as they were."""
    candidates = weights_in(guess.owner, root)
    before = {p.name: np.array(read(root, p.slot)) for p in candidates}
    call(guess, root, values_at(rng, guess.sizes, guess.counts, guess.target))
    return tuple(
        p
        for p in candidates
        if isinstance(read(root, p.slot), np.ndarray) and np.array_equal(before[p.name], read(root, p.slot)) and np.any(before[p.name])
    )


def _shapes(result: Any) -> str:
    items = result if isinstance(result, tuple | list) else [result]
    return ", ".join(str(np.shape(i)) if isinstance(i, np.ndarray) else type(i).__name__ for i in list(items)[:6])


def leaves_of(forward: Forward, root: Any, result: Any) -> dict[Path, str]:
    """Everything that came back, or was put on the object, whose axes can be told."""
    found: dict[Path, str] = {}
    for path, value in _walk(result, ("result",), 3):
        layout = layout_of(value, forward.sizes)
        if layout is not None:
            found[path] = layout
    if result is None or not found:
        before = set(vars(forward.template)) if hasattr(forward.template, "__dict__") else set()
        for name, value in list(getattr(root, "__dict__", {}).items()):
            if isinstance(value, types.FunctionType | types.ModuleType):
                continue
            layout = layout_of(value, forward.sizes)
            known = {str(p.slot[0].key) for p in forward.parameters}
            if (
                layout
                and name not in known
                and not words.COTANGENT.match(name)
                and (name not in before or _differs(getattr(forward.template, name), value))
            ):
                found[("held", name)] = layout
    return found


def _own_width(forward: Forward, result: Any) -> int | None:
    """The width of outputs over time that is none of our sizes: it stands in the class itself."""
    shapes = [np.shape(v) for _, v in _walk(result, ("result",), 1) if isinstance(v, np.ndarray) and v.ndim > 1]
    over_time = [s for s in shapes if all(forward.sizes.letters(n) for n in s[:-1]) and forward.sizes.T in s[:-1]]
    return next((int(s[-1]) for s in over_time if not forward.sizes.letters(s[-1])), None)


def _is_x(value: Any, layout: str, x: Array) -> bool:
    """Whether a leaf is the input itself, kept or handed back."""
    bare = layout.replace(":", "").replace("1", "")
    if "S" in bare or not set(bare) <= set("TNDH") or np.size(x) != sum(np.size(v) for v in _parts(value)):
        return False
    return bool(np.array_equal(np.sort(np.ravel(x)), np.sort(np.concatenate([np.ravel(v) for v in _parts(value)]))))


def _parts(value: Any) -> list[Any]:
    return list(value.values()) if isinstance(value, Mapping) else list(value) if isinstance(value, list | tuple) else [value]


def _differs(a: Any, b: Any) -> bool:
    try:
        return not np.array_equal(np.asarray(a, dtype=float), np.asarray(b, dtype=float))
    except (TypeError, ValueError):
        return True


def _walk(value: Any, path: Path, depth: int) -> Iterator[tuple[Path, Any]]:
    yield path, value
    if (depth and isinstance(value, tuple)) or (depth == 3 and isinstance(value, list)):
        for k, item in enumerate(value):
            yield from _walk(item, (*path, k), depth - 1)
    elif depth == 3 and isinstance(value, Mapping) and all(isinstance(k, str) for k in value):
        for k, item in value.items():
            yield from _walk(item, (*path, k), 0)


def value_at(root: Any, result: Any, path: Path) -> Any:
    return at(result, path[1:]) if path[0] == "result" else getattr(root, path[1])


def _names(forward: Forward, result: Any, leaves: Mapping[Path, str]) -> dict[Path, str]:
    returned = words.returned(forward.owner.methods[forward.method])
    names: dict[Path, str] = {}
    for path in leaves:
        if path[0] == "held":
            names[path] = path[1]
        elif len(path) == 1:
            names[path] = returned[0] if len(returned) == 1 else ""
        elif isinstance(path[1], str):
            names[path] = path[1]
        elif len(path) == 2 and isinstance(result, tuple | list) and len(returned) == len(result):
            names[path] = returned[path[1]]
        elif len(path) == 3 and isinstance(result, tuple | list) and len(returned) == len(result):
            inner, parts = returned[path[1]].split(","), [(*path[:2], k) for k in range(len(result[path[1]]))]
            if len(inner) == len(parts) == 2 and all(leaves.get(p) == forward.state for p in parts) and isinstance(path[2], int):
                names[path] = inner[path[2]]  # the states as a pair; a cache holds other things too
    return names


def outputs(forward: Forward, root: Any, result: Any, path: Path) -> Array:
    """A leaf as an array with axes T N and its own last one, as far as it has them."""
    layout = forward.layout(path)
    bare = layout.replace(":", "").replace("1", "").replace("S", "T")
    axes = "".join(a for a in "TN" if a in bare) + "".join(a for a in bare if a not in "TN")
    known = {"H": forward.sizes.H, "D": forward.sizes.D, "O": forward.sizes.O}
    value = canonical(unsqueezed(value_at(root, result, path), layout, known), layout, axes)
    return before(value, forward.through[path]) if path in forward.through else value


def before(value: Array, kind: str) -> Array:
    """What `value` is the 'softmax' or 'sigmoid' of; of a softmax but for a constant, so that its sum is zero."""
    logarithm = np.log(value)
    if kind == "softmax":
        return np.asarray(logarithm - logarithm.mean(-1, keepdims=True))
    return np.asarray(logarithm - np.log(1 - value))


def _seen(forward: Forward, params: Arrays, values: Values, rng: np.random.Generator) -> Forward:
    """`forward` with what was seen of it."""
    evidence = []
    root = fresh(forward, params)
    base = call(forward, root, values)
    paths = [p for p in forward.leaves if len(forward.leaves[p]) > 0]
    if not paths:
        paths = list(forward.leaves)

    def after(other: Values) -> dict[Path, Array]:
        twin = fresh(forward, params)
        result = call(forward, twin, other)
        return {p: outputs(forward, twin, result, p) for p in paths}

    first = {p: np.array(outputs(forward, root, base, p)) for p in paths}
    single = all(v.dtype == np.float32 for v in first.values())
    if not all(np.isfinite(v).all() for v in first.values()):
        raise ValueError(f"{forward.method} returned values that are not finite")
    again = after(values)
    if all(np.array_equal(first[p], again[p]) for p in paths):
        evidence.append("equal calls give equal values")
    changed = values_at(rng, forward.sizes, forward.counts, forward.target).x
    if forward.counts:
        changed = (values.x + 1) % forward.sizes.D
    moved = after(replace(values, x=changed))
    if not any(not np.array_equal(first[p], moved[p]) for p in paths):
        raise ValueError(f"nothing that {forward.method} returned depends on {next(a for a, r in forward.roles.items() if r == 'x')}")
    evidence.append("reads x")
    if forward.states and any(
        not np.array_equal(first[p], v) for p, v in after(replace(values, state={s: -v for s, v in values.state.items()})).items()
    ):
        evidence.append("reads the state")
    timed = [p for p in paths if "T" in forward.leaves[p].replace("S", "T")]
    if timed and not forward.is_step:
        later = values.x.copy()
        later[-1] = changed[-1]
        moved = after(replace(values, x=later))
        if all(np.array_equal(first[p][:-1], moved[p][:-1]) for p in timed) and any(
            not np.array_equal(first[p][-1], moved[p][-1]) for p in timed
        ):
            evidence.append("causal")
        earlier = values.x.copy()
        earlier[0] = changed[0]
        moved = after(replace(values, x=earlier))
        if not any(not np.array_equal(first[p][-1], moved[p][-1]) for p in timed):
            raise ValueError(f"no step of {forward.method} reads an earlier one")
    if forward.sizes.N > 1:
        other = values.x.copy()
        other[:, 0] = changed[:, 0]
        states = {name: np.concatenate([-state[:1], state[1:]]) for name, state in values.state.items()}
        moved = after(replace(values, x=other, state=states))
        rows = [p for p in paths if "N" in forward.leaves[p]]
        axis = {p: 1 if p in timed else 0 for p in rows}
        if rows and all(np.array_equal(np.take(first[p], 1, axis[p]), np.take(moved[p], 1, axis[p])) for p in rows):
            evidence.append("rows do not mix")
        elif not rows and not all(_adds_up(forward, after, values, changed, first, p) for p in paths):
            raise ValueError(f"rows of a batch mix in {forward.method}")
    return replace(forward, evidence=tuple(evidence), dtype="float32" if single else "float64")


def _adds_up(
    forward: Forward, after: Callable[[Values], dict[Path, Array]], values: Values, changed: Array, first: Mapping[Path, Array], path: Path
) -> bool:
    """Whether what one row of a batch adds to a result is the same whatever the other rows are."""
    one, other = values.x.copy(), values.x.copy()
    one[:, 0], other[:, 1:] = changed[:, 0], changed[:, 1:]
    terms = [
        first[path],
        after(replace(values, x=one))[path],
        after(replace(values, x=other))[path],
        after(replace(values, x=changed))[path],
    ]
    mixed = terms[0] - terms[1] - terms[2] + terms[3]
    return bool(np.all(np.abs(mixed) <= 1e-9 * np.max(np.abs(terms))))


def _used(forward: Forward, params: Arrays, values: Values, rng: np.random.Generator) -> Forward:
    """`forward` without the arrays that change nothing that came back, unless the author handed them over as weights."""
    if isinstance(forward.owner, HandedOwner):
        return forward
    from bptt.harness.adapters.reading.weights import find_gradients, has_effect

    def output(obj: Any) -> Array:
        result = call(forward, obj, values)
        return np.concatenate([np.ravel(outputs(forward, obj, result, p)) for p in forward.leaves])

    effects = has_effect(forward.template, forward.parameters, params, output, rng)
    kept = tuple(p for p in forward.parameters if effects[p.name] or find_gradients(forward.template, [p], {})[0].gradient is not None)
    if not kept:
        raise ValueError(f"nothing that {forward.method} returned depends on a weight")
    return replace(forward, parameters=kept, idle=tuple(p for p in forward.parameters if p not in kept))
