"""What the ledger writes: bookings as values, and what each does to the tables.

A `Booking` is one step in the life of an exchange. `perform` takes it, in the writer thread, inside a transaction:

    open            the exchange and its first attempt, budgets permitting
    open_attempt    a further one; the one before it may be closed with it
    settle_attempt  one attempt is closed, the exchange goes on
    settle          the exchange is closed with what is left of its attempts
    record          an exchange without an attempt, whole (a cache hit)
    whole           an exchange that was only on the slate, with its one attempt, from opening to settling

`perform_all` takes many of the last kind, as `Answered`, with two statements; `record_all` many records, as `Given`.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final, Literal, NamedTuple, TypeVar

from storage.budgets import Ask, Budget, Hold, OverBudget, holds_for, reserve, settle_charges
from storage.errors import Conflict
from translators.codec import dumps_text, loads_object
from translators.losses import Loss

T = TypeVar("T")

Status = Literal["ok", "failed", "aborted", "interrupted"]
CacheUse = Literal["hit", "miss", "bypass"]
What = Literal["open", "open_attempt", "settle_attempt", "settle", "record", "whole"]
Booked = bool | OverBudget
"""What came of a booking: whether it did anything, or the budget that forbids it."""
EstimateCost = Callable[[str, str, int], int | None]
"""(provider, model, input tokens) -> nano-dollars, None when no price is known."""

MAX_TOKENS: Final = 10**12
"""A count beyond this is a vendor's mistake; it is cut here, so that sums stay within 64 bits."""

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


class Booking(NamedTuple):  # two are made for every request: a frozen dataclass takes five times as long to make
    """One step, taken at *at_us*. *what* says which of the others there are.

    *is_late*: it was to be written before now. Budgets count it and cannot forbid it any more, and it is done as far as
    it is not done yet. *in_order*: an attempt that it closes has to be there.
    """

    what: What
    exchange_id: str
    at_us: int
    opened: OpenExchange | None = None
    leaving: OpenAttempt | None = None
    ended: tuple[SettledAttempt, ...] = ()
    settled: SettledExchange | None = None
    is_late: bool = False
    in_order: bool = False
    ended_us: int = 0
    """Of a whole one: when it was settled."""

    @property
    def asks(self) -> bool:
        """Whether a budget has to allow it."""
        return self.leaving is not None and bool(self.leaving.budgets)


def perform(booking: Booking, connection: sqlite3.Connection) -> Booked:
    """Take the step; False when it was not open any more.

    Raises:
        Conflict: the exchange was never opened, or is there already, or something of it is missing.
    """
    match booking:
        case Booking("open", opened=OpenExchange() as opened):
            return _open(opened, booking, connection)
        case Booking("open_attempt", leaving=OpenAttempt() as leaving):
            return _open_attempt(leaving, booking, connection)
        case Booking("settle_attempt"):
            return _settle_attempt(booking, connection)
        case Booking("settle", settled=SettledExchange() as settled):
            return _settle(settled, booking, connection)
        case Booking("record", opened=OpenExchange() as opened, settled=SettledExchange() as settled):
            return _record(opened, settled, booking, connection)
        case Booking("whole"):
            return _whole(booking, connection)
    raise ValueError(f"a booking of {booking.exchange_id} lacks what {booking.what!r} needs")


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
_FIND = "SELECT 1 FROM exchanges WHERE id = ?"
_FIND_ATTEMPT = "SELECT 1 FROM attempts WHERE exchange = ? AND number = ?"


def _ask(attempt: OpenAttempt, opened_us: int) -> Ask:
    return Ask(attempt.budgets, attempt.provider, attempt.worst_nanousd, opened_us)


def _open(exchange: OpenExchange, booking: Booking, connection: sqlite3.Connection) -> Booked:
    if booking.is_late and connection.execute(_FIND, (exchange.id,)).fetchone():
        return False
    attempt, at_us = booking.leaving, booking.at_us
    holds: list[Hold] = []
    if attempt is not None and attempt.budgets:
        found = holds_for(connection, _ask(attempt, at_us), None, enforce=not booking.is_late)
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


def _open_attempt(attempt: OpenAttempt, booking: Booking, connection: sqlite3.Connection) -> Booked:
    row = _open_row(connection, attempt.exchange_id)
    if row is None:
        if booking.is_late and connection.execute(_FIND, (attempt.exchange_id,)).fetchone():
            return False
        raise Conflict(f"exchange {attempt.exchange_id} is not open and cannot have another attempt")
    _close_attempts(connection, row, booking)
    if booking.is_late and connection.execute(_FIND_ATTEMPT, (row, attempt.number)).fetchone():
        return False
    if attempt.budgets:
        (opened_us,) = connection.execute("SELECT opened_us FROM exchanges WHERE row = ?", (row,)).fetchone()
        holds = holds_for(connection, _ask(attempt, opened_us), row, enforce=not booking.is_late)
        if isinstance(holds, OverBudget):
            return holds
        reserve(connection, row, holds)
    _insert_attempt(connection, row, attempt, booking.at_us)
    connection.execute(
        "UPDATE exchanges SET attempts = attempts + 1, target = ? WHERE row = ?",
        (f"{attempt.provider}/{attempt.model}", row),
    )
    return True


def _settle_attempt(booking: Booking, connection: sqlite3.Connection) -> bool:
    row = _open_row(connection, booking.exchange_id)
    if row is None:
        return False
    return _close_attempts(connection, row, booking) > 0


def _settle(exchange: SettledExchange, booking: Booking, connection: sqlite3.Connection) -> bool:
    row = _open_row(connection, exchange.id)
    if row is None:
        if connection.execute(_FIND, (exchange.id,)).fetchone():
            return False
        raise Conflict(f"exchange {exchange.id} was never opened")
    _close_attempts(connection, row, booking)
    _close_exchange(connection, row, exchange, booking.at_us)
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


def _record(opened: OpenExchange, settled: SettledExchange, booking: Booking, connection: sqlite3.Connection) -> bool:
    if booking.is_late and connection.execute(_FIND, (opened.id,)).fetchone():
        return False
    record_all((given_of(opened, settled, booking.at_us),), connection)
    return True


def _whole(booking: Booking, connection: sqlite3.Connection) -> bool:
    """What `perform_all` could not do when it was time."""
    if not (booking.is_late and connection.execute(_FIND, (booking.exchange_id,)).fetchone()):
        perform(booking._replace(what="open"), connection)
    return perform(booking._replace(what="settle", at_us=booking.ended_us), connection) is True


class Form(NamedTuple):
    """What requests of one kind have in common in the ledger; the ids, numbers and times in it are not read."""

    opened: OpenExchange
    leaving: OpenAttempt
    exchange: tuple[Any, ...]
    """The columns of `_WHOLE_ALIKE`."""
    attempt: tuple[Any, ...]
    """Those of `_ASKED_ALIKE`."""


def form_of(opened: OpenExchange, leaving: OpenAttempt) -> Form:
    """What answered exchanges have in common that begin as *opened*, with an attempt as *leaving*."""
    exchange = (
        "ok",
        opened.key_id,
        opened.team,
        opened.organisation,
        dumps_text(dict(opened.tags)),
        opened.dialect,
        opened.route,
        f"{leaving.provider}/{leaving.model}",
        opened.stream,
        1,
        opened.cache,
    )
    attempt = (1, leaving.provider, leaving.model, leaving.key_index, "ok")
    return Form(opened, leaving, exchange, attempt)


class Answered(NamedTuple):
    """An exchange whose one attempt was answered, and that is not in the database yet: from opening to settling."""

    form: Form
    id: str
    opened_us: int
    settled_us: int
    input_estimate: int
    http_status: int
    input_tokens: int
    cached_input_tokens: int
    cache_write_tokens: int
    output_tokens: int
    reasoning_tokens: int
    cost_nanousd: int | None
    price_source: str | None
    price_version: str | None
    raw_usage: bytes
    """The vendor's own counts, as JSON."""
    latency_ms: float
    first_event_ms: float

    def booking(self) -> Booking:
        """The same, as a booking."""
        form = self.form
        opened = replace(form.opened, id=self.id, input_estimate=self.input_estimate)
        leaving = replace(form.leaving, exchange_id=self.id)
        ended, settled = self.ending()
        return Booking("whole", self.id, self.opened_us, opened, leaving, (ended,), settled, ended_us=self.settled_us)

    def ending(self) -> tuple[SettledAttempt, SettledExchange]:
        """How its attempt and it itself have ended."""
        ended = SettledAttempt(
            self.id,
            self.form.leaving.number,
            "ok",
            self.cost_nanousd,
            http_status=self.http_status,
            input_tokens=self.input_tokens,
            cached_input_tokens=self.cached_input_tokens,
            cache_write_tokens=self.cache_write_tokens,
            output_tokens=self.output_tokens,
            reasoning_tokens=self.reasoning_tokens,
            price_source=self.price_source,
            price_version=self.price_version,
            raw_usage=loads_object(self.raw_usage),
            latency_ms=self.latency_ms,
            first_event_ms=self.first_event_ms,
        )
        settled = SettledExchange(self.id, "ok", latency_ms=self.latency_ms, first_event_ms=self.first_event_ms)
        return ended, settled


class GivenForm(NamedTuple):
    """What exchanges that asked nobody have in common; the ids and times in it are not read."""

    opened: OpenExchange
    settled: SettledExchange
    row: tuple[Any, ...]
    """The columns from `_GIVEN_ALIKE`."""


class Given(NamedTuple):
    """An exchange that asked nobody, as its answer was there already (a cache hit), whole."""

    form: GivenForm
    id: str
    settled_us: int
    latency_ms: float | None
    first_event_ms: float | None

    def booking(self) -> Booking:
        """The same, as a booking."""
        opened, settled, _ = self.form
        ended = replace(settled, id=self.id, latency_ms=self.latency_ms, first_event_ms=self.first_event_ms)
        return Booking("record", self.id, self.settled_us, replace(opened, id=self.id), settled=ended)


def given_form(opened: OpenExchange, settled: SettledExchange) -> GivenForm:
    """What all exchanges that begin as *opened* and end as *settled* have in common."""
    row = (
        settled.status,
        opened.key_id,
        opened.team,
        opened.organisation,
        dumps_text(dict(opened.tags)) if opened.tags else "{}",
        opened.dialect,
        opened.route,
        settled.target if settled.target is not None else opened.target,
        settled.stream if settled.stream is not None else opened.stream,
        settled.cache or opened.cache,
        opened.client_request_id,
        _count(opened.input_estimate),
        settled.saved_nanousd,
        _losses(settled.losses),
        _text(settled.error),
        _count(settled.input_tokens),
        _count(settled.cached_input_tokens),
        _count(settled.cache_write_tokens),
        _count(settled.output_tokens),
        _count(settled.reasoning_tokens),
        0,
        0,
        False,
    )
    return GivenForm(opened, settled, row)


def given_of(opened: OpenExchange, settled: SettledExchange, settled_us: int) -> Given:
    """One of them."""
    return Given(given_form(opened, settled), opened.id, settled_us, settled.latency_ms, settled.first_event_ms)


_GIVEN_ALIKE = (
    "status, key_id, team, organisation, tags, dialect, route, target, stream, cache, client_request_id,"
    " input_estimate, saved_nanousd, losses, error, input_tokens, cached_input_tokens, cache_write_tokens,"
    " output_tokens, reasoning_tokens, attempts, cost_nanousd, estimated"
)
_GIVEN_EXCHANGE = f"id, opened_us, settled_us, latency_ms, first_event_ms, {_GIVEN_ALIKE}"
_MEASURED = (
    "latency_ms, first_event_ms,"
    " input_tokens, cached_input_tokens, cache_write_tokens, output_tokens, reasoning_tokens, cost_nanousd"
)
_WHOLE_ALIKE = "status, key_id, team, organisation, tags, dialect, route, target, stream, attempts, cache"
_WHOLE_EXCHANGE = f"id, opened_us, settled_us, input_estimate, {_MEASURED}, {_WHOLE_ALIKE}"
_ASKED_ALIKE = "number, provider, model, key_index, status"
_WHOLE_ATTEMPT = (
    f"exchange, started_us, ended_us, http_status, price_source, price_version, raw_usage, {_MEASURED}, {_ASKED_ALIKE}"
)
_TOGETHER: Final = (16, 4, 1)
"""Rows of one statement: a few sizes, so that each is prepared once."""
_BUSY: Final = 64
"""Exchanges at once, from which the most rows go into a statement. Fewer of them are written in smaller steps: long
ones keep requests waiting that share the processor with the writer."""


_let_others_on: Final[Callable[[], None]] = getattr(os, "sched_yield", lambda: None)


def _many(table: str, columns: str, count: int) -> str:
    row = f"({', '.join('?' for _ in columns.split(','))})"
    return f"INSERT INTO {table} ({columns}) VALUES {', '.join([row] * count)}"  # noqa: S608  names from this file


_INSERT_EXCHANGES: Final = {count: _many("exchanges", _WHOLE_EXCHANGE, count) for count in _TOGETHER}
_INSERT_ATTEMPTS: Final = {count: _many("attempts", _WHOLE_ATTEMPT, count) for count in _TOGETHER}
_INSERT_GIVEN: Final = {count: _many("exchanges", _GIVEN_EXCHANGE, count) for count in _TOGETHER}


def _portions(items: Sequence[T]) -> Iterator[Sequence[T]]:
    """*items* in as many as one statement takes.

    Each statement lets go of the interpreter's lock and has to get it back, so few take many rows. Between them whoever
    waits for the processor goes first.
    """
    at = 0
    for count in _TOGETHER if len(items) >= _BUSY else _TOGETHER[1:]:
        while len(items) - at >= count:
            yield items[at : at + count]
            at += count
            if at < len(items):
                _let_others_on()


def perform_all(answered: Sequence[Answered], connection: sqlite3.Connection) -> None:
    """Book whole exchanges, none of which is there yet."""
    for part in _portions(answered):
        count = len(part)
        exchanges: list[Any] = []
        measured = [_measured(each) for each in part]
        for each, what in zip(part, measured, strict=True):
            exchanges += each[1:5]  # its id, when it was opened and settled, its estimate
            exchanges += what
            exchanges += each.form.exchange
        last = connection.execute(_INSERT_EXCHANGES[count], exchanges).lastrowid or 0
        attempts: list[Any] = []
        first = last - count + 1  # one after the other: nobody else writes
        for row, (each, what) in enumerate(zip(part, measured, strict=True), first):
            form, _, opened_us, settled_us, _, http_status, *_, source, version, raw, _, _ = each
            told = raw.decode() if len(raw) <= MAX_RAW else None
            attempts += (row, opened_us, settled_us, http_status, source, version, told, *what, *form.attempt)
        connection.execute(_INSERT_ATTEMPTS[count], attempts)


def record_all(records: Sequence[Given], connection: sqlite3.Connection) -> None:
    """Book exchanges that asked nobody, none of which is there yet."""
    for part in _portions(records):
        values: list[Any] = []
        for form, name, settled_us, latency_ms, first_event_ms in part:
            opened_us = settled_us - int((latency_ms or 0) * 1000)
            values += (name, opened_us, settled_us, _ms(latency_ms), _ms(first_event_ms), *form.row)
        connection.execute(_INSERT_GIVEN[len(part)], values)


def _measured(answered: Answered) -> list[float | int | None]:
    """What the rows of an exchange and of its one attempt have in common: the columns of `_MEASURED`."""
    counts: Sequence[int] = answered[6:11]  # those of tokens
    if min(counts) < 0 or max(counts) > MAX_TOKENS:
        counts = [_count(tokens) for tokens in counts]
    return [round(answered.latency_ms, 1), round(answered.first_event_ms, 1), *counts, answered.cost_nanousd]


def _close_attempts(connection: sqlite3.Connection, row: int, booking: Booking) -> int:
    """How many were open and are closed now."""
    closed = 0
    for attempt in booking.ended:
        if _close_attempt(connection, row, attempt, booking.at_us):
            closed += 1
        elif booking.in_order and not connection.execute(_FIND_ATTEMPT, (row, attempt.number)).fetchone():
            raise Conflict(f"attempt {attempt.number} of exchange {booking.exchange_id} is not booked yet")
    return closed


def _close_attempt(connection: sqlite3.Connection, row: int, attempt: SettledAttempt, at_us: int) -> bool:
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


def recover(estimate_cost: EstimateCost, at_us: int, mark: str, connection: sqlite3.Connection) -> int:
    """Close what is open as `interrupted`, with an estimate; how many exchanges that were.

    *mark*: only those whose ids end with it.
    """
    exchanges = connection.execute(
        "SELECT row, id, input_estimate FROM exchanges WHERE status = 'open' AND id LIKE '%' || ?1 ORDER BY row",
        (mark,),
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
            _close_attempt(connection, row, guess, at_us)
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
