"""Bookings that the database could not take: as lines of the journal, and done afterwards.

An exchange whose process was killed is half in the database and half in the journal, and what was done already may
be done once more: `replay` adds only what is missing.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Sequence
from dataclasses import asdict, replace
from functools import lru_cache
from typing import Any, Final

from storage.bookings import (
    Answered,
    Booking,
    Form,
    Given,
    GivenForm,
    OpenAttempt,
    OpenExchange,
    SettledAttempt,
    SettledExchange,
    What,
    form_of,
    perform,
)
from storage.budgets import Budget
from storage.errors import Conflict
from translators.codec import dumps
from translators.losses import Loss

_ORDER: Final[dict[What, int]] = {
    "record": 0,
    "open": 0,
    "whole": 0,
    "open_attempt": 1,
    "settle_attempt": 2,
    "settle": 3,
}
"""A booking that was refused at once comes before an older one that was refused later."""


def encode(booking: Booking) -> bytes:
    """One line: whatever a vendor's text holds comes back as it was, also what is no UTF-8, in ASCII."""
    said = booking._asdict()
    try:
        return dumps(said)
    except TypeError:
        return json.dumps(said, default=asdict, separators=(",", ":")).encode()


class NotedForm:
    """The lines of the openings of one kind: what `encode` gives, made from what they have in common."""

    __slots__ = ("_template", "form")

    def __init__(self, form: Form) -> None:
        self.form = form
        opened = replace(form.opened, id=_NAME, input_estimate=_NUMBER)
        leaving = replace(form.leaving, exchange_id=_NAME)
        self._template = _template(Booking("open", _NAME, _MOMENT, opened, leaving))

    def line(self, exchange_id: str, at_us: int, input_estimate: int) -> bytes:
        """The line of one of them. The id is of letters, digits, `_` and `-`."""
        return (self._template % {"name": exchange_id, "at": at_us, "number": input_estimate}).encode()


class GivenLines:
    """The lines of records of one *form*, made in the same way."""

    __slots__ = ("_template", "form")

    def __init__(self, form: GivenForm) -> None:
        self.form = form
        like = Given(form, _NAME, _MOMENT, _WHOLE_MS, _FIRST_MS)
        self._template = _template(like.booking())

    def line(self, given: Given) -> bytes:
        """The line of one of them. The id is of letters, digits, `_` and `-`."""
        _, name, at_us, whole_ms, first_ms = given
        return (self._template % {"name": name, "at": at_us, "whole": whole_ms, "first": first_ms}).encode()


def _template(booking: Booking) -> str:
    """The line of *booking* with fields in the place of what no form has."""
    text = encode(booking).decode().replace("%", "%%")
    for mark, field in _FIELDS.items():
        text = text.replace(mark, field)
    return text


_quoted = lru_cache(maxsize=256)(dumps)
_ANSWERED: Final = (
    b'{"what":"answered","exchange_id":"%b","at_us":%d,"found":[%b,%d,%d,%d,%d,%d,%d,%b,%b,%d,%d],"raw":%b}'
)


def answered_line(answered: Answered) -> bytes:
    """The line of the settling of an answer: what is not the same for all of them."""
    cost = answered.cost_nanousd
    return _ANSWERED % (
        answered.id.encode(),
        answered.settled_us,
        b"null" if cost is None else b"%d" % cost,
        answered.http_status,
        answered.input_tokens,
        answered.cached_input_tokens,
        answered.cache_write_tokens,
        answered.output_tokens,
        answered.reasoning_tokens,
        _quoted(answered.price_source),
        _quoted(answered.price_version),
        int(answered.latency_ms * 1000),
        int(answered.first_event_ms * 1000),
        answered.raw_usage,
    )


_NO_FORM: Final = form_of(OpenExchange("", ""), OpenAttempt("", 1, "", ""))


def _answered(said: dict[str, Any]) -> Booking:
    """What `answered_line` was given, as the settling that it is; the line of its opening has the rest."""
    name, at_us = said["exchange_id"], said["at_us"]
    cost, *counts, source, version, whole_us, first_us = said["found"]
    raw, times_ms = dumps(said["raw"]), (whole_us / 1000, first_us / 1000)
    answered = Answered._make((_NO_FORM, name, at_us, at_us, 0, *counts, cost, source, version, raw, *times_ms))
    ended, settled = answered.ending()
    return Booking("settle", name, at_us, ended=(ended,), settled=settled, is_late=True)


_NAME: Final = "req_to_be_named"
_MOMENT: Final = 8_765_432_109_876_543
_NUMBER: Final = 876_543_210_987
_WHOLE_MS: Final = 87_654_321.0625
_FIRST_MS: Final = 76_543_210.0625
"""What stands in a template for what no form has."""
_FIELDS: Final = {
    f'"{_NAME}"': '"%(name)s"',
    str(_MOMENT): "%(at)d",
    str(_NUMBER): "%(number)d",
    str(_WHOLE_MS): "%(whole).3f",
    str(_FIRST_MS): "%(first).3f",
}


def decode(line: bytes) -> Booking:
    """What `encode` was given, now late.

    Raises:
        ValueError: another version of modelport wrote it.
    """
    try:
        said: dict[str, Any] = json.loads(line)
        if said["what"] == "answered":
            return _answered(said)
        if said["what"] not in _ORDER:
            raise KeyError(said["what"])
        opened, leaving, settled = said["opened"], said["leaving"], said["settled"]
        return Booking(
            said["what"],
            said["exchange_id"],
            said["at_us"],
            opened=OpenExchange(**opened) if opened else None,
            leaving=OpenAttempt(**leaving | {"budgets": tuple(map(_budget, leaving["budgets"]))}) if leaving else None,
            ended=tuple(SettledAttempt(**attempt) for attempt in said["ended"]),
            settled=SettledExchange(**settled | {"losses": tuple(Loss(**loss) for loss in settled["losses"])})
            if settled
            else None,
            is_late=True,
            ended_us=said.get("ended_us", 0),
        )
    except (TypeError, KeyError, ValueError) as error:
        raise ValueError(f"a booking that this version does not know: {error}") from error


def by_exchange(bookings: Iterable[Booking]) -> list[list[Booking]]:
    """Those of one exchange together, in the order of its life."""
    found: dict[str, list[Booking]] = {}
    for booking in bookings:
        found.setdefault(booking.exchange_id, []).append(booking)
    return [sorted(each, key=lambda booking: _ORDER[booking.what]) for each in found.values()]


def replay(bookings: Sequence[Booking], connection: sqlite3.Connection) -> int:
    """Do those of one exchange, as far as they are not done; how many cannot be, because the exchange is not there."""
    missed = 0
    for booking in bookings:
        try:
            perform(booking, connection)
        except Conflict:
            missed += 1
    return missed


def _budget(said: dict[str, Any]) -> Budget:
    return Budget(**said | {"alerts": tuple(said["alerts"])})
