"""Policies that ask several targets and make one answer of what they say; every other policy takes the first answer.

RUNNERS[policy](job) -> the answer that the client gets
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

from proxy.late import Late
from proxy.runners.job import Job, Runner, first

__all__ = ["IN_ONE_PIECE", "RUNNERS", "Job", "Runner", "first"]

RUNNERS: Final[Mapping[str, Runner]] = {
    "race": Late("proxy.runners.race", "run"),
    "consensus": Late("proxy.runners.consensus", "run"),
    "best_match": Late("proxy.runners.consensus", "best_match"),
    "auto": Late("proxy.runners.cascade", "run"),
}
if TYPE_CHECKING:  # mypy holds each function to what a runner is
    from proxy.runners import cascade, consensus, race

    _runners: tuple[Runner, ...] = (race.run, consensus.run, consensus.best_match, cascade.run)
IN_ONE_PIECE: Final = frozenset({"consensus", "best_match"})
"""Policies whose answer is there as a whole or not at all, also for the client of a stream.

A cascade of `auto` is another case: there it goes by the decision on the request.
"""
