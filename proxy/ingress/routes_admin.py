"""`/api/v1/routes`: routes with their policies, a policy chosen at run time, and why a request goes where it goes.

GET    /api/v1/routes                   every route, with its policy and the order that it would ask in now
GET    /api/v1/routes/{name}            one
POST   /api/v1/routes/{name}            {"policy": "cost"}: from now on, over the configuration, until it is reset
DELETE /api/v1/routes/{name}            as configured again
POST   /api/v1/routes/{name}/explain    a request of any dialect (?dialect=anthropic): each target, and why
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from difflib import get_close_matches
from typing import Any, Final
from urllib.parse import unquote

from aiohttp import web
from pydantic import BaseModel, ConfigDict, Field

from proxy.chain import resolve
from proxy.config.model import READY_POLICIES
from proxy.controls import Controls, read_controls
from proxy.errors import refused
from proxy.ingress.bodies import read_model
from proxy.ingress.json import json_response
from proxy.ingress.questions import read_question
from proxy.ordering import Measured, Wish, examined, keeps_to_caches, new_view, plan, refusal
from proxy.route_state import Certain, route_now, routes_now
from proxy.server import Incoming
from proxy.services import Services
from proxy.setup import Setup
from routing.affinity import Kept
from routing.explain import Candidate, explain
from routing.targets import Route
from storage.money import usd
from storage.routes import RouteChoices
from translators.anthropic import client as anthropic
from translators.gemini import client as gemini
from translators.neutral import Request
from translators.openai_chat import client as openai_chat
from translators.openai_responses import client as openai_responses

EXPLAIN: Final = "/explain"


def _of_gemini(body: Mapping[str, Any]) -> Request:
    """A request of Gemini's dialect, whose model stands in the path and not in the body."""
    return gemini.parse_request({name: said for name, said in body.items() if name != "model"}, body["model"], False)


PARSERS: Final = {
    "openai_chat": openai_chat.parse_request,
    "openai_responses": openai_responses.parse_request,
    "anthropic": anthropic.parse_request,
    "gemini": _of_gemini,
}


class PolicyBody(BaseModel):
    """What is chosen for a route."""

    model_config = ConfigDict(extra="forbid", strict=True, defer_build=True)

    policy: str = Field(description="One of the policies.")


async def list_routes(services: Services, incoming: Incoming) -> web.StreamResponse:
    """Every configured route."""
    await services.prices_loaded()
    return json_response({"data": routes_now(services)}, incoming.id)


async def one_route(services: Services, incoming: Incoming) -> web.StreamResponse:
    """One route."""
    name = _named(services, unquote(incoming.parameter))
    await services.prices_loaded()
    return json_response(route_now(services, name), incoming.id)


async def act_on_route(services: Services, incoming: Incoming) -> web.StreamResponse:
    """Choose a policy, or explain a request."""
    name = unquote(incoming.parameter)
    if name.endswith(EXPLAIN):
        return await _explain(services, incoming, name.removesuffix(EXPLAIN))
    _named(services, name)
    body = await read_model(incoming, PolicyBody)
    if body.policy not in READY_POLICIES:
        known = ", ".join(READY_POLICIES)
        told = f"policy: {body.policy[:60]!r} is not a policy; choose {known}"
        raise refused(400, told, param="policy", code="invalid_parameter")
    before, after = {"policy": _policy_now(services, name)}, {"policy": body.policy}
    entry = services.audit.entry(incoming.identity, "route.set", name, before, after)
    await RouteChoices(services.db).choose(name, body.policy, entry.actor, entry)
    await services.renew_choices()
    return json_response(route_now(services, name), incoming.id)


async def reset_route(services: Services, incoming: Incoming) -> web.StreamResponse:
    """Let the configuration's policy be in force again."""
    name = unquote(incoming.parameter)
    if name not in services.choices:
        _named(services, name)
    else:
        configured = services.setup.loaded.settings.routes.get(name)
        after = {"policy": configured.policy} if configured else None
        before = {"policy": services.choices[name].policy}
        entry = services.audit.entry(incoming.identity, "route.reset", name, before, after)
        await RouteChoices(services.db).forget(name, entry)
        await services.renew_choices()
        if configured is None:
            return json_response({"name": name, "policy": None}, incoming.id)
    return json_response(route_now(services, name), incoming.id)


def _policy_now(services: Services, name: str) -> str:
    chosen = services.choices.get(name)
    return chosen.policy if chosen else services.setup.loaded.settings.routes[name].policy


def _named(services: Services, name: str) -> str:
    """*name*, if there is such a route. Raises Refused: 404 with the nearest names."""
    names = list(services.setup.loaded.settings.routes)
    if name in names:
        return name
    nearest = get_close_matches(name[:80], names, n=3)
    hint = f"; did you mean {', '.join(nearest)}?" if nearest else f"; there are {', '.join(names) or 'none'}"
    raise refused(404, f"no route is called {name[:80]!r}{hint}", kind="not_found", code="route_not_found")


# --- explain -----------------------------------------------------------------------------------------


async def _explain(services: Services, incoming: Incoming, name: str) -> web.StreamResponse:
    dialect = incoming.http.query.get("dialect", "openai_chat")
    parse = PARSERS.get(dialect)
    if parse is None:
        raise refused(400, f"dialect: {dialect[:60]!r} is not one of {', '.join(PARSERS)}", param="dialect")

    def asked(_raw: bytes, body: dict[str, Any]) -> tuple[Request, Controls]:
        body = {"model": name, **body}
        controls = read_controls(incoming.http.headers, body)
        return parse(body), controls

    request, controls = await read_question(services, incoming, asked)
    setup = services.setup
    route = resolve(setup, name, replace(controls, route=None, chain=()), incoming.identity)
    strict = (controls.losses or route.losses) == "reject"
    wish = Wish(route, request, incoming.identity, strict=strict, quality=controls.quality)
    await services.prices_loaded()
    found, why_none = await _candidates(services, setup, wish)
    return json_response(
        {
            "route": route.name,
            "policy": route.policy,
            "affinity": keeps_to_caches(setup, route),
            "input_tokens": found[0].input_tokens if found else 0,
            "refused": why_none,
            "candidates": [*map(shown, found), *_left_out(setup, route)],
        },
        incoming.id,
    )


async def _candidates(services: Services, setup: Setup, wish: Wish) -> tuple[list[Candidate], str | None]:
    """Every target of the route; and why none can serve, where that is so."""
    measured = Measured(wish.request, wish.identity.tenant)
    found = await examined(setup, wish, measured)
    if not any(each.serves for each in found):
        view = new_view(services, setup, wish, measured)
        why = refusal(wish.request, found).failure.message
        return explain(wish.route.policy, wish.request, found, Kept((), {}, {}), view), why
    planned = await plan(services, setup, wish, Certain())
    return explain(wish.route.policy, wish.request, planned.fits, planned.kept, planned.view), None


def shown(candidate: Candidate) -> dict[str, Any]:
    """*candidate* as JSON."""
    return {
        "target": candidate.target.name,
        "place": candidate.place,
        "why": candidate.why,
        "score": None if candidate.score is None else round(candidate.score, 6),
        "cost_usd": _dollars(candidate.cost_nanousd),
        "output_tokens": round(candidate.output_tokens),
        "latency_ms": None if candidate.latency_ms is None else round(candidate.latency_ms, 1),
        "reliability": round(candidate.reliability, 3),
        "cache_saving_usd": _dollars(candidate.saving_nanousd),
        "lacks": list(candidate.lacks),
        "loses": list(candidate.loses),
        "breaker": candidate.breaker,
        "held_up": candidate.held_up or None,
    }


def _left_out(setup: Setup, route: Route) -> list[Mapping[str, Any]]:
    """The configured targets that were not looked at, because their provider is off."""
    own = setup.loaded.settings.routes.get(route.name)
    names = {target.name for target in route.targets}
    found: list[Mapping[str, Any]] = []
    for each in own.weighted if own else ():
        if each.target not in names:
            spec = setup.specs.get(each.target.partition("/")[0])
            why = f"its provider is off: {spec.why_off}" if spec and spec.why_off else "it may not be asked"
            found.append({"target": each.target, "place": None, "why": why})
    return found


def _dollars(nanousd: float | None) -> str | None:
    return None if nanousd is None else usd(round(nanousd))
