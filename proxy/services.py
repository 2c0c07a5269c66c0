"""What lives as long as the process: storage, health, prices, the cache, and the work in the background."""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections import Counter
from collections.abc import Coroutine, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from random import Random
from typing import TYPE_CHECKING, Any, Final

import aiohttp

from proxy.alerts import Watch
from proxy.asking import Committed
from proxy.auth import Gate
from proxy.backends.callers import Caller
from proxy.budgeting import Bills, BudgetBook, configured_budgets
from proxy.cache_use import CacheUses
from proxy.catalogue import Catalogue
from proxy.config import Loaded
from proxy.config.model import BoundSettings
from proxy.credentials import CredentialBook, dangling
from proxy.door import Door
from proxy.endings import Endings
from proxy.exchange import Attempt, Exchange
from proxy.fast.gathered import Gathered
from proxy.fast.shapes import Shapes
from proxy.guesses import Guesses
from proxy.healing import Healer, Taught
from proxy.incidents import Incidents
from proxy.keyring import Keyring
from proxy.loop_lag import LoopLag
from proxy.media import MediaFetcher
from proxy.prepare import Prepared
from proxy.provider_book import ProviderBook
from proxy.query_desk import QueryDesk
from proxy.requestlog import RequestLog
from proxy.room import Room
from proxy.running import Running
from proxy.sealing import Sealer
from proxy.server import HostGuard, Server
from proxy.setup import Setup, new_names, new_prices, new_setup
from proxy.signing import Signatures
from proxy.stored import Stored
from proxy.tally import Tally
from proxy.threads import threaded
from proxy.workers.sharing import Sharing
from routing.affinity import Affinity
from routing.breaker import SERVERS_FAULTS, Breakers
from routing.catalog import Overlay
from routing.health import CLIENTS_FAULTS, Health, Seen
from routing.hedging import Hedging
from routing.latency import Latencies
from routing.outliers import Outliers
from routing.pricing import PriceBook, observed
from routing.rate_card import RateCard
from routing.retry import RetryBudget
from routing.targets import Target
from storage.accounts import Accounts
from storage.audit import AuditLog
from storage.ballast import Ballast
from storage.bookings import Answered
from storage.budgets import Budgets
from storage.cache import Cache
from storage.db import Database
from storage.errors import LedgerUnavailable, StorageError
from storage.flights import SingleFlight
from storage.history import ConsensusHistory
from storage.learned import LearnedRules
from storage.ledger import Ledger, Status
from storage.objects import VendorObjects
from storage.responses import Responses
from storage.router import RouterStore
from storage.routes import RouteChoice, RouteChoices
from storage.semantic.store import Semantic
from storage.vault import Kept, Vault
from translators.neutral import Failure, Refusal, Request, Response, Text, Thinking, ToolCall, Usage
from translators.tokens import estimate_text
from translators.vaulted import keys_wanted, remember

if TYPE_CHECKING:
    from proxy.learned_routing import LearnedRouting
    from proxy.lessons import Lessons

log = logging.getLogger("modelport")

RESTORED_ATTEMPTS: Final = 256
STREAMED: Final = 0.8
"""A first event that came later than this part of the whole time came with the answer, as good as whole."""


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
    caller: Caller
    """Who carries the calls to providers."""
    gate: Gate
    hosts: HostGuard
    db: Database
    ledger: Ledger
    accounts: Accounts
    cache: Cache
    semantic: Semantic
    """The questions whose answers the cache has, where a route looks for other words of the same."""
    prices: PriceBook
    breakers: Breakers
    media: MediaFetcher
    vault: Vault
    responses: Responses
    objects: VendorObjects
    """Whose the things are that vendors keep."""
    learned: LearnedRules
    catalogue: Catalogue
    budgets: Budgets
    watch: Watch
    """What notices when budgets have something to tell."""
    bills: Bills
    """What bills have taught of reserving."""
    audit: AuditLog
    credentials: CredentialBook
    """The providers' keys that are stored, and what seals them."""
    provider_book: ProviderBook
    """The providers that were added or changed at run time."""
    queries: QueryDesk
    request_log: RequestLog
    """Bodies of requests and answers, where that was asked for."""
    history: ConsensusHistory
    """The minutes of each consensus, what routes have learnt from them, and callers' verdicts."""
    keyring: Keyring
    signatures: Signatures
    sharing: Sharing = field(default_factory=Sharing)
    """What it has in common with other workers."""
    ballast: Ballast | None = None
    """Room that is kept for a full disk; None: what is stored lives in no file."""
    endpoints: Sequence[str] = ()
    """The paths that there are, each once; `{}` at an end stands for the rest of a path."""
    budget_book: BudgetBook = field(default_factory=BudgetBook)
    """The budgets as they are now."""
    health: Health = field(default_factory=Health)
    flights: SingleFlight[Stored] = field(default_factory=SingleFlight)
    cache_use: CacheUses = field(default_factory=CacheUses)
    guesses: Guesses = field(default_factory=lambda: Guesses(time.monotonic))
    """Wrong keys, by the address that they came from."""
    renewing: set[bytes] = field(default_factory=set)
    """The places in the cache that are being renewed."""
    without_vectors: set[str] = field(default_factory=set)
    """The embedding models that did not answer the semantic cache of late, which has been said."""
    retry_budget: RetryBudget = field(default_factory=lambda: RetryBudget(time.monotonic))
    outliers: Outliers = field(default_factory=lambda: Outliers(time.monotonic, tell_of_outlier))
    """Which targets do worse than the others of their routes."""
    tally: Tally = field(default_factory=Tally)
    """What routing did, for whoever wants to see it."""
    running: Running = field(default_factory=Running)
    rng: Random = field(default_factory=Random)
    started: float = field(default_factory=time.monotonic)
    in_flight: int = 0
    """Requests, and work that goes on without one."""
    door: Door = field(default_factory=Door)
    """Who has to wait when there are too many of them."""
    bodies: Room = field(default_factory=lambda: Room("bodies"))
    """For the long ones of requests."""
    answers: Room = field(default_factory=lambda: Room("answers"))
    """For long ones that are read whole."""
    draining: bool = False
    warming: asyncio.Task[None] | None = None
    """The shipped prices being loaded, which takes half a second: whoever needs one waits for it."""
    totals: dict[str, Total] = field(default_factory=dict)
    """By provider."""
    exchanges: int = 0
    """Those for which somebody was asked."""
    answered: Counter[tuple[str, int]] = field(default_factory=Counter)
    """Requests by the path of their route and status."""
    hedging: Hedging = field(default_factory=Hedging)
    """When a race asks a second target, and how often it may."""
    latencies: Latencies = field(default_factory=lambda: Latencies(time.time))
    affinity: Affinity = field(default_factory=lambda: Affinity(time.monotonic))
    """Which targets and keys hold the beginning of a conversation in their caches."""
    shapes: Shapes = field(default_factory=Shapes)
    """How ordinary requests were sent on, for the fast lane."""
    gathered: Gathered = field(default_factory=Gathered)
    """What its answers have yet to tell."""
    choices: dict[str, RouteChoice] = field(default_factory=dict)
    """Policies that were chosen at run time, by route."""
    endings: Endings = field(default_factory=Endings)
    """What is noted of requests that have ended."""
    loop_lag: LoopLag = field(default_factory=LoopLag)
    server: Server | None = None
    """What takes connections, as soon as there is one."""
    incidents: Incidents | None = None
    """What tells of unexpected exceptions."""
    _looks_through: bool = False
    """Whether the vault is, or was, looked through."""
    _card: RateCard | None = None
    _lessons: Lessons | None = None
    _learned_routing: LearnedRouting | None = None
    _unpriced: set[str] = field(default_factory=set)
    _unhealthy: set[str] = field(default_factory=set)
    """The providers of which that was said."""
    _tasks: set[asyncio.Task[Any]] = field(default_factory=set)

    @property
    def started_unix(self) -> int:
        """The start in Unix seconds."""
        return int(time.time() - (time.monotonic() - self.started))

    @property
    def limits(self) -> BoundSettings:
        """What one connection, request or answer may take."""
        return self.setup.loaded.settings.limits

    @property
    def max_body(self) -> int:
        """Bytes of a request body that are accepted."""
        return int(self.setup.loaded.settings.server.max_body_mb * 2**20)

    @property
    def full(self) -> bool:
        """Whether a further request has to wait, or is one too many because the process ends."""
        return self.draining or self.door.full(self.in_flight)

    def leave(self) -> None:
        """One of those in flight has ended."""
        self.in_flight -= 1
        if self.door.waiting:
            self.door.left(self.in_flight)

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

    @property
    def sealer(self) -> Sealer | None:
        """What encrypts secrets that the database keeps; None where no key is configured."""
        return self.credentials.sealer

    # --- the setup

    def clean(self, text: str) -> str:
        """*text* without the secrets that are known now."""
        return self.setup.redactor.clean(text)

    def clean_known(self, text: str) -> str:
        """*text* without these secrets, and with all that only looks like one, such as the ids of keys."""
        return self.setup.redactor.clean_known(text)

    def renew_setup(self, loaded: Loaded | None = None) -> None:
        """Put *loaded*, else the configuration as it is, with what is stored beside it, in force for new requests."""
        old = self.setup
        stored = self.credentials.keys
        self.setup = new_setup(
            loaded or old.loaded,
            os.environ,
            self.caller,
            self.overlay,
            old,
            stored=stored,
            added=self.provider_book,
            sharing=self.sharing,
        )
        for sentence in dangling(self.setup.loaded.settings, stored):
            log.warning("%s", sentence)
        self.renew_models()
        self.spawn(old.retire(self.setup.backends))

    def renew_prices(self) -> None:
        """The same, and let prices follow from it."""
        self.renew_setup()
        self.prices = new_prices(self.setup.specs, self.setup.loaded.settings.prices, self.prices.on_new)
        self.warm_prices()

    def warm_prices(self) -> None:
        """Load the shipped prices beside the first requests, if an enabled provider needs them."""
        if any(spec.price_source and "*" not in spec.price for spec in self.setup.enabled):
            self.warming = asyncio.create_task(asyncio.to_thread(self.prices.warm))

    # --- what is known of models

    async def know_models(self) -> None:
        """Let what vendors' lists and refusals have told, in earlier days, be in force."""
        await self.catalogue.load(self.setup.loaded.settings.catalog.lesson_ttl_s)
        self.renew_models()

    def renew_models(self) -> None:
        """Let names and rules follow from the configuration and the vendors' lists as they are now."""
        setup = self.setup
        self.catalogue.put_in_force(setup.specs.values())
        chosen = {name: choice.policy for name, choice in self.choices.items()}
        setup.names = new_names(setup.loaded, setup.specs, self.catalogue.told, chosen)

    async def forget_old_lessons(self) -> None:
        """Unlearn what was learned too long ago."""
        await self.catalogue.expire(self.setup.loaded.settings.catalog.lesson_ttl_s)

    # --- routes

    async def renew_choices(self) -> None:
        """Let the policies that were chosen at run time be in force."""
        self.choices = await RouteChoices(self.db).all()
        self.renew_models()

    @property
    def lessons(self) -> Lessons:
        """What routes that ask several targets have learnt of them."""
        if self._lessons is None:
            from proxy.lessons import Lessons  # here, with all that only such routes need

            self._lessons = Lessons(self.history, self.spawn)
        return self._lessons

    @property
    def learned_routing(self) -> LearnedRouting:
        """What the policy auto goes by."""
        if self._learned_routing is None:
            from proxy.learned_routing import LearnedRouting  # as above

            self._learned_routing = LearnedRouting(RouterStore(self.db))
        return self._learned_routing

    @property
    def rate_card(self) -> RateCard:
        """The prices in force, as policies look at them."""
        if self._card is None or self._card.book is not self.prices:
            self._card = RateCard(self.prices, time.time)
        return self._card

    async def prices_loaded(self) -> None:
        """Wait for the shipped prices, where they are being loaded."""
        if self.warming and not self.warming.done():
            await asyncio.shield(self.warming)

    @property
    def healer(self) -> Healer:
        """What learns from refusals."""
        setup = self.setup
        heal = setup.loaded.settings.catalog.heal
        return Healer(self.overlay, self._learn, setup.redactor.clean, heal, self.catalogue.used)

    def _learn(self, taught: Taught) -> None:
        self.spawn(self.catalogue.learn(taught))

    # --- the reasoning vault

    async def recalled(self, tenant: str, request: Request, *, large: bool) -> Mapping[bytes, Kept]:
        """What is kept of the reasoning that the conversation of *request*, which may be a *large* one, once had."""
        if not self.setup.loaded.settings.memory.reasoning:
            return {}
        if not any(message.role == "assistant" for message in request.messages):
            return {}
        return await self.vault.get_many(tenant, await threaded(large, keys_wanted, request))

    def recalled_at_once(self, tenant: str, request: Request) -> Mapping[bytes, Kept] | None:
        """The same as far as memory tells; None: only the database does."""
        if not self.setup.loaded.settings.memory.reasoning:
            return {}
        if not any(message.role == "assistant" for message in request.messages):
            return {}
        if self.sharing.several:
            return None
        if not self.vault.looked_through:
            if not self._looks_through:
                self._looks_through = True
                self.spawn(self.vault.look_through())
            return None
        return {} if self.vault.is_empty else self.vault.get_at_once(tenant, keys_wanted(request))

    def remember(self, tenant: str, request: Request, response: Response, prepared: Prepared) -> None:
        """Keep the reasoning of an answer, for the turn that comes after it."""
        if not self.setup.loaded.settings.memory.reasoning:
            return
        readable = prepared.rules.reasoning_replay != "never"
        entries = remember(request, response, readable=readable)
        if entries:
            origin, dialect = prepared.target.name, prepared.rules.dialect
            self.vault.put(Kept(tenant, key, origin, dialect, value) for key, value in entries)

    # --- targets that fail

    def steered(self, targets: Sequence[Target]) -> list[Target]:
        """*targets* in their order, those last that are ejected for doing worse than the others."""
        if len(targets) < 2:
            return list(targets)
        return self.outliers.order(targets, strained=self.retry_budget.strained)

    # --- the books

    async def renew_budgets(self) -> None:
        """Let the budgets that are stored be in force."""
        self.budget_book = BudgetBook(await self.budgets.all())
        self.watch.wake()

    async def configure_budgets(self) -> None:
        """Store the budgets of the configuration, and let all that are stored be in force."""
        configured = configured_budgets(self.setup.loaded.settings)
        self.watch.courier.settings = self.setup.loaded.settings.alerts
        try:
            await self.budgets.replace_configured(configured)
            await self.renew_budgets()
        except StorageError as error:
            log.error("the configured budgets cannot be stored (%s)", error)
            self.budget_book = BudgetBook(
                [*(budget for budget in self.budget_book.every if budget.origin != "config"), *configured]
            )

    def seen(self, attempt: Attempt, status: Status, failure: Failure | None) -> None:
        """An attempt ended: news for metrics and health. One that was given up says only how slow it is at least."""
        self.totals.setdefault(attempt.target.provider, Total()).add(attempt, status)
        self.exchanges += attempt.number == 1
        if attempt.in_vain is not None:
            attempt.in_vain(attempt.cost_nanousd)
        self.watch.wake()
        if status == "aborted":
            if attempt.sent:
                self._cut_short(attempt)
            return
        if status == "interrupted" and failure:
            self.breakers.of(attempt.target).judge(failure)
        elif status == "ok" and attempt.streams:
            self.breakers.of(attempt.target).succeeded()
        seen = Seen(
            provider=attempt.target.provider,
            model=attempt.target.model,
            ok=status == "ok",
            at=time.time(),
            status=failure.status if failure else attempt.http_status,
            latency_ms=attempt.elapsed_ms(),
            first_event_ms=attempt.first_event_ms,
            error=failure.message if failure else None,
        )
        self.health.record(seen)
        self._watch_state(seen)
        self.measure(seen, attempt.usage, failure.kind if failure else None, streams=attempt.streams)

    def answered_plainly(self, target: Target, answers: Sequence[Answered], *, streams: bool) -> None:
        """What `seen` notes of attempts that were answered with status 200 as they came, by *streams* or whole."""
        provider, model = target.provider, target.model
        total = self.totals.get(provider)
        if total is None:
            total = self.totals[provider] = Total()
        total.attempts["ok"] += len(answers)
        for answer in answers:
            total.cost_nanousd += answer.cost_nanousd or 0
            total.input_tokens += answer.input_tokens
            total.cached_input_tokens += answer.cached_input_tokens
            total.output_tokens += answer.output_tokens
        self.exchanges += len(answers)
        self.watch.wake()
        at = time.time()
        self.health.answered(provider, model, [(answer.latency_ms, answer.first_event_ms) for answer in answers], at)
        if provider in self._unhealthy:
            self._watch_state(Seen(provider, model, True, at, 200))
        if streams:
            for each in answers:
                late = each.first_event_ms >= STREAMED * each.latency_ms
                self.outliers.seen(provider, model, failed=False, first_event_ms=each.first_event_ms, late=late)
        else:
            self.outliers.seen(provider, model, failed=False, count=len(answers))
        self.latencies.answered_together(
            provider,
            model,
            [(each.latency_ms, each.first_event_ms, each.input_tokens, each.output_tokens) for each in answers],
            at,
        )

    def measure(
        self, seen: Seen, usage: Usage | None = None, kind: str | None = None, *, streams: bool | None = None
    ) -> None:
        """Let the policies know how long an attempt took, and what came of it.

        *streams*: whether a stream was asked for; None: that is not known.
        """
        if kind is None or kind in SERVERS_FAULTS:
            first_ms = seen.first_event_ms
            late = first_ms is not None and first_ms >= STREAMED * (seen.latency_ms or 0)
            self.outliers.seen(
                seen.provider,
                seen.model,
                failed=not seen.ok,
                first_event_ms=first_ms if streams or (streams is None and not late) else None,
                late=late,
                ago_s=max(0.0, time.time() - seen.at),
            )
        if seen.ok:
            self.latencies.answered(
                seen.provider,
                seen.model,
                latency_ms=seen.latency_ms,
                first_event_ms=seen.first_event_ms,
                input_tokens=usage.input_tokens if usage else None,
                output_tokens=usage.output_tokens if usage else None,
                at=seen.at,
            )
        elif seen.status not in CLIENTS_FAULTS:
            waited_ms = seen.latency_ms if kind == "timeout" else None
            self.latencies.failed(seen.provider, seen.model, waited_ms=waited_ms, at=seen.at)

    def _watch_state(self, seen: Seen) -> None:
        """Say in the log when a provider becomes unusable, and when it is usable again."""
        was, ring = seen.provider in self._unhealthy, self.setup.rings.get(seen.provider)
        if ring is None or (seen.ok and not was):
            return
        now = self.health.status_of(seen.provider, self.breakers, ring)
        if now == "unhealthy" and not was:
            self._unhealthy.add(seen.provider)
            log.warning("%s is unhealthy: %s", seen.provider, self.clean(seen.error or f"status {seen.status}"))
        elif was and now != "unhealthy":
            self._unhealthy.discard(seen.provider)
            log.warning("%s is %s again", seen.provider, now)

    def _cut_short(self, attempt: Attempt) -> None:
        """Let the policies know that *attempt* was not waited for to the end of its answer."""
        target, usage, waited_ms = attempt.target, attempt.usage, attempt.elapsed_ms()
        self.latencies.cut_short(
            target.provider,
            target.model,
            waited_ms=waited_ms,
            first_event_ms=attempt.first_event_ms,
            input_tokens=usage.input_tokens if usage else None,
        )
        if attempt.streams and attempt.first_event_ms is None:
            self.outliers.cut_short(target.provider, target.model, waited_ms)

    async def account(self, exchange: Exchange, committed: Committed, response: Response) -> None:
        """Usage and cost of a whole answer; what the vendor did not report is estimated and flagged."""
        for attempt, part in zip(committed.attempts, committed.shares(response), strict=True):
            attempt.usage = attempt.usage or part.usage or await self.estimated(exchange, attempt, part)
            await self.price(attempt, part)
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
        exchange.on_ended = self.endings.ended
        if status == "aborted":
            exchange.given_up()
        delivered: list[tuple[Attempt, Response]] = []
        if committed and committed.live:
            exchange.answer = committed.live.collector.response()
            shares = committed.shares(exchange.answer)
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
        await self.prices_loaded()
        target = attempt.target
        attempt.usage = observed(attempt.usage or Usage(), response)
        cost = self.prices.cost(target.provider, target.model, attempt.usage, datetime.now(UTC))
        if cost is None:
            if target.name not in self._unpriced and len(self._unpriced) < 1000:
                self._unpriced.add(target.name)
                log.warning("no price is known for %s: its cost is booked as unknown", target.name)
            return
        attempt.cost_nanousd = cost.nanousd
        attempt.price_source = cost.source
        attempt.price_version = cost.version


def tell_of_outlier(target: str, for_s: float, why: str) -> None:
    """Say in the log that a target goes last for a while."""
    log.warning("%s goes behind the other targets of its route for %.0f s: %s", target, for_s, why)


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
