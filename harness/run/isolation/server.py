"""A process that has imported what every target needs, and has run nothing: each target begins as a fork of it.

    python -c "…; main()" DESCRIPTOR MODULE...

Over the descriptor, a socket, come requests of one byte with three descriptors: the line of the keeper, the channel of the target's
messages, and where what it prints goes.  It never imports code of a user's, nor a framework that starts threads: a fork copies the
thread that forks and no other, so that locks which another one holds stay closed for ever.  Whether there are other threads is looked at,
not assumed.  It ends with the socket.
"""

from __future__ import annotations

import gc
import importlib
import os
import signal
import socket
import sys
from collections.abc import Sequence

from bptt.harness.run.isolation import keeper

READY, THREADS, REQUEST = b"r", b"t", b"f"
#: What `worker` needs in any case.
MODULES = (
    "numpy",
    "numpy.random",
    "hypothesis",
    "hypothesis.strategies",
    "bptt.harness.targets",
    "bptt.harness.checks.registry",
    "bptt.harness.run.judging",
    "bptt.harness.run.isolation.worker",
    "bptt.harness.adapters.contract",
    "bptt.harness.adapters.reference",
    "bptt.harness.adapters.frameworks",
)
#: Added where the target is seen to need torch; the last one, with sympy, is what torch itself imports at a module's first run.
#: It starts no thread as long as it is given one (OMP_NUM_THREADS).  JAX starts threads of its own, and is never here.
TORCH = ("torch", "bptt.harness.adapters.torch.adapt", "bptt.harness.adapters.torch.build", "torch.fx.experimental.symbolic_shapes")


def main(arguments: Sequence[str] | None = None) -> None:
    """Import, say so, and fork until the socket ends."""
    descriptor, *modules = sys.argv[1:] if arguments is None else arguments
    with socket.socket(fileno=int(descriptor)) as control:
        _serve(control, modules)


def _serve(control: socket.socket, modules: Sequence[str]) -> None:
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # whoever started it ends it, by closing the socket
    for name in modules:
        importlib.import_module(name)
    if threads() > 1:
        _tell(control, THREADS)
        return
    from bptt.harness.checks import registry
    from bptt.harness.run.isolation.worker import serve

    for name in registry.ours():
        importlib.import_module(name)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # keepers are waited for by nobody
    gc.collect()
    gc.freeze()  # the pages of what is imported stay shared
    if not _tell(control, READY):
        return
    while True:
        message, descriptors, _, _ = socket.recv_fds(control, 1, 3)
        if message != REQUEST or len(descriptors) != 3:
            return
        if os.fork() == 0:
            control.close()
            for number in (signal.SIGTERM, signal.SIGHUP):
                signal.signal(number, signal.SIG_DFL)
            line, channel, stderr = descriptors
            keeper.main_of_fork(socket.socket(fileno=line), channel, stderr, serve)
        for each in descriptors:
            os.close(each)


def _tell(control: socket.socket, message: bytes) -> bool:
    """Whether somebody is there to be told: a run may have ended while this was imported."""
    try:
        control.send(message)
    except BrokenPipeError:
        return False
    return True


def threads() -> int:
    """Threads of this process, those of C libraries included."""
    return len(os.listdir("/proc/self/task"))
