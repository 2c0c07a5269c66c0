"""SIGHUP and SIGTERM: new requests see the new configuration, running answers end as they began."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sqlite3
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from proxy.app import apply
from proxy.config import load
from tests.proxy.conftest import Serve
from tests.proxy.serving import KEY, OPENING, SECOND_KEY, Served, chunk, provider, question, says, streams
from tests.replay import Answer, Upstream
from tests.running import Modelport

MASTER = "mp-master-0123456789"


def put(server: Served, config: str) -> None:
    """What SIGHUP does with a good file."""
    path = server.services.setup.loaded.path
    assert path is not None
    path.write_text(config, "utf-8")
    apply(server.services, load(path, environ={"HOME": str(path.parent)}, folder=path.parent))


async def test_providers_keys_and_access_are_exchanged(serve: Serve, upstream: Upstream, kept_logging: None) -> None:
    upstream.script("m", says())
    server = await serve(provider("one", upstream))
    await server.ask(model="one/m")

    put(server, f'[auth]\nrequired = true\nmaster_key = "{MASTER}"\n' + provider("two", upstream, keys=(SECOND_KEY,)))
    without = await server.ask(model="two/m")
    gone = await server.ask({"authorization": f"Bearer {MASTER}"}, model="one/m")
    fine = await server.ask({"authorization": f"Bearer {MASTER}"}, model="two/m")

    assert (without.status, gone.status, fine.status) == (401, 404, 200)
    assert [asked.headers["authorization"] for asked in upstream.requests] == [f"Bearer {KEY}", f"Bearer {SECOND_KEY}"]


async def test_secrets_in_files_are_exchanged_by_writing_the_files(
    serve: Serve, upstream: Upstream, kept_logging: None, tmp_path: Path
) -> None:
    """The configuration stays as it is; a reload reads what it names."""
    upstream.script("m", says())
    key, master = tmp_path / "key.txt", tmp_path / "master.txt"
    key.write_text(KEY, "utf-8")
    master.write_text(MASTER, "utf-8")
    access = f'[auth]\nrequired = true\nmaster_key = "file:{master}"\n'
    config = access + provider("one", upstream, keys=(f"file:{key}",))
    server = await serve(config)
    old, new = ({"authorization": f"Bearer {each}"} for each in (MASTER, f"{MASTER}-2"))
    first = await server.ask(old, model="one/m")

    key.write_text(SECOND_KEY, "utf-8")
    master.write_text(f"{MASTER}-2", "utf-8")
    put(server, config)

    answers = [await server.ask(each, model="one/m") for each in (old, new)]
    assert [first.status, *(each.status for each in answers)] == [200, 401, 200]
    assert [asked.headers["authorization"] for asked in upstream.requests] == [f"Bearer {KEY}", f"Bearer {SECOND_KEY}"]


async def test_a_running_stream_is_not_touched(serve: Serve, upstream: Upstream, kept_logging: None) -> None:
    """Its backend is closed when it has ended."""
    first = OPENING + chunk({"content": "Hello"})
    rest = streams("Hello", " there")
    upstream.script("m", Answer.sse(rest.body, split="events", hold_at=len(first)))
    server = await serve(provider("one", upstream))
    closed: list[str] = []
    backend = server.services.setup.backends["one"]

    class Watched:
        def send(self, call: Any) -> Any:
            return backend.send(call)

        async def close(self) -> None:
            closed.append("one")

    server.services.setup.backends["one"] = Watched()  # type: ignore[index]  # a mapping that is a dict

    async with server.asking(model="one/m", stream=True) as answer:
        await answer.content.readuntil(b"Hello")
        put(server, provider("two", upstream, keys=(SECOND_KEY,)))
        await asyncio.sleep(0)
        still_open = not closed
        (await asyncio.to_thread(upstream.wait_asked, "m")).release()
        body = await answer.content.read()
    await server.services.drain()

    assert still_open
    assert b" there" in body
    assert body.endswith(b"data: [DONE]\n\n")
    assert closed == ["one"]


async def test_an_unchanged_provider_keeps_its_keys_rests(serve: Serve, upstream: Upstream, kept_logging: None) -> None:
    server = await serve(provider("one", upstream))
    ring = server.services.setup.rings["one"]

    put(server, provider("one", upstream) + provider("two", upstream))
    same = server.services.setup.rings["one"]
    put(server, provider("one", upstream, keys=(SECOND_KEY,)))

    assert same is ring
    assert server.services.setup.rings["one"] is not ring


async def test_a_new_secret_is_redacted_at_once(serve: Serve, upstream: Upstream, kept_logging: None) -> None:
    upstream.script("m", Answer.json({"error": {"message": "you sent odd.secret.value"}}, 400))
    server = await serve(provider("one", upstream))

    put(server, provider("one", upstream, keys=("odd.secret.value",)))

    assert "odd.secret" not in (await server.ask(model="one/m")).body.decode()


# --- a process of its own --------------------------------------------------------------------------


def until(fact: Any, within_s: float = 10.0) -> None:
    """A process tells nobody when it has read its file."""
    end = time.monotonic() + within_s
    while not fact():
        assert time.monotonic() < end
        time.sleep(0.02)


def test_sighup_reads_the_file_and_a_bad_one_changes_nothing(tmp_path: Path, upstream: Upstream) -> None:
    upstream.script("m", says())
    with Modelport(tmp_path, provider("one", upstream)) as running:
        file = tmp_path / "modelport.toml"

        file.write_text("[providers.one]\ndialect = 'klingon'\n")
        os.kill(running.pid, signal.SIGHUP)
        until(lambda: "the old one stays in force" in running.log)
        kept = running.post("/v1/chat/completions", question(model="one/m"))

        file.unlink()
        os.kill(running.pid, signal.SIGHUP)
        until(lambda: running.log.count("the old one stays in force") == 2)

        file.write_text(provider("two", upstream))
        os.kill(running.pid, signal.SIGHUP)
        until(lambda: "configuration read again" in running.log)
        new = running.post("/v1/chat/completions", question(model="two/m"))
        status = running.stop()

    assert (kept.status, new.status, status) == (200, 200, 0)
    assert "klingon" in running.log
    assert "Traceback" not in running.log
    assert KEY not in running.log


class Reader(threading.Thread):
    """A client that reads a stream to its end."""

    def __init__(self, port: int, body: dict[str, Any]) -> None:
        super().__init__(daemon=True)
        self.port, self.asked = port, body
        self.began = threading.Event()
        self.body = b""
        self.start()

    def run(self) -> None:
        import http.client

        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        connection.request("POST", "/v1/chat/completions", json.dumps(self.asked), {"content-type": "application/json"})
        answer = connection.getresponse()
        try:
            while piece := answer.read1():
                self.body += piece
                self.began.set()
        except (http.client.HTTPException, ConnectionError):
            pass
        finally:
            connection.close()


@pytest.mark.parametrize("ends", [True, False])
def test_sigterm_lets_answers_end_or_cuts_and_books_them(tmp_path: Path, upstream: Upstream, ends: bool) -> None:
    """Exit status 0 either way."""
    first = OPENING + chunk({"content": "Hello"})
    body = streams("Hello", " there").body
    answer = Answer.sse(body, split="events", hold_at=len(first))
    upstream.script("m", answer)
    config = f"[server]\nshutdown_s = {10 if ends else 0.2}\n" + provider("one", upstream)
    running = Modelport(tmp_path, config)
    running.start()
    client = Reader(running.port, question(model="one/m", stream=True))
    assert client.began.wait(10)

    os.kill(running.pid, signal.SIGTERM)
    if ends:
        with pytest.raises(OSError):  # noqa: PT011  refused, reset: nobody is let in any more
            until(lambda: running.get("/health/live", timeout_s=0.5).status == 0, 5)
        upstream.wait_asked("m").release()
    status = running.stop()
    client.join(10)

    with sqlite3.connect(running.folder / "share" / "modelport" / "modelport.db") as database:
        rows = database.execute("SELECT status, cost_nanousd > 0 FROM exchanges").fetchall()
    database.close()
    assert status == 0, running.log
    assert client.body.endswith(b"data: [DONE]\n\n") is ends
    assert rows == [("ok", 1)] if ends else rows in ([("aborted", 1)], [("interrupted", 1)])
    assert "Traceback" not in running.log
