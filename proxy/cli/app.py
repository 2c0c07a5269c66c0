"""The commands that ask a running server or look at the configuration: their options, and what they call."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Annotated, Literal, ParamSpec

import typer

from proxy.cli import ask as asking
from proxy.cli import audit as auditing
from proxy.cli import budgets as budgeting
from proxy.cli import cache as caching
from proxy.cli import catalog as cataloguing
from proxy.cli import config as configuration
from proxy.cli import credentials as storing
from proxy.cli import exchange as exchanging
from proxy.cli import keys as keyring
from proxy.cli import ledger as books
from proxy.cli import prices as pricing
from proxy.cli import reports
from proxy.cli import requestlog as logging_
from proxy.cli import route as routing
from proxy.cli.client import Refused, server
from proxy.cli.local import administered
from proxy.cli.serve import serve as run_server
from proxy.cli.terminal import fail, write
from proxy.config import ConfigError
from proxy.sealing import new_key
from proxy.version import version as installed

P = ParamSpec("P")

app = typer.Typer(
    name="modelport",
    help="One local port for every model.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
costs_app = typer.Typer(help="Sum up the ledger; price it again.")
prices_app = typer.Typer(help="What models cost.", no_args_is_help=True)
config_app = typer.Typer(help="Check, show or begin a configuration.", no_args_is_help=True)
cache_app = typer.Typer(help="Look at the cache of answers, empty it or fill it.", no_args_is_help=True)
catalog_app = typer.Typer(help="What is known of models: ask vendors, look, forget.", no_args_is_help=True)

Config = Annotated[Path | None, typer.Option("--config", metavar="PATH", help="Configuration file.")]
Profile = Annotated[str | None, typer.Option("--profile", metavar="NAME", help="Profile of the configuration.")]
Set = Annotated[list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Any configuration value.")]
Url = Annotated[
    str | None,
    typer.Option("--url", metavar="URL", help="Where the server is. Default: MODELPORT_URL, else the configuration."),
]
Json = Annotated[bool, typer.Option("--json", help="Write JSON.")]
Model = Annotated[str | None, typer.Option("--model", "-m", metavar="NAME", help="Route or model to ask.")]


def guarded(command: Callable[P, None]) -> Callable[P, None]:
    """Errors that a person can mend become one line and an exit status."""

    @wraps(command)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        try:
            command(*args, **kwargs)
        except Refused as error:
            fail(error)
        except ConfigError as error:
            fail(error, 2)

    return run


@app.callback(invoke_without_command=True)
def begin(show_version: Annotated[bool, typer.Option("--version", help="Say the version.")] = False) -> None:
    """One local port for every model."""
    if show_version:
        write(f"modelport {installed()}")
        raise typer.Exit


@app.command(add_help_option=False, context_settings={"ignore_unknown_options": True, "allow_extra_args": True})
def serve(context: typer.Context) -> None:
    """Run the server. `modelport serve --help` lists its options."""
    raise typer.Exit(run_server(context.args))


@app.command()
@guarded
def status(
    *,
    detailed: Annotated[bool, typer.Option("--detailed", help="Every provider with its numbers.")] = False,
    as_json: Json = False,
    url: Url = None,
    config: Config = None,
    profile: Profile = None,
) -> None:
    """Say whether the server and its providers are well. Exits with 1 when nothing can be used."""
    reports.status(server(url, config, profile), detailed=detailed, as_json=as_json)


@costs_app.callback(invoke_without_command=True)
@guarded
def costs(
    context: typer.Context,
    *,
    since: Annotated[str, typer.Option(metavar="TIME", help="From: 30m, 24h, 7d or an ISO 8601 time.")] = "24h",
    until: Annotated[str | None, typer.Option(metavar="TIME", help="Up to. Default: now.")] = None,
    group_by: Annotated[
        str,
        typer.Option(
            metavar="NAMES", help="provider, model, route, key, team, organisation, tag, day, hour; with commas."
        ),
    ] = "provider,model",
    unpriced: Annotated[bool, typer.Option("--unpriced", help="List the models without a known price.")] = False,
    format_: Annotated[Literal["table", "json", "csv"], typer.Option("--format", help="How it is written.")] = "table",
    as_json: Json = False,
    url: Url = None,
    config: Config = None,
    profile: Profile = None,
) -> None:
    """Sum up the ledger."""
    if context.invoked_subcommand:
        return
    if unpriced:
        pricing.unpriced(server(url, config, profile), since=since, until=until, as_json=as_json)
        return
    form = "json" if as_json else format_
    reports.costs(server(url, config, profile), since=since, until=until, group_by=group_by, form=form)


@costs_app.command("reprice")
@guarded
def costs_reprice(
    *,
    since: Annotated[str, typer.Option(metavar="TIME", help="From: 30m, 24h, 7d or an ISO 8601 time.")] = "7d",
    until: Annotated[str | None, typer.Option(metavar="TIME", help="Up to. Default: now.")] = None,
    model: Annotated[
        str | None, typer.Option("--model", "-m", metavar="NAME", help="provider/model or a model; globs are allowed.")
    ] = None,
    whole: Annotated[bool, typer.Option("--all", help="Known costs, too, not only unknown ones.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would change, and change nothing.")] = False,
    as_json: Json = False,
    url: Url = None,
    config: Config = None,
    profile: Profile = None,
) -> None:
    """Compute costs anew, at the prices of their time. The old ones are kept."""
    pricing.reprice(
        server(url, config, profile),
        since=since,
        until=until,
        model=model,
        whole=whole,
        dry_run=dry_run,
        as_json=as_json,
    )


@prices_app.command("show")
@guarded
def prices_show(
    model: Annotated[str, typer.Argument(help="provider/model, or a model's name.")],
    *,
    at: Annotated[str | None, typer.Option("--at", metavar="TIME", help="At that time. Default: now.")] = None,
    as_json: Json = False,
    url: Url = None,
    config: Config = None,
    profile: Profile = None,
) -> None:
    """Show every rate of a model, and of every other way of being served."""
    pricing.show(server(url, config, profile), model, at=at, as_json=as_json)


@app.command()
@guarded
def models(as_json: Json = False, url: Url = None, config: Config = None, profile: Profile = None) -> None:
    """List what may stand in `model`."""
    reports.models(server(url, config, profile), as_json=as_json)


@app.command()
@guarded
def ask(
    question: Annotated[str, typer.Argument(help="What to ask; - reads it from standard input.")],
    *,
    model: Model = None,
    no_stream: Annotated[bool, typer.Option("--no-stream", help="Wait for the whole answer.")] = False,
    as_json: Json = False,
    url: Url = None,
    config: Config = None,
    profile: Profile = None,
) -> None:
    """Ask one question through the running server."""
    asking.ask(server(url, config, profile), question, model, stream=not no_stream, as_json=as_json)


@app.command("test")
@guarded
def try_provider(
    provider: Annotated[str, typer.Argument(help="Name of a provider.")],
    *,
    model: Model = None,
    as_json: Json = False,
    url: Url = None,
    config: Config = None,
    profile: Profile = None,
) -> None:
    """Send a provider a tiny request through the running server, and say what it cost."""
    model = model or configuration.probe_model(provider, config, profile)
    asking.test(server(url, config, profile), provider, model, as_json=as_json)


@app.command()
def version() -> None:
    """Say the version."""
    write(f"modelport {installed()}")


@config_app.command("check")
@guarded
def config_check(set_: Set = None, as_json: Json = False, config: Config = None, profile: Profile = None) -> None:
    """Say whether the configuration can be used; every error at once, exit status 2."""
    configuration.check(config, profile, set_ or [], as_json=as_json)


@config_app.command("show")
@guarded
def config_show(set_: Set = None, as_json: Json = False, config: Config = None, profile: Profile = None) -> None:
    """Show every value and where it comes from; secrets are masked."""
    configuration.show(config, profile, set_ or [], as_json=as_json)


@config_app.command("init")
@guarded
def config_init(
    path: Annotated[Path, typer.Argument(help="The file to write.")] = Path("modelport.toml"),
) -> None:
    """Write a commented configuration to begin with. A file that is there is left alone."""
    configuration.init(path)


@cache_app.command("stats")
@guarded
def cache_stats(as_json: Json = False, url: Url = None, config: Config = None, profile: Profile = None) -> None:
    """Say how full and how useful the cache is."""
    caching.stats(server(url, config, profile), as_json=as_json)


@cache_app.command("clear")
@guarded
def cache_clear(as_json: Json = False, url: Url = None, config: Config = None, profile: Profile = None) -> None:
    """Empty the cache."""
    caching.clear(server(url, config, profile), {}, as_json=as_json)


@cache_app.command("purge")
@guarded
def cache_purge(
    *,
    tag: Annotated[str | None, typer.Option(metavar="NAME=VALUE", help="Answers with this tag.")] = None,
    route: Annotated[str | None, typer.Option(metavar="NAME", help="Answers of this route.")] = None,
    model: Annotated[
        str | None, typer.Option("--model", "-m", metavar="PROVIDER/MODEL", help="Answers of this model.")
    ] = None,
    key: Annotated[str | None, typer.Option(metavar="ID", help="Answers to this virtual key.")] = None,
    as_json: Json = False,
    url: Url = None,
    config: Config = None,
    profile: Profile = None,
) -> None:
    """Remove answers from the cache. Of several options all have to fit."""
    named = {"tag": tag, "route": route, "model": model, "key": key}
    if not any(value is not None for value in named.values()):
        raise Refused("say what to remove: --tag, --route, --model or --key; modelport cache clear removes everything")
    with administered(url, config, profile) as running:
        caching.clear(running, named, as_json=as_json)


@cache_app.command("warm")
@guarded
def cache_warm(
    file: Annotated[
        Path, typer.Argument(help='JSON lines, {"path": "/v1/...", "body": {...}}, or an export of the log.')
    ],
    *,
    concurrency: Annotated[int, typer.Option(min=1, max=64, help="Requests at the same time.")] = 4,
    model: Annotated[
        str | None, typer.Option("--model", "-m", metavar="NAME", help="Asked instead of the model of each request.")
    ] = None,
    as_json: Json = False,
    url: Url = None,
    config: Config = None,
    profile: Profile = None,
) -> None:
    """Ask what is in a file, so that the answers are there. They are kept for the key that is used (MODELPORT_KEY)."""
    caching.warm(server(url, config, profile), file, concurrency=concurrency, model=model, as_json=as_json)


@cache_app.command("semantic-report")
@guarded
def cache_semantic_report(
    file: Annotated[Path, typer.Argument(help='JSON lines: {"one": "...", "other": "...", "same": true}.')],
    *,
    model: Annotated[
        str | None,
        typer.Option("--model", "-m", metavar="NAME", help="Compare by this model's embeddings, of a running server."),
    ] = None,
    threshold: Annotated[
        float | None, typer.Option(min=0, max=1, help="From which likeness on. Default: as routes have it.")
    ] = None,
    as_json: Json = False,
    url: Url = None,
    config: Config = None,
    profile: Profile = None,
) -> None:
    """Say how often the semantic cache would be right on labelled pairs of questions."""
    asked = server(url, config, profile) if model else None
    caching.semantic_report(asked, file, model=model, threshold=threshold, as_json=as_json)


@catalog_app.command("refresh")
@guarded
def catalog_refresh(
    *,
    provider: Annotated[
        list[str] | None,
        typer.Option("--provider", metavar="NAME", help="Whom to ask. Repeatable. Default: every provider that is on."),
    ] = None,
    as_json: Json = False,
    url: Url = None,
    config: Config = None,
    profile: Profile = None,
) -> None:
    """Ask vendors for their lists of models. Exits with 1 when a list could not be had."""
    cataloguing.refresh(server(url, config, profile), provider or [], as_json=as_json)


@catalog_app.command("show")
@guarded
def catalog_show(
    model: Annotated[str | None, typer.Argument(help="A model, with or without its provider, or a route.")] = None,
    *,
    provider: Annotated[str | None, typer.Option("--provider", metavar="NAME", help="Of this provider alone.")] = None,
    as_json: Json = False,
    url: Url = None,
    config: Config = None,
    profile: Profile = None,
) -> None:
    """Show what is known of models; of one model, every rule and where it comes from."""
    cataloguing.show(server(url, config, profile), model, provider, as_json=as_json)


@catalog_app.command("forget")
@guarded
def catalog_forget(
    provider: Annotated[str, typer.Argument(help="Whose lessons.")],
    model: Annotated[str | None, typer.Argument(help="Of this model alone.")] = None,
    *,
    as_json: Json = False,
    url: Url = None,
    config: Config = None,
    profile: Profile = None,
) -> None:
    """Forget what a provider's refusals have taught. It is learned again when it is refused again."""
    cataloguing.forget(server(url, config, profile), provider, model, as_json=as_json)


# --- virtual keys, organisations, teams: they work without a running server, too

keys_app = typer.Typer(help="Make, list, rotate and revoke virtual keys.", no_args_is_help=True)
orgs_app = typer.Typer(help="Organisations that teams and keys belong to.", no_args_is_help=True)
teams_app = typer.Typer(help="Teams of organisations.", no_args_is_help=True)

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
Rpm = Annotated[int | None, typer.Option("--requests-per-minute", metavar="N", help="Requests a minute.")]
Tpm = Annotated[int | None, typer.Option("--tokens-per-minute", metavar="N", help="Tokens a minute.")]
Concurrent = Annotated[int | None, typer.Option("--concurrent", metavar="N", help="Requests at the same time.")]
KeyId = Annotated[str, typer.Argument(help="Id of the key (key_...).")]
PlaceId = Annotated[str | None, typer.Option("--id", metavar="ID", help="Default: made of the name.")]


@keys_app.command("create")
@guarded
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
    as_json: Json = False,
    url: Url = None,
    config: Config = None,
    profile: Profile = None,
) -> None:
    """Make a key. It is written to standard output, this once."""
    given = keyring.Given(
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
    with administered(url, config, profile) as found:
        keyring.create(found, body, as_json=as_json)


@keys_app.command("list")
@guarded
def keys_list(
    *,
    everything: Annotated[bool, typer.Option("--all", help="Also those that are revoked or have expired.")] = False,
    as_json: Json = False,
    url: Url = None,
    config: Config = None,
    profile: Profile = None,
) -> None:
    """List the keys."""
    with administered(url, config, profile) as found:
        keyring.list_all(found, everything=everything, as_json=as_json)


@keys_app.command("show")
@guarded
def keys_show(
    key: KeyId, as_json: Json = False, url: Url = None, config: Config = None, profile: Profile = None
) -> None:
    """Show what a key may, and when it was used last."""
    with administered(url, config, profile) as found:
        keyring.show(found, key, as_json=as_json)


@keys_app.command("rotate")
@guarded
def keys_rotate(
    key: KeyId,
    *,
    overlap_s: Annotated[
        int, typer.Option("--overlap-s", metavar="SECONDS", help="For so long the old key stays valid.")
    ] = 0,
    as_json: Json = False,
    url: Url = None,
    config: Config = None,
    profile: Profile = None,
) -> None:
    """Replace a key by a new one with the same id and rights. It is written to standard output, this once."""
    with administered(url, config, profile) as found:
        keyring.rotate(found, key, overlap_s, as_json=as_json)


@keys_app.command("revoke")
@guarded
def keys_revoke(
    key: KeyId, as_json: Json = False, url: Url = None, config: Config = None, profile: Profile = None
) -> None:
    """Let a key get in no more."""
    with administered(url, config, profile) as found:
        keyring.revoke(found, key, as_json=as_json)


@orgs_app.command("create")
@guarded
def orgs_create(
    name: Annotated[str, typer.Argument(help="For people.")],
    *,
    place_id: PlaceId = None,
    model: Globs = None,
    route: RouteGlobs = None,
    tag: Tags = None,
    as_json: Json = False,
    url: Url = None,
    config: Config = None,
    profile: Profile = None,
) -> None:
    """Make an organisation."""
    body = {
        "name": name,
        **({"id": place_id} if place_id else {}),
        **keyring.Given(model or (), route or (), tags=tag or ()).body(),
    }
    with administered(url, config, profile) as found:
        keyring.create_place(found, "organisations", body, as_json=as_json)


@orgs_app.command("list")
@guarded
def orgs_list(as_json: Json = False, url: Url = None, config: Config = None, profile: Profile = None) -> None:
    """List the organisations."""
    with administered(url, config, profile) as found:
        keyring.list_places(found, "organisations", as_json=as_json)


@orgs_app.command("remove")
@guarded
def orgs_remove(
    organisation: Annotated[str, typer.Argument(help="Its id.")],
    *,
    as_json: Json = False,
    url: Url = None,
    config: Config = None,
    profile: Profile = None,
) -> None:
    """Remove an organisation whose keys are all revoked."""
    with administered(url, config, profile) as found:
        keyring.remove_place(found, "organisations", organisation, as_json=as_json)


@teams_app.command("create")
@guarded
def teams_create(
    name: Annotated[str, typer.Argument(help="For people.")],
    *,
    organisation: Annotated[str, typer.Option("--organisation", metavar="ID", help="Belongs to it.")],
    place_id: PlaceId = None,
    model: Globs = None,
    route: RouteGlobs = None,
    tag: Tags = None,
    as_json: Json = False,
    url: Url = None,
    config: Config = None,
    profile: Profile = None,
) -> None:
    """Make a team."""
    body = {
        "name": name,
        "organisation": organisation,
        **({"id": place_id} if place_id else {}),
        **keyring.Given(model or (), route or (), tags=tag or ()).body(),
    }
    with administered(url, config, profile) as found:
        keyring.create_place(found, "teams", body, as_json=as_json)


@teams_app.command("list")
@guarded
def teams_list(as_json: Json = False, url: Url = None, config: Config = None, profile: Profile = None) -> None:
    """List the teams."""
    with administered(url, config, profile) as found:
        keyring.list_places(found, "teams", as_json=as_json)


@teams_app.command("remove")
@guarded
def teams_remove(
    team: Annotated[str, typer.Argument(help="Its id.")],
    *,
    as_json: Json = False,
    url: Url = None,
    config: Config = None,
    profile: Profile = None,
) -> None:
    """Remove a team whose keys are all revoked."""
    with administered(url, config, profile) as found:
        keyring.remove_place(found, "teams", team, as_json=as_json)


# --- the ledger: works without a running server, too

ledger_app = typer.Typer(help="Take the ledger out, remove what is old, check it.", no_args_is_help=True)

Since = Annotated[str | None, typer.Option("--since", metavar="TIME", help="From: 24h, 90d or an ISO 8601 time.")]
Until = Annotated[str | None, typer.Option("--until", metavar="TIME", help="Up to. Default: now.")]


@ledger_app.command("export")
@guarded
def ledger_export(
    *,
    since: Since = None,
    until: Until = None,
    format_: Annotated[Literal["jsonl", "csv"], typer.Option("--format", help="How it is written.")] = "jsonl",
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FILE", help="Default: standard output.")
    ] = None,
    url: Url = None,
    config: Config = None,
    profile: Profile = None,
) -> None:
    """Write every exchange with its attempts, oldest first."""
    with administered(url, config, profile) as found:
        books.export(found, since, until, format_, output)


@ledger_app.command("prune")
@guarded
def ledger_prune(
    *,
    before: Annotated[str, typer.Option("--before", metavar="TIME", help="Older ones go: 90d or an ISO 8601 time.")],
    keep_sums: Annotated[
        bool, typer.Option("--keep-sums/--drop-sums", help="Whether they stay in the sums of `modelport costs`.")
    ] = True,
    as_json: Json = False,
    url: Url = None,
    config: Config = None,
    profile: Profile = None,
) -> None:
    """Remove old exchanges, by whole days (UTC). What budgets have spent stays spent."""
    with administered(url, config, profile) as found:
        books.prune(found, before, keep_sums=keep_sums, as_json=as_json)


@ledger_app.command("verify")
@guarded
def ledger_verify(as_json: Json = False, url: Url = None, config: Config = None, profile: Profile = None) -> None:
    """Check the file, every sum, every cost, the budgets and the audit log. Exits with 1 when something differs."""
    with administered(url, config, profile) as found:
        books.verify(found, as_json=as_json)


exchange_app = typer.Typer(help="Single requests of the ledger.", no_args_is_help=True)


@exchange_app.command("show")
@guarded
def exchange_show(
    exchange: Annotated[str, typer.Argument(help="Its id, which the answer has as x-request-id (req_...).")],
    *,
    as_json: Json = False,
    url: Url = None,
    config: Config = None,
    profile: Profile = None,
) -> None:
    """Show a request with its attempts, votes and losses."""
    exchanging.show(server(url, config, profile), exchange, as_json=as_json)


app.add_typer(exchange_app, name="exchange")
app.add_typer(ledger_app, name="ledger")
app.add_typer(keys_app, name="keys")
app.add_typer(orgs_app, name="orgs")
app.add_typer(teams_app, name="teams")
# --- the request log: without a running server, too

logs_app = typer.Typer(help="What was asked and answered, where that is kept.", no_args_is_help=True)

LogKey = Annotated[str | None, typer.Option("--key", metavar="ID", help="Of this virtual key.")]
LogModel = Annotated[str | None, typer.Option("--model", "-m", metavar="NAME", help="Answered by it.")]
LogRoute = Annotated[str | None, typer.Option("--route", metavar="NAME", help="Asked of this route.")]
LogStatus = Annotated[
    Literal["ok", "failed", "aborted", "interrupted"] | None, typer.Option("--status", help="Ended like that.")
]
LogLimit = Annotated[int, typer.Option("--limit", min=1, max=1000, help="How many.")]


@logs_app.command("tail")
@guarded
def logs_tail(
    *,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on with what comes, until Ctrl-C.")] = False,
    key: LogKey = None,
    model: LogModel = None,
    route: LogRoute = None,
    status: LogStatus = None,
    limit: LogLimit = 10,
    as_json: Json = False,
    url: Url = None,
    config: Config = None,
    profile: Profile = None,
) -> None:
    """Show the newest entries, the last one below."""
    query = {"key": key, "model": model, "route": route, "status": status, "limit": str(limit)}
    if follow:
        logging_.follow(server(url, config, profile), query, as_json=as_json)
        return
    with administered(url, config, profile) as found:
        logging_.show_list(found, query, as_json=as_json)


@logs_app.command("search")
@guarded
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
    as_json: Json = False,
    url: Url = None,
    config: Config = None,
    profile: Profile = None,
) -> None:
    """Find entries by what was said."""
    query = {"text": text, "key": key, "model": model, "route": route, "status": status, "since": since}
    query |= {"until": until, "limit": str(limit), "cursor": cursor}
    with administered(url, config, profile) as found:
        logging_.show_list(found, query, as_json=as_json)


@logs_app.command("show")
@guarded
def logs_show(
    id_: Annotated[str, typer.Argument(metavar="ID", help="The `x-request-id` of the answer.")],
    *,
    as_json: Json = False,
    url: Url = None,
    config: Config = None,
    profile: Profile = None,
) -> None:
    """Show what was asked and what was answered."""
    with administered(url, config, profile) as found:
        logging_.show(found, id_, as_json=as_json)


@logs_app.command("export")
@guarded
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
    url: Url = None,
    config: Config = None,
    profile: Profile = None,
) -> None:
    """Write entries with their bodies, one JSON object a line."""
    query = {"since": since, "until": until, "key": key, "model": model, "route": route, "status": status, "text": text}
    with administered(url, config, profile) as found:
        logging_.export(found, query, output)


@logs_app.command("remove")
@guarded
def logs_remove(
    *,
    before: Annotated[
        str | None, typer.Option("--before", metavar="TIME", help="What is older: 30d, a time; now: everything.")
    ] = None,
    key: LogKey = None,
    as_json: Json = False,
    url: Url = None,
    config: Config = None,
    profile: Profile = None,
) -> None:
    """Forget entries by age, by key, or both together."""
    with administered(url, config, profile) as found:
        logging_.remove(found, {"before": before, "key": key}, as_json=as_json)


# --- stored keys of providers, what encrypts them, and the audit log: without a running server, too

providers_app = typer.Typer(help="Keys of providers, stored encrypted: add, rotate, check.", no_args_is_help=True)
secrets_app = typer.Typer(help="The key that encrypts what is stored.", no_args_is_help=True)
audit_app = typer.Typer(help="Who changed what.", no_args_is_help=True)

Stored = Annotated[str, typer.Argument(help="Name of the stored key.")]
KeyStdin = Annotated[bool, typer.Option("--key-stdin", help="Read the key from standard input.")]
KeyEnv = Annotated[str | None, typer.Option("--key-env", metavar="VAR", help="Take the key from this variable.")]


@providers_app.command("add")
@guarded
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
    as_json: Json = False,
    url: Url = None,
    config: Config = None,
    profile: Profile = None,
) -> None:
    """Store a provider's key, encrypted. It is used from the next request on."""
    key = storing.key_given(from_stdin=key_stdin, variable=key_env)
    said = {
        "provider": provider,
        "name": name,
        "key": key,
        "weight": weight,
        "base_url": base_url,
        "dialect": dialect,
    }
    with administered(url, config, profile) as found:
        storing.add(found, said, check_too=check, as_json=as_json)


@providers_app.command("list")
@guarded
def providers_list(as_json: Json = False, url: Url = None, config: Config = None, profile: Profile = None) -> None:
    """List the stored keys, without the keys."""
    with administered(url, config, profile) as found:
        storing.list_all(found, as_json=as_json)


@providers_app.command("rotate")
@guarded
def providers_rotate(
    name: Stored,
    *,
    key_stdin: KeyStdin = False,
    key_env: KeyEnv = None,
    as_json: Json = False,
    url: Url = None,
    config: Config = None,
    profile: Profile = None,
) -> None:
    """Put another key in the place of a stored one."""
    key = storing.key_given(from_stdin=key_stdin, variable=key_env)
    with administered(url, config, profile) as found:
        storing.rotate(found, name, key, as_json=as_json)


@providers_app.command("weight")
@guarded
def providers_weight(
    name: Stored,
    weight: Annotated[int, typer.Argument(help="Share of the load.")],
    *,
    as_json: Json = False,
    url: Url = None,
    config: Config = None,
    profile: Profile = None,
) -> None:
    """Give a stored key another share of the load."""
    with administered(url, config, profile) as found:
        storing.change(found, name, {"weight": weight}, as_json=as_json)


@providers_app.command("disable")
@guarded
def providers_disable(
    name: Stored, as_json: Json = False, url: Url = None, config: Config = None, profile: Profile = None
) -> None:
    """Use a stored key no more, and keep it."""
    with administered(url, config, profile) as found:
        storing.change(found, name, {"enabled": False}, as_json=as_json)


@providers_app.command("enable")
@guarded
def providers_enable(
    name: Stored, as_json: Json = False, url: Url = None, config: Config = None, profile: Profile = None
) -> None:
    """Use a stored key again."""
    with administered(url, config, profile) as found:
        storing.change(found, name, {"enabled": True}, as_json=as_json)


@providers_app.command("remove")
@guarded
def providers_remove(
    name: Stored, as_json: Json = False, url: Url = None, config: Config = None, profile: Profile = None
) -> None:
    """Forget a stored key."""
    with administered(url, config, profile) as found:
        storing.remove(found, name, as_json=as_json)


@providers_app.command("check")
@guarded
def providers_check(
    name: Stored, as_json: Json = False, url: Url = None, config: Config = None, profile: Profile = None
) -> None:
    """Ask the vendor whether it takes a stored key, without spending. Exits with 1 unless it does."""
    with administered(url, config, profile) as found:
        storing.check(found, name, as_json=as_json)


@secrets_app.command("generate")
def secrets_generate() -> None:
    """Write a new key, for [secrets] key or MODELPORT_SECRET_KEY. It is kept nowhere."""
    write(new_key())


@secrets_app.command("rotate")
@guarded
def secrets_rotate(as_json: Json = False, url: Url = None, config: Config = None, profile: Profile = None) -> None:
    """Encrypt everything that is stored anew, with the key that is configured now. All of it, or nothing."""
    with administered(url, config, profile) as found:
        storing.rotate_secrets(found, as_json=as_json)


@secrets_app.command("show")
@guarded
def secrets_show(as_json: Json = False, url: Url = None, config: Config = None, profile: Profile = None) -> None:
    """Show with which keys, by their ids, how much is encrypted."""
    with administered(url, config, profile) as found:
        storing.show_secrets(found, as_json=as_json)


@audit_app.command("show")
@guarded
def audit_show(
    *,
    since: Annotated[
        str | None, typer.Option(metavar="TIME", help="From: 30m, 24h, 7d or an ISO 8601 time. Default: the beginning.")
    ] = None,
    until: Annotated[str | None, typer.Option(metavar="TIME", help="Up to. Default: now.")] = None,
    subject: Annotated[str | None, typer.Option(metavar="NAME", help="What was changed.")] = None,
    actor: Annotated[str | None, typer.Option(metavar="ID", help="Who changed it.")] = None,
    action: Annotated[
        str | None, typer.Option(metavar="NAME", help="What was done: credential, or credential.rotated.")
    ] = None,
    limit: Annotated[int, typer.Option(metavar="N", help="The newest so many.")] = 100,
    as_json: Json = False,
    url: Url = None,
    config: Config = None,
    profile: Profile = None,
) -> None:
    """Show who changed what, the newest last."""
    query = {"since": since, "until": until, "subject": subject, "actor": actor, "action": action, "limit": str(limit)}
    with administered(url, config, profile) as found:
        auditing.show(found, query, as_json=as_json)


@audit_app.command("verify")
@guarded
def audit_verify(
    *,
    head: Annotated[
        str | None, typer.Option("--head", metavar="HASH", help="A head that was noted earlier: it has to be there.")
    ] = None,
    as_json: Json = False,
    url: Url = None,
    config: Config = None,
    profile: Profile = None,
) -> None:
    """Say whether the log is as it was written, and what its head is. Exits with 1 when it is not."""
    with administered(url, config, profile) as found:
        auditing.verify(found, head, as_json=as_json)


# --- budgets

budgets_app = typer.Typer(help="What may be spent, and how it stands.", no_args_is_help=True)

BudgetName = Annotated[str, typer.Argument(help="Its name, or its id.")]


@budgets_app.command("list")
@guarded
def budgets_list(as_json: Json = False, url: Url = None, config: Config = None, profile: Profile = None) -> None:
    """List the budgets and how they stand."""
    with administered(url, config, profile) as found:
        budgeting.list_all(found, as_json=as_json)


@budgets_app.command("show")
@guarded
def budgets_show(
    name: BudgetName, as_json: Json = False, url: Url = None, config: Config = None, profile: Profile = None
) -> None:
    """Show one budget, and its newest alerts."""
    with administered(url, config, profile) as found:
        budgeting.show(found, name, as_json=as_json)


@budgets_app.command("set")
@guarded
def budgets_set(
    name: Annotated[str, typer.Argument(help="Its name.")],
    *,
    limit_usd: Annotated[str | None, typer.Option("--limit-usd", metavar="USD", help="What may be spent.")] = None,
    window: Annotated[
        Literal["hour", "day", "month", "total"] | None, typer.Option("--window", help="In which time. Default: month.")
    ] = None,
    rolling: Annotated[
        bool | None, typer.Option("--rolling/--calendar", help="The last hour, 24 hours, 30 days. Default: calendar.")
    ] = None,
    hard: Annotated[
        bool | None, typer.Option("--hard/--soft", help="Refuse, or only give alerts. Default: hard.")
    ] = None,
    organisation: Annotated[str | None, typer.Option("--organisation", metavar="ID", help="About it.")] = None,
    team: Annotated[str | None, typer.Option("--team", metavar="ID", help="About it.")] = None,
    key: Annotated[str | None, typer.Option("--key", metavar="ID", help="About this virtual key.")] = None,
    tag: Annotated[str | None, typer.Option("--tag", metavar="NAME=VALUE", help="About requests with it.")] = None,
    provider: Annotated[str | None, typer.Option("--provider", metavar="NAME", help="About it.")] = None,
    route: Annotated[str | None, typer.Option("--route", metavar="NAME", help="About it.")] = None,
    unpriced: Annotated[
        Literal["refuse", "allow"] | None, typer.Option("--unpriced", help="Models without a price. Default: refuse.")
    ] = None,
    alert: Annotated[
        list[int] | None, typer.Option("--alert", metavar="PERCENT", help="Repeatable. Default: 80 and 100.")
    ] = None,
    assumed_output_tokens: Annotated[
        int | None,
        typer.Option("--assumed-output-tokens", metavar="N", help="Reserved for an unbounded answer. Default: 4096."),
    ] = None,
    as_json: Json = False,
    url: Url = None,
    config: Config = None,
    profile: Profile = None,
) -> None:
    """Make a budget, or change the one of that name; what is not said stays."""
    said = {
        "limit_usd": limit_usd,
        "window": window,
        "rolling": rolling,
        "hard": hard,
        "organisation": organisation,
        "team": team,
        "key": key,
        "tag": tag,
        "provider": provider,
        "route": route,
        "unpriced": unpriced,
        "alerts": alert or None,
        "assumed_output_tokens": assumed_output_tokens,
    }
    body = {field: value for field, value in said.items() if value is not None}
    with administered(url, config, profile) as found:
        budgeting.put(found, name, body, as_json=as_json)


@budgets_app.command("remove")
@guarded
def budgets_remove(
    name: BudgetName, as_json: Json = False, url: Url = None, config: Config = None, profile: Profile = None
) -> None:
    """Remove a budget and what it has counted. The ledger stays as it is."""
    with administered(url, config, profile) as found:
        budgeting.remove(found, name, as_json=as_json)


app.add_typer(budgets_app, name="budgets")
app.add_typer(costs_app, name="costs")
app.add_typer(prices_app, name="prices")
# --- routes

route_app = typer.Typer(help="Routes: their policies, and why a request goes where it goes.", no_args_is_help=True)

RouteName = Annotated[str, typer.Argument(metavar="ROUTE", help="Name of a configured route.")]


@route_app.command("list")
@guarded
def route_list(as_json: Json = False, url: Url = None, config: Config = None, profile: Profile = None) -> None:
    """List the routes with the policy in force and the order that it gives."""
    routing.list_all(server(url, config, profile), as_json=as_json)


@route_app.command("show")
@guarded
def route_show(
    name: RouteName, as_json: Json = False, url: Url = None, config: Config = None, profile: Profile = None
) -> None:
    """Show one route."""
    routing.show(server(url, config, profile), name, as_json=as_json)


@route_app.command("set")
@guarded
def route_set(
    name: RouteName,
    policy: Annotated[str, typer.Argument(metavar="POLICY", help="failover, cost, latency, balanced, ...")],
    *,
    as_json: Json = False,
    url: Url = None,
    config: Config = None,
    profile: Profile = None,
) -> None:
    """Give a route another policy. It stands over the configuration, also after a restart, until it is reset."""
    with administered(url, config, profile) as found:
        routing.choose(found, name, policy, as_json=as_json)


@route_app.command("reset")
@guarded
def route_reset(
    name: RouteName, as_json: Json = False, url: Url = None, config: Config = None, profile: Profile = None
) -> None:
    """Let the configuration's policy be in force again."""
    with administered(url, config, profile) as found:
        routing.reset(found, name, as_json=as_json)


@route_app.command("explain")
@guarded
def route_explain(
    request: Annotated[
        str | None, typer.Argument(metavar="REQUEST", help="A request as JSON, in a file; - reads standard input.")
    ] = None,
    *,
    model: Annotated[
        str | None, typer.Option("--model", "-m", metavar="NAME", help="Route or model. Default: the request's.")
    ] = None,
    text: Annotated[str | None, typer.Option("--text", help="A question, in the place of a request.")] = None,
    dialect: Annotated[
        str, typer.Option("--dialect", metavar="NAME", help="Of the request: openai_chat, openai_responses, anthropic.")
    ] = "openai_chat",
    as_json: Json = False,
    url: Url = None,
    config: Config = None,
    profile: Profile = None,
) -> None:
    """Say which targets would be asked, in which order, and why. Nobody is asked."""
    found = server(url, config, profile)
    routing.explain(found, request, model=model, text=text, dialect=dialect, as_json=as_json)


# --- the learned router

router_app = typer.Typer(help="Models for the policy auto: train, look, measure.", no_args_is_help=True)

Samples = Annotated[
    list[str], typer.Argument(metavar="DATA", help="Labelled outcomes, JSON Lines, also gzip; - is standard input.")
]


@router_app.command("train")
@guarded
def router_train(
    data: Samples,
    *,
    out: Annotated[Path, typer.Option("--out", metavar="FILE", help="Where the model goes.")] = Path("router.model"),
    as_json: Json = False,
) -> None:
    """Train a model from labelled outcomes; a route uses it by `auto = { model = "router.model" }`."""
    from proxy.cli import router  # training brings what no other command needs

    router.train(data, out, as_json=as_json)


@router_app.command("show")
@guarded
def router_show(
    model: Annotated[Path, typer.Argument(metavar="FILE", help="A model.")] = Path("router.model"),
    *,
    as_json: Json = False,
) -> None:
    """Say which targets a model knows, and what it was trained from."""
    from proxy.cli import router  # as above

    router.show(model, as_json=as_json)


@router_app.command("eval")
@guarded
def router_eval(
    data: Samples,
    *,
    folds: Annotated[int, typer.Option("--folds", min=2, max=20, help="Parts, each held out once.")] = 5,
    target: Annotated[
        list[str] | None, typer.Option("--target", metavar="NAME", help="Choose among these. Repeatable.")
    ] = None,
    weak: Annotated[str | None, typer.Option("--weak", metavar="NAME", help="The cheap target of the pair.")] = None,
    strong: Annotated[str | None, typer.Option("--strong", metavar="NAME", help="The dear one.")] = None,
    as_json: Json = False,
) -> None:
    """Measure what a model trained on this data would reach on requests that it has not seen."""
    from proxy.cli import router  # as above

    router.evaluate(data, count=folds, targets=target or (), weak=weak, strong=strong, as_json=as_json)


app.add_typer(router_app, name="router")
app.add_typer(route_app, name="route")
app.add_typer(config_app, name="config")
app.add_typer(cache_app, name="cache")
app.add_typer(catalog_app, name="catalog")
app.add_typer(providers_app, name="providers")
app.add_typer(secrets_app, name="secrets")
app.add_typer(audit_app, name="audit")
app.add_typer(logs_app, name="logs")
