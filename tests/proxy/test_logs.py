"""The log: one line a record, bounded, without request lines, machine-readable where wanted."""

from __future__ import annotations

import json
import logging
import re
from contextvars import copy_context
from pathlib import Path

import pytest

from proxy.config.model import LoggingSettings
from proxy.log_file import LogFile
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


def test_a_log_file_is_bounded_and_the_oldest_goes(tmp_path: Path) -> None:
    path = tmp_path / "modelport.log"
    configure_logging(LoggingSettings(file=path, file_mb=1, files=3, records_per_s=100_000))
    for number in range(1100):
        log.warning("%d %s", number, "x" * 3900)
    configure_logging(LoggingSettings())

    kept = [tmp_path / name for name in ("modelport.log.2", "modelport.log.1", "modelport.log")]
    assert sorted(tmp_path.iterdir()) == sorted(kept)
    assert all(file.stat().st_size <= 2**20 and file.stat().st_mode & 0o777 == 0o600 for file in kept)
    numbers = [int(line.split()[4]) for file in kept for line in file.read_text("utf-8").splitlines()]
    assert numbers == list(range(numbers[0], 1100))
    assert len(numbers) > 2 * 2**20 // 4100


def test_lines_of_a_file_have_a_date_and_go_nowhere_else(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging(LoggingSettings(file=tmp_path / "log"))
    log.warning("said é\ud800")
    configure_logging(LoggingSettings())

    (line,) = (tmp_path / "log").read_text("utf-8").splitlines()
    assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d WARNING modelport.test: said é\\ud800", line)
    assert capsys.readouterr().err == ""


def test_a_file_that_was_taken_away_is_opened_again(tmp_path: Path) -> None:
    """As logrotate does it: move the file, send SIGHUP."""
    path = tmp_path / "log"
    configure_logging(LoggingSettings(file=path))
    log.warning("before")
    path.rename(tmp_path / "log.old")
    configure_logging(LoggingSettings(file=path))
    log.warning("after")
    configure_logging(LoggingSettings())

    assert "before" in (tmp_path / "log.old").read_text("utf-8")
    assert "after" in path.read_text("utf-8")


def test_two_processes_share_a_file(tmp_path: Path) -> None:
    """The one that finds it full after the other has begun a new one goes on with that."""
    one, other = (LogFile(tmp_path / "log", 100, 3) for _ in range(2))
    for number in range(6):
        one.write(f"one {number} {'x' * 30}\n")
        other.write(f"other {number} {'y' * 30}\n")
    one.close()
    other.close()

    lines = [line for name in ("log.2", "log.1", "log") for line in (tmp_path / name).read_text("utf-8").splitlines()]
    assert [line.split()[:2] for line in lines] == [[who, str(at)] for at in (3, 4, 5) for who in ("one", "other")]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is always full")
def test_a_file_that_takes_nothing_costs_records_and_no_more(capsys: pytest.CaptureFixture[str]) -> None:
    before = dropped_records()
    configure_logging(LoggingSettings(file=Path("/dev/full")))
    log.warning("one")
    log.warning("two")
    configure_logging(LoggingSettings())

    assert dropped_records() == before + 2
    assert capsys.readouterr().err.splitlines() == [
        "modelport: the log cannot be written to /dev/full: No space left on device"
    ]


def test_a_file_that_cannot_be_opened_leaves_the_log_as_it_was(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    configure_logging(LoggingSettings())
    with pytest.raises(FileNotFoundError):
        configure_logging(LoggingSettings(file=tmp_path / "missing" / "log"))
    log.warning("here")

    assert "here" in capsys.readouterr().err


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
