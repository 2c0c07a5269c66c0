"""The books of a request, as they begin."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from proxy.admission import Admission
from proxy.budgeting import Load, Spending
from proxy.chain import time_allowed_s
from proxy.controls import Controls
from proxy.exchange import Exchange
from proxy.server import Incoming
from proxy.services import Services
from proxy.setup import Setup
from routing.targets import Route, Target
from storage.ledger import CacheUse


@dataclass(frozen=True, slots=True)
class Matter:
    """What is asked, as far as the books care.

    *count* gives the tokens of what is sent as a model counts them (for a thread, it takes its time),
    *input_estimate* what is booked for them should the process die, *load* what budgets have to have room for.
    """

    dialect: str
    controls: Controls
    count: Callable[[str], int]
    input_estimate: int
    load: Load
    stream: bool = False


def nothing_counted(_model: str) -> int:
    """The *count* of what costs nothing."""
    return 0


def new_exchange(
    services: Services, setup: Setup, incoming: Incoming, route: Route, matter: Matter, *, cache: CacheUse = "bypass"
) -> Exchange:
    """The books of one request to *route*, not yet opened.

    Raises:
        Refused: the limits of its key have no room for the tokens that it may take.
    """
    if cache != "hit":
        incoming.metered.reserve(matter.load)
    deadline = time.monotonic() + time_allowed_s(setup, route, matter.controls)
    exchange = Exchange(
        services.ledger,
        id=incoming.id,
        started=incoming.started,
        identity=incoming.identity,
        dialect=matter.dialect,
        stream=matter.stream,
        count=matter.count,
        controls=matter.controls,
        route=route.name,
        cache=cache,
        client_request_id=incoming.client_request_id,
        input_estimate=matter.input_estimate,
        deadline=deadline,
        clean=setup.redactor.clean,
        seen=incoming.metered.watch(services.seen),
        spending=_spending(services, setup, incoming, route, matter),
        admission=Admission(setup.gates, setup.rings, incoming.identity.key_id or "", matter.load, deadline),
    )
    exchange.on_ended = services.endings.ended
    exchange.queued_s = incoming.queued_s
    if services.endings.telemetry is not None:
        exchange.trace_parent = incoming.http.headers.get("traceparent")
    return exchange


def _spending(services: Services, setup: Setup, incoming: Incoming, route: Route, matter: Matter) -> Spending | None:
    """What the exchange asks of the budgets; None when there are none."""
    book = services.budget_book
    if not book:
        return None

    def most_output(target: Target) -> int | None:
        return setup.specs[target.provider].rules(target.model).max_output_tokens

    tags = {**matter.controls.tags, **incoming.identity.tags}
    common = book.of(incoming.identity, tags, route.name)
    return Spending(
        book,
        common,
        matter.load,
        services.prices,
        most_output,
        services.watch.refused,
        services.warming,
        services.bills,
    )
