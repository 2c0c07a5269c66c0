"""Cascade: two cheap targets are asked, and a dear one only where they disagree.

The decision alone: `proxy.runners` asks. The answers are equal if they are alike once case, spaces and outer marks are
gone, and numbers if their values are; so it fits short answers, choices and structured ones, not prose.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

ENOUGH: Final = 2
_MARKS: Final = re.compile(r"^[\s\"'`*_.,;:()\[\]]+|[\s\"'`*_.,;:()\[\]]+$")


@dataclass(frozen=True, slots=True)
class Verdict:
    """*keep* is the position of the answer that stands; None: the dear target is to be asked. *why* is for receipts."""

    keep: int | None
    why: str


def judge(answers: Sequence[Any]) -> Verdict:
    """Whether *answers* of the cheap targets, None for one that failed, agree."""
    given = [(at, _plain(answer)) for at, answer in enumerate(answers) if answer is not None]
    if len(given) < ENOUGH:
        return Verdict(None, f"{len(given)} of {len(answers)} answered, escalated")
    if any(plain != given[0][1] for _, plain in given[1:]):
        return Verdict(None, f"{len(given)} answers disagree, escalated")
    return Verdict(given[0][0], f"{len(given)} answers agree")


def cheap_first(costs: Sequence[float | None], qualities: Sequence[float]) -> tuple[list[int], list[int]]:
    """The positions of the two targets to ask first, and of those to escalate to, best first.

    The two cheapest of known cost; what is left escalates by quality. With fewer than three targets nobody is asked
    first, since nobody would be left.
    """
    priced = sorted((cost, at) for at, cost in enumerate(costs) if cost is not None)
    everyone = sorted(range(len(costs)), key=lambda at: (-qualities[at], at))
    if len(costs) < ENOUGH + 1 or len(priced) < ENOUGH:
        return [], everyone
    first = [at for _, at in priced[:ENOUGH]]
    return first, [at for at in everyone if at not in first]


def _plain(answer: Any) -> Any:
    match answer:
        case bool():
            return str(answer).casefold()
        case int() | float():
            return float(answer)
        case str():
            text = " ".join(_MARKS.sub("", answer).casefold().split())
            try:
                return float(text.replace(",", ""))
            except ValueError:
                return text
        case Mapping():
            return {str(key): _plain(value) for key, value in answer.items()}
        case list() | tuple():
            return [_plain(value) for value in answer]
        case _:
            return answer
