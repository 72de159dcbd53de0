"""A process that checks targets one after the other, so that a crash or a hang of one ends this process and not the run.

Started as ``python -m bptt.harness.run.worker``. Tasks come as pickles on standard input; events go as pickles to what was standard
output when the process began. From then on standard output is standard error, so that what a user's code prints harms nothing.
"""

from __future__ import annotations

import os
import pickle
import signal
import sys
from collections.abc import Iterator
from typing import BinaryIO

from bptt.harness.errors import BpttError, UsageError
from bptt.harness.run.events import Began, Ended, Event, Options, Outside, Task, Unloadable


def events_of(task: Task, options: Options) -> Iterator[Event]:
    """Load the target and judge each subject in it.  A target that cannot be loaded is an event too."""
    from bptt.harness import targets
    from bptt.harness.checks import registry
    from bptt.harness.run.judging import admit, begun, judge
    from bptt.harness.subject import Subject

    try:
        subjects = [task.target] if isinstance(task.target, Subject) else targets.load(task.target, task.args, task.like)
    except UsageError as error:
        yield Unloadable(task.id, task.spec, str(error))
        return
    checks = registry.load()
    for subject in subjects:
        target = begun(subject, task, checks, options)
        yield Began(target)
        yield Outside(target.id, "admission")
        try:
            admit(subject)
        except BpttError as error:
            yield Unloadable(target.id, task.spec, f"{subject.spec}: {error}")
        else:
            yield from judge(subject, task, checks, options)
            yield Ended(target.id)


def main() -> None:
    """Serve tasks until standard input ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C goes to every process of a terminal; whoever started us ends us
    tasks, events = sys.stdin.buffer, os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    while True:
        try:
            path, cwd, packed = pickle.load(tasks)
        except EOFError:
            return
        sys.path[:] = path
        os.chdir(cwd)
        try:
            task, options = pickle.loads(packed)
        except Exception as error:  # whatever an object's own unpickling raises: the run then checks it in its own process
            _send(events, ("cannot travel", f"{type(error).__name__}: {error}"))
            continue
        for event in events_of(task, options):
            _send(events, event)
        _send(events, ("done", None))


def _send(events: BinaryIO, event: Event | tuple[str, str | None]) -> None:
    pickle.dump(event, events)
    events.flush()


if __name__ == "__main__":
    main()
