"""The log: one line a record, bounded, without request lines, machine-readable where wanted."""

from __future__ import annotations

import json
import logging
from contextvars import copy_context

import pytest

from proxy.config.model import LoggingSettings
from proxy.logs import MAX_MESSAGE, RECORDS_PER_S, REQUEST_ID, configure_logging, dropped_records

log = logging.getLogger("modelport.test")


class Moving:
    """A monotonic clock; moves when told."""

    at = 100.0

    def __call__(self) -> float:
        return self.at


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


def test_what_a_flood_has_cost_is_said_and_counted(capsys: pytest.CaptureFixture[str]) -> None:
    clock = Moving()
    configure_logging(LoggingSettings(), clock)
    for number in range(RECORDS_PER_S + 7):
        log.warning("record %d", number)
    clock.at += 1
    log.warning("after")

    written = capsys.readouterr().err.splitlines()
    assert len(written) == RECORDS_PER_S + 2
    assert written[-2].endswith("7 log records were dropped: more than 200 came in a second")
    assert written[-1].endswith("after")
    assert dropped_records() == 7
    configure_logging(LoggingSettings(), clock)
    assert dropped_records() == 7


def test_fields_are_members_in_json_and_words_in_text(capsys: pytest.CaptureFixture[str]) -> None:
    fields = {"route": "two words", "total_ms": 12.5, "attempts": [{"target": "a/m\x1b[31m"}], "level": "mine"}
    configure_logging(LoggingSettings(format="json"))
    log.warning("slow", extra={"fields": fields})
    as_json = json.loads(capsys.readouterr().err)
    configure_logging(LoggingSettings())
    log.warning("slow", extra={"fields": fields})
    as_text = capsys.readouterr().err

    assert as_json | {"at": ""} == {
        "at": "",
        "level": "warning",
        "logger": "modelport.test",
        "message": "slow",
        "route": "two words",
        "total_ms": 12.5,
        "attempts": [{"target": "a/m\\x1b[31m"}],
    }
    assert 'modelport.test: slow route="two words" total_ms=12.5 attempts=[' in as_text
    assert "\x1b" not in as_text


@pytest.mark.parametrize(("form", "told"), [("text", "modelport.test req_1: said"), ("json", '"request_id":"req_1"')])
def test_the_id_of_the_request_is_told(capsys: pytest.CaptureFixture[str], form: str, told: str) -> None:
    configure_logging(LoggingSettings(format=form))  # type: ignore[arg-type]  # one of the two words

    copy_context().run(lambda: (REQUEST_ID.set("req_1"), log.warning("said")))
    log.warning("later")

    first, second = capsys.readouterr().err.splitlines()
    assert told in first
    assert "req_1" not in second


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


@pytest.mark.parametrize("form", ["text", "json"])
def test_a_secret_is_in_no_part_of_a_record(capsys: pytest.CaptureFixture[str], form: str) -> None:
    """Not in what is said, in a field, in a traceback, nor cut in two at the end of what is written."""
    secret = "canary-0123456789-abcdefghijklmnop"
    settings = LoggingSettings(format=form)  # type: ignore[arg-type]  # one of the two words
    configure_logging(settings, clean=lambda text: text.replace(secret, "[secret]"))

    log.warning("the key %s", secret)
    log.warning("fields", extra={"fields": {"key": secret, "inner": {"key": [secret]}}})
    log.warning("%s", "x" * (MAX_MESSAGE - 12) + secret)
    try:
        raise ValueError(f"{secret} is wrong" + "y" * (MAX_MESSAGE - len(secret)))
    except ValueError:
        log.exception("broke: %s", secret)

    written = capsys.readouterr().err
    assert [piece for piece in ("canary", "456789-abc", "jklmnop") if piece in written] == []
    assert written.count("[secret]") >= 4
