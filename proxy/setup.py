"""What follows from one configuration: providers, their backends and keys, names. Replaced whole on a reload.

Running requests keep the setup that they began with; `retire` closes it when the last of them has ended.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final, Self

from pydantic import BaseModel

from proxy.admission import new_gate
from proxy.backends.backend import Backend
from proxy.backends.callers import Caller
from proxy.backends.demo import DemoBackend
from proxy.backends.http import HttpBackend
from proxy.config import Loaded
from proxy.config.model import (
    BoundSettings,
    CacheMode,
    ConsensusSettings,
    PricesSettings,
    RaceSettings,
    RouteCacheSettings,
    RouteSettings,
    SemanticSettings,
    StructuredSettings,
)
from proxy.config.secrets import Secret
from proxy.credentials import StoredKeys
from proxy.errors import Redactor
from proxy.provider_book import ProviderBook
from proxy.providers import ProviderSpec, call_url, providers
from proxy.workers.sharing import Sharing
from routing.catalog import Overlay
from routing.limits import LEARNT, KeyRing, Rest
from routing.pricing import Price, PriceBook
from routing.queueing import Gate
from routing.retry import Patience
from routing.targets import Names, Offer, Route, Target
from translators.dialects import import_spoken

log = logging.getLogger("modelport")


@dataclass(frozen=True, slots=True)
class Key:
    """One key of a provider; *index* is how ledger and logs call it."""

    index: int
    secret: str = field(repr=False)


_NO_OWN_CACHE: Final = RouteCacheSettings.model_construct()


@dataclass(frozen=True, slots=True)
class Caching:
    """The cache of one route. *semantic*: None where only the same request is the same."""

    mode: CacheMode
    ttl_s: float
    stale_s: float
    tags: tuple[str, ...]
    semantic: SemanticSettings | None


@dataclass(slots=True)
class Setup:
    """The running configuration. *specs* holds every provider, *backends* and *rings* the enabled ones."""

    loaded: Loaded
    specs: Mapping[str, ProviderSpec]
    backends: Mapping[str, Backend]
    rings: Mapping[str, KeyRing[Key]]
    names: Names
    redactor: Redactor
    patience: Patience
    gates: Mapping[str, Gate] = field(default_factory=dict)
    """The limits of each enabled provider and of its keys, and who waits there."""
    _caching: dict[str, Caching] = field(default_factory=dict)
    _running: int = 0
    _idle: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self._idle.set()

    @property
    def enabled(self) -> list[ProviderSpec]:
        """The providers that requests may go to, in configuration order."""
        return [spec for spec in self.specs.values() if spec.enabled]

    def caching(self, route: str) -> Caching:
        """What is kept of the answers of the route of that name, and for how long."""
        found = self._route(route)
        name = "" if found is None else route
        known = self._caching.get(name)
        if known is None:
            known = self._caching[name] = self._new_caching(found)
        return known

    def _new_caching(self, route: RouteSettings | None) -> Caching:
        house = self.loaded.settings.cache
        own = _NO_OWN_CACHE if route is None or route.cache is None else route.caching
        return Caching(
            own.mode or house.mode,
            house.ttl_s if own.ttl_s is None else own.ttl_s,
            house.stale_s if own.stale_s is None else own.stale_s,
            own.tags,
            own.semantic if own.semantic.enabled else None,
        )

    def route_timeout_s(self, route: str) -> float | None:
        """What the route allows an exchange in all."""
        own = self._route(route)
        return own.timeout_s if own else None

    def structured(self, route: str) -> StructuredSettings:
        """How answers with a schema are treated on the route of that name."""
        own, settings = self._route(route), self.loaded.settings.structured
        return settings if own is None or own.repair is None else settings.model_copy(update={"repair": own.repair})

    def resumes(self, route: str) -> bool:
        """Whether streams of the route of that name that break off are gone on with."""
        own = self._route(route)
        return own.resume if own else False

    def race(self, route: str) -> RaceSettings:
        """How the route of that name races."""
        own = self._route(route)
        return own.race if own else RaceSettings()

    def consensus(self, route: str) -> ConsensusSettings:
        """How the route of that name makes one answer of several."""
        own = self._route(route)
        return own.consensus if own else ConsensusSettings()

    def _route(self, name: str) -> RouteSettings | None:
        return self.loaded.settings.routes.get(name)

    def used(self) -> Self:
        """To be entered: counts a request that runs on this setup."""
        return self

    def __enter__(self) -> Self:
        self._running += 1
        self._idle.clear()
        return self

    def __exit__(self, *_: object) -> None:
        self._running -= 1
        if not self._running:
            self._idle.set()

    async def retire(self, kept: Mapping[str, Backend]) -> None:
        """Close the backends that are not *kept*, once no request uses them."""
        await self._idle.wait()
        for name, backend in self.backends.items():
            if kept.get(name) is not backend:
                await backend.close()


def new_setup(
    loaded: Loaded,
    environ: Mapping[str, str],
    caller: Caller,
    overlay: Overlay,
    old: Setup | None = None,
    *,
    stored: StoredKeys | None = None,
    added: ProviderBook | None = None,
    sharing: Sharing | None = None,
) -> Setup:
    """The setup that *loaded*, the *stored* keys and the providers that were *added* at run time describe.

    Backends and keys of providers that did not change are *old*'s.
    """
    stored, sharing = stored or StoredKeys(), sharing or Sharing()
    specs = providers(added.over(loaded.settings) if added else loaded.settings, environ, overlay, stored)
    backends: dict[str, Backend] = {}
    rings: dict[str, KeyRing[Key]] = {}
    gates: dict[str, Gate] = {}
    same_bounds = old is not None and old.loaded.settings.limits == loaded.settings.limits
    for name, spec in specs.items():
        if not spec.enabled:
            continue
        if old and name in old.backends and old.specs[name] == spec and same_bounds:
            backends[name], rings[name], gates[name] = old.backends[name], old.rings[name], old.gates[name]
            continue
        import_spoken(spec.speaks)
        backends[name] = new_backend(spec, caller, loaded.settings.limits)
        keys = [Key(index, secret.reveal()) for index, secret in enumerate(spec.keys)]
        rings[name] = KeyRing(keys, time.monotonic, spec.weights, partial(_rests, sharing, name))
        same_keys = old is not None and name in old.gates and old.specs[name].keys == spec.keys
        gate = old.gates[name] if old and same_keys else None
        gates[name] = new_gate(spec.limits, len(keys), gate, name=name, throttle=sharing.throttle)
    retry = loaded.settings.retry
    return Setup(
        loaded,
        specs,
        backends,
        rings,
        new_names(loaded, specs),
        Redactor([*secrets_of(loaded, specs), *stored.secrets]),
        Patience(
            max_attempts=retry.attempts_in_all,
            repeats=retry.attempts - 1,
            longest_wait_s=retry.backoff_max_s,
            backoff_s=retry.backoff_s,
            longest_backoff_s=retry.backoff_max_s,
        ),
        gates,
    )


def _rests(sharing: Sharing, provider: str, index: int, model: str, *what: Any) -> None:
    """Tell everybody that a key is left alone for a while."""
    sharing.rested(provider, index, model, *what)
    tell_of_rest(provider, index, model, *what)


def tell_of_rest(provider: str, index: int, model: str, for_s: float, rest: Rest) -> None:
    """Say in the log that a key is left alone for a while; refusals louder than what answers have told."""
    whom = f"key {index} of {provider}" + (f" for {model}" if model else "")
    if rest.status == LEARNT:
        log.info("%s rests for %.0f s: its vendor's limit leaves nothing", whom, for_s)
    else:
        log.warning("%s rests for %.0f s (%d %s)", whom, for_s, rest.status, rest.kind)


def new_backend(spec: ProviderSpec, caller: Caller, bounds: BoundSettings | None = None) -> Backend:
    """The backend of one provider; *bounds* on its answers, else the shipped ones."""
    bounds = bounds or BoundSettings()
    match spec.backend:
        case "demo":
            return DemoBackend()
        case "llamacpp":
            from proxy.backends.llamacpp import Limits, LlamaCppBackend  # only where a local model is configured

            limits = Limits(queue=spec.limits.queue, queue_s=spec.limits.queue_s)
            return LlamaCppBackend(spec.local_models, limits=limits)
        case "http":
            return HttpBackend(
                caller,
                partial(call_url, spec),
                auth=spec.auth,
                headers=spec.headers,
                max_bytes=int(bounds.answer_mb * 2**20),
                max_ratio=bounds.unpacked_ratio,
            )


def new_names(
    loaded: Loaded,
    specs: Mapping[str, ProviderSpec],
    told: Callable[[ProviderSpec], Sequence[str]] = lambda _spec: (),
    chosen: Mapping[str, str] | None = None,
) -> Names:
    """What a client may write into `model`; *told* gives the names that a provider's vendor lists.

    *chosen* are policies by route, which stand over those of the configuration.
    """
    chosen = chosen or {}
    routes = [
        Route(
            name,
            chosen.get(name, route.policy),
            tuple(Target.parse(each.target, each.weight) for each in route.weighted),
            route.losses,
            frozenset(route.fallback_on),
        )
        for name, route in loaded.settings.routes.items()
    ]
    enabled = [spec for spec in specs.values() if spec.enabled]
    offers = [Offer(spec.name, spec.models, spec.patterns, tuple(told(spec))) for spec in enabled]
    return Names(routes, offers)


def new_prices(
    specs: Mapping[str, ProviderSpec],
    settings: PricesSettings | None = None,
    on_new: Callable[[Price], None] | None = None,
) -> PriceBook:
    """Configured prices over the shipped ones; *on_new* is told each that a cost is computed with."""
    settings = settings or PricesSettings()
    return PriceBook(
        {(spec.name, model): tariffs for spec in specs.values() for model, tariffs in spec.price.items()},
        {spec.name: spec.price_source for spec in specs.values() if spec.price_source},
        {spec.name: spec.discount for spec in specs.values() if spec.discount},
        shipped=settings.shipped,
        vendor_cost=settings.vendor_cost,
        reporters=None if settings.reporting is None else frozenset(settings.reporting),
        on_new=on_new,
    )


def secrets_of(loaded: Loaded, specs: Mapping[str, ProviderSpec]) -> list[str]:
    """Every secret that the configuration holds, for the redactor."""
    found = [secret.reveal() for spec in specs.values() for secret in spec.keys]
    found.extend(value for spec in specs.values() if spec.configured for value in spec.headers.values())
    for name in type(loaded.settings).model_fields:
        if name not in {"providers", "routes"}:  # what is enabled of the providers stands in *specs*
            found.extend(_secrets_in(getattr(loaded.settings, name)))
    return found


def _secrets_in(node: object) -> Iterator[str]:
    match node:
        case Secret():
            yield node.reveal()
        case BaseModel():
            for name in type(node).model_fields:
                yield from _secrets_in(getattr(node, name))
        case Mapping():
            for each in node.values():
                yield from _secrets_in(each)
        case tuple() | list():
            for each in node:
                yield from _secrets_in(each)
