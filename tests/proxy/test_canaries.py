"""Every secret that the server is given or gives, and a prompt: none is in what it writes or answers.

`test_canary.py` looks closely at one secret, a provider's stored key; this looks for all of them everywhere.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from proxy.cli.app import MODULES
from proxy.sealing import new_key
from proxy.signing import sign
from tests.proxy.conftest import Serve
from tests.proxy.serving import QUICK, failing, provider, route, says, stream_text
from tests.replay import Answer, Asked, Upstream, free_port
from tests.running import ROOT, Modelport

ALIKE = 14
"""So many characters of a secret in a row are a find."""
PROMPT = "the heron told nobody of its three grey eggs"
SECRETS = {
    "PROVIDER_KEY": "provider.canary+Qm9yZWFs/0123456789abcdef",
    "SECOND_KEY": "second.canary+U2Vjb25k/a9d1c37e5b2f8064",
    "HEADER": "header canary QXVyb3Jh 7c1e9ad05f3b8246",
    "MASTER": "mp-master-canary-TWlyYWdl58e0b1d7c94fa362",
    "BEFORE": "mp-master-former-R2xhY2lle3b7095dc81f64a2",
    "HOOK_SECRET": "webhook.canary+Wmwoaymhq/4f90ce7b1d6a3825",
    "SEAL": new_key(),
}
BASIC = "basic-password-canary-RmpvcmQ9e24d07ba1"
HOOK_PATH = "hook-path-canary-VHVuZHJhb60e8d17c2f3"


@dataclass
class Search:
    """What must be found nowhere. *own* secrets are those of the client that asks, which it may be told itself."""

    secrets: dict[str, str] = field(default_factory=dict)
    _pieces: dict[bytes, str] = field(default_factory=dict)

    def add(self, name: str, secret: str) -> None:
        """Look for *secret* in every spelling from now on."""
        self.secrets[name] = secret
        encoded = base64.b64encode(secret.encode()).decode().rstrip("=")
        for spelled in {secret, quote(secret, safe=""), encoded, secret.encode().hex()}:
            for start in range(0, max(1, len(spelled) - ALIKE), 5):
                piece = spelled[start : start + ALIKE].encode()
                if not piece.startswith((b"mp-master-", b"mp-sign-")):
                    self._pieces[piece] = name

    def finds(self, text: str | bytes) -> set[str]:
        """The names of the secrets that *text* has a piece of."""
        raw = text.encode() if isinstance(text, str) else text
        return {name for piece, name in self._pieces.items() if piece in raw}


def parrot(asked: Asked) -> Answer:
    """A vendor that repeats all headers that it got in whatever goes wrong."""
    echo = f"I was told {dict(asked.headers)!r} at {asked.path}"
    if asked.method == "GET":
        return failing(401, echo)
    match asked.json.get("model"):
        case "good":
            return says("Good.")
        case "stream":
            error = json.dumps({"error": {"message": echo, "type": "server_error"}})
            return Answer.sse(stream_text("Hello").replace("data: [DONE]", f"data: {error}"))
        case "html":
            return Answer(500, {"content-type": "text/html"}, f"<p>{echo}</p>".encode())
        case "broken":
            return Answer(200, {"content-type": "application/json"}, b'{"choices": [' + echo.encode())
        case "moved":
            return Answer(302, {"location": f"http://127.0.0.1:1/{echo[:500]}"}, b"")
        case "header":
            return Answer(429, {"x-ratelimit-remaining-requests": echo[:300], "retry-after": "0"}, b"{}")
        case _:
            return failing(401, echo, code=echo, param=echo)


@pytest.fixture
def vendor() -> Iterator[Upstream]:
    with Upstream(parrot) as running:
        yield running


def config(vendor: Upstream, plain_port: int) -> str:
    """Every place that a secret can be written in, and a provider that is asked for TLS and speaks none."""
    basic = vendor.url.replace("http://", f"http://somebody:{BASIC}@") + "/v1"
    return (
        "[auth]\nrequired = true\nmaster_key = 'env:MASTER'\nwrong_keys_per_minute = 100000\n"
        "[logging]\nlevel = 'debug'\n[secrets]\nkey = 'env:SEAL'\n"
        "[errors]\nwebhook = 'env:HOOK'\nwebhook_secret = 'env:HOOK_SECRET'\n"
        f"[alerts]\nwebhook = 'env:HOOK'\nwebhook_secret = 'env:HOOK_SECRET'\n{QUICK}"
        + provider(
            "one", vendor, keys=("env:PROVIDER_KEY", "env:SECOND_KEY"), more="headers = { x-own = 'env:HEADER' }\n"
        )
        + provider("basic", basic, more="auth = 'none'\n", keys=())
        + provider("tls", f"https://127.0.0.1:{plain_port}/v1", keys=("env:PROVIDER_KEY",))
        + provider("nobody", f"http://127.0.0.1:{free_port()}/v1", keys=("env:SECOND_KEY",))
        + route("all", "one/refused", "basic/html", "tls/m", "nobody/m")
    )


def environment() -> dict[str, str]:
    """What `config` refers to."""
    return {**SECRETS, "HOOK": f"http://127.0.0.1:{free_port()}/{HOOK_PATH}"}


MODELS = (
    *(f"one/{name}" for name in ("good", "stream", "html", "broken", "moved", "header", "refused")),
    *("basic/html", "basic/refused", "tls/m", "nobody/m", "all", "nowhere/m"),
)
SHOWN = (
    *("/health", "/health?probe=1", "/health/ready", "/costs?group_by=provider,model,key", "/metrics", "/v1/models"),
    *("/openapi.json", "/api/v1/exchanges?limit=1000", "/api/v1/ledger/export?format=jsonl", "/api/v1/catalog"),
    *("/api/v1/audit?limit=1000", "/api/v1/llm/providers", "/api/v1/llm/providers/one", "/api/v1/secrets"),
    *("/api/v1/keys", "/api/v1/budgets", "/api/v1/routes", "/api/v1/routes/all", "/api/v1/credentials"),
    *("/api/v1/logs", "/api/v1/logs/export", "/api/v1/prices", "/api/v1/cache", "/debug", "/debug/vars", "/config"),
)


def use(server: Modelport, search: Search, tell: Callable[[bytes], None]) -> None:
    """Ask in every dialect for everything that goes wrong, as the master and with keys that are made for it."""
    master = {"authorization": f"Bearer {SECRETS['MASTER']}"}
    made = server.post("/api/v1/keys", {"name": "plain", "budget": {"limit_usd": "0.000001", "window": "day"}}, master)
    signed = server.post("/api/v1/keys", {"name": "signs", "signing": True}, master)
    search.add("virtual key", made.json["key"].removeprefix("mp-"))
    search.add("signing key", signed.json["key"].removeprefix("mp-"))
    search.add("signing secret", signed.json["signing_secret"].removeprefix("mp-sign-"))

    def ask(method: str, path: str, body: Any = None, **headers: str) -> None:
        raw = None if body is None else json.dumps(body).encode()
        reply = server.request(method, path, raw, {"content-type": "application/json", **headers})
        tell(repr(sorted(reply.headers.items())).encode() + reply.body)

    said = [{"role": "user", "content": PROMPT}]
    own = {"authorization": f"Bearer {made.json['key']}"}
    for who, models in ((master, MODELS), (own, ("one/good", "one/refused", "nowhere/m"))):
        for model in models:
            for stream in (False, True):
                ask("POST", "/v1/chat/completions", {"model": model, "messages": said, "stream": stream}, **who)
            ask("POST", "/v1/messages", {"model": model, "messages": said, "max_tokens": 5}, **who)
            ask("POST", "/v1/responses", {"model": model, "input": PROMPT, "store": False}, **who)
        for model in models[:7]:
            ask("POST", "/v1/embeddings", {"model": model, "input": PROMPT}, **who)
            ask("POST", "/v1/images/generations", {"model": model, "prompt": PROMPT}, **who)
    for wrong in (
        SECRETS["MASTER"][:-1] + "x",
        made.json["key"][:-1] + "x",
        SECRETS["BEFORE"],
        SECRETS["PROVIDER_KEY"],
    ):
        for header in ("x-api-key", "x-goog-api-key", "api-key"):
            ask("GET", "/v1/models", **{header: wrong})
    ask("POST", f"/v1beta/models/m:generateContent?key={made.json['key']}", {"contents": 3})
    ask("GET", f"/nowhere?key={made.json['key']}")
    ask("POST", "/v1/chat/completions", {"model": 3, "messages": said}, **own)
    body = json.dumps({"model": "one/good", "messages": said}).encode()
    at = str(int(time.time()))
    secret = signed.json["signing_secret"].encode()
    proof = sign(secret, "POST", "/v1/chat/completions", body, time=at)
    for given in (proof, proof[:-1] + "0"):
        as_signed = {"x-modelport-key": signed.json["id"], "x-modelport-time": at, "x-modelport-signature": given}
        reply = server.request("POST", "/v1/chat/completions", body, as_signed)
        tell(repr(sorted(reply.headers.items())).encode() + reply.body)
    for line in (
        b"Authorization : Bearer %b",
        b"Authorization: Bearer %b\0",
        b"Authorization: Bearer %b\rx",
        b"\x01: %b",
    ):
        for key in (SECRETS["MASTER"], made.json["key"]):
            tell(
                raw_answer(
                    server, b"GET /v1/models HTTP/1.1\r\nHost: localhost\r\n" + line % key.encode() + b"\r\n\r\n"
                )
            )
    for path in SHOWN:
        ask("GET", path, **master)
        ask("GET", path, **own)
    rotated = server.request("POST", f"/api/v1/keys/{made.json['id']}/rotate", b"{}", master)
    search.add("rotated key", rotated.json["key"].removeprefix("mp-"))
    for row in server.request("GET", "/api/v1/exchanges?limit=1000", None, master).json["data"]:
        ask("GET", f"/api/v1/exchanges/{row['id']}", **master)


def raw_answer(server: Modelport, sent: bytes) -> bytes:
    """What comes back for bytes that no client would send."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=20) as connection:
        connection.sendall(sent)
        came = b""
        while piece := connection.recv(65536):
            came += piece
    return came


def written(folder: Path) -> dict[str, bytes]:
    """Every file of the process but the configuration, which a person writes."""
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file() and path.suffix != ".toml"}


@pytest.fixture
def search() -> Search:
    made = Search()
    for name, secret in SECRETS.items():
        made.add(name, secret)
    made.add("basic", BASIC)
    made.add("hook", HOOK_PATH)
    made.add("digest of the master key", hashlib.sha256(SECRETS["MASTER"].encode()).hexdigest())
    made.add("prompt", PROMPT)
    return made


def test_no_secret_and_no_prompt_is_written_or_answered(tmp_path: Path, vendor: Upstream, search: Search) -> None:
    """Logs at debug level, every file, every answer, the arguments of the process; also after a bad reload."""
    told: list[bytes] = []
    with socket.socket() as plain:
        plain.bind(("127.0.0.1", 0))
        plain.listen()
        text = config(vendor, plain.getsockname()[1]).replace("[providers.tls]", "[providers.tls]\nenabled = true")
        plain.close()  # nobody speaks TLS there
        with Modelport(tmp_path, text, environment()) as server:
            use(server, search, told.append)
            bad = text.replace("'env:MASTER'", f"3\nkey = '{SECRETS['MASTER']}'").replace("[logging]", "[loging]")
            (tmp_path / "modelport.toml").write_text(bad + f"\n[providers.more]\nkeys = '{SECRETS['SECOND_KEY']}'\n")
            server.signal(signal.SIGHUP)
            until = time.monotonic() + 20
            while "the old one stays in force" not in server.log and time.monotonic() < until:
                time.sleep(0.05)  # another process has no event to await
            arguments = Path(f"/proc/{server.pid}/cmdline").read_bytes()
            running = written(tmp_path)

    files = {**running, **written(tmp_path)}
    assert any(SECRETS["PROVIDER_KEY"] in asked.headers.get("authorization", "") for asked in vendor.requests)
    assert {"modelport.db", "modelport.db-wal", "server.log"} <= {Path(name).name for name in files}
    assert "the old one stays in force" in server.log
    assert [(text[:400], search.finds(text)) for text in told if search.finds(text)] == []
    assert {name: search.finds(raw) for name, raw in files.items() if search.finds(raw)} == {}
    assert search.finds(arguments) == set()


def printed(folder: Path, commands: list[list[str]], environ: dict[str, str] | None = None) -> dict[str, str]:
    """What each command prints and logs, one after another in a process of their own."""
    program = (
        "import contextlib, io, json, sys\nfrom proxy.cli import main\n"
        f"for command in json.loads({json.dumps(json.dumps(commands))}):\n"
        "    sys.argv, told = ['modelport', *command], io.StringIO()\n"
        "    with contextlib.redirect_stdout(told), contextlib.redirect_stderr(told):\n"
        "        with contextlib.suppress(SystemExit):\n"
        "            main()\n"
        "    sys.__stdout__.write(json.dumps([' '.join(command), told.getvalue()]) + chr(10))\n"
    )
    home = {"HOME": str(folder), "XDG_DATA_HOME": str(folder / "share"), "NO_COLOR": "1", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=folder,
        env={"PATH": os.environ.get("PATH", ""), **home, **(environ or {})},
        capture_output=True,
        timeout=120,
        check=False,
        stdin=subprocess.DEVNULL,
    )
    assert done.returncode == 0, done.stderr
    return {**dict(json.loads(line) for line in done.stdout.splitlines()), "standard error": done.stderr.decode()}


def test_no_command_prints_a_secret(tmp_path: Path, vendor: Upstream, search: Search) -> None:
    """Without a server; those that show providers and the audit log are in `test_canary.py`."""
    (tmp_path / "modelport.toml").write_text(config(vendor, free_port()), "utf-8")
    commands = [["config", "show"], ["config", "show", "--json"], ["status"], ["keys", "list", "--json"]]
    commands += [["doctor"], ["doctor", "--json"]] if "doctor" in MODULES else []

    told = printed(tmp_path, commands, environment())

    assert "env:PROVIDER_KEY" in told["config show"]
    assert {command: search.finds(text) for command, text in told.items() if search.finds(text)} == {}


def test_a_configuration_that_is_wrong_is_told_without_its_secrets(tmp_path: Path, search: Search) -> None:
    """A key in the place of something else is the commonest slip."""
    slips = [
        f"[auth]\nmaster_key = ['{SECRETS['MASTER']}']\n",
        f"[auth]\nmaster_key = '{SECRETS['MASTER']}\n",
        f"[providers.openai]\nkey = '{SECRETS['PROVIDER_KEY']}'\n",
        f"[providers.openai]\nkeys = '{SECRETS['PROVIDER_KEY']}'\n",
        f"[providers.openai]\nkeys = [['{SECRETS['PROVIDER_KEY']}']]\n",
        f"[providers.openai]\napi_key = '{SECRETS['PROVIDER_KEY']}'\n",
        f"[providers.openai]\nbase_url = 'htp://somebody:{BASIC}@host/v1'\n",
        f"[providers.openai]\nheaders = '{SECRETS['HEADER']}'\n",
        f"[secrets]\nkey = '{SECRETS['SEAL']}x'\n",
        f"[alerts]\nwebhook = 'ftp://host/{HOOK_PATH}'\n",
        f"[alerts]\nwebhook = ['https://host/{HOOK_PATH}']\n",
        "[secrets]\npassphrase = 918273645546372\n",
    ]
    for number, slip in enumerate(slips):
        (tmp_path / f"{number}.toml").write_text(slip, "utf-8")

    told = printed(tmp_path, [["config", "check", "--config", f"{number}.toml"] for number in range(len(slips))])

    assert {command: search.finds(text) for command, text in told.items() if search.finds(text)} == {}
    assert not any("918273645546372" in text for text in told.values())


async def test_no_object_of_a_running_server_shows_a_secret(serve: Serve, vendor: Upstream, search: Search) -> None:
    """As a debugger, a traceback with values or a crash report would print them."""
    server = await serve(config(vendor, free_port()), environ=environment())
    made = await server.request(
        "POST", "/api/v1/keys", b'{"name": "x", "signing": true}', {"authorization": f"Bearer {SECRETS['MASTER']}"}
    )
    search.add("virtual key", made.json["key"].removeprefix("mp-"))
    search.add("signing secret", made.json["signing_secret"].removeprefix("mp-sign-"))
    services, setup = server.services, server.services.setup
    shown = (setup.loaded, setup.loaded.settings, setup.specs, setup.rings, setup.backends, services.keyring.entries)
    shown += (services.gate, services.keyring, services.signatures, services.watch.courier, services.credentials)

    assert {type(each).__name__: search.finds(repr(each)) for each in shown if search.finds(repr(each))} == {}
    assert search.finds(repr(services)) == set()


def test_the_log_of_a_server_has_no_secret_whoever_brings_it(tmp_path: Path, vendor: Upstream, search: Search) -> None:
    """Here a client does, as the name of a model."""
    text = config(vendor, free_port()) + "[breaker]\nfailures = 1\n"
    with Modelport(tmp_path, text, environment()) as server:
        asked = {"model": f"nobody/{SECRETS['PROVIDER_KEY']}", "messages": [{"role": "user", "content": "hi"}]}
        master = {"authorization": f"Bearer {SECRETS['MASTER']}"}
        reply = server.post("/v1/chat/completions", asked, master)

    assert reply.status == 502
    assert "breaker of nobody/[secret]: closed -> open" in server.log
    assert search.finds(server.log) == set()
