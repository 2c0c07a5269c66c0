"""How many tokens a request has: the vendor's own count where it offers one in the client's dialect, else an estimate.

The vendors' counts are free, and so booked at no cost. Where a vendor cannot be asked just now the estimate serves:
clients ask before every turn, and a count is an aid, not an answer.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Final

from aiohttp import web

from proxy.asked import Asked
from proxy.budgeting import Load
from proxy.calls import Short, call
from proxy.chain import first_answer, resolve
from proxy.errors import Refused
from proxy.ingress.json import json_response
from proxy.opening import Matter, new_exchange, nothing_counted
from proxy.prepare import dialect_for
from proxy.server import Incoming
from proxy.services import Services
from proxy.setup import Key, Setup
from proxy.vendor_headers import understood, with_query
from routing.errors import AttemptFailed
from routing.targets import Route, Target
from storage.errors import LedgerUnavailable
from translators.codec import JsonError, loads_object, type_name
from translators.dialects import BACKENDS
from translators.neutral import Failure
from translators.tokens import estimate_request, family

DIALECT: Final = "count"
"""How the ledger calls these exchanges."""
SOURCE_HEADER: Final = "x-modelport-count"
"""Who counted: `vendor` or `estimate`."""
_TAKEN_FOR_ESTIMATE: Final = frozenset({400, 404, 413, 422})
"""Statuses of a vendor that are the client's business; any other leads to the estimate."""


async def count(
    services: Services, incoming: Incoming, asked: Asked, render: Callable[[int], dict[str, Any]]
) -> web.StreamResponse:
    """The count of *asked*, as the vendor tells it or as *render* writes an estimate.

    Raises:
        Refused: the model is unknown, or the vendor finds the request wrong.
    """
    with services.setup.used() as setup:
        route = resolve(setup, asked.request.model, asked.controls, incoming.identity)
        countable = [target for target in route.targets if _path(setup, asked, target)]
        if countable and countable[0] is route.targets[0]:
            try:
                return await _by_vendor(services, setup, incoming, asked, render, route=route, targets=countable)
            except Refused as error:
                if error.failure.status in _TAKEN_FOR_ESTIMATE and error.failure.kind != "not_found":
                    raise
            except LedgerUnavailable:
                pass
        first = route.targets[0]
        if asked.memory:
            asked.memory.check(dialect_for(asked.request, setup.specs[first.provider], first.model))
        tokens = await asyncio.to_thread(estimate_request, asked.request, family(first.model))
        response = json_response(render(tokens.tokens), incoming.id)
        response.headers[SOURCE_HEADER] = "estimate"
        return response


def _path(setup: Setup, asked: Asked, target: Target) -> str:
    """Where *target*'s vendor counts in the client's dialect; empty where it does not."""
    spec = setup.specs[target.provider]
    own = asked.request.dialect
    return spec.path(own, target.model, "count") if own in spec.speaks and spec.backend == "http" else ""


async def _by_vendor(
    services: Services,
    setup: Setup,
    incoming: Incoming,
    asked: Asked,
    render: Callable[[int], dict[str, Any]],
    *,
    route: Route,
    targets: list[Target],
) -> web.StreamResponse:
    matter = Matter(DIALECT, asked.controls, nothing_counted, input_estimate=0, load=Load(lambda: 0, free=True))
    exchange = new_exchange(services, setup, incoming, route, matter)

    async def attempt(target: Target, key: Key | None, deadline: float) -> bytes:
        spec, own = setup.specs[target.provider], asked.request.dialect
        rules = spec.rules(target.model, own)
        put = asked.memory.facing(asked, spec, own)[0] if asked.memory else asked
        relayed = put.dialect.relay_request(put.raw, put.body, put.request, rules, target.model)
        short = Short(
            "count",
            with_query(_path(setup, asked, target), asked.query),
            relayed.body,
            BACKENDS[own].parse_error,
            {**rules.headers, **understood(asked.forward, spec, (own,))},
        )
        raw, made = await call(setup, exchange, target, key, deadline, short=short)
        made.cost_nanousd = 0
        try:
            _check(raw, render)
        except JsonError as error:
            failure = Failure("invalid_response", f"the count: {error}", 502)
            exchange.failed(made, failure)
            raise AttemptFailed(failure) from error
        return raw

    try:
        raw = await first_answer(services, setup, route, exchange, targets=targets, attempt=attempt)
        await exchange.settle("ok")
    finally:
        if exchange.attempts and not exchange.settled:
            services.spawn(exchange.settle("aborted"))
    headers = {"content-type": "application/json", "x-content-type-options": "nosniff", SOURCE_HEADER: "vendor"}
    return web.Response(body=raw, headers={**headers, **exchange.vendor_headers, **exchange.headers(final=True)})


def _check(raw: bytes, render: Callable[[int], dict[str, Any]]) -> None:
    """Raises JsonError where *raw* is no answer with the number that *render* writes: an error with status 200, say."""
    told = loads_object(raw)
    for name, number in render(0).items():
        if number == 0 and type(told.get(name)) is not int:
            raise JsonError(f"{name}: expected a number, found {type_name(told.get(name))}")
