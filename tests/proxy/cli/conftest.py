"""A stub of the server on loopback, and a way to run the command line."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from proxy.cli.app import app

Run = Callable[..., Result]


@dataclass
class Stub:
    """What it answers by (method, path), and what it was asked."""

    url: str = ""
    answers: dict[tuple[str, str], tuple[int, dict[str, str], bytes]] = field(default_factory=dict)
    asked: list[tuple[str, str, dict[str, str], Any]] = field(default_factory=list)

    def say(self, method: str, path: str, answer: Any, status: int = 200, **headers: str) -> None:
        body = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        self.answers[method, path] = (status, named, body)


@pytest.fixture
def stub() -> Iterator[Stub]:
    told = Stub()

    class Handler(BaseHTTPRequestHandler):
        def answer(self) -> None:
            length = int(self.headers.get("content-length") or 0)
            body = json.loads(self.rfile.read(length)) if length else None
            headers = {name.lower(): value for name, value in self.headers.items()}
            told.asked.append((self.command, self.path, headers, body))
            missing = (404, {}, b'{"error": {"message": "no such path"}}')
            status, extra, text = told.answers.get((self.command, self.path.partition("?")[0]), missing)
            self.send_response(status)
            for name, value in extra.items():
                self.send_header(name, value)
            self.send_header("content-length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = answer  # noqa: N815 -- the names that http.server calls

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    told.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield told
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs `modelport ARGUMENTS` in an empty folder with an empty environment."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str, environ: dict[str, str] | None = None, text: str | None = None) -> Result:
        quiet = dict.fromkeys(("MODELPORT_URL", "MODELPORT_KEY", "MODELPORT_CONFIG", "OPENAI_API_KEY"))
        home = {"HOME": str(tmp_path), "XDG_CONFIG_HOME": str(tmp_path / "xdg"), "NO_COLOR": "1"}
        return CliRunner().invoke(app, list(arguments), env={**quiet, **home, **(environ or {})}, input=text)

    return run
