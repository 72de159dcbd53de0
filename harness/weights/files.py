"""Tensors from a file, under the names that stand there.

.npz   .safetensors   .pt .pth (a dict of tensors, also under "state_dict", "model_state_dict" or "model")
.onnx  the tensors of each LSTM, GRU and RNN node as the operator calls them: "node/W", "node/R", "node/B", "node/P"
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from bptt.harness.errors import UsageError
from bptt.harness.subject import Array

_RECURRENT = ("LSTM", "GRU", "RNN")
#: Where an operator of ONNX takes its weights.
_PLACES = {1: "W", 2: "R", 3: "B", 7: "P"}


def tensors(path: str, option: str = "") -> dict[str, Array]:
    """All tensors of the file.   option: that named it, for errors

    Raises UsageError for what cannot be read.
    """
    file, said = Path(path), f"{option}: {path}" if option else f"{path}:"
    read = _READERS.get(file.suffix)
    if read is None:
        raise UsageError(f"{said} ends in {file.suffix or 'nothing'!r}, wanted {', '.join(_READERS)}")
    try:
        found = {name: np.asarray(value) for name, value in read(file).items()}
    except ModuleNotFoundError as error:
        raise UsageError(f"{said} needs {error.name}, which is not installed: pip install {error.name}") from error
    except Exception as error:  # whatever a reader of files says of a file that it cannot read: the user is told
        raise UsageError(f"{said} cannot be read ({type(error).__name__}: {' '.join(str(error).split())[:200]})") from error
    return {name: value for name, value in found.items() if value.dtype.kind == "f"}


def _npz(path: Path) -> Mapping[str, Any]:
    with np.load(path, allow_pickle=False) as file:
        return {name: file[name] for name in file.files}


def _safetensors(path: Path) -> Mapping[str, Any]:
    from safetensors.numpy import load_file

    return dict(load_file(path))


def _torch(path: Path) -> Mapping[str, Any]:
    import torch

    found = torch.load(path, map_location="cpu", weights_only=True)
    for inside in ("state_dict", "model_state_dict", "model"):
        found = found[inside] if isinstance(found, dict) and isinstance(found.get(inside), dict) else found
    return {name: value.detach().double().numpy() for name, value in found.items() if isinstance(value, torch.Tensor)}


def _onnx(path: Path) -> Mapping[str, Any]:
    import onnx
    from onnx import numpy_helper

    graph = onnx.load(str(path)).graph
    known = {tensor.name: tensor for tensor in graph.initializer}
    for node in graph.node:
        if node.op_type == "Constant":
            known |= dict.fromkeys(node.output, next((each.t for each in node.attribute if each.name == "value"), None))
    known = {name: tensor for name, tensor in known.items() if tensor is not None}
    return {name: numpy_helper.to_array(known[of]) for name, of in _of_nodes(graph) if of in known}


def _of_nodes(graph: Any) -> Iterator[tuple[str, str]]:
    """(name of ours, name of the initializer) of what the recurrent nodes compute with."""
    for k, node in enumerate(graph.node):
        if node.op_type in _RECURRENT:
            for place, letter in _PLACES.items():
                if place < len(node.input):
                    yield f"{node.name.strip('/').replace('/', '.') or f'{node.op_type}_{k}'}/{letter}", node.input[place]


_READERS: Mapping[str, Callable[[Path], Mapping[str, Any]]] = {
    ".npz": _npz,
    ".safetensors": _safetensors,
    ".pt": _torch,
    ".pth": _torch,
    ".onnx": _onnx,
}
