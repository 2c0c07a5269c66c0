"""The commands against a stub of the server: what they ask, what they write, how they end."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from proxy.cli import ROOT

HEALTH = {
    "status": "degraded",
    "version": "0.1.0",
    "uptime_s": 7200,
    "providers": [
        {"name": "anthropic", "status": "healthy", "breaker": "closed", "requests": 120, "errors": 2,
         "success_rate": 0.983, "latency_ms": {"p50": 810, "p95": 2300}, "first_event_ms": {"p50": 310, "p95": 900},
         "last_success": "2026-11-21T02:10:34Z", "last_failure": None, "last_error": "529 [overloaded]",
         "cooldown_s": 0, "keys": {"total": 2, "available": 1}},
    ],
    "storage": {"status": "ok", "ledger_lag_ms": 0.4, "size_mb": 3.1},
    "cache": {"entries": 12, "hits": 40, "misses": 80, "hit_rate": 0.333},
}  # fmt: skip
SUMS = {
    "exchanges": 10, "attempts": 11, "errors": 1, "cache_hits": 3, "input_tokens": 1200, "cached_input_tokens": 200,
    "cache_write_tokens": 0, "output_tokens": 900, "reasoning_tokens": 300, "cost_usd": "0.012345000",
    "exact_usd": "0.012000000", "estimated_usd": "0.000345000", "unpriced_attempts": 2, "saved_usd": "0.004000000",
}  # fmt: skip
COSTS = {
    "since": "2026-11-20T00:00:00Z", "until": "2026-11-21T00:00:00Z", "currency": "USD",
    "group_by": ["provider", "model"], "total": SUMS,
    "groups": [{"provider": "anthropic", "model": "claude-opus-5-5", **SUMS}],
}  # fmt: skip
MODELS = {"object": "list", "data": [
    {"id": "careful", "object": "model", "owned_by": "modelport"},
    {"id": "anthropic/claude-haiku-4-5", "object": "model", "owned_by": "anthropic"},
    {"id": "plain-name", "object": "model", "owned_by": "corner"},
]}  # fmt: skip
COMPLETION = {
    "id": "c", "object": "chat.completion", "model": "claude-haiku-4-5",
    "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "Paris."}}],
    "usage": {"prompt_tokens": 12, "completion_tokens": 3, "total_tokens": 15},
}  # fmt: skip
STREAM = (
    b": keep-alive\n\n"
    b'data: {"choices":[{"index":0,"delta":{"role":"assistant","content":""},"finish_reason":null}]}\n\n'
    b'data: {"choices":[{"index":0,"delta":{"content":"Par"},"finish_reason":null}]}\n\n'
    b'data: {"choices":[{"index":0,"delta":{"content":"is."},"finish_reason":"stop"}]}\n\n'
    b'data: {"choices":[],"usage":{"prompt_tokens":12,"completion_tokens":3}}\n\n'
    b': modelport {"cost_usd":"0.000027","attempts":1,"losses":[]}\n\n'
)
CHAT = "/v1/chat/completions"


def closed_url() -> str:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{free.getsockname()[1]}"


def test_status_is_a_few_lines(run: Any, stub: Any) -> None:
    stub.say("GET", "/health", HEALTH)

    result = run("status", "--url", stub.url)

    assert result.exit_code == 0
    assert result.stdout.splitlines() == [
        f"degraded  modelport 0.1.0 at {stub.url}, up 2.0 h",
        "providers  anthropic healthy",
        "storage    ok, 3.1 MB",
        "cache      12 entries, 33 % of requests were hits",
    ]


def test_detailed_status_has_the_numbers_of_every_provider(run: Any, stub: Any) -> None:
    stub.say("GET", "/health", {**HEALTH, "routes": [{"name": "careful", "policy": "cost", "order": ["b/m", "a/m"]}]})
    stub.say("GET", "/costs", COSTS)

    output = run("status", "--detailed", "--url", stub.url).stdout
    lines = [" ".join(line.split()) for line in output.splitlines()]

    assert any(line.startswith("anthropic healthy closed 120 2 98 % 810 2300") for line in lines)
    assert any(line.endswith("529 [overloaded]") for line in lines)
    assert "careful cost b/m, a/m" in lines
    assert any(line.endswith("USD each on average") for line in lines)


def test_detailed_status_without_leave_to_see_costs_shows_the_rest(run: Any, stub: Any) -> None:
    stub.say("GET", "/health", HEALTH)
    stub.say("GET", "/costs", {"error": {"message": "no"}}, 403)

    result = run("status", "--detailed", "--url", stub.url)

    assert result.exit_code == 0
    assert "closed" in result.stdout
    assert "average" not in result.stdout


def test_a_server_that_is_down_ends_status_with_1(run: Any, stub: Any) -> None:
    stub.say("GET", "/health", {**HEALTH, "status": "down", "providers": []}, 503)

    result = run("status", "--json", "--url", stub.url)

    assert result.exit_code == 1
    assert json.loads(result.stdout)["status"] == "down"


@pytest.mark.parametrize(
    ("arguments", "path", "answer"),
    [
        (["status"], "/health", HEALTH),
        (["costs"], "/costs", COSTS),
        (["models"], "/v1/models", MODELS),
        (["cache", "stats"], "/api/v1/cache", {"entries": 1, "hits": 2, "misses": 2, "hit_rate": 0.5, "size_mb": 0.1}),
    ],
)
def test_json_is_the_servers_own_answer(run: Any, stub: Any, arguments: list[str], path: str, answer: Any) -> None:
    stub.say("GET", path, answer)

    result = run(*arguments, "--json", "--url", stub.url)

    assert (result.exit_code, json.loads(result.stdout)) == (0, answer)


def test_costs_ask_for_what_was_said_and_end_with_the_total(run: Any, stub: Any) -> None:
    stub.say("GET", "/costs", COSTS)

    result = run("costs", "--since", "7d", "--until", "2026-11-21T00:00:00+01:00", "--group-by", "provider, model",
                 "--url", stub.url)  # fmt: skip

    assert stub.asked[0][1] == (
        "/costs?since=7d&group_by=provider,model&format=json&until=2026-11-21T00%3A00%3A00%2B01%3A00"
    )
    lines = result.stdout.splitlines()
    assert lines[-3].split() == [
        "anthropic",
        "claude-opus-5-5",
        "10",
        "1",
        "3",
        "1200",
        "900",
        "0.012345000",
        "0.004000000",
    ]
    assert lines[-2].split() == ["total", "10", "1", "3", "1200", "900", "0.012345000", "0.004000000"]
    assert lines[-1] == "2 attempts have no known price and are not in these sums"


def test_costs_as_csv_are_passed_on(run: Any, stub: Any) -> None:
    stub.say("GET", "/costs", b"provider,cost_usd\r\nanthropic,0.1\r\n")

    result = run("costs", "--format", "csv", "--url", stub.url)

    assert "format=csv" in stub.asked[0][1]
    assert result.stdout.splitlines() == ["provider,cost_usd", "anthropic,0.1"]


def test_models_are_listed(run: Any, stub: Any) -> None:
    stub.say("GET", "/v1/models", MODELS)

    lines = run("models", "--url", stub.url).stdout.splitlines()

    assert [line.split() for line in lines[1:]] == [[each["id"], each["owned_by"]] for each in MODELS["data"]]


def test_ask_streams_the_answer_and_tells_what_it_took(run: Any, stub: Any) -> None:
    stub.say("GET", "/v1/models", MODELS)
    stub.say("POST", CHAT, STREAM + b"data: [DONE]\n\n", x_modelport_target="anthropic/claude-haiku-4-5")

    result = run("ask", "Capital of France?", "--url", stub.url)

    body = stub.asked[1][3]
    assert (body["model"], body["stream"]) == ("careful", True)
    assert body["messages"] == [{"role": "user", "content": "Capital of France?"}]
    assert result.stdout == "Paris.\n"
    assert result.stderr == "anthropic/claude-haiku-4-5: 12 tokens in, 3 out, 0.000027 USD\n"


def test_ask_can_wait_for_the_whole_answer(run: Any, stub: Any) -> None:
    stub.say("POST", CHAT, COMPLETION, x_modelport_target="a/b", x_modelport_cost_usd="0.1")

    result = run("ask", "-", "--no-stream", "--model", "a/b", "--url", stub.url, text="Capital of France?")

    assert stub.asked[0][3] == {"model": "a/b", "messages": [{"role": "user", "content": "Capital of France?"}]}
    assert (result.stdout, result.stderr) == ("Paris.\n", "a/b: 12 tokens in, 3 out, 0.1 USD\n")


@pytest.mark.parametrize(
    ("ending", "told"),
    [(b"", "the answer broke off\n"), (b'data: {"error": {"message": "cut", "type": "x"}}\n\n', "broke off: cut\n")],
)
def test_a_stream_without_its_end_is_a_failure(run: Any, stub: Any, ending: bytes, told: str) -> None:
    stub.say("POST", CHAT, STREAM + ending)

    result = run("ask", "?", "--model", "m", "--url", stub.url)

    assert (result.exit_code, result.stdout) == (1, "Paris.")
    assert result.stderr.endswith(told)


def test_test_asks_the_cheap_model_of_a_provider_for_a_few_tokens(run: Any, stub: Any) -> None:
    stub.say("POST", CHAT, COMPLETION, x_modelport_target="anthropic/claude-haiku-4-5", x_modelport_cost_usd="0.00002")

    result = run("test", "anthropic", "--url", stub.url)

    _, _, headers, body = stub.asked[0]
    assert (body["model"], body["max_completion_tokens"]) == ("anthropic/claude-haiku-4-5", 16)
    assert headers["x-modelport-cache"] == "no-cache"
    assert result.exit_code == 0
    assert result.stdout.startswith("ok in 0.")
    assert result.stdout.endswith("anthropic/claude-haiku-4-5: 12 tokens in, 3 out, 0.00002 USD\n")


def test_test_finds_a_model_that_only_the_server_knows(run: Any, stub: Any) -> None:
    stub.say("GET", "/v1/models", {"data": [{"id": "azure/my-deployment", "owned_by": "azure"}]})
    stub.say("POST", CHAT, COMPLETION)

    result = run("test", "azure", "--json", "--url", stub.url)

    assert stub.asked[1][3]["model"] == "azure/my-deployment"
    assert json.loads(result.stdout)["cost_usd"] is None


def test_test_asks_the_model_that_a_route_names(run: Any, stub: Any, tmp_path: Path) -> None:
    """The provider lists none itself."""
    corner = '[providers.corner]\nbase_url = "http://127.0.0.1:9/v1"\nkeys = ["env:K"]\n'
    (tmp_path / "modelport.toml").write_text(corner + '[routes.r]\ntargets = ["demo/echo", "corner/org/m"]\n')
    stub.say("POST", CHAT, COMPLETION)

    result = run("test", "corner", "--url", stub.url, environ={"K": "k"})

    assert result.exit_code == 0, result.stderr
    assert stub.asked[0][3]["model"] == "corner/org/m"


def test_test_says_why_a_provider_does_not_answer(run: Any, stub: Any) -> None:
    stub.say("POST", CHAT, {"error": {"message": "groq refused\nthe key"}}, 502)

    result = run("test", "groq", "--url", stub.url)

    assert result.exit_code == 1
    assert result.stderr.endswith("s with 502: groq refused the key\n")


def test_an_unknown_provider_is_told_with_the_nearest(run: Any) -> None:
    assert run("test", "antropic").stderr == "'antropic' is no provider; did you mean anthropic?\n"


def test_the_cache_is_looked_at_and_emptied(run: Any, stub: Any) -> None:
    stub.say("GET", "/api/v1/cache", {"entries": 3, "hits": 1, "misses": 3, "hit_rate": 0.25, "size_mb": 0.2})
    stub.say("DELETE", "/api/v1/cache", {"cleared": 3})

    shown, cleared = run("cache", "stats", "--url", stub.url), run("cache", "clear", "--url", stub.url)

    assert shown.stdout == "3 entries, 0.2 MB\n1 hits, 3 misses (25 % hits)\n"
    assert cleared.stdout == "3 entries removed\n"


@pytest.mark.parametrize(
    "arguments", [["status"], ["costs"], ["models"], ["ask", "?"], ["ask", "?", "-m", "x"], ["test", "demo"],
                  ["cache", "stats"], ["cache", "clear"]]
)  # fmt: skip
def test_without_a_server_every_command_says_so_in_one_line(run: Any, arguments: list[str]) -> None:
    url = closed_url()

    result = run(*arguments, environ={"MODELPORT_URL": url})

    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr == f"nothing answers at {url}; start it with: modelport serve\n"


@pytest.mark.parametrize("body", [b"<html>", b"[]", b'{"hello": 1}'])
def test_something_else_on_the_port_is_told_apart(run: Any, stub: Any, body: bytes) -> None:
    stub.say("GET", "/health", body)

    result = run("status", "--url", stub.url)

    assert result.exit_code == 1
    assert "not JSON" in result.stderr or "is no modelport" in result.stderr


def test_a_refusal_is_told_in_the_servers_words(run: Any, stub: Any) -> None:
    stub.say("GET", "/costs", {"error": {"message": "the master key is needed", "code": "x"}}, 401)

    result = run("costs", "--url", stub.url)

    assert (result.exit_code, result.stderr) == (1, "the server answered 401: the master key is needed\n")


def test_the_master_key_of_the_configuration_is_sent_to_this_machine(run: Any, stub: Any) -> None:
    stub.say("DELETE", "/api/v1/cache", {"cleared": 0})
    environ = {"MODELPORT__AUTH__MASTER_KEY": "env:MASTER", "MASTER": "m-123"}

    run("cache", "clear", "--url", stub.url, environ=environ)
    run("cache", "clear", "--url", stub.url, environ={**environ, "MODELPORT_KEY": "mp-1"})

    assert [headers["authorization"] for _, _, headers, _ in stub.asked] == ["Bearer m-123", "Bearer mp-1"]


def test_the_server_is_found_through_the_configuration(run: Any, stub: Any) -> None:
    stub.say("GET", "/health", HEALTH)
    environ = {"MODELPORT__SERVER__HOST": "0.0.0.0", "MODELPORT__SERVER__PORT": stub.url.rpartition(":")[2]}

    result = run("status", environ=environ)

    assert result.stdout.splitlines()[0] == f"degraded  modelport 0.1.0 at {stub.url}, up 2.0 h"


def test_what_is_wrong_elsewhere_in_the_file_is_no_matter_while_a_server_answers(
    run: Any, stub: Any, tmp_path: Path
) -> None:
    stub.say("GET", "/health", HEALTH)
    (tmp_path / "modelport.toml").write_text(f"[server]\nport = {stub.url.rpartition(':')[2]}\n[cache]\nmode = 5\n")

    assert run("status").stdout.startswith("degraded")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[server]\nport = 70000\n", "server.port: found 70000, expected a number of at most 65535"),
        ('[server]\nhost = ""\n', "server.host: found empty text, expected text that is not empty"),
        ("server = 1\n", "server: found 1, expected a table"),
        ("[auth]\nmaster_key = 7\n", "auth.master_key: found a number, expected text"),
        ('[auth]\nmaster_key = "stored:x"\n', "auth.master_key: found"),
    ],
)
def test_what_is_wrong_about_the_address_is_told(run: Any, tmp_path: Path, text: str, told: str) -> None:
    (tmp_path / "modelport.toml").write_text(text)

    result = run("status")

    assert (result.exit_code, told in result.stderr) == (2, True), result.stderr


def test_a_master_key_in_a_file_is_looked_for_beside_the_configuration(run: Any, stub: Any, tmp_path: Path) -> None:
    stub.say("GET", "/health", HEALTH)
    folder = tmp_path / "etc"
    folder.mkdir()
    (folder / "key").write_text("m-456\n")
    port = stub.url.rpartition(":")[2]
    (folder / "m.toml").write_text(f'[server]\nport = {port}\n[auth]\nmaster_key = "file:key"\n')

    run("status", "--config", "etc/m.toml")

    assert stub.asked[0][2]["authorization"] == "Bearer m-456"


@pytest.mark.parametrize("arguments", [["--help"], ["version"], ["status"], ["keys", "--help"]], ids=" ".join)
def test_a_command_starts_without_what_it_does_not_need(arguments: list[str], tmp_path: Path) -> None:
    """Start-up time: no server, no model of the configuration, no tokenizer. (Typer itself brings pydantic.)"""
    code = f"import sys; from proxy.cli.app import app\ntry: app({arguments!r})\nfinally: print(*sys.modules)"
    environ = {"HOME": str(tmp_path), "PYTHONPATH": str(ROOT), "MODELPORT__SERVER__PORT": "1"}
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path, env=environ)
    needless = {"proxy.config.model", "proxy.app", "aiohttp", "asyncio", "tiktoken", "yaml", "genai_prices"}

    found = set(done.stdout.split())
    assert "proxy.cli.app" in found
    assert not needless & found


@pytest.mark.parametrize("url", ["localhost:4100", "ftp://x", "http://", "http://h:99999"])
def test_an_address_that_is_none_is_refused(run: Any, url: str) -> None:
    result = run("status", "--url", url)

    assert result.exit_code == 1
    assert "is no address of a server" in result.stderr
