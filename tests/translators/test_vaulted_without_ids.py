"""Reasoning comes back to conversations whose clients keep neither signatures nor the ids of calls (WIRE 75, 77)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pytest

from translators import anthropic, gemini, openai_chat
from translators.dialect import Rules
from translators.gemini.client import parse_request
from translators.made_ids import is_made
from translators.neutral import Choice, Part, Request, Response, Thinking, ToolCall
from translators.vault_keys import call_mark, is_unique
from translators.vaulted import keys_wanted, reattached, remember

LEVEL = Rules(dialect="gemini", thinking="level")
ASKED = {"role": "user", "parts": [{"text": "What is the weather in Rome and Oslo?"}]}


@dataclass(frozen=True)
class Kept:
    """What a vault gives back."""

    value: bytes
    origin: str = "vendor/model"


class Shelf(dict[bytes, Kept]):
    """A vault in memory."""

    def keep(self, request: Request, parts: Sequence[Part]) -> None:
        answer = Response("r", "m", 0, (Choice(tuple(parts), "tool_calls"),))
        self.update({key: Kept(value) for key, value in remember(request, answer)})

    def back(self, request: Request, dialect: str) -> Request:
        found = {key: self[key] for key in keys_wanted(request) if key in self}
        return reattached(request, found, dialect, lambda origin: True)


def asked(*contents: Mapping[str, Any]) -> Request:
    return parse_request({"contents": [ASKED, *contents]}, "m", stream=False)


def called(*calls: tuple[str, Mapping[str, Any]]) -> dict[str, Any]:
    return {"role": "model", "parts": [{"functionCall": {"name": name, "args": args}} for name, args in calls]}


def answered(*names: str) -> dict[str, Any]:
    parts = [{"functionResponse": {"name": name, "response": {"output": "21 degrees"}}} for name in names]
    return {"role": "user", "parts": parts}


def signed(call: ToolCall, signature: str) -> ToolCall:
    return ToolCall(call.id, call.name, call.arguments, native={"gemini": {"thoughtSignature": signature}})


ROME = ToolCall("x1Y2z3W4", "weather", '{"city": "Rome", "days": 2}')
OSLO = ToolCall("a5B6c7D8", "weather", '{"city":"Oslo"}')
TURN = called(("weather", {"days": 2.0, "city": "Rome"}), ("weather", {"city": "Oslo"}))


def signatures(request: Request) -> list[str | None]:
    parts = [part for message in request.messages for part in message.parts if isinstance(part, ToolCall)]
    return [part.native.get("gemini", {}).get("thoughtSignature") for part in parts]


def test_77_calls_get_their_signatures_back_by_what_they_say() -> None:
    shelf = Shelf()
    shelf.keep(asked(), [signed(ROME, "s1"), OSLO])
    request = asked(TURN, answered("weather", "weather"))

    body = gemini.render_request(shelf.back(request, "gemini"), LEVEL).body
    assert [part.get("thoughtSignature") for part in body["contents"][1]["parts"]] == ["s1", None]


def test_a_thought_of_another_vendor_comes_back_in_front_of_its_call() -> None:
    shelf = Shelf()
    thought = Thinking("Both.", {"anthropic": {"signature": "c2ln"}})
    shelf.keep(asked(), [thought, ROME, OSLO])

    back = shelf.back(asked(TURN, answered("weather", "weather")), "anthropic")
    body = anthropic.render_request(back, Rules(dialect="anthropic", max_output_tokens=9)).body
    assert [block["type"] for block in body["messages"][1]["content"]] == ["thinking", "tool_use", "tool_use"]


def test_equal_calls_of_one_turn_get_each_its_own() -> None:
    shelf = Shelf()
    again = ToolCall("e9F0g1H2", "weather", OSLO.arguments)
    shelf.keep(asked(), [signed(OSLO, "s1"), signed(again, "s2")])

    turn = called(("weather", {"city": "Oslo"}), ("weather", {"city": "Oslo"}))
    assert signatures(shelf.back(asked(turn, answered("weather", "weather")), "gemini")) == ["s1", "s2"]


def test_every_turn_of_a_conversation_gets_its_own() -> None:
    """The same call in a later turn is another one."""
    shelf = Shelf()
    turn = [called(("weather", {"city": "Oslo"})), answered("weather")]
    shelf.keep(asked(), [signed(OSLO, "s1")])
    shelf.keep(asked(*turn), [signed(ToolCall("e9F0g1H2", OSLO.name, OSLO.arguments), "s2")])

    assert signatures(shelf.back(asked(*turn, *turn), "gemini")) == ["s1", "s2"]


def test_the_same_call_in_another_conversation_gets_nothing() -> None:
    shelf = Shelf()
    shelf.keep(asked(), [signed(OSLO, "s1")])
    contents = [{"role": "user", "parts": [{"text": "Hi"}]}, called(("weather", {"city": "Oslo"}))]
    other = parse_request({"contents": contents}, "m", stream=False)

    assert shelf.back(other, "gemini") is other


def test_a_client_that_keeps_ids_is_found_by_them() -> None:
    shelf = Shelf()
    shelf.keep(asked(), [signed(OSLO, "s1")])
    call = {"functionCall": {"id": OSLO.id, "name": "weather", "args": {"city": "changed"}}}

    assert signatures(shelf.back(asked({"role": "model", "parts": [call]}), "gemini")) == ["s1"]


def test_clients_of_the_older_functions_get_their_reasoning_back() -> None:
    body = {
        "model": "m",
        "messages": [{"role": "user", "content": "Rome?"}],
        "functions": [{"name": "weather", "parameters": {"type": "object"}}],
    }
    said = {
        "role": "assistant",
        "content": None,
        "function_call": {"name": "weather", "arguments": ROME.arguments},
    }
    shelf = Shelf()
    thought = Thinking("Rome.", {"anthropic": {"signature": "c2ln"}})
    shelf.keep(openai_chat.parse_request(body), [thought, ROME])
    told = {"role": "function", "name": "weather", "content": "21 degrees"}
    request = openai_chat.parse_request({**body, "messages": [*body["messages"], said, told]})

    assert thought in shelf.back(request, "anthropic").messages[1].parts


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ('{"a":1,"b":[2]}', '{"b": [2.0], "a": 1}', True),
        ("", "{}", True),
        ("null", "{}", True),
        ('{"a":1}', '{"a":"1"}', False),
        ('{"a":true}', '{"a":1}', False),
        ("not json", "not json", True),
        ('{"a":36893488147419103232}', '{"a":36893488147419103233}', False),
    ],
)
def test_what_a_call_says_does_not_hang_on_its_spelling(one: str, other: str, same: bool) -> None:
    marks = {call_mark(ToolCall(call_id, "f", arguments)) for call_id, arguments in (("1", one), ("2", other))}

    assert (len(marks) == 1) is same


def test_a_call_of_plain_text_comes_back_as_a_function() -> None:
    custom = ToolCall("1", "shell", "ls -l", kind="custom")

    assert call_mark(custom) == call_mark(ToolCall("2", "shell", '{"input":"ls -l"}'))


def test_a_made_id_is_no_ones_own() -> None:
    (call,) = asked(called(("weather", {"city": "Oslo"}))).messages[1].parts

    assert isinstance(call, ToolCall)
    assert is_made(call.id)
    assert len(call.id) <= 40
    assert not is_unique(call)
