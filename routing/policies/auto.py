"""Auto: the target whose expected quality is worth its cost most, as a trained model has it.

A target that the model does not know has the quality that the configuration gives it, else the lowest of those that
are known. Where the model knows fewer than two of the targets, or there is none, the order is that of `balanced`; so
untrained, `auto` is `balanced`. What a route learns from outcomes goes over both (`routing.auto.bandit`).

Each decision is left in `view.decisions`, for the receipt and for learning.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from routing.auto.advice import Advice, Decision
from routing.auto.bandit import MODEL, Bandit, explored
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
    decision = _by_model(request, candidates, view, advice) if advice.model else None
    if decision is None:
        decision = Decision(tuple(balanced.order(request, candidates, view)), UNTRAINED)
    if advice.bandit is None or len(candidates) < KNOWN_AT_LEAST:
        return decision
    return _by_outcomes(decision, advice.bandit, advice.floor, view)


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


def _by_outcomes(decision: Decision, bandit: Bandit, floor: float, view: View) -> Decision:
    """What the bandit makes of *decision*: its choice goes first, the rest stays."""
    ordered, why = decision.order, decision.why
    tried = explored([target.name for target in ordered], floor, view.rng)
    if tried is not None:
        expert, why = tried, f"{tried} is explored; else: {why}"
    else:
        expected = {
            target.name: decision.worths[target.name][1]
            if target.name in decision.worths
            else view.options.quality.get(target.name, MIDDLING)
            for target in ordered
        }
        expert = bandit.pick({MODEL: expected[ordered[0].name], **expected}, view.rng)
        if expert != MODEL:
            why = f"outcomes of this route favour {expert} ({bandit.mean(expert) or 0:.2f}); else: {why}"
    if expert != MODEL:
        ordered = tuple(sorted(ordered, key=lambda target: target.name != expert))
    quality, worth = decision.worths.get(ordered[0].name, (0.0, 0.0))
    return replace(decision, order=ordered, why=why, expert=expert, penalty=quality - worth)


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
