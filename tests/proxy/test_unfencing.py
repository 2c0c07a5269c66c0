"""The fence around JSON, taken off a stream on its way."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.structured import fenced
from proxy.unfencing import LONGEST_PREFACE, Unfencer, beginning
from translators.neutral import Event, Failure, Finish, PartDelta, PartEnd, PartStart, Text, Thinking, ToolCall

JSON = '{"a": ["x ``` y", "\\"}\\\\"], "b": {"c": "```json\\n{"}}'
FENCED = [
    f"```json\n{JSON}\n```",
    f"```\n{JSON}\n```\n",
    f"\n  ```JSON  \r\n\n{JSON}```",
    f"Here it is:\n```json\n{JSON}\n```\nI hope that helps.",
    f"```json\n{JSON}",
    f"Two lines\nof prose.\n\n```json5\n{JSON}\n\n```",
]
AS_THEY_ARE = [
    JSON,
    f"  {JSON}",
    f"Sure: {JSON}",
    "```python\nprint({})\n```",
    "```json\nnull\n```",
    "I cannot do that.",
    "x" * (LONGEST_PREFACE + 1) + f"\n```json\n{JSON}\n```",
    "```",
    "",
]


def stream(pieces: Sequence[str], choice: int = 0) -> list[Event]:
    return [
        PartStart(0, Text(""), choice),
        *(PartDelta(0, piece, choice) for piece in pieces),
        PartEnd(0, choice),
        Finish("stop", choice),
    ]


def told(events: Sequence[Event], choice: int = 0) -> str:
    return "".join(event.text for event in events if isinstance(event, PartDelta) and event.choice == choice)


def unfenced(events: Sequence[Event]) -> tuple[list[Event], int]:
    """Event by event, and how often a fence was taken off."""
    opened: list[bool] = []
    unfencer = Unfencer(lambda: opened.append(True))
    return [passed for event in events for passed in unfencer.events([event])], len(opened)


def cut(text: str, places: Sequence[int]) -> Iterator[str]:
    ends = sorted({min(place, len(text)) for place in places} | {0, len(text)})
    return (text[start:end] for start, end in pairwise(ends))


@pytest.mark.parametrize("text", FENCED)
@given(places=st.lists(st.integers(0, 500), max_size=12))
def test_json_comes_without_its_fence_wherever_the_stream_is_cut(text: str, places: list[int]) -> None:
    """The brackets of its texts do not end it."""
    events, times = unfenced(stream(list(cut(text, places))))

    assert (told(events), times) == (JSON, 1)
    assert events[-2:] == [PartEnd(0), Finish("stop")]


@pytest.mark.parametrize("text", AS_THEY_ARE)
@given(places=st.lists(st.integers(0, 500), max_size=12))
def test_everything_else_passes_as_it_is(text: str, places: list[int]) -> None:
    """Event for event, once it is clear."""
    events = stream(list(cut(text, places)))

    assert unfenced(events) == (events, 0)


@given(value=st.recursive(st.text() | st.integers(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)))
def test_a_stream_gives_what_a_whole_answer_does(value: object) -> None:
    text = f"```json\n{json.dumps({'value': value}, ensure_ascii=False)}\n```"

    events, _ = unfenced(stream(list(text)))

    assert told(events) == fenced(text)


def test_choices_are_told_apart() -> None:
    events: list[Event] = [PartStart(0, Text("")), PartStart(0, Text(""), 1)]
    for letter in f"```json\n{JSON}\n```":
        events += [PartDelta(0, letter), PartDelta(0, "z", 1)]
    ends: list[Event] = [PartEnd(0), Finish("stop"), PartEnd(0, 1), Finish("stop", 1)]

    passed, times = unfenced([*events, *ends])

    assert (told(passed), times) == (JSON, 1)
    assert set(told(passed, 1)) == {"z"}


def test_reasoning_and_calls_are_not_looked_at() -> None:
    events: list[Event] = [
        PartStart(0, Thinking("")),
        PartDelta(0, f"```json\n{JSON}\n```"),
        PartEnd(0),
        PartStart(1, ToolCall("c", "f", "")),
        PartDelta(1, '```\n{"x": 1}'),
        PartEnd(1),
        Finish("tool_calls"),
    ]

    assert unfenced(events) == (events, 0)


def test_a_failure_lets_go_of_what_was_held() -> None:
    events: list[Event] = [PartStart(0, Text("")), PartDelta(0, "Here"), Failure("connection", "gone", 502)]

    assert unfenced(events) == (events, 0)


@pytest.mark.parametrize(
    ("text", "clear"),
    [("", False), ("``", False), ("Here is", False), ("```json\n", False), ("{", True), ("a [", True)],
)
def test_what_may_still_become_a_fence_is_waited_for(text: str, clear: bool) -> None:
    assert (beginning(text) is not None) is clear
