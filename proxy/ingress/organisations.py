"""`/api/v1/organisations` and `/api/v1/teams`: where keys belong, and what all keys of a place are given."""

from __future__ import annotations

import re
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any, assert_never

from aiohttp import web
from pydantic import Field

from proxy.errors import Refused, refused
from proxy.identity import Identity
from proxy.ingress.bodies import read_model
from proxy.ingress.json import json_response
from proxy.ingress.parameters import bad
from proxy.ingress.places import Name, SettingsBody, Slug, changed, differences, shown_settings, with_warnings
from proxy.keyring import moment
from proxy.server import Incoming
from proxy.services import Services
from storage.audit import Entry
from storage.errors import Conflict
from storage.keys import Organisation, Settings, Team

Place = Organisation | Team
Removing = Callable[[str, Entry], Awaitable[bool]]


class PlaceChange(SettingsBody):
    """What can be changed of an organisation or a team."""

    name: Name | None = Field(None, description="For people.")


class NewOrganisation(PlaceChange):
    """An organisation to be made."""

    id: Slug | None = Field(None, description="How the ledger and budgets call it. Default: made of the name.")


class NewTeam(NewOrganisation):
    """A team to be made."""

    organisation: str | None = Field(None, description="Id of its organisation. Default: the asker's.")


# --- organisations ---------------------------------------------------------------------------------


async def create_organisation(services: Services, incoming: Incoming) -> web.StreamResponse:
    """Make an organisation."""
    body = await read_model(incoming, NewOrganisation)
    place_id, name = _id_and_name(body)
    if place_id in services.keyring.organisations:
        raise _taken("organisation", place_id)
    made = Organisation(place_id, name, changed(services, Settings(), body), int(time.time() * 1_000_000))
    told = _organisation(services, made)
    await _put(services, made, services.audit.entry(incoming.identity, "organisation.created", made.id, after=told))
    return json_response(with_warnings(services, told, made.settings), incoming.id, 201)


async def list_organisations(services: Services, incoming: Incoming) -> web.StreamResponse:
    """The organisations that the asker administers."""
    own = incoming.identity.organisation
    found = [each for each in services.keyring.organisations.values() if own in {None, each.id}]
    return json_response({"data": [_organisation(services, each) for each in found]}, incoming.id)


async def one_organisation(services: Services, incoming: Incoming) -> web.StreamResponse:
    """One organisation."""
    found = _found_organisation(services, incoming)
    return json_response(with_warnings(services, _organisation(services, found), found.settings), incoming.id)


async def change_organisation(services: Services, incoming: Incoming) -> web.StreamResponse:
    """Change what an organisation is called and what its keys are given."""
    body = await read_model(incoming, PlaceChange)
    old = _found_organisation(services, incoming)
    new = replace(old, name=body.name or old.name, settings=changed(services, old.settings, body))
    return await _changed(services, incoming, new, _organisation(services, old), _organisation(services, new))


async def remove_organisation(services: Services, incoming: Incoming) -> web.StreamResponse:
    """Remove an organisation, whose keys have to be revoked before."""
    old = _found_organisation(services, incoming)
    told = _organisation(services, old)
    return await _removed(services, incoming, old, told, services.keyring.store.remove_organisation)


# --- teams -----------------------------------------------------------------------------------------


async def create_team(services: Services, incoming: Incoming) -> web.StreamResponse:
    """Make a team."""
    body = await read_model(incoming, NewTeam)
    _check_above_teams(incoming.identity)
    place_id, name = _id_and_name(body)
    organisation = body.organisation or incoming.identity.organisation
    if organisation is None:
        raise bad("organisation", "missing; a team belongs to one")
    if organisation not in services.keyring.organisations or incoming.identity.organisation not in {None, organisation}:
        raise bad("organisation", f"there is no organisation {organisation[:80]!r}")
    if place_id in services.keyring.teams:
        raise _taken("team", place_id)
    made = Team(place_id, organisation, name, changed(services, Settings(), body), int(time.time() * 1_000_000))
    told = _team(services, made)
    await _put(services, made, services.audit.entry(incoming.identity, "team.created", made.id, after=told))
    return json_response(with_warnings(services, told, made.settings), incoming.id, 201)


async def list_teams(services: Services, incoming: Incoming) -> web.StreamResponse:
    """The teams that the asker administers; `?organisation=` chooses."""
    wanted = incoming.http.query.get("organisation")
    found = [
        each
        for each in services.keyring.teams.values()
        if _administers(incoming.identity, each) and wanted in {None, "", each.organisation}
    ]
    return json_response({"data": [_team(services, each) for each in found]}, incoming.id)


async def one_team(services: Services, incoming: Incoming) -> web.StreamResponse:
    """One team."""
    found = _found_team(services, incoming)
    return json_response(with_warnings(services, _team(services, found), found.settings), incoming.id)


async def change_team(services: Services, incoming: Incoming) -> web.StreamResponse:
    """Change what a team is called and what its keys are given."""
    body = await read_model(incoming, PlaceChange)
    _check_above_teams(incoming.identity)
    old = _found_team(services, incoming)
    new = replace(old, name=body.name or old.name, settings=changed(services, old.settings, body))
    return await _changed(services, incoming, new, _team(services, old), _team(services, new))


async def remove_team(services: Services, incoming: Incoming) -> web.StreamResponse:
    """Remove a team, whose keys have to be revoked before."""
    _check_above_teams(incoming.identity)
    old = _found_team(services, incoming)
    return await _removed(services, incoming, old, _team(services, old), services.keyring.store.remove_team)


# --- what they share -------------------------------------------------------------------------------


def _id_and_name(body: NewOrganisation) -> tuple[str, str]:
    """Of a new place. Raises Refused: 400 without a name, or without an id where none can be made of it."""
    if not body.name:
        raise bad("name", "missing")
    made = re.sub(r"[^a-z0-9]+", "-", body.name.lower()).strip("-")[:64]
    if not (body.id or made):
        raise bad("id", "missing; none can be made of this name: use small letters, digits, - and _")
    return body.id or made, body.name


def _taken(kind: str, place_id: str) -> Refused:
    return refused(
        409, f"the id {place_id!r} is that of another {kind} already; say another", param="id", code="id_taken"
    )


def _check_above_teams(identity: Identity) -> None:
    """Raises Refused, 403, for a key that belongs to a team itself."""
    if identity.team is not None:
        told = f"the key belongs to the team {identity.team}; teams are changed by their organisation's administrators"
        raise refused(403, told, kind="permission", code="role_missing")


def _administers(identity: Identity, team: Team) -> bool:
    return identity.organisation in {None, team.organisation} and identity.team in {None, team.id}


def _found_organisation(services: Services, incoming: Incoming) -> Organisation:
    found = services.keyring.organisations.get(incoming.parameter)
    if found is None or incoming.identity.organisation not in {None, found.id}:
        told = f"no organisation has the id {incoming.parameter[:80]!r}"
        raise refused(404, told, kind="not_found", code="organisation_not_found")
    return found


def _found_team(services: Services, incoming: Incoming) -> Team:
    found = services.keyring.teams.get(incoming.parameter)
    if found is None or not _administers(incoming.identity, found):
        told = f"no team has the id {incoming.parameter[:80]!r}"
        raise refused(404, told, kind="not_found", code="team_not_found")
    return found


async def _put(services: Services, place: Place, entry: Entry) -> None:
    """Store *place* and let it be in force. Raises Refused, 409: another one has its name."""
    store = services.keyring.store
    try:
        match place:
            case Organisation():
                await store.put_organisation(place, entry)
            case Team():
                await store.put_team(place, entry)
            case _:
                assert_never(place)
    except Conflict as error:
        which = "an organisation" if isinstance(place, Organisation) else f"a team of {place.organisation}"
        raise refused(
            409, f"name: {which} is called {place.name!r} already", param="name", code="name_taken"
        ) from error
    await services.keyring.renew()


async def _changed(
    services: Services, incoming: Incoming, new: Place, before: dict[str, Any], after: dict[str, Any]
) -> web.StreamResponse:
    """Let a place be as *new* says; *before* and *after* are what is told of it."""
    entry = services.audit.entry(incoming.identity, f"{_kind(new)}.changed", new.id, *differences(before, after))
    await _put(services, new, entry)
    return json_response(with_warnings(services, after, new.settings), incoming.id)


async def _removed(
    services: Services, incoming: Incoming, old: Place, told: dict[str, Any], remove: Removing
) -> web.StreamResponse:
    """Let *old*, which was as *told*, be no more. Raises Refused, 409: it has keys that are not revoked."""
    entry = services.audit.entry(incoming.identity, f"{_kind(old)}.removed", old.id, before=told)
    try:
        await remove(old.id, entry)
    except Conflict as error:
        raise refused(409, f"{error}; revoke them first", code="place_in_use") from error
    await services.keyring.renew()
    await services.renew_budgets()
    return json_response({"id": old.id, "removed": True}, incoming.id)


def _kind(place: Place) -> str:
    return "organisation" if isinstance(place, Organisation) else "team"


def _organisation(services: Services, organisation: Organisation) -> dict[str, Any]:
    ring = services.keyring
    return {
        "id": organisation.id,
        "name": organisation.name,
        "teams": [team.id for team in ring.teams.values() if team.organisation == organisation.id],
        "keys": sum(entry.key.organisation == organisation.id for entry in ring.entries.values()),
        **shown_settings(organisation.settings),
        "created_at": moment(organisation.created_us),
    }


def _team(services: Services, team: Team) -> dict[str, Any]:
    return {
        "id": team.id,
        "name": team.name,
        "organisation": team.organisation,
        "keys": sum(entry.key.team == team.id for entry in services.keyring.entries.values()),
        **shown_settings(team.settings),
        "created_at": moment(team.created_us),
    }
