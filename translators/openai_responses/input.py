"""Messages as the items of `input`.

One message of the neutral form gives as many items as its parts need: a turn of the assistant is its reasoning, its
texts and its calls, one item each, in their order.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping, Sequence
from typing import Any, Final, TypeGuard, assert_never

from translators.codec import dumps_text
from translators.dialect import Rules
from translators.errors import BadRequest, Unsupported
from translators.losses import (
    Loss,
    message_place,
    part_field,
    placed,
    result_placed,
)
from translators.neutral import (
    Audio,
    Document,
    Image,
    Message,
    Native,
    Opaque,
    Part,
    Refusal,
    Request,
    Role,
    Source,
    Text,
    Thinking,
    ToolCall,
    ToolResult,
)
from translators.openai_chat.breakpoints import BREAKPOINT, marked
from translators.openai_chat.left_out import LeftOut
from translators.openai_chat.outgoing import ToolNames
from translators.openai_chat.parts import url_of_source
from translators.openai_chat.reasoning_items import items_of_details
from translators.openai_responses.items import DIALECT, outward_annotations

MAX_CALL_ID: Final = 64
"""OpenAI refuses a longer `call_id`."""

_CHAT: Final = "openai_chat"
_HERE: Final = "the Responses API"
_OF_A_PART: Final = frozenset({"logprobs"})
"""Native fields of a text that are its own, where the others are its item's."""
_CONTENT_TYPES: Final = frozenset({"computer_screenshot"})
"""Content parts that are not known to the neutral form; their names all begin with `input_` but for these."""


class InputWriter:
    """Writes the items of one request and remembers what that cost."""

    def __init__(self, request: Request, rules: Rules, losses: list[Loss], names: ToolNames) -> None:
        self.instructions: str | None = None
        self._request = request
        self._rules = rules
        self._losses = losses
        self._names = names
        self._foreign = request.dialect != DIALECT
        self._stored = False
        self._items: list[dict[str, Any]] = []
        self._call_kinds: dict[str, str] = {}
        self._client = request.dialect
        self._left_out = LeftOut(_HERE, self._client, DIALECT)

    def items(self, *, stored: bool) -> list[dict[str, Any]]:
        """All messages but `instructions`. *stored*: the ids of earlier items mean something to the server."""
        self._stored = stored
        for position, message in enumerate(self._request.messages):
            if position == 0 and not self._foreign and message.place == "instructions":
                self.instructions = "".join(part.text for part in message.parts if isinstance(part, Text))
                continue
            if (plain := self._plain_item(message)) is not None:
                self._items.append(plain)
                continue
            place = message_place(message, position)
            self._unread(place, message.native)
            if message.name is not None:
                self._losses.append(Loss(f"{place}.name", "dropped", "a message here has no name"))
            parts = placed(message, position, self._client)
            match message.role:
                case "tool":
                    for where, part in parts:
                        self._tool_result(part, where)
                case "assistant":
                    self._assistant(message, parts)
                case "system" | "developer" | "user":
                    self._spoken(message, parts)
                case _:
                    assert_never(message.role)
        return self._items

    def _plain_item(self, message: Message) -> dict[str, Any] | None:
        """The item of a message that is one text, or one result that is one text, and nothing beside; else None."""
        if message.native or message.name is not None or len(message.parts) != 1:
            return None
        part, role = message.parts[0], message.role
        if isinstance(part, ToolResult) and role == "tool" and not part.native and not part.is_error:
            text = part.parts[0] if len(part.parts) == 1 else None
            return self._output(part, text.text, {}) if text is not None and _is_plain(text) else None
        if role == "tool" or not _is_plain(part):
            return None
        return {"type": "message", "role": self._role(role), "content": part.text}

    def final_losses(self) -> list[Loss]:
        """What other dialects alone read."""
        return self._left_out.losses()

    def _unread(self, place: str, native: Native) -> None:
        """Note what of *native* is left out at *place*."""
        self._left_out.natives(place, native)

    def _own(self, native: Native, place: str) -> dict[str, Any]:
        """This dialect's fields of a part at *place*, with a cache mark that can be one."""
        if not native:
            return {}
        if BREAKPOINT in native.get(DIALECT, {}):
            self._unread(place, native)
            return dict(native[DIALECT])
        taken = self._rules.cache_breakpoints or BREAKPOINT in native.get(_CHAT, {})
        mark, unread = marked(native, place, self._client, self._losses, taken=taken)
        self._unread(place, unread)
        return {**mark, **native.get(DIALECT, {})}

    # --- what was said to the model ---

    def _spoken(self, message: Message, parts: Sequence[tuple[str, Part]]) -> None:
        if len(parts) == 1 and _is_item(parts[0][1]):
            self._opaque(parts[0][1], parts[0][0])
            return
        content = [self._content(part, place) for place, part in parts]
        item: dict[str, Any] = {"type": "message", "role": self._role(message.role), "content": _compact(content)}
        self._items.append({**item, **message.native.get(DIALECT, {})})

    def _role(self, role: Role) -> Role:
        return "system" if role == "developer" and not self._rules.developer_role else role

    def _content(self, part: Part, place: str) -> dict[str, Any]:
        """A content part of a message or of a call's output."""
        match part:
            case Text() | Refusal():
                written: dict[str, Any] = {"type": "input_text", "text": part.text}
            case Image():
                written = self._image(part, place)
            case Audio():
                written = self._audio(part, place)
            case Document():
                written = self._document(part, place)
            case Opaque() if part.dialect == DIALECT:
                return dict(part.value)
            case Opaque() | Thinking() | ToolCall() | ToolResult():
                what = part.type if isinstance(part, Opaque) else type(part).__name__
                raise Unsupported(f"{place}: the Responses API takes no {what} here", place, "unsupported_part")
            case _:
                assert_never(part)
        self._annotations(part, place)
        return {**written, **self._own(part.native, place)}

    def _annotations(self, part: Part, place: str) -> None:
        """Note citations that are left out, unless their own vendor's form of them is noted."""
        if not self._foreign or not isinstance(part, Text) or not part.annotations:
            return
        if not any("citations" in fields for fields in part.native.values()):
            name = part_field(self._client, place, "annotations")
            self._losses.append(Loss(name, "dropped", "a text that is put in has no citations"))

    def _need(self, modality: str, place: str) -> None:
        if modality not in self._rules.modalities:
            raise Unsupported(f"{place}: the target takes no {modality} input", place, "unsupported_modality")

    def _image(self, part: Image, place: str) -> dict[str, Any]:
        self._need("image", place)
        written: dict[str, Any] = {"type": "input_image"}
        if (file_id := _own_file(part.source)) is not None:
            written["file_id"] = file_id
        else:
            written["image_url"] = self._url(part.source, place)
        if part.detail is not None or self._foreign:
            written["detail"] = part.detail or "auto"
        return written

    def _url(self, source: Source, place: str) -> str:
        url = url_of_source(source)
        if url is None:
            raise Unsupported(f"{place}: a file of {source.vendor or 'another vendor'} means nothing here", place)
        if source.data is None:
            prefixes = self._rules.image_url_prefixes
            if not self._rules.image_urls or (prefixes and not url.startswith(prefixes)):
                raise Unsupported(f"{place}: the target does not fetch {url[:60]}", place, "unsupported_url")
        return url

    def _audio(self, part: Audio, place: str) -> dict[str, Any]:
        self._need("audio", place)
        if part.source.data is None:
            raise Unsupported(f"{place}: a sound has to be sent as base64 data", place, "unsupported_url")
        kind = (part.source.media_type or "audio/wav").partition("/")[2].removeprefix("x-")
        kind = {"mpeg": "mp3", "wave": "wav"}.get(kind, kind)
        return {"type": "input_audio", "input_audio": {"data": part.source.data, "format": kind}}

    def _document(self, part: Document, place: str) -> dict[str, Any]:
        if part.text is not None and self._foreign:
            self._losses.append(Loss(place, "emulated", "a text document is sent as text"))
            title = f"{part.filename}:\n" if part.filename else ""
            return {"type": "input_text", "text": title + part.text}
        if (part.source.media_type or "").startswith("video/"):
            raise Unsupported(f"{place}: the Responses API takes no video", place, "unsupported_modality")
        self._need("document", place)
        written: dict[str, Any] = {"type": "input_file"}
        if part.text is not None:
            data = base64.b64encode(part.text.encode()).decode()
            written["file_data"] = f"data:{part.source.media_type or 'text/plain'};base64,{data}"
        elif (file_id := _own_file(part.source)) is not None:
            written["file_id"] = file_id
        elif part.source.data is None:
            written["file_url"] = self._url(part.source, place)
        else:
            written["file_data"] = self._url(part.source, place)
            extension = (part.source.media_type or "").partition("/")[2] or "bin"
            written["filename"] = f"document.{extension}"
        if part.filename is not None:
            written["filename"] = part.filename
        return written

    # --- what the model said ---

    def _assistant(self, message: Message, parts: Sequence[tuple[str, Part]]) -> None:
        run: list[Text | Refusal] = []
        for where, part in parts:
            if isinstance(part, Text | Refusal):
                if run and _item_of(run[-1]) != _item_of(part):
                    self._said(run, message)
                    run = []
                self._unread(where, part.native)
                if isinstance(part, Refusal) and self._foreign:
                    self._losses.append(Loss(where, "emulated", "an earlier refusal is sent as text"))
                self._annotations(part, where)
                run.append(part)
                continue
            self._said(run, message)
            run = []
            match part:
                case Thinking():
                    self._thinking(part, where)
                case ToolCall():
                    if part.native:
                        self._unread(where, part.native)
                    self._call(part)
                case Opaque() if part.dialect == DIALECT:
                    self._opaque(part, where)
                case Opaque():
                    self._losses.append(Loss(where, "dropped", f"{part.type} is another vendor's own block"))
                case Image() | Audio() | Document() | ToolResult():
                    self._losses.append(Loss(where, "dropped", "an answer holds text and tool calls only"))
                case _:
                    assert_never(part)
        self._said(run, message)

    def _said(self, run: Sequence[Text | Refusal], message: Message) -> None:
        """One message of the model. Without its id it has the short form, which holds one text (and no refusal)."""
        if not run:
            return
        own = {**_item_of(run[0]), **message.native.get(DIALECT, {})}
        item_id = own.pop("id", None)
        if self._foreign:
            for part in run:
                self._items.append({"type": "message", "role": "assistant", "content": part.text, **own})
            return
        content = [_output_part(part) for part in run]
        item: dict[str, Any] = {"type": "message", "role": "assistant", "content": content}
        if item_id is not None:
            item |= {"id": item_id, "status": "completed"}
        elif len(run) == 1 and content[0].keys() == {"type", "text", "annotations"} and not content[0]["annotations"]:
            item["content"] = run[0].text
        self._items.append({**item, **own})

    def _thinking(self, part: Thinking, place: str) -> None:
        """A reasoning item of this API. Without its encrypted form it means something only to a server that stored it.

        Open-weight models give their reasoning as it is, in `content`.
        """
        own = part.native.get(DIALECT)
        if own and (own.get("encrypted_content") or own.get("content") or self._stored):
            self._items.append({"type": "reasoning", "summary": [], **own})
            return
        if items := items_of_details(part.native.get(_CHAT, {}).get("reasoning_details")):
            self._items += [item for item in items if item.get("encrypted_content") or item.get("content")]
            return
        if not part.text and not own:
            self._unread(place, part.native)
        else:
            self._left_out.thought(place, "the target takes only its own reasoning back")

    def _call(self, call: ToolCall) -> None:
        kind, field = ("custom_tool_call", "input") if call.kind == "custom" else ("function_call", "arguments")
        call_id = safe_call_id(call.id)
        self._call_kinds[call_id] = kind
        arguments = call.arguments if call.kind == "custom" else call.arguments or "{}"
        item = {"type": kind, "call_id": call_id, "name": self._names[call.name], field: arguments}
        if call.native:
            own = call.native.get(DIALECT, {})
            item.update((name, value) for name, value in own.items() if name != "id" or not self._foreign)
        self._items.append(item)

    def _opaque(self, part: Part, place: str) -> None:
        if isinstance(part, Opaque) and part.dialect == DIALECT:
            self._items.append(dict(part.value))
        else:
            raise Unsupported(f"{place}: the Responses API takes no such item", place, "unsupported_part")

    # --- results ---

    def _tool_result(self, part: Part, place: str) -> None:
        if not isinstance(part, ToolResult):
            raise BadRequest(f"{place}: a tool message holds results only", place)
        own = self._own(part.native, place)
        content: list[dict[str, Any]] = []
        for where, inner in result_placed(part, place, self._client):
            if isinstance(inner, Opaque) and inner.dialect != DIALECT:
                content.append({"type": "input_text", "text": dumps_text(inner.value)})
                self._losses.append(Loss(where, "emulated", f"{inner.type} is sent as its JSON"))
                continue
            content.append(self._content(inner, where))
        if part.is_error:
            name = part_field(self._client, place, "is_error")
            self._losses.append(Loss(name, "dropped", "the output of a call has no such field"))
        if (mark := own.pop(BREAKPOINT, None)) is not None and content:
            content[-1] = {BREAKPOINT: mark, **content[-1]}
        self._items.append(self._output(part, _compact(content), own))

    def _output(self, part: ToolResult, output: str | list[dict[str, Any]], own: Mapping[str, Any]) -> dict[str, Any]:
        """The item of what a call gave."""
        call_id = safe_call_id(part.call_id)
        kind = self._call_kinds.get(call_id)
        item: dict[str, Any] = {"type": f"{kind or 'function_call'}_output", "call_id": call_id}
        if kind is None and not self._foreign and part.name is not None:
            item["name"] = part.name
        return {**item, "output": output, **own}


def _is_plain(part: Part) -> TypeGuard[Text]:
    """Whether *part* is a text and nothing beside."""
    return isinstance(part, Text) and not part.native and not part.annotations


def _is_item(part: Part) -> bool:
    """Whether *part* is an item of its own rather than a part of a message's content."""
    if not isinstance(part, Opaque) or part.dialect != DIALECT:
        return False
    return not part.type.startswith("input_") and part.type not in _CONTENT_TYPES


def _item_of(part: Text | Refusal) -> dict[str, Any]:
    """The item's own fields that stand in each of its parts."""
    return {name: value for name, value in part.native.get(DIALECT, {}).items() if name not in _OF_A_PART}


def _output_part(part: Text | Refusal) -> dict[str, Any]:
    if isinstance(part, Refusal):
        return {"type": "refusal", "refusal": part.text}
    own = {name: value for name, value in part.native.get(DIALECT, {}).items() if name in _OF_A_PART}
    return {"type": "output_text", "text": part.text, "annotations": outward_annotations(part.annotations), **own}


def _own_file(source: Source) -> str | None:
    return source.file_id if source.vendor in (None, _CHAT, DIALECT) else None


def _compact(content: Sequence[dict[str, Any]]) -> str | list[dict[str, Any]]:
    """One plain text as a string, which every server takes; anything else as a list of parts."""
    if not content:
        return ""
    if len(content) == 1 and content[0].keys() == {"type", "text"}:
        return str(content[0]["text"])
    return list(content)


def safe_call_id(call_id: str) -> str:
    """*call_id*, or a digest of one that is too long."""
    if len(call_id) <= MAX_CALL_ID:
        return call_id
    return f"call_{base64.b32encode(hashlib.sha256(call_id.encode()).digest()).decode().lower()[:24]}"
