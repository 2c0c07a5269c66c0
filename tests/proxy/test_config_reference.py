"""docs/configuration.md and the starter say what the models say."""

from __future__ import annotations

from pathlib import Path

from proxy.cli.config import STARTER
from proxy.config import load
from proxy.config.reference import renewed

DOCS = Path(__file__).parents[2] / "docs"


def test_the_reference_in_the_documentation_is_current() -> None:
    """Renew it with: python -m proxy.config.reference docs/configuration.md"""
    page = (DOCS / "configuration.md").read_text(encoding="utf-8")

    assert renewed(page) == page


def test_the_starter_is_the_default_configuration(tmp_path: Path) -> None:
    path = tmp_path / "modelport.toml"
    path.write_text(STARTER.read_text(encoding="utf-8"), encoding="utf-8")
    environ = {"HOME": str(tmp_path)}

    found, default = load(path, environ=environ), load(folder=tmp_path / "none", environ=environ)

    assert found.settings == default.settings
    assert found.warnings == ()


def test_what_the_starter_comments_out_is_valid(tmp_path: Path) -> None:
    lines = STARTER.read_text(encoding="utf-8").splitlines()
    tables = [line.removeprefix("# ") for line in lines if line.startswith(("# [", "# "))]
    text = "\n".join(line for line in tables if line.startswith("[") or " = " in line)
    path = tmp_path / "modelport.toml"
    path.write_text(text[text.index("[providers.anthropic]") :], encoding="utf-8")

    found = load(path, profile="dev", environ={})

    assert list(found.settings.providers) == ["anthropic", "corner", "local"]
    assert list(found.settings.routes) == ["careful"]
    assert found.settings.logging.level == "debug"
