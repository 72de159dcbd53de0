"""docs/conformance.md: every recurrent cell and layer that the installed frameworks export, put to the test as their users hold them.

    python -m tests.scores.conformance                           all packages that are installed, and the page
    python -m tests.scores.conformance --package torch           one of them
    python -m tests.scores.conformance --again linen.GRUCell     objects, or verdicts, that are judged anew
    python -m tests.scores.conformance --page-only

What a package exports is read from its modules, so that a new layer is a new row; what is passed over is listed with the reason.  Rows
are kept in --rows as they are found: a run that was stopped goes on where it was.
"""

from __future__ import annotations

import importlib
import inspect
import os
import re
import warnings
from collections.abc import Callable
from importlib.util import find_spec

from tests.scores.published.options import of_command_line
from tests.scores.published.page import page, versions
from tests.scores.published.reds import reds
from tests.scores.published.rows import Entry, Found, Kept, Passed, options_of

RECURRENT = re.compile(r"rnn|lstm|gru|cell|recurrent|cfc|ltc|mamba|bidirectional|elman|wm", re.I)
IMAGES = "its inputs are images, not vectors"


def torch_() -> Found:
    options = {
        "RNN": ("", "nonlinearity='relu'", "num_layers=2", "bidirectional=True", "bias=False", "batch_first=True"),
        "LSTM": ("", "num_layers=2", "bidirectional=True", "proj_size=2", "bias=False", "batch_first=True",
                 "num_layers=2, bidirectional=True, proj_size=2", "num_layers=2, dropout=0.5"),
        "GRU": ("", "num_layers=2", "bidirectional=True", "bias=False", "batch_first=True", "num_layers=2, bidirectional=True"),
        "RNNCell": ("", "nonlinearity='relu'", "bias=False"),
        "LSTMCell": ("", "bias=False"),
        "GRUCell": ("", "bias=False"),
    }  # fmt: skip
    before = "import torch"
    for name, several in options.items():
        for said in several:
            line = f"torch.nn.{name}(3, 5, {said})" if said else f"torch.nn.{name}"
            yield Entry(f"torch.nn.{name}" + (f"({said})" if said else ""), line, before)
    for name, dtype in (("GRU", "bfloat16"), ("LSTM", "float16"), ("LSTM", "float64")):
        yield Entry(f"torch.nn.{name}, {dtype}", f"torch.nn.{name}(3, 5).to(torch.{dtype})", before)
    for name in ("RNN", "LSTM", "GRU"):
        yield options_of(f"torch.nn.{name}", f"torch.nn.{name}", before)
    yield Entry("torch.jit.script(GRUCell)", "torch.jit.script(torch.nn.GRUCell(3, 5))", before)
    yield Entry("torch.jit.trace(LSTM)", "torch.jit.trace(torch.nn.LSTM(3, 5), (torch.zeros(4, 2, 3),))", before)
    yield Passed("torch.jit.script(LSTM), by itself", "torch cannot call it either: it has forward__0 and forward__1 and no forward")
    for name in ("LSTM", "GRUCell"):
        yield Entry(f"torch.compile({name})", f"torch.compile(torch.nn.{name}(3, 5), backend='eager')", before)


def keras_() -> Found:
    import keras

    before = "import keras; K = keras.layers"
    for name in sorted(n for n in dir(keras.layers) if RECURRENT.search(n) and inspect.isclass(getattr(keras.layers, n))):
        cls = getattr(keras.layers, name)
        if name.startswith("ConvLSTM"):
            yield Passed(f"keras.layers.{name}", IMAGES)
        elif name == "Bidirectional":
            yield Entry("Bidirectional(GRU)", "K.Bidirectional(K.GRU(5, return_sequences=True))", before)
            yield Entry(
                "Bidirectional(LSTM, merge_mode='sum')", "K.Bidirectional(K.LSTM(5, return_sequences=True), merge_mode='sum')", before
            )
        elif name == "RNN":
            yield Entry("RNN(LSTMCell)", "K.RNN(K.LSTMCell(5), return_sequences=True)", before)
        elif name == "StackedRNNCells":
            yield Entry("RNN([LSTMCell, GRUCell])", "K.RNN([K.LSTMCell(5), K.GRUCell(4)], return_sequences=True)", before)
        elif issubclass(cls, keras.layers.RNN) or name.endswith("Cell"):
            yield Entry(f"keras.layers.{name}", f"K.{name}", before)
        else:
            yield Passed(f"keras.layers.{name}", "no recurrent layer")
    for line in ("SimpleRNN(5)", "LSTM(5)", "GRU(5)", "Bidirectional(K.LSTM(5))", "RNN([K.LSTMCell(5), K.GRUCell(4)])"):
        yield options_of(re.sub(r"\(\d\)|K\.", "", line), f"K.{line}", before)
    for line in (
        "GRU(5, reset_after=False, return_sequences=True)", "GRU(5)", "LSTM(5, go_backwards=True, return_sequences=True)",
        "LSTM(5, unroll=True, return_sequences=True)", "LSTM(5, use_bias=False, return_sequences=True)",
        "LSTM(5, unit_forget_bias=False, return_sequences=True)", "LSTM(5, return_state=True, return_sequences=True)",
        "GRU(5, stateful=True, return_sequences=True)", "LSTM(5, zero_output_for_mask=True, return_sequences=True)",
        "LSTM(5, recurrent_activation='hard_sigmoid', return_sequences=True)", "SimpleRNN(5, activation='relu', return_sequences=True)",
        "GRU(5, dropout=0.3, recurrent_dropout=0.2, return_sequences=True)",
        "GRU(5, dtype='float64', return_sequences=True)", "LSTM(5, dtype='float64', return_sequences=True)",
        "SimpleRNN(5, dtype='float64', return_sequences=True)", "LSTM(5, dtype='bfloat16', return_sequences=True)",
        "GRU(5, dtype='mixed_bfloat16', return_sequences=True)",
    ):  # fmt: skip
        yield Entry(
            line.replace("5, ", "", 1).replace(", return_sequences=True", "").replace("return_sequences=True", ""), f"K.{line}", before
        )


def flax_() -> Found:
    from flax import linen, nnx

    for library, where in ((linen, "linen"), (nnx, "nnx")):
        before = f"from flax import {where}"
        for name in sorted(n for n in dir(library) if inspect.isclass(getattr(library, n)) and RECURRENT.search(n)):
            cls = getattr(library, name)
            if name == "RNNCellBase" or name.startswith("Conv"):
                yield Passed(f"{where}.{name}", "a base class" if name.endswith("Base") else IMAGES)
            elif issubclass(cls, library.RNNCellBase) or name in ("RNN", "Bidirectional"):
                yield Entry(f"{where}.{name}", f"{where}.{name}", before)
            else:
                yield Passed(f"{where}.{name}", "no recurrent layer")
    cell = {"linen": "linen.{}(5)", "nnx": "nnx.{}(3, 5, rngs=nnx.Rngs(0))"}
    for where, made in cell.items():
        before = f"from flax import {where}"
        more = "" if where == "linen" else ", rngs=nnx.Rngs(0)"
        for said in ("reverse=True", "reverse=True, keep_order=True", "time_major=True", "unroll=4", "return_carry=True"):
            yield Entry(f"{where}.RNN(GRUCell, {said})", f"{where}.RNN({made.format('GRUCell')}, {said}{more})", before)
        for name in ("RNN", "Bidirectional"):
            yield options_of(f"{where}.{name}", f"{where}.{name}", before)
        yield Entry(f"{where}.SimpleCell(residual=True)", made.format("SimpleCell").replace("5", "5, residual=True"), before)
    yield Entry("linen.MGUCell(reset_gate=False)", "linen.MGUCell(5, reset_gate=False)", "from flax import linen")
    yield Entry("linen.GRUCell(dtype=bfloat16)", "linen.GRUCell(5, dtype=jnp.bfloat16)", "from flax import linen; import jax.numpy as jnp")


def equinox_() -> Found:
    import equinox as eqx

    before = "import equinox as eqx, jax"
    for name in sorted(n for n in dir(eqx.nn) if RECURRENT.search(n) and inspect.isclass(getattr(eqx.nn, n))):
        yield Entry(f"equinox.nn.{name}", f"eqx.nn.{name}", before)
        yield Entry(f"equinox.nn.{name}(use_bias=False)", f"eqx.nn.{name}(3, 5, use_bias=False, key=jax.random.key(0))", before)


def haiku_() -> Found:
    import haiku as hk

    before = "import haiku as hk"
    for name in sorted(dir(hk)):
        cls = getattr(hk, name)
        if not (inspect.isclass(cls) and issubclass(cls, hk.RNNCore)):
            continue
        if name in ("GRU", "LSTM", "VanillaRNN"):
            yield Entry(f"haiku.{name}", f"hk.{name}", before)
        elif name == "DeepRNN":
            core = "hk.DeepRNN([hk.LSTM(5), hk.GRU(4)])"
            yield Entry("haiku.DeepRNN([LSTM, GRU])", _unrolled(core), before)
        elif name == "ResetCore":
            yield Passed("haiku.ResetCore", "its input is a pair, with a reset for each step")
        else:
            yield Passed(f"haiku.{name}", IMAGES if name.startswith("Conv") else "a base class, or computes nothing")
    yield Entry("haiku.VanillaRNN(double_bias=False)", "functools.partial(hk.VanillaRNN, double_bias=False)", f"import functools; {before}")
    yield Entry("haiku.LSTM in dynamic_unroll", _unrolled("hk.LSTM(5)"), before)


def _unrolled(core: str) -> str:
    """Time major, from the core's own first state."""
    return f"hk.transform(lambda xs: hk.dynamic_unroll(c := {core}, xs, c.initial_state(xs.shape[1]))[0])"


def onnxruntime_() -> Found:
    before = "from tests.harness.adapters.onnx.test_onnx import model, runnable"
    for op, options in (
        ("RNN", ({}, {"activations": ["Relu"]}, {"direction": "bidirectional"}, {"clip": 0.5})),
        ("GRU", ({}, {"linear_before_reset": 1}, {"direction": "reverse"}, {"direction": "bidirectional"}, {"clip": 0.5}, {"layout": 1})),
        ("LSTM", ({}, {"direction": "bidirectional"}, {"direction": "reverse"}, {"clip": 0.5}, {"input_forget": 1}, {"peepholes": True})),
    ):
        for given in options:
            said = ", ".join(f"{k}={v!r}" for k, v in given.items())  # type: ignore[attr-defined]
            yield Entry(f"onnxruntime {op}({said})", f"runnable(model({op!r}{', ' if said else ''}{said}))", before)
        yield options_of(f"onnxruntime {op}", f"runnable(model({op!r}))", before)


def torchrecurrent_() -> Found:
    module = importlib.import_module("torchrecurrent")
    for name in sorted(n for n in module.__all__ if inspect.isclass(getattr(module, n))):
        if name.startswith("Base"):
            yield Passed(f"torchrecurrent.{name}", "a base class")
        else:
            yield Entry(f"torchrecurrent.{name}", f"torchrecurrent.{name}", "import torchrecurrent")


def ncps_() -> Found:
    import ncps.torch

    before = "import ncps.torch as n; from ncps.wirings import AutoNCP"
    for line in (
        "CfC(3, 5)", "CfC(3, 5, mode='pure')", "CfC(3, 5, mode='no_gate')", "CfC(3, 5, mixed_memory=True)", "CfC(3, 5, proj_size=2)",
        "CfC(3, AutoNCP(12, 4))", "LTC(3, 5)", "LTC(3, 5, mixed_memory=True)", "LTC(3, AutoNCP(12, 4))",
    ):  # fmt: skip
        yield Entry(f"ncps.torch.{line}", f"n.{line}", before)
    for name in sorted(set(ncps.torch.__all__) - {"CfC", "LTC"}):
        yield Passed(f"ncps.torch.{name}", "a cell with an argument of elapsed time, judged inside of its layer")
    yield Passed("ncps.keras, ncps.tf, ncps.paddle", "the same layers for other frameworks")


def mingru_() -> Found:
    before = "from minGRU_pytorch import minGRU"
    for said in ("6", "6, expansion_factor=1.5", "6, expansion_factor=1.5, proj_out=True"):
        yield Entry(f"minGRU({said})", f"minGRU({said})", before)
    import minGRU_pytorch

    for name in sorted(n for n in dir(minGRU_pytorch) if inspect.isclass(getattr(minGRU_pytorch, n)) and n != "minGRU"):
        yield Passed(f"minGRU_pytorch.{name}", "no recurrent layer by itself")


def mambapy_() -> Found:
    before = "from mambapy.mamba import Mamba, MambaBlock, MambaConfig"
    for pscan in (True, False):
        config = f"MambaConfig(d_model=6, n_layers=1, d_state=4, pscan={pscan})"
        yield Entry(f"mambapy.MambaBlock(pscan={pscan})", f"MambaBlock({config})", before)
    yield Entry("mambapy.Mamba(2 layers)", "Mamba(MambaConfig(d_model=6, n_layers=2, d_state=4))", before)
    yield Passed("mambapy.mamba2", "needs kernels that run on a GPU alone")
    yield Passed("mambapy.jamba, lm, vim", "whole models of tokens or of images")


def xlstm_() -> Found:
    s = "from xlstm import sLSTMLayer, sLSTMLayerConfig, mLSTMLayer, mLSTMLayerConfig"
    for said in ("", ", conv1d_kernel_size=4"):
        config = f"sLSTMLayerConfig(embedding_dim=8, num_heads=2, backend='vanilla'{said or ', conv1d_kernel_size=0'})"
        yield Entry(f"xlstm.sLSTMLayer({said.strip(', ') or 'conv1d_kernel_size=0'})", f"sLSTMLayer({config})", s)
    yield Entry("xlstm.mLSTMLayer", "mLSTMLayer(mLSTMLayerConfig(embedding_dim=8, num_heads=2, context_length=128))", s)
    yield Passed("xlstm.sLSTMBlock, mLSTMBlock", "made by their stack; what recurs in them is the layer above")
    yield Passed("xlstm.xLSTMBlockStack, xLSTMLMModel", "stacks of those blocks")
    yield Passed("xlstm sLSTM, backend='cuda'", "needs a GPU")


PACKAGES: dict[str, tuple[tuple[str, ...], Callable[[], Found]]] = {
    "torch": (("torch",), torch_),
    "keras": (("keras",), keras_),
    "flax": (("flax", "jax"), flax_),
    "equinox": (("equinox",), equinox_),
    "haiku": (("dm-haiku",), haiku_),
    "onnxruntime": (("onnxruntime", "onnx"), onnxruntime_),
    "ncps": (("ncps",), ncps_),
    "minGRU_pytorch": (("minGRU-pytorch",), mingru_),
    "mambapy": (("mambapy",), mambapy_),
    "xlstm": (("xlstm",), xlstm_),
    "torchrecurrent": (("torchrecurrent",), torchrecurrent_),
}


def main() -> None:
    """See the docstring of this file."""
    given = of_command_line(__doc__, PACKAGES, 600, "conformance")
    os.environ.setdefault("KERAS_BACKEND", "torch")
    warnings.simplefilter("ignore")
    if not given.page_only:
        for name in given.package or [name for name in PACKAGES if find_spec(name) is not None]:
            Kept(given.rows, name).fill(PACKAGES[name][1](), given.level, given.limit, given.again)
    intro = (
        "Written by `tox -e conformance` (`python -m tests.scores.conformance`). Each object was handed over as its users hold it;",
        "'Not taken' is a limit of bptt, not of the library; 'as it is' is the object in its own dtype beside its formula in float64.",
        "",
        versions([d for name, (several, _) in PACKAGES.items() for d in several]) + ".",
    )
    given.page.write_text(
        page("Conformance of published cells and layers", intro, {n: Kept(given.rows, n).lines() for n in PACKAGES}, reds(PACKAGES))
    )


if __name__ == "__main__":
    main()
