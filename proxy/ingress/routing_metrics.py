"""The families of `/metrics` that tell of routing: retries, queues, outliers, probes, races, rounds, resumed streams.

They say what `/health` says. prometheus_client is imported at the first scrape, as in `proxy.ingress.metrics`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from prometheus_client.core import CounterMetricFamily, Metric

Row = Mapping[str, Any]

RACES: Final[Mapping[str, tuple[str, str]]] = {
    "races": ("modelport_races", "Requests that could have asked a second target."),
    "hedged": ("modelport_hedges", "Second targets that were asked beside a late one."),
    "unpaid": ("modelport_hedges_unpaid", "Late targets beside which none could be afforded."),
    "won_by_second": ("modelport_hedges_won", "Second targets that were faster."),
    "cancelled": ("modelport_race_calls_cancelled", "Calls that were given up."),
    "extra_usd": ("modelport_race_extra_cost_usd", "US dollars for calls whose answer nobody got."),
    "extra_unpriced": ("modelport_race_extra_unpriced", "Such calls without a known price."),
}
"""Field of a race in `/health` -> family and help."""


def routing_families(report: Mapping[str, Any]) -> Iterator[Metric]:
    """All of them, out of the body of `/health`."""
    routing = report["routing"]
    yield from _retries(routing["retries"])
    yield from _queues(report["providers"])
    yield from _providers(report["providers"])
    for name, (family, told) in RACES.items():
        yield _counter(family, told, ["route"], [([one["route"]], one[name]) for one in routing["races"]])
    yield from _rounds(routing["rounds"])
    resumed = [([one["route"], one["outcome"]], one["streams"]) for one in routing["resumed"]]
    yield _counter("modelport_broken_streams", "Streams to be gone on with.", ["route", "outcome"], resumed)


def _counter(
    name: str, told: str, labels: Sequence[str], values: Sequence[tuple[Sequence[str], Any]]
) -> CounterMetricFamily:
    from prometheus_client.core import CounterMetricFamily

    family = CounterMetricFamily(name, told, labels=labels)
    for labelled, value in values:
        family.add_metric(labelled, float(value))
    return family


def _retries(retries: Row) -> Iterator[Metric]:
    from prometheus_client.core import GaugeMetricFamily

    words = {"made": "retry", "handed_over": "handed_over", "denied": "denied"}
    yield _counter(
        "modelport_second_tries",
        "Requests that went on after a failure: to one that fails, to one that is well, or not at all.",
        ["kind"],
        [([kind], retries[name]) for name, kind in words.items()],
    )
    yield GaugeMetricFamily(
        "modelport_retry_budget_left", "Requests that may be retried at this moment.", value=retries["left"]
    )


def _queues(providers: Sequence[Row]) -> Iterator[Metric]:
    from prometheus_client.core import GaugeMetricFamily, SummaryMetricFamily

    waiting = GaugeMetricFamily("modelport_queue_waiting", "Requests in the queue.", labels=["provider"])
    waited = SummaryMetricFamily(
        "modelport_queue_wait_seconds", "How long those waited that got their turn.", labels=["provider"]
    )
    room = GaugeMetricFamily("modelport_limit_room", "What is left of a limit.", labels=["provider", "limit"])
    refused: list[tuple[list[str], int]] = []
    left: list[tuple[list[str], int]] = []
    for entry in providers:
        name, queue = entry["name"], entry["queue"]
        waiting.add_metric([name], queue["waiting"])
        waited.add_metric([name], queue["served"], queue["waited_s"])
        refused += [([name, why], count) for why, count in queue["refused"].items()]
        left.append(([name], queue["left"]))
        for limit, free in queue["room"].items():
            room.add_metric([name, limit], free)
    yield from (waiting, waited, room)
    told = "Requests that were not let in, by reason."
    yield _counter("modelport_queue_refusals", told, ["provider", "reason"], refused)
    yield _counter("modelport_queue_left", "Clients that left the queue.", ["provider"], left)


def _providers(providers: Sequence[Row]) -> Iterator[Metric]:
    from prometheus_client.core import GaugeMetricFamily

    ejected = GaugeMetricFamily(
        "modelport_models_ejected", "Models that go behind the others of their routes.", labels=["provider"]
    )
    for entry in providers:
        ejected.add_metric([entry["name"]], len(entry["ejected"]))
    yield ejected
    made = [([entry["name"]], entry["ejections"]) for entry in providers]
    yield _counter("modelport_ejections", "Times that a model was ejected.", ["provider"], made)
    probes = [([entry["name"], word], count) for entry in providers for word, count in entry["probes"].items()]
    yield _counter("modelport_probes", "Probes, by whether they were answered.", ["provider", "outcome"], probes)


def _rounds(rounds: Sequence[Row]) -> Iterator[Metric]:
    labels = ["route", "policy"]
    named = [([one["route"], one["policy"]], one) for one in rounds]

    def by(part: str) -> list[tuple[list[str], int]]:
        return [([*names, word], count) for names, one in named for word, count in one[part].items()]

    told = "Requests put to several targets, by how far those agreed."
    yield _counter("modelport_consensus_rounds", told, [*labels, "outcome"], by("outcomes"))
    told = "Targets of these, by what became of them."
    yield _counter("modelport_consensus_calls", told, [*labels, "fate"], by("calls"))
    told = "Rounds that left a field open."
    yield _counter("modelport_consensus_abstained", told, labels, [(names, one["abstained"]) for names, one in named])
    told = "Rounds in which fewer than the quorum answered."
    missed = [(names, one["quorum_missed"]) for names, one in named]
    yield _counter("modelport_consensus_quorum_missed", told, labels, missed)
