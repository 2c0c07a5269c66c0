"""Wire cases of failures and of headers, for every client.

The number in a test's name or id is the case.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

import pytest

from tests.contract.backends import UPSTREAM_KEY
from tests.contract.wire.sdks import CLIENTS, MOVES_ON, TEXT, Sdks
from tests.contract.wire.vendors import MESSAGE, NEXT, chat, chunk, frames, google
from tests.replay import Answer

FORMS: Final = pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
EVERY_CLIENT: Final = pytest.mark.parametrize("client", CLIENTS)


# --- errors ------------------------------------------------------------------------------------------------


def openai_error(status: int, message: str, headers: Mapping[str, str] | None = None, **more: Any) -> Answer:
    return Answer.json(
        {"error": {"message": message, "type": "x", "param": None, "code": None, **more}}, status, headers
    )


def claudes_error(status: int, kind: str, headers: Mapping[str, str] | None = None) -> Answer:
    return Answer.json({"type": "error", "error": {"type": kind, "message": "No luck."}}, status, headers)


RETRY_INFO: Final = {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "34.07s"}
BAD_KEY: Final = {"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "API_KEY_INVALID"}
BEGUN: Final = {
    "type": "message_start",
    "message": {
        **MESSAGE,
        "usage": {"input_tokens": 1, "output_tokens": 1},
    },
}


@dataclass(frozen=True, slots=True)
class Wrong:
    """A vendor's failure, and what clients of OpenAI's, Anthropic's and Google's are told: (status, words)."""

    vendor: str
    answer: Answer
    status: int
    words: tuple[str | None, str, str]
    retry_after: str | None = None


FAILURES: Final = {
    "61-overloaded": Wrong(
        "anthropic",
        claudes_error(529, "overloaded_error", {"retry-after": "3"}),
        503,
        ("upstream_overloaded", "overloaded_error", "UNAVAILABLE"),
        "3",
    ),
    "60-overloaded-in-a-stream": Wrong(
        "anthropic",
        frames(BEGUN, {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}),
        503,
        ("upstream_overloaded", "overloaded_error", "UNAVAILABLE"),
    ),
    "94-malformed-call": Wrong(
        "gemini",
        frames({"candidates": [{"index": 0, "finishReason": "MALFORMED_FUNCTION_CALL"}], "responseId": "r1"}),
        502,
        ("upstream_invalid", "api_error", "INTERNAL"),
    ),
    "101-quota": Wrong(
        "gemini",
        Answer.json(
            [{"error": {"code": 429, "status": "RESOURCE_EXHAUSTED", "message": "Slow.", "details": [RETRY_INFO]}}], 429
        ),
        429,
        ("rate_limit_exceeded", "rate_limit_error", "RESOURCE_EXHAUSTED"),
        "35",
    ),
    "101-bad-key": Wrong(
        "gemini",
        Answer.json(
            {"error": {"code": 400, "status": "INVALID_ARGUMENT", "message": "No.", "details": [BAD_KEY]}}, 400
        ),
        502,
        ("upstream_auth", "api_error", "INTERNAL"),
    ),
    "115-failed": Wrong(
        "openai_responses",
        frames(
            {"type": "response.created", "response": {"id": "resp_1", "status": "in_progress", "output": []}},
            {
                "type": "response.failed",
                "response": {
                    "id": "resp_1",
                    "object": "response",
                    "status": "failed",
                    "output": [],
                    "error": {"code": "rate_limit_exceeded", "message": "Slow."},
                },
            },
        ),
        429,
        ("rate_limit_exceeded", "rate_limit_error", "RESOURCE_EXHAUSTED"),
    ),
    "115-error-event": Wrong(
        "openai_responses",
        frames({"type": "error", "code": "rate_limit_exceeded", "message": "Slow.", "param": None}),
        429,
        ("rate_limit_exceeded", "rate_limit_error", "RESOURCE_EXHAUSTED"),
    ),
    "126-error-in-a-200": Wrong(
        "openai_chat",
        Answer.json({"error": {"code": 429, "message": "Slow."}}),
        429,
        ("rate_limit_exceeded", "rate_limit_error", "RESOURCE_EXHAUSTED"),
    ),
    "130-milliseconds": Wrong(
        "openai_chat",
        openai_error(429, "Slow.", {"retry-after-ms": "45500"}),
        429,
        ("rate_limit_exceeded", "rate_limit_error", "RESOURCE_EXHAUSTED"),
        "46",
    ),
    "132-wrong-request": Wrong(
        "openai_chat", openai_error(400, "No."), 400, (None, "invalid_request_error", "INVALID_ARGUMENT")
    ),
    "132-broken-vendor": Wrong(
        "openai_responses", openai_error(500, "Ouch."), 502, ("upstream_error", "api_error", "INTERNAL")
    ),
}


@FORMS
@EVERY_CLIENT
@pytest.mark.parametrize("name", FAILURES)
def test_every_client_is_told_what_failed(sdks: Sdks, name: str, client: str, stream: bool) -> None:
    """131, 133: in its dialect's envelope, with the true status, before anything was streamed; and not to try again."""
    wrong = FAILURES[name]
    model = sdks.alone(wrong.vendor, wrong.answer)

    reply = sdks.post(client, model, stream)

    error = reply.json["error"]
    match client:
        case "anthropic":
            assert (set(reply.json), reply.json["type"]) == ({"type", "error", "request_id"}, "error")
            assert error["type"] == wrong.words[1]
        case "gemini":
            assert (error["code"], error["status"]) == (reply.status, wrong.words[2])
        case _:
            assert set(error) == {"message", "type", "param", "code"}
            assert error["code"] == wrong.words[0]
    assert (reply.status, reply.headers.get("retry-after")) == (wrong.status, wrong.retry_after)
    assert reply.headers["x-should-retry"] == "false"
    assert reply.headers["content-type"].startswith("application/json")


@FORMS
@pytest.mark.parametrize("client", ["openai_chat", "openai_responses", "anthropic"])
def test_134_a_failure_before_content_moves_on_unseen(sdks: Sdks, client: str, stream: bool) -> None:
    """Roles, pings and empty blocks were held back: what the client reads is the second target's alone."""
    opened = {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}
    overloaded = {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}
    busy = sdks.alone("anthropic", frames(BEGUN, {"type": "ping"}, opened, overloaded))
    free = sdks.model("gemini", google({"text": TEXT})(stream))

    told = sdks.ask(client, busy, stream, extra_body={"models": [busy, free]})

    assert (told.text, told.finish, told.usage[0]) == (TEXT, "stop", 20)
    assert "msg_1" not in json.dumps(told.whole), "the id is not the first target's"


def test_134_for_a_client_whose_body_names_no_chain(sdks: Sdks) -> None:
    """Gemini's: its route has the targets."""
    busy, free = MOVES_ON
    overloaded = {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}
    sdks.upstream.script(busy.split("/", 1)[1], frames(BEGUN, {"type": "ping"}, overloaded))
    sdks.upstream.script(free.split("/", 1)[1], chat({"content": TEXT}).streamed)

    told = sdks.ask("gemini", "moves-on", True)

    assert (told.text, told.finish) == (TEXT, "stop")
    assert len(sdks.asked(busy)) == 1


@EVERY_CLIENT
def test_135_a_stall_after_the_first_words_is_an_error(sdks: Sdks, client: str) -> None:
    """Within idle_s, in the client's form, and without the terminator of its dialect."""
    begun = frames(*(chunk({"role": "assistant", "content": word}) for word in ("Paris ", "is ")))
    model = sdks.model("openai_chat", replace(begun, split="events", end="hang")).replace("openai_chat/", "stalls/")
    began = time.monotonic()

    reply = sdks.post(client, model, True)

    told = reply.body.decode()
    assert time.monotonic() - began < 5
    assert (reply.status, "Paris " in told) == (200, True)
    assert '"error"' in told
    assert not any(end in told for end in ("[DONE]", "message_stop", "response.completed", '"finishReason"'))


# --- headers -----------------------------------------------------------------------------------------------


@FORMS
@pytest.mark.parametrize("vendor", NEXT)
def test_43_one_key_goes_up_and_it_is_the_providers(sdks: Sdks, vendor: str, stream: bool) -> None:
    """Whichever way the client sends its own: x-api-key, Bearer, or both at once."""
    model = sdks.model(vendor, NEXT[vendor](stream), NEXT[vendor](stream), NEXT[vendor](stream))
    bearer, plain = {"authorization": "Bearer mine"}, {"x-api-key": "mine"}

    replies = [sdks.post("anthropic", model, stream, headers) for headers in (bearer, plain, bearer | plain)]

    assert [reply.status for reply in replies] == [200] * 3
    for asked in sdks.upstream.asked(model.split("/", 1)[1]):
        keys = [asked.headers.get(name) for name in ("authorization", "x-api-key", "x-goog-api-key")]
        assert [key.removeprefix("Bearer ") for key in keys if key] == [UPSTREAM_KEY]


@FORMS
def test_44_versions_and_betas_reach_anthropic_as_they_came(sdks: Sdks, stream: bool) -> None:
    """And nobody else."""
    sent = {"anthropic-version": "2026-10-21", "anthropic-beta": "interleaved-thinking-2025-05-14,brand-new-2027-01-01"}
    own, foreign = (sdks.model(vendor, NEXT[vendor](stream)) for vendor in ("anthropic", "gemini"))

    for model in (own, foreign):
        sdks.post("anthropic", model, stream, sent)

    (asked,), (other,) = (sdks.upstream.asked(model.split("/", 1)[1]) for model in (own, foreign))
    assert {name: asked.headers[name] for name in sent} == sent
    assert not sent.keys() & other.headers.keys()
