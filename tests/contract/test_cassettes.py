"""The hand-written cassettes are what the vendors' own SDKs understand."""

from __future__ import annotations

import json
import warnings
from typing import Any

import pytest
from anthropic import Anthropic
from openai import OpenAI

from tests.replay import Upstream, cassette, cassettes

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from google import genai

QUESTION: Any = [{"role": "user", "content": "What is the capital of France?"}]
TEXTS = {
    "text": "Paris is the capital of France.",
    "reasoning": "Paris is the capital of France.",
    "json": '{"city": "Paris", "population": 2100000}',
    "tools": "Looking both up.",
    "truncated": "Paris is",
}


def _names(dialect: str) -> list[str]:
    return [
        name
        for found in cassettes()
        if found.startswith(f"{dialect}/") and (name := found.split("/")[1]).removesuffix("_stream") in TEXTS
    ]


def _expected(name: str) -> tuple[str, list[Any]]:
    stem = name.removesuffix("_stream")
    return TEXTS[stem], [{"city": "Paris"}, {"city": "Oslo"}] if stem == "tools" else []


@pytest.mark.parametrize("name", _names("openai_chat"))
def test_openai(upstream: Upstream, name: str) -> None:
    upstream.script(name, cassette(f"openai_chat/{name}"))
    with OpenAI(base_url=f"{upstream.url}/v1", api_key="none", max_retries=0) as client:
        if name.endswith("_stream"):
            with client.chat.completions.stream(model=name, messages=QUESTION) as stream:
                message: Any = stream.get_final_completion().choices[0].message
        else:
            message = client.chat.completions.create(model=name, messages=QUESTION).choices[0].message

    calls = [json.loads(call.function.arguments) for call in message.tool_calls or []]
    assert (message.content, calls) == _expected(name)


@pytest.mark.parametrize("name", _names("anthropic"))
def test_anthropic(upstream: Upstream, name: str) -> None:
    upstream.script(name, cassette(f"anthropic/{name}"))
    with Anthropic(base_url=upstream.url, api_key="none", max_retries=0) as client:
        if name.endswith("_stream"):
            with client.messages.stream(model=name, messages=QUESTION, max_tokens=99) as stream:
                blocks: list[Any] = list(stream.get_final_message().content)
        else:
            blocks = list(client.messages.create(model=name, messages=QUESTION, max_tokens=99).content)

    text = "".join(block.text for block in blocks if block.type == "text")
    assert (text, [block.input for block in blocks if block.type == "tool_use"]) == _expected(name)


@pytest.mark.parametrize("name", _names("gemini"))
def test_gemini(upstream: Upstream, name: str) -> None:
    upstream.script(name, cassette(f"gemini/{name}"))
    client = genai.Client(api_key="none", http_options={"base_url": upstream.url})
    if name.endswith("_stream"):
        answers = list(client.models.generate_content_stream(model=name, contents="?"))
    else:
        answers = [client.models.generate_content(model=name, contents="?")]
    client.close()

    candidates: list[Any] = [candidate for answer in answers for candidate in answer.candidates or []]
    parts = [part for candidate in candidates for part in candidate.content.parts or []]
    text = "".join(part.text or "" for part in parts if not part.thought)
    assert (text, [part.function_call.args for part in parts if part.function_call]) == _expected(name)
