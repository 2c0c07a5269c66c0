"""Where the rules of one target come from, as JSON for whoever asks why.

    shipped (routing/data/rules.toml) -> list (the vendor's) -> provider (proxy/providers.toml) and configuration
    -> learned (from refusals)

Later ones win, as `routing.catalog` lays them over each other; `refuses` adds up, `modalities` of quirks restrict.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from typing import Any, Final, Literal

from proxy.catalogue import Catalogue
from proxy.config.model import Settings
from proxy.providers import ProviderSpec
from routing.catalog import ADDED, RESTRICTED, defaults_of, rows_of
from storage.learned import Learned
from translators.dialect import Rules

Kind = Literal["shipped", "list", "provider", "configuration", "learned"]

NAMES: Final = tuple(item.name for item in fields(Rules) if item.name != "dialect")


@dataclass(frozen=True, slots=True)
class Layer:
    """Some fields of Rules, and who says so."""

    kind: Kind
    names: frozenset[str]
    origin: Mapping[str, Any]


def explained(
    catalogue: Catalogue, spec: ProviderSpec, settings: Settings, model: str, clean: Callable[[str], str]
) -> dict[str, Any]:
    """The rules in force for *model* that differ from its dialect's defaults: name to value and origins."""
    rules, defaults = spec.rules(model), defaults_of(spec.dialect)
    layers = list(_layers(catalogue, spec, settings, model))
    return {
        name: {"value": told(getattr(rules, name), clean), "from": _origins(name, layers, rules)}
        for name in NAMES
        if getattr(rules, name) != getattr(defaults, name)
    }


def _origins(name: str, layers: Sequence[Layer], rules: Rules) -> list[Mapping[str, Any]]:
    """Those who had a say: the last one, and whoever it added to."""
    found: list[Mapping[str, Any]] = []
    for layer in layers:
        if name not in layer.names:
            continue
        joins = (
            isinstance(getattr(rules, name), Mapping)
            or (name in ADDED and layer.kind != "shipped")
            or (name in RESTRICTED and layer.kind in {"provider", "configuration"})
        )
        found = [*(found if joins else ()), {"kind": layer.kind, **layer.origin}]
    return found


def _layers(catalogue: Catalogue, spec: ProviderSpec, settings: Settings, model: str) -> Iterator[Layer]:
    for row in rows_of(spec.dialect, model):
        yield Layer("shipped", frozenset(row.changes), {"source": row.source, "date": row.date})
    known = catalogue.overlay.of(spec.name, model)
    if known.facts and (listing := catalogue.listing(spec)):
        origin = {"source": listing.source, "fetched_at": moment(listing.fetched_at)}
        yield Layer("list", frozenset(known.facts), origin)
    yield from _quirks(spec, settings, model)
    ttl_s = settings.catalog.lesson_ttl_s
    for rule in catalogue.lessons(spec.name, model):
        yield Layer("learned", frozenset(rule.change), lesson(rule, ttl_s))


def _quirks(spec: ProviderSpec, settings: Settings, model: str) -> Iterator[Layer]:
    """Those of the shipped row, of the section, and of a local model."""
    section = settings.providers.get(spec.name)
    own = frozenset(section.quirks if section else ())
    in_force = frozenset(spec.model_quirks.get(model, spec.quirks))
    if shipped := frozenset(spec.quirks) - own:
        yield Layer("provider", shipped, {"source": spec.docs or spec.title})
    if own:
        yield Layer("configuration", own, {"source": f"providers.{spec.name}.quirks"})
    if local := in_force - frozenset(spec.quirks):
        yield Layer("configuration", local, {"source": f"providers.{spec.name}.models.{model}"})


def lesson(rule: Learned, ttl_s: float) -> dict[str, Any]:
    """One lesson with the vendor's words."""
    return {
        "dialect": rule.dialect,
        "change": told(rule.change),
        "evidence": rule.evidence,
        "http_status": rule.http_status,
        "learned_at": moment(rule.learned_at),
        "expires_at": moment(rule.learned_at + ttl_s),
        "uses": rule.uses,
    }


def moment(at: float) -> str:
    """Unix seconds as ISO 8601, UTC, to the second."""
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def told(value: Any, clean: Callable[[str], str] = str) -> Any:
    """*value* as JSON: sets are sorted, and what looks like a secret (of a header) is not shown."""
    match value:
        case str():
            return clean(value)
        case Mapping():
            return {str(name): told(each, clean) for name, each in value.items()}
        case frozenset():
            return sorted(value)
        case tuple() | list():
            return [told(each, clean) for each in value]
        case _:
            return value
