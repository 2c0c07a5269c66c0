"""`modelport keys`, `orgs` and `teams`: `/api/v1/keys` and its relatives as tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Final, Literal
from urllib.parse import quote, urlencode

import typer

from proxy.cli.client import Refused, Server, table
from proxy.cli.options import Asked, command, whole_number
from proxy.cli.terminal import note, write, write_json, write_table

Place = Literal["organisations", "teams"]

KEYS: Final = "/api/v1/keys"

app = typer.Typer()
keys_app = typer.Typer(help="Make, list, rotate and revoke virtual keys.", no_args_is_help=True)
orgs_app = typer.Typer(help="Organisations that teams and keys belong to.", no_args_is_help=True)
teams_app = typer.Typer(help="Teams of organisations.", no_args_is_help=True)
app.add_typer(keys_app, name="keys")
app.add_typer(orgs_app, name="orgs")
app.add_typer(teams_app, name="teams")

Globs = Annotated[list[str] | None, typer.Option("--model", metavar="GLOB", help="May ask these models. Repeatable.")]
RouteGlobs = Annotated[
    list[str] | None, typer.Option("--route", metavar="GLOB", help="May ask these routes. Repeatable.")
]
Endpoints = Annotated[
    list[str] | None, typer.Option("--endpoint", metavar="GLOB", help="May use these paths. Repeatable.")
]
Tags = Annotated[
    list[str] | None, typer.Option("--tag", metavar="NAME=VALUE", help="Stands in every exchange. Repeatable.")
]
Rpm = Annotated[
    int | None, typer.Option("--requests-per-minute", metavar="N", parser=whole_number, help="Requests a minute.")
]
Tpm = Annotated[
    int | None, typer.Option("--tokens-per-minute", metavar="N", parser=whole_number, help="Tokens a minute.")
]
Concurrent = Annotated[
    int | None, typer.Option("--concurrent", metavar="N", parser=whole_number, help="Requests at the same time.")
]
KeyId = Annotated[str, typer.Argument(help="Id of the key (key_...).")]
PlaceName = Annotated[str, typer.Argument(help="For people.")]
PlaceId = Annotated[str | None, typer.Option("--id", metavar="ID", help="Default: made of the name.")]


@keys_app.command("create")
@command
def keys_create(
    *,
    name: Annotated[str, typer.Option("--name", help="For people.")],
    role: Annotated[
        list[str] | None,
        typer.Option("--role", help="admin, operator, developer or viewer. Repeatable. Default: developer."),
    ] = None,
    organisation: Annotated[str | None, typer.Option("--organisation", metavar="ID", help="Belongs to it.")] = None,
    team: Annotated[str | None, typer.Option("--team", metavar="ID", help="Belongs to it.")] = None,
    model: Globs = None,
    route: RouteGlobs = None,
    endpoint: Endpoints = None,
    tag: Tags = None,
    requests_per_minute: Rpm = None,
    tokens_per_minute: Tpm = None,
    concurrent: Concurrent = None,
    budget_usd: Annotated[str | None, typer.Option("--budget-usd", metavar="USD", help="May spend this.")] = None,
    window: Annotated[
        Literal["hour", "day", "month", "total"], typer.Option("--window", help="In which time the budget is spent.")
    ] = "month",
    expires: Annotated[
        str | None, typer.Option("--expires", metavar="TIME", help="ISO 8601, or from now: 12h, 90d.")
    ] = None,
    signing: Annotated[bool, typer.Option("--signing", help="Its requests have to be signed.")] = False,
    asked: Asked,
) -> None:
    """Make a key. It is written to standard output, this once."""
    given = Given(
        model or (), route or (), endpoint or (), tag or (), requests_per_minute, tokens_per_minute, concurrent
    )
    said = {
        "name": name,
        "roles": role,
        "organisation": organisation,
        "team": team,
        "budget": {"limit_usd": budget_usd, "window": window} if budget_usd else None,
        "expires_at": expires,
        "signing": signing or None,
    }
    body = {**given.body(), **{field: value for field, value in said.items() if value is not None}}
    with asked.administered() as server:
        create(server, body, as_json=asked.as_json)


@keys_app.command("list")
@command
def keys_list(
    *,
    everything: Annotated[bool, typer.Option("--all", help="Also those that are revoked or have expired.")] = False,
    asked: Asked,
) -> None:
    """List the keys."""
    with asked.administered() as server:
        list_all(server, everything=everything, as_json=asked.as_json)


@keys_app.command("show")
@command
def keys_show(key: KeyId, asked: Asked) -> None:
    """Show what a key may, and when it was used last."""
    with asked.administered() as server:
        show(server, key, as_json=asked.as_json)


@keys_app.command("rotate")
@command
def keys_rotate(
    key: KeyId,
    *,
    overlap_s: Annotated[
        int,
        typer.Option(
            "--overlap-s", metavar="SECONDS", parser=whole_number, help="For so long the old key stays valid."
        ),
    ] = 0,
    asked: Asked,
) -> None:
    """Replace a key by a new one with the same id and rights. It is written to standard output, this once."""
    with asked.administered() as server:
        rotate(server, key, overlap_s, as_json=asked.as_json)


@keys_app.command("revoke")
@command
def keys_revoke(key: KeyId, asked: Asked) -> None:
    """Let a key get in no more."""
    with asked.administered() as server:
        revoke(server, key, as_json=asked.as_json)


@orgs_app.command("create")
@command
def orgs_create(
    name: PlaceName,
    *,
    place_id: PlaceId = None,
    model: Globs = None,
    route: RouteGlobs = None,
    tag: Tags = None,
    asked: Asked,
) -> None:
    """Make an organisation."""
    said = {"name": name, "id": place_id}
    create_place(asked, "organisations", said, Given(model or (), route or (), tags=tag or ()))


@teams_app.command("create")
@command
def teams_create(
    name: PlaceName,
    *,
    organisation: Annotated[str, typer.Option("--organisation", metavar="ID", help="Belongs to it.")],
    place_id: PlaceId = None,
    model: Globs = None,
    route: RouteGlobs = None,
    tag: Tags = None,
    asked: Asked,
) -> None:
    """Make a team."""
    said = {"name": name, "organisation": organisation, "id": place_id}
    create_place(asked, "teams", said, Given(model or (), route or (), tags=tag or ()))


def _list_and_remove(places: typer.Typer, kind: Place, one: str) -> None:
    """The commands that differ in nothing but what they are for."""

    @places.command("list", help=f"List the {kind}.")
    @command
    def listed(asked: Asked) -> None:
        with asked.administered() as server:
            list_places(server, kind, as_json=asked.as_json)

    @places.command("remove", help=f"Remove {one} whose keys are all revoked.")
    @command
    def remove(place: Annotated[str, typer.Argument(metavar="ID", help="Its id.")], asked: Asked) -> None:
        with asked.administered() as server:
            remove_place(server, kind, place, as_json=asked.as_json)


_list_and_remove(orgs_app, "organisations", "an organisation")
_list_and_remove(teams_app, "teams", "a team")


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
    made = table(server.ask("POST", KEYS, body).ok().json())
    if as_json:
        write_json(made)
        return
    write(str(made.get("key")))
    if secret := made.get("signing_secret"):
        write(str(secret))
    note(f"{made.get('id')} ({made.get('name')}); the key is shown this once and kept nowhere")
    _warn(made)


def list_all(server: Server, *, everything: bool, as_json: bool) -> None:
    """GET /api/v1/keys; without *everything*, those that get in."""
    path = KEYS if everything else f"{KEYS}?{urlencode({'status': 'active'})}"
    answer = table(server.get(path).ok().json())
    if as_json:
        write_json(answer)
        return
    rows = [table(row) for row in answer.get("data") or []]
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
                _budget(table(row.get("budget"))),
                row.get("ends_at"),
                row.get("last_used_at"),
            )
            for row in rows
        ],
    )


def show(server: Server, key_id: str, *, as_json: bool) -> None:
    """GET /api/v1/keys/{id}."""
    found = table(server.get(_path(key_id)).ok().json())
    if as_json:
        write_json(found)
        return
    write_table(("field", "value"), [(name, _shown(value)) for name, value in found.items()])


def rotate(server: Server, key_id: str, overlap_s: int, *, as_json: bool) -> None:
    """POST /api/v1/keys/{id}/rotate."""
    made = table(server.ask("POST", f"{_path(key_id)}/rotate", {"overlap_s": overlap_s}).ok().json())
    if as_json:
        write_json(made)
        return
    write(str(made.get("key")))
    if secret := made.get("signing_secret"):
        write(str(secret))
    note(f"{made.get('id')} ({made.get('name')}); the old key is valid until {made.get('old_key_until')}")


def revoke(server: Server, key_id: str, *, as_json: bool) -> None:
    """DELETE /api/v1/keys/{id}."""
    gone = table(server.ask("DELETE", _path(key_id)).ok().json())
    if as_json:
        write_json(gone)
        return
    write(f"{gone.get('id')} ({gone.get('name')}) is revoked")


def create_place(asked: Asked, kind: Place, said: Mapping[str, str | None], given: Given) -> None:
    """POST /api/v1/organisations or /api/v1/teams. None in *said*: nothing is said."""
    body = {**{name: value for name, value in said.items() if value}, **given.body()}
    with asked.administered() as server:
        made = table(server.ask("POST", f"/api/v1/{kind}", body).ok().json())
    if asked.as_json:
        write_json(made)
        return
    write(str(made.get("id")))
    _warn(made)


def list_places(server: Server, kind: Place, *, as_json: bool) -> None:
    """GET /api/v1/organisations or /api/v1/teams."""
    answer = table(server.get(f"/api/v1/{kind}").ok().json())
    if as_json:
        write_json(answer)
        return
    belongs = "teams" if kind == "organisations" else "organisation"
    rows = [table(row) for row in answer.get("data") or []]
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
    gone = table(server.ask("DELETE", f"/api/v1/{kind}/{quote(place_id, safe='')}").ok().json())
    write_json(gone) if as_json else write(f"{gone.get('id')} is removed")


def _warn(made: Mapping[str, Any]) -> None:
    """Say what matches nothing now."""
    for warning in made.get("warnings") or ():
        note(f"warning: {warning}")


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
