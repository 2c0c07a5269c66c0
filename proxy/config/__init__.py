"""Configuration: what may be said, where it is found, and where each value came from.

model    the sections as pydantic models; their descriptions are the reference in docs/configuration.md
load     layers (defaults < file < profile < environment < command line) merged, validated, resolved
sources  one layer each: files in three formats, environment variables, command-line settings
checks   rules that span several keys
explain  pydantic's errors in our own words, with file, key, value and expectation
secrets  references to keys, and the masked type that holds them
"""

from proxy.config.errors import ConfigError, Problem
from proxy.config.load import Loaded, changed_since, load
from proxy.config.model import Settings
from proxy.config.secrets import Secret
from proxy.config.sources import Origin, Override

__all__ = ["ConfigError", "Loaded", "Origin", "Override", "Problem", "Secret", "Settings", "changed_since", "load"]
