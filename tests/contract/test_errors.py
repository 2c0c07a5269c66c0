"""Errors as the official SDK raises them: whose fault it was, in OpenAI's envelope, and nothing retried in vain."""

from __future__ import annotations

import contextlib
import http.client
import json
import re
from typing import Any

import openai
import pytest
from openai import OpenAI

from tests.contract.backends import UPSTREAM_KEY, Backends, bare
from tests.replay import Answer, cassette
from tests.running import Modelport

QUESTION: Any = [{"role": "user", "content": "What is the capital of France?"}]

UPSTREAM_ERRORS = [
    ("openai_chat/error_400", openai.BadRequestError, 400),
    ("openai_chat/error_401", openai.InternalServerError, 502),
    ("openai_chat/error_403", openai.InternalServerError, 502),
    ("openai_chat/error_404", openai.NotFoundError, 404),
    ("openai_chat/error_413", openai.APIStatusError, 413),
    ("openai_chat/error_422", openai.UnprocessableEntityError, 422),
    ("openai_chat/error_429", openai.RateLimitError, 429),
    ("openai_chat/error_500", openai.InternalServerError, None),
    ("openai_chat/error_503", openai.InternalServerError, None),
    ("anthropic/error_400", openai.BadRequestError, 400),
    ("anthropic/error_401", openai.InternalServerError, 502),
    ("anthropic/error_403", openai.InternalServerError, 502),
    ("anthropic/error_404", openai.NotFoundError, 404),
    ("anthropic/error_413", openai.APIStatusError, 413),
    ("anthropic/error_429", openai.RateLimitError, 429),
    ("anthropic/error_500", openai.InternalServerError, None),
    ("anthropic/error_529", openai.InternalServerError, None),
    ("gemini/error_400", openai.BadRequestError, 400),
    ("gemini/error_bad_key", openai.InternalServerError, 502),
    ("gemini/error_403", openai.InternalServerError, 502),
    ("gemini/error_404", openai.NotFoundError, 404),
    ("gemini/error_429", openai.RateLimitError, 429),
    ("gemini/error_500", openai.InternalServerError, None),
    ("gemini/error_503", openai.InternalServerError, None),
]


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(("name", "kind", "status"), UPSTREAM_ERRORS)
def test_a_vendors_error(
    client: OpenAI, backends: Backends, name: str, kind: type[openai.APIStatusError], status: int | None, stream: bool
) -> None:
    """The class and status that fit; a refused key is the proxy's trouble; the SDK does not ask again."""
    model = backends.says(name.split("/", maxsplit=1)[0], cassette(name), own_row=True)

    with pytest.raises(openai.APIStatusError) as raised:
        client.with_options(max_retries=2).chat.completions.create(model=model, messages=QUESTION, stream=stream)

    error, headers = raised.value, raised.value.response.headers
    assert type(error) is kind
    assert status is None or error.status_code == status
    assert isinstance(error.body, dict)
    assert {"message", "type", "param", "code"} <= set(error.body)
    assert headers["x-should-retry"] == "false"
    assert headers["x-request-id"]
    assert int(headers["x-modelport-attempts"]) == len(backends.asked(model))
    assert UPSTREAM_KEY not in error.response.text
    if "429" in name:
        assert 0 < float(headers["retry-after"]) <= 1


def test_a_refused_key_is_named_for_what_it_is(client: OpenAI, backends: Backends) -> None:
    model = backends.says("openai_chat", cassette("openai_chat/error_401"), own_row=True)

    with pytest.raises(openai.APIStatusError) as raised:
        client.chat.completions.create(model=model, messages=QUESTION)

    assert raised.value.code == "upstream_auth"
    assert not isinstance(raised.value, openai.AuthenticationError)


@pytest.mark.parametrize(
    "answer",
    [
        Answer.json(b"<html>502 Bad Gateway</html>", 502, {"content-type": "text/html"}),
        Answer.json(b"not json at all"),
        Answer.json({"neither": "answer", "nor": "error"}),
        Answer.json(b""),
        Answer.json({"choices": "many"}),
        Answer(raw_head=b"this is not HTTP\r\n\r\n", end="close"),
        Answer.json({"choices": []}, stop_at=4, end="close"),
        Answer.json({"choices": []}, stop_at=4, end="reset"),
        Answer.json({}, 302, {"location": "http://127.0.0.1:1/"}),
    ],
    ids=["html", "text", "other-json", "empty", "wrong-types", "no-http", "cut", "reset", "redirect"],
)
@pytest.mark.parametrize("dialect", ["openai_chat", "anthropic", "gemini"])
def test_nonsense_from_a_vendor_is_a_bad_gateway(
    client: OpenAI, backends: Backends, dialect: str, answer: Answer
) -> None:
    """Never a 200, never a 500 without a word, never the client's fault."""
    model = backends.says(dialect, answer)

    with pytest.raises(openai.InternalServerError) as raised:
        client.chat.completions.create(model=model, messages=QUESTION)

    assert raised.value.status_code in {502, 503, 504}
    assert isinstance(raised.value.body, dict)
    assert model in raised.value.message


def test_an_error_within_a_200_gets_its_own_status(client: OpenAI, backends: Backends) -> None:
    inside = {"error": {"message": "Slow down.", "type": "rate_limit", "code": 429}}
    model = backends.says("openai_chat", Answer.json(inside), own_row=True)

    with pytest.raises(openai.RateLimitError):
        client.chat.completions.create(model=model, messages=QUESTION)


def test_an_unreachable_provider(client: OpenAI) -> None:
    """The message says which target and why."""
    with pytest.raises(openai.InternalServerError) as raised:
        client.chat.completions.create(model="dead/anything", messages=QUESTION)

    assert raised.value.status_code == 502
    assert "dead/anything" in raised.value.message
    assert raised.value.response.headers["x-should-retry"] == "false"


def test_the_clients_own_limit_is_obeyed(client: OpenAI, backends: Backends) -> None:
    """`timeout_s` ends a silent vendor's request, and the vendor sees us leave."""
    model = backends.says("openai_chat", Answer(hang=True))

    with pytest.raises(openai.InternalServerError) as raised:
        client.chat.completions.create(model=model, messages=QUESTION, extra_body={"modelport": {"timeout_s": 0.5}})

    assert raised.value.status_code == 504
    assert backends.upstream.asked(bare(model))[0].wait_left(1)


def test_an_sdk_timeout_reaches_the_vendor(client: OpenAI, backends: Backends) -> None:
    model = backends.says("openai_chat", Answer(hang=True))

    with pytest.raises(openai.APITimeoutError):
        client.with_options(timeout=0.5).chat.completions.create(model=model, messages=QUESTION)

    assert backends.upstream.asked(bare(model))[0].wait_left(1)


BROKEN = [
    ("openai_chat/text_stream", "close"),
    ("openai_chat/text_stream", "reset"),
    ("openai_chat/text_stream", "complete"),
    ("anthropic/text_stream", "close"),
    ("anthropic/text_stream", "complete"),
    ("anthropic/error_in_stream", "complete"),
    ("gemini/text_stream", "close"),
    ("gemini/text_stream", "complete"),
]


def _breaking(name: str, end: Any) -> Answer:
    """An answer that waits after two thirds, so that content is through before it breaks off."""
    whole = cassette(name)
    places = [found.end() for found in re.finditer(rb"\r?\n\r?\n", whole.body)]
    middle = len(places) * 2 // 3
    stop = None if "error" in name else places[middle]
    return cassette(name, hold_at=places[middle - 1], stop_at=stop, end=end)


@pytest.mark.parametrize(("name", "end"), BROKEN)
def test_a_stream_that_breaks_raises(client: OpenAI, backends: Backends, name: str, end: str) -> None:
    """What came is there, then one error; a broken answer never looks complete."""
    model = backends.says(name.split("/", maxsplit=1)[0], _breaking(name, end))
    stream = client.chat.completions.create(model=model, messages=QUESTION, stream=True)
    chunks: list[Any] = [next(iter(stream)) for _ in range(2)]
    backends.upstream.asked(bare(model))[0].release()

    with pytest.raises(openai.APIError) as raised:
        _read_into(chunks, stream)

    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks).startswith("Paris")
    assert all(chunk.choices[0].finish_reason is None for chunk in chunks)
    assert raised.value.message


def _read_into(chunks: list[Any], stream: Any) -> None:
    """Read *stream*, keeping what came before an error."""
    for chunk in stream:
        chunks.append(chunk)


def test_a_broken_stream_has_one_error_event_and_no_terminator(modelport: Modelport, backends: Backends) -> None:
    model = backends.says("anthropic", _breaking("anthropic/error_in_stream", "complete"))
    connection = http.client.HTTPConnection("127.0.0.1", modelport.port, timeout=10)
    body = json.dumps({"model": model, "messages": QUESTION, "stream": True})
    with contextlib.closing(connection):
        connection.request("POST", "/v1/chat/completions", body, {"content-type": "application/json"})
        answer = connection.getresponse()
        begin = answer.readline()
        backends.upstream.asked(bare(model))[0].release()
        rest = answer.read()

    frames = [line for line in (begin + rest).decode().splitlines() if line.startswith("data:")]
    assert [frame for frame in frames if '"error"' in frame] == frames[-1:]
    assert len(frames) > 2
    assert b"[DONE]" not in rest


def test_an_error_that_comes_at_once_is_a_status(client: OpenAI, backends: Backends) -> None:
    """Until content has gone out an error inside a 200 stream is an ordinary error."""
    failed = 'data: {"error":{"message":"The server is overloaded.","code":503}}\n\n'
    model = backends.says("openai_chat", Answer.sse(failed), own_row=True)

    with pytest.raises(openai.InternalServerError) as raised:
        client.chat.completions.create(model=model, messages=QUESTION, stream=True)

    assert raised.value.status_code in {502, 503}
