"""What bills teach of targets that count more than a request can have."""

from __future__ import annotations

import pytest

from routing.pricing.overbilled import FORGIVEN, Excess, Overbilled

TARGET = "one/m"


@pytest.mark.parametrize(
    ("bills", "known"),
    [
        ([((100, 50), (100, 50))], Excess()),
        ([((100, 50), (150, 50))], Excess(1.5)),
        ([((10, 50), (110, 50))], Excess(2.5, 85)),
        ([((100, 50), (150, 50)), ((1000, 50), (1400, 50))], Excess(1.5)),
        ([((100, 50), (150, 50)), ((1000, 50), (1800, 50))], Excess(1.8)),
        ([((100, 50), (90, 70))], Excess(1.0, 0, 20)),
        ([((100, None), (90, 9000))], Excess()),
        ([((0, 5), (7, 5))], Excess(2.5, 7)),
    ],
    ids=["fits", "denser", "adds", "less dense", "denser still", "longer", "no bound", "empty"],
)
def test_what_is_known_after_bills(bills: list[tuple[tuple[int, int | None], tuple[int, int]]], known: Excess) -> None:
    overbilled = Overbilled()
    for bound, told in bills:
        overbilled.billed(TARGET, bound=bound, told=told)

    assert overbilled.of(TARGET) == known
    assert all(known.input_tokens(bound[0]) >= told[0] for bound, told in bills)


def test_only_more_than_before_is_news() -> None:
    overbilled = Overbilled()
    news = [overbilled.billed(TARGET, bound=(100, 5), told=(told, 5)) for told in (100, 150, 150, 140, 151)]

    assert [found is not None for found in news] == [False, True, False, False, True]


def test_bills_that_fit_end_it_and_one_that_does_not_begins_anew() -> None:
    overbilled = Overbilled()
    within = [(100, 5)] * (FORGIVEN - 1)
    factors: list[float] = []
    for told in [(150, 5), *within, (150, 5), *within, (90, 5)]:
        overbilled.billed(TARGET, bound=(100, 5), told=told)
        factors.append(overbilled.of(TARGET).factor)

    assert factors == [1.5] * (2 * FORGIVEN) + [1.0]
    assert overbilled.known == {}
