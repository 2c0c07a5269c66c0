"""Embeddings of llama.cpp by way of llama-cpp-python: keyword arguments for `Llama.create_embedding`.

The answer is in OpenAI's shape. A model gives vectors of its own size only, and knows no purposes.
"""

from __future__ import annotations

from typing import Final

from translators.embeddings.embedder import Call, EmbeddingRules, RenderedEmbedding, batches, texts_of, unsaid
from translators.embeddings.openai_chat import parse
from translators.embeddings.request import EmbeddingRequest
from translators.llamacpp.error import error_in, parse_error
from translators.losses import Loss

__all__ = ["MAX_INPUTS", "MAX_TOKENS", "PATH", "error_in", "parse", "parse_error", "render"]

PATH: Final = ""
MAX_INPUTS: Final = 2048
MAX_TOKENS: Final = None


def render(request: EmbeddingRequest, rules: EmbeddingRules, model: str) -> RenderedEmbedding:
    """*request* in as many calls as *rules* ask for."""
    losses: list[Loss] = []
    texts = texts_of(request, rules, losses)
    if request.dimensions is not None:
        losses.append(Loss(request.dimensions_field, "dropped", "a local model gives vectors of its own size only"))
    losses.extend(unsaid(request, "llama.cpp", frozenset()))
    calls = [
        Call(PATH, {"model": model, "input": list(batch)}, len(batch))
        for batch in batches(texts, rules.max_inputs or MAX_INPUTS, rules.max_tokens)
    ]
    return RenderedEmbedding(tuple(calls), tuple(losses))
