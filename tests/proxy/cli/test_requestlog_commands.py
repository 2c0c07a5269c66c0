"""`modelport logs` against a stub of the server: what it asks, and what a terminal gets to see."""

from __future__ import annotations

import json
import stat
from pathlib import Path
from typing import Any

import pytest

from proxy.cli.client import Server
from proxy.cli.requestlog import follow

EVIL = "\x1b]0;owned\x07\x1b[2J\x9b31m\u202egnp.exe\rback"
ROW = {
    "row": 7, "id": "req_1", "at": "2026-11-21T02:10:34Z", "key": None, "status": "ok", "target": "one/m",
    "route": "one/m", "cost_usd": "0.000020000", "error": None, "question": f"Hi {EVIL}", "answer": f"Yo {EVIL}",
}  # fmt: skip
WHOLE = {
    **ROW,
    "request": {
        "model": EVIL,
        EVIL: 1,
        "messages": [{"role": "user", "content": f"two\nlines {EVIL}"}, {"role": EVIL, "content": [{"text": EVIL}]}],
    },
    "response": {"choices": [{"message": {"content": EVIL}}]},
}
ACTING = ("\x1b", "\x07", "\x9b", "\u202e", "\r")


def harmless(text: str) -> bool:
    return not any(letter in text for letter in ACTING)


@pytest.mark.parametrize(
    "arguments",
    [
        ("tail",),
        ("tail", "--json"),
        ("search", "hi"),
        ("search", "hi", "--json"),
        ("show", "req_1"),
        ("show", "req_1", "--json"),
        ("export",),
    ],
)
def test_what_was_logged_cannot_act_upon_a_terminal(run: Any, stub: Any, arguments: tuple[str, ...]) -> None:
    stub.say("GET", "/api/v1/logs", {"data": [ROW], "next": None})
    stub.say("GET", "/api/v1/logs/req_1", WHOLE)
    stub.say("GET", "/api/v1/logs/export", json.dumps(WHOLE, ensure_ascii=False).encode() + b"\n")

    result = run("logs", *arguments, "--url", stub.url)

    assert result.exit_code == 0, result.output
    assert "req_1" in result.stdout
    assert harmless(result.stdout.replace("\r\n", "\n"))
    if "--json" in arguments or "export" in arguments:
        found = json.loads(result.stdout)
        assert (found["data"][0] if "data" in found else found)["question"] == ROW["question"]


def test_tail_and_search_say_what_they_want(run: Any, stub: Any) -> None:
    stub.say("GET", "/api/v1/logs", {"data": [ROW, {**ROW, "id": "req_0"}], "next": "6"})

    listed = run("logs", "tail", "--model", "m", "--limit", "2", "--url", stub.url)
    run("logs", "search", "blue whale", "--since", "7d", "--status", "ok", "--cursor", "6", "--url", stub.url)

    assert listed.stdout.index("req_0") < listed.stdout.index("req_1")
    assert listed.stderr == "there are older ones: --cursor 6\n"
    assert [asked[1] for asked in stub.asked] == [
        "/api/v1/logs?model=m&limit=2",
        "/api/v1/logs?text=blue+whale&status=ok&since=7d&limit=100&cursor=6",
    ]


def test_show_reads_like_a_conversation(run: Any, stub: Any) -> None:
    body = {"model": "m", "messages": [{"role": "user", "content": "two\nlines"}]}
    stub.say("GET", "/api/v1/logs/req_1", {**ROW, "request": body, "response": None})

    result = run("logs", "show", "req_1", "--url", stub.url)

    assert result.stdout.endswith('--- asked\nmodel: "m"\nmessages[0] user:\ntwo\nlines\n\n--- answered\n(nothing)\n')


def test_an_export_is_a_file_for_nobody_else(run: Any, stub: Any, tmp_path: Path) -> None:
    stub.say("GET", "/api/v1/logs/export", b'{"id":"a"}\n')

    result = run("logs", "export", "--since", "7d", "--output", "out.jsonl", "--url", stub.url)

    assert result.exit_code == 0, result.output
    assert (tmp_path / "out.jsonl").read_bytes() == b'{"id":"a"}\n'
    assert stat.S_IMODE((tmp_path / "out.jsonl").stat().st_mode) == 0o600


def test_remove_says_how_many(run: Any, stub: Any) -> None:
    stub.say("DELETE", "/api/v1/logs", {"removed": 3, "key": "key_1"})

    result = run("logs", "remove", "--key", "key_1", "--url", stub.url)

    assert (result.stdout, stub.asked[0][1]) == ("3 entries removed\n", "/api/v1/logs?key=key_1")


def test_following_goes_on_after_the_newest(stub: Any, capsys: Any) -> None:
    """The second look asks for what came after the first; then the person has seen enough."""
    stub.say("GET", "/api/v1/logs", {"data": [ROW], "next": None})
    looks: list[float] = []

    def pause(seconds: float) -> None:
        looks.append(seconds)
        if len(looks) == 2:
            raise KeyboardInterrupt

    follow(Server(stub.url), {"limit": "10"}, as_json=False, pause=pause)

    assert [asked[1] for asked in stub.asked] == ["/api/v1/logs?limit=10", "/api/v1/logs?limit=1000&after=7"]
    assert capsys.readouterr().out.count("req_1") == 2
