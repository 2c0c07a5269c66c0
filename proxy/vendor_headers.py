"""What clients say to a vendor beside the body, in headers and query: who gets it, and what of it stays here.

A header belongs to the vendor whose name it begins with, and goes to providers that speak a dialect of that vendor.
Credentials never do, whatever they are called, and neither does what frames a connection: no such name begins so.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Final
from urllib.parse import unquote

from multidict import MultiMapping

from proxy.errors import refused
from proxy.providers import ProviderSpec

_PREFIXES: Final[Mapping[str, str]] = {"anthropic": "anthropic-", "openai": "openai-"}
"""First word of a dialect's name -> how its vendor's headers begin."""
ACCOUNT: Final = frozenset(
    {"anthropic-user-profile-id", "anthropic-workspace-id", "openai-organization", "openai-project"}
)
"""They say for whom the provider's account is used: a row that says it itself is not overruled."""
LONGEST: Final = 4096

_STAYS: Final = re.compile(r"auth|cookie|credential|dangerous|key|password|secret|signature|token")
"""In the names of headers that stay here. Anthropic's `dangerous-direct-browser-access` speaks of the client's key."""
_CREDENTIALS: Final = frozenset({"access_token", "api-key", "api_key", "apikey", "key", "oauth_token"})
"""Words of a query that say who asks."""
_SHAPES: Final = frozenset({"alt", "callback", "fields"})
"""Those that say in which form Google answers, which is between the client and the proxy where the answer is read."""


def vendor_headers(headers: MultiMapping[str], vendor: str) -> dict[str, str]:
    """Of the client's *headers* those that are for *vendor* (`openai`, ...), under names in lower case.

    Raises:
        Refused: 400 naming the header whose value no header can have.
    """
    prefix = _PREFIXES[vendor]
    names = {name.lower() for name in headers if name[: len(prefix)].lower() == prefix}
    if not names:
        return {}
    return {name: _checked(name, ", ".join(headers.getall(name))) for name in sorted(names) if not _STAYS.search(name)}


def all_vendor_headers(headers: MultiMapping[str]) -> dict[str, str]:
    """Those of every vendor. Raises as `vendor_headers` does."""
    return {name: value for vendor in _PREFIXES for name, value in vendor_headers(headers, vendor).items()}


def understood(headers: Mapping[str, str], spec: ProviderSpec, spoken: Collection[str] = ()) -> dict[str, str]:
    """*headers* without those of other vendors than of the dialects *spoken* (without any: all that *spec* speaks)."""
    if not headers:
        return {}
    vendors = {_vendor(each) for each in spoken or spec.speaks}
    foreign = tuple(prefix for vendor, prefix in _PREFIXES.items() if vendor not in vendors)
    own = ACCOUNT & {name.lower() for name in spec.headers}
    return {name: value for name, value in headers.items() if name not in own and not name.startswith(foreign)}


def vendor_query(raw: str, *, read: bool) -> str:
    """Of the query *raw*, as it stands in the address, what a vendor gets whose answer is *read* here or passed on.

    Google takes words that begin with `$` for headers and methods: they stay here, too.
    """
    if not raw:
        return ""
    stays = _CREDENTIALS | _SHAPES if read else _CREDENTIALS
    words = [(each, unquote(each.partition("=")[0]).lower()) for each in raw.split("&") if each]
    return "&".join(each for each, name in words if name not in stays and not name.startswith("$"))


def with_query(path: str, query: str) -> str:
    """*path* with *query*, beside one that it has."""
    return f"{path}{'&' if '?' in path else '?'}{query}" if query else path


def _vendor(dialect: str) -> str:
    return dialect.partition("_")[0]


def _checked(name: str, value: str) -> str:
    if value.isascii() and value.isprintable() and len(value) <= LONGEST:
        return value
    told = f"{name}: expected at most {LONGEST} visible ASCII characters"
    raise refused(400, told, param=name, code="invalid_header")
