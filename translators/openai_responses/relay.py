"""The verbatim way: a Responses client in front of a Responses server.

The request leaves as the client's bytes with the few fields changed that must be. Answers go back as they came, events
of tomorrow included; a reader looks on. What earlier answers of other vendors have left in the input stays here: sealed
reasoning, of which the server knows nothing, and `extra_content`, which it refuses.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from translators.codec import REMOVED, JsonError, dumps, loads_object, splice
from translators.dialect import Relayed, RelayedRequest, ReplyTo, Rules
from translators.errors import BadAnswer
from translators.fields import PROXY_FIELDS
from translators.losses import Loss
from translators.neutral import Event, Failure, Request, Response, Usage
from translators.openai_chat.error import error_envelope
from translators.openai_chat.quirks import fitted
from translators.openai_responses.answer import head, response_error
from translators.openai_responses.error import error_in
from translators.openai_responses.includes import LOGPROBS, taken_includes
from translators.openai_responses.items import DIALECT
from translators.openai_responses.response import parse_response
from translators.openai_responses.stream import EventReader
from translators.sealed import unseal
from translators.sse import SseDecoder, SseError, SseEvent, comment, frame

# --- requests ------------------------------------------------------------------------------------

_PLACES: Final[Mapping[str, tuple[str, str]]] = {"output": ("text", "format"), "verbosity": ("text", "verbosity")}
"""Neutral fields that stand inside another on the wire."""
_PLAIN: Final = ("temperature", "top_p", "max_output_tokens", "top_logprobs", "parallel_tool_calls", "service_tier")


def relay_request(raw: bytes, body: Mapping[str, Any], request: Request, rules: Rules, model: str) -> RelayedRequest:
    """*raw* (parsed: *body* and *request*) for the server, with *model* as the model's name there."""
    changes: dict[str, Any] = {}
    for name in PROXY_FIELDS:
        if name in body:
            changes[name] = REMOVED
    if body.get("model") != model:
        changes["model"] = model
    losses = _relay_quirks(body, request, rules, changes)
    losses.extend(_relay_include(body, rules, changes))
    if rules.refuses:
        for name in sorted(rules.refuses & body.keys() - {"model", "input"}):
            if name not in changes and body[name] is not None:
                changes[name] = REMOVED
                losses.append(Loss(name, "dropped", "the target refuses it"))
    items, lost = fitted_items(body.get("input"), rules)
    losses.extend(lost)
    if items is not None:
        changes["input"] = items
    for name, other in rules.rename.items():
        value = changes.pop(name, body.get(name))
        if name in body and name != other:
            changes[name] = REMOVED
        if value is not None and value is not REMOVED:
            changes[other] = value
    changes.update((name, value) for name, value in rules.extra_body.items() if name not in body)
    return RelayedRequest(splice(raw, changes, body) if changes else raw, tuple(losses))


def _relay_quirks(body: Mapping[str, Any], request: Request, rules: Rules, changes: dict[str, Any]) -> list[Loss]:
    """The changes that the target's limits make to the client's fields, and what they cost."""
    changed, losses = fitted(request, rules)
    if changed is request:
        return losses
    for name in _PLAIN:
        if getattr(changed, name) != getattr(request, name) and name in body:
            value = getattr(changed, name)
            changes[name] = REMOVED if value is None else value
    if changed.tool_choice != request.tool_choice:
        # It is only ever changed to a word.
        changes["tool_choice"] = changed.tool_choice.kind if changed.tool_choice is not None else REMOVED
    for name, (outer, inner) in _PLACES.items():
        if getattr(changed, name) != getattr(request, name):
            value = changes.get(outer, body.get(outer))
            if isinstance(value, dict):
                changes[outer] = {key: item for key, item in value.items() if key != inner}
    if changed.reasoning != request.reasoning:
        changes["reasoning"] = _relayed_reasoning(body, request, changed)
        asked = request.reasoning
        silent = asked is None or asked.effort == "none"
        if changed.reasoning is None and not silent and not any(loss.field.startswith("reasoning") for loss in losses):
            losses.append(Loss("reasoning", "dropped", "the target does not think"))
    include = body.get("include")
    if request.logprobs and not changed.logprobs and isinstance(include, list) and LOGPROBS in include:
        changes["include"] = [name for name in include if name != LOGPROBS]
    return losses


def _relay_include(body: Mapping[str, Any], rules: Rules, changes: dict[str, Any]) -> list[Loss]:
    include = body.get("include")
    if not isinstance(include, list) or "include" in rules.refuses:
        return []
    _, losses = taken_includes(include, rules)
    if losses:
        changes["include"], _ = taken_includes(changes.get("include", include), rules)
    return losses


def _relayed_reasoning(body: Mapping[str, Any], request: Request, changed: Request) -> Any:
    asked = body.get("reasoning")
    if changed.reasoning is None or not isinstance(asked, dict):
        return REMOVED
    gone = {"effort"}
    if request.reasoning is not None and request.reasoning.visible and not changed.reasoning.visible:
        gone |= {"summary", "generate_summary"}
    rest = {name: value for name, value in asked.items() if name not in gone}
    # An effort that is not known here is the server's own word.
    effort = changed.reasoning.effort or changed.reasoning.native.get(DIALECT, {}).get("effort")
    return {**rest, "effort": effort} if effort is not None else rest or REMOVED


def fitted_items(value: Any, rules: Rules) -> tuple[list[Any] | None, list[Loss]]:
    """The input without what the server would refuse; None when nothing had to be changed."""
    if not isinstance(value, list):
        return None, []
    changed = False
    items: list[Any] = []
    losses: list[Loss] = []
    for position, item in enumerate(value):
        if not isinstance(item, dict):
            items.append(item)
            continue
        if item.get("type") == "reasoning" and _is_sealed(item):
            changed = True
            losses.append(Loss(f"input[{position}]", "dropped", "the reasoning of another vendor means nothing here"))
            continue
        fitted_item = _fitted_item(item, rules)
        changed |= fitted_item is not item
        items.append(fitted_item)
    return (items if changed else None), losses


def _is_sealed(item: Mapping[str, Any]) -> bool:
    """Whether a reasoning *item* holds another vendor's reasoning."""
    encrypted = item.get("encrypted_content")
    return isinstance(encrypted, str) and unseal(encrypted) is not None


def _fitted_item(item: dict[str, Any], rules: Rules) -> dict[str, Any]:
    changes: dict[str, Any] = {}
    if "extra_content" in item and "extra_content" not in rules.takes_back:
        changes["extra_content"] = REMOVED
    if item.get("role") == "developer" and not rules.developer_role:
        changes["role"] = "system"
    content = item.get("content")
    if isinstance(content, list) and "extra_content" not in rules.takes_back:
        bare = [_without_extra(part) for part in content]
        if any(one is not other for one, other in zip(bare, content, strict=True)):
            changes["content"] = bare
    if not changes:
        return item
    return {name: value for name, value in {**item, **changes}.items() if value is not REMOVED}


def _without_extra(part: Any) -> Any:
    if not isinstance(part, dict) or "extra_content" not in part:
        return part
    return {name: value for name, value in part.items() if name != "extra_content"}


# --- whole answers -------------------------------------------------------------------------------


def relay_response(raw: bytes, rules: Rules, to: ReplyTo, body: dict[str, Any] | None = None) -> tuple[bytes, Response]:
    """*raw* as it is, and what it says.

    Raises:
        BadAnswer: *raw* is not JSON, or not a Response object.
    """
    del rules, to  # nothing is mended, so nothing depends on them
    try:
        body = loads_object(raw) if body is None else body
    except JsonError as error:
        raise BadAnswer(f"the answer is {error}") from error
    return raw, parse_response(body)


# --- streams -------------------------------------------------------------------------------------

MAX_AFTER: Final = 16
"""Nothing means anything after the terminal event; servers add `[DONE]` or a comment."""
_ENDS: Final = (b"\n\n", b"\r\n\r\n", b"\r\r")
_ERROR_EVENTS: Final = frozenset({"error", "response.failed"})


class StreamRelay:
    """Passes a server's stream on and reads along; see `translators.dialect.StreamRelay`."""

    def __init__(self, rules: Rules, to: ReplyTo) -> None:
        del rules  # no rule changes how this dialect is read
        self._to = to
        self._decoder = SseDecoder()
        self._reader = EventReader()
        self._held: list[bytes] = []
        """The terminal event and what came after it, up to MAX_AFTER more events."""
        self._number = -1
        """The last `sequence_number` that the client has seen."""
        self._response: Mapping[str, Any] | None = None
        """The answer as the server began it."""

    def feed(self, piece: bytes) -> Relayed:
        """What *piece* completes."""
        if self._reader.failed:
            return Relayed(b"", ())
        try:
            decoded = self._decoder.feed(piece)
        except SseError as error:
            self._reader.done = self._reader.failed = True
            return Relayed(b"", [error.failure])
        return self._relay(decoded)

    def end(self) -> Relayed:
        """The server's stream is over; a Failure when it was cut."""
        if self._reader.failed:
            return Relayed(b"", ())
        relayed = self._relay(self._decoder.close())
        return Relayed(relayed.frames, [*relayed.events, *self._reader.close()])

    def fail(self, failure: Failure) -> bytes:
        """The error and the answer that it ended, numbered on from what the server sent."""
        error = error_envelope(failure)["error"]
        told = {"type": "error", "sequence_number": self._number + 1}
        response = dict(self._response) if self._response is not None else head("", "", 0, self._to)
        response |= {"status": "failed", "error": response_error(failure), "incomplete_details": None}
        failed = {"type": "response.failed", "sequence_number": self._number + 2, "response": response}
        return frame(dumps({**error, **told, "error": error}), "error") + frame(dumps(failed), "response.failed")

    def close(self, receipt: bytes | None = None, usage: Usage | None = None) -> bytes:
        """*receipt* as a comment, then the terminal event as the server wrote it.

        *usage* has no place of its own: an answer tells its tokens in its last event, or does not.
        """
        del usage
        return (b"" if receipt is None else comment(b"modelport " + receipt)) + b"".join(self._held)

    def _relay(self, decoded: Sequence[SseEvent]) -> Relayed:
        frames: list[bytes] = []
        events: list[Event] = []
        for event in decoded:
            if self._reader.failed:
                break
            if self._reader.done:
                if len(self._held) <= MAX_AFTER:
                    self._held.append(event.raw)
                continue
            if not event.data or event.data == b"[DONE]":
                if not event.data and (failure := self._bare(event.raw)) is not None:
                    events.append(failure)
                    break
                frames.append(event.raw)
                continue
            try:
                told = loads_object(event.data)
            except JsonError as error:
                return Relayed(b"".join(frames), [*events, *self._broken(f"a data line is {error}").events])
            events.extend(self._reader.read(told))
            self._notice(told)
            if self._reader.failed:
                break
            if self._reader.done:
                self._held = [event.raw if event.raw.endswith(_ENDS) else event.raw.rstrip(b"\r\n") + b"\n\n"]
            else:
                frames.append(event.raw)
        return Relayed(b"".join(frames), events)

    def _notice(self, told: Mapping[str, Any]) -> None:
        number = told.get("sequence_number")
        if type(number) is int and told.get("type") not in _ERROR_EVENTS:
            self._number = number
        response = told.get("response")
        if self._response is None and isinstance(response, dict) and told.get("type") not in _ERROR_EVENTS:
            self._response = response

    def _bare(self, raw: bytes) -> Failure | None:
        """The failure in bytes without a data line: an error as plain JSON, or an answer that is no stream."""
        if self._reader.started or not raw.lstrip().startswith(b"{"):
            return None
        self._reader.done = self._reader.failed = True
        try:
            failure = error_in(loads_object(raw))
        except JsonError:
            failure = None
        return failure or Failure("invalid_response", "the answer is not a stream of events", 502)

    def _broken(self, message: str) -> Relayed:
        self._reader.done = self._reader.failed = True
        return Relayed(b"", [Failure("invalid_response", message, 502)])
