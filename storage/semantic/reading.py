"""What a question says, in a form that can be compared: `read(text)`.

    "Hi, could you please tell me what's the height of the Eiffel Tower?"
    words   height of eiffel tower          in order; articles, politeness and helpers are gone
    kind    be what                         question words and helpers, whose place does not matter
    phrases (height of eiffel tower)        what may change places as a whole

English is read this way. German, French and Spanish keep every word and its place, only politeness at the ends and the
form of numbers are levelled. Of other scripts, of program code and of very long texts only case, spaces and the last
full stop are ignored (`plain`).
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from storage.semantic import MAX_CHARACTERS, lexicon
from storage.semantic.english import read_english
from storage.semantic.numerals import with_numbers
from storage.semantic.parts import Parts
from storage.semantic.tokens import Token, cleaned, is_code, is_latin, quotations, tokens
from storage.semantic.writing import Level, Writing, is_mixed, written

MAX_WORDS: Final = 120
PLAIN_CHARACTERS: Final = 1500
"""A text of more words or characters counts as a document: read plainly."""

SIGNATURE_BYTES: Final = 16
_UNREAD: Final = Writing("plain", Level.SILENT, False, {}, {}, frozenset())


@dataclass(frozen=True, slots=True)
class Reading:
    """A question. Two that mean the same have one *signature*, but one signature does not make them mean the same.

    *names* are the words that were written as names, *cased* those that only their capitals tell apart;
    *wording* is every word in its place, *helpers* each helper between the words beside it.
    """

    text: str
    language: str
    words: tuple[str, ...]
    kind: tuple[str, ...]
    phrases: tuple[tuple[str, ...], ...]
    names: frozenset[str]
    cased: frozenset[str]
    signature: bytes
    wording: tuple[str, ...]
    writing: Writing
    quoted: tuple[str, ...] = ()
    one_sentence: bool = True
    helpers: tuple[tuple[str, str, str], ...] = ()

    @property
    def is_plain(self) -> bool:
        """Only the same text again is the same question."""
        return self.language == "plain"


@lru_cache(maxsize=2048)
def read(text: str) -> Reading | None:
    """What *text* asks; None for nothing, or for far too much."""
    if len(text) > MAX_CHARACTERS:
        return None
    clean = cleaned(text)
    if not clean:
        return None
    is_prose = len(clean) <= PLAIN_CHARACTERS and is_latin(clean) and not is_code(clean)
    found = tokens(clean) if is_prose else []
    if not found or len(found) > MAX_WORDS:
        return _plain(text, clean)
    language = _language(found)
    parts = read_english(found) if language == "en" else _read_in_order(found, language)
    if not parts.words:
        return _plain(text, clean)
    raws = [token.raw for token in found if token.kind == "word"]
    return Reading(
        text=text,
        language=language,
        words=parts.words,
        kind=parts.kind,
        phrases=parts.phrases,
        names=parts.names if is_mixed(raws) else frozenset(),
        cased=frozenset(raw for raw in raws if raw in lexicon.CASED_UNITS) if is_mixed(raws) else frozenset(),
        signature=_signature(language, sorted(parts.words)),
        quoted=quotations(clean),
        wording=tuple(token.text for token in found),
        writing=written(found, language),
        one_sentence=parts.one_sentence,
        helpers=parts.helpers,
    )


def _plain(text: str, clean: str) -> Reading:
    level = _lines(clean) if is_code(clean) else " ".join(clean.casefold().split()).rstrip(" .?!。？！")
    words, none = (level,), frozenset[str]()
    return Reading(text, "plain", words, (), (), none, none, _signature("plain", list(words)), words, _UNREAD)


def _lines(code: str) -> str:
    """*code* without blanks that mean nothing: those at the ends of lines, and empty lines."""
    return "\n".join(line.rstrip() for line in code.splitlines() if line.strip())


def _signature(language: str, words: list[str]) -> bytes:
    digest = hashlib.blake2b(language.encode(), digest_size=SIGNATURE_BYTES)
    for word in words:
        digest.update(b"\0" + word.encode())
    return digest.digest()


def _language(found: list[Token]) -> str:
    """By the commonest words; English where nothing speaks against it."""
    words = [token.text for token in found if token.kind == "word"]
    there = set(words)
    counts = {language: len(there & common) for language, common in lexicon.COMMON.items()}
    best = max(counts, key=lambda language: counts[language])
    if counts[best] > counts["en"]:
        return best
    if len(words) > 3 and counts["en"] * 6 < len(words) and not all(word.isascii() for word in words):
        return "other"
    return "en"


def _read_in_order(found: list[Token], language: str) -> Parts:
    """Every word in its place."""
    words = list(with_numbers(found, language))
    for phrase in lexicon.KEPT_OUT.get(language, ()):
        texts = tuple(token.text for token in words)
        if texts[: len(phrase)] == phrase:
            words = words[len(phrase) :]
        elif texts[-len(phrase) :] == phrase:
            words = words[: -len(phrase)]
    texts = tuple(token.text for token in words)
    # German writes every noun with a capital: that makes no name there.
    names = frozenset[str]() if language == "de" else _names(words)
    return Parts(texts, (), (texts,), names)


def _names(words: list[Token]) -> frozenset[str]:
    return frozenset(word.text for word in words[1:] if word.raw[:1].isupper())
