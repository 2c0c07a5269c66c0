"""Plain text answers."""

from __future__ import annotations

import pytest

from routing.consensus import Answer, Learned, merge
from routing.consensus.plain import Print, final_answer, most_similar


@pytest.mark.parametrize(
    ("text", "final"),
    [
        ("42", "42"),
        ("**Paris**.", "Paris"),
        ("(B) Paris", "B"),
        ("B. Paris", "B"),
        ("The answer is C.", "C"),
        ("Let me see: 6 * 7 is 42.\nSo the final answer is: 42", "42"),
        ("We get\n#### 1,200", "1,200"),
        (r"Hence \boxed{\frac{1}{2}}.", r"\frac{1}{2}"),
        ("Answer: option D", "D"),
        ("Yes, because the sky is blue and has been for as long as anyone remembers.", "yes"),
        ("A long text that tells of many things and comes to no answer at all, as long texts do so often.", None),
        ("I would say so", "I would say so"),
    ],
)
def test_final_answer(text: str, final: str | None) -> None:
    assert final_answer(text) == final


def test_short_answers_are_polled_and_the_winner_is_written_out() -> None:
    texts = ["The answer is 42.", "I think that the answer is 41.", "42"]
    found = merge([Answer(f"t{at}", text) for at, text in enumerate(texts)], Learned())

    assert found.value in (texts[0], texts[2])
    assert found.losers == ("t1",)
    assert found.fields[""].votes == {"t0": "42", "t1": "41", "t2": "42"}


def test_of_long_texts_the_one_most_like_the_others_is_taken() -> None:
    texts = [
        "The committee met on Monday and decided to postpone the vote until the budget has been reviewed by everyone.",
        "On Monday the committee met and decided that the vote is postponed until the budget has been reviewed.",
        "Penguins live in the southern hemisphere and cannot fly, though they swim very well and eat fish all day.",
    ]
    found = merge([Answer(f"t{at}", text) for at, text in enumerate(texts)], Learned())

    assert found.method == "similar"
    assert found.value in texts[:2]
    assert "t2" in found.losers


def test_ties_of_likeness_go_to_the_heavier_then_to_the_first() -> None:
    assert most_similar(["a b c", "d e f"], [1.0, 1.0])[0] == 0
    assert most_similar(["a b c", "d e f"], [1.0, 2.0])[0] == 1


def test_likeness_is_even_handed() -> None:
    one, other = Print.of("the vote is postponed"), Print.of("they postponed the vote")

    assert one.likeness(other) == pytest.approx(other.likeness(one))
    assert 0 < one.likeness(other) < one.likeness(one) == pytest.approx(1)
