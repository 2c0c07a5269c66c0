"""Every path of the server: one row each, with who may use it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from proxy.ingress import chat, health
from proxy.late import LateModule
from proxy.server import Route

if TYPE_CHECKING:
    from proxy import passing
    from proxy.ingress import (
        audit,
        books,
        budgets,
        cache,
        catalog,
        completions,
        credentials,
        embeddings,
        feedback,
        gemini,
        keys,
        ledger,
        llm,
        llm_providers,
        log_levels,
        logs,
        messages,
        metrics,
        models,
        openapi,
        organisations,
        prices,
        responses,
        routes_admin,
    )
else:
    passing = LateModule("proxy.passing")
    audit = LateModule("proxy.ingress.audit")
    books = LateModule("proxy.ingress.books")
    budgets = LateModule("proxy.ingress.budgets")
    cache = LateModule("proxy.ingress.cache")
    catalog = LateModule("proxy.ingress.catalog")
    completions = LateModule("proxy.ingress.completions")
    credentials = LateModule("proxy.ingress.credentials")
    embeddings = LateModule("proxy.ingress.embeddings")
    feedback = LateModule("proxy.ingress.feedback")
    gemini = LateModule("proxy.ingress.gemini")
    keys = LateModule("proxy.ingress.keys")
    ledger = LateModule("proxy.ingress.ledger")
    llm = LateModule("proxy.ingress.llm")
    llm_providers = LateModule("proxy.ingress.llm_providers")
    log_levels = LateModule("proxy.ingress.log_levels")
    logs = LateModule("proxy.ingress.logs")
    messages = LateModule("proxy.ingress.messages")
    metrics = LateModule("proxy.ingress.metrics")
    models = LateModule("proxy.ingress.models")
    openapi = LateModule("proxy.ingress.openapi")
    organisations = LateModule("proxy.ingress.organisations")
    prices = LateModule("proxy.ingress.prices")
    responses = LateModule("proxy.ingress.responses")
    routes_admin = LateModule("proxy.ingress.routes_admin")

# What a row takes and gives is described in proxy/openapi/administration.py, or proxy/openapi/dialects.py: each row has
# an entry there, which a test checks.
ROUTES: Final = (
    Route("POST", "/v1/chat/completions", chat.chat_completions, "client"),
    Route("POST", "/v1/completions", completions.text_completions, "client"),
    Route("POST", "/v1/embeddings", embeddings.embeddings, "client"),
    Route("POST", "/v1/responses", responses.create, "client"),
    Route("POST", "/v1/responses/input_tokens", responses.input_tokens, "client"),
    Route("POST", "/v1/responses/compact", passing.pass_on, "client"),
    Route("GET", "/v1/responses/{}", responses.retrieve, "client"),
    Route("DELETE", "/v1/responses/{}", responses.delete, "client"),
    Route("POST", "/v1/responses/{}", responses.act, "client"),
    Route("POST", "/v1/messages", messages.messages, "client"),
    Route("POST", "/v1/messages/count_tokens", messages.count_tokens, "client"),
    Route("POST", "/v1beta/models/{}", gemini.generate, "client"),
    Route("POST", "/v1beta/{}", gemini.generate, "client", catches=True),
    Route("POST", "/v1alpha/models/{}", gemini.generate, "client"),
    Route("POST", "/v1/models/{}", gemini.generate, "client"),
    Route("GET", "/v1beta/models", models.list_models, "member"),
    Route("GET", "/v1beta/models/{}", models.one_model, "member"),
    Route("GET", "/v1/models", models.list_models, "member"),
    Route("GET", "/v1/models/{}", models.one_model, "member"),
    Route("GET", "/health", health.health, "member"),
    Route("GET", "/health/live", health.live, "open"),
    Route("GET", "/health/ready", health.ready, "open"),
    Route("GET", "/costs", ledger.costs, "viewer"),
    Route("GET", "/metrics", metrics.metrics, "operator"),
    Route("GET", "/openapi.json", openapi.openapi, "open"),
    Route("GET", "/api/v1/exchanges", ledger.exchanges, "viewer"),
    Route("GET", "/api/v1/exchanges/{}", ledger.exchange, "viewer"),
    Route("POST", "/api/v1/feedback", feedback.feedback, "member"),
    Route("GET", "/api/v1/ledger/export", books.export_ledger, "viewer"),
    Route("POST", "/api/v1/ledger/prune", books.prune_ledger, "operator"),
    Route("POST", "/api/v1/ledger/verify", books.verify_ledger, "operator"),
    Route("GET", "/api/v1/logs", logs.list_logs, "viewer"),
    Route("GET", "/api/v1/logs/export", logs.export_logs, "viewer"),
    Route("GET", "/api/v1/logs/{}", logs.one_log, "viewer"),
    Route("DELETE", "/api/v1/logs", logs.remove_logs, "operator"),
    Route("GET", "/api/v1/log-levels", log_levels.list_levels, "operator"),
    Route("PUT", "/api/v1/log-levels/{}", log_levels.set_level, "operator"),
    Route("DELETE", "/api/v1/log-levels/{}", log_levels.reset_level, "operator"),
    Route("GET", "/api/v1/cache", cache.cache_stats, "operator"),
    Route("DELETE", "/api/v1/cache", cache.clear_cache, "operator"),
    Route("POST", "/api/v1/catalog/refresh", catalog.refresh_catalog, "operator"),
    Route("GET", "/api/v1/catalog", catalog.show_catalog, "operator"),
    Route("DELETE", "/api/v1/catalog/learned", catalog.forget_lessons, "operator"),
    Route("GET", "/api/v1/prices", prices.show, "operator"),
    Route("GET", "/api/v1/prices/unpriced", prices.unpriced, "operator"),
    Route("POST", "/api/v1/prices/reprice", prices.reprice, "operator"),
    Route("GET", "/api/v1/routes", routes_admin.list_routes, "operator"),
    Route("GET", "/api/v1/routes/{}", routes_admin.one_route, "operator"),
    Route("POST", "/api/v1/routes/{}", routes_admin.act_on_route, "operator"),
    Route("DELETE", "/api/v1/routes/{}", routes_admin.reset_route, "operator"),
    Route("POST", "/api/v1/keys", keys.create_key, "manager"),
    Route("GET", "/api/v1/keys", keys.list_keys, "manager"),
    Route("GET", "/api/v1/keys/{}", keys.one_key, "manager"),
    Route("PATCH", "/api/v1/keys/{}", keys.change_key, "manager"),
    Route("DELETE", "/api/v1/keys/{}", keys.revoke_key, "manager"),
    Route("POST", "/api/v1/keys/{}", keys.act_on_key, "manager"),
    Route("POST", "/api/v1/organisations", organisations.create_organisation, "admin"),
    Route("GET", "/api/v1/organisations", organisations.list_organisations, "manager"),
    Route("GET", "/api/v1/organisations/{}", organisations.one_organisation, "manager"),
    Route("PATCH", "/api/v1/organisations/{}", organisations.change_organisation, "admin"),
    Route("DELETE", "/api/v1/organisations/{}", organisations.remove_organisation, "admin"),
    Route("POST", "/api/v1/teams", organisations.create_team, "manager"),
    Route("GET", "/api/v1/teams", organisations.list_teams, "manager"),
    Route("GET", "/api/v1/teams/{}", organisations.one_team, "manager"),
    Route("PATCH", "/api/v1/teams/{}", organisations.change_team, "manager"),
    Route("DELETE", "/api/v1/teams/{}", organisations.remove_team, "manager"),
    Route("GET", "/api/v1/credentials", credentials.list_credentials, "operator"),
    Route("POST", "/api/v1/credentials", credentials.add_credential, "admin"),
    Route("GET", "/api/v1/credentials/{}", credentials.one_credential, "operator"),
    Route("PATCH", "/api/v1/credentials/{}", credentials.change_credential, "admin"),
    Route("DELETE", "/api/v1/credentials/{}", credentials.remove_credential, "admin"),
    Route("POST", "/api/v1/credentials/{}", credentials.act_on_credential, "admin"),
    Route("GET", "/api/v1/secrets", credentials.show_secrets, "operator"),
    Route("POST", "/api/v1/secrets/rotate", credentials.rotate_secrets, "admin"),
    Route("GET", "/api/v1/audit", audit.show_audit, "operator"),
    Route("GET", "/api/v1/audit/verify", audit.verify_audit, "operator"),
    Route("GET", "/api/v1/llm/providers", llm_providers.list_providers, "operator"),
    Route("POST", "/api/v1/llm/providers", llm_providers.add_provider, "admin"),
    Route("GET", "/api/v1/llm/providers/{}", llm_providers.one_provider, "operator"),
    Route("PUT", "/api/v1/llm/providers/{}", llm_providers.change_provider, "admin"),
    Route("DELETE", "/api/v1/llm/providers/{}", llm_providers.remove_provider, "admin"),
    Route("POST", "/api/v1/llm/query", llm.query, "client"),
    Route("POST", "/api/v1/llm/query/stream", llm.stream, "client"),
    Route("GET", "/api/v1/llm/query/{}", llm.look_up, "client"),
    Route("DELETE", "/api/v1/llm/query/{}", llm.cancel, "client"),
    Route("POST", "/api/v1/budgets", budgets.create_budget, "admin"),
    Route("GET", "/api/v1/budgets", budgets.list_budgets, "viewer"),
    Route("GET", "/api/v1/budgets/{}", budgets.one_budget, "viewer"),
    Route("PATCH", "/api/v1/budgets/{}", budgets.change_budget, "admin"),
    Route("DELETE", "/api/v1/budgets/{}", budgets.remove_budget, "admin"),
    Route("*", "/v1/{}", passing.pass_on, "client"),
)
