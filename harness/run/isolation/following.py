"""The events of one target from its process, each held against what is due; and what it means that the process was lost.

A check over which the process is lost is a result of its own, and the rest goes on in a new process, which is told what is known.  At a
limit of time the target is ended: what is left of its plan has no result, so that it is not decided.  A failure that was found before, and
whose cause was being sought, stays a failure.
"""

from __future__ import annotations

import contextlib
import secrets
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from bptt.harness.run.events import (
    Began,
    Checking,
    Ended,
    Event,
    Explaining,
    Found,
    Options,
    Outside,
    Remarked,
    Unloadable,
    event_from_dict,
)
from bptt.harness.run.isolation.frames import Garbled, Letterhead
from bptt.harness.run.isolation.keeper import How
from bptt.harness.run.isolation.last_words import account_of
from bptt.harness.run.isolation.limits import Limits
from bptt.harness.run.isolation.parcels import CannotTravel, Parcel, packed_options
from bptt.harness.run.isolation.starting import Order, Place, Process, start
from bptt.reports.errors import RecordError
from bptt.reports.records import Cause, Remark, Result, Status, Target
from bptt.reports.serial import Json

_NOT_BAD = ("passed", "not_applicable", "skipped", "xpassed")
_STATUS: dict[How, Status] = {"cpu": "timeout", "clock": "timeout", "lost": "error"}
#: With less than this part of its time left, a target gets no further process.
_LEAST_LEFT = 0.1
#: Lines of what a process printed that are shown where it died.
_LAST_LINES = 8
#: What a process sends last: {"last": {"done": true}}, or one of these with words.
_LAST = ("done", "cannot travel", "raised", "fault")


@dataclass
class Follower:
    """One target at a time, in as many processes as it takes.  `stop` ends the one at work, from any thread.

    fresh       never a fork     place   where it is to run
    unlimited   becomes True where nobody limits memory or counts what children use
    """

    options: Options
    limits: Limits
    place: Place
    fresh: bool = False
    unlimited: bool = False
    _process: Process | None = None
    _stopped: bool = False

    def stop(self) -> None:
        self._stopped = True
        if self._process is not None:
            self._process.stop()

    def events(self, parcel: Parcel) -> Iterator[Event]:
        """Raises CannotTravel, before any event, for an object that no other process can be given; BpttError where none can be started."""
        options, limits, ways = self.options, self.limits, list(parcel.ways)
        begun: str | None = None
        again = 2
        while not self._stopped:
            heard = _Heard(parcel, options)
            began = time.perf_counter()
            head = Letterhead(secrets.token_hex(16), parcel.id)
            order = Order(head, ways[0], packed_options(options), limits, self.place, options.prints)
            self._process = start(order, parcel.torch, self.fresh)
            self.unlimited = self.unlimited or not self._process.kept
            if self._stopped:
                self._process.stop()
            yield from heard.events(self._process.messages())
            end = self._process.end
            if not self._process.began and again and not self._stopped:
                again -= 1  # the server was killed under it
                continue
            if heard.says("cannot travel"):
                del ways[0]
                if not ways:
                    raise CannotTravel(heard.last["cannot travel"])
                continue
            if heard.says("done") or self._stopped or end.how == "stopped":
                return
            if not options.prints:
                _show_the_end(parcel.id, end.printed)
            lost = heard.lost(account_of(end, heard.last, limits), end.how)
            if begun is not None and isinstance(lost[-1], Unloadable):  # it could be loaded before: what is known of it stands
                lost = [Remarked(begun, Remark("loading", lost[-1].reason, "error"))]
            yield from lost
            if not heard.goes_on(lost, end.how):
                return
            begun = heard.target_id
            options = heard.options_for_the_rest(lost)
            limits = limits.less(end.cpu_s, time.perf_counter() - began)
            if limits.cpu_s < _LEAST_LEFT * self.limits.cpu_s or limits.clock_s < _LEAST_LEFT * self.limits.clock_s:
                yield Remarked(begun, Remark("isolation", "no time is left for the rest of its checks (--timeout)", "error"))
                return


def _show_the_end(target: str, printed: str) -> None:
    """The last lines that a process printed before it died, on standard error."""
    lines = [line.rstrip() for line in printed.splitlines() if line.strip()][-_LAST_LINES:]
    with contextlib.suppress(OSError, ValueError, AttributeError):
        if lines:
            sys.stderr.write(
                "\n".join([f"bptt: the last that {target} printed (all of it: -s)", *(f"    {line[:200]}" for line in lines), ""])
            )


@dataclass
class _Heard:
    """What one process has said so far."""

    parcel: Parcel
    options: Options
    target: Target | None = None
    at: Checking | Outside | None = None
    failure: Result | None = None
    since: float = field(default_factory=time.perf_counter)
    seen: list[Result] = field(default_factory=list)
    last: Json = field(default_factory=dict)
    doubt: str | None = None
    over: set[str] = field(default_factory=set)

    def events(self, messages: Iterator[Json]) -> Iterator[Event]:
        """The events that are due, in their order, until the stream ends or something comes that is not due."""
        with contextlib.closing(messages):  # type: ignore[type-var]  # a generator
            try:
                for body in messages:
                    if self.last:
                        raise Garbled("a message after the last one")
                    if isinstance(body, dict) and body.keys() == {"last"}:
                        self.last = _checked_last(body["last"])
                        continue
                    if not isinstance(body, dict) or body.keys() != {"event"}:
                        raise Garbled("a message that is no event")
                    event = event_from_dict(body["event"])
                    self._due(event)
                    yield event
            except (Garbled, RecordError) as error:
                self.doubt = str(error)

    def says(self, word: str) -> bool:
        return self.doubt is None and word in self.last

    def _due(self, event: Event) -> None:
        """Note it.  Raises Garbled where it is not due now."""
        match event:
            case Unloadable():
                if event.target_id != (self.parcel.id if self.target is None else self.target.id):
                    raise Garbled(f"a word about another target, {event.target_id[:80]!r}")
                self._over()
                return
            case Began(target):
                if self.target is not None or target.id in self.over or target.asked != self.parcel.id:
                    raise Garbled(f"the beginning of {target.id[:80]!r}, which is not due")
                self.target, self.at = target, None
                return
        if self.target is None or event.target_id != self.target.id:
            raise Garbled(f"a word about another target, {event.target_id[:80]!r}")
        match event:
            case Checking(_, check):
                known = {r.check for r in self.seen if r.target == self.target.id}
                if check not in self.target.planned or check in known or (self.target.id, check) in self.options.skip:
                    raise Garbled(f"the check {check[:40]!r}, which is not due")
                if isinstance(self.at, Checking):
                    raise Garbled(f"the check {check} before the result of {self.at.check}")
                self.at, self.since, self.failure = event, time.perf_counter(), None
            case Explaining(result):
                if not isinstance(self.at, Checking) or result.check != self.at.check:
                    raise Garbled(f"the cause of {result.check[:40]!r}, which is not due")
                self.failure = result if result.status in ("failed", "changed") else None
            case Found(result):
                if not isinstance(self.at, Checking) or result.check != self.at.check:
                    raise Garbled(f"a result of {result.check[:40]!r}, which is not due")
                self.seen.append(result)
                self.at = Outside(self.target.id, "between checks")
            case Outside():
                if isinstance(self.at, Checking):
                    raise Garbled(f"{event.where[:40]!r} before the result of {self.at.check}")
                self.at, self.since = event, time.perf_counter()
            case Ended():
                self._over()

    def _over(self) -> None:
        if self.target is not None:
            self.over.add(self.target.id)
        self.target = self.at = None

    def lost(self, words: str, how: How) -> list[Event]:
        """What the end of the process means for where it was."""
        seconds = time.perf_counter() - self.since
        if self.doubt is not None:
            said = f"its process sent {self.doubt}: nothing of it from there on is believed"
            return [*self._begun(), Remarked(self.target_id, Remark("isolation", said, "error"))]
        if "fault" in self.last:
            return self._fault(self.last["fault"], seconds)
        match self.at:
            case Checking() if self.failure is not None:
                return [self._unexplained(self.failure, words, seconds)]
            case Checking(target_id, check):
                return [Found(Result(target_id, check, _STATUS.get(how, "crashed"), reason=words, duration_s=seconds))]
            case Outside(target_id, "admission"):
                return [Unloadable(target_id, self.parcel.spec, f"{self.parcel.spec}: {words} while it was run for the first time")]
            case Outside(target_id, where):
                severity = "warning" if where == "gradient over lag" else "error"
                return [Remarked(target_id, Remark(where, words, severity))]  # type: ignore[arg-type]  # one of two literals
        if self.target is not None:
            return [Remarked(self.target.id, Remark("identification", words, "error"))]
        return [Unloadable(self.parcel.id, self.parcel.spec, f"{self.parcel.spec}: {words} while it was being loaded")]

    def _fault(self, said: str, seconds: float) -> list[Event]:
        if isinstance(self.at, Checking) and self.failure is not None:
            return [self._unexplained(self.failure, said, seconds)]
        if isinstance(self.at, Checking):
            return [Found(Result(self.at.target_id, self.at.check, "error", reason=said, duration_s=seconds))]
        where = self.at.where if self.at is not None else "loading"
        return [*self._begun(), Remarked(self.target_id, Remark(where, said, "error"))]

    def _unexplained(self, failure: Result, words: str, seconds: float) -> Found:
        assert failure.finding is not None
        cause = Cause("not-explained", f"not known: while it was sought, {words}", "", 0.0, "")
        return Found(replace(failure, duration_s=seconds, finding=replace(failure.finding, causes=(cause,))))

    @property
    def target_id(self) -> str:
        """Of the target that it is at, or the task's where none has begun."""
        return self.parcel.id if self.target is None else self.target.id

    def _begun(self) -> list[Event]:
        """A target to hang a remark on, where none has begun."""
        if self.target is not None or self.parcel.id in self.over:
            return []
        return [Began(Target(self.parcel.id, self.parcel.id, "", id=self.parcel.id))]

    def goes_on(self, lost: list[Event], how: str) -> bool:
        """Whether a new process is started for what is left."""
        if self.doubt is not None or how in _STATUS or self.target is None:
            return False
        last = lost[-1]
        if isinstance(last, Remarked):
            return self.at is not None and (last.target_id, last.remark.where) not in self.options.skip
        return isinstance(last, Found)

    def options_for_the_rest(self, lost: list[Event]) -> Options:
        seen = [*self.seen, *(event.result for event in lost if isinstance(event, Found))]
        outside = {(event.target_id, event.remark.where) for event in lost if isinstance(event, Remarked)}
        done = {(r.target, r.check) for r in seen} | outside
        bad = {(r.target, r.check) for r in seen if r.status not in _NOT_BAD}
        return replace(self.options, skip=self.options.skip | done, failed=self.options.failed | bad)


def _checked_last(last: Json) -> Json:
    if isinstance(last, dict) and len(last) == 1 and next(iter(last)) in _LAST and isinstance(last[next(iter(last))], bool | str):
        return last
    raise Garbled("a last message of another form")
