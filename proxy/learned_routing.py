"""What the policy `auto` goes by: the routes' trained models, and what each has learnt from its outcomes.

A model is a file that `modelport router train` wrote. It is read in a thread when the first request wants it, and
again after it has changed. A model that cannot be read is logged once, and its route goes on as untrained.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from proxy.config.model import AutoSettings
from proxy.exchange import Exchange
from routing.auto.advice import Advice, Decision
from routing.auto.bandit import Bandit
from routing.auto.errors import BadModel
from routing.auto.model import MAX_BYTES, Model, unpack
from storage.errors import StorageError
from storage.router import Choice, RouterStore

log = logging.getLogger("modelport")

LOOKED_AT_S: Final = 5.0
"""How often a model's file is looked at for changes."""


@dataclass(slots=True)
class _File:
    """A model as it was read. *stamp* is what the file's date and size were, None where there is no file."""

    model: Model | None
    stamp: tuple[int, int] | None
    looked: float


class LearnedRouting:
    """The models and beliefs of all routes."""

    def __init__(self, store: RouterStore, *, now: Callable[[], float] = time.monotonic) -> None:
        self.store = store
        self._now = now
        self._files: dict[Path, _File] = {}
        self._bandits: dict[str, Bandit] | None = None
        self._reading = asyncio.Lock()

    async def advice(self, route: str, settings: AutoSettings, knob: float | None) -> Advice:
        """What a request on *route* is decided by. *knob* None: as the route has it."""
        model = await self._model(settings.model) if settings.model else None
        bandit = (await self._beliefs()).setdefault(route, Bandit()) if settings.learn else None
        knob = settings.quality if knob is None else knob
        return Advice(model, knob, bandit, settings.exploration, cascades=settings.mode == "cascade")

    def note(self, route: str, decision: Decision, exchange: Exchange) -> None:
        """Keep what was decided until its outcome is known; a target that was asked and gave nothing is one at once."""
        if decision.expert is None or not decision.order:
            return
        chosen = decision.order[0]
        if exchange.target == chosen:
            self.store.note(Choice(exchange.id, route, decision.expert, chosen.name, decision.penalty))
        elif any(attempt.target == chosen for attempt in exchange.attempts):
            self._learn(route, decision.expert, 0.0)  # it was asked and gave nothing

    async def outcome(self, exchange: str, quality: float) -> bool:
        """Learn how good the answer of *exchange* was, 0 to 1; False where no decision waits for it."""
        choice = await self.store.take(exchange)
        if choice is None:
            return False
        await self._beliefs()
        self._learn(choice.route, choice.expert, quality - choice.penalty)
        return True

    async def _model(self, path: Path) -> Model | None:
        known = self._files.get(path)
        if known is None or self._now() - known.looked > LOOKED_AT_S:
            async with self._reading:
                known = self._files.get(path)
                if known is None or self._now() - known.looked > LOOKED_AT_S:
                    known = self._files[path] = await asyncio.to_thread(self._read, path, known)
        return known.model

    def _read(self, path: Path, known: _File | None) -> _File:
        now, stamp = self._now(), None
        try:
            found = path.stat()
            stamp = (found.st_mtime_ns, found.st_size)
            if known and known.stamp == stamp:
                return _File(known.model, stamp, now)
            with path.open("rb") as file:
                model = unpack(file.read(MAX_BYTES + 1))
        except (OSError, BadModel) as error:
            if known is None or known.stamp != stamp:
                log.warning("%s: no model for the policy auto (%s); routes with it go on as balanced", path, error)
            return _File(None, stamp, now)
        log.info("%s: a model of %d targets from %d samples", path, len(model.targets), model.samples)
        return _File(model, stamp, now)

    async def _beliefs(self) -> dict[str, Bandit]:
        if self._bandits is None:
            try:
                states: Mapping[str, Mapping[str, Any]] = await self.store.states()
            except StorageError as error:
                log.warning("what routes have learnt from outcomes cannot be read (%s)", error)
                states = {}
            if self._bandits is None:
                self._bandits = {route: Bandit.unpacked(state) for route, state in states.items()}
        return self._bandits

    def _learn(self, route: str, expert: str, reward: float) -> None:
        bandit = (self._bandits or {}).get(route)
        if bandit is not None:
            bandit.learn(expert, reward)
            self.store.put_state(route, bandit.packed())
