"""docs/cli.md says what the commands say."""

from __future__ import annotations

from pathlib import Path

from proxy.cli.reference import renewed


def test_the_reference_in_the_documentation_is_current() -> None:
    """Renew it with: python -m proxy.cli.reference docs/cli.md"""
    page = (Path(__file__).parents[3] / "docs/cli.md").read_text(encoding="utf-8")

    assert renewed(page) == page
