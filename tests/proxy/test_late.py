"""What is imported when it is first wanted: all of it is there, and nobody waits for it but who wants it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from proxy.cli import ROOT
from proxy.late import Late, LateModule
from proxy.routes import ROUTES
from proxy.runners import RUNNERS
from translators.dialects import BACKENDS, CLIENTS, SPOKEN
from translators.embeddings import EMBEDDERS

LATE = [each for each in [*(route.handler for route in ROUTES), *RUNNERS.values()] if isinstance(each, Late)]
UNWANTED = (
    "proxy.ingress.keys",
    "proxy.ingress.messages",
    "proxy.openapi.document",
    "proxy.redaction",
    "proxy.runners.consensus",
    "routing.auto.model",
    "routing.consensus",
    "routing.healing",
    "storage.semantic.lexicon",
    "translators.anthropic",
    "translators.gemini",
    "translators.llamacpp",
    "translators.openai_responses",
    "tiktoken",
    "genai_prices",
    "cryptography",
    "jsonschema_rs",
    "rapidfuzz",
    "regex",
    "rich",
    "typer",
    "yaml",
)
"""What a server that answers chat completions from a server of the same dialect has no use for."""


@pytest.mark.parametrize("late", LATE, ids=lambda late: f"{late.module}.{late.name}")
def test_every_late_function_is_there(late: Late) -> None:
    assert callable(late.found())


@pytest.mark.parametrize("table", [BACKENDS, SPOKEN, CLIENTS, EMBEDDERS], ids=["back", "spoken", "clients", "embed"])
def test_every_late_dialect_is_there(table: object) -> None:
    assert isinstance(table, type(SPOKEN))
    assert [table[name].__name__.partition(".")[0] for name in table] == ["translators"] * len(table)
    assert "morse" not in table
    with pytest.raises(KeyError):
        table["morse"]


async def test_the_first_call_imports_in_a_thread_and_the_next_does_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "far_away.py").write_text(
        "import threading\nimported_by = threading.get_ident()\n"
        "async def hello(services, incoming):\n return imported_by, threading.get_ident(), services, incoming\n",
        "utf-8",
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "far_away", raising=False)
    hello = LateModule("far_away").hello

    first, second = await hello(1, 2), await hello(3, 4)
    monkeypatch.delitem(sys.modules, "far_away")

    assert first[0] == second[0] != first[1]
    assert (first[2:], second[2:]) == ((1, 2), (3, 4))


def test_a_server_starts_without_what_it_does_not_need(tmp_path: Path) -> None:
    """The whole start, up to the port that is taken."""
    code = (
        "import socket, sys\nfrom proxy.cli import main\n"
        "taken = socket.create_server(('127.0.0.1', 0))\n"
        "sys.argv = ['modelport', 'serve', '--port', str(taken.getsockname()[1])]\n"
        "try: main()\nexcept SystemExit as end: print(end.code)\n"
        "print(*sys.modules)\n"
    )
    paths = {"PYTHONPATH": str(ROOT), "HOME": str(tmp_path), "XDG_DATA_HOME": str(tmp_path)}
    command = [sys.executable, "-c", code]
    told = subprocess.run(command, cwd=tmp_path, env=paths, capture_output=True, text=True, check=True).stdout.split()

    assert told[0] == "1"
    assert {"proxy.pipeline", "translators.openai_chat"} <= set(told)
    assert sorted(set(UNWANTED) & set(told)) == []
