"""Triton kernels on the processor: Triton's own interpreter runs them, one program of the grid after the other.

What it cannot say is said in the verdict: it computes in float32 (bfloat16 is wrong in it), it has no TensorFloat-32, no races between
programs and no limit of shared memory.  Uninitialised memory is what the processor left there.

Triton is never imported here: an object can only be one of its kernels if somebody has imported it already.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from bptt.harness.subject import Detection, Device, Subject

#: Properties of a card that autotuners and heuristics of kernels ask for: those of a large one, so that no configuration is left out.
_PROPERTIES = {"max_shared_mem": 232448, "multiprocessor_count": 1, "max_num_regs": 65536, "warpSize": 32}


def choose_interpreter(device: Device) -> None:
    """Before a target is imported: kernels that are compiled when they are called cannot be interpreted afterwards."""
    if device == "cpu" and "triton" not in sys.modules and "TRITON_INTERPRET" not in os.environ and find_spec("triton") is not None:
        os.environ["TRITON_INTERPRET"] = "1"


def has_kernels(spec: str) -> bool:
    """Whether the file of a target, or one beside its module, names triton, where triton is installed.  Nothing is imported."""
    place = spec.rpartition(":")[0]
    if not place or find_spec("triton") is None:
        return False
    path = Path(place)
    if path.suffix != ".py":
        top, *rest = place.split(".")
        try:
            found = find_spec(top)
        except (ImportError, ValueError):
            return False
        folders = [Path(folder, *rest) for folder in (found.submodule_search_locations or ())] if found is not None else []
        path = next((p for folder in folders for p in (folder, folder.with_suffix(".py")) if p.exists()), path)
    files = sorted(path.glob("*.py")) if path.is_dir() else [path] if path.suffix == ".py" else []
    return any(_names_triton(each) for each in files)


def _names_triton(file: Path) -> bool:
    try:
        return "import triton" in file.read_text("utf-8", "replace")
    except OSError:
        return False


def interpreting() -> bool:
    return "triton" in sys.modules and os.environ.get("TRITON_INTERPRET") == "1"


def compiling(device: Device) -> bool:
    """Whether a call on this device may launch kernels: each new size is compiled, for seconds, and tuned, for minutes."""
    return device == "cuda" and "triton" in sys.modules and not interpreting()


def is_of_triton(error: BaseException | None) -> bool:
    """Whether Triton itself says that a kernel cannot be compiled, or launched, for these sizes."""
    return type(error).__module__.partition(".")[0] == "triton"


def settle() -> None:
    """After it was imported: kernels that ask which card they run on get an answer.

    A package asks when it is imported which device it is to use, and takes the processor; only then may a card be said to be there.
    """
    if not interpreting():
        return
    driver = sys.modules["triton"].runtime.driver
    if not isinstance(getattr(driver, "_active", None), _Processor):
        driver.set_active(_Processor())


def interpret() -> None:
    """Kernels that are imported from now on run in the interpreter: for scripts, which import them by themselves."""
    import importlib

    os.environ["TRITON_INTERPRET"] = "1"
    importlib.import_module("triton")


class _Processor:
    """Stands in for the driver of a card: the processor, under the name of a card that every kernel knows."""

    class utils:  # noqa: N801  # Triton's own name for it
        @staticmethod
        def get_device_properties(device: int = 0) -> dict[str, int]:
            return dict(_PROPERTIES)

    def get_current_target(self) -> Any:
        from importlib import import_module

        return import_module("triton.backends.compiler").GPUTarget("cuda", 80, 32)

    def get_active_torch_device(self) -> Any:
        return sys.modules["torch"].device("cpu")

    def get_current_device(self) -> int:
        return 0

    def get_current_stream(self, device: int | None = None) -> int:
        return 0

    def get_device_interface(self) -> Any:
        return sys.modules["torch"].cpu

    def get_benchmarker(self) -> Any:
        """Equal times for all configurations, none of which is run: the first one is taken."""

        def constant(call: Any, *, quantiles: Any = None, **_: object) -> Any:
            return [1.0] * len(quantiles) if quantiles else 1.0

        return constant

    def get_empty_cache_for_benchmark(self) -> Any:
        return sys.modules["torch"].empty(0)

    def clear_cache(self, cache: Any) -> None:
        return None


@contextmanager
def launches() -> Iterator[list[str]]:
    """The names of the kernels that the interpreter runs within it; none where it is not in use."""
    seen: list[str] = []
    if not interpreting():
        yield seen
        return
    from importlib import import_module

    executor = import_module("triton.runtime.interpreter").GridExecutor
    plain = executor.__call__

    def counted(self: Any, *args: Any, **kwargs: Any) -> Any:
        seen.append(str(getattr(self.fn, "__name__", "kernel")))
        return plain(self, *args, **kwargs)

    executor.__call__ = counted
    try:
        yield seen
    finally:
        executor.__call__ = plain


#: What a verdict calls it.
INTERPRETED, COMPILED = "Triton, interpreted", "Triton, compiled"


def is_interpreted(subject: Subject) -> bool:
    """Whether its kernels run in the interpreter, where a pass may take a second."""
    return any(each.what == INTERPRETED for each in subject.detected)


def is_slow(subject: Subject) -> bool:
    """Whether its kernels are interpreted, or compiled at each new size."""
    return any(each.what in (INTERPRETED, COMPILED) for each in subject.detected)


def told(kernels: list[str]) -> Detection:
    """What a verdict says of kernels that were interpreted."""
    named = ", ".join(dict.fromkeys(kernels))
    limits = "in float32, without TensorFloat-32, races between programs and limits of shared memory; --device cuda runs them on a GPU"
    return Detection(INTERPRETED, f"{named}: on the processor, {limits}")
