"""Embeddings of OpenAI and the many servers that copy it.

What they do otherwise: Voyage tells `total_tokens` alone; some leave `index` out; some answer with numbers when
base64 was asked for, or the reverse.
"""

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
    texts_of,
    unsaid,
)
from translators.embeddings.request import DIALECT, EmbeddingRequest, Input
from translators.embeddings.vectors import vector_of
from translators.errors import BadAnswer
from translators.losses import Loss
from translators.neutral import Usage
from translators.openai_chat.error import error_in, parse_error

__all__ = ["MAX_INPUTS", "MAX_TOKENS", "PATH", "error_in", "parse", "parse_error", "render"]

PATH: Final = "/embeddings"
MAX_INPUTS: Final = 2048
MAX_TOKENS: Final = 300_000


def render(request: EmbeddingRequest, rules: EmbeddingRules, model: str) -> RenderedEmbedding:
    """*request* in as many calls as the server needs."""
    losses: list[Loss] = []
    inputs: list[Input] = list(request.inputs)
    if decodes(request, rules):
        inputs = list(texts_of(request, rules, losses))
    own_shape = request.dialect == DIALECT
    if not own_shape:
        inputs = list(texts_of(request, rules, losses))
        losses.extend(unsaid(request, "an OpenAI-compatible server", frozenset()))
    said: dict[str, Any] = {
        "dimensions": request.dimensions,
        "encoding_format": request.encoding_format,
        "user": request.user,
        **(request.own if own_shape else {}),
    }
    options = {name: value for name, value in said.items() if value is not None}
    for name in sorted(rules.refuses & options.keys()):
        del options[name]
        losses.extend(refused(request.dimensions_field if name == "dimensions" else name))
    options = {rules.rename.get(name, name): value for name, value in options.items()}
    calls = [
        Call(PATH, {"model": model, "input": [_written(item) for item in batch], **options}, len(batch))
        for batch in batches(inputs, rules.max_inputs or MAX_INPUTS, rules.max_tokens or MAX_TOKENS)
    ]
    return RenderedEmbedding(tuple(calls), tuple(losses))


def decodes(request: EmbeddingRequest, rules: EmbeddingRules) -> bool:
    """Whether token ids have to become text for the server."""
    return not rules.token_ids and any(isinstance(item, tuple) for item in request.inputs)


def refused(name: str) -> list[Loss]:
    """The loss of a refused field. `encoding_format` is none: the proxy writes the answer in either form."""
    return [] if name == "encoding_format" else [Loss(name, "dropped", "the target refuses it")]


def _written(item: Input) -> Any:
    return list(item) if isinstance(item, tuple) else item


def parse(body: Mapping[str, Any], inputs: int) -> Embedded:
    """An answer. Raises BadAnswer."""
    entries = entries_of(body, inputs)
    vectors = [vector_of(entry.get("embedding"), f"data[{at}].embedding") for at, entry in enumerate(entries)]
    model = body.get("model")
    return Embedded(tuple(vectors), usage_of(body), model if isinstance(model, str) else "")


def entries_of(body: Mapping[str, Any], inputs: int) -> list[dict[str, Any]]:
    """The entries of `data` in the order of the inputs: by `index` where each has its own, else as they came.

    Raises:
        BadAnswer: there are not as many as inputs.
    """
    found = body.get("data")
    entries = [entry for entry in found if isinstance(entry, dict)] if isinstance(found, list) else []
    if len(entries) != inputs:
        told = f"{len(entries)} of them" if isinstance(found, list) else type_name(found)
        raise BadAnswer(f"data: expected {inputs} embeddings, found {told}")
    indexes = [entry.get("index") for entry in entries]
    if indexes == list(range(inputs)) or set(indexes) != set(range(inputs)):
        return entries
    return sorted(entries, key=lambda entry: entry["index"])


def usage_of(body: Mapping[str, Any]) -> Usage | None:
    """The tokens that the answer tells; None when it tells none."""
    raw = body.get("usage")
    if not isinstance(raw, dict):
        return None
    counts = main_counts(raw, ("prompt_tokens", "input_tokens", "total_tokens"), ())
    return None if counts is None else Usage(input_tokens=counts[0], raw=raw)
