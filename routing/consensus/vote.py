"""Settles one poll.

The candidate with the highest score wins. A tie goes to the one with more votes of its own; then to the one whose best
voter is the most reliable, in this field; then to the one with more votes for it and for what is similar to it. Of
candidates that are still equal and all similar the first is taken. Where they differ nobody wins if null is allowed,
else the candidate that was named first.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from routing.consensus.polls import NOBODY, Poll

EQUAL: Final = 1e-9


@dataclass(frozen=True, slots=True)
class Verdict:
    """The candidate that won (`NOBODY`: abstention, null stands there), and the rule that settled it."""

    candidate: int
    settled_by: str


def settle(poll: Poll, found: Sequence[float], reliability: Sequence[float], *, may_be_null: bool) -> Verdict:
    """The verdict over *poll*; the scores *found* go by candidate, *reliability* by answer."""
    if poll.count <= 1:
        return Verdict(0 if poll.count else NOBODY, "score")
    best = _highest(range(poll.count), found)
    if len(best) == 1:
        return Verdict(best[0], "score")
    own = [poll.votes.count(at) for at in range(poll.count)]
    best = _highest(best, own)
    if len(best) == 1:
        return Verdict(best[0], "majority")
    trusted = [0.0] * poll.count
    for vote, trust in zip(poll.votes, reliability, strict=True):
        if vote != NOBODY:
            trusted[vote] = max(trusted[vote], trust)
    best = _highest(best, trusted)
    if len(best) == 1:
        return Verdict(best[0], "reliability")
    best = _highest(best, [_of_group(poll.alike, group, own) for group in poll.alike])
    if len(best) == 1:
        return Verdict(best[0], "similarity")
    is_said = len({poll.alike[at] for at in best}) == 1
    return Verdict(NOBODY, "abstention") if may_be_null and not is_said else Verdict(best[0], "order")


def _of_group(groups: Sequence[int], group: int, votes: Sequence[int]) -> int:
    return sum(count for one, count in zip(groups, votes, strict=True) if one == group)


def _highest(candidates: Sequence[int], values: Sequence[float]) -> list[int]:
    top = max(values[at] for at in candidates)
    return [at for at in candidates if values[at] >= top - EQUAL]
