"""What passes unread is what would have passed read: the same bytes, the same answer, wherever the stream is cut."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Iterable, Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from translators.assemble import Collector
from translators.dialect import Relayed, ReplyTo, Rules, StreamRelay
from translators.dialects import CLIENTS
from translators.moulds import LESSONS, MOST_BYTES, Moulded, mould_of
from translators.neutral import Event, Failure, Request, Response, Usage

WORDS = (
    "Hello",
    " there",
    ' "quoted" \\ back',
    "line\nend",
    " caf\u00e9",
    " \U0001f30d",
    " data: [DONE]",
    "a" * 300,
    " end.",
)
OF_CHAT = {"id": "c1", "object": "chat.completion.chunk", "created": 1, "model": "m", "service_tier": "default"}


def data(body: Any, name: str = "", *, end: str = "\n\n", spaces: str = "", escaped: bool = False) -> str:
    """One event; with *spaces* before its last brace."""
    text = json.dumps(body, ensure_ascii=escaped, separators=(",", ":"))
    return (f"event: {name}\n" if name else "") + f"data: {text[:-1]}{spaces}}}{end}"


def chat(*deltas: dict[str, Any], padded: bool = False, escaped: bool = False) -> str:
    """A stream of chat completions that says *deltas*."""

    def chunk(delta: dict[str, Any], reason: str | None = None, at: int = 0) -> str:
        more = {"obfuscation": "xYz1"[: at % 5]} if padded else {}
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": reason}
        return data({**OF_CHAT, "choices": [choice], "usage": None, **more}, escaped=escaped)

    said = "".join(chunk(delta, at=at) for at, delta in enumerate(deltas))
    usage = {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15}
    last = data({**OF_CHAT, "choices": [], "usage": usage})
    return chunk({"role": "assistant", "content": ""}) + said + chunk({}, "stop") + last + "data: [DONE]\n\n"


def messages() -> str:
    """A stream of Anthropic's, with its padding and a ping: reasoning, text, a call."""
    usage = {"input_tokens": 9, "output_tokens": 1}
    head = {"id": "m1", "type": "message", "role": "assistant", "model": "m", "content": [], "usage": usage}
    events: list[tuple[str, dict[str, Any]]] = [("message_start", {"message": head})]
    parts = (
        ({"type": "thinking", "thinking": "", "signature": ""}, "thinking_delta", "thinking"),
        ({"type": "text", "text": ""}, "text_delta", "text"),
        ({"type": "tool_use", "id": "t1", "name": "f", "input": {}}, "input_json_delta", "partial_json"),
    )
    for index, (block, kind, field) in enumerate(parts):
        words = ('{"a"', ": 1", ', "b": 2', "}") if kind == "input_json_delta" else WORDS
        events.append(("content_block_start", {"index": index, "content_block": block}))
        events.extend(("content_block_delta", {"index": index, "delta": {"type": kind, field: word}}) for word in words)
        events.append(("ping", {}))
        events.append(("content_block_stop", {"index": index}))
    events.append(("message_delta", {"delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 7}}))
    events.append(("message_stop", {}))
    spaces = [" " * (3 * at % 7) for at in range(len(events))]
    return "".join(
        data({"type": name, **body}, name, spaces=space) for (name, body), space in zip(events, spaces, strict=True)
    )


def gemini() -> str:
    """A stream of Gemini's: CRLF, and counts that grow with each chunk."""
    chunks = [
        {
            "candidates": [{"content": {"parts": [{"text": word}], "role": "model"}, "index": 0}],
            "usageMetadata": {"promptTokenCount": 4, "candidatesTokenCount": at + 1, "totalTokenCount": at + 5},
            "modelVersion": "g",
            "responseId": "r1",
        }
        for at, word in enumerate(WORDS)
    ]
    chunks[-1]["candidates"][0]["finishReason"] = "STOP"  # type: ignore[index]  # JSON
    return "".join(data(chunk, end="\r\n\r\n") for chunk in chunks)


def responses() -> str:
    """A stream of OpenAI's Responses: numbered, and padded."""
    whole = "".join(WORDS)
    part = {"type": "output_text", "text": whole, "annotations": []}
    item = {"id": "i1", "type": "message", "role": "assistant", "status": "completed", "content": [part]}
    usage = {"input_tokens": 3, "output_tokens": 5, "total_tokens": 8}
    head = {"id": "resp_1", "object": "response", "created_at": 1, "model": "m", "output": [], "status": "in_progress"}
    place = {"item_id": "i1", "output_index": 0, "content_index": 0}
    events: list[dict[str, Any]] = [
        {"type": "response.created", "response": head},
        {"type": "response.output_item.added", "output_index": 0, "item": {**item, "content": []}},
        {"type": "response.content_part.added", **place, "part": {**part, "text": ""}},
        *({"type": "response.output_text.delta", **place, "delta": word, "obfuscation": "q" * 3} for word in WORDS),
        {"type": "response.output_text.done", **place, "text": whole},
        {"type": "response.output_item.done", "output_index": 0, "item": item},
        {
            "type": "response.completed",
            "response": {**head, "status": "completed", "output": [item], "usage": usage},
        },
    ]
    return "".join(data({**event, "sequence_number": at}, event["type"]) for at, event in enumerate(events))


TEXTS = [{"content": word} for word in WORDS]
CALL = [{"tool_calls": [{"index": 0, "id": "t1", "type": "function", "function": {"name": "f", "arguments": ""}}]}]
ARGUMENTS = [
    {"tool_calls": [{"index": 0, "function": {"arguments": piece}}]} for piece in ('{"a"', ": 1", ', "b": 2', "}")
]
STREAMS: dict[str, tuple[str, str]] = {
    "texts": ("openai_chat", chat(*TEXTS)),
    "texts with padding": ("openai_chat", chat(*TEXTS, padded=True)),
    "texts in escapes": ("openai_chat", chat(*TEXTS, escaped=True)),
    "a call": ("openai_chat", chat(*TEXTS[:3], *CALL, *ARGUMENTS)),
    "reasoning": ("openai_chat", chat(*({"reasoning_content": word} for word in WORDS), *TEXTS)),
    "comments": ("openai_chat", chat(*TEXTS).replace("\n\n", "\n\n: ping\n\n", 9)),
    "blank lines": ("openai_chat", chat(*TEXTS).replace("\n\n", "\n\n\n", 7)),
    "an error in the middle": (
        "openai_chat",
        chat(*TEXTS[:4]).split("data: [DONE]")[0] + data({"error": {"message": "no"}}),
    ),
    "another model in the middle": ("openai_chat", chat(*TEXTS).replace('"model":"m"', '"model":"n"', 6)),
    "broken JSON": ("openai_chat", chat(*TEXTS).replace('"content":" there"', '"content":" th"ere"')),
    "half a letter": ("openai_chat", chat(*TEXTS, escaped=True).replace("\\udf0d", "")),
    "messages": ("anthropic", messages()),
    "gemini": ("gemini", gemini()),
    "responses": ("openai_responses", responses()),
}


class Counting:
    """A relay that counts what it is given."""

    def __init__(self, relay: StreamRelay) -> None:
        self._relay = relay
        self.fed = 0

    def feed(self, piece: bytes) -> Relayed:
        self.fed += 1
        return self._relay.feed(piece)

    def end(self) -> Relayed:
        return self._relay.end()

    def fail(self, failure: Failure) -> bytes:
        return self._relay.fail(failure)

    def close(self, receipt: bytes | None = None, usage: Usage | None = None) -> bytes:
        return self._relay.close(receipt, usage)


def relay_of(dialect: str, *, conformant: bool = True) -> StreamRelay:
    request = Request(dialect=dialect, model="m", messages=(), stream=True, include_usage=True)
    rules = Rules(dialect=dialect, conformant=conformant)
    return CLIENTS[dialect].StreamRelay(rules, ReplyTo(request, {"model": "m"}, "1", 1))


def answer_of(relay: StreamRelay, pieces: Iterable[bytes]) -> tuple[bytes, Response]:
    """What a client reads of *pieces*, and what the books hold of them."""
    sent: list[bytes] = []
    events: list[Event] = []
    for piece in pieces:
        if isinstance(relay, Moulded) and relay.passes(piece):
            sent.append(piece)
            continue
        step = relay.feed(piece)
        sent.append(step.frames)
        events.extend(step.events)
    last = relay.end()
    sent += [last.frames, relay.close(b'{"attempts":1}')]
    collector = Collector()
    for event in [*events, *last.events]:
        collector.add(event)
    return b"".join(sent), collector.response()


def cut(raw: bytes, places: Sequence[int]) -> list[bytes]:
    ends = sorted({place % len(raw) for place in places} | {0, len(raw)})
    return [raw[start:end] for start, end in itertools.pairwise(ends)]


def by_events(raw: bytes) -> list[bytes]:
    return cut(raw, [found.end() for found in re.finditer(rb"\r?\n\r?\n", raw)])


@pytest.mark.parametrize("name", STREAMS)
@given(places=st.lists(st.integers(0, 10_000), max_size=40), whole=st.booleans(), conformant=st.booleans())
def test_the_bytes_and_the_answer_are_the_same(name: str, places: list[int], whole: bool, conformant: bool) -> None:
    """*whole*: cut between events as well."""
    dialect, text = STREAMS[name]
    raw = text.encode()
    ends = [found.end() for found in re.finditer(rb"\r?\n\r?\n", raw)] if whole else []
    pieces = cut(raw, [*places, *ends])

    moulded = answer_of(Moulded(relay_of(dialect, conformant=conformant)), pieces)

    assert moulded == answer_of(relay_of(dialect, conformant=conformant), pieces)


@pytest.mark.parametrize("name", STREAMS)
def test_every_place_to_cut(name: str) -> None:
    dialect, text = STREAMS[name]
    raw = text.encode()
    pieces = by_events(raw)
    expected = answer_of(relay_of(dialect), [raw])
    begin = len(b"".join(pieces[:4]))
    for place in range(begin, begin + len(b"".join(pieces[4:7]))):
        halves = [*pieces[:4], raw[begin:place], raw[place:]]

        assert answer_of(Moulded(relay_of(dialect)), [half for half in halves if half]) == expected, place


@pytest.mark.parametrize(
    ("name", "most"),
    [("texts", 6), ("texts with padding", 6), ("a call", 9), ("reasoning", 8), ("gemini", 4), ("responses", 9)],
)
def test_most_events_are_not_read(name: str, most: int) -> None:
    """Of a hundred more of the same, no more is read."""
    dialect, text = STREAMS[name]
    pieces = by_events(text.encode())
    at = next(at for at, piece in enumerate(pieces) if b" there" in piece)
    relay = Counting(relay_of(dialect))
    moulded = Moulded(relay)
    for piece in [*pieces[: at + 1], *[pieces[at]] * 100]:
        if not moulded.passes(piece):
            moulded.feed(piece)

    assert relay.fed <= most


def test_a_run_is_told_before_it_grows_too_long() -> None:
    relay = Counting(relay_of("openai_chat"))
    moulded = Moulded(relay)
    pieces = by_events(chat(*TEXTS[:2]).encode())
    for piece in pieces[:3]:
        moulded.feed(piece)
    known = relay.fed
    rounds = 4 * MOST_BYTES // len(pieces[2])
    for _ in range(rounds):
        if not moulded.passes(pieces[2]):
            moulded.feed(pieces[2])

    assert 3 <= relay.fed - known <= 6
    assert "".join(event.text for event in moulded.told() if hasattr(event, "text")).startswith(" there there")


def test_where_texts_are_looked_at_nothing_passes_unread() -> None:
    relay = Counting(relay_of("openai_chat"))
    moulded = Moulded(relay, looks=True)
    pieces = by_events(chat(*TEXTS).encode())
    assert not any(moulded.passes(piece) or moulded.feed(piece) is None for piece in pieces)
    assert relay.fed == len(pieces)


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        (b'data: {"a":"x","b":"x"}\n\n', "x"),
        (b'data: {"x":"\\u0078"}\n\n', "x"),
        (b'data: {"x":"y","a":"\\u0078"}\n\n', "x"),
        (b'data: {"a":"x"}\n', "x"),
        (b'data: {"a":"x"}\ndata: {}\n\n', "x"),
        (b'data: ["x"]\n\n', "x"),
        (b'data: {"a":"\\n"}\n\n', "\n"),
        (b'data: {"a":"","b":1}\n\n', ""),
    ],
)
def test_what_is_not_certain_has_no_mould(raw: bytes, text: str) -> None:
    assert mould_of(raw, text) is None


@pytest.mark.parametrize(
    "other",
    [
        b'data: {"a":"","n":1}\n\n',
        b'data: {"a":"y","n":2}\n\n',
        b'data: {"a":"y\\","n":1}\n\n',
        b'data: {"a":"y","n":1}\n\n\n',
        b'data: {"a":"y","b":"z","n":1}\n\n',
        b'data: {"a":"\xff","n":1}\n\n',
        b'data: {"a":"\xc3","n":1}\n\n',
        b'data: {"a":"\xed\xa0\x80","n":1}\n\n',
        b'data: {"a":"\\ud83c","n":1}\n\n',
        b'data: {"a":"\\x","n":1}\n\n',
        b'data: {"a":"\x01","n":1}\n\n',
        b'data: {"a":"y","n":1}\r\n\r\n',
    ],
)
def test_what_does_not_fit(other: bytes) -> None:
    mould = mould_of(b'data: {"a":"x","n":1}\n\n', "x")
    assert mould is not None
    assert mould.fills(b'data: {"a":"y \xc3\xa9 \\n","n":1}\n\n', 0, []) > 0
    assert mould.fills(other, 0, []) != len(other)


def test_where_no_mould_lasts_looking_for_one_comes_to_an_end() -> None:
    moulded = Moulded(relay_of("openai_chat"))
    opening, first, *_ = by_events(chat(*TEXTS).encode())
    moulded.feed(opening)
    for number in range(2 * LESSONS):
        moulded.feed(first.replace(b'"default"', b'"tier %d"' % number).replace(b'"usage"', b'"usage_%d"' % number))

    assert not moulded.passes(first)
