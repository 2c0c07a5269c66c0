"""The virtual keys in memory: whose key it is, what it may, how much it has asked.

All keys are loaded at the start and again after every change, so that no request waits for the database. A key is
found by its digest, HMAC-SHA256 of its text under a salt that lives in the database; of the text itself nothing is
kept but its beginning, for people.
"""

from __future__ import annotations

import hmac
import logging
import secrets
import string
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Final, Protocol

from proxy.identity import ROLES, Identity, Role, Scope
from proxy.metering import Meter
from routing.throttle import NewThrottle, Throttle
from storage.keys import Digest, Everything, Key, Keys, Limits, Organisation, Settings, Team

log = logging.getLogger("modelport.keys")

PREFIX: Final = "mp-"
SIGNING_PREFIX: Final = "mp-sign-"
LETTERS: Final = string.ascii_letters + string.digits
LENGTH: Final = 43
"""Letters of a key behind its prefix: 256 bits."""
SHOWN: Final = len(PREFIX) + 4
NOBODY: Final = bytes(32)
"""What the digest of an unknown key is compared with, so that it takes as long."""
DIGESTED: Final = 1024
MOST_LETTERS: Final = 256
"""Digests that are remembered, and of which texts."""


class Sealer(Protocol):
    """Encrypts what the database keeps and the server has to read again. *name* belongs to the value."""

    def seal(self, value: bytes, name: str) -> bytes:
        """*value*, encrypted."""

    def open(self, sealed: bytes, name: str) -> bytes:
        """What was sealed under *name*. Raises ValueError when it cannot be opened."""


def new_key() -> str:
    """A key that nobody can guess."""
    return PREFIX + "".join(secrets.choice(LETTERS) for _ in range(LENGTH))


def new_signing_secret() -> str:
    """What a client signs its requests with."""
    return SIGNING_PREFIX + "".join(secrets.choice(LETTERS) for _ in range(LENGTH))


def shown(key: str) -> str:
    """The beginning of a key, for people."""
    return f"{key[:SHOWN]}…"


@dataclass(frozen=True, slots=True)
class Entry:
    """One key as the door knows it. *meters* are its limits, then those of the keys that made it."""

    key: Key
    identity: Identity
    meters: tuple[Meter, ...]
    ends_us: int | None
    """When it ends, in microseconds since 1970: at its own end or at that of a key that made it."""


def why_not(entry: Entry, now: float) -> str | None:
    """Why a key does not get in; None when it does. *now* is Unix seconds."""
    key = entry.key
    if key.revoked_us is not None:
        return f"the key {key.shown} ({key.name}) was revoked"
    if entry.ends_us is None or entry.ends_us > now * 1_000_000:
        return None
    told = f"the key {key.shown} ({key.name}) expired at {moment(entry.ends_us)}"
    return told if entry.ends_us == key.expires_us else f"{told}, with the key that made it"


def earliest_end_us(line: Iterable[Key]) -> int | None:
    """When the first of some keys ends; None: none of them does. What was revoked binds by its end as before."""
    return min((key.expires_us for key in line if key.expires_us is not None), default=None)


class Keyring:
    """All keys, organisations and teams. *now* is Unix seconds, *monotonic* the clock of the limits."""

    def __init__(
        self,
        store: Keys,
        *,
        now: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
        sealer: Sealer | None = None,
        throttle: NewThrottle | None = None,
    ) -> None:
        self.store = store
        self.now = now
        self.sealer = sealer
        """What seals the secrets of keys that demand signed requests; None: there can be no such keys."""
        self.entries: Mapping[str, Entry] = {}
        self.organisations: Mapping[str, Organisation] = {}
        self.teams: Mapping[str, Team] = {}
        self._new_throttle = throttle or (lambda _: Throttle(None, None, None, monotonic))
        self._salt = b""
        self._digested: dict[str, bytes] = {}
        """Of the keys that were presented of late: the digest takes longer than all else of a look-up."""
        self._digests: Mapping[bytes, Digest] = {}
        self._throttles: dict[str, Throttle] = {}
        self._used_us: dict[str, int] = {}

    async def renew(self) -> None:
        """Let what is stored be in force. What keys have asked up to now still counts."""
        self._put_in_force(await self.store.load())

    def digest(self, text: str) -> bytes:
        """What a key's text is looked up by."""
        digest = self._digested.get(text)
        if digest is None:
            if len(self._digested) >= DIGESTED:
                self._digested.clear()
            digest = hmac.digest(self._salt, text.encode(errors="surrogateescape"), "sha256")
            if len(text) <= MOST_LETTERS:
                self._digested[text] = digest
        return digest

    def find(self, text: str) -> tuple[Entry, str | None] | None:
        """Whose key *text* is, and why it does not get in (None: it does). None when it is nobody's."""
        digest = self.digest(text)
        found = self._digests.get(digest)
        same = hmac.compare_digest(found.digest if found else NOBODY, digest)
        if found is None or not same:
            return None
        entry = self.entries[found.key]
        reason = why_not(entry, self.now())
        if reason is None and found.until_us is not None and found.until_us <= self.now() * 1_000_000:
            reason = f"the key was replaced; since {moment(found.until_us)} only {entry.key.shown} is valid"
        return entry, reason

    def signing_secret(self, entry: Entry) -> bytes | None:
        """What the requests of a key are signed with; None when it has no secret, or none that can be read."""
        if entry.key.signing is None or self.sealer is None:
            return None
        try:
            return self.sealer.open(entry.key.signing, entry.key.id)
        except ValueError:
            log.error("the signing secret of the key %s cannot be opened", entry.key.id)
            return None

    def meters(self, identity: Identity) -> tuple[Meter, ...]:
        """The limits that hold for *identity*."""
        entry = self.entries.get(identity.key_id or "")
        return entry.meters if entry else ()

    def has_role(self, *roles: Role, anywhere: bool = False) -> bool:
        """Whether a key that gets in has one of *roles*, for the whole server or *anywhere*."""
        now = self.now()
        return any(
            (anywhere or entry.identity.organisation is None)
            and not entry.identity.roles.isdisjoint(roles)
            and why_not(entry, now) is None
            for entry in self.entries.values()
        )

    # --- last use

    def touch(self, entry: Entry) -> None:
        """Note that a key was used just now."""
        self._used_us[entry.key.id] = int(self.now() * 1_000_000)

    def used_us(self, key: Key) -> int | None:
        """When a key was used last, in microseconds since 1970."""
        return self._used_us.get(key.id, key.used_us)

    def write_down(self) -> None:
        """Store when keys were used last."""
        used, self._used_us = self._used_us, {}
        self.store.used(used)
        noted = {
            key_id: replace(entry, key=replace(entry.key, used_us=at_us))
            for key_id, at_us in used.items()
            if (entry := self.entries.get(key_id))
        }
        self.entries = {**self.entries, **noted}

    # --- from rows to identities

    def _put_in_force(self, everything: Everything) -> None:
        if self._salt != everything.salt:
            self._salt = everything.salt
            self._digested.clear()
        places = {each.id: each for each in everything.organisations}, {each.id: each for each in everything.teams}
        old = self.entries if places == (self.organisations, self.teams) else {}
        self.organisations, self.teams = places
        keys = {key.id: key for key in everything.keys}
        self._throttles = {key_id: throttle for key_id, throttle in self._throttles.items() if key_id in keys}
        self.entries = {
            # With many thousand keys it would take too long to make all of them anew for the change of one.
            key.id: same
            if (same := old.get(key.id)) and same.key == key and key.maker not in keys
            else self._entry(key, self._makers(key, keys))
            for key in keys.values()
        }
        self._digests = {row.digest: row for row in everything.digests if row.key in keys}

    @staticmethod
    def _makers(key: Key, keys: Mapping[str, Key]) -> list[Key]:
        """The keys behind *key*, nearest first."""
        found: list[Key] = []
        while (maker := keys.get(key.maker)) is not None and maker not in found:
            found.append(maker)
            key = maker
        return found

    def _entry(self, key: Key, makers: list[Key]) -> Entry:
        line = [key, *makers]
        own = [settings for _, settings in self._given(key)]
        given = [pair for each in line for pair in self._given(each)]
        scopes = [
            Scope(who, settings.models, settings.routes, settings.endpoints)
            for who, settings in given
            if settings.models or settings.routes or settings.endpoints
        ]
        tags: dict[str, str] = {}
        for _, settings in given:
            tags |= settings.tags
        identity = Identity(
            tenant=key.id,
            roles=frozenset(role for role in ROLES if role in key.roles),
            key_id=key.id,
            team=key.team,
            organisation=key.organisation,
            tags=tags,
            scopes=tuple(dict.fromkeys(scopes)),
            makers=tuple(maker.id for maker in makers),
            cache=next((settings.cache for settings in own if settings.cache), None),
            losses=next((settings.losses for settings in own if settings.losses), None),
            logs=next((settings.logs for settings in own if settings.logs is not None), None),
        )
        meters = tuple(meter for each in line if (meter := self._meter(each)))
        return Entry(key, identity, meters, earliest_end_us(line))

    def _given(self, key: Key) -> list[tuple[str, Settings]]:
        """What *key* was given, then its team, then its organisation; each with what messages call it."""
        found = [(f"the key {key.shown}", key.settings)]
        if team := self.teams.get(key.team or ""):
            found.append((f"the team {team.name}", team.settings))
        if organisation := self.organisations.get(key.organisation or ""):
            found.append((f"the organisation {organisation.name}", organisation.settings))
        return found

    def _meter(self, key: Key) -> Meter | None:
        """The limits of *key*: its own, else those that its team or organisation gives to its keys."""
        limits = self.limits(key)
        if limits == Limits():
            self._throttles.pop(key.id, None)
            return None
        throttle = self._throttles.get(key.id)
        if throttle is None:
            throttle = self._throttles[key.id] = self._new_throttle(f"key {key.id}")
        throttle.requests_per_minute = limits.requests_per_minute
        throttle.tokens_per_minute = limits.tokens_per_minute
        throttle.concurrent = limits.concurrent
        return Meter(f"the key {key.shown}", throttle)

    def ends_us(self, key: Key) -> int | None:
        """When *key*, which need not be in force yet, ends: no later than any of the keys that made it."""
        maker = self.entries.get(key.maker)
        return earliest_end_us([key, *self._line(maker)] if maker else [key])

    def valid_heirs(self, key: Key) -> list[Key]:
        """The keys that *key* or one of its making has made, and that get in."""
        now = self.now()
        return [
            entry.key
            for entry in self.entries.values()
            if key.id in entry.identity.makers and why_not(entry, now) is None
        ]

    def _line(self, entry: Entry) -> list[Key]:
        """The key of *entry* and those behind it, nearest first."""
        return [entry.key, *(self.entries[key_id].key for key_id in entry.identity.makers)]

    def limits(self, key: Key) -> Limits:
        """How much *key* may ask."""
        given = [settings.limits for _, settings in self._given(key)]
        return Limits(
            next((each.requests_per_minute for each in given if each.requests_per_minute is not None), None),
            next((each.tokens_per_minute for each in given if each.tokens_per_minute is not None), None),
            next((each.concurrent for each in given if each.concurrent is not None), None),
        )


def moment(at_us: int) -> str:
    """UTC to the second."""
    return datetime.fromtimestamp(at_us // 1_000_000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
