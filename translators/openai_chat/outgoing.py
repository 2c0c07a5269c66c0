"""A neutral request as the body for an OpenAI-compatible server.

Requests that came as chat completions go the verbatim way (`relay.py`); this is for those of other dialects and for
whatever a policy has rewritten.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from operator import attrgetter
from typing import Any, Final, assert_never

from translators.codec import dumps_text
from translators.dialect import Rendered, Rules
from translators.errors import BadRequest, Unsupported
from translators.json_schema import openai_strict_obstacle
from translators.losses import (
    GIVEN_TWICE,
    Loss,
    both_halves,
    distinct,
    field_of,
    message_place,
    part_field,
    placed,
    renamed_functions,
    result_placed,
    tool_place,
    unknown_halves,
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
    Source,
    Text,
    Thinking,
    Tool,
    ToolCall,
    ToolChoice,
    ToolResult,
)
from translators.openai_chat.breakpoints import BREAKPOINT, marked
from translators.openai_chat.left_out import LeftOut
from translators.openai_chat.parts import DIALECT, lone_text, url_of_source
from translators.openai_chat.quirks import fitted
from translators.openai_chat.reasoning_items import RESPONSES, details_of
from translators.openai_chat.results import results_of
from translators.tool_choices import without_unmet_choice
from translators.toolbox import Written, written_once

_HERE: Final = "an OpenAI-compatible server"
MAX_TOOL_NAME: Final = 64
MAX_CALL_ID: Final = 40
"""OpenAI refuses longer ids of tool calls."""

_NINE: Final = re.compile(r"[a-zA-Z0-9]{9}")

_PLAIN_FIELDS: Final = (
    "temperature",
    "top_p",
    "top_k",
    "presence_penalty",
    "frequency_penalty",
    "seed",
    "n",
    "logprobs",
    "top_logprobs",
    "logit_bias",
    "verbosity",
    "user",
    "metadata",
)
"""Request fields that the wire calls the same and takes as they are."""
_plain_values: Final = attrgetter(*_PLAIN_FIELDS)

_TIERS: Final[Mapping[str, str]] = {
    "auto": "auto",
    "default": "default",
    "standard": "default",
    "standard_only": "default",
    "flex": "flex",
    "scale": "scale",
    "priority": "priority",
    "fast": "fast",
}


def limit_field(request: Request, rules: Rules) -> str:
    """What the most tokens of an answer are called: the target's one name, else a chat client's own, else the newer."""
    own = request.places.get("max_output_tokens") if request.dialect == DIALECT else None
    return rules.max_tokens_field or own or "max_completion_tokens"


def render_request(request: Request, rules: Rules) -> Rendered:
    """*request* for the target that *rules* describe.

    Raises:
        Unsupported: a part that the target has no way to take; *param* is its place.
        BadRequest: the conversation ends with an answer and the target cannot continue one.
    """
    request, losses = fitted(request, rules)
    request = without_unmet_choice(request, lambda tool: DIALECT in tool.native, losses)
    writer = _Writer(request, rules, losses, ToolNames(_names_in_use(request)))
    body: dict[str, Any] = {"model": request.model, "messages": writer.messages(request.messages)}
    _write_tools(body, request, writer)
    _write_output_format(body, request, rules, losses)
    said = zip(_PLAIN_FIELDS, _plain_values(request), strict=True)
    body |= {name: value for name, value in said if value is not None}
    if request.max_output_tokens is not None:
        body[limit_field(request, rules)] = request.max_output_tokens
    if request.stop:
        body["stop"] = list(request.stop)
    if request.modalities is not None:
        body["modalities"] = list(request.modalities)
    if request.service_tier is not None:
        if (tier := _TIERS.get(request.service_tier)) is None:
            place = field_of(request, "service_tier")
            losses.append(Loss(place, "dropped", f"{request.service_tier!r} is another vendor's tier"))
        else:
            body["service_tier"] = tier
    write_reasoning(body, request, rules)
    if request.reasoning is not None:
        writer.natives(field_of(request, "reasoning"), request.reasoning.native)
        if request.reasoning.visible is not None:
            place = field_of(request, "reasoning.visible")
            losses.append(Loss(place, "dropped", "whether thoughts are shown is up to the server"))
    if request.stream:
        body["stream"] = True
        if rules.stream_options:
            body["stream_options"] = {"include_usage": True}
    if request.native:
        writer.natives("", request.native)
    _write_own(body, request, rules, losses)
    body = renamed(body, rules)
    losses.extend(writer.final_losses())
    return Rendered(body, distinct(losses) if losses else (), rules.headers, writer.names.back())


def _write_own(body: dict[str, Any], request: Request, rules: Rules, losses: list[Loss]) -> None:
    """The dialect's own fields that nobody else reads."""
    for name, value in request.native.get(DIALECT, {}).items():
        if name == "max_tokens":
            losses.append(Loss(name, "dropped", GIVEN_TWICE))
        elif name in rules.refuses:
            losses.append(Loss(name, "dropped", "the target refuses it"))
        elif (why := _out_of_place(body, name, value)) is not None:
            losses.extend(Loss(place, "dropped", why) for place in unknown_halves(name, name, value))
        elif name in _WRITTEN_TOGETHER and name in body:
            body[name] = both_halves(body[name], value)
        else:
            body.setdefault(name, value)


_WRITTEN_TOGETHER: Final = frozenset({"response_format", "stream_options"})
"""Objects that are made anew, with what the client said in them besides."""


def _out_of_place(body: Mapping[str, Any], name: str, value: Any) -> str | None:
    """Why *value*, which the client's object *name* holds besides what is known, has no place in *body*."""
    if name == "stream_options" and name not in body:
        return "the answer is no stream" if not body.get("stream") else "the target refuses it"
    if name != "response_format" or "type" in value:
        return None
    written = body.get(name, {})
    held = written.keys() >= ({"json_schema"} & value.keys()) and bool(written)
    return None if held else "the form of the answer is asked for otherwise"


def renamed(body: Mapping[str, Any], rules: Rules) -> dict[str, Any]:
    """*body* with the target's own field names and the fields that it always needs."""
    body = {rules.rename.get(name, name): value for name, value in body.items()} if rules.rename else dict(body)
    if rules.extra_body:
        body.update((name, value) for name, value in rules.extra_body.items() if name not in body)
    return body


def write_reasoning(body: dict[str, Any], request: Request, rules: Rules) -> None:
    """The effort or budget in the form that the target takes."""
    reasoning = request.reasoning
    if reasoning is None:
        return
    if rules.thinking == "budget" and reasoning.budget_tokens is not None:
        on = reasoning.budget_tokens > 0
        body["thinking"] = {"type": "enabled", "budget_tokens": reasoning.budget_tokens} if on else {"type": "disabled"}
    elif rules.thinking in ("budget", "adaptive") and reasoning.effort is not None:
        body["thinking"] = {"type": "disabled" if reasoning.effort == "none" else "enabled"}
        if rules.thinking == "adaptive" and reasoning.effort != "none":
            body["reasoning_effort"] = reasoning.effort
    elif reasoning.effort is not None:
        body["reasoning_effort"] = reasoning.effort


# --- tools ---------------------------------------------------------------------------------------


class ToolNames:
    """Tool names that every server takes (letters, digits, `_`, `-`, at most 64), one to one with the client's."""

    def __init__(self, names: Iterable[str]) -> None:
        self._safe: dict[str, str] = {}
        ordered = dict.fromkeys(names)
        foreign = [name for name in ordered if _LEGAL.fullmatch(name) is None]
        taken = set(ordered.keys() - foreign) if foreign else set()
        for name in foreign:
            safe = _safe_name(name, taken)
            taken.add(safe)
            self._safe[name] = safe

    def __getitem__(self, name: str) -> str:
        return self._safe.get(name, name)

    def back(self) -> dict[str, str]:
        """Renamed names to the client's."""
        return {safe: name for name, safe in self._safe.items()} if self._safe else {}

    def losses(self, request: Request) -> list[Loss]:
        """What is said of them to whoever sent *request*."""
        if not self._safe:
            return []
        return [
            Loss(place, "renamed", f"sent as {safe}") for place, safe in renamed_functions(request, self.__getitem__)
        ]


_LEGAL: Final = re.compile(r"[a-zA-Z0-9_-]{1,64}")


def _safe_name(name: str, taken: set[str]) -> str:
    safe = re.sub(r"[^a-zA-Z0-9_-]", "_", name)[:MAX_TOOL_NAME] or "tool"
    if safe in taken or len(name) > MAX_TOOL_NAME:
        digest = hashlib.sha256(name.encode()).hexdigest()[:8]
        safe = f"{safe[: MAX_TOOL_NAME - 9]}_{digest}"
    return safe


def _names_in_use(request: Request) -> list[str]:
    declared = [tool.name for tool in request.tools if tool.kind != "native"]
    called = [part.name for message in request.messages for part in message.parts if isinstance(part, ToolCall)]
    return [*declared, *called]


def _write_tools(body: dict[str, Any], request: Request, writer: _Writer) -> None:
    tools = list(enumerate(request.tools))
    choice = request.tool_choice
    if choice is not None and choice.kind == "allowed" and not writer.rules.conformant:
        tools = [(position, tool) for position, tool in tools if tool.name in choice.names]
        choice = ToolChoice(choice.mode)
        place = field_of(request, "tool_choice")
        writer.losses.append(Loss(place, "emulated", "the other tools were left out of the request"))
    how = None if writer.names.back() or len(tools) < len(request.tools) else (DIALECT, request.dialect)
    rendered, told = written_once(request.tools, how, lambda: writer.tools(tools))
    writer.losses.extend(told)
    if not rendered:
        return
    body["tools"] = rendered
    if choice is not None:
        body["tool_choice"] = _tool_choice(choice, [tool for _, tool in tools], writer.names)
    if request.parallel_tool_calls is not None:
        body["parallel_tool_calls"] = request.parallel_tool_calls


def _tool_choice(choice: ToolChoice, tools: Sequence[Tool], names: ToolNames) -> Any:
    kinds = {tool.name: tool.kind for tool in tools}

    def reference(name: str) -> dict[str, Any]:
        kind = "custom" if kinds.get(name) == "custom" else "function"
        return {"type": kind, kind: {"name": names[name]}}

    match choice.kind:
        case "auto" | "none" | "required":
            return choice.kind
        case "named" if len(choice.names) == 1:
            return reference(choice.names[0])
        case "named" | "allowed":
            mode = "required" if choice.kind == "named" else choice.mode
            allowed = {"mode": mode, "tools": [reference(name) for name in choice.names]}
            return {"type": "allowed_tools", "allowed_tools": allowed}
        case _:
            assert_never(choice.kind)


# --- output format -------------------------------------------------------------------------------


def _write_output_format(body: dict[str, Any], request: Request, rules: Rules, losses: list[Loss]) -> None:
    output = request.output
    if output is None:
        return
    place = field_of(request, "output")
    if not rules.schema_with_tools and body.get("tools"):
        losses.append(Loss(place, "emulated", "the target takes no format beside tools; asked for in words"))
        _instruct(body, output.schema)
        return
    if output.kind == "json_object":
        body["response_format"] = {"type": "json_object"}
        return
    if not rules.structured_output:
        losses.append(Loss(place, "emulated", "the target takes no schema; asked for JSON and told the schema"))
        body["response_format"] = {"type": "json_object"}
        _instruct(body, output.schema)
        return
    schema: dict[str, Any] = {"name": output.name or "answer", "schema": output.schema or {}}
    if output.description is not None:
        schema["description"] = output.description
    if output.strict is not None:
        schema["strict"] = output.strict
    if output.strict and (obstacle := strict_obstacle(request.dialect, output.schema)) is not None:
        del schema["strict"]
        losses.append(Loss(field_of(request, "output.strict"), "dropped", obstacle))
    body["response_format"] = {"type": "json_schema", "json_schema": schema}


def strict_obstacle(client: str, schema: Mapping[str, Any] | None) -> str | None:
    """Why `strict` is left off for another vendor's client, whose schemas are not made for OpenAI's strict mode."""
    if client in (DIALECT, RESPONSES) or (obstacle := openai_strict_obstacle(schema or {})) is None:
        return None
    return f"OpenAI's strict mode does not take the schema: {obstacle}"


def _instruct(body: dict[str, Any], schema: Mapping[str, Any] | None) -> None:
    """Say in a system message, after those that stand first, that the answer has to be JSON."""
    words = "Answer with one JSON object and nothing else."
    if schema:
        words += f" It has to match this JSON Schema: {dumps_text(schema)}"
    messages: list[dict[str, Any]] = body["messages"]
    first = next((at for at, message in enumerate(messages) if message["role"] not in ("system", "developer")), 0)
    messages.insert(first, {"role": "system", "content": words})


# --- messages ------------------------------------------------------------------------------------


@dataclass(slots=True)
class _Writer:
    """Writes messages and tools for one request and remembers what that cost."""

    request: Request
    rules: Rules
    losses: list[Loss]
    names: ToolNames
    left_out: LeftOut = field(init=False)

    def __post_init__(self) -> None:
        self.left_out = LeftOut(_HERE, self.client, DIALECT)

    @property
    def client(self) -> str:
        """The dialect that the request came in."""
        return self.request.dialect

    def final_losses(self) -> list[Loss]:
        """What other dialects alone read, and what the tools are called."""
        return [*self.left_out.losses(), *self.names.losses(self.request)]

    def natives(self, place: str, native: Native) -> None:
        """Note what other dialects' fields are left out at *place*."""
        self.left_out.natives(place, native)

    def tools(self, tools: Iterable[tuple[int, Tool]]) -> Written:
        """The entries of *tools*, of which each comes with its position."""
        losses: list[Loss] = []
        entries = [self._tool(tool, position, losses) for position, tool in tools]
        return [entry for entry in entries if entry is not None], losses

    def _tool(self, tool: Tool, position: int, losses: list[Loss]) -> dict[str, Any] | None:
        """One entry of `tools`; None for another vendor's own tool."""
        place = tool_place(tool, position, self.client)
        own = tool.native.get(DIALECT)
        if tool.kind == "native":
            if own is None:
                losses.append(Loss(place, "dropped", f"{tool.name} is another vendor's own tool"))
                return None
            return dict(own)
        if tool.native:
            self.natives(place, _without_format(tool))
        inner: dict[str, Any] = {"name": self.names[tool.name]}
        if tool.description is not None:
            inner["description"] = tool.description
        if tool.kind == "custom":
            return {"type": "custom", "custom": {**inner, **_nested_format(tool), **(own or {})}}
        inner["parameters"] = tool.parameters if tool.parameters is not None else {"type": "object", "properties": {}}
        if tool.strict is not None:
            inner["strict"] = tool.strict
        if tool.strict and (obstacle := strict_obstacle(self.client, inner["parameters"])) is not None:
            del inner["strict"]
            losses.append(Loss(f"{place}.strict", "dropped", obstacle))
        return {"type": "function", "function": inner, **(own or {})}

    def messages(self, messages: Sequence[Message]) -> list[dict[str, Any]]:
        """All messages, the results of each turn's calls right behind it.

        Pictures of tool results follow in a user message after the last result of the turn.
        """
        if messages and not self.rules.prefill and messages[-1].role == "assistant":
            place = message_place(messages[-1], len(messages) - 1)
            raise BadRequest(f"{place}: the target cannot continue an answer; end with a user message", place)
        written: list[dict[str, Any]] = []
        attached: list[dict[str, Any]] = []
        results = results_of(messages, self.client)
        reason = "the call has no result; the target is told that it gave none"
        self.losses.extend(Loss(place, "emulated", reason) for place in results.missing)
        for position, message in enumerate(messages):
            if message.role != "tool" and attached:
                written.append({"role": "user", "content": attached})
                attached = []
            if message.native:
                self.natives(message_place(message, position), message.native)
            match message.role:
                case "tool":
                    parts = results.astray.get(position, [])
                    written.extend(self._tool_result(part, where, attached) for where, part in parts)
                case "assistant":
                    if (answer := self._assistant(message, position)) is not None:
                        written.append(answer)
                    parts = results.behind.get(position, [])
                    written.extend(self._tool_result(part, where, attached) for where, part in parts)
                case "system" | "developer" | "user":
                    written.append(self._spoken(message, position))
                case _:
                    assert_never(message.role)
        if attached:
            written.append({"role": "user", "content": attached})
        return written

    def _spoken(self, message: Message, position: int) -> dict[str, Any]:
        role = "system" if message.role == "developer" and not self.rules.developer_role else message.role
        content: Any = lone_text(message.parts)
        if content is None:
            content = _compact([self._part(part, place) for place, part in placed(message, position, self.client)])
        written: dict[str, Any] = {"role": role, "content": content}
        if message.name is not None:
            written["name"] = message.name
        written.update(message.native.get(DIALECT, {}))
        return written

    def _part(self, part: Part, place: str) -> dict[str, Any]:
        match part:
            case Text() | Refusal():
                rendered: dict[str, Any] = {"type": "text", "text": part.text}
                self._annotations(part, place)
            case Image():
                rendered = self._image(part, place)
            case Audio():
                rendered = self._audio(part, place)
            case Document():
                rendered = self._document(part, place)
            case Opaque() if part.dialect == DIALECT:
                if part.type == "video_url":
                    self._need("video", place)
                return dict(part.value)
            case Opaque() | Thinking() | ToolCall() | ToolResult():
                what = part.type if isinstance(part, Opaque) else type(part).__name__
                raise Unsupported(
                    f"{place}: an OpenAI-compatible server takes no {what} here", place, "unsupported_part"
                )
            case _:
                assert_never(part)
        return both_halves(rendered, self._own(part.native, place)) if part.native else rendered

    def _own(self, native: Native, place: str) -> dict[str, Any]:
        """The fields of a part at *place* that are this dialect's, with a cache mark that can be one."""
        if not native:
            return {}
        if BREAKPOINT in native.get(DIALECT, {}):
            self.natives(place, native)
            return dict(native[DIALECT])
        mark, unread = marked(native, place, self.client, self.losses, taken=self.rules.cache_breakpoints)
        self.natives(place, unread)
        return {**native.get(DIALECT, {}), **mark}

    def _annotations(self, part: Part, place: str) -> None:
        if isinstance(part, Text) and part.annotations and "citations" not in part.native.get("anthropic", {}):
            name = part_field(self.client, place, "annotations")
            self.losses.append(Loss(name, "dropped", "a message in a request has no citations"))

    def _need(self, modality: str, place: str) -> None:
        if modality not in self.rules.modalities:
            raise Unsupported(f"{place}: the target takes no {modality} input", place, "unsupported_modality")

    def _url(self, source: Source, place: str) -> str:
        url = url_of_source(source)
        if url is None:
            raise Unsupported(f"{place}: a file of {source.vendor or 'another vendor'} means nothing here", place)
        if source.data is None:
            prefixes = self.rules.image_url_prefixes
            if not self.rules.image_urls or (prefixes and not url.startswith(prefixes)):
                raise Unsupported(f"{place}: the target does not fetch {url[:60]}", place, "unsupported_url")
        return url

    def _image(self, part: Image, place: str) -> dict[str, Any]:
        self._need("image", place)
        inner = {"url": self._url(part.source, place)}
        if part.detail is not None:
            inner["detail"] = part.detail
        return {"type": "image_url", "image_url": inner}

    def _audio(self, part: Audio, place: str) -> dict[str, Any]:
        self._need("audio", place)
        if part.source.data is None:
            raise Unsupported(f"{place}: a sound has to be sent as base64 data", place, "unsupported_url")
        kind = (part.source.media_type or "audio/wav").partition("/")[2].removeprefix("x-")
        kind = {"mpeg": "mp3", "wave": "wav"}.get(kind, kind)
        return {"type": "input_audio", "input_audio": {"data": part.source.data, "format": kind}}

    def _document(self, part: Document, place: str) -> dict[str, Any]:
        if part.text is not None:
            self.losses.append(Loss(place, "emulated", "a text document is sent as text"))
            title = f"{part.filename}:\n" if part.filename else ""
            return {"type": "text", "text": title + part.text}
        if (part.source.media_type or "").startswith("video/"):
            # OpenAI reads none; compatible servers take it as OpenRouter and vLLM do.
            self._need("video", place)
            return {"type": "video_url", "video_url": {"url": self._url(part.source, place)}}
        self._need("document", place)
        if part.source.file_id is not None and part.source.vendor in (None, DIALECT, RESPONSES):
            return {"type": "file", "file": {"file_id": part.source.file_id}}
        if part.source.data is None:
            raise Unsupported(f"{place}: a document has to be sent as base64 data", place, "unsupported_url")
        extension = (part.source.media_type or "").partition("/")[2] or "bin"
        inner = {"filename": part.filename or f"document.{extension}", "file_data": url_of_source(part.source)}
        return {"type": "file", "file": inner}

    def _assistant(self, message: Message, position: int) -> dict[str, Any] | None:
        content = lone_text(message.parts)
        if content is None or self.rules.reasoning_replay != "never":
            return self._answer(message, position)
        written: dict[str, Any] = {"role": "assistant", "content": content}
        if message.name is not None:
            written["name"] = message.name
        written.update(message.native.get(DIALECT, {}))
        return written

    def _answer(self, message: Message, position: int) -> dict[str, Any] | None:
        """An earlier answer that is more than a text; None when nothing of it can be said here."""
        texts: list[tuple[Text, dict[str, Any]]] = []
        calls: list[dict[str, Any]] = []
        own_parts: list[dict[str, Any]] = []
        written: dict[str, Any] = {"role": "assistant", "content": None}
        thoughts: list[tuple[str, Thinking]] = []
        for where, part in placed(message, position, self.client):
            match part:
                case Text():
                    self._annotations(part, where)
                    texts.append((part, self._own(part.native, where)))
                case Thinking():
                    thoughts.append((where, part))
                case Refusal():
                    written["refusal"] = written.get("refusal", "") + part.text
                case ToolCall():
                    if part.native:
                        self.natives(where, part.native)
                    calls.append(self._tool_call(part))
                case Audio() if part.id is not None:
                    written["audio"] = {"id": part.id}
                case Opaque() if part.dialect == DIALECT:
                    own_parts.append(dict(part.value))
                case Opaque():
                    self.losses.append(Loss(where, "dropped", f"{part.type} is another vendor's own block"))
                case Image() | Audio() | Document() | ToolResult():
                    self.losses.append(Loss(where, "dropped", "an answer holds text and tool calls only"))
                case _:
                    assert_never(part)
        content = _answered(texts, own_parts)
        if content or not (calls or "refusal" in written or "audio" in written):
            written["content"] = content
        if thoughts or self.rules.reasoning_replay != "never":
            self._replay_thinking(written, thoughts, has_calls=bool(calls))
        if message.name is not None:
            written["name"] = message.name
        if calls:
            written["tool_calls"] = calls
        written.update(message.native.get(DIALECT, {}))
        lost_all = message.parts and not texts and written.keys() <= {"role", "content", "name"} and not content
        return None if lost_all else written

    def _replay_thinking(
        self, written: dict[str, Any], placed_thoughts: Sequence[tuple[str, Thinking]], *, has_calls: bool
    ) -> None:
        thoughts = [thought for _, thought in placed_thoughts]
        replay = self.rules.reasoning_replay
        replayed = replay == "always" or (replay == "tool_turns" and has_calls)
        takes_items = replayed and "reasoning_details" in self.rules.takes_back
        for place, thought in placed_thoughts:
            kept = {name: own for name, own in thought.native.items() if name != RESPONSES or not takes_items}
            self.natives(place, kept)
        if replayed:
            text = "".join(thought.text for thought in thoughts)
            # DeepSeek wants the key on tool turns even where nothing was thought.
            if thoughts or replay == "tool_turns":
                written["reasoning_content"] = text
            details = [item for part in thoughts for item in part.native.get(DIALECT, {}).get("reasoning_details", ())]
            if takes_items and not details:
                details = [item for part in thoughts for item in details_of(part.native.get(RESPONSES, {}))]
            if details:
                written["reasoning_details"] = details
        else:
            for place, thought in placed_thoughts:
                if thought.text:
                    self.left_out.thought(place, "the target takes no earlier reasoning back")

    def _tool_call(self, call: ToolCall) -> dict[str, Any]:
        written: dict[str, Any] = {"id": call_id(call.id, self.rules), "type": call.kind}
        if call.kind == "custom":
            written["custom"] = {"name": self.names[call.name], "input": call.arguments}
        else:
            written["function"] = {"name": self.names[call.name], "arguments": call.arguments or "{}"}
        return written

    def _tool_result(self, part: Part, place: str, attached: list[dict[str, Any]]) -> dict[str, Any]:
        if not isinstance(part, ToolResult):
            raise BadRequest(f"{place}: a tool message holds results only", place)
        identified = call_id(part.call_id, self.rules)
        if (text := lone_text(part.parts)) is not None and not part.native and not part.is_error:
            return {"role": "tool", "tool_call_id": identified, "content": text}
        own = self._own(part.native, place)
        texts: list[dict[str, Any]] = []
        moved: list[dict[str, Any]] = []
        for where, inner in result_placed(part, place, self.client):
            if isinstance(inner, Opaque) and inner.dialect != DIALECT:
                texts.append({"type": "text", "text": dumps_text(inner.value)})
                self.losses.append(Loss(where, "emulated", f"{inner.type} is sent as its JSON"))
                continue
            rendered = self._part(inner, where)
            if rendered["type"] == "text":
                texts.append(rendered)
            else:
                moved.append(rendered)
                self.losses.append(Loss(where, "emulated", "tool messages hold text only; sent in a user message"))
        if moved:
            attached.append({"type": "text", "text": f"Attached to the result of tool call {identified}:"})
            attached.extend(moved)
            texts = texts or [{"type": "text", "text": "The result is in the next user message."}]
        if part.is_error:
            name = part_field(self.client, place, "is_error")
            self.losses.append(Loss(name, "dropped", "a tool message has no such field"))
        mark = own.pop(BREAKPOINT, None)
        if mark is not None and texts:
            texts[-1] = {BREAKPOINT: mark, **texts[-1]}
        content = _compact(texts)
        return {**own, "role": "tool", "tool_call_id": identified, "content": content}


def _nested_format(tool: Tool) -> dict[str, Any]:
    """The format of a Responses client's custom tool: here a grammar stands in an object of its own."""
    chosen = tool.native.get(RESPONSES, {}).get("format")
    if not isinstance(chosen, dict):
        return {}
    grammar = {name: value for name, value in chosen.items() if name != "type"}
    return {"format": {"type": chosen["type"], "grammar": grammar} if chosen.get("type") == "grammar" else chosen}


def _without_format(tool: Tool) -> Native:
    own = tool.native.get(RESPONSES, {})
    if tool.kind != "custom" or "format" not in own:
        return tool.native
    return {**tool.native, RESPONSES: {name: value for name, value in own.items() if name != "format"}}


def _answered(
    texts: Sequence[tuple[Text, dict[str, Any]]], own_parts: Sequence[dict[str, Any]]
) -> str | list[dict[str, Any]]:
    """The content of an earlier answer: one string, or a list where a text has fields of its own or parts follow."""
    if any(own for _, own in texts):
        return [*({"type": "text", "text": text.text, **own} for text, own in texts), *own_parts]
    content = "".join([text.text for text, _ in texts])
    if own_parts:
        return [*([{"type": "text", "text": content}] if content else []), *own_parts]
    return content


def _compact(parts: Sequence[dict[str, Any]]) -> str | list[dict[str, Any]]:
    """One plain text as a string, which every server takes; anything else as a list of parts."""
    if not parts:
        return ""
    if len(parts) == 1 and parts[0].keys() == {"type", "text"}:
        return str(parts[0]["text"])
    return list(parts)


def call_id(foreign: str, rules: Rules) -> str:
    """An id that the server takes: as it is, or a digest of one that is not of its form."""
    fits = _NINE.fullmatch(foreign) if rules.call_ids == "nine" else len(foreign) <= MAX_CALL_ID
    if fits:
        return foreign
    digest = base64.b32encode(hashlib.sha256(foreign.encode()).digest()).decode().lower()
    return digest[:9] if rules.call_ids == "nine" else f"call_{digest[:24]}"
