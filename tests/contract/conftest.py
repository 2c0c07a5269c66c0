"""One upstream and one modelport for all contract tests, and the official client in front of them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from openai import OpenAI

from tests.contract.backends import UPSTREAM_KEY, Backends, whole_config
from tests.replay import Upstream
from tests.running import Modelport


@pytest.fixture(scope="session")
def upstream() -> Iterator[Upstream]:
    with Upstream() as running:
        yield running


@pytest.fixture(scope="session")
def modelport(upstream: Upstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Modelport]:
    folder = tmp_path_factory.mktemp("modelport")
    with Modelport(folder, whole_config(upstream), {"UPSTREAM_KEY": UPSTREAM_KEY}) as running:
        yield running


@pytest.fixture(scope="session")
def backends(upstream: Upstream, modelport: Modelport) -> Backends:
    return Backends(upstream)


@pytest.fixture(scope="session")
def client(modelport: Modelport) -> Iterator[OpenAI]:
    """The SDK as its documentation shows it, but for the base URL; it does not retry unless a test asks it to."""
    with OpenAI(base_url=f"{modelport.url}/v1", api_key="not-needed", max_retries=0, timeout=30) as sdk:
        yield sdk
