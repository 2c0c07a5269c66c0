"""A response is deleted where its vendor keeps it, too."""

from __future__ import annotations

import time
from typing import Final
from urllib.parse import quote

from proxy.backends.backend import BackendError, Call
from proxy.chain import first_answer, resolve, time_allowed_s
from proxy.controls import read_controls
from proxy.exchange import Exchange
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
        route = resolve(setup, f"{spec.name}/{stored.model}", controls)
        exchange = Exchange(
            services.ledger,
            id=incoming.id,
            started=incoming.started,
            identity=incoming.identity,
            dialect=DIALECT,
            stream=False,
            count=lambda _model: 0,
            controls=controls,
            route=route.name,
            cache="bypass",
            client_request_id=incoming.client_request_id,
            input_estimate=0,
            deadline=time.monotonic() + time_allowed_s(setup, route, controls),
            clean=setup.redactor.clean,
            seen=services.seen,
        )

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
