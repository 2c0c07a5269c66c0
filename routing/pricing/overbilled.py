"""Targets that bill more tokens than a request can have: what is to be reserved for them from then on.

    a bill within bounds --> 20 in a row: forgotten
    a bill beyond them   --> more is reserved: factor x bound + more

A prompt has at most one token for each byte, and 2.5 bytes are reserved as one: what a vendor counts beyond 2.5 times
the bound can only be something that it adds by itself, whatever the prompt.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

MOST_FACTOR: Final = 2.5
FORGIVEN: Final = 20
MOST_TARGETS: Final = 1000


@dataclass(frozen=True, slots=True)
class Excess:
    """What a target bills beyond bounds. *fitting*: how many bills in a row were within them since."""

    factor: float = 1.0
    more_input: int = 0
    more_output: int = 0
    fitting: int = 0

    def input_tokens(self, bound: int) -> int:
        """The most that it may bill for a prompt that can have *bound* tokens."""
        return math.ceil(bound * self.factor) + self.more_input


_NONE: Final = Excess()


class Overbilled:
    """What was learnt from bills, by target."""

    def __init__(self) -> None:
        self._known: dict[str, Excess] = {}

    def of(self, target: str) -> Excess:
        """What *target* (`provider/model`) bills beyond bounds; nothing where nothing is known."""
        return self._known.get(target, _NONE)

    @property
    def known(self) -> dict[str, Excess]:
        """All targets of which something is known."""
        return dict(self._known)

    def billed(self, target: str, *, bound: tuple[int, int | None], told: tuple[int, int]) -> Excess | None:
        """Hear of a bill: input and output tokens, at most and as *told*; what is known now if that is more.

        Of an answer without a bound only the prompt counts.
        """
        (most_input, most_output), (told_input, told_output) = bound, told
        before = self.of(target)
        over_output = 0 if most_output is None else max(0, told_output - most_output)
        if told_input <= most_input and not over_output:
            self._fits(target, before)
            return None
        factor = min(MOST_FACTOR, max(before.factor, told_input / max(1, most_input)))
        after = Excess(
            factor,
            max(before.more_input, told_input - math.ceil(most_input * factor)),
            max(before.more_output, over_output),
        )
        if target in self._known or len(self._known) < MOST_TARGETS:
            self._known[target] = after
        is_more = (after.factor, after.more_input, after.more_output) != (
            before.factor, before.more_input, before.more_output,
        )  # fmt: skip
        return after if is_more else None

    def _fits(self, target: str, before: Excess) -> None:
        if target not in self._known:
            return
        if before.fitting + 1 >= FORGIVEN:
            del self._known[target]
            return
        self._known[target] = Excess(before.factor, before.more_input, before.more_output, before.fitting + 1)
