"""Keys of providers that are stored in the database: opened at the start and after every change, held in memory.

They are used beside the configured ones; `keys = ["stored:NAME"]` refers to one by its name. What cannot be opened, as
the key that seals is missing or is another one, is left out, and said.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final

from proxy.config.secrets import STORED, Secret
from proxy.sealing import CannotOpen, Seal, Sealer, fingerprint, key_from_passphrase, key_from_text, sealed_with
from storage.credentials import Credential, Credentials, Work
from translators.codec import dumps, loads_object

if TYPE_CHECKING:
    from proxy.config.model import SecretsSettings, Settings
    from storage.audit import Actor, AuditLog

log = logging.getLogger("modelport")

PURPOSE: Final = "credential"
SALT_BYTES: Final = 16
PEPPER: Final = "fingerprint"
"""Its purpose, and its name."""
PEPPER_BYTES: Final = 32


class NoSealer(Exception):
    """Nothing can be stored sealed, as no key is configured. The message says how one is."""

    def __init__(self) -> None:
        super().__init__(
            "there is no key to encrypt it with: make one with `modelport secrets generate`, keep it in the variable"
            " MODELPORT_SECRET_KEY or name its place in [secrets] key, and start again"
        )


@dataclass(frozen=True, slots=True)
class StoredKey:
    """One stored key of *provider*. *secret* is None where it cannot be opened; *why_not* says why it is not used."""

    name: str
    provider: str
    secret: Secret | None = None
    weight: int = 1
    base_url: str | None = None
    dialect: str | None = None
    enabled: bool = True
    fingerprint: str | None = None
    """Tells keys apart, and nothing more."""
    created_us: int = 0
    rotated_us: int | None = None
    why_not: str = ""

    def shown(self) -> dict[str, Any]:
        """What may be shown of it."""
        return {
            "name": self.name,
            "provider": self.provider,
            "weight": self.weight,
            "enabled": self.enabled,
            "base_url": self.base_url,
            "dialect": self.dialect,
            "fingerprint": self.fingerprint,
        }


class StoredKeys:
    """All stored keys, by name."""

    def __init__(self, keys: Iterable[StoredKey] = ()) -> None:
        self.all: Mapping[str, StoredKey] = {key.name: key for key in keys}

    @property
    def providers(self) -> tuple[str, ...]:
        """The providers that have any."""
        return tuple(dict.fromkeys(key.provider for key in self.all.values()))

    @property
    def secrets(self) -> list[str]:
        """Everything that must never be shown, of those that are not in use, too."""
        return [key.secret.reveal() for key in self.all.values() if key.secret]

    def found(self, written: Secret) -> Secret | None:
        """What *written* leads to; None where that is a stored key that cannot be used."""
        if written.stored_name is None:
            return written
        key = self.all.get(written.stored_name)
        return key.secret if key and not key.why_not else None

    def beside(self, provider: str, written: Sequence[Secret]) -> tuple[Secret, ...]:
        """The keys of *provider*: those of *written* that can be used, then its stored ones."""
        given = [found for secret in written if (found := self.found(secret))]
        own = [key.secret for key in self.all.values() if key.provider == provider and key.secret and not key.why_not]
        return tuple(dict.fromkeys([*given, *own]))

    def weight(self, secret: Secret) -> int:
        """Its share of the load among the keys of its provider."""
        key = self.all.get(secret.stored_name or "")
        return key.weight if key else 1

    def address(self, provider: str) -> tuple[str | None, str | None]:
        """Base URL and dialect that stand beside the keys of *provider*."""
        own = [key for key in self.all.values() if key.provider == provider]
        base_url = next((key.base_url for key in own if key.base_url), None)
        return base_url, next((key.dialect for key in own if key.dialect), None)

    def why_none(self, provider: str) -> str:
        """Why no stored key of *provider* is used; empty where it has none at all."""
        return next(
            (f"stored key {key.name}: {key.why_not}" for key in self.all.values() if key.provider == provider), ""
        )


def dangling(settings: Settings, stored: StoredKeys) -> list[str]:
    """What the configuration refers to and cannot have, one sentence each."""
    wanted = [
        (f"providers.{name}.{place}", secret.stored_name)
        for name, section in settings.providers.items()
        for place, secret in [
            *((f"keys[{index}]", secret) for index, secret in enumerate(section.keys or ())),
            *((f"headers.{header}", secret) for header, secret in section.headers.items()),
        ]
        if secret.stored_name is not None
    ]
    found = []
    for place, name in wanted:
        key = stored.all.get(name)
        if key is None:
            found.append(f"{place}: nothing is stored under the name {name!r}; it is left out")
        elif key.why_not:
            found.append(f"{place}: {STORED}{name} is left out: {key.why_not}")
    return found


async def open_sealer(store: Credentials, settings: SecretsSettings) -> Sealer | None:
    """What `[secrets]` describes; None where it names no key.

    Raises:
        StorageError: the salt of a passphrase can be neither read nor written.
    """
    newest = await _key(store, settings.key, settings.passphrase)
    if newest is None:
        return None
    previous = await _key(store, settings.previous_key, settings.previous_passphrase)
    sealer = Sealer([newest, *([previous] if previous else [])])
    # The first use imports the library: here, and not on the event loop while somebody waits.
    await asyncio.to_thread(sealer.seal, "trial", "", b"")
    return sealer


async def _key(store: Credentials, key: Secret | None, passphrase: Secret | None) -> bytes | None:
    if key is not None:
        return key_from_text(key.reveal())
    if passphrase is None:
        return None
    salt, work = await store.salt(os.urandom(SALT_BYTES), Work())
    return await asyncio.to_thread(
        key_from_passphrase,
        passphrase.reveal(),
        salt,
        memory_kib=work.memory_kib,
        iterations=work.iterations,
        lanes=work.lanes,
    )


@dataclass(slots=True)
class CredentialBook:
    """The stored keys, and changing them. Each change is on disk, in the audit log and in `keys` when it returns."""

    store: Credentials
    audit: AuditLog
    sealer: Sealer | None
    keys: StoredKeys = field(default_factory=StoredKeys)
    _pepper: bytes | None = None
    """What fingerprints are made with. It is sealed in the database and stays when the key that seals is another one,
    so that a stored key keeps its fingerprint; None: there is none, or it cannot be opened."""
    _changing: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def load(self) -> None:
        """Read and open what is stored."""
        rows = await self.store.all()
        self._pepper = await self._stored_pepper()
        self.keys = StoredKeys([self._opened(row) for row in rows])
        for key in self.keys.all.values():
            if key.enabled and key.why_not:
                log.error("the stored key %s of %s cannot be used: %s", key.name, key.provider, key.why_not)

    async def add(self, by: Actor, key: StoredKey, text: str) -> StoredKey:
        """Store *text* as *key* says.

        Raises:
            NoSealer: there is nothing to seal it with.
            Conflict: the name is taken.
            StorageError: it cannot be written.
        """
        sealed = self._seal().seal(_bound(key, text), key.name)
        await self._have_pepper()
        shown = {**key.shown(), "fingerprint": self._fingerprint(text)}
        entry = self.audit.entry(by, "credential.added", key.name, after=shown)
        row = Credential(key.name, key.provider, sealed, key.weight, key.base_url, key.dialect, key.enabled)
        async with self._changing:
            await self.store.add(row, entry)
            await self.load()
        return self.keys.all[key.name]

    async def change(
        self, by: Actor, name: str, *, weight: int | None = None, enabled: bool | None = None
    ) -> StoredKey | None:
        """Give the key *name* another weight, switch it on or off; what is None stays. None where it is gone."""
        async with self._changing:
            before = self.keys.all.get(name)
            if before is None:
                return None
            weight = before.weight if weight is None else weight
            enabled = before.enabled if enabled is None else enabled
            after = replace(before, weight=weight, enabled=enabled)
            entry = self.audit.entry(by, "credential.changed", name, before.shown(), after.shown())
            await self.store.change(name, weight, entry, enabled=enabled)
            await self.load()
        return self.keys.all.get(name)

    async def rotate(self, by: Actor, name: str, text: str) -> StoredKey | None:
        """Put *text* in the place of the key *name*; None where it is gone.

        Raises:
            NoSealer: there is nothing to seal it with.
        """
        seal = self._seal()
        async with self._changing:
            before = self.keys.all.get(name)
            if before is None:
                return None
            sealed = seal.seal(_bound(before, text), name)
            await self._have_pepper()
            after = {**before.shown(), "fingerprint": self._fingerprint(text)}
            await self.store.rotate(
                name, sealed, self.audit.entry(by, "credential.rotated", name, before.shown(), after)
            )
            await self.load()
        return self.keys.all.get(name)

    async def remove(self, by: Actor, name: str) -> StoredKey | None:
        """Remove the key *name*; what it was, None where it is gone already."""
        async with self._changing:
            before = self.keys.all.get(name)
            if before is None:
                return None
            await self.store.remove(name, self.audit.entry(by, "credential.removed", name, before.shown()))
            await self.load()
        return before

    async def reseal(self, by: Actor) -> int:
        """Encrypt everything in the database anew, with the newest key; how many values. All of them, or none.

        Raises:
            NoSealer: there is no key.
            CannotOpen: a value cannot be opened with the keys that there are; nothing has changed.
        """
        if self.sealer is None:
            raise NoSealer
        async with self._changing:
            entry = self.audit.entry(by, "secrets.rotated", "secrets", after={"key_id": self.sealer.key_id})
            pepper = self.sealer.seal(PEPPER, PEPPER, self._pepper) if self._pepper else None
            count = await self.store.reseal(self.sealer.reseal, entry, pepper)
            await self.load()
        return count

    async def key_ids(self) -> dict[str, int]:
        """How many stored values were sealed with which key."""
        counts: dict[str, int] = {}
        for _, _, sealed in await self.store.sealed():
            key_id = sealed_with(sealed)
            counts[key_id] = counts.get(key_id, 0) + 1
        return counts

    def _seal(self) -> Seal:
        if self.sealer is None:
            raise NoSealer
        return self.sealer.of(PURPOSE)

    def _fingerprint(self, text: str) -> str | None:
        return fingerprint(self._pepper, text.encode()) if self._pepper else None

    async def _stored_pepper(self) -> bytes | None:
        sealed = await self.store.pepper()
        if sealed is None or self.sealer is None:
            return None
        try:
            return self.sealer.open(PEPPER, PEPPER, sealed)
        except CannotOpen:
            return None

    async def _have_pepper(self) -> None:
        """Make a pepper, and keep it, where there is none that can be opened. Raises StorageError."""
        if self._pepper is None and self.sealer is not None:
            pepper = os.urandom(PEPPER_BYTES)
            await self.store.keep_pepper(self.sealer.seal(PEPPER, PEPPER, pepper))
            self._pepper = pepper

    def _opened(self, row: Credential) -> StoredKey:
        key = StoredKey(
            row.name,
            row.provider,
            None,
            row.weight,
            row.base_url,
            row.dialect,
            row.enabled,
            created_us=row.created_us,
            rotated_us=row.rotated_us,
            why_not="" if row.enabled else "it is switched off",
        )
        if self.sealer is None:
            return replace(key, why_not="no key is configured that opens it ([secrets] key)")
        try:
            text = _unbound(key, self._seal().open(row.sealed, row.name))
        except CannotOpen as error:
            return replace(key, why_not=str(error))
        return replace(key, secret=Secret(text, f"{STORED}{row.name}"), fingerprint=self._fingerprint(text))


def _bound(key: StoredKey, text: str) -> bytes:
    """What is sealed of *key*: with whom it may be used, too, so that an edited row sends it to nobody else."""
    return dumps({"key": text, "provider": key.provider, "base_url": key.base_url, "dialect": key.dialect})


def _unbound(key: StoredKey, sealed: bytes) -> str:
    """The key itself.

    Raises:
        CannotOpen: it was stored for another provider or address than its row now says.
    """
    bound = loads_object(sealed)
    if (bound["provider"], bound["base_url"], bound["dialect"]) != (key.provider, key.base_url, key.dialect):
        told = "and its row was changed by other hands since; store it again"
        raise CannotOpen(f"it was stored for {bound['provider']}, {told}")
    return str(bound["key"])
