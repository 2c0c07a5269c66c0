"""Cohere's `/v2/embed`. Its models demand to know the purpose; documents are what is assumed where nothing is said."""

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
from translators.losses import Loss
from translators.neutral import Usage

# Cohere's error is `{"id", "message"}`, which is one of the many forms that this reads.
from translators.openai_chat.error import error_in, parse_error

__all__ = ["MAX_INPUTS", "MAX_TOKENS", "PATH", "error_in", "parse", "parse_error", "render"]

PATH: Final = "/v2/embed"
MAX_INPUTS: Final = 96
MAX_TOKENS: Final = None

_INPUT_TYPES: Final[Mapping[str, str]] = {
    "document": "search_document",
    "query": "search_query",
    "classification": "classification",
    "clustering": "clustering",
}
_OWN_FIELDS: Final = ("truncate", "max_tokens", "priority")
"""Of `/v2/embed`, taken from the client as they are."""


def render(request: EmbeddingRequest, rules: EmbeddingRules, model: str) -> RenderedEmbedding:
    """*request* in as many calls as Cohere needs. Numbers are always asked for as numbers."""
    losses: list[Loss] = []
    texts = texts_of(request, rules, losses)
    task, said = said_task(request, _INPUT_TYPES)
    options: dict[str, Any] = {"input_type": task or "search_document", "embedding_types": ["float"]}
    if request.dimensions is not None and "dimensions" in rules.refuses:
        losses.append(Loss(request.dimensions_field, "dropped", "the target refuses it"))
    elif request.dimensions is not None:
        options["output_dimension"] = request.dimensions
    options.update((name, request.own[name]) for name in _OWN_FIELDS if name in request.own)
    losses.extend(unsaid(request, "Cohere", said | frozenset(_OWN_FIELDS)))
    calls = [
        Call(PATH, {"model": model, "texts": list(batch), **options}, len(batch))
        for batch in batches(texts, rules.max_inputs or MAX_INPUTS, rules.max_tokens)
    ]
    return RenderedEmbedding(tuple(calls), tuple(losses))


def parse(body: Mapping[str, Any], inputs: int) -> Embedded:
    """An answer; `embeddings` is an object by type of number, in the older form the list itself. Raises BadAnswer."""
    found = body.get("embeddings")
    if isinstance(found, dict):
        found = found.get("float")
    if not isinstance(found, list) or len(found) != inputs:
        told = f"{len(found)} of them" if isinstance(found, list) else type_name(found)
        raise BadAnswer(f"embeddings.float: expected {inputs}, found {told}")
    vectors = [vector_of(item, f"embeddings.float[{at}]") for at, item in enumerate(found)]
    return Embedded(tuple(vectors), _usage(body.get("meta")))


def _usage(meta: Any) -> Usage | None:
    """The billed tokens; where nothing was billed by token, those that were counted."""
    for name in ("billed_units", "tokens"):
        raw = meta.get(name) if isinstance(meta, dict) else None
        counts = main_counts(raw, ("input_tokens",), ()) if isinstance(raw, dict) else None
        if counts is not None:
            return Usage(input_tokens=counts[0], raw=meta)
    return None
