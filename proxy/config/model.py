"""The sections of the configuration, their defaults and what each key means.

A unit stands in the name of a key. Unknown keys are refused. Descriptions are published: docs/configuration.md is
generated from them.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any, Final, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Discriminator, Field, Tag
from pydantic_core import PydanticCustomError

from proxy.config.secrets import Secret

READY_POLICIES: Final = ("failover", "weighted")
LATER_POLICIES: Final = ("cost", "latency", "balanced", "sticky", "race", "consensus", "best_match", "auto")
DIALECTS: Final = ("openai_chat", "openai_responses", "anthropic", "gemini", "llamacpp")
AUTH_SCHEMES: Final = ("bearer", "x-api-key", "x-goog-api-key", "api-key", "none")

_DECIMAL = re.compile(r"\d{1,9}(\.\d{1,9})?")
_PROVIDER = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


def expected(what: str) -> PydanticCustomError:
    """An error whose message completes "found ..., expected ..."."""
    return PydanticCustomError("expected", "{what}", {"what": what})


def _one_of(ready: tuple[str, ...], later: tuple[str, ...], noun: str) -> AfterValidator:
    def check(value: str) -> str:
        if value in ready:
            return value
        choices = ", ".join(ready)
        if value in later:
            raise expected(f"one of {choices} (the {noun} {value} is not available yet)")
        raise PydanticCustomError("choice", "{choices}", {"choices": choices, "names": [*ready, *later]})

    return AfterValidator(check)


def _amount(value: Any) -> Any:
    if not isinstance(value, str) or not _DECIMAL.fullmatch(value):
        raise expected('US dollars per million tokens as a decimal string such as "0.25"')
    return value


def _address(value: str) -> str:
    try:
        usable = re.fullmatch(r"https?://[^\s?#]+", value) and urlsplit(value).hostname and urlsplit(value).port != 0
    except ValueError:
        usable = False
    if not usable:
        raise expected("an address such as http://127.0.0.1:8000/v1, without query")
    return value.rstrip("/")


def _path(value: str) -> str:
    if not value.startswith("/") or any(letter.isspace() for letter in value):
        raise expected('a path that begins with "/"')
    return value


def _target(value: Any) -> Any:
    provider, slash, model = value.partition("/") if isinstance(value, str) else ("", "", "")
    if not slash or not model or not _PROVIDER.fullmatch(provider):
        raise expected('"provider/model"')
    return value


Amount = Annotated[str, BeforeValidator(_amount)]
Address = Annotated[str, AfterValidator(_address)]
UrlPath = Annotated[str, AfterValidator(_path)]
TargetName = Annotated[str, BeforeValidator(_target)]
Seconds = Annotated[float, Field(gt=0, le=86_400)]
Lifetime = Annotated[float, Field(gt=0, le=31_536_000)]
"""Seconds that something is kept: up to a year."""
Count = Annotated[int, Field(ge=1)]
CacheMode = Literal["off", "deterministic", "all"]
LossMode = Literal["warn", "reject", "ignore"]


class Section(BaseModel):
    """What all sections have in common."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class ServerSettings(Section):
    """`[server]`: the port."""

    host: str = Field(
        "127.0.0.1",
        min_length=1,
        description="Address to listen on. Anything but loopback needs `auth.required` or `--i-know-what-i-am-doing`.",
    )
    port: int = Field(4100, ge=0, le=65_535, description="Port to listen on; 0 takes a free one.")
    workers: int = Field(1, ge=1, description="Processes. Only 1 is available now.")
    max_body_mb: float = Field(64, gt=0, le=1024, description="Largest request body that is read, in MiB.")
    reload: bool = Field(False, description="Read the file again when it changes. SIGHUP does so in any case.")
    shutdown_s: float = Field(30, ge=0, le=3600, description="How long running answers may take to end at SIGTERM.")
    allowed_hosts: tuple[str, ...] = Field(
        (), description="Names, besides loopback and `host`, that a `Host` header may carry."
    )
    media_allow_private: bool = Field(
        False, description="Let pictures that are fetched for a backend come from private network addresses."
    )

    @property
    def loopback(self) -> bool:
        """Whether only this machine can reach the port."""
        return is_loopback(self.host)


class AuthSettings(Section):
    """`[auth]`: who gets in."""

    required: bool = Field(False, description="Let in virtual keys (`mp-…`) and the master key only.")
    master_key: Secret | None = Field(None, description="The administrator's key, as a reference.")


class StorageSettings(Section):
    """`[storage]`: the database."""

    path: Path = Field(
        Path(),
        description="The SQLite file. In a configuration file it is relative to that file. "
        "Default: `modelport/modelport.db` in the user's data folder.",
    )
    ledger: Literal["strict", "relaxed"] = Field(
        "strict", description="`strict`: booked before the client gets the last byte; `relaxed`: within 100 ms."
    )


class CacheSettings(Section):
    """`[cache]`: answers kept for equal requests."""

    mode: CacheMode = Field(
        "deterministic", description="What is kept: nothing, requests with temperature 0 or a seed, or everything."
    )
    ttl_s: Lifetime = Field(3600, description="How long an answer is kept.")
    max_mb: float = Field(512, gt=0, description="Size at which the least used answers make room, in MiB.")


class MemorySettings(Section):
    """`[memory]`: what is kept of conversations."""

    reasoning: bool = Field(
        True,
        description="Keep signed and encrypted reasoning that a client drops, and give it back to its vendor when the "
        "conversation goes on.",
    )
    reasoning_ttl_s: Lifetime = Field(604_800, description="How long it is kept.")
    reasoning_max_mb: float = Field(256, gt=0, description="Size at which the oldest makes room, in MiB.")
    responses: bool = Field(
        True, description="Keep responses of `/v1/responses` whose request does not say `store: false`."
    )
    responses_ttl_s: Lifetime = Field(2_592_000, description="How long they are kept.")
    responses_max_mb: float = Field(1024, gt=0, description="Size at which the oldest make room, in MiB.")


class CatalogSettings(Section):
    """`[catalog]`: what is known of models."""

    heal: bool = Field(
        True,
        description="Learn from a vendor's 400 that names a parameter: repeat the request without it, and remember.",
    )
    lesson_ttl_s: Lifetime = Field(
        2_592_000,
        description="How long that is remembered. Afterwards the parameter is sent again, for the vendor to decide.",
    )


class StructuredSettings(Section):
    """`[structured]`: answers with a schema."""

    validate_answers: bool = Field(
        True, description="Check an answer against the request's JSON Schema where the target did not enforce it."
    )
    repair: bool = Field(
        False, description="Ask the target once more, naming what is wrong, when such an answer does not fit."
    )


class LoggingSettings(Section):
    """`[logging]`: what is written to standard error."""

    level: Literal["debug", "info", "warning", "error"] = Field("info", description="The least that is logged.")
    format: Literal["text", "json"] = Field("text", description="Lines for people, or one JSON object a line.")


class RetrySettings(Section):
    """`[retry]`: how often the same target is asked again before the next one is."""

    attempts: int = Field(2, ge=1, le=10, description="Requests to one target, the first included.")
    backoff_s: float = Field(0.25, ge=0, le=60, description="Pause before the second request; doubles, with jitter.")
    backoff_max_s: float = Field(8, ge=0, le=600, description="Longest pause. A longer Retry-After moves on instead.")
    continuations: int = Field(
        8,
        ge=0,
        le=100,
        description="Further requests for an answer that its vendor interrupts and wants to be asked for again, "
        "where the client speaks another dialect. 0: the answer is marked as paused.",
    )


class BreakerSettings(Section):
    """`[breaker]`: when a failing target is left alone."""

    failures: Count = Field(5, description="Failures in a row that open the breaker of a target.")
    cooldown_s: Seconds = Field(30, description="How long it stays open before one request is let through.")


class TimeoutSettings(Section):
    """`timeouts` of a provider."""

    connect_s: Seconds | None = Field(None, description="Until the connection stands. Default 5.")
    first_event_s: Seconds | None = Field(
        None,
        description="Of a stream: until the first content. Default 60, for llamacpp 300. "
        "Set alone, it is `whole_answer_s` too.",
    )
    whole_answer_s: Seconds | None = Field(
        None, description="Of an answer that is not streamed: until its head comes. Default 300."
    )
    idle_s: Seconds | None = Field(None, description="Between two pieces of an answer. Default 60.")
    total_s: Seconds | None = Field(None, description="For one attempt in all. Default 600.")


class LimitSettings(Section):
    """`limits` of a provider."""

    requests_per_minute: Count | None = Field(None, description="Requests a minute. Default: no limit.")
    tokens_per_minute: Count | None = Field(None, description="Tokens a minute, in and out. Default: no limit.")
    concurrent: Count | None = Field(None, description="Requests at the same time. Default: no limit.")
    queue: int = Field(256, ge=0, description="Requests that may wait for their turn.")
    queue_s: Seconds = Field(30, description="How long one may wait.")


class PriceSettings(Section):
    """US dollars per million tokens, as decimal strings."""

    input: Amount = Field(description="Tokens sent.")
    output: Amount = Field(description="Tokens received, reasoning included.")
    cached_input: Amount | None = Field(None, description="Tokens read from the vendor's cache. Default: as `input`.")
    cache_write: Amount | None = Field(None, description="Tokens written to it. Default: as `input`.")


class LocalModelSettings(Section):
    """One entry of `models` of a llamacpp provider."""

    path: Path = Field(description="The GGUF file. In a configuration file it is relative to that file.")
    context: int = Field(4096, ge=64, description="Context size in tokens.")
    gpu_layers: int = Field(0, ge=-1, description="Layers that go to the GPU; -1 is all of them.")
    threads: Count | None = Field(None, description="Threads to compute with. Default: llama.cpp's choice.")
    chat_format: str | None = Field(None, description="Chat template by name. Default: the one in the file.")
    logits_all: bool = Field(False, description="Keep what logprobs need: a number for each token and word, in memory.")
    projector: Path | None = Field(None, description="The file (mmproj) that turns pictures into tokens.")
    embedding: bool = Field(False, description="Load the model for embeddings: it gives vectors, and no text.")


class EmbeddingSettings(Section):
    """`embeddings` of a provider: how it is asked for vectors. What is not said is the row's, else the dialect's."""

    dialect: Literal["openai_chat", "gemini", "cohere", "none"] | None = Field(
        None, description="Wire format of the call, or none. Default: the provider's, where it has embeddings."
    )
    base_url: Address | None = Field(None, description="Where that API begins. Default: the provider's `base_url`.")
    path: UrlPath | None = Field(None, description="Path of the call; `{model}` is filled in.")
    max_inputs: Count | None = Field(None, description="Inputs in one call; more are sent in several.")
    max_tokens: Count | None = Field(None, description="Tokens of all inputs in one call, counted roughly.")
    refuses: tuple[str, ...] | None = Field(
        None, description="Fields that are answered with an error: they are left out and reported."
    )
    rename: dict[str, str] | None = Field(None, description="Fields that the server calls otherwise.")
    token_ids: bool | None = Field(None, description="Whether lists of token ids are taken. Default: yes.")
    token_encoding: Literal["o200k_base", "cl100k_base"] | None = Field(
        None, description="How clients' token ids become text, where the model's name does not tell."
    )


def _table_or(other: str) -> Discriminator:
    return Discriminator(lambda value: "table" if isinstance(value, dict) else other)


def _list_or_flag(value: Any) -> str:
    return "list" if isinstance(value, list | tuple) else "flag"


def _flag_or_globs(value: Any) -> Any:
    if not isinstance(value, bool | list | tuple):
        raise expected('true, false, or a list of globs of model names such as ["babbage-*"]')
    return value if isinstance(value, bool) else tuple(value)


def _flat_price(value: Any) -> str:
    tables = isinstance(value, dict) and value and all(isinstance(inner, dict) for inner in value.values())
    return "models" if tables else "table"


Price = Annotated[
    Annotated[PriceSettings, Tag("table")] | Annotated[dict[str, PriceSettings], Tag("models")],
    Discriminator(_flat_price),
]
Models = Annotated[
    Annotated[tuple[str, ...], Tag("list")] | Annotated[dict[str, LocalModelSettings], Tag("table")],
    _table_or("list"),
]

Completions = Annotated[
    Annotated[bool, Tag("flag")] | Annotated[tuple[str, ...], Tag("list")],
    Discriminator(_list_or_flag),
    BeforeValidator(_flag_or_globs),
]


class ProviderSettings(Section):
    """`[providers.NAME]`: a shipped provider's deviations, or a provider of your own."""

    enabled: bool = Field(True, description="`false` switches the provider off, whatever its keys.")
    dialect: Annotated[str, _one_of(DIALECTS, (), "dialect")] | None = Field(
        None,
        description="Wire format: openai_chat, openai_responses, anthropic, gemini, llamacpp. "
        "Default: the row's, or openai_chat.",
    )
    also_speaks: tuple[Literal["openai_chat", "openai_responses", "anthropic", "gemini"], ...] | None = Field(
        None,
        description="Further wire formats that the server takes at the same `base_url`. A client of one of them is "
        "relayed without translation. Default: the row's.",
    )
    base_url: Address | None = Field(None, description="Where the API begins, as the vendor's own SDK takes it.")
    keys: tuple[Secret, ...] | None = Field(
        None, description='References such as `"env:OPENAI_API_KEY"`; several share the load.'
    )
    models: Models | None = Field(
        None, description="Model names that are offered; for llamacpp a table of names and files."
    )
    patterns: tuple[str, ...] | None = Field(
        None, description="Globs of bare model names that also lead here (`gpt-*`)."
    )
    probe_model: str | None = Field(None, description="The model that `modelport test` asks. Default: the first one.")
    auth: Annotated[str, _one_of(AUTH_SCHEMES, (), "scheme")] | None = Field(
        None, description="How the key is sent: bearer, x-api-key, x-goog-api-key, api-key, none."
    )
    chat_path: UrlPath | None = Field(None, description="Path of the call below `base_url`; `{model}` is filled in.")
    stream_path: UrlPath | None = Field(None, description="The same for streams. Default: as `chat_path`.")
    completions: Completions | None = Field(
        None,
        description="Whether the server has the older `/completions`, for all models or for globs of names. "
        "Elsewhere such a request becomes a chat. Default: the row's, or `false`.",
    )
    embeddings: EmbeddingSettings | None = Field(None, description="How the provider is asked for embeddings.")
    headers: dict[str, Secret] = Field(
        default_factory=dict, description="Request headers to add. A value may be a reference like those of `keys`."
    )
    timeouts: TimeoutSettings = Field(default_factory=TimeoutSettings, description="Clocks of one attempt.")
    limits: LimitSettings = Field(default_factory=LimitSettings, description="What the provider is asked for at most.")
    price: Price | None = Field(
        None, description="US dollars per million tokens, for all models or as a table by model name or glob."
    )
    quirks: dict[str, Any] = Field(
        default_factory=dict, description="How the server deviates from its dialect; the fields are listed below."
    )


class TargetSettings(Section):
    """One entry of `targets`."""

    target: TargetName = Field(description='`"provider/model"`.')
    weight: float = Field(1, gt=0, le=1_000_000, description="Share of the load, for the policy weighted.")


class RouteSettings(Section):
    """`[routes.NAME]`: a name that a client may put into `model`."""

    policy: Annotated[str, _one_of(READY_POLICIES, LATER_POLICIES, "policy")] = Field(
        "failover", description="failover: in the order given; weighted: by chance, then in the order of the weights."
    )
    targets: tuple[
        Annotated[Annotated[TargetName, Tag("text")] | Annotated[TargetSettings, Tag("table")], _table_or("text")],
        ...,
    ] = Field(min_length=1, description='`"provider/model"`, or `{ target = "provider/model", weight = 3 }`.')
    losses: LossMode = Field(
        "warn", description="What happens when a target cannot express a field: report it, refuse it, or say nothing."
    )
    fallback_on: tuple[Literal["context_length", "content_filter", "not_found", "too_large"], ...] = Field(
        (), description="Failures that the next target may do better with. Otherwise they end the chain."
    )
    timeout_s: Seconds | None = Field(None, description="For the whole exchange, all attempts together.")
    cache: CacheMode | None = Field(None, description="Overrides `cache.mode` for this route.")
    repair: bool | None = Field(None, description="Overrides `structured.repair` for this route.")

    @property
    def weighted(self) -> tuple[TargetSettings, ...]:
        """The targets, each with its weight."""
        return tuple(each if isinstance(each, TargetSettings) else TargetSettings(target=each) for each in self.targets)


class Settings(Section):
    """The whole configuration, secrets resolved, paths absolute."""

    server: ServerSettings = Field(default_factory=ServerSettings, description="The port.")
    auth: AuthSettings = Field(default_factory=AuthSettings, description="Who gets in.")
    storage: StorageSettings = Field(default_factory=StorageSettings, description="The database.")
    cache: CacheSettings = Field(default_factory=CacheSettings, description="Answers kept for equal requests.")
    memory: MemorySettings = Field(default_factory=MemorySettings, description="What is kept of conversations.")
    catalog: CatalogSettings = Field(default_factory=CatalogSettings, description="What is known of models.")
    structured: StructuredSettings = Field(default_factory=StructuredSettings, description="Answers with a schema.")
    logging: LoggingSettings = Field(default_factory=LoggingSettings, description="What is written to standard error.")
    retry: RetrySettings = Field(default_factory=RetrySettings, description="Asking the same target again.")
    breaker: BreakerSettings = Field(default_factory=BreakerSettings, description="Leaving a failing target alone.")
    providers: dict[str, ProviderSettings] = Field(default_factory=dict, description="Who answers.")
    routes: dict[str, RouteSettings] = Field(
        default_factory=dict, description="Names with a policy and targets behind them."
    )


def is_loopback(host: str) -> bool:
    """Whether *host* can be reached from this machine only."""
    bare = host.strip("[]").lower()
    return bare in {"localhost", "::1"} or re.fullmatch(r"127(\.\d{1,3}){3}", bare) is not None
