"""How good a router is on samples that it has not seen.

APGR, average performance gap recovered, is RouteLLM's measure for a strong and a weak target: the area under the
quality that is reached by the share of requests that goes to the strong one, from 0 (as the weak one) to 1 (as the
strong one). Chance gets 0.5.

Source: I. Ong et al., RouteLLM: Learning to Route LLMs with Preference Data, 2024, section 3.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from random import Random
from typing import Final

from routing.auto.choice import Candidate, worths
from routing.auto.model import Model
from routing.auto.samples import Sample
from routing.auto.training import train

CLEARLY: Final = 0.05


@dataclass(frozen=True, slots=True)
class Reached:
    """What a way of choosing has reached: mean quality, and mean cost in dollars where all costs are known."""

    quality: float
    cost_usd: float | None


def apgr(scores: Sequence[float], strong: Sequence[float], weak: Sequence[float]) -> float | None:
    """The area for requests that go to the strong target by falling *scores*; None where it is no better.

    *strong* and *weak* are the outcomes of the two. Equal scores share their place.
    """
    gains = [a - b for a, b in zip(strong, weak, strict=True)]
    gap = sum(gains)
    if gap <= 0:
        return None
    order = sorted(range(len(scores)), key=lambda at: -scores[at])
    area = reached = 0.0
    start = 0
    while start < len(order):
        end = start
        while end < len(order) and scores[order[end]] == scores[order[start]]:
            end += 1
        step = sum(gains[at] for at in order[start:end])
        area += (reached + step / 2) * (end - start)
        reached += step
        start = end
    return area / len(order) / gap


def weak_and_strong(samples: Sequence[Sample]) -> tuple[str, str] | None:
    """A pair that a router may save money with: the best target, and a cheap one that is clearly worse.

    That is the best of those that cost at most half as much and are worse by CLEARLY; where there are none, the worst.
    """
    means, costs = _totals(samples)
    if len(means) < 2:
        return None
    strong = max(means, key=means.__getitem__)
    weakest = min(means, key=means.__getitem__)
    if means[weakest] == means[strong]:
        return None
    worse = [name for name in means if means[name] <= means[strong] - CLEARLY]
    cheap = [name for name in worse if name in costs and strong in costs and costs[name] <= costs[strong] / 2]
    return max(cheap, key=lambda name: means[name], default=weakest), strong


def reached(model: Model, samples: Sequence[Sample], targets: Sequence[str], knob: float) -> Reached:
    """What *model* reaches on *samples* with *targets*, by their mean costs in its training."""
    places = [place for name in targets if (place := model.place(name)) is not None]
    names = [model.targets[place] for place in places]
    quality, spent, priced = 0.0, 0.0, True
    for sample in samples:
        expected = model.expected(sample.traits, places)
        candidates = [
            Candidate(name, value, model.costs_usd[place])
            for name, value, place in zip(names, expected, places, strict=True)
        ]
        marks = worths(candidates, knob, model.spread)
        outcome = sample.outcomes[names[marks.index(max(marks))]]
        quality += outcome.quality
        priced = priced and outcome.cost_usd is not None
        spent += outcome.cost_usd or 0.0
    return Reached(quality / len(samples), spent / len(samples) if priced else None)


def folds(samples: Sequence[Sample], count: int, rng: Random) -> Iterator[tuple[Model, list[Sample]]]:
    """*count* times: a model of all samples but a part, and that part."""
    order = list(range(len(samples)))
    rng.shuffle(order)
    for fold in range(count):
        held = set(order[fold::count])
        learning = [sample for at, sample in enumerate(samples) if at not in held]
        yield train(learning, rng), [samples[at] for at in sorted(held)]


def _totals(samples: Sequence[Sample]) -> tuple[dict[str, float], dict[str, float]]:
    """Mean quality and mean cost of each target that has an outcome for every sample."""
    quality: dict[str, list[float]] = {}
    cost: dict[str, list[float]] = {}
    for sample in samples:
        for name, outcome in sample.outcomes.items():
            quality.setdefault(name, []).append(outcome.quality)
            if outcome.cost_usd is not None:
                cost.setdefault(name, []).append(outcome.cost_usd)
    whole = [name for name, values in quality.items() if len(values) == len(samples)]
    means = {name: sum(quality[name]) / len(samples) for name in whole}
    return means, {name: sum(cost[name]) / len(cost[name]) for name in whole if name in cost}
