"""A whole Keras model (Sequential, Functional, a subclass) over sequences as a Subject; the recurrent layers inside are judged with it."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import keras
import numpy as np
import torch

from bptt.harness.adapters.frameworks import recipe_of
from bptt.harness.adapters.keras.combinations import raised
from bptt.harness.adapters.keras.layer import Layer, precision, python_random_seeded, renumbered
from bptt.harness.adapters.objects import short_name, source_of
from bptt.harness.adapters.torch import build as torch_build
from bptt.harness.adapters.torch.form import Form, Width
from bptt.harness.adapters.torch.run import TorchModule
from bptt.harness.adapters.undriven import undriven
from bptt.harness.errors import UsageError
from bptt.harness.subject import Array, Arrays, AsMade, Detection, Subject

Model = Any  # keras has no types
_D, _H = 11, 13


@dataclass(frozen=True)
class _Way:
    """How models are made: (D, H, dtype) -> a built model of that dtype, None for its own;   values of an instance."""

    make: Callable[[int, int, str | None], Model]
    label: str
    spec: str
    D: int | None
    H: int | None
    values: tuple[Array, ...] = ()
    widened: bool = True


@dataclass(frozen=True)
class _ModelRecipe(torch_build.Recipe):
    """A recipe whose modules are Keras models (see `ModelModule`)."""

    way: _Way | None = None
    dtype: str = "float64"

    def build(self, D: int, H: int) -> torch.nn.Module:
        assert self.way is not None
        with python_random_seeded(torch.initial_seed()):
            return ModelModule(self.way, D, H, self.dtype).eval()


class ModelModule(torch.nn.Module):
    """module(xs (N, T, D)) -> ys (N, T, O): the model with this module's parameters in its variables."""

    def __init__(self, way: _Way, D: int, H: int, dtype: str) -> None:
        super().__init__()

        @functools.cache
        def model_of(name: str) -> Model:
            if name != dtype and not way.widened:
                raise TypeError(f"this model is {dtype} only, got {name}")
            return way.make(D, H, name if way.widened else None)

        self.model_of = model_of  # a function: models of one's own cannot be copied
        model = model_of(dtype)
        self.names = tuple(path_names(model))
        values = way.values or tuple(own for own in (v.value for v in model.trainable_variables))
        for name, value in zip(self.names, values, strict=True):
            self.register_parameter(name, torch.nn.Parameter(torch.as_tensor(_array(value)).clone()))

    def forward(self, xs: torch.Tensor) -> torch.Tensor:
        if xs.is_complex():
            raise TypeError("Keras makes no layers of complex numbers")
        name = str(xs.dtype).removeprefix("torch.")
        model = self.model_of(name)
        weights = [self._parameters[each] for each in self.names]
        with precision(name):
            ys: torch.Tensor = sequence_of(model, weights, xs)
            return ys


def sequence_of(model: Model, weights: list[Any], xs: Any) -> Any:
    """One output a step: the model's own, or, where it gives one a sequence, that after each step.   xs (N, T, D)"""

    def once(given: Any) -> Any:
        fixed = [variable.value for variable in model.non_trainable_variables]
        outputs, _ = model.stateless_call(weights, fixed, given, **quiet(model))
        if isinstance(outputs, list | tuple):
            return next((each for each in outputs if each.ndim == 3), outputs[0])
        return outputs

    ys = once(xs)
    if ys.ndim == 3:
        return ys
    return keras.ops.stack([*(once(xs[:, : t + 1]) for t in range(xs.shape[1] - 1)), ys], 1)


PartOf = Callable[[Layer, str, None], Subject]


def model_subject_of(obj: object, spec: str, args: Mapping[str, object] | None, part_of: PartOf) -> Subject:
    """A keras.Model, a class or a function that makes one.   part_of: a layer inside as a subject of its own.  Raises UsageError."""
    way = _way(obj, spec, args)
    D, H = way.D or _D, way.H or _H
    own = way.make(D, H, None)
    D, H = way.D or D, way.H or H
    inner = tuple(recurrent_layers(own))
    last_only = _looked(own, D, spec, way.label)
    if keras.config.backend() != "torch":
        raise UsageError(
            f"{spec}: whole models of Keras are judged on its torch backend, got {keras.config.backend()}, wanted KERAS_BACKEND=torch"
        )
    recipe = _ModelRecipe(None, way.label, spec, "D", "H", {}, way.D, way.H, None, way, "float64" if way.widened else "float32")
    module = recipe.seeded(0, D, H)
    ys = module(torch.zeros((2, 3, D), dtype=torch.float64 if way.widened else torch.float32))
    form = Form("layer", None, "none", "ys", Width.of(int(ys.shape[-1]), D, H), batch_first=True)
    implementation = TorchModule(recipe, form, recipe.dtype)
    both = any(isinstance(layer, keras.layers.Bidirectional) or getattr(layer, "go_backwards", False) for layer in inner)
    words = ", ".join(type(layer).__name__ for layer in inner) or "none"
    return Subject(
        name=f"{way.label} (keras model)" if way.label in ("Sequential", "Functional") else way.label,
        spec=spec,
        framework="keras",
        kind="cell",
        implementation=implementation,
        capabilities=frozenset({"backward"}),
        detected=(
            Detection("keras model", f"{type(own).__name__} called with a whole sequence; recurrent layers inside: {words}"),
            Detection("outputs", "one a sequence: asked for after every step" if last_only else "one a step"),
            Detection("evaluation mode", "training=False: dropout is off"),
        ),
        input_sizes=(D,) if way.D else None,
        hidden_sizes=(max((_units(layer) for layer in inner), default=H),),
        bidirectional=both and not last_only,
        dtype=recipe.dtype,
        source=source_of(own, "call") if not type(own).__module__.startswith("keras.") else None,
        as_made=_as_it_is(way, implementation, own),
        undriven=undriven(obj if isinstance(obj, type) else None, (), type(own).call, ("self", "x", "inputs", "training")),
        inner=_parts(inner, spec, part_of),
    )


def _looked(model: Model, D: int, spec: str, label: str) -> bool:
    """Whether it gives one output a sequence.  Raises UsageError where a first call fails."""
    try:
        returned = model(keras.ops.zeros((2, 3, D)), **quiet(model))
    except Exception as error:  # a first run is the user's code
        raise UsageError(f"{spec}: {label} called with (2, 3, {D}) raised {raised(error)}, wanted a model over sequences") from error
    outputs = list(returned) if isinstance(returned, list | tuple) else [returned]
    return not any(each.ndim == 3 for each in outputs)


def _way(obj: object, spec: str, args: Mapping[str, object] | None) -> _Way:
    label = short_name(obj)
    if isinstance(obj, keras.Model):
        if args:
            raise UsageError(f"{spec}: got args {sorted(args)} for an instance, wanted none (its sizes are fixed)")
        if not obj.built:
            raise UsageError(f"{spec}: {label} has not been built, wanted a model that has been called once, or its class")
        config, rebuilt = _config(obj)
        D = _width(obj)

        def again(D: int, H: int, dtype: str | None) -> Model:
            if dtype is None or config is None:
                return obj
            with precision(dtype):
                made = type(obj).from_config(_with_dtype(config, dtype))
                made(keras.ops.zeros((1, 2, D)))
            return made

        values = tuple(_array(v.value) for v in obj.trainable_variables)
        return _Way(again, label, spec, D, max((_units(layer) for layer in recurrent_layers(obj)), default=1), values, rebuilt)
    if inspect.isfunction(obj) and not inspect.signature(obj).parameters and not args and (own := obj()).built:
        return replace(_way(own, spec, None), label=label)  # of sizes of its own
    recipe = recipe_of(obj, spec, args)

    def make(D: int, H: int, dtype: str | None) -> Model:
        with precision(dtype or keras.config.floatx()):
            made = recipe.build(D, H)
            try:
                made(keras.ops.zeros((1, 2, D)))
            except Exception as error:  # a first call is the user's code
                wanted = f"a model over sequences (N, T, {D}), or an instance that has been called once"
                raise UsageError(f"{spec}: {recipe.label} called with (1, 2, {D}) raised {raised(error)}, wanted {wanted}") from error
        return made

    return _Way(make, recipe.label, spec, recipe.D, recipe.H)


def _config(model: Model) -> tuple[Any, bool]:
    """Its configuration, and whether a model of another dtype can be made of it."""
    if not isinstance(model, keras.Sequential) and type(model).__name__ != "Functional":
        return None, False
    try:
        return model.get_config(), True
    except Exception:  # a custom layer inside without a configuration: the model is judged in its own dtype
        return None, False


def _with_dtype(config: Any, dtype: str) -> Any:
    """A configuration whose dtype policies are all `dtype`."""
    if isinstance(config, dict):
        if config.get("class_name") == "DTypePolicy":
            return config | {"config": {"name": dtype}}
        return {
            k: dtype if k == "dtype" and isinstance(v, str) and v.startswith("float") else _with_dtype(v, dtype) for k, v in config.items()
        }
    if isinstance(config, list | tuple):
        return type(config)(_with_dtype(each, dtype) for each in config)
    return config


def recurrent_layers(model: Model) -> Iterator[Layer]:
    """The recurrent layers of a model, those inside of other models included."""
    for layer in getattr(model, "layers", ()):
        if isinstance(layer, keras.layers.RNN | keras.layers.Bidirectional):
            yield layer
        elif isinstance(layer, keras.Model):
            yield from recurrent_layers(layer)


def _units(layer: Layer) -> int:
    size = (layer.forward_layer if isinstance(layer, keras.layers.Bidirectional) else layer).state_size
    while isinstance(size, list | tuple):
        size = size[0]
    return int(size)


def _width(model: Model) -> int | None:
    shape = getattr(model, "input_shape", None)
    if isinstance(shape, tuple) and isinstance(shape[-1], int):
        return shape[-1]
    layers = [layer for layer in getattr(model, "layers", ()) if layer.built and layer.trainable_variables]
    return int(layers[0].trainable_variables[0].shape[0]) if layers else None


def path_names(model: Model) -> list[str]:
    """A name for each trainable variable: its path, numbered where two have the same."""
    paths = renumbered([str(v.path).replace(".", "_").split("/") for v in model.trainable_variables])
    return [p if paths.count(p) == 1 else f"{p}_{paths[:k].count(p)}" for k, p in enumerate(paths)]


def _as_it_is(way: _Way, implementation: TorchModule, own: Model) -> AsMade | None:
    dtype = str(getattr(own, "compute_dtype", "float32"))
    if dtype not in ("float16", "bfloat16", "float32", "float64"):
        return None

    def run(params: Arrays, xs: Array, state: Arrays) -> tuple[dict[str, Array], dict[str, str]]:
        shapes = [tuple(value.shape) for value in params.values()]
        model = own if [tuple(v.shape) for v in own.trainable_variables] == shapes else way.make(int(xs.shape[-1]), way.H or _H, None)
        before = [_array(v.value).copy() for v in model.trainable_variables]
        try:
            for variable, value in zip(model.trainable_variables, params.values(), strict=True):
                variable.assign(np.asarray(value))
            returned = model(keras.ops.convert_to_tensor(np.swapaxes(xs, 0, 1), dtype=dtype), **quiet(model))
        finally:
            for variable, value in zip(model.trainable_variables, before, strict=True):
                variable.assign(value)
        outputs = list(returned) if isinstance(returned, list | tuple) else [returned]
        ys = next((each for each in outputs if each.ndim == 3), outputs[0])
        value = keras.ops.convert_to_numpy(keras.ops.cast(ys, "float64"))
        key = "ys" if value.ndim == 3 else "last output"
        return {key: np.swapaxes(value, 0, 1) if value.ndim == 3 else value}, {key: keras.backend.standardize_dtype(ys.dtype)}

    return AsMade(dtype, run)


def _parts(layers: tuple[Layer, ...], spec: str, part_of: PartOf) -> tuple[Subject, ...]:
    found = []
    for layer in layers:
        try:
            found.append(part_of(layer, f"{spec}#{layer.name}", None))
        except UsageError:
            continue  # a part that is read no other way is judged with the whole
    return tuple(found)


def _array(value: Any) -> Array:
    return value.detach().cpu().numpy() if isinstance(value, torch.Tensor) else np.array(value)


def quiet(model: Model) -> dict[str, bool]:
    """The argument that turns dropout off, where the model's call has it."""
    return {"training": False} if "training" in inspect.signature(model.call).parameters else {}


def is_model(obj: object) -> bool:
    """Whether `obj` is a keras.Model, a class of one, or a function whose layers are put together to one."""
    return isinstance(obj, keras.Model) or (inspect.isclass(obj) and issubclass(obj, keras.Model))
