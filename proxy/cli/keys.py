"""`modelport keys`, `orgs` and `teams`: `/api/v1/keys` and its relatives as tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal
from urllib.parse import quote, urlencode

from proxy.cli.client import Refused, Server
from proxy.cli.terminal import note, write, write_json, write_table

Place = Literal["organisations", "teams"]

KEYS: Final = "/api/v1/keys"


@dataclass(frozen=True, slots=True)
class Given:
    """What a key, a team or an organisation is given. Empty and None: nothing is said."""

    models: Sequence[str] = ()
    routes: Sequence[str] = ()
    endpoints: Sequence[str] = ()
    tags: Sequence[str] = ()
    """Each `name=value`."""
    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None
    concurrent: int | None = None

    def body(self) -> dict[str, Any]:
        """As the server takes it. Raises Refused for a tag without `=`."""
        limits = {
            "requests_per_minute": self.requests_per_minute,
            "tokens_per_minute": self.tokens_per_minute,
            "concurrent": self.concurrent,
        }
        limits = {name: limit for name, limit in limits.items() if limit is not None}
        said: dict[str, Any] = {
            "models": list(self.models),
            "routes": list(self.routes),
            "endpoints": list(self.endpoints),
            "tags": dict(map(_tag, self.tags)),
            "limits": limits,
        }
        return {name: value for name, value in said.items() if value}


def create(server: Server, body: Mapping[str, Any], *, as_json: bool) -> None:
    """POST /api/v1/keys. The key goes to standard output, what there is to say of it to standard error."""
    made = _table(server.ask("POST", KEYS, body).ok().json())
    if as_json:
        write_json(made)
        return
    write(str(made.get("key")))
    if secret := made.get("signing_secret"):
        write(str(secret))
    note(f"{made.get('id')} ({made.get('name')}); the key is shown this once and kept nowhere")


def list_all(server: Server, *, everything: bool, as_json: bool) -> None:
    """GET /api/v1/keys; without *everything*, those that get in."""
    path = KEYS if everything else f"{KEYS}?{urlencode({'status': 'active'})}"
    answer = _table(server.get(path).ok().json())
    if as_json:
        write_json(answer)
        return
    rows = [_table(row) for row in answer.get("data") or []]
    write_table(
        ("id", "name", "key", "status", "roles", "place", "may ask", "budget", "expires", "last use"),
        [
            (
                row.get("id"),
                row.get("name"),
                row.get("prefix"),
                row.get("status"),
                ", ".join(row.get("roles") or ()),
                row.get("team") or row.get("organisation"),
                ", ".join([*(row.get("routes") or ()), *(row.get("models") or ())]) or "everything",
                _budget(_table(row.get("budget"))),
                row.get("expires_at"),
                row.get("last_used_at"),
            )
            for row in rows
        ],
    )


def show(server: Server, key_id: str, *, as_json: bool) -> None:
    """GET /api/v1/keys/{id}."""
    found = _table(server.get(_path(key_id)).ok().json())
    if as_json:
        write_json(found)
        return
    write_table(("field", "value"), [(name, _shown(value)) for name, value in found.items()])


def rotate(server: Server, key_id: str, overlap_s: int, *, as_json: bool) -> None:
    """POST /api/v1/keys/{id}/rotate."""
    made = _table(server.ask("POST", f"{_path(key_id)}/rotate", {"overlap_s": overlap_s}).ok().json())
    if as_json:
        write_json(made)
        return
    write(str(made.get("key")))
    if secret := made.get("signing_secret"):
        write(str(secret))
    note(f"{made.get('id')} ({made.get('name')}); the old key is valid until {made.get('old_key_until')}")


def revoke(server: Server, key_id: str, *, as_json: bool) -> None:
    """DELETE /api/v1/keys/{id}."""
    gone = _table(server.ask("DELETE", _path(key_id)).ok().json())
    if as_json:
        write_json(gone)
        return
    write(f"{gone.get('id')} ({gone.get('name')}) is revoked")


def create_place(server: Server, kind: Place, body: Mapping[str, Any], *, as_json: bool) -> None:
    """POST /api/v1/organisations or /api/v1/teams."""
    made = _table(server.ask("POST", f"/api/v1/{kind}", body).ok().json())
    write_json(made) if as_json else write(str(made.get("id")))


def list_places(server: Server, kind: Place, *, as_json: bool) -> None:
    """GET /api/v1/organisations or /api/v1/teams."""
    answer = _table(server.get(f"/api/v1/{kind}").ok().json())
    if as_json:
        write_json(answer)
        return
    belongs = "teams" if kind == "organisations" else "organisation"
    rows = [_table(row) for row in answer.get("data") or []]
    write_table(
        ("id", "name", belongs, "keys", "may ask"),
        [
            (
                row.get("id"),
                row.get("name"),
                _shown(row.get(belongs)),
                row.get("keys"),
                ", ".join([*(row.get("routes") or ()), *(row.get("models") or ())]) or "everything",
            )
            for row in rows
        ],
        right=("keys",),
    )


def remove_place(server: Server, kind: Place, place_id: str, *, as_json: bool) -> None:
    """DELETE /api/v1/organisations/{id} or /api/v1/teams/{id}."""
    gone = _table(server.ask("DELETE", f"/api/v1/{kind}/{quote(place_id, safe='')}").ok().json())
    write_json(gone) if as_json else write(f"{gone.get('id')} is removed")


def _path(key_id: str) -> str:
    return f"{KEYS}/{quote(key_id, safe='')}"


def _tag(text: str) -> tuple[str, str]:
    name, mark, value = text.partition("=")
    if not (name and mark and value):
        raise Refused(f"--tag {text!r}: expected name=value")
    return name, value


def _budget(budget: Mapping[str, Any]) -> str | None:
    if not budget:
        return None
    span = "in all" if budget.get("window") == "total" else f"a {budget.get('window')}"
    return f"{budget.get('limit_usd')} USD {span}"


def _shown(value: Any) -> str | None:
    match value:
        case dict():
            return ", ".join(f"{name}={inner}" for name, inner in value.items() if inner is not None) or None
        case list():
            return ", ".join(map(str, value)) or None
        case None:
            return None
        case _:
            return str(value)


def _table(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}
