"""The answers of the administrative endpoints, as the document describes them. No request ever passes through these.

A test asks every endpoint and holds its answer against its model, which lets nothing pass that is not described.
"""

from __future__ import annotations

from typing import Annotated, Any, Generic, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field

from proxy.ingress.places import LimitsBody

Usd = Annotated[str, Field(description="US dollars as a decimal string.", examples=["0.012345000"])]
Moment = Annotated[str, Field(description="ISO 8601, UTC.", examples=["2026-11-21T02:10:34Z"])]
Status = Literal["open", "ok", "failed", "aborted", "interrupted"]
E = TypeVar("E")


class Answer(BaseModel):
    """Nothing but the fields that there are."""

    model_config = ConfigDict(extra="forbid")


class Listed(Answer, Generic[E]):
    """Everything at once."""

    data: list[E]


class Paged(Listed[E], Generic[E]):
    """One page; *next* goes into the query as `cursor`."""

    next: str | None = Field(description="Where the next page begins; null: this was the last.")


# --- state -----------------------------------------------------------------------------------------


class State(Answer):
    """One word."""

    status: Literal["ok", "draining", "ledger_unavailable"]


class Percentiles(Answer):
    """Milliseconds."""

    p50: float | None
    p95: float | None


class KeysInUse(Answer):
    """How many keys a provider has, and how many of them rest at the moment."""

    total: int
    available: int


class QueueNow(Answer):
    """Who waits for a provider's own limits, and what came of those that had to since the start."""

    waiting: int
    served: int
    waited_s: float = Field(description="Of all that were served together.")
    left: int = Field(description="Clients that did not wait for it.")
    refused: dict[Literal["too_large", "too_long", "full", "pushed_out", "too_late"], int]
    room: dict[str, int] = Field(description="What is left of each limit.")


class EjectedModel(Answer):
    """A model that does worse than the others of its routes."""

    model: str
    for_s: float
    why: str


class ProbesMade(Answer):
    """Probes since the start, by whether they were answered."""

    ok: int
    failed: int


class ProviderHealth(Answer):
    """How a provider does. A key that does not run the house is told less."""

    name: str
    status: Literal["healthy", "degraded", "unhealthy", "unknown"]
    breaker: Literal["closed", "open", "half_open"]
    latency_ms: Percentiles
    first_event_ms: Percentiles
    cooldown_s: float
    requests: int | None = None
    errors: int | None = None
    success_rate: float | None = None
    last_success: Moment | None = None
    last_failure: Moment | None = None
    last_error: str | None = None
    keys: KeysInUse | None = None
    calls: int | None = Field(None, description="Since the start, as are tokens and cost.")
    input_tokens: int | None = None
    cached_input_tokens: int | None = None
    output_tokens: int | None = None
    cost_usd: Usd | None = None
    unpriced_calls: int | None = None
    queue: QueueNow | None = None
    ejected: list[EjectedModel] | None = Field(None, description="Models that go behind others of their routes now.")
    ejections: int | None = None
    probes: ProbesMade | None = None


class Health(BaseModel):
    """The state of every enabled provider and of the store."""

    model_config = ConfigDict(extra="allow")

    status: Literal["ok", "degraded", "down"]
    version: str
    providers: list[ProviderHealth]
    storage: dict[str, Any]
    uptime_s: float | None = None
    cache: dict[str, Any] | None = None
    in_flight: int | None = None
    room: dict[str, dict[str, float]] | None = Field(
        None, description="Long bodies and answers in memory: MiB that they hold, those that wait, those refused."
    )
    descriptors: dict[str, bool | int] | None = Field(
        None, description="Whether the process has had no file descriptor for a call of late, and how often in all."
    )
    auth: dict[str, int] | None = Field(None, description="Wrong keys since the start, and those answered with 429.")
    memory: dict[str, Any] | None = None
    overbilled: dict[str, dict[str, float]] | None = Field(
        None, description="Targets that bill more than a request can have, and what budgets reserve for them."
    )
    spent: dict[str, Any] | None = Field(
        None, description="Since the start: requests for which somebody was asked, their cost, and its average."
    )
    routing: dict[str, Any] | None = Field(
        None, description="Since the start: retries, races, rounds of several targets, streams that broke off."
    )
    probe: dict[str, Any] | None = None


# --- money -----------------------------------------------------------------------------------------


class Figures(BaseModel):
    """Sums. A group of them has its names beside them."""

    model_config = ConfigDict(extra="allow")

    exchanges: int
    attempts: int
    errors: int
    cache_hits: int
    input_tokens: int
    cached_input_tokens: int
    cache_write_tokens: int
    output_tokens: int
    reasoning_tokens: int
    cost_usd: Usd
    exact_usd: Usd
    estimated_usd: Usd
    unpriced_attempts: int = Field(description="Attempts whose cost is unknown; it is in none of the sums.")
    saved_usd: Usd = Field(description="What answers from the cache would have cost again.")
    saved_input_tokens: int = Field(description="The tokens that they would have taken; no other number has them.")
    saved_output_tokens: int


class Costs(BaseModel):
    """The ledger summed."""

    model_config = ConfigDict(extra="allow")

    since: Moment
    until: Moment
    currency: Literal["USD"]
    group_by: list[str]
    total: Figures
    groups: list[Figures]


class LossTold(Answer):
    """A field that the target could not express."""

    field: str
    action: str
    reason: str


class _Tokens(Answer):
    input_tokens: int
    cached_input_tokens: int
    cache_write_tokens: int
    output_tokens: int
    reasoning_tokens: int


class AttemptRow(_Tokens):
    """One request to one target."""

    number: int
    provider: str
    model: str
    key_index: int | None
    started_at: Moment | None
    ended_at: Moment | None
    status: Status
    http_status: int | None
    error_kind: str | None
    error: str | None
    cost_usd: Usd | None
    price_source: str | None
    price_version: str | None
    raw_usage: dict[str, Any] | None
    estimated: bool
    latency_ms: float | None
    first_event_ms: float | None


class _ExchangeRow(_Tokens):
    id: str
    opened_at: Moment
    settled_at: Moment | None
    status: Status
    key_id: str | None
    tags: dict[str, str]
    dialect: str
    route: str | None
    target: str | None
    stream: bool
    cache: Literal["hit", "miss", "bypass", "stale"] | None
    cost_usd: Usd | None
    saved_usd: Usd
    estimated: bool
    latency_ms: float | None
    first_event_ms: float | None
    losses: list[LossTold]
    error: str | None
    client_request_id: str | None


class ExchangeRow(_ExchangeRow):
    """One client's request."""

    attempts: int


class ExchangeWhole(_ExchangeRow):
    """One client's request with everything that was done for it."""

    attempts: list[AttemptRow]
    votes: list[dict[str, Any]] = Field(description="Where several targets were asked: what each of them said.")
    consensus: dict[str, Any] | None = Field(description="How their answers became one.")


class Pruned(Answer):
    """What was removed of the ledger."""

    removed: int
    before: Moment
    sums_kept: bool


class Difference(Answer):
    """Something of the ledger that does not fit."""

    kind: str
    where: str
    what: str
    expected: Any
    found: Any


class Verified(Answer):
    """The ledger, checked against itself and the prices."""

    status: Literal["ok", "differences"]
    exchanges: int
    attempts: int
    charges: int
    days: int
    costs_recomputed: int
    costs_not_recomputed: int
    count: int = Field(description="Differences there are; not all of them may be listed.")
    differences: list[Difference]


class PriceShown(Answer):
    """A model's price at one provider."""

    provider: str
    model: str | None
    source: str | None
    version: str | None
    rates: dict[str, Any] | None
    served: list[dict[str, Any]]


class Prices(Answer):
    """A model's price at every provider that offers it."""

    at: Moment
    currency: Literal["USD"]
    data: list[PriceShown]


class UnpricedModel(Answer):
    """A model of which nobody knows what it costs."""

    provider: str
    model: str
    attempts: int
    input_tokens: int
    output_tokens: int
    first_at: Moment
    last_at: Moment


class Unpriced(Answer):
    """Models with attempts whose cost is unknown."""

    since: Moment
    until: Moment
    models: list[UnpricedModel]


class _Repriced(Answer):
    attempts: int
    changed: int
    still_unpriced: int
    before_usd: Usd
    after_usd: Usd


class RepricedModel(_Repriced):
    """What became of one model's attempts."""

    provider: str
    model: str


class Repriced(_Repriced):
    """Costs, computed anew."""

    since: Moment
    until: Moment
    dry_run: bool
    models: list[RepricedModel]


class BudgetShown(Answer):
    """A budget, and how it stands."""

    id: str
    name: str
    kind: Literal["global", "organisation", "team", "key", "tag", "provider", "route"]
    subject: str | None
    origin: str
    limit_usd: Usd
    window: Literal["hour", "day", "month", "total"]
    rolling: bool
    hard: bool
    unpriced: Literal["refuse", "allow"]
    alerts: list[int] = Field(description="Percentages of the limit.")
    assumed_output_tokens: int
    spent_usd: Usd | None = None
    reserved_usd: Usd | None = None
    left_usd: Usd | None = None
    over_usd: Usd | None = None
    percent: float | None = None
    unpriced_attempts: int | None = None
    since: Moment | None = None
    reopens_at: Moment | None = None
    status: str | None = None


class BudgetAlert(Answer):
    """A threshold was passed, and whether somebody was told."""

    id: str
    event: str
    percent: int | None
    at: Moment
    delivered_at: Moment | None
    waiting: bool
    tries: int
    error: str | None


class BudgetWhole(BudgetShown):
    """A budget with its newest alerts."""

    recent_alerts: list[BudgetAlert]


class BudgetRemoved(Answer):
    """A budget is gone."""

    id: str
    name: str
    removed: Literal[True]


# --- keys ------------------------------------------------------------------------------------------


class _Given(Answer):
    models: list[str]
    routes: list[str]
    endpoints: list[str]
    tags: dict[str, str]
    limits: LimitsBody
    cache: Literal["off", "deterministic", "all"] | None
    losses: Literal["warn", "reject", "ignore"] | None
    logs: bool | None
    warnings: list[str] | None = Field(
        None, description="Globs that match nothing that there is now. Not in lists, and not of a key that was rotated."
    )


class KeyBudget(Answer):
    """What a key may spend."""

    id: str
    limit_usd: Usd
    window: str
    rolling: bool
    hard: bool
    unpriced: str


class KeyShown(_Given):
    """A virtual key, without its text."""

    id: str
    name: str
    prefix: str
    status: Literal["active", "expired", "revoked"]
    organisation: str | None
    team: str | None
    roles: list[Literal["admin", "operator", "developer", "viewer"]]
    budget: KeyBudget | None
    signing: bool
    made_by: str
    created_at: Moment
    expires_at: Moment | None
    ends_at: Moment | None = Field(description="`expires_at`, or the end of a key that made it if that is earlier.")
    revoked_at: Moment | None
    last_used_at: Moment | None


class KeyMade(KeyShown):
    """A virtual key with its text, which is shown this once."""

    key: str = Field(examples=["mp-…"])
    signing_secret: str = Field("", description="What its requests are signed with, where they have to be.")


class KeyRotated(KeyMade):
    """A virtual key with its new text, which is shown this once."""

    old_key_until: Moment


class OrganisationShown(_Given):
    """An organisation."""

    id: str
    name: str
    teams: list[str]
    keys: int
    created_at: Moment


class TeamShown(_Given):
    """A team."""

    id: str
    name: str
    organisation: str
    keys: int
    created_at: Moment


class PlaceRemoved(Answer):
    """An organisation or team is gone."""

    id: str
    removed: Literal[True]


# --- credentials and audit -------------------------------------------------------------------------


class CredentialShown(Answer):
    """A stored key of a provider, without the key."""

    name: str
    provider: str
    weight: int
    enabled: bool
    base_url: str | None
    dialect: str | None
    fingerprint: str | None = Field(description="Tells keys apart, and nothing more.")
    in_use: bool
    why_not: str | None
    created_at: Moment
    rotated_at: Moment | None


class CredentialRemoved(Answer):
    """A stored key is gone."""

    removed: str
    provider: str


class CredentialChecked(Answer):
    """Whether a vendor takes a key, found out without spending."""

    name: str
    provider: str
    status: Literal["ok", "unproven", "refused", "failed", "impossible"]
    asked: str | None = Field(description="Where.")
    error: str | None


class Sealing(Answer):
    """With which keys the stored values are encrypted, by the keys' ids."""

    key_id: str | None
    known: list[str]
    values: dict[str, int] = Field(description="How many stored values were sealed with which key.")


class Resealed(Sealing):
    """Everything is encrypted anew."""

    resealed: int


class AuditEntry(Answer):
    """A change: by whom, of what, and what it was before and after."""

    seq: int
    at: Moment
    actor: str
    action: str
    subject: str
    before: Any
    after: Any
    hash: str


class LogEntry(Answer):
    """What was asked and answered, by the beginnings of both."""

    row: int = Field(description="Its number; as `after` it asks for what came later.")
    id: str = Field(description="The `x-request-id` of the answer.")
    at: Moment
    key: str | None
    team: str | None
    organisation: str | None
    dialect: str
    route: str
    target: str | None
    status: Literal["ok", "failed", "aborted", "interrupted"]
    stream: bool
    cache: str
    latency_ms: float
    cost_usd: Usd | None
    error: str | None
    question: str
    answer: str


class LogWhole(LogEntry):
    """The same with the bodies, cleaned of keys and of what else is taken out."""

    request: dict[str, Any]
    response: dict[str, Any] | None


class Removed(Answer):
    """How much was removed, and what was meant."""

    removed: int
    before: str | None = None
    key: str | None = None


class AuditVerdict(Answer):
    """Whether the log is as it was written."""

    ok: bool
    entries: int
    head: str
    broken_at: int | None
    reason: str | None
    head_found_at: int | None


class LoggerShown(Answer):
    """A logger of the server."""

    name: str
    level: Literal["debug", "info", "warning", "error"] | None = Field(
        description="The least that it writes; null: as the one above it."
    )


# --- models and cache ------------------------------------------------------------------------------


class CatalogEntry(Answer):
    """What is known of a model and where it comes from."""

    provider: str
    model: str
    dialect: str
    rules: dict[str, Any]
    listed: dict[str, Any] | None
    lessons: list[dict[str, Any]]


class ModelList(Answer):
    """Whether and when a vendor's list of models was fetched."""

    provider: str
    source: str | None
    fetched_at: Moment | None
    models: int | None
    never_asked: str | None


class CatalogShown(Answer):
    """What is known, model by model."""

    data: list[CatalogEntry]
    lists: list[ModelList]


class Refreshed(Answer):
    """What asking one vendor for its list brought."""

    provider: str
    status: Literal["ok", "failed", "skipped"]
    models: int | None
    added: list[str]
    removed: list[str]
    changed: dict[str, list[str]]
    error: str | None
    source: str | None
    fetched_at: Moment | None


class CatalogRefreshed(Answer):
    """What asking vendors for their lists brought."""

    providers: list[Refreshed]


class Forgotten(Answer):
    """How many lessons were unlearned."""

    forgotten: int


class CacheShare(Answer):
    """What the cache holds of one route and model, and what that was good for since the start."""

    route: str
    model: str | None = Field(description="`provider/model`; null: nobody answered.")
    entries: int
    size_mb: float
    hits: int
    stale_hits: int
    similar_hits: int
    misses: int
    saved_usd: Usd


class SemanticStats(Answer):
    """Questions that can be asked in other words; hits and misses since the start."""

    entries: int
    hits: int
    word_hits: int
    vector_hits: int
    misses: int
    hit_rate: float
    guarded: int = Field(description="Questions that were near enough, and that were kept apart.")
    false_hits: int
    never_pairs: int = Field(description="Pairs of questions that were reported and never match again.")


class CacheStats(Answer):
    """What the cache holds, and what it was good for since the start."""

    entries: int
    hits: int
    misses: int
    hit_rate: float
    size_mb: float
    stale_hits: int = Field(description="Of the hits, those that were too old and are being renewed.")
    similar_hits: int = Field(description="Of the hits, those that were the same question in other words.")
    saved_usd: Usd
    dropped: int = Field(description="Answers that were too large, or that the disk did not take.")
    by: list[CacheShare]
    semantic: SemanticStats


class Cleared(Answer):
    """How many answers were forgotten."""

    cleared: int


class Learnt(BaseModel):
    """A verdict was kept; what it taught depends on its kind."""

    model_config = ConfigDict(extra="allow")

    exchange_id: str
    kind: str


class RouteShown(Answer):
    """A route, and the order in which it would ask its targets now. Of one that is gone there is only the name."""

    name: str
    policy: str | None
    configured_policy: str | None = None
    chosen: dict[str, Any] | None = Field(None, description="The policy that was chosen at run time, by whom and when.")
    order: list[str] = Field(default_factory=list)
    targets: list[dict[str, Any]] = Field(default_factory=list)
    losses: str | None = None


class Explained(BaseModel):
    """Why a request goes where it goes: each target of the route."""

    model_config = ConfigDict(extra="allow")

    route: str
    policy: str
    affinity: bool
    input_tokens: int
    refused: str | None = Field(description="Why no target can serve it.")
    candidates: list[dict[str, Any]]


# --- providers and queries -------------------------------------------------------------------------


class KeyLimits(Answer):
    """What is asked with each key of a provider; null is no limit."""

    requests_per_minute: int | None
    tokens_per_minute: int | None
    concurrent: int | None


class ProviderLimits(Answer):
    """What a provider is asked for at most; null is no limit."""

    requests_per_minute: int | None
    tokens_per_minute: int | None
    concurrent: int | None
    queue: int
    queue_s: float
    per_key: KeyLimits


class ProviderShown(Answer):
    """A provider. No key is in it."""

    id: str
    title: str
    enabled: bool
    why_off: str | None
    status: Literal["healthy", "degraded", "unhealthy", "unknown", "off"]
    origin: Literal["shipped", "configuration", "run time"]
    backend: Literal["http", "llamacpp", "demo"]
    dialect: str
    also_speaks: list[str]
    base_url: str | None
    models: list[str]
    patterns: list[str]
    keys: KeysInUse
    limits: ProviderLimits
    said: dict[str, Any] | None = Field(description="What was said of it at run time.")
    changed_at: Moment | None


class ProviderStatus(Answer):
    """How a provider does: its entry of `/health`, and its limits."""

    id: str
    enabled: bool
    why_off: str | None
    limits: ProviderLimits
    status: Literal["healthy", "degraded", "unhealthy", "unknown", "off"]
    breaker: Literal["closed", "open", "half_open"] | None = None
    requests: int | None = None
    errors: int | None = None
    success_rate: float | None = None
    latency_ms: Percentiles | None = None
    first_event_ms: Percentiles | None = None
    last_success: Moment | None = None
    last_failure: Moment | None = None
    last_error: str | None = None
    cooldown_s: float | None = None
    keys: KeysInUse | None = None


class ProviderRemoved(Answer):
    """What was said at run time is taken back."""

    name: str
    removed: Literal[True]


class QueryTokens(Answer):
    """Tokens so far. While it runs, the output is estimated from what has come."""

    input: int | None
    output: int
    estimated: bool


class QueryError(Answer):
    """What went wrong, as OpenAI's envelope has it, with the status that a waiting client would have had."""

    message: str
    type: str
    param: str | None
    code: str | int | None
    status: int


class QueryStatus(Answer):
    """How far a query is."""

    query_id: str = Field(examples=["qry_6b01f4b3883f51382ffb1870"])
    status: Literal["queued", "running", "completed", "failed", "cancelled"]
    exchange_id: str | None = Field(None, description="Its row in the ledger: /api/v1/exchanges/{id}.")
    created_at: Moment | None
    started_at: Moment | None
    ended_at: Moment | None
    expires_at: Moment | None = Field(None, description="Until when the result of one that has ended is kept.")
    model: str | None = None
    target: str | None = Field(None, description="`provider/model`, as soon as somebody answers.")
    route: str | None = None
    cache: Literal["hit", "miss", "bypass", "stale"] | None = None
    attempts: int | None = None
    cost_usd: Usd | None = None
    losses: list[LossTold] = Field(default_factory=list)
    tokens: QueryTokens | None = None
    error: QueryError | None = None


class QueryResult(QueryStatus):
    """A query with what it gave."""

    text: str | None = Field(None, description="What the model has written, as far as it came.")
    result: dict[str, Any] | None = Field(None, description="The whole answer as a chat completion of OpenAI's.")
