"""`modelport router`: a model is trained, shown and measured without a server."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from random import Random

import pytest
from typer.testing import CliRunner

from proxy.cli.app import app
from tests.routing.auto.worlds import world


@pytest.fixture
def outcomes(tmp_path: Path) -> Path:
    lines = [
        json.dumps(
            {
                "text": sample.traits.text,
                "outcomes": {
                    name: {"quality": each.quality, "cost_usd": each.cost_usd} for name, each in sample.outcomes.items()
                },
            }
        )
        for sample in world(Random(1), 120)
    ]
    path = tmp_path / "outcomes.jsonl.gz"
    path.write_bytes(gzip.compress("\n".join(lines).encode()))
    return path


def run(*words: str | Path) -> tuple[int, str]:
    result = CliRunner().invoke(app, ["router", *map(str, words)])
    return result.exit_code, result.output


def test_a_model_is_trained_and_shown(tmp_path: Path, outcomes: Path) -> None:
    out = tmp_path / "router.model"

    assert run("train", outcomes, "--out", out)[0] == 0
    status, told = run("show", out, "--json")
    assert status == 0
    shown = json.loads(told)
    assert [each["name"] for each in shown["targets"]] == ["a/weak", "b/strong"]
    assert shown["samples"] == 120
    assert list(tmp_path.glob("*.new")) == []


def test_what_a_model_would_reach_is_measured(outcomes: Path) -> None:
    status, told = run("eval", outcomes, "--folds", "3", "--json")

    found = json.loads(told)
    assert status == 0
    assert (found["weak"], found["strong"]) == ("a/weak", "b/strong")
    assert found["apgr"] > 0.6
    assert [each["name"] for each in found["ways"]][:2] == ["a/weak", "b/strong"]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("train", "nowhere.jsonl"), "nowhere.jsonl"),
        (("show", "nowhere.model"), "nowhere.model"),
        (("show", "{outcomes}"), "modelport-router 1"),
        (("eval", "{outcomes}", "--weak", "c/none"), "no outcomes of this target"),
    ],
)
def test_what_cannot_be_done_is_one_line_and_a_status(outcomes: Path, words: tuple[str, ...], told: str) -> None:
    status, output = run(*(word.format(outcomes=outcomes) for word in words))

    assert status != 0
    assert told in output
    assert "Traceback" not in output


def test_people_are_told_in_a_few_lines(tmp_path: Path, outcomes: Path) -> None:
    out = tmp_path / "router.model"

    trained = run("train", outcomes, "--out", out)
    shown = run("show", out)
    measured = run("eval", outcomes, "--folds", "2")

    assert [trained[0], shown[0], measured[0]] == [0, 0, 0]
    assert trained[1].startswith(f"{out}: 2 targets from 120 samples, {out.stat().st_size:,} bytes")
    assert shown[1].startswith(f"{out}: 120 samples, ")
    assert [line.split()[0] for line in shown[1].splitlines()[-2:]] == ["b/strong", "a/weak"]  # the better one first
    assert "120 samples, 2 folds; weak a/weak, strong b/strong\nAPGR 0." in measured[1]
    assert "auto, quality 0.5" in measured[1]


def test_the_report_of_a_training_is_the_models_own(tmp_path: Path, outcomes: Path) -> None:
    out = tmp_path / "router.model"

    trained = json.loads(run("train", outcomes, "--out", out, "--json")[1])
    shown = json.loads(run("show", out, "--json")[1])

    assert trained == {"model": str(out), "bytes": out.stat().st_size, **shown}


def test_standard_input_and_plain_files_are_taken_and_costs_may_be_unknown(tmp_path: Path, outcomes: Path) -> None:
    """More targets than a table shows are counted."""
    names = [f"p/{number:02}" for number in range(23)]
    lines = [
        json.dumps(
            {
                "text": f"word{number} question",
                "outcomes": {name: (at + number) % 3 / 2 for at, name in enumerate(names)},
            }
        )
        for number in range(60)
    ]
    plain, out = tmp_path / "plain.jsonl", tmp_path / "router.model"
    plain.write_text("\n".join(lines))

    from_input = CliRunner().invoke(
        app, ["router", "train", "-", "--out", str(out)], input=gzip.decompress(outcomes.read_bytes())
    )
    assert (from_input.exit_code, run("show", out)[1].splitlines()[-1].split()[0]) == (0, "a/weak")
    assert run("train", plain, "--out", out)[0] == 0

    status, told = run("show", out)
    assert (status, told.splitlines()[-1]) == (0, "and 3 more")
    assert told.count("unknown") == 20


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("train", "few.jsonl"), "few.jsonl: 3 samples; at least "),
        (("train", "few.jsonl", "torn.gz"), "torn.gz: "),
        (("train", "{outcomes}", "--out", "absent/router.model"), "absent/router.model: cannot be written ("),
        (("train", "{outcomes}", "--out", "folder"), "folder: cannot be written ("),
        (("eval", "few.jsonl"), "no two targets with outcomes for all samples"),
        (("eval", "pair.jsonl", "--folds", "3"), "pair.jsonl: "),
    ],
    ids=["too few", "a torn file", "no folder", "a folder", "one target", "too few for folds"],
)
def test_what_the_data_do_not_allow_is_told(
    tmp_path: Path, outcomes: Path, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...], told: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("folder").mkdir()
    Path("few.jsonl").write_text('{"text": "a", "outcomes": {"a/weak": 1}}\n' * 3)
    Path("pair.jsonl").write_text('{"text": "a", "outcomes": {"a/weak": 0, "b/strong": 1}}\n' * 3)
    Path("torn.gz").write_bytes(outcomes.read_bytes()[:-20])

    status, output = run(*(word.format(outcomes=outcomes) for word in words))

    assert (status, told in output) == (1, True), output
    assert not Path("router.model").exists()
    assert list(tmp_path.rglob("*.new")) == []
