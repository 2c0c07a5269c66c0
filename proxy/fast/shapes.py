"""Shapes: all of a request's body but its conversation, and how the careful way has sent such a request on.

The neutral request, the rules of the target and so the whole way follow from the shape alone as long as the
conversation is nothing but text, and short enough for the target to hold whatever it says.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple

import msgspec

from proxy.asked import EVENT_STREAM
from proxy.conforming import must_be_checked
from proxy.controls import Controls
from proxy.requestlog import wanted
from proxy.server import Foreword
from translators.codec import member_span

if TYPE_CHECKING:
    from proxy.asking import Begun, Committed
    from proxy.budgeting import BudgetBook
    from proxy.exchange import Exchange
    from proxy.fast.ways import Way
    from proxy.identity import Identity
    from proxy.metering import Metered
    from proxy.pipeline import Errand
    from proxy.prepare import Prepared
    from proxy.server import Incoming
    from proxy.services import Services
    from proxy.setup import Setup
    from routing.catalog import Known
    from routing.targets import Names, Route
    from translators.neutral import Request

TENANTS: Final = 1024
EACH: Final = 16
"""Shapes of one tenant; more than a program writes."""
MOST_MESSAGES: Final = 10_000
MOST_BYTES: Final = 256 * 1024
"""A larger body is parsed in a thread, in the careful way."""
PLAIN_ROLES: Final = frozenset({"system", "user", "assistant"})
MEMBERS: Final = frozenset({"role", "content"})


class Around(NamedTuple):
    """The bytes of a body before and behind its conversation."""

    before: bytes
    after: bytes

    def inner(self, raw: bytes) -> bytes | None:
        """What stands between them in *raw*, which may be a conversation; None where *raw* is not of this kind."""
        if not raw.startswith(self.before) or not raw.endswith(self.after):
            return None
        inner = raw[len(self.before) : len(raw) - len(self.after)]
        return inner if inner[:1] == b"[" and inner[-1:] == b"]" else None

    def of(self, inner: bytes) -> bytes:
        """A body around the conversation *inner*."""
        return b"".join((self.before, inner, self.after))


def around(raw: bytes) -> Around | None:
    """What stands around the conversation of *raw*; None where any of its members is given twice."""
    span = member_span(raw, "messages")
    return Around(raw[: span[0]], raw[span[1] :]) if span else None


@dataclass(slots=True, eq=False)
class Shape:
    """How requests of one shape by one *identity* are sent on. It holds as long as everything it follows from does.

    *asked* is what stands around their conversation as the client writes it, *sent* as the target gets it. *prepared*,
    *request* and *options* are those of the first one, without its conversation.
    """

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
    """A body of that many bytes surely fits into what the target can read."""
    allowed_s: float
    remembers: bool
    """Whether a conversation with turns of a model is looked up in the reasoning vault."""
    way: Way | None = None
    """How its requests are sent and booked, as soon as there was one."""

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
    """Of a whole request under a plain head, for the careful way: it may learn its shape, or goes on with *opened*."""

    opened: Opened | None = None


def opened_by_lane(incoming: Incoming) -> Opened | None:
    """The exchange that the lane has opened for *incoming*."""
    return incoming.foreword.opened if isinstance(incoming.foreword, Opening) else None


def close_opened(services: Services, opened: Opened) -> None:
    """Close the books of an exchange with which nobody went on."""
    opened.metered.close(free=False)
    if not opened.exchange.settled:
        services.spawn(services.settle_partial(opened.exchange, None, "aborted", None))


def plain_messages(messages: Any) -> bool:
    """Whether a conversation is nothing but text."""
    if type(messages) is not list or not 0 < len(messages) <= MOST_MESSAGES:
        return False
    for message in messages:
        if type(message) is not dict or message.keys() != MEMBERS:
            return False
        if type(message["content"]) is not str or message["role"] not in PLAIN_ROLES:
            return False
    return True


class _Said(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    role: Literal["system", "user", "assistant"]
    content: str


_EMPTY: Final = len('{"role":"","content":""}')
_conversation: Final = msgspec.json.Decoder(list[_Said]).decode


def _says_twice(inner: bytes, messages: list[_Said]) -> bool:
    """Whether a member stands twice in one of plain *messages*, which are *inner*: nobody knows who reads which.

    Of the least length there is no room for more. Else: a message has eight quotes of its own, and more of them are in
    its text, or in a member that was read over.
    """
    least = len(messages) + 1
    for message in messages:
        least += _EMPTY + len(message.role) + len(message.content)
    if least == len(inner):
        return False
    quotes = inner.count(b'"') - 8 * len(messages)
    if not quotes:
        return False
    return b"\\u0022" in inner or quotes != sum([message.content.count('"') for message in messages])


class Found(NamedTuple):
    """A known *shape*, and the conversation in it: as JSON, and read."""

    shape: Shape
    inner: bytes
    messages: list[_Said]

    @property
    def has_turns(self) -> bool:
        """Whether a model has spoken in it."""
        return any(message.role == "assistant" for message in self.messages)


class Shapes:
    """The shapes that were learnt, by who sends them, newest first. *ridden* counts what the lane has answered."""

    def __init__(self) -> None:
        self.ridden = 0
        self._known: dict[str, list[Shape]] = {}

    def find(self, services: Services, identity: Identity, raw: bytes) -> Found | None:
        """The shape of *raw*, if it is known and still holds."""
        for shape in self._known.get(identity.tenant, ()):
            inner = shape.asked.inner(raw)
            if inner is None:
                continue
            try:
                messages = _conversation(inner)
            except (msgspec.DecodeError, UnicodeDecodeError):
                continue  # more than the conversation, or more than text in it
            if not 0 < len(messages) <= MOST_MESSAGES or _says_twice(inner, messages):
                return None
            if shape.holds(services, identity):
                return Found(shape, inner, messages)
            self._known[identity.tenant].remove(shape)
            return None
        return None

    def learn(self, shape: Shape) -> None:
        """Remember *shape*."""
        tenant = shape.identity.tenant
        known = [each for each in self._known.pop(tenant, ()) if each.asked != shape.asked]
        while len(self._known) >= TENANTS:
            del self._known[next(iter(self._known))]
        self._known[tenant] = [shape, *known][:EACH]

    def __len__(self) -> int:
        return sum(map(len, self._known.values()))


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
    plain = (
        errand.place is None
        and setup is services.setup
        and asked.controls == Controls()
        and asked.memory is None
        and prepared.stream == asked.request.stream
        and not (prepared.stream and (asked.stream_type != EVENT_STREAM or setup.resumes(route.name)))
        and route.policy == "failover"
        and route.targets[0] == target
        and len(exchange.attempts) == 1
        and prepared.verbatim
        and prepared.fan_out == 1
        and not prepared.unlike
        and not prepared.tool_names
        and not exchange.losses
        and not exchange.more_headers
        and not must_be_checked(asked.request, prepared)
        and not wanted(setup.loaded.settings, identity, route.name)
        and plain_messages(asked.body.get("messages"))
        and services.limits.messages >= MOST_MESSAGES
        and not services.budget_book.of(identity, identity.tags, route.name)
        and not services.budget_book.of_provider(target.provider)
        and (gate is None or not gate.limited)
    )
    outer, sent = (around(asked.raw), around(prepared.body)) if plain else (None, None)
    if outer is None or sent is None or sent.inner(prepared.body) != outer.inner(asked.raw):
        return None
    rules = prepared.rules
    return Shape(
        identity,
        setup,
        setup.names,
        services.overlay.of(target.provider, target.model),
        services.budget_book,
        route,
        replace(prepared, body=b""),
        replace(asked.request, messages=()),
        {name: value for name, value in asked.body.items() if name != "messages"},
        outer,
        sent,
        min(MOST_BYTES, rules.context_tokens or MOST_BYTES, services.max_body),
        errand.time_allowed_s,
        setup.loaded.settings.memory.reasoning and rules.reasoning_replay != "never",
    )
