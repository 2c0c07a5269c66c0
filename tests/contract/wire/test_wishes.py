"""Wire cases of requests: what every client asks reaches the vendor in its dialect, or is reported.

The numbers in a test's name or id are the cases.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import unquote

import pytest

from tests.contract.wire.sdks import CITIES, CLIENTS, QUESTION, TOOL, Json, Sdks
from tests.contract.wire.vendors import NEXT, text

FORMS: Final = pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
EVERY_CLIENT: Final = pytest.mark.parametrize("client", CLIENTS)


# --- what clients ask --------------------------------------------------------------------------------------


def asks_responses(*items: Any, **fields: Any) -> Json:
    return {"input": list(items) or QUESTION, "store": False, **fields}


def asks_messages(*messages: Json, **fields: Any) -> Json:
    return {"messages": list(messages) or [{"role": "user", "content": QUESTION}], "max_tokens": 4096, **fields}


def asks_google(*contents: Json, **fields: Any) -> Json:
    return {"contents": list(contents) or [{"role": "user", "parts": [{"text": QUESTION}]}], **fields}


@dataclass(frozen=True, slots=True)
class Wish:
    """A client's request for *stem*: what the vendor gets of it, and under which names the rest is reported."""

    stem: str
    client: str
    body: Json
    sent: Mapping[str, Any] = field(default_factory=dict)
    lost: tuple[str, ...] = ()


OLD, NEW = "claude-sonnet-4-5", "claude-opus-5-5"
FLASH, FLASH_3, PRO = "gemini-2.5-flash", "gemini-3.8-flash", "gemini-2.5-pro"
R, A, G = "openai_responses", "anthropic", "gemini"
HI: Final = {"role": "user", "content": "Hi"}
HI_BLOCK: Final = {"role": "user", "content": [{"type": "text", "text": "Hi"}]}
RESPONSES_TOOL: Final = {"type": "function", "name": TOOL, "parameters": CITIES}
GOOGLE_TOOL: Final = {"functionDeclarations": [{"name": TOOL, "parametersJsonSchema": CITIES}]}
CLAUDES_TOOL: Final = {"name": TOOL, "input_schema": CITIES}
ANSWER_FORM: Final = {"type": "object", "properties": {"city": {"type": "string", "minLength": 3}}}
FITTED_FORM: Final = {
    "type": "object",
    "properties": {"city": {"type": "string", "description": "{minLength: 3}"}},
    "additionalProperties": False,
}
TWO_CALLS: Final = (
    HI,
    {"type": "function_call", "call_id": "functions.get_weather:0", "name": TOOL, "arguments": ""},
    {"type": "function_call", "call_id": "b", "name": TOOL, "arguments": '{"city": "Oslo"}'},
)
TWO_RESULTS: Final = (
    {"type": "function_call_output", "call_id": "functions.get_weather:0", "output": "18"},
    {
        "type": "function_call_output",
        "call_id": "b",
        "output": [{"type": "input_image", "image_url": "data:image/png;base64,AAAA"}],
    },
    {"role": "user", "content": "And?"},
)
CLAUDES_CALLS: Final = {
    "role": "assistant",
    "content": [
        {"type": "tool_use", "id": "functions_get_weather_0", "name": TOOL, "input": {}},
        {"type": "tool_use", "id": "b", "name": TOOL, "input": {"city": "Oslo"}},
    ],
}


PDF: Final = "data:application/pdf;base64,JVBERi0="
CLAUDES_PDF: Final = {
    "type": "document",
    "source": {"type": "base64", "media_type": "application/pdf", "data": "JVBERi0="},
}
GOOGLES_PDF: Final = {"inlineData": {"mimeType": "application/pdf", "data": "JVBERi0="}}


def breakpoint_for(ttl: str) -> Json:
    return {"prompt_cache_breakpoint": {"mode": "explicit", "ttl": ttl}}


def generation(**fields: Any) -> Json:
    return asks_google(generationConfig=fields)


def thinks(**fields: Any) -> Json:
    return {"generationConfig": {"thinkingConfig": fields}}


WISHES: Final = {
    "1-responses": Wish(NEW, R, asks_responses(temperature=0.5, top_p=0.9), {}, ("temperature", "top_p")),
    "1-gemini": Wish(
        NEW,
        G,
        generation(temperature=0.5, topK=4),
        {},
        ("generationConfig.temperature", "generationConfig.topK"),
    ),
    "1-anthropic": Wish(NEW, A, asks_messages(temperature=0.5, top_k=4), {}, ("temperature", "top_k")),
    "3-responses": Wish(OLD, R, asks_responses(temperature=1.7), {"temperature": 1.0}, ("temperature",)),
    "3-gemini": Wish(OLD, G, generation(temperature=1.7), {"temperature": 1.0}, ("generationConfig.temperature",)),
    "4-responses": Wish(OLD, R, asks_responses(temperature=0.5, top_p=0.9), {"temperature": 0.5}, ("top_p",)),
    "4-gemini": Wish(OLD, G, generation(temperature=0.5, topP=0.9), {"temperature": 0.5}, ("generationConfig.topP",)),
    "4-anthropic": Wish(OLD, A, asks_messages(temperature=0.5, top_p=0.9), {"temperature": 0.5}, ("top_p",)),
    "5-gemini": Wish(
        OLD,
        G,
        generation(seed=7, presencePenalty=0.5, frequencyPenalty=0.5),
        {},
        ("generationConfig.seed", "generationConfig.presencePenalty", "generationConfig.frequencyPenalty"),
    ),
    "7-responses": Wish(OLD, R, asks_responses(), {"max_tokens": 64_000}),
    "7-gemini": Wish(NEW, G, asks_google(), {"max_tokens": 128_000}),
    "9-responses": Wish(OLD, R, asks_responses(max_output_tokens=0), {"max_tokens": 0}),
    "9-gemini": Wish(OLD, G, generation(maxOutputTokens=0), {"max_tokens": 0}),
    "9-anthropic": Wish(OLD, A, asks_messages(max_tokens=0), {"max_tokens": 0}),
    "10-responses": Wish(
        OLD,
        R,
        asks_responses({"role": "developer", "content": "Be kind."}, HI, instructions="Be brief."),
        {
            "system": [{"type": "text", "text": "Be brief."}, {"type": "text", "text": "Be kind."}],
            "messages": [HI_BLOCK],
        },
    ),
    "10-gemini": Wish(
        OLD,
        G,
        asks_google(systemInstruction={"parts": [{"text": "Be brief."}]}),
        {"system": [{"type": "text", "text": "Be brief."}]},
    ),
    "11-later-as-user": Wish(
        OLD,
        R,
        asks_responses(HI, {"role": "system", "content": "Be brief."}),
        {"messages": [{"role": "user", "content": [{"type": "text", "text": "Hi"}, text("Be brief.")]}]},
        ("input[1].role",),
    ),
    "11-later-in-place": Wish(
        NEW,
        R,
        asks_responses(HI, {"role": "system", "content": "Be brief."}, HI),
        {"messages": [HI_BLOCK, {"role": "system", "content": [text("Be brief.")]}, HI_BLOCK]},
    ),
    "12-13-17-21-41-responses": Wish(
        OLD,
        R,
        asks_responses(*TWO_CALLS, *TWO_RESULTS, tools=[RESPONSES_TOOL]),
        {
            "tools": [CLAUDES_TOOL],
            "messages": [
                HI_BLOCK,
                CLAUDES_CALLS,
                {
                    "role": "user",
                    "content": [
                        {"type": "tool_result", "tool_use_id": "functions_get_weather_0", "content": [text("18")]},
                        {
                            "type": "tool_result",
                            "tool_use_id": "b",
                            "content": [
                                {
                                    "type": "image",
                                    "source": {"type": "base64", "media_type": "image/png", "data": "AAAA"},
                                }
                            ],
                        },
                        text("And?"),
                    ],
                },
            ],
        },
    ),
    "14-responses": Wish(
        OLD,
        R,
        asks_responses(*TWO_CALLS, TWO_RESULTS[0], tools=[RESPONSES_TOOL]),
        {
            "tools": [CLAUDES_TOOL],
            "messages": [
                HI_BLOCK,
                CLAUDES_CALLS,
                {
                    "role": "user",
                    "content": [
                        {"type": "tool_result", "tool_use_id": "functions_get_weather_0", "content": [text("18")]},
                        {
                            "type": "tool_result",
                            "tool_use_id": "b",
                            "is_error": True,
                            "content": [text("This call gave no result.")],
                        },
                    ],
                },
            ],
        },
        ("input[2]",),
    ),
    "22-23-responses": Wish(
        OLD,
        R,
        asks_responses(tools=[RESPONSES_TOOL], tool_choice="required", parallel_tool_calls=False),
        {"tools": [CLAUDES_TOOL], "tool_choice": {"type": "any", "disable_parallel_tool_use": True}},
    ),
    "22-allowed-responses": Wish(
        OLD,
        R,
        asks_responses(
            tools=[RESPONSES_TOOL, {**RESPONSES_TOOL, "name": "other"}],
            tool_choice={
                "type": "allowed_tools",
                "mode": "required",
                "tools": [{"type": "function", "name": TOOL}],
            },
        ),
        {"tools": [CLAUDES_TOOL], "tool_choice": {"type": "any"}},
        ("tool_choice",),
    ),
    "22-named-gemini": Wish(
        OLD,
        G,
        asks_google(
            tools=[GOOGLE_TOOL],
            toolConfig={"functionCallingConfig": {"mode": "ANY", "allowedFunctionNames": [TOOL]}},
        ),
        {"tools": [CLAUDES_TOOL], "tool_choice": {"type": "tool", "name": TOOL}},
    ),
    "26-responses": Wish(
        NEW,
        R,
        asks_responses(reasoning={"effort": "xhigh"}),
        {"thinking": {"type": "adaptive"}, "output_config": {"effort": "xhigh"}},
    ),
    "26-gemini": Wish(
        NEW,
        G,
        asks_google(**thinks(thinkingLevel="HIGH")),
        {"thinking": {"type": "adaptive"}, "output_config": {"effort": "high"}},
    ),
    "27-responses": Wish(
        OLD,
        R,
        asks_responses(reasoning={"effort": "low"}, max_output_tokens=100),
        {"thinking": {"type": "enabled", "budget_tokens": 2048}, "max_tokens": 2148},
        ("max_output_tokens",),
    ),
    "28-gemini": Wish(
        NEW,
        G,
        asks_google(**thinks(thinkingBudget=3000)),
        {"thinking": {"type": "adaptive"}, "output_config": {"effort": "medium"}},
        ("generationConfig.thinkingConfig.thinkingBudget",),
    ),
    "30-responses": Wish(
        NEW,
        R,
        asks_responses(text={"format": {"type": "json_schema", "name": "city", "schema": ANSWER_FORM}}),
        {"output_config": {"format": {"type": "json_schema", "schema": {"title": "city", **FITTED_FORM}}}},
        ("text.format.schema.properties.city.minLength", "text.format"),
    ),
    "30-gemini": Wish(
        NEW,
        G,
        generation(responseMimeType="application/json", responseJsonSchema=ANSWER_FORM),
        {"output_config": {"format": {"type": "json_schema", "schema": FITTED_FORM}}},
        ("generationConfig.responseJsonSchema.properties.city.minLength", "generationConfig.responseJsonSchema"),
    ),
    "33-gemini": Wish(
        OLD,
        G,
        generation(stopSequences=["END", " "]),
        {"stop_sequences": ["END"]},
        ("generationConfig.stopSequences",),
    ),
    "34-responses": Wish(OLD, R, asks_responses(user="u-1"), {"metadata": {"user_id": "u-1"}}),
    "34-responses-safety-identifier": Wish(
        OLD, R, asks_responses(safety_identifier="s-1"), {"metadata": {"user_id": "s-1"}}
    ),
    "35-responses": Wish(
        OLD,
        R,
        asks_responses(
            {"role": "user", "content": [{"type": "input_image", "image_url": "https://example.com/a.png"}]}
        ),
        {
            "messages": [
                {
                    "role": "user",
                    "content": [{"type": "image", "source": {"type": "url", "url": "https://example.com/a.png"}}],
                }
            ]
        },
    ),
    "36-gemini": Wish(
        OLD,
        G,
        asks_google({"role": "user", "parts": [{"inlineData": {"mimeType": "image/png", "data": "AAAA"}}]}),
        {
            "messages": [
                {
                    "role": "user",
                    "content": [
                        {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AAAA"}}
                    ],
                }
            ]
        },
    ),
    "37-responses": Wish(
        OLD,
        R,
        asks_responses({"role": "user", "content": [{"type": "input_file", "filename": "a.pdf", "file_data": PDF}]}),
        {"messages": [{"role": "user", "content": [{**CLAUDES_PDF, "title": "a.pdf"}]}]},
    ),
    "37-gemini": Wish(
        OLD,
        G,
        asks_google({"role": "user", "parts": [GOOGLES_PDF]}),
        {"messages": [{"role": "user", "content": [CLAUDES_PDF]}]},
    ),
    "39-responses": Wish(
        OLD,
        R,
        asks_responses({"role": "user", "content": [{"type": "input_text", "text": "Hi", **breakpoint_for("12h")}]}),
        {"messages": [{"role": "user", "content": [text("Hi", cache_control={"type": "ephemeral", "ttl": "1h"})]}]},
        ("input[0].content[0].prompt_cache_breakpoint.ttl",),
    ),
    "39-anthropic-to-chat": Wish(
        "gpt-5.6-sol",
        A,
        asks_messages({"role": "user", "content": [text("Hi", cache_control={"type": "ephemeral", "ttl": "1h"})]}),
        {"messages": [{"role": "user", "content": [{"type": "text", "text": "Hi", **breakpoint_for("12h")}]}]},
        ("messages[0].content[0].cache_control.ttl",),
    ),
    "70-anthropic-abroad": Wish(
        "gpt-4.1",
        A,
        asks_messages(metadata={"user_id": '{"device_id": "d", "session_id": "s"}'}),
        {},
        ("metadata.user_id",),
    ),
    "70-anthropic-at-home": Wish(
        OLD,
        A,
        asks_messages(metadata={"user_id": '{"device_id": "d"}'}),
        {"metadata": {"user_id": '{"device_id": "d"}'}},
    ),
    "71-responses": Wish(
        FLASH,
        R,
        asks_responses(HI, {"role": "assistant", "content": "Hello."}, HI, HI, instructions="Be brief."),
        {
            "systemInstruction": {"parts": [{"text": "Be brief."}]},
            "contents": [
                {"role": "user", "parts": [{"text": "Hi"}]},
                {"role": "model", "parts": [{"text": "Hello."}]},
                {"role": "user", "parts": [{"text": "Hi"}, {"text": "Hi"}]},
            ],
        },
    ),
    "72-73-74-anthropic": Wish(
        FLASH,
        A,
        asks_messages(
            HI,
            CLAUDES_CALLS,
            {
                "role": "user",
                "content": [
                    {"type": "tool_result", "tool_use_id": "functions_get_weather_0", "content": "18"},
                    {"type": "tool_result", "tool_use_id": "b", "content": "Down.", "is_error": True},
                ],
            },
            tools=[CLAUDES_TOOL],
        ),
        {
            "tools": [GOOGLE_TOOL],
            "generationConfig": {"maxOutputTokens": 4096},
            "contents": [
                {"role": "user", "parts": [{"text": "Hi"}]},
                {
                    "role": "model",
                    "parts": [
                        {"functionCall": {"id": "functions_get_weather_0", "name": TOOL, "args": {}}},
                        {"functionCall": {"id": "b", "name": TOOL, "args": {"city": "Oslo"}}},
                    ],
                },
                {
                    "role": "user",
                    "parts": [
                        {
                            "functionResponse": {
                                "id": "functions_get_weather_0",
                                "name": TOOL,
                                "response": {"output": "18"},
                            }
                        },
                        {"functionResponse": {"id": "b", "name": TOOL, "response": {"error": "Down."}}},
                    ],
                },
            ],
        },
    ),
    "79-85-responses": Wish(
        FLASH,
        R,
        asks_responses(tools=[RESPONSES_TOOL], tool_choice="required"),
        {"tools": [GOOGLE_TOOL], "toolConfig": {"functionCallingConfig": {"mode": "ANY"}}},
    ),
    "79-85-anthropic": Wish(
        FLASH,
        A,
        asks_messages(tools=[CLAUDES_TOOL], tool_choice={"type": "tool", "name": TOOL}),
        {
            "tools": [GOOGLE_TOOL],
            "generationConfig": {"maxOutputTokens": 4096},
            "toolConfig": {"functionCallingConfig": {"mode": "ANY", "allowedFunctionNames": [TOOL]}},
        },
    ),
    "83-responses": Wish(
        FLASH,
        R,
        asks_responses(text={"format": {"type": "json_schema", "name": "city", "schema": CITIES}}),
        {
            "generationConfig": {
                "responseMimeType": "application/json",
                "responseJsonSchema": {"title": "city", **CITIES},
            }
        },
    ),
    "86-off-responses": Wish(FLASH, R, asks_responses(reasoning={"effort": "none"}), thinks(thinkingBudget=0)),
    "86-level-anthropic": Wish(
        FLASH_3,
        A,
        asks_messages(thinking={"type": "adaptive"}, output_config={"effort": "low"}),
        {
            "generationConfig": {
                "maxOutputTokens": 4096,
                "thinkingConfig": {"thinkingLevel": "LOW", "includeThoughts": True},
            }
        },
    ),
    "86-pro-anthropic": Wish(
        PRO,
        A,
        asks_messages(thinking={"type": "disabled"}),
        {"generationConfig": {"maxOutputTokens": 4096, "thinkingConfig": {"thinkingBudget": 1024}}},
        ("thinking.type",),
    ),
    "92-responses": Wish(
        FLASH,
        R,
        asks_responses({"role": "user", "content": [{"type": "input_file", "filename": "a.pdf", "file_data": PDF}]}),
        {"contents": [{"role": "user", "parts": [GOOGLES_PDF]}]},
        ("input[0].content[0].filename",),
    ),
    "92-anthropic": Wish(
        FLASH,
        A,
        asks_messages({"role": "user", "content": [CLAUDES_PDF]}),
        {
            "contents": [{"role": "user", "parts": [GOOGLES_PDF]}],
            "generationConfig": {"maxOutputTokens": 4096},
        },
    ),
    "111-112-anthropic": Wish(
        "gpt-6-sol",
        A,
        asks_messages(
            {
                "role": "user",
                "content": [{"type": "image", "source": {"type": "url", "url": "https://example.com/a.png"}}],
            },
            output_config={"effort": "low", "format": {"type": "json_schema", "schema": CITIES}},
            thinking={"type": "adaptive"},
        ),
        {
            "input": [
                {
                    "type": "message",
                    "role": "user",
                    "content": [{"type": "input_image", "image_url": "https://example.com/a.png", "detail": "auto"}],
                }
            ],
            "text": {"format": {"type": "json_schema", "name": "answer", "schema": CITIES, "strict": False}},
            "reasoning": {"effort": "low"},
            "max_output_tokens": 4096,
            "store": False,
        },
        ("output_config.format",),
    ),
    "116-gemini": Wish(
        "gpt-6-sol",
        G,
        generation(seed=7, stopSequences=["END"]),
        {"store": False},
        ("generationConfig.seed", "generationConfig.stopSequences"),
    ),
}
"""*sent* is whole but for the fields that every request has; what is not named there must not be in it."""
ALWAYS: Final = {"model", "messages", "contents", "input", "max_tokens", "max_completion_tokens", "include"}
BACKEND_OF: Final = {"claude": "anthropic", "gemini": "gemini", "gpt-6": "openai_responses", "gpt-": "openai_chat"}


@pytest.mark.parametrize("name", WISHES)
def test_what_a_client_asks_reaches_the_vendor_or_is_reported(sdks: Sdks, name: str) -> None:
    wish = WISHES[name]
    vendor = next(found for start, found in BACKEND_OF.items() if wish.stem.startswith(start))
    model = sdks.model(vendor, NEXT[vendor].whole, stem=wish.stem)
    paths = {R: "/v1/responses", A: "/v1/messages", G: f"/v1beta/models/{model}:generateContent"}
    body = wish.body if wish.client == G else {"model": model, **wish.body}

    reply = sdks.server.post(paths[wish.client], body)

    assert reply.status == 200, reply.body
    (asked,) = sdks.asked(model)
    assert {field: asked.get(field) for field in wish.sent} == wish.sent
    assert set(asked) <= set(wish.sent) | ALWAYS
    losses = [unquote(each.split("=", 1)[0]) for each in reply.headers.get("x-modelport-losses", "").split(",") if each]
    assert sorted(losses) == sorted(wish.lost)


@pytest.mark.parametrize(
    ("client", "body", "place"),
    [
        pytest.param(R, asks_responses(HI, {"role": "assistant", "content": "Well"}), "input[1]", id="32-responses"),
        pytest.param(
            G,
            asks_google({"role": "user", "parts": [{"text": "Hi"}]}, {"role": "model", "parts": [{"text": "Well"}]}),
            "contents[1]",
            id="32-gemini",
        ),
        pytest.param(
            R,
            asks_responses(
                {
                    "role": "user",
                    "content": [{"type": "input_audio", "input_audio": {"data": "UklGRg==", "format": "wav"}}],
                }
            ),
            "audio",
            id="38-responses",
        ),
        pytest.param(
            G,
            asks_google({"role": "user", "parts": [{"inlineData": {"mimeType": "audio/wav", "data": "UklGRg=="}}]}),
            "audio",
            id="38-gemini",
        ),
    ],
)
def test_what_cannot_be_said_is_refused_before_the_vendor_is_asked(
    sdks: Sdks, client: str, body: Json, place: str
) -> None:
    model = sdks.model("anthropic", NEXT["anthropic"].whole, stem=NEW)
    path = "/v1/responses" if client == R else f"/v1beta/models/{model}:generateContent"

    reply = sdks.server.post(path, body if client == G else {"model": model, **body})

    assert reply.status == 400
    assert place in reply.json["error"]["message"]
    assert sdks.asked(model) == []


@EVERY_CLIENT
@pytest.mark.parametrize(("model", "body", "status"), [("nobody/knows", None, 404), ("anthropic/m", b"{nonsense", 400)])
def test_133_the_proxys_own_errors_are_the_clients_too(
    sdks: Sdks, model: str, body: bytes | None, status: int, client: str
) -> None:
    path = {"openai_chat": "/v1/chat/completions", R: "/v1/responses", A: "/v1/messages"}.get(
        client, f"/v1beta/models/{model}:generateContent"
    )

    reply = sdks.post(client, model, False) if body is None else sdks.server.post(path, body)

    assert reply.status == status
    match client:
        case "anthropic":
            assert set(reply.json) == {"type", "error", "request_id"}
            assert reply.json["error"]["type"] == {404: "not_found_error", 400: "invalid_request_error"}[status]
        case "gemini":
            assert reply.json["error"]["status"] == {404: "NOT_FOUND", 400: "INVALID_ARGUMENT"}[status]
        case _:
            assert set(reply.json["error"]) == {"message", "type", "param", "code"}
