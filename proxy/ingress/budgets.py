"""`/api/v1/budgets`: budgets and how they stand, made, changed and removed by administrators of the house.

Budgets of the configuration and those given with a key are listed here, too, and changed where they come from. Who
reads sees the budgets of their place: of its organisation, its teams, its keys.
"""

from __future__ import annotations

import secrets
from dataclasses import replace
from datetime import UTC, datetime
from difflib import get_close_matches
from typing import Annotated, Any, Final
from urllib.parse import unquote

from aiohttp import web
from pydantic import Field

from proxy.budgeting import shown_budget, shown_standing
from proxy.config.model import BUDGET_SUBJECTS
from proxy.errors import refused
from proxy.identity import Identity
from proxy.ingress.bodies import read_model
from proxy.ingress.json import json_response
from proxy.ingress.parameters import bad
from proxy.ingress.places import Body, Dollars, Name
from proxy.server import Incoming
from proxy.services import Services
from storage.budgets import Budget, Kind, Standing, Unpriced
from storage.errors import StorageError
from storage.money import EXPECTED, nanousd
from storage.sums import EVERYONE, Whose
from storage.windows import Window

MOST_SHOWN: Final = 200
"""Budgets in `/health`, those that are used up most."""
ALERTS_SHOWN: Final = 20

Subject = Annotated[str, Field(min_length=1, max_length=256)]
Percent = Annotated[int, Field(ge=1, le=1000)]


class BudgetChange(Body):
    """What can be changed of a budget. What it is about stays: another subject is another budget."""

    name: Name | None = Field(None, description="For people; no two have the same.")
    limit_usd: Dollars | None = Field(None, description="US dollars; a decimal string is exact.")
    window: Window | None = Field(
        None, description="In which time: of the calendar (UTC), or for ever. Default: month."
    )
    rolling: bool | None = Field(None, description="Count the last 60 minutes, 24 hours or 30 days. Default: false.")
    hard: bool | None = Field(None, description="Refuse what might pass the limit. Default: true.")
    unpriced: Unpriced | None = Field(None, description="What becomes of models without a price. Default: refuse.")
    alerts: Annotated[list[Percent], Field(max_length=20)] | None = Field(
        None, description="Percentages of the limit. Default: 80, 100."
    )
    assumed_output_tokens: Annotated[int, Field(ge=1, le=10_000_000)] | None = Field(
        None, description="Reserved for an answer without a bound. Default: 4096."
    )


class NewBudget(BudgetChange):
    """A budget to be made: about at most one of these, else about everything."""

    organisation: Subject | None = Field(None, description="Id of an organisation.")
    team: Subject | None = Field(None, description="Id of a team.")
    key: Subject | None = Field(None, description="Id of a virtual key.")
    tag: Subject | None = Field(None, description="A tag, as name=value.")
    provider: Subject | None = Field(None, description="Name of a provider.")
    route: Subject | None = Field(None, description="Name of a route, or provider/model asked by that name.")


async def create_budget(services: Services, incoming: Incoming) -> web.StreamResponse:
    """Make a budget. It counts from now on."""
    body = await read_model(incoming, NewBudget, tell_values=True)
    if not body.name:
        raise bad("name", "missing; people have to tell budgets apart")
    if body.limit_usd is None:
        raise bad("limit_usd", f"missing; expected {EXPECTED}")
    kind, subject = _subject(services, body)
    _check_name(services, body.name)
    made = _changed(Budget(f"budget_{secrets.token_hex(8)}", kind, 0, subject), body)
    entry = services.audit.entry(incoming.identity, "budget.created", made.id, after=shown_budget(made))
    await services.budgets.put(made, entry)
    await services.renew_budgets()
    return json_response(await _told(services, made), incoming.id, 201)


async def list_budgets(services: Services, incoming: Incoming) -> web.StreamResponse:
    """The budgets that the asker may see, oldest first; `?kind=`, `?subject=`, `?origin=` choose."""
    query = incoming.http.query
    wanted = {name: query[name] for name in ("kind", "subject", "origin", "name") if query.get(name)}
    rows = [_row(standing) for standing in await standings_seen(services, incoming.identity)]
    rows = [row for row in rows if all(row[name] == value for name, value in wanted.items())]
    return json_response({"data": rows}, incoming.id)


async def one_budget(services: Services, incoming: Incoming) -> web.StreamResponse:
    """One budget with its newest alerts, by its id or its name."""
    standing = await _found(services, incoming)
    alerts = await services.watch.alerts.recent(ALERTS_SHOWN, standing.budget.id)
    return json_response({**_row(standing), "recent_alerts": [_shown_alert(alert) for alert in alerts]}, incoming.id)


async def change_budget(services: Services, incoming: Incoming) -> web.StreamResponse:
    """Change a budget; what the body does not name stays, and so does what is spent."""
    body = await read_model(incoming, BudgetChange, tell_values=True)
    old = (await _found(services, incoming)).budget
    _check_made_here(old)
    if body.name and body.name != old.name:
        _check_name(services, body.name)
    new = _changed(old, body)
    entry = services.audit.entry(
        incoming.identity, "budget.changed", old.id, before=shown_budget(old), after=shown_budget(new)
    )
    await services.budgets.put(new, entry)
    await services.renew_budgets()
    return json_response(await _told(services, new), incoming.id)


async def remove_budget(services: Services, incoming: Incoming) -> web.StreamResponse:
    """Remove a budget, and what it has counted. The ledger stays as it is."""
    old = (await _found(services, incoming)).budget
    if not _is_left_over(services, old):
        _check_made_here(old)
    entry = services.audit.entry(incoming.identity, "budget.removed", old.id, before=shown_budget(old))
    await services.budgets.remove(old.id, entry)
    await services.renew_budgets()
    return json_response({"id": old.id, "name": old.name, "removed": True}, incoming.id)


# --- for other pages -------------------------------------------------------------------------------


async def standings_seen(services: Services, identity: Identity) -> list[Standing]:
    """How the budgets stand that *identity* may see."""
    if not services.budget_book:
        return []
    view = identity.view
    return [each for each in await services.budgets.standings() if view == EVERYONE or _sees(services, view, each)]


async def budgets_seen(services: Services, identity: Identity, most: int | None = None) -> list[dict[str, Any]] | None:
    """The same as rows; with *most*, that many which are used up most. None while the store cannot be read."""
    try:
        standings = await standings_seen(services, identity)
    except StorageError:
        return None
    if most is not None:
        standings = sorted(standings, key=lambda standing: -standing.percent)[:most]
    return [shown_standing(standing) for standing in standings]


def _sees(services: Services, view: Whose, standing: Standing) -> bool:
    """Whether a budget belongs to the place that *view* is."""
    kind, subject, ring = standing.budget.kind, standing.budget.subject, services.keyring
    if view.key is not None:
        return (kind, subject) == ("key", view.key)
    match kind:
        case "organisation":
            return view.team is None and subject == view.organisation
        case "team":
            team = ring.teams.get(subject)
            return subject == view.team if view.team else team is not None and team.organisation == view.organisation
        case "key":
            entry = ring.entries.get(subject)
            if entry is None:
                return False
            return entry.key.team == view.team if view.team else entry.key.organisation == view.organisation
        case _:
            return False


# --- values ----------------------------------------------------------------------------------------


def _changed(budget: Budget, body: BudgetChange) -> Budget:
    """*budget* with what *body* says. Null takes away what can be missing, and is nothing said elsewhere."""
    said = {name: value for name in body.model_fields_set if (value := getattr(body, name)) is not None}
    limit, alerts = said.get("limit_usd"), said.get("alerts")
    changed = replace(
        budget,
        name=said.get("name", budget.name),
        limit_nanousd=budget.limit_nanousd if limit is None else nanousd(limit),
        window=said.get("window", budget.window),
        rolling=said.get("rolling", budget.rolling),
        hard=said.get("hard", budget.hard),
        unpriced=said.get("unpriced", budget.unpriced),
        alerts=budget.alerts if alerts is None else tuple(sorted(set(alerts))),
        assumed_output_tokens=body.assumed_output_tokens
        if "assumed_output_tokens" in body.model_fields_set
        else budget.assumed_output_tokens,
    )
    if changed.window == "total" and changed.rolling:
        raise bad("rolling", "expected false, as the window is total; found true")
    return changed


def _subject(services: Services, body: NewBudget) -> tuple[Kind, str]:
    """What a new budget is about. Raises Refused, 400: more than one thing, or something that there is not."""
    said = [(kind, value) for kind in BUDGET_SUBJECTS if (value := getattr(body, kind)) is not None]
    if not said:
        return "global", ""
    if len(said) > 1:
        names = " and ".join(kind for kind, _ in said)
        raise bad(said[1][0], f"found {names}; a budget is about one of {', '.join(BUDGET_SUBJECTS)}")
    kind, subject = said[0]
    setup, ring = services.setup, services.keyring
    known: dict[str, list[str]] = {
        "organisation": list(ring.organisations),
        "team": list(ring.teams),
        "key": list(ring.entries),
        "provider": list(setup.specs),
        "route": list(setup.loaded.settings.routes),
    }
    if kind == "tag":
        name, mark, value = subject.partition("=")
        if not (name and mark and value and subject.isprintable()):
            raise bad("tag", f"expected name=value, found {subject[:80]!r}")
    elif subject not in known[kind] and not (kind == "route" and subject.partition("/")[0] in known["provider"]):
        near = get_close_matches(subject, known[kind], n=3)
        hint = f"did you mean {' or '.join(near)}?" if near else f"there are {', '.join(known[kind][:12]) or 'none'}"
        raise bad(kind, f"there is no {kind} {subject[:80]!r}; {hint}")
    return kind, subject


def _check_name(services: Services, name: str) -> None:
    """Raises Refused, 409: a budget of the configuration or of this API has that name."""
    if any(budget.name == name and budget.origin != "key" for budget in services.budget_book.every):
        raise refused(409, f"name: a budget is called {name!r} already", param="name", code="name_taken")


def _is_left_over(services: Services, budget: Budget) -> bool:
    """Whether a budget came with a key that was revoked, and binds none of its making that still gets in."""
    entry = services.keyring.entries.get(budget.subject) if budget.origin == "key" else None
    if entry is None or entry.key.revoked_us is None:
        return False
    heirs = services.keyring.valid_heirs(entry.key)
    if heirs:
        names = ", ".join(f"{heir.id} ({heir.name})" for heir in heirs[:5])
        told = (
            f"the key {budget.subject} was revoked, but the budget binds keys of its making: {names}; revoke these"
            f" first, or take the budget from them with PATCH /api/v1/keys/{budget.subject} and budget null"
        )
        raise refused(409, told, code="budget_in_use")
    return True


def _check_made_here(budget: Budget) -> None:
    """Raises Refused, 409: the budget is said elsewhere."""
    match budget.origin:
        case "config":
            told = f"the budget {budget.name!r} stands in the configuration, [budgets.{budget.name}]; change it there"
        case "key":
            told = f"the budget belongs to the key {budget.subject}; change it with PATCH /api/v1/keys/{budget.subject}"
        case _:
            return
    raise refused(409, told, code="budget_made_elsewhere")


async def _found(services: Services, incoming: Incoming) -> Standing:
    """The budget of the path, by id or else by name. Raises Refused, 404, also for one that the asker may not see."""
    wanted = unquote(incoming.parameter)
    standings = await standings_seen(services, incoming.identity)
    by_id = [each for each in standings if each.budget.id == wanted]
    named = [each for each in standings if each.budget.name == wanted and each.budget.origin != "key"]
    for standing in (*by_id, *named):
        return standing
    raise refused(
        404, f"no budget has the id or name {wanted[:80]!r}", kind="not_found", code="budget_not_found", param="id"
    )


async def _told(services: Services, budget: Budget) -> dict[str, Any]:
    found = [each for each in await services.budgets.standings() if each.budget.id == budget.id]
    return _row(found[0]) if found else shown_budget(budget)


def _row(standing: Standing) -> dict[str, Any]:
    return {**shown_budget(standing.budget), **shown_standing(standing)}


def _shown_alert(alert: dict[str, Any]) -> dict[str, Any]:
    delivered = alert["delivered_us"]
    return {
        "id": f"alert_{alert['id']}",
        "event": f"budget.{alert['event']}",
        "percent": alert["percent"] or None,
        "at": _iso(alert["at_us"]),
        "delivered_at": None if delivered is None else _iso(delivered),
        "waiting": alert["due_us"] is not None,
        "tries": alert["tries"],
        "error": alert["error"],
    }


def _iso(at_us: int) -> str:
    return datetime.fromtimestamp(at_us / 1_000_000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
