"""Custom tools in front of a backend that has functions only, there and back."""

from __future__ import annotations

from dataclasses import replace

import pytest

from translators.assemble import collect, replay
from translators.custom_tools import PARAMETERS, Restorer, as_functions, custom_names, plain_input
from translators.neutral import (
    Choice,
    Event,
    Finish,
    Message,
    PartDelta,
    PartEnd,
    PartStart,
    Request,
    Response,
    Start,
    Text,
    Tool,
    ToolCall,
    ToolChoice,
)

REQUEST = Request(
    "openai_chat",
    "m",
    (
        Message("user", (Text("go"),)),
        Message("assistant", (Text("a"), ToolCall("1", "run", 'say "hi"\n', "custom"), ToolCall("2", "f", "{}"))),
    ),
    tools=(
        Tool("f", parameters={"type": "object"}),
        Tool("run", "Runs.", kind="custom", native={"openai_chat": {"format": {"type": "grammar"}}}),
        Tool("plain", kind="custom"),
    ),
    tool_choice=ToolChoice("named", ("run",)),
)


def test_custom_tools_become_functions() -> None:
    """With one text; a grammar cannot be kept."""
    changed, losses = as_functions(REQUEST)

    assert custom_names(REQUEST) == {"run", "plain"}
    assert changed.tools == (REQUEST.tools[0], Tool("run", "Runs.", PARAMETERS), Tool("plain", None, PARAMETERS))
    assert changed.tool_choice == REQUEST.tool_choice
    assert [(loss.field, loss.action) for loss in losses] == [
        ("tools[1].custom", "emulated"),
        ("tools[1].custom.format", "dropped"),
        ("tools[2].custom", "emulated"),
    ]


def test_earlier_calls_become_calls_of_functions() -> None:
    """Their text is JSON then; other calls and messages stay."""
    changed, _ = as_functions(REQUEST)

    assert changed.messages[0] is REQUEST.messages[0]
    assert changed.messages[1].parts == (
        Text("a"),
        ToolCall("1", "run", '{"input":"say \\"hi\\"\\n"}'),
        ToolCall("2", "f", "{}"),
    )


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ('{"input": "print(1)"}', "print(1)"),
        ('{"input": ""}', ""),
        ('{"input": "a", "more": 1}', "a"),
        ('{"input": 1}', '{"input": 1}'),
        ('{"code": "x"}', '{"code": "x"}'),
        ('["x"]', '["x"]'),
        ('{"input": "cut', '{"input": "cut'),
        ("plain already", "plain already"),
        ("", ""),
    ],
)
def test_the_text_of_a_call(arguments: str, text: str) -> None:
    assert plain_input(arguments) == text


ANSWER = Response(
    "i",
    "m",
    1,
    (
        Choice(
            (Text("t"), ToolCall("1", "run", '{"input":"one"}'), ToolCall("2", "renamed_f", '{"input":"x"}')),
            "tool_calls",
        ),
        Choice((ToolCall("3", "plain", '{"input":"two"}'),), "tool_calls", 1),
    ),
)
RESTORED = replace(
    ANSWER,
    choices=(
        Choice((Text("t"), ToolCall("1", "run", "one", "custom"), ToolCall("2", "f", '{"input":"x"}')), "tool_calls"),
        Choice((ToolCall("3", "plain", "two", "custom"),), "tool_calls", 1),
    ),
)


def restorer() -> Restorer:
    return Restorer({"renamed_f": "f"}, frozenset({"run", "plain"}))


def test_calls_come_back_as_the_client_knows_them() -> None:
    assert restorer().response(ANSWER) == RESTORED


@pytest.mark.parametrize("at_once", [True, False])
def test_a_stream_says_the_same_as_the_whole(at_once: bool) -> None:
    events = list(replay(ANSWER))
    used = restorer()
    restored = used.events(events) if at_once else [each for event in events for each in used.events([event])]

    assert collect(restored) == RESTORED


def test_calls_that_are_open_together_do_not_mix() -> None:
    """Nor do those of the same place in different choices."""
    events: list[Event] = [
        Start("i", "m", 1),
        PartStart(0, ToolCall("1", "run", "")),
        PartStart(0, ToolCall("2", "run", ""), choice=1),
        PartDelta(0, '{"input":', choice=0),
        PartDelta(0, '{"input":"b"}', choice=1),
        PartDelta(0, '"a"}', choice=0),
        PartEnd(0, choice=1),
        PartEnd(0),
        Finish("tool_calls"),
        Finish("tool_calls", 1),
    ]

    restored = collect(restorer().events(events))

    assert [choice.parts[0] for choice in restored.choices] == [
        ToolCall("1", "run", "a", "custom"),
        ToolCall("2", "run", "b", "custom"),
    ]


def test_a_call_that_is_cut_keeps_what_came() -> None:
    """The end of the part is told by the parser, whatever has come by then."""
    events: list[Event] = [PartStart(0, ToolCall("1", "run", "")), PartDelta(0, '{"input":"ab'), PartEnd(0)]

    assert restorer().events(events)[1] == PartDelta(0, '{"input":"ab')


def test_without_anything_to_restore_it_is_idle() -> None:
    assert Restorer().idle
    assert Restorer().response(ANSWER) is ANSWER
    assert not restorer().idle
