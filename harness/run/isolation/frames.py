"""Messages on a stream of bytes: each is a mark, a length and strict JSON, and each says whose it is.

A process under test may write to any descriptor that it can guess.  What is not a whole frame, is not JSON, does not carry the secret of
the process that was started, or is not the next in the sequence is never taken for a message: `Garbled` says what came in its place.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass

from bptt.reports.serial import Json, dumps, loads

_HEADER = struct.Struct(">4sI")
_MARK = b"bptt"
#: Bytes of one message: a finding with its heatmap has some thousand.
_LARGEST = 64 * 2**20


class Garbled(Exception):
    """Bytes that are no message of the process that was started; the text says what they are."""


def framed(message: Json) -> bytes:
    body = dumps(message).encode()
    return _HEADER.pack(_MARK, len(body)) + body


class Frames:
    """Frames out of bytes, however the stream cuts them."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> Iterator[Json]:
        """The messages that are whole now, one by one.  Raises Garbled at the first that is none: those before it stand."""
        self._rest += data
        while (message := self._next()) is not None:
            yield message

    def end(self) -> None:
        """Raises Garbled where the stream ends in the middle of a frame."""
        if self._rest:
            raise Garbled(f"a message that breaks off after {len(self._rest)} bytes")

    def _next(self) -> Json | None:
        mark = self._rest[: len(_MARK)]
        if mark != _MARK[: len(mark)]:
            raise Garbled(f"bytes that are no message: {self._rest[:24]!r}")
        if len(self._rest) < _HEADER.size:
            return None
        length = _HEADER.unpack_from(self._rest)[1]
        if length > _LARGEST:
            raise Garbled(f"a message of {length} bytes, wanted at most {_LARGEST}")
        if len(self._rest) < _HEADER.size + length:
            return None
        body, self._rest = self._rest[_HEADER.size : _HEADER.size + length], self._rest[_HEADER.size + length :]
        try:
            message = loads(body)
        except ValueError as error:
            raise Garbled(f"a message that is not JSON ({error})") from error
        if message is None:
            raise Garbled("an empty message")
        return message


def receive(descriptor: int) -> Json | None:
    """One message, and no more is read than that; None at the end of the stream.  Raises Garbled."""
    frames = Frames()
    header = _exactly(descriptor, _HEADER.size)
    found = list(frames.feed(header))
    if len(header) == _HEADER.size:
        found += frames.feed(_exactly(descriptor, _HEADER.unpack(header)[1]))
    frames.end()
    return found[0] if found else None


def _exactly(descriptor: int, count: int) -> bytes:
    data = bytearray()
    while len(data) < count:
        more = os.read(descriptor, min(count - len(data), 2**20))
        if not more:
            break
        data += more
    return bytes(data)


@dataclass(frozen=True)
class Letterhead:
    """What every message of one process carries: the secret of its start, and the target it was started for."""

    secret: str
    target: str

    def sealed(self, number: int, body: Json) -> Json:
        """`body` as the message with this number; the first is 0."""
        return {"secret": self.secret, "target": self.target, "number": number, "body": body}

    def opened(self, number: int, message: Json) -> Json:
        """The body of the message that must have this number.  Raises Garbled."""
        if not isinstance(message, dict) or message.keys() != {"secret", "target", "number", "body"}:
            raise Garbled("a message of another form")
        if message["secret"] != self.secret:
            raise Garbled("a message that another process wrote, or another run")
        if message["target"] != self.target:
            raise Garbled(f"a message about another target, {str(message['target'])[:80]!r}")
        if type(message["number"]) is not int or message["number"] != number:
            raise Garbled(f"message number {str(message['number'])[:20]} where number {number} was due")
        return message["body"]
