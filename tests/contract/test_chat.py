"""The official OpenAI SDK, unmodified, against every backend dialect: what it asks and what it gets."""

from __future__ import annotations

import json
from typing import Any

import openai
import pytest
from openai import OpenAI
from pydantic import BaseModel

from tests.contract.backends import DIALECTS, Backends
from tests.replay import Split, cassette

TEXT = "Paris is the capital of France."
THOUGHT = "France's capital is well known."
QUESTION: Any = [{"role": "user", "content": "What is the capital of France?"}]
WEATHER: Any = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "The weather in a city.",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}
DOT = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="


class City(BaseModel):
    """What a structured answer is parsed to."""

    city: str
    population: int


# --- answers -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("dialect", DIALECTS)
def test_a_whole_answer(client: OpenAI, backends: Backends, dialect: str) -> None:
    """Text, finish and usage: cached and cache-write tokens are in the prompt's, thinking in the completion's."""
    model = backends.says(dialect, cassette(f"{dialect}/text"))

    raw = client.chat.completions.with_raw_response.create(model=model, messages=QUESTION)
    answer = raw.parse()

    assert answer.object == "chat.completion"
    assert [(c.index, c.message.role, c.message.content, c.finish_reason) for c in answer.choices] == [
        (0, "assistant", TEXT, "stop")
    ]
    assert answer.choices[0].message.tool_calls is None
    assert answer.usage is not None
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens, answer.usage.total_tokens) == (20, 9, 29)
    assert answer.usage.prompt_tokens_details is not None
    assert answer.usage.prompt_tokens_details.cached_tokens == 5
    assert answer.usage.completion_tokens_details is not None
    assert answer.usage.completion_tokens_details.reasoning_tokens == 3
    assert raw.headers["x-modelport-target"] == model
    assert raw.headers["x-modelport-attempts"] == "1"
    assert raw.headers["x-request-id"]


@pytest.mark.parametrize("split", ["whole", 1, 7])
@pytest.mark.parametrize("dialect", DIALECTS)
def test_a_streamed_answer(client: OpenAI, backends: Backends, dialect: str, split: Split) -> None:
    """One id, the role first, the text whole, one finish, and no usage that was not asked for."""
    model = backends.says(dialect, cassette(f"{dialect}/text_stream", split))

    chunks = list(client.chat.completions.create(model=model, messages=QUESTION, stream=True))

    deltas = [choice for chunk in chunks for choice in chunk.choices]
    assert "".join(choice.delta.content or "" for choice in deltas) == TEXT
    assert chunks[0].choices[0].delta.role == "assistant"
    assert [choice.finish_reason for choice in deltas if choice.finish_reason] == ["stop"]
    assert len({chunk.id for chunk in chunks}) == len({chunk.created for chunk in chunks}) == 1
    assert all(chunk.usage is None and chunk.choices for chunk in chunks)


@pytest.mark.parametrize("dialect", DIALECTS)
def test_usage_ends_the_stream_when_asked_for(client: OpenAI, backends: Backends, dialect: str) -> None:
    model = backends.says(dialect, cassette(f"{dialect}/text_stream"))

    chunks = list(
        client.chat.completions.create(
            model=model, messages=QUESTION, stream=True, stream_options={"include_usage": True}
        )
    )

    reports = [chunk for chunk in chunks if chunk.usage]
    assert reports == [chunks[-1]]
    assert chunks[-1].choices == []
    assert chunks[-1].usage is not None
    assert (chunks[-1].usage.prompt_tokens, chunks[-1].usage.completion_tokens) == (20, 9)


@pytest.mark.parametrize(
    ("dialect", "name", "finish"),
    [(dialect, "truncated", "length") for dialect in DIALECTS]
    + [("anthropic", "refusal", "content_filter"), ("gemini", "refusal", "content_filter")]
    + [("openai_chat", "refusal", "stop")],
)
def test_finish_reasons(client: OpenAI, backends: Backends, dialect: str, name: str, finish: str) -> None:
    """A refusal says why, and never looks like an ordinary empty answer."""
    model = backends.says(dialect, cassette(f"{dialect}/{name}"))

    choice = client.chat.completions.create(model=model, messages=QUESTION).choices[0]

    assert choice.finish_reason == finish
    if name == "truncated":
        assert choice.message.content == "Paris is"
    else:
        assert choice.message.refusal


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("dialect", DIALECTS)
def test_reasoning_is_apart_from_the_text(client: OpenAI, backends: Backends, dialect: str, stream: bool) -> None:
    """It has one outward name, `reasoning_content`."""
    model = backends.says(dialect, cassette(f"{dialect}/reasoning{'_stream' * stream}"))

    if stream:
        chunks = client.chat.completions.create(model=model, messages=QUESTION, stream=True)
        deltas: list[Any] = [chunk.choices[0].delta for chunk in chunks if chunk.choices]
    else:
        deltas = [client.chat.completions.create(model=model, messages=QUESTION).choices[0].message]

    assert "".join(delta.content or "" for delta in deltas) == TEXT
    assert "".join(getattr(delta, "reasoning_content", None) or "" for delta in deltas) == THOUGHT


# --- tools -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dialect", DIALECTS)
def test_parallel_tool_calls(client: OpenAI, backends: Backends, dialect: str) -> None:
    """Text and two calls in one message, ids apart."""
    model = backends.says(dialect, cassette(f"{dialect}/tools"))

    choice = client.chat.completions.create(model=model, messages=QUESTION, tools=[WEATHER]).choices[0]

    calls: list[Any] = choice.message.tool_calls or []
    assert (choice.finish_reason, choice.message.content) == ("tool_calls", "Looking both up.")
    assert [(call.type, call.function.name, json.loads(call.function.arguments)) for call in calls] == [
        ("function", "get_weather", {"city": "Paris"}),
        ("function", "get_weather", {"city": "Oslo"}),
    ]
    assert len({call.id for call in calls}) == 2


@pytest.mark.parametrize("split", ["whole", 1])
@pytest.mark.parametrize("dialect", DIALECTS)
def test_streamed_tool_calls(client: OpenAI, backends: Backends, dialect: str, split: Split) -> None:
    """The SDK's own accumulator puts them together, which it can only when names and ids come once."""
    model = backends.says(dialect, cassette(f"{dialect}/tools_stream", split))

    with client.chat.completions.stream(model=model, messages=QUESTION, tools=[WEATHER]) as stream:
        choice = stream.get_final_completion().choices[0]

    calls: list[Any] = choice.message.tool_calls or []
    assert (choice.finish_reason, choice.message.content) == ("tool_calls", "Looking both up.")
    assert [(call.function.name, json.loads(call.function.arguments)) for call in calls] == [
        ("get_weather", {"city": "Paris"}),
        ("get_weather", {"city": "Oslo"}),
    ]
    assert len({call.id for call in calls}) == 2


def _second_turn(first: Any) -> list[Any]:
    paris, oslo = first.tool_calls
    return [
        *QUESTION,
        first.model_dump(exclude_none=True),
        {"role": "tool", "tool_call_id": paris.id, "content": "18 degrees"},
        {"role": "tool", "tool_call_id": oslo.id, "content": "4 degrees"},
        {"role": "user", "content": "Which is warmer?"},
    ]


@pytest.mark.parametrize("dialect", DIALECTS)
def test_results_go_back(client: OpenAI, backends: Backends, dialect: str) -> None:
    """The second turn reaches the vendor in its own form: results in order, each with its call."""
    model = backends.says(dialect, cassette(f"{dialect}/tools"), cassette(f"{dialect}/text"))
    first = client.chat.completions.create(model=model, messages=QUESTION, tools=[WEATHER]).choices[0].message

    answer = client.chat.completions.create(model=model, messages=_second_turn(first), tools=[WEATHER])

    assert answer.choices[0].message.content == TEXT
    body: Any = backends.asked(model)[1]
    {"openai_chat": _see_openai, "anthropic": _see_anthropic, "gemini": _see_gemini}[dialect](body)


def _see_openai(body: Any) -> None:
    roles = [message["role"] for message in body["messages"]]
    assert roles == ["user", "assistant", "tool", "tool", "user"]
    assert [call["id"] for call in body["messages"][1]["tool_calls"]] == [
        message["tool_call_id"] for message in body["messages"][2:4]
    ]


def _see_anthropic(body: Any) -> None:
    """Both results and the question stand in ONE user message, results first."""
    assert [message["role"] for message in body["messages"]] == ["user", "assistant", "user"]
    uses = [block for block in body["messages"][1]["content"] if block["type"] == "tool_use"]
    assert [use["input"] for use in uses] == [{"city": "Paris"}, {"city": "Oslo"}]
    blocks = body["messages"][2]["content"]
    assert [block["type"] for block in blocks] == ["tool_result", "tool_result", "text"]
    assert [block["tool_use_id"] for block in blocks[:2]] == [use["id"] for use in uses]
    assert "18 degrees" in json.dumps(blocks[0])
    assert [tool["name"] for tool in body["tools"]] == ["get_weather"]
    assert body["tools"][0]["input_schema"]["required"] == ["city"]
    assert body["max_tokens"] > 0


def _see_gemini(body: Any) -> None:
    """The name comes back with each result, and the signature with the first call."""
    assert [content["role"] for content in body["contents"]] == ["user", "model", "user"]
    calls = [part for part in body["contents"][1]["parts"] if "functionCall" in part]
    assert [call["functionCall"]["args"] for call in calls] == [{"city": "Paris"}, {"city": "Oslo"}]
    assert calls[0]["thoughtSignature"] == "c2lnbmF0dXJlLW9uZQ=="
    results = [part["functionResponse"] for part in body["contents"][2]["parts"] if "functionResponse" in part]
    assert [(result["name"], "degrees" in json.dumps(result["response"])) for result in results] == [
        ("get_weather", True),
        ("get_weather", True),
    ]
    assert body["contents"][2]["parts"][-1] == {"text": "Which is warmer?"}
    declared = body["tools"][0]["functionDeclarations"][0]
    assert declared["name"] == "get_weather"
    assert ("parameters" in declared) != ("parametersJsonSchema" in declared)


@pytest.mark.parametrize(
    ("dialect", "choice", "place", "rendered"),
    [
        ("openai_chat", "required", "tool_choice", "required"),
        ("anthropic", "required", "tool_choice", {"type": "any"}),
        ("anthropic", "none", "tool_choice", {"type": "none"}),
        ("gemini", "required", "toolConfig", {"functionCallingConfig": {"mode": "ANY"}}),
        ("gemini", "none", "toolConfig", {"functionCallingConfig": {"mode": "NONE"}}),
        ("anthropic", WEATHER["function"]["name"], "tool_choice", {"type": "tool", "name": "get_weather"}),
        (
            "gemini",
            WEATHER["function"]["name"],
            "toolConfig",
            {"functionCallingConfig": {"mode": "ANY", "allowedFunctionNames": ["get_weather"]}},
        ),
    ],
)
def test_tool_choice(
    client: OpenAI, backends: Backends, dialect: str, choice: str, place: str, rendered: object
) -> None:
    model = backends.says(dialect, cassette(f"{dialect}/tools"))
    asked: Any = choice if choice in {"required", "none"} else {"type": "function", "function": {"name": choice}}

    client.chat.completions.create(model=model, messages=QUESTION, tools=[WEATHER], tool_choice=asked)

    assert backends.asked(model)[0][place] == rendered


# --- requests ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("dialect", DIALECTS)
def test_structured_output_is_parsed(client: OpenAI, backends: Backends, dialect: str) -> None:
    model = backends.says(dialect, cassette(f"{dialect}/json"))

    answer = client.chat.completions.parse(model=model, messages=QUESTION, response_format=City)

    assert answer.choices[0].message.parsed == City(city="Paris", population=2100000)
    body: Any = backends.asked(model)[0]
    schema = {
        "openai_chat": lambda: body["response_format"]["json_schema"]["schema"],
        "anthropic": lambda: body["output_config"]["format"]["schema"],
        "gemini": lambda: body["generationConfig"]["responseJsonSchema"],
    }[dialect]()
    assert set(schema["properties"]) == {"city", "population"}
    if dialect == "gemini":
        assert body["generationConfig"]["responseMimeType"] == "application/json"


@pytest.mark.parametrize("dialect", DIALECTS)
def test_structured_output_streamed(client: OpenAI, backends: Backends, dialect: str) -> None:
    model = backends.says(dialect, cassette(f"{dialect}/json_stream"))

    with client.chat.completions.stream(model=model, messages=QUESTION, response_format=City) as stream:
        parsed = stream.get_final_completion().choices[0].message.parsed

    assert parsed == City(city="Paris", population=2100000)


@pytest.mark.parametrize("dialect", DIALECTS)
def test_a_picture_in_the_request(client: OpenAI, backends: Backends, dialect: str) -> None:
    """A data URL becomes the vendor's own form with the true media type."""
    model = backends.says(dialect, cassette(f"{dialect}/text"))
    picture: Any = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{DOT}"}}

    client.chat.completions.create(
        model=model,
        messages=[{"role": "user", "content": [{"type": "text", "text": "What is this?"}, picture]}],
    )

    body: Any = backends.asked(model)[0]
    sent = {
        "openai_chat": lambda: body["messages"][0]["content"][1] == picture,
        "anthropic": lambda: (
            body["messages"][0]["content"][1]
            == {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": DOT}}
        ),
        "gemini": lambda: body["contents"][0]["parts"][1] == {"inlineData": {"mimeType": "image/png", "data": DOT}},
    }[dialect]()
    assert sent, json.dumps(body)[:600]


def _with_picture(url: str) -> Any:
    return [
        {
            "role": "user",
            "content": [{"type": "text", "text": "What?"}, {"type": "image_url", "image_url": {"url": url}}],
        }
    ]


def test_a_remote_picture_stays_remote_for_vendors_that_fetch(client: OpenAI, backends: Backends) -> None:
    url = "https://example.com/cat.png"
    openai_model = backends.says("openai_chat", cassette("openai_chat/text"))
    anthropic_model = backends.says("anthropic", cassette("anthropic/text"))
    google_model = backends.says("gemini", cassette("gemini/text"))
    google_file = "https://generativelanguage.googleapis.com/v1beta/files/abc123"

    client.chat.completions.create(model=openai_model, messages=_with_picture(url))
    client.chat.completions.create(model=anthropic_model, messages=_with_picture(url))
    client.chat.completions.create(model=google_model, messages=_with_picture(google_file))

    openai_body: Any = backends.asked(openai_model)[0]
    anthropic_body: Any = backends.asked(anthropic_model)[0]
    google_body: Any = backends.asked(google_model)[0]
    assert openai_body["messages"][0]["content"][1]["image_url"]["url"] == url
    assert anthropic_body["messages"][0]["content"][1]["source"] == {"type": "url", "url": url}
    assert google_body["contents"][0]["parts"][1]["fileData"]["fileUri"] == google_file


def test_a_picture_on_a_private_address_is_not_fetched(client: OpenAI, backends: Backends) -> None:
    """Gemini cannot fetch it, and the proxy must not: a 400 that names the place, and no request on either side."""
    model = backends.says("gemini", cassette("gemini/text"))
    before = len(backends.upstream.requests)

    with pytest.raises(openai.BadRequestError) as refused:
        client.chat.completions.create(model=model, messages=_with_picture(f"{backends.upstream.url}/cat.png"))

    assert "messages[0].content" in str(refused.value)
    assert len(backends.upstream.requests) == before


@pytest.mark.parametrize("role", ["system", "developer"])
@pytest.mark.parametrize("dialect", DIALECTS)
def test_instructions(client: OpenAI, backends: Backends, dialect: str, role: Any) -> None:
    """They stand where the vendor wants them, not among the user's words."""
    model = backends.says(dialect, cassette(f"{dialect}/text"))

    client.chat.completions.create(model=model, messages=[{"role": role, "content": "Be brief."}, *QUESTION])

    body: Any = backends.asked(model)[0]
    match dialect:
        case "anthropic":
            assert [block["text"] for block in body["system"]] == ["Be brief."]
            assert [message["role"] for message in body["messages"]] == ["user"]
        case "gemini":
            assert body["systemInstruction"]["parts"] == [{"text": "Be brief."}]
            assert [content["role"] for content in body["contents"]] == ["user"]
        case _:
            assert body["messages"][0]["content"] == "Be brief."
            assert body["messages"][0]["role"] in {"system", "developer"}


def test_plain_settings_reach_each_vendor(client: OpenAI, backends: Backends) -> None:
    models = {dialect: backends.says(dialect, cassette(f"{dialect}/text")) for dialect in DIALECTS}

    for model in models.values():
        client.chat.completions.create(
            model=model, messages=QUESTION, temperature=0.5, stop=["END"], max_completion_tokens=50
        )

    anthropic: Any = backends.asked(models["anthropic"])[0]
    gemini: Any = backends.asked(models["gemini"])[0]
    plain: Any = backends.asked(models["openai_chat"])[0]
    assert (anthropic["temperature"], anthropic["stop_sequences"], anthropic["max_tokens"]) == (0.5, ["END"], 50)
    settings = gemini["generationConfig"]
    assert (settings["temperature"], settings["stopSequences"], settings["maxOutputTokens"]) == (0.5, ["END"], 50)
    assert (plain["temperature"], plain["stop"], plain["max_completion_tokens"]) == (0.5, ["END"], 50)


@pytest.mark.parametrize(
    ("dialect", "stem", "place"),
    [
        ("openai_chat", "gpt-5-mini", ["reasoning_effort"]),
        ("anthropic", "claude-opus-4-7", ["output_config", "effort"]),
        ("gemini", "gemini-3.8-flash", ["generationConfig", "thinkingConfig", "thinkingLevel"]),
    ],
)
def test_reasoning_effort(client: OpenAI, backends: Backends, dialect: str, stem: str, place: list[str]) -> None:
    model = backends.says(dialect, cassette(f"{dialect}/text"), stem=stem)

    client.chat.completions.create(model=model, messages=QUESTION, reasoning_effort="low")

    found: Any = backends.asked(model)[0]
    for key in place:
        found = found[key]
    assert str(found).lower() == "low"


@pytest.mark.parametrize(
    ("stem", "dialect", "place"),
    [
        ("claude-sonnet-4-5", "anthropic", ["thinking", "budget_tokens"]),
        ("gemini-2.5-flash", "gemini", ["generationConfig", "thinkingConfig", "thinkingBudget"]),
    ],
)
def test_older_models_get_a_budget_instead(
    client: OpenAI, backends: Backends, stem: str, dialect: str, place: list[str]
) -> None:
    model = backends.says(dialect, cassette(f"{dialect}/text"), stem=stem)

    client.chat.completions.create(model=model, messages=QUESTION, reasoning_effort="high")

    body: Any = backends.asked(model)[0]
    found = body
    for key in place:
        found = found[key]
    assert found >= 1024
    if dialect == "anthropic":
        assert found < body["max_tokens"]


@pytest.mark.parametrize("dialect", ["openai_chat", "gemini"])
def test_two_answers(client: OpenAI, backends: Backends, dialect: str) -> None:
    model = backends.says(dialect, cassette(f"{dialect}/two_choices"))

    answer = client.chat.completions.create(model=model, messages=QUESTION, n=2)

    assert [(choice.index, choice.message.content) for choice in answer.choices] == [(0, TEXT), (1, "It is Paris.")]
    body: Any = backends.asked(model)[0]
    assert (body["n"] if dialect == "openai_chat" else body["generationConfig"]["candidateCount"]) == 2


def test_two_answers_from_a_vendor_that_gives_one(client: OpenAI, backends: Backends) -> None:
    """Anthropic has no `n`: two calls, their usage summed."""
    model = backends.says("anthropic", cassette("anthropic/text"))

    answer = client.chat.completions.create(model=model, messages=QUESTION, n=2)

    assert [choice.index for choice in answer.choices] == [0, 1]
    assert answer.usage is not None
    assert answer.usage.completion_tokens == 18
    assert len(backends.asked(model)) == 2


def test_losses_are_reported(client: OpenAI, backends: Backends) -> None:
    """Anthropic has no presence penalty: it is dropped, and the answer says so; `reject` refuses instead."""
    model = backends.says("anthropic", cassette("anthropic/text"))
    strict = {"modelport": {"losses": "reject"}}

    raw = client.chat.completions.with_raw_response.create(model=model, messages=QUESTION, presence_penalty=0.5)
    with pytest.raises(openai.BadRequestError) as refused:
        client.chat.completions.create(model=model, messages=QUESTION, presence_penalty=0.5, extra_body=strict)

    assert "presence_penalty" in raw.headers["x-modelport-losses"]
    assert "presence_penalty" not in backends.asked(model)[0]
    assert "presence_penalty" in str(refused.value)
    assert len(backends.asked(model)) == 1


def test_verbatim_bodies_keep_unknown_fields_and_lose_only_ours(client: OpenAI, backends: Backends) -> None:
    """A vendor's new field works on the day it appears; `modelport` is for the proxy alone."""
    model = backends.says("openai_chat", cassette("openai_chat/text"))

    client.chat.completions.create(
        model=model,
        messages=QUESTION,
        extra_body={"brand_new": {"deep": [1]}, "modelport": {"tags": "team=search"}},
    )

    body: Any = backends.asked(model)[0]
    assert body["brand_new"] == {"deep": [1]}
    assert "modelport" not in body
    assert "/" not in body["model"]


@pytest.mark.parametrize(
    ("dialect", "header"),
    [("openai_chat", "authorization"), ("anthropic", "x-api-key"), ("gemini", "x-goog-api-key")],
)
def test_only_the_providers_own_key_goes_out(client: OpenAI, backends: Backends, dialect: str, header: str) -> None:
    """In the vendor's header, never in the URL; the client's own stays here."""
    model = backends.says(dialect, cassette(f"{dialect}/text"))

    client.chat.completions.create(model=model, messages=QUESTION)

    asked = backends.upstream.asked(model.split("/")[1])[0]
    assert "sk-upstream-0123456789abcdef" in asked.headers[header]
    assert "not-needed" not in json.dumps([*asked.headers.values(), asked.path, asked.body.decode()])
    assert "sk-upstream" not in asked.path
