"""From a name to the first target that answers: what every kind of request has in common."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from typing import Final, TypeVar

from proxy.admission import LIMIT_CODE
from proxy.asking import Committed
from proxy.backends.backend import OWN_FAULTS
from proxy.controls import Controls
from proxy.errors import Refused, for_client, refused
from proxy.exchange import Exchange
from proxy.identity import Identity
from proxy.scopes import check_scope, unknown_to
from proxy.services import Services
from proxy.setup import Key, Setup
from routing import executor
from routing.errors import ChainExhausted, NoProvider, NotSent, TooManyTargets, UnknownModel
from routing.targets import Route, Target
from translators.neutral import Failure

T = TypeVar("T")

NO_RETRY: Final[Mapping[str, str]] = {"x-should-retry": "false"}
LONGEST_MESSAGE: Final = 4000
PASSING: Final = frozenset({LIMIT_CODE, *OWN_FAULTS})
"""Codes of what forbids an attempt for a while alone."""


def resolve(setup: Setup, model: str, controls: Controls, identity: Identity) -> Route:
    """The route that a request of *identity* names: by header or body object, by `models`, or by *model*.

    Raises:
        Refused: nobody offers it, nobody who does can be used, or the key may not ask them.
    """
    name = controls.route or model
    chain = () if controls.route else controls.chain
    try:
        route = setup.names.resolve(name, chain)
    except UnknownModel as error:
        places = {name: f"models[{index}]" for index, name in enumerate(controls.chain)}
        param = "x-modelport-route" if controls.route else places.get(error.model, "model")
        told = f"{unknown_to(identity, setup, error)}{_why_off(setup, error.model)}"
        raise refused(404, told, kind="not_found", code="model_not_found", param=param) from error
    except NoProvider as error:
        raise refused(503, str(error), kind="overloaded", code="no_provider", param="model") from error
    except TooManyTargets as error:
        raise refused(400, str(error), param="models") from error
    configured = not chain and name in setup.loaded.settings.routes
    route = check_scope(identity, route, name, configured=configured, providers=setup.specs)
    route = replace(route, policy=controls.policy) if controls.policy else route
    return replace(route, losses=identity.losses) if identity.losses else route


def _why_off(setup: Setup, model: str) -> str:
    """What it takes to switch the provider of `provider/model` on, if it is one that is off."""
    spec = setup.specs.get(model.partition("/")[0])
    return f"; the provider {spec.name} is off: {spec.why_off}" if spec and not spec.enabled else ""


def time_allowed_s(setup: Setup, route: Route, controls: Controls) -> float:
    """For all attempts together: what the client says, else the route, else the slowest of its providers."""
    if controls.timeout_s is not None:
        return controls.timeout_s
    if (allowed_s := setup.route_timeout_s(route.name)) is not None:
        return allowed_s
    return max(setup.specs[target.provider].timeouts.total_s for target in route.targets)


async def first_answer(
    services: Services,
    setup: Setup,
    route: Route,
    exchange: Exchange,
    *,
    targets: Sequence[Target],
    attempt: Callable[[Target, Key | None, float], Awaitable[T]],
    prefer: Mapping[Target, int] | None = None,
    begun: bool = False,
) -> T:
    """What *attempt* gives for the first of *targets* that answers; *prefer*: which key of a target goes first.

    *begun*: the first attempt has been made already.

    Raises:
        Refused: no target did; the books say so.
    """
    try:
        return await walked(
            services,
            setup,
            route,
            exchange.deadline,
            targets=services.steered(targets),
            attempt=attempt,
            prefer=prefer,
            doors=exchange.doors,
            begun=begun,
        )
    except (ChainExhausted, NotSent) as error:
        raise await unanswered(services, setup, exchange, error) from error


async def walked(
    services: Services,
    setup: Setup,
    route: Route,
    deadline: float,
    *,
    targets: Sequence[Target],
    attempt: Callable[[Target, Key | None, float], Awaitable[T]],
    once: bool = False,
    prefer: Mapping[Target, int] | None = None,
    doors: executor.Doors | None = None,
    again: bool = False,
    begun: bool = False,
) -> T:
    """What *attempt* gives for the first of *targets* that answers; with *once* none of them is asked again.

    *again*: they are asked because another one has failed the same request; *begun*: the first has been asked already.
    See `executor.run`.

    Raises:
        ChainExhausted, NotSent: no target did.
    """
    outcome = await executor.run(
        targets,
        attempt,
        breakers=services.breakers,
        key_rings=setup.rings,
        deadline=deadline,
        now=time.monotonic,
        sleep=asyncio.sleep,
        rng=services.rng,
        budget=services.retry_budget,
        patience=replace(setup.patience, repeats=0) if once else setup.patience,
        fallback_on=route.fallback_on,
        prefer=prefer,
        doors=doors,
        whole=_is_whole,
        again=again,
        begun=begun,
    )
    return outcome.value


def _is_whole(answer: object) -> bool:
    """Whether nothing more comes of it; of a stream, `Services.seen` hears how it ends."""
    return not isinstance(answer, Committed) or answer.live is None


async def unanswered(services: Services, setup: Setup, exchange: Exchange, error: ChainExhausted | NotSent) -> Refused:
    """What the client is told when no target has answered; the books say so, too."""
    if isinstance(error, NotSent):
        if exchange.attempts:
            await services.account_left(exchange, None)
            await exchange.settle("failed", error.failure)
        later = error.failure.code in PASSING and error.failure.retry_after_s is not None
        return Refused(error.failure, {**exchange.headers(final=True), **({} if later else NO_RETRY)})
    failure = _exhausted(error, setup)
    await services.account_left(exchange, None)
    await exchange.settle("failed", failure)
    return Refused(failure, {**exchange.vendor_headers, **exchange.headers(final=True), **NO_RETRY})


def _exhausted(error: ChainExhausted, setup: Setup) -> Failure:
    """The failure of a chain for the client: status of the most telling attempt, every attempt in the message."""
    failure = for_client(error.failure, "", setup.redactor)
    return replace(failure, message=error.describe(setup.redactor.clean)[:LONGEST_MESSAGE])
