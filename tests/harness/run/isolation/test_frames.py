from __future__ import annotations

import os
import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bptt.harness.run.isolation.frames import Frames, Garbled, Letterhead, framed, receive

JSON = st.recursive(
    st.booleans() | st.integers() | st.text() | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
HEAD = Letterhead("5ec4e7", "cells.py:GRU")


@settings(max_examples=40)
@given(st.lists(JSON, max_size=5), st.data())
def test_messages_arrive_whole_and_in_order_however_the_stream_is_cut(messages: list[object], data: st.DataObject) -> None:
    stream = b"".join(map(framed, messages))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=6)))
    frames, found = Frames(), list[object]()
    for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True):
        found += frames.feed(stream[start:end])
    frames.end()
    assert found == messages


@given(st.binary(min_size=1, max_size=40))
def test_no_junk_is_a_message(junk: bytes) -> None:
    frames = Frames()
    try:
        assert list(frames.feed(junk)) == []
        frames.end()
    except Garbled:
        return
    raise AssertionError("junk was taken for a stream without messages")


def test_what_came_before_junk_stands() -> None:
    feed = Frames().feed(framed(1) + framed([2]) + b"hello")
    assert (next(feed), next(feed)) == (1, [2])
    with pytest.raises(Garbled, match=r"no message: b'hello'"):
        next(feed)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (struct.pack(">4sI", b"bptt", 2**31), "2147483648 bytes, wanted at most"),
        (struct.pack(">4sI", b"bptt", 3) + b"NaN", "not JSON"),
        (struct.pack(">4sI", b"bptt", 2) + b"{'", "not JSON"),
        (struct.pack(">4sI", b"bptt", 40_000) + b"[" * 40_000, "not JSON"),
        (framed(None), "an empty message"),
        (framed(1)[:-1] + b"\xff", "not JSON"),
    ],
)
def test_what_is_no_message_is_said(data: bytes, words: str) -> None:
    with pytest.raises(Garbled, match=words):
        list(Frames().feed(data))


def test_a_stream_that_breaks_off_is_said() -> None:
    frames = Frames()
    assert list(frames.feed(framed({"a": 1})[:-2])) == []
    with pytest.raises(Garbled, match="breaks off after 13 bytes"):
        frames.end()


def test_no_more_is_read_than_one_message() -> None:
    out, into = os.pipe()
    try:
        os.write(into, framed("first") + framed("second"))
        os.close(into)
        assert [receive(out) for _ in range(3)] == ["first", "second", None]
    finally:
        os.close(out)


def test_a_message_of_the_same_process_is_opened() -> None:
    assert HEAD.opened(3, HEAD.sealed(3, {"last": 1})) == {"last": 1}


@pytest.mark.parametrize(
    ("message", "words"),
    [
        (Letterhead("guessed", HEAD.target).sealed(3, 1), "another process wrote, or another run"),
        (Letterhead(HEAD.secret, "other.py:GRU").sealed(3, 1), "about another target, 'other.py:GRU'"),
        (HEAD.sealed(2, 1), "message number 2 where number 3 was due"),
        (HEAD.sealed(4, 1), "message number 4 where number 3 was due"),
        ({**HEAD.sealed(3, 1), "number": True}, "message number True"),
        ({**HEAD.sealed(3, 1), "more": 1}, "another form"),
        ([1], "another form"),
    ],
)
def test_a_message_that_is_not_due_is_not_opened(message: object, words: str) -> None:
    with pytest.raises(Garbled, match=words):
        HEAD.opened(3, message)
