"""The ledger as a whole: taking it out, removing what is old, checking it."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any, BinaryIO, Final
from urllib.parse import urlencode

import typer

from proxy.cli.client import Refused, Server
from proxy.cli.terminal import note, write, write_json

LONG_S: Final = 24 * 3600
"""A ledger of many millions of rows takes its time."""
SHOWN: Final = 20


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


def prune(server: Server, before: str, *, keep_sums: bool, as_json: bool) -> None:
    """POST /api/v1/ledger/prune."""
    body = {"before": before, "keep_sums": keep_sums}
    told: dict[str, Any] = server.ask("POST", "/api/v1/ledger/prune", body, timeout_s=LONG_S).ok().json()
    if as_json:
        write_json(told)
        return
    sums = "their sums stay" if told.get("sums_kept") else "their sums are gone, too"
    count = told.get("removed")
    write(f"{count} {'exchange' if count == 1 else 'exchanges'} before {told.get('before')} removed; {sums}")


def verify(server: Server, *, as_json: bool) -> None:
    """POST /api/v1/ledger/verify. Exits with 1 when something differs."""
    told: dict[str, Any] = server.ask("POST", "/api/v1/ledger/verify", {}, timeout_s=LONG_S).ok().json()
    if as_json:
        write_json(told)
    else:
        _write_report(told)
    if told.get("status") != "ok":
        raise typer.Exit(1)


def _write_report(told: dict[str, Any]) -> None:
    write(
        f"{told.get('exchanges')} exchanges, {told.get('attempts')} attempts, {told.get('charges')} charges to budgets,"
        f" {told.get('days')} days of sums"
    )
    write(f"{told.get('costs_recomputed')} costs computed anew, {told.get('costs_not_recomputed')} could not be")
    count = told.get("count") or 0
    if not count:
        write("everything agrees")
        return
    write(f"{count} {'difference' if count == 1 else 'differences'}:")
    differences = told.get("differences") or []
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
