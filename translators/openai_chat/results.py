"""Which results answer the calls of which turn.

OpenAI takes tool messages only right behind the message that calls, and one for each call. Other dialects let other
turns stand between, or answer some calls only.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from translators.losses import placed
from translators.neutral import Message, Part, Text, ToolCall, ToolResult
from translators.values import value

NO_RESULT: Final = "This call gave no result."


@dataclass(slots=True)
class _Turn:
    """A turn of calls: *open* holds the places of those that have no result yet, by id."""

    position: int
    open: dict[str, str]


@value(frozen=True, slots=True)
class Results:
    """The results of one conversation, each beside the turn that it belongs to.

    *behind* holds what answers the calls of the message at a position; *astray* what answers no call, where it stands;
    *missing* the places of calls without a result.
    """

    behind: dict[int, list[tuple[str, Part]]] = field(default_factory=dict)
    astray: dict[int, list[tuple[str, Part]]] = field(default_factory=dict)
    missing: list[str] = field(default_factory=list)


def results_of(messages: Sequence[Message], client: str) -> Results:
    """The results in *messages*, which a client of *client* wrote, in the order in which they came.

    A call that the conversation ends with has none yet. An id that is used again belongs to the later call.
    """
    found = Results()
    turns: list[_Turn] = []
    waiting: dict[str, _Turn] = {}
    for position, message in enumerate(messages):
        if message.role == "assistant":
            if [part for part in message.parts if isinstance(part, ToolCall)]:
                parts = placed(message, position, client)
                turn = _Turn(position, {part.id: place for place, part in parts if isinstance(part, ToolCall)})
                turns.append(turn)
                waiting.update(dict.fromkeys(turn.open, turn))
        elif message.role == "tool":
            for place, part in placed(message, position, client):
                answered = waiting.get(part.call_id) if isinstance(part, ToolResult) else None
                if answered is None or not isinstance(part, ToolResult):
                    found.astray.setdefault(position, []).append((place, part))
                    continue
                # A second result of one call stays beside the first, as its client has it.
                answered.open.pop(part.call_id, None)
                found.behind.setdefault(answered.position, []).append((place, part))
    for turn in turns:
        if turn.position + 1 < len(messages):
            _fill(found, turn)
    return found


def _fill(found: Results, turn: _Turn) -> None:
    """A short text for every call of *turn* that has no result."""
    for call_id, place in turn.open.items():
        found.behind.setdefault(turn.position, []).append((place, ToolResult(call_id, (Text(NO_RESULT),))))
        found.missing.append(place)
