"""The way of a shape: all that its requests have in common on the wire and in the books, made once.

A way ends with the shape that it belongs to. It has one `Lead` for each key of its provider.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final, NamedTuple

from proxy.asked import EVENT_STREAM
from proxy.backends.backend import Call, Timeouts
from proxy.backends.callers import Direct
from proxy.backends.http import HttpBackend
from proxy.delivery import STREAM_HEADERS, WHOLE_HEADERS
from proxy.exchange import RATE_HEADERS, header_text
from proxy.transport import Deadlines
from routing.limits import rests_for_s
from storage.bookings import Form, OpenAttempt, OpenExchange, form_of
from storage.spilled import NotedForm
from translators.codec import loads_object
from translators.neutral import Usage

if TYPE_CHECKING:
    from proxy.fast.plain import Counts
    from proxy.fast.shapes import Shape
    from proxy.services import Services
    from proxy.setup import Key
    from routing.pricing import PriceBook
    from routing.pricing.rates import Price

_SHORT: Final = 40
_RATE: Final = tuple(name.encode() for name in RATE_HEADERS)
_HEADERS: Final = 4096
"""Vendors' headers that are remembered."""


class Lead(NamedTuple):
    """What requests with one key begin with: how they are sent, and how they are noted."""

    direct: Direct
    noted: NotedForm


class Bill(NamedTuple):
    """What an answer cost, by which price: where that comes from, and its version."""

    nanousd: int
    source: str
    version: str


@dataclass(slots=True, eq=False)
class Way:
    """The way to one target for the requests of one shape."""

    services: Services
    shape: Shape
    backend: HttpBackend
    deadlines: Deadlines
    front: bytes
    """Of every answer: its first lines."""
    middle: bytes
    """Behind the request's id: what the proxy tells of it, up to the cost of a whole answer."""
    leads: dict[int | None, Lead] = field(default_factory=dict)
    _price: Price | None = None
    _plain: tuple[int, int, int] | None = None
    _priced: tuple[PriceBook, int, str | None] | None = None

    def lead(self, key: Key | None) -> Lead | None:
        """What requests with *key* begin with; None where they cannot be sent without waiting for something."""
        index = key.index if key else None
        found = self.leads.get(index)
        if found is None:
            direct = self.backend.direct(self.call(key))
            if direct is not None:
                found = self.leads[index] = Lead(direct, NotedForm(self._form(key)))
        return found

    def call(self, key: Key | None) -> Call:
        """A call with *key*, but for its body."""
        prepared, clocks = self.shape.prepared, self.deadlines
        timeouts = Timeouts(clocks.connect_s, clocks.head_s, clocks.head_s, clocks.idle_s, clocks.total_s)
        return Call(
            model=prepared.target.model,
            body=b"",
            stream=prepared.stream,
            path=prepared.path,
            key=key.secret if key else None,
            headers=prepared.headers,
            timeouts=timeouts,
        )

    def _form(self, key: Key | None) -> Form:
        shape = self.shape
        identity, target = shape.identity, shape.prepared.target
        opened = OpenExchange(
            "",
            shape.request.dialect,
            route=shape.route.name,
            key_id=identity.key_id,
            team=identity.team,
            organisation=identity.organisation,
            tags=dict(identity.tags),
            stream=shape.request.stream,
        )
        return form_of(opened, OpenAttempt("", 1, target.provider, target.model, key.index if key else None))

    # --- of an answer

    def bill(self, counts: Counts) -> Bill | None:
        """What an answer cost; None where that is no matter of a price and its counts."""
        services, target = self.services, self.shape.prepared.target
        prices = services.prices
        if prices.vendor_cost == "always" or (services.warming is not None and not services.warming.done()):
            return None
        if counts.usage is not None:
            cost = prices.cost(target.provider, target.model, counts.usage, datetime.now(UTC))
            return None if cost is None else Bill(cost.nanousd, cost.source, cost.version)
        moment = (prices, int(time.time()), counts.tier)
        if moment != self._priced:
            served = {} if counts.tier is None else {"service_tier": counts.tier}
            self._price = prices.price(target.provider, target.model, datetime.now(UTC), served)
            self._plain = self._price.plain if self._price is not None else None
            self._priced = moment
            if self._price is not None:
                prices.tell(self._price)
        price, plain = self._price, self._plain
        if price is None:
            return None
        prompt, cached, output, *_ = counts
        if plain is not None:
            nanousd = (prompt - cached) * plain[0] + cached * plain[1] + output * plain[2]
            return Bill(nanousd, price.source, price.version)
        priced = price.nanousd(
            Usage(prompt, output, cached, reasoning_tokens=counts.reasoning_tokens, raw=loads_object(counts.raw))
        )
        return None if priced is None else Bill(priced, price.source, price.version)


def way_of(services: Services, shape: Shape) -> Way | None:
    """The way for *shape*; None where its provider is not called over HTTP by our own client."""
    prepared = shape.prepared
    backend = shape.setup.backends[prepared.target.provider]
    if not isinstance(backend, HttpBackend) or prepared.rules.think_tags:
        return None
    clocks, allowed_s = prepared.spec.timeouts, shape.allowed_s
    streams = shape.request.stream
    answer_s = min(clocks.first_event_s if streams else clocks.whole_answer_s, clocks.total_s, allowed_s)
    deadlines = Deadlines(clocks.connect_s, answer_s, clocks.idle_s, answer_s, min(clocks.total_s, allowed_s))
    told = {
        "x-modelport-route": header_text(shape.route.name),
        "x-modelport-attempts": "1",
        "x-modelport-cache": "bypass",
        "x-modelport-target": header_text(prepared.target.name),
    }
    kind = {"content-type": EVENT_STREAM, **STREAM_HEADERS} if streams else WHOLE_HEADERS
    front = "HTTP/1.1 200 OK\r\n" + "".join([f"{name}: {value}\r\n" for name, value in kind.items()])
    middle = "".join([f"\r\n{name}: {value}" for name, value in told.items()])
    middle += "\r\n" if streams else "\r\nx-modelport-cost-usd: "
    return Way(services, shape, backend, deadlines, front.encode(), middle.encode())


_told: dict[tuple[bytes, bytes], bytes | None] = {}
"""Headers of vendors, to the lines in which they are told further: none, as a rule. None: they want a closer look."""


def vendor_lines(headers: Sequence[tuple[bytes, bytes]]) -> bytes | None:
    """The vendor's rate-limit headers as lines; None where they, or how the body is packed, want a closer look."""
    lines: list[bytes] = []
    for header in headers:
        line = _told[header] if header in _told else _learn(header)
        if line is None:
            return None
        if line:
            lines.append(line)
    if len(lines) > 1 and len({line.partition(b":")[0] for line in lines}) < len(lines):
        return None
    return b"".join(lines)


_PACKED: Final = b"content-encoding"
_SAFE: Final = frozenset(b"0123456789.:smhdTZ+- ")
"""What numbers, times and moments are written with; no secret is."""


def _learn(header: tuple[bytes, bytes]) -> bytes | None:
    name, value = header
    lower = name.lower()
    line: bytes | None = b""
    if lower == _PACKED or lower.startswith(_RATE):
        safe = lower != _PACKED and len(value) <= _SHORT and value.isascii() and _SAFE.issuperset(value)
        line = b"%b: %b\r\n" % (lower, value) if safe else None
    if len(_told) >= _HEADERS:
        _told.clear()
    _told[header] = line
    return line


def leaves_nothing(lines: bytes, now: float) -> float | None:
    """For how long a key has nothing left, as *lines* of `vendor_lines` tell; see `rests_for_s`."""
    if b": 0" not in lines:
        return None
    pairs = (line.partition(": ")[::2] for line in lines.decode().splitlines())
    return rests_for_s(dict(pairs), now)
