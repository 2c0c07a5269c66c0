"""`modelport serve`: configuration, then the server. Only what both need is imported."""

from __future__ import annotations

import argparse
import gc
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final

from proxy.config import ConfigError, Loaded, Override, load
from proxy.config.loading import MEMORY
from proxy.config.sources import setting
from proxy.late_methods import late_methods
from proxy.late_tls import no_authorities
from storage.errors import Locked
from storage.holding import check_free

OPTIONS: Final[tuple[tuple[str, dict[str, Any]], ...]] = (
    ("--config", {"type": Path, "metavar": "PATH", "help": "Configuration file (TOML, YAML or JSON)."}),
    ("--profile", {"metavar": "NAME", "help": "Profile of the configuration to merge in."}),
    ("--host", {"metavar": "ADDRESS", "help": "Address to listen on. Default 127.0.0.1."}),
    ("--port", {"metavar": "NUMBER", "help": "Port to listen on. Default 4100; 0 takes a free one."}),
    ("--log-level", {"metavar": "LEVEL", "help": "debug, info, warning or error."}),
    (
        "--set",
        {"action": "append", "default": [], "metavar": "KEY=VALUE", "help": "Any configuration value. Repeatable."},
    ),
    (
        "--i-know-what-i-am-doing",
        {"action": "store_true", "help": "Listen beyond loopback although no key is required to get in."},
    ),
)
SHORTCUTS: Final = {"host": ("server", "host"), "port": ("server", "port"), "log_level": ("logging", "level")}


def serve(arguments: Sequence[str]) -> int:
    """Run the server until it is told to stop. Gives the exit status."""
    try:
        read = reader(parser().parse_args(arguments))
        loaded = read()
    except ConfigError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    if not _is_free(loaded):
        return 1
    with no_authorities(), late_methods():
        from proxy.app import serve as run

    gc.freeze()  # what was imported stays: no collection need look at it again
    gc.enable()
    return run(loaded, read)


def _is_free(loaded: Loaded) -> bool:
    """Whether nobody else has the database: that is said before all that takes time."""
    path = loaded.settings.storage.path
    try:
        if path != MEMORY:
            check_free(path)
    except Locked as error:
        sys.stderr.write(f"modelport: {error}\n")
        return False
    return True


def reader(chosen: argparse.Namespace) -> Callable[[], Loaded]:
    """What loads the configuration with the command line over it, again and again. Raises ConfigError."""
    overrides = [
        Override.option(key, text, f"--{name.replace('_', '-')}")
        for name, key in SHORTCUTS.items()
        if (text := getattr(chosen, name)) is not None
    ]
    overrides += [setting(text) for text in chosen.set]
    return partial(
        load,
        chosen.config,
        profile=chosen.profile,
        overrides=overrides,
        open_port=chosen.i_know_what_i_am_doing,
        folder=Path.cwd(),
    )


def parser() -> argparse.ArgumentParser:
    """The options of `serve`."""
    made = argparse.ArgumentParser(prog="modelport serve", description="Serve on one local port.", allow_abbrev=False)
    for flag, how in OPTIONS:
        made.add_argument(flag, **how)
    return made
