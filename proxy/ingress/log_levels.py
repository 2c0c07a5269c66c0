"""`/api/v1/log-levels`: from which level on loggers write, changed while the server runs.

GET    /api/v1/log-levels           every logger, with the level of its own that it has
PUT    /api/v1/log-levels/{name}    {"level": "debug"}: until another is chosen, or the process ends
DELETE /api/v1/log-levels/{name}    as the configuration says
"""

from __future__ import annotations

from typing import Any
from urllib.parse import unquote

from aiohttp import web
from pydantic import BaseModel, ConfigDict, Field

from proxy.errors import refused
from proxy.ingress.bodies import read_model
from proxy.ingress.json import json_response
from proxy.logs import ROOT, Level, UnknownLogger, choose_level, level_of, loggers
from proxy.server import Incoming
from proxy.services import Services


class LevelBody(BaseModel):
    """The level of a logger."""

    model_config = ConfigDict(extra="forbid", strict=True, defer_build=True)

    level: Level = Field(description="The least that it writes.")


async def list_levels(_services: Services, incoming: Incoming) -> web.StreamResponse:
    """Every logger with its level; null is that of the one above."""
    return json_response({"data": [_shown(name) for name in loggers()]}, incoming.id)


async def set_level(services: Services, incoming: Incoming) -> web.StreamResponse:
    """Let a logger, and those below it, write from another level on."""
    body = await read_model(incoming, LevelBody)
    return await _changed(services, incoming, body.level)


async def reset_level(services: Services, incoming: Incoming) -> web.StreamResponse:
    """Let a logger write as the configuration says."""
    name = unquote(incoming.parameter)
    return await _changed(services, incoming, services.setup.loaded.settings.logging.level if name == ROOT else None)


async def _changed(services: Services, incoming: Incoming, level: Level | None) -> web.StreamResponse:
    name = unquote(incoming.parameter)
    try:
        before = level_of(name)
    except UnknownLogger as error:
        raise refused(404, str(error), kind="not_found", code="logger_not_found") from error
    await services.audit.record(incoming.identity, "log_level.changed", name, {"level": before}, {"level": level})
    choose_level(name, level)
    await services.sharing.level_chosen(name, level)
    return json_response(_shown(name), incoming.id)


def _shown(name: str) -> dict[str, Any]:
    return {"name": name, "level": level_of(name)}
