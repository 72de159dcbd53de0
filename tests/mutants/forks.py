"""Many pieces of work at a time, each in a process forked from this one: what is imported here is imported once."""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

Work = Callable[[], Any]


def forked(pieces: Iterable[tuple[Any, Work]], jobs: int, seconds: float, until: float, loud: bool = False) -> Iterator[tuple[Any, Any]]:
    """(key, what the work returned, as JSON) in the order in which they end; None where a piece took too long or died.

    jobs      pieces at a time
    seconds   that a piece may take; then it and all that it has started is killed
    until     time.monotonic() at which no new piece is started and those that run are killed
    loud      what a piece prints is seen
    """
    pending, running = iter(pieces), dict[int, tuple[Any, Path, float]]()
    more = True
    with tempfile.TemporaryDirectory() as folder:
        number = 0
        while more or running:
            while more and len(running) < jobs and time.monotonic() < until:
                piece = next(pending, None)
                more = piece is not None
                if piece is not None:
                    number += 1
                    path = Path(folder) / str(number)
                    running[_start(piece[1], path, loud)] = (piece[0], path, time.monotonic() + seconds)
            more = more and time.monotonic() < until
            for pid in list(running):
                key, path, end = running[pid]
                ended, _ = os.waitpid(pid, os.WNOHANG)
                if not ended and time.monotonic() < min(end, until):
                    continue
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.killpg(pid, signal.SIGKILL)
                if not ended:
                    os.waitpid(pid, 0)
                del running[pid]
                yield key, json.loads(path.read_text()) if path.exists() else None
            time.sleep(0.02)


def _start(work: Work, path: Path, loud: bool) -> int:
    sys.stdout.flush()
    sys.stderr.flush()
    parent = os.getpid()
    pid = os.fork()
    if pid:
        return pid
    os.setsid()
    _ends_with(parent)
    with open(os.devnull, "r+b", buffering=0) as null:
        for descriptor in (0,) if loud else (0, 1, 2):
            os.dup2(null.fileno(), descriptor)
    try:
        said = json.dumps(work())
    except BaseException:
        said = json.dumps({"error": traceback.format_exc()})
    path.with_suffix(".part").write_text(said)
    path.with_suffix(".part").rename(path)
    os._exit(0)


def _ends_with(parent: int) -> None:
    """A piece does not go on when the process that waits for it is gone.   On Linux; elsewhere it runs to its end."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
        if os.getppid() != parent:
            os._exit(1)
