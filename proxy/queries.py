"""One call with an id of its own: asked, followed, asked for later, cancelled. What `/api/v1/llm/query` is made of.

    queued --its turn--> running --> completed | failed | cancelled

Each query is made by a task that asks as a streaming chat client does, through the same pipeline, and reads what comes
instead of sending it to a socket: so there is something to tell of one that is still running, whoever waits for it or
nobody. A query whose client waits ends with that client; one that was asked for asynchronously ends with the process
at the latest.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, Final, Literal

from aiohttp.abc import AbstractStreamWriter
from aiohttp.http import HttpVersion11, RawRequestMessage
from aiohttp.streams import StreamReader
from aiohttp.web_request import BaseRequest
from multidict import CIMultiDict, CIMultiDictProxy
from typing_extensions import override
from yarl import URL

from proxy.asked import Asked
from proxy.errors import Refused, failure_of, refused
from proxy.keyring import why_not
from proxy.pipeline import answer
from proxy.query_desk import QueryDesk
from proxy.server import Incoming
from proxy.services import Services
from storage.errors import StorageError
from storage.queries import QueryStatus, StoredQuery
from translators import openai_chat
from translators.assemble import Collector
from translators.codec import dumps, loads_object
from translators.errors import BadRequest
from translators.neutral import Event, Failure, PartDelta, PartStart, Refusal, Response, Text, Thinking, ToolCall
from translators.openai_chat.client import render_error, render_response
from translators.sse import SseDecoder
from translators.tokens import rough

log = logging.getLogger("modelport")

STOP_CHECK_S: Final = 0.5
"""How often a task looks whether the process is to stop."""
HELD_PIECES: Final = 64
"""Pieces that a slow reader of a stream may leave waiting; then its vendor's stream waits, too."""
_RECEIPT: Final = b": modelport "
INTERRUPTED: Final = Failure(
    "server", "the proxy was stopped before this query had ended", 503, "interrupted", retry_after_s=1
)

Mode = Literal["whole", "stream", "asynchronous"]


@dataclass(frozen=True, slots=True)
class Wish:
    """What is wanted of a query beside its answer. *ttl_s*: how long its result is kept; None: not at all."""

    mode: Mode
    ttl_s: float | None
    timeout_s: float | None = None


@dataclass(slots=True)
class Run:
    """One query at work. Times are Unix seconds."""

    services: Services
    incoming: Incoming
    asked: Asked
    wish: Wish
    id: str
    status: QueryStatus
    created: float
    started: float | None = None
    ended: float | None = None
    written: int = 0
    """Bytes of text that have come."""
    failure: Failure | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    receipt: Mapping[str, Any] = field(default_factory=dict)
    row: Mapping[str, Any] = field(default_factory=dict)
    """What the ledger says of it, once it has ended."""
    task: asyncio.Task[None] | None = None
    cancelled: bool = False
    """Whether somebody has asked for its end."""
    events: asyncio.Queue[Sequence[Event] | None] = field(default_factory=lambda: asyncio.Queue(HELD_PIECES))
    """What comes, for the one who follows; None: it has ended."""
    done: asyncio.Event = field(default_factory=asyncio.Event)
    _collector: Collector = field(default_factory=Collector)

    @property
    def tenant(self) -> str:
        """Whose it is."""
        return self.incoming.tenant

    @property
    def desk(self) -> QueryDesk:
        """Where it is found."""
        return self.services.queries

    def cancel(self) -> None:
        """End it; nothing happens if it has ended."""
        self.cancelled = True
        if self.task is not None:
            self.task.cancel()

    # --- what there is to tell

    def told(self, *, result: bool) -> dict[str, Any]:
        """All that is known of it now; with *result* what the model has said."""
        response = self._collector.response()
        usage = response.usage
        tokens: dict[str, Any] = {
            "input": usage.input_tokens if usage else None,
            "output": usage.output_tokens if usage else rough(self.written),
            # The ledger knows which counts the vendor told; the stream that is read here does not say.
            "estimated": bool(self.row["estimated"]) if self.row else usage is None or usage.estimated,
        }
        found: dict[str, Any] = {
            "query_id": self.id,
            "status": self.status,
            "exchange_id": self.incoming.id,
            "created_at": iso(self.created),
            "started_at": iso(self.started),
            "ended_at": iso(self.ended),
            "model": self.asked.controls.route or self.asked.request.model,
            "target": self.row.get("target") or self.headers.get("x-modelport-target"),
            "route": self.headers.get("x-modelport-route"),
            "cache": self.headers.get("x-modelport-cache"),
            "attempts": len(self.row["attempts"]) if self.row else self.receipt.get("attempts"),
            "cost_usd": self.row["cost_usd"] if self.row else self.receipt.get("cost_usd"),
            "losses": self.receipt.get("losses", []),
            "tokens": tokens,
            "error": told_error(self.failure) if self.failure else None,
        }
        if result:
            found |= self._result(response)
        return found

    def _result(self, response: Response) -> dict[str, Any]:
        if self.status != "completed":
            return {"text": said(response) or None, "result": None}
        return {"text": said(response), "result": render_response(response, self.asked.reply_to())}

    # --- what comes

    async def heard(self, events: Sequence[Event]) -> None:
        """More of the answer."""
        for event in events:
            if isinstance(event, Failure):
                self.failure = event
                continue
            if isinstance(event, PartDelta):
                self.written += len(event.text.encode("utf-8", "replace"))
            self._collector.add(event)
        if self.wish.mode == "stream":
            await self.events.put(events)

    # --- the work

    async def work(self) -> None:
        """Make it, as long as nobody cancels it and the process goes on; then store what came of it."""
        self.task = task = asyncio.ensure_future(self._make())
        if self.cancelled:
            task.cancel()
        self.services.in_flight += 1
        stop_at: float | None = None
        try:
            while not task.done():
                await asyncio.wait({task}, timeout=STOP_CHECK_S)
                if self.services.draining and stop_at is None:
                    stop_at = time.monotonic() + self.services.setup.loaded.settings.server.shutdown_s
                if stop_at is not None and time.monotonic() >= stop_at and not self.cancelled:
                    self.failure = INTERRUPTED
                    task.cancel()
            await self._end()
        finally:
            self.services.leave()
            self.desk.remove(self)
            if self.wish.mode == "asynchronous":
                self.desk.let_go(self.tenant)
            self.done.set()
            if self.wish.mode == "stream":
                await self.events.put(None)

    async def _make(self) -> None:
        longest_s = self.desk.bounds.longest_s
        try:
            async with asyncio.timeout(min(longest_s, self.wish.timeout_s or longest_s)):
                await self._ask()
        except TimeoutError:
            self.failure = Failure("timeout", "the query did not end in time", 504, "upstream_timeout")
        except Refused as error:
            self.failure = error.failure
            self.headers = {**self.headers, **{name.lower(): value for name, value in error.headers.items()}}
        except BadRequest as error:
            self.failure = failure_of(error)
        except StorageError as error:
            self.failure = Failure("overloaded", str(error), 503, "storage_unavailable")
        except ConnectionError:
            self.failure = self.failure or Failure(
                "server", "the answer could not be booked", 503, "ledger_unavailable"
            )
        except Exception:
            log.exception("query %s could not be made", self.id)
            self.failure = Failure("server", "an internal error of the proxy", 500, "internal_error")

    async def _ask(self) -> None:
        if self.wish.mode != "asynchronous":
            return await self._answer()
        async with self.desk.turn(self.tenant, _own_limit(self.services, self.incoming)):
            _check_key(self.services, self.incoming)
            if await self.desk.store.begin(self.tenant, self.id):
                await self._answer()
        return None

    async def _answer(self) -> None:
        self.status, self.started = "running", time.time()
        listener = _Listener(self)
        incoming = replace(self.incoming, http=_request(self.incoming.http, listener))
        await answer(self.services, incoming, self.asked)

    async def _end(self) -> None:
        self.ended = time.time()
        if self.cancelled:
            self.status, self.failure = "cancelled", None
        elif self.failure is not None:
            self.status = "failed"
        else:
            self.status = "completed"
        try:
            row = await self.services.accounts.exchange(self.incoming.id)
            self.row = row if row and row["settled_at"] else {}
            if self.wish.ttl_s is None:
                return
            told, ended_us = dumps(self.told(result=True)), int((self.ended or time.time()) * 1_000_000)
            await self.desk.store.end(self.tenant, self.id, self.status, told, ended_us)
        except StorageError as error:
            log.error("query %s has ended, which could not be stored: %s", self.id, error)


async def begun(services: Services, incoming: Incoming, asked: Asked, wish: Wish) -> Run:
    """A query that waits for its turn, or runs.

    Raises:
        Refused: there are too many already.
        StorageError: it is to be kept and could not be written.
    """
    desk = services.queries
    asynchronous = wish.mode == "asynchronous"
    if asynchronous and not desk.has_room(incoming.tenant):
        told = f"there are {desk.bounds.unended_per_key} queries of this key, or {desk.bounds.unended} in all, unended"
        raise refused(
            429, f"{told}; wait for some of them", kind="rate_limit", code="too_many_queries", retry_after_s=5
        )
    status: QueryStatus = "queued" if asynchronous else "running"
    run = Run(services, incoming, asked, wish, f"qry_{incoming.answer_id}", status, time.time())
    if asynchronous:
        desk.take_in(incoming.tenant)
    try:
        if wish.ttl_s is not None:
            await desk.store.add(incoming.tenant, run.id, status, dumps(run.told(result=True)), wish.ttl_s)
    except BaseException:
        if asynchronous:
            desk.let_go(incoming.tenant)
        raise
    desk.add(run)
    services.spawn(run.work())
    return run


async def awaited(run: Run) -> None:
    """Wait for the end of *run*. Whoever does not wait any more cancels it.

    Raises:
        Refused: it failed or was cancelled.
    """
    try:
        await run.done.wait()
    finally:
        if not run.done.is_set():
            run.cancel()
    raise_failure(run)


async def followed(run: Run) -> AsyncGenerator[Sequence[Event]]:
    """What comes of *run*, until it has ended. Whoever stops reading cancels it."""
    try:
        while (events := await run.events.get()) is not None:
            yield events
    finally:
        if not run.done.is_set():
            run.cancel()
            while await run.events.get() is not None:  # so that it can end
                pass


def raise_failure(run: Run) -> None:
    """Raises Refused when *run* has failed or was cancelled."""
    if run.status == "cancelled":
        raise refused(409, f"the query {run.id} was cancelled", code="query_cancelled")
    if run.failure is not None:
        passed = {name: value for name, value in run.headers.items() if name.startswith("x-")}
        raise Refused(run.failure, {**passed, "x-modelport-query-id": run.id})


def stored_told(stored: StoredQuery) -> dict[str, Any]:
    """What was told of a query when it was stored, with the state of its row, and its times where none were told."""
    told = loads_object(stored.told or b"{}")
    told |= {"query_id": stored.id, "status": stored.status}
    for name, at_us in (
        ("created_at", stored.created_us),
        ("started_at", stored.started_us),
        ("ended_at", stored.ended_us),
    ):
        told[name] = told.get(name) or iso_us(at_us)
    return told


def interrupted() -> bytes:
    """What is told of a query that was not ended when its process was."""
    return dumps({"error": told_error(INTERRUPTED), "text": None, "result": None})


def told_error(failure: Failure) -> dict[str, Any]:
    """*failure* as the object `error` of a query."""
    status, body = render_error(failure, "")
    return {**body["error"], "status": status}


def said(response: Response) -> str:
    """The text of the first choice."""
    parts = response.choices[0].parts if response.choices else ()
    return "".join(part.text for part in parts if isinstance(part, Text))


def deltas(events: Sequence[Event], kinds: dict[tuple[int, int], PartStart]) -> list[dict[str, Any]]:
    """*events* as the `delta` events of a query's stream. *kinds* remembers which parts are open."""
    found: list[dict[str, Any]] = []
    for event in events:
        match event:
            case PartStart(part=ToolCall() as call):
                kinds[event.choice, event.index] = event
                found.append({"tool_call": {"index": event.index, "id": call.id, "name": call.name}})
            case PartStart():
                kinds[event.choice, event.index] = event
            case PartDelta() if event.text and (start := kinds.get((event.choice, event.index))):
                found.append(_delta(start, event))
            case _:
                pass
    return found


def _delta(start: PartStart, event: PartDelta) -> dict[str, Any]:
    match start.part:
        case Thinking():
            return {"reasoning": event.text}
        case Refusal():
            return {"refusal": event.text}
        case ToolCall():
            return {"tool_call": {"index": event.index, "arguments": event.text}}
        case _:
            return {"text": event.text}


def iso(at: float | None) -> str | None:
    """UTC with milliseconds."""
    if at is None:
        return None
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def iso_us(at_us: int | None) -> str | None:
    """The same of microseconds."""
    return None if at_us is None else iso(at_us / 1_000_000)


# --- who may -----------------------------------------------------------------------------------------


def _own_limit(services: Services, incoming: Incoming) -> int | None:
    """How many requests at the same time the key may have."""
    entry = services.keyring.entries.get(incoming.identity.key_id or "")
    return entry.key.settings.limits.concurrent if entry else None


def _check_key(services: Services, incoming: Incoming) -> None:
    """Raises Refused: the key has been revoked or has expired while its query waited."""
    entry = services.keyring.entries.get(incoming.identity.key_id or "")
    if entry is not None and (reason := why_not(entry, services.keyring.now())):
        raise refused(401, reason, kind="authentication", code="invalid_api_key")


# --- an answer that goes to no socket ----------------------------------------------------------------


class _Listener(AbstractStreamWriter):
    """Takes the pipeline's stream of chunks and tells *run* what it says."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._decoder = SseDecoder()
        self._parser = openai_chat.StreamParser()

    @override
    async def write_headers(self, status_line: str, headers: CIMultiDict[str]) -> None:
        self._run.headers = {name.lower(): value for name, value in headers.items()}

    @override
    async def write(self, chunk: bytes | bytearray | memoryview) -> None:
        self.output_size += len(chunk)
        found: list[Event] = []
        for event in self._decoder.feed(bytes(chunk)):
            if event.raw.startswith(_RECEIPT):
                self._run.receipt = loads_object(event.raw[len(_RECEIPT) :])
            else:
                found.extend(self._parser.feed(event.raw))
        if found:
            await self._run.heard(found)

    @override
    async def write_eof(self, chunk: bytes = b"") -> None:
        if chunk:
            await self.write(chunk)
        if rest := self._parser.close():
            await self._run.heard(rest)

    @override
    async def drain(self) -> None:
        """Nothing waits here."""

    @override
    def enable_compression(self, encoding: str = "deflate", strategy: int | None = None) -> None:
        """Nobody has asked for it."""

    @override
    def enable_chunking(self) -> None:
        """It is no HTTP any more."""


def _request(http: BaseRequest, writer: AbstractStreamWriter) -> BaseRequest:
    """A request like *http*, whose answer goes to *writer*: the connection may be gone before it ends."""
    loop = asyncio.get_running_loop()
    headers = CIMultiDictProxy(CIMultiDict(http.headers))
    message = RawRequestMessage(
        http.method,
        http.rel_url.raw_path_qs,
        HttpVersion11,
        headers,
        http.raw_headers,
        should_close=False,
        compression=None,
        upgrade=False,
        chunked=False,
        url=URL(str(http.rel_url), encoded=True),
    )
    payload = StreamReader(http.protocol, 1, loop=loop)
    payload.feed_eof()
    return BaseRequest(message, payload, http.protocol, writer, http.task, loop)
