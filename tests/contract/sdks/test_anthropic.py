"""The official `anthropic` SDK for Python, unmodified but for its base URL."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Any

import anthropic
import pytest
import pytest_asyncio
from anthropic import Anthropic, AsyncAnthropic, beta_async_tool, beta_tool
from pydantic import BaseModel

from tests.contract.matrix.scenarios import CAPITAL, PNG, RESULTS, SCENARIOS, SEAL, THOUGHT
from tests.contract.sdks.conftest import Port

SDK = f"anthropic {anthropic.__version__} (Python)"
LIMIT = 4096


class City(BaseModel):
    city: str
    population: int


@beta_tool
def get_weather(city: str) -> str:
    """How warm it is.

    Args:
        city: where
    """
    return RESULTS[city]


@beta_async_tool(name="get_weather")
async def get_weather_later(city: str) -> str:
    """How warm it is.

    Args:
        city: where
    """
    return RESULTS[city]


RUNNERS = ["anthropic", "openai_chat", "openai_responses", "gemini"]


def asked(scenario: str) -> Any:
    return [{"role": "user", "content": SCENARIOS[scenario].ask.question}]


@pytest.fixture
def client(port: Port) -> Iterator[Anthropic]:
    with Anthropic(base_url=port.url, api_key="not-needed", max_retries=0, timeout=30) as sdk:
        yield sdk


@pytest_asyncio.fixture
async def async_client(port: Port) -> AsyncIterator[AsyncAnthropic]:
    async with AsyncAnthropic(base_url=port.url, api_key="not-needed", max_retries=0, timeout=30) as sdk:
        yield sdk


def test_create(client: Anthropic, model: str) -> None:
    """messages.create, whole."""
    answer: Any = client.messages.create(model=model, max_tokens=LIMIT, messages=asked("text"))

    assert answer.content[0].text == CAPITAL
    assert (answer.stop_reason, answer.usage.output_tokens) == ("end_turn", 9)


def test_stream_helper(client: Anthropic, model: str) -> None:
    """messages.stream: text_stream, final message, input tokens from the first event."""
    with client.messages.stream(model=model, max_tokens=LIMIT, messages=asked("text")) as stream:
        text = "".join(stream.text_stream)
        final = stream.get_final_message()

    assert text == stream.get_final_text() == CAPITAL
    assert final.usage.output_tokens == 9


def test_thinking(client: Anthropic, model: str) -> None:
    """messages.stream with thinking: thinking blocks with a signature."""
    with client.messages.stream(
        model=model,
        max_tokens=LIMIT,
        messages=asked("reasoning"),
        thinking={"type": "enabled", "budget_tokens": 1024},
    ) as stream:
        thoughts = [event.thinking for event in stream if event.type == "thinking"]
        blocks: Any = stream.get_final_message().content

    assert "".join(thoughts) == THOUGHT
    assert [block.type for block in blocks] == ["thinking", "text"]
    assert blocks[0].signature
    assert (blocks[0].signature == SEAL) == model.startswith("anthropic/")


@pytest.mark.parametrize("dialect", RUNNERS)
def test_tool_runner(client: Anthropic, model: str) -> None:
    """beta.messages.tool_runner: the SDK calls the tools itself."""
    runner = client.beta.messages.tool_runner(
        model=model, max_tokens=LIMIT, messages=asked("results"), tools=[get_weather]
    )

    final: Any = runner.until_done()

    assert final.content[-1].text == "Yes, by nine degrees."


@pytest.mark.parametrize("dialect", RUNNERS)
def test_streaming_tool_runner(client: Anthropic, model: str) -> None:
    """beta.messages.tool_runner, streamed."""
    runner = client.beta.messages.tool_runner(
        model=model, max_tokens=LIMIT, messages=asked("results"), tools=[get_weather], stream=True
    )

    turns: list[Any] = []
    for stream in runner:
        for _ in stream:
            pass
        turns.append(stream.get_final_message())

    assert [turn.stop_reason for turn in turns] == ["tool_use", "end_turn"]
    assert turns[-1].content[-1].text == "Yes, by nine degrees."


@pytest.mark.parametrize("dialect", RUNNERS)
async def test_async_tool_runner(async_client: AsyncAnthropic, model: str) -> None:
    """AsyncAnthropic: beta.messages.tool_runner."""
    runner = async_client.beta.messages.tool_runner(
        model=model, max_tokens=LIMIT, messages=asked("results"), tools=[get_weather_later]
    )

    final: Any = await runner.until_done()

    assert final.content[-1].text == "Yes, by nine degrees."


async def test_async_stream(async_client: AsyncAnthropic, model: str) -> None:
    """AsyncAnthropic: messages.stream."""
    async with async_client.messages.stream(model=model, max_tokens=LIMIT, messages=asked("text")) as stream:
        text = "".join([piece async for piece in stream.text_stream])

    assert text == CAPITAL


def test_parse(client: Anthropic, model: str) -> None:
    """messages.parse with a pydantic class."""
    answer = client.messages.parse(model=model, max_tokens=LIMIT, messages=asked("schema"), output_format=City)

    assert answer.parsed_output == City(city="Paris", population=2_100_000)


def test_image(client: Anthropic, model: str) -> None:
    """messages.create with a picture."""
    content: Any = [
        {"type": "text", "text": SCENARIOS["image"].ask.question},
        {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PNG}},
    ]

    answer: Any = client.messages.create(model=model, max_tokens=LIMIT, messages=[{"role": "user", "content": content}])

    assert answer.content[0].text == "One pixel."


def test_count_tokens(client: Anthropic, model: str) -> None:
    """messages.count_tokens."""
    assert client.messages.count_tokens(model=model, messages=asked("text")).input_tokens > 0


def test_models(client: Anthropic, model: str) -> None:
    """models.list and models.retrieve in Anthropic's shape."""
    listed = {found.id for found in client.models.list()}

    assert model in listed
    assert client.models.retrieve(model).id == model


def test_errors(client: Anthropic, model: str) -> None:
    """The exception that fits, before and after the first byte."""
    with pytest.raises(anthropic.BadRequestError):
        client.messages.create(model=model, max_tokens=LIMIT, messages=asked("error_400"))
    with (
        pytest.raises(anthropic.APIError),
        client.messages.stream(model=model, max_tokens=LIMIT, messages=asked("error_late")) as stream,
    ):
        list(stream)
