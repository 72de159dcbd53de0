"""docs/kernels.md: recurrences that kernel libraries publish as functions, put to the test as they stand.

    python -m tests.scores.kernels                              all packages that are installed, and the page
    python -m tests.scores.kernels --package fla --again gla    operators, or verdicts, that are judged anew
    python -m tests.scores.kernels --page-only

What a package publishes is read from its modules.  Triton kernels run in Triton's interpreter where there is no GPU.  Rows are kept in
--rows as they are found: a run that was stopped goes on where it was.
"""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import re
import types
import warnings
from collections.abc import Callable, Iterator
from importlib.metadata import version
from importlib.util import find_spec

from tests.scores.published.options import of_command_line
from tests.scores.published.page import page, versions
from tests.scores.published.reds import reds
from tests.scores.published.rows import Entry, Found, Kept, Passed

#: Naive forms that are no recurrence over a state, or none of a sequence, by words of their names.
_NO_RECURRENCE = {
    "attn": "softmax attention: it has no state",
    "deltaformer": "softmax attention: it has no state",
    "nsa": "softmax attention: it has no state",
    "dsa": "softmax attention: it has no state",
    "parallax": "softmax attention: it has no state",
    "tril": "a part of another",
    "ceildiv": "a part of another",
    "segsum": "a part of another",
    "construct": "a part of another",
    "cal_": "a part of another",
    "combine": "a part of another",
    "decoding": "one step: judged inside of its sequence form",
    "_bwd": "the backward of another",
    "norm": "a part of another",
}
#: Kernels that run in the interpreter in seconds, and the naive form that each is held against.
_KERNELS = {
    "chunk_simple_gla": "simple_gla.naive:naive_recurrent_simple_gla",
    "fused_recurrent_simple_gla": "simple_gla.naive:naive_recurrent_simple_gla",
    "chunk_gla": "gla.naive:naive_recurrent_gla",
    "fused_recurrent_gla": "gla.naive:naive_recurrent_gla",
    "fused_recurrent_hgrn": "hgrn.naive:naive_recurrent_hgrn",
    "fused_recurrent_delta_rule": "delta_rule.naive:delta_rule_recurrence",
}


def _functions(package: types.ModuleType, having: str) -> Iterator[Passed | tuple[str, str]]:
    """(module, function) of each function that a module of the package, whose name has that word, itself defines."""
    for module in sorted(m.name for m in pkgutil.walk_packages(package.__path__, f"{package.__name__}.") if having in m.name):
        try:
            there = importlib.import_module(module)
        except Exception as error:  # some need packages that are not installed
            yield Passed(module, f"its import raises {type(error).__name__}")
            continue
        for name, function in sorted(vars(there).items()):
            if inspect.isfunction(function) and function.__module__ == module:
                yield module, name


def fla() -> Found:
    import fla.ops

    for found in _functions(fla.ops, "naive"):
        if isinstance(found, Passed):
            yield found
            continue
        module, name = found
        why = next((why for word, why in _NO_RECURRENCE.items() if word in name), None)
        if name.startswith("_"):
            continue
        if why is not None:
            yield Passed(f"{module}.{name}", why)
            continue
        yield Entry(f"{module.removeprefix('fla.ops.')}.{name}", name, f"from {module} import {name}")


def fla_kernels() -> Found:
    for name, like in _KERNELS.items():
        home = next((m for m in ("simple_gla", "gla", "hgrn", "delta_rule") if name.endswith(m)), "")
        before = f"import bptt.harness.adapters.triton as triton; triton.interpret(); from fla.ops.{home} import {name}"
        constant = ", args={'g_gamma': None}" if home == "simple_gla" else ""  # a decay that is no tensor to be learned
        yield Entry(f"{name} (Triton, interpreter)", name, before, f"like='fla.ops.{like}', budget='300s'{constant}")


def accelerated_scan() -> Found:
    yield Entry("ref.scan", "scan", "from accelerated_scan.ref import scan")
    yield Passed("ref.scan1", "a part of another: it takes operations for its numbers")
    yield Passed("accelerated_scan.warp", "compiled for a GPU when it is imported")


def mambapy() -> Found:
    yield Entry("pscan", "PScan", "from mambapy.pscan import PScan")


def mingru() -> Found:
    before = "from minGRU_pytorch.minGRU import heinsen_associative_scan_log"
    yield Entry("heinsen_associative_scan_log", "heinsen_associative_scan_log", before)


def xlstm() -> Found:
    for name in ("parallel_stabilized_simple", "chunkwise_simple"):
        yield Entry(f"mlstm.backends.{name}", name, f"from xlstm.blocks.mlstm.backends import {name}")
    yield Passed("mlstm.backends.recurrent_step_stabilized_simple", "one step: judged inside of its layer (conformance.md)")


def recurrentgemma() -> Found:
    for name in ("lru_linear_scan", "lru_associative_scan", "linear_scan"):
        yield Entry(f"jax.scan.{name}", name, f"from recurrentgemma.jax.scan import {name}")
    yield Passed("jax.scan.single_shard_rnn_scan", "a part of another")
    yield Passed("jax.pallas", "compiled for a TPU")
    yield Entry("torch.layers.rnn_scan", "rnn_scan", "from recurrentgemma.torch.layers import rnn_scan")
    yield Entry("torch.layers.RGLRU", "RGLRU", "from recurrentgemma.torch.layers import RGLRU")


def mlstm_kernels() -> Found:
    import mlstm_kernels.torch as torch_forms

    for found in _functions(torch_forms, "native"):
        if isinstance(found, Passed):
            yield found
            continue
        module, name = found
        if re.search(r"step|\.bw|\.fw|_bw|_fw", module) or not name.startswith("mlstm_"):
            continue
        if re.search(r"_bw|_fw\b|_fw_|__recurrent|__parallel|siging_bw", name):
            yield Passed(f"{module}.{name}", "a part of another")
        else:
            yield Entry(f"{module.removeprefix('mlstm_kernels.torch.')}.{name}", name, f"from {module} import {name}")


PACKAGES: dict[str, tuple[str, str, Callable[[], Found]]] = {
    "fla": ("fla-core", "fla", fla),
    "accelerated_scan": ("accelerated-scan", "accelerated_scan", accelerated_scan),
    "mambapy": ("mambapy", "mambapy", mambapy),
    "minGRU_pytorch": ("minGRU-pytorch", "minGRU_pytorch", mingru),
    "xlstm": ("xlstm", "xlstm", xlstm),
    "recurrentgemma": ("recurrentgemma", "recurrentgemma", recurrentgemma),
    "mlstm_kernels": ("mlstm_kernels", "mlstm_kernels", mlstm_kernels),
    "fla kernels": ("triton", "triton", fla_kernels),
}


def main() -> None:
    """See the docstring of this file."""
    given = of_command_line(__doc__, PACKAGES, 900, "kernels")
    warnings.simplefilter("ignore")
    if not given.page_only:
        for name in given.package or [name for name, (_, module, _) in PACKAGES.items() if find_spec(module) is not None]:
            Kept(given.rows, _file(name)).fill(PACKAGES[name][2](), given.level, given.limit, given.again)
    intro = (
        "Written by `tox -e kernels` (`python -m tests.scores.kernels`). Each function was handed over as it stands, with nothing written",
        "for it: what its arguments are, their axes and their numbers were found by running it. 'Not taken' is a limit of bptt.",
        "A kernel is held against the library's own naive form, and each of the two against the exact derivative of its own forward pass.",
        "",
        versions([distribution for distribution, _, _ in PACKAGES.values()]) + ".",
    )
    rows = {path.stem.replace("+", " "): Kept(given.rows, path.stem).lines() for path in sorted(given.rows.glob("*.jsonl"))}
    given.page.write_text(page("Kernels and operators", intro, rows, reds(PACKAGES)))


def _file(package: str) -> str:
    """Releases of one package have rows of their own."""
    distribution = PACKAGES[package][0] if package != "fla kernels" else "fla-core"
    return f"{package} {version(distribution)}".replace(" ", "+")


if __name__ == "__main__":
    main()
