"""What a wrong configuration is told."""

from __future__ import annotations

from pathlib import Path

import pytest

from proxy.config import ConfigError, load
from proxy.config.model import READY_POLICIES
from proxy.config.quirks import names

CANARY = "sk-canary-0123456789abcdefghij"


def problems(folder: Path, text: str, environ: dict[str, str] | None = None, name: str = "modelport.toml") -> list[str]:
    (folder / name).write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError) as error:
        load(folder=folder, environ=environ or {})
    return str(error.value).splitlines()


ONE_WRONG_VALUE = [
    ("[server]\nport = 'abc'", "server.port: found 'abc', expected a whole number"),
    ("[server]\nport = 70000", "server.port: found 70000, expected a number of at most 65535"),
    ("[server]\nport = true", "server.port: found true, expected a whole number"),
    ("[server]\nport = '4100'", "server.port: found '4100', expected a whole number"),
    ("[server]\nworkers = 65", "server.workers: found 65, expected a number of at most 64"),
    ("[server]\nworkers = 2\n[storage]\npath = ':memory:'",
     "server.workers: found 2, expected 1, as several processes cannot share a database in memory (storage.path)"),
    ("[server]\nhost = ''", "server.host: found empty text, expected text that is not empty"),
    ("server = 3", "server: found 3, expected a table"),
    ("[routes.r]\npolicy = 'auto'\ntargets = ['openai/gpt-5.5']\nauto = { mode = 'cascade', learn = true }",
     'routes.r.auto: found a table, expected mode = "choose" beside learn = true: a cascade learns of no outcomes'),
    ("[storage]\nledger = 'stict'", "storage.ledger: found 'stict', expected one of strict, relaxed; did you mean strict?"),  # noqa: E501 -- one case a line
    ("[cache]\nttl_s = 0", "cache.ttl_s: found 0, expected a number above 0"),
    ("[cache]\nttl_s = nan", "cache.ttl_s: found nan, expected a finite number"),
    ("[providers.openai]\ntimeouts = { idle_s = -1 }", "providers.openai.timeouts.idle_s: found -1, expected a number above 0"),  # noqa: E501 -- one case a line
    ("[providers.openai]\nmodels = 3", "providers.openai.models: found 3, expected a list"),
    ("[providers.openai]\nmodels = { a = { path = 'x' } }",
     "providers.openai.models: found a table, expected a list of names (files are for llamacpp)"),
    ("[providers.openai]\nprice = { input = 0.5, output = '1' }",
     'providers.openai.price.input: found 0.5, expected US dollars per million tokens as a decimal string such as "0.25"'),  # noqa: E501 -- one case a line
    ("[providers.openai]\nprice = { 'gpt-5.5' = { input = '-1', output = '1' } }",
     'providers.openai.price."gpt-5.5".input: found \'-1\', expected US dollars per million tokens as a decimal string such as "0.25"'),  # noqa: E501 -- one case a line
    ("[budgets.ours]\nlimit_usd = '1_000'",
     "budgets.ours.limit_usd: found '1_000', expected US dollars such as \"12.50\": digits and a point, nothing else"),
    ("[budgets.ours]\nlimit_usd = '\u0661'",
     "budgets.ours.limit_usd: found '\u0661', expected US dollars such as \"12.50\": digits and a point, nothing else"),
    ("[providers.openai]\nauth = 'basic'",
     "providers.openai.auth: found 'basic', expected one of bearer, x-api-key, x-goog-api-key, api-key, none"),
    ("[providers.openai]\nbase_url = 'api.openai.com'",
     "providers.openai.base_url: found 'api.openai.com', expected an address such as http://127.0.0.1:8000/v1, without query"),  # noqa: E501 -- one case a line
    ("[providers.openai]\nbase_url = 'http://h:99999/v1'",
     "providers.openai.base_url: found 'http://h:99999/v1', expected an address such as http://127.0.0.1:8000/v1, without query"),  # noqa: E501 -- one case a line
    ("[providers.openai]\nalso_speaks = ['openai_respones']",
     "providers.openai.also_speaks[0]: found 'openai_respones', expected one of openai_chat, openai_responses, anthropic, gemini; did you mean openai_responses?"),  # noqa: E501 -- one case a line
    ("[providers.openai]\nquirks = { stream_option = false }",
     f"providers.openai.quirks.stream_option: found an unknown quirk, expected one of {', '.join(names())}; did you mean stream_options?"),  # noqa: E501 -- one case a line
    ("[providers.openai]\nquirks = { stream_options = 'no' }",
     "providers.openai.quirks.stream_options: found 'no', expected true or false"),
    ("[providers.openai]\nquirks = { refuses = 'seed' }", "providers.openai.quirks.refuses: found 'seed', expected a list"),  # noqa: E501 -- one case a line
    ("[providers.openai]\nquirks = { refuses = ['seed', 3] }",
     "providers.openai.quirks.refuses[1]: found 3, expected text"),
    ("[providers.openai]\nquirks = { refuses = ['brand_new', 'temperatur'] }",
     "providers.openai.quirks.refuses[1]: found 'temperatur', expected a field of the request, such as temperature"),
    ("[providers.openai]\nquirks = { refuses_while_thinking = ['top-p'] }",
     "providers.openai.quirks.refuses_while_thinking[0]: found 'top-p', expected a field of the request, such as top_p"),  # noqa: E501 -- one case a line
    ("[providers.openai]\nquirks = { modalities = ['text', 'pictures'] }",
     "providers.openai.quirks.modalities[1]: found 'pictures', expected one of text, image, audio, document, video"),
    ("[providers.openai]\nquirks = { takes_back = ['resoning'] }",
     "providers.openai.quirks.takes_back[0]: found 'resoning', expected one of reasoning_content, reasoning, reasoning_details, thinking_blocks, extra_content; did you mean reasoning?"),  # noqa: E501 -- one case a line
    ("[providers.openai]\nquirks = { efforts = ['hihg'] }",
     "providers.openai.quirks.efforts[0]: found 'hihg', expected one of none, minimal, low, medium, high, xhigh, max; did you mean high?"),  # noqa: E501 -- one case a line
    ("[providers.openai]\nquirks = { max_output_tokens = 1.5 }",
     "providers.openai.quirks.max_output_tokens: found 1.5, expected a whole number"),
    ("[providers.openai]\nquirks = { rename = { seed = 3 } }",
     "providers.openai.quirks.rename.seed: found 3, expected text"),
    ("[providers.openai]\nquirks = 3", "providers.openai.quirks: found 3, expected a table"),
    ("[providers.openai]\ncompletions = 3",
     'providers.openai.completions: found 3, expected true, false, or a list of globs of model names such as ["babbage-*"]'),  # noqa: E501 -- one case a line
    ("[providers.openai]\ncompletions = ['a*', 3]", "providers.openai.completions[1]: found 3, expected text"),
    ("[providers.antropic]\nenabled = true",
     "providers.antropic: found no base_url, expected one, as antropic is not a shipped provider; did you mean anthropic?"),  # noqa: E501 -- one case a line
    ("[providers.local]\ndialect = 'llamacpp'",
     'providers.local.models: found nothing, expected a table such as { tiny = { path = "models/tiny.gguf" } }'),
    ("[routes.a]\npolicy = 'weigthed'\ntargets = ['demo/echo']",
     f"routes.a.policy: found 'weigthed', expected one of {', '.join(READY_POLICIES)}; did you mean weighted?"),
    ("[routes.a]\ntargets = []", "routes.a.targets: found an empty list, expected at least one entry"),
    ("[routes.a]\ntargets = ['gpt-4o']", "routes.a.targets[0]: found 'gpt-4o', expected \"provider/model\""),
    ("[routes.a]\ntargets = ['demo/echo', { target = 'demo/echo', weight = 0 }]",
     "routes.a.targets[1].weight: found 0, expected a number above 0"),
    ("[routes.a]\ntargets = ['demo/echo', 'antropic/claude']",
     "routes.a.targets[1]: found 'antropic/claude', expected a known provider; did you mean anthropic?"),
    ("[routes.a]\ntargets = ['demo/echo', 'demo/b']\nconsensus = { quorum = 3 }",
     "routes.a.consensus.quorum: found 3, expected at most 2, as many as the route has targets"),
    ("[routes.a]\ntargets = ['demo/echo']\nbalanced = { cost = 0, latency = 0, quality = 0, reliability = 0 }",
     "routes.a.balanced: found a table, expected at least one weight above 0"),
    ("[routes.a]\ntargets = ['demo/echo']\nconsensus = { judge = 'antropic/claude' }",
     "routes.a.consensus.judge: found 'antropic/claude', expected a known provider; did you mean anthropic?"),
    ("[routes.a]\ntargets = ['demo/echo']\nconsensus = { escalate = 'my-corner/m' }",
     "routes.a.consensus.escalate: found 'my-corner/m', expected a known provider (or [providers.my-corner] with added_later = true)"),  # noqa: E501 -- one case a line
    ("[routes.a]\ntargets = ['my-corner/m']",
     "routes.a.targets[0]: found 'my-corner/m', expected a known provider (or [providers.my-corner] with added_later = true)"),  # noqa: E501 -- one case a line
]  # fmt: skip


@pytest.mark.parametrize(("text", "told"), ONE_WRONG_VALUE)
def test_one_wrong_value_is_told_with_file_key_value_and_expectation(tmp_path: Path, text: str, told: str) -> None:
    assert problems(tmp_path, text) == [f"modelport.toml: {told}"]


def test_all_errors_come_at_once_from_all_sources(tmp_path: Path) -> None:
    text = "[server]\nport = 'abc'\nhost = '0.0.0.0'\n[routes.a]\npolicy = 'x'\ntargets = ['nobody/m']\n"

    found = problems(tmp_path, text, {"MODELPORT__CACHE__TTL_S": "soon", "MODELPORT__SERVR__PORT": "1"})

    assert [line.split(": found")[0] for line in found] == [
        "modelport.toml: server.port",
        "MODELPORT__CACHE__TTL_S: cache.ttl_s",
        "modelport.toml: routes.a.policy",
        "MODELPORT__SERVR__PORT: servr",
        "modelport.toml: server.host",
        "modelport.toml: routes.a.targets[0]",
    ]
    assert found[3].endswith("did you mean server?")


@pytest.mark.parametrize(
    ("name", "text", "told"),
    [
        ("modelport.toml", "[server\nport = 1", "found an error of syntax: "),
        ("modelport.yaml", "server: [1\n", "found an error of syntax: "),
        ("modelport.yaml", "- 1\n", "found no table"),
        ("modelport.json", '{"server": ', "found an error of syntax: Expecting value (at line 1, column 12)"),
        ("modelport.json", "[]", "found no table"),
    ],
)
def test_an_unreadable_file_says_where(tmp_path: Path, name: str, text: str, told: str) -> None:
    (line,) = problems(tmp_path, text, name=name)

    assert line.startswith(str(tmp_path / name))
    assert told in line


def test_bytes_that_are_no_text_are_an_error(tmp_path: Path) -> None:
    (tmp_path / "modelport.toml").write_bytes(b"\xff\xfe")

    with pytest.raises(ConfigError, match="expected text in UTF-8"):
        load(folder=tmp_path, environ={})


def test_a_file_that_was_named_must_exist(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"gone\.toml: found no such file"):
        load(Path("gone.toml"), folder=tmp_path, environ={})


@pytest.mark.parametrize("name", ["MODELPORT__", "MODELPORT__SERVER__", "MODELPORT____PORT"])
def test_a_variable_with_an_empty_name_is_an_error(tmp_path: Path, name: str) -> None:
    assert problems(tmp_path, "", {name: "1"}) == [f"{name}: found an empty name, expected MODELPORT__SECTION__KEY"]


@pytest.mark.parametrize(
    "text",
    [
        f"[providers.openai]\napi_key = '{CANARY}'",
        f"[providers.openai]\nkeys = {{ a = '{CANARY}' }}",
        f"[providers.openai]\nkeys = '{CANARY}'",
        f"[providers]\nopenai = '{CANARY}'",
        f"[auth]\nmaster_key = ['{CANARY}']",
        f"[auth]\nrequired = '{CANARY}'",
        f"[providers.openai]\nbase_url = 'ftp://user:{CANARY}@host/'",
        f"[providers.openai]\nheaders = {{ authorization = ['{CANARY}'] }}",
        f"[providers.openai]\nkeys = ['{CANARY}\\u0007', 3]",
        f"[server]\nhost = '0.0.0.0'\nport = '{CANARY}'",
        f"key = '{CANARY}'\n= 3",
    ],
)
def test_an_error_never_shows_a_secret(tmp_path: Path, text: str) -> None:
    for line in problems(tmp_path, text):
        assert CANARY[3:20] not in line


@pytest.mark.parametrize("address", [f"https://x.example/v1?api_key={CANARY}", f"https://user:{CANARY}@x.example /v1"])
def test_a_wrong_address_is_shown_without_its_secrets(tmp_path: Path, address: str) -> None:
    (tmp_path / "modelport.toml").write_text(f'[providers.mine]\nbase_url = "{address}"\n', encoding="utf-8")

    with pytest.raises(ConfigError) as refused:
        load(environ={}, folder=tmp_path)

    assert "providers.mine.base_url" in str(refused.value)
    assert CANARY not in str(refused.value)
