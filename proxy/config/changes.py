"""What changed between two configurations, for the audit log. Secrets are references, or only said to be there."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from pydantic import BaseModel

from proxy.config.loading import Loaded
from proxy.config.secrets import Secret
from proxy.config.sources import dotted
from translators.codec import canonical

MOST: Final = 200
"""Changed values that are told one by one."""


def changes(before: Loaded, after: Loaded) -> dict[str, Any]:
    """Every key whose value is another one: [before, after], None where it was not or is no longer there.

    A literal secret that was exchanged for another one is told as changed.
    """
    old, new = _values(before.settings), _values(after.settings)
    names = [name for name in dict.fromkeys([*old, *new]) if old.get(name) != new.get(name)]
    told: dict[str, Any] = {name: [_plain(old.get(name)), _plain(new.get(name))] for name in names[:MOST]}
    if len(names) > MOST:
        told["and more"] = len(names) - MOST
    return told


def configuration_digest(loaded: Loaded) -> str:
    """16 hexadecimal digits that change with what is configured, whatever the values of its secrets are."""
    values = {name: _plain(value) for name, value in _values(loaded.settings).items()}
    return hashlib.sha256(canonical(values)).hexdigest()[:16]


def _values(node: Any, key: tuple[str, ...] = ()) -> dict[str, Any]:
    """Every leaf by its dotted key."""
    if isinstance(node, BaseModel):
        node = {name: getattr(node, name) for name in type(node).model_fields}
    if not isinstance(node, Mapping):
        return {dotted(key): node}
    found: dict[str, Any] = {}
    for name, value in node.items():
        found.update(_values(value, (*key, str(name))))
    return found


def _plain(value: Any) -> Any:
    match value:
        case Secret():
            return value.reference or "(a literal)"
        case tuple() | list():
            return [_plain(each) for each in value]
        case BaseModel():
            return {name: _plain(getattr(value, name)) for name in type(value).model_fields}
        case Mapping():
            return {str(name): _plain(inner) for name, inner in value.items()}
        case Path():
            return str(value)
        case None | bool() | int() | float() | str():
            return value
        case _:
            return str(value)
