"""`modelport log`: the server's own log, while it runs."""

from __future__ import annotations

from typing import Annotated, Final
from urllib.parse import quote

import typer

from proxy.cli.client import Refused, Server, table
from proxy.cli.options import Asked, command
from proxy.cli.terminal import write, write_json, write_table

PATH: Final = "/api/v1/log-levels"

app = typer.Typer()
log_app = typer.Typer(help="The running server's own log.", no_args_is_help=True)
app.add_typer(log_app, name="log")


@log_app.command("level")
@command
def log_level(
    name: Annotated[str | None, typer.Argument(help="A logger, or root for all. Without it: show them.")] = None,
    level: Annotated[str | None, typer.Argument(help="debug, info, warning or error.")] = None,
    *,
    reset: Annotated[bool, typer.Option("--reset", help="As the configuration says again.")] = False,
    asked: Asked,
) -> None:
    """Show from which level on loggers write, or change one while the server runs."""
    server = asked.server()
    if name is None:
        show(server, as_json=asked.as_json)
        return
    if (level is None) is not reset:
        raise Refused("say either a level (debug, info, warning, error) or --reset")
    change(server, name, level, as_json=asked.as_json)


def show(server: Server, *, as_json: bool) -> None:
    """GET /api/v1/log-levels."""
    answer = table(server.get(PATH).ok().json())
    if as_json:
        write_json(answer)
        return
    rows = [table(row) for row in answer.get("data") or []]
    write_table(("logger", "level"), [(row.get("name"), row.get("level")) for row in rows])


def change(server: Server, name: str, level: str | None, *, as_json: bool) -> None:
    """PUT or DELETE /api/v1/log-levels/{name}."""
    path = f"{PATH}/{quote(name, safe='')}"
    reply = server.ask("DELETE", path) if level is None else server.ask("PUT", path, {"level": level})
    answer = table(reply.ok().json())
    if as_json:
        write_json(answer)
        return
    write(f"{answer.get('name')} writes from {answer.get('level') or 'the level of the one above it'} on")
