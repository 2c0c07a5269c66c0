"""Reasoning comes back to its vendor, in its place, and goes to no one else."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from translators import anthropic, gemini, openai_chat
from translators.assemble import collect
from translators.dialect import Rules
from translators.errors import BadAnswer
from translators.losses import placed
from translators.neutral import (
    Choice,
    Failure,
    Image,
    Message,
    Opaque,
    Part,
    Request,
    Response,
    Source,
    Text,
    Thinking,
    ToolCall,
    ToolResult,
)
from translators.vault_keys import call_key, is_unique, signature_key, text_key
from translators.vaulted import keys_wanted, reattached, remember, taken_off

SHARED = Path(os.environ.get("MODELPORT_SHARED") or Path(__file__).resolve().parents[3] / "shared")

ORIGINS = {
    "anthropic": "anthropic/claude-opus-5-5",
    "gemini": "gemini/gemini-3-pro",
    "openai_responses": "openai/gpt-6-sol",
    "openai_chat": "deepseek/deepseek-v4",
}


@dataclass(frozen=True)
class Entry:
    """What a vault gives back."""

    origin: str
    value: bytes


class Shelf:
    """A vault in memory, of one tenant."""

    def __init__(self) -> None:
        self.entries: dict[bytes, Entry] = {}

    def keep(self, request: Request, parts: Sequence[Part], dialect: str, **options: Any) -> None:
        answer = Response("r", "m", 0, (Choice(tuple(parts), "stop"),))
        for key, value in remember(request, answer, **options):
            self.entries[key] = Entry(ORIGINS[dialect], value)

    def back(
        self, request: Request, dialect: str, origin_ok: Callable[[str], bool] | None = None, **options: Any
    ) -> Request:
        """*request* reattached for the origin of *dialect*, unless *origin_ok* says otherwise."""
        found = {key: self.entries[key] for key in keys_wanted(request) if key in self.entries}
        return reattached(request, found, dialect, origin_ok or (lambda origin: origin == ORIGINS[dialect]), **options)


USER = Message("user", (Text("What is the weather in Rome and Oslo?"),))
CALL = ToolCall("call_a1B2c3D4e5F6", "weather", '{"city":"Rome"}')
OTHER = ToolCall("call_9Z8y7X6w5V4u", "weather", '{"city":"Oslo"}')


def _asked(*messages: Message) -> Request:
    return Request("openai_chat", "m", (USER, *messages))


def _results(*calls: ToolCall) -> Message:
    return Message("tool", tuple(ToolResult(call.id, (Text("21 degrees"),)) for call in calls))


def _turn(*parts: Part) -> Message:
    return Message("assistant", parts)


def _signed(dialect: str, signature: str = "sig", text: str = "hm") -> Thinking:
    native: Mapping[str, Any] = {
        "anthropic": {"signature": signature},
        "gemini": {"thoughtSignature": signature},
        "openai_responses": {"id": "rs_1", "encrypted_content": signature, "summary": []},
        "openai_chat": {"reasoning_details": [{"type": "reasoning.encrypted", "data": signature}]},
    }[dialect]
    return Thinking(text, {dialect: native})


def _plain(parts: Sequence[Part]) -> tuple[Part, ...]:
    """What a client that knows text and calls alone keeps of an answer."""
    text = "".join(part.text for part in parts if isinstance(part, Text))
    calls = [replace(part, native={}) for part in parts if isinstance(part, ToolCall)]
    return (*([Text(text)] if text else []), *calls)


DIALECTS = ["anthropic", "gemini", "openai_responses", "openai_chat"]


# --- putting back ------------------------------------------------------------------------------------


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize(
    "said",
    [(CALL,), (CALL, OTHER), (Text("Let me look."), CALL), (Text("It is 21 degrees."),)],
    ids=["call", "parallel calls", "text and call", "text"],
)
def test_a_signed_thought_comes_back_in_front(dialect: str, said: tuple[Part, ...]) -> None:
    shelf = Shelf()
    thought = _signed(dialect)
    shelf.keep(_asked(), (thought, *said), dialect)
    request = _asked(_turn(*said), Message("user", (Text("And?"),)))

    assert shelf.back(request, dialect).messages[1].parts == (thought, *said)


@pytest.mark.parametrize(
    ("written", "returned"),
    [
        pytest.param("TxTc", "TxTc", id="before a text and before a call"),
        pytest.param("TTxc", "TTxc", id="two in a row"),
        pytest.param("TcTd", "TcTd", id="between parallel calls"),
        pytest.param("xTyc", "xTyc", id="between texts that the client joined"),
    ],
)
def test_thoughts_come_back_in_their_places(written: str, returned: str) -> None:
    parts: dict[str, Part] = {"x": Text("First "), "y": Text("second."), "c": CALL, "d": OTHER}
    answer = tuple(
        parts[letter] if letter != "T" else _signed("openai_responses", f"sig{at}") for at, letter in enumerate(written)
    )
    shelf = Shelf()
    shelf.keep(_asked(), answer, "openai_responses")
    back = shelf.back(_asked(_turn(*_plain(answer))), "openai_responses").messages[1].parts

    shown = "".join(next((key for key in parts if parts[key] == part), "T") for part in back)
    assert shown == returned
    assert [part for part in back if isinstance(part, Thinking)] == [
        part for part in answer if isinstance(part, Thinking)
    ]


def test_a_joined_text_that_the_client_changed_stays_in_one_piece() -> None:
    answer = (_signed("anthropic", "a"), Text("First "), _signed("anthropic", "b"), Text("second."), CALL)
    shelf = Shelf()
    shelf.keep(_asked(), answer, "anthropic")
    back = shelf.back(_asked(_turn(Text("Something else"), CALL)), "anthropic").messages[1].parts

    assert back == (answer[0], answer[2], Text("Something else"), CALL)


def test_every_turn_of_a_conversation_gets_its_own_thoughts() -> None:
    shelf = Shelf()
    first, second = (_signed("anthropic", "sig1"), CALL), (_signed("anthropic", "sig2"), OTHER)
    shelf.keep(_asked(), first, "anthropic")
    shelf.keep(_asked(_turn(CALL), _results(CALL)), second, "anthropic")
    request = _asked(_turn(CALL), _results(CALL), _turn(OTHER), _results(OTHER))
    back = shelf.back(request, "anthropic").messages

    assert (back[1].parts, back[3].parts) == (first, second)
    assert (back[0], back[2], back[4]) == (USER, request.messages[2], request.messages[4])


def test_a_turn_that_the_client_wrote_as_several_messages_gets_each_thought_once() -> None:
    shelf = Shelf()
    answer = (_signed("anthropic", "sig1"), Text("Let me look."), CALL, _signed("anthropic", "sig2"), OTHER)
    shelf.keep(_asked(), answer, "anthropic")
    back = shelf.back(_asked(_turn(Text("Let me look.")), _turn(CALL), _turn(OTHER)), "anthropic").messages

    assert [part for message in back[1:] for part in message.parts] == list(answer)


def test_signatures_of_calls_and_texts_come_back() -> None:
    sign = {"gemini": {"thoughtSignature": "sig"}}
    for answer in (
        (replace(CALL, native=sign), OTHER),
        (Thinking("unsigned thought summary"), replace(CALL, native=sign)),
        (Text("It is warm.", native=sign),),
    ):
        shelf = Shelf()
        shelf.keep(_asked(), answer, "gemini")
        back = shelf.back(_asked(_turn(*_plain(answer))), "gemini").messages[1].parts

        assert back == tuple(part for part in answer if not isinstance(part, Thinking))


def test_an_empty_text_that_only_signs_comes_back_at_its_end() -> None:
    seal = Text("", native={"gemini": {"thoughtSignature": "sig"}})
    shelf = Shelf()
    shelf.keep(_asked(), (Text("It is warm."), seal), "gemini")

    assert shelf.back(_asked(_turn(Text("It is warm."))), "gemini").messages[1].parts == (Text("It is warm."), seal)


def test_a_client_that_kept_the_readable_half_gets_the_signed_whole() -> None:
    shelf = Shelf()
    shelf.keep(_asked(), (_signed("anthropic"), CALL), "anthropic")
    request = _asked(_turn(Thinking("hm"), CALL))

    assert shelf.back(request, "anthropic").messages[1].parts == (_signed("anthropic"), CALL)


PHASED = Text("It is warm.", native={"openai_responses": {"id": "msg_1", "phase": "final_answer"}})
PHASE_ALONE = Text("It is warm.", native={"openai_responses": {"phase": "final_answer"}})


@pytest.mark.parametrize(
    ("answer", "kept", "back"),
    [
        pytest.param((_signed("openai_responses"), PHASED), (), (_signed("openai_responses"), PHASED), id="with both"),
        pytest.param((PHASED,), (), (PHASE_ALONE,), id="without reasoning"),
        pytest.param(
            (_signed("openai_responses"), PHASED),
            (_signed("openai_responses"),),
            (_signed("openai_responses"), PHASE_ALONE),
            id="beside the reasoning that the client kept",
        ),
    ],
)
def test_phases_come_back_and_ids_of_items_with_their_reasoning_only(
    answer: tuple[Part, ...], kept: tuple[Part, ...], back: tuple[Part, ...]
) -> None:
    """WIRE 117."""
    shelf = Shelf()
    shelf.keep(_asked(), answer, "openai_responses")

    request = shelf.back(_asked(_turn(*kept, Text("It is warm."))), "openai_responses")

    assert request.messages[1].parts == back


def test_phases_of_texts_that_the_client_joined_come_back() -> None:
    said = [Text(text, native={"openai_responses": {"phase": text}}) for text in ("commentary", "final_answer")]
    shelf = Shelf()
    shelf.keep(_asked(), said, "openai_responses")

    request = shelf.back(_asked(_turn(Text("commentaryfinal_answer"))), "openai_responses")

    assert list(request.messages[1].parts) == said


DETAILS = [
    {"type": "reasoning.summary", "summary": "hm", "format": "openai-responses-v1", "id": "rs_1"},
    {"type": "reasoning.encrypted", "data": "sig", "format": "openai-responses-v1", "id": "rs_1"},
]
"""OpenAI's reasoning as a client of chat completions keeps it."""


def test_reasoning_in_a_chat_clients_details_is_not_given_back_twice() -> None:
    """OpenAI answers 400 to two items of one id."""
    shelf = Shelf()
    shelf.keep(_asked(), (_signed("openai_responses"), CALL), "openai_responses")
    request = _asked(_turn(Thinking("hm", {"openai_chat": {"reasoning_details": DETAILS}}), CALL))

    assert shelf.back(request, "openai_responses") is request


def test_reasoning_in_a_chat_clients_details_is_taken_off_for_another_origin() -> None:
    shelf = Shelf()
    shelf.keep(_asked(), (_signed("openai_responses"), CALL), "openai_responses")
    request = _asked(_turn(Thinking("hm", {"openai_chat": {"reasoning_details": DETAILS}}), CALL))

    assert _foreign(shelf, request, "openai_responses").messages[1].parts == (Thinking("hm"), CALL)


def test_reasoning_whose_item_a_plain_client_drops_stays_away() -> None:
    """OpenAI answers 400 to a reasoning item without the item that followed it."""
    search = Opaque("openai_responses", "web_search_call", {"type": "web_search_call", "id": "ws_1"})
    first, second = (_signed("openai_responses", signature) for signature in ("sig1", "sig2"))
    shelf = Shelf()
    shelf.keep(_asked(), (first, search, second, Text("Found.")), "openai_responses")

    assert shelf.back(_asked(_turn(Text("Found."))), "openai_responses").messages[1].parts == (second, Text("Found."))


@pytest.mark.parametrize(
    ("replay", "said", "comes_back"),
    [
        ("always", (CALL,), True),
        ("always", (Text("Warm."),), True),
        ("tool_turns", (CALL,), True),
        ("tool_turns", (Text("Warm."),), False),
        ("never", (CALL,), False),
    ],
)
def test_readable_reasoning_comes_back_where_the_server_wants_it(replay, said, comes_back: bool) -> None:
    shelf = Shelf()
    thought = Thinking("The user wants the weather.")
    shelf.keep(_asked(), (thought, *said), "openai_chat")
    request = _asked(_turn(*said))
    back = shelf.back(request, "openai_chat", replay=replay)

    assert back.messages[1].parts == ((thought, *said) if comes_back else said)
    assert (back is request) is not comes_back


# --- whose it is -------------------------------------------------------------------------------------


def test_reasoning_goes_to_no_other_dialect_and_to_no_other_origin() -> None:
    for dialect in DIALECTS:
        shelf = Shelf()
        shelf.keep(_asked(), (_signed(dialect), CALL), dialect)
        request = _asked(_turn(CALL))

        assert shelf.back(request, dialect, lambda origin: False) is request
        for other in DIALECTS[:3]:
            if other != dialect:
                assert shelf.back(request, other, lambda origin: True) is request


def test_a_text_is_known_only_after_the_same_words() -> None:
    """Greetings are alike in many conversations; the thoughts behind them are not for all eyes."""
    shelf = Shelf()
    hello = Text("Hello! How can I help you?")
    secret = Message("system", (Text("The user is John Doe, account 1234."),))
    shelf.keep(Request("openai_chat", "m", (secret, USER)), (_signed("anthropic"), hello), "anthropic")
    same = Request("openai_chat", "m", (secret, USER, _turn(hello), USER))
    other = Request("openai_chat", "m", (USER, _turn(hello), USER))

    assert shelf.back(same, "anthropic").messages[2].parts == (_signed("anthropic"), hello)
    assert shelf.back(other, "anthropic") is other


@pytest.mark.parametrize("call_id", ["call_0", "functions.weather:0", "0", "weather", ""])
def test_a_call_whose_id_is_counted_is_known_only_after_the_same_words(call_id: str) -> None:
    shelf = Shelf()
    call = ToolCall(call_id, "weather", "{}")
    shelf.keep(_asked(), (_signed("anthropic"), call), "anthropic")
    same = _asked(_turn(call), _results(call))
    other = Request("openai_chat", "m", (Message("user", (Text("Hi"),)), _turn(call), _results(call)))

    assert shelf.back(same, "anthropic").messages[1].parts == (_signed("anthropic"), call)
    assert shelf.back(other, "anthropic") is other


@pytest.mark.parametrize(
    ("call_id", "unique"),
    [
        ("call_a1B2c3D4e5F6g7H8i9J0", True),
        ("toolu_01A09q90qw90lq917835lq9", True),
        ("chatcmpl-tool-9f8a7b6c5d4e4f3a", True),
        ("550e8400-e29b-41d4-a716-446655440000", True),
        ("D681PevKs", True),
        ("functions.weather2day:12", False),
        ("call_1_12", False),
        ("call_00000012", False),
        ("tool_use_number_3", False),
    ],
)
def test_which_ids_are_no_one_elses(call_id: str, unique: bool) -> None:
    assert is_unique(ToolCall(call_id, "weather2day", "{}")) is unique


def test_a_call_is_known_in_a_conversation_that_was_cut() -> None:
    """Clients drop old messages; a call's random id is enough."""
    shelf = Shelf()
    shelf.keep(_asked(_turn(Text("Old.")), USER), (_signed("anthropic"), CALL), "anthropic")

    assert shelf.back(_asked(_turn(CALL)), "anthropic").messages[1].parts == (_signed("anthropic"), CALL)


# --- taking off --------------------------------------------------------------------------------------


def _foreign(shelf: Shelf, request: Request, dialect: str) -> Request:
    return shelf.back(request, dialect, lambda origin: False)


@pytest.mark.parametrize("dialect", DIALECTS)
def test_signatures_of_another_origin_are_taken_off(dialect: str) -> None:
    """A failover within one dialect would be answered with 400; readable reasoning stays, as text."""
    shelf = Shelf()
    answer = (_signed(dialect), CALL)
    shelf.keep(_asked(), answer, dialect)

    assert _foreign(shelf, _asked(_turn(*answer)), dialect).messages[1].parts == (Thinking("hm"), CALL)


def test_what_says_nothing_but_its_signature_goes_whole() -> None:
    redacted = Thinking("", {"anthropic": {"redacted_data": "xyz"}})
    shelf = Shelf()
    shelf.keep(_asked(), (redacted, CALL), "anthropic")
    assert _foreign(shelf, _asked(_turn(redacted, CALL)), "anthropic").messages[1].parts == (CALL,)

    seal = Text("", native={"gemini": {"thoughtSignature": "sig"}})
    shelf.keep(_asked(), (Text("Warm."), seal), "gemini")
    assert _foreign(shelf, _asked(_turn(Text("Warm."), seal)), "gemini").messages[1].parts == (Text("Warm."),)


@pytest.mark.parametrize("dialect", DIALECTS)
def test_each_part_that_loses_a_signature_is_told_and_no_other(dialect: str) -> None:
    shelf = Shelf()
    answer = (_signed(dialect), CALL)
    shelf.keep(_asked(), answer, dialect)
    before = _asked(_turn(Text("Let me see."), *answer))
    bare = _asked(_turn(CALL))

    after = _foreign(shelf, before, dialect)
    told = [loss.field for loss in taken_off(before, after, dialect)]
    assert told == [place for place, part in placed(before.messages[1], 1, before.dialect) if part is answer[0]]
    assert taken_off(before, shelf.back(before, dialect, lambda origin: True), dialect) == []
    assert taken_off(bare, shelf.back(bare, dialect, lambda origin: True), dialect) == []


def test_a_calls_signature_is_taken_off_and_its_other_fields_stay() -> None:
    signed = replace(CALL, native={"gemini": {"thoughtSignature": "sig", "x": 1}, "anthropic": {"cache_control": {}}})
    picture = Image(Source("image/png", "AA=="), native={"gemini": {"thoughtSignature": "pic"}})
    shelf = Shelf()
    shelf.keep(_asked(), (signed, picture), "gemini")
    back = _foreign(shelf, _asked(_turn(signed, picture)), "gemini").messages[1].parts

    assert back == (
        replace(CALL, native={"anthropic": {"cache_control": {}}, "gemini": {"x": 1}}),
        replace(picture, native={}),
    )


def test_ids_of_items_go_with_the_reasoning_that_they_are_tied_to() -> None:
    """OpenAI answers 400 to a call of a known id without its reasoning."""
    call = replace(CALL, native={"openai_responses": {"id": "fc_1"}})
    text = Text("Warm.", native={"openai_responses": {"id": "msg_1", "phase": "commentary"}})
    shelf = Shelf()
    shelf.keep(_asked(), (_signed("openai_responses"), text, call), "openai_responses")
    back = _foreign(shelf, _asked(_turn(_signed("openai_responses"), text, call)), "openai_responses")

    kept = replace(text, native={"openai_responses": {"phase": "commentary"}})
    assert back.messages[1].parts == (Thinking("hm"), kept, CALL)


def test_reasoning_that_lies_with_another_vendor_is_known_by_its_id() -> None:
    stored = Thinking("hm", {"openai_responses": {"id": "rs_9", "summary": []}})
    shelf = Shelf()
    shelf.keep(_asked(), (stored, CALL), "openai_responses")
    request = _asked(_turn(stored, CALL))

    assert shelf.back(request, "openai_responses") is request
    assert _foreign(shelf, request, "openai_responses").messages[1].parts == (Thinking("hm"), CALL)
    assert shelf.back(_asked(_turn(CALL)), "openai_responses").messages[1].parts == (CALL,), "nothing to give back"


def test_another_vendors_compaction_is_left_out() -> None:
    item = Opaque("openai_responses", "compaction", {"type": "compaction", "encrypted_content": "zip"})
    code = Opaque("gemini", "executableCode", {"executableCode": {}, "thoughtSignature": "sig"})
    for part, dialect, left in (
        (item, "openai_responses", ()),
        (code, "gemini", (replace(code, value={"executableCode": {}}),)),
    ):
        shelf = Shelf()
        shelf.keep(_asked(), (part, CALL), dialect)

        assert _foreign(shelf, _asked(_turn(part, CALL)), dialect).messages[1].parts == (*left, CALL)


def test_a_signature_that_nobody_remembers_stays() -> None:
    shelf = Shelf()
    shelf.keep(_asked(), (_signed("anthropic", "known"), OTHER), "anthropic")
    request = _asked(_turn(_signed("anthropic", "unknown"), CALL), _results(CALL), _turn(OTHER))

    assert _foreign(shelf, request, "anthropic") is request


def test_a_conversation_that_changes_its_vendor_back_and_forth_has_to_each_its_own() -> None:
    shelf = Shelf()
    claude, google = (_signed("anthropic"), CALL), (replace(OTHER, native={"gemini": {"thoughtSignature": "g"}}),)
    shelf.keep(_asked(), claude, "anthropic")
    shelf.keep(_asked(_turn(CALL), _results(CALL)), google, "gemini")
    request = _asked(_turn(CALL), _results(CALL), _turn(OTHER), _results(OTHER))
    to_claude, to_google = (shelf.back(request, dialect).messages for dialect in ("anthropic", "gemini"))

    assert (to_claude[1].parts, to_claude[3].parts) == (claude, (OTHER,))
    assert (to_google[1].parts, to_google[3].parts) == ((CALL,), google)


# --- what does not change ----------------------------------------------------------------------------


@pytest.mark.parametrize("dialect", DIALECTS)
def test_a_client_that_keeps_everything_is_left_alone(dialect: str) -> None:
    """The same object: the caller may then send the client's own bytes."""
    call = replace(CALL, native={"gemini": {"thoughtSignature": "c"}}) if dialect == "gemini" else CALL
    answer = (_signed(dialect), Text("Let me look."), call, OTHER)
    shelf = Shelf()
    shelf.keep(_asked(), answer, dialect)
    request = _asked(_turn(*answer), _results(CALL, OTHER))

    assert shelf.back(request, dialect) is request


def test_fields_that_are_no_signatures_do_not_cost_the_verbatim_way() -> None:
    answer = (_signed("openai_responses"), replace(CALL, native={"openai_responses": {"id": "fc_1"}}))
    shelf = Shelf()
    shelf.keep(_asked(), answer, "openai_responses")
    request = _asked(_turn(_signed("openai_responses"), CALL))

    assert shelf.back(request, "openai_responses") is request


def test_without_anything_found_the_request_is_the_same() -> None:
    request = _asked(_turn(CALL), _results(CALL))

    assert reattached(request, {}, "anthropic", lambda origin: True) is request
    assert keys_wanted(request) == [call_key(CALL.id)]
    assert keys_wanted(_asked()) == []


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"{",
        b"[]",
        b"{}",
        b'{"parts": 1}',
        b'{"parts": [1, {"thinking": 2}, {}]}',
        b'{"parts": [{"thinking": "hm", "native": 1}, {"text": 1}, {"call": 1, "native": {"anthropic": 2}}]}',
    ],
)
def test_a_value_of_another_make_is_as_nothing(value: bytes) -> None:
    request = _asked(_turn(CALL))
    found = {call_key(CALL.id): Entry("anthropic/claude", value)}

    assert reattached(request, found, "anthropic", lambda origin: True) is request


@pytest.mark.parametrize(
    ("parts", "keys"),
    [
        ((Text("Hi"), CALL), 0),
        ((Thinking(""), CALL), 0),
        ((Thinking("hm"), CALL), 1),
        ((Thinking("hm"), CALL, OTHER, Text("Hi")), 3),
        ((_signed("anthropic"), CALL), 2),
        ((_signed("anthropic", "a"), _signed("anthropic", "b"), CALL), 3),
    ],
)
def test_what_of_an_answer_is_kept(parts: tuple[Part, ...], keys: int) -> None:
    answer = Response("r", "m", 0, (Choice(parts, "stop"),))

    assert len(remember(_asked(), answer)) == keys
    assert remember(_asked(), replace(answer, failure=Failure("server", "cut", 500))) == []


def test_readable_reasoning_is_not_kept_for_those_that_take_none() -> None:
    answer = Response("r", "m", 0, (Choice((Thinking("hm"), CALL), "stop"),))

    assert remember(_asked(), answer, readable=False) == []


def test_signed_details_take_the_place_of_the_readable_text_that_the_client_kept() -> None:
    signed = _signed("openai_chat")
    shelf = Shelf()
    shelf.keep(_asked(), (signed, CALL), "openai_chat")
    kept = _asked(_turn(Thinking("hm"), CALL))

    assert shelf.back(kept, "openai_chat").messages[1].parts == (signed, CALL)

    shelf = Shelf()
    shelf.keep(_asked(), (Thinking("hm"), CALL), "openai_chat")
    assert shelf.back(kept, "openai_chat") is kept, "what the client kept is enough where nothing is signed"


def test_each_choice_is_a_turn_of_its_own() -> None:
    choices = tuple(Choice((_signed("openai_responses", f"sig{n}"), Text(f"Answer {n}.")), "stop", n) for n in range(2))
    kept = remember(_asked(), Response("r", "m", 0, choices))
    found = {key: Entry("openai/gpt", value) for key, value in kept}
    for n in range(2):
        request = _asked(_turn(Text(f"Answer {n}.")))
        back = reattached(request, found, "openai_responses", lambda origin: True)

        assert back.messages[1].parts == choices[n].parts


# --- keys --------------------------------------------------------------------------------------------


def test_keys_of_different_kinds_and_words_differ() -> None:
    keys = [
        make(word, *context)
        for word in ("", "a", "b", "ab")
        for make, *context in ((call_key,), (call_key, b"a"), (text_key,), (text_key, b"a"), (signature_key,))
    ]

    assert len(set(keys)) == len(keys) == 20
    assert {len(key) for key in keys} == {16}
    assert text_key(" a\n") == text_key("a")


# --- random conversations ----------------------------------------------------------------------------

_NATIVES = st.sampled_from(DIALECTS).map(lambda dialect: _signed(dialect).native)


@st.composite
def _answers(draw: st.DrawFn) -> list[tuple[Part, ...]]:
    """Turns of a model, each with a call of its own."""
    turns: list[tuple[Part, ...]] = []
    for at in range(draw(st.integers(1, 4))):
        call = ToolCall(f"call_x{at}Y{at}z{at}W{at}", "f", "{}")
        thoughts = [
            _signed("anthropic", draw(st.text("abc", min_size=1, max_size=3)), draw(st.text(max_size=5)))
            for _ in range(draw(st.integers(0, 3)))
        ]
        words = [Text(word) for word in draw(st.lists(st.text(min_size=1, max_size=5), max_size=1))]
        turns.append((*thoughts, *words, call))
    return turns


def _conversation(turns: Sequence[tuple[Part, ...]]) -> Iterator[Message]:
    for parts in turns:
        yield Message("assistant", parts)
        yield _results(*(part for part in parts if isinstance(part, ToolCall)))


@given(_answers())
def test_a_conversation_whose_client_drops_all_is_whole_again(turns: list[tuple[Part, ...]]) -> None:
    shelf = Shelf()
    for at, parts in enumerate(turns):
        shelf.keep(_asked(*_conversation([_plain(earlier) for earlier in turns[:at]])), parts, "anthropic")
    whole = _asked(*_conversation(turns))
    stripped = _asked(*_conversation([_plain(parts) for parts in turns]))

    assert shelf.back(stripped, "anthropic") == whole
    assert shelf.back(whole, "anthropic") is whole
    moved = shelf.back(whole, "anthropic", lambda origin: False)
    assert not any(part.native for message in moved.messages for part in message.parts if not isinstance(part, Opaque))


# --- through the dialects ----------------------------------------------------------------------------

ANTHROPIC_ANSWER = {
    "id": "msg_1",
    "type": "message",
    "role": "assistant",
    "model": "claude",
    "content": [
        {"type": "thinking", "thinking": "The user wants both.", "signature": "c2ln"},
        {"type": "redacted_thinking", "data": "ZGF0YQ=="},
        {"type": "text", "text": "Let me look."},
        {"type": "tool_use", "id": "toolu_01A09q90qw90lq917835lq9", "name": "weather", "input": {"city": "Rome"}},
    ],
    "stop_reason": "tool_use",
    "usage": {"input_tokens": 1, "output_tokens": 1},
}
GEMINI_ANSWER = {
    "responseId": "r1",
    "candidates": [
        {
            "content": {
                "role": "model",
                "parts": [
                    {"text": "Both, then.", "thought": True},
                    {"functionCall": {"name": "weather", "args": {"city": "Rome"}}, "thoughtSignature": "c2ln"},
                    {"functionCall": {"name": "weather", "args": {"city": "Oslo"}}},
                ],
            },
            "finishReason": "STOP",
        }
    ],
}
CHAT_ANSWER = {
    "id": "1",
    "object": "chat.completion",
    "created": 1,
    "model": "deepseek",
    "choices": [
        {
            "index": 0,
            "finish_reason": "tool_calls",
            "message": {
                "role": "assistant",
                "content": "",
                "reasoning_content": "The user wants the weather.",
                "tool_calls": [
                    {
                        "id": "call_00_a1B2c3D4e5",
                        "type": "function",
                        "function": {"name": "weather", "arguments": "{}"},
                    }
                ],
            },
        }
    ],
}
CHAT_BODY = {
    "model": "m",
    "messages": [{"role": "user", "content": "What is the weather in Rome?"}],
    "tools": [{"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}],
}


def _plain_chat(response: Response) -> dict[str, Any]:
    """*response* as a chat client keeps it: content and calls, nothing else."""
    body = openai_chat.render_response(response, fallback_id="x", fallback_model="m", created=1)
    message = body["choices"][0]["message"]
    kept = {"role": "assistant", "content": message["content"]}
    if message.get("tool_calls"):
        kept["tool_calls"] = [
            {name: call[name] for name in ("id", "type", "function")} for call in message["tool_calls"]
        ]
    return kept


def _next_body(response: Response) -> dict[str, Any]:
    """The request in which a chat client brings the results of *response*."""
    said = _plain_chat(response)
    results = [{"role": "tool", "tool_call_id": call["id"], "content": "ok"} for call in said.get("tool_calls", ())]
    after = results or [{"role": "user", "content": "And?"}]
    return {**CHAT_BODY, "messages": [*CHAT_BODY["messages"], said, *after]}


@pytest.mark.parametrize(
    ("dialect", "module", "answer", "rules", "signed"),
    [
        (
            "anthropic",
            anthropic,
            ANTHROPIC_ANSWER,
            Rules(dialect="anthropic", max_output_tokens=4096),
            ['"signature":"c2ln"', '"data":"ZGF0YQ=="', '"thinking":"The user wants both."'],
        ),
        ("gemini", gemini, GEMINI_ANSWER, Rules(dialect="gemini", thinking="level"), ['"thoughtSignature":"c2ln"']),
        (
            "openai_chat",
            openai_chat,
            CHAT_ANSWER,
            Rules(reasoning_replay="tool_turns"),
            ['"reasoning_content":"The user wants the weather."'],
        ),
    ],
)
def test_a_plain_chat_client_brings_the_vendor_its_reasoning_back(dialect, module, answer, rules, signed) -> None:
    response = module.parse_response(answer)
    asked = openai_chat.parse_request(CHAT_BODY)
    shelf = Shelf()
    shelf.keep(asked, response.choices[0].parts, dialect)
    request = openai_chat.parse_request(_next_body(response))

    def sent(request: Request) -> str:
        return json.dumps(module.render_request(request, rules).body, separators=(",", ":"))

    without, given_back = sent(request), sent(shelf.back(request, dialect, replay=rules.reasoning_replay))
    assert [mark in without for mark in signed] == [False] * len(signed)
    assert [mark in given_back for mark in signed] == [True] * len(signed)


def _recorded(dialect: str, glob: str) -> list[Any]:
    found = sorted((SHARED / "recordings" / dialect).glob(glob))
    return [pytest.param(path, id=path.stem) for path in found] or [
        pytest.param(None, marks=pytest.mark.skip("no recordings here"))
    ]


def _recorded_answer(path: Path, module: Any) -> Response | None:
    answer = json.loads(path.read_text())["response"]
    if answer["status"] >= 400:
        return None
    if "sse" in answer:
        parser = module.StreamParser()
        response = collect([*parser.feed(answer["sse"].encode()), *parser.close()])
    else:
        response = module.parse_response(answer["body"])
    return None if response.failure else response


def _sealed(parts: Sequence[Part]) -> list[str]:
    names = ("signature", "redacted_data", "thoughtSignature")
    return [
        fields[name]
        for part in parts
        if not isinstance(part, Opaque)
        for fields in part.native.values()
        for name in names
        if name in fields
    ]


@pytest.mark.parametrize("path", _recorded("anthropic", "anthropic-messages-*.json"))
def test_recorded_signatures_of_anthropic_come_back(path: Path) -> None:
    _assert_comes_back(path, "anthropic", anthropic)


@pytest.mark.parametrize("path", _recorded("gemini", "*-generate-content-*.json"))
def test_recorded_signatures_of_gemini_come_back(path: Path) -> None:
    _assert_comes_back(path, "gemini", gemini)


def _assert_comes_back(path: Path, dialect: str, module: Any) -> None:
    """What a plain chat client sends of a recorded answer gets all of its signatures back, in their order."""
    try:
        response = _recorded_answer(path, module)
    except BadAnswer:
        return  # its dialect's own tests say which these are
    if response is None or not response.choices or not _sealed(response.choices[0].parts):
        return
    parts = response.choices[0].parts
    shelf = Shelf()
    shelf.keep(openai_chat.parse_request(CHAT_BODY), parts, dialect)
    back = shelf.back(openai_chat.parse_request(_next_body(response)), dialect)

    assert _sealed(back.messages[1].parts) == _sealed(parts)


def test_an_answer_that_says_nothing_is_nothing_to_keep() -> None:
    assert remember(Request("openai_chat", "m", ()), Response("i", "m", 1, (Choice((), "stop"),))) == []
