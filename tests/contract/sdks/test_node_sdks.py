"""The official SDKs for JavaScript and the Vercel AI SDK, from npm: text, stream, tools, to every backend dialect."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.contract.matrix.scenarios import CAPITAL, SCENARIOS
from tests.contract.sdks.conftest import DIALECTS, Port

SDK = "npm"
HERE = Path(__file__).resolve().parents[1] / "node" / "sdks"
PARTS = {
    "openai_chat": ("openai", "chat"),
    "openai_responses": ("openai", "responses"),
    "anthropic": ("@anthropic-ai/sdk", "messages"),
    "google": ("@google/genai", "generateContent, chats"),
    "ai_openai_chat": ("@ai-sdk/openai", "Vercel AI SDK, chat"),
    "ai_openai_responses": ("@ai-sdk/openai", "Vercel AI SDK, responses"),
    "ai_openai_compatible": ("@ai-sdk/openai-compatible", "Vercel AI SDK"),
    "ai_anthropic": ("@ai-sdk/anthropic", "Vercel AI SDK"),
    "ai_google": ("@ai-sdk/google", "Vercel AI SDK"),
}
QUESTIONS = {"text": SCENARIOS["text"].ask.question, "results": SCENARIOS["results"].ask.question}

pytestmark = [
    pytest.mark.node,
    pytest.mark.skipif(not (shutil.which("node") and shutil.which("npm")), reason="no Node.js with npm here"),
]


@pytest.fixture(scope="module")
def project() -> Path:
    """The script beside its installed packages, in a cache folder outside the checkout."""
    cache = Path(os.environ.get("XDG_CACHE_HOME", tempfile.gettempdir()))
    folder = cache / f"modelport-node-sdks-{os.getuid()}"
    folder.mkdir(parents=True, exist_ok=True)
    wanted = (HERE / "package.json").read_text("utf-8")
    ready = folder / "ready"
    if not ready.exists() or ready.read_text("utf-8") != wanted:
        (folder / "package.json").write_text(wanted, "utf-8")
        command = ["npm", "install", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"]
        installed = subprocess.run(command, cwd=folder, capture_output=True, timeout=240, check=False)
        if installed.returncode:
            pytest.skip(f"npm install failed (no registry?): {installed.stderr.decode()[-200:]}")
        ready.write_text(wanted, "utf-8")
    shutil.copy(HERE / "sdks.mjs", folder)
    return folder


@pytest.fixture(scope="module")
def seen(project: Path, port: Port) -> dict[str, dict[str, Any]]:
    """What each part saw, by backend dialect: all in one process each, side by side."""
    running = {
        dialect: subprocess.Popen(
            ["node", "sdks.mjs", port.url, port.model(dialect), json.dumps(QUESTIONS)],
            cwd=project,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        for dialect in DIALECTS
    }
    found = {}
    for dialect, process in running.items():
        output, trouble = process.communicate(timeout=120)
        assert process.returncode == 0, trouble.decode()[-2000:]
        found[dialect] = json.loads(output.splitlines()[-1])  # the AI SDK prints warnings
    return found


@pytest.mark.parametrize("part", PARTS)
def test_part(
    project: Path,
    seen: dict[str, dict[str, Any]],
    dialect: str,
    part: str,
    record_property: Callable[[str, object], None],
) -> None:
    """A text whole and streamed, and calls with their results."""
    package, what = PARTS[part]
    installed = json.loads((project / "node_modules" / package / "package.json").read_text("utf-8"))
    record_property("sdk", f"{package} {installed['version']} (JavaScript): {what}: text, stream, tools")

    found = seen[dialect][part]

    assert found.get("error") is None, found
    assert (found["text"], found["streamed"]) == (CAPITAL, CAPITAL)
    assert found["tools"] == "Yes, by nine degrees."
    assert found.get("tools_streamed", found["tools"]) == found["tools"]
