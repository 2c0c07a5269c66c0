"""The hand-written cassettes of the Responses API are what the official SDK understands."""

from __future__ import annotations

import json
from typing import Any

import pytest
from openai import OpenAI

from tests.replay import Upstream, cassette, cassettes

QUESTION = "What is the capital of France?"
TEXTS = {
    "text": "Paris is the capital of France.",
    "reasoning": "Paris is the capital of France.",
    "json": '{"city": "Paris", "population": 2100000}',
    "tools": "Looking both up.",
    "truncated": "Paris is",
    "refusal": "",
}
NAMES = [
    name
    for found in cassettes()
    if found.startswith("openai_responses/") and (name := found.split("/")[1]).removesuffix("_stream") in TEXTS
]


@pytest.mark.parametrize("name", NAMES)
def test_the_sdk_reads_it(upstream: Upstream, name: str) -> None:
    upstream.script(name, cassette(f"openai_responses/{name}"))
    with OpenAI(base_url=f"{upstream.url}/v1", api_key="none", max_retries=0) as client:
        if name.endswith("_stream"):
            with client.responses.stream(model=name, input=QUESTION) as stream:
                last: Any = list(stream)[-1]
            response: Any = last.response
        else:
            response = client.responses.create(model=name, input=QUESTION)

    stem = name.removesuffix("_stream")
    calls = [json.loads(item.arguments) for item in response.output if item.type == "function_call"]
    assert (response.output_text, calls) == (
        TEXTS[stem],
        [{"city": "Paris"}, {"city": "Oslo"}] if stem == "tools" else [],
    )
    assert response.status == ("incomplete" if stem == "truncated" else "completed")
    assert [item.summary[0].text for item in response.output if item.type == "reasoning"] == (
        ["France's capital is well known."] if stem == "reasoning" else []
    )
