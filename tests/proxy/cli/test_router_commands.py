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
