"""One modelport for the wire cases that concern every client."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import anthropic
import openai
import pytest
from google import genai
from google.genai import types as google_types

from tests.contract.backends import UPSTREAM_KEY
from tests.contract.wire.sdks import Sdks, config
from tests.replay import Upstream
from tests.running import Modelport


@pytest.fixture(scope="session")
def sdks(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sdks]:
    folder = tmp_path_factory.mktemp("wire_clients")
    plain: Any = {"api_key": "not-needed", "max_retries": 0, "timeout": 30}
    with (
        Upstream() as upstream,
        Modelport(folder, config(upstream), {"UPSTREAM_KEY": UPSTREAM_KEY}) as server,
        openai.OpenAI(base_url=f"{server.url}/v1", **plain) as chat,
        anthropic.Anthropic(base_url=server.url, **plain) as messages,
    ):
        google = genai.Client(api_key="not-needed", http_options=google_types.HttpOptions(base_url=server.url))
        yield Sdks(server, upstream, chat, messages, google)
