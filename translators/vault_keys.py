"""Keys under which reasoning is kept and found again: digests that say nothing of what they stand for.

| kind | of | found when |
|---|---|---|
| call | a tool call's id | the call comes back |
| said | a call's name and arguments, and all that was said before it | it comes back without its id |
| text | the visible text of a turn, and all that was said before it | the text comes back in the same conversation |
| signature | a vendor's signature or encrypted reasoning | it comes back, whoever is to read it next |

An id that its server counts (`call_0`, `functions.search:1`) is no one's own: such a call's key holds what was said
before it, too. So one conversation never gets the reasoning of another that merely looks like it.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Sequence
from typing import Any, Final

from translators.codec import JsonError, canonical, dumps, loads_exact
from translators.made_ids import is_made
from translators.neutral import (
    Audio,
    Document,
    Image,
    Message,
    Opaque,
    Part,
    Refusal,
    Source,
    Text,
    Thinking,
    ToolCall,
    ToolResult,
)

DIGEST_BYTES: Final = 16

_RUN: Final = re.compile(r"[A-Za-z0-9]{8,}")


def call_key(call_id: str, context: bytes = b"") -> bytes:
    """The key of a call; *context* tells apart conversations in which an id may come again."""
    return _digest(b"call", call_id, context)


def said_key(call: ToolCall, context: bytes) -> bytes:
    """The key of a call by what it says, for clients that drop its id."""
    return _digest(b"said", call_mark(call), context)


def call_mark(call: ToolCall) -> str:
    """What *call* says, however its arguments are spelled: clients read them and write them again."""
    if call.kind == "custom":
        said: Any = {"input": call.arguments}  # as it goes to clients without tools of plain text
    else:
        try:
            said = _counted(loads_exact(call.arguments.strip() or "{}")) or {}
        except JsonError:
            said = call.arguments
    return canonical([call.name, said]).decode()


def _counted(value: Any) -> Any:
    """*value* with `5.0` as 5: JavaScript and Go do not tell them apart."""
    match value:
        case float() if value.is_integer():
            return int(value)
        case dict():
            return {key: _counted(item) for key, item in value.items()}
        case list():
            return [_counted(item) for item in value]
        case _:
            return value


def text_key(text: str, context: bytes = b"") -> bytes:
    """The key of a turn's visible text; blanks around it do not matter."""
    return _digest(b"text", text.strip(), context)


def signature_key(signature: str) -> bytes:
    """The key of a signature, or of an encrypted form."""
    return _digest(b"signature", signature)


def is_unique(call: ToolCall) -> bool:
    """Whether the call's id is a random one, so that no other conversation has it.

    Random ids mix letters and digits; words and counters do not.
    """
    if is_made(call.id):
        return False
    runs = _RUN.findall(call.id.replace(call.name, " ") if call.name else call.id)
    return any(not run.isalpha() and not run.isdigit() for run in runs)


def visible_text(parts: Sequence[Part]) -> str:
    """What a reader sees of a turn."""
    return "".join([part.text for part in parts if isinstance(part, Text)]).strip()


class Past:
    """What was said before each turn of the model, as a digest. Computed when first asked."""

    def __init__(self, messages: Sequence[Message]) -> None:
        self._messages = messages
        self._before: list[bytes] = []

    def before(self, index: int) -> bytes:
        """All that was said before message *index*, and before the assistant's messages right in front of it."""
        if not self._before:
            self._before = list(_digests(self._messages))
        while index and self._messages[index - 1].role == "assistant":
            index -= 1
        return self._before[index]


def _digests(messages: Sequence[Message]) -> Iterator[bytes]:
    """What stands before each message, and after the last. Media count by their names, not by their bytes."""
    said = hashlib.blake2b(digest_size=DIGEST_BYTES)
    yield said.digest()
    for message in messages:
        # JSON keeps the words apart.
        said.update(dumps([message.role, visible_text(message.parts), *_others(message.parts)]))
        yield said.digest()


def _others(parts: Sequence[Part]) -> Iterator[str]:
    for part in parts:
        match part:
            case ToolCall():
                yield from ("call", part.id, part.name)
            case ToolResult():
                yield from ("result", part.call_id, visible_text(part.parts), *_others(part.parts))
            case Refusal():
                yield from ("refusal", part.text)
            case Image() | Audio() | Document():
                yield from (type(part).__name__, _name(part.source))
            case Text() | Thinking() | Opaque():
                continue


def _name(source: Source) -> str:
    return source.url or source.file_id or str(len(source.data or ""))


def _digest(kind: bytes, word: str, context: bytes = b"") -> bytes:
    return hashlib.blake2b(word.encode(), digest_size=DIGEST_BYTES, key=context, person=kind).digest()
