"""Standard streams that may be closed, full or gone: what cannot be printed is not printed, and the run goes on to its verdict."""

from __future__ import annotations

import contextlib
import io
import os
import sys
from collections.abc import Iterator
from typing import Any, TextIO


class Guarded:
    """A text stream whose first failure to write is kept, after which it takes everything and writes nothing."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self.failure: OSError | ValueError | None = None

    def write(self, text: str) -> int:
        if self.failure is None:
            try:
                self._stream.write(text)
            except (OSError, ValueError) as error:  # ValueError: it was closed from inside
                self._give_up(error)
        return len(text)

    def flush(self) -> None:
        if self.failure is None:
            try:
                self._stream.flush()
            except (OSError, ValueError) as error:
                self._give_up(error)

    def writelines(self, lines: Any) -> None:
        for line in lines:
            self.write(line)

    def _give_up(self, error: OSError | ValueError) -> None:
        """What is left in the buffer goes nowhere: else Python would try it once more at its end, and end with an exit code of its own."""
        self.failure = error
        with contextlib.suppress(OSError, ValueError, io.UnsupportedOperation):
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self._stream.fileno())
            os.close(nowhere)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


@contextlib.contextmanager
def guarded() -> Iterator[None]:
    """Standard output and error guarded, and there: a descriptor that was closed is not given to the next file that is opened."""
    for descriptor in (0, 1, 2):
        try:
            os.fstat(descriptor)
        except OSError:
            opened = os.open(os.devnull, os.O_RDWR)  # the lowest free number, which is this one
            os.set_inheritable(opened, True)  # a process that is started has all three too
    before = sys.stdout, sys.stderr
    nowhere = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115 - closed below, with whatever it stood in for
    out, err = (Guarded(stream if stream is not None else nowhere) for stream in before)
    sys.stdout, sys.stderr = out, err  # all that anybody asks of them
    try:
        for stream in (out, err):
            if isinstance(stream._stream, io.TextIOWrapper):
                stream._stream.reconfigure(errors="replace")  # a terminal without a letter shows "?" for it, and the verdict still stands
        yield
        out.flush()
        if out.failure is not None and not isinstance(out.failure, BrokenPipeError):
            why = out.failure.strerror if isinstance(out.failure, OSError) else str(out.failure)
            err.write(f"bptt: standard output could not be written ({why})\n")
        err.flush()
    finally:
        sys.stdout, sys.stderr = before
        nowhere.close()
