"""The ledger as a whole: taking it out, removing what is old, checking it."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any, BinaryIO, Final, Literal
from urllib.parse import urlencode

import typer

from proxy.cli.client import Refused, Server, told
from proxy.cli.options import Asked, Since, Until, Where, command
from proxy.cli.terminal import note, write, write_json

LONG_S: Final = 24 * 3600
"""A ledger of many millions of rows takes its time."""
SHOWN: Final = 20
PRUNE: Final = "/api/v1/ledger/prune"
UNCONFIRMED: Final = "not_confirmed"
"""The code of a refusal that a confirmation lifts; the sentence after its last semicolon says how, over HTTP."""

app = typer.Typer()
ledger_app = typer.Typer(help="Take the ledger out, remove what is old, check it.", no_args_is_help=True)
app.add_typer(ledger_app, name="ledger")


@ledger_app.command("export")
@command
def ledger_export(
    *,
    since: Since = None,
    until: Until = None,
    format_: Annotated[Literal["jsonl", "csv"], typer.Option("--format", help="How it is written.")] = "jsonl",
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FILE", help="Default: standard output.")
    ] = None,
    where: Where,
) -> None:
    """Write every exchange with its attempts, oldest first."""
    with where.administered() as server:
        export(server, since, until, format_, output)


@ledger_app.command("prune")
@command
def ledger_prune(
    *,
    before: Annotated[str, typer.Option("--before", metavar="TIME", help="Older ones go: 90d or an ISO 8601 time.")],
    keep_sums: Annotated[
        bool, typer.Option("--keep-sums/--drop-sums", help="Whether they stay in the sums of `modelport costs`.")
    ] = True,
    yes: Annotated[
        bool, typer.Option("--yes", help="Do not ask, whatever would go: everything, or what a budget counts now.")
    ] = False,
    asked: Asked,
) -> None:
    """Remove old exchanges, by whole days (UTC). What budgets have spent stays spent."""
    with asked.administered() as server:
        prune(server, before, keep_sums=keep_sums, yes=yes, as_json=asked.as_json)


@ledger_app.command("verify")
@command
def ledger_verify(asked: Asked) -> None:
    """Check the file, every sum, every cost, the budgets and the audit log. Exits with 1 when something differs."""
    with asked.administered() as server:
        verify(server, as_json=asked.as_json)


def export(server: Server, since: str | None, until: str | None, form: str, output: Path | None) -> None:
    """GET /api/v1/ledger/export, to a file or to standard output. A file appears only when it is whole."""
    asked = {"format": form, "since": since, "until": until}
    path = f"/api/v1/ledger/export?{urlencode({name: value for name, value in asked.items() if value})}"
    if output is None:
        _copy(server, path, sys.stdout.buffer)
        return
    part = output.with_name(output.name + ".part")
    try:
        with part.open("wb") as file:
            size = _copy(server, path, file)
        part.replace(output)
    except OSError as error:
        raise Refused(f"{output}: {error.strerror or error}") from error
    finally:
        part.unlink(missing_ok=True)
    note(f"{output}: {size} bytes")


def prune(server: Server, before: str, *, keep_sums: bool, yes: bool, as_json: bool) -> None:
    """POST /api/v1/ledger/prune. What should be said twice is asked for at a terminal. Raises Refused."""
    body = {"before": before, "keep_sums": keep_sums, **({"confirm": True} if yes else {})}
    reply = server.ask("POST", PRUNE, body, timeout_s=LONG_S)
    if reply.code == UNCONFIRMED:
        why = told(reply.body).rpartition(";")[0]
        if not sys.stdin.isatty():
            raise Refused(f"{why}; to remove them all the same, say --yes")
        if not typer.confirm(f"{why}. Remove them?", err=True):
            raise Refused("nothing was removed")
        reply = server.ask("POST", PRUNE, {**body, "confirm": True}, timeout_s=LONG_S)
    answer: dict[str, Any] = reply.ok().json()
    if as_json:
        write_json(answer)
        return
    sums = "their sums stay" if answer.get("sums_kept") else "their sums are gone, too"
    count = answer.get("removed")
    write(f"{count} {'exchange' if count == 1 else 'exchanges'} before {answer.get('before')} removed; {sums}")


def verify(server: Server, *, as_json: bool) -> None:
    """POST /api/v1/ledger/verify. Exits with 1 when something differs."""
    report: dict[str, Any] = server.ask("POST", "/api/v1/ledger/verify", {}, timeout_s=LONG_S).ok().json()
    if as_json:
        write_json(report)
    else:
        _write_report(report)
    if report.get("status") != "ok":
        raise typer.Exit(1)


def _write_report(report: dict[str, Any]) -> None:
    write(
        f"{report.get('exchanges')} exchanges, {report.get('attempts')} attempts,"
        f" {report.get('charges')} charges to budgets, {report.get('days')} days of sums"
    )
    write(f"{report.get('costs_recomputed')} costs computed anew, {report.get('costs_not_recomputed')} could not be")
    count = report.get("count") or 0
    if not count:
        write("everything agrees")
        return
    write(f"{count} {'difference' if count == 1 else 'differences'}:")
    differences = report.get("differences") or []
    for each in differences[:SHOWN]:
        place = f"{each.get('kind')} {each.get('where')}"
        write(f"  {place}: {each.get('what')} is {each.get('found')}, should be {each.get('expected')}")
    if count > SHOWN:
        write(f"  and {count - SHOWN} more; --json lists {len(differences)}")


def _copy(server: Server, path: str, file: BinaryIO) -> int:
    size = 0
    for piece in server.download(path, timeout_s=LONG_S):
        file.write(piece)
        size += len(piece)
    file.flush()
    return size
