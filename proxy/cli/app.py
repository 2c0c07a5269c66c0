"""The commands that ask a running server or look at the configuration: their options, and what they call."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Annotated, Literal, ParamSpec

import typer

from proxy.cli import ask as asking
from proxy.cli import catalog as cataloguing
from proxy.cli import config as configuration
from proxy.cli import reports
from proxy.cli.client import Refused, server
from proxy.cli.serve import serve as run_server
from proxy.cli.terminal import fail, write
from proxy.config import ConfigError
from proxy.version import version as installed

P = ParamSpec("P")

app = typer.Typer(
    name="modelport",
    help="One local port for every model.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
config_app = typer.Typer(help="Check, show or begin a configuration.", no_args_is_help=True)
cache_app = typer.Typer(help="Look at the cache of answers, or empty it.", no_args_is_help=True)
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


@app.command()
@guarded
def costs(
    *,
    since: Annotated[str, typer.Option(metavar="TIME", help="From: 30m, 24h, 7d or an ISO 8601 time.")] = "24h",
    until: Annotated[str | None, typer.Option(metavar="TIME", help="Up to. Default: now.")] = None,
    group_by: Annotated[
        str, typer.Option(metavar="NAMES", help="provider, model, route, key, tag, day, hour; with commas.")
    ] = "provider,model",
    format_: Annotated[Literal["table", "json", "csv"], typer.Option("--format", help="How it is written.")] = "table",
    as_json: Json = False,
    url: Url = None,
    config: Config = None,
    profile: Profile = None,
) -> None:
    """Sum up the ledger."""
    form = "json" if as_json else format_
    reports.costs(server(url, config, profile), since=since, until=until, group_by=group_by, form=form)


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
    reports.cache_stats(server(url, config, profile), as_json=as_json)


@cache_app.command("clear")
@guarded
def cache_clear(as_json: Json = False, url: Url = None, config: Config = None, profile: Profile = None) -> None:
    """Empty the cache."""
    reports.cache_clear(server(url, config, profile), as_json=as_json)


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


app.add_typer(config_app, name="config")
app.add_typer(cache_app, name="cache")
app.add_typer(catalog_app, name="catalog")
