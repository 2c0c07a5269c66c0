"""Unexpected exceptions, told to a webhook of the configuration.

    a record with an exception, at level error --> Incidents.emit, in any thread --> at most WAITING of them
    what waits --> Incidents.run --> POST, signed as alerts are; tried three times, then left to the log

The same fault, which is one kind of exception at one line, is told once in `repeat_s`, with how often it came since;
all faults together `per_hour` times. What is told holds no text of the exception: the log has it, under the id of the
request.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
import traceback
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Final

import aiohttp
from typing_extensions import override

from proxy.chores import at_work
from proxy.config.model import ErrorSettings
from proxy.logs import OURS, REQUEST_ID, Listener
from proxy.version import version
from proxy.webhooks import Webhook
from translators.codec import dumps

log = logging.getLogger("modelport.incidents")

WAITING: Final = 100
KNOWN: Final = 256
"""Faults that are remembered."""
HOUR_S: Final = 3600.0
TRIES: Final = 3
PAUSE_S: Final = 5.0
"""Between two tries; doubles."""
FRAMES: Final = 12
PACKAGES: Final = frozenset({"translators", "routing", "storage", "proxy"})


@dataclass(slots=True)
class Fault:
    """One kind of exception at one line: when it was told last, on the clock of `now`, and how often it came since."""

    told_at: float
    since: int = 0


class Incidents(Listener):
    """Puts what is to be told in a line. *clean* takes secrets out of a text, *now* is a monotonic clock."""

    def __init__(
        self,
        session: aiohttp.ClientSession,
        settings: Callable[[], ErrorSettings],
        clean: Callable[[str], str],
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__(logging.ERROR)
        self.seen = 0
        """Unexpected exceptions, whoever is told of them."""
        self.told = 0
        """Those that the receiver has accepted."""
        self.shed = 0
        """Those that were not told: the same again, too many, or not accepted."""
        self._session = session
        self._settings = settings
        self._clean = clean
        self._now = now
        self._loop = asyncio.get_running_loop()
        self._woken = asyncio.Event()
        self._waiting: deque[dict[str, Any]] = deque()
        self._faults: dict[str, Fault] = {}
        self._recent: deque[float] = deque()

    @override
    def emit(self, record: logging.LogRecord) -> None:
        """In any thread, under the handler's lock."""
        foreign = record.name.partition(".")[0] not in OURS
        if foreign or record.exc_info is None or record.exc_info[0] is None:
            return
        self.seen += 1
        if self._settings().webhook is None:
            return
        kind, _, trace = record.exc_info
        where = _where(trace)
        count = self._count(f"{kind.__qualname__} {where[-1] if where else record.name}")
        if count == 0 or len(self._waiting) >= WAITING:
            self.shed += 1
            return
        self._waiting.append(
            {
                "id": f"error_{secrets.token_hex(8)}",
                "event": "error",
                "at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(record.created)),
                "version": version(),
                "logger": record.name,
                "message": self._clean(record.getMessage())[:500],
                "exception": f"{kind.__module__}.{kind.__qualname__}",
                "where": where,
                "request_id": REQUEST_ID.get() or None,
                "count": count,
            }
        )
        with suppress(RuntimeError):  # the loop is gone: a thread is the last to speak
            self._loop.call_soon_threadsafe(self._woken.set)

    def _count(self, name: str) -> int:
        """How often the fault *name* has come since it was told, this time included; 0: it is not told now."""
        now, settings = self._now(), self._settings()
        while self._recent and self._recent[0] <= now - HOUR_S:
            self._recent.popleft()
        fault = self._faults.pop(name, None) or Fault(float("-inf"))
        self._faults[name] = fault
        while len(self._faults) > KNOWN:
            del self._faults[next(iter(self._faults))]
        fault.since += 1
        if fault.told_at > now - settings.repeat_s or len(self._recent) >= settings.per_hour:
            return 0
        self._recent.append(now)
        count, fault.since, fault.told_at = fault.since, 0, now
        return count

    async def run(self) -> None:
        """Tell for ever."""
        while True:
            await self._woken.wait()
            self._woken.clear()
            await self.deliver()

    async def deliver(self) -> None:
        """Tell of what waits."""
        while self._waiting:
            await self._tell(self._waiting.popleft())

    async def _tell(self, report: dict[str, Any]) -> None:
        settings, why = self._settings(), None
        if settings.webhook is None:
            return
        webhook = Webhook(settings.webhook, settings.webhook_secret, settings.timeout_s)
        for number in range(TRIES):
            if number:
                await asyncio.sleep(PAUSE_S * 2 ** (number - 1))
            headers = {"x-modelport-error": str(report["id"])}
            why = await webhook.post(self._session, dumps(report), headers, int(time.time()))
            if why is None:
                self.told += 1
                return
        self.shed += 1
        log.warning("the webhook of [errors] did not accept %s (%s)", report["id"], why)


def _where(trace: TracebackType | None) -> list[str]:
    """The lines that led to it, the last one last; a file of ours by its path below the packages."""
    frames = traceback.extract_tb(trace)[-FRAMES:]
    return [f"{_short(frame.filename)}:{frame.lineno} {frame.name}" for frame in frames]


def _short(name: str) -> str:
    parts = Path(name).parts
    ours = next((place for place, part in enumerate(parts[:-1]) if part in PACKAGES), len(parts) - 2)
    return "/".join(parts[max(0, ours) :])


@asynccontextmanager
async def telling_of_errors(incidents: Incidents) -> AsyncIterator[None]:
    """*incidents* listens to all loggers, and is at work."""
    root = logging.getLogger()
    root.addHandler(incidents)
    try:
        async with at_work(incidents.run()):
            yield
    finally:
        root.removeHandler(incidents)
