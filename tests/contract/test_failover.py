"""A target that fails before its first content is replaced unseen, and the ledger tells the whole story."""

from __future__ import annotations

import time
from typing import Any

import openai
import pytest
from openai import OpenAI

from tests.contract.backends import UPSTREAM_KEY, Backends, row
from tests.replay import Answer, Upstream, cassette
from tests.running import Modelport

TEXT = "Paris is the capital of France."
QUESTION: Any = [{"role": "user", "content": "What is the capital of France?"}]

FAILURES = {
    "500": cassette("openai_chat/error_500"),
    "503": cassette("openai_chat/error_503"),
    "429": cassette("openai_chat/error_429"),
    "401": cassette("openai_chat/error_401"),
    "reset": Answer.sse("", stop_at=0, end="reset"),
    "html": Answer.json(b"<html>", 502, {"content-type": "text/html"}),
    "not json": Answer.json(b"<html>"),
    "role only, then cut": cassette("openai_chat/text_stream", stop_at=300, end="close"),
    "hangs up": Answer(raw_head=b"", end="close"),
    "error in the first event": Answer.sse('data: {"error":{"message":"overloaded","code":503}}\n\n'),
    "empty stream": Answer.sse(""),
}


def chain(*models: str) -> dict[str, Any]:
    """The ad-hoc failover chain."""
    return {"models": list(models)}


@pytest.mark.parametrize("failure", FAILURES)
@pytest.mark.parametrize("dialect", ["openai_chat", "anthropic", "gemini"])
def test_the_second_target_answers(client: OpenAI, backends: Backends, failure: str, dialect: str) -> None:
    """Streamed, under two seconds, with the headers of the target that answered."""
    first = backends.says("openai_chat", FAILURES[failure], own_row=True)
    second = backends.says(dialect, cassette(f"{dialect}/text_stream"))
    began = time.monotonic()

    with client.chat.completions.with_streaming_response.create(
        model=first, messages=QUESTION, stream=True, extra_body=chain(first, second)
    ) as raw:
        text = "".join(chunk.choices[0].delta.content or "" for chunk in raw.parse() if chunk.choices)

    assert text == TEXT
    assert raw.headers["x-modelport-target"] == second
    assert int(raw.headers["x-modelport-attempts"]) == len(backends.asked(first)) + 1
    assert time.monotonic() - began < 2


def test_a_route_fails_over_from_a_refused_connection(client: OpenAI, upstream: Upstream) -> None:
    """The shared server's route `careful` begins with a port where nobody listens."""
    upstream.script("corner-model", cassette("openai_chat/text"))

    raw = client.chat.completions.with_raw_response.create(model="careful", messages=QUESTION)

    answer = raw.parse()
    assert answer.choices[0].message.content == TEXT
    assert raw.headers["x-modelport-route"] == "careful"
    assert raw.headers["x-modelport-target"] == "keyless/corner-model"


@pytest.mark.parametrize("name", ["openai_chat/error_400", "openai_chat/error_422"])
def test_a_wrong_request_is_not_sent_to_the_next(client: OpenAI, backends: Backends, name: str) -> None:
    """What one vendor finds wrong is the client's to mend."""
    first = backends.says("openai_chat", cassette(name))
    second = backends.says("openai_chat", cassette("openai_chat/text"))

    with pytest.raises(openai.APIStatusError):
        client.chat.completions.create(model=first, messages=QUESTION, extra_body=chain(first, second))

    assert (len(backends.asked(first)), len(backends.asked(second))) == (1, 0)


def test_a_failed_chain_lists_every_attempt(client: OpenAI, backends: Backends) -> None:
    first = backends.says("openai_chat", cassette("openai_chat/error_500"), own_row=True)
    second = backends.says("anthropic", cassette("anthropic/error_529"), own_row=True)

    with pytest.raises(openai.APIStatusError) as raised:
        client.chat.completions.create(model=first, messages=QUESTION, extra_body=chain(first, second))

    assert raised.value.status_code >= 500
    for said in (first, "500", second, "529"):
        assert said in raised.value.message


def test_nothing_moves_on_after_the_first_content(client: OpenAI, backends: Backends) -> None:
    whole = cassette("openai_chat/text_stream")
    first = backends.says("openai_chat", cassette("openai_chat/text_stream", stop_at=len(whole.body) // 2, end="close"))
    second = backends.says("openai_chat", cassette("openai_chat/text_stream"))

    with pytest.raises(openai.APIError):
        list(
            client.chat.completions.create(model=first, messages=QUESTION, stream=True, extra_body=chain(first, second))
        )

    assert backends.asked(second) == []


def test_the_ledger_has_the_whole_story(client: OpenAI, modelport: Modelport, backends: Backends) -> None:
    """One exchange, one attempt for each request that left, settled when the client has its answer."""
    first = backends.says("openai_chat", cassette("openai_chat/error_503"), own_row=True)
    second = backends.says("openai_chat", cassette("openai_chat/text"))
    raw = client.chat.completions.with_raw_response.create(
        model=first, messages=QUESTION, extra_body=chain(first, second)
    )
    raw.parse()

    found = modelport.get(f"/api/v1/exchanges/{raw.headers['x-request-id']}").json

    assert (found["id"], found["status"], found["target"]) == (raw.headers["x-request-id"], "ok", second)
    assert (found["input_tokens"], found["cached_input_tokens"], found["output_tokens"]) == (20, 5, 9)
    attempts = found["attempts"] if isinstance(found["attempts"], list) else found["attempts_made"]
    assert len(attempts) == len(backends.asked(first)) + 1


def test_two_keys_rotate(upstream: Upstream, tmp_path: Any) -> None:
    """A key that is refused or limited gives way to the other one, within the same request."""
    upstream.script(
        "rotating",
        lambda asked: (
            cassette("openai_chat/error_429")
            if "key-one" in asked.headers["authorization"]
            else cassette("openai_chat/text")
        ),
    )
    config = row("two", "openai_chat", upstream).replace('["env:UPSTREAM_KEY"]', '["env:ONE", "env:TWO"]')
    with Modelport(tmp_path, config, {"ONE": "sk-key-one", "TWO": "sk-key-two"}) as modelport:
        replies = [
            modelport.post("/v1/chat/completions", {"model": "two/rotating", "messages": QUESTION}) for _ in range(3)
        ]

    assert [reply.status for reply in replies] == [200, 200, 200]
    used = [asked.headers["authorization"] for asked in upstream.asked("rotating")]
    assert used.count("Bearer sk-key-one") <= 1, "a limited key rests"


def test_a_hanging_first_target_costs_its_first_event_time(upstream: Upstream, tmp_path: Any) -> None:
    upstream.script("hangs", Answer(hang=True))
    upstream.script("talks", cassette("openai_chat/text"))
    slow = row("slow", "openai_chat", upstream).replace("first_event_s = 20", "first_event_s = 0.3")
    body = {"model": "slow/hangs", "models": ["slow/hangs", "slow/talks"], "messages": QUESTION}
    with Modelport(tmp_path, slow, {"UPSTREAM_KEY": UPSTREAM_KEY}) as modelport:
        began = time.monotonic()
        reply = modelport.post("/v1/chat/completions", body)
        took_s = time.monotonic() - began

    assert (reply.status, reply.headers["x-modelport-target"]) == (200, "slow/talks")
    assert took_s < 2
    assert upstream.asked("hangs")[0].wait_left(1)


def test_a_stalled_stream_ends_with_an_error(upstream: Upstream, tmp_path: Any) -> None:
    """After content there is no other target; the idle clock ends the wait."""
    whole = cassette("openai_chat/text_stream")
    upstream.script("stalls", cassette("openai_chat/text_stream", stop_at=len(whole.body) // 2, end="hang"))
    quick = row("quick", "openai_chat", upstream).replace("idle_s = 20", "idle_s = 0.3")
    body = {"model": "quick/stalls", "messages": QUESTION, "stream": True}
    with Modelport(tmp_path, quick, {"UPSTREAM_KEY": UPSTREAM_KEY}) as modelport:
        reply = modelport.post("/v1/chat/completions", body)

    assert reply.status == 200
    assert b'"error"' in reply.body
    assert b"[DONE]" not in reply.body
