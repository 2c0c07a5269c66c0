"""Token counts as vendors write them.

A main count (of the input, of the output) that cannot be one means that the vendor did not report its tokens, and the
proxy estimates them. A detail that cannot be one counts 0.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

MAX_TOKENS: Final = 10**12
"""No request has more; a larger number is a mistake of the vendor."""


def count_of(value: Any) -> int | None:
    """*value* as a count, `3.0` as 3; None for a negative, a fraction, a boolean, text, more than MAX_TOKENS."""
    if type(value) is float and value.is_integer():
        value = int(value)
    return value if type(value) is int and 0 <= value <= MAX_TOKENS else None


def detail_count(fields: Any, name: str) -> int:
    """The count *name* in *fields*; 0 when there is none."""
    value = fields.get(name) if isinstance(fields, dict) else None
    return count_of(value) or 0 if value else 0


def main_counts(raw: Mapping[str, Any], inputs: Sequence[str], outputs: Sequence[str]) -> tuple[int, int] | None:
    """(input, output), each under the first of its names that tells more than 0.

    None when one of the names has no count for its value, or none of them has a value.
    """
    told = False
    found = [0, 0]
    for side, names in enumerate((inputs, outputs)):
        for name in names:
            if raw.get(name) is None:
                continue
            told = True
            count = count_of(raw[name])
            if count is None:
                return None
            found[side] = found[side] or count
    return (found[0], found[1]) if told else None
