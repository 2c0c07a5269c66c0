"""`modelport providers` and `modelport secrets`: `/api/v1/credentials` and `/api/v1/secrets` as tables.

A key is never an argument: those stand in the shell's history and in the list of processes.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import quote

import typer

from proxy.cli.client import Refused, Server
from proxy.cli.terminal import note, write, write_json, write_table

PATH: Final = "/api/v1/credentials"
SECRETS: Final = "/api/v1/secrets"
CHECK_S: Final = 120


def key_given(*, from_stdin: bool, variable: str | None) -> str:
    """The key: from a variable, from standard input, or typed unseen. Raises Refused."""
    if variable is not None:
        text = os.environ.get(variable, "").strip()
        missing = f"the environment variable {variable} is not set"
    elif from_stdin or not sys.stdin.isatty():
        text = sys.stdin.readline().strip()
        missing = "standard input is empty; write the key to it, or name a variable: --key-env VAR"
    else:
        text = str(typer.prompt("Key", hide_input=True, err=True)).strip()
        missing = "the key is empty"
    if not text:
        raise Refused(missing)
    return text


def add(server: Server, said: Mapping[str, Any], *, check_too: bool, as_json: bool) -> None:
    """POST /api/v1/credentials."""
    body = {name: value for name, value in said.items() if value is not None}
    made = _table(server.ask("POST", PATH, body).ok().json())
    if as_json:
        write_json(made)
    else:
        write(f"{made.get('name')} stored for {made.get('provider')}, fingerprint {made.get('fingerprint')}")
        if made.get("why_not"):
            note(f"it is not used: {made['why_not']}")
    if check_too:
        check(server, str(made.get("name")), as_json=as_json)


def list_all(server: Server, *, as_json: bool) -> None:
    """GET /api/v1/credentials."""
    answer = _table(server.get(PATH).ok().json())
    if as_json:
        write_json(answer)
        return
    write_table(
        ("name", "provider", "weight", "used", "fingerprint", "added", "rotated", "why not"),
        [
            (
                row.get("name"),
                row.get("provider"),
                row.get("weight"),
                "yes" if row.get("in_use") else "no",
                row.get("fingerprint"),
                row.get("created_at"),
                row.get("rotated_at"),
                row.get("why_not") or "",
            )
            for row in map(_table, answer.get("data") or [])
        ],
        right=("weight",),
    )


def rotate(server: Server, name: str, key: str, *, as_json: bool) -> None:
    """POST /api/v1/credentials/{name}/rotate."""
    row = _table(server.ask("POST", _path(name, "rotate"), {"key": key}).ok().json())
    _say(row, f"{name} has another key, fingerprint {row.get('fingerprint')}", as_json=as_json)


def change(server: Server, name: str, said: Mapping[str, Any], *, as_json: bool) -> None:
    """PATCH /api/v1/credentials/{name}."""
    row = _table(server.ask("PATCH", _path(name), said).ok().json())
    state = "is on" if row.get("enabled") else "is off"
    _say(row, f"{name} {state}, weight {row.get('weight')}", as_json=as_json)


def remove(server: Server, name: str, *, as_json: bool) -> None:
    """DELETE /api/v1/credentials/{name}."""
    row = _table(server.ask("DELETE", _path(name)).ok().json())
    _say(row, f"{name} removed", as_json=as_json)


def check(server: Server, name: str, *, as_json: bool) -> None:
    """POST /api/v1/credentials/{name}/check. Exits with 1 unless the vendor takes the key."""
    row = _table(server.ask("POST", _path(name, "check"), timeout_s=CHECK_S).ok().json())
    why = f": {row['error']}" if row.get("error") else ""
    _say(row, f"{name} {row.get('status')}{why}", as_json=as_json)
    if row.get("status") != "ok":
        raise typer.Exit(1)


def rotate_secrets(server: Server, *, as_json: bool) -> None:
    """POST /api/v1/secrets/rotate."""
    row = _table(server.ask("POST", f"{SECRETS}/rotate", timeout_s=CHECK_S).ok().json())
    count = row.get("resealed")
    told = f"{count} {'value' if count == 1 else 'values'} encrypted with the key {row.get('key_id')}"
    _say(row, told, as_json=as_json)


def show_secrets(server: Server, *, as_json: bool) -> None:
    """GET /api/v1/secrets."""
    row = _table(server.get(SECRETS).ok().json())
    if as_json:
        write_json(row)
        return
    known, values = list(row.get("known") or []), _table(row.get("values"))
    write_table(
        ("key", "configured", "values"),
        [(key_id, _role(key_id, known), values.get(key_id, 0)) for key_id in dict.fromkeys([*known, *values])],
        right=("values",),
    )


def _role(key_id: str, known: list[str]) -> str:
    if key_id not in known:
        return "no: these cannot be read"
    return "yes, encrypts" if key_id == known[0] else "as the previous one"


def _path(name: str, action: str = "") -> str:
    return f"{PATH}/{quote(name, safe='')}{f'/{action}' if action else ''}"


def _say(row: Mapping[str, Any], text: str, *, as_json: bool) -> None:
    if as_json:
        write_json(row)
    else:
        write(text)


def _table(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}
