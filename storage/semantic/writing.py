"""What capitals, commas and hyphens say: `written(tokens, language)`, and `told_apart(one, other)`.

    in Turkey / in turkey             a word that is another word with a capital
    cook, mother / cook mother        a comma between two words of content, or beside a "no"
    bird-eating / bird eating         a hyphen that says who does what, or what a number goes with
    Maße / Masse                      ß, which casts to ss

Who writes all in small letters, all in capitals or each word with one says nothing by them; that is the level.
    SILENT < SMALL < OPENED (only sentences begin with a capital) < CAREFUL (there are some inside as well)
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum
from itertools import pairwise
from typing import Final, Literal

from storage.semantic import lexicon
from storage.semantic.tokens import Gap, Token

Mark = Literal["", ",", "-"]
Pair = tuple[str, str]


class Level(IntEnum):
    """How much the capitals of a text say."""

    SILENT = 0
    SMALL = 1
    OPENED = 2
    CAREFUL = 3


@dataclass(frozen=True, slots=True)
class Writing:
    """*forms*: each word inside a sentence, and how it stands there. *marks*: two neighbours, and what is between them.

    *sharp* are the words with ß. *of_code*: it speaks of a programming language, whose names mind their capitals.
    """

    language: str
    level: Level
    of_code: bool
    forms: Mapping[str, tuple[str, ...]]
    marks: Mapping[Pair, Mark]
    sharp: frozenset[str]


_ENGLISH_SMALL: Final = (
    lexicon.QUESTION_WORDS | lexicon.BE | lexicon.DO | lexicon.PAST.keys() | lexicon.MODALS | lexicon.PREPOSITIONS
    | lexicon.POLITE | lexicon.GREETINGS | lexicon.OPENERS | lexicon.ARTICLES | lexicon.COMMON["en"] | {"been", "than"}
)  # fmt: skip
_SMALL: Final[Mapping[str, frozenset[str]]] = {
    "en": frozenset(_ENGLISH_SMALL),
    **{
        language: (words - lexicon.ARTICLES_ELSEWHERE)
        | {word for phrase in lexicon.KEPT_OUT[language] for word in phrase}
        for language, words in lexicon.COMMON.items()
        if language != "en"
    },
}
"""Words beside which a comma is a matter of taste."""

_SHORTENED_NOT: Final = ("n't", "nt")
_OF_QUANTITY: Final = lexicon.QUANTIFIERS | {"more", "less", "little", "extra", "odd"}
_PARTICIPLE: Final = "ing"
_CHOICE: Final = frozenset({"or", "vs"})
_CHOICE_WORDS: Final = 5


def written(found: list[Token], language: str) -> Writing:
    """How the text of *found* is written."""
    words = [token for token in found if token.kind == "word"]
    inside = [
        token
        for number, token in enumerate(found)
        if number and token.gap is not Gap.SENTENCE and token.kind == "word" and not token.raw.startswith("I'")
    ]
    forms: dict[str, tuple[str, ...]] = {}
    for token in inside:
        forms[token.text] = (*forms.get(token.text, ()), token.raw)
    return Writing(
        language=language,
        level=_level([token.raw for token in words], inside),
        of_code=any(token.text in lexicon.CODE for token in found),
        forms=forms,
        marks=_marks(found),
        sharp=frozenset(token.text for token in words if "ß" in token.raw),
    )


def is_mixed(raws: list[str]) -> bool:
    """Whether capitals mean anything in a text: it has some, and a word without one that a title would give one."""
    plain = {raw for raw in raws if raw == raw.lower() and raw[:1].isalpha()}
    return len(plain) < len(raws) and bool(plain - lexicon.SMALL_IN_TITLES)


def told_apart(one: Writing, other: Writing) -> str | None:
    """What alone the writing of two texts tells apart; None if it is nothing that matters."""
    if _capitals_differ(one, other):
        return "capitals"
    if _sharp_differ(one, other):
        return "spelling"
    marked = [
        (pair, mark, other.marks[pair]) for pair, mark in one.marks.items() if other.marks.get(pair, mark) != mark
    ]
    if any("-" in marks for _, *marks in marked) and _hyphens_differ(one, other, marked):
        return "hyphen"
    return "comma" if any("," in marks and _parts(pair, one.language) for pair, *marks in marked) else None


# --- capitals -----------------------------------------------------------------------------------------


def _level(raws: list[str], inside: list[Token]) -> Level:
    if is_mixed(raws):
        return (
            Level.CAREFUL
            if any(token.raw != token.raw.lower() and not _is_i(token.raw) for token in inside)
            else Level.OPENED
        )
    return Level.SMALL if all(raw == raw.lower() or _is_i(raw) for raw in raws) else Level.SILENT


def _is_i(raw: str) -> bool:
    return raw == "I" or raw.startswith("I'")


def _capitals_differ(one: Writing, other: Writing) -> bool:
    least = min(one.level, other.level)
    if least is Level.SILENT:
        return False
    changed = [
        word
        for word, raws in one.forms.items()
        if len(theirs := other.forms.get(word, ())) == len(raws)
        and raws != theirs
        and (word not in _ENGLISH_SMALL or word in lexicon.CAPITONYMS or len(word) == 1 or one.language != "en")
        and (word != "i" or len({*raws, *theirs}) == len(raws))  # "how do i", but `for i in x: print(I)`
    ]
    if any(_matter(word, one, least) for word in changed):
        return True
    # One word alone was not written so out of style.
    return least is Level.OPENED and len(changed) == 1 and changed[0] not in lexicon.CLOSED


def _matter(word: str, writing: Writing, least: Level) -> bool:
    """Whether capitals of *word* say something, if the text that says less by them has the level *least*."""
    if word in lexicon.CAPITONYMS:
        return True
    if least is Level.SMALL:
        return False
    if least is Level.CAREFUL and (writing.of_code or writing.language != "en"):
        return True
    return writing.language == "de" or len(word) == 1


def _sharp_differ(one: Writing, other: Writing) -> bool:
    if Level.SILENT in (one.level, other.level):
        return False
    return any(word in theirs for word, theirs in _each_way(one, other))


def _each_way(one: Writing, other: Writing) -> list[tuple[str, set[str]]]:
    """Each word with ß, and what the other text writes without."""
    return [
        (word, {text for pair in theirs.marks for text in pair} - theirs.sharp)
        for mine, theirs in ((one, other), (other, one))
        for word in mine.sharp
    ]


# --- commas and hyphens -------------------------------------------------------------------------------


def _marks(found: list[Token]) -> dict[Pair, Mark]:
    """A comma in `Paris, France` may as well be left out, and so may that of `which is older, this or that`."""
    marks: dict[Pair, Mark] = {}
    for number, (before, token) in enumerate(pairwise(found), 1):
        mark: Mark = "-" if token.joined else "," if token.gap else ""
        if mark == "," and _is_capital(before) and _is_capital(token):
            mark = ""
        if mark == "," and any(later.text in _CHOICE for later in found[number : number + _CHOICE_WORDS]):
            mark = ""
        marks[before.text, token.text] = mark
    return marks


def _is_capital(token: Token) -> bool:
    return token.kind == "word" and token.raw[:1].isupper()


def _parts(pair: Pair, language: str) -> bool:
    """Whether a comma between two words is more than breath."""
    if any(word in lexicon.NEGATIONS or word.endswith(_SHORTENED_NOT) for word in pair):
        return True
    return not pair[1].isdigit() and not any(word in _SMALL.get(language, frozenset()) for word in pair)


def _hyphens_differ(one: Writing, other: Writing, marked: list[tuple[Pair, Mark, Mark]]) -> bool:
    numbers = lexicon.SMALL.get(one.language, {})
    for pair, mine, yours in marked:
        if "-" not in (mine, yours):
            continue
        before, after = pair
        if "," in (mine, yours) or _regrouped(pair, other if mine == "-" else one):
            return True
        if before in numbers and after in numbers:
            continue
        if before in _OF_QUANTITY or after == "odd" or (before in numbers and not after.endswith("ed")):
            return True
        if after.endswith(_PARTICIPLE) and before not in _SMALL.get(one.language, frozenset()):
            return True
    return False


def _regrouped(pair: Pair, other: Writing) -> bool:
    """Whether *other* joins one of *pair* to another neighbour: `heavy-metal detector`, `heavy metal-detector`."""
    return any(mark == "-" and joined != pair and set(joined) & set(pair) for joined, mark in other.marks.items())
