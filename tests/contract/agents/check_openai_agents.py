"""openai-agents: a run with a tool and one with an output type, on both of OpenAI's endpoints, to a foreign backend."""

from __future__ import annotations

import os

import pytest
from agents import (
    Agent,
    Model,
    OpenAIChatCompletionsModel,
    OpenAIResponsesModel,
    Runner,
    function_tool,
    set_tracing_disabled,
)
from openai import AsyncOpenAI
from pydantic import BaseModel

URL = os.environ.get("MODELPORT_URL", "http://127.0.0.1:4100")
TO_ANTHROPIC = "to-anthropic/claude-sonnet-4-5"
SENTENCE = "That is all there is to say. Hello."
CITIES: list[str] = []

set_tracing_disabled(disabled=True)


class City(BaseModel):
    city: str
    population: int


@function_tool
def get_weather(city: str) -> str:
    """How warm it is."""
    CITIES.append(city)
    return "18 degrees"


def model(kind: str) -> Model:
    client = AsyncOpenAI(base_url=f"{URL}/v1", api_key="none")
    if kind == "chat":
        return OpenAIChatCompletionsModel(TO_ANTHROPIC, client)
    return OpenAIResponsesModel(TO_ANTHROPIC, client)


@pytest.mark.parametrize("kind", ["chat", "responses"])
async def test_a_tool(kind: str) -> None:
    CITIES.clear()
    agent = Agent(name="Weather", instructions="Use the tool.", tools=[get_weather], model=model(kind))

    result = await Runner.run(agent, "How warm is it in 'Paris'?")

    assert CITIES == ["Paris"]
    assert result.final_output == SENTENCE


@pytest.mark.parametrize("kind", ["chat", "responses"])
async def test_a_tool_streamed(kind: str) -> None:
    CITIES.clear()
    agent = Agent(name="Weather", instructions="Use the tool.", tools=[get_weather], model=model(kind))

    result = Runner.run_streamed(agent, "How warm is it in 'Paris'?")
    async for _ in result.stream_events():
        pass

    assert CITIES == ["Paris"]
    assert result.final_output == SENTENCE


@pytest.mark.parametrize("kind", ["chat", "responses"])
async def test_structured_output(kind: str) -> None:
    agent = Agent(name="Cities", instructions="Answer by schema.", output_type=City, model=model(kind))

    result = await Runner.run(agent, "'Paris' has 2100000 inhabitants.")

    assert result.final_output == City(city="Paris", population=2_100_000)
