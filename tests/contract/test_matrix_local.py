"""Every client endpoint in front of a real llama.cpp, whole and streamed: a column of the matrix without a script.

The models are made by tests/tiny_gguf.py: each says one sentence.
"""

from __future__ import annotations

import importlib.util
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from tests.contract.matrix.clients import CLIENTS, Facts, frames_of
from tests.contract.matrix.scenarios import CAPITAL, ENDPOINTS, IMPOSSIBLE, SCENARIOS, THOUGHT
from tests.contract.matrix.vendors import LlamaCpp
from tests.proxy.serving import Served, serving
from tests.tiny_gguf import write_model

pytestmark = [
    pytest.mark.local,
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.skipif(importlib.util.find_spec("llama_cpp") is None, reason="llama-cpp-python is not installed"),
]

NAMES = ("text", "call", "calls", "schema", "reasoning")
REPLIES = {name: LlamaCpp().text(SCENARIOS[name].answers[0]) for name in NAMES}  # type: ignore[arg-type]  all Said


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def served(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Served]:
    folder: Path = tmp_path_factory.mktemp("local")
    models = []
    for name, reply in REPLIES.items():
        write_model(folder / f"{name}.gguf", reply)
        models.append(f'{name} = {{ path = "{folder / name}.gguf", context = 2048, threads = 1 }}')
    section = f'[cache]\nmode = "off"\n[providers.local]\ndialect = "llamacpp"\nmodels = {{ {", ".join(models)} }}\n'
    async with serving(folder, section) as running:
        yield running


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("endpoint", ENDPOINTS)
async def test_endpoint(served: Served, endpoint: str, name: str, stream: bool) -> None:
    """Text, calls, JSON by a grammar, and reasoning reach the client in its dialect."""
    if reason := IMPOSSIBLE.get((endpoint, "*", name)):
        pytest.skip(reason)
    client, said = CLIENTS[endpoint], SCENARIOS[name].answers[0]
    posted = client.ask(SCENARIOS[name].ask, f"local/{name}", stream)
    body = {**posted.body, "temperature": 0} if endpoint != "gemini" else posted.body
    if endpoint == "gemini":
        body["generationConfig"] = {**body.get("generationConfig", {}), "temperature": 0}

    reply = await served.request("POST", posted.path, json.dumps(body).encode(), posted.headers)

    assert reply.status == 200, reply.body
    facts: Facts = client.streamed(frames_of(reply.body)) if stream else client.whole(reply.json)
    if name == "schema":
        assert set(json.loads(facts.text)) == {"city", "population"}
        return
    assert facts.text.strip() == said.text  # type: ignore[union-attr]  all Said
    assert [city for _, city in facts.calls] == list(said.cities)  # type: ignore[union-attr]
    assert facts.finish == ("calls" if facts.calls else "stop")
    assert facts.thought.strip() == (THOUGHT if name == "reasoning" and endpoint != "completions" else "")
    assert facts.usage
    assert all(facts.usage)
    assert name not in {"text", "reasoning"} or facts.text.strip() == CAPITAL
