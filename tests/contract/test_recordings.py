"""Every recorded chat-like exchange comes out as a valid OpenAI answer with the same content, at every cut."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.replay_recordings import EXCEPTIONS, run, table
from tests.running import ROOT

SHARED = Path(os.environ.get("MODELPORT_SHARED", ROOT.parent / "shared")) / "recordings"


@pytest.mark.skipif(not (SHARED / "index.jsonl").exists(), reason="no recordings beside this checkout")
def test_every_recording_comes_out_right() -> None:
    """But for the exceptions, each of which is named with its reason and really is one."""
    results = run(SHARED, ["whole", 7, 1])

    wrong = [
        f"{result.id} [{result.split}]: {result.wrong}" for result in results if result.wrong and not result.excepted
    ]
    assert wrong == [], table(results)
    assert set(EXCEPTIONS) == {result.id for result in results if result.wrong}
