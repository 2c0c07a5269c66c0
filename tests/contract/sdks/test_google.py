"""The official `google-genai` SDK for Python, unmodified but for its base URL."""

from __future__ import annotations

import base64
import warnings
from collections.abc import Iterator
from typing import Any

import pytest
from pydantic import BaseModel

from tests.contract.matrix.scenarios import CAPITAL, PNG, RESULTS, SCENARIOS, THOUGHT
from tests.contract.sdks.conftest import Port

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from google import genai
    from google.genai import errors, types

SDK = f"google-genai {genai.__version__} (Python)"


class City(BaseModel):
    city: str
    population: int


def get_weather(city: str) -> str:
    """How warm it is."""
    return RESULTS[city]


def asked(scenario: str) -> str:
    return SCENARIOS[scenario].ask.question


@pytest.fixture
def client(port: Port) -> Iterator[genai.Client]:
    sdk = genai.Client(api_key="not-needed", http_options={"base_url": port.url})
    yield sdk
    sdk.close()


def test_generate_content(client: genai.Client, model: str) -> None:
    """models.generate_content, whole."""
    answer: Any = client.models.generate_content(model=model, contents=asked("text"))

    assert answer.text == CAPITAL
    assert answer.usage_metadata.total_token_count == 29


def test_stream(client: genai.Client, model: str) -> None:
    """models.generate_content_stream, with thoughts."""
    config = types.GenerateContentConfig(
        thinking_config=types.ThinkingConfig(include_thoughts=True, thinking_budget=1024)
    )
    chunks: list[Any] = list(
        client.models.generate_content_stream(model=model, contents=asked("reasoning"), config=config)
    )

    parts = [part for chunk in chunks for part in chunk.candidates[0].content.parts or []]
    assert "".join(part.text or "" for part in parts if not part.thought) == CAPITAL
    assert "".join(part.text or "" for part in parts if part.thought) == THOUGHT
    assert chunks[-1].usage_metadata.total_token_count == 29


def test_chats(client: genai.Client, model: str) -> None:
    """chats: two turns, whole and streamed."""
    chat = client.chats.create(model=model)

    first = chat.send_message(asked("text"))
    second = "".join(chunk.text or "" for chunk in chat.send_message_stream(asked("text")))

    assert first.text == second == CAPITAL


def test_automatic_function_calling(client: genai.Client, model: str) -> None:
    """Automatic function calling: the SDK calls the Python function itself."""
    config = types.GenerateContentConfig(tools=[get_weather])

    answer: Any = client.models.generate_content(model=model, contents=asked("results"), config=config)

    assert answer.text == "Yes, by nine degrees."
    assert len(answer.automatic_function_calling_history) == 3


def test_automatic_function_calling_with_thoughts(client: genai.Client, model: str) -> None:
    """Automatic function calling in a chat, with thoughts given back."""
    config = types.GenerateContentConfig(
        tools=[get_weather], thinking_config=types.ThinkingConfig(include_thoughts=True, thinking_budget=1024)
    )
    chat = client.chats.create(model=model, config=config)

    assert chat.send_message(asked("reasoning_back")).text == "18 degrees."


async def test_async(client: genai.Client, model: str) -> None:
    """client.aio: generate_content, stream, automatic function calling."""
    whole = await client.aio.models.generate_content(model=model, contents=asked("text"))
    stream = await client.aio.models.generate_content_stream(model=model, contents=asked("text"))
    streamed = "".join([chunk.text or "" async for chunk in stream])
    config = types.GenerateContentConfig(tools=[get_weather])
    called = await client.aio.models.generate_content(model=model, contents=asked("results"), config=config)
    await client.aio.aclose()

    assert whole.text == streamed == CAPITAL
    assert called.text == "Yes, by nine degrees."


def test_schema(client: genai.Client, model: str) -> None:
    """response_schema with a pydantic class."""
    config = types.GenerateContentConfig(response_mime_type="application/json", response_schema=City)

    answer = client.models.generate_content(model=model, contents=asked("schema"), config=config)

    assert answer.parsed == City(city="Paris", population=2_100_000)


def test_image(client: genai.Client, model: str) -> None:
    """generate_content with a picture."""
    picture = types.Part.from_bytes(data=base64.b64decode(PNG), mime_type="image/png")

    assert client.models.generate_content(model=model, contents=[asked("image"), picture]).text == "One pixel."


def test_count_tokens(client: genai.Client, model: str) -> None:
    """models.count_tokens."""
    assert (client.models.count_tokens(model=model, contents=asked("text")).total_tokens or 0) > 0


def test_models(client: genai.Client, model: str) -> None:
    """models.list and models.get in Gemini's shape."""
    listed = {(found.name or "").removeprefix("models/") for found in client.models.list()}

    assert model in listed
    assert (client.models.get(model=model).name or "").removeprefix("models/") == model


def test_errors(client: genai.Client, model: str) -> None:
    """The exception that fits."""
    with pytest.raises(errors.ClientError) as refused:
        client.models.generate_content(model=model, contents=asked("error_400"))
    with pytest.raises(errors.APIError):
        list(client.models.generate_content_stream(model=model, contents=asked("error_late")))

    assert refused.value.code == 400
