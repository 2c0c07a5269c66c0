"""Taking out of text what a log must not hold: keys, card and account numbers, addresses, telephone numbers.

Every pattern is bounded and begins where a word begins, so that the time grows with the text and not faster. Rules of
the configuration are anybody's: they run with a clock, and a text that one of them does not get through is dropped.
"""

from __future__ import annotations

import hashlib
import re
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal, get_args

Kind = Literal["cards", "iban", "email", "phone"]
KINDS: Final[tuple[Kind, ...]] = get_args(Kind)

PIECE: Final = 32 * 1024
"""Longer texts are taken in pieces of about that many characters, so that the event loop has its turn between them."""
LONGEST: Final = 128 * 1024
"""A text of that many characters in which there is neither line, sentence nor JSON is not searched, and not kept."""
LARGE: Final = 10**9
"""Numbers from this one on may be those of cards."""
REMEMBERED: Final = 128
"""From this length on it is remembered what became of a text,"""
MOST_REMEMBERED: Final = 1024
"""and of so many of them."""
RULE_S: Final = 0.25
"""How long a rule of the configuration may take for one piece."""
BINARY: Final = 1024
"""From this length on, text that is all base64 is a file: of it, only length and hash are kept."""
DROPPED: Final = "[dropped: a rule took too long]"

_BEGINS: Final = r"(?<![A-Za-z0-9])"
_NAMED: Final = ("sk", "pk", "rk", "xai", "gsk", "hf", "mp", "nvapi", "key", "whsec", "r8", "pplx", "csk", "fw", "tgp")
_PEM: Final = r"[A-Z0-9 ]{0,30}PRIVATE KEY(?: BLOCK)?"
_KEYS: Final = tuple(
    (hints, re.compile(pattern, re.IGNORECASE))
    for hints, pattern in (
        (
            tuple(name + mark for name in _NAMED for mark in "-_"),
            rf"{_BEGINS}(?:{'|'.join(_NAMED)})[-_][A-Za-z0-9_\-*.]{{8,}}",
        ),
        (("aiza",), _BEGINS + r"AIza[A-Za-z0-9_\-]{20,}"),
        (tuple(f"gh{kind}_" for kind in "opsur"), _BEGINS + r"gh[opsur]_[A-Za-z0-9]{16,}"),
        (("github_pat_",), _BEGINS + r"github_pat_[A-Za-z0-9_]{16,}"),
        (("glpat-",), _BEGINS + r"glpat-[A-Za-z0-9_\-]{16,}"),
        (("xox",), _BEGINS + r"xox[abeoprs]-[A-Za-z0-9\-]{8,}"),
        (("akia", "asia"), _BEGINS + r"(?:AKIA|ASIA)[A-Z0-9]{12,}"),
        (("eyj",), r"(?<![A-Za-z0-9_\-])eyJ[A-Za-z0-9_\-]{8,}\.[A-Za-z0-9_\-]{8,}(?:\.[A-Za-z0-9_\-]*)?"),
        (("bearer ",), r"(?<=bearer )[A-Za-z0-9._~+/=\-]{8,}"),
        (("basic ",), r"(?<=basic )[A-Za-z0-9+/=]{8,}"),
        (("ya29.",), _BEGINS + r"ya29\.[A-Za-z0-9_\-]{16,}"),
        (("npm_", "dop_v1_", "shpat_"), _BEGINS + r"(?:npm|dop_v1|shpat)_[A-Za-z0-9]{30,}"),
        (("sg.",), _BEGINS + r"SG\.[A-Za-z0-9_\-]{16,}\.[A-Za-z0-9_\-]{16,}"),
        (("private key",), rf"-----BEGIN {_PEM}-----(?:(?!-----)[\s\S]){{0,16384}}(?:-----END {_PEM}-----)?"),
        (("://",), r"(?<=://)[^\s/@:]{0,200}:[^\s/]{1,200}(?=@)"),
    )
)
"""What looks like a key, each with what stands in every such text, in small letters: that is found much faster."""
_NAMES_OF_SECRETS: Final = "|".join(
    (
        r"pass(?:word|wd|phrase|code)|pwd|secret|authorization",
        r"(?:client|api|app|webhook|signing)[_\- ]?secret",
        r"(?:auth|access|refresh|bearer)[_\- ]?token",
        r"(?:api|access|private|secret|encryption)[_\- ]?(?:access[_\- ]?)?key",
    )
)
_SECRET_FIELD: Final = re.compile(rf"(?:\w{{0,40}}[_\-])?(?:{_NAMES_OF_SECRETS})", re.IGNORECASE)
_NAME_BEFORE: Final = re.compile(rf"(?:{_NAMES_OF_SECRETS})[\"']{{0,2}}\s{{0,3}}\Z", re.IGNORECASE)
_LONGEST_NAME: Final = 40
_VALUE: Final = r"((?=[^\s\"',;&<>]{0,200}\d)[^\s\"',;&<>\[\]]{6,200})"
_GIVEN: Final = (re.compile(rf"[:=]\s{{0,3}}[\"']?{_VALUE}"), re.compile(rf" is [\"']?{_VALUE}"))
"""A value that may be behind the name of a secret, with a digit in it: other words are more often words."""
_AT: Final = re.compile(r"(?:@|%40|\uff20)(?:[\w.\-]{1,253}|\[[0-9a-fA-F.:]{3,45}\])")
_LOCAL: Final = re.compile(r"[\w.%+\-']")
_TOP: Final = re.compile(r"\.[^\W\d_]{2,24}")
_LOCAL_MOST: Final = 64
_SEPARATOR: Final = "(?:%20|[ \\t./_+\\-\u00a0\u00ad\u2007\u2009-\u200d\u2010-\u2014\u202f\u2060\ufeff])"
_DIGITS: Final = re.compile(rf"(?<!\d)\d(?:{_SEPARATOR}{{0,2}}\d){{12,}}")
_GROUP: Final = re.compile(r"%20|(\d+)")
_FRACTION: Final = re.compile(r"\d\.\d")
_LEAST_GROUP: Final = 3
"""Digits that a card's number has before each blank."""
_CARD_LENGTHS: Final = range(13, 20)
_IBAN: Final = re.compile(
    rf"(?<![A-Za-z0-9])(?:IBAN|iban)?([A-Za-z]{{2}} ?\d{{2}}(?:{_SEPARATOR}{{0,2}}[A-Za-z0-9]){{11,30}})"
)
_PHONES: Final = re.compile(
    r"(?<![\w.+])(?:[+\uff0b] ?|00)[1-9](?:[ \-./()\u00a0\u200b]{0,3}\d){6,14}(?!\d)"
    r"|(?<![\w.+])\(?\d{3}\)?[ \-.]\d{3}[ \-.]\d{4}(?!\w)"
    r"|(?<![\w.+])\(?0\d{1,5}\)?[ /\-]{1,3}\d(?:[ \-/]?\d){4,9}(?!\d)"
    r"|(?<![\w.+])0\d{9,10}(?!\w)"
    r"|(?<![\w.+])(?:1[3-9]\d[ \-]\d{4}[ \-]\d{4}|[6-9]\d{4}[ \-]\d{5})(?!\w)"
)
_NUMBER: Final = re.compile(r"(?<![\w.+])\d(?:[ \-./()]{0,2}\d){6,14}(?!\d)")
_CALLED: Final = re.compile(r"\b(?:tel|fax|cell|phone|mobile|telefon|whatsapp)[ .:=#]{1,3}\Z", re.IGNORECASE)
"""Behind which any number of seven digits or more is one that is called."""
_LONGEST_CALL: Final = 12
_CUT: Final = re.compile(r"\n|(?<=[a-z\"}\]][,.;:!?])(?=[\s\"{\[\\])")
_DATE: Final = re.compile(r"\d{2}[-/ ]\d{2}[-/ ]\d{4}|\d{4}[-/ ]\d{2}[-/ ]\d{2}")
_BASE64: Final = re.compile(r"(?:data:[^,]{0,200},)?[A-Za-z0-9+/_\-]+={0,2}")

_COUNTRIES: Final = (
    "AD24 AE23 AL28 AT20 AZ28 BA20 BE16 BG22 BH22 BI27 BR29 BY28 CH21 CR22 CY28 CZ24 DE22 DJ27 DK18 DO28 EE20 EG29"
    " ES24 FI18 FK18 FO18 FR27 GB22 GE22 GI23 GL18 GR27 GT28 HN28 HR21 HU28 IE22 IL23 IQ23 IS26 IT27 JO30 KW30 KZ20"
    " LB28 LC32 LI21 LT20 LU20 LV21 LY25 MC27 MD24 ME22 MK19 MN20 MR27 MT31 MU30 NI28 NL18 NO15 OM23 PK24 PL28 PS29"
    " PT25 QA29 RO24 RS22 RU33 SA24 SC31 SD18 SE24 SI19 SK24 SM27 SO23 ST25 SV28 TL23 TN24 TR26 UA29 VA22 VG24 XK20"
    " YE30"
)
_IBAN_LENGTHS: Final[Mapping[str, int]] = {each[:2]: int(each[2:]) for each in _COUNTRIES.split()}


@dataclass(frozen=True, slots=True)
class Redaction:
    """What is taken out. *clean* knows the secrets of the configuration; *rules* are what `compiled` gives.

    Each finding leaves its name in brackets: `[card]`, `[email]`, `[NAME]` of a rule.
    """

    clean: Callable[[str], str]
    kinds: frozenset[Kind] = frozenset(KINDS)
    rules: Mapping[str, Any] = field(default_factory=dict)
    _known: dict[bytes, str | None] = field(default_factory=dict)
    """What became of texts that were cleaned before, by their hash; None: nothing. Conversations come again."""

    def value(self, value: Any) -> Any:
        """*value*, JSON, with every text in it cleaned: names of fields and numbers, too."""
        match value:
            case str():
                return self.text(value)
            case dict():
                return {self.text(name): self._member(name, each) for name, each in value.items()}
            case list():
                return [self.value(each) for each in value]
            case int() | float() if abs(value) >= LARGE and value == int(value):
                told = str(int(value))
                cleaned = self.text(told)
                return value if cleaned == told else cleaned
            case _:
                return value

    def _member(self, name: str, value: Any) -> Any:
        if isinstance(value, str) and value and _SECRET_FIELD.fullmatch(name):
            return "[secret]"
        return self.value(value)

    def text(self, text: str) -> str:
        """*text* without what must not be kept. For one thread at a time."""
        if len(text) < REMEMBERED:
            return self._cleaned(text)
        digest = hashlib.sha256(text.encode()).digest()
        if digest in self._known:
            known = self._known[digest]
            return text if known is None else known
        cleaned = self._cleaned(text)
        if cleaned == text or len(cleaned) <= PIECE:
            while len(self._known) >= MOST_REMEMBERED:
                del self._known[next(iter(self._known))]
            self._known[digest] = None if cleaned == text else cleaned
        return cleaned

    def _cleaned(self, text: str) -> str:
        if len(text) > BINARY and _BASE64.fullmatch(text):
            digest = hashlib.sha256(text.encode()).hexdigest()[:16]
            return f"[file: {len(text)} characters, sha256 {digest}]"
        if len(text) <= PIECE:
            return self._piece(text)
        cleaned = []
        for piece in _pieces(text):
            cleaned.append(self._piece(piece) if len(piece) <= LONGEST else f"[text: {len(piece)} characters]")
            time.sleep(0)  # a search keeps the interpreter for itself; between two the event loop may have it
        return "".join(cleaned)

    def _piece(self, text: str) -> str:
        text = _without_keys(self.clean(text))
        for name, rule in self.rules.items():
            try:
                text = rule.sub(f"[{name}]", text, timeout=RULE_S, concurrent=True)
            except TimeoutError:
                return DROPPED
        if "email" in self.kinds:
            text = _without(text, _addresses(text), "[email]")
        if "iban" in self.kinds:
            text = _without(text, _accounts(text), "[iban]")
        if "cards" in self.kinds:
            text = _without(text, _cards(text), "[card]")
        if "phone" in self.kinds:
            text = _PHONES.sub(_phone, text)
            text = _without(text, _called(text), "[phone]")
        return text


def compiled(patterns: Mapping[str, str]) -> dict[str, Any]:
    """Rules of a configuration.

    Raises:
        ValueError: one is not a pattern; the message names it.
    """
    if not patterns:
        return {}
    import regex  # type: ignore[import-untyped]  # it has no types; with rules only: it can be given a clock

    found = {}
    for name, pattern in patterns.items():
        try:
            found[name] = regex.compile(pattern)
        except regex.error as error:
            raise ValueError(f"{name}: not a regular expression ({error})") from error
    return found


def _pieces(text: str) -> Iterator[str]:
    """*text*, cut behind lines, sentences and members of JSON: nothing that is looked for goes beyond their ends."""
    start = 0
    while start < len(text):
        cut = _CUT.search(text, start + PIECE)
        end = cut.end() if cut else len(text)
        yield text[start:end]
        start = end


def _without_keys(text: str) -> str:
    small = text.lower()
    for hints, pattern in _KEYS:
        if any(hint in small for hint in hints):
            text = pattern.sub("[key]", text)
    for pattern in _GIVEN:
        text = _without(text, _named_secrets(text, pattern), "[secret]")
    return text


def _named_secrets(text: str, pattern: re.Pattern[str]) -> Iterator[tuple[int, int]]:
    at = 0
    while found := pattern.search(text, at):
        at = found.start() + 1
        if _NAME_BEFORE.search(text, max(0, found.start() - _LONGEST_NAME), found.start()):
            yield found.span(1)
            at = found.end()


def _without(text: str, spans: Iterator[tuple[int, int]], mark: str) -> str:
    kept, last = [], 0
    for start, end in spans:
        if end > last:
            kept += [text[last : max(start, last)], mark]
            last = end
    return "".join([*kept, text[last:]]) if kept else text


def _addresses(text: str) -> Iterator[tuple[int, int]]:
    for at in _AT.finditer(text):
        domain = at[0].rstrip(".-")
        end = len(domain) if domain.endswith("]") else max((top.end() for top in _TOP.finditer(domain)), default=0)
        if end and (start := _local_start(text, at.start())) < at.start():
            yield start, at.start() + end


def _local_start(text: str, at: int) -> int:
    """Where the part of an address before its @, which stands at *at*, begins."""
    least = max(0, at - _LOCAL_MOST)
    if text[max(0, at - 1) : at] == '"':
        opened = text.rfind('"', least, at - 1)
        return at if opened < 0 else opened
    start = at
    while start > least and _LOCAL.match(text, start - 1):
        start -= 1
    return start


def _phone(found: re.Match[str]) -> str:
    return found[0] if _DATE.fullmatch(found[0]) else "[phone]"


def _called(text: str) -> Iterator[tuple[int, int]]:
    for number in _NUMBER.finditer(text):
        start = number.start()
        if _CALLED.search(text, max(0, start - _LONGEST_CALL), start) and not _DATE.fullmatch(number[0]):
            yield number.span()


def _cards(text: str) -> Iterator[tuple[int, int]]:
    for run in _DIGITS.finditer(text):
        groups = [group.span(1) for group in _GROUP.finditer(text, run.start(), run.end()) if group[1]]
        place = 0
        while place < len(groups):
            taken = _card_at(text, groups, place)
            if taken:
                yield groups[place][0], groups[taken - 1][1]
            place = taken or place + 1


def _card_at(text: str, groups: list[tuple[int, int]], first: int) -> int:
    """The number of the group behind the card that begins with group *first*; 0: none does."""
    start, end = groups[first]
    if int(text[start]) not in range(2, 7) or (end - start >= _CARD_LENGTHS.start and _FRACTION.match(text, start - 2)):
        return 0
    digits = ""
    for place in range(first, len(groups)):
        if place > first and groups[place - 1][1] - groups[place - 1][0] < _LEAST_GROUP:
            return 0
        digits += text[slice(*groups[place])]
        if len(digits) >= _CARD_LENGTHS.stop:
            return 0
        if len(digits) in _CARD_LENGTHS and _luhn(digits):
            return place + 1
    return 0


def _luhn(digits: str) -> bool:
    """Whether the last of *digits* is the check digit of the others."""
    total = 0
    for place, digit in enumerate(reversed(digits)):
        number = int(digit) * (1 + place % 2)
        total += number - 9 if number > 9 else number
    return total % 10 == 0


def _accounts(text: str) -> Iterator[tuple[int, int]]:
    at = 0
    while found := _IBAN.search(text, at):
        end = _account_end(text, found)
        if end:
            yield found.start(1), end
        at = end or found.start(1) + 4


def _account_end(text: str, found: re.Match[str]) -> int:
    """Where the account number ends that *found* may begin with; 0: it is none."""
    length = _IBAN_LENGTHS.get(found[1][:2].upper())
    if length is None:
        return 0
    letters = ""
    for place in range(found.start(1), found.end()):
        if text[place].isalnum():
            letters += text[place].upper()
        if len(letters) == length:
            number = "".join(str(int(letter, 36)) for letter in letters[4:] + letters[:4])
            return place + 1 if int(number) % 97 == 1 else 0
    return 0
