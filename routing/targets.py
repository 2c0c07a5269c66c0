"""Names of models to routes: what a client may write into `model`.

Order: route name; `provider/model`; a bare model name, exact in some provider's models, else matching one of its
patterns, else in a vendor's own list of models, providers in configuration order; otherwise UnknownModel. The prefix
of `meta-llama/Llama-3` is not an enabled provider, so that name is looked for as a bare one.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from fnmatch import translate
from functools import lru_cache
from heapq import nlargest
from typing import Final, Literal

from routing.errors import BadRow, NoProvider, TooManyTargets, UnknownModel
from translators.neutral import ErrorKind

AD_HOC: Final = "ad-hoc"
CHAIN_LIMIT: Final = 16
MEMORY: Final = 1024
"""How many resolved names are remembered."""
LONGEST_NAME: Final = 256
COMPARED: Final = 16
"""How many names an unknown one is compared with."""


@dataclass(frozen=True, slots=True)
class Target:
    """One model at one provider. *weight* is its share under the `weighted` policy; 0 is a last resort."""

    provider: str
    model: str
    weight: float = 1.0

    def __post_init__(self) -> None:
        if not self.provider or not self.model:
            raise BadRow(f"target {self.provider + '/' + self.model!r}: expected provider/model")
        if not 0 <= self.weight < float("inf"):
            raise BadRow(f"target {self.name}: weight {self.weight} is not a number of at least 0")

    @classmethod
    def parse(cls, text: str, weight: float = 1.0) -> Target:
        """A target from `provider/model`; the model may contain slashes."""
        provider, _, model = text.partition("/")
        if not provider or not model:
            raise BadRow(f"target {text!r}: expected provider/model")
        return cls(provider, model, weight)

    @property
    def name(self) -> str:
        """`provider/model`."""
        return f"{self.provider}/{self.model}"


@dataclass(frozen=True, slots=True)
class Route:
    """A policy and its targets. *fallback_on*: failures that stop a chain elsewhere but not on this route."""

    name: str
    policy: str
    targets: tuple[Target, ...]
    losses: Literal["warn", "reject", "ignore"] = "warn"
    fallback_on: frozenset[ErrorKind] = frozenset()


@dataclass(frozen=True, slots=True)
class Offer:
    """What an enabled provider offers: concrete model names, and globs for names that it takes besides.

    *told* are names that its vendor lists; whatever is configured or shipped goes before them.
    """

    provider: str
    models: tuple[str, ...] = ()
    patterns: tuple[str, ...] = ()
    told: tuple[str, ...] = ()


class Names:
    """Resolves names against a fixed set of routes and offers; a changed configuration makes a new one."""

    def __init__(self, routes: Iterable[Route], offers: Sequence[Offer]) -> None:
        self._routes: Mapping[str, Route] = {route.name: route for route in routes}
        self._providers = frozenset(offer.provider for offer in offers)
        self._exact: dict[str, str] = {}
        self._told: dict[str, str] = {}
        for offer in offers:
            for model in offer.models:
                self._exact.setdefault(model, offer.provider)
            for model in offer.told:
                self._told.setdefault(model, offer.provider)
        self._patterns = [
            (re.compile(translate(pattern)), offer.provider) for offer in offers for pattern in offer.patterns
        ]
        concrete = (f"{offer.provider}/{model}" for offer in offers for model in offer.models)
        told = (f"{offer.provider}/{model}" for offer in offers for model in offer.told)
        self._listed = tuple(dict.fromkeys((*self._routes, *concrete, *told)))
        self._spellings: dict[str, tuple[str, frozenset[str]]] = {}
        self._remembered = lru_cache(MEMORY)(self._look_up)

    @property
    def listed(self) -> tuple[str, ...]:
        """Every name that can be listed, in configuration order: routes, then `provider/model` of concrete models,
        then of those that vendors list."""
        return self._listed

    def resolve(self, model: str, chain: Sequence[str] = ()) -> Route:
        """The route for *model*; *chain* (the body's `models`) makes an ad-hoc failover route behind it.

        Raises:
            UnknownModel: *model*, or a name of *chain*, is offered by nobody.
            NoProvider: it is a route whose providers are all off.
            TooManyTargets: *chain* is too long.
        """
        if not chain:
            return self._one(model)
        if len(chain) > CHAIN_LIMIT:
            raise TooManyTargets(len(chain), CHAIN_LIMIT)
        names = chain if not model or model in chain else (model, *chain)
        targets: dict[str, Target] = {}
        for name in names:
            for target in self._one(name).targets:
                targets.setdefault(target.name, target)
        return Route(AD_HOC, "failover", tuple(targets.values()))

    def _one(self, model: str) -> Route:
        if len(model) > LONGEST_NAME:
            raise UnknownModel(model)
        return self._remembered(model)

    def _look_up(self, model: str) -> Route:
        if route := self._routes.get(model):
            return self._enabled(route)
        provider, _, rest = model.partition("/")
        if rest and provider in self._providers:
            return self._direct(Target(provider, rest))
        if found := self._exact.get(model):
            return self._direct(Target(found, model))
        for pattern, offering in self._patterns:
            if model and model.strip("/") == model and pattern.match(model):
                return self._direct(Target(offering, model))
        if found := self._told.get(model):
            return self._direct(Target(found, model))
        raise UnknownModel(model, self._nearest(model))

    def _enabled(self, route: Route) -> Route:
        """*route* without the targets whose provider is off, so that one shared file serves several machines."""
        kept = tuple(target for target in route.targets if target.provider in self._providers)
        if not kept:
            raise NoProvider(route.name, list(dict.fromkeys(target.provider for target in route.targets)))
        if len(kept) == len(route.targets):
            return route
        return Route(route.name, route.policy, kept, route.losses, route.fallback_on)

    @staticmethod
    def _direct(target: Target) -> Route:
        return Route(target.name, "failover", (target,))

    def _nearest(self, model: str) -> list[str]:
        """Names that resemble *model*, with or without a provider in front.

        Comparing letter by letter costs tens of microseconds a name, so only those that share the most runs of
        three letters are compared: an unknown name must not hold up everyone else.
        """
        wanted = model[:80].lower()
        runs = _runs(wanted)
        if not self._spellings:
            for name in self._listed:
                for spelling in {name.lower(), (name.partition("/")[2] or name).lower()}:
                    self._spellings.setdefault(spelling, (name, _runs(spelling)))
        shared = {spelling: len(runs & known) for spelling, (_, known) in self._spellings.items()}
        likely = nlargest(COMPARED, filter(shared.__getitem__, shared), key=shared.__getitem__)
        return list(dict.fromkeys(self._spellings[spelling][0] for spelling in get_close_matches(wanted, likely, n=3)))


def _runs(name: str) -> frozenset[str]:
    padded = f"  {name} "
    return frozenset(padded[place : place + 3] for place in range(len(padded) - 2))
