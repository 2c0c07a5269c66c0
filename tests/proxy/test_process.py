"""The whole process, run in the test's own: start, signals, reload, stop, and what it says meanwhile."""

from __future__ import annotations

import asyncio
import gc
import io
import json
import logging
import re
import resource
import shlex
import signal
import socket
import sqlite3
import threading
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, closing, redirect_stderr
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from proxy import app
from proxy.app import Process
from proxy.banner import banner
from proxy.config import Loaded, changed_since, load
from proxy.version import version
from tests.proxy.conftest import Serve
from tests.proxy.serving import KEY, LANE, chunk, provider, question, says, streams
from tests.replay import Answer, Upstream

MASTER = "mp-master-0123456789"
WITHIN_S = 30.0
PORT = "[server]\nport = 0\n"


class Told(io.StringIO):
    """Standard error, which tells whoever waits for its words. *then* is called once they have been written."""

    def __init__(self) -> None:
        super().__init__()
        self._written = threading.Condition()
        self.then: tuple[str, Callable[[], None]] | None = None

    def write(self, text: str) -> int:
        with self._written:
            count = super().write(text)
            self._written.notify_all()
        if self.then is not None and self.then[0] in text:
            self.then[1]()
        return count

    async def until(self, words: str) -> None:
        def wait() -> bool:
            with self._written:
                return self._written.wait_for(lambda: words in self.getvalue(), WITHIN_S)

        assert await asyncio.to_thread(wait), f"{words!r} was not said:\n{self.getvalue()}"


@pytest.fixture
def told(kept_logging: None) -> Iterator[Told]:
    """For what a process says; what it does to all of Python is undone."""
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    yield Told()
    resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    gc.unfreeze()


def reader(folder: Path, config: str) -> Callable[[], Loaded]:
    """What reads the configuration, *config* at first."""
    (folder / "modelport.toml").write_text(config, "utf-8")
    home = {"XDG_DATA_HOME": str(folder / "share"), "HOME": str(folder), **LANE}
    return lambda: load(folder / "modelport.toml", environ=home, folder=folder)


SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


def send(number: signal.Signals, before: Mapping[signal.Signals, Any]) -> None:
    """Give this process a signal that somebody awaits: not who has handled it *before*, by ending the tests."""
    assert signal.getsignal(number) != before[number], f"nobody awaits {number.name}"
    signal.raise_signal(number)


def handlers() -> dict[signal.Signals, Any]:
    """What handles them now."""
    return {number: signal.getsignal(number) for number in SIGNALS}


class Running:
    """A process that listens."""

    def __init__(
        self, file: Path, told: Told, session: aiohttp.ClientSession, task: asyncio.Task[None], before: dict[Any, Any]
    ) -> None:
        self.file, self.told, self.session = file, told, session
        self._task, self._before = task, before
        found = re.search(r"listens on (http://\S+:\d+) ", told.getvalue())
        assert found is not None, told.getvalue()
        self.url = found[1]

    async def status(self, model: str) -> int:
        async with self.session.post(f"{self.url}/v1/chat/completions", json=question(model=model)) as answer:
            await answer.read()
            return answer.status

    async def reread(self, config: str, words: str) -> None:
        """Change the file and send SIGHUP."""
        self.file.write_text(config, "utf-8")
        send(signal.SIGHUP, self._before)
        await self.told.until(words)

    async def stop(self, number: signal.Signals = signal.SIGTERM) -> None:
        send(number, self._before)
        await asyncio.wait_for(asyncio.shield(self._task), WITHIN_S)


@asynccontextmanager
async def running(folder: Path, told: Told, config: str) -> AsyncIterator[Running]:
    """`modelport serve` without its command line, until the block ends."""
    loop = asyncio.get_running_loop()
    read, before = reader(folder, config), handlers()
    with redirect_stderr(told):
        task = asyncio.create_task(Process(read(), read).run())
        try:
            await told.until("listens on")
            async with aiohttp.ClientSession() as session:
                yield Running(folder / "modelport.toml", told, session, task, before)
        finally:
            task.cancel()
            await asyncio.wait([task])
            for number in SIGNALS:
                loop.remove_signal_handler(number)
            loop.set_exception_handler(None)


def changes(folder: Path) -> list[Any]:
    """What the audit log says of configurations, oldest first."""
    with closing(sqlite3.connect(folder / "share" / "modelport" / "modelport.db")) as database:
        rows = database.execute("SELECT after FROM audit WHERE action = 'configuration.loaded' ORDER BY seq")
        return [json.loads(after) for (after,) in rows]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=["SIGTERM", "SIGINT"])
async def test_a_process_says_where_it_is_answers_and_ends_on_a_signal(
    tmp_path: Path, told: Told, number: signal.Signals
) -> None:
    async with running(tmp_path, told, PORT) as process:
        async with process.session.get(f"{process.url}/health/live") as answer:
            assert answer.status == 200

        await process.stop(number)

        with pytest.raises(aiohttp.ClientConnectorError):
            await process.session.get(f"{process.url}/health/live")


async def test_the_log_goes_to_the_file_that_the_configuration_names(tmp_path: Path, told: Told) -> None:
    """Beside the configuration; until it names another one that can be had."""
    log = logging.getLogger("modelport.test")
    async with running(tmp_path, told, PORT + "[logging]\nfile = 'server.log'\n") as process:
        log.warning("first")
        await process.reread(PORT, "configuration read again (SIGHUP)")
        log.warning("second")
        bad = PORT + "[logging]\nfile = 'gone/server.log'\n"
        await process.reread(
            bad, f"[logging] file: {tmp_path}/gone/server.log cannot be opened for writing: No such file"
        )
        log.warning("third")
        await process.stop()

    assert "first" in (tmp_path / "server.log").read_text("utf-8")
    assert [word in told.getvalue() for word in ("first", "second", "third")] == [False, True, True]


async def test_sighup_takes_a_good_configuration_and_leaves_bad_ones(
    tmp_path: Path, told: Told, upstream: Upstream
) -> None:
    upstream.script("m", says())
    async with running(tmp_path, told, PORT + provider("one", upstream)) as process:
        await process.reread("[server]\nprot = 1\n", "SIGHUP, but the new configuration is wrong; the old one stays")
        unread = await process.status("one/m")
        await process.reread(
            PORT + "[auth]\nrequired = true\n", "SIGHUP, but the new configuration cannot be used; the old one stays"
        )
        unusable = await process.status("one/m")
        await process.reread(
            "[server]\nport = 1\n[breaker]\nfailures = 9\n" + provider("two", upstream),
            "configuration read again (SIGHUP)",
        )
        gone, new = await process.status("one/m"), await process.status("two/m")
        await process.stop()

    assert (unread, unusable, gone, new) == (200, 200, 404, 200)
    kept = "the address of [server] and [breaker] changed, which takes effect at the next start"
    assert kept in told.getvalue()
    assert KEY not in told.getvalue()
    start, reload = changes(tmp_path)
    assert (set(start), reload["why"]) == ({"digest"}, "SIGHUP")
    assert reload["changed"]["breaker.failures"][1] == 9


async def test_a_changed_file_is_read_and_a_bad_state_of_it_told_once(
    tmp_path: Path, told: Told, upstream: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks: list[Loaded] = []

    def look(loaded: Loaded) -> bool:
        looks.append(loaded)
        return changed_since(loaded)

    async def look_thrice() -> None:
        enough = len(looks) + 3
        while len(looks) < enough:
            await asyncio.sleep(0)

    monkeypatch.setattr(app, "RELOAD_CHECK_S", 0.001)
    monkeypatch.setattr(app, "changed_since", look)
    upstream.script("m", says())
    watched = "[server]\nport = 0\nreload = true\n"
    async with running(tmp_path, told, watched) as process:
        (tmp_path / "modelport.toml").write_text(watched + "prot = 1\n")
        await told.until("the file changed, but the new configuration is wrong")
        await look_thrice()
        (tmp_path / "modelport.toml").write_text(watched + "[auth]\nrequired = true\n")
        await told.until("the file changed, but the new configuration cannot be used")
        await look_thrice()
        (tmp_path / "modelport.toml").write_text(watched + provider("two", upstream))
        await told.until("configuration read again (the file changed)")
        new = await process.status("two/m")
        await process.stop()

    assert new == 200
    assert [told.getvalue().count(words) for words in ("is wrong", "cannot be used")] == [1, 1]


async def test_only_a_start_with_another_configuration_is_told_to_the_audit_log(tmp_path: Path, told: Told) -> None:
    for config in (PORT, PORT, PORT + "[breaker]\nfailures = 9\n"):
        async with running(tmp_path, Told(), config) as process:
            await process.stop()

    first, second = changes(tmp_path)
    assert first["digest"] != second["digest"]


@pytest.mark.parametrize("ends", [True, False], ids=["ends in time", "is cut"])
async def test_a_running_answer_has_shutdown_s_to_end(
    tmp_path: Path, told: Told, upstream: Upstream, ends: bool
) -> None:
    whole = streams("Hello", " there")
    held = len(chunk({"role": "assistant", "content": ""})) + len(chunk({"content": "Hello"}))
    upstream.script("m", Answer.sse(whole.body, split="events", hold_at=held))
    config = f"[server]\nport = 0\nshutdown_s = {WITHIN_S if ends else 0.05}\n" + provider("one", upstream)
    async with running(tmp_path, told, config) as process:
        asked = question(model="one/m", stream=True)
        async with process.session.post(f"{process.url}/v1/chat/completions", json=asked) as answer:
            await answer.content.readuntil(b"Hello")
            stopping = asyncio.create_task(process.stop())
            if ends:
                (await asyncio.to_thread(upstream.wait_asked, "m")).release()
                assert (await answer.content.read()).endswith(b"data: [DONE]\n\n")
            else:
                await told.until("1 answers did not end within 0.05 s and are cut")
            await stopping

    with closing(sqlite3.connect(tmp_path / "share" / "modelport" / "modelport.db")) as database:
        ((status,),) = database.execute("SELECT status FROM exchanges")
    assert status in ({"ok"} if ends else {"aborted", "interrupted"})


# --- the exit status


def test_serve_ends_with_0_when_it_is_told_to_stop(tmp_path: Path, told: Told) -> None:
    read, before = reader(tmp_path, PORT), handlers()
    told.then = ("listens on", lambda: send(signal.SIGTERM, before))

    with redirect_stderr(told):
        assert app.serve(read(), read) == 0


@pytest.mark.parametrize("cause", ["port", "nobody", "database", "log"])
def test_serve_that_cannot_start_says_why(tmp_path: Path, told: Told, cause: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        (tmp_path / "text.db").write_text("This is no database. " * 300)
        config, status, words = {
            "port": (f"[server]\nport = {port}\n", 1, f"cannot listen on 127.0.0.1:{port}: Address already in use; "),
            "nobody": (PORT + "[auth]\nrequired = true\n", 2, "make one: modelport keys create"),
            "log": (
                PORT + "[logging]\nfile = 'gone/log'\n",
                1,
                f"[logging] file: {tmp_path}/gone/log cannot be opened",
            ),
            "database": (PORT + f"[storage]\npath = '{tmp_path}/text.db'\n", 1, "text.db"),
        }[cause]
        read = reader(tmp_path, config)

        with redirect_stderr(told):
            assert app.serve(read(), read) == status

    last = told.getvalue().splitlines()[-1]
    assert last.startswith("modelport: ")
    assert words in last
    assert "listens on" not in told.getvalue()


# --- the banner


def lines(text: str) -> dict[str, str]:
    """The banner's lines by their first word."""
    assert text.endswith("\n")
    return {line.partition(" ")[0]: line for line in text.splitlines()}


async def command(serve: Serve, address: str, *sections: str) -> Sequence[str]:
    """The words that a shell makes of the command to try."""
    setup = (await serve(*sections)).services.setup
    return shlex.split(lines(banner(setup, address))["try:"])[1:]


async def test_a_banner_says_address_providers_database_and_a_command(serve: Serve, upstream: Upstream) -> None:
    server = await serve(provider("one", upstream, more="models = ['m']"))

    told = lines(banner(server.services.setup, "http://127.0.0.1:1"))

    assert told["modelport"] == (
        f"modelport {version()} listens on http://127.0.0.1:1  (base URL for SDKs: http://127.0.0.1:1/v1)"
    )
    assert "one" in told["providers:"].removeprefix("providers: ").split(", ")
    assert told["database:"] == f"database: {server.database}"
    assert "no" not in told
    assert "warning:" in told  # the key stands in the file as it is
    assert KEY not in "".join(told.values())


async def test_the_command_asks_a_real_provider_and_carries_a_key_where_one_is_required(
    serve: Serve, upstream: Upstream
) -> None:
    """No key is printed: the shell puts it in."""
    access = f"[auth]\nrequired = true\nmaster_key = '{MASTER}'\n"

    words = await command(serve, "http://h:1", access, provider("one", upstream, more='models = ["it\'s"]'))

    assert words[:2] == ["curl", "http://h:1/v1/chat/completions"]
    assert "authorization: Bearer $MODELPORT_MASTER_KEY" in words
    body = json.loads(words[words.index("-d") + 1])
    assert body == {"model": "one/it's", "messages": [{"role": "user", "content": "Hello"}]}


async def test_without_a_real_provider_the_demo_answers(serve: Serve) -> None:
    server = await serve("")

    told = banner(server.services.setup, "http://h:1")

    assert "demo answers with simulations (set OPENAI_API_KEY" in told
    words = shlex.split(lines(told)["try:"])
    assert json.loads(words[-1])["model"].startswith("demo/")
    assert not any("authorization" in word for word in words)
    assert (await server.ask(**json.loads(words[-1]))).status == 200


async def test_without_any_provider_the_banner_says_none(serve: Serve) -> None:
    server = await serve("[providers.demo]\nenabled = false\n")

    told = lines(banner(server.services.setup, "http://h:1"))

    assert told["providers:"] == "providers: none"
    assert '"model":""' in told["try:"]


@pytest.mark.parametrize(
    ("listens", "asked"),
    [
        ("http://0.0.0.0:4100", "http://127.0.0.1:4100"),
        ("http://[::]:4100", "http://[::1]:4100"),
        ("http://192.0.2.1:4100", "http://192.0.2.1:4100"),
    ],
    ids=["everywhere", "everywhere by IPv6", "one address"],
)
async def test_the_command_asks_an_address_that_can_be_asked(serve: Serve, listens: str, asked: str) -> None:
    assert (await command(serve, listens))[1] == f"{asked}/v1/chat/completions"
