"""The stored responses that a request goes on from, as items for each kind of target.

A server that keeps a response itself is told its id. Any other is sent the conversation: the input and the output of
every response, oldest first. To a Responses server go only items that it can read: they lose their ids, which name
nothing there, and the reasoning of other makers, which is encrypted or not there at all.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from storage.errors import UnknownResponse
from storage.responses import Responses, StoredResponse
from translators.codec import loads
from translators.neutral import Request
from translators.openai_responses.client import chained, input_items, parse_request

_OWN_ITEM: Final = re.compile(r"[a-z]+_([0-9a-f]{24})_\d+")
"""Ids of output items that the proxy made: they hold the id of their response."""
_NAMED_FOR_SERVER: Final = frozenset(
    {"message", "function_call", "function_call_output", "custom_tool_call", "custom_tool_call_output"}
)
"""Items that are complete without their id."""
_PLACE: Final = re.compile(r"input\[(\d+)\]")

Item = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Past:
    """What a request continues. *links* are empty when an earlier response, *missing*, is gone."""

    last: StoredResponse
    links: tuple[StoredResponse, ...] = ()
    missing: str = ""

    def kept_by(self, provider: str) -> bool:
        """Whether *provider* can continue by the response's id alone."""
        return is_kept(self.last, provider)

    def items(self, provider: str | None = None) -> list[Any]:
        """The conversation: all of it, or what *provider*, a Responses server, can read."""
        return [item for link in self.links for item in _items_of_link(link, provider)]


@dataclass(frozen=True, slots=True)
class Reference:
    """An `item_reference` of the input, found: the *item*, and the response in which it stands."""

    item: Item
    link: StoredResponse


def is_kept(link: StoredResponse, provider: str) -> bool:
    """Whether *provider* keeps *link* under the id that it has here."""
    return link.vendor_stored and link.provider == provider


async def past_of(responses: Responses, tenant: str, response_id: str) -> Past | None:
    """What is stored of the conversation up to *response_id*; None when nothing is.

    Raises:
        TooLarge: it is too long to be sent.
    """
    last = await responses.get(tenant, response_id)
    if last is None:
        return None
    try:
        links = await responses.chain(tenant, response_id)
    except UnknownResponse as error:
        return Past(last, missing=error.response_id)
    return Past(last, tuple(links))


async def references_in(
    responses: Responses, tenant: str, items: Sequence[Any], past: Past | None
) -> dict[int, Reference]:
    """The references among *items* that can be resolved, by their positions.

    They are looked for in the conversation that the request continues, in the response that made an item whose id
    tells it, and in the output of the tenant's newest responses: the Vercel AI SDK refers to items by no more than
    their vendors' ids.
    """
    found: dict[int, Reference] = {}
    names = {position: name for position, item in enumerate(items) if (name := referred(item))}
    for position, name in names.items():
        links = list(past.links) if past else []
        if (own := _OWN_ITEM.fullmatch(name)) and (link := await responses.get(tenant, f"resp_{own[1]}")):
            links.append(link)
        if reference := _reference(name, links):
            found[position] = reference
    missing = {position: name for position, name in names.items() if position not in found}
    makers = await responses.makers(tenant, set(missing.values())) if missing else {}
    for position, name in missing.items():
        if name in makers and (reference := _reference(name, [makers[name]])):
            found[position] = reference
    return found


def _reference(name: str, links: Iterable[StoredResponse]) -> Reference | None:
    for link in links:
        if hit := next((each for each in _named_items(link) if each.get("id") == name), None):
            return Reference(hit, link)
    return None


def resolved(items: Sequence[Any], references: Mapping[int, Reference], provider: str | None = None) -> list[Any]:
    """*items* with the items that are referred to in their places; those that *provider* keeps stay references."""
    found: list[Any] = []
    for position, item in enumerate(items):
        reference = references.get(position)
        if reference is None or (provider is not None and is_kept(reference.link, provider)):
            found.append(item)
        elif provider is None:
            found.append(reference.item)
        else:
            found.extend(_readable([reference.item], reference.link, provider))
    return found


def continued(body: Mapping[str, Any], before: Sequence[Any]) -> Request:
    """*body* with *before* in front of its input, read; places count from the client's own first item."""
    request = parse_request(chained(before, body))
    count = len(before)

    def place(text: str) -> str:
        found = _PLACE.match(text)
        if not found:
            return text
        at, rest = int(found[1]), text[found.end() :]
        return f"previous_response_id.input[{at}]{rest}" if at < count else f"input[{at - count}]{rest}"

    return replace(
        request, messages=tuple(replace(message, place=place(message.place)) for message in request.messages)
    )


def _items_of_link(link: StoredResponse, provider: str | None) -> Iterator[Any]:
    items = [*loads(link.input), *loads(link.output)]
    return iter(items) if provider is None or is_kept(link, provider) else _readable(items, link, provider)


def _readable(items: Iterable[Any], link: StoredResponse, provider: str) -> Iterator[Any]:
    """Of *link*'s *items* what *provider*, which does not keep them, can be sent."""
    for item in items:
        kind = (item.get("type") or ("message" if "role" in item else "")) if isinstance(item, dict) else ""
        if kind == "reasoning":
            if link.provider == provider and (item.get("encrypted_content") or item.get("content")):
                yield item
        elif kind in _NAMED_FOR_SERVER:
            yield {name: value for name, value in item.items() if name != "id"}
        else:
            yield item


def _named_items(link: StoredResponse) -> list[Item]:
    return [*input_items({"input": loads(link.input)}, link.id), *loads(link.output)]


def referred(item: Any) -> str:
    """The id that a reference names; empty for any other item."""
    if not isinstance(item, dict):
        return ""
    refers = item.get("type") == "item_reference" or ("type" not in item and "role" not in item)
    name = item.get("id")
    return name if refers and isinstance(name, str) else ""
