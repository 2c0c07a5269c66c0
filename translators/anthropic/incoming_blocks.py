"""Content blocks of a client's request as neutral parts.

A block's unknown fields and its cache mark stand in `native["anthropic"]`, as `blocks.py` writes them back. Blocks of
server tools, and types that are not known here, are Opaque. What the proxy sealed into a signature or into a
citation's index is unpacked again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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
CONTENT: Final = (str, list)
"""What content may be: a plain text, or blocks."""


def content_blocks(fields: Fields, key: str = "content") -> list[Fields]:
    """The blocks at *key*; a plain string is one block of text."""
    value = fields.get(key)
    if isinstance(value, str):
        return [Fields({"type": "text", "text": value}, fields.at(key))]
    if not isinstance(value, list):
        raise fields.wrong(key, "a string or an array of blocks")
    return [_block(block, f"{fields.at(key)}[{at}]") for at, block in enumerate(value)]


def object_at(value: Any, place: str) -> Fields:
    """*value*, which has to be an object, to be read with care."""
    if not isinstance(value, dict):
        raise BadRequest(f"{place}: expected an object, found {type_name(value)}", place, "invalid_type")
    return Fields(value, place)


def _block(value: Any, place: str) -> Fields:
    block = object_at(value, place)
    block.needed_text("type")
    return block


def user_parts(content: str | Sequence[Any], place: str, called: Mapping[str, str]) -> list[Part]:
    """The parts of a user's turn, which stand at *place*. *called* maps ids of earlier calls to their tools' names."""
    if isinstance(content, str):
        return [Text(content, (), NO_NATIVE, place)]
    return [
        _plain_text(block, where := f"{place}[{at}]")
        or _plain_result(block, where, called)
        or _heard(block, where, called)
        for at, block in enumerate(content)
    ]


def assistant_parts(content: str | Sequence[Any], place: str) -> list[Part]:
    """The parts of an assistant's turn, which stand at *place*."""
    if isinstance(content, str):
        return [Text(content, (), NO_NATIVE, place)]
    return [
        _plain_text(block, where := f"{place}[{at}]") or _plain_call(block, where) or _said(block, where)
        for at, block in enumerate(content)
    ]


def system_parts(content: str | Sequence[Any], place: str) -> list[Text]:
    """The texts of instructions, which stand at *place*."""
    if isinstance(content, str):
        return [Text(content, (), NO_NATIVE, place)]
    return [
        _plain_text(block, where := f"{place}[{at}]") or _instruction(block, where) for at, block in enumerate(content)
    ]


# --- common shapes -------------------------------------------------------------------------------
# Nearly all blocks have these, and they are read at once. Any other block gives None and is read with care; both ways
# give equal parts.


def _plain_text(block: Any, place: str) -> Text | None:
    """A text and nothing else."""
    if isinstance(block, dict) and len(block) == 2 and block.get("type") == "text":
        text = block.get("text")
        return Text(text, (), NO_NATIVE, place) if isinstance(text, str) else None
    return None


def _plain_call(block: Any, place: str) -> ToolCall | None:
    """A call with its id, name and input alone."""
    if not isinstance(block, dict) or len(block) != 4 or block.get("type") != "tool_use":
        return None
    call_id, name, arguments = block.get("id"), block.get("name"), block.get("input")
    if not (isinstance(call_id, str) and call_id and isinstance(name, str) and name and isinstance(arguments, dict)):
        return None
    return ToolCall(call_id, name, dumps_text(arguments), "function", NO_NATIVE, place)


def _plain_result(block: Any, place: str, called: Mapping[str, str]) -> ToolResult | None:
    """A result with its call's id and content alone."""
    if not isinstance(block, dict) or len(block) != 3 or block.get("type") != "tool_result":
        return None
    call_id, content = block.get("tool_use_id"), block.get("content")
    if not isinstance(call_id, str) or not isinstance(content, CONTENT):
        return None
    parts = tuple(_result_parts(content, place + ".content"))
    return ToolResult(call_id, parts, False, called.get(call_id), NO_NATIVE, place)


# --- any shape -----------------------------------------------------------------------------------


def _heard(value: Any, place: str, called: Mapping[str, str]) -> Part:
    block = _block(value, place)
    kind = value["type"]
    if kind in _ASSISTANT_ONLY:
        raise block.wrong("type", "a block of a user's turn")
    return _result(block, called) if kind == "tool_result" else _spoken(block)


def _said(value: Any, place: str) -> Part:
    block = _block(value, place)
    match value["type"]:
        case "thinking":
            return _thinking(block)
        case "redacted_thinking":
            return _redacted(block)
        case "tool_use":
            return _call(block)
        case "tool_result":
            raise block.wrong("type", "a block of an assistant's turn")
        case _:
            return _spoken(block)


def _instruction(value: Any, place: str) -> Text:
    block = _block(value, place)
    if value["type"] != "text":
        raise block.wrong("type", "text, of which instructions consist")
    return _text(block)


def _result_parts(content: str | Sequence[Any], place: str) -> list[Part]:
    """What a call gave, which stands at *place*."""
    if isinstance(content, str):
        return [Text(content, (), NO_NATIVE, place)]
    return [_plain_text(block, where := f"{place}[{at}]") or _given(block, where) for at, block in enumerate(content)]


def _given(value: Any, place: str) -> Part:
    block = _block(value, place)
    if value["type"] in _ASSISTANT_ONLY or value["type"] == "tool_result":
        raise block.wrong("type", "a block of a tool's result")
    return _spoken(block)


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
    return Thinking("", native_of({"redacted_data": block.needed_text("data"), **_rest(block)}), block.place)


def _call(block: Fields) -> ToolCall:
    call_id, name = block.needed_text("id"), block.needed_text("name")
    arguments = block.mapping("input")
    if not call_id or not name:
        raise block.wrong("id" if not call_id else "name", "a text that is not empty")
    return ToolCall(call_id, name, dumps_text(arguments or {}), native=native_of(_rest(block)), place=block.place)


def _result(block: Fields, called: Mapping[str, str]) -> ToolResult:
    call_id, is_error = block.needed_text("tool_use_id"), bool(block.flag("is_error"))
    content = block.get("content")
    if content is not None and not isinstance(content, CONTENT):
        raise block.wrong("content", "a string or an array of blocks")
    parts = tuple(_result_parts(content, block.at("content"))) if content is not None else ()
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
    """As text, which every dialect takes; the block itself stands beside it, and the last cache mark in it."""
    title, address = block.needed_text("title"), block.needed_text("source")
    inner = content_blocks(block)
    texts = [found.needed_text("text") for found in inner if found.get("type") == "text"]
    marks = [found.value["cache_control"] for found in (*inner, block) if found.value.get("cache_control") is not None]
    own = {"search_result": block.value, **({"cache_control": marks[-1]} if marks else {})}
    return Text("\n".join([title, address, *texts]), native=native_of(own), place=block.place)


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
