"""Values that stand in a query or a body of administration: read strictly, refused with what would be right."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from typing import Final

from proxy.errors import Refused, refused

LONGEST_SHOWN: Final = 80
_DIGITS: Final = re.compile(r"[0-9]{1,19}")


def bad(field: str, told: str) -> Refused:
    """400 that names *field*."""
    return refused(400, f"{field}: {told}", param=field, code="invalid_parameter")


def only(query: Iterable[str], known: Collection[str]) -> None:
    """Raises Refused, 400 naming the first of *query* that is none of *known*: a slip would choose something else."""
    for name in query:
        if name not in known:
            raise bad(name[:40], f"unknown; there are {', '.join(sorted(known))}")


def whole(text: str, field: str, least: int, most: int) -> int:
    """The whole number that *text* spells in digits.

    Raises:
        Refused: 400, it is none from *least* to *most*.
    """
    number = int(text) if _DIGITS.fullmatch(text) else None
    if number is None or not least <= number <= most:
        raise bad(field, f"expected a number from {least} to {most}, found {text[:LONGEST_SHOWN]!r}")
    return number
