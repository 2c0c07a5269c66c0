"""A clock that stands still until told otherwise."""

from __future__ import annotations

import pytest


class Clock:
    """Monotonic seconds; sleeping on it takes no time."""

    def __init__(self) -> None:
        self.at = 1000.0
        self.slept: list[float] = []

    def __call__(self) -> float:
        return self.at

    def advance(self, seconds: float) -> None:
        self.at += seconds

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.at += seconds


@pytest.fixture
def clock() -> Clock:
    return Clock()
