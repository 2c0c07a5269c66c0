"""What a client asks of the proxy itself: `x-modelport-*` headers, or the keys of the body object `modelport`.

A header wins over the body. Nothing of this is ever forwarded.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from proxy.config.model import READY_POLICIES
from translators.codec import type_name
from translators.errors import BadRequest

LossMode = Literal["warn", "reject", "ignore"]

_NAMES: Final = ("route", "policy", "cache", "losses", "tags", "timeout_s", "resume", "quality", "idempotency_key")
_HEADERS: Final[Mapping[str, str]] = {
    name: "idempotency-key" if name == "idempotency_key" else f"x-modelport-{name.replace('_', '-')}" for name in _NAMES
}
_CACHE_WORDS: Final = frozenset({"no-cache", "no-store"})
_LOSS_MODES: Final = ("warn", "reject", "ignore")
MAX_TAGS: Final = 16
MAX_TAG: Final = 128
MAX_TIMEOUT_S: Final = 86_400.0
_DIGITS: Final = re.compile(r"[0-9]{1,15}(\.[0-9]{1,15})?")


@dataclass(frozen=True, slots=True)
class Controls:
    """None or empty: not said."""

    route: str | None = None
    policy: str | None = None
    """In the place of the route's."""
    look_up: bool = True
    """False: `no-cache`, the answer must be fresh."""
    store: bool = True
    """False: `no-store`, the answer must not be kept."""
    losses: LossMode | None = None
    tags: Mapping[str, str] = field(default_factory=dict)
    timeout_s: float | None = None
    idempotency_key: str | None = None
    resume: bool | None = None
    """Whether another target goes on with a stream that breaks off, in the place of what the route says."""
    quality: float | None = None
    """How much quality counts beside cost for the policy auto, 0 to 1."""
    chain: tuple[str, ...] = ()
    """The body's `models`: an ad-hoc failover chain."""


NOTHING_SAID: Final = Controls()


def read_controls(headers: Mapping[str, str], body: Mapping[str, Any]) -> Controls:
    """The controls of one request.

    Raises:
        BadRequest: a value is not one of those that exist; names the header or the key.
    """
    inline = body.get("modelport")
    if inline is None:
        if "models" not in body and not any(map(headers.__contains__, _HEADERS.values())):
            return NOTHING_SAID
        inline = {}
    elif not isinstance(inline, dict):
        raise BadRequest(f"modelport: expected an object, found {type_name(inline)}", "modelport", "invalid_type")
    inline = {name.replace("-", "_"): value for name, value in inline.items()}
    for name in inline:
        if name not in _NAMES:
            raise BadRequest(f"modelport.{name}: unknown; there are {', '.join(_NAMES)}", f"modelport.{name}")

    def said(name: str) -> tuple[Any, str]:
        header = _HEADERS[name]
        if (value := headers.get(header)) is not None:
            if not value.isprintable():  # bytes that are no UTF-8 arrive as lone surrogates
                raise BadRequest(f"{header}: expected printable text", header)
            return value, header
        return inline.get(name), f"modelport.{name}"

    words = _words(*said("cache"))
    return Controls(
        route=_text(*said("route")),
        policy=_policy(*said("policy")),
        look_up="no-cache" not in words,
        store="no-store" not in words,
        losses=_loss_mode(*said("losses")),
        tags=_tags(*said("tags")),
        timeout_s=_timeout(*said("timeout_s")),
        idempotency_key=_text(*said("idempotency_key")),
        resume=_flag(*said("resume")),
        quality=_quality(*said("quality")),
        chain=_chain(body.get("models")),
    )


def _text(value: Any, place: str) -> str | None:
    if value is None or (isinstance(value, str) and 0 < len(value) <= 256):
        return value
    raise BadRequest(f"{place}: expected a text of 1 to 256 characters", place)


def _policy(value: Any, place: str) -> str | None:
    if value is None:
        return None
    for policy in READY_POLICIES:
        if value == policy:
            return policy
    raise BadRequest(f"{place}: expected one of {', '.join(READY_POLICIES)}, found {str(value)[:60]!r}", place)


def _words(value: Any, place: str) -> frozenset[str]:
    text = _text(value, place)
    words = frozenset(word.strip().lower() for word in text.split(",")) if text else frozenset()
    if words - _CACHE_WORDS:
        raise BadRequest(f"{place}: expected no-cache, no-store or both, found {text!r}", place)
    return words


def _loss_mode(value: Any, place: str) -> LossMode | None:
    for mode in _LOSS_MODES:
        if value == mode:
            return mode
    if value is None:
        return None
    raise BadRequest(f"{place}: expected one of {', '.join(_LOSS_MODES)}, found {str(value)[:60]!r}", place)


def _tags(value: Any, place: str) -> dict[str, str]:
    if value is None:
        return {}
    if isinstance(value, dict):
        if not all(isinstance(tag, str | int | float) for tag in value.values()):
            raise BadRequest(f"{place}: expected texts as values", place)
        tags = {key: str(tag) for key, tag in value.items()}
    elif isinstance(value, str):
        pairs = [pair.partition("=") for pair in value.split(",") if pair.strip()]
        if not all(mark for _, mark, _ in pairs):
            raise BadRequest(f"{place}: expected team=search,feature=summary, found {value[:60]!r}", place)
        tags = {key.strip(): tag.strip() for key, _, tag in pairs}
    else:
        raise BadRequest(f"{place}: expected an object or team=search,feature=summary", place)
    if len(tags) > MAX_TAGS or any(len(key) > MAX_TAG or len(tag) > MAX_TAG for key, tag in tags.items()):
        raise BadRequest(f"{place}: at most {MAX_TAGS} tags of {MAX_TAG} characters each", place)
    return tags


def _timeout(value: Any, place: str) -> float | None:
    if value is None:
        return None
    seconds = _number(value)
    if seconds is None or not 0 < seconds <= MAX_TIMEOUT_S:
        told = f"expected seconds above 0, at most {MAX_TIMEOUT_S:g}, found {str(value)[:60]!r}"
        raise BadRequest(f"{place}: {told}", place)
    return seconds


def _flag(value: Any, place: str) -> bool | None:
    if value is None or isinstance(value, bool):
        return value
    for word, meant in (("true", True), ("false", False)):
        if value == word:
            return meant
    raise BadRequest(f"{place}: expected true or false, found {str(value)[:60]!r}", place)


def _quality(value: Any, place: str) -> float | None:
    if value is None:
        return None
    share = _number(value)
    if share is None or not 0 <= share <= 1:
        raise BadRequest(f"{place}: expected a number from 0 (cost) to 1 (quality), found {str(value)[:60]!r}", place)
    return share


def _number(value: Any) -> float | None:
    """A number of a body, or one that a header spells in digits; None when it is none."""
    if isinstance(value, str):
        return float(value) if _DIGITS.fullmatch(value) else None
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def _chain(value: Any) -> tuple[str, ...]:
    if value is None:
        return ()
    if isinstance(value, list) and 0 < len(value) <= 16 and all(isinstance(name, str) and name for name in value):
        return tuple(value)
    raise BadRequest("models: expected an array of 1 to 16 model names", "models", "invalid_type")
