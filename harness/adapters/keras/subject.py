"""A Keras layer as a Subject."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import keras
import numpy as np
import torch

from bptt.harness.adapters.frameworks import Recipe, one_line, recipe_of, unwrapped
from bptt.harness.adapters.keras.as_made import as_made, built
from bptt.harness.adapters.keras.build import LayerRecipe, copied, inside, over_sequences, wrapped
from bptt.harness.adapters.keras.combinations import VARIED, combinations, raised
from bptt.harness.adapters.keras.layer import Layer, directions, layer_regions, output_width, own_value, state_tree, variable_names
from bptt.harness.adapters.keras.model import is_model, model_subject_of
from bptt.harness.adapters.objects import short_name, source_of
from bptt.harness.adapters.torch.form import Form, Tree, Width, pack, slots, unpack
from bptt.harness.adapters.torch.run import TorchModule
from bptt.harness.adapters.torch.subject import PROBE_SIZES, _derivatives
from bptt.harness.adapters.undriven import undriven
from bptt.harness.errors import BpttError, UsageError
from bptt.harness.subject import Array, Arrays, AsMade, Detection, Region, Subject


@dataclass
class KerasModule(TorchModule):
    """The implementation object of a Keras subject: a torch module's, with a mask for sequences of different lengths."""

    def _unrolled(
        self, module: torch.nn.Module, xs: torch.Tensor, state: dict[str, torch.Tensor], lengths: Array | None
    ) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        if lengths is None:
            return self.form.unroll_native(module, xs, state)
        assert self.form.tree is not None
        mask = torch.arange(xs.shape[1]) < torch.from_numpy(np.asarray(lengths, np.int64))[:, None]
        result = module(xs, pack(self.form.tree, state), mask)
        return result[0], unpack(self.form.tree, tuple(result[1:]))

    def regions(self, params: Arrays) -> tuple[Region, ...]:
        """The gates' blocks of Keras's own cells; () for others."""
        module: Any = self._module(tuple((name, tuple(value.shape)) for name, value in params.items()))[0]
        return layer_regions(module.layer_of("float64"), params)


def subject_of(obj: object, spec: str, args: Mapping[str, object] | None) -> Subject:
    """See `bptt.harness.adapters.keras.adapt.adapt`."""
    backend = keras.config.backend()
    if backend not in ("torch", "jax"):
        raise UsageError(
            f"{spec}: Keras runs on {backend} here, wanted its torch or its jax backend: "
            "set the environment variable KERAS_BACKEND=torch before it is imported"
        )
    made = unwrapped(obj)[0]
    if is_model(made) or (inspect.isfunction(made) and not inspect.signature(made).parameters and is_model(made())):
        return model_subject_of(obj, spec, args, subject_of)
    recipe, D, H = _recipe(obj, spec, args)
    H = H if recipe.H is None else recipe.H
    try:
        implementation, layer, forward_ad, derivatives = (_on_torch if backend == "torch" else _on_jax)(recipe, D, H)
    except BpttError:
        raise
    except Exception as error:  # a first run is the user's code
        wanted = "a layer over sequences (N, T, D), or a cell with states of rows"
        raise UsageError(f"{spec}: a first run of {recipe.label} raised {raised(error)}, wanted {wanted}") from error
    inner = directions(layer)[0][1]
    cell, own = inner.cell, type(inner.cell).__module__.startswith("keras.")
    backwards = bool(inner.go_backwards)
    both = isinstance(layer, keras.layers.Bidirectional)
    like = getattr(cell, "like", None)
    several = None
    if backend == "torch" and recipe.sequences is not None and recipe.plain is not None:
        several = combinations(partial(recipe.sequences, D, H), partial(recipe.plain, D, H), D)
    return Subject(
        name=_name(layer, recipe.label, own and type(layer).__module__.startswith("keras.")),
        spec=spec,
        framework="keras",
        kind="cell",
        implementation=implementation,
        like=like if isinstance(like, str) else None,
        capabilities=frozenset({"backward", "forward_ad"} if forward_ad else {"backward"}),
        detected=(*_detected(layer, cell, state_tree(layer, D, H), recipe), *derivatives),
        input_sizes=None if recipe.D is None else (recipe.D,),
        hidden_sizes=None if recipe.H is None else (recipe.H,),
        bidirectional=both or backwards,
        dtype="float64" if backend == "torch" else implementation.params_dtype,
        lengths=not backwards,
        source=None if own else _source(cell),
        regions=implementation.regions,
        as_made=_as_it_is(recipe, layer, D, H),
        ways=()
        if backend != "torch"
        else ((_unrolls(layer), KerasModule(replace(recipe, sequences=_turned(recipe)), implementation.form)),),
        combinations=several,
        varied=frozenset() if several is None else VARIED,
        undriven=undriven(
            type(inner.cell) if not own else type(inner), ("units",), type(inner).call, ("sequences", "initial_state", "mask")
        ),
    )


def _unrolls(layer: Layer) -> str:
    return f"unroll={not directions(layer)[0][1].unroll}"


def _turned(recipe: LayerRecipe) -> Callable[[int, int], Layer]:
    """Its layers with `unroll` the other way."""

    def sequences(D: int, H: int) -> Layer:
        assert recipe.sequences is not None
        layer = recipe.sequences(D, H)
        for _, one in directions(layer):
            one.unroll = not one.unroll
        return layer

    return sequences


def _as_it_is(recipe: LayerRecipe, layer: Layer, D: int, H: int) -> AsMade | None:
    """The layers of the recipe with nothing set."""
    assert recipe.plain is not None  # every recipe of this file has it
    try:
        return as_made(recipe.plain, tuple(variable_names(layer)), state_tree(layer, D, H), D, H)
    except Exception as error:  # a cell's own build is the user's code, and some dtypes have no initializers on a processor
        why = f"{recipe.label} cannot be built as it is for D={D}, H={H}: {one_line(error)}"

        def refused(params: Arrays, xs: Array, state: Arrays) -> tuple[dict[str, Array], dict[str, str]]:
            raise UsageError(why)

        return AsMade("float32", refused, refused=why)


def _on_torch(recipe: LayerRecipe, D: int, H: int) -> tuple[KerasModule, Layer, bool, tuple[Detection, ...]]:
    """The implementation, a layer of it, whether it has forward mode, and how exact derivatives can be had."""
    module: Any = recipe.seeded(0, D, H)
    layer = module.layer_of("float64")
    form = Form("layer", state_tree(layer, D, H), "one", "(y, *state)", Width.of(output_width(layer), D, H), batch_first=True)
    implementation = KerasModule(recipe, form)
    forward_ad, derivatives = _derivatives(implementation, D, H, "float64")
    return implementation, layer, forward_ad, (derivatives,)


def _on_jax(recipe: LayerRecipe, D: int, H: int) -> tuple[Any, Layer, bool, tuple[Detection, ...]]:
    """As `_on_torch`."""
    from bptt.harness.adapters.keras.jax import taken  # imports jax

    return taken(recipe, D, H)


def _recipe(obj: object, spec: str, args: Mapping[str, object] | None) -> tuple[LayerRecipe, int, int]:
    """How layers are made of `obj`, and sizes at which one can be looked at."""
    D, H = PROBE_SIZES[0]
    label = short_name(obj)
    if isinstance(obj, keras.layers.Layer):
        if args:
            raise UsageError(f"{spec}: got args {sorted(args)} for an instance, wanted none (its sizes are fixed)")
        over_sequences(copied(obj, spec), spec, label)  # refuses what is no recurrent layer
        values = tuple(map(own_value, obj.trainable_variables)) if obj.built else ()
        kernel = values[0] if values else None
        D_own = int(kernel.shape[0]) if kernel is not None else None
        H_own = _units(obj)

        def again(D: int, H: int) -> Layer:
            return over_sequences(copied(obj, spec), spec, label)

        def plain(D: int, H: int) -> Layer:
            return built(wrapped(copied(obj, spec, own_dtype=True)), D)

        return LayerRecipe(None, label, spec, "D", "H", {}, D_own, H_own, None, again, values, plain), D_own or D, H_own
    make, _, _ = unwrapped(obj)
    around = _around(make)
    recipe = recipe_of(obj, spec, args, fill=(around,) if around else ())
    if around is not None:
        H_of = recipe.kwargs.get("units")
        recipe = Recipe(recipe.make, label, spec, None, None, recipe.kwargs, None, H_of if isinstance(H_of, int) else None, recipe.filled)

    def sequences_of(D: int, H: int) -> Layer:
        if around is None:
            return over_sequences(recipe.build(D, H), spec, label)
        others = {name: value for name, value in recipe.kwargs.items() if name not in (around, "units")}
        return over_sequences(recipe.make(inside(recipe, around, D, H), **others), spec, label)

    def plain_of(D: int, H: int) -> Layer:
        if around is None:
            return built(wrapped(recipe.build(D, H)), D)
        others = {name: value for name, value in recipe.kwargs.items() if name not in (around, "units")}
        return built(recipe.make(inside(recipe, around, D, H), **others), D)

    H = recipe.H or H
    H_fixed = recipe.H
    if recipe.hidden_name is None and around is None:
        H = H_fixed = _units(sequences_of(D, H))  # a factory without a size
    return LayerRecipe(None, recipe.label, spec, "D", "H", {}, recipe.D, H_fixed, None, sequences_of, plain=plain_of), recipe.D or D, H


def _around(make: object) -> str | None:
    """The argument of RNN or Bidirectional that is a layer itself."""
    if not isinstance(make, type):
        return None
    if issubclass(make, keras.layers.Bidirectional):
        return "layer"
    return "cell" if make is keras.layers.RNN else None


def _units(layer: Layer) -> int:
    one = directions(layer)[0][1]
    size = one.state_size
    while isinstance(size, list | tuple):
        size = size[0]
    return int(size)


def _name(layer: Layer, label: str, own: bool) -> str:
    if not own:
        return label
    both = isinstance(layer, keras.layers.Bidirectional)
    inner = directions(layer)[0][1]
    words = [] if getattr(inner.cell, "reset_after", True) else ["reset before"]
    words += ["backwards"] if inner.go_backwards else []
    words += [] if getattr(inner.cell, "use_bias", True) else ["no bias"]
    mode = getattr(layer, "merge_mode", "concat")
    words += [] if mode == "concat" else [f"merged by {mode}"]
    wrapped = type(inner).__name__ if type(inner) is not keras.layers.RNN else f"RNN({type(inner.cell).__name__})"
    name = f"Bidirectional({wrapped})" if both else wrapped
    return f"keras.{name}" + (f"[{', '.join(words)}]" if words else "")


def _detected(layer: Layer, cell: Any, tree: list[Tree], recipe: LayerRecipe) -> tuple[Detection, ...]:
    names = [name for slot in slots(tree) for name in slot.names]
    what = type(layer).__name__
    found = [
        Detection(f"keras {what}", f"{recipe.label} over its cell {type(cell).__name__}"),
        Detection("return_sequences, return_state", "both are set, so that every output and the final state can be seen"),
        Detection(f"state {', '.join(names)}", "in the order of state_size"),
        Detection("batch first", "Keras has no other order"),
        Detection("evaluation mode", "training=False: dropout is off"),
    ]
    if directions(layer)[0][1].go_backwards:
        found.append(Detection("backwards", "go_backwards=True: outputs come in the order in which they were computed"))
    return tuple(found)


def _source(cell: Any) -> tuple[str, int] | None:
    """File and line of the hand-written backward that the cell's call names, else of the call."""
    call = type(cell).call
    if inspect.isfunction(call):
        for name in call.__code__.co_names:
            value = call.__globals__.get(name)
            if isinstance(value, type) and issubclass(value, torch.autograd.Function):
                return source_of(value, "backward")
    return source_of(cell, "call")
