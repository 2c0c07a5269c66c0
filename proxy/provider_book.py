"""Providers that were added or changed while the process ran: sections as the configuration has them, over its own.

A section of the database says only what was said; field by field it wins over the file's. Keys are references alone,
and what a reference may lead to is bounded, because whoever may add a provider says where its keys are sent:

- `stored:NAME` is a key that was stored for this very provider;
- `env:NAME` is a variable that is named like a key, is not one of modelport's own, and, where a shipped provider has
  its key in it, is sent to that provider's own host alone.
"""

from __future__ import annotations

import asyncio
import logging
import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from pydantic import ValidationError

from proxy.config.model import ProviderSettings, Settings
from proxy.config.secrets import BadSecret, NoSecret, Secret
from proxy.config.shipped import rows
from storage.audit import AuditLog
from storage.provider_rows import ProviderRow, ProviderRows
from translators.codec import dumps, dumps_text, loads_object

if TYPE_CHECKING:
    from proxy.credentials import StoredKeys
    from proxy.providers import ProviderSpec
    from storage.audit import Actor

log = logging.getLogger("modelport")

VARIABLE: Final = re.compile(r"[A-Za-z][A-Za-z0-9_]*_(?:KEY|TOKEN)(?:_\d+)?")
OWN_VARIABLES: Final = "MODELPORT"


class ProviderBook:
    """The sections of the database, by name."""

    def __init__(self, store: ProviderRows, audit: AuditLog) -> None:
        self._store = store
        self._audit = audit
        self.rows: Mapping[str, ProviderRow] = {}
        self.changing = asyncio.Lock()
        """Held from reading what was said to writing it again."""
        self._sections: Mapping[str, ProviderSettings] = {}

    async def load(self) -> None:
        """Read what is stored. A section that this version cannot read is left out, and said."""
        self.rows = {row.name: row for row in await self._store.all()}
        found: dict[str, ProviderSettings] = {}
        for row in self.rows.values():
            try:
                found[row.name] = section_of(loads_object(row.settings))
            except ValidationError as error:
                log.error("the provider %s, added at run time, is left out: %s", row.name, _first(error))
        self._sections = found

    def said(self, name: str) -> dict[str, Any]:
        """What was said of *name* at run time; empty when nothing was."""
        row = self.rows.get(name)
        return loads_object(row.settings) if row else {}

    async def put(self, by: Actor, name: str, said: Mapping[str, Any]) -> None:
        """Let *said* be the section of *name*; on disk and in the audit log when this returns.

        Raises:
            StorageError: it could not be written; nothing changed.
        """
        before = self.said(name) or None
        entry = self._audit.entry(by, "provider.changed" if before else "provider.added", name, before, said)
        await self._store.put(name, dumps_text(dict(said)), entry.append)
        await self.load()

    async def remove(self, by: Actor, name: str) -> None:
        """Forget what was said of *name* at run time. Raises StorageError."""
        entry = self._audit.entry(by, "provider.removed", name, self.said(name))
        await self._store.remove(name, entry.append)
        await self.load()

    def over(self, settings: Settings) -> Settings:
        """*settings* with the sections of the database over those of the file."""
        return over(settings, self._sections)


def over(settings: Settings, sections: Mapping[str, ProviderSettings]) -> Settings:
    """*settings* with *sections* over its own, field by field."""
    if not sections:
        return settings
    providers = dict(settings.providers)
    for name, section in sections.items():
        own = providers.get(name)
        said = {field: getattr(section, field) for field in section.model_fields_set}
        providers[name] = own.model_copy(update=said) if own else section
    return settings.model_copy(update={"providers": providers})


def section_of(said: Mapping[str, Any], environ: Mapping[str, str] | None = None) -> ProviderSettings:
    """*said* as a section whose keys are resolved; a variable that is not set is left out.

    Raises:
        ValidationError: it is no section.
    """
    # JSON mode: strict about kinds of values, and yet a list may become a tuple.
    section = ProviderSettings.model_validate_json(dumps(dict(said)), strict=True)
    if section.keys is None:
        return section
    return section.model_copy(update={"keys": tuple(_resolved(section.keys, environ))})


def _resolved(keys: Iterable[Secret], environ: Mapping[str, str] | None) -> Iterable[Secret]:
    for secret in keys:
        if secret.stored_name is not None:
            yield secret  # the stored keys are looked up where the providers are made
            continue
        try:
            yield secret.resolved(os.environ if environ is None else environ, Path())
        except (NoSecret, BadSecret) as error:
            log.warning("a key of a provider that was added at run time is left out: %s", error)


def why_not_reference(text: str, provider: str, base_url: str | None, stored: StoredKeys) -> str:
    """Why *text* may not be a key of *provider* at *base_url*; empty when it may."""
    scheme, _, name = text.partition(":")
    if scheme == "stored" and name:
        key = stored.all.get(name)
        if key is None:
            return f"nothing is stored under the name {name[:80]!r}; store it first: POST /api/v1/credentials"
        return "" if key.provider == provider else f"{name} was stored for the provider {key.provider}"
    if scheme != "env" or not name:
        return 'expected "env:NAME" or "stored:NAME"; a key itself is stored by POST /api/v1/credentials'
    if name.upper().startswith(OWN_VARIABLES) or not VARIABLE.fullmatch(name):
        return f"{name[:80]} is not named as a provider's key is: NAME_KEY, NAME_TOKEN, and not MODELPORT_…"
    for shipped, row in rows().items():
        if name in row.get("key_env", ()) and not _same_host(base_url, row.get("base_url"), shipped == provider):
            return f"{name} is the key of {shipped}, which is sent to that vendor alone"
    return ""


def _same_host(base_url: str | None, vendor: str | None, own_row: bool) -> bool:
    if base_url is None:
        return own_row
    return bool(vendor) and origin(base_url) == origin(vendor or "")


def origin(base_url: str) -> tuple[str, str | None, int | None]:
    """Scheme, host and port of an address."""
    parts = urlsplit(base_url)
    return parts.scheme, parts.hostname, parts.port


def follows(old: ProviderSpec | None, new: ProviderSpec, said: Iterable[str]) -> str:
    """Which key would go from the address of *old* to that of *new* without being named in *said*; empty when none."""
    if old is None or not old.base_url or origin(old.base_url) == origin(new.base_url):
        return ""
    named = set(said)
    for secret in new.keys:
        if secret.reference is None or secret.reference not in named:
            return secret.reference or "a key of the configuration"
    return "a header of the configuration" if old.configured and old.headers and new.headers else ""


def _first(error: ValidationError) -> str:
    first = error.errors(include_url=False, include_input=False)[0]
    return f"{'.'.join(str(part) for part in first['loc'])}: {first['msg']}"
