"""What a server says of a `previous_response_id` that it cannot go on from."""

from __future__ import annotations

import json
from typing import Any

import pytest

from translators.openai_responses import parse_error
from translators.openai_responses.client import NOT_KNOWN, keeps_nothing

PREVIOUS = "previous_response_id"
CASES: dict[str, tuple[int, Any, bool, bool]] = {
    "openai": (
        400,
        {"error": {"message": "Previous response with id 'resp_1' not found.", "param": PREVIOUS, "code": NOT_KNOWN}},
        True,
        False,
    ),
    "not an id": (400, {"error": {"message": f"Invalid '{PREVIOUS}': 'x'.", "param": PREVIOUS}}, True, False),
    "a field": (400, {"detail": f"Unsupported parameter: {PREVIOUS}"}, True, True),
    "in words": (404, {"error": {"message": f"{PREVIOUS} is not supported by this server"}}, True, True),
    "a list": (422, {"detail": [{"loc": ["body", PREVIOUS], "msg": "Extra inputs are not permitted"}]}, True, True),
    "another field": (400, {"error": {"message": "Unknown parameter: 'user'.", "param": "user"}}, False, False),
    "overloaded": (503, {"error": {"message": f"{PREVIOUS} cannot be read now"}}, False, False),
    "a wrong key": (401, {"error": {"message": f"no key, no {PREVIOUS}"}}, False, False),
}
"""(status, body, whether it says that the id is of no use, whether it says so of every id)."""


@pytest.mark.parametrize("name", CASES)
def test_a_server_that_cannot_go_on_says_so_by_one_code(name: str) -> None:
    status, body, of_no_use, of_all = CASES[name]

    failure = parse_error(status, json.dumps(body).encode(), {})

    assert (failure.code == NOT_KNOWN, keeps_nothing(failure)) == (of_no_use, of_all)
    assert failure.status == status
