"""Rules that span several keys. They read the raw tree, so that they speak together with the errors of single keys."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from proxy.config.address import is_loopback
from proxy.config.errors import Problem, nearest
from proxy.config.explain import explain, shown
from proxy.config.model import BUDGET_SUBJECTS, Settings
from proxy.config.quirks import BadQuirk, names, quirk
from proxy.config.sources import Layers, Path_, dotted


@dataclass(frozen=True, slots=True)
class Rulebook:
    """What the checks need to know: the shipped provider rows, and whether an open port was asked for."""

    shipped: frozenset[str]
    open_port: bool = False


def check(layers: Layers, rules: Rulebook) -> list[Problem]:
    """Everything that is wrong beyond single values."""
    return [
        *_server(layers, rules),
        *_secrets(layers),
        *_providers(layers, rules),
        *_routes(layers, rules),
        *_budgets(layers, rules),
    ]


def _problem(layers: Layers, key: tuple[str | int, ...], found: str, expected: str) -> Problem:
    origin = layers.origin(key)
    return Problem(origin.where or origin.kind, dotted(key), found, expected)


def _table(node: Any, *names: str) -> Mapping[str, Any]:
    for name in names:
        node = node.get(name) if isinstance(node, dict) else None
    return node if isinstance(node, dict) else {}


def _server(layers: Layers, rules: Rulebook) -> list[Problem]:
    server = _table(layers.tree, "server")
    found = []
    host = server.get("host", "127.0.0.1")
    open_to_others = isinstance(host, str) and bool(host) and not is_loopback(host)
    if open_to_others and _table(layers.tree, "auth").get("required") is not True and not rules.open_port:
        wanted = "a loopback address, or auth.required = true, or --i-know-what-i-am-doing"
        found.append(_problem(layers, ("server", "host"), shown(host), wanted))
    workers = server.get("workers", 1)
    if type(workers) is int and workers > 1 and _table(layers.tree, "storage").get("path") == ":memory:":
        wanted = "1, as several processes cannot share a database in memory (storage.path)"
        found.append(_problem(layers, ("server", "workers"), str(workers), wanted))
    return found


def _secrets(layers: Layers) -> list[Problem]:
    section = _table(layers.tree, "secrets")
    pairs = (("key", "passphrase"), ("previous_key", "previous_passphrase"))
    return [
        _problem(layers, ("secrets", passphrase), f"a {passphrase} beside a {key}", "one of the two")
        for key, passphrase in pairs
        if section.get(key) is not None and section.get(passphrase) is not None
    ]


def _providers(layers: Layers, rules: Rulebook) -> list[Problem]:
    found = []
    for name, section in _table(layers.tree, "providers").items():
        key: Path_ = ("providers", name)
        if not isinstance(section, dict):
            continue
        if "/" in name or not name or any(letter.isspace() for letter in name):
            found.append(
                _problem(layers, key, "a name with a slash or blank", "a name of letters, digits, '-' and '_'")
            )
        elsewhere = section.get("dialect") == "llamacpp" or section.get("added_later") is True
        if name not in rules.shipped and not elsewhere and "base_url" not in section:
            wanted = f"one, as {name} is not a shipped provider{nearest(name, sorted(rules.shipped))}"
            found.append(_problem(layers, key, "no base_url", wanted))
        if section.get("dialect") == "llamacpp" and not isinstance(section.get("models"), dict):
            wanted = 'a table such as { tiny = { path = "models/tiny.gguf" } }'
            found.append(_problem(layers, (*key, "models"), shown(section.get("models")), wanted))
        if section.get("dialect") != "llamacpp" and isinstance(section.get("models"), dict):
            found.append(_problem(layers, (*key, "models"), "a table", "a list of names (files are for llamacpp)"))
        found += _quirks(layers, (*key, "quirks"), _table(section, "quirks"))
    return found


def _quirks(layers: Layers, key: Path_, table: Mapping[str, Any]) -> list[Problem]:
    found = []
    for name, value in table.items():
        if name not in names():
            wanted = f"one of {', '.join(names())}{nearest(name, names())}"
            found.append(_problem(layers, (*key, name), "an unknown quirk", wanted))
            continue
        try:
            quirk(name, value)
        except BadQuirk as bad:
            found += [explain({**error, "loc": (*key, name, *error["loc"])}, layers, Settings) for error in bad.errors]
    return found


_TARGETS_BESIDE: Final[Sequence[tuple[str, ...]]] = (
    ("cache", "semantic", "embeddings"),
    ("consensus", "judge"),
    ("consensus", "escalate"),
)
"""Where a route names a target beside its `targets`."""


def _routes(layers: Layers, rules: Rulebook) -> list[Problem]:
    known = [*_table(layers.tree, "providers"), *sorted(rules.shipped)]
    found = []
    for name, route in _table(layers.tree, "routes").items():
        targets = route.get("targets") if isinstance(route, dict) else None
        named: list[tuple[tuple[str | int, ...], Any]] = [
            (path, _table(route, *path[:-1]).get(path[-1])) for path in _TARGETS_BESIDE
        ]
        for place, each in enumerate(targets if isinstance(targets, list) else []):
            named.append((("targets", place), each.get("target") if isinstance(each, dict) else each))
        for path, target in named:
            provider, slash, _ = target.partition("/") if isinstance(target, str) else ("", "", "")
            if slash and provider and provider not in known:
                hint = nearest(provider, known) or f" (or [providers.{provider}] with added_later = true)"
                found.append(_problem(layers, ("routes", name, *path), shown(target), f"a known provider{hint}"))
        quorum = _table(route, "consensus").get("quorum")
        if type(quorum) is int and isinstance(targets, list) and quorum > max(2, len(targets)):
            wanted = f"at most {len(targets)}, as many as the route has targets"
            found.append(_problem(layers, ("routes", name, "consensus", "quorum"), str(quorum), wanted))
    return found


def _budgets(layers: Layers, rules: Rulebook) -> list[Problem]:
    """A budget is about one thing, and about providers and routes that there are; all else is the database's."""
    found = []
    for name, budget in _table(layers.tree, "budgets").items():
        if not isinstance(budget, dict):
            continue
        key: Path_ = ("budgets", name)
        subjects = [kind for kind in BUDGET_SUBJECTS if budget.get(kind) is not None]
        for more in subjects[1:]:
            wanted = f"nothing beside {subjects[0]}: a budget is about one of {', '.join(BUDGET_SUBJECTS)}"
            found.append(_problem(layers, (*key, more), shown(budget[more]), wanted))
        if budget.get("rolling") is True and budget.get("window") == "total":
            wanted = "false, as the window is total; hour, day and month can be rolling"
            found.append(_problem(layers, (*key, "rolling"), "true", wanted))
        found += _budget_subject(layers, rules, key, budget)
    return found


def _budget_subject(layers: Layers, rules: Rulebook, key: Path_, budget: Mapping[str, Any]) -> list[Problem]:
    providers = [*_table(layers.tree, "providers"), *sorted(rules.shipped)]
    routes = list(_table(layers.tree, "routes"))
    provider, route = budget.get("provider"), budget.get("route")
    found = []
    if isinstance(provider, str) and provider and provider not in providers:
        wanted = f"a known provider{nearest(provider, providers)}"
        found.append(_problem(layers, (*key, "provider"), shown(provider), wanted))
    if isinstance(route, str) and route and route not in routes and route.partition("/")[0] not in providers:
        wanted = f"a route, or provider/model{nearest(route, routes)}"
        found.append(_problem(layers, (*key, "route"), shown(route), wanted))
    return found
