"""Short calls of one exchange, whole in and whole out: vectors and counts of tokens. Booked like every other."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from proxy.asking import MAX_ERROR_BYTES
from proxy.backends.backend import BackendError, Call, Operation, OwnFault
from proxy.exchange import Attempt, Exchange, rate_limit_headers
from proxy.setup import Key, Setup
from routing.errors import AttemptFailed
from routing.targets import Target
from translators.neutral import Failure

ParseError = Callable[[int, bytes, Mapping[str, str]], Failure]


@dataclass(frozen=True, slots=True)
class Short:
    """What is asked. *parse_error* reads the backend's errors."""

    operation: Operation
    path: str
    body: bytes
    parse_error: ParseError
    headers: Mapping[str, str] = field(default_factory=dict)
    max_answer_bytes: int | None = None


async def call(
    setup: Setup, exchange: Exchange, target: Target, key: Key | None, deadline: float, *, short: Short
) -> tuple[bytes, Attempt]:
    """The answer's bytes, and the attempt, which is still open.

    Raises:
        AttemptFailed: there is no answer; the attempt is closed.
        LedgerUnavailable: it could not be booked, so it was not made.
    """
    spec = setup.specs[target.provider]
    attempt = await exchange.begin(target, key.index if key else None)
    left_s = max(0.001, deadline - time.monotonic())
    clock = replace(
        spec.timeouts,
        whole_answer_s=min(spec.timeouts.whole_answer_s, left_s),
        total_s=min(spec.timeouts.total_s, left_s),
    )
    asked = Call(
        model=target.model,
        body=short.body,
        stream=False,
        operation=short.operation,
        path=short.path,
        key=key.secret if key else None,
        headers=short.headers,
        timeouts=clock,
        max_answer_bytes=short.max_answer_bytes,
    )
    attempt.sent = True
    try:
        async with setup.backends[target.provider].send(asked) as answer:
            attempt.http_status = answer.status
            attempt.heard(answer.headers, answer.connect_s)
            exchange.vendor_headers = rate_limit_headers(answer.headers, setup.redactor.clean)
            raw = await answer.read()
            if answer.status >= 400:
                raise AttemptFailed(short.parse_error(answer.status, raw[:MAX_ERROR_BYTES], answer.headers))
    except OwnFault as error:
        raise exchange.blameless(attempt, error.failure) from error
    except (BackendError, AttemptFailed) as error:
        failure = exchange.judged(error.failure)
        exchange.failed(attempt, failure)
        raise AttemptFailed(failure) from error
    exchange.target = target
    exchange.saw_first_event(attempt)
    return raw, attempt
