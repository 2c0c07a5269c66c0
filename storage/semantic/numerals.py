"""Numbers in one form: `twenty-five` and `25`, `1,000` and `1000`, `5km` and `5 kilometers`, `$5` and `5 dollars`.

A decimal keeps its digits (`3.10` is not `3.1`: it may be a version). English parts thousands with a comma, German,
French and Spanish with a full stop or a space.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from decimal import Decimal
from typing import Final

from storage.semantic import lexicon
from storage.semantic.tokens import Gap, Token

_ENGLISH_THOUSANDS: Final = re.compile(r"-?\d{1,3}(?:[,' ]\d{3})+(?:\.\d+)?")
_OTHER_THOUSANDS: Final = re.compile(r"-?\d{1,3}(?:[.' ]\d{3})+(?:,\d+)?")
_DECIMAL_COMMA: Final = re.compile(r"-?\d+,\d+")
_PLAIN: Final = re.compile(r"\d+(?:\.\d+)?")
_CURRENCIES: Final = frozenset("$€£¥₹")


def with_numbers(found: Iterable[Token], language: str) -> list[Token]:
    """*found* with numbers and the units behind them in one form."""
    spelled = _joined([_digits(token, language) for token in found], language)
    return list(_with_units(_currency_behind(spelled)))


def _digits(token: Token, language: str) -> Token:
    if token.text in lexicon.ROMAN and not token.quoted:
        return token._replace(text=lexicon.ROMAN[token.text], kind="number")
    if token.kind != "number":
        return token
    text = token.text
    if language == "en":
        if _ENGLISH_THOUSANDS.fullmatch(text):
            text = re.sub(r"[,' ]", "", text)
    elif _OTHER_THOUSANDS.fullmatch(text):
        text = re.sub(r"[.' ]", "", text).replace(",", ".")
    elif _DECIMAL_COMMA.fullmatch(text):
        text = text.replace(",", ".")
    return token._replace(text=text)


def _joined(found: list[Token], language: str) -> list[Token]:
    """Number words as digits: tens and ones, hundreds and scales are put together."""
    small = lexicon.SMALL.get(language, {})
    joined: list[Token] = []
    position = 0
    while position < len(found):
        token = found[position]
        if language == "en" and (ordinal := _ordinal(found, position)):
            joined.append(token._replace(text=ordinal, kind="number"))
            position += 1
            continue
        value, taken = _spelled(found, position, small, english=language == "en")
        if taken:
            joined.append(token._replace(text=value, kind="number"))
            position += taken
        else:
            joined.append(token)
            position += 1
    return joined


def _ordinal(found: list[Token], position: int) -> str | None:
    token = found[position]
    if token.kind != "word" or token.quoted:
        return None
    if token.text == "second" and position and (found[position - 1].kind == "number" or _is_per(found[position - 1])):
        return None  # the unit of time
    return lexicon.ORDINALS.get(token.text)


def _is_per(token: Token) -> bool:
    return token.text in {"per", "a", "one", "each", "every", "/", "in"}


def _spelled(found: list[Token], position: int, small: Mapping[str, int], *, english: bool) -> tuple[str, int]:
    """The number that begins at *position*, and how many tokens it takes; ("", 0) if none does."""
    first = found[position]
    if first.quoted or (first.kind == "word" and first.text not in small and first.text not in _leading(english)):
        return "", 0
    if first.kind not in ("word", "number") or (first.kind == "number" and not _PLAIN.fullmatch(first.text)):
        return "", 0
    if first.kind == "number":
        return _scaled(Decimal(first.text), first.text, found, position + 1, 1) if english else ("", 0)
    total, group, taken = 0, 0, 0
    seen = False
    while position + taken < len(found):
        token = found[position + taken]
        if taken and token.gap != Gap.NONE:
            break
        value = small.get(token.text) if token.kind == "word" else None
        if value is not None and value < 100 and (not seen or _fits(group, value)):
            group += value
        elif english and token.text == "hundred" and 0 < group < 10:
            group *= 100
        elif english and token.text in lexicon.SCALES and (group or not seen):
            total += (group or 1) * lexicon.SCALES[token.text]
            group = 0
        elif english and token.text == "hundred" and not seen:
            group = 100
        elif english and token.text == "and" and group >= 100 and _next_is_small(found, position + taken, small):
            pass
        elif value is not None and not seen:
            group = value
        else:
            break
        seen = True
        taken += 1
    return (str(total + group), taken) if taken else ("", 0)


def _leading(english: bool) -> frozenset[str]:
    return frozenset({"hundred", *lexicon.SCALES}) if english else frozenset()


def _fits(group: int, value: int) -> bool:
    """Twenty takes a five, a hundred takes anything below it."""
    return (group % 100 == 0) or (group % 10 == 0 and group % 100 >= 20 and 0 < value < 10)


def _next_is_small(found: list[Token], position: int, small: Mapping[str, int]) -> bool:
    return position + 1 < len(found) and found[position + 1].text in small


def _scaled(value: Decimal, text: str, found: list[Token], position: int, taken: int) -> tuple[str, int]:
    while position < len(found) and found[position].gap == Gap.NONE and found[position].text in lexicon.SCALES:
        value *= lexicon.SCALES[found[position].text]
        text = format(value.normalize(), "f")
        position += 1
        taken += 1
    return text, taken


def _currency_behind(found: list[Token]) -> list[Token]:
    """`$ 5` as `5 $`."""
    ordered = list(found)
    for position in range(len(ordered) - 1):
        sign, amount = ordered[position], ordered[position + 1]
        if sign.text in _CURRENCIES and amount.kind == "number":
            ordered[position] = amount._replace(gap=sign.gap)
            ordered[position + 1] = sign._replace(gap=Gap.NONE)
    return ordered


def _with_units(found: list[Token]) -> Iterator[Token]:
    """A unit that stands behind a number, or is more than one letter long, by its long name."""
    after_number = False
    for token in found:
        unit = None if token.quoted else lexicon.UNITS.get(token.text)
        if unit and (after_number or len(token.text) > 3 or token.kind == "symbol"):
            yield token._replace(text=unit)
        else:
            yield token
        after_number = token.kind == "number"
