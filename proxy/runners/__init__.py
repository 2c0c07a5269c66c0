"""Policies that ask several targets and make one answer of what they say; every other policy takes the first answer.

RUNNERS[policy](job) -> the answer that the client gets
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from proxy.runners import cascade, consensus, race
from proxy.runners.job import Job, Runner, first

__all__ = ["IN_ONE_PIECE", "RUNNERS", "Job", "Runner", "first"]

RUNNERS: Final[Mapping[str, Runner]] = {
    "race": race.run,
    "consensus": consensus.run,
    "best_match": consensus.best_match,
    "auto": cascade.run,
}
IN_ONE_PIECE: Final = frozenset({"consensus", "best_match"})
"""Policies whose answer is there as a whole or not at all, also for the client of a stream.

A cascade of `auto` is another case: there it goes by the decision on the request.
"""
