"""The sections of the configuration, their defaults and what each key means.

A unit stands in the name of a key. Unknown keys are refused. Descriptions are published: docs/configuration.md is
generated from them.
"""

from __future__ import annotations

import re
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self, get_args
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    Tag,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic_core import PydanticCustomError

from proxy.config.address import HOST, PORT, is_loopback
from proxy.config.secrets import Secret
from proxy.event_loop import EventLoop
from storage.money import AMOUNT, nanousd

READY_POLICIES: Final = (
    "failover",
    "weighted",
    "cost",
    "latency",
    "balanced",
    "sticky",
    "race",
    "consensus",
    "best_match",
    "auto",
)
LATER_POLICIES: Final[tuple[str, ...]] = ()
DIALECTS: Final = ("openai_chat", "openai_responses", "anthropic", "gemini", "llamacpp")
AUTH_SCHEMES: Final = ("bearer", "x-api-key", "x-goog-api-key", "api-key", "none")

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


def _amount(what: str) -> BeforeValidator:
    """A decimal string of dollars; *what* completes the message."""

    def check(value: Any) -> Any:
        if not isinstance(value, str) or not AMOUNT.fullmatch(value):
            raise expected(what)
        return value

    return BeforeValidator(check)


def _money(value: Any) -> Any:
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    if not isinstance(value, str):
        raise expected('US dollars as a decimal string such as "12.50"')
    try:
        nanousd(value)
    except ValueError as error:
        raise expected(str(error)) from None
    return value


def _tag(value: str) -> str:
    name, mark, rest = value.partition("=")
    if not (name and mark and rest) or not value.isprintable():
        raise expected('"name=value", such as "feature=summary"')
    return value


def _day(value: Any) -> Any:
    try:
        return datetime.fromisoformat(value.isoformat() if isinstance(value, date) else value).isoformat()
    except (TypeError, ValueError):
        raise expected('a day or time in ISO 8601, such as "2027-01-01"') from None


def _discount(value: Any) -> Any:
    if not isinstance(value, str) or not re.fullmatch(r"-?[01](\.[0-9]{1,9})?", value) or Decimal(value) > 1:
        raise expected('a part of the price such as "0.2", at most "1"; below 0 for a surcharge')
    return value


def _address(value: str) -> str:
    try:
        usable = re.fullmatch(r"https?://[^\s?#]+", value) and urlsplit(value).hostname and urlsplit(value).port != 0
    except ValueError:
        usable = False
    if not usable:
        raise expected("an address such as http://127.0.0.1:8000/v1, without query")
    return value.rstrip("/")


def _origin(value: str) -> str:
    if not re.fullmatch(r"[A-Za-z][A-Za-z0-9+.-]*://[A-Za-z0-9._\-\[\]:]+", value):
        raise expected('an origin such as "https://app.example" or "http://localhost:5173", without a path')
    return value


def _path(value: str) -> str:
    if not value.startswith("/") or any(letter.isspace() for letter in value):
        raise expected('a path that begins with "/"')
    return value


def _target(value: Any) -> Any:
    provider, slash, model = value.partition("/") if isinstance(value, str) else ("", "", "")
    if not slash or not model or not _PROVIDER.fullmatch(provider):
        raise expected('"provider/model"')
    return value


Amount = Annotated[str, _amount('US dollars per million tokens as a decimal string such as "0.25"')]
Money = Annotated[str, BeforeValidator(_money)]
TagPair = Annotated[str, AfterValidator(_tag)]
Day = Annotated[str, BeforeValidator(_day)]
Part = Annotated[str, BeforeValidator(_discount)]
Address = Annotated[str, AfterValidator(_address)]
WebOrigin = Annotated[str, AfterValidator(_origin)]
UrlPath = Annotated[str, AfterValidator(_path)]
TargetName = Annotated[str, BeforeValidator(_target)]
Seconds = Annotated[float, Field(gt=0, le=86_400)]
Lifetime = Annotated[float, Field(gt=0, le=31_536_000)]
"""Seconds that something is kept: up to a year."""
Stale = Annotated[float, Field(ge=0, le=31_536_000)]
Count = Annotated[int, Field(ge=1)]
CacheMode = Literal["off", "deterministic", "all"]
LossMode = Literal["warn", "reject", "ignore"]


def _rules(value: dict[str, str]) -> dict[str, str]:
    from proxy.redaction import compiled  # here, as its patterns take their time to compile

    try:
        compiled(value)
    except ValueError as error:
        raise expected(f"regular expressions by name; {error}") from error
    return value


Rules = Annotated[dict[str, str], AfterValidator(_rules)]


class Section(BaseModel):
    """What all sections have in common.

    A validator is built when its section is read for the first time. A section that nobody wrote, of which only the
    defaults are wanted, is therefore made by `model_construct`.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False, defer_build=True)


class ServerSettings(Section):
    """`[server]`: the port."""

    host: str = Field(
        HOST,
        min_length=1,
        description="Address to listen on. Anything but loopback needs `auth.required` or `--i-know-what-i-am-doing`.",
    )
    port: int = Field(PORT, ge=0, le=65_535, description="Port to listen on; 0 takes a free one.")
    workers: int = Field(
        1, ge=1, le=64, description="Processes that share the port, the database and all limits; see docs/workers.md."
    )
    max_body_mb: float = Field(64, gt=0, le=1024, description="Largest request body that is read, in MiB.")
    fast_lane: bool = Field(
        True, description="Answer ordinary requests that are known already on a shorter way; see docs/performance.md."
    )
    reload: bool = Field(False, description="Read the file again when it changes. SIGHUP does so in any case.")
    shutdown_s: float = Field(30, ge=0, le=3600, description="How long running answers may take to end at SIGTERM.")
    allowed_hosts: tuple[str, ...] = Field(
        (),
        description="Names, besides loopback and `host`, that a `Host` header may carry. Where keys are required every "
        "name is let in, unless some stand here.",
    )
    allowed_origins: tuple[WebOrigin, ...] = Field(
        (),
        description="Web pages that may ask from a browser and read the answers (CORS), such as "
        '`"https://app.example"`. Default: none.',
    )
    media_allow_private: bool = Field(
        False, description="Let pictures that are fetched for a backend come from private network addresses."
    )
    event_loop: EventLoop = Field(
        "auto",
        description="What reads and writes: uvloop, asyncio's own loop, or `auto`: uvloop where it is installed. They "
        "answer alike; a change needs a restart.",
    )
    transport: Literal["own", "aiohttp"] = Field(
        "own",
        description="What carries the calls to providers: Modelport's own HTTP/1.1 client, or aiohttp's, which takes "
        "four times the processor time. They answer alike; a change needs a restart.",
    )

    @property
    def loopback(self) -> bool:
        """Whether only this machine can reach the port."""
        return is_loopback(self.host)


class BoundSettings(Section):
    """`[limits]`: what one connection, one request and one answer may take."""

    request_line_bytes: int = Field(
        8192, ge=256, le=65_536, description="Path and query of a request. Beyond: 431, closed."
    )
    header_bytes: int = Field(
        8192, ge=256, le=65_536, description="The name, and the value, of one header. Beyond: 431, closed."
    )
    headers: int = Field(100, ge=8, le=1000, description="Headers of a request. Beyond: 431, closed.")
    all_headers_bytes: int = Field(
        65_536,
        ge=1024,
        le=1_048_576,
        description="All headers of a request, with colons and line ends. Beyond: 431, closed.",
    )
    header_s: Seconds = Field(
        10, description="Until the head of a request is there, from its first byte or the connection on. Beyond: 408."
    )
    body_s: Seconds = Field(
        30, description="Until a body is there that has to be whole before anything can be done. Beyond: 408."
    )
    body_bytes_per_s: int = Field(
        1024, ge=0, description="What a body has to come at, in each `body_grace_s`. Below: 408. 0: no such bound."
    )
    body_grace_s: Seconds = Field(5, description="Over how long that is measured.")
    idle_s: Seconds = Field(75, description="How long a connection is kept without a request.")
    requests_per_connection: Count = Field(1000, description="The last of them is answered with `Connection: close`.")
    write_s: Seconds = Field(
        60, description="How long a client may take nothing of what waits for it. Beyond: cut off, and booked so far."
    )
    connections: Count = Field(
        2048,
        description="Of clients, at a time; less where the process has few file descriptors. Beyond: 503, closed.",
    )
    in_flight: Count = Field(1024, description="Requests to models that are answered at a time; others wait.")
    waiting: int = Field(256, ge=0, description="How many may wait, keys taking turns. Beyond: 503.")
    waiting_s: Seconds = Field(2, description="How long one may wait. Beyond: 503.")
    bodies_mb: float = Field(
        512,
        gt=0,
        description="Bodies of more than 256 KiB in memory at a time, in MiB. Others wait for `waiting_s`; one alone "
        "always fits. Beyond: 503.",
    )
    answers_mb: float = Field(
        512, gt=0, description="Whole answers of providers that are longer than 256 KiB, likewise; they wait for 30 s."
    )
    json_depth: int = Field(64, ge=8, le=128, description="Nesting of a body. Beyond: 400.")
    json_members: int = Field(1000, ge=100, description="Members of any one object in a question. Beyond: 400.")
    json_values: int = Field(
        1_000_000, ge=10_000, description="Values of a question, however short they are. Beyond: 400."
    )
    json_containers: int = Field(
        100_000, ge=10_000, description="Objects and lists of a question, together. Beyond: 400."
    )
    messages: Count = Field(10_000, description="Messages (`contents`, items of `input`) of a question. Beyond: 400.")
    tools: Count = Field(512, description="Tools of a question. Beyond: 400.")
    model_chars: int = Field(256, ge=16, le=4096, description="Characters of a model's name. Beyond: 400.")
    user_chars: int = Field(
        256, ge=16, le=4096, description="Characters of `user` and its like in other dialects. Beyond: 400."
    )
    request_id_chars: int = Field(
        128, ge=8, le=1024, description="Of a client's `x-request-id`, letters, digits and `._:-`. Others are ignored."
    )
    answer_mb: float = Field(
        64,
        gt=0,
        le=1024,
        description="Largest answer of a provider that is read, in MiB, a stream in all. Beyond: 502.",
    )
    unpacked_ratio: int = Field(
        100, ge=2, le=1100, description="How many times its size a packed answer may unpack to. Beyond: 502."
    )


class AuthSettings(Section):
    """`[auth]`: who gets in."""

    required: bool = Field(False, description="Let in virtual keys (`mp-…`) and the master key only.")
    master_key: Secret | None = Field(None, description="The administrator's key, as a reference.")
    wrong_keys_per_minute: int = Field(
        10,
        ge=1,
        le=1_000_000,
        description="Wrong keys that one address may send in a minute; further ones are answered with 429. A right key "
        "is let in at any time.",
    )


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


class LedgerSettings(Section):
    """`[ledger]`: what becomes of the ledger's rows."""

    rollups: bool = Field(
        True, description="Keep sums by minute, hour and day ready, so that `/costs` need not count millions of rows."
    )
    retention_days: int | None = Field(
        None,
        ge=1,
        le=36_500,
        description="Remove exchanges that are older; their sums stay. Default: nothing is removed.",
    )


class SecretsSettings(Section):
    """`[secrets]`: what the secrets in the database are encrypted with."""

    key: Secret | None = Field(
        None,
        description="The key, 32 bytes in base64 or hexadecimal (`modelport secrets generate` makes one), as a "
        "reference. Default: `env:MODELPORT_SECRET_KEY`, where that is set.",
    )
    passphrase: Secret | None = Field(
        None, description="In the place of a key: at least 16 characters, as a reference; Argon2id makes the key of it."
    )
    previous_key: Secret | None = Field(
        None, description="The key of before, until `modelport secrets rotate` has encrypted everything anew."
    )
    previous_passphrase: Secret | None = Field(None, description="The passphrase of before, likewise.")


class RequestLogSettings(Section):
    """`[request_log]`: bodies of requests and answers, kept to be read again."""

    enabled: bool = Field(
        False, description="Keep them all. A route's `log` says so for one route; what a key says wins over both."
    )
    ttl_s: Lifetime = Field(604_800, description="How long an entry is kept.")
    max_mb: float = Field(256, gt=0, description="Size at which the oldest make room, in MiB.")
    queue_mb: float = Field(
        32, gt=0, le=1024, description="How much may wait to be stored, in MiB; what comes then is not logged."
    )
    redact: tuple[Literal["cards", "iban", "email", "phone"], ...] = Field(
        ("cards", "iban", "email", "phone"), description="What is taken out before anything is stored; keys always are."
    )
    rules: Rules = Field(
        default_factory=dict,
        description="More that is taken out: regular expressions by name. A finding is replaced by `[NAME]`.",
    )


class QuerySettings(Section):
    """`[queries]`: questions that are asked by `/api/v1/llm/query` and answered later."""

    unended: Count = Field(1024, description="Queries that may wait or run, of all keys together.")
    unended_per_key: Count = Field(128, description="Of these, queries of one key.")
    running: Count = Field(32, description="Queries that may run at the same time; the others wait for their turn.")
    running_per_key: Count = Field(8, description="Of these, queries of one key.")
    longest_s: Seconds = Field(3600, description="How long one may take, waiting included, whatever it says itself.")
    ttl_s: float = Field(
        86_400, gt=0, le=2_592_000, description="How long a result is kept where the query does not say."
    )
    max_mb: float = Field(256, gt=0, description="Size at which the oldest results make room, in MiB.")


class CacheSettings(Section):
    """`[cache]`: answers kept for equal requests."""

    mode: CacheMode = Field(
        "deterministic", description="What is kept: nothing, requests with temperature 0 or a seed, or everything."
    )
    ttl_s: Lifetime = Field(3600, description="How long an answer is kept.")
    stale_s: Stale = Field(
        0,
        description="How long an answer that is too old is still given, while a new one is made in the background.",
    )
    max_mb: float = Field(512, gt=0, description="Size at which the least used answers make room, in MiB.")


class SemanticSettings(Section):
    """`cache.semantic` of a route: the same question in other words gets the same answer."""

    enabled: bool = Field(True, description="Whether it is in force.")
    embeddings: TargetName | None = Field(
        None,
        description='`"provider/model"` that makes a vector of each question. Default: questions are compared by their '
        "words alone, which asks nobody.",
    )
    threshold: float = Field(
        0.92, gt=0, le=1, description="The cosine from which on two vectors may mean the same. It depends on the model."
    )


class RouteCacheSettings(Section):
    """`cache` of a route, as a table."""

    mode: CacheMode | None = Field(None, description="Overrides `cache.mode` for this route.")
    ttl_s: Lifetime | None = Field(None, description="Overrides `cache.ttl_s` for this route.")
    stale_s: Stale | None = Field(None, description="Overrides `cache.stale_s` for this route.")
    tags: tuple[TagPair, ...] = Field(
        (), max_length=16, description='Tags of the answers that are kept, `"name=value"`: they can be removed by them.'
    )
    semantic: SemanticSettings = Field(
        default_factory=lambda: SemanticSettings.model_construct(enabled=False),
        description="Questions in other words. Default: only the same request is the same; a table switches it on.",
    )


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


class PricesSettings(Section):
    """`[prices]`: what answers cost, where no provider's `price` says it."""

    shipped: bool = Field(True, description="Use the list prices of genai-prices, by vendor, model and day.")
    vendor_cost: Literal["never", "when_unknown", "always"] = Field(
        "when_unknown",
        description="When to book the cost that a vendor reports with its answer: where no price is known, or always.",
    )
    reporting: tuple[str, ...] | None = Field(
        None,
        description="Providers whose reports are believed. Default: openrouter, perplexity, xai, deepinfra.",
    )


BudgetSubject = Literal["organisation", "team", "key", "tag", "provider", "route"]
BUDGET_SUBJECTS: Final[tuple[BudgetSubject, ...]] = get_args(BudgetSubject)


class BudgetSettings(Section):
    """`[budgets.NAME]`: what may be spent in a time. At most one key says on what; without one it is everything."""

    limit_usd: Money = Field(description="US dollars, as a decimal string.")
    window: Literal["hour", "day", "month", "total"] = Field(
        "month", description="In which time: of the calendar (UTC), or `total` for ever."
    )
    rolling: bool = Field(
        False, description="Count the last 60 minutes, 24 hours or 30 days instead of those of the calendar."
    )
    organisation: str | None = Field(None, min_length=1, description="Of this organisation, by its id.")
    team: str | None = Field(None, min_length=1, description="Of this team, by its id.")
    key: str | None = Field(None, min_length=1, description="Of this virtual key, by its id, and of those it makes.")
    tag: TagPair | None = Field(None, description='Of requests with this tag: `"name=value"`.')
    provider: str | None = Field(None, min_length=1, description="Of what this provider is asked.")
    route: str | None = Field(None, min_length=1, description="Of this route, or `provider/model` asked by that name.")
    hard: bool = Field(True, description="Refuse what might pass the limit. `false`: only give alerts.")
    unpriced: Literal["refuse", "allow"] = Field(
        "refuse", description="What becomes of requests for a model without a known price, which cannot be counted."
    )
    alerts: tuple[Annotated[int, Field(ge=1, le=1000)], ...] = Field(
        (80, 100), max_length=20, description="Percentages of the limit at which an alert is given."
    )
    assumed_output_tokens: Annotated[int, Field(ge=1, le=10_000_000)] | None = Field(
        None, description="Tokens that are reserved for an answer whose request sets no bound. Default: 4096."
    )

    @property
    def subjects(self) -> dict[BudgetSubject, str]:
        """What it is about, by kind."""
        return {kind: value for kind in BUDGET_SUBJECTS if (value := getattr(self, kind)) is not None}


class ReceiverSettings(Section):
    """Somebody who is told of something, besides the log."""

    webhook: Secret | None = Field(
        None, description="An address that is told of them (POST, JSON); as a reference, if it is a secret."
    )
    webhook_secret: Secret | None = Field(
        None, description="What is sent there is signed with (HMAC-SHA256), as a reference. Default: not signed."
    )
    timeout_s: Seconds = Field(10, description="How long the receiver may take.")


class AlertSettings(ReceiverSettings):
    """`[alerts]`: who is told of budgets, besides the log."""

    give_up_s: Lifetime = Field(21_600, description="How long an alert is sent again while it is not accepted.")


class ErrorSettings(ReceiverSettings):
    """`[errors]`: who is told of unexpected exceptions, besides the log."""

    repeat_s: Lifetime = Field(600, description="One that comes again within that time is counted, and told later.")
    per_hour: Count = Field(60, description="So many are told in an hour at most; the log has the others.")


class TelemetrySettings(Section):
    """`[telemetry]`: traces and metrics by OpenTelemetry. It needs the extra `modelport[otel]`."""

    enabled: bool = Field(False, description="Send them.")
    endpoint: Address | None = Field(
        None,
        description="An OTLP receiver (HTTP), such as `http://127.0.0.1:4318`. Default: what OpenTelemetry's own "
        "environment variables say. Its headers stand in `OTEL_EXPORTER_OTLP_HEADERS`.",
    )
    traces: bool = Field(True, description="A span for each request, and one for each attempt.")
    metrics: bool = Field(True, description="Histograms of durations and tokens.")
    sample: float = Field(1, ge=0, le=1, description="The part of requests that get spans; a caller's own choice wins.")
    service: str = Field("modelport", min_length=1, description="The name that the receiver shows.")
    interval_s: Seconds = Field(60, description="So often metrics are sent.")


class StructuredSettings(Section):
    """`[structured]`: answers with a schema."""

    validate_answers: bool = Field(
        True, description="Check an answer against the request's JSON Schema where the target did not enforce it."
    )
    repair: bool = Field(
        False, description="Ask the target once more, naming what is wrong, when such an answer does not fit."
    )


class LoggingSettings(Section):
    """`[logging]`: what is written to standard error, or to a file."""

    level: Literal["debug", "info", "warning", "error"] = Field("info", description="The least that is logged.")
    format: Literal["text", "json"] = Field("text", description="Lines for people, or one JSON object a line.")
    records_per_s: Count = Field(
        200, description="Records in one second; how many more there were is said and counted."
    )
    file: Path | None = Field(
        None,
        description="Write to this file, not to standard error. In a configuration file it is relative to that file.",
    )
    file_mb: Count = Field(50, description="Size of a log file; what does not fit begins a new one.")
    files: Annotated[int, Field(ge=2, le=1000)] = Field(
        3, description="Log files that are kept, the newest included; the full ones end in `.1`, `.2`, ..."
    )
    slow_s: Seconds = Field(120, description="A request that takes longer is a line in the log, with its phases.")
    slow_first_event_s: Seconds = Field(30, description="So is a stream whose first content comes later than that.")


class RetrySettings(Section):
    """`[retry]`: how often the same target is asked again before the next one is."""

    attempts: int = Field(2, ge=1, le=10, description="Requests to one target, the first included.")
    backoff_s: float = Field(0.25, ge=0, le=60, description="Pause before the second request; doubles, with jitter.")
    backoff_max_s: float = Field(8, ge=0, le=600, description="Longest pause. A longer Retry-After moves on instead.")
    attempts_in_all: Count | None = Field(
        None, description="Requests to all targets together. Default: three, or as many as the route has targets."
    )
    budget_share: float = Field(
        0.2, ge=0, le=1, description="Repeats as a share of recent requests; going on to a target that is well is free."
    )
    budget_least: int = Field(
        3, ge=0, le=10_000, description="Repeats that may be made in 10 s however few there were."
    )
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


class KeyLimitSettings(Section):
    """`limits.per_key` of a provider."""

    requests_per_minute: Count | None = Field(None, description="Requests a minute with one key. Default: no limit.")
    tokens_per_minute: Count | None = Field(
        None, description="Tokens a minute, in and out, with one key. Default: no limit."
    )
    concurrent: Count | None = Field(None, description="Requests at the same time with one key. Default: no limit.")


class LimitSettings(Section):
    """`limits` of a provider, for all its keys together."""

    requests_per_minute: Count | None = Field(None, description="Requests a minute. Default: no limit.")
    tokens_per_minute: Count | None = Field(None, description="Tokens a minute, in and out. Default: no limit.")
    concurrent: Count | None = Field(None, description="Requests at the same time. Default: no limit.")
    per_key: KeyLimitSettings = Field(
        default_factory=KeyLimitSettings.model_construct, description="What is asked with each single key, beside that."
    )
    queue: int = Field(
        256, ge=0, description="Requests that may wait for their turn, where no other target of their route is free."
    )
    queue_s: Seconds = Field(30, description="How long one may wait.")


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
    base_url: Address | None = Field(
        None, repr=False, description="Where that API begins. Default: the provider's `base_url`."
    )
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


class RateSettings(Section):
    """Rates by kind, as decimal strings: US dollars per million tokens where nothing else is said."""

    input: Amount | None = Field(None, description="Tokens sent.")
    cached_input: Amount | None = Field(None, description="Tokens read from the vendor's cache. Default: as `input`.")
    cached_audio: Amount | None = Field(None, description="Of those, tokens of sounds. Default: as `cached_input`.")
    cached_image: Amount | None = Field(None, description="Of those, tokens of pictures. Default: as `cached_input`.")
    cache_write: Amount | None = Field(
        None, description="Tokens written to the cache. Default: unknown, as it costs more than `input`."
    )
    cache_write_30m: Amount | None = Field(None, description="Of those, for half an hour. Default: as `cache_write`.")
    cache_write_1h: Amount | None = Field(None, description="Of those, for an hour. Default: as `cache_write`.")
    cache_write_12h: Amount | None = Field(None, description="Of those, for twelve hours. Default: unknown.")
    cache_write_24h: Amount | None = Field(None, description="Of those, for a day. Default: unknown.")
    input_audio: Amount | None = Field(None, description="Tokens of sounds sent. Default: unknown.")
    input_image: Amount | None = Field(None, description="Tokens of pictures sent. Default: as `input`.")
    input_video: Amount | None = Field(None, description="Tokens of films sent. Default: as `input`.")
    output: Amount | None = Field(None, description="Tokens received.")
    reasoning: Amount | None = Field(None, description="Of those, tokens of reasoning. Default: as `output`.")
    output_audio: Amount | None = Field(None, description="Of those, tokens of sounds. Default: unknown.")
    output_image: Amount | None = Field(None, description="Of those, tokens of pictures. Default: as `output`.")
    output_video: Amount | None = Field(None, description="Of those, tokens of films. Default: as `output`.")
    citation: Amount | None = Field(None, description="Tokens of citations, where the vendor bills them.")
    web_search: Amount | None = Field(None, description="A thousand searches of the web. Default: unknown.")
    storage_search: Amount | None = Field(None, description="A thousand searches of stored files. Default: unknown.")
    request: Amount | None = Field(
        None, description="A thousand requests, beside everything else; a thousand search units of a reranker."
    )
    image: Amount | None = Field(None, description="One picture.")
    page: Amount | None = Field(None, description="A thousand pages.")
    minute: Amount | None = Field(None, description="A minute of sound sent.")
    character: Amount | None = Field(None, description="A million characters.")

    def rates(self) -> dict[str, str]:
        """What is given, by kind."""
        return {name: getattr(self, name) for name in RateSettings.model_fields if getattr(self, name) is not None}


class TierSettings(RateSettings):
    """One entry of `tiers` of a price."""

    above: Count = Field(description="Input tokens beyond which these rates hold for the whole answer.")


class ListSettings(RateSettings):
    """What a price and a later price have in common."""

    tiers: tuple[TierSettings, ...] = Field(
        (), description='Rates of longer inputs: `[{ above = 200000, input = "2.5", output = "15" }]`.'
    )
    served: dict[
        Literal[
            "batch",
            "flex",
            "priority",
            "fast",
            "ultrafast",
            "scale",
            "performance",
            "provisioned_throughput",
            "reserved",
            "deferred",
        ],
        Annotated[Annotated[Amount, Tag("factor")] | Annotated[RateSettings, Tag("table")], _table_or("factor")],
    ] = Field(
        default_factory=dict,
        description='Other ways of being served: a factor on the rates of tokens (`batch = "0.5"`) or rates.',
    )

    @field_validator("tiers")
    @classmethod
    def _stand_on_rates(cls, tiers: tuple[TierSettings, ...], given: ValidationInfo) -> tuple[TierSettings, ...]:
        for tier in tiers:
            if missing := [kind for kind in tier.rates() if given.data.get(kind) is None]:
                raise expected(f"a rate of {missing[0]} for shorter inputs, too, beside the tiers")
        return tiers

    @model_validator(mode="after")
    def _has_rates(self) -> Self:
        if not self.rates():
            raise expected("at least one rate, such as input")
        return self


class LaterPriceSettings(ListSettings):
    """One entry of `changes` of a price."""

    valid_from: Day = Field(description="The day (UTC) or time from which it holds, in ISO 8601.")


class PriceSettings(ListSettings):
    """US dollars per million tokens, as decimal strings."""

    changes: tuple[LaterPriceSettings, ...] = Field((), description="Whole prices that follow, each with `valid_from`.")


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
    added_later: bool = Field(
        False,
        description="`true`: routes may name it, and it is off until it is added at run time "
        "(`POST /api/v1/llm/providers`, or a stored key with an address).",
    )
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
    base_url: Address | None = Field(
        None, repr=False, description="Where the API begins, as the vendor's own SDK takes it."
    )
    keys: tuple[Secret, ...] | None = Field(
        None, description='References such as `"env:OPENAI_API_KEY"`; several share the load.'
    )
    models: Models | None = Field(
        None, description="Model names that are offered; for llamacpp a table of names and files."
    )
    patterns: tuple[str, ...] | None = Field(
        None, description="Globs of bare model names that also lead here (`gpt-*`)."
    )
    probe_model: str | None = Field(
        None,
        description="The model that `modelport test` asks. Default: the first one, else the first that a route names.",
    )
    probe_interval_s: Seconds | None = Field(
        None,
        description="Ask it a tiny question when nobody has asked it for so long. It is booked and costs money. "
        "Default: never.",
    )
    probes_per_day: Count = Field(100, description="How many of these there are in 24 hours at most.")
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
    timeouts: TimeoutSettings = Field(
        default_factory=TimeoutSettings.model_construct, description="Clocks of one attempt."
    )
    limits: LimitSettings = Field(
        default_factory=LimitSettings.model_construct, description="What the provider is asked for at most."
    )
    price: Price | None = Field(
        None, description="US dollars per million tokens, for all models or as a table by model name or glob."
    )
    discount: Part | None = Field(
        None,
        description='What is taken off the shipped prices: `"0.2"` is a fifth, `"-0.1"` adds a tenth. '
        "Prices in `price` are what is paid.",
    )
    quirks: dict[str, Any] = Field(
        default_factory=dict, description="How the server deviates from its dialect; the fields are listed below."
    )


class TargetSettings(Section):
    """One entry of `targets`."""

    target: TargetName = Field(description='`"provider/model"`.')
    weight: float = Field(1, gt=0, le=1_000_000, description="Share of the load, for the policies weighted and sticky.")
    quality: float | None = Field(
        None, ge=0, le=1, description="How good its answers are, for the policy balanced. Default: 0.5."
    )


class BalancedSettings(Section):
    """`balanced` of a route: what counts how much. Only the proportions matter."""

    cost: float = Field(1, ge=0, le=1000, description="Weight of what the request is expected to cost.")
    latency: float = Field(1, ge=0, le=1000, description="Weight of how long answers have taken of late.")
    quality: float = Field(1, ge=0, le=1000, description="Weight of the target's `quality`.")
    reliability: float = Field(1, ge=0, le=1000, description="Weight of how often it has answered of late.")

    @model_validator(mode="after")
    def _weighs_something(self) -> BalancedSettings:
        if not (self.cost or self.latency or self.quality or self.reliability):
            raise expected("at least one weight above 0")
        return self


class RaceSettings(Section):
    """`race` of a route: a second target where the first one is late."""

    delay_ms: float | None = Field(
        None,
        ge=0,
        le=600_000,
        description="How long the first target is waited for before a second one is asked too. Default: as long as 95 "
        "of 100 of its first events took lately, or less where slow ones are frequent; 2000 until that is known.",
    )
    max_extra: float = Field(
        0.1, ge=0, le=1, description="Second requests as a share of the requests, over time; short bursts may be more."
    )


class AutoSettings(Section):
    """`auto` of a route: the target is chosen by what its answer is expected to be worth."""

    mode: Literal["choose", "cascade"] = Field(
        "choose",
        description="choose: one target is asked; cascade: the two cheapest are asked together, and the others, best "
        "first, where those disagree. What `consensus` says holds for a cascade, too.",
    )
    quality: float = Field(
        0.7, ge=0, le=1, description="0: only cost counts; 1: only quality. A request may say x-modelport-quality."
    )
    model: Path | None = Field(
        None,
        description="The file that `modelport router train` wrote, relative to the configuration file. Default: none, "
        "so that the order is that of balanced.",
    )
    learn: bool = Field(False, description="Learn from outcomes: failures, and verdicts by `POST /api/v1/feedback`.")
    exploration: float = Field(
        0.01, ge=0, le=0.2, description="With learn: the share of requests that each target gets in any case."
    )

    @model_validator(mode="after")
    def _learns_by_choosing(self) -> AutoSettings:
        if self.learn and self.mode == "cascade":
            raise expected('mode = "choose" beside learn = true: a cascade learns of no outcomes')
        return self


class ConsensusSettings(Section):
    """`consensus` of a route: several targets are asked, and one answer comes out."""

    quorum: int | None = Field(
        None,
        ge=2,
        le=64,
        description="So many answers are enough; who has not answered then is given up. Default: all.",
    )
    deadline_s: Seconds | None = Field(
        None, description="How long answers are waited for; what is there then is merged. Default: the route's time."
    )
    max_cost_usd: Annotated[str, _amount('US dollars as a decimal string such as "0.05"')] | None = Field(
        None,
        description='What one request may cost in all, as a decimal string (`"0.05"`). A target is asked only when '
        "the most that it can cost still fits.",
    )
    threshold: float = Field(
        0.85, gt=0, le=1, description="From which Jaro-Winkler similarity on two texts may count as the same."
    )
    method: Literal["calibrated", "em", "whole", "jaro_winkler", "majority", "best_single"] | None = Field(
        None, description="How answers are merged. Default: what the route's own history shows to be best."
    )
    judge: TargetName | None = Field(
        None, description='`"provider/model"` that chooses between long plain answers. Default: the one most alike.'
    )
    escalate: TargetName | None = Field(
        None, description='`"provider/model"` that is asked when the targets disagree; its answer is taken then.'
    )
    confidence_field: str | None = Field(
        None,
        min_length=1,
        max_length=128,
        description="Member of the answers in which targets say how sure they are, 0 to 1 or 0 to 100.",
    )
    keep_alive_s: float = Field(
        5, gt=0, le=300, description="A client of a stream gets its head and then comments, each after such a silence."
    )
    keep_answers_s: float = Field(
        604_800,
        ge=0,
        le=31_536_000,
        description="How long all answers and votes are kept, to be shown and to learn from feedback. 0: not at all.",
    )


class RouteSettings(Section):
    """`[routes.NAME]`: a name that a client may put into `model`."""

    policy: Annotated[str, _one_of(READY_POLICIES, LATER_POLICIES, "policy")] = Field(
        "failover",
        description="failover: in the order given; weighted: by chance, in proportion to the weights; cost: cheapest "
        "first; latency: fastest first; balanced: by a weighted sum; sticky: always the same for the same caller; "
        "race: a second one where the first is late; consensus, best_match: several are asked and one answer comes "
        "out; auto: by a trained model.",
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
    cache: (
        Annotated[Annotated[CacheMode, Tag("mode")] | Annotated[RouteCacheSettings, Tag("table")], _table_or("mode")]
        | None
    ) = Field(None, description="Overrides `cache.mode` for this route; or a table, see below.")
    repair: bool | None = Field(None, description="Overrides `structured.repair` for this route.")
    log: bool | None = Field(None, description="Overrides `request_log.enabled` for this route.")
    resume: bool = Field(
        False,
        description="Where a stream breaks off in mid-text, let another target go on with it. "
        "`x-modelport-resume` says so for one request.",
    )
    balanced: BalancedSettings = Field(default_factory=BalancedSettings, description="For the policy balanced.")
    sticky_by: Literal["user", "key", "conversation"] = Field(
        "user",
        description="For the policy sticky: what has to be the same. Without a user it is the key, without a key the "
        "conversation.",
    )
    exploration: float = Field(
        0.05,
        ge=0,
        le=1,
        description="For the policies latency and balanced: the share of requests that measure a target of which "
        "nothing is known of late.",
    )
    affinity: bool | None = Field(
        None,
        description="Keep a conversation at the target and key whose prompt cache holds its beginning, while that "
        "saves more than it costs. Default: for the policy sticky alone.",
    )
    race: RaceSettings = Field(default_factory=RaceSettings, description="For the policy race.")
    consensus: ConsensusSettings = Field(
        default_factory=ConsensusSettings, description="For the policies consensus and best_match."
    )
    auto: AutoSettings = Field(default_factory=AutoSettings, description="For the policy auto.")

    @property
    def caching(self) -> RouteCacheSettings:
        """What `cache` says, as a table."""
        return self.cache if isinstance(self.cache, RouteCacheSettings) else RouteCacheSettings(mode=self.cache)

    @property
    def weighted(self) -> tuple[TargetSettings, ...]:
        """The targets, each with its weight."""
        return tuple(each if isinstance(each, TargetSettings) else TargetSettings(target=each) for each in self.targets)


class Settings(Section):
    """The whole configuration, secrets resolved, paths absolute."""

    server: ServerSettings = Field(default_factory=ServerSettings, description="The port.")
    limits: BoundSettings = Field(
        default_factory=BoundSettings, description="What one connection, request or answer may take."
    )
    auth: AuthSettings = Field(default_factory=AuthSettings, description="Who gets in.")
    storage: StorageSettings = Field(default_factory=StorageSettings, description="The database.")
    ledger: LedgerSettings = Field(default_factory=LedgerSettings, description="What becomes of the ledger's rows.")
    secrets: SecretsSettings = Field(
        default_factory=SecretsSettings, description="What secrets in the database are encrypted with."
    )
    request_log: RequestLogSettings = Field(
        default_factory=RequestLogSettings, description="Requests and answers, kept to be read again."
    )
    cache: CacheSettings = Field(default_factory=CacheSettings, description="Answers kept for equal requests.")
    queries: QuerySettings = Field(default_factory=QuerySettings, description="Questions that are answered later.")
    memory: MemorySettings = Field(default_factory=MemorySettings, description="What is kept of conversations.")
    catalog: CatalogSettings = Field(default_factory=CatalogSettings, description="What is known of models.")
    prices: PricesSettings = Field(default_factory=PricesSettings, description="What answers cost.")
    structured: StructuredSettings = Field(default_factory=StructuredSettings, description="Answers with a schema.")
    logging: LoggingSettings = Field(default_factory=LoggingSettings, description="What is written to standard error.")
    retry: RetrySettings = Field(default_factory=RetrySettings, description="Asking the same target again.")
    breaker: BreakerSettings = Field(default_factory=BreakerSettings, description="Leaving a failing target alone.")
    alerts: AlertSettings = Field(default_factory=AlertSettings, description="Who is told of budgets.")
    errors: ErrorSettings = Field(default_factory=ErrorSettings, description="Who is told of unexpected exceptions.")
    telemetry: TelemetrySettings = Field(default_factory=TelemetrySettings, description="OpenTelemetry.")
    budgets: dict[str, BudgetSettings] = Field(default_factory=dict, description="What may be spent.")
    providers: dict[str, ProviderSettings] = Field(default_factory=dict, description="Who answers.")
    routes: dict[str, RouteSettings] = Field(
        default_factory=dict, description="Names with a policy and targets behind them."
    )


def is_web_address(text: str) -> bool:
    """Whether *text* is an http address, with or without a query."""
    try:
        parts = urlsplit(text)
        return parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False
