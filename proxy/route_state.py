"""Routes as they work now: the policy in force, who chose it, and the order that it gives."""

from __future__ import annotations

from random import Random
from typing import Any, Final

from proxy.identity import ANONYMOUS
from proxy.ordering import Measured, Wish, new_view, policy
from proxy.services import Services
from proxy.setup import Setup
from routing.errors import NoProvider
from routing.health import iso
from routing.policies import PRICED
from routing.targets import Route
from translators.neutral import Message, Request, Text

PLAIN: Final = Request("openai_chat", "", (Message("user", (Text("Hello"),)),))
"""The request for which an order is told where none is given."""


class Certain(Random):
    """Chance without surprises: nothing is explored, and of a draw the heaviest comes first."""

    def random(self) -> float:
        """Nearly 1."""
        return 1.0 - 2.0**-40


def routes_now(services: Services) -> list[dict[str, Any]]:
    """Every configured route, as it works now."""
    return [route_now(services, name) for name in services.setup.loaded.settings.routes]


def route_now(services: Services, name: str) -> dict[str, Any]:
    """One route as it works now. *order* is the one for a short text; empty when every provider is off."""
    setup = services.setup
    own = setup.loaded.settings.routes[name]
    chosen = services.choices.get(name)
    try:
        order = order_now(services, setup, setup.names.resolve(name))
    except NoProvider:
        order = []
    return {
        "name": name,
        "policy": chosen.policy if chosen else own.policy,
        "configured_policy": own.policy,
        "chosen": {"policy": chosen.policy, "by": chosen.actor, "at": iso(chosen.at)} if chosen else None,
        "order": order,
        "targets": [{"target": each.target, "weight": each.weight, "quality": each.quality} for each in own.weighted],
        "losses": own.losses,
    }


def order_now(services: Services, setup: Setup, route: Route) -> list[str]:
    """The names of the targets of *route* in the order for a short text; as written while prices are loaded."""
    if route.policy in PRICED and services.warming and not services.warming.done():
        return [target.name for target in route.targets]
    view = new_view(services, setup, Wish(route, PLAIN, ANONYMOUS), Measured(PLAIN, ""), Certain())
    ordered = policy(route)(PLAIN, route.targets, view)
    return [target.name for target in ordered]
