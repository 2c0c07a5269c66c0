"""What a request loses or changes as soon as it is put to a target of any other dialect."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Final

from translators.errors import BadRequest
from translators.losses import Loss, placed
from translators.neutral import Opaque, Request

Outward = Callable[[Request], tuple[Request, list[Loss]]]


def _responses(request: Request) -> tuple[Request, list[Loss]]:
    """Namespaces become prefixes of tool names; ids of earlier items and idle fields mean nothing elsewhere."""
    from translators.openai_responses.client import expanded, without_idle  # here, as all of a dialect: dialects.py

    for index, message in enumerate(request.messages):
        for part in message.parts:
            if isinstance(part, Opaque) and part.type == "item_reference":
                place = next(place for place, other in placed(message, index, request.dialect) if other is part)
                told = (
                    f"{place}: no item {part.value.get('id')!r} is stored here, and only its vendor knows it elsewhere"
                )
                raise BadRequest(told, place, "item_not_found")
    return expanded(_with_user(without_idle(request)))


def _with_user(request: Request) -> Request:
    """Who asks has one name elsewhere: a safety identifier stands for the user where none is named (WIRE 34)."""
    own = request.native.get("openai_responses", {})
    identifier = own.get("safety_identifier")
    if request.user is not None or identifier is None:
        return request
    own = {name: value for name, value in own.items() if name != "safety_identifier"}
    native = {**request.native, "openai_responses": own}
    return replace(request, user=identifier, native=native, places={**request.places, "user": "safety_identifier"})


def _anthropic(request: Request) -> tuple[Request, list[Loss]]:
    """A thread lies with Anthropic: who continues one sends the new messages alone."""
    if request.native.get("anthropic", {}).get("thread") is not None:
        from translators.anthropic.error import NO_THREADS  # as above

        raise BadRequest("thread: only Anthropic keeps threads; send the whole conversation", "thread", NO_THREADS)
    return request, []


_OUTWARD: Final[Mapping[str, Outward]] = {"openai_responses": _responses, "anthropic": _anthropic}


def for_others(request: Request) -> tuple[Request, list[Loss]]:
    """*request* as other dialects can be told it, and what that loses.

    Raises:
        BadRequest: it means nothing without its own vendor.
    """
    outward = _OUTWARD.get(request.dialect)
    return outward(request) if outward else (request, [])
