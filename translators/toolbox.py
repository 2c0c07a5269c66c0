"""The tools of a request, which clients send again with every turn of a conversation.

what a client wrote --read_tools--> Toolbox --written_once--> what a target is sent

Equal definitions are read once and give one Toolbox. Plain functions, which have no fields of one vendor's own, are
also written once for each kind of target. Requests share what is remembered: it is never to be changed.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable
from functools import lru_cache
from typing import Any, Final

from translators.codec import dumps, loads_exact
from translators.fields import Fields
from translators.losses import Loss
from translators.neutral import Tool

REMEMBERED: Final = 32
"""Toolboxes that are kept; those that were used longest ago go."""
LONGEST_REMEMBERED: Final = 128 * 1024
"""Bytes of the longest of them, as JSON."""

Reader = Callable[[Fields], Iterable[Tool]]
"""Reads the field `tools` of the body that it is given, and nothing else of it."""
Written = tuple[list[dict[str, Any]], list[Loss]]
"""The entries of a body's tools, and what they lose."""


class Toolbox(tuple[Tool, ...]):  # noqa: SLOT001  a tuple takes no slots, and this one has fields
    """`Request.tools` that remember what was written of them.

    *plain* says whether all of them are functions without fields of one vendor's own.
    """

    plain: bool
    written: dict[Hashable, Written]


def read_tools(body: Fields, read: Reader) -> tuple[Tool, ...]:
    """What *read* makes of the tools of *body*, which is a request: read anew only where they are new.

    Raises:
        BadRequest: whatever *read* raises.
    """
    tools = body.get("tools")
    if not tools:
        return tuple(read(body))
    text = dumps(tools)
    return tuple(read(body)) if len(text) > LONGEST_REMEMBERED else _read_once(read, text)


@lru_cache(REMEMBERED)
def _read_once(read: Reader, text: bytes) -> Toolbox:
    box = Toolbox(read(Fields({"tools": loads_exact(text.decode())})))
    box.plain = all(tool.kind == "function" and not tool.native for tool in box)
    box.written = {}
    return box


def written_once(tools: tuple[Tool, ...], how: Hashable, write: Callable[[], Written]) -> Written:
    """What *write* gives for *tools*.

    *how* names all else that this depends on, and has few values; None: it depends on more, and is not remembered.
    """
    if how is None or not isinstance(tools, Toolbox) or not tools.plain:
        return write()
    known = tools.written.get(how)
    if known is None:
        known = tools.written[how] = write()
    entries, losses = known
    return entries[:], losses[:]
