"""Plain answers: those whose bytes go to the client as they are, and whose books need no more than their counts.

What is plain in a whole answer its dialect's file says by types (`chat`, `messages`). A stream was read on its way, so
that the neutral form tells. What was billed is that of the neutral form in either case; only where the counts say all
of it, which they do of most answers, it is a sum of three products (`Way.bill`).
"""

from __future__ import annotations

from typing import Annotated, Any, Final, NamedTuple

import msgspec

from routing.pricing import observed
from translators.codec import dumps
from translators.neutral import Response, Usage

MOST: Final = 10**9
"""Tokens. A larger count is a mistake, which the careful way judges."""
MOST_RAW: Final = 4096
"""Bytes of a vendor's own counts."""

Count = Annotated[int, msgspec.Meta(ge=0, lt=MOST)]
Name = Annotated[str, msgspec.Meta(min_length=1)]
Nothing = Annotated[list[Any], msgspec.Meta(max_length=0)]


class Counts(NamedTuple):
    """The tokens of a plain answer; its vendor's own counts as JSON; and the tier that it was served in."""

    input_tokens: int
    cached_input_tokens: int
    output_tokens: int
    reasoning_tokens: int
    raw: bytes
    tier: str | None
    written_tokens: int = 0
    """Those that were written to a cache."""
    usage: Usage | None = None
    """What is billed, where the counts do not say all of it."""
    thinks: bool = False
    """Whether there are thoughts in it, which the next turn may need."""


def counts_of(usage: Usage | None, *, thinks: bool = False) -> Counts | None:
    """What *usage* counts; None where it is not the vendor's, or cannot be."""
    if usage is None or usage.estimated or max(usage.input_tokens, usage.output_tokens) >= MOST:
        return None
    raw = dumps(usage.raw)
    if not usage.raw or len(raw) > MOST_RAW:
        return None
    return Counts(
        usage.input_tokens,
        usage.cached_input_tokens,
        usage.output_tokens,
        usage.reasoning_tokens,
        raw,
        None,
        usage.cache_write_tokens,
        usage,
        thinks,
    )


def counts_in(response: Response) -> Counts | None:
    """What an answer counts that was streamed; None where it has not ended well."""
    if response.usage is None or response.failure is not None or not response.choices:
        return None
    if any(choice.finish_reason is None for choice in response.choices):
        return None
    return counts_of(observed(response.usage, response))
