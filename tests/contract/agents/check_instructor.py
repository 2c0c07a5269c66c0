"""instructor: a structured output by tool and by JSON Schema, through OpenAI's and Anthropic's clients."""

from __future__ import annotations

import os

import instructor
import pytest
from anthropic import Anthropic
from openai import OpenAI
from pydantic import BaseModel

URL = os.environ.get("MODELPORT_URL", "http://127.0.0.1:4100")
TO_OPENAI = "to-openai/gpt-4.1"
TO_ANTHROPIC = "to-anthropic/claude-sonnet-4-5"
QUESTION = [{"role": "user", "content": "'Paris' has 2100000 inhabitants."}]


class City(BaseModel):
    city: str
    population: int


@pytest.mark.parametrize("mode", [instructor.Mode.TOOLS, instructor.Mode.JSON_SCHEMA, instructor.Mode.TOOLS_STRICT])
@pytest.mark.parametrize("model", [TO_ANTHROPIC, TO_OPENAI])
def test_openai(mode: instructor.Mode, model: str) -> None:
    client = instructor.from_openai(OpenAI(base_url=f"{URL}/v1", api_key="none"), mode=mode)

    found = client.chat.completions.create(model=model, messages=QUESTION, response_model=City, max_retries=0)

    assert (found.city, found.population) == ("Paris", 2_100_000)


def test_partial() -> None:
    """Streamed, as instructor's partial objects."""
    client = instructor.from_openai(OpenAI(base_url=f"{URL}/v1", api_key="none"))

    *_, last = client.chat.completions.create_partial(model=TO_ANTHROPIC, messages=QUESTION, response_model=City)

    assert (last.city, last.population) == ("Paris", 2_100_000)


def test_anthropic() -> None:
    client = instructor.from_anthropic(Anthropic(base_url=URL, api_key="none"))

    found = client.messages.create(
        model=TO_OPENAI, max_tokens=1000, messages=QUESTION, response_model=City, max_retries=0
    )

    assert (found.city, found.population) == ("Paris", 2_100_000)
