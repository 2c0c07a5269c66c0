"""Every value of a configuration with its source; secrets are masked."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from proxy.config.explain import without_userinfo
from proxy.config.loading import Loaded
from proxy.config.secrets import Secret
from proxy.config.sources import Origin, dotted


@dataclass(frozen=True, slots=True)
class Shown:
    """One line of `modelport config show`. *value* is JSON, with secrets masked."""

    key: str
    value: Any
    origin: Origin


def shown_values(loaded: Loaded) -> list[Shown]:
    """All values in the order of the sections. What a provider leaves to its row is not there."""
    default = Origin("default")
    return [
        Shown(dotted(key), value, _origin(loaded.origins, key, default)) for key, value in _leaves(loaded.settings, ())
    ]


def _origin(origins: Mapping[str, Origin], key: tuple[str, ...], default: Origin) -> Origin:
    starts = (dotted(key[:length]) for length in range(len(key), 0, -1))
    return next((origins[start] for start in starts if start in origins), default)


def _leaves(node: Any, key: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Any]]:
    if isinstance(node, BaseModel):
        node = {name: getattr(node, name) for name in type(node).model_fields}
    if isinstance(node, dict):
        for name, value in node.items():
            if value is not None or len(key) < 2:
                yield from _leaves(value, (*key, name))
        return
    yield key, _plain(node)


def _plain(value: Any) -> Any:
    match value:
        case Secret():
            return str(value) if value.stored_name or not value.reference else f"{value.reference} ({value})"
        case tuple() | list():
            return [_plain(each) for each in value]
        case BaseModel():
            return {name: _plain(each) for name, each in value.model_dump(exclude_none=True).items()}
        case Path():
            return str(value)
        case str():
            return without_userinfo(value)
        case _:
            return value
