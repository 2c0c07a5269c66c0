"""The way a request goes, from a parsed question to the answer's last byte.

    resolve the name -> the cache? -> open the books, ask the targets in order -> committed -> deliver -> settle

`answer` is the whole of it. What the parts do stands in their own modules: `attempt` (one target), `routing.executor`
(which one next), `exchange` (the books), `delivery` (bytes to the client).
"""

from __future__ import annotations

import asyncio
import sys
import time
from dataclasses import dataclass

from aiohttp import web

from proxy.asked import Asked
from proxy.asking import Committed
from proxy.attempt import Attempter
from proxy.budgeting import Load
from proxy.chain import first_answer, resolve, time_allowed_s
from proxy.delivery import Delivery
from proxy.errors import Refused, for_client, refused
from proxy.exchange import Exchange
from proxy.opening import Matter, new_exchange
from proxy.prepare import refuse_losses
from proxy.server import Incoming
from proxy.services import Services
from proxy.setup import Setup
from proxy.stored import Land, Stored
from routing.abilities import able
from routing.errors import LacksAbilities
from routing.policies import POLICIES, View
from routing.targets import Route, Target
from storage.cache import cache_key
from storage.errors import LedgerUnavailable
from storage.ledger import CacheUse, Status
from translators.dialect import Rules
from translators.errors import BadRequest
from translators.frozen import described
from translators.neutral import Failure
from translators.tokens import estimate_request, family, rough, rough_request


@dataclass(frozen=True, slots=True)
class Errand:
    """One request with all that it needs on its way. *key*: its place in the cache, None outside of it."""

    services: Services
    setup: Setup
    incoming: Incoming
    asked: Asked
    route: Route
    key: bytes | None

    @property
    def time_allowed_s(self) -> float:
        """For all attempts together."""
        return time_allowed_s(self.setup, self.route, self.asked.controls)


async def answer(services: Services, incoming: Incoming, asked: Asked) -> web.StreamResponse:
    """Answer *asked*.

    Raises:
        Refused: with what the client is to be told.
        BadRequest: the request cannot be put to its target.
    """
    with services.setup.used() as setup:
        route = resolve(setup, asked.request.model, asked.controls)
        key = cache_key_of(setup, route, incoming.tenant, asked)
        errand = Errand(services, setup, incoming, asked, route, key)
        try:
            if key is None or not asked.controls.look_up:
                return await _ask(errand)
            if stored := await services.look_up(key):
                return await _from_cache(errand, stored)
            async with (
                asyncio.timeout(errand.time_allowed_s) as waiting,
                services.flights.join(key) as flight,
            ):
                waiting.reschedule(None)  # what follows has its own deadline
                if flight.answer is not None:
                    return await _from_cache(errand, flight.answer)
                return await _ask(errand, flight.land)
        except TimeoutError as error:
            late = "the same request was asked before, and its answer did not come in time"
            raise refused(504, late, kind="timeout", code="upstream_timeout") from error
        except LedgerUnavailable as error:
            raise refused(503, str(error), kind="overloaded", code="ledger_unavailable", retry_after_s=1) from error


def cache_key_of(setup: Setup, route: Route, tenant: str, asked: Asked) -> bytes | None:
    """Under what the answer is looked up and stored; None when this request stays outside the cache.

    `deterministic`: only what would come out the same again, by temperature 0 or a seed.
    An idempotency key asks for one and the same answer, whatever the mode.
    """
    request, controls = asked.request, asked.controls
    if controls.idempotency_key is not None:
        return cache_key(tenant, route.name, {**described(request), "idempotency_key": controls.idempotency_key})
    mode = setup.cache_mode(route.name)
    wanted = mode == "all" or (mode == "deterministic" and (request.temperature == 0 or request.seed is not None))
    if not wanted or not (controls.look_up or controls.store):
        return None
    return cache_key(tenant, route.name, described(request))


async def _from_cache(errand: Errand, stored: Stored) -> web.StreamResponse:
    """Deliver what was stored, and book that it cost nothing."""
    exchange = _new_exchange(errand, "hit")
    losses = errand.asked.controls.losses or errand.route.losses
    refuse_losses(stored.losses, stored.target, losses)
    exchange.answered_from_cache(stored, report_losses=losses != "ignore")
    await exchange.settle("ok")
    return await Delivery(errand.services, errand.incoming, errand.asked, exchange).of_stored(stored)


async def _ask(errand: Errand, land: Land | None = None) -> web.StreamResponse:
    """Ask the route's targets and deliver what the first good one says."""
    exchange = _new_exchange(errand, "miss" if errand.key else "bypass")
    committed: Committed | None = None
    try:
        committed = await _committed(errand, exchange)
        keep = _keeper(errand, land) if errand.key else None
        return await Delivery(errand.services, errand.incoming, errand.asked, exchange, keep).of_committed(committed)
    except (Refused, BadRequest) as error:
        if exchange.attempts:
            await exchange.settle("failed", _as_failure(error))
        raise
    finally:
        if committed:
            await committed.close()
        if exchange.attempts and not exchange.settled:
            # Unsettled are the request whose client is gone, and the one that met a bug.
            gone = isinstance(sys.exception(), asyncio.CancelledError | ConnectionError)
            status: Status = "aborted" if gone else "failed"
            errand.services.spawn(errand.services.settle_partial(exchange, committed, status, None))


async def _committed(errand: Errand, exchange: Exchange) -> Committed:
    """The first answer that can be committed to.

    Raises:
        Refused: no target gave one; the books say so.
    """
    services, setup, route = errand.services, errand.setup, errand.route
    attempter = Attempter(
        errand.asked,
        exchange,
        setup.specs,
        setup.backends,
        losses=errand.asked.controls.losses or route.losses,
        healer=services.healer,
        structured=setup.structured(route.name),
        continuations=setup.loaded.settings.retry.continuations,
        recalled=await services.recalled(errand.incoming.tenant, errand.asked.request),
        fetch=services.media.fetch,
        clean=lambda where, failure: for_client(failure, where, setup.redactor),
        clean_text=setup.redactor.clean,
    )
    return await first_answer(services, setup, route, exchange, targets=_order(errand), attempt=attempter.attempt)


def _order(errand: Errand) -> list[Target]:
    """The targets that can take the request, in the order of the route's policy."""
    services, setup = errand.services, errand.setup

    def rules_of(target: Target) -> Rules:
        return setup.specs[target.provider].rules(target.model)

    try:
        candidates = able(errand.asked.request, errand.route.targets, rules_of)
    except LacksAbilities as error:
        raise refused(400, str(error), code="unsupported_modality", param=error.place) from error
    view = View(services.rng, time.monotonic, services.breakers, setup.rings, services.health, services.prices)
    return POLICIES[errand.route.policy](errand.asked.request, candidates, view)


def _keeper(errand: Errand, land: Land | None) -> Land:
    """What to do with an answer that may be kept: give it to those who wait for it, and store it."""

    def keep(stored: Stored) -> None:
        if land:
            land(stored)
        if errand.key and errand.asked.controls.store:
            errand.services.keep(errand.key, stored, tenant=errand.incoming.tenant, route=errand.route.name)

    return keep


def _as_failure(error: Refused | BadRequest) -> Failure:
    if isinstance(error, Refused):
        return error.failure
    return Failure("invalid_request", error.message, 400, code=error.code, param=error.param)


def _new_exchange(errand: Errand, cache: CacheUse) -> Exchange:
    """The books of one request, not yet opened."""
    request = errand.asked.request
    matter = Matter(
        dialect=request.dialect,
        controls=errand.asked.controls,
        count=lambda model: estimate_request(request, family(model)).tokens,
        input_estimate=rough(len(errand.asked.raw)),
        load=Load(lambda: rough_request(request).tokens, request.max_output_tokens, request.n or 1),
        stream=request.stream,
    )
    return new_exchange(errand.services, errand.setup, errand.incoming, errand.route, matter, cache=cache)
