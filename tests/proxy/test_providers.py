"""The shipped rows, and how sections and the environment change them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, get_args
from urllib.parse import urlsplit

import pytest
from openai.types import AllModels, AudioModel, EmbeddingModel, ImageModel, ModerationModel, VideoModel
from openai.types.audio import SpeechModel

from proxy.backends.backend import Timeouts
from proxy.config import load
from proxy.config.model import AUTH_SCHEMES
from proxy.config.shipped import dialects, rows
from proxy.providers import LOCAL_QUIRKS, EmbeddingWay, Limits, ProviderSpec, call_url, providers
from routing.pricing import Price, Tariff
from routing.targets import Names, Offer
from translators.dialect import Rules
from translators.embeddings import EMBEDDERS, EmbeddingRules
from translators.neutral import Request

ROWS = list(rows().items())
FIELDS = {
    "title", "dialect", "base_url", "auth", "key_env", "keyless", "base_url_env", "base_url_suffix", "port", "models",
    "patterns", "probe_model", "quirks", "price_source", "price", "docs", "headers", "backend", "timeouts",
    "embeddings", "completions",
    "chat_path", "stream_path", "models_path", "also_speaks",
}  # fmt: skip
ASKED_FOR = {
    "openai", "anthropic", "gemini", "azure", "groq", "mistral", "deepseek", "xai", "openrouter", "together",
    "fireworks", "cerebras", "perplexity", "cohere", "nvidia", "huggingface", "sambanova", "moonshot", "zai", "alibaba",
    "ollama", "lmstudio", "vllm", "llama_server", "demo",
}  # fmt: skip


def specs(folder: Path, text: str = "", environ: dict[str, str] | None = None) -> dict[str, ProviderSpec]:
    (folder / "modelport.toml").write_text(text, encoding="utf-8")
    environ = environ or {}
    return providers(load(folder=folder, environ=environ).settings, environ)


def spec(folder: Path, name: str, text: str = "", environ: dict[str, str] | None = None) -> ProviderSpec:
    return specs(folder, text, environ)[name]


def address(found: ProviderSpec, model: str, *, stream: bool) -> str:
    return call_url(found, found.path(found.dialect, model, stream=stream))


def test_the_rows_that_were_promised_are_there() -> None:
    assert set(rows()) >= ASKED_FOR


@pytest.mark.parametrize(("name", "row"), ROWS)
def test_a_row_is_complete_and_has_no_unknown_field(name: str, row: dict[str, Any]) -> None:
    assert set(row) <= FIELDS
    assert {"title", "dialect", "models", "patterns", "docs"} <= set(row)
    assert re.fullmatch(r"[a-z][a-z0-9_]*", name)
    assert row["dialect"] in dialects()
    assert row.get("auth", "bearer") in AUTH_SCHEMES
    assert row.get("key_env") or row.get("keyless")
    assert len(set(row["models"])) == len(row["models"])


@pytest.mark.parametrize(("name", "row"), ROWS)
def test_a_row_names_a_server_unless_only_its_owner_knows_it(name: str, row: dict[str, Any]) -> None:
    if row.get("backend") == "demo":
        return
    if "base_url" not in row:
        assert row["base_url_env"], name
        return
    parts = urlsplit(row["base_url"])
    local = parts.hostname == "127.0.0.1"

    assert parts.scheme == ("http" if local else "https")
    assert not row["base_url"].endswith("/")
    assert local == bool(row.get("keyless"))


@pytest.mark.parametrize(("name", "row"), ROWS)
def test_a_row_with_its_variables_set_becomes_a_provider_that_is_on(tmp_path: Path, name: str, row: Any) -> None:
    environ = dict.fromkeys(row.get("key_env", ()), "k")
    environ |= dict.fromkeys(row.get("base_url_env", ()), "http://127.0.0.1:9")

    found = spec(tmp_path, name, environ=environ)
    rules = Rules(dialect=found.dialect, **found.quirks)

    assert found.enabled, found.why_off
    assert not found.configured
    assert hash(rules.refuses) == hash(frozenset(rules.refuses))
    assert rules.refuses | rules.refuses_while_thinking <= set(Request.__dataclass_fields__)
    assert found.probe_model is None or found.offers(found.probe_model) or name == "openrouter"


@pytest.mark.parametrize(("name", "row"), ROWS)
def test_nothing_but_the_demo_is_on_in_an_empty_environment(tmp_path: Path, name: str, row: Any) -> None:
    found = spec(tmp_path, name)

    assert found.enabled == (name == "demo")
    for variable in row.get("base_url_env", row.get("key_env", ())):
        assert variable in found.why_off


def literals(kind: Any) -> list[str]:
    """The words in a type of an SDK."""
    return [word for part in get_args(kind) for word in ([part] if isinstance(part, str) else literals(part))]


KINDS = (AllModels, ImageModel, AudioModel, SpeechModel, ModerationModel, VideoModel, EmbeddingModel)
NAMES = {
    "openai": [*(word for kind in KINDS for word in literals(kind)), "gpt-realtime-2.1"],
    "gemini": ["gemini-embedding-001", "gemini-3.8-flash-image", "imagen-4.0-generate-001", "veo-3.1-generate"],
    "groq": ["whisper-large-v3", "whisper-large-v3-turbo"],
    "mistral": ["mistral-ocr-latest", "mistral-moderation-2411", "voxtral-mini-latest"],
    "cohere": ["rerank-v4.0-pro", "rerank-english-v3.0"],
}


@pytest.mark.parametrize("name", NAMES)
def test_bare_names_of_a_vendors_models_lead_to_it(tmp_path: Path, name: str) -> None:
    """Pictures, sounds, films and moderations as well as chats: an unchanged SDK names them so."""
    environ = {rows()[other]["key_env"][0]: "k" for other in NAMES}
    settings = load(folder=tmp_path, environ=environ).settings
    specs = providers(settings, environ).values()
    names = Names((), [Offer(each.name, each.models, each.patterns) for each in specs if each.enabled])

    assert {model for model in NAMES[name] if names.resolve(model).targets[0].provider != name} == set()


def test_servers_on_this_machine_are_never_sent_addresses_of_pictures() -> None:
    """WIRE 127: the proxy fetches remote pictures itself."""
    local = {name for name, row in ROWS if "127.0.0.1" in row.get("base_url", "")}

    for quirk in LOCAL_QUIRKS:
        assert {name for name, row in ROWS if row.get("quirks", {}).get(quirk) is False} == local


@pytest.mark.parametrize("address", ["http://127.0.0.1:8000", "http://10.0.0.7/v1", "http://gpu.internal/v1"])
@pytest.mark.parametrize("name", ["openai", "anthropic", "gemini"])
def test_neither_are_those_that_were_moved_to_a_private_address(tmp_path: Path, name: str, address: str) -> None:
    moved = spec(tmp_path, name, f'[providers.{name}]\nbase_url = "{address}"\n')

    assert not any(getattr(moved.rules("m"), quirk) for quirk in LOCAL_QUIRKS)


@pytest.mark.parametrize(
    ("name", "environ", "url"),
    [
        ("openai", {"OPENAI_API_KEY": "k"}, "https://api.openai.com/v1/chat/completions"),
        ("anthropic", {}, "https://api.anthropic.com/v1/messages"),
        ("gemini", {}, "https://generativelanguage.googleapis.com/v1beta/models/m%2F1%3F:generateContent"),
        ("azure", {"AZURE_OPENAI_ENDPOINT": "https://r.openai.azure.com/"},
         "https://r.openai.azure.com/openai/v1/chat/completions"),
        ("ollama", {"OLLAMA_HOST": "0.0.0.0"}, "http://127.0.0.1:11434/v1/chat/completions"),
        ("ollama", {"OLLAMA_HOST": "box:1"}, "http://box:1/v1/chat/completions"),
        ("ollama", {"OLLAMA_HOST": "https://box/ai/v1"}, "https://box/ai/v1/chat/completions"),
        ("ollama", {"OLLAMA_HOST": "[::1]:7"}, "http://[::1]:7/v1/chat/completions"),
        ("vllm", {"VLLM_BASE_URL": "http://gpu"}, "http://gpu:8000/v1/chat/completions"),
    ],
)  # fmt: skip
def test_the_address_of_a_call(tmp_path: Path, name: str, environ: dict[str, str], url: str) -> None:
    assert address(spec(tmp_path, name, environ=environ), "m/1?", stream=False) == url


def test_a_stream_of_gemini_has_its_own_address(tmp_path: Path) -> None:
    url = address(spec(tmp_path, "gemini"), "gemini-2.5-flash", stream=True)

    assert url.endswith("/v1beta/models/gemini-2.5-flash:streamGenerateContent?alt=sse")


@pytest.mark.parametrize(
    ("name", "base", "url"),
    [
        ("anthropic", "http://127.0.0.1:9/v1", "http://127.0.0.1:9/v1/messages"),
        ("anthropic", "http://127.0.0.1:9/", "http://127.0.0.1:9/v1/messages"),
        ("gemini", "http://127.0.0.1:9/v1beta", "http://127.0.0.1:9/v1beta/models/m:generateContent"),
        ("openai", "http://127.0.0.1:9", "http://127.0.0.1:9/chat/completions"),
    ],
)
def test_a_version_in_the_base_url_is_not_doubled(tmp_path: Path, name: str, base: str, url: str) -> None:
    found = spec(tmp_path, name, f"[providers.{name}]\nbase_url = '{base}'\n")

    assert address(found, "m", stream=False) == url


def test_configured_providers_come_first_in_the_order_of_the_file(tmp_path: Path) -> None:
    text = "[providers.corner]\nbase_url = 'http://h/v1'\n[providers.groq]\nenabled = false\n"

    assert list(specs(tmp_path, text))[:4] == ["corner", "groq", "openai", "anthropic"]


def test_a_section_changes_what_it_names_and_leaves_the_rest(tmp_path: Path) -> None:
    text = (
        "[providers.mistral]\nkeys = ['env:A']\ntimeouts = { idle_s = 3 }\nlimits = { concurrent = 2 }\n"
        "headers = { x-team = 'blue' }\nquirks = { stream_options = true }\n"
    )
    found = spec(tmp_path, "mistral", text, {"A": "aaa", "MISTRAL_API_KEY": "not this"})

    assert [key.reveal() for key in found.keys] == ["aaa"]
    assert found.base_url == "https://api.mistral.ai/v1"
    assert found.timeouts == Timeouts(idle_s=3)
    assert found.limits == Limits(concurrent=2)
    assert found.headers == {"x-team": "blue"}
    assert (found.quirks["stream_options"], found.quirks["rename"]) == (True, {"seed": "random_seed"})
    assert "mistral-small-latest" in found.models


def test_first_event_alone_is_the_clock_of_whole_answers_too(tmp_path: Path) -> None:
    one = spec(tmp_path, "openai", "[providers.openai]\ntimeouts = { first_event_s = 7 }\n").timeouts
    both = "[providers.openai]\ntimeouts = { first_event_s = 7, whole_answer_s = 8 }\n"

    assert (one.first_event_s, one.whole_answer_s) == (7, 7)
    assert spec(tmp_path, "openai", both).timeouts.whole_answer_s == 8


@pytest.mark.parametrize(
    ("text", "environ", "why"),
    [
        ("[providers.openai]\nenabled = false", {"OPENAI_API_KEY": "k"}, "switched off in the configuration"),
        ("[providers.openai]\nkeys = ['env:GONE']", {"OPENAI_API_KEY": "k"}, "none of its keys is set"),
        ("", {"OPENAI_API_KEY": "  "}, "no key: set OPENAI_API_KEY"),
        ("[providers.openai]\nlimits = { concurrent = 1 }", {}, "no key: set OPENAI_API_KEY"),
        ("[providers.openai]\nlimits = { concurrent = 1 }", {"OPENAI_API_KEY": "k"}, ""),
        ("[providers.openai]\nbase_url = 'http://127.0.0.1:9/v1'", {}, ""),
        ("[providers.openai]\nauth = 'none'", {}, ""),
    ],
)
def test_a_provider_is_on_with_a_key_or_says_why_not(
    tmp_path: Path, text: str, environ: dict[str, str], why: str
) -> None:
    assert spec(tmp_path, "openai", text, environ).why_off == why


def test_a_key_without_an_address_is_not_enough(tmp_path: Path) -> None:
    found = spec(tmp_path, "azure", environ={"AZURE_OPENAI_API_KEY": "k"})

    assert found.why_off == "no base_url: set AZURE_OPENAI_ENDPOINT"


def test_a_local_server_is_on_when_its_section_stands_there(tmp_path: Path) -> None:
    assert spec(tmp_path, "ollama", "[providers.ollama]\n").enabled


def test_the_demo_can_be_switched_off(tmp_path: Path) -> None:
    assert spec(tmp_path, "demo", "[providers.demo]\nenabled = false\n").why_off


def test_the_first_variable_that_is_set_counts(tmp_path: Path) -> None:
    both = spec(tmp_path, "gemini", environ={"GOOGLE_API_KEY": "b", "GEMINI_API_KEY": "a"})
    second = spec(tmp_path, "gemini", environ={"GOOGLE_API_KEY": "b"})

    assert [key.reveal() for key in (*both.keys, *second.keys)] == ["a", "b"]


@pytest.mark.parametrize("address", ["box:abc", ":11434", "http://", "//"])
def test_a_variable_with_no_usable_address_switches_nothing_on(tmp_path: Path, address: str) -> None:
    assert not spec(tmp_path, "ollama", environ={"OLLAMA_HOST": address}).enabled


@pytest.mark.parametrize("variable", ["OPENAI_BASE_URL", "OPENAI_API_BASE"])
def test_a_variable_that_usually_names_this_proxy_is_not_followed(tmp_path: Path, variable: str) -> None:
    found = spec(tmp_path, "openai", environ={variable: "http://127.0.0.1:4100/v1", "OPENAI_API_KEY": "k"})

    assert found.base_url == "https://api.openai.com/v1"


def test_a_provider_of_ones_own_is_one_section(tmp_path: Path) -> None:
    text = "[providers.corner]\nbase_url = 'http://127.0.0.1:8000/v1'\nmodels = ['qwen3-32b']\npatterns = ['qwen3-*']\n"
    found = spec(tmp_path, "corner", text)

    assert (found.enabled, found.dialect, found.auth, found.backend) == (True, "openai_chat", "none", "http")
    assert (found.probe_model, found.offers("qwen3-8b"), found.offers("qwen2")) == ("qwen3-32b", True, False)
    assert found.configured
    assert address(found, "qwen3-32b", stream=True) == "http://127.0.0.1:8000/v1/chat/completions"


def test_a_provider_of_ones_own_may_speak_another_dialect_at_another_path(tmp_path: Path) -> None:
    text = (
        "[providers.c]\nbase_url = 'http://h'\ndialect = 'anthropic'\nkeys = ['env:A']\n"
        "[providers.d]\nbase_url = 'http://h'\nchat_path = '/x/chat'\nauth = 'api-key'\n"
    )
    found = specs(tmp_path, text, {"A": "a"})

    assert (found["c"].auth, address(found["c"], "m", stream=True)) == ("x-api-key", "http://h/v1/messages")
    assert (found["d"].auth, address(found["d"], "m", stream=True)) == ("api-key", "http://h/x/chat")


def test_a_local_model_is_a_file_with_a_name(tmp_path: Path) -> None:
    text = "[providers.local]\ndialect = 'llamacpp'\nmodels = { tiny = { path = 'tiny.gguf', context = 512, projector = 'p' } }\n"  # noqa: E501 -- one section a line
    found = spec(tmp_path, "local", text)

    assert (found.backend, found.models, found.enabled) == ("llamacpp", ("tiny",), True)
    assert found.local_models["tiny"].path == tmp_path / "tiny.gguf"
    assert found.local_models["tiny"].projector == tmp_path / "p"
    assert found.local_models["tiny"].context == 512


def at(sent: str, received: str) -> tuple[Tariff, ...]:
    """The price of those two rates."""
    return (Tariff(Price.of({"input": sent, "output": received})),)


def test_a_price_is_for_all_models_or_for_some(tmp_path: Path) -> None:
    flat = spec(tmp_path, "openai", "[providers.openai]\nprice = { input = '1', output = '2.5' }\n")
    text = (
        "[providers.openai.price]\n'gpt-4*' = { input = '1', output = '2' }\ngpt-4o = { input = '3', output = '4' }\n"
    )
    some = spec(tmp_path, "openai", text)

    assert flat.price_of("anything") == at("1", "2.5")
    assert some.price_of("gpt-4o") == at("3", "4")
    assert some.price_of("gpt-4.1") == at("1", "2")
    assert some.price_of("o3") is None


def test_a_spec_does_not_print_its_keys_and_headers(tmp_path: Path) -> None:
    text = "[providers.openai]\nkeys = ['env:A']\nheaders = { authorization = 'env:A' }\n"

    assert "canary" not in repr(spec(tmp_path, "openai", text, {"A": "canary-canary-canary-canary"}))


def test_a_local_model_has_time_to_load_and_costs_nothing(tmp_path: Path) -> None:
    (tmp_path / "modelport.toml").write_text(
        '[providers.local]\ndialect = "llamacpp"\nmodels = { tiny = { path = "tiny.gguf" } }\n', encoding="utf-8"
    )

    spec = providers(load(environ={}, folder=tmp_path).settings, {})["local"]

    assert (spec.timeouts.first_event_s, spec.timeouts.whole_answer_s) == (300, 300)
    assert spec.price_of("tiny") == at("0", "0")


# --- embeddings and completions


@pytest.mark.parametrize(("name", "row"), ROWS)
def test_the_embeddings_of_a_row_are_rules_of_a_dialect_that_exists(tmp_path: Path, name: str, row: Any) -> None:
    way = spec(tmp_path, name).embeddings

    rules = EmbeddingRules(**way.rules)
    assert way.dialect in {*EMBEDDERS, ""}
    assert (way.dialect == "") == (row["dialect"] == "anthropic" or name == "perplexity")
    assert rules.refuses <= {"dimensions", "user", "encoding_format"}


@pytest.mark.parametrize(
    ("text", "name", "way"),
    [
        ("", "openai", EmbeddingWay("openai_chat")),
        ("", "gemini", EmbeddingWay("gemini")),
        ("", "anthropic", EmbeddingWay()),
        ("", "cohere", EmbeddingWay("cohere", "https://api.cohere.com", "", {"max_inputs": 96})),
        # Another server than the vendor's says for itself what it has.
        ("[providers.cohere]\nbase_url = 'http://h/v1'", "cohere", EmbeddingWay("openai_chat")),
        ("[providers.cohere]\nembeddings = { max_inputs = 5 }", "cohere",
         EmbeddingWay("cohere", "https://api.cohere.com", "", {"max_inputs": 5})),
        ("[providers.own]\nbase_url = 'http://h/v1'\nembeddings = { path = '/e', refuses = ['user'] }", "own",
         EmbeddingWay("openai_chat", "", "/e", {"refuses": frozenset({"user"})})),
        ("[providers.own]\nbase_url = 'http://h'\ndialect = 'anthropic'\nalso_speaks = ['openai_chat']", "own",
         EmbeddingWay("openai_chat")),
        ("[providers.openai]\nembeddings = { dialect = 'none' }", "openai", EmbeddingWay()),
        ("[providers.local]\ndialect = 'llamacpp'\nmodels = { e = { path = 'e.gguf' } }", "local",
         EmbeddingWay("llamacpp", "", "", {"max_inputs": 256})),
    ],
)  # fmt: skip
def test_how_a_provider_is_asked_for_embeddings(tmp_path: Path, text: str, name: str, way: EmbeddingWay) -> None:
    assert spec(tmp_path, name, text).embeddings == way


@pytest.mark.parametrize(
    ("field", "value", "names"),
    [
        pytest.param("stream_options", False, {"mistral", "perplexity"}, id="118-usage-is-not-asked-for"),
        pytest.param(
            "reasoning_replay", "tool_turns", {"deepseek", "moonshot", "openrouter"}, id="123-reasoning-goes-back"
        ),
    ],
)
def test_what_servers_are_known_to_demand_is_shipped(tmp_path: Path, field: str, value: Any, names: set[str]) -> None:
    found = {name for name, each in specs(tmp_path).items() if getattr(each.rules("some-model"), field) == value}

    assert found == names


def test_mistrals_bounds_and_names_are_shipped(tmp_path: Path) -> None:
    rules = EmbeddingRules(**spec(tmp_path, "mistral").embeddings.rules)

    assert (rules.max_inputs, rules.max_tokens, rules.token_ids) == (256, 16000, False)
    assert (rules.rename, rules.refuses) == ({"dimensions": "output_dimension"}, frozenset({"user"}))


@pytest.mark.parametrize(
    ("name", "model"),
    [("openai", "text-embedding-3-small"), ("openai", "gpt-3.5-turbo-instruct"), ("gemini", "gemini-embedding-001"),
     ("mistral", "mistral-embed"), ("mistral", "codestral-embed-2505"), ("cohere", "embed-multilingual-v3.0")],
)  # fmt: skip
def test_the_names_of_embedders_and_old_models_lead_to_their_vendors(tmp_path: Path, name: str, model: str) -> None:
    assert [each for each, found in ((each, spec(tmp_path, each)) for each in ASKED_FOR) if found.offers(model)] == [
        name
    ]


@pytest.mark.parametrize(
    ("text", "name", "model", "has"),
    [
        ("", "openai", "gpt-3.5-turbo-instruct-0914", True),
        ("", "openai", "gpt-6-sol", False),
        ("", "vllm", "anything", True),
        ("", "anthropic", "claude-opus-5", False),
        ("[providers.vllm]\ncompletions = false", "vllm", "anything", False),
        ("[providers.own]\nbase_url = 'http://h/v1'\ncompletions = ['base-*']", "own", "base-1", True),
        ("[providers.own]\nbase_url = 'http://h/v1'\ncompletions = ['base-*']", "own", "chat-1", False),
        ("[providers.own]\nbase_url = 'http://h/v1'", "own", "base-1", False),
    ],
)
def test_which_models_have_the_older_completions(tmp_path: Path, text: str, name: str, model: str, has: bool) -> None:
    found = spec(tmp_path, name, text)

    assert ("openai_completions" in found.speaks_for(model)) == has
    assert found.path("openai_completions", model) == "/completions"


def test_a_path_that_is_an_address_is_one(tmp_path: Path) -> None:
    assert call_url(spec(tmp_path, "openai"), "https://api.cohere.com/v2/embed") == "https://api.cohere.com/v2/embed"
