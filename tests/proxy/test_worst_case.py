"""What is reserved for a prompt: never less than vendors count of such things."""

from __future__ import annotations

import base64

import pytest

from proxy.worst_case import most_input_tokens, searches
from translators.neutral import (
    Audio,
    Document,
    Image,
    Message,
    OutputFormat,
    Part,
    Request,
    Source,
    Text,
    Tool,
    ToolResult,
)
from translators.tokens import estimate_request, family, rough_request

SENTENCES = "The quick brown fox jumps over the lazy dog; then it rests, since it is tired. " * 40


def asking(*parts: Part, **more: object) -> Request:
    return Request("openai_chat", "m", (Message("user", parts),), **more)  # type: ignore[arg-type]  # of the table


def of_bytes(count: int, kind: str) -> Source:
    return Source(kind, base64.b64encode(bytes(count)).decode())


@pytest.mark.parametrize("model", ["gpt-5", "claude-opus-4-8", "claude-3-5-haiku", "gemini-3-pro", "qwen3"])
def test_text_and_tools_are_never_less_than_the_estimate_that_is_booked(model: str) -> None:
    tool = Tool("search", "Find things. " * 20, {"type": "object", "properties": {"q": {"type": "string"}}})
    output = OutputFormat("json_schema", {"type": "object", "properties": {f"f{n}": {} for n in range(50)}})
    request = asking(Text(SENTENCES), tools=(tool,), output=output)

    assert most_input_tokens(request, model) >= estimate_request(request, family(model)).tokens


@pytest.mark.parametrize(
    ("part", "least", "most"),
    [
        (Image(of_bytes(1000, "image/png")), 4_784, 6_000),
        (Image(Source(url="https://example.com/a.png")), 4_784, 6_000),
        (Document(of_bytes(3_000, "application/pdf")), 3_000, 10_000),
        (Document(of_bytes(1_200_000, "application/pdf")), 100 * 3_000, 1_000_000),
        (Document(of_bytes(30_000_000, "application/pdf")), 1_000_000, 1_010_000),
        (Document(Source(file_id="file_1", vendor="openai_chat")), 10_000, 50_000),
        (Document(Source(), text="short"), 1, 100),
        (Audio(of_bytes(60 * 4_000, "audio/mp3")), 60 * 32, 3_000),
        (ToolResult("c1", (Image(of_bytes(10, "image/png")),)), 4_784, 6_000),
    ],
)
def test_media_are_taken_at_their_dearest(part: Part, least: int, most: int) -> None:
    assert least <= most_input_tokens(asking(part), "gpt-5") <= most


def test_a_vendors_own_tool_brings_text_of_its_own_and_is_billed_by_use() -> None:
    plain = asking(Text("hello"))
    searching = asking(Text("hello"), tools=(Tool("web_search", kind="native"),))

    assert most_input_tokens(searching, "gpt-5") > rough_request(plain).tokens + 10_000
    assert (searches(plain), searches(searching)) == (0, 5)
