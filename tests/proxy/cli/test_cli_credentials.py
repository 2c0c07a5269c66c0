"""`modelport providers`, `secrets` and `audit`, against a running server and without one."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from proxy.sealing import key_from_text, new_key
from tests.proxy.serving import QUICK, failing, provider
from tests.replay import Answer, Asked, Upstream
from tests.running import Modelport

MASTER = "mp-master-0123456789"
SEALING = new_key()
GOOD = "vendor-good-key-0123456789"
BAD = "vendor-other-key-0123456789"


def vendor(asked: Asked) -> Answer:
    """Lists its models for whoever has the good key."""
    known = asked.headers.get("authorization") == f"Bearer {GOOD}"
    return Answer.json({"data": [{"id": "alpha"}]}) if known else failing(401, "no such key")


@pytest.fixture(scope="module")
def upstream() -> Iterator[Upstream]:
    with Upstream(vendor) as running:
        yield running


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory, upstream: Upstream) -> Iterator[Modelport]:
    folder: Path = tmp_path_factory.mktemp("live")
    config = f'[auth]\nmaster_key = "{MASTER}"\n{QUICK}' + provider("one", upstream, keys=())
    with Modelport(folder, config, {"MODELPORT_SECRET_KEY": SEALING}) as server:
        yield server


@pytest.fixture
def ask(run: Any, live: Modelport) -> Any:
    """Runs a command against the live server, as its administrator."""

    def ask(*arguments: str, text: str | None = None, **environ: str) -> Any:
        return run(*arguments, "--url", live.url, environ={"MODELPORT_KEY": MASTER, **environ}, text=text)

    return ask


def words(result: Any) -> list[list[str]]:
    return [line.split() for line in result.stdout.splitlines()]


def test_a_key_from_its_adding_to_its_removal(ask: Any) -> None:
    added = ask("providers", "add", "one", "--key-stdin", "--weight", "3", text=f"{GOOD}\n")
    listed = ask("providers", "list")
    checked = ask("providers", "check", "one")
    rotated = ask("providers", "rotate", "one", "--key-env", "OTHER", OTHER=BAD)
    refused = ask("providers", "check", "one")
    off = ask("providers", "disable", "one")
    on = ask("providers", "enable", "one")
    lighter = ask("providers", "weight", "one", "2")
    removed = ask("providers", "remove", "one")

    fingerprint = words(added)[0][-1]
    assert added.stdout == f"one stored for one, fingerprint {fingerprint}\n"
    assert words(listed)[0][:5] == ["name", "provider", "weight", "used", "fingerprint"]
    assert words(listed)[1][:5] == ["one", "one", "3", "yes", fingerprint]
    assert (checked.exit_code, checked.stdout) == (0, "one ok\n")
    assert rotated.stdout.startswith("one has another key, fingerprint ")
    assert fingerprint not in rotated.stdout
    assert (refused.exit_code, refused.stdout) == (1, "one refused: 401 authentication: no such key\n")
    assert (off.stdout, on.stdout) == ("one is off, weight 3\n", "one is on, weight 3\n")
    assert lighter.stdout == "one is on, weight 2\n"
    assert removed.stdout == "one removed\n"
    assert {result.stderr for result in (added, listed, checked, rotated, refused, off, on, lighter, removed)} == {""}


def test_adding_can_check_at_once(ask: Any) -> None:
    result = ask("providers", "add", "one", "--name", "wrong", "--check", "--key-stdin", text=BAD)

    assert result.exit_code == 1
    assert words(result)[1] == ["wrong", "refused:", "401", "authentication:", "no", "such", "key"]


@pytest.mark.parametrize(
    ("arguments", "text", "told"),
    [
        (("add", "one", "--key-env", "GONE"), None, "the environment variable GONE is not set"),
        (("add", "one", "--key-stdin"), "\n", "standard input is empty; write the key to it"),
        (("add", "one"), "", "standard input is empty; write the key to it"),
        (("add", "nobody", "--key-stdin"), GOOD, "provider: 'nobody' is not known"),
        (("check", "nothing"), None, "no stored key is called 'nothing'"),
        (("remove", "nothing"), None, "no stored key is called 'nothing'"),
    ],
)
def test_mistakes_are_one_line(ask: Any, arguments: tuple[str, ...], text: str | None, told: str) -> None:
    result = ask("providers", *arguments, text=text)

    assert (result.exit_code, result.stdout) == (1, "")
    assert told in result.stderr
    assert result.stderr.count("\n") == 1


def test_no_option_takes_the_key_itself(ask: Any) -> None:
    assert ask("providers", "add", "one", "--key", GOOD).exit_code == 2


def test_a_new_key_is_one(run: Any) -> None:
    first, second = (run("secrets", "generate").stdout.strip() for _ in range(2))

    assert key_from_text(first) != key_from_text(second)


def test_what_is_encrypted_with_which_key_is_told(ask: Any) -> None:
    ask("providers", "add", "one", "--name", "kept", "--key-stdin", text=GOOD)
    shown = ask("secrets", "show")
    rotated = ask("secrets", "rotate", "--json")

    assert words(shown)[0] == ["key", "configured", "values"]
    assert words(shown)[1][1:3] == ["yes,", "encrypts"]
    assert json.loads(rotated.stdout)["resealed"] >= 1


def test_the_audit_log_tells_the_newest_last(ask: Any) -> None:
    ask("providers", "add", "one", "--name", "told", "--key-stdin", text=GOOD)
    ask("providers", "weight", "told", "9")
    shown = ask("audit", "show", "--subject", "told", "--since", "1h")

    lines = words(shown)
    assert lines[0] == ["entry", "at", "who", "what", "of", "change"]
    assert [line[2:5] for line in lines[1:]] == [
        ["master", "credential.added", "told"],
        ["master", "credential.changed", "told"],
    ]
    assert lines[2][5:] == ["weight:", "1", "->", "9"]


def test_the_audit_log_is_verified_against_an_earlier_head(ask: Any) -> None:
    verified = ask("audit", "verify")
    head = words(verified)[1][1]
    known = ask("audit", "verify", "--head", head)
    unknown = ask("audit", "verify", "--head", "0" * 64)

    assert verified.exit_code == known.exit_code == 0
    assert "the hash that was noted is that of entry" in known.stdout
    assert unknown.exit_code == 1
    assert unknown.stdout.startswith(
        "not ok  the chain is whole, but the hash that was noted is in none of its entries"
    )


def test_everything_works_without_a_running_server(run: Any, tmp_path: Path, upstream: Upstream) -> None:
    """And the key that encrypts is exchanged."""
    config = tmp_path / "modelport.toml"
    section = provider("one", upstream, keys=())
    config.write_text(section, "utf-8")
    home = {"XDG_DATA_HOME": str(tmp_path / "share")}
    offline = partial(run, environ={**home, "MODELPORT_SECRET_KEY": SEALING})

    added = offline("providers", "add", "one", "--key-stdin", text=GOOD)
    checked = offline("providers", "check", "one")
    config.write_text('[secrets]\nkey = "env:NEW"\nprevious_key = "env:OLD"\n' + section, "utf-8")
    rotated = run("secrets", "rotate", environ={**home, "NEW": new_key(), "OLD": SEALING})
    told = run("audit", "show", environ=home)

    assert (added.exit_code, checked.exit_code, rotated.exit_code) == (0, 0, 0), (added.stderr, checked.stderr)
    assert rotated.stdout.startswith("1 value encrypted with the key ")
    assert [line[3] for line in words(told)[1:]] == ["credential.added", "secrets.rotated"]
