"""A model from samples: ridge regression over words and shape, one for what targets have in common, one for each.

What a target has of its own is fitted to how far its outcomes are from the common ones, and held down by a penalty
that held-out samples choose. With few samples or outcomes that words say nothing about, the penalty is the greatest,
and the model says little more than the targets' means.

The regression is solved in its dual, one sample at a time, which needs no step size.
Source: S. Shalev-Shwartz, T. Zhang, Stochastic dual coordinate ascent, 2013.
"""

from __future__ import annotations

import math
from array import array
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from typing import Final

from routing.auto.errors import BadSamples
from routing.auto.features import shape, words
from routing.auto.model import Model, Scaling, Vector
from routing.auto.samples import Sample

PENALTIES: Final = (5.0, 10.0, 25.0, 100.0, 1000.0)
FEWEST: Final = 20
"""Samples from which something can be learnt."""
ROUNDS: Final = 6
HELD_OUT: Final = 0.2
MOST_HELD_OUT: Final = 2000
MOST_TRIED: Final = 4000
"""Samples from which each penalty is tried."""
MIRRORED: Final = 2
"""Of so many targets, one is the other's mirror image where both outcomes are known."""
JUDGED: Final = 4
"""Targets on which the penalty is chosen."""
MAX_WEIGHTS: Final = 2_000_000
"""Columns times rows, so that a model's file stays below its limit."""


@dataclass(frozen=True, slots=True)
class _Task:
    """One regression: *values* by position of a sample, for those that have one."""

    places: Sequence[int]
    values: Sequence[float]


def train(samples: Sequence[Sample], rng: Random, made: float = 0.0) -> Model:
    """A model of the targets in *samples*. *made* is Unix seconds.

    Raises:
        BadSamples: too few samples, or fewer than two targets.
    """
    targets = tuple(dict.fromkeys(name for sample in samples for name in sample.outcomes))
    if len(samples) < FEWEST:
        raise BadSamples(f"{len(samples)} samples; at least {FEWEST} are needed")
    if len(targets) < 2:
        raise BadSamples("outcomes of at least two targets are needed")
    order = list(range(len(samples)))
    rng.shuffle(order)
    held = order[: min(int(len(order) * HELD_OUT), MOST_HELD_OUT)]
    learning = order[len(held) : len(held) + MOST_TRIED]
    penalty, novelty, measured = _chosen([samples[at] for at in learning], [samples[at] for at in held], targets, rng)
    scaling = new_scaling(samples, 1 + len(targets))
    vectors = [scaling.vector(sample.traits) for sample in samples]
    means, spread = _means(samples, targets)
    common, own = _tasks(samples, targets, means)
    wide = len(scaling.buckets) + len(scaling.means)
    mirrored = len(targets) == MIRRORED and all(len(sample.outcomes) == MIRRORED for sample in samples)
    fitted = [_fit(task, vectors, penalty, wide, rng) for task in (common, *(own[:1] if mirrored else own))]
    if mirrored:
        fitted.append([-weight for weight in fitted[-1]])
    rows, scales = zip(*map(_small, fitted), strict=True)
    return Model(
        targets, means, _costs(samples, targets), scaling, rows, scales, spread, novelty, len(samples), made, measured
    )


def new_scaling(samples: Sequence[Sample], rows: int) -> Scaling:
    """How requests like those in *samples* become vectors."""
    seen: Counter[int] = Counter()
    for sample in samples:
        seen.update(words(sample.traits).keys())
    often = [(count, bucket) for bucket, count in seen.items() if count > 1]
    most = MAX_WEIGHTS // rows
    if len(often) > most:
        often = sorted(often, reverse=True)[:most]
    buckets = sorted(bucket for _, bucket in often)
    total = len(samples)
    shapes = [shape(sample.traits) for sample in samples]
    means = [sum(column) / total for column in zip(*shapes, strict=True)]
    deviations = [
        math.sqrt(sum((number - mean) ** 2 for number in column) / total) or 1.0
        for column, mean in zip(zip(*shapes, strict=True), means, strict=True)
    ]
    rarity = [1 + math.log((1 + total) / (1 + seen[bucket])) for bucket in buckets]
    return Scaling(buckets, rarity, 1 + math.log((1 + total) / 2), means, deviations)


def _chosen(
    learning: Sequence[Sample], held: Sequence[Sample], targets: Sequence[str], rng: Random
) -> tuple[float, float, dict[str, float]]:
    """The penalty with the least error on *held*, the novelty of its requests, and the errors."""
    scaling = new_scaling(learning, 1 + len(targets))
    vectors, unseen = ([scaling.vector(sample.traits) for sample in part] for part in (learning, held))
    means, _ = _means(learning, targets)
    _, own = _tasks(learning, targets, means)
    _, truth = _tasks(held, targets, means)
    ranked = sorted(range(len(targets)), key=means.__getitem__)
    judged = sorted({ranked[round(step * (len(ranked) - 1) / (JUDGED - 1))] for step in range(JUDGED)})
    if len(targets) == MIRRORED:
        judged = [0]
    wide = len(scaling.buckets) + len(scaling.means)
    errors = {}
    for penalty in PENALTIES:
        error = count = 0.0
        for at in judged:
            weights = _fit(own[at], vectors, penalty, wide, rng)
            for place, value in zip(truth[at].places, truth[at].values, strict=True):
                error += (value - _dot(weights, unseen[place])) ** 2
                count += 1
        errors[penalty] = error / count if count else 0.0
    best = min(PENALTIES, key=lambda penalty: (errors[penalty], -penalty))
    novelty = sum(vector.novelty for vector in unseen) / len(unseen)
    return best, novelty, {"penalty": best, "held_out": float(len(held)), "squared_error": errors[best]}


def _means(samples: Sequence[Sample], targets: Sequence[str]) -> tuple[list[float], float]:
    """The mean quality of each target, and how far the targets' outcomes for a request usually are apart."""
    sums, counts, apart, pairs = dict.fromkeys(targets, 0.0), dict.fromkeys(targets, 0), 0.0, 0
    for sample in samples:
        values = [outcome.quality for outcome in sample.outcomes.values()]
        middle = sum(values) / len(values)
        apart += sum((value - middle) ** 2 for value in values)
        pairs += len(values)
        for name, outcome in sample.outcomes.items():
            sums[name] += outcome.quality
            counts[name] += 1
    whole = sum(sums.values()) / sum(counts.values())
    # Five outcomes of the mean besides, so that a target with two outcomes is not taken for perfect.
    return [(sums[name] + 5 * whole) / (counts[name] + 5) for name in targets], math.sqrt(apart / pairs)


def _costs(samples: Sequence[Sample], targets: Sequence[str]) -> list[float | None]:
    found: dict[str, list[float]] = {name: [] for name in targets}
    for sample in samples:
        for name, outcome in sample.outcomes.items():
            if outcome.cost_usd is not None:
                found[name].append(outcome.cost_usd)
    return [sum(found[name]) / len(found[name]) if found[name] else None for name in targets]


def _tasks(samples: Sequence[Sample], targets: Sequence[str], means: Sequence[float]) -> tuple[_Task, list[_Task]]:
    """What is common to the outcomes of a request, and what is each target's own.

    A target without an outcome is taken to have done as usual.
    """
    expected = dict(zip(targets, means, strict=True))
    places: dict[str, list[int]] = {name: [] for name in targets}
    values: dict[str, list[float]] = {name: [] for name in targets}
    shared = []
    for at, sample in enumerate(samples):
        off = {name: outcome.quality - expected[name] for name, outcome in sample.outcomes.items()}
        common = sum(off.values()) / len(targets)
        shared.append(common)
        for name, value in off.items():
            places[name].append(at)
            values[name].append(value - common)
    return _Task(range(len(samples)), shared), [_Task(places[name], values[name]) for name in targets]


def _fit(task: _Task, vectors: Sequence[Vector], penalty: float, wide: int, rng: Random) -> list[float]:
    """The weights w of the least sum of (value - w x)^2 + penalty w^2."""
    weights, duals = [0.0] * wide, [0.0] * len(task.places)
    steps = [
        (vectors[place].columns, vectors[place].values, value, 1 + _square(vectors[place]) / penalty)
        for place, value in zip(task.places, task.values, strict=True)
    ]
    order = list(range(len(steps)))
    for _ in range(ROUNDS):
        rng.shuffle(order)
        for at in order:
            columns, values, value, room = steps[at]
            reached = sum([weights[column] * number for column, number in zip(columns, values, strict=True)])
            step = (value - reached - duals[at]) / room
            duals[at] += step
            step /= penalty
            for column, number in zip(columns, values, strict=True):
                weights[column] += step * number
    return weights


def _square(vector: Vector) -> float:
    return sum(number * number for number in vector.values)


def _dot(weights: Sequence[float], vector: Vector) -> float:
    return sum([weights[column] * value for column, value in zip(vector.columns, vector.values, strict=True)])


def _small(weights: Sequence[float]) -> tuple[array[int], float]:
    """*weights* as whole numbers from -32767 to 32767, and what one of them is worth."""
    most = max(map(abs, weights), default=0.0)
    scale = most / 32767 or 1.0
    return array("h", [round(weight / scale) for weight in weights]), scale
