"""`/v1/completions` over sockets: relayed where the server has it, a chat elsewhere; the official SDK as the client."""

from __future__ import annotations

import json
from typing import Any

import openai
import pytest
from openai import AsyncOpenAI

from tests.proxy.conftest import Serve
from tests.proxy.serving import (
    KEY,
    OPENING,
    QUICK,
    Reply,
    Served,
    by_form,
    chunk,
    completion,
    failing,
    message,
    provider,
    route,
    says,
    streams,
)
from tests.replay import Answer, Asked, Upstream

JSON = {"content-type": "application/json"}
NATIVE = "completions = true"
TEXT = "Hello there"


def sdk(server: Served) -> AsyncOpenAI:
    return AsyncOpenAI(base_url=f"{server.url}/v1", api_key="mine", max_retries=0)


async def ask(server: Served, headers: dict[str, str] | None = None, **body: Any) -> Reply:
    whole = {"model": "one/m", "prompt": "Once", **body}
    return await server.request("POST", "/v1/completions", json.dumps(whole).encode(), {**JSON, **(headers or {})})


def text_of(reply: Reply) -> dict[int, str]:
    """The text of each choice, whole or streamed."""
    found: dict[int, str] = {}
    for part in [reply.json] if reply.headers["content-type"].startswith("application/json") else reply.chunks:
        for choice in part["choices"]:
            found[choice["index"]] = found.get(choice["index"], "") + choice["text"]
    return found


# --- upstreams -----------------------------------------------------------------------------------


def native(asked: Asked) -> Answer:
    """A completions server: it goes on with each prompt, n times over."""
    body = asked.json
    prompts = body["prompt"] if isinstance(body["prompt"], list) else [body["prompt"]]
    texts = [f"{prompt if body.get('echo') else ''} upon" for prompt in prompts for _ in range(body.get("n") or 1)]
    head = {"id": "cmpl-1", "object": "text_completion", "created": 1, "model": "m"}
    usage = {"prompt_tokens": len(prompts), "completion_tokens": len(texts), "total_tokens": len(prompts) + len(texts)}
    if not body.get("stream"):
        choices = [
            {"index": at, "text": text, "logprobs": None, "finish_reason": "stop"} for at, text in enumerate(texts)
        ]
        return Answer.json({**head, "choices": choices, "usage": usage, "new": 1})
    frames = [
        {**head, "choices": [{"index": at, "text": text, "logprobs": None, "finish_reason": "stop"}]}
        for at, text in enumerate(texts)
    ]
    if (body.get("stream_options") or {}).get("include_usage"):
        frames.append({**head, "choices": [], "usage": usage})
    return Answer.sse("".join(f"data: {json.dumps(each)}\n\n" for each in frames) + "data: [DONE]\n\n")


def _events(*events: dict[str, Any]) -> Answer:
    return Answer.sse("".join(f"event: {event['type']}\ndata: {json.dumps(event)}\n\n" for event in events))


ANTHROPIC_STREAM = _events(
    {"type": "message_start", "message": message("", content=[], stop_reason=None)},
    {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
    {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "Hello"}},
    {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": " there"}},
    {"type": "content_block_stop", "index": 0},
    {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 5}},
    {"type": "message_stop"},
)


def _google(text: str, reason: str | None = "STOP") -> dict[str, Any]:
    candidate = {"content": {"role": "model", "parts": [{"text": text}]}, "index": 0}
    return {
        "candidates": [{**candidate, **({"finishReason": reason} if reason else {})}],
        "usageMetadata": {"promptTokenCount": 10, "candidatesTokenCount": 5, "totalTokenCount": 15},
        "modelVersion": "m",
        "responseId": "r1",
    }


def gemini(asked: Asked) -> Answer:
    if "stream" not in asked.path:
        return Answer.json(_google(TEXT))
    pieces = [_google("Hello", None), _google(" there")]
    return Answer.sse("".join(f"data: {json.dumps(piece)}\n\n" for piece in pieces))


FOREIGN = {
    "openai_chat": by_form(says(), streams()),
    "anthropic": by_form(Answer.json(message()), ANTHROPIC_STREAM),
    "gemini": gemini,
}


def prompt_sent(asked: Asked) -> str:
    """What the one user message of a chat said."""
    body = asked.json
    if "contents" in body:
        return str(body["contents"][0]["parts"][0]["text"])
    content = body["messages"][0]["content"]
    return str(content if isinstance(content, str) else content[0]["text"])


# --- relayed -------------------------------------------------------------------------------------


async def test_a_completions_server_gets_the_clients_bytes(serve: Serve) -> None:
    """Key order and unknown fields survive in both directions; several prompts are one call."""
    with Upstream(native) as upstream:
        server = await serve(provider("one", upstream, more=NATIVE))
        sent = b'{"prompt":["a","b"],"min_p":0.10,"model":"one/m","suffix":"end","best_of":2}'

        reply = await server.request("POST", "/v1/completions", sent, {**JSON, "authorization": "Bearer mine"})

        assert (upstream.requests[0].method, upstream.requests[0].path) == ("POST", "/v1/completions")
        assert upstream.requests[0].body == sent.replace(b"one/m", b"m")
        assert upstream.requests[0].headers["authorization"] == f"Bearer {KEY}"
        assert reply.json["new"] == 1
        assert text_of(reply) == {0: " upon", 1: " upon"}
        assert "x-modelport-losses" not in reply.headers
        row = await server.row(reply.id)
        assert (row["dialect"], row["input_tokens"], row["output_tokens"]) == ("openai_completions", 2, 2)
        assert row["cost_usd"] == "0.000006000"


async def test_only_the_models_of_the_list_have_it(serve: Serve) -> None:
    with Upstream() as upstream:
        upstream.script("base-1", native)
        upstream.script("chatty", says())
        server = await serve(provider("one", upstream, more='completions = ["base-*"]'))

        await ask(server, model="one/base-1")
        await ask(server, model="one/chatty")

        assert [asked.path for asked in upstream.requests] == ["/v1/completions", "/v1/chat/completions"]


@pytest.mark.parametrize("prompts", ["Once", ["Once", "Twice"]])
@pytest.mark.parametrize("usage", [False, True])
async def test_a_completions_servers_stream_passes(serve: Serve, prompts: Any, usage: bool) -> None:
    """The usage chunk is asked for in any case, and shown to those who asked for it."""
    with Upstream(native) as upstream:
        server = await serve(provider("one", upstream, more=NATIVE))
        options: Any = {"stream_options": {"include_usage": True}} if usage else {}

        reply = await ask(server, prompt=prompts, stream=True, **options)

        assert text_of(reply) == dict.fromkeys(range(len(prompts) if isinstance(prompts, list) else 1), " upon")
        assert any(each.get("usage") for each in reply.chunks) == usage
        assert reply.done
        assert reply.receipt["losses"] == []
        assert (await server.row(reply.id))["input_tokens"] > 0


# --- a chat instead ------------------------------------------------------------------------------


@pytest.mark.parametrize("dialect", FOREIGN)
@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("echo", [False, True])
async def test_any_backend_goes_on_with_a_prompt(serve: Serve, dialect: str, stream: bool, echo: bool) -> None:
    """The prompt is one user message; `echo` is written by the proxy; max_tokens is the API's own 16."""
    with Upstream(FOREIGN[dialect]) as upstream:
        server = await serve(provider("one", upstream, dialect))

        async with sdk(server) as client:
            if stream:
                pieces = await client.completions.create(model="one/m", prompt="Once", echo=echo, stream=True)
                chunks = [piece async for piece in pieces]
                text = "".join(choice.text for each in chunks for choice in each.choices)
                reasons = [choice.finish_reason for each in chunks for choice in each.choices]
                assert {each.object for each in chunks} == {"text_completion"}
            else:
                answer = await client.completions.create(model="one/m", prompt="Once", echo=echo)
                text, reasons = answer.choices[0].text, [answer.choices[0].finish_reason]
                assert answer.object == "text_completion"
                assert answer.usage is not None
                assert (answer.usage.prompt_tokens, answer.usage.completion_tokens) == (10, 5)

        assert text == ("Once" if echo else "") + TEXT
        assert reasons[-1] == "stop"
        assert prompt_sent(upstream.requests[0]) == "Once"
        assert "16" in upstream.requests[0].body.decode()
        (row,) = await server.rows()
        assert (row["status"], row["dialect"], row["cost_usd"]) == ("ok", "openai_completions", "0.000020000")
        assert row["losses"] == []


@pytest.mark.parametrize("dialect", FOREIGN)
async def test_several_prompts_are_asked_one_by_one(serve: Serve, dialect: str) -> None:
    """In order, usage summed, each call booked."""
    with Upstream(FOREIGN[dialect]) as upstream:
        server = await serve(provider("one", upstream, dialect))

        async with sdk(server) as client:
            answer = await client.completions.create(model="one/m", prompt=["Once", "Twice", "Thrice"], echo=True)

        assert [(choice.index, choice.text) for choice in answer.choices] == [
            (0, "OnceHello there"), (1, "TwiceHello there"), (2, "ThriceHello there"),
        ]  # fmt: skip
        assert answer.usage is not None
        assert (answer.usage.prompt_tokens, answer.usage.completion_tokens) == (30, 15)
        assert sorted(map(prompt_sent, upstream.requests)) == ["Once", "Thrice", "Twice"]
        (row,) = await server.rows()
        assert row["attempts"] == 3
        assert (row["input_tokens"], row["output_tokens"], row["cost_usd"]) == (30, 15, "0.000060000")


async def test_several_prompts_times_n(serve: Serve) -> None:
    """All choices of the first prompt, then all of the second; Anthropic is asked once for each."""
    with Upstream(FOREIGN["anthropic"]) as upstream:
        server = await serve(provider("one", upstream, "anthropic"))

        reply = await ask(server, prompt=["a", "b"], n=2, echo=True)

        assert text_of(reply) == {0: "aHello there", 1: "aHello there", 2: "bHello there", 3: "bHello there"}
        assert len(upstream.requests) == 4
        assert reply.headers["x-modelport-attempts"] == "4"
        assert reply.headers["x-modelport-losses"].startswith("n=")
        assert (await server.row(reply.id))["input_tokens"] == 40


async def test_usage_that_nobody_told_is_estimated_for_each_prompt(serve: Serve) -> None:
    silent = Answer.json({**completion(), "usage": None})
    with Upstream(lambda _asked: silent) as upstream:
        server = await serve(provider("one", upstream))

        reply = await ask(server, prompt=["a", "b"])

        row = await server.row(reply.id)
        assert [made["estimated"] for made in row["attempts"]] == [True, True]
        assert all(made["input_tokens"] and made["output_tokens"] for made in row["attempts"])


async def test_several_prompts_cannot_be_streamed_by_a_chat(serve: Serve) -> None:
    with Upstream(FOREIGN["anthropic"]) as upstream:
        server = await serve(provider("one", upstream, "anthropic"))

        reply = await ask(server, prompt=["a", "b"], stream=True)

        assert (reply.status, reply.error["param"], reply.error["code"]) == (400, "stream", "unsupported_stream")
        assert "one/m" in reply.error["message"]
        assert upstream.requests == []


@pytest.mark.parametrize(
    "fields", [{"prompt": ["a", "b"], "stream": True}, {"prompt": ["a"] * 129}, {"prompt": [[1, 2], [3]]}]
)
async def test_what_a_chat_cannot_take_a_completions_server_behind_it_is_asked_for(
    serve: Serve, fields: dict[str, Any]
) -> None:
    with Upstream(FOREIGN["anthropic"]) as chat, Upstream(native) as upstream:
        server = await serve(
            provider("one", chat, "anthropic"),
            provider("two", upstream, more=NATIVE),
            route("both", "one/m", "two/m"),
            QUICK,
        )

        reply = await ask(server, model="both", **fields)

        assert (reply.status, reply.headers["x-modelport-target"]) == (200, "two/m")
        assert (len(chat.requests), upstream.requests[0].json["prompt"]) == (0, fields["prompt"])


async def test_a_completions_server_first_then_a_chat(serve: Serve) -> None:
    """All prompts go to the first at once; when it fails, one by one to the second."""
    with Upstream() as upstream:
        upstream.script("base", failing(503))
        upstream.script("m", says())
        server = await serve(
            provider("one", upstream, more='completions = ["base"]'), route("both", "one/base", "one/m"), QUICK
        )

        reply = await ask(server, model="both", prompt=["a", "b"])

        assert text_of(reply) == {0: TEXT, 1: TEXT}
        row = await server.row(reply.id)
        assert [(made["model"], made["status"]) for made in row["attempts"]] == [
            ("base", "failed"), ("m", "ok"), ("m", "ok"),
        ]  # fmt: skip


async def test_one_prompt_that_fails_fails_all(serve: Serve) -> None:
    def script(asked: Asked) -> Answer:
        return failing(400, "too long") if prompt_sent(asked) == "b" else says()

    with Upstream(script) as upstream:
        server = await serve(provider("one", upstream), QUICK)

        reply = await ask(server, prompt=["a", "b", "c"])

        assert (reply.status, "too long" in reply.error["message"]) == (400, True)
        row = await server.row(reply.id)
        assert row["status"] == "failed"
        assert all(made["cost_usd"] is not None for made in row["attempts"])


@pytest.mark.parametrize(
    ("fields", "lost"),
    [
        ({"suffix": "end"}, "suffix"),
        ({"best_of": 3}, "best_of"),
        ({"echo": True, "logprobs": 2}, "echo"),
        ({"logprobs": 2}, "logprobs"),
        ({"min_p": 0.1}, "min_p"),
        ({"logit_bias": {"50256": -100}}, "logit_bias"),
    ],
)
async def test_what_a_chat_cannot_do_is_told_and_can_be_refused(
    serve: Serve, fields: dict[str, Any], lost: str
) -> None:
    with Upstream(FOREIGN["anthropic"]) as upstream:
        server = await serve(provider("one", upstream, "anthropic"))

        told = await ask(server, **fields)
        refused = await ask(server, {"x-modelport-losses": "reject"}, **fields)

        assert f"{lost}=" in told.headers["x-modelport-losses"]
        assert (refused.status, refused.error["code"]) == (400, "loss_rejected")


async def test_logprobs_come_in_this_apis_form(serve: Serve) -> None:
    entry = {"token": "Hi", "logprob": -0.5, "bytes": None, "top_logprobs": [{"token": "Ho", "logprob": -1.0}]}
    answer = completion("Hi")
    answer["choices"][0]["logprobs"] = {"content": [entry], "refusal": None}
    with Upstream(lambda _asked: Answer.json(answer)) as upstream:
        server = await serve(provider("one", upstream))

        async with sdk(server) as client:
            found = await client.completions.create(model="one/m", prompt="Say", logprobs=1)

        logprobs = found.choices[0].logprobs
        assert logprobs is not None
        assert (logprobs.tokens, logprobs.token_logprobs, logprobs.text_offset) == (["Hi"], [-0.5], [3])
        assert upstream.requests[0].json["top_logprobs"] == 1


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"prompt": 5}, "prompt"),
        ({"prompt": []}, "prompt"),
        ({"prompt": ""}, "prompt"),
        ({"prompt": ["a", ""]}, "prompt[1]"),
        ({"prompt": ["a"] * 129}, "prompt"),
        ({"n": 0}, "n"),
        ({"model": None}, "model"),
    ],
)
async def test_a_wrong_request_is_a_400_that_names_the_field(serve: Serve, fields: dict[str, Any], param: str) -> None:
    with Upstream(lambda _asked: says()) as upstream:
        server = await serve(provider("one", upstream))

        reply = await ask(server, **fields)

        assert (reply.status, reply.error["param"]) == (400, param)
        assert upstream.requests == []


@pytest.mark.parametrize("stream", [False, True])
async def test_errors_come_in_openais_envelope(serve: Serve, stream: bool) -> None:
    with Upstream(lambda _asked: failing(429, "slow down")) as upstream:
        server = await serve(provider("one", upstream), QUICK)

        async with sdk(server) as client:
            with pytest.raises(openai.RateLimitError) as raised:
                await client.completions.create(model="one/m", prompt="Once", stream=stream)

        assert raised.value.code == "rate_limit_exceeded"


async def test_an_error_in_mid_stream_ends_it_without_its_terminator(serve: Serve) -> None:
    cut = Answer.sse(OPENING + chunk({"content": "Hello"}) + "data: {", split="events", end="close", chunked=False)
    with Upstream(lambda _asked: cut) as upstream:
        server = await serve(provider("one", upstream), QUICK)

        reply = await ask(server, stream=True)

        assert not reply.done
        assert reply.chunks[-1]["error"]["message"].startswith("one:")
        assert (await server.row(reply.id))["status"] == "interrupted"


# --- the cache -----------------------------------------------------------------------------------


@pytest.mark.parametrize("more", ["", NATIVE])
async def test_the_same_completion_is_answered_from_the_cache_in_either_form(serve: Serve, more: str) -> None:
    with Upstream(native if more else by_form(says(), streams())) as upstream:
        server = await serve(provider("one", upstream, more=more))

        first = await ask(server, temperature=0, echo=True)
        whole = await ask(server, temperature=0, echo=True)
        streamed = await ask(server, temperature=0, echo=True, stream=True)

        assert [each.headers["x-modelport-cache"] for each in (first, whole, streamed)] == ["miss", "hit", "hit"]
        assert text_of(first) == text_of(whole) == text_of(streamed)
        assert text_of(first)[0].startswith("Once")
        assert len(upstream.requests) == 1


async def test_an_echo_a_completion_and_a_chat_are_three_answers(serve: Serve) -> None:
    """Equal words, equal settings, one target: none is answered with another's."""
    with Upstream() as upstream:
        upstream.script("m", lambda asked: native(asked) if asked.path.endswith("v1/completions") else says())
        server = await serve(provider("one", upstream, more=NATIVE))
        chat: dict[str, Any] = {
            "messages": [{"role": "user", "content": "Once"}],
            "max_completion_tokens": 16,
            "temperature": 0,
        }

        replies = [
            await ask(server, temperature=0),
            await ask(server, temperature=0, echo=True),
            await server.ask(model="one/m", **chat),
        ]

        assert [each.headers["x-modelport-cache"] for each in replies] == ["miss"] * 3
        assert len(upstream.requests) == 3
