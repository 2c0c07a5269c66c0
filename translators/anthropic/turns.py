"""Messages as Anthropic's `system` and its turns of user and assistant.

Neighbours of one role are one turn. The results of an assistant's calls stand first in the user turn right after it,
each call has exactly one, and one that never came is said to be an error.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final, Literal

from translators.anthropic.blocks import (
    Block,
    Rendering,
    assistant_block,
    document_block,
    image_block,
    text_block,
    tool_result_block,
    user_block,
)
from translators.anthropic.marks import cache_mark, unread_native
from translators.anthropic.response import NAME
from translators.errors import BadRequest, Unsupported
from translators.losses import field_of, message_place, placed
from translators.neutral import Document, Image, Message, Part, Text, ToolCall, ToolResult

_SPOKEN: Final = frozenset({"text", "thinking", "redacted_thinking"})


@dataclass(slots=True)
class _Turn:
    """*last* is the index of its newest message; *calls* maps the safe ids of an assistant's calls to their places."""

    role: Literal["system", "user", "assistant"]
    last: int
    results: list[Block] = field(default_factory=list)
    blocks: list[Block] = field(default_factory=list)
    calls: dict[str, str] = field(default_factory=dict)

    def wire(self) -> dict[str, Any]:
        """The turn as a message of the body."""
        return {"role": self.role, "content": [*self.results, *self.blocks]}


@dataclass(slots=True)
class Turns:
    """Takes messages one by one; `system` and `messages` are the body's."""

    rendering: Rendering
    system: list[Block] = field(default_factory=list)
    turns: list[_Turn] = field(default_factory=list)
    carried: list[tuple[str, Block]] = field(default_factory=list)

    def add(self, index: int, message: Message) -> None:
        """Message *index* of the request."""
        place = self._place(index)
        rendering = self.rendering
        if message.name is not None:
            rendering.lose(f"{place}.name", "dropped", "the target has no names of participants")
        rendering.losses.extend(unread_native(place, message.native, rendering.request.dialect))
        for name in message.native.get(NAME, {}):
            if name != "cache_control":
                rendering.lose(f"{place}.{name}", "dropped", "messages are written anew, with role and content alone")
        match message.role:
            case "system" | "developer":
                written = self._add_system(index, message)
            case "tool":
                written = self._add_results(index, message)
            case "assistant":
                written = self._add_assistant(index, message)
            case "user":
                written = self._add_user(index, message)
        mark = cache_mark(message.native, place, rendering.losses)
        markable = [block for block in written if block["type"] not in ("thinking", "redacted_thinking")]
        if mark is not None and markable:
            markable[-1].setdefault("cache_control", mark)

    def messages(self) -> list[dict[str, Any]]:
        """The body's messages.

        Raises:
            BadRequest: there is nothing to send, or the target does not continue an assistant's turn.
        """
        for place, _ in self.carried:
            self.rendering.lose(place, "dropped", "the target takes such parts in user turns only, and none follows")
        if not self.turns:
            self._system_alone()
        self._fill_results()
        last = self.turns[-1]
        if last.role == "assistant":
            self._end_in_prefill(last)
        return [turn.wire() for turn in self.turns]

    def _place(self, index: int) -> str:
        return message_place(self.rendering.request.messages[index], index)

    def _placed(self, index: int) -> list[tuple[str, Part]]:
        return placed(self.rendering.request.messages[index], index, self.rendering.request.dialect)

    def continues_unsigned_tools(self) -> bool:
        """Whether the newest turn brings results of calls that no signed thinking precedes."""
        assistants = [turn for turn in self.turns if turn.role == "assistant"]
        if not assistants or not self.turns[-1].results:
            return False
        return assistants[-1].blocks[0]["type"] not in ("thinking", "redacted_thinking")

    def _add_system(self, index: int, message: Message) -> list[Block]:
        place = self._place(index)
        written: list[Block] = []
        for position, part in self._placed(index):
            if not isinstance(part, Text):
                raise Unsupported(f"{position}: the target takes text alone here", position, "unsupported_part")
            if (block := text_block(part.text, part.native, position, self.rendering)) is not None:
                written.append(block)
        if not self.turns:
            self.system.extend(written)
        elif written and self.rendering.rules.system_in_messages:
            self._turn("system", index).blocks.extend(written)
        elif written:
            self.rendering.lose(f"{place}.role", "emulated", "the target takes no later system message; sent as user")
            self._turn("user", index).blocks.extend(written)
        return written

    def _add_user(self, index: int, message: Message) -> list[Block]:
        written = [
            block
            for place, part in self._placed(index)
            if (block := user_block(part, place, self.rendering)) is not None
        ]
        if written:
            self._turn("user", index).blocks.extend(written)
        return written

    def _add_assistant(self, index: int, message: Message) -> list[Block]:
        written: list[Block] = []
        calls: dict[str, str] = {}
        new = not self.turns or self.turns[-1].role != "assistant"
        has_calls = any(isinstance(part, ToolCall) for part in message.parts)
        if new and has_calls:
            self.rendering.ids.begin_turn()
        for place, part in self._placed(index):
            if isinstance(part, Image | Document):
                self._carry(part, place)
                continue
            block = assistant_block(part, place, self.rendering)
            if block is None:
                continue
            written.append(block)
            if isinstance(part, ToolCall):
                calls[block["id"]] = place
        if written:
            if new and not has_calls:
                self.rendering.ids.begin_turn()
            turn = self._turn("assistant", index)
            turn.blocks.extend(written)
            turn.calls.update(calls)
        return written

    def _carry(self, part: Image | Document, place: str) -> None:
        """Keep a picture or document of an assistant for the next user turn: Anthropic answers 400 to it here."""
        render: Any = image_block if isinstance(part, Image) else document_block
        self.carried.append((place, render(part, place, self.rendering)))

    def _add_results(self, index: int, message: Message) -> list[Block]:
        written: list[Block] = []
        for place, part in self._placed(index):
            if not isinstance(part, ToolResult):
                raise BadRequest(f"{place}: a tool message holds results alone", place, "invalid_value")
            safe_id = self.rendering.ids.result(part.call_id)
            if safe_id is None:
                where = self.rendering.called(place, "call_id")
                raise BadRequest(
                    f"{where}: {part.call_id!r} is no call of the assistant message before it", where, "invalid_value"
                )
            turn = self._result_turn(index)
            if any(result["tool_use_id"] == safe_id for result in turn.results):
                self.rendering.lose(place, "dropped", "the call has a result already, and the target takes one")
                continue
            block = tool_result_block(part, safe_id, place, self.rendering)
            turn.results.append(block)
            written.append(block)
        return written

    def _result_turn(self, index: int) -> _Turn:
        """The user turn right after the last assistant turn, even where a system message came between."""
        after = max(at for at, turn in enumerate(self.turns) if turn.role == "assistant") + 1
        if after == len(self.turns):
            return self._turn("user", index)
        if self.turns[after].role != "user":
            self.turns.insert(after, _Turn("user", index))
        return self.turns[after]

    def _turn(self, role: Literal["system", "user", "assistant"], index: int) -> _Turn:
        """The newest turn, which is a new one unless it is of *role* already."""
        if not self.turns or self.turns[-1].role != role:
            self.turns.append(_Turn(role, index))
            if role == "user":
                for place, block in self.carried:
                    self.rendering.lose(place, "emulated", "the target takes it in user turns only; moved to the next")
                    self.turns[-1].blocks.append(block)
                self.carried.clear()
        self.turns[-1].last = index
        return self.turns[-1]

    def _system_alone(self) -> None:
        """Anthropic wants a turn: where all is system text, its last block is the user's."""
        name = field_of(self.rendering.request, "messages")
        if not self.system:
            raise BadRequest(f"{name}: nothing in them says anything", name, "invalid_value")
        self.rendering.lose(name, "emulated", "the target needs a user turn; the last system text is sent as one")
        self.turns.append(_Turn("user", 0, blocks=[self.system.pop()]))

    def _fill_results(self) -> None:
        """An error for every call that has no result."""
        for at in range(len(self.turns) - 1, -1, -1):
            turn = self.turns[at]
            if not turn.calls:
                continue
            if at + 1 == len(self.turns) or self.turns[at + 1].role != "user":
                self.turns.insert(at + 1, _Turn("user", turn.last))
            results = self.turns[at + 1].results
            answered = {result["tool_use_id"] for result in results}
            for safe_id, place in turn.calls.items():
                if safe_id not in answered:
                    self.rendering.lose(place, "emulated", "the call has no result; the target is told it failed")
                    results.append(
                        {
                            "type": "tool_result",
                            "tool_use_id": safe_id,
                            "is_error": True,
                            "content": [{"type": "text", "text": "This call gave no result."}],
                        }
                    )

    def _end_in_prefill(self, turn: _Turn) -> None:
        """A turn that Claude is to continue: its own interrupted one (server tools) always, a prefill if it may."""
        place = self._place(turn.last)
        if self.rendering.request.dialect == "openai_chat" and not self.rendering.request.messages[turn.last].place:
            # A chat message keeps server tools' blocks beside its text, and Claude pauses at one of them. A turn that
            # no client wrote, which has a place of its own, comes as it was.
            turn.blocks.sort(key=lambda block: block["type"] not in _SPOKEN)
        if turn.blocks[-1]["type"] not in _SPOKEN:
            return
        if not self.rendering.rules.prefill:
            raise BadRequest(
                f"{place}: the model does not continue an assistant message; the last message must be the user's",
                place,
                "prefill_unsupported",
            )
        text = turn.blocks[-1].get("text", "")
        if text != text.rstrip():
            # "final assistant content cannot end with trailing whitespace" (the API's 400)
            turn.blocks[-1]["text"] = text.rstrip()
            self.rendering.lose(f"{place}.content", "clamped", "the text to continue must not end in blanks")
