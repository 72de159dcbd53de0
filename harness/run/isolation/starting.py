"""A target's process from the outside: start it, read its messages, stop it, know how it ended.

`Forked` comes of the fork server.  `Fresh` is a new interpreter, for systems on which a fork is not there or not safe: it costs the
imports, there the system itself counts the seconds of the processor, and nobody limits the memory.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import queue
import selectors
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Protocol

from bptt.harness.errors import BpttError
from bptt.harness.run.backends import ONE_THREAD
from bptt.harness.run.isolation import server
from bptt.harness.run.isolation.frames import Frames, Letterhead, framed
from bptt.harness.run.isolation.keeper import End
from bptt.harness.run.isolation.limits import Limits
from bptt.reports.serial import Json

#: Seconds that the process beside a target has, beyond the target's own limit, to end it.
_GRACE_S = 10.0
_START = "import sys; p = sys.argv.pop(1).split(chr(10)); sys.path += [f for f in p if f not in sys.path]; "


@dataclass(frozen=True)
class Place:
    """The current folder and the import path of a target's process; "" for a folder that is gone."""

    folder: str
    path: tuple[str, ...]


def here() -> Place:
    """Those of this process."""
    try:
        folder = os.getcwd()
    except FileNotFoundError:
        folder = ""
    return Place(folder, tuple(sys.path))


@dataclass(frozen=True)
class Order:
    """What a process is started for.

    head           what each of its messages must carry     task, options   as JSON
    limits         what it may use                          place           where it is to run
    prints         what it prints is shown as it comes
    """

    head: Letterhead
    task: Json
    options: Json
    limits: Limits
    place: Place
    prints: bool = True

    def request(self) -> Json:
        work = {"secret": self.head.secret, "id": self.head.target, "task": self.task, "options": self.options}
        work |= {"folder": self.place.folder, "path": list(self.place.path), "environ": {**os.environ, **ONE_THREAD}}
        return {"work": work, "limits": asdict(self.limits), "parent": os.getpid()}


class Process(Protocol):
    """One target's process.  `end` is known when its messages have ended; `kept`: a keeper holds it to all of its limits.

    `began`: it was seen to begin; else nothing of the target's has run.
    """

    end: End
    kept: bool

    @property
    def began(self) -> bool: ...

    def messages(self) -> Iterator[Json]:
        """What it says, as it comes.  Raises Garbled where bytes come that are none of its messages."""

    def stop(self) -> None:
        """End it, from any thread; its messages then end too."""


class Forked:
    """A fork of the server's, with a keeper beside it."""

    kept = True

    def __init__(self, order: Order, origin: ForkServer) -> None:
        self.end = End("lost")
        self._order = order
        self._deadline = time.monotonic() + order.limits.clock_s + _GRACE_S
        self._keeper: int | None = None
        self._line, line = socket.socketpair()
        self._channel, channel = os.pipe()
        with line, _shown_at(order.prints) as stderr:
            try:
                origin.fork([line.fileno(), channel, stderr])
            except BaseException:
                self._close()
                raise
            finally:
                os.close(channel)
        with contextlib.suppress(OSError):  # then the line says that it is lost
            self._line.sendall(framed(order.request()))

    def messages(self) -> Iterator[Json]:
        incoming, words, number = Frames(), Frames(), 0
        try:
            with selectors.PollSelector() as selector:  # whatever the number of files that this process has open
                selector.register(self._channel, selectors.EVENT_READ)
                selector.register(self._line, selectors.EVENT_READ)
                while selector.get_map():
                    ready = [key.fileobj for key, _ in selector.select(max(self._deadline - time.monotonic(), 0.0))]
                    if not ready and self._too_late():
                        return
                    if self._channel in ready:
                        data = os.read(self._channel, 2**18)
                        if not data:
                            selector.unregister(self._channel)
                            incoming.end()
                        for message in incoming.feed(data):
                            yield self._order.head.opened(number, message)
                            number += 1
                    if self._line in ready:
                        data = self._heard()
                        if not data:
                            selector.unregister(self._line)
                        for message in words.feed(data):
                            self._hear(message)
        finally:
            self._close()

    def _heard(self) -> bytes:
        try:
            return self._line.recv(2**18)
        except ConnectionError:  # the server was killed before it had forked
            return b""

    @property
    def began(self) -> bool:
        return self._keeper is not None

    def _hear(self, message: Json) -> None:
        if "keeper" in message:
            self._keeper = message["keeper"]
        else:
            self.end = End(**message)

    def _too_late(self) -> bool:
        """The keeper itself does not answer: the target's process ends with it."""
        self.end = replace(self.end, how="clock", clock_s=self._order.limits.clock_s)
        if self._keeper is not None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(self._keeper, signal.SIGKILL)
        return True

    def stop(self) -> None:
        with contextlib.suppress(OSError):
            self._line.shutdown(socket.SHUT_WR)

    def _close(self) -> None:
        self._line.close()
        if self._channel >= 0:
            os.close(self._channel)
            self._channel = -1


@contextlib.contextmanager
def _shown_at(prints: bool) -> Iterator[int]:
    """Where a target's prints go: what is standard error now, or nowhere."""
    try:
        descriptor = os.dup(2) if prints else os.open(os.devnull, os.O_WRONLY)
    except OSError:
        descriptor = os.open(os.devnull, os.O_WRONLY)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


class NoFork(Exception):
    """There is no server that could be forked; the text says why."""


class ForkServer:
    """`server` as a process of ours, which ends with this one."""

    def __init__(self, modules: tuple[str, ...]) -> None:
        self._lock = threading.Lock()
        self._ready = False
        self._control, theirs = socket.socketpair()
        command = [*_interpreter(), f"{_START}from bptt.harness.run.isolation.server import main; main()", "\n".join(sys.path)]
        with theirs:
            self._process = subprocess.Popen(
                [*command, str(theirs.fileno()), *modules],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                env={**os.environ, **ONE_THREAD},
                start_new_session=True,
            )

    def fork(self, descriptors: list[int]) -> None:
        """Hand over the three descriptors of a new target.  Raises NoFork."""
        with self._lock:
            try:
                if not self._ready:
                    said = self._control.recv(1)
                    if said != server.READY:
                        raise NoFork("its imports have started threads" if said == server.THREADS else "it ended while it was starting")
                    self._ready = True
                socket.send_fds(self._control, [server.REQUEST], descriptors)
            except OSError as error:
                raise NoFork(f"it is gone ({error})") from error

    def close(self) -> None:
        self._control.close()
        self._process.wait()

    def disown(self) -> None:
        """In a fork of the process that started it: it is no child of this one."""
        self._control.close()
        self._process.returncode = 0


_servers: dict[tuple[str, ...], ForkServer] = {}
_servers_lock = threading.Lock()


def fork_server(torch: bool) -> ForkServer:
    """The server of this process, started when it is first asked for and kept: it costs a second, a fork a hundredth.

    torch   one that has imported torch as well, which takes longer than all the rest
    """
    modules = (*server.MODULES, *server.TORCH) if torch else server.MODULES
    with _servers_lock:
        if modules not in _servers:
            _servers[modules] = ForkServer(modules)
        return _servers[modules]


def stand_ready(kinds: Iterable[bool]) -> None:
    """Start the servers that will be asked for, with torch and without, so that they import while the first targets are at work."""
    if can_fork():
        for torch in sorted(kinds):
            with contextlib.suppress(OSError):  # said where it is asked for
                fork_server(torch)


def _forget(gone: ForkServer) -> None:
    with _servers_lock:
        for modules in [m for m, s in _servers.items() if s is gone]:
            del _servers[modules]
    gone.close()


@atexit.register
def _close_servers() -> None:
    while _servers:
        _servers.popitem()[1].close()


def _forget_all() -> None:
    """In a fork of this process: the servers are not its own."""
    global _servers_lock
    _servers_lock = threading.Lock()
    for each in _servers.values():
        each.disown()
    _servers.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_all)


def can_fork() -> bool:
    """Whether targets are forks here: on Linux, where what a fork may do is known and its processes can be watched."""
    return sys.platform == "linux" and Path("/proc/self/stat").exists()


def start(order: Order, torch: bool, fresh: bool = False) -> Process:
    """The process of one target.  Raises BpttError where none can be started."""
    if not fresh and can_fork():
        for _ in range(2):  # a server that was killed is replaced once
            origin = fork_server(torch)
            try:
                return Forked(order, origin)
            except NoFork:
                _forget(origin)
    try:
        return Fresh(order)
    except OSError as error:
        raise BpttError(f"no process could be started for {order.head.target}: {error}") from error


class Fresh:
    """A new interpreter for one target."""

    kept = False
    began = True

    def __init__(self, order: Order) -> None:
        self.end = End("lost")
        self._order, self._began = order, time.monotonic()
        self._stopped = False
        self._printed = b""
        self._process = subprocess.Popen(
            [*_interpreter(), f"{_START}from bptt.harness.run.isolation.worker import main; main()", "\n".join(sys.path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**os.environ, **ONE_THREAD},
            start_new_session=True,
        )
        self._data: queue.SimpleQueue[bytes] = queue.SimpleQueue()
        self._readers = [threading.Thread(target=each, daemon=True) for each in (self._read, self._forward)]
        for reader in self._readers:
            reader.start()
        with contextlib.suppress(OSError):
            self._stdin.write(framed(order.request()))
            self._stdin.flush()

    @property
    def _stdin(self) -> Any:
        return self._process.stdin

    def _read(self) -> None:
        assert self._process.stdout is not None
        while data := os.read(self._process.stdout.fileno(), 2**18):
            self._data.put(data)
        self._data.put(b"")

    def _forward(self) -> None:
        assert self._process.stderr is not None
        while data := os.read(self._process.stderr.fileno(), 2**16):
            self._printed = (self._printed + data)[-8192:]
            with contextlib.suppress(OSError, ValueError, AttributeError):
                if self._order.prints:
                    sys.stderr.write(data.decode("utf-8", "replace"))

    def messages(self) -> Iterator[Json]:
        incoming, number, late = Frames(), 0, False
        try:
            while True:
                try:
                    data = self._data.get(timeout=max(self._began + self._order.limits.clock_s - time.monotonic(), 0.0))
                except queue.Empty:
                    late = True
                    return
                for message in incoming.feed(data):
                    yield self._order.head.opened(number, message)
                    number += 1
                if not data:
                    incoming.end()
                    return
        finally:
            self._finish(late)

    def _finish(self, late: bool) -> None:
        if not late and not self._stopped:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(timeout=1.0)
        self._kill()
        code = self._process.wait()
        for reader in self._readers:
            reader.join(timeout=1.0)
        for pipe in (self._process.stdin, self._process.stdout, self._process.stderr):
            with contextlib.suppress(OSError):
                pipe.close()  # type: ignore[union-attr]  # all three are pipes
        used = time.monotonic() - self._began
        printed = self._printed.decode("utf-8", "replace")
        spent = -code == getattr(signal, "SIGXCPU", 0)
        how = "clock" if late else "stopped" if self._stopped else "cpu" if spent else "signal" if code < 0 else "exit"
        self.end = End(how, abs(code), clock_s=used, printed=printed, trace=printed)  # type: ignore[arg-type]  # one of the literals

    def _kill(self) -> None:
        with contextlib.suppress(OSError):
            if hasattr(os, "killpg"):
                os.killpg(self._process.pid, signal.SIGKILL)
            else:
                self._process.kill()

    def stop(self) -> None:
        self._stopped = True
        self._kill()


def _interpreter() -> list[str]:
    """This interpreter with its own options, without the folder that it is started in on its path."""
    options = subprocess._args_from_interpreter_flags()  # type: ignore[attr-defined]  # as multiprocessing does it
    return [sys.executable, *(option for option in options if option != "-P"), "-P", "-c"]
