"""Server-sent events: the same events at every cut, and every line end."""

from itertools import pairwise
from time import process_time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from translators import sse
from translators.sse import SseDecoder, SseError, SseEvent, comment, frame


def decoded(pieces: list[bytes]) -> list[tuple[str, bytes]]:
    decoder = SseDecoder()
    events = [event for piece in pieces for event in decoder.feed(piece)]
    return [(event.event, event.data) for event in [*events, *decoder.close()]]


def cut(raw: bytes, places: list[int]) -> list[bytes]:
    edges = sorted({0, len(raw), *(place % (len(raw) + 1) for place in places)})
    return [raw[start:end] for start, end in pairwise(edges)]


LINES = st.lists(
    st.sampled_from([b"data: {}", b"data:x", b"data", b"event: ping", b": note", b"id: 4", b"", b"", b'data: {"a":1}']),
    max_size=12,
)


@given(LINES, st.sampled_from([b"\n", b"\r\n", b"\r"]), st.lists(st.integers(0, 300), max_size=8))
@settings(max_examples=120, deadline=None)
def test_the_events_do_not_depend_on_where_the_bytes_are_cut(lines: list[bytes], end: bytes, places: list[int]) -> None:
    raw = end.join(lines) + end

    assert decoded(cut(raw, places)) == decoded([raw])


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"])
def test_every_single_byte_split_gives_the_same_events(end: bytes) -> None:
    raw = b"\xef\xbb\xbf" + end.join([b"event: a", b"data: 1", b"data: 2", b"", b": note", b"", b"data:3", b"", b""])
    whole = [("a", b"1\n2"), ("", b""), ("", b"3")]

    assert [decoded([raw[:at], raw[at:]]) for at in range(len(raw) + 1)] == [whole] * (len(raw) + 1)
    assert decoded([raw[at : at + 1] for at in range(len(raw))]) == whole


@given(LINES, st.sampled_from([b"\n", b"\r\n"]))
@settings(max_examples=60, deadline=None)
def test_the_raw_bytes_of_all_events_are_the_stream(lines: list[bytes], end: bytes) -> None:
    raw = end.join(lines) + end
    decoder = SseDecoder()
    events = decoder.feed(raw)

    assert b"".join(event.raw for event in events) + decoder.pending == raw


def test_a_last_event_without_its_blank_line_is_given_at_the_end() -> None:
    assert decoded([b"data: 1\n\ndata: 2"]) == [("", b"1"), ("", b"2")]


def test_an_event_without_end_is_refused_instead_of_filling_the_memory() -> None:
    decoder = SseDecoder()
    half = b"data: " + b"x" * (sse.MAX_EVENT_BYTES // 2)
    decoder.feed(half)

    with pytest.raises(SseError, match="more than"):
        decoder.feed(half)


@pytest.mark.parametrize(
    ("written", "read"),
    [
        (frame(b'{"a":1}'), ("", b'{"a":1}')),
        (frame(b"{}", "ping"), ("ping", b"{}")),
        (comment(b"modelport {}"), ("", b"")),
    ],
)
def test_what_is_written_is_read_again(written: bytes, read: tuple[str, bytes]) -> None:
    assert decoded([written]) == [read]


def test_an_event_keeps_its_bytes() -> None:
    raw = b"event: x\ndata:  two blanks\n\n"

    assert SseDecoder().feed(raw) == [SseEvent("x", b" two blanks", raw)]


@pytest.mark.parametrize(
    ("unit", "pieces"),
    [
        (b"x" * 1024, 8192),
        (b" " * 1024, 8192),
        (b"\n" * 32768, 64),
        (b"\r\n" * 131072, 1),
        (b"data: 1\r\n\r\n" * 16384, 1),
    ],
    ids=["no-event-end", "blanks", "line-feeds", "blank-lines", "one-large-piece"],
)
def test_the_work_grows_with_the_bytes_and_not_with_their_square(unit: bytes, pieces: int) -> None:
    """Each takes hundredths of a second; what copies or searches the whole rest for each piece takes many seconds."""
    decoder = SseDecoder()
    began = process_time()

    for _ in range(pieces):
        decoder.feed(unit)

    assert process_time() - began < 1


@pytest.mark.parametrize("size", [1, 7, 4096, 5000])
def test_long_events_do_not_depend_on_where_the_bytes_are_cut(size: int) -> None:
    """An event that is long waits in another form than a short one."""
    raw = (
        b"".join(b"event: e\r\ndata: " + b"x" * length + b"\r\n\r\n" for length in (3, 4095, 4096, 9000)) + b"data: end"
    )
    pieces = [raw[at : at + size] for at in range(0, len(raw), size)]

    assert decoded(pieces) == decoded([raw])
    assert [len(data) for _, data in decoded(pieces)] == [3, 4095, 4096, 9000, 3]


@pytest.mark.parametrize("count", [2, 3, 4, 5])
def test_blank_lines_before_an_event_are_events_of_their_own(count: int) -> None:
    raw = b"\n" * count + b"data: 1\n\n"

    events = SseDecoder().feed(raw)

    assert [event.data for event in events] == [b""] * (count // 2) + [b"1"]
    assert b"".join(event.raw for event in events) == raw
