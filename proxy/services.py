"""What lives as long as the process: storage, health, prices, the cache, and the work in the background."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Coroutine, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from random import Random
from typing import Any, Final

import aiohttp

from proxy.asking import Committed
from proxy.auth import Gate
from proxy.budgeting import BudgetBook
from proxy.catalogue import Catalogue
from proxy.exchange import Attempt, Exchange
from proxy.healing import Healer, Taught
from proxy.media import MediaFetcher
from proxy.prepare import Prepared
from proxy.running import Running
from proxy.server import HostGuard
from proxy.setup import Setup, new_names
from proxy.stored import Stored, unpack
from routing.breaker import Breakers
from routing.catalog import Overlay
from routing.health import Health, Seen
from routing.pricing import PriceBook
from routing.retry import RetryBudget
from storage.accounts import Accounts
from storage.budgets import Budgets
from storage.cache import Cache
from storage.db import Database
from storage.errors import LedgerUnavailable
from storage.flights import SingleFlight
from storage.learned import LearnedRules
from storage.ledger import Ledger, Status
from storage.responses import Responses
from storage.vault import Kept, Vault
from translators.neutral import Failure, Refusal, Request, Response, Text, Thinking, ToolCall, Usage
from translators.tokens import estimate_text
from translators.vaulted import keys_wanted, remember

log = logging.getLogger("modelport")

RESTORED_ATTEMPTS: Final = 256


@dataclass(slots=True)
class Total:
    """What one provider has been asked and has cost since the start."""

    attempts: Counter[str] = field(default_factory=Counter)
    input_tokens: int = 0
    cached_input_tokens: int = 0
    output_tokens: int = 0
    cost_nanousd: int = 0
    unpriced: int = 0

    def add(self, attempt: Attempt, status: Status) -> None:
        """Count an ended attempt."""
        self.attempts[status] += 1
        if attempt.cost_nanousd is None:
            self.unpriced += 1
        else:
            self.cost_nanousd += attempt.cost_nanousd
        if attempt.usage:
            self.input_tokens += attempt.usage.input_tokens
            self.cached_input_tokens += attempt.usage.cached_input_tokens
            self.output_tokens += attempt.usage.output_tokens


@dataclass(slots=True)
class Services:
    """Made once by `proxy.app`; handed to whoever answers a request."""

    setup: Setup
    overlay: Overlay
    session: aiohttp.ClientSession
    gate: Gate
    hosts: HostGuard
    db: Database
    ledger: Ledger
    accounts: Accounts
    cache: Cache
    prices: PriceBook
    breakers: Breakers
    media: MediaFetcher
    vault: Vault
    responses: Responses
    learned: LearnedRules
    catalogue: Catalogue
    budgets: Budgets
    budget_book: BudgetBook = field(default_factory=BudgetBook)
    """The budgets as they are now."""
    health: Health = field(default_factory=Health)
    flights: SingleFlight[Stored] = field(default_factory=SingleFlight)
    retry_budget: RetryBudget = field(default_factory=RetryBudget)
    running: Running = field(default_factory=Running)
    rng: Random = field(default_factory=Random)
    started: float = field(default_factory=time.monotonic)
    in_flight: int = 0
    draining: bool = False
    warming: asyncio.Task[None] | None = None
    """The shipped prices being loaded, which takes half a second: whoever needs one waits for it."""
    totals: dict[str, Total] = field(default_factory=dict)
    """By provider."""
    answered: Counter[tuple[str, int]] = field(default_factory=Counter)
    """Requests by the path of their route and status."""
    _unpriced: set[str] = field(default_factory=set)
    _tasks: set[asyncio.Task[Any]] = field(default_factory=set)

    @property
    def started_unix(self) -> int:
        """The start in Unix seconds."""
        return int(time.time() - (time.monotonic() - self.started))

    @property
    def max_body(self) -> int:
        """Bytes of a request body that are accepted."""
        return int(self.setup.loaded.settings.server.max_body_mb * 2**20)

    # --- background

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Run *work* to its end beside the requests; `drain` waits for it."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def drain(self) -> None:
        """Wait for the work in the background."""
        while self._tasks:
            await asyncio.gather(*self._tasks, return_exceptions=True)

    # --- the cache

    async def look_up(self, key: bytes) -> Stored | None:
        """The stored answer, if there is one that can be read."""
        packed = await self.cache.get(key)
        return unpack(packed) if packed else None

    def keep(self, key: bytes, stored: Stored, *, tenant: str, route: str) -> None:
        """Store an answer."""
        self.cache.put(
            key, stored.pack(), tenant=tenant, route=route, model=stored.target, cost_nanousd=stored.cost_nanousd
        )

    # --- what is known of models

    async def know_models(self) -> None:
        """Let what vendors' lists and refusals have told, in earlier days, be in force."""
        await self.catalogue.load(self.setup.loaded.settings.catalog.lesson_ttl_s)
        self.renew_models()

    def renew_models(self) -> None:
        """Let names and rules follow from the configuration and the vendors' lists as they are now."""
        setup = self.setup
        self.catalogue.put_in_force(setup.specs.values())
        setup.names = new_names(setup.loaded, setup.specs, self.catalogue.told)

    async def forget_old_lessons(self) -> None:
        """Unlearn what was learned too long ago."""
        await self.catalogue.expire(self.setup.loaded.settings.catalog.lesson_ttl_s)

    @property
    def healer(self) -> Healer:
        """What learns from refusals."""
        setup = self.setup
        heal = setup.loaded.settings.catalog.heal
        return Healer(self.overlay, self._learn, setup.redactor.clean, heal, self.catalogue.used)

    def _learn(self, taught: Taught) -> None:
        self.spawn(self.catalogue.learn(taught))

    # --- the reasoning vault

    async def recalled(self, tenant: str, request: Request) -> Mapping[bytes, Kept]:
        """What is kept of the reasoning that *request*'s conversation once had."""
        if not self.setup.loaded.settings.memory.reasoning:
            return {}
        if not any(message.role == "assistant" for message in request.messages):
            return {}
        return await self.vault.get_many(tenant, keys_wanted(request))

    def remember(self, tenant: str, request: Request, response: Response, prepared: Prepared) -> None:
        """Keep the reasoning of an answer, for the turn that comes after it."""
        if not self.setup.loaded.settings.memory.reasoning:
            return
        readable = prepared.rules.reasoning_replay != "never"
        entries = remember(request, response, readable=readable)
        if entries:
            origin, dialect = prepared.target.name, prepared.rules.dialect
            self.vault.put(Kept(tenant, key, origin, dialect, value) for key, value in entries)

    # --- the books

    async def renew_budgets(self) -> None:
        """Let the budgets that are stored be in force."""
        self.budget_book = BudgetBook(await self.budgets.all())

    def seen(self, attempt: Attempt, status: Status, failure: Failure | None) -> None:
        """An attempt ended: news for metrics and health. A client that left says nothing of the provider."""
        self.totals.setdefault(attempt.target.provider, Total()).add(attempt, status)
        if status == "aborted":
            return
        if status == "interrupted" and failure:
            # The executor saw the first content and took it for a success.
            self.breakers.of(attempt.target).judge(failure)
        self.health.record(
            Seen(
                provider=attempt.target.provider,
                model=attempt.target.model,
                ok=status == "ok",
                at=time.time(),
                status=failure.status if failure else attempt.http_status,
                latency_ms=attempt.elapsed_ms(),
                first_event_ms=attempt.first_event_ms,
                error=failure.message if failure else None,
            )
        )

    async def account(self, exchange: Exchange, committed: Committed, response: Response) -> None:
        """Usage and cost of a whole answer; what the vendor did not report is estimated and flagged."""
        for attempt, part in zip(committed.attempts, committed.shares(response), strict=True):
            attempt.usage = attempt.usage or part.usage or await self.estimated(exchange, attempt, part)
            await self.price(attempt, response)
        await self.account_left(exchange, committed)

    async def account_left(self, exchange: Exchange, committed: Committed | None) -> None:
        """Usage and cost of what was sent and gave no part of the answer: the rest of a fan-out that failed."""
        for attempt in exchange.attempts:
            if attempt.sent and not attempt.settled and not (committed and attempt in committed.attempts):
                attempt.usage = attempt.usage or await self.estimated(exchange, attempt, None)
                await self.price(attempt, None)

    async def settle_partial(
        self, exchange: Exchange, committed: Committed | None, status: Status, failure: Failure | None
    ) -> None:
        """Close the books of an answer that did not reach its end, with what was used up to there."""
        delivered: list[tuple[Attempt, Response]] = []
        if committed and committed.live:
            shares = committed.shares(committed.live.collector.response())
            delivered = list(zip(committed.attempts, shares, strict=False))  # whatever went wrong, the books are closed
        for attempt in exchange.attempts:
            if attempt.settled or not attempt.sent:
                continue
            response = next((part for one, part in delivered if one is attempt), None)
            attempt.usage = await self.partial_usage(exchange, attempt, response)
            await self.price(attempt, response)
        try:
            await exchange.settle(status, failure)
        except LedgerUnavailable as error:
            log.error("%s: an unfinished answer could not be booked: %s", exchange.id, error)

    async def partial_usage(self, exchange: Exchange, attempt: Attempt, response: Response | None) -> Usage:
        """What an unfinished answer took: the vendor's numbers as far as they came, at least what was delivered."""
        if attempt.usage is not None:
            return attempt.usage
        estimated = await self.estimated(exchange, attempt, response)
        reported = response.usage if response else None
        if reported is None:
            return estimated
        return replace(
            reported,
            input_tokens=reported.input_tokens or estimated.input_tokens,
            output_tokens=max(reported.output_tokens, estimated.output_tokens),
            estimated=True,
        )

    async def estimated(self, exchange: Exchange, attempt: Attempt, response: Response | None) -> Usage:
        """A local estimate, made in a thread: the tokenizer takes a moment to load and to count."""
        model = attempt.target.model
        text = spoken(response) if response else ""

        def count() -> Usage:
            return Usage(
                input_tokens=exchange.count(model),
                output_tokens=estimate_text(text, model).tokens if text else 0,
                estimated=True,
            )

        return await asyncio.to_thread(count)

    async def price(self, attempt: Attempt, response: Response | None) -> None:
        """Put the cost of its usage on *attempt*; unknown stays None and is said once for each model."""
        if self.warming and not self.warming.done():
            await asyncio.shield(self.warming)
        target = attempt.target
        tier = response.native.get("openai_chat", {}).get("service_tier") if response else None
        context = {"service_tier": tier} if isinstance(tier, str) else None
        cost = self.prices.cost(target.provider, target.model, attempt.usage or Usage(), datetime.now(UTC), context)
        if cost is None:
            if target.name not in self._unpriced and len(self._unpriced) < 1000:
                self._unpriced.add(target.name)
                log.warning("no price is known for %s: its cost is booked as unknown", target.name)
            return
        attempt.cost_nanousd = cost.nanousd
        attempt.price_source = cost.source
        attempt.price_version = cost.version


def spoken(response: Response) -> str:
    """Everything that the model wrote: text, reasoning, refusals and arguments."""
    texts: list[str] = []
    for choice in response.choices:
        for part in choice.parts:
            match part:
                case Text() | Thinking() | Refusal():
                    texts.append(part.text)
                case ToolCall():
                    texts.append(part.name + part.arguments)
                case _:
                    pass
    return "".join(texts)
