"""Requests that real clients sent, put to the other vendors: each is what that vendor's own SDK would send.

What cannot be put to a target is refused with the place, for one of the reasons in tests.recordings.requests.
"""

from __future__ import annotations

from typing import Any

import pytest

from tests.recordings.requests import EXCEPTIONS, RECORDINGS, REFUSED, TARGETS, misfits, outcomes

needs_recordings = pytest.mark.skipif(
    not (RECORDINGS / "index.jsonl").exists(), reason="no recordings beside this checkout"
)

TEXT = {"type": "text", "text": "x"}


@needs_recordings
@pytest.mark.parametrize("target", TARGETS)
def test_every_recorded_request_fits_the_other_vendors_types(target: str) -> None:
    """But for the refusals and exceptions that are named above."""
    wrong = [
        outcome.told
        for outcome in outcomes()
        if outcome.target == target
        and (
            (outcome.refused and not outcome.was_refused and outcome.reason is None)
            or (outcome.misfits and (outcome.id, target) not in EXCEPTIONS)
        )
    ]

    assert wrong == [], f"{len(wrong)} of them"


@needs_recordings
def test_a_refusal_names_a_place_that_the_client_has_written() -> None:
    wrong = [outcome.told for outcome in outcomes() if outcome.refused and not outcome.place_exists]

    assert wrong == [], f"{len(wrong)} of them"


@needs_recordings
def test_every_reason_and_exception_is_needed() -> None:
    """What is named above happens."""
    reasons = {outcome.reason for outcome in outcomes() if outcome.refused and not outcome.was_refused}

    assert set(REFUSED) == reasons
    assert set(EXCEPTIONS) <= {(outcome.id, outcome.target) for outcome in outcomes() if outcome.misfits}


@pytest.mark.parametrize(
    ("dialect", "body"),
    [
        ("openai_chat", {"model": "m", "messages": [{"role": "user", "content": [{"type": "text", "txt": ""}]}]}),
        ("openai_chat", {"model": "m", "messages": [], "max_tokens": "4"}),
        ("openai_responses", {"model": "m", "input": [{"type": "message", "role": "user", "content": [{}]}]}),
        ("openai_responses", {"model": "m", "input": "x", "zap": 1}),
        ("anthropic", {"model": "m", "max_tokens": 1, "messages": [{"role": "user", "content": "", "name": "x"}]}),
        ("anthropic", {"model": "m", "max_tokens": 1, "messages": [{"role": "user", "content": [{**TEXT, "zap": 1}]}]}),
        ("gemini", {"contents": [{"parts": [{"txt": ""}]}]}),
        ("gemini", {"contents": [], "generationConfig": {"topp": 1}}),
        ("gemini", {"contents": [], "zap": 1}),
    ],
)  # fmt: skip
def test_a_field_that_the_vendor_does_not_know_is_seen(dialect: str, body: dict[str, Any]) -> None:
    assert misfits(dialect, body) != []


@pytest.mark.parametrize(
    ("dialect", "body"),
    [
        ("openai_chat", {"model": "m", "messages": [{"role": "user", "content": [TEXT]}], "max_tokens": 4}),
        ("openai_responses", {"model": "m", "input": "x", "stream": True}),
        ("anthropic", {"model": "m", "max_tokens": 1, "messages": [{"role": "user", "content": [TEXT]}]}),
        ("gemini", {"contents": [{"role": "user", "parts": [{"text": "x"}]}], "generationConfig": {"topP": 1}}),
    ],
)
def test_what_the_vendor_knows_fits(dialect: str, body: dict[str, Any]) -> None:
    assert misfits(dialect, body) == []
