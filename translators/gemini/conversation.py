"""A client's `systemInstruction` and `contents`, read into messages.

Calls without an id get one that depends on nothing but the conversation up to there, so that it is the same in the next
turn. SDKs that record streams send the model's turn back in as many pieces as it came in: neighbouring pieces of text,
and of thought, become one part again, signed by the last.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

from translators.codec import dumps_text, type_name
from translators.errors import BadRequest
from translators.fields import Fields
from translators.gemini.merging import paths
from translators.gemini.reading import DIALECT, fields_of, kept, object_at, raw_objects_at
from translators.made_ids import made_id
from translators.neutral import (
    NO_NATIVE,
    Audio,
    Document,
    Image,
    Message,
    Native,
    Opaque,
    Part,
    Source,
    Text,
    Thinking,
    ToolCall,
    ToolResult,
)
from translators.sealed import unseal

_SIDE_FIELDS: Final = ("videoMetadata", "mediaResolution", "partMetadata", "mediaProcessing", "speechMetadata")
"""Beside the one field that says what a part is; any other `...Metadata` too."""
_FILES: Final = ("https://generativelanguage.googleapis.com/", "gs://", "files/")
"""URIs that only Google can read."""
_URL_SAFE: Final = str.maketrans("-_", "+/")
_USERS: Final = frozenset({"user", "function", "tool"})
_CONTENT: Final = frozenset({"role", "parts"})
_CALL: Final = frozenset({"id", "name", "args"})
_RESPONSE: Final = frozenset({"id", "name", "response"})
_SIGNATURE: Final = frozenset({"thoughtSignature"})


def unsealed(signature: Any) -> Native | None:
    """What another vendor signed and this proxy packed into a thoughtSignature; None when Google made it.

    The official SDK decodes signatures and encodes them again, with the alphabet for URLs.
    """
    return unseal(signature.translate(_URL_SAFE)) if isinstance(signature, str) else None


@dataclass(slots=True)
class Conversation:
    """Reads contents in order; remembers the calls that have no result yet."""

    ids: set[str] = field(default_factory=set)
    waiting: list[tuple[str, str, bool]] = field(default_factory=list)
    """(id, name, whether the client gave the id) of each call without a result, in order."""

    def system(self, fields: Fields) -> tuple[Message, ...]:
        """`systemInstruction`, a content whose role says nothing."""
        value = fields.get("systemInstruction")
        place = fields.at("systemInstruction")
        if isinstance(value, str):
            return (Message("system", (Text(value, place=place),), place=place),) if value else ()
        value = fields.mapping("systemInstruction")
        if value is None:
            return ()
        _, parts, native = self._content(value, place)
        return (Message("system", tuple(parts), native=native, place=place),) if parts else ()

    def messages(self, fields: Fields) -> tuple[Message, ...]:
        """`contents`, of which a mixed one becomes a `tool` message and a `user` message."""
        contents = raw_objects_at(fields, "contents")
        if not contents:
            raise fields.wrong("contents", "an array of contents")
        found: list[Message] = []
        for value, place in contents:
            role, parts, native = self._content(value, place)
            if role == "model":
                _add_model(found, parts, native, place)
            elif role in _USERS:
                _add_user(found, parts, native, place)
            else:
                raise Fields(value, place).wrong("role", "user or model")
        return tuple(found)

    def _content(self, value: Mapping[str, Any], place: str) -> tuple[str, list[Part], Native]:
        """(role, parts, what only Gemini reads)"""
        role, parts = value.get("role", "user"), value.get("parts")
        if isinstance(role, str) and isinstance(parts, list) and _CONTENT.issuperset(value):
            return role or "user", self._listed(parts, f"{place}.parts"), NO_NATIVE
        content = fields_of(value, place)
        return content.text("role") or "user", self._parts(content), kept(content.rest())

    def _parts(self, content: Fields) -> list[Part]:
        items = content.get("parts")
        if isinstance(items, dict):
            items = [items]
        elif not isinstance(items, list | None):
            raise content.wrong("parts", "an array")
        return self._listed(items or [], content.at("parts"))

    def _listed(self, items: list[Any], place: str) -> list[Part]:
        parts: list[Part] = []
        for at, item in enumerate(items):
            where = f"{place}[{at}]"
            if not isinstance(item, dict):
                raise BadRequest(f"{where}: expected an object, found {type_name(item)}", where, "invalid_type")
            alone = item.get("text") if len(item) == 1 else None
            parts.append(Text(alone, (), NO_NATIVE, where) if isinstance(alone, str) else self._part(item, where))
        return parts

    def _part(self, value: Mapping[str, Any], place: str) -> Part:
        if len(value) == 1:
            (kind,) = value
            if (plain := self._plain(kind, value[kind], place)) is not None:
                return plain
        part = fields_of(value, place)
        native = _signature(part) if "thoughtSignature" in part.value else NO_NATIVE
        if native and (opaque := _sealed_opaque(native, place)) is not None:
            return opaque
        if (call := object_at(part, "functionCall")) is not None:
            return self._call(part, call, native)
        if (response := object_at(part, "functionResponse")) is not None:
            return self._result(part, response, native)
        thought = bool(part.flag("thought"))
        if not thought and (blob := object_at(part, "inlineData")) is not None:
            return _media(_inline(blob), _own(part, native, inlineData=blob.rest()), place)
        if not thought and (file := object_at(part, "fileData")) is not None:
            return _media(_file(file), _own(part, native, fileData=file.rest()), place)
        text = part.text("text")
        if not text and (unknown := _kind(part)) is not None:
            block = {key: item for key, item in part.value.items() if item is not None}
            return Opaque(DIALECT, unknown, block, place)
        if text is None and not native:
            raise BadRequest(
                f"{place}: expected text, inlineData, functionCall or another kind of part, found none",
                place,
                "missing_required_parameter",
            )
        if thought:
            # Google's own even when it is not signed, and so its renderer sends it back.
            return Thinking(text or "", _own(part, native or {DIALECT: {}}), place)
        return Text(text or "", native=_own(part, native), place=place)

    def _plain(self, kind: str, value: Any, place: str) -> Part | None:
        """A part that has the field *kind* alone, of the usual shape; None of any other."""
        if not isinstance(value, dict) or not isinstance(name := value.get("name"), str):
            return None
        given = value.get("id")
        if given is not None and not isinstance(given, str):
            return None
        if kind == "functionCall" and _CALL.issuperset(value) and isinstance(args := value.get("args"), dict):
            return self._called(name, args, given, {}, place)
        if kind == "functionResponse" and _RESPONSE.issuperset(value) and isinstance(value.get("response"), dict):
            return self._answer(name, value["response"], given, place)
        return None

    def _call(self, part: Fields, call: Fields, native: Native) -> ToolCall:
        name, args, given = call.needed_text("name"), call.mapping("args") or {}, call.text("id")
        return self._called(name, args, given, _own(part, native, functionCall=call.rest()), part.place)

    def _called(self, name: str, args: Mapping[str, Any], given: str | None, native: Native, place: str) -> ToolCall:
        arguments = dumps_text(args)
        call_id = given or made_id(len(self.ids), name, arguments)
        self.ids.add(call_id)
        self.waiting.append((call_id, name, bool(given)))
        return ToolCall(call_id, name, arguments, native=native, place=place)

    def _result(self, part: Fields, response: Fields, native: Native) -> ToolResult:
        name, told, given = response.needed_text("name"), response.mapping("response") or {}, response.text("id")
        media = [self._part(inner, at) for inner, at in raw_objects_at(response, "parts")]
        own = _own(part, native, functionResponse=response.rest())
        return self._answer(name, told, given, part.place, media=media, native=own)

    def _answer(
        self,
        name: str,
        told: Mapping[str, Any],
        given: str | None,
        place: str,
        *,
        media: Sequence[Part] = (),
        native: Native = NO_NATIVE,
    ) -> ToolResult:
        call_id, function = self._answered(given, name)
        if function != name:
            native = {**native, DIALECT: {**native.get(DIALECT, {}), "functionResponse.name": name}}
        texts, is_error = _told(told)
        where = f"{place}.functionResponse.response"
        return ToolResult(
            call_id, (*[Text(text, place=where) for text in texts], *media), is_error, function, native, place
        )

    def _answered(self, given: str | None, name: str) -> tuple[str, str]:
        """(id, name) of the call that a result belongs to: its own, else the first of that name without a result."""
        fits = [call for call in self.waiting if call[0] == given]
        if not fits:
            fits = [call for call in self.waiting if call[1] == name and not (given and call[2])]
        if not fits:
            return given or made_id(len(self.ids), name, ""), name
        self.waiting.remove(fits[0])
        return fits[0][:2]


def _add_model(found: list[Message], parts: list[Part], native: Native, place: str) -> None:
    """Add a turn of the model; neighbours are one."""
    before = found.pop() if found and found[-1].role == "assistant" and not native else None
    told = _joined([*before.parts, *parts] if before else parts)
    if before is not None:
        found.append(Message("assistant", told, native=before.native, place=before.place))
    elif told:
        found.append(Message("assistant", told, native=native, place=place))


def _add_user(found: list[Message], parts: list[Part], native: Native, place: str) -> None:
    """Add a turn of the user: results of tools first, what else there is after them."""
    results = [part for part in parts if isinstance(part, ToolResult)]
    rest = parts if not results else [part for part in parts if not isinstance(part, ToolResult)]
    if results:
        found.append(Message("tool", tuple(results), native={} if rest else native, place=place))
    if rest:
        found.append(Message("user", tuple(rest), native=native, place=place))


def _kind(part: Fields) -> str | None:
    """The field that says what kind of part it is, of those that were not read; None when there is none."""
    names = part.rest()
    return next((name for name in names if name not in _SIDE_FIELDS and not name.endswith("Metadata")), None)


def _signature(part: Fields) -> Native:
    """thoughtSignature: Google's as it is, the proxy's own unpacked."""
    signature = part.text("thoughtSignature")
    if not signature:
        return {}
    packed = unsealed(signature)
    return {DIALECT: {"thoughtSignature": signature}} if packed is None else packed


def _sealed_opaque(native: Native, place: str) -> Opaque | None:
    """Another vendor's block, which travels as a thought without words."""
    for dialect, own in native.items():
        if isinstance(block := own.get("opaque"), dict):
            return Opaque(dialect, str(own.get("type", "")), block, place)
    return None


def _own(part: Fields, native: Native, **inner: Mapping[str, Any]) -> Native:
    """*native* with the unknown fields of *part*, and of the object *inner* in it."""
    own = part.rest()
    for name, rest in inner.items():
        if rest:
            own |= paths(name, rest)
    return {**native, DIALECT: {**native.get(DIALECT, {}), **own}} if own else native


def _joined(parts: list[Part]) -> tuple[Part, ...]:
    """*parts* of the model with the pieces of one text, or of one thought, put together.

    An empty text brings the signature of what stands before it, whichever of the two that is.
    """
    if len(parts) == 1 and not _says_nothing(parts[0]):
        return tuple(parts)
    joined: list[Part] = []
    for part in parts:
        last = joined[-1] if joined else None
        if (
            isinstance(part, Text | Thinking)
            and isinstance(last, Text | Thinking)
            and not any(last.native.values())
            and (type(last) is type(part) or not part.text)
            and part.native.get(DIALECT, {}).keys() <= _SIGNATURE
        ):
            joined[-1] = replace(last, text=last.text + part.text, native=part.native or last.native)
        elif not _says_nothing(part):
            joined.append(part)
    return tuple(joined)


def _says_nothing(part: Part) -> bool:
    return isinstance(part, Text) and not part.text and not part.native


def _told(response: Mapping[str, Any]) -> tuple[list[str], bool]:
    """(texts, whether they tell an error) of a function's response.

    Google's words for a text are `output` and `error`. Whatever else it is stays one JSON object as text, and so does
    a text that could be taken for one.
    """
    if len(response) == 1:
        key, value = next(iter(response.items()))
        texts = value if key == "output" and isinstance(value, list) and len(value) > 1 else [value]
        if key in ("output", "error") and all(_is_words(text) for text in texts):
            return texts, key == "error"
    is_error = bool(response.get("error")) and "output" not in response
    return [dumps_text(response)], is_error


def _is_words(value: Any) -> bool:
    return isinstance(value, str) and not value.lstrip().startswith("{")


# --- media -----------------------------------------------------------------------------------------


def _inline(blob: Fields) -> Source:
    data, kind = blob.needed_text("data"), blob.text("mimeType") or "application/octet-stream"
    if "-" in data or "_" in data:
        # Google takes the alphabet for URLs too; other vendors do not.
        data = data.translate(_URL_SAFE)
    return Source(kind, data + "=" * (-len(data) % 4))


def _file(file: Fields) -> Source:
    uri, kind = file.needed_text("fileUri"), file.text("mimeType")
    if uri.startswith(_FILES):
        return Source(kind, file_id=uri, vendor=DIALECT)
    return Source(kind, url=uri)


def _media(source: Source, native: Native, place: str) -> Image | Audio | Document:
    match (source.media_type or "").partition("/")[0]:
        case "image":
            return Image(source, native=native, place=place)
        case "audio":
            return Audio(source, native=native, place=place)
        case _:
            return Document(source, native=native, place=place)
