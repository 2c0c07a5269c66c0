"""Whoever records tests with vcrpy can record them through Modelport: what was recorded replays without it."""

from __future__ import annotations

from pathlib import Path

import openai
import pytest
import vcr

from tests.running import Modelport

QUESTION = [{"role": "user", "content": "Hello"}]


@pytest.mark.parametrize("stream", [False, True])
def test_a_recorded_answer_replays_without_the_server(tmp_path: Path, stream: bool) -> None:
    recorder = vcr.VCR(cassette_library_dir=str(tmp_path), filter_headers=["authorization"])
    with Modelport(tmp_path, "", {}) as modelport, recorder.use_cassette("session.yaml"):
        first = _answer(modelport.url, stream)

    with recorder.use_cassette("session.yaml", record_mode="none") as tape:
        again = _answer(modelport.url, stream)

    assert again == first
    assert "simulation" in again
    assert tape.play_count == 1


def _answer(url: str, stream: bool) -> str:
    client = openai.OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0)
    asked = client.chat.completions.create(model="demo/echo", messages=QUESTION, stream=stream)
    if not stream:
        return asked.choices[0].message.content
    return "".join(chunk.choices[0].delta.content or "" for chunk in asked)
