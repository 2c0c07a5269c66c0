"""A vendor's 400 that names a parameter is understood once, and remembered."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from tests.proxy.conftest import Serve
from tests.proxy.serving import QUICK, Reply, Served, failing, message, provider, says, serving, streams
from tests.replay import Answer, Asked, Upstream

UNSUPPORTED = {"param": "temperature", "code": "unsupported_value"}
TEMPERATURE = (
    "Unsupported value: 'temperature' does not support 0.7 with this model. Only the default (1) is supported."
)


def picky(asked: Asked) -> Answer:
    """A server that takes no temperature."""
    if "temperature" in asked.json:
        return failing(400, TEMPERATURE, **UNSUPPORTED)
    return streams() if asked.json.get("stream") else says()


@pytest.mark.parametrize("stream", [False, True])
async def test_a_refused_parameter_is_left_out_and_said(serve: Serve, stream: bool) -> None:
    """The first request takes two attempts, the next one; both tell the loss."""
    with Upstream(picky) as upstream:
        server = await serve(QUICK, provider("one", upstream))

        first = await server.ask(model="one/m", temperature=0.7, stream=stream)
        second = await server.ask(model="one/m", temperature=0.7, stream=stream)

        assert (first.status, first.text) == (200, "Hello there")
        assert (first.headers["x-modelport-attempts"], second.headers["x-modelport-attempts"]) == ("2", "1")
        assert first.headers["x-modelport-losses"].startswith("temperature=dropped")
        assert second.headers["x-modelport-losses"] == first.headers["x-modelport-losses"]
        row = await server.row(first.id)
        assert [attempt["status"] for attempt in row["attempts"]] == ["failed", "ok"]


async def test_what_was_learned_outlives_the_process(tmp_path: Path) -> None:
    with Upstream(picky) as upstream:
        config = QUICK + provider("one", upstream)
        async with serving(tmp_path, config) as server:
            await server.ask(model="one/m", temperature=0.7)
            (lesson,) = await server.services.learned.all()
        async with serving(tmp_path, config) as server:
            reply = await server.ask(model="one/m", temperature=0.7)

        assert lesson.change == {"refuses": ["temperature"]}
        assert lesson.evidence == TEMPERATURE
        assert reply.headers["x-modelport-attempts"] == "1"


async def test_another_model_of_the_provider_is_not_concerned(serve: Serve) -> None:
    with Upstream(lambda asked: picky(asked) if asked.model == "m" else says()) as upstream:
        server = await serve(QUICK, provider("one", upstream))
        await server.ask(model="one/m", temperature=0.7)

        await server.ask(model="one/other", temperature=0.7)

        assert upstream.asked("other")[0].json["temperature"] == 0.7


async def test_a_lesson_that_does_not_help_is_forgotten(serve: Serve) -> None:
    """And the client gets the vendor's words."""

    def stubborn(asked: Asked) -> Answer:
        if "temperature" in asked.json:
            return failing(400, TEMPERATURE, **UNSUPPORTED)
        return failing(400, "the moon is wrong")

    with Upstream(stubborn) as upstream:
        server = await serve(QUICK, provider("one", upstream))

        reply = await server.ask(model="one/m", temperature=0.7)
        await server.ask(model="one/m", temperature=0.7)

        assert reply.status == 400
        assert "the moon is wrong" in reply.error["message"]
        assert ["temperature" in asked.json for asked in upstream.requests] == [True, False, True, False]
        await server.services.drain()
        assert await server.services.learned.all() == []


@pytest.mark.parametrize("more", ["[catalog]\nheal = false\n", "[routes.r]\ntargets = ['one/m']\nlosses = 'reject'\n"])
async def test_nothing_is_left_out_against_the_users_will(serve: Serve, more: str) -> None:
    """Where learning is off the vendor's 400 stands; where losses are refused the 400 is ours, naming the field."""
    with Upstream(picky) as upstream:
        server = await serve(QUICK, provider("one", upstream), more)

        reply = await server.ask(model="r" if "routes" in more else "one/m", temperature=0.7)

        assert (reply.status, reply.error["param"]) == (400, "temperature")
        assert len(upstream.requests) == 1


async def test_reasoning_that_the_vendor_does_not_know_again_is_taken_off(serve: Serve) -> None:
    """A signature of unknown origin must not end a conversation."""

    def strict(asked: Asked) -> Answer:
        if "thinking" in json.dumps(asked.json["messages"]):
            return Answer.json(
                {"type": "error", "error": {"type": "invalid_request_error",
                 "message": "messages.1.content.0: Invalid `signature` in `thinking` block"}}, 400
            )  # fmt: skip
        return Answer.json(message())

    with Upstream(strict) as upstream:
        server = await serve(QUICK, provider("one", upstream, "anthropic"))
        past: list[dict[str, Any]] = [
            {"role": "user", "content": "hi"},
            {"role": "assistant", "content": [
                {"type": "thinking", "thinking": "well", "signature": "c2lnbmVk"}, {"type": "text", "text": "hello"}]},
            {"role": "user", "content": "and?"},
        ]  # fmt: skip
        body = json.dumps({"model": "one/m", "max_tokens": 9, "messages": past}).encode()

        reply = await server.request("POST", "/v1/messages", body)

        assert reply.status == 200
        assert reply.headers["x-modelport-attempts"] == "2"
        assert upstream.requests[1].json["messages"][1]["content"] == [{"type": "text", "text": "hello"}]


async def test_encrypted_reasoning_that_a_model_does_not_give_is_no_matter_of_signatures(serve: Serve) -> None:
    """The bridge asks for it unasked: it is left out, and nothing that the client wrote is lost."""

    def plain(asked: Asked) -> Answer:
        if "include" in asked.json:
            return failing(400, "Encrypted content is not supported with this model.", param="include")
        said = {"type": "output_text", "text": "Hi", "annotations": []}
        item = {"id": "msg_1", "type": "message", "role": "assistant", "status": "completed", "content": [said]}
        answer = {"id": "resp_1", "object": "response", "created_at": 1, "status": "completed", "model": "m"}
        return Answer.json({**answer, "output": [item]})

    with Upstream(plain) as upstream:
        server = await serve(QUICK, provider("one", f"{upstream.url}/v1", "openai_responses"))

        first, second = await server.ask(model="one/m"), await server.ask(model="one/m")

        assert (first.status, first.text) == (200, "Hi")
        assert (first.headers["x-modelport-attempts"], second.headers["x-modelport-attempts"]) == ("2", "1")
        assert "x-modelport-losses" not in first.headers


async def test_a_clients_own_bytes_that_are_refused_are_said_as_the_rules_have_it(serve: Serve) -> None:
    """A route falls over to an older Claude, which takes no adaptive thinking: the vendor's 400 is not the end."""

    def older(asked: Asked) -> Answer:
        if asked.json.get("thinking", {}).get("type") == "adaptive":
            error = {"type": "invalid_request_error", "message": "adaptive thinking is not supported on this model"}
            return Answer.json({"type": "error", "error": error}, 400)
        return Answer.json(message())

    with Upstream(older) as upstream:
        server = await serve(QUICK, provider("one", upstream, "anthropic"))
        asked = {"model": "one/claude-haiku-4-5", "max_tokens": 4000, "thinking": {"type": "adaptive"},
                 "output_config": {"effort": "low"}, "messages": [{"role": "user", "content": "hi"}]}  # fmt: skip

        reply = await server.request("POST", "/v1/messages", json.dumps(asked).encode())

        assert (reply.status, reply.headers["x-modelport-attempts"]) == (200, "2")
        assert upstream.requests[1].json["thinking"]["type"] == "enabled"


async def test_a_plain_mistake_of_the_client_is_asked_once(serve: Serve) -> None:
    """Rules that say nothing else about the request make no second call."""
    with Upstream(lambda _asked: failing(400, "messages: too many")) as upstream:
        server = await serve(QUICK, provider("one", upstream, "anthropic"))
        asked = {"model": "one/claude-opus-5", "max_tokens": 40, "messages": [{"role": "user", "content": "hi"}]}

        reply = await server.request("POST", "/v1/messages", json.dumps(asked).encode())

        assert reply.status == 400
        assert len(upstream.requests) == 1


async def test_ids_of_another_server_are_made_fit_for_the_clients_own_vendor(serve: Serve) -> None:
    """WIRE 21: the model was switched in mid-conversation, and its calls have ids that Anthropic refuses."""
    with Upstream(lambda _asked: Answer.json(message())) as upstream:
        server = await serve(QUICK, provider("one", upstream, "anthropic"))
        call = {"type": "tool_use", "id": "functions.x:0", "name": "x", "input": {}}
        past: list[dict[str, Any]] = [
            {"role": "user", "content": "hi"},
            {"role": "assistant", "content": [call]},
            {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "functions.x:0", "content": "1"}]},
        ]
        body = {"model": "one/claude-opus-5", "max_tokens": 9, "messages": past,
                "tools": [{"name": "x", "input_schema": {"type": "object"}}]}  # fmt: skip

        reply = await server.request("POST", "/v1/messages", json.dumps(body).encode())

        sent = upstream.requests[0].json["messages"]
        assert reply.status == 200
        assert sent[1]["content"][0]["id"] == sent[2]["content"][0]["tool_use_id"]
        assert re.fullmatch(r"[a-zA-Z0-9_-]+", sent[1]["content"][0]["id"])


@pytest.mark.parametrize("name", ["container", "thread"])
async def test_what_holds_the_conversation_is_never_left_out(serve: Serve, name: str) -> None:
    """The vendor's 400 stands: without that field another thing would be asked."""
    refusal = {"type": "invalid_request_error", "message": f"{name}: Extra inputs are not permitted"}
    told = {"type": "error", "error": refusal}
    with Upstream(lambda _asked: Answer.json(told, 400)) as upstream:
        server = await serve(QUICK, provider("one", upstream, "anthropic"))
        asked = {"model": "one/claude-opus-5", "max_tokens": 40, name: "c_1",
                 "messages": [{"role": "user", "content": "hi"}]}  # fmt: skip

        reply = await server.request("POST", "/v1/messages", json.dumps(asked).encode())

        assert reply.status == 400
        assert len(upstream.requests) == 1


# --- one client's mistake is nobody else's ------------------------------------------------------------

MISTAKES: dict[str, tuple[str, dict[str, Any], dict[str, Any]]] = {
    "a budget too small": (
        "thinking.enabled.budget_tokens: Input should be greater than or equal to 1024",
        {"thinking": {"type": "enabled", "budget_tokens": 10}},
        {"thinking": {"type": "enabled", "budget_tokens": 2000}},
    ),
    "a budget over the limit": (
        "`max_tokens` must be greater than `thinking.budget_tokens`. Please consult our documentation",
        {"thinking": {"type": "enabled", "budget_tokens": 9000}},
        {"thinking": {"type": "enabled", "budget_tokens": 2000}},
    ),
    "a temperature beside thinking": (
        "`temperature` may only be set to 1 when thinking is enabled.",
        {"thinking": {"type": "enabled", "budget_tokens": 2000}, "temperature": 0.5},
        {"temperature": 0.5},
    ),
    "a temperature while thinking is off": (
        "`temperature` may only be set to 1 when thinking is enabled.",
        {"thinking": {"type": "enabled", "budget_tokens": 2000}, "temperature": 0.5},
        {"thinking": {"type": "disabled"}, "temperature": 0.5},
    ),
    "a word that there is not": (
        "service_tier: Input should be 'auto' or 'standard_only'",
        {"service_tier": "gold"},
        {"service_tier": "auto"},
    ),
}


@pytest.mark.parametrize("name", MISTAKES)
async def test_anothers_request_is_relayed_after_ones_mistake(serve: Serve, name: str) -> None:
    """Byte for byte, without a loss, and also where losses are refused."""
    words, wrong, right = MISTAKES[name]
    refusal = Answer.json({"type": "error", "error": {"type": "invalid_request_error", "message": words}}, 400)
    with Upstream(lambda asked: refusal if wrong.items() <= asked.json.items() else Answer.json(message())) as upstream:
        server = await serve(QUICK, provider("one", upstream, "anthropic"))

        async def ask(fields: dict[str, Any], headers: dict[str, str] | None = None) -> Reply:
            body = {"model": "one/alias", "max_tokens": 4000, "messages": [{"role": "user", "content": "hi"}], **fields}
            return await server.request("POST", "/v1/messages", json.dumps(body).encode(), headers or {})

        await ask(right)
        before = upstream.requests[-1].json
        await ask(wrong)
        after = await ask(right)
        strict = await ask(right, {"x-modelport-losses": "reject"})

        assert [(reply.status, reply.headers.get("x-modelport-losses")) for reply in (after, strict)] == [
            (200, None)
        ] * 2
        assert [asked.json for asked in upstream.requests[-2:]] == [before, before]


BETA = "context-management-2025-06-27"
EDITS = {"context_management": {"edits": [{"type": "clear_tool_uses_20250919"}]}}


@pytest.mark.parametrize(
    "words",
    [
        "context_management: Extra inputs are not permitted",
        f"context_management: this field requires the `{BETA}` beta header",
        f"context_management: expected `anthropic-beta: {BETA}`",
    ],
)
async def test_a_header_that_one_client_forgets_costs_no_other_client_its_field(serve: Serve, words: str) -> None:
    """Nothing is left out for the one either: the vendor's 400 says what to mend."""
    refusal = Answer.json({"type": "error", "error": {"type": "invalid_request_error", "message": words}}, 400)

    def script(asked: Asked) -> Answer:
        forgotten = "context_management" in asked.json and BETA not in asked.headers.get("anthropic-beta", "")
        return refusal if forgotten else Answer.json(message())

    with Upstream(script) as upstream:
        server = await serve(QUICK, provider("one", upstream, "anthropic"))
        body = {"model": "one/alias", "max_tokens": 40, "messages": [{"role": "user", "content": "hi"}], **EDITS}
        replies = [
            await server.request("POST", "/v1/messages", json.dumps(body).encode(), {"anthropic-beta": betas})
            for betas in ("files-api-2025-04-14", f"files-api-2025-04-14, {BETA}")
        ]

        assert [reply.status for reply in replies] == [400, 200]
        assert [asked.json.get("context_management") for asked in upstream.requests] == [
            EDITS["context_management"]
        ] * 2


async def test_a_field_that_its_beta_does_not_open_is_left_out(serve: Serve) -> None:
    """As at a server that speaks Anthropic's dialect without Anthropic's newest fields."""
    words = "context_management: Extra inputs are not permitted"
    refusal = Answer.json({"type": "error", "error": {"type": "invalid_request_error", "message": words}}, 400)
    with Upstream(lambda asked: refusal if "context_management" in asked.json else Answer.json(message())) as upstream:
        server = await serve(QUICK, provider("one", upstream, "anthropic"))
        body = {"model": "one/alias", "max_tokens": 40, "messages": [{"role": "user", "content": "hi"}], **EDITS}

        reply = await server.request("POST", "/v1/messages", json.dumps(body).encode(), {"anthropic-beta": BETA})

        assert (reply.status, len(upstream.requests)) == (200, 2)
        assert reply.headers["x-modelport-losses"].startswith("context_management=")


async def test_who_refuses_losses_is_told_the_mistake_and_not_what_mending_would_lose(serve: Serve) -> None:
    refusal = {"type": "invalid_request_error", "message": MISTAKES["a budget too small"][0]}
    with Upstream(lambda _asked: Answer.json({"type": "error", "error": refusal}, 400)) as upstream:
        server = await serve(QUICK, provider("one", upstream, "anthropic"))
        body = {"model": "one/alias", "max_tokens": 4000, "messages": [{"role": "user", "content": "hi"}],
                **MISTAKES["a budget too small"][1]}  # fmt: skip

        reply = await server.request(
            "POST", "/v1/messages", json.dumps(body).encode(), {"x-modelport-losses": "reject"}
        )

        assert (reply.status, len(upstream.requests)) == (400, 1)
        assert "greater than or equal to 1024" in reply.error["message"]


BESIDE: dict[str, tuple[str, dict[str, Any], dict[str, Any]]] = {
    "a prediction": (
        "Unsupported parameter: 'prediction' is not supported when 'n' is greater than 1.",
        {"prediction": {"type": "content", "content": "x"}, "n": 2},
        {"prediction": {"type": "content", "content": "x"}},
    ),
    "a temperature": (
        "Unsupported parameter: 'temperature' is not supported when reasoning effort is 'high'.",
        {"temperature": 0.3, "reasoning_effort": "high"},
        {"temperature": 0.3, "reasoning_effort": "none"},
    ),
}


@pytest.mark.parametrize("name", BESIDE)
async def test_what_is_refused_beside_something_else_is_taken_without_it(serve: Serve, name: str) -> None:
    """Though the vendor gives the code of a parameter that it never takes."""
    words, wrong, right = BESIDE[name]
    refusal = failing(400, words, param=next(iter(wrong)), code="unsupported_parameter")
    with Upstream(lambda asked: refusal if wrong.items() <= asked.json.items() else says()) as upstream:
        server = await serve(QUICK, provider("one", upstream))
        await server.ask(model="one/m", **wrong)

        reply = await server.ask(model="one/m", **right)

        assert (reply.status, reply.headers.get("x-modelport-losses")) == (200, None)
        assert right.items() <= upstream.requests[-1].json.items()


# --- a client's own words that its vendor refuses ----------------------------------------------------

ADAPTIVE = {"thinking": {"type": "adaptive"}, "output_config": {"effort": "low"}}
BUDGET = {"thinking": {"type": "enabled", "budget_tokens": 2000}}
NOT_ADAPTIVE = "adaptive thinking is not supported on this model"


def older(asked: Asked) -> Answer:
    """Claude before adaptive thinking."""
    wrong = None
    if asked.json.get("thinking", {}).get("type") == "adaptive":
        wrong = NOT_ADAPTIVE
    if wrong:
        return Answer.json({"type": "error", "error": {"type": "invalid_request_error", "message": wrong}}, 400)
    return Answer.json(message())


async def to_claude(server: Served, **fields: Any) -> Reply:
    asked = {"model": "one/claude-haiku-4-5", "max_tokens": 4000, "messages": [{"role": "user", "content": "hi"}]}
    return await server.request("POST", "/v1/messages", json.dumps({**asked, **fields}).encode())


async def test_what_the_rules_had_to_say_is_said_at_once_the_next_time(tmp_path: Path) -> None:
    """Also after a restart; a request that needs nothing of it is relayed as ever, unknown fields and all."""
    with Upstream(older) as upstream:
        config = QUICK + provider("one", upstream, "anthropic")
        async with serving(tmp_path, config) as server:
            first = await to_claude(server, **ADAPTIVE)
            second = await to_claude(server, **ADAPTIVE)
            await server.services.drain()
            (lesson,) = await server.services.learned.all()
        async with serving(tmp_path, config) as server:
            third = await to_claude(server, **ADAPTIVE)
            plain = await to_claude(server, **BUDGET, brand_new={"x": 1})
            await server.services.drain()
            (counted,) = await server.services.learned.all()

        attempts = [reply.headers["x-modelport-attempts"] for reply in (first, second, third, plain)]
        assert attempts == ["2", "1", "1", "1"]
        assert lesson.change == {"not_relayed": ["thinking=adaptive"]}
        assert (lesson.evidence, lesson.http_status) == (NOT_ADAPTIVE, 400)
        assert [asked.json["thinking"]["type"] for asked in upstream.requests] == [
            "adaptive", "enabled", "enabled", "enabled", "enabled",
        ]  # fmt: skip
        assert upstream.requests[-1].json["brand_new"] == {"x": 1}
        assert counted.uses == 2


async def test_such_a_lesson_is_shown_and_can_be_forgotten(serve: Serve) -> None:
    with Upstream(older) as upstream:
        server = await serve(QUICK, provider("one", upstream, "anthropic"))
        await to_claude(server, **ADAPTIVE)
        await server.services.drain()

        shown = await server.get("/api/v1/catalog?model=one/claude-haiku-4-5")
        gone = await server.request("DELETE", "/api/v1/catalog/learned?provider=one")
        again = await to_claude(server, **ADAPTIVE)

        rule = shown.json["data"][0]["rules"]["not_relayed"]
        assert rule["value"] == ["thinking=adaptive"]
        assert (rule["from"][0]["kind"], rule["from"][0]["evidence"]) == ("learned", NOT_ADAPTIVE)
        assert gone.json == {"forgotten": 1}
        assert again.headers["x-modelport-attempts"] == "2"


async def test_such_a_lesson_ends_with_its_time(serve: Serve) -> None:
    with Upstream(older) as upstream:
        server = await serve(QUICK, provider("one", upstream, "anthropic"))
        await to_claude(server, **ADAPTIVE)
        await server.services.drain()

        await server.services.catalogue.expire(ttl_s=0)

        assert (await to_claude(server, **ADAPTIVE)).headers["x-modelport-attempts"] == "2"


async def test_a_rendering_that_is_refused_as_well_teaches_nothing(serve: Serve) -> None:
    refusal = {"type": "error", "error": {"type": "invalid_request_error", "message": NOT_ADAPTIVE}}
    with Upstream(lambda _asked: Answer.json(refusal, 400)) as upstream:
        server = await serve(QUICK, provider("one", upstream, "anthropic"))

        reply = await to_claude(server, **ADAPTIVE)
        await server.services.drain()

        assert reply.status == 400
        assert await server.services.learned.all() == []
        assert server.services.overlay.of("one", "claude-haiku-4-5").lessons == {}


async def test_what_is_said_otherwise_within_messages_is_remembered_by_its_place(serve: Serve) -> None:
    """At whatever position the next conversation holds it; one that does not is relayed."""

    def texts_alone(asked: Asked) -> Answer:
        if any(each["role"] == "tool" and isinstance(each["content"], list) for each in asked.json["messages"]):
            return failing(400, "a message is not as it has to be")
        return says()

    def conversation(before: int, result: Any) -> list[dict[str, Any]]:
        call = {"id": "c1", "type": "function", "function": {"name": "look", "arguments": "{}"}}
        return [
            *[{"role": ("user", "assistant")[turn % 2], "content": f"word {turn}"} for turn in range(before)],
            {"role": "assistant", "content": None, "tool_calls": [call]},
            {"role": "tool", "tool_call_id": "c1", "content": result},
        ]

    seen = [{"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo="}}]
    with Upstream(texts_alone) as upstream:
        server = await serve(QUICK, provider("one", upstream))

        first = await server.ask(model="one/m", messages=conversation(1, seen))
        later = await server.ask(model="one/m", messages=conversation(3, seen))
        plain = await server.ask(model="one/m", messages=conversation(3, "a cat"))

        assert [reply.headers["x-modelport-attempts"] for reply in (first, later, plain)] == ["2", "1", "1"]
        assert "messages[4].content[0]=emulated" in later.headers["x-modelport-losses"]
        assert "x-modelport-losses" not in plain.headers
