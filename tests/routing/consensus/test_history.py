"""What a route learns from its exchanges."""

from __future__ import annotations

import json
import random
from typing import Any

import pytest

from routing.consensus import Answer, History, Label, Options, merge
from routing.consensus import history as history_module
from routing.consensus.answers import SILENT
from routing.consensus.ballots import ballot
from routing.consensus.choose import ORDER, chosen

ACCURACY = {"good": 0.9, "fair": 0.7, "poor": 0.4}


def exchange(rng: random.Random, accuracy: dict[str, float] = ACCURACY) -> tuple[list[Answer], dict[str, Any]]:
    """An exchange with two fields whose right values are known, and the answers of targets that err on their own."""
    truth = {name: f"{name} {rng.randrange(10**6)}" for name in ("city", "name")}
    answers = [
        Answer(
            target,
            {name: value if rng.random() < share else f"wrong {rng.randrange(5)}" for name, value in truth.items()},
        )
        for target, share in accuracy.items()
    ]
    return answers, truth


def learnt(count: int, label: str, accuracy: dict[str, float] = ACCURACY) -> History:
    """A history of *count* exchanges with this kind of label."""
    rng, history = random.Random(5), History()
    for _ in range(count):
        answers, truth = exchange(rng, accuracy)
        match label:
            case "expected":
                history.learn(answers, Label(expected=truth))
            case "rights":
                history.learn(answers, Label(rights={one.target: one.value == truth for one in answers}))
            case _:
                history.observe(answers)
    history.refit()
    return history


@pytest.mark.parametrize("label", ["none", "expected", "rights"])
def test_reliabilities_are_learnt_with_and_without_verdicts(label: str) -> None:
    reliability = learnt(150, label).learned.reliability

    ranked = sorted(ACCURACY, key=reliability.of, reverse=True)
    assert ranked == ["good", "fair", "poor"]


def test_reliabilities_go_by_field() -> None:
    """A target that is right in one field and wrong in the other has two reliabilities."""
    history = History()
    for at in range(40):
        truth = {"city": f"c{at}", "name": f"n{at}"}
        answers = [Answer("a", {**truth, "name": "?"}), Answer("b", {**truth, "city": "?"})]
        history.learn(answers, Label(expected=truth))
    history.refit()
    found = merge([Answer("a", {"city": "x", "name": "x"}), Answer("b", {"city": "y", "name": "y"})], history)

    assert found.value == {"city": "x", "name": "y"}


def test_below_twelve_known_exchanges_the_route_votes_by_reliability() -> None:
    assert learnt(11, "expected").learned.method == "em"
    assert not learnt(11, "expected").learned.scores


def test_all_candidates_are_scored_best_single_among_them() -> None:
    learned = learnt(40, "rights").learned

    assert set(learned.scores) == set(ORDER)
    assert "best_single" in learned.scores
    assert learned.scores[learned.method].mean >= learned.scores["best_single"].mean - 0.05


def test_one_strong_target_among_copies_of_a_weak_one_is_followed() -> None:
    """Three targets that make the same mistakes outvote the right one, until verdicts show it."""
    rng, history = random.Random(2), History()
    exchanges = []
    for _ in range(120):
        truth = f"value {rng.randrange(10**6)}"
        same = truth if rng.random() < 0.5 else f"mistake {rng.randrange(10**6)}"
        answers = [Answer("strong", {"a": truth}), *(Answer(f"copy{at}", {"a": same}) for at in range(3))]
        exchanges.append((answers, {"a": truth}))
    for answers, truth_ in exchanges[:60]:
        history.learn(answers, Label(rights={one.target: one.value == truth_ for one in answers}))
    history.refit()

    assert all(merge(answers, history).value == truth_ for answers, truth_ in exchanges[60:])


def test_chosen_is_the_best_and_the_first_of_equals() -> None:
    even = {name: [1.0, 0.0] * 20 for name in ORDER}

    assert chosen(even) == ORDER[0]
    assert chosen({**even, "best_single": [1.0] * 40}) == "best_single"


def test_confidence_is_higher_for_right_answers() -> None:
    history, rng = learnt(200, "expected"), random.Random(9)
    sure: dict[bool, list[float]] = {True: [], False: []}
    for _ in range(200):
        answers, truth = exchange(rng)
        found = merge(answers, history)
        sure[found.value == truth].append(found.confidence)

    mean = {right: sum(values) / len(values) for right, values in sure.items()}
    share = len(sure[True]) / 200
    assert mean[True] > mean[False] + 0.2
    assert sum(sure[True] + sure[False]) / 200 == pytest.approx(share, abs=0.08)


def test_state_survives_json() -> None:
    history = learnt(60, "rights")
    again = History.from_json(json.loads(json.dumps(history.to_json())))
    answers, _ = exchange(random.Random(1))

    assert again.ballots == history.ballots
    assert again.to_json() == history.to_json()
    assert merge(answers, again).value == merge(answers, history).value


def test_what_a_schema_rules_out_is_remembered_and_may_be_missing_in_older_states() -> None:
    history = History()
    schema = {"type": "object", "properties": {"a": {"type": "integer"}}}
    history.observe([Answer("t0", {"a": 1}), Answer("t1", {"a": "one"})], Options(schema=schema))
    stored = json.loads(json.dumps(history.to_json()))
    again = History.from_json(stored)
    for place in stored["ballots"][0][3]:
        del place[6:]
    older = History.from_json(stored)

    assert [place.poll.out for place in again.ballots[0].places] == [frozenset({1})]
    assert [place.poll.out for place in older.ballots[0].places] == [frozenset()]


@pytest.mark.parametrize("stored", [{}, {"form": 0}, {"form": 99}])
def test_state_of_another_form_is_forgotten(stored: dict[str, Any]) -> None:
    assert len(History.from_json(stored)) == 0


def test_a_verdict_replaces_what_was_observed_of_the_exchange() -> None:
    history = History()
    answers, truth = exchange(random.Random(1))
    history.observe(answers, exchange="x1")
    history.learn(answers, Label(expected=truth), exchange="x1")

    assert len(history) == 1
    assert history.ballots[0].is_known


def test_exchanges_without_a_verdict_make_room_first() -> None:
    rng, history = random.Random(1), History()
    answers, truth = exchange(rng)
    history.learn(answers, Label(expected=truth), exchange="told")
    for _ in range(history_module.MOST_BALLOTS + 10):
        history.observe(exchange(rng)[0])

    assert len(history) == history_module.MOST_BALLOTS
    assert history.ballots[0].exchange == "told"


def test_long_answers_do_not_fill_the_memory() -> None:
    history = History()
    for at in range(300):
        value = {f"f{field}": at for field in range(200)}
        history.observe([Answer(f"t{target}", value) for target in range(4)])

    assert sum(one.cells for one in history.ballots) <= history_module.MOST_CELLS


def test_is_due_after_a_few_and_then_after_a_fifth() -> None:
    rng, history = random.Random(1), History()
    due = []
    for _ in range(40):
        history.observe(exchange(rng)[0])
        due.append(history.is_due)
        if history.is_due:
            history.refit()

    assert due[:4] == [False, False, False, True]
    assert 5 <= sum(due) < 12


@pytest.mark.parametrize(
    ("label", "possible"),
    [
        (Label(expected={"a": "x"}), {0}),
        (Label(expected={"a": "neither"}), {-1}),
        (Label(rights={"t0": True, "t1": False}), {0}),
        (Label(rights={"t0": False, "t1": False}), {-1}),
        (Label(rights={"t0": False}), {-1, 1}),
        (Label(right=True, merged={"a": "y"}), {1}),
        (Label(right=False, merged={"a": "y"}), {-1, 0}),
        (Label(), None),
    ],
)
def test_what_a_verdict_says_of_the_candidates(label: Label, possible: set[int] | None) -> None:
    answers = [Answer("t0", {"a": "x"}), Answer("t1", {"a": "y"})]
    (place,) = ballot(answers, [one.value for one in answers], label, Options(), "").places

    assert place.possible == (None if possible is None else frozenset(possible))


@pytest.mark.parametrize(
    ("label", "possible", "rights"),
    [
        (Label(expected={"a": "bonn"}), {1}, (False, True, False)),
        (Label(expected={"a": "BONN!"}), {0, 1}, (True, True, False)),
        (Label(expected={"a": "Graz"}), {2}, (False, False, True)),
        (Label(right=False, merged={"a": "bonn"}), {-1, 0, 2}, (None, False, None)),
        (Label(right=False, merged={"a": "BONN!"}), {-1, 2}, (False, False, None)),
        (Label(right=False, merged={"a": "Graz"}), {-1, 0, 1}, (None, None, False)),
    ],
)
def test_a_verdict_speaks_of_a_value_as_somebody_wrote_it_before_its_like(
    label: Label, possible: set[int], rights: tuple[bool | None, ...]
) -> None:
    answers = [Answer("t0", {"a": "Bonn"}), Answer("t1", {"a": "bonn"}), Answer("t2", {"a": "Graz"})]
    found = ballot(answers, [one.value for one in answers], label, Options(), "")

    assert (found.places[0].possible, found.rights) == (frozenset(possible), rights)


def test_null_can_be_expected() -> None:
    answers = [Answer("t0", {"a": None}), Answer("t1", {"a": "y"})]
    (place,) = ballot(answers, [one.value for one in answers], Label(expected={"a": None}), Options(), "").places

    assert place.possible == frozenset({0})
    assert Label().expected is SILENT
