"""Whether the four packages are ours, in folders that look like an environment's."""

from __future__ import annotations

from importlib.machinery import ModuleSpec
from pathlib import Path

import pytest

from proxy.cli import ownership
from proxy.cli.ownership import NAMES, REMEDY, stranger


@pytest.fixture
def found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, list[str] | None]:
    """Where Python finds each package: below tmp_path, unless a test says otherwise. None: nowhere."""
    places: dict[str, list[str] | None] = {name: [str(tmp_path / name)] for name in NAMES}

    def spec(name: str) -> ModuleSpec | None:
        if (where := places[name]) is None:
            return None
        made = ModuleSpec(name, None, is_package=True)
        made.submodule_search_locations = where
        return made

    monkeypatch.setattr(ownership, "find_spec", spec)
    return places


Found = dict[str, list[str] | None]


def record(folder: Path, name: str, text: str) -> None:
    (folder / name).mkdir()
    (folder / name / "RECORD").write_text(text, "utf-8")


@pytest.mark.parametrize(
    ("where", "told"),
    [
        (["/elsewhere/routing"], "/elsewhere/routing"),
        (["/elsewhere/routing", "{ours}"], "/elsewhere/routing, {ours}"),
        ([], "nowhere"),
        (None, "nowhere"),
    ],
    ids=["elsewhere", "in two places", "a module", "missing"],
)
def test_a_package_that_python_finds_elsewhere_is_named_with_its_place(
    found: Found, tmp_path: Path, where: list[str] | None, told: str
) -> None:
    ours = tmp_path / "routing"
    found["routing"] = None if where is None else [each.format(ours=ours) for each in where]

    assert stranger(tmp_path) == f"the package 'routing' is {told.format(ours=ours)}, not {ours}; {REMEDY}"


@pytest.mark.parametrize(
    ("name", "text", "claimed"),
    [
        ("acme_proxy-1.0.dist-info", "acme/a.py,,\nproxy/a.py,,\n", "proxy"),
        ("acme-1.0.dist-info", "storage/a.py,,\n", "storage"),
        ("acme-1.0.dist-info", "acme/proxy/a.py,,\nproxy_tools/a.py,,\n", None),
        ("Modelport-0.1.0.dist-info", "proxy/a.py,,\n", None),
    ],
    ids=["in the middle", "in the first line", "of no such name", "our own"],
)
def test_a_distribution_that_installs_over_us_is_named(
    found: Found, tmp_path: Path, name: str, text: str, claimed: str | None
) -> None:
    record(tmp_path, name, text)

    sentence = f"the distribution {name.partition('-')[0]!r} installs a package {claimed!r} over ours; {REMEDY}"
    assert stranger(tmp_path) == (sentence if claimed else None)


def test_a_record_that_cannot_be_read_accuses_nobody(found: Found, tmp_path: Path) -> None:
    (tmp_path / "acme-1.0.dist-info" / "RECORD").mkdir(parents=True)

    assert stranger(tmp_path) is None
