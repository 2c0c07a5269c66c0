"""Questions to a model as they come in: read, bounded, parsed; what all dialects have in common."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Final, TypeVar

from proxy.errors import refused
from proxy.owning import check_question
from proxy.server import Incoming, read_body
from proxy.services import Services
from proxy.spelling import check_names
from translators.codec import JsonError, loads_object

T = TypeVar("T")

BODY_S: Final = 60.0
THREAD_BYTES: Final = 256 * 1024
"""A larger body is parsed in a thread, so that the others do not wait for it."""
MAX_ITEMS: Final = {"messages": 10_000, "contents": 10_000, "input": 10_000, "tools": 512}
"""Of the lists of a request, by their names in the dialects."""


async def read_question(services: Services, incoming: Incoming, parse: Callable[[bytes, dict[str, Any]], T]) -> T:
    """What *parse* makes of the body's bytes and their JSON.

    Raises:
        Refused, BadRequest: with what the client is to be told.
    """
    raw = await read_body(incoming.http, services.max_body, BODY_S)
    await check_question(services, incoming, raw)
    if len(raw) > THREAD_BYTES:
        return await asyncio.to_thread(_parsed, raw, parse)
    return _parsed(raw, parse)


def _parsed(raw: bytes, parse: Callable[[bytes, dict[str, Any]], T]) -> T:
    try:
        body = loads_object(raw)
    except JsonError as error:
        raise refused(400, f"the request body: {error}", code="invalid_json") from error
    check_names(raw, body)
    for name, limit in MAX_ITEMS.items():
        value = body.get(name)
        if isinstance(value, list) and len(value) > limit:
            raise refused(400, f"{name}: {len(value)} are more than {limit}", param=name, code="too_many")
    return parse(raw, body)
