"""Descriptions of what runs the house: a new administrative row of `proxy.routes` is described here."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from proxy.ingress import (
    books,
    budgets,
    credentials,
    feedback,
    keys,
    llm,
    llm_providers,
    log_levels,
    organisations,
    prices,
    routes_admin,
)
from proxy.openapi import models
from proxy.openapi.operation import ANY_OBJECT, EVENTS, Media, Operation, Operations, Parameter, Row, Schema, ok
from storage.sums import GROUPINGS

SPAN: Final = "An ISO 8601 time, or a span back from now such as 30m, 24h, 7d."
SINCE: Final = Parameter("since", f"From when on. {SPAN}")
UNTIL: Final = Parameter("until", f"Up to when. {SPAN} Default: now.")
CURSOR: Final = Parameter("cursor", "The `next` of the page before.")


def _number(name: str, text: str, most: int) -> Parameter:
    return Parameter(name, text, {"type": "integer", "minimum": 1, "maximum": most})


def _one_of(name: str, text: str, *words: str) -> Parameter:
    return Parameter(name, text, {"type": "string", "enum": list(words)})


def _single(
    tag: str,
    path: str,
    what: str,
    shown: Schema,
    *,
    read: Schema | None = None,
    change: Schema | None = None,
    example: Any = None,
    removed: Schema | None = None,
) -> Operations:
    """One thing at *path*, whose placeholder stands for *what*: read, changed and removed, each answered by a model.

    *read* is what reading answers where that is not *shown*, *change* the body that changes it, *removed* the answer
    to removing it; *example* is one of *change*. What has no model cannot be done.
    """
    start, name = path.rstrip("}").split("{")
    parameters = {name: what}
    done: dict[Row, tuple[Operation, ...]] = {
        ("GET", f"{start}{{}}"): (Operation(tag, ok(read or shown), path=path, parameters=parameters),)
    }
    if change:
        changed = Operation(tag, ok(shown), path=path, parameters=parameters, body=change, example=example)
        done["PATCH", f"{start}{{}}"] = (changed,)
    if removed:
        done["DELETE", f"{start}{{}}"] = (Operation(tag, ok(removed), path=path, parameters=parameters),)
    return done


_ID: Final = "Its id."
_STATE: Final[Operations] = {
    ("GET", "/openapi.json"): (Operation("State", ok(ANY_OBJECT), summary="This document"),),
    ("GET", "/health"): (
        Operation(
            "State",
            {**ok(models.Health), 503: Media(models.Health, description="No provider can be used.")},
            query=(
                _one_of("probe", "1: ask every provider a tiny question, which costs money; master key only.", "1"),
            ),
        ),
    ),
    ("GET", "/health/live"): (Operation("State", ok(models.State)),),
    ("GET", "/health/ready"): (
        Operation("State", {**ok(models.State), 503: Media(models.State, description="Not now.")}),
    ),
    ("GET", "/metrics"): (
        Operation("State", {200: Media({"type": "string"}, "text/plain")}, summary="Metrics in Prometheus' text form"),
    ),
}
_MONEY: Final[Operations] = {
    ("GET", "/costs"): (
        Operation(
            "Money",
            {200: (Media(models.Costs), Media({"type": "string"}, "text/csv"))},
            query=(
                Parameter("since", f"From when on. {SPAN} Default: 24h."),
                UNTIL,
                Parameter("group_by", f"Some of {', '.join(GROUPINGS)}, between commas. Default: provider,model."),
                _one_of("format", "Default: json.", "json", "csv"),
            ),
        ),
    ),
    ("GET", "/api/v1/exchanges"): (
        Operation(
            "Money",
            ok(models.Paged[models.ExchangeRow]),
            query=(
                SINCE,
                UNTIL,
                Parameter("key", "Id of the virtual key that asked."),
                _one_of("status", "How it ended.", "open", "ok", "failed", "aborted", "interrupted"),
                CURSOR,
                _number("limit", "Rows on a page. Default: 100.", 1000),
            ),
        ),
    ),
    ("GET", "/api/v1/exchanges/{}"): (
        Operation(
            "Money",
            ok(models.ExchangeWhole),
            path="/api/v1/exchanges/{id}",
            parameters={"id": "The `x-request-id` of the answer."},
        ),
    ),
    ("GET", "/api/v1/ledger/export"): (
        Operation(
            "Money",
            {200: (Media({"type": "string"}, "application/jsonl"), Media({"type": "string"}, "text/csv"))},
            query=(SINCE, UNTIL, _one_of("format", "Default: jsonl.", "jsonl", "csv")),
        ),
    ),
    ("POST", "/api/v1/ledger/prune"): (
        Operation("Money", ok(models.Pruned), body=books.PruneBody, example={"before": "90d"}),
    ),
    ("POST", "/api/v1/ledger/verify"): (Operation("Money", ok(models.Verified)),),
    ("GET", "/api/v1/prices"): (
        Operation(
            "Money",
            ok(models.Prices),
            query=(
                Parameter("model", "`provider/model`, or a model's name.", required=True),
                Parameter("at", f"The price of which moment. {SPAN} Default: now."),
            ),
        ),
    ),
    ("GET", "/api/v1/prices/unpriced"): (
        Operation(
            "Money", ok(models.Unpriced), query=(SINCE, UNTIL, Parameter("model", "A model; globs are allowed."))
        ),
    ),
    ("POST", "/api/v1/prices/reprice"): (
        Operation("Money", ok(models.Repriced), body=prices.RepriceBody, body_required=False, example={"since": "7d"}),
    ),
}
_BUDGETS: Final[Operations] = {
    ("POST", "/api/v1/budgets"): (
        Operation(
            "Money",
            ok(models.BudgetShown, status=201),
            body=budgets.NewBudget,
            example={"name": "search, daily", "team": "search", "limit_usd": "10", "window": "day"},
        ),
    ),
    ("GET", "/api/v1/budgets"): (
        Operation(
            "Money",
            ok(models.Listed[models.BudgetShown]),
            query=tuple(
                Parameter(name, f"Only those of this {name}.") for name in ("kind", "subject", "origin", "name")
            ),
        ),
    ),
    **_single(
        "Money",
        "/api/v1/budgets/{id}",
        "Its id or its name.",
        models.BudgetShown,
        read=models.BudgetWhole,
        change=budgets.BudgetChange,
        example={"limit_usd": "20"},
        removed=models.BudgetRemoved,
    ),
}
_KEYS: Final[Operations] = {
    ("POST", "/api/v1/keys"): (
        Operation(
            "Keys",
            ok(models.KeyMade, status=201),
            body=keys.NewKey,
            example={
                "name": "search, production",
                "budget": {"limit_usd": "50", "window": "month"},
                "limits": {"requests_per_minute": 600},
                "models": ["anthropic/*", "fast"],
                "expires_at": "90d",
            },
        ),
    ),
    ("GET", "/api/v1/keys"): (
        Operation(
            "Keys",
            ok(models.Listed[models.KeyShown]),
            query=(
                Parameter("organisation", "Only those of this organisation."),
                Parameter("team", "Only those of this team."),
                _one_of("status", "Only those.", "active", "expired", "revoked"),
            ),
        ),
    ),
    **_single("Keys", "/api/v1/keys/{id}", _ID, models.KeyShown, change=keys.KeyChange, removed=models.KeyShown),
    ("POST", "/api/v1/keys/{}"): (
        Operation(
            "Keys",
            ok(models.KeyRotated),
            path="/api/v1/keys/{id}/rotate",
            parameters={"id": _ID},
            body=keys.Rotation,
            body_required=False,
            summary="Give a key a new text",
            description="The new text is in this answer and nowhere else.",
            example={"overlap_s": 3600},
        ),
    ),
    ("POST", "/api/v1/organisations"): (
        Operation(
            "Keys",
            ok(models.OrganisationShown, status=201),
            body=organisations.NewOrganisation,
            example={"name": "Acme"},
        ),
    ),
    ("GET", "/api/v1/organisations"): (Operation("Keys", ok(models.Listed[models.OrganisationShown])),),
    **_single(
        "Keys",
        "/api/v1/organisations/{id}",
        _ID,
        models.OrganisationShown,
        change=organisations.PlaceChange,
        removed=models.PlaceRemoved,
    ),
    ("POST", "/api/v1/teams"): (
        Operation(
            "Keys",
            ok(models.TeamShown, status=201),
            body=organisations.NewTeam,
            example={"name": "Search", "organisation": "acme"},
        ),
    ),
    ("GET", "/api/v1/teams"): (
        Operation(
            "Keys",
            ok(models.Listed[models.TeamShown]),
            query=(Parameter("organisation", "Only those of this organisation."),),
        ),
    ),
    **_single(
        "Keys",
        "/api/v1/teams/{id}",
        _ID,
        models.TeamShown,
        change=organisations.PlaceChange,
        removed=models.PlaceRemoved,
    ),
}
_NAME: Final = "What it is called."
_LOGGER: Final[Mapping[str, str]] = {"name": "The logger's name; `root` for all that have no level of their own."}
_LOG_FILTERS: Final = (
    SINCE,
    UNTIL,
    Parameter("key", "Id of the virtual key that asked; empty: whoever asked without one."),
    Parameter("model", "A `provider/model`, or a model."),
    Parameter("route", "The route that was asked."),
    _one_of("status", "How it ended.", "ok", "failed", "aborted", "interrupted"),
    Parameter("text", "Words that one message has, all of them; phrases between quotation marks."),
)
_SECRETS: Final[Operations] = {
    ("GET", "/api/v1/credentials"): (
        Operation(
            "Credentials",
            ok(models.Listed[models.CredentialShown]),
            query=(Parameter("provider", "Only those of this provider."),),
        ),
    ),
    ("POST", "/api/v1/credentials"): (
        Operation(
            "Credentials",
            ok(models.CredentialShown, status=201),
            body=credentials.NewCredential,
            example={"provider": "openai", "key": "sk-proj-…"},
        ),
    ),
    **_single(
        "Credentials",
        "/api/v1/credentials/{name}",
        _NAME,
        models.CredentialShown,
        change=credentials.CredentialChange,
        removed=models.CredentialRemoved,
    ),
    ("POST", "/api/v1/credentials/{}"): (
        Operation(
            "Credentials",
            ok(models.CredentialShown),
            path="/api/v1/credentials/{name}/rotate",
            parameters={"name": _NAME},
            body=credentials.KeyBody,
            summary="Put another key in the place of a stored one",
        ),
        Operation(
            "Credentials",
            ok(models.CredentialChecked),
            path="/api/v1/credentials/{name}/check",
            parameters={"name": _NAME},
            summary="Ask the vendor whether it takes a stored key, without spending",
        ),
    ),
    ("GET", "/api/v1/secrets"): (Operation("Credentials", ok(models.Sealing)),),
    ("POST", "/api/v1/secrets/rotate"): (Operation("Credentials", ok(models.Resealed)),),
    ("GET", "/api/v1/audit"): (
        Operation(
            "Audit",
            ok(models.Paged[models.AuditEntry]),
            query=(
                SINCE,
                UNTIL,
                Parameter("subject", "Of what."),
                Parameter("actor", "By whom."),
                Parameter("action", "Such as `key.created`, or `key` for all of them."),
                _number("limit", "Entries on a page. Default: 100.", 1000),
                CURSOR,
            ),
        ),
    ),
    ("GET", "/api/v1/logs"): (
        Operation(
            "Audit",
            ok(models.Paged[models.LogEntry]),
            query=(
                *_LOG_FILTERS,
                _number("limit", "Entries on a page. Default: 100.", 1000),
                CURSOR,
                Parameter("after", "Only what came after the entry with this `row`, oldest first."),
            ),
        ),
    ),
    ("GET", "/api/v1/logs/export"): (
        Operation("Audit", {200: Media({"type": "string"}, "application/jsonl")}, query=_LOG_FILTERS),
    ),
    ("GET", "/api/v1/logs/{}"): (
        Operation(
            "Audit",
            ok(models.LogWhole),
            path="/api/v1/logs/{id}",
            parameters={"id": "The `x-request-id` of the answer."},
        ),
    ),
    ("DELETE", "/api/v1/logs"): (
        Operation(
            "Audit",
            ok(models.Removed),
            query=(
                Parameter("before", f"What is older. {SPAN} now: everything."),
                Parameter("key", "What this virtual key has asked; empty: whoever asked without one."),
            ),
        ),
    ),
    ("GET", "/api/v1/audit/verify"): (
        Operation(
            "Audit", ok(models.AuditVerdict), query=(Parameter("head", "A hash that was noted earlier, hexadecimal."),)
        ),
    ),
}
_PROVIDER: Final = Parameter("provider", "A provider.")
_KNOWN: Final[Operations] = {
    ("GET", "/api/v1/log-levels"): (Operation("State", ok(models.Listed[models.LoggerShown])),),
    ("PUT", "/api/v1/log-levels/{}"): (
        Operation(
            "State",
            ok(models.LoggerShown),
            path="/api/v1/log-levels/{name}",
            parameters=_LOGGER,
            body=log_levels.LevelBody,
            example={"level": "debug"},
        ),
    ),
    ("DELETE", "/api/v1/log-levels/{}"): (
        Operation("State", ok(models.LoggerShown), path="/api/v1/log-levels/{name}", parameters=_LOGGER),
    ),
    ("GET", "/api/v1/cache"): (Operation("Cache", ok(models.CacheStats)),),
    ("DELETE", "/api/v1/cache"): (
        Operation(
            "Cache",
            ok(models.Cleared),
            query=(
                Parameter("tag", "Answers with this tag, `name=value`."),
                Parameter("route", "Answers of this route."),
                Parameter("model", "Answers of this `provider/model`."),
                Parameter("key", "Answers to this virtual key; empty: to whoever asks without one."),
            ),
        ),
    ),
    ("GET", "/api/v1/catalog"): (
        Operation("Models", ok(models.CatalogShown), query=(_PROVIDER, Parameter("model", "A model."))),
    ),
    ("POST", "/api/v1/catalog/refresh"): (
        Operation(
            "Models",
            ok(models.CatalogRefreshed),
            body={
                "type": "object",
                "additionalProperties": False,
                "properties": {"providers": {"type": ["array", "null"], "items": {"type": "string"}}},
            },
            body_required=False,
            example={"providers": ["openai"]},
        ),
    ),
    ("DELETE", "/api/v1/catalog/learned"): (
        Operation(
            "Models",
            ok(models.Forgotten),
            query=(Parameter("provider", "Whose lessons.", required=True), Parameter("model", "Only those of it.")),
        ),
    ),
}
_ROUTE: Final[Mapping[str, str]] = {"name": "The route's name."}
_ROUTES: Final[Operations] = {
    ("GET", "/api/v1/routes"): (Operation("Models", ok(models.Listed[models.RouteShown])),),
    ("GET", "/api/v1/routes/{}"): (
        Operation("Models", ok(models.RouteShown), path="/api/v1/routes/{name}", parameters=_ROUTE),
    ),
    ("POST", "/api/v1/routes/{}"): (
        Operation(
            "Models",
            ok(models.RouteShown),
            path="/api/v1/routes/{name}",
            parameters=_ROUTE,
            body=routes_admin.PolicyBody,
            summary="Choose a route's policy, over the configuration's",
            example={"policy": "cost"},
        ),
        Operation(
            "Models",
            ok(models.Explained),
            path="/api/v1/routes/{name}/explain",
            parameters=_ROUTE,
            query=(_one_of("dialect", "That of the body. Default: openai_chat.", *routes_admin.PARSERS),),
            body=ANY_OBJECT,
            summary="Why a request goes where it goes",
            example={"messages": [{"role": "user", "content": "Hello"}]},
        ),
    ),
    ("DELETE", "/api/v1/routes/{}"): (
        Operation("Models", ok(models.RouteShown), path="/api/v1/routes/{name}", parameters=_ROUTE),
    ),
}
_FEEDBACK: Final[Operations] = {
    ("POST", "/api/v1/feedback"): (
        Operation(
            "Models",
            ok(models.Learnt),
            body=feedback.Verdict,
            example={"exchange_id": "req_6b01f4b3883f51382ffb1870", "correct": True},
        ),
    ),
}
_LLM_PROVIDER: Final[Mapping[str, str]] = {"id": "The provider's name."}
_PROVIDERS: Final[Operations] = {
    ("GET", "/api/v1/llm/providers"): (
        Operation(
            "Providers",
            ok(models.Listed[models.ProviderShown]),
            query=(_one_of("enabled", "Only those that are on, or off.", "true", "false"),),
        ),
    ),
    ("POST", "/api/v1/llm/providers"): (
        Operation(
            "Providers",
            ok(models.ProviderShown, status=201),
            body=llm_providers.NewProvider,
            example={
                "name": "corner",
                "base_url": "http://127.0.0.1:8000/v1",
                "models": ["qwen3-32b"],
                "price": {"input": "0", "output": "0"},
                "credentials": ["stored:corner"],
            },
        ),
    ),
    ("GET", "/api/v1/llm/providers/{}"): (
        Operation(
            "Providers",
            ok(models.ProviderShown),
            path="/api/v1/llm/providers/{id}",
            parameters=_LLM_PROVIDER,
            summary="One provider",
        ),
        Operation(
            "Providers",
            ok(models.ProviderStatus),
            path="/api/v1/llm/providers/{id}/status",
            parameters=_LLM_PROVIDER,
            summary="How a provider does: health, breaker, keys, limits",
        ),
    ),
    ("PUT", "/api/v1/llm/providers/{}"): (
        Operation(
            "Providers",
            ok(models.ProviderShown),
            path="/api/v1/llm/providers/{id}",
            parameters=_LLM_PROVIDER,
            body=llm_providers.ProviderChange,
            example={"enabled": False},
        ),
    ),
    ("DELETE", "/api/v1/llm/providers/{}"): (
        Operation("Providers", ok(models.ProviderRemoved), path="/api/v1/llm/providers/{id}", parameters=_LLM_PROVIDER),
    ),
}
_QUERY_ID: Final[Mapping[str, str]] = {"id": "The `query_id`."}
_QUESTION: Final[Mapping[str, Any]] = {"prompt": "Name three rivers.", "model": "fast", "max_tokens": 200}
_QUERIES: Final[Operations] = {
    ("POST", "/api/v1/llm/query"): (
        Operation(
            "Queries",
            {
                200: (
                    Media(models.QueryResult),
                    Media({"type": "string"}, EVENTS, description="The answer; with `stream`, as events."),
                ),
                202: Media(models.QueryResult, description="With `async`: it is under way."),
            },
            body=llm.QueryBody,
            example={**_QUESTION, "async": True},
        ),
    ),
    ("POST", "/api/v1/llm/query/stream"): (
        Operation(
            "Queries",
            {
                200: Media(
                    {"type": "string"},
                    EVENTS,
                    description="Events `query` (a QueryStatus), `delta` (an object with `text`, `reasoning`, `refusal`"
                    " or `tool_call`) and `end` (a QueryResult).",
                )
            },
            body=llm.QueryBody,
            example=_QUESTION,
        ),
    ),
    ("GET", "/api/v1/llm/query/{}"): (
        Operation(
            "Queries",
            ok(models.QueryStatus),
            path="/api/v1/llm/query/{id}/status",
            parameters=_QUERY_ID,
            summary="How far a query is",
        ),
        Operation(
            "Queries",
            {
                **ok(models.QueryResult),
                202: Media(models.QueryStatus, description="It has not ended; ask again."),
                410: Media(
                    {"$ref": "#/components/schemas/OpenAIError"}, description="The result was kept long enough."
                ),
            },
            path="/api/v1/llm/query/{id}/result",
            parameters=_QUERY_ID,
            summary="What a query gave",
        ),
    ),
    ("DELETE", "/api/v1/llm/query/{}"): (
        Operation("Queries", ok(models.QueryStatus), path="/api/v1/llm/query/{id}", parameters=_QUERY_ID),
    ),
}
ADMINISTRATION: Final[Operations] = {
    **_STATE,
    **_MONEY,
    **_BUDGETS,
    **_KEYS,
    **_SECRETS,
    **_KNOWN,
    **_ROUTES,
    **_FEEDBACK,
    **_PROVIDERS,
    **_QUERIES,
}
