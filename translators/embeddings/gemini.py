"""Gemini's batchEmbedContents. (google.genai 3.4.0, models.embed_content)"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from translators.codec import type_name
from translators.counts import main_counts
from translators.embeddings.embedder import (
    Call,
    Embedded,
    EmbeddingRules,
    RenderedEmbedding,
    batches,
    said_task,
    texts_of,
    unsaid,
)
from translators.embeddings.request import EmbeddingRequest
from translators.embeddings.vectors import vector_of
from translators.errors import BadAnswer
from translators.gemini.error import error_in, parse_error
from translators.losses import Loss
from translators.neutral import Usage

__all__ = ["MAX_INPUTS", "MAX_TOKENS", "PATH", "error_in", "parse", "parse_error", "render"]

PATH: Final = "/v1beta/models/{model}:batchEmbedContents"
MAX_INPUTS: Final = 100
"""Its own words for more: "at most 100 requests can be in one batch"."""
MAX_TOKENS: Final = None

_TASK_TYPES: Final[Mapping[str, str]] = {
    "document": "RETRIEVAL_DOCUMENT",
    "query": "RETRIEVAL_QUERY",
    "classification": "CLASSIFICATION",
    "clustering": "CLUSTERING",
    "similarity": "SEMANTIC_SIMILARITY",
    "code_query": "CODE_RETRIEVAL_QUERY",
    "answer": "QUESTION_ANSWERING",
    "fact": "FACT_VERIFICATION",
}


def render(request: EmbeddingRequest, rules: EmbeddingRules, model: str) -> RenderedEmbedding:
    """*request* in as many calls as Gemini needs."""
    if own := request.native.get("gemini"):
        return _own_words(request, own, rules, model)
    losses: list[Loss] = []
    texts = texts_of(request, rules, losses)
    task, said = said_task(request, _TASK_TYPES)
    wishes = {"taskType": task, "title": request.own.get("title"), "outputDimensionality": request.dimensions}
    if "dimensions" in rules.refuses and wishes.pop("outputDimensionality") is not None:
        losses.append(Loss("dimensions", "dropped", "the target refuses it"))
    options = {name: value for name, value in wishes.items() if value is not None}
    losses.extend(unsaid(request, "Gemini", said | {"title"}))
    path, name = PATH.format(model=model), f"models/{model}"
    calls = [
        Call(
            path,
            {"requests": [{"model": name, "content": {"parts": [{"text": text}]}, **options} for text in batch]},
            len(batch),
        )
        for batch in batches(texts, rules.max_inputs or MAX_INPUTS, rules.max_tokens)
    ]
    return RenderedEmbedding(tuple(calls), tuple(losses))


def _own_words(
    request: EmbeddingRequest, own: Mapping[str, Any], rules: EmbeddingRules, model: str
) -> RenderedEmbedding:
    """The client's own objects, of which only the model's name changes; *own* is what `google.parse_request` kept."""
    losses: list[Loss] = []
    refused: frozenset[str] = frozenset()
    if "dimensions" in rules.refuses and request.dimensions is not None:
        losses.append(Loss(request.dimensions_field, "dropped", "the target refuses it"))
        refused = frozenset({"outputDimensionality", "output_dimensionality"})
    named = [
        {name: value for name, value in each.items() if name not in refused} | {"model": f"models/{model}"}
        for each in own["requests"]
    ]
    calls: list[Call] = []
    at = 0
    for batch in batches(request.inputs, rules.max_inputs or MAX_INPUTS, rules.max_tokens):
        body = {**own["around"], "requests": named[at : at + len(batch)]}
        calls.append(Call(PATH.format(model=model), body, len(batch)))
        at += len(batch)
    return RenderedEmbedding(tuple(calls), tuple(losses))


def parse(body: Mapping[str, Any], inputs: int) -> Embedded:
    """An answer. Raises BadAnswer."""
    found = body.get("embeddings")
    if not isinstance(found, list) or len(found) != inputs:
        told = f"{len(found)} of them" if isinstance(found, list) else type_name(found)
        raise BadAnswer(f"embeddings: expected {inputs}, found {told}")
    vectors = [
        vector_of(item.get("values") if isinstance(item, dict) else item, f"embeddings[{at}].values")
        for at, item in enumerate(found)
    ]
    return Embedded(tuple(vectors), _usage(body.get("usageMetadata")))


def _usage(raw: Any) -> Usage | None:
    counts = main_counts(raw, ("promptTokenCount", "totalTokenCount"), ()) if isinstance(raw, dict) else None
    return None if counts is None else Usage(input_tokens=counts[0], raw=raw)
