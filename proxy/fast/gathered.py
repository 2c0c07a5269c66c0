"""What plain answers tell of their target: gathered for a turn of the loop, and taken in at its end.

Breaker, key, totals, health, latencies and durations want to know of each answer, but none of them at once, and nobody
who asks before the turn is over could have heard of the answer. Ten answers of one turn cost little more than one.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from proxy.fast.ways import Way
    from storage.bookings import Answered


class Gathered:
    """The answers of this turn, by the way that they came and the position of the key that was used."""

    def __init__(self) -> None:
        self._answers: dict[tuple[Way, int], list[Answered]] = {}

    def add(self, way: Way, key_index: int, answer: Answered) -> None:
        """Keep one more."""
        answers = self._answers
        if not answers:
            asyncio.get_running_loop().call_soon(self.take_in)
        kept = answers.get((way, key_index))
        if kept is None:
            answers[way, key_index] = [answer]
        else:
            kept.append(answer)

    def take_in(self) -> None:
        """Tell all that there is."""
        gathered, self._answers = self._answers, {}
        for (way, index), answers in gathered.items():
            services, target = way.services, way.shape.prepared.target
            services.breakers.of(target).succeeded()
            way.shape.setup.rings[target.provider].worked(index, target.model)
            streams = way.shape.request.stream
            services.answered_plainly(target, answers, streams=streams)
            services.retry_budget.passed(len(answers))
            firsts = [answer.first_event_ms for answer in answers] if streams else ()
            services.endings.answered([answer.latency_ms for answer in answers], firsts)
