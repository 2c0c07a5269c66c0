"""Rules that span several keys. They read the raw tree, so that they speak together with the errors of single keys."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from proxy.config.errors import Problem
from proxy.config.explain import explain, nearest, shown
from proxy.config.model import Settings, is_loopback
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
        *_providers(layers, rules),
        *_routes(layers, rules),
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
    if type(workers) is int and workers > 1:
        wanted = "1 (more than one process is not available yet)"
        found.append(_problem(layers, ("server", "workers"), str(workers), wanted))
    return found


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
        if name not in rules.shipped and section.get("dialect") != "llamacpp" and "base_url" not in section:
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


def _routes(layers: Layers, rules: Rulebook) -> list[Problem]:
    known = [*_table(layers.tree, "providers"), *sorted(rules.shipped)]
    found = []
    for name, route in _table(layers.tree, "routes").items():
        targets = route.get("targets") if isinstance(route, dict) else None
        for place, each in enumerate(targets if isinstance(targets, list) else []):
            target = each.get("target") if isinstance(each, dict) else each
            provider, slash, _ = target.partition("/") if isinstance(target, str) else ("", "", "")
            if slash and provider and provider not in known:
                key = ("routes", name, "targets", place)
                found.append(_problem(layers, key, shown(target), f"a known provider{nearest(provider, known)}"))
    return found
