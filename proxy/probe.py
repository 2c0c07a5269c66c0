"""One tiny question to one provider, booked like any other: what `/health?probe=1` asks."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any, Final

from proxy.asked import Asked
from proxy.attempt import Attempter
from proxy.controls import Controls
from proxy.errors import for_client
from proxy.exchange import Exchange
from proxy.identity import MASTER_IDENTITY
from proxy.providers import ProviderSpec
from proxy.server import new_id
from proxy.services import Services
from routing.errors import AttemptFailed
from routing.targets import Target
from translators import openai_chat
from translators.codec import dumps
from translators.dialects import CLIENTS
from translators.tokens import estimate_request, family, rough

PROBE_S: Final = 20.0
PROBE_TOKENS: Final = 16
ROUTE: Final = "probe"
"""How the ledger calls these exchanges."""


async def probe(services: Services, spec: ProviderSpec) -> Mapping[str, Any]:
    """Whether *spec* answers, and how fast.

    Raises:
        LedgerUnavailable: it could not be booked, so it was not asked.
    """
    setup = services.setup
    target = Target(spec.name, spec.probe_model or spec.models[0])
    asked = _question(target.model)
    deadline = time.monotonic() + PROBE_S
    exchange = Exchange(
        services.ledger,
        id=new_id(),
        started=time.perf_counter(),
        identity=MASTER_IDENTITY,
        dialect=asked.request.dialect,
        stream=asked.request.stream,
        count=lambda model: estimate_request(asked.request, family(model)).tokens,
        controls=asked.controls,
        route=ROUTE,
        cache="bypass",
        client_request_id=None,
        input_estimate=rough(len(asked.raw)),
        deadline=deadline,
        clean=setup.redactor.clean,
        seen=services.seen,
    )
    exchange.on_ended = services.endings.ended
    attempter = Attempter(
        asked,
        exchange,
        setup.specs,
        setup.backends,
        losses="ignore",
        healer=services.healer,
        structured=setup.loaded.settings.structured,
        fetch=services.media.fetch,
        price=services.price,
        clean=lambda where, failure: for_client(failure, where, setup.redactor),
        clean_text=setup.redactor.clean,
    )
    ring, breaker = setup.rings[spec.name], services.breakers.of(target)
    try:
        committed = await attempter.attempt(target, ring.keys[0], deadline)
    except AttemptFailed as error:
        ring.refused(0, error.failure, target.model)
        breaker.judge(error.failure)
        told = for_client(error.failure, spec.name, setup.redactor)
        await exchange.settle("failed", told)
        return {"ok": False, "model": target.model, "status": error.failure.status, "error": told.message}
    ring.worked(0, target.model)
    breaker.succeeded()
    if committed.response is not None:
        await services.account(exchange, committed, committed.response)
    await exchange.settle("ok")
    return {"ok": True, "model": target.model, "latency_ms": round(exchange.attempts[0].elapsed_ms(), 1)}


def _question(model: str) -> Asked:
    body = {
        "model": model,
        "messages": [{"role": "user", "content": "Say ok."}],
        "max_completion_tokens": PROBE_TOKENS,
    }
    return Asked(
        CLIENTS["openai_chat"],
        dumps(body),
        body,
        openai_chat.parse_request(body),
        Controls(),
        created=int(time.time()),
        id="probe",
    )
