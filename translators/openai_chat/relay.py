"""The verbatim way: a chat completion client in front of a chat completion server.

The request leaves as the client's bytes with the few fields changed that must be. The answer's bytes go back as
they came; what the official SDK could not read is mended by adding and correcting, never by taking away.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

from translators.codec import REMOVED, JsonError, dumps, loads_object, splice
from translators.counts import count_of
from translators.dialect import Relayed, RelayedRequest, Rules
from translators.errors import BadAnswer
from translators.fields import PROXY_FIELDS
from translators.losses import GIVEN_TWICE, Loss, distinct
from translators.made_ids import CallIds, new_call_id
from translators.neutral import Event, Failure, Finish, Request, Response, ToolCall, Usage
from translators.openai_chat.chunks import DONE
from translators.openai_chat.echoes import fitted_messages
from translators.openai_chat.error import error_envelope
from translators.openai_chat.outgoing import write_reasoning
from translators.openai_chat.parts import (
    DIALECT,
    MAX_CHOICES,
    choice_index,
    details_text,
    named_reasoning,
    objects_in,
    reasoning_text,
    spoken_parts,
)
from translators.openai_chat.quirks import fitted
from translators.openai_chat.response import (
    FINISH_REASONS,
    OUTWARD_REASONS,
    mend_tier,
    outward_reason,
    parse_response,
)
from translators.openai_chat.stream import ChunkReader, chunk_of, more_of_name
from translators.openai_chat.think_tags import ThinkSplitter, split_thinking, thinking_apart
from translators.openai_chat.usage import parse_usage, render_usage
from translators.sse import SseDecoder, SseError, SseEvent, comment, frame

# --- requests ------------------------------------------------------------------------------------

_TOKEN_FIELDS: Final = ("max_completion_tokens", "max_tokens")
_REASONING_FIELDS: Final = ("reasoning_effort", "thinking.budget_tokens", "include_reasoning")
_USAGE_COUNTS: Final = ("prompt_tokens", "completion_tokens", "total_tokens")
_USAGE_DETAILS: Final = ("prompt_tokens_details", "completion_tokens_details")


def relay_request(raw: bytes, body: Mapping[str, Any], request: Request, rules: Rules, model: str) -> RelayedRequest:
    """*raw* (parsed: *body* and *request*) for the server, with *model* as the model's name there."""
    changes: dict[str, Any] = {}
    if body.get("model") != model:
        changes["model"] = model
    for name in PROXY_FIELDS:
        if name in body:
            changes[name] = REMOVED
    losses = _relay_stream_options(body, request, rules, changes)
    losses += _relay_quirks(body, request, rules, changes)
    for name in sorted(rules.refuses & body.keys() - {"model", "messages"}):
        if name not in changes and body[name] is not None:
            changes[name] = REMOVED
            losses.append(Loss(name, "dropped", "the target refuses it"))
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
    return RelayedRequest(splice(raw, changes, body) if changes else raw, distinct(losses))


def changed_messages(
    messages: Sequence[Mapping[str, Any]], rules: Rules
) -> tuple[list[Mapping[str, Any]] | None, list[Loss]]:
    """*messages* as the server takes them, None when they may stay as they are; and what that cost."""
    changed, losses = fitted_messages(messages, rules)
    if not rules.developer_role and any(message.get("role") == "developer" for message in messages):
        changed = [
            {**message, "role": "system"} if message.get("role") == "developer" else message
            for message in changed or messages
        ]
    return changed, losses


def _relay_stream_options(
    body: Mapping[str, Any], request: Request, rules: Rules, changes: dict[str, Any]
) -> list[Loss]:
    """Usage is always asked for: the ledger needs it. Where the server refuses, the proxy estimates it."""
    options = body.get("stream_options")
    if not request.stream or not rules.stream_options:
        if "stream_options" in body:
            changes["stream_options"] = REMOVED
        why = "the target refuses it" if request.stream else "the answer is no stream"
        unknown = request.native.get(DIALECT, {}).get("stream_options", {})
        return [Loss(f"stream_options.{name}", "dropped", why) for name in unknown]
    if not request.include_usage:
        changes["stream_options"] = {**(options if isinstance(options, dict) else {}), "include_usage": True}
    return []


def _relay_quirks(body: Mapping[str, Any], request: Request, rules: Rules, changes: dict[str, Any]) -> list[Loss]:
    """The changes that the target's limits make to top-level fields."""
    # What is refused by its own name may still be taken by another: `user` refused leaves `safety_identifier`.
    places = {name: word for name, word in request.places.items() if word in _TOKEN_FIELDS}
    changed, losses = fitted(request if places == request.places else replace(request, places=places), rules)
    if "reasoning_effort" not in body:
        # `thinking` and `reasoning` objects are the server's own words: whoever wrote them knows what it takes.
        losses = [loss for loss in losses if loss.field not in _REASONING_FIELDS]
    elif rules.thinking in ("budget", "adaptive") or changed.reasoning != request.reasoning:
        written: dict[str, Any] = {}
        write_reasoning(written, changed, rules)
        changes.update({"reasoning_effort": REMOVED, **written})
    for loss in losses:
        if loss.action == "dropped" and loss.field in body:
            changes[loss.field] = REMOVED
    for name in ("temperature", "top_p", "tool_choice"):
        value = getattr(changed, name)
        if value != getattr(request, name):
            # `tool_choice` is only ever changed to a word.
            changes[name] = REMOVED if value is None else getattr(value, "kind", value)
    if changed.max_output_tokens != request.max_output_tokens:
        value = REMOVED if changed.max_output_tokens is None else changed.max_output_tokens
        changes.update((name, value) for name in _TOKEN_FIELDS if name in body)
    _relay_token_field(body, rules, changes)
    if "max_tokens" in request.native.get(DIALECT, {}):
        losses.append(Loss("max_tokens", "dropped", GIVEN_TWICE))
    return losses


def _relay_token_field(body: Mapping[str, Any], rules: Rules, changes: dict[str, Any]) -> None:
    wanted = rules.max_tokens_field
    if wanted is None:
        if all(body.get(name) is not None for name in _TOKEN_FIELDS):
            changes["max_tokens"] = REMOVED
        return
    other = next(name for name in _TOKEN_FIELDS if name != wanted)
    value = changes.get(other, body.get(other))
    if value is None or value is REMOVED:
        return
    # Where both are given the newer counts; a server that knows only the older must get that value.
    if body.get(wanted) is None or other == "max_completion_tokens":
        changes[wanted] = value
    changes[other] = REMOVED


# --- whole answers -------------------------------------------------------------------------------


def relay_response(
    raw: bytes,
    rules: Rules,
    body: dict[str, Any] | None = None,
    *,
    fallback_id: str = "chatcmpl-0",
    fallback_model: str = "",
    created: int = 0,
    new_id: Callable[[], str] = new_call_id,
) -> tuple[bytes, Response]:
    """*raw*, mended where it has to be, and what it says. The keyword arguments fill in what the server left out.

    *body* is *raw* parsed, if it was parsed already; it is mended in place.

    Raises:
        BadAnswer: *raw* is not JSON, has no choices, or one without a message.
    """
    try:
        body = loads_object(raw) if body is None else body
    except JsonError as error:
        raise BadAnswer(f"the answer is {error}") from error
    response = parse_response(body, new_id)
    if rules.think_tags:
        response = thinking_apart(response)
    if rules.conformant and not rules.think_tags:
        return raw, response
    head = {
        "id": response.id or fallback_id,
        "object": "chat.completion",
        "created": response.created or created,
        "model": response.model or fallback_model,
    }
    return (dumps(body) if _mend_response(body, head, response, rules.think_tags) else raw), response


def _mend_response(body: dict[str, Any], head: Mapping[str, Any], response: Response, think_tags: bool) -> bool:
    """Make *body* readable for the official SDK, in place; whether anything had to be changed."""
    changed = mend_tier(body)
    for name, value in head.items():
        if body.get(name) != value:
            body[name] = value
            changed = True
    for choice, parsed in zip(body["choices"], response.choices, strict=True):
        if choice.get("index") != parsed.index or type(choice["index"]) is not int:
            choice["index"] = parsed.index
            changed = True
        word = choice.get("finish_reason")
        reason = parsed.finish_reason or "stop"
        if word not in ("function_call", reason):
            choice["finish_reason"] = reason
            changed = True
        if not isinstance(choice.get("message"), dict):
            choice["message"] = {"role": "assistant", "content": choice.get("text") or ""}
            changed = True
        ids = [part.id for part in parsed.parts if isinstance(part, ToolCall)]
        changed |= _mend_message(choice["message"], ids, think_tags)
        changed |= _mend_logprobs(choice)
    return changed | mend_usage(body, response.usage)


def _mend_message(message: dict[str, Any], call_ids: Sequence[str], think_tags: bool) -> bool:
    changed = False
    if message.get("role") != "assistant":
        message["role"] = "assistant"
        changed = True
    changed |= _mend_content(message)
    content = message.get("content")
    if think_tags and isinstance(content, str):
        thought, text = split_thinking(content)
        if thought:
            message["content"], message["reasoning_content"] = text, thought
            changed = True
    if not isinstance(message.get("reasoning_content"), str) and (text := reasoning_text(message)):
        message["reasoning_content"] = text
        changed = True
    silent = any(message.get(name) for name in ("tool_calls", "function_call", "refusal", "audio"))
    if "content" not in message or (message["content"] is None and not silent):
        message["content"] = None if silent else ""
        changed = True
    for call, call_id in zip(objects_in(message.get("tool_calls")), call_ids, strict=False):
        changed |= _mend_call(call, call_id)
    return changed


def _mend_content(message: dict[str, Any]) -> bool:
    """Mistral's list of parts as a string, its reasoning beside it."""
    content = message.get("content")
    if not isinstance(content, list):
        return False
    spoken = spoken_parts(content)
    message["content"] = "".join(text for is_reasoning, text in spoken if not is_reasoning)
    if thought := "".join(text for is_reasoning, text in spoken if is_reasoning):
        message["reasoning_content"] = thought
    return True


def _mend_call(call: dict[str, Any], fallback_id: str) -> bool:
    """A whole tool call."""
    changed = False
    kind = "custom" if isinstance(call.get("custom"), dict) else "function"
    for name, value in (("id", fallback_id), ("type", kind)):
        if not call.get(name) or not isinstance(call[name], str):
            call[name] = value
            changed = True
    function = call.get("function")
    if kind == "function" and isinstance(function, dict):
        arguments = function.get("arguments")
        if not isinstance(arguments, str) or not arguments:
            function["arguments"] = dumps(arguments).decode() if isinstance(arguments, dict) else "{}"
            changed = True
    return changed


def _mend_logprobs(choice: dict[str, Any]) -> bool:
    """Entries without `top_logprobs` (vLLM, DeepSeek), which the SDK's type requires."""
    logprobs = choice.get("logprobs")
    changed = False
    if not isinstance(logprobs, dict):
        return False
    for name in ("content", "refusal"):
        for entry in objects_in(logprobs.get(name)):
            if not isinstance(entry.get("top_logprobs"), list):
                entry["top_logprobs"] = []
                changed = True
    return changed


def mend_usage(body: dict[str, Any], read: Usage | None = None) -> bool:
    """The three counts that the SDK's type requires, and details that are counts, in place; whether they were not so.

    *read*: what was read of them. The server's own object stays as it is for the ledger. What tells no counts at all
    moves out of the way.
    """
    usage = body.get("usage")
    if usage is None:
        return False
    parsed = read or parse_usage(usage) if isinstance(usage, dict) and usage else None
    if parsed is None:
        body["usage"] = None
        if usage:
            body["vendor_usage"] = usage
        return True
    mended: dict[str, Any] = {
        name: details for name in _USAGE_DETAILS if (details := _mended_details(usage.get(name))) != usage.get(name)
    }
    if any(type(usage.get(name)) is not int or count_of(usage[name]) is None for name in _USAGE_COUNTS):
        counted = render_usage(parsed)
        mended |= {name: counted[name] for name in _USAGE_COUNTS}
    if mended:
        body["usage"] = usage | mended
    return bool(mended)


def _mended_details(details: Any) -> dict[str, Any] | None:
    if not isinstance(details, dict):
        return None
    return {
        name: 0 if name.endswith("_tokens") and value is not None and count_of(value) is None else value
        for name, value in details.items()
    }


# --- streams -------------------------------------------------------------------------------------


class StreamRelay:
    """Passes a server's stream on and reads along; see `translators.dialect.StreamRelay`."""

    def __init__(
        self,
        rules: Rules,
        *,
        include_usage: bool,
        fallback_id: str,
        fallback_model: str,
        created: int,
        new_id: Callable[[], str] = new_call_id,
    ) -> None:
        self._conformant = rules.conformant and not rules.think_tags
        self._include_usage = include_usage
        self._decoder = SseDecoder()
        call_ids = CallIds(new_id)
        self._reader = ChunkReader(rules.think_tags, call_ids)
        self._mender = _ChunkMender(rules.think_tags, fallback_id, fallback_model, created, call_ids)
        self._usage_told = False
        self._waiting: list[dict[str, Any]] = []
        """Chunks from before the answer's id was known."""
        self._ended = False

    def feed(self, piece: bytes) -> Relayed:
        """What *piece* completes."""
        if self._ended:
            return Relayed(b"", [])
        try:
            decoded = self._decoder.feed(piece)
        except SseError as error:
            return self._failed(error.failure, [], [])
        return self._relay(decoded)

    def end(self) -> Relayed:
        """The server's stream is over; a Failure when it was cut."""
        if self._ended:
            return Relayed(b"", [])
        relayed = self._relay(self._decoder.close())
        if self._ended:
            return relayed
        return self._finish([relayed.frames], [*relayed.events], done=False)

    def fail(self, failure: Failure) -> bytes:
        """The error as a frame; no terminator follows it."""
        return frame(dumps(error_envelope(failure)))

    def close(self, receipt: bytes | None = None, usage: Usage | None = None) -> bytes:
        """*receipt* as a comment, then `[DONE]`; before them *usage* if it was asked for and the server gave none."""
        frames = b"" if receipt is None else comment(b"modelport " + receipt)
        if usage is not None and self._include_usage and self._reader.usage is None:
            frames = self._mender.usage_frame(usage) + frames
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
                return self._failed(chunk, frames, events)
            events.extend(self._reader.read(chunk))
            frames.append(self._chunk(event, chunk))
        return Relayed(b"".join(frames), events)

    def _chunk(self, event: SseEvent, chunk: dict[str, Any]) -> bytes:
        # The usage chunk was asked for by the proxy; a client that did not ask must not see it.
        if not chunk.get("choices") and not self._include_usage and chunk.get("usage"):
            return b""
        if chunk.get("usage"):
            self._usage_told = True
        if self._conformant:
            self._mender.notice(chunk)
        else:
            if self._mender.lacks_head(chunk):
                self._waiting.append(chunk)
                return b""
            before = self._mender.skipped(chunk)
            changed = self._mender.mend(chunk)
            before = self._waited() + before
            if changed:
                return before + frame(dumps(chunk))
            if before:
                return before + frame(event.data)
        return event.raw if event.raw.endswith((b"\n\n", b"\r\n\r\n", b"\r\r")) else frame(event.data)

    def _waited(self) -> bytes:
        """The frames of the chunks that waited for the answer's id."""
        if not self._waiting:
            return b""
        waiting, self._waiting = self._waiting, []
        for chunk in waiting:
            self._mender.mend(chunk)
        return b"".join(frame(dumps(chunk)) for chunk in waiting)

    def _finish(self, frames: list[bytes], events: list[Event], *, done: bool) -> Relayed:
        self._ended = True
        frames.append(self._waited())
        closing = self._reader.close(done=done)
        events.extend(closing)
        if not self._conformant:
            frames.extend(self._mender.rest(closing))
            # Groq's usage beside the standard's place (`x_groq`), which the official SDK does not look at.
            if self._include_usage and not self._usage_told and (usage := self._reader.usage) is not None:
                frames.append(self._mender.usage_frame(usage))
        return Relayed(b"".join(frames), events)

    def _failed(self, failure: Failure, frames: list[bytes], events: list[Event]) -> Relayed:
        self._ended = self._reader.failed = True
        return Relayed(b"".join(frames), [*events, failure])


class _ChunkMender:
    """Makes chunks readable for the official SDK and remembers, per choice, what went before."""

    def __init__(
        self, think_tags: bool, fallback_id: str, fallback_model: str, created: int, call_ids: CallIds
    ) -> None:
        self._think_tags = think_tags
        self._call_ids = call_ids
        self._fallback: dict[str, Any] = {"id": fallback_id, "created": created, "model": fallback_model}
        self._first: dict[str, Any] = {}
        self._spoken: set[int] = set()
        self._finished: set[int] = set()
        self._named: set[int] = set()
        """Choices whose reasoning has a field of its own, so that `reasoning_details` only repeats it."""
        self._calls: dict[int, _Calls] = {}
        self._splitters: dict[int, ThinkSplitter] = {}

    def mend(self, chunk: dict[str, Any]) -> bool:
        """Mend *chunk* in place; whether it had to be changed."""
        choices = chunk.get("choices")
        changed = self._mend_head(chunk)
        if chunk.get("service_tier") is not None and mend_tier(chunk):
            changed = True
        if not isinstance(choices, list):
            chunk["choices"] = choices = []
            changed = True
        for position, choice in enumerate(choices):
            if isinstance(choice, dict) and self._mend_choice(choice, position):
                changed = True
        if chunk.get("usage") is not None and mend_usage(chunk):
            changed = True
        return changed

    def skipped(self, chunk: Mapping[str, Any]) -> bytes:
        """Roles for the choices below the first one that speaks: the SDK expects them in order."""
        if self._spoken or not isinstance(choices := chunk.get("choices"), list) or not choices:
            return b""
        first = choices[0].get("index") if isinstance(choices[0], dict) else 0
        if type(first) is not int or not 0 < first < MAX_CHOICES:
            return b""
        self._mend_head(dict(chunk))
        self._spoken.update(range(first))
        return b"".join(self._frame(number, {"role": "assistant", "content": ""}) for number in range(first))

    def rest(self, closing: Sequence[Event]) -> list[bytes]:
        """Frames for text that was held back as the beginning of a tag, and for finishes that the server forgot."""
        frames = [
            self._frame(number, {"reasoning_content" if inside else "content": text})
            for number, splitter in self._splitters.items()
            for inside, text in splitter.close()
        ]
        frames.extend(
            self._frame(event.choice, {}, outward_reason(event.reason, legacy_functions=False))
            for event in closing
            if isinstance(event, Finish) and event.choice not in self._finished
        )
        return frames

    def usage_frame(self, usage: Usage) -> bytes:
        """The chunk without choices that ends a stream with usage."""
        head = {**self._fallback, **self._first, "object": "chat.completion.chunk"}
        return frame(dumps({**head, "choices": [], "usage": render_usage(usage)}))

    def _frame(self, number: int, delta: Mapping[str, Any], finish_reason: str | None = None) -> bytes:
        head = {**self._fallback, **self._first, "object": "chat.completion.chunk"}
        choice = {"index": number, "delta": delta, "finish_reason": finish_reason}
        return frame(dumps({**head, "choices": [choice]}))

    def notice(self, chunk: Mapping[str, Any]) -> None:
        """Take the answer's id, time and model from its first chunk with choices."""
        if not self._first and chunk.get("choices"):
            self._first = {name: chunk.get(name) or fallback for name, fallback in self._fallback.items()}

    def lacks_head(self, chunk: Mapping[str, Any]) -> bool:
        """Whether *chunk* comes before the answer's id: Azure and Copilot open with an empty one."""
        return not self._first and not chunk.get("choices") and not chunk.get("id")

    def _mend_head(self, chunk: dict[str, Any]) -> bool:
        if not self._first:
            self.notice(chunk)
        first = self._first or self._fallback
        changed = False
        for name in ("id", "model"):
            if chunk.get(name) != first[name] and (self._first or not chunk.get(name)):
                chunk[name] = first[name]
                changed = True
        if type(chunk.get("created")) is not int or (self._first and chunk["created"] != first["created"]):
            chunk["created"] = first["created"]
            changed = True
        if chunk.get("object") != "chat.completion.chunk":
            chunk["object"] = "chat.completion.chunk"
            changed = True
        return changed

    def _mend_choice(self, choice: dict[str, Any], position: int) -> bool:
        changed = False
        number = choice_index(choice.get("index"), position)
        if choice.get("index") != number or type(choice["index"]) is not int:
            choice["index"] = number
            changed = True
        delta = choice.get("delta")
        if not isinstance(delta, dict):
            message = choice.get("message")
            if isinstance(message, dict) and number not in self._spoken:
                delta = dict(message)
            else:
                delta = {"content": text} if isinstance(text := choice.get("text"), str) else {}
            choice["delta"] = delta
            changed = True
        if number not in self._spoken:
            self._spoken.add(number)
            if delta.get("role") != "assistant":
                delta["role"] = "assistant"
                changed = True
        elif delta.get("role"):
            # Told again (OpenRouter, on every delta) it would be doubled: the SDK joins texts.
            del delta["role"]
            changed = True
        if len(delta) > 1 or "content" not in delta or self._think_tags or isinstance(delta["content"], list):
            changed |= self._mend_delta(delta, number)
        word = choice.get("finish_reason")
        if word is not None:
            changed |= self._mend_finish(choice, word, number)
        if choice.get("logprobs") and _mend_logprobs(choice):
            changed = True
        return changed

    def _mend_delta(self, delta: dict[str, Any], number: int) -> bool:
        changed = _mend_content(delta)
        if self._think_tags and isinstance(content := delta.get("content"), str):
            pieces = self._splitters.setdefault(number, ThinkSplitter()).feed(content)
            text = "".join(piece for inside, piece in pieces if not inside)
            thought = "".join(piece for inside, piece in pieces if inside)
            if text != content:
                delta["content"] = text
                if thought:
                    delta["reasoning_content"] = thought
                changed = True
        if named := named_reasoning(delta):
            self._named.add(number)
        text = named or ("" if number in self._named else details_text(delta.get("reasoning_details")))
        if text and delta.get("reasoning_content") != text:
            delta["reasoning_content"] = text
            changed = True
        calls = delta.get("tool_calls")
        if isinstance(calls, list) and calls:
            state = self._calls.setdefault(number, _Calls(number, self._call_ids))
            for call in calls:
                if isinstance(call, dict) and state.mend(call):
                    changed = True
        return changed

    def _mend_finish(self, choice: dict[str, Any], word: Any, number: int) -> bool:
        if not word:
            choice["finish_reason"] = None
            return True
        if number in self._finished:
            # Told again on the usage chunk (OpenRouter): the first one counts.
            choice["finish_reason"] = None
            return True
        self._finished.add(number)
        state = self._calls.get(number)
        delta = choice["delta"]
        changed = False
        if state is not None:
            for ordinal in state.unfilled():
                calls = delta.get("tool_calls")
                calls = delta["tool_calls"] = calls if isinstance(calls, list) else []
                calls.append({"index": ordinal, "function": {"arguments": "{}"}})
                changed = True
        if isinstance(word, str) and word in OUTWARD_REASONS and (word != "stop" or state is None):
            return changed
        reason = FINISH_REASONS.get(word.lower(), "stop") if isinstance(word, str) else "stop"
        choice["finish_reason"] = "tool_calls" if state is not None and reason == "stop" else reason
        return True


class _Calls:
    """The tool calls of one choice so far: each wire index with the ordinal that the client sees."""

    def __init__(self, number: int, made: CallIds) -> None:
        self._number = number
        self._made = made
        self._ids: list[str] = []
        self._names: list[str] = []
        self._ordinals: dict[int, int] = {}
        self._filled: set[int] = set()
        self._custom: set[int] = set()

    def unfilled(self) -> list[int]:
        """Ordinals of calls that ended without any arguments; each is told once."""
        empty = [at for at in range(len(self._ids)) if at not in self._filled and at not in self._custom]
        self._filled.update(empty)
        return empty

    def mend(self, call: dict[str, Any]) -> bool:
        """One fragment; whether it had to be changed."""
        changed = False
        inner = call.get("function")
        if isinstance(call.get("custom"), dict):
            inner = call["custom"]
        inner = inner if isinstance(inner, dict) else {}
        call_id, name = call.get("id"), inner.get("name")
        wire_index = call.get("index")
        if type(wire_index) is not int:
            wire_index = len(self._ids) if call_id or not self._ids else len(self._ids) - 1
        ordinal = self._ordinals.get(wire_index)
        if ordinal is None or (call_id and name and call_id != self._ids[ordinal]):
            ordinal = self._ordinals[wire_index] = len(self._ids)
            self._ids.append(call_id or self._made.of(self._number, ordinal))
            self._names.append(name if isinstance(name, str) else "")
            changed |= self._mend_first(call, ordinal)
        else:
            changed |= self._mend_later(call, inner, ordinal)
        if call.get("index") != ordinal:
            call["index"] = ordinal
            changed = True
        arguments = inner.get("arguments")
        if isinstance(arguments, dict):
            inner["arguments"] = arguments = dumps(arguments).decode()
            changed = True
        if arguments or inner.get("input"):
            self._filled.add(ordinal)
        return changed

    def _mend_first(self, call: dict[str, Any], ordinal: int) -> bool:
        changed = False
        if not call.get("id"):
            call["id"] = self._ids[ordinal]
            changed = True
        custom = isinstance(call.get("custom"), dict)
        if custom:
            self._custom.add(ordinal)
        if call.get("type") not in ("function", "custom"):
            call["type"] = "custom" if custom else "function"
            changed = True
        return changed

    def _mend_later(self, call: dict[str, Any], inner: dict[str, Any], ordinal: int) -> bool:
        """The SDK's accumulator joins texts, so an id or name that is told again would be doubled."""
        changed = False
        if call.get("id"):
            del call["id"]
            changed = True
        if name := inner.get("name"):
            known = self._names[ordinal]
            more = "" if ordinal in self._filled or not isinstance(name, str) else more_of_name(known, name)
            self._names[ordinal] = known + more
            if more != name:
                inner["name"] = more
                changed = True
            if not more:
                del inner["name"]
        return changed
