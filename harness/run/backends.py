"""Where targets are checked and points are measured: in processes of this machine, or on the workers of a dask scheduler.

Both are executors: `submit(function, *arguments)` gives a future.  Threads of a worker's linear algebra are pinned to one, so that
the bits do not depend on how many cores there are; dask's own worker processes (nannies) pin theirs themselves.
"""

from __future__ import annotations

import logging
import os
import signal
import threading
import time
import warnings
from collections.abc import Iterator
from concurrent.futures import Executor
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Protocol

from bptt.harness.errors import UsageError

_LIBRARIES = ("OMP", "OPENBLAS", "MKL", "BLIS", "NUMEXPR")
#: The same bits whatever the number of cores and jobs; and a thread that a library has started does not survive a fork.
ONE_THREAD = {f"{name}_NUM_THREADS": "1" for name in _LIBRARIES} | {"VECLIB_MAXIMUM_THREADS": "1"}
#: Seconds to wait for a scheduler, and for its first worker.
PATIENCE = 20


class Backend(Protocol):
    """`window` is how many points may be under way or waiting in the workers at a time."""

    @property
    def window(self) -> int: ...

    def open(self, alone: bool = False) -> AbstractContextManager[Executor]:
        """Workers for the length of a `with`; `alone`: a single one.  Left early, what is under way is given up."""


@dataclass(frozen=True)
class Loky:
    """Worker processes of joblib's loky, `jobs` of them."""

    jobs: int

    @property
    def window(self) -> int:
        return 2 * self.jobs

    @contextmanager
    def open(self, alone: bool = False) -> Iterator[Executor]:
        from joblib.externals.loky import ProcessPoolExecutor

        executor = ProcessPoolExecutor(1 if alone else self.jobs, initializer=_begin, initargs=(os.getpid(),), env=ONE_THREAD)
        with warnings.catch_warnings():
            # loky puts a new worker in the place of one that has grown, between two points: nothing is lost
            warnings.filterwarnings("ignore", "A worker stopped while some jobs were given to the executor")
            try:
                yield executor
            finally:
                executor.shutdown(wait=True, kill_workers=True)


@dataclass(frozen=True)
class Dask:
    """The workers of the scheduler at an address such as tcp://127.0.0.1:8786.  A lost worker's points are done again by another."""

    scheduler: str

    @property
    def window(self) -> int:
        return 1024

    @contextmanager
    def open(self, alone: bool = False) -> Iterator[Executor]:
        distributed = _distributed()
        for name in logging.root.manager.loggerDict:
            if name.startswith("distributed"):
                logging.getLogger(name).setLevel(logging.CRITICAL)  # what goes wrong is said by our own errors
        try:
            client = distributed.Client(self.scheduler, timeout=PATIENCE, set_as_default=False)
        except (OSError, ValueError, TypeError) as error:
            raise UsageError(f"--scheduler: no dask scheduler answers at {self.scheduler!r} ({error})") from error
        try:
            try:
                client.wait_for_workers(1, timeout=PATIENCE)
            except TimeoutError as error:
                raise UsageError(f"--scheduler: the dask scheduler at {self.scheduler} has no workers") from error
            yield client.get_executor(pure=False)
        finally:
            client.close()


def backend(name: str, jobs: int, scheduler: str | None) -> Backend:
    """Raises UsageError where a scheduler is wanted and not given, or given and not wanted, or dask is not installed."""
    if name == "dask":
        if scheduler is None:
            raise UsageError("--backend dask: wanted --scheduler ADDRESS with it, such as tcp://127.0.0.1:8786")
        _distributed()
        return Dask(scheduler)
    if name != "loky":
        raise UsageError(f"--backend: got {name!r}, wanted loky or dask")
    if scheduler is not None:
        raise UsageError("--scheduler: wanted --backend dask with it")
    return Loky(jobs)


def _distributed() -> Any:
    """dask.distributed, which may not be installed."""
    try:
        return import_module("distributed")
    except ModuleNotFoundError as error:
        raise UsageError("--backend dask needs dask.distributed: pip install 'bptt[dask]'") from error


def _begin(parent: int) -> None:
    """What a worker does first.  Ctrl-C goes to every process of a terminal; whoever started the workers ends them.

    One whose parent was killed has nobody who would end it, and ends itself.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if os.getppid() == parent:  # where processes know their parents
        threading.Thread(target=_end_with, args=(parent,), daemon=True).start()


def _end_with(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(1.0)
    os._exit(1)
