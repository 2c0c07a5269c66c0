"""What is learned when a vendor refuses the bytes of a client of its dialect, and takes what the rules make of it.

    the vendor's words, and in what the two requests differ -> `not_relayed`: fields that are no longer relayed

    thinking            as no client of this target may say it
    thinking=adaptive   the same, but only where the field holds this word

Nothing is learned from a value that is out of bounds, nor from what is refused only beside something else: that was one
client's mistake, and the next one's request is none. It is mended for the one that made it, and forgotten.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from typing import Any, Final

from translators.neutral import Failure

NOT_TAKEN: Final = re.compile(
    r"\bnot (?:be )?(?:support(?:ed)?|permitted|allowed|enabled|available|accepted|recogni[sz]ed|implemented)\b"
    r"|\b(?:unsupported|unknown|unrecogni[sz]ed|unexpected|unavailable|deprecated|removed|no longer|extra inputs)\b",
    re.IGNORECASE,
)
"""The target does not have it at all."""
OUT_OF_BOUNDS: Final = re.compile(
    r"\b(?:must|should|needs to|cannot) (?:be|contain|have|match|start|end|exceed)\b"
    r"|\b(?:at least|at most|too \w+|out of)\b"
    r"|\b(?:greater|less|larger|smaller|more|fewer|higher|lower|longer|shorter) (?:than|or equal)\b"
    r"|\b(?:invalid|malformed|exceeds?|maximum|minimum|range|between|empty|expected|appears)\b",
    re.IGNORECASE,
)
"""The target has it, but not with this value."""
_WORD: Final = re.compile(r"[A-Za-z][\w.-]{0,39}")


def lasting(failure: Failure, unlike: Collection[str], said: Mapping[str, Any]) -> list[str]:
    """Entries of `not_relayed` that *failure* teaches; none where it speaks of a value, or of a combination.

    *unlike* are the fields in which the refused request differs from the one that is asked in its place, *said* is what
    stood in the fields of the refused one. Where the refusal names none of them, all of them are blamed.
    """
    from routing.refusals import is_conditional, sentences, words_of  # here, as its patterns take time to compile

    spoken = [(each, _letters(each)) for each in sentences(f"{failure.param or ''}\n{words_of(failure)}")]
    named = sorted(name for name in unlike if any(_last_word(name) in letters for _, letters in spoken))
    heard = [
        each for each, letters in spoken if NOT_TAKEN.search(each) or any(_last_word(name) in letters for name in named)
    ] or [each for each, _ in spoken]
    if any(is_conditional(each) or OUT_OF_BOUNDS.search(each) for each in heard):
        return []
    if not named:
        return sorted(unlike)
    if not any(NOT_TAKEN.search(each) for each in heard):
        return []
    return sorted({entry for name in named for entry in _entries(name, said.get(name), " ".join(heard))})


def unrelayed(entries: Collection[str], unlike: Collection[str], said: Mapping[str, Any]) -> frozenset[str]:
    """Those of *entries* that speak of a request which holds *said*, and differs from its rendering in *unlike*."""
    found: set[str] = set()
    for entry in entries:
        name, _, word = entry.partition("=")
        if name in unlike and (not word or word in _words_in(said.get(name))):
            found.add(entry)
    return frozenset(found)


def _entries(name: str, value: Any, heard: str) -> list[str]:
    """*name* with each of its words that the refusal repeats; *name* alone if it repeats none."""
    words = {
        word
        for word in _words_in(value)
        if _WORD.fullmatch(word) and re.search(rf"(?<!\w){re.escape(word)}(?!\w)", heard, re.IGNORECASE)
    }
    return [f"{name}={word}" for word in words] or [name]


def _words_in(value: Any) -> Iterator[str]:
    """The texts that *value* holds, at any depth."""
    inner = value.values() if isinstance(value, Mapping) else value if isinstance(value, list) else ()
    if isinstance(value, str):
        yield value
    for each in inner:
        yield from _words_in(each)


def _letters(text: str) -> frozenset[str]:
    return frozenset(re.findall(r"[a-z]+", text.lower().replace("_", "")))


def _last_word(place: str) -> str:
    """The name at the end of a place (`messages[].cache_control`), in the letters of `_letters`."""
    return place.rpartition(".")[2].removesuffix("[]").replace("_", "").lower()
