"""The verbatim way: a Gemini client in front of Gemini.

The request leaves as the client's bytes, but for what the target refuses and what only this proxy can read: another
vendor's signatures that went to the client in a `thoughtSignature`. The answer's bytes go back as they came; the frame
with the finish reason waits for the end, where it gets the proxy's receipt as one more field.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any, Final

from translators.codec import REMOVED, JsonError, dumps, loads, splice
from translators.dialect import Relayed, RelayedRequest, ReplyTo, Rules
from translators.errors import BadAnswer
from translators.fields import PROXY_FIELDS
from translators.gemini.answer import render_usage
from translators.gemini.chunks import ChunkReader
from translators.gemini.contents import NO_INSTRUCTIONS, SKIP_SIGNATURE, opened_with
from translators.gemini.conversation import unsealed
from translators.gemini.error import error_envelope, objects
from translators.gemini.frames import RECEIPT
from translators.gemini.request import PLAIN_FIELDS, fitted
from translators.gemini.response import parse_response
from translators.gemini.schema import camel
from translators.gemini.stream import Documents, chunks_of
from translators.losses import Loss
from translators.neutral import Event, Failure, Request, Response, Usage, UsageReport
from translators.sealed import seal
from translators.sse import SseError, SseEvent, frame

_SEALED: Final = seal({})[:12].encode()
"""How the signatures begin that this proxy made."""
_REFUSABLE: Final[Mapping[str, str]] = {
    "tools": "tools",
    "tool_choice": "toolConfig",
    "service_tier": "serviceTier",
    "metadata": "labels",
}
"""Fields of Request that stand at the top of the body."""
_CONFIG: Final[Mapping[str, str]] = {
    **PLAIN_FIELDS,
    "stop": "stopSequences",
    "modalities": "responseModalities",
    "reasoning": "thinkingConfig",
    "output": "responseJsonSchema",
}
"""Fields of Request that stand in generationConfig."""
_OUTPUT_FIELDS: Final = ("responseMimeType", "responseSchema", "responseJsonSchema")
_DEFAULTS: Final[Mapping[str, Any]] = {item.name: item.default for item in fields(Request)}


# --- requests --------------------------------------------------------------------------------------


def relay_request(raw: bytes, body: Mapping[str, Any], request: Request, rules: Rules, model: str) -> RelayedRequest:
    """*raw* (parsed: *body* and *request*) for the server. *model* stands in its URL alone.

    The client's spelling of a field, camelCase or snake_case, stays.
    """
    changes: dict[str, Any] = {name: REMOVED for name in PROXY_FIELDS if name in body}
    losses: list[Loss] = []
    spelled = {camel(key): key for key in body}
    if "model" in body and str(body["model"]).removeprefix("models/") != model:
        changes["model"] = f"models/{model}"
    fit = fitted(request, rules, losses)
    config_key = spelled.get("generationConfig", "generationConfig")
    config = body.get(config_key)
    if isinstance(config, dict) and (changed := _fitted_config(config, request, fit)) is not None:
        changes[config_key] = changed
    for name, wire in _REFUSABLE.items():
        if getattr(fit, name) != getattr(request, name) and wire in spelled:
            changes[spelled[wire]] = REMOVED
    if "tools" in spelled and changes.get(spelled["tools"]) is REMOVED and "toolConfig" in spelled:
        changes[spelled["toolConfig"]] = REMOVED
    changes.update((spelled[path], REMOVED) for path in _gone(request, fit) & spelled.keys())
    contents = _readable_contents(raw, body.get("contents"), rules, losses)
    if contents is not None:
        changes["contents"] = contents
    instruction = spelled.get("systemInstruction", "")
    if not rules.system_instruction and (parts := _instruction_parts(body.get(instruction))):
        changes[instruction] = REMOVED
        changes["contents"] = opened_with(parts, _listed(changes.get("contents", body.get("contents"))))
        losses.append(Loss("systemInstruction", "emulated", NO_INSTRUCTIONS))
    for name, other in rules.rename.items():
        key = spelled.get(name, name)
        if key in body and changes.get(key) is not REMOVED:
            changes[other] = changes.get(key, body[key])
            changes[key] = REMOVED
    changes.update((name, value) for name, value in rules.extra_body.items() if name not in spelled)
    return RelayedRequest(splice(raw, changes) if changes else raw, tuple(dict.fromkeys(losses)))


def _instruction_parts(value: Any) -> list[Any]:
    """The parts of a `systemInstruction`, which some clients write as plain text."""
    if isinstance(value, str):
        return [{"text": value}] if value else []
    return _listed(value.get("parts")) if isinstance(value, dict) else []


def _listed(value: Any) -> list[Any]:
    """An array as it is; a lone object is an array of one for Google."""
    return value if isinstance(value, list) else [] if value is None else [value]


def _fitted_config(config: Mapping[str, Any], request: Request, fit: Request) -> dict[str, Any] | None:
    """generationConfig with what *fit* changed in *request*; None when that is nothing."""
    changed = dict(config)
    spelled = {camel(key): key for key in config}
    for name, wire in _CONFIG.items():
        value = getattr(fit, name)
        if value == getattr(request, name):
            continue
        for field in _OUTPUT_FIELDS if name == "output" else (wire,):
            changed.pop(spelled.get(field, field), None)
        if value != _DEFAULTS[name]:
            changed[spelled.get(wire, wire)] = list(value) if isinstance(value, tuple) else value
    for path in _gone(request, fit):
        place, _, field = path.partition(".")
        if place == "generationConfig":
            changed.pop(spelled.get(field, field), None)
    return changed if changed != config else None


def _gone(request: Request, fit: Request) -> set[str]:
    """The paths of Gemini's own fields that *fit* has lost against *request*."""
    return request.native.get("gemini", {}).keys() - fit.native.get("gemini", {}).keys()


def _readable_contents(raw: bytes, contents: Any, rules: Rules, losses: list[Loss]) -> list[Any] | None:
    """*contents* without other vendors' signatures, and with Google's word for a lost one; None when they stay."""
    by_level = rules.thinking == "level" and (b'"functionCall"' in raw or b'"function_call"' in raw)
    if not isinstance(contents, list) or not (by_level or _SEALED in raw):
        return None
    found: list[Any] = []
    lost = 0
    step_called = False
    for position, content in enumerate(contents):
        parts = content.get("parts") if isinstance(content, dict) else None
        if not isinstance(parts, list) or content.get("role") != "model":
            found.append(content)
            step_called = False
            continue
        told: list[Any] = []
        for at, part in enumerate(parts):
            readable = _readable_part(part, f"contents[{position}].parts[{at}]", losses)
            if by_level and _is_call(readable):
                if not step_called and not _signature_of(readable):
                    readable = {**readable, "thoughtSignature": SKIP_SIGNATURE}
                    lost += 1
                step_called = True
            if readable is not None:
                told.append(readable)
        if told:
            found.append({**content, "parts": told} if told != parts else content)
    if lost:
        why = f"{lost} lost thoughtSignature: Gemini is told not to check it"
        losses.append(Loss("contents", "emulated", why))
    return found if found != contents else None


def _readable_part(part: Any, place: str, losses: list[Loss]) -> Any:
    """*part* as Google can read it; None for reasoning or a block that is another vendor's alone."""
    if unsealed(_signature_of(part)) is None:
        return part
    if part.get("thought") or part.get("text") == "":
        losses.append(Loss(place, "dropped", "Gemini takes its own signed thoughts alone"))
        return None
    losses.append(Loss(f"{place}.thoughtSignature", "dropped", "it is another vendor's"))
    return {key: value for key, value in part.items() if camel(key) != "thoughtSignature"}


def _signature_of(part: Any) -> Any:
    return part.get("thoughtSignature") or part.get("thought_signature") if isinstance(part, dict) else None


def _is_call(part: Any) -> bool:
    return isinstance(part, dict) and bool(part.get("functionCall") or part.get("function_call"))


# --- answers ---------------------------------------------------------------------------------------


def relay_response(raw: bytes, rules: Rules, to: ReplyTo, body: dict[str, Any] | None = None) -> tuple[bytes, Response]:
    """*raw* as it is, and what it says.

    Raises:
        BadAnswer: *raw* is not JSON, or no answer of Gemini.
    """
    try:
        answer = loads(raw) if body is None else body
    except JsonError as error:
        raise BadAnswer(f"the answer is {error}") from error
    if not isinstance(answer, dict | list):
        raise BadAnswer("the answer is not a JSON object")
    return raw, parse_response(answer, lambda: to.id)


class StreamRelay:
    """Passes SSE frames on and reads along; see `translators.dialect.StreamRelay`.

    An array from the server becomes frames.
    """

    def __init__(self, rules: Rules, to: ReplyTo) -> None:
        self._documents = Documents()
        self._reader = ChunkReader(lambda: to.id)
        self._held: SseEvent | None = None
        self._counted = False
        self._ended = False

    def feed(self, piece: bytes) -> Relayed:
        """What *piece* completes."""
        if self._ended:
            return Relayed(b"", [])
        try:
            documents = self._documents.feed(piece)
        except SseError as error:
            self._ended = True
            return Relayed(b"", self._reader.fail(error.failure))
        return self._relay(documents)

    def end(self) -> Relayed:
        """The server's stream is over; a Failure when it was cut."""
        if self._ended:
            return Relayed(b"", [])
        frames, events = self._relay(self._documents.close())
        if self._documents.cut and not self._ended:
            return self._failed(frames, [*events], "Gemini's stream was cut")
        self._ended = True
        return Relayed(frames, [*events, *self._reader.end(whole=False)])

    def fail(self, failure: Failure) -> bytes:
        """The error as a frame; what was held back is dropped."""
        return self._framed(dumps(error_envelope(failure)))

    def close(self, receipt: bytes | None = None, usage: Usage | None = None) -> bytes:
        """The frame that was held back, with *receipt* in it, and *usage* where the server gave none."""
        held, self._held = self._held, None
        added: dict[str, Any] = {}
        if usage is not None and not self._counted:
            added["usageMetadata"] = render_usage(usage)
        if receipt is not None:
            added[RECEIPT] = loads(receipt)
        if held is None:
            return self._framed(dumps(added)) if added else b""
        if not added:
            return self._passed(held)
        body = loads(held.data)
        if isinstance(body, dict) and b"\n" not in held.data:
            return self._framed(splice(held.data.strip(), added))
        whole = body[-1] if isinstance(body, list) and body else body
        return self._framed(dumps({**whole, **added} if isinstance(whole, dict) else added))

    def _relay(self, documents: list[SseEvent]) -> Relayed:
        frames: list[bytes] = []
        events: list[Event] = []
        for document in documents:
            try:
                chunks = chunks_of(document.data)
            except JsonError as error:
                return self._failed(b"".join(frames), events, f"Gemini's stream holds a line that is {error}")
            for chunk in chunks:
                events.extend(self._reader.chunk(chunk))
                if self._reader.failed:
                    self._ended = True
                    return Relayed(b"".join(frames), events)
            if not chunks:
                if not document.data.strip() and self._held is None:
                    frames.append(self._passed(document))
            elif self._held is not None:
                frames.append(self._passed(self._held))
                self._held = document
            elif any(_ends(chunk) for chunk in chunks):
                self._held = document
            else:
                frames.append(self._passed(document))
        self._counted = self._counted or any(isinstance(event, UsageReport) and event.usage for event in events)
        return Relayed(b"".join(frames), events)

    def _failed(self, frames: bytes, events: list[Event], message: str) -> Relayed:
        self._ended = True
        return Relayed(frames, [*events, *self._reader.fail(Failure("invalid_response", message, 502))])

    def _passed(self, document: SseEvent) -> bytes:
        """*document* as it came."""
        if document.raw.endswith((b"\n\n", b"\r\n\r\n", b"\r\r")):
            return document.raw
        return frame(dumps(loads(document.data)) if b"\n" in document.data else document.data)

    def _framed(self, body: bytes) -> bytes:
        return frame(body)


class ArrayRelay(StreamRelay):
    """The same objects as one JSON array, for a client that did not say `alt=sse`."""

    def __init__(self, rules: Rules, to: ReplyTo) -> None:
        super().__init__(rules, to)
        self._opened = False

    def feed(self, piece: bytes) -> Relayed:
        """What *piece* completes."""
        frames, events = super().feed(piece)
        return Relayed(self._listed(frames), events)

    def end(self) -> Relayed:
        """The server's stream is over."""
        frames, events = super().end()
        return Relayed(self._listed(frames), events)

    def fail(self, failure: Failure) -> bytes:
        """The error as the last object."""
        return self._listed(super().fail(failure)) + b"]"

    def close(self, receipt: bytes | None = None, usage: Usage | None = None) -> bytes:
        """The object that was held back, and the end of the array."""
        return self._listed(super().close(receipt, usage)) + b"]"

    def _passed(self, document: SseEvent) -> bytes:
        text = document.data.strip()
        if not text:
            return b""
        value = loads(text)
        return b"".join(map(self._framed, map(dumps, value))) if isinstance(value, list) else self._framed(text)

    def _framed(self, body: bytes) -> bytes:
        return b",\r\n" + body

    def _listed(self, found: bytes) -> bytes:
        if not found or self._opened:
            return found
        self._opened = True
        return b"[" + found.removeprefix(b",\r\n")


def _ends(chunk: Any) -> bool:
    """Whether *chunk* says why a candidate, or the whole prompt, came to its end."""
    if not isinstance(chunk, dict):
        return False
    feedback = chunk.get("promptFeedback")
    return any(candidate.get("finishReason") for candidate in objects(chunk.get("candidates"))) or bool(
        isinstance(feedback, dict) and feedback.get("blockReason")
    )
