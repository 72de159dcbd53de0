"""Workers from the outside: start one, hand it a task, follow its events, and know what to do when it dies or hangs."""

from __future__ import annotations

import contextlib
import os
import pickle
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import cloudpickle

from bptt.harness.run.events import Checking, Event, Found, Options, Outside, Remarked, Task, Unloadable
from bptt.reports.records import Remark, Result

_PINNED = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS"), "1")
#: Loading may import a framework, which takes longer than a check.
_LOADING_SECONDS = 120.0
#: An event of a target, or what a process says of itself: ("done", None), ("cannot travel", reason).
Message = Event | tuple[str, str | None]


class Worker:
    """One worker process and the thread that reads its events.   Not shared between threads."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [
                sys.executable,
                "-c",
                "import sys; sys.path[:] = eval(sys.argv[1]); from bptt.harness.run.worker import main; main()",
                repr(sys.path),
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**_PINNED, **os.environ},
        )
        self._events: queue.SimpleQueue[Message | None] = queue.SimpleQueue()
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        # what ends the stream early (a crash in the middle of an event) ends the events too
        with contextlib.suppress(EOFError, pickle.UnpicklingError, OSError, ValueError):
            while True:
                self._events.put(pickle.load(self._process.stdout))
        self._events.put(None)

    def send(self, pickled: bytes) -> None:
        """Hand over a task.  Raises OSError when the process is gone."""
        assert self._process.stdin is not None
        # bytes in a pickle: a task that cannot be unpickled leaves no half of itself in the pipe
        pickle.dump((list(sys.path), os.getcwd(), pickled), self._process.stdin)
        self._process.stdin.flush()

    def next(self, timeout: float) -> Message | None:
        """The next event; None when the process has ended.  Raises queue.Empty after `timeout` seconds."""
        return self._events.get(timeout=timeout)

    def death(self) -> str:
        """How the process ended, in words."""
        code = self._process.wait()
        if code < 0:
            with contextlib.suppress(ValueError):
                return f"killed by {signal.Signals(-code).name}"
        return f"exit code {code}"

    def stop(self) -> None:
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()


class Pool:
    """At most one worker a thread, started when it is first needed and kept for the next target."""

    def __init__(self) -> None:
        self._worker: Worker | None = None

    def worker(self) -> Worker:
        if self._worker is None:
            self._worker = Worker()
        return self._worker

    def discard(self) -> None:
        if self._worker is not None:
            self._worker.stop()
            self._worker = None


def packed(task: Task, options: Options) -> bytes | str:
    """The task as bytes, or why it cannot travel to another process."""
    by_value = _not_importable(task.target)
    try:
        for module in by_value:
            cloudpickle.register_pickle_by_value(module)
        return bytes(cloudpickle.dumps((task, options)))
    except Exception as error:  # pickling runs the object's own code, which may raise anything
        return f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"
    finally:
        for module in by_value:
            cloudpickle.unregister_pickle_by_value(module)


def _not_importable(target: object) -> list[ModuleType]:
    """Modules of the target's classes that another process could not import by name, as pytest loads test files: they go along."""
    classes = getattr(target if isinstance(target, type) else type(target), "__mro__", ())
    modules = {sys.modules[c.__module__] for c in classes if c.__module__ in sys.modules}

    def found(module: ModuleType) -> bool:
        file, parts = getattr(module, "__file__", None), module.__name__.split(".")
        if file is None or module.__name__ == "__main__":
            return True
        stem = Path(*parts)
        return any((Path(p) / stem).with_suffix(".py").is_file() or (Path(p) / stem / "__init__.py").is_file() for p in sys.path)

    return [m for m in modules if not found(m) and m.__name__.split(".")[0] != "bptt"]


def isolated(pool: Pool, task: Task, options: Options, timeout: float) -> Iterator[Message]:
    """Events of one task from a worker. A check that kills or stalls the worker is a result of its own; the rest goes on in a new one.

    Yields ("cannot travel", reason) first and last when the object cannot be unpickled there.
    """
    while True:
        bytes_ = packed(task, options)
        assert isinstance(bytes_, bytes)
        worker = pool.worker()
        try:
            worker.send(bytes_)
        except OSError:
            pool.discard()
            worker = pool.worker()
            worker.send(bytes_)
        current: Checking | Outside | None = None
        seen: list[Result] = []
        lost: tuple[str, str] | None = None
        began = time.perf_counter()
        while lost is None:
            try:
                event = worker.next(timeout if current else max(timeout, _LOADING_SECONDS))
            except queue.Empty:
                lost = ("timeout", f"no answer within {timeout:g} s")
            else:
                if event is None:
                    lost = ("crashed", f"the process died: {worker.death()}")
                    break
                if isinstance(event, tuple):
                    yield event
                    return
                if isinstance(event, Checking | Outside):
                    current, began = event, time.perf_counter()
                elif isinstance(event, Found):
                    seen.append(event.result)
                    current = Outside(event.target_id, "between checks")
                yield event
        pool.discard()
        status, reason = lost
        match current:
            case Checking(target_id, check):
                result = Result(target_id, check, status, reason=reason, duration_s=time.perf_counter() - began)  # type: ignore[arg-type]  # one of two literals
                seen.append(result)
                yield Found(result)
            case Outside(target_id, "admission"):
                yield Unloadable(target_id, task.spec, f"{task.spec}: {reason} while it was run for the first time")
                return
            case Outside(target_id, where):
                yield Remarked(target_id, Remark(where, reason, "warning" if where == "gradient over lag" else "error"))
                if (target_id, where) in options.skip:
                    return
                options = replace(options, skip=options.skip | {(target_id, where)})
            case None:
                yield Unloadable(task.id, task.spec, f"{task.spec}: {reason} while it was being loaded")
                return
        bad = {(r.target, r.check) for r in seen if r.status not in ("passed", "not_applicable", "skipped", "xpassed")}
        done = {(r.target, r.check) for r in seen}
        options = replace(options, skip=options.skip | done, failed=options.failed | bad)
