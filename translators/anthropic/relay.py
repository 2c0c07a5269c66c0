"""The verbatim way: a client of the Messages API in front of a server of the Messages API.

The request leaves as the client's bytes with the few fields changed that must be: the model's name, what the target
refuses, and what the proxy itself wrote into earlier answers (sealed signatures), which no vendor can read. The
answer's bytes go back as they came; only for servers that do not define the dialect, what the official SDK could not
read is filled in.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from translators.anthropic.answer import message_head, render_usage, stop_fields
from translators.anthropic.error import error_envelope
from translators.anthropic.events import MESSAGE_STOP, StreamRenderer
from translators.anthropic.incoming_blocks import is_own_citation, sealed_in
from translators.anthropic.request import taken_while_thinking
from translators.anthropic.response import parse_response
from translators.anthropic.stream import StreamParser
from translators.arguments import object_of
from translators.codec import REMOVED, JsonError, dumps, loads_object, splice
from translators.counts import count_of
from translators.dialect import Relayed, RelayedRequest, ReplyTo, Rules
from translators.errors import BadAnswer
from translators.fields import PROXY_FIELDS
from translators.losses import Loss
from translators.neutral import Event, Failure, Finish, Request, Response, Usage, UsageReport
from translators.sealed import seal
from translators.sse import SseDecoder, SseError, SseEvent, comment, frame

# --- requests ------------------------------------------------------------------------------------

_WIRE_NAMES: Final[Mapping[str, str]] = {"stop": "stop_sequences", "reasoning": "thinking", "user": "metadata"}
"""Request fields that the wire calls otherwise."""
_KEPT: Final = frozenset({"model", "messages", "max_tokens", "system", "stream"})
"""Without these there is no request."""


def relay_request(raw: bytes, body: Mapping[str, Any], request: Request, rules: Rules, model: str) -> RelayedRequest:
    """*raw* (parsed: *body* and *request*) for the server, with *model* as the model's name there."""
    changes: dict[str, Any] = {name: REMOVED for name in PROXY_FIELDS if name in body}
    if body.get("model") != model:
        changes["model"] = model
    losses: list[Loss] = []
    for name, reason in _refused(body, request, rules).items():
        changes[name] = REMOVED
        losses.append(Loss(name, "dropped", reason))
    messages, lost = changed_messages(body["messages"], rules)
    losses.extend(lost)
    if messages is not None:
        changes["messages"] = messages
    for name, other in rules.rename.items():
        value = changes.pop(name, body.get(name))
        if name in body and name != other:
            changes[name] = REMOVED
        if value is not None and value is not REMOVED:
            changes[other] = value
    changes.update((name, value) for name, value in rules.extra_body.items() if name not in body)
    return RelayedRequest(splice(raw, changes, body) if changes else raw, tuple(losses))


def _refused(body: Mapping[str, Any], request: Request, rules: Rules) -> dict[str, str]:
    """The fields that the target answers with 400, each with the reason."""
    reasons = {_WIRE_NAMES.get(name, name): "the target refuses it" for name in sorted(rules.refuses)}
    if rules.refuses_while_thinking and _thinks(body, rules):
        for name in sorted(rules.refuses_while_thinking):
            if not taken_while_thinking(request, name):
                reasons.setdefault(_WIRE_NAMES.get(name, name), "the target refuses it while thinking")
    found = {name: reason for name, reason in reasons.items() if body.get(name) is not None and name not in _KEPT}
    if rules.one_of_temperature_top_p:
        both = all(body.get(name) is not None and name not in found for name in ("temperature", "top_p"))
        if both:
            found["top_p"] = "the target takes only one of temperature and top_p"
    return found


def _thinks(body: Mapping[str, Any], rules: Rules) -> bool:
    """Whether *body* asks for thinking, or for an effort of a model that takes nothing else to think."""
    thinking, config = body.get("thinking"), body.get("output_config")
    if isinstance(thinking, dict):
        return thinking.get("type") != "disabled"
    return rules.thinking == "effort" and isinstance(config, dict) and config.get("effort") is not None


def changed_messages(messages: Sequence[Any], rules: Rules) -> tuple[list[Any] | None, list[Loss]]:
    """*messages* without what the proxy wrote into earlier answers, None without any of it; and what that loses."""
    losses: list[Loss] = []
    kept: list[Any] = []
    changed = False
    for position, message in enumerate(messages):
        content = message.get("content")
        if message.get("role") != "assistant" or not isinstance(content, list) or not any(map(_may_be_own, content)):
            kept.append(message)
            continue
        place = f"messages[{position}].content"
        blocks = [
            fitted
            for index, block in enumerate(content)
            if (fitted := _fitted_block(block, f"{place}[{index}]", rules, losses)) is not None
        ]
        if all(new is old for new, old in zip(blocks, content, strict=False)) and len(blocks) == len(content):
            kept.append(message)
            continue
        changed = True
        if blocks:
            kept.append({**message, "content": blocks})
    return kept if changed else None, losses


def _may_be_own(block: Mapping[str, Any]) -> bool:
    return "signature" in block or "citations" in block


def _fitted_block(block: dict[str, Any], place: str, rules: Rules, losses: list[Loss]) -> dict[str, Any] | None:
    """*block* itself, or without signature or citations of the proxy's; None for thinking that another vendor signed.

    A server that signs nothing gets its thinking back as it gave it.
    """
    sealed = sealed_in(block)
    if sealed is not None and not sealed and not rules.conformant:
        return {name: value for name, value in block.items() if name != "signature"}
    if sealed is not None:
        losses.append(Loss(place, "dropped", "the target takes back only thinking that it has signed"))
        return None
    citations = block.get("citations")
    if not isinstance(citations, list) or not any(is_own_citation(citation) for citation in citations):
        return block
    losses.append(Loss(f"{place}.citations", "dropped", "the target takes back only citations that it has made"))
    rest = [citation for citation in citations if not is_own_citation(citation)]
    plain = {name: value for name, value in block.items() if name != "citations"}
    return {**plain, "citations": rest} if rest else plain


# --- whole answers -------------------------------------------------------------------------------


def relay_response(raw: bytes, rules: Rules, to: ReplyTo, body: dict[str, Any] | None = None) -> tuple[bytes, Response]:
    """*raw*, mended where it has to be, and what it says.

    Raises:
        BadAnswer: *raw* is not JSON or not a message.
    """
    try:
        body = loads_object(raw) if body is None else body
    except JsonError as error:
        raise BadAnswer(f"the answer is {error}") from error
    response = parse_response(body)
    if rules.conformant:
        return raw, response
    choice = response.choices[0]
    mended = _mended_head(body, to)
    if not isinstance(mended.get("stop_reason"), str):
        mended |= stop_fields(choice.finish_reason, choice.native, "", to, has_calls=False)
    if not _told_both(mended.get("usage")):
        mended["usage"] = render_usage(response.usage, to)
    content = [_mended_block(block) for block in body["content"]]
    if content != body["content"]:
        mended["content"] = content
    return (raw if mended == body else dumps(mended)), response


def _mended_head(message: Mapping[str, Any], to: ReplyTo) -> dict[str, Any]:
    """*message* with the fields before the content that the SDK's type requires."""
    head = message_head("", "", to)
    missing = {name: value for name, value in head.items() if not isinstance(message.get(name), str)}
    fixed = {name: head[name] for name in ("type", "role") if message.get(name) != head[name]}
    return {**message, **missing, **fixed}


def _told_both(usage: Any) -> bool:
    return isinstance(usage, dict) and all(
        type(usage.get(name)) is int and count_of(usage[name]) is not None for name in ("input_tokens", "output_tokens")
    )


def _mended_block(block: dict[str, Any]) -> dict[str, Any]:
    match block.get("type"):
        case "thinking" if not isinstance(block.get("signature"), str):
            return {**block, "signature": seal({})}
        case "tool_use" if not isinstance(block.get("input"), dict):
            return {**block, "input": _object(block.get("input"))}
        case _:
            return block


def _object(value: Any) -> dict[str, Any]:
    try:
        return object_of(value)[0] if isinstance(value, str) else {}
    except JsonError:
        return {}


# --- streams -------------------------------------------------------------------------------------


class StreamRelay:
    """Passes a server's stream on and reads along; see `translators.dialect.StreamRelay`."""

    def __init__(self, rules: Rules, to: ReplyTo) -> None:
        self._conformant = rules.conformant
        self._to = to
        self._decoder = SseDecoder()
        self._parser = StreamParser(rules)
        self._usage: Usage | None = None
        self._delta: dict[str, Any] | None = None
        """The message_delta of a server that left out the usage; it waits for the proxy's own count."""
        self._ending_told = False
        self._finish: Finish | None = None
        self._stop = MESSAGE_STOP
        self._unstreamed: StreamRenderer | None = None
        self._ended = False

    def feed(self, piece: bytes) -> Relayed:
        """What *piece* completes."""
        if self._ended:
            return Relayed(b"", [])
        try:
            decoded = self._decoder.feed(piece)
        except SseError as error:
            self._ended = True
            return Relayed(b"", [error.failure])
        return self._relay(decoded)

    def end(self) -> Relayed:
        """The server's stream is over; a Failure when it was cut."""
        if self._ended:
            return Relayed(b"", [])
        relayed = self._relay(self._decoder.close())
        if self._ended:
            return relayed
        self._ended = True
        closing = self._parser.close()
        self._note(closing)
        return Relayed(relayed.frames, [*relayed.events, *closing])

    def fail(self, failure: Failure) -> bytes:
        """The error as an event; nothing follows it."""
        return frame(dumps(error_envelope(failure)), "error")

    def close(self, receipt: bytes | None = None, usage: Usage | None = None) -> bytes:
        """*receipt* as a comment, then the server's `message_stop`; *usage* where the server gave none."""
        if self._unstreamed is not None:
            if usage is not None and self._usage is None:
                self._unstreamed.render([UsageReport(usage)])
            return self._unstreamed.close(receipt)
        if self._finish is not None and not self._conformant and not self._ending_told:
            delta = stop_fields(self._finish.reason, self._finish.native, "", self._to, has_calls=False)
            self._delta = {"type": "message_delta", "delta": delta}
        frames = self._held_delta(self._usage or usage)
        if receipt is not None:
            frames += comment(b"modelport " + receipt)
        return frames + self._stop

    def _relay(self, decoded: list[SseEvent]) -> Relayed:
        frames: list[bytes] = []
        events: list[Event] = []
        for event in decoded:
            found = self._parser.read([event])
            events.extend(found)
            self._note(found)
            if not event.data and found:
                frames.append(self._streamed(found))
            elif not self._parser.done:
                frames.append(self._passed(event))
            elif event.data and not (found and isinstance(found[-1], Failure)):
                self._stop = self._named(event)
            if self._parser.done:
                self._ended = True
                break
        return Relayed(b"".join(frames), events)

    def _note(self, events: Sequence[Event]) -> None:
        for event in events:
            match event:
                case UsageReport():
                    self._usage = event.usage
                case Finish():
                    self._finish = event

    def _streamed(self, events: Sequence[Event]) -> bytes:
        """A server that answers a whole message to a client that wants a stream."""
        if isinstance(events[-1], Failure):
            return b""
        self._unstreamed = StreamRenderer(self._to)
        return self._unstreamed.render(events)

    def _passed(self, event: SseEvent) -> bytes:
        if self._conformant or not event.data:
            return _whole_frame(event.raw)
        if event.data == b"[DONE]":
            return b""
        if b'"message_start"' in event.data or b'"message_delta"' in event.data:
            fields = loads_object(event.data)
            if fields.get("type") == "message_start":
                mended = {**fields, "message": self._mended_start(fields["message"])}
                return self._named(event) if mended == fields else frame(dumps(mended), "message_start")
            if fields.get("type") == "message_delta":
                self._ending_told = True
                before = self._held_delta(None)
                if _is_whole_delta(fields):
                    return before + self._named(event)
                self._delta = fields
                return before
        elif b'"content_block_start"' in event.data:
            fields = loads_object(event.data)
            block = fields.get("content_block")
            if isinstance(block, dict) and (mended_block := _mended_block(block)) is not block:
                return frame(dumps({**fields, "content_block": mended_block}), "content_block_start")
        return self._named(event)

    def _mended_start(self, message: Mapping[str, Any]) -> dict[str, Any]:
        mended = _mended_head(message, self._to)
        if not isinstance(mended.get("content"), list):
            mended["content"] = []
        if not _told_both(mended.get("usage")):
            mended["usage"] = render_usage(self._usage, self._to)
        return mended

    def _held_delta(self, usage: Usage | None) -> bytes:
        """The message_delta that waited, with the counts that the SDK reads from it."""
        held, self._delta = self._delta, None
        if held is None:
            return b""
        if not isinstance(held.get("delta"), dict):
            held = {**held, "delta": {}}
        if not _tells_output(held.get("usage")):
            held = {**held, "usage": render_usage(usage or self._usage, self._to)}
        return frame(dumps(held), "message_delta")

    @staticmethod
    def _named(event: SseEvent) -> bytes:
        """*event* as it came, with the name that the SDK needs where it came without."""
        if event.event:
            return _whole_frame(event.raw)
        kind = loads_object(event.data).get("type")
        return frame(event.data, kind if isinstance(kind, str) else "")


def _is_whole_delta(event: Mapping[str, Any]) -> bool:
    """Whether a message_delta has all that the SDK reads from it."""
    return isinstance(event.get("delta"), dict) and _tells_output(event.get("usage"))


def _tells_output(usage: Any) -> bool:
    return isinstance(usage, dict) and count_of(usage.get("output_tokens")) is not None


def _whole_frame(raw: bytes) -> bytes:
    """*raw* with the blank line that ends an event, which the last one of a stream may lack."""
    if raw.endswith((b"\n\n", b"\r\n\r\n", b"\r\r")):
        return raw
    return raw.rstrip(b"\r\n") + b"\n\n"
