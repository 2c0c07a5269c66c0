"""Made-up requests and outcomes with a rule that can be learnt."""

from __future__ import annotations

from random import Random

from routing.auto.features import Traits
from routing.auto.samples import Outcome, Sample

HARD = ["prove", "the", "theorem", "about", "compact", "manifolds"]
EASY = ["greet", "my", "friend", "politely", "and", "kindly", "today"]
FILLING = ["please", "now", "then", "also", "with", "some", "very", "more", "words", "here"]


def text(rng: Random, *, hard: bool) -> str:
    words = rng.sample(HARD if hard else EASY, 4) + rng.sample(FILLING, 4)
    rng.shuffle(words)
    return " ".join(words)


def world(rng: Random, count: int) -> list[Sample]:
    """`a/weak` fails where it is hard, `b/strong` hardly ever, and costs ten times as much."""
    found = []
    for _ in range(count):
        hard = rng.random() < 0.5
        weak = rng.random() < (0.15 if hard else 0.9)
        strong = rng.random() < 0.9
        outcomes = {"a/weak": Outcome(float(weak), 0.001), "b/strong": Outcome(float(strong), 0.01)}
        found.append(Sample(Traits(text(rng, hard=hard)), outcomes))
    return found
