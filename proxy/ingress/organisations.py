"""`/api/v1/organisations` and `/api/v1/teams`: where keys belong, and what all keys of a place are given."""

from __future__ import annotations

import re
import time
from dataclasses import replace
from typing import Any

from aiohttp import web
from pydantic import Field

from proxy.errors import Refused, refused
from proxy.identity import Identity
from proxy.ingress.bodies import read_model
from proxy.ingress.json import json_response
from proxy.ingress.places import Name, SettingsBody, Slug, changed, differences, shown_settings
from proxy.keyring import moment
from proxy.server import Incoming
from proxy.services import Services
from storage.audit import Entry
from storage.errors import Conflict
from storage.keys import Organisation, Settings, Team


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
    made = Organisation(place_id, name, changed(Settings(), body), int(time.time() * 1_000_000))
    told = _organisation(services, made)
    entry = services.audit.entry(incoming.identity, "organisation.created", made.id, after=told)
    await _put_organisation(services, made, entry)
    return json_response(told, incoming.id, 201)


async def list_organisations(services: Services, incoming: Incoming) -> web.StreamResponse:
    """The organisations that the asker administers."""
    own = incoming.identity.organisation
    found = [each for each in services.keyring.organisations.values() if own in {None, each.id}]
    return json_response({"data": [_organisation(services, each) for each in found]}, incoming.id)


async def one_organisation(services: Services, incoming: Incoming) -> web.StreamResponse:
    """One organisation."""
    return json_response(_organisation(services, _found_organisation(services, incoming)), incoming.id)


async def change_organisation(services: Services, incoming: Incoming) -> web.StreamResponse:
    """Change what an organisation is called and what its keys are given."""
    body = await read_model(incoming, PlaceChange)
    old = _found_organisation(services, incoming)
    new = replace(old, name=body.name or old.name, settings=changed(old.settings, body))
    changes = differences(_organisation(services, old), _organisation(services, new))
    await _put_organisation(
        services, new, services.audit.entry(incoming.identity, "organisation.changed", new.id, *changes)
    )
    return json_response(_organisation(services, new), incoming.id)


async def remove_organisation(services: Services, incoming: Incoming) -> web.StreamResponse:
    """Remove an organisation, whose keys have to be revoked before."""
    old = _found_organisation(services, incoming)
    entry = services.audit.entry(incoming.identity, "organisation.removed", old.id, before=_organisation(services, old))
    try:
        await services.keyring.store.remove_organisation(old.id, entry)
    except Conflict as error:
        raise refused(409, f"{error}; revoke them first", code="place_in_use") from error
    await services.keyring.renew()
    await services.renew_budgets()
    return json_response({"id": old.id, "removed": True}, incoming.id)


# --- teams -----------------------------------------------------------------------------------------


async def create_team(services: Services, incoming: Incoming) -> web.StreamResponse:
    """Make a team."""
    body = await read_model(incoming, NewTeam)
    _check_above_teams(incoming.identity)
    place_id, name = _id_and_name(body)
    organisation = body.organisation or incoming.identity.organisation
    if organisation is None:
        raise refused(
            400, "organisation: missing; a team belongs to one", param="organisation", code="invalid_parameter"
        )
    if organisation not in services.keyring.organisations or incoming.identity.organisation not in {None, organisation}:
        told = f"organisation: there is no organisation {organisation[:80]!r}"
        raise refused(400, told, param="organisation", code="invalid_parameter")
    if place_id in services.keyring.teams:
        raise _taken("team", place_id)
    made = Team(place_id, organisation, name, changed(Settings(), body), int(time.time() * 1_000_000))
    entry = services.audit.entry(incoming.identity, "team.created", made.id, after=_team(services, made))
    await _put_team(services, made, entry)
    return json_response(_team(services, made), incoming.id, 201)


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
    return json_response(_team(services, _found_team(services, incoming)), incoming.id)


async def change_team(services: Services, incoming: Incoming) -> web.StreamResponse:
    """Change what a team is called and what its keys are given."""
    body = await read_model(incoming, PlaceChange)
    _check_above_teams(incoming.identity)
    old = _found_team(services, incoming)
    new = replace(old, name=body.name or old.name, settings=changed(old.settings, body))
    changes = differences(_team(services, old), _team(services, new))
    await _put_team(services, new, services.audit.entry(incoming.identity, "team.changed", new.id, *changes))
    return json_response(_team(services, new), incoming.id)


async def remove_team(services: Services, incoming: Incoming) -> web.StreamResponse:
    """Remove a team, whose keys have to be revoked before."""
    _check_above_teams(incoming.identity)
    old = _found_team(services, incoming)
    entry = services.audit.entry(incoming.identity, "team.removed", old.id, before=_team(services, old))
    try:
        await services.keyring.store.remove_team(old.id, entry)
    except Conflict as error:
        raise refused(409, f"{error}; revoke them first", code="place_in_use") from error
    await services.keyring.renew()
    await services.renew_budgets()
    return json_response({"id": old.id, "removed": True}, incoming.id)


# --- what they share -------------------------------------------------------------------------------


def _id_and_name(body: NewOrganisation) -> tuple[str, str]:
    """Of a new place. Raises Refused: 400 without a name, or without an id where none can be made of it."""
    if not body.name:
        raise refused(400, "name: missing", param="name", code="invalid_parameter")
    made = re.sub(r"[^a-z0-9]+", "-", body.name.lower()).strip("-")[:64]
    if not (body.id or made):
        told = "id: missing; none can be made of this name: use small letters, digits, - and _"
        raise refused(400, told, param="id", code="invalid_parameter")
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


async def _put_organisation(services: Services, organisation: Organisation, entry: Entry) -> None:
    try:
        await services.keyring.store.put_organisation(organisation, entry)
    except Conflict as error:
        told = f"name: an organisation is called {organisation.name!r} already"
        raise refused(409, told, param="name", code="name_taken") from error
    await services.keyring.renew()


async def _put_team(services: Services, team: Team, entry: Entry) -> None:
    try:
        await services.keyring.store.put_team(team, entry)
    except Conflict as error:
        told = f"name: a team of {team.organisation} is called {team.name!r} already"
        raise refused(409, told, param="name", code="name_taken") from error
    await services.keyring.renew()


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
