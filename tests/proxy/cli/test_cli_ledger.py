"""`modelport ledger` against a stub of the server, and with none at all."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

REPORT = {
    "status": "differences", "exchanges": 4, "attempts": 6, "charges": 1, "days": 2, "costs_recomputed": 3,
    "costs_not_recomputed": 0, "count": 1,
    "differences": [{"kind": "cost", "where": "req_1", "what": "cost_nanousd", "expected": "2", "found": "3"}],
}  # fmt: skip
EXPORT = "/api/v1/ledger/export"


def test_an_export_goes_to_standard_output(run: Any, stub: Any) -> None:
    stub.say("GET", EXPORT, b'{"id":"a"}\n')
    result = run("ledger", "export", "--since", "7d", "--url", stub.url)

    assert (result.exit_code, result.stdout) == (0, '{"id":"a"}\n')
    assert stub.asked[0][1] == f"{EXPORT}?format=jsonl&since=7d"


def test_an_export_goes_to_a_file_and_says_so_elsewhere(run: Any, stub: Any, tmp_path: Path) -> None:
    stub.say("GET", EXPORT, b"id\n1\n")
    result = run("ledger", "export", "--format", "csv", "-o", "out.csv", "--url", stub.url)

    assert (result.exit_code, result.stdout, result.stderr) == (0, "", "out.csv: 5 bytes\n")
    assert (tmp_path / "out.csv").read_bytes() == b"id\n1\n"


def test_an_export_that_is_refused_leaves_a_file_as_it_is(run: Any, stub: Any, tmp_path: Path) -> None:
    (tmp_path / "out.jsonl").write_text("old")
    stub.say("GET", EXPORT, {"error": {"message": "since: expected a time"}}, 400)
    result = run("ledger", "export", "--since", "soon", "-o", "out.jsonl", "--url", stub.url)

    assert (result.exit_code, "since: expected a time" in result.stderr) == (1, True)
    assert sorted(path.name for path in tmp_path.iterdir() if path.name.startswith("out")) == ["out.jsonl"]
    assert (tmp_path / "out.jsonl").read_text() == "old"


def test_a_folder_that_is_not_there_is_named(run: Any, stub: Any) -> None:
    result = run("ledger", "export", "-o", "nowhere/out.jsonl", "--url", stub.url)

    assert (result.exit_code, result.stderr) == (1, "nowhere/out.jsonl: No such file or directory\n")


def test_prune_says_what_was_removed(run: Any, stub: Any) -> None:
    stub.say("POST", "/api/v1/ledger/prune", {"removed": 7, "before": "2026-08-23T00:00:00Z", "sums_kept": False})
    result = run("ledger", "prune", "--before", "90d", "--drop-sums", "--url", stub.url)

    assert result.stdout == "7 exchanges before 2026-08-23T00:00:00Z removed; their sums are gone, too\n"
    assert stub.asked[0][3] == {"before": "90d", "keep_sums": False}


DOUBTFUL = {
    "error": {
        "message": "before: no exchange would be left: all are older; to remove them all the same, say so: confirm",
        "code": "not_confirmed",
    }
}


def test_prune_of_more_than_people_mean_needs_a_yes(run: Any, stub: Any) -> None:
    stub.say("POST", "/api/v1/ledger/prune", DOUBTFUL, 400)
    result = run("ledger", "prune", "--before", "0d", "--url", stub.url)

    assert (result.exit_code, result.stderr) == (
        1,
        "before: no exchange would be left: all are older; to remove them all the same, say --yes\n",
    )
    assert [asked[3] for asked in stub.asked] == [{"before": "0d", "keep_sums": True}]


def test_prune_with_a_yes_does_not_ask(run: Any, stub: Any) -> None:
    stub.say("POST", "/api/v1/ledger/prune", {"removed": 7, "before": "2026-08-23T00:00:00Z", "sums_kept": True})
    result = run("ledger", "prune", "--before", "0d", "--yes", "--url", stub.url)

    assert result.exit_code == 0
    assert stub.asked[0][3] == {"before": "0d", "keep_sums": True, "confirm": True}


def test_verify_lists_differences_and_exits_with_1(run: Any, stub: Any) -> None:
    stub.say("POST", "/api/v1/ledger/verify", REPORT)
    result = run("ledger", "verify", "--url", stub.url)

    assert result.exit_code == 1
    assert result.stdout.splitlines()[-2:] == [
        "1 difference:", "  cost req_1: cost_nanousd is 3, should be 2",
    ]  # fmt: skip


def test_verify_as_json_is_the_report(run: Any, stub: Any) -> None:
    stub.say("POST", "/api/v1/ledger/verify", REPORT)
    result = run("ledger", "verify", "--json", "--url", stub.url)

    assert (result.exit_code, json.loads(result.stdout)) == (1, REPORT)


def test_verify_works_without_a_running_server(run: Any, tmp_path: Path) -> None:
    config = tmp_path / "modelport.toml"
    config.write_text('[server]\nport = 1\n[storage]\npath = "m.db"\n')
    result = run("ledger", "verify", "--config", str(config))

    assert (result.exit_code, result.stdout.splitlines()[-1]) == (0, "everything agrees"), result.stderr


OFFLINE = [
    (("costs",), 0, "0.000000000"),
    (("costs", "--unpriced"), 0, "every cost is known"),
    (("costs", "--json"), 0, '"exchanges": 0'),
    (("costs", "reprice"), 0, "changed 0 of 0 attempts"),
    (("prices", "show", "openai/gpt-5"), 0, "output"),
    (("exchange", "show", "req_none"), 1, "no exchange has the id 'req_none'"),
    (("ledger", "prune", "--before", "2999-01-01"), 1, "in the future"),
    (("cache", "stats"), 0, "0 entries"),
    (("catalog", "show", "demo/echo"), 0, "demo"),
    (("route", "list"), 0, "no routes are configured"),
]


@pytest.mark.parametrize(
    ("command", "status", "told"), OFFLINE, ids=lambda each: " ".join(each) if isinstance(each, tuple) else ""
)
def test_the_books_are_read_without_a_running_server_which_is_not_spoken_of(
    run: Any, tmp_path: Path, command: tuple[str, ...], status: int, told: str
) -> None:
    config = tmp_path / "modelport.toml"
    config.write_text('[server]\nport = 1\n[storage]\npath = "m.db"\n')
    result = run(*command, "--config", str(config))

    assert (result.exit_code, told in result.output) == (status, True), result.output
    assert "server" not in result.output
