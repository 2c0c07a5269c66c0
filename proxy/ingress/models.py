"""`GET /v1/models` and `/v1/models/{id}`: everything that can be written into `model`."""

from __future__ import annotations

from urllib.parse import unquote

from aiohttp import web

from proxy.errors import refused
from proxy.ingress.json import json_response
from proxy.server import Incoming
from proxy.services import Services
from routing.errors import NoProvider, UnknownModel


async def list_models(services: Services, incoming: Incoming) -> web.StreamResponse:
    """Routes first, then the models of each provider."""
    names = services.setup.names.listed
    return json_response({"object": "list", "data": [_entry(services, name) for name in names]}, incoming.id)


async def one_model(services: Services, incoming: Incoming) -> web.StreamResponse:
    """The entry of one name, in whichever of its spellings it is asked for."""
    name = unquote(incoming.parameter)
    try:
        services.setup.names.resolve(name)
    except UnknownModel as error:
        raise refused(404, str(error), kind="not_found", code="model_not_found", param="model") from error
    except NoProvider as error:
        raise refused(503, str(error), kind="overloaded", code="no_provider", param="model") from error
    return json_response(_entry(services, name), incoming.id)


def _entry(services: Services, name: str) -> dict[str, object]:
    route = services.setup.loaded.settings.routes.get(name)
    if route is None:
        owner = services.setup.names.resolve(name).targets[0].provider
        return {"id": name, "object": "model", "created": services.started_unix, "owned_by": owner}
    return {
        "id": name,
        "object": "model",
        "created": services.started_unix,
        "owned_by": "modelport",
        "modelport": {"policy": route.policy, "targets": [each.target for each in route.weighted]},
    }
