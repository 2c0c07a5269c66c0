"""Tool calls in a model's text, in the forms that model families write; text cut anywhere.

    form            what the model writes                                               ends with
    Hermes, Qwen    <tool_call>{"name": .., "arguments": {..}}</tool_call>              its tag
    Llama 3         <|python_tag|>{"name": .., "parameters": {..}}                      the answer; `;` between several
    Mistral         [TOOL_CALLS][{"name": .., "arguments": {..}}]                       the answer
    Mistral v11     [TOOL_CALLS]name[ARGS]{..}                                          the answer
    plain           {"name": .., "arguments": {..}} or a list of them                   the answer

text --mark--> marked --its end--> text         begin --"{" or "["--> plain --no call after all--> text

llama.cpp leaves control tokens out of its text, so that Llama's and Mistral's forms often arrive as plain ones.
A plain form counts only as the whole answer and only with the name of an offered tool; what a model marks as a call
is one, whatever its name. Text is held back only while it may yet be a call; what is none comes out as text.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

from translators.codec import JsonError, dumps_text, loads

_ENDS: Final = {"<tool_call>": "</tool_call>", "<|python_tag|>": None, "[TOOL_CALLS]": None}
"""Mark -> what ends it; None is the end of the answer."""
MAX_HELD_CHARACTERS: Final = 1_000_000
"""More than this is no call."""

_PLAIN_BEGINNING = re.compile(
    r'\s*(?:```(?:json)?\s*)?(?:\[\s*)?\{\s*"(?:name|type|function|arguments|parameters|id)"\s*:', re.DOTALL
)
_PLAIN_PREFIXES: Final = tuple(f'{{"{key}":' for key in ("name", "type", "function", "arguments", "parameters", "id"))
_BETWEEN_OBJECTS = re.compile(r"(?<=\})\s*[;\n]\s*(?=\{)")
_FENCE = re.compile(r"\A```(?:json)?\s*(.*?)\s*```\Z", re.DOTALL)
_MISTRAL_NAMED = re.compile(r"\s*([A-Za-z0-9_.:-]+)\s*(?:\[CALL_ID\][^\[{]*)?(?:\[ARGS\])?\s*(?=\{)")
_CUT_CALL = re.compile(r'\s*\{\s*"name"\s*:\s*"((?:[^"\\]|\\.)*)"\s*,\s*"arguments"\s*:\s*(.*)\Z', re.DOTALL)


@dataclass(frozen=True, slots=True)
class Call:
    """One call; *arguments* is JSON text."""

    name: str
    arguments: str


State = Literal["begin", "plain", "text", "marked"]


class CallReader:
    """Feed text, get text and calls. *tools* are the offered names."""

    __slots__ = ("_blank", "_called", "_held", "_mark", "_state", "_tools")

    def __init__(self, tools: Sequence[str]) -> None:
        self._tools = frozenset(tools)
        self._state: State = "begin"
        self._held = ""
        self._mark = ""
        self._blank = ""
        self._called = False

    def feed(self, text: str) -> list[str | Call]:
        """What *text* makes certain."""
        self._held += text
        found: list[str | Call] = []
        while self._step(found):
            pass
        return found

    def close(self) -> list[str | Call]:
        """What was still held."""
        held, self._held = self._held, ""
        found: list[str | Call] = []
        match self._state:
            case "plain" | "begin":
                calls = _plain_calls(held, self._tools)
                found.extend(calls or self._text(held))
            case "marked":
                calls = _marked_calls(held, self._mark)
                found.extend(calls or self._text(self._mark + held))
            case "text":
                found.extend(self._text(held))
        if self._blank and not self._called and not (found and isinstance(found[-1], Call)):
            found.append(self._blank)
        return found

    def _step(self, found: list[str | Call]) -> bool:
        """Move one state on; False when more text is needed."""
        match self._state:
            case "begin":
                return self._begin()
            case "plain":
                if len(self._held) > MAX_HELD_CHARACTERS:
                    self._state = "text"
                    return True
                return False
            case "text":
                return self._search(found)
            case "marked":
                return self._marked(found)

    def _begin(self) -> bool:
        begun = "".join(self._held[:400].split())
        if not begun:
            return False
        if _PLAIN_BEGINNING.match(self._held):
            self._state = "plain"
            return True
        if _may_become_plain(begun):
            return False
        self._state = "text"
        return True

    def _search(self, found: list[str | Call]) -> bool:
        at, mark = min(
            ((position, mark) for mark in _ENDS if (position := self._held.find(mark)) >= 0), default=(-1, "")
        )
        if mark:
            found.extend(self._text(self._held[:at], before_call=True))
            self._held = self._held[at + len(mark) :]
            self._state, self._mark = "marked", mark
            return True
        certain = len(self._held) - _tail_to_hold(self._held)
        found.extend(self._text(self._held[:certain]))
        self._held = self._held[certain:]
        return False

    def _marked(self, found: list[str | Call]) -> bool:
        end = _ENDS[self._mark]
        if end is None or (at := self._held.find(end)) < 0:
            if len(self._held) <= MAX_HELD_CHARACTERS:
                return False
            inside, self._held = self._held, ""
        else:
            inside, self._held = self._held[:at], self._held[at + len(end) :]
        calls = _marked_calls(inside, self._mark)
        self._called = self._called or bool(calls)
        found.extend(calls or self._text(f"{self._mark}{inside}{end or ''}"))
        self._state = "text"
        return True

    def _text(self, text: str, *, before_call: bool = False) -> Iterator[str]:
        """*text* without the blanks around calls: they are the form's, not the answer's."""
        text = self._blank + text
        stripped = text.rstrip()
        self._blank = "" if before_call else text[len(stripped) :]
        if self._called:
            stripped = stripped.lstrip()
        if stripped:
            self._called = False
            yield stripped


def one_call(text: str) -> Call | None:
    """The call of an answer that a grammar holds to `{"name", "arguments"}`, even when max_tokens has cut it."""
    calls = _plain_calls(text, None)
    if calls:
        return calls[0]
    cut = _CUT_CALL.match(text)
    return Call(cut[1], cut[2]) if cut else None


def _may_become_plain(begun: str) -> bool:
    """Whether text that begins with *begun* (blanks removed) may still turn out to be a plain call."""
    for fence in ("```json", "```", ""):
        for bracket in ("[", ""):
            if any((fence + bracket + prefix).startswith(begun) for prefix in _PLAIN_PREFIXES):
                return True
    return False


def _tail_to_hold(text: str) -> int:
    """How many characters at the end may be the beginning of a mark."""
    for size in range(min(max(map(len, _ENDS)) - 1, len(text)), 0, -1):
        if any(mark.startswith(text[-size:]) for mark in _ENDS):
            return size
    return 0


def _plain_calls(text: str, tools: frozenset[str] | None) -> list[Call]:
    """The calls that *text* is; none when it is anything besides. *tools* None: any name will do."""
    text = text.strip()
    if fenced := _FENCE.match(text):
        text = fenced[1]
    calls = _calls_in(text)
    if tools is not None and any(call.name not in tools for call in calls):
        return []
    return calls


def _marked_calls(inside: str, mark: str) -> list[Call]:
    inside = inside.strip()
    if mark == "[TOOL_CALLS]" and not inside.startswith("["):
        return _mistral_named(inside)
    return _calls_in(inside)


def _mistral_named(inside: str) -> list[Call]:
    """`name[ARGS]{...}`, perhaps several times."""
    calls: list[Call] = []
    for piece in inside.split("[TOOL_CALLS]"):
        named = _MISTRAL_NAMED.match(piece)
        value = _json(piece[named.end() :].strip()) if named else None
        if named is None or not isinstance(value, dict):
            return []
        calls.append(Call(named[1], dumps_text(value)))
    return calls


def _calls_in(text: str) -> list[Call]:
    """The calls of a JSON object, a list or several objects; none when any of it is something else."""
    if not text.startswith(("{", "[")):
        return []
    value = _json(text)
    if value is None:
        value = [_json(piece) for piece in _BETWEEN_OBJECTS.split(text)]
    calls = [_call(item) for item in (value if isinstance(value, list) else [value])]
    return [call for call in calls if call is not None] if all(calls) else []


def _json(text: str) -> Any:
    try:
        return loads(text)
    except JsonError:
        return None


def _call(value: Any) -> Call | None:
    """`{"name", "arguments" or "parameters"}`, also inside `function`, whose value may be the name itself."""
    if not isinstance(value, dict):
        return None
    function = value.get("function")
    if isinstance(function, dict):
        return _call(function)
    name = value.get("name", function)
    arguments = value.get("arguments", value.get("parameters"))
    if not isinstance(name, str) or not name:
        return None
    if isinstance(arguments, str):
        arguments = _json(arguments)
    if arguments is None and not {"arguments", "parameters"} & value.keys():
        return None
    if arguments is None:
        arguments = {}
    return Call(name, dumps_text(arguments)) if isinstance(arguments, dict) else None
