"""Pieces of messages that requests and answers share, and the conventions for what OpenAI has no field for.

`extra_content` stands on a message, a tool call or a choice: a dialect's name to that dialect's own fields.
Google's own compatibility layer puts `{"google": {"thought_signature": ...}}` there, so Gemini's signature is
spoken of as `google.thought_signature` and stands in `native["gemini"]["thoughtSignature"]` inside.
"""

from __future__ import annotations

import base64
import binascii
import mimetypes
from collections.abc import Mapping, Sequence
from typing import Any, Final

from translators.neutral import NO_NATIVE, Audio, Document, Image, Native, Part, Source, Text, Thinking, TokenLogprob

DIALECT: Final = "openai_chat"

MAX_CHOICES: Final = 128
"""OpenAI's own bound of `n`."""
MAX_COUNT: Final = 2**53
"""JSON numbers beyond this are not exact in most readers; nothing here is counted that far."""


def objects_in(value: Any) -> list[dict[str, Any]]:
    """The objects in a list; whatever else a server put there or in its place is left out."""
    return [item for item in value if isinstance(item, dict)] if value and isinstance(value, list) else []


def choice_index(value: Any, default: int) -> int:
    """A choice's index, or *default* where the server gave none that can be."""
    return value if type(value) is int and 0 <= value < MAX_CHOICES else default


def created_s(value: Any) -> int:
    """`created` as Unix seconds; 0 when unknown."""
    return int(value) if isinstance(value, int | float) and 0 <= value < MAX_COUNT else 0


# --- extra_content -------------------------------------------------------------------------------


def extra_content(native: Native) -> dict[str, Any]:
    """*native* of other dialects as `extra_content`."""
    extra: dict[str, Any] = {}
    if not native:
        return extra
    for dialect, fields in native.items():
        if dialect == DIALECT or not fields:
            continue
        rest = dict(fields)
        if dialect == "gemini" and (signature := rest.pop("thoughtSignature", None)) is not None:
            extra["google"] = {"thought_signature": signature}
        if rest:
            extra[dialect] = rest
    return extra


def native_of_extra(extra: Any) -> dict[str, dict[str, Any]]:
    """The reverse of `extra_content`; whatever has another shape is left out."""
    if not isinstance(extra, dict):
        return {}
    native = {dialect: dict(fields) for dialect, fields in extra.items() if isinstance(fields, dict) and fields}
    google = native.pop("google", {})
    if (signature := google.pop("thought_signature", None)) is not None:
        native.setdefault("gemini", {})["thoughtSignature"] = signature
    if google:
        native["google"] = google
    return native


def blocks_in(fields: dict[str, Any]) -> list[dict[str, Any]]:
    """The opaque blocks in one dialect's `extra_content`, taken out of it, without their place in the stream."""
    blocks = objects_in(fields.pop("blocks", None))
    return [{key: value for key, value in block.items() if key != "index"} for block in blocks]


def native_of(own: Mapping[str, Any], **others: Mapping[str, Any]) -> Native:
    """A Native of this dialect's fields *own* and those of *others*, without empty ones."""
    if not others:
        return {DIALECT: own} if own else NO_NATIVE
    native = {dialect: fields for dialect, fields in {DIALECT: own, **others}.items() if fields}
    return native or NO_NATIVE


# --- reasoning -----------------------------------------------------------------------------------


def reasoning_text(message: Mapping[str, Any]) -> str:
    """The readable reasoning of a whole message, whichever of the three names it has.

    Servers that send two of them at once repeat themselves, so the first one counts.
    """
    return named_reasoning(message) or details_text(message.get("reasoning_details"))


def named_reasoning(message: Mapping[str, Any]) -> str:
    """The readable reasoning that stands in a field of its own."""
    for name in ("reasoning_content", "reasoning"):
        value = message.get(name)
        if isinstance(value, str) and value:
            return value
    return ""


def details_text(details: Any) -> str:
    """The readable reasoning in `reasoning_details`."""
    if not isinstance(details, list):
        return ""
    return "".join(
        text
        for item in details
        if isinstance(item, dict) and isinstance(text := item.get("text") or item.get("summary"), str)
    )


def details_only_opaque(details: Any) -> bool:
    """Whether `reasoning_details` hold something besides plain text (a signature, encrypted reasoning)."""
    return isinstance(details, list) and any(
        isinstance(item, dict)
        and (item.get("signature") or item.get("data") or item.get("type") not in (None, "reasoning.text"))
        for item in details
    )


def merged_details(pieces: Any) -> list[dict[str, Any]]:
    """`reasoning_details` of several deltas as one list: neighbours of one type and index are joined."""
    merged: list[dict[str, Any]] = []
    for piece in objects_in(pieces):
        last = merged[-1] if merged else None
        if last is None or any(last.get(key) != piece.get(key) for key in ("type", "index")) or "data" in piece:
            merged.append(dict(piece))
            continue
        for key, value in piece.items():
            if key in ("text", "summary") and isinstance(last.get(key), str) and isinstance(value, str):
                last[key] += value
            elif value is not None:
                last[key] = value
    return merged


def thinking_block(part: Thinking) -> dict[str, Any] | None:
    """*part* in Anthropic's form; None when Anthropic did not write it."""
    own = part.native.get("anthropic")
    if not own:
        return None
    if (redacted := own.get("redacted_data")) is not None:
        return {"type": "redacted_thinking", "data": redacted}
    return {"type": "thinking", "thinking": part.text, **own}


def thinking_of_block(block: Mapping[str, Any]) -> Thinking:
    """The reverse of `thinking_block`."""
    if block.get("type") == "redacted_thinking":
        return Thinking("", native={"anthropic": {"redacted_data": block.get("data")}})
    own = {key: value for key, value in block.items() if key not in ("type", "thinking", "index") and value is not None}
    text = block.get("thinking")
    return Thinking(text if isinstance(text, str) else "", native={"anthropic": own} if own else NO_NATIVE)


def spoken_parts(content: Any) -> list[tuple[bool, str]]:
    """(is reasoning, text) of Mistral's content list: `thinking` parts hold a list of text parts."""
    spoken: list[tuple[bool, str]] = []
    for item in content if isinstance(content, list) else ():
        if isinstance(item, str):
            spoken.append((False, item))
        elif isinstance(item, dict) and item.get("type") == "thinking":
            inner = item.get("thinking")
            text = inner if isinstance(inner, str) else "".join(text for _, text in spoken_parts(inner))
            spoken.append((True, text))
        elif isinstance(item, dict) and isinstance(item.get("text"), str):
            spoken.append((False, item["text"]))
    return spoken


# --- media ---------------------------------------------------------------------------------------

_SNIFFED: Final = (
    ("UklGR", "audio/wav"),
    ("SUQz", "audio/mpeg"),
    ("//", "audio/mpeg"),
    ("T2dnU", "audio/ogg"),
    ("ZkxhQ", "audio/flac"),
    ("JVBERi", "application/pdf"),
    ("iVBORw0KGgo", "image/png"),
    ("/9j/", "image/jpeg"),
    ("R0lGOD", "image/gif"),
)


def sniffed_type(data: str, default: str) -> str:
    """The media type that the first bytes of base64 *data* tell, else *default*."""
    kind = default.partition("/")[0]
    for head, media_type in _SNIFFED:
        if data.startswith(head) and (media_type.startswith(kind) or kind == "application"):
            return media_type
    return default


def source_of_url(url: str, default_type: str) -> Source:
    """A `data:` URL as data with its media type, any other URL as it is."""
    if url[:5].lower() != "data:":
        return Source(url=url)
    head, comma, data = url[5:].partition(",")
    media_type, *parameters = head.split(";")
    if not comma:
        return Source(url=url)
    if "base64" not in (parameter.strip().lower() for parameter in parameters):
        return Source(url=url)
    return Source(media_type=media_type.strip().lower() or sniffed_type(data, default_type), data=data)


def url_of_source(source: Source) -> str | None:
    """*source* as a URL, `data:` where it is data; None for a vendor's file."""
    if source.data is not None:
        return f"data:{source.media_type or 'application/octet-stream'};base64,{source.data}"
    return source.url


def document_of_file(file: Mapping[str, Any], native: Native = NO_NATIVE) -> Document:
    """A `file` part's inner object. Text files are decoded, so that every target can read them."""
    filename = file.get("filename")
    if (file_id := file.get("file_id")) is not None:
        return Document(Source(file_id=file_id, vendor=DIALECT), filename, native=native)
    data = file.get("file_data") or ""
    if data[:5].lower() == "data:" or data[:8].lower().startswith(("http://", "https://")):
        source = source_of_url(data, "application/pdf")
    else:
        guessed = mimetypes.guess_type(filename or "")[0] or sniffed_type(data, "application/octet-stream")
        source = Source(media_type=guessed, data=data)
    if source.data is not None and (source.media_type or "").startswith("text/"):
        text = _decoded_text(source.data)
        if text is not None:
            return Document(Source(media_type=source.media_type), filename, text, native)
    return Document(source, filename, native=native)


def _decoded_text(data: str) -> str | None:
    try:
        return base64.b64decode(data, validate=True).decode()
    except (binascii.Error, UnicodeDecodeError):
        return None


def audio_of_answer(audio: Mapping[str, Any]) -> Audio:
    """The `audio` object of an answer. Its format is that of the request, so only its bytes can tell it."""
    data = audio.get("data")
    known = data if isinstance(data, str) and data else None
    expires_at = audio.get("expires_at")
    return Audio(
        Source(media_type=sniffed_type(known, "audio/pcm") if known else None, data=known),
        id=audio.get("id"),
        transcript=audio.get("transcript"),
        native=native_of({} if expires_at is None else {"expires_at": expires_at}),
    )


def joined_base64(pieces: Sequence[str]) -> str:
    """Base64 pieces, each encoded for itself, as one."""
    try:
        return base64.b64encode(b"".join(base64.b64decode(piece, validate=True) for piece in pieces)).decode()
    except binascii.Error:
        return "".join(pieces)


def image_of_answer(item: Any) -> Image | None:
    """An entry of `message.images` (OpenRouter)."""
    url = item.get("image_url") if isinstance(item, dict) else None
    url = url.get("url") if isinstance(url, dict) else url
    return Image(source_of_url(url, "image/png")) if isinstance(url, str) and url else None


# --- texts and log probabilities -----------------------------------------------------------------


def shifted(annotations: Sequence[Mapping[str, Any]], offset: int) -> list[Mapping[str, Any]]:
    """Annotations with their offsets moved by *offset* characters."""
    if not offset:
        return list(annotations)
    moved: list[Mapping[str, Any]] = []
    for annotation in annotations:
        citation = annotation.get("url_citation")
        if not isinstance(citation, dict):
            moved.append(annotation)
            continue
        places = {
            key: citation[key] + offset for key in ("start_index", "end_index") if isinstance(citation.get(key), int)
        }
        moved.append({**annotation, "url_citation": {**citation, **places}})
    return moved


def lone_text(parts: Sequence[Part]) -> str | None:
    """The text of a message that has nothing else in it, as most have; None for another."""
    if len(parts) != 1 or not isinstance(part := parts[0], Text) or part.native or part.annotations:
        return None
    return part.text


def joined_texts(parts: Sequence[Text]) -> tuple[str, list[Mapping[str, Any]]]:
    """Several texts as one, with the annotations' offsets in it."""
    if len(parts) == 1:
        return parts[0].text, list(parts[0].annotations)
    annotations: list[Mapping[str, Any]] = []
    length = 0
    for part in parts:
        annotations.extend(shifted(part.annotations, length))
        length += len(part.text)
    return "".join(part.text for part in parts), annotations


def parse_logprobs(logprobs: Any) -> tuple[TokenLogprob, ...] | None:
    """`choices[].logprobs`; text and refusal in one sequence. None when there are none."""
    if not isinstance(logprobs, dict):
        return None
    entries = [*objects_in(logprobs.get("content")), *objects_in(logprobs.get("refusal"))]
    found = tuple(_parse_logprob(entry) for entry in entries)
    return found or None


def _parse_logprob(entry: Mapping[str, Any]) -> TokenLogprob:
    raw = entry.get("bytes")
    value = entry.get("logprob")
    return TokenLogprob(
        token=str(entry.get("token", "")),
        logprob=float(value) if isinstance(value, int | float) else 0.0,
        bytes=tuple(raw) if isinstance(raw, list) else None,
        top=tuple(_parse_logprob(top) for top in objects_in(entry.get("top_logprobs"))),
    )


def render_logprobs(logprobs: Sequence[TokenLogprob], *, refusal: bool = False) -> dict[str, Any]:
    """The reverse of `parse_logprobs`."""
    entries = [
        {**_render_logprob(entry), "top_logprobs": [_render_logprob(top) for top in entry.top]} for entry in logprobs
    ]
    return {"content": None, "refusal": entries} if refusal else {"content": entries, "refusal": None}


def _render_logprob(entry: TokenLogprob) -> dict[str, Any]:
    raw = list(entry.bytes) if entry.bytes is not None else list(entry.token.encode())
    return {"token": entry.token, "logprob": entry.logprob, "bytes": raw}
