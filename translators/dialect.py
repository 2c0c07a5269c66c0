"""What a dialect is: the names that each dialect's package exports, and the rules that shape its rendering.

    towards a backend (the package)                 towards a client (its module `client`)
    render_request(request, rules) -> Rendered      parse_request(body, ...) -> Request
    parse_response(body) -> Response                render_response(response, to) -> dict
    parse_error(status, body, headers) -> Failure   render_error(failure, request_id) -> (status, dict)
                                                    unshown(response, to) -> losses
    error_in(body) -> Failure | None                StreamRenderer(to)
    usage_in(body) -> Usage | None
    StreamParser(rules)                             relay_request, relay_response, StreamRelay: the verbatim way
    TAKES_N, TAKES_CUSTOM_TOOLS

Rendering is pure: the same arguments give the same body.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple, Protocol

from translators.losses import Loss
from translators.neutral import Effort, Event, Failure, Request, Response, Usage
from translators.values import NOTHING, value

ThinkingForm = Literal["none", "budget", "adaptive", "level", "effort"]
"""How a model is told to think: not at all, a token budget, Anthropic's adaptive + effort, Gemini's level,
or a plain effort word (OpenAI and compatible)."""


@dataclass(frozen=True, slots=True)
class Rules:
    """What one target takes: the model's and the provider's deviations, as data (routing/data/rules.toml).

    The defaults are those of a capable, fully conformant server of the dialect.
    Field names of sampling parameters are those of `Request`.
    """

    dialect: str = "openai_chat"
    refuses: frozenset[str] = frozenset()
    """Request fields that the target answers with 400; they are dropped and reported."""
    refuses_while_thinking: frozenset[str] = frozenset()
    """The same, only while reasoning is on."""
    temperature_max: float | None = None
    one_of_temperature_top_p: bool = False
    max_output_tokens: int | None = None
    """The model's own maximum; fills in where a vendor requires a limit, clamps where the client asks for more."""
    context_tokens: int | None = None
    """The longest input that the model takes, where it is known. Nothing is cut to it: it is for choosing a target."""
    thinking: ThinkingForm = "effort"
    efforts: tuple[Effort, ...] = ("none", "minimal", "low", "medium", "high", "xhigh", "max")
    """Effort words that the target takes; another is moved to the nearest and reported."""
    thinks_by_default: bool = False
    """Whether the model reasons when a request says nothing about it."""
    effort_cap_without_thinking: Effort | None = None
    forced_tools: Literal["yes", "not_while_thinking", "never"] = "yes"
    prefill: bool = True
    system_in_messages: bool = False
    system_instruction: bool = True
    """Whether the model takes instructions apart from the conversation; else they open the user's first turn."""
    modalities: frozenset[str] = frozenset({"text", "image", "audio", "document", "video"})
    """What may stand in a request; anything else is refused with the place and the modality."""
    image_urls: bool = True
    """Whether the target fetches remote pictures itself."""
    file_urls: bool = True
    """Whether it fetches remote documents and sounds."""
    image_url_prefixes: tuple[str, ...] = ()
    """When not empty: only these URLs are passed on (Gemini takes its own file URIs alone)."""
    structured_output: bool = True
    schema_with_tools: bool = True
    tool_schema_field: Literal["parametersJsonSchema", "parameters"] = "parametersJsonSchema"
    headers: Mapping[str, str] = field(default_factory=dict)
    """Extra request headers (`anthropic-version`)."""
    max_tokens_field: Literal["max_tokens", "max_completion_tokens"] | None = None
    """The one of chat's two names that the target takes. None: either; a chat client's own stays as it wrote it."""
    stream_options: bool = True
    developer_role: bool = True
    reasoning_replay: Literal["never", "tool_turns", "always"] = "never"
    """Whether earlier `reasoning_content` is sent back (DeepSeek demands it on tool turns)."""
    takes_back: frozenset[str] = frozenset({"reasoning_content", "reasoning", "reasoning_details"})
    """Which fields of earlier answers, beyond OpenAI's own, are relayed to the server when a client sends them back:
    of those three, `thinking_blocks` (Anthropic's signatures) and `extra_content` (Gemini's)."""
    call_ids: Literal["any", "short", "nine"] = "any"
    """Ids of tool calls that the server takes: all, up to 40 characters (OpenAI), nine letters and digits (Mistral)."""
    think_tags: bool = False
    """Split `<think>...</think>` out of the text of answers."""
    conformant: bool = False
    """The vendor defines the dialect: its answers are relayed without mending."""
    not_relayed: frozenset[str] = frozenset()
    """Fields of its own dialect that the server has refused as a client wrote them, though these rules say them
    otherwise (`thinking`, `messages[].cache_control`): a request in which they do is rendered, not relayed. With a word
    (`thinking=adaptive`) only where the field holds it."""
    rename: Mapping[str, str] = field(default_factory=dict)
    """Request body fields that this server calls otherwise."""
    extra_body: Mapping[str, Any] = field(default_factory=dict)
    """Fields that this server needs in every request."""
    cache_breakpoints: bool = False
    """Whether the model takes OpenAI's `prompt_cache_breakpoint`, which then stands for other vendors' cache marks."""
    responses: Literal["never", "reasoning_with_tools", "tools", "always"] = "never"
    """When OpenAI's chat endpoint does not take a request for the model, and its Responses endpoint must be asked:
    tools while reasoning is on, any tools, or everything (WIRE 104, 105)."""


@value(frozen=True, slots=True)
class Rendered:
    """A request in the target's dialect. *tool_names* maps renamed tools back to the client's names."""

    body: dict[str, Any]
    losses: tuple[Loss, ...] = ()
    headers: Mapping[str, str] = NOTHING
    tool_names: Mapping[str, str] = NOTHING


class StreamParser(Protocol):
    """Bytes of a vendor's stream to events. Equal bytes give equal events, wherever they are cut, but for ids that the
    vendor left out.

    The first event is Start. After `close` at least one of these is true: every choice has a Finish,
    or the last event is a Failure (kind `invalid_response` when the stream was cut).
    """

    def feed(self, piece: bytes) -> list[Event]:
        """The events that *piece* completes. Never raises for what a vendor may send: gives a Failure."""

    def close(self) -> list[Event]:
        """The events that the end of the stream implies."""


@value(frozen=True, slots=True)
class ReplyTo:
    """The client that an answer is made for: what it asked, and what stands in where the vendor says nothing."""

    request: Request
    body: Mapping[str, Any]
    """The client's own JSON, of which some dialects' answers repeat fields."""
    id: str
    """Unique; the dialect puts its own prefix before it (`chatcmpl-`, `msg_`, `resp_`)."""
    created: int
    """Unix seconds."""
    input_tokens: int = 0
    """An estimate, for dialects that tell the count before the vendor does."""


class StreamRenderer(Protocol):
    """Events to the bytes of a client's stream. Exactly one of `fail` and `close` ends it."""

    def render(self, events: Sequence[Event], /) -> bytes:
        """The frames for *events*; empty when they have no visible form yet, as a Failure, which `fail` writes."""

    def fail(self, failure: Failure, /) -> bytes:
        """The one error event that ends a stream without its terminator. *failure* is already in the client's words."""

    def close(self, receipt: bytes | None = None, /) -> bytes:
        """The closing frames: *receipt* as an SSE comment, then the dialect's terminator."""


class NewStreamRenderer(Protocol):
    """Makes the renderer for one stream."""

    def __call__(self, to: ReplyTo, /) -> StreamRenderer:
        """A fresh renderer."""


@dataclass(frozen=True, slots=True)
class RelayedRequest:
    """The bytes for the server and what they lost against the client's."""

    body: bytes
    losses: tuple[Loss, ...] = ()


class Relayed(NamedTuple):
    """What one step of a relayed stream gave: *frames* for the client, and the *events* that they mean.

    A Failure among the events has no frame: `fail` writes it, in words that are the client's to read.
    """

    frames: bytes
    events: Sequence[Event]


class StreamRelay(Protocol):
    """Passes a stream of the client's own dialect on, byte for byte but for what must be mended, and reads along."""

    def feed(self, piece: bytes, /) -> Relayed:
        """The server's next bytes."""

    def end(self) -> Relayed:
        """The server's stream is over; a Failure when it was cut."""

    def fail(self, failure: Failure, /) -> bytes:
        """The one error event that ends the client's stream."""

    def close(self, receipt: bytes | None = None, usage: Usage | None = None, /) -> bytes:
        """*receipt* as a comment, then the terminator, which `feed` and `end` held back.

        *usage* is the proxy's own count, for a client that asked for one and a server that gave none.
        """


class Wire(StreamRelay, Protocol):
    """What a stream of the proxy goes through: a relay that may say later what has passed it."""

    def passes(self, piece: bytes, /) -> bool:
        """Whether *piece* says nothing but more of the same: it may go out as it is, and must not be fed."""
        return False

    def told(self) -> Sequence[Event]:
        """What frames mean that have gone out, as far as no step has told it; none will any more."""
        return ()


class NewStreamRelay(Protocol):
    """Makes the relay for one stream."""

    def __call__(self, rules: Rules, to: ReplyTo, /) -> StreamRelay:
        """A fresh relay."""


class ClientDialect(Protocol):
    """The half of a dialect that talks to a client. Requests are parsed by the dialect's own ingress."""

    @property
    def StreamRenderer(self) -> NewStreamRenderer:  # noqa: N802  a class of the module
        """The renderer of streams."""

    @property
    def StreamRelay(self) -> NewStreamRelay:  # noqa: N802
        """The relay of streams."""

    def render_response(self, response: Response, to: ReplyTo) -> dict[str, Any]:
        """*response* as a whole answer."""

    def unshown(self, response: Response, to: ReplyTo) -> Iterable[Loss]:
        """What of *response* an answer of this dialect, whole or streamed, leaves out or tells in other words."""

    def render_error(self, failure: Failure, request_id: str) -> tuple[int, dict[str, Any]]:
        """*failure* as this dialect's status and envelope."""

    def relay_request(
        self, raw: bytes, body: Mapping[str, Any], request: Request, rules: Rules, model: str
    ) -> RelayedRequest:
        """*raw* (parsed: *body* and *request*) for a server of the same dialect, with *model* as its name there.

        Only what must change does: the model, the proxy's own fields, what *rules* say the target refuses.
        """

    def relay_response(
        self, raw: bytes, rules: Rules, to: ReplyTo, body: dict[str, Any] | None = None, /
    ) -> tuple[bytes, Response]:
        """A whole answer of the same dialect: its bytes (mended where a client could not read them) and what it says.

        *body* is *raw* parsed, by whoever has done so already; it may be changed.

        Raises:
            BadAnswer: it is not an answer of this dialect.
        """


class NewStreamParser(Protocol):
    """Makes the parser for one stream."""

    def __call__(self, rules: Rules = ..., /) -> StreamParser:
        """A fresh parser."""


class BackendDialect(Protocol):
    """The half of a dialect's package that talks to a backend."""

    @property
    def TAKES_N(self) -> bool:  # noqa: N802  a constant of the module
        """Whether one request can ask for several choices."""

    @property
    def TAKES_CUSTOM_TOOLS(self) -> bool:  # noqa: N802
        """Whether it has tools whose input is plain text; elsewhere they are emulated (translators.custom_tools)."""

    @property
    def StreamParser(self) -> NewStreamParser:  # noqa: N802  a class of the module
        """The parser of streams."""

    def render_request(self, request: Request, rules: Rules) -> Rendered:
        """*request* for the target. Raises Unsupported when a part that matters cannot be said."""

    def parse_response(self, body: Mapping[str, Any]) -> Response:
        """Raises BadAnswer when *body* is not an answer of this dialect."""

    def parse_error(self, status: int, body: bytes, headers: Mapping[str, str]) -> Failure:
        """Whatever the vendor sent, JSON or not."""

    def error_in(self, body: Mapping[str, Any]) -> Failure | None:
        """The error that some servers put into an answer of status 200."""

    def usage_in(self, body: Mapping[str, Any]) -> Usage | None:
        """The tokens that *body* tells, be it an answer, a broken one or an error; None when it tells none."""
