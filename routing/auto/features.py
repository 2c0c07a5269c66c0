"""What a request looks like to the model: hashed words and pairs of words, and some numbers of its shape.

A word is its crc32 modulo 2^18; so there is no dictionary to keep, and nothing in a model can be read back as text.
The words of instructions and the names of tools are told apart from the same words in the question.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final
from zlib import crc32

from translators.neutral import Image, Message, Request, Text

BUCKETS: Final = 1 << 18
KEPT: Final = 3000
"""Characters that are read of a long text: half from its beginning, half from its end."""
KEPT_SHAPE: Final = 1500
"""The same for its shape."""
KEPT_CONTEXT: Final = 600
SHAPES: Final = 10
"""Numbers of a shape."""

_WORD: Final = re.compile(r"\w+")
_SIGNS: Final = frozenset("{}[]()=<>+*/^_\\|;")


@dataclass(frozen=True, slots=True)
class Traits:
    """What is looked at of a request: the question, the instructions, the tools' names, the number of turns."""

    text: str
    context: str = ""
    tools: tuple[str, ...] = ()
    turns: int = 1
    images: int = 0


def traits_of(request: Request) -> Traits:
    """The traits of *request*: its question is what the user said last."""
    question, context, images, turns = "", "", 0, 0
    for message in request.messages:
        if message.role in {"system", "developer"}:
            context = context or _text(message)
        elif message.role == "user" and (said := _text(message)):
            question, turns = said, turns + 1
        images += sum(isinstance(part, Image) for part in message.parts)
    return Traits(question, context, tuple(tool.name for tool in request.tools), max(turns, 1), images)


def _text(message: Message) -> str:
    return "\n".join(part.text for part in message.parts if isinstance(part, Text))


def words(traits: Traits) -> dict[int, int]:
    """How often each hashed word or pair of words occurs in *traits*."""
    found: dict[int, int] = {}
    _count(_WORD.findall(_ends(traits.text, KEPT).lower()), "", found)
    if traits.context:
        _count(_WORD.findall(traits.context[:KEPT_CONTEXT].lower()), "context ", found)
    for tool in traits.tools[:16]:
        _count(_WORD.findall(tool.lower().replace("_", " ")), "tool ", found)
    return found


def shape(traits: Traits) -> Sequence[float]:
    """Length, digits, signs of code, capitals, lines, words' length, questions, variety, tools and pictures, turns."""
    text = _ends(traits.text, KEPT_SHAPE)
    length = len(text) + 1
    found = _WORD.findall(text)
    return (
        math.log(len(traits.text) + 1),
        _share(str.isdigit, text),
        sum(map(text.count, _SIGNS)) / length,
        _share(str.isupper, text),
        text.count("\n") / length,
        length / (len(found) + 1),
        math.log1p(text.count("?")),
        len(set(found)) / (len(found) + 1),
        math.log1p(len(traits.tools) + traits.images),
        math.log(traits.turns),
    )


def _share(kind: Callable[[str], bool], text: str) -> float:
    return sum(map(kind, text)) / (len(text) + 1)


def _count(found: Iterable[str], prefix: str, into: dict[int, int]) -> None:
    before = ""
    for word in found:
        encoded = (prefix + word).encode("utf-8", "replace")
        place = crc32(encoded) % BUCKETS
        into[place] = into.get(place, 0) + 1
        if before:
            place = crc32(before.encode("utf-8", "replace") + b" " + encoded) % BUCKETS
            into[place] = into.get(place, 0) + 1
        before = word


def _ends(text: str, kept: int) -> str:
    return text if len(text) <= kept else f"{text[: kept // 2]}\n{text[-kept // 2 :]}"
