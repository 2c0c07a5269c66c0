"""The built-in `demo` provider answers without network or key, says that it is a simulation, and fails on demand."""

from __future__ import annotations

import json
from typing import Any

import openai
import pytest
from openai import OpenAI
from pydantic import BaseModel

QUESTION: Any = [{"role": "user", "content": "Hello there, good machine"}]
TOOL: Any = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}, "days": {"type": "integer"}},
            "required": ["city", "days"],
        },
    },
}


class Answer(BaseModel):
    """Something with a few types in it."""

    title: str
    count: int
    tags: list[str]


def test_it_says_what_it_is(client: OpenAI) -> None:
    answer = client.chat.completions.create(model="demo/echo", messages=QUESTION)

    text = answer.choices[0].message.content or ""
    assert any(word in text.lower() for word in ("simulat", "demo"))
    assert answer.choices[0].finish_reason == "stop"
    assert answer.usage is not None
    assert answer.usage.prompt_tokens > 0
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens


def test_it_streams_the_same_words(client: OpenAI) -> None:
    whole = client.chat.completions.create(model="demo/echo", messages=QUESTION).choices[0].message.content
    chunks = list(client.chat.completions.create(model="demo/echo", messages=QUESTION, stream=True))

    pieces = [choice.delta.content for chunk in chunks for choice in chunk.choices if choice.delta.content]
    assert "".join(pieces) == whole
    assert len(pieces) > 3


@pytest.mark.parametrize("choice", ["required", {"type": "function", "function": {"name": "get_weather"}}])
def test_it_calls_a_tool(client: OpenAI, choice: Any) -> None:
    answer = client.chat.completions.create(model="demo/echo", messages=QUESTION, tools=[TOOL], tool_choice=choice)

    calls: list[Any] = list(answer.choices[0].message.tool_calls or [])
    assert answer.choices[0].finish_reason == "tool_calls"
    arguments = json.loads(calls[0].function.arguments)
    assert (calls[0].function.name, type(arguments["city"]), type(arguments["days"])) == ("get_weather", str, int)


def test_it_fits_a_schema(client: OpenAI) -> None:
    answer = client.chat.completions.parse(model="demo/echo", messages=QUESTION, response_format=Answer)

    assert isinstance(answer.choices[0].message.parsed, Answer)


@pytest.mark.parametrize(
    ("model", "kind"),
    [
        ("demo/fail-429", openai.RateLimitError),
        ("demo/fail-500", openai.InternalServerError),
        ("demo/fail-529", openai.InternalServerError),
        ("demo/malformed", openai.InternalServerError),
    ],
)
def test_it_fails_when_told_to(client: OpenAI, model: str, kind: type[openai.APIStatusError]) -> None:
    with pytest.raises(kind) as raised:
        client.chat.completions.create(model=model, messages=QUESTION)

    assert raised.value.response.headers["x-should-retry"] == "false"


def test_it_breaks_off_when_told_to(client: OpenAI) -> None:
    stream = client.chat.completions.create(model="demo/cut", messages=QUESTION, stream=True)

    with pytest.raises(openai.APIError):
        list(stream)


def test_it_hangs_when_told_to(client: OpenAI) -> None:
    with pytest.raises(openai.APIStatusError) as raised:
        client.chat.completions.create(
            model="demo/hang", messages=QUESTION, extra_body={"modelport": {"timeout_s": 0.3}}
        )

    assert raised.value.status_code == 504


@pytest.mark.parametrize("first", ["demo/fail-429", "demo/fail-500", "demo/fail-529", "demo/malformed"])
def test_another_target_takes_over(client: OpenAI, first: str) -> None:
    raw = client.chat.completions.with_raw_response.create(
        model=first, messages=QUESTION, extra_body={"models": [first, "demo/echo"]}
    )

    assert raw.headers["x-modelport-target"] == "demo/echo"
