"""How often the semantic cache would be right on labelled pairs of questions: `report(pairs)`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from storage.semantic.guard import difference
from storage.semantic.reading import read
from storage.semantic.similar import likeness
from storage.semantic.store import WORD_THRESHOLD

SHOWN = 50


@dataclass(frozen=True, slots=True)
class LabelledPair:
    """Two questions, and whether one answer serves both. *similarity* is that of their embeddings, None: by words."""

    one: str
    other: str
    same: bool
    similarity: float | None = None


@dataclass(frozen=True, slots=True)
class Report:
    """*reasons* counts what kept apart the pairs that were near enough; *false* shows the first false hits."""

    pairs: int
    same: int
    hits: int
    false_hits: int
    reasons: Mapping[str, int]
    false: tuple[LabelledPair, ...] = field(default=())

    @property
    def precision(self) -> float:
        """Right hits of all hits; 1 if there is none."""
        return 1 - self.false_hits / self.hits if self.hits else 1.0

    @property
    def recall(self) -> float:
        """Right hits of all pairs that mean the same."""
        return (self.hits - self.false_hits) / self.same if self.same else 0.0

    @property
    def false_hit_rate(self) -> float:
        """False hits of all pairs that do not mean the same."""
        different = self.pairs - self.same
        return self.false_hits / different if different else 0.0


def report(pairs: Iterable[LabelledPair], threshold: float = WORD_THRESHOLD, *, guarded: bool = True) -> Report:
    """What a cache would do that stores one question of each pair and is asked the other.

    Without the guard it shows what likeness alone is worth.
    """
    total = same = hits = false_hits = 0
    reasons: Counter[str] = Counter()
    false: list[LabelledPair] = []
    for pair in pairs:
        total += 1
        same += pair.same
        reason = _apart(pair, threshold, guarded=guarded)
        if reason is not None:
            reasons[reason.partition(" (")[0]] += 1
            continue
        hits += 1
        if not pair.same:
            false_hits += 1
            false.append(pair)
    return Report(total, same, hits, false_hits, dict(reasons.most_common()), tuple(false[:SHOWN]))


def _apart(pair: LabelledPair, threshold: float, *, guarded: bool) -> str | None:
    """Why *pair* is no hit; None if it is one."""
    one, other = read(pair.one), read(pair.other)
    if one is None or other is None:
        return "no question"
    by_vector = pair.similarity is not None
    if guarded and not by_vector and one.signature != other.signature:
        return "words"
    similarity = likeness(one, other) if pair.similarity is None else pair.similarity
    if similarity < threshold:
        return "too far"
    return difference(one, other, by_vector=by_vector) if guarded else None
