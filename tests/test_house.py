"""What README and its neighbours say is so: commands exist, examples run and print what is shown, versions agree."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest
import typer.main
import yaml

from proxy.cli.app import app
from proxy.config import load
from tests.running import Modelport

ROOT: Final = Path(__file__).resolve().parents[1]
README: Final = (ROOT / "README.md").read_text("utf-8")
MAKEFILE: Final = (ROOT / "Makefile").read_text("utf-8")
PROJECT: Final = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
PACKAGES: Final = ["translators", "routing", "storage", "proxy"]
PAGES: Final = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])
NOT_OURS: Final = {"node_modules", "build", "dist", "__pycache__"}
HIDDEN_BUT_OURS: Final = {".ci", ".github"}
TOKENS: Final = {"OPENAI_API_KEY": "sk-not-a-key-000000", "ANTHROPIC_API_KEY": "sk-ant-not-a-key-000"}


def blocks(text: str, language: str) -> list[str]:
    """The fenced blocks of *language*."""
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)


def own_files() -> Iterator[Path]:
    """The files of the checkout that somebody wrote."""
    for folder, folders, files in os.walk(ROOT):
        folders[:] = [name for name in folders if name in HIDDEN_BUT_OURS or (name[0] != "." and name not in NOT_OURS)]
        yield from (Path(folder, name) for name in files)


def page_id(page: Path) -> str:
    """Its path below the checkout."""
    return str(page.relative_to(ROOT))


# --- README's commands and examples


def test_the_readme_begins_with_the_two_commands() -> None:
    assert re.findall(r"^make \w+", blocks(README, "sh")[0], re.MULTILINE) == ["make serve", "make test"]


@pytest.mark.parametrize("page", PAGES, ids=page_id)
def test_every_make_target_that_is_named_exists(page: Path) -> None:
    targets = set(re.findall(r"^([a-z-]+):", MAKEFILE, re.MULTILINE))
    text = page.read_text("utf-8")
    named = re.findall(r"(?:^|`|\$ )make ([a-z][a-z-]*)", text, re.MULTILINE)

    assert set(named) <= targets


@pytest.mark.parametrize("page", PAGES, ids=page_id)
def test_every_modelport_command_that_is_named_exists(page: Path) -> None:
    root = typer.main.get_command(app)
    known = {name: getattr(command, "commands", {}) for name, command in getattr(root, "commands", {}).items()}
    text = page.read_text("utf-8")
    wrong = [
        f"{name} {inner}".rstrip()
        for name, inner in re.findall(r"(?:^\$ |^|`)modelport ([a-z][a-z-]*)(?: ([a-z][a-z-]*))?", text, re.MULTILINE)
        if name not in known or (known[name] and inner and inner not in known[name])
    ]

    assert wrong == []


@pytest.mark.parametrize("page", PAGES, ids=page_id)
def test_every_toml_example_is_a_configuration(page: Path, tmp_path: Path) -> None:
    for number, example in enumerate(blocks(page.read_text("utf-8"), "toml")):
        if "[project" in example:
            continue
        path = tmp_path / f"{number}.toml"
        path.write_text(example, "utf-8")

        load(path, environ={}, folder=tmp_path)


@pytest.mark.parametrize("page", PAGES, ids=page_id)
def test_every_link_to_a_file_leads_somewhere(page: Path) -> None:
    links = re.findall(r"\]\((?!https?:|#)([^)#]+)", page.read_text("utf-8"))

    assert [link for link in links if not (page.parent / link).exists()] == []


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Modelport]:
    """The server with the README's own configuration."""
    with Modelport(tmp_path_factory.mktemp("readme"), blocks(README, "toml")[0]) as modelport:
        yield modelport


@pytest.mark.skipif(not (shutil.which("curl") and shutil.which("bash")), reason="no curl or no bash here")
def test_the_readmes_commands_print_what_it_shows(running: Modelport) -> None:
    """In order, as a reader runs them; `…` stands for what differs from run to run."""
    command = running.folder / "bin" / "modelport"
    command.parent.mkdir(exist_ok=True)
    command.write_text(f'#!/bin/sh\nexec "{sys.executable}" -c "from proxy.cli import main; main()" "$@"\n', "utf-8")
    command.chmod(0o755)
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("MODELPORT_")},
        **TOKENS,
        "PATH": f"{command.parent}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
        "XDG_CONFIG_HOME": str(running.folder / "settings"),
        "MODELPORT_URL": running.url,
    }
    for text, shown in shown_runs(README):
        asked = text.replace("http://127.0.0.1:4100", running.url)
        ran = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", asked],
            cwd=running.folder,
            env=environment,
            capture_output=True,
            timeout=60,
            check=False,
            text=True,
        )
        assert ran.returncode == 0, f"{asked}\n{ran.stderr}"
        printed = ran.stdout.replace("\r", "").replace(running.url, "http://127.0.0.1:4100")

        pattern = re.escape(shown.strip()).replace("…", ".*?")
        assert re.fullmatch(pattern, printed.strip(), re.DOTALL), f"{asked}\nprints\n{printed}\nnot\n{shown}"


def shown_runs(text: str) -> list[tuple[str, str]]:
    """(command, output) of every line that begins with `$` in a console block."""
    return [
        (command.replace("\\\n", " "), output)
        for block in blocks(text, "console")
        for command, output in re.findall(r"^\$ ((?:.*\\\n)*.*)\n((?:(?!\$ ).*\n)*)", block, re.MULTILINE)
    ]


@pytest.mark.parametrize("number", range(2), ids=["OpenAI", "Anthropic and Google"])
def test_the_readmes_python_prints_what_it_shows(
    running: Modelport, capsys: pytest.CaptureFixture[str], number: int
) -> None:
    """Both programs print the same two lines."""
    program, shown = blocks(README, "python")[number], blocks(README, "text")[0]
    exec(compile(program.replace("http://127.0.0.1:4100", running.url), "README.md", "exec"), {})

    assert capsys.readouterr().out == shown


def test_the_readme_has_no_other_python() -> None:
    assert len(blocks(README, "python")) == 2


# --- the house


def test_the_changelogs_newest_version_is_the_projects() -> None:
    versions = re.findall(r"^## (\d+\.\d+\.\d+)", (ROOT / "CHANGELOG.md").read_text("utf-8"), re.MULTILINE)

    assert versions[0] == PROJECT["project"]["version"]


def test_the_wheel_holds_the_four_packages_and_nothing_else() -> None:
    assert PROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"] == PACKAGES
    assert all((ROOT / name / "__init__.py").exists() for name in PACKAGES)


def test_every_dependency_has_its_line_in_the_decisions() -> None:
    page = (ROOT / "docs/decisions/dependencies.md").read_text("utf-8")
    project = PROJECT["project"]
    wanted = [
        *project["dependencies"],
        *(each for extra in project["optional-dependencies"].values() for each in extra),
    ]
    names = [re.split(r"[<>=!~\[; ]", each)[0] for each in wanted]

    assert [name for name in names if f"`{name}`" not in page] == []


def test_the_image_installs_a_locked_version_of_every_dependency() -> None:
    """`make lock` writes it; an image is built from exactly that."""
    locked = re.findall(r"^([a-z0-9-]+)==", (ROOT / "docker/requirements.lock").read_text("utf-8"), re.MULTILINE)
    wanted = {re.split(r"[<>=!~\[; ]", each)[0] for each in PROJECT["project"]["dependencies"]}

    assert wanted <= set(locked)


def test_ci_runs_the_readmes_test_command_first() -> None:
    script = (ROOT / ".ci/run").read_text("utf-8")

    assert re.findall(r"^make \w+", script, re.MULTILINE) == ["make test", "make lint", "make types", "make layers"]
    assert os.access(ROOT / ".ci/run", os.X_OK)


def test_the_workflow_runs_the_same_on_every_python_with_pinned_actions() -> None:
    workflow = yaml.safe_load((ROOT / ".github/workflows/ci.yml").read_text("utf-8"))
    check = workflow["jobs"]["check"]
    used = [step["uses"] for job in workflow["jobs"].values() for step in job["steps"] if "uses" in step]
    classified = [name for name in PROJECT["project"]["classifiers"] if re.search(r":: 3\.\d+$", name)]

    assert [f"Programming Language :: Python :: {each}" for each in check["strategy"]["matrix"]["python"]] == classified
    assert check["steps"][-1]["run"] == ".ci/run"
    assert workflow["permissions"] == {"contents": "read"}
    assert [each for each in used if not re.fullmatch(r"[\w./-]+@[0-9a-f]{40}", each)] == []


def test_the_containers_are_locked_down() -> None:
    """No root, no writable file system but for data and scratch, no capabilities."""
    services = yaml.safe_load((ROOT / "docker/compose.yaml").read_text("utf-8"))["services"]
    dockerfile = (ROOT / "docker/Dockerfile").read_text("utf-8")

    for service in services.values():
        assert service["read_only"] is True
        assert service["cap_drop"] == ["ALL"]
        assert service["security_opt"] == ["no-new-privileges:true"]
    assert services["app"]["network_mode"] == "service:modelport"
    assert re.search(r"^USER 1\d{4}:1\d{4}$", dockerfile, re.MULTILINE)
    assert re.search(r"^VOLUME /data$", dockerfile, re.MULTILINE)
    assert "/health/live" in dockerfile


def test_no_file_names_a_folder_of_somebodys_machine() -> None:
    machine = re.compile(rb"(?<![\w.~-])/(?:work|root|home)/\w")
    found = [
        page_id(path)
        for path in own_files()
        if path.suffix not in {".xz", ".gguf", ".db"} and path != Path(__file__) and machine.search(path.read_bytes())
    ]

    assert found == []


def test_the_licence_is_whole() -> None:
    text = (ROOT / "LICENSE").read_text("utf-8")

    assert "Apache License" in text
    assert [number for number in range(1, 10) if not re.search(rf"^ +{number}\. [A-Z]", text, re.MULTILINE)] == []
    assert "END OF TERMS AND CONDITIONS" in text
