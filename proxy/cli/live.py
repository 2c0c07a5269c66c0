"""`modelport live`: whether the server lives, for the health checks of containers. Only what that needs is imported."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from proxy.cli.client import Refused, server
from proxy.config.errors import ConfigError

MEANING: Final = "Say by the exit status whether the server lives, for health checks: 0 yes, 1 no."
OPTIONS: Final[tuple[tuple[str, dict[str, Any]], ...]] = (
    ("--url", {"metavar": "URL", "help": "Where the server is. Default: MODELPORT_URL, else the configuration."}),
    ("--config", {"type": Path, "metavar": "PATH", "help": "Configuration file (TOML, YAML or JSON)."}),
)
ANSWER_S: Final = 2.0
"""A loop that has not answered by then is stuck."""


def live(arguments: Sequence[str]) -> int:
    """Ask /health/live. Gives the exit status: 0 or, with a line on standard error, 1."""
    chosen = parser().parse_args(arguments)
    try:
        server(chosen.url, chosen.config, None).get("/health/live", timeout_s=ANSWER_S).ok()
    except (Refused, ConfigError) as error:
        sys.stderr.write(f"modelport: {error}\n")
        return 1
    return 0


def parser() -> argparse.ArgumentParser:
    """The options of `modelport live`."""
    options = argparse.ArgumentParser("modelport live", description=MEANING)
    for flag, how in OPTIONS:
        options.add_argument(flag, **how)
    return options
