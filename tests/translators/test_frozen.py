"""Every answer survives freezing, and no bytes thaw to something else."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from translators.frozen import freeze, thaw
from translators.neutral import (
    Audio,
    Choice,
    Document,
    Image,
    Opaque,
    Refusal,
    Response,
    Source,
    Text,
    Thinking,
    TokenLogprob,
    ToolCall,
    ToolResult,
    Usage,
)

PARTS: tuple[Any, ...] = (
    Text("hi"),
    Text(""),
    Text("cited", ({"type": "url_citation", "url": "https://a.example", "is": "Text"},)),
    Thinking("hm", native={"anthropic": {"signature": "abc", "nested": [{"is": "Choice"}, [1, [2]]]}}),
    Refusal("no"),
    ToolCall("call_1", "f", '{"a": 1}'),
    ToolCall("call_2", "run", "print(1)", "custom"),
    ToolResult("call_1", (Text("ok"), Image(Source("image/png", "AA=="))), is_error=True, name="f"),
    Image(Source(url="https://a.example/x.png"), "high"),
    Audio(Source("audio/wav", "AA=="), "audio_1", "hello"),
    Document(Source(file_id="file_1", vendor="openai_chat"), "a.pdf", "text"),
    Opaque("gemini", "executableCode", {"code": "1", "is": "Usage", "list": [1, {"is": "x"}]}),
)
LOGPROBS = (TokenLogprob("hi", -0.5, (104, 105), (TokenLogprob("ho", -1.5),)), TokenLogprob("!", -0.1))
WHOLE = Response(
    "id",
    "m",
    1_790_000_000,
    (
        Choice(PARTS, "stop", 0, LOGPROBS, {"openai_chat": {"x": [1, {"is": "Text"}]}}),
        Choice((Text("b"),), "length", 1),
    ),
    Usage(10, 5, 3, 2, 1, 7, 8, {"prompt_tokens": 10, "is": "Usage", "details": {"a": [1]}}, estimated=True),
    native={"openai_chat": {"system_fingerprint": "fp"}},
)


def test_everything_survives() -> None:
    assert thaw(freeze(WHOLE)) == WHOLE


@pytest.mark.parametrize("part", PARTS, ids=lambda part: type(part).__name__)
def test_each_part_survives_alone(part: Any) -> None:
    response = replace(WHOLE, choices=(Choice((part,), "stop"),))

    assert thaw(freeze(response)) == response


@pytest.mark.parametrize("usage", [None, Usage()])
def test_absent_and_empty_usage_stay_apart(usage: Usage | None) -> None:
    assert thaw(freeze(replace(WHOLE, usage=usage))).usage == usage


def test_an_empty_and_an_absent_list_of_logprobs_stay_apart() -> None:
    empty, absent = (replace(WHOLE, choices=(Choice((), "stop", logprobs=each),)) for each in ((), None))

    assert thaw(freeze(empty)) == empty
    assert thaw(freeze(absent)) == absent


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_any_text_survives(text: str) -> None:
    response = replace(WHOLE, choices=(Choice((Text(text), ToolCall(text, text, text)), "stop"),))

    assert thaw(freeze(response)) == response


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{",
        b"null",
        b"[]",
        b"{}",
        b'{"is": "Response"}',
        b'{"is": "Text", "text": "hi"}',
        b'{"is": "Nothing"}',
        b'{"is": ["Response"]}',
        b'{"is": {"a": 1}}',
        b'{"is": "Response", "id": "i", "model": "m", "created": 1, "choices": [], "more": 1}',
        b"\xff\xfe",
    ],
)
def test_other_bytes_are_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match=r".+"):
        thaw(data)
