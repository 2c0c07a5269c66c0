"""Whole JSON answers of the server's own."""

from __future__ import annotations

from typing import Any

from aiohttp import web

from translators.codec import dumps


def json_response(value: Any, request_id: str, status: int = 200) -> web.Response:
    """*value* as the answer to the request of that id."""
    headers = {"content-type": "application/json", "x-request-id": request_id, "x-content-type-options": "nosniff"}
    return web.Response(status=status, body=dumps(value), headers=headers)
