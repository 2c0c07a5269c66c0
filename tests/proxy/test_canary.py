"""A provider's key that is stored is in no file, no log and no answer."""

from __future__ import annotations

import base64
import gc
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from proxy.config.secrets import Secret
from proxy.sealing import Sealer, new_key
from proxy.setup import Key
from tests.proxy.conftest import Serve
from tests.proxy.serving import QUICK, failing, provider, route, says, stream_text
from tests.replay import Answer, Asked, Upstream
from tests.running import ROOT, Modelport

MASTER = "mp-master-0123456789"
CANARY = "vendor/canary+QmFzZTY0.0123456789-abcdefghijklmnop"
"""Looks like no key that could be known by its looks."""
SEALING = new_key()
SPELLINGS = {CANARY, quote(CANARY, safe=""), quote(CANARY), base64.b64encode(CANARY.encode()).decode().rstrip("=")}
PIECES = {text[start : start + 14] for text in SPELLINGS for start in range(0, len(text) - 14, 7)}
LOOKED_AT = (
    "/health",
    "/health?probe=1",
    "/costs?group_by=provider,model,key",
    "/metrics",
    "/v1/models",
    "/api/v1/exchanges?limit=1000",
    "/api/v1/catalog",
    "/api/v1/credentials",
    "/api/v1/credentials/echo",
    "/api/v1/secrets",
    "/api/v1/audit?limit=1000",
    "/api/v1/audit/verify",
    "/api/v1/llm/providers",
    "/api/v1/llm/providers/echo",
    "/api/v1/ledger/export?format=jsonl",
    "/openapi.json",
)
"""Every answer that tells of providers or of what was done; those that are not there yet are 404."""


def leaks(text: str | bytes) -> list[str]:
    """Pieces of the canary, and of the key that encrypts it, that *text* has."""
    raw = text.encode() if isinstance(text, str) else text
    return [piece for piece in (*PIECES, SEALING) if piece.encode() in raw]


def echoing(asked: Asked) -> Answer:
    """A vendor that repeats the key in whatever goes wrong, in every spelling."""
    key = asked.headers.get("authorization", "").removeprefix("Bearer ")
    echo = f"the key {key} ({quote(key, safe='')}, {base64.b64encode(key.encode()).decode()}) of {asked.path} is wrong"
    if asked.method == "GET":
        return failing(401, echo)
    match asked.json.get("model"):
        case "good":
            return says()
        case "stream":
            error = json.dumps({"error": {"message": echo, "type": "server_error"}})
            return Answer.sse(stream_text("Hello").replace("data: [DONE]", f"data: {error}"))
        case "html":
            return Answer(500, {"content-type": "text/html"}, f"<p>{echo}</p>".encode())
        case "bad":
            return failing(400, echo, param=key, code=key, details={"key": key})
        case _:
            return failing(401, echo)


@pytest.fixture
def vendor() -> Iterator[Upstream]:
    with Upstream(echoing) as running:
        yield running


def config(vendor: Upstream) -> str:
    return (
        f'[auth]\nmaster_key = "{MASTER}"\n[logging]\nlevel = "debug"\n{QUICK}'
        + provider("echo", vendor, keys=("stored:echo",), more='probe_model = "html"\n')
        + route("all", "echo/html", "echo/refused")
    )


def test_nothing_that_the_process_writes_or_answers_has_the_key(tmp_path: Path, vendor: Upstream) -> None:
    auth = {"authorization": f"Bearer {MASTER}"}
    with Modelport(tmp_path, config(vendor), {"MODELPORT_SECRET_KEY": SEALING}) as server:

        def ask(method: str, path: str, body: Any = None) -> bytes:
            raw = None if body is None else json.dumps(body).encode()
            reply = server.request(method, path, raw, {"content-type": "application/json", **auth})
            return repr(dict(reply.headers)).encode() + reply.body

        said = [ask("POST", "/api/v1/credentials", {"provider": "echo", "key": CANARY})]
        said += [ask("POST", "/api/v1/credentials", {"provider": "echo", "key": CANARY, "nmae": "x"})]
        said += [ask("POST", "/api/v1/credentials", {"provider": "echo", "name": "echo", "key": CANARY})]
        said += [ask("POST", "/api/v1/credentials/echo/check")]
        said += [ask("POST", "/api/v1/catalog/refresh", {"providers": ["echo"]})]
        question = [{"role": "user", "content": "Say hello"}]
        for model in ("echo/good", "echo/stream", "echo/html", "echo/bad", "echo/refused", "all"):
            for stream in (False, True):
                body = {"model": model, "messages": question, "stream": stream, "temperature": 0}
                said += [ask("POST", "/v1/chat/completions", body)]
            said += [ask("POST", "/v1/messages", {"model": model, "messages": question, "max_tokens": 5})]
            said += [ask("POST", "/v1/responses", {"model": model, "input": "Say hello"})]
        said += [ask("GET", path) for path in LOOKED_AT]
        said += [ask("GET", f"/api/v1/exchanges/{row['id']}") for row in rows(server)]
        while_running = files(tmp_path)
        said += [ask("POST", "/api/v1/credentials/echo/rotate", {"key": f"{CANARY}2"})]
        said += [ask("DELETE", "/api/v1/credentials/echo")]

    assert any(CANARY in asked.headers.get("authorization", "") for asked in vendor.requests)
    assert [(text[:300], leaks(text)) for text in said if leaks(text)] == []
    assert [name for name, raw in {**while_running, **files(tmp_path)}.items() if leaks(raw)] == []
    assert {"modelport.db", "modelport.db-wal", "server.log"} <= {Path(name).name for name in while_running}


def rows(server: Modelport) -> list[dict[str, Any]]:
    headers = {"authorization": f"Bearer {MASTER}"}
    found: list[dict[str, Any]] = server.request("GET", "/api/v1/exchanges?limit=1000", None, headers).json["data"]
    return found


def files(folder: Path) -> dict[str, bytes]:
    """Everything that the process has written."""
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_no_command_prints_the_key(tmp_path: Path, vendor: Upstream) -> None:
    """Without a running server, too."""
    (tmp_path / "modelport.toml").write_text(config(vendor), "utf-8")
    environ = {
        "HOME": str(tmp_path),
        "XDG_DATA_HOME": str(tmp_path / "share"),
        "XDG_CONFIG_HOME": str(tmp_path / "settings"),
        "PYTHONPATH": str(ROOT),
        "PATH": "",
        "NO_COLOR": "1",
        "MODELPORT_SECRET_KEY": SEALING,
        "CANARY": CANARY,
    }
    wanted = [
        ["providers", "add", "echo", "--key-env", "CANARY"],
        ["providers", "list", "--json"],
        ["providers", "check", "echo"],
        ["config", "show"],
        ["config", "check"],
        ["audit", "show"],
    ]
    printed = []
    for arguments in wanted:
        command = [sys.executable, "-c", "from proxy.cli import main; main()", *arguments]
        done = subprocess.run(
            command, cwd=tmp_path, env=environ, capture_output=True, timeout=60, check=False, stdin=subprocess.DEVNULL
        )
        printed.append((arguments, done.returncode, done.stdout + done.stderr))

    assert [(arguments, status) for arguments, status, _ in printed if status] == [(wanted[2], 1)]
    assert [(arguments, leaks(text)) for arguments, _, text in printed if leaks(text)] == []
    assert [name for name, raw in files(tmp_path).items() if leaks(raw)] == []


async def test_no_object_shows_the_key_when_it_is_printed(serve: Serve, vendor: Upstream) -> None:
    server = await serve(config(vendor), environ={"MODELPORT_SECRET_KEY": SEALING})
    raw = json.dumps({"provider": "echo", "key": CANARY}).encode()
    await server.request("POST", "/api/v1/credentials", raw, {"authorization": f"Bearer {MASTER}"})

    services = server.services
    setup = services.setup
    whole = (services.credentials, setup.specs, setup.rings, setup.backends, setup.loaded, services.credentials.keys)
    kept = [each for each in gc.get_objects() if isinstance(each, Secret | Key | Sealer)]

    assert setup.specs["echo"].keys[0].reveal() == CANARY
    assert [type(each) for each in (*whole, *kept) if leaks(repr(each)) or leaks(str(each))] == []
