"""Questions to a model as they come in: read, bounded, parsed; what all dialects have in common."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, TypeVar

from proxy.asked import Asked
from proxy.config.model import BoundSettings
from proxy.controls import Controls, read_controls
from proxy.owning import check_question
from proxy.question_json import question_json
from proxy.server import Incoming, read_body
from proxy.services import Services
from proxy.threads import THREAD_BYTES, threaded
from proxy.vendor_headers import vendor_headers, vendor_query
from translators.dialect import ClientDialect
from translators.neutral import Request

T = TypeVar("T")


async def read_question(services: Services, incoming: Incoming, parse: Callable[[bytes, dict[str, Any]], T]) -> T:
    """What *parse* makes of the body's bytes and their JSON.

    Raises:
        Refused, BadRequest: with what the client is to be told.
    """
    raw = await read_body(incoming.http, services.max_body)
    await check_question(services, incoming, raw)
    return await threaded(len(raw) > THREAD_BYTES, _parsed, raw, parse, services.limits)


def controls_of(incoming: Incoming, body: dict[str, Any]) -> Controls:
    """What the headers and *body* say to the proxy; a *body* without a model gets the first of its chain.

    Raises:
        Refused: 400 naming what is wrong.
    """
    controls = read_controls(incoming.http.headers, body)
    if controls.chain and body.get("model") is None:
        body["model"] = controls.chain[0]
    return controls


def asked_of(
    incoming: Incoming,
    raw: bytes,
    body: dict[str, Any],
    client: ClientDialect,
    read: Callable[[dict[str, Any]], Request],
    *,
    vendor: str,
) -> Asked:
    """What a *client* asks by *body*, of which *read* makes a request; *vendor*: whose headers go along.

    Raises:
        Refused, BadRequest: with what the client is to be told.
    """
    controls = controls_of(incoming, body)
    return Asked(
        client,
        raw,
        body,
        read(body),
        controls,
        created=int(time.time()),
        id=incoming.answer_id,
        forward=vendor_headers(incoming.http.headers, vendor),
        query=vendor_query(incoming.http.rel_url.raw_query_string, read=True),
    )


def _parsed(raw: bytes, parse: Callable[[bytes, dict[str, Any]], T], bounds: BoundSettings) -> T:
    return parse(raw, question_json(raw, bounds))
