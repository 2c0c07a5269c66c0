"""What keys, teams and organisations are given, as administrators write and read it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints

from proxy.controls import MAX_TAG, MAX_TAGS
from proxy.ingress.parameters import bad
from proxy.reach import unreachable, warnings
from proxy.services import Services
from storage.keys import Limits, Settings
from storage.money import nanousd

MOST_GLOBS: Final = 256


def _glob(text: str) -> str:
    if not text.isprintable() or text != text.strip():
        raise ValueError("expected a glob without blanks at its ends or control characters, which no name has")
    return text


Glob = Annotated[str, StringConstraints(min_length=1, max_length=256), AfterValidator(_glob)]
Globs = Annotated[list[Glob], Field(max_length=MOST_GLOBS)]
Word = Annotated[str, StringConstraints(min_length=1, max_length=MAX_TAG, pattern=r"^[^\x00-\x1f\x7f]+$")]
Tags = Annotated[dict[Word, Word], Field(max_length=MAX_TAGS)]
Name = Annotated[str, StringConstraints(min_length=1, max_length=128, pattern=r"^[^\x00-\x1f\x7f]+$")]
Slug = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9_-]{0,63}$")]
Count = Annotated[int, Field(ge=1, le=1_000_000_000)]


def _dollars(amount: str | float) -> str | float:
    try:
        nanousd(amount)
    except ValueError as error:
        raise ValueError(f"expected {error}") from error
    return amount


Dollars = Annotated[str | int | float, AfterValidator(_dollars)]
"""Money that may be spent; `nanousd` reads it."""


class Body(BaseModel):
    """Nothing but the fields that there are, of just the types that they have."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, defer_build=True)


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


def changed(services: Services, settings: Settings, body: SettingsBody) -> Settings:
    """*settings* with what *body* says; what it does not name stays.

    Raises:
        Refused: 400, one of the globs of endpoints can never match.
    """
    for glob in body.endpoints or ():
        if why := unreachable(glob, services.endpoints):
            raise bad("endpoints", why)
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


def with_warnings(services: Services, told: dict[str, Any], settings: Settings) -> dict[str, Any]:
    """*told* of whoever has *settings*, with `warnings` where some of it matches nothing now."""
    found = warnings(services, settings)
    return {**told, "warnings": found} if found else told


def differences(before: Mapping[str, Any], after: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """What *before* and *after* do not have in common, for the audit log."""
    names = [name for name in after if before.get(name) != after[name]]
    return {name: before.get(name) for name in names}, {name: after[name] for name in names}
