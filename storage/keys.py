"""Virtual keys and where they belong: organisations, their teams, keys of either or of neither.

Of a key's text only a digest is stored (see `proxy.keyring`), with the first characters for people. While a key is
being rotated it has several digests, the replaced ones until a moment. A revoked key stays, so that what it made and
spent can be explained. A key's budget is a row of `storage.budgets`, written in the same transaction.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, fields
from functools import partial
from typing import Any, Final, Literal, TypeVar

from storage.audit import Entry
from storage.budgets import Budget, put_budget, remove_budget
from storage.db import Database
from storage.errors import Conflict
from translators.codec import dumps_text, loads

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Limits:
    """How much a key may ask; None: as much as it likes."""

    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None
    concurrent: int | None = None


@dataclass(frozen=True, slots=True)
class Settings:
    """What an organisation, a team or a key is given. *models*, *routes* and *endpoints* are globs, empty: all."""

    models: tuple[str, ...] = ()
    routes: tuple[str, ...] = ()
    endpoints: tuple[str, ...] = ()
    tags: Mapping[str, str] = field(default_factory=dict)
    limits: Limits = field(default_factory=Limits)
    cache: Literal["off", "deterministic", "all"] | None = None
    losses: Literal["warn", "reject", "ignore"] | None = None
    logs: bool | None = None
    """Whether bodies are kept in the request log; None: as elsewhere."""


@dataclass(frozen=True, slots=True)
class Organisation:
    """The widest place: one customer, one department."""

    id: str
    name: str
    settings: Settings
    created_us: int


@dataclass(frozen=True, slots=True)
class Team:
    """A place within an organisation."""

    id: str
    organisation: str
    name: str
    settings: Settings
    created_us: int


@dataclass(frozen=True, slots=True)
class Key:
    """A virtual key. *shown* is its beginning; *maker* is the id of the key that made it, or `master`.

    *signing* is the sealed secret of a key that demands signed requests, *signed_until_s* the last second (Unix) for
    which a signature of it may have been accepted.
    """

    id: str
    name: str
    shown: str
    organisation: str | None
    team: str | None
    maker: str
    roles: tuple[str, ...]
    settings: Settings
    created_us: int
    signing: bytes | None = None
    expires_us: int | None = None
    revoked_us: int | None = None
    used_us: int | None = None
    signed_until_s: int | None = None


@dataclass(frozen=True, slots=True)
class Digest:
    """One text that stands for *key*; None: for as long as the key does."""

    digest: bytes
    key: str
    until_us: int | None = None


@dataclass(frozen=True, slots=True)
class Everything:
    """All that is needed to know who asks."""

    salt: bytes
    organisations: tuple[Organisation, ...]
    teams: tuple[Team, ...]
    keys: tuple[Key, ...]
    digests: tuple[Digest, ...]


class Keys:
    """The keys in *db*. Changing one that is not there is a Conflict.

    Every change takes the *entry* of the audit log that is written together with it.
    """

    def __init__(self, db: Database, *, now: Callable[[], float] = time.time) -> None:
        self._db = db
        self._now = now

    async def load(self) -> Everything:
        """Everything, oldest first."""
        return await self._db.read(_everything)

    async def create(
        self, key: Key, digest: bytes, budget: Budget | None = None, *, entry: Entry | None = None
    ) -> None:
        """Add a key, and its budget."""
        await self._write(partial(_create, key, digest, budget, self._now_us()), entry)

    async def change(
        self,
        key: Key,
        *,
        budget: Budget | None = None,
        no_budget: str | None = None,
        entry: Entry | None = None,
    ) -> None:
        """Let the row of *key* be as *key* says, put *budget* in force, or remove the one of the id *no_budget*."""
        await self._write(partial(_change, key, budget, no_budget, self._now_us()), entry)

    async def rotate(
        self, new: Digest, shown: str, until_us: int, *, signing: bytes | None = None, entry: Entry | None = None
    ) -> None:
        """Let *new* stand for its key; those before it are valid until *until_us*, if they were not shorter.

        *signing*: a new sealed secret, if it has one. Raises Conflict when the key is revoked.
        """
        at_us = self._now_us()

        def rotate(connection: sqlite3.Connection) -> None:
            _end_digests(new.key, until_us, at_us, connection)
            _begin_digest(new, shown, signing, connection)

        await self._write(rotate, entry)

    async def revoke(self, key_id: str, entry: Entry | None = None) -> bool:
        """Let a key be valid no more; False when it was not before."""
        values = (self._now_us(), key_id)
        statement = "UPDATE keys SET revoked_us = ? WHERE id = ? AND revoked_us IS NULL"
        return await self._write(lambda connection: connection.execute(statement, values).rowcount == 1, entry)

    def used(self, times_us: Mapping[str, int]) -> None:
        """Note when keys were used last; soon, and without waiting."""
        rows = [(at_us, key_id) for key_id, at_us in times_us.items()]
        if rows:
            self._db.post(lambda connection: connection.executemany(_USED, rows))

    async def signed(self, key_id: str, until_s: int) -> None:
        """Note, durably, that signatures of a key for seconds up to *until_s* (Unix) may be accepted from now on."""
        values = (until_s, key_id)
        await self._db.write(lambda connection: connection.execute(_SIGNED, values))

    async def put_organisation(self, organisation: Organisation, entry: Entry | None = None) -> None:
        """Add or change an organisation. Raises Conflict when another has its name."""
        values = (organisation.id, organisation.name, _packed(organisation.settings), organisation.created_us)
        await self._write(lambda connection: connection.execute(_PUT_ORGANISATION, values), entry)

    async def put_team(self, team: Team, entry: Entry | None = None) -> None:
        """Add or change a team. Raises Conflict when another of the organisation has its name."""
        values = (team.id, team.organisation, team.name, _packed(team.settings), team.created_us)
        await self._write(lambda connection: connection.execute(_PUT_TEAM, values), entry)

    async def remove_organisation(self, organisation_id: str, entry: Entry | None = None) -> bool:
        """Remove an organisation with its teams and revoked keys; whether it was there.

        Raises:
            Conflict: a key of it is not revoked.
        """
        return await self._write(partial(_remove_place, "organisation", organisation_id), entry)

    async def remove_team(self, team_id: str, entry: Entry | None = None) -> bool:
        """Remove a team with its revoked keys; whether it was there. Raises Conflict as `remove_organisation`."""
        return await self._write(partial(_remove_place, "team", team_id), entry)

    async def _write(self, operation: Callable[[sqlite3.Connection], T], entry: Entry | None) -> T:
        def both(connection: sqlite3.Connection) -> T:
            done = operation(connection)
            if entry is not None:
                entry.append(connection)
            return done

        return await self._db.write(both)

    def _now_us(self) -> int:
        return int(self._now() * 1_000_000)


# --- in the writer thread --------------------------------------------------------------------------------

_INSERT: Final = """
INSERT INTO keys (id, name, shown, organisation, team, maker, roles, settings, signing, created_us, expires_us)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"""

_UPDATE: Final = """
UPDATE keys SET name = ?, organisation = ?, team = ?, roles = ?, settings = ?, signing = ?, expires_us = ?
WHERE id = ?"""

_USED: Final = "UPDATE keys SET used_us = max(ifnull(used_us, 0), ?) WHERE id = ?"

_SIGNED: Final = "UPDATE keys SET signed_until_s = max(ifnull(signed_until_s, 0), ?) WHERE id = ?"

_PUT_ORGANISATION: Final = """
INSERT INTO organisations VALUES (?, ?, ?, ?)
ON CONFLICT (id) DO UPDATE SET name = excluded.name, settings = excluded.settings"""

_PUT_TEAM: Final = """
INSERT INTO teams VALUES (?, ?, ?, ?, ?)
ON CONFLICT (id) DO UPDATE SET name = excluded.name, settings = excluded.settings"""

# What goes with a place: its keys by the column that names it, then its own rows.
_KEYS_OF: Final[Mapping[str, str]] = {
    "organisation": "SELECT id, revoked_us FROM keys WHERE organisation = ?",
    "team": "SELECT id, revoked_us FROM keys WHERE team = ?",
}
_ROWS_OF: Final[Mapping[str, tuple[str, ...]]] = {
    "organisation": ("DELETE FROM teams WHERE organisation = ?", "DELETE FROM organisations WHERE id = ?"),
    "team": ("DELETE FROM teams WHERE id = ?",),
}


def _create(key: Key, digest: bytes, budget: Budget | None, at_us: int, connection: sqlite3.Connection) -> None:
    connection.execute(
        _INSERT,
        (
            key.id,
            key.name,
            key.shown,
            key.organisation,
            key.team,
            key.maker,
            dumps_text(key.roles),
            _packed(key.settings),
            key.signing,
            key.created_us,
            key.expires_us,
        ),
    )
    connection.execute("INSERT INTO key_digests (digest, key) VALUES (?, ?)", (digest, key.id))
    if budget is not None:
        put_budget(budget, at_us, connection)


def _change(key: Key, budget: Budget | None, no_budget: str | None, at_us: int, connection: sqlite3.Connection) -> None:
    roles, settings = dumps_text(key.roles), _packed(key.settings)
    values = (key.name, key.organisation, key.team, roles, settings, key.signing, key.expires_us, key.id)
    if connection.execute(_UPDATE, values).rowcount != 1:
        raise Conflict(f"there is no key {key.id}")
    if budget is not None:
        put_budget(budget, at_us, connection)
    if no_budget is not None:
        remove_budget(no_budget, connection)


def _end_digests(key_id: str, until_us: int, at_us: int, connection: sqlite3.Connection) -> None:
    connection.execute("DELETE FROM key_digests WHERE key = ? AND until_us <= ?", (key_id, at_us))
    shorten = "UPDATE key_digests SET until_us = min(ifnull(until_us, ?1), ?1) WHERE key = ?2"
    connection.execute(shorten, (until_us, key_id))


def _begin_digest(new: Digest, shown: str, signing: bytes | None, connection: sqlite3.Connection) -> None:
    statement = "UPDATE keys SET shown = ?, signing = ifnull(?, signing) WHERE id = ? AND revoked_us IS NULL"
    if connection.execute(statement, (shown, signing, new.key)).rowcount != 1:
        raise Conflict(f"there is no key {new.key} that is not revoked")
    connection.execute("INSERT INTO key_digests (digest, key) VALUES (?, ?)", (new.digest, new.key))


def _remove_place(kind: Literal["organisation", "team"], place: str, connection: sqlite3.Connection) -> bool:
    keys = connection.execute(_KEYS_OF[kind], (place,)).fetchall()
    if active := [key_id for key_id, revoked_us in keys if revoked_us is None]:
        raise Conflict(f"the {kind} {place} has {len(active)} keys that are not revoked: {', '.join(active[:5])}")
    for key_id, _ in keys:
        budgets = connection.execute("SELECT id FROM budgets WHERE kind = 'key' AND subject = ?", (key_id,)).fetchall()
        for (budget_id,) in budgets:
            remove_budget(budget_id, connection)
        connection.execute("DELETE FROM key_digests WHERE key = ?", (key_id,))
        connection.execute("DELETE FROM keys WHERE id = ?", (key_id,))
    removed = 0
    for statement in _ROWS_OF[kind]:
        removed = connection.execute(statement, (place,)).rowcount
    return removed == 1


# --- the rows --------------------------------------------------------------------------------------------


def _everything(connection: sqlite3.Connection) -> Everything:
    (salt,) = connection.execute("SELECT salt FROM key_salt").fetchone()
    organisations = connection.execute("SELECT * FROM organisations ORDER BY created_us, id").fetchall()
    teams = connection.execute("SELECT * FROM teams ORDER BY created_us, id").fetchall()
    keys = connection.execute("SELECT * FROM keys ORDER BY created_us, id").fetchall()
    digests = connection.execute("SELECT digest, key, until_us FROM key_digests").fetchall()
    return Everything(
        salt,
        tuple(Organisation(**_unpacked(row)) for row in organisations),
        tuple(Team(**_unpacked(row)) for row in teams),
        tuple(Key(**_unpacked(row)) for row in keys),
        tuple(Digest(*row) for row in digests),
    )


def _packed(settings: Settings) -> str:
    return dumps_text(asdict(settings))


def _unpacked(row: sqlite3.Row) -> dict[str, Any]:
    found = dict(row)
    found["settings"] = settings_of(loads(found["settings"]))
    if "roles" in found:
        found["roles"] = tuple(loads(found["roles"]))
    return found


def settings_of(stored: Mapping[str, Any]) -> Settings:
    """What was stored, by whichever version: unknown names are left out, missing ones have their defaults."""
    known = {each.name: stored[each.name] for each in fields(Settings) if each.name in stored}
    for name in ("models", "routes", "endpoints"):
        known[name] = tuple(known.get(name, ()))
    limits = known.get("limits") or {}
    known["limits"] = Limits(**{each.name: limits.get(each.name) for each in fields(Limits)})
    return Settings(**known)
