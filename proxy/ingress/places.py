"""What keys, teams and organisations are given, as administrators write and read it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from proxy.controls import MAX_TAG, MAX_TAGS
from storage.keys import Limits, Settings

MOST_GLOBS: Final = 256

Glob = Annotated[str, StringConstraints(min_length=1, max_length=256)]
Globs = Annotated[list[Glob], Field(max_length=MOST_GLOBS)]
Word = Annotated[str, StringConstraints(min_length=1, max_length=MAX_TAG, pattern=r"^[^\x00-\x1f\x7f]+$")]
Tags = Annotated[dict[Word, Word], Field(max_length=MAX_TAGS)]
Name = Annotated[str, StringConstraints(min_length=1, max_length=128, pattern=r"^[^\x00-\x1f\x7f]+$")]
Slug = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9_-]{0,63}$")]
Count = Annotated[int, Field(ge=1, le=1_000_000_000)]


class Body(BaseModel):
    """Nothing but the fields that there are, of just the types that they have."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class LimitsBody(Body):
    """How much may be asked; null: as much as one likes."""

    requests_per_minute: Count | None = None
    tokens_per_minute: Count | None = None
    concurrent: Count | None = None


class SettingsBody(Body):
    """What a key, a team or an organisation is given. Null takes it away again."""

    models: Globs | None = Field(None, description="Globs over route names, `provider/model` and models. None: all.")
    routes: Globs | None = Field(None, description="Globs over the names of routes. None: all.")
    endpoints: Globs | None = Field(None, description="Globs over paths, such as /v1/chat/*. None: all.")
    tags: Tags | None = Field(None, description="Stand in every exchange and win over those that a request brings.")
    limits: LimitsBody | None = None
    cache: Literal["off", "deterministic", "all"] | None = Field(None, description="Instead of the route's mode.")
    losses: Literal["warn", "reject", "ignore"] | None = Field(None, description="Instead of the route's.")
    logs: bool | None = Field(None, description="Whether bodies are kept in the request log. Null: as the route says.")


def changed(settings: Settings, body: SettingsBody) -> Settings:
    """*settings* with what *body* says; what it does not name stays."""
    said = body.model_fields_set
    limits = settings.limits
    if "limits" in said:
        given = body.limits or LimitsBody()
        limits = Limits(given.requests_per_minute, given.tokens_per_minute, given.concurrent)
    return Settings(
        models=tuple(body.models or ()) if "models" in said else settings.models,
        routes=tuple(body.routes or ()) if "routes" in said else settings.routes,
        endpoints=tuple(body.endpoints or ()) if "endpoints" in said else settings.endpoints,
        tags=dict(body.tags or {}) if "tags" in said else settings.tags,
        limits=limits,
        cache=body.cache if "cache" in said else settings.cache,
        losses=body.losses if "losses" in said else settings.losses,
        logs=body.logs if "logs" in said else settings.logs,
    )


def shown_settings(settings: Settings) -> dict[str, Any]:
    """*settings* as they were written."""
    limits = settings.limits
    return {
        "models": list(settings.models),
        "routes": list(settings.routes),
        "endpoints": list(settings.endpoints),
        "tags": dict(settings.tags),
        "limits": {
            "requests_per_minute": limits.requests_per_minute,
            "tokens_per_minute": limits.tokens_per_minute,
            "concurrent": limits.concurrent,
        },
        "cache": settings.cache,
        "losses": settings.losses,
        "logs": settings.logs,
    }


def differences(before: Mapping[str, Any], after: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """What *before* and *after* do not have in common, for the audit log."""
    names = [name for name in after if before.get(name) != after[name]]
    return {name: before.get(name) for name in names}, {name: after[name] for name in names}
