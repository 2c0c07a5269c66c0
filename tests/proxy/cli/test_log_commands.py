"""`modelport log level`: shown, changed, reset."""

from __future__ import annotations

import pytest

from tests.proxy.cli.conftest import Run, Stub

PATH = "/api/v1/log-levels"


def test_the_levels_are_shown(stub: Stub, run: Run) -> None:
    rows = [{"name": "root", "level": "info"}, {"name": "modelport.requests", "level": None}]
    stub.say("GET", PATH, {"data": rows})

    shown = run("log", "level", "--url", stub.url)

    assert shown.exit_code == 0
    assert [line.split() for line in shown.stdout.splitlines()][1:] == [["root", "info"], ["modelport.requests", "-"]]


@pytest.mark.parametrize(
    ("arguments", "method", "body", "level", "words"),
    [
        (("debug",), "PUT", {"level": "debug"}, "debug", "modelport.requests writes from debug on"),
        (("--reset",), "DELETE", None, None, "modelport.requests writes from the level of the one above it on"),
    ],
    ids=["set", "reset"],
)
def test_a_level_is_changed(
    stub: Stub, run: Run, arguments: tuple[str, ...], method: str, body: object, level: str | None, words: str
) -> None:
    stub.say(method, f"{PATH}/modelport.requests", {"name": "modelport.requests", "level": level})

    done = run("log", "level", "modelport.requests", *arguments, "--url", stub.url)

    assert (done.exit_code, done.stdout.strip()) == (0, words)
    assert [(each[0], each[1], each[3]) for each in stub.asked] == [(method, f"{PATH}/modelport.requests", body)]


@pytest.mark.parametrize("arguments", [("root",), ("root", "debug", "--reset")], ids=["neither", "both"])
def test_either_a_level_or_a_reset(stub: Stub, run: Run, arguments: tuple[str, ...]) -> None:
    done = run("log", "level", *arguments, "--url", stub.url)

    assert done.exit_code == 1
    assert done.stderr.strip() == "say either a level (debug, info, warning, error) or --reset"
    assert stub.asked == []
