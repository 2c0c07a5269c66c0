"""The server as the other commands see it: small requests over one connection, no proxies, no redirects."""

from __future__ import annotations

import http.client
import json
import os
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final
from urllib.parse import SplitResult, urlsplit

from proxy.config.address import Address, address, is_loopback
from proxy.config.errors import ConfigError

EVERYWHERE: Final = {"0.0.0.0": "127.0.0.1", "::": "[::1]", "": "127.0.0.1"}  # noqa: S104 -- looked up, not bound

PIECE: Final = 64 * 1024
CONNECT_S: Final = 1.0
"""How long is waited to see whether a server runs."""


class Refused(Exception):
    """What was asked for cannot be had. The message is one line for the user."""


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer of the server. Header names are lower case.

    *local* is whether that is our own one, which the person knows nothing of and is not told of.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes
    local: bool = False

    def json(self) -> Any:
        """The body. Raises Refused when it is not JSON."""
        try:
            return json.loads(self.body)
        except ValueError as error:
            who = "the answer was" if self.local else "the server answered"
            raise Refused(f"{who} {self.status} with something that is not JSON") from error

    @property
    def code(self) -> str | None:
        """The code of an error, for programs."""
        try:
            return str(table(table(json.loads(self.body)).get("error")).get("code"))
        except ValueError:
            return None

    def ok(self) -> Reply:
        """This reply. Raises Refused with the server's own words when it is an error."""
        if self.status < 400:
            return self
        words = told(self.body)
        raise Refused(words if self.local else f"the server answered {self.status}: {words}")


@dataclass(frozen=True, slots=True)
class Server:
    """Where it listens, and the key that is sent to it. *local* is one of our own: see `administered`."""

    url: str
    key: str | None = field(default=None, repr=False)
    local: bool = False

    def get(self, path: str, *, timeout_s: float = 10) -> Reply:
        """A GET. Raises Refused."""
        return self.ask("GET", path, timeout_s=timeout_s)

    def ask(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any] | None = None,
        *,
        headers: Mapping[str, str] | None = None,
        timeout_s: float = 10,
    ) -> Reply:
        """One request and its whole answer. Raises Refused."""
        with _Call(self, timeout_s) as call:
            response = call.send(method, path, body, headers or {})
            return Reply(response.status, _headers(response), call.read(response), self.local)

    def download(self, path: str, *, timeout_s: float) -> Iterator[bytes]:
        """A GET whose answer may be of any size, in pieces. Raises Refused, also when it breaks off."""
        with _Call(self, timeout_s) as call:
            response = call.send("GET", path, None, {})
            if response.status >= 400:
                Reply(response.status, _headers(response), call.read(response), self.local).ok()
            while piece := call.piece(response):
                yield piece

    def stream(self, path: str, body: Mapping[str, Any], *, timeout_s: float = 600) -> Iterator[str | Reply]:
        """A POST whose answer streams: first the reply (with a body only when it is an error), then line by line."""
        with _Call(self, timeout_s) as call:
            response = call.send("POST", path, body, {})
            failed = response.status >= 400
            yield Reply(response.status, _headers(response), call.read(response) if failed else b"")
            while not failed and (line := call.line(response)):
                yield line.decode(errors="replace").rstrip("\r\n")


def server(url: str | None, config: Path | None, profile: str | None) -> Server:
    """The server that is meant: --url, MODELPORT_URL, or what the configuration says.

    The key is MODELPORT_KEY; the configuration's master key is sent to this machine only.

    Raises:
        ConfigError: the address is to come from a configuration that is wrong.
    """
    url = url or os.environ.get("MODELPORT_URL") or None
    known = _address(config, profile, needed=url is None)
    if url is None and known is not None:
        host = EVERYWHERE.get(known.host, known.host)
        url = f"http://{f'[{host}]' if ':' in host and not host.startswith('[') else host}:{known.port}"
    where = (url or "").rstrip("/").removesuffix("/v1")
    parts = _split(where)
    key = os.environ.get("MODELPORT_KEY") or None
    if key is None and known and known.master_key and is_loopback(parts.hostname or ""):
        key = known.master_key.reveal()
    return Server(where, key)


@contextmanager
def administered(url: str | None, config: Path | None, profile: str | None) -> Iterator[Server]:
    """The running server; where none runs and none was named, one of our own on the configured database.

    Raises:
        ConfigError: the configuration is wrong.
        Refused: neither is to be had.
    """
    running = server(url, config, profile)
    if url or os.environ.get("MODELPORT_URL") or _answers(running):
        yield running
        return
    from proxy.late_tls import no_authorities  # as below

    with no_authorities():
        from proxy.cli.local import own_server  # a whole server, which is needed nowhere else
    with own_server(config, profile, running.url) as own:
        yield own


def told(body: bytes) -> str:
    """What an error's body says, in one line."""
    try:
        error = json.loads(body)["error"]
        message = error["message"] if isinstance(error, dict) else error
    except (ValueError, KeyError, TypeError):
        message = body.decode(errors="replace")
    return " ".join(str(message).split())[:500] or "nothing"


def table(value: Any) -> Mapping[str, Any]:
    """*value* if it is a JSON object, else an empty one."""
    return value if isinstance(value, dict) else {}


def _address(config: Path | None, profile: str | None, *, needed: bool) -> Address | None:
    try:
        return address(config, profile, environ=os.environ, folder=Path.cwd())
    except ConfigError:
        if needed:
            raise
        return None


def _answers(running: Server) -> bool:
    parts = urlsplit(running.url)
    port = parts.port or (443 if parts.scheme == "https" else 80)
    try:
        with socket.create_connection((parts.hostname or "", port), CONNECT_S):
            return True
    except OSError:
        return False


def _split(url: str) -> SplitResult:
    parts = urlsplit(url)
    try:
        usable = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        usable = False
    if not usable:
        raise Refused(f"{url!r} is no address of a server; write http://127.0.0.1:4100")
    return parts


def _headers(response: http.client.HTTPResponse) -> dict[str, str]:
    return {name.lower(): value for name, value in response.getheaders()}


class _Call:
    """One connection, opened on entry and closed on exit."""

    def __init__(self, server: Server, timeout_s: float) -> None:
        self._server = server
        parts = _split(server.url)
        kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
        self._path = parts.path
        self._connection = kind(parts.hostname or "", parts.port, timeout=timeout_s)

    def __enter__(self) -> _Call:
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()

    def send(
        self, method: str, path: str, body: Mapping[str, Any] | None, headers: Mapping[str, str]
    ) -> http.client.HTTPResponse:
        sent = {"accept": "*/*", **headers}
        if self._server.key:
            sent["authorization"] = f"Bearer {self._server.key}"
        if body is not None:
            sent["content-type"] = "application/json"
        try:
            self._connection.connect()
        except OSError as error:
            message = f"nothing answers at {self._server.url}; start it with: modelport serve"
            raise Refused(message) from error
        try:
            text = None if body is None else json.dumps(body).encode()
            self._connection.request(method, self._path + path, text, sent)
            return self._connection.getresponse()
        except (OSError, http.client.HTTPException) as error:
            raise self._broken(error) from error

    def read(self, response: http.client.HTTPResponse) -> bytes:
        try:
            return response.read()
        except (OSError, http.client.HTTPException) as error:
            raise self._broken(error) from error

    def piece(self, response: http.client.HTTPResponse) -> bytes:
        try:
            return response.read(PIECE)
        except (OSError, http.client.HTTPException) as error:
            raise self._broken(error) from error

    def line(self, response: http.client.HTTPResponse) -> bytes:
        try:
            return response.readline()
        except (OSError, http.client.HTTPException) as error:
            raise self._broken(error) from error

    def _broken(self, error: Exception) -> Refused:
        if self._server.local:
            late = isinstance(error, TimeoutError)
            return Refused("it takes too long and was given up" if late else f"it broke off ({type(error).__name__})")
        if isinstance(error, TimeoutError):
            return Refused(f"the server at {self._server.url} did not answer in time")
        return Refused(f"the answer of {self._server.url} broke off ({type(error).__name__})")
