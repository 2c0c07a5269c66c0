"""Google's `embedContent` and `batchEmbedContents` as the client's side.

    {"content": {"parts": [{"text": "..."}]}, "taskType": "...", "title": "...", "outputDimensionality": 256}
    {"requests": [{"model": "models/...", ...the same...}, ...]}

(google.genai 3.4.0, models.embed_content; ai.google.dev/api/embeddings)

A Gemini server gets the client's own objects, unknown fields included. For any other an input is the text of its
parts, and one that holds anything else is refused there.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from translators.embeddings.embedder import Embedded
from translators.embeddings.request import (
    DIALECT,
    MAX_DIMENSIONS,
    MAX_INPUTS,
    TASKS,
    EmbeddingRequest,
    Input,
)
from translators.errors import BadRequest
from translators.fields import PROXY_FIELDS, Fields
from translators.gemini.reading import fields_of, object_at, raw_objects_at
from translators.neutral import Usage

METHODS: Final = ("embedContent", "batchEmbedContents")
OWN: Final = "gemini"
_GOOGLES_FILES: Final = ("gs://", "https://generativelanguage.googleapis.com/", "files/")
"""Where files lie that only Google's servers read; no other address is handed to anybody."""


def parse_request(body: Mapping[str, Any], model: str, *, batch: bool) -> EmbeddingRequest:
    """*body* in the neutral form.

    Raises:
        BadRequest: a field is missing or wrong, there is no input, an empty one, or more than MAX_INPUTS.
    """
    said = {name: value for name, value in body.items() if name not in PROXY_FIELDS}
    around = {name: value for name, value in said.items() if name != "requests"} if batch else {}
    items = _items(said) if batch else [(said, "")]
    read = [_Item(item, place, model) for item, place in items]
    first = read[0]
    for other in read:
        for name in ("taskType", "outputDimensionality"):
            if other.wish(name) != first.wish(name):
                place = other.fields.at(name)
                raise BadRequest(f"{place}: differs from the first one's; ask for it apart", place, "invalid_value")
    own = {**around, **{place: value for item in read for place, value in item.own.items()}}
    task, task_field = first.wish("taskType"), first.fields.at("taskType")
    return EmbeddingRequest(
        model=model,
        inputs=tuple(item.input for item in read),
        dimensions=first.wish("outputDimensionality"),
        task=TASKS.get(task.lower()) if task else None,
        task_field=task_field if task else None,
        native={DIALECT: own, OWN: {"requests": [item for item, _ in items], "around": around}},
        dialect=OWN,
        places=tuple(item.fields.at("content") for item in read),
        dimensions_field=first.fields.at("outputDimensionality"),
    )


def _items(body: Mapping[str, Any]) -> list[tuple[dict[str, Any], str]]:
    fields = fields_of(body)
    items = raw_objects_at(fields, "requests")
    if not items:
        raise fields.wrong("requests", "an array with at least one request")
    if len(items) > MAX_INPUTS:
        raise BadRequest(
            f"requests: {len(items)} of them; one call may have {MAX_INPUTS}", "requests", "array_above_max_length"
        )
    return items


class _Item:
    """One of the client's requests. *own*: what only Google has a word for, by its place."""

    def __init__(self, item: Mapping[str, Any], place: str, model: str) -> None:
        self.fields: Fields = fields_of(item, place)
        named = self.fields.text("model")
        if named is not None and named.removeprefix("models/") != model.removeprefix("models/"):
            raise self.fields.wrong("model", f"the address's, models/{model}")
        self._wishes: dict[str, Any] = {
            "taskType": self.fields.text("taskType"),
            "outputDimensionality": self.fields.integer("outputDimensionality", 1, MAX_DIMENSIONS),
        }
        self.input: Input = _input(self.fields)
        self.own: dict[str, Any] = {self.fields.at(name): value for name, value in self.fields.rest().items()}
        if (task := self.wish("taskType")) is not None:
            self.own[self.fields.at("taskType")] = task

    def wish(self, name: str) -> Any:
        """What is said of *name*, None for nothing."""
        return self._wishes[name]


def _input(fields: Fields) -> Input:
    """The text of the content, or the content as it is where it holds more than text."""
    content = object_at(fields, "content")
    if content is None:
        raise fields.wrong("content", "an object with parts")
    texts: list[str] = []
    whole = True
    for part, place in raw_objects_at(content, "parts"):
        read = fields_of(part, place)
        if (file := object_at(read, "fileData")) is not None:
            address = file.needed_text("fileUri")
            if not address.startswith(_GOOGLES_FILES):
                raise file.wrong("fileUri", "a file that Google keeps; send others as inlineData")
        text = read.text("text")
        whole = whole and text is not None
        texts.append(text or "")
    if not any(texts) and whole:
        place = content.at("parts")
        raise BadRequest(f"{place}: an empty text has no embedding", place, "invalid_value")
    return "\n".join(texts) if whole else dict(content.value)


def render_answer(request: EmbeddingRequest, embedded: Embedded, *, model: str, usage: Usage | None) -> dict[str, Any]:
    """The answer to a `batchEmbedContents`; *model* has no place in it."""
    vectors = [{"values": vector.tolist()} for vector in embedded.vectors]
    return {"embeddings": vectors, **_usage(usage)}


def render_one(request: EmbeddingRequest, embedded: Embedded, *, model: str, usage: Usage | None) -> dict[str, Any]:
    """The answer to an `embedContent`."""
    return {"embedding": {"values": embedded.vectors[0].tolist()}, **_usage(usage)}


def _usage(usage: Usage | None) -> dict[str, Any]:
    return {} if usage is None else {"usageMetadata": {"promptTokenCount": usage.input_tokens}}
