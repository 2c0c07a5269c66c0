"""Messages to Gemini's `systemInstruction` and `contents`.

Roles are `user` and `model` alone. Instructions stand at the top; tool results are parts of the user's turn.
Neighbours of one role become one content, so that parallel calls get their answers together. Each call has one answer:
one that comes late stands where it was due.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final, TypeVar, assert_never

from translators.arguments import REPAIRED, object_of
from translators.codec import JsonError, loads
from translators.dialect import Rules
from translators.errors import BadRequest, Unsupported
from translators.gemini.merging import merged, nested
from translators.gemini.tools import ToolNames
from translators.losses import Loss, client_field, message_place, native_losses, part_field, placed, result_placed
from translators.made_ids import is_made
from translators.neutral import (
    Audio,
    Document,
    Image,
    Message,
    Opaque,
    Part,
    Refusal,
    Source,
    Text,
    Thinking,
    ToolCall,
    ToolResult,
)

SKIP_SIGNATURE: Final = "skip_thought_signature_validator"
"""Stands where a lost thoughtSignature is demanded. (ai.google.dev, thought-signatures)"""
NO_INSTRUCTIONS: Final = "the model takes no instructions: they open the user's first turn"
"""Why a loss is told of a model without `Rules.system_instruction`."""

_Json = dict[str, Any]
_Waiting = TypeVar("_Waiting")


@dataclass(slots=True)
class _StandIn:
    """The error that is sent, among *parts*, for a call whose result had not come in time, and the loss it is."""

    parts: list[_Json]
    part: _Json
    loss: Loss


@dataclass(slots=True)
class _Contents:
    rules: Rules
    names: ToolNames
    losses: list[Loss]
    client: str = "openai_chat"
    """The dialect that the request came in."""
    system: list[_Json] = field(default_factory=list)
    contents: list[_Json] = field(default_factory=list)
    call_names: dict[str, str] = field(default_factory=dict)
    unanswered: dict[str, list[str]] = field(default_factory=dict)
    """Id -> the name of each call without a result; some servers give parallel calls one id."""
    stand_ins: dict[str, list[_StandIn]] = field(default_factory=dict)
    """Id -> what was sent for its calls that a later message may still answer."""

    @property
    def written_here(self) -> bool:
        """Whether the client speaks Gemini too: what is JSON in a result's text was an object."""
        return self.client == "gemini"

    def message(self, message: Message, position: int) -> None:
        """Add one message."""
        if message.name is not None or message.native:
            place = message_place(message, position)
            if message.name is not None:
                self.losses.append(Loss(f"{place}.name", "dropped", "Gemini has no names of speakers"))
            self.losses.extend(native_losses(place, message.native, "gemini", self.client))
        match message.role:
            case "user":
                if self.unanswered:
                    self._answer_rest(message, position)
                self._add("user", self._parts(message, position), message)
            case "assistant":
                # Some clients send parallel calls as several messages: they become one turn.
                if self.unanswered and self.contents[-1]["role"] != "model":
                    self._answer_rest(message, position)
                self._add("model", self._parts(message, position), message)
            case "tool":
                self._add("user", self._parts(message, position), message)
            case "system" | "developer":
                self._instruction(self._parts(message, position), message, position)

    def _instruction(self, parts: list[_Json], message: Message, position: int) -> None:
        other = [part for part in parts if "text" not in part]
        if not self.contents and self.rules.system_instruction and not other:
            self.system.extend(parts)
            return
        place = message_place(message, position)
        if other and not self.written_here:
            raise Unsupported(f"{place}.content: Gemini takes text alone as an instruction", f"{place}.content")
        if not self.contents:
            self.system.extend(parts)
            if parts and not self.rules.system_instruction:
                self.losses.append(Loss(place, "emulated", NO_INSTRUCTIONS))
            return
        self.losses.append(
            Loss(f"{place}.role", "emulated", "Gemini takes instructions at the top alone: a user text in place")
        )
        self._answer_rest(message, position)
        self._add("user", parts)

    def _add(self, role: str, parts: list[_Json], message: Message | None = None) -> None:
        if not parts:
            return
        if message is not None and message.native and (own := nested(message.native.get("gemini", {}))):
            self.contents.append({**own, "role": role, "parts": parts})
        elif self.contents and self.contents[-1]["role"] == role:
            self.contents[-1]["parts"].extend(parts)
        else:
            self.contents.append({"role": role, "parts": parts})

    def _answer_rest(self, message: Message, position: int) -> None:
        """Gemini demands an answer for each call before *message*."""
        place = message_place(message, position)
        for call_id, names in self.unanswered.items():
            loss = Loss(place, "emulated", f"call {call_id} has no result: an error is sent as its result")
            for name in names:
                response = {**self._id(call_id), "name": name, "response": {"error": "no result was given"}}
                missing = {"functionResponse": response}
                self.losses.append(loss)
                self._add("user", [missing])
                stand_in = _StandIn(self.contents[-1]["parts"], missing, loss)
                self.stand_ins.setdefault(call_id, []).append(stand_in)
        self.unanswered = {}

    def _parts(self, message: Message, position: int) -> list[_Json]:
        if (texts := _plain_texts(message.parts)) is not None:
            return [{"text": text} for text in texts]
        rendered: list[_Json] = []
        for place, part in placed(message, position, self.client):
            rendered.extend(self._part(part, place))
        return rendered

    def _part(self, part: Part, place: str) -> list[_Json]:
        match part:
            case Text() | Refusal():
                return self._text(part, place)
            case Image():
                if part.detail not in (None, "auto"):
                    name = part_field(self.client, place, "detail")
                    self.losses.append(Loss(name, "dropped", "Gemini has no detail of a picture"))
                return self._own(part, self._media(part.source, "image", place), place)
            case Audio():
                return self._audio(part, place)
            case Document():
                return self._document(part, place)
            case Thinking():
                return self._thinking(part, place)
            case ToolCall():
                return self._call(part, place)
            case ToolResult():
                return self._result(part, place)
            case Opaque():
                if part.dialect == "gemini":
                    return [dict(part.value)]
                self.losses.append(Loss(place, "dropped", f"{part.type} is known to {part.dialect} alone"))
                return []
            case _:
                assert_never(part)

    def _own(self, part: Part, rendered: _Json, place: str) -> list[_Json]:
        """*rendered* with the fields that only Gemini reads; the others are losses."""
        if isinstance(part, Opaque) or not part.native:
            return [rendered]
        self.losses.extend(native_losses(place, part.native, "gemini", self.client))
        return [merged(rendered, nested(part.native["gemini"])) if "gemini" in part.native else rendered]

    def _text(self, part: Text | Refusal, place: str) -> list[_Json]:
        if isinstance(part, Refusal):
            self.losses.append(Loss(place, "emulated", "Gemini has no refusals: sent as text"))
        if not part.text and "gemini" not in part.native:
            self.losses.extend(native_losses(place, part.native, "gemini", self.client))
            return []
        if isinstance(part, Text) and part.annotations and "citations" not in part.native.get("anthropic", {}):
            name = part_field(self.client, place, "annotations")
            self.losses.append(Loss(name, "dropped", "Gemini takes no citations"))
        return self._own(part, {"text": part.text}, place)

    def _thinking(self, part: Thinking, place: str) -> list[_Json]:
        if "gemini" not in part.native:
            self.losses.append(Loss(place, "dropped", "Gemini takes its own signed thoughts alone"))
            self.losses.extend(native_losses(place, part.native, "gemini", self.client))
            return []
        return self._own(part, {"text": part.text, "thought": True}, place)

    def _media(self, source: Source, modality: str, place: str) -> _Json:
        if modality not in self.rules.modalities:
            raise Unsupported(f"{place}: the model takes no {modality} input", place, "unsupported_modality")
        if source.data is not None:
            media_type = source.media_type or _DEFAULT_MEDIA[modality]
            return {"inlineData": {"mimeType": _MEDIA_NAMES.get(media_type, media_type), "data": source.data}}
        kind = {"mimeType": source.media_type} if source.media_type else {}
        if source.file_id is not None:
            if source.vendor != "gemini":
                raise Unsupported(f"{place}: a file of {source.vendor or 'another vendor'} is unknown to Gemini", place)
            return {"fileData": {**kind, "fileUri": source.file_id}}
        url = source.url or ""
        prefixes = self.rules.image_url_prefixes
        if url and ((prefixes and url.startswith(prefixes)) or (not prefixes and self.rules.image_urls)):
            return {"fileData": {**kind, "fileUri": url}}
        raise Unsupported(
            f"{place}: Gemini does not fetch {url[:80] or 'an empty source'}; the proxy has to inline it first", place
        )

    def _audio(self, part: Audio, place: str) -> list[_Json]:
        """A sound; of an earlier answer that another vendor keeps by id there is only the transcript."""
        if part.transcript is not None and part.source == Source():
            self.losses.append(Loss(place, "emulated", "Gemini does not have this earlier sound: its transcript"))
            return self._own(part, {"text": part.transcript}, place)
        if part.source == Source():
            reason = "Gemini takes no audio by the id that another vendor gave it"
            raise Unsupported(f"{place}: {reason}", place, "unsupported_modality")
        return self._own(part, self._media(part.source, "audio", place), place)

    def _document(self, part: Document, place: str) -> list[_Json]:
        if part.filename is not None:
            name = part_field(self.client, place, "filename")
            self.losses.append(Loss(name, "dropped", "Gemini has no names of files"))
        if part.text is not None and part.source.data is None:
            return self._own(part, {"text": part.text}, place)
        video = (part.source.media_type or "").startswith("video/")
        return self._own(part, self._media(part.source, "video" if video else "document", place), place)

    def _call(self, part: ToolCall, place: str) -> list[_Json]:
        name = self.names[part.name]
        self.call_names[part.id] = name
        self.unanswered.setdefault(part.id, []).append(name)
        self.stand_ins.pop(part.id, None)
        args = {"input": part.arguments} if part.kind == "custom" else self._arguments(part, place)
        return self._own(part, {"functionCall": {**self._id(part.id), "name": name, "args": args}}, place)

    def _id(self, call_id: str) -> _Json:
        """The `id` of a call or its result; none where Gemini's own client wrote none."""
        return {} if self.written_here and is_made(call_id) else {"id": call_id}

    def _arguments(self, call: ToolCall, place: str) -> _Json:
        """The arguments as an object; nothing and null are an empty one."""
        try:
            value, repaired = object_of(call.arguments)
        except JsonError as error:
            where = part_field(self.client, place, "arguments")
            told = f"{where}: the arguments of {call.name} are no JSON object: {error}"
            raise BadRequest(told, where, "invalid_arguments") from error
        if repaired:
            self.losses.append(Loss(part_field(self.client, place, "arguments"), "emulated", REPAIRED))
        return value

    def _said(self, part: ToolResult, place: str) -> tuple[list[str], list[_Json]]:
        """(texts, media) of a result. Text stays a string: Gemini refuses keys like $ref in a response."""
        if (texts := _plain_texts(part.parts)) is not None:
            return texts, []
        rendered: list[_Json] = []
        for where, inner in result_placed(part, place, self.client):
            rendered.extend(self._part(inner, where))
        return [told["text"] for told in rendered if "text" in told], [told for told in rendered if "text" not in told]

    def _result(self, part: ToolResult, place: str) -> list[_Json]:
        name = self.call_names.get(part.call_id)
        if part.name is not None and (name is None or self.written_here):
            name = part.native.get("gemini", {}).get("functionResponse.name") or self.names[part.name]
        if name is None:
            place = part_field(self.client, place, "call_id")
            raise BadRequest(f"{place}: no call before it has the id {part.call_id!r}", place, "tool_call_not_found")
        if self._answered(part):
            self.losses.append(Loss(place, "dropped", "the call has a result already, and Gemini takes one"))
            return []
        said = self._response(part, name, place)
        if _take(self.unanswered, part.call_id) is not None:
            return said
        if (stand_in := _take(self.stand_ins, part.call_id)) is None:
            return said
        at = next(at for at, known in enumerate(stand_in.parts) if known is stand_in.part)
        stand_in.parts[at : at + 1] = said
        self.losses.remove(stand_in.loss)
        return []

    def _answered(self, part: ToolResult) -> bool:
        """Whether the call of *part* has its result; a function of Gemini's own clients may answer in pieces."""
        known = part.call_id in self.call_names and not self.written_here
        return known and part.call_id not in self.unanswered and part.call_id not in self.stand_ins

    def _response(self, part: ToolResult, name: str, place: str) -> list[_Json]:
        texts, media = self._said(part, place)
        output: Any = texts[0] if len(texts) == 1 else texts or ""
        told = _object_in(output) if self.written_here else None
        response: _Json = {
            **self._id(part.call_id),
            "name": name,
            "response": {"error" if part.is_error else "output": output} if told is None else told,
        }
        # Only models that think by level take media inside a function's response. (Gemini 3 and later)
        inside = bool(media) and self.rules.thinking == "level"
        if inside:
            response["parts"] = media
        elif media:
            self.losses.append(Loss(place, "emulated", "the model takes media beside a tool's result, not inside"))
        return [*self._own(part, {"functionResponse": response}, place), *([] if inside else media)]


def _take(waiting: dict[str, list[_Waiting]], call_id: str) -> _Waiting | None:
    """The first of *call_id* in *waiting*, where it is no longer."""
    found = waiting.get(call_id)
    if not found:
        return None
    first = found.pop(0)
    if not found:
        del waiting[call_id]
    return first


_MEDIA_NAMES: Final = {"image/jpg": "image/jpeg"}
"""Names that clients use and Gemini does not know."""
_DEFAULT_MEDIA: Final = {
    "image": "image/png",
    "audio": "audio/wav",
    "document": "application/pdf",
    "video": "video/mp4",
}


def _object_in(text: Any) -> _Json | None:
    """The object that *text* is the JSON of."""
    if not isinstance(text, str) or not text.startswith("{"):
        return None
    try:
        value = loads(text)
    except JsonError:
        return None
    return value if isinstance(value, dict) else None


def _plain_texts(parts: tuple[Part, ...]) -> list[str] | None:
    """The texts of *parts*, when they are texts and nothing else, as most are."""
    texts: list[str] = []
    for part in parts:
        if not isinstance(part, Text) or not part.text or part.native or part.annotations:
            return None
        texts.append(part.text)
    return texts


def render_contents(
    messages: tuple[Message, ...],
    rules: Rules,
    names: ToolNames,
    losses: list[Loss],
    client: str,
) -> tuple[list[_Json], list[_Json]]:
    """(parts of systemInstruction, contents), for a client that speaks *client*.

    Raises:
        Unsupported: a part that Gemini or the model cannot take.
        BadRequest: arguments that are no JSON object, or a result without a call.
    """
    state = _Contents(rules, names, losses, client)
    for position, message in enumerate(messages):
        state.message(message, position)
    if not state.contents and state.system:
        place = client_field(client, "messages")
        losses.append(Loss(place, "emulated", "Gemini needs a user's turn: the instruction is sent as one"))
        state.contents, state.system = [{"role": "user", "parts": state.system}], []
    if rules.thinking == "level":
        place = client_field(client, "messages") + (".tool_calls" if client == "openai_chat" else "")
        _replace_lost_signatures(state.contents, place, losses)
    return state.system, state.contents


def opened_with(parts: list[_Json], contents: list[_Json]) -> list[_Json]:
    """*contents* whose first words, the user's, are *parts*: for a model that takes no instructions apart."""
    if contents and contents[0].get("role", "user") == "user":
        first = contents[0]
        said = first.get("parts")
        said = said if isinstance(said, list) else [said]
        return [{**first, "parts": [*parts, *said]}, *contents[1:]]
    return [{"role": "user", "parts": parts}, *contents]


def _replace_lost_signatures(contents: list[_Json], place: str, losses: list[Loss]) -> None:
    """The first call of each of the model's steps must be signed; later parallel ones are not."""
    lost = 0
    for content in contents:
        calls = [part for part in content["parts"] if "functionCall" in part]
        if calls and "thoughtSignature" not in calls[0]:
            calls[0]["thoughtSignature"] = SKIP_SIGNATURE
            lost += 1
    if lost:
        losses.append(Loss(place, "emulated", f"{lost} lost thoughtSignature: Gemini is told not to check it"))
