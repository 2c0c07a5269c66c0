"""Shapes: all of a request's body but its conversation and instructions, and how the careful way has sent it on.

The neutral request, the rules of the target and so the whole way follow from the shape alone as long as the
conversation is nothing but words, and short enough for the target to hold whatever it says. One of more than words is
read (`conversations`), and looked at for each target (`suits`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import msgspec

from proxy.asked import EVENT_STREAM
from proxy.conforming import must_be_checked
from proxy.controls import Controls
from proxy.fast.around import Around, around
from proxy.fast.conversations import Read, is_readable, read
from proxy.fast.dialects import BY_NAME, Manner, Speech
from proxy.fast.words import Said, says_twice
from proxy.requestlog import wanted
from proxy.server import Foreword
from proxy.vendor_ids import may_name
from translators.tokens import rough_request

if TYPE_CHECKING:
    from proxy.asking import Begun, Committed
    from proxy.budgeting import BudgetBook
    from proxy.exchange import Exchange
    from proxy.fast.hits import Hits
    from proxy.fast.ways import Way
    from proxy.identity import Identity
    from proxy.metering import Metered
    from proxy.pipeline import Errand
    from proxy.prepare import Prepared
    from proxy.server import Incoming
    from proxy.services import Services
    from proxy.setup import Setup
    from routing.catalog import Known
    from routing.targets import Names, Route, Target
    from translators.neutral import Request

ASKERS: Final = 1024
"""Tenants, as often as they ask in several manners."""
EACH: Final = 32
"""Shapes of one of them: a program writes few, but some write the name of their session into each."""
MOST_KEPT: Final = 32 * 1024 * 1024
"""Bytes of all shapes."""
MOST_MESSAGES: Final = 10_000
MOST_BYTES: Final = 256 * 1024
"""A larger body is parsed in a thread, in the careful way."""


@dataclass(slots=True, eq=False)
class Shape:
    """How requests of one shape by one *identity* are sent on. It holds as long as everything it follows from does.

    *asked* is what stands around their conversation as the client writes it, *sent* as the target gets it. *prepared*,
    *request* and *options* are those of the first one, without its conversation and instructions.
    """

    manner: Manner
    speech: Speech
    identity: Identity
    setup: Setup
    names: Names
    known: Known
    book: BudgetBook
    route: Route
    prepared: Prepared
    request: Request
    options: Mapping[str, Any]
    asked: Around
    sent: Around
    most_bytes: int
    """Of a body. One of no more bytes than its target reads tokens surely fits; for others see `has_room`."""
    allowed_s: float
    remembers: bool
    """Whether of every conversation with turns of a model is looked up what the reasoning vault has."""
    names_things: bool
    """Whether what stands around the conversation may name things that vendors keep."""
    way: Way | None = None
    """How its requests are sent and booked, as soon as there was one."""
    stand_ins: tuple[Shape, ...] = ()
    """Of the same requests, as they are sent to later targets of the route while those before them are passed over."""

    @property
    def size(self) -> int:
        """Bytes that it keeps of requests, with its stand-ins; what is made of them takes a few times that."""
        return self.asked.size + self.sent.size + sum(each.size for each in self.stand_ins)

    def has_room(self, found: Found) -> bool:
        """Whether *found* is not too long, nor so near to what the target reads that it has to be counted."""
        room = self.prepared.rules.context_tokens
        return found.size <= self.most_bytes and (room is None or found.size <= room or found.tokens <= room)

    def holds(self, services: Services, identity: Identity) -> bool:
        """Whether nothing that it follows from has changed."""
        setup = services.setup
        return (
            self.identity is identity
            and setup is self.setup
            and setup.names is self.names
            and services.overlay.of(self.prepared.target.provider, self.prepared.target.model) is self.known
            and services.budget_book is self.book
        )


@dataclass(slots=True)
class Opened:
    """An exchange that the lane has opened, whose first call has *begun* and failed."""

    exchange: Exchange
    metered: Metered
    started: float
    begun: Begun


@dataclass(slots=True)
class Opening(Foreword):
    """Of a whole request under a plain *head*, for the careful way: it may learn its shape, or goes on with *opened*.

    *hits*: where its answer is remembered if it is a hit of the cache. *since*: when it began to wait to be let in, by
    `time.perf_counter`; None where it did not.
    """

    opened: Opened | None = None
    hits: Hits | None = None
    head: bytes = b""
    since: float | None = None


def opened_by_lane(incoming: Incoming) -> Opened | None:
    """The exchange that the lane has opened for *incoming*."""
    return incoming.foreword.opened if isinstance(incoming.foreword, Opening) else None


def close_opened(services: Services, opened: Opened) -> None:
    """Close the books of an exchange with which nobody went on."""
    opened.metered.close(free=False)
    if not opened.exchange.settled:
        services.spawn(services.settle_partial(opened.exchange, None, "aborted", None))


class Found(NamedTuple):
    """A known *shape*, and what stands in it, as JSON: *pieces*. *size*: bytes of the whole body."""

    shape: Shape
    pieces: tuple[bytes, ...]
    size: int
    words: Sequence[Said] = ()
    """Its messages, where they are nothing but words."""
    read: Read | None = None
    """All of it, where there is more."""

    @property
    def tokens(self) -> int:
        """Roughly how many the request has."""
        request = self.read.request if self.read else self.shape.request
        return rough_request(request, [message.content for message in self.words]).tokens

    @property
    def has_turns(self) -> bool:
        """Whether a model has spoken in the words."""
        return any(message.role == "assistant" for message in self.words)


class Shapes:
    """The shapes that were learnt, by who sends them, and how, newest first.

    *ridden* counts what the lane has answered.
    """

    def __init__(self) -> None:
        self.ridden = 0
        self.size = 0
        """Bytes of what is kept."""
        self._known: dict[tuple[str, Manner], list[Shape]] = {}

    def find(self, services: Services, identity: Identity, manner: Manner, raw: bytes) -> Found | None:
        """The shape of *raw*, if it is known and still holds."""
        known = self._known.get((identity.tenant, manner), ())
        for shape in known:
            pieces = shape.asked.cut(raw)
            if pieces is None:
                continue
            words = _words(shape, pieces[0]) if len(pieces) == 1 else None
            if words is not None:
                if not 0 < len(words) <= MOST_MESSAGES or says_twice(pieces[0], words):
                    return None
                found = Found(shape, pieces, len(raw), words)
            elif (whole := read(shape, raw, pieces, services.limits)) is not None:
                found = Found(shape, pieces, len(raw), read=whole)
            else:
                continue  # more than the conversation, or more in it than is read here
            if shape.holds(services, identity):
                return found
            self._known[identity.tenant, manner].remove(shape)
            self.size -= shape.size
            return None
        return None

    def learn(self, shape: Shape) -> None:
        """Remember *shape*, in a row with those of the same requests for other targets."""
        who, asked = (shape.identity.tenant, shape.manner), shape.asked
        before = self._known.pop(who, [])
        self.size -= _size(before)
        known = [each for each in before if each.asked != asked]
        shape = _row(shape, [each for each in before if each.asked == asked])
        kept = [shape, *known][:EACH]
        self.size += _size(kept)
        while self._known and (len(self._known) >= ASKERS or self.size > MOST_KEPT):
            self.size -= _size(self._known.pop(next(iter(self._known))))
        self._known[who] = kept

    def __len__(self) -> int:
        return sum(map(len, self._known.values()))


def _size(shapes: Sequence[Shape]) -> int:
    return sum([shape.size for shape in shapes])


def _words(shape: Shape, conversation: bytes) -> Sequence[Said] | None:
    try:
        return shape.speech.words(conversation)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


def _row(newest: Shape, before: Sequence[Shape]) -> Shape:
    """The first of *newest* and those of *before*, in the order of their route, with the others as its stand-ins.

    What was learnt of another route, before the configuration changed, or of the same target, is left out.
    """
    found = {newest.prepared.target: newest}
    setup, identity = newest.setup, newest.identity
    for first in before:
        for shape in (first, *first.stand_ins):
            if shape.setup is setup and shape.identity is identity and shape.route == newest.route:
                found.setdefault(shape.prepared.target, shape)
    first, *others = [found[target] for target in newest.route.targets if target in found]
    newest.stand_ins = ()
    first.stand_ins = tuple(others)
    return first


def goes_first(services: Services, setup: Setup, route: Route, target: Target) -> bool:
    """Whether *target* is asked first now: those before it are passed over, as `routing.executor` does."""
    if len(route.targets) == 1:
        return True
    for each in services.steered(route.targets):
        if each == target:
            return True
        if services.breakers.of(each).ready and not setup.rings[each.provider].free_in_s(each.model):
            return False
    return False


def learn(errand: Errand, committed: Committed, exchange: Exchange) -> None:
    """Remember the shape of an ordinary request that the careful way has answered."""
    opening = errand.incoming.foreword
    if isinstance(opening, Opening) and (shape := shape_of(errand, committed, exchange)):
        errand.services.shapes.learn(shape)


def shape_of(errand: Errand, committed: Committed, exchange: Exchange) -> Shape | None:
    """The shape of a request; None where there was more to it than the fast lane can do.

    More is: a cache, losses, a translation, several calls or targets, a form that is checked, a log, limits, budgets.
    """
    services, setup, asked, route = errand.services, errand.setup, errand.asked, errand.route
    prepared, identity = committed.prepared, errand.incoming.identity
    target = prepared.target
    gate = setup.gates.get(target.provider)
    dialect = BY_NAME.get(asked.request.dialect)
    if dialect is None:
        return None
    plain = (
        errand.place is None
        and setup is services.setup
        and asked.controls == Controls()
        and asked.memory is None
        and prepared.stream == asked.request.stream
        and not (prepared.stream and (asked.stream_type != EVENT_STREAM or setup.resumes(route.name)))
        and route.policy == "failover"
        and target in route.targets
        and goes_first(services, setup, route, target)
        and len(exchange.attempts) == 1
        and prepared.verbatim
        and prepared.fan_out == 1
        and asked.request.n in (None, 1)
        and not prepared.unlike
        and not prepared.tool_names
        and not exchange.losses
        and not exchange.more_headers
        and not must_be_checked(asked.request, prepared)
        and not wanted(setup.loaded.settings, identity, route.name)
        and services.limits.messages >= MOST_MESSAGES
        and not services.budget_book.of(identity, identity.tags, route.name)
        and not services.budget_book.of_provider(target.provider)
        and (gate is None or not gate.limited)
    )
    if not plain or not all(map(is_readable, asked.request.messages)):
        return None
    outer, sent = around(asked.raw, dialect.varies), around(prepared.body, dialect.varies)
    if outer is None or sent is None or sent.names != outer.names or sent.cut(prepared.body) != outer.cut(asked.raw):
        return None
    rules = prepared.rules
    return Shape(
        Manner(dialect, asked.query, tuple(asked.forward.items())),
        dialect.speech,
        identity,
        setup,
        setup.names,
        services.overlay.of(target.provider, target.model),
        services.budget_book,
        route,
        replace(prepared, body=b""),
        replace(asked.request, messages=()),
        {name: value for name, value in asked.body.items() if name not in dialect.varies},
        outer,
        sent,
        min(MOST_BYTES, services.max_body),
        errand.time_allowed_s,
        setup.loaded.settings.memory.reasoning and (dialect.signs or rules.reasoning_replay != "never"),
        any(map(may_name, (outer.before, *outer.between, outer.after))),
    )
