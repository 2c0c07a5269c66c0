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
from storage.semantic.writing import Level, told_apart

MOVABLE_WORDS: Final = 30
"""In a longer sentence nothing is taken to have changed places harmlessly."""

_NUMBER: Final = re.compile(r"-?\d")
_UNIT_NAMES: Final = frozenset(lexicon.UNITS.values())
_ACRONYMS: Final = frozenset(lexicon.ACRONYMS.values())
_NEUTRAL: Final = frozenset({"what", "howto", "how"})
_PERSONS: Final = frozenset({"_i", "_you"})
_NO_HELPERS: Final = lexicon.QUESTION_WORDS | _PERSONS | {"past", "howto", "whereto"}
_LINKS: Final = lexicon.PREPOSITIONS | {"of", "and", "or", "than", "vs", "but", "as", "that"}
_MOVABLE: Final = lexicon.PREPOSITIONS | lexicon.TIME_WORDS
_CLAUSES: Final = frozenset({"if", "because", "although", "unless", "when", "whenever", "before", "after", "since"})
_QUALITIES: Final = lexicon.LISTED | lexicon.COLOURS | lexicon.QUALITIES
_FRAGMENT: Final = ("be", "what")


def difference(one: Reading, other: Reading, *, by_vector: bool = False) -> str | None:
    """What keeps *one* and *other* apart; None if they ask the same."""
    if one.text == other.text:
        return None
    if one.is_plain or other.is_plain:
        return None if one.is_plain == other.is_plain and one.words == other.words else "wording"
    if one.language != other.language:
        return "language"
    if one.quoted and other.quoted and _quotations(one, other) != _quotations(other, one):
        return "quoted text"
    return _facts(one, other) or (_meaning(one, other) if by_vector else _wording(one, other))


def _quotations(reading: Reading, other: Reading) -> tuple[str, ...]:
    """The quotations of *reading*, in one case unless both texts mind their capitals."""
    if min(reading.writing.level, other.writing.level) >= Level.OPENED:
        return reading.quoted
    return tuple(quoted.casefold() for quoted in reading.quoted)


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
    return _opposite(one, other) or told_apart(one.writing, other.writing)


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
    if _helpers_changed_places(one, other):
        return "order"
    if _commands(one) != _commands(other):
        return "article"
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


def _helpers_changed_places(one: Reading, other: Reading) -> bool:
    """Whether "did he say what she will" became "will he say what she did": a helper with no neighbour left."""
    if len(one.helpers) < 2 or [name for _, name, _ in one.helpers] == [name for _, name, _ in other.helpers]:
        return False
    theirs = {name: (before, after) for before, name, after in other.helpers}
    if len(theirs) < len(other.helpers) or theirs.keys() != {name for _, name, _ in one.helpers}:
        return False
    return any(before != theirs[name][0] and after != theirs[name][1] for before, name, after in one.helpers)


def _commands(reading: Reading) -> bool:
    """Whether the first word does something to what follows: "water the plants", not "water plants"."""
    first, *rest = reading.wording
    return (
        not reading.kind
        and bool(rest)
        and rest[0] in lexicon.ARTICLES
        and first == reading.words[0]
        and first not in lexicon.REQUESTS | _LINKS
    )


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
    return _moved_phrases(one.phrases, other.phrases) or _moved_not(one, other) or _swapped(one, other)


def _moved_phrases(ours: tuple[tuple[str, ...], ...], theirs: tuple[tuple[str, ...], ...]) -> bool:
    """Whether *theirs* are *ours* rotated; or in any order, if each begins with another preposition."""
    if len(ours) != len(theirs) or len(ours) < 2:
        return False
    whole = [
        phrase for before, phrase in pairwise([("",), *ours]) if phrase[0] not in _MOVABLE and before[0] not in _CLAUSES
    ]
    if len(whole) > 1:
        return False  # "the man in the car is a thief", "mix, bake, cool"
    if any(theirs == ours[cut:] + ours[:cut] for cut in range(1, len(ours))):
        return True
    if any(theirs == _with_swapped(ours, place) for place in range(len(ours) - 1)):
        return True
    places = [[phrase for phrase in phrases if phrase[0] in lexicon.PLACES] for phrases in (ours, theirs)]
    heads = [phrase[0] if phrase[0] in _MOVABLE else "" for phrase in ours]
    return len(set(heads)) == len(heads) and Counter(ours) == Counter(theirs) and places[0] == places[1]


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
        if _STRESSED.intersection(reading.words) or len(_helpers(reading)) > 1:
            return False
    return [word for word in one.words if word != "not"] == [word for word in other.words if word != "not"]


def _helpers(reading: Reading) -> list[str]:
    return [word for word in reading.kind if word not in _NO_HELPERS]


def _swapped(one: Reading, other: Reading) -> bool:
    """Whether the two things around an "or", "vs" or a symmetric "and" have changed places."""
    ours, theirs = one.words, other.words
    if lexicon.IN_TURN.intersection(ours):
        return False
    asks_which = not {"what", "who"}.isdisjoint(one.kind)
    for link in ("or", "vs", "and"):
        if ours.count(link) != 1 or theirs.count(link) != 1:
            continue
        if link == "and" and (not lexicon.SYMMETRIC.intersection(ours) or lexicon.ONE_WAY.intersection(ours)):
            continue
        place = ours.index(link)
        start = _change_places(ours, theirs, place, theirs.index(link))
        if start is None:
            continue
        # "Red wine or beer" is not "red beer or wine"; "which is better, tea or coffee" is the same either way.
        if not start or ours[start - 1] not in (
            _QUALITIES - lexicon.DEGREES if asks_which else _QUALITIES | lexicon.DEGREES
        ):
            return True
    return False


def _change_places(ours: tuple[str, ...], theirs: tuple[str, ...], here: int, there: int) -> int | None:
    """`P x link y S` against `P y link x S`, with no number or link in x and y: where x begins."""
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
        fixed = any(_is_number(word) or word in _LINKS or word in lexicon.NEGATIONS for word in left + right)
        return None if fixed else start
    return None


# --- with embeddings ----------------------------------------------------------------------------------


def _meaning(one: Reading, other: Reading) -> str | None:
    if _asked(one) != _asked(other):
        return "kind of question"
    if _whom(one) != _whom(other):
        return "direction"
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


def _whom(reading: Reading) -> bool:
    """Whether "who" is somebody to whom it is done: "who do dogs bite" against "who bites dogs"."""
    return "who" in reading.kind and "do" in reading.kind


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
_STRESSED: Final = lexicon.QUANTIFIERS | lexicon.FILLERS
_DEGREES: Final = frozenset({"er", "est", "ier", "iest"})
_SMALL: Final = frozenset({"it", "there", "be", "been", "being", "have", "this", "these", "those"})


def _are_related(one: str, other: str) -> bool:
    """Two forms of one word: monetize, monetizing; celebrate, celebration. Warm and warmer are not."""
    short, long = sorted((one, other), key=len)
    if long.removeprefix(short.removesuffix("e").removesuffix("y")) in _DEGREES:
        return False
    common = next((i for i, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))
    return common >= 4 and common * 3 >= max(len(one), len(other)) * 2
