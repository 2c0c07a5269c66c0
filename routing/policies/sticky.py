"""Sticky: who asks again is sent to the same target again, and shares follow the weights.

Weighted rendezvous hashing: each target has a number in (0, 1) from the caller's name and its own, and the highest of
weight / -ln(number) goes first. A target that is added takes its share from all others and moves nobody else; one
that is gone leaves its callers to the others in proportion to their weights, and so does one that fails.
The route's name is hashed as well, so that two routes split the same callers independently.

`sticky_by` says what a caller is: `user` (the request's user, safety identifier or metadata.user_id), `key` (the
virtual key), or `conversation` (its instructions, tools and first turn). Without a user the key counts, and without a
key the conversation.

Source: C. Schindelhauer, G. Schomaker, Weighted distributed hash tables, 2005.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from hashlib import blake2b
from typing import Final

from routing.affinity import conversation_of
from routing.policies.view import View
from routing.targets import Target
from translators.neutral import Request

_RANGE: Final = float(2**64 + 1)


def order(request: Request, candidates: Sequence[Target], view: View) -> list[Target]:
    """By the caller's name; targets of weight 0 come last, as written."""
    caller = blake2b(view.route.encode() + b"\x00" + caller_of(request, view), digest_size=16)
    ranked = sorted((share(caller.digest(), target), place) for place, target in enumerate(candidates))
    return [candidates[place] for _, place in ranked]


def share(caller: bytes, target: Target) -> float:
    """The rank of *target* for *caller*: the lowest goes first."""
    if not target.weight:
        return math.inf
    digest = blake2b(target.name.encode("utf-8", "replace"), digest_size=8, key=caller).digest()
    return -math.log((int.from_bytes(digest, "big") + 1) / _RANGE) / target.weight


def caller_of(request: Request, view: View) -> bytes:
    """What requests that belong together have in common."""
    caller, by = view.caller, view.options.sticky_by
    user = caller.user or request.user
    if by == "user" and user:
        return b"user " + user.encode("utf-8", "replace")
    if by != "conversation" and caller.key_id:
        return b"key " + caller.key_id.encode()
    return b"conversation " + (caller.conversation() if caller.conversation else conversation_of(request))
