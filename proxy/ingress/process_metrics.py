"""The families of `/metrics` that tell of the process: requests and their times, connections, the loop, the log.

Memory, processor time and descriptors are prometheus_client's own collector's, under the names that all programs use.
prometheus_client is imported at the first scrape, as in `proxy.ingress.metrics`.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import accumulate
from typing import TYPE_CHECKING, get_args

from proxy.door import Reason
from proxy.endings import BOUNDS_S, Durations
from proxy.logs import dropped_records
from proxy.services import Services
from proxy.version import version
from proxy.watchdog import Lateness

if TYPE_CHECKING:
    from prometheus_client.core import Metric


def process_families(services: Services) -> Iterator[Metric]:
    """All of them."""
    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, SummaryMetricFamily

    built = GaugeMetricFamily("modelport_build_info", "1; the version is a label.", labels=["version"])
    built.add_metric([version()], 1)
    yield built
    yield from _requests(services)
    yield from _connections(services)
    lag = services.loop_lag
    yield SummaryMetricFamily(
        "modelport_event_loop_lag_seconds", "How late timers come.", count_value=lag.count, sum_value=lag.total_s
    )
    yield GaugeMetricFamily(
        "modelport_event_loop_lag_worst_seconds", "The worst of the last one to two minutes.", value=lag.worst_s
    )
    told = "Log records that were not written, as too many came at once."
    yield CounterMetricFamily("modelport_log_records_dropped", told, value=dropped_records())
    incidents = services.incidents
    if incidents is not None:
        told = "Unexpected exceptions; the log has them."
        yield CounterMetricFamily("modelport_errors", told, value=incidents.seen)
        told = "Exceptions for the webhook of [errors], by fate."
        reports = CounterMetricFamily("modelport_error_reports", told, labels=["fate"])
        reports.add_metric(["told"], incidents.told)
        reports.add_metric(["shed"], incidents.shed)
        yield reports


def _requests(services: Services) -> Iterator[Metric]:
    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily

    endings = services.endings
    whole = HistogramMetricFamily(
        "modelport_request_duration_seconds", "From a request's arrival to its end, by outcome.", labels=["status"]
    )
    for status, durations in endings.requests.items():
        whole.add_metric([status], _buckets(durations), durations.total_ms / 1000)
    first = HistogramMetricFamily(
        "modelport_request_first_event_seconds", "From a request's arrival to the first content of a stream."
    )
    first.add_metric([], _buckets(endings.first_events), endings.first_events.total_ms / 1000)
    yield from (whole, first)
    yield CounterMetricFamily("modelport_slow_requests", "Requests that the log calls slow.", value=endings.slow)
    door = services.door
    yield GaugeMetricFamily("modelport_requests_waiting", "Requests that wait to be let in.", value=door.waiting)
    told = "Requests that were not let in, by reason."
    refused = CounterMetricFamily("modelport_requests_turned_away", told, labels=["reason"])
    for reason in get_args(Reason):
        refused.add_metric([reason], door.refused[reason])
    yield refused
    yield from _rooms(services)


def _rooms(services: Services) -> Iterator[Metric]:
    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

    held = GaugeMetricFamily("modelport_room_bytes", "Long bodies and answers in memory.", labels=["kind"])
    waiting = GaugeMetricFamily("modelport_room_waiting", "Those that wait for room in memory.", labels=["kind"])
    refused = CounterMetricFamily("modelport_room_refused", "Those that found none in time.", labels=["kind"])
    for room in (services.bodies, services.answers):
        held.add_metric([room.kind], room.held_bytes)
        waiting.add_metric([room.kind], room.waiting)
        refused.add_metric([room.kind], room.refused)
    yield from (held, waiting, refused)
    told = "Requests for which the process had no file descriptor."
    yield CounterMetricFamily("modelport_descriptors_missed", told, value=services.caller.shortage.met)


def _buckets(durations: Durations) -> list[tuple[str, float]]:
    bounds = [*(f"{bound:g}" for bound in BOUNDS_S), "+Inf"]
    return list(zip(bounds, map(float, accumulate(durations.counts)), strict=True))


def _connections(services: Services) -> Iterator[Metric]:
    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

    server = services.server
    if server is not None:
        told = "Connections of clients."
        yield GaugeMetricFamily("modelport_client_connections", told, value=server.open_connections)
        told = "Connections that were closed, by what was late."
        closed = CounterMetricFamily("modelport_client_connections_cut", told, labels=["reason"])
        for reason in get_args(Lateness):
            closed.add_metric([reason], server.watchdog.found[reason])
        closed.add_metric(["too_many"], server.turned_away)
        yield closed
    counts = services.caller.counts
    if counts is None:
        return
    held = GaugeMetricFamily("modelport_provider_connections", "Connections to providers, by state.", labels=["state"])
    held.add_metric(["busy"], counts.open - counts.idle)
    held.add_metric(["idle"], counts.idle)
    yield held
    told = "Calls that wait for a connection to a provider."
    yield GaugeMetricFamily("modelport_provider_connections_waiting", told, value=counts.waiting)
