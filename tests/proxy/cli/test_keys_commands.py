"""`modelport keys`, `orgs` and `teams`: against a stub of the server, and where no server runs."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
from pathlib import Path
from typing import Any

import pytest

from storage.db import Database

MADE = {
    "id": "key_1", "name": "search", "prefix": "mp-abcd…", "status": "active", "organisation": "acme", "team": None,
    "roles": ["developer"], "models": ["gpt-*"], "routes": ["careful"], "endpoints": [], "tags": {"a": "b"},
    "limits": {"requests_per_minute": 5, "tokens_per_minute": None, "concurrent": None},
    "budget": {"limit_usd": "10.000000000", "window": "day"}, "expires_at": None,
    "last_used_at": "2026-11-21T02:10:34Z",
}  # fmt: skip


def test_a_key_is_made_of_the_options(run: Any, stub: Any) -> None:
    """The key alone goes to standard output."""
    stub.say("POST", "/api/v1/keys", {**MADE, "key": "mp-whole", "signing_secret": "mp-sign-whole"}, 201)
    result = run(
        "keys", "create", "--name", "search", "--role", "developer", "--role", "viewer", "--organisation", "acme",
        "--model", "gpt-*", "--route", "careful", "--endpoint", "/v1/*", "--tag", "a=b=c", "--requests-per-minute", "5",
        "--budget-usd", "10", "--window", "day", "--expires", "90d", "--signing", "--url", stub.url,
    )  # fmt: skip

    assert (result.exit_code, result.stdout.splitlines()) == (0, ["mp-whole", "mp-sign-whole"])
    assert "shown this once" in result.stderr
    assert stub.asked[0][3] == {
        "name": "search", "roles": ["developer", "viewer"], "organisation": "acme", "models": ["gpt-*"],
        "routes": ["careful"], "endpoints": ["/v1/*"], "tags": {"a": "b=c"}, "limits": {"requests_per_minute": 5},
        "budget": {"limit_usd": "10", "window": "day"}, "expires_at": "90d", "signing": True,
    }  # fmt: skip


def test_what_is_not_said_is_not_sent(run: Any, stub: Any) -> None:
    stub.say("POST", "/api/v1/keys", {**MADE, "key": "mp-whole"}, 201)
    run("keys", "create", "--name", "x", "--url", stub.url)

    assert stub.asked[0][3] == {"name": "x"}


def test_globs_that_match_nothing_now_are_said_beside_the_key(run: Any, stub: Any) -> None:
    idle = {"warnings": ["models: 'x' matches no model or route that there is now"]}
    stub.say("POST", "/api/v1/keys", {**MADE, **idle, "key": "mp-whole"}, 201)
    stub.say("POST", "/api/v1/organisations", {"id": "acme", **idle}, 201)
    key = run("keys", "create", "--name", "x", "--model", "x", "--url", stub.url)
    place = run("orgs", "create", "Acme", "--model", "x", "--url", stub.url)

    assert (key.stdout, place.stdout) == ("mp-whole\n", "acme\n")
    assert all(f"warning: {idle['warnings'][0]}" in each.stderr for each in (key, place))


@pytest.mark.parametrize("text", ["1_000", "\u0665", "1e3", "-5", "many"])
@pytest.mark.parametrize("option", ["--requests-per-minute", "--tokens-per-minute", "--concurrent"])
def test_a_limit_is_written_in_digits(run: Any, stub: Any, option: str, text: str) -> None:
    result = run("keys", "create", "--name", "x", option, text, "--url", stub.url)

    assert (result.exit_code, stub.asked) == (2, [])


def test_the_list_shows_what_each_may_ask_and_spend(run: Any, stub: Any) -> None:
    stub.say("GET", "/api/v1/keys", {"data": [MADE]})
    result = run("keys", "list", "--url", stub.url)
    run("keys", "list", "--all", "--url", stub.url)

    assert " ".join(result.stdout.splitlines()[1].split()) == (
        "key_1 search mp-abcd… active developer acme careful, gpt-* 10.000000000 USD a day - 2026-11-21T02:10:34Z"
    )
    assert [asked[1] for asked in stub.asked] == ["/api/v1/keys?status=active", "/api/v1/keys"]


def test_one_key_is_shown_field_by_field(run: Any, stub: Any) -> None:
    stub.say("GET", "/api/v1/keys/key_1", MADE)
    lines = [" ".join(line.split()) for line in run("keys", "show", "key_1", "--url", stub.url).stdout.splitlines()]

    assert "limits requests_per_minute=5" in lines
    assert "team -" in lines


def test_keys_are_rotated_and_revoked_by_their_id(run: Any, stub: Any) -> None:
    stub.say("POST", "/api/v1/keys/key_1/rotate", {**MADE, "key": "mp-new", "old_key_until": "2026-11-21T03:00:00Z"})
    stub.say("DELETE", "/api/v1/keys/key_1", {**MADE, "status": "revoked"})
    rotated = run("keys", "rotate", "key_1", "--overlap-s", "60", "--url", stub.url)
    revoked = run("keys", "revoke", "key_1", "--url", stub.url)

    assert (rotated.stdout, "valid until 2026-11-21T03:00:00Z" in rotated.stderr) == ("mp-new\n", True)
    assert revoked.stdout == "key_1 (search) is revoked\n"
    assert [asked[3] for asked in stub.asked] == [{"overlap_s": 60}, None]


@pytest.mark.parametrize(
    "command",
    [
        ("keys", "create", "--name", "x"),
        ("keys", "list"),
        ("keys", "show", "key_1"),
        ("keys", "rotate", "key_1"),
        ("keys", "revoke", "key_1"),
        ("orgs", "create", "Acme"),
        ("orgs", "list"),
        ("orgs", "remove", "acme"),
        ("teams", "create", "Red", "--organisation", "acme"),
        ("teams", "list"),
        ("teams", "remove", "red"),
    ],
)
def test_every_command_writes_json_and_says_the_servers_no(run: Any, stub: Any, command: tuple[str, ...]) -> None:
    kind = {"keys": "keys", "orgs": "organisations", "teams": "teams"}[command[0]]
    name = command[2] if command[1] in {"show", "rotate", "revoke", "remove"} else None
    method = {"create": "POST", "rotate": "POST", "revoke": "DELETE", "remove": "DELETE"}.get(command[1], "GET")
    path = f"/api/v1/{kind}" + (f"/{name}" if name else "") + ("/rotate" if command[1] == "rotate" else "")
    refused = run(*command, "--url", stub.url)
    stub.say(method, path, {"id": "it", "data": []})
    told = run(*command, "--json", "--url", stub.url)

    assert (refused.exit_code, refused.stderr.strip()) == (1, "the server answered 404: no such path")
    assert (told.exit_code, json.loads(told.stdout)) == (0, {"id": "it", "data": []})


def test_a_tag_needs_a_value(run: Any, stub: Any) -> None:
    result = run("keys", "create", "--name", "x", "--tag", "team", "--url", stub.url)

    assert (result.exit_code, result.stderr.strip()) == (1, "--tag 'team': expected name=value")


# --- without a server -----------------------------------------------------------------------------


def _configured(folder: Path, more: str = "") -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    text = f'[auth]\nrequired = true\n[server]\nport = {port}\n[storage]\npath = "here.db"\n{more}'
    (folder / "modelport.toml").write_text(text, "utf-8")


def test_where_no_server_runs_the_database_is_opened_for_the_command(run: Any, tmp_path: Path) -> None:
    """That is how the first administrator comes to a key."""
    _configured(tmp_path)
    made = run("keys", "create", "--name", "me", "--role", "admin", "--json")
    listed = json.loads(run("keys", "list", "--json").stdout)["data"]
    wrong = run("keys", "create", "--name", "me", "--role", "boss")

    assert made.exit_code == 0, made.output
    assert [(row["name"], row["roles"], row["id"]) for row in listed] == [
        ("me", ["admin"], json.loads(made.stdout)["id"])
    ]
    assert (wrong.exit_code, "roles.0" in wrong.stderr) == (1, True)


def test_a_database_that_another_process_has_is_said(run: Any, tmp_path: Path) -> None:
    _configured(tmp_path)
    held, done = threading.Event(), threading.Event()

    async def hold() -> None:
        async with Database(tmp_path / "here.db"):
            held.set()
            await asyncio.to_thread(done.wait)

    holder = threading.Thread(target=lambda: asyncio.run(hold()))
    holder.start()
    held.wait()
    try:
        result = run("keys", "list")
    finally:
        done.set()
        holder.join()

    assert result.exit_code == 1
    assert "a modelport process has the database open" in result.stderr
    assert "--url" in result.stderr


def test_a_server_that_was_named_is_the_one_that_is_asked(run: Any, tmp_path: Path) -> None:
    _configured(tmp_path)
    result = run("keys", "list", "--url", "http://127.0.0.1:9")

    assert (result.exit_code, "nothing answers at http://127.0.0.1:9" in result.stderr) == (1, True)
    assert not (tmp_path / "here.db").exists()


def test_a_server_that_runs_where_the_configuration_says_is_asked(run: Any, stub: Any, tmp_path: Path) -> None:
    stub.say("GET", "/api/v1/keys", {"data": []})
    port = stub.url.rpartition(":")[2]
    (tmp_path / "modelport.toml").write_text(f'[server]\nport = {port}\n[storage]\npath = "here.db"\n', "utf-8")
    result = run("keys", "list", "--json")

    assert (result.exit_code, json.loads(result.stdout)) == (0, {"data": []})
    assert not (tmp_path / "here.db").exists()
