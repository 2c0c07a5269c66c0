"""What any bytes must hold to: one function for each reader of foreign bytes, for every fuzzer.

Each takes bytes and returns nothing; it raises AssertionError, or whatever its reader should not have raised.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Final

from proxy.fast.around import around
from proxy.fast.heads import BEGINNINGS, frame, read_head
from translators import embeddings
from translators.anthropic import client as anthropic
from translators.arguments import object_of
from translators.codec import (
    JsonError,
    canonical,
    loads,
    loads_object,
    may_hold,
    member_span,
    repeated_name,
    splice,
)
from translators.dialect import Rules, StreamParser
from translators.dialects import SPOKEN
from translators.errors import BadAnswer, BadRequest
from translators.gemini import client as gemini
from translators.json_schema import (
    anthropic_output_schema,
    gemini_response_schema,
    gemini_tool_schema,
    inline_refs,
    openai_strict_obstacle,
    openapi_subset,
)
from translators.neutral import Usage
from translators.openai_chat import client as openai_chat
from translators.openai_responses import client as openai_responses
from translators.openai_text import client as openai_text
from translators.sse import SseDecoder, SseError

BOM: Final = b"\xef\xbb\xbf"
QUESTIONS: Final[tuple[Callable[[Mapping[str, Any]], object], ...]] = (
    openai_chat.parse_request,
    openai_responses.parse_request,
    openai_text.parse_request,
    anthropic.parse_request,
    lambda body: gemini.parse_request(body, "m", False),
    embeddings.parse_request,
)


def event_stream(data: bytes) -> None:
    """Equal bytes are equal events, wherever they are cut, and no byte gets lost."""
    whole, pieces = SseDecoder(), SseDecoder()
    step = data[0] % 7 + 1 if data else 1
    found = [*whole.feed(data), *whole.close()]
    cut = [each for at in range(0, len(data), step) for each in pieces.feed(data[at : at + step])]
    cut += pieces.close()

    assert found == cut
    assert data.removeprefix(BOM).startswith(b"".join(event.raw for event in found))


def usage(data: bytes) -> None:
    """Whatever a vendor calls usage is none, or counts that can be booked."""
    if isinstance(body := _value(data), dict):
        for dialect in SPOKEN.values():
            found = dialect.usage_in(body)
            assert found is None or _is_bookable(found), found


def _is_bookable(found: Usage) -> bool:
    counts = (
        found.input_tokens,
        found.output_tokens,
        found.cached_input_tokens,
        found.cache_write_tokens,
        found.reasoning_tokens,
    )
    return all(type(count) is int and 0 <= count < 2**63 for count in counts)


def answer(data: bytes) -> None:
    """An answer is read or refused, and whatever comes with a status of a failure is read as one."""
    body = _value(data)
    for dialect in SPOKEN.values():
        for status in (400, 429, 500):
            dialect.parse_error(status, data, {})
        if isinstance(body, dict):
            dialect.error_in(body)
            _tried(partial(dialect.parse_response, body), BadAnswer)


def stream(data: bytes) -> None:
    """A stream is read to its end or refused."""
    for dialect in SPOKEN.values():
        _tried(partial(_fed, dialect.StreamParser(Rules()), data), BadAnswer, SseError)


def _fed(parser: StreamParser, data: bytes) -> None:
    for at in range(0, len(data), 50):
        parser.feed(data[at : at + 50])
    parser.close()


def question(data: bytes) -> None:
    """A question is read, or refused with its place."""
    if isinstance(body := _object(data), dict):
        for read in QUESTIONS:
            _tried(partial(read, dict(body)), BadRequest)


def canonical_form(data: bytes) -> None:
    """What JSON says is the same however it is spelled, and a member is found where a reader finds it."""
    body = _object(data)
    may_hold(data, 3, 10)
    if body is None:
        return
    written = canonical(body)
    assert canonical(loads_object(written)) == written
    assert loads_object(splice(data, {"model": "x"})) == {**body, "model": "x"}
    assert may_hold(data, len(data), len(data))
    twice = repeated_name(data, body)
    span = member_span(data, "messages")
    if twice is None and "messages" in body:
        assert span is not None
        assert loads(data[slice(*span)]) == loads(data)["messages"]
    if (found := around(data)) is not None:
        pieces = found.cut(data)
        assert pieces is None or found.of(pieces) == data


def schema(data: bytes) -> None:
    """A schema is cut for every vendor, whatever it is."""
    if isinstance(found := _object(data), dict):
        for cut in (gemini_tool_schema, gemini_response_schema, openapi_subset, anthropic_output_schema):
            cut(found, "s")
        openai_strict_obstacle(found)
        inline_refs(found)


def arguments(data: bytes) -> None:
    """A tool's arguments are an object, or no repair makes one of them."""
    _tried(lambda: object_of(data.decode("utf-8", "replace")), JsonError)


def head(data: bytes) -> None:
    """What the fast lane takes for a head has nothing in it that two readers read differently."""
    found = frame(BEGINNINGS[0] + data)
    headers = read_head(found.head) if found is not None else None
    if found is None or headers is None:
        return
    whole = (BEGINNINGS[0] + data)[: found.body]
    assert whole.endswith(b"\r\n\r\n")
    assert whole.count(b"\n") == whole.count(b"\r") == whole.count(b"\r\n")
    assert whole.lower().count(b"\r\ncontent-length:") == 1
    assert "transfer-encoding" not in headers
    assert all(value.isascii() and value.isprintable() for value in headers.values())


TARGETS: Final[Mapping[str, Callable[[bytes], None]]] = {
    found.__name__: found
    for found in (event_stream, usage, answer, stream, question, canonical_form, schema, arguments, head)
}


def _tried(work: Callable[[], object], *allowed: type[Exception]) -> None:
    try:
        work()
    except allowed:
        return


def _value(data: bytes) -> Any:
    try:
        return loads(data)
    except JsonError:
        return None


def _object(data: bytes) -> dict[str, Any] | None:
    try:
        return loads_object(data)
    except JsonError:
        return None
