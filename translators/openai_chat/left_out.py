"""What the other dialects' fields cost a request to OpenAI, in chat completions and in Responses alike.

Each place is a loss of its own, up to MOST_ALIKE of one kind; one loss more then stands for the rest.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Final

from translators.losses import Loss, is_signature, native_losses
from translators.neutral import Native

MOST_ALIKE: Final = 64
_THOUGHT: Final = ("", "thought")


class LeftOut:
    """Collects what a request to *target*, as losses name it, leaves out of what a client of *client* wrote.

    *own* is the dialect whose fields it does take.
    """

    def __init__(self, target: str, client: str, own: str) -> None:
        self._target = target
        self._client = client
        self._own = own
        self._told: dict[tuple[str, str], list[Loss]] = {}
        self._more: dict[tuple[str, str], tuple[Loss, int]] = {}
        """The first loss beyond MOST_ALIKE, and how many there are."""

    def natives(self, place: str, native: Native) -> None:
        """Note the fields of other dialects that stand at *place*."""
        for dialect, fields in native.items():
            if dialect == self._own:
                continue
            for name, value in fields.items():
                kind = (dialect, "signature" if is_signature(dialect, name) else name)
                self._note(kind, native_losses(place, {dialect: {name: value}}, self._target, self._client))

    def thought(self, place: str, reason: str) -> None:
        """Note earlier reasoning that stands at *place*."""
        self._note(_THOUGHT, [Loss(place, "dropped", reason)])

    def losses(self) -> list[Loss]:
        """All of it, kind by kind."""
        losses: list[Loss] = []
        for kind, told in self._told.items():
            losses += told
            if kind in self._more:
                first, count = self._more[kind]
                rest = f"; {count - 1} more alike" if count > 1 else ""
                losses.append(replace(first, reason=first.reason + rest))
        return losses

    def _note(self, kind: tuple[str, str], losses: Iterable[Loss]) -> None:
        told = self._told.setdefault(kind, [])
        for loss in losses:
            if len(told) < MOST_ALIKE:
                told.append(loss)
            else:
                first, count = self._more.get(kind, (loss, 0))
                self._more[kind] = (first, count + 1)
