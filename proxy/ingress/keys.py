"""`/api/v1/keys`: virtual keys, made, listed, changed, rotated and revoked.

An administrator of an organisation or a team sees and changes the keys of that place only. What a key may is bound to
what its maker may (`proxy.keyring`); so that this cannot be got around, a key that is itself bound changes and rotates
only keys of its own making, and revokes any of its place.
"""

from __future__ import annotations

import secrets
import time
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from typing import Annotated, Any, Final, Literal

from aiohttp import web
from pydantic import Field

from proxy.errors import Refused, refused
from proxy.identity import MASTER, ROLES, Identity, Role
from proxy.ingress.bodies import read_model
from proxy.ingress.json import json_response
from proxy.ingress.parameters import bad
from proxy.ingress.places import Body, Dollars, Name, SettingsBody, changed, differences, shown_settings, with_warnings
from proxy.keyring import Entry, moment, new_key, new_signing_secret, shown
from proxy.server import Incoming
from proxy.services import Services
from storage.budgets import Budget, Unpriced
from storage.errors import Conflict
from storage.keys import Digest, Key, Limits, Settings
from storage.money import nanousd, usd
from storage.windows import Window

LATEST: Final = 253_402_300_800
"""The end of the year 9999."""
LONGEST_OVERLAP_S: Final = 30 * 86_400
_SPANS: Final = {"m": 60, "h": 3600, "d": 86_400, "w": 604_800}


class BudgetBody(Body):
    """What a key may spend."""

    limit_usd: Dollars = Field(description="US dollars; a decimal string is exact.")
    window: Window = "month"
    rolling: bool = False
    hard: bool = True
    unpriced: Unpriced = "refuse"


class KeyChange(SettingsBody):
    """What can be changed of a key."""

    name: Name | None = Field(None, description="For people.")
    roles: Annotated[list[Role], Field(min_length=1)] | None = Field(None, description="Default: developer.")
    budget: BudgetBody | None = None
    expires_at: str | int | float | None = Field(
        None, description="ISO 8601, Unix seconds, or from now: 30m, 12h, 90d, 4w. Null: never."
    )


class NewKey(KeyChange):
    """A key to be made."""

    organisation: str | None = Field(None, description="Id of the organisation it belongs to.")
    team: str | None = Field(None, description="Id of the team it belongs to, which says the organisation.")
    signing: bool = Field(False, description="Whether its requests have to be signed.")


class Rotation(Body):
    """How a key is replaced."""

    overlap_s: Annotated[int, Field(ge=0, le=LONGEST_OVERLAP_S)] = Field(
        0, description="Seconds for which the old key stays valid beside the new one."
    )


async def create_key(services: Services, incoming: Incoming) -> web.StreamResponse:
    """Make a key. Its text is in this answer and nowhere else."""
    body = await read_model(incoming, NewKey)
    if not body.name:
        raise bad("name", "missing; people have to tell keys apart")
    identity, ring = incoming.identity, services.keyring
    organisation, team = _place(services, identity, body)
    text, key_id = new_key(), f"key_{secrets.token_hex(8)}"
    secret, sealed = _new_secret(services, key_id) if body.signing else (None, None)
    key = Key(
        id=key_id,
        name=body.name,
        shown=shown(text),
        organisation=organisation,
        team=team,
        maker=identity.key_id or MASTER,
        roles=_roles(body) or ("developer",),
        settings=changed(services, Settings(), body),
        created_us=int(time.time() * 1_000_000),
        signing=sealed,
        expires_us=_expiry(services, identity, body),
    )
    budget = _budget(key, body.budget)
    told = _shown(services, key, budget)
    entry = services.audit.entry(identity, "key.created", key_id, after=told)
    await ring.store.create(key, ring.digest(text), budget, entry=entry)
    await _renew(services)
    made = with_warnings(services, {**told, "key": text}, key.settings)
    if secret is not None:
        made["signing_secret"] = secret
    return json_response(made, incoming.id, 201)


async def list_keys(services: Services, incoming: Incoming) -> web.StreamResponse:
    """The keys of the asker's place, oldest first; `?organisation=`, `?team=`, `?status=` choose."""
    query = incoming.http.query
    wanted = {name: query[name] for name in ("organisation", "team", "status") if query.get(name)}
    if wanted.get("status", "active") not in {"active", "expired", "revoked"}:
        raise bad("status", "expected active, expired or revoked")
    budgets = await _budgets(services)
    rows = [
        _shown(services, entry.key, budgets.get(entry.key.id))
        for entry in services.keyring.entries.values()
        if _in_place(incoming.identity, entry.key)
    ]
    rows = [row for row in rows if all(row[name] == value for name, value in wanted.items())]
    return json_response({"data": rows}, incoming.id)


async def one_key(services: Services, incoming: Incoming) -> web.StreamResponse:
    """One key."""
    entry = _entry(services, incoming)
    budgets = await _budgets(services)
    told = _shown(services, entry.key, budgets.get(entry.key.id))
    return json_response(with_warnings(services, told, entry.key.settings), incoming.id)


async def change_key(services: Services, incoming: Incoming) -> web.StreamResponse:
    """Change what a key is called, may and must; what the body does not name stays."""
    body = await read_model(incoming, KeyChange)
    budgets = await _budgets(services)
    entry = _entry(services, incoming)
    _check_power(services, incoming.identity, entry, budgets)
    said, key = body.model_fields_set, entry.key
    if "name" in said and not body.name:
        raise bad("name", "it cannot be taken away")
    key = replace(
        key,
        name=body.name or key.name,
        roles=_roles(body) or key.roles,
        settings=changed(services, key.settings, body),
        expires_us=_expiry(services, incoming.identity, body) if "expires_at" in said else key.expires_us,
    )
    budget = _budget(key, body.budget)
    gone = _budget_id(key) if "budget" in said and budget is None else None
    had = budgets.get(key.id)
    told = _shown(services, key, budget or (None if gone else had))
    logged = services.audit.entry(
        incoming.identity, "key.changed", key.id, *differences(_shown(services, entry.key, had), told)
    )
    await services.keyring.store.change(key, budget=budget, no_budget=gone, entry=logged)
    await _renew(services)
    return json_response(with_warnings(services, told, key.settings), incoming.id)


async def revoke_key(services: Services, incoming: Incoming) -> web.StreamResponse:
    """Let a key get in no more. The keys that it has made stay."""
    key = _entry(services, incoming).key
    if key.revoked_us is None:
        logged = services.audit.entry(incoming.identity, "key.revoked", key.id, after={"name": key.name})
        await services.keyring.store.revoke(key.id, logged)
        await services.keyring.renew()
    budgets = await _budgets(services)
    return json_response(_shown(services, services.keyring.entries[key.id].key, budgets.get(key.id)), incoming.id)


async def act_on_key(services: Services, incoming: Incoming) -> web.StreamResponse:
    """`POST /api/v1/keys/{id}/rotate`: give a key a new text, which is in this answer and nowhere else."""
    if not incoming.parameter.endswith("/rotate"):
        raise refused(404, "there is only /api/v1/keys/{id}/rotate", kind="not_found", code="unknown_url")
    body = await read_model(incoming, Rotation)
    budgets = await _budgets(services)
    entry, ring = _entry(services, incoming), services.keyring
    if entry.key.id != incoming.identity.key_id:
        _check_power(services, incoming.identity, entry, budgets)
    if entry.key.revoked_us is not None:
        raise refused(409, f"the key {entry.key.id} was revoked; make a new one", code="key_revoked")
    if body.overlap_s and entry.key.signing is not None:
        raise bad("overlap_s", "a key that signs its requests is replaced at once; leave it out")
    text = new_key()
    secret, sealed = _new_secret(services, entry.key.id) if entry.key.signing is not None else (None, None)
    until_us = int((time.time() + body.overlap_s) * 1_000_000)
    new = Digest(ring.digest(text), entry.key.id)
    said = {"prefix": shown(text), "old_key_until": moment(until_us)}
    logged = services.audit.entry(incoming.identity, "key.rotated", entry.key.id, after=said)
    try:
        await ring.store.rotate(new, shown(text), until_us, signing=sealed, entry=logged)
    except Conflict as error:
        raise refused(409, str(error), code="key_revoked") from error
    await ring.renew()
    made = {**_shown(services, ring.entries[entry.key.id].key, budgets.get(entry.key.id)), "key": text}
    made["old_key_until"] = moment(until_us)
    if secret is not None:
        made["signing_secret"] = secret
    return json_response(made, incoming.id)


# --- who may do what -------------------------------------------------------------------------------


def _in_place(identity: Identity, key: Key) -> bool:
    """Whether *key* belongs to where *identity* administers."""
    if identity.organisation is None:
        return True
    return key.organisation == identity.organisation and identity.team in {None, key.team}


def _entry(services: Services, incoming: Incoming) -> Entry:
    """The key of the path. Raises Refused, 404, also for one of another place."""
    key_id = incoming.parameter.partition("/")[0]
    entry = services.keyring.entries.get(key_id)
    if entry is None or not _in_place(incoming.identity, entry.key):
        raise refused(404, f"no key has the id {key_id[:80]!r}", kind="not_found", code="key_not_found")
    return entry


def _check_power(services: Services, identity: Identity, entry: Entry, budgets: dict[str, Budget]) -> None:
    """Raises Refused, 403: *identity* is bound, and the key may not be bound in the same way."""
    if identity.is_master or identity.key_id in entry.identity.makers:
        return
    own = services.keyring.entries.get(identity.key_id or "")
    line = [services.keyring.entries[key_id].key for key_id in (own.key.id, *own.identity.makers)] if own else []
    for key in line:
        given = key.settings
        bound = given.models or given.routes or given.endpoints or given.limits != Limits()
        if bound or key.id in budgets or key.expires_us is not None:
            told = (
                f"the key {key.shown} has limits of its own, so that this key of somebody else's making can be revoked"
                " by it, but not changed or rotated"
            )
            raise refused(403, told, kind="permission", code="key_out_of_reach")


def _place(services: Services, identity: Identity, body: NewKey) -> tuple[str | None, str | None]:
    """Organisation and team of a new key; those of its maker where it says none."""
    team = body.team or identity.team
    organisation = body.organisation or identity.organisation
    if identity.team not in {None, team}:
        raise _elsewhere(identity)
    if team is not None:
        found = services.keyring.teams.get(team)
        if found is None or identity.organisation not in {None, found.organisation}:
            raise bad("team", f"there is no team {team[:80]!r}")
        if organisation not in {None, found.organisation}:
            raise bad("team", f"the team {team} belongs to the organisation {found.organisation}")
        organisation = found.organisation
    if identity.organisation not in {None, organisation}:
        raise _elsewhere(identity)
    if organisation is not None and organisation not in services.keyring.organisations:
        raise bad("organisation", f"there is no organisation {organisation[:80]!r}")
    return organisation, team


def _elsewhere(identity: Identity) -> Refused:
    """For whoever makes keys in a place that is not theirs; nothing of it tells whether there is such a place."""
    where = f"the team {identity.team}" if identity.team else f"the organisation {identity.organisation}"
    told = f"the key administers {where} and can make keys only there"
    return refused(403, told, kind="permission", code="key_out_of_reach")


def _roles(body: KeyChange) -> tuple[str, ...]:
    return tuple(role for role in ROLES if role in (body.roles or ()))


def _expiry(services: Services, identity: Identity, body: KeyChange) -> int | None:
    """When a key ends: not after the key that makes or changes it."""
    own = services.keyring.entries.get(identity.key_id or "")
    last = own.ends_us if own else None
    if body.expires_at is None:
        return last
    at = _moment(body.expires_at)
    if at <= time.time():
        raise bad("expires_at", "it is in the past")
    if last is not None and at * 1_000_000 > last:
        told = f"the key that asks ends at {moment(last)}, and no key that it makes can end later"
        raise refused(403, told, kind="permission", code="key_out_of_reach", param="expires_at")
    return int(at * 1_000_000)


def _new_secret(services: Services, key_id: str) -> tuple[str, bytes]:
    """A signing secret, and how it is stored."""
    sealer = services.keyring.sealer
    if sealer is None:
        told = "signing secrets are stored encrypted; set [secrets] key and start again"
        raise refused(409, f"signing: {told}", param="signing", code="secrets_unavailable")
    secret = new_signing_secret()
    return secret, sealer.seal(secret.encode(), key_id)


# --- values ----------------------------------------------------------------------------------------


def _moment(text: str | float) -> float:
    """Unix seconds of a moment to come."""
    at = -1.0
    if not isinstance(text, str):
        at = float(text)
    elif text[-1:] in _SPANS and text[:-1].isascii() and text[:-1].isdecimal() and len(text) < 8:
        at = time.time() + int(text[:-1]) * _SPANS[text[-1]]
    else:
        with suppress(ValueError):
            found = datetime.fromisoformat(text)
            at = (found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp()
    if not 0 <= at < LATEST:
        raise bad("expires_at", "expected an ISO 8601 time, Unix seconds, or a span from now such as 12h, 90d")
    return at


def _budget_id(key: Key) -> str:
    return f"budget_{key.id}"


def _budget(key: Key, body: BudgetBody | None) -> Budget | None:
    if body is None:
        return None
    return Budget(
        id=_budget_id(key),
        kind="key",
        subject=key.id,
        name=key.name,
        limit_nanousd=nanousd(body.limit_usd),
        window=body.window,
        rolling=body.rolling,
        hard=body.hard,
        unpriced=body.unpriced,
        origin="key",
    )


async def _budgets(services: Services) -> dict[str, Budget]:
    """The budgets that were given with keys, by the id of the key."""
    return {budget.subject: budget for budget in await services.budgets.all() if budget.origin == "key"}


async def _renew(services: Services) -> None:
    await services.keyring.renew()
    await services.renew_budgets()


def _shown(services: Services, key: Key, budget: Budget | None) -> dict[str, Any]:
    """A key for those who administer it. Its text is not in it."""
    ring = services.keyring
    status: Literal["active", "expired", "revoked"] = "active"
    ends_us = ring.ends_us(key)
    if key.revoked_us is not None:
        status = "revoked"
    elif ends_us is not None and ends_us <= ring.now() * 1_000_000:
        status = "expired"
    return {
        "id": key.id,
        "name": key.name,
        "prefix": key.shown,
        "status": status,
        "organisation": key.organisation,
        "team": key.team,
        "roles": list(key.roles),
        **shown_settings(key.settings),
        "budget": _shown_budget(budget),
        "signing": key.signing is not None,
        "made_by": key.maker,
        "created_at": moment(key.created_us),
        "expires_at": _moment_or_none(key.expires_us),
        "ends_at": _moment_or_none(ends_us),
        "revoked_at": _moment_or_none(key.revoked_us),
        "last_used_at": _moment_or_none(ring.used_us(key)),
    }


def _shown_budget(budget: Budget | None) -> dict[str, Any] | None:
    if budget is None:
        return None
    return {
        "id": budget.id,
        "limit_usd": usd(budget.limit_nanousd),
        "window": budget.window,
        "rolling": budget.rolling,
        "hard": budget.hard,
        "unpriced": budget.unpriced,
    }


def _moment_or_none(at_us: int | None) -> str | None:
    return None if at_us is None else moment(at_us)
