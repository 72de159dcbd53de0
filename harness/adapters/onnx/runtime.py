"""The file as it is, run by onnxruntime: nothing in it is changed, and where onnxruntime refuses it, it is told with its words."""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import numpy as np

from bptt.harness.adapters.onnx.model import FLOATS, inputs_of
from bptt.harness.subject import Array, Arrays, AsMade

if TYPE_CHECKING:
    from bptt.harness.adapters.onnx.subject import OnnxModel


def session_of(model: Any) -> tuple[Any, str]:
    """A session of onnxruntime on one thread, or None and why there is none."""
    if find_spec("onnxruntime") is None:
        return None, "onnxruntime is not installed: pip install 'bptt[onnx]'"
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 4
    try:
        return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"]), ""
    except Exception as error:  # whatever onnxruntime says of a model
        words = " ".join(str(error).split())
        return None, f"onnxruntime refuses it: {words if len(words) < 240 else words[:60] + ' … ' + words[-160:]}"


def as_made(model: Any, implementation: OnnxModel, spec: str) -> tuple[AsMade | None, str]:
    """The file as it is, or why onnxruntime does not run it."""
    session, refused = session_of(model)
    if session is None:
        return None, refused
    reading = implementation.reading
    inputs = {name: (kind, shape) for name, kind, shape in inputs_of(model)}
    dtype = FLOATS[inputs[reading.xs][0]]
    outputs = [o.name for o in model.graph.output]
    opened = set(implementation.evaluation.model.started)

    def run(params: Arrays, xs: Array, state: Arrays) -> tuple[dict[str, Array], dict[str, str]]:
        feed = implementation.feed(params, xs, state, None, np.dtype(dtype))
        values = session.run(outputs, {name: _as_asked(feed[name], inputs[name][0]) for name in inputs if name in feed})
        arrays = {f"output {name}": np.asarray(value, np.float64) for name, value in zip(outputs, values, strict=True)}
        return arrays, {f"output {name}": str(value.dtype) for name, value in zip(outputs, values, strict=True)}

    def formula(params: Arrays, xs: Array, state: Arrays) -> dict[str, Array]:
        feed = implementation.feed(params, xs, state, None, np.dtype("float64"))
        for name in opened & set(feed):
            feed[name] = np.zeros_like(feed[name])
        values = implementation.evaluation(outputs, feed, "float64")
        return {f"output {name}": np.asarray(value, np.float64) for name, value in zip(outputs, values, strict=True)}

    shape = inputs[reading.xs][1]
    steps = None if shape is None or len(shape) != 3 else shape[0 if reading.time_first else 1]
    own = {name: np.array(implementation.evaluation.model.floats[file]) for name, file in reading.names.items()}
    return AsMade(dtype, run, own=own, formula=formula, steps=steps), ""


def _as_asked(value: Array, kind: int) -> Array:
    if kind in FLOATS:
        return np.ascontiguousarray(value)
    from onnx import helper

    return np.ascontiguousarray(value, helper.tensor_dtype_to_np_dtype(kind))
