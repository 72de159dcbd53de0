"""From a task to its events: load the target, admit each subject in it, judge it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from bptt.harness.errors import BpttError, NotInstalled, UsageError
from bptt.harness.run.events import Began, Ended, Event, Options, Outside, Task, Unloadable
from bptt.harness.words import without_addresses
from bptt.reports.records import Target


def events_of(task: Task, options: Options) -> Iterator[Event]:
    """Load the target and judge each subject in it.  A target that cannot be loaded is an event too."""
    from bptt.harness import targets
    from bptt.harness.checks import registry
    from bptt.harness.run.judging import admit, begun, judge
    from bptt.harness.subject import Subject

    refused: Mapping[str, str] = {}
    try:
        subjects = [task.target] if isinstance(task.target, Subject) else targets.load(task.target, task.args, task.like, options.device)
    except targets.PartlyUnderstoodError as error:
        subjects, refused = error.found, error.refused
    except UsageError as error:
        yield Unloadable(task.id, task.spec, without_addresses(str(error)), absent=isinstance(error, NotInstalled))
        return
    checks = registry.load()
    for subject in subjects:
        target = begun(subject, task, checks, options)
        yield Began(target)
        yield Outside(target.id, "admission")
        try:
            admit(subject)
        except BpttError as error:
            yield Unloadable(target.id, task.spec, f"{subject.spec}: {without_addresses(str(error))}")
        else:
            yield from judge(subject, task, checks, options)
            yield Ended(target.id)
    for spec, reason in refused.items():
        begun_ = Target(spec, spec, "", id=task.id_of(spec), args=dict(task.args or {}), asked=task.id)
        yield Began(begun_)
        yield Unloadable(begun_.id, task.spec, without_addresses(reason))
