"""Vendors that say what a test tells them to, and the configuration that puts them behind one modelport.

A test takes a backend of the dialect it wants and says what that backend answers:

    model = backends.says("anthropic", cassette("anthropic/text"))     # "an3/claude-sonnet-4-5--17"
    client.chat.completions.create(model=model, ...)
    backends.upstream.asked(bare(model))[0].json                      # what reached the vendor
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field

from tests.replay import Answer, Script, Upstream, free_port

DIALECTS = ("openai_chat", "anthropic", "gemini")
UPSTREAM_KEY = "sk-upstream-0123456789abcdef"
ROWS = {"openai_chat": 80, "anthropic": 25, "gemini": 25}
"""Provider rows. A test that makes a key cool down or a breaker open takes a row that no other test uses."""

STEMS = {"openai_chat": "gpt-4.1", "anthropic": "claude-sonnet-4-5", "gemini": "gemini-2.5-flash"}
_PREFIX = {"openai_chat": "oa", "anthropic": "an", "gemini": "ge"}
_PATH = {"openai_chat": "/v1", "anthropic": "", "gemini": ""}

COMMON = """
[server]
max_body_mb = 1

[providers.dead]
dialect = "openai_chat"
base_url = "http://127.0.0.1:{dead}/v1"
keys = ["env:UPSTREAM_KEY"]

[providers.keyless]
dialect = "openai_chat"
base_url = "{upstream}/v1"
models = ["corner-model", "corner-other"]
price = {{ input = "1", output = "2" }}

[routes.careful]
policy = "failover"
targets = ["dead/none", "keyless/corner-model"]
"""


def row(name: str, dialect: str, upstream: Upstream, more: str = "") -> str:
    """A provider at the upstream. *more* is further TOML of the row."""
    # The upstream stands for the vendor, not for a server of one's own.
    fetches = "" if "quirks" in more else "quirks = { image_urls = true, file_urls = true }\n"
    return (
        f'[providers.{name}]\ndialect = "{dialect}"\nbase_url = "{upstream.url}{_PATH[dialect]}"\n'
        f'keys = ["env:UPSTREAM_KEY"]\ntimeouts = {{ connect_s = 2, first_event_s = 20, idle_s = 20, total_s = 60 }}\n'
        f"{fetches}{more}\n"
    )


def bare(model: str) -> str:
    """The model without its provider: the name that the upstream sees."""
    return model.split("/", 1)[1]


@dataclass(slots=True)
class Backends:
    """Vendors that say what a test tells them to."""

    upstream: Upstream
    _numbers: Iterator[int] = field(default_factory=lambda: itertools.count(1))
    _rows: dict[str, Iterator[int]] = field(
        default_factory=lambda: {name: iter(range(1, count + 1)) for name, count in ROWS.items()}
    )

    def says(self, dialect: str, *answers: Answer | Script, stem: str | None = None, own_row: bool = False) -> str:
        """A model that nobody else asks, at a vendor of *dialect*, as `provider/model`."""
        number = next(self._rows[dialect]) if own_row else 0
        model = f"{stem or STEMS[dialect]}--{next(self._numbers)}"
        self.upstream.script(model, *answers)
        return f"{_PREFIX[dialect]}{number}/{model}"

    def asked(self, model: str) -> list[dict[str, object]]:
        """The bodies that reached the vendor for *model*."""
        return [asked.json for asked in self.upstream.asked(bare(model))]


def whole_config(upstream: Upstream) -> str:
    """The configuration of the shared server."""
    rows = [
        row(f"{_PREFIX[dialect]}{number}", dialect, upstream)
        for dialect in DIALECTS
        for number in range(ROWS[dialect] + 1)
    ]
    return COMMON.format(dead=free_port(), upstream=upstream.url) + "\n".join(rows)
