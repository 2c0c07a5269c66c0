"""What a language's reader makes of the tokens of a question."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Parts:
    """The fields of `reading.Reading` that depend on the language."""

    words: tuple[str, ...]
    kind: tuple[str, ...]
    phrases: tuple[tuple[str, ...], ...]
    names: frozenset[str]
    one_sentence: bool = True
    helpers: tuple[tuple[str, str, str], ...] = ()
    """Each helper as it was written, with the words before and after it."""
