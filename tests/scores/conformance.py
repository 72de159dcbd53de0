"""docs/conformance.md: every recurrent cell and layer that the installed frameworks export, put to the test as their users hold them.

    python -m tests.scores.conformance --level standard -o docs/conformance.md     all packages that are installed
    python -m tests.scores.conformance --package torch --rows build/conformance    one of them: a JSON line a row
    python -m tests.scores.conformance --page build/conformance -o docs/conformance.md

What a package exports is read from its modules, so that a new layer is a new row; what is passed over is listed with the reason.
"""

from __future__ import annotations

import argparse
import importlib
import inspect
import json
import os
import re
import signal
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

SECONDS = 120
RECURRENT = re.compile(r"rnn|lstm|gru|cell|recurrent|cfc|ltc|mamba|bidirectional|elman|nas|janet|scrn|ran$|mut|cornn|wm", re.I)


@dataclass(frozen=True)
class Row:
    """One object: how it is named, and what came of it."""

    package: str
    what: str
    verdict: str
    convention: str = ""
    as_made: str = ""
    undriven: str = ""
    sensitivity: float | None = None
    seconds: float = 0.0
    finding: str = ""
    repro: str = ""


@dataclass(frozen=True)
class Entry:
    """An exported object.   make() -> what a user would hand over;   line: a line of Python that makes it"""

    what: str
    make: Callable[[], Any]
    line: str


@dataclass(frozen=True)
class Passed:
    """An exported name that has no row, and why."""

    what: str
    why: str


Found = Iterator[Entry | Passed]


def torch_() -> Found:
    import torch

    for name in ("RNN", "LSTM", "GRU", "RNNCell", "LSTMCell", "GRUCell"):
        yield Entry(f"torch.nn.{name}", lambda name=name: getattr(torch.nn, name), f"torch.nn.{name}")
    options = {
        "LSTM": ({"num_layers": 2}, {"bidirectional": True}, {"proj_size": 2}, {"bias": False}, {"batch_first": True}),
        "GRU": ({"num_layers": 2}, {"bidirectional": True}, {"bias": False}, {"batch_first": True}),
        "RNN": ({"nonlinearity": "relu"},),
    }
    for name, several in options.items():
        for given in several:
            said = ", ".join(f"{k}={v!r}" for k, v in given.items())
            yield Entry(
                f"torch.nn.{name}({said})", lambda n=name, g=given: getattr(torch.nn, n)(3, 5, **g), f"torch.nn.{name}(3, 5, {said})"
            )


def keras_() -> Found:
    import keras

    K = keras.layers
    for name in sorted(n for n in dir(K) if RECURRENT.search(n) and inspect.isclass(getattr(K, n))):
        cls = getattr(K, name)
        if name in ("RNN", "StackedRNNCells") or name.startswith("ConvLSTM") or "RandomGrayscale" in name:
            why = "made around cells: see the rows of its cells" if not name.startswith("Conv") else "its inputs are images, not vectors"
            yield Passed(f"keras.layers.{name}", why)
        elif name == "Bidirectional":
            yield Entry(
                "keras.layers.Bidirectional(GRU)",
                lambda: K.Bidirectional(K.GRU(5, return_sequences=True)),
                "keras.layers.Bidirectional(keras.layers.GRU(5, return_sequences=True))",
            )
        elif hasattr(cls, "state_size") or issubclass(cls, K.RNN) or name.endswith("Cell"):
            yield Entry(f"keras.layers.{name}", lambda cls=cls: cls, f"keras.layers.{name}")
        else:
            yield Passed(f"keras.layers.{name}", "no recurrent layer")
    for said, make in (
        ("GRU(reset_after=False)", lambda: K.GRU(5, reset_after=False, return_sequences=True)),
        ("LSTM(go_backwards=True)", lambda: K.LSTM(5, go_backwards=True, return_sequences=True)),
        ("LSTM(unroll=True)", lambda: K.LSTM(5, unroll=True, return_sequences=True)),
        ("GRU(dtype='float64')", lambda: K.GRU(5, dtype="float64", return_sequences=True)),
        ("LSTM(dtype='float64')", lambda: K.LSTM(5, dtype="float64", return_sequences=True)),
        ("SimpleRNN(dtype='float64')", lambda: K.SimpleRNN(5, dtype="float64", return_sequences=True)),
        ("LSTM(dtype='bfloat16')", lambda: K.LSTM(5, dtype="bfloat16", return_sequences=True)),
    ):
        yield Entry(f"keras.layers.{said}", make, f"keras.layers.{said.replace('(', '(5, ', 1)}")


def flax_() -> Found:
    from flax import linen, nnx

    for library, where in ((linen, "linen"), (nnx, "nnx")):
        for name in sorted(n for n in dir(library) if inspect.isclass(getattr(library, n)) and RECURRENT.search(n)):
            cls = getattr(library, name)
            if name in ("RNNCellBase",) or name.startswith("Conv"):
                yield Passed(f"flax.{where}.{name}", "a base class" if name.endswith("Base") else "its inputs are images, not vectors")
            elif issubclass(cls, library.RNNCellBase) or name in ("RNN", "Bidirectional"):
                yield Entry(f"flax.{where}.{name}", lambda cls=cls: cls, f"flax.{where}.{name}")
            else:
                yield Passed(f"flax.{where}.{name}", "no recurrent layer")


def equinox_() -> Found:
    import equinox as eqx

    for name in sorted(n for n in dir(eqx.nn) if RECURRENT.search(n) and inspect.isclass(getattr(eqx.nn, n))):
        yield Entry(f"equinox.nn.{name}", lambda name=name: getattr(eqx.nn, name), f"equinox.nn.{name}")


def haiku_() -> Found:
    import haiku as hk

    for name in sorted(dir(hk)):
        cls = getattr(hk, name)
        if not (inspect.isclass(cls) and issubclass(cls, hk.RNNCore)):
            continue
        if name in ("GRU", "LSTM", "VanillaRNN"):
            yield Entry(f"haiku.{name}", lambda cls=cls: cls, f"haiku.{name}")
        else:
            yield Passed(f"haiku.{name}", "a base class, or made around other modules, or over images")


def onnx_() -> Found:
    from tests.harness.adapters.onnx.test_onnx import model, runnable

    for op, options in (
        ("RNN", ({}, {"activations": ["Relu"]}, {"direction": "bidirectional"})),
        ("GRU", ({}, {"linear_before_reset": 1}, {"direction": "reverse"}, {"clip": 0.5}, {"layout": 1})),
        ("LSTM", ({}, {"direction": "bidirectional"}, {"clip": 0.5}, {"input_forget": 1}, {"peepholes": True})),
    ):
        for given in options:
            said = ", ".join(f"{k}={v}" for k, v in given.items())
            yield Entry(
                f"onnxruntime {op}({said})",
                lambda op=op, g=given: runnable(model(op, **g)),
                f"a file with one {op} node: {said or 'no attributes'}",
            )


def torchrecurrent_() -> Found:
    yield from _classes("torchrecurrent", lambda cls: cls)


def ncps_() -> Found:
    import ncps.torch as n

    for name in ("CfC", "LTC"):
        yield Entry(f"ncps.torch.{name}", lambda name=name: getattr(n, name)(3, 5), f"ncps.torch.{name}(3, 5)")
    for name in sorted(set(dir(n)) - {"CfC", "LTC"}):
        if inspect.isclass(getattr(n, name)):
            yield Passed(f"ncps.torch.{name}", "a cell of a wiring, judged inside of its layer")


def mingru_() -> Found:
    import minGRU_pytorch as m

    for name in ("minGRU", "minLSTM"):
        if hasattr(m, name):
            yield Entry(f"minGRU_pytorch.{name}", lambda name=name: getattr(m, name)(6), f"minGRU_pytorch.{name}(6)")


def mambapy_() -> Found:
    from mambapy.mamba import MambaBlock, MambaConfig

    for pscan in (True, False):
        line = f"MambaBlock(MambaConfig(d_model=6, n_layers=1, d_state=4, pscan={pscan}))"
        yield Entry(f"mambapy.{line}", lambda p=pscan: MambaBlock(MambaConfig(d_model=6, n_layers=1, d_state=4, pscan=p)), line)


def xlstm_() -> Found:
    from xlstm.blocks.mlstm.layer import mLSTMLayer, mLSTMLayerConfig
    from xlstm.blocks.slstm.layer import sLSTMLayer, sLSTMLayerConfig

    yield Entry(
        "xlstm.sLSTMLayer",
        lambda: sLSTMLayer(sLSTMLayerConfig(embedding_dim=8, num_heads=2, backend="vanilla", conv1d_kernel_size=0)),
        "sLSTMLayer(sLSTMLayerConfig(embedding_dim=8, num_heads=2, backend='vanilla', conv1d_kernel_size=0))",
    )
    yield Entry(
        "xlstm.mLSTMLayer",
        lambda: mLSTMLayer(mLSTMLayerConfig(embedding_dim=8, num_heads=2, context_length=128)),
        "mLSTMLayer(mLSTMLayerConfig(embedding_dim=8, num_heads=2, context_length=128))",
    )


def _classes(package: str, make: Callable[[type], Any]) -> Found:
    module = importlib.import_module(package)
    for name in sorted(getattr(module, "__all__", dir(module))):
        cls = getattr(module, name, None)
        if not inspect.isclass(cls):
            continue
        if name.startswith("Base"):
            yield Passed(f"{package}.{name}", "a base class")
        else:
            yield Entry(f"{package}.{name}", lambda cls=cls: make(cls), f"{package}.{name}")


PACKAGES: dict[str, tuple[str, Callable[[], Found]]] = {
    "torch": ("torch", torch_),
    "keras": ("keras", keras_),
    "flax": ("flax", flax_),
    "equinox": ("equinox", equinox_),
    "haiku": ("dm-haiku", haiku_),
    "onnxruntime": ("onnxruntime", onnx_),
    "torchrecurrent": ("torchrecurrent", torchrecurrent_),
    "ncps": ("ncps", ncps_),
    "minGRU_pytorch": ("minGRU-pytorch", mingru_),
    "mambapy": ("mambapy", mambapy_),
    "xlstm": ("xlstm", xlstm_),
}


def judged(package: str, entry: Entry, level: str) -> Row:
    """The row of one object.  What cannot be taken is a row too."""
    import bptt
    from bptt.reports.view import sensitivity

    began = time.process_time()
    repro = f"bptt.check({entry.line}, level={level!r})"

    def late(*_: object) -> None:
        raise TimeoutError(f"more than {SECONDS} s")

    signal.signal(signal.SIGALRM, late)
    signal.alarm(SECONDS)
    try:
        run = bptt.check(entry.make(), level=level, isolate=False)
    except Exception as error:  # each object is a row, whatever it raises
        said = " ".join(str(error).split())[:200]
        return Row(
            package, entry.what, f"not taken: {type(error).__name__}", finding=said, repro=repro, seconds=time.process_time() - began
        )
    finally:
        signal.alarm(0)
    headlines = [r.finding.headline if r.finding else "" for r in run.failed]
    if any("TimeoutError: more than" in each for each in headlines):
        return Row(package, entry.what, f"not finished in {SECONDS} s", repro=repro, seconds=time.process_time() - began)
    target = run.run.targets[0]
    remarks = {r.where: r.text for r in target.remarks}
    verdict = {0: "conforms", 1: "does not conform", 3: "not decided"}.get(run.exit_code, f"exit {run.exit_code}")
    worst = [f"{r.check}: {r.finding.headline if r.finding else r.reason}" for r in run.failed]
    soft = [f"{r.check} (warning): {r.finding.headline}" for r in run.run.results if r.status == "passed" and r.finding]
    found = target.identified
    return Row(
        package,
        entry.what,
        verdict,
        "" if found is None else found.convention,
        remarks.get("as it is", "").partition(";")[0],
        remarks.get("not driven", ""),
        sensitivity(run.run.results),
        time.process_time() - began,
        " · ".join([*worst, *soft])[:600],
        repro,
    )


def rows_of(package: str, level: str, folder: Path) -> None:
    """Write a JSON line for each object of a package, as they are judged."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / f"{package}.jsonl").open("w") as out:
        for each in PACKAGES[package][1]():
            record = asdict(each) if isinstance(each, Passed) else asdict(judged(package, each, level))
            out.write(json.dumps(record | {"level": level}) + "\n")
            out.flush()
            print(package, record["what"], record.get("verdict", "passed over"), file=sys.stderr)


def page(folder: Path) -> str:
    """The page of all rows that were written."""
    rows, passed, levels = [], [], set()
    for path in sorted(folder.glob("*.jsonl")):
        for line in path.read_text().splitlines():
            record = json.loads(line)
            levels.add(record.pop("level"))
            (rows if "verdict" in record else passed).append(record)
    lines = [
        "# Conformance of published cells and layers",
        "",
        "Written by `tox -e frameworks` (`python -m tests.scores.conformance`) at level "
        f"{', '.join(sorted(levels))}. Each object was handed over as its users hold it;",
        'the line to reproduce is the one that was run. "Not taken" is a limit of bptt, not of the library.',
        "",
        *(f"- {name} {_version(distribution)}" for name, (distribution, _) in PACKAGES.items() if (folder / f"{name}.jsonl").is_file()),
        "",
        f"{len(rows)} objects: " + ", ".join(f"{n} {v}" for v, n in _counted(r["verdict"].partition(":")[0] for r in rows)) + ".",
        "",
        "| object | verdict | convention | as it is | sensitivity | CPU s |",
        "|---|---|---|---|---|---|",
    ]
    for r in rows:
        known = "" if r["sensitivity"] is None else f"{r['sensitivity']:.0e}"
        cells = (f"`{r['what']}`", r["verdict"], r["convention"], r["as_made"], known, f"{r['seconds']:.1f}")
        lines.append("| " + " | ".join(str(c).replace("|", "\\|") for c in cells) + " |")
    lines += ["", "## What was found", ""]
    lines += [f"- `{r['what']}`: {r['finding']} — `{r['repro']}`" for r in rows if r["finding"]] or ["Nothing."]
    lines += ["", "## What no check has varied", ""]
    lines += [f"- `{r['what']}`: {r['undriven']}" for r in rows if r["undriven"]]
    lines += ["", "## Exported, without a row", ""]
    lines += [f"- `{p['what']}`: {p['why']}" for p in passed]
    return "\n".join(lines) + "\n"


def _counted(values: Iterator[str] | Any) -> list[tuple[str, int]]:
    counts: dict[str, int] = {}
    for value in values:
        counts[value] = counts.get(value, 0) + 1
    return sorted(counts.items(), key=lambda item: -item[1])


def _version(distribution: str) -> str:
    try:
        return version(distribution)
    except PackageNotFoundError:
        return ""


def main() -> None:
    """See the docstring of this file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--package", action="append", choices=list(PACKAGES))
    parser.add_argument("--level", default="standard")
    parser.add_argument("--rows", type=Path, default=Path("build/conformance"))
    parser.add_argument("--page", type=Path)
    parser.add_argument("-o", type=Path)
    given = parser.parse_args()
    os.environ.setdefault("KERAS_BACKEND", "torch")
    warnings.simplefilter("ignore")
    if given.page is None:
        for package in given.package or [name for name in PACKAGES if find_spec(name) is not None]:
            rows_of(package, given.level, given.rows)
    if given.o is not None:
        given.o.write_text(page(given.page or given.rows))


if __name__ == "__main__":
    main()
