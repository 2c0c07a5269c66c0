"""Functions whose modules are imported when they are called for the first time.

Most processes never hear most of the paths, and most routes never ask several targets: what only these need is half of
what there is to import. The first call waits for the import, which has a thread of its own: others do not.
"""

from __future__ import annotations

import asyncio
import sys
from dataclasses import dataclass
from importlib import import_module
from typing import Any


@dataclass(frozen=True, slots=True)
class Late:
    """The coroutine function *name* of *module*."""

    module: str
    name: str

    def found(self) -> Any:
        """The function itself."""
        return getattr(import_module(self.module), self.name)

    async def __call__(self, *given: Any) -> Any:
        """What the function gives."""
        if self.module not in sys.modules:
            await asyncio.to_thread(import_module, self.module)
        return await self.found()(*given)


class LateModule:
    """What stands for a module of handlers where a route names them."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, name: str) -> Late:
        return Late(self._name, name)
