"""Who may reach what a vendor keeps: files, batches, conversations, vector stores.

A provider's account is one for all keys, and its ids lie in it side by side. Where there are keys, whoever makes a
thing owns it: the ids of answers are written down, and another tenant's are as unknown as ids that never were.

    path names a thing of KEPT        it has to be the tenant's own
    path or body names any thing      it must not be known as another tenant's
    body is passed on                 ids of the forms of ID have to be the tenant's own
    a list of KEPT is asked for       only the tenant's own entries come back

The master key reaches everything. Without keys nobody is told from anybody, and nothing is written down.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import parse_qsl, unquote

from proxy.errors import Refused, refused
from proxy.identity import Identity
from proxy.server import Incoming
from proxy.services import Services
from proxy.threads import THREAD_BYTES, threaded
from proxy.vendor_ids import ID, may_name
from translators.codec import JsonError, dumps, loads, loads_object

KEPT: Final = frozenset(
    {
        "agents",
        "assistants",
        "batch",
        "batches",
        "chat",
        "chatkit",
        "containers",
        "conversations",
        "evals",
        "files",
        "fine-tunes",
        "fine_tuning",
        "libraries",
        "messages",
        "models",
        "organization",
        "realtime",
        "responses",
        "skills",
        "threads",
        "uploads",
        "vector_stores",
        "videos",
    }
)
"""First words of paths below which vendors keep things."""
FORMS: Final = frozenset({"audio", "files", "images", "skills", "uploads", "videos"})
"""Those that take forms: what is new and refers to nothing. In other forms nobody looks for ids."""
_WORD: Final = re.compile(r"[a-z_]{1,40}")
"""A step of a path that is no id."""
_TEXTS: Final = frozenset(
    {"text", "content", "arguments", "output", "name", "description", "instructions", "data", "input", "prompt"}
)
"""Fields whose strings are somebody's words."""
_CURSORS: Final = frozenset({"after", "before", "after_id", "before_id"})
MOST_CLAIMED: Final = 1000
MOST_NAMED: Final = 10_000


def sees_all(services: Services, identity: Identity) -> bool:
    """Whether whoever asks may name whatever lies with vendors: the master, or anybody where there are no keys."""
    return identity.is_master or not has_tenants(services)


def has_tenants(services: Services) -> bool:
    """Whether there are keys, by which askers are told apart."""
    auth = services.setup.loaded.settings.auth
    return bool(auth.required or auth.master_key or services.keyring.entries)


async def owns(services: Services, incoming: Incoming, named: str | None) -> bool:
    """Whether *named* is known as the asker's own, wherever it lies."""
    if named is None or sees_all(services, incoming.identity):
        return False
    return incoming.tenant in (await services.objects.owners([named])).get(named, ())


# --- questions to models -------------------------------------------------------------------------


async def check_question(services: Services, incoming: Incoming, raw: bytes) -> None:
    """Raises Refused: 404 for a question, *raw*, that names a thing which another tenant has made."""
    if sees_all(services, incoming.identity):
        return
    named = await _named(raw)
    if not named:
        return
    owners = await services.objects.owners(named)
    for each in named:
        if each in owners and incoming.tenant not in owners[each]:
            raise unknown(each)


# --- what is passed on ---------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Claim:
    """One request that is passed on, as far as it is about things that a vendor keeps."""

    services: Services
    tenant: str
    method: str
    topic: str
    steps: tuple[str, ...]
    """The path below the topic."""
    query: str
    checks: bool
    """Whether there is anything that the tenant may not reach."""
    writes: bool
    """Whether there are tenants at all."""

    @property
    def ids(self) -> tuple[str, ...]:
        """The steps that name things."""
        return tuple(step for step in self.steps if not _WORD.fullmatch(step))

    @property
    def lists(self) -> bool:
        """Whether it asks for a list, of which a tenant gets its own entries."""
        return self.checks and self.topic in KEPT and not self.ids and self.method in {"GET", "HEAD"}

    async def check(self, provider: str, body: bytes, content_type: str) -> None:
        """Raises Refused: 404 for what is another's at *provider*, 400 for a body in which that cannot be seen."""
        if not self.checks:
            return
        named = await self._in_body(body, content_type)
        asked = [value for name, value in parse_qsl(self.query) if name not in _CURSORS]
        owners = await self.services.objects.owners([*self.ids, *named, *asked], provider)
        strict = {*named, *(self.ids[:1] if self.topic in KEPT else ())}
        for each in [*self.ids, *named, *asked]:
            known = owners.get(each)
            if known is None and each in strict and not await self._is_own_response(each, provider):
                raise unknown(each)
            if known is not None and self.tenant not in known:
                raise unknown(each)
        if self.method == "DELETE" and self.topic in KEPT and not self.ids:
            raise unknown(self.topic)

    async def _in_body(self, body: bytes, content_type: str) -> list[str]:
        kind = content_type.partition(";")[0].strip().lower()
        if kind == "application/json":
            await threaded(len(body) > THREAD_BYTES, _check_readable, body)
            return await _named(body)
        if kind and self.topic in KEPT and not (kind == "multipart/form-data" and self.topic in FORMS):
            told = f"the body: expected application/json with a virtual key, found {content_type[:80]!r}"
            raise refused(400, told, code="invalid_content_type")
        return []

    async def _is_own_response(self, each: str, provider: str) -> bool:
        """Whether it is a response of the tenant that is stored here and at *provider*."""
        stored = await self.services.responses.get(self.tenant, each) if each.startswith("resp_") else None
        return stored is not None and stored.vendor_stored and stored.provider == provider

    async def note(self, provider: str, made: Iterable[Any]) -> None:
        """Write down whose the things are that an answer of *provider*, the JSON values *made*, tells of.

        Raises:
            StorageError: it cannot be written.
        """
        if not self.writes:
            return
        if self.method == "DELETE":
            if len(self.ids) == 1 and self.steps[-1:] == self.ids:
                await self.services.objects.forget(provider, self.ids[0])
            return
        found: list[str] = []
        for value in made:
            if self.method == "POST" and isinstance(value, dict) and isinstance(given := value.get("id"), str):
                found.append(given[:256])
            if not self.lists:
                found.extend(_ids_in(value))
        await self.services.objects.claim(provider, self.tenant, found[:MOST_CLAIMED])

    async def own_entries(self, provider: str, raw: bytes) -> bytes:
        """The list *raw* with the tenant's own entries alone.

        Raises:
            Refused: 404 where it is no list: what is one for the whole account is for the master key.
        """
        try:
            told = loads_object(raw)
        except JsonError:
            told = {}
        entries = told.get("data")
        if not isinstance(entries, list):
            raise refused(
                404,
                f"there is nothing at {self.method} /v1/{self.topic} for this key; the master key may ask",
                kind="not_found",
                code="not_found",
            )
        named = {
            each: entry for entry in entries if isinstance(entry, dict) and isinstance(each := entry.get("id"), str)
        }
        owners = await self.services.objects.owners(named, provider)
        mine = [entry for each, entry in named.items() if self.tenant in owners.get(each, ())]
        told["data"] = mine
        if "first_id" in told:
            told["first_id"] = mine[0]["id"] if mine else None
        return dumps(told)


def claim_of(services: Services, incoming: Incoming) -> Claim:
    """What *incoming*, which is to be passed on, is about."""
    url = incoming.http.rel_url
    steps = [step.partition(";")[0] for step in map(unquote, url.raw_path.split("/")) if step]
    # A server whose base URL has no version, say, is reached below a word more.
    at = next((at for at, step in enumerate(steps) if step.lower() in KEPT), 1)
    topic = steps[at].lower() if at < len(steps) else ""
    tenants = has_tenants(services)
    return Claim(
        services,
        incoming.tenant,
        incoming.http.method,
        topic,
        tuple(steps[at + 1 :]),
        url.raw_query_string,
        checks=tenants and not incoming.identity.is_master,
        writes=tenants,
    )


def unknown(each: str) -> Refused:
    """What is said of a thing that is not the asker's: no more than of one that never was."""
    return refused(404, f"there is no {each[:200]!r}", kind="not_found", code="not_found")


def _check_readable(body: bytes) -> None:
    """Raises Refused: 400 for JSON that cannot be looked into, though a vendor may read it."""
    try:
        if body.strip():
            loads(body)
    except JsonError as error:
        raise refused(400, f"the request body: {error}", code="invalid_json") from error


# --- ids -----------------------------------------------------------------------------------------


async def _named(raw: bytes) -> list[str]:
    return await threaded(len(raw) > THREAD_BYTES, _named_in, raw)


def _named_in(raw: bytes) -> list[str]:
    """The ids in the JSON text *raw*, in order, those of a name that stands in an object twice among them.

    Whoever reads the first of two would see another than whoever reads the last.
    """
    if not may_name(raw):
        return []
    try:
        value = json.loads(raw, object_pairs_hook=_Pairs)
    except (ValueError, RecursionError) as error:
        raise refused(400, f"the request body: {error}", code="invalid_json") from error
    named = list(dict.fromkeys(_ids_in(value)))
    if len(named) > MOST_NAMED:
        raise refused(
            400, f"the request names {len(named)} things; at most {MOST_NAMED} are looked up", code="too_many"
        )
    return named


class _Pairs(list[tuple[str, Any]]):
    """The members of a JSON object."""


def _ids_in(value: Any, name: str = "") -> Iterator[str]:
    match value:
        case str():
            if name not in _TEXTS and ID.fullmatch(value):
                yield value
        case _Pairs():
            for inner, item in value:
                yield from _ids_in(item, inner)
        case dict():
            for inner, item in value.items():
                yield from _ids_in(item, inner)
        case list():
            for item in value:
                yield from _ids_in(item, name)
        case _:
            return


def values_of(seen: bytes, *, streams: bool) -> list[Any]:
    """The JSON values of an answer: the one, or those of its events."""
    texts = [seen]
    if streams:
        texts = [line[5:] for line in seen.splitlines() if line.startswith(b"data:")]
    values: list[Any] = []
    for text in texts:
        try:
            values.append(loads(text))
        except JsonError:
            continue
    return values
