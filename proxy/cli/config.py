"""`modelport config`: check, show, init."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from proxy.cli.client import Refused
from proxy.cli.options import File, Json, command
from proxy.cli.terminal import note, write, write_json, write_table
from proxy.config.errors import nearest
from proxy.config.sources import setting

if TYPE_CHECKING:
    from proxy.config import Loaded

STARTER: Final = Path(__file__).parent.parent / "config" / "starter.toml"

app = typer.Typer()
config_app = typer.Typer(help="Check, show or begin a configuration.", no_args_is_help=True)
app.add_typer(config_app, name="config")

Set = Annotated[list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Any configuration value.")]


@config_app.command("check")
@command
def config_check(
    *,
    set_: Set = None,
    as_json: Json = False,
    file: File,
) -> None:
    """Say whether the configuration can be used; every error at once, exit status 2."""
    check(file, set_ or [], as_json=as_json)


@config_app.command("show")
@command
def config_show(
    *,
    set_: Set = None,
    as_json: Json = False,
    file: File,
) -> None:
    """Show every value and where it comes from; secrets are masked."""
    show(file, set_ or [], as_json=as_json)


@config_app.command("init")
@command
def config_init(
    path: Annotated[Path, typer.Argument(help="The file to write.")] = Path("modelport.toml"),
) -> None:
    """Write a commented configuration to begin with. A file that is there is left alone."""
    init(path)


def check(file: File, settings: Sequence[str], *, as_json: bool) -> None:
    """Raises ConfigError with everything that is wrong."""
    from proxy.providers import providers  # the models and the translators come with it; `--help` does without

    loaded = _load(file, settings)

    specs = providers(loaded.settings, os.environ)
    on = [spec.name for spec in specs.values() if spec.enabled]
    if as_json:
        rows = [
            {"name": spec.name, "enabled": spec.enabled, "why_off": spec.why_off or None} for spec in specs.values()
        ]
        path = str(loaded.path) if loaded.path else None
        write_json(
            {"path": path, "warnings": loaded.warnings, "providers": rows, "routes": list(loaded.settings.routes)}
        )
        return
    _warn(loaded)
    write(f"ok  {loaded.path or 'no file: defaults and environment'}")
    write(f"providers on: {', '.join(on) or 'none'}")
    for spec in specs.values():
        if spec.configured and spec.why_off:
            write(f"{spec.name} is off: {spec.why_off}")
    if loaded.settings.routes:
        write(f"routes: {', '.join(loaded.settings.routes)}")


def show(file: File, settings: Sequence[str], *, as_json: bool) -> None:
    """Every value with its origin."""
    from proxy.config.show import shown_values  # as above

    loaded = _load(file, settings)
    values = shown_values(loaded)
    if as_json:
        lines = [{"key": each.key, "value": each.value, "origin": str(each.origin)} for each in values]
        write_json({"path": str(loaded.path) if loaded.path else None, "values": lines, "warnings": loaded.warnings})
        return
    _warn(loaded)
    write_table(
        ("key", "value", "from"),
        [(each.key, json.dumps(each.value, ensure_ascii=False), str(each.origin)) for each in values],
    )


def init(path: Path) -> None:
    """Write the starter. Raises Refused when there is a file already or none can be made."""
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(STARTER.read_text(encoding="utf-8"))
    except FileExistsError as error:
        raise Refused(f"{path} is there already and stays as it is") from error
    except OSError as error:
        raise Refused(f"{path} cannot be written: {error.strerror}") from error
    write(f"{path} written; check it with: modelport config check")


def probe_model(provider: str, file: File) -> str | None:
    """The model that a connectivity test asks, as far as the configuration knows. Raises Refused, ConfigError."""
    from proxy.providers import providers  # as above

    specs = providers(_load(file, ()).settings, os.environ)
    if provider not in specs:
        raise Refused(f"{provider!r} is no provider{nearest(provider, list(specs))}")
    return specs[provider].probe_model


def _load(file: File, settings: Sequence[str]) -> Loaded:
    from proxy.config import load  # as above

    # Whether the port is open to others is the server's command line to say.
    return load(file.config, profile=file.profile, overrides=[setting(text) for text in settings], open_port=True)


def _warn(loaded: Loaded) -> None:
    for warning in loaded.warnings:
        note(f"warning: {warning}")
