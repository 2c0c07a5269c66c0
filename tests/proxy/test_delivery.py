"""Bytes to the client: headers, framing, order, and the ends of streams."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from tests.proxy.conftest import Serve
from tests.proxy.serving import BOTH, DONE, OPENING, USAGE_CHUNK, by_form, chunk, message, provider, says, streams
from tests.replay import Answer, Split, Upstream


async def test_every_answer_names_itself(serve: Serve, upstream: Upstream) -> None:
    upstream.script("m", BOTH)
    server = await serve(provider("one", upstream))

    for stream in (False, True):
        reply = await server.ask(model="one/m", stream=stream)

        kind = "text/event-stream; charset=utf-8" if stream else "application/json"
        assert reply.headers["content-type"] == kind
        assert reply.headers["x-modelport-target"] == reply.headers["x-modelport-route"] == "one/m"
        assert reply.headers["x-modelport-attempts"] == "1"
        assert reply.headers["x-modelport-cache"] == "bypass"
        assert reply.headers["x-content-type-options"] == "nosniff"
        assert "x-modelport-losses" not in reply.headers


async def test_frames_are_passed_on_as_they_come(serve: Serve, upstream: Upstream) -> None:
    """Not when the answer is whole."""
    first = OPENING + chunk({"content": "Hello"})
    upstream.script("m", Answer.sse(streams("Hello", " there").body, split="events", hold_at=len(first)))
    server = await serve(provider("one", upstream))

    async with server.asking(model="one/m", stream=True) as answer:
        head = await asyncio.wait_for(answer.content.readuntil(b"Hello"), 2)
        upstream.asked("m")[0].release()
        rest = await answer.content.read()

    assert b"there" not in head
    assert rest.endswith(b"data: [DONE]\n\n")


SPLITS: list[Split] = ["whole", "events", 1, 7, 64]


@pytest.mark.parametrize("split", SPLITS)
async def test_where_the_bytes_are_cut_does_not_matter(serve: Serve, upstream: Upstream, split: Split) -> None:
    words = ("Grüße", " 🌍", " \\n data: [DONE]", '"quoted"')
    upstream.script("m", streams(*words, split=split))
    server = await serve(provider("one", upstream))

    reply = await server.ask(model="one/m", stream=True)

    assert reply.text == "".join(words)
    assert reply.done
    assert len(reply.frames) == len(words) + 4  # opening, end, receipt, terminator


@pytest.mark.parametrize("wanted", [False, True])
@pytest.mark.parametrize("dialect", ["openai_chat", "anthropic"])
async def test_usage_comes_if_it_was_asked_for(serve: Serve, upstream: Upstream, dialect: str, wanted: bool) -> None:
    """The proxy asks the provider in any case."""
    upstream.script(
        "m", by_form(Answer.json(message()), streams()) if dialect == "openai_chat" else Answer.json(message())
    )
    server = await serve(provider("one", upstream, dialect))
    options = {"stream_options": {"include_usage": True}} if wanted else {}

    reply = await server.ask(model="one/m", stream=True, max_tokens=9, **options)

    found = [each["usage"] for each in reply.chunks if each.get("usage")]
    assert len(found) == (1 if wanted else 0)
    if wanted:
        assert found[0]["total_tokens"] == 15
        assert reply.chunks[-1]["choices"] == []
    if dialect == "openai_chat":
        assert upstream.asked("m")[0].json["stream_options"]["include_usage"] is True


ENDS: dict[str, str] = {
    "as it should": OPENING + chunk({"content": "hi"}) + chunk({}, "stop") + USAGE_CHUNK + DONE,
    "no terminator": OPENING + chunk({"content": "hi"}) + chunk({}, "stop") + USAGE_CHUNK,
    "two terminators": OPENING + chunk({"content": "hi"}) + chunk({}, "stop") + USAGE_CHUNK + DONE + DONE,
    "text after it": OPENING
    + chunk({"content": "hi"})
    + chunk({}, "stop")
    + USAGE_CHUNK
    + DONE
    + chunk({"content": "x"}),
    "CRLF": (OPENING + chunk({"content": "hi"}) + chunk({}, "stop") + USAGE_CHUNK + DONE).replace("\n", "\r\n"),
    "comments": ": hello\n\n"
    + OPENING
    + ": ping\n\n"
    + chunk({"content": "hi"})
    + chunk({}, "stop")
    + USAGE_CHUNK
    + DONE,
}


@pytest.mark.parametrize("case", ENDS)
async def test_a_stream_ends_once(serve: Serve, upstream: Upstream, case: str) -> None:
    upstream.script("m", Answer.sse(ENDS[case], split="events"))
    server = await serve(provider("one", upstream))

    reply = await server.ask(model="one/m", stream=True)

    assert reply.text == "hi"
    assert reply.frames.count("data: [DONE]") == 1
    assert reply.done
    assert reply.frames[-2].startswith(": modelport ")
    assert (await server.row(reply.id))["status"] == "ok"


@pytest.mark.parametrize("dialect", ["openai_chat", "anthropic"])
async def test_a_whole_answer_is_the_vendors(serve: Serve, upstream: Upstream, dialect: str) -> None:
    """In the client's dialect; its own dialect byte by byte."""
    body = json.dumps({**json.loads(says().body), "x_vendor": {"b": 1, "a": 2}}, indent=1).encode()
    upstream.script("m", Answer.json(body if dialect == "openai_chat" else message()))
    server = await serve(
        provider("one", upstream, dialect, more="quirks = { conformant = true }" if dialect == "openai_chat" else "")
    )

    reply = await server.ask(model="one/m", max_tokens=9)

    assert reply.text == "Hello there"
    assert reply.json["object"] == "chat.completion"
    if dialect == "openai_chat":
        assert reply.body == body


async def test_nothing_of_the_models_words_breaks_the_framing(serve: Serve, upstream: Upstream) -> None:
    said = "a\n\ndata: [DONE]\n\n: modelport {}\n\n</script>\x1b[31m\u202e\u2028\r\nevent: error"
    upstream.script("m", by_form(Answer.json(message(said)), Answer.json(message(said))))
    server = await serve(provider("one", upstream, "anthropic"))

    reply = await server.ask(model="one/m", stream=True, max_tokens=9)

    assert reply.text == said
    assert reply.frames.count("data: [DONE]") == 1
    assert reply.receipt["attempts"] == 1


async def test_an_old_client_gets_its_answer(serve: Serve, upstream: Upstream) -> None:
    """HTTP/1.0 knows no chunks: the connection's end is the body's."""
    upstream.script("m", BOTH)
    server = await serve(provider("one", upstream))
    for stream in (False, True):
        body = json.dumps(
            {"model": "one/m", "stream": stream, "messages": [{"role": "user", "content": "hi"}]}
        ).encode()
        head = b"POST /v1/chat/completions HTTP/1.0\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" % len(body)

        answer = await server.raw(head + body)

        assert b" 200 " in answer.split(b"\r\n")[0]
        assert b"transfer-encoding" not in answer.lower()
        assert (b"data: [DONE]\n\n" if stream else b"Hello there") in answer


async def test_the_routes_name_cannot_break_a_header(serve: Serve, upstream: Upstream) -> None:
    upstream.script("m\u00e9", says())
    server = await serve(provider("one", upstream))

    reply = await server.ask(model="one/m\u00e9")

    assert reply.status == 200
    assert reply.headers["x-modelport-target"].isascii()


@pytest.mark.parametrize("name", ["one/m\r\nx-evil: 1", "one/m\u2028", "one/" + "m" * 5000])
async def test_odd_model_names(serve: Serve, upstream: Upstream, name: Any) -> None:
    server = await serve(provider("one", upstream))

    reply = await server.ask(model=name)

    assert 400 <= reply.status < 500
    assert "x-evil" not in reply.headers
    assert len(reply.body) < 8000


async def test_an_answer_while_draining_closes_its_connection(serve: Serve, upstream: Upstream) -> None:
    """The client's next request would find nobody."""
    upstream.script("m", says())
    server = await serve(provider("one", upstream))
    server.services.draining = True

    reply = await server.ask(model="one/m")

    assert (reply.status, reply.headers["connection"]) == (200, "close")
