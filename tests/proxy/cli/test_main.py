"""The console script's entry, in the test's process: which command it takes, its lines and its exit status."""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from proxy import cli
from proxy.version import version
from tests.replay import free_port

Main = Callable[..., Any]


@pytest.fixture
def main(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Main]:
    """Runs `modelport WORDS` in an empty folder with an empty environment; the exit status."""
    monkeypatch.chdir(tmp_path)
    for name in ("MODELPORT_URL", "MODELPORT_KEY", "MODELPORT_CONFIG"):
        monkeypatch.delenv(name, raising=False)
    for name, folder in (("HOME", "."), ("XDG_CONFIG_HOME", "settings"), ("XDG_DATA_HOME", "share")):
        monkeypatch.setenv(name, str(tmp_path / folder))

    def main(*words: str) -> Any:
        monkeypatch.setattr(sys, "argv", ["modelport", *words])
        with pytest.raises(SystemExit) as left:
            cli.main()
        return left.value.code

    yield main
    gc.enable()  # `serve` turns it off while it imports


@pytest.mark.parametrize(
    ("words", "status", "out", "err"),
    [
        (("--version",), 0, f"modelport {version()}\n", ""),
        (("version",), 0, f"modelport {version()}\n", ""),
        (("nonsense",), 2, "", "No such command 'nonsense'"),
        (("serve", "--help"), 0, "usage: modelport serve", ""),
        (("serve", "--prot", "1"), 2, "", "unrecognized arguments: --prot 1"),
        (("serve", "--port", "many"), 2, "", "--port"),
        (("live", "--help"), 0, "usage: modelport live", ""),
        (("live", "--config", "absent.toml"), 1, "", "modelport: "),
        (("keys", "list", "--config", "absent.toml"), 2, "", "absent.toml"),
    ],
    ids=["option", "version", "no word", "help", "no option", "no number", "live help", "not alive", "no file"],
)
def test_a_status_tells_what_happened(
    main: Main, capsys: pytest.CaptureFixture[str], words: tuple[str, ...], status: int, out: str, err: str
) -> None:
    left = main(*words)

    told = capsys.readouterr()
    assert (left, out in told.out, err in told.err) == (status, True, True), told
    assert "Traceback" not in told.out + told.err


def test_a_wrong_configuration_is_told_and_no_server_starts(
    main: Main, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "modelport.toml").write_text("[server]\nprot = 1\n")

    assert main("serve", "--config", "modelport.toml") == 2
    assert "server.prot" in capsys.readouterr().err
    assert not (tmp_path / "share").exists()


def test_live_asks_the_server(main: Main, stub: Any, capsys: pytest.CaptureFixture[str]) -> None:
    stub.say("GET", "/health/live", {"status": "ok"})

    assert main("live", "--url", stub.url) == 0
    assert main("live", "--url", f"http://127.0.0.1:{free_port()}") == 1
    assert capsys.readouterr().err.startswith("modelport: nothing answers at ")
    assert len(stub.asked) == 1


@pytest.mark.parametrize("word", ["serve", "live", "version"])
def test_among_packages_that_are_not_ours_nothing_runs(
    main: Main, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], word: str
) -> None:
    monkeypatch.setattr(cli, "stranger", lambda root: f"{root.name} is another's" if root == cli.ROOT else None)

    assert main(word) == 2
    assert capsys.readouterr() == ("", f"modelport: {cli.ROOT.name} is another's\n")
