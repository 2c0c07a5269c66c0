"""From a name to the first target that answers: what every kind of request has in common."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from typing import Final, TypeVar

from proxy.controls import Controls
from proxy.errors import Refused, for_client, refused
from proxy.exchange import Exchange
from proxy.services import Services
from proxy.setup import Key, Setup
from routing import executor
from routing.errors import ChainExhausted, NoProvider, NotSent, TooManyTargets, UnknownModel
from routing.targets import Route, Target
from translators.neutral import Failure

T = TypeVar("T")

NO_RETRY: Final[Mapping[str, str]] = {"x-should-retry": "false"}
LONGEST_MESSAGE: Final = 4000


def resolve(setup: Setup, model: str, controls: Controls) -> Route:
    """The route that a request names: by header or body object, by `models`, or by *model*.

    Raises:
        Refused: nobody offers it, or nobody who does can be used.
    """
    name = controls.route or model
    try:
        return setup.names.resolve(name, () if controls.route else controls.chain)
    except UnknownModel as error:
        places = {name: f"models[{index}]" for index, name in enumerate(controls.chain)}
        param = places.get(error.model, "model")
        told = f"{error}{_why_off(setup, error.model)}"
        raise refused(404, told, kind="not_found", code="model_not_found", param=param) from error
    except NoProvider as error:
        raise refused(503, str(error), kind="overloaded", code="no_provider", param="model") from error
    except TooManyTargets as error:
        raise refused(400, str(error), param="models") from error


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
) -> T:
    """What *attempt* gives for the first of *targets* that answers.

    Raises:
        Refused: no target did; the books say so.
    """
    try:
        outcome = await executor.run(
            targets,
            attempt,
            breakers=services.breakers,
            key_rings=setup.rings,
            deadline=exchange.deadline,
            now=time.monotonic,
            sleep=asyncio.sleep,
            rng=services.rng,
            budget=services.retry_budget,
            patience=setup.patience,
            fallback_on=route.fallback_on,
        )
    except ChainExhausted as error:
        failure = _exhausted(error, setup)
        await services.account_left(exchange, None)
        await exchange.settle("failed", failure)
        raise Refused(failure, {**exchange.vendor_headers, **exchange.headers(final=True), **NO_RETRY}) from error
    except NotSent as error:
        raise Refused(error.failure, {**exchange.headers(final=True), **NO_RETRY}) from error
    return outcome.value


def _exhausted(error: ChainExhausted, setup: Setup) -> Failure:
    """The failure of a chain for the client: status of the most telling attempt, every attempt in the message."""
    failure = for_client(error.failure, "", setup.redactor)
    return replace(failure, message=error.describe(setup.redactor.clean)[:LONGEST_MESSAGE])
