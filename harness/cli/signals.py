"""SIGTERM ends a command as Ctrl-C does: what is known is printed and written first."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from bptt.harness.errors import Terminated


@contextmanager
def sigterm_raises() -> Iterator[None]:
    """Terminated is raised in the main thread at the first SIGTERM; later ones do not disturb what it sets going."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def terminate(number: int, frame: FrameType | None) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        raise Terminated

    before = signal.signal(signal.SIGTERM, terminate)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def was_terminated(error: BaseException) -> bool:
    """Whether SIGTERM, and not Ctrl-C, is what interrupted; click raises an error of its own in its place."""
    return isinstance(error, Terminated) or isinstance(error.__cause__, Terminated)
