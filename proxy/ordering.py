"""In which order the targets of a route are asked for one request.

    fits (who can take it, who loses least) -> the route's policy within each group -> what lies in vendors' caches

The decisions are `routing`'s; here is what they are made from.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from random import Random
from typing import TYPE_CHECKING, Final

from proxy.config.model import AutoSettings, RouteSettings
from proxy.errors import Refused, refused
from proxy.exchange import Exchange
from proxy.identity import Identity
from proxy.prepare import dialect_for
from proxy.services import Services
from proxy.setup import Setup
from routing.abilities import Fit, fits, ranks, refuse
from routing.affinity import Kept, Prefix, keep_to_caches, prefix_of, tokens_held
from routing.errors import LacksAbilities, TooLong
from routing.policies import ADVISED, POLICIES, PRICED, SCORED, Caller, Options, Policy, View, Weights, failover
from routing.targets import Route, Target
from translators.dialect import Rules
from translators.neutral import Request
from translators.tokens import Family, estimate_request, family, rough_request

if TYPE_CHECKING:
    from routing.auto.advice import Advice

SPLITS: Final = frozenset({"weighted", "sticky"})
"""Policies that need not know what is asked."""
REMEMBERED: Final = 512
"""Routes whose options are."""

_options: dict[int, tuple[RouteSettings, Options]] = {}


class Measured:
    """What is to be known of a request as a whole, found out once and when somebody asks for it."""

    def __init__(self, request: Request, tenant: str) -> None:
        self._request = request
        self._tenant = tenant

    @cached_property
    def tokens(self) -> int:
        """Roughly how many it has."""
        return rough_request(self._request).tokens

    @cached_property
    def prefix(self) -> Prefix:
        """The names of its beginning."""
        return prefix_of(self._request, self._tenant)

    def conversation(self) -> bytes:
        """The name of its conversation."""
        return self.prefix.conversation


@dataclass(frozen=True, slots=True)
class Wish:
    """One request to a route, and whose it is. *strict*: losses are refused.

    *quality* is how much quality counts beside cost, None as the route has it. *large*: it is measured in a thread.
    """

    route: Route
    request: Request
    identity: Identity
    strict: bool = False
    quality: float | None = None
    large: bool = False


@dataclass(frozen=True, slots=True)
class Plan:
    """What was decided, and from what. *policy_order* is the order before the caches had their say."""

    route: Route
    view: View
    fits: Sequence[Fit]
    policy_order: Sequence[Target]
    kept: Kept
    measured: Measured | None = None
    """The request, where answers are to be noted for the caches' sake."""

    @property
    def targets(self) -> list[Target]:
        """The targets that can take the request, in the order in which they are asked."""
        return list(self.kept.order)

    @property
    def together(self) -> Sequence[Target]:
        """Those of them that are asked at once, before the others; nobody, where they are asked one by one."""
        return self.view.decisions[0].together if self.view.decisions else ()

    @property
    def prefer(self) -> Mapping[Target, int]:
        """Positions of keys that go first."""
        return self.kept.prefer


async def plan(services: Services, setup: Setup, wish: Wish, rng: Random | None = None) -> Plan:
    """Who is asked, in which order; chance is *rng*'s, else that of the server.

    Raises:
        Refused: nobody on the route can take the request.
    """
    measured = Measured(wish.request, wish.identity.tenant)
    if wish.large:
        await asyncio.to_thread(lambda: measured.tokens)
    found = await examined(setup, wish, measured)
    groups = ranks(found, strict=wish.strict)
    if not groups:
        raise refusal(wish.request, found)
    route, request = wish.route, wish.request
    if route.policy in SCORED:
        lost = {each.target: len(each.loses) for each in found}
        groups = [sorted(group, key=lost.__getitem__) for group in groups]
    view = new_view(services, setup, wish, measured, rng)
    if route.policy in ADVISED:
        view = replace(view, advice=await advice(services, setup, wish))
    keeps = keeps_to_caches(setup, route)
    if keeps or route.policy in PRICED:
        await services.prices_loaded()
    grouped = [policy(route)(request, group, view) for group in groups]
    if not keeps:
        ordered = [target for group in grouped for target in group]
        return Plan(route, view, found, ordered, Kept(ordered, {}, {}))
    kept = _kept(services, wish, grouped, view, measured)
    return Plan(route, view, found, [target for group in grouped for target in group], kept, measured)


async def examined(setup: Setup, wish: Wish, measured: Measured) -> list[Fit]:
    """How well each target of the route can take the request."""
    request, targets = wish.request, wish.route.targets
    rules = _Rules(setup, request)
    lengths = await _lengths(request, targets, rules, measured)
    return fits(request, targets, rules, lengths.__getitem__, rules.relays)


def refusal(request: Request, found: Sequence[Fit]) -> Refused:
    """What a client is told whom nobody can serve."""
    try:
        refuse(request, found)
    except TooLong as error:
        told = str(error)
        return refused(400, told, kind="context_length", code="context_length_exceeded", param=error.place)
    except LacksAbilities as error:
        return refused(400, str(error), code="unsupported_modality", param=error.place)


async def in_order(services: Services, setup: Setup, wish: Wish, candidates: Sequence[Target]) -> list[Target]:
    """*candidates*, all of which can take the request, in the order of the route's policy."""
    if wish.route.policy in PRICED:
        await services.prices_loaded()
    view = new_view(services, setup, wish, Measured(wish.request, wish.identity.tenant))
    return policy(wish.route)(wish.request, candidates, view)


def unread_order(services: Services, setup: Setup, route: Route, identity: Identity) -> Sequence[Target]:
    """The targets of *route* for a request that nobody here reads: split where it is split, else as written."""
    if route.policy not in SPLITS:
        return route.targets
    wish = Wish(route, Request("", "", ()), identity)
    return policy(route)(wish.request, route.targets, new_view(services, setup, wish, Measured(wish.request, "")))


def policy(route: Route) -> Policy:
    """The function that orders the targets of *route*; for a policy that asks several, as they are written."""
    return POLICIES.get(route.policy, failover.order)


def new_view(services: Services, setup: Setup, wish: Wish, measured: Measured, rng: Random | None = None) -> View:
    """What a policy may look at for one request."""
    return View(
        rng or services.rng,
        time.monotonic,
        services.breakers,
        setup.rings,
        services.health,
        services.prices,
        services.latencies,
        services.rate_card,
        _Rules(setup, wish.request),
        options_of(setup, wish.route),
        Caller(wish.identity.key_id, wish.request.user, measured.conversation),
        lambda: measured.tokens,
        wish.route.name,
    )


def options_of(setup: Setup, route: Route) -> Options:
    """How *route* wants its policy to work."""
    own = setup.loaded.settings.routes.get(route.name)
    if own is None:
        return Options()
    known = _options.get(id(own))
    if known is None:
        if len(_options) >= REMEMBERED:
            _options.clear()
        # The settings are kept with what is made of them, so that their id belongs to nothing else meanwhile.
        known = _options[id(own)] = (own, new_options(own))
    return known[1]


def new_options(own: RouteSettings) -> Options:
    """The options that a route's section says."""
    marks = own.balanced
    return Options(
        Weights(marks.cost, marks.latency, marks.quality, marks.reliability),
        own.sticky_by,
        own.exploration,
        {each.target: each.quality for each in own.weighted if each.quality is not None},
    )


async def advice(services: Services, setup: Setup, wish: Wish) -> Advice:
    """What the policy `auto` goes by for one request."""
    own = setup.loaded.settings.routes.get(wish.route.name)
    settings = own.auto if own else AutoSettings()
    return await services.learned_routing.advice(wish.route.name, settings, wish.quality)


def keeps_to_caches(setup: Setup, route: Route) -> bool:
    """Whether conversations of *route* stay where their beginning is cached."""
    own = setup.loaded.settings.routes.get(route.name)
    said = own.affinity if own else None
    return route.policy == "sticky" if said is None else said


def tell(planned: Plan, exchange: Exchange) -> None:
    """Let the answer's head and receipt say why its target was chosen, where a model has."""
    if planned.view.decisions:
        say_why(exchange, planned.view.decisions[0].why)


def say_why(exchange: Exchange, why: str) -> None:
    """Let the answer's head and receipt say *why* its target was chosen."""
    exchange.more_headers["x-modelport-why"] = why
    exchange.remarks["why"] = why


def learn(services: Services, planned: Plan, exchange: Exchange) -> None:
    """Note whose cache holds what, and what a model decided, after an answer."""
    if planned.view.decisions:
        services.learned_routing.note(planned.route.name, planned.view.decisions[0], exchange)
    if planned.measured is None:
        return
    for attempt in exchange.attempts:
        usage, target = attempt.usage, attempt.target
        if usage is None or attempt.abandoned or target != exchange.target:
            continue
        dialect = planned.view.rules(target).dialect
        tokens = tokens_held(dialect, usage.input_tokens, usage.cached_input_tokens, usage.cache_write_tokens)
        services.affinity.answered(planned.measured.prefix, target, attempt.key_index, tokens)


class _Rules:
    """The rules of each target, looked up once for a request."""

    def __init__(self, setup: Setup, request: Request) -> None:
        self._setup = setup
        self._request = request
        self._known: dict[tuple[str, str], Rules] = {}

    def __call__(self, target: Target) -> Rules:
        key = (target.provider, target.model)
        rules = self._known.get(key)
        if rules is None:
            spec = self._setup.specs[target.provider]
            spoken = dialect_for(self._request, spec, target.model)
            rules = self._known[key] = spec.rules(target.model, spoken)
        return rules

    def relays(self, target: Target) -> bool:
        """Whether *target* gets the client's own bytes."""
        return self(target).dialect == self._request.dialect


async def _lengths(
    request: Request, targets: Sequence[Target], rules: _Rules, measured: Measured
) -> dict[Target, int | None]:
    """How long the request is as each target counts: None where there is room in any case, else by a tokenizer."""
    rooms = {target: room for target in targets if (room := rules(target).context_tokens)}
    if not rooms:
        return dict.fromkeys(targets)
    tight = {target for target, room in rooms.items() if measured.tokens > room}
    if not tight:
        return dict.fromkeys(targets)
    counted: dict[Family, int] = {}
    for kind in {family(target.model) for target in tight}:
        counted[kind] = (await asyncio.to_thread(estimate_request, request, kind)).tokens
    return {target: counted[family(target.model)] if target in tight else None for target in targets}


def _kept(services: Services, wish: Wish, groups: Sequence[Sequence[Target]], view: View, measured: Measured) -> Kept:
    """The targets of *groups*, a holder of the conversation first if that saves money; only within the best group."""
    request, ordered = wish.request, [target for group in groups for target in group]
    tokens = view.tokens_in(request)
    holding = {target: services.affinity.held(measured.prefix, target) for target in ordered}
    kept = keep_to_caches(
        groups[0],
        holding.__getitem__,
        lambda target: view.rates_of(target, tokens),
        lambda target: view.cost_nanousd(request, target, ordered),
        tokens,
    )
    rest = ordered[len(groups[0]) :]
    keys = {target: held.key_index for target in rest if (held := holding[target]) and held.key_index is not None}
    return replace(kept, order=[*kept.order, *rest], prefer={**kept.prefer, **keys})
