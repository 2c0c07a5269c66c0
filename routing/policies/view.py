"""What a policy may look at besides the request: the state of the targets, prices, the caller, time and chance.

A View is made for one decision and is not changed by it. What it refers to goes on living; a decision takes
microseconds and never waits, so that nothing moves while it is made.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import TYPE_CHECKING, Any, Final, Literal

from routing.breaker import Breakers
from routing.health import Health
from routing.latency import Latencies, Pace
from routing.limits import KeyRing
from routing.pricing import PriceBook
from routing.rate_card import RateCard, Rates
from routing.targets import Target
from translators.dialect import Rules
from translators.neutral import Request
from translators.tokens import rough_request

if TYPE_CHECKING:
    from routing.auto.advice import Advice, Decision

StickyBy = Literal["user", "key", "conversation"]

OUTPUT_TOKENS: Final = 500
"""What an answer is taken to have where neither the request nor any answer so far tells."""
MIDDLING: Final = 0.5
"""The quality of a target that was given none."""


@dataclass(frozen=True, slots=True)
class Weights:
    """What counts how much under `balanced`; only their proportions matter."""

    cost: float = 1.0
    latency: float = 1.0
    quality: float = 1.0
    reliability: float = 1.0

    @property
    def shares(self) -> tuple[float, float, float, float]:
        """The four, made to sum up to 1."""
        total = self.cost + self.latency + self.quality + self.reliability or 1.0
        return self.cost / total, self.latency / total, self.quality / total, self.reliability / total


@dataclass(frozen=True, slots=True)
class Options:
    """How a route wants its policy to work. *quality* is by the name of a target, 0 to 1."""

    weights: Weights = Weights()
    sticky_by: StickyBy = "user"
    exploration: float = 0.05
    """The share of requests that go to a target whose speed is not known of late."""
    quality: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks, as far as a split goes by it. *conversation* is asked for only where it is needed."""

    key_id: str | None = None
    user: str | None = None
    conversation: Callable[[], bytes] | None = None


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None


def _at_zero() -> float:
    return 0.0


def _anything(_target: Target) -> Rules:
    return Rules()


@dataclass(frozen=True, slots=True)
class View:
    """*now* is a monotonic clock in seconds; *key_rings* is by provider; *count* roughly counts the request's tokens.

    *rules* says what a target takes, *route* is the route's name.
    """

    rng: Random
    now: Callable[[], float]
    breakers: Breakers
    key_rings: Mapping[str, KeyRing[Any]]
    health: Health
    prices: PriceBook
    latencies: Latencies = field(default_factory=lambda: Latencies(_at_zero))
    rates: RateCard | None = None
    rules: Callable[[Target], Rules] = _anything
    options: Options = field(default_factory=Options)
    caller: Caller = field(default_factory=Caller)
    count: Callable[[], int] | None = None
    route: str = ""
    advice: Advice | None = None
    """What the policy auto goes by."""
    decisions: list[Decision] = field(default_factory=list)
    """Where the policy auto leaves what it decided."""

    def tokens_in(self, request: Request) -> int:
        """About how many tokens *request* has."""
        return rough_request(request).tokens if self.count is None else self.count()

    def tokens_out(self, request: Request, target: Target, others: Sequence[Target] = ()) -> float:
        """About how many an answer of *target* will have.

        What the request allows, but no more than *target*, else the *others* of its route, usually write; at most what
        the model can. Where nothing tells, OUTPUT_TOKENS.
        """
        own, *usual = self.latencies.outputs((target, *others))
        return self._expected(request, target, _mean(usual) if own is None else own)

    def rates_of(self, target: Target, input_tokens: int) -> Rates | None:
        """What tokens cost at *target*; None when that is unknown."""
        return (self.rates or RateCard(self.prices, _at_zero)).of(target, input_tokens)

    def cost_nanousd(self, request: Request, target: Target, others: Sequence[Target] = ()) -> float | None:
        """About what *request* costs at *target*; None when no price is known."""
        tokens = self.tokens_in(request)
        rates = self.rates_of(target, tokens)
        return rates.cost_nanousd(tokens, self.tokens_out(request, target, others)) if rates else None

    def costs_nanousd(self, request: Request, targets: Sequence[Target]) -> list[float | None]:
        """The same for each of *targets*."""
        tokens = self.tokens_in(request)
        rated = (self.rates or RateCard(self.prices, _at_zero)).of_all(targets, tokens)
        known = self.latencies.outputs(targets)
        common = _mean(known)
        return [
            rates.request
            + rates.input * tokens
            + rates.output * self._expected(request, target, common if usual is None else usual)
            if rates
            else None
            for target, rates, usual in zip(targets, rated, known, strict=True)
        ]

    def _expected(self, request: Request, target: Target, usual: float | None) -> float:
        allowed, most = request.max_output_tokens, self.rules(target).max_output_tokens
        expected = usual
        if expected is None:
            expected = OUTPUT_TOKENS if allowed is None else allowed
        elif allowed is not None and allowed < expected:
            expected = allowed
        if most is not None and most < expected:
            expected = most
        return expected * (request.n or 1)

    def pace(self, request: Request, target: Target) -> Pace:
        """How fast *target* is: until the first content where the answer streams, else until its end."""
        return self.latencies.pace(target, self.tokens_in(request), whole=not request.stream)

    def paces(self, request: Request, targets: Sequence[Target]) -> list[Pace]:
        """The same for each of *targets*."""
        return self.latencies.paces(targets, self.tokens_in(request), whole=not request.stream)

    def qualities(self, targets: Sequence[Target]) -> list[float]:
        """What the configuration thinks of each of *targets*, 0 to 1."""
        said = self.options.quality
        return [said.get(target.name, MIDDLING) for target in targets] if said else [MIDDLING] * len(targets)


Policy = Callable[[Request, Sequence[Target], View], list[Target]]
