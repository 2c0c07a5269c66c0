"""`modelport catalog` against a running server, and against a stub where its answer matters."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.proxy.serving import KEY, QUICK, failing, provider, says
from tests.replay import Answer, Asked, Upstream
from tests.running import Modelport

REFUSED = "Unsupported value: 'temperature' does not support 0.7 with this model. Only the default (1) is supported."
LIST = {"data": [{"id": "alpha", "context_length": 32_000, "max_output_tokens": 4096}, {"id": "beta"}]}


def vendor(asked: Asked) -> Answer:
    """Lists two models, of which none takes a temperature."""
    if asked.method == "GET":
        return Answer.json(LIST) if KEY in asked.headers["authorization"] else failing(401, "no such key")
    if "temperature" in asked.json:
        return failing(400, REFUSED, param="temperature", code="unsupported_value")
    return says()


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Modelport]:
    """A server in a process of its own: one vendor with a good key, one without."""
    folder: Path = tmp_path_factory.mktemp("live")
    with Upstream(vendor) as upstream:
        bad = provider("bad", upstream, keys=("sk-another-key-000000",))
        with Modelport(folder, QUICK + provider("good", upstream) + bad) as server:
            yield server


def words(result: Any) -> list[list[str]]:
    return [line.split() for line in result.stdout.splitlines()]


def test_refresh_says_how_each_vendor_answered(run: Any, live: Modelport) -> None:
    """Exit status 1 as long as one of them did not; nothing on standard error."""
    result = run("catalog", "refresh", "--url", live.url)

    assert result.exit_code == 1
    assert words(result) == [
        ["provider", "status", "models", "added", "removed", "changed", "why"],
        ["good", "ok", "2", "2", "0", "0"],
        ["bad", "failed", "-", "0", "0", "0", "401", "authentication:", "no", "such", "key"],
        ["demo", "skipped", "-", "0", "0", "0", "it", "runs", "here", "and", "has", "no", "list"],
    ]
    assert result.stderr == ""


def test_one_provider_is_asked_alone(run: Any, live: Modelport) -> None:
    result = run("catalog", "refresh", "--provider", "good", "--json", "--url", live.url)

    assert result.exit_code == 0
    (outcome,) = json.loads(result.stdout)["providers"]
    assert (outcome["provider"], outcome["status"], outcome["models"]) == ("good", "ok", 2)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["refresh", "--provider", "nobody"], "no provider is called 'nobody'; there are good, bad, demo"),
        (["show", "--provider", "nobody"], "no provider is called 'nobody'; there are good, bad, demo"),
        (["show", "no-such-model"], "no-such-model"),
        (["forget", "nobody"], "no provider is called 'nobody'; there are no lessons at all"),
    ],
)
def test_an_error_is_one_line(run: Any, live: Modelport, arguments: list[str], told: str) -> None:
    result = run("catalog", *arguments, "--url", live.url)

    assert (result.exit_code, result.stdout) == (1, "")
    assert len(result.stderr.splitlines()) == 1
    assert result.stderr.startswith("the server answered 404: ")
    assert told in result.stderr


def test_a_named_provider_that_cannot_be_asked_ends_with_1(run: Any, live: Modelport) -> None:
    assert run("catalog", "refresh", "--provider", "demo", "--url", live.url).exit_code == 1


def test_show_has_a_line_for_each_model(run: Any, live: Modelport) -> None:
    run("catalog", "refresh", "--provider", "good", "--url", live.url)

    lines = words(run("catalog", "show", "--provider", "good", "--url", live.url))

    assert ["good/alpha", "32000", "4096", "3", "list,", "provider"] in lines
    assert ["good/beta", "-", "-", "1", "provider"] in lines


def test_show_and_forget_a_lesson(run: Any, live: Modelport) -> None:
    """The rule says which words of the vendor it comes from; forgotten, it is gone."""
    live.post("/v1/chat/completions", {"model": "good/beta", "temperature": 0.7, "messages": [
        {"role": "user", "content": "hi"}]})  # fmt: skip

    shown = run("catalog", "show", "good/beta", "--url", live.url).stdout
    forgotten = run("catalog", "forget", "good", "beta", "--url", live.url).stdout
    after = run("catalog", "show", "good/beta", "--url", live.url).stdout

    line = next(line for line in shown.splitlines() if line.startswith("refuses"))
    assert line.split()[:3] == ["refuses", "temperature", "learned"]
    assert "used 0 times: 400: Unsupported value" in line
    assert forgotten == "1 lesson forgotten\n"
    assert "temperature" not in after


def test_forgetting_what_is_not_there_names_what_is(run: Any, live: Modelport) -> None:
    """A provider without lessons has none to forget; a name that is nobody's is a mistake."""
    live.post("/v1/chat/completions", {"model": "good/beta", "temperature": 0.7, "messages": [
        {"role": "user", "content": "hi"}]})  # fmt: skip

    nobody = run("catalog", "forget", "goood", "--url", live.url)
    nothing = run("catalog", "forget", "good", "betta", "--url", live.url)
    none = run("catalog", "forget", "bad", "--url", live.url)

    assert (nobody.exit_code, nothing.exit_code, none.exit_code) == (1, 1, 0)
    assert nobody.stderr.endswith("no provider is called 'goood'; there are lessons of good\n")
    assert nothing.stderr.endswith("good has no lessons of 'betta'; it has some of beta\n")
    assert none.stdout == "0 lessons forgotten\n"


def test_json_is_the_servers_own_answer(run: Any, stub: Any) -> None:
    answer = {"data": [{"provider": "p", "model": "m", "dialect": "gemini", "rules": {}, "listed": None}], "lists": []}
    stub.say("GET", "/api/v1/catalog", answer)

    result = run("catalog", "show", "models/m?x", "--provider", "p", "--json", "--url", stub.url)

    assert (result.exit_code, json.loads(result.stdout)) == (0, answer)
    assert stub.asked[0][1] == "/api/v1/catalog?provider=p&model=models%2Fm%3Fx"


def test_every_origin_is_told_in_words(run: Any, stub: Any) -> None:
    origins = [
        {"kind": "shipped", "source": "docs.example", "date": "2026-11-21"},
        {"kind": "list", "source": "https://v.example/models", "fetched_at": "2026-11-20T00:00:00Z"},
        {"kind": "provider", "source": "https://docs.example"},
        {"kind": "configuration", "source": "providers.p.quirks"},
        {"kind": "learned", "learned_at": "2026-11-19T00:00:00Z", "uses": 3, "http_status": 400, "evidence": "no"},
    ]
    rules = {"refuses": {"value": ["seed", "top_k"], "from": origins}, "prefill": {"value": False, "from": []}}
    entry = {"provider": "p", "model": "m", "dialect": "anthropic", "rules": rules, "listed": {"title": "The M"}}
    stub.say("GET", "/api/v1/catalog", {"data": [entry], "lists": []})

    result = run("catalog", "show", "p/m", "--url", stub.url)

    assert [" ".join(line) for line in words(result)] == [
        "p/m (The M), anthropic",
        "rule value from",
        "refuses seed, top_k shipped, 2026-11-21: docs.example",
        "the vendor's list, 2026-11-20T00:00:00Z: https://v.example/models",
        "the provider's row: https://docs.example",
        "the configuration: providers.p.quirks",
        "learned 2026-11-19T00:00:00Z, used 3 times: 400: no",
        "prefill false",
    ]
