"""Neutral parts as Anthropic content blocks.

What Claude cannot take and must not lose (a sound, a foreign file) raises Unsupported with its place;
what merely loses a shade (`detail`) becomes a loss.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from translators.anthropic.marks import MARKS, cache_mark, unread_native
from translators.anthropic.response import NAME
from translators.anthropic.tools import CallIds, ToolNames
from translators.arguments import REPAIRED, object_of
from translators.codec import JsonError
from translators.dialect import Rules
from translators.errors import BadRequest, Unsupported
from translators.losses import Loss, native_field, part_field, result_placed
from translators.neutral import (
    Audio,
    Document,
    Image,
    Native,
    Opaque,
    Part,
    Refusal,
    Request,
    Source,
    Text,
    Thinking,
    ToolCall,
    ToolResult,
)

Block = dict[str, Any]

# anthropic.types.Base64ImageSourceParam
_IMAGE_TYPES: Final = frozenset({"image/jpeg", "image/png", "image/gif", "image/webp"})
_TEXT_TYPES: Final = frozenset(
    {"application/json", "application/xml", "application/yaml", "application/x-yaml", "application/toml"}
)


@dataclass(slots=True)
class Rendering:
    """One request on its way to a body: what is fixed, and the losses so far."""

    request: Request
    rules: Rules
    names: ToolNames
    ids: CallIds = field(default_factory=CallIds)
    losses: list[Loss] = field(default_factory=list)

    def lose(self, name: str, action: Any, reason: str) -> None:
        """One more loss."""
        self.losses.append(Loss(name, action, reason))

    def dress(self, block: Block, native: Native, place: str) -> Block:
        """*block* with its own native fields and cache mark; the others' fields become losses."""
        if not native:
            return block
        self.losses.extend(unread_native(place, native, self.request.dialect))
        for name, value in native.get(NAME, {}).items():
            known = block.setdefault(name, value)
            if known is not value and isinstance(known, dict) and isinstance(value, dict):
                block[name] = {**value, **known}
        if (mark := cache_mark(native, place, self.losses)) is not None:
            block["cache_control"] = mark
        return block

    def called(self, place: str, name: str) -> str:
        """The full name of the field *name* of the part at *place*, as the client has it."""
        return part_field(self.request.dialect, place, name)

    def text(self, part: Text | Refusal, place: str) -> Block | None:
        """A text block; None when it is blank, which Anthropic refuses."""
        if isinstance(part, Refusal):
            if part.text.strip():
                self.lose(place, "emulated", "the target has no refusals in its turns; sent as text")
        elif part.annotations and "citations" not in part.native.get(NAME, {}):
            self.lose(self.called(place, "annotations"), "dropped", "the target takes back only citations of its own")
        return text_block(part.text, part.native, place, self)

    def needs(self, modality: str, place: str) -> None:
        """Refuse *modality* where the target does not take it."""
        if modality not in self.rules.modalities:
            raise Unsupported(
                f"{place}: the target takes no {modality}; it takes {', '.join(sorted(self.rules.modalities))}",
                place,
                "unsupported_modality",
            )


def plain_block(part: Part) -> Block | None:
    """The block of a text that carries nothing else, as nearly all do; None for every other part.

    It is what `user_block` and `assistant_block` give for it, without its place.
    """
    if isinstance(part, Text) and not part.native and not part.annotations and part.text.strip():
        return {"type": "text", "text": part.text}
    return None


def user_block(part: Part, place: str, rendering: Rendering) -> Block | None:
    """A part of a user turn or a tool result; None for text that says nothing."""
    match part:
        case Text(native=native) if not native:
            return rendering.text(part, place)
        case Text() if "citations" in part.native.get(NAME, {}):
            name = native_field(rendering.request.dialect, place, NAME, "citations")
            rendering.lose(name, "dropped", "the target takes citations in its own turns only")
            fields = {name: value for name, value in part.native[NAME].items() if name != "citations"}
            return text_block(part.text, {**part.native, NAME: fields}, place, rendering)
        case Text() if isinstance(found := part.native.get(NAME, {}).get("search_result"), dict):
            # A client's own block, whose text is there for the other dialects.
            return dict(found)
        case Text() | Refusal():
            return rendering.text(part, place)
        case Image():
            return image_block(part, place, rendering)
        case Document():
            return document_block(part, place, rendering)
        case Opaque(dialect=dialect, value=value) if dialect == NAME:
            return dict(value)
        case Audio():
            raise Unsupported(f"{place}: the target takes no audio", place, "unsupported_modality")
        case Opaque(type=kind):
            raise Unsupported(f"{place}: the target has nothing like {kind!r}", place, "unsupported_part")
        case Thinking() | ToolCall() | ToolResult():
            raise BadRequest(f"{place}: such a part cannot stand here", place, "invalid_value")


def assistant_block(part: Part, place: str, rendering: Rendering) -> Block | None:
    """A part of an assistant turn; pictures and documents do not come here."""
    match part:
        case Text() | Refusal():
            return rendering.text(part, place)
        case Thinking():
            return thinking_block(part, place, rendering)
        case ToolCall():
            return tool_use_block(part, place, rendering)
        case Opaque(dialect=dialect, value=value) if dialect == NAME:
            return dict(value)
        case Audio(transcript=str(transcript), native=native):
            rendering.lose(place, "emulated", "the target takes no audio; the transcript stands for it")
            return text_block(transcript, native, place, rendering)
        case _:
            rendering.lose(place, "dropped", "the target has nothing like it in its own turns")
            return None


def text_block(text: str, native: Native, place: str, rendering: Rendering) -> Block | None:
    """A text block; None when *text* is blank, which Anthropic refuses."""
    if text.strip():
        return rendering.dress({"type": "text", "text": text}, native, place)
    if text:
        rendering.lose(place, "dropped", "the target refuses text of blanks alone")
    elif native:
        client = rendering.request.dialect
        rendering.losses.extend(unread_native(place, native, client))
        marks = [(dialect, name) for dialect, fields in native.items() for name in MARKS if name in fields]
        rendering.losses.extend(
            Loss(native_field(client, place, dialect, name), "dropped", "the target marks no empty text")
            for dialect, name in marks
        )
    return None


def thinking_block(part: Thinking, place: str, rendering: Rendering) -> Block | None:
    """A block of thinking as it was signed; without a signature it would be refused."""
    fields = part.native.get(NAME, {})
    if "redacted_data" in fields:
        rest = {name: value for name, value in fields.items() if name != "redacted_data"}
        return {"type": "redacted_thinking", "data": fields["redacted_data"], **rest}
    if fields.get("signature"):
        return {"type": "thinking", "thinking": part.text, **fields}
    rendering.lose(place, "dropped", "the target takes back only thinking that it has signed")
    return None


def tool_use_block(call: ToolCall, place: str, rendering: Rendering) -> Block:
    """A call of an earlier turn.

    Raises:
        BadRequest: its arguments are no JSON object and cannot be repaired to one.
    """
    if call.kind == "custom":
        name = rendering.called(place, "input")
        rendering.lose(name, "emulated", "the target's calls are objects; the text stands in a field")
        arguments: dict[str, Any] = {"input": call.arguments}
    else:
        try:
            arguments, repaired = object_of(call.arguments)
        except JsonError as error:
            where = rendering.called(place, "arguments")
            raise BadRequest(f"{where}: {error}; expected a JSON object", where, "invalid_json") from error
        if repaired:
            where = rendering.called(place, "arguments")
            rendering.lose(where, "emulated", REPAIRED)
    block = {
        "type": "tool_use",
        "id": rendering.ids.call(call.id),
        "name": rendering.names.wire(call.name),
        "input": arguments,
    }
    return rendering.dress(block, call.native, place)


def tool_result_block(result: ToolResult, safe_id: str, place: str, rendering: Rendering) -> Block:
    """What a call gave. A cache mark within it is moved to the result: nested blocks cannot carry one."""
    block: Block = {"type": "tool_result", "tool_use_id": safe_id}
    inner = [found for part in result.parts if (found := plain_block(part)) is not None]
    mark = None
    if len(inner) < len(result.parts):
        inner, mark = _inner_blocks(result, place, rendering)
    if inner:
        block["content"] = inner
    if result.is_error:
        block["is_error"] = True
    if mark is not None:
        block["cache_control"] = mark
    return rendering.dress(block, result.native, place)


def _inner_blocks(result: ToolResult, place: str, rendering: Rendering) -> tuple[list[Block], Any]:
    """The blocks of *result* without their cache marks, and the last of these, which stands for all."""
    inner: list[Block] = []
    marks: list[tuple[str, Any]] = []
    for where, part in result_placed(result, place, rendering.request.dialect):
        block = user_block(part, where, rendering)
        if block is None:
            continue
        if (mark := block.pop("cache_control", None)) is not None:
            marks.append((where, mark))
        inner.append(block)
    if not marks:
        return inner, None
    for where, _ in marks[:-1]:
        name = "cache_control" if rendering.request.dialect == NAME else "prompt_cache_breakpoint"
        rendering.lose(f"{where}.{name}", "dropped", "the target takes one mark for a result; a later one is kept")
    return inner, marks[-1][1]


def image_block(image: Image, place: str, rendering: Rendering) -> Block:
    """A picture by URL, data or the vendor's own file id."""
    rendering.needs("image", place)
    if image.detail not in (None, "auto"):
        rendering.lose(rendering.called(place, "detail"), "dropped", "the target has one resolution")
    source = image.source
    if source.url is not None:
        wire = {"type": "url", "url": _url(source.url, place, rendering.rules)}
    elif source.data is not None:
        media_type = "image/jpeg" if source.media_type == "image/jpg" else source.media_type
        if media_type not in _IMAGE_TYPES:
            raise Unsupported(
                f"{place}: the target takes {', '.join(sorted(_IMAGE_TYPES))}, not {media_type}",
                place,
                "unsupported_media_type",
            )
        wire = {"type": "base64", "media_type": media_type, "data": source.data}
    else:
        wire = _file(source, place)
    return rendering.dress({"type": "image", "source": wire}, image.native, place)


def document_block(document: Document, place: str, rendering: Rendering) -> Block:
    """A PDF or plain text, with its file name as the title."""
    rendering.needs("document", place)
    source = document.source
    content = document.native.get(NAME, {}).get("source")
    if isinstance(content, dict) and content.get("type") == "content" and document.text is not None:
        # Blocks that a client of this dialect wrote, to be cited one by one.
        wire: Mapping[str, Any] = content
    elif document.text is not None:
        wire = {"type": "text", "media_type": "text/plain", "data": document.text}
    elif source.url is not None:
        wire = {"type": "url", "url": _url(source.url, place, rendering.rules)}
    elif source.data is not None:
        wire = _document_data(source.data, source.media_type or "", place)
    else:
        wire = _file(source, place)
    block: Block = {"type": "document", "source": wire}
    if document.filename:
        block["title"] = document.filename
    return rendering.dress(block, document.native, place)


def _document_data(data: str, media_type: str, place: str) -> Block:
    if media_type == "application/pdf":
        return {"type": "base64", "media_type": media_type, "data": data}
    if not media_type.startswith("text/") and media_type not in _TEXT_TYPES:
        found = media_type or "a file of unknown type"
        raise Unsupported(f"{place}: the target takes PDF and text, not {found}", place, "unsupported_media_type")
    try:
        text = base64.b64decode(data, validate=True).decode()
    except (binascii.Error, UnicodeDecodeError) as error:
        raise BadRequest(f"{place}: expected base64 of UTF-8 text: {error}", place, "invalid_value") from error
    return {"type": "text", "media_type": "text/plain", "data": text}


def _url(url: str, place: str, rules: Rules) -> str:
    prefixes = rules.image_url_prefixes
    if not prefixes and not url.lower().startswith(("https://", "http://")):
        raise Unsupported(
            f"{place}: the target fetches https and http alone, not {url[:80]!r}", place, "unsupported_url"
        )
    if not rules.image_urls or (prefixes and not url.startswith(prefixes)):
        raise Unsupported(f"{place}: the target does not fetch this URL; send the data", place, "unsupported_url")
    return url


def _file(source: Source, place: str) -> Block:
    if source.file_id is not None and source.vendor == NAME:
        return {"type": "file", "file_id": source.file_id}
    owner = source.vendor or "another vendor"
    raise Unsupported(f"{place}: a file of {owner} cannot be read by the target", place, "unsupported_file")
