"""One client request's account of itself: attempts, usage, money, losses and times, for headers, receipt and ledger."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final, Protocol

from proxy.admission import Admission, Admitted
from proxy.budgeting import Spending, budget_failure
from proxy.controls import Controls
from proxy.identity import Identity
from proxy.logs import REQUEST_ID
from proxy.stored import Stored
from routing.breaker import CLIENTS_DEADLINE
from routing.errors import NotSent
from routing.targets import Target
from storage.budgets import OverBudget
from storage.errors import LedgerUnavailable
from storage.ledger import CacheUse, Ledger, OpenAttempt, OpenExchange, SettledAttempt, SettledExchange, Status
from storage.money import usd
from translators.codec import dumps
from translators.losses import Loss, distinct, header_value
from translators.neutral import ErrorKind, Failure, Response, Usage
from translators.values import NOTHING

log = logging.getLogger(__name__)

MAX_LOSSES_HEADER: Final = 4096
"""Clients refuse an answer with a header line of more than 8190 bytes."""
TOLERANCE_S: Final = 0.005
"""By how much a clock may be early."""
RATE_HEADERS: Final = ("x-ratelimit-", "anthropic-ratelimit-", "ratelimit-")
_SHORT: Final = 16
"""So many digits are no secret."""


@dataclass(slots=True, eq=False)
class Attempt:
    """One request to one target: what the ledger will say of it."""

    number: int
    target: Target
    key_index: int | None
    started: float = field(default_factory=time.perf_counter)
    sent: bool = False
    """Whether the request may have reached the provider, so that it may cost money."""
    http_status: int | None = None
    connect_s: float | None = None
    """After how long there was a connection to its server; None: at once."""
    head_ms: float | None = None
    """When the head of its answer came."""
    first_event_ms: float | None = None
    usage: Usage | None = None
    cost_nanousd: int | None = None
    price_source: str | None = None
    price_version: str | None = None
    settled: bool = False
    ended: float | None = None
    """When it was closed, or had given its part of an answer that others go on with; on the clock of *started*."""
    error_kind: ErrorKind | None = None
    """Why it gave nothing, or not all."""
    abandoned: bool = False
    """Whether its answer is not wanted any more: one that belongs with it failed, another won, or the client left."""
    streams: bool = False
    """Whether it was asked to answer bit by bit."""
    in_vain: Callable[[int | None], None] | None = None
    """Is told what it cost, in nano-dollars, where another one's answer was taken."""
    admitted: Admitted | None = None
    """Its place below the limits of its provider and key."""

    def left(self) -> None:
        """Its server is done with it, or was left: others may ask."""
        if self.admitted is not None:
            self.admitted.place.free()

    def heard(self, headers: Mapping[str, str], connect_s: float | None = None) -> None:
        """The head of its answer came; see `connect_s`."""
        self.connect_s = connect_s
        self.head_ms = self.elapsed_ms()
        if self.admitted is not None:
            self.admitted.told(headers)

    def elapsed_ms(self) -> float:
        """Milliseconds since it began."""
        ended = time.perf_counter() if self.ended is None else self.ended
        return (ended - self.started) * 1000

    def has_ended(self, usage: Usage | None) -> None:
        """It was answered to its end, which took *usage*, and the answer goes on with another attempt."""
        self.ended, self.usage = time.perf_counter(), self.usage or usage
        self.left()

    def row(self, exchange_id: str, status: Status, failure: Failure | None = None) -> SettledAttempt:
        """The closing row."""
        self.settled = True
        self.error_kind = failure.kind if failure else None
        if self.ended is None:
            self.ended = time.perf_counter()
        usage = self.usage or Usage()
        if self.admitted is not None:
            self.admitted.place.settle(usage.input_tokens + usage.output_tokens)
            self.admitted.place.free()
        return SettledAttempt(
            exchange_id=exchange_id,
            number=self.number,
            status=status,
            cost_nanousd=self.cost_nanousd,
            http_status=failure.status if failure else self.http_status,
            error_kind=failure.kind if failure else None,
            error=failure.message if failure else None,
            input_tokens=usage.input_tokens,
            cached_input_tokens=usage.cached_input_tokens,
            cache_write_tokens=usage.cache_write_tokens,
            output_tokens=usage.output_tokens,
            reasoning_tokens=usage.reasoning_tokens,
            price_source=self.price_source,
            price_version=self.price_version,
            raw_usage=usage.raw or None,
            estimated=usage.estimated,
            latency_ms=round(self.elapsed_ms(), 3),
            first_event_ms=self.first_event_ms,
        )


def judged(failure: Failure, controls: Controls, left_s: float) -> Failure:
    """*failure*, marked where the client's own deadline, *left_s* away, and none of our clocks was the reason."""
    hurried = failure.kind == "timeout" and controls.timeout_s is not None and left_s <= TOLERANCE_S
    return replace(failure, code=CLIENTS_DEADLINE) if hurried else failure


Ended = Callable[["Exchange", Status, float, Failure | None], None]
"""Is told of an exchange that has ended: how, after how many milliseconds, and why."""


class Books(Protocol):
    """Where attempts are booked: an exchange, or one of the answers that it asks for together (`runners.branch`)."""

    attempts: list[Attempt]
    target: Target | None
    report_losses: bool
    vendor_headers: Mapping[str, str]

    @property
    def losses(self) -> tuple[Loss, ...]:
        """What the answer's request lost, each loss once."""

    @losses.setter
    def losses(self, losses: Iterable[Loss]) -> None: ...

    async def begin(self, target: Target, key_index: int | None) -> Attempt:
        """Book an attempt before it leaves; see `Exchange.begin`."""

    def failed(self, attempt: Attempt, failure: Failure) -> None:
        """The attempt gave nothing."""

    def blameless(self, attempt: Attempt, failure: Failure) -> NotSent:
        """It gave nothing because of *failure*, which is ours: what is to be raised."""

    def saw_first_event(self, attempt: Attempt) -> None:
        """The first content of *attempt* came."""


class Exchange:
    """Opened before the first attempt leaves, settled once."""

    def __init__(
        self,
        ledger: Ledger,
        *,
        id: str,  # noqa: A002  the word that headers, ledger and API use
        started: float,
        identity: Identity,
        dialect: str,
        stream: bool,
        count: Callable[[str], int],
        controls: Controls,
        route: str,
        cache: CacheUse,
        client_request_id: str | None,
        input_estimate: int,
        deadline: float,
        clean: Callable[[str], str],
        seen: Callable[[Attempt, Status, Failure | None], None],
        spending: Spending | None = None,
        admission: Admission | None = None,
    ) -> None:
        REQUEST_ID.set(id)
        self.id = id
        self.started = started
        """A moment of `time.perf_counter()`: when the request came."""
        self.dialect = dialect
        self.stream = stream
        self.count = count
        """Tokens of what is asked, as a model counts them; for a thread, since the tokenizer takes its time."""
        self.route = route
        self.cache: CacheUse = cache
        self.target: Target | None = None
        self.attempts: list[Attempt] = []
        self._losses: tuple[Loss, ...] = ()
        self.report_losses = True
        self.saved_nanousd = 0
        self.stored_usage: Usage | None = None
        """What the answer from the cache took when it was made."""
        self.first_event_ms: float | None = None
        self.vendor_headers: Mapping[str, str] = {}
        """The rate-limit headers of the answer that came last."""
        self.settled = False
        self.deadline = deadline
        """A moment of `time.monotonic()` at which everything must have ended."""
        self.more_headers: dict[str, str] = {}
        """What the answer's head says besides."""
        self.answer: Response | None = None
        """What was answered, as far as it came."""
        self.on_settled: Callable[[Status, float, str | None], None] | None = None
        """Is told, once, with how it ended, after how many milliseconds and why."""
        self.on_ended: Ended | None = None
        """The same, for whoever looks at the exchange itself."""
        self.queued_s = 0.0
        """How long its request has waited to be let in."""
        self.trace_parent: str | None = None
        """The caller's own span (W3C `traceparent`), where somebody wants to know."""
        self.remarks: dict[str, Any] = {}
        """What the receipt says besides, by name."""
        self._ledger = ledger
        self._clean = clean
        self._seen = seen
        self._spending = spending
        self.doors = admission
        """The limits of providers and keys, as this exchange meets them."""
        self._identity = identity
        self._tags = {**controls.tags, **identity.tags}
        self._controls = controls
        self._client_request_id = client_request_id
        self._input_estimate = input_estimate
        self._closing: list[SettledAttempt] = []
        self._opened = False
        self._opening: asyncio.Task[None] | None = None
        """What opens it in the ledger, where the attempt that began that is not awaited any more."""
        self._booking = asyncio.Lock()
        """Attempts that begin side by side are booked one after the other: the first of them opens the exchange."""

    @property
    def losses(self) -> tuple[Loss, ...]:
        """What the answer's request lost, each loss once."""
        return self._losses

    @losses.setter
    def losses(self, losses: Iterable[Loss]) -> None:
        self._losses = distinct(losses)

    @property
    def waited_s(self) -> float:
        """In all queues: to be let in, and for places below providers' limits."""
        return self.queued_s + (self.doors.waited_s if self.doors else 0.0)

    # --- attempts

    async def begin(self, target: Target, key_index: int | None) -> Attempt:
        """Book an attempt, durably, before it leaves.

        Raises:
            NotSent: a budget does not allow it, or a limit of its provider.
            LedgerUnavailable: it could not be booked.
        """
        admitted = await self.doors.claim(target, key_index) if self.doors else None
        try:
            attempt = await self._begun(target, key_index)
        except BaseException:
            if admitted is not None:
                admitted.place.cancel()
            raise
        attempt.admitted = admitted
        return attempt

    async def adopt(self, target: Target, key_index: int | None, started: float) -> Attempt:
        """Go on with an exchange that the ledger has open, and with its first attempt, which *started* then."""
        self._opened = True
        attempt = Attempt(1, target, key_index, started)
        self.attempts.append(attempt)
        attempt.admitted = await self.doors.claim(target, key_index) if self.doors else None
        return attempt

    async def _begun(self, target: Target, key_index: int | None) -> Attempt:
        budgets, worst_nanousd = await self._spending.ask(target) if self._spending else ((), None)
        async with self._booking:
            await self._is_opened()
            attempt = Attempt(len(self.attempts) + 1, target, key_index)
            self.attempts.append(attempt)
            row = OpenAttempt(self.id, attempt.number, target.provider, target.model, key_index, worst_nanousd, budgets)
            try:
                await self._book(row)
            except OverBudget as error:
                self.attempts.remove(attempt)
                failure = self._spending.refused(error) if self._spending else budget_failure(error, time.time())
                raise NotSent(failure) from error
            return attempt

    async def _book(self, row: OpenAttempt) -> None:
        if self._opened:
            closing = self._closing.pop() if self._closing else None
            await self._close_failed()
            await self._ledger.open_attempt(row, closing)
            return
        # An attempt that is cancelled here must not take the exchange along: others of it may go on (a race, a vote).
        self._opening = asyncio.create_task(self._ledger.open(self._open_row(), row))
        self._opened = True
        await self._open_ends(self._opening)

    async def _is_opened(self) -> None:
        """Wait for what an attempt began that was cancelled meanwhile."""
        if self._opening is None:
            return
        try:
            await self._open_ends(self._opening)
        except OverBudget:
            self.attempts.clear()  # it is as if it had never begun
        except LedgerUnavailable as error:
            log.debug("%s was not opened: %s", self.id, error)

    async def _open_ends(self, opening: asyncio.Task[None]) -> None:
        try:
            await asyncio.shield(opening)
        except OverBudget:
            self._opened = False
            raise
        except LedgerUnavailable:
            self.settled = True  # nothing was booked, or the ledger withdraws it by itself
            raise
        finally:
            if opening.done():
                self._opening = None

    def judged(self, failure: Failure) -> Failure:
        """*failure*, marked where it came because the client would not wait any longer."""
        return judged(failure, self._controls, self.deadline - time.monotonic())

    def failed(self, attempt: Attempt, failure: Failure) -> None:
        """The attempt gave nothing; its row is closed together with the next write."""
        if not attempt.settled:
            if attempt.usage is None:
                attempt.cost_nanousd = 0
            # A client that would not wait is one that left: it speaks neither for nor against the target.
            self._close(attempt, "aborted" if failure.code == CLIENTS_DEADLINE else "failed", failure)

    def blameless(self, attempt: Attempt, failure: Failure) -> NotSent:
        """The attempt gave nothing because of *failure*, which is ours: what is to be raised."""
        attempt.sent = attempt.http_status is not None
        if not attempt.settled:
            attempt.cost_nanousd = 0
            self._close(attempt, "aborted", failure)
        return NotSent(failure)

    def broke_off(self, attempt: Attempt, failure: Failure) -> None:
        """The attempt gave a part of the answer, and *failure* in the place of the rest; another goes on with it."""
        if not attempt.settled:
            self._close(attempt, "interrupted", failure)

    def given_up(self) -> None:
        """Nobody waits for what is still being asked."""
        for attempt in self.attempts:
            if not attempt.settled and attempt.ended is None:
                attempt.abandoned, attempt.ended = True, time.perf_counter()

    def saw_first_event(self, attempt: Attempt) -> None:
        """The first content came. A client sees that of the first attempt that gives any."""
        attempt.first_event_ms = round(attempt.elapsed_ms(), 3)
        self.has_content()

    def has_content(self) -> None:
        """There is something for the client now; the first call counts."""
        if self.first_event_ms is None:
            self.first_event_ms = round((time.perf_counter() - self.started) * 1000, 3)

    def answered_from_cache(self, stored: Stored, *, report_losses: bool) -> None:
        """The answer came out of the cache: what it would have cost again is saved."""
        self.cache, self.answer = "hit", stored.response
        self.target = Target.parse(stored.target)
        self.losses = stored.losses
        self.report_losses = report_losses
        self.stored_usage = stored.response.usage
        self.saved_nanousd = stored.cost_nanousd or 0
        self.first_event_ms = round((time.perf_counter() - self.started) * 1000, 3)

    # --- settling

    async def settle(self, status: Status, failure: Failure | None = None) -> None:
        """Close everything that is open, in one transaction. A second call does nothing."""
        await self._is_opened()
        if self.settled:
            return
        self.settled = True
        in_time = failure is None or self.judged(failure).code != CLIENTS_DEADLINE
        if not self._opened:
            settled = self._settled_row(status, failure)
            self._tell(settled, failure)
            await self._ledger.record(self._open_row(), settled)
            return
        for attempt in self.attempts:
            if attempt.settled:
                continue
            if attempt.ended is not None and not attempt.abandoned:
                self._close(attempt, "ok", None)
            else:
                self._close(attempt, status if in_time and not attempt.abandoned else "aborted", failure)
        closing, self._closing = self._closing, []
        settled = self._settled_row(status, failure)
        self._tell(settled, failure)
        await self._ledger.settle(settled, *closing)

    def _tell(self, settled: SettledExchange, failure: Failure | None) -> None:
        tell, self.on_settled = self.on_settled, None
        if tell is not None:
            tell(settled.status, settled.latency_ms or 0.0, settled.error)
        if self.on_ended is not None:
            self.on_ended(self, settled.status, settled.latency_ms or 0.0, failure)

    def _told(self, failure: Failure | None) -> str | None:
        return self._clean(failure.message)[:500] if failure else None

    def _close(self, attempt: Attempt, status: Status, failure: Failure | None) -> None:
        if failure is not None:
            failure = replace(failure, message=self._told(failure) or "")
        if not attempt.sent:
            attempt.cost_nanousd = 0
        if self._spending is not None:
            self._spending.billed(attempt.target, attempt.usage, attempt.cost_nanousd)
        self._closing.append(attempt.row(self.id, status, failure))
        self._seen(attempt, status, failure)

    async def _close_failed(self) -> None:
        closing, self._closing = self._closing, []
        for settled in closing:
            await self._ledger.settle_attempt(settled)

    def rows(self) -> tuple[OpenExchange, SettledExchange]:
        """What the ledger is told of an exchange that asked nobody and was answered."""
        return self._open_row(), self._settled_row("ok", None)

    def _open_row(self) -> OpenExchange:
        return OpenExchange(
            id=self.id,
            dialect=self.dialect,
            route=self.route,
            key_id=self._identity.key_id,
            team=self._identity.team,
            organisation=self._identity.organisation,
            tags=self._tags,
            stream=self.stream,
            cache=self.cache,
            target=self.target.name if self.target else None,
            client_request_id=self._client_request_id,
            input_estimate=self._input_estimate,
        )

    def _settled_row(self, status: Status, failure: Failure | None) -> SettledExchange:
        stored = self.stored_usage or Usage()
        return SettledExchange(
            id=self.id,
            status=status,
            target=self.target.name if self.target else None,
            cache=self.cache,
            stream=self.stream,
            saved_nanousd=self.saved_nanousd,
            latency_ms=round((time.perf_counter() - self.started) * 1000, 3),
            first_event_ms=self.first_event_ms,
            losses=self.losses,
            error=self._told(failure),
            input_tokens=stored.input_tokens,
            cached_input_tokens=stored.cached_input_tokens,
            cache_write_tokens=stored.cache_write_tokens,
            output_tokens=stored.output_tokens,
            reasoning_tokens=stored.reasoning_tokens,
        )

    @property
    def cost_nanousd(self) -> int | None:
        """What all attempts cost together; None when one of them is unpriced."""
        total = 0
        for attempt in self.attempts:
            if attempt.cost_nanousd is None:
                return None
            total += attempt.cost_nanousd
        return total

    # --- what the client is told

    def headers(self, *, final: bool) -> dict[str, str]:
        """The `x-modelport-*` headers. *final*: the cost is known (a stream's head goes out before)."""
        found = {
            "x-request-id": self.id,
            "x-modelport-route": header_text(self.route),
            "x-modelport-attempts": str(len(self.attempts)),
            "x-modelport-cache": self.cache,
        }
        target = self.target or (self.attempts[-1].target if self.attempts else None)
        if target:
            found["x-modelport-target"] = header_text(target.name)
        if final and (cost := self.cost_nanousd) is not None:
            found["x-modelport-cost-usd"] = usd(cost)
        if self.losses and self.report_losses:
            found["x-modelport-losses"] = _losses_header(self.losses)
        return {**found, **{name: header_text(value) for name, value in self.more_headers.items()}}

    def receipt(self) -> bytes:
        """What the closing comment of a stream says."""
        losses = self.losses if self.report_losses else ()
        return receipt(self.cost_nanousd, len(self.attempts), losses, self.remarks)


def receipt(
    cost_nanousd: int | None, attempts: int, losses: Iterable[Loss] = (), remarks: Mapping[str, Any] = NOTHING
) -> bytes:
    """What the closing comment of a stream says of an answer that took so many *attempts*."""
    return dumps(
        {
            "cost_usd": None if cost_nanousd is None else usd(cost_nanousd),
            "attempts": attempts,
            "losses": [{"field": loss.field, "action": loss.action, "reason": loss.reason} for loss in losses],
            **remarks,
        }
    )


def _losses_header(losses: tuple[Loss, ...]) -> str:
    """As many of *losses* as a header line may hold, and how many it leaves out."""
    text = header_value(losses[:MAX_LOSSES_HEADER])  # A loss takes more than one character.
    if len(text) <= MAX_LOSSES_HEADER:
        return text
    kept = text[:MAX_LOSSES_HEADER].split(",")[:-1]
    rest = Loss("losses", "clamped", f"{len(losses) - len(kept)} more than a header holds")
    return ",".join([*kept, header_value([rest])])


def header_text(text: str) -> str:
    """*text* as a header may carry it: printable ASCII."""
    text = text[:300]
    if text.isascii() and text.isprintable():
        return text
    return "".join([letter if " " <= letter <= "~" else "?" for letter in text])


def rate_limit_headers(headers: Mapping[str, str], clean: Callable[[str], str]) -> dict[str, str]:
    """The vendor's rate-limit headers, which pass through."""
    return {
        name: value if len(value) <= _SHORT and value.isdecimal() else clean(value)
        for name, value in headers.items()
        if name.startswith(RATE_HEADERS)
    }
