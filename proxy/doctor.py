"""What is looked at when something does not work: configuration, keys, database, clock, room, exposure, versions.

Nothing is changed, nothing is spent, and nobody beyond this machine is asked, unless the lists of models are wanted,
which cost nothing. A finding never holds a secret.
"""

from __future__ import annotations

import asyncio
import http.client
import importlib.util
import os
import platform
import resource
import shutil
import stat
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from aiohttp import http_parser

from proxy.backends.callers import caller_for, new_session
from proxy.config import Loaded, Secret
from proxy.config.address import is_loopback
from proxy.config.loading import MEMORY
from proxy.config.model import Settings
from proxy.descriptors import UNBOUNDED, shares
from proxy.key_checks import check_key
from proxy.providers import ProviderSpec, providers
from proxy.version import version
from storage.db import SQLITE_VERSION, examine, sqlite_warning
from storage.errors import StorageError

Grade = Literal["ok", "warn", "fail"]

MB: Final = 2**20
EXAMINED_BYTES: Final = 1024 * MB
"""A larger database is not examined; that takes about a second per gigabyte."""
LONG_WAL_BYTES: Final = 64 * MB
LITTLE_ROOM_BYTES: Final = 1024 * MB
NO_ROOM_BYTES: Final = 64 * MB
FEW_DESCRIPTORS: Final = 4096
SHORT_MASTER: Final = 24
"""Characters of a master key that can hardly be guessed."""
BUILT: Final = 1_793_000_000
"""Unix seconds: no clock that is right is before that."""
AHEAD_S: Final = 60.0
CONNECT_S: Final = 1.0
SHORT_KEY: Final = 8
PLACEHOLDERS: Final = ("your-", "your_", "changeme", "xxx", "<", "...", "…")
LOOKS: Final[Mapping[str, str]] = {
    "sk-ant-": "anthropic",
    "sk-or-": "openrouter",
    "AIza": "gemini",
    "gsk_": "groq",
    "xai-": "xai",
    "pplx-": "perplexity",
    "csk-": "cerebras",
    "nvapi-": "nvidia",
    "hf_": "huggingface",
    "fw_": "fireworks",
}
"""How a key begins -> the shipped provider whose it is."""
EXTRAS: Final[Mapping[str, str]] = {"local": "llama_cpp", "otel": "opentelemetry"}
"""Extra of the package -> a module that comes with it."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at: what is so, and what to do about it."""

    check: str
    grade: Grade
    told: str
    todo: str = ""


def worst(findings: list[Finding]) -> Grade:
    """Of all of them."""
    grades = {finding.grade for finding in findings}
    return "fail" if "fail" in grades else "warn" if "warn" in grades else "ok"


def examined(loaded: Loaded, environ: Mapping[str, str], *, network: bool) -> Iterator[Finding]:
    """Every finding, in the order of the checks. With *network* the providers are asked for their lists of models."""
    settings = loaded.settings
    specs = providers(settings, environ)
    yield from of_versions()
    yield from of_configuration(loaded)
    yield from of_keys(specs)
    if network:
        yield from asyncio.run(of_vendors(specs))
    yield from of_extras(settings, specs)
    yield from of_exposure(loaded)
    yield from of_port(settings)
    yield from of_database(settings.storage.path)
    yield from of_clock(settings.storage.path, time.time)
    yield from of_room(settings.storage.path)
    yield from of_descriptors()


# --- the program


def of_versions() -> Iterator[Finding]:
    """Modelport and what it stands on."""
    yield Finding(
        "versions", "ok", f"modelport {version()}, Python {platform.python_version()}, SQLite {SQLITE_VERSION}"
    )
    if warning := sqlite_warning():
        yield Finding("versions", "warn", warning, "take a Python that comes with a newer SQLite")
    if http_parser.HttpRequestParser.__module__ != "aiohttp._http_parser":
        told = "aiohttp runs without its parser in C, whose substitute is slower and has had more holes"
        yield Finding("versions", "fail", told, "install aiohttp from a wheel, and unset AIOHTTP_NO_EXTENSIONS")


def of_extras(settings: Settings, specs: Mapping[str, ProviderSpec]) -> Iterator[Finding]:
    """Packages that the configuration needs beyond the usual ones."""
    local = any(spec.backend == "llamacpp" and spec.enabled for spec in specs.values())
    wanted = {"local": local, "otel": settings.telemetry.enabled}
    for extra in (extra for extra, needed in wanted.items() if needed):
        if importlib.util.find_spec(EXTRAS[extra]) is None:
            told = f"the configuration needs packages that are not installed ({EXTRAS[extra]})"
            yield Finding("versions", "fail", told, f"install modelport[{extra}]")


# --- the configuration


def of_configuration(loaded: Loaded) -> Iterator[Finding]:
    """What loading it has said."""
    where = str(loaded.path) if loaded.path else "no file: defaults and environment"
    yield Finding("configuration", "ok", where)
    for warning in loaded.warnings:
        yield Finding("configuration", "warn", warning)


def of_keys(specs: Mapping[str, ProviderSpec]) -> Iterator[Finding]:
    """Who can be asked, and whether its keys look like any."""
    on = [spec for spec in specs.values() if spec.enabled]
    asked = [spec.name for spec in on if spec.backend != "demo"]
    if asked:
        yield Finding("keys", "ok", f"on: {', '.join(asked)}")
    else:
        told = "no provider is on but the simulation"
        yield Finding("keys", "warn", told, "set a provider's key, such as OPENAI_API_KEY; see modelport config check")
    for spec in specs.values():
        if spec.configured and spec.why_off:
            yield Finding("keys", "warn", f"{spec.name} is off: {spec.why_off}")
    found = [(spec.name, secret.reveal()) for spec in on for secret in spec.keys if not secret.stored_name]
    for name, key in found:
        yield from _of_key(name, key)
    for (name, _), count in Counter(found).items():
        if count > 1:
            yield Finding("keys", "warn", f"{name} has the same key {count} times", "limits do not grow with copies")


def _of_key(provider: str, key: str) -> Iterator[Finding]:
    if len(key) < SHORT_KEY or key.lower().startswith(PLACEHOLDERS):
        yield Finding("keys", "warn", f"a key of {provider} looks like a placeholder", "put the real one there")
    owner = next((owner for start, owner in LOOKS.items() if key.startswith(start)), provider)
    if owner != provider and provider in LOOKS.values():
        yield Finding(
            "keys", "warn", f"a key of {provider} looks like one of {owner}", "see that they are not mixed up"
        )


async def of_vendors(specs: Mapping[str, ProviderSpec]) -> list[Finding]:
    """What the vendors say of the keys, by their lists of models."""
    pairs = [(spec, key) for spec in specs.values() if spec.enabled for key in spec.keys if not key.stored_name]
    async with new_session() as session, caller_for("own", session) as caller:
        told = await asyncio.gather(*(check_key(spec, key, caller, _masking(key)) for spec, key in pairs))
    findings = []
    for (spec, key), found in zip(pairs, told, strict=True):
        grade: Grade = "fail" if found["status"] == "refused" else "warn" if found["status"] == "failed" else "ok"
        why = f" ({found['error']})" if found["error"] else ""
        todo = {"fail": "renew the key at the vendor", "warn": "see whether the address can be reached from here"}
        findings.append(Finding("vendors", grade, f"{spec.name} {key}: {found['status']}{why}", todo.get(grade, "")))
    return findings


def _masking(key: Secret) -> Callable[[str], str]:
    return lambda text: text.replace(key.reveal(), str(key))


def of_exposure(loaded: Loaded) -> Iterator[Finding]:
    """Who can reach the port and the secrets."""
    server, auth = loaded.settings.server, loaded.settings.auth
    if is_loopback(server.host):
        yield Finding("exposure", "ok", f"it listens on {server.host}, which this machine alone reaches")
    elif not auth.required:
        told = f"it listens on {server.host}, and nobody needs a key"
        yield Finding("exposure", "fail", told, "set auth.required = true, or listen on 127.0.0.1")
    else:
        told = f"it listens on {server.host}, and whoever asks needs a key; the port speaks plain HTTP"
        yield Finding("exposure", "warn", told, "put a proxy with TLS in front of it")
    if auth.master_key is not None and len(auth.master_key.reveal()) < SHORT_MASTER:
        told = f"the master key has fewer than {SHORT_MASTER} characters"
        yield Finding("exposure", "warn", told, "take a random one: openssl rand -hex 32")
    if server.media_allow_private:
        told = "pictures are fetched from private network addresses too (server.media_allow_private)"
        yield Finding("exposure", "warn", told, "leave that off unless every client is trusted")
    if loaded.path is not None and _others_read(loaded.path) and any("as it is" in each for each in loaded.warnings):
        told = f"{loaded.path.name} holds a secret, and other users of this machine can read it"
        yield Finding("exposure", "warn", told, f"chmod 600 {loaded.path.name}, or write a reference in its place")


def _others_read(path: Path) -> bool:
    return bool(path.stat().st_mode & (stat.S_IRGRP | stat.S_IROTH))


def of_port(settings: Settings) -> Iterator[Finding]:
    """Who answers at the port: this machine's own, so that nobody else is asked."""
    server = settings.server
    host = server.host if is_loopback(server.host) else "127.0.0.1"
    connection = http.client.HTTPConnection(host.strip("[]"), server.port, timeout=CONNECT_S)
    try:
        connection.request("GET", "/health/live")
        answer = connection.getresponse()
        ours = answer.getheader("x-request-id", "").startswith("req_")
    except (OSError, http.client.HTTPException) as error:
        if isinstance(error, ConnectionRefusedError):
            yield Finding("port", "ok", f"no server runs at port {server.port}")
        else:
            told = f"what answers at port {server.port} is no modelport ({type(error).__name__})"
            yield Finding("port", "fail", told, "choose another port: --port, or server.port")
        return
    finally:
        connection.close()
    if ours:
        yield Finding("port", "ok", f"a server runs at port {server.port}; modelport status asks it")
    else:
        told = f"another program answers at port {server.port}"
        yield Finding("port", "fail", told, "choose another port: --port, or server.port")


# --- the machine


def of_database(path: Path) -> Iterator[Finding]:
    """Whether it can be used."""
    if path == MEMORY:
        yield Finding("database", "ok", "nothing is kept (storage.path)")
        return
    folder = _existing(path.parent)
    if not os.access(folder, os.W_OK) or (path.exists() and not os.access(path, os.W_OK)):
        todo = "let the user who runs it write there, or name another file: storage.path"
        yield Finding("database", "fail", f"{path} cannot be written", todo)
        return
    if not path.exists():
        yield Finding("database", "ok", f"{path} is made at the first start")
        return
    try:
        found = examine(path, EXAMINED_BYTES)
    except StorageError as error:
        yield Finding("database", "fail", str(error), "restore a backup, or move the file away to begin anew")
        return
    size_mb = path.stat().st_size / MB
    if found.damage:
        todo = "stop the server, keep the file, and restore a backup"
        yield Finding("database", "fail", f"{path} is damaged: {found.damage}", todo)
    elif found.version > found.newest:
        told = f"{path} was written by a newer modelport (schema {found.version}, this one knows {found.newest})"
        yield Finding("database", "fail", told, "use that modelport, or another file")
    else:
        how = "it is sound" if found.whole else "too large to be examined here; modelport ledger verify does"
        yield Finding("database", "ok", f"{path}, {size_mb:.1f} MB, schema {found.version}: {how}")
    if found.wal_bytes > LONG_WAL_BYTES:
        told = f"{found.wal_bytes / MB:.0f} MB wait in its log, as another program keeps reading it"
        yield Finding("database", "warn", told, "end that program, or start the server anew")
    if path.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO):
        told = "other users of this machine can read the database"
        yield Finding("database", "warn", told, f"chmod 600 {path}")


def of_clock(path: Path, now: Callable[[], float]) -> Iterator[Finding]:
    """Whether it can be right: budgets and prices go by it."""
    at = now()
    newest: float | None = None
    if path != MEMORY and path.exists():
        try:
            newest = examine(path, 0).newest_at
        except StorageError:
            newest = None  # of which `of_database` has told
    if at < BUILT:
        told = f"it says {_iso(at)}, which is before this version was made"
        yield Finding("clock", "fail", told, "set the clock; budgets and prices go by it")
    elif newest is not None and newest > at + AHEAD_S:
        told = f"it says {_iso(at)}, but the ledger has an exchange of {_iso(newest)}"
        yield Finding("clock", "warn", told, "see whether the clock was wrong then, or is now")
    else:
        yield Finding("clock", "ok", _iso(at))


def of_room(path: Path) -> Iterator[Finding]:
    """Whether the disk takes more."""
    if path == MEMORY:
        return
    free = shutil.disk_usage(_existing(path.parent)).free
    told = f"{free / MB:,.0f} MB are free beside the database"
    if free < NO_ROOM_BYTES:
        yield Finding("disk", "fail", told, "free some: the ledger cannot be written without")
    elif free < LITTLE_ROOM_BYTES:
        yield Finding("disk", "warn", told, "free some, or set ledger.retention_days")
    else:
        yield Finding("disk", "ok", told)


def of_descriptors() -> Iterator[Finding]:
    """How many connections there may be."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = UNBOUNDED if hard == resource.RLIM_INFINITY else hard
    told = f"{most} file descriptors, for {shares(most).clients} clients at a time and as many calls to providers"
    if most < FEW_DESCRIPTORS:
        yield Finding("descriptors", "warn", told, "raise the hard limit: ulimit -Hn, LimitNOFILE, or --ulimit nofile")
    else:
        yield Finding("descriptors", "ok", told)


def _existing(folder: Path) -> Path:
    return next(each for each in (folder, *folder.parents) if each.exists())


def _iso(at: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(at))
