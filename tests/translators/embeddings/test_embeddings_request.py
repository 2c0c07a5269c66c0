"""A client's embeddings request: what is read, and what is refused with its place."""

from typing import Any

import pytest

from translators.embeddings import MAX_INPUTS, parse_request
from translators.errors import BadRequest


@pytest.mark.parametrize(
    ("given", "inputs"),
    [
        ("one text", ("one text",)),
        (["a", "b"], ("a", "b")),
        ([1, 2, 3], ((1, 2, 3),)),
        ([[1, 2], [3]], ((1, 2), (3,))),
        (["a", [1]], ("a", (1,))),
        ([{"image": "https://x.example/cat.png"}], ({"image": "https://x.example/cat.png"},)),
    ],
)
def test_every_form_of_input_is_read(given: Any, inputs: tuple[Any, ...]) -> None:
    assert parse_request({"model": "m", "input": given}).inputs == inputs


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({}, "input"),
        ({"input": None}, "input"),
        ({"input": 3}, "input"),
        ({"input": ""}, "input"),
        ({"input": []}, "input"),
        ({"input": ["a", ""]}, "input[1]"),
        ({"input": [[]]}, "input[0]"),
        ({"input": [1, "a"]}, "input[1]"),
        ({"input": [1, True]}, "input[1]"),
        ({"input": [[1, -1]]}, "input[0][1]"),
        ({"input": [None]}, "input[0]"),
        ({"input": [True]}, "input[0]"),
        ({"input": ["a"] * (MAX_INPUTS + 1)}, "input"),
        ({"input": "a", "dimensions": 0}, "dimensions"),
        ({"input": "a", "dimensions": 1.5}, "dimensions"),
        ({"input": "a", "dimensions": 10**9}, "dimensions"),
        ({"input": "a", "encoding_format": "hex"}, "encoding_format"),
        ({"input": "a", "user": 3}, "user"),
        ({"input": "a", "model": ""}, "model"),
    ],
)
def test_a_wrong_request_names_the_place(fields: dict[str, Any], param: str) -> None:
    with pytest.raises(BadRequest) as caught:
        parse_request({"model": "m", **fields})

    assert caught.value.param == param


def test_2048_inputs_are_taken() -> None:
    assert len(parse_request({"model": "m", "input": ["a"] * MAX_INPUTS}).inputs) == MAX_INPUTS


def test_known_and_unknown_fields_are_kept_apart() -> None:
    request = parse_request(
        {
            "model": "m",
            "input": "a",
            "dimensions": 256,
            "encoding_format": "base64",
            "user": "u",
            "truncation": True,
            "modelport": {"cache": "no-store"},
            "models": ["b"],
        }
    )

    assert (request.dimensions, request.encoding_format, request.user) == (256, "base64", "u")
    assert request.own == {"truncation": True}


@pytest.mark.parametrize(
    ("fields", "task", "task_field"),
    [
        ({}, None, None),
        ({"input_type": "search_query"}, "query", "input_type"),
        ({"input_type": "passage"}, "document", "input_type"),
        ({"task_type": "RETRIEVAL_DOCUMENT"}, "document", "task_type"),
        ({"taskType": "SEMANTIC_SIMILARITY"}, "similarity", "taskType"),
        ({"task": "retrieval.query"}, "query", "task"),
        ({"input_type": "mystery"}, None, "input_type"),
    ],
)
def test_the_purpose_is_read_under_any_vendors_name(
    fields: dict[str, str], task: str | None, task_field: str | None
) -> None:
    request = parse_request({"model": "m", "input": "a", **fields})

    assert (request.task, request.task_field) == (task, task_field)
    assert request.own == fields
