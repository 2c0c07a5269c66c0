"""`GET /metrics` in Prometheus' text form, read off at the scrape: no request pays for it.

Counters run since the start of the process. Label values are names from the configuration and words from closed
sets, so their number is bounded. prometheus_client is imported at the first scrape.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

from aiohttp import web

from proxy.ingress.health import health_report
from proxy.ingress.process_metrics import process_families
from proxy.ingress.routing_metrics import routing_families
from proxy.server import Incoming
from proxy.services import Services
from proxy.workers.sums import families_together, seen_together
from storage.budgets import Standing
from storage.errors import StorageError

if TYPE_CHECKING:
    from prometheus_client.core import Metric

STATES: Final = ("healthy", "degraded", "unhealthy", "unknown")
BREAKERS: Final = ("closed", "half_open", "open")


async def metrics(services: Services, incoming: Incoming) -> web.StreamResponse:
    """All families."""
    from prometheus_client import CollectorRegistry, generate_latest
    from prometheus_client.exposition import CONTENT_TYPE_LATEST

    standings = await _standings(services)
    others = await services.sharing.samples()
    refusals = sum((Counter[str](other["refusals"]) for other in others), services.watch.refusals)

    class Scrape:
        def collect(self) -> Iterator[Metric]:
            health = seen_together(services.health, [other["records"] for other in others])
            own = own_families(services, health_report(services, health))
            yield from families_together(own, [other["samples"] for other in others])
            yield from _budgets(standings, refusals)

    registry = CollectorRegistry(auto_describe=False)
    registry.register(Scrape())
    return web.Response(
        body=generate_latest(registry), headers={"content-type": CONTENT_TYPE_LATEST, "x-request-id": incoming.id}
    )


async def _standings(services: Services) -> list[Standing]:
    """Of the budgets that the configuration or an administrator has named; keys are too many."""
    if not services.budget_book:
        return []
    with suppress(StorageError):
        return [each for each in await services.budgets.standings() if each.budget.origin != "key"]
    return []


def own_families(services: Services, report: dict[str, Any]) -> Iterator[Metric]:
    """Those of this process alone, beside what *report*, a body of `/health`, says."""
    from prometheus_client.process_collector import ProcessCollector

    yield from _traffic(services)
    yield from _providers(report)
    yield from _routes(report)
    yield from routing_families(report)
    yield from _store(services, report)
    yield from process_families(services)
    yield from ProcessCollector(registry=None).collect()


def _traffic(services: Services) -> Iterator[Metric]:
    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

    attempts = CounterMetricFamily(
        "modelport_attempts", "Requests to providers, by how they ended.", labels=["provider", "status"]
    )
    tokens = CounterMetricFamily("modelport_tokens", "Tokens, by direction.", labels=["provider", "direction"])
    cost = CounterMetricFamily("modelport_cost_usd", "US dollars, as far as prices are known.", labels=["provider"])
    unpriced = CounterMetricFamily(
        "modelport_unpriced_attempts", "Attempts without a known price.", labels=["provider"]
    )
    for provider, total in services.totals.items():
        for status, count in total.attempts.items():
            attempts.add_metric([provider, status], count)
        tokens.add_metric([provider, "input"], total.input_tokens)
        tokens.add_metric([provider, "cached_input"], total.cached_input_tokens)
        tokens.add_metric([provider, "output"], total.output_tokens)
        cost.add_metric([provider], total.cost_nanousd / 1e9)
        unpriced.add_metric([provider], total.unpriced)
    requests = CounterMetricFamily(
        "modelport_http_requests", "Requests to this server, by path and status.", labels=["path", "status"]
    )
    for (path, status_code), count in services.answered.items():
        requests.add_metric([path, str(status_code)], count)
    yield from (attempts, tokens, cost, unpriced, requests)
    yield CounterMetricFamily("modelport_exchanges", "Requests for which somebody was asked.", value=services.exchanges)
    ridden = services.shapes.ridden
    yield CounterMetricFamily("modelport_fast_lane_answers", "Requests that the fast lane has answered.", value=ridden)
    yield GaugeMetricFamily("modelport_in_flight", "Requests that are being answered.", value=services.in_flight)


def _providers(report: dict[str, Any]) -> Iterator[Metric]:
    from prometheus_client.core import GaugeMetricFamily, Metric

    states = GaugeMetricFamily("modelport_provider_state", "1 for the state that holds.", labels=["provider", "state"])
    breakers = GaugeMetricFamily("modelport_breaker_state", "1 for the state that holds.", labels=["provider", "state"])
    # Count and sum of the newest attempts would be no counters, and are left out.
    latency = Metric("modelport_attempt_latency_seconds", "Of the newest attempts, by quantile.", "summary")
    first = Metric("modelport_first_event_seconds", "Of the newest attempts, by quantile.", "summary")
    keys = GaugeMetricFamily("modelport_keys_available", "Keys that do not rest.", labels=["provider"])
    for entry in report["providers"]:
        name = entry["name"]
        for state in STATES:
            states.add_metric([name, state], entry["status"] == state)
        for state in BREAKERS:
            breakers.add_metric([name, state], entry["breaker"] == state)
        for family, figures in ((latency, entry["latency_ms"]), (first, entry["first_event_ms"])):
            for word, quantile in (("p50", "0.5"), ("p95", "0.95")):
                if figures[word] is not None:
                    family.add_sample(family.name, {"provider": name, "quantile": quantile}, figures[word] / 1000)
        keys.add_metric([name], entry["keys"]["available"])
    yield from (states, breakers, latency, first, keys)


def _routes(report: dict[str, Any]) -> Iterator[Metric]:
    from prometheus_client.core import GaugeMetricFamily

    policies = GaugeMetricFamily("modelport_route_policy", "1 for the policy in force.", labels=["route", "policy"])
    places = GaugeMetricFamily(
        "modelport_route_place", "When a target is asked for a short text: 1 is first.", labels=["route", "target"]
    )
    for route in report["routes"]:
        policies.add_metric([route["name"], route["policy"]], 1)
        for place, target in enumerate(route["order"], 1):
            places.add_metric([route["name"], target], place)
    yield from (policies, places)


def _budgets(standings: list[Standing], refused: Mapping[str, int]) -> Iterator[Metric]:
    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

    labels = ["budget", "name"]
    limits = GaugeMetricFamily("modelport_budget_limit_usd", "What may be spent in the window.", labels=labels)
    spent = GaugeMetricFamily("modelport_budget_spent_usd", "What is spent in the present window.", labels=labels)
    reserved = GaugeMetricFamily("modelport_budget_reserved_usd", "What running requests may cost.", labels=labels)
    refusals = CounterMetricFamily("modelport_budget_refusals", "Attempts that were refused.", labels=labels)
    for standing in standings:
        names = [standing.budget.id, standing.budget.name]
        limits.add_metric(names, standing.budget.limit_nanousd / 1e9)
        spent.add_metric(names, standing.spent_nanousd / 1e9)
        reserved.add_metric(names, standing.reserved_nanousd / 1e9)
        refusals.add_metric(names, refused.get(standing.budget.id, 0))
    yield from (limits, spent, reserved, refusals)


def _store(services: Services, report: dict[str, Any]) -> Iterator[Metric]:
    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

    cache, store = report["cache"], report["storage"]
    yield CounterMetricFamily("modelport_cache_hits", "Answers out of the cache.", value=cache["hits"])
    yield CounterMetricFamily("modelport_cache_misses", "Look-ups without an answer.", value=cache["misses"])
    yield GaugeMetricFamily("modelport_cache_entries", "Stored answers.", value=cache["entries"])
    yield GaugeMetricFamily("modelport_storage_up", "1 while the ledger can be written.", value=store["status"] == "ok")
    yield GaugeMetricFamily(
        "modelport_ledger_lag_seconds", "How far the disk is behind.", value=store["ledger_lag_ms"] / 1000
    )
    yield CounterMetricFamily(
        "modelport_ledger_lost_rows", "Rows that a relaxed ledger lost.", value=services.ledger.lost
    )
    journal = services.ledger.journal
    yield GaugeMetricFamily(
        "modelport_ledger_journal_bookings",
        "Bookings that wait in the journal for the database.",
        value=journal.waiting if journal else 0,
    )
    wrong = CounterMetricFamily("modelport_wrong_keys", "Keys that are nobody's, by the answer.", labels=["status"])
    wrong.add_metric(["401"], report["auth"]["wrong_keys"] - report["auth"]["held_off"])
    wrong.add_metric(["429"], report["auth"]["held_off"])
    yield wrong
    logged = CounterMetricFamily("modelport_request_log", "Entries of the request log, by fate.", labels=["fate"])
    for fate in ("stored", "shed", "lost"):
        logged.add_metric([fate], report["request_log"][fate])
    yield logged
