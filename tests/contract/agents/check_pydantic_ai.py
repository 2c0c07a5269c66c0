"""pydantic-ai: an agent with a tool and one with a structured output, by each of its clients, to foreign backends."""

from __future__ import annotations

import os

import pytest
from anthropic import AsyncAnthropic
from google import genai
from pydantic import BaseModel
from pydantic_ai import Agent, NativeOutput
from pydantic_ai.models import Model
from pydantic_ai.models.anthropic import AnthropicModel
from pydantic_ai.models.google import GoogleModel
from pydantic_ai.models.openai import OpenAIChatModel, OpenAIResponsesModel
from pydantic_ai.profiles import ModelProfile
from pydantic_ai.providers.anthropic import AnthropicProvider
from pydantic_ai.providers.google import GoogleProvider
from pydantic_ai.providers.openai import OpenAIProvider

URL = os.environ.get("MODELPORT_URL", "http://127.0.0.1:4100")
TO_OPENAI = "to-openai/gpt-4.1"
TO_ANTHROPIC = "to-anthropic/claude-sonnet-4-5"
SENTENCE = "That is all there is to say. Hello."


class City(BaseModel):
    city: str
    population: int


def model(kind: str) -> Model:
    openai = OpenAIProvider(base_url=f"{URL}/v1", api_key="none")
    match kind:
        case "chat":
            return OpenAIChatModel(TO_ANTHROPIC, provider=openai)
        case "responses":
            return OpenAIResponsesModel(TO_ANTHROPIC, provider=openai)
        case "messages":
            client = AsyncAnthropic(base_url=URL, api_key="none")
            provider = AnthropicProvider(anthropic_client=client)
            # By its name pydantic-ai takes it for an old Claude without structured output.
            return AnthropicModel(TO_OPENAI, provider=provider, profile=ModelProfile(supports_json_schema_output=True))
        case _:
            google = genai.Client(api_key="none", http_options={"base_url": URL})
            return GoogleModel(TO_ANTHROPIC, provider=GoogleProvider(client=google))


KINDS = ("chat", "responses", "messages", "gemini")


def called() -> tuple[Agent, list[str]]:
    cities: list[str] = []
    agent = Agent()

    @agent.tool_plain
    def get_weather(city: str) -> str:
        """How warm it is."""
        cities.append(city)
        return "18 degrees"

    return agent, cities


@pytest.mark.parametrize("kind", KINDS)
async def test_a_tool(kind: str) -> None:
    agent, cities = called()

    result = await agent.run("How warm is it in 'Paris'?", model=model(kind))

    assert cities == ["Paris"]
    assert result.output == SENTENCE


@pytest.mark.parametrize("kind", KINDS)
async def test_a_tool_streamed(kind: str) -> None:
    agent, cities = called()

    async with agent.run_stream("How warm is it in 'Paris'?", model=model(kind)) as result:
        output = await result.get_output()

    assert cities == ["Paris"]
    assert output == SENTENCE


@pytest.mark.parametrize("kind", KINDS)
async def test_structured_output(kind: str) -> None:
    """By a tool, as pydantic-ai does by itself."""
    result = await Agent(output_type=City).run("'Paris' has 2100000 inhabitants.", model=model(kind))

    assert result.output == City(city="Paris", population=2_100_000)


@pytest.mark.parametrize("kind", KINDS)
async def test_native_output(kind: str) -> None:
    """By the dialect's own JSON Schema."""
    result = await Agent(output_type=NativeOutput(City)).run("'Paris' has 2100000 inhabitants.", model=model(kind))

    assert result.output == City(city="Paris", population=2_100_000)
