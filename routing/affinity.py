"""Which targets and keys hold the beginning of a conversation in their prompt caches, and whether that is worth it.

A vendor that has just read a prompt sells the same beginning again at a fraction of the price, to the same account and
for some minutes. So after each answer it is noted who read how much: under the conversation (instructions, tools and
first turn) and under what all conversations of the kind have in common (instructions and tools). With the next
request each holder is credited with what its cache saves:

    saving = tokens that it holds * (price of input - price of cached input)

A holder goes first when what it costs less its saving is below what the policy's choice costs less its own. Whoever
has no known price is not moved. A saving counts for LIFETIMES_S after the last use, and from LEAST_TOKENS on.

Nothing of a conversation is kept but a hash. A restart forgets everything, as the vendors soon would.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Final

from routing.rate_card import Rates
from routing.targets import Target
from translators.codec import dumps_text
from translators.neutral import Audio, Document, Image, Message, Part, Request, Source, Text, Tool
from translators.tokens import rough

LIFETIMES_S: Final[Mapping[str, float]] = {
    "anthropic": 300.0,  # five minutes from the last use (platform.claude.com, prompt caching, 2026-11)
    "openai": 300.0,  # five to ten minutes without use (developers.openai.com, prompt caching, 2026-11)
    "gemini": 300.0,  # implicit caching, no number is promised
    "deepseek": 3600.0,  # hours to days (api-docs.deepseek.com, context caching)
}
"""Provider -> how long a prompt stays in its cache after the last use."""
LIFETIME_S: Final = 300.0
"""That of all others."""
LEAST_TOKENS: Final = 1024
"""Shorter beginnings are not cached (OpenAI, Anthropic's larger models)."""
ON_REQUEST: Final = frozenset({"anthropic"})
"""Dialects whose servers keep only what a request marks: what they hold is what they say they wrote and read."""
KEPT: Final = 20_000
LONGEST_HASHED: Final = 64 * 1024
"""Of a picture's or file's own text; what is longer is told apart by its length, beginning and end."""


@dataclass(frozen=True, slots=True)
class Prefix:
    """The beginning of one request: two names and how many tokens they stand for."""

    common: bytes
    common_tokens: int
    conversation: bytes


@dataclass(frozen=True, slots=True)
class Held:
    """What the cache behind one key of a target holds. *at*: its last use."""

    key_index: int | None
    tokens: int
    at: float


def prefix_of(request: Request, tenant: str = "") -> Prefix:
    """The names under which the beginning of *request* is kept; those of another tenant are others."""
    common = blake2b(tenant.encode("utf-8", "replace"), digest_size=16)
    size = 0
    first: Message | None = None
    for tool in request.tools:
        text = _tool_text(tool).encode("utf-8", "replace")
        common.update(text)
        size += len(text)
    for message in request.messages:
        if message.role in {"system", "developer"}:
            size += _update(common, message)
        elif first is None:
            first = message
        else:
            break
    conversation = common.copy()
    if first is not None:
        conversation.update(b"\x00first\x00")
        _update(conversation, first)
    return Prefix(common.digest(), rough(size), conversation.digest())


def conversation_of(request: Request) -> bytes:
    """A name of the conversation that *request* belongs to."""
    return prefix_of(request).conversation


class Affinity:
    """Who holds what. *now* is any clock in seconds."""

    def __init__(self, now: Callable[[], float], kept: int = KEPT) -> None:
        self._now = now
        self._most = kept
        self._kept: OrderedDict[bytes, dict[tuple[str, str], Held]] = OrderedDict()

    def answered(self, prefix: Prefix, target: Target, key_index: int | None, tokens: int) -> None:
        """*target* has read a prompt that begins with *prefix*, and holds *tokens* of it."""
        now = self._now()
        self._note(prefix.conversation, target, Held(key_index, tokens, now))
        self._note(prefix.common, target, Held(key_index, min(tokens, prefix.common_tokens), now))

    def held(self, prefix: Prefix, target: Target) -> Held | None:
        """What *target* holds of a request that begins with *prefix*; None when that is nothing of use."""
        for name in (prefix.conversation, prefix.common):
            held = self._kept.get(name, {}).get((target.provider, target.model))
            if held is not None and held.tokens >= LEAST_TOKENS and self._now() - held.at < lifetime_s(target):
                return held
        return None

    def _note(self, name: bytes, target: Target, held: Held) -> None:
        holders = self._kept.pop(name, None) or {}
        holders[target.provider, target.model] = held
        self._kept[name] = holders
        if len(self._kept) > self._most:
            self._kept.popitem(last=False)


def lifetime_s(target: Target) -> float:
    """How long the cache of *target* keeps a prompt after its last use."""
    return LIFETIMES_S.get(target.provider, LIFETIME_S)


def tokens_held(dialect: str, input_tokens: int, cached_tokens: int, written_tokens: int) -> int:
    """How many tokens a server of *dialect* holds after an answer whose usage says that."""
    return cached_tokens + written_tokens if dialect in ON_REQUEST else input_tokens


@dataclass(frozen=True, slots=True)
class Kept:
    """An order after the caches had their say.

    *prefer* are positions of keys by target; *savings* nano-dollars by the name of a target that holds something;
    *moved* is whether another target goes first for it.
    """

    order: Sequence[Target]
    prefer: Mapping[Target, int]
    savings: Mapping[str, float]
    moved: bool = False


def keep_to_caches(
    order: Sequence[Target],
    held: Callable[[Target], Held | None],
    rates: Callable[[Target], Rates | None],
    cost: Callable[[Target], float | None],
    input_tokens: int,
) -> Kept:
    """*order*, with the holder first whose saving outweighs what it costs more than the first."""
    prefer: dict[Target, int] = {}
    savings: dict[str, float] = {}
    for target in order:
        holding, known = held(target), rates(target)
        if holding is None:
            continue
        if holding.key_index is not None:
            prefer[target] = holding.key_index
        if known is not None and known.cached < known.input:
            savings[target.name] = (known.input - known.cached) * min(holding.tokens, input_tokens)
    if not savings or len(order) < 2:
        return Kept(order, prefer, savings)
    first = cost(order[0])
    if first is None:
        return Kept(order, prefer, savings)
    best, least = order[0], first - savings.get(order[0].name, 0.0)
    for target in order[1:]:
        own = cost(target) if target.name in savings else None
        if own is not None and own - savings[target.name] < least:
            best, least = target, own - savings[target.name]
    if best is order[0]:
        return Kept(order, prefer, savings)
    return Kept([best, *(target for target in order if target is not best)], prefer, savings, moved=True)


# --- hashing -----------------------------------------------------------------------------------------


def _update(digest: blake2b, message: Message) -> int:
    """Take *message* into *digest*; the bytes of its text."""
    digest.update(f"\x00{message.role}\x00".encode())
    size = 0
    for part in message.parts:
        text = _part_text(part).encode("utf-8", "replace")
        digest.update(b"%d:" % len(text))
        digest.update(text)
        size += len(text) if isinstance(part, Text) else 0
    return size


def _part_text(part: Part) -> str:
    match part:
        case Text():
            return part.text
        case Image() | Audio():
            return _source_text(part.source)
        case Document():
            return (part.text or "") + _source_text(part.source)
        case _:
            return type(part).__name__


def _source_text(source: Source) -> str:
    text = source.url or source.file_id or source.data or ""
    if len(text) <= LONGEST_HASHED:
        return text
    half = LONGEST_HASHED // 2
    return f"{len(text)}:{text[:half]}{text[-half:]}"


def _tool_text(tool: Tool) -> str:
    return dumps_text([tool.name, tool.description, tool.parameters, tool.native])
