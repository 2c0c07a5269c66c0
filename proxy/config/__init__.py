"""Configuration: what may be said, where it is found, and where each value came from.

model    the sections as pydantic models; their descriptions are the reference in docs/configuration.md
loading  merged layers validated, secrets and paths resolved
address  where the server is, for commands that ask it and need nothing else
layers   defaults < file < profile < environment < command line, merged and not validated
sources  one layer each: files in three formats, environment variables, command-line settings
checks   rules that span several keys
explain  pydantic's errors in our own words, with file, key, value and expectation
secrets  references to keys, and the masked type that holds them

The names below are looked up when somebody asks for them: building the models takes longer than everything else that
a command like `modelport status` does, and it needs none of them.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from proxy.config.errors import ConfigError, Problem
    from proxy.config.loading import Loaded, changed_since, load
    from proxy.config.model import Settings
    from proxy.config.secrets import Secret
    from proxy.config.sources import Origin, Override

__all__ = ["ConfigError", "Loaded", "Origin", "Override", "Problem", "Secret", "Settings", "changed_since", "load"]

_HOMES: Final = {
    "ConfigError": "errors",
    "Loaded": "loading",
    "Origin": "sources",
    "Override": "sources",
    "Problem": "errors",
    "Secret": "secrets",
    "Settings": "model",
    "changed_since": "loading",
    "load": "loading",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
