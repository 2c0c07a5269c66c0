"""One modelport for the official SDKs, with a scripted model behind it in every backend dialect.

The model is the matrix's: what it is asked decides what it says.

    provider/MODEL    the question of a scenario is answered as that scenario says (matrix/scenarios.py)
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.contract.backends import UPSTREAM_KEY
from tests.contract.sdks.vendor import answers_by_question
from tests.replay import Upstream
from tests.running import Modelport

DIALECTS = ("openai_chat", "openai_responses", "anthropic", "gemini")
STEMS = {
    "openai_chat": "gpt-4.1",
    "openai_responses": "gpt-5.5",
    "anthropic": "claude-sonnet-4-5",
    "gemini": "gemini-2.5-flash",
}
PATHS = {"openai_chat": "/v1", "openai_responses": "/v1", "anthropic": "", "gemini": ""}


@dataclass(frozen=True, slots=True)
class Port:
    """The running server."""

    url: str
    server: Modelport
    upstream: Upstream

    def model(self, dialect: str) -> str:
        """A model behind a backend of *dialect*, as `provider/model`."""
        return f"{dialect}/{STEMS[dialect]}"


def config(upstream: Upstream) -> str:
    rows = [
        f'[providers.{dialect}]\ndialect = "{dialect}"\nbase_url = "{upstream.url}{PATHS[dialect]}"\n'
        f'keys = ["env:UPSTREAM_KEY"]\nmodels = ["{STEMS[dialect]}"]\nprice = {{ input = "1", output = "2" }}\n'
        for dialect in DIALECTS
    ]
    return "\n".join(['[cache]\nmode = "off"\n', *rows])


@pytest.fixture(scope="session")
def port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Port]:
    folder: Path = tmp_path_factory.mktemp("sdks")
    with (
        Upstream(answers_by_question) as upstream,
        Modelport(folder, config(upstream), {"UPSTREAM_KEY": UPSTREAM_KEY}) as server,
    ):
        yield Port(server.url, server, upstream)


@pytest.fixture(params=DIALECTS)
def dialect(request: pytest.FixtureRequest) -> str:
    """Each backend dialect: the SDK's own one and the foreign ones."""
    return str(request.param)


@pytest.fixture
def model(port: Port, dialect: str) -> str:
    return port.model(dialect)


@pytest.fixture(autouse=True)
def recorded(request: pytest.FixtureRequest, record_property: Callable[[str, object], None]) -> None:
    """For the page: which SDK, and the fact that the test states."""
    if request.module.SDK == "npm":
        return  # says itself which package it is
    fact = request.function.__doc__ or request.function.__name__
    record_property("sdk", f"{request.module.SDK}: {fact.strip().rstrip('.')}")
