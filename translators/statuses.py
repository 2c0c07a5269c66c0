"""What an HTTP status says by itself, whoever sends it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from translators.neutral import ErrorKind

KIND_BY_STATUS: Final[Mapping[int, ErrorKind]] = {
    401: "authentication",
    402: "billing",
    403: "permission",
    404: "not_found",
    408: "timeout",
    413: "too_large",
    429: "rate_limit",
    503: "overloaded",
    504: "timeout",
    529: "overloaded",
}
"""The specific ones. 400 and 422 leave it to the body, another 5xx is a server error."""
