"""Responses that are made in the background: told at once, made by a task of the process, asked for later.

queued --the task begins--> in_progress --> completed | incomplete | failed
  `----------------- cancel -----------------> cancelled

The task goes the way of every request, and what it gives is stored by the request's memory. It ends with the process:
on a stop it has as long as running answers have, and one that was killed is `failed` at the next start.
"""

from __future__ import annotations

import asyncio
import logging
import time
from dataclasses import replace
from typing import Final

from aiohttp import web

from proxy.asked import Asked
from proxy.chain import resolve
from proxy.errors import Refused, failure_of, refused
from proxy.ingress.json import json_response
from proxy.memory import Memory
from proxy.pipeline import answer
from proxy.server import Incoming
from proxy.services import Services
from storage.errors import StorageError
from translators.codec import dumps
from translators.errors import BadRequest
from translators.neutral import Failure, Response
from translators.openai_responses.client import render_error, render_response

log = logging.getLogger("modelport")

STOP_CHECK_S: Final = 0.5
"""How often a task looks whether the process is to stop."""


async def queued(services: Services, incoming: Incoming, asked: Asked) -> web.StreamResponse:
    """Store the response as `queued`, begin to make it, and tell the client.

    Raises:
        Refused: it cannot be stored, or nobody offers the model.
        StorageError: it could not be written.
    """
    memory = asked.memory
    if memory is None or not memory.keeps:
        raise refused(
            400,
            "background: a response in the background has to be stored; it needs `store` and [memory] responses = true",
            param="background",
            code="unsupported_parameter",
        )
    with services.setup.used() as setup:
        resolve(setup, asked.request.model, asked.controls, incoming.identity)
    response_id = f"resp_{asked.id}"
    memory = replace(memory, background_id=response_id)
    body = {**render_response(Response("", "", 0, ()), asked.reply_to()), "id": response_id, "status": "queued"}
    await memory.responses.save(memory.opening(response_id, "queued", dumps(body), asked.request.model))
    work = _Work(services, incoming, replace(asked, memory=memory), memory, response_id)
    services.spawn(work.run())
    return json_response(body, incoming.id)


class _Work:
    """The making of one response."""

    def __init__(self, services: Services, incoming: Incoming, asked: Asked, memory: Memory, response_id: str) -> None:
        self._services = services
        self._incoming = incoming
        self._asked = asked
        self._memory = memory
        self._id = response_id

    async def run(self) -> None:
        """Make it, as long as nobody cancels it and the process goes on."""
        task = asyncio.ensure_future(self._make())
        self._services.running.add(self._memory.tenant, self._id, task)
        self._services.in_flight += 1
        try:
            await self._while_running(task)
        finally:
            self._services.leave()

    async def _while_running(self, task: asyncio.Task[None]) -> None:
        stop_at: float | None = None
        while not task.done():
            await asyncio.wait({task}, timeout=STOP_CHECK_S)
            if self._services.draining and stop_at is None:
                stop_at = time.monotonic() + self._services.setup.loaded.settings.server.shutdown_s
            if stop_at is not None and time.monotonic() >= stop_at:
                task.cancel()
        if task.cancelled():
            stopped = Failure("server", "the proxy was stopped before this response had ended", 503, "server_error")
            await self._end(stopped)  # which changes nothing where a client has cancelled it

    async def _make(self) -> None:
        try:
            if not await self._memory.responses.set_status(self._memory.tenant, self._id, "in_progress"):
                return  # cancelled before it began
            await answer(self._services, self._incoming, self._asked)
        except (Refused, BadRequest) as error:
            await self._end(failure_of(error))
        except StorageError as error:
            await self._end(Failure("overloaded", str(error), 503, "storage_unavailable"))
        except Exception:
            log.exception("response %s could not be made", self._id)
            await self._end(Failure("server", "an internal error of the proxy", 500, "internal_error"))
        else:
            await self._end(Failure("server", "the answer could not be stored", 503, "storage_unavailable"))

    async def _end(self, failure: Failure) -> None:
        """Let a response that has not ended be `failed`."""
        _, told = render_error(failure, "")
        body = render_response(Response("", "", 0, ()), self._asked.reply_to())
        error = {"code": told["error"]["code"] or "server_error", "message": told["error"]["message"]}
        body |= {"id": self._id, "status": "failed", "error": error}
        try:
            await self._memory.responses.set_status(self._memory.tenant, self._id, "failed", dumps(body))
        except StorageError as unwritable:
            log.error("response %s has ended, which could not be stored: %s", self._id, unwritable)
