"""Layers, precedence, places and the file formats."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from proxy.config import ConfigError, Loaded, Override, changed_since, load, loading
from proxy.config.show import shown_values
from proxy.config.sources import dotted, key_of, scalar, setting

TOML = '[server]\nport = 1\n[cache]\nmode = "off"\n[profiles.dev.server]\nport = 2\n'


def written(folder: Path, text: str, name: str = "modelport.toml") -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def loaded(folder: Path, text: str = "", environ: dict[str, str] | None = None, **how: object) -> Loaded:
    if text:
        written(folder, text)
    return load(folder=folder, environ={"HOME": str(folder / "home"), **(environ or {})}, **how)  # type: ignore[arg-type]


def test_no_configuration_is_a_configuration(tmp_path: Path) -> None:
    found = loaded(tmp_path)

    assert found.path is None
    assert (found.settings.server.host, found.settings.server.port) == ("127.0.0.1", 4100)
    assert found.settings.storage.path == tmp_path / "home/.local/share/modelport/modelport.db"
    assert found.warnings == ()


def test_command_line_beats_environment_beats_profile_beats_file_beats_default(tmp_path: Path) -> None:
    written(tmp_path, TOML)
    environ = {"MODELPORT__SERVER__PORT": "3"}
    options = [Override.option(("server", "port"), "4", "--port")]

    ports = [
        loaded(tmp_path / "empty").settings.server.port,
        loaded(tmp_path).settings.server.port,
        loaded(tmp_path, profile="dev").settings.server.port,
        loaded(tmp_path, profile="dev", environ=environ).settings.server.port,
        loaded(tmp_path, profile="dev", environ=environ, overrides=options).settings.server.port,
    ]

    assert ports == [4100, 1, 2, 3, 4]


def test_every_value_knows_its_origin(tmp_path: Path) -> None:
    written(tmp_path, TOML)
    found = loaded(tmp_path, profile="dev", environ={"MODELPORT__CACHE__TTL_S": "60"})

    origins = {each.key: str(each.origin) for each in shown_values(found)}

    assert origins["server.host"] == "default"
    assert origins["cache.mode"] == "file modelport.toml"
    assert origins["server.port"] == "profile modelport.toml [profiles.dev]"
    assert origins["cache.ttl_s"] == "environment MODELPORT__CACHE__TTL_S"


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("modelport.toml", '[providers.corner]\nbase_url = "http://h/v1"\nmodels = ["a"]\n'),
        ("modelport.yaml", "providers:\n  corner:\n    base_url: http://h/v1\n    models: [a]\n"),
        ("modelport.yml", "providers: {corner: {base_url: 'http://h/v1', models: [a]}}\n"),
        ("modelport.json", '{"providers": {"corner": {"base_url": "http://h/v1", "models": ["a"]}}}'),
    ],
)
def test_three_formats_say_the_same(tmp_path: Path, name: str, text: str) -> None:
    written(tmp_path, text, name)

    corner = loaded(tmp_path).settings.providers["corner"]

    assert (corner.base_url, corner.models) == ("http://h/v1", ("a",))


def test_places_are_searched_in_order(tmp_path: Path) -> None:
    home = tmp_path / "home/.config/modelport/config.toml"
    written(home.parent, "[server]\nport = 10\n", home.name)
    ports = [loaded(tmp_path).settings.server.port]
    written(tmp_path, "[server]\nport = 11\n")
    ports.append(loaded(tmp_path).settings.server.port)
    other = written(tmp_path, "[server]\nport = 12\n", "other.toml")
    ports.append(loaded(tmp_path, environ={"MODELPORT_CONFIG": str(other)}).settings.server.port)
    third = written(tmp_path, "[server]\nport = 13\n", "third.toml")
    named = load(third, folder=tmp_path, environ={"MODELPORT_CONFIG": str(other)})
    ports.append(named.settings.server.port)

    assert ports == [10, 11, 12, 13]


def test_a_second_file_beside_the_first_is_warned_of(tmp_path: Path) -> None:
    written(tmp_path, "server: {port: 2}\n", "modelport.yaml")
    found = loaded(tmp_path, "[server]\nport = 1\n")

    assert found.settings.server.port == 1
    assert "modelport.yaml beside it is not read" in found.warnings[0]


@pytest.mark.parametrize(
    ("variables", "key", "value"),
    [
        ({"SERVER__PORT": "4200"}, "server.port", 4200),
        ({"server__reload": "true"}, "server.reload", True),
        ({"CACHE__TTL_S": "0.5"}, "cache.ttl_s", 0.5),
        ({"STORAGE__PATH": "/data/1"}, "storage.path", "/data/1"),
        ({"SERVER__ALLOWED_HOSTS": '["a", "b"]'}, "server.allowed_hosts", ["a", "b"]),
        ({"SERVER__ALLOWED_HOSTS": "['a']"}, "server.allowed_hosts", ["a"]),
        ({"SERVER__ALLOWED_HOSTS": "a.example"}, "server.allowed_hosts", ["a.example"]),
        ({"PROVIDERS__OPENAI__PROBE_MODEL": "007"}, "providers.openai.probe_model", "007"),
        ({"PROVIDERS__OPENAI__TIMEOUTS": "{ idle_s = 3 }"}, "providers.openai.timeouts.idle_s", 3),
        ({"PROVIDERS__OPENAI__PRICE__INPUT": "0.25", "PROVIDERS__OPENAI__PRICE__OUTPUT": "1"},
         "providers.openai.price.input", "0.25"),
        ({"ROUTES__A__TARGETS": "openai/gpt-4o"}, "routes.a.targets", ["openai/gpt-4o"]),
        ({"ROUTES__A__TARGETS": '["openai/x", {"target": "demo/echo", "weight": 2}]'},
         "routes.a.targets", ["openai/x", {"target": "demo/echo", "weight": 2}]),
    ],
)  # fmt: skip
def test_a_variable_sets_one_value(tmp_path: Path, variables: dict[str, str], key: str, value: object) -> None:
    found = loaded(tmp_path, environ={f"MODELPORT__{name}": text for name, text in variables.items()})

    assert {each.key: each.value for each in shown_values(found)}[key] == value


def test_a_variable_finds_the_name_that_it_cannot_spell(tmp_path: Path) -> None:
    text = '[providers.my-Corner]\nbase_url = "http://h"\n'
    found = loaded(tmp_path, text, {"MODELPORT__PROVIDERS__MY_CORNER__ENABLED": "false"})

    assert [(name, section.enabled) for name, section in found.settings.providers.items()] == [("my-Corner", False)]


def test_tables_are_merged_and_lists_replaced(tmp_path: Path) -> None:
    text = (
        '[providers.openai]\nmodels = ["a", "b"]\ntimeouts = { idle_s = 1, total_s = 2 }\n'
        '[profiles.p.providers.openai]\nmodels = ["c"]\ntimeouts = { idle_s = 3 }\n'
    )
    openai = loaded(tmp_path, text, profile="p").settings.providers["openai"]

    assert openai.models == ("c",)
    assert (openai.timeouts.idle_s, openai.timeouts.total_s) == (3, 2)


def test_paths_of_a_file_are_relative_to_it_and_others_to_the_working_directory(tmp_path: Path) -> None:
    text = (
        '[storage]\npath = "a.db"\n'
        '[providers.local]\ndialect = "llamacpp"\nmodels = { tiny = { path = "m/tiny.gguf" } }\n'
    )
    file = written(tmp_path / "etc", text, "c.toml")
    of_file = load(file, folder=tmp_path, environ={}).settings
    of_variable = load(file, folder=tmp_path, environ={"MODELPORT__STORAGE__PATH": "b.db"}).settings
    local = of_file.providers["local"].models

    assert of_file.storage.path == tmp_path / "etc/a.db"
    assert isinstance(local, dict)
    assert local["tiny"].path == tmp_path / "etc/m/tiny.gguf"
    assert of_variable.storage.path == tmp_path / "b.db"


def test_a_profile_can_come_from_a_variable(tmp_path: Path) -> None:
    found = loaded(tmp_path, TOML, {"MODELPORT_PROFILE": "dev"})

    assert (found.profile, found.settings.server.port) == ("dev", 2)


def test_an_unknown_profile_names_those_that_exist(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as error:
        loaded(tmp_path, TOML, profile="dve")

    assert str(error.value) == "--profile: found 'dve', expected one of dev; did you mean dev?"


def test_a_file_that_was_touched_has_changed_and_one_that_is_gone_has_not(tmp_path: Path) -> None:
    found = loaded(tmp_path, "[server]\nport = 1\n")
    before = changed_since(found)
    assert found.path
    os.utime(found.path, ns=(1, 1))
    after = changed_since(found)
    found.path.unlink()

    assert (before, after, changed_since(found)) == (False, True, False)


def test_an_open_port_needs_keys_or_the_flag(tmp_path: Path) -> None:
    keys = {"MODELPORT__AUTH__REQUIRED": "true", "MODELPORT__AUTH__MASTER_KEY": "env:KEY", "KEY": "a-master-key"}
    for how in ({"environ": keys}, {"open_port": True}):
        assert loaded(tmp_path, '[server]\nhost = "0.0.0.0"\n', **how).settings.server.loopback is False
    with pytest.raises(ConfigError, match=r"server\.host: found '0\.0\.0\.0', expected a loopback address"):
        loaded(tmp_path)


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.8.8", "localhost", "::1", "[::1]"])
def test_loopback_needs_nothing(tmp_path: Path, host: str) -> None:
    assert loaded(tmp_path, f"[server]\nhost = {json.dumps(host)}\n").settings.server.loopback


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("4100", 4100),
        ("true", True),
        ('"4100"', "4100"),
        ("{ a = 1 }", {"a": 1}),
        ("abc", "abc"),
        ("", ""),
        ("1_000", 1000),
    ],
)
def test_text_becomes_the_value_that_it_spells(text: str, value: object) -> None:
    assert scalar(text) == value


@pytest.mark.parametrize("key", [("a", "b"), ("a", "b.c", "d"), ("a-b", "c"), ("a", "gpt-5.5")])
def test_dotted_keys_survive_the_round_trip(key: tuple[str, ...]) -> None:
    assert key_of(dotted(key)) == key


@pytest.mark.parametrize("text", ["no key here=1", "=1", "server.port", "a..b=1"])
def test_a_setting_without_key_or_value_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="--set"):
        setting(text)


@pytest.mark.parametrize(
    "tree",
    [
        {},
        {"server": {"port": 5, "allowed_hosts": ["a"]}, "request_log": {"rules": {"A": "a+"}}},
        {
            "providers": {"mine": {"base_url": "http://127.0.0.1:1/v1", "price": {"input": "1"}, "keys": ["env:A"]}},
            "routes": {"a": {"targets": ["demo/echo", {"target": "mine/m", "weight": 3}], "cache": {"ttl_s": 5}}},
            "budgets": {"b": {"limit_usd": "5"}},
            "storage": {"path": "m.db"},
        },
    ],
    ids=["nothing", "sections", "tables"],
)
def test_sections_alone_are_validated_as_the_whole_is(tree: dict[str, Any]) -> None:
    """What is left out has its default without being validated, which takes longer than the rest of the start."""
    alone, whole = loading._sections(tree), loading._whole(tree)

    assert alone == whole
    assert alone.model_fields_set == whole.model_fields_set == set(tree)
