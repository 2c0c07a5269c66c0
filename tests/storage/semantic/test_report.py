"""The report counts what a cache would have answered, rightly or wrongly."""

from __future__ import annotations

from storage.semantic.report import LabelledPair, report

PAIRS = [
    LabelledPair("What is the capital of France?", "what's the capital of France", same=True),
    LabelledPair("Where does the king live?", "In which palace is the king's home?", same=True),
    LabelledPair("What is the capital of France?", "What is the capital of Spain?", same=False),
    LabelledPair("How do I tie a tie?", "How can I tie a tie?", same=False),
]


def test_the_figures_are_those_of_the_pairs() -> None:
    found = report(PAIRS)

    assert (found.pairs, found.same, found.hits, found.false_hits) == (4, 2, 2, 1)
    assert (found.precision, found.recall, found.false_hit_rate) == (0.5, 0.5, 0.5)
    assert found.reasons == {"words": 2}
    assert found.false == (PAIRS[3],)


def test_without_the_guard_likeness_alone_decides() -> None:
    assert report(PAIRS, 0.6, guarded=False).hits == 3


def test_a_pair_with_a_similarity_is_judged_by_it() -> None:
    near = LabelledPair("How do you celebrate Christmas?", "What is the best way to celebrate Christmas?", True, 0.95)

    assert report([near], 0.9).hits == 1
    assert report([near], 0.99).reasons == {"too far": 1}


def test_no_pairs_are_no_false_hits() -> None:
    found = report([])

    assert (found.precision, found.recall, found.false_hit_rate) == (1.0, 0.0, 0.0)
