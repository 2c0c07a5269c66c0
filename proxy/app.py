"""The process: start, dispatch, reload, stop.

Start-up touches no network but the port. SIGHUP reads the configuration again; SIGTERM and SIGINT stop accepting,
let running answers end for `shutdown_s`, settle the rest and exit with 0.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import os
import re
import signal
import socket
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from aiohttp import HttpVersion11, web
from aiohttp.web_request import BaseRequest

from proxy.alerts import Courier, Watch, watching
from proxy.auth import Gate
from proxy.backends.backend import NO_DESCRIPTORS
from proxy.backends.callers import CONNECTIONS, caller_for, new_session
from proxy.banner import banner
from proxy.bookkeeping import bookkeeping
from proxy.budgeting import Bills
from proxy.catalogue import Catalogue
from proxy.chores import at_work
from proxy.config import ConfigError, Loaded, changed_since
from proxy.config.changes import changes, configuration_digest
from proxy.config.loading import MEMORY
from proxy.config.model import Settings
from proxy.credentials import CredentialBook, dangling, open_sealer
from proxy.descriptors import NONE_LEFT, LoopErrors, is_shortage, raise_limit, shares
from proxy.disk import housekeeping
from proxy.envelopes import dialect_of, failure_response
from proxy.errors import RETRY_S, NobodyGetsIn, Refused, StartError, UnknownKey, failure_of, refused
from proxy.event_loop import NoUvloop, loop_factory
from proxy.fast.lane import Lane
from proxy.fast.shapes import Opening, close_opened
from proxy.identity import Identity
from proxy.incidents import Incidents, telling_of_errors
from proxy.keyring import Keyring
from proxy.logs import REQUEST_ID, configure_logging
from proxy.loop_lag import measuring
from proxy.media import MediaFetcher
from proxy.metering import UNMETERED, Metered
from proxy.pages import Pages, preflight
from proxy.probing import probing
from proxy.provider_book import ProviderBook
from proxy.queries import interrupted
from proxy.query_desk import QueryDesk
from proxy.repricing import price_keeper
from proxy.requestlog import RequestLog, logging_requests
from proxy.room import ANSWERS, Shares
from proxy.routes import ROUTES
from proxy.scopes import check_endpoint
from proxy.server import (
    PROVIDER_HEADER,
    Connection,
    Foreword,
    HostGuard,
    Incoming,
    Request,
    Route,
    Server,
    Table,
    check_framing,
    mark_ids,
    new_id,
)
from proxy.services import RESTORED_ATTEMPTS, Services
from proxy.setup import new_prices, new_setup
from proxy.signing import Signatures
from proxy.telemetry import new_telemetry
from proxy.workers.files import left_by_workers, worker_file
from proxy.workers.sharing import Sharing
from routing.breaker import VERDICTS, Breakers, State
from routing.catalog import Overlay
from routing.health import Seen
from routing.targets import Target
from storage.accounts import Accounts, PastAttempt
from storage.alerts import Alerts
from storage.audit import AuditLog
from storage.ballast import Ballast
from storage.budgets import Budgets
from storage.cache import Cache
from storage.catalog import CatalogStore
from storage.credentials import Credentials
from storage.db import Database
from storage.errors import LedgerUnavailable, StorageError
from storage.history import ConsensusHistory
from storage.journal import Journal
from storage.keys import Keys
from storage.learned import LearnedRules
from storage.ledger import Ledger
from storage.objects import VendorObjects
from storage.provider_rows import ProviderRows
from storage.queries import Queries
from storage.requestlog import RequestLogStore
from storage.responses import Responses
from storage.semantic.store import Semantic
from storage.slate import Slate
from storage.vault import Vault
from translators.errors import BadRequest
from translators.neutral import Failure, Usage

if TYPE_CHECKING:
    from proxy.workers.member import Member

log = logging.getLogger("modelport")

SAFE_ID: Final = re.compile(r"[A-Za-z0-9._:\-]+")
RELOAD_CHECK_S: Final = 1.0
FIRST_WORDS_S: Final = 0.25
"""So long a stopping process waits for the request of somebody who has just connected."""
BACKLOG: Final = 1024
USES_S: Final = 30.0
"""So often it is stored when keys were used last."""
RESTORED_S: Final = 3600.0
"""Attempts from before that say nothing of how a target is now."""
LOADED: Final = "configuration.loaded"
"""The audit log's word for a configuration that came into force."""


def serve(loaded: Loaded, reload: Callable[[], Loaded], member: Member | None = None) -> int:
    """Run until a signal says stop; the exit status. *reload* reads the configuration again.

    *member*: what it gets as one of several workers.
    """
    try:
        _set_log_up(loaded)
        raise_limit()
        if member is None and loaded.settings.server.workers > 1:
            from proxy.workers.keeper import Keeper

            return Keeper(loaded, reload, serve).keep()
        with asyncio.Runner(loop_factory=loop_factory(loaded.settings.server.event_loop)) as runner:
            runner.run(Process(loaded, reload, member).run())
    except (StartError, StorageError, NoUvloop) as error:
        sys.stderr.write(f"modelport: {error}\n")
        return 2 if isinstance(error, NobodyGetsIn) else 1
    return 0


def _set_log_up(loaded: Loaded, clean: Callable[[str], str] = str) -> None:
    """Raises StartError: the log's file cannot be had."""
    settings = loaded.settings.logging
    try:
        configure_logging(settings, clean=clean)
    except OSError as error:
        told = f"[logging] file: {settings.file} cannot be opened for writing: {error.strerror}"
        raise StartError(told) from error


class Process:
    """One running server. *member*: what it gets as one of several workers."""

    def __init__(self, loaded: Loaded, reload: Callable[[], Loaded], member: Member | None = None) -> None:
        self._loaded = loaded
        self._reload = reload
        self._member = member
        self._stop = asyncio.Event()

    async def run(self) -> None:
        """From start to exit.

        Raises:
            StartError, StorageError: it cannot start; the message says why and what to do.
        """
        asyncio.get_running_loop().set_exception_handler(LoopErrors())
        sharing = self._sharing()
        async with opened(self._loaded, sharing) as services:
            _set_log_up(self._loaded, services.clean_known)
            if sharing.begins:
                await _note_configuration(services)
            app = App(services)
            server = new_server(app, services)
            await sharing.join(services)
            listener, address = await _listen(server, self._loaded, self._member)
            self._on_signals(services)
            sharing.ready(banner(services.setup, address))
            gc.freeze()  # the collector need not look again and again at what lives as long as the process
            watcher = asyncio.create_task(self._watch(services))
            try:
                await self._stop.wait()
            finally:
                watcher.cancel()
                services.draining = True
                await _drain(listener, server, services, self._loaded.settings.server.shutdown_s)

    def _sharing(self) -> Sharing:
        if self._member is None:
            return Sharing()
        from proxy.workers.shared import Shared

        mark_ids(self._member.mark)
        return Shared(self._member, self._stop.set)

    def _on_signals(self, services: Services) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop.set)
        loop.add_signal_handler(signal.SIGHUP, lambda: services.spawn(self._replace(services, "SIGHUP")))

    async def _watch(self, services: Services) -> None:
        """With `server.reload`, read the file again when it has changed."""
        while True:
            await asyncio.sleep(RELOAD_CHECK_S)
            loaded = services.setup.loaded
            if loaded.settings.server.reload and changed_since(loaded):
                await self._replace(services, "the file changed")

    async def _replace(self, services: Services, why: str) -> None:
        """Read the configuration again; a bad one leaves the old one in force."""
        try:
            loaded = await asyncio.to_thread(self._reload)
        except ConfigError as error:
            log.error("%s, but the new configuration is wrong; the old one stays in force:\n%s", why, error)
            services.setup.loaded = _seen(services.setup.loaded)
            return
        before = services.setup.loaded
        kept = _unchangeable(before, loaded)
        try:
            apply(services, loaded)
        except StartError as error:
            log.error("%s, but the new configuration cannot be used; the old one stays in force: %s", why, error)
            services.setup.loaded = _seen(services.setup.loaded)
            return
        if services.sharing.first:
            services.audit.note(
                "process",
                LOADED,
                _where(loaded),
                after={"digest": configuration_digest(loaded), "changed": changes(before, loaded), "why": why},
            )
        if kept:
            log.warning("%s changed, which takes effect at the next start", " and ".join(kept))
        log.info("configuration read again (%s)", why)


def _seen(loaded: Loaded) -> Loaded:
    """*loaded* with the file's present stamp, so that one bad state of it is reported once."""
    if loaded.path is None:
        return loaded
    try:
        stat = loaded.path.stat()
    except OSError:
        return loaded
    return replace(loaded, stamp=(stat.st_mtime_ns, stat.st_size, stat.st_ino))


def _unchangeable(old: Loaded, new: Loaded) -> list[str]:
    """The sections whose change a running process cannot follow."""
    before, after = old.settings, new.settings
    address = (before.server.host, before.server.port) != (after.server.host, after.server.port)
    return [
        *(["the address of [server]"] if address else ()),
        *(["server.workers"] if before.server.workers != after.server.workers else ()),
        *(["[storage]"] if before.storage != after.storage else ()),
        *(["[secrets]"] if before.secrets != after.secrets else ()),
        *(["[breaker]"] if before.breaker != after.breaker else ()),
        *(["[telemetry]"] if before.telemetry != after.telemetry else ()),
    ]


def apply(services: Services, loaded: Loaded) -> None:
    """Put *loaded* in force for new requests. Address, storage and cache size stay as they were at the start.

    Raises:
        StartError: nobody could get in, or the log's file cannot be had; everything is as before.
    """
    gate = new_gate(loaded, services.keyring)
    _set_log_up(loaded, services.clean_known)
    services.renew_setup(loaded)
    services.prices = new_prices(services.setup.specs, loaded.settings.prices, services.prices.on_new)
    services.warm_prices()
    services.spawn(services.configure_budgets())
    services.gate = gate
    services.queries.bounds = loaded.settings.queries
    _bound(services, loaded.settings)
    services.hosts = new_guard(loaded)


def _bound(services: Services, settings: Settings) -> None:
    limits = services.door.bounds = settings.limits
    services.bodies.allow(limits.bodies_mb, limits.waiting_s)
    services.answers.allow(limits.answers_mb)
    services.retry_budget.allow(settings.retry.budget_share, settings.retry.budget_least)
    services.endings.configure(settings.logging)


def new_gate(loaded: Loaded, keyring: Keyring) -> Gate:
    """Who may come in.

    Raises:
        NobodyGetsIn: nobody could.
    """
    auth = loaded.settings.auth
    master = auth.master_key.reveal() if auth.master_key else None
    gate = Gate(required=auth.required, master_key=master, keyring=keyring)
    if auth.required and not gate.somebody_gets_in:
        raise NobodyGetsIn(
            "auth.required is true, but there is neither a usable auth.master_key nor an admin's key;"
            " make one: modelport keys create --name me --role admin"
        )
    return gate


def new_guard(loaded: Loaded) -> HostGuard:
    """Which names the port answers to."""
    server = loaded.settings.server
    keys_required, pages = loaded.settings.auth.required, Pages(server.allowed_origins)
    return HostGuard(server.host, server.allowed_hosts, keys_required=keys_required, pages=pages)


@asynccontextmanager
async def opened(loaded: Loaded, sharing: Sharing | None = None) -> AsyncIterator[Services]:
    """Storage opened, the ledger reconciled, health rebuilt; closed again in order."""
    settings, sharing = loaded.settings, sharing or Sharing()
    async with AsyncExitStack() as stack:
        db, ledger, ballast = await _books(stack, loaded, sharing)
        connections = min(CONNECTIONS, shares().providers)
        session = await stack.enter_async_context(new_session(connections))
        caller = await stack.enter_async_context(caller_for(settings.server.transport, session, connections))
        memory = settings.memory
        media = MediaFetcher(allow_private=settings.server.media_allow_private)
        stack.push_async_callback(media.close)
        overlay = Overlay()
        credentials = await _credentials(db, loaded)
        provider_book = ProviderBook(ProviderRows(db), credentials.audit)
        await provider_book.load()
        setup = new_setup(
            loaded, os.environ, caller, overlay, stored=credentials.keys, added=provider_book, sharing=sharing
        )
        learned = LearnedRules(db)
        keyring = Keyring(
            Keys(db),
            sealer=credentials.sealer.of("signing") if credentials.sealer else None,
            throttle=sharing.throttle,
        )
        await keyring.renew()
        budgets, alerts = Budgets(db), Alerts(db)
        services = Services(
            setup=setup,
            overlay=overlay,
            session=session,
            caller=caller,
            gate=new_gate(loaded, keyring),
            hosts=new_guard(loaded),
            db=db,
            ledger=ledger,
            accounts=Accounts(db),
            cache=Cache(db, max_bytes=int(settings.cache.max_mb * 2**20), ttl_s=settings.cache.ttl_s),
            semantic=Semantic(db),
            prices=new_prices(setup.specs, settings.prices),
            breakers=Breakers(
                time.monotonic,
                settings.breaker.failures,
                settings.breaker.cooldown_s,
                told=_tell_of_breaker,
                say=sharing.say,
            ),
            media=media,
            vault=Vault(db, memory.reasoning_ttl_s, max_bytes=int(memory.reasoning_max_mb * 2**20)),
            responses=Responses(db, ttl_s=memory.responses_ttl_s, max_bytes=int(memory.responses_max_mb * 2**20)),
            objects=VendorObjects(db),
            learned=learned,
            catalogue=Catalogue(overlay, CatalogStore(db), learned),
            budgets=budgets,
            watch=Watch(budgets, alerts, Courier(alerts, session, settings.alerts)),
            bills=Bills(budgets.raise_open),
            audit=credentials.audit,
            credentials=credentials,
            provider_book=provider_book,
            queries=QueryDesk(Queries(db), settings.queries),
            request_log=RequestLog(RequestLogStore(db)),
            history=ConsensusHistory(db),
            keyring=keyring,
            signatures=Signatures(keyring, time.time),
            sharing=sharing,
            ballast=ballast,
            endpoints=tuple(dict.fromkeys(route.path for route in ROUTES)),
        )
        _bound(services, settings)
        services.audit.clean = services.clean
        services.request_log.redactor = lambda: services.setup.redactor
        services.request_log.settings = lambda: services.setup.loaded.settings.request_log
        await _begin(stack, services, sharing)
        services.warm_prices()
        yield services


async def _begin(stack: AsyncExitStack, services: Services, sharing: Sharing) -> None:
    """Reconcile the books, and begin with all that goes on beside requests; *stack* ends it."""
    if (telemetry := new_telemetry(services.setup.loaded.settings.telemetry)) is not None:
        services.endings.telemetry = telemetry
        stack.push_async_callback(telemetry.close)
    services.incidents = Incidents(services.session, lambda: services.setup.loaded.settings.errors, services.clean)
    await stack.enter_async_context(telling_of_errors(services.incidents))
    await stack.enter_async_context(measuring(services.loop_lag))
    if sharing.begins:
        await _take_over(services)
    await _reconcile(services)
    services.prices.on_new = price_keeper(services.db)  # not before: reconciling prices in the writer thread
    if sharing.first:
        await stack.enter_async_context(housekeeping(services))
        await stack.enter_async_context(probing(services))
    await stack.enter_async_context(bookkeeping(services))
    await stack.enter_async_context(logging_requests(services.request_log))
    await stack.enter_async_context(_noting_uses(services.keyring))
    sharing.prepare(services)
    await stack.enter_async_context(watching(services.watch))
    stack.push_async_callback(sharing.close)
    stack.push_async_callback(_close_backends, services)
    stack.push_async_callback(services.drain)
    stack.callback(services.keyring.write_down)


async def _books(stack: AsyncExitStack, loaded: Loaded, sharing: Sharing) -> tuple[Database, Ledger, Ballast | None]:
    """Database, ledger and ballast, opened; closed again by *stack*."""
    settings, path = loaded.settings, loaded.settings.storage.path
    journal = None if path == MEMORY else Journal(sharing.own_file(path, "-spill"))
    ballast = None if path == MEMORY or not sharing.first else Ballast(path.with_name(f"{path.name}-ballast"))
    if ballast is not None:
        stack.callback(ballast.close)
        await asyncio.to_thread(ballast.make_way)
    if journal is not None:
        stack.push_async_callback(journal.close)
    slate = Slate(None if path == MEMORY else sharing.own_file(path, "-slate"))
    db = await stack.enter_async_context(
        Database(None if path == MEMORY else path, shared=sharing.several, first=sharing.begins)
    )
    if journal is not None:
        await journal.open(reserve=settings.storage.ledger == "relaxed")
    ledger = Ledger(db, mode=settings.storage.ledger, journal=journal, slate=slate)
    stack.push_async_callback(ledger.close)
    return db, ledger, ballast


async def _credentials(db: Database, loaded: Loaded) -> CredentialBook:
    """The stored keys of providers, opened."""
    settings, store = loaded.settings, Credentials(db)
    try:
        sealer = await open_sealer(store, settings.secrets)
    except StorageError as error:  # the salt of a passphrase, which was to be kept
        log.error("stored secrets cannot be opened: %s", error)
        sealer = None
    book = CredentialBook(store, AuditLog(db), sealer)
    await book.load()
    for sentence in dangling(settings, book.keys):
        log.warning("%s", sentence)
    return book


async def _note_configuration(services: Services) -> None:
    """Log who changed the configuration while no process was looking: whoever started this one."""
    loaded = services.setup.loaded
    last = await services.audit.last(LOADED)
    digest = configuration_digest(loaded)
    if last is None or not isinstance(last.after, dict) or last.after.get("digest") != digest:
        services.audit.note("process", LOADED, _where(loaded), after={"digest": digest})


def _where(loaded: Loaded) -> str:
    return str(loaded.path) if loaded.path else "(no file)"


async def _take_over(services: Services) -> None:
    """Do what workers that are no more have left in files of their own."""
    path = services.db.path
    for number in left_by_workers(path):
        journal = Journal(worker_file(path, "-spill", number))
        slate = Slate(worker_file(path, "-slate", number))
        try:
            await journal.open(reserve=False)
            await Ledger(services.db, journal=journal, slate=slate).take_over()
        except StorageError as error:
            log.error("what a worker left in %s stays there: %s", slate.path, error)
        finally:
            slate.close()
            await journal.close()


async def _reconcile(services: Services) -> None:
    """Close what a dead process left open, and rebuild health from the newest attempts."""
    mark = "" if services.sharing.begins else services.sharing.mark

    def estimate(provider: str, model: str, input_tokens: int) -> int | None:
        cost = services.prices.cost(provider, model, Usage(input_tokens=input_tokens), datetime.now(UTC))
        return cost.nanousd if cost else None

    try:
        closed = await services.ledger.recover(estimate, mark)
    except LedgerUnavailable as error:
        if services.ledger.mode == "strict":
            raise
        log.error("what the process before left open stays open: %s", error)
        closed = 0
    if closed:
        log.warning(
            "%d exchanges were interrupted when the process before ended; they are booked with estimates", closed
        )
    with contextlib.suppress(StorageError):  # a ledger that cannot be written was spoken of above
        await services.responses.recover(mark)
        await services.queries.store.recover(interrupted(), mark)
    await services.renew_choices()
    await services.know_models()
    await services.configure_budgets()
    await services.cache.open()
    with contextlib.suppress(StorageError):  # as above; then nothing is found
        await services.semantic.open()
    rows = await services.accounts.newest_attempts(RESTORED_ATTEMPTS)
    for row in rows:
        if row.status == "aborted":
            if row.latency_ms is not None:
                services.latencies.cut_short(
                    row.provider,
                    row.model,
                    waited_ms=row.latency_ms,
                    first_event_ms=row.first_event_ms,
                    at=row.ended_at,
                )
            continue
        seen = Seen(
            row.provider,
            row.model,
            row.status == "ok",
            row.ended_at,
            row.http_status,
            row.latency_ms,
            row.first_event_ms,
            row.error,
        )
        if services.sharing.begins:  # the health of all workers is put together
            services.health.record(seen)
        services.measure(seen, kind=row.error_kind)
        _restore_breaker(services, row)
    for provider in services.setup.rings:
        state, cooldown_s = services.breakers.state(provider)
        if state == "open":
            log.warning("%s: a breaker is still open, for %.0f s more", provider, cooldown_s)


def _restore_breaker(services: Services, row: PastAttempt) -> None:
    """Put the breaker of a target where the attempt that *row* tells of has left it."""
    kind = next((kind for kind in VERDICTS if kind == row.error_kind), None)
    ago_s = max(0.0, time.time() - row.ended_at)
    if ago_s > RESTORED_S or (row.status != "ok" and kind is None):
        return
    failure = None if kind is None or row.status == "ok" else Failure(kind, row.error or "", row.http_status or 502)
    services.breakers.restore(Target(row.provider, row.model), failure, ago_s)


@asynccontextmanager
async def _noting_uses(keyring: Keyring) -> AsyncIterator[None]:
    """Every now and then, it is stored when keys were used last."""

    async def note() -> None:
        while True:
            await asyncio.sleep(USES_S)
            keyring.write_down()

    async with at_work(note()):
        yield


def _tell_of_breaker(target: str, before: State, after: State, why: str) -> None:
    level = logging.WARNING if after == "open" else logging.INFO
    log.log(level, "breaker of %s: %s -> %s (%s)", target, before, after, why)


async def _close_backends(services: Services) -> None:
    for backend in services.setup.backends.values():
        await backend.close()


def new_server(app: App, services: Services) -> Server:
    """What takes connections, with the fast lane unless the configuration leaves it out."""
    kind = Lane(services) if services.setup.loaded.settings.server.fast_lane else Connection
    limits, most = (lambda: services.limits), shares().clients
    services.server = Server(app.dispatch, bounds=limits, connections=most, connection=kind)
    return services.server


async def _listen(server: Server, loaded: Loaded, member: Member | None) -> tuple[asyncio.Server, str]:
    settings = loaded.settings.server
    port, shared = (member.port, True) if member else (settings.port, None)
    try:
        listener = await asyncio.get_running_loop().create_server(
            server, settings.host, port, backlog=BACKLOG, reuse_address=True, reuse_port=shared
        )
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else str(error)
        raise StartError(
            f"cannot listen on {settings.host}:{settings.port}: {reason}; choose another with --port"
        ) from error
    port = listener.sockets[0].getsockname()[1]
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    return listener, f"http://{host}:{port}"


def shut(listener: asyncio.Server) -> list[socket.socket]:
    """Close *listener*; those who have connected and were not let in yet. By itself it would hang up on them."""
    visitors: list[socket.socket] = []
    for port in listener.sockets:
        with socket.socket(fileno=os.dup(port.fileno())) as own:
            own.setblocking(False)
            with contextlib.suppress(OSError):
                while True:
                    visitors.append(own.accept()[0])
    listener.close()
    for visitor in visitors:
        visitor.setblocking(False)
    return visitors


async def _drain(listener: asyncio.Server, server: Server, services: Services, limit_s: float) -> None:
    """Let in who has connected, let running answers end, cut the rest, and book everything."""
    for visitor in shut(listener):
        with contextlib.suppress(OSError):  # it has left again
            await asyncio.get_running_loop().connect_accepted_socket(server, visitor)
    server.pre_shutdown()
    began = time.monotonic()
    while (waited_s := time.monotonic() - began) < limit_s:
        if not services.in_flight and not (server.expects and waited_s < FIRST_WORDS_S):
            break
        await asyncio.sleep(0.02)
    if services.in_flight:
        log.warning("%d answers did not end within %g s and are cut", services.in_flight, limit_s)
    await server.shutdown(1.0)
    await services.drain()


async def _preflight(_services: Services, incoming: Incoming) -> web.Response:
    return web.Response(status=204, headers=preflight(incoming.http.headers))


PREFLIGHT: Final = Route("*", "(preflight)", _preflight, "open")
"""What a browser asks before a page of an origin that may. It sends no key, and is told of no path."""


class App:
    """Hands requests to their routes, and turns whatever is raised into the dialect's envelope."""

    def __init__(self, services: Services, routes: Iterable[Route] = ROUTES) -> None:
        self._services = services
        self._table = Table(routes)

    async def dispatch(self, request: BaseRequest) -> web.StreamResponse:
        """Answer one request."""
        started = time.perf_counter()
        services = self._services
        request_id = new_id()
        REQUEST_ID.set(request_id)
        services.in_flight += 1
        path, status, metered, queued_s = "(none)", 499, UNMETERED, 0.0
        foreword = self._prepared(request)
        opened = foreword.opened if isinstance(foreword, Opening) else None
        if opened is not None:
            request_id, started, metered = opened.exchange.id, opened.started, opened.metered
            REQUEST_ID.set(request_id)
        elif isinstance(foreword, Opening) and foreword.since is not None:
            queued_s, started = started - foreword.since, foreword.since
        response: web.StreamResponse | None = None
        try:
            check_framing(request)
            services.hosts.check(request.headers, request.target_host if isinstance(request, Request) else None)
            route, parameter = self._route(request)
            path = route.path
            self._check_connection(request, route)
            identity = await self._admitted(request, route)
            check_endpoint(identity, path.replace("{}", parameter))
            if opened is None and services.door.crowded(services.in_flight) and route.counts(request.method):
                queued_s += await services.door.enter(identity.tenant, services.in_flight)
            if opened is None:
                metered = Metered(services.keyring.meters(identity) if route.counts(request.method) else ())
            client_id = _safe_id(request.headers.get("x-request-id"), services.limits.request_id_chars)
            if client_id is not None and services.clean(client_id) != client_id:
                client_id = None  # a secret, which is not to be kept
            incoming = Incoming(request, route, parameter, request_id, started, identity, client_id, metered, foreword)
            incoming.queued_s = queued_s
            if route.method == "*":
                incoming.meant = self._table.meant(request.method, request.rel_url.raw_path)
            response = await route.handler(services, incoming)
            status = response.status
            if route.changes(request.method) and status < 400:
                await services.sharing.changed(path)
            if not response.prepared:
                response.headers.update(metered.headers())
        except (Refused, BadRequest, StorageError, OSError) as error:
            response = self._refusal(error, request, path, request_id)
            status = response.status
            if response.headers.get("connection") == "close":
                response.force_close()
        finally:
            metered.close(free=response is not None and _is_free(response))
            if opened is not None:
                close_opened(services, opened)
            if isinstance(request, Request):
                request.done(answered=response is None)
            services.leave()
            services.answered[path, status] += 1
        if services.draining and not response.prepared:
            response.force_close()  # the next request on this connection would find nobody
        old = request.version < HttpVersion11
        if status >= 400 and (old or (request.can_read_body and not request.content.at_eof())):
            response.force_close()  # what is left of the body must not be taken for the next request
        return response

    def _prepared(self, request: BaseRequest) -> Foreword | None:
        """What the fast lane knows of *request*, which gets what its body and its answers find room in."""
        if not isinstance(request, Request):
            return None
        request.room, request.answers = self._services.bodies, Shares(self._services.answers)
        ANSWERS.set(request.answers)
        return request.foreword

    def _route(self, request: BaseRequest) -> tuple[Route, str]:
        """The route of *request*, and what its path has in the place of `{}`. Raises Refused: there is none."""
        pages = self._services.hosts.pages
        if isinstance(request, Request) and "Origin" in request.headers:
            request.told = pages.told(request.headers)
        if request.method == "OPTIONS" and pages.ask_first(request.headers):
            return PREFLIGHT, ""
        path = request.rel_url.raw_path
        if request.method == "GET" and request.headers.get("Upgrade", "").lower() == "websocket":
            told = f"{path[:200]}: WebSocket connections are not relayed; ask by HTTP, with `stream` for events"
            raise refused(501, told, code="not_supported")
        return self._table.find(request.method, path, passed_on=PROVIDER_HEADER in request.headers)

    def _check_connection(self, request: BaseRequest, route: Route) -> None:
        """Raises Refused: 503 for a connection too many, unless it asks whether the process lives."""
        if isinstance(request, Request) and request.surplus and route.access != "open":
            raise self._services.door.no_connection()

    def _refusal(
        self, error: Refused | BadRequest | StorageError | OSError, request: BaseRequest, path: str, request_id: str
    ) -> web.Response:
        """What the client is told of *error*. Raises OSError: it is no want of descriptors, or the answer has begun."""
        if isinstance(error, StorageError):
            log.error("%s %s: %s", request.method, path, error)
        if isinstance(error, OSError):
            if not is_shortage(error) or request.writer.output_size > 0:
                raise error
            self._services.caller.shortage.meet()
            error = refused(503, NONE_LEFT, kind="overloaded", code=NO_DESCRIPTORS, retry_after_s=RETRY_S)
        return _refusal(error, request, request_id)

    async def _admitted(self, request: BaseRequest, route: Route) -> Identity:
        """Who sends *request*. Raises Refused as `Gate.admit` does, and 429 where many wrong keys have come from."""
        services = self._services
        in_query = request.rel_url.query.get("key") if route.path.startswith("/v1beta/") else None
        try:
            signer = await services.signatures.check(request, services.max_body)
            return services.gate.admit(request.headers, route.access, in_query, signer)
        except UnknownKey as error:
            per_minute = services.setup.loaded.settings.auth.wrong_keys_per_minute
            raise services.guesses.judged(error, request.remote, per_minute) from error


def _refusal(error: Refused | BadRequest | StorageError, request: BaseRequest, request_id: str) -> web.Response:
    """What the client is told, in the envelope that it knows."""
    headers: dict[str, str] = {}
    match error:
        case Refused():
            failure, headers = error.failure, error.headers
        case BadRequest():
            failure = failure_of(error)
        case StorageError():
            failure = Failure("overloaded", str(error), 503, "storage_unavailable")
    return failure_response(failure, request_id, headers, dialect_of(request.rel_url.raw_path, request.headers))


def _is_free(response: web.StreamResponse) -> bool:
    """Whether an answer that no attempt stands for took no tokens: nobody was asked."""
    return response.status >= 400 or response.headers.get("x-modelport-cache") == "hit"


def _safe_id(given: str | None, most: int) -> str | None:
    return given if given and len(given) <= most and SAFE_ID.fullmatch(given) else None
