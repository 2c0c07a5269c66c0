"""What several workers count, as one: for `/health` and `/metrics`, which say the same whoever is asked."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

from routing.health import Health, Record, Seen

if TYPE_CHECKING:
    from prometheus_client.core import Metric

Path = tuple[str, ...]

COUNTED: Final[tuple[Path, ...]] = (
    ("storage", "lost_rows"),
    ("request_log",),
    ("auth",),
    ("cache", "hits"),
    ("cache", "misses"),
    ("in_flight",),
    ("room",),
    ("descriptors", "missed"),
    ("spent", "exchanges"),
    ("spent", "cost_usd"),
    ("routing", "retries", "made"),
    ("routing", "retries", "handed_over"),
    ("routing", "retries", "denied"),
    ("routing", "races"),
    ("routing", "rounds"),
    ("routing", "resumed"),
)
"""What of the body of `/health` each worker counts for itself."""
COUNTED_OF_PROVIDERS: Final[tuple[Path, ...]] = (
    ("calls",),
    ("input_tokens",),
    ("cached_input_tokens",),
    ("output_tokens",),
    ("cost_usd",),
    ("unpriced_calls",),
    ("ejections",),
    ("probes",),
    *(("queue", name) for name in ("waiting", "served", "waited_s", "left", "refused")),
)
NAMES: Final = ("route", "policy", "outcome")
"""What tells the entries of a list apart."""

GAUGES: Final[Mapping[str, Callable[[float, float], float]]] = {
    **dict.fromkeys(
        (
            "modelport_in_flight",
            "modelport_requests_waiting",
            "modelport_room_bytes",
            "modelport_room_waiting",
            "modelport_client_connections",
            "modelport_provider_connections",
            "modelport_provider_connections_waiting",
            "modelport_queue_waiting",
            "modelport_ledger_journal_bookings",
            "process_resident_memory_bytes",
            "process_virtual_memory_bytes",
            "process_open_fds",
        ),
        float.__add__,
    ),
    "modelport_event_loop_lag_worst_seconds": max,
    "modelport_ledger_lag_seconds": max,
    "modelport_models_ejected": max,
    "process_start_time_seconds": min,
}
"""The gauges of a worker that say nothing of the others, and what they are together."""


# --- /health -----------------------------------------------------------------------------------------


def records_of(health: Health, providers: Iterable[str]) -> dict[str, Any]:
    """What a worker has seen of *providers*, for another one."""
    found = {}
    for name in providers:
        record = health.provider(name)
        window = [
            (seen.model, seen.ok, seen.at, seen.status, seen.latency_ms, seen.first_event_ms) for seen in record.window
        ]
        ends = (record.last_success, record.last_failure, record.last_error)
        found[name] = (record.requests, record.errors, ends, window)
    return found


def seen_together(health: Health, others: Iterable[Mapping[str, Any]]) -> Health:
    """What *health* and the `records_of` others say, as one that saw everything."""
    records = dict(health.providers)
    for other in others:
        for name, told in other.items():
            records[name] = _joined(name, records.get(name) or health.provider(name), told)
    return Health(health.window, records)


def _joined(name: str, record: Record, told: Sequence[Any]) -> Record:
    requests, errors, (last_success, last_failure, last_error), rows = told
    theirs = [Seen(name, model, *row) for model, *row in rows]
    window = sorted([*record.window, *theirs], key=lambda seen: seen.at)
    newer = (last_failure or 0.0) > (record.last_failure or 0.0)
    return Record(
        deque(window, maxlen=record.window.maxlen),
        record.requests + requests,
        record.errors + errors,
        max(record.last_success or 0.0, last_success or 0.0) or None,
        last_failure if newer else record.last_failure,
        last_error if newer else record.last_error,
    )


def count_together(report: dict[str, Any], others: Iterable[Mapping[str, Any]]) -> None:
    """Let *report*, the body of `/health`, count what the workers behind *others* have counted, too."""
    for other in others:
        for path in COUNTED:
            _count(report, other, path)
        theirs = {entry["name"]: entry for entry in other["providers"]}
        for entry in report["providers"]:
            for path in COUNTED_OF_PROVIDERS if entry["name"] in theirs else ():
                _count(entry, theirs[entry["name"]], path)
    cache, spent = report["cache"], report["spent"]
    asked = cache["hits"] + cache["misses"]
    cache["hit_rate"] = round(cache["hits"] / asked, 3) if asked else 0.0
    if spent["exchanges"]:
        spent["average_usd"] = f"{Decimal(spent['cost_usd']) / spent['exchanges']:.9f}"


def _count(into: dict[str, Any], other: Mapping[str, Any], path: Path) -> None:
    *way, last = path
    for name in way:
        into, other = into[name], other[name]
    into[last] = _sum(into[last], other[last])


def _sum(mine: Any, theirs: Any) -> Any:
    match mine:
        case dict():
            return {name: _sum(mine.get(name, 0), theirs.get(name, 0)) for name in {**mine, **theirs}}
        case list():
            entries = {_named(entry): entry for entry in mine}
            for entry in theirs:
                known = entries.get(_named(entry))
                entries[_named(entry)] = entry if known is None else _sum(known, entry)
            return list(entries.values())
        case str() if mine[:1].isdecimal():
            return f"{Decimal(mine) + Decimal(theirs):f}"
        case int() | float() if isinstance(theirs, int | float):
            return mine + theirs
        case _:
            return mine


def _named(entry: Mapping[str, Any]) -> Path:
    return tuple(entry[name] for name in NAMES if name in entry)


# --- /metrics ----------------------------------------------------------------------------------------


def samples_of(families: Iterable[Metric]) -> list[Any]:
    """The samples of *families*, for another worker."""
    return [
        (
            family.name,
            family.documentation,
            family.type,
            [(each.name, each.labels, each.value) for each in family.samples],
        )
        for family in families
    ]


def families_together(own: Iterable[Metric], others: Sequence[Sequence[Any]]) -> Iterator[Metric]:
    """The families of all workers, those of the *others* as `samples_of` tells them."""
    from prometheus_client.core import Metric

    if not others:
        yield from own
        return
    found: dict[str, Metric] = {family.name: family for family in own}
    for name, told, kind, samples in (family for other in others for family in other):
        family = found.setdefault(name, Metric(name, told, kind))
        together = GAUGES.get(name) if kind == "gauge" else float.__add__
        if together is None:
            continue
        places = {(each.name, *sorted(each.labels.items())): at for at, each in enumerate(family.samples)}
        for sample, labels, value in samples:
            at = places.get((sample, *sorted(labels.items())))
            if "quantile" in labels:
                continue  # of all attempts together already
            if at is None:
                family.add_sample(sample, labels, value)
            else:
                old = family.samples[at]
                family.samples[at] = old._replace(value=together(float(old.value), float(value)))
    yield from found.values()
