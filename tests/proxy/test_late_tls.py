"""TLS by aiohttp: the system's authorities count, are read late, and nothing else is trusted."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web

from proxy import late_tls
from proxy.backends.callers import new_session
from proxy.cli import ROOT
from tests.proxy.transport.test_transport import certified


@pytest.fixture(autouse=True)
def _first_connection(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    late_tls._context.cache_clear()
    yield
    late_tls._context.cache_clear()


@pytest.mark.parametrize(
    ("name", "trusted", "reached"),
    [("127.0.0.1", True, True), ("127.0.0.1", False, False), ("other.test", True, False)],
    ids=["holds", "by nobody we trust", "for another name"],
)
async def test_a_certificate_counts_by_the_systems_authorities_and_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, trusted: bool, reached: bool
) -> None:
    theirs, _ = certified(tmp_path, name)
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / ("both.pem" if trusted else "none.pem")))
    runner = web.ServerRunner(web.Server(_answer))
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=theirs)
    await site.start()
    try:
        async with new_session() as session, session.get(f"https://127.0.0.1:{runner.addresses[0][1]}/") as reply:
            told = await reply.text()
    except aiohttp.ClientConnectorCertificateError:
        told = "a certificate that does not hold"
    finally:
        await runner.cleanup()

    assert told == ("hello" if reached else "a certificate that does not hold")


async def _answer(_request: web.BaseRequest) -> web.Response:
    return web.Response(text="hello")


def test_what_aiohttp_makes_at_its_import_trusts_nobody_and_what_is_made_later_does(tmp_path: Path) -> None:
    certified(tmp_path, "127.0.0.1")
    code = (
        "import ssl\nfrom proxy.late_tls import no_authorities\n"
        "with no_authorities():\n import aiohttp.connector as made\n"
        "told = [made._SSL_CONTEXT_VERIFIED, made._SSL_CONTEXT_UNVERIFIED, ssl.create_default_context()]\n"
        "print(*(len(each.get_ca_certs()) for each in told), told[0].verify_mode == ssl.CERT_REQUIRED)"
    )
    environ = {"PYTHONPATH": str(ROOT), "SSL_CERT_FILE": str(tmp_path / "both.pem"), "SSL_CERT_DIR": str(tmp_path)}
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=tmp_path, env=environ)

    assert done.stdout.split() == ["0", "0", "1", "True"]


def test_every_connector_has_its_context() -> None:
    """Without one it would trust nobody, where aiohttp was imported without authorities."""
    made = [
        {keyword.arg for keyword in node.keywords}
        for path in (ROOT / "proxy").rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.Call) and ast.unparse(node.func).endswith(("TCPConnector", "UnixConnector"))
    ]

    assert made
    assert all("ssl" in keywords for keywords in made)
