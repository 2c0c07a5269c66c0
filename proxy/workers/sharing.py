"""What a worker has in common with others: nothing, as long as it is alone. Else see `proxy.workers.shared`."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from proxy.workers.files import worker_file
from routing.breaker import Word
from routing.targets import Target
from routing.throttle import NewThrottle

if TYPE_CHECKING:
    from collections.abc import Callable

    from proxy.services import Services
    from routing.limits import Rest


class Sharing:
    """One process that is alone."""

    several = False
    """Whether there are others."""
    first = True
    """Whether it does what only one may do: removing what is old, alerts, probes, sums."""
    begins = True
    """Whether nobody else works yet: what was left unended is anybody's then."""
    mark = ""
    """What the ids that it gives end with."""
    throttle: NewThrottle | None = None
    """What makes the limits that hold for all; None: they hold here."""
    say: Callable[[Target, Word], None] | None = None
    """What tells others what was seen of a target."""

    def own_file(self, path: Path, suffix: str) -> Path:
        """The file of its own beside the database at *path*."""
        return worker_file(path, suffix, 0)

    def prepare(self, services: Services) -> None:
        """Before anything is done in the background."""

    async def join(self, services: Services) -> None:
        """Before requests are taken."""

    def ready(self, banner: str) -> None:
        """Requests are taken. *banner* is what people are told."""
        sys.stderr.write(banner)
        sys.stderr.flush()

    async def close(self) -> None:
        """No more requests are taken."""

    def rested(self, provider: str, index: int, model: str, for_s: float, rest: Rest) -> None:
        """A key begins to rest."""

    def cancelled(self, tenant: str, response_id: str) -> None:
        """A response that is made in the background was cancelled."""

    async def changed(self, path: str) -> None:
        """Something was changed by *path* of the administration: return when it holds for all."""

    async def level_chosen(self, logger: str, level: str | None) -> None:
        """A logger writes from another level on."""

    async def query_cancelled(self, tenant: str, query_id: str) -> None:
        """Have a query end, whoever makes it."""

    async def reports(self) -> Sequence[Mapping[str, Any]]:
        """What the others count and have seen, for `/health`."""
        return ()

    async def samples(self) -> Sequence[Mapping[str, Any]]:
        """What the others count, for `/metrics`."""
        return ()
