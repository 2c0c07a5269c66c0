"""`modelport config`, `version`, `serve`, and the check that the package names are ours."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from proxy.cli import ROOT
from proxy.cli.ownership import stranger
from proxy.cli.serve import parser, reader, serve
from proxy.config import ConfigError

SECRET = "sk-0123456789abcdefghijWXYZ"


def written(text: str) -> None:
    Path("modelport.toml").write_text(text, encoding="utf-8")


def test_check_says_what_is_on(run: Any) -> None:
    written("[providers.groq]\nkeys = ['env:GONE']\n[routes.r]\ntargets = ['demo/echo']\n")

    result = run("config", "check", environ={"OPENAI_API_KEY": "k"})

    assert result.exit_code == 0
    assert result.stdout.splitlines()[1:] == [
        "providers on: openai, demo",
        "groq is off: none of its keys is set",
        "routes: r",
    ]
    assert result.stderr.startswith("warning: providers.groq.keys[0]: the environment variable GONE is not set")


def test_check_tells_every_error_and_ends_with_2(run: Any) -> None:
    written("[server]\nport = 'abc'\n[cache]\nmode = 'al'\n")

    result = run("config", "check")

    assert (result.exit_code, result.stdout) == (2, "")
    assert [line.split(": found")[0] for line in result.stderr.splitlines()] == [
        "modelport.toml: server.port",
        "modelport.toml: cache.mode",
    ]


def test_check_as_json_names_every_provider(run: Any) -> None:
    answer = json.loads(run("config", "check", "--json").stdout)

    assert {"name": "demo", "enabled": True, "why_off": None} in answer["providers"]
    assert answer["path"] is None


def test_show_gives_every_value_its_origin_and_masks_secrets(run: Any) -> None:
    written(f"[server]\nport = 5\n[providers.openai]\nkeys = ['env:A', '{SECRET}']\n[profiles.p.cache]\nmode = 'off'\n")

    environ = {"A": SECRET, "MODELPORT__SERVER__SHUTDOWN_S": "3"}
    arguments = ("config", "show", "--profile", "p", "--set", "logging.level=debug")
    table, result = run(*arguments, environ=environ).stdout, run(*arguments, "--json", environ=environ)
    origins = {each["key"]: (each["value"], each["origin"]) for each in json.loads(result.stdout)["values"]}

    assert origins["server.host"] == ("127.0.0.1", "default")
    assert origins["server.port"] == (5, "file modelport.toml")
    assert origins["cache.mode"] == ("off", "profile modelport.toml [profiles.p]")
    assert origins["server.shutdown_s"] == (3, "environment MODELPORT__SERVER__SHUTDOWN_S")
    assert origins["logging.level"] == ("debug", "command line --set")
    assert origins["providers.openai.keys"][0] == ["env:A (sk-…WXYZ)", "sk-…WXYZ"]
    assert SECRET[4:15] not in result.output + table


def test_init_writes_a_configuration_once(run: Any) -> None:
    first = run("config", "init")
    before = Path("modelport.toml").read_bytes()
    second = run("config", "init")

    assert (first.exit_code, run("config", "check").exit_code) == (0, 0)
    assert (second.exit_code, second.stderr) == (1, "modelport.toml is there already and stays as it is\n")
    assert Path("modelport.toml").read_bytes() == before


@pytest.mark.parametrize("arguments", [["version"], ["--version"]])
def test_the_version_is_said(run: Any, arguments: list[str]) -> None:
    result = run(*arguments)

    assert result.exit_code == 0
    assert result.stdout.startswith("modelport")


@pytest.mark.parametrize("arguments", [[], ["nope"], ["status", "--nope"], ["config"], ["ask"]])
def test_wrong_usage_ends_with_2(run: Any, arguments: list[str]) -> None:
    assert run(*arguments).exit_code == 2


def options(*arguments: str) -> argparse.Namespace:
    return parser().parse_args(arguments)


def test_serve_puts_its_options_over_everything(run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    written("[server]\nport = 5\n")
    monkeypatch.setenv("MODELPORT__SERVER__PORT", "6")

    loaded = reader(
        options("--port", "7", "--log-level", "debug", "--set", "cache.mode=off", "--set", "server.host=::1")
    )()

    settings = loaded.settings
    assert (settings.server.port, settings.server.host) == (7, "::1")
    assert (settings.logging.level, settings.cache.mode) == ("debug", "off")
    assert str(loaded.origins["server.port"]) == "command line --port"


def test_what_serve_reads_again_is_the_file_as_it_is_then(run: Any) -> None:
    written("[cache]\nttl_s = 1\n")
    read = reader(options())
    first = read().settings.cache.ttl_s
    written("[cache]\nttl_s = 2\n")

    assert (first, read().settings.cache.ttl_s) == (1, 2)


def test_serve_opens_the_port_to_others_only_when_told(run: Any) -> None:
    with pytest.raises(ConfigError, match=r"--host: server\.host"):
        reader(options("--host", "0.0.0.0"))()

    assert reader(options("--host", "0.0.0.0", "--i-know-what-i-am-doing"))().settings.server.host == "0.0.0.0"


@pytest.mark.parametrize("arguments", [["--port", "abc"], ["--set", "server.prt=1"], ["--config", "gone.toml"]])
def test_serve_ends_with_2_when_the_configuration_is_wrong(
    run: Any, arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert serve(arguments) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_serve_starts_without_what_it_does_not_need() -> None:
    """Start-up time: no terminal library, no YAML, no prices before the server is asked for."""
    code = "import sys; import proxy.cli, proxy.cli.serve; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)

    assert not {"typer", "rich", "yaml", "genai_prices", "tiktoken", "aiohttp"} & set(done.stdout.split())


def test_the_four_names_are_ours() -> None:
    assert stranger(ROOT) is None


def test_a_package_of_the_same_name_elsewhere_is_told(tmp_path: Path) -> None:
    assert (stranger(tmp_path) or "").startswith("the package 'translators' is ")


@pytest.mark.parametrize(
    ("folder", "record", "told"),
    [
        ("acme_proxy-1.0.dist-info", "acme/__init__.py,,\nproxy/__init__.py,sha256=x,1\n", True),
        ("acme_proxy-1.0.dist-info", "acme/proxy/__init__.py,,\nproxy_tools/a.py,,\n", False),
        ("modelport-0.1.0.dist-info", "proxy/__init__.py,,\n", False),
    ],
)
def test_a_distribution_that_wrote_over_our_files_is_told(tmp_path: Path, folder: str, record: str, told: bool) -> None:
    for name in ("translators", "routing", "storage", "proxy"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").touch()
    (tmp_path / folder).mkdir()
    (tmp_path / folder / "RECORD").write_text(record, encoding="utf-8")
    code = (
        f"import sys; sys.path[:0] = [{str(ROOT)!r}]\n"
        "from pathlib import Path\nfrom proxy.cli.ownership import stranger\n"
        f"sys.path[:0] = [{str(tmp_path)!r}]\ndel sys.modules['proxy'], sys.modules['proxy.cli']\n"
        f"print(stranger(Path({str(tmp_path)!r})))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=tmp_path)

    assert done.stdout.startswith("the distribution 'acme_proxy' installs a package 'proxy'" if told else "None")
