"""When two values are the same.

Three levels, each one wider than the one before:

exact      the same value: numbers by value (1 = 1.0), text as written but for its outer blanks and unicode form,
           text that holds JSON or a Python literal by that value
normal     the same after normalisation: case, blanks, punctuation and quotes dropped, numbers, amounts (`$1,200.00`)
           and dates in text by value, moments by what the clock of UTC shows, tuples as lists, lists of distinct texts
           without their order
similar    texts with a Jaro-Winkler similarity of at least the threshold after normalisation, and with the same numbers
           in them: `v1.2` and `v1.3`, `May 3` and `May 4` are never similar
"""

from __future__ import annotations

import math
import re
import unicodedata
from datetime import UTC, datetime
from functools import lru_cache
from typing import Final

from routing.consensus.answers import Json, Mark
from routing.consensus.literals import LONGEST_REMEMBERED, Key, number, read, remembered

NUMBER = re.compile(r"[+-]?(?:\d{1,3}(?:,\d{3})+|\d+)?(?:\.\d+)?(?:[eE][+-]?\d{1,3})?")
AMOUNT = re.compile(rf"([$€£¥₹]?)\s*({NUMBER.pattern})\s*([$€£¥₹%]?)")
DIGITS = re.compile(r"\d+")
ISO_DATE = re.compile(
    r"(\d{4})[-/.](\d{1,2})[-/.](\d{1,2})(?:[T ](\d{1,2}):(\d{2})(?::(\d{2})(?:\.(\d+))?)?\s*(Z|[+-]\d{2}:?\d{2})?)?"
)
DAY_FIRST = re.compile(r"(\d{1,2})([-/.])(\d{1,2})\2(\d{4})")
DAY_MONTH = re.compile(r"(\d{1,2})(?:st|nd|rd|th)?\.?\s+(?:of\s+)?([a-z]{3,9})\.?,?\s+(\d{4})")
MONTH_DAY = re.compile(r"([a-z]{3,9})\.?\s+(\d{1,2})(?:st|nd|rd|th)?,?\s+(\d{4})")
MONTHS: Final = (
    *("january", "february", "march", "april", "may", "june"),
    *("july", "august", "september", "october", "november", "december"),
)
FORMS: Final = (
    "absent",
    "null",
    "flag",
    "number",
    "text",
    "list",
    "object",
    "quoted",
    "written list",
    "written object",
)
FORM_OF: Final = {"mark": 0, "0": 1, "b": 2, "n": 3, "s": 4, "l": 5, "d": 6}
WRITTEN: Final = {"s": 7, "l": 8, "t": 8, "e": 8, "d": 9, "0": 1, "b": 2, "n": 3}
LONGEST_COMPARED: Final = 4096
ZONE: Final = 8
"""Where the zone stands in the key of a date that has a time."""
DAYS: Final = (31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)


def exact(value: Json | Mark) -> Key:
    """Equal for values of the level `exact`. What is nested too deeply is equal to nothing."""
    try:
        return _exact(value)
    except RecursionError:
        return ("?", id(value))


def normal(value: Json | Mark) -> Key:
    """Equal for values of the level `normal`. What is nested too deeply is equal to nothing."""
    try:
        return _normal(value)
    except RecursionError:
        return ("?", id(value))


def form(key: Key) -> int:
    """The form of the value with this `exact` key, a position in `FORMS`."""
    return WRITTEN[str(key[1][0])] if key[0] == "v" else FORM_OF.get(str(key[0]), 4)  # type: ignore[index]  # a key in a key


def similarity(one: Key, other: Key) -> float:
    """Jaro-Winkler of two `normal` keys, from 0 to 1. Values other than text have 1 or 0."""
    if one == other:
        return 1.0
    if one[0] != "s" or other[0] != "s":
        return 0.0
    return _jaro_winkler(str(one[1]), str(other[1]))


def similar(one: Key, other: Key, threshold: float) -> bool:
    """Whether two `normal` keys are the same at the level `similar`."""
    if one[0] != "s" or other[0] != "s" or one == other:
        return one == other
    left, right = str(one[1]), str(other[1])
    return _numbers(left) == _numbers(right) and _jaro_winkler(left, right) >= threshold


@remembered
def folded(text: str) -> str:
    """*text* without case, outer and repeated blanks, punctuation and the differences of unicode's forms.

    A text of nothing but punctuation is left as it is, for otherwise all of them would be one. A long text keeps its
    punctuation.
    """
    plain = unicodedata.normalize("NFKC", text).casefold()
    if len(plain) > LONGEST_COMPARED:
        return " ".join(plain.split())
    bare = "".join(sign if sign.isalnum() or unicodedata.combining(sign) else " " for sign in plain)
    words = " ".join(bare.split())
    return words or " ".join(plain.split())


def _exact(value: Json | Mark) -> Key:
    match value:
        case str():
            return _exact_text(value)
        case Mark():
            return ("mark", value.value)
        case None:
            return ("0",)
        case bool():
            return ("b", value)
        case int() | float():
            return ("n", _plain_number(value))
        case list() | tuple():
            return ("l", *map(_exact, value))
        case dict():
            return ("d", frozenset((str(name), _exact(member)) for name, member in value.items()))
        case _:
            return ("?", repr(value))


def _normal(value: Json | Mark) -> Key:
    match value:
        case str():
            return _normal_text(value)
        case list() | tuple():
            return _normal_key(("l", *map(_exact, value)))
        case dict():
            return ("d", frozenset((folded(str(name)), _normal(member)) for name, member in value.items()))
        case _:
            return _exact(value)


@remembered
def _exact_text(text: str) -> Key:
    value = read(text)
    # A bare number stays text here: `1.10` may be a version.
    if value is None or value[0] == "n":
        return ("s", unicodedata.normalize("NFC", text.strip()))
    return ("v", value)


@remembered
def _normal_text(text: str) -> Key:
    value = read(text)
    if value is not None and value[0] != "s":
        return _normal_key(value)
    bare = str(value[1]) if value is not None else text.strip().strip("`").strip()
    return _number_in(bare) or _amount_in(bare) or _date_in(bare) or ("s", folded(bare))


def _normal_key(key: Key) -> Key:
    """The `normal` key for an `exact` one."""
    match key[0]:
        case "v":
            return _normal_key(key[1])  # type: ignore[arg-type]  # what `v` holds is a key
        case "s":
            return _normal_text(str(key[1]))
        case "l" | "t":
            items = [_normal_key(item) for item in key[1:]]  # type: ignore[arg-type]
            if len(items) > 1 and all(item[0] == "s" for item in items) and len(set(items)) == len(items):
                return ("set", frozenset(items))
            return ("l", *items)
        case "d":
            return ("d", frozenset((_name(name), _normal_key(item)) for name, item in key[1]))  # type: ignore[attr-defined]
        case _:
            return key


def _name(name: object) -> str:
    return folded(str(name[1]) if isinstance(name, tuple) and len(name) > 1 else str(name))


def _plain_number(value: float) -> float:
    """Twelve significant digits decide, so that 0.1 + 0.2 is 0.3; whole numbers stay exact."""
    if isinstance(value, int):
        return value
    if not math.isfinite(value):
        return value
    rounded = float(f"{value:.12g}")
    return int(rounded) if rounded.is_integer() and abs(rounded) < 2**53 else rounded


def _number_in(text: str) -> Key | None:
    if not text or not NUMBER.fullmatch(text) or not any(sign.isdigit() for sign in text):
        return None
    return ("n", _plain_number(number(text.replace(",", "")))) if len(text) < 100 else None


def _amount_in(text: str) -> Key | None:
    """A number with one sign of a currency, before or after it, or of percent."""
    found = AMOUNT.fullmatch(text) if len(text) < 100 else None
    if found is None or bool(found[1]) == bool(found[3]):
        return None
    value = _number_in(found[2])
    return None if value is None else ("amount", found[1] or found[3], value[1])


def _date_in(text: str) -> Key | None:
    """A date, with its time where it has one. `03/04/2024` is nobody's date: day and month cannot be told apart."""
    if len(text) > 40 or not any(sign.isdigit() for sign in text):
        return None
    if found := ISO_DATE.fullmatch(text):
        year, month, day, *clock = found.groups()
        return _in_utc(_date(int(year), int(month), int(day), *_time_of(clock)))
    if found := DAY_FIRST.fullmatch(text):
        first, dotted, second, year = int(found[1]), found[2] == ".", int(found[3]), int(found[4])
        if dotted or first > 12:
            return _date(year, second, first)
        return _date(year, first, second) if second > 12 else None
    lower = text.casefold()
    if found := DAY_MONTH.fullmatch(lower):
        return _date(int(found[3]), _month(found[2]), int(found[1]))
    if found := MONTH_DAY.fullmatch(lower):
        return _date(int(found[3]), _month(found[1]), int(found[2]))
    return None


def _time_of(clock: list[str | None]) -> tuple[object, ...]:
    """Hour, minute, second and zone; midnight without a zone is no time at all, as dates are often written so."""
    hour, minute, second, fraction, zone = clock
    if hour is None:
        return ()
    at = (int(hour), int(minute or 0), int(second or 0), (fraction or "").rstrip("0"))
    if at == (0, 0, 0, "") and zone in (None, "Z"):
        return ()
    return (*at, "+0000" if zone in (None, "Z") else zone.replace(":", ""))


def _in_utc(date: Key | None) -> Key | None:
    """The moment of *date* where its clock is another zone's, else *date*."""
    zone = str(date[-1]) if date and len(date) > ZONE else "+0000"
    if date is None or zone == "+0000":
        return date
    year, month, day, hour, minute, second, fraction = date[1:ZONE]
    try:
        at = datetime.strptime(f"{year:04}-{month}-{day} {hour}:{minute}:{second}{zone}", "%Y-%m-%d %H:%M:%S%z")
        at = at.astimezone(UTC)
    except (ValueError, OverflowError):
        return date
    return ("date", at.year, at.month, at.day, at.hour, at.minute, at.second, fraction, "+0000")


def _date(year: int, month: int, day: int, *time: object) -> Key | None:
    if not 1 <= month <= 12 or not 1 <= day <= DAYS[month - 1]:
        return None
    return ("date", year, month, day, *time)


def _month(name: str) -> int:
    return next((at for at, month in enumerate(MONTHS, 1) if month == name or month[:3] == name), 0)


@remembered
def _numbers(text: str) -> tuple[str, ...]:
    return tuple(found.lstrip("0") for found in DIGITS.findall(text))


def _jaro_winkler(one: str, other: str) -> float:
    """Of texts longer than `LONGEST_COMPARED` none are similar: it would take their lengths' product in time."""
    longest = max(len(one), len(other))
    if longest > LONGEST_COMPARED:
        return 0.0
    return _known_jaro_winkler(one, other) if longest <= LONGEST_REMEMBERED else _fresh_jaro_winkler(one, other)


def _fresh_jaro_winkler(one: str, other: str) -> float:
    # Imported here, because the proxy starts without any consensus route and the library takes milliseconds to load.
    from rapidfuzz.distance import JaroWinkler

    return JaroWinkler.similarity(one, other)


_known_jaro_winkler = lru_cache(maxsize=16384)(_fresh_jaro_winkler)
