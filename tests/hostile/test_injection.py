"""Values that break out of the line or the frame that they are written into."""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterator
from typing import Any, Final

import pytest

from tests.hostile.conftest import Running
from tests.hostile.framings import asking
from tests.hostile.vendors import DIALECTS
from tests.hostile.wire import PATIENCE_S, Answer, Wire
from translators.sse import SseDecoder, SseEvent

BREAKS: Final[dict[str, bytes]] = {
    "line end": b"a\r\nx-hidden: 1",
    "line feed": b"a\nx-hidden: 1",
    "carriage return": b"a\rx-hidden: 1",
    "end of head": b"a\r\n\r\nx-hidden: 1",
    "NUL": b"a\x00x-hidden",
    "high bytes": b"a\xff\xfe\x80x-hidden",
    "letters": "a\u2028\u0085x-hidden".encode(),
    "escape": b"a\x1b[2Jx-hidden",
    "long": b"x-hidden" * 500,
}
COPIED: Final = (
    "x-request-id",
    "traceparent",
    "tracestate",
    "x-modelport-tags",
    "x-modelport-route",
    "x-modelport-cache",
    "x-modelport-losses",
    "x-modelport-timeout-s",
    "x-modelport-provider",
    "idempotency-key",
    "user-agent",
    "anthropic-beta",
    "anthropic-version",
    "openai-organization",
    "openai-beta",
    "authorization",
    "x-api-key",
    "origin",
)
"""Headers whose values are copied: into answers, to providers, into the ledger or the log."""


@pytest.mark.parametrize("name", COPIED)
def test_a_header_ends_where_its_line_ends(running: Running, name: str) -> None:
    body = asking("Hi", "openai_chat/m")
    before = len(running.upstream.requests)
    for broken in BREAKS.values():
        head = b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
        told = b"Content-Length: %d\r\n" % len(body)
        with Wire(running.modelport.port) as wire:
            wire.send(head + told + name.encode() + b": " + broken + b"\r\n\r\n" + body)
            for answer in wire.answers():
                assert answer.status < 500, (broken, answer)
                check_answer(answer)

    for asked in running.upstream.requests[before:]:
        # One whose line ended early says a header of its own, which goes to no provider.
        assert "x-hidden" not in asked.headers
        assert all(value.isprintable() for value in asked.headers.values()), asked.headers


def check_answer(answer: Answer) -> None:
    """What `Wire` reads is well formed; beyond that nothing hidden is a header of its own."""
    assert "x-hidden" not in answer.headers
    assert all(value.isprintable() and value.isascii() for value in answer.headers.values()), answer.headers


TEXTS: Final = {
    "line ends": "a\r\nx-hidden: 1\r\n\r\ndata: [DONE]\n\n",
    "NUL": "a\x00b",
    "escape": "\x1b[2J\x1b]0;title\x07",
    "odd letters": "\u202e\u2028\u2029\ufeff\u0085\U000e0001",
    "markup": "</script><img src=x onerror=alert(1)>",
    "quotes": "'\";--\\",
    "formula": "=cmd|'/c calc'!A0",
}


def places() -> Iterator[tuple[str, Any]]:
    """What of a body is copied: the name, and a body from the text."""
    message = [{"role": "user", "content": "Hi"}]
    whole = {"model": "openai_chat/m", "messages": message}
    yield "model", lambda text: {"model": text, "messages": message}
    yield "model of a provider", lambda text: {"model": f"gemini/{text}", "messages": message}
    yield "user", lambda text: {**whole, "user": text}
    yield "metadata", lambda text: {**whole, "metadata": {text: text}}
    yield "tag", lambda text: {**whole, "modelport": {"tags": {"team": text}}}
    yield "name of a tag", lambda text: {**whole, "modelport": {"tags": {text: "a"}}}
    yield "route", lambda text: {**whole, "modelport": {"route": text}}
    yield "field", lambda text: {"model": "anthropic/m", "messages": message, text: text}
    yield (
        "tool",
        lambda text: {
            "model": "anthropic/m",
            "messages": message,
            "tools": [{"type": "function", "function": {"name": text, "parameters": {"type": "object"}}}],
        },
    )
    yield "service tier", lambda text: {**whole, "service_tier": text}


PLACES: Final = dict(places())


@pytest.mark.parametrize("place", PLACES)
def test_a_value_of_a_body_stays_one_value(running: Running, place: str) -> None:
    before = len(running.upstream.requests)
    for text in TEXTS.values():
        body = json.dumps(PLACES[place](text)).encode()
        head = b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
        with Wire(running.modelport.port) as wire:
            wire.send(head + b"Content-Length: %d\r\n\r\n" % len(body) + body)
            answers = list(wire.answers())
        assert len(answers) == 1, answers
        assert answers[0].status == 200 or 400 <= answers[0].status < 500, (text, answers)
        json.loads(answers[0].body)
        check_answer(answers[0])

    for asked in running.upstream.requests[before:]:
        assert "x-hidden" not in asked.headers
        assert all(value.isprintable() for value in asked.headers.values()), asked.headers
    assert_log_is_plain(running)


def assert_log_is_plain(running: Running) -> None:
    """No terminal is painted, and no line is forged."""
    log = running.modelport.log
    assert [sign for sign in "\x1b\x07\x00\r\u202e\u2028\u2029\u0085" if sign in log] == []
    assert "\nx-hidden" not in log
    assert "\ndata: [DONE]" not in log


HOSTILE_TEXT: Final = (
    'a\n\ndata: [DONE]\n\nevent: error\ndata: {"error":{}}\n\r\n\r\r: modelport {}\n\nevent: message_stop\ndata: {}\n\n'
    "</script><script>alert(1)</script>\x1b[31m\x1b]0;x\x07\u202egnp.exe\u2066\u2028\u2029\u0085\ufeff\x00\x7f end"
)
PATHS: Final = {
    "openai_chat": "/v1/chat/completions",
    "openai_responses": "/v1/responses",
    "anthropic": "/v1/messages",
    "gemini": "/v1beta/models/{}:generateContent",
}
STREAMED: Final = "/v1beta/models/{}:streamGenerateContent?alt=sse"


def question(dialect: str, target: str, *, stream: bool) -> tuple[str, bytes]:
    """Path and body of a short question in *dialect* to *target*."""
    more = {"stream": True} if stream else {}
    turns = [{"role": "user", "content": "Hi"}]
    body: dict[str, Any]
    match dialect:
        case "openai_responses":
            body = {"model": target, "input": "Hi", **more}
        case "anthropic":
            body = {"model": target, "max_tokens": 50, "messages": turns, **more}
        case "gemini":
            path = STREAMED if stream else PATHS[dialect]
            return path.format(target), json.dumps({"contents": [{"role": "user", "parts": [{"text": "Hi"}]}]}).encode()
        case _:
            body = {"model": target, "messages": turns, **more}
    return PATHS[dialect], json.dumps(body).encode()


def texts_of(dialect: str, told: Any) -> str:
    """What a model says in one answer, or in one event of a stream."""
    match dialect:
        case "openai_responses":
            if "output" in told:
                return "".join(part["text"] for item in told["output"] for part in item["content"])
            return str(told["delta"]) if told.get("type") == "response.output_text.delta" else ""
        case "anthropic":
            parts = told.get("content") or [told.get("delta") or {}]
            return "".join(part.get("text") or "" for part in parts)
        case "gemini":
            found = told.get("candidates") or [{}]
            return "".join(part.get("text") or "" for part in found[0].get("content", {}).get("parts", ()))
        case _:
            choice = (told.get("choices") or [{}])[0]
            return str((choice.get("message") or choice.get("delta") or {}).get("content") or "")


ENDS: Final = {
    "openai_chat": lambda event: event.data == b"[DONE]",
    "openai_responses": lambda event: event.event == "response.completed",
    "anthropic": lambda event: event.event == "message_stop",
}


def asked(running: Running, path: str, body: bytes) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", running.modelport.port, timeout=PATIENCE_S)
    try:
        connection.request("POST", path, body, {"content-type": "application/json"})
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


@pytest.mark.parametrize("target", DIALECTS)
@pytest.mark.parametrize("client", DIALECTS)
def test_a_hostile_output_stays_inside_its_frame(running: Running, client: str, target: str) -> None:
    running.text = HOSTILE_TEXT
    try:
        status, whole = asked(running, *question(client, f"{target}/m", stream=False))
        streamed_status, streamed = asked(running, *question(client, f"{target}/m", stream=True))
    finally:
        running.text = "Hello"
    decoder = SseDecoder()
    events = [event for event in (*decoder.feed(streamed), *decoder.close()) if event.data]
    ends = [at for at, event in enumerate(events) if ENDS.get(client, _never)(event)]
    told = [json.loads(event.data) for event in events if event.data != b"[DONE]"]

    assert (status, streamed_status) == (200, 200)
    assert texts_of(client, json.loads(whole)) == HOSTILE_TEXT
    assert "".join(texts_of(client, each) for each in told if "output" not in each) == HOSTILE_TEXT
    assert ends == ([len(events) - 1] if client in ENDS else [])
    assert not any(event.event == "error" for event in events)
    assert streamed.count(b"\n: modelport ") == (client != "gemini")
    assert_log_is_plain(running)


def _never(_: SseEvent) -> bool:
    return False


def test_what_is_hostile_is_data_in_reports(running: Running) -> None:
    """Tags are what of a request comes back in reports."""
    tag = "</script>\u202e=1+1"
    body = {"model": "openai_chat/m", "messages": [{"role": "user", "content": "Hi"}]}
    body["modelport"] = {"tags": {"team": tag}}
    status, _ = asked(running, PATHS["openai_chat"], json.dumps(body).encode())

    as_json = running.modelport.get("/costs?group_by=tag")
    as_csv = running.modelport.get("/costs?group_by=tag&format=csv")

    if status == 200:
        assert any(group["tag"] == f"team={tag}" for group in as_json.json["groups"]), as_json.json
    for reply in (as_json, as_csv):
        assert reply.status == 200
        assert reply.headers["x-content-type-options"] == "nosniff"
        assert not reply.headers["content-type"].startswith("text/html")
