"""A client's embeddings request, in OpenAI's shape.

`input` is a text, a list of texts, a list of token ids, or a list of lists of token ids. Objects in the list are
other vendors' inputs (Jina's pictures): kept for servers of the same shape, refused for all others.
Unknown fields are kept in `native["openai_chat"]`; what several vendors call the purpose of the vectors
(`input_type`, `task_type`, ...) stands there too, and is read into *task*.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from translators.codec import type_name
from translators.errors import BadRequest
from translators.fields import PROXY_FIELDS, Fields
from translators.neutral import NO_NATIVE, Native

DIALECT: Final = "openai_chat"
MAX_INPUTS: Final = 2048
"""OpenAI's bound. (openai.types.EmbeddingCreateParams, 3.52.0)"""
MAX_DIMENSIONS: Final = 65_536
"""More than any model has."""

Input = str | tuple[int, ...] | Mapping[str, Any]
"""A text, the ids of its tokens, or another vendor's own form."""

Task = Literal["document", "query", "classification", "clustering", "similarity", "code_query", "answer", "fact"]

TASK_FIELDS: Final = ("input_type", "task_type", "taskType", "task")
"""Cohere's, Voyage's and NVIDIA's name; Gemini's two; Jina's."""

TASKS: Final[Mapping[str, Task]] = {
    "search_document": "document",
    "document": "document",
    "passage": "document",
    "retrieval_document": "document",
    "retrieval.passage": "document",
    "search_query": "query",
    "query": "query",
    "retrieval_query": "query",
    "retrieval.query": "query",
    "classification": "classification",
    "clustering": "clustering",
    "separation": "clustering",
    "semantic_similarity": "similarity",
    "text-matching": "similarity",
    "code_retrieval_query": "code_query",
    "code.query": "code_query",
    "question_answering": "answer",
    "fact_verification": "fact",
}
"""What vendors call the purposes, in lower case."""


@dataclass(frozen=True, slots=True)
class EmbeddingRequest:
    """One request for embeddings. None means: not said.

    *task* is the purpose where its word is known; *task_field* the client's field for it, known or not.
    """

    model: str
    inputs: tuple[Input, ...]
    dimensions: int | None = None
    encoding_format: Literal["float", "base64"] | None = None
    user: str | None = None
    task: Task | None = None
    task_field: str | None = None
    native: Native = field(default_factory=dict)
    dialect: str = DIALECT
    places: tuple[str, ...] = ()
    """Where each input stands; empty: where OpenAI has it."""
    dimensions_field: str = "dimensions"

    @property
    def own(self) -> Mapping[str, Any]:
        """The fields that OpenAI does not have; those of another dialect's client by their places."""
        return self.native.get(DIALECT, {})

    def place(self, position: int) -> str:
        """What its client calls the input at *position*."""
        if self.places:
            return self.places[position]
        return f"input[{position}]" if len(self.inputs) > 1 else "input"


def parse_request(body: Mapping[str, Any]) -> EmbeddingRequest:
    """*body* in the neutral form.

    Raises:
        BadRequest: a field is missing or wrong, there is no input, an empty one, or more than MAX_INPUTS.
    """
    fields = Fields(body)
    for name in PROXY_FIELDS:
        fields.get(name)
    model = fields.needed_text("model")
    if not model:
        raise fields.wrong("model", "a model's name")
    inputs = _inputs(fields)
    encoding_format = fields.choice("encoding_format", ("float", "base64"))
    dimensions, user = fields.integer("dimensions", 1, MAX_DIMENSIONS), fields.text("user")
    own = fields.rest()
    task_field = next((name for name in TASK_FIELDS if isinstance(own.get(name), str)), None)
    return EmbeddingRequest(
        model=model,
        inputs=inputs,
        dimensions=dimensions,
        encoding_format=encoding_format,  # type: ignore[arg-type]  # Fields.choice allows these two
        user=user,
        task=TASKS.get(own[task_field].lower()) if task_field else None,
        task_field=task_field,
        native={DIALECT: own} if own else NO_NATIVE,
    )


def _inputs(fields: Fields) -> tuple[Input, ...]:
    expected = "a text, a list of texts, a list of token ids, or a list of lists of token ids"
    value = fields.get("input")
    if isinstance(value, str):
        return (_text(value, "input"),)
    if not isinstance(value, list):
        raise fields.wrong("input", expected)
    if not value:
        raise BadRequest(f"input: empty; expected {expected}", "input", "invalid_value")
    if type(value[0]) is int:
        return (_token_ids(value, "input"),)
    if len(value) > MAX_INPUTS:
        raise BadRequest(
            f"input: {len(value)} inputs; one request may have {MAX_INPUTS}", "input", "array_above_max_length"
        )
    return tuple(_input(item, f"input[{position}]") for position, item in enumerate(value))


def _input(item: Any, place: str) -> Input:
    match item:
        case str():
            return _text(item, place)
        case list():
            return _token_ids(item, place)
        case dict():
            return item
        case _:
            raise BadRequest(
                f"{place}: expected a text or a list of token ids, found {type_name(item)}", place, "invalid_type"
            )


def _text(value: str, place: str) -> str:
    if not value:
        raise BadRequest(f"{place}: an empty text has no embedding", place, "invalid_value")
    return value


def _token_ids(value: list[Any], place: str) -> tuple[int, ...]:
    if not value:
        raise BadRequest(f"{place}: an empty list of tokens has no embedding", place, "invalid_value")
    for position, item in enumerate(value):
        if type(item) is not int or item < 0:
            found, place = item if type(item) is int else type_name(item), f"{place}[{position}]"
            raise BadRequest(f"{place}: expected a token id, found {found}", place, "invalid_type")
    return tuple(value)
