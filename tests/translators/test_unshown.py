"""Whatever an answer holds, a client is shown it or told that it is not: every kind of part, every dialect of clients,
whole and streamed.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator
from typing import Any, Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from translators.assemble import replay
from translators.codec import dumps
from translators.dialect import ReplyTo
from translators.dialects import CLIENTS
from translators.gemini import client_array
from translators.losses import Loss
from translators.neutral import (
    Audio,
    Choice,
    Document,
    Image,
    Message,
    Opaque,
    Part,
    Refusal,
    Request,
    Response,
    Source,
    Text,
    Thinking,
    TokenLogprob,
    ToolCall,
    ToolResult,
)

ASKERS: Final = {**CLIENTS, "gemini, an array": client_array}
WAYS: Final = ("whole", "stream")


def data(mark: str) -> str:
    """Base64 that can be told from any other."""
    return base64.b64encode(f"the bytes of {mark}".encode()).decode()


def page(url: str) -> dict[str, Any]:
    return {"type": "url_citation", "url_citation": {"start_index": 0, "end_index": 1, "url": url, "title": "t"}}


KINDS: Final[dict[str, Callable[[str], tuple[Part, tuple[str, ...]]]]] = {
    "text": lambda mark: (Text(mark), (mark,)),
    "text, a page cited": lambda mark: (Text(f"{mark}a", (page(f"https://x.test/{mark}b"),)), (f"{mark}a", f"{mark}b")),
    "text, a file cited": lambda mark: (
        Text(f"{mark}a", ({"type": "file_citation", "file_id": f"{mark}b", "filename": "f", "index": 0},)),
        (f"{mark}a", f"{mark}b"),
    ),
    "thinking": lambda mark: (Thinking(mark), (mark,)),
    "refusal": lambda mark: (Refusal(mark), (mark,)),
    "call": lambda mark: (ToolCall("c" + mark, "f", f'{{"a":"{mark}"}}'), ("c" + mark, mark)),
    "call, no object": lambda mark: (ToolCall("c", "f" + mark, f"[{mark}"), ("f" + mark, mark)),
    "custom call": lambda mark: (ToolCall("c", "f", mark, "custom"), (mark,)),
    "result": lambda mark: (ToolResult("c", (Text(mark),)), (mark,)),
    "picture": lambda mark: (Image(Source("image/png", data(mark))), (data(mark),)),
    "picture at an address": lambda mark: (Image(Source(url=f"https://x.test/{mark}")), (mark,)),
    "picture of a vendor": lambda mark: (Image(Source(file_id=mark, vendor="anthropic")), (mark,)),
    "sound": lambda mark: (Audio(Source("audio/wav", data(mark))), (data(mark),)),
    "sound with its words": lambda mark: (Audio(Source("audio/wav", data(mark)), "a", mark), (data(mark), mark)),
    "words of a sound": lambda mark: (Audio(Source(), "a", mark), (mark,)),
    "sound at an address": lambda mark: (Audio(Source(url=f"https://x.test/{mark}")), (mark,)),
    "document": lambda mark: (Document(Source("application/pdf", data(mark))), (data(mark),)),
    "document of text": lambda mark: (Document(Source("text/plain"), text=f"the bytes of {mark}"), (data(mark),)),
    "document at an address": lambda mark: (Document(Source(url=f"https://x.test/{mark}")), (mark,)),
    "block of a vendor": lambda mark: (Opaque("anthropic", "server_tool_use", {"x": mark}), (mark,)),
}
"""A part, and what shows that a client has got it."""


def asked(dialect: str) -> ReplyTo:
    name = dialect.partition(",")[0]
    return ReplyTo(Request(name, "m", (Message("user", (Text("hi"),)),)), {}, "0123456789abcdef01234567", 1)


def written(dialect: str, way: str, response: Response) -> str:
    """What the client gets."""
    client, to = ASKERS[dialect], asked(dialect)
    if way == "whole":
        return dumps(client.render_response(response, to)).decode()
    renderer = client.StreamRenderer(to)
    return (renderer.render(list(replay(response))) + renderer.close(None)).decode()


def said(dialect: str, response: Response) -> list[Loss]:
    return list(ASKERS[dialect].unshown(response, asked(dialect)))


def answer(*parts: Part, logprobs: tuple[TokenLogprob, ...] | None = None) -> Response:
    reason = "tool_calls" if any(isinstance(part, ToolCall) for part in parts) else "stop"
    return Response("id", "m", 1, (Choice(parts, reason, logprobs=logprobs),))  # type: ignore[arg-type]  # a Literal


@pytest.mark.parametrize("dialect", ASKERS)
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("kind", KINDS)
def test_a_part_is_shown_or_said(kind: str, way: str, dialect: str) -> None:
    part, traces = KINDS[kind]("mark7")
    response = answer(Text("before"), part)

    got, losses = written(dialect, way, response), said(dialect, response)

    assert losses or all(_is_in(trace, got) for trace in traces)
    assert all(loss.field and loss.reason for loss in losses)


@pytest.mark.parametrize("dialect", ASKERS)
@pytest.mark.parametrize("kind", KINDS)
def test_nothing_is_said_of_what_is_shown_as_it_is(kind: str, dialect: str) -> None:
    part, traces = KINDS[kind]("mark7")
    response = answer(Text("before"), part)

    losses = said(dialect, response)

    if losses and all(loss.action == "dropped" for loss in losses):
        assert not all(_is_in(trace, written(dialect, "whole", response)) for trace in traces)


@given(st.lists(st.sampled_from(sorted(KINDS)), max_size=5), st.sampled_from(sorted(ASKERS)), st.sampled_from(WAYS))
@settings(max_examples=300, deadline=None)
def test_of_several_parts_none_is_left_out_in_silence(kinds: list[str], dialect: str, way: str) -> None:
    made = [KINDS[kind](f"mark{at}x") for at, kind in enumerate(kinds)]
    response = answer(*(part for part, _ in made))

    got, losses = written(dialect, way, response), said(dialect, response)

    missing = [part for part, traces in made if not all(_is_in(trace, got) for trace in traces)]
    assert len(missing) <= len(losses), (missing, losses)


@pytest.mark.parametrize("dialect", ASKERS)
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    "parts", [(Text("a"),), (Image(Source("image/png", "AA==")),), (Text("a"), Image(Source("image/png", "AA==")))]
)
def test_log_probabilities_are_shown_or_said(parts: tuple[Part, ...], way: str, dialect: str) -> None:
    response = answer(*parts, logprobs=(TokenLogprob("marked", -0.25),))

    shown = "-0.25" in written(dialect, way, response)

    assert shown or said(dialect, response)


@pytest.mark.parametrize("dialect", ASKERS)
def test_every_choice_is_shown_or_said(dialect: str) -> None:
    choices = (Choice((Text("one"),), "stop", 0), Choice((Text("two"),), "stop", 1))
    response = Response("id", "m", 1, choices)

    for way in WAYS:
        assert "two" in written(dialect, way, response) or said(dialect, response)


@pytest.mark.parametrize("way", WAYS)
def test_a_choice_that_was_blocked_beside_others_stays_a_candidate(way: str) -> None:
    response = Response("id", "m", 1, (Choice((Text("one"),), "stop", 0), Choice((), "content_filter", 1)))

    assert '"SAFETY"' in written("gemini", way, response)


@pytest.mark.parametrize("way", WAYS)
def test_of_several_calls_a_client_of_functions_gets_the_first_and_is_told_of_the_others(way: str) -> None:
    """`function_call` holds one call; the pieces of a second would be read as its arguments."""
    client = CLIENTS["openai_chat"]
    to = ReplyTo(asked("openai_chat").request, {"functions": [{"name": "f"}]}, "0123456789abcdef01234567", 1)
    response = answer(ToolCall("1", "f", '{"a":1}'), ToolCall("2", "g", '{"b":2}'))
    renderer = client.StreamRenderer(to)
    got = dumps(client.render_response(response, to)) if way == "whole" else renderer.render(list(replay(response)))

    assert rb"{\"a\":1}" in got
    assert rb"{\"b\":2}" not in got
    assert [loss.field for loss in client.unshown(response, to)] == ["choices[0].message.function_call"]


PLACES: Final = [
    ("anthropic", [Text("a"), Image(Source("image/png", "AA=="))], "content[1]", "emulated"),
    ("anthropic", [Refusal("no"), Audio(Source("audio/wav", "AA=="))], "content[0]", "emulated"),
    ("openai_chat", [Document(Source("application/pdf", "AA=="))], "choices[0].message.content", "dropped"),
    ("openai_chat", [Image(Source(file_id="f", vendor="gemini"))], "choices[0].message.images[0]", "dropped"),
    ("openai_responses", [Audio(Source("audio/wav", "AA=="), "a", "hi")], "output", "emulated"),
    ("openai_completions", [Thinking("hm"), Text("a")], "choices[0].text", "dropped"),
    ("gemini", [Text("a"), Audio(Source("audio/wav", "AA=="), "a", "hi")], "candidates[0].content.parts[1]", "dropped"),
]


@pytest.mark.parametrize(("dialect", "parts", "place", "action"), PLACES)
def test_the_place_is_one_of_the_clients_own_answer(dialect: str, parts: list[Part], place: str, action: str) -> None:
    assert [(loss.field, loss.action) for loss in said(dialect, answer(*parts))] == [(place, action)]


def _is_in(trace: str, got: str) -> bool:
    return any(spelling in got for spelling in _spellings(trace))


def _spellings(trace: str) -> Iterator[str]:
    yield trace
    yield trace.replace("/", "\\/")
