"""`modelport live`, the health check of the image."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from proxy.cli import ROOT
from tests.replay import free_port


@pytest.mark.parametrize(
    ("status", "answer", "code", "told"),
    [
        (200, {"status": "ok"}, 0, ""),
        (503, {"error": {"message": "it stops"}}, 1, "modelport: the server answered 503: it stops\n"),
    ],
    ids=["lives", "stops"],
)
def test_the_exit_status_says_whether_it_lives(
    run: Any, stub: Any, status: int, answer: Any, code: int, told: str
) -> None:
    stub.say("GET", "/health/live", answer, status)

    result = run("live", "--url", stub.url)

    assert (result.exit_code, result.stdout, result.stderr) == (code, "", told)


def test_it_finds_the_server_as_the_image_configures_it_and_loads_no_other_command(stub: Any, tmp_path: Path) -> None:
    stub.say("GET", "/health/live", {"status": "ok"})
    port = stub.url.rpartition(":")[2]

    ran = _live(tmp_path, port)

    assert (ran.returncode, ran.stderr) == (0, "")
    assert not {"typer", "rich", "pydantic", "aiohttp", "asyncio"} & set(ran.stdout.split())
    assert [(method, path) for method, path, *_ in stub.asked] == [("GET", "/health/live")]


def test_where_nothing_answers_it_says_so(tmp_path: Path) -> None:
    ran = _live(tmp_path, str(free_port()))

    assert ran.returncode == 1
    assert ran.stderr.startswith("modelport: nothing answers at http://127.0.0.1:")


def _live(folder: Path, port: str) -> subprocess.CompletedProcess[str]:
    """The console script's own way; the modules that it took are on standard output."""
    code = "import sys; from proxy.cli import main\ntry: main()\nfinally: print(*sys.modules)"
    environ = {
        "HOME": str(folder),
        "PYTHONPATH": str(ROOT),
        "MODELPORT__SERVER__HOST": "0.0.0.0",
        "MODELPORT__SERVER__PORT": port,
    }
    return subprocess.run(
        [sys.executable, "-c", code, "live"], cwd=folder, env=environ, capture_output=True, text=True, check=False
    )
