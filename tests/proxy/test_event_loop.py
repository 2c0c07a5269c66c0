"""Which event loop requests run on."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import pytest

from proxy import event_loop
from proxy.app import serve
from proxy.config import load
from proxy.event_loop import NoUvloop, loop_factory

uvloop = pytest.importorskip("uvloop")


def test_uvloop_runs_it_where_it_is_installed() -> None:
    with asyncio.Runner(loop_factory=loop_factory("auto")) as runner:
        assert isinstance(runner.get_loop(), uvloop.Loop)


def test_asyncio_runs_it_where_that_is_wanted_or_all_there_is(monkeypatch: pytest.MonkeyPatch) -> None:
    assert loop_factory("asyncio") is None

    monkeypatch.setattr(event_loop, "find_spec", lambda _: None)
    assert loop_factory("auto") is None


def test_uvloop_that_is_wanted_and_cannot_be_had_is_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "uvloop", None)

    assert loop_factory("auto") is None
    with pytest.raises(NoUvloop, match=r"\[server\] event_loop: uvloop cannot be loaded"):
        loop_factory("uvloop")

    config = tmp_path / "modelport.toml"
    config.write_text(f'[server]\nevent_loop = "uvloop"\nport = 0\n[storage]\npath = "{tmp_path}/m.db"\n', "utf-8")
    assert serve(load(config, environ={}), lambda: load(config, environ={})) == 1
    assert "or say 'auto' or 'asyncio'" in capsys.readouterr().err
