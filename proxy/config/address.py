"""Where the configuration says that the server is. The rest of it is not looked at.

A command that asks a running server needs no more: what is wrong elsewhere in a file is between it and `serve`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from proxy.config.layers import Merged, merged
from proxy.config.secrets import BadSecret, NoSecret, Secret

HOST: Final = "127.0.0.1"
PORT: Final = 4100


@dataclass(frozen=True, slots=True)
class Address:
    """What the server listens on, and the master key, if it leads somewhere."""

    host: str
    port: int
    master_key: Secret | None


def address(config: Path | None, profile: str | None, *, environ: Mapping[str, str], folder: Path) -> Address:
    """The server's address.

    Raises:
        ConfigError: it cannot be had, or is wrong; then with every problem of the configuration.
    """
    found = merged(config, profile, (), environ, folder)
    try:
        if not found.problems and (address := _stated(found, environ)):
            return address
    except BadSecret:
        pass
    from proxy.config.loading import load  # it says best what is wrong, and takes longest

    settings = load(config, profile=profile, open_port=True, environ=environ, folder=folder).settings
    return Address(settings.server.host, settings.server.port, settings.auth.master_key)


def is_loopback(host: str) -> bool:
    """Whether *host* can be reached from this machine only."""
    bare = host.strip("[]").lower()
    return bare in {"localhost", "::1"} or re.fullmatch(r"127(\.\d{1,3}){3}", bare) is not None


def _stated(found: Merged, environ: Mapping[str, str]) -> Address | None:
    """The address, if nothing about it needs a closer look."""
    server, auth = found.layers.tree.get("server", {}), found.layers.tree.get("auth", {})
    if not isinstance(server, dict) or not isinstance(auth, dict):
        return None
    host, port, written = server.get("host", HOST), server.get("port", PORT), auth.get("master_key")
    usable = isinstance(host, str) and host and type(port) is int and 0 <= port <= 65_535
    if not usable or not isinstance(written, str | None):
        return None
    return Address(host, port, _resolved(written, found, environ))


def _resolved(written: Any, found: Merged, environ: Mapping[str, str]) -> Secret | None:
    if written is None:
        return None
    try:
        return Secret.written(written).resolved(environ, found.base(("auth", "master_key")))
    except NoSecret:
        return None
