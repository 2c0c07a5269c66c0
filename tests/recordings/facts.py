"""What an answer says, whatever its dialect: the facts that must not change on the way from a server to a client.

`expected_of` reads them out of a raw recording and `seen_by` says which of them a client's dialect can show; both
share no code with the project. The clients' own readers (tests.recordings.clients) give the same form.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

DIALECTS: Final = {
    "chat_completions": "openai_chat",
    "completions": "openai_completions",
    "responses": "openai_responses",
    "messages": "anthropic",
    "generate_content": "gemini",
    "stream_generate_content": "gemini",
}
"""The dialect of a recording's API."""


@dataclass(frozen=True, slots=True)
class Call:
    """A tool call. *arguments* is JSON text, or plain text for OpenAI's *custom* tools."""

    name: str
    arguments: str
    custom: bool = False


@dataclass(slots=True)
class Said:
    """One choice of an answer.

    *finish* holds every acceptable class of reason: stop, length, tool_calls, content_filter, function_call, and
    `broken` (Gemini's word for a call that cannot be shown). *media* names the kinds of what is no text.
    """

    text: str = ""
    reasoning: str = ""
    refusal: str = ""
    calls: list[Call] = field(default_factory=list)
    function_call: Call | None = None
    finish: set[str] = field(default_factory=set)
    media: list[str] = field(default_factory=list)


@dataclass(slots=True)
class Expected:
    """What must come out. *statuses* is set for errors, and then nothing else counts.

    *usage* has the keys input, output, cached, written, reasoning, those that are not zero: *usage* as the recorded
    API counts, *booked* as the tokens really were where a vendor counts otherwise.
    """

    choices: dict[int, Said] = field(default_factory=dict)
    usage: dict[str, int] = field(default_factory=dict)
    booked: dict[str, int] = field(default_factory=dict)
    statuses: set[int] = field(default_factory=set)
    message: str = ""
    retry_after: str | None = None


def arguments_object(text: str) -> dict[str, Any] | None:
    """*text* as an object; None when it is none: cut off, or another kind of JSON."""
    try:
        value = json.loads(text) if text.strip() else {}
    except ValueError:
        return None
    return value if isinstance(value, dict) else None


# --- what a client can see -------------------------------------------------------------------------


def seen_by(client: str, expected: Expected, api: str) -> Expected:
    """*expected* as the dialect *client* can show it."""
    if expected.statuses or client == DIALECTS[api]:
        return expected
    choices = {index: _SEEN[client](replace(_as_calls(said))) for index, said in expected.choices.items()}
    if client in _ONE_CHOICE:
        choices = {index: said for index, said in choices.items() if index == 0}
    usage = {**expected.usage, **expected.booked}
    if client == "gemini":
        # What was written to a cache is the prompt's. The rest of the output is told beside the reasoning, which
        # therefore cannot be more than all of it (doubleword counts so).
        usage = {name: min(n, usage["output"]) if name == "reasoning" else n for name, n in usage.items()}
        usage.pop("written", None)
    return replace(expected, choices=choices, usage=usage)


def _as_calls(said: Said) -> Said:
    """The older function_call is a call everywhere else."""
    if said.function_call is None:
        return said
    calls = said.calls or [said.function_call]
    return replace(said, calls=calls, function_call=None, finish={"tool_calls", *(said.finish - {"function_call"})})


def _by_chat(said: Said) -> Said:
    return said


def _by_messages(said: Said) -> Said:
    """A refusal is the last text, and the reason."""
    calls = [Call(call.name, _as_input(call)) for call in said.calls]
    finish = {"content_filter"} if said.refusal and said.finish <= {"stop"} else said.finish
    return replace(said, text=said.text + said.refusal, refusal="", calls=calls, finish=finish)


def _by_gemini(said: Said) -> Said:
    """A refusal is a text. A call whose arguments are no object stands in `finishMessage` alone."""
    calls = [Call(call.name, _as_input(call)) for call in said.calls]
    shown = [call for call in calls if _showable(call.arguments)]
    finish = said.finish
    if len(shown) < len(calls):
        finish = {"length" if reason == "length" else "broken" for reason in finish}
    return replace(said, text=said.text + said.refusal, refusal="", calls=shown, finish=finish)


def _by_responses(said: Said) -> Said:
    return said


def _by_completions(said: Said) -> Said:
    """Text alone."""
    return replace(said, text=said.text + said.refusal, refusal="", reasoning="", media=[])


def _as_input(call: Call) -> str:
    return json.dumps({"input": call.arguments}) if call.custom else call.arguments


def _showable(arguments: str) -> bool:
    """Whether they are an object, or nothing at all (Groq wrote `null` for a tool without arguments)."""
    return arguments.strip() == "null" or arguments_object(arguments) is not None


_SEEN: Final = {
    "openai_chat": _by_chat,
    "anthropic": _by_messages,
    "gemini": _by_gemini,
    "openai_responses": _by_responses,
    "openai_completions": _by_completions,
}
_ONE_CHOICE: Final = frozenset({"anthropic", "openai_responses"})


def counts(**found: int | None) -> dict[str, int]:
    """Counts that are not zero; input and output in any case where they are numbers."""
    return {key: n for key, n in found.items() if isinstance(n, int) and (n or key in ("input", "output"))}


def details(usage: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """An object of *usage*, which may be missing or null."""
    found = usage.get(name)
    return found if isinstance(found, dict) else {}
