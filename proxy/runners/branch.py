"""One of several answers that an exchange asks for side by side.

Its attempts stand in the exchange's books; its losses, its headers and its target are the exchange's only if its
answer is the one that the client gets.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from proxy.exchange import Attempt, Exchange
from routing.errors import NotSent
from routing.targets import Target
from translators.losses import Loss, distinct
from translators.neutral import Failure


def _anything(_target: Target) -> None:
    """No attempt is forbidden."""


class Branch:
    """See `proxy.exchange.Books`. *allow* raises NotSent for an attempt that must not be made."""

    def __init__(self, exchange: Exchange, allow: Callable[[Target], None] = _anything) -> None:
        self.attempts: list[Attempt] = []
        self.target: Target | None = None
        self.report_losses = True
        self.vendor_headers: Mapping[str, str] = {}
        self._losses: tuple[Loss, ...] = ()
        self._exchange = exchange
        self._allow = allow
        self._adopted = False

    @property
    def losses(self) -> tuple[Loss, ...]:
        """What this answer's request lost, each loss once."""
        return self._losses

    @losses.setter
    def losses(self, losses: Iterable[Loss]) -> None:
        self._losses = distinct(losses)
        if self._adopted:  # what is found out while the answer is on its way
            self._exchange.losses = self._losses

    async def begin(self, target: Target, key_index: int | None) -> Attempt:
        """Book an attempt, durably, before it leaves.

        Raises:
            NotSent: it must not be made, or a budget does not allow it.
            LedgerUnavailable: it could not be booked.
        """
        self._allow(target)
        attempt = await self._exchange.begin(target, key_index)
        self.attempts.append(attempt)
        return attempt

    def failed(self, attempt: Attempt, failure: Failure) -> None:
        """The attempt gave nothing."""
        self._exchange.failed(attempt, failure)

    def blameless(self, attempt: Attempt, failure: Failure) -> NotSent:
        """It gave nothing because of *failure*, which is ours."""
        return self._exchange.blameless(attempt, failure)

    def saw_first_event(self, attempt: Attempt) -> None:
        """The first content of *attempt* came; the client sees it only if this answer is adopted."""
        attempt.first_event_ms = round(attempt.elapsed_ms(), 3)

    def adopt(self) -> None:
        """The client gets this answer."""
        self._adopted = True
        exchange = self._exchange
        exchange.target = self.target
        exchange.losses = self._losses
        exchange.report_losses = self.report_losses
        exchange.vendor_headers = self.vendor_headers
        exchange.has_content()
