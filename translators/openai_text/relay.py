"""The verbatim way: a completions client in front of a server that has the endpoint.

The request leaves as the client's bytes with the few fields changed that must be. The answer's bytes go back as
they came; what the official SDK could not read is mended by adding and correcting.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from translators.codec import REMOVED, JsonError, dumps, loads_object, splice
from translators.dialect import Relayed, RelayedRequest, ReplyTo, Rules
from translators.errors import BadAnswer
from translators.fields import PROXY_FIELDS
from translators.losses import Loss
from translators.neutral import Event, Failure, Finish, Request, Response, Usage
from translators.openai_chat.error import error_envelope
from translators.openai_chat.parts import objects_in
from translators.openai_chat.quirks import fitted
from translators.openai_chat.response import finish_reason
from translators.openai_chat.stream import chunk_of
from translators.openai_chat.usage import parse_usage, render_usage
from translators.openai_text.chunks import DONE
from translators.openai_text.parts import choice_index, choice_text, outward_reason
from translators.openai_text.response import parse_response
from translators.openai_text.stream import ChunkReader
from translators.sse import SseDecoder, SseError, SseEvent, comment, frame

_BODY_NAMES: Final = {"temperature": "temperature", "top_p": "top_p", "max_output_tokens": "max_tokens"}


def relay_request(raw: bytes, body: Mapping[str, Any], request: Request, rules: Rules, model: str) -> RelayedRequest:
    """*raw* (parsed: *body* and *request*) for the server, with *model* as the model's name there."""
    changes: dict[str, Any] = {name: REMOVED for name in PROXY_FIELDS if name in body}
    if body.get("model") != model:
        changes["model"] = model
    _relay_stream_options(body, request, rules, changes)
    changed, losses = fitted(request, rules)
    for name, wire in _BODY_NAMES.items():
        value = getattr(changed, name)
        if value != getattr(request, name) and body.get(wire) is not None:
            changes[wire] = REMOVED if value is None else value
    for name in sorted(rules.refuses & body.keys() - {"model", "prompt"}):
        known = name in changes or any(loss.field == name for loss in losses)
        changes[name] = REMOVED
        if not known and body[name] is not None:
            losses.append(Loss(name, "dropped", "the target refuses it"))
    for name, other in rules.rename.items():
        if name in body and changes.get(name) is not REMOVED and name != other:
            changes[other] = changes.get(name, body[name])
            changes[name] = REMOVED
    changes.update((name, value) for name, value in rules.extra_body.items() if name not in body)
    return RelayedRequest(splice(raw, changes, body) if changes else raw, tuple(losses))


def _relay_stream_options(body: Mapping[str, Any], request: Request, rules: Rules, changes: dict[str, Any]) -> None:
    """Usage is always asked for: the ledger needs it. Where the server refuses, the proxy estimates it."""
    options = body.get("stream_options")
    if not request.stream or not rules.stream_options:
        if "stream_options" in body:
            changes["stream_options"] = REMOVED
    elif not request.include_usage:
        changes["stream_options"] = {**(options if isinstance(options, dict) else {}), "include_usage": True}


def relay_response(raw: bytes, rules: Rules, to: ReplyTo, body: dict[str, Any] | None = None) -> tuple[bytes, Response]:
    """A whole answer: its bytes, mended where they have to be, and what it says.

    Raises:
        BadAnswer: *raw* is not JSON or has no choices.
    """
    try:
        body = loads_object(raw) if body is None else body
    except JsonError as error:
        raise BadAnswer(f"the answer is {error}") from error
    response = parse_response(body)
    if rules.conformant:
        return raw, response
    changed = _mend_head(body, to)
    for position, choice in enumerate(body["choices"]):
        changed |= _mend_choice(choice, position)
        word = outward_reason(finish_reason(choice["finish_reason"], has_calls=False))
        if choice["finish_reason"] != word:
            choice["finish_reason"] = word
            changed = True
    return (dumps(body) if changed | _mend_usage(body) else raw), response


def _mend_head(body: dict[str, Any], to: ReplyTo, first: Mapping[str, Any] | None = None) -> bool:
    """Fill in what *body*, an answer or a chunk, leaves out: as in the *first* chunk, else as the proxy has it."""
    known = first or {"id": f"cmpl-{to.id}", "created": to.created, "model": to.request.model}
    changed = False
    for name in ("id", "model"):
        if not isinstance(body.get(name), str) or not body[name]:
            body[name] = known[name]
            changed = True
    if type(body.get("created")) is not int:
        body["created"] = known["created"]
        changed = True
    if body.get("object") != "text_completion":
        body["object"] = "text_completion"
        changed = True
    return changed


def _mend_choice(choice: dict[str, Any], position: int) -> bool:
    changed = False
    number = choice_index(choice.get("index"), position)
    if type(choice.get("index")) is not int or choice["index"] != number:
        choice["index"] = number
        changed = True
    if not isinstance(choice.get("text"), str):
        choice["text"] = choice_text(choice)
        changed = True
    if "finish_reason" not in choice:
        choice["finish_reason"] = None
        changed = True
    return changed


def _mend_usage(body: dict[str, Any]) -> bool:
    """The three counts that the SDK's type requires; what tells no counts at all moves out of the way."""
    usage = body.get("usage")
    if usage is None:
        return False
    parsed = parse_usage(usage) if isinstance(usage, dict) else None
    if parsed is None:
        body["usage"] = None
        if usage:
            body["vendor_usage"] = usage
        return True
    counts = {name: value for name, value in render_usage(parsed).items() if type(value) is int}
    missing = {name: value for name, value in counts.items() if type(usage.get(name)) is not int}
    if missing:
        body["usage"] = usage | missing
    return bool(missing)


class StreamRelay:
    """Passes a server's stream on and reads along; see `translators.dialect.StreamRelay`."""

    def __init__(self, rules: Rules, to: ReplyTo) -> None:
        self._rules = rules
        self._to = to
        self._decoder = SseDecoder()
        self._reader = ChunkReader()
        self._first: dict[str, Any] | None = None
        self._finished: set[int] = set()
        self._ended = False

    def feed(self, piece: bytes) -> Relayed:
        """What *piece* completes."""
        if self._ended:
            return Relayed(b"", [])
        try:
            decoded = self._decoder.feed(piece)
        except SseError as error:
            self._ended = self._reader.failed = True
            return Relayed(b"", [error.failure])
        return self._relay(decoded)

    def end(self) -> Relayed:
        """The server's stream is over; a Failure when it was cut."""
        if self._ended:
            return Relayed(b"", [])
        frames, events = self._relay(self._decoder.close())
        if self._ended:
            return Relayed(frames, events)
        return self._finish([frames], [*events], done=False)

    def fail(self, failure: Failure) -> bytes:
        """The error as a frame; no terminator follows it."""
        return frame(dumps(error_envelope(failure)))

    def close(self, receipt: bytes | None = None, usage: Usage | None = None) -> bytes:
        """*receipt* as a comment, then `[DONE]`; before them *usage* if it was asked for and the server gave none."""
        frames = b"" if receipt is None else comment(b"modelport " + receipt)
        if usage is not None and self._to.request.include_usage and self._reader.usage is None:
            frames = self._frame([], usage=render_usage(usage)) + frames
        return frames + DONE

    def _relay(self, decoded: list[SseEvent]) -> Relayed:
        frames: list[bytes] = []
        events: list[Event] = []
        for event in decoded:
            if not event.data:
                frames.append(event.raw)
                continue
            chunk = chunk_of(event)
            if chunk is None:
                return self._finish(frames, events, done=True)
            if isinstance(chunk, Failure):
                self._ended = self._reader.failed = True
                return Relayed(b"".join(frames), [*events, chunk])
            events.extend(self._reader.read(chunk))
            frames.append(self._chunk(event, chunk))
        return Relayed(b"".join(frames), events)

    def _chunk(self, event: SseEvent, chunk: dict[str, Any]) -> bytes:
        # The usage chunk was asked for by the proxy; a client that did not ask must not see it.
        if not chunk.get("choices") and not self._to.request.include_usage and chunk.get("usage"):
            return b""
        choices = objects_in(chunk.get("choices"))
        for position, choice in enumerate(choices):
            if choice.get("finish_reason"):
                self._finished.add(choice_index(choice.get("index"), position))
        changed = False if self._rules.conformant else self._mend(chunk, choices)
        if self._first is None and choices:
            self._first = {name: chunk.get(name) for name in ("id", "created", "model")}
        if changed:
            return frame(dumps(chunk))
        return event.raw if event.raw.endswith((b"\n\n", b"\r\n\r\n", b"\r\r")) else frame(event.data)

    def _mend(self, chunk: dict[str, Any], choices: list[dict[str, Any]]) -> bool:
        changed = _mend_head(chunk, self._to, self._first)
        if chunk.get("choices") != choices:
            chunk["choices"] = choices
            changed = True
        for position, choice in enumerate(choices):
            changed |= _mend_choice(choice, position)
            word = choice["finish_reason"]
            mended = outward_reason(finish_reason(word, has_calls=False)) if word else None
            if word != mended:
                choice["finish_reason"] = mended
                changed = True
        return changed or (chunk.get("usage") is not None and _mend_usage(chunk))

    def _finish(self, frames: list[bytes], events: list[Event], *, done: bool) -> Relayed:
        self._ended = True
        closing = self._reader.close(done=done)
        events.extend(closing)
        if not self._rules.conformant:
            frames.extend(
                self._frame(
                    [
                        {
                            "text": "",
                            "index": event.choice,
                            "logprobs": None,
                            "finish_reason": outward_reason(event.reason),
                        }
                    ]
                )
                for event in closing
                if isinstance(event, Finish) and event.choice not in self._finished
            )
        return Relayed(b"".join(frames), events)

    def _frame(self, choices: list[dict[str, Any]], **fields: Any) -> bytes:
        chunk: dict[str, Any] = {}
        _mend_head(chunk, self._to, self._first)
        return frame(dumps({**chunk, "choices": choices, **fields}))
