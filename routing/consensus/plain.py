"""Plain text answers.

Short ones (a choice, a number, yes or no, a few words; or the final answer at the end of a longer text) are polled like
a field. Of longer ones the answer is taken that is most like the others: the mean of character-trigram cosine and word
overlap, each other answer counted by its target's reliability. Ties: the more reliable target, then the first.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final

from routing.consensus.answers import SILENT, Answer, Json, Label, Mark, Options
from routing.consensus.reliability import Reliability

MOST_SIGNS: Final = 60
MOST_WORDS: Final = 8
MOST_COMPARED: Final = 4000
"""Of longer texts only so many characters are compared, from the beginning."""

BOXED = re.compile(r"\\boxed\{((?:[^{}]|\{[^{}]*\})*)\}")
HASHES = re.compile(r"^####\s*(.+)$", re.MULTILINE)
ANNOUNCES = re.compile(
    r"\b(?:final answer|correct answer|correct option|correct choice|answer|result|solution)\b"
    r"(?:\s+(?:is|would be|must be|equals)\b\s*:?|\s*[:=])\s*(?P<answer>[^\n]+)",
    re.IGNORECASE,
)
CHOICE = re.compile(r"(?:(?:option|choice)\s+)?[(\[]?([A-Ja-j])(?:[)\]]|[.:](?=\s|$)|\s*[-–]\s)(.*)", re.DOTALL)
LONE_CHOICE = re.compile(r"(?:(?:option|choice)\s+)?([A-J])")
YES_NO = re.compile(r"(yes|no|true|false)\b[\s,.:;!–-]*", re.IGNORECASE)
MARKS = re.compile(r"[*_`$]+")


def is_plain(values: Sequence[Json], options: Options) -> bool:
    """Whether the answers are plain text."""
    if options.plain is not None:
        return options.plain
    return options.schema is None and all(isinstance(value, str) for value in values)


def comparable(
    answers: Sequence[Answer], label: Label, options: Options
) -> tuple[list[Answer], list[Json], Label] | None:
    """The answers that can be polled, what is compared of each, and *label* in the same form.

    None: long texts, about which there is no poll.
    """
    values = [answer.value for answer in answers]
    if not is_plain(values, options):
        kept = [without(value, options.confidence_field) for value in values]
        return list(answers), kept, _label_for(label, lambda value: without(value, options.confidence_field))
    finals = [final_answer(str(value)) for value in values]
    told = [(answer, final) for answer, final in zip(answers, finals, strict=True) if final is not None]
    if not is_short(finals):
        return None
    return [answer for answer, _ in told], [final for _, final in told], _label_for(label, _final_or_whole)


def is_short(finals: Sequence[str | None]) -> bool:
    """Whether enough answers have a final answer: at least half of them."""
    return bool(finals) and 2 * sum(final is not None for final in finals) >= len(finals)


def without(value: Json, member: str | None) -> Json:
    """*value* without *member*, in which a target reports its confidence."""
    if member is None or not isinstance(value, dict) or member not in value:
        return value
    return {name: held for name, held in value.items() if name != member}


def final_answer(text: str) -> str | None:
    """The short answer that *text* is or ends in: a choice's letter, a number, yes or no, a few words; else None.

    In this order: the last `\\boxed{...}`, the last `#### ...`, the last "the answer is ...", the whole if it is short,
    a yes or no at its beginning.
    """
    for pattern in (BOXED, HASHES, ANNOUNCES):
        found = list(pattern.finditer(text))
        if found:
            announced = _trimmed(found[-1][found[-1].lastindex or 1])
            if announced and _fits(announced):
                return _plain_choice(announced)
    whole = _trimmed(text)
    if whole and _fits(whole) and "\n" not in whole:
        return _plain_choice(whole)
    if choice := CHOICE.fullmatch(whole):
        return choice[1].upper()
    opened = YES_NO.match(whole)
    return opened[1].lower() if opened else None


def most_similar(texts: Sequence[str], weights: Sequence[float]) -> tuple[int, list[float]]:
    """The position of the text that is most like the others, and the mean likeness of each one, 0 to 1."""
    prints = [Print.of(text) for text in texts]
    found = []
    for at, one in enumerate(prints):
        others = [(one.likeness(other), weights[place]) for place, other in enumerate(prints) if place != at]
        total = sum(weight for _, weight in others)
        found.append(sum(alike * weight for alike, weight in others) / total if total else 0.0)
    best = max(range(len(texts)), key=lambda at: (round(found[at], 9), weights[at], -at))
    return best, found


@dataclass(frozen=True, slots=True)
class Print:
    """What a text is compared by: its trigrams of characters with their Euclidean length, and its words."""

    grams: Counter[str]
    length: float
    words: frozenset[str]

    @classmethod
    def of(cls, text: str) -> Print:
        """The print of the first `MOST_COMPARED` characters."""
        plain = " ".join(text[:MOST_COMPARED].casefold().split())
        grams = Counter(plain[at : at + 3] for at in range(max(1, len(plain) - 2)))
        length = math.sqrt(sum(count * count for count in grams.values()))
        return cls(grams, length, frozenset(re.findall(r"\w+", plain)))

    def likeness(self, other: Print) -> float:
        """How much two texts have in common, from 0 to 1: the mean of the trigrams' cosine and the words' overlap."""
        few, many = sorted((self.grams, other.grams), key=len)
        shared = sum(count * many[gram] for gram, count in few.items() if gram in many)
        words = len(self.words) + len(other.words)
        overlap = 2 * len(self.words & other.words) / words if words else 1.0
        return (min(1.0, shared / (self.length * other.length)) + overlap) / 2


def weights_of(answers: Sequence[Answer], reliability: Reliability) -> list[float]:
    """What each answer counts for the others."""
    return [answer.weight * reliability.of(answer.target) for answer in answers]


def _trimmed(text: str) -> str:
    return MARKS.sub("", text).strip().rstrip(".!").strip()


def _fits(text: str) -> bool:
    return len(text) <= MOST_SIGNS and len(text.split()) <= MOST_WORDS


def _plain_choice(text: str) -> str:
    """The letter alone of `(B) Paris`, `B. Paris` and `option B`; the word alone of `Yes, it is`."""
    if (choice := CHOICE.fullmatch(text)) or (choice := LONE_CHOICE.fullmatch(text)):
        return choice[1].upper()
    if opened := YES_NO.match(text):
        return opened[1].lower()
    return text


def _final_or_whole(value: Json | Mark) -> Json | Mark:
    return (final_answer(value) or value) if isinstance(value, str) else value


def _label_for(label: Label, compared: Callable[[Json | Mark], Json | Mark]) -> Label:
    expected = label.expected if label.expected is SILENT else compared(label.expected)
    merged = label.merged if label.merged is SILENT else compared(label.merged)
    return replace(label, expected=expected, merged=merged)
