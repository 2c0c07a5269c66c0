"""`modelport logs`: the request log as a person reads it. What was logged cannot do anything to a terminal."""

from __future__ import annotations

import json
import re
import sys
import time
from codecs import iterdecode
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, Final, Literal
from urllib.parse import quote, urlencode

import typer

from proxy.cli.client import Refused, Server, table
from proxy.cli.options import Asked, Since, Until, Where, command
from proxy.cli.terminal import note, write

PATH: Final = "/api/v1/logs"
POLL_S: Final = 1.0
EXPORT_S: Final = 600
_UNSAFE: Final = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
"""Control characters, which move the cursor and worse, and those that turn the direction of writing around."""

Query = Mapping[str, str | None]

app = typer.Typer()
logs_app = typer.Typer(help="What was asked and answered, where that is kept.", no_args_is_help=True)
app.add_typer(logs_app, name="logs")

LogKey = Annotated[str | None, typer.Option("--key", metavar="ID", help="Of this virtual key.")]
LogModel = Annotated[str | None, typer.Option("--model", "-m", metavar="NAME", help="Answered by it.")]
LogRoute = Annotated[str | None, typer.Option("--route", metavar="NAME", help="Asked of this route.")]
LogStatus = Annotated[
    Literal["ok", "failed", "aborted", "interrupted"] | None, typer.Option("--status", help="Ended like that.")
]
LogLimit = Annotated[int, typer.Option("--limit", min=1, max=1000, help="How many.")]


@logs_app.command("tail")
@command
def logs_tail(
    *,
    following: Annotated[bool, typer.Option("--follow", "-f", help="Go on with what comes, until Ctrl-C.")] = False,
    key: LogKey = None,
    model: LogModel = None,
    route: LogRoute = None,
    status: LogStatus = None,
    limit: LogLimit = 10,
    asked: Asked,
) -> None:
    """Show the newest entries, the last one below."""
    query = {"key": key, "model": model, "route": route, "status": status, "limit": str(limit)}
    if following:
        follow(asked.server(), query, as_json=asked.as_json)
        return
    with asked.administered() as server:
        show_list(server, query, as_json=asked.as_json)


@logs_app.command("search")
@command
def logs_search(
    text: Annotated[str, typer.Argument(help='Words that one message has; "a phrase" between quotation marks.')],
    *,
    key: LogKey = None,
    model: LogModel = None,
    route: LogRoute = None,
    status: LogStatus = None,
    since: Since = None,
    until: Until = None,
    limit: LogLimit = 100,
    cursor: Annotated[str | None, typer.Option(metavar="CURSOR", help="Go on where a page has ended.")] = None,
    asked: Asked,
) -> None:
    """Find entries by what was said."""
    query = {"text": text, "key": key, "model": model, "route": route, "status": status, "since": since}
    query |= {"until": until, "limit": str(limit), "cursor": cursor}
    with asked.administered() as server:
        show_list(server, query, as_json=asked.as_json)


@logs_app.command("show")
@command
def logs_show(
    id_: Annotated[str, typer.Argument(metavar="ID", help="The `x-request-id` of the answer.")], asked: Asked
) -> None:
    """Show what was asked and what was answered."""
    with asked.administered() as server:
        show(server, id_, as_json=asked.as_json)


@logs_app.command("export")
@command
def logs_export(
    *,
    since: Since = None,
    until: Until = None,
    key: LogKey = None,
    model: LogModel = None,
    route: LogRoute = None,
    status: LogStatus = None,
    text: Annotated[str | None, typer.Option("--text", metavar="WORDS", help="With these words.")] = None,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Into this file.")] = None,
    where: Where,
) -> None:
    """Write entries with their bodies, one JSON object a line."""
    query = {"since": since, "until": until, "key": key, "model": model, "route": route, "status": status, "text": text}
    with where.administered() as server:
        export(server, query, output)


@logs_app.command("remove")
@command
def logs_remove(
    *,
    before: Annotated[
        str | None, typer.Option("--before", metavar="TIME", help="What is older: 30d, a time; now: everything.")
    ] = None,
    key: LogKey = None,
    asked: Asked,
) -> None:
    """Forget entries by age, by key, or both together."""
    with asked.administered() as server:
        remove(server, {"before": before, "key": key}, as_json=asked.as_json)


def safe(text: str) -> str:
    """*text* as a terminal may have it: what would act upon it is written out."""
    return _UNSAFE.sub(lambda found: f"\\x{ord(found[0]):02x}", text)


def line(text: str) -> str:
    """The same in one line."""
    return safe(" ".join(text.split()))


def show_list(server: Server, query: Query, *, as_json: bool) -> None:
    """GET /api/v1/logs, oldest first, in lines."""
    answer = table(server.get(_url(PATH, query)).ok().json())
    if as_json:
        _write_json(answer)
        return
    for row in reversed(answer.get("data") or []):
        write(_line(table(row)))
    if answer.get("next"):
        note(f"there are older ones: --cursor {answer['next']}")


def follow(server: Server, query: Query, *, as_json: bool, pause: Callable[[float], None] = time.sleep) -> None:
    """The newest entries, and those that come, until the person has seen enough."""
    rows = list(reversed(_rows(server, query)))
    newest = 0
    try:
        while True:
            for row in rows:
                write(json.dumps(row, ensure_ascii=True) if as_json else _line(row))
                newest = max(newest, int(row.get("row") or 0))
            sys.stdout.flush()
            if len(rows) < 2:
                pause(POLL_S)
            rows = _rows(server, {**query, "after": str(newest), "limit": "1000", "cursor": None})
    except KeyboardInterrupt:
        return


def show(server: Server, id: str, *, as_json: bool) -> None:  # noqa: A002  the API's word
    """GET /api/v1/logs/{id}: question and answer."""
    row = table(server.get(f"{PATH}/{quote(id, safe='')}").ok().json())
    if as_json:
        _write_json(row)
        return
    for name, value in row.items():
        if name not in {"row", "question", "answer", "request", "response"} and value is not None:
            write(f"{name:<13} {line(str(value))}")
    _write_body("asked", row.get("request"))
    _write_body("answered", row.get("response"))


def export(server: Server, query: Query, output: Path | None) -> None:
    """GET /api/v1/logs/export, to a file for nobody else, or to standard output. A file appears when it is whole."""
    pieces = server.download(_url(f"{PATH}/export", query), timeout_s=EXPORT_S)
    if output is None:
        for text in iterdecode(pieces, "utf-8", errors="replace"):
            sys.stdout.write(_UNSAFE.sub(lambda found: f"\\u{ord(found[0]):04x}", text))
        return
    part = output.with_name(output.name + ".part")
    try:
        part.touch(mode=0o600)
        with part.open("wb") as file:
            for piece in pieces:
                file.write(piece)
        part.replace(output)
    except OSError as error:
        raise Refused(f"{output}: {error.strerror or error}") from error
    finally:
        part.unlink(missing_ok=True)


def remove(server: Server, query: Query, *, as_json: bool) -> None:
    """DELETE /api/v1/logs."""
    answer = table(server.ask("DELETE", _url(PATH, query), timeout_s=EXPORT_S).ok().json())
    if as_json:
        _write_json(answer)
    else:
        write(f"{answer.get('removed')} entries removed")


def _write_json(value: Any) -> None:
    """For machines, in ASCII: nothing in it acts upon a terminal."""
    write(json.dumps(value, indent=2, ensure_ascii=True))


def _rows(server: Server, query: Query) -> list[Mapping[str, Any]]:
    return [table(row) for row in table(server.get(_url(PATH, query)).ok().json()).get("data") or []]


def _url(path: str, query: Query) -> str:
    said = {name: value for name, value in query.items() if value is not None}
    return f"{path}?{urlencode(said)}" if said else path


def _line(row: Mapping[str, Any]) -> str:
    """One entry in two lines: what it was, and the beginnings of question and answer."""
    facts = [row.get("at"), row.get("id"), row.get("status"), row.get("target") or row.get("route")]
    if row.get("cost_usd"):
        facts.append(f"{row['cost_usd']} USD")
    head = "  ".join(line(str(fact)) for fact in facts)
    said = row.get("answer") or row.get("error") or ""
    return f"{head}\n  > {line(str(row.get('question')))}\n  < {line(str(said))}"


def _write_body(title: str, body: Any) -> None:
    write(f"\n--- {title}")
    if not isinstance(body, dict):
        write("(nothing)")
        return
    for name, value in body.items():
        if isinstance(value, list) and any(isinstance(each, dict) for each in value):
            for place, each in enumerate(value):
                _write_item(f"{name}[{place}]", each)
        else:
            _write_item(name, value)


def _write_item(place: str, value: Any) -> None:
    """One part: text as text, everything else as JSON."""
    text = _plain(value)
    if text is not None:
        role = value.get("role") if isinstance(value, dict) else None
        write(f"{line(place)}{' ' + line(str(role)) if role else ''}:\n{safe(text)}")
        return
    write(f"{line(place)}: {safe(json.dumps(value, indent=2, ensure_ascii=False))}")


def _plain(value: Any) -> str | None:
    """The text of what is nothing but text; None where there is more to it."""
    if isinstance(value, str):
        return value if len(value) > 60 or "\n" in value else None
    if isinstance(value, dict) and set(value) <= {"role", "content"} and isinstance(value.get("content"), str):
        return str(value["content"])
    return None
