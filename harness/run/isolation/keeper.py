"""The process beside each target's own: it forwards what the target prints, holds it to its limits, and says how it ended.

It runs nothing of the target's, and the target's process has none of its descriptors, so that its word can be trusted.  All that
descends from the target stays below it, also what a target wanted to leave running: at the end it kills all of it.  It ends the target
when whoever asked for it closes the line or is gone, whatever the way: a SIGKILL too.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import socket
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Literal

from bptt.harness.run.isolation.frames import Garbled, framed, receive
from bptt.harness.run.isolation.limits import Limits
from bptt.harness.run.isolation.processes import adopt_orphans, descendants, end_descendants, end_with, proportional, usage
from bptt.reports.serial import Json

How = Literal["exit", "signal", "cpu", "clock", "memory", "stopped", "lost"]
#: Seconds between two looks at what the target uses.
_LOOK_S = 0.04
#: Seconds that a target which has reached a limit has to write where it is.
_PLACE_S = 0.3
_TAIL = 8192


@dataclass(frozen=True)
class End:
    """How a target's process ended.

    how        by itself ("exit" with `number` as its code, or "signal"), at a limit, because it was stopped, or nobody knows ("lost")
    cpu_s, clock_s, resident   what it had used, bytes at the last look
    printed    the end of what it wrote to standard output and error
    trace      where it was, as Python's faulthandler writes it; "" where it ended in order
    """

    how: How
    number: int = 0
    cpu_s: float = 0.0
    clock_s: float = 0.0
    resident: int = 0
    printed: str = ""
    trace: str = ""


def keep(line: socket.socket, channel: int, stderr: int, serve: Callable[[Json, int, int], None]) -> None:
    """Start the target that `line` asks for, follow it to its end, and say how it ended on `line`.

    channel   the descriptor of the target's messages     stderr   where what it prints goes
    serve     what runs in its process: serve(request, channel, descriptor for a last trace)
    """
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    try:
        request = receive(line.fileno())
    except Garbled:
        return
    if request is None:
        return
    line.sendall(framed({"keeper": os.getpid()}))
    adopt_orphans()
    printed, for_prints = os.pipe()
    traced, for_traces = os.pipe()
    keeper = os.getpid()
    began = time.monotonic()
    target = os.fork()
    if target == 0:
        line.close()
        for each in (printed, traced, stderr):
            os.close(each)
        _become_the_target(keeper, for_prints)
        try:
            serve(request["work"], channel, for_traces)
        except BaseException as error:  # nothing of ours works any more: the target has replaced what we stand on
            os.write(2, f"bptt cannot go on in this process: {type(error).__name__}: {error}\n".encode(errors="replace"))
            os._exit(1)
        os._exit(0)
    for each in (channel, for_prints, for_traces):
        os.close(each)
    watched = _Watched(target, Limits(**request["limits"]), began)
    output = _Output(printed, stderr)
    how = _until_it_ends(watched, output, line, request["parent"])
    trace = b""
    if how in ("cpu", "clock", "memory"):
        trace = _place(target, traced)
    end_descendants()
    output.rest()
    trace += _available(traced)
    end = End(
        how,
        watched.number,
        watched.cpu_s,
        time.monotonic() - began,
        watched.resident,
        output.tail.decode("utf-8", "replace"),
        trace.decode("utf-8", "replace"),
    )
    with contextlib.suppress(OSError):  # whoever asked is gone
        line.sendall(framed(asdict(end)))


def _become_the_target(keeper: int, for_prints: int) -> None:
    os.setsid()  # what is typed at the terminal, and signals to the run's group, do not reach it
    end_with(keeper)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.dup2(for_prints, 1)
    os.dup2(for_prints, 2)
    os.close(nothing)
    os.close(for_prints)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    with contextlib.suppress(OSError), open("/proc/self/oom_score_adj", "w") as file:
        file.write("500")  # where the machine has no memory left, the target goes first


class _Watched:
    """What the target and all that descends from it have used so far."""

    def __init__(self, pid: int, limits: Limits, began: float) -> None:
        self.pid, self.limits, self.began = pid, limits, began
        self.cpu_s, self.resident, self.number = 0.0, 0, 0

    def ended(self) -> How | None:
        """Reaps what has ended; how the target itself ended, None while it runs."""
        how: How | None = None
        with contextlib.suppress(ChildProcessError):
            while (ended := os.waitpid(-1, os.WNOHANG))[0]:
                if ended[0] == self.pid:
                    code = os.waitstatus_to_exitcode(ended[1])
                    how, self.number = ("signal", -code) if code < 0 else ("exit", code)
        return how

    def beyond(self) -> How | None:
        """The limit that is reached, if one is."""
        own = os.times()
        cpu_s, resident, living = own.children_user + own.children_system, 0, descendants(os.getpid())
        for pid in living:
            if (used := usage(pid)) is not None:
                cpu_s += used.cpu_s
                resident += used.resident
        self.cpu_s, self.resident = max(self.cpu_s, cpu_s), resident
        if self.cpu_s > self.limits.cpu_s:
            return "cpu"
        if time.monotonic() - self.began > self.limits.clock_s:
            return "clock"
        if resident > self.limits.memory:
            self.resident = sum(map(proportional, living)) or resident  # pages that several share count once
            if self.resident > self.limits.memory:
                return "memory"
        return None


class _Output:
    """What the target prints: forwarded as fast as it is taken, its end kept."""

    def __init__(self, source: int, sink: int) -> None:
        self.source: int | None = source
        self.sink: int | None = sink
        self.tail = b""
        self._waiting = b""

    def readable(self) -> list[int]:
        return [] if self.source is None or len(self._waiting) > _TAIL else [self.source]

    def writable(self) -> list[int]:
        return [] if self.sink is None or not self._waiting else [self.sink]

    def read(self) -> None:
        assert self.source is not None
        data = os.read(self.source, 65536)
        if not data:
            os.close(self.source)
            self.source = None
        self.tail = (self.tail + data)[-_TAIL:]
        if self.sink is not None:
            self._waiting += data

    def write(self) -> None:
        assert self.sink is not None
        try:
            self._waiting = self._waiting[os.write(self.sink, self._waiting[:4096]) :]
        except OSError:  # nobody reads it: what the target prints goes nowhere, and the target goes on
            self.sink, self._waiting = None, b""

    def rest(self) -> None:
        """What is left after the end."""
        while self.source is not None and select.select([self.source], [], [], 0)[0]:
            self.read()
        until = time.monotonic() + 1.0
        while self.writable() and time.monotonic() < until:
            if select.select([], self.writable(), [], 0.1)[1]:
                self.write()


def _until_it_ends(watched: _Watched, output: _Output, line: socket.socket, parent: int) -> How:
    try:
        sentinel = [os.pidfd_open(watched.pid)]
    except OSError:  # an older kernel: its end is seen at the next look
        sentinel = []
    looked = 0.0
    while True:
        wanted: list[int] = [line.fileno(), *sentinel, *output.readable()]
        ready, free, _ = select.select(wanted, output.writable(), [], _LOOK_S)
        if free:
            output.write()
        if output.source in ready:
            output.read()
        if line.fileno() in ready:
            return "stopped"
        if (how := watched.ended()) is not None:
            return how
        if time.monotonic() - looked >= _LOOK_S:
            looked = time.monotonic()
            if (limit := watched.beyond()) is not None:
                return limit
            if not _lives(parent):
                return "stopped"


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _place(target: int, traced: int) -> bytes:
    """Where the target is, in its own words, if it is still able to say so."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(target, signal.SIGXCPU)
    found, until = b"", time.monotonic() + _PLACE_S
    while time.monotonic() < until and not found.rstrip().endswith(b"<module>"):
        if select.select([traced], [], [], 0.05)[0]:
            found += _available(traced)
        elif found:
            break
    return found


def _available(descriptor: int) -> bytes:
    found = b""
    while len(found) < _TAIL * 4 and select.select([descriptor], [], [], 0)[0]:
        data = os.read(descriptor, 65536)
        if not data:
            break
        found += data
    return found


def main_of_fork(line: socket.socket, channel: int, stderr: int, serve: Callable[[Json, int, int], None]) -> None:
    """`keep` as the whole life of a forked process."""
    try:
        keep(line, channel, stderr, serve)
    except BaseException as error:  # a fault of ours: whoever asked sees the line end without a word, and this says why
        with contextlib.suppress(Exception):
            print(f"bptt: the process beside a target failed: {type(error).__name__}: {error}", file=sys.stderr)
    finally:
        os._exit(0)
