"""Every recorded chat-like exchange comes out right for a client of every dialect."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from tests.recordings.asking import SHORT
from tests.recordings.page import COMMAND, PATH, Result, page, text_table
from tests.recordings.requests import RECORDINGS, outcomes
from tests.replay_recordings import EXCEPTIONS, load, run

pytestmark = pytest.mark.skipif(not (RECORDINGS / "index.jsonl").exists(), reason="no recordings beside this checkout")


@pytest.fixture(scope="module")
def results() -> Sequence[Result]:
    """All recordings for all clients, some of them finely cut; `make replay` cuts them all."""
    return run(RECORDINGS)


def test_every_recording_comes_out_right(results: Sequence[Result]) -> None:
    """But for the exceptions, each of which is named with its reason and really is one."""
    wrong = [
        f"{result.id} [{SHORT[result.client]}, {result.split}]: {result.wrong}"
        for result in results
        if result.wrong and not result.excepted
    ]
    assert wrong == [], text_table(results)
    assert set(EXCEPTIONS) == {(result.id, result.client) for result in results if result.wrong}


def test_the_page_tells_what_came_out(results: Sequence[Result]) -> None:
    assert page(results, outcomes(), load(RECORDINGS)[1]) == PATH.read_text("utf-8"), f"write it anew: {COMMAND}"
