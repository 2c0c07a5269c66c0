"""Embeddings: OpenAI's `/v1/embeddings` as the client's side, four dialects as the backend's.

    parse_request(body) -> EmbeddingRequest
      ├─ can_relay: relay_request(raw, ...) -> bytes for an OpenAI-compatible server, relay_answer(raw, ...) back
      └─ EMBEDDERS[dialect].render(request, rules, model) -> RenderedEmbedding: one Call for each batch
         EMBEDDERS[dialect].parse(body, call.inputs)      -> Embedded: vectors and usage
         joined([...]) -> Embedded, size_losses(...), render_answer(request, embedded, model=...) -> dict

A vector is an `array` of 64-bit floats where the server wrote numbers and of 32-bit floats where it wrote base64.
Vectors go out as they came: none is cut or scaled here, since only some models allow it. A server that ignores
`dimensions` is reported as a loss.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

from translators.dialects import Modules
from translators.embeddings.demo import demo_vector
from translators.embeddings.embedder import (
    Call,
    Embedded,
    Embedder,
    EmbeddingRules,
    RenderedEmbedding,
    joined,
    render_answer,
    size_losses,
)
from translators.embeddings.relay import RelayedAnswer, can_relay, relay_answer, relay_request
from translators.embeddings.request import MAX_DIMENSIONS, MAX_INPUTS, EmbeddingRequest, Input, parse_request
from translators.embeddings.vectors import Vector, decoded, encoded

EMBEDDERS: Final[Mapping[str, Embedder]] = Modules(
    {
        "openai_chat": "translators.embeddings.openai_chat",
        "gemini": "translators.embeddings.gemini",
        "cohere": "translators.embeddings.cohere",
        "llamacpp": "translators.embeddings.llamacpp",
    }
)
"""The dialects in which a backend can be asked for embeddings, by name."""

if TYPE_CHECKING:  # mypy holds each module to what an embedder is
    from translators.embeddings import cohere, gemini, llamacpp, openai_chat

    _embedders: tuple[Embedder, ...] = (openai_chat, gemini, cohere, llamacpp)

__all__ = [
    "EMBEDDERS",
    "MAX_DIMENSIONS",
    "MAX_INPUTS",
    "Call",
    "Embedded",
    "Embedder",
    "EmbeddingRequest",
    "EmbeddingRules",
    "Input",
    "RelayedAnswer",
    "RenderedEmbedding",
    "Vector",
    "can_relay",
    "decoded",
    "demo_vector",
    "encoded",
    "joined",
    "parse_request",
    "relay_answer",
    "relay_request",
    "render_answer",
    "size_losses",
]
