"""Shapes: all of a request's body but its conversation, and how the careful way has sent such a request on.

The neutral request, the rules of the target and so the whole way follow from the shape alone as long as the
conversation is nothing but text, and short enough for the target to hold whatever it says.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

from proxy.conforming import must_be_checked
from proxy.controls import Controls
from proxy.requestlog import wanted
from proxy.server import Foreword
from translators.codec import JsonError, dumps, loads_object

if TYPE_CHECKING:
    from proxy.asking import Begun, Committed
    from proxy.exchange import Exchange
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

REMEMBERED: Final = 1024
MOST_MESSAGES: Final = 10_000
MOST_BYTES: Final = 256 * 1024
"""A larger body is parsed in a thread, in the careful way."""
PLAIN_ROLES: Final = frozenset({"system", "user", "assistant"})
MEMBERS: Final = frozenset({"role", "content"})
_MODEL: Final = re.compile(rb'"model"(\s*:\s*)"[^"\\]*"')


@dataclass(frozen=True, slots=True)
class Edit:
    """What is changed of a client's bytes: *old*, which stands in them once, becomes *new*; *tail* goes in at the end.

    An empty *old* changes nothing.
    """

    old: bytes
    new: bytes
    tail: bytes

    def of(self, raw: bytes) -> bytes | None:
        """*raw* after the change; None where it is not written as it was the first time."""
        if self.old:
            if raw.count(b'"model"') != 1 or self.old not in raw:
                return None
            raw = raw.replace(self.old, self.new, 1)
        if self.tail:
            return raw[:-1] + self.tail + b"}" if raw.endswith(b"}") else None
        return raw


def edit_between(raw: bytes, sent: bytes, model: str) -> Edit | None:
    """How *raw* became *sent*, for a target that calls the model *model*; None where more was done than an Edit can."""
    changed, old, new = raw, b"", b""
    if raw != sent and (found := _MODEL.search(raw)):
        old, new = found[0], b'"model"' + found[1] + dumps(model)
        old, new = (b"", b"") if old == new else (old, new)
        changed = raw.replace(old, new, 1) if old else raw
    tail = sent[len(changed) - 1 : -1] if len(sent) > len(changed) else b""
    edit = Edit(old, new, tail)
    return edit if edit.of(raw) == sent else None


@dataclass(frozen=True, slots=True)
class Shape:
    """How requests of one shape by one *identity* are sent on. It holds as long as everything it follows from does.

    *prepared* and *request* are those of the first one: their body, and their conversation, are another's.
    """

    identity: Identity
    setup: Setup
    names: Names
    known: Known
    route: Route
    prepared: Prepared
    request: Request
    edit: Edit
    most_bytes: int
    """A body of that many bytes surely fits into what the target can read."""
    allowed_s: float
    remembers: bool
    """Whether a conversation with turns of a model is looked up in the reasoning vault."""

    def holds(self, services: Services, identity: Identity) -> bool:
        """Whether nothing that it follows from has changed."""
        setup = services.setup
        return (
            self.identity is identity
            and setup is self.setup
            and setup.names is self.names
            and services.overlay.of(self.prepared.target.provider, self.prepared.target.model) is self.known
            and not services.budget_book
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
    """A whole, plain request for the careful way, which may learn its shape, or goes on with what was *opened*."""

    key: tuple[str, bytes]
    opened: Opened | None = None


def opened_by_lane(incoming: Incoming) -> Opened | None:
    """The exchange that the lane has opened for *incoming*."""
    return incoming.foreword.opened if isinstance(incoming.foreword, Opening) else None


def close_opened(services: Services, opened: Opened) -> None:
    """Close the books of an exchange with which nobody went on."""
    opened.metered.close(free=False)
    if not opened.exchange.settled:
        services.spawn(services.settle_partial(opened.exchange, None, "aborted", None))


def key_of(identity: Identity, body: Mapping[str, Any]) -> tuple[str, bytes] | None:
    """The name of the shape of *body*, as *identity* sends it; None where its conversation is more than text."""
    messages = body.get("messages")
    if type(messages) is not list or not 0 < len(messages) <= MOST_MESSAGES:
        return None
    for message in messages:
        if type(message) is not dict or message.keys() != MEMBERS:
            return None
        if type(message["content"]) is not str or message["role"] not in PLAIN_ROLES:
            return None
    return identity.tenant, dumps({name: value for name, value in body.items() if name != "messages"})


def has_turns(body: Mapping[str, Any]) -> bool:
    """Whether a model has spoken in the plain conversation of *body*."""
    return any(message["role"] == "assistant" for message in body["messages"])


def plain_object(raw: bytes) -> dict[str, Any] | None:
    """The JSON object that *raw* is; None where the careful way has something to say about it."""
    if len(raw) > MOST_BYTES:
        return None
    try:
        return loads_object(raw)
    except JsonError:
        return None


class Shapes:
    """The shapes that were learnt, by who sends them and what they are. *ridden* counts what the lane has answered."""

    def __init__(self) -> None:
        self.ridden = 0
        self._known: dict[tuple[str, bytes], Shape] = {}

    def find(self, services: Services, identity: Identity, key: tuple[str, bytes]) -> Shape | None:
        """The shape *key*, if it is known and still holds."""
        shape = self._known.get(key)
        if shape is not None and not shape.holds(services, identity):
            del self._known[key]
            return None
        return shape

    def learn(self, key: tuple[str, bytes], shape: Shape) -> None:
        """Remember *shape*."""
        if len(self._known) >= REMEMBERED:
            del self._known[next(iter(self._known))]
        self._known[key] = shape

    def __len__(self) -> int:
        return len(self._known)


def learn(errand: Errand, committed: Committed, exchange: Exchange) -> None:
    """Remember the shape of an ordinary request that the careful way has answered."""
    opening = errand.incoming.foreword
    if isinstance(opening, Opening) and (shape := shape_of(errand, committed, exchange)):
        errand.services.shapes.learn(opening.key, shape)


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
        and not asked.request.stream
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
        and not services.budget_book
        and (gate is None or not gate.limited)
    )
    edit = edit_between(asked.raw, prepared.body, target.model) if plain else None
    if edit is None:
        return None
    rules = prepared.rules
    return Shape(
        identity,
        setup,
        setup.names,
        services.overlay.of(target.provider, target.model),
        route,
        replace(prepared, body=b""),
        replace(asked.request, messages=()),
        edit,
        min(MOST_BYTES, rules.context_tokens or MOST_BYTES),
        errand.time_allowed_s,
        setup.loaded.settings.memory.reasoning and rules.reasoning_replay != "never",
    )
