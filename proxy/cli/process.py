"""`modelport serve`, `live` and `version`: the program itself."""

from __future__ import annotations

import typer

from proxy.cli.terminal import write
from proxy.version import version as installed

app = typer.Typer()


@app.command(add_help_option=False, context_settings={"ignore_unknown_options": True, "allow_extra_args": True})
def serve(context: typer.Context) -> None:
    """Run the server. `modelport serve --help` lists its options."""
    from proxy.cli.serve import serve as run  # it brings the configuration

    raise typer.Exit(run(context.args))


@app.command(add_help_option=False, context_settings={"ignore_unknown_options": True, "allow_extra_args": True})
def live(context: typer.Context) -> None:
    """Say by the exit status whether the server lives, for health checks. `modelport live --help` lists its options."""
    from proxy.cli.live import live as ask  # `modelport live` comes without this module

    raise typer.Exit(ask(context.args))


@app.command()
def version() -> None:
    """Say the version."""
    say_version()


def say_version() -> None:
    """One line: name and version."""
    write(f"modelport {installed()}")
