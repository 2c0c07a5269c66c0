"""Native fields as a client's request has them, put back to where they stood.

Their names are paths: `generationConfig.speechConfig` stands inside `generationConfig`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def paths(place: str, fields: Mapping[str, Any]) -> dict[str, Any]:
    """*fields* of the object at *place*, by their paths."""
    return {f"{place}.{name}": value for name, value in fields.items()}


def nested(fields: Mapping[str, Any]) -> dict[str, Any]:
    """The object in which every path of *fields* leads to its value."""
    root: dict[str, Any] = {}
    for path, value in fields.items():
        *places, name = path.split(".")
        node = root
        for place in places:
            inner = node.get(place)
            node[place] = node = dict(inner) if isinstance(inner, Mapping) else {}
        node[name] = value
    return root


def merged(body: Mapping[str, Any], extra: Mapping[str, Any]) -> dict[str, Any]:
    """*body* and what *extra* adds; inside objects too. Where both speak, *body* counts."""
    found = dict(body)
    for key, value in extra.items():
        old = found.get(key)
        if isinstance(old, dict) and isinstance(value, Mapping):
            found[key] = merged(old, value)
        else:
            found.setdefault(key, value)
    return found
