"""What a model learns from samples, and what it makes of too few or of noise."""

from __future__ import annotations

from random import Random
from time import thread_time

import pytest

from routing.auto.errors import BadModel, BadSamples
from routing.auto.features import Traits
from routing.auto.judging import apgr, folds
from routing.auto.model import MAX_BYTES, pack, unpack
from routing.auto.samples import Outcome, Sample
from routing.auto.training import FEWEST, train
from tests.routing.auto.worlds import EASY, HARD, world


@pytest.fixture(scope="module")
def model():
    return train(world(Random(1), 400), Random(2))


def area(samples: list[Sample]) -> float:
    scores, strong, weak = [], [], []
    for model, held in folds(samples, 4, Random(3)):
        for sample in held:
            scores.append(model.gain(sample.traits, model.place("b/strong"), model.place("a/weak")))
            strong.append(sample.outcomes["b/strong"].quality)
            weak.append(sample.outcomes["a/weak"].quality)
    found = apgr(scores, strong, weak)
    assert found is not None
    return found


def test_what_is_hard_for_the_weak_target_is_told_from_what_is_easy(model) -> None:
    places = [model.place("a/weak"), model.place("b/strong")]
    hard = model.expected(Traits(" ".join(HARD)), places)
    easy = model.expected(Traits(" ".join(EASY)), places)

    assert hard[0] < 0.4 < 0.7 < easy[0]
    assert min(hard[1], easy[1]) > 0.75


@pytest.mark.parametrize(("count", "least"), [(60, 0.62), (300, 0.72)])
def test_requests_that_gain_go_to_the_strong_target_first(count: int, least: float) -> None:
    assert area(world(Random(4), count)) > least


def test_outcomes_without_a_rule_are_not_taken_for_one() -> None:
    """All that is left is the difference of the means."""
    rng = Random(5)
    samples = [
        Sample(sample.traits, {"a": Outcome(float(rng.random() < 0.4)), "b": Outcome(float(rng.random() < 0.8))})
        for sample in world(rng, 200)
    ]
    model = train(samples, rng)
    gains = [model.gain(sample.traits, model.place("b"), model.place("a")) for sample in samples]

    assert 0.2 < min(gains) < max(gains) < 0.6


def test_targets_of_which_each_sample_knows_one_can_be_learnt() -> None:
    rng = Random(6)
    samples = []
    for sample in world(rng, 800):
        name = rng.choice(("a/weak", "b/strong"))
        samples.append(Sample(sample.traits, {name: sample.outcomes[name]}))
    model = train(samples, rng)
    weak, strong = model.place("a/weak"), model.place("b/strong")

    assert model.gain(Traits(" ".join(HARD)), strong, weak) > model.gain(Traits(" ".join(EASY)), strong, weak) + 0.3


def test_the_same_samples_and_seed_give_the_same_bytes() -> None:
    assert pack(train(world(Random(1), 80), Random(2))) == pack(train(world(Random(1), 80), Random(2)))


def test_a_packed_model_expects_the_same(model) -> None:
    again = unpack(pack(model))
    traits = Traits("prove it politely", context="you are kind", tools=("look_up",), turns=3)

    assert again.targets == model.targets
    assert again.expected(traits, [0, 1]) == pytest.approx(model.expected(traits, [0, 1]), abs=0.005)
    assert len(pack(model)) < 100_000 < MAX_BYTES


@pytest.mark.parametrize("damage", [lambda b: b"", lambda b: b[:-9], lambda b: b"x" + b, lambda b: b[:40] + b[60:]])
def test_a_damaged_model_is_refused(model, damage) -> None:
    with pytest.raises(BadModel):
        unpack(damage(pack(model)))


@pytest.mark.parametrize(
    ("samples", "told"),
    [
        (world(Random(1), FEWEST - 1), f"at least {FEWEST}"),
        ([Sample(Traits("a"), {"one": Outcome(1.0)})] * FEWEST, "two targets"),
    ],
)
def test_too_little_to_learn_from_is_refused(samples: list[Sample], told: str) -> None:
    with pytest.raises(BadSamples, match=told):
        train(samples, Random(0))


@pytest.mark.parametrize("text", ["", "\ud800", "x" * 100_000, "ü \x00 日本語 🙂", "word " * 50_000])
def test_any_text_gets_qualities_from_0_to_1(model, text: str) -> None:
    assert all(0 <= quality <= 1 for quality in model.expected(Traits(text), [0, 1]))


def test_a_long_text_takes_hardly_longer_than_what_is_read_of_it(model) -> None:
    short, long = ("some different words " * times for times in (200, 50_000))
    took = {}
    for text in (short, long):
        started = thread_time()
        for _ in range(20):
            model.expected(Traits(text), [0, 1])
        took[text] = thread_time() - started

    assert took[long] < 10 * took[short]


@pytest.mark.parametrize(
    ("asked", "place"), [("a/weak", 0), ("other/weak", 0), ("b/strong", 1), ("x/b/strong", 1), ("nobody", None)]
)
def test_a_target_is_known_by_its_whole_name_or_that_of_its_model(asked: str, place: int | None, model) -> None:
    assert model.place(asked) == place


def test_bare_model_names_of_the_training_fit_any_provider() -> None:
    samples = [
        Sample(sample.traits, {name.partition("/")[2]: each for name, each in sample.outcomes.items()})
        for sample in world(Random(1), 40)
    ]
    model = train(samples, Random(0))

    assert [model.place("openai/strong"), model.place("weak")] == [1, 0]
