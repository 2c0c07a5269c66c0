"""`<think>...</think>` split out of text, whole or in pieces cut anywhere.

before --<think>--> opened --not a line end--> inside --</think>--> closed --not a line end--> after
   \\-----------------------------anything else---------------------------------------------------/

Only a tag at the very beginning (blanks aside) opens the reasoning: later in an answer the word is text.
The line ends next to the tags belong to neither side.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Final, Literal

from translators.neutral import Choice, Part, Response, Text, Thinking

OPEN: Final = "<think>"
CLOSE: Final = "</think>"

State = Literal["before", "opened", "inside", "closed", "after"]


class ThinkSplitter:
    """Feed texts, get (is reasoning, text) pieces. What may yet become a tag is held back until it is known."""

    __slots__ = ("_held", "_state")

    def __init__(self) -> None:
        self._state: State = "before"
        self._held = ""

    def feed(self, text: str) -> list[tuple[bool, str]]:
        """The pieces that *text* makes certain."""
        if self._state == "after":
            return [(False, text)] if text else []
        self._held += text
        pieces: list[tuple[bool, str]] = []
        state = None
        while state != self._state:
            state = self._state
            if (piece := self._step()) and piece[1]:
                pieces.append(piece)
        return pieces

    def _step(self) -> tuple[bool, str] | None:
        """Move at most one state on; the piece that became certain."""
        match self._state:
            case "before":
                begun = self._held.lstrip()
                if begun.startswith(OPEN):
                    self._state, self._held = "opened", begun[len(OPEN) :]
                elif not OPEN.startswith(begun):
                    self._state = "after"
                return None
            case "opened" | "closed":
                self._held = self._held.lstrip("\n")
                if self._held:
                    self._state = "inside" if self._state == "opened" else "after"
                return None
            case "inside":
                thought, closed, rest = self._held.partition(CLOSE)
                if closed:
                    self._state, self._held = "closed", rest
                    return True, thought.rstrip("\n")
                certain = len(self._held) - _tail_to_hold(self._held)
                thought, self._held = self._held[:certain], self._held[certain:]
                return True, thought
            case "after":
                text, self._held = self._held, ""
                return False, text

    def close(self) -> list[tuple[bool, str]]:
        """What was still held: reasoning when the tag had been opened, else text."""
        held, self._held = self._held, ""
        return [(self._state == "inside", held)] if held else []


def _tail_to_hold(text: str) -> int:
    """How many characters at the end may be line ends before a closing tag, or its beginning."""
    tag = next((size for size in range(min(len(CLOSE) - 1, len(text)), 0, -1) if CLOSE.startswith(text[-size:])), 0)
    before = text[: len(text) - tag]
    return tag + len(before) - len(before.rstrip("\n"))


def split_thinking(text: str) -> tuple[str, str]:
    """(reasoning, answer) of a whole text."""
    splitter = ThinkSplitter()
    pieces = [*splitter.feed(text), *splitter.close()]
    return "".join(t for inside, t in pieces if inside), "".join(t for inside, t in pieces if not inside)


def thinking_apart(response: Response) -> Response:
    """*response* with the reasoning that stands in its texts as parts of their own."""
    return replace(response, choices=tuple(map(_apart, response.choices)))


def _apart(choice: Choice) -> Choice:
    return replace(choice, parts=tuple(piece for part in choice.parts for piece in _pieces(part)))


def _pieces(part: Part) -> Iterator[Part]:
    if not isinstance(part, Text) or (split := split_thinking(part.text)) == ("", part.text):
        yield part
        return
    thought, text = split
    if thought:
        yield Thinking(thought)
    if text:
        yield replace(part, text=text)
    elif part.native:
        yield Thinking("", part.native)
