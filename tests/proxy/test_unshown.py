"""Parts of an answer that a client's dialect has no place for are said: in its head or receipt, and in the ledger."""

from __future__ import annotations

import json
from typing import Any, Final

import pytest

from tests.proxy.conftest import Serve
from tests.proxy.serving import DONE, OPENING, QUICK, Reply, Served, by_form, chunk, completion, provider
from tests.replay import Answer, Upstream

PICTURE: Final = {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo="}}
SOUND: Final = {"id": "audio_1", "data": "UklGRg==", "expires_at": 1, "transcript": "hum"}
DRAWN: Final = by_form(
    Answer.json(completion("Here:", images=[PICTURE], audio=SOUND)),
    Answer.sse(OPENING + chunk({"content": "Here:"}) + chunk({"audio": SOUND}) + chunk({"images": [PICTURE]}) + DONE),
)
QUESTIONS: Final[dict[str, tuple[str, dict[str, Any]]]] = {
    "chat": ("/v1/chat/completions", {"messages": [{"role": "user", "content": "Draw"}]}),
    "responses": ("/v1/responses", {"input": "Draw", "store": False}),
    "messages": ("/v1/messages", {"messages": [{"role": "user", "content": "Draw"}], "max_tokens": 9}),
    "gemini": ("/v1beta/models/one/m:{}", {"contents": [{"parts": [{"text": "Draw"}]}]}),
    "completions": ("/v1/completions", {"prompt": "Draw"}),
}
LOST: Final = {
    "chat": [],
    "responses": [("output", "emulated")],
    "messages": [("content[1]", "emulated"), ("content[2]", "emulated")],
    "gemini": [("candidates[0].content.parts[1]", "dropped")],
    "completions": [("choices[0].text", "dropped"), ("choices[0].text", "dropped")],
}
"""What each client cannot be shown of a picture, and of a sound with its words."""


def lost(client: str, stream: bool) -> list[tuple[str, str]]:
    """In a stream the sound comes after the picture: its pieces are put together."""
    return [
        (field.replace("[1]", "[2]") if client == "gemini" and stream else field, how) for field, how in LOST[client]
    ]


async def ask(server: Served, client: str, stream: bool, **more: Any) -> Reply:
    path, body = QUESTIONS[client]
    if client == "gemini":
        path = path.format("streamGenerateContent?alt=sse" if stream else "generateContent")
    else:
        body = {"model": "one/m", "stream": stream, **body}
    return await server.request("POST", path, json.dumps({**body, **more}).encode())


def told(reply: Reply, client: str, stream: bool) -> list[tuple[str, str]]:
    """The losses that the answer itself tells."""
    if not stream:
        pairs = [pair for pair in reply.headers.get("x-modelport-losses", "").split(",") if pair]
        return [(field, reason.partition("%3A")[0]) for field, _, reason in (pair.partition("=") for pair in pairs)]
    receipt = reply.chunks[-1]["modelport"] if client == "gemini" else reply.receipt
    return [(loss["field"], loss["action"]) for loss in receipt["losses"]]


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("client", QUESTIONS)
async def test_what_a_client_cannot_be_shown_is_said(serve: Serve, client: str, stream: bool) -> None:
    with Upstream(DRAWN) as upstream:
        server = await serve(QUICK, provider("one", upstream))

        reply = await ask(server, client, stream)

        assert reply.status == 200, reply.body
        assert told(reply, client, stream) == lost(client, stream)
        row = await server.row(reply.id)
        assert [(loss["field"], loss["action"]) for loss in row["losses"]] == lost(client, stream)


async def test_each_client_of_a_cached_answer_is_told_of_its_own_losses(serve: Serve) -> None:
    """The one who asked first has another dialect, and other losses."""
    with Upstream(DRAWN) as upstream:
        server = await serve(QUICK, "[cache]\nmode = 'all'\n", provider("one", upstream))

        first = await ask(server, "messages", False)
        again = await ask(server, "messages", True)
        seen = await ask(server, "chat", False, max_tokens=9)

        assert [reply.headers["x-modelport-cache"] for reply in (first, again, seen)] == ["miss", "hit", "hit"]
        assert len(upstream.requests) == 1
        assert told(first, "messages", False) == told(again, "messages", True) == LOST["messages"]
        assert told(seen, "chat", False) == []


STRICT: Final = "x-modelport-losses"


async def test_an_answer_that_is_paid_for_is_not_refused_for_what_it_loses(serve: Serve) -> None:
    """`reject` is about requests: what an answer holds is known when it is there."""
    with Upstream(DRAWN) as upstream:
        server = await serve(QUICK, provider("one", upstream))
        server.headers[STRICT] = "reject"

        reply = await ask(server, "completions", False)

        assert (reply.status, told(reply, "completions", False)) == (200, LOST["completions"])


MANY: Final[dict[str, tuple[dict[str, Any], str]]] = {
    "chat": ({"n": 3}, "n"),
    "gemini": ({"generationConfig": {"candidateCount": 3}}, "generationConfig.candidateCount"),
    "completions": ({"n": 3}, "n"),
}


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("client", MANY)
async def test_a_server_that_does_not_know_n_is_told_of(serve: Serve, client: str, stream: bool) -> None:
    """Many OpenAI-compatible servers give one answer, whatever was asked for; also those that get a client's bytes."""
    more, field = MANY[client]
    one = by_form(Answer.json(completion("Hi")), Answer.sse(OPENING + chunk({"content": "Hi"}) + DONE))
    with Upstream(one) as upstream:
        server = await serve(QUICK, provider("one", upstream))

        reply = await ask(server, client, stream, **more)

        assert reply.status == 200, reply.body
        assert told(reply, client, stream) == [(field, "dropped")]
        row = await server.row(reply.id)
        assert [(loss["field"], loss["reason"]) for loss in row["losses"]] == [
            (field, "the target gave 1 of 3 answers")
        ]
