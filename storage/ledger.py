"""The ledger: one row per exchange, one per attempt, written before anything that must not be forgotten.

    open (exchange + first attempt) --> [open_attempt ...] --> settle          an exchange that asks a provider
    note --> answered                                                          an ordinary one, answered at once
    given, record                                                              one that does not (a cache hit)

An open row becomes ok, failed, aborted or interrupted exactly once and never changes again.
The tokens and the cost of a settled exchange are the sums over its attempts; its cost is NULL (unknown) when that
of any attempt is. Rows that a dead process left open are closed by `recover` at the next start.

An attempt that budgets apply to reserves its worst case with them as it is opened, or is not opened: `OverBudget`.

What is noted stands on the slate (`storage.slate`), which outlives the process as the database does, and so does its
answer; both are written together soon after. What is not answered within NOTED_S, or not so, becomes an open row like
any other. What is given stands there, too, until its row is written.

`strict`: every call returns after the commit and raises LedgerUnavailable when there is none.
`relaxed`: every call returns at once, but for one that a budget has to allow. What could not be written goes into the
journal, and from there into the database with the next write that succeeds, or at the next start; only what the
journal does not take either is counted in `lost`.
A settlement that the disk refuses, and that no journal has, is kept, up to `LATE` of them, and made after the next
write that succeeds: as `failed` where its answer was withheld, with what it has cost.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Final, Literal

from storage.bookings import (
    Answered,
    Booked,
    Booking,
    CacheUse,
    EstimateCost,
    Form,
    Given,
    OpenAttempt,
    OpenExchange,
    SettledAttempt,
    SettledExchange,
    Status,
    given_of,
    perform,
    perform_all,
    record_all,
    recover,
)
from storage.budgets import OverBudget
from storage.db import Database
from storage.errors import Conflict, LedgerUnavailable, StorageError
from storage.journal import Journal
from storage.patience import Patience
from storage.slate import Slate
from storage.spilled import NotedForm, answered_line, by_exchange, decode, encode, replay
from storage.writer import Joint

__all__ = ["CacheUse", "Ledger", "OpenAttempt", "OpenExchange", "SettledAttempt", "SettledExchange", "Status"]

logger = logging.getLogger(__name__)

Mode = Literal["strict", "relaxed"]

DEADLINE_S: Final = 5.0
"""How long a strict call waits for a disk that does not answer."""

LATE: Final = 10_000
"""Settlements that wait for a disk that takes them."""

NOTED_S: Final = 0.25
"""How long an open exchange may stand on the slate alone."""

_UNAVAILABLE: Final = "the ledger cannot be written: %s"

BACKLOG: Final = 256
"""Exchanges on their way into the database, from which answers wait with them."""

TOGETHER: Final = 100
"""Exchanges of the journal that are handed to the database at once."""


@dataclass(slots=True, eq=False)
class Leaving:
    """An exchange that goes into the database by way of the slate."""

    id: str
    since: float
    """A moment of the loop's clock."""
    answered: Answered | Given | None = None
    place: int | None = None
    """Where it stands on the slate as open."""
    settled_place: int | None = None
    """Where its answer stands there."""
    told: Callable[[LedgerUnavailable | None], None] | None = None
    """Hears, once, how its answer was booked: None, or why it was not."""


@dataclass(slots=True, eq=False, kw_only=True)
class Note(Leaving):
    """One that asks somebody, and is open."""

    form: Form
    opened_us: int
    input_estimate: int

    @property
    def booking(self) -> Booking:
        """Its opening."""
        form, name = self.form, self.id
        opened = replace(form.opened, id=name, input_estimate=self.input_estimate)
        return Booking("open", name, self.opened_us, opened, replace(form.leaving, exchange_id=name))


class Ledger:
    """Books exchanges in *db*, with *journal* for what it cannot take, and *slate* for what may soon be over.

    `lost` counts what a relaxed ledger could write nowhere, `ignored` second settlements.
    """

    def __init__(
        self,
        db: Database,
        *,
        mode: Mode = "strict",
        journal: Journal | None = None,
        slate: Slate | None = None,
        now: Callable[[], float] = time.time,
        deadline_s: float = DEADLINE_S,
    ) -> None:
        self._db = db
        self._now = now
        self._deadline_s = deadline_s
        self._patience = Patience(deadline_s)
        self.mode: Mode = mode
        self.journal = journal
        self.slate = slate
        self._notes: dict[str, Note] = {}
        """What stands on the slate alone, oldest first."""
        self._leaving: dict[str, Leaving] = {}
        """What is on its way from the slate into the database, oldest first."""
        self._together: list[Leaving] = []
        """What this turn of the loop was answered, and *_records* what was given in it."""
        self._records: list[Leaving] = []
        self._unwritten: dict[str, Leaving] = {}
        """What the database did not take and the slate keeps meanwhile."""
        self._looking: asyncio.TimerHandle | None = None
        self._late: dict[str, Booking] = {}
        self._spilled: set[str] = set()
        """Exchanges of which the journal has something."""
        self._catching_up: asyncio.Task[None] | None = None
        self._one_at_a_time = asyncio.Lock()
        self.lost = 0
        self.ignored = 0

    async def open(self, exchange: OpenExchange, attempt: OpenAttempt | None = None) -> None:
        """Reserve *exchange* and its first attempt. If this does not return, neither stays open.

        Raises:
            OverBudget: a budget does not allow the attempt; nothing was written.
            LedgerUnavailable: strict, and it could not be written.
        """
        await self._book(Booking("open", exchange.id, self._now_us(), opened=exchange, leaving=attempt))

    async def open_attempt(self, attempt: OpenAttempt, closing: SettledAttempt | None = None) -> None:
        """Reserve a further attempt; the one before it is closed in the same transaction.

        Raises:
            OverBudget: a budget does not allow it; the one before it is closed nonetheless.
            LedgerUnavailable: strict, and it could not be written.
        """
        ended = () if closing is None else (closing,)
        await self._book(Booking("open_attempt", attempt.exchange_id, self._now_us(), leaving=attempt, ended=ended))

    async def settle_attempt(self, attempt: SettledAttempt) -> None:
        """Close one attempt while its exchange goes on (a race, a vote).

        Raises:
            LedgerUnavailable: strict, and it could not be written.
        """
        await self._book(Booking("settle_attempt", attempt.exchange_id, self._now_us(), ended=(attempt,)))

    async def settle(self, exchange: SettledExchange, *attempts: SettledAttempt) -> bool:
        """Close the exchange and *attempts*, all at once. False when it was settled before: then nothing was changed.

        A relaxed ledger answers True before it knows. A caller that is cancelled meanwhile has settled nonetheless.

        Raises:
            LedgerUnavailable: strict, and it could not be written.
        """
        booking = Booking("settle", exchange.id, self._now_us(), ended=attempts, settled=exchange)
        try:
            settled = await self._book(booking)
        except LedgerUnavailable as error:
            withheld = replace(exchange, status="failed", error=str(error)) if exchange.status == "ok" else exchange
            self._keep(booking._replace(settled=withheld))
            raise
        if settled is False:
            self._count_ignored(exchange.id)
        return settled is not False

    # --- ordinary exchanges, by way of the slate

    def note(self, form: NotedForm, exchange_id: str, input_estimate: int) -> Note | None:
        """Open an exchange with its one attempt, at once. None: not by this way, `open` it.

        No budget applies to it. It is to be `answered`, or `written` before anything else is booked of it.
        """
        if self.slate is None or self._db.failure is not None:
            return None
        opened_us = self._now_us()
        place = self.slate.put(form.line(exchange_id, opened_us, input_estimate))
        if place is None:
            return None
        loop = asyncio.get_running_loop()
        note = Note(
            exchange_id, loop.time(), place=place, form=form.form, opened_us=opened_us, input_estimate=input_estimate
        )
        self._notes[exchange_id] = note
        if self._looking is None:
            self._looking = loop.call_later(NOTED_S, self._look)
        return note

    def forget(self, note: Note) -> None:
        """Nothing was sent for *note*."""
        if self._notes.pop(note.id, None) is not None:
            self._wipe(note)

    def answered(self, note: Note, answered: Answered, told: Callable[[LedgerUnavailable | None], None]) -> None:
        """Book the answer to what was noted. *told* hears of it, once: before that nothing of it may be sent.

        That is at once where it stands on the slate, and after the commit where it is too long for that, or where
        BACKLOG of them wait already: who asks must not be faster than the disk.
        """
        loop = asyncio.get_running_loop()
        note.answered, note.since = answered, loop.time()
        is_row = self._notes.pop(note.id, None) is None
        waits = self._leaves(note, answered_line(answered), told)
        if is_row:
            booking = answered.booking()._replace(what="settle", at_us=answered.settled_us)
            self._db.post(partial(perform, booking), partial(self._was_answered, note), at_once=waits)
        else:
            if not (self._together or self._records):
                loop.call_soon(self._hand_over)
            self._together.append(note)
        if not waits:
            told(None)

    def given(self, record: Given, line: bytes, told: Callable[[LedgerUnavailable | None], None]) -> bool | None:
        """Book an exchange that asked nobody, of which *line* is the line; whether that is done.

        False: *told* hears of it later, as in `answered`. None: not by this way, `record` it.
        """
        if self.slate is None or self._db.failure is not None:
            return None
        loop = asyncio.get_running_loop()
        note = Leaving(record.id, loop.time(), record)
        waits = self._leaves(note, line, told)
        if not (self._together or self._records):
            loop.call_soon(self._hand_over)
        self._records.append(note)
        return not waits

    def _leaves(self, note: Leaving, line: bytes, told: Callable[[LedgerUnavailable | None], None]) -> bool:
        """*note* is on its way into the database, and its answer's *line* on the slate; whether *told* has to wait."""
        self._leaving[note.id] = note
        if self.slate is not None and len(self._leaving) < BACKLOG:
            note.settled_place = self.slate.put(line)
        waits = note.settled_place is None and self.mode == "strict"
        if waits:
            note.told = told
            self._look_soon()
        return waits

    def _look_soon(self) -> None:
        if self._looking is None:
            self._looking = asyncio.get_running_loop().call_later(NOTED_S, self._look)

    def _hand_over(self) -> None:
        """Have what this turn of the loop was answered written, as one job for each kind."""
        answered, self._together = self._together, []
        records, self._records = self._records, []
        for notes in (answered, records):
            if notes:
                waits = any(note.told is not None for note in notes)
                self._db.post(_joint(notes), partial(self._were_answered, notes), at_once=waits)

    def _were_answered(self, notes: Sequence[Leaving], booked: object, error: StorageError | None) -> None:
        if error is not None and len(notes) > 1:  # whose fault it is comes out one by one
            for note in notes:
                self._db.post(_joint((note,)), partial(self._was_answered, note), at_once=note.told is not None)
            return
        leaving, slate = self._leaving, self.slate
        for note in notes:
            if error is not None or note.told is not None or slate is None:
                self._was_answered(note, booked, error)
                continue
            leaving.pop(note.id, None)
            slate.wipe(note.settled_place, note.place)
            note.place = note.settled_place = None
        if error is None:
            self._make_up()

    def written(self, note: Note) -> None:
        """Let *note* be an open row: what is booked next of it comes after that."""
        if self._notes.pop(note.id, None) is not None:
            note.since = asyncio.get_running_loop().time()
            self._leaving[note.id] = note
            self._db.post(partial(perform, note.booking), partial(self._has_left, note))

    def _was_answered(self, note: Leaving, booked: object, error: StorageError | None) -> None:
        told, note.told = note.told, None
        self._leaving.pop(note.id, None)
        if error is None:
            self._wipe(note)
            self._make_up()
        elif note.answered is not None:
            self._was_not_written(note, note.answered.booking()._replace(is_late=True), error)
            if self.mode == "relaxed":
                return
        if told is not None:
            told(None if error is None else LedgerUnavailable(_UNAVAILABLE % error))

    def _was_not_written(self, note: Leaving, booking: Booking, error: StorageError) -> None:
        """The database does not take *booking*, the answer to *note*."""
        is_record = booking.what == "record"
        if self.mode == "relaxed":
            if is_record:
                self._spill(booking, on_slate=note)
                return
            self._spill(booking._replace(what="open", ended=(), settled=None))
            settling = booking._replace(what="settle", at_us=booking.ended_us, opened=None, leaving=None)
            self._spill(settling, on_slate=note)
            return
        if note.settled_place is None:  # its answer is withheld
            if is_record:
                return  # and nothing was spent for it
            withheld = booking.settled and replace(booking.settled, status="failed", error=_UNAVAILABLE % error)
            booking = booking._replace(settled=withheld)
        self._unwritten[note.id] = note
        self._keep(booking)

    def _has_left(self, note: Note, booked: object, error: StorageError | None) -> None:
        if note.answered is None:
            self._leaving.pop(note.id, None)
        if error is None:
            if note.answered is None:  # else its answer's row follows, which wipes both
                self._wipe(note)
        elif self.mode == "relaxed":
            self._spill(note.booking, on_slate=note)  # what is booked next of it follows there
        else:
            self._unwritten[note.id] = note
            self._keep(note.booking._replace(is_late=True))

    def _wipe(self, note: Leaving) -> None:
        """*note* stands in the database."""
        if self.slate is not None:
            self.slate.wipe(note.settled_place, note.place)
        note.place = note.settled_place = None

    def _look(self) -> None:
        """Let what has been noted for a while be rows, and give up what the disk does not take."""
        loop = asyncio.get_running_loop()
        now, self._looking = loop.time(), None
        for note in list(self._notes.values()):
            if note.since > now - NOTED_S:
                break
            self.written(note)
        for each in list(self._leaving.values()):
            if each.since > now - self._deadline_s:
                break
            told, each.told = each.told, None
            if told is not None:
                told(LedgerUnavailable(_UNAVAILABLE % f"no commit within {self._deadline_s:g} s"))
        if self._notes or self._leaving:
            self._look_soon()

    async def record(self, opened: OpenExchange, settled: SettledExchange) -> None:
        """Book an exchange that needs no provider, whole.

        Raises:
            LedgerUnavailable: strict, and it could not be written.
        """
        booking = Booking("record", opened.id, self._now_us(), opened=opened, settled=settled)
        told: asyncio.Future[LedgerUnavailable | None] = asyncio.get_running_loop().create_future()
        booked = self.given(given_of(opened, settled, booking.at_us), encode(booking), partial(_tell, told))
        if booked is None:
            await self._book(booking)
        elif not booked and (error := await told):
            raise error

    async def recover(self, estimate_cost: EstimateCost, mark: str = "") -> int:
        """Do what the journal of a dead process holds, then close what it left open as `interrupted`, with an estimate.

        How many exchanges were open; only those are looked at whose ids end with *mark*. To be called once, before the
        first `open`.

        Raises:
            LedgerUnavailable: it could not be written.
        """
        try:
            await self.take_over()
            return await self._db.write(partial(recover, estimate_cost, self._now_us(), mark))
        except StorageError as error:
            raise LedgerUnavailable(_UNAVAILABLE % error) from error

    async def take_over(self) -> None:
        """Do what a dead process left in the journal and on the slate. Raises StorageError."""
        await self.catch_up()
        await self._read_slate()

    async def _read_slate(self) -> None:
        """Let what stands on the slate of a dead process be open rows."""
        if self.slate is None:
            return
        left = await asyncio.to_thread(self.slate.open)
        if self._db.was_left and self.slate.path is not None and self.slate.missed_bytes:
            logger.warning(
                "the process before did not close the database, and of its slate %s %d bytes are missing: what it had"
                " noted there alone in its last moments is not in the ledger",
                self.slate.path,
                self.slate.missed_bytes,
            )
        if left:
            if unread := sum(not _is_known(line) for line in left):
                logger.error(
                    "%d bookings on the slate are of another version of modelport; they are kept in %s",
                    unread,
                    self.slate.keep(),
                )
            await self._replay([line for line in left if _is_known(line)])
            self.slate.clear()

    async def catch_up(self) -> None:
        """Do all that the journal holds. Nothing of it is done twice.

        Raises:
            StorageError: it cannot be written yet; the journal keeps everything.
        """
        journal = self.journal
        async with self._one_at_a_time:
            while journal is not None and journal.waiting:
                lines = await journal.lines()
                done = await self._replay(lines)
                if journal.waiting == len(lines):  # else more came meanwhile: once again, with all of it
                    self._spilled.clear()
                    await journal.clear(len(lines))
                    self.lost += len(lines) - done
                    logger.warning("%d bookings of %s are in the database now", done, journal.path.name)

    async def close(self) -> None:
        """Finish what is under way, and let go of the slate. Before the database is closed; the journal follows it.

        As long as the database is held nobody else can have found the slate, which may be removed here.
        """
        self._hand_over()
        for note in list(self._notes.values()):
            self.written(note)
        if self._looking is not None:
            self._looking.cancel()
        if self._catching_up is not None:
            await asyncio.gather(self._catching_up, return_exceptions=True)
        if self.slate is not None:
            with suppress(StorageError, TimeoutError):
                async with asyncio.timeout(self._deadline_s):
                    await self._db.write(lambda _: None)  # behind what is on its way from the slate
            self.slate.close()

    # --- booking

    async def _book(self, booking: Booking) -> Booked | None:
        """What came of *booking*; None in relaxed mode unless it asks something.

        What opens something, and is not awaited any more, is withdrawn.

        Raises:
            OverBudget: a budget does not allow it.
            LedgerUnavailable: strict, and it could not be written.
        """
        if self.mode == "strict":
            booked = await self._commit(booking)
        elif booking.asks:
            booked = await self._ask(booking._replace(in_order=True))
        else:
            self._post(booking._replace(in_order=True))
            return None
        if isinstance(booked, OverBudget):
            raise booked
        return booked

    async def _commit(self, booking: Booking) -> Booked | None:
        try:
            booked = await self._patience.wait(self._db.begin(partial(perform, booking)))
        except StorageError as error:
            raise LedgerUnavailable(_UNAVAILABLE % error) from error
        except (TimeoutError, asyncio.CancelledError) as error:
            if (withdrawal := _withdrawal(booking)) is not None:
                self._db.post(partial(perform, withdrawal), partial(self._made_up, withdrawal))
            if isinstance(error, TimeoutError):
                reason = _UNAVAILABLE % f"no commit within {self._deadline_s:g} s"
                raise LedgerUnavailable(reason) from error
            raise
        self._make_up()
        return booked

    async def _ask(self, booking: Booking) -> Booked | None:
        """What a budget says, in relaxed mode; None when nobody can tell in time: then the attempt is made."""
        answer: asyncio.Future[Booked | None] = asyncio.get_running_loop().create_future()
        is_made = False

        def done(booked: Booked | None, error: StorageError | None) -> None:
            if not answer.done():
                answer.set_result(booked)
            elif is_made and isinstance(booked, OverBudget):
                self._spill(booking)
            self._posted(booking, booked, error)

        self._db.post(partial(perform, booking), done)
        try:
            async with asyncio.timeout(self._deadline_s):
                return await answer
        except TimeoutError:
            is_made = True
            return None
        except asyncio.CancelledError:
            if (withdrawal := _withdrawal(booking)) is not None:
                self._db.post(partial(perform, withdrawal), partial(self._withdrawn, withdrawal))
            raise

    def _withdrawn(self, withdrawal: Booking, booked: Booked | None, error: StorageError | None) -> None:
        if error is not None and (not isinstance(error, Conflict) or withdrawal.exchange_id in self._spilled):
            self._spill(withdrawal)

    def _post(self, booking: Booking) -> None:
        if booking.exchange_id in self._spilled:
            self._spill(booking)  # it must not overtake what is there
        else:
            self._db.post(partial(perform, booking), partial(self._posted, booking))

    def _posted(self, booking: Booking, booked: Booked | None, error: StorageError | None) -> None:
        if error is None:
            if booked is False:
                self._count_ignored(booking.exchange_id)
            self._make_up()
        elif isinstance(error, Conflict) and booking.exchange_id not in self._spilled:
            self.lost += 1
        else:
            self._spill(booking)

    # --- what the database did not take

    def _spill(self, booking: Booking, on_slate: Leaving | None = None) -> None:
        """Let the journal have *booking*; what stands *on_slate* stays there until it does."""

        def told(error: StorageError | None) -> None:
            if error is not None:
                self._missed(booking)
            if on_slate is None:
                return
            if error is None:
                self._wipe(on_slate)
            else:
                self._unwritten[on_slate.id] = on_slate

        if self.journal is None:
            self._missed(booking)
            if on_slate is not None:
                self._unwritten[on_slate.id] = on_slate
            return
        self._spilled.add(booking.exchange_id)
        self.journal.append(encode(booking), told)

    def _missed(self, booking: Booking) -> None:
        self.lost += 1
        if booking.what == "settle":
            self._keep(booking)

    def _keep(self, booking: Booking) -> None:
        kept = self._late.get(booking.exchange_id)
        if kept is not None and kept.what == "open" and booking.what == "settle":
            booking = kept._replace(
                what="whole", ended=booking.ended, settled=booking.settled, ended_us=booking.at_us, is_late=True
            )
        if kept is not None or len(self._late) < LATE:
            self._late[booking.exchange_id] = booking

    def _make_up(self) -> None:
        """Writes work: do what could not be done when it was time. What was settled after all stays so."""
        if self._late:
            late, self._late = self._late, {}
            for booking in late.values():
                self._db.post(partial(perform, booking), partial(self._made_up, booking))
        if self.journal is not None and self.journal.waiting and self._catching_up is None:
            self._catching_up = asyncio.create_task(self._catch_up_now())

    def _made_up(self, booking: Booking, settled: Booked | None, error: StorageError | None) -> None:
        if error is None:
            if (note := self._unwritten.pop(booking.exchange_id, None)) is not None:
                self._wipe(note)
            else:
                self.lost -= self.mode == "relaxed" and settled is True
        elif not isinstance(error, Conflict):
            self._keep(booking)

    async def _catch_up_now(self) -> None:
        try:
            await self.catch_up()
        except StorageError as error:  # the next write that succeeds begins anew
            logger.debug("the journal stays: %s", error)
        finally:
            self._catching_up = None

    async def _replay(self, lines: Sequence[bytes]) -> int:
        """Do what *lines* of the journal say; how many of them could be done."""
        bookings: list[Booking] = []
        for line in lines:
            try:
                bookings.append(decode(line))
            except ValueError as error:
                logger.error("the ledger's journal: %s", error)
        exchanges = by_exchange(bookings)
        missed = 0
        for place in range(0, len(exchanges), TOGETHER):
            part = exchanges[place : place + TOGETHER]
            work = [self._db.write(partial(replay, each)) for each in part]
            for each, told in zip(part, await asyncio.gather(*work, return_exceptions=True), strict=True):
                if isinstance(told, Conflict):
                    missed += len(each)
                elif isinstance(told, BaseException):
                    raise told
                else:
                    missed += told
        return len(bookings) - missed

    def _count_ignored(self, exchange_id: str) -> None:
        self.ignored += 1
        logger.warning("%s was not open when it was settled; the second settlement is ignored", exchange_id)

    def _now_us(self) -> int:
        return int(self._now() * 1_000_000)


def _joint(notes: Sequence[Leaving]) -> Joint[Answered] | Joint[Given]:
    """What writes the answers to *notes*, all of one kind."""
    answers: list[Any] = [note.answered for note in notes]
    return Joint(perform_all, answers) if isinstance(notes[0], Note) else Joint(record_all, answers)


def _tell(booked: asyncio.Future[LedgerUnavailable | None], error: LedgerUnavailable | None) -> None:
    if not booked.done():
        booked.set_result(error)


def _is_known(line: bytes) -> bool:
    """Whether this version can read *line*."""
    try:
        decode(line)
    except ValueError:
        return False
    return True


def _withdrawal(booking: Booking) -> Booking | None:
    """What undoes it, where the caller is gone before anything was sent: nothing is owed. None: nothing is to undo."""
    why, leaving = "gone before it was sent", booking.leaving
    gone = () if leaving is None else (SettledAttempt(leaving.exchange_id, leaving.number, "aborted", 0, error=why),)
    match booking.what:
        case "open":
            settled = SettledExchange(booking.exchange_id, "aborted", error=why)
            return Booking("settle", booking.exchange_id, booking.at_us, ended=gone, settled=settled)
        case "open_attempt":
            return Booking("settle_attempt", booking.exchange_id, booking.at_us, ended=gone)
        case _:
            return None
