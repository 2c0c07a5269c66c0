"""Hits of the cache that came before: their answers as ready-made bytes, given where the same request arrives again.

    bytes --> lane: head known, key valid --> the very same request was a hit before? --> is it still? --> given
                                                        |                                    |
                                                        +-------------- no ------------------+--> shapes, careful way

The careful way alone looks for answers, by keys that it makes of requests. When it has given one out of the cache, the
request's header block and body are remembered here with the answer's bytes: who sends both again means the same request
and would be given the same answer. That holds as long as all that it follows from is the same: who asks, configuration,
names, and the answer itself, which has to be what the cache still has in memory under the same key, and fresh. So what
removes or replaces an answer there (a purge, its age, a newer one, another worker) ends it here, with nobody told.

A hit asks nobody: it is noted on the ledger's slate, written, and told of at the end of the turn. It counts for the
limits of its key as any other, and is left to the careful way where a limit is reached, where it would be told of in
the log, and where the ledger does not take it.

What differs from hit to hit is filled in: the request's id, the answer's age, the limits of the key; and, where the
answer's vendor told neither id nor time of its own, these in the body.
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Final, NamedTuple

from proxy.answer import PIECE_BYTES
from proxy.delivery import STREAM_HEADERS, WHOLE_HEADERS, replayed
from proxy.envelopes import dialect_of, failure_headers
from proxy.errors import Refused
from proxy.fast.shapes import Opening
from proxy.fast.written import Written, answer, closing, ending, lines, open_ending
from proxy.metering import UNMETERED, Metered
from proxy.requestlog import wanted
from proxy.server import new_id
from proxy.vendor_ids import may_name
from storage.bookings import Given, given_form
from storage.spilled import GivenLines
from translators.codec import dumps
from translators.dialects import CLIENTS
from translators.neutral import Failure

if TYPE_CHECKING:
    from proxy.asked import Asked
    from proxy.caching import Hit
    from proxy.exchange import Exchange
    from proxy.identity import Identity
    from proxy.pipeline import Errand
    from proxy.services import Services
    from proxy.setup import Setup
    from proxy.stored import Stored
    from routing.targets import Names
    from storage.errors import LedgerUnavailable

MOST_BYTES: Final = 16 * 1024 * 1024
"""Of all requests and answers that are remembered."""
OVERHEAD: Final = 4096
"""What one takes besides its bytes, about."""
_IDS: Final = ("0123456789abcdef01234567", "89abcdef0123456789abcdef")
_TIMES: Final = (1_987_654_321, 1_876_543_210)
"""Ids and times that no answer has; two of each, to see what follows from them."""


class Body:
    """The body of an answer: the same bytes each time, but for its *id* and time where *differs*."""

    __slots__ = ("_bytes", "_differs", "size")

    def __init__(self, written: bytes, *, differs: bool) -> None:
        self._bytes = written
        self._differs = differs
        self.size = len(self.of(_IDS[0])) if differs else len(written)

    def of(self, answer_id: str) -> bytes:
        """The bytes of the answer that has this id, now."""
        if not self._differs:
            return self._bytes
        return self._bytes % {b"id": answer_id.encode(), b"at": int(time.time())}


def body_of(write: Callable[[str, int], bytes]) -> Body | None:
    """What *write* gives for an id and a time, in Unix seconds; None where more follows from them than themselves."""
    first, second = (write(*each) for each in zip(_IDS, _TIMES, strict=True))
    if first == second:
        return Body(first, differs=False)
    filled = first.replace(b"%", b"%%")
    filled = filled.replace(_IDS[0].encode(), b"%(id)b").replace(b"%d" % _TIMES[0], b"%(at)d")
    if filled % {b"id": _IDS[1].encode(), b"at": _TIMES[1]} != second:
        return None
    return Body(filled, differs=True)


@dataclass(frozen=True, slots=True, eq=False)
class Ready:
    """The answer to one request of one *identity*, which is a hit as long as *value* is what lies at its *place*."""

    identity: Identity
    setup: Setup
    names: Names
    place: bytes
    value: bytes
    route: str
    target: str
    saved_nanousd: int | None
    dialect: str
    """Whose envelope a failure comes in."""
    stream: bool
    kind: bytes
    """The first lines of its head."""
    told: bytes
    """What the proxy tells of it, from behind the request's id to before its age."""
    body: Body
    lines: GivenLines
    size: int
    """Bytes, about."""

    def holds(self, services: Services, identity: Identity) -> bool:
        """Whether nothing but perhaps the answer has changed."""
        setup = services.setup
        return self.identity is identity and setup is self.setup and setup.names is self.names

    def written(self, request_id: str, age_s: float, limits: bytes) -> bytes:
        """The whole answer. *limits*: lines of its head."""
        told = b"x-request-id: %b%b%d\r\n" % (request_id.encode(), self.told, age_s)
        body = self.body
        text = body.of(request_id.removeprefix("req_"))
        if self.stream:
            return b"".join((self.kind, limits, told, open_ending(), text))
        return b"".join((self.kind, told, limits, ending(body.size), text))


class Found(NamedTuple):
    """An answer that is given once more, and how old it is."""

    ready: Ready
    age_s: float


class Hits:
    """The hits that are remembered, by header block and body; what was not wanted for the longest time goes first."""

    def __init__(self, most_bytes: int = MOST_BYTES) -> None:
        self.ready: OrderedDict[tuple[bytes, bytes], Ready] = OrderedDict()
        self.size = 0
        """Bytes, about."""
        self._most_bytes = most_bytes
        self._given: dict[Ready, list[float]] = {}

    def find(self, services: Services, identity: Identity, head: bytes, body: bytes) -> Found | None:
        """The answer to a request, if it was a hit before and still is one."""
        request = head, body
        ready = self.ready.get(request)
        if ready is None:
            return None
        age_s = services.cache.age_s(ready.place, ready.value) if ready.holds(services, identity) else None
        if age_s is None:
            self.forget(request)
            return None
        self.ready.move_to_end(request)
        return Found(ready, age_s)

    def keep(self, head: bytes, body: bytes, ready: Ready) -> None:
        """Remember *ready* as the answer to a request."""
        request = head, body
        self.forget(request)
        self.ready[request] = ready
        self.size += ready.size
        while self.size > self._most_bytes:
            self.forget(next(iter(self.ready)))

    def forget(self, request: tuple[bytes, bytes]) -> None:
        """Forget the answer to *request*, if there is one."""
        ready = self.ready.pop(request, None)
        if ready is not None:
            self.size -= ready.size

    def given(self, services: Services, ready: Ready, latency_ms: float) -> None:
        """*ready* was given once more, after *latency_ms*; statistics hear of that at the end of the turn."""
        if not self._given:
            asyncio.get_running_loop().call_soon(self._tell, services)
        self._given.setdefault(ready, []).append(latency_ms)

    def _tell(self, services: Services) -> None:
        given, self._given = self._given, {}
        for ready, times_ms in given.items():
            services.cache.given_again(ready.place, len(times_ms))
            services.cache_use.given_again(ready.route, ready.target, ready.saved_nanousd, len(times_ms))
            services.endings.answered(times_ms, times_ms if ready.stream else ())


class Giving:
    """One hit on its way to its client. *arrived* is told, once, what came of it, where that takes its time."""

    __slots__ = ("_arrived", "_data", "_hits", "_latency_ms", "_metered", "_ready", "_services", "id")

    def __init__(self, services: Services, hits: Hits, ready: Ready, arrived: Callable[[Written], None]) -> None:
        self.id = new_id()
        self._services = services
        self._hits = hits
        self._ready = ready
        self._arrived = arrived
        self._metered = UNMETERED
        self._data = b""
        self._latency_ms = 0.0

    def begin(self, age_s: float, since: float | None) -> bytes | None:
        """Book it. The whole answer if that is done; b"": `arrived` hears of it. None: nothing was done.

        *since*: when it began to wait to be let in, by `time.perf_counter`; None where it did not.
        """
        services, ready, started = self._services, self._ready, since or time.perf_counter()
        limits = b""
        if meters := services.keyring.meters(ready.identity):
            try:
                self._metered = Metered(meters)
            except Refused:  # of which the careful way tells
                return None
            limits = self._metered.lines()
        self._data = ready.written(self.id, age_s, limits)
        latency_ms = self._latency_ms = (time.perf_counter() - started) * 1000
        booked: bool | None = None
        if services.endings.are_ordinary(latency_ms, latency_ms if ready.stream else 0.0):
            record = Given(ready.lines.form, self.id, int(time.time() * 1_000_000), latency_ms, latency_ms)
            booked = services.ledger.given(record, ready.lines.line(record), self._booked)
        if booked is None:
            self._metered.cancel()
            return None
        return self._done() if booked else b""

    def _done(self) -> bytes:
        """The books have it."""
        if self._metered is not UNMETERED:
            self._metered.close(free=True)
        self._hits.given(self._services, self._ready, self._latency_ms)
        return self._data

    def _booked(self, error: LedgerUnavailable | None) -> None:
        """The books have it now, or cannot have it."""
        if error is None:
            self._arrived(Written(200, self._done()))
            return
        self._metered.close(free=True)
        failure = Failure("overloaded", str(error), 503, "ledger_unavailable", retry_after_s=1)
        status, body = CLIENTS[self._ready.dialect].render_error(failure, self.id)
        self._arrived(answer(status, failure_headers(failure, self.id), dumps(body)))


# --- learning --------------------------------------------------------------------------------------


def learn(errand: Errand, hit: Hit, stored: Stored, exchange: Exchange) -> None:
    """Remember a hit that the careful way has given, where it would be given alike once more."""
    opening = errand.incoming.foreword
    hits = opening.hits if isinstance(opening, Opening) else None
    if isinstance(opening, Opening) and hits is not None and (ready := ready_of(errand, hit, stored, exchange)):
        hits.keep(opening.head, errand.asked.raw, ready)


def ready_of(errand: Errand, hit: Hit, stored: Stored, exchange: Exchange) -> Ready | None:
    """*hit* as a ready-made answer, as *exchange* told of it; None where there was more to it than that."""
    services, setup, asked, place = errand.services, errand.setup, errand.asked, errand.place
    identity = errand.incoming.identity
    told = exchange.headers(final=True)
    is_plain = (
        place is not None
        and hit.value is not None
        and services.cache.age_s(place.key, hit.value) is not None
        and asked.memory is None
        and setup is services.setup
        and not wanted(setup.loaded.settings, identity, exchange.route)
        and not may_name(asked.raw)  # whose the thing is that it names may change
        and next(iter(told)) == "x-request-id"
        and list(told)[-1] == "age"
    )
    if not is_plain or place is None or hit.value is None:
        return None
    body = body_of(partial(_written, asked, stored, exchange.receipt()))
    if body is None or body.size > PIECE_BYTES:
        return None
    stream = asked.request.stream
    kind = {"content-type": asked.stream_type, **STREAM_HEADERS} if stream else WHOLE_HEADERS
    http = errand.incoming.http
    return Ready(
        identity,
        setup,
        setup.names,
        place.key,
        hit.value,
        errand.route.name,
        stored.target,
        stored.cost_nanousd,
        dialect_of(http.rel_url.raw_path, http.headers),
        stream,
        f"HTTP/1.1 200 OK\r\n{lines(kind)}".encode(),
        _between(told),
        body,
        GivenLines(given_form(*exchange.rows())),
        len(asked.raw) + body.size + OVERHEAD,
    )


def _written(asked: Asked, stored: Stored, receipt: bytes, answer_id: str, created: int) -> bytes:
    """The answer's body, as `Delivery` writes it to a client whose answers have this id and time."""
    asked = replace(asked, id=answer_id, created=created)
    if asked.request.stream:
        return closing(replayed(asked, stored.response, receipt))
    own = stored.dialect == asked.request.dialect
    return (stored.payload if own else None) or asked.whole(stored.response)


def _between(told: Mapping[str, str]) -> bytes:
    """The lines of *told* from behind the value of the first to before the value of the last."""
    between = dict(list(told.items())[1:-1])
    return f"\r\n{lines(between)}{list(told)[-1]}: ".encode()
