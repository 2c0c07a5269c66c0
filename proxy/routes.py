"""Every path of the server: one row each, with who may use it."""

from __future__ import annotations

from typing import Final

from proxy.ingress import (
    cache,
    catalog,
    chat,
    completions,
    embeddings,
    gemini,
    health,
    ledger,
    messages,
    metrics,
    models,
    responses,
)
from proxy.passing import pass_on
from proxy.server import Route

ROUTES: Final = (
    Route("POST", "/v1/chat/completions", chat.chat_completions, "client"),
    Route("POST", "/v1/completions", completions.text_completions, "client"),
    Route("POST", "/v1/embeddings", embeddings.embeddings, "client"),
    Route("POST", "/v1/responses", responses.create, "client"),
    Route("POST", "/v1/responses/input_tokens", responses.input_tokens, "client"),
    Route("POST", "/v1/responses/compact", pass_on, "client"),
    Route("GET", "/v1/responses/{}", responses.retrieve, "client"),
    Route("DELETE", "/v1/responses/{}", responses.delete, "client"),
    Route("POST", "/v1/responses/{}", responses.act, "client"),
    Route("POST", "/v1/messages", messages.messages, "client"),
    Route("POST", "/v1/messages/count_tokens", messages.count_tokens, "client"),
    Route("POST", "/v1beta/models/{}", gemini.generate, "client"),
    Route("POST", "/v1beta/{}", gemini.generate, "client"),
    Route("POST", "/v1alpha/models/{}", gemini.generate, "client"),
    Route("POST", "/v1/models/{}", gemini.generate, "client"),
    Route("GET", "/v1beta/models", models.list_models, "client"),
    Route("GET", "/v1beta/models/{}", models.one_model, "client"),
    Route("GET", "/v1/models", models.list_models, "client"),
    Route("GET", "/v1/models/{}", models.one_model, "client"),
    Route("GET", "/health", health.health, "client"),
    Route("GET", "/health/live", health.live, "open"),
    Route("GET", "/health/ready", health.ready, "open"),
    Route("GET", "/costs", ledger.costs, "operator"),
    Route("GET", "/metrics", metrics.metrics, "operator"),
    Route("GET", "/api/v1/exchanges", ledger.exchanges, "operator"),
    Route("GET", "/api/v1/exchanges/{}", ledger.exchange, "operator"),
    Route("GET", "/api/v1/cache", cache.cache_stats, "operator"),
    Route("DELETE", "/api/v1/cache", cache.clear_cache, "operator"),
    Route("POST", "/api/v1/catalog/refresh", catalog.refresh_catalog, "operator"),
    Route("GET", "/api/v1/catalog", catalog.show_catalog, "operator"),
    Route("DELETE", "/api/v1/catalog/learned", catalog.forget_lessons, "operator"),
    Route("*", "/v1/{}", pass_on, "client"),
)
