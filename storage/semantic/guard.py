"""The second check: what keeps two questions apart, however alike they look.

    difference(a, b)                 every word must be accounted for: there is nothing but the wording to go by
    difference(a, b, by_vector=True) embeddings say that they are alike; what embeddings overlook must agree:
                                     numbers, units, negations, names, directions, opposites, members of one family

Both return the reason as a few words, or None. When in doubt there is a reason: a miss costs a call, a false hit an
answer to another question.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable
from itertools import pairwise, product
from typing import Final

from storage.semantic import lexicon
from storage.semantic.reading import Reading

MOVABLE_WORDS: Final = 30
"""In a longer sentence nothing is taken to have changed places harmlessly."""

_NUMBER: Final = re.compile(r"-?\d")
_UNIT_NAMES: Final = frozenset(lexicon.UNITS.values())
_ACRONYMS: Final = frozenset(lexicon.ACRONYMS.values())
_NEUTRAL: Final = frozenset({"what", "howto", "how"})
_PERSONS: Final = frozenset({"_i", "_you"})
_NO_HELPERS: Final = lexicon.QUESTION_WORDS | _PERSONS | {"past", "howto", "whereto"}
_LINKS: Final = lexicon.PREPOSITIONS | {"of", "and", "or", "than", "vs", "but", "as", "that"}
_FRAGMENT: Final = ("be", "what")


def difference(one: Reading, other: Reading, *, by_vector: bool = False) -> str | None:
    """What keeps *one* and *other* apart; None if they ask the same."""
    if one.text == other.text:
        return None
    if one.is_plain or other.is_plain:
        return None if one.is_plain == other.is_plain and one.words == other.words else "wording"
    if one.language != other.language:
        return "language"
    if one.quoted and other.quoted and one.quoted != other.quoted:
        return "quoted text"
    return _facts(one, other) or (_meaning(one, other) if by_vector else _wording(one, other))


# --- always -------------------------------------------------------------------------------------------


def _facts(one: Reading, other: Reading) -> str | None:
    """What must be the same in any case, each looked at as a whole."""
    if _only(one, _is_number) != _only(other, _is_number):
        return "numbers"
    if _only(one, _UNIT_NAMES.__contains__) != _only(other, _UNIT_NAMES.__contains__):
        return "units"
    if _only(one, _is_sign) != _only(other, _is_sign):
        return "signs"
    if _only(one, lexicon.NEGATIONS.__contains__) != _only(other, lexicon.NEGATIONS.__contains__):
        return "negation"
    if one.cased != other.cased and {word.lower() for word in one.cased} & {word.lower() for word in other.cased}:
        return "units"
    if missing := _missing_names(one, other):
        return f"names ({', '.join(sorted(missing))})"
    for family, reason in (
        (lexicon.CLOSED, "names"),
        (_ACRONYMS, "names"),
        (lexicon.QUANTIFIERS, "quantity"),
        (lexicon.TIMES, "time"),
    ):
        if _only(one, family.__contains__) != _only(other, family.__contains__):
            return reason
    return _opposite(one, other)


def _only(reading: Reading, wanted: Callable[[str], bool]) -> Counter[str]:
    return Counter(word for word in reading.words if wanted(word))


def _is_number(word: str) -> bool:
    return _NUMBER.match(word) is not None


def _is_sign(word: str) -> bool:
    """A symbol, or a letter that stands for something: vitamin A, x > y."""
    return (len(word) == 1 and word != "i" and not word.isdigit()) or not any(map(str.isalnum, word))


def _missing_names(one: Reading, other: Reading) -> set[str]:
    """Names of one question that the other does not have, however it writes them."""
    ours, theirs = {*one.words}, {*other.words}
    return {name for name in one.names if name not in theirs} | {name for name in other.names if name not in ours}


def _opposite(one: Reading, other: Reading) -> str | None:
    ours, theirs = set(one.words) - set(other.words), set(other.words) - set(one.words)
    for left, right in lexicon.AXES:
        for mine, yours in ((left, right), (right, left)):
            if ours & mine and theirs & yours:
                return f"opposites ({min(ours & mine)}, {min(theirs & yours)})"
    for word, base in (*product(ours, theirs), *product(theirs, ours)):
        if word.endswith(base) and word.removesuffix(base) in lexicon.NEGATIVE_PREFIXES:
            return f"opposites ({word}, {base})"
    return None


# --- by the words alone -------------------------------------------------------------------------------


def _wording(one: Reading, other: Reading) -> str | None:
    if Counter(one.words) != Counter(other.words):
        return "words"
    if not _same_kind(one, other):
        return "kind of question"
    if one.wording != other.wording and _points_outside(one):
        return "what it points at"
    return None if one.words == other.words or _is_reordered(one, other) else "order"


def _same_kind(one: Reading, other: Reading) -> bool:
    if one.kind == other.kind:
        return True
    if _persons(one) and _persons(other):
        return False
    mine, yours = (tuple(word for word in reading.kind if word not in _PERSONS) for reading in (one, other))
    if mine == yours:
        return True
    named, bare = (one, other) if one.kind else (other, one)
    return named.kind == _FRAGMENT and not bare.kind and bare.words[0] not in lexicon.REQUESTS


def _persons(reading: Reading) -> frozenset[str]:
    return _PERSONS.intersection(reading.kind)


def _points_outside(reading: Reading) -> bool:
    """ "How do I solve this?" asks about something that only the asker sees."""
    pointing = any(
        word in lexicon.POINTING and after not in lexicon.TIMES
        for word, after in zip(reading.words, (*reading.words[1:], ""), strict=True)
    )
    return pointing and reading.one_sentence and not {":", '"'}.intersection(reading.text)


def _is_reordered(one: Reading, other: Reading) -> bool:
    """Whether the same phrases, or two things that are only listed, stand in another order."""
    if not (one.one_sentence and other.one_sentence) or len(one.words) > MOVABLE_WORDS:
        return False
    return _moved_phrases(one.phrases, other.phrases) or _moved_not(one, other) or _swapped(one.words, other.words)


def _moved_phrases(ours: tuple[tuple[str, ...], ...], theirs: tuple[tuple[str, ...], ...]) -> bool:
    """Whether *theirs* are *ours* rotated; or in any order, if each begins with another preposition."""
    if len(ours) != len(theirs) or len(ours) < 2:
        return False
    if any(theirs == ours[cut:] + ours[:cut] for cut in range(1, len(ours))):
        return True
    if any(theirs == _with_swapped(ours, place) for place in range(len(ours) - 1)):
        return True
    heads = [phrase[0] if phrase[0] in lexicon.PREPOSITIONS | lexicon.TIME_WORDS else "" for phrase in ours]
    return len(set(heads)) == len(heads) and Counter(ours) == Counter(theirs)


def _with_swapped(phrases: tuple[tuple[str, ...], ...], place: int) -> tuple[tuple[str, ...], ...]:
    """*phrases* with "to ..." and "from ..." exchanged, if they stand at *place*."""
    pair = phrases[place : place + 2]
    if {phrase[0] for phrase in pair} != {"from", "to"}:
        return phrases
    return phrases[:place] + pair[::-1] + phrases[place + 2 :]


def _moved_not(one: Reading, other: Reading) -> bool:
    """ "Why isn't my code working" and "why is my code not working": one "not", before any link or quantity."""
    for reading in (one, other):
        if reading.words.count("not") != 1:
            return False
        place = reading.words.index("not")
        if place + 1 == len(reading.words) or any(word in _LINKS for word in reading.words[: place + 1]):
            return False
        if lexicon.QUANTIFIERS.intersection(reading.words) or len(_helpers(reading)) > 1:
            return False
    return [word for word in one.words if word != "not"] == [word for word in other.words if word != "not"]


def _helpers(reading: Reading) -> list[str]:
    return [word for word in reading.kind if word not in _NO_HELPERS]


def _swapped(ours: tuple[str, ...], theirs: tuple[str, ...]) -> bool:
    """Whether the two things around an "or", "vs" or a symmetric "and" have changed places."""
    for link in ("or", "vs", "and"):
        if ours.count(link) != 1 or theirs.count(link) != 1:
            continue
        if link == "and" and (not lexicon.SYMMETRIC.intersection(ours) or lexicon.ONE_WAY.intersection(ours)):
            continue
        if _change_places(ours, theirs, ours.index(link), theirs.index(link)):
            return True
    return False


def _change_places(ours: tuple[str, ...], theirs: tuple[str, ...], here: int, there: int) -> bool:
    """`P x link y S` against `P y link x S`, with no number or link in x and y."""
    for first in range(1, min(here, 5) + 1):
        start = here - first
        second = there - start
        if second < 1 or ours[:start] != theirs[:start]:
            continue
        left, right = ours[start:here], ours[here + 1 : here + 1 + second]
        if theirs[start:there] != right or theirs[there + 1 : there + 1 + first] != left:
            continue
        if ours[here + 1 + second :] != theirs[there + 1 + first :]:
            continue
        return not any(_is_number(word) or word in _LINKS or word in lexicon.NEGATIONS for word in left + right)
    return False


# --- with embeddings ----------------------------------------------------------------------------------


def _meaning(one: Reading, other: Reading) -> str | None:
    if _asked(one) != _asked(other):
        return "kind of question"
    if "past" in {*one.kind} ^ {*other.kind} or "will" in {*one.kind} ^ {*other.kind}:
        return "time"
    if _comparisons(one) != _comparisons(other):
        return "more or less"
    if changed := _turned_round(one, other):
        return changed
    ours, theirs = Counter(one.words) - Counter(other.words), Counter(other.words) - Counter(one.words)
    if not ours and not theirs:
        return _wording(one, other)
    small = _SMALL if one.language == "en" else lexicon.ARTICLES_ELSEWHERE
    mine, yours = ([word for word in words.elements() if word not in small] for words in (ours, theirs))
    if len(mine) == 1 and len(yours) == 1 and not _are_related(mine[0], yours[0]):
        return f"one word ({mine[0]}, {yours[0]})"
    if len(mine) + len(yours) == 1:
        return f"one word ({(mine + yours)[0]})"
    if {*mine, *yours} <= _DIRECTIONS:
        return f"direction ({', '.join([*mine, *yours])})"
    return None


def _comparisons(reading: Reading) -> Counter[str]:
    """Which ways from its numbers: more than 5, up to 5."""
    words, found = reading.words, Counter[str]()
    for at, word in enumerate(words):
        if _is_number(word):
            before = (lexicon.COMPARISONS.get(words[max(0, at - size) : at]) for size in (3, 2, 1))
            found.update(name for name in before if name)
    return found


def _asked(reading: Reading) -> Counter[str]:
    """Who, when, where, why, how many: what sort of answer is wanted; nothing for a yes or no."""
    asked = Counter(word for word in reading.kind if word in lexicon.QUESTION_WORDS and word not in _NEUTRAL)
    if not asked and (_NEUTRAL.intersection(reading.kind) or not reading.kind):
        asked["what"] = 1
    if "how" in reading.kind and reading.words:
        amount = [word for word in reading.words if word in _AMOUNTS]
        asked.update(amount)
    return asked


_AMOUNTS: Final = frozenset(
    {"many", "much", "long", "old", "far", "often", "tall", "big", "fast", "deep", "high", "heavy"}
)


def _turned_round(one: Reading, other: Reading) -> str | None:
    """The names, numbers and family members of both, in another order or behind another preposition."""
    shared = _entities(one) & _entities(other)
    ours = [word for word in one.words if word in shared]
    theirs = [word for word in other.words if word in shared]
    if len(shared) < 2:
        return None
    if _doers(one) & shared != _doers(other) & shared:
        return "direction"
    if ours == theirs:
        return None
    if _behind(one, shared) == _behind(other, shared):
        return None
    if lexicon.SYMMETRIC.intersection(one.words) and lexicon.SYMMETRIC.intersection(other.words):
        return None
    return "direction"


def _doers(reading: Reading) -> set[str]:
    """What stands behind "by": it does what another suffers."""
    return {word for before, word in pairwise(reading.words) if before == "by"}


def _entities(reading: Reading) -> set[str]:
    return {word for word in reading.words if word in reading.names or word in lexicon.CLOSED or _is_number(word)}


def _behind(reading: Reading, shared: Iterable[str]) -> dict[str, str] | None:
    """The preposition before each of *shared*; None unless there is one for each of them, all different."""
    found = {
        word: before
        for before, word in zip(("", *reading.words), reading.words, strict=False)
        if word in set(shared) and before in lexicon.PREPOSITIONS
    }
    return found if len(found) == len(set(found.values())) == len(set(shared)) else {"": reading.text}


_DIRECTIONS: Final = lexicon.PREPOSITIONS | {"until", "till", "on", "up", "off", "out", "down", "back", "away", "of"}
_SMALL: Final = frozenset({"it", "there", "be", "been", "being", "have", "this", "these", "those"})


def _are_related(one: str, other: str) -> bool:
    """Two forms of one word: monetize, monetizing; celebrate, celebration."""
    common = next((i for i, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))
    return common >= 4 and common * 3 >= max(len(one), len(other)) * 2
