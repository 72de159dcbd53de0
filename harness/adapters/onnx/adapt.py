"""ONNX: a ModelProto, its bytes, or the path of a file, with LSTM, GRU or RNN nodes.   Forward pass only: ONNX has no gradients.

onnx is imported only for a path that ends in .onnx; a ModelProto is one only if somebody has imported it already.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path

from bptt.harness.adapters.frameworks import belongs_to
from bptt.harness.errors import UsageError
from bptt.harness.subject import Subject


def adapt(obj: object, spec: str, args: Mapping[str, object] | None = None) -> Subject | None:
    """`obj` as a Subject, None where it is neither a ModelProto, nor bytes of one, nor a path that ends in .onnx.

    Raises UsageError, in one line, where the file or what runs it is missing, or the model has no recurrent node.
    """
    is_file = isinstance(obj, Path) and obj.suffix == ".onnx"
    if isinstance(obj, bytes) and "onnx" in sys.modules:
        obj = _read(obj, spec)
    if not is_file and not ("onnx" in sys.modules and type(obj).__name__ == "ModelProto" and belongs_to(obj, "onnx")):
        return None
    if args:
        raise UsageError(f"{spec}: got args {sorted(args)} for a model, wanted none (its sizes are fixed)")
    try:
        from bptt.harness.adapters.onnx.model import load  # imports onnx
        from bptt.harness.adapters.onnx.subject import subject_of
    except ImportError as error:
        raise UsageError(f"{spec}: reading it needs onnx ({error}), wanted pip install 'bptt[onnx]'") from error
    return subject_of(load(obj, spec) if isinstance(obj, Path) else obj, spec)


def _read(raw: bytes, spec: str) -> object:
    """The model that `raw` is.  Raises UsageError."""
    onnx = sys.modules["onnx"]
    try:
        return onnx.load_from_string(raw)
    except Exception as error:  # whatever protobuf raises for what is none
        raise UsageError(
            f"{spec}: {len(raw)} bytes are no ONNX model ({type(error).__name__}), wanted those of SerializeToString()"
        ) from error
