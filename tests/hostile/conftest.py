"""One server for all that is hostile, in front of a provider that speaks every dialect."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest

from tests.hostile.vendors import answer, providers
from tests.replay import Answer, Asked, Upstream
from tests.running import Modelport


@dataclass(slots=True)
class Running:
    """The server, the provider behind it, and what it says."""

    modelport: Modelport
    upstream: Upstream
    text: str = "Hello"
    rubbish: list[str] = field(default_factory=list)
    """What came to the provider and is no JSON."""


@pytest.fixture(scope="session")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    holder: list[Running] = []

    def says(asked: Asked) -> Answer:
        def refused(word: str) -> None:
            holder[0].rubbish.append(f"{asked.path}: {word}")

        json.loads(asked.body, parse_constant=refused)
        return answer(asked, holder[0].text)

    settings = (
        "[logging]\nlevel = 'debug'\n[retry]\nattempts = 1\nbackoff_s = 0\n"
        "[limits]\njson_values = 100000\njson_containers = 20000\n"
    )
    with Upstream(says) as upstream:
        config = settings + providers(upstream.url)
        with Modelport(tmp_path_factory.mktemp("hostile"), config) as modelport:
            holder.append(Running(modelport, upstream))
            yield holder[0]
