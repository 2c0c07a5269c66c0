"""Wire cases of chat clients, of prices and of failures, each where a small mistake would otherwise go unseen.

The numbers in a test's name or id are the cases.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final
from urllib.parse import unquote

import pytest

from tests.contract.wire.sdks import CITIES, CLIENTS, MOVES_ON, QUESTION, TEXT, TOOL, Json, Sdks
from tests.contract.wire.vendors import MESSAGE, NEXT, called, chat, chunk, claude, frames, google, text

FORMS: Final = pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
EVERY_CLIENT: Final = pytest.mark.parametrize("client", CLIENTS)
CHAT, MESSAGES = "/v1/chat/completions", "/v1/messages"


# --- what a chat client asks -------------------------------------------------------------------------------

OLD, FLASH, FLASH_3 = "claude-sonnet-4-5", "gemini-2.5-flash", "gemini-3.8-flash"
HI: Final = {"role": "user", "content": "Hi"}
MARK: Final = {"cache_control": {"type": "ephemeral"}}
CHAT_TOOL: Final = {"type": "function", "function": {"name": TOOL, "parameters": CITIES}}
CLAUDES_TOOL: Final = {"name": TOOL, "input_schema": CITIES}
CLAUDES_CALL: Final = {"type": "tool_use", "id": "a", "name": TOOL, "input": {"city": "Paris"}}
RESULT: Final = {"role": "tool", "tool_call_id": "a", "content": "18"}
CLAUDES_RESULT: Final = {"type": "tool_result", "tool_use_id": "a", "content": [text("18")]}
GOOGLES_FILE: Final = "https://generativelanguage.googleapis.com/v1beta/files/abc"


def asks(*messages: Json, **fields: Any) -> Json:
    return {"messages": list(messages) or [HI], **fields}


def asks_part(kind: str, value: Json) -> Json:
    return asks({"role": "user", "content": [{"type": kind, kind: value}]})


def past_call(content: str | None, **more: Any) -> Json:
    return {"role": "assistant", "content": content, "tool_calls": [called("a", "Paris")], **more}


def user(*blocks: Json) -> Json:
    return {"role": "user", "content": list(blocks)}


def past_of_claude(*blocks: Json, result: Json = CLAUDES_RESULT) -> list[Json]:
    return [user(text("Hi")), {"role": "assistant", "content": list(blocks)}, user(result)]


@dataclass(frozen=True, slots=True)
class Wish:
    """A chat client's request for *stem*, what the vendor gets of it, and under which names the rest is reported."""

    stem: str
    body: Json
    sent: Mapping[str, Any]
    lost: tuple[str, ...] = ()


WISHES: Final = {
    "15-null": Wish(
        OLD,
        asks(HI, past_call(None), RESULT, tools=[CHAT_TOOL]),
        {"messages": past_of_claude(CLAUDES_CALL), "tools": [CLAUDES_TOOL]},
    ),
    "15-empty": Wish(
        OLD,
        asks(HI, past_call(""), RESULT, tools=[CHAT_TOOL]),
        {"messages": past_of_claude(CLAUDES_CALL), "tools": [CLAUDES_TOOL]},
    ),
    "25-a-name-that-is-illegal": Wish(
        OLD,
        asks(
            HI,
            {**past_call(None), "tool_calls": [called("a", "Paris", function={"name": "a.b", "arguments": "{}"})]},
            RESULT,
        ),
        {
            "messages": past_of_claude({**CLAUDES_CALL, "name": "a_b", "input": {}}),
            "tools": [{"name": "a_b", "input_schema": {"type": "object", "properties": {}}}],
            "tool_choice": {"type": "none"},
        },
        ("messages[1].tool_calls[0].function.name", "tools"),
    ),
    "33-one-string": Wish(OLD, asks(stop="END"), {"stop_sequences": ["END"]}),
    "34-safety-identifier": Wish(OLD, asks(safety_identifier="s-1"), {"metadata": {"user_id": "s-1"}}),
    "36-webp": Wish(
        OLD,
        asks_part("image_url", {"url": "data:image/webp;base64,AAAA", "detail": "high"}),
        {
            "messages": [
                user({"type": "image", "source": {"type": "base64", "media_type": "image/webp", "data": "AAAA"}})
            ]
        },
        ("messages[0].content[0].image_url.detail",),
    ),
    "37-text": Wish(
        OLD,
        asks_part("file", {"filename": "a.txt", "file_data": "data:text/plain;base64,SGk="}),
        {
            "messages": [
                user(
                    {
                        "type": "document",
                        "source": {"type": "text", "media_type": "text/plain", "data": "Hi"},
                        "title": "a.txt",
                    }
                )
            ]
        },
    ),
    "40-marks-beside-the-content": Wish(
        OLD,
        asks(
            {**HI, **MARK},
            past_call(None),
            {**RESULT, **MARK},
            tools=[{**CHAT_TOOL, **MARK}],
        ),
        {
            "messages": [
                user(text("Hi", **MARK)),
                {"role": "assistant", "content": [CLAUDES_CALL]},
                user({**CLAUDES_RESULT, **MARK}),
            ],
            "tools": [{**CLAUDES_TOOL, **MARK}],
        },
    ),
    "91-googles-own-file": Wish(
        FLASH,
        asks_part("image_url", {"url": GOOGLES_FILE}),
        {"contents": [{"role": "user", "parts": [{"fileData": {"fileUri": GOOGLES_FILE}}]}]},
    ),
    "92-wav": Wish(
        FLASH,
        asks_part("input_audio", {"data": "UklGRg==", "format": "wav"}),
        {"contents": [{"role": "user", "parts": [{"inlineData": {"mimeType": "audio/wav", "data": "UklGRg=="}}]}]},
    ),
}
"""*sent* is whole but for the fields that every request has."""
ALWAYS: Final = {"model", "messages", "contents", "max_tokens"}


@pytest.mark.parametrize("name", WISHES)
def test_what_a_chat_client_asks_reaches_the_vendor_or_is_reported(sdks: Sdks, name: str) -> None:
    wish = WISHES[name]
    vendor = "anthropic" if wish.stem.startswith("claude") else "gemini"
    model = sdks.model(vendor, NEXT[vendor].whole, stem=wish.stem)

    reply = sdks.server.post(CHAT, {"model": model, **wish.body})

    assert reply.status == 200, reply.body
    (asked,) = sdks.asked(model)
    assert {field: asked.get(field) for field in wish.sent} == wish.sent
    assert set(asked) <= set(wish.sent) | ALWAYS
    losses = [unquote(each.split("=", 1)[0]) for each in reply.headers.get("x-modelport-losses", "").split(",") if each]
    assert [each for each in losses if each != "max_tokens"] == list(wish.lost)


@FORMS
def test_44_betas_reach_anthropic_where_the_request_is_written_anew(sdks: Sdks, stream: bool) -> None:
    """Ids of another server's calls keep the client's bytes from passing; its headers pass all the same."""
    sent = {"anthropic-version": "2026-10-21", "anthropic-beta": "brand-new-2027-01-01"}
    model = sdks.model("anthropic", NEXT["anthropic"](stream))
    foreign = {**CLAUDES_CALL, "id": "functions.get_weather:0"}
    turns = past_of_claude(foreign, result={**CLAUDES_RESULT, "tool_use_id": foreign["id"]})
    body = {"model": model, "max_tokens": 99, "messages": turns, "tools": [CLAUDES_TOOL], "stream": stream}

    reply = sdks.server.post(MESSAGES, body, sent)

    assert reply.status == 200, reply.body
    (asked,) = sdks.upstream.asked(model.split("/", 1)[1])
    assert {name: asked.headers[name] for name in sent} == sent
    assert asked.json["messages"][1]["content"][0]["id"] == "functions_get_weather_0"


@pytest.mark.parametrize("stem", ["gpt-6-astra", "gpt-6.1-sol", "gpt-6.2-sol"])
def test_105_models_without_the_effort_none_get_tools_on_responses_whatever_is_asked(sdks: Sdks, stem: str) -> None:
    model = sdks.model("openai", NEXT["openai_responses"].whole, stem=stem)

    told = sdks.ask("openai_chat", model, False, tool=TOOL, reasoning_effort="none")

    (asked,) = sdks.upstream.asked(model.split("/", 1)[1])
    assert (asked.path, told.text) == ("/v1/responses", TEXT)
    assert asked.json["reasoning"]["effort"] == "low"


# --- what clients are told ---------------------------------------------------------------------------------


def test_62_a_chunk_has_the_time_and_name_that_the_vendor_did_not_tell(sdks: Sdks) -> None:
    """Anthropic tells no time; this server tells no model either."""
    nameless = {name: value for name, value in MESSAGE.items() if name != "model"}
    events = frames(
        {"type": "message_start", "message": {**nameless, "usage": {"input_tokens": 1, "output_tokens": 1}}},
        {"type": "content_block_start", "index": 0, "content_block": text("")},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": TEXT}},
        {"type": "content_block_stop", "index": 0},
        {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 2}},
        {"type": "message_stop"},
    )
    model = sdks.model("anthropic", events)

    chunks = list(
        sdks.chat.chat.completions.create(model=model, messages=[{"role": "user", "content": QUESTION}], stream=True)
    )

    assert {each.model for each in chunks} == {model}
    (created,) = {each.created for each in chunks}
    assert abs(time.time() - created) < 60


def test_69_a_count_that_fails_is_told_in_anthropics_envelope_by_its_path_alone(sdks: Sdks) -> None:
    """Not every client sends `anthropic-version`."""
    reply = sdks.server.post(
        f"{MESSAGES}/count_tokens", {"model": "nobody/knows", "messages": [{"role": "user", "content": QUESTION}]}
    )

    assert reply.status == 404
    assert (reply.json["type"], reply.json["error"]["type"]) == ("error", "not_found_error")


@FORMS
@EVERY_CLIENT
def test_94_a_whole_answer_that_could_not_be_used_is_a_failure(sdks: Sdks, client: str, stream: bool) -> None:
    """Thoughts are no answer; also to a client that wants a stream from a server that does not give one."""
    says = google({"text": "Hm.", "thought": True}, reason="MALFORMED_FUNCTION_CALL")

    reply = sdks.post(client, sdks.alone("gemini", says.whole), stream)

    assert reply.status == 502
    assert "MALFORMED_FUNCTION_CALL" in reply.body.decode()


CITATION: Final = {
    "type": "web_search_result_location",
    "url": "https://example.com/paris",
    "title": "Paris",
    "cited_text": "",
    "encrypted_index": "aWR4",
}


@FORMS
@pytest.mark.parametrize("client", ["openai_chat", "openai_responses", "anthropic"])
def test_134_an_empty_beginning_that_came_by_itself_commits_to_nothing(sdks: Sdks, client: str, stream: bool) -> None:
    """Role, empty text and empty deltas come one by one, each before anything else is known."""
    begun = frames(
        chunk({"role": "assistant", "content": ""}),
        chunk({"content": ""}),
        {"error": {"message": "Overloaded", "code": 503}},
    )
    opened = frames(
        {"type": "message_start", "message": {**MESSAGE, "usage": {"input_tokens": 1, "output_tokens": 1}}},
        {"type": "content_block_start", "index": 0, "content_block": text("")},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "citations_delta", "citation": CITATION}},
        {"type": "content_block_stop", "index": 0},
        {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}},
    )
    apart: Any = {"split": "events", "delay_between_s": 0.05}
    chain = [
        sdks.alone("openai_chat", replace(begun, **apart)),
        sdks.alone("anthropic", replace(opened, **apart)),
        sdks.model("gemini", google({"text": TEXT})(stream)),
    ]

    told = sdks.ask(client, chain[0], stream, extra_body={"models": chain})

    assert (told.text, told.finish) == (TEXT, "stop")


def test_136_a_target_that_is_asked_for_by_its_own_name_has_no_chain(sdks: Sdks) -> None:
    """It stands in the route `moves-on`, behind another."""
    busy, free = MOVES_ON
    sdks.upstream.script(free.split("/", 1)[1], NEXT["openai_chat"].whole)
    before = len(sdks.asked(busy))

    reply = sdks.post("openai_chat", free, False)

    assert (reply.status, reply.headers["x-modelport-route"], len(sdks.asked(busy))) == (200, free, before)


# --- tokens and money --------------------------------------------------------------------------------------


def test_119_words_beside_usage_reach_a_client_that_asked_for_none(sdks: Sdks) -> None:
    counts = {"prompt_tokens": 20, "completion_tokens": 9, "total_tokens": 29}
    events = frames(
        chunk({"role": "assistant", "content": TEXT[:5]}, usage=counts),
        chunk({"content": TEXT[5:]}, "stop", usage=counts),
        done=True,
    )

    reply = sdks.post("openai_chat", sdks.model("openai_chat", events), True)

    booked = sdks.server.exchange(reply.headers["x-request-id"])
    lines = [line.removeprefix("data: ") for line in reply.body.decode().splitlines() if line.startswith("data: {")]
    said = [choice["delta"].get("content") or "" for line in lines for choice in json.loads(line)["choices"]]
    assert "".join(said) == TEXT
    assert (booked["input_tokens"], booked["output_tokens"], booked["estimated"]) == (20, 9, False)


@dataclass(frozen=True, slots=True)
class Tier:
    """What an answer says of its tier, and what it costs in the price list's standard."""

    says: Mapping[str, Any] = field(default_factory=dict)
    share: float = 1.0


@FORMS
@pytest.mark.parametrize(
    "tier",
    [
        pytest.param(Tier({"service_tier": "default"}), id="default"),
        pytest.param(Tier({"service_tier": "flex"}, 0.5), id="flex"),
        pytest.param(Tier({"service_tier": "priority"}, 2), id="priority"),
    ],
)
def test_141_the_tier_of_the_answer_is_the_one_that_is_billed(sdks: Sdks, tier: Tier, stream: bool) -> None:
    """Of OpenAI's own prices: gpt-5 has 1.25 dollars for a million tokens in, 10 for a million out."""
    says = chat({"content": TEXT}, usage={"prompt_tokens": 1000, "completion_tokens": 1000, "total_tokens": 2000})
    answer = says(stream)
    told = json.dumps(dict(tier.says))[1:-1].encode()
    answer = replace(answer, body=answer.body.replace(b'"id": "c1",', b'"id": "c1", ' + told + b","))
    sdks.upstream.script("gpt-5", answer)

    reply = sdks.post("openai_chat", "openai/gpt-5", stream)

    booked = sdks.server.exchange(reply.headers["x-request-id"])
    assert float(booked["cost_usd"]) == pytest.approx(11.25e-3 * tier.share)


def test_141_an_unknown_price_is_booked_as_none_and_said_once(sdks: Sdks) -> None:
    model = sdks.model("openai", NEXT["openai_chat"].whole, NEXT["openai_chat"].whole, stem="nobody-knows")

    replies = [sdks.post("openai_chat", model, False) for _ in range(2)]

    for reply in replies:
        assert reply.status == 200
        assert sdks.server.exchange(reply.headers["x-request-id"])["cost_usd"] is None
        assert "x-modelport-cost-usd" not in reply.headers
    assert sdks.server.log.count(f"no price is known for {model}") == 1


@EVERY_CLIENT
def test_137_what_came_of_a_cut_answer_is_booked_estimated_and_paid(sdks: Sdks, client: str) -> None:
    """The row's price: a dollar for a million tokens in, two for a million out."""
    words = " ".join(["Paris"] * 40)
    begun = frames(chunk({"role": "assistant", "content": words}))

    reply = sdks.post(client, sdks.alone("openai_chat", begun), True)

    booked = sdks.server.exchange(reply.headers["x-request-id"])
    assert (reply.status, booked["status"], booked["estimated"]) == (200, "interrupted", True)
    assert booked["output_tokens"] >= 40
    paid = (booked["input_tokens"] + 2 * booked["output_tokens"]) / 1e6
    assert float(booked["cost_usd"]) == pytest.approx(paid)


def test_137_the_vendors_own_count_of_a_cut_answer_is_kept_and_flagged(sdks: Sdks) -> None:
    """It told the input at the start; of the output it had told one token when it broke off."""
    words = " ".join(["Paris"] * 40)
    whole = claude(text(words)).streamed
    cut = replace(whole, body=whole.body[: whole.body.index(b'"content_block_stop"') - 30])

    reply = sdks.post("openai_chat", sdks.alone("anthropic", cut), True)

    booked = sdks.server.exchange(reply.headers["x-request-id"])
    assert (booked["status"], booked["estimated"]) == ("interrupted", True)
    assert (booked["input_tokens"], booked["cached_input_tokens"], booked["cache_write_tokens"]) == (20, 5, 3)
    assert booked["output_tokens"] >= 40
