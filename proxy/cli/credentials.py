"""`modelport providers` and `modelport secrets`: `/api/v1/credentials` and `/api/v1/secrets` as tables.

A key is never an argument: those stand in the shell's history and in the list of processes.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from typing import Annotated, Any, Final
from urllib.parse import quote

import typer

from proxy.cli.client import Refused, Server, table
from proxy.cli.options import Asked, command
from proxy.cli.terminal import note, write, write_json, write_table

PATH: Final = "/api/v1/credentials"
SECRETS: Final = "/api/v1/secrets"
CHECK_S: Final = 120

app = typer.Typer()
providers_app = typer.Typer(help="Keys of providers, stored encrypted: add, rotate, check.", no_args_is_help=True)
secrets_app = typer.Typer(help="The key that encrypts what is stored.", no_args_is_help=True)
app.add_typer(providers_app, name="providers")
app.add_typer(secrets_app, name="secrets")

Stored = Annotated[str, typer.Argument(help="Name of the stored key.")]
KeyStdin = Annotated[bool, typer.Option("--key-stdin", help="Read the key from standard input.")]
KeyEnv = Annotated[str | None, typer.Option("--key-env", metavar="VAR", help="Take the key from this variable.")]


@providers_app.command("add")
@command
def providers_add(
    provider: Annotated[str, typer.Argument(help="Whose key it is.")],
    *,
    name: Annotated[
        str | None, typer.Option("--name", metavar="NAME", help="For stored:NAME. Default: the provider's name.")
    ] = None,
    key_stdin: KeyStdin = False,
    key_env: KeyEnv = None,
    weight: Annotated[int, typer.Option("--weight", metavar="N", help="Share of the load among its keys.")] = 1,
    base_url: Annotated[
        str | None, typer.Option("--base-url", metavar="URL", help="Where a provider is that is not known yet.")
    ] = None,
    dialect: Annotated[
        str | None, typer.Option("--dialect", metavar="NAME", help="What that one speaks. Default: openai_chat.")
    ] = None,
    check: Annotated[bool, typer.Option("--check", help="Ask the vendor whether it takes the key.")] = False,
    asked: Asked,
) -> None:
    """Store a provider's key, encrypted. It is used from the next request on."""
    key = key_given(from_stdin=key_stdin, variable=key_env)
    said = {
        "provider": provider,
        "name": name,
        "key": key,
        "weight": weight,
        "base_url": base_url,
        "dialect": dialect,
    }
    with asked.administered() as server:
        add(server, said, check_too=check, as_json=asked.as_json)


@providers_app.command("list")
@command
def providers_list(asked: Asked) -> None:
    """List the stored keys, without the keys."""
    with asked.administered() as server:
        list_all(server, as_json=asked.as_json)


@providers_app.command("rotate")
@command
def providers_rotate(
    name: Stored,
    *,
    key_stdin: KeyStdin = False,
    key_env: KeyEnv = None,
    asked: Asked,
) -> None:
    """Put another key in the place of a stored one."""
    key = key_given(from_stdin=key_stdin, variable=key_env)
    with asked.administered() as server:
        rotate(server, name, key, as_json=asked.as_json)


@providers_app.command("weight")
@command
def providers_weight(
    name: Stored, weight: Annotated[int, typer.Argument(help="Share of the load.")], asked: Asked
) -> None:
    """Give a stored key another share of the load."""
    with asked.administered() as server:
        change(server, name, {"weight": weight}, as_json=asked.as_json)


@providers_app.command("disable")
@command
def providers_disable(name: Stored, asked: Asked) -> None:
    """Use a stored key no more, and keep it."""
    with asked.administered() as server:
        change(server, name, {"enabled": False}, as_json=asked.as_json)


@providers_app.command("enable")
@command
def providers_enable(name: Stored, asked: Asked) -> None:
    """Use a stored key again."""
    with asked.administered() as server:
        change(server, name, {"enabled": True}, as_json=asked.as_json)


@providers_app.command("remove")
@command
def providers_remove(name: Stored, asked: Asked) -> None:
    """Forget a stored key."""
    with asked.administered() as server:
        remove(server, name, as_json=asked.as_json)


@providers_app.command("check")
@command
def providers_check(name: Stored, asked: Asked) -> None:
    """Ask the vendor whether it takes a stored key, without spending. Exits with 1 unless it does."""
    with asked.administered() as server:
        check(server, name, as_json=asked.as_json)


@secrets_app.command("generate")
def secrets_generate() -> None:
    """Write a new key, for [secrets] key or MODELPORT_SECRET_KEY. It is kept nowhere."""
    from proxy.sealing import new_key  # it brings the cryptography

    write(new_key())


@secrets_app.command("rotate")
@command
def secrets_rotate(asked: Asked) -> None:
    """Encrypt everything that is stored anew, with the key that is configured now. All of it, or nothing."""
    with asked.administered() as server:
        rotate_secrets(server, as_json=asked.as_json)


@secrets_app.command("show")
@command
def secrets_show(asked: Asked) -> None:
    """Show with which keys, by their ids, how much is encrypted."""
    with asked.administered() as server:
        show_secrets(server, as_json=asked.as_json)


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
    made = table(server.ask("POST", PATH, body).ok().json())
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
    answer = table(server.get(PATH).ok().json())
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
            for row in map(table, answer.get("data") or [])
        ],
        right=("weight",),
    )


def rotate(server: Server, name: str, key: str, *, as_json: bool) -> None:
    """POST /api/v1/credentials/{name}/rotate."""
    row = table(server.ask("POST", _path(name, "rotate"), {"key": key}).ok().json())
    _say(row, f"{name} has another key, fingerprint {row.get('fingerprint')}", as_json=as_json)


def change(server: Server, name: str, said: Mapping[str, Any], *, as_json: bool) -> None:
    """PATCH /api/v1/credentials/{name}."""
    row = table(server.ask("PATCH", _path(name), said).ok().json())
    state = "is on" if row.get("enabled") else "is off"
    _say(row, f"{name} {state}, weight {row.get('weight')}", as_json=as_json)


def remove(server: Server, name: str, *, as_json: bool) -> None:
    """DELETE /api/v1/credentials/{name}."""
    row = table(server.ask("DELETE", _path(name)).ok().json())
    _say(row, f"{name} removed", as_json=as_json)


def check(server: Server, name: str, *, as_json: bool) -> None:
    """POST /api/v1/credentials/{name}/check. Exits with 1 unless the vendor takes the key."""
    row = table(server.ask("POST", _path(name, "check"), timeout_s=CHECK_S).ok().json())
    why = f": {row['error']}" if row.get("error") else ""
    _say(row, f"{name} {row.get('status')}{why}", as_json=as_json)
    if row.get("status") != "ok":
        raise typer.Exit(1)


def rotate_secrets(server: Server, *, as_json: bool) -> None:
    """POST /api/v1/secrets/rotate."""
    row = table(server.ask("POST", f"{SECRETS}/rotate", timeout_s=CHECK_S).ok().json())
    count = row.get("resealed")
    told = f"{count} {'value' if count == 1 else 'values'} encrypted with the key {row.get('key_id')}"
    _say(row, told, as_json=as_json)


def show_secrets(server: Server, *, as_json: bool) -> None:
    """GET /api/v1/secrets."""
    row = table(server.get(SECRETS).ok().json())
    if as_json:
        write_json(row)
        return
    known, values = list(row.get("known") or []), table(row.get("values"))
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
