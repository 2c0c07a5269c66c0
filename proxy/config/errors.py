"""Errors of configuration.

ConfigError       the whole configuration is refused; carries every Problem that was found
└─ (Problem)      a value, not an exception: one thing that is wrong, where, and what would be right
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from difflib import get_close_matches


@dataclass(frozen=True, slots=True)
class Problem:
    """*where* is the file, the variable or the option; *key* the dotted path, empty for the source as a whole.

    *found* and *expected* complete the sentence "found ..., expected ...". Secrets never stand in either.
    """

    where: str
    key: str
    found: str
    expected: str

    def __str__(self) -> str:
        place = f"{self.where}: {self.key}" if self.key else self.where
        return f"{place}: found {self.found}, expected {self.expected}"


class ConfigError(Exception):
    """The configuration cannot be used. Its text is one line per problem."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(str(problem) for problem in self.problems))


def nearest(name: str, names: Sequence[str]) -> str:
    """`; did you mean X?`, or nothing when no name is near."""
    near = get_close_matches(name.lower(), names, n=1, cutoff=0.6)
    return f"; did you mean {near[0]}?" if near else ""
