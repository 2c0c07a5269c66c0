"""A response is deleted where its vendor keeps it, too."""

from __future__ import annotations

from typing import Final
from urllib.parse import quote

from proxy.backends.backend import BackendError, Call, OwnFault
from proxy.budgeting import Load
from proxy.chain import first_answer, resolve
from proxy.controls import read_controls
from proxy.opening import Matter, new_exchange, nothing_counted
from proxy.passing import DIALECT
from proxy.server import Incoming
from proxy.services import Services
from proxy.setup import Key
from routing.errors import AttemptFailed
from routing.targets import Target
from storage.responses import StoredResponse
from translators.dialects import BACKENDS

GONE: Final = frozenset({404, 410})
MAX_ERROR_BYTES: Final = 64 * 1024


async def delete_at_vendor(services: Services, incoming: Incoming, stored: StoredResponse) -> None:
    """Delete *stored* at its provider; one that is not configured any more cannot be asked.

    Raises:
        Refused: the provider did not say that it is gone.
    """
    with services.setup.used() as setup:
        spec = setup.specs.get(stored.provider or "")
        if spec is None or not spec.enabled:
            return
        controls = read_controls(incoming.http.headers, {})
        route = resolve(setup, f"{spec.name}/{stored.model}", controls, incoming.identity)
        matter = Matter(DIALECT, controls, nothing_counted, input_estimate=0, load=Load(lambda: 0, free=True))
        exchange = new_exchange(services, setup, incoming, route, matter)

        async def attempt(target: Target, key: Key | None, _deadline: float) -> None:
            made = await exchange.begin(target, key.index if key else None)
            path = f"{spec.path('openai_responses', target.model)}/{quote(stored.id, safe='')}"
            made.sent, made.cost_nanousd = True, 0
            call = Call(
                target.model, b"", False, "DELETE", path=path, key=key.secret if key else None, timeouts=spec.timeouts
            )
            try:
                async with setup.backends[spec.name].send(call) as answer:
                    made.http_status = answer.status
                    raw = await answer.read()
                    if answer.status >= 400 and answer.status not in GONE:
                        failure = BACKENDS["openai_responses"].parse_error(
                            answer.status, raw[:MAX_ERROR_BYTES], answer.headers
                        )
                        raise AttemptFailed(failure)
            except OwnFault as error:
                raise exchange.blameless(made, error.failure) from error
            except (BackendError, AttemptFailed) as error:
                exchange.failed(made, error.failure)
                raise AttemptFailed(error.failure) from error
            exchange.target = target

        try:
            await first_answer(services, setup, route, exchange, targets=route.targets, attempt=attempt)
            await exchange.settle("ok")
        finally:
            if exchange.attempts and not exchange.settled:
                services.spawn(exchange.settle("aborted"))
