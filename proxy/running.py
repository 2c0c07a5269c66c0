"""Responses that are being made in the background, so that they can be cancelled."""

from __future__ import annotations

import asyncio
from typing import Any


class Running:
    """The tasks at work, by tenant and id of the response."""

    def __init__(self) -> None:
        self._tasks: dict[tuple[str, str], asyncio.Task[Any]] = {}

    def add(self, tenant: str, response_id: str, task: asyncio.Task[Any]) -> None:
        """Remember *task* until it has ended."""
        key = (tenant, response_id)
        self._tasks[key] = task
        task.add_done_callback(lambda _: self._tasks.pop(key, None))

    async def ended(self, tenant: str, response_id: str, wait_s: float) -> None:
        """Wait until a response has been made, at most *wait_s*; so long where nobody here makes it."""
        if task := self._tasks.get((tenant, response_id)):
            await asyncio.wait({task}, timeout=wait_s)
        else:
            await asyncio.sleep(wait_s)

    def cancel(self, tenant: str, response_id: str) -> None:
        """End the task behind a response, if there is one."""
        if task := self._tasks.get((tenant, response_id)):
            task.cancel()
