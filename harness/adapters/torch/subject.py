"""A torch module as a Subject: build it, find out how it is called, see what it can do."""

from __future__ import annotations

import contextlib
import copy
import inspect
import sys
import types
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from bptt.harness.adapters.objects import attribute, repeats_itself
from bptt.harness.adapters.torch import parts
from bptt.harness.adapters.torch.as_made import as_made, compiled_as_made, own_dtype
from bptt.harness.adapters.torch.bound import held_by_class
from bptt.harness.adapters.torch.build import (
    OBVIOUS,
    OBVIOUS_ELSE,
    USUAL_N,
    USUAL_T,
    Recipe,
    compiles,
    one_line,
    recipe_of,
    size_attributes,
)
from bptt.harness.adapters.torch.combinations import combinations, varied
from bptt.harness.adapters.torch.faces import Face, Soft, face_of, reset_of
from bptt.harness.adapters.torch.form import Form, Slot, own_form, slots
from bptt.harness.adapters.torch.images import COLUMNS, PIXELS, ROWS, is_over_images
from bptt.harness.adapters.torch.probe import Probed, ProbeError, probe
from bptt.harness.adapters.torch.run import TorchModule, default_dtype, in_dtype
from bptt.harness.adapters.undriven import undriven
from bptt.harness.errors import BpttError, UsageError
from bptt.harness.subject import LANGUAGE_MODEL, Array, Detection, Subject

#: Sizes (D, H) at which a class is probed: primes first, then ones with many divisors, then D == H.
PROBE_SIZES = ((11, 13), (8, 16), (16, 16), (8, 32))
#: Sizes that are tried one by one where a class does not take size 1.
TRIED_SIZES = range(1, 33)


@dataclass(frozen=True)
class _Found:
    """What probing a recipe gave: the sizes at which it worked, and whether the constructor decides them.

    wide   casts to float32 on the way have to be casts to float64
    """

    probed: Probed
    module: torch.nn.Module
    dtype: str
    square: bool
    input_fixed: bool
    hidden_fixed: bool
    wide: bool = False

    def told(self, what: str, why: str) -> _Found:
        return replace(self, probed=replace(self.probed, detected=(*self.probed.detected, Detection(what, why))))


def subject_of(obj: object, spec: str, args: Mapping[str, object] | None) -> Subject | None:
    """See `bptt.harness.adapters.torch.adapt.adapt`."""
    recipe = recipe_of(obj, spec, args)
    if recipe is None:
        held = held_by_class(obj) if isinstance(obj, type) and not issubclass(obj, torch.nn.Module) else None
        with contextlib.suppress(UsageError):  # what is no recurrence may hold tensors, too
            return None if held is None else subject_of(held, spec, args)
        return None
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        recipe, found = _found(recipe)
        if not any(p.requires_grad and (p.is_floating_point() or p.is_complex()) for p in found.module.parameters()):
            raise UsageError(
                f"{spec}: {recipe.label} has no parameter of floating numbers that is trained (it is frozen, quantised, or has none), "
                "wanted one: without it there is no gradient to be judged"
            )
        implementation = TorchModule(recipe, found.probed.form, found.dtype, complex_states=found.probed.complex_states)
        implementation.wide = found.wide
        implementation.lengths, implementation.rows = _lengths_and_rows(recipe, implementation, found)
        if found.dtype == "float64" and own_dtype(found.module) is torch.float32 and _rounds_to_float32(implementation, found):
            implementation.wide = True
            if _rounds_to_float32(implementation, found):
                why = "it rounds to float32 on the way, whatever it is given: it is judged in its own dtype"
                found = replace(found, dtype="float32").told("float32 only", why)
                implementation.wide, implementation.params_dtype = False, "float32"
            else:
                found = found.told("widened", "it casts to float32 on the way, whatever it is given: these casts are made casts to float64")
        return _subject(recipe, found, implementation)


def _subject(recipe: Recipe, found: _Found, implementation: TorchModule) -> Subject:
    module, probed = found.module, found.probed
    D, H = probed.D, probed.H
    forward_ad, derivatives = _derivatives(implementation, D, H, found.dtype)
    own = own_form(module) is not None and type(module).__module__.startswith("torch.nn.")
    detected = (
        Detection(f"torch {_origin(recipe)}", _origin_why(recipe, module, D, H)),
        *probed.detected,
        *_face(module).detections(),
        *((Detection("one row at a time", "it takes no axis of a batch: each row of one is a call of its own"),) if recipe.rows else ()),
        *((Detection("its own state", f"{reset}() is called before each sequence"),) if (reset := reset_of(module)) else ()),
        Detection("sizes " + _sizes_in_words(found), "an instance has its own" if recipe.make is None else "by constructing it"),
        *_complex_numbers(module, probed),
        *_mode(module),
        derivatives,
    )
    both_ways = _both_ways(module)
    if both_ways and getattr(module, "bidirectional", False) is not True:
        if _gives_symbols(module, probed.form, D, H):
            why = f"{both_ways} is bidirectional, and symbols come in and out: later ones must not be read, or say bidirectional = True"
            detected, both_ways = (*detected, Detection(LANGUAGE_MODEL, why)), None
        else:
            why = f"{both_ways} is bidirectional: outputs may depend on later inputs, which in a language model is a leak"
            detected = (*detected, Detection("bidirectional inside", why))
    dys_scale, truncation = (_claim(module, name, (int, float)) for name in ("dys_scale", "truncation"))
    return Subject(
        name=_name(recipe, module, own),
        spec=recipe.spec,
        framework="torch",
        kind="cell",
        implementation=implementation,
        like=_claim(module, "like", (str,)),
        capabilities=frozenset({"backward", "forward_ad"} if forward_ad else {"backward"}),
        detected=detected,
        regions=implementation.regions,
        input_sizes=(D,) if found.input_fixed else _admissible(implementation, found, "D"),
        hidden_sizes=(H,) if found.hidden_fixed else _admissible(implementation, found, "H"),
        lengths_of_sequence=implementation.lengths,
        batch_sizes=implementation.rows,
        square=found.square and not found.hidden_fixed,
        inferred_final=(probed.form.carried,) if probed.form.carried else (),
        bidirectional=both_ways is not None,
        dtype=found.dtype,
        dys_scale=None if dys_scale is None else float(dys_scale),
        truncation=truncation if isinstance(truncation, int) else None,
        lengths=(own_form(module) is not None and isinstance(module, torch.nn.RNNBase))
        or (_face(module).lengths is not None and not _face(module).counted),
        source=None if own else source_of(module),
        stateless=None if own else _stateless(recipe, found, implementation, forward_ad),
        combinations=combinations(module),
        varied=varied(module),
        as_made=as_made(implementation, module) if recipe.compiled is None else compiled_as_made(implementation, recipe.compiled),
        undriven=(
            *undriven(
                recipe.make or type(module), _sizes_named(recipe), attribute(_user_class(module), "forward"), _driven(module, probed)
            ),
            *((f"training mode: {', '.join(acting)}",) if (acting := _other_in_training(module)) else ()),
            *_without_a_value(recipe.left_as_memory(D, H)),
            *(("its compilation: what it compiles is run as it stands",) if compiles(recipe.make) else ()),
            *_more_than_one(implementation),
            *_results_beside(implementation, D, H),
        ),
    )


#: What a module is judged over that takes no single step, no single row.
_LONGER, _ROWS = (2, 3, 5, 12, 30, 67), (2, 3, 5)


def _lengths_and_rows(recipe: Recipe, implementation: TorchModule, found: _Found) -> tuple[tuple[int, ...] | None, tuple[int, ...] | None]:
    """The only lengths and sizes of batch that a module takes: those that its constructor was given, or more than one; None for any."""
    given = [OBVIOUS_ELSE.get(name) for name in recipe.kwargs]

    def runs(T: int, N: int) -> bool:
        try:
            params = implementation.init(np.random.default_rng(0), found.probed.D, found.probed.H)
            implementation.run(params, np.zeros((T, N, found.probed.D)), implementation.zero_state(params, N))
        except Exception:  # whatever its forward raises at another size
            return False
        return True

    T, N = 3, 2
    lengths: tuple[int, ...] | None = None
    rows: tuple[int, ...] | None = None
    if not runs(T, N):
        if USUAL_N in given:
            N, rows = USUAL_N, (USUAL_N,)
        if USUAL_T in given and not runs(T, N):
            T, lengths = USUAL_T, (USUAL_T,)
    if lengths is None and runs(2, N) and not runs(1, N):
        lengths = _LONGER
    if recipe.rows:
        rows = (1,)
    elif rows is None and runs(T, 3) and not runs(T, 1):
        rows = _ROWS
    if found.probed.form.last:  # each output costs a run over all steps before it
        lengths = tuple(n for n in lengths or (1, *_LONGER) if n < 13) or lengths
    return lengths, rows


def _more_than_one(implementation: TorchModule) -> tuple[str, ...]:
    """That it is not judged over a single step or row, where it takes none."""
    lengths = implementation.lengths or (1,)
    steps = ("a single step (T = 1): it does not run over one",) if lengths[0] == 2 else ()
    if len(lengths) > 1 and lengths[-1] < _LONGER[-1]:
        steps = (*steps, f"more than {lengths[-1]} steps: each output takes a run of its own")
    return (*steps, *(("a single row (N = 1): what it gives has other axes then, or it raises",) if implementation.rows == _ROWS else ()))


def _results_beside(implementation: TorchModule, D: int, H: int) -> tuple[str, ...]:
    """That what it gives beside its outputs is not judged, but for the valid steps of what takes lengths."""
    T, N = _of(implementation, 2, 2)
    params = implementation.init(np.random.default_rng(0), D, H)
    xs = np.random.default_rng(1).normal(size=(T, N, D)).astype(implementation.params_dtype)
    try:
        found = implementation.beside(params, xs, implementation.zero_state(params, N), None)
    except Exception:  # whatever a user's forward raises at sizes of ours
        return ()
    return (f"{', '.join(found)} beside its outputs, and the gradients through it",) if found else ()


def _of(implementation: TorchModule, T: int, N: int) -> tuple[int, int]:
    """T and N, or what the module was made for."""
    return (implementation.lengths or (T,))[0], (implementation.rows or (N,))[0]


def _without_a_value(names: tuple[str, ...]) -> tuple[str, ...]:
    """That a parameter starts as what stood in memory: its user should know; it is judged at values of ours."""
    if not names:
        return ()
    return (f"initial values: the constructor gives {', '.join(names)} none (torch.empty, torch.Tensor): what stood in memory is trained",)


def _stateless(recipe: Recipe, found: _Found, implementation: TorchModule, forward_ad: bool) -> Subject | None:
    """A layer that takes a state and runs without one, called so; None where it does not.   forward_ad: as with one"""
    form, D, H = found.probed.form, found.probed.D, found.probed.H
    if form.kind != "layer" or form.tree is None or form.returns not in ("(y, state)", "(y, *state)", "ys") or found.probed.complex_states:
        return None
    other = TorchModule(recipe, replace(form, tree=None, passing="none", returns="ys"), found.dtype)
    try:
        if not repeats_itself(other, D, H, _of(implementation, 3, 2)[1], found.dtype):
            return None
    except Exception:  # it wants a state: whatever its forward raises then
        return None
    return Subject(
        name=_name(recipe, found.module, False),
        spec=recipe.spec,
        framework="torch",
        kind="cell",
        implementation=other,
        capabilities=frozenset({"backward", "forward_ad"} if forward_ad else {"backward"}),
        input_sizes=(D,) if found.input_fixed else None,
        hidden_sizes=(H,) if found.hidden_fixed else None,
        dtype=found.dtype,
    )


def _gives_symbols(module: torch.nn.Module, form: Form, D: int, H: int) -> bool:
    """Whether it is a language model by its form: an embedding of D symbols, and an output for each of them at each step."""
    embeds = any(isinstance(each, torch.nn.Embedding) and each.num_embeddings == D for each in module.modules())
    return embeds and not form.last and form.output.at(D, H) == D


def _probed_in(module: torch.nn.Module, dtype: torch.dtype, inputs: list[int], widths: list[int], known: int | None) -> Probed:
    """With complex numbers inside, complex states come first: a real one is often the real part that such a cell puts out."""
    if parts.is_complex(module):
        try:
            probed = probe(module, dtype, inputs, widths, known, complex_states=True)
            return replace(probed, complex_states=probed.form.tree is not None)
        except ProbeError:
            pass
    return probe(module, dtype, inputs, widths, known)


def _complex_numbers(module: torch.nn.Module, probed: Probed) -> tuple[Detection, ...]:
    names = [name for name, p in module.named_parameters() if p.is_complex()]
    if not names:
        return ()
    what = ", ".join(names) + (", and the state" if probed.complex_states else "")
    return (Detection("complex numbers", f"{what}: judged by their parts .re and .im, in torch's convention dL/dRe + i dL/dIm"),)


def _user_class(module: torch.nn.Module) -> type:
    return getattr(type(module), "bptt_user_class", type(module))


def _driven(module: torch.nn.Module, probed: Probed) -> int | set[str]:
    """How many arguments of its forward, self included, the checks fill in, or which."""
    face = _face(module)
    if face.sizes:
        return {"self", str(face.lengths), *face.keywords, *(name for name, letter in face.sizes if not letter.endswith("gap"))}
    states = len(probed.form.tree or ()) if probed.form.passing == "spread" and not isinstance(probed.form.tree, Slot) else 1
    return 2 + (probed.form.tree is not None) * states + (face.lengths is not None)


def _face(module: torch.nn.Module) -> Face:
    """The face of the user's own class."""
    own = getattr(type(module), "bptt_user_class", None)
    if own is None:
        return Face()
    bare = copy.copy(module)
    bare.__class__ = own
    return face_of(bare)


def _sizes_named(recipe: Recipe) -> set[str]:
    return {name for name in (recipe.input_name, recipe.hidden_name, "input_size", "hidden_size") if name}


# finding out


def _find(recipe: Recipe) -> _Found:
    """The first sizes and dtype at which the module can be built and called.  Raises UsageError with the first failure."""
    first: UsageError | None = None
    for D, H in _sizes_to_try(recipe):
        try:
            module = recipe.build(D, H)
            return _find_at(recipe, module, D, H)
        except UsageError as error:
            first = first or error
    assert first is not None  # there is always a size to try
    raise first


def _found(recipe: Recipe) -> tuple[Recipe, _Found]:
    """As `_find`; other widths may have to be H, and what convolves and takes no rows of numbers is tried with images."""
    if recipe.large:
        small = replace(recipe, kwargs={**recipe.kwargs, **dict.fromkeys(recipe.large, OBVIOUS["embed_size"])}, large=())
        with contextlib.suppress(UsageError):
            return _found(small)
    try:
        return recipe, _find(recipe)
    except UsageError:
        if recipe.make is not None and next(_made(recipe), None) is None:
            for other in _made_otherwise(recipe):
                if next(_made(other), None) is not None:
                    return _found(other)
        for other in _otherwise(recipe):
            with contextlib.suppress(UsageError):
                return other, _find(other)
        with_images = replace(recipe, images=True)
        if recipe.make is None or not any(map(is_over_images, _made(recipe))):
            raise
        found = _find(with_images)  # what it says of images is what its user wants to know
        why = f"x is D channels, each a number times one picture of {ROWS} x {COLUMNS}; states and outputs are rows of all their pixels"
        probed = replace(found.probed, detected=(*found.probed.detected, Detection("images", why)))
        return with_images, replace(found, probed=probed)


def _made_otherwise(recipe: Recipe) -> Iterator[Recipe]:
    """For a constructor that takes none of its sizes: one number in the place of a pair, a list of one layer in that of H."""
    single = {name: value[0] for name, value in recipe.kwargs.items() if isinstance(value, tuple) and len(set(value)) == 1}
    fitting = (replace(recipe, kwargs={**recipe.kwargs, **single}), recipe) if single else (recipe,)
    if single:
        yield fitting[0]
    if recipe.hidden_name is not None and not recipe.lists:
        yield from (replace(each, lists=(recipe.hidden_name,)) for each in fitting)


def _otherwise(recipe: Recipe) -> Iterator[Recipe]:
    """Its other widths as many as the units, and whole numbers in the place of rows, each where there is something of the kind; last,
    one row of a batch at a time."""
    embeds = _hot_inside(recipe) or any(isinstance(each, Soft) for module in _made(recipe) for each in module.modules())
    compiled = isinstance(recipe.instance, torch.jit.ScriptModule)  # whose forward is no function of Python's
    for rows in (None,) if compiled else (None, "bare", "kept", "columns"):
        for as_hidden, tokens in ((False, False), (True, False), (False, True), (True, True)):
            if (recipe.widths or not as_hidden) and (embeds or not tokens) and (rows or as_hidden or tokens):
                yield replace(recipe, as_hidden=as_hidden, tokens=tokens, rows=rows)


def _hot_inside(recipe: Recipe) -> bool:
    """Whether the code makes one-hot rows of whole numbers itself."""
    home = sys.modules.get(getattr(recipe.make or type(recipe.instance), "__module__", ""))
    try:
        return home is not None and "one_hot(" in inspect.getsource(home)
    except (OSError, TypeError):
        return False


def _made(recipe: Recipe) -> Iterator[torch.nn.Module]:
    """Modules of the sizes that the constructor takes."""
    for sizes in _sizes_to_try(recipe):
        with contextlib.suppress(UsageError):
            yield recipe.build(*sizes)


def _sizes_to_try(recipe: Recipe) -> list[tuple[int, int]]:
    if recipe.make is None:
        return [(1, 1)]  # ignored
    sizes = [(recipe.D or D, recipe.H or H) for D, H in PROBE_SIZES]
    return list(dict.fromkeys(sizes[:1] if recipe.rows else sizes))


def _find_at(recipe: Recipe, module: torch.nn.Module, D: int, H: int) -> _Found:
    form = own_form(module)
    free_D, free_H = recipe.input_name is not None, recipe.hidden_name is not None
    if form is not None:
        sizes: Any = module  # input_size and hidden_size are plain ints on torch's own, typed as tensors or modules
        probed = Probed(form, sizes.input_size, sizes.hidden_size, _own_detected(module, form))
        return _Found(probed, module, "float64", False, recipe.D is not None or not free_D, recipe.H is not None or not free_H)
    inputs, widths = size_attributes(module)
    if free_D:
        inputs = [D]
    elif free_H:  # one size only: D may be H, or fixed inside
        inputs = [H, *(size for size in inputs if size != H)]
    if free_H:
        widths = [PIXELS * H] if recipe.images else [H, 2 * H, *(size for size in widths if size not in (H, 2 * H))][:8]
    dtype, wide, probed = _probe_in_some_dtype(recipe, module, inputs, widths, D, H)
    square = free_H and probed.D == probed.H
    input_fixed = recipe.D is not None or not (free_D or square)
    return _Found(probed, module, dtype, square, input_fixed, recipe.H is not None or not free_H, wide)


def _probe_in_some_dtype(
    recipe: Recipe, module: torch.nn.Module, inputs: list[int], widths: list[int], D: int, H: int
) -> tuple[str, bool, Probed]:
    """The dtype, whether casts to float32 had to be made casts to float64 in it, and what was found.  Raises UsageError."""
    known = H if recipe.hidden_name is not None else None
    trouble: ProbeError | None = None
    for name, dtype, wide in (("float64", torch.float64, False), ("float64", torch.float64, True), ("float32", torch.float32, False)):
        try:
            with default_dtype(dtype, wide=wide):
                probed = _probed_in(in_dtype(module, dtype, recipe), dtype, inputs, widths, known)
        except ProbeError as error:
            trouble = trouble or error
            if not error.of_dtype:
                break
            continue
        told = () if trouble is None else (Detection("widened" if wide else "float32 only", f"in float64: {trouble}"),)
        return name, wide, replace(probed, detected=probed.detected + told)
    raise UsageError(f"{recipe.spec}: {recipe.call(D, H)}: {trouble}") from trouble


def _own_detected(module: torch.nn.Module, form: Form) -> tuple[Detection, ...]:
    name = type(module).__name__
    detected = [Detection(form.kind, f"torch's own {name}"), Detection(f"returns {form.returns}", "torch's documentation")]
    names = [name for slot in slots(form.tree) for name in slot.names]
    detected.append(Detection(f"state {', '.join(names)}", "torch's order of layers and directions"))
    if form.kind == "layer":
        detected.append(Detection("batch first" if form.batch_first else "time major", f"batch_first={form.batch_first}"))
    return tuple(detected)


# what it can do


@dataclass(frozen=True)
class _Trial:
    """A random point and direction.   params and state dicts, xs (T, N, D), each with its tangent."""

    params: dict[str, Array]
    xs: Array
    state: dict[str, Array]
    params_dot: dict[str, Array]
    xs_dot: Array
    state_dot: dict[str, Array]

    def moved(self, step: complex, dtype: str) -> tuple[dict[str, Array], Array, dict[str, Array]]:
        def add(value: Array, dot: Array) -> Array:
            return np.asarray(value + step * dot, dtype)

        params = {name: add(value, self.params_dot[name]) for name, value in self.params.items()}
        state = {name: add(value, self.state_dot[name]) for name, value in self.state.items()}
        return params, add(self.xs, self.xs_dot), state


def _derivatives(implementation: TorchModule, D: int, H: int, dtype: str) -> tuple[bool, Detection]:
    """Whether forward-mode differentiation can be relied on, and how exact derivatives can be had.

    It is tried only where complex numbers don't go through, because they are exact too, and blind to nothing that a module
    hides from autograd; a `detach` hides the same from both modes of differentiation, hence the central differences.
    """
    trial = _trial(implementation, D, H, dtype)
    h, tolerance = (1e-5, 1e-6) if dtype == "float64" else (1e-2, 0.05)
    up, down = (_flat(*implementation.run(*trial.moved(sign * h, dtype))) for sign in (1, -1))
    slope = (up - down) / (2 * h)

    def gap(dot: Array) -> float:
        return float(np.max(np.abs(slope - dot)) / max(float(np.max(np.abs(slope))), 1e-300))

    why_not = ""
    for implementation.complex_zeros in (False, True):
        try:
            by_complex_step = gap(_flat(*implementation.run(*trial.moved(1e-30j, "complex128"))).imag / 1e-30)
        except Exception as error:  # what a module raises on complex numbers is its own; it is told in `describe`
            why_not = why_not or f"complex numbers: {one_line(error)}"
            continue
        if by_complex_step < tolerance:
            return False, Detection("takes complex numbers", f"a complex step agrees with differences to {by_complex_step:.0e}")
        why_not = f"complex numbers: a step differs from differences by {by_complex_step:.0e}"
        break
    implementation.complex_zeros = False
    try:
        forward = implementation.run_tangent(trial.params, trial.xs, trial.state, trial.params_dot, trial.xs_dot, trial.state_dot)
    except Exception as error:  # as above: functions without a jvp raise what they like
        return False, Detection("differences only", f"{why_not}; forward mode: {one_line(error)}")
    by_forward_mode = gap(_flat(*forward))
    if by_forward_mode < tolerance:
        why = f"agrees with differences to {by_forward_mode:.0e}; {why_not}"
        return True, Detection("forward-mode differentiation", why)
    return False, Detection("differences only", f"{why_not}; forward mode differs from differences by {by_forward_mode:.0e}")


def _rounds_to_float32(implementation: TorchModule, found: _Found) -> bool:
    """Whether small steps of all inputs and parameters give jumps in the place of a slope."""
    trial = _trial(implementation, found.probed.D, found.probed.H, "float64")

    def slope(h: float) -> Array:
        up, down = (_flat(*implementation.run(*trial.moved(sign * h, "float64"))) for sign in (1, -1))
        return (up - down) / (2 * h)

    try:
        coarse, fine, finer = slope(1e-5), slope(1e-8), slope(1e-9)
    except Exception:  # a module that raises here raises in its checks too, where it is told
        return False
    size = 1e-3 * float(np.max(np.abs(coarse), initial=0.0))
    jumps = (float(np.max(np.abs(a - b), initial=0.0)) > size for a, b in ((coarse, fine), (fine, finer), (coarse, finer)))
    return sum(jumps) >= 2  # a kink nearby parts one of the three slopes from the others, as no rounding does


def _trial(implementation: TorchModule, D: int, H: int, dtype: str) -> _Trial:
    rng = np.random.default_rng(0)

    def normal(like: Mapping[str, Array]) -> dict[str, Array]:
        return {name: np.asarray(0.5 * rng.normal(size=value.shape), dtype) for name, value in like.items()}

    params = normal(implementation.init(rng, D, H))
    T, N = _of(implementation, 3, 2)
    state = normal(implementation.zero_state(params, N))
    xs, xs_dot = (np.asarray(rng.normal(size=(T, N, D)), dtype) for _ in range(2))
    return _Trial(params, xs, state, normal(params), xs_dot, normal(state))


def _flat(ys: Array, final: Mapping[str, Array]) -> Array:
    return np.concatenate([value.ravel() for value in (ys, *final.values())])


def _admissible(implementation: TorchModule, found: _Found, axis: str) -> tuple[int, ...] | None:
    """None where D (or H) can be 1 too; else the sizes up to 32 that can be built and run."""
    D, H = found.probed.D, found.probed.H

    def works(size: int) -> bool:
        d, h = (size, size) if found.square else (size, H) if axis == "D" else (D, size)
        T, N = _of(implementation, 2, 2)  # the least
        try:
            params = implementation.init(np.random.default_rng(0), d, h)
            state = implementation.zero_state(params, N)
            ys, final = implementation.run(params, np.ones((T, N, d), found.dtype), state)
        except (BpttError, RuntimeError, ValueError, TypeError, IndexError, AssertionError):
            return False  # a size that the module refuses
        form = implementation.form
        width = form.output.at(d, h)
        return ys.shape in ((T, N, width), (T, N, 2 * width)) and all(final[name].shape == state[name].shape for name in final)

    return None if works(1) and works(3) else tuple(size for size in TRIED_SIZES if works(size))


# words


def _origin(recipe: Recipe) -> str:
    if recipe.make is None:
        return "instance"
    return "class" if isinstance(recipe.make, type) else "factory"


def _origin_why(recipe: Recipe, module: torch.nn.Module, D: int, H: int) -> str:
    if recipe.make is None:
        return f"an instance of {recipe.label}; its own values are its initial parameters"
    return f"{recipe.call(D, H)} made a {type(module).__name__}"


def _sizes_in_words(found: _Found) -> str:
    D, H = found.probed.D, found.probed.H
    if found.square and not found.hidden_fixed:
        return "D = H, any"
    return f"D {f'= {D}' if found.input_fixed else 'any'}, H {f'= {H}' if found.hidden_fixed else 'any'}"


def _mode(module: torch.nn.Module) -> tuple[Detection, ...]:
    acting = _other_in_training(module)
    return (Detection("evaluation mode", f"{', '.join(acting)}: judged after eval()"),) if acting else ()


def _other_in_training(module: torch.nn.Module) -> tuple[str, ...]:
    """What inside it computes something else while it is trained: "dropout 0.3", "BatchNorm1d", a class that reads self.training."""
    found = []
    for inner in module.modules():
        rate = next((float(r) for name in ("dropout", "p") if isinstance(r := getattr(inner, name, 0), int | float) and r > 0), 0.0)
        forward = getattr(type(inner), "forward", None)
        own = not str(getattr(forward, "__module__", "")).startswith("torch.nn.")
        code = getattr(forward, "__code__", None) if own else None
        if rate:
            found.append(f"dropout {rate:g}")
        elif isinstance(inner, torch.nn.modules.batchnorm._BatchNorm) or (code is not None and "training" in code.co_names):
            found.append(type(inner).__name__)
    return tuple(dict.fromkeys(found))


def _both_ways(module: torch.nn.Module) -> str | None:
    """The first module inside, itself included, that says bidirectional=True."""
    for name, inner in module.named_modules():
        if getattr(inner, "bidirectional", False) is True:
            return f"its {name} ({type(inner).__name__})" if name else "it"
    return None


def _name(recipe: Recipe, module: torch.nn.Module, own: bool) -> str:
    if own:
        special = _specialities(module)
        return f"nn.{type(module).__name__}" + (f"[{', '.join(special)}]" if special else "")
    return type(module).__name__ if recipe.label == "<lambda>" else recipe.label


def _specialities(module: torch.nn.Module) -> list[str]:
    special = []
    if (layers := getattr(module, "num_layers", 1)) > 1:
        special.append(f"{layers} layers")
    if getattr(module, "bidirectional", False):
        special.append("bidirectional")
    if getattr(module, "proj_size", 0):
        special.append(f"projection {module.proj_size}")
    if getattr(module, "nonlinearity", "tanh") != "tanh":
        special.append(str(module.nonlinearity))
    if getattr(module, "batch_first", False):
        special.append("batch first")
    if getattr(module, "bias", True) is False:
        special.append("no bias")
    if getattr(module, "dropout", 0):
        special.append(f"dropout {module.dropout:g}")
    return special


def _claim(module: torch.nn.Module, name: str, kinds: tuple[type, ...]) -> Any:
    """An optional attribute of the contract (`like`, `dys_scale`, `truncation`) where the module has it as a plain value."""
    value = getattr(module, name, None)
    return value if isinstance(value, kinds) and not isinstance(value, bool) else None


def source_of(module: torch.nn.Module) -> tuple[str, int] | None:
    """File and line of the hand-written backward that the module uses, where it is one alone, else of its class; None without a file."""
    cls = _user_class(module)
    forward = attribute(cls, "forward")
    scope = forward.__globals__ if inspect.isfunction(forward) else {}
    functions = [
        value
        for value in scope.values()
        if isinstance(value, type) and issubclass(value, torch.autograd.Function) and value.__module__ == cls.__module__
    ]
    held = [value for owner in cls.__mro__ if owner.__module__ == cls.__module__ for value in vars(owner).values()]
    named = _names(scope, [value for value in held if inspect.isfunction(value)])
    used = [f for f in functions if f.__name__ in named or any(f is value for value in held)] or functions
    return _place(used[0].backward if len(used) == 1 else cls)


def _names(scope: Mapping[str, object], functions: Sequence[types.FunctionType]) -> set[str]:
    """Names that functions read, and the functions of their file that they read by name."""
    found: set[str] = set()
    left = list(functions)
    while left:
        new = set(left.pop().__code__.co_names) - found
        found |= new
        left += [value for name in new if inspect.isfunction(value := scope.get(name)) and value.__globals__ is scope]
    return found


def _place(obj: Any) -> tuple[str, int] | None:
    try:
        return inspect.getsourcefile(obj) or "", inspect.getsourcelines(obj)[1]
    except (OSError, TypeError):
        return None
