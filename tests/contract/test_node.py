"""The official OpenAI SDK for JavaScript, from npm, against the running server."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import pytest

from tests.contract.backends import DIALECTS, Backends
from tests.replay import cassette
from tests.running import Modelport

HERE = Path(__file__).resolve().parent / "node"
TEXT = "Paris is the capital of France."

pytestmark = [
    pytest.mark.node,
    pytest.mark.skipif(not (shutil.which("node") and shutil.which("npm")), reason="no Node.js with npm here"),
]


@pytest.fixture(scope="module")
def project() -> Path:
    """The script beside its installed packages, in a cache folder outside the checkout."""
    cache = Path(os.environ.get("XDG_CACHE_HOME", tempfile.gettempdir()))
    folder = cache / f"modelport-node-{os.getuid()}"
    folder.mkdir(parents=True, exist_ok=True)
    wanted = (HERE / "package.json").read_text("utf-8")
    ready = folder / "ready"
    if not ready.exists() or ready.read_text("utf-8") != wanted:
        (folder / "package.json").write_text(wanted, "utf-8")
        command = ["npm", "install", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"]
        installed = subprocess.run(command, cwd=folder, capture_output=True, timeout=120, check=False)
        if installed.returncode:
            pytest.skip(f"npm install failed (no registry?): {installed.stderr.decode()[-200:]}")
        ready.write_text(wanted, "utf-8")
    shutil.copy(HERE / "contract.mjs", folder)
    return folder


def test_the_javascript_sdk(project: Path, modelport: Modelport, backends: Backends) -> None:
    """Chat, stream, tools, structured output and errors, with each dialect behind."""
    models: dict[str, str] = {}
    for dialect in DIALECTS:
        for part, name in (("chat", "text"), ("stream", "text_stream"), ("tools", "tools_stream"), ("parse", "json")):
            models[f"{part}_{dialect}"] = backends.says(dialect, cassette(f"{dialect}/{name}"))
    for status in (400, 401, 429):
        models[f"error_{status}"] = backends.says("openai_chat", cassette(f"openai_chat/error_{status}"), own_row=True)
    models["error_missing"] = "nobody/none"
    models["broken"] = backends.says("anthropic", cassette("anthropic/error_in_stream"))

    seen = _run(project, modelport, models)

    for dialect in DIALECTS:
        chat, stream, tools = seen[f"chat_{dialect}"], seen[f"stream_{dialect}"], seen[f"tools_{dialect}"]
        assert (chat["text"], chat["finish_reason"], chat["usage"]["total_tokens"]) == (TEXT, "stop", 29)
        assert chat["target"] == models[f"chat_{dialect}"]
        assert (stream["text"], stream["usage"]["completion_tokens"], stream["ids"]) == (TEXT, 9, 1)
        assert tools["calls"] == [["get_weather", {"city": "Paris"}], ["get_weather", {"city": "Oslo"}]]
        assert tools["finish_reason"] == "tool_calls"
        assert seen[f"parse_{dialect}"] == {"city": "Paris", "population": 2100000}
    assert (seen["error_400"]["name"], seen["error_400"]["status"]) == ("BadRequestError", 400)
    assert (seen["error_401"]["name"], seen["error_401"]["code"]) == ("InternalServerError", "upstream_auth")
    assert (seen["error_429"]["name"], seen["error_429"]["status"]) == ("RateLimitError", 429)
    assert (seen["error_missing"]["name"], seen["error_missing"]["code"]) == ("NotFoundError", "model_not_found")
    assert seen["broken"] == {"isAPIError": True}


def _run(project: Path, modelport: Modelport, models: dict[str, str]) -> Any:
    command = ["node", "contract.mjs", f"{modelport.url}/v1", json.dumps(models)]
    ran = subprocess.run(command, cwd=project, capture_output=True, timeout=120, check=False)
    assert ran.returncode == 0, ran.stderr.decode()[-2000:]
    return json.loads(ran.stdout)
