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
    plain_block,
    text_block,
    tool_result_block,
    tool_use_block,
    user_block,
)
from translators.anthropic.marks import cache_mark, unread_native
from translators.anthropic.response import NAME
from translators.errors import BadRequest, Unsupported
from translators.losses import Loss, field_of, message_place, placed
from translators.neutral import Document, Image, Message, Part, Text, ToolCall, ToolResult

_SPOKEN: Final = frozenset({"text", "thinking", "redacted_thinking"})
_UNMARKABLE: Final = ("thinking", "redacted_thinking")
_CARRIED: Final = (Image, Document)


@dataclass(slots=True)
class _Turn:
    """*last* is the index of its newest message; *calls* maps the safe ids of an assistant's calls to their places."""

    role: Literal["system", "user", "assistant"]
    last: int
    blocks: list[Block]
    results: list[Block] = field(default_factory=list)
    calls: dict[str, str] = field(default_factory=dict)


@dataclass(slots=True)
class Turns:
    """Takes messages one by one; `system` and `messages` are the body's."""

    rendering: Rendering
    system: list[Block] = field(default_factory=list)
    turns: list[_Turn] = field(default_factory=list)
    carried: list[tuple[str, Block]] = field(default_factory=list)

    def add(self, index: int, message: Message) -> None:
        """Message *index* of the request."""
        if message.name is not None:
            self.rendering.lose(f"{self._place(index)}.name", "dropped", "the target has no names of participants")
        if message.native:
            self._report_native(index, message)
        match message.role:
            case "user":
                written = self._add_user(index, message)
            case "assistant":
                written = self._add_assistant(index, message)
            case "tool":
                written = self._add_results(index)
            case "system" | "developer":
                written = self._add_system(index, message)
        if message.native:
            self._mark(written, index, message)

    def _report_native(self, index: int, message: Message) -> None:
        place, rendering = self._place(index), self.rendering
        rendering.losses.extend(unread_native(place, message.native, rendering.request.dialect))
        for name in message.native.get(NAME, {}):
            if name != "cache_control":
                rendering.lose(f"{place}.{name}", "dropped", "messages are written anew, with role and content alone")

    def _mark(self, written: list[Block], index: int, message: Message) -> None:
        """The cache mark of the whole message, on the last of its blocks that can carry one."""
        mark = cache_mark(message.native, self._place(index), self.rendering.losses)
        markable = [block for block in written if block["type"] not in _UNMARKABLE]
        if mark is not None and markable:
            markable[-1].setdefault("cache_control", mark)
        elif mark is not None:
            place = f"{self._place(index)}.cache_control"
            self.rendering.lose(place, "dropped", "the message has no block that could be marked")

    def messages(self) -> list[dict[str, Any]]:
        """The body's messages.

        Raises:
            BadRequest: there is nothing to send, or the target does not continue an assistant's turn.
        """
        if self.carried:
            reason = "the target takes such parts in user turns only, and none follows"
            self.rendering.losses.extend(Loss(place, "dropped", reason) for place, _ in self.carried)
        if not self.turns:
            self._system_alone()
        self._fill_results()
        last = self.turns[-1]
        if last.role == "assistant":
            self._end_in_prefill(last)
        return [
            {"role": turn.role, "content": [*turn.results, *turn.blocks] if turn.results else turn.blocks}
            for turn in self.turns
        ]

    def _place(self, index: int) -> str:
        return message_place(self.rendering.request.messages[index], index)

    def _placed(self, index: int) -> list[tuple[str, Part]]:
        return placed(self.rendering.request.messages[index], index, self.rendering.request.dialect)

    def continues_unsigned_tools(self) -> bool:
        """Whether the newest turn brings results of calls that no signed thinking precedes."""
        assistants = [turn for turn in self.turns if turn.role == "assistant"]
        if not assistants or not self.turns[-1].results:
            return False
        return assistants[-1].blocks[0]["type"] not in _UNMARKABLE

    def _instruction(self, part: Part, place: str) -> Block | None:
        if not isinstance(part, Text):
            raise Unsupported(f"{place}: the target takes text alone here", place, "unsupported_part")
        return text_block(part.text, part.native, place, self.rendering)

    def _add_system(self, index: int, message: Message) -> list[Block]:
        written: list[Block] = []
        where: list[tuple[str, Part]] = []
        for at, part in enumerate(message.parts):
            block = plain_block(part)
            if block is None:
                where = where or self._placed(index)
                block = self._instruction(part, where[at][0])
            if block is not None:
                written.append(block)
        if not self.turns:
            self.system.extend(written)
        elif written and self.rendering.rules.system_in_messages:
            self._extend("system", index, written)
        elif written:
            reason = "the target takes no later system message; sent as user"
            self.rendering.lose(f"{self._place(index)}.role", "emulated", reason)
            self._extend("user", index, written)
        return written

    def _add_user(self, index: int, message: Message) -> list[Block]:
        written: list[Block] = []
        where: list[tuple[str, Part]] = []
        for at, part in enumerate(message.parts):
            block = plain_block(part)
            if block is None:
                where = where or self._placed(index)
                block = user_block(part, where[at][0], self.rendering)
            if block is not None:
                written.append(block)
        if written:
            self._extend("user", index, written)
        return written

    def _add_assistant(self, index: int, message: Message) -> list[Block]:
        written: list[Block] = []
        calls: dict[str, str] = {}
        where: list[tuple[str, Part]] = []
        new = not self.turns or self.turns[-1].role != "assistant"
        begun = False
        for at, part in enumerate(message.parts):
            block = plain_block(part)
            if block is None:
                where = where or self._placed(index)
                place = where[at][0]
                if isinstance(part, _CARRIED):
                    self._carry(part, place)
                elif isinstance(part, ToolCall):
                    if new and not begun:
                        begun = True
                        self.rendering.ids.begin_turn()
                    block = tool_use_block(part, place, self.rendering)
                    calls[block["id"]] = place
                else:
                    block = assistant_block(part, place, self.rendering)
            if block is not None:
                written.append(block)
        if written:
            if new and not begun:
                self.rendering.ids.begin_turn()
            turn = self._extend("assistant", index, written)
            if calls:
                turn.calls.update(calls)
        return written

    def _carry(self, part: Image | Document, place: str) -> None:
        """Keep a picture or document of an assistant for the next user turn: Anthropic answers 400 to it here."""
        render: Any = image_block if isinstance(part, Image) else document_block
        self.carried.append((place, render(part, place, self.rendering)))

    def _add_results(self, index: int) -> list[Block]:
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
            if turn.results and any(result["tool_use_id"] == safe_id for result in turn.results):
                self.rendering.lose(place, "dropped", "the call has a result already, and the target takes one")
                continue
            block = tool_result_block(part, safe_id, place, self.rendering)
            turn.results.append(block)
            written.append(block)
        return written

    def _result_turn(self, index: int) -> _Turn:
        """The user turn right after the last assistant turn, even where a system message came between."""
        after = len(self.turns)
        while self.turns[after - 1].role != "assistant":
            after -= 1
        if after == len(self.turns):
            return self._extend("user", index, [])
        if self.turns[after].role != "user":
            self.turns.insert(after, _Turn("user", index, []))
        return self.turns[after]

    def _extend(self, role: Literal["system", "user", "assistant"], index: int, written: list[Block]) -> _Turn:
        """The newest turn with *written* at its end; it is a new one unless it is of *role* already."""
        if self.turns and self.turns[-1].role == role:
            turn = self.turns[-1]
            turn.last = index
            turn.blocks += written
            return turn
        if role == "user" and self.carried:
            reason = "the target takes it in user turns only; moved to the next"
            self.rendering.losses.extend(Loss(place, "emulated", reason) for place, _ in self.carried)
            written = [*(block for _, block in self.carried), *written]
            self.carried.clear()
        turn = _Turn(role, index, written)
        self.turns.append(turn)
        return turn

    def _system_alone(self) -> None:
        """Anthropic wants a turn: where all is system text, its last block is the user's."""
        name = field_of(self.rendering.request, "messages")
        if not self.system:
            raise BadRequest(f"{name}: nothing in them says anything", name, "invalid_value")
        self.rendering.lose(name, "emulated", "the target needs a user turn; the last system text is sent as one")
        self.turns.append(_Turn("user", 0, [self.system.pop()]))

    def _fill_results(self) -> None:
        """An error for every call that has no result."""
        for at in range(len(self.turns) - 1, -1, -1):
            turn = self.turns[at]
            if not turn.calls:
                continue
            if at + 1 == len(self.turns) or self.turns[at + 1].role != "user":
                self.turns.insert(at + 1, _Turn("user", turn.last, []))
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
