"""The ledger: one row per exchange, one per attempt, written before anything that must not be forgotten.

    open (exchange + first attempt) --> [open_attempt ...] --> settle          an exchange that asks a provider
    record                                                                     one that does not (a cache hit)

An open row becomes ok, failed, aborted or interrupted exactly once and never changes again.
The tokens and the cost of a settled exchange are the sums over its attempts; its cost is NULL (unknown) when that
of any attempt is. Rows that a dead process left open are closed by `recover` at the next start.

An attempt that budgets apply to reserves its worst case with them as it is opened, or is not opened: `OverBudget`.

`strict`: every call returns after the commit and raises LedgerUnavailable when there is none.
`relaxed`: every call returns at once, but for one that a budget has to allow; what could not be written is counted in
`lost`.
A settlement that the disk refuses is kept, up to `LATE` of them, and made after the next write that succeeds: as
`failed` where its answer was withheld, with what it has cost.
"""

from __future__ import annotations

import asyncio
import logging
import sqlite3
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Final, Literal

from storage.budgets import Ask, Budget, Hold, OverBudget, holds_for, reserve, settle_charges
from storage.db import Database
from storage.errors import Conflict, LedgerUnavailable, StorageError
from translators.codec import dumps_text
from translators.losses import Loss

logger = logging.getLogger(__name__)

Mode = Literal["strict", "relaxed"]
Status = Literal["ok", "failed", "aborted", "interrupted"]
CacheUse = Literal["hit", "miss", "bypass"]
Booked = bool | OverBudget
"""What an operation says: whether it did anything, or the budget that forbids it."""
EstimateCost = Callable[[str, str, int], int | None]
"""(provider, model, input tokens) -> nano-dollars, None when no price is known."""

DEADLINE_S: Final = 5.0
"""How long a strict call waits for a disk that does not answer."""

MAX_TOKENS: Final = 10**12
"""A count beyond this is a vendor's mistake; it is cut here, so that sums stay within 64 bits."""

LATE: Final = 10_000
"""Settlements that wait for a disk that takes them."""

MAX_TEXT: Final = 2000
MAX_RAW: Final = 64 * 1024
MAX_LOSSES: Final = 256
"""What one row may hold of a message, of a vendor's usage object (a larger one is left out) and of losses."""


@dataclass(frozen=True, slots=True)
class OpenExchange:
    """A client's request as it is admitted. *id* is the `x-request-id` of the answer.

    *input_estimate* is what the request would count as input tokens, should the process die before the answer.
    """

    id: str
    dialect: str
    route: str | None = None
    key_id: str | None = None
    team: str | None = None
    organisation: str | None = None
    tags: Mapping[str, str] = field(default_factory=dict)
    stream: bool = False
    cache: CacheUse = "bypass"
    target: str | None = None
    client_request_id: str | None = None
    input_estimate: int = 0


@dataclass(frozen=True, slots=True)
class OpenAttempt:
    """One request about to leave for *provider* / *model*. *number* counts from 1 within the exchange.

    *worst_nanousd* is the most that it can cost (None: its price is unknown), to be reserved with *budgets*.
    """

    exchange_id: str
    number: int
    provider: str
    model: str
    key_index: int | None = None
    worst_nanousd: int | None = None
    budgets: tuple[Budget, ...] = ()


@dataclass(frozen=True, slots=True)
class SettledAttempt:
    """How an attempt ended. *cost_nanousd* None is an unknown price; an attempt that was not billed costs 0."""

    exchange_id: str
    number: int
    status: Status
    cost_nanousd: int | None
    http_status: int | None = None
    error_kind: str | None = None
    error: str | None = None
    input_tokens: int = 0
    cached_input_tokens: int = 0
    cache_write_tokens: int = 0
    output_tokens: int = 0
    reasoning_tokens: int = 0
    price_source: str | None = None
    price_version: str | None = None
    raw_usage: Mapping[str, Any] | None = None
    estimated: bool = False
    latency_ms: float | None = None
    first_event_ms: float | None = None


@dataclass(frozen=True, slots=True)
class SettledExchange:
    """How an exchange ended. The token counts are read only where no attempt was made (a cache hit).

    *stream* says what the answer was, where that was not known when the exchange was opened.
    """

    id: str
    status: Status
    target: str | None = None
    cache: CacheUse | None = None
    stream: bool | None = None
    saved_nanousd: int = 0
    latency_ms: float | None = None
    first_event_ms: float | None = None
    losses: tuple[Loss, ...] = ()
    error: str | None = None
    input_tokens: int = 0
    cached_input_tokens: int = 0
    cache_write_tokens: int = 0
    output_tokens: int = 0
    reasoning_tokens: int = 0


class Ledger:
    """Books exchanges in *db*. `lost` counts what a relaxed ledger could not write, `ignored` second settlements."""

    def __init__(
        self,
        db: Database,
        *,
        mode: Mode = "strict",
        now: Callable[[], float] = time.time,
        deadline_s: float = DEADLINE_S,
    ) -> None:
        self._db = db
        self._now = now
        self._deadline_s = deadline_s
        self.mode: Mode = mode
        self._late: dict[str, Callable[[sqlite3.Connection], Booked]] = {}
        self.lost = 0
        self.ignored = 0

    async def open(self, exchange: OpenExchange, attempt: OpenAttempt | None = None) -> None:
        """Reserve *exchange* and its first attempt. If this does not return, neither stays open.

        Raises:
            OverBudget: a budget does not allow the attempt; nothing was written.
            LedgerUnavailable: strict, and it could not be written.
        """
        at_us = self._now_us()
        withdraw = partial(_withdraw_exchange, exchange.id, at_us)
        _allowed(await self._book(partial(_open, exchange, attempt, at_us), withdraw, _asks(attempt)))

    async def open_attempt(self, attempt: OpenAttempt, closing: SettledAttempt | None = None) -> None:
        """Reserve a further attempt; the one before it is closed in the same transaction.

        Raises:
            OverBudget: a budget does not allow it; the one before it is closed nonetheless.
            LedgerUnavailable: strict, and it could not be written.
        """
        at_us = self._now_us()
        withdraw = partial(_withdraw_attempt, attempt, at_us)
        _allowed(await self._book(partial(_open_attempt, attempt, closing, at_us), withdraw, _asks(attempt)))

    async def settle_attempt(self, attempt: SettledAttempt) -> None:
        """Close one attempt while its exchange goes on (a race, a vote).

        Raises:
            LedgerUnavailable: strict, and it could not be written.
        """
        at_us = self._now_us()
        await self._book(lambda connection: _close_attempt(connection, attempt, at_us))

    async def settle(self, exchange: SettledExchange, *attempts: SettledAttempt) -> bool:
        """Close the exchange and *attempts*, all at once. False when it was settled before: then nothing was changed.

        A relaxed ledger answers True before it knows. A caller that is cancelled meanwhile has settled nonetheless.

        Raises:
            LedgerUnavailable: strict, and it could not be written.
        """
        at_us = self._now_us()
        operation = partial(_settle, exchange, attempts, at_us)
        if self.mode == "relaxed":
            self._db.post(operation, partial(self._posted, late=(exchange.id, operation)))
            return True
        try:
            settled = await self._book(operation)
        except LedgerUnavailable as error:
            withheld = replace(exchange, status="failed", error=str(error)) if exchange.status == "ok" else exchange
            self._keep(exchange.id, partial(_settle, withheld, attempts, at_us))
            raise
        if settled is False:
            self._count_ignored(exchange.id)
        return settled is not False

    async def record(self, opened: OpenExchange, settled: SettledExchange) -> None:
        """Book an exchange that needs no provider, whole.

        Raises:
            LedgerUnavailable: strict, and it could not be written.
        """
        await self._book(partial(_record, opened, settled, self._now_us()))

    async def recover(self, estimate_cost: EstimateCost) -> int:
        """Close what a dead process left open as `interrupted`, with an estimate; how many exchanges that were.

        To be called once, before the first `open`.

        Raises:
            LedgerUnavailable: it could not be written.
        """
        try:
            return await self._db.write(partial(_recover, estimate_cost, self._now_us()))
        except StorageError as error:
            raise LedgerUnavailable(f"the ledger cannot be written: {error}") from error

    async def _book(
        self,
        operation: Callable[[sqlite3.Connection], Booked],
        withdraw: Callable[[sqlite3.Connection], bool] | None = None,
        asks: bool = False,
    ) -> Booked | None:
        """What *operation* says, None in relaxed mode unless it *asks* something.

        *withdraw* follows an operation that nobody awaits any more.
        """
        if self.mode == "relaxed" and not asks:
            self._db.post(operation, self._posted)
            return None
        try:
            async with asyncio.timeout(self._deadline_s):
                booked = await self._db.write(operation)
        except StorageError as error:
            if self.mode == "relaxed":
                self.lost += 1
                return None
            raise LedgerUnavailable(f"the ledger cannot be written: {error}") from error
        except (TimeoutError, asyncio.CancelledError) as error:
            if withdraw is not None:
                self._db.post(withdraw)
            if isinstance(error, TimeoutError) and self.mode == "relaxed":
                self.lost += 1
                return None
            if isinstance(error, TimeoutError):
                reason = f"the ledger cannot be written: no commit within {self._deadline_s:g} s"
                raise LedgerUnavailable(reason) from error
            raise
        self._make_up()
        return booked

    def _posted(
        self,
        settled: Booked | None,
        error: StorageError | None,
        late: tuple[str, Callable[[sqlite3.Connection], Booked]] | None = None,
    ) -> None:
        if error is not None:
            self.lost += 1
            if late is not None and not isinstance(error, Conflict):
                self._keep(*late)
            return
        if settled is False:
            self._count_ignored("an exchange")
        self._make_up()

    def _keep(self, exchange_id: str, operation: Callable[[sqlite3.Connection], Booked]) -> None:
        if len(self._late) < LATE:
            self._late[exchange_id] = operation

    def _make_up(self) -> None:
        """Writes work: settle what could not be settled when it was time. One that was settled after all stays so."""
        if not self._late:
            return
        late, self._late = self._late, {}
        for exchange_id, operation in late.items():
            self._db.post(operation, partial(self._made_up, exchange_id, operation))

    def _made_up(
        self,
        exchange_id: str,
        operation: Callable[[sqlite3.Connection], Booked],
        settled: Booked | None,
        error: StorageError | None,
    ) -> None:
        if error is None:
            self.lost -= self.mode == "relaxed" and settled is True
        elif not isinstance(error, Conflict):
            self._keep(exchange_id, operation)

    def _count_ignored(self, exchange_id: str) -> None:
        self.ignored += 1
        logger.warning("%s was not open when it was settled; the second settlement is ignored", exchange_id)

    def _now_us(self) -> int:
        return int(self._now() * 1_000_000)


# --- operations: in the writer thread, inside a transaction ------------------------------------------

_INSERT_EXCHANGE = """
INSERT INTO exchanges (id, opened_us, status, key_id, team, organisation, tags, dialect, route, target, stream,
                       attempts, cache, client_request_id, input_estimate)
VALUES (?, ?, 'open', ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"""

_INSERT_ATTEMPT = """
INSERT INTO attempts (exchange, number, provider, model, key_index, started_us, reserved_nanousd, status)
VALUES (?, ?, ?, ?, ?, ?, ?, 'open')"""

_CLOSE_ATTEMPT = """
UPDATE attempts SET status = ?, ended_us = ?, http_status = ?, error_kind = ?, error = ?,
    input_tokens = ?, cached_input_tokens = ?, cache_write_tokens = ?, output_tokens = ?, reasoning_tokens = ?,
    cost_nanousd = ?, price_source = ?, price_version = ?, raw_usage = ?, estimated = ?,
    latency_ms = ?, first_event_ms = ?
WHERE exchange = ? AND number = ? AND status = 'open'"""

_CLOSE_LEFT_OPEN = """
UPDATE attempts SET status = 'interrupted', ended_us = ?, estimated = 1, cost_nanousd = reserved_nanousd,
    input_tokens = (SELECT input_estimate FROM exchanges WHERE row = exchange)
WHERE exchange = ? AND status = 'open'"""

_SUM_ATTEMPTS = """
SELECT count(*), ifnull(sum(input_tokens), 0), ifnull(sum(cached_input_tokens), 0), ifnull(sum(cache_write_tokens), 0),
    ifnull(sum(output_tokens), 0), ifnull(sum(reasoning_tokens), 0),
    CASE WHEN count(*) = count(cost_nanousd) THEN ifnull(sum(cost_nanousd), 0) END,
    ifnull(max(estimated), 0), ifnull(sum(status = 'open'), 0)
FROM attempts WHERE exchange = ?"""

_CLOSE_EXCHANGE = """
UPDATE exchanges SET status = ?, settled_us = ?, target = ifnull(?, target), cache = ifnull(?, cache),
    stream = ifnull(?, stream), saved_nanousd = ?, latency_ms = ?, first_event_ms = ?, losses = ?, error = ?,
    attempts = ?, input_tokens = ?, cached_input_tokens = ?, cache_write_tokens = ?, output_tokens = ?,
    reasoning_tokens = ?, cost_nanousd = ?, estimated = ?
WHERE row = ? AND status = 'open'"""

_FIND_OPEN = "SELECT row FROM exchanges WHERE id = ? AND status = 'open'"


def _asks(attempt: OpenAttempt | None) -> bool:
    """Whether a budget has to allow it."""
    return attempt is not None and bool(attempt.budgets)


def _ask(attempt: OpenAttempt, opened_us: int) -> Ask:
    return Ask(attempt.budgets, attempt.provider, attempt.worst_nanousd, opened_us)


def _allowed(booked: Booked | None) -> None:
    if isinstance(booked, OverBudget):
        raise booked


def _open(exchange: OpenExchange, attempt: OpenAttempt | None, at_us: int, connection: sqlite3.Connection) -> Booked:
    holds: list[Hold] = []
    if attempt is not None and attempt.budgets:
        found = holds_for(connection, _ask(attempt, at_us), None)
        if isinstance(found, OverBudget):
            return found
        holds = found
    row = _insert_exchange(connection, exchange, attempt, at_us)
    if attempt is not None:
        _insert_attempt(connection, row, attempt, at_us)
    reserve(connection, row, holds)
    return True


def _insert_exchange(
    connection: sqlite3.Connection, exchange: OpenExchange, attempt: OpenAttempt | None, at_us: int
) -> int:
    target = f"{attempt.provider}/{attempt.model}" if attempt is not None else exchange.target
    cursor = connection.execute(
        _INSERT_EXCHANGE,
        (
            exchange.id,
            at_us,
            exchange.key_id,
            exchange.team,
            exchange.organisation,
            dumps_text(dict(exchange.tags)) if exchange.tags else "{}",
            exchange.dialect,
            exchange.route,
            target,
            exchange.stream,
            0 if attempt is None else 1,
            exchange.cache,
            exchange.client_request_id,
            _count(exchange.input_estimate),
        ),
    )
    return cursor.lastrowid or 0


def _insert_attempt(connection: sqlite3.Connection, row: int, attempt: OpenAttempt, at_us: int) -> None:
    reserved = attempt.worst_nanousd if attempt.budgets else None
    values = (row, attempt.number, attempt.provider, attempt.model, attempt.key_index, at_us, reserved)
    connection.execute(_INSERT_ATTEMPT, values)


def _open_attempt(
    attempt: OpenAttempt, closing: SettledAttempt | None, at_us: int, connection: sqlite3.Connection
) -> Booked:
    row = _open_row(connection, attempt.exchange_id)
    if row is None:
        raise Conflict(f"exchange {attempt.exchange_id} is not open and cannot have another attempt")
    if closing is not None:
        _close_attempt_of(connection, row, closing, at_us)
    if attempt.budgets:
        (opened_us,) = connection.execute("SELECT opened_us FROM exchanges WHERE row = ?", (row,)).fetchone()
        holds = holds_for(connection, _ask(attempt, opened_us), row)
        if isinstance(holds, OverBudget):
            return holds
        reserve(connection, row, holds)
    _insert_attempt(connection, row, attempt, at_us)
    connection.execute(
        "UPDATE exchanges SET attempts = attempts + 1, target = ? WHERE row = ?",
        (f"{attempt.provider}/{attempt.model}", row),
    )
    return True


def _settle(
    exchange: SettledExchange, attempts: tuple[SettledAttempt, ...], at_us: int, connection: sqlite3.Connection
) -> bool:
    row = _open_row(connection, exchange.id)
    if row is None:
        if connection.execute("SELECT 1 FROM exchanges WHERE id = ?", (exchange.id,)).fetchone():
            return False
        raise Conflict(f"exchange {exchange.id} was never opened")
    for attempt in attempts:
        _close_attempt_of(connection, row, attempt, at_us)
    _close_exchange(connection, row, exchange, at_us)
    return True


def _close_exchange(connection: sqlite3.Connection, row: int, exchange: SettledExchange, at_us: int) -> None:
    attempts, *tokens, cost, estimated, left_open = connection.execute(_SUM_ATTEMPTS, (row,)).fetchone()
    if left_open:
        connection.execute(_CLOSE_LEFT_OPEN, (at_us, row))
        attempts, *tokens, cost, estimated, _ = connection.execute(_SUM_ATTEMPTS, (row,)).fetchone()
    if not attempts:
        tokens = [
            _count(exchange.input_tokens),
            _count(exchange.cached_input_tokens),
            _count(exchange.cache_write_tokens),
            _count(exchange.output_tokens),
            _count(exchange.reasoning_tokens),
        ]
    connection.execute(
        _CLOSE_EXCHANGE,
        (
            exchange.status,
            at_us,
            exchange.target,
            exchange.cache,
            exchange.stream,
            exchange.saved_nanousd,
            _ms(exchange.latency_ms),
            _ms(exchange.first_event_ms),
            _losses(exchange.losses),
            _text(exchange.error),
            attempts,
            *tokens,
            cost,
            estimated,
            row,
        ),
    )
    settle_charges(connection, row)


def _record(opened: OpenExchange, settled: SettledExchange, at_us: int, connection: sqlite3.Connection) -> bool:
    opened_us = at_us - int((settled.latency_ms or 0) * 1000)
    row = _insert_exchange(connection, opened, None, opened_us)
    _close_exchange(connection, row, settled, at_us)
    return True


def _close_attempt(connection: sqlite3.Connection, attempt: SettledAttempt, at_us: int) -> bool:
    row = _open_row(connection, attempt.exchange_id)
    return row is not None and _close_attempt_of(connection, row, attempt, at_us)


def _close_attempt_of(connection: sqlite3.Connection, row: int, attempt: SettledAttempt, at_us: int) -> bool:
    cursor = connection.execute(
        _CLOSE_ATTEMPT,
        (
            attempt.status,
            at_us,
            attempt.http_status,
            attempt.error_kind,
            _text(attempt.error),
            _count(attempt.input_tokens),
            _count(attempt.cached_input_tokens),
            _count(attempt.cache_write_tokens),
            _count(attempt.output_tokens),
            _count(attempt.reasoning_tokens),
            attempt.cost_nanousd,
            attempt.price_source,
            attempt.price_version,
            _raw(attempt.raw_usage),
            attempt.estimated,
            _ms(attempt.latency_ms),
            _ms(attempt.first_event_ms),
            row,
            attempt.number,
        ),
    )
    return cursor.rowcount == 1


def _withdraw_exchange(exchange_id: str, at_us: int, connection: sqlite3.Connection) -> bool:
    """The caller is gone before anything was sent: nothing is owed."""
    row = _open_row(connection, exchange_id)
    if row is None:
        return False
    connection.execute(
        "UPDATE attempts SET status = 'aborted', ended_us = ?, cost_nanousd = 0 WHERE exchange = ? AND status = 'open'",
        (at_us, row),
    )
    _close_exchange(connection, row, SettledExchange(exchange_id, "aborted", error="gone before it was sent"), at_us)
    return True


def _withdraw_attempt(attempt: OpenAttempt, at_us: int, connection: sqlite3.Connection) -> bool:
    settled = SettledAttempt(attempt.exchange_id, attempt.number, "aborted", 0, error="gone before it was sent")
    return _close_attempt(connection, settled, at_us)


def _recover(estimate_cost: EstimateCost, at_us: int, connection: sqlite3.Connection) -> int:
    exchanges = connection.execute(
        "SELECT row, id, input_estimate FROM exchanges WHERE status = 'open' ORDER BY row"
    ).fetchall()
    for row, exchange_id, input_tokens in exchanges:
        attempts = connection.execute(
            "SELECT number, provider, model, reserved_nanousd FROM attempts WHERE exchange = ? AND status = 'open'",
            (row,),
        ).fetchall()
        for number, provider, model, reserved in attempts:
            # Of what a budget was to hold for it nothing is given back: its vendor may bill all of it.
            cost = estimate_cost(provider, model, input_tokens) if reserved is None else reserved
            source = "estimate" if reserved is None else "reserved"
            guess = SettledAttempt(
                exchange_id,
                number,
                "interrupted",
                cost,
                error="the process ended before the answer",
                input_tokens=input_tokens,
                price_source=None if cost is None else source,
                estimated=True,
            )
            _close_attempt_of(connection, row, guess, at_us)
        ended = SettledExchange(exchange_id, "interrupted", error="the process ended before the answer")
        _close_exchange(connection, row, ended, at_us)
    return len(exchanges)


def _open_row(connection: sqlite3.Connection, exchange_id: str) -> int | None:
    found = connection.execute(_FIND_OPEN, (exchange_id,)).fetchone()
    return None if found is None else found[0]


def _count(tokens: int) -> int:
    return min(max(tokens, 0), MAX_TOKENS)


def _ms(duration_ms: float | None) -> float | None:
    return None if duration_ms is None else round(duration_ms, 1)


def _text(message: str | None) -> str | None:
    """Cut, and without the lone surrogates that a badly decoded message may hold: SQLite takes UTF-8 only."""
    return None if message is None else message[:MAX_TEXT].encode(errors="replace").decode()


def _raw(usage: Mapping[str, Any] | None) -> str | None:
    text = None if usage is None else dumps_text(usage)
    return None if text is None or len(text) > MAX_RAW else text


def _losses(losses: tuple[Loss, ...]) -> str:
    if len(losses) > MAX_LOSSES:
        more = Loss("losses", "clamped", f"{len(losses) - MAX_LOSSES} more are not kept")
        losses = (*losses[:MAX_LOSSES], more)
    return dumps_text(losses) if losses else "[]"
