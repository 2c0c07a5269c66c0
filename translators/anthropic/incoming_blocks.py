"""Content blocks of a client's request as neutral parts.

A block's unknown fields and its cache mark stand in `native["anthropic"]`, as `blocks.py` writes them back. Blocks of
server tools, and types that are not known here, are Opaque. What the proxy sealed into a signature or into a
citation's index is unpacked again.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

from translators.anthropic.response import NAME, annotations_of, part_of, text_native
from translators.codec import dumps_text, type_name
from translators.errors import BadRequest
from translators.fields import Fields
from translators.neutral import (
    NO_NATIVE,
    Document,
    Image,
    Native,
    Part,
    Source,
    Text,
    Thinking,
    ToolCall,
    ToolResult,
)
from translators.sealed import unseal

_ASSISTANT_ONLY: Final = frozenset({"thinking", "redacted_thinking", "tool_use"})


def content_blocks(fields: Fields, key: str = "content") -> list[Fields]:
    """The blocks at *key*; a plain string is one block of text."""
    value = fields.get(key)
    if isinstance(value, str):
        return [Fields({"type": "text", "text": value}, fields.at(key))]
    if not isinstance(value, list):
        raise fields.wrong(key, "a string or an array of blocks")
    blocks = fields.objects(key)
    for block in blocks:
        block.needed_text("type")
    return blocks


def user_parts(blocks: Sequence[Fields], called: Mapping[str, str]) -> Iterator[Part]:
    """The parts of a user's turn. *called* maps the ids of earlier calls to their tools' names."""
    for block in blocks:
        kind = block.get("type")
        if kind in _ASSISTANT_ONLY:
            raise block.wrong("type", "a block of a user's turn")
        yield _result(block, called) if kind == "tool_result" else _spoken(block)


def assistant_parts(blocks: Sequence[Fields]) -> Iterator[Part]:
    """The parts of an assistant's turn."""
    for block in blocks:
        match block.get("type"):
            case "thinking":
                yield _thinking(block)
            case "redacted_thinking":
                yield _redacted(block)
            case "tool_use":
                yield _call(block)
            case "tool_result":
                raise block.wrong("type", "a block of an assistant's turn")
            case _:
                yield _spoken(block)


def system_parts(blocks: Sequence[Fields]) -> Iterator[Text]:
    """The texts of instructions."""
    for block in blocks:
        if block.get("type") != "text":
            raise block.wrong("type", "text, of which instructions consist")
        yield _text(block)


def _spoken(block: Fields) -> Part:
    match block.get("type"):
        case "text":
            return _text(block)
        case "image":
            return _image(block)
        case "document":
            return _document(block)
        case "search_result":
            return _search_result(block)
        case _:
            return replace(part_of(block.value), place=block.place)


def _text(block: Fields) -> Text:
    text = block.needed_text("text")
    citations = [citation.value for citation in block.objects("citations")]
    vendors_own = [citation for citation in citations if not is_own_citation(citation)]
    return Text(text, annotations_of(citations, text), text_native(vendors_own, block.value), block.place)


def is_own_citation(citation: Mapping[str, Any]) -> bool:
    """Whether the proxy made *citation*, out of another vendor's annotation."""
    index = citation.get("encrypted_index")
    return isinstance(index, str) and unseal(index) is not None


def sealed_in(block: Mapping[str, Any]) -> Native | None:
    """What the proxy wrote into the signature of *block*; None when it was a vendor (or nobody) who signed."""
    signature = block.get("signature")
    return unseal(signature) if isinstance(signature, str) and block.get("type") == "thinking" else None


def _thinking(block: Fields) -> Thinking:
    text, signature = block.needed_text("thinking"), block.text("signature")
    if signature and (sealed := unseal(signature)) is not None:
        return Thinking(text, sealed, block.place)
    native = native_of({**block.rest(), **({"signature": signature} if signature else {})})
    return Thinking(text, native, block.place)


def _redacted(block: Fields) -> Thinking:
    return Thinking("", native_of({"redacted_data": block.needed_text("data")}), block.place)


def _call(block: Fields) -> ToolCall:
    call_id, name = block.needed_text("id"), block.needed_text("name")
    arguments = block.mapping("input")
    if not call_id or not name:
        raise block.wrong("id" if not call_id else "name", "a text that is not empty")
    return ToolCall(call_id, name, dumps_text(arguments or {}), native=native_of(_rest(block)), place=block.place)


def _result(block: Fields, called: Mapping[str, str]) -> ToolResult:
    call_id, is_error = block.needed_text("tool_use_id"), bool(block.flag("is_error"))
    inner = content_blocks(block) if block.get("content") is not None else []
    for part in inner:
        if part.get("type") in {*_ASSISTANT_ONLY, "tool_result"}:
            raise part.wrong("type", "a block of a tool's result")
    parts = tuple(_spoken(part) for part in inner)
    return ToolResult(call_id, parts, is_error, called.get(call_id), native_of(_rest(block)), block.place)


def _image(block: Fields) -> Image:
    source = _needed_source(block)
    found = _read_source(source, ("base64", "url", "file"))
    return Image(found, native=native_of(_with_source(_rest(block), source)), place=block.place)


def _document(block: Fields) -> Document:
    source = _needed_source(block)
    title, text = block.text("title"), None
    own = _rest(block)
    match source.needed_text("type"):
        case "text":
            source.text("media_type")
            found, text = Source(), source.needed_text("data")
        case "content":
            texts = [inner.needed_text("text") for inner in content_blocks(source) if inner.get("type") == "text"]
            found, text = Source(), "\n\n".join(texts)
            own = {**own, "source": source.value}
        case "url":
            found = replace(_read_source(source, ("url",)), media_type="application/pdf")
        case _:
            found = _read_source(source, ("base64", "content", "file", "text", "url"))
    if "source" not in own:
        own = _with_source(own, source)
    return Document(found, title, text, native_of(own), block.place)


def _with_source(own: dict[str, Any], source: Fields) -> dict[str, Any]:
    """*own* with what is not known of *source*."""
    rest = source.rest()
    return {**own, "source": rest} if rest else own


def _needed_source(block: Fields) -> Fields:
    source = block.object("source")
    if source is None:
        raise block.wrong("source", "an object")
    return source


def _read_source(source: Fields, kinds: tuple[str, ...]) -> Source:
    match source.choice("type", kinds):
        case "base64":
            return Source(media_type=source.needed_text("media_type"), data=source.needed_text("data"))
        case "url":
            return Source(url=source.needed_text("url"))
        case "file":
            return Source(file_id=source.needed_text("file_id"), vendor=NAME)
        case _:
            raise source.wrong("type", "one of " + ", ".join(kinds))


def _search_result(block: Fields) -> Text:
    """As text, which every dialect takes; the block itself stands beside it."""
    title, address = block.needed_text("title"), block.needed_text("source")
    texts = [inner.needed_text("text") for inner in content_blocks(block) if inner.get("type") == "text"]
    native = native_of({"search_result": block.value})
    return Text("\n".join([title, address, *texts]), native=native, place=block.place)


def native_of(own: Mapping[str, Any]) -> Native:
    """*own* as this dialect's native fields."""
    return {NAME: own} if own else NO_NATIVE


def _rest(block: Fields) -> dict[str, Any]:
    block.get("type")
    mark = block.value.get("cache_control")
    if mark is not None and not isinstance(mark, dict):
        place = block.at("cache_control")
        raise BadRequest(f"{place}: expected an object, found {type_name(mark)}", place, "invalid_type")
    return block.rest()
