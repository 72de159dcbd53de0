"""The target's own process: it loads the target, judges it, and tells what it finds, event by event."""

from __future__ import annotations

import faulthandler
import io
import math
import os
import random
import signal
import sys
import threading
from collections.abc import Callable
from typing import Any

from bptt.harness.call.guard import place_of, said
from bptt.harness.run.events import event_to_dict
from bptt.harness.run.isolation.frames import Letterhead, framed, receive
from bptt.harness.run.isolation.parcels import CannotTravel, unpacked, unpacked_options
from bptt.harness.run.worker import events_of
from bptt.reports.serial import Json

#: Exit code of a process that can no longer tell what it finds.
CUT_OFF = 120


class Channel:
    """Where messages go: a descriptor that no other process has, and that is no other file by the time a message is sent."""

    def __init__(self, descriptor: int, head: Letterhead) -> None:
        self._descriptor, self._head, self._number = descriptor, head, 0
        self._process, self._file = os.getpid(), _identity(descriptor)
        os.set_inheritable(descriptor, False)  # closed in what the target executes
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self._close)  # and in what it forks

    def _close(self) -> None:
        os.close(self._descriptor)

    def send(self, body: Json) -> None:
        """Raises nothing: where the line is gone, nobody is there to be told."""
        if os.getpid() != self._process:
            os._exit(CUT_OFF)  # a fork of the target's that came back into our code
        try:
            if _identity(self._descriptor) != self._file:
                raise OSError("the descriptor is another file now")
            data = memoryview(framed(self._head.sealed(self._number, body)))
            while data:
                data = data[os.write(self._descriptor, data) :]
        except OSError as error:
            os.write(2, f"the target's code has closed the line to the run ({error})\n".encode())
            os._exit(CUT_OFF)
        self._number += 1


def _identity(descriptor: int) -> tuple[int, int]:
    status = os.fstat(descriptor)
    return status.st_dev, status.st_ino


def serve(work: Json, descriptor: int, for_traces: int, alone: bool = False) -> None:
    """Check the target that `work` describes, and tell all of it.  The last message says how it went.

    for_traces   the descriptor that a crash, or SIGXCPU, writes the place to     alone   no process beside it ends it at SIGXCPU
    """
    channel = Channel(descriptor, Letterhead(work["secret"], work["id"]))
    trace = os.fdopen(for_traces, "w")
    faulthandler.enable(trace, all_threads=False)
    if hasattr(signal, "SIGXCPU"):
        faulthandler.register(signal.SIGXCPU, trace, all_threads=False, chain=alone)
    os.environ.clear()
    os.environ.update(work["environ"])
    sys.path[:] = work["path"]
    sys.argv[:] = [""]
    sys.stdin = io.TextIOWrapper(io.BufferedReader(io.FileIO(0, closefd=False)))
    sys.stdout, sys.stderr = map(_written_to, (1, 2))
    channel.send({"last": _guarded(lambda: _checked(work, channel))})
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except Exception:  # the target's own stream, or closed by it
            continue


def _written_to(descriptor: int) -> io.TextIOWrapper:
    return io.TextIOWrapper(io.BufferedWriter(io.FileIO(descriptor, "w", closefd=False)), errors="replace", line_buffering=True)


def _checked(work: Json, channel: Channel) -> Json:
    try:
        if work["folder"]:
            os.chdir(work["folder"])
    except OSError as error:
        return {"fault": f"the folder {work['folder']} cannot be entered here: {error.strerror}"}
    try:
        task, options = unpacked(work["task"]), unpacked_options(work["options"])
    except CannotTravel as error:
        return {"cannot travel": str(error)}
    _seed(options.seed)
    for event in events_of(task, options):
        channel.send({"event": event_to_dict(event)})
    return {"done": True}


def _guarded(function: Callable[[], Json]) -> Json:
    try:
        return function()
    except BaseException as error:  # the last resort: what it was, and whose
        place = place_of(error)
        if place:
            return {"raised": f"{said(error)} (at {place})"}
        return {"fault": f"the harness failed: {said(error)} (at {_last(error)})"}


def _last(error: BaseException) -> str:
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return "no place known" if trace is None else f"{trace.tb_frame.f_code.co_filename}:{trace.tb_lineno}"


def _seed(seed: int) -> None:
    """A subject that draws from the global generators gives the same record every time, and shares no draw with another target."""
    import numpy as np

    random.seed(seed)
    np.random.seed(seed % 2**32)  # noqa: NPY002  # the global generator is meant
    torch: Any = sys.modules.get("torch")
    if torch is not None:
        torch.manual_seed(seed)


def main() -> None:
    """The life of a process that was started for one target alone: its work comes as a message on standard input.

    Standard output is the channel, until nothing of the target's has run; from then on standard output is standard error, and standard
    input is empty.  It ends where standard input does: whoever started it is gone.
    """
    request = receive(0)
    if request is None:
        return
    channel, started_by = os.dup(1), os.dup(0)
    os.dup2(2, 1)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    threading.Thread(target=_end_with, args=(started_by,), daemon=True).start()
    seconds = math.ceil(request["limits"]["cpu_s"])
    if hasattr(signal, "SIGXCPU"):
        import resource

        resource.setrlimit(resource.RLIMIT_CPU, (seconds, resource.RLIM_INFINITY))
    serve(request["work"], channel, os.dup(2), alone=True)
    os._exit(0)


def _end_with(descriptor: int) -> None:
    while os.read(descriptor, 4096):
        continue
    os._exit(CUT_OFF)
