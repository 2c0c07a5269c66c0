"""The log: one line a record, bounded, without request lines, machine-readable where wanted."""

from __future__ import annotations

import json
import logging

import pytest

from proxy.config.model import LoggingSettings
from proxy.logs import MAX_MESSAGE, RECORDS_PER_S, configure_logging

log = logging.getLogger("modelport.test")


@pytest.fixture(autouse=True)
def _restored(kept_logging: None) -> None:
    """Each test sets the process's logging up."""


def test_json_lines(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging(LoggingSettings(format="json"))

    log.warning("said %s\nand more", "é")
    try:
        raise ValueError("why")
    except ValueError:
        log.exception("broke")

    first, second = map(json.loads, capsys.readouterr().err.splitlines())
    assert (first["level"], first["logger"], first["message"]) == ("warning", "modelport.test", "said é\nand more")
    assert "ValueError: why" in second["exception"]


@pytest.mark.parametrize("form", ["text", "json"])
def test_a_record_is_bounded(capsys: pytest.CaptureFixture[str], form: str) -> None:
    configure_logging(LoggingSettings(format=form))  # type: ignore[arg-type]  # one of the two words

    log.error("x" * 100_000)
    try:
        raise ValueError("y" * 100_000)
    except ValueError:
        log.exception("broke")

    assert len(capsys.readouterr().err) < 4 * MAX_MESSAGE


@pytest.mark.parametrize("form", ["text", "json"])
def test_what_cannot_be_encoded_is_logged_all_the_same(capsys: pytest.CaptureFixture[str], form: str) -> None:
    """Header bytes that are no text arrive as lone surrogates."""
    configure_logging(LoggingSettings(format=form))  # type: ignore[arg-type]  # one of the two words

    log.error("odd %s end", "\udcff")

    written = capsys.readouterr().err
    assert "end" in written
    assert "Traceback" not in written


def test_a_message_cannot_forge_a_line_or_paint_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging(LoggingSettings())

    log.warning("model %s", "x\n12:00:00 ERROR   modelport: all is lost\x1b[31m\r")

    written = capsys.readouterr().err
    first, second = written.splitlines()
    assert first.endswith("model x")
    assert second.startswith("    12:00:00")
    assert "\x1b" not in written
    assert "\r" not in written


def test_a_flood_is_cut(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging(LoggingSettings())

    for number in range(5 * RECORDS_PER_S):
        log.warning("record %d", number)

    # The flood may fall on the border of two seconds.
    assert len(capsys.readouterr().err.splitlines()) <= 2 * RECORDS_PER_S + 2


def test_the_level_holds(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging(LoggingSettings(level="error"))

    log.warning("quiet")
    log.error("loud")

    assert [line.split()[-1] for line in capsys.readouterr().err.splitlines()] == ["loud"]


@pytest.mark.parametrize("name", ["modelport.http", "aiohttp.server"])
def test_request_lines_are_never_logged(capsys: pytest.CaptureFixture[str], name: str) -> None:
    configure_logging(LoggingSettings(level="debug"))

    logging.getLogger(name).error("Authorization : Bearer sk-secret")

    assert capsys.readouterr().err == ""


def test_it_may_be_called_again(capsys: pytest.CaptureFixture[str]) -> None:
    for _ in range(3):
        configure_logging(LoggingSettings())

    log.warning("once")

    assert len(capsys.readouterr().err.splitlines()) == 1
