"""Auto: the target whose expected quality is worth its cost most, as a trained model has it.

A target that the model does not know has the quality that the configuration gives it, else the lowest of those that
are known. Where the model knows fewer than two of the targets, or there is none, the order is that of `balanced`; so
untrained, `auto` is `balanced`. What a route learns from outcomes goes over both (`routing.auto.bandit`). As a cascade
the two cheapest go first and together, then the others by quality (`routing.auto.cascade`).

Each decision is left in `view.decisions`, for the receipt and for learning.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from routing.auto.advice import Advice, Decision
from routing.auto.bandit import MODEL, MOST_TRUST, TRUST, Bandit, explored
from routing.auto.cascade import cheap_first
from routing.auto.choice import Candidate, reason, worths
from routing.auto.features import traits_of
from routing.auto.model import Model
from routing.policies import balanced
from routing.policies.view import MIDDLING, View
from routing.targets import Target
from translators.neutral import Request

KNOWN_AT_LEAST: Final = 2
UNTRAINED: Final = "no model knows these targets: ordered as balanced"
_NANO: Final = 1e9


def order(request: Request, candidates: Sequence[Target], view: View) -> list[Target]:
    """Best worth first; equals as written."""
    decision = decide(request, candidates, view)
    view.decisions.append(decision)
    return list(decision.order)


def decide(request: Request, candidates: Sequence[Target], view: View) -> Decision:
    """The order of *candidates*, and why."""
    advice = view.advice or Advice()
    if advice.cascades:
        return _as_cascade(request, candidates, view, advice)
    decision = _by_model(request, candidates, view, advice) if advice.model else None
    if decision is None:
        decision = Decision(tuple(balanced.order(request, candidates, view)), UNTRAINED)
    if advice.bandit is None or len(candidates) < KNOWN_AT_LEAST:
        return decision
    return _by_outcomes(decision, advice.bandit, advice, view)


def _by_model(request: Request, candidates: Sequence[Target], view: View, advice: Advice) -> Decision | None:
    """What the model makes of it; None where it knows too few of *candidates*."""
    model = advice.model
    described = _candidates(request, candidates, view, model) if model else None
    if described is None or model is None:
        return None
    marks = worths(described, advice.knob, model.spread)
    places = sorted(range(len(candidates)), key=lambda at: (-marks[at], at))
    rest = [described[at] for at in places[1:]]
    return Decision(
        tuple(candidates[at] for at in places),
        reason(described[places[0]], rest, advice.knob),
        worths={each.name: (each.quality, mark) for each, mark in zip(described, marks, strict=True)},
    )


def _as_cascade(request: Request, candidates: Sequence[Target], view: View, advice: Advice) -> Decision:
    """The two cheapest together, the best of the others where they disagree; each target once."""
    candidates = list({target.name: target for target in candidates}.values())
    described = _candidates(request, candidates, view, advice.model) if advice.model else None
    if described is None:
        qualities, costs = view.qualities(candidates), view.costs_nanousd(request, candidates)
    else:
        qualities, costs = [each.quality for each in described], [each.cost for each in described]
    first, later = cheap_first(costs, qualities)
    order, together = tuple(candidates[at] for at in (*first, *later)), tuple(candidates[at] for at in first)
    worths = {target.name: (quality, quality) for target, quality in zip(candidates, qualities, strict=True)}
    if not together:
        why = "no cascade: it takes three targets, two of them with known prices; best first"
    else:
        one, two = together
        why = f"cascade: {one.name} and {two.name} are asked first, {order[len(first)].name} where they disagree"
    return Decision(order, why, worths=worths, together=together)


def _by_outcomes(decision: Decision, bandit: Bandit, advice: Advice, view: View) -> Decision:
    """What the bandit makes of *decision*: its choice goes first, the rest stays."""
    ordered, why = decision.order, decision.why
    tried = explored([target.name for target in ordered], advice.floor, view.rng)
    if tried is not None:
        expert, why = tried, f"{tried} is explored; else: {why}"
    else:
        expected, trust = _expectations(decision, advice.model, view)
        expert = bandit.pick({MODEL: max(expected.values()), **expected}, view.rng, trust)
        if expert != MODEL:
            why = f"outcomes of this route favour {expert} ({bandit.mean(expert) or 0:.2f}); else: {why}"
    if expert != MODEL:
        ordered = tuple(sorted(ordered, key=lambda target: target.name != expert))
    quality, worth = decision.worths.get(ordered[0].name, (0.0, 0.0))
    return replace(decision, order=ordered, why=why, expert=expert, penalty=quality - worth)


def _expectations(decision: Decision, model: Model | None, view: View) -> tuple[dict[str, float], float]:
    """The rewards that are expected of targets over all requests, and for how many rewards that counts."""
    if model is None or not decision.worths:
        said = view.options.quality
        return {target.name: said.get(target.name, MIDDLING) for target in decision.order}, TRUST
    expected = {}
    for target in decision.order:
        quality, worth = decision.worths[target.name]
        place = model.place(target.name)
        expected[target.name] = worth if place is None else model.means[place] - (quality - worth)
    return expected, min(MOST_TRUST, max(TRUST, model.samples / 2))


def _candidates(request: Request, candidates: Sequence[Target], view: View, model: Model) -> list[Candidate] | None:
    """*candidates* with expected quality and cost; None where the model knows too few of them."""
    places = [model.place(target.name) for target in candidates]
    known = [place for place in places if place is not None]
    if len(known) < KNOWN_AT_LEAST:
        return None
    found = iter(model.expected(traits_of(request), known))
    expected = [None if place is None else next(found) for place in places]
    least = min(quality for quality in expected if quality is not None)
    costs = [view.cost_nanousd(request, target, candidates) for target in candidates]
    if any(cost is None for cost in costs):  # prices or the training's costs, but not one beside the other
        trained = [None if place is None else model.costs_usd[place] for place in places]
        if sum(cost is None for cost in trained) < sum(cost is None for cost in costs):
            costs = [None if cost is None else cost * _NANO for cost in trained]
    return [
        Candidate(target.name, view.options.quality.get(target.name, least) if quality is None else quality, cost)
        for target, quality, cost in zip(candidates, expected, costs, strict=True)
    ]
