"""The plug-in contract, and the one form into which every implementation is brought.

A subject's implementation has these methods, NumPy in and NumPy out (it need not import anything of ours):

    init(rng, input_size, hidden_size)            -> params      {name: array}
    zero_state(params, batch_size)                -> state       {name: (N, H)}, may be {}
    run(params, xs, state)                        -> ys, final   ys (T, N, H), final like state
    backward(params, xs, state, dys, dfinal)      -> dparams, dxs, dstate of <dys, ys> + <dfinal, final>       optional

or, for a network with its loss inside, `init`, `zero_state` and

    batch(rng, params, T, N)                      -> inputs, targets
    loss(params, inputs, targets, state)          -> loss, dparams

or, for a recurrence over named sequences with states of any shape (an operator), a dict `layout` of the axes of each array and

    init(rng, sizes)                              -> params      {name: array}, {} where it has none
    inputs(rng, params, T, N, sizes)              -> inputs      {name: array}: random ones of its own kind
    zero_state(params, N, sizes)                  -> state       {name: array}
    run(params, inputs, state)                    -> outputs, final[, tape]
    backward(params, inputs, state, doutputs, dfinal[, tape=]) -> dparams, dinputs, dstate                     optional

A part of a training loop (`PARTS`) has one method: `answer` takes what the part is asked and gives {(name, step): array},
with step None where there is only one:

    clip_...                           answer(grads, threshold)            gradients by name
    sgd, momentum, nesterov, adam      answer(params, gradients, rates)    parameters by name after each step
    perplexity                         answer(losses, counts)              "perplexity"
    dropout                            answer(rng, shape, p)               "mask"
    halve_on_rise, divide_on_plateau   answer(losses, lr)                  "lr" after each evaluation

with a dict of gradients for each step, and rates a learning rate for each, or None: the one that the optimiser was made with.

Adapters (harness/adapters/) turn classes of frameworks and textbooks into an object with exactly these methods.
An adapter's object follows the dtype of the params it is given (float32, float64, and complex128 where the
framework can), and may have one more method, where the framework has forward-mode differentiation:

    run_tangent(params, xs, state, params_dot, xs_dot, state_dot) -> ys_dot, final_dot
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from bptt.harness.errors import UsageError

Array = np.ndarray[Any, np.dtype[Any]]
Arrays = Mapping[str, Array]
#: Where functions over tensors run.
Device = Literal["cpu", "cuda"]
#: What a part of a training loop answers: arrays by name and step.
Answer = dict[tuple[str, int | None], Array]

EXEMPTIONS = ("causal", "rows", "split", "linear", "directions")  # properties that code may say it need not have
CELL_METHODS = {
    "init": "init(rng, input_size, hidden_size) -> params",
    "zero_state": "zero_state(params, batch_size) -> state",
    "run": "run(params, xs, state) -> ys, final_state",
}
NETWORK_METHODS = {
    "init": "init(rng, input_size, hidden_size) -> params",
    "zero_state": "zero_state(params, batch_size) -> state",
    "batch": "batch(rng, params, T, N) -> inputs, targets",
    "loss": "loss(params, inputs, targets, state) -> loss, dparams",
}

CLIPS = ("clip_global_norm", "clip_global_norm_torch", "clip_elementwise")
OPTIMISERS = ("sgd", "momentum", "nesterov", "adam")
SCHEDULES = ("halve_on_rise", "divide_on_plateau")
_CLIP = "f(grads: {name: array}, threshold) -> grads, or None where it changes them in place"
_STEP = "a class made with its learning rate, and step(params: {name: array}, grads) -> params, or None where it changes them in place"
_RATE = "f(losses so far, lr) -> the next lr, or a class made with lr and step(loss) -> lr"
#: What a part of a training loop may claim to be (`like`), and the form in which it is written.
PARTS = {
    **dict.fromkeys(CLIPS, _CLIP),
    **dict.fromkeys(OPTIMISERS, _STEP),
    "perplexity": "f(losses, counts) -> number, or f(losses): mean losses of batches, and how many symbols each has counted",
    "dropout": "f(rng, shape, p) -> mask, 0 with probability p and 1/(1-p) elsewhere",
    **dict.fromkeys(SCHEDULES, _RATE),
}


@dataclass(frozen=True)
class Detection:
    """One thing that an adapter detected, and why it thinks so: ('time axis', 'second (batch_first=True)')."""

    what: str
    why: str


#: Why a layer of attention is given its input three times: what it may read is for its user to say.
ITSELF = "the input again: it attends to itself"
#: What is detected of a module that predicts symbols: no output may read a later input.
LANGUAGE_MODEL = "language model"
#: What is detected of code that draws as it runs: what a mask drops has no effect.
DROPOUT = "dropout"


@dataclass(frozen=True)
class Region:
    """A named part of a parameter: the block of one gate.  `params[tensor][index]` is the block."""

    tensor: str
    index: tuple[slice, ...]
    gate: str
    layer: int | None = None
    direction: str | None = None


def no_regions(params: Arrays) -> tuple[Region, ...]:
    """Of a subject whose gates are not known."""
    return ()


@dataclass(frozen=True)
class Accumulation:
    """Parameters whose kept gradient a second backward adds to, and those whose it overwrites."""

    accumulated: tuple[str, ...]
    overwritten: tuple[str, ...]


@dataclass(frozen=True)
class Clip:
    """A cut of gradients that its author means.

    threshold   of each entry, or of the norm
    backward    the author's own, with the cut in it, in the axes of the contract
    """

    threshold: float
    of_norm: bool
    backward: Callable[[Arrays, Array, Arrays, Array, Arrays], Any]


@dataclass(frozen=True)
class SecondCall:
    """Gradients of parameters by a second forward and backward on the object that made the first ones.

    alone    those of an object that has made no call before
    grown    what has more entries now than after one call
    """

    gradients: dict[str, Array]
    alone: dict[str, Array]
    grown: tuple[str, ...]


@dataclass(frozen=True)
class Operator:
    """What an operator says of its arrays and of what it need not keep.

    layout         {array: its axes}: ("N", "T", "heads", "K"); T is time, N batch, any other word a size
    sizes          {word: the values that it may take}, the default first
    derived        {word: a formula in other words}: {"W1": "W - 1"}
    chunks         lengths at which its code takes another way, as given or as found
    multiple       the lengths that it takes are the multiples of this number
    optional       arrays for which None is taken: an initial state "s", the cotangent of a final one "ds"
    exempt         {property that it need not have: why}
    packed         the input with cumulative lengths: then N = 1, and T is the total
    reverse        it reads its sequences from the last step to the first
    deterministic  equal calls give equal bits
    conjugate      complex gradients are dL/dRe - i dL/dIm
    dtypes         those in which it works, or () where it does not say
    other          the operator that it is held against, an object or class with the same names
    """

    layout: Mapping[str, tuple[str, ...]]
    sizes: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    derived: Mapping[str, str] = field(default_factory=dict)
    chunks: tuple[int, ...] = ()
    multiple: int = 1
    optional: tuple[str, ...] = ()
    exempt: Mapping[str, str] = field(default_factory=dict)
    packed: str | None = None
    reverse: bool = False
    deterministic: bool = True
    conjugate: bool = False
    dtypes: tuple[str, ...] = ()
    other: Any = None


@dataclass(frozen=True)
class AsMade:
    """The user's object as it is: in its own dtype, with its own options, nothing replaced and nothing made wider.

    dtype      of its inputs: "float32", "bfloat16", ...   Arrays travel in float64, which holds each of their numbers
    run        (params, xs, state) -> what it gives by name ("ys", "last output", "final h"), and the dtype in which each of them came
    backward   (params, xs, state, dys, dfinal) -> the same for gradients ("dL/dW", "dL/dxs", "dL/dh0"); None where it has none
    replaced   what the judged formula has otherwise: ("return_sequences=True in place of False",)
    own        the only parameters that it can have, where it takes no others
    formula    (params, xs, state) -> what it should give, where that is more than outputs and final states
    steps      the only T that it takes
    rounds     within it every operation of the judged formula is rounded to that dtype; None where that cannot be had
    told       what else is to be said of how it ran: "2 graphs compiled"
    refused    why it cannot be run as it is, in the words of what refuses it
    """

    dtype: str
    run: Callable[[Arrays, Array, Arrays], tuple[dict[str, Array], dict[str, str]]]
    backward: Callable[[Arrays, Array, Arrays, Array, Arrays], tuple[dict[str, Array], dict[str, str]]] | None = None
    replaced: tuple[str, ...] = ()
    own: Arrays | None = None
    formula: Callable[[Arrays, Array, Arrays], dict[str, Array]] | None = None
    steps: int | None = None
    rounds: Callable[[], AbstractContextManager[None]] | None = None
    told: str = ""
    refused: str = ""


@dataclass(frozen=True)
class Pair:
    """Two ways to the same numbers.

    words    under which options            own   these are the object's own options
    name     of what                        raised   what the first way raised: then there are no numbers
    than     what `expected` is, for a headline
    """

    words: str
    name: str
    got: Array
    expected: Array
    own: bool
    raised: str = ""
    than: str = "what its cell gives step by step"


#: Frameworks in which a new size costs no compilation.
QUICK = frozenset({"numpy", "torch", "reference", "equations"})


@dataclass(frozen=True)
class Subject:
    """An implementation under test, in the one form the checks know.

    name            short name, used in ids ("MyGRU", "nn.LSTM"): never an address in it
    spec            what the user wrote (target string), or a readable stand-in for an object
    kind            "cell" (run, backward), "network" (batch, loss), "operator" (layout, run) or "part" (of a training loop)
    implementation  the object with the methods above
    like            the published cell, or the part, that it claims to be, or None
    capabilities    words: "backward" (it has gradients), "forward_ad" (it has run_tangent)
    detected        what the adapter found out, for `describe`
    regions         (params) -> their blocks by gate, where the adapter knows them; () otherwise
    batch_sizes, input_sizes, hidden_sizes   the only sizes it can take, or None for any
    lengths_of_sequence   the only T that it can take, or None for any
    square          D == H only
    bidirectional   outputs may depend on later inputs
    dtype           the dtype in which it works ("float64" unless it says otherwise)
    dys_scale       it clips its gradients: keep cotangents this small
    clip            it clips its gradients and means to: `implementation` gives them without the cut
    truncation      the largest lag of its BPTT: the error of step t goes back to step t - k and no further; 0 is the step alone
    lengths         run(..., lengths=) is there
    exempt          properties that a cell need not have, and why: causal, rows (of a batch apart), split (in two), directions (alike)
    source          file and line of its backward (or of the class), where known
    no_dfinal       final states for which its backward takes no gradient
    inferred_final  final states that it does not return: the last output stands for them
    kept_inside     states that it takes, but neither returns nor has for its output: they start from zeros, and it cannot be continued
    accumulation    where its backward adds to some of the gradients that it keeps and overwrites others: which
    operator        what an operator says of its arrays
    second_call     (params, xs, state, dys, dfinal) -> what a second forward and backward on one object give; None where that means nothing
    written_into    (the same) -> names of backward's arguments that are cotangents and that it writes into, where its arrays are not ours
    two_sequences   (params, xs) -> outputs of two forward passes without a state between them, of a class that says it is not stateful
    stateless       the same without a state handed in, where that may be left out: another path of its code
    as_made         the user's object as it is, where the checks run its formula in another dtype or with other options
    undriven        arguments of its constructor and of its call that no check has varied
    varied          those of them that `ways` and `combinations` vary: at level full they are
    inner           the recurrent parts of a larger model, each alone
    other           the implementation, or the equations, that a cell is held against
    ways            (option, implementation): the same object with an option that is a matter of speed alone
    combinations    (rng) -> under each combination of its options and of masks or lengths, what it gives beside its own steps
    """

    name: str
    spec: str
    framework: str
    kind: Literal["cell", "network", "operator", "part"]
    implementation: Any
    like: str | None = None
    capabilities: frozenset[str] = frozenset()
    detected: tuple[Detection, ...] = ()
    regions: Callable[[Arrays], tuple[Region, ...]] = no_regions
    batch_sizes: tuple[int, ...] | None = None
    input_sizes: tuple[int, ...] | None = None
    hidden_sizes: tuple[int, ...] | None = None
    lengths_of_sequence: tuple[int, ...] | None = None
    square: bool = False
    bidirectional: bool = False
    dtype: str = "float64"
    dys_scale: float | None = None
    clip: Clip | None = None
    truncation: int | None = None
    lengths: bool = False
    exempt: Mapping[str, str] = field(default_factory=dict)
    source: tuple[str, int] | None = None
    no_dfinal: tuple[str, ...] = ()
    inferred_final: tuple[str, ...] = ()
    kept_inside: tuple[str, ...] = ()
    accumulation: Accumulation | None = None
    second_call: Callable[[Arrays, Array, Arrays, Array, Arrays], SecondCall | None] | None = None
    written_into: Callable[[Arrays, Array, Arrays, Array, Arrays], tuple[str, ...]] | None = None
    two_sequences: Callable[[Arrays, Array], tuple[Array, Array]] | None = None
    operator: Operator | None = None
    stateless: Subject | None = None
    as_made: AsMade | None = None
    undriven: tuple[str, ...] = ()
    varied: frozenset[str] = frozenset()
    inner: tuple[Subject, ...] = ()
    other: Subject | None = None
    ways: tuple[tuple[str, Any], ...] = ()
    combinations: Callable[[np.random.Generator], Iterator[Pair]] | None = None

    def __post_init__(self) -> None:
        scale = self.dys_scale
        if scale is not None and not (isinstance(scale, int | float) and 1e-30 <= scale <= 1e30):  # else gradients vanish in its dtype
            raise UsageError(f"{self.name}.dys_scale is {scale!r}, wanted a number from 1e-30 to 1e30")

    def not_driven(self, full: bool) -> str:
        """What no check has varied, in words; "" where there is nothing.   full: the checks of level full have run"""
        left = [] if "backward" in self.capabilities or self.kind == "part" else ["every gradient: no backward pass was found"]
        for each in self.undriven:
            place, _, names = each.partition(": ")
            several = names.split(", ")
            if not full or place not in ("constructor", "call") or not self.varied.intersection(several):
                left.append(each)
            elif others := [name for name in several if name not in self.varied]:
                left.append(f"{place}: {', '.join(others)}")
        listed = {name for each in self.undriven for name in each.partition(": ")[2].split(", ")}
        if not full and (deeper := sorted(self.varied & listed)):
            left.append(f"of these level full varies {', '.join(deeper)}")
        return "; ".join(left)
