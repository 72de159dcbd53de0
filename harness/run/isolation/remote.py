"""Targets on the workers of a dask scheduler: a process for each there too, and JSON both ways.

A worker of dask's is a long-lived process with threads; it unpacks nothing of the target's, and starts a fork server beside itself as
this machine does.  The events of a target come all at once, when it is done.  Files are looked for under the same paths as here.
"""

from __future__ import annotations

import secrets
import sys
from collections.abc import Iterator
from concurrent.futures import BrokenExecutor, CancelledError, Executor, Future
from dataclasses import asdict, dataclass
from typing import Any

from bptt.harness.call.guard import said
from bptt.harness.errors import BpttError
from bptt.harness.run.events import Began, Event, Options, Remarked, event_from_dict, event_to_dict
from bptt.harness.run.isolation.following import Follower
from bptt.harness.run.isolation.limits import Limits
from bptt.harness.run.isolation.parcels import CannotTravel, Parcel, packed_options, unpacked_options
from bptt.harness.run.isolation.starting import Place
from bptt.reports.errors import RecordError
from bptt.reports.records import Remark, Target
from bptt.reports.serial import dumps, loads


@dataclass(frozen=True)
class Submitted:
    """A target that is on its way.  `secret` is what its answer must carry."""

    parcel: Parcel
    secret: str
    answer: Future[str]

    def events(self) -> Iterator[Event]:
        """Waits for the answer.  Raises CannotTravel for an object that no other process can be given."""
        try:
            answer = loads(self.answer.result())
            if not isinstance(answer, dict) or answer.get("secret") != self.secret:
                raise RecordError("the answer is not the one that was asked for")
            if "cannot travel" in answer:
                raise CannotTravel(str(answer["cannot travel"]))
            if "fault" in answer:
                raise BpttError(str(answer["fault"]))
            events = [event_from_dict(event) for event in answer["events"]]
        except CannotTravel:
            raise
        except (RecordError, BpttError, ValueError, LookupError, TypeError) as error:
            yield from self._lost(said(error))
        except (BrokenExecutor, CancelledError) as error:
            yield from self._lost(f"the worker was lost ({said(error)})")
        except Exception as error:  # of dask's own kinds, which are known where dask is installed
            yield from self._lost(f"the scheduler gave it up ({said(error)})")
        else:
            yield from events

    def _lost(self, words: str) -> Iterator[Event]:
        yield Began(Target(self.parcel.id, self.parcel.spec, "", id=self.parcel.id))
        yield Remarked(self.parcel.id, Remark("isolation", words, "error"))


def submitted(executor: Executor, parcel: Parcel, options: Options, limits: Limits, place: Place) -> Submitted:
    """Send a target to a worker."""
    secret = secrets.token_hex(16)
    work = {"secret": secret, "parcel": asdict(parcel), "options": packed_options(options)}
    work |= {"limits": asdict(limits), "place": asdict(place)}
    return Submitted(parcel, secret, executor.submit(examined, dumps(work)))


def examined(work: str) -> str:
    """Runs in a worker of the scheduler's: the answer to what `submitted` sent."""
    order = loads(work)
    answer: dict[str, Any] = {"secret": order["secret"], "events": []}
    path = dict.fromkeys((*order["place"]["path"], *sys.path))
    parcel = Parcel(**{**order["parcel"], "ways": tuple(order["parcel"]["ways"])})
    follower = Follower(unpacked_options(order["options"]), Limits(**order["limits"]), Place(order["place"]["folder"], tuple(path)))
    try:
        answer["events"] = [event_to_dict(event) for event in follower.events(parcel)]
    except CannotTravel as reason:
        answer["cannot travel"] = str(reason)
    except BpttError as error:
        answer["fault"] = str(error)
    return dumps(answer)
