"""What a provider's failure becomes for the client, and that no secret gets anywhere."""

from __future__ import annotations

import json
import logging
from typing import Any

import pytest

from proxy.errors import Redactor, for_client
from tests.proxy.conftest import Serve
from tests.proxy.serving import KEY, OPENING, QUICK, SECOND_KEY, chunk, failing, provider, route
from tests.replay import Answer, Upstream, free_port
from translators.neutral import Failure

STATUSES: dict[str, tuple[Answer, int, str | None]] = {
    # what the provider does (FAULTS 3.3): status and code for the client
    "400": (failing(400, "bad"), 400, None),
    "401": (failing(401, "who"), 502, "upstream_auth"),
    "402": (failing(402, "pay"), 502, "upstream_auth"),
    "403": (failing(403, "no"), 502, "upstream_auth"),
    "404": (failing(404, "where"), 404, None),
    "408": (failing(408, "slow"), 504, "upstream_timeout"),
    "409": (failing(409, "conflict"), 502, "upstream_error"),
    "425": (failing(425, "too early"), 502, "upstream_error"),
    "413": (failing(413, "big"), 413, None),
    "422": (failing(422, "odd"), 422, None),
    "429": (failing(429, "slow down", {"retry-after": "7"}), 429, "rate_limit_exceeded"),
    "500": (failing(500), 502, "upstream_error"),
    "502": (failing(502), 502, "upstream_error"),
    "503": (failing(503), 503, "upstream_overloaded"),
    "529": (failing(529), 503, "upstream_overloaded"),
    "302": (Answer(302, {"location": "http://127.0.0.1:1/"}, chunked=False), 502, "upstream_invalid"),
    "HTML": (Answer(200, {"content-type": "text/html"}, b"<html>hi</html>"), 502, "upstream_invalid"),
    "empty": (Answer(200, {"content-type": "application/json"}, b"", chunked=False), 502, "upstream_invalid"),
    "wrong shape": (Answer.json({"hello": 1}), 502, "upstream_invalid"),
    "an error in a 200": (Answer.json({"error": {"message": "x", "code": 500}}), 502, "upstream_error"),
    "closed before the head": (Answer(raw_head=b"", end="close"), 502, "upstream_unreachable"),
    "reset before the head": (Answer(raw_head=b"", end="reset"), 502, "upstream_unreachable"),
    "silent": (Answer(hang=True), 504, "upstream_timeout"),
    "no HTTP": (Answer(raw_head=b"SSH-2.0-OpenSSH\r\n\r\n", end="close"), 502, "upstream_unreachable"),
}
CLOCKS = "timeouts = { connect_s = 1, first_event_s = 0.15, idle_s = 0.15 }"


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("case", STATUSES)
async def test_statuses(serve: Serve, upstream: Upstream, case: str, stream: bool) -> None:
    """The client's fault stays the client's, ours never becomes it."""
    answer, status, code = STATUSES[case]
    upstream.script("m", answer)
    server = await serve(QUICK, provider("one", upstream, more=CLOCKS))

    reply = await server.ask(model="one/m", stream=stream)

    assert reply.status == status, reply.body
    assert "one/m" in reply.error["message"]
    assert reply.headers["content-type"] == "application/json"
    assert reply.headers["x-should-retry"] == "false"
    assert reply.headers["x-content-type-options"] == "nosniff"
    if code:
        assert reply.error["code"] == code
    if case == "429":
        assert reply.headers["retry-after"] == "7"


async def test_an_unreachable_provider_is_told_apart_from_a_failing_one(serve: Serve) -> None:
    server = await serve(QUICK, provider("one", f"http://127.0.0.1:{free_port()}/v1"))

    reply = await server.ask(model="one/m")

    assert (reply.status, reply.error["code"]) == (502, "upstream_unreachable")
    assert "refused" in reply.error["message"].lower()


async def test_an_exhausted_chain_lists_every_attempt(serve: Serve, upstream: Upstream) -> None:
    upstream.script("a", failing(500, "first reason"))
    upstream.script("b", failing(503, "second reason"))
    server = await serve(QUICK, provider("one", upstream), provider("two", upstream), route("r", "one/a", "two/b"))

    reply = await server.ask(model="r")

    for said in ("one/a: 500", "first reason", "two/b: 503", "second reason"):
        assert said in reply.error["message"]
    assert reply.headers["x-modelport-attempts"] == "2"


# --- secrets ---------------------------------------------------------------------------------------

LOOKS = {
    f"Incorrect API key provided: {KEY}.": KEY,
    f"key={SECOND_KEY}&x": SECOND_KEY,
    "Incorrect API key provided: sk-proj-abcd****wxyz1234.": "wxyz1234",
    "Invalid bearer token: Bearer abcdef0123456789": "abcdef0123456789",
    "authorization: bearer abcdef0123456789": "abcdef0123456789",
    "API key AIzaSyA0123456789abcdefghijklmnopqrstu not valid": "AIzaSyA",
    "gsk_0123456789abcdef is wrong": "0123456789abcdef",
    "your key xai-0123456789abcdef": "0123456789abcdef",
    "sk-ant-api03-abc_DEF-0123456789": "abc_DEF",
    "c_sk-ant-api03-abc_DEF-0123456789": "abc_DEF",
}


OWN_WORDS = {
    # what the provider answers: the status for the client, and the words of its dialect
    401: (502, "server_error", "api_error", "INTERNAL"),
    403: (502, "server_error", "api_error", "INTERNAL"),
    404: (404, "not_found_error", "not_found_error", "NOT_FOUND"),
    413: (413, "invalid_request_error", "request_too_large", "INVALID_ARGUMENT"),
    429: (429, "rate_limit_error", "rate_limit_error", "RESOURCE_EXHAUSTED"),
    500: (502, "server_error", "api_error", "INTERNAL"),
    503: (503, "server_error", "overloaded_error", "UNAVAILABLE"),
    529: (503, "server_error", "overloaded_error", "UNAVAILABLE"),
}
TURN: dict[str, Any] = {"messages": [{"role": "user", "content": "hi"}]}


@pytest.mark.parametrize("dialect", ["openai_chat", "anthropic", "gemini"])
@pytest.mark.parametrize("status", OWN_WORDS)
async def test_every_client_is_told_in_the_words_of_its_own_dialect(serve: Serve, status: int, dialect: str) -> None:
    """Whoever the vendor is; and never that its own key or money is at fault when ours is."""
    with Upstream(lambda _asked: failing(status, "no")) as upstream:
        server = await serve(QUICK, provider("one", upstream, dialect, more="models = ['m']"))
        expected, openai, anthropic, google = OWN_WORDS[status]
        asked: dict[str, dict[str, Any]] = {
            "/v1/chat/completions": {"model": "one/m", **TURN},
            "/v1/responses": {"model": "one/m", "input": "hi"},
            "/v1/completions": {"model": "one/m", "prompt": "hi"},
            "/v1/messages": {"model": "one/m", "max_tokens": 9, **TURN},
            "/v1beta/models/one/m:generateContent": {"contents": [{"parts": [{"text": "hi"}]}]},
        }

        told = {path: await server.request("POST", path, json.dumps(body).encode()) for path, body in asked.items()}

        assert {path: reply.status for path, reply in told.items()} == dict.fromkeys(asked, expected)
        words = [reply.error.get("type") or reply.error["status"] for reply in told.values()]
        assert words == [openai, openai, openai, anthropic, google]
        assert told["/v1beta/models/one/m:generateContent"].error["code"] == expected


@pytest.mark.parametrize("text", LOOKS)
def test_what_looks_like_a_secret_goes(text: str) -> None:
    cleaned = Redactor([KEY, SECOND_KEY]).clean(text)

    assert LOOKS[text] not in cleaned
    assert "[secret]" in cleaned


@pytest.mark.parametrize(
    "text",
    [
        "key my%20secret%2Fkey%2Bone refused",
        "key bXkgc2VjcmV0L2tleStvbmU refused",
        "ghp_0123456789abcdefghij refused",
        "AKIAIOSFODNN7EXAMPLE refused",
        "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2lnbmF0dXJl refused",
        "authorization: Basic dXNlcjpwYXNzd29yZA== refused",
        "https://user:password@example.com refused",
    ],
)
def test_secrets_go_in_every_spelling(text: str) -> None:
    cleaned = Redactor(["my secret/key+one"]).clean(text)

    assert "[secret]" in cleaned
    assert "refused" in cleaned
    assert not any(word in cleaned for word in ("secret%2F", "bXkgc2", "ghp_", "AKIA", "eyJ", "dXNlcj", "password"))


@pytest.mark.parametrize(
    "text", ["the task-list is empty", "max_tokens must be below 4096", "model gpt-4.1 not found", "api_key_not_found"]
)
def test_plain_words_stay(text: str) -> None:
    assert Redactor([KEY]).clean(text) == text


def test_a_configured_key_goes_however_it_looks() -> None:
    """The longer first, so that nothing of it is left."""
    cleaned = Redactor(["odd.key", "odd.key.longer"]).clean("it was odd.key.longer, not odd.key")

    assert cleaned == "it was [secret], not [secret]"


@pytest.mark.parametrize("field", ["message", "code", "param"])
def test_every_field_that_is_passed_on_is_clean(field: str) -> None:
    failure = Failure("invalid_request", "m", 400, code="c", param="p")
    dirty = {
        "message": Failure("invalid_request", f"bad {KEY}", 400),
        "code": Failure("invalid_request", "m", 400, code=f"bad {KEY}"),
        "param": Failure("invalid_request", "m", 400, param=f"bad {KEY}"),
    }[field]

    told = for_client(dirty, "one", Redactor([KEY]))

    assert KEY not in repr(told)
    assert for_client(failure, "one", Redactor()).param == "p"


LEAK = f"Incorrect API key provided: {KEY}"
MID_STREAM = {
    "openai_chat": OPENING
    + chunk({"content": "Hel"})
    + f"data: {json.dumps({'error': {'message': LEAK, 'type': 'server_error', 'code': f'bad {KEY}'}})}\n\n",
    "anthropic": 'event: message_start\ndata: {"type":"message_start","message":{"id":"m","type":"message",'
    '"role":"assistant","model":"m","content":[],"stop_reason":null,"stop_sequence":null,'
    '"usage":{"input_tokens":3,"output_tokens":1}}}\n\n'
    'event: content_block_start\ndata: {"type":"content_block_start","index":0,'
    '"content_block":{"type":"text","text":""}}\n\n'
    'event: content_block_delta\ndata: {"type":"content_block_delta","index":0,'
    '"delta":{"type":"text_delta","text":"Hel"}}\n\n'
    f"event: error\ndata: {json.dumps({'type': 'error', 'error': {'type': 'api_error', 'message': LEAK}})}\n\n",
}


@pytest.mark.parametrize("where", ["401", "a 200", "mid-stream", "mid-stream, translated", "before content"])
async def test_a_key_that_a_provider_echoes_gets_nowhere(
    serve: Serve, upstream: Upstream, where: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Not to the client, the ledger, /health or the log."""
    caplog.set_level(logging.DEBUG)
    dialect = "anthropic" if "translated" in where else "openai_chat"
    stream = "stream" in where or where == "before content"
    answers = {
        "401": failing(401, LEAK, code=f"key {KEY}", param=KEY),
        "a 200": Answer.json({"error": {"message": LEAK}}),
        "before content": Answer.sse(OPENING + MID_STREAM["openai_chat"].split("\n\n")[2] + "\n\n"),
    }
    upstream.script("m", answers.get(where) or Answer.sse(MID_STREAM[dialect], split="events", delay_between_s=0.02))
    server = await serve(QUICK, provider("one", upstream, dialect))

    reply = await server.ask(model="one/m", stream=stream)

    row = await server.row(reply.id)
    health = await server.get("/health")
    metrics = await server.get("/metrics")
    if "mid-stream" in where:
        assert reply.status == 200
        assert "Incorrect API key provided: [secret]" in reply.chunks[-1]["error"]["message"]
        assert "data: [DONE]" not in reply.frames
    else:
        assert reply.status >= 400
    for place, text in {
        "answer": reply.body.decode() + str(reply.headers),
        "ledger": json.dumps(row),
        "health": health.body.decode(),
        "metrics": metrics.body.decode(),
        "log": caplog.text,
    }.items():
        assert KEY not in text, place
    assert "[secret]" in json.dumps(row)
    assert "[secret]" in health.body.decode()


COMPLAINT = {"message": "too large", "type": "invalid_request_error", "code": None}


@pytest.mark.parametrize(
    ("client", "dialect", "named", "param"),
    [
        ("messages", "openai_chat", "max_completion_tokens", "max_tokens"),
        ("responses", "openai_chat", "messages", "input"),
        ("responses", "openai_chat", "seed", None),
        ("chat", "openai_chat", "max_completion_tokens", "max_tokens"),
    ],
)
async def test_a_complaint_in_the_middle_of_a_stream_names_what_the_client_wrote(
    serve: Serve, upstream: Upstream, client: str, dialect: str, named: str, param: str | None
) -> None:
    """As one before the first byte does."""
    broken = f"data: {json.dumps({'error': {**COMPLAINT, 'param': named}})}\n\n"
    upstream.script("m", Answer.sse(OPENING + chunk({"content": "Hel"}) + broken, split="events", delay_between_s=0.02))
    server = await serve(QUICK, provider("one", upstream, dialect))
    asked: dict[str, tuple[str, dict[str, Any]]] = {
        "chat": ("/v1/chat/completions", {"messages": [{"role": "user", "content": "hi"}], "max_tokens": 9}),
        "messages": ("/v1/messages", {"messages": [{"role": "user", "content": "hi"}], "max_tokens": 9}),
        "responses": ("/v1/responses", {"input": "hi"}),
    }
    path, body = asked[client]

    reply = await server.request("POST", path, json.dumps({"model": "one/m", "stream": True, **body}).encode())

    lines = [line[6:] for line in reply.body.decode().splitlines() if line.startswith("data: {")]
    errors = [told["error"] for line in lines if (told := json.loads(line)).get("error")]
    assert errors, reply.body
    if client == "messages":
        assert named in errors[0]["message"]  # the dialect has no `param`
    else:
        assert [errors[0]["param"]] == [param]


async def test_configured_header_values_are_secrets_too(serve: Serve, upstream: Upstream) -> None:
    upstream.script("m", failing(400, "you sent hush-hush-value"))
    server = await serve(QUICK, provider("one", upstream, more='headers = { "x-team" = "hush-hush-value" }'))

    reply = await server.ask(model="one/m")

    assert upstream.asked("m")[0].headers["x-team"] == "hush-hush-value"
    assert "hush-hush" not in reply.body.decode()


async def test_a_vendors_message_is_bounded(serve: Serve, upstream: Upstream) -> None:
    upstream.script("m", failing(400, "x" * 100_000))
    server = await serve(QUICK, provider("one", upstream))

    reply = await server.ask(model="one/m")

    assert len(reply.body) < 5000
    assert len(json.dumps(await server.row(reply.id))) < 8000
