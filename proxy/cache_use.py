"""What the cache has been good for since the start, by route and model."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Final

MAX_PAIRS: Final = 10_000
"""Clients may invent names of models; what is beyond goes to a common place."""


@dataclass(slots=True)
class CacheUse:
    """Of one route and one model. *hits* are all of them; *stale_hits* and *similar_hits* say how many were such."""

    hits: int = 0
    stale_hits: int = 0
    similar_hits: int = 0
    misses: int = 0
    saved_nanousd: int = 0

    def add(self, other: CacheUse) -> None:
        """Count *other* in."""
        for each in fields(self):
            setattr(self, each.name, getattr(self, each.name) + getattr(other, each.name))


class CacheUses:
    """One `CacheUse` for each pair that was seen."""

    def __init__(self) -> None:
        self.pairs: dict[tuple[str, str], CacheUse] = {}

    def hit(self, route: str, model: str, saved_nanousd: int | None, *, stale: bool, similar: bool) -> None:
        """An answer of *model* was given once more, which saved what it had cost."""
        use = self._of(route, model)
        use.hits += 1
        use.stale_hits += stale
        use.similar_hits += similar
        use.saved_nanousd += saved_nanousd or 0

    def given_again(self, route: str, model: str, saved_nanousd: int | None, times: int) -> None:
        """The same as fresh answers to the same question, so many *times*."""
        use = self._of(route, model)
        use.hits += times
        use.saved_nanousd += times * (saved_nanousd or 0)

    def missed(self, route: str, model: str) -> None:
        """Nothing was found, and *model* was asked; an empty name: nobody answered."""
        self._of(route, model).misses += 1

    def total(self) -> CacheUse:
        """All of them together."""
        total = CacheUse()
        for use in self.pairs.values():
            total.add(use)
        return total

    def _of(self, route: str, model: str) -> CacheUse:
        if (route, model) not in self.pairs and len(self.pairs) >= MAX_PAIRS:
            route = model = ""
        return self.pairs.setdefault((route, model), CacheUse())
