"""The request log: what was asked and answered, kept for those who want to read it again. Off unless configured.

    an exchange is settled -> take (a check of the settings, a queue) -> a thread cuts, cleans, hashes, compresses
    -> the database, many at once

Whoever is answered never waits for it: where the queue is full, the entry is shed and counted.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from proxy.chores import at_work
from proxy.config.model import RequestLogSettings, Settings
from proxy.errors import Redactor
from proxy.exchange import Exchange
from proxy.identity import Identity
from proxy.records import Record
from storage.errors import StorageError
from storage.ledger import Status
from storage.requestlog import Entry, Parts, RequestLogStore, texts

if TYPE_CHECKING:
    from proxy.redaction import Redaction

log = logging.getLogger("modelport")

QUEUE_ENTRIES: Final = 2000
BATCH_ENTRIES: Final = 16
BATCH_BYTES: Final = 256 * 1024
"""The most that one turn of the thread, and one write to the database, takes: the ledger's writes come between."""
PRUNE_S: Final = 60.0
HEAD: Final = 200
"""Characters of question and answer that lists show."""
SAID: Final = frozenset(
    {
        *("messages", "contents", "input", "prompt", "system", "systemInstruction", "system_instruction"),
        *("instructions", "choices", "content", "candidates", "output"),
        "body",  # of what is passed on
    }
)
"""The fields of requests and answers that hold what was said, by the names of all dialects."""
STOP_S: Final = 5.0
"""How long what is in the queue may take at the end."""


def wanted(settings: Settings, identity: Identity, route: str) -> bool:
    """Whether a request is logged: as its key says, else as its route says, else as `request_log.enabled` says."""
    if identity.logs is not None:
        return identity.logs
    configured = settings.routes.get(route)
    if configured is not None and configured.log is not None:
        return configured.log
    return settings.request_log.enabled


@dataclass(frozen=True, slots=True)
class Draft:
    """An exchange as it was settled, not yet looked at."""

    at: float
    record: Record
    identity: Identity
    id: str
    dialect: str
    stream: bool
    route: str
    target: str | None
    status: Status
    cache: str
    latency_ms: float
    cost_nanousd: int | None
    error: str | None

    @property
    def weight(self) -> int:
        """Bytes that it keeps in memory, roughly: the bodies as they came and as they were read."""
        return 2 * self.record.size + 8192


class RequestLog:
    """The log of a process. *redactor* knows the secrets that are known now, *settings* are those in force now."""

    def __init__(self, store: RequestLogStore) -> None:
        self.store = store
        self.settings: Callable[[], RequestLogSettings] = RequestLogSettings
        self.redactor: Callable[[], Redactor] = Redactor
        self.shed = 0
        """Entries that found the queue full."""
        self.lost = 0
        """Entries that could not be cut or stored."""
        self.stored = 0
        self._queue: deque[Draft] = deque()
        self._queued_bytes = 0
        self._wake = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()
        self._redaction: tuple[RequestLogSettings, Redactor, Redaction] | None = None
        self._pool: ThreadPoolExecutor | None = None
        self._pruned = 0.0

    @property
    def queued(self) -> int:
        """Entries that wait."""
        return len(self._queue)

    def follow(self, settings: Settings, exchange: Exchange, identity: Identity, record: Callable[[], Record]) -> None:
        """Log *exchange* when it is settled, with the *record* that there is then, if that is wanted."""

        def told(status: Status, latency_ms: float, error: str | None) -> None:
            target = exchange.target or (exchange.attempts[-1].target if exchange.attempts else None)
            self.take(
                Draft(
                    at=time.time() - latency_ms / 1000,
                    record=record(),
                    identity=identity,
                    id=exchange.id,
                    dialect=exchange.dialect,
                    stream=exchange.stream,
                    route=exchange.route,
                    target=target.name if target else None,
                    status=status,
                    cache=exchange.cache,
                    latency_ms=latency_ms,
                    cost_nanousd=exchange.cost_nanousd,
                    error=error,
                )
            )

        if wanted(settings, identity, exchange.route):
            exchange.on_settled = told

    def take(self, draft: Draft) -> None:
        """Log *draft* soon. Never waits, never raises."""
        limit = int(self.settings().queue_mb * 2**20)
        if len(self._queue) >= QUEUE_ENTRIES or self._queued_bytes + draft.weight > limit:
            self.shed += 1
            return
        self._queue.append(draft)
        self._queued_bytes += draft.weight
        self._idle.clear()
        self._wake.set()

    async def run(self) -> None:
        """Store what comes, until cancelled."""
        try:
            while True:
                with suppress(TimeoutError):
                    async with asyncio.timeout(PRUNE_S):
                        await self._wake.wait()
                self._wake.clear()
                while self._queue:
                    await self._store(self._batch())
                self._idle.set()
                await self._prune()
        finally:
            if self._pool is not None:
                self._pool.shutdown(wait=False)

    async def flush(self) -> None:
        """Wait until the queue is empty, but not long: at the end, and in tests."""
        with suppress(TimeoutError):
            async with asyncio.timeout(STOP_S):
                await self._idle.wait()

    def stats(self) -> dict[str, int]:
        """For /health and /metrics."""
        return {"stored": self.stored, "queued": self.queued, "shed": self.shed, "lost": self.lost}

    def _batch(self) -> list[Draft]:
        found: list[Draft] = []
        size = 0
        while self._queue and len(found) < BATCH_ENTRIES and size < BATCH_BYTES:
            draft = self._queue.popleft()
            self._queued_bytes -= draft.weight
            size += draft.weight
            found.append(draft)
        return found

    async def _store(self, drafts: list[Draft]) -> None:
        if self._pool is None:
            self._pool = ThreadPoolExecutor(1, thread_name_prefix="modelport-log")
        entries = await asyncio.get_running_loop().run_in_executor(self._pool, self._cut, drafts)
        self.lost += len(drafts) - len(entries)
        try:
            await self.store.add(entries)
            self.stored += len(entries)
        except StorageError as error:
            self.lost += len(entries)
            log.error("%d entries of the request log could not be stored: %s", len(entries), error)
        except Exception:  # the edge of a task: the next entries shall have their chance
            self.lost += len(entries)
            log.exception("%d entries of the request log could not be stored", len(entries))

    def _cut(self, drafts: list[Draft]) -> list[Entry]:
        redaction = self._redact()
        found = []
        for draft in drafts:
            try:
                found.append(entry_of(draft, redaction))
            except Exception as error:  # noqa: BLE001  the edge of a thread; what could not be cleaned is not kept
                log.error("%s could not be put into the request log: %s", draft.id, type(error).__name__)
        return found

    def _redact(self) -> Redaction:
        """What cleans, anew when rules or secrets are others: it remembers what it has seen."""
        settings, redactor = self.settings(), self.redactor()
        if self._redaction is None or self._redaction[0] is not settings or self._redaction[1] is not redactor:
            from proxy.redaction import Redaction, compiled  # here, as its patterns take their time to compile

            redaction = Redaction(redactor.clean_known, frozenset(settings.redact), compiled(settings.rules))
            self._redaction = settings, redactor, redaction
        return self._redaction[2]

    async def _prune(self) -> None:
        """What is too old, or too much, goes; looked at every now and then."""
        now = time.monotonic()
        if now - self._pruned < PRUNE_S and self._pruned:
            return
        self._pruned = now
        settings = self.settings()
        try:
            await self.store.prune(time.time(), ttl_s=settings.ttl_s, max_bytes=int(settings.max_mb * 2**20))
        except StorageError as error:
            log.warning("the request log could not be pruned: %s", error)


@asynccontextmanager
async def logging_requests(requests: RequestLog) -> AsyncIterator[None]:
    """*requests* at work; at the end what is in its queue is stored."""
    async with at_work(requests.run()):
        try:
            yield
        finally:
            await requests.flush()


def entry_of(draft: Draft, redaction: Redaction) -> Entry:
    """*draft*, cleaned and cut; for a thread."""
    parts, answered = Parts(), draft.record.answered()
    body = redaction.value(draft.record.asked())
    answer = None if answered is None else redaction.value(answered)
    return Entry(
        id=draft.id,
        at_us=int(draft.at * 1_000_000),
        key_id=draft.identity.key_id,
        team=draft.identity.team,
        organisation=draft.identity.organisation,
        dialect=draft.dialect,
        route=redaction.text(draft.route),
        target=draft.target,
        status=draft.status,
        stream=draft.stream,
        cache=draft.cache,
        latency_ms=draft.latency_ms,
        cost_nanousd=draft.cost_nanousd,
        error=None if draft.error is None else redaction.text(draft.error),
        question=head(_last_question(body)),
        answer=head(" ".join(texts(_answered(answer)))),
        asked=parts.cut(body, SAID),
        answered=None if answer is None else parts.cut(answer, SAID),
        parts=parts.found,
    )


def _last_question(body: dict[str, Any]) -> str:
    """The text of the last message, whatever its dialect calls the messages."""
    said = body.get("body", body)
    for name in ("messages", "contents", "input", "prompt"):
        value = said.get(name)
        if isinstance(value, list) and value:
            value = value[-1]
        if value:
            return " ".join(texts(value))
    return ""


def _answered(answer: dict[str, Any] | None) -> Any:
    if answer is None:
        return []
    return next((answer[name] for name in ("choices", "content", "candidates", "output") if answer.get(name)), [])


def head(text: str) -> str:
    """The beginning of *text*, in one line."""
    line = " ".join(text[: 4 * HEAD].split())
    return line if len(line) <= HEAD else line[: HEAD - 1] + "…"
