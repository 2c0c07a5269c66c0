"""Addresses in a request that a server might go to: of pictures, sounds, films and files, and of servers of tools.

A field named after an address (`image_url`, `video_url`, `fileUri`) holds one unless it is a data URL. One that holds
content (`data`, `file_data`) does only if it begins like an address. Links that a text, a citation or a search result
tells are words, and nobody fetches them.

A vendor's own tool (OpenAI's `mcp`, Gemini's `mcpServers`), and `mcp_servers` beside the tools, name servers that
the model is to call.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

from translators.losses import tool_place
from translators.neutral import Audio, Document, Image, Opaque, Part, Request

_LINKS: Final = ("_url", "_uri", "Url", "Uri")
_MEDIA: Final = frozenset({"source", "image", "input_image", "audio", "input_audio", "video", "input_video", "file"})
"""Fields that hold a file, in an object of its own or as it is."""
_CONTENT: Final = frozenset({"data", "file_data"})
_WITHIN: Final = frozenset({"url", "uri"})
_CALLED: Final = _WITHIN | {"endpoint"}
_TOOL_SERVERS: Final = ("mcp_servers", "mcpServers")
"""Fields of a request, beside its tools, that name servers."""
_ADDRESS: Final = re.compile(r"(?:[a-z][a-z0-9+.-]*:)?//|file:", re.IGNORECASE)
_BLANKS: Final = "".join(map(chr, range(33)))
_HEAD: Final = 64


def addresses(part: Part, dialect: str) -> Iterator[str]:
    """What of *part* a server of *dialect* might fetch if it were sent as it is."""
    match part:
        case Image() | Audio() | Document():
            if part.source.url is not None:
                yield part.source.url
            elif _begins_like_one(part.source.data):
                yield str(part.source.data)
            for name, beside in part.native.get(dialect, {}).items():
                leaf = name.rpartition(".")[2]
                if leaf in _WITHIN and isinstance(beside, str) and _is_link(beside):
                    yield beside
                yield from _named(leaf, beside)
        case Opaque() if part.dialect == dialect:
            yield from _within(part.value)
        case _:
            return


def tool_addresses(request: Request, dialect: str) -> Iterator[tuple[str, str]]:
    """(place, address) of each server that *request* names for its tools, as a server of *dialect* would read it."""
    for position, tool in enumerate(request.tools):
        if tool.kind == "native":
            place = tool_place(tool, position, request.dialect)
            for vendor, own in tool.native.items():
                if vendor.partition("_")[0] == dialect.partition("_")[0]:
                    # Of Gemini's own tools the place holds the name already.
                    yield from _called(place, own.get(tool.name, own) if place.endswith(f".{tool.name}") else own)
    beside = request.native.get(dialect)
    if beside:
        for name in _TOOL_SERVERS:
            yield from _called(name, beside.get(name))


def _called(place: str, value: Any) -> Iterator[tuple[str, str]]:
    if isinstance(value, list):
        for position, entry in enumerate(value):
            yield from _called(f"{place}[{position}]", entry)
    elif isinstance(value, Mapping):
        for name, inner in value.items():
            if not isinstance(inner, str):
                yield from _called(f"{place}.{name}", inner)
            elif inner and (name in _CALLED or name.endswith(_LINKS)):
                yield f"{place}.{name}", inner


def is_local_file(address: str) -> bool:
    """Whether *address* names a file of the machine that reads it. Parsers of URLs skip blanks anywhere."""
    return _head(address).startswith("file:")


def _within(value: Any) -> Iterator[str]:
    if isinstance(value, list):
        for entry in value:
            yield from _within(entry)
    elif isinstance(value, Mapping) and value.get("type") != "text":
        for name, inner in value.items():
            yield from _named(name, inner)


def _named(name: str, inner: Any) -> Iterator[str]:
    is_link = name.endswith(_LINKS)
    if isinstance(inner, str):
        if _is_link(inner) if is_link else (name in _CONTENT and _begins_like_one(inner)):
            yield inner
        elif name in _MEDIA and name != "source" and _begins_like_one(inner):
            yield inner  # a `source` that is a text is that of a search result
        return
    if isinstance(inner, Mapping) and (is_link or name in _MEDIA):
        found = (inner.get(key) for key in _WITHIN)
        yield from (link for link in found if isinstance(link, str) and _is_link(link))
    yield from _within(inner)


def _is_link(value: str) -> bool:
    return bool(value) and not _head(value).startswith("data:")


def _begins_like_one(value: str | None) -> bool:
    return value is not None and _ADDRESS.match(_head(value)) is not None


def _head(value: str) -> str:
    """How *value* begins, without blanks and in lower case."""
    begin = value if value[:1] > " " else value.lstrip(_BLANKS)
    return "".join(begin[:_HEAD].split()).lower()
