"""Budgets on the command line: list, show, set, remove."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final
from urllib.parse import quote, urlencode

from proxy.cli.client import Refused, Server
from proxy.cli.terminal import write, write_json, write_table

BUDGETS: Final = "/api/v1/budgets"
SPANS: Final = {"total": "in all", "hour": "an hour", "day": "a day", "month": "a month"}
SUBJECTS: Final = ("organisation", "team", "key", "tag", "provider", "route")


def list_all(server: Server, *, as_json: bool) -> None:
    """GET /api/v1/budgets."""
    answer = _table(server.get(BUDGETS).ok().json())
    if as_json:
        write_json(answer)
        return
    write_table(
        ("name", "about", "window", "limit USD", "spent", "reserved", "%", "status", "reopens", "from"),
        [_line(_table(row)) for row in answer.get("data") or []],
        right=("limit USD", "spent", "reserved", "%"),
    )


def show(server: Server, name: str, *, as_json: bool) -> None:
    """GET /api/v1/budgets/{id or name}, with its newest alerts."""
    found = _table(server.get(_path(name)).ok().json())
    if as_json:
        write_json(found)
        return
    alerts: Sequence[Any] = found.get("recent_alerts") or []
    write_table(("field", "value"), [(key, _text(value)) for key, value in found.items() if key != "recent_alerts"])
    if alerts:
        write("")
        write_table(
            ("alert", "at", "told"),
            [(_alert(_table(each)), each.get("at"), _delivery(_table(each))) for each in alerts],
        )


def put(server: Server, name: str, body: Mapping[str, Any], *, as_json: bool) -> None:
    """Change the budget of that name, or make it: PATCH or POST."""
    rows = _table(server.get(f"{BUDGETS}?{urlencode({'name': name})}").ok().json()).get("data") or []
    found = next((_table(row) for row in rows if _table(row).get("origin") != "key"), None)
    if found is None:
        answer = server.ask("POST", BUDGETS, {"name": name, **body})
    else:
        said = {kind: body[kind] for kind in SUBJECTS if kind in body}
        if said and said != {found.get("kind"): found.get("subject")}:
            about = f"{found.get('kind')} {found.get('subject') or ''}".strip()
            raise Refused(f"the budget {name} is about {about}; remove it first, or choose another name")
        changes = {field: value for field, value in body.items() if field not in SUBJECTS}
        answer = server.ask("PATCH", _path(str(found.get("id"))), changes)
    made = _table(answer.ok().json())
    if as_json:
        write_json(made)
        return
    write(f"{made.get('name')} ({_about(made)}): {made.get('limit_usd')} USD {_span(made)}, spent {made['spent_usd']}")


def remove(server: Server, name: str, *, as_json: bool) -> None:
    """DELETE /api/v1/budgets/{id or name}."""
    gone = _table(server.ask("DELETE", _path(name)).ok().json())
    write_json(gone) if as_json else write(f"{gone.get('name')} is removed")


def _line(row: Mapping[str, Any]) -> Sequence[Any]:
    return (
        row.get("name"),
        _about(row),
        _span(row) + ("" if row.get("hard") else ", soft"),
        row.get("limit_usd"),
        row.get("spent_usd"),
        row.get("reserved_usd"),
        row.get("percent"),
        row.get("status"),
        row.get("reopens_at"),
        row.get("origin"),
    )


def _about(row: Mapping[str, Any]) -> str:
    return "everything" if row.get("kind") == "global" else f"{row.get('kind')} {row.get('subject')}"


def _span(row: Mapping[str, Any]) -> str:
    window = str(row.get("window"))
    return SPANS.get(window, window) + (", rolling" if row.get("rolling") else "")


def _alert(alert: Mapping[str, Any]) -> str:
    percent = alert.get("percent")
    return "first refusal" if percent is None else f"{percent} %"


def _delivery(alert: Mapping[str, Any]) -> str:
    if delivered := alert.get("delivered_at"):
        return f"webhook at {delivered}"
    error = alert.get("error")
    if alert.get("waiting"):
        return f"waits for the webhook ({error})" if error else "waits for the webhook"
    return f"log; the webhook did not take it ({error})" if error else "log"


def _text(value: Any) -> str | None:
    match value:
        case list():
            return ", ".join(map(str, value)) or None
        case None:
            return None
        case bool():
            return "yes" if value else "no"
        case _:
            return str(value)


def _path(name: str) -> str:
    return f"{BUDGETS}/{quote(name, safe='')}"


def _table(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}
