"""`modelport cache` against a stub of the server."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

PATH = "/api/v1/cache"
STATS = {
    "entries": 3, "hits": 2, "misses": 2, "hit_rate": 0.5, "size_mb": 0.1, "stale_hits": 1, "similar_hits": 1,
    "saved_usd": "0.000020000", "dropped": 0,
    "by": [
        {"route": "r", "model": "one/m", "entries": 3, "size_mb": 0.1, "hits": 2, "stale_hits": 1, "similar_hits": 1,
         "misses": 2, "saved_usd": "0.000020000"},
    ],
    "semantic": {"entries": 4, "hits": 1, "guarded": 5, "false_hits": 6},
}  # fmt: skip
CHAT = "/v1/chat/completions"


def lines(path: Path, *values: Any) -> str:
    path.write_text("\n".join(json.dumps(value) for value in values), "utf-8")
    return str(path)


def test_the_statistics_are_told_by_route_and_model(run: Any, stub: Any) -> None:
    stub.say("GET", PATH, STATS)
    shown = run("cache", "stats", "--url", stub.url).stdout.splitlines()

    assert shown[:3] == [
        "3 entries, 0.1 MB",
        "2 hits, 2 misses (50 % hits)",
        "0.000020000 USD saved; 1 hits were stale, 1 the same question in other words",
    ]
    assert shown[4].split() == ["r", "one/m", "3", "0.1", "2", "1", "1", "2", "0.000020000"]
    assert shown[5] == "semantic: 4 questions, 1 hits, 5 kept apart, 6 reported as false"


def test_a_purge_says_what_it_is_about(run: Any, stub: Any) -> None:
    stub.say("DELETE", PATH, {"cleared": 2})
    result = run("cache", "purge", "--tag", "team=search", "--route", "r", "--url", stub.url)

    assert result.stdout == "2 entries removed\n"
    assert stub.asked[0][1] == f"{PATH}?tag=team%3Dsearch&route=r"


def test_a_purge_of_nothing_is_refused(run: Any, stub: Any) -> None:
    result = run("cache", "purge", "--url", stub.url)

    assert (result.exit_code, "modelport cache clear" in result.stderr, stub.asked) == (1, True, [])


def test_a_purge_needs_no_server(run: Any, tmp_path: Path) -> None:
    (tmp_path / "modelport.toml").write_text("[server]\nport = 9\n[storage]\npath = 'm.db'\n")
    result = run("cache", "purge", "--route", "r")

    assert (result.exit_code, result.stdout) == (0, "0 entries removed\n"), result.stderr


def test_warming_asks_every_request_whole(run: Any, stub: Any, tmp_path: Path) -> None:
    stub.say("POST", CHAT, {}, x_modelport_cache="miss")
    file = lines(tmp_path / "w.jsonl", {"path": CHAT, "body": {"model": "a", "stream": True}}, {"body": {"model": "b"}})
    result = run("cache", "warm", file, "--model", "c", "--url", stub.url)

    assert (result.exit_code, result.stdout) == (0, "2 requests: 2 asked, 0 there already\n")
    assert [body for *_, body in stub.asked] == [{"model": "c"}] * 2


def test_warming_takes_what_the_request_log_exports(run: Any, stub: Any, tmp_path: Path) -> None:
    """Only what was answered; each to the path of its dialect."""
    paths = {
        "openai_chat": CHAT,
        "anthropic": "/v1/messages",
        "gemini": "/v1beta/models/r:generateContent",
        "openai_completions": "/v1/completions",
        "embeddings": "/v1/embeddings",
    }
    for path in paths.values():
        stub.say("POST", path, {}, x_modelport_cache="miss")
    asked = [{"dialect": dialect, "route": "r", "status": "ok", "request": {"model": "r"}} for dialect in paths]
    kinds = [{**asked[0], "dialect": dialect} for dialect in ("query", "passthrough")]
    others = [{**asked[0], "status": "failed"}, {**asked[0], "request": None}, *kinds]
    file = lines(tmp_path / "log.jsonl", *asked, *others)
    result = run("cache", "warm", file, "--concurrency", "1", "--url", stub.url)

    assert (result.exit_code, result.stdout) == (0, "5 requests: 5 asked, 0 there already\n"), result.stderr
    assert [path for _, path, *_ in stub.asked] == list(paths.values())


def test_warming_names_the_line_that_failed(run: Any, stub: Any, tmp_path: Path) -> None:
    stub.say("POST", CHAT, {"error": {"message": "no model"}}, 404)
    result = run("cache", "warm", lines(tmp_path / "w.jsonl", {"body": {}}), "--url", stub.url)

    assert (result.exit_code, result.stderr) == (1, "line 1: 404: no model\n")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("{", "line 1: not JSON"),
        ("\n[]", "line 2: expected an object"),
        ('{"path": "x", "body": {}}', "line 1: expected"),
    ],
)
def test_a_file_that_is_wrong_is_refused_before_anything_is_asked(
    run: Any, stub: Any, tmp_path: Path, text: str, told: str
) -> None:
    (tmp_path / "w.jsonl").write_text(text)
    result = run("cache", "warm", "w.jsonl", "--url", stub.url)

    assert (result.exit_code, told in result.stderr, stub.asked) == (1, True, [])


PAIRS = (
    {"one": "What is the capital of France?", "other": "what's the capital of France", "same": True},
    {"one": "What is the capital of France?", "other": "What is the capital of Spain?", "same": False},
    {"one": "Is it raining?", "other": "is it raining", "same": False},
    {"one": "How can I lose weight quickly?", "other": "What is the fastest way of losing weight?", "same": True},
)


def test_the_report_counts_by_words(run: Any, tmp_path: Path) -> None:
    file = lines(tmp_path / "pairs.jsonl", *PAIRS)
    told = json.loads(run("cache", "semantic-report", file, "--json").stdout)
    shown = run("cache", "semantic-report", file).stdout.splitlines()

    assert {name: told[name] for name in ("pairs", "same", "hits", "false_hits", "precision", "recall")} == {
        "pairs": 4, "same": 2, "hits": 2, "false_hits": 1, "precision": 0.5, "recall": 0.5,
    }  # fmt: skip
    assert shown[:2] == [
        "4 pairs, 2 of them the same question",
        "2 hits, 1 false: precision 0.500, recall 0.500, 50 % of the different ones hit",
    ]
    assert shown[-1] == "false: 'Is it raining?' / 'is it raining'"


def test_the_report_compares_by_the_vectors_of_a_model(run: Any, stub: Any, tmp_path: Path) -> None:
    stub.say("POST", "/v1/embeddings", {"data": [{"embedding": [1.0, 0.1]}, {"embedding": [1.0, 0.0]}]})
    file = lines(tmp_path / "pairs.jsonl", PAIRS[3])
    told = json.loads(run("cache", "semantic-report", file, "--model", "one/e", "--json", "--url", stub.url).stdout)

    assert (told["hits"], told["recall"]) == (1, 1.0)
    assert stub.asked[0][3]["input"] == [PAIRS[3]["one"], PAIRS[3]["other"]]
