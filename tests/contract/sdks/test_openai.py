"""The official `openai` SDK for Python, unmodified but for its base URL."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator
from typing import Any

import openai
import pytest
import pytest_asyncio
from openai import AsyncOpenAI, OpenAI
from pydantic import BaseModel

from tests.contract.matrix.scenarios import CAPITAL, RESULTS, SCENARIOS, THOUGHT, TOOL, TOOL_SCHEMA
from tests.contract.sdks.conftest import Port
from tests.contract.sdks.vendor import VECTOR

SDK = f"openai {openai.__version__} (Python)"
TOOLS: Any = [{"type": "function", "function": {"name": TOOL, "parameters": TOOL_SCHEMA}}]
FLAT_TOOLS: Any = [{"type": "function", "name": TOOL, "parameters": TOOL_SCHEMA, "strict": True}]


class City(BaseModel):
    city: str
    population: int


def asked(scenario: str) -> Any:
    return [{"role": "user", "content": SCENARIOS[scenario].ask.question}]


@pytest.fixture
def client(port: Port) -> Iterator[OpenAI]:
    with OpenAI(base_url=f"{port.url}/v1", api_key="not-needed", max_retries=0, timeout=30) as sdk:
        yield sdk


@pytest_asyncio.fixture
async def async_client(port: Port) -> AsyncIterator[AsyncOpenAI]:
    async with AsyncOpenAI(base_url=f"{port.url}/v1", api_key="not-needed", max_retries=0, timeout=30) as sdk:
        yield sdk


def test_chat(client: OpenAI, model: str) -> None:
    """chat.completions.create, whole."""
    answer = client.chat.completions.create(model=model, messages=asked("text"))

    assert answer.choices[0].message.content == CAPITAL
    assert answer.usage
    assert answer.usage.total_tokens == 29


def test_chat_tools_and_results(client: OpenAI, model: str) -> None:
    """chat.completions.stream with tools, and the results sent back."""
    messages = asked("results")
    with client.chat.completions.stream(model=model, messages=messages, tools=TOOLS) as stream:
        message = stream.get_final_completion().choices[0].message
    calls: Any = message.tool_calls
    results = [
        {"role": "tool", "tool_call_id": call.id, "content": RESULTS[json.loads(call.function.arguments)["city"]]}
        for call in calls
    ]
    turn = message.model_dump(exclude_none=True, exclude={"parsed"})

    answer = client.chat.completions.create(model=model, messages=[*messages, turn, *results], tools=TOOLS)

    assert [call.function.name for call in calls] == [TOOL, TOOL]
    assert answer.choices[0].message.content == "Yes, by nine degrees."


def test_chat_parse(client: OpenAI, model: str) -> None:
    """chat.completions.parse with a pydantic class."""
    answer = client.chat.completions.parse(model=model, messages=asked("schema"), response_format=City)

    assert answer.choices[0].message.parsed == City(city="Paris", population=2_100_000)


async def test_chat_async(async_client: AsyncOpenAI, model: str) -> None:
    """AsyncOpenAI chat, streamed."""
    stream = await async_client.chat.completions.create(
        model=model, messages=asked("text"), stream=True, stream_options={"include_usage": True}
    )
    chunks = [chunk async for chunk in stream]

    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices) == CAPITAL
    assert chunks[-1].usage


def test_responses(client: OpenAI, model: str) -> None:
    """responses.create, whole, with reasoning shown."""
    answer = client.responses.create(
        model=model, input=asked("reasoning"), reasoning={"effort": "low", "summary": "auto"}, store=False
    )

    thoughts = [item for item in answer.output if item.type == "reasoning"]
    assert answer.output_text == CAPITAL
    assert THOUGHT in thoughts[0].model_dump_json()
    assert answer.usage
    assert answer.usage.output_tokens == 9


def test_responses_stream_and_results(client: OpenAI, model: str) -> None:
    """responses.stream with tools, and the results sent back."""
    question = asked("results")
    with client.responses.stream(model=model, input=question, tools=FLAT_TOOLS, store=False) as stream:
        kinds = [event.type for event in stream]
        first: Any = stream.get_final_response()
    calls = [item for item in first.output if item.type == "function_call"]
    items = [item.model_dump(exclude_none=True, exclude={"parsed_arguments"}) for item in first.output]
    results = [
        {"type": "function_call_output", "call_id": call.call_id, "output": RESULTS[json.loads(call.arguments)["city"]]}
        for call in calls
    ]

    answer = client.responses.create(model=model, input=[*question, *items, *results], tools=FLAT_TOOLS, store=False)

    assert (kinds[0], kinds[-1]) == ("response.created", "response.completed")
    assert answer.output_text == "Yes, by nine degrees."


def test_responses_previous_response(client: OpenAI, model: str) -> None:
    """responses.create with previous_response_id; retrieve, input_items, delete."""
    first = client.responses.create(model=model, input=asked("results"), tools=FLAT_TOOLS)
    calls: Any = [item for item in first.output if item.type == "function_call"]
    results: Any = [
        {"type": "function_call_output", "call_id": call.call_id, "output": RESULTS[json.loads(call.arguments)["city"]]}
        for call in calls
    ]

    second = client.responses.create(model=model, input=results, previous_response_id=first.id, tools=FLAT_TOOLS)
    kept = client.responses.retrieve(second.id)
    items = client.responses.input_items.list(second.id)
    client.responses.delete(second.id)

    assert second.output_text == kept.output_text == "Yes, by nine degrees."
    assert {item.type for item in items} >= {"function_call_output"}
    with pytest.raises(openai.NotFoundError):
        client.responses.retrieve(second.id)


def test_responses_parse(client: OpenAI, model: str) -> None:
    """responses.parse with a pydantic class."""
    answer = client.responses.parse(model=model, input=asked("schema"), text_format=City, store=False)

    assert answer.output_parsed == City(city="Paris", population=2_100_000)


async def test_responses_async(async_client: AsyncOpenAI, model: str) -> None:
    """AsyncOpenAI responses, streamed."""
    async with async_client.responses.stream(model=model, input=asked("text"), store=False) as stream:
        async for _ in stream:
            pass
        answer = await stream.get_final_response()

    assert answer.output_text == CAPITAL


def test_completions(client: OpenAI, model: str) -> None:
    """completions.create, whole and streamed."""
    question = SCENARIOS["text"].ask.question
    whole = client.completions.create(model=model, prompt=question)
    stream = client.completions.create(model=model, prompt=question, stream=True)

    assert whole.choices[0].text == CAPITAL
    assert "".join(chunk.choices[0].text for chunk in stream if chunk.choices) == CAPITAL


@pytest.mark.parametrize("dialect", ["openai_chat", "openai_responses", "gemini"])
def test_embeddings(client: OpenAI, model: str) -> None:
    """embeddings.create, base64 and float (Anthropic has none)."""
    for encoding in ("base64", "float"):
        answer = client.embeddings.create(model=model, input=["one", "two"], encoding_format=encoding)  # type: ignore[arg-type]  a literal

        found = [entry.embedding for entry in answer.data]
        if encoding == "float":
            assert found == [VECTOR, VECTOR]
        else:
            assert len(found) == 2
    assert [
        round(number, 5) for number in client.embeddings.create(model=model, input="one").data[0].embedding
    ] == VECTOR


@pytest.mark.parametrize("dialect", ["anthropic"])
def test_no_embeddings(client: OpenAI, model: str) -> None:
    """embeddings.create for a vendor that has none is refused."""
    with pytest.raises(openai.BadRequestError, match="embeddings"):
        client.embeddings.create(model=model, input="one")


def test_models(client: OpenAI, model: str) -> None:
    """models.list and models.retrieve."""
    listed = {found.id for found in client.models.list()}

    assert model in listed
    assert client.models.retrieve(model).id == model


def test_errors(client: OpenAI, model: str) -> None:
    """The exception that fits, on both endpoints."""
    with pytest.raises(openai.BadRequestError):
        client.chat.completions.create(model=model, messages=asked("error_400"))
    with pytest.raises(openai.BadRequestError):
        client.responses.create(model=model, input=asked("error_400"), store=False)
    stream = client.responses.create(model=model, input=asked("error_late"), store=False, stream=True)
    with pytest.raises(openai.APIError, match="I broke"):
        list(stream)
