"""The way a request goes, from a parsed question to the answer's last byte.

    resolve the name -> the cache? -> open the books, ask the targets in order -> committed -> deliver -> settle

`answer` is the whole of it. What the parts do stands in their own modules: `caching` (what lies in the cache),
`attempt` (one target), `routing.executor` (which one next), `exchange` (the books), `delivery` (bytes to the client).
"""

from __future__ import annotations

import asyncio
import logging
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial

from aiohttp import web

from proxy.asked import Asked
from proxy.asking import Committed
from proxy.attempt import Attempter
from proxy.budgeting import Load
from proxy.caching import Hit, Place, in_background, look_up, look_up_similar, place_of, unless_stopping, with_vector
from proxy.caching import keep as store
from proxy.chain import resolve, time_allowed_s
from proxy.conforming import unshown
from proxy.delivery import Delivery
from proxy.errors import Refused, failure_of, for_client, refused
from proxy.exchange import Books, Exchange
from proxy.fast.hits import learn as learn_hit
from proxy.fast.shapes import learn as learn_shape
from proxy.fast.shapes import opened_by_lane
from proxy.keeping_alive import Line
from proxy.metering import Metered
from proxy.opening import Matter, new_exchange
from proxy.ordering import Plan, Wish, learn, plan, tell
from proxy.prepare import refuse_losses
from proxy.records import of_question
from proxy.resuming import Resumer
from proxy.runners import IN_ONE_PIECE, RUNNERS, Job, first
from proxy.server import Incoming, new_id
from proxy.services import Services
from proxy.setup import Setup
from proxy.stored import Land, Stored
from proxy.worst_case import most_input_tokens, searches
from routing.targets import Route
from storage.errors import LedgerUnavailable, StorageError
from storage.ledger import CacheUse, Status
from translators.errors import BadRequest
from translators.neutral import Request
from translators.tokens import estimate_request, family, rough, rough_request
from translators.vaulted import Found

log = logging.getLogger("modelport")


@dataclass(frozen=True, slots=True)
class Errand:
    """One request with all that it needs on its way. *place*: where the cache has its answer, None outside of it.

    *renews*: nobody waits for the answer; it takes the place of one that was too old.
    """

    services: Services
    setup: Setup
    incoming: Incoming
    asked: Asked
    route: Route
    place: Place | None
    renews: bool = False

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
        route = resolve(setup, asked.request.model, asked.controls, incoming.identity)
        place = place_of(setup, route, incoming.identity, asked)
        errand = Errand(services, setup, incoming, asked, route, place)
        try:
            if place is None:
                return await _ask(errand)
            if not asked.controls.look_up:
                place, _ = await with_vector(services, incoming, place)
                return await _ask(replace(errand, place=place))
            if hit := await look_up(services, place):
                return await _from_cache(errand, hit)
            hit, place = await look_up_similar(services, incoming, place)
            if hit is not None:
                return await _from_cache(errand, hit)
            async with (
                asyncio.timeout(errand.time_allowed_s) as waiting,
                services.flights.join(place.key) as flight,
            ):
                waiting.reschedule(None)  # what follows has its own deadline
                if flight.answer is not None:
                    return await _from_cache(errand, Hit(flight.answer))
                return await _ask(replace(errand, place=place), flight.land)
        except TimeoutError as error:
            late = "the same request was asked before, and its answer did not come in time"
            raise refused(504, late, kind="timeout", code="upstream_timeout") from error
        except LedgerUnavailable as error:
            raise refused(503, str(error), kind="overloaded", code="ledger_unavailable", retry_after_s=1) from error


async def _from_cache(errand: Errand, hit: Hit) -> web.StreamResponse:
    """Deliver what was stored, and book that it cost nothing."""
    services, stored = errand.services, hit.stored
    exchange = _new_exchange(errand, "hit")
    losses = errand.asked.controls.losses or errand.route.losses
    refuse_losses(stored.losses, stored.target, losses)
    if stored.payload is None or stored.dialect != errand.asked.request.dialect:
        stored = replace(stored, losses=(*stored.losses, *unshown(errand.asked, stored.response)))
    exchange.answered_from_cache(stored, report_losses=losses != "ignore")
    exchange.more_headers.update(hit.headers)
    await exchange.settle("ok")
    similar = hit.found is not None
    services.cache_use.hit(errand.route.name, stored.target, stored.cost_nanousd, stale=hit.stale, similar=similar)
    if hit.found is not None:
        services.semantic.served(exchange.id, hit.found)
    if hit.stale:
        _renew(errand)
    answered = await Delivery(services, errand.incoming, errand.asked, exchange).of_stored(stored)
    learn_hit(errand, hit, stored, exchange)
    return answered


def _renew(errand: Errand) -> None:
    """Ask again in the background for what is too old, unless somebody does."""
    services, place = errand.services, errand.place
    if place is None or place.key in services.renewing or services.draining:
        return
    services.renewing.add(place.key)
    services.spawn(_renewed(errand, place))


async def _renewed(errand: Errand, place: Place) -> None:
    """Put a new answer to *place*, by an exchange of its own. A failure leaves the old one there until it is gone.

    It counts for the budgets of its key, but not for the key's limits: whoever got the old answer asked only once.
    """
    services, asked = errand.services, errand.asked
    now = time.perf_counter()
    incoming = replace(
        errand.incoming, id=new_id(), started=now, client_request_id=errand.incoming.id, metered=Metered()
    )
    try:
        with services.setup.used() as setup:
            route = resolve(setup, asked.request.model, asked.controls, incoming.identity)
            place, _ = await with_vector(services, incoming, place)
            renewing = Errand(services, setup, incoming, in_background(asked, incoming), route, place, renews=True)
            async with services.flights.join(place.key) as flight:
                if flight.answer is None:
                    await unless_stopping(services, _ask(renewing, flight.land))
    except (Refused, BadRequest, StorageError) as error:
        log.info("an answer of %s could not be renewed: %s", errand.route.name, services.clean(str(error)))
    except asyncio.CancelledError:
        if not services.draining:
            raise
    except Exception:  # the edge of a task
        log.exception("an answer of %s could not be renewed", errand.route.name)
    finally:
        services.renewing.discard(place.key)


async def _ask(errand: Errand, land: Land | None = None) -> web.StreamResponse:
    """Ask the route's targets and deliver what the first good one says."""
    opened = opened_by_lane(errand.incoming)
    exchange = opened.exchange if opened else _new_exchange(errand, "miss" if errand.place else "bypass")
    exchange.on_ended = errand.services.endings.ended
    planned = await _planned(errand)
    tell(planned, exchange)
    committed: Committed | None = None
    line = Line(errand.incoming, errand.asked, exchange, _keep_alive_s(errand, planned))
    try:
        async with line:
            committed = await _committed(errand, exchange, planned)
        keep = _keeper(errand, committed, land) if errand.place else None
        delivery = Delivery(errand.services, errand.incoming, errand.asked, exchange, keep, line.stream)
        return await delivery.of_committed(committed)
    except (Refused, BadRequest, LedgerUnavailable) as error:
        if exchange.attempts and not isinstance(error, LedgerUnavailable):
            await exchange.settle("failed", failure_of(error))
        if line.stream is not None:
            return await line.fail(failure_of(error))
        raise
    finally:
        if errand.place and errand.asked.controls.look_up and not errand.renews:
            services = errand.services
            services.cache_use.missed(errand.route.name, exchange.target.name if exchange.target else "")
        if committed:
            learn(errand.services, planned, exchange)
            if exchange.settled and planned.measured is None:
                learn_shape(errand, committed, exchange)
            await committed.close()
        if exchange.attempts and not exchange.settled:
            # Unsettled are the request whose client is gone, and the one that met a bug.
            gone = isinstance(sys.exception(), asyncio.CancelledError | ConnectionError)
            status: Status = "aborted" if gone else "failed"
            errand.services.spawn(errand.services.settle_partial(exchange, committed, status, None))


async def _planned(errand: Errand) -> Plan:
    """The targets that can take the request, in the order in which they are asked. Raises Refused."""
    asked, route = errand.asked, errand.route
    strict = (asked.controls.losses or route.losses) == "reject"
    return await plan(
        errand.services,
        errand.setup,
        Wish(
            route,
            asked.request,
            errand.incoming.identity,
            strict=strict,
            quality=asked.controls.quality,
            large=asked.large,
        ),
    )


async def _committed(errand: Errand, exchange: Exchange, planned: Plan) -> Committed:
    """The answer that the client gets, as the route's policy has it: the first one, unless it asks several targets.

    Raises:
        Refused: no target gave one; the books say so.
    """
    services, setup, route = errand.services, errand.setup, errand.route
    opened = opened_by_lane(errand.incoming)
    recalled = await services.recalled(errand.incoming.tenant, errand.asked.request, large=errand.asked.large)
    job = Job(
        services,
        setup,
        route,
        errand.asked,
        exchange,
        planned.targets,
        planned.prefer if opened is None else {**planned.prefer, **opened.begun.key},
        exchange.doors.load if exchange.doors else _load(errand.asked.request),
        partial(_attempter, errand, recalled),
        opened is not None,
        planned.together,
    )
    committed = await RUNNERS.get(route.policy, first)(job)
    if _resumes(errand):
        attempter = _attempter(errand, recalled, exchange)
        Resumer(services, setup, route, exchange, errand.asked.request, planned.targets, attempter, committed).watch()
    return committed


def _attempter(
    errand: Errand,
    recalled: Mapping[bytes, Found],
    books: Books,
    asked: Asked | None = None,
    *,
    whole: bool = False,
    relays: bool = True,
) -> Attempter:
    """What makes attempts at one answer; see `runners.job.NewAttempter`."""
    services, setup, route = errand.services, errand.setup, errand.route
    opened = opened_by_lane(errand.incoming)
    return Attempter(
        asked or errand.asked,
        books,
        setup.specs,
        setup.backends,
        losses=errand.asked.controls.losses or route.losses,
        healer=services.healer,
        structured=setup.structured(route.name),
        continuations=setup.loaded.settings.retry.continuations,
        recalled=recalled,
        fetch=services.media.fetch,
        price=services.price,
        clean=lambda where, failure: for_client(failure, where, setup.redactor),
        clean_text=setup.redactor.clean,
        whole=whole or errand.renews,
        relays=relays,
        resumes=_resumes(errand),
        begun=opened.begun if opened and books is opened.exchange else None,
    )


def _resumes(errand: Errand) -> bool:
    """Whether another target is to go on with a stream that breaks off."""
    controls, route = errand.asked.controls, errand.route
    wanted = errand.setup.resumes(route.name) if controls.resume is None else controls.resume
    return wanted and errand.asked.request.stream and (controls.losses or route.losses) != "reject"


def _keep_alive_s(errand: Errand, planned: Plan) -> float | None:
    """After which silence the client of a stream is to hear that it is not forgotten; None: it does not wait long."""
    route = errand.route
    waits = route.policy in IN_ONE_PIECE or planned.together
    return errand.setup.consensus(route.name).keep_alive_s if waits else None


def _load(request: Request) -> Load:
    """What *request* may take."""
    return Load(
        lambda: rough_request(request).tokens,
        request.max_output_tokens,
        request.n or 1,
        most_input=partial(most_input_tokens, request),
        searches=searches(request),
    )


def _keeper(errand: Errand, committed: Committed, land: Land | None) -> Land:
    """What to do with an answer that may be kept: give it to those who wait for it, and store it."""
    controls = errand.asked.controls
    lasts = not committed.makeshift or controls.idempotency_key is not None

    def keep(stored: Stored) -> None:
        if land:
            land(stored)
        if errand.place and controls.store and lasts:
            store(errand.services, errand.place, stored)

    return keep


def _new_exchange(errand: Errand, cache: CacheUse) -> Exchange:
    """The books of one request, not yet opened."""
    request = errand.asked.request
    matter = Matter(
        dialect=request.dialect,
        controls=errand.asked.controls,
        count=lambda model: estimate_request(request, family(model)).tokens,
        input_estimate=rough(len(errand.asked.raw)),
        load=_load(request),
        stream=request.stream,
    )
    exchange = new_exchange(errand.services, errand.setup, errand.incoming, errand.route, matter, cache=cache)
    settings, requests = errand.setup.loaded.settings, errand.services.request_log
    requests.follow(settings, exchange, errand.incoming.identity, lambda: of_question(errand.asked, exchange.answer))
    return exchange
