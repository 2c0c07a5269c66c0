"""What vendors' own model endpoints told: one row of facts for each model, replaced provider by provider."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from storage.db import Database
from translators.codec import canonical, loads_object


@dataclass(frozen=True, slots=True)
class CatalogRow:
    """The *facts* of one model, from the URL *source* at *fetched_at* (Unix seconds)."""

    provider: str
    model: str
    facts: Mapping[str, Any]
    source: str
    fetched_at: float


@dataclass(frozen=True, slots=True)
class CatalogDiff:
    """What a refresh brought, in the order of names. *changed* maps a model to the facts that differ."""

    added: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    changed: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


class CatalogStore:
    """The rows in *db*."""

    def __init__(self, db: Database) -> None:
        self._db = db

    async def replace(
        self, provider: str, rows: Mapping[str, Mapping[str, Any]], source: str, fetched_at: float
    ) -> CatalogDiff:
        """Let *rows* (model to facts) be all that is known of *provider*, in one transaction; what that changed.

        Raises:
            StorageError: it cannot be written; the earlier rows stand.
        """
        facts = {model: canonical(dict(found)).decode() for model, found in rows.items()}
        return await self._db.write(partial(_replace, provider, facts, source, int(fetched_at * 1_000_000)))

    async def all(self) -> list[CatalogRow]:
        """Every row, in the order of providers and models."""
        rows = await self._db.read(lambda connection: connection.execute(_ALL).fetchall())
        return [
            CatalogRow(
                row["provider"], row["model"], loads_object(row["facts"]), row["source"], row["fetched_us"] / 1_000_000
            )
            for row in rows
        ]


# --- operations --------------------------------------------------------------------------------------

_ALL = "SELECT provider, model, facts, source, fetched_us FROM catalog ORDER BY provider, model"


def _replace(
    provider: str, facts: Mapping[str, str], source: str, fetched_us: int, connection: sqlite3.Connection
) -> CatalogDiff:
    known: dict[str, str] = dict(
        connection.execute("SELECT model, facts FROM catalog WHERE provider = ?", (provider,)).fetchall()
    )
    connection.execute("DELETE FROM catalog WHERE provider = ?", (provider,))
    connection.executemany(
        "INSERT INTO catalog (provider, model, facts, source, fetched_us) VALUES (?, ?, ?, ?, ?)",
        ((provider, model, text, source, fetched_us) for model, text in facts.items()),
    )
    return CatalogDiff(
        added=tuple(sorted(facts.keys() - known.keys())),
        removed=tuple(sorted(known.keys() - facts.keys())),
        changed={
            model: _differing(known[model], facts[model])
            for model in sorted(facts.keys() & known.keys())
            if facts[model] != known[model]
        },
    )


def _differing(old: str, new: str) -> tuple[str, ...]:
    before, after = loads_object(old), loads_object(new)
    return tuple(sorted(name for name in before.keys() | after.keys() if _of(before, name) != _of(after, name)))


def _of(facts: Mapping[str, Any], name: str) -> bytes | None:
    """The fact as JSON, so that an absent one differs from null and 1 from true."""
    return canonical(facts[name]) if name in facts else None
