"""The neutral form: what every dialect is parsed to and rendered from.

Three algebras:

- **Parts** (`Text`, `Image`, `ToolCall`, ...) are the ordered content of a message.
- **Request** and **Response** are whole.
- **Events** (`Start`, `PartStart`, `PartDelta`, `PartEnd`, `Finish`, `UsageReport`, `Failure`) are a response in time.
  `assemble.collect` folds events to a Response, `assemble.replay` unfolds it again.

`native` maps a dialect's name to what only that dialect can read (signatures, cache marks, unknown fields).
A renderer reads `native[its own name]`; `losses.native_losses` reports the others.
Nothing here is mutated after construction: the type checker sees to it (`translators.values`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from typing import Any, Final, Literal

from translators.values import NOTHING, value

Native = Mapping[str, Mapping[str, Any]]
"""Dialect name -> fields that only this dialect reads, in its own wire names."""

NO_NATIVE: Native = NOTHING

Role = Literal["system", "developer", "user", "assistant", "tool"]
Effort = Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"]
FinishReason = Literal["stop", "length", "tool_calls", "content_filter", "pause"]
"""`pause`: the vendor interrupted its own turn and expects it to be sent again (Anthropic pause_turn)."""


# --- parts ---------------------------------------------------------------------------------------
# *place* is where the client wrote a part (`messages[2].content[0]`, `contents[1].parts[3]`, `input[4]`), for losses
# and errors; empty where nobody wrote it, as in answers. It says nothing of the content: equal parts may differ in it.


@value(frozen=True, slots=True)
class Source:
    """Where a picture, a sound or a document is: exactly one of *data*, *url* and *file_id*.

    *data* is base64 text as it came; *media_type* is known whenever *data* is set.
    *file_id* belongs to the vendor of dialect *vendor* and means nothing elsewhere.
    """

    media_type: str | None = None
    data: str | None = None
    url: str | None = None
    file_id: str | None = None
    vendor: str | None = None


@value(frozen=True, slots=True)
class Text:
    """Plain text. *annotations* are citations in OpenAI's `url_citation` form, offsets into this text."""

    text: str
    annotations: tuple[Mapping[str, Any], ...] = ()
    native: Native = NO_NATIVE
    place: str = field(default="", compare=False)


@value(frozen=True, slots=True)
class Image:
    """A picture. *detail* is OpenAI's: auto, low, high, original."""

    source: Source
    detail: str | None = None
    native: Native = NO_NATIVE
    place: str = field(default="", compare=False)


@value(frozen=True, slots=True)
class Audio:
    """A sound; the media type is `audio/wav`, `audio/mp3`, ... *id* and *transcript* occur in answers only."""

    source: Source
    id: str | None = None
    transcript: str | None = None
    native: Native = NO_NATIVE
    place: str = field(default="", compare=False)


@value(frozen=True, slots=True)
class Document:
    """A file to read: PDF, plain text and so on. A plain-text document has *text* and an empty source."""

    source: Source
    filename: str | None = None
    text: str | None = None
    native: Native = NO_NATIVE
    place: str = field(default="", compare=False)


@value(frozen=True, slots=True)
class Thinking:
    """The model's reasoning, readable or not. Signatures and encrypted forms stand in *native*, verbatim."""

    text: str
    native: Native = NO_NATIVE
    place: str = field(default="", compare=False)


@value(frozen=True, slots=True)
class Refusal:
    """The model's own words of refusal."""

    text: str
    native: Native = NO_NATIVE
    place: str = field(default="", compare=False)


@value(frozen=True, slots=True)
class ToolCall:
    """A call that the client is to execute. *arguments* is JSON text exactly as the model wrote it.

    *kind* `custom` is OpenAI's free-form tool: *arguments* is then plain text.
    """

    id: str
    name: str
    arguments: str
    kind: Literal["function", "custom"] = "function"
    native: Native = NO_NATIVE
    place: str = field(default="", compare=False)


@value(frozen=True, slots=True)
class ToolResult:
    """What a call gave. *parts* are Text, Image, Document, Audio or Opaque."""

    call_id: str
    parts: tuple[Part, ...]
    is_error: bool = False
    name: str | None = None
    native: Native = NO_NATIVE
    place: str = field(default="", compare=False)


@value(frozen=True, slots=True)
class Opaque:
    """A part that only *dialect* understands, kept whole (server tool blocks, unknown types)."""

    dialect: str
    type: str
    value: Mapping[str, Any]
    place: str = field(default="", compare=False)


Part = Text | Image | Audio | Document | Thinking | Refusal | ToolCall | ToolResult | Opaque


# --- request -------------------------------------------------------------------------------------


@value(frozen=True, slots=True)
class Message:
    """One turn. Roles `system` and `developer` may stand anywhere.

    `tool` messages hold only ToolResult parts, other roles none: a parser splits a mixed turn into a
    `tool` message and a `user` message after it, a renderer may merge the neighbours again.
    """

    role: Role
    parts: tuple[Part, ...]
    name: str | None = None
    native: Native = NO_NATIVE
    place: str = field(default="", compare=False)
    """Where the client wrote it (`system`, `contents[2]`, `input[4]`), for losses and errors; empty: `messages[i]`."""


@value(frozen=True, slots=True)
class Tool:
    """A function (or custom) tool. *parameters* is JSON Schema, None when the client gave none.

    A vendor's own tool (web search, code execution, ...) has kind `native`, its definition whole in *native*
    and its `type` as *name*.
    """

    name: str
    description: str | None = None
    parameters: Mapping[str, Any] | None = None
    strict: bool | None = None
    kind: Literal["function", "custom", "native"] = "function"
    native: Native = NO_NATIVE
    place: str = field(default="", compare=False)
    """Where the client wrote the definition (`tools[1].function`); empty: `tools[i]`."""


@value(frozen=True, slots=True)
class ToolChoice:
    """auto, none, required (any of them), or `named` with *names* (one forced; several with *mode*).

    `allowed`: only *names* may be used; *mode* says whether one must be.
    """

    kind: Literal["auto", "none", "required", "named", "allowed"]
    names: tuple[str, ...] = ()
    mode: Literal["auto", "required"] = "auto"


@value(frozen=True, slots=True)
class Reasoning:
    """How much to think. *effort* and *budget_tokens* are two ways to say it; at most one is set.

    *visible*: True asks for readable thoughts, False for none, None leaves it to the vendor.
    """

    effort: Effort | None = None
    budget_tokens: int | None = None
    visible: bool | None = None
    native: Native = NO_NATIVE


@value(frozen=True, slots=True)
class OutputFormat:
    """`json_object`, or `json_schema` with *schema*; plain text is None in its place."""

    kind: Literal["json_object", "json_schema"]
    schema: Mapping[str, Any] | None = None
    name: str | None = None
    description: str | None = None
    strict: bool | None = None


@value(frozen=True, slots=True)
class Request:
    """One request, whatever dialect it came in. None means: not said."""

    dialect: str
    model: str
    messages: tuple[Message, ...]
    tools: tuple[Tool, ...] = ()
    tool_choice: ToolChoice | None = None
    parallel_tool_calls: bool | None = None
    max_output_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    seed: int | None = None
    stop: tuple[str, ...] = ()
    n: int | None = None
    logprobs: bool | None = None
    top_logprobs: int | None = None
    logit_bias: Mapping[str, float] | None = None
    reasoning: Reasoning | None = None
    output: OutputFormat | None = None
    verbosity: str | None = None
    modalities: tuple[str, ...] | None = None
    user: str | None = None
    metadata: Mapping[str, Any] | None = None
    service_tier: str | None = None
    stream: bool = False
    include_usage: bool = False
    native: Native = NO_NATIVE
    places: Mapping[str, str] = field(default=NOTHING, compare=False)
    """What the client called a field, where it is not what `losses.client_field` says (`max_output_tokens`:
    `max_tokens`)."""


# --- response ------------------------------------------------------------------------------------


@value(frozen=True, slots=True)
class Usage:
    """Tokens of one answer.

    *input_tokens* contains cached and cache-write tokens, *output_tokens* contains reasoning tokens,
    whatever the vendor's own convention is. *raw* is the vendor's object, untouched.
    """

    input_tokens: int = 0
    output_tokens: int = 0
    cached_input_tokens: int = 0
    cache_write_tokens: int = 0
    reasoning_tokens: int = 0
    audio_input_tokens: int = 0
    audio_output_tokens: int = 0
    raw: Mapping[str, Any] = NOTHING
    estimated: bool = False


@value(frozen=True, slots=True)
class TokenLogprob:
    """One token's log probability, with the *top* alternatives (which have no alternatives themselves)."""

    token: str
    logprob: float
    bytes: tuple[int, ...] | None = None
    top: tuple[TokenLogprob, ...] = ()


@value(frozen=True, slots=True)
class Choice:
    """One of the *n* answers."""

    parts: tuple[Part, ...]
    finish_reason: FinishReason | None
    index: int = 0
    logprobs: tuple[TokenLogprob, ...] | None = None
    native: Native = NO_NATIVE


@value(frozen=True, slots=True)
class Response:
    """A whole answer. *created* is Unix seconds. A failure after the first content stands in *failure*."""

    id: str
    model: str
    created: int
    choices: tuple[Choice, ...]
    usage: Usage | None = None
    failure: Failure | None = None
    native: Native = NO_NATIVE


# --- events --------------------------------------------------------------------------------------


@value(frozen=True, slots=True)
class Start:
    """The first event of every stream, exactly once."""

    id: str
    model: str
    created: int
    native: Native = NO_NATIVE


@value(frozen=True, slots=True)
class PartStart:
    """Part *index* of *choice* begins. Indexes count from 0 in each choice and are never reused.

    *part* is a skeleton with empty text (Text, Thinking, Refusal, ToolCall) that deltas fill, or a whole part
    (Image, Audio, Document, Opaque) that gets none. Several parts may be open at once.
    """

    index: int
    part: Part
    choice: int = 0


@value(frozen=True, slots=True)
class PartDelta:
    """More of an open part: text is appended to its text (a ToolCall's arguments), *native* is merged per field.

    In a *native* merge strings of the same field are NOT joined: a parser gives each field once, complete.
    """

    index: int
    text: str
    choice: int = 0
    logprobs: tuple[TokenLogprob, ...] | None = None
    annotations: tuple[Mapping[str, Any], ...] = ()
    native: Native = NO_NATIVE


@value(frozen=True, slots=True)
class PartEnd:
    """Part *index* of *choice* is complete; *native* is merged once more."""

    index: int
    choice: int = 0
    native: Native = NO_NATIVE


@value(frozen=True, slots=True)
class Finish:
    """A choice is complete. Comes once per choice, after its parts have ended."""

    reason: FinishReason
    choice: int = 0
    native: Native = NO_NATIVE


@value(frozen=True, slots=True)
class UsageReport:
    """The tokens so far, cumulative: the last report counts.

    None takes back what was told before: the vendor's last counts cannot be any.
    """

    usage: Usage | None


@value(frozen=True, slots=True)
class ResponseNative:
    """Fields of the response as a whole that became known after Start (service_tier, fingerprint, ...)."""

    native: Native


ErrorKind = Literal[
    "invalid_request",
    "authentication",
    "permission",
    "billing",
    "not_found",
    "too_large",
    "context_length",
    "content_filter",
    "rate_limit",
    "overloaded",
    "timeout",
    "server",
    "invalid_response",
    "connection",
]
"""What went wrong, in words that are the same for every vendor."""


@value(frozen=True, slots=True)
class Failure:
    """An error of a vendor, as an event of a stream or as the answer to a request.

    *status* is the HTTP status that the vendor sent or its event implies (529 stays 529).
    *message* is the vendor's own, not yet cleaned of secrets. *retry_after_s* is what the vendor asked for.
    """

    kind: ErrorKind
    message: str
    status: int
    code: str | None = None
    param: str | None = None
    retry_after_s: float | None = None
    raw: Any = None


TOO_MUCH: Final = "answer_too_large"
"""The code of a failure: the answer is more than is taken in, and would be so again."""

Event = Start | PartStart | PartDelta | PartEnd | Finish | UsageReport | ResponseNative | Failure
