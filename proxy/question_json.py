"""The JSON of a question: read once it is known not to be too dense, and looked at before anything is made of it."""

from __future__ import annotations

from typing import Any

from proxy.config.model import BoundSettings
from proxy.errors import refused
from proxy.sizes import check_density, check_sizes
from proxy.spelling import check_names
from translators.codec import JsonError, loads_object


def question_json(raw: bytes, bounds: BoundSettings) -> dict[str, Any]:
    """What *raw* says.

    Raises:
        Refused: 400 for what is not JSON, gives a name twice, or is larger than *bounds* allow.
    """
    check_density(raw, bounds)
    try:
        body = loads_object(raw, bounds.json_depth)
    except JsonError as error:
        raise refused(400, f"the request body: {error}", code="invalid_json") from error
    check_names(raw, body)
    check_sizes(raw, body, bounds)
    return body
