"""Whole answers as Response objects, and the pieces that streams share with them.

What the Responses API has no field for travels by these conventions, which clients may send back as they came:

| where | field | what |
|---|---|---|
| reasoning | `encrypted_content` | another vendor's signature, sealed (`translators.sealed`) |
| function call, output text | `extra_content` | another vendor's own fields, as in chat completions |
| answer | `extra_content.{dialect}` | the vendor's fields of the answer as a whole and of its end |
| answer | `extra_content.{dialect}.blocks` | blocks that only that dialect understands: they are no output items |
| answer | `extra_content.modelport.finish_reason` | `pause`: the vendor wants the turn sent again |

Neighbouring texts and refusals are the content of one message item, unless their vendor gave them different ids.
Only the first choice of an answer has a place. A sound is told by its transcript.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, Literal

from translators.dialect import ReplyTo
from translators.neutral import (
    Audio,
    Choice,
    Document,
    Failure,
    FinishReason,
    Image,
    Native,
    Opaque,
    Part,
    Refusal,
    Response,
    Text,
    Thinking,
    TokenLogprob,
    ToolCall,
    ToolResult,
)
from translators.openai_chat.error import error_envelope
from translators.openai_chat.parts import extra_content
from translators.openai_responses.items import DIALECT
from translators.openai_responses.namespaces import home, sent_home
from translators.openai_responses.usage import render_usage
from translators.sealed import seal

ItemStatus = Literal["in_progress", "completed", "incomplete"]
Logprobs = Sequence[TokenLogprob]

_ECHOED: Final[Mapping[str, Any]] = {
    "background": False,
    "conversation": None,
    "instructions": None,
    "max_output_tokens": None,
    "max_tool_calls": None,
    "parallel_tool_calls": True,
    "previous_response_id": None,
    "prompt_cache_key": None,
    "safety_identifier": None,
    "service_tier": None,
    "store": True,
    "temperature": None,
    "tool_choice": "auto",
    "tools": [],
    "top_logprobs": 0,
    "top_p": None,
    "truncation": "disabled",
    "user": None,
}
"""Fields of the request that an answer repeats, with what they are when the client did not say them."""
_HEAD: Final[Mapping[str, Any]] = {
    "id": "",
    "object": "response",
    "created_at": 0,
    "status": "in_progress",
    "completed_at": None,
    "error": None,
    "incomplete_details": None,
    "model": "",
    "output": [],
    "usage": None,
    **_ECHOED,
    "metadata": {},
    "reasoning": {"effort": None, "summary": None},
    "text": {"format": {"type": "text"}},
}
"""A Response object that has just begun. What it holds is replaced, never changed."""

_COMPLETED: Final = frozenset({"metadata", "reasoning", "text"})
"""Objects of the request that an answer repeats together with what the client did not say in them."""

_INCOMPLETE: Final[Mapping[FinishReason | None, str]] = {
    "length": "max_output_tokens",
    "content_filter": "content_filter",
}

_STRUCTURE: Final = frozenset(
    {"id", "object", "created_at", "model", "status", "output", "usage", "error", "incomplete_details", "output_text"}
)
"""Fields that follow from the answer itself, whatever its vendor wrote into them."""

_TIERS: Final = frozenset({"auto", "default", "flex", "scale", "priority", "fast", "ultrafast"})
_SHARED_WITH_CHAT: Final = frozenset({"moderation", "service_tier"})
"""Fields of the answer that chat completions have under the same name."""
_IMAGE_FORMATS: Final = frozenset({"png", "webp", "jpeg", "gif"})
_FIXED: Final = frozenset({"id", "status", "type"})


def render_response(response: Response, to: ReplyTo) -> dict[str, Any]:
    """*response* as a Response object."""
    choice = response.choices[0] if response.choices else Choice((), None)
    output = output_items(choice, to, failed=response.failure is not None)
    body = head(response.id, response.model, response.created, to)
    return finished(body, output, choice, response, to)


def head(vendor_id: str, model: str, created: int, to: ReplyTo) -> dict[str, Any]:
    """A Response object that has just begun."""
    body = dict(_HEAD)
    body["id"] = vendor_id if vendor_id.startswith("resp_") else f"resp_{to.id}"
    body["created_at"] = created or to.created
    body["model"] = model or to.request.model
    for name, value in to.body.items():
        if name in _ECHOED and value is not None:
            body[name] = value
        elif name in _COMPLETED and value and isinstance(value, dict):
            body[name] = {**_HEAD[name], **value}
    if isinstance(body["conversation"], str):
        body["conversation"] = {"id": body["conversation"]}
    return body


def finished(
    body: dict[str, Any], output: list[dict[str, Any]], choice: Choice, whole: Response, to: ReplyTo
) -> dict[str, Any]:
    """*body*, a `head`, with all that is known at the end. Of *whole* its choices do not count: *choice* does."""
    native = whole.native
    shared: Mapping[str, Any] = {}
    if native:
        body.update((name, value) for name, value in native.get(DIALECT, {}).items() if name not in _STRUCTURE)
        shared = {**native.get("openai_chat", {}), **native.get(DIALECT, {})}
    body["service_tier"] = _tier(shared.get("service_tier")) or _tier(to.body.get("service_tier"))
    if "moderation" in shared:
        body["moderation"] = shared["moderation"]
    body["status"], body["incomplete_details"] = ending(choice, whole.failure)
    body["output"] = output
    if whole.failure is not None:
        body["error"] = response_error(whole.failure)
    if whole.usage is not None:
        body["usage"] = render_usage(whole.usage)
    if extra := _answer_extra(native, choice):
        body["extra_content"] = extra
    return body


def ending(choice: Choice, failure: Failure | None = None) -> tuple[str, dict[str, Any] | None]:
    """(status, incomplete_details)."""
    own = choice.native.get(DIALECT, {})
    details = own.get("incomplete_details")
    if failure is not None:
        return "failed", None
    reason = _INCOMPLETE.get(choice.finish_reason)
    if reason is not None:
        return "incomplete", details or {"reason": reason}
    return ("incomplete", details) if own.get("status") == "incomplete" else ("completed", None)


def response_error(failure: Failure) -> dict[str, Any]:
    """`response.error`. The code is the vendor's where it has one: Codex tells a full context by it."""
    error = error_envelope(failure)["error"]
    return {"code": error["code"] or "server_error", "message": error["message"]}


def extra_of(native: Native) -> dict[str, Any]:
    """The fields of other dialects as `extra_content`."""
    if not native:
        return {}
    extra = extra_content({dialect: fields for dialect, fields in native.items() if dialect != DIALECT})
    if chat := {name: value for name, value in native.get("openai_chat", {}).items() if name not in _SHARED_WITH_CHAT}:
        extra["openai_chat"] = chat
    return extra


def _answer_extra(native: Native, choice: Choice) -> dict[str, Any]:
    """`extra_content` of the answer: the vendor's own fields, and the blocks that are no output items."""
    extra = extra_of(native)
    if choice.native:
        for dialect, fields in extra_of(choice.native).items():
            extra[dialect] = {**extra.get(dialect, {}), **fields}
    for part in choice.parts:
        if isinstance(part, Opaque) and part.dialect != DIALECT:
            before = extra.get(part.dialect, {})
            extra[part.dialect] = {**before, "blocks": [*before.get("blocks", ()), part.value]}
    if choice.finish_reason == "pause":
        extra["modelport"] = {"finish_reason": "pause"}
    return extra


def _tier(value: Any) -> str | None:
    """A service tier that the API knows; another vendor's word for its own is none."""
    return value if isinstance(value, str) and value in _TIERS else None


# --- items ---------------------------------------------------------------------------------------


def visible(part: Part, names: Mapping[str, tuple[str, str]]) -> Part | None:
    """*part* as it has a place in the output; None when it has none. *names* are those of `namespaces.home`."""
    match part:
        case ToolCall():
            return sent_home(part, names)
        case Audio():
            return Text(part.transcript) if part.transcript else None
        case Opaque():
            return part if part.dialect == DIALECT else None
        case Document() | ToolResult():
            return None
        case _:
            return part


def joins(before: Part | None, part: Part) -> bool:
    """Whether *part* belongs to the message item that *before*, the part in front of it, stands in."""
    if not isinstance(before, Text | Refusal) or not isinstance(part, Text | Refusal):
        return False
    return bool(before.native.get(DIALECT, {}).get("id") == part.native.get(DIALECT, {}).get("id"))


def item_id(part: Part, position: int, to: ReplyTo) -> str:
    """The id of the output item at *position* that *part* begins: the vendor's, else one made of the answer's."""
    own = part.value.get("id") if isinstance(part, Opaque) else part.native.get(DIALECT, {}).get("id")
    if isinstance(own, str) and own:
        return own
    return f"{_prefix(part)}_{to.id}_{position}"


def _prefix(part: Part) -> str:
    match part:
        case Thinking():
            return "rs"
        case ToolCall():
            return "ctc" if part.kind == "custom" else "fc"
        case Image():
            return "ig"
        case Opaque():
            return "item"
        case _:
            return "msg"


def output_items(choice: Choice, to: ReplyTo, *, failed: bool = False) -> list[dict[str, Any]]:
    """The parts of *choice* as output items."""
    cut = failed or ending(choice)[0] == "incomplete"
    if len(choice.parts) == 1 and isinstance(text := choice.parts[0], Text):
        status: ItemStatus = "incomplete" if cut else "completed"
        return [render_item([text], [choice.logprobs or ()], item_id(text, 0, to), status)]
    groups: list[list[Part]] = []
    names = home(to.request)
    for part in choice.parts:
        shown = visible(part, names)
        if shown is None:
            continue
        if groups and joins(groups[-1][-1], shown):
            groups[-1].append(shown)
        else:
            groups.append([shown])
    texts: list[Part] = [part for group in groups for part in group if isinstance(part, Text | Refusal)]
    shares = iter(logprob_shares(texts, choice.logprobs or ()))
    items: list[dict[str, Any]] = []
    for position, group in enumerate(groups):
        last = position == len(groups) - 1
        own_shares = [next(shares) if isinstance(part, Text | Refusal) else () for part in group]
        status = "incomplete" if cut and last else "completed"
        items.append(render_item(group, own_shares, item_id(group[0], position, to), status))
    return items


def logprob_shares(texts: Sequence[Part], logprobs: Logprobs) -> list[Logprobs]:
    """The log probabilities of each text's own tokens, by their lengths; the last text has all that are left."""
    if not logprobs:
        return [()] * len(texts)
    shares: list[Logprobs] = []
    taken = 0
    for part in texts:
        first, missing = taken, len(part.text.encode()) if isinstance(part, Text | Refusal) else 0
        while taken < len(logprobs) and (missing > 0 or part is texts[-1]):
            raw = logprobs[taken].bytes
            missing -= len(raw) if raw is not None else len(logprobs[taken].token.encode())
            taken += 1
        shares.append(logprobs[first:taken])
    return shares


def render_item(
    parts: Sequence[Part], logprobs: Sequence[Logprobs], item_id: str, status: ItemStatus
) -> dict[str, Any]:
    """One output item: several *parts* (with *logprobs* for each) in a message, else one."""
    part = parts[0]
    match part:
        case Text() | Refusal():
            content = [content_part(part, share) for part, share in zip(parts, logprobs, strict=True)]
            return message_item(part, item_id, status, content)
        case Thinking():
            return _reasoning_item(part, item_id, status)
        case ToolCall():
            return call_item(part, item_id, status)
        case Image():
            return _image_item(part, item_id)
        case Opaque():
            return dict(part.value)
        case _:
            raise AssertionError(f"{type(part).__name__} has no item: `visible` lets none through")


def message_item(part: Part, item_id: str, status: ItemStatus, content: list[dict[str, Any]]) -> dict[str, Any]:
    """A `message` that *part* begins."""
    base = {"id": item_id, "type": "message", "status": status, "role": "assistant", "content": content}
    return base | _rest(part, base)


def content_part(part: Part, logprobs: Logprobs = ()) -> dict[str, Any]:
    """A part of a message's content."""
    if isinstance(part, Refusal):
        return {"type": "refusal", "refusal": part.text}
    text = part if isinstance(part, Text) else Text("")
    rendered: dict[str, Any] = {
        "type": "output_text",
        "annotations": [outward_annotation(annotation) for annotation in text.annotations] if text.annotations else [],
        "logprobs": render_logprobs(logprobs) if logprobs else [],
        "text": text.text,
    }
    if extra := extra_of(text.native):
        rendered["extra_content"] = extra
    return rendered


def _reasoning_item(part: Thinking, item_id: str, status: ItemStatus) -> dict[str, Any]:
    """Another vendor's reasoning is always sealed: so it is known, when it comes back, not to be OpenAI's.

    One that has just begun has no more than its id.
    """
    if status == "in_progress":
        return {"id": item_id, "type": "reasoning", "summary": []}
    base: dict[str, Any] = {"id": item_id, "type": "reasoning", "summary": summary_of(part.text)}
    own = part.native.get(DIALECT)
    base |= own or {"encrypted_content": seal(part.native)}
    base |= {"id": item_id, "type": "reasoning"}
    if status == "incomplete":
        base["status"] = status
    return base


def summary_of(text: str) -> list[dict[str, Any]]:
    """*text* as a summary."""
    return [{"type": "summary_text", "text": text}] if text else []


def call_item(part: ToolCall, item_id: str, status: ItemStatus) -> dict[str, Any]:
    """A call; a function whose arguments are empty at the end is called with an empty object."""
    base: dict[str, Any] = {"id": item_id, "type": "function_call", "status": status}
    if part.kind == "custom":
        base |= {"type": "custom_tool_call", "call_id": part.id, "name": part.name, "input": part.arguments}
    else:
        arguments = part.arguments or ("" if status == "in_progress" else "{}")
        base |= {"call_id": part.id, "name": part.name, "arguments": arguments}
    base |= _rest(part, base)
    if extra := extra_of(part.native):
        base["extra_content"] = extra
    return base


def _image_item(part: Image, item_id: str) -> dict[str, Any]:
    """A picture as OpenAI's own tool would have made it; one that is only named keeps its address beside."""
    source = part.source
    item: dict[str, Any] = {
        "id": item_id,
        "type": "image_generation_call",
        "status": "completed",
        "result": source.data,
    }
    output_format = (source.media_type or "").removeprefix("image/").replace("jpg", "jpeg")
    if output_format in _IMAGE_FORMATS:
        item["output_format"] = output_format
    if source.data is None and source.url is not None:
        item["image_url"] = source.url
    return item


def _rest(part: Part, base: Mapping[str, Any]) -> dict[str, Any]:
    """The vendor's other fields of an item."""
    if isinstance(part, Opaque) or not part.native:
        return {}
    own = part.native.get(DIALECT, {})
    return {name: value for name, value in own.items() if name not in _FIXED and name not in base}


def outward_annotation(annotation: Mapping[str, Any]) -> dict[str, Any]:
    """A citation of a web page with all fields that the SDK's type requires; other kinds stay as they are."""
    citation = annotation.get("url_citation")
    if not isinstance(citation, dict):
        return dict(annotation)
    return {"type": "url_citation", "start_index": 0, "end_index": 0, "title": "", "url": "", **citation}


def render_logprobs(logprobs: Iterable[TokenLogprob]) -> list[dict[str, Any]]:
    """`logprobs` of an output text."""
    return [{**_logprob(entry), "top_logprobs": [_logprob(top) for top in entry.top]} for entry in logprobs]


def _logprob(entry: TokenLogprob) -> dict[str, Any]:
    raw = list(entry.bytes) if entry.bytes is not None else list(entry.token.encode())
    return {"token": entry.token, "logprob": entry.logprob, "bytes": raw}


def render_input_tokens(tokens: int) -> dict[str, Any]:
    """The answer of `POST /v1/responses/input_tokens`."""
    return {"object": "response.input_tokens", "input_tokens": tokens}
