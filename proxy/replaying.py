"""A stored response as a stream: at once when it has ended, else as soon as it has."""

from __future__ import annotations

import asyncio
from typing import Final

from aiohttp import web

from proxy.asked import EVENT_STREAM
from proxy.delivery import STREAM_HEADERS
from proxy.errors import Refused, refused
from proxy.server import Incoming
from proxy.services import Services
from storage.responses import StoredResponse
from translators.codec import loads_object
from translators.openai_responses import client
from translators.sse import comment

RUNS: Final = frozenset({"queued", "in_progress"})
SILENCE_S: Final = 10.0
"""After it a client that waits is sent a comment."""
LOOK_S: Final = 0.5
"""How often a response is looked at that no task here is making."""
WAITING: Final = comment(b"the response is being made")


async def replay_stored(services: Services, incoming: Incoming, stored: StoredResponse) -> web.StreamResponse:
    """The events of *stored* behind `starting_after`; one that is being made is waited for, as long as the client does.

    Raises:
        Refused: 400 for `starting_after` that is no number.
    """
    after = _starting_after(incoming.http.query.get("starting_after"))
    headers = {"content-type": EVENT_STREAM, "x-request-id": incoming.id, **STREAM_HEADERS}
    stream = web.StreamResponse(headers=headers)
    await stream.prepare(incoming.http)
    silent_s = 0.0
    while stored.status in RUNS:
        await services.running.ended(stored.tenant, stored.id, LOOK_S)
        silent_s += LOOK_S
        if silent_s >= SILENCE_S:
            silent_s = 0.0
            await stream.write(WAITING)
        found = await services.responses.get(stored.tenant, stored.id)
        if found is None:  # deleted meanwhile
            await stream.write_eof()
            return stream
        stored = found
    body = await asyncio.to_thread(loads_object, stored.body)
    await stream.write_eof(client.streamed_again(body, after))
    return stream


def _starting_after(given: str | None) -> int:
    if given is None:
        return -1
    if not given.isascii() or not given.isdecimal() or len(given) > 9:
        raise _bad(given)
    return int(given)


def _bad(given: str) -> Refused:
    told = f"starting_after: expected the sequence_number of an event, found {given[:80]!r}"
    return refused(400, told, param="starting_after", code="invalid_parameter")
